//! A token endpoint that rotates strictly, as the providers do that punish a mistake.
//!
//! Owns the bookkeeping of refresh-token families, which touches no clock and no network, and a small server around
//! it. A spent refresh token that comes back kills its whole family, living access tokens included (RFC 9700
//! §4.14.2). The test harness speaks the same rules through a socket of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedSender;

use super::Event;

/// The parameters of a token request, however they travelled.
pub type Parameters = HashMap<String, String>;

/// What a refresh token is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Never issued here.
    Unknown,
    /// It can be used.
    Good,
    /// It was used before: whoever sends it again loses the family.
    Spent,
    /// Its family was killed.
    Dead,
}

#[derive(Debug)]
struct RefreshToken {
    family: usize,
    spent: bool,
}

#[derive(Debug)]
struct AccessToken {
    family: usize,
    expires_at: Instant,
}

/// Every refresh token that was issued, what became of it, and the access tokens that came of it.
#[derive(Debug)]
pub struct Families {
    label: String,
    lifetime: Duration,
    rotates: bool,
    alive: Vec<bool>,
    refresh_tokens: HashMap<String, RefreshToken>,
    access_tokens: HashMap<String, AccessToken>,
    reused: u32,
}

impl Families {
    /// No family yet. Access tokens live for `lifetime`; every token begins with `label`.
    pub fn new(label: impl Into<String>, lifetime: Duration) -> Self {
        Self {
            label: label.into(),
            lifetime,
            rotates: true,
            alive: Vec::new(),
            refresh_tokens: HashMap::new(),
            access_tokens: HashMap::new(),
            reused: 0,
        }
    }

    /// A server whose refresh tokens can be used again and again.
    pub fn without_rotation(mut self) -> Self {
        self.rotates = false;
        self
    }

    /// Starts a family, as a person's login does, and returns its first refresh token.
    pub fn issue(&mut self) -> String {
        self.alive.push(true);
        self.new_refresh_token(self.alive.len() - 1)
    }

    /// What a refresh token is worth.
    pub fn standing(&self, refresh_token: &str) -> Standing {
        match self.refresh_tokens.get(refresh_token) {
            None => Standing::Unknown,
            Some(token) if token.spent => Standing::Spent,
            Some(token) if !self.alive[token.family] => Standing::Dead,
            Some(_) => Standing::Good,
        }
    }

    /// Judges a token request at `now`: the status and body of RFC 6749 §5.
    pub fn answer(&mut self, parameters: &Parameters, now: Instant) -> (u16, Value) {
        if parameters.get("grant_type").is_none_or(|grant| grant != "refresh_token") {
            return (400, json!({ "error": "unsupported_grant_type" }));
        }
        let Some(sent) = parameters.get("refresh_token") else {
            return (400, json!({ "error": "invalid_request", "error_description": "refresh_token is missing" }));
        };
        match self.standing(sent) {
            Standing::Good => (200, self.grant(sent, now)),
            Standing::Spent => {
                self.reused += 1;
                self.alive[self.refresh_tokens[sent].family] = false;
                (400, json!({ "error": "invalid_grant", "error_description": "this refresh token was used before" }))
            }
            Standing::Unknown | Standing::Dead => (400, json!({ "error": "invalid_grant" })),
        }
    }

    fn grant(&mut self, sent: &str, now: Instant) -> Value {
        let family = self.refresh_tokens[sent].family;
        let access_token = self.new_token("access");
        let expires_at = now + self.lifetime;
        self.access_tokens.insert(access_token.clone(), AccessToken { family, expires_at });
        let mut body = json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": self.lifetime.as_secs(),
        });
        if self.rotates {
            self.refresh_tokens.insert(sent.to_owned(), RefreshToken { family, spent: true });
            body["refresh_token"] = Value::String(self.new_refresh_token(family));
        }
        body
    }

    fn new_refresh_token(&mut self, family: usize) -> String {
        let token = self.new_token("refresh");
        self.refresh_tokens.insert(token.clone(), RefreshToken { family, spent: false });
        token
    }

    fn new_token(&self, kind: &str) -> String {
        format!("{}-{kind}-{:032x}", self.label, fastrand::u128(..))
    }

    /// Whether a model endpoint takes this access token at `now`.
    pub fn is_valid(&self, access_token: &str, now: Instant) -> bool {
        let token = self.access_tokens.get(access_token);
        token.is_some_and(|token| self.alive[token.family] && now < token.expires_at)
    }

    /// How often a spent refresh token came back.
    pub fn reuse_count(&self) -> u32 {
        self.reused
    }
}

/// The families, shared by whoever issues tokens and whoever checks them.
#[derive(Debug, Clone)]
pub struct SharedFamilies(Arc<Mutex<Families>>);

impl SharedFamilies {
    /// Shares the families.
    pub fn new(families: Families) -> Self {
        Self(Arc::new(Mutex::new(families)))
    }

    /// Exclusive access; never held over an await.
    pub fn lock(&self) -> MutexGuard<'_, Families> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the token endpoint on loopback and returns where it listens; it lives as long as the runtime.
pub(super) async fn start(families: SharedFamilies, events: UnboundedSender<Event>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/oauth/token", post(token)).with_state((families, events));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn token(
    State((families, events)): State<(SharedFamilies, UnboundedSender<Event>)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parameters = parameters(content_type, &body);
    let (status, answer) = families.lock().answer(&parameters, Instant::now());
    if let (Some(client), Some(access_token)) = (parameters.get("client_id"), answer["access_token"].as_str()) {
        // Before the answer leaves, so that its key cannot be seen earlier than this moment.
        let event = Event::Answered { client: client.clone(), access_token: access_token.into(), at: Instant::now() };
        let _ = events.send(event); // nobody listens any more once the demo ends
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CACHE_CONTROL, "no-store")], axum::Json(answer)).into_response()
}

/// Reads a token request's body, a form (RFC 6749) or one JSON object; what cannot be read is left out.
pub fn parameters(content_type: &str, body: &[u8]) -> Parameters {
    if content_type.starts_with("application/json") {
        serde_json::from_slice(body).unwrap_or_default()
    } else {
        url::form_urlencoded::parse(body).into_owned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refresh(families: &mut Families, token: &str, now: Instant) -> (u16, Value) {
        let pairs = [("grant_type", "refresh_token"), ("refresh_token", token)];
        families.answer(&pairs.map(|(name, value)| (name.into(), value.into())).into(), now)
    }

    #[test]
    fn a_spent_refresh_token_kills_its_family_and_no_other() {
        let now = Instant::now();
        let mut families = Families::new("test", Duration::from_secs(4));
        let (seed, stranger) = (families.issue(), families.issue());
        let (_, first) = refresh(&mut families, &seed, now);
        let (_, other) = refresh(&mut families, &stranger, now);
        let access = first["access_token"].as_str().unwrap();
        assert!(families.is_valid(access, now));

        let (status, answer) = refresh(&mut families, &seed, now);
        assert_eq!((status, answer["error"].as_str()), (400, Some("invalid_grant")));
        assert_eq!(families.reuse_count(), 1);
        assert!(!families.is_valid(access, now));
        assert_eq!(families.standing(first["refresh_token"].as_str().unwrap()), Standing::Dead);
        assert!(families.is_valid(other["access_token"].as_str().unwrap(), now));
    }

    #[test]
    fn access_tokens_die_of_age() {
        let now = Instant::now();
        let mut families = Families::new("test", Duration::from_secs(4));
        let seed = families.issue();
        let (_, answer) = refresh(&mut families, &seed, now);
        assert_eq!(answer["expires_in"], 4);
        let access = answer["access_token"].as_str().unwrap();
        assert!(families.is_valid(access, now + Duration::from_millis(3999)));
        assert!(!families.is_valid(access, now + Duration::from_secs(4)));
    }

    #[test]
    fn without_rotation_one_refresh_token_serves_for_ever() {
        let now = Instant::now();
        let mut families = Families::new("test", Duration::from_secs(4)).without_rotation();
        let seed = families.issue();
        for _ in 0..3 {
            let (status, answer) = refresh(&mut families, &seed, now);
            assert_eq!((status, answer.get("refresh_token")), (200, None));
        }
        assert_eq!(families.reuse_count(), 0);
    }

    #[test]
    fn what_is_not_a_refresh_is_refused() {
        let now = Instant::now();
        let mut families = Families::new("test", Duration::from_secs(4));
        assert_eq!(families.answer(&Parameters::new(), now).1["error"], "unsupported_grant_type");
        assert_eq!(refresh(&mut families, "made up", now).1["error"], "invalid_grant");
        assert_eq!(parameters("application/json", br#"{"a":1}"#), Parameters::new());
        assert_eq!(parameters("application/x-www-form-urlencoded", b"a=b+c")["a"], "b c");
    }
}
