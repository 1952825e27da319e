//! The HTTP server: read-only routes about a living agent, served so that no client can hold it up.
//!
//! Knows routes, limits and connections; what it shows it asks a [`Living`] for. The control socket and the
//! configured address share it, each with connections of its own: a crowd at one does not keep the other waiting.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::telemetry::metrics::{Counters, Format};
use crate::telemetry::page;
use crate::telemetry::status::Status;

/// How long a client may take to say what it wants, counted from before its first byte.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest head of a request in bytes; hyper takes no less than half of it.
const HEAD_SIZE: usize = 16 * 1024;
/// Endings of names that nobody can own in the public DNS (RFC 6761, RFC 6762, ICANN's `.internal`).
const PRIVATE_ENDINGS: [&str; 3] = [".localhost", ".local", ".internal"];
/// The most connections at once.
const CONNECTIONS: usize = 64;
/// The most clients at once for whom the loop says how everything stands: with thousands of credentials that is work,
/// and between two such answers refreshes have their turn.
const STATUSES: usize = 2;
/// How long the agent's loop may take to answer before it counts as hanging.
const PULSE_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long answers under way may take when the server closes.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// An agent that can be asked how it is. `None` means that it is ending.
pub trait Living: Clone + Send + Sync + 'static {
    /// Whether it lives, and what of it works.
    fn pulse(&self) -> impl Future<Output = Option<Pulse>> + Send;
    /// How everything stands.
    fn status(&self) -> impl Future<Output = Option<Status>> + Send;
    /// What it has counted since it started.
    fn counters(&self) -> &Counters;
}

/// What works, in a few words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pulse {
    /// Whether it is the agent, and not one pass.
    pub running: bool,
    /// Whether the config file is applied as it stands.
    pub config: bool,
    /// Whether the vault took what it was last given.
    pub vault: bool,
    /// Whether every gateway could be read at the last look.
    pub gateways: bool,
}

impl Pulse {
    fn is_ready(self) -> bool {
        self.running && self.config && self.vault && self.gateways
    }
}

/// The routes that change nothing.
pub fn read_only<L: Living>(living: L) -> Router {
    let turns = Arc::new(Semaphore::new(STATUSES));
    let in_turn = move |request: Request, next: Next| {
        let turns = Arc::clone(&turns);
        async move {
            // Nobody closes the semaphore.
            let _turn = turns.acquire().await;
            next.run(request).await
        }
    };
    Router::new()
        .route("/", get(page::<L>))
        .route("/api/status", get(status::<L>))
        .route("/metrics", get(metrics::<L>))
        .route_layer(from_fn(in_turn))
        .route("/healthz", get(healthz::<L>))
        .route("/readyz", get(readyz::<L>))
        .with_state(living)
}

async fn status<L: Living>(State(living): State<L>) -> Response {
    match living.status().await {
        Some(status) => fresh(StatusCode::OK, Json(status)),
        None => fresh(StatusCode::SERVICE_UNAVAILABLE, "ending\n"),
    }
}

/// For people. Drawing a thousand credentials takes milliseconds that the agent's loop is not to wait for.
async fn page<L: Living>(State(living): State<L>) -> Response {
    let Some(status) = living.status().await else {
        return fresh(StatusCode::SERVICE_UNAVAILABLE, "ending\n");
    };
    match tokio::task::spawn_blocking(move || page::render(&status)).await {
        Ok(Ok(html)) => (page::HEADERS.clone(), fresh(StatusCode::OK, Html(html))).into_response(),
        _ => fresh(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be drawn\n"),
    }
}

async fn metrics<L: Living>(State(living): State<L>, request: HeaderMap) -> Response {
    let Some(status) = living.status().await else { return fresh(StatusCode::SERVICE_UNAVAILABLE, "ending\n") };
    let accept = request.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let (counters, format) = (living.counters().clone(), Format::accepted(accept));
    // Megabytes with a thousand credentials: not on the thread of the agent's loop.
    match tokio::task::spawn_blocking(move || counters.exposition(status, format)).await {
        Ok(text) => fresh(StatusCode::OK, ([(header::CONTENT_TYPE, format.content_type())], text)),
        Err(_) => fresh(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n"),
    }
}

/// The agent lives: its loop turns.
async fn healthz<L: Living>(State(living): State<L>) -> Response {
    match pulse(&living).await {
        Ok(Pulse { running: true, .. }) => fresh(StatusCode::OK, "ok\n"),
        Ok(_) => fresh(StatusCode::SERVICE_UNAVAILABLE, "no agent\n"),
        Err(status) => fresh(status, "no agent\n"),
    }
}

async fn readyz<L: Living>(State(living): State<L>) -> Response {
    match pulse(&living).await {
        Ok(pulse) if pulse.is_ready() => fresh(StatusCode::OK, Json(pulse)),
        Ok(pulse) => fresh(StatusCode::SERVICE_UNAVAILABLE, Json(pulse)),
        Err(status) => fresh(status, "no agent\n"),
    }
}

/// Its pulse, or the status that says why there is none: it is ending (503), or it hangs (504).
async fn pulse<L: Living>(living: &L) -> Result<Pulse, StatusCode> {
    let pulse = tokio::time::timeout(PULSE_TIMEOUT, living.pulse()).await;
    pulse.map_err(|_| StatusCode::GATEWAY_TIMEOUT)?.ok_or(StatusCode::SERVICE_UNAVAILABLE)
}

/// How it stands now is worth nothing in a cache.
fn fresh(status: StatusCode, body: impl IntoResponse) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], body).into_response()
}

/// Lets only those through who reached this server by a name that nobody outside can give it: a page in a browser
/// that points its own domain at our address (DNS rebinding) sends that domain.
pub async fn by_local_name(request: Request, next: Next) -> Response {
    let in_header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = request.uri().authority().map(|authority| authority.as_str()).or(in_header);
    if host.is_none_or(is_local_name) {
        next.run(request).await
    } else {
        let say = "this server answers to an address, a name without dots, *.local and *.internal; behind a reverse \
                   proxy, let the proxy send one of these as Host\n";
        fresh(StatusCode::MISDIRECTED_REQUEST, say)
    }
}

/// An address, or a name that can be nobody's domain: `localhost`, one without dots as containers have, one of the
/// private endings as clusters and home networks have.
fn is_local_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    let is_private = PRIVATE_ENDINGS.iter().any(|ending| name.ends_with(ending));
    name.parse::<IpAddr>().is_ok() || !name.contains('.') || is_private
}

/// A server that goes on until it is closed or dropped.
pub struct Serving {
    accepting: JoinHandle<()>,
    connections: TaskTracker,
}

impl Serving {
    /// Serves what comes in at a listener; a connection lasts no longer than `longest`.
    pub fn start(listener: impl Listener, router: Router, longest: Duration) -> Self {
        let connections = TaskTracker::new();
        let accepting = tokio::spawn(accept(listener, router, longest, connections.clone()));
        Self { accepting, connections }
    }

    /// Takes nobody in any more, and lets the answers under way go out.
    pub async fn close(self) {
        self.accepting.abort();
        self.connections.close();
        // Who does not read an answer in time does without it.
        let _ = tokio::time::timeout(LAST_ANSWERS, self.connections.wait()).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(mut listener: impl Listener, router: Router, longest: Duration, connections: TaskTracker) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // Nobody closes the semaphore.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, _) = listener.accept().await;
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_SIZE)
            // One request each: an idle client takes nobody's place.
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        connections.spawn(async move {
            // A client that goes away, or is sent away, is no error of ours.
            let _ = tokio::time::timeout(longest, connection).await;
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::reason::Language;
    use crate::telemetry::status::{AgentStatus, ConfigStatus, VaultStatus};
    use crate::time::Timestamp;

    /// An agent that always answers the same.
    #[derive(Clone)]
    struct Still(Option<Pulse>, Counters);

    const WELL: Pulse = Pulse { running: true, config: true, vault: true, gateways: true };

    impl Living for Still {
        async fn pulse(&self) -> Option<Pulse> {
            self.0
        }

        async fn status(&self) -> Option<Status> {
            let config = ConfigStatus { path: "sidecar.toml".into(), loaded_at: None, problem: None };
            let vault = VaultStatus::default();
            Some(Status {
                version: Cow::Borrowed("0"),
                time: Timestamp::EPOCH,
                language: Language::English,
                agent: AgentStatus { owner: None, running: self.0?.running, since: None, config, vault },
                credentials: Vec::new(),
                orphans: Vec::new(),
                notifiers: Vec::new(),
                events: Vec::new(),
            })
        }

        fn counters(&self) -> &Counters {
            &self.1
        }
    }

    async fn serve(pulse: Option<Pulse>) -> (Serving, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = read_only(Still(pulse, Counters::default())).layer(axum::middleware::from_fn(by_local_name));
        (Serving::start(listener, router, Duration::from_secs(30)), address)
    }

    async fn say(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_routes_tell_a_living_agent_from_a_troubled_and_a_dead_one() {
        let cases = [
            (Some(WELL), ["200", "200", "200", "200"]),
            (Some(Pulse { gateways: false, ..WELL }), ["200", "503", "200", "200"]),
            (Some(Pulse { config: false, ..WELL }), ["200", "503", "200", "200"]),
            (Some(Pulse { running: false, ..WELL }), ["503", "503", "200", "200"]),
            (None, ["503", "503", "503", "503"]),
        ];
        for (pulse, expected) in cases {
            let (_serving, address) = serve(pulse).await;
            for (path, status) in ["/healthz", "/readyz", "/api/status", "/"].into_iter().zip(expected) {
                let answer = say(address, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{pulse:?} {path}: {answer}");
            }
        }
    }

    #[tokio::test]
    async fn it_is_read_only_and_answers_no_foreign_name() {
        let (_serving, address) = serve(Some(WELL)).await;
        let cases = [
            ("HEAD /healthz HTTP/1.1\r\nhost: 127.0.0.1:9170\r\n\r\n", "200"),
            ("GET /healthz HTTP/1.1\r\nhost: one-api-sidecar:9170\r\n\r\n", "200"),
            ("GET /healthz HTTP/1.1\r\nhost: [::1]:9170\r\n\r\n", "200"),
            ("GET /healthz HTTP/1.1\r\nhost: evil.example.com:9170\r\n\r\n", "421"),
            ("GET http://evil.example.com/healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", "421"),
            ("POST /api/status HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n", "405"),
            ("HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n", "200"),
            ("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n", "405"),
            ("GET /page HTTP/1.1\r\nhost: localhost\r\n\r\n", "404"),
            ("POST /once HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n", "404"),
            ("nonsense\r\n\r\n", "400"),
        ];
        for (request, status) in cases {
            let answer = say(address, request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        }
    }

    #[test]
    fn only_names_that_can_be_nobodys_domain_are_local() {
        for host in [
            "",
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1",
            "10.0.0.7:9170",
            "[::1]:9170",
            "sidecar:9170",
            "sidecar.:9170",
            "app.localhost",
            "sidecar.monitoring.svc.cluster.local:9170",
            "Box.Local.",
            "sidecar.internal",
        ] {
            assert!(is_local_name(host), "{host}");
        }
        for host in [
            "example.com",
            "example.com:9170",
            "127.0.0.1.example.com",
            "localhost.example.com",
            "local.example",
            "1.2.3",
            "evil.internal.example",
            "xlocal.com",
            "[example.com]",
        ] {
            assert!(!is_local_name(host), "{host}");
        }
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused_and_a_body_is_never_waited_for() {
        let (_serving, address) = serve(Some(WELL)).await;
        let long = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(2 * HEAD_SIZE));
        let many = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: x\r\n".repeat(200));
        let body = "GET /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\nnot all of it";
        for (request, status) in [(long.as_str(), "431"), (many.as_str(), "431"), (body, "200")] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The other side may have closed before the last byte.
            let _ = stream.write_all(request.as_bytes()).await;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, format!("HTTP/1.1 {status}").as_bytes(), "{}", &request[..60]);
        }
    }

    /// An agent whose loop is busy for good.
    #[derive(Clone, Default)]
    struct Busy(Arc<std::sync::atomic::AtomicUsize>, Counters);

    impl Living for Busy {
        async fn pulse(&self) -> Option<Pulse> {
            Some(WELL)
        }

        async fn status(&self) -> Option<Status> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            std::future::pending().await
        }

        fn counters(&self) -> &Counters {
            &self.1
        }
    }

    #[tokio::test]
    async fn a_crowd_that_asks_how_everything_stands_asks_the_loop_in_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let busy = Busy::default();
        let _serving = Serving::start(listener, read_only(busy.clone()), Duration::from_secs(30));
        let mut crowd = Vec::new();
        for path in ["/api/status", "/metrics"].repeat(10) {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
            crowd.push(stream);
        }
        // Whoever came after them is answered: they were all taken in before.
        let answer = say(address, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(busy.0.load(std::sync::atomic::Ordering::Relaxed), STATUSES);
    }

    #[tokio::test]
    async fn clients_that_do_not_read_give_their_places_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let more_than_any_buffer = axum::body::Bytes::from(vec![b'x'; 64 << 20]);
        let router = Router::new()
            .route("/much", get(async || more_than_any_buffer))
            .merge(read_only(Still(Some(WELL), Counters::default())));
        let serving = Serving::start(listener, router, Duration::from_millis(300));
        let mut deaf = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /much HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
            deaf.push(stream);
        }
        let answer = say(address, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        serving.close().await;
    }

    #[tokio::test]
    async fn clients_that_say_nothing_take_the_places_for_five_seconds_only() {
        let (_serving, address) = serve(Some(WELL)).await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let began = std::time::Instant::now();
        let answer = say(address, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let waited = began.elapsed();
        assert!(waited > Duration::from_secs(3) && waited < Duration::from_secs(8), "{waited:?}");
    }
}
