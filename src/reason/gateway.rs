//! Reasons of one room: why a gateway cannot be reached, read or written.

use serde::{Deserialize, Serialize};

use super::SecretReason;

/// What can be wrong with a gateway's database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayReason {
    /// The file is not there (yet).
    Missing {
        /// The file.
        path: String,
    },
    /// The file has no tables yet.
    NotMigrated {
        /// The file.
        path: String,
    },
    /// Not a gateway we know.
    Unknown {
        /// The columns that were looked for and not found.
        missing: Vec<String>,
    },
    /// A one-hub database: it never reloads what SQL wrote.
    OneHub,
    /// Another kind than the config says.
    OtherKind {
        /// What the config says.
        wanted: String,
        /// What the database is.
        found: String,
    },
    /// Somebody held the lock longer than the busy timeout.
    Busy {
        /// How long we waited, in milliseconds.
        waited_ms: u64,
    },
    /// The file is not writable for this user.
    ReadOnlyFile {
        /// The file.
        path: String,
        /// Owner of the file as `UID:GID`.
        owner: String,
        /// Who we are, as `UID:GID`.
        us: String,
    },
    /// The file's directory is not writable for this user (the journal lives there).
    ReadOnlyDirectory {
        /// The directory.
        path: String,
        /// Owner as `UID:GID`.
        owner: String,
        /// Who we are, as `UID:GID`.
        us: String,
    },
    /// The mount is read-only.
    ReadOnlyMount {
        /// The file.
        path: String,
    },
    /// A crashed gateway left a journal that cannot be rolled back here.
    HotJournal {
        /// The file.
        path: String,
    },
    /// The file was replaced while it was open.
    Moved,
    /// Not a database.
    NotADatabase {
        /// The file.
        path: String,
    },
    /// The database is damaged.
    Corrupt {
        /// The file.
        path: String,
    },
    /// The disk is full.
    Full {
        /// The file.
        path: String,
    },
    /// It cannot be opened.
    CannotOpen {
        /// The file.
        path: String,
        /// SQLite's words.
        error: String,
    },
    /// A network or shared filesystem.
    Filesystem {
        /// Its name: `nfs`, `cifs`, `virtiofs` …
        name: String,
    },
    /// The file itself is a mount point or has several hard links.
    SharedInode {
        /// The file.
        path: String,
    },
    /// Anything else SQLite said.
    Failed {
        /// Its words and code.
        error: String,
    },
    /// The admin API does not do what it is asked.
    Api {
        /// What is the matter with it.
        failure: ApiFailure,
    },
    /// One-API's admin API: what it writes is used only at the gateway's next reload.
    ApiOfOneApi,
    /// For a day only we wrote to it.
    Unused {
        /// The file.
        path: String,
    },
    /// The address of the database server cannot be read.
    NoAddress {
        /// Why not.
        secret: Box<SecretReason>,
    },
    /// What should be the address of a server is what the gateways take for SQLite: empty, or `local…`.
    AddressMeansSqlite {
        /// Where it was read from.
        from: String,
    },
    /// What was read is no address of a database server.
    BadAddress {
        /// Where it was read from.
        from: String,
        /// What is wrong with it, without the address.
        detail: String,
    },
    /// The server does not answer, or not yet.
    Unreachable {
        /// The server and database, as they may be shown.
        at: String,
        /// The system's words, or the server's code.
        error: String,
    },
    /// The connection broke while it was in use.
    ConnectionLost {
        /// The server and database.
        at: String,
    },
    /// The server does not let this user in.
    AccessDenied {
        /// The server and database.
        at: String,
        /// The user.
        user: String,
    },
    /// The server has no such database.
    UnknownDatabase {
        /// The server and database.
        at: String,
    },
    /// The server lets nobody in without TLS.
    TlsRequired {
        /// The server and database.
        at: String,
    },
    /// No TLS with this server, or not with this certificate.
    TlsFailed {
        /// The server and database.
        at: String,
        /// The TLS library's words.
        error: String,
    },
    /// The server takes no more connections.
    TooManyConnections {
        /// The server and database.
        at: String,
    },
    /// The server takes no writes: a replica, or a primary that has stepped back.
    ServerReadOnly {
        /// The server and database.
        at: String,
        /// The server's code.
        code: String,
    },
    /// The user may not read or write the gateway's tables.
    NoPrivilege {
        /// The server and database.
        at: String,
        /// The user.
        user: String,
    },
    /// Somebody held the channels' rows locked longer than the busy timeout.
    RowsLocked {
        /// The server and database.
        at: String,
        /// How long we waited, in milliseconds.
        waited_ms: u64,
    },
    /// The server's disk is full.
    ServerFull {
        /// The server and database.
        at: String,
    },
}

/// What can be wrong with a gateway's admin API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiFailure {
    /// It could not be reached in time.
    Unreachable {
        /// The system's words, without the address.
        error: String,
    },
    /// Its access token cannot be read.
    Token(SecretReason),
    /// It does not know the access token.
    Denied,
    /// The access token is not an administrator's.
    NotAnAdministrator,
    /// New API wants to know whose access token it is, and it is somebody else's.
    WrongUser,
    /// Too many requests.
    RateLimited,
    /// It refused without a reason that is known here. Its words are not repeated: it echoes keys.
    Refused,
    /// What answers at this address is no gateway's API.
    NotTheApi {
        /// The HTTP status of the answer.
        status: u16,
    },
    /// It shows none of the channels that keys were written into.
    OtherGateway,
}

impl From<ApiFailure> for GatewayReason {
    fn from(failure: ApiFailure) -> Self {
        Self::Api { failure }
    }
}
