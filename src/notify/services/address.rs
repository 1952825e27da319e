//! Where a service is reached: an address in the config or behind a secret, and the request that is sent to it.
//!
//! No error repeats an address or a value: either may be a secret.

use http::header::CONTENT_TYPE;
use serde::Serialize;
use url::Url;

use super::{Dispatch, Values};
use crate::reason::{ConfigReason, NotifierReason};
use crate::secret::{Secret, SecretSource, TextOrSecret};
use crate::shape::{At, Section};

/// A service's address, before what varies from message to message.
#[derive(Debug)]
pub(super) struct Address(TextOrSecret);

impl Address {
    /// The table's `url`, or the service's own.
    pub(super) fn or(section: &mut Section<'_, '_>, url: Option<At<TextOrSecret>>, default: &str) -> Option<Self> {
        match url {
            Some(url) => Self::of(section, url),
            None => Some(Self(TextOrSecret::Text(default.into()))),
        }
    }

    /// The table's `url`, which must be there.
    pub(super) fn of(section: &mut Section<'_, '_>, url: At<TextOrSecret>) -> Option<Self> {
        if let TextOrSecret::Text(text) = &url.value
            && let Err(detail) = parse(text)
        {
            section.error("url", Some(url.span), ConfigReason::BadUrl { detail });
            return None;
        }
        Some(Self(url.value))
    }

    /// A `url` that lets anybody send who knows it: whatever the config writes is a secret.
    pub(super) fn secret(section: &mut Section<'_, '_>, url: At<TextOrSecret>) -> Option<Self> {
        match Self::of(section, url)?.0 {
            TextOrSecret::Text(text) => Some(Self(TextOrSecret::Secret(SecretSource::Value(Secret::new(text))))),
            secret => Some(Self(secret)),
        }
    }

    /// The source behind it, if it is a secret.
    pub(super) fn source(&self) -> Option<&SecretSource> {
        match &self.0 {
            TextOrSecret::Text(_) => None,
            TextOrSecret::Secret(source) => Some(source),
        }
    }

    /// The address itself.
    pub(super) fn url(&self, values: &Values) -> Result<Url, NotifierReason> {
        let text = match &self.0 {
            TextOrSecret::Text(text) => text,
            TextOrSecret::Secret(source) => value(values, source)?,
        };
        parse(text).map_err(|error| unusable(format!("`url` is not an address: {error}")))
    }

    /// The address with further segments of its path, each escaped.
    pub(super) fn below(&self, segments: &[&str], values: &Values) -> Result<Url, NotifierReason> {
        let mut url = self.url(values)?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        Ok(url)
    }
}

/// What an address may be: absolute, http or https.
///
/// # Errors
/// What is wrong with it, without the address.
fn parse(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it begins with neither https:// nor http://".into());
    }
    if url.username() != "" || url.password().is_some() {
        return Err("it holds a user name or password, which is not sent from there".into());
    }
    Ok(url)
}

/// A secret's value, without the blanks that people paste along.
pub(super) fn value<'v>(values: &'v Values, source: &SecretSource) -> Result<&'v str, NotifierReason> {
    let value = values.get(source).map(|value| value.expose().trim());
    value.ok_or_else(|| unusable(format!("{source} was not read")))
}

/// A POST of JSON.
pub(super) fn post(url: &Url, message: &impl Serialize) -> Result<Dispatch, NotifierReason> {
    finish(post_to(url), json(message)?)
}

/// A POST of JSON without its body, to add headers to.
pub(super) fn post_to(url: &Url) -> http::request::Builder {
    http::Request::post(url.as_str()).header(CONTENT_TYPE, "application/json")
}

/// A request with its body.
pub(super) fn finish(request: http::request::Builder, body: Vec<u8>) -> Result<Dispatch, NotifierReason> {
    let request = request.body(body).map_err(|error| unusable(format!("the request cannot be built: {error}")))?;
    Ok(Dispatch::Http(request))
}

/// A message as JSON.
pub(super) fn json(message: &impl Serialize) -> Result<Vec<u8>, NotifierReason> {
    serde_json::to_vec(message).map_err(|error| unusable(error.to_string()))
}

/// What is configured makes no request.
pub(super) fn unusable(error: String) -> NotifierReason {
    NotifierReason::Unreachable { error }
}
