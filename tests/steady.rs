//! The promise over time: with tokens of four seconds on a strict server, the key in the database is valid.

mod support;

use std::time::Duration;

use support::database;
use support::endpoint::{Endpoint, Options};
use support::process::{Bench, assert_no_secret};
use support::scene::Scene;
use support::{SOON, eventually, looks};

#[test]
fn thirty_seconds_of_four_second_tokens() {
    let endpoint = Endpoint::start(Options { lifetime: Duration::from_secs(4), ..Options::default() });
    let mut bench = Bench::new();
    let database = bench.path("one-api.db");
    database::copy_fixture("one-api.db", &database);
    bench.env("SEED", endpoint.issue());
    bench.write_config(&format!(
        r#"
[gateway]
database  = "{}"
cache_lag = "0s"

[[credential]]
name           = "steady"
token_url      = "{}"
client_id      = "steady"
refresh_token  = {{ env = "SEED" }}
refresh_before = "2s"
channels       = [1]
"#,
        database.display(),
        endpoint.url(),
    ));

    let agent = bench.start();
    let key = || database::channel(&database, 1).key;
    assert!(eventually(SOON, || endpoint.is_valid(&key())), "the first key arrives");
    let seen = looks(Duration::from_millis(50), Duration::from_secs(30), || endpoint.is_valid(&key()));
    let output = agent.stop();

    let valid = seen.iter().filter(|valid| **valid).count();
    let (refreshes, share) = (endpoint.requests().len(), valid as f64 / seen.len() as f64);
    println!("{refreshes} refreshes, {valid} of {} looks found a valid key ({:.2} %)", seen.len(), share * 100.0);
    assert!(seen.len() > 300, "there were looks");
    assert!(refreshes >= 8, "30 s need at least 8 tokens");
    assert!(share >= 0.99);
    assert_eq!(endpoint.reuse_count(), 0);
    assert_no_secret("the agent", &output);
}

#[test]
fn at_rest_the_pages_of_the_program_are_given_back() {
    let scene = Scene::strict(Duration::from_secs(3600), "");
    let agent = scene.bench.start();
    assert!(eventually(SOON, || scene.is_delivered()), "the first key arrives");
    let kilobytes = |field: &str| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", agent.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    };
    let most = || kilobytes("VmHWM:");
    // Of the start, the first look and the refresh hardly anything is needed any more.
    let rests = eventually(SOON, || kilobytes("VmRSS:") * 4 < most() * 3);
    assert!(rests, "{} of at most {} KiB", kilobytes("VmRSS:"), most());
    agent.stop();
}
