//! A real, strict authorization server (npm `oidc-provider`): every rotation is kept, and answers that it cut off after
//! it had rotated are named, no other is lost.
//!
//! Needs Node and `npm ci` in `tests/peers/oidc-provider`; with `REQUIRE_INTEROP=1` their absence is a failure.

mod support;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use one_api_sidecar::credential::record::Record;
use one_api_sidecar::secret::Secret;
use serde_json::Value;
use support::database;
use support::endpoint::Options;
use support::eventually;
use support::scene::Scene;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/oidc-provider")
}

/// Whether the peer is installed; says what to do if not.
fn is_installed() -> bool {
    let installed = folder().join("node_modules/oidc-provider").is_dir();
    let required = std::env::var("REQUIRE_INTEROP").is_ok_and(|value| value == "1");
    assert!(installed || !required, "the peer is required: run npm ci in tests/peers/oidc-provider");
    if !installed {
        println!("skipped: run npm ci in tests/peers/oidc-provider");
    }
    installed
}

/// A running server; it ends when it is dropped.
struct Peer {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Peer {
    fn start(scene: &Scene, settings: &[(&str, &str)]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).unwrap().port();
        let log = scene.bench.path("peer.log");
        let child = Command::new("node")
            .arg("op.mjs")
            .current_dir(folder())
            .env("PORT", port.to_string())
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let peer = Self { child, port, log };
        assert!(eventually(Duration::from_secs(20), || peer.said("listening")), "{}", peer.read());
        peer
    }

    fn read(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn said(&self, word: &str) -> bool {
        self.read().contains(word)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.port)
    }

    /// A person's login: its refresh token.
    fn log_in(&self, client: &str, authentication: &[&str]) -> String {
        let port = self.port.to_string();
        let mut login = Command::new("bash");
        login.arg("login.sh").args([&port, client]).args(authentication).current_dir(folder());
        let output = login.output().unwrap();
        json(&output)["refresh_token"].as_str().unwrap_or_else(|| panic!("no login: {output:?}")).to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("not JSON: {output:?}"))
}

/// A credential at the peer, its seed in a file of its own; each has a channel of its own.
fn credential(scene: &Scene, peer: &Peer, name: &str, channel: i64, login: (&str, &[&str]), more: &str) -> String {
    database::copy_channel(&scene.database(), 1, channel, "before");
    scene.set_seed(name, &peer.log_in(login.0, login.1));
    scene.credential(name, login.0, name, channel, more).replace(&scene.endpoint.url(), &peer.url())
}

fn record(scene: &Scene, name: &str) -> Option<Record> {
    scene.records().into_iter().find(|record| record.name == name)
}

fn generation(scene: &Scene, name: &str) -> u64 {
    record(scene, name).map_or(0, |record| record.state.generation)
}

fn is_delivered(scene: &Scene, name: &str, channel: i64) -> bool {
    let key = database::channel(&scene.database(), channel).key;
    record(scene, name).and_then(|record| record.access).is_some_and(|grant| grant.token.expose() == key)
}

#[test]
fn fifty_rotations_of_three_kinds_of_clients() {
    if !is_installed() {
        return;
    }
    const ROTATIONS: u64 = 50;
    let mut scene = Scene::new(Options::default(), "");
    let peer = Peer::start(&scene, &[("ACCESS_TTL", "2")]);
    scene.bench.env("BASIC", "s3cr3t-basic");
    scene.bench.env("POST", "s3cr3t-post");
    let secret = |method: &str, name: &str| {
        format!("token_endpoint_auth_method = \"client_secret_{method}\"\nclient_secret = {{ env = \"{name}\" }}")
    };
    let credentials = [
        credential(&scene, &peer, "pub", 101, ("pub", &["-d", "client_id=pub"]), ""),
        credential(
            &scene,
            &peer,
            "basic",
            102,
            ("conf-basic", &["-u", "conf-basic:s3cr3t-basic"]),
            &secret("basic", "BASIC"),
        ),
        credential(
            &scene,
            &peer,
            "post",
            103,
            ("conf-post", &["-d", "client_id=conf-post", "-d", "client_secret=s3cr3t-post"]),
            &secret("post", "POST"),
        ),
    ];
    scene.bench.write_config(&scene.config(&credentials.concat()));
    let started = Instant::now();
    let agent = scene.bench.start();
    let names = ["pub", "basic", "post"];
    let done = || names.iter().all(|name| generation(&scene, name) > ROTATIONS);
    assert!(eventually(Duration::from_secs(180), done), "{}\n{}", agent.output(), peer.read());
    let delivered = || names.iter().zip(101..).all(|(name, channel)| is_delivered(&scene, name, channel));
    assert!(eventually(support::SOON, delivered), "{}", agent.output());
    for name in names {
        assert_eq!(scene.status_of(name).1["state"], "active", "{name}");
    }
    agent.stop();
    assert!(!peer.said("grant.revoked"), "{}", peer.read());
    let generations = names.map(|name| generation(&scene, name));
    println!("interop: {generations:?} rotations of {names:?} in {:.0?}, lost 0", started.elapsed());
}

#[test]
fn json_in_and_nested_errors_out_as_openai_does() {
    if !is_installed() {
        return;
    }
    let scene = Scene::new(Options::default(), "");
    let peer = Peer::start(&scene, &[("ACCESS_TTL", "2"), ("SHAPE", "nested")]);
    let login = ("pub", ["-d", "client_id=pub"].as_slice());
    scene.bench.write_config(&scene.config(&credential(&scene, &peer, "nested", 101, login, "encoding = \"json\"")));
    let agent = scene.bench.start();
    assert!(eventually(Duration::from_secs(30), || generation(&scene, "nested") > 5), "{}", agent.output());
    agent.stop();

    // Another program takes the refresh token (row 16): ours is refused, and says how.
    let held = record(&scene, "nested").and_then(|record| record.refresh_token).expect("the vault holds one");
    let body =
        format!(r#"{{"grant_type":"refresh_token","client_id":"pub","refresh_token":"{}"}}"#, Secret::expose(&held));
    let mut other = Command::new("curl");
    other.args(["-s", "-H", "content-type: application/json", "-d", &body, &peer.url()]);
    assert!(json(&other.output().unwrap())["access_token"].is_string());
    let agent = scene.bench.start();
    let state = || scene.status_of("nested").1;
    assert!(eventually(support::SOON, || state()["state"] == "halted"), "{}\n{}", state(), agent.output());
    assert_eq!(state()["reason"], "revoked");
    assert!(state()["last_error"].as_str().is_some_and(|error| error.contains("refresh_token_reused")), "{}", state());
    agent.stop();
    println!("interop: nested JSON, refresh_token_reused is understood");
}

#[test]
fn answers_that_were_cut_after_the_server_rotated_are_named_and_no_other_is_lost() {
    if !is_installed() {
        return;
    }
    const DROPPED: usize = 3;
    let scene = Scene::new(Options::default(), "");
    let peer = Peer::start(&scene, &[("ACCESS_TTL", "2"), ("DROP", "3")]);
    let names: Vec<String> = (1..=5).map(|nth| format!("c{nth}")).collect();
    let login = ("pub", ["-d", "client_id=pub"].as_slice());
    let credentials: Vec<String> =
        names.iter().zip(101..).map(|(name, channel)| credential(&scene, &peer, name, channel, login, "")).collect();
    // Beside the one that hears of everything, one that wants to hear of lost answers alone.
    let alone = format!(
        "[[notify]]\ntype = \"pushplus\"\nname = \"alone\"\ntoken = {{ env = \"PUSHPLUS_TOKEN\" }}\n\
         url = \"{}\"\nevents = [\"uncertain\"]\n",
        scene.pushplus.url_of("/alone")
    );
    scene.bench.write_config(&scene.config(&(alone + &credentials.concat())));
    let agent = scene.bench.start();

    let states = || names.iter().map(|name| scene.status_of(name).1).collect::<Vec<_>>();
    let with = |state: &str| states().iter().filter(|status| status["state"] == state).count();
    assert!(eventually(Duration::from_secs(30), || with("halted") == DROPPED), "{:?}\n{}", states(), agent.output());
    let halted: Vec<Value> = states().into_iter().filter(|status| status["state"] == "halted").collect();
    assert!(halted.iter().all(|status| status["reason"] == "outcome_unknown"), "{halted:?}");
    // Of each of them people hear that its answer was lost, and what follows. These keys live so short that the
    // second asking is refused before the first message goes: the news that a person must act then replaces the one
    // that nobody must yet, and tells the cause. Who wants to hear of lost answers hears of them all the same.
    let messages = |path: &str, words: [&str; 2]| {
        let sent = scene.pushplus.requests().into_iter().filter(|message| message.path() == path);
        let sent =
            sent.map(|message| message.json()).map(|message| format!("{} {}", message["title"], message["content"]));
        sent.filter(|message| words.iter().all(|word| message.contains(word))).collect::<Vec<_>>().concat()
    };
    let names_all = |told: &str| halted.iter().all(|status| told.contains(status["name"].as_str().unwrap()));
    let everything = || messages("/send", ["stopped being refreshed", "was lost, and now the provider refuses"]);
    let alone = || messages("/alone", ["No action yet: an answer for", "asks once more before it dies"]);
    assert!(eventually(support::SOON, || names_all(&everything())), "{:?}", scene.titles());
    assert!(eventually(support::SOON, || names_all(&alone())), "{:?}", scene.titles());
    let others = || names.iter().filter(|name| generation(&scene, name) > 3).count();
    assert!(eventually(Duration::from_secs(30), || others() == names.len() - DROPPED), "{}", agent.output());
    agent.stop();
    let dropped = peer.read().matches("DROP").count();
    let killed = peer.read().matches("grant.revoked").count();
    println!("interop: {dropped} answers cut, {} named, {} others go on, families killed {killed}", DROPPED, others());
    assert_eq!((dropped, killed), (DROPPED, DROPPED), "{}", peer.read());
}
