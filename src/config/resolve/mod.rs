//! From what the config file says to what it means: every default applied, every field checked.
//!
//! One pass gathers every problem; a file a table. Called by [`Plan::resolve`]; pure.

mod credential;
mod gateway;
mod network;
mod notifier;
mod twice;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::file::{Config, is_name};
use crate::config::places;
use crate::config::plan::{AgentPlan, Database, GatewayPlan, Plan, ServerPlan, Surroundings, VaultPlace, VaultPlan};
use crate::dsn::Dsn;
use crate::finding::Severity;
use crate::reason::ConfigReason;
use crate::secret::{Secret, SecretSource, TextOrSecret};
use crate::shape::{At, Length, Problem, Reader, Span};

/// Where the HTTP server listens when `[server]` does not say.
const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 9170);

/// See [`Plan::resolve`].
pub(super) fn plan(config: &Config, surroundings: &Surroundings<'_>) -> Result<(Plan, Vec<Problem>), Vec<Problem>> {
    let mut check = Check { config, surroundings, reader: Reader::default(), incomplete: false };
    let names = gateway::names(&mut check);
    let gateways = gateway::gateways(&mut check, &names);
    let vault = vault(&mut check, &gateways, names.len());
    let server = server(&mut check);
    let agent = agent(&mut check);
    let credentials = credential::credentials(&mut check, &names);
    let notifiers = notifier::notifiers(&mut check);
    twice::check(&mut check);

    let (problems, incomplete) = check.finish();
    let language = config.tables.language.as_ref().map(|language| language.value);
    match vault {
        Some(vault) if !incomplete && problems.iter().all(|problem| problem.severity == Severity::Warning) => {
            let language = language.unwrap_or_else(|| language_of(surroundings.env));
            let credentials = credentials.into();
            Ok((Plan { language, gateways, vault, server, agent, credentials, notifiers }, problems))
        }
        _ => Err(problems),
    }
}

/// Where the vault is, from as much of the config as could be read: `status` wants it even after a broken edit.
pub fn vault_place(config: &Config, directory: &Path) -> Option<VaultPlace> {
    let vault = config.tables.vault.as_ref().map(|vault| &vault.value);
    if let Some(path) = vault.and_then(|vault| vault.path.as_ref()) {
        return Some(VaultPlace::File(directory.join(&path.value)));
    }
    if let Some(url) = vault.and_then(|vault| vault.url.as_ref()) {
        return Some(VaultPlace::Server(address(&url.value).within(directory)));
    }
    let [gateway] = config.tables.gateway.as_ref()?.value.0.as_slice() else { return None };
    match &gateway.at.value.database.as_ref()?.value {
        TextOrSecret::Text(database) if !Dsn::is_meant_by(database) => {
            Some(VaultPlace::File(beside(&directory.join(database))))
        }
        TextOrSecret::Text(_) | TextOrSecret::Secret(_) => None,
    }
}

/// A server's address as a secret, however it is written.
fn address(url: &TextOrSecret) -> SecretSource {
    match url {
        TextOrSecret::Text(text) => SecretSource::Value(Secret::new(text.as_str())),
        TextOrSecret::Secret(source) => source.clone(),
    }
}

/// Where the vault's encryption key is, from as much of the config as could be read.
pub fn vault_key(config: &Config, directory: &Path) -> Option<SecretSource> {
    let key = config.tables.vault.as_ref()?.value.encryption_key.as_ref()?;
    Some(key.value.within(directory))
}

/// The vault's default place.
fn beside(database: &Path) -> PathBuf {
    database.parent().unwrap_or(database).join("one-api-sidecar").join("vault.db")
}

/// The language of the surroundings, as programs of the C library find it.
fn language_of(env: &dyn Fn(&str) -> Option<String>) -> crate::reason::Language {
    let set = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(env).find(|value| !value.is_empty());
    match set {
        Some(locale) if locale.starts_with("zh") => crate::reason::Language::Chinese,
        _ => crate::reason::Language::English,
    }
}

/// What is being checked, and what was found.
struct Check<'a> {
    config: &'a Config,
    surroundings: &'a Surroundings<'a>,
    reader: Reader,
    /// Something is missing that the reading has complained of already.
    incomplete: bool,
}

impl<'a> Check<'a> {
    fn error(&mut self, field: impl Into<String>, span: &Span, reason: ConfigReason) {
        self.reader.error(field, span.clone(), reason);
    }

    fn warning(&mut self, field: impl Into<String>, span: &Span, reason: ConfigReason) {
        self.reader.warning(field, span.clone(), reason);
    }

    /// A required field that is not there; its table's header is where it is missing.
    fn missing(&mut self, table: &str, key: &str, header: &Span) {
        self.incomplete = true;
        let field = format!("{table}.{key}");
        if !self.config.told.about(&field) && !self.config.told.is_broken(header.start) {
            self.error(field, header, ConfigReason::MissingField { field: key.into() });
        }
    }

    /// A path, relative to the config file's directory.
    fn path(&self, path: &Path) -> PathBuf {
        self.surroundings.directory.join(path)
    }

    /// The name of a credential, gateway or notifier.
    fn name(&mut self, field: String, name: &At<String>) -> Option<Arc<str>> {
        if is_name(&name.value) {
            return Some(name.value.as_str().into());
        }
        self.error(field, &name.span, ConfigReason::BadName);
        None
    }

    /// A secret's source: paths made absolute, values warned of.
    fn secret(&mut self, field: &str, source: &SecretSource, span: &Span) -> SecretSource {
        self.warn_of_value(field, source, span);
        source.within(self.surroundings.directory)
    }

    /// A value in a file that others can read.
    fn warn_of_value(&mut self, field: &str, source: &SecretSource, span: &Span) {
        if let (SecretSource::Value(_), Some(mode)) = (source, self.surroundings.mode)
            && mode & 0o077 != 0
        {
            let mode = format!("{:03o}", mode & 0o7777);
            self.warning(field, span, ConfigReason::ValueReadableByOthers { mode });
        }
    }

    fn text_or_secret(&mut self, field: &str, value: &At<TextOrSecret>) -> TextOrSecret {
        match &value.value {
            TextOrSecret::Text(text) => TextOrSecret::Text(text.clone()),
            TextOrSecret::Secret(source) => TextOrSecret::Secret(self.secret(field, source, &value.span)),
        }
    }

    /// A length of time within its bounds, or the default.
    fn length(
        &mut self,
        field: &str,
        written: Option<&At<Length>>,
        default: Duration,
        bounds: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(written) = written else { return default };
        if bounds.contains(&written.value.0) {
            return written.value.0;
        }
        let [least, most] = [bounds.start(), bounds.end()].map(|bound| humantime::format_duration(*bound));
        self.error(field, &written.span, ConfigReason::OutOfRange { bounds: format!("{least} to {most}") });
        default
    }

    /// The line (from 1) of a place.
    fn line(&self, span: &Span) -> usize {
        self.config.lines.line(span.start)
    }

    fn finish(mut self) -> (Vec<Problem>, bool) {
        let mut problems: Vec<Problem> = Vec::with_capacity(self.reader.problems.len());
        for mut problem in self.reader.problems {
            problem.field = places::shown_field(&problem.field);
            if !self.config.told.is_reliable(&problem) {
                self.incomplete = true;
                continue;
            }
            // A mistake in [defaults] shows once, not once a credential.
            let seen = problem.field.starts_with("defaults") && problems.contains(&problem);
            if !seen {
                problems.push(problem);
            }
        }
        (problems, self.incomplete)
    }
}

fn vault(check: &mut Check<'_>, gateways: &[Arc<GatewayPlan>], written: usize) -> Option<VaultPlan> {
    let config = check.config;
    let header = config.tables.vault.as_ref().map(|vault| vault.span.clone());
    let vault = config.tables.vault.as_ref().map(|vault| &vault.value);
    let encryption_key = vault
        .and_then(|vault| vault.encryption_key.as_ref())
        .map(|key| check.secret("vault.encryption_key", &key.value, &key.span));
    let path = vault.and_then(|vault| vault.path.as_ref());
    if let Some(url) = vault.and_then(|vault| vault.url.as_ref()) {
        if path.is_some() {
            let (field, other) = ("url".into(), "path".into());
            check.error("vault.url", &url.span, ConfigReason::Conflicts { field, other });
        }
        if encryption_key.is_none() && !check.config.told.about("vault.encryption_key") {
            check.error("vault.url", &url.span, ConfigReason::VaultKeyNeeded);
        }
        let place = VaultPlace::Server(server_address(check, url));
        return Some(VaultPlan { place, encryption_key });
    }
    let only = match gateways {
        [gateway] if written == 1 => Some(&gateway.database),
        _ => None,
    };
    let path = match (path, only.and_then(Database::file)) {
        (Some(path), _) => check.path(&path.value),
        (None, Some(database)) => beside(database),
        (None, None) => {
            check.incomplete = true;
            let reason = match only {
                Some(_) => Some(ConfigReason::VaultPathBesideServer),
                None => (written > 1).then_some(ConfigReason::VaultPathNeeded),
            };
            if let Some(reason) = reason.filter(|_| !check.config.told.about("vault.path")) {
                check.reader.error("vault.path", header, reason);
            }
            return None;
        }
    };
    Some(VaultPlan { place: VaultPlace::File(path), encryption_key })
}

/// The address of the vault's server. One that stands in the config is judged here, any other when it is read.
fn server_address(check: &mut Check<'_>, url: &At<TextOrSecret>) -> SecretSource {
    if cfg!(not(feature = "servers")) {
        let what = "a vault in a database server".into();
        check.error("vault.url", &url.span, ConfigReason::NotInThisBuild { what, feature: "servers".into() });
    }
    let source = address(&url.value);
    if let SecretSource::Value(text) = &source {
        match Dsn::parse_own(text.expose()) {
            Err(detail) => check.error("vault.url", &url.span, ConfigReason::BadVaultUrl { detail: detail.into() }),
            // Nothing in it is secret.
            Ok(dsn) if dsn.password.is_empty() => return source,
            Ok(_) => {}
        }
    }
    check.secret("vault.url", &source, &url.span)
}

fn server(check: &mut Check<'_>) -> Option<ServerPlan> {
    let server = check.config.tables.server.as_ref()?;
    let Some(listen) = &server.value.listen else {
        return Some(ServerPlan { listen: SocketAddr::from(DEFAULT_LISTEN) });
    };
    match listen.value.parse() {
        Ok(listen) => Some(ServerPlan { listen }),
        Err(_) => {
            let detail = "not an IP address with a port, like 127.0.0.1:9170".into();
            check.error("server.listen", &listen.span, ConfigReason::BadUrl { detail });
            None
        }
    }
}

fn agent(check: &mut Check<'_>) -> AgentPlan {
    let agent = check.config.tables.agent.as_ref().map(|agent| &agent.value);
    let mut count = |key: &str, written: Option<&At<i64>>, default: usize| match written {
        None => default,
        Some(at) => match usize::try_from(at.value) {
            Ok(count @ 1..=4096) => count,
            _ => {
                let bounds = "1 to 4096".into();
                check.error(format!("agent.{key}"), &at.span, ConfigReason::OutOfRange { bounds });
                default
            }
        },
    };
    AgentPlan {
        max_in_flight: count("max_in_flight", agent.and_then(|agent| agent.max_in_flight.as_ref()), 64),
        max_in_flight_per_host: count(
            "max_in_flight_per_host",
            agent.and_then(|agent| agent.max_in_flight_per_host.as_ref()),
            16,
        ),
    }
}
