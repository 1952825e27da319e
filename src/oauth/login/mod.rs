//! The first refresh token: by a code that is typed on another device ([`device`]) or by a browser ([`code`]), at
//! addresses that the config or the issuer's metadata ([`discovery`]) tells. Pure: who sends, waits and shows is
//! [`crate::cli`].

pub mod code;
pub mod device;
pub mod discovery;

use serde_json::Value;
use url::Url;

use crate::config::plan::is_loopback;
use crate::oauth::response::Response;
use crate::reason::{LoginReason, TokenReason};

/// A JSON object out of an answer, where one was to come.
///
/// # Errors
/// An error code of sane form, or that the answer is none.
fn object(response: &Response, host: &str) -> Result<Value, LoginReason> {
    let body: Option<Value> = serde_json::from_slice(&response.body).ok().filter(Value::is_object);
    match (body, response.status) {
        (Some(body), 200..=299) if body.get("error").is_none() => Ok(body),
        (body, status) => {
            let code =
                body.as_ref().and_then(|body| body.get("error")).and_then(Value::as_str).filter(|code| sane(code));
            Err(LoginReason::Unusable { host: host.to_owned(), status, code: code.map(str::to_owned) })
        }
    }
}

/// Whether an error code may be shown: short and plain.
fn sane(code: &str) -> bool {
    code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// The error code that an answer without a token was given, as far as it is one of a login's own.
pub fn code_of(reason: &TokenReason) -> Option<&str> {
    match reason {
        TokenReason::UnknownError { code, .. } => code.as_deref(),
        _ => None,
    }
}

/// Whether an address may be given a secret: https, or plain http to this machine (RFC 8252 §8.3).
fn is_safe(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}
