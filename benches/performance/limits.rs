//! What this machine gives, measured in the same run: HTTP by the same client, commits on the same disk, a process
//! with the same libraries.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use one_api_sidecar::config::plan::Transport;
use one_api_sidecar::transport;
use rusqlite::Connection;

use crate::endpoint::Endpoint;
use crate::process::Footprint;
use crate::scene::{FIRST_CHANNEL, connect, copy_gateway, place};
use crate::support::Spread;

/// Requests a second by the program's own HTTP client and nothing else, in a process of its own.
pub fn raw_http(endpoint: &Endpoint, requests: usize, in_flight: usize) -> f64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--as-client", &endpoint.url(), &requests.to_string(), &in_flight.to_string()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

/// The other side of [`raw_http`].
pub fn be_a_client(url: &str, requests: usize, in_flight: usize) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = client();
    let rate = runtime.block_on(async {
        let places = Arc::new(tokio::sync::Semaphore::new(in_flight));
        let began = Instant::now();
        let mut running = Vec::with_capacity(requests);
        for _ in 0..requests {
            let place = Arc::clone(&places).acquire_owned().await.unwrap();
            let request = client
                .post(url)
                .header("content-type", "application/x-www-form-urlencoded")
                .header("accept", "application/json")
                .timeout(Duration::from_secs(30))
                .body("grant_type=refresh_token&refresh_token=none&client_id=bench");
            running.push(tokio::spawn(async move {
                let answer = request.send().await.unwrap();
                assert!(answer.status().is_success());
                answer.bytes().await.unwrap();
                drop(place);
            }));
        }
        for each in running {
            each.await.unwrap();
        }
        requests as f64 / began.elapsed().as_secs_f64()
    });
    println!("{rate}");
}

fn client() -> reqwest::Client {
    let transport =
        Transport { connect_timeout: Duration::from_secs(10), proxy: None, ca_file: None, client_cert: None };
    transport::client(&transport, None).unwrap()
}

/// A process that has what the program has open when it does nothing: the runtime, the HTTP client with its roots, and
/// a database. Its memory, and how long it took to get there.
pub fn empty_process() -> (Footprint, Duration) {
    let began = Instant::now();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("--as-nothing")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let took = began.elapsed();
    let footprint = Footprint::of(child.id());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    (footprint, took)
}

/// The other side of [`empty_process`].
pub fn be_nothing() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = client();
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("CREATE TABLE empty (id INTEGER)").unwrap();
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop((runtime, client, connection));
}

/// The two commits that a refresh cannot do without, as bare as they can be, and the disk below them.
pub struct Disk {
    folder: tempfile::TempDir,
    vault: Connection,
    turn: u64,
    /// One commit in a log that is synced, by a connection that is open.
    pub vault_commit: Spread,
    /// One key in a gateway's database with a rollback journal: opened, written, closed.
    pub gateway_commit: Spread,
    /// Both, one after the other.
    pub both: Spread,
    /// 4 KiB appended and synced.
    pub sync: Spread,
}

impl Disk {
    pub fn new() -> Self {
        let folder = tempfile::TempDir::new_in(place()).unwrap();
        copy_gateway(&folder.path().join("one-api.db"), 100);
        let vault = connect(&folder.path().join("vault.db"));
        vault
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE record (id INTEGER PRIMARY KEY, body TEXT); INSERT INTO record VALUES (1, '')",
            )
            .unwrap();
        let spread = Spread::default;
        Self {
            folder,
            vault,
            turn: 0,
            vault_commit: spread(),
            gateway_commit: spread(),
            both: spread(),
            sync: spread(),
        }
    }

    /// Measures each of them once.
    pub fn measure(&mut self) {
        self.turn += 1;
        let key = format!("key-{:039}", self.turn);
        let began = Instant::now();
        self.vault.execute("UPDATE record SET body = ?1", [key.repeat(10)]).unwrap();
        let vault = began.elapsed();
        let began = Instant::now();
        let gateway = connect(&self.folder.path().join("one-api.db"));
        gateway.execute_batch("BEGIN IMMEDIATE").unwrap();
        gateway.execute("UPDATE channels SET key = ?1 WHERE id = ?2", (key, FIRST_CHANNEL)).unwrap();
        gateway.execute_batch("COMMIT").unwrap();
        drop(gateway);
        let both = vault + began.elapsed();
        self.vault_commit.add(vault);
        self.gateway_commit.add(both - vault);
        self.both.add(both);
        let path = self.folder.path().join("appended");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(&[1; 4096]).unwrap();
        let began = Instant::now();
        file.sync_data().unwrap();
        self.sync.add(began.elapsed());
    }
}
