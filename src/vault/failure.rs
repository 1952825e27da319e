//! What goes wrong inside the vault, before the file's name is put to it, and what SQLite's words mean.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::reason::VaultReason;
use crate::vault::VaultError;

/// A failure that does not know its file yet.
#[derive(Debug)]
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    Reason(VaultReason),
    Damaged(&'static str),
    NotAVault,
    NoRandomness,
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
    /// Puts the file's name to it.
    pub(super) fn named(self, path: &Path) -> VaultError {
        let name = path.display().to_string();
        match self {
            Self::Sqlite(error) => diagnose(path, &error),
            Self::Reason(reason) => VaultError(reason),
            Self::Damaged(error) => VaultError(VaultReason::Damaged { path: name, error: error.into() }),
            Self::NotAVault => VaultError(VaultReason::NotAVault { path: name }),
            Self::NoRandomness => {
                VaultError(VaultReason::Unwritable { path: name, error: "the system gives no randomness".into() })
            }
        }
    }

    /// Whether another process is in the way at this moment.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy))
    }
}

/// What an error of SQLite's means for the vault.
pub(super) fn diagnose(path: &Path, error: &rusqlite::Error) -> VaultError {
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

/// What an error of the system's means for a file of the vault.
pub(super) fn system(path: &Path, error: &std::io::Error) -> VaultError {
    let path = path.display().to_string();
    VaultError(match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => VaultReason::Full { path },
        _ => VaultReason::Unwritable { path, error: error.to_string() },
    })
}
