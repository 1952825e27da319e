//! Addresses, timing and transport: a credential's own fields, else those of `[defaults]`, else what is built in.

use std::time::Duration;

use url::Url;

use super::Check;
use crate::config::file::{BackoffSection, CredentialSection, DefaultsSection};
use crate::config::plan::{Backoff, Transport, is_loopback};
use crate::reason::ConfigReason;
use crate::shape::{At, Length};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A credential's timing and network fields.
pub(super) struct Network {
    pub(super) refresh_before: Duration,
    pub(super) fallback_lifetime: Duration,
    pub(super) timeout: Duration,
    pub(super) backoff: Backoff,
    pub(super) transport: Transport,
}

/// Resolves the fields of a credential; without one, those of `[defaults]` alone, so that these are checked too.
pub(super) fn network(check: &mut Check<'_>, label: &str, own: Option<&CredentialSection>) -> Network {
    let config = check.config;
    let defaults: Option<&DefaultsSection> = config.tables.defaults.as_ref().map(|defaults| &defaults.value);
    // The field's path and value, wherever it is written.
    macro_rules! written {
        ($field:ident) => {{
            let own = own.and_then(|own| own.$field.as_ref()).map(|at| (label, at));
            let inherited = || defaults.and_then(|defaults| defaults.$field.as_ref()).map(|at| ("defaults", at));
            let found = own.or_else(inherited);
            let field = format!("{}.{}", found.map_or(label, |(table, _)| table), stringify!($field));
            (field, found.map(|(_, at)| at))
        }};
    }

    let (field, at) = written!(refresh_before);
    let refresh_before = check.length(&field, at, 5 * MINUTE, Duration::ZERO..=30 * DAY);
    let (field, at) = written!(fallback_lifetime);
    let fallback_lifetime = check.length(&field, at, HOUR, SECOND..=400 * DAY);

    let (timeout_field, timeout_at) = written!(timeout);
    let timeout = check.length(&timeout_field, timeout_at, 30 * SECOND, 10 * MS..=10 * MINUTE);
    let (connect_field, connect_at) = written!(connect_timeout);
    // Who shortens the timeout alone has not asked for a connect timeout that exceeds it.
    let connect_timeout = check.length(&connect_field, connect_at, (10 * SECOND).min(timeout / 2), MS..=10 * MINUTE);
    if timeout <= connect_timeout
        && let Some((field, at)) = connect_at.map(|at| (connect_field, at)).or(timeout_at.map(|at| (timeout_field, at)))
    {
        check.error(field, &at.span, ConfigReason::TimeoutOrder);
    }

    let (field, at) = written!(backoff);
    let backoff = backoff(check, &field, at);

    let (field, at) = written!(proxy);
    let proxy = at.and_then(|at| proxy_url(check, &field, at));
    let (_, ca_file) = written!(ca_file);
    let (cert_field, cert) = written!(client_cert);
    let (key_field, key) = written!(client_key);
    let client_cert = match (cert, key) {
        (Some(cert), Some(key)) => Some((check.path(&cert.value), check.secret(&key_field, &key.value, &key.span))),
        (Some(cert), None) => {
            needs(check, cert_field, &cert.span, "client_cert", "client_key");
            None
        }
        (None, Some(key)) => {
            needs(check, key_field, &key.span, "client_key", "client_cert");
            None
        }
        (None, None) => None,
    };
    let ca_file = ca_file.map(|path| check.path(&path.value));
    let transport = Transport { connect_timeout, proxy, ca_file, client_cert };
    Network { refresh_before, fallback_lifetime, timeout, backoff, transport }
}

/// A field that makes no sense without another, unless the reading complained of that one.
pub(super) fn needs(check: &mut Check<'_>, field: String, span: &crate::shape::Span, this: &str, other: &str) {
    check.incomplete = true;
    let table = field.strip_suffix(this).unwrap_or_default();
    if !check.config.told.about(&format!("{table}{other}")) {
        check.error(field, span, ConfigReason::Needs { field: this.into(), other: other.into() });
    }
}

fn backoff(check: &mut Check<'_>, field: &str, written: Option<&At<BackoffSection>>) -> Backoff {
    let [min_at, max_at]: [Option<&At<Length>>; 2] =
        written.map_or([None; 2], |at| [at.value.min.as_ref(), at.value.max.as_ref()]);
    let [least, most] = [SECOND, 5 * MINUTE];
    let min = min_at.map(|_| check.length(&format!("{field}.min"), min_at, least, 10 * MS..=DAY));
    let max = max_at.map(|_| check.length(&format!("{field}.max"), max_at, most, 10 * MS..=DAY));
    if let (Some(min), Some(max), Some(at)) = (min, max, min_at)
        && min > max
    {
        check.error(format!("{field}.min"), &at.span, ConfigReason::BackoffOrder);
    }
    // Who writes one of them beyond the other's default has not asked for that default.
    let default_min = max.map_or(least, |max| least.min(max));
    let min = min.unwrap_or(default_min);
    Backoff { min, max: max.unwrap_or(most.max(min)) }
}

/// An address that a secret is sent to: https, or plain http to loopback.
pub(super) fn endpoint_url(check: &mut Check<'_>, field: &str, written: &At<String>) -> Option<Url> {
    let url = match parse(&written.value, &["https", "http"], "https://") {
        Ok(url) => url,
        Err(detail) => {
            check.error(field, &written.span, ConfigReason::BadUrl { detail });
            return None;
        }
    };
    if url.scheme() == "http" && !is_loopback(&url) {
        check.error(field, &written.span, ConfigReason::PlainHttp);
        return None;
    }
    Some(url)
}

/// A gateway's address: it stands beside the sidecar, mostly in one compose network, where there is only plain http.
pub(super) fn gateway_url(check: &mut Check<'_>, field: &str, written: &At<String>) -> Option<Url> {
    match parse(written.value.trim_end_matches('/'), &["https", "http"], "http:// or https://") {
        Ok(mut url) => {
            // What is joined to it goes below its path, not in its place.
            url.set_path(&format!("{}/", url.path().trim_end_matches('/')));
            Some(url)
        }
        Err(detail) => {
            check.error(field, &written.span, ConfigReason::BadUrl { detail });
            None
        }
    }
}

/// A proxy's address.
pub(super) fn proxy_url(check: &mut Check<'_>, field: &str, written: &At<String>) -> Option<Url> {
    match parse(&written.value, &["http", "https", "socks5", "socks5h"], "http://, https:// or socks5://") {
        Ok(url) => Some(url),
        Err(detail) => {
            check.error(field, &written.span, ConfigReason::BadUrl { detail });
            None
        }
    }
}

/// Parses an address; what is wrong with it is said without repeating it.
fn parse(text: &str, schemes: &[&str], begins: &str) -> Result<Url, String> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("it holds a space or a line break".into());
    }
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !scheme.is_some_and(|scheme| schemes.contains(&scheme.as_str())) {
        return Err(format!("it does not begin with {begins}"));
    }
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it names no host".into());
    }
    if url.username() != "" || url.password().is_some() {
        return Err("it holds a user name or password, which would be shown".into());
    }
    if url.fragment().is_some() {
        return Err("it has a part after #, which is never sent".into());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_hosts_are_loopback() {
        for (url, expected) in [
            ("http://127.0.0.1/", true),
            ("http://127.9.9.9:80/", true),
            ("http://2130706433/", true),
            ("http://[::1]:8080/", true),
            ("http://localhost/", true),
            ("http://LOCALHOST/", true),
            ("http://localhost.example.com/", false),
            ("http://127.0.0.1.nip.io/", false),
            ("http://0.0.0.0/", false),
            ("http://192.168.0.1/", false),
            ("http://[::ffff:127.0.0.1]/", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn a_bad_address_is_not_repeated() {
        for (text, why) in [
            ("sentinel.example.com/token", "begin with https://"),
            ("ftp://sentinel/", "begin with https://"),
            ("https://", "host"),
            ("https://user:sentinel@example.com/", "password"),
            ("https://example.com/#sentinel", "after #"),
            ("https://example.com/ sentinel", "space"),
            ("https://sentinel.example.com:99999/", "port"),
        ] {
            let detail = parse(text, &["https", "http"], "https://").unwrap_err();
            assert!(detail.contains(why) && !detail.contains("sentinel"), "{text}: {detail}");
        }
    }
}
