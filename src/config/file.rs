//! The TOML shapes of `sidecar.toml`, one to one, and the reading of its text.
//!
//! Owns which fields there are and of what type; what they mean and which go together is [`super::resolve`]'s. The
//! comments on the fields are for users: editors show them, by way of [`super::schema`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::lines::Lines;
use crate::config::plan::{Algorithm, ClientAuth, Encoding, Method, OnForeignKey, OnLostAnswer};
use crate::config::syntax::Syntax;
use crate::config::words::{AutoOrLength, GrantType, Kind, PresetName, Reenable, Rotates, repeatable};
use crate::config::{pieces, places, preset};
use crate::notify::services::{REGISTRY, Service};
use crate::reason::{ConfigReason, Language};
use crate::secret::{SecretSource, TextOrSecret};
use crate::section;
use crate::shape::{At, FromToml, Length, Problem, Reader, Section, nearest, type_name, wrong_type};

/// The config file as it is written.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Its tables.
    pub tables: Tables,
    /// Where its lines begin.
    pub lines: Lines,
    /// What the reading has complained of already.
    pub told: Told,
}

impl Config {
    /// Reads the text; what cannot be read is left out and told.
    pub fn parse(text: &str) -> (Self, Vec<Problem>) {
        let lines = Lines::of(text);
        let (tables, problems, mut told) = match pieces::read(text) {
            Some((tables, problems)) => (tables, problems, Told::default()),
            None => Self::parse_whole(text),
        };
        let mut problems = explain(problems, &lines);
        problems.retain(|problem| told.is_reliable(problem));
        told.fields = fields_of(&problems);
        (Self { tables, lines, told }, problems)
    }

    /// By one tree of the whole text, whatever is wrong with it.
    pub(super) fn parse_whole(text: &str) -> (Tables, Vec<Problem>, Told) {
        let mut syntax = Syntax::of(text);
        let mut reader = Reader { problems: std::mem::take(&mut syntax.problems) };
        let mut root = syntax.tree().into_inner();
        preset::fill(&mut root);
        let tables = Tables::of(root, &mut reader);
        let told = Told { unreliable_from: syntax.unreliable_from, broken: syntax.broken, fields: Vec::new() };
        (tables, reader.problems, told)
    }
}

impl Tables {
    /// From TOML's tree.
    pub(super) fn of(root: DeTable<'_>, reader: &mut Reader) -> Self {
        Self::from_toml(Spanned::new(0..0, DeValue::Table(root)), "", reader).unwrap_or_default()
    }
}

/// What a reading has complained of, so that nobody complains again that it is missing.
#[derive(Debug, Clone, Default)]
pub struct Told {
    fields: Vec<String>,
    broken: Vec<usize>,
    unreliable_from: Option<usize>,
}

impl Told {
    /// Whether there was a complaint about this field, or about something in it.
    pub fn about(&self, field: &str) -> bool {
        let inside = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[', ' ']);
        self.fields.iter().any(|told| told.strip_prefix(field).is_some_and(inside))
    }

    /// Whether the table whose header begins at this offset has a syntax error: a missing field may be in that line.
    pub fn is_broken(&self, header: usize) -> bool {
        self.broken.contains(&header)
    }

    /// Whether a problem is one of its own, and not the echo of a table's header that could not be read.
    pub fn is_reliable(&self, problem: &Problem) -> bool {
        let Some(from) = self.unreliable_from else { return true };
        let is_syntax = matches!(problem.reason, ConfigReason::Syntax { .. });
        is_syntax || problem.span.as_ref().is_some_and(|span| span.start < from)
    }
}

/// The fields that problems are about; for a misspelt key, the field that was meant too.
fn fields_of(problems: &[Problem]) -> Vec<String> {
    let mut fields = Vec::new();
    for problem in problems {
        if let ConfigReason::UnknownKey { key, nearest: Some(meant), .. } = &problem.reason
            && let Some(table) = problem.field.strip_suffix(key.as_str())
        {
            fields.push(format!("{table}{meant}"));
        }
        fields.push(problem.field.clone());
    }
    fields
}

/// Says of unknown keys where they belong, and repeats none that could be a pasted secret.
fn explain(problems: Vec<Problem>, lines: &Lines) -> Vec<Problem> {
    let line = |problem: &Problem| problem.span.as_ref().map(|span| lines.line(span.start));
    let is_syntax = |problem: &Problem| matches!(problem.reason, ConfigReason::Syntax { .. });
    let broken: Vec<usize> = problems.iter().filter(|problem| is_syntax(problem)).filter_map(line).collect();
    let mut explained = Vec::with_capacity(problems.len());
    for mut problem in problems {
        if let ConfigReason::UnknownKey { key, nearest, known } = &mut problem.reason {
            // On a line that is no TOML the "key" may be anything.
            if problem.span.as_ref().is_some_and(|span| broken.contains(&lines.line(span.start))) {
                continue;
            }
            if let Some(belongs) = places::belongs(key, known) {
                problem.reason = ConfigReason::MisplacedKey { key: std::mem::take(key), belongs };
            } else if nearest.is_none() && !repeatable(key) {
                *key = "…".into();
            }
        }
        problem.field = places::shown_field(&problem.field);
        explained.push(problem);
    }
    explained
}

section! {
    /// The config file of one-api-sidecar.
    pub struct Tables {
        /// The language of messages, notices and the page. Default: from LC_ALL or LANG, else en.
        pub language: Language,
        /// Where the keys go. Several gateways are written as `[[gateway]]`, with a name each.
        pub gateway: OneOrMany<GatewaySection>,
        /// The sidecar's own durable memory.
        pub vault: VaultSection,
        /// The HTTP server. Without this table nothing listens.
        pub server: ServerSection,
        /// Bounds of the agent.
        pub agent: AgentSection,
        /// Timing and network fields for all credentials that do not set them.
        pub defaults: DefaultsSection,
        /// The grants that are kept alive.
        pub credential: Many<CredentialSection>,
        /// Who is told when a human is needed.
        pub notify: Many<NotifySection>,
    }
}

section! {
    /// A gateway whose channels are fed.
    pub struct GatewaySection {
        /// Its name, where there are several: [a-z0-9._-]. Default: default.
        pub name: String,
        /// Its SQLite file; or the address of its database server as One-API's SQL_DSN has it, best from there:
        /// { env = "SQL_DSN" }.
        pub database: TextOrSecret,
        /// The admin API, instead of or beside the database.
        pub api: ApiSection,
        /// Refuse a gateway that is something else. Default: auto.
        pub kind: Kind,
        /// How long the gateway may go on using the previous key; "0s": its memory cache is off. auto: from
        /// MEMORY_CACHE_ENABLED, REDIS_CONN_STRING and SYNC_FREQUENCY, else 10m (one-api) or 1m (new-api). Default: auto.
        pub cache_lag: AutoOrLength,
        /// How long a write waits for the database's lock. Default: 5s.
        pub busy_timeout: Length,
        /// What is done about a key that somebody else wrote after the channel was adopted. Default: report.
        pub on_foreign_key: OnForeignKey,
        /// Whether a channel that the old key got disabled is enabled again. Default: auto.
        pub reenable: Reenable,
        /// Network and shared filesystems that are to be trusted, like ["virtiofs"]; they are refused otherwise.
        pub allow_filesystem: Vec<At<String>>,
    }
}

section! {
    /// A gateway's admin API.
    pub struct ApiSection {
        /// The gateway's address.
        pub url: String,
        /// An administrator's access token.
        pub token: SecretSource,
        /// The administrator's user id.
        pub user: i64,
    }
}

section! {
    /// The sidecar's own durable memory.
    pub struct VaultSection {
        /// The file. Default: one-api-sidecar/vault.db beside the only gateway's database.
        pub path: PathBuf,
        /// A database server in place of the file: `postgres://…`, `mysql://…` or `user:pass@tcp(host:3306)/db`.
        pub url: TextOrSecret,
        /// Seals what the vault holds: 32 random bytes in base64.
        pub encryption_key: SecretSource,
    }
}

section! {
    /// The HTTP server: the page, the status, the metrics.
    pub struct ServerSection {
        /// The address it listens on. Default: 127.0.0.1:9170.
        pub listen: String,
    }
}

section! {
    /// Bounds of the agent.
    pub struct AgentSection {
        /// Refreshes at once. Default: 64.
        pub max_in_flight: i64,
        /// Refreshes at once at one token endpoint host. Default: 16.
        pub max_in_flight_per_host: i64,
    }
}

section! {
    /// Timing and network fields for all credentials that do not set them.
    pub struct DefaultsSection {
        /// Time kept for retries before the key dies; the gateway's cache lag is added. Default: 5m.
        pub refresh_before: Length,
        /// The lifetime that is assumed when neither the answer nor the token says one. Default: 1h.
        pub fallback_lifetime: Length,
        /// How long a whole request may take; more than connect_timeout. Default: 30s.
        pub timeout: Length,
        /// How long connecting may take. Default: 10s, or half of a shorter timeout.
        pub connect_timeout: Length,
        /// A proxy: http, https or socks5. Default: the usual environment variables.
        pub proxy: String,
        /// A PEM file of further certificate authorities.
        pub ca_file: PathBuf,
        /// The client's certificate for mutual TLS, a PEM file.
        pub client_cert: PathBuf,
        /// The certificate's key.
        pub client_key: SecretSource,
        /// The bounds of the wait between retries. Default: 1s to 5m.
        pub backoff: BackoffSection,
    }
}

section! {
    /// The bounds of the wait between retries.
    pub struct BackoffSection {
        /// The first wait. Default: 1s.
        pub min: Length,
        /// The longest wait. Default: 5m.
        pub max: Length,
    }
}

section! {
    /// A grant that is kept alive, and the channels it feeds.
    pub struct CredentialSection {
        /// Its name, unique: [a-z0-9._-].
        pub name: String,
        /// Fills the fields of a known provider; what is written here wins.
        pub preset: PresetName,
        /// How a new access token is had. Default: refresh_token.
        pub grant_type: GrantType,
        /// The token endpoint: https, or plain http to loopback.
        pub token_url: String,
        /// The method of the token request. Default: POST.
        pub method: Method,
        /// How the parameters travel. Default: form; with GET, query.
        pub encoding: Encoding,
        /// How the client proves itself. Default: none (client_id among the parameters).
        pub token_endpoint_auth_method: ClientAuth,
        /// The client's identifier; left out where the service has none.
        pub client_id: String,
        /// The client's secret.
        pub client_secret: SecretSource,
        /// The scope parameter.
        pub scope: String,
        /// Parameters that are sent as they are.
        pub params: BTreeMap<String, At<TextOrSecret>>,
        /// Standard parameters that have another name here, like { refresh_token = "refreshToken" }.
        pub param_names: BTreeMap<String, At<String>>,
        /// Headers that are sent as they are.
        pub headers: BTreeMap<String, At<TextOrSecret>>,
        /// Where the first refresh token comes from.
        pub refresh_token: SecretSource,
        /// The channels that get the key: an id, a name, or a table with more to say.
        pub channels: Vec<At<ChannelEntry>>,
        /// What is written into the channels: {access_token}, {id_token}, {expires_at} and any {/json/pointer} into
        /// the answer. Default: {access_token}.
        pub channel_key: String,
        /// Time kept for retries before the key dies; the gateway's cache lag is added. Default: 5m.
        pub refresh_before: Length,
        /// The lifetime that is assumed when neither the answer nor the token says one. Default: 1h.
        pub fallback_lifetime: Length,
        /// Does a refresh invalidate the refresh token that was sent? Default: auto, which learns it.
        pub rotates: Rotates,
        /// Does a refresh kill the previous access token at once? Default: false.
        pub revokes_previous: bool,
        /// What is done when an answer was lost and the server may have rotated. Default: ask_late.
        pub on_lost_answer: OnLostAnswer,
        /// How long a whole request may take; more than connect_timeout. Default: 30s.
        pub timeout: Length,
        /// How long connecting may take. Default: 10s, or half of a shorter timeout.
        pub connect_timeout: Length,
        /// A proxy: http, https or socks5. Default: the usual environment variables.
        pub proxy: String,
        /// A PEM file of further certificate authorities.
        pub ca_file: PathBuf,
        /// The client's certificate for mutual TLS, a PEM file.
        pub client_cert: PathBuf,
        /// The certificate's key.
        pub client_key: SecretSource,
        /// The bounds of the wait between retries. Default: 1s to 5m.
        pub backoff: BackoffSection,
        /// For login: the issuer, whose metadata tells the endpoints.
        pub issuer: String,
        /// For login: where the browser is sent.
        pub authorization_endpoint: String,
        /// For login: where a device code is had.
        pub device_authorization_endpoint: String,
        /// Whether it is refreshed at all. Default: true.
        pub enabled: bool,
        /// Where the answer's fields are, as JSON pointers.
        pub response: ResponseSection,
        /// The signed assertion of jwt_bearer.
        pub assertion: AssertionSection,
    }
}

section! {
    /// Where the answer's fields are: JSON pointers (RFC 6901); an empty one is not looked for.
    pub struct ResponseSection {
        /// The access token. Default: /access_token.
        pub access_token: String,
        /// The refresh token. Default: /refresh_token.
        pub refresh_token: String,
        /// The lifetime in seconds. Default: /expires_in.
        pub expires_in: String,
        /// The moment of expiry: epoch seconds or milliseconds, or RFC 3339. Default: none.
        pub expires_at: String,
        /// The refresh token's own lifetime in seconds. Default: none.
        pub refresh_expires_in: String,
        /// The error: text, or an object with code or type. Default: /error.
        pub error: String,
    }
}

section! {
    /// The signed assertion of the jwt_bearer grant.
    pub struct AssertionSection {
        /// The private key: PEM, or a service-account JSON, which says the rest by itself.
        pub key: SecretSource,
        /// The iss claim.
        pub issuer: String,
        /// The sub claim. Default: the issuer.
        pub subject: String,
        /// The aud claim. Default: the token endpoint.
        pub audience: String,
        /// The key's identifier, the kid of the header.
        pub key_id: String,
        /// The signature: RS256 or ES256. Default: RS256.
        pub algorithm: Algorithm,
    }
}

section! {
    /// A channel, where its id or name alone does not say enough.
    pub struct ChannelSection {
        /// The channel's id.
        pub id: i64,
        /// The channel's name, in place of its id.
        pub name: String,
        /// The gateway it is in, where there are several.
        pub gateway: String,
        /// What is written into it, in place of the credential's channel_key.
        pub channel_key: String,
    }
}

/// An entry of `channels`: `1`, `"codex-a"` or `{ id = 7, … }`.
#[derive(Debug, Clone)]
pub enum ChannelEntry {
    /// The id alone.
    Id(i64),
    /// The name alone.
    Name(String),
    /// More than that.
    Table(Box<ChannelSection>),
}

impl FromToml for ChannelEntry {
    const EXPECTED: &'static str = "a channel's id, its name in quotes, or a table like { id = 7 }";

    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        match value.get_ref() {
            DeValue::Integer(_) => i64::from_toml(value, field, reader).map(Self::Id),
            DeValue::String(name) => Some(Self::Name(name.to_string())),
            DeValue::Table(_) => {
                ChannelSection::from_toml(value, field, reader).map(|section| Self::Table(Box::new(section)))
            }
            _ => wrong_type(&value, field, reader),
        }
    }
}

section! {
    /// The fields that every notifier has.
    pub struct NotifyCommon {
        /// Its name. Default: the type.
        pub name: String,
        /// What it is told of: default, all, names of events; "-name" takes one out. Default: ["default"].
        pub events: Vec<At<String>>,
        /// How long a message may take. Default: 10s.
        pub timeout: Length,
        /// A proxy: http, https or socks5. Default: the usual environment variables.
        pub proxy: String,
    }
}

/// A `[[notify]]` table: the common fields, and the service that its own fields made.
#[derive(Debug, Clone, Default)]
pub struct NotifySection {
    /// The service's type.
    pub kind: Option<At<String>>,
    /// The fields that every notifier has.
    pub common: NotifyCommon,
    /// The service, if its table could be read.
    pub service: Option<Arc<dyn Service>>,
}

impl FromToml for NotifySection {
    const EXPECTED: &'static str = "a table";

    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        let mut section = Section::open(value, field, reader)?;
        let kind: Option<At<String>> = section.take("type");
        let common = NotifyCommon::take_from(&mut section);
        let registered = kind.as_ref().and_then(|kind| REGISTRY.iter().find(|entry| entry.name == kind.value));
        let Some(registration) = registered else {
            // Whose fields the others are nobody can say; so none of them is called unknown.
            drop(section);
            if let Some(kind) = &kind {
                reader.error(format!("{field}.type"), kind.span.clone(), unknown_service(&kind.value));
            }
            return Some(Self { kind, common, service: None });
        };
        let service = (registration.parse)(&mut section);
        section.finish();
        Some(Self { kind, common, service })
    }
}

fn unknown_service(name: &str) -> ConfigReason {
    let known = REGISTRY.iter().map(|entry| entry.name);
    let nearest = nearest(name, known.clone());
    let name = if nearest.is_some() || repeatable(name) { name } else { "…" };
    ConfigReason::UnknownService { name: name.to_owned(), nearest, known: known.map(str::to_owned).collect() }
}

/// A table of the file, and how problems call it: `credential "openai"`.
#[derive(Debug, Clone)]
pub struct Entry<T> {
    /// What problems call it.
    pub label: String,
    /// The table and where its header stands.
    pub at: At<T>,
}

/// Tables in double brackets: `[[credential]]`.
#[derive(Debug, Clone)]
pub struct Many<T>(pub Vec<Entry<T>>);

impl<T: FromToml> FromToml for Many<T> {
    const EXPECTED: &'static str = "tables in double brackets";

    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        if value.get_ref().is_table() {
            let reason = ConfigReason::WrongType { expected: format!("[[{field}]]"), found: format!("[{field}]") };
            reader.error(field, value.span(), reason);
        }
        entries(value, field, reader).map(Self)
    }
}

/// A table, or several in double brackets: `[gateway]`, `[[gateway]]`.
#[derive(Debug, Clone)]
pub struct OneOrMany<T>(pub Vec<Entry<T>>);

impl<T: FromToml> FromToml for OneOrMany<T> {
    const EXPECTED: &'static str = "a table";

    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        entries(value, field, reader).map(Self)
    }
}

/// Reads a table or a list of them.
fn entries<T: FromToml>(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Vec<Entry<T>>> {
    let span = value.span();
    match value.into_inner() {
        table @ DeValue::Table(_) => {
            Some(Entry::read(Spanned::new(span, table), field, None, reader).into_iter().collect())
        }
        DeValue::Array(array) => {
            let mut entries = Vec::with_capacity(array.len());
            for (index, item) in array.into_iter().enumerate() {
                entries.extend(Entry::read(item, field, Some(index + 1), reader));
            }
            Some(entries)
        }
        other => {
            let reason = ConfigReason::WrongType { expected: T::EXPECTED.into(), found: type_name(&other).into() };
            reader.error(field, span, reason);
            None
        }
    }
}

impl<T: FromToml> Entry<T> {
    /// Reads one of a field's tables; without a name it is called by its number (from 1), if there are several. The
    /// label comes before the reading: it is in the problems.
    pub(super) fn read(
        value: Spanned<DeValue<'_>>,
        field: &str,
        number: Option<usize>,
        reader: &mut Reader,
    ) -> Option<Self> {
        let label = match (name_in(value.get_ref()), number) {
            (Some(name), _) => format!("{field} \"{name}\""),
            (None, Some(number)) => format!("{field} #{number}"),
            (None, None) => field.to_owned(),
        };
        let span = value.span();
        T::from_toml(value, &label, reader).map(|value| Self { label, at: At { value, span } })
    }
}

/// The name that a table bears (a notifier without one goes by its type), if it is one that may be shown.
fn name_in(value: &DeValue<'_>) -> Option<String> {
    let text = |key: &str| DeTable::get(value.as_table()?, key)?.get_ref().as_str();
    let name = text("name").filter(|name| is_name(name)).or_else(|| text("type").filter(|kind| repeatable(kind)))?;
    Some(name.to_owned())
}

/// Whether a text may be the name of a credential, gateway or notifier: `[a-z0-9._-]`, at most 64 characters.
pub fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    !text.is_empty() && text.len() <= 64 && text.chars().all(fits)
}
