//! One gateway database on any of the engines that gateways run on: a copy of a SQLite file, or a database of its own on a
//! real MariaDB or PostgreSQL.
//!
//! The servers are Debian's (`mariadb-server-core`, `mariadb-client-core`, `postgresql`), one of each for a test binary,
//! started on loopback in a temporary folder as an unprivileged user and gone when the binary ends, however it ends. Where
//! they are missing the tests are skipped by name, unless `REQUIRE_SERVERS=1` (as in CI) makes that a failure.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use one_api_sidecar::config::plan::Database as Place;
use one_api_sidecar::config::plan::GatewayPlan;
use one_api_sidecar::gateway::{self, Gateway};
use one_api_sidecar::secret::{Secret, SecretSource};
use serde_json::Value;

use super::gateway::{Database, differences, plan, snapshot_all_rows};
use super::{SENTINEL, eventually};

/// What a gateway keeps its channels in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    MariaDb,
    Postgres,
}

impl Engine {
    /// Whether it is here; says who misses it.
    pub fn is_here(self, test: &str) -> bool {
        let here = match self {
            Self::Sqlite => true,
            Self::MariaDb => program("mariadbd").is_some() && program("mariadb-install-db").is_some(),
            Self::Postgres => program("postgres").is_some() && program("psql").is_some(),
        };
        if !here {
            let required = std::env::var("REQUIRE_SERVERS").is_ok_and(|value| value == "1");
            assert!(!required, "REQUIRE_SERVERS=1, and {self:?} is not here");
            eprintln!("skipped: {test} wants {self:?} (Debian: mariadb-server-core mariadb-client-core postgresql)");
        }
        here
    }

    /// The server of this test binary.
    pub fn server(self) -> &'static Server {
        static MARIADB: OnceLock<Server> = OnceLock::new();
        static POSTGRES: OnceLock<Server> = OnceLock::new();
        match self {
            Self::Sqlite => panic!("SQLite has no server"),
            Self::MariaDb => MARIADB.get_or_init(|| Server::start(self)),
            Self::Postgres => POSTGRES.get_or_init(|| Server::start(self)),
        }
    }
}

/// Runs each test on each engine, as `NAME::sqlite`, `NAME::mariadb` and `NAME::postgres`.
#[macro_export]
macro_rules! on_every_engine {
    ($($(#[$meta:meta])* fn $name:ident($engine:ident) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;
            use $crate::support::engines::Engine;

            fn run($engine: Engine) $body

            #[test]
            fn sqlite() {
                run(Engine::Sqlite);
            }

            #[test]
            fn mariadb() {
                if Engine::MariaDb.is_here(stringify!($name)) {
                    run(Engine::MariaDb);
                }
            }

            #[test]
            fn postgres() {
                if Engine::Postgres.is_here(stringify!($name)) {
                    run(Engine::Postgres);
                }
            }
        }
    )*};
}

/// Runs each test on each server, as `NAME::mariadb` and `NAME::postgres`.
#[macro_export]
macro_rules! on_every_server {
    ($($(#[$meta:meta])* fn $name:ident($engine:ident) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;
            use $crate::support::engines::Engine;

            fn run($engine: Engine) $body

            #[test]
            fn mariadb() {
                if Engine::MariaDb.is_here(stringify!($name)) {
                    run(Engine::MariaDb);
                }
            }

            #[test]
            fn postgres() {
                if Engine::Postgres.is_here(stringify!($name)) {
                    run(Engine::Postgres);
                }
            }
        }
    )*};
}

/// Whose tables they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    OneApi,
    NewApi,
}

pub const FORKS: [Fork; 2] = [Fork::OneApi, Fork::NewApi];

/// A gateway's database on some engine.
pub struct Store {
    pub engine: Engine,
    home: Home,
}

enum Home {
    File(Database),
    Server { server: Arc<Handle>, database: String },
}

/// A server that is the binary's, or a test's own.
enum Handle {
    Shared(&'static Server),
    Own(Server),
}

impl std::ops::Deref for Handle {
    type Target = Server;

    fn deref(&self) -> &Server {
        match self {
            Self::Shared(server) => server,
            Self::Own(server) => server,
        }
    }
}

impl Store {
    /// A copy of what a real gateway made.
    pub fn fixture(engine: Engine, fork: Fork) -> Self {
        let store = Self::empty(engine);
        let name = match (engine, fork) {
            (Engine::Sqlite, Fork::OneApi) => "one-api.db",
            (Engine::Sqlite, Fork::NewApi) => "new-api-2026.db",
            (Engine::MariaDb, Fork::OneApi) => "one-api.mysql.sql",
            (Engine::MariaDb, Fork::NewApi) => "new-api-2026.mysql.sql",
            (Engine::Postgres, Fork::OneApi) => "one-api.postgres.sql",
            (Engine::Postgres, Fork::NewApi) => "new-api-2026.postgres.sql",
        };
        match &store.home {
            Home::File(_) => Self { engine, home: Home::File(Database::fixture(name)) },
            Home::Server { server, database } => {
                let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
                server.run(database, &std::fs::read_to_string(fixture).unwrap());
                store
            }
        }
    }

    /// A database without tables (no file, on SQLite).
    pub fn empty(engine: Engine) -> Self {
        if engine == Engine::Sqlite {
            return Self { engine, home: Home::File(Database::absent()) };
        }
        Self::on(engine, Arc::new(Handle::Shared(engine.server())))
    }

    /// What a real One-API made, on a server of the test's own, which may be killed.
    pub fn on_its_own_server(engine: Engine) -> Self {
        Self::on_server(Server::start(engine))
    }

    /// The same on a server that lets nobody in over the network without TLS, with this certificate and key in PEM.
    pub fn on_a_server_with_tls(engine: Engine, certificate: &str, key: &str) -> Self {
        Self::on_server(Server::start_with(engine, Some((certificate, key))))
    }

    fn on_server(server: Server) -> Self {
        let engine = server.engine;
        let store = Self::on(engine, Arc::new(Handle::Own(server)));
        let name = if engine == Engine::MariaDb { "one-api.mysql.sql" } else { "one-api.postgres.sql" };
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        store.run(&std::fs::read_to_string(fixture).unwrap());
        store
    }

    fn on(engine: Engine, server: Arc<Handle>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let database = format!("oneapi_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        server.create(&database);
        Self { engine, home: Home::Server { server, database } }
    }

    pub fn server(&self) -> &Server {
        match &self.home {
            Home::File(_) => panic!("SQLite has no server"),
            Home::Server { server, .. } => server,
        }
    }

    /// The database's name on its server.
    pub fn database(&self) -> &str {
        match &self.home {
            Home::File(_) => panic!("SQLite has no server"),
            Home::Server { database, .. } => database,
        }
    }

    /// The address as the gateway's SQL_DSN has it, with this user, this password and what follows.
    pub fn dsn_of(&self, user: &str, password: &str, more: &str) -> String {
        let (port, database) = (self.server().port, self.database());
        match self.engine {
            Engine::MariaDb => format!("{user}:{password}@tcp(127.0.0.1:{port})/{database}{more}"),
            _ => format!("postgres://{user}:{password}@127.0.0.1:{port}/{database}{more}"),
        }
    }

    /// The address that the gateway uses.
    pub fn dsn(&self) -> String {
        self.dsn_of(USER, PASSWORD, "")
    }

    /// The address as it may be shown.
    pub fn shown(&self) -> String {
        match &self.home {
            Home::File(file) => file.path().display().to_string(),
            Home::Server { server, database } => format!("{}://127.0.0.1:{}/{database}", server.scheme(), server.port),
        }
    }

    /// A plan for it, everything at its default.
    pub fn plan(&self) -> GatewayPlan {
        match &self.home {
            Home::File(file) => file.plan(),
            Home::Server { .. } => plan_of(&self.dsn()),
        }
    }

    /// The way in.
    pub fn gateway(&self) -> Box<dyn Gateway> {
        gateway::open(&Arc::new(self.plan()))
    }

    /// The way in, with another plan.
    pub fn gateway_with(&self, change: impl FnOnce(&mut GatewayPlan)) -> Box<dyn Gateway> {
        let mut plan = self.plan();
        change(&mut plan);
        gateway::open(&Arc::new(plan))
    }

    /// Runs statements as the gateway would; `{key}` and `{group}` are those columns, quoted.
    pub fn run(&self, sql: &str) {
        let sql = self.engine.quoted(sql);
        match &self.home {
            Home::File(file) => file.run(&sql),
            Home::Server { server, database } => drop(server.run(database, &sql)),
        }
    }

    /// What a query brings: a line a row.
    pub fn query(&self, sql: &str) -> String {
        let sql = self.engine.quoted(sql);
        match &self.home {
            Home::File(file) => file.connect().query_row(&sql, [], |row| row.get::<_, String>(0)).unwrap(),
            Home::Server { server, database } => server.run(database, &sql).trim_end().to_owned(),
        }
    }

    pub fn key(&self, id: i64) -> String {
        self.query(&format!("SELECT {{key}} FROM channels WHERE id = {id}"))
    }

    /// Every value of `channels` and `abilities` (on SQLite, of every table).
    pub fn snapshot(&self) -> BTreeMap<String, String> {
        match &self.home {
            Home::File(file) => snapshot_all_rows(file.path()),
            Home::Server { server, database } => server.snapshot(database),
        }
    }

    /// What changed since a snapshot, a line each.
    pub fn changed_since(&self, before: &BTreeMap<String, String>) -> Vec<String> {
        differences(before, &self.snapshot())
    }

    /// Holds these channels (the whole database, on SQLite) until the lock is dropped.
    pub fn lock(&self, channels: &str) -> Lock {
        match &self.home {
            Home::File(file) => {
                let connection = file.connect();
                connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
                Lock::File(connection)
            }
            Home::Server { .. } => {
                let mut session = self.session();
                session.ask(&format!("BEGIN; SELECT id FROM channels WHERE id IN ({channels}) FOR UPDATE"));
                Lock::Session(session)
            }
        }
    }

    /// A session that stays open.
    pub fn session(&self) -> Session {
        let mut client = self.server().client(self.database());
        let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Session { stdin: child.stdin.take().unwrap(), stdout, child }
    }
}

/// A plan for the address of a server.
pub fn plan_of(dsn: &str) -> GatewayPlan {
    GatewayPlan { database: Place::Server(SecretSource::Value(Secret::new(dsn))), ..plan(Path::new("/")) }
}

impl Engine {
    fn quoted(self, sql: &str) -> String {
        let quote = if self == Self::MariaDb { "`" } else { "\"" };
        let quoted = |word: &str| format!("{quote}{word}{quote}");
        sql.replace("{key}", &quoted("key")).replace("{group}", &quoted("group"))
    }
}

/// Held until it is dropped.
pub enum Lock {
    File(rusqlite::Connection),
    Session(Session),
}

impl Drop for Lock {
    fn drop(&mut self) {
        match self {
            Self::File(connection) => connection.execute_batch("ROLLBACK").unwrap(),
            Self::Session(session) => drop(session.ask("ROLLBACK")),
        }
    }
}

/// A client of a server that stays connected.
pub struct Session {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Session {
    /// Starts statements, and does not wait for them.
    pub fn tell(&mut self, sql: &str) {
        writeln!(self.stdin, "{sql};").unwrap();
    }

    /// Runs statements to their end; their rows, a line each.
    pub fn ask(&mut self, sql: &str) -> Vec<String> {
        const END: &str = "that-was-all";
        self.tell(sql);
        self.tell(&format!("SELECT '{END}'"));
        let lines = (&mut self.stdout).lines().map(Result::unwrap);
        lines.take_while(|line| line != END).collect()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub const USER: &str = "oneapi";
/// A sentinel: it must never be seen in any output.
pub const PASSWORD: &str = "sentinel-5d3b9f-dsn";
/// nobody and nogroup: both servers refuse to run as root.
const NOBODY: u32 = 65534;

/// A database server on loopback.
pub struct Server {
    engine: Engine,
    folder: PathBuf,
    pub port: u16,
    more: Vec<String>,
    process: Mutex<Child>,
    /// Ends the server and removes its folder when this process ends, however it ends.
    guard: Child,
}

impl Server {
    fn start(engine: Engine) -> Self {
        Self::start_with(engine, None)
    }

    fn start_with(engine: Engine, tls: Option<(&str, &str)>) -> Self {
        let folder = tempfile::Builder::new().prefix("gateway-server-").tempdir().unwrap().keep();
        if is_root() {
            std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let guard = "read -r _; kill -QUIT $(cat \"$0/pid\") 2>/dev/null
                     while kill -0 $(cat \"$0/pid\") 2>/dev/null; do sleep 0.1; done; rm -rf \"$0\"";
        let guard = Command::new("sh").args(["-c", guard]).arg(&folder).stdin(Stdio::piped()).spawn().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        match engine {
            Engine::MariaDb => unprivileged("mariadb-install-db", |install| {
                install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
                install.arg(format!("--datadir={}", folder.join("data").display()));
            }),
            _ => unprivileged("initdb", |initdb| {
                initdb.arg("-D").arg(folder.join("data")).args([
                    "-U",
                    "postgres",
                    "-E",
                    "UTF8",
                    "--locale=C",
                    "--no-sync",
                ]);
                initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256"]);
            }),
        }
        let more = tls.map(|(certificate, key)| with_tls(engine, &folder, certificate, key)).unwrap_or_default();
        let process = Mutex::new(launch(engine, &folder, port, &more));
        let server = Self { engine, folder, port, more, process, guard };
        server.wait_until_ready();
        let login = match engine {
            Engine::MariaDb => format!("CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'"),
            _ => format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'"),
        };
        server.administer(&login);
        server
    }

    fn wait_until_ready(&self) {
        let ready = || TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.answers();
        assert!(eventually(Duration::from_secs(60), ready), "{:?} does not start: {}", self.engine, self.log());
    }

    fn answers(&self) -> bool {
        let mut client = self.admin_client();
        let client = client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        client.args([if self.engine == Engine::MariaDb { "-e" } else { "-c" }, "SELECT 1"]).status().unwrap().success()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn scheme(&self) -> &'static str {
        if self.engine == Engine::MariaDb { "mysql" } else { "postgres" }
    }

    /// Ends it as a power cut does.
    pub fn kill(&self) {
        let mut process = self.process.lock().unwrap();
        // The others of PostgreSQL's processes outlive a killed first one for a moment; this ends them all at once.
        let signal = if self.engine == Engine::MariaDb { "-KILL" } else { "-QUIT" };
        let killed = Command::new("kill").args([signal, &process.id().to_string()]).status().unwrap();
        assert!(killed.success());
        process.wait().unwrap();
    }

    /// Starts it again, on what it left.
    pub fn restart(&self) {
        *self.process.lock().unwrap() = launch(self.engine, &self.folder, self.port, &self.more);
        self.wait_until_ready();
    }

    fn create(&self, database: &str) {
        match self.engine {
            Engine::MariaDb => self.administer(&format!(
                "CREATE DATABASE {database} CHARACTER SET utf8mb4; GRANT ALL ON {database}.* TO {USER}@'%'"
            )),
            _ => self.administer(&format!("CREATE DATABASE {database} OWNER {USER}")),
        };
    }

    /// Runs statements as the server's administrator.
    pub fn administer(&self, sql: &str) -> String {
        fed(self.admin_client(), sql)
    }

    fn run(&self, database: &str, sql: &str) -> String {
        fed(self.client(database), sql)
    }

    fn admin_client(&self) -> Command {
        match self.engine {
            Engine::MariaDb => {
                let mut client = Command::new("mariadb");
                client.args(["--no-defaults", "-u", "root", "-N", "-B", "-n", "--raw"]);
                client.arg(format!("--socket={}", self.folder.join("socket").display()));
                client.arg("--default-character-set=utf8mb4");
                client
            }
            _ => {
                let mut client = Command::new(program("psql").unwrap());
                client.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-p", &self.port.to_string()]);
                client.arg("-h").arg(&self.folder).args(["-U", "postgres"]);
                client
            }
        }
    }

    /// A client in a database, as the gateway's user on PostgreSQL (it owns what it makes).
    fn client(&self, database: &str) -> Command {
        let mut client = self.admin_client();
        match self.engine {
            Engine::MariaDb => client.arg(database),
            _ => client.args(["-U", USER, "-d", database]),
        };
        client
    }

    fn snapshot(&self, database: &str) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        for (table, name) in [("channels", "id"), ("abilities", "model")] {
            for line in self.run(database, &self.as_json(database, table)).lines() {
                let row: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
                let id = row[name].to_string().trim_matches('"').to_owned();
                let id = row
                    .get("group")
                    .filter(|_| table == "abilities")
                    .map_or(id.clone(), |group| format!("{}/{id}", group.as_str().unwrap_or_default()));
                for (column, value) in row {
                    let shown = match value {
                        Value::String(text) => format!("'{text}'"),
                        // tinyint and boolean alike.
                        Value::Bool(flag) => u8::from(flag).to_string(),
                        other => other.to_string(),
                    };
                    values.insert(format!("{table}[{id}].{column}"), shown);
                }
            }
        }
        assert!(!values.is_empty(), "no rows in {database}");
        values
    }

    /// A query that brings each row of a table as JSON.
    fn as_json(&self, database: &str, table: &str) -> String {
        if self.engine == Engine::Postgres {
            return format!("SELECT row_to_json(t) FROM {table} t");
        }
        let columns = self.run(
            database,
            &format!(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = '{database}'
                 AND table_name = '{table}'"
            ),
        );
        let pairs: Vec<String> = columns.lines().map(|column| format!("'{column}', `{column}`")).collect();
        format!("SELECT JSON_OBJECT({}) FROM {table}", pairs.join(", "))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let process = self.process.get_mut().unwrap();
        let _ = (process.wait(), self.guard.wait());
    }
}

/// Runs a client to its end on these statements.
fn fed(mut client: Command, sql: &str) -> String {
    let client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = client.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let end = if sql.trim_end().ends_with(';') { "\n" } else { ";\n" };
    let sql = format!("{sql}{end}");
    let feeding = std::thread::spawn(move || stdin.write_all(sql.as_bytes()));
    let output = child.wait_with_output().unwrap();
    // A client that has given up reads no more; its status says so.
    let _ = feeding.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Puts certificate and key where the server finds them; what it is to be started with.
fn with_tls(engine: Engine, folder: &Path, certificate: &str, key: &str) -> Vec<String> {
    let paths = [("server.pem", certificate), ("server.key", key)].map(|(name, pem)| {
        let path = folder.join(name);
        std::fs::write(&path, pem).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        path.display().to_string()
    });
    let [certificate, key] = paths;
    if engine == Engine::MariaDb {
        let certificate = format!("--ssl-cert={certificate}");
        return vec![certificate, format!("--ssl-key={key}"), "--require-secure-transport=ON".to_owned()];
    }
    let local = "local all all trust\nhostssl all all all scram-sha-256\n";
    std::fs::write(folder.join("data/pg_hba.conf"), local).unwrap();
    let settings = ["ssl=on".to_owned(), format!("ssl_cert_file={certificate}"), format!("ssl_key_file={key}")];
    settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect()
}

fn launch(engine: Engine, folder: &Path, port: u16, more: &[String]) -> Child {
    let log = std::fs::File::options().append(true).create(true).open(folder.join("log")).unwrap();
    let name = if engine == Engine::MariaDb { "mariadbd" } else { "postgres" };
    let mut server = as_nobody(&program(name).unwrap());
    match engine {
        Engine::MariaDb => {
            server.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-log-bin", "--performance-schema=OFF"]);
            server.args(["--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=2"]);
            server.arg(format!("--port={port}"));
            server.arg(format!("--socket={}", folder.join("socket").display()));
            server.arg(format!("--pid-file={}", folder.join("mariadbd.pid").display()));
        }
        _ => {
            server.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=16MB"]);
            server.args(["-k"]).arg(folder).args(["-p", &port.to_string()]);
        }
    }
    let data = folder.join("data");
    let data = if engine == Engine::MariaDb {
        format!("--datadir={}", data.display())
    } else {
        format!("-D{}", data.display())
    };
    let child =
        server.arg(data).args(more).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    std::fs::write(folder.join("pid"), child.id().to_string()).unwrap();
    child
}

fn unprivileged(name: &str, arguments: impl FnOnce(&mut Command)) {
    let mut command = as_nobody(&program(name).unwrap_or_else(|| panic!("{name} is not here")));
    arguments(&mut command);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A program that runs as nobody, where we are root.
fn as_nobody(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let nobody = NOBODY.to_string();
    command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]).arg(program).current_dir("/");
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program of the PATH, or where Debian puts those that need no PATH.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    let releases = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut releases: Vec<PathBuf> = releases.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect();
    releases.sort();
    folders.extend(releases.into_iter().rev());
    folders.into_iter().map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Whether any secret of a test's server stands in a text.
pub fn has_password(text: &str) -> bool {
    text.contains(PASSWORD) || text.contains(SENTINEL)
}
