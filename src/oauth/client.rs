//! The one HTTP attempt that a decision is worth.
//!
//! Never cancelled, never retried, never redirected. Tells apart what was not sent, what was answered, and what is
//! unknown; says nothing of what an answer means.

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};

use crate::config::plan::{CredentialPlan, Method};
use crate::credential::record::Outcome;
use crate::oauth::request::{self, TokenRequest};
use crate::oauth::response::{self, Response};
use crate::reason::TokenReason;
use crate::secret::{Secret, Values};
use crate::time::Clock;
use crate::transport::{Clients, plain};

/// The most that is read of an answer, in bytes.
pub const LARGEST_ANSWER: usize = 1024 * 1024;

/// Sends one refresh and says what it came to.
pub async fn refresh(
    clients: &Clients,
    clock: &dyn Clock,
    plan: &CredentialPlan,
    refresh_token: Option<&Secret>,
    values: &Values,
) -> Outcome {
    let host = plan.endpoint.host();
    let not_made = |error: &dyn std::error::Error| Outcome::NotSent(TokenReason::NotMade { detail: error.to_string() });
    let client = match clients.get(&plan.endpoint.transport, values) {
        Ok(client) => client,
        Err(error) => return not_made(&error),
    };
    let sent_at = clock.now();
    let request = match request::request(plan, refresh_token, values, sent_at) {
        Ok(request) => request,
        Err(error) => return not_made(&error),
    };
    match send(&client, request, plan).await {
        Ok(mut response) => {
            response.sent_at = sent_at;
            response.received_at = clock.now();
            let sent: Vec<&Secret> = refresh_token.into_iter().chain(values.values()).collect();
            response::outcome(plan, &response, &sent)
        }
        Err(error) if error.is_connect() || error.is_builder() => match certificate_trouble(&error) {
            Some(error) => Outcome::NotSent(TokenReason::Certificate { host, error }),
            None => Outcome::NotSent(TokenReason::NotSent { host, error: plain(error) }),
        },
        Err(error) => Outcome::Unknown(TokenReason::AnswerLost { host, error: plain(error) }),
    }
}

async fn send(client: &reqwest::Client, request: TokenRequest, plan: &CredentialPlan) -> reqwest::Result<Response> {
    let method = match request.method {
        Method::Post => reqwest::Method::POST,
        Method::Get => reqwest::Method::GET,
    };
    let mut answer = client
        .request(method, request.url)
        .headers(request.headers)
        .body(request.body)
        .timeout(plan.endpoint.timeout)
        .send()
        .await?;
    let mut response = Response {
        status: answer.status().as_u16(),
        content_type: header(answer.headers(), CONTENT_TYPE),
        date: header(answer.headers(), DATE),
        retry_after: header(answer.headers(), RETRY_AFTER),
        ..Response::default()
    };
    while let Some(chunk) = answer.chunk().await? {
        if response.body.len() + chunk.len() > LARGEST_ANSWER {
            response.cut = true;
            break;
        }
        response.body.extend_from_slice(&chunk);
    }
    Ok(response)
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// The TLS library's words, if the certificate is what was wrong.
fn certificate_trouble(error: &reqwest::Error) -> Option<String> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        // hyper and tokio-rustls wrap the TLS error in io::Errors, whose own source skips their inner error.
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = inner
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            .or_else(|| cause.downcast_ref::<rustls::Error>());
        if let Some(tls @ rustls::Error::InvalidCertificate(_)) = tls {
            return Some(tls.to_string());
        }
        source = match inner {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    None
}
