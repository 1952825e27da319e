//! The vault's tables in a database server: what is written where, and read again. The columns are the file's.

use super::dialect::Dialect;
use super::session::{Session, Trouble, Value};
use crate::channel::ownership::Adoption;
use crate::credential::event::Event;
use crate::credential::record::{Record, RecordId};
use crate::vault::rows::{EVENTS_KEPT, KEYS_KEPT, number, prunes};
use crate::vault::seal::Seal;
use crate::vault::stored::{StoredAdoption, StoredRecord, read_json, write_json};
use crate::vault::{Change, Fingerprint, FingerprintKind};

/// Writes one change, within a transaction.
pub(super) fn apply(session: &mut Session, words: &Dialect, seal: &Seal, change: &Change) -> Result<(), Trouble> {
    match change {
        Change::Record(record) => write_record(session, words, seal, record),
        Change::Seen { record, kind, fingerprint, at } => {
            let (record, kind) = (Value::Int(record.0), Value::Int(number(*kind)));
            let sql = words.upsert("fingerprint", &["kind", "mac", "record"], &["at"]);
            let values = [kind, Value::Bytes(Some(&fingerprint.0)), record, Value::Int(at.as_millis())];
            session.execute(&sql, &values).map(drop)
        }
        Change::Adoption(adoption) => write_adoption(session, words, seal, adoption),
        Change::Forget { gateway, channel } => {
            let sql = "DELETE FROM one_api_sidecar_adoption WHERE gateway = ? AND channel = ?";
            session.execute(sql, &[Value::Text(gateway), Value::Int(*channel)]).map(drop)
        }
        Change::Event(event) => {
            let body = write_json(event)?;
            session.execute(
                "INSERT INTO one_api_sidecar_event (at, body) VALUES (?, ?)",
                &[Value::Int(event.at.as_millis()), Value::Text(&body)],
            )?;
            session.execute(
                "DELETE FROM one_api_sidecar_event WHERE id <=
                 (SELECT newest FROM (SELECT max(id) AS newest FROM one_api_sidecar_event) AS newest) - ?",
                &[Value::Int(EVENTS_KEPT)],
            )?;
            Ok(())
        }
        Change::Notices(state) => {
            let sql = words.upsert("notice", &["name"], &["state"]);
            session.execute(&sql, &[Value::Text("policy"), Value::Text(state)]).map(drop)
        }
        // What counts is the owner's row.
        Change::CaughtUp => Ok(()),
    }
}

fn write_record(session: &mut Session, words: &Dialect, seal: &Seal, record: &Record) -> Result<(), Trouble> {
    let stored = StoredRecord::of(record, seal)?;
    let rest = ["name", "grant_type", "client_id", "refresh_token", "candidate", "access", "state"];
    let values = [
        Value::Int(stored.id),
        Value::Text(&stored.name),
        Value::Text(&stored.grant_type),
        Value::Text(&stored.client_id),
        Value::Bytes(stored.refresh_token.as_deref()),
        Value::Bytes(stored.candidate.as_deref()),
        Value::Bytes(stored.access.as_deref()),
        Value::Text(&stored.state),
    ];
    session.execute(&words.upsert("record", &["id"], &rest), &values)?;
    if prunes(record) { forget_old_keys(session, record.id) } else { Ok(()) }
}

fn forget_old_keys(session: &mut Session, record: RecordId) -> Result<(), Trouble> {
    let (record, kind) = (Value::Int(record.0), Value::Int(number(FingerprintKind::Key)));
    let sql = "DELETE FROM one_api_sidecar_fingerprint WHERE record = ? AND kind = ? AND at <
               (SELECT at FROM (SELECT at FROM one_api_sidecar_fingerprint WHERE record = ? AND kind = ?
                ORDER BY at DESC LIMIT 1 OFFSET ?) AS oldest)";
    session.execute(sql, &[record, kind, record, kind, Value::Int(KEYS_KEPT)]).map(drop)
}

fn write_adoption(session: &mut Session, words: &Dialect, seal: &Seal, adoption: &Adoption) -> Result<(), Trouble> {
    let stored = StoredAdoption::of(adoption, seal)?;
    let rest = ["created_time", "name", "record", "displaced", "state"];
    let values = [
        Value::Text(&stored.gateway),
        Value::Int(stored.channel),
        Value::Int(stored.created_time),
        Value::Text(&stored.name),
        Value::Int(stored.record),
        Value::Bytes(stored.displaced.as_deref()),
        Value::Text(&stored.state),
    ];
    session.execute(&words.upsert("adoption", &["gateway", "channel"], &rest), &values).map(drop)
}

/// Every record.
pub(super) fn records(session: &mut Session, seal: &Seal) -> Result<Vec<Record>, Trouble> {
    let sql = "SELECT id, name, grant_type, client_id, refresh_token, candidate, access, state
               FROM one_api_sidecar_record ORDER BY id";
    let mut records = Vec::new();
    for row in session.rows(sql, &[])? {
        let stored = StoredRecord {
            id: row.int(0)?,
            name: row.text(1)?,
            grant_type: row.text(2)?,
            client_id: row.text(3)?,
            refresh_token: row.bytes(4)?,
            candidate: row.bytes(5)?,
            access: row.bytes(6)?,
            state: row.text(7)?,
        };
        records.push(stored.opened(seal)?);
    }
    Ok(records)
}

/// Every adoption.
pub(super) fn adoptions(session: &mut Session, seal: &Seal) -> Result<Vec<Adoption>, Trouble> {
    let sql = "SELECT gateway, channel, created_time, name, record, displaced, state
               FROM one_api_sidecar_adoption ORDER BY gateway, channel";
    let mut adoptions = Vec::new();
    for row in session.rows(sql, &[])? {
        let stored = StoredAdoption {
            gateway: row.text(0)?,
            channel: row.int(1)?,
            created_time: row.int(2)?,
            name: row.text(3)?,
            record: row.int(4)?,
            displaced: row.bytes(5)?,
            state: row.text(6)?,
        };
        adoptions.push(stored.opened(seal)?);
    }
    Ok(adoptions)
}

/// What the notifiers have been told.
pub(super) fn notices(session: &mut Session) -> Result<Option<String>, Trouble> {
    let row = session.one("SELECT state FROM one_api_sidecar_notice WHERE name = 'policy'", &[])?;
    row.map(|row| row.text(0)).transpose()
}

/// The events that are kept, the oldest first; one that another version wrote in another form is left out.
pub(super) fn events(session: &mut Session) -> Result<Vec<Event>, Trouble> {
    let mut events = Vec::new();
    for row in session.rows("SELECT body FROM one_api_sidecar_event ORDER BY id", &[])? {
        events.extend(read_json(&row.text(0)?).ok());
    }
    Ok(events)
}

/// The records for which this was seen.
pub(super) fn seen_by(
    session: &mut Session,
    kind: FingerprintKind,
    fingerprint: Fingerprint,
) -> Result<Vec<RecordId>, Trouble> {
    let rows = session.rows(
        "SELECT record FROM one_api_sidecar_fingerprint WHERE kind = ? AND mac = ?",
        &[Value::Int(number(kind)), Value::Bytes(Some(&fingerprint.0))],
    )?;
    rows.iter().map(|row| row.int(0).map(RecordId)).collect()
}

/// How many fingerprints and events there are.
pub(super) fn counts(session: &mut Session) -> Result<(i64, i64), Trouble> {
    let mut count = |table: &str| {
        let row = session.one(&format!("SELECT count(*) FROM one_api_sidecar_{table}"), &[])?;
        row.map_or(Ok(0), |row| row.int(0))
    };
    Ok((count("fingerprint")?, count("event")?))
}

/// One value of the table of single values.
pub(super) fn meta(session: &mut Session, name: &str) -> Result<Option<Vec<u8>>, Trouble> {
    let row = session.one("SELECT value FROM one_api_sidecar_meta WHERE name = ?", &[Value::Text(name)])?;
    row.map_or(Ok(None), |row| row.bytes(0))
}

/// Writes one value of the table of single values.
pub(super) fn set_meta(session: &mut Session, words: &Dialect, name: &str, value: &[u8]) -> Result<(), Trouble> {
    let sql = words.upsert("meta", &["name"], &["value"]);
    session.execute(&sql, &[Value::Text(name), Value::Bytes(Some(value))]).map(drop)
}
