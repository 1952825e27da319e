//! Where a vault lies, and who can touch it: found out without opening it.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::Access;

use crate::finding::Finding;
use crate::mounts;
use crate::reason::VaultReason;
use crate::vault::failure::{Failure, system};
use crate::vault::{VaultError, commits, reserve};

/// Whether a vault stands there that may be opened.
///
/// # Errors
/// When something stands there, or has stood there, that must not be touched.
pub fn stands(path: &Path) -> Result<bool, VaultError> {
    let name = || path.display().to_string();
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return absent(path).map(|()| false),
        Err(error) => return Err(system(path, &error)),
    };
    if !metadata.is_file() {
        return Err(Failure::NotAVault.named(path));
    }
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us {
        return Err(VaultError(VaultReason::OtherOwner { path: name(), owner: metadata.uid(), us }));
    }
    if rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK).is_err() {
        return Err(VaultError(VaultReason::ReadOnly { path: name() }));
    }
    // The log lies beside it.
    let directory = path.parent().unwrap_or(Path::new("/"));
    if let Err(error) = rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK) {
        return Err(VaultError(VaultReason::Directory {
            path: directory.display().to_string(),
            error: std::io::Error::from(error).to_string(),
        }));
    }
    // Empty: made a moment before a crash, or all of it was lost.
    if metadata.len() == 0 { absent(path).map(|()| false) } else { Ok(true) }
}

/// No vault where there was one is a loss, not a beginning: its seeds are spent. A rollback journal is no sign of one:
/// SQLite uses it once, while the vault is made, and a kill may leave it.
fn absent(path: &Path) -> Result<(), VaultError> {
    if commits::any(path) || is_filled(path, "-wal") { Err(gone(path)) } else { Ok(()) }
}

/// There was a vault.
pub(super) fn gone(path: &Path) -> VaultError {
    VaultError(VaultReason::Gone { path: path.display().to_string() })
}

/// Whether a log lies beside the vault whose content is not in it yet.
pub(super) fn has_log(path: &Path) -> bool {
    ["-wal", "-journal"].iter().any(|suffix| is_filled(path, suffix))
}

fn is_filled(path: &Path, suffix: &str) -> bool {
    std::fs::metadata(with_suffix(path, suffix)).is_ok_and(|log| log.len() > 0)
}

/// The path with something after its file name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Whether group or others may read or write something.
pub(super) fn open_to_others(path: &Path) -> Option<VaultReason> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0)
        .then(|| VaultReason::ReadableByOthers { path: path.display().to_string(), mode: format!("{mode:o}") })
}

/// Refuses a filesystem on which another machine may write without seeing our locks: two owners would spend one
/// refresh token, and the log of SQLite (WAL) is not for such either.
///
/// # Errors
/// With the filesystem's name.
pub(super) fn refuse_remote(path: &Path) -> Result<(), VaultError> {
    remote(path).map_or(Ok(()), |reason| Err(VaultError(reason)))
}

fn remote(path: &Path) -> Option<VaultReason> {
    // The directory may not be there yet. Without /proc nothing can be said, and nothing is refused.
    let there = path.ancestors().find_map(|path| path.canonicalize().ok())?;
    let table = mounts::table()?;
    remote_of(&table, &there).map(|name| VaultReason::Filesystem { path: path.display().to_string(), name })
}

fn remote_of(table: &str, place: &Path) -> Option<String> {
    let (_, filesystem) = mounts::find(table, place)?;
    mounts::is_remote(filesystem).then(|| filesystem.to_owned())
}

/// What there is to say about a vault's place, without opening it.
pub fn examine(path: &Path) -> Vec<Finding> {
    if let Some(reason) = remote(path) {
        return vec![Finding::error("vault", reason)];
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    let open = [path, directory].into_iter().filter_map(open_to_others);
    open.chain(fleeting(path)).map(|reason| Finding::warning("vault", reason)).collect()
}

/// Whether a vault could be made here: the directory is there or can be made, and there is room for `in_flight` answers.
///
/// # Errors
/// What is in the way.
pub fn could_begin(path: &Path, in_flight: usize) -> Result<(), VaultError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    // The first start makes the directory, but not the one above it.
    let there = if directory.exists() { directory } else { directory.parent().unwrap_or(Path::new("/")) };
    rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let error = std::io::Error::from(error).to_string();
        VaultError(VaultReason::Directory { path: directory.display().to_string(), error })
    })?;
    has_room(path, in_flight)
}

/// Whether there is room for the vault's reserve, or it is held already. A guess: what counts is that the agent takes
/// it before it sends anything.
///
/// # Errors
/// When there is none.
pub fn has_room(path: &Path, in_flight: usize) -> Result<(), VaultError> {
    let there = path.ancestors().skip(1).find(|path| path.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(there) {
        Ok(space) if space.f_bavail.saturating_mul(space.f_frsize) < reserve::missing(path, in_flight) => {
            Err(VaultError(VaultReason::Full { path: path.display().to_string() }))
        }
        _ => Ok(()),
    }
}

/// A place that is gone with its container, or with the machine's next start.
fn fleeting(path: &Path) -> Option<VaultReason> {
    // The directory may not be there yet.
    let there = path.ancestors().find(|path| path.exists())?;
    let filesystem = match u64::try_from(rustix::fs::statfs(there).ok()?.f_type).ok()? {
        0x794c_7630 => "overlay",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        _ => return None,
    };
    Some(VaultReason::Fleeting { path: path.display().to_string(), filesystem: filesystem.into() })
}

/// The name under which SQLite reads a file as it is: no lock, no log, nothing made beside it.
pub(super) fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri + "?immutable=1"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_30_a_vault_on_another_machines_disk_is_known() {
        let table = "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                     30 22 0:26 / /mnt/share rw - nfs4 host:/export rw\n\
                     31 22 0:27 / /data rw - fuse.grpcfuse grpcfuse rw\n\
                     32 31 8:1 / /data/local rw - ext4 /dev/sda1 rw\n";
        for (place, expected) in [
            ("/var/lib/sidecar", None),
            ("/mnt/share/one-api-sidecar", Some("nfs4")),
            ("/data/one-api-sidecar", Some("fuse.grpcfuse")),
            ("/data/local/one-api-sidecar", None),
        ] {
            assert_eq!(remote_of(table, Path::new(place)).as_deref(), expected, "{place}");
        }
        assert_eq!(refuse_remote(Path::new("/proc/self/not-there/vault.db")), Ok(()));
    }
}
