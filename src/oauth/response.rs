//! What a token endpoint's answer means (RFC 6749 §5). Pure.
//!
//! Strict in what becomes a key, lenient in how it is written down: JSON or form, numbers as text, errors as text or
//! object. No part of an answer is ever shown but an error code of sane form.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use url::form_urlencoded;

use crate::config::plan::CredentialPlan;
use crate::credential::record::{AccessGrant, Answer, ErrorClass, Outcome, TokenError};
use crate::reason::TokenReason;
use crate::secret::Secret;
use crate::time::Timestamp;

/// An answer as it came over the wire.
#[derive(Clone, Default)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Date`.
    pub date: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the body was longer than anybody reads.
    pub cut: bool,
    /// When the request was sent.
    pub sent_at: Timestamp,
    /// When the answer had come.
    pub received_at: Timestamp,
}

/// The longest access token that still fits an HTTP header, in bytes.
const LONGEST_ACCESS_TOKEN: usize = 32 * 1024;
/// The longest refresh token that is kept, in bytes.
const LONGEST_REFRESH_TOKEN: usize = 64 * 1024;
/// The longest lifetime that is believed; a token that lives longer is replaced once a year all the same.
const LONGEST_LIFETIME: Duration = Duration::from_secs(366 * 86_400);

/// The refresh token is dead.
const REVOKED: &[&str] = &[
    "invalid_grant",
    "refresh_token_reused",
    "refresh_token_expired",
    "refresh_token_invalidated",
    "refresh_token_revoked",
    "bad_refresh_token",
    "invalid_refresh_token",
    "expired_refresh_token",
    "interaction_required",
    "login_required",
    "consent_required",
];

/// The client, scope or grant is wrong.
const MISCONFIGURED: &[&str] = &[
    "invalid_client",
    "unauthorized_client",
    "invalid_scope",
    "unsupported_grant_type",
    "incorrect_client_credentials",
    "invalid_target",
];

/// Words of the standards (RFC 6749 §5.2, RFC 8628 §3.5) that mean no class of their own: they are nobody's secret,
/// however short the secrets are that were sent.
const STANDARD: &[&str] = &[
    "invalid_request",
    "access_denied",
    "authorization_pending",
    "slow_down",
    "expired_token",
    "server_error",
    "temporarily_unavailable",
];

/// What an answer comes to. `sent` are the secrets that travelled in the request: a server that echoes one as its
/// error code is not repeated.
pub fn outcome(plan: &CredentialPlan, response: &Response, sent: &[&Secret]) -> Outcome {
    let body = if response.cut { None } else { read(response) };
    let pointers = &plan.endpoint.response;
    let found = |pointer: &str| body.as_ref().and_then(|body| at(body, pointer));
    let error = found(&pointers.error).and_then(error_code);
    let access = found(&pointers.access_token);
    if error.is_some() && !matches!(access, Some(Value::String(token)) if !token.is_empty()) {
        return judged(response, error, sent);
    }
    match response.status {
        200..=299 => {}
        _ => return judged(response, None, sent),
    }
    let Some(body) = &body else {
        let detail = if response.cut { "larger than 1 MiB" } else { "neither JSON nor form" };
        return Outcome::Unknown(TokenReason::Unreadable { status: response.status, detail: detail.into() });
    };

    let refresh_token = found(&pointers.refresh_token)
        .and_then(Value::as_str)
        .filter(|token| sound(token, LONGEST_REFRESH_TOKEN).is_ok())
        .map(Secret::new);
    let access = match access.ok_or("missing").and_then(|token| token.as_str().ok_or("not text")) {
        Ok(token) => sound(token, LONGEST_ACCESS_TOKEN).map(|()| token),
        Err(detail) => Err(detail),
    };
    let token = match access {
        Ok(token) => token,
        Err(detail) => {
            let reason = TokenReason::BadAccessToken { detail: detail.into() };
            // Without a successor this is no readable answer: whether the server rotated is not known.
            let class = if refresh_token.is_some() { ErrorClass::Transient } else { ErrorClass::Unknown };
            let access = Err(TokenError { class, reason, retry_after: None });
            return Outcome::Answered(Answer { access, refresh_token, refresh_token_expires_at: None });
        }
    };
    let lifetime = lifetime(plan, body, token, response);
    let fields = plan.channels.iter().flat_map(|channel| channel.key.pointers()).filter_map(|pointer| {
        let text = match at(body, pointer)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        Some((pointer.to_owned(), Secret::new(text)))
    });
    let grant = AccessGrant {
        token: Secret::new(token),
        id_token: at(body, "/id_token").and_then(Value::as_str).map(Secret::new),
        fields: fields.collect::<BTreeMap<_, _>>(),
        issued_at: response.sent_at,
        expires_at: response.sent_at + lifetime.unwrap_or(plan.fallback_lifetime).min(LONGEST_LIFETIME),
        lifetime_assumed: lifetime.is_none(),
    };
    let refresh_token_expires_at =
        found(&pointers.refresh_expires_in).and_then(seconds).map(|life| response.sent_at + life);
    Outcome::Answered(Answer { access: Ok(grant), refresh_token, refresh_token_expires_at })
}

/// Whether a token may be used: not empty, visible ASCII (RFC 6749 A.12), of sane length.
fn sound(token: &str, longest: usize) -> Result<(), &'static str> {
    match token {
        "" => Err("empty"),
        _ if token.len() > longest => Err("too long"),
        _ if token.chars().any(char::is_control) => Err("control characters"),
        _ if !token.bytes().all(|byte| (0x20..0x7f).contains(&byte)) => Err("characters beyond ASCII"),
        _ if token.trim().is_empty() => Err("empty"),
        _ => Ok(()),
    }
}

/// An answer without an access token: by its error code first, then by its status.
fn judged(response: &Response, error: Option<&str>, sent: &[&Secret]) -> Outcome {
    let status = response.status;
    let retry_after = response.retry_after.as_deref().and_then(|wish| retry_after(wish, response.received_at));
    let code = error.and_then(|code| showable(code, sent));
    let refused = |class, reason| {
        let access = Err(TokenError { class, reason, retry_after });
        Outcome::Answered(Answer { access, refresh_token: None, refresh_token_expires_at: None })
    };
    if let Some(code) = error.and_then(|code| REVOKED.iter().find(|known| **known == code)) {
        return refused(ErrorClass::Revoked, TokenReason::Revoked { code: (*code).into() });
    }
    if let Some(code) = error.and_then(|code| MISCONFIGURED.iter().find(|known| **known == code)) {
        return refused(ErrorClass::Misconfigured, TokenReason::Misconfigured { code: (*code).into() });
    }
    match status {
        408 | 425 | 429 | 503 => refused(ErrorClass::Transient, TokenReason::Busy { status, until: retry_after }),
        500 | 502 | 504 => Outcome::Unknown(TokenReason::ServerError { status }),
        300..=399 => refused(ErrorClass::Slow, TokenReason::Redirected { status }),
        403 if error.is_none() && is_page(response) => refused(ErrorClass::Slow, TokenReason::Blocked { status }),
        400..=499 if error.is_none() && read(response).is_none() => {
            let detail = "neither JSON nor form".into();
            refused(ErrorClass::Transient, TokenReason::Unreadable { status, detail })
        }
        _ => refused(ErrorClass::Slow, TokenReason::UnknownError { status, code }),
    }
}

/// Whether the body is a page for people, not an answer for programs.
fn is_page(response: &Response) -> bool {
    let says_html = response.content_type.as_deref().is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    says_html || response.body.trim_ascii_start().starts_with(b"<")
}

/// The body as one object: JSON, or a form (GitHub without `Accept`).
fn read(response: &Response) -> Option<Value> {
    if let Ok(body @ Value::Object(_)) = serde_json::from_slice(&response.body) {
        return Some(body);
    }
    let says_form = response
        .content_type
        .as_deref()
        .is_some_and(|kind| kind.to_ascii_lowercase().contains("x-www-form-urlencoded"));
    if !says_form {
        return None;
    }
    let pairs = form_urlencoded::parse(&response.body);
    Some(Value::Object(pairs.map(|(name, value)| (name.into_owned(), Value::String(value.into_owned()))).collect()))
}

/// The value at a pointer; an empty pointer and `null` are nothing.
fn at<'v>(body: &'v Value, pointer: &str) -> Option<&'v Value> {
    if pointer.is_empty() {
        return None;
    }
    body.pointer(pointer).filter(|value| !value.is_null())
}

/// The error code: text, or an object with `code` or `type`.
fn error_code(error: &Value) -> Option<&str> {
    match error {
        Value::String(code) if !code.is_empty() => Some(code),
        Value::Object(error) => ["code", "type"].iter().find_map(|key| error.get(*key)?.as_str()),
        _ => None,
    }
}

/// An error code that may be shown: a word of the standards, or short, made of words, and nothing that was sent. Whether
/// it was sent earlier, only the vault knows.
fn showable(code: &str, sent: &[&Secret]) -> Option<String> {
    // A word is letters, then perhaps a number (`AADSTS70008`): in a token they alternate.
    let is_word = |word: &str| {
        let number = word.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        number.len() <= 8 && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let plain = code.len() <= 64 && code.split(['_', '.', '-']).all(is_word);
    let echoes = sent.iter().any(|secret| secret.expose().contains(code) || code.contains(secret.expose()));
    (STANDARD.contains(&code) || plain && !echoes).then(|| code.to_owned())
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds or a date.
fn retry_after(wish: &str, received_at: Timestamp) -> Option<Timestamp> {
    match wish.trim().parse::<u64>() {
        Ok(seconds) => Some(received_at + Duration::from_secs(seconds)),
        Err(_) => Timestamp::parse_http_date(wish),
    }
}

/// How long the access token lives from when the request was sent: `expires_in`, else `expires_at`, else the token's
/// own `exp`. `None` when nothing says.
fn lifetime(plan: &CredentialPlan, body: &Value, token: &str, response: &Response) -> Option<Duration> {
    let pointers = &plan.endpoint.response;
    if let Some(lifetime) = at(body, &pointers.expires_in).and_then(seconds) {
        return Some(lifetime);
    }
    let absolute = at(body, &pointers.expires_at).and_then(moment).or_else(|| jwt_expiry(token))?;
    // The moment is by the server's clock, which its `Date` shows.
    let server_now = response.date.as_deref().and_then(Timestamp::parse_http_date).unwrap_or(response.received_at);
    let left = absolute.since(server_now);
    (!left.is_zero()).then(|| left + response.received_at.since(response.sent_at))
}

/// A positive number of seconds, written as integer, float or text.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (seconds.is_finite() && seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(1e10)))
}

/// A moment, written as Unix seconds, Unix milliseconds or RFC 3339.
fn moment(value: &Value) -> Option<Timestamp> {
    /// Unix seconds pass this in the year 5138, Unix milliseconds did in 1973.
    const MILLISECONDS_FROM: f64 = 1e11;
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => match text.trim().parse() {
            Ok(number) => number,
            Err(_) => return Timestamp::parse_rfc3339(text),
        },
        _ => return None,
    };
    let milliseconds = if number >= MILLISECONDS_FROM { number } else { number * 1000.0 };
    #[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, and so does the timestamp")]
    (milliseconds.is_finite() && milliseconds > 0.0).then(|| Timestamp::from_millis(milliseconds as i64))
}

/// The `exp` claim of a JWT access token (RFC 7519 §4.1.4), unverified: only used to know when to refresh.
fn jwt_expiry(token: &str) -> Option<Timestamp> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    claims.get("exp").and_then(moment)
}

#[cfg(test)]
mod tests;
