//! The vault's holder: this process where the lock is free, else whoever answers at the control socket.

use std::path::Path;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use http::{Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::agent::socket;
use crate::cli::Exit;
use crate::cli::place::{Loaded, complain};
use crate::cli::vault::{read_key, refused};
use crate::config::plan::VaultPlace;
use crate::messages;
use crate::reason::{AgentReason, Reason, VaultReason};
use crate::telemetry::status::Status;
use crate::vault::{Contents, Site, Vault, VaultError};

/// How long a holder may be silent.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// How often the lock and the socket are tried while neither is to be had.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// The longest answer: ten thousand credentials with a few channels each stay below.
const LONGEST_ANSWER: usize = 64 << 20;

/// Who does what was asked.
pub enum Turn<T = Box<Status>> {
    /// The lock is ours: this process does it.
    Ours(Box<(Vault, Contents)>),
    /// The holder did it; this is how it stands since.
    Theirs(T),
}

/// Why the vault is not open to us.
pub enum Closed {
    /// Somebody else owns it.
    Owned {
        /// Who, as the lock file says.
        holder: String,
    },
    /// The server that holds it cannot be reached.
    Away(VaultReason),
    /// It cannot be read.
    Refused(Box<Reason>),
}

impl Closed {
    /// How that ends where nobody waits for the vault; it is said.
    pub fn exit(self) -> Exit {
        let reason = match self {
            Self::Owned { holder } => VaultReason::Owned { holder }.into(),
            Self::Away(reason) => reason.into(),
            Self::Refused(reason) => *reason,
        };
        match reason {
            Reason::Vault(reason) => refused(VaultError(reason)),
            reason => {
                complain(&reason);
                Exit::BadConfig
            }
        }
    }
}

/// Why nothing came of asking.
enum Failure {
    /// Nobody is there, or nobody answers.
    Silence,
    /// It is there, and ending.
    Ending,
    /// It cannot do that.
    Refused(Box<Reason>),
}

/// Finds out whether something could be done: the vault is free, or its holder answers.
///
/// # Errors
/// The exit, when neither is so; why was said on standard error.
pub async fn probe(loaded: &Loaded) -> Result<(), Exit> {
    let site = site(&loaded.plan.vault.place).await?;
    let vault = &site.local();
    if let Turn::Ours(opened) = turn(loaded, &site, async || alive(vault).await.map(|()| Turn::Theirs(()))).await? {
        opened.0.close();
    }
    Ok(())
}

/// Takes the vault if its lock is free, else has its holder do what is asked.
///
/// # Errors
/// The exit, when neither can be; why was said on standard error.
pub async fn take_or_ask(loaded: &Loaded, route: &str, order: &impl Serialize) -> Result<Turn, Exit> {
    let site = site(&loaded.plan.vault.place).await?;
    let vault = &site.local();
    turn(loaded, &site, async || post(vault, route, order).await.map(|status| Turn::Theirs(Box::new(status)))).await
}

async fn turn<T>(
    loaded: &Loaded,
    site: &Site,
    ask: impl AsyncFn() -> Result<Turn<T>, Failure>,
) -> Result<Turn<T>, Exit> {
    let mut heard = Instant::now();
    loop {
        let holder = match open(loaded, site).await {
            Ok(opened) => return Ok(Turn::Ours(Box::new(opened))),
            Err(Closed::Owned { holder }) => holder,
            Err(closed) => return Err(closed.exit()),
        };
        match ask().await {
            Ok(theirs) => return Ok(theirs),
            Err(Failure::Refused(reason)) => {
                complain(&reason);
                return Err(Exit::Failed);
            }
            Err(Failure::Ending) => heard = Instant::now(),
            // One of another host has no socket here, and is not stuck because of that.
            Err(Failure::Silence) if site.is_owned_elsewhere().await => {
                complain(&AgentReason::OwnedElsewhere { holder }.into());
                return Err(Exit::Failed);
            }
            // A holder that comes or goes is silent for a moment.
            Err(Failure::Silence) if heard.elapsed() < PATIENCE => {}
            Err(Failure::Silence) => {
                complain(&AgentReason::Silent { holder }.into());
                return Err(Exit::Failed);
            }
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// Where the vault is; an address is read from where the config says.
///
/// # Errors
/// The exit, when it cannot be read or is none; why was said on standard error.
pub async fn site(place: &VaultPlace) -> Result<Site, Exit> {
    Site::of(place).await.map_err(|reason| {
        complain(&reason);
        Exit::BadConfig
    })
}

/// Opens the vault, and says what somebody should know of its place.
///
/// # Errors
/// When somebody else owns it, or when it cannot be read. Nothing of that was said yet.
pub async fn open(loaded: &Loaded, site: &Site) -> Result<(Vault, Contents), Closed> {
    // Whoever asks a living owner needs no key: it may be one that only the owner's unit can read.
    if let Some(holder) = site.holder_at_hand() {
        return Err(Closed::Owned { holder });
    }
    let key = match &loaded.plan.vault.encryption_key {
        Some(source) => Some(read_key(source).await.map_err(|reason| Closed::Refused(Box::new(reason)))?),
        None => None,
    };
    let opened = site.open(key.as_ref(), loaded.plan.agent.max_in_flight).await;
    let opened = opened.map_err(|error| match error.0 {
        VaultReason::Owned { holder } => Closed::Owned { holder },
        reason @ VaultReason::ServerAway { .. } => Closed::Away(reason),
        reason => Closed::Refused(Box::new(reason.into())),
    })?;
    for finding in site.examine().await {
        let message = messages::explain(loaded.plan.language, &finding.reason);
        tracing::warn!("{} {}", message.what, message.remedy);
    }
    Ok(opened)
}

/// Whether an agent lives that owns the vault.
pub async fn lives(vault: &Path) -> bool {
    let answer = tokio::time::timeout(PATIENCE, send(vault, get("/healthz"))).await;
    matches!(answer, Ok(Ok((StatusCode::OK, _))))
}

/// How everything stands, as the vault's holder says; `None` when nobody says it in time.
pub async fn status(vault: &Path, patience: Duration) -> Option<Status> {
    let answer = tokio::time::timeout(patience, send(vault, get("/api/status"))).await;
    match answer {
        Ok(Ok((StatusCode::OK, body))) => serde_json::from_slice(&body).ok(),
        _ => None,
    }
}

/// Whether the holder takes orders.
async fn alive(vault: &Path) -> Result<(), Failure> {
    let alive = tokio::time::timeout(PATIENCE, send(vault, get("/healthz"))).await;
    // One pass answers that it is no agent, and takes orders all the same; one that hangs does not.
    match alive {
        Ok(Ok((status, _))) if status != StatusCode::GATEWAY_TIMEOUT => Ok(()),
        _ => Err(Failure::Silence),
    }
}

/// Has the holder do something, however long that takes, once it has shown that it lives.
async fn post(vault: &Path, route: &str, order: &impl Serialize) -> Result<Status, Failure> {
    alive(vault).await?;
    let body = serde_json::to_vec(order).map_err(|_| Failure::Silence)?;
    let request = Request::post(route).header(header::CONTENT_TYPE, "application/json").body(body.into());
    let (status, body) = send(vault, request).await.map_err(|_| Failure::Ending)?;
    match status {
        StatusCode::OK => read(&body),
        StatusCode::NOT_FOUND => read(&body).and_then(|reason| Err(Failure::Refused(reason))),
        StatusCode::SERVICE_UNAVAILABLE => Err(Failure::Ending),
        // Another version, which does not know this.
        _ => Err(Failure::Silence),
    }
}

/// An answer that cannot be read is that of another version; it is as good as none.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|_| Failure::Silence)
}

fn get(route: &str) -> http::Result<Request<Body>> {
    Request::get(route).body(Body::empty())
}

/// One request on a connection of its own.
async fn send(vault: &Path, request: http::Result<Request<Body>>) -> anyhow::Result<(StatusCode, Bytes)> {
    let mut request = request?;
    request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("localhost"));
    let stream = socket::connect(vault).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    Ok((status, to_bytes(Body::new(answer.into_body()), LONGEST_ANSWER).await?))
}
