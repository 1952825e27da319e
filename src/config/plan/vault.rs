//! The vault: where it is, what seals it.

use std::path::PathBuf;

use crate::dsn::Dsn;
use crate::secret::SecretSource;

/// The sidecar's own durable memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultPlan {
    /// Where it is.
    pub place: VaultPlace,
    /// What seals it, if anything does.
    pub encryption_key: Option<SecretSource>,
}

/// Where a vault is, as the config says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaultPlace {
    /// A file, absolute.
    File(PathBuf),
    /// A database server; its address holds a password. One that is written in the config is a
    /// [`SecretSource::Value`].
    Server(SecretSource),
}

/// The file; or engine, host and database, where the config itself says them, else where the address is read from.
impl std::fmt::Display for VaultPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(SecretSource::Value(address)) => match Dsn::parse_own(address.expose()) {
                Ok(dsn) => dsn.fmt(f),
                Err(detail) => f.write_str(detail),
            },
            Self::Server(source) => source.fmt(f),
        }
    }
}
