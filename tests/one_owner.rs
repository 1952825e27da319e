//! One process owns the vault (fault rows 9 and 15): stand-by, the control socket, the commands beside a running
//! agent, and how it stops.

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::database;
use support::endpoint::{Action, Endpoint, Options};
use support::process::{Bench, Output, Sidecar, assert_no_secret};
use support::{SOON, eventually, looks};

const A_SECOND: Duration = Duration::from_secs(1);

/// A credential "openai" on channel 1, and a "second" on channel 2 that an edit may add.
struct Scene {
    bench: Bench,
    endpoint: Endpoint,
}

impl Scene {
    fn new(options: Options) -> Self {
        let endpoint = Endpoint::start(options);
        let mut bench = Bench::new();
        database::copy_fixture("one-api.db", &bench.path("one-api.db"));
        bench.env("SEED_1", endpoint.issue());
        bench.env("SEED_2", endpoint.issue());
        let scene = Self { bench, endpoint };
        scene.bench.write_config(&scene.config());
        scene
    }

    /// Paths are relative to the config file, as where several containers share a folder.
    fn config(&self) -> String {
        "[gateway]\ndatabase = \"one-api.db\"\ncache_lag = \"0s\"\n".to_owned() + &self.credential("openai", 1)
    }

    fn config_of_two(&self) -> String {
        self.config() + &self.credential("second", 2)
    }

    fn credential(&self, name: &str, number: i64) -> String {
        format!(
            r#"
[[credential]]
name           = "{name}"
token_url      = "{}"
client_id      = "{name}"
refresh_token  = {{ env = "SEED_{number}" }}
refresh_before = "2s"
channels       = [{number}]
"#,
            self.endpoint.url()
        )
    }

    /// Starts the agent and waits until the key has arrived.
    fn start(&self) -> Sidecar {
        let agent = self.bench.start();
        assert!(eventually(SOON, || self.is_delivered()), "the key arrives:\n{}", agent.output());
        agent
    }

    fn is_delivered(&self) -> bool {
        let key = database::channel(&self.bench.path("one-api.db"), 1).key;
        self.endpoint.accepted_tokens().last() == Some(&key)
    }

    fn posts(&self) -> usize {
        self.endpoint.requests().len()
    }

    /// Requests for each refresh token that was sent: 1 when nobody sends what another one has sent.
    fn posts_per_cycle(&self) -> f64 {
        let requests = self.endpoint.requests();
        let sent: BTreeSet<String> =
            requests.iter().map(|request| request.parameters()["refresh_token"].to_owned()).collect();
        requests.len() as f64 / sent.len() as f64
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.bench.run_command(arguments);
        assert_no_secret(arguments[0], &format!("{output:?}"));
        output
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.run(&["status", "--json"]).stdout).unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.bench.path("one-api-sidecar/vault.sock")
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

fn refusal() -> Action {
    Action::json(401, r#"{"error":"invalid_client"}"#)
}

/// A table without its lengths of time, which no two runs share.
fn without_times(table: &str) -> String {
    let is_time = |word: &str| {
        let word = word.trim_matches(['(', ')']);
        word.parse::<u64>().is_ok() || ["h", "min", "s"].contains(&word)
    };
    table
        .lines()
        .map(|line| line.split_whitespace().filter(|word| !is_time(word)).collect::<Vec<_>>().join(" ") + "\n")
        .collect()
}

#[test]
fn row_15_of_two_agents_one_works_and_the_other_takes_over_when_it_dies() {
    let scene = Scene::new(Options { lifetime: Duration::from_secs(4), ..Options::default() });
    let mut first = scene.start();
    let second = scene.bench.start();
    assert!(second.wait_for_line("standing by", SOON).is_some(), "{}", second.output());
    assert!(scene.endpoint.wait_for_requests(4, SOON * 2), "{}", first.output());
    assert!(eventually(SOON, || scene.is_delivered()));

    let died = Instant::now();
    first.kill();
    assert!(second.wait_for_line("one-api-sidecar is ready", SOON).is_some(), "{}", second.output());
    let took = died.elapsed();
    let before = scene.posts();
    assert!(scene.endpoint.wait_for_requests(before + 2, SOON * 2), "{}", second.output());
    second.stop();

    println!("POSTs per cycle = {}, take-over in {:.2} s", scene.posts_per_cycle(), took.as_secs_f64());
    assert_eq!((scene.posts_per_cycle(), scene.endpoint.reuse_count()), (1.0, 0));
    assert!(took < A_SECOND, "{took:?}");
}

#[test]
fn row_15_a_paused_agent_keeps_the_vault_until_it_is_killed() {
    let scene = Scene::default();
    let mut first = scene.start();
    let second = scene.bench.start();
    first.pause();
    let seen = looks(Duration::from_millis(100), A_SECOND, || second.lines_with("is ready").len());
    assert!(!seen.is_empty() && seen.iter().all(|lines| *lines == 0), "{}", second.output());

    // Whoever asks a paused one is told who it is, and not kept waiting.
    let asked = Instant::now();
    let once = scene.run(&["once"]);
    let waited = asked.elapsed();
    assert_eq!(once.code, Some(1), "{once:?}");
    assert!(once.stderr.contains("process "), "the holder is named: {once:?}");
    assert!(waited > A_SECOND && waited < A_SECOND * 5, "{waited:?}");
    assert_eq!(scene.run(&["health"]).code, Some(1));
    let status = scene.status();
    assert_eq!((&status["agent"]["running"], &status["agent"]["since"]), (&true.into(), &Value::Null), "{status}");
    assert_eq!(status["credentials"][0]["state"], "active", "the vault is readable all the same: {status}");

    // It takes over with the config as it is then.
    scene.bench.rename_config(&scene.config_of_two());
    let died = Instant::now();
    first.kill();
    assert!(second.wait_for_line("one-api-sidecar is ready", SOON).is_some(), "{}", second.output());
    let took = died.elapsed();
    assert!(scene.endpoint.wait_for_requests(2, SOON), "{}", second.output());
    second.stop();
    let clients: Vec<String> =
        scene.endpoint.requests().iter().map(|request| request.parameters()["client_id"].clone()).collect();
    println!("POSTs per cycle = {}, take-over in {:.2} s", scene.posts_per_cycle(), took.as_secs_f64());
    assert_eq!(clients, ["openai", "second"], "the key that was there is not refreshed again");
    assert!(took < A_SECOND, "{took:?}");
}

#[test]
fn row_15_a_standby_that_is_told_to_stop_goes_at_once() {
    let scene = Scene::default();
    let first = scene.start();
    let mut second = scene.bench.start();
    let asked = Instant::now();
    second.terminate();
    let exit = second.wait_exit(SOON).and_then(|exit| exit.code());
    println!("exit in {:.2} s", asked.elapsed().as_secs_f64());
    assert_eq!(exit, Some(0), "{}", second.output());
    assert!(asked.elapsed() < A_SECOND);
    assert!(scene.socket().exists(), "the owner's socket is left alone");
    first.stop();
}

#[test]
fn row_15_once_beside_run_says_what_it_says_alone_and_the_agent_sends_the_one_request() {
    let (alone, beside) = (Scene::default(), Scene::default());
    assert_eq!(alone.run(&["once"]).code, Some(0));
    let agent = beside.start();
    for arguments in [&["once"][..], &["once", "--force"], &["once", "openai", "--force"], &["once", "opnai"]] {
        let before = (alone.posts(), beside.posts());
        let (said_alone, said_beside) = (alone.run(arguments), beside.run(arguments));
        assert_eq!(said_beside.code, said_alone.code, "{arguments:?}: {said_beside:?}\n{}", agent.output());
        assert_eq!(without_times(&said_beside.stdout), without_times(&said_alone.stdout), "{arguments:?}");
        assert_eq!(said_beside.stderr, said_alone.stderr, "{arguments:?}");
        let posts = (alone.posts() - before.0, beside.posts() - before.1);
        assert_eq!(posts.0, posts.1, "{arguments:?}");
        println!("{arguments:?}: POSTs alone = {}, beside = {}", posts.0, posts.1);
        assert!(beside.is_delivered(), "when it says so, the key is there");
    }
    for scene in [&alone, &beside] {
        scene.endpoint.script([refusal()]);
    }
    let (said_alone, said_beside) = (alone.run(&["once", "--force"]), beside.run(&["once", "--force"]));
    assert_eq!((said_alone.code, said_beside.code), (Some(4), Some(4)), "{said_alone:?}\n{said_beside:?}");
    assert_eq!(without_times(&said_beside.stdout), without_times(&said_alone.stdout));
    agent.stop();
    assert_eq!(beside.posts_per_cycle(), 1.0);
}

#[test]
fn row_15_passes_that_come_together_share_the_request() {
    let scene = Scene::default();
    assert_eq!(scene.run(&["once"]).code, Some(0));
    for with_agent in [false, true] {
        let agent = with_agent.then(|| scene.bench.start());
        let before = scene.posts();
        scene.endpoint.script([Action::Delay(A_SECOND)]);
        let codes = std::thread::scope(|threads| {
            let first = threads.spawn(|| scene.run(&["once", "--force"]).code);
            assert!(scene.endpoint.wait_for_requests(before + 1, SOON));
            let second = scene.run(&["once", "--force"]).code;
            [first.join().unwrap(), second]
        });
        println!("with an agent: {with_agent}, POSTs = {}", scene.posts() - before);
        assert_eq!((codes, scene.posts() - before), ([Some(0); 2], 1), "with an agent: {with_agent}");
        if let Some(agent) = agent {
            agent.stop();
        }
    }
}

#[test]
fn a_pass_ends_when_the_key_is_dead_and_no_new_one_comes() {
    let scene = Scene::new(Options { lifetime: A_SECOND, ..Options::default() });
    assert_eq!(scene.run(&["once"]).code, Some(0));
    let key = database::channel(&scene.bench.path("one-api.db"), 1).key;
    assert!(eventually(SOON, || !scene.endpoint.is_valid(&key)));
    scene.endpoint.script([Action::json(503, "{}"), Action::json(503, "{}")]);
    let alone = scene.run(&["once"]);
    assert_eq!(alone.code, Some(1), "{alone:?}");
    let agent = scene.bench.start();
    assert!(eventually(SOON, || scene.is_delivered()), "{}", agent.output());
    agent.stop();
}

#[test]
fn retry_wakes_a_halted_credential_through_the_agent() {
    let scene = Scene::default();
    scene.endpoint.script([refusal()]);
    let agent = scene.bench.start();
    assert!(agent.wait_for_line("halted", SOON).is_some(), "{}", agent.output());
    assert_eq!(scene.status()["credentials"][0]["reason"], "misconfigured");
    let retry = scene.run(&["retry", "openai"]);
    assert_eq!(retry.code, Some(0), "{retry:?}");
    assert!(retry.stdout.contains("openai"), "{retry:?}");
    assert!(eventually(SOON, || scene.is_delivered()), "{}", agent.output());
    assert_eq!(scene.status()["credentials"][0]["state"], "active");
    let unknown = scene.run(&["retry", "opnai"]);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("`openai`"), "{unknown:?}");
    agent.stop();
    assert_eq!(scene.posts(), 2);
}

#[test]
fn retry_without_an_agent_is_remembered_until_one_starts() {
    let scene = Scene::default();
    assert_eq!(scene.run(&["once"]).code, Some(0));
    scene.endpoint.script([refusal()]);
    assert_eq!(scene.run(&["once", "--force"]).code, Some(4));
    assert_eq!(scene.run(&["once", "--force"]).code, Some(4), "a halted one is not forced");
    assert_eq!(scene.posts(), 2);
    let retry = scene.run(&["retry", "openai"]);
    assert!(retry.code == Some(0) && retry.stdout.contains("when the agent starts"), "{retry:?}");
    assert_eq!(scene.posts(), 2, "nothing is sent by itself");
    // Its key lives for an hour yet: it is tried because a person asked.
    assert_eq!(scene.run(&["once"]).code, Some(0));
    assert_eq!(scene.posts(), 3);
    let retry = scene.run(&["retry", "openai"]);
    assert!(retry.code == Some(0) && retry.stdout.contains("Nothing"), "{retry:?}");
    assert_eq!(scene.run(&["once"]).code, Some(0));
    assert_eq!((scene.posts(), scene.endpoint.reuse_count()), (3, 0));
}

#[test]
fn status_tells_the_living_state_and_health_turns_with_it() {
    let scene = Scene::default();
    let health = scene.run(&["health"]);
    assert!(health.code == Some(1) && health.stderr.contains("one-api-sidecar run"), "{health:?}");
    assert_eq!(scene.status()["agent"]["running"], false);

    let agent = scene.start();
    assert_eq!([&["health"][..], &["health", "--credentials"]].map(|command| scene.run(command).code), [Some(0); 2]);
    let status = scene.status();
    assert_eq!(status["agent"]["running"], true, "{status}");
    for moment in [&status["agent"]["since"], &status["agent"]["config"]["loaded_at"]] {
        assert!(moment.as_str().is_some_and(|text| text.ends_with('Z')), "{status}");
    }
    assert_eq!(status["agent"]["config"]["problem"], Value::Null);
    assert_eq!(status["credentials"][0]["channels"][0]["state"], "delivered", "{status}");
    let mode = std::fs::metadata(scene.socket()).unwrap();
    assert!(mode.file_type().is_socket() && mode.permissions().mode() & 0o777 == 0o600, "{mode:?}");

    scene.endpoint.script([refusal()]);
    assert_eq!(scene.run(&["once", "--force"]).code, Some(4));
    assert_eq!(scene.run(&["health"]).code, Some(0), "no restart mends what a person must");
    let health = scene.run(&["health", "--credentials"]);
    assert!(health.code == Some(1) && health.stderr.contains("openai"), "{health:?}");
    agent.stop();
    assert_eq!(scene.run(&["health"]).code, Some(1));
    assert!(!scene.socket().exists(), "the socket goes with its owner");
}

#[test]
fn a_socket_that_a_dead_owner_left_is_replaced() {
    let scene = Scene::default();
    let mut first = scene.start();
    first.kill();
    assert!(scene.socket().exists());
    assert_eq!(scene.run(&["health"]).code, Some(1), "nobody serves it");
    let second = scene.bench.start();
    assert_eq!(scene.run(&["health"]).code, Some(0));
    second.stop();
}

#[test]
fn a_vault_whose_path_is_longer_than_a_sockets_may_be() {
    let scene = Scene::default();
    let vault = format!("{}/vault.db", ["a-directory-with-a-name-of-forty-letters-"; 4].join("/"));
    let config = format!("{}\n[vault]\npath = \"{vault}\"\n", scene.config());
    scene.bench.write_config(&config);
    assert!(scene.bench.path(&vault).as_os_str().len() > 150);
    // Only the last directory of a vault's path is made by the program.
    std::fs::create_dir_all(scene.bench.path(&vault).ancestors().nth(2).unwrap()).unwrap();
    let agent = scene.start();
    assert_eq!(scene.run(&["health"]).code, Some(0), "{}", agent.output());
    assert_eq!(scene.run(&["once", "--force"]).code, Some(0));
    agent.stop();
    assert_eq!(scene.posts(), 2);
}

#[test]
fn row_15_between_two_mount_namespaces_that_share_the_folder() {
    let mut scene = Scene::default();
    // The second one sees the folder elsewhere, as another container would.
    let script = r#"mount --bind "$PWD" /mnt && cd /mnt && ONE_API_SIDECAR_CONFIG=/mnt/sidecar.toml exec "$0" "$@""#;
    let Some(unshare) = ["-m", "-Urm"].into_iter().find(|flags| {
        let tried = Command::new("unshare").args([flags, "sh", "-c", script, "true"]).output();
        tried.is_ok_and(|output| output.status.success())
    }) else {
        return println!("skipped: no mount namespace can be had here");
    };
    let mut first = scene.start();
    scene.bench.wrap(["unshare", unshare, "sh", "-c", script]);
    let second = scene.bench.start();
    assert!(second.wait_for_line("standing by", SOON).is_some(), "{}", second.output());
    let once = scene.run(&["once", "--force"]);
    assert_eq!((once.code, scene.posts()), (Some(0), 2), "{once:?}");
    assert_eq!(scene.run(&["health"]).code, Some(0));
    let died = Instant::now();
    first.kill();
    assert!(second.wait_for_line("one-api-sidecar is ready", SOON).is_some(), "{}", second.output());
    let took = died.elapsed();
    println!("POSTs per cycle = {}, take-over in {:.2} s", scene.posts_per_cycle(), took.as_secs_f64());
    assert!(took < A_SECOND, "{took:?}");
    second.stop();
    assert_eq!((scene.posts(), scene.endpoint.reuse_count()), (2, 0));
}

#[test]
fn row_09_a_request_that_is_under_way_is_awaited_and_saved() {
    let scene = Scene::default();
    scene.endpoint.script([Action::Delay(A_SECOND * 2)]);
    let mut agent = scene.bench.start();
    assert!(scene.endpoint.wait_for_requests(1, SOON));
    let asked = Instant::now();
    agent.terminate();
    let exit = agent.wait_exit(SOON).and_then(|exit| exit.code());
    let took = asked.elapsed();
    assert_eq!(exit, Some(0), "{}", agent.output());
    assert_eq!(scene.run(&["once"]).code, Some(0));
    println!("lost = 0, exit in {:.2} s, POSTs = {}", took.as_secs_f64(), scene.posts());
    assert!(scene.is_delivered());
    assert_eq!((scene.posts(), scene.endpoint.reuse_count()), (1, 0));
    assert!(took > A_SECOND && took < A_SECOND * 4, "{took:?}");
}

#[test]
fn row_09_a_once_that_is_told_to_stop_awaits_its_request_too() {
    let scene = Scene::default();
    scene.endpoint.script([Action::Delay(A_SECOND)]);
    let mut once = scene.bench.spawn(&["once"]);
    assert!(scene.endpoint.wait_for_requests(1, SOON));
    once.terminate();
    assert!(once.wait_exit(SOON).is_some());
    assert_eq!(scene.run(&["once"]).code, Some(0));
    assert!(scene.is_delivered());
    assert_eq!((scene.posts(), scene.endpoint.reuse_count()), (1, 0));
}

#[test]
fn row_09_a_write_that_would_wait_is_left_to_the_next_start() {
    let scene = Scene::default();
    scene.endpoint.script([Action::Delay(A_SECOND)]);
    let mut agent = scene.bench.start();
    assert!(scene.endpoint.wait_for_requests(1, SOON));
    let gateway = rusqlite::Connection::open(scene.bench.path("one-api.db")).unwrap();
    gateway.execute_batch("BEGIN IMMEDIATE").unwrap();
    let asked = Instant::now();
    agent.terminate();
    let exit = agent.wait_exit(SOON).and_then(|exit| exit.code());
    let took = asked.elapsed();
    gateway.execute_batch("ROLLBACK").unwrap();
    drop(gateway);
    assert_eq!(exit, Some(0), "{}", agent.output());
    assert!(!scene.is_delivered());
    println!("lost = 0, exit in {:.2} s", took.as_secs_f64());
    assert!(took < A_SECOND * 4, "one second for the answer, two for the key: {took:?}");
    assert_eq!(scene.run(&["once"]).code, Some(0));
    assert!(scene.is_delivered());
    assert_eq!((scene.posts(), scene.endpoint.reuse_count()), (1, 0));
}

#[test]
fn row_09_a_second_signal_says_what_may_be_lost_before_it_goes() {
    let scene = Scene::default();
    scene.endpoint.script([Action::Hang]);
    let mut agent = scene.bench.start();
    assert!(scene.endpoint.wait_for_requests(1, SOON));
    agent.terminate();
    assert!(agent.wait_for_line("stopping", SOON).is_some());
    let asked = Instant::now();
    agent.terminate();
    let exit = agent.wait_exit(SOON).and_then(|exit| exit.code());
    println!("exit in {:.2} s", asked.elapsed().as_secs_f64());
    assert_eq!(exit, Some(1), "{}", agent.output());
    assert!(asked.elapsed() < A_SECOND * 2);
    let told = agent.lines_with("twice");
    assert!(told.len() == 1 && told[0].contains("openai"), "{told:?}");
    assert!(!scene.socket().exists());
}

#[test]
fn the_configured_address_is_read_only() {
    let scene = Scene::default();
    // Free now, and nobody else asks for it in the moment that this takes.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    scene.bench.write_config(&format!("{}\n[server]\nlisten = \"127.0.0.1:{port}\"\n", scene.config()));
    let agent = scene.start();
    assert!(agent.wait_for_line("listens", SOON).is_some(), "{}", agent.output());
    let say = |request: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream
            .write_all(format!("{request} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for (request, status) in [
        ("GET /healthz", "200"),
        ("GET /readyz", "200"),
        ("HEAD /api/status", "200"),
        ("POST /api/status", "405"),
        ("POST /once", "404"),
        ("POST /retry", "404"),
        ("POST /seed", "404"),
    ] {
        let answer = say(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        assert_no_secret(request, &answer);
    }
    assert!(say("GET /api/status").contains(r#""name":"openai""#));

    // An edit takes the address away.
    scene.bench.rename_config(&scene.config());
    assert!(eventually(SOON, || TcpStream::connect(("127.0.0.1", port)).is_err()), "{}", agent.output());
    agent.stop();
}
