//! Reasons of one room: why the vault cannot be opened, read or written.

use serde::{Deserialize, Serialize};

/// What can be wrong with the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VaultReason {
    /// Its directory cannot be made or written.
    Directory {
        /// The directory.
        path: String,
        /// The system's words.
        error: String,
    },
    /// Another process owns it.
    Owned {
        /// Who, as the lock file says.
        holder: String,
    },
    /// The file is not a vault: not SQLite, or another application's.
    NotAVault {
        /// The file.
        path: String,
    },
    /// A newer version wrote it.
    Newer {
        /// The version found.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// An older version wrote it, and nobody has brought it forward yet.
    Older {
        /// The version found.
        found: i64,
        /// The version of this program.
        known: i64,
    },
    /// The file is damaged.
    Damaged {
        /// The file.
        path: String,
        /// SQLite's words.
        error: String,
    },
    /// It is sealed and no key, or another key, is configured.
    WrongKey {
        /// Whether a key is configured at all.
        configured: bool,
    },
    /// The disk is full.
    Full {
        /// The file.
        path: String,
    },
    /// Writing failed.
    Unwritable {
        /// The file.
        path: String,
        /// SQLite's or the system's words.
        error: String,
    },
    /// The file or its directory can be read by others.
    ReadableByOthers {
        /// The path.
        path: String,
        /// Its mode in octal.
        mode: String,
    },
    /// No vault there yet.
    Missing {
        /// The file.
        path: String,
    },
    /// There was a vault, and now there is none.
    Gone {
        /// The file.
        path: String,
    },
    /// The file is read-only.
    ReadOnly {
        /// The file.
        path: String,
    },
    /// The file belongs to another user.
    OtherOwner {
        /// The file.
        path: String,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// It lies on a network or shared filesystem, where other machines do not see the lock.
    Filesystem {
        /// The file.
        path: String,
        /// The filesystem's name: `nfs`, `cifs`, `virtiofs` …
        name: String,
    },
    /// It lies on a container's own layer, or in memory.
    Fleeting {
        /// The file.
        path: String,
        /// `overlay`, `tmpfs`, …
        filesystem: String,
    },
    /// The vault's database server cannot be reached, or the connection to it was lost.
    ServerAway {
        /// Engine, host and database.
        server: String,
        /// The system's or the server's words.
        error: String,
    },
    /// The vault's database server refuses.
    ServerRefused {
        /// Engine, host and database.
        server: String,
        /// The server's words.
        error: String,
    },
    /// Somebody else has come to own the vault.
    Displaced {
        /// Who, as the vault says.
        holder: String,
    },
    /// The vault's thread stopped in the middle: a bug.
    ThreadEnded,
    /// Tables of a vault are in the server's database, and others of them are gone.
    ServerGone {
        /// Engine, host and database.
        server: String,
        /// What is missing.
        missing: String,
    },
    /// The database server does not promise that what it has committed survives a power cut.
    ServerLax {
        /// Engine, host and database.
        server: String,
        /// The setting, as it stands.
        setting: String,
    },
    /// A vault in a database server is not set aside by this program.
    ServerReset {
        /// Engine, host and database.
        server: String,
    },
    /// Setting a vault aside takes a person's word.
    Unconfirmed {
        /// The file.
        path: String,
    },
}
