//! The log of a scripted day: one line for each thing that happened, at its level, with its fields, in every form.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use support::endpoint::{Action, Options};
use support::process::{Sidecar, assert_no_secret};
use support::scene::{NAME, Scene};
use support::{SOON, database, eventually, looks};

/// What is logged on the scripted day: level, message.
const DAY: [(&str, &str); 20] = [
    ("INFO", "one-api-sidecar is ready"),
    ("INFO", "refreshed"),
    ("INFO", "key delivered"),
    // A refresh as on any day.
    ("INFO", "refreshed"),
    ("INFO", "key delivered"),
    // The provider is busy for a while.
    ("WARN", "the refresh failed"),
    ("WARN", "the refresh failed"),
    ("WARN", "failing"),
    ("INFO", "refreshed"),
    ("INFO", "recovered"),
    ("INFO", "key delivered"),
    // Somebody restores an old key of ours.
    ("INFO", "key delivered"),
    // Somebody puts in a key of his own, and thinks better of it.
    ("ERROR", "foreign_key"),
    ("INFO", "asked to hand a channel over"),
    ("INFO", "key delivered"),
    ("INFO", "recovered"),
    // The refresh token is revoked.
    ("ERROR", "halted"),
    // Out of office.
    ("INFO", "reading config and secrets again"),
    ("INFO", "config read again: nothing changed"),
    ("INFO", "stopping: nothing new starts"),
];

/// Lives through the day, and says what was logged.
fn day(scene: &Scene) -> Vec<String> {
    let mut agent = scene.bench.start();
    let said = |agent: &Sidecar, message: &str, times: usize| {
        let said = eventually(SOON, || agent.lines_with(message).len() >= times);
        assert!(said, "{message} is not said {times} times:\n{}", agent.output());
    };
    said(&agent, "key delivered", 1);
    let first = scene.key();
    scene.bench.run_command(&["once", "--force"]);
    said(&agent, "key delivered", 2);

    let busy = || Action::json(503, "{}");
    scene.endpoint.script([busy(), busy(), busy()]);
    for _ in 0..4 {
        scene.bench.run_command(&["once", "--force"]);
    }
    said(&agent, "key delivered", 3);
    assert!(eventually(SOON, || scene.is_delivered()));

    database::set_channel(&scene.database(), 1, &first, 1);
    said(&agent, "key delivered", 4);
    database::set_channel(&scene.database(), 1, "sk-of-somebody-else", 1);
    said(&agent, "foreign_key", 1);
    scene.bench.run_command(&["adopt", "1"]);
    said(&agent, "recovered", 2);

    scene.endpoint.script([Action::json(400, r#"{"error":"invalid_grant"}"#)]);
    scene.bench.run_command(&["once", "--force"]);
    said(&agent, "halted", 1);
    agent.hangup();
    said(&agent, "nothing changed", 1);

    // Then nothing happens, and nothing is said.
    let lines = agent.output().lines().count();
    let quiet = looks(Duration::from_millis(100), Duration::from_secs(4), || agent.output().lines().count());
    assert!(quiet.iter().all(|count| *count == lines), "{}", agent.output());
    let output = agent.stop();
    assert_no_secret("the log", &output);
    output.lines().map(str::to_owned).collect()
}

/// A line of text without its time: level, and message up to the first field.
fn level_and_message(line: &str) -> (String, String) {
    let (level, rest) = line.trim_start().split_once(' ').unwrap();
    let words: Vec<&str> = rest.split(' ').take_while(|word| !word.contains('=')).collect();
    (level.to_owned(), words.join(" "))
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(level, message)| ((*level).to_owned(), (*message).to_owned())).collect()
}

/// The day, and its last line.
fn whole_day() -> Vec<(String, String)> {
    pairs(&[DAY.as_slice(), &[("INFO", "stopped; everything is saved")]].concat())
}

#[test]
fn a_day_as_text() {
    let lines = day(&Scene::new(Options::default(), ""));
    let found: Vec<(String, String)> = lines
        .iter()
        .map(|line| {
            let (time, rest) = line.split_once(' ').unwrap();
            assert!(time.ends_with('Z') && time.contains('T'), "{line}");
            level_and_message(rest)
        })
        .collect();
    assert_eq!(found, whole_day(), "{lines:#?}");
    let failed = lines.iter().find(|line| line.contains("the refresh failed")).unwrap();
    assert!(failed.contains("credential=kept outcome=transient failures=1 reason=\""), "{failed}");
}

#[test]
fn a_day_as_json() {
    let mut scene = Scene::new(Options::default(), "");
    scene.bench.env("ONE_API_SIDECAR_LOG_FORMAT", "json");
    let lines = day(&scene);
    let events: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    let found: Vec<(String, String)> =
        events.iter().map(|event| (text(event, "level"), text(event, "message"))).collect();
    assert_eq!(found, whole_day(), "{lines:#?}");

    // Which fields a line has, beside time, level, target and message.
    let fields = |message: &str| -> BTreeMap<String, Value> {
        let event = events.iter().find(|event| event["message"] == message).expect(message);
        let usual = ["timestamp", "level", "target", "message"];
        assert!(usual.iter().all(|field| event[field].is_string()), "{event}");
        let fields = event.as_object().unwrap().iter().filter(|(name, _)| !usual.contains(&name.as_str()));
        fields.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let of = |fields: &BTreeMap<String, Value>| fields.keys().cloned().collect::<Vec<_>>().join(" ");
    for (message, names) in [
        ("one-api-sidecar is ready", "config credentials gateways version"),
        ("refreshed", "credential expires_at took_ms"),
        ("key delivered", "channel credential gateway reenabled"),
        ("the refresh failed", "credential failures outcome reason"),
        ("failing", "credential reason"),
        ("recovered", "credential"),
        ("foreign_key", "channel credential gateway name reason"),
        ("halted", "credential reason"),
    ] {
        assert_eq!(of(&fields(message)), names, "{message}");
    }
    let delivered = fields("key delivered");
    assert_eq!((&delivered["credential"], &delivered["gateway"]), (&NAME.into(), &"default".into()));
    assert_eq!((&delivered["channel"], &delivered["reenabled"]), (&1.into(), &false.into()));
    assert!(fields("refreshed")["took_ms"].is_u64());
    assert_eq!(fields("the refresh failed")["outcome"], "transient");
    assert_eq!(fields("foreign_key")["channel"], 1);
    let reason = text(events.iter().find(|event| event["message"] == "halted").unwrap(), "reason");
    assert!(reason.contains("one-api-sidecar"), "the remedy is in the reason: {reason}");
}

/// Runs the program with its standard error as the journal's.
const IN_THE_JOURNAL: [&str; 4] = ["sh", "-c", "JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec \"$@\"", "sh"];

#[test]
fn a_day_in_the_journal() {
    let mut scene = Scene::new(Options::default(), "");
    scene.bench.wrap(IN_THE_JOURNAL);
    let lines = day(&scene);
    let found: Vec<(String, String)> = lines
        .iter()
        .map(|line| {
            let (priority, rest) = line.strip_prefix('<').and_then(|line| line.split_once('>')).expect(line);
            let (level, message) = level_and_message(rest);
            let expected = BTreeMap::from([("ERROR", "3"), ("WARN", "4"), ("INFO", "6")])[level.as_str()];
            assert_eq!(priority, expected, "{line}");
            (level, message)
        })
        .collect();
    assert_eq!(found, whole_day(), "{lines:#?}");
}

#[test]
fn the_journals_form_is_for_the_journal_only_and_json_keeps_its_own() {
    let mut scene = Scene::new(Options::default(), "");
    // Standard error was redirected since: it is another file.
    scene.bench.env("JOURNAL_STREAM", "1:1");
    let agent = scene.bench.start();
    assert!(!agent.output().contains("<6>"), "{}", agent.output());
    agent.stop();

    scene.bench.env("ONE_API_SIDECAR_LOG_FORMAT", "json");
    scene.bench.wrap(IN_THE_JOURNAL);
    let agent = scene.bench.start();
    let line = agent.lines_with("is ready").remove(0);
    let event: Value = serde_json::from_str(line.strip_prefix("<6>").expect(&line)).expect(&line);
    assert!(event["timestamp"].is_string(), "{line}");
    agent.stop();
}

#[test]
fn what_the_environment_says_wrongly_of_the_log_is_told() {
    let mut scene = Scene::new(Options::default(), "");
    scene.bench.env("ONE_API_SIDECAR_LOG", "inof");
    scene.bench.env("ONE_API_SIDECAR_LOG_FORMAT", "yaml");
    let agent = scene.bench.start();
    assert_eq!(agent.lines_with("Did you mean `info`?").len(), 1, "{}", agent.output());
    assert_eq!(agent.lines_with("Write `text` or `json`.").len(), 1, "{}", agent.output());
    agent.stop();

    scene.bench.env("ONE_API_SIDECAR_LOG", "error,hyper=loud");
    let output = scene.bench.run_command(&["status"]);
    assert!(output.stderr.contains("`hyper=loud`"), "told although only errors are logged: {output:?}");
    scene.bench.env("LANG", "zh_CN.UTF-8");
    let output = scene.bench.run_command(&["status"]);
    assert!(output.stderr.contains("不是日志过滤条件"), "{output:?}");
}
