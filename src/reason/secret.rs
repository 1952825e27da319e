//! Reasons of one room: why a secret cannot be had.

use serde::{Deserialize, Serialize};

/// What can be wrong with a secret's source. `source` is the source as it may be shown (`env:NAME`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretReason {
    /// The variable is unset or empty, and so is `NAME_FILE`.
    EnvMissing {
        /// The variable.
        name: String,
    },
    /// `NAME` and `NAME_FILE` are both set.
    EnvAndFile {
        /// The variable.
        name: String,
    },
    /// The variable is not UTF-8.
    NotText {
        /// The source.
        from: String,
    },
    /// The file cannot be read.
    FileUnreadable {
        /// The file.
        path: String,
        /// The system's words.
        error: String,
    },
    /// The source is there and holds nothing.
    Empty {
        /// The source.
        from: String,
    },
    /// Longer than any secret is (1 MiB).
    TooLong {
        /// The source.
        from: String,
    },
    /// The keyring has no such entry.
    KeyringNoEntry {
        /// The entry.
        entry: String,
    },
    /// The keyring's collection is locked.
    KeyringLocked,
    /// There is no keyring: no D-Bus session, no Secret Service.
    KeyringAbsent,
    /// The keyring answered something else, or not in time.
    KeyringFailed {
        /// Its words.
        error: String,
    },
    /// `$CREDENTIALS_DIRECTORY` is not set.
    NotUnderSystemd {
        /// The credential's name.
        name: String,
    },
}
