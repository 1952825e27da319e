//! The token request (RFC 6749 §4.4.2, §6; RFC 7523 §2.1), made from the plan alone. Pure.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use url::Url;
use url::form_urlencoded;

use crate::config::plan::{ClientAuth, CredentialPlan, Encoding, Endpoint, Grant, Method};
use crate::oauth::assertion::{self, AssertionError};
use crate::secret::{Secret, SecretSource, TextOrSecret, Values};
use crate::time::Timestamp;

/// A request that is ready to be sent. Its parts hold secrets: there is no `Debug`.
pub struct TokenRequest {
    /// POST or GET.
    pub method: Method,
    /// The address, with the query where parameters travel there.
    pub url: Url,
    /// The headers, the secret ones marked sensitive.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// Why a request could not be made: nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A secret that the plan names was not read.
    #[error("no value for {0}")]
    Missing(String),
    /// A header's value is not allowed in HTTP.
    #[error("the value of header {0} has characters that HTTP does not allow")]
    Header(String),
    /// The assertion could not be signed.
    #[error(transparent)]
    Assertion(#[from] AssertionError),
}

/// The secret sources whose values a request needs, beside the refresh token.
pub fn sources(plan: &CredentialPlan) -> Vec<&SecretSource> {
    let endpoint = &plan.endpoint;
    let texts = endpoint.params.values().chain(endpoint.headers.iter().map(|(_, value)| value));
    let in_texts = texts.filter_map(|text| match text {
        TextOrSecret::Secret(source) => Some(source),
        TextOrSecret::Text(_) => None,
    });
    let assertion = match &plan.grant {
        Grant::JwtBearer(assertion) => Some(&assertion.key),
        Grant::RefreshToken { .. } | Grant::ClientCredentials => None,
    };
    let key = endpoint.transport.client_cert.as_ref().map(|(_, key)| key);
    endpoint.client_secret.iter().chain(in_texts).chain(key).chain(assertion).collect()
}

/// Makes the request that gets a new access token now.
///
/// # Errors
/// When a value is missing or cannot travel.
pub fn request(
    plan: &CredentialPlan,
    refresh_token: Option<&Secret>,
    values: &Values,
    now: Timestamp,
) -> Result<TokenRequest, RequestError> {
    let endpoint = &plan.endpoint;
    let signed = match &plan.grant {
        Grant::JwtBearer(plan) => {
            let key = values.get(&plan.key).ok_or_else(|| RequestError::Missing(plan.key.to_string()))?;
            Some(assertion::sign(plan, endpoint, key, now)?)
        }
        Grant::RefreshToken { .. } | Grant::ClientCredentials => None,
    };
    let scope = endpoint.scope.as_deref().filter(|_| !signed.as_ref().is_some_and(|signed| signed.is_service_account));
    let mut grant = vec![("grant_type", plan.grant.as_str())];
    grant.extend(refresh_token.map(|token| ("refresh_token", token.expose())));
    grant.extend(signed.as_ref().map(|signed| ("assertion", signed.jwt.expose())));
    grant.extend(scope.map(|scope| ("scope", scope)));
    token_request(endpoint, &grant, values)
}

/// A request of any grant: its own parameters, and what the endpoint adds to them.
///
/// # Errors
/// When a value is missing or cannot travel.
pub fn token_request(
    endpoint: &Endpoint,
    grant: &[(&str, &str)],
    values: &Values,
) -> Result<TokenRequest, RequestError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let mut parameters = BTreeMap::new();
    for (name, value) in &endpoint.params {
        parameters.insert(name.clone(), text(value, values)?.to_owned());
    }
    let mut standard = grant.to_vec();
    let client_id = endpoint.client_id.as_deref();
    match endpoint.auth {
        ClientAuth::None => standard.extend(client_id.map(|id| ("client_id", id))),
        ClientAuth::ClientSecretPost => {
            standard.extend(client_id.map(|id| ("client_id", id)));
            standard.push(("client_secret", client_secret(endpoint, values)?));
        }
        ClientAuth::ClientSecretBasic => {
            let basic = basic(client_id.unwrap_or_default(), client_secret(endpoint, values)?);
            headers.insert(AUTHORIZATION, sensitive(AUTHORIZATION.as_str(), &basic)?);
        }
    }
    for (name, value) in standard {
        let name = endpoint.param_names.get(name).map_or(name, String::as_str);
        parameters.insert(name.to_owned(), value.to_owned());
    }

    let mut url = endpoint.url.clone();
    let mut body = Vec::new();
    match (endpoint.method, endpoint.encoding) {
        (Method::Get, _) | (_, Encoding::Query) => {
            url.query_pairs_mut().extend_pairs(&parameters);
        }
        (Method::Post, Encoding::Form) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&parameters).finish().into_bytes();
        }
        (Method::Post, Encoding::Json) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            body = serde_json::Value::from_iter(parameters).to_string().into_bytes();
        }
    }
    for (name, value) in &endpoint.headers {
        headers.insert(name.clone(), sensitive(name.as_str(), text(value, values)?)?);
    }
    Ok(TokenRequest { method: endpoint.method, url, headers, body })
}

fn text<'v>(value: &'v TextOrSecret, values: &'v Values) -> Result<&'v str, RequestError> {
    match value {
        TextOrSecret::Text(text) => Ok(text),
        TextOrSecret::Secret(source) => exposed(source, values),
    }
}

fn client_secret<'v>(endpoint: &'v Endpoint, values: &'v Values) -> Result<&'v str, RequestError> {
    let source = endpoint.client_secret.as_ref().ok_or_else(|| RequestError::Missing("client_secret".into()))?;
    exposed(source, values)
}

fn exposed<'v>(source: &SecretSource, values: &'v Values) -> Result<&'v str, RequestError> {
    values.get(source).map(Secret::expose).ok_or_else(|| RequestError::Missing(source.to_string()))
}

/// HTTP Basic with both parts form-encoded first (RFC 6749 §2.3.1).
fn basic(client_id: &str, client_secret: &str) -> String {
    let encode = |part: &str| form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(client_id), encode(client_secret))))
}

fn sensitive(name: &str, value: &str) -> Result<HeaderValue, RequestError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| RequestError::Header(name.to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
