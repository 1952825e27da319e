//! What the vault's thread needs of whatever holds the vault: a file, or a database server.

use std::time::Duration;

use crate::credential::record::RecordId;
use crate::vault::{Change, Fingerprint, FingerprintKind, Fingerprinter, VaultError};

/// Changes that happen together or not at all.
#[derive(Debug, Clone)]
pub struct Group {
    /// What they are for.
    pub purpose: Purpose,
    /// The changes.
    pub changes: Vec<Change>,
}

/// What a commit is for: it says who gets the last of the disk's space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Something the agent knows anyway.
    Note,
    /// The mark that a request is about to leave: only while there is room for its answer.
    BeforeSending,
    /// What must not be lost: gets the reserve when the disk is full.
    Answer,
}

/// Whether the vault is still ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is. A file's lock is never lost while its process lives.
    Ours,
    /// The connection is gone: nobody knows, and nothing may be done.
    Unsure(VaultError),
    /// Somebody else owned it meanwhile, or does, or its thread has ended: what is in memory may be old.
    Lost(VaultError),
}

/// See the module. Used by one thread.
pub(super) trait Backing: Send {
    /// Makes fingerprints under the vault's key.
    fn fingerprinter(&self) -> &Fingerprinter;

    /// Commits groups of changes: each group happens whole or not at all, and is durable when its result says so.
    fn commit(&mut self, groups: &[Group]) -> Vec<Result<(), VaultError>>;

    /// The records for which this was seen.
    fn seen_by(&mut self, kind: FingerprintKind, fingerprint: Fingerprint) -> Result<Vec<RecordId>, VaultError>;

    /// [`Backing::seen_by`] for each of these.
    fn seen_by_each(&mut self, questions: &[(FingerprintKind, Fingerprint)]) -> Vec<Result<Vec<RecordId>, VaultError>> {
        questions.iter().map(|(kind, fingerprint)| self.seen_by(*kind, *fingerprint)).collect()
    }

    /// Changes for how many requests at once there is to be room.
    fn set_max_in_flight(&mut self, _max_in_flight: usize) {}

    /// There is nothing to do for a while: memory that is held for speed may go.
    fn rest(&mut self) {}

    /// Makes sure that the vault is still ours.
    fn confirm(&mut self) -> Result<(), VaultError> {
        Ok(())
    }

    /// Whether it is ours, as far as it is known.
    fn standing(&self) -> Standing {
        Standing::Ours
    }

    /// How long it may be left alone before it wants to [`Backing::confirm`]; `None` for ever.
    fn patience(&self) -> Option<Duration> {
        None
    }
}
