//! Room for answers: a file beside the vault that holds disk space until an answer needs it.
//!
//! A request whose answer cannot be stored must not leave, and a guess from `statvfs` is not proof. So the space is
//! taken beforehand (`posix_fallocate`), given up when the commit of an answer meets a full disk, and taken again
//! afterwards; while it is missing no request leaves.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::vault::VaultError;
use crate::vault::failure::system;

/// Room for one answer: its record, its fingerprints, the log around them.
const EACH: u64 = 64 * 1024;
/// The smallest reserve.
const LEAST: u64 = 1024 * 1024;

/// The reserve of a vault.
pub(super) struct Reserve {
    path: PathBuf,
    size: u64,
    held: bool,
}

impl Reserve {
    /// The reserve beside a vault, for so many requests at once; it is taken with the first [`Reserve::ensure`].
    pub(super) fn beside(vault: &Path, in_flight: usize) -> Self {
        Self { path: vault.with_extension("reserve"), size: size(in_flight), held: false }
    }

    /// Changes how many requests it is for, from the next [`Reserve::ensure`] on.
    pub(super) fn resize(&mut self, in_flight: usize) {
        let size = size(in_flight);
        self.held &= size == self.size;
        self.size = size;
    }

    /// Holds it, taking it again if need be.
    ///
    /// # Errors
    /// When there is no space for it.
    pub(super) fn ensure(&mut self) -> Result<(), VaultError> {
        if !self.held {
            self.make().map_err(|error| {
                // Part of it helps nobody, and the disk is full.
                self.give_up();
                system(&self.path, &error)
            })?;
            self.held = true;
        }
        Ok(())
    }

    fn make(&self) -> std::io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.size) {
            Ok(()) => {}
            Err(full @ (Errno::NOSPC | Errno::DQUOT)) => return Err(full.into()),
            // Not every filesystem can; then the space is taken by writing.
            Err(_) => fill(&file, self.size)?,
        }
        file.set_len(self.size)
    }

    /// Gives its space to whoever writes next; says whether there was any.
    pub(super) fn give_up(&mut self) -> bool {
        match std::fs::remove_file(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(path = %self.path.display(), %error, "the reserve cannot be given up"),
        }
        std::mem::take(&mut self.held)
    }
}

/// How much space the reserve beside a vault still has to take.
pub(super) fn missing(vault: &Path, in_flight: usize) -> u64 {
    let held = std::fs::metadata(vault.with_extension("reserve")).map_or(0, |file| file.len());
    size(in_flight).saturating_sub(held)
}

fn size(in_flight: usize) -> u64 {
    LEAST.max(EACH.saturating_mul(u64::try_from(in_flight).unwrap_or(u64::MAX)))
}

/// Random bytes: zeros take no space where the filesystem compresses.
fn fill(mut file: &File, size: u64) -> std::io::Result<()> {
    let mut block = vec![0; 64 * 1024];
    let mut left = size;
    while left > 0 {
        SystemRandom::new().fill(&mut block).map_err(|_| std::io::Error::other("no randomness"))?;
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        file.write_all(&block[..length])?;
        left -= length as u64;
    }
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn it_holds_real_space_and_gives_it_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::beside(&folder.path().join("vault.db"), 64);
        let path = folder.path().join("vault.reserve");
        let blocks = || std::fs::metadata(&path).unwrap().blocks() * 512;
        assert!(!reserve.give_up(), "nothing was taken yet");
        assert_eq!(reserve.ensure(), Ok(()));
        assert!(blocks() >= 64 * EACH);
        reserve.resize(1);
        assert_eq!(reserve.ensure(), Ok(()));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), LEAST);
        assert!(reserve.give_up());
        assert!(!path.exists());
        fill(&File::create(&path).unwrap(), LEAST + 1).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), LEAST + 1);
    }
}
