//! Reasons of one room: why a login did not give a refresh token.

use serde::{Deserialize, Serialize};

/// Why `login` or `import` got no refresh token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginReason {
    /// The credential's grant has no refresh token.
    NoneNeeded {
        /// The grant.
        grant: String,
    },
    /// Nothing says where to log in.
    NoEndpoint {
        /// The fields of which one is needed.
        fields: Vec<String>,
    },
    /// The issuer or the device endpoint answered something else.
    Unusable {
        /// The host.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The server's error code, where it has one of sane form.
        code: Option<String>,
    },
    /// Somebody else speaks for the issuer.
    OtherIssuer {
        /// The issuer's host.
        host: String,
    },
    /// No port to wait for the browser on.
    NoPort {
        /// The address.
        address: String,
        /// The system's words.
        error: String,
    },
    /// What came back belongs to no login of ours.
    NotOurs,
    /// The person said no.
    Denied,
    /// Nobody came in time.
    TimedOut,
    /// The server refused.
    Refused {
        /// Its error code, where it has one of sane form.
        code: Option<String>,
    },
    /// It worked, but no refresh token came.
    NoRefreshToken,
    /// The file cannot be read.
    FileUnreadable {
        /// The file.
        path: String,
        /// The system's words.
        error: String,
    },
    /// The file is in no format of the list.
    UnknownFormat {
        /// The list.
        known: Vec<String>,
    },
    /// A pointer of the command line leads to no text.
    NothingThere {
        /// The field.
        field: String,
        /// The pointer.
        pointer: String,
    },
    /// The vault has seen the file's refresh token before: it is at work, or spent.
    SeenBefore,
    /// What a login brought could not be stored in time.
    NotKept,
    /// The refresh token was issued for another client.
    OtherClient {
        /// The credential's client.
        wanted: String,
        /// The file's.
        found: String,
    },
}
