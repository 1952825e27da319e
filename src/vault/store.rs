//! The vault's file: SQLite in WAL mode with `synchronous=FULL`, so that what was committed survives a power cut.
//!
//! Secrets are stored as blobs whose first byte says how they are kept (`PLAIN`: as they are, in a file that only
//! its owner can read).

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::channel::ownership::Adoption;
use crate::credential::event::Event;
use crate::credential::record::{AccessGrant, ClientIdentity, Record, RecordId};
use crate::failpoint::{self, failpoint};
use crate::reason::VaultReason;
use crate::secret::Secret;
use crate::time::Timestamp;
use crate::vault::{Change, Contents, Fingerprint, FingerprintKind, Fingerprinter, VaultError};

/// "OAPS": tells a vault from other SQLite files.
const APPLICATION_ID: i64 = 0x4F41_5053;
/// The schema this program writes.
const SCHEMA: i64 = 1;
/// First byte of a secret that is stored as it is.
const PLAIN: u8 = 0;
/// Fingerprints of keys that are kept for a record. Those of refresh tokens are all kept: a seed that was configured a
/// thousand rotations ago is still configured, and must not look never seen after the next start.
const KEYS_KEPT: i64 = 1000;
/// Events that are kept.
const EVENTS_KEPT: i64 = 1000;

const CREATE: &str = "
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

/// The open file.
pub struct Store {
    connection: Connection,
    path: PathBuf,
    fingerprinter: Fingerprinter,
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

impl Store {
    /// Opens the vault, creates it if there is none. The caller holds the lock.
    ///
    /// # Errors
    /// When it cannot be read, is not a vault, is damaged or newer than this program: nothing was changed then.
    pub fn open(path: &Path) -> Result<Self, VaultError> {
        // The mode is set before SQLite opens the file; afterwards ordinary I/O on it would drop SQLite's locks.
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match created {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let path = path.display().to_string();
                return Err(VaultError(VaultReason::Unwritable { path, error: error.to_string() }));
            }
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|error| diagnose(path, &error))?;
        Self::prepare(connection, path).map_err(|failure| failure.named(path))
    }

    /// Opens the vault beside its owner, for reading.
    ///
    /// # Errors
    /// When there is none, or as [`Store::open`].
    pub fn open_read_only(path: &Path) -> Result<Self, VaultError> {
        if !path.exists() {
            return Err(VaultError(VaultReason::Missing { path: path.display().to_string() }));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || -> Result<Self, Failure> {
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(std::time::Duration::from_secs(5))?;
            connection.pragma_update(None, "temp_store", "MEMORY")?;
            match recognise(&connection)? {
                Recognised::Vault => {}
                Recognised::Empty => {
                    return Err(VaultReason::Missing { path: path.display().to_string() }.into());
                }
            }
            let fingerprinter = fingerprint_key(&connection)?;
            Ok(Self { connection, path: path.to_owned(), fingerprinter })
        };
        open().map_err(|failure| failure.named(path))
    }

    fn prepare(mut connection: Connection, path: &Path) -> Result<Self, Failure> {
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "secure_delete", "ON")?;
        let recognised = recognise(&connection)?;
        if matches!(recognised, Recognised::Vault) {
            let sound: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if sound != "ok" {
                return Err(VaultReason::Damaged { path: path.display().to_string(), error: sound }.into());
            }
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        if matches!(recognised, Recognised::Empty) {
            let transaction = connection.transaction()?;
            transaction.execute_batch(CREATE)?;
            let mut key = [0u8; 32];
            SystemRandom::new().fill(&mut key).map_err(|_| VaultReason::Unwritable {
                path: path.display().to_string(),
                error: "no randomness".into(),
            })?;
            let stored = keep(&key);
            transaction.execute("INSERT INTO meta VALUES ('fingerprint_key', ?1)", [stored])?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", SCHEMA)?;
            transaction.commit()?;
        }
        let fingerprinter = fingerprint_key(&connection)?;
        Ok(Self { connection, path: path.to_owned(), fingerprinter })
    }

    /// Makes fingerprints under this vault's key.
    pub fn fingerprinter(&self) -> &Fingerprinter {
        &self.fingerprinter
    }

    /// Reads everything the agent keeps in memory.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn contents(&self) -> Result<Contents, VaultError> {
        self.read_contents().map_err(|failure| failure.named(&self.path))
    }

    fn read_contents(&self) -> Result<Contents, Failure> {
        let mut statement = self.connection.prepare(
            "SELECT id, name, grant_type, client_id, refresh_token, candidate, access, state FROM record ORDER BY id",
        )?;
        let mut rows = statement.query([])?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            let access = match taken(row.get(6)?)? {
                Some(stored) => Some(read_grant(stored.expose())?),
                None => None,
            };
            records.push(Record {
                id: RecordId(row.get(0)?),
                name: row.get(1)?,
                client: ClientIdentity { grant_type: row.get(2)?, client_id: row.get(3)? },
                refresh_token: taken(row.get(4)?)?,
                candidate: taken(row.get(5)?)?,
                access,
                state: read_json(&row.get::<_, String>(7)?)?,
            });
        }
        let mut statement = self.connection.prepare(
            "SELECT gateway, channel, created_time, name, record, displaced, state FROM adoption ORDER BY gateway, channel",
        )?;
        let mut rows = statement.query([])?;
        let mut adoptions = Vec::new();
        while let Some(row) = rows.next()? {
            adoptions.push(Adoption {
                gateway: row.get(0)?,
                channel: row.get(1)?,
                created_time: row.get(2)?,
                name: row.get(3)?,
                record: RecordId(row.get(4)?),
                displaced: taken(row.get(5)?)?,
                state: read_json(&row.get::<_, String>(6)?)?,
            });
        }
        let notices = self
            .connection
            .query_row("SELECT state FROM notice WHERE name = 'policy'", [], |row| row.get(0))
            .optional()?;
        Ok(Contents { records, adoptions, notices })
    }

    /// The last events, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn events(&self, most: i64) -> Result<Vec<Event>, VaultError> {
        let read = || -> Result<Vec<Event>, Failure> {
            let mut statement = self.connection.prepare("SELECT body FROM event ORDER BY id DESC LIMIT ?1")?;
            let mut rows = statement.query([most])?;
            let mut events = Vec::new();
            while let Some(row) = rows.next()? {
                events.push(read_json(&row.get::<_, String>(0)?)?);
            }
            Ok(events)
        };
        read().map_err(|failure| failure.named(&self.path))
    }

    /// The records for which this was seen.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn seen_by(&self, kind: FingerprintKind, fingerprint: Fingerprint) -> Result<Vec<RecordId>, VaultError> {
        let read = || -> Result<Vec<RecordId>, Failure> {
            let mut statement =
                self.connection.prepare_cached("SELECT record FROM fingerprint WHERE kind = ?1 AND mac = ?2")?;
            let rows = statement.query_map(params![number(kind), fingerprint.0], |row| row.get(0).map(RecordId))?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        read().map_err(|failure| failure.named(&self.path))
    }

    /// Commits groups of changes in one transaction: each group happens whole or not at all, and one that fails does
    /// not take the others with it. If the commit itself fails, they are tried one by one.
    pub fn commit(&mut self, groups: &[Vec<Change>]) -> Vec<Result<(), VaultError>> {
        match self.commit_together(groups) {
            Ok(results) => results,
            Err(_) if groups.len() > 1 => groups
                .iter()
                .map(|group| {
                    let alone = self.commit_together(std::slice::from_ref(group));
                    alone.map(|mut results| results.remove(0)).unwrap_or_else(Err)
                })
                .collect(),
            Err(error) => vec![Err(error); groups.len()],
        }
    }

    fn commit_together(&mut self, groups: &[Vec<Change>]) -> Result<Vec<Result<(), VaultError>>, VaultError> {
        let path = self.path.clone();
        let named = |error: rusqlite::Error| diagnose(&path, &error);
        failpoint::vault_commit().map_err(named)?;
        let mut transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(named)?;
        let mut results = Vec::with_capacity(groups.len());
        for group in groups {
            let savepoint = transaction.savepoint().map_err(named)?;
            let applied = group.iter().try_for_each(|change| apply(&savepoint, change));
            results.push(match applied {
                Ok(()) => savepoint.commit().map_err(named),
                // Dropping the savepoint rolls it back.
                Err(failure) => Err(failure.named(&path)),
            });
        }
        transaction.commit().map_err(named)?;
        failpoint!("after-mark" if groups.iter().flatten().any(
            |change| matches!(change, Change::Adoption(adoption) if adoption.state.delivered_at.is_some())
        ));
        Ok(results)
    }
}

fn apply(connection: &Connection, change: &Change) -> Result<(), Failure> {
    match change {
        Change::Record(record) => {
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
                    kept(record.refresh_token.as_ref()),
                    kept(record.candidate.as_ref()),
                    record.access.as_ref().map(write_grant).transpose()?,
                    write_json(&record.state)?,
                ])?;
        }
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
        Change::Adoption(adoption) => {
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
                    kept(adoption.displaced.as_ref()),
                    write_json(&adoption.state)?,
                ])?;
        }
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
    }
    Ok(())
}

fn number(kind: FingerprintKind) -> i64 {
    match kind {
        FingerprintKind::RefreshToken => 1,
        FingerprintKind::Key => 2,
    }
}

/// A file that is a vault, or one that nobody wrote to yet.
enum Recognised {
    Vault,
    Empty,
}

fn recognise(connection: &Connection) -> Result<Recognised, Failure> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version, tables) {
        (0, 0, 0) => Ok(Recognised::Empty),
        (APPLICATION_ID, found, _) if found > SCHEMA => Err(VaultReason::Newer { found, known: SCHEMA }.into()),
        (APPLICATION_ID, SCHEMA, _) => Ok(Recognised::Vault),
        _ => Err(Failure::NotAVault),
    }
}

fn fingerprint_key(connection: &Connection) -> Result<Fingerprinter, Failure> {
    let stored: Vec<u8> =
        connection.query_row("SELECT value FROM meta WHERE name = 'fingerprint_key'", [], |row| row.get(0))?;
    let key = open_bytes(&stored)?;
    Ok(Fingerprinter(hmac::Key::new(hmac::HMAC_SHA256, key)))
}

/// Puts bytes into their stored form.
fn keep(bytes: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(bytes.len() + 1);
    stored.push(PLAIN);
    stored.extend_from_slice(bytes);
    stored
}

fn kept(secret: Option<&Secret>) -> Option<Vec<u8>> {
    secret.map(|secret| keep(secret.expose().as_bytes()))
}

/// Takes bytes out of their stored form.
fn open_bytes(stored: &[u8]) -> Result<&[u8], Failure> {
    match stored.split_first() {
        Some((&PLAIN, bytes)) => Ok(bytes),
        _ => Err(VaultReason::WrongKey { configured: false }.into()),
    }
}

fn taken(stored: Option<Vec<u8>>) -> Result<Option<Secret>, Failure> {
    stored
        .map(|stored| {
            let text = std::str::from_utf8(open_bytes(&stored)?).map_err(|_| Failure::Damaged("not UTF-8"))?;
            Ok(Secret::new(text))
        })
        .transpose()
}

fn write_grant(grant: &AccessGrant) -> Result<Vec<u8>, Failure> {
    let stored = StoredGrant {
        token: grant.token.expose().to_owned(),
        id_token: grant.id_token.as_ref().map(|token| token.expose().to_owned()),
        fields: grant.fields.iter().map(|(field, value)| (field.clone(), value.expose().to_owned())).collect(),
        issued_at: grant.issued_at,
        expires_at: grant.expires_at,
        lifetime_assumed: grant.lifetime_assumed,
    };
    Ok(keep(write_json(&stored)?.as_bytes()))
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

fn read_json<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, Failure> {
    // The parser's words could repeat a secret.
    serde_json::from_str(text).map_err(|_| Failure::Damaged("a row that is not the JSON it should be"))
}

/// What went wrong, before the file's name is put to it.
enum Failure {
    Sqlite(rusqlite::Error),
    Reason(VaultReason),
    Damaged(&'static str),
    NotAVault,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<VaultReason> for Failure {
    fn from(reason: VaultReason) -> Self {
        Self::Reason(reason)
    }
}

impl Failure {
    fn named(self, path: &Path) -> VaultError {
        let name = path.display().to_string();
        match self {
            Self::Sqlite(error) => diagnose(path, &error),
            Self::Reason(reason) => VaultError(reason),
            Self::Damaged(error) => VaultError(VaultReason::Damaged { path: name, error: error.into() }),
            Self::NotAVault => VaultError(VaultReason::NotAVault { path: name }),
        }
    }
}

fn diagnose(path: &Path, error: &rusqlite::Error) -> VaultError {
    let path = path.display().to_string();
    VaultError(match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => VaultReason::NotAVault { path },
        Some(ErrorCode::DatabaseCorrupt) => VaultReason::Damaged { path, error: error.to_string() },
        Some(ErrorCode::DiskFull) => VaultReason::Full { path },
        // Rows that are not what they should be are damage, not a failed write.
        None => VaultReason::Damaged { path, error: error.to_string() },
        Some(_) => VaultReason::Unwritable { path, error: error.to_string() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::TokenReason;

    fn record(id: i64) -> Record {
        Record {
            id: RecordId(id),
            name: format!("credential-{id}"),
            client: ClientIdentity { grant_type: "refresh_token".into(), client_id: "app".into() },
            refresh_token: Some(Secret::new("refresh")),
            candidate: None,
            access: Some(AccessGrant {
                token: Secret::new("access"),
                id_token: None,
                fields: [("/a".to_owned(), Secret::new("b"))].into(),
                issued_at: Timestamp::from_seconds(1),
                expires_at: Timestamp::from_seconds(61),
                lifetime_assumed: false,
            }),
            state: crate::credential::record::State {
                generation: 3,
                last_error: Some(TokenReason::ServerError { status: 502 }.into()),
                ..Default::default()
            },
        }
    }

    #[test]
    fn what_is_committed_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.db");
        let adoption = Adoption {
            gateway: "default".into(),
            channel: 1,
            created_time: 7,
            name: "codex-a".into(),
            record: RecordId(1),
            displaced: Some(Secret::new("before")),
            state: crate::channel::ownership::AdoptionState { generation: 3, ..Default::default() },
        };
        {
            let mut store = Store::open(&path).unwrap();
            let fingerprint = store.fingerprinter().of(&Secret::new("seed"));
            let seen = Change::Seen {
                record: RecordId(1),
                kind: FingerprintKind::RefreshToken,
                fingerprint,
                at: Timestamp::EPOCH,
            };
            let groups = [
                vec![Change::Record(Box::new(record(1))), seen],
                vec![Change::Adoption(Box::new(adoption.clone())), Change::Notices("{}".into())],
            ];
            assert_eq!(store.commit(&groups), [Ok(()), Ok(())]);
        }
        let store = Store::open(&path).unwrap();
        let contents = store.contents().unwrap();
        assert_eq!(contents.records, [record(1)]);
        assert_eq!(contents.adoptions, [adoption]);
        assert_eq!(contents.notices.as_deref(), Some("{}"));
        let fingerprint = store.fingerprinter().of(&Secret::new("seed"));
        assert_eq!(store.seen_by(FingerprintKind::RefreshToken, fingerprint), Ok(vec![RecordId(1)]));
        assert_eq!(store.seen_by(FingerprintKind::Key, fingerprint), Ok(vec![]));
    }

    #[test]
    fn the_last_thousand_keys_are_known_and_every_refresh_token() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("vault.db")).unwrap();
        let mac = |store: &Store, n: i64| store.fingerprinter.of_bytes(&n.to_be_bytes());
        for kind in [FingerprintKind::Key, FingerprintKind::RefreshToken] {
            let make = |n| {
                let (fingerprint, at) = (mac(&store, n), Timestamp::from_millis(n));
                Change::Seen { record: RecordId(1), kind, fingerprint, at }
            };
            let group: Vec<Change> = (0..1100).map(make).collect();
            assert_eq!(store.commit(&[group]), [Ok(())]);
        }
        let seen = |kind, n| store.seen_by(kind, mac(&store, n)).unwrap();
        assert_eq!(seen(FingerprintKind::Key, 0), []);
        assert_eq!(seen(FingerprintKind::Key, 1099), [RecordId(1)]);
        assert_eq!(seen(FingerprintKind::RefreshToken, 0), [RecordId(1)], "row 16: the seed is still configured");
    }

    #[test]
    fn what_is_not_our_vault_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.db");
        for bytes in [&b"this is not a database, it is a letter to somebody"[..], &[0xff; 4096][..]] {
            std::fs::write(&path, bytes).unwrap();
            let error = Store::open(&path).err().unwrap();
            assert!(matches!(error.0, VaultReason::NotAVault { .. }), "{error:?}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
        std::fs::remove_file(&path).unwrap();
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE other (x)").unwrap();
        assert!(matches!(Store::open(&path).err().unwrap().0, VaultReason::NotAVault { .. }));
    }

    #[test]
    fn a_newer_vault_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.db");
        drop(Store::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", SCHEMA + 1).unwrap();
        let error = Store::open(&path).err().unwrap();
        assert_eq!(error.0, VaultReason::Newer { found: SCHEMA + 1, known: SCHEMA });
    }

    #[test]
    fn the_file_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.db");
        drop(Store::open(&path).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
