//! The metrics against the contract, as text.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::config::plan::Surroundings;
use crate::credential::record::HaltKind;

/// What the contract names: every series, its labels, its type.
const CONTRACT: [(&str, &[&str], &str); 16] = [
    ("build_info", &["version"], "gauge"),
    ("access_token_expiry_timestamp_seconds", &["credential"], "gauge"),
    ("next_refresh_timestamp_seconds", &["credential"], "gauge"),
    ("credential_state", &["credential", "state"], "gauge"),
    ("channel_state", &["channel", "gateway", "state"], "gauge"),
    ("credentials", &["state"], "gauge"),
    ("refreshes_total", &["credential", "outcome"], "counter"),
    ("refresh_duration_seconds", &["credential"], "histogram"),
    ("publishes_total", &["gateway", "outcome"], "counter"),
    ("publish_duration_seconds", &["gateway"], "histogram"),
    ("vault_commit_duration_seconds", &[], "histogram"),
    ("notifications_total", &["notifier", "outcome"], "counter"),
    ("config_reloads_total", &["outcome"], "counter"),
    ("config_last_reload_successful", &[], "gauge"),
    ("config_last_reload_success_timestamp_seconds", &[], "gauge"),
    // Of histograms: what their buckets are called.
    ("refresh_duration_seconds_bucket", &["credential", "le"], ""),
];

fn plan(credentials: &[&str]) -> Plan {
    let mut text = "[gateway]\ndatabase = \"/data/one-api.db\"\n[server]\nlisten = \"127.0.0.1:9170\"\n\
        [[notify]]\ntype = \"pushplus\"\ntoken = { env = \"TOKEN\" }\n"
        .to_owned();
    for (index, name) in credentials.iter().enumerate() {
        text += &format!(
            "[[credential]]\nname = \"{name}\"\ntoken_url = \"https://auth.example.com/token\"\nclient_id = \"app\"\n\
             refresh_token = {{ env = \"SEED_{index}\" }}\nchannels = [{}]\n",
            index + 1
        );
    }
    let surroundings = Surroundings { directory: Path::new("/"), env: &|_| Some("set".into()), mode: Some(0o600) };
    Plan::read(&text, &surroundings).expect("the config is right").0
}

/// A credential that is well and one that is halted, which turned out to mean the same channel.
fn status((id, name): (Option<i64>, &str)) -> Status {
    let moment = "2027-01-15T08:00:00Z";
    let credential = |credential: &str, state: &str, dies: Option<&str>| {
        json!({
            "name": credential, "state": state, "reason": null, "expires_at": dies, "refresh_at": dies,
            "refreshed_at": null, "failures": 0, "last_error": null,
            "channels": [{ "gateway": "default", "id": id, "name": name, "state": "delivered", "status": 1,
                           "delivered_at": null, "problem": null }],
        })
    };
    let status = json!({
        "version": "1.2.3", "time": moment,
        "agent": { "running": true, "since": null,
                   "config": { "path": "sidecar.toml", "loaded_at": moment, "problem": null } },
        "credentials": [credential("openai", "active", Some(moment)), credential("twin", "halted", None)],
    });
    serde_json::from_value(status).expect("a status")
}

fn counted() -> Counters {
    let counters = Counters::default();
    let plan = plan(&["openai"]);
    counters.follow(&Plan::empty(&plan), &plan);
    counters.refreshed(&"openai".into(), Settled::Refreshed, Some(Duration::from_millis(40)));
    counters.publish_seconds(&"default".into()).observe(0.001);
    counters
}

#[test]
fn credentials_are_counted_while_somebody_can_read_it() {
    let counted = plan(&["openai"]);
    let unserved = Plan { server: None, ..counted.clone() };
    let counters = Counters::default();
    let series = |counters: &Counters| {
        counters.exposition(status((Some(1), "")), Format::Text).matches("refreshes_total{credential=").count()
    };
    counters.follow(&Plan::empty(&unserved), &unserved);
    counters.refreshed(&"openai".into(), Settled::Refreshed, None);
    assert_eq!(series(&counters), 0);
    counters.follow(&unserved, &counted);
    counters.refreshed(&"openai".into(), Settled::Refreshed, None);
    assert_eq!(series(&counters), Settled::OUTCOMES.len());
    counters.follow(&counted, &unserved);
    assert_eq!(series(&counters), 0);
}

/// The samples: name and labels → value.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| {
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        (series.strip_prefix("one_api_sidecar_").expect("the prefix").to_owned(), value.parse().expect("a number"))
    });
    samples.collect()
}

/// The names and label names that appear.
fn families(text: &str) -> BTreeSet<(String, Vec<String>)> {
    let family = |series: &String| {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let mut labels: Vec<String> =
            labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned())).collect();
        labels.sort();
        (name.to_owned(), labels)
    };
    samples(text).keys().map(family).collect()
}

#[test]
fn every_metric_of_the_contract_is_there_with_its_labels_and_type_and_no_other() {
    let text = counted().exposition(status((Some(7), "codex")), Format::Text);
    let found = families(&text);
    let mut expected = BTreeSet::new();
    for (name, labels, kind) in CONTRACT {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        if !kind.is_empty() {
            let typed = format!("\n# TYPE one_api_sidecar_{name} {kind}\n");
            assert!(text.contains(&typed), "{typed} in {text}");
            assert!(text.contains(&format!("# HELP one_api_sidecar_{name} ")), "{name} is explained");
        }
        if kind == "histogram" {
            let with_le = labels.iter().cloned().chain(["le".to_owned()]).collect();
            expected.insert((format!("{name}_bucket"), with_le));
            expected.insert((format!("{name}_sum"), labels.clone()));
            expected.insert((format!("{name}_count"), labels));
        } else {
            expected.insert((name.to_owned(), labels));
        }
    }
    assert_eq!(found, expected);
}

#[test]
fn states_are_the_present_ones_only_and_a_channel_that_is_meant_twice_is_one_series() {
    let samples = samples(&counted().exposition(status((Some(7), "codex")), Format::Text));
    let of = |name: &str| -> Vec<&String> { samples.keys().filter(|series| series.starts_with(name)).collect() };
    assert_eq!(
        of("credential_state{"),
        [
            "credential_state{credential=\"openai\",state=\"active\"}",
            "credential_state{credential=\"twin\",state=\"halted\"}"
        ]
    );
    assert_eq!(of("channel_state{"), ["channel_state{gateway=\"default\",channel=\"7\",state=\"delivered\"}"]);
    assert_eq!(of("credentials{").len(), CredentialState::ALL.len(), "each state is counted, be it zero");
    assert_eq!(samples["credentials{state=\"halted\"}"], 1.0);
    assert_eq!(of("access_token_expiry_timestamp_seconds").len(), 1, "what is not known is left out");
    assert_eq!(samples["access_token_expiry_timestamp_seconds{credential=\"openai\"}"], 1_800_000_000.0);
    assert_eq!(samples["config_last_reload_successful"], 1.0);
}

#[test]
fn a_rejected_config_shows() {
    let mut status = status((Some(7), ""));
    status.agent.config.problem = Some("line 3".into());
    let samples = samples(&Counters::default().exposition(status, Format::Text));
    assert_eq!(samples["config_last_reload_successful"], 0.0);
}

#[test]
fn each_outcome_is_counted_under_its_name() {
    let counters = counted();
    let openai: Arc<str> = "openai".into();
    for settled in [
        Settled::Failed,
        Settled::Lost,
        Settled::SeedRefused,
        Settled::Halted(HaltKind::Revoked),
        Settled::Halted(HaltKind::Misconfigured),
        Settled::Halted(HaltKind::OutcomeUnknown),
    ] {
        counters.refreshed(&openai, settled, None);
        assert!(Settled::OUTCOMES.contains(&settled.as_str()), "{settled:?}");
    }
    for delivered in [Delivered::Ok, Delivered::Conflict, Delivered::Failed, Delivered::Failed] {
        counters.published(&"default".into(), delivered);
    }
    for taken in [true, false, false] {
        counters.notified(&"pushplus".into(), taken);
        counters.reloaded(taken);
    }
    let samples = samples(&counters.exposition(status((None, "")), Format::Text));
    let refreshes = |outcome: &str| samples[&format!("refreshes_total{{credential=\"openai\",outcome=\"{outcome}\"}}")];
    assert_eq!(Settled::OUTCOMES.map(refreshes), [1.0, 1.0, 2.0, 1.0, 2.0]);
    let publishes = |outcome: &str| samples[&format!("publishes_total{{gateway=\"default\",outcome=\"{outcome}\"}}")];
    assert_eq!(["ok", "conflict", "failed"].map(publishes), [1.0, 1.0, 2.0]);
    assert_eq!(samples["notifications_total{notifier=\"pushplus\",outcome=\"failed\"}"], 2.0);
    assert_eq!(samples["config_reloads_total{outcome=\"ok\"}"], 1.0);
    assert_eq!(samples["refresh_duration_seconds_count{credential=\"openai\"}"], 1.0, "only what was waited for");
    assert_eq!(samples["refresh_duration_seconds_bucket{le=\"0.05\",credential=\"openai\"}"], 1.0);
    assert_eq!(samples["refresh_duration_seconds_bucket{le=\"0.025\",credential=\"openai\"}"], 0.0);
}

#[test]
fn counters_begin_at_zero_and_end_with_what_they_count() {
    let counters = counted();
    let series = |counters: &Counters| {
        let all = samples(&counters.exposition(status((Some(1), "")), Format::Text));
        let counted = all.into_keys().filter(|series| series.contains("_total{") || series.contains("_count{"));
        counted.collect::<BTreeSet<String>>()
    };
    let before = series(&counters);
    assert!(before.contains("refreshes_total{credential=\"openai\",outcome=\"revoked\"}"), "{before:?}");
    let (one, other, none) = (plan(&["openai"]), plan(&["azure"]), Plan::empty(&plan(&[])));
    counters.follow(&one, &other);
    let after = series(&counters);
    assert!(!after.iter().any(|series| series.contains("openai")), "{after:?}");
    assert!(after.contains("refreshes_total{credential=\"azure\",outcome=\"ok\"}"), "{after:?}");
    counters.follow(&other, &none);
    let left = series(&counters);
    assert!(left.iter().all(|series| series.starts_with("config_reloads_total")), "{left:?}");
    assert_eq!(left.len(), 2);
}

#[test]
fn label_values_are_escaped() {
    let text = Counters::default().exposition(status((None, "a \"b\"\\\n渠道")), Format::OpenMetrics);
    assert!(text.contains(r#"channel="a \"b\"\\\n渠道""#), "{text}");
}

#[test]
fn both_formats_hold_the_same_samples_and_end_as_they_should() {
    let counters = counted();
    let (open, text) = (
        counters.exposition(status((Some(7), "")), Format::OpenMetrics),
        counters.exposition(status((Some(7), "")), Format::Text),
    );
    assert_eq!(samples(&open), samples(&text));
    assert!(open.ends_with("# EOF\n") && !text.contains("EOF"));
    assert!(open.contains("# TYPE one_api_sidecar_refreshes counter\n"), "{open}");
}

#[test]
fn the_format_is_the_one_that_is_preferred() {
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;\
                      q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for (accept, format) in [
        ("", Format::Text),
        ("*/*", Format::Text),
        ("text/html,*/*;q=0.8", Format::Text),
        (prometheus, Format::OpenMetrics),
        ("application/openmetrics-text", Format::OpenMetrics),
        ("Application/OpenMetrics-Text; version=\"1.0.0\"", Format::OpenMetrics),
        ("application/openmetrics-text; version=0.0.1", Format::Text),
        ("application/openmetrics-text; q=0", Format::Text),
        ("application/openmetrics-text; q=0.3, text/plain; q=0.9", Format::Text),
        ("application/openmetrics-text; q=much", Format::Text),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept}");
    }
}

#[test]
#[ignore = "prints what a scrape of a thousand credentials costs: run it with --release"]
fn cost_of_a_thousand_credentials() {
    let names: Vec<String> = (0..1000).map(|index| format!("credential-{index:04}")).collect();
    let plan = plan(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4
    };
    let mut status = status((Some(1), ""));
    let before = resident();
    let counters = Counters::default();
    counters.follow(&Plan::empty(&plan), &plan);
    for name in &names {
        counters.refreshed(&name.as_str().into(), Settled::Refreshed, Some(Duration::from_millis(90)));
    }
    println!("memory: {} KiB", resident() - before);
    let one = status.credentials[0].clone();
    status.credentials.clear();
    for (index, name) in names.iter().enumerate() {
        let mut credential = CredentialStatus { name: name.clone(), ..one.clone() };
        credential.channels[0].id = Some(i64::try_from(index).unwrap());
        status.credentials.push(credential);
    }
    for format in [Format::OpenMetrics, Format::Text] {
        let copies = vec![status.clone(); 20];
        let began = std::time::Instant::now();
        let bytes: usize = copies.into_iter().map(|status| counters.exposition(status, format).len()).sum();
        println!("{format:?}: {:?}, {} bytes", began.elapsed() / 20, bytes / 20);
    }
}
