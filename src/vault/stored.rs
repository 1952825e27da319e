//! Records and adoptions as their tables hold them, whatever the kind of database: each secret sealed in its own place.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::channel::ownership::Adoption;
use crate::credential::record::{AccessGrant, ClientIdentity, Record, RecordId};
use crate::secret::Secret;
use crate::time::Timestamp;
use crate::vault::failure::Failure;
use crate::vault::seal::{Seal, place};

/// The columns of `record` that hold secrets.
pub(super) const RECORD_SECRETS: [&str; 3] = ["refresh_token", "candidate", "access"];

/// A row of `record`.
pub(super) struct StoredRecord {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) grant_type: String,
    pub(super) client_id: String,
    pub(super) refresh_token: Option<Vec<u8>>,
    pub(super) candidate: Option<Vec<u8>>,
    pub(super) access: Option<Vec<u8>>,
    pub(super) state: String,
}

impl StoredRecord {
    /// Seals a record.
    pub(super) fn of(record: &Record, seal: &Seal) -> Result<Self, Failure> {
        let keep = |column, bytes: &[u8]| seal.keep(&place("record", record.id.0, column), bytes);
        let kept =
            |column, secret: Option<&Secret>| secret.map(|secret| keep(column, secret.expose().as_bytes())).transpose();
        let access = match &record.access {
            Some(grant) => Some(keep("access", Zeroizing::new(write_grant(grant)?).as_bytes())?),
            None => None,
        };
        Ok(Self {
            id: record.id.0,
            name: record.name.clone(),
            grant_type: record.client.grant_type.to_string(),
            client_id: record.client.client_id.to_string(),
            refresh_token: kept("refresh_token", record.refresh_token.as_ref())?,
            candidate: kept("candidate", record.candidate.as_ref())?,
            access,
            state: write_json(&record.state)?,
        })
    }

    /// The record that was sealed.
    pub(super) fn opened(self, seal: &Seal) -> Result<Record, Failure> {
        let taken = |column, stored| take(seal, &place("record", self.id, column), stored);
        let access = match taken("access", self.access)? {
            Some(stored) => Some(read_grant(stored.expose())?),
            None => None,
        };
        Ok(Record {
            id: RecordId(self.id),
            name: self.name,
            client: ClientIdentity {
                grant_type: self.grant_type.as_str().into(),
                client_id: self.client_id.as_str().into(),
            },
            refresh_token: taken("refresh_token", self.refresh_token)?,
            candidate: taken("candidate", self.candidate)?,
            access,
            state: read_json(&self.state)?,
        })
    }
}

/// A row of `adoption`.
pub(super) struct StoredAdoption {
    pub(super) gateway: String,
    pub(super) channel: i64,
    pub(super) created_time: i64,
    pub(super) name: String,
    pub(super) record: i64,
    pub(super) displaced: Option<Vec<u8>>,
    pub(super) state: String,
}

impl StoredAdoption {
    /// Seals an adoption.
    pub(super) fn of(adoption: &Adoption, seal: &Seal) -> Result<Self, Failure> {
        let place = displaced(&adoption.gateway, adoption.channel);
        let keep = |key: &Secret| seal.keep(&place, key.expose().as_bytes());
        Ok(Self {
            gateway: adoption.gateway.to_string(),
            channel: adoption.channel,
            created_time: adoption.created_time,
            name: adoption.name.to_string(),
            record: adoption.record.0,
            displaced: adoption.displaced.as_ref().map(keep).transpose()?,
            state: write_json(&adoption.state)?,
        })
    }

    /// The adoption that was sealed.
    pub(super) fn opened(self, seal: &Seal) -> Result<Adoption, Failure> {
        Ok(Adoption {
            displaced: take(seal, &displaced(&self.gateway, self.channel), self.displaced)?,
            gateway: self.gateway.into(),
            channel: self.channel,
            created_time: self.created_time,
            name: self.name.into(),
            record: RecordId(self.record),
            state: read_json(&self.state)?,
        })
    }
}

/// The place of a channel's displaced key.
pub(super) fn displaced(gateway: &str, channel: i64) -> String {
    place("adoption", format_args!("{gateway}:{channel}"), "displaced")
}

fn take(seal: &Seal, place: &str, stored: Option<Vec<u8>>) -> Result<Option<Secret>, Failure> {
    let Some(stored) = stored else { return Ok(None) };
    let bytes = seal.take(place, &stored)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::Damaged("a secret that is not UTF-8"))?;
    Ok(Some(Secret::new(text)))
}

/// An access grant as it is stored: sealed as one.
#[derive(Serialize, Deserialize)]
struct StoredGrant {
    token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<String, String>,
    issued_at: Timestamp,
    expires_at: Timestamp,
    lifetime_assumed: bool,
}

fn write_grant(grant: &AccessGrant) -> Result<String, Failure> {
    write_json(&StoredGrant {
        token: grant.token.expose().to_owned(),
        id_token: grant.id_token.as_ref().map(|token| token.expose().to_owned()),
        fields: grant.fields.iter().map(|(field, value)| (field.clone(), value.expose().to_owned())).collect(),
        issued_at: grant.issued_at,
        expires_at: grant.expires_at,
        lifetime_assumed: grant.lifetime_assumed,
    })
}

fn read_grant(stored: &str) -> Result<AccessGrant, Failure> {
    let stored: StoredGrant = read_json(stored)?;
    Ok(AccessGrant {
        token: Secret::new(stored.token),
        id_token: stored.id_token.map(Secret::new),
        fields: stored.fields.into_iter().map(|(field, value)| (field, Secret::new(value))).collect(),
        issued_at: stored.issued_at,
        expires_at: stored.expires_at,
        lifetime_assumed: stored.lifetime_assumed,
    })
}

pub(super) fn write_json<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|_| Failure::Damaged("cannot be written as JSON"))
}

/// Reads what was stored as JSON.
pub(super) fn read_json<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, Failure> {
    // The parser's words could repeat a secret.
    serde_json::from_str(text).map_err(|_| Failure::Damaged("a row that is not the JSON it should be"))
}
