//! The vault's file: SQLite in WAL mode with `synchronous=FULL`, so that what was committed survives a power cut.
//!
//! Before it is opened for writing it is looked at in a way that changes nothing and makes nothing beside it; what
//! cannot be read, or not by us, is left as it is.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use crate::credential::record::RecordId;
use crate::failpoint::{self, failpoint};
use crate::reason::VaultReason;
use crate::vault::backing::{Backing, Group, Purpose};
use crate::vault::commits::Commits;
use crate::vault::failure::{Failure, diagnose, system};
use crate::vault::reserve::Reserve;
use crate::vault::schema::{OURS, Recognised, Schema};
use crate::vault::seal::{EncryptionKey, Seal};
use crate::vault::{
    Change, Contents, Fingerprint, FingerprintKind, Fingerprinter, VaultError, commits, place, rows, sealing,
};

/// How long another process may be in the way: `status` reads, and nobody else writes.
const BUSY: Duration = Duration::from_secs(5);
/// The page cache, in KiB as SQLite wants it (negative): room for what one large commit changes. What it holds is given
/// back when there is nothing to do; see [`Backing::rest`].
const CACHE: i64 = -2048;
/// After so many pages the log is taken into the file, 16 MiB in place of SQLite's 4: in a storm most of them are written
/// again and again, and each is taken over once.
const LOG: i64 = 4000;
/// What the log keeps of the disk afterwards, in bytes.
const LOG_AT_REST: i64 = 4 * 1024 * 1024;
/// Counts the transactions; see [`crate::vault::commits`].
const COMMITS: &str = "commits";

/// The open file.
pub struct Store {
    connection: Connection,
    path: PathBuf,
    seal: Seal,
    fingerprinter: Fingerprinter,
    reserve: Reserve,
    commits: Commits,
    /// How many transactions the file has seen.
    count: u64,
}

impl Store {
    /// Opens the vault, creates it if there is none, brings an older one forward; seals it if there is a key and it is
    /// not sealed yet. The caller holds the lock.
    ///
    /// # Errors
    /// When it cannot be read, is not a vault, is damaged, newer than this program, sealed with another key, or not
    /// ours alone: nothing was changed then.
    pub fn open(path: &Path, key: Option<&EncryptionKey>, max_in_flight: usize) -> Result<Self, VaultError> {
        Self::open_as(OURS, path, key, max_in_flight)
    }

    pub(super) fn open_as(
        schema: Schema,
        path: &Path,
        key: Option<&EncryptionKey>,
        max_in_flight: usize,
    ) -> Result<Self, VaultError> {
        if place::stands(path)? {
            let is_sealed = match Self::looked_at(schema, path, key) {
                Ok(Some((seen, _))) => seen.is_sealed(),
                Ok(None) if commits::any(path) => return Err(place::gone(path)),
                Ok(None) => false,
                // `status` reads at this moment; what is wrong is found below, too.
                Err(failure) if failure.is_busy() => false,
                Err(failure) => return Err(failure.named(path)),
            };
            if let Some(reason) = place::open_to_others(path).filter(|_| !is_sealed) {
                return Err(VaultError(reason));
            }
        } else {
            // The mode is set before SQLite opens the file; afterwards ordinary I/O on it would drop SQLite's locks.
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            options.open(path).map_err(|error| system(path, &error))?;
        }
        let open = || {
            let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            let mut store = Self::prepare(schema, connection, path, key)?;
            store.reserve.resize(max_in_flight);
            Ok(store)
        };
        open().map_err(|failure: Failure| failure.named(path))
    }

    fn prepare(
        schema: Schema,
        mut connection: Connection,
        path: &Path,
        key: Option<&EncryptionKey>,
    ) -> Result<Self, Failure> {
        connection.pragma_update(None, "secure_delete", "ON")?;
        let recognised = schema.recognise(&connection)?;
        connection.pragma_update(None, "cache_size", CACHE)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", LOG)?;
        connection.pragma_update(None, "journal_size_limit", LOG_AT_REST)?;
        if let Recognised::Older(from) = recognised {
            let seal = sealing::proven(&connection, key)?;
            let copy = schema.migrate(&mut connection, path, &seal, from)?;
            let to = schema.number();
            tracing::info!(from, to, copy = %copy.display(), "the vault was brought forward; the copy is as it was before");
        }
        if recognised == Recognised::Empty {
            let transaction = connection.transaction()?;
            transaction.execute_batch(rows::CREATE)?;
            let mut fingerprint_key = [0u8; 32];
            SystemRandom::new().fill(&mut fingerprint_key).map_err(|_| Failure::NoRandomness)?;
            sealing::begin(&transaction, &Seal::with(key), &fingerprint_key)?;
            schema.stamp(&transaction)?;
            transaction.commit()?;
        }
        let mut store = Self::read(connection, path, key)?;
        if let Some(key) = key.filter(|_| !store.is_sealed()) {
            store.reseal(key)?;
        }
        store.scrub();
        Ok(store)
    }

    fn read(connection: Connection, path: &Path, key: Option<&EncryptionKey>) -> Result<Self, Failure> {
        let seal = sealing::proven(&connection, key)?;
        let fingerprint_key = sealing::fingerprint_key(&connection, &seal)?;
        let fingerprinter = Fingerprinter(hmac::Key::new(hmac::HMAC_SHA256, &fingerprint_key));
        let count = rows::meta(&connection, COMMITS)?.and_then(|bytes| bytes.try_into().ok());
        Ok(Self {
            count: count.map_or(0, u64::from_be_bytes),
            commits: Commits::beside(path, &fingerprinter),
            reserve: Reserve::beside(path, 0),
            path: path.to_owned(),
            connection,
            seal,
            fingerprinter,
        })
    }

    /// Opens the vault beside its owner, for reading.
    ///
    /// # Errors
    /// When there is none, or as [`Store::open`].
    pub fn open_read_only(path: &Path, key: Option<&EncryptionKey>) -> Result<Self, VaultError> {
        let missing = || VaultReason::Missing { path: path.display().to_string() };
        if !path.exists() {
            return Err(VaultError(missing()));
        }
        let open = || -> Result<Self, Failure> {
            let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            match OURS.recognise(&connection)? {
                Recognised::Vault => Self::read(connection, path, key),
                Recognised::Older(found) => Err(VaultReason::Older { found, known: OURS.number() }.into()),
                Recognised::Empty => Err(missing().into()),
            }
        };
        open().map_err(|failure| failure.named(path))
    }

    /// Opens the vault for a look that changes nothing and makes nothing beside it, and checks that it is sound. The
    /// caller holds the lock.
    ///
    /// # Errors
    /// When there is none, or as [`Store::open`].
    pub fn look(path: &Path, key: Option<&EncryptionKey>) -> Result<Self, VaultError> {
        if !place::stands(path)? {
            return Err(VaultError(VaultReason::Missing { path: path.display().to_string() }));
        }
        match Self::looked_at(OURS, path, key).map_err(|failure| failure.named(path))? {
            Some((_, Recognised::Older(found))) => Err(VaultError(VaultReason::Older { found, known: OURS.number() })),
            Some((seen, _)) => Ok(seen),
            None => Err(VaultError(VaultReason::Missing { path: path.display().to_string() })),
        }
    }

    /// [`Store::look`] beside the owner: by SQLite's own locks, which keep nobody waiting.
    ///
    /// # Errors
    /// The same.
    pub fn look_beside(path: &Path, key: Option<&EncryptionKey>) -> Result<Self, VaultError> {
        let store = Self::open_read_only(path, key)?;
        let sound: Result<String, _> = store.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
        match sound.map_err(|error| diagnose(path, &error))? {
            sound if sound == "ok" => Ok(store),
            error => Err(VaultError(VaultReason::Damaged { path: path.display().to_string(), error })),
        }
    }

    fn looked_at(
        schema: Schema,
        path: &Path,
        key: Option<&EncryptionKey>,
    ) -> Result<Option<(Self, Recognised)>, Failure> {
        let connection = if place::has_log(path) {
            // What the log holds is indexed in memory, and closing does not move it into the file.
            let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            connection
        } else {
            let uri = place::immutable_uri(path);
            connect(Path::new(&uri), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)?
        };
        let recognised = schema.recognise(&connection)?;
        if recognised == Recognised::Empty {
            return Ok(None);
        }
        let sound: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if sound != "ok" {
            return Err(VaultReason::Damaged { path: path.display().to_string(), error: sound }.into());
        }
        Ok(Some((Self::read(connection, path, key)?, recognised)))
    }

    /// Makes fingerprints under this vault's key.
    pub fn fingerprinter(&self) -> &Fingerprinter {
        &self.fingerprinter
    }

    /// Whether it is sealed.
    pub fn is_sealed(&self) -> bool {
        self.seal.is_sealed()
    }

    /// Whether it is an older state of itself: fewer commits than were counted beside it.
    pub fn is_behind(&self) -> bool {
        self.commits.written() > self.count
    }

    /// Reads everything the agent keeps in memory.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn contents(&self) -> Result<Contents, VaultError> {
        self.read_contents().map_err(|failure| failure.named(&self.path))
    }

    fn read_contents(&self) -> Result<Contents, Failure> {
        let notices = "SELECT state FROM notice WHERE name = 'policy'";
        Ok(Contents {
            records: rows::records(&self.connection, &self.seal)?,
            adoptions: rows::adoptions(&self.connection, &self.seal)?,
            notices: self.connection.query_row(notices, [], |row| row.get(0)).optional()?,
            events: rows::events(&self.connection)?,
            behind: self.is_behind(),
        })
    }

    /// How many fingerprints and events it holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn counts(&self) -> Result<(i64, i64), VaultError> {
        let counts = "SELECT (SELECT count(*) FROM fingerprint), (SELECT count(*) FROM event)";
        let read = self.connection.query_row(counts, [], |row| Ok((row.get(0)?, row.get(1)?)));
        read.map_err(|error| diagnose(&self.path, &error))
    }

    /// The records for which this was seen.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn seen_by(&self, kind: FingerprintKind, fingerprint: Fingerprint) -> Result<Vec<RecordId>, VaultError> {
        let read = || -> Result<Vec<RecordId>, Failure> {
            let mut statement =
                self.connection.prepare_cached("SELECT record FROM fingerprint WHERE kind = ?1 AND mac = ?2")?;
            let rows =
                statement.query_map(params![rows::number(kind), fingerprint.0], |row| row.get(0).map(RecordId))?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        read().map_err(|failure| failure.named(&self.path))
    }

    /// Seals everything with another key, and leaves nothing behind of what was there before.
    ///
    /// # Errors
    /// When it could not be written: then it is sealed as before.
    pub fn rekey(&mut self, key: &EncryptionKey) -> Result<(), VaultError> {
        self.reseal(key).map_err(|failure| failure.named(&self.path))?;
        self.scrub();
        Ok(())
    }

    fn reseal(&mut self, key: &EncryptionKey) -> Result<(), Failure> {
        self.seal = sealing::reseal(&mut self.connection, &self.seal, key)?;
        Ok(())
    }

    fn scrub(&self) {
        if let Err(failure) = sealing::scrub(&self.connection) {
            let error = failure.named(&self.path);
            tracing::warn!(%error, "free pages may still hold what was sealed otherwise; tried again at the next start");
        }
    }

    /// Changes for how many requests at once there is to be room.
    pub fn set_max_in_flight(&mut self, max_in_flight: usize) {
        self.reserve.resize(max_in_flight);
    }

    /// Commits groups of changes in one transaction: each group happens whole or not at all, and one that fails does
    /// not take the others with it: then each half is tried by itself, in order.
    ///
    /// While the reserve is missing only answers are written: what little space there is is theirs.
    pub fn commit(&mut self, groups: &[Group]) -> Vec<Result<(), VaultError>> {
        let mut results = vec![Ok(()); groups.len()];
        let ensured = self.reserve.ensure();
        for (group, result) in groups.iter().zip(&mut results) {
            if group.purpose != Purpose::Answer {
                result.clone_from(&ensured);
            }
        }
        let wanted: Vec<usize> = (0..groups.len()).filter(|at| results[*at].is_ok()).collect();
        self.commit_these(groups, &wanted, &mut results);
        let starved = |at: &usize| groups[*at].purpose == Purpose::Answer && is_full(&results[*at]);
        let starved: Vec<usize> = (0..groups.len()).filter(starved).collect();
        if !starved.is_empty() {
            self.make_room();
            self.commit_these(groups, &starved, &mut results);
        }
        results
    }

    /// The disk is full, and an answer must land.
    fn make_room(&mut self) {
        self.reserve.give_up();
        // What is in the file need not stay in the log, which then begins again in the space it has.
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::debug!(%error, "the log was not taken into the file");
        }
    }

    fn commit_these(&mut self, groups: &[Group], these: &[usize], results: &mut [Result<(), VaultError>]) {
        if these.is_empty() {
            return;
        }
        match self.commit_together(these.iter().map(|at| &groups[*at])) {
            Ok(()) => these.iter().for_each(|at| results[*at] = Ok(())),
            Err(error) if these.len() == 1 || matches!(error.0, VaultReason::Full { .. }) => {
                these.iter().for_each(|at| results[*at] = Err(error.clone()));
            }
            Err(_) => {
                let (first, second) = these.split_at(these.len() / 2);
                self.commit_these(groups, first, results);
                self.commit_these(groups, second, results);
            }
        }
    }

    fn commit_together<'g>(&mut self, groups: impl Iterator<Item = &'g Group> + Clone) -> Result<(), VaultError> {
        let path = &self.path;
        let named = |error: rusqlite::Error| diagnose(path, &error);
        failpoint::vault_commit().map_err(named)?;
        #[cfg(feature = "failpoints")]
        let marks = groups.clone();
        let catches_up =
            groups.clone().flat_map(|group| &group.changes).any(|change| matches!(change, Change::CaughtUp));
        let count = if catches_up { self.count.max(self.commits.written()) } else { self.count } + 1;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(named)?;
        // What fails is rare: dropping the transaction then rolls all of it back, which costs less than a savepoint
        // around each group.
        for change in groups.flat_map(|group| &group.changes) {
            rows::apply(&transaction, &self.seal, change).map_err(|failure| failure.named(path))?;
        }
        rows::set_meta(&transaction, COMMITS, &count.to_be_bytes()).map_err(named)?;
        transaction.commit().map_err(named)?;
        failpoint!("after-mark" if marks.flat_map(|group| &group.changes).any(
            |change| matches!(change, Change::Adoption(adoption) if adoption.state.delivered_at.is_some())
        ));
        self.count = count;
        self.commits.write(count);
        Ok(())
    }
}

impl Backing for Store {
    fn fingerprinter(&self) -> &Fingerprinter {
        Self::fingerprinter(self)
    }

    fn commit(&mut self, groups: &[Group]) -> Vec<Result<(), VaultError>> {
        Self::commit(self, groups)
    }

    fn seen_by(&mut self, kind: FingerprintKind, fingerprint: Fingerprint) -> Result<Vec<RecordId>, VaultError> {
        Self::seen_by(self, kind, fingerprint)
    }

    fn seen_by_each(&mut self, questions: &[(FingerprintKind, Fingerprint)]) -> Vec<Result<Vec<RecordId>, VaultError>> {
        // Each would take the file's locks by itself. If they cannot be taken together each says why.
        let together = (questions.len() > 1).then(|| self.connection.unchecked_transaction());
        let answers = questions.iter().map(|(kind, fingerprint)| Self::seen_by(self, *kind, *fingerprint)).collect();
        drop(together);
        answers
    }

    fn set_max_in_flight(&mut self, max_in_flight: usize) {
        Self::set_max_in_flight(self, max_in_flight);
    }

    fn rest(&mut self) {
        if let Err(error) = self.connection.release_memory() {
            tracing::debug!(%error, "the page cache stays");
        }
    }
}

fn is_full(result: &Result<(), VaultError>) -> bool {
    matches!(result, Err(VaultError(VaultReason::Full { .. })))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, Failure> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    // In an image with a read-only root there is no directory for temporary files.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

#[cfg(test)]
mod tests;
