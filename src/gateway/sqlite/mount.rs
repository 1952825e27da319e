//! The hazards of where a database lies: shared inodes and filesystems whose locks are not to be trusted.
//!
//! Reads `/proc/self/mountinfo` and `stat`, never the database. Its verdict on a place is kept until another file
//! stands there, so that an open costs no more than a `stat`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::mounts;
use crate::reason::GatewayReason;

/// Remembers the verdict on the file that was looked at last.
#[derive(Debug, Default)]
pub(super) struct Hazards {
    judged: Option<(Place, Result<(), GatewayReason>)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Hazards {
    /// Refuses a file that is shared under another name, or that lies on a filesystem we do not trust.
    ///
    /// The journal lies beside the name that a writer knows. Where a file has two names in two folders (hard links,
    /// or a bind mount of the one file), the journal of a writer that crashed under one name is not found under the
    /// other, and a half-written transaction is then read as committed.
    /// <https://sqlite.org/howtocorrupt.html#_multiple_links_to_the_same_file>
    pub(super) fn refuse(
        &mut self,
        path: &Path,
        metadata: &std::fs::Metadata,
        allowed: &[String],
    ) -> Result<(), GatewayReason> {
        if metadata.nlink() > 1 {
            return Err(GatewayReason::SharedInode { path: path.display().to_string() });
        }
        let place = Place { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() };
        if let Some((judged, verdict)) = &self.judged
            && *judged == place
        {
            return verdict.clone();
        }
        // Without /proc nothing can be said, and nothing is refused.
        let verdict = mounts::table().map_or(Ok(()), |table| judge(&table, path, allowed));
        self.judged = Some((place, verdict.clone()));
        verdict
    }
}

fn judge(table: &str, path: &Path, allowed: &[String]) -> Result<(), GatewayReason> {
    let Some((mount_point, filesystem)) = mounts::find(table, path) else { return Ok(()) };
    if mount_point == path {
        return Err(GatewayReason::SharedInode { path: path.display().to_string() });
    }
    if mounts::is_remote(filesystem) && !allowed.iter().any(|name| name == filesystem) {
        return Err(GatewayReason::Filesystem { name: filesystem.to_owned() });
    }
    Ok(())
}

/// Whether a key could be written: a journal of a few pages fits on the disk. A guess, for whoever asks beforehand.
pub(super) fn has_room(database: &Path) -> Result<(), GatewayReason> {
    const JOURNAL: u64 = 64 * 1024;
    let directory = database.parent().unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(directory) {
        Ok(space) if space.f_bavail.saturating_mul(space.f_frsize) < JOURNAL => {
            Err(GatewayReason::Full { path: database.display().to_string() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /mnt/a\\040share rw - nfs4 host:/export rw
31 22 8:1 /srv/one-api.db /data/one-api.db rw - ext4 /dev/sda1 rw
32 22 0:30 / /stack rw - nfs host:/a rw
33 32 0:31 / /stack rw - tmpfs tmpfs rw
34 22 0:32 / /home/me rw - fuse.sshfs host: rw
";

    #[test]
    fn row_30_and_59_places_are_judged() {
        let shared = |path: &str| Err(GatewayReason::SharedInode { path: path.into() });
        let remote = |name: &str| Err(GatewayReason::Filesystem { name: name.into() });
        for (path, expected) in [
            ("/data/other.db", Ok(())),
            ("/data/one-api.db", shared("/data/one-api.db")),
            ("/mnt/a share/one-api.db", remote("nfs4")),
            ("/mnt/a share or not/one-api.db", Ok(())),
            ("/stack/one-api.db", Ok(())),
            ("/home/me/one-api.db", remote("fuse.sshfs")),
            ("/home/mean/one-api.db", Ok(())),
        ] {
            assert_eq!(judge(TABLE, Path::new(path), &[]), expected, "{path}");
        }
        let path = Path::new("/home/me/one-api.db");
        assert_eq!(judge(TABLE, path, &["fuse.sshfs".to_owned()]), Ok(()));
        assert_eq!(judge("", path, &[]), Ok(()));
    }
}
