//! The device authorization grant (RFC 8628): a code and an address for a person, and asking until they are done.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::{code_of, is_safe, object};
use crate::config::plan::{Encoding, Endpoint, Method};
use crate::credential::record::{Answer, Outcome};
use crate::oauth::response::Response;
use crate::reason::{LoginReason, TokenReason};
use crate::secret::{Secret, TextOrSecret};

/// The `grant_type` of the token request (§3.4).
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// The interval where the server says none (§3.2), and what `slow_down` adds to it (§3.5).
const FIVE_SECONDS: Duration = Duration::from_secs(5);
/// The longest interval, and the longest life of a code, that are believed.
const LONGEST: Duration = Duration::from_secs(3600);

/// Where the first request goes, and how (§3.1): the client proves itself as it does at the token endpoint. The
/// parameters are a form, or JSON where the token endpoint wants that; what stands in the query is one of them then.
pub fn endpoint(token: &Endpoint, mut url: Url) -> Endpoint {
    let mut params = token.params.clone();
    let encoding = match token.encoding {
        Encoding::Json => {
            params.extend(url.query_pairs().map(|(name, value)| (name.into(), TextOrSecret::Text(value.into()))));
            url.set_query(None);
            Encoding::Json
        }
        Encoding::Form | Encoding::Query => Encoding::Form,
    };
    Endpoint { url, method: Method::Post, encoding, params, ..token.clone() }
}

/// The server's answer (§3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// What the program asks with.
    pub device_code: Secret,
    /// What the person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: Url,
    /// The same with the code in it, for the QR code.
    pub verification_uri_complete: Option<Url>,
    /// How long the code is good.
    pub expires_in: Duration,
    /// How long to wait between two questions.
    pub interval: Duration,
}

impl Authorization {
    /// Reads the answer of a device authorization endpoint.
    ///
    /// # Errors
    /// When it is none, or what a person is to see cannot be shown.
    pub fn read(response: &Response, host: &str) -> Result<Self, LoginReason> {
        let body = object(response, host)?;
        let unusable = || LoginReason::Unusable { host: host.to_owned(), status: response.status, code: None };
        // AWS writes every name in its own way; Google calls the address verification_url.
        let at = |name: &str, aws: &str| body.get(name).or_else(|| body.get(aws));
        let text = |name: &str, aws| at(name, aws).and_then(Value::as_str).filter(|text| is_showable(text));
        let url = |name: &str, aws| text(name, aws).and_then(|text| Url::parse(text).ok()).filter(is_safe);
        let seconds = |name: &str, aws| at(name, aws).and_then(Value::as_u64).map(Duration::from_secs);
        let verification_uri = url("verification_uri", "verificationUri").or_else(|| url("verification_url", ""));
        Ok(Self {
            device_code: text("device_code", "deviceCode").map(Secret::new).ok_or_else(unusable)?,
            user_code: text("user_code", "userCode").map(str::to_owned).ok_or_else(unusable)?,
            verification_uri: verification_uri.ok_or_else(unusable)?,
            verification_uri_complete: url("verification_uri_complete", "verificationUriComplete"),
            expires_in: seconds("expires_in", "expiresIn").unwrap_or(LONGEST).min(LONGEST),
            interval: seconds("interval", "").unwrap_or(FIVE_SECONDS).min(LONGEST),
        })
    }
}

/// Whether a text may be printed on a terminal as it is.
fn is_showable(text: &str) -> bool {
    !text.is_empty() && text.len() <= 4096 && !text.chars().any(char::is_control)
}

/// What an answer to a question means (§3.5).
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The person is not done: ask again after so long.
    Wait(Duration),
    /// They are.
    Done(Answer),
    /// It is over.
    Over(LoginReason),
}

/// What to do after a question; `interval` grows as the server wishes.
pub fn next(outcome: Outcome, interval: &mut Duration) -> Next {
    let reason = match outcome {
        Outcome::Answered(answer) => match &answer.access {
            Ok(_) => return Next::Done(answer),
            Err(_) if answer.refresh_token.is_some() => return Next::Done(answer),
            Err(error) => error.reason.clone(),
        },
        // A connection that fails is tried again, less often each time.
        Outcome::NotSent(_) | Outcome::Unknown(_) => {
            *interval = (*interval * 2).min(LONGEST);
            return Next::Wait(*interval);
        }
    };
    match (code_of(&reason), &reason) {
        (Some("authorization_pending"), _) => Next::Wait(*interval),
        (Some("slow_down"), _) | (_, TokenReason::Busy { .. }) => {
            *interval = (*interval + FIVE_SECONDS).min(LONGEST);
            Next::Wait(*interval)
        }
        (Some("access_denied"), _) => Next::Over(LoginReason::Denied),
        (Some("expired_token"), _) => Next::Over(LoginReason::TimedOut),
        _ => Next::Over(LoginReason::Refused { code: refusal(&reason) }),
    }
}

/// The server's error code, where it has one.
fn refusal(reason: &TokenReason) -> Option<String> {
    match reason {
        TokenReason::Revoked { code } | TokenReason::Misconfigured { code } => Some(code.clone()),
        other => code_of(other).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::sample::plan;
    use crate::oauth::response::outcome;

    fn answer(status: u16, body: &str) -> Response {
        Response { status, body: body.into(), content_type: Some("application/json".into()), ..Response::default() }
    }

    #[test]
    fn a_code_and_an_address_are_read_with_their_defaults() {
        let body = r#"{"device_code":"d","user_code":"WDJB-MJHT","verification_uri":"https://a.example/device","expires_in":1800}"#;
        let read = Authorization::read(&answer(200, body), "a.example").unwrap();
        assert_eq!((read.user_code.as_str(), read.interval), ("WDJB-MJHT", FIVE_SECONDS));
        assert_eq!(read.expires_in, Duration::from_secs(1800));
        let google = body.replace("verification_uri", "verification_url").replace("1800", "1800,\"interval\":1");
        assert_eq!(Authorization::read(&answer(200, &google), "a.example").unwrap().interval, Duration::from_secs(1));
    }

    #[test]
    fn what_must_not_be_shown_is_refused() {
        for body in [
            r#"{"device_code":"d","user_code":"A\u001b[2J","verification_uri":"https://a.example/"}"#,
            r#"{"device_code":"d","user_code":"A","verification_uri":"http://a.example/"}"#,
            r#"{"device_code":"d","user_code":"A","verification_uri":"javascript:alert(1)"}"#,
            r#"{"user_code":"A","verification_uri":"https://a.example/"}"#,
            "<html>",
        ] {
            assert!(Authorization::read(&answer(200, body), "a.example").is_err(), "{body}");
        }
        let refused = Authorization::read(&answer(400, r#"{"error":"invalid_scope"}"#), "a.example").unwrap_err();
        let code = Some("invalid_scope".to_owned());
        assert_eq!(refused, LoginReason::Unusable { host: "a.example".into(), status: 400, code });
    }

    #[test]
    fn every_answer_of_the_rfc_is_understood() {
        let mut interval = FIVE_SECONDS;
        let mut said = |status, body: &str| next(outcome(&plan(), &answer(status, body), &[]), &mut interval);
        let seconds = |seconds| Next::Wait(Duration::from_secs(seconds));
        assert_eq!(said(400, r#"{"error":"authorization_pending"}"#), seconds(5));
        // GitHub says it with 200.
        assert_eq!(said(200, r#"{"error":"slow_down","interval":10}"#), seconds(10));
        assert_eq!(said(400, r#"{"error":"authorization_pending"}"#), seconds(10));
        assert_eq!(said(502, ""), seconds(20));
        assert_eq!(said(400, r#"{"error":"access_denied"}"#), Next::Over(LoginReason::Denied));
        assert_eq!(said(400, r#"{"error":"expired_token"}"#), Next::Over(LoginReason::TimedOut));
        let refused = LoginReason::Refused { code: Some("invalid_client".into()) };
        assert_eq!(said(401, r#"{"error":"invalid_client"}"#), Next::Over(refused));
        assert!(matches!(said(200, r#"{"access_token":"a","refresh_token":"r"}"#), Next::Done(_)));
    }
}
