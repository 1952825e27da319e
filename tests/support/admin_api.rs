//! A gateway's admin API over a copy of a real gateway's database: routes, answers and memory cache as they were seen on
//! the real programs, one for each of them.
//!
//! It keeps the faults that matter: failures in answers of 200, success for channels that are not there, echoed keys.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::{get, post};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::SENTINEL;

/// The gateways whose API is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    OneApi,
    NewApi2025,
    NewApi2026,
    OneHub,
}

impl Program {
    pub const ALL: [Self; 4] = [Self::OneApi, Self::NewApi2025, Self::NewApi2026, Self::OneHub];

    /// Its database among the fixtures.
    pub fn fixture(self) -> &'static str {
        match self {
            Self::OneApi => "one-api.db",
            Self::NewApi2025 => "new-api-2025.db",
            Self::NewApi2026 => "new-api-2026.db",
            Self::OneHub => "one-hub.db",
        }
    }

    fn is_new_api(self) -> bool {
        matches!(self, Self::NewApi2025 | Self::NewApi2026)
    }
}

/// The administrator's access token.
pub fn token() -> String {
    format!("{SENTINEL}-admin")
}

/// The administrator's id.
pub const USER: i64 = 1;

/// What the API is made of.
struct Gateway {
    program: Program,
    database: PathBuf,
    /// The key of each channel that requests are routed to.
    memory: BTreeMap<i64, String>,
    /// Ids of channels that are not there and got an ability all the same.
    junk: BTreeSet<i64>,
    requests: Vec<String>,
    /// Answers every request with this, once so many more have been answered as ever.
    broken: Option<(usize, u16, String)>,
    /// Refuses what is written into this channel: everything, or the status alone.
    refusing: BTreeMap<i64, Refusing>,
    /// Says nothing of the channel after a write.
    is_terse: bool,
    /// How long each write takes.
    slowness: Duration,
    is_administrator: bool,
}

/// What of a channel may not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusing {
    Everything,
    Status,
}

/// A running admin API.
pub struct AdminApi {
    gateway: Arc<Mutex<Gateway>>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
}

impl AdminApi {
    /// Serves a gateway on this database, its memory cache on.
    pub fn start(program: Program, database: PathBuf) -> Self {
        let mut gateway = Gateway {
            program,
            database,
            memory: BTreeMap::new(),
            junk: BTreeSet::new(),
            requests: Vec::new(),
            broken: None,
            refusing: BTreeMap::new(),
            is_terse: false,
            slowness: Duration::ZERO,
            is_administrator: true,
        };
        gateway.reload();
        let gateway = Arc::new(Mutex::new(gateway));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/api/channel/", get(list).put(update))
            .route("/api/channel/{id}", get(channel))
            .route("/api/channel/{id}/status", post(set_status))
            .with_state(Arc::clone(&gateway));
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let stopped = async {
                    let _ = stopped.await;
                };
                axum::serve(listener, router).with_graceful_shutdown(stopped).await.unwrap();
            });
        });
        Self { gateway, address, stop: Some(stop) }
    }

    /// Its address, as the config has it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn gateway(&self) -> MutexGuard<'_, Gateway> {
        self.gateway.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that a request through this channel is sent with; `None` when there is no channel for it.
    pub fn routed(&self, id: i64) -> Option<String> {
        self.gateway().memory.get(&id).cloned()
    }

    /// The regular reload.
    pub fn reload(&self) {
        self.gateway().reload();
    }

    /// Ids that got an ability although there is no such channel.
    pub fn junk(&self) -> BTreeSet<i64> {
        self.gateway().junk.clone()
    }

    /// `METHOD /path` of every request so far, and of a write the channel and the fields that it names.
    pub fn requests(&self) -> Vec<String> {
        self.gateway().requests.clone()
    }

    /// Those of them that were writes.
    pub fn writes(&self) -> Vec<String> {
        self.requests().into_iter().filter(|request| !request.starts_with("GET")).collect()
    }

    /// Answers everything with this from now on.
    pub fn break_with(&self, status: u16, body: &str) {
        self.break_after(0, status, body);
    }

    /// Answers everything with this after so many more requests.
    pub fn break_after(&self, requests: usize, status: u16, body: &str) {
        self.gateway().broken = Some((requests, status, body.to_owned()));
    }

    /// Answers as ever again.
    pub fn mend(&self) {
        self.gateway().broken = None;
    }

    /// Refuses to write into this channel from now on, in words that nobody knows.
    pub fn refuse(&self, id: i64, what: Refusing) {
        self.gateway().refusing.insert(id, what);
    }

    /// Takes what is written into every channel again.
    pub fn accept(&self) {
        self.gateway().refusing.clear();
    }

    /// Takes this long for each write from now on.
    pub fn be_slow(&self, slowness: Duration) {
        self.gateway().slowness = slowness;
    }

    /// Answers writes without the channel from now on.
    pub fn be_terse(&self) {
        self.gateway().is_terse = true;
    }

    /// The access token's user is one like any other from now on.
    pub fn demote(&self) {
        self.gateway().is_administrator = false;
    }
}

impl Drop for AdminApi {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

type Shared = State<Arc<Mutex<Gateway>>>;
type Answer = (StatusCode, String);

fn success(data: &Value) -> Answer {
    (StatusCode::OK, json!({ "success": true, "message": "", "data": data }).to_string())
}

fn failure(message: &str) -> Answer {
    (StatusCode::OK, json!({ "success": false, "message": message }).to_string())
}

impl Gateway {
    fn connect(&self) -> Connection {
        let connection = Connection::open(&self.database).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection
    }

    fn reload(&mut self) {
        let deleted = if self.program == Program::OneHub { "AND deleted_at IS NULL" } else { "" };
        let connection = self.connect();
        let sql = format!("SELECT id, key FROM channels WHERE status = 1 {deleted}");
        let mut statement = connection.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        self.memory = rows.map(Result::unwrap).collect();
    }

    /// Channels as the API shows them, with their keys.
    fn channels(&self, which: &str) -> Vec<Value> {
        let deleted = if self.program == Program::OneHub { "AND deleted_at IS NULL" } else { "" };
        let connection = self.connect();
        let mut statement =
            connection.prepare(&format!("SELECT * FROM channels WHERE {which} {deleted} ORDER BY id DESC")).unwrap();
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let rows = statement.query_map([], |row| {
            let mut channel = Map::new();
            for (at, name) in names.iter().enumerate().filter(|(_, name)| *name != "deleted_at") {
                let value = match row.get_ref(at)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(number) => number.into(),
                    ValueRef::Real(number) => number.into(),
                    ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
                    // `channel_info` is a BLOB of JSON, and shown as JSON.
                    ValueRef::Blob(bytes) => serde_json::from_slice(bytes).unwrap_or_default(),
                };
                channel.insert(name.clone(), value);
            }
            Ok(Value::Object(channel))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// What stops a request before it reaches its route.
    fn gate(&mut self, request: String, headers: &HeaderMap) -> Option<Answer> {
        self.requests.push(request);
        match &mut self.broken {
            Some((0, status, body)) => return Some((StatusCode::from_u16(*status).unwrap(), body.clone())),
            Some((left, ..)) => *left -= 1,
            None => {}
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if header("authorization") != token() {
            return Some(failure("无权进行此操作，access token 无效"));
        }
        if self.program.is_new_api() && header("new-api-user") != USER.to_string() {
            let message = match header("new-api-user") {
                "" => "无权进行此操作，未提供 New-Api-User",
                _ => "无权进行此操作，与登录用户不匹配，请检查 New-Api-User",
            };
            return Some((StatusCode::UNAUTHORIZED, failure(message).1));
        }
        (!self.is_administrator).then(|| failure("无权进行此操作，权限不足"))
    }

    fn has(&self, id: i64) -> bool {
        !self.channels(&format!("id = {id}")).is_empty()
    }

    fn refuses(&self, id: i64, status: bool) -> Option<Answer> {
        let refused = match self.refusing.get(&id)? {
            Refusing::Everything => true,
            Refusing::Status => status,
        };
        refused.then(|| failure(&format!("cannot write {SENTINEL}")))
    }

    fn set(&self, id: i64, column: &str, value: &Value) -> usize {
        let value = match value {
            Value::String(text) => rusqlite::types::Value::Text(text.clone()),
            other => rusqlite::types::Value::Integer(other.as_i64().unwrap()),
        };
        let sql = format!("UPDATE channels SET \"{column}\" = ?2 WHERE id = ?1");
        self.connect().execute(&sql, (id, value)).unwrap()
    }
}

fn without_key(mut channel: Value) -> Value {
    channel["key"] = "".into();
    channel
}

async fn list(State(gateway): Shared, headers: HeaderMap, uri: Uri) -> Answer {
    let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let query: BTreeMap<String, String> = query.into_owned().collect();
    let mut gateway = gateway.lock().unwrap();
    if let Some(stopped) = gateway.gate("GET /api/channel/".into(), &headers) {
        return stopped;
    }
    let number = |name: &str, or: usize| query.get(name).and_then(|text| text.parse().ok()).unwrap_or(or);
    let (page, size) = match gateway.program {
        Program::OneApi => (number("p", 0), 2),
        Program::NewApi2025 => (number("p", 0), 3),
        Program::NewApi2026 => (number("p", 1).max(1) - 1, 3),
        Program::OneHub => (number("page", 1).max(1) - 1, 3),
    };
    let all = gateway.channels("1 = 1");
    let total = all.len();
    let shown: Vec<Value> = all.into_iter().skip(page * size).take(size).map(without_key).collect();
    match gateway.program {
        Program::OneApi | Program::NewApi2025 => success(&shown.into()),
        Program::NewApi2026 => success(&json!({ "items": shown, "total": total, "page": page + 1 })),
        Program::OneHub => success(&json!({ "data": shown, "page": page + 1, "size": size, "total_count": total })),
    }
}

async fn channel(State(gateway): Shared, headers: HeaderMap, Path(id): Path<i64>) -> Answer {
    let mut gateway = gateway.lock().unwrap();
    if let Some(stopped) = gateway.gate(format!("GET /api/channel/{id}"), &headers) {
        return stopped;
    }
    match gateway.channels(&format!("id = {id}")).pop() {
        Some(channel) => success(&without_key(channel)),
        None => failure("record not found"),
    }
}

async fn update(State(gateway): Shared, headers: HeaderMap, body: Bytes) -> Answer {
    let slowness = gateway.lock().unwrap().slowness;
    tokio::time::sleep(slowness).await;
    let mut gateway = gateway.lock().unwrap();
    let sent: Option<Map<String, Value>> = serde_json::from_slice(&body).ok();
    let id = sent.as_ref().and_then(|sent| sent.get("id")?.as_i64()).unwrap_or_default();
    let fields = sent.iter().flat_map(Map::keys).filter(|field| *field != "id");
    let request = fields.fold(format!("PUT /api/channel/ {id}"), |request, field| request + " " + field);
    if let Some(stopped) = gateway.gate(request, &headers) {
        return stopped;
    }
    let Some(sent) = sent else { return failure("invalid character") };
    if let Some(refused) = gateway.refuses(id, sent.contains_key("status")) {
        return refused;
    }
    if gateway.program == Program::NewApi2026 && sent.contains_key("status") {
        return failure("channel status cannot be changed here");
    }
    if gateway.program == Program::OneHub && sent.contains_key("models") {
        for column in ["base_url", "name", "group"].iter().filter(|column| !sent.contains_key(**column)) {
            gateway.set(id, column, &json!(""));
        }
    }
    for (column, value) in sent.iter().filter(|(column, _)| *column != "id") {
        gateway.set(id, column, value);
    }
    if !gateway.has(id) {
        if gateway.program == Program::NewApi2026 {
            return failure("record not found");
        }
        gateway.junk.insert(id);
        return success(&Value::Object(sent));
    }
    if gateway.program != Program::OneHub && sent.get("status") == Some(&json!(1)) {
        let sql = "UPDATE abilities SET enabled = 1 WHERE channel_id = ?1";
        gateway.connect().execute(sql, [id]).unwrap();
    }
    if matches!(gateway.program, Program::NewApi2026 | Program::OneHub) {
        gateway.reload();
    }
    if gateway.is_terse {
        return (StatusCode::OK, json!({ "success": true, "message": "" }).to_string());
    }
    // The whole channel, its key included.
    success(&gateway.channels(&format!("id = {id}")).pop().unwrap())
}

/// A status that is set to what it is changes nothing, and nothing is loaded for it.
async fn set_status(State(gateway): Shared, headers: HeaderMap, Path(id): Path<String>, body: Bytes) -> Answer {
    let mut gateway = gateway.lock().unwrap();
    let stopped = gateway.gate(format!("POST /api/channel/{id}/status"), &headers);
    if gateway.program != Program::NewApi2026 {
        return (StatusCode::NOT_FOUND, "404 page not found".into());
    }
    if let Some(stopped) = stopped {
        return stopped;
    }
    let Ok(id) = id.parse() else { return failure("无效的参数") };
    let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(refused) = gateway.refuses(id, true) {
        return refused;
    }
    let channel = gateway.channels(&format!("id = {id}")).pop();
    let changes = channel.is_some_and(|channel| channel["status"] != sent["status"]);
    if changes {
        gateway.set(id, "status", &sent["status"]);
        let sql = "UPDATE abilities SET enabled = ?2 WHERE channel_id = ?1";
        gateway.connect().execute(sql, (id, sent["status"] == json!(1))).unwrap();
        gateway.reload();
    }
    success(&changes.into())
}
