//! The sidecar's own durable memory: records, fingerprints, adoptions, events.
//!
//! One process owns it ([`lock`]), one thread writes it ([`thread`]), one file holds it ([`store`]). What cannot be
//! read is never replaced: a vault that begins anew would send spent refresh tokens.

pub mod lock;
pub mod store;
pub mod thread;

use std::path::{Path, PathBuf};

use ring::hmac;

use crate::channel::ownership::Adoption;
use crate::credential::event::Event;
use crate::credential::record::{Record, RecordId};
use crate::finding::Finding;
use crate::reason::VaultReason;
use crate::secret::Secret;
use crate::time::Timestamp;

use lock::Lock;
use store::Store;
pub use thread::VaultHandle;

/// Why the vault could not be opened or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("vault: {0:?}")]
pub struct VaultError(pub VaultReason);

/// Everything the vault holds that the agent keeps in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Every record, the orphaned ones too.
    pub records: Vec<Record>,
    /// Every adopted or released channel.
    pub adoptions: Vec<Adoption>,
    /// What the notifiers have been told, by notifier policy; opaque JSON.
    pub notices: Option<String>,
}

/// What a fingerprint stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FingerprintKind {
    /// A refresh token: configured as a seed, or received.
    RefreshToken,
    /// A key that was written into a channel.
    Key,
}

/// HMAC-SHA256 under the vault's own random key: recognises a secret without keeping it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// Makes fingerprints; cheap to clone.
#[derive(Clone)]
pub struct Fingerprinter(pub(crate) hmac::Key);

impl Fingerprinter {
    /// The fingerprint of a secret.
    pub fn of(&self, secret: &Secret) -> Fingerprint {
        self.of_bytes(secret.expose().as_bytes())
    }

    /// The fingerprint of any bytes.
    pub fn of_bytes(&self, bytes: &[u8]) -> Fingerprint {
        let mut mac = [0; 32];
        mac.copy_from_slice(hmac::sign(&self.0, bytes).as_ref());
        Fingerprint(mac)
    }
}

/// One change of the vault; those of one commit happen together or not at all.
#[derive(Debug, Clone)]
pub enum Change {
    /// Writes a record, new or known.
    Record(Box<Record>),
    /// Notes that a secret was seen.
    Seen {
        /// For which record.
        record: RecordId,
        /// What it is.
        kind: FingerprintKind,
        /// Its fingerprint.
        fingerprint: Fingerprint,
        /// When.
        at: Timestamp,
    },
    /// Writes an adoption.
    Adoption(Box<Adoption>),
    /// Forgets an adoption (its channel is gone, or another's).
    Forget {
        /// The gateway's name.
        gateway: String,
        /// `channels.id`.
        channel: i64,
    },
    /// Appends to the log of events; the oldest beyond a thousand are dropped.
    Event(Box<Event>),
    /// What the notifiers have been told.
    Notices(String),
}

/// An open vault: the handle to its thread, and the lock that makes it ours.
pub struct Vault {
    /// Where requests go.
    pub handle: VaultHandle,
    /// Where it lies.
    pub path: PathBuf,
    _lock: Lock,
}

impl Vault {
    /// Takes the lock, opens or creates the vault, and reads what it holds.
    ///
    /// # Errors
    /// When somebody else owns it, or when it cannot be read; then nothing was moved or changed.
    pub fn open(path: &Path) -> Result<(Self, Contents), VaultError> {
        let lock = Lock::take(path)?;
        let store = Store::open(path)?;
        let contents = store.contents()?;
        let handle = thread::spawn(store);
        Ok((Self { handle, path: path.to_owned(), _lock: lock }, contents))
    }

    /// Reads what a vault holds without owning it: for `status`, beside a running agent. The handle only answers
    /// questions.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn peek(path: &Path) -> Result<(VaultHandle, Contents), VaultError> {
        let store = Store::open_read_only(path)?;
        let contents = store.contents()?;
        Ok((thread::spawn(store), contents))
    }

    /// Ends the thread after what is waiting was committed.
    pub fn close(self) {
        self.handle.close();
    }
}

/// What there is to say about a vault's place, without opening it.
pub fn examine(path: &Path) -> Vec<Finding> {
    use std::os::unix::fs::PermissionsExt;
    let directory = path.parent().unwrap_or(Path::new("/"));
    [path, directory]
        .iter()
        .filter_map(|path| {
            let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
            let reason = VaultReason::ReadableByOthers { path: path.display().to_string(), mode: format!("{mode:o}") };
            (mode & 0o077 != 0).then(|| Finding::warning("vault", reason))
        })
        .collect()
}
