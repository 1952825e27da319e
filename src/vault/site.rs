//! Where a vault is, found out: a file, or the way to a database server. The commands go through it, and need not know
//! which of the two it is.

use std::path::{Path, PathBuf};
#[cfg(feature = "servers")]
use std::sync::Arc;

use crate::config::plan::VaultPlace;
use crate::finding::Finding;
use crate::reason::Reason;
#[cfg(feature = "servers")]
use crate::reason::VaultReason;
use crate::secrets;
use crate::vault::lock::Lock;
use crate::vault::seal::EncryptionKey;
#[cfg(feature = "servers")]
use crate::vault::server::{Address, Door};
use crate::vault::{Checked, Contents, Vault, VaultError, VaultHandle, place};

/// See the module. Cheap to clone.
#[derive(Clone)]
pub enum Site {
    /// A file.
    File(PathBuf),
    /// A database server.
    #[cfg(feature = "servers")]
    Server(Arc<Door>),
}

/// The file, or engine, host and database: what may be shown.
impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            #[cfg(feature = "servers")]
            Self::Server(door) => door.address().fmt(f),
        }
    }
}

impl Site {
    /// Reads the address, where there is one.
    ///
    /// # Errors
    /// When it cannot be read, or is no address.
    pub async fn of(place: &VaultPlace) -> Result<Self, Reason> {
        match place {
            VaultPlace::File(path) => Ok(Self::File(path.clone())),
            VaultPlace::Server(source) => Self::server(&secrets::fetch(source).await?),
        }
    }

    #[cfg(feature = "servers")]
    fn server(address: &crate::secret::Secret) -> Result<Self, Reason> {
        Ok(Self::Server(Door::new(Address::parse(address)?)))
    }

    #[cfg(not(feature = "servers"))]
    fn server(_address: &crate::secret::Secret) -> Result<Self, Reason> {
        let what = "a vault in a database server".into();
        Err(crate::reason::ConfigReason::NotInThisBuild { what, feature: "servers".into() }.into())
    }

    /// The path on this host that names the control socket: beside the file, or in the runtime directory.
    pub fn local(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            #[cfg(feature = "servers")]
            Self::Server(door) => door.address().local(),
        }
    }

    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            #[cfg(feature = "servers")]
            Self::Server(_) => None,
        }
    }

    /// Becomes the owner of the vault, as [`Vault::open`] does.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub async fn open(
        &self,
        key: Option<&EncryptionKey>,
        max_in_flight: usize,
    ) -> Result<(Vault, Contents), VaultError> {
        match self {
            // Blocks while it reads: nothing else goes on yet.
            Self::File(path) => Vault::open(path, key, max_in_flight),
            #[cfg(feature = "servers")]
            Self::Server(door) => {
                let local = self.local();
                let opened = apart(door, key, |door, key| door.open(key)).await;
                opened.map(|(store, contents)| {
                    make_room_for_socket(&local);
                    (Vault::served(store, local), contents)
                })
            }
        }
    }

    /// Reads what the vault holds without owning it.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub async fn peek(&self, key: Option<&EncryptionKey>) -> Result<(VaultHandle, Contents), VaultError> {
        match self {
            Self::File(path) => {
                place::stands(path)?;
                Vault::peek(path, key)
            }
            #[cfg(feature = "servers")]
            Self::Server(door) => {
                let peeked = apart(door, key, |door, key| door.peek(key)).await;
                peeked.map(|(store, contents)| (super::thread::spawn(store), contents))
            }
        }
    }

    /// Looks at a vault without changing anything, as [`Vault::check`] does.
    ///
    /// # Errors
    /// As [`Vault::check`].
    pub async fn check(&self, key: Option<&EncryptionKey>) -> Result<Checked, VaultError> {
        match self {
            Self::File(path) => Vault::check(path, key),
            #[cfg(feature = "servers")]
            Self::Server(door) => apart(door, key, |door, key| door.check(key)).await,
        }
    }

    /// Seals everything with another key, as [`Vault::rekey`] does.
    ///
    /// # Errors
    /// As [`Vault::rekey`].
    pub async fn rekey(&self, old: Option<&EncryptionKey>, new: &EncryptionKey) -> Result<(), VaultError> {
        match self {
            Self::File(path) => Vault::rekey(path, old, new),
            #[cfg(feature = "servers")]
            Self::Server(door) => {
                let new = new.clone();
                apart(door, old, move |door, old| door.rekey(old, &new)).await
            }
        }
    }

    /// Who owns the vault now, on whichever host; `None` when nobody does, or nobody can tell.
    pub async fn holder(&self) -> Option<String> {
        match self {
            Self::File(path) => Lock::holder(path),
            #[cfg(feature = "servers")]
            Self::Server(door) => {
                let door = Arc::clone(door);
                tokio::task::spawn_blocking(move || door.holder()).await.ok().flatten()
            }
        }
    }

    /// Whether a process of another host owns the vault.
    pub async fn is_owned_elsewhere(&self) -> bool {
        self.file().is_none() && self.holder().await.is_some_and(|holder| !super::lock::is_of_this_host(&holder))
    }

    /// Who owns the vault now, as far as it is known without asking a server: opening one says it.
    pub fn holder_at_hand(&self) -> Option<String> {
        self.file().and_then(Lock::holder)
    }

    /// Whether a vault could be made there, with room for the answers of so many requests. A server says so itself.
    ///
    /// # Errors
    /// Why not.
    pub fn could_begin(&self, max_in_flight: usize) -> Result<(), VaultError> {
        self.file().map_or(Ok(()), |path| super::could_begin(path, max_in_flight))
    }

    /// Whether there is room for the answers of so many requests. Nobody knows it of a server.
    ///
    /// # Errors
    /// When there is not.
    pub fn has_room(&self, max_in_flight: usize) -> Result<(), VaultError> {
        self.file().map_or(Ok(()), |path| super::has_room(path, max_in_flight))
    }

    /// What there is to say about the vault's place, without opening it.
    pub async fn examine(&self) -> Vec<Finding> {
        match self {
            Self::File(path) => place::examine(path),
            #[cfg(feature = "servers")]
            Self::Server(door) => {
                let door = Arc::clone(door);
                tokio::task::spawn_blocking(move || door.examine()).await.unwrap_or_default()
            }
        }
    }
}

/// Does what waits for a server on a thread of its own.
#[cfg(feature = "servers")]
async fn apart<T: Send + 'static>(
    door: &Arc<Door>,
    key: Option<&EncryptionKey>,
    work: impl FnOnce(&Arc<Door>, &EncryptionKey) -> Result<T, VaultError> + Send + 'static,
) -> Result<T, VaultError> {
    // The config asks for one; nobody comes here without.
    let Some(key) = key.cloned() else { return Err(VaultError(VaultReason::WrongKey { configured: false })) };
    let (door, server) = (Arc::clone(door), door.address().to_string());
    let done = tokio::task::spawn_blocking(move || work(&door, &key)).await;
    done.unwrap_or_else(|_| {
        Err(VaultError(VaultReason::ServerAway { server, error: "its thread stopped in the middle".into() }))
    })
}

/// Makes the directory for the control socket, for us alone. Without it the socket is missing, which is told.
#[cfg(feature = "servers")]
fn make_room_for_socket(local: &Path) {
    use std::os::unix::fs::DirBuilderExt;

    if let Some(directory) = local.parent() {
        // It may be there, and whether it can be used is seen when the socket is made.
        let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    }
}
