//! What SQLite's result codes mean for the person who has to do something about them.
//!
//! Asks `stat`, `access` and `statvfs` and never opens the file. SQLite's own messages are not passed on, save those
//! that name a table or column: a trigger of somebody else's could put a row's contents into them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::ffi;
use rustix::fs::Access;
use rustix::io::Errno;

use crate::reason::GatewayReason;

/// What stands in the way: SQLite's words, or something we know by name already.
#[derive(Debug)]
pub(super) enum Obstacle {
    Sqlite(rusqlite::Error),
    Known(GatewayReason),
}

impl From<rusqlite::Error> for Obstacle {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<GatewayReason> for Obstacle {
    fn from(reason: GatewayReason) -> Self {
        Self::Known(reason)
    }
}

impl Obstacle {
    /// The reason that a person can act upon. `waited` is for how long the operation had been at it.
    ///
    /// Codes: <https://sqlite.org/rescode.html>
    pub(super) fn reason(self, database: &Path, waited: Duration) -> GatewayReason {
        match self {
            Self::Known(reason) => reason,
            Self::Sqlite(rusqlite::Error::SqliteFailure(failure, message)) => {
                of_code(failure.extended_code, message.as_deref(), database, waited)
            }
            Self::Sqlite(rusqlite::Error::SqlInputError { error, msg, .. }) => {
                of_code(error.extended_code, Some(&msg), database, waited)
            }
            // What is left is about types and parameters: names of columns, no values.
            Self::Sqlite(error) => GatewayReason::Failed { error: error.to_string() },
        }
    }
}

fn of_code(code: i32, message: Option<&str>, database: &Path, waited: Duration) -> GatewayReason {
    let path = database.display().to_string();
    let hindrance = || hindrances(database).into_iter().next();
    match (code, code & 0xff) {
        (ffi::SQLITE_READONLY_DBMOVED, _) => GatewayReason::Moved,
        (ffi::SQLITE_READONLY_ROLLBACK, _) => match hindrance() {
            // The mount's being read-only is why it cannot be rolled back; the journal is what has to go.
            None | Some(GatewayReason::ReadOnlyMount { .. }) => GatewayReason::HotJournal { path },
            Some(reason) => reason,
        },
        (ffi::SQLITE_READONLY_DIRECTORY, _) => {
            hindrance().unwrap_or_else(|| read_only_directory(&directory_of(database)))
        }
        (_, ffi::SQLITE_READONLY) => hindrance().unwrap_or_else(|| read_only_file(database)),
        (_, ffi::SQLITE_CANTOPEN | ffi::SQLITE_PERM) => match std::fs::metadata(database) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => GatewayReason::Missing { path },
            _ => hindrance().unwrap_or_else(|| GatewayReason::CannotOpen { path, error: words(code, None) }),
        },
        (_, ffi::SQLITE_BUSY) => {
            GatewayReason::Busy { waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX) }
        }
        (_, ffi::SQLITE_NOTADB) => GatewayReason::NotADatabase { path },
        (_, ffi::SQLITE_CORRUPT) => GatewayReason::Corrupt { path },
        (_, ffi::SQLITE_FULL) => GatewayReason::Full { path },
        _ => GatewayReason::Failed { error: words(code, message) },
    }
}

fn words(code: i32, message: Option<&str>) -> String {
    match message.filter(|message| code == ffi::SQLITE_ERROR && message.starts_with("no such ")) {
        Some(message) => format!("{message} ({code})"),
        None => format!("{} ({code})", ffi::code_to_str(code)),
    }
}

/// Everything that permissions and mounts put in the way of a write: to the file, to what stands beside it, to its
/// directory (where the journal is made).
pub(super) fn hindrances(database: &Path) -> Vec<GatewayReason> {
    let writable = Access::READ_OK | Access::WRITE_OK;
    let directory = directory_of(database);
    let mut found = Vec::new();
    for file in [database.to_owned(), beside(database, "-wal"), beside(database, "-shm"), beside(database, "-journal")]
    {
        match rustix::fs::access(&file, writable) {
            Err(Errno::ROFS) => return vec![GatewayReason::ReadOnlyMount { path: database.display().to_string() }],
            Err(Errno::ACCESS | Errno::PERM) if file.exists() => found.push(read_only_file(&file)),
            _ => {}
        }
    }
    if let Err(Errno::ACCESS | Errno::PERM) = rustix::fs::access(&directory, writable | Access::EXEC_OK) {
        found.push(read_only_directory(&directory));
    }
    found
}

fn read_only_file(file: &Path) -> GatewayReason {
    GatewayReason::ReadOnlyFile { path: file.display().to_string(), owner: owner_of(file), us: us() }
}

fn read_only_directory(directory: &Path) -> GatewayReason {
    GatewayReason::ReadOnlyDirectory { path: directory.display().to_string(), owner: owner_of(directory), us: us() }
}

fn owner_of(path: &Path) -> String {
    std::fs::metadata(path).map_or_else(|_| "?".to_owned(), |stat| format!("{}:{}", stat.uid(), stat.gid()))
}

fn us() -> String {
    format!("{}:{}", rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

fn directory_of(database: &Path) -> PathBuf {
    database.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

/// The file that SQLite keeps beside a database: `-wal`, `-shm`, `-journal`.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(code: i32, message: &str) -> GatewayReason {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(message.to_owned()));
        Obstacle::from(error).reason(Path::new("/nowhere/one-api.db"), Duration::from_millis(1500))
    }

    #[test]
    fn each_result_code_has_its_own_diagnosis() {
        let path = "/nowhere/one-api.db".to_owned();
        for (code, expected) in [
            (5, GatewayReason::Busy { waited_ms: 1500 }),
            (517, GatewayReason::Busy { waited_ms: 1500 }),
            (261, GatewayReason::Busy { waited_ms: 1500 }),
            (1032, GatewayReason::Moved),
            (776, GatewayReason::HotJournal { path: path.clone() }),
            (14, GatewayReason::Missing { path: path.clone() }),
            (26, GatewayReason::NotADatabase { path: path.clone() }),
            (11, GatewayReason::Corrupt { path: path.clone() }),
            (13, GatewayReason::Full { path: path.clone() }),
            (778, GatewayReason::Failed { error: "disk I/O error (778)".into() }),
        ] {
            assert_eq!(reason(code, "whatever"), expected, "{code}");
        }
        assert!(matches!(reason(8, ""), GatewayReason::ReadOnlyFile { .. }));
        assert!(matches!(reason(1544, ""), GatewayReason::ReadOnlyDirectory { .. }));
    }

    #[test]
    fn a_message_that_could_hold_a_row_is_not_passed_on() {
        assert_eq!(
            reason(1, "no such column: config"),
            GatewayReason::Failed { error: "no such column: config (1)".into() }
        );
        for code in [1, 1811] {
            let shown = format!("{:?}", reason(code, "key sentinel-5f3a is bad"));
            assert!(!shown.contains("sentinel"), "{shown}");
        }
    }
}
