//! Every way in which people and machines edit a config file (fault rows 52 and 53): applied within a second, and
//! the credential that did not change sends nothing because of it.

mod support;

use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use support::database;
use support::endpoint::{Endpoint, Options};
use support::process::{Bench, Sidecar};
use support::{SENTINEL, SOON, eventually, looks};

const A_SECOND: Duration = Duration::from_secs(1);

/// A credential "a" on channel 1 that is kept alive from the start, and a "b" on channel 2 that an edit adds.
struct Scene {
    bench: Bench,
    endpoint: Endpoint,
}

impl Scene {
    fn new() -> Self {
        let endpoint = Endpoint::start(Options::default());
        let mut bench = Bench::new();
        database::copy_fixture("one-api.db", &bench.path("one-api.db"));
        bench.env("SEED_A", endpoint.issue());
        bench.env("SEED_B", endpoint.issue());
        Self { bench, endpoint }
    }

    fn config_of_a(&self) -> String {
        format!("[gateway]\ndatabase = \"{}\"\n", self.bench.path("one-api.db").display())
            + &self.credential("a", "SEED_A", 1)
    }

    fn config_of_both(&self) -> String {
        self.config_of_a() + &self.credential("b", "SEED_B", 2)
    }

    fn credential(&self, name: &str, seed: &str, channel: i64) -> String {
        format!(
            r#"
[[credential]]
name          = "{name}"
token_url     = "{}"
client_id     = "{name}"
refresh_token = {{ env = "{seed}" }}
channels      = [{channel}]
"#,
            self.endpoint.url()
        )
    }

    /// Starts the agent and waits until credential "a" has its key.
    fn start(&self) -> Sidecar {
        let agent = self.bench.start();
        assert!(self.endpoint.wait_for_requests(1, SOON), "credential a is refreshed:\n{}", agent.output());
        assert!(eventually(SOON, || self.delivered(1)), "its key arrives:\n{}", agent.output());
        agent
    }

    fn delivered(&self, channel: i64) -> bool {
        let key = database::channel(&self.bench.path("one-api.db"), channel).key;
        self.endpoint.accepted_tokens().contains(&key)
    }

    /// Asserts that an edit made at `edited` brought credential "b" to life in time, and left "a" alone.
    fn assert_applied(&self, agent: Sidecar, edited: Instant, within: Duration) {
        let came = self.endpoint.wait_for_requests(2, within + SOON);
        assert!(came, "credential b is refreshed after the edit:\n{}", agent.output());
        let requests = self.endpoint.requests_of("b");
        assert_eq!(requests.len(), 1);
        let took = requests[0].at.duration_since(edited);
        println!("applied after {} ms", took.as_millis());
        assert!(took < within, "applied after {took:?}:\n{}", agent.output());
        assert!(eventually(SOON, || self.delivered(2)), "b's key arrives:\n{}", agent.output());
        self.assert_a_undisturbed();
        agent.stop();
    }

    fn assert_a_undisturbed(&self) {
        assert_eq!(self.endpoint.requests_of("a").len(), 1, "the unchanged credential sends nothing");
        assert_eq!(self.endpoint.reuse_count(), 0);
    }
}

#[test]
fn row_52_an_edit_by_rename() {
    let scene = Scene::new();
    scene.bench.write_config(&scene.config_of_a());
    let agent = scene.start();
    let edited = Instant::now();
    scene.bench.rename_config(&scene.config_of_both());
    scene.assert_applied(agent, edited, A_SECOND);
}

#[test]
fn row_52_an_edit_by_truncate_and_write() {
    let scene = Scene::new();
    scene.bench.write_config(&scene.config_of_a());
    let agent = scene.start();
    let edited = Instant::now();
    scene.bench.write_config(&scene.config_of_both());
    scene.assert_applied(agent, edited, A_SECOND);
}

#[test]
fn row_52_deletion_and_return() {
    let scene = Scene::new();
    scene.bench.write_config(&scene.config_of_a());
    let mut agent = scene.start();
    std::fs::remove_file(scene.bench.config()).unwrap();
    let alive = looks(Duration::from_millis(50), A_SECOND, || agent.is_running());
    assert!(!alive.is_empty() && !alive.contains(&false), "the last good plan goes on:\n{}", agent.output());
    let edited = Instant::now();
    scene.bench.write_config(&scene.config_of_both());
    scene.assert_applied(agent, edited, A_SECOND);
}

#[test]
fn row_52_a_kubernetes_symlink_swap() {
    let mut scene = Scene::new();
    let mount = scene.bench.path("mount");
    let version = |name: &str, text: &str| {
        std::fs::create_dir_all(mount.join(name)).unwrap();
        std::fs::write(mount.join(name).join("sidecar.toml"), text).unwrap();
    };
    version("..2026_01", &scene.config_of_a());
    symlink("..2026_01", mount.join("..data")).unwrap();
    symlink("..data/sidecar.toml", mount.join("sidecar.toml")).unwrap();
    scene.bench.set_config(mount.join("sidecar.toml"));
    let agent = scene.start();

    version("..2026_02", &scene.config_of_both());
    symlink("..2026_02", mount.join("..data_tmp")).unwrap();
    let edited = Instant::now();
    std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    std::fs::remove_dir_all(mount.join("..2026_01")).unwrap();
    scene.assert_applied(agent, edited, A_SECOND);
}

#[test]
fn row_52_a_half_written_file_is_taken_when_it_is_whole() {
    let scene = Scene::new();
    scene.bench.write_config(&scene.config_of_a());
    let agent = scene.start();
    let whole = scene.config_of_both();
    let half = &whole[..whole.len() - 30];
    scene.bench.write_config(half);
    let place = format!("sidecar.toml:{}:", half.lines().count());
    assert!(agent.wait_for_line(&place, SOON).is_some(), "the cut is told at {place}\n{}", agent.output());
    let edited = Instant::now();
    scene.bench.write_config(&whole);
    scene.assert_applied(agent, edited, A_SECOND);
}

#[test]
fn row_52_a_bad_edit_changes_nothing_and_is_told() {
    let scene = Scene::new();
    scene.bench.write_config(&scene.config_of_a());
    let mut agent = scene.start();
    scene.bench.rename_config(&scene.config_of_both().replace("channels      = [2]", "chanels = [2]"));
    let line = agent.wait_for_line("chanels", SOON);
    assert!(line.is_some(), "the mistake is told on standard error:\n{}", agent.output());
    assert!(agent.is_running());
    assert_eq!(scene.endpoint.requests_of("b").len(), 0, "nothing of a bad edit is applied");
    let status = scene.bench.run_command(&["status", "--json"]);
    assert!(status.stdout.contains("chanels"), "status shows the problem too: {status:?}");

    let edited = Instant::now();
    scene.bench.rename_config(&scene.config_of_both());
    scene.assert_applied(agent, edited, A_SECOND);
}

#[test]
fn a_credential_removed_and_added_again_is_not_refreshed_because_of_it() {
    let scene = Scene::new();
    scene.bench.write_config(&scene.config_of_both());
    let agent = scene.bench.start();
    assert!(eventually(SOON, || scene.delivered(1) && scene.delivered(2)), "{}", agent.output());
    scene.bench.rename_config(&scene.config_of_a());
    scene.bench.rename_config(&scene.config_of_both());
    agent.stop();
    assert_eq!(scene.endpoint.requests().len(), 2, "both keys live for an hour");
    assert_eq!(scene.endpoint.reuse_count(), 0);
}

#[test]
fn row_52_a_file_that_is_mounted_alone_is_warned_of_and_edits_in_place_arrive() {
    let mut scene = Scene::new();
    scene.bench.write_config(&scene.config_of_a());
    let (here, host) = (scene.bench.config().display().to_string(), scene.bench.path("on-the-host.toml"));
    std::fs::write(&host, scene.config_of_a()).unwrap();
    let script = format!("mount --bind {} {here} && exec \"$0\" \"$@\"", host.display());
    let possible = Command::new("unshare").args(["-Urm", "sh", "-c", &script, "true"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return println!("skipped: no mount namespace can be had here");
    }
    scene.bench.wrap(["unshare", "-Urm", "sh", "-c", &script]);
    let mut agent = scene.start();
    assert_eq!(agent.lines_with("mounted as a single file").len(), 1, "{}", agent.output());
    std::fs::write(&host, scene.config_of_both()).unwrap();
    let edited = Instant::now();
    // The edit raises no event where the file is mounted; the poll would see it, and SIGHUP asks for it now.
    agent.hangup();
    scene.assert_applied(agent, edited, A_SECOND);
}

/// Starts the program where no inotify instance can be had; false where that cannot be arranged.
fn without_inotify(bench: &mut Bench) -> bool {
    let script = r#"echo 0 > /proc/sys/user/max_inotify_instances && exec "$0" "$@""#;
    let possible = Command::new("unshare").args(["-Ur", "sh", "-c", script, "true"]).output();
    bench.wrap(["unshare", "-Ur", "sh", "-c", script]);
    possible.is_ok_and(|output| output.status.success())
}

#[test]
fn row_53_without_inotify_the_content_is_polled_and_that_is_said_once() {
    let mut scene = Scene::new();
    if !without_inotify(&mut scene.bench) {
        return println!("skipped: no user namespace can be had here");
    }
    scene.bench.write_config(&scene.config_of_a());
    let agent = scene.start();
    assert_eq!(agent.lines_with("inotify").len(), 1, "said once:\n{}", agent.output());
    let edited = Instant::now();
    scene.bench.rename_config(&scene.config_of_both());
    scene.assert_applied(agent, edited, Duration::from_secs(35));
}

#[test]
fn sighup_reads_the_config_again() {
    let mut scene = Scene::new();
    if !without_inotify(&mut scene.bench) {
        return println!("skipped: no user namespace can be had here, and with inotify the signal proves nothing");
    }
    scene.bench.write_config(&scene.config_of_a());
    let mut agent = scene.start();
    scene.bench.rename_config(&scene.config_of_both());
    let edited = Instant::now();
    agent.hangup();
    scene.assert_applied(agent, edited, A_SECOND);
}

#[test]
fn row_54_a_notifier_that_was_corrected_is_used_at_once() {
    let mut scene = Scene::new();
    scene.bench.env("PUSHPLUS_TOKEN", format!("{SENTINEL}-pushplus"));
    let (busy, well) = (Endpoint::answering(429, ""), Endpoint::answering(200, r#"{"code":200}"#));
    let config = |notifier: &Endpoint| {
        scene.config_of_a()
            + "[[notify]]\ntype = \"pushplus\"\ntoken = { env = \"PUSHPLUS_TOKEN\" }\nevents = [\"all\"]\n"
            + &format!("url = \"{}\"\n", notifier.url_of("/send"))
    };
    scene.bench.write_config(&config(&busy));
    let agent = scene.start();
    assert!(busy.wait_for_requests(1, SOON), "{}", agent.output());
    // The former one is about to try again, and is refused again: that says nothing of the one in its place.
    scene.bench.rename_config(&config(&well));
    assert!(well.wait_for_requests(1, SOON), "{}", agent.output());
    agent.stop();
    assert_eq!(busy.requests().len(), 2, "it had its last try");
}
