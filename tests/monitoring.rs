//! The alert rules and the dashboard: they ask only for what the program shows, and Prometheus' own tool runs the
//! rules' tests.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use one_api_sidecar::channel::policy::ChannelState;
use one_api_sidecar::config::plan::{Plan, Surroundings};
use one_api_sidecar::credential::record::Settled;
use one_api_sidecar::telemetry::metrics::{Counters, Format};
use one_api_sidecar::telemetry::status::{CredentialState, Status};
use serde_json::Value;
use support::endpoint::Options;
use support::scene::Scene;
use support::{SOON, eventually, http, require};

const PREFIX: &str = "one_api_sidecar_";
/// Labels that Prometheus adds by itself.
const OF_THE_SCRAPE: [&str; 2] = ["instance", "job"];

fn packaging(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(packaging(path)).unwrap()
}

/// Every series that the program shows: name → names of labels.
fn shown() -> BTreeMap<String, BTreeSet<String>> {
    let status: Status = serde_json::from_value(serde_json::json!({
        "version": "1", "time": "2026-01-02T03:04:05Z",
        "agent": { "running": true, "since": null,
                   "config": { "path": "", "loaded_at": "2026-01-02T03:04:05Z", "problem": null } },
        "credentials": [{
            "name": "a", "state": "active", "reason": null, "expires_at": "2026-01-02T03:04:05Z",
            "refresh_at": "2026-01-02T03:04:05Z", "refreshed_at": null, "failures": 0, "last_error": null,
            "channels": [{ "gateway": "default", "id": 1, "name": "", "state": "delivered", "status": 1,
                           "delivered_at": null, "problem": null }]
        }]
    }))
    .unwrap();
    let config = "[gateway]\ndatabase = \"/data/one-api.db\"\n[server]\nlisten = \"127.0.0.1:9170\"\n\
        [[notify]]\ntype = \"pushplus\"\ntoken = { env = \"A\" }\n\
        [[credential]]\nname = \"a\"\ntoken_url = \"https://a.example.com/\"\nclient_id = \"a\"\n\
        refresh_token = { env = \"A\" }\nchannels = [1]\n";
    let surroundings = Surroundings { directory: Path::new("/"), env: &|_| Some("a".into()), mode: Some(0o600) };
    let (plan, _) = Plan::read(config, &surroundings).unwrap();
    let counters = Counters::default();
    counters.follow(&Plan::empty(&plan), &plan);
    counters.refreshed(&"a".into(), Settled::Refreshed, Some(std::time::Duration::ZERO));
    counters.publish_seconds(&"default".into()).observe(0.1);
    let text = counters.exposition(status, Format::Text);
    let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        shown.entry(name.to_owned()).or_default().extend(labels);
    }
    shown
}

/// The metrics that an expression asks for, each with the matchers on its labels (name, operator and value).
fn asked(expression: &str) -> Vec<(String, Vec<(String, String)>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut asked = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find(PREFIX) {
        rest = &rest[at..];
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        rest = &rest[end..];
        let mut matchers = Vec::new();
        if let Some((inside, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            for matcher in inside.split("\",") {
                let (label, value) = matcher.split_once('=').or_else(|| matcher.split_once("!~")).expect(matcher);
                let value = value.trim_start_matches('~').trim_matches('"').to_owned();
                matchers.push((label.trim().trim_end_matches('!').to_owned(), value));
            }
            rest = after;
        }
        asked.push((name, matchers));
    }
    asked
}

/// The names of labels in `by (…)`, `on (…)` and the like.
fn grouped(expression: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for word in ["by (", "on (", "without (", "ignoring ("] {
        for rest in expression.split(word).skip(1) {
            let inside = rest.split(')').next().unwrap_or_default();
            names.extend(inside.split(',').map(|name| name.trim().to_owned()));
        }
    }
    names
}

/// The names after `opening` in templates: `{{ $labels.x }}`, `{{x}}`.
fn in_templates(text: &str, opening: &str) -> BTreeSet<String> {
    let name = |rest: &str| {
        rest.trim_start().split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().map(str::to_owned)
    };
    text.split(opening).skip(1).filter_map(name).filter(|name| !name.is_empty()).collect()
}

fn check(place: &str, expression: &str, templates: BTreeSet<String>) {
    let shown = shown();
    let asked = asked(expression);
    let mut labels: BTreeSet<String> = OF_THE_SCRAPE.map(str::to_owned).into();
    let states: BTreeSet<&str> = CredentialState::ALL.map(CredentialState::as_str).into();
    let channel_states: BTreeSet<&str> = [
        ChannelState::Delivered,
        ChannelState::Pending,
        ChannelState::Foreign,
        ChannelState::Missing,
        ChannelState::DisabledByHand,
        ChannelState::Flapping,
        ChannelState::Released,
        ChannelState::Unsupported,
        ChannelState::Conflict,
    ]
    .map(ChannelState::as_str)
    .into();
    for (name, matchers) in &asked {
        let known = shown.get(name).unwrap_or_else(|| panic!("{place} asks for {name}, which is not shown"));
        labels.extend(known.iter().cloned());
        for (label, value) in matchers {
            assert!(labels.contains(label), "{place}: {name} has no label {label}");
            let words = value.split('|').filter(|word| !word.contains('$'));
            let known: Option<&BTreeSet<&str>> = match (label.as_str(), name.as_str()) {
                ("state", "one_api_sidecar_channel_state") => Some(&channel_states),
                ("state", _) => Some(&states),
                _ => None,
            };
            for word in words {
                assert!(known.is_none_or(|known| known.contains(word)), "{place}: {name} has no {label} {word}");
                let outcomes = Settled::OUTCOMES.into_iter().chain(["failed", "rejected", "conflict"]);
                assert!(label != "outcome" || outcomes.into_iter().any(|known| known == word), "{place}: {word}");
            }
        }
    }
    for label in grouped(expression).iter().chain(&templates) {
        assert!(labels.contains(label), "{place} names the label {label}, which is not there");
    }
}

#[test]
fn the_alert_rules_ask_only_for_what_is_shown_and_say_what_to_do() {
    let text = read("prometheus/alerts.yml");
    let rules: Vec<&str> = text.split("- alert: ").skip(1).collect();
    assert!(rules.len() >= 10, "{}", rules.len());
    for rule in rules {
        let name = rule.lines().next().unwrap_or_default();
        let (head, annotations) = rule.split_once("annotations:").expect(name);
        let (_, rest) = head.split_once("expr:").expect(name);
        let (expression, rest) = rest.split_once("for:").expect(name);
        assert!(rest.contains("severity: critical") || rest.contains("severity: warning"), "{name}");
        assert!(expression.contains(PREFIX) || expression.contains("up{"), "{name}");
        check(name, expression, in_templates(annotations, "$labels."));
        let (summary, description) = annotations.split_once("description:").expect(name);
        assert!(summary.contains("summary: ") && description.trim().len() > 100, "{name} says what to do");
        assert!(description.contains('`'), "{name} names a command or a setting");
    }
}

#[test]
fn the_dashboard_asks_only_for_what_is_shown_and_shows_everything() {
    let dashboard: Value = serde_json::from_str(&read("grafana/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut used = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "{title} has an id of its own");
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title} is explained");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            check(title, expression, in_templates(target["legendFormat"].as_str().unwrap(), "{{"));
            used.extend(asked(expression).into_iter().map(|(name, _)| name));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["definition"].as_str() {
            check("a variable", query, BTreeSet::new());
            used.extend(asked(query).into_iter().map(|(name, _)| name));
        }
    }
    let of_histograms = |name: &&String| !name.ends_with("_sum") && !name.ends_with("_count");
    let shown = shown();
    let unused: Vec<&String> = shown.keys().filter(of_histograms).filter(|name| !used.contains(*name)).collect();
    assert!(unused.is_empty(), "the dashboard leaves out {unused:?}");
}

#[test]
fn what_is_asked_for_is_read_out_of_an_expression() {
    let expression =
        "sum by (a, le) (rate(one_api_sidecar_x_bucket{i=~\"$i\",state!~\"b|c\"}[5m])) > one_api_sidecar_y";
    let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    let expected = vec![
        ("one_api_sidecar_x_bucket".to_owned(), vec![pair("i", "$i"), pair("state", "b|c")]),
        ("one_api_sidecar_y".to_owned(), vec![]),
    ];
    assert_eq!(asked(expression), expected);
    assert_eq!(grouped(expression), ["a", "le"].map(str::to_owned).into());
    assert_eq!(in_templates("{{ $labels.a }} and {{$labels.b}}", "$labels."), ["a", "b"].map(str::to_owned).into());
}

#[test]
fn promtool_takes_the_rules_their_tests_and_the_example() {
    if !require("promtool", "REQUIRE_PROMTOOL") {
        return;
    }
    for arguments in
        [["check", "rules", "alerts.yml"], ["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]]
    {
        let output = Command::new("promtool").args(arguments).current_dir(packaging("prometheus")).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.contains("SUCCESS"), "{arguments:?}: {said}");
    }
}

/// A Prometheus server; it ends with the test.
struct Prometheus(Child, SocketAddr);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Prometheus {
    /// One that scrapes this address every second, with our rules.
    fn scraping(agent: SocketAddr, scene: &Scene) -> Self {
        let config = scene.bench.path("prometheus.yml");
        let example = read("prometheus/prometheus.yml");
        let rules = packaging("prometheus/alerts.yml").display().to_string();
        let ours = example
            .replace("  - alerts.yml", &format!("  - {rules}"))
            .replace("127.0.0.1:9170", &agent.to_string())
            .replace("interval: 30s", "interval: 1s");
        std::fs::write(&config, ours).unwrap();
        // Free now, and nobody else asks for it in the moment that this takes.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", scene.bench.path("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child, address)
    }

    /// What its API says; null while it cannot be asked.
    fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let request = format!("GET /api/v1/{path}?{query} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        serde_json::from_str(&http::say(self.1, request.as_bytes()).body).unwrap_or_default()
    }

    fn query(&self, expression: &str) -> Value {
        self.ask("query", &[("query", expression)])
    }
}

#[test]
fn a_real_prometheus_scrapes_it_and_understands_what_is_asked() {
    if !require("prometheus", "REQUIRE_PROMTOOL") {
        return;
    }
    let scene = Scene::new(Options::default(), "");
    let config = std::fs::read_to_string(scene.bench.config()).unwrap();
    scene.bench.write_config(&(config + "\n[server]\nlisten = \"127.0.0.1:0\"\n"));
    let agent = scene.bench.start();
    let prometheus = Prometheus::scraping(http::address(&agent), &scene);
    let value = |expression: &str| prometheus.query(expression)["data"]["result"][0]["value"][1].clone();
    let scraped = eventually(SOON * 3, || value("one_api_sidecar_credentials{state=\"active\"}") == "1");
    let targets = prometheus.ask("targets", &[]);
    assert!(scraped, "{targets}\n{}", agent.output());
    let target = &targets["data"]["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target}");
    assert_eq!(value("one_api_sidecar_refreshes_total{outcome=\"ok\"}"), "1");
    let state = "one_api_sidecar_channel_state{gateway=\"default\",channel=\"1\",state=\"delivered\"}";
    assert!(eventually(SOON, || value(state) == "1"), "{}", agent.output());

    let dashboard: Value = serde_json::from_str(&read("grafana/dashboard.json")).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    for target in targets {
        let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", "1m");
        let expression = expression.replace("$instance", ".*").replace("$credential", ".*");
        let answer = prometheus.query(&expression);
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        // What stands is there at once; what changes wants two scrapes and something that changes.
        let is_empty = answer["data"]["result"].as_array().is_none_or(Vec::is_empty);
        let may_be = expression.contains("state!~") || expression.contains("[");
        assert!(!is_empty || may_be, "{expression}: {answer}");
    }
    let rules = || prometheus.ask("rules", &[])["data"]["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
    let are_evaluated = || rules().len() >= 10 && rules().iter().all(|rule| rule["health"] == "ok");
    assert!(eventually(SOON, are_evaluated), "{:?}", rules().iter().map(|rule| &rule["lastError"]).collect::<Vec<_>>());
    let fires = |rule: &Value| rule["state"] == "firing";
    assert!(!rules().iter().any(fires), "{:?}", rules().iter().find(|rule| fires(rule)));
    agent.stop();
}

#[test]
fn each_alert_is_in_a_test() {
    let tests = read("prometheus/alerts.test.yml");
    for rule in read("prometheus/alerts.yml").split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap_or_default();
        assert!(tests.contains(&format!("{name}\", alertstate=\"firing\"")), "{name} fires in no test");
    }
}
