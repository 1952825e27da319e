//! Secrets and where they come from.
//!
//! Owns the one type that may hold a secret in memory and the description of a secret's source. Must not read
//! any source itself (that is [`crate::secrets`]) and must never show a value: `Debug` prints a placeholder.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

/// A value that must never be shown: a token, a client secret, a channel's key.
///
/// Clones share the memory, which is zeroed when the last is dropped. There is no `Display`, no `Serialize`, and `Debug` hides the value.
#[derive(Clone)]
pub struct Secret(Arc<SecretString>);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Arc::new(SecretString::from(value.into())))
    }

    /// The value itself, for the one place that has to send or store it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether it can travel in an HTTP header: Go refuses to send one with control characters.
    pub fn fits_a_header(&self) -> bool {
        !self.is_empty() && !self.expose().contains(char::is_control)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl Hash for Secret {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expose().hash(state);
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self::new(value)
    }
}

/// Where a secret is read from, as the config file says it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// `{ env = "NAME" }`; an unset `NAME` falls back to the file named by `NAME_FILE`.
    Env(String),
    /// `{ file = "…" }`: one trailing newline is trimmed.
    File(PathBuf),
    /// `{ keyring = "entry" }` in the Secret Service, under `service`.
    Keyring {
        /// The service attribute of the entry.
        service: String,
        /// The entry's name (the user attribute).
        entry: String,
    },
    /// `{ systemd_credential = "name" }`: a file in `$CREDENTIALS_DIRECTORY`.
    SystemdCredential(String),
    /// `{ value = "…" }`: written in the config file itself.
    Value(Secret),
}

impl SecretSource {
    /// The keyring service that is used when the config names none.
    pub const DEFAULT_KEYRING_SERVICE: &'static str = "one-api-sidecar";

    /// The same source with a relative path made to start from this directory.
    pub fn within(&self, directory: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(directory.join(path)),
            other => other.clone(),
        }
    }
}

/// The source without its value, as it may be shown: `env:NAME`, `file:/run/secrets/x`, …
impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Keyring { service, entry } if service == Self::DEFAULT_KEYRING_SERVICE => {
                write!(f, "keyring:{entry}")
            }
            Self::Keyring { service, entry } => write!(f, "keyring:{service}/{entry}"),
            Self::SystemdCredential(name) => write!(f, "systemd:{name}"),
            Self::Value(_) => f.write_str("value in the config file"),
        }
    }
}

/// A field that takes text or a secret table (`url`, header values).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TextOrSecret {
    /// Plain text, shown freely.
    Text(String),
    /// A secret, never shown.
    Secret(SecretSource),
}

/// The values behind the sources that something named.
pub type Values = HashMap<SecretSource, Secret>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_value() {
        let secret = Secret::new("sentinel-9c1e");
        let source = SecretSource::Value(secret.clone());
        for shown in [format!("{secret:?}"), format!("{source:?}"), format!("{source}")] {
            assert!(!shown.contains("sentinel"), "{shown}");
        }
    }
}
