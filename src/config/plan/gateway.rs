//! Gateways: what they are, where they keep their channels, how long they lag.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::dsn::Dsn;
use crate::secret::SecretSource;

/// What a gateway is called when there is only one and it has no name.
pub const DEFAULT_GATEWAY: &str = "default";

/// A gateway whose channels are fed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayPlan {
    /// Its name; [`DEFAULT_GATEWAY`] where the config gives none.
    pub name: Arc<str>,
    /// Its database.
    pub database: Database,
    /// Its admin API, instead of or beside the database.
    pub api: Option<ApiPlan>,
    /// What it must be; `None` takes what it is.
    pub kind: Option<GatewayKind>,
    /// How long it may go on using the previous key.
    pub cache_lag: CacheLag,
    /// How long a write waits for the lock.
    pub busy_timeout: Duration,
    /// Whether a key that somebody else wrote is replaced.
    pub on_foreign_key: OnForeignKey,
    /// Whether a channel that the old key got disabled is enabled again.
    pub reenable: bool,
    /// Filesystems that are otherwise refused.
    pub allow_filesystem: Vec<String>,
}

/// A gateway's admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiPlan {
    /// The gateway's address, with a slash at its end.
    pub url: Url,
    /// An administrator's access token.
    pub token: SecretSource,
    /// Whose access token it is (new-api asks for that).
    pub user: Option<i64>,
}

/// The database that a gateway keeps its channels in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// An SQLite file, absolute.
    File(PathBuf),
    /// A server: where its address is read from, which holds a password ([`crate::dsn`]).
    Server(SecretSource),
    /// Out of reach: there is the admin API alone.
    None,
}

impl Database {
    /// The SQLite file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Server(_) | Self::None => None,
        }
    }
}

/// What may be shown of it: a path, `mysql://host:3306/database`, or where its address is read from.
impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Server(SecretSource::Value(written)) => match Dsn::parse(written.expose()) {
                Ok(dsn) => write!(f, "{dsn}"),
                Err(_) => f.write_str("…"),
            },
            Self::Server(source) => write!(f, "{source}"),
            Self::None => f.write_str("the admin API"),
        }
    }
}

/// The programs whose databases we write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum GatewayKind {
    /// songquanpeng/one-api.
    OneApi,
    /// Its fork New API.
    NewApi,
    /// Its fork one-hub (by the admin API only).
    OneHub,
}

impl GatewayKind {
    /// The name as the config writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OneApi => "one-api",
            Self::NewApi => "new-api",
            Self::OneHub => "one-hub",
        }
    }
}

/// How long a gateway may go on using the previous key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheLag {
    /// As the config says.
    Known(Duration),
    /// As the environment says that is shared with the gateway.
    Shared(Duration),
    /// The default of the gateway's kind.
    ByKind,
}

impl CacheLag {
    /// The lag for a gateway of this kind: 10 minutes for one-api (and while the kind is not known), 1 for new-api; a
    /// second for one that is told of each key and loads it at once (`immediate`).
    ///
    /// Source: the defaults of `SYNC_FREQUENCY` in one-api and new-api.
    pub fn of(self, kind: Option<GatewayKind>, immediate: bool) -> Duration {
        const AT_ONCE: Duration = Duration::from_secs(1);
        match (self, kind) {
            (Self::Known(lag), _) => lag,
            (Self::Shared(lag), _) if immediate => lag.min(AT_ONCE),
            (Self::Shared(lag), _) => lag,
            (Self::ByKind, _) if immediate => AT_ONCE,
            (Self::ByKind, Some(GatewayKind::NewApi)) => Duration::from_secs(60),
            (Self::ByKind, _) => Duration::from_secs(600),
        }
    }
}

/// What is done about a key that somebody else wrote after we adopted the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnForeignKey {
    /// It is reported and left.
    #[default]
    Report,
    /// It is replaced.
    Overwrite,
}
