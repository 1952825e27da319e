//! Seeds and names: whatever people do to the config, the rotated refresh token goes on and no spent one is sent (fault
//! rows 16 and 62), and a restart knows what is due.

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::endpoint::{Action, Options};
use support::process::Sidecar;
use support::scene::{NAME, Scene};
use support::{SOON, eventually, looks};

const HOUR: Duration = Duration::from_secs(3600);

impl Scene {
    fn write(&self, credentials: &[String]) {
        self.bench.rename_config(&self.config(&credentials.concat()));
    }

    fn kept_as(&self, name: &str, client: &str) -> String {
        self.credential(name, client, "seed", 1, "")
    }

    fn other(&self) -> String {
        self.credential("other", "other", "seed-other", 2, "")
    }

    /// Nothing was lost: the next refresh is answered, and no spent refresh token was ever sent.
    fn assert_goes_on(&self, what: &str) {
        self.refresh();
        assert!(self.is_delivered(), "{what}");
        assert_eq!(self.endpoint.reuse_count(), 0, "{what}: spent refresh tokens sent");
    }

    /// An agent whose second request is under way for a while.
    fn start_with_a_request_under_way(&self) -> Sidecar {
        self.endpoint.script([Action::Normal, Action::Delay(Duration::from_secs(2))]);
        let agent = self.bench.start();
        assert!(self.endpoint.wait_for_requests(2, SOON), "{}", agent.output());
        agent
    }

    fn assert_applied(&self, agent: &Sidecar, edits: usize) {
        let applied = || agent.lines_with("config applied").len() >= edits;
        assert!(eventually(SOON, applied), "the edit is seen:\n{}", agent.output());
    }
}

/// A scene that has had its first refresh; its access token lives for an hour.
fn begun() -> Scene {
    let scene = Scene::strict(HOUR, "");
    scene.once();
    assert_eq!(scene.sent().len(), 1);
    scene
}

#[test]
fn row_16_a_new_seed_is_taken_and_a_spent_one_is_not() {
    let scene = begun();
    let first = scene.sent()[0].clone();
    let second = scene.log_in();
    scene.once();
    assert_eq!(scene.sent(), [first.clone(), second.clone()], "the new seed is tried at once");
    assert!(scene.is_delivered());
    for spent in [&first, &second] {
        scene.set_seed("seed", spent);
        scene.once();
    }
    let agent = scene.bench.start();
    assert!(eventually(SOON, || scene.state() == "active"));
    agent.stop();
    assert_eq!(scene.sent().len(), 2, "reverted to a spent one, three starts: nothing is sent");
    scene.assert_goes_on("a reverted seed");
    println!("row 16: spent seeds sent = 0");
}

#[test]
fn row_16_a_refused_seed_is_said_and_the_previous_goes_on() {
    let scene = begun();
    scene.set_seed("seed", "sentinel-5d3b9f-mistyped");
    let output = scene.bench.run_command(&["once"]);
    assert!(output.stderr.contains("refused"), "{output:?}");
    let (_, status) = scene.status_of(NAME);
    assert!(status["last_error"].as_str().is_some_and(|error| error.contains("refused")), "{status}");
    assert!(scene.serves());
    let sent = scene.sent();
    assert_eq!(sent.len(), 2, "{output:?}");
    scene.bench.run_command(&["once"]);
    assert_eq!(scene.sent(), sent, "a refused seed is not sent again");
    scene.assert_goes_on("a refused seed");
    assert_eq!(scene.state(), "active");
}

#[test]
fn row_16_a_seed_that_comes_while_a_request_is_under_way_is_tried_after_it() {
    let scene = Scene::strict(Duration::from_secs(8), "");
    let mut agent = scene.start_with_a_request_under_way();
    let seed = scene.log_in();
    agent.hangup();
    assert!(scene.endpoint.wait_for_requests(3, SOON), "{}", agent.output());
    assert_eq!(scene.sent()[2], seed);
    assert!(eventually(SOON, || scene.is_delivered()), "{}", agent.output());
    agent.stop();
    assert_eq!(scene.endpoint.reuse_count(), 0);
}

#[test]
fn row_16_one_seed_in_two_credentials_is_one_credentials() {
    let scene = begun();
    let seed = scene.sent()[0].clone();
    scene.set_seed("seed-other", &seed);
    scene.write(&[scene.kept_as(NAME, NAME), scene.credential("other", NAME, "seed-other", 2, "")]);
    for _ in 0..2 {
        let output = scene.bench.run_command(&["once"]);
        assert_eq!(output.code, Some(4), "{output:?}");
    }
    assert_eq!(scene.state(), "active", "the owner goes on");
    let (exit, other) = scene.status_of("other");
    assert_eq!((exit, &other["state"], &other["reason"]), (Some(4), &"halted".into(), &"misconfigured".into()));
    let error = other["last_error"].as_str().unwrap_or_default();
    assert!(error.contains(&format!("`{NAME}`")), "the owner is named: {error}");
    assert!(eventually(SOON, || scene.told("Correct the configuration of other")), "{:?}", scene.titles());
    assert_eq!(scene.sent().len(), 1, "nothing is sent");

    // The owner leaves: it was renamed, in two steps.
    scene.write(&[scene.credential("other", NAME, "seed-other", 1, "")]);
    scene.assert_goes_on("renamed in two steps");
    assert_eq!(scene.status_of("other").1["state"], "active");

    // Comes back, and is the one that has nothing of its own now, until it gets a seed.
    scene.write(&[scene.kept_as(NAME, NAME), scene.credential("other", NAME, "seed-other", 2, "")]);
    assert_eq!(scene.bench.run_command(&["once"]).code, Some(4));
    assert_eq!(scene.state(), "halted misconfigured");
    scene.log_in();
    scene.once();
    assert_eq!(scene.state(), "active");
    assert_eq!(scene.endpoint.reuse_count(), 0);
}

#[test]
fn what_has_nothing_to_send_stays_halted_when_it_is_asked_to_try_again() {
    let scene = Scene::strict(HOUR, "");
    scene.set_seed("seed", "sentinel-5d3b9f-mistyped");
    assert_eq!(scene.bench.run_command(&["once"]).code, Some(4));
    assert_eq!(scene.state(), "halted revoked");
    let retried = scene.bench.run_command(&["retry", NAME]);
    assert!(retried.code == Some(4) && retried.stderr.contains("login"), "{retried:?}");
    let agent = scene.bench.start();
    let retry = || assert_eq!(scene.bench.run_command(&["retry", NAME]).code, Some(0), "{}", agent.output());
    retry();
    // A pass reads the seed, too, and settles after that.
    assert_eq!(scene.bench.run_command(&["once"]).code, Some(4));
    assert_eq!(scene.state(), "halted revoked", "it still says why nothing happens");
    scene.log_in();
    retry();
    scene.assert_becomes("active");
    agent.stop();
    assert_eq!(scene.sent().len(), 2);
}

#[test]
fn row_45_a_forced_pass_leaves_what_is_asked_late_to_its_time() {
    let scene = begun();
    scene.endpoint.script([Action::Reset]);
    for pass in 0..3 {
        let once = scene.bench.run_command(&["once", "--force"]);
        assert_eq!(once.code, Some(1), "{once:?}");
        assert_eq!(scene.state(), "uncertain");
        assert_eq!(scene.sent().len(), 2, "pass {pass}: it is not asked again while its key lives");
    }
    // Whoever means this one and knows what they do says so.
    assert_eq!(scene.bench.run_command(&["retry", NAME]).code, Some(0));
    scene.once();
    assert_eq!(scene.state(), "active");
    assert_eq!(scene.sent().len(), 3);
}

#[test]
fn an_error_code_that_is_an_earlier_refresh_token_is_not_shown() {
    let scene = Scene::strict(HOUR, "rotates = true");
    let answer = |token: &str, successor: &str| {
        Action::json(200, format!(r#"{{"access_token":"{token}","expires_in":3600,"refresh_token":"{successor}"}}"#))
    };
    let refusal = |code: &str| Action::json(400, format!(r#"{{"error":"{code}"}}"#));
    let secrets = ["plain_seed", "plain_key", "plain_successor"];
    scene.set_seed("seed", secrets[0]);
    scene.endpoint.script([answer(secrets[1], secrets[2]), answer("other_key", "other_successor")]);
    scene.once();
    scene.bench.run_command(&["once", "--force"]);
    for secret in secrets {
        scene.endpoint.script([refusal(secret)]);
        let once = scene.bench.run_command(&["once", "--force"]);
        let (_, status) = scene.status_of(NAME);
        assert!(status["last_error"].as_str().is_some_and(|error| error.contains("400")), "{status}");
        let shown = format!("{once:?}{status}{:?}", scene.records()[0].state);
        assert!(!shown.contains(secret), "{shown}");
    }
    scene.endpoint.script([refusal("odd_and_unknown")]);
    let once = scene.bench.run_command(&["once", "--force"]);
    assert!(once.stderr.contains("odd_and_unknown"), "{once:?}");
}

#[test]
fn row_62_a_renamed_credential_keeps_its_record() {
    let scene = begun();
    scene.write(&[scene.kept_as("renamed", NAME)]);
    scene.once();
    assert_eq!(scene.sent().len(), 1, "no HTTP because of a name");
    scene.assert_goes_on("renamed");
    assert_eq!(scene.records().len(), 1, "its record followed");
}

#[test]
fn row_62_a_renamed_credential_is_forced_by_its_new_name() {
    let scene = begun();
    scene.write(&[scene.kept_as("renamed", NAME)]);
    let output = scene.bench.run_command(&["once", "--force", "renamed"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(scene.sent().len(), 2, "its record was found, and what was asked for was done");
    scene.once();
    assert_eq!((scene.sent().len(), scene.records().len()), (2, 1), "once");
}

#[test]
fn row_62_renamed_while_a_request_is_under_way() {
    let scene = Scene::strict(Duration::from_secs(8), "");
    let agent = scene.start_with_a_request_under_way();
    scene.write(&[scene.kept_as("renamed", NAME)]);
    scene.assert_applied(&agent, 1);
    assert!(eventually(SOON, || scene.is_delivered()), "{}", agent.output());
    let state = || scene.status_of("renamed").1["state"].clone();
    assert!(eventually(SOON, || state() == "active"), "{}: {}", state(), agent.output());
    agent.stop();
    assert_eq!(scene.sent().len(), 2);
    scene.assert_goes_on("renamed in flight");
    assert!(!scene.told("Correct"), "{:?}", scene.titles());
}

#[test]
fn row_62_removed_and_added_again() {
    let scene = begun();
    let other = scene.endpoint.issue();
    scene.set_seed("seed-other", &other);
    scene.write(&[scene.other()]);
    scene.once();
    let status = scene.bench.run_command(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["orphans"], serde_json::json!([NAME]), "its record is kept and shown");
    scene.write(&[scene.other(), scene.kept_as(NAME, NAME)]);
    scene.once();
    assert_eq!(scene.sent().len(), 2, "no HTTP because of coming back");
    scene.refresh();
    assert_eq!((scene.sent().len(), scene.endpoint.reuse_count()), (4, 0));
}

#[test]
fn row_62_removed_and_added_again_while_a_request_is_under_way() {
    let scene = Scene::strict(Duration::from_secs(8), "");
    let other = scene.endpoint.issue();
    scene.set_seed("seed-other", &other);
    let agent = scene.start_with_a_request_under_way();
    let (kept, spare) =
        (scene.kept_as(NAME, NAME), scene.credential("other", "other", "seed-other", 2, "enabled = false"));
    scene.write(std::slice::from_ref(&spare));
    scene.assert_applied(&agent, 1);
    scene.write(&[spare, kept]);
    scene.assert_applied(&agent, 2);
    assert_eq!(scene.sent().len(), 2, "one request spends a refresh token");
    assert!(eventually(SOON, || scene.is_delivered()), "{}", agent.output());
    assert!(scene.endpoint.wait_for_requests(3, SOON), "and it goes on:\n{}", agent.output());
    agent.stop();
    assert_eq!(scene.endpoint.reuse_count(), 0);
}

#[test]
fn row_62_another_client_never_sends_this_ones_refresh_token() {
    let scene = begun();
    let mine = scene.sent()[0].clone();
    scene.write(&[scene.kept_as(NAME, "second-client")]);
    let output = scene.bench.run_command(&["once"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert_eq!(scene.state(), "halted misconfigured");
    assert!(scene.status_of(NAME).1["last_error"].as_str().is_some_and(|error| error.contains(NAME)));
    assert_eq!(scene.endpoint.requests_of("second-client").len(), 0, "not even the seed");

    // With a login of its own it works, and nothing of the first client's is lost by that.
    let second = scene.log_in();
    scene.refresh();
    assert_eq!(scene.sent(), [mine, second]);
    scene.write(&[scene.kept_as(NAME, NAME)]);
    scene.once();
    scene.assert_goes_on("changed back");
    assert_eq!(scene.endpoint.requests_of("second-client").len(), 1);
    println!("row 62: tokens lost = 0, of another client sent = 0");
}

#[test]
fn row_62_a_mistyped_client_id_can_be_corrected() {
    for (error, reason) in [("invalid_client", "misconfigured"), ("invalid_grant", "revoked")] {
        let scene = Scene::strict(HOUR, "");
        scene.write(&[scene.kept_as(NAME, "mistyped")]);
        scene.endpoint.script([Action::json(400, format!(r#"{{"error":"{error}"}}"#))]);
        assert_eq!(scene.bench.run_command(&["once"]).code, Some(4));
        assert_eq!(scene.state(), format!("halted {reason}"));
        scene.write(&[scene.kept_as(NAME, NAME)]);
        scene.once();
        scene.assert_goes_on("corrected");
        let sent = scene.sent();
        assert_eq!(sent[0], sent[1], "{error}: the seed was never used up");
    }
}

#[test]
fn row_62_another_token_url_is_warned_of_and_gets_the_rotated_token() {
    let scene = begun();
    let config = std::fs::read_to_string(scene.bench.config()).unwrap();
    scene.bench.rename_config(&config.replace(&scene.endpoint.url(), &scene.endpoint.url_of("/v2/token")));
    let agent = scene.bench.start();
    assert!(agent.wait_for_line("token_url changed", SOON).is_some(), "{}", agent.output());
    agent.stop();
    scene.assert_goes_on("another token_url");
    assert_eq!(scene.endpoint.requests()[1].path(), "/v2/token");
}

#[test]
fn a_restart_refreshes_nothing_that_is_not_due() {
    let scene = Scene::strict(HOUR, "");
    let credentials: Vec<String> = (1..=3)
        .map(|channel| {
            let (name, seed) = (format!("c{channel}"), format!("seed-{channel}"));
            scene.set_seed(&seed, &scene.endpoint.issue());
            scene.credential(&name, &name, &seed, channel, "")
        })
        .collect();
    scene.write(&credentials);
    scene.once();
    let due = || ["c1", "c2", "c3"].map(|name| scene.status_of(name).1["refresh_at"].clone());
    let before = due();
    assert!(before.iter().all(serde_json::Value::is_string), "{before:?}");
    for _ in 0..3 {
        let mut agent = scene.bench.start();
        assert!(eventually(SOON, || scene.status_of("c3").1["state"] == "active"));
        agent.kill();
    }
    assert_eq!(scene.sent().len(), 3, "three kills and restarts: nothing is sent");
    assert_eq!(due(), before, "with their jitter");
}

#[test]
fn a_restart_does_not_forget_what_is_overdue() {
    let scene = Scene::strict(Duration::from_secs(1), "");
    scene.once();
    assert!(eventually(SOON, || !scene.serves()), "the key dies while nothing runs");
    let started = Instant::now();
    let agent = scene.bench.start();
    assert!(eventually(SOON, || scene.serves()), "{}", agent.output());
    println!("overdue at the start: served again after {} ms", started.elapsed().as_millis());
    agent.stop();
    assert_eq!(scene.endpoint.reuse_count(), 0);
}

#[test]
fn retry_after_and_backoff_survive_restarts() {
    let wish = |header: Option<&str>| Action::Answer {
        status: 429,
        headers: header.map(|seconds| ("retry-after".to_owned(), seconds.to_owned())).into_iter().collect(),
        body: Vec::new(),
    };
    let cases = [(wish(Some("3")), ""), (wish(None), r#"backoff = { min = "3s", max = "3s" }"#)];
    for (answer, more) in cases {
        let scene = Scene::new(Options { lifetime: Duration::from_secs(2), ..Options::default() }, more);
        scene.endpoint.script([Action::Normal, answer]);
        scene.once();
        assert_eq!(scene.bench.run_command(&["once", "--force"]).code, Some(1));
        for _ in 0..2 {
            let mut agent = scene.bench.start();
            let seen = looks(Duration::from_millis(50), Duration::from_millis(300), || scene.sent().len());
            assert_eq!(seen.last(), Some(&2), "it waits:\n{}", agent.output());
            agent.kill();
        }
        let agent = scene.bench.start();
        assert!(scene.endpoint.wait_for_requests(3, SOON), "{}", agent.output());
        let requests = scene.endpoint.requests();
        let gap = requests[2].at.duration_since(requests[1].at);
        println!("asked to wait 3 s, three starts: asked again after {:.1} s", gap.as_secs_f64());
        assert!(gap >= Duration::from_secs(3), "{gap:?}");
        agent.stop();
    }
}
