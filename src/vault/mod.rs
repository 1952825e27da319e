//! The sidecar's own durable memory: records, fingerprints, adoptions, events.
//!
//! One process owns it ([`lock`]), one thread writes it ([`thread`]), one file holds it ([`store`], its tables `rows`,
//! what is in them `stored`) or a database server (`server`; [`Site`] is either, [`backing`] what the thread needs of
//! both), sealed if there is a key ([`seal`], `sealing`). A file is brought forward from older versions (`schema`), and has room for answers beside
//! it (`reserve`) and a count by which an older state of it is known (`commits`). What cannot be read is never replaced:
//! a vault that begins anew would send spent refresh tokens.

pub mod aside;
pub mod backing;
mod commits;
mod failure;
pub mod lock;
mod place;
mod reserve;
mod rows;
mod schema;
pub mod seal;
mod sealing;
#[cfg(feature = "servers")]
mod server;
mod site;
pub mod store;
mod stored;
pub mod thread;

use std::path::{Path, PathBuf};

use ring::hmac;

use crate::channel::ownership::Adoption;
use crate::credential::event::Event;
use crate::credential::record::{Record, RecordId};
use crate::reason::VaultReason;
use crate::secret::Secret;
use crate::time::Timestamp;

#[cfg(feature = "servers")]
use backing::Backing;
use lock::Lock;
pub use place::{could_begin, examine, has_room, stands};
use seal::EncryptionKey;
pub use site::Site;
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
    /// What happened lately, the oldest first.
    pub events: Vec<Event>,
    /// The vault is an older state of itself: its refresh tokens may be spent. Until [`Change::CaughtUp`].
    pub behind: bool,
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

impl Fingerprint {
    /// In hexadecimal, for what is stored as text.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

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
    /// What an older state of the vault means was noted, with the other changes of this commit.
    CaughtUp,
}

/// What [`Vault::check`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What it holds.
    pub contents: Contents,
    /// Whether it is sealed.
    pub sealed: bool,
    /// How many fingerprints it holds.
    pub fingerprints: i64,
    /// How many events it holds.
    pub events: i64,
    /// Who owns it meanwhile, as the lock file says.
    pub beside: Option<String>,
}

/// An open vault: the handle to its thread, and the lock that makes it ours.
pub struct Vault {
    /// Where requests go.
    pub handle: VaultHandle,
    /// Where it lies; of one in a database server, the path on this host that names its control socket.
    pub path: PathBuf,
    /// One in a database server has its lock there.
    _lock: Option<Lock>,
}

impl Vault {
    /// Takes the lock, opens or creates the vault (sealed, if there is a key), and reads what it holds. There is to
    /// be room for the answers of this many requests at once.
    ///
    /// # Errors
    /// When somebody else owns it, or when it cannot be read; then nothing was moved or changed.
    pub fn open(
        path: &Path,
        key: Option<&EncryptionKey>,
        max_in_flight: usize,
    ) -> Result<(Self, Contents), VaultError> {
        let lock = Lock::take(path)?;
        let store = Store::open(path, key, max_in_flight)?;
        let contents = store.contents()?;
        let handle = thread::spawn(Box::new(store));
        Ok((Self { handle, path: path.to_owned(), _lock: Some(lock) }, contents))
    }

    /// One in a database server, open already.
    #[cfg(feature = "servers")]
    fn served(store: Box<dyn Backing>, local: PathBuf) -> Self {
        Self { handle: thread::spawn(store), path: local, _lock: None }
    }

    /// Reads what a vault holds without owning it: for `status`, beside a running agent. The handle only answers
    /// questions.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn peek(path: &Path, key: Option<&EncryptionKey>) -> Result<(VaultHandle, Contents), VaultError> {
        let store = Store::open_read_only(path, key)?;
        let contents = store.contents()?;
        Ok((thread::spawn(Box::new(store)), contents))
    }

    /// Looks at a vault without changing anything: is it sound, and what does it hold? Beside its owner, where it has
    /// one.
    ///
    /// # Errors
    /// As [`Vault::open`], or when there is none.
    pub fn check(path: &Path, key: Option<&EncryptionKey>) -> Result<Checked, VaultError> {
        let (store, beside, _lock) = match Lock::take_of(path) {
            Ok(lock) => (Store::look(path, key)?, None, Some(lock)),
            Err(VaultError(VaultReason::Owned { holder })) => (Store::look_beside(path, key)?, Some(holder), None),
            Err(error) => return Err(error),
        };
        let (fingerprints, events) = store.counts()?;
        Ok(Checked { contents: store.contents()?, sealed: store.is_sealed(), fingerprints, events, beside })
    }

    /// Seals everything in a vault with another key, in one transaction.
    ///
    /// # Errors
    /// As [`Vault::open`], or when there is none. The vault is as before then.
    pub fn rekey(path: &Path, old: Option<&EncryptionKey>, new: &EncryptionKey) -> Result<(), VaultError> {
        let _lock = Lock::take_of(path)?;
        Store::look(path, old)?;
        Store::open(path, old, 0)?.rekey(new)
    }

    /// Ends the thread after what is waiting was committed.
    pub fn close(self) {
        self.handle.close();
    }
}
