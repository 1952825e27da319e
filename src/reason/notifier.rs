//! Reasons of one room: why a message did not arrive.

use serde::{Deserialize, Serialize};

/// What can be wrong with a notifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotifierReason {
    /// It could not be reached in time.
    Unreachable {
        /// The system's words, without the address.
        error: String,
    },
    /// It answered, and refused.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The service's own code.
        code: Option<String>,
        /// The service's own words, cut and stripped.
        words: Option<String>,
    },
    /// It asks to be left alone.
    RateLimited {
        /// The service's own code or the HTTP status.
        code: String,
    },
    /// An answer nobody can read.
    Unreadable {
        /// The HTTP status.
        status: u16,
    },
    /// The mail server refused.
    MailRefused {
        /// The SMTP code.
        code: u16,
        /// The server's own words, cut and stripped.
        words: Option<String>,
    },
    /// The command ended with something else than 0.
    CommandFailed {
        /// Its exit status; 128 and the signal's number where one ended it.
        status: u16,
        /// The last line of its standard error, cut and stripped.
        words: Option<String>,
    },
    /// The command could not be started, or did not end in time.
    CommandNotRun {
        /// The system's words.
        error: String,
    },
}
