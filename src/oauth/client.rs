//! The one HTTP attempt that a decision is worth.
//!
//! Never cancelled, never retried, never redirected. Tells apart what was not sent, what was answered, and what is
//! unknown; says nothing of what an answer means.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};

use crate::config::plan::{CredentialPlan, Endpoint, Method, host};
use crate::credential::record::Outcome;
use crate::failpoint::failpoint;
use crate::oauth::request::{self, TokenRequest};
use crate::oauth::response::{self, Response};
use crate::reason::TokenReason;
use crate::secret::{Secret, Values};
use crate::time::Clock;
use crate::transport::{self, Clients, plain};

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
    match request::request(plan, refresh_token, values, clock.now()) {
        Ok(request) => ask(clients, clock, plan, request, refresh_token, values).await,
        Err(error) => Outcome::NotSent(TokenReason::NotMade { detail: error.to_string() }),
    }
}

/// Sends one token request of any grant and says what it came to; `secret` is what it carries besides `values`.
pub async fn ask(
    clients: &Clients,
    clock: &dyn Clock,
    plan: &CredentialPlan,
    request: TokenRequest,
    secret: Option<&Secret>,
    values: &Values,
) -> Outcome {
    match fetch(clients, clock, &plan.endpoint, request, values).await {
        Ok(response) => {
            let sent: Vec<&Secret> = secret.into_iter().chain(values.values()).collect();
            response::outcome(plan, &response, &sent)
        }
        Err(Failure::NotSent(reason)) => Outcome::NotSent(reason),
        Err(Failure::Lost(reason)) => Outcome::Unknown(reason),
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The request never left.
    NotSent(TokenReason),
    /// It left, and no whole answer came back.
    Lost(TokenReason),
}

/// Sends a request by an endpoint's way of connecting, and reads the answer, whatever it means.
///
/// # Errors
/// When no whole answer came.
pub async fn fetch(
    clients: &Clients,
    clock: &dyn Clock,
    endpoint: &Endpoint,
    request: TokenRequest,
    values: &Values,
) -> Result<Response, Failure> {
    let client = clients
        .get(&endpoint.transport, values)
        .map_err(|error| Failure::NotSent(TokenReason::NotMade { detail: error.to_string() }))?;
    let host = host(&request.url);
    let sent_at = clock.now();
    failpoint!("before-connect");
    match send(&client, request, endpoint.timeout).await {
        Ok(response) => Ok(Response { sent_at, received_at: clock.now(), ..response }),
        Err(error) if error.is_connect() || error.is_builder() => {
            Err(Failure::NotSent(match certificate_trouble(&error) {
                Some(error) => TokenReason::Certificate { host, error },
                None => TokenReason::NotSent { host, error: plain(error) },
            }))
        }
        Err(error) => Err(Failure::Lost(TokenReason::AnswerLost { host, error: plain(error) })),
    }
}

async fn send(client: &reqwest::Client, request: TokenRequest, timeout: Duration) -> reqwest::Result<Response> {
    let method = match request.method {
        Method::Post => reqwest::Method::POST,
        Method::Get => reqwest::Method::GET,
    };
    let mut answer =
        client.request(method, request.url).headers(request.headers).body(request.body).timeout(timeout).send().await?;
    failpoint!("answer-begun");
    let mut response = Response {
        status: answer.status().as_u16(),
        content_type: header(answer.headers(), CONTENT_TYPE),
        date: header(answer.headers(), DATE),
        retry_after: header(answer.headers(), RETRY_AFTER),
        ..Response::default()
    };
    (response.body, response.cut) = transport::body(&mut answer, LARGEST_ANSWER).await?;
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
