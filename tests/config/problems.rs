//! What is wrong with a config, where, and that nothing is told twice.

use one_api_sidecar::notify::services::REGISTRY;
use one_api_sidecar::oauth::presets::REGISTRY as PRESETS;
use one_api_sidecar::reason::ConfigReason;

use super::{SMALL, TEN_LINES, plan, problem, problems, read, shown};

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
    let bad_database = |detail: &str| ConfigReason::BadDatabase { detail: detail.into() };
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
        (
            format!("refresh_before = \"1m\"\n{SMALL}"),
            "refresh_before",
            misplaced("refresh_before", "[defaults], [[credential]]"),
        ),
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
        (
            with("preset = \"opnai\""),
            "credential \"a\".preset",
            ConfigReason::NotOneOf {
                found: Some("opnai".into()),
                nearest: Some("openai".into()),
                expected: PRESETS.iter().map(|preset| preset.name.into()).collect(),
            },
        ),
        (
            SMALL.replace("token_url = \"https://auth.example.com/token\"", "preset = \"auth0\""),
            "credential \"a\".token_url",
            ConfigReason::OwnTokenUrl { preset: "auth0".into(), form: "https://TENANT.auth0.com/oauth/token".into() },
        ),
        (with("preset = \"google\"\nclient_id = \"x\""), "credential \"a\".client_secret", missing("client_secret")),
        (
            with("grant_type = \"urn:ietf:params:oauth:grant-type:jwt-bearer\""),
            "credential \"a\".assertion",
            missing("assertion"),
        ),
        (
            with("grant_type = \"jwt_bearer\"\n[credential.assertion]\nissuer = \"x\""),
            "credential \"a\".assertion.key",
            missing("key"),
        ),
        (
            with("[credential.assertion]\nkey = { env = \"X\" }"),
            "credential \"a\".assertion",
            needs("assertion", "grant_type = \"jwt_bearer\""),
        ),
        (with("issuer = \"http://x.example\""), "credential \"a\".issuer", ConfigReason::PlainHttp),
        (SMALL.replace("one-api.db", "u:p@tcp(h:3306)/d"), "vault.path", ConfigReason::VaultPathBesideServer),
        (SMALL.replace("\"one-api.db\"", "{ env = \"SQL_DSN\" }"), "vault.path", ConfigReason::VaultPathBesideServer),
        (SMALL.replace("one-api.db", "u:p@tcp(h:3306)/"), "gateway.database", bad_database("it names no database")),
        (
            SMALL.replace("one-api.db", "postgres://u:p@h/d?sslmode=no"),
            "gateway.database",
            bad_database("`sslmode` takes disable, allow, prefer, require, verify-ca or verify-full"),
        ),
        (
            SMALL.replace("one-api.db", "mysql://u:p@h/d"),
            "gateway.database",
            bad_database("MySQL is written like user:password@tcp(host:3306)/database"),
        ),
        (
            SMALL.replacen("database", "api = { url = \"http://h\" }\ndatabase", 1),
            "gateway.api.token",
            missing("token"),
        ),
        (
            SMALL.replacen("database", "api = { url = \"h:3000\", token = { env = \"T\" } }\ndatabase", 1),
            "gateway.api.url",
            ConfigReason::BadUrl { detail: "it does not begin with http:// or https://".into() },
        ),
        (
            SMALL.replace("[[credential]]", "[credential]"),
            "credential",
            ConfigReason::WrongType { expected: "[[credential]]".into(), found: "[credential]".into() },
        ),
        (with("[[notify]]"), "notify #1.type", missing("type")),
        (
            with("[[notify]]\ntype = \"command\"\nprogram = \"true\"\nproxy = \"http://p:1\""),
            "notify \"command\".proxy",
            conflicts("proxy", "type = \"command\""),
        ),
        (
            with("[[notify]]\ntype = \"pushpuls\"\ntoken = { env = \"X\" }"),
            "notify \"pushpuls\".type",
            ConfigReason::UnknownService {
                name: "pushpuls".into(),
                nearest: Some("pushplus".into()),
                known: REGISTRY.iter().map(|entry| entry.name.into()).collect(),
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
fn a_vault_s_address_is_judged() {
    let with = |line: &str| format!("{SMALL}refresh_token = {{ env = \"X\" }}\n[vault]\n{line}\n");
    let key = "encryption_key = { env = \"K\" }";
    let cases: &[(&str, ConfigReason)] = if cfg!(feature = "servers") {
        let detail = |detail: &str| ConfigReason::BadVaultUrl { detail: detail.into() };
        &[
            ("url = \"postgres://u@h/d\"", ConfigReason::VaultKeyNeeded),
            (&format!("url = \"mysql://u@h\"\n{key}"), detail("it names no database")),
            (&format!("url = \"/data/vault.db\"\n{key}"), detail("it has none of the forms that are known")),
            (
                &format!("url = {{ env = \"U\" }}\npath = \"v.db\"\n{key}"),
                ConfigReason::Conflicts { field: "url".into(), other: "path".into() },
            ),
        ]
    } else {
        let what = "a vault in a database server".into();
        let reason = ConfigReason::NotInThisBuild { what, feature: "servers".into() };
        &[(&format!("url = \"postgres://u@h/d\"\n{key}"), reason)]
    };
    for (line, reason) in cases {
        assert_eq!(problem(&with(line)), ("vault.url".to_owned(), reason.clone()), "{line}");
    }
}
