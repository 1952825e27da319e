//! The config file, from its text to a plan or to every problem at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use one_api_sidecar::config::file::Config;
use one_api_sidecar::config::plan::{
    CacheLag, ChannelSelect, ClientAuth, Encoding, Grant, Method, OnForeignKey, OnLostAnswer, Plan, Surroundings,
};
use one_api_sidecar::config::report::{Labels, Report, render, reports};
use one_api_sidecar::config::resolve::vault_path;
use one_api_sidecar::config::schema::schema;
use one_api_sidecar::credential::event::Topic;
use one_api_sidecar::finding::Severity;
use one_api_sidecar::reason::{ConfigReason, Language};
use one_api_sidecar::secret::{SecretSource, TextOrSecret};
use one_api_sidecar::shape::Problem;
use proptest::prelude::*;

/// The config of the original script, as the contract gives it.
const TEN_LINES: &str = r#"
[gateway]
database = "/data/one-api.db"

[[credential]]
name          = "openai"
token_url     = "https://auth0.openai.com/oauth/token"
encoding      = "json"
client_id     = "pdlLIX2Y72MIl2rhLhTE9VV9bN905kBh"
params        = { redirect_uri = "com.openai.chat://auth0.openai.com/ios/com.openai.chat/callback" }
refresh_token = { env = "OPENAI_REFRESH_TOKEN" }
channels      = [1]

[[notify]]
type  = "pushplus"
token = { env = "PUSHPLUS_TOKEN" }
"#;

/// A gateway and a credential that more fields can be appended to.
const SMALL: &str = r#"
[gateway]
database = "one-api.db"
[[credential]]
name = "a"
token_url = "https://auth.example.com/token"
channels = [1]
"#;

const EXAMPLE: &str = include_str!("../sidecar.toml.example");

const DIRECTORY: &str = "/etc/one-api-sidecar";

fn read(text: &str) -> Result<(Plan, Vec<Problem>), Vec<Problem>> {
    read_with(text, &[], None)
}

fn read_with(text: &str, env: &[(&str, &str)], mode: Option<u32>) -> Result<(Plan, Vec<Problem>), Vec<Problem>> {
    let look = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Plan::read(text, &Surroundings { directory: Path::new(DIRECTORY), env: &look, mode })
}

fn plan(text: &str) -> Plan {
    let (plan, warnings) = read(text).unwrap_or_else(|problems| panic!("{text}\n{}", shown(text, &problems)));
    assert!(warnings.is_empty(), "{text}\n{}", shown(text, &warnings));
    plan
}

fn words(reason: &ConfigReason) -> (String, String) {
    (format!("{reason:?}"), "a remedy".into())
}

fn shown(text: &str, problems: &[Problem]) -> String {
    render("sidecar.toml", text, problems, &Labels::default(), words)
}

/// The problems of a text as line, column, field and reason.
fn problems(text: &str) -> Vec<(Option<usize>, Option<usize>, String, ConfigReason)> {
    let problems = match read(text) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    let reports: Vec<Report> = reports("sidecar.toml", text, &problems, words);
    assert_eq!(reports.len(), problems.len());
    reports
        .into_iter()
        .zip(problems)
        .map(|(report, problem)| (report.line, report.column, problem.field, problem.reason))
        .collect()
}

/// The one problem of a text.
fn problem(text: &str) -> (String, ConfigReason) {
    let mut found = problems(text);
    assert_eq!(found.len(), 1, "{text}\n{found:#?}");
    let (.., field, reason) = found.remove(0);
    (field, reason)
}

#[test]
fn the_ten_lines_of_the_contract_become_a_plan_with_every_default() {
    let plan = plan(TEN_LINES);
    assert_eq!(plan.language, Language::English);
    let [gateway] = plan.gateways.as_slice() else { panic!("{:?}", plan.gateways) };
    assert_eq!((&*gateway.name, gateway.database.as_path()), ("default", Path::new("/data/one-api.db")));
    assert_eq!((gateway.kind, gateway.cache_lag), (None, CacheLag::ByKind));
    assert_eq!(gateway.busy_timeout, Duration::from_secs(5));
    assert_eq!((gateway.on_foreign_key, gateway.reenable), (OnForeignKey::Report, true));
    assert!(gateway.allow_filesystem.is_empty());
    assert_eq!(plan.vault.path, PathBuf::from("/data/one-api-sidecar/vault.db"));
    assert_eq!((&plan.vault.encryption_key, &plan.server), (&None, &None));
    assert_eq!((plan.agent.max_in_flight, plan.agent.max_in_flight_per_host), (64, 16));

    let [credential] = plan.credentials.as_slice() else { panic!("{:?}", plan.credentials) };
    assert_eq!((&*credential.name, credential.enabled), ("openai", true));
    let seed = Some(SecretSource::Env("OPENAI_REFRESH_TOKEN".into()));
    assert_eq!(credential.grant, Grant::RefreshToken { seed });
    assert_eq!(credential.refresh_before, Duration::from_secs(300));
    assert_eq!(credential.fallback_lifetime, Duration::from_secs(3600));
    assert_eq!((credential.rotates, credential.revokes_previous), (None, false));
    assert_eq!(credential.on_lost_answer, OnLostAnswer::AskLate);
    assert_eq!((credential.backoff.min, credential.backoff.max), (Duration::from_secs(1), Duration::from_secs(300)));
    let [channel] = credential.channels.as_slice() else { panic!("{:?}", credential.channels) };
    assert_eq!((&*channel.gateway, &channel.select), ("default", &ChannelSelect::Id(1)));
    assert_eq!((&channel.key, channel.key_is_explicit), (&Default::default(), false));

    let endpoint = &credential.endpoint;
    assert_eq!(endpoint.url.as_str(), "https://auth0.openai.com/oauth/token");
    assert_eq!((endpoint.method, endpoint.encoding, endpoint.auth), (Method::Post, Encoding::Json, ClientAuth::None));
    assert_eq!(endpoint.client_id.as_deref(), Some("pdlLIX2Y72MIl2rhLhTE9VV9bN905kBh"));
    assert_eq!((&endpoint.client_secret, &endpoint.scope), (&None, &None));
    let redirect = "com.openai.chat://auth0.openai.com/ios/com.openai.chat/callback";
    assert_eq!(endpoint.params, BTreeMap::from([("redirect_uri".into(), TextOrSecret::Text(redirect.into()))]));
    assert!(endpoint.param_names.is_empty() && endpoint.headers.is_empty());
    assert_eq!(endpoint.response, Default::default());
    assert_eq!(endpoint.timeout, Duration::from_secs(30));
    assert_eq!(endpoint.transport.connect_timeout, Duration::from_secs(10));
    assert_eq!((&endpoint.transport.proxy, &endpoint.transport.ca_file), (&None, &None));

    let [notifier] = plan.notifiers.as_slice() else { panic!("{:?}", plan.notifiers) };
    assert_eq!((&*notifier.name, notifier.timeout), ("pushplus", Duration::from_secs(10)));
    assert_eq!(notifier.service.sources(), [&SecretSource::Env("PUSHPLUS_TOKEN".into())]);
    assert_eq!(notifier.events.len(), Topic::ALL.len() - 3);
}

#[test]
fn three_mistakes_are_told_at_once_with_their_places() {
    let text = TEN_LINES
        .replace("token_url ", "token_ulr ")
        .replace("channels      = [1]", "channels      = [1, 1]")
        .replace("token = { env = \"PUSHPLUS_TOKEN\" }", "token = \"$PUSHPLUS_TOKEN\"");
    let found = problems(&text);
    let expected = [
        (7, 1, "credential \"openai\".token_ulr"),
        (12, 21, "credential \"openai\".channels[1]"),
        (16, 9, "notify \"pushplus\".token"),
    ];
    let places: Vec<_> =
        found.iter().map(|(line, column, field, _)| (line.unwrap(), column.unwrap(), field.as_str())).collect();
    assert_eq!(places, expected);
    let reasons: Vec<_> = found.iter().map(|(.., reason)| reason).collect();
    assert!(matches!(reasons[0], ConfigReason::UnknownKey { nearest: Some(near), .. } if near == "token_url"));
    assert_eq!(*reasons[1], ConfigReason::Duplicate { what: "channel 1".into(), first_line: 12 });
    assert_eq!(*reasons[2], ConfigReason::BareSecret { env: Some("PUSHPLUS_TOKEN".into()) });

    let shown = shown(&text, &read(&text).unwrap_err());
    assert!(shown.starts_with("sidecar.toml:7:1: error: credential \"openai\".token_ulr: "), "{shown}");
    assert!(shown.contains("\n  7 | token_ulr     = …\n    | ^^^^^^^^^\n  help: a remedy\n"), "{shown}");
}

#[test]
fn every_kind_of_mistake_is_told_by_its_own_reason() {
    let out_of_range = |bounds: &str| ConfigReason::OutOfRange { bounds: bounds.into() };
    let needs = |field: &str, other: &str| ConfigReason::Needs { field: field.into(), other: other.into() };
    let conflicts = |field: &str, other: &str| ConfigReason::Conflicts { field: field.into(), other: other.into() };
    let misplaced = |key: &str, belongs: &str| ConfigReason::MisplacedKey { key: key.into(), belongs: belongs.into() };
    let missing = |field: &str| ConfigReason::MissingField { field: field.into() };
    let not_yet = |what: &str| ConfigReason::NotYet { what: what.into() };
    let with = |line: &str| format!("{SMALL}{line}\n");
    for (text, field, reason) in [
        (String::new(), "gateway", missing("gateway.database")),
        ("[gateway]".into(), "gateway.database", missing("database")),
        (SMALL.replace("name = \"a\"\n", ""), "credential #1.name", missing("name")),
        (SMALL.replace("name = \"a\"", "name = \"A b\""), "credential #1.name", ConfigReason::BadName),
        (SMALL.replace("channels = [1]", ""), "credential \"a\".channels", missing("channels")),
        (SMALL.replace("[1]", "[]"), "credential \"a\".channels", out_of_range("at least one channel")),
        (SMALL.replace("[1]", "[0]"), "credential \"a\".channels[0]", out_of_range("1 or more")),
        (SMALL.replace("[1]", "[{ }]"), "credential \"a\".channels[0].id", missing("id")),
        (SMALL.replace("[1]", "[{ id = 1, name = \"x\" }]"), "credential \"a\".channels[0]", conflicts("name", "id")),
        (
            SMALL.replace("[1]", "[{ id = 1, gateway = \"eu\" }]"),
            "credential \"a\".channels[0].gateway",
            ConfigReason::UnknownGateway { name: "eu".into(), known: vec!["default".into()] },
        ),
        (
            SMALL.replacen("database", "language = \"en\"\ndatabase", 1),
            "gateway.language",
            misplaced("language", "above the first [table]"),
        ),
        (format!("refresh_before = \"1m\"\n{SMALL}"), "refresh_before", misplaced("refresh_before", "[[credential]]")),
        (with("listen = \"127.0.0.1:1\""), "credential \"a\".listen", misplaced("listen", "[server]")),
        (with("audience = \"x\""), "credential \"a\".audience", misplaced("audience", "[credential.params]")),
        (with("expires_in = \"/x\""), "credential \"a\".expires_in", misplaced("expires_in", "[credential.response]")),
        (
            with("client_secret = { env = \"X\" }"),
            "credential \"a\".client_secret",
            needs("client_secret", "token_endpoint_auth_method"),
        ),
        (
            with("token_endpoint_auth_method = \"client_secret_post\"\nclient_id = \"x\""),
            "credential \"a\".token_endpoint_auth_method",
            needs("token_endpoint_auth_method", "client_secret"),
        ),
        (with("client_cert = \"x.pem\""), "credential \"a\".client_cert", needs("client_cert", "client_key")),
        (
            with("method = \"GET\"\nencoding = \"json\""),
            "credential \"a\".encoding",
            conflicts("encoding", "method = \"GET\""),
        ),
        (
            with("grant_type = \"client_credentials\"\nrefresh_token = { env = \"X\" }"),
            "credential \"a\".refresh_token",
            conflicts("refresh_token", "grant_type = \"client_credentials\""),
        ),
        (
            with("client_id = \"x\"\nparams = { client_id = \"y\" }"),
            "credential \"a\".params.client_id",
            conflicts("params.client_id", "client_id"),
        ),
        (
            with("timeout = \"5s\"\nconnect_timeout = \"5s\""),
            "credential \"a\".connect_timeout",
            ConfigReason::TimeoutOrder,
        ),
        (with("backoff = { min = \"2s\", max = \"1s\" }"), "credential \"a\".backoff.min", ConfigReason::BackoffOrder),
        (with("timeout = \"1h\""), "credential \"a\".timeout", out_of_range("10ms to 10m")),
        (with("timeout = \"soon\""), "credential \"a\".timeout", ConfigReason::BadDuration),
        (with("[defaults]\ntimeout = \"1h\""), "defaults.timeout", out_of_range("10ms to 10m")),
        (with("[agent]\nmax_in_flight = 0"), "agent.max_in_flight", out_of_range("1 to 4096")),
        (
            with("response = { access_token = \"token\" }"),
            "credential \"a\".response.access_token",
            ConfigReason::BadPointer,
        ),
        (
            with("response = { access_token = \"\" }"),
            "credential \"a\".response.access_token",
            ConfigReason::BadPointer,
        ),
        (with("headers = { \"x y\" = \"z\" }"), "credential \"a\".headers", ConfigReason::BadHeader),
        (
            with("headers = { authorization = \"token x\" }"),
            "credential \"a\".headers.authorization",
            ConfigReason::BareSecret { env: None },
        ),
        (with("preset = \"openai\""), "credential \"a\".preset", not_yet("preset")),
        (
            with("grant_type = \"urn:ietf:params:oauth:grant-type:jwt-bearer\""),
            "credential \"a\".grant_type",
            not_yet("grant_type = \"jwt_bearer\""),
        ),
        (
            with("[credential.assertion]\nissuer = \"x\""),
            "credential \"a\".assertion",
            not_yet("[credential.assertion]"),
        ),
        (with("issuer = \"https://x.example\""), "credential \"a\".issuer", not_yet("login (issuer)")),
        (with("[vault]\nurl = \"postgres://x\""), "vault.url", not_yet("[vault] url")),
        (SMALL.replace("one-api.db", "u:p@tcp(h:3306)/d"), "gateway.database", not_yet("a MySQL database")),
        (SMALL.replace("one-api.db", "postgres://u:p@h/d"), "gateway.database", not_yet("a PostgreSQL database")),
        (
            SMALL.replace("\"one-api.db\"", "{ env = \"SQL_DSN\" }"),
            "gateway.database",
            not_yet("database = { env = \"SQL_DSN\" }"),
        ),
        (SMALL.replacen("database", "kind = \"one-hub\"\ndatabase", 1), "gateway.kind", not_yet("kind = \"one-hub\"")),
        (
            SMALL.replace("[[credential]]", "[credential]"),
            "credential",
            ConfigReason::WrongType { expected: "[[credential]]".into(), found: "[credential]".into() },
        ),
        (with("[[notify]]"), "notify #1.type", missing("type")),
        (
            with("[[notify]]\ntype = \"pushpuls\"\ntoken = { env = \"X\" }"),
            "notify \"pushpuls\".type",
            ConfigReason::UnknownService {
                name: "pushpuls".into(),
                nearest: Some("pushplus".into()),
                known: one_api_sidecar::notify::services::REGISTRY.iter().map(|entry| entry.name.into()).collect(),
            },
        ),
    ] {
        assert_eq!(problem(&text), (field.to_owned(), reason), "{text}");
    }
}

#[test]
fn what_was_told_once_is_not_missed_again() {
    for (text, expected) in [
        (SMALL.replace("token_url = \"https", "token_url = 5 # \""), 1),
        (SMALL.replace("name = \"a\"", "nmae = \"a\""), 1),
        (SMALL.replace("channels = [1]", "channels = [true]"), 1),
        (SMALL.replace("database = \"", "database = \"\"\" # \""), 1),
        (SMALL.replace("[gateway]", "[gateway"), 1),
        (SMALL.replace("[gateway]", "[gatewya]"), 1),
        (SMALL.replace("channels", "channels stray"), 1),
        (SMALL.replace("[1]", "[1"), 1),
    ] {
        assert_eq!(problems(&text).len(), expected, "{text}\n{:#?}", problems(&text));
    }
}

#[test]
fn row_49_plain_http_is_refused() {
    for url in ["http://auth.example.com/token", "http://10.0.0.1/", "HTTP://localhost.example.com/"] {
        let text = SMALL.replace("https://auth.example.com/token", url);
        assert_eq!(problem(&text), ("credential \"a\".token_url".into(), ConfigReason::PlainHttp), "{url}");
    }
    for url in ["http://127.0.0.1:8080/token", "http://[::1]/token", "http://localhost/token", "https://10.0.0.1/"] {
        plan(&SMALL.replace("https://auth.example.com/token", url));
    }
}

#[test]
fn a_name_a_channel_or_a_seed_may_be_there_only_once() {
    let second = |name: &str, channel: &str, more: &str| {
        format!(
            "{SMALL}refresh_token = {{ env = \"SEED\" }}\n[[credential]]\nname = \"{name}\"\ntoken_url = \"https://x.example/\"\nchannels = [{channel}]\n{more}\n"
        )
    };
    let duplicate = |what: &str, first_line| ConfigReason::Duplicate { what: what.into(), first_line };
    let same_seed = "refresh_token = { env = \"SEED\" }";
    plan(&second("b", "2", ""));
    plan(&second("b", "\"1\"", ""));
    plan(&second("b", "2", &format!("{same_seed}\nenabled = false")));
    assert_eq!(problem(&second("a", "2", "")).1, duplicate("credential \"a\"", 5));
    assert_eq!(problem(&second("b", "1", "")).1, duplicate("channel 1", 7));
    assert_eq!(problem(&second("b", "{ id = 1 }", "enabled = false")).1, duplicate("channel 1", 7));
    assert_eq!(problem(&second("b", "2", same_seed)).1, duplicate("refresh_token env:SEED", 8));
    let notifiers = "[[notify]]\ntype = \"pushplus\"\ntoken = { env = \"X\" }\n".repeat(2);
    assert_eq!(problem(&format!("{SMALL}{notifiers}")).1, duplicate("notifier \"pushplus\"", 9));
}

#[test]
fn several_gateways_are_told_apart_by_name() {
    let text = |vault: &str, channels: &str| {
        format!(
            "[[gateway]]\nname = \"eu\"\ndatabase = \"/eu.db\"\n[[gateway]]\nname = \"us\"\ndatabase = \"/us.db\"\n{vault}\n\
             [[credential]]\nname = \"a\"\ntoken_url = \"https://x.example/\"\nchannels = [{channels}]\n"
        )
    };
    let vault = "[vault]\npath = \"v.db\"";
    let both = "{ gateway = \"eu\", id = 1 }, { gateway = \"us\", id = 1 }";
    let several = plan(&text(vault, both));
    assert_eq!(several.vault.path, Path::new(DIRECTORY).join("v.db"));
    assert_eq!(&*several.credentials[0].channels[1].gateway, "us");
    assert_eq!(problem(&text("", both)).1, ConfigReason::VaultPathNeeded);
    let known = vec!["eu".into(), "us".into()];
    assert_eq!(problem(&text(vault, "1")).1, ConfigReason::GatewayNeeded { known });
    let twice = problem(&text(vault, "{ gateway = \"eu\", id = 1 }, { id = 1, gateway = \"eu\" }"));
    assert_eq!(twice.1, ConfigReason::Duplicate { what: "channel 1 of gateway \"eu\"".into(), first_line: 12 });
    let unnamed = text(vault, both)
        .replace("name = \"eu\"\n", "")
        .replace("gateway = \"eu\"", "gateway = \"us\"")
        .replacen("id = 1", "id = 2", 1);
    assert_eq!(problem(&unnamed), ("gateway #1.name".into(), ConfigReason::MissingField { field: "name".into() }));
}
