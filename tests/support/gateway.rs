//! Gateways for tests: copies of databases that real ones made, snapshots of every value in them, and a program that
//! reads and writes them as One-API does.
//!
//! Each file in `tests/` that uses it takes what it needs.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use one_api_sidecar::channel::view::ChannelView;
use one_api_sidecar::config::plan::{
    CacheLag, ChannelSelect, DEFAULT_GATEWAY, Database as Place, GatewayPlan, OnForeignKey,
};
use one_api_sidecar::gateway::{Gateway, GatewayError, Publication, Published};
use one_api_sidecar::reason::GatewayReason;
use one_api_sidecar::secret::Secret;
use rusqlite::{Connection, OptionalExtension};
use tempfile::TempDir;

/// A database in a folder of its own, both gone when it is dropped.
pub struct Database {
    folder: TempDir,
    path: PathBuf,
}

impl Database {
    /// A copy of one of `tests/fixtures`.
    pub fn fixture(name: &str) -> Self {
        let database = Self::absent();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        std::fs::copy(fixture, &database.path).unwrap();
        database
    }

    /// The place for a database that is not there.
    pub fn absent() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("one-api.db");
        Self { folder, path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The names of the files in its folder.
    pub fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A plan for it, everything at its default.
    pub fn plan(&self) -> GatewayPlan {
        plan(&self.path)
    }

    /// A connection as the gateway itself has it.
    pub fn connect(&self) -> Connection {
        connect(&self.path)
    }

    /// Runs statements as the gateway would.
    pub fn run(&self, sql: &str) {
        self.connect().execute_batch(sql).unwrap();
    }

    pub fn key(&self, id: i64) -> String {
        let sql = "SELECT key FROM channels WHERE id = ?1";
        self.connect().query_row(sql, [id], |row| row.get(0)).unwrap()
    }

    /// A copy of what a kill in the middle of a big transaction leaves: pages of it in the file, and the journal that
    /// undoes them.
    pub fn as_a_kill_would_leave_it(&self) -> Self {
        let crashing = self.connect();
        // A cache this small spills into the file before the commit.
        crashing.execute_batch("PRAGMA cache_size = 2; BEGIN IMMEDIATE").unwrap();
        for _ in 0..200 {
            crashing
                .execute_batch(
                    "INSERT INTO logs (content) VALUES (hex(randomblob(500)));
                     UPDATE channels SET key = 'half-written', other = hex(randomblob(500));",
                )
                .unwrap();
        }
        let crashed = Self::absent();
        std::fs::copy(&self.path, &crashed.path).unwrap();
        std::fs::copy(self.path.with_extension("db-journal"), crashed.path.with_extension("db-journal")).unwrap();
        crashed
    }

    pub fn integrity(&self) -> String {
        self.connect().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
    }
}

/// One channel.
pub fn look(gateway: &mut dyn Gateway, id: i64) -> ChannelView {
    let mut views = gateway.observe(&[ChannelSelect::Id(id)]).unwrap();
    assert_eq!(views.len(), 1, "channel {id}");
    views.remove(0)
}

/// The key that a look showed.
pub fn key(view: &ChannelView) -> &str {
    view.key.as_ref().expect("a database shows its keys").expose()
}

/// A key for the channel that was looked at.
pub fn publication(view: &ChannelView, key: &str) -> Publication {
    Publication {
        id: view.id,
        created_time: view.created_time,
        expected: view.key.clone(),
        key: Secret::new(key),
        reenable: true,
        gives_back: false,
    }
}

/// Writes one key.
pub fn publish(gateway: &mut dyn Gateway, publication: &Publication) -> Result<Published, GatewayError> {
    let mut answers = gateway.publish(std::slice::from_ref(publication));
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

/// Looks at a channel and writes a key into it.
pub fn feed(gateway: &mut dyn Gateway, id: i64, key: &str) -> Result<Published, GatewayError> {
    let view = look(gateway, id);
    publish(gateway, &publication(&view, key))
}

/// Why the database as a whole refused.
pub fn database_reason<T: std::fmt::Debug>(outcome: Result<T, GatewayError>) -> GatewayReason {
    match outcome {
        Err(GatewayError::Database(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// A plan with every default of the config.
pub fn plan(database: &Path) -> GatewayPlan {
    GatewayPlan {
        name: DEFAULT_GATEWAY.into(),
        database: Place::File(database.to_owned()),
        api: None,
        kind: None,
        cache_lag: CacheLag::ByKind,
        busy_timeout: Duration::from_secs(10),
        on_foreign_key: OnForeignKey::Report,
        reenable: true,
        allow_filesystem: Vec::new(),
    }
}

/// Opened as mattn's go-sqlite3 opens it for One-API: a busy timeout of 3 s, deferred transactions.
pub fn connect(database: &Path) -> Connection {
    let connection = Connection::open(database).unwrap();
    connection.busy_timeout(Duration::from_secs(3)).unwrap();
    connection
}

/// How many descriptors of this process lead to a file.
pub fn times_open(path: &Path) -> usize {
    times_open_in(std::process::id(), path)
}

/// How often a process has a file open.
pub fn times_open_in(process: u32, path: &Path) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target == path).count()
}

/// Every value of every table: `channels[1].key` → `'…'` (the row by its rowid).
pub fn snapshot_all_rows(database: &Path) -> BTreeMap<String, String> {
    let connection = connect(database);
    let tables: Vec<String> = column(&connection, "SELECT name FROM sqlite_master WHERE type = 'table'");
    assert!(!tables.is_empty(), "no tables in {}", database.display());
    let mut values = BTreeMap::new();
    for table in tables {
        let columns: Vec<String> = column(&connection, &format!("SELECT name FROM pragma_table_info('{table}')"));
        let quoted: Vec<_> = columns.iter().map(|column| format!("quote(\"{column}\")")).collect();
        let sql = format!("SELECT rowid, {} FROM \"{table}\"", quoted.join(", "));
        let mut statement = connection.prepare(&sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let rowid: i64 = row.get(0).unwrap();
            for (at, column) in columns.iter().enumerate() {
                values.insert(format!("{table}[{rowid}].{column}"), row.get(at + 1).unwrap());
            }
        }
    }
    assert!(!values.is_empty(), "no rows in {}", database.display());
    values
}

/// What changed between two snapshots, a line each: `channels[1].key: 'old' -> 'new'`.
pub fn differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: Vec<_> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let shown = |values: &BTreeMap<String, String>, name| values.get(name).map_or("-".to_owned(), Clone::clone);
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| format!("{name}: {} -> {}", shown(before, name), shown(after, name)))
        .collect()
}

fn column(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// How a request that the gateway routed came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routed {
    /// Channel `id` served it.
    Served(i64),
    /// The upstream answered 401 to the key of channel `id`; the gateway has disabled the channel.
    Refused(i64),
    /// No enabled channel (503).
    NoChannel,
}

/// One-API with its memory cache off: it reads the key for each request.
///
/// Source: `model/ability.go` (`GetRandomSatisfiedChannel`), `model/channel.go` (`UpdateChannelStatusById`) and
/// `monitor/channel.go` (`DisableChannel`) of one-api.
pub struct OneApi {
    connection: Connection,
}

impl OneApi {
    pub fn open(database: &Path) -> Self {
        Self { connection: connect(database) }
    }

    /// Routes a request; `upstream` says whether it takes the key.
    pub fn request(&self, group: &str, model: &str, upstream: impl Fn(&str) -> bool) -> Routed {
        const ROUTE: &str = r#"SELECT channel_id FROM abilities WHERE "group" = ?1 AND model = ?2 AND enabled = 1
            ORDER BY priority DESC, random() LIMIT 1"#;
        let routed = self.connection.query_row(ROUTE, [group, model], |row| row.get(0)).optional().unwrap();
        let Some(id) = routed else { return Routed::NoChannel };
        let sql = "SELECT key FROM channels WHERE id = ?1";
        let key: String = self.connection.query_row(sql, [id], |row| row.get(0)).unwrap();
        if upstream(&key) {
            return Routed::Served(id);
        }
        self.disable(id);
        Routed::Refused(id)
    }

    /// What a 401 does, in two transactions as One-API does it.
    pub fn disable(&self, id: i64) {
        self.connection.execute("UPDATE abilities SET enabled = 0 WHERE channel_id = ?1", [id]).unwrap();
        self.connection.execute("UPDATE channels SET status = 3 WHERE id = ?1", [id]).unwrap();
    }
}

/// Connections that write five small transactions a request, as a busy gateway does.
pub struct Writers {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    locked: AtomicU64,
}

impl Writers {
    /// Starts this many connections; `upstream` is how long each waits for the answer that it then accounts for.
    ///
    /// Without such a wait they lock out each other, with nobody else there: SQLite's own busy handler sleeps up to
    /// 100 ms at a time and starves.
    pub fn start(database: &Path, connections: usize, upstream: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Counts::default());
        let threads = (0..connections)
            .map(|_| {
                let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
                let connection = connect(database);
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        std::thread::sleep(upstream);
                        let locked = completed_request(&connection);
                        counts.locked.fetch_add(locked, Ordering::Relaxed);
                        counts.requests.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        Self { stop, counts, threads }
    }

    /// Requests completed so far.
    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// Stops them: requests completed, and how many of their writes met "database is locked".
    pub fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        (self.counts.requests.load(Ordering::Relaxed), self.counts.locked.load(Ordering::Relaxed))
    }
}

/// The five writes of a completed request, each in a deferred transaction as gorm makes it; how many were locked out.
fn completed_request(connection: &Connection) -> u64 {
    const WRITES: [&str; 5] = [
        "UPDATE users SET quota = quota - 1 WHERE id = 1",
        "UPDATE tokens SET remain_quota = remain_quota - 1, used_quota = used_quota + 1 WHERE id = 1",
        "INSERT INTO logs (user_id, created_at, type, content) VALUES (1, 1, 2, 'a request')",
        "UPDATE users SET used_quota = used_quota + 1, request_count = request_count + 1 WHERE id = 1",
        "UPDATE channels SET used_quota = used_quota + 1 WHERE id = 1",
    ];
    let mut locked = 0;
    for write in WRITES {
        if let Err(error) = connection.execute_batch(&format!("BEGIN; {write}; COMMIT")) {
            assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy), "{error}");
            if !connection.is_autocommit() {
                connection.execute_batch("ROLLBACK").unwrap();
            }
            locked += 1;
        }
    }
    locked
}
