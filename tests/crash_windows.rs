//! The real binary dies at every step of a refresh, as by `kill -9`, and is started again (fault rows 1 to 7, 11, 12).
//!
//! `cargo test --features failpoints --test crash_windows`

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use support::database;
use support::endpoint::{Action, Options};
use support::process::Sidecar;
use support::scene::Scene;
use support::{SOON, eventually, looks};

/// Access tokens live so long that a lost answer is asked for again six seconds after they came: a minute before their
/// end, there being no cache lag.
const LIFETIME: Duration = Duration::from_secs(66);
const ASKED_LATE: Duration = Duration::from_secs(6);

/// After the server judged the request, before its successor was durable.
const SERVER_IS_AHEAD: [&str; 3] = ["answer-begun", "answer-read", "before-vault-commit"];
/// After the marker was durable, before the request left.
const NOTHING_LEFT: [&str; 2] = ["after-marker", "before-connect"];

const UNCERTAIN: &str = "No action yet";
const HALTED: &str = "Authorize";
const VAULT_TROUBLE: &str = "Mend the vault";

impl Scene {
    /// The next processes do this at that moment.
    fn at(&mut self, moment: &str, action: &str) {
        self.bench.env("FAILPOINTS", format!("{moment}={action}"));
    }

    /// A refresh during which the program dies at a moment.
    fn die_at(&mut self, moment: &str) {
        self.at(moment, "return");
        let output = self.bench.run_command(&["once", "--force"]);
        assert_eq!(output.code, None, "it dies at {moment}: {output:?}");
        self.bench.env("FAILPOINTS", "");
    }

    /// A refresh that is killed when the server has the whole request.
    fn die_when_sent(&mut self, action: Action) {
        self.endpoint.script([action]);
        let before = self.endpoint.requests().len();
        let mut once = self.bench.spawn(&["once", "--force"]);
        assert!(self.endpoint.wait_for_requests(before + 1, SOON), "the request comes:\n{}", once.output());
        once.kill();
    }

    fn start(&self) -> Sidecar {
        self.bench.start()
    }

    fn integrity(&self) -> String {
        let database = Connection::open(self.database()).unwrap();
        database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
    }
}

/// Runs scenes side by side: they mostly wait.
fn side_by_side<T: Send, R: Send>(cases: impl IntoIterator<Item = T>, run: impl Fn(T) -> R + Sync) -> Vec<R> {
    let run = &run;
    std::thread::scope(|scope| {
        let threads: Vec<_> = cases.into_iter().map(|case| scope.spawn(move || run(case))).collect();
        assert!(!threads.is_empty(), "there are cases");
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// After a death in the window: uncertain, told at once, the access token serves, one request late. Returns the agent
/// after that request, and how long it took until people were told.
fn uncertain_until_asked_once(scene: &Scene, what: &str) -> (Sidecar, Duration) {
    let (key, requests) = (scene.key(), scene.endpoint.requests().len());
    let started = Instant::now();
    let agent = scene.start();
    scene.assert_becomes("uncertain");
    assert!(eventually(SOON, || scene.told(UNCERTAIN)), "{what}: told of: {:?}", scene.titles());
    let told = started.elapsed();
    let mut seen = Vec::new();
    eventually(SOON, || {
        // In this order: what is asked while we look does not count against the time before.
        let serves = scene.key() == key && scene.serves();
        seen.push((scene.endpoint.requests().len() > requests, serves));
        seen.last().is_some_and(|(asked, _)| *asked)
    });
    let serving = seen.iter().take_while(|(asked, _)| !asked);
    assert!(
        serving.clone().count() > 0 && serving.clone().all(|(_, serves)| *serves),
        "{what}: the key goes on serving"
    );
    let asked = scene.endpoint.requests();
    assert_eq!(asked.len(), requests + 1, "{what}: asked once more");
    let late = asked[requests].at.duration_since(asked[0].at);
    assert!(late + Duration::from_millis(200) > ASKED_LATE, "{what}: asked late, not after {late:?}");
    (agent, told)
}

/// The server had rotated: the loss is named, with one request.
fn lost_and_named(scene: &Scene, what: &str) -> Duration {
    let (agent, told) = uncertain_until_asked_once(scene, what);
    scene.assert_becomes("halted outcome_unknown");
    assert_eq!(scene.status_of("kept").0, Some(4), "{what}: the exit code calls for a human");
    assert!(eventually(SOON, || scene.told(HALTED)), "{what}: told of: {:?}", scene.titles());
    let sent = scene.sent();
    assert_eq!(sent[sent.len() - 1], sent[sent.len() - 2], "{what}: the same refresh token");
    let after = looks(Duration::from_millis(100), Duration::from_secs(1), || scene.endpoint.requests().len());
    assert_eq!(after.last(), Some(&sent.len()), "{what}: no storm");
    agent.stop();
    told
}

/// The server still takes the refresh token: nobody is woken, no gap.
fn recovered(scene: &Scene, what: &str) {
    let (agent, _) = uncertain_until_asked_once(scene, what);
    assert!(eventually(SOON, || scene.is_delivered()), "{what}: the new key arrives");
    scene.assert_becomes("active");
    assert!(scene.serves());
    assert!(!scene.told(HALTED), "{what}: {:?}", scene.titles());
    assert_eq!(scene.endpoint.reuse_count(), 0, "{what}");
    agent.stop();
}

fn worst(durations: impl IntoIterator<Item = Duration>) -> u128 {
    durations.into_iter().map(|duration| duration.as_millis()).max().expect("there were some")
}

/// Nothing was lost and no request is repeated: the next refresh is taken too.
fn costs_nothing(scene: &Scene, requests: usize, what: &str) {
    assert_eq!(scene.endpoint.requests().len(), requests, "{what}: no request is repeated");
    assert!(scene.is_delivered() && scene.serves(), "{what}");
    assert_eq!(scene.state(), "active", "{what}");
    scene.refresh();
    assert_eq!(scene.endpoint.requests().len(), requests + 1, "{what}");
    assert!(scene.is_delivered(), "{what}: the rotated refresh token was there");
    assert_eq!(scene.endpoint.reuse_count(), 0, "{what}");
    assert_eq!(scene.titles(), [""; 0], "{what}: nobody is told");
}

#[test]
fn row_01_killed_before_the_request_leaves() {
    let mut scene = Scene::strict(LIFETIME, "");
    scene.once();
    scene.die_at("before-marker");
    scene.once();
    costs_nothing(&scene, 1, "before-marker");
    println!("row 1: lost = 0 (before the marker is durable); after it, until the request leaves: see row 3");
}

#[test]
fn row_02_and_04_killed_after_the_server_rotated() {
    let mut cases: Vec<&str> = SERVER_IS_AHEAD.to_vec();
    cases.push("sent");
    let told = side_by_side(cases, |moment| {
        let mut scene = Scene::strict(LIFETIME, "");
        scene.once();
        match moment {
            "sent" => scene.die_when_sent(Action::CommitThenHang),
            moment => scene.die_at(moment),
        }
        lost_and_named(&scene, moment)
    });
    println!(
        "row 2 and 4: detected and named {0}/{0}, asked once each, people told at most {1} ms after the restart",
        told.len(),
        worst(told.iter().copied())
    );
}

#[test]
fn row_02_a_first_refresh_that_was_lost_is_asked_again_at_once() {
    let mut scene = Scene::strict(LIFETIME, "");
    scene.die_at("answer-read");
    let agent = scene.start();
    scene.assert_becomes("halted outcome_unknown");
    let (requests, key) = (scene.sent().len(), scene.key());
    assert_eq!(requests, 2, "there is no access token to protect");
    // A person logs in again: the credential comes back without a restart.
    scene.log_in();
    let mut agent = agent;
    agent.hangup();
    assert!(eventually(SOON, || scene.is_delivered()), "{}", agent.output());
    assert_ne!(scene.key(), key);
    scene.assert_becomes("active");
    agent.stop();
}

#[test]
fn row_02_a_halt_that_nobody_heard_of_is_told_at_the_next_start() {
    let mut scene = Scene::strict(Duration::from_secs(2), "");
    scene.once();
    scene.die_at("answer-read");
    scene.at("after-vault-commit", "return");
    let mut agent = scene.bench.spawn_run();
    assert!(agent.wait_exit(SOON).is_some(), "it dies with the halt durable:\n{}", agent.output());
    scene.bench.env("FAILPOINTS", "");
    assert_eq!(scene.state(), "halted outcome_unknown");
    assert!(!scene.told(HALTED), "{:?}", scene.titles());
    for _ in 0..2 {
        let agent = scene.start();
        assert!(eventually(SOON, || scene.told(HALTED)), "{:?}", scene.titles());
        agent.stop();
    }
    assert_eq!(scene.titles().iter().filter(|title| title.contains(HALTED)).count(), 1, "and told once");
    assert_eq!(scene.sent().len(), 3);
}

#[test]
fn row_02_whoever_says_halt_is_not_asked_for() {
    let mut scene = Scene::strict(LIFETIME, r#"on_lost_answer = "halt""#);
    scene.once();
    let key = scene.key();
    scene.die_at("answer-read");
    let agent = scene.start();
    scene.assert_becomes("halted outcome_unknown");
    let seen = looks(Duration::from_millis(100), ASKED_LATE, || scene.key() == key && scene.serves());
    assert!(!seen.is_empty() && !seen.contains(&false), "the key goes on serving");
    assert_eq!(scene.sent().len(), 2, "nothing is sent");
    agent.stop();
}

#[test]
fn row_03_killed_before_the_server_saw_the_request() {
    let mut cases: Vec<&str> = NOTHING_LEFT.to_vec();
    cases.push("sent");
    let count = side_by_side(cases, |moment| {
        let mut scene = Scene::strict(LIFETIME, "");
        scene.once();
        match moment {
            "sent" => scene.die_when_sent(Action::Hang),
            moment => scene.die_at(moment),
        }
        recovered(&scene, moment);
    });
    println!("row 3: a server that had not seen the request: recovered {0}/{0}, nobody woken, no gap", count.len());
}

#[test]
fn row_03_a_server_with_a_grace_period_is_asked_at_once() {
    let cases = [NOTHING_LEFT.as_slice(), &SERVER_IS_AHEAD].concat();
    let took = side_by_side(cases, |moment| {
        // It takes the same refresh token again.
        let options = Options { lifetime: LIFETIME, rotates: false, ..Options::default() };
        let mut scene = Scene::new(options, "rotates = true\non_lost_answer = \"ask_now\"");
        scene.once();
        scene.die_at(moment);
        let requests = scene.endpoint.requests().len();
        let started = Instant::now();
        let agent = scene.start();
        assert!(eventually(SOON, || scene.endpoint.requests().len() > requests && scene.is_delivered()), "{moment}");
        let took = started.elapsed();
        scene.assert_becomes("active");
        assert!(!scene.told(HALTED), "{moment}: {:?}", scene.titles());
        assert_eq!(scene.endpoint.requests().len(), requests + 1, "{moment}");
        agent.stop();
        took
    });
    println!("row 3: ask_now: recovered {0}/{0}, at most {1} ms after the restart", took.len(), worst(took.clone()));
}

#[test]
fn row_03_where_nothing_rotates_a_death_is_nothing_to_tell() {
    let mut scene = Scene::new(Options { lifetime: LIFETIME, rotates: false, ..Options::default() }, "");
    scene.once();
    scene.die_at("answer-read");
    let agent = scene.start();
    scene.assert_becomes("failing");
    agent.stop();
    scene.refresh();
    assert!(!scene.told(UNCERTAIN) && !scene.told(HALTED), "{:?}", scene.titles());
}

#[test]
fn row_04_the_window() {
    let samples = side_by_side(0..3, |_| {
        let mut scene = Scene::strict(Duration::from_secs(1), "");
        let stamps = scene.bench.path("stamps");
        let stamp = format!("return(stamp:{})", stamps.display());
        let moments = ["after-marker", "answer-read", "after-vault-commit"];
        scene.bench.env("FAILPOINTS", moments.map(|moment| format!("{moment}={stamp}")).join(";"));
        let agent = scene.start();
        let refreshes = 16;
        assert!(scene.endpoint.wait_for_requests(refreshes, Duration::from_secs(60)), "{}", agent.output());
        agent.stop();
        read_stamps(&stamps)
    });
    let samples: Vec<[u64; 3]> = samples.concat();
    let print = |what: &str, from: usize| {
        let mut lengths: Vec<u64> = samples.iter().map(|stamps| stamps[2] - stamps[from]).collect();
        lengths.sort_unstable();
        let at = |share: usize| lengths[(lengths.len() - 1) * share / 100] as f64 / 1000.0;
        println!("row 4: {what}: {:.1} ms, p99 {:.1} ms of {} refreshes", at(50), at(99), lengths.len());
    };
    assert!(samples.len() >= 40, "{} refreshes", samples.len());
    print("answer read, not yet durable", 1);
    print("marker durable, until the answer is durable (on loopback)", 0);
}

/// The microseconds of the three moments of each refresh.
fn read_stamps(file: &Path) -> Vec<[u64; 3]> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<(&str, u64)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(moment, at)| (moment, at.parse().unwrap()))
        .collect();
    let whole = lines.chunks_exact(3);
    whole
        .map(|refresh| {
            assert_eq!(
                [refresh[0].0, refresh[1].0, refresh[2].0],
                ["after-marker", "answer-read", "after-vault-commit"]
            );
            [refresh[0].1, refresh[1].1, refresh[2].1]
        })
        .collect()
}

#[test]
fn row_05_killed_between_vault_and_gateway() {
    let healed =
        side_by_side([("after-vault-commit", true), ("before-publish", true), ("before-publish", false)], |case| {
            let (moment, had_a_key) = case;
            let mut scene = Scene::strict(LIFETIME, "");
            if had_a_key {
                scene.once();
            }
            scene.die_at(moment);
            let requests = scene.endpoint.requests().len();
            assert!(!scene.is_delivered(), "{moment}");
            let started = Instant::now();
            let agent = scene.start();
            assert!(eventually(SOON, || scene.is_delivered()), "{moment}: {}", agent.output());
            let healed = started.elapsed();
            agent.stop();
            costs_nothing(&scene, requests, moment);
            healed
        });
    println!(
        "row 5: lost = 0, {} deaths healed without HTTP, at most {} ms after the start",
        healed.len(),
        worst(healed.clone())
    );
}

#[test]
fn row_06_killed_inside_the_gateways_transaction() {
    for had_a_key in [true, false] {
        let mut scene = Scene::strict(LIFETIME, "");
        if had_a_key {
            scene.once();
        }
        let before = scene.key();
        scene.die_at("in-gateway-transaction");
        let requests = scene.endpoint.requests().len();
        assert_eq!(scene.integrity(), "ok");
        assert_eq!(scene.key(), before, "rolled back");
        scene.once();
        assert_eq!(scene.integrity(), "ok");
        costs_nothing(&scene, requests, "in-gateway-transaction");
    }
    println!("row 6: integrity ok, rolled back and done again 2/2");
}

#[test]
fn row_07_killed_after_the_publish() {
    let moments = ["after-publish", "before-mark", "after-mark"];
    for moment in moments {
        let mut scene = Scene::strict(LIFETIME, "");
        scene.once();
        scene.die_at(moment);
        assert!(scene.is_delivered(), "{moment}");
        let before = database::all_rows(&scene.database());
        scene.once();
        let changes = database::differences(&before, &database::all_rows(&scene.database()));
        assert_eq!(changes, [""; 0], "{moment}: it is there already");
        costs_nothing(&scene, 2, moment);
    }
    println!("row 7: extra refreshes = 0, extra writes = 0 ({} moments)", moments.len());
}

/// A running agent whose second answer has not come yet, and a file that makes every commit of the vault fail.
fn answer_meets_a_bad_disk(kind: &str) -> (Scene, Sidecar, std::path::PathBuf) {
    let mut scene = Scene::strict(Duration::from_secs(4), "");
    let trouble = scene.bench.path("trouble");
    scene.at("vault-commit", &format!("return({kind}:{})", trouble.display()));
    scene.endpoint.script([Action::Normal, Action::Delay(Duration::from_millis(500))]);
    let agent = scene.start();
    assert!(scene.endpoint.wait_for_requests(2, SOON), "{}", agent.output());
    // The marker was durable before the request left; what fails now is the answer's commit.
    std::fs::write(&trouble, "").unwrap();
    (scene, agent, trouble)
}

#[test]
fn row_11_the_disk_is_full_after_the_request() {
    let (scene, agent, trouble) = answer_meets_a_bad_disk("full-once");
    assert!(eventually(SOON, || !trouble.exists()), "a commit met SQLITE_FULL");
    assert!(eventually(SOON, || scene.endpoint.requests().len() > 2 && scene.is_delivered()), "{}", agent.output());
    agent.stop();
    assert_eq!(scene.endpoint.reuse_count(), 0);
    println!("row 11: lost = 0 (SQLITE_FULL once, after the request; on a full disk: see tests/vault.rs)");
}

#[test]
fn row_12_an_io_error_on_the_answers_commit() {
    let (scene, agent, trouble) = answer_meets_a_bad_disk("io");
    let failed = Instant::now();
    assert!(eventually(SOON, || scene.told(VAULT_TROUBLE)), "{:?}\n{}", scene.titles(), agent.output());
    let alarm = failed.elapsed();
    let seen = looks(Duration::from_millis(100), Duration::from_secs(3), || scene.endpoint.requests().len());
    assert_eq!((seen.is_empty(), seen.iter().max()), (false, Some(&2)), "no refresh while it cannot be stored");
    assert!(!scene.is_delivered(), "durable first");
    std::fs::remove_file(&trouble).unwrap();
    let mended = Instant::now();
    assert!(eventually(SOON, || scene.endpoint.requests().len() > 2 && scene.is_delivered()), "{}", agent.output());
    let landed = mended.elapsed();
    agent.stop();
    assert_eq!(scene.endpoint.reuse_count(), 0, "held in memory, and not lost");
    println!(
        "row 12: alarm after {:.1} s (with the answer's own 0.5 s), lost = 0, goes on {:.1} s after the disk does",
        alarm.as_secs_f64(),
        landed.as_secs_f64()
    );
}

#[test]
fn row_12_killed_while_an_answer_is_held_in_memory_names_the_loss() {
    let (scene, mut agent, trouble) = answer_meets_a_bad_disk("io");
    assert!(eventually(SOON, || scene.told(VAULT_TROUBLE)), "{:?}", scene.titles());
    agent.kill();
    std::fs::remove_file(&trouble).unwrap();
    let agent = scene.start();
    scene.assert_becomes("halted outcome_unknown");
    agent.stop();
}
