//! `[[credential]]`: the grant, the token request, the channels.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};

use super::Check;
use super::network::{endpoint_url, needs, network};
use crate::config::file::{ChannelEntry, CredentialSection, Entry, ResponseSection, is_name};
use crate::config::plan::{
    Assertion, ChannelPlan, ChannelSelect, ClientAuth, CredentialPlan, Encoding, Endpoint, Grant, LoginPlan, Method,
    ResponsePointers, Transport,
};
use crate::config::template::Template;
use crate::config::words::{GrantType, repeatable};
use crate::reason::ConfigReason;
use crate::secret::TextOrSecret;
use crate::shape::{At, Span, nearest};

/// The parameters of RFC 6749 that have fields of their own and may be renamed.
const STANDARD_PARAMETERS: [&str; 7] =
    ["grant_type", "client_id", "client_secret", "refresh_token", "scope", "assertion", "device_code"];

/// Headers whose value is a secret: never bare text.
const SECRET_HEADERS: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"];

/// All credentials that can be used, in the order of the file.
pub(super) fn credentials(check: &mut Check<'_>, gateways: &[Option<Arc<str>>]) -> Vec<Arc<CredentialPlan>> {
    let config = check.config;
    network(check, "defaults", None);
    let entries = config.tables.credential.as_ref().map_or(&[][..], |credentials| &credentials.value.0);
    let mut plans: Vec<Arc<CredentialPlan>> = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some(mut plan) = credential(check, entry, gateways) else { continue };
        if let Some(before) = plans.last() {
            share(&mut plan, before);
        }
        plans.push(Arc::new(plan));
    }
    plans
}

/// Whoever has thousands of credentials has them with one client at one endpoint: they share the memory.
fn share(plan: &mut CredentialPlan, before: &CredentialPlan) {
    if plan.endpoint == before.endpoint {
        plan.endpoint = Arc::clone(&before.endpoint);
    }
    if plan.login == before.login {
        plan.login = Arc::clone(&before.login);
    }
}

fn credential(
    check: &mut Check<'_>,
    entry: &Entry<CredentialSection>,
    gateways: &[Option<Arc<str>>],
) -> Option<CredentialPlan> {
    let (label, header, written) = (entry.label.as_str(), &entry.at.span, &entry.at.value);
    let name = match &written.name {
        Some(name) => check.name(format!("{label}.name"), name),
        None => {
            check.missing(label, "name", header);
            None
        }
    };
    let grant = grant(check, entry);
    let network = network(check, label, Some(written));
    let endpoint = endpoint(check, entry, grant.as_ref(), network.timeout, network.transport);
    let channels = channels(check, entry, gateways);
    let login = login(check, label, written);
    Some(CredentialPlan {
        name: name?,
        preset: written.preset.as_ref().map(|preset| preset.value.0),
        enabled: written.enabled.as_ref().is_none_or(|enabled| enabled.value),
        grant: grant?,
        endpoint: Arc::new(endpoint?),
        channels,
        refresh_before: network.refresh_before,
        fallback_lifetime: network.fallback_lifetime,
        rotates: written.rotates.as_ref().and_then(|rotates| rotates.value.0),
        revokes_previous: written.revokes_previous.as_ref().is_some_and(|revokes| revokes.value),
        on_lost_answer: written.on_lost_answer.as_ref().map(|word| word.value).unwrap_or_default(),
        backoff: network.backoff,
        login: Arc::new(login),
    })
}

/// The addresses that only `login` needs; the rest of the credential works without.
fn login(check: &mut Check<'_>, label: &str, written: &CredentialSection) -> LoginPlan {
    let mut url = |key: &str, at: &Option<At<String>>| endpoint_url(check, &format!("{label}.{key}"), at.as_ref()?);
    LoginPlan {
        issuer: url("issuer", &written.issuer),
        authorization_endpoint: url("authorization_endpoint", &written.authorization_endpoint),
        device_authorization_endpoint: url("device_authorization_endpoint", &written.device_authorization_endpoint),
    }
}

fn grant(check: &mut Check<'_>, entry: &Entry<CredentialSection>) -> Option<Grant> {
    let (label, written) = (entry.label.as_str(), &entry.at.value);
    let grant_type = written.grant_type.as_ref().map_or(GrantType::RefreshToken, |grant| grant.value);
    if grant_type != GrantType::JwtBearer
        && let Some(assertion) = &written.assertion
    {
        let (this, other) = ("assertion", "grant_type = \"jwt_bearer\"");
        needs(check, format!("{label}.{this}"), &assertion.span, this, other);
    }
    if grant_type != GrantType::RefreshToken
        && let Some(token) = &written.refresh_token
    {
        let other = match grant_type {
            GrantType::JwtBearer => "grant_type = \"jwt_bearer\"",
            _ => "grant_type = \"client_credentials\"",
        };
        conflict(check, format!("{label}.refresh_token"), &token.span, "refresh_token", other);
    }
    match grant_type {
        GrantType::RefreshToken => {
            let field = format!("{label}.refresh_token");
            let seed = written.refresh_token.as_ref().map(|at| check.secret(&field, &at.value, &at.span));
            Some(Grant::RefreshToken { seed })
        }
        GrantType::ClientCredentials => Some(Grant::ClientCredentials),
        GrantType::JwtBearer => assertion(check, entry).map(|assertion| Grant::JwtBearer(Box::new(assertion))),
    }
}

/// `[credential.assertion]`: only the key is needed always, a service-account file says the rest.
fn assertion(check: &mut Check<'_>, entry: &Entry<CredentialSection>) -> Option<Assertion> {
    let (label, header) = (entry.label.as_str(), &entry.at.span);
    let Some(assertion) = &entry.at.value.assertion else {
        check.missing(label, "assertion", header);
        return None;
    };
    let (field, written) = (format!("{label}.assertion"), &assertion.value);
    let Some(key) = &written.key else {
        check.missing(&field, "key", &assertion.span);
        return None;
    };
    let text = |at: &Option<At<String>>| at.as_ref().map(|at| at.value.clone());
    Some(Assertion {
        key: check.secret(&format!("{field}.key"), &key.value, &key.span),
        issuer: text(&written.issuer),
        subject: text(&written.subject),
        audience: text(&written.audience),
        key_id: text(&written.key_id),
        algorithm: written.algorithm.as_ref().map(|at| at.value).unwrap_or_default(),
    })
}

fn conflict(check: &mut Check<'_>, field: String, span: &Span, this: &str, other: &str) {
    check.error(field, span, ConfigReason::Conflicts { field: this.into(), other: other.into() });
}

/// Where and how the token request goes.
fn endpoint(
    check: &mut Check<'_>,
    entry: &Entry<CredentialSection>,
    grant: Option<&Grant>,
    timeout: Duration,
    transport: Transport,
) -> Option<Endpoint> {
    let (label, header, written) = (entry.label.as_str(), &entry.at.span, &entry.at.value);
    let url = match &written.token_url {
        Some(url) => endpoint_url(check, &format!("{label}.token_url"), url),
        None => {
            token_url_is_missing(check, label, header, written);
            None
        }
    };
    let method = written.method.as_ref().map(|word| word.value).unwrap_or_default();
    let encoding = encoding(check, label, written, method);
    let auth = client_auth(check, entry);
    let client_secret =
        written.client_secret.as_ref().map(|at| check.secret(&format!("{label}.client_secret"), &at.value, &at.span));
    let param_names = param_names(check, label, written);
    let params = params(check, label, written, grant, &param_names);
    let headers = headers(check, label, written, auth);
    let response = pointers(check, label, written.response.as_ref());
    Some(Endpoint {
        url: url?,
        method,
        encoding,
        auth,
        client_id: written.client_id.as_ref().map(|at| at.value.clone()),
        client_secret,
        scope: written.scope.as_ref().map(|at| at.value.clone()),
        params,
        param_names,
        headers,
        response,
        timeout,
        transport,
    })
}

fn token_url_is_missing(check: &mut Check<'_>, label: &str, header: &Span, written: &CredentialSection) {
    match written.preset.as_ref().and_then(|preset| Some((preset, preset.value.0.own_token_url?))) {
        Some((preset, form)) if !check.config.told.about(&format!("{label}.token_url")) => {
            let reason = ConfigReason::OwnTokenUrl { preset: preset.value.0.name.into(), form: form.into() };
            check.error(format!("{label}.token_url"), &preset.span, reason);
        }
        // A misspelt preset would have brought it along.
        None if !check.config.told.about(&format!("{label}.preset")) => check.missing(label, "token_url", header),
        _ => check.incomplete = true,
    }
}

fn encoding(check: &mut Check<'_>, label: &str, written: &CredentialSection, method: Method) -> Encoding {
    match (&written.encoding, method) {
        (None, Method::Post) => Encoding::default(),
        (None, Method::Get) => Encoding::Query,
        (Some(encoding), Method::Get) if encoding.value != Encoding::Query => {
            conflict(check, format!("{label}.encoding"), &encoding.span, "encoding", "method = \"GET\"");
            Encoding::Query
        }
        (Some(encoding), _) => encoding.value,
    }
}

fn client_auth(check: &mut Check<'_>, entry: &Entry<CredentialSection>) -> ClientAuth {
    let (label, header, written) = (entry.label.as_str(), &entry.at.span, &entry.at.value);
    let Some(auth) = written.token_endpoint_auth_method.as_ref().filter(|auth| auth.value != ClientAuth::None) else {
        if let Some(secret) = &written.client_secret {
            let (this, other) = ("client_secret", "token_endpoint_auth_method");
            needs(check, format!("{label}.{this}"), &secret.span, this, other);
        }
        return ClientAuth::None;
    };
    let this = "token_endpoint_auth_method";
    let is_presets = written.preset.as_ref().is_some_and(|preset| preset.span == auth.span);
    let absent = [("client_id", written.client_id.is_none()), ("client_secret", written.client_secret.is_none())];
    for (other, _) in absent.into_iter().filter(|(_, is_absent)| *is_absent) {
        match is_presets {
            true => check.missing(label, other, header),
            false => needs(check, format!("{label}.{this}"), &auth.span, this, other),
        }
    }
    auth.value
}

/// Only the standard parameters can be renamed: the others are written as they are to be sent.
fn param_names(check: &mut Check<'_>, label: &str, written: &CredentialSection) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for (key, name) in written.param_names.iter().flat_map(|names| &names.value) {
        if !STANDARD_PARAMETERS.contains(&key.as_str()) {
            let nearest = nearest(key, STANDARD_PARAMETERS);
            let key = if nearest.is_some() || repeatable(key) { key } else { "…" };
            let known = STANDARD_PARAMETERS.map(str::to_owned).to_vec();
            let field = format!("{label}.param_names.{key}");
            check.error(field, &name.span, ConfigReason::UnknownKey { key: key.to_owned(), nearest, known });
        } else if name.value.is_empty() {
            let bounds = "not empty".into();
            check.error(format!("{label}.param_names.{key}"), &name.span, ConfigReason::OutOfRange { bounds });
        } else {
            names.insert(key.clone(), name.value.clone());
        }
    }
    names
}

fn params(
    check: &mut Check<'_>,
    label: &str,
    written: &CredentialSection,
    grant: Option<&Grant>,
    names: &BTreeMap<String, String>,
) -> BTreeMap<String, TextOrSecret> {
    // What is sent anyway, under the name it is sent by: a second one would make the request ambiguous.
    let sent_anyway = [
        ("grant_type", true),
        ("refresh_token", matches!(grant, Some(Grant::RefreshToken { .. }))),
        ("assertion", matches!(grant, Some(Grant::JwtBearer(_)))),
        ("client_id", written.client_id.is_some()),
        ("client_secret", written.client_secret.is_some()),
        ("scope", written.scope.is_some()),
    ]
    .map(|(field, is_sent)| (field, names.get(field).map_or(field, String::as_str), is_sent));
    let mut params = BTreeMap::new();
    for (key, value) in written.params.iter().flat_map(|params| &params.value) {
        let path = format!("{label}.params.{key}");
        if let Some((field, ..)) = sent_anyway.iter().find(|(_, name, is_sent)| *is_sent && name == key) {
            conflict(check, path, &value.span, &format!("params.{key}"), field);
            continue;
        }
        if matches!(key.as_str(), "client_secret" | "refresh_token" | "password" | "client_assertion")
            && matches!(value.value, TextOrSecret::Text(_))
        {
            check.error(path, &value.span, ConfigReason::BareSecret { env: None });
            continue;
        }
        params.insert(key.clone(), check.text_or_secret(&path, value));
    }
    params
}

fn headers(
    check: &mut Check<'_>,
    label: &str,
    written: &CredentialSection,
    auth: ClientAuth,
) -> Vec<(HeaderName, TextOrSecret)> {
    let mut headers: Vec<(HeaderName, TextOrSecret)> = Vec::new();
    let mut lines = BTreeMap::new();
    for (key, value) in written.headers.iter().flat_map(|headers| &headers.value) {
        let path = format!("{label}.headers.{key}");
        let Ok(name) = HeaderName::from_bytes(key.as_bytes()) else {
            check.error(format!("{label}.headers"), &value.span, ConfigReason::BadHeader);
            continue;
        };
        if let Some(first_line) = lines.insert(name.to_string(), check.line(&value.span)) {
            let what = format!("header \"{name}\"");
            check.error(&path, &value.span, ConfigReason::Duplicate { what, first_line });
        }
        if auth == ClientAuth::ClientSecretBasic && name == "authorization" {
            let other = "token_endpoint_auth_method = \"client_secret_basic\"";
            conflict(check, path.clone(), &value.span, "headers.authorization", other);
        }
        match &value.value {
            TextOrSecret::Text(_) if SECRET_HEADERS.contains(&name.as_str()) => {
                check.error(path, &value.span, ConfigReason::BareSecret { env: None });
            }
            TextOrSecret::Text(text) if HeaderValue::from_str(text).is_err() => {
                check.error(path, &value.span, ConfigReason::BadHeader);
            }
            _ => headers.push((name, check.text_or_secret(&path, value))),
        }
    }
    headers
}

fn pointers(check: &mut Check<'_>, label: &str, written: Option<&At<ResponseSection>>) -> ResponsePointers {
    let mut pointers = ResponsePointers::default();
    let Some(written) = written.map(|response| &response.value) else { return pointers };
    for (key, at, pointer, may_be_empty) in [
        ("access_token", &written.access_token, &mut pointers.access_token, false),
        ("refresh_token", &written.refresh_token, &mut pointers.refresh_token, true),
        ("expires_in", &written.expires_in, &mut pointers.expires_in, true),
        ("expires_at", &written.expires_at, &mut pointers.expires_at, true),
        ("refresh_expires_in", &written.refresh_expires_in, &mut pointers.refresh_expires_in, true),
        ("error", &written.error, &mut pointers.error, true),
    ] {
        let Some(at) = at else { continue };
        if (at.value.is_empty() && may_be_empty) || is_pointer(&at.value) {
            pointer.clone_from(&at.value);
        } else {
            check.error(format!("{label}.response.{key}"), &at.span, ConfigReason::BadPointer);
        }
    }
    pointers
}

/// Whether a text is a JSON pointer to something inside the document (RFC 6901 §3).
fn is_pointer(text: &str) -> bool {
    text.starts_with('/') && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

fn channels(
    check: &mut Check<'_>,
    entry: &Entry<CredentialSection>,
    gateways: &[Option<Arc<str>>],
) -> Vec<ChannelPlan> {
    let (label, header, written) = (entry.label.as_str(), &entry.at.span, &entry.at.value);
    let field = format!("{label}.channels");
    let Some(channels) = &written.channels else {
        check.missing(label, "channels", header);
        return Vec::new();
    };
    if channels.value.is_empty() && !check.config.told.about(&field) {
        let bounds = "at least one channel".into();
        check.error(&field, &channels.span, ConfigReason::OutOfRange { bounds });
    }
    let own_key = written.channel_key.as_ref().and_then(|key| template(check, format!("{label}.channel_key"), key));
    let mut plans = Vec::with_capacity(channels.value.len());
    for (index, entry) in channels.value.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let table = match &entry.value {
            ChannelEntry::Table(table) => Some(table),
            ChannelEntry::Id(_) | ChannelEntry::Name(_) => None,
        };
        let select = select(check, &field, entry);
        let gateway = gateway_of(check, &field, &entry.span, table.and_then(|table| table.gateway.as_ref()), gateways);
        let key = match table.and_then(|table| table.channel_key.as_ref()) {
            Some(key) => template(check, format!("{field}.channel_key"), key),
            None => own_key.clone(),
        };
        let (Some(select), Some(gateway)) = (select, gateway) else { continue };
        plans.push(ChannelPlan { gateway, select, key_is_explicit: key.is_some(), key: key.unwrap_or_default() });
    }
    plans
}

fn template(check: &mut Check<'_>, field: String, written: &At<String>) -> Option<Template> {
    match Template::parse(&written.value) {
        Ok(template) => Some(template),
        Err(detail) => {
            check.error(field, &written.span, ConfigReason::BadTemplate { detail });
            None
        }
    }
}

fn select(check: &mut Check<'_>, field: &str, entry: &At<ChannelEntry>) -> Option<ChannelSelect> {
    let (id, name, span) = match &entry.value {
        ChannelEntry::Id(id) => (Some(*id), None, &entry.span),
        ChannelEntry::Name(name) => (None, Some(name), &entry.span),
        ChannelEntry::Table(table) => {
            let span = table.id.as_ref().map(|id| &id.span).or(table.name.as_ref().map(|name| &name.span));
            (
                table.id.as_ref().map(|id| id.value),
                table.name.as_ref().map(|name| &name.value),
                span.unwrap_or(&entry.span),
            )
        }
    };
    match (id, name) {
        (Some(id), None) if id > 0 => return Some(ChannelSelect::Id(id)),
        (None, Some(name)) if !name.is_empty() => return Some(ChannelSelect::Name(name.clone())),
        (Some(_), Some(_)) => conflict(check, field.to_owned(), span, "name", "id"),
        (Some(_), None) => check.error(field, span, ConfigReason::OutOfRange { bounds: "1 or more".into() }),
        (None, Some(_)) => check.error(field, span, ConfigReason::OutOfRange { bounds: "not empty".into() }),
        (None, None) => check.missing(field, "id", span),
    }
    None
}

/// The gateway that a channel is in.
fn gateway_of(
    check: &mut Check<'_>,
    field: &str,
    entry: &Span,
    written: Option<&At<String>>,
    gateways: &[Option<Arc<str>>],
) -> Option<Arc<str>> {
    let known = || gateways.iter().flatten().map(ToString::to_string).collect();
    let Some(written) = written else {
        return match gateways {
            [] => None,
            [only] => only.clone(),
            _ => {
                if !check.config.told.about(&format!("{field}.gateway")) {
                    check.error(field, entry, ConfigReason::GatewayNeeded { known: known() });
                }
                None
            }
        };
    };
    let found = gateways.iter().flatten().find(|name| ***name == *written.value).cloned();
    if found.is_none() && !gateways.is_empty() {
        let name = if is_name(&written.value) { written.value.clone() } else { "…".into() };
        let reason = ConfigReason::UnknownGateway { name, known: known() };
        check.error(format!("{field}.gateway"), &written.span, reason);
    }
    found
}
