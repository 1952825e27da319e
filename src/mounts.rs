//! Which mount a path lies on, as the kernel's table says, and which filesystems lock for one machine only. Leaf.

use std::path::{Path, PathBuf};

/// The table of mounts as this process sees them; `None` without `/proc`.
pub fn table() -> Option<String> {
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    Some(String::from_utf8_lossy(&table).into_owned())
}

/// Whether a file is itself a mount point, as `-v ./file:/file` makes it: it goes on being the file that it was when
/// it was mounted, whatever takes its name on the host.
pub fn is_mounted_alone(file: &Path) -> bool {
    let Ok(file) = std::fs::canonicalize(file) else { return false };
    table().is_some_and(|table| find(&table, &file).is_some_and(|(mount_point, _)| mount_point == file))
}

/// The mount that a path lies on: the longest mount point that is its prefix, the last one where several are stacked.
///
/// Fields: `proc_pid_mountinfo(5)`; the mount point is the fifth, the type follows the lone `-`.
pub fn find<'a>(table: &'a str, path: &Path) -> Option<(PathBuf, &'a str)> {
    table
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            Some((PathBuf::from(unescape(left.split(' ').nth(4)?)), right.split(' ').next()?))
        })
        .filter(|(mount_point, _)| path.starts_with(mount_point))
        .max_by_key(|(mount_point, _)| mount_point.as_os_str().len())
}

/// Filesystems on which another machine, or a host outside this kernel, may write without seeing our locks.
pub fn is_remote(filesystem: &str) -> bool {
    const REMOTE: [&str; 19] = [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "virtiofs",
        "ceph",
        "afs",
        "lustre",
        "gpfs",
        "ocfs2",
        "gfs2",
        "beegfs",
        "orangefs",
        "vboxsf",
        "vmhgfs",
        "prl_fs",
        "fakeowner",
    ];
    REMOTE.contains(&filesystem) || filesystem.starts_with("fuse")
}

/// Undoes the kernel's `\040` for a blank, and its like.
fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => text.push(code.into()),
            None => text.push('\\'),
        }
        rest = &rest[at + if code.is_some() { 4 } else { 1 }..];
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_other_backslashes_kept() {
        for (field, expected) in [("/a", "/a"), ("/a\\040b\\134c", "/a b\\c"), ("/a\\9", "/a\\9"), ("\\", "\\")] {
            assert_eq!(unescape(field), expected);
        }
    }
}
