//! `[gateway]`, one or several.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Check;
use super::network::gateway_url;
use crate::config::file::{ApiSection, Entry, GatewaySection};
use crate::config::plan::{ApiPlan, CacheLag, DEFAULT_GATEWAY, Database, GatewayPlan};
use crate::config::words::{AutoOrLength, Reenable};
use crate::dsn::{Dsn, NotADsn};
use crate::reason::ConfigReason;
use crate::secret::{Secret, SecretSource, TextOrSecret};
use crate::shape::At;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The names of all gateways in the order of the file, the unusable ones too: a channel may name them.
pub(super) fn names(check: &mut Check<'_>) -> Vec<Option<Arc<str>>> {
    let config = check.config;
    let entries = config.tables.gateway.as_ref().map_or(&[][..], |gateways| &gateways.value.0);
    if entries.is_empty() {
        check.incomplete = true;
        if !config.told.about("gateway") {
            check.reader.error("gateway", None, ConfigReason::MissingField { field: "gateway.database".into() });
        }
    }
    let mut lines = BTreeMap::new();
    let mut names = Vec::with_capacity(entries.len());
    for entry in entries {
        let name = match &entry.at.value.name {
            Some(name) => check.name(format!("{}.name", entry.label), name),
            None if entries.len() == 1 => Some(DEFAULT_GATEWAY.into()),
            None => {
                check.missing(&entry.label, "name", &entry.at.span);
                None
            }
        };
        if let (Some(name), Some(written)) = (&name, &entry.at.value.name) {
            let line = check.line(&written.span);
            if let Some(first_line) = lines.insert(name.clone(), line) {
                let what = format!("gateway \"{name}\"");
                lines.insert(name.clone(), first_line);
                let field = format!("{}.name", entry.label);
                check.error(field, &written.span, ConfigReason::Duplicate { what, first_line });
            }
        }
        names.push(name);
    }
    names
}

/// The gateways that can be used.
pub(super) fn gateways(check: &mut Check<'_>, names: &[Option<Arc<str>>]) -> Vec<Arc<GatewayPlan>> {
    let config = check.config;
    let entries = config.tables.gateway.as_ref().map_or(&[][..], |gateways| &gateways.value.0);
    entries.iter().zip(names).filter_map(|(entry, name)| gateway(check, entry, name.clone())).map(Arc::new).collect()
}

fn gateway(check: &mut Check<'_>, entry: &Entry<GatewaySection>, name: Option<Arc<str>>) -> Option<GatewayPlan> {
    let (label, written) = (&entry.label, &entry.at.value);
    let api = written.api.as_ref().map(|api| api_plan(check, &format!("{label}.api"), api));
    let kind = written.kind.as_ref().and_then(|kind| kind.value.0);
    let busy_timeout = check.length(
        &format!("{label}.busy_timeout"),
        written.busy_timeout.as_ref(),
        Duration::from_secs(5),
        Duration::from_millis(1)..=Duration::from_secs(5 * 60),
    );
    let cache_lag = cache_lag(check, label, written.cache_lag.as_ref());
    let database = match (&written.database, &api) {
        (Some(written), _) => database(check, label, written)?,
        (None, Some(_)) => Database::None,
        (None, None) => {
            check.missing(label, "database", &entry.at.span);
            return None;
        }
    };
    // What was wrong with it was said.
    let api = match api {
        Some(api) => Some(api?),
        None => None,
    };
    let allowed = written.allow_filesystem.as_ref().map_or(&[][..], |allowed| &allowed.value);
    Some(GatewayPlan {
        name: name?,
        database,
        api,
        kind,
        cache_lag,
        busy_timeout,
        on_foreign_key: written.on_foreign_key.as_ref().map(|word| word.value).unwrap_or_default(),
        reenable: written.reenable.as_ref().is_none_or(|word| word.value == Reenable::Auto),
        allow_filesystem: allowed.iter().map(|name| name.value.clone()).collect(),
    })
}

fn api_plan(check: &mut Check<'_>, label: &str, written: &At<ApiSection>) -> Option<ApiPlan> {
    let api = &written.value;
    for (key, is_there) in [("url", api.url.is_some()), ("token", api.token.is_some())] {
        if !is_there {
            check.missing(label, key, &written.span);
        }
    }
    let url = api.url.as_ref().and_then(|url| gateway_url(check, &format!("{label}.url"), url));
    let token = api.token.as_ref().map(|token| check.secret(&format!("{label}.token"), &token.value, &token.span));
    Some(ApiPlan { url: url?, token: token?, user: api.user.as_ref().map(|user| user.value) })
}

/// The database: a file, or a server as One-API's `SQL_DSN` names it. Nothing of an address is ever repeated.
fn database(check: &mut Check<'_>, label: &str, written: &At<TextOrSecret>) -> Option<Database> {
    let field = format!("{label}.database");
    let source = match &written.value {
        TextOrSecret::Secret(source) => check.secret(&field, source, &written.span),
        TextOrSecret::Text(text) if Dsn::is_meant_by(text) => SecretSource::Value(Secret::new(text.as_str())),
        TextOrSecret::Text(text) if text.is_empty() || text.contains('\0') => {
            check.error(field, &written.span, ConfigReason::OutOfRange { bounds: "not empty".into() });
            return None;
        }
        TextOrSecret::Text(text) => return Some(Database::File(check.path(Path::new(text)))),
    };
    if cfg!(not(feature = "servers")) {
        let what = "database on a server".into();
        check.error(field, &written.span, ConfigReason::NotInThisBuild { what, feature: "servers".into() });
        return None;
    }
    // What stands elsewhere is read, and judged, when the gateway is reached.
    if let SecretSource::Value(text) = &source {
        match Dsn::parse(text.expose()) {
            Ok(dsn) if dsn.password.is_empty() => {}
            Ok(_) => check.warn_of_value(&field, &source, &written.span),
            Err(problem) => {
                let detail = match problem {
                    NotADsn::Bad(detail) => detail.to_owned(),
                    NotADsn::Sqlite => "the gateways take it for SQLite; name the file".to_owned(),
                };
                check.error(field, &written.span, ConfigReason::BadDatabase { detail });
                return None;
            }
        }
    }
    Some(Database::Server(source))
}

fn cache_lag(check: &mut Check<'_>, label: &str, written: Option<&At<AutoOrLength>>) -> CacheLag {
    let Some(written) = written else { return cache_lag_of(check.surroundings.env) };
    match written.value.0 {
        None => cache_lag_of(check.surroundings.env),
        Some(lag) => {
            if lag > DAY {
                let bounds = "0s to 1day".into();
                check.error(format!("{label}.cache_lag"), &written.span, ConfigReason::OutOfRange { bounds });
            }
            CacheLag::Known(lag)
        }
    }
}

/// What the environment that compose shares with the gateway says of its memory cache.
///
/// The gateways route from memory with `MEMORY_CACHE_ENABLED=true`, or with Redis, which takes both variables; they
/// reload every `SYNC_FREQUENCY` seconds.
fn cache_lag_of(env: &dyn Fn(&str) -> Option<String>) -> CacheLag {
    let var = |name| env(name).filter(|value| !value.is_empty());
    let memory = var("MEMORY_CACHE_ENABLED").map(|value| value.eq_ignore_ascii_case("true"));
    let has_redis = var("REDIS_CONN_STRING").is_some();
    let every = var("SYNC_FREQUENCY");
    if memory == Some(true) || (has_redis && every.is_some()) {
        let seconds = every.and_then(|every| every.trim().parse::<u32>().ok());
        return seconds.map_or(CacheLag::ByKind, |seconds| CacheLag::Shared(Duration::from_secs(seconds.into())));
    }
    if memory == Some(false) && !has_redis { CacheLag::Shared(Duration::ZERO) } else { CacheLag::ByKind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_environment_tells_the_cache_lag() {
        let known = |seconds| CacheLag::Shared(Duration::from_secs(seconds));
        for (env, expected) in [
            (&[][..], CacheLag::ByKind),
            (&[("MEMORY_CACHE_ENABLED", "true")], CacheLag::ByKind),
            (&[("MEMORY_CACHE_ENABLED", "true"), ("SYNC_FREQUENCY", "60")], known(60)),
            (&[("MEMORY_CACHE_ENABLED", "TRUE"), ("SYNC_FREQUENCY", "often")], CacheLag::ByKind),
            (&[("MEMORY_CACHE_ENABLED", "false")], known(0)),
            (&[("MEMORY_CACHE_ENABLED", "")], CacheLag::ByKind),
            (&[("REDIS_CONN_STRING", "redis://r"), ("SYNC_FREQUENCY", "30")], known(30)),
            (&[("REDIS_CONN_STRING", "redis://r")], CacheLag::ByKind),
            (&[("SYNC_FREQUENCY", "30")], CacheLag::ByKind),
            (&[("MEMORY_CACHE_ENABLED", "false"), ("REDIS_CONN_STRING", "redis://r")], CacheLag::ByKind),
            (
                &[("MEMORY_CACHE_ENABLED", "false"), ("REDIS_CONN_STRING", "redis://r"), ("SYNC_FREQUENCY", "30")],
                known(30),
            ),
        ] {
            let look = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(cache_lag_of(&look), expected, "{env:?}");
        }
    }
}
