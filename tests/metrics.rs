//! `/metrics` of the real agent: what it counts, what it shows, and what Prometheus' own tool says of it.

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use support::endpoint::{Action, Options};
use support::http::{address, assert_becomes, get, metric};
use support::process::{Sidecar, assert_no_secret};
use support::scene::{NAME, Scene};
use support::{SOON, eventually, require};

const SERVER: &str = "\n[server]\nlisten = \"127.0.0.1:0\"\n";

/// A scene whose agent listens, and has delivered its first key.
fn listening() -> (Scene, Sidecar, SocketAddr) {
    let scene = Scene::new(Options::default(), "");
    let config = std::fs::read_to_string(scene.bench.config()).unwrap();
    scene.bench.write_config(&(config + SERVER));
    let agent = scene.bench.start();
    let address = address(&agent);
    assert_becomes(
        address,
        "one_api_sidecar_channel_state{gateway=\"default\",channel=\"1\",state=\"delivered\"}",
        1.0,
    );
    (scene, agent, address)
}

fn refreshes(outcome: &str) -> String {
    format!("one_api_sidecar_refreshes_total{{credential=\"kept\",outcome=\"{outcome}\"}}")
}

fn state(state: &str) -> String {
    format!("one_api_sidecar_credential_state{{credential=\"kept\",state=\"{state}\"}}")
}

#[test]
fn counters_move_with_what_requests_come_to_and_end_with_their_credential() {
    let (scene, agent, address) = listening();
    for (outcome, count) in [("ok", 1.0), ("transient", 0.0), ("revoked", 0.0)] {
        assert_eq!(metric(address, &refreshes(outcome)), Some(count), "{outcome}");
    }
    assert_eq!(metric(address, &state("active")), Some(1.0));
    assert_eq!(metric(address, "one_api_sidecar_publishes_total{gateway=\"default\",outcome=\"ok\"}"), Some(1.0));

    let refuse = |error: &str| Action::json(400, format!(r#"{{"error":"{error}"}}"#));
    let answers = [
        ("transient", Action::json(503, "{}")),
        ("unknown_outcome", Action::Reset),
        ("misconfigured", refuse("invalid_client")),
    ];
    for (index, (outcome, action)) in answers.into_iter().enumerate() {
        scene.endpoint.script([action]);
        scene.bench.run_command(&["once", "--force"]);
        assert_becomes(address, &refreshes(outcome), 1.0);
        // The next answer is a good one.
        scene.bench.run_command(&["retry", NAME]);
        assert_becomes(address, &refreshes("ok"), 2.0 + index as f64);
    }
    scene.endpoint.script([refuse("invalid_grant")]);
    scene.bench.run_command(&["once", "--force"]);
    assert_becomes(address, &refreshes("revoked"), 1.0);
    assert_becomes(address, &state("halted"), 1.0);
    assert_eq!(metric(address, &state("active")), None, "the present state only");
    assert_eq!(metric(address, "one_api_sidecar_credentials{state=\"halted\"}"), Some(1.0));
    assert_becomes(address, "one_api_sidecar_notifications_total{notifier=\"pushplus\",outcome=\"ok\"}", {
        assert!(scene.pushplus.wait_for_requests(1, SOON));
        scene.pushplus.requests().len() as f64
    });

    let text = get(address, "/metrics", "").body;
    let requests = scene.endpoint.requests().len();
    let count = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("one_api_sidecar_{name}"))).unwrap_or_default();
        line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok())
    };
    assert_eq!(count("refresh_duration_seconds_count{credential=\"kept\"}"), Some(requests as f64));
    assert!(count("publish_duration_seconds_count{gateway=\"default\"}") >= Some(1.0), "{text}");
    assert!(count("vault_commit_duration_seconds_count") >= Some(2.0 * requests as f64), "{text}");
    assert_no_secret("/metrics", &text);

    // Another credential in its place.
    let config = scene.config(&scene.credential("other", "other", "seed", 1, "")) + SERVER;
    scene.bench.rename_config(&config);
    assert_becomes(address, "one_api_sidecar_config_reloads_total{outcome=\"ok\"}", 1.0);
    let text = get(address, "/metrics", "").body;
    assert!(!text.contains("\"kept\"") && text.contains("credential=\"other\""), "{text}");

    scene.bench.rename_config("nonsense");
    assert_becomes(address, "one_api_sidecar_config_reloads_total{outcome=\"rejected\"}", 1.0);
    assert_eq!(metric(address, "one_api_sidecar_config_last_reload_successful"), Some(0.0));
    agent.stop();
}

#[test]
fn a_request_that_was_lost_with_the_process_is_counted_by_the_next() {
    let (scene, mut agent, _) = listening();
    scene.endpoint.script([Action::Hang]);
    let before = scene.endpoint.requests().len();
    let _once = scene.bench.spawn(&["once", "--force"]);
    assert!(scene.endpoint.wait_for_requests(before + 1, SOON));
    agent.kill();
    let agent = scene.bench.start();
    assert_becomes(address(&agent), &refreshes("unknown_outcome"), 1.0);
    agent.stop();
}

#[test]
fn whoever_asks_gets_the_format_that_he_knows() {
    let (_scene, agent, address) = listening();
    let text = get(address, "/metrics", "");
    assert!(text.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", text.head);
    assert!(text.head.contains("cache-control: no-store"), "{}", text.head);
    let open = get(address, "/metrics", "accept: application/openmetrics-text; version=1.0.0\r\n");
    assert!(open.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", open.head);
    assert!(open.body.ends_with("# EOF\n"), "{}", open.body);
    agent.stop();
}

#[test]
fn promtool_has_nothing_to_say() {
    if !require("promtool", "REQUIRE_PROMTOOL") {
        return;
    }
    let (scene, agent, address) = listening();
    scene.endpoint.script([Action::json(503, "{}")]);
    scene.bench.run_command(&["once", "--force"]);
    let text = get(address, "/metrics", "").body;
    assert!(eventually(SOON, || metric(address, &refreshes("transient")) == Some(1.0)));
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().expect("stdin is piped").write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.trim().is_empty(), "{said}\n{text}");
    agent.stop();
}
