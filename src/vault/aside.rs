//! Setting a vault aside, so that the next start begins anew: a person's act.

use std::path::{Path, PathBuf};

use crate::reason::VaultReason;
use crate::time::Timestamp;
use crate::vault::failure::system;
use crate::vault::lock::Lock;
use crate::vault::{VaultError, commits, place};

/// Moves a vault, sound or not, to a dated name beside it; its log goes with it. Says where it is now; `None` when
/// there was only the memory of one.
///
/// # Errors
/// When somebody owns it, there is none, or the files cannot be moved.
pub fn set_aside(vault: &Path, now: Timestamp) -> Result<Option<PathBuf>, VaultError> {
    let log = place::with_suffix(vault, "-wal");
    if !vault.exists() && !log.exists() && !commits::any(vault) {
        return Err(VaultError(VaultReason::Missing { path: vault.display().to_string() }));
    }
    let _lock = Lock::take(vault)?;
    // Without colons, which some tools take for the name of a host.
    let aside = place::with_suffix(vault, &format!(".{}", now.to_string().replace(':', "")));
    // The vault first: a start that finds only its log refuses, one that finds it without its log would not.
    let moved = move_if_there(vault, &aside)?;
    let log_moved = move_if_there(&log, &place::with_suffix(&aside, "-wal"))?;
    for rest in [place::with_suffix(vault, "-shm"), commits::path_of(vault)] {
        remove_if_there(&rest)?;
    }
    let directory = vault.parent().unwrap_or(Path::new("/"));
    std::fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| system(directory, &error))?;
    Ok((moved || log_moved).then_some(aside))
}

fn move_if_there(from: &Path, to: &Path) -> Result<bool, VaultError> {
    if !from.exists() {
        return Ok(false);
    }
    std::fs::rename(from, to).map(|()| true).map_err(|error| system(from, &error))
}

fn remove_if_there(path: &Path) -> Result<(), VaultError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(system(path, &error)),
        _ => Ok(()),
    }
}
