//! A visit to somebody else's database: opened for a look and the write that may follow it, closed a moment after.
//!
//! A file that was replaced under a connection that stayed open would swallow writes (in WAL mode without a word): who
//! stays makes sure of it before each operation, and after each write. Never creates, never sets what persists, and
//! touches the file through SQLite and `stat` only: closing any other descriptor of it would drop this process's POSIX
//! locks, and with them another program's commit.
//! <https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_>

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::diagnose::{Obstacle, hindrances};
use super::mount::Hazards;
use super::rows;
use crate::config::plan::{GatewayKind, GatewayPlan};
use crate::gateway::kind::identify;
use crate::reason::GatewayReason;

/// An open database that was recognised as a gateway's.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) connection: Connection,
    pub(super) kind: GatewayKind,
    /// The SELECT that reads channels with the columns that this database has.
    pub(super) select: String,
    /// The file itself, symbolic links resolved: SQLite keeps the journal beside this name.
    pub(super) path: PathBuf,
    pub(super) patience: Patience,
    file: (u64, u64),
    schema: i64,
}

impl Visit {
    /// Opens the database and recognises what it is, or stays where the last visit was, if that is still the place.
    pub(super) fn open(
        database: &Path,
        plan: &GatewayPlan,
        hazards: &mut Hazards,
        patience: Patience,
        last: Option<Self>,
    ) -> Result<Self, GatewayReason> {
        let (path, metadata) = find(database)?;
        hazards.refuse(&path, &metadata, &plan.allow_filesystem)?;
        if metadata.len() == 0 {
            // A gateway makes its file before its tables; opening it could only disturb.
            return Err(GatewayReason::NotMigrated { path: path.display().to_string() });
        }
        let file = (metadata.dev(), metadata.ino());
        let attempt = || -> Result<Self, Obstacle> {
            if let Some(mut visit) = last.filter(|last| last.path == path && last.file == file) {
                patience.install(&mut visit.connection)?;
                // Nobody has migrated it meanwhile.
                if schema_version(&visit.connection)? == visit.schema {
                    return Ok(Self { patience: patience.clone(), ..visit });
                }
            }
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let mut connection = Connection::open_with_flags(&path, flags)?;
            patience.install(&mut connection)?;
            // Per connection, not stored: an image with a read-only root has no place for temporary files.
            connection.execute_batch("PRAGMA temp_store=MEMORY")?;
            // Before they are read: who migrates in between is noticed by whoever stays.
            let schema = schema_version(&connection)?;
            let (kind, columns) = recognise(&connection, &path)?;
            // A small cache is enough for a batch, and a look at ten thousand channels does not fill memory. Not before
            // the schema was read: it would be read for this.
            connection.execute_batch("PRAGMA cache_size=-512")?;
            Ok(Self {
                select: rows::select(kind, &columns),
                file,
                schema,
                path: path.clone(),
                patience: patience.clone(),
                connection,
                kind,
            })
        };
        attempt().map_err(|obstacle| obstacle.reason(&path, patience.spent()))
    }

    /// Whether another file stands at the path by now: what was written then went nowhere.
    pub(super) fn was_moved(&self) -> bool {
        std::fs::metadata(&self.path).map_or(true, |now| (now.dev(), now.ino()) != self.file)
    }

    /// Says what stopped an operation of this visit.
    pub(super) fn reason(&self, obstacle: impl Into<Obstacle>) -> GatewayReason {
        obstacle.into().reason(&self.path, self.patience.spent())
    }
}

/// The file behind the configured path. A missing one is waited for, never created.
fn find(database: &Path) -> Result<(PathBuf, std::fs::Metadata), GatewayReason> {
    let shown = || database.display().to_string();
    let found = std::fs::canonicalize(database).and_then(|path| Ok((std::fs::metadata(&path)?, path)));
    match found {
        Ok((metadata, path)) if metadata.is_file() => Ok((path, metadata)),
        Ok(_) => Err(GatewayReason::CannotOpen { path: shown(), error: "not a regular file".into() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(GatewayReason::Missing { path: shown() }),
        Err(error) => Err(hindrances(database)
            .into_iter()
            .next()
            .unwrap_or_else(|| GatewayReason::CannotOpen { path: shown(), error: error.to_string() })),
    }
}

fn recognise(connection: &Connection, path: &Path) -> Result<(GatewayKind, HashSet<String>), Obstacle> {
    let channels = columns(connection, "PRAGMA table_info(channels)")?;
    if channels.is_empty() {
        // The tables appear one after another, in New API in any order: a file with one that only these gateways
        // have is in the making.
        const STRANGE: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table')
            AND NOT EXISTS (SELECT 1 FROM sqlite_master WHERE name IN ('abilities', 'redemptions'))";
        let strange = connection.query_row(STRANGE, [], |row| row.get(0))?;
        return Err(if strange {
            GatewayReason::Unknown { missing: vec!["channels".into()] }
        } else {
            GatewayReason::NotMigrated { path: path.display().to_string() }
        }
        .into());
    }
    let abilities = columns(connection, "PRAGMA table_info(abilities)")?;
    Ok((identify(&channels, &abilities, &path.display().to_string())?, channels))
}

/// Changes whenever a table does. <https://sqlite.org/pragma.html#pragma_schema_version>
fn schema_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))
}

fn columns(connection: &Connection, pragma: &str) -> rusqlite::Result<HashSet<String>> {
    connection.prepare(pragma)?.query_map([], |row| row.get("name"))?.collect()
}

/// How long a connection goes on asking for a lock that somebody else holds.
///
/// SQLite's own timeout sleeps longer and longer, up to 100 ms, and starves beside busy writers; short sleeps with
/// jitter find the gaps (0 of 900 writes failed, against 5 of 900).
#[derive(Debug, Clone)]
pub(super) struct Patience {
    since: Instant,
    until_microseconds: Arc<AtomicU64>,
}

impl Patience {
    /// From now on waits for this long and no longer.
    pub(super) fn new(budget: Duration) -> Self {
        let patience = Self { since: Instant::now(), until_microseconds: Arc::default() };
        patience.allow(budget);
        patience
    }

    /// From now on waits for this long and no longer.
    pub(super) fn allow(&self, budget: Duration) {
        self.until_microseconds.store(microseconds(self.spent().saturating_add(budget)), Ordering::Relaxed);
    }

    /// The time since the visit began.
    pub(super) fn spent(&self) -> Duration {
        self.since.elapsed()
    }

    fn install(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let patience = self.clone();
        connection.busy_handler(Some(move |_| {
            let until = patience.until_microseconds.load(Ordering::Relaxed);
            let left = until.saturating_sub(microseconds(patience.spent()));
            if left > 0 {
                std::thread::sleep(Duration::from_micros(left.min(fastrand::u64(200..=3000))));
            }
            left > 0
        }))
    }
}

fn microseconds(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}
