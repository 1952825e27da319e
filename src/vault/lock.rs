//! One process owns the vault: an `flock` on a file beside it, which the kernel frees when its holder dies.
//!
//! Works between containers that share a volume. The file names its holder, for people; the lock itself is the truth.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::reason::VaultReason;
use crate::vault::{VaultError, place};

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The lock file of a vault.
pub fn path_of(vault: &Path) -> PathBuf {
    vault.with_extension("lock")
}

impl Lock {
    /// Takes the lock; makes the vault's directory (mode 700) if need be, but not the one above it: a volume that is not
    /// mounted must not get a vault of its own.
    ///
    /// # Errors
    /// When somebody holds it, named as its file names them, when the directory cannot be used, or when it lies where
    /// other machines do not see the lock.
    pub fn take(vault: &Path) -> Result<Self, VaultError> {
        place::refuse_remote(vault)?;
        let directory = vault.parent().unwrap_or(Path::new("/"));
        let unusable = |error: std::io::Error| {
            VaultError(VaultReason::Directory { path: directory.display().to_string(), error: error.to_string() })
        };
        if !directory.exists() {
            std::fs::DirBuilder::new().mode(0o700).create(directory).map_err(unusable)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path_of(vault))
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(VaultError(VaultReason::Owned { holder: read_holder(&mut file) }));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let holder = format!("process {} on {host}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()))
            .map_err(unusable)?;
        Ok(Self { _file: file })
    }

    /// Takes the lock where there may be a vault, and makes no directory for one.
    ///
    /// # Errors
    /// As [`Lock::take`], or when there is no directory.
    pub fn take_of(vault: &Path) -> Result<Self, VaultError> {
        if !vault.parent().is_some_and(Path::exists) {
            return Err(VaultError(VaultReason::Missing { path: vault.display().to_string() }));
        }
        Self::take(vault)
    }

    /// Who holds a vault's lock now, as its file names them; `None` when nobody does.
    pub fn holder(vault: &Path) -> Option<String> {
        let mut file = OpenOptions::new().read(true).open(path_of(vault)).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(read_holder(&mut file)),
            _ => None,
        }
    }
}

fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(200).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}
