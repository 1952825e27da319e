//! How often the vault was committed, counted inside it and in a file beside it.
//!
//! A vault that counts less than the file beside it is an older state of itself: it was restored from a backup, or
//! its log was lost. Its refresh tokens may be spent. The file is written after each commit without waiting for the
//! disk, so it may lag behind, which hides nothing else; it never runs ahead. Deleting it means that nothing is
//! noticed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::vault::{Fingerprint, Fingerprinter};

/// The count beside a vault.
pub(super) struct Commits {
    path: PathBuf,
    /// Which vault is counted: another one put in its place has a count of its own.
    vault: String,
    file: Option<File>,
    written: u64,
}

/// Where the count beside a vault is.
pub(super) fn path_of(vault: &Path) -> PathBuf {
    vault.with_extension("commits")
}

/// Whether a vault was ever committed here, as far as the file beside it says.
pub(super) fn any(vault: &Path) -> bool {
    std::fs::read_to_string(path_of(vault)).is_ok_and(|text| parse(&text).is_some_and(|(_, count)| count > 0))
}

impl Commits {
    /// Reads the count beside this vault.
    pub(super) fn beside(path: &Path, fingerprinter: &Fingerprinter) -> Self {
        let Fingerprint(mac) = fingerprinter.of_bytes(b"vault");
        let vault: String = mac[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let path = path_of(path);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let written = parse(&text).filter(|(of, _)| *of == vault).map_or(0, |(_, count)| count);
        Self { path, vault, file: None, written }
    }

    /// What the file says.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Notes a commit. What fails here is only a chance to notice something later.
    pub(super) fn write(&mut self, count: u64) {
        if count <= self.written {
            return;
        }
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            self.file = options.write(true).create(true).truncate(false).mode(0o600).open(&self.path).ok();
        }
        // Always as long as before, so that no half of an older count is left.
        let text = format!("{} {count:020}\n", self.vault);
        match self.file.as_ref().map(|file| file.write_all_at(text.as_bytes(), 0)) {
            Some(Ok(())) => self.written = count,
            _ => tracing::debug!(path = %self.path.display(), "the commits are not counted beside the vault"),
        }
    }
}

fn parse(text: &str) -> Option<(&str, u64)> {
    let (vault, count) = text.strip_suffix('\n')?.split_once(' ')?;
    Some((vault, count.parse().ok()?))
}
