//! Servers and networks that misbehave, met by the real program: rows 39, 40, 44 to 48 and 50 of the fault table.

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use support::database;
use support::endpoint::{Action, Endpoint, Options, Request};
use support::process::{Bench, Sidecar, assert_no_secret};
use support::proxy::listen_at;
use support::tls::{Authority, TlsFront};
use support::{SENTINEL, SOON, eventually, looks};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A gateway, and credentials that are added as text.
struct Stage {
    bench: Bench,
    config: String,
    database: PathBuf,
    channels: Vec<(String, i64)>,
}

impl Stage {
    fn new() -> Self {
        let mut bench = Bench::new();
        let database = bench.path("one-api.db");
        database::copy_fixture("one-api.db", &database);
        bench.env("ONE_API_SIDECAR_LOG", "debug");
        let config = format!(
            "[gateway]\ndatabase = \"{}\"\ncache_lag = \"0s\"\n[defaults]\ntimeout = \"400ms\"\n\
             connect_timeout = \"200ms\"\nrefresh_before = \"1s\"\nbackoff = {{ min = \"100ms\", max = \"500ms\" }}\n",
            database.display()
        );
        Self { bench, config, database, channels: Vec::new() }
    }

    /// Adds a credential; its seed is in the file that bears its name.
    fn add(&mut self, name: &str, url: &str, seed: &str, more: &str) {
        let channel = 100 + i64::try_from(self.channels.len()).unwrap();
        database::copy_channel(&self.database, 1, channel, "old-key");
        self.put_seed(name, seed);
        self.config += &format!(
            "[[credential]]\nname = \"{name}\"\ntoken_url = \"{url}\"\nclient_id = \"{name}\"\n\
             refresh_token = {{ file = \"{name}.seed\" }}\nchannels = [{channel}]\n{more}\n"
        );
        self.channels.push((name.to_owned(), channel));
    }

    fn put_seed(&self, name: &str, seed: &str) {
        std::fs::write(self.bench.path(&format!("{name}.seed")), seed).unwrap();
    }

    fn start(&self) -> Sidecar {
        self.bench.write_config(&self.config);
        self.bench.start()
    }

    fn key(&self, name: &str) -> String {
        let (_, channel) = self.channels.iter().find(|(known, _)| known == name).unwrap();
        database::channel(&self.database, *channel).key
    }

    /// A credential as `status --json` shows it.
    fn status(&self, name: &str) -> Value {
        let shown = self.bench.run_command(&["status", "--json"]);
        let status: Value = serde_json::from_str(&shown.stdout).unwrap_or_else(|_| panic!("{shown:?}"));
        let all = status["credentials"].as_array().unwrap();
        all.iter().find(|credential| credential["name"] == name).unwrap_or_else(|| panic!("{status}")).clone()
    }
}

/// The smallest gap between two requests.
fn smallest_gap(requests: &[Request]) -> Duration {
    requests.windows(2).map(|pair| pair[1].at - pair[0].at).min().expect("two requests")
}

#[test]
fn row_39_a_refused_refresh_token_is_sent_once_and_its_source_is_read_again() {
    let refusing = |status| {
        let answer = Action::json(status, r#"{"error":"invalid_grant","error_description":"Unknown or invalid."}"#);
        Endpoint::start(Options { fallback: answer, ..Options::default() })
    };
    let (plain, auth0) = (refusing(400), refusing(403));
    let renewed = Endpoint::start(Options::default());
    let mut stage = Stage::new();
    stage.add("plain", &plain.url(), &format!("{SENTINEL}-dead-1"), "");
    stage.add("auth0", &auth0.url(), &format!("{SENTINEL}-dead-2"), "");
    stage.add("renewed", &renewed.url(), &format!("{SENTINEL}-dead-3"), "timeout = \"10s\"");
    // The answer takes its time: enough to put a new seed where the dead one was.
    renewed.script([Action::Delay(SECOND)]);
    let agent = stage.start();
    assert!(renewed.wait_for_requests(1, SOON), "{}", agent.output());
    stage.put_seed("renewed", &renewed.issue());
    assert!(eventually(SOON, || renewed.is_valid(&stage.key("renewed"))), "{}", agent.output());
    for name in ["plain", "auth0"] {
        assert!(eventually(SOON, || stage.status(name)["state"] == "halted"), "{name}: {}", agent.output());
        assert_eq!(stage.status(name)["reason"], "revoked");
        assert_eq!(stage.key(name), "old-key");
    }
    // A while later, it is still one request each, and one more for the new seed.
    std::thread::sleep(2 * SECOND);
    assert_eq!([&plain, &auth0, &renewed].map(|endpoint| endpoint.requests().len()), [1, 1, 2]);
    assert_eq!(renewed.reuse_count(), 0);
    assert_no_secret("the agent", &agent.stop());
}

#[test]
fn row_40_retry_after_is_obeyed_in_both_forms_and_by_all_who_ask_that_host() {
    let busy = |retry_after: String| {
        let endpoint = Endpoint::start(Options::default());
        let headers = vec![("retry-after".to_owned(), retry_after)];
        endpoint.script([Action::Answer { status: 429, headers, body: Vec::new() }]);
        endpoint
    };
    // A date has whole seconds: a wish for 4 s may mean a little more than 3.
    #[expect(clippy::disallowed_methods, reason = "the server's clock")]
    let date = httpdate::fmt_http_date(SystemTime::now() + 5 * SECOND);
    let wished = Instant::now();
    let (seconds, dated) = (busy("3".into()), busy(date));
    let mut stage = Stage::new();
    // One at a time, so that the second one has not left when the first one's answer comes.
    stage.config += "[agent]\nmax_in_flight_per_host = 1\n";
    for (endpoint, name) in [(&seconds, "seconds"), (&seconds, "neighbour"), (&dated, "dated")] {
        stage.add(name, &endpoint.url(), &endpoint.issue(), "");
    }
    let agent = stage.start();
    assert!(seconds.wait_for_requests(3, SOON) && dated.wait_for_requests(2, SOON), "{}", agent.output());
    let gap = seconds.requests()[1].at - seconds.requests()[0].at;
    assert!(gap >= 3 * SECOND, "nobody asks the host before its time: {gap:?}");
    let asked_again = dated.requests()[1].at - wished;
    assert!(asked_again >= 4 * SECOND && asked_again < 8 * SECOND, "{asked_again:?}");
    for name in ["seconds", "neighbour", "dated"] {
        assert!(eventually(SOON, || stage.key(name) != "old-key"), "{name}: {}", agent.output());
    }
    agent.stop();
}

/// An endpoint that wants to be left alone for an hour, after these answers.
fn busy_after(answers: usize, lifetime: Duration) -> Endpoint {
    let headers = vec![("retry-after".to_owned(), "3600".to_owned())];
    let fallback = Action::Answer { status: 429, headers, body: Vec::new() };
    let endpoint = Endpoint::start(Options { lifetime, fallback, ..Options::default() });
    endpoint.script(vec![Action::Normal; answers]);
    endpoint
}

#[test]
fn row_40_one_pass_does_not_wait_for_a_host_that_wants_to_be_left_alone() {
    let endpoint = busy_after(0, HOUR);
    let mut stage = Stage::new();
    stage.config += "[agent]\nmax_in_flight_per_host = 1\n";
    for name in ["first", "second"] {
        stage.add(name, &endpoint.url(), &endpoint.issue(), "");
    }
    stage.bench.write_config(&stage.config);
    let (mut once, _) = stage.bench.spawn_command(&["once"]);
    let exit = once.wait_exit(SOON).and_then(|exit| exit.code());
    assert_eq!(exit, Some(1), "{}", once.output());
    assert_eq!(endpoint.requests().len(), 1, "the other one was not sent after it");
    assert_no_secret("once", &once.output());
}

#[test]
fn row_40_a_key_that_dies_while_its_host_wants_to_be_left_alone_is_told_before_and_then() {
    dies_while_its_host_wants_to_be_left_alone(&busy_after(2, 4 * SECOND), 3);
}

#[test]
fn row_40_so_is_one_that_had_failed_before_its_host_wanted_to_be_left_alone() {
    let endpoint = busy_after(2, 8 * SECOND);
    endpoint.script([Action::Answer { status: 503, headers: Vec::new(), body: Vec::new() }]);
    dies_while_its_host_wants_to_be_left_alone(&endpoint, 4);
}

/// Both are told, though after so many requests one of them was never refused by the 429 itself.
fn dies_while_its_host_wants_to_be_left_alone(endpoint: &Endpoint, requests: usize) {
    let mut stage = Stage::new();
    stage.config += "[agent]\nmax_in_flight_per_host = 1\n";
    for name in ["first", "second"] {
        stage.add(name, &endpoint.url(), &endpoint.issue(), "backoff = { min = \"1s\", max = \"1s\" }");
    }
    let agent = stage.start();
    let told = |topic: &str, name: &str| {
        agent
            .lines_with(&format!(" {topic} "))
            .iter()
            .filter(|line| line.contains(&format!("credential={name} ")))
            .count()
    };
    assert!(eventually(SOON, || told("expired", "first") == 1 && told("expired", "second") == 1), "{}", agent.output());
    for name in ["first", "second"] {
        assert_eq!(told("expiring", name), 1, "{name}: {}", agent.output());
    }
    assert_eq!(endpoint.requests().len(), requests);
    assert_eq!(stage.status("second")["state"], "expired");
    assert_no_secret("the agent", &agent.stop());
}

#[test]
fn a_secret_that_cannot_be_read_is_told_as_a_failure() {
    let endpoint = Endpoint::start(Options::default());
    let mut stage = Stage::new();
    let more = "token_endpoint_auth_method = \"client_secret_post\"\nclient_secret = { file = \"missing\" }";
    stage.add("kept", &endpoint.url(), &endpoint.issue(), more);
    let agent = stage.start();
    let told = || agent.lines_with(" failing ").iter().any(|line| line.contains("credential=kept"));
    assert!(eventually(SOON, told), "{}", agent.output());
    assert_eq!(agent.lines_with(" failing ").len(), 1, "{}", agent.output());
    assert_eq!(endpoint.requests().len(), 0);
    std::fs::write(stage.bench.path("missing"), "found").unwrap();
    assert!(eventually(SOON, || endpoint.is_valid(&stage.key("kept"))), "{}", agent.output());
    assert!(agent.wait_for_line("recovered", SOON).is_some(), "{}", agent.output());
    agent.stop();
}

#[test]
fn row_29_a_first_refresh_token_that_stands_in_line_is_not_spent_for_a_channel_that_went() {
    let endpoint = Endpoint::start(Options::default());
    endpoint.script([Action::Delay(4 * SECOND)]);
    let mut stage = Stage::new();
    stage.config += "[agent]\nmax_in_flight = 1\n";
    for name in ["first", "second"] {
        stage.add(name, &endpoint.url(), &endpoint.issue(), "timeout = \"10s\"");
    }
    let agent = stage.start();
    assert!(endpoint.wait_for_requests(1, SOON), "{}", agent.output());
    let sent = endpoint.requests()[0].parameters()["client_id"].clone();
    let (waits, channel) = stage.channels.iter().find(|(name, _)| *name != sent).unwrap();
    database::delete_channel(&stage.database, *channel);
    assert!(agent.wait_for_line("channel_missing", SOON).is_some(), "{}", agent.output());
    assert!(eventually(SOON, || endpoint.is_valid(&stage.key(&sent))), "{}", agent.output());
    assert_eq!(endpoint.requests().len(), 1, "{}", agent.output());
    // It goes on as soon as it can be delivered.
    database::copy_channel(&stage.database, 1, *channel, "old-key");
    assert!(eventually(SOON, || endpoint.is_valid(&stage.key(waits))), "{}", agent.output());
    agent.stop();
}

#[test]
fn row_44_no_lifetime_makes_a_storm() {
    const WATCHED: Duration = Duration::from_secs(5);
    let endpoint = |life: &str| {
        let body = format!(r#"{{"access_token":"key"{life}}}"#);
        Endpoint::start(Options { fallback: Action::json(200, body), ..Options::default() })
    };
    // Nothing usable is said: at most one a minute, whatever is assumed.
    let unusable =
        ["", r#","expires_in":0"#, r#","expires_in":-1"#, r#","expires_in":"soon""#, r#","expires_in":null"#]
            .map(endpoint);
    // Something tiny or huge is said: at most two a second, or none.
    let tiny = endpoint(r#","expires_in":0.001"#);
    let huge = endpoint(r#","expires_in":1e308"#);
    let mut stage = Stage::new();
    for (index, endpoint) in unusable.iter().enumerate() {
        stage.add(&format!("unusable-{index}"), &endpoint.url(), "seed", "fallback_lifetime = \"1s\"");
        stage.put_seed(&format!("unusable-{index}"), &format!("seed-{index}"));
    }
    stage.add("tiny", &tiny.url(), "seed-tiny", "");
    stage.add("huge", &huge.url(), "seed-huge", "");
    let agent = stage.start();
    std::thread::sleep(WATCHED);
    for (index, endpoint) in unusable.iter().enumerate() {
        assert_eq!(endpoint.requests().len(), 1, "unusable-{index}: {}", agent.output());
    }
    assert_eq!(huge.requests().len(), 1);
    let requests = tiny.requests();
    assert!(requests.len() <= 11, "{} in {WATCHED:?}", requests.len());
    assert!(smallest_gap(&requests) >= Duration::from_millis(490), "{:?}", smallest_gap(&requests));
    agent.stop();
}

#[test]
fn row_45_a_lost_answer_is_asked_for_once_more_while_the_key_lives() {
    const LIFE: Duration = Duration::from_secs(6);
    let answer = |status, body: &str| Action::Answer { status, headers: Vec::new(), body: body.into() };
    let losses = [
        ("hang", Action::Hang),
        ("drip", Action::Drip(Duration::from_millis(50))),
        ("reset", Action::Reset),
        ("500", answer(500, "")),
        ("502", answer(502, "<html>bad gateway</html>")),
        ("504", answer(504, "{}")),
        ("unreadable", answer(200, "<html>welcome</html>")),
        ("empty", answer(200, "")),
    ];
    let mut stage = Stage::new();
    let endpoints: Vec<(&str, Endpoint)> = losses
        .into_iter()
        .map(|(name, loss)| {
            let endpoint = Endpoint::start(Options { lifetime: LIFE, rotates: name != "drip", ..Options::default() });
            endpoint.script([Action::Normal, loss.clone(), loss.clone(), loss]);
            stage.add(name, &endpoint.url(), &endpoint.issue(), "rotates = true");
            (name, endpoint)
        })
        .collect();
    let agent = stage.start();
    let first_key = |name: &str| eventually(SOON, || stage.key(name) != "old-key").then(|| stage.key(name));
    for (name, endpoint) in &endpoints {
        let key = first_key(name).unwrap_or_else(|| panic!("{name}: {}", agent.output()));
        assert!(endpoint.accepted_tokens().contains(&key), "{name}");
    }
    for (name, endpoint) in &endpoints {
        // Beyond its death it is asked like any other failure, until the server comes to its senses.
        assert!(endpoint.wait_for_requests(5, 3 * LIFE), "{name}: {}", agent.output());
        let requests = endpoint.requests();
        let lived = |request: &&Request| request.at < requests[0].at + LIFE - Duration::from_millis(50);
        let while_it_lived = requests.iter().skip(1).filter(lived).count();
        assert!(while_it_lived <= 2, "{name}: {while_it_lived} requests while the key lived\n{}", agent.output());
        assert!(eventually(SOON, || endpoint.is_valid(&stage.key(name))), "{name} heals: {}", agent.output());
    }
    agent.stop();
}

#[test]
fn row_46_an_endless_answer_costs_no_memory() {
    let endpoint = Endpoint::start(Options { fallback: Action::Endless, ..Options::default() });
    let mut stage = Stage::new();
    for index in 0..8 {
        stage.add(
            &format!("endless-{index}"),
            &endpoint.url(),
            &endpoint.issue(),
            "timeout = \"30s\"\nrotates = false",
        );
    }
    let agent = stage.start();
    assert!(endpoint.wait_for_requests(40, SOON), "it is cut off and asked again: {}", agent.output());
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    // An unoptimised build needs about 25 MB; eight answers at once are cut at 1 MiB each.
    assert!(peak < 80 * 1024, "{peak} kB");
    agent.stop();
}

#[test]
fn row_47_no_redirect_takes_a_refresh_token_elsewhere() {
    let elsewhere = Endpoint::start(Options::default());
    let mut stage = Stage::new();
    let redirecting: Vec<Endpoint> = [301, 302, 303, 307, 308]
        .into_iter()
        .map(|status| {
            let fallback = Action::redirect(status, elsewhere.url());
            Endpoint::start(Options { fallback, ..Options::default() })
        })
        .collect();
    for (index, endpoint) in redirecting.iter().enumerate() {
        stage.add(&format!("redirect-{index}"), &endpoint.url(), &endpoint.issue(), "");
    }
    let agent = stage.start();
    for endpoint in &redirecting {
        assert!(endpoint.wait_for_requests(2, SOON), "{}", agent.output());
    }
    assert_eq!(elsewhere.requests().len(), 0, "refresh tokens leaked");
    assert!(stage.status("redirect-0")["last_error"].to_string().contains("redirect"), "{}", agent.output());
    agent.stop();
}

#[test]
fn row_48_nothing_is_sent_to_a_server_with_a_bad_certificate() {
    let endpoint = Endpoint::start(Options::default());
    let (authority, stranger) = (Authority::new(), Authority::new());
    let fronts = [
        ("unknown", TlsFront::start(&stranger.identity("localhost"), None, endpoint.address())),
        ("expired", TlsFront::start(&authority.expired("localhost"), None, endpoint.address())),
        ("other-name", TlsFront::start(&authority.identity("elsewhere.example"), None, endpoint.address())),
    ];
    let good = TlsFront::start(&authority.identity("localhost"), None, endpoint.address());
    let mut stage = Stage::new();
    authority.write(&stage.bench.path("ca.pem"));
    for (name, front) in &fronts {
        stage.add(name, &front.url_of("/bad"), &endpoint.issue(), "ca_file = \"ca.pem\"");
    }
    stage.add("good", &good.url_of("/good"), &endpoint.issue(), "ca_file = \"ca.pem\"");
    let agent = stage.start();
    for (name, front) in &fronts {
        assert!(eventually(SOON, || front.refused() >= 3), "{name} is tried again: {}", agent.output());
        let error = stage.status(name)["last_error"].to_string();
        assert!(error.contains("certificate of localhost") && error.contains("nothing was sent"), "{name}: {error}");
        assert_eq!(stage.key(name), "old-key");
    }
    assert!(eventually(SOON, || endpoint.is_valid(&stage.key("good"))), "{}", agent.output());
    assert!(endpoint.requests().iter().all(|request| request.path() == "/good"), "tokens sent");
    agent.stop();
}

#[test]
fn row_50_a_network_that_was_down_heals_without_a_storm() {
    let endpoint = Endpoint::start(Options::default());
    // A port where nobody listens yet, and a name that nobody knows.
    let closed: SocketAddr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut stage = Stage::new();
    stage.add("down", &format!("http://{closed}/token"), &endpoint.issue(), "");
    stage.add("nameless", "https://no-such-host.invalid/token", "seed-of-nobody", "");
    let agent = stage.start();
    let is_failing = |name: &str| {
        let failures = stage.status(name)["failures"].as_u64().unwrap_or_default();
        failures >= 4
    };
    assert!(eventually(SOON, || is_failing("down") && is_failing("nameless")), "{}", agent.output());
    // Full jitter between 100 ms and 500 ms: at least two tries in a second, at most ten.
    let failures = || stage.status("down")["failures"].as_u64().unwrap_or_default();
    let seen = looks(SECOND, 3 * SECOND, failures);
    let rise = seen.last().unwrap() - seen.first().unwrap();
    assert!((2..=24).contains(&rise), "{seen:?}");
    assert_eq!(endpoint.requests().len(), 0);

    let behind = endpoint.address();
    let _network = listen_at(closed, move |mut stream| async move {
        let mut behind = tokio::net::TcpStream::connect(behind).await?;
        tokio::io::copy_bidirectional(&mut stream, &mut behind).await.map(drop)
    });
    let up = Instant::now();
    assert!(eventually(SOON, || endpoint.is_valid(&stage.key("down"))), "{}", agent.output());
    assert!(up.elapsed() < 3 * SECOND, "healed after {:?}", up.elapsed());
    assert_eq!((endpoint.requests().len(), endpoint.reuse_count()), (1, 0), "one request, when it could be made");
    assert_eq!(stage.status("down")["state"], "active");
    assert_no_secret("the agent", &agent.stop());
}
