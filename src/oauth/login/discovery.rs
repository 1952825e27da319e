//! The issuer's metadata (OpenID Connect Discovery 1.0 §4, RFC 8414 §3).

use serde_json::Value;
use url::Url;

use super::{is_safe, object};
use crate::oauth::response::Response;
use crate::reason::LoginReason;

/// What is read of the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Where the browser is sent.
    pub authorization_endpoint: Option<Url>,
    /// Where a device code is had (RFC 8628 §4).
    pub device_authorization_endpoint: Option<Url>,
}

/// Where the metadata may lie: OpenID Connect appends to the issuer's path, RFC 8414 puts itself before it.
pub fn places(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/').to_owned();
    [format!("{path}/.well-known/openid-configuration"), format!("/.well-known/oauth-authorization-server{path}")].map(
        |path| {
            let mut url = issuer.clone();
            url.set_path(&path);
            url
        },
    )
}

/// Reads the metadata.
///
/// # Errors
/// When it is none, speaks for another issuer (which must never be believed, §4.3), or names an unsafe address.
pub fn read(issuer: &Url, response: &Response) -> Result<Metadata, LoginReason> {
    let host = issuer.host_str().unwrap_or_default();
    let body = object(response, host)?;
    let is_issuer = |found: &str| found.trim_end_matches('/') == issuer.as_str().trim_end_matches('/');
    if !body.get("issuer").and_then(Value::as_str).is_some_and(is_issuer) {
        return Err(LoginReason::OtherIssuer { host: host.to_owned() });
    }
    let endpoint = |name: &str| -> Result<Option<Url>, LoginReason> {
        let Some(written) = body.get(name).and_then(Value::as_str) else { return Ok(None) };
        let url = Url::parse(written).ok().filter(is_safe);
        url.map(Some).ok_or_else(|| LoginReason::Unusable {
            host: host.to_owned(),
            status: response.status,
            code: None,
        })
    };
    Ok(Metadata {
        authorization_endpoint: endpoint("authorization_endpoint")?,
        device_authorization_endpoint: endpoint("device_authorization_endpoint")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Response {
        Response { status: 200, body: body.into(), ..Response::default() }
    }

    fn issuer(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn metadata_lies_where_one_of_the_two_standards_puts_it() {
        for (written, places_of) in [
            (
                "https://a.example",
                [
                    "https://a.example/.well-known/openid-configuration",
                    "https://a.example/.well-known/oauth-authorization-server",
                ],
            ),
            (
                "https://a.example/realms/x/",
                [
                    "https://a.example/realms/x/.well-known/openid-configuration",
                    "https://a.example/.well-known/oauth-authorization-server/realms/x",
                ],
            ),
        ] {
            assert_eq!(places(&issuer(written)).map(String::from), places_of.map(str::to_owned));
        }
    }

    #[test]
    fn addresses_are_taken_from_the_issuer_itself_only() {
        let url = issuer("https://a.example");
        let body = r#"{"issuer":"https://a.example","authorization_endpoint":"https://a.example/auth"}"#;
        let metadata = read(&url, &answer(body)).unwrap();
        assert_eq!(metadata.authorization_endpoint, Some(issuer("https://a.example/auth")));
        assert_eq!(metadata.device_authorization_endpoint, None);
        for (body, other) in [
            (r#"{"issuer":"https://evil.example"}"#, true),
            (r#"{"authorization_endpoint":"https://a.example/auth"}"#, true),
            (r#"{"issuer":"https://a.example","authorization_endpoint":"http://a.example/auth"}"#, false),
            ("<html>", false),
        ] {
            let reason = read(&url, &answer(body)).unwrap_err();
            assert_eq!(matches!(reason, LoginReason::OtherIssuer { .. }), other, "{body}");
        }
    }
}
