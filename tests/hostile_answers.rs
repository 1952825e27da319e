//! Forty answers that no sane token endpoint gives: no bad key is ever written, the agent lives, and no secret is
//! shown, at the most talkative log level.

mod support;

use std::collections::HashMap;
use std::time::Duration;

use support::database;
use support::endpoint::{Action, Endpoint, Options};
use support::process::{Bench, assert_no_secret};
use support::{SENTINEL, SOON, eventually};

/// An access token that is sound, in an answer that is not.
const SOUND: &str = "sentinel-5d3b9f-hostile-access";

/// A sound access token for whoever binds values; a disaster for whoever builds SQL from them.
const QUOTES: &str = r#"sentinel-5d3b9f'; DROP TABLE channels; --""#;

struct Hostile {
    what: &'static str,
    action: Action,
    /// Its access token, where that is sound all the same and may be written.
    sound: Option<&'static str>,
}

fn refused(what: &'static str, body: impl Into<Vec<u8>>) -> Hostile {
    Hostile { what, action: Action::json(200, body), sound: None }
}

fn sound(what: &'static str, rest: &str) -> Hostile {
    let body = format!(r#"{{"access_token":"{SOUND}",{rest}}}"#);
    Hostile { what, action: Action::json(200, body), sound: Some(SOUND) }
}

fn status(what: &'static str, status: u16, body: impl Into<Vec<u8>>) -> Hostile {
    Hostile { what, action: Action::json(status, body), sound: None }
}

fn wire(what: &'static str, action: Action) -> Hostile {
    Hostile { what, action, sound: None }
}

/// A 200 whose access token is this JSON value.
fn token(what: &'static str, value: &str) -> Hostile {
    refused(what, format!(r#"{{"access_token":{value},"expires_in":3600,"refresh_token":"{SENTINEL}-{what}"}}"#))
}

fn hostile_answers(elsewhere: &Endpoint) -> Vec<Hostile> {
    let html = format!("<html><body>Sign in: {SENTINEL}</body></html>");
    let as_html = vec![("content-type".into(), "text/html".into())];
    vec![
        token("null", "null"),
        token("empty text", r#""""#),
        token("a number", "12345"),
        token("true", "true"),
        token("a list", r#"["sentinel-5d3b9f-in-a-list"]"#),
        token("an object", r#"{"value":"sentinel-5d3b9f-in-an-object"}"#),
        token("a newline inside", r#""sentinel-5d3b9f\nX-Injected: 1""#),
        token("a newline at the end", r#""sentinel-5d3b9f\n""#),
        token("a carriage return", r#""sentinel-5d3b9f\r\nX-Injected: 1""#),
        token("a NUL", r#""sentinel-5d3b9f\u0000""#),
        token("a tab", r#""sentinel-5d3b9f\tb""#),
        token("a DEL", r#""sentinel-5d3b9f\u007f""#),
        token("a C1 control", r#""sentinel-5d3b9f\u0085""#),
        token("2 MB", &format!(r#""{SENTINEL}{}""#, "x".repeat(2 << 20))),
        refused("no access token", format!(r#"{{"token_type":"Bearer","refresh_token":"{SENTINEL}-alone"}}"#)),
        refused("an empty object", "{}"),
        refused("null as a whole", "null"),
        refused("text as a whole", format!("\"{SENTINEL}\"")),
        refused("a list as a whole", format!(r#"[{{"access_token":"{SENTINEL}"}}]"#)),
        refused("nested too deep", format!(r#"{{"data":{{"access_token":"{SENTINEL}"}}}}"#)),
        refused("a hundred thousand brackets", "[".repeat(100_000)),
        refused("an empty body", ""),
        refused("cut JSON", format!(r#"{{"access_token":"{SENTINEL}-cut"#)),
        refused("invalid UTF-8", [b"{\"access_token\":\"sentinel-5d3b9f\xff\xfe\"}".as_slice()].concat()),
        refused(
            "UTF-16",
            format!("{{\"access_token\":\"{SENTINEL}\"}}")
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<_>>(),
        ),
        refused("an error with 200", format!(r#"{{"error":"invalid_request","error_description":"{SENTINEL}"}}"#)),
        wire(
            "HTML with 200",
            Action::Answer { status: 200, headers: as_html.clone(), body: html.clone().into_bytes() },
        ),
        wire("HTML with 403", Action::Answer { status: 403, headers: as_html, body: html.into_bytes() }),
        status("204 without anything", 204, ""),
        status("an unknown 401", 401, format!(r#"{{"message":"{SENTINEL}"}}"#)),
        status("a nested error", 401, format!(r#"{{"error":{{"message":"{SENTINEL}","code":"odd"}}}}"#)),
        status("an access token with 500", 500, format!(r#"{{"access_token":"{SENTINEL}-500"}}"#)),
        status("an access token with 400", 400, format!(r#"{{"access_token":"{SENTINEL}-400"}}"#)),
        wire("a redirect by 307", Action::redirect(307, elsewhere.url())),
        wire("a redirect by 308", Action::redirect(308, elsewhere.url())),
        wire("a cut body", Action::Truncate),
        wire("no end", Action::Endless),
        wire("a reset", Action::Reset),
        sound("a lifetime in words", r#""expires_in":"soon""#),
        sound("a negative lifetime", r#""expires_in":-1"#),
        sound("a lifetime beyond all time", r#""expires_in":1e300"#),
        sound("a refresh token that is a number", r#""expires_in":3600,"refresh_token":7"#),
        Hostile { sound: Some(QUOTES), ..token("quotes and SQL", &serde_json::Value::from(QUOTES).to_string()) },
    ]
}

#[test]
fn no_bad_key_is_written_the_agent_lives_and_nothing_is_shown() {
    let elsewhere = Endpoint::start(Options::default());
    let answers = hostile_answers(&elsewhere);
    assert!(answers.len() >= 40, "{} hostile answers", answers.len());
    let path = |index: usize| format!("/hostile/{index}");
    let paths = answers.iter().enumerate().map(|(index, hostile)| (path(index), hostile.action.clone()));
    let paths: HashMap<String, Action> = paths.collect();
    let endpoint = Endpoint::start(Options { lifetime: Duration::from_secs(4), paths, ..Options::default() });
    let pushplus = Endpoint::answering(200, r#"{"code":200}"#);

    let mut bench = Bench::new();
    let database = bench.path("one-api.db");
    database::copy_fixture("one-api.db", &database);
    bench.env("ONE_API_SIDECAR_LOG", "trace");
    bench.env("CLIENT_SECRET", format!("{SENTINEL}-client"));
    bench.env("PUSHPLUS_TOKEN", format!("{SENTINEL}-pushplus"));
    let mut config = format!(
        r#"
[gateway]
database  = "{}"
cache_lag = "0s"

[defaults]
timeout         = "3s"
connect_timeout = "1s"
refresh_before  = "2s"

[[notify]]
type   = "pushplus"
token  = {{ env = "PUSHPLUS_TOKEN" }}
url    = "{}"
events = ["all"]
"#,
        database.display(),
        pushplus.url_of("/send")
    );
    let mut add = |name: &str, url: String, channel: i64| {
        bench.env(&format!("SEED_{channel}"), endpoint.issue());
        config += &format!(
            r#"
[[credential]]
name          = "{name}"
token_url     = "{url}"
client_id     = "{name}"
client_secret = {{ env = "CLIENT_SECRET" }}
token_endpoint_auth_method = "client_secret_post"
refresh_token = {{ env = "SEED_{channel}" }}
channels      = [{channel}]
"#
        );
    };
    add("healthy", endpoint.url(), 1);
    let old_key = |channel: i64| format!("old-key-{channel}");
    let channels: Vec<i64> = (100..).take(answers.len()).collect();
    for (index, &channel) in channels.iter().enumerate() {
        database::copy_channel(&database, 1, channel, &old_key(channel));
        add(&format!("hostile-{index}"), endpoint.url_of(&path(index)), channel);
    }
    bench.write_config(&config);

    let mut agent = bench.start();
    let met = |index: usize| endpoint.requests().iter().any(|request| request.path() == path(index));
    let all_met = || (0..answers.len()).all(met);
    eventually(Duration::from_secs(60), || all_met() || !agent.is_running());
    assert!(all_met(), "every hostile answer was given:\n{}", agent.output());
    // The agent goes on after all of them: the healthy credential is refreshed once more, and its key arrives.
    let healthy = || endpoint.requests_of("healthy").len();
    let so_far = healthy();
    assert!(eventually(SOON, || healthy() > so_far), "the agent lives:\n{}", agent.output());
    assert!(eventually(SOON, || endpoint.is_valid(&database::channel(&database, 1).key)), "{}", agent.output());
    let shown = [["status"].as_slice(), &["status", "--json"], &["channels"], &["check"]]
        .map(|command| format!("{:?}", bench.run_command(command)));
    let output = agent.stop();

    for (hostile, channel) in answers.iter().zip(channels) {
        let key = database::channel(&database, channel).key;
        let kept = key == old_key(channel) || hostile.sound == Some(key.as_str());
        assert!(kept, "{}: {key:?} was written", hostile.what);
    }
    assert_eq!(elsewhere.requests().len(), 0, "no redirect is followed");
    let reused = endpoint.requests_of("healthy").iter().filter(|request| request.reused).count();
    assert_eq!(reused, 0, "the healthy credential sends no spent refresh token");
    assert!(!pushplus.requests().is_empty(), "people were told");
    for message in pushplus.requests() {
        let mut message = message.json();
        message["token"].take();
        assert_no_secret("a message", &message.to_string());
    }
    assert_no_secret("the agent", &output);
    shown.iter().for_each(|text| assert_no_secret("a command", text));
    assert!(output.len() > 10_000, "the log was at its most talkative");
}
