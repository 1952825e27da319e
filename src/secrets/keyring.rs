//! Secrets in the Secret Service (GNOME Keyring, KWallet, KeePassXC) over D-Bus.
//!
//! Everything here blocks, and may block for as long as a person takes to answer a password prompt: the agent comes
//! through [`super::fetch`]. The D-Bus library (libdbus) runs in the thread that calls it; nothing is started before
//! the first call. One connection serves the whole process from the first call that got one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use dbus_secret_service_keyring_store::Store;
use keyring::api::CredentialStoreApi;
use keyring::{Entry, Error};

use crate::reason::SecretReason;
use crate::secret::{Secret, SecretSource};

/// The longest words of the keyring that are passed on, in characters.
const WORDS: usize = 200;

/// Reads an entry.
///
/// # Errors
/// No keyring, a locked one, no such entry, or whatever else it says.
pub fn get(service: &str, entry: &str) -> Result<Secret, SecretReason> {
    let value = open(service, entry)?.get_password().map_err(|error| reason(error, service, entry))?;
    let value = Secret::new(value);
    if value.is_empty() { Err(SecretReason::Empty { from: shown(service, entry) }) } else { Ok(value) }
}

/// Writes an entry, new or in place of the old value.
///
/// # Errors
/// As [`get`], but for a missing entry.
pub fn set(service: &str, entry: &str, value: &Secret) -> Result<(), SecretReason> {
    open(service, entry)?.set_password(value.expose()).map_err(|error| reason(error, service, entry))
}

/// Removes an entry.
///
/// # Errors
/// As [`get`].
pub fn delete(service: &str, entry: &str) -> Result<(), SecretReason> {
    open(service, entry)?.delete_credential().map_err(|error| reason(error, service, entry))
}

/// The names of the service's entries, sorted.
///
/// # Errors
/// As [`get`], but for a missing entry.
pub fn list(service: &str) -> Result<Vec<String>, SecretReason> {
    let found =
        connected()?.search(&HashMap::from([("service", service)])).map_err(|error| reason(error, service, ""))?;
    let mut names: Vec<String> =
        found.iter().filter_map(|entry| entry.get_specifiers()).map(|(_, name)| name).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

fn open(service: &str, entry: &str) -> Result<Entry, SecretReason> {
    connected()?.build(service, entry, None).map_err(|error| reason(error, service, entry))
}

/// Connects at the first call; without D-Bus or a Secret Service that fails at once, and the next call tries again.
fn connected() -> Result<Arc<Store>, SecretReason> {
    static STORE: Mutex<Option<Arc<Store>>> = Mutex::new(None);
    let mut store = STORE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(store) = &*store {
        return Ok(store.clone());
    }
    let connected = Store::new().map_err(|error| {
        tracing::debug!(%error, "no keyring");
        SecretReason::KeyringAbsent
    })?;
    Ok(store.insert(connected).clone())
}

fn shown(service: &str, entry: &str) -> String {
    SecretSource::Keyring { service: service.into(), entry: entry.into() }.to_string()
}

/// What an error means to people. Errors may carry the secret's bytes: only those that cannot are put into words.
fn reason(error: Error, service: &str, entry: &str) -> SecretReason {
    let failed = |error: String| SecretReason::KeyringFailed { error: error.chars().take(WORDS).collect() };
    match error {
        Error::NoEntry => SecretReason::KeyringNoEntry { entry: shown(service, entry) },
        Error::NoStorageAccess(_) => SecretReason::KeyringLocked,
        Error::NoDefaultStore => SecretReason::KeyringAbsent,
        Error::BadEncoding(_) => SecretReason::NotText { from: shown(service, entry) },
        Error::BadDataFormat(..) => failed("the entry's data is malformed".into()),
        Error::Ambiguous(entries) => failed(format!("{} entries bear this name", entries.len())),
        Error::PlatformFailure(error) => failed(error.to_string()),
        Error::TooLong(..) => SecretReason::TooLong { from: shown(service, entry) },
        _ => failed("an error that this version does not know".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_and_never_show_the_bytes() {
        let locked = || Error::NoStorageAccess("locked".into());
        let cases = [
            (Error::NoEntry, SecretReason::KeyringNoEntry { entry: "keyring:seed".into() }),
            (locked(), SecretReason::KeyringLocked),
            (Error::NoDefaultStore, SecretReason::KeyringAbsent),
            (Error::BadEncoding(b"sentinel".to_vec()), SecretReason::NotText { from: "keyring:seed".into() }),
        ];
        for (error, expected) in cases {
            assert_eq!(reason(error, SecretSource::DEFAULT_KEYRING_SERVICE, "seed"), expected);
        }
        let malformed = reason(Error::BadDataFormat(b"sentinel".to_vec(), "sentinel".into()), "other", "seed");
        assert!(matches!(malformed, SecretReason::KeyringFailed { ref error } if !error.contains("sentinel")));
    }
}
