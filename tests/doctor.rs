//! `doctor`: every diagnosis is reached, nothing is sent, and it works beside a running agent.

mod support;

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use one_api_sidecar::channel::ownership::{Adoption, AdoptionState};
use one_api_sidecar::credential::record::RecordId;
use one_api_sidecar::time::{Clock, SystemClock};
use one_api_sidecar::vault::{Change, Vault};
use serde_json::Value;
use support::endpoint::{Action, Endpoint, Options};
use support::gateway::Database;
use support::process::{Bench, assert_no_secret};
use support::proxy::Tunnel;
use support::tls::{Authority, TlsFront};
use support::{SENTINEL, SOON, database, eventually};

/// A bench on which all is well, before something is broken.
struct Stage {
    bench: Bench,
    endpoint: Endpoint,
    notifier: Endpoint,
    gateway: String,
    vault: String,
    credential: String,
    notify: String,
}

/// What `doctor --json` said.
struct Said {
    code: Option<i32>,
    json: Value,
}

impl Said {
    /// The verdicts of the checks with this reason.
    fn verdicts(&self, reason: &str) -> Vec<&str> {
        let of_reason = |check: &&Value| check["reason"] == reason;
        let checks = self.json["checks"].as_array().unwrap().iter().filter(of_reason);
        checks.map(|check| check["verdict"].as_str().unwrap()).collect()
    }

    fn reasons(&self) -> Vec<String> {
        let checks = self.json["checks"].as_array().unwrap().iter();
        checks.filter_map(|check| check["reason"].as_str().map(str::to_owned)).collect()
    }
}

impl Stage {
    fn new() -> Self {
        let endpoint = Endpoint::start(Options::default());
        let notifier = Endpoint::answering(200, r#"{"code":200}"#);
        let mut bench = Bench::new();
        database::copy_fixture("one-api.db", &bench.path("one-api.db"));
        std::fs::write(bench.path("seed"), endpoint.issue()).unwrap();
        bench.env("PUSHPLUS_TOKEN", format!("{SENTINEL}-pushplus"));
        let url = endpoint.url();
        let credential = format!(
            "token_url = \"{url}\"\nclient_id = \"kept\"\nrefresh_token = {{ file = \"seed\" }}\nchannels = [1]"
        );
        let notify = format!(
            "[[notify]]\ntype = \"pushplus\"\ntoken = {{ env = \"PUSHPLUS_TOKEN\" }}\nurl = \"{}\"",
            notifier.url_of("/send")
        );
        let gateway = "database = \"one-api.db\"\ncache_lag = \"0s\"".into();
        Self { bench, endpoint, notifier, gateway, vault: String::new(), credential, notify }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.bench.path(name)
    }

    fn database(&self) -> std::path::PathBuf {
        self.path("one-api.db")
    }

    fn vault(&self) -> std::path::PathBuf {
        self.path("one-api-sidecar/vault.db")
    }

    fn write_config(&self) {
        let Self { gateway, vault, credential, notify, .. } = self;
        self.bench.write_config(&format!(
            "[gateway]\n{gateway}\n\n[vault]\n{vault}\n\n[[credential]]\nname = \"kept\"\n{credential}\n\n{notify}\n"
        ));
    }

    fn doctor(&self) -> Said {
        self.write_config();
        let output = self.bench.run_command(&["doctor", "--json"]);
        assert_no_secret("doctor", &format!("{output:?}"));
        let json = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("JSON: {output:?}"));
        Said { code: output.code, json }
    }

    /// A vault that a first pass has made.
    fn with_vault(self) -> Self {
        self.write_config();
        let once = self.bench.run_command(&["once"]);
        assert_eq!(once.code, Some(0), "{once:?}");
        self
    }
}

/// What is broken, the reason that is told, how bad it is, and the exit code.
type Case = (&'static str, &'static str, i32, fn(&mut Stage));

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn sqlite(path: &Path, sql: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// Runs every later process as somebody who is not root, in a folder of his own.
fn as_nobody(stage: &mut Stage) {
    const NOBODY: &str = "65534";
    for path in [stage.path(""), stage.path("seed")] {
        chown(path, Some(65534), Some(65534)).unwrap();
    }
    stage.bench.wrap(["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
}

/// Runs every later process in mounts of its own, after this script.
fn in_own_mounts(stage: &mut Stage, script: &str) {
    let script = script.replace("FOLDER", &stage.path("").display().to_string());
    let script = format!("set -e\n{script}\nexec \"$0\" \"$@\"");
    stage.bench.wrap(["unshare", "-m", "sh", "-c", &script]);
}

/// On a stage where nothing has run yet.
const FRESH: &[Case] = &[
    ("gateway.missing", "error", 1, |stage| std::fs::remove_file(stage.database()).unwrap()),
    ("gateway.not_migrated", "error", 1, |stage| std::fs::write(stage.database(), "").unwrap()),
    ("gateway.unknown", "error", 1, |stage| {
        std::fs::remove_file(stage.database()).unwrap();
        sqlite(&stage.database(), "CREATE TABLE strangers (id)");
    }),
    ("gateway.one_hub", "error", 1, |stage| database::copy_fixture("one-hub.db", &stage.database())),
    ("gateway.other_kind", "error", 1, |stage| stage.gateway += "\nkind = \"new-api\""),
    ("gateway.busy", "error", 1, |stage| {
        stage.gateway += "\nbusy_timeout = \"100ms\"";
        // For as long as the test's process lives.
        let holder = rusqlite::Connection::open(stage.database()).unwrap();
        holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
        std::mem::forget(holder);
    }),
    ("gateway.not_a_database", "error", 1, |stage| std::fs::write(stage.database(), "x".repeat(8192)).unwrap()),
    ("gateway.corrupt", "error", 1, |stage| {
        let mut bytes = std::fs::read(stage.database()).unwrap();
        bytes[4096..].fill(0xa5);
        std::fs::write(stage.database(), bytes).unwrap();
    }),
    ("gateway.cannot_open", "error", 1, |stage| {
        std::fs::remove_file(stage.database()).unwrap();
        std::fs::create_dir(stage.database()).unwrap();
    }),
    ("gateway.shared_inode", "error", 1, |stage| {
        std::fs::hard_link(stage.database(), stage.path("second-name.db")).unwrap();
    }),
    ("gateway.unused", "warning", 0, |stage| {
        let ago = Duration::from_secs(3 * 86_400);
        let long_ago = SystemClock.now().shifted(-i64::try_from(ago.as_millis()).unwrap());
        let gateway = rusqlite::Connection::open(stage.database()).unwrap();
        let row = gateway.query_row("SELECT created_time FROM channels WHERE id = 1", [], |row| row.get(0));
        let created_time = row.unwrap();
        let (vault, _) = Vault::open(&stage.vault(), None, 1).unwrap();
        let state =
            AdoptionState { delivered_at: Some(long_ago), only_ours_since: Some(long_ago), ..AdoptionState::default() };
        let adoption = Adoption {
            gateway: "default".into(),
            channel: 1,
            created_time,
            name: "codex-a".into(),
            record: RecordId(1),
            displaced: None,
            state,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(vault.handle.commit(vec![Change::Adoption(Box::new(adoption))])).unwrap();
        vault.close();
        let file = std::fs::File::options().write(true).open(stage.database()).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(long_ago.as_millis().unsigned_abs())).unwrap();
    }),
    ("channel.missing", "error", 1, |stage| stage.credential = stage.credential.replace("[1]", "[99]")),
    ("channel.name_matches", "error", 1, |stage| stage.credential = stage.credential.replace("[1]", "[\"nobody\"]")),
    ("channel.needs_channel_key", "error", 1, |stage| stage.credential = stage.credential.replace("[1]", "[6]")),
    ("vault.directory", "error", 1, |stage| stage.vault = "path = \"/nowhere/at/all/vault.db\"".into()),
    ("vault.not_a_vault", "error", 3, |stage| {
        std::fs::write(stage.path("other.db"), "x".repeat(8192)).unwrap();
        stage.vault = "path = \"other.db\"".into();
    }),
    ("vault.fleeting", "warning", 0, |stage| {
        in_own_mounts(stage, "mkdir -p FOLDER/memory; mount -t tmpfs tmpfs FOLDER/memory");
        stage.vault = "path = \"memory/vault.db\"".into();
    }),
    ("secret.file_unreadable", "error", 1, |stage| std::fs::remove_file(stage.path("seed")).unwrap()),
    ("secret.empty", "error", 1, |stage| std::fs::write(stage.path("seed"), "\n").unwrap()),
    ("secret.env_missing", "error", 1, |stage| stage.bench.env("PUSHPLUS_TOKEN", "")),
    ("secret.env_and_file", "error", 1, |stage| stage.bench.env("PUSHPLUS_TOKEN_FILE", "/etc/hostname")),
    ("secret.keyring_absent", "error", 1, |stage| {
        stage.credential = stage.credential.replace("{ file = \"seed\" }", "{ keyring = \"seed\" }");
    }),
    ("secret.not_under_systemd", "error", 1, |stage| {
        stage.credential = stage.credential.replace("{ file = \"seed\" }", "{ systemd_credential = \"seed\" }");
    }),
    ("token.not_sent", "error", 1, |stage| {
        stage.credential = stage.credential.replace(&stage.endpoint.url(), "http://127.0.0.1:1/token");
    }),
    ("agent.clock_off", "warning", 0, |stage| {
        let headers = vec![("date".into(), "Fri, 02 Jan 2026 03:04:05 GMT".into())];
        stage.endpoint.script([Action::Answer { status: 404, headers, body: Vec::new() }]);
    }),
    ("agent.no_notifier", "warning", 0, |stage| stage.notify.clear()),
    ("notifier.unreachable", "error", 1, |stage| {
        stage.notify = stage.notify.replace(&stage.notifier.url_of(""), "http://127.0.0.1:1");
    }),
    ("notifier.command_not_run", "error", 1, |stage| {
        stage.notify = "[[notify]]\ntype = \"command\"\nprogram = \"./nowhere.sh\"".into();
    }),
    ("config.problem", "error", 3, |stage| stage.gateway += "\nbusy_timeot = \"1s\""),
];

/// What needs a vault that was used.
const USED: &[Case] = &[
    ("vault.newer", "error", 3, |stage| sqlite(&stage.vault(), "PRAGMA user_version = 99")),
    ("vault.damaged", "error", 3, |stage| {
        let mut bytes = std::fs::read(stage.vault()).unwrap();
        let length = bytes.len();
        bytes[4096..length].fill(0xff);
        std::fs::write(stage.vault(), bytes).unwrap();
    }),
    ("vault.gone", "error", 3, |stage| std::fs::remove_file(stage.vault()).unwrap()),
    ("vault.readable_by_others", "warning", 0, |stage| set_mode(&stage.vault(), 0o644)),
    ("vault.wrong_key", "error", 3, |stage| {
        let keygen = |stage: &Stage| stage.bench.run_command(&["vault", "keygen"]).stdout.trim().to_owned();
        let key = keygen(stage);
        stage.bench.env("KEY", key);
        stage.vault = "encryption_key = { env = \"KEY\" }".into();
        stage.write_config();
        assert_eq!(stage.bench.run_command(&["once"]).code, Some(0));
        let other = keygen(stage);
        stage.bench.env("KEY", other);
    }),
    ("config.bad_key", "error", 3, |stage| {
        stage.bench.env("KEY", format!("{SENTINEL}-key"));
        stage.vault = "encryption_key = { env = \"KEY\" }".into();
    }),
    ("channel.foreign", "warning", 0, |stage| database::set_channel(&stage.database(), 1, "a stranger's", 1)),
    ("channel.released", "warning", 0, |stage| {
        assert_eq!(stage.bench.run_command(&["release", "1"]).code, Some(0));
    }),
    ("halted", "error", 4, |stage| {
        stage.endpoint.script([Action::json(400, r#"{"error":"invalid_grant"}"#)]);
        stage.bench.run_command(&["once", "--force"]);
    }),
];

/// What needs another user, or mounts of our own.
const PRIVILEGED: &[Case] = &[
    ("gateway.read_only_file", "error", 1, |stage| {
        as_nobody(stage);
        set_mode(&stage.database(), 0o444);
    }),
    ("gateway.read_only_directory", "error", 1, |stage| {
        std::fs::create_dir(stage.path("data")).unwrap();
        std::fs::rename(stage.database(), stage.path("data/one-api.db")).unwrap();
        set_mode(&stage.path("data/one-api.db"), 0o666);
        set_mode(&stage.path("data"), 0o555);
        stage.gateway = stage.gateway.replace("one-api.db", "data/one-api.db");
        stage.vault = "path = \"vault.db\"".into();
        as_nobody(stage);
    }),
    ("gateway.read_only_mount", "error", 1, |stage| {
        stage.vault = "path = \"vault.db\"".into();
        stage.gateway = stage.gateway.replace("one-api.db", "ro/one-api.db");
        let script = "mkdir FOLDER/ro; mount -t tmpfs tmpfs FOLDER/ro; cp FOLDER/one-api.db FOLDER/ro/; \
                      mount -o remount,ro FOLDER/ro";
        in_own_mounts(stage, script);
    }),
    ("gateway.hot_journal", "error", 1, |stage| {
        let crashed = Database::fixture("one-api.db").as_a_kill_would_leave_it();
        std::fs::copy(crashed.path(), stage.path("hot.db")).unwrap();
        std::fs::copy(crashed.path().with_extension("db-journal"), stage.path("hot.db-journal")).unwrap();
        stage.vault = "path = \"vault.db\"".into();
        stage.gateway = stage.gateway.replace("one-api.db", "ro/hot.db");
        let script = "mkdir FOLDER/ro; mount -t tmpfs tmpfs FOLDER/ro; cp FOLDER/hot.db* FOLDER/ro/; mount -o remount,ro FOLDER/ro";
        in_own_mounts(stage, script);
    }),
    ("gateway.full", "error", 1, |stage| {
        stage.vault = "path = \"vault.db\"".into();
        stage.gateway = stage.gateway.replace("one-api.db", "small/one-api.db");
        let script = "mkdir FOLDER/small; mount -t tmpfs -o size=4m tmpfs FOLDER/small; cp FOLDER/one-api.db FOLDER/small/; \
                      dd if=/dev/zero of=FOLDER/small/filler bs=4096 2>/dev/null || true";
        in_own_mounts(stage, script);
    }),
    ("vault.full", "error", 1, |stage| {
        stage.vault = "path = \"small/vault.db\"".into();
        in_own_mounts(stage, "mkdir FOLDER/small; mount -t tmpfs -o size=64k tmpfs FOLDER/small");
    }),
    ("agent.no_inotify", "warning", 0, |stage| {
        stage.bench.wrap([
            "unshare",
            "-Ur",
            "sh",
            "-c",
            "echo 0 >/proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"",
        ]);
    }),
];

/// The same, with a vault that was used.
const PRIVILEGED_USED: &[Case] = &[
    ("vault.other_owner", "error", 3, |stage| chown(stage.vault(), Some(65534), Some(65534)).unwrap()),
    ("vault.read_only", "error", 3, |stage| {
        as_nobody(stage);
        for path in ["one-api.db", "one-api-sidecar", "one-api-sidecar/vault.db", "one-api-sidecar/vault.lock"] {
            chown(stage.path(path), Some(65534), Some(65534)).unwrap();
        }
        set_mode(&stage.vault(), 0o400);
    }),
];

fn assert_each(cases: &[Case], stage: impl Fn() -> Stage) {
    let mut wrong = Vec::new();
    for (reason, verdict, code, break_it) in cases {
        let mut stage = stage();
        break_it(&mut stage);
        let said = stage.doctor();
        // Nothing else is wrong with it, but what follows from it.
        let follows = |other: &String| other != reason && !FOLLOWS.contains(&(*reason, other.as_str()));
        let others: Vec<String> = said.reasons().into_iter().filter(follows).collect();
        let found = said.verdicts(reason).contains(verdict);
        if !found || !others.is_empty() || said.code != Some(*code) || said.json["works"] != (*code == 0) {
            wrong.push(format!("{reason}: found {found}, exit {:?}, also {others:?}: {:#}", said.code, said.json));
        }
        for check in said.json["checks"].as_array().unwrap().iter().filter(|check| !check["reason"].is_null()) {
            assert!(check["remedy"].is_string() || check["reason"] == "halted", "{check}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What one thing brings with it. A vault right in the stage's folder, or on a disk of its own, is in a folder that
/// others can read.
const FOLLOWS: &[(&str, &str)] = &[
    ("gateway.hot_journal", "gateway.read_only_mount"),
    ("gateway.read_only_directory", "vault.readable_by_others"),
    ("gateway.read_only_mount", "vault.readable_by_others"),
    ("gateway.hot_journal", "vault.readable_by_others"),
    ("gateway.full", "vault.readable_by_others"),
    ("vault.full", "vault.readable_by_others"),
    ("vault.full", "vault.fleeting"),
    ("vault.not_a_vault", "vault.readable_by_others"),
    ("vault.fleeting", "vault.readable_by_others"),
];

#[test]
fn every_diagnosis_is_reached() {
    assert_each(FRESH, Stage::new);
    assert_each(USED, || Stage::new().with_vault());
}

#[test]
fn diagnoses_of_other_users_and_mounts_are_reached() {
    let can =
        |words: [&str; 3]| Command::new(words[0]).args(&words[1..]).output().is_ok_and(|ran| ran.status.success());
    if !can(["setpriv", "--reuid=65534", "true"]) || !can(["unshare", "-m", "true"]) || !can(["unshare", "-Ur", "true"])
    {
        println!("skipped: no other user and no mounts of one's own can be had here");
        return;
    }
    assert_each(PRIVILEGED, Stage::new);
    assert_each(PRIVILEGED_USED, || Stage::new().with_vault());
}

#[test]
fn where_all_is_well_it_says_so_and_has_sent_nothing() {
    let stage = Stage::new();
    let said = stage.doctor();
    assert_eq!((said.code, said.json["works"].as_bool()), (Some(0), Some(true)), "{:#}", said.json);
    assert!(said.reasons().is_empty(), "{:#}", said.json);
    for topic in ["config", "secrets", "vault", "gateways", "endpoints", "machine", "notifiers"] {
        let checks = said.json["checks"].as_array().unwrap().iter();
        assert!(checks.into_iter().any(|check| check["topic"] == topic && check["verdict"] == "good"), "{topic}");
    }
    for request in stage.endpoint.requests().into_iter().chain(stage.notifier.requests()) {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("HEAD", "/"));
        assert_no_secret("a request", &format!("{:?}{}", request.headers, String::from_utf8_lossy(&request.body)));
        assert!(request.header("authorization").is_none() && request.body.is_empty());
    }
    assert_eq!((stage.endpoint.requests().len(), stage.notifier.requests().len()), (1, 1));
    assert!(!stage.vault().exists(), "it makes no vault");
}

#[test]
fn it_reaches_an_endpoint_as_a_refresh_would_by_proxy_and_private_authority() {
    let mut stage = Stage::new();
    let authority = Authority::new();
    authority.write(&stage.path("ca.pem"));
    let front = TlsFront::start(&authority.identity("localhost"), None, stage.endpoint.address());
    stage.credential = stage.credential.replace(&stage.endpoint.url(), &front.url_of("/oauth/token"));
    let said = stage.doctor();
    assert_eq!(said.verdicts("token.certificate"), ["error"], "{:#}", said.json);

    let tunnel = Tunnel::connect();
    stage.credential += &format!("\nca_file = \"ca.pem\"\nproxy = \"http://{}\"", tunnel.address);
    let said = stage.doctor();
    assert_eq!(said.code, Some(0), "{:#}", said.json);
    assert!(!tunnel.asked().is_empty(), "it went through the proxy");
}

#[test]
fn beside_a_running_agent_it_needs_none_of_its_secrets() {
    let mut stage = Stage::new();
    let key = stage.bench.run_command(&["vault", "keygen"]).stdout.trim().to_owned();
    stage.vault = "encryption_key = { env = \"KEY\" }".into();
    stage.bench.env("KEY", key);
    stage.write_config();
    let agent = stage.bench.start();
    let is_delivered = || database::channel(&stage.database(), 1).key.starts_with(SENTINEL);
    assert!(eventually(SOON, is_delivered), "{}", agent.output());
    assert_eq!(stage.doctor().code, Some(0));
    let requests = stage.endpoint.requests().len();

    // A shell that has not the agent's environment.
    stage.bench.env("KEY", "");
    stage.bench.env("PUSHPLUS_TOKEN", "");
    let said = stage.doctor();
    assert_eq!(said.code, Some(0), "{:#}", said.json);
    assert_eq!(said.verdicts("secret.env_missing"), ["warning", "warning"], "{:#}", said.json);
    assert_eq!(stage.endpoint.requests().len(), requests + 1);
    assert_eq!(stage.endpoint.reuse_count(), 0);

    let mut agent = agent;
    agent.pause();
    let said = stage.doctor();
    assert_eq!(said.verdicts("agent.silent"), ["error"], "{:#}", said.json);
    agent.kill();
}

#[test]
fn two_gateways_that_are_one_database_are_told() {
    let stage = Stage::new();
    stage.write_config();
    let config = std::fs::read_to_string(stage.bench.config()).unwrap();
    let config = config
        .replace("[gateway]\n", "[[gateway]]\nname = \"a\"\n")
        .replace("[vault]", "[[gateway]]\nname = \"b\"\ndatabase = \"./one-api.db\"\n[vault]\npath = \"vault.db\"")
        .replace("[1]", "[{ gateway = \"a\", id = 1 }]");
    stage.bench.write_config(&config);
    let output = stage.bench.run_command(&["doctor", "--json"]);
    assert!(output.stdout.contains("channel.same_database"), "{output:?}");
    assert_eq!(output.code, Some(1));
}

#[test]
fn where_the_locale_is_not_utf_8_the_marks_are_ascii() {
    let mut stage = Stage::new();
    stage.bench.env("LC_ALL", "C");
    stage.gateway += "\nkind = \"new-api\"";
    stage.write_config();
    let text = stage.bench.run_command(&["doctor"]).stdout;
    assert!(text.is_ascii(), "{text}");
    assert!(text.contains("  + ") && text.contains("  x ") && text.ends_with("see the lines marked x.\n"), "{text}");
}
