//! Notifiers in the running agent, and `notify test`: a bad one delays no refresh and no other notifier, and is told.

mod support;

use std::time::Duration;

use serde_json::Value;
use support::database;
use support::endpoint::{Action, Endpoint, Options};
use support::process::{Bench, assert_no_secret};
use support::{SENTINEL, SOON, eventually, looks};

const TAKEN: &str = r#"{"code":200,"msg":"ok"}"#;

/// A bench with a gateway's database, an endpoint of short tokens, and these notifiers.
fn bench(endpoint: &Endpoint, notifiers: &[(&str, String)]) -> Bench {
    let mut bench = Bench::new();
    let database = bench.path("one-api.db");
    database::copy_fixture("one-api.db", &database);
    bench.env("SEED", endpoint.issue());
    bench.env("TOKEN", format!("{SENTINEL}-notifier"));
    let mut config = format!(
        r#"
[gateway]
database  = "{}"
cache_lag = "0s"

[[credential]]
name           = "steady"
token_url      = "{}"
client_id      = "steady"
refresh_token  = {{ env = "SEED" }}
refresh_before = "1s"
channels       = [1]
"#,
        database.display(),
        endpoint.url(),
    );
    for (name, fields) in notifiers {
        config +=
            &format!("\n[[notify]]\ntype = \"pushplus\"\nname = \"{name}\"\ntoken = {{ env = \"TOKEN\" }}\n{fields}\n");
    }
    bench.write_config(&config);
    bench
}

fn url(endpoint: &Endpoint) -> String {
    format!("url = \"{}\"", endpoint.url_of("/send"))
}

/// The address of a port where nobody listens.
fn dead() -> String {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("url = \"http://127.0.0.1:{port}/send\"")
}

fn doing(fallback: Action) -> Endpoint {
    Endpoint::start(Options { fallback, ..Options::default() })
}

#[test]
fn row_54_notifiers_that_are_down_slow_or_refuse_delay_no_refresh_and_are_told_by_another() {
    let endpoint = Endpoint::start(Options { lifetime: Duration::from_secs(3), ..Options::default() });
    let (silent, endless) = (doing(Action::Hang), doing(Action::Endless));
    let refusing = Endpoint::answering(200, &format!(r#"{{"code":903,"msg":"bad token {SENTINEL}-notifier"}}"#));
    let good = Endpoint::answering(200, TAKEN);
    let notifiers = [
        ("silent", format!("{}\nevents = [\"all\"]", url(&silent))),
        ("endless", format!("{}\nevents = [\"all\"]", url(&endless))),
        ("refusing", format!("{}\nevents = [\"all\"]", url(&refusing))),
        ("down", format!("{}\nevents = [\"all\"]", dead())),
        ("good", format!("{}\nevents = [\"default\"]", url(&good))),
    ];
    let bench = bench(&endpoint, &notifiers);
    let agent = bench.start();
    let key = || database::channel(&bench.path("one-api.db"), 1).key;
    assert!(eventually(SOON, || endpoint.is_valid(&key())), "the first key arrives");
    let seen = looks(Duration::from_millis(20), Duration::from_secs(8), || endpoint.is_valid(&key()));
    let valid = seen.iter().filter(|valid| **valid).count();
    assert!(valid * 100 >= seen.len() * 99, "{valid} of {} looks found a valid key", seen.len());
    assert!(endpoint.requests().len() >= 4, "{} refreshes", endpoint.requests().len());

    assert!(agent.wait_for_line("not taken notifier=refusing", SOON).is_some(), "{}", agent.output());
    assert!(good.wait_for_requests(1, SOON), "the good one tells of the refusing one: {}", agent.output());
    let message = good.requests()[0].json();
    assert!(message["title"].as_str().unwrap().contains("refusing"), "{message}");
    assert!(message["content"].as_str().unwrap().contains("903"), "{message}");
    assert_no_secret("the message", message["content"].as_str().unwrap());
    let output = agent.stop();
    assert_no_secret("the agent", &output);
    for command in ["status", "doctor"] {
        let output = bench.run_command(&[command]);
        let of = |name: &str| output.stdout.lines().filter(|line| line.contains(name)).collect::<Vec<_>>().join("\n");
        assert!(of("refusing").contains("code 903"), "{command}: {output:?}");
        // status does not name it at all, doctor names it as well.
        assert!(!of("good").contains('!') && !of("good").contains("code"), "{command}: {output:?}");
        assert_no_secret(command, &format!("{output:?}"));
    }
}

#[test]
fn row_54_what_was_not_taken_before_a_restart_goes_out_after_it() {
    let endpoint = Endpoint::answering(400, r#"{"error":"invalid_grant"}"#);
    let broken = doing(Action::Reset);
    let mut bench = bench(&Endpoint::start(Options::default()), &[("wechat", url(&broken))]);
    let config = std::fs::read_to_string(bench.config()).unwrap();
    let token_url = config.lines().find(|line| line.starts_with("token_url")).unwrap().to_owned();
    let config = config.replace(&token_url, &format!("token_url = \"{}\"", endpoint.url()));
    bench.env("SEED", format!("{SENTINEL}-seed"));
    bench.write_config(&config);
    let agent = bench.start();
    assert!(broken.wait_for_requests(1, SOON), "it is tried: {}", agent.output());
    agent.stop();

    let good = Endpoint::answering(200, TAKEN);
    bench.write_config(&config.replace(&url(&broken), &url(&good)));
    let agent = bench.start();
    assert!(good.wait_for_requests(1, SOON), "{}", agent.output());
    let message = good.requests()[0].json();
    assert!(message["title"].as_str().unwrap().contains("Authorize steady again"), "{message}");
    agent.stop();
    assert_eq!(good.requests().len(), 1);

    // And it is not told again: what was to be told would have gathered for two seconds.
    let agent = bench.start();
    let told = looks(Duration::from_millis(100), Duration::from_secs(4), || good.requests().len());
    assert!(told.iter().all(|messages| *messages == 1), "{told:?}");
    agent.stop();
}

#[test]
fn notify_test_says_what_each_answered() {
    let (good, refusing) =
        (Endpoint::answering(200, TAKEN), Endpoint::answering(200, r#"{"code":903,"msg":"bad token"}"#));
    let endpoint = Endpoint::start(Options::default());
    let mut bench = bench(&endpoint, &[("good", url(&good)), ("refusing", url(&refusing)), ("down", dead())]);

    let output = bench.run_command(&["notify", "test"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let lines: Vec<&str> = output.stdout.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(lines[0], "good: taken");
    assert!(lines[1].starts_with("refusing: not taken: ") && lines[1].contains("code 903): bad token"), "{output:?}");
    assert!(lines[2].starts_with("down: not taken: ") && lines[2].contains("refused"), "{output:?}");
    assert!(good.requests()[0].json()["title"].as_str().unwrap().contains("Test"));
    assert_no_secret("notify test", &format!("{output:?}"));

    let output = bench.run_command(&["notify", "test", "good", "--json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let answers: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(answers, serde_json::json!([{ "name": "good", "taken": true, "message": null, "remedy": null }]));
    assert_eq!((good.requests().len(), refusing.requests().len()), (2, 1), "the others are left alone");

    let output = bench.run_command(&["notify", "test", "goood"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("good, refusing, down"), "{output:?}");

    bench.env("LANG", "zh_CN.UTF-8");
    let output = bench.run_command(&["notify", "test", "good"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "good: 已送达\n"));
    assert!(!bench.path("one-api-sidecar").exists(), "nothing but messages was made");
}

#[test]
fn notify_test_without_a_notifier_says_what_to_add() {
    let bench = bench(&Endpoint::start(Options::default()), &[]);
    let output = bench.run_command(&["notify", "test"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("[[notify]]"), "{output:?}");
}
