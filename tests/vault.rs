//! The vault through the real binary: full and failing disks, vaults that must not be touched, sealing, and a vault
//! that was restored from a backup.
//!
//! What needs mounts runs its test again in a mount namespace of its own; where there is none to be had, it says so
//! and passes.

mod support;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, prlimit};
use support::database;
use support::endpoint::{Action, Endpoint, Options};
use support::process::{Bench, Output, Sidecar, assert_no_secret};
use support::{SENTINEL, SOON, eventually};

struct Scene {
    bench: Bench,
    endpoint: Endpoint,
}

/// One credential, one channel, the vault in a folder of its own.
fn scene(lifetime: Duration) -> Scene {
    let endpoint = Endpoint::start(Options { lifetime, ..Options::default() });
    let mut bench = Bench::new();
    database::copy_fixture("one-api.db", &bench.path("one-api.db"));
    bench.env("SEED", endpoint.issue());
    bench.env("LANG", "en_US.UTF-8");
    std::fs::create_dir(bench.path("vault")).unwrap();
    std::fs::set_permissions(bench.path("vault"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let scene = Scene { bench, endpoint };
    scene.configure("");
    scene
}

impl Scene {
    fn configure(&self, vault: &str) {
        self.bench.write_config(&format!(
            r#"
[gateway]
database  = "one-api.db"
cache_lag = "0s"

[vault]
path = "vault/vault.db"
{vault}

[[credential]]
name           = "openai"
token_url      = "{}"
client_id      = "app"
refresh_token  = {{ env = "SEED" }}
refresh_before = "2s"
backoff        = {{ min = "300ms", max = "1s" }}
channels       = [1]
"#,
            self.endpoint.url()
        ));
    }

    fn vault(&self) -> PathBuf {
        self.bench.path("vault/vault.db")
    }

    fn requests(&self) -> usize {
        self.endpoint.requests().len()
    }

    fn key(&self) -> String {
        database::channel(&self.bench.path("one-api.db"), 1).key
    }

    /// Waits until the key of the latest answer is in the channel.
    fn wait_delivered(&self, agent: &Sidecar) {
        let delivered = || self.endpoint.accepted_tokens().last() == Some(&self.key());
        assert!(eventually(SOON, delivered), "the latest key is not delivered:\n{}", agent.output());
    }

    fn command(&self, arguments: &[&str], code: i32) -> Output {
        let output = self.bench.run_command(arguments);
        assert_eq!(output.code, Some(code), "{arguments:?}: {output:?}");
        assert_no_secret("a command", &format!("{output:?}"));
        output
    }

    /// Every file of the vault's folder with what is in it, but the lock.
    fn files(&self) -> Vec<(OsString, Vec<u8>)> {
        let all = std::fs::read_dir(self.bench.path("vault")).unwrap().map(|entry| entry.unwrap());
        let all = all.filter(|entry| entry.file_name() != "vault.lock" && entry.file_type().unwrap().is_file());
        let mut files: Vec<_> = all.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect();
        files.sort();
        files
    }
}

/// Writes a file until the disk is full to the last byte.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    for size in [64 * 1024, 512, 1] {
        while file.write(&vec![1; size]).is_ok_and(|written| written > 0) {}
    }
}

fn mount(arguments: &[&str]) {
    assert!(Command::new("mount").args(arguments).status().unwrap().success(), "mount {arguments:?}");
}

/// Whether the caller is in a mount namespace of its own; otherwise runs the test there.
fn in_own_mounts(test: &str) -> bool {
    const INSIDE: &str = "ONE_API_SIDECAR_TEST_IN_OWN_MOUNTS";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let can =
        |flags: &&str| Command::new("unshare").args([flags, "true"]).output().is_ok_and(|ran| ran.status.success());
    let Some(flags) = ["-Urm", "-m"].iter().find(|flags| can(flags)) else {
        println!("skipped {test}: this machine gives no mount namespace (unshare -Urm)");
        return false;
    };
    let ran = Command::new("unshare")
        .arg(flags)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && shown.contains("1 passed"), "{shown}");
    shown.lines().filter(|line| line.starts_with("row ")).for_each(|line| println!("{line}"));
    false
}

fn on_a_small_disk(scene: &Scene) {
    let folder = scene.bench.path("vault");
    mount(&["-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", folder.to_str().unwrap()]);
}

#[test]
fn row_10_a_full_disk_lets_no_request_leave() {
    if !in_own_mounts("row_10_a_full_disk_lets_no_request_leave") {
        return;
    }
    let scene = scene(Duration::from_secs(4));
    on_a_small_disk(&scene);
    let agent = scene.bench.start();
    assert!(scene.endpoint.wait_for_requests(1, SOON));
    scene.wait_delivered(&agent);
    let filler = scene.bench.path("vault/filler");
    fill(&filler);
    assert!(agent.wait_for_line("vault_trouble", SOON).is_some(), "{}", agent.output());
    let before = scene.requests();
    std::thread::sleep(Duration::from_secs(4));
    let spent = scene.requests() - before;
    println!("row 10: refresh tokens spent = {spent}");
    assert_eq!(spent, 0, "{}", agent.output());
    assert_eq!(agent.lines_with("vault_trouble").len(), 1, "told once:\n{}", agent.output());
    assert!(agent.lines_with("takes no notes").len() <= 1, "so is this:\n{}", agent.output());

    std::fs::remove_file(&filler).unwrap();
    assert!(scene.endpoint.wait_for_requests(before + 1, SOON), "it goes on by itself:\n{}", agent.output());
    scene.wait_delivered(&agent);
    assert!(agent.wait_for_line("recovered", SOON).is_some());
    assert_eq!(scene.endpoint.reuse_count(), 0);
    assert_no_secret("the agent", &agent.stop());
}

#[test]
fn row_11_an_answer_lands_on_a_full_disk() {
    if !in_own_mounts("row_11_an_answer_lands_on_a_full_disk") {
        return;
    }
    let scene = scene(Duration::from_secs(4));
    on_a_small_disk(&scene);
    scene.endpoint.script([Action::Normal, Action::Delay(Duration::from_millis(1500))]);
    let mut agent = scene.bench.start();
    assert!(scene.endpoint.wait_for_requests(2, SOON));
    let filler = scene.bench.path("vault/filler");
    fill(&filler);
    scene.wait_delivered(&agent);
    assert_eq!(scene.requests(), 2);
    agent.kill();
    assert_no_secret("the agent", &agent.output());

    std::fs::remove_file(&filler).unwrap();
    let agent = scene.bench.start();
    assert!(scene.endpoint.wait_for_requests(3, SOON), "{}", agent.output());
    scene.wait_delivered(&agent);
    println!("row 11: lost = {}", scene.endpoint.reuse_count());
    assert_eq!(scene.endpoint.reuse_count(), 0, "{}", agent.output());
    agent.stop();
}

#[test]
fn row_12_an_answer_outlives_a_failing_disk() {
    let mut scene = scene(Duration::from_secs(4));
    scene.endpoint.script([Action::Normal, Action::Delay(Duration::from_secs(1))]);
    // With the limit on a file's size every write fails, and the signal for it is ignored.
    scene.bench.wrap(["sh", "-c", r#"trap '' XFSZ; exec "$0" "$@""#]);
    let agent = scene.bench.start();
    let limit = |most| {
        let unlimited = prlimit(Some(agent.pid()), Resource::Fsize, Rlimit { current: most, maximum: None });
        unlimited.unwrap();
    };
    assert!(scene.endpoint.wait_for_requests(2, SOON));
    limit(Some(1));
    std::thread::sleep(Duration::from_secs(1));
    let answered = Instant::now();
    assert!(agent.wait_for_line("vault_trouble", SOON).is_some(), "{}", agent.output());
    let alarm = answered.elapsed();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(scene.requests(), 2, "nothing more leaves");
    assert_ne!(scene.endpoint.accepted_tokens().last(), Some(&scene.key()), "nothing is published that is not durable");
    limit(None);
    scene.wait_delivered(&agent);
    assert!(scene.endpoint.wait_for_requests(3, SOON));
    println!("row 12: seconds to alarm = {:.2}, lost = {}", alarm.as_secs_f64(), scene.endpoint.reuse_count());
    assert!(alarm < Duration::from_secs(1));
    assert_eq!(scene.endpoint.reuse_count(), 0);
    assert_no_secret("the agent", &agent.stop());
}

/// `run` and `once` refuse, in both languages; nothing is sent and nothing changes.
fn refused(scene: &mut Scene, what: &str, words: &str) {
    let (files, requests) = (scene.files(), scene.requests());
    let mut told = Vec::new();
    for (command, language) in [("run", "en_US.UTF-8"), ("once", "zh_CN.UTF-8"), ("once", "en_US.UTF-8")] {
        scene.bench.env("LANG", language);
        told.push(scene.command(&[command], 3).stderr);
    }
    assert!(told[0].contains(words) && told[2].contains(words), "{what}: {words:?} in {}", told[0]);
    assert!(told[1].contains("处理: "), "{what}: {}", told[1]);
    assert_eq!(scene.files(), files, "{what}: nothing was moved, changed or made");
    assert_eq!(scene.requests(), requests, "{what}: no seed was sent");
}

#[test]
fn row_13_a_vault_that_cannot_be_read_is_never_replaced() {
    let mut scene = scene(Duration::from_secs(3600));
    scene.command(&["once"], 0);
    let vault = scene.vault();
    let whole = std::fs::read(&vault).unwrap();
    let mut scrambled = whole.clone();
    scrambled[4096..].fill(0x5a);
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("a letter", b"this is no database, it is a letter to somebody".to_vec(), "is not a vault"),
        ("half of it", whole[..whole.len() / 2].to_vec(), "is damaged"),
        ("scrambled", scrambled, "is damaged"),
        ("emptied", Vec::new(), "gone or empty"),
        ("a page of it", whole[..4096].to_vec(), "is damaged"),
    ];
    let count = cases.len();
    for (what, bytes, words) in cases {
        std::fs::write(&vault, bytes).unwrap();
        refused(&mut scene, what, words);
    }
    std::fs::remove_file(&vault).unwrap();
    refused(&mut scene, "deleted", "gone or empty");
    println!("row 13: seeds sent = {} in {} cases", scene.requests() - 1, count + 1);

    std::fs::write(&vault, &whole).unwrap();
    std::fs::set_permissions(&vault, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&mut scene, "readable by others", "Others can read");
    std::fs::set_permissions(&vault, std::fs::Permissions::from_mode(0o600)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&vault, Some(12345), None).unwrap();
        refused(&mut scene, "somebody else's", "belongs to user 12345");
        std::os::unix::fs::chown(&vault, Some(0), None).unwrap();
    } else {
        println!("skipped: only root can give a file to somebody else");
    }
    scene.command(&["once"], 0);
    assert_eq!(scene.requests(), 1, "it is the same vault as before");
}

#[test]
fn row_14_a_read_only_directory_is_told_at_start() {
    if !in_own_mounts("row_14_a_read_only_directory_is_told_at_start") {
        return;
    }
    for used in [false, true] {
        let mut scene = scene(Duration::from_secs(3600));
        if used {
            scene.command(&["once"], 0);
        }
        let folder = scene.bench.path("vault");
        let folder = folder.to_str().unwrap();
        mount(&["--bind", folder, folder]);
        mount(&["-o", "remount,bind,ro", folder]);
        refused(&mut scene, "read-only", folder);
    }
    println!("row 14: exit 3");
}

#[test]
fn row_60_wrong_keys_and_newer_vaults_are_refused() {
    let mut scene = scene(Duration::from_secs(3600));
    let generate = || scene.bench.run_command(&["vault", "keygen"]).stdout.trim().to_owned();
    let (key, other) = (generate(), generate());
    assert_ne!(key, other);
    for (name, value) in [("KEY", key.as_str()), ("OTHER", &other), ("SHORT", "c2hvcnQ=")] {
        scene.bench.env(name, value);
    }
    scene.configure("encryption_key = { env = \"KEY\" }");
    scene.command(&["once"], 0);
    for (config, words) in [
        ("", "no key is configured"),
        ("encryption_key = { env = \"OTHER\" }", "another key"),
        ("encryption_key = { env = \"SHORT\" }", "32 bytes"),
        ("encryption_key = { env = \"UNSET\" }", "UNSET"),
    ] {
        scene.configure(config);
        refused(&mut scene, config, words);
        scene.command(&["status"], 3);
    }
    scene.configure("encryption_key = { env = \"KEY\" }");
    scene.command(&["status"], 0);
    let newer = rusqlite::Connection::open(scene.vault()).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    refused(&mut scene, "newer", "newer version");
    println!("row 60: seeds sent = {}", scene.requests() - 1);
}

/// Whether any file of the vault's folder holds a secret.
fn leaks(scene: &Scene) -> bool {
    let needle = SENTINEL.as_bytes();
    scene.files().iter().any(|(_, bytes)| bytes.windows(needle.len()).any(|window| window == needle))
}

#[test]
fn a_key_seals_the_vault_at_the_next_start_and_rekey_changes_it() {
    let mut scene = scene(Duration::from_secs(3600));
    for name in ["KEY", "NEXT"] {
        let key = scene.bench.run_command(&["vault", "keygen"]).stdout;
        scene.bench.env(name, key.trim());
    }
    scene.command(&["once"], 0);
    assert!(leaks(&scene), "without a key tokens are stored as they are");
    let said = scene.command(&["vault", "check"], 0).stdout;
    assert!(said.contains("sound") && said.contains("not sealed"), "{said}");

    scene.configure("encryption_key = { env = \"KEY\" }");
    let said = scene.command(&["check"], 0).stdout;
    assert!(said.contains("at the latest when the agent starts") && !said.contains("It is sealed"), "{said}");
    let agent = scene.bench.start();
    assert!(!leaks(&scene), "the vault and its log hold no plain copy");
    let said = scene.command(&["vault", "check"], 0).stdout;
    assert!(said.contains("sound") && said.contains("It is sealed"), "{said}");
    assert!(said.contains(&format!("beside its owner, process {}", agent.id())), "{said}");
    agent.stop();
    scene.command(&["once", "--force"], 0);
    assert!(!leaks(&scene));
    assert_eq!((scene.requests(), scene.endpoint.reuse_count()), (2, 0), "the rotated token was opened again");

    scene.command(&["vault", "rekey", "--new-key", "env:NEXT"], 0);
    scene.command(&["once"], 3);
    scene.configure("encryption_key = { env = \"NEXT\" }");
    scene.command(&["once", "--force"], 0);
    assert_eq!((scene.requests(), scene.endpoint.reuse_count()), (3, 0));
    let report = scene.command(&["vault", "check", "--json"], 0).stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["sealed"], &report["records"]), (&true.into(), &1.into()), "{report}");
    let refused = scene.bench.run_command(&["vault", "rekey", "--new-key", SENTINEL]);
    assert_eq!(refused.code, Some(2));
    assert_no_secret("a refused source", &refused.stderr);
}

#[test]
fn a_reset_is_a_persons_act_and_sets_the_vault_aside() {
    let scene = scene(Duration::from_secs(3600));
    scene.command(&["vault", "reset", "--yes"], 3);
    scene.command(&["once"], 0);
    let before = std::fs::read(scene.vault()).unwrap();
    let said = scene.command(&["vault", "reset"], 1).stderr;
    assert!(said.contains("--yes"), "{said}");
    assert_eq!(std::fs::read(scene.vault()).unwrap(), before);
    let said = scene.command(&["vault", "reset", "--yes"], 0).stdout;
    assert!(!scene.vault().exists());
    let aside = scene.files().into_iter().find(|(_, bytes)| *bytes == before).expect("it is still there").0;
    assert!(said.contains(aside.to_str().unwrap()), "{said}");
}

#[test]
fn orphaned_records_are_shown() {
    let scene = scene(Duration::from_secs(3600));
    scene.command(&["once"], 0);
    let config = std::fs::read_to_string(scene.bench.config()).unwrap();
    scene.bench.write_config(&config.replace("client_id      = \"app\"", "client_id      = \"another\""));
    let said = scene.command(&["vault", "check"], 0).stdout;
    assert!(said.contains("`openai` has no credential"), "{said}");
}

#[test]
fn row_61_a_restored_vault_spends_no_token_while_the_key_lives() {
    let lifetime = Duration::from_secs(68);
    let scene = scene(lifetime);
    let begun = Instant::now();
    scene.command(&["once"], 0);
    let backup = std::fs::read(scene.vault()).unwrap();
    for _ in 0..2 {
        scene.command(&["once", "--force"], 0);
    }
    std::fs::write(scene.vault(), backup).unwrap();
    let said = scene.command(&["vault", "check"], 0).stdout;
    assert!(said.contains("older state"), "{said}");

    // Killed at once: what was noticed is not forgotten.
    let mut agent = scene.bench.start();
    assert!(agent.wait_for_line("older state", SOON).is_some(), "{}", agent.output());
    agent.kill();
    let agent = scene.bench.start();
    let status = scene.bench.run_command(&["status"]);
    assert!(status.stdout.contains("uncertain") && status.stdout.contains("older state"), "{status:?}");

    // The gateway is not cached, so late is a minute before the key dies.
    assert!(scene.endpoint.wait_for_requests(4, lifetime), "{}", agent.output());
    let asked = begun.elapsed();
    assert!(asked >= lifetime - Duration::from_secs(61), "asked after {asked:?}");
    assert!(agent.wait_for_line("halted", SOON).is_some(), "{}", agent.output());
    let spent = scene.endpoint.reuse_count();
    println!(
        "row 61: spent tokens sent = 0 for {:.1} s, then {spent}, a minute before the key dies",
        asked.as_secs_f64()
    );
    assert_eq!(spent, 1, "asked once");
    let told = agent.lines_with("older state");
    assert!(told.iter().any(|line| line.contains("invalid_grant")), "{told:?}");
    assert_no_secret("the agent", &agent.stop());
}

#[test]
fn row_61_a_vault_in_memory_is_warned_of() {
    if !in_own_mounts("row_61_a_vault_in_memory_is_warned_of") {
        return;
    }
    let scene = scene(Duration::from_secs(3600));
    on_a_small_disk(&scene);
    for command in ["check", "once"] {
        let output = scene.command(&[command], 0);
        assert!((output.stdout + &output.stderr).contains("lies in memory (tmpfs)"), "{command}");
    }
    println!("row 61: a vault in memory is warned of");
}
