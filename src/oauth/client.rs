//! The one HTTP attempt that a decision is worth.
//!
//! Never cancelled, never retried, never redirected. Tells apart what was not sent, what was answered, and what is
//! unknown; says nothing of what an answer means.

use std::time::Duration;

use reqwest::header::{AGE, CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};
use url::Url;

use crate::config::plan::{CredentialPlan, Endpoint, Method, Transport, host};
use crate::credential::record::Outcome;
use crate::failpoint::failpoint;
use crate::oauth::request::{self, TokenRequest};
use crate::oauth::response::{self, Response};
use crate::reason::TokenReason;
use crate::secret::{Secret, Values};
use crate::time::{Clock, Timestamp};
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

/// What a server's answer to nothing in particular showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When it had answered.
    pub heard_at: Timestamp,
    /// Its own time, where it said one.
    pub date: Option<Timestamp>,
}

impl Heard {
    /// By how many seconds our clock is ahead of the server's; negative when it is behind.
    pub fn clock_offset(&self) -> Option<i64> {
        let ours = self.asked_at.as_millis().midpoint(self.heard_at.as_millis());
        Some((ours - self.date?.as_millis()) / 1000)
    }
}

/// Asks a server for the head of `root`, by an endpoint's way of connecting. Nothing of a credential is in the request
/// (a client certificate, where one is configured, proves itself in TLS), and whatever is answered is good.
///
/// # Errors
/// When it cannot be reached.
pub async fn reach(
    clients: &Clients,
    clock: &dyn Clock,
    transport: &Transport,
    values: &Values,
    root: &Url,
    patience: Duration,
) -> Result<Heard, TokenReason> {
    let client = clients.get(transport, values).map_err(|error| TokenReason::NotMade { detail: error.to_string() })?;
    let asked_at = clock.now();
    let answer = client.head(root.clone()).timeout(patience).send().await.map_err(|error| {
        let host = host(root);
        match certificate_trouble(&error) {
            Some(error) => TokenReason::Certificate { host, error },
            None => TokenReason::NotSent { host, error: plain(error) },
        }
    })?;
    let date = header(answer.headers(), DATE).and_then(|date| Timestamp::parse_http_date(&date));
    // What a cache kept is older than its answer by this much.
    let age = header(answer.headers(), AGE).and_then(|age| age.parse().ok()).unwrap_or(0);
    let date = date.map(|date| date + Duration::from_secs(age));
    Ok(Heard { asked_at, heard_at: clock.now(), date })
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
