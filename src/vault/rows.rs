//! The vault's tables: what is written where, and read again.

use rusqlite::{Connection, OptionalExtension, params};

use crate::channel::ownership::Adoption;
use crate::credential::event::Event;
use crate::credential::record::{Record, RecordId};
use crate::vault::failure::Failure;
use crate::vault::seal::Seal;
use crate::vault::stored::{StoredAdoption, StoredRecord, read_json, write_json};
use crate::vault::{Change, FingerprintKind};

/// Fingerprints of keys that are kept for a record, at the least. Those of refresh tokens are all kept: a seed that was configured a
/// thousand rotations ago is still configured, and must not look never seen after the next start.
pub(super) const KEYS_KEPT: i64 = 1000;
/// Events that are kept, at the least.
pub(super) const EVENTS_KEPT: i64 = 1000;
/// At every so manieth generation, and event, the old ones go: looking for them costs as much as writing.
const PRUNED_EVERY: i64 = 64;

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
CREATE INDEX fingerprint_age ON fingerprint (record, at) WHERE kind = 2;
CREATE TABLE adoption (
  gateway TEXT NOT NULL, channel INTEGER NOT NULL, created_time INTEGER NOT NULL, name TEXT NOT NULL,
  record INTEGER NOT NULL, displaced BLOB, state TEXT NOT NULL,
  PRIMARY KEY (gateway, channel)
) STRICT, WITHOUT ROWID;
CREATE TABLE event (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE notice (name TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT, WITHOUT ROWID;
";

/// Writes one change.
pub(super) fn apply(connection: &Connection, seal: &Seal, change: &Change) -> Result<(), Failure> {
    match change {
        Change::Record(record) => write_record(connection, seal, record)?,
        Change::Seen { record, kind, fingerprint, at } => {
            // What comes again is no news; a key that comes again is as young as its last coming.
            let insert = match kind {
                FingerprintKind::RefreshToken => "INSERT OR IGNORE INTO fingerprint VALUES (?1, ?2, ?3, ?4)",
                FingerprintKind::Key => {
                    "INSERT INTO fingerprint VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET at = excluded.at"
                }
            };
            let values = params![number(*kind), fingerprint.0, record.0, at.as_millis()];
            connection.prepare_cached(insert)?.execute(values)?;
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
            let id = connection.last_insert_rowid();
            if id % PRUNED_EVERY == 0 {
                connection
                    .prepare_cached("DELETE FROM event WHERE id <= ?1 - ?2")?
                    .execute(params![id, EVENTS_KEPT])?;
            }
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
    let stored = StoredRecord::of(record, seal)?;
    connection
        .prepare_cached(
            "INSERT INTO record (id, name, grant_type, client_id, refresh_token, candidate, access, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (id) DO UPDATE SET name = ?2, grant_type = ?3, client_id = ?4, refresh_token = ?5,
             candidate = ?6, access = ?7, state = ?8",
        )?
        .execute(params![
            stored.id,
            stored.name,
            stored.grant_type,
            stored.client_id,
            stored.refresh_token,
            stored.candidate,
            stored.access,
            stored.state,
        ])?;
    if prunes(record) {
        forget_old_keys(connection, record.id)?;
    }
    Ok(())
}

/// Whether the oldest keys of a record are looked for when it is written.
pub(super) fn prunes(record: &Record) -> bool {
    i64::try_from(record.state.generation).is_ok_and(|generation| generation > 0 && generation % PRUNED_EVERY == 0)
}

fn forget_old_keys(connection: &Connection, record: RecordId) -> rusqlite::Result<usize> {
    // With a bound OFFSET SQLite would plan it anew each time, and with a bound kind it would not find the index. One that
    // an earlier version made holds refresh tokens too, and serves as well.
    let kind = number(FingerprintKind::Key);
    let sql = format!(
        "DELETE FROM fingerprint WHERE record = ?1 AND kind = {kind} AND at <
         (SELECT at FROM fingerprint WHERE record = ?1 AND kind = {kind} ORDER BY at DESC LIMIT 1 OFFSET {KEYS_KEPT})"
    );
    connection.prepare_cached(&sql)?.execute(params![record.0])
}

fn write_adoption(connection: &Connection, seal: &Seal, adoption: &Adoption) -> Result<(), Failure> {
    let stored = StoredAdoption::of(adoption, seal)?;
    connection
        .prepare_cached(
            "INSERT INTO adoption (gateway, channel, created_time, name, record, displaced, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET created_time = ?3, name = ?4, record = ?5, displaced = ?6, state = ?7",
        )?
        .execute(params![
            stored.gateway,
            stored.channel,
            stored.created_time,
            stored.name,
            stored.record,
            stored.displaced,
            stored.state,
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
        let stored = StoredRecord {
            id: row.get(0)?,
            name: row.get(1)?,
            grant_type: row.get(2)?,
            client_id: row.get(3)?,
            refresh_token: row.get(4)?,
            candidate: row.get(5)?,
            access: row.get(6)?,
            state: row.get(7)?,
        };
        records.push(stored.opened(seal)?);
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
        let stored = StoredAdoption {
            gateway: row.get(0)?,
            channel: row.get(1)?,
            created_time: row.get(2)?,
            name: row.get(3)?,
            record: row.get(4)?,
            displaced: row.get(5)?,
            state: row.get(6)?,
        };
        adoptions.push(stored.opened(seal)?);
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
