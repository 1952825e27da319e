//! Credentials: how a new access token is had, and the channels that get it.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::config::plan::Endpoint;
use crate::config::template::Template;
use crate::oauth::presets::Preset;
use crate::secret::SecretSource;

/// One credential: a grant that is kept alive, and the channels it feeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialPlan {
    /// Its name.
    pub name: Arc<str>,
    /// The provider it was filled from.
    pub preset: Option<&'static Preset>,
    /// Whether it is refreshed at all.
    pub enabled: bool,
    /// How a new access token is had.
    pub grant: Grant,
    /// Where and how it is asked for.
    pub endpoint: Arc<Endpoint>,
    /// The channels that get the key.
    pub channels: Vec<ChannelPlan>,
    /// Time kept for retries before the access token dies; the gateway's cache lag is added.
    pub refresh_before: Duration,
    /// The lifetime that is assumed when nothing says one.
    pub fallback_lifetime: Duration,
    /// Whether a refresh invalidates the refresh token that was sent; `None` is learned.
    pub rotates: Option<bool>,
    /// Whether a refresh kills the previous access token at once.
    pub revokes_previous: bool,
    /// What is done when an answer was lost.
    pub on_lost_answer: OnLostAnswer,
    /// The bounds of the backoff.
    pub backoff: Backoff,
    /// Where the first refresh token is had.
    pub login: Arc<LoginPlan>,
}

/// Where `login` goes: what is not written here the issuer's metadata says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoginPlan {
    /// The issuer (OpenID Connect Discovery 1.0, RFC 8414).
    pub issuer: Option<Url>,
    /// Where the browser is sent (RFC 6749 §3.1).
    pub authorization_endpoint: Option<Url>,
    /// Where a device code is had (RFC 8628 §3.1).
    pub device_authorization_endpoint: Option<Url>,
}

/// How a new access token is had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// With a refresh token (RFC 6749 §6); the seed is where the first one comes from.
    RefreshToken {
        /// `None` waits for `login` or `import`.
        seed: Option<SecretSource>,
    },
    /// With the client's own credentials (RFC 6749 §4.4).
    ClientCredentials,
    /// With an assertion that is signed anew for each request (RFC 7523 §2.1).
    JwtBearer(Box<Assertion>),
}

/// What is signed, and with what (RFC 7523 §3). What is not written here a service-account file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// The private key: PEM, or a service-account JSON.
    pub key: SecretSource,
    /// The `iss` claim.
    pub issuer: Option<String>,
    /// The `sub` claim; `None` is the issuer.
    pub subject: Option<String>,
    /// The `aud` claim; `None` is the token endpoint.
    pub audience: Option<String>,
    /// The `kid` of the header.
    pub key_id: Option<String>,
    /// How it is signed.
    pub algorithm: Algorithm,
}

/// The signature of an assertion (RFC 7518 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[default]
    #[cfg_attr(test, schemars(rename = "RS256"))]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[cfg_attr(test, schemars(rename = "ES256"))]
    Es256,
}

impl Grant {
    /// The `grant_type` parameter.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::RefreshToken { .. } => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::JwtBearer(_) => "urn:ietf:params:oauth:grant-type:jwt-bearer",
        }
    }
}

/// What is done when an answer was lost and the server may have rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnLostAnswer {
    /// The same refresh token is asked once more, late.
    #[default]
    AskLate,
    /// At once: the server has a grace period.
    AskNow,
    /// Never: a human decides.
    Halt,
}

/// The bounds of a backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub min: Duration,
    /// The longest wait.
    pub max: Duration,
}

/// A channel that a credential feeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPlan {
    /// The gateway's name.
    pub gateway: Arc<str>,
    /// Which channel.
    pub select: ChannelSelect,
    /// What is written into it.
    pub key: Template,
    /// Whether the config wrote a `channel_key` for it (types whose key is not a bare token need one).
    pub key_is_explicit: bool,
}

/// How a channel is named in the config.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChannelSelect {
    /// By its id.
    Id(i64),
    /// By its name, until it is adopted.
    Name(String),
}

impl std::fmt::Display for ChannelSelect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}
