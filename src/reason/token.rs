//! Reasons of one room: why a refresh did not give an access token.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What a token endpoint's answer, or the lack of one, means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenReason {
    /// The request never left: DNS, connect, TLS, or the client itself.
    NotSent {
        /// The host that was to be asked.
        host: String,
        /// The system's words.
        error: String,
    },
    /// No request could be made of what is configured (a key, a certificate, a header); nothing was sent.
    NotMade {
        /// What is wrong, without any value.
        detail: String,
    },
    /// The certificate was not accepted; nothing was sent.
    Certificate {
        /// The host.
        host: String,
        /// The TLS library's words.
        error: String,
    },
    /// Sent, and no whole answer came back.
    AnswerLost {
        /// The host.
        host: String,
        /// The system's words.
        error: String,
    },
    /// An attempt marker was found at start: the program died while a request was under way.
    DiedInFlight {
        /// When the request was begun.
        at: Timestamp,
    },
    /// 500, 502 or 504: whether the server rotated is unknown.
    ServerError {
        /// The HTTP status.
        status: u16,
    },
    /// 429, 408, 425 or 503: later.
    Busy {
        /// The HTTP status.
        status: u16,
        /// Until when the server asked to be left alone.
        until: Option<Timestamp>,
    },
    /// A block page of a CDN or firewall.
    Blocked {
        /// The HTTP status.
        status: u16,
    },
    /// The refresh token is spent, expired or revoked.
    Revoked {
        /// The server's error code.
        code: String,
    },
    /// The client, scope or grant is wrong.
    Misconfigured {
        /// The server's error code.
        code: String,
    },
    /// An error code nobody knows.
    UnknownError {
        /// The HTTP status.
        status: u16,
        /// The server's error code, where it has one of sane form.
        code: Option<String>,
    },
    /// A redirect, which is never followed.
    Redirected {
        /// The HTTP status.
        status: u16,
    },
    /// An answer that cannot be read as a token answer.
    Unreadable {
        /// The HTTP status.
        status: u16,
        /// Why: `not JSON`, `cut off`, `larger than 1 MiB`, …
        detail: String,
    },
    /// A readable answer whose access token cannot be used.
    BadAccessToken {
        /// Why: `missing`, `not text`, `empty`, `control characters`, `too long`.
        detail: String,
    },
    /// The answer of an earlier request was lost, and now the server refuses the refresh token.
    OutcomeUnknown {
        /// When the answer was lost.
        lost_at: Timestamp,
        /// The server's error code now, where it was asked again.
        code: Option<String>,
    },
    /// No refresh token is configured or stored.
    NoRefreshToken,
    /// A new seed was refused; the previous refresh token goes on.
    SeedRefused {
        /// The server's error code.
        code: String,
    },
    /// Two credentials hold one refresh token.
    SharedSeed {
        /// The credential that owns it.
        owner: String,
    },
    /// The configured refresh token was used in the name of another client before.
    OtherClientsSeed {
        /// The client's identifier; empty where the service has none.
        client_id: String,
    },
    /// The refresh stopped in the middle of our own code.
    Crashed,
    /// The vault is an older state of itself: the refresh token may have been spent since.
    VaultIsOlder {
        /// The server's error code, where it refused the refresh token.
        code: Option<String>,
    },
    /// Half of the access token's life is shorter than the gateway's cache lag.
    ShortLived {
        /// How long it lives.
        lifetime_seconds: u64,
        /// The cache lag.
        lag_seconds: u64,
    },
}
