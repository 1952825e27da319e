//! The vault's tables: what is written where, and read again.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::channel::ownership::Adoption;
use crate::credential::event::Event;
use crate::credential::record::{AccessGrant, ClientIdentity, Record, RecordId};
use crate::secret::Secret;
use crate::time::Timestamp;
use crate::vault::failure::Failure;
use crate::vault::seal::{Seal, place};
use crate::vault::{Change, FingerprintKind};

/// Fingerprints of keys that are kept for a record. Those of refresh tokens are all kept: a seed that was configured a
/// thousand rotations ago is still configured, and must not look never seen after the next start.
const KEYS_KEPT: i64 = 1000;
/// Events that are kept.
const EVENTS_KEPT: i64 = 1000;

/// Every table, as this version makes it.
pub(super) const CREATE: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE record (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL, grant_type TEXT NOT NULL, client_id TEXT NOT NULL,
  refresh_token BLOB, candidate BLOB, access BLOB,
  state TEXT NOT NULL
) STRICT;
CREATE TABLE fingerprint (
  kind INTEGER NOT NULL, mac BLOB NOT NULL, record INTEGER NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (kind, mac, record)
) STRICT, WITHOUT ROWID;
CREATE INDEX fingerprint_age ON fingerprint (record, kind, at);
CREATE TABLE adoption (
  gateway TEXT NOT NULL, channel INTEGER NOT NULL, created_time INTEGER NOT NULL, name TEXT NOT NULL,
  record INTEGER NOT NULL, displaced BLOB, state TEXT NOT NULL,
  PRIMARY KEY (gateway, channel)
) STRICT, WITHOUT ROWID;
CREATE TABLE event (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE notice (name TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT, WITHOUT ROWID;
";

/// The columns of `record` that hold secrets.
pub(super) const RECORD_SECRETS: [&str; 3] = ["refresh_token", "candidate", "access"];

/// Writes one change.
pub(super) fn apply(connection: &Connection, seal: &Seal, change: &Change) -> Result<(), Failure> {
    match change {
        Change::Record(record) => write_record(connection, seal, record)?,
        Change::Seen { record, kind, fingerprint, at } => {
            connection
                .prepare_cached("INSERT OR REPLACE INTO fingerprint (kind, mac, record, at) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![number(*kind), fingerprint.0, record.0, at.as_millis()])?;
            if *kind == FingerprintKind::Key {
                connection
                    .prepare_cached(
                        "DELETE FROM fingerprint WHERE record = ?1 AND kind = ?2 AND at <
                         (SELECT at FROM fingerprint WHERE record = ?1 AND kind = ?2 ORDER BY at DESC LIMIT 1 OFFSET ?3)",
                    )?
                    .execute(params![record.0, number(*kind), KEYS_KEPT])?;
            }
        }
        Change::Adoption(adoption) => write_adoption(connection, seal, adoption)?,
        Change::Forget { gateway, channel } => {
            connection
                .prepare_cached("DELETE FROM adoption WHERE gateway = ?1 AND channel = ?2")?
                .execute(params![gateway, channel])?;
        }
        Change::Event(event) => {
            connection
                .prepare_cached("INSERT INTO event (at, body) VALUES (?1, ?2)")?
                .execute(params![event.at.as_millis(), write_json(event)?])?;
            connection
                .prepare_cached("DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?1")?
                .execute([EVENTS_KEPT])?;
        }
        Change::Notices(state) => {
            connection.prepare_cached("INSERT OR REPLACE INTO notice VALUES ('policy', ?1)")?.execute([state])?;
        }
        // The store counts.
        Change::CaughtUp => {}
    }
    Ok(())
}

fn write_record(connection: &Connection, seal: &Seal, record: &Record) -> Result<(), Failure> {
    let keep = |column, bytes: &[u8]| seal.keep(&place("record", record.id.0, column), bytes);
    let kept =
        |column, secret: Option<&Secret>| secret.map(|secret| keep(column, secret.expose().as_bytes())).transpose();
    let access = match &record.access {
        Some(grant) => Some(keep("access", Zeroizing::new(write_grant(grant)?).as_bytes())?),
        None => None,
    };
    connection
        .prepare_cached(
            "INSERT INTO record (id, name, grant_type, client_id, refresh_token, candidate, access, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (id) DO UPDATE SET name = ?2, grant_type = ?3, client_id = ?4, refresh_token = ?5,
             candidate = ?6, access = ?7, state = ?8",
        )?
        .execute(params![
            record.id.0,
            record.name,
            record.client.grant_type,
            record.client.client_id,
            kept("refresh_token", record.refresh_token.as_ref())?,
            kept("candidate", record.candidate.as_ref())?,
            access,
            write_json(&record.state)?,
        ])?;
    Ok(())
}

/// The place of a channel's displaced key.
pub(super) fn displaced(gateway: &str, channel: i64) -> String {
    place("adoption", format_args!("{gateway}:{channel}"), "displaced")
}

fn write_adoption(connection: &Connection, seal: &Seal, adoption: &Adoption) -> Result<(), Failure> {
    let place = displaced(&adoption.gateway, adoption.channel);
    let key = adoption.displaced.as_ref().map(|key| seal.keep(&place, key.expose().as_bytes())).transpose()?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO adoption (gateway, channel, created_time, name, record, displaced, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            adoption.gateway,
            adoption.channel,
            adoption.created_time,
            adoption.name,
            adoption.record.0,
            key,
            write_json(&adoption.state)?,
        ])?;
    Ok(())
}

/// Every record.
pub(super) fn records(connection: &Connection, seal: &Seal) -> Result<Vec<Record>, Failure> {
    let mut statement = connection.prepare(
        "SELECT id, name, grant_type, client_id, refresh_token, candidate, access, state FROM record ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let taken = |column, stored| take(seal, &place("record", id, column), stored);
        let access = match taken("access", row.get(6)?)? {
            Some(stored) => Some(read_grant(stored.expose())?),
            None => None,
        };
        records.push(Record {
            id: RecordId(id),
            name: row.get(1)?,
            client: ClientIdentity { grant_type: row.get(2)?, client_id: row.get(3)? },
            refresh_token: taken("refresh_token", row.get(4)?)?,
            candidate: taken("candidate", row.get(5)?)?,
            access,
            state: read_json(&row.get::<_, String>(7)?)?,
        });
    }
    Ok(records)
}

/// Every adoption.
pub(super) fn adoptions(connection: &Connection, seal: &Seal) -> Result<Vec<Adoption>, Failure> {
    let mut statement = connection.prepare(
        "SELECT gateway, channel, created_time, name, record, displaced, state FROM adoption ORDER BY gateway, channel",
    )?;
    let mut rows = statement.query([])?;
    let mut adoptions = Vec::new();
    while let Some(row) = rows.next()? {
        let (gateway, channel): (String, i64) = (row.get(0)?, row.get(1)?);
        adoptions.push(Adoption {
            displaced: take(seal, &displaced(&gateway, channel), row.get(5)?)?,
            gateway,
            channel,
            created_time: row.get(2)?,
            name: row.get(3)?,
            record: RecordId(row.get(4)?),
            state: read_json(&row.get::<_, String>(6)?)?,
        });
    }
    Ok(adoptions)
}

/// The events that are kept, the oldest first. They are for people only: one that another version wrote in another
/// form is left out.
pub(super) fn events(connection: &Connection) -> Result<Vec<Event>, Failure> {
    let mut statement = connection.prepare("SELECT body FROM event ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.extend(read_json::<Event>(&row.get::<_, String>(0)?).ok());
    }
    Ok(events)
}

fn take(seal: &Seal, place: &str, stored: Option<Vec<u8>>) -> Result<Option<Secret>, Failure> {
    let Some(stored) = stored else { return Ok(None) };
    let bytes = seal.take(place, &stored)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::Damaged("a secret that is not UTF-8"))?;
    Ok(Some(Secret::new(text)))
}

/// One value of the table of single values.
pub(super) fn meta(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

/// Writes one value of the table of single values.
pub(super) fn set_meta(connection: &Connection, name: &str, value: &[u8]) -> Result<(), rusqlite::Error> {
    connection.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?.execute(params![name, value])?;
    Ok(())
}

/// The number of a fingerprint's kind.
pub(super) fn number(kind: FingerprintKind) -> i64 {
    match kind {
        FingerprintKind::RefreshToken => 1,
        FingerprintKind::Key => 2,
    }
}

/// An access grant as it is stored: sealed as one.
#[derive(Serialize, Deserialize)]
struct StoredGrant {
    token: String,
    id_token: Option<String>,
    #[serde(default)]
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

fn write_json<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|_| Failure::Damaged("cannot be written as JSON"))
}

/// Reads what was stored as JSON.
pub(super) fn read_json<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, Failure> {
    // The parser's words could repeat a secret.
    serde_json::from_str(text).map_err(|_| Failure::Damaged("a row that is not the JSON it should be"))
}
