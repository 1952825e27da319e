//! The HTTP server among clients of every bad kind: bounded, and refreshes do not notice.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use support::http::{address, assert_becomes, get, say};
use support::process::Sidecar;
use support::scene::Scene;
use support::{SOON, eventually, looks};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

const CLIENTS: usize = 10_000;

/// A crowd that stays until it is dropped.
struct Crowd {
    leave: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    /// How many of them a connection was made for so far; the kernel has the others wait.
    connected: Arc<AtomicUsize>,
}

impl Crowd {
    /// Ten thousand at once, each on a connection that it does not give back by itself.
    fn gather(server: SocketAddr) -> Self {
        let (leave, left) = watch::channel(false);
        let connected = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connected);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let clients = async {
                for index in 0..CLIENTS {
                    tokio::spawn(client(index, server, Arc::clone(&count)));
                }
                let mut left = left;
                // The sender is gone: leave, too.
                let _ = left.changed().await;
            };
            runtime.block_on(clients);
        });
        Self { leave, thread: Some(thread), connected }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.leave.send(true);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the crowd leaves");
        }
    }
}

/// Connects again and again, and behaves badly in one of many ways.
async fn client(index: usize, server: SocketAddr, connected: Arc<AtomicUsize>) {
    let head = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n");
    loop {
        let Ok(mut stream) = TcpStream::connect(server).await else { continue };
        connected.fetch_add(1, Ordering::Relaxed);
        // Whatever the server does about it is right.
        let _ = match index % 8 {
            0 => Ok(()),
            1 => drip(&mut stream, &head("/")).await,
            2 => stream.write_all(format!("{}content-length: 99999999\r\n\r\nx", head("/api/status")).as_bytes()).await,
            3 => stream.write_all(format!("{}\r\n", head("/metrics")).as_bytes()).await,
            4 => stream.write_all(format!("{}x: {}", head("/"), "x".repeat(100_000)).as_bytes()).await,
            5 => stream.write_all(&[0xff; 512]).await,
            6 => {
                stream.write_all(b"POST /once HTTP/1.1\r\nhost: evil.example.com\r\ncontent-length: 2\r\n\r\n{}").await
            }
            _ => stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: evil.example.com\r\n\r\n").await,
        };
        tokio::time::sleep(SOON).await;
    }
}

/// A byte now and then.
async fn drip(stream: &mut TcpStream, head: &str) -> std::io::Result<()> {
    for byte in head.bytes().chain(std::iter::repeat(b'x')) {
        stream.write_all(&[byte]).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Memory in MiB and open files.
fn footprint(agent: &Sidecar) -> (u64, usize) {
    let process = format!("/proc/{}", agent.id());
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says VmRSS");
    let memory: u64 = memory.trim().trim_end_matches(" kB").parse().unwrap();
    (memory / 1024, std::fs::read_dir(format!("{process}/fd")).unwrap().count())
}

/// A scene of short-lived keys whose agent listens.
fn scene(listen: &str) -> Scene {
    let scene = Scene::strict(Duration::from_secs(4), "refresh_before = \"2s\"");
    let config = std::fs::read_to_string(scene.bench.config()).unwrap();
    scene.bench.write_config(&format!("{config}\n[server]\nlisten = \"{listen}\"\n"));
    scene
}

#[test]
fn row_56_ten_thousand_bad_clients_cost_no_refresh_and_bounded_memory() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted).unwrap();
    let enough = limit.maximum.is_none_or(|most| most > CLIENTS as u64 + 100);
    assert!(enough, "the test needs {CLIENTS} descriptors: ulimit -Hn {:?}", limit.maximum);

    let scene = scene("127.0.0.1:0");
    let agent = scene.bench.start();
    let server = address(&agent);
    assert!(eventually(SOON, || scene.serves()), "{}", agent.output());
    assert_eq!(get(server, "/healthz", "").status, 200);
    let before = footprint(&agent);
    let refreshes = scene.endpoint.requests().len();

    let crowd = Crowd::gather(server);
    let seen = looks(Duration::from_millis(50), Duration::from_secs(16), || (scene.serves(), footprint(&agent)));
    assert_eq!(scene.bench.run_command(&["health"]).code, Some(0), "the control socket has places of its own");
    let connected = crowd.connected.load(Ordering::Relaxed);
    drop(crowd);

    let valid = seen.iter().filter(|(valid, _)| *valid).count();
    let memory = seen.iter().map(|(_, (memory, _))| *memory).max().unwrap_or_default();
    let files = seen.iter().map(|(_, (_, files))| *files).max().unwrap_or_default();
    let refreshes = scene.endpoint.requests().len() - refreshes;
    println!(
        "{CLIENTS} clients, {connected} connections; {refreshes} refreshes; a valid key in {valid} of {} looks; memory {} MiB → at most {memory} MiB; at most {files} \
         descriptors ({} before)",
        seen.len(),
        before.0,
        before.1,
    );
    assert!(seen.len() > 50, "there were looks");
    assert!(connected > 1000, "there was a crowd: {connected}");
    assert!(valid * 100 >= seen.len() * 99, "{valid} of {}", seen.len());
    assert!(refreshes >= 5, "sixteen seconds need at least five keys of four, replaced after two: {refreshes}");
    assert!(files <= before.1 + 64 + 8, "{files} descriptors, {} before", before.1);
    assert!(memory <= before.0 + 32, "{memory} MiB, {} before", before.0);
    assert_eq!(scene.endpoint.reuse_count(), 0);

    // Whoever comes after them is served.
    assert!(eventually(SOON * 3, || get(server, "/healthz", "").status == 200), "{}", agent.output());
    assert_becomes(server, "one_api_sidecar_credential_state{credential=\"kept\",state=\"active\"}", 1.0);
    agent.stop();
}

#[test]
fn row_56_bad_requests_are_refused_by_their_kind() {
    let scene = scene("127.0.0.1:0");
    let agent = scene.bench.start();
    let server = address(&agent);
    for (request, status) in [
        ("HEAD /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n", 200),
        ("GET /metrics HTTP/1.0\r\n\r\n", 200),
        ("GET /no/such/path HTTP/1.1\r\nhost: localhost\r\n\r\n", 404),
        ("GET /../../etc/passwd HTTP/1.1\r\nhost: localhost\r\n\r\n", 404),
        ("DELETE /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n", 405),
        ("POST /retry HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n", 404),
        ("GET /metrics HTTP/1.1\r\nhost: rebound.example.com\r\n\r\n", 421),
        ("GET /metrics HTTP/9.9\r\nhost: localhost\r\n\r\n", 400),
        ("\x16\x03\x01 a TLS handshake\r\n\r\n", 400),
    ] {
        let answer = say(server, request.as_bytes());
        assert_eq!(answer.status, status, "{request}: {answer:?}");
        assert!(!request.starts_with("HEAD") || answer.body.is_empty(), "{answer:?}");
    }
    agent.stop();
}

#[test]
fn nothing_listens_unless_it_is_configured_and_beyond_loopback_is_told() {
    let listeners = |agent: &Sidecar| {
        let of_process = std::fs::read_dir(format!("/proc/{}/fd", agent.id())).unwrap();
        let sockets = of_process.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
        let sockets: Vec<String> = sockets.map(|link| link.display().to_string()).collect();
        let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", agent.id())).unwrap();
        let listening = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let listening = listening.filter(|columns| columns.get(3) == Some(&"0A"));
        listening.filter(|columns| sockets.contains(&format!("socket:[{}]", columns[9]))).count()
    };
    let silent = Scene::strict(Duration::from_secs(60), "");
    let agent = silent.bench.start();
    assert!(eventually(SOON, || silent.serves()), "{}", agent.output());
    assert_eq!(listeners(&agent), 0);
    agent.stop();

    let local = scene("127.0.0.1:0");
    let agent = local.bench.start();
    address(&agent);
    assert_eq!(listeners(&agent), 1);
    assert_eq!(agent.lines_with("can read names and states").len(), 0, "{}", agent.output());
    agent.stop();

    let open = scene("0.0.0.0:0");
    let agent = open.bench.start();
    assert!(agent.wait_for_line("can read names and states", SOON).is_some(), "{}", agent.output());
    assert_eq!(agent.lines_with("can read names and states").len(), 1);
    agent.stop();
}
