//! What the config file means: every default applied, every field checked, nothing optional that is needed.
//!
//! [`Plan::resolve`] turns a [`Config`] into a [`Plan`] or into every problem at once; [`Plan::diff`] says what
//! changed between two plans. Pure.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderName;
use url::{Host, Url};

use crate::config::credentials::Credentials;
use crate::config::file::Config;
use crate::config::template::Template;
use crate::config::{diff, resolve};
use crate::dsn::Dsn;
use crate::finding::Severity;
use crate::notify::services::Service;
use crate::oauth::presets::Preset;
use crate::reason::Language;
use crate::secret::{SecretSource, TextOrSecret};
use crate::shape::Problem;

/// What a gateway is called when there is only one and it has no name.
pub const DEFAULT_GATEWAY: &str = "default";

/// Everything the agent is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The language of messages.
    pub language: Language,
    /// The gateways, in the order of the file.
    pub gateways: Vec<Arc<GatewayPlan>>,
    /// The vault.
    pub vault: VaultPlan,
    /// The HTTP server, if one is wanted.
    pub server: Option<ServerPlan>,
    /// Bounds of the agent.
    pub agent: AgentPlan,
    /// The credentials, in the order of the file.
    pub credentials: Credentials,
    /// The notifiers, in the order of the file.
    pub notifiers: Vec<Arc<NotifierPlan>>,
}

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnForeignKey {
    /// It is reported and left.
    #[default]
    Report,
    /// It is replaced.
    Overwrite,
}

/// The sidecar's own durable memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultPlan {
    /// Where it is.
    pub place: VaultPlace,
    /// What seals it, if anything does.
    pub encryption_key: Option<SecretSource>,
}

/// Where a vault is, as the config says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaultPlace {
    /// A file, absolute.
    File(PathBuf),
    /// A database server; its address holds a password. One that is written in the config is a
    /// [`SecretSource::Value`].
    Server(SecretSource),
}

/// The file; or engine, host and database, where the config itself says them, else where the address is read from.
impl std::fmt::Display for VaultPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(SecretSource::Value(address)) => match Dsn::parse_own(address.expose()) {
                Ok(dsn) => dsn.fmt(f),
                Err(detail) => f.write_str(detail),
            },
            Self::Server(source) => source.fmt(f),
        }
    }
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPlan {
    /// Where it listens.
    pub listen: std::net::SocketAddr,
}

/// Bounds of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentPlan {
    /// Refreshes at once.
    pub max_in_flight: usize,
    /// Refreshes at once at one token endpoint host.
    pub max_in_flight_per_host: usize,
}

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, schemars::JsonSchema)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[default]
    #[schemars(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[schemars(rename = "ES256")]
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

/// A token endpoint and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The token endpoint.
    pub url: Url,
    /// POST or GET.
    pub method: Method,
    /// How the parameters travel.
    pub encoding: Encoding,
    /// How the client proves itself (RFC 6749 §2.3).
    pub auth: ClientAuth,
    /// The client's identifier, where the service has one.
    pub client_id: Option<String>,
    /// The client's secret.
    pub client_secret: Option<SecretSource>,
    /// The `scope` parameter.
    pub scope: Option<String>,
    /// Parameters that are sent as they are.
    pub params: BTreeMap<String, TextOrSecret>,
    /// Standard parameters that have another name here.
    pub param_names: BTreeMap<String, String>,
    /// Headers that are sent as they are.
    pub headers: Vec<(HeaderName, TextOrSecret)>,
    /// Where the answer's fields are.
    pub response: ResponsePointers,
    /// How long a whole request may take.
    pub timeout: Duration,
    /// How the connection is made; clients are shared by this.
    pub transport: Transport,
}

impl Endpoint {
    /// Its host, for bounds and messages.
    pub fn host(&self) -> String {
        host(&self.url)
    }
}

/// Host and port of an address; never the path or query, which may hold a secret.
pub fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether an address is on this machine: 127.0.0.0/8, ::1 and localhost.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => Ipv4Addr::is_loopback(&address),
        Some(Host::Ipv6(address)) => Ipv6Addr::is_loopback(&address),
        Some(Host::Domain(domain)) => domain == "localhost",
        None => false,
    }
}

/// How a connection is made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transport {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// A proxy; `None` takes the usual environment variables.
    pub proxy: Option<Url>,
    /// A PEM file of further roots.
    pub ca_file: Option<PathBuf>,
    /// A PEM file of the client's certificate, and its key.
    pub client_cert: Option<(PathBuf, SecretSource)>,
}

/// The method of the token request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// POST.
    #[default]
    Post,
    /// GET; the parameters travel in the query.
    Get,
}

/// How the parameters of the token request travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// `application/x-www-form-urlencoded` (RFC 6749).
    #[default]
    Form,
    /// One JSON object.
    Json,
    /// In the address.
    Query,
}

/// How the client proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// A public client: `client_id` among the parameters.
    #[default]
    None,
    /// `client_id` and `client_secret` among the parameters.
    ClientSecretPost,
    /// HTTP Basic.
    ClientSecretBasic,
}

/// What is done when an answer was lost and the server may have rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
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

/// JSON pointers (RFC 6901) into the answer; an empty one is not looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponsePointers {
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// The lifetime in seconds.
    pub expires_in: String,
    /// The moment of expiry: epoch seconds or milliseconds, or RFC 3339.
    pub expires_at: String,
    /// The refresh token's own lifetime in seconds.
    pub refresh_expires_in: String,
    /// The error: text, or an object with `code` or `type`.
    pub error: String,
}

impl Default for ResponsePointers {
    fn default() -> Self {
        Self {
            access_token: "/access_token".into(),
            refresh_token: "/refresh_token".into(),
            expires_in: "/expires_in".into(),
            expires_at: String::new(),
            refresh_expires_in: String::new(),
            error: "/error".into(),
        }
    }
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

/// A notifier.
#[derive(Debug, Clone)]
pub struct NotifierPlan {
    /// Its name; the type where the config gives none.
    pub name: Arc<str>,
    /// The service behind it.
    pub service: Arc<dyn Service>,
    /// The events it is told of.
    pub events: std::collections::BTreeSet<crate::credential::event::Topic>,
    /// How long a message may take.
    pub timeout: Duration,
    /// A proxy; `None` takes the usual environment variables.
    pub proxy: Option<Url>,
    /// Where the relative path of a command starts from: the config file's directory.
    pub directory: PathBuf,
}

/// What [`Plan::resolve`] has to know besides the file's text.
pub struct Surroundings<'a> {
    /// The directory that relative paths start from: the config file's, absolute.
    pub directory: &'a Path,
    /// The environment that compose shares with the gateway (`SYNC_FREQUENCY`, …).
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The config file's mode, where it is known, to warn of secrets that others can read.
    pub mode: Option<u32>,
}

/// What changed between two plans. Names of credentials; a replaced one keeps its record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanDiff {
    /// Credentials that are new.
    pub start: Vec<Arc<str>>,
    /// Credentials that are gone.
    pub stop: Vec<Arc<str>>,
    /// Credentials that changed.
    pub replace: Vec<Arc<str>>,
    /// Gateways were added, removed or changed.
    pub gateways: bool,
    /// The server's address changed.
    pub server: bool,
    /// Notifiers changed.
    pub notifiers: bool,
    /// The bounds changed.
    pub agent: bool,
    /// The language changed.
    pub language: bool,
    /// The vault's place or key changed: takes effect at the next start only.
    pub vault: bool,
}

impl PlanDiff {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Plan {
    /// Reads a config file's text: [`Config::parse`] and [`Plan::resolve`] in one, problems sorted by place.
    ///
    /// # Errors
    /// Every problem that was found, warnings among them, if at least one is an error.
    pub fn read(text: &str, surroundings: &Surroundings<'_>) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let (config, mut problems) = Config::parse(text);
        let (plan, more) = match Self::resolve(&config, surroundings) {
            Ok((plan, warnings)) => (Some(plan), warnings),
            Err(problems) => (None, problems),
        };
        problems.extend(more);
        problems.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        let is_bad = problems.iter().any(|problem| problem.severity == Severity::Error);
        match plan {
            Some(plan) if !is_bad => Ok((plan, problems)),
            _ => Err(problems),
        }
    }

    /// Checks a config and applies every default.
    ///
    /// Warnings come with the plan.
    ///
    /// # Errors
    /// Every problem that was found, warnings among them, if at least one is an error; nothing new, if the plan is
    /// incomplete for a reason that [`Config::parse`] told already. [`Plan::read`] puts both together.
    pub fn resolve(config: &Config, surroundings: &Surroundings<'_>) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        resolve::plan(config, surroundings)
    }

    /// What has to be done to get from this plan to the next.
    pub fn diff(&self, next: &Self) -> PlanDiff {
        diff::between(self, next)
    }

    /// The plan of an agent that does nothing yet, to start from.
    pub fn empty(next: &Self) -> Self {
        Self { gateways: Vec::new(), credentials: Credentials::default(), notifiers: Vec::new(), ..next.clone() }
    }

    /// The gateway of this name.
    pub fn gateway(&self, name: &str) -> Option<&Arc<GatewayPlan>> {
        self.gateways.iter().find(|gateway| &*gateway.name == name)
    }

    /// The credential of this name.
    pub fn credential(&self, name: &str) -> Option<&Arc<CredentialPlan>> {
        self.credentials.get(name)
    }
}
