//! A token endpoint that does as it is told: strict rotation, or any way of misbehaving on the wire.
//!
//! Speaks HTTP/1.1 on a raw socket, so that it can cut, drip and lie. Rotation follows
//! [`Families`]: a spent refresh token that comes back kills its family. It runs on a thread of its own, so tests
//! need no runtime. With another fallback action it stands in for any other service (a notifier's, say).

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use one_api_sidecar::demo::authorization_server::{Families, Parameters, Standing, parameters};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::SENTINEL;

/// What the endpoint does with one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Judges it as a strict authorization server does.
    Normal,
    /// Answers this, whatever was asked; nothing is rotated.
    Answer { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// Never answers; nothing is rotated.
    Hang,
    /// Resets the connection; nothing is rotated.
    Reset,
    /// Rotates, then never answers.
    CommitThenHang,
    /// Rotates, then resets the connection.
    CommitThenReset,
    /// The normal answer, a byte at each interval.
    Drip(Duration),
    /// The normal answer's head and half of its body, then the end.
    Truncate,
    /// The normal answer, later; it is judged (and rotates) at once.
    Delay(Duration),
    /// A head without a length, then spaces without end.
    Endless,
}

impl Action {
    /// A JSON answer.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".into(), "application/json".into())];
        Self::Answer { status, headers, body: body.into() }
    }

    /// A redirect.
    pub fn redirect(status: u16, location: impl Into<String>) -> Self {
        Self::Answer { status, headers: vec![("location".into(), location.into())], body: Vec::new() }
    }
}

/// How an endpoint is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long access tokens live.
    pub lifetime: Duration,
    /// Whether a refresh spends the refresh token.
    pub rotates: bool,
    /// What requests to a path get, once the script is empty.
    pub paths: HashMap<String, Action>,
    /// What all others get.
    pub fallback: Action,
}

impl Default for Options {
    fn default() -> Self {
        let (lifetime, rotates) = (Duration::from_secs(3600), true);
        Self { lifetime, rotates, paths: HashMap::new(), fallback: Action::Normal }
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// When its last byte was there.
    pub at: Instant,
    /// Which connection it came over, counted from 0: two requests with one number shared it.
    pub connection: usize,
    /// Its `refresh_token` had been spent before.
    pub reused: bool,
    /// The access token that it was granted, whether the answer got through or not.
    pub granted: Option<String>,
}

impl Request {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// The parameters: the query's, and the body's over them.
    pub fn parameters(&self) -> Parameters {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let mut all = parameters("", query.as_bytes());
        all.extend(parameters(self.header("content-type").unwrap_or_default(), &self.body));
        all
    }
}

struct State {
    families: Families,
    script: VecDeque<Action>,
    options: Options,
    requests: Vec<Request>,
    accepted: Vec<String>,
}

struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running endpoint; it ends when it is dropped.
pub struct Endpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

impl Endpoint {
    /// Starts one on loopback.
    pub fn start(options: Options) -> Self {
        let families = Families::new(SENTINEL, options.lifetime);
        let families = if options.rotates { families } else { families.without_rotation() };
        let (script, requests, accepted) = (VecDeque::new(), Vec::new(), Vec::new());
        let state = Mutex::new(State { families, script, options, requests, accepted });
        let shared = Arc::new(Shared { state, arrived: Condvar::new() });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = accept(TcpListener::from_std(listener).unwrap(), serving) => {}
                    _ = stopped => {} // the endpoint was dropped; what still hangs goes down with the runtime
                }
            });
        });
        Self { address, shared, _stop: stop }
    }

    /// A stand-in for a service that answers every request with this JSON.
    pub fn answering(status: u16, body: &str) -> Self {
        Self::start(Options { fallback: Action::json(status, body), ..Options::default() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The token endpoint's address.
    pub fn url(&self) -> String {
        self.url_of("/oauth/token")
    }

    /// The address of another path.
    pub fn url_of(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A first refresh token, as a login gives it.
    pub fn issue(&self) -> String {
        self.shared.lock().families.issue()
    }

    /// What to do with the next requests, in their order; afterwards the options say it.
    pub fn script(&self, actions: impl IntoIterator<Item = Action>) {
        self.shared.lock().script.extend(actions);
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// The requests of one client, by their `client_id` parameter.
    pub fn requests_of(&self, client_id: &str) -> Vec<Request> {
        let of_client = |request: &Request| request.parameters().get("client_id").is_some_and(|id| id == client_id);
        self.requests().into_iter().filter(of_client).collect()
    }

    /// Waits until there were `count` requests, and says whether there were in time.
    pub fn wait_for_requests(&self, count: usize, timeout: Duration) -> bool {
        let missing = |state: &mut State| state.requests.len() < count;
        let waited = self.shared.arrived.wait_timeout_while(self.shared.lock(), timeout, missing);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// How many requests carried a spent refresh token.
    pub fn reuse_count(&self) -> usize {
        self.shared.lock().requests.iter().filter(|request| request.reused).count()
    }

    /// Whether a model endpoint would take this access token now.
    pub fn is_valid(&self, access_token: &str) -> bool {
        self.shared.lock().families.is_valid(access_token, Instant::now())
    }

    /// Every access token that was granted, oldest first, whether its answer got through or not.
    pub fn accepted_tokens(&self) -> Vec<String> {
        self.shared.lock().accepted.clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    for connection in 0.. {
        let Ok((stream, _)) = listener.accept().await else { return };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // An error here is the client going away, which is its right.
            let _ = serve(stream, connection, &shared).await;
        });
    }
}

/// Serves requests until the client goes away or an action ends the connection.
async fn serve(mut stream: TcpStream, connection: usize, shared: &Shared) -> std::io::Result<()> {
    let mut unread = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut unread, connection).await? {
        let (action, answer) = judge(shared, request);
        match action {
            Action::Normal | Action::Answer { .. } => stream.write_all(&answer.bytes()).await?,
            Action::Delay(length) => {
                tokio::time::sleep(length).await;
                stream.write_all(&answer.bytes()).await?;
            }
            Action::Drip(interval) => {
                for byte in answer.bytes() {
                    stream.write_all(&[byte]).await?;
                    tokio::time::sleep(interval).await;
                }
            }
            Action::Hang | Action::CommitThenHang => std::future::pending().await,
            Action::Reset | Action::CommitThenReset => return stream.set_zero_linger(),
            Action::Truncate => {
                let bytes = answer.bytes();
                return stream.write_all(&bytes[..bytes.len() - answer.body.len() / 2]).await;
            }
            Action::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n").await?;
                loop {
                    stream.write_all(&[b' '; 16 * 1024]).await?;
                }
            }
        }
    }
    Ok(())
}

/// Chooses what is done with a request, rotates if that is part of it, and puts it on record.
fn judge(shared: &Shared, mut request: Request) -> (Action, Answer) {
    let mut state = shared.lock();
    let asked = request.parameters();
    request.reused = asked.get("refresh_token").is_some_and(|t| state.families.standing(t) == Standing::Spent);
    let by_path = state.options.paths.get(request.path()).unwrap_or(&state.options.fallback).clone();
    let action = state.script.pop_front().unwrap_or(by_path);
    let answer = match &action {
        Action::Answer { status, headers, body } => {
            Answer { status: *status, headers: headers.clone(), body: body.clone() }
        }
        Action::Hang | Action::Reset | Action::Endless => Answer::default(),
        _ => {
            let (status, body) = state.families.answer(&asked, request.at);
            request.granted = body["access_token"].as_str().map(str::to_owned);
            state.accepted.extend(request.granted.clone());
            let headers = vec![("content-type".into(), "application/json".into())];
            Answer { status, headers, body: body.to_string().into_bytes() }
        }
    };
    state.requests.push(request);
    shared.arrived.notify_all();
    (action, answer)
}

#[derive(Default)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {} Scripted\r\ncontent-length: {}\r\n", self.status, self.body.len());
        for (name, value) in &self.headers {
            bytes += &format!("{name}: {value}\r\n");
        }
        bytes += "\r\n";
        [bytes.as_bytes(), &self.body].concat()
    }
}

/// Reads one request; `None` when the client closed the connection between two.
async fn read_request(
    stream: &mut TcpStream,
    unread: &mut Vec<u8>,
    connection: usize,
) -> std::io::Result<Option<Request>> {
    let end_of_head = loop {
        if let Some(at) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(unread).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&unread[..end_of_head]).into_owned();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let end = end_of_head + 4 + length.unwrap_or(0);
    while unread.len() < end {
        if stream.read_buf(unread).await? == 0 {
            return Ok(None);
        }
    }
    let body = unread[end_of_head + 4..end].to_vec();
    unread.drain(..end);
    Ok(Some(Request { method, target, headers, body, at: Instant::now(), connection, reused: false, granted: None }))
}
