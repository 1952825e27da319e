//! What a sound config means.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use one_api_sidecar::config::file::Config;
use one_api_sidecar::config::plan::{
    CacheLag, ChannelSelect, ClientAuth, Database, Encoding, Grant, Method, OnForeignKey, OnLostAnswer, VaultPlace,
};
use one_api_sidecar::config::resolve::vault_place;
use one_api_sidecar::credential::event::Topic;
use one_api_sidecar::finding::Severity;
use one_api_sidecar::reason::{ConfigReason, Language};
use one_api_sidecar::secret::{Secret, SecretSource, TextOrSecret};
use one_api_sidecar::shape::Problem;

use super::{DIRECTORY, SMALL, TEN_LINES, plan, problem, read, read_with};

#[test]
fn the_ten_lines_of_the_contract_become_a_plan_with_every_default() {
    let plan = plan(TEN_LINES);
    assert_eq!(plan.language, Language::English);
    let [gateway] = plan.gateways.as_slice() else { panic!("{:?}", plan.gateways) };
    assert_eq!((&*gateway.name, gateway.database.file()), ("default", Some(Path::new("/data/one-api.db"))));
    assert_eq!((gateway.kind, gateway.cache_lag), (None, CacheLag::ByKind));
    assert_eq!(gateway.busy_timeout, Duration::from_secs(5));
    assert_eq!((gateway.on_foreign_key, gateway.reenable), (OnForeignKey::Report, true));
    assert!(gateway.allow_filesystem.is_empty());
    assert_eq!(plan.vault.place, VaultPlace::File("/data/one-api-sidecar/vault.db".into()));
    assert_eq!((&plan.vault.encryption_key, &plan.server), (&None, &None));
    assert_eq!((plan.agent.max_in_flight, plan.agent.max_in_flight_per_host), (64, 16));

    let [credential] = &*plan.credentials else { panic!("{:?}", plan.credentials) };
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
    assert_eq!(several.vault.place, VaultPlace::File(Path::new(DIRECTORY).join("v.db")));
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

#[test]
fn everything_that_is_written_arrives_in_the_plan() {
    let plan = plan(&format!(
        r#"language = "zh-CN"
[server]
listen = "127.0.0.1:1"
[agent]
max_in_flight = 1
max_in_flight_per_host = 0x10
[defaults]
refresh_before = "1m"
proxy = "socks5://127.0.0.1:1080"
backoff = {{ min = "10m" }}
{SMALL}
method = "GET"
token_endpoint_auth_method = "client_secret_basic"
client_id = "id"
client_secret = {{ file = "secret" }}
scope = "a b"
params = {{ device = "x", pin = {{ keyring = "pin" }} }}
param_names = {{ refresh_token = "refreshToken" }}
headers = {{ X-Org = "acme" }}
channel_key = "Bearer {{access_token}}"
rotates = true
revokes_previous = true
on_lost_answer = "halt"
timeout = "4s"
ca_file = "ca.pem"
client_cert = "cert.pem"
client_key = {{ systemd_credential = "key" }}
response.expires_at = "/data/expires"
"#
    ));
    assert_eq!(plan.language, Language::Chinese);
    assert_eq!(plan.server.unwrap().listen, "127.0.0.1:1".parse().unwrap());
    assert_eq!((plan.agent.max_in_flight, plan.agent.max_in_flight_per_host), (1, 16));
    let credential = &plan.credentials[0];
    assert_eq!(credential.refresh_before, Duration::from_secs(60));
    assert_eq!((credential.backoff.min, credential.backoff.max), (Duration::from_secs(600), Duration::from_secs(600)));
    assert_eq!((credential.rotates, credential.revokes_previous), (Some(true), true));
    assert_eq!(credential.on_lost_answer, OnLostAnswer::Halt);
    assert!(credential.channels[0].key_is_explicit);
    let endpoint = &credential.endpoint;
    assert_eq!((endpoint.method, endpoint.encoding), (Method::Get, Encoding::Query));
    assert_eq!(endpoint.auth, ClientAuth::ClientSecretBasic);
    assert_eq!(endpoint.client_secret, Some(SecretSource::File(Path::new(DIRECTORY).join("secret"))));
    assert_eq!(endpoint.scope.as_deref(), Some("a b"));
    assert_eq!(endpoint.params["device"], TextOrSecret::Text("x".into()));
    assert!(matches!(&endpoint.params["pin"], TextOrSecret::Secret(SecretSource::Keyring { .. })));
    assert_eq!(endpoint.param_names["refresh_token"], "refreshToken");
    assert_eq!(endpoint.headers, [("x-org".parse().unwrap(), TextOrSecret::Text("acme".into()))]);
    assert_eq!(endpoint.response.expires_at, "/data/expires");
    assert_eq!(endpoint.response.access_token, "/access_token");
    assert_eq!(endpoint.timeout, Duration::from_secs(4));
    let transport = &endpoint.transport;
    assert_eq!(transport.connect_timeout, Duration::from_secs(2));
    assert_eq!(transport.proxy.as_ref().unwrap().as_str(), "socks5://127.0.0.1:1080");
    assert_eq!(transport.ca_file, Some(Path::new(DIRECTORY).join("ca.pem")));
    let key = SecretSource::SystemdCredential("key".into());
    assert_eq!(transport.client_cert, Some((Path::new(DIRECTORY).join("cert.pem"), key)));
}

#[test]
fn the_surroundings_fill_in_language_and_cache_lag() {
    let read = |env: &[(&str, &str)]| read_with(SMALL, env, None).unwrap().0;
    assert_eq!(read(&[("LANG", "zh_CN.UTF-8")]).language, Language::Chinese);
    assert_eq!(read(&[("LC_ALL", "C"), ("LANG", "zh_CN.UTF-8")]).language, Language::English);
    assert_eq!(read(&[("MEMORY_CACHE_ENABLED", "false")]).gateways[0].cache_lag, CacheLag::Shared(Duration::ZERO));
    let redis = [("REDIS_CONN_STRING", "redis://r"), ("SYNC_FREQUENCY", "60")];
    assert_eq!(read(&redis).gateways[0].cache_lag, CacheLag::Shared(Duration::from_secs(60)));
    let written = SMALL.replacen("database", "cache_lag = \"3s\"\ndatabase", 1);
    assert_eq!(plan(&written).gateways[0].cache_lag, CacheLag::Known(Duration::from_secs(3)));
}

#[test]
fn events_are_chosen_by_name() {
    let default = Topic::ALL.len() - 3;
    for (events, expected) in [
        ("[\"all\"]", Topic::ALL.len()),
        ("[\"default\"]", default),
        ("[\"default\", \"refreshed\", \"-failing\"]", default),
        ("[\"-failing\", \"-uncertain\"]", default - 2),
        ("[\"halted\"]", 1),
        ("[]", 0),
    ] {
        let text = format!("{TEN_LINES}events = {events}\n");
        assert_eq!(plan(&text).notifiers[0].events.len(), expected, "{events}");
    }
    let (field, reason) = problem(&format!("{TEN_LINES}events = [\"haltd\"]\n"));
    assert_eq!(field, "notify \"pushplus\".events[0]");
    assert!(matches!(reason, ConfigReason::NotOneOf { nearest: Some(near), .. } if near == "halted"));
}

#[test]
fn a_value_in_a_file_that_others_can_read_is_warned_of() {
    let text = format!("{SMALL}refresh_token = {{ value = \"x\" }}\n");
    for (mode, expected) in
        [(Some(0o100644), Some("644")), (Some(0o100640), Some("640")), (Some(0o600), None), (None, None)]
    {
        let (_, warnings) = read_with(&text, &[], mode).unwrap();
        let modes: Vec<_> = warnings
            .iter()
            .map(|warning| match &warning.reason {
                ConfigReason::ValueReadableByOthers { mode } if warning.severity == Severity::Warning => mode.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(modes, Vec::from_iter(expected));
    }
}

#[test]
fn a_database_on_a_server_is_named_as_the_gateway_names_it_and_shown_without_its_login() {
    let vault = "[vault]\npath = \"/data/v.db\"";
    for (written, source, shown) in [
        ("\"u:sentinel@tcp(db)/d\"", SecretSource::Value(Secret::new("u:sentinel@tcp(db)/d")), "mysql://db:3306/d"),
        (
            "\"postgres://u:sentinel@db/d?sslmode=require\"",
            SecretSource::Value(Secret::new("postgres://u:sentinel@db/d?sslmode=require")),
            "postgres://db:5432/d",
        ),
        (
            "{ value = \"u:sentinel@tcp(db)/d\" }",
            SecretSource::Value(Secret::new("u:sentinel@tcp(db)/d")),
            "mysql://db:3306/d",
        ),
        ("{ env = \"SQL_DSN\" }", SecretSource::Env("SQL_DSN".into()), "env:SQL_DSN"),
        ("{ file = \"dsn\" }", SecretSource::File("/etc/one-api-sidecar/dsn".into()), "file:/etc/one-api-sidecar/dsn"),
    ] {
        let text = format!("{}{vault}", SMALL.replace("\"one-api.db\"", written));
        let gateway = plan(&text).gateways.remove(0);
        assert_eq!(gateway.database, Database::Server(source), "{written}");
        assert_eq!((gateway.database.to_string().as_str(), gateway.database.file()), (shown, None));
        assert!(!format!("{gateway:?}").contains("sentinel"), "{gateway:?}");
    }
}

#[test]
fn a_password_in_the_config_is_warned_of_unless_the_file_is_private() {
    let vault = "[vault]\npath = \"/data/v.db\"";
    let with = |database: &str| format!("{}{vault}", SMALL.replace("one-api.db", database));
    for (database, mode, warned) in [
        ("u:p@tcp(h)/d", 0o644, true),
        ("u:p@tcp(h)/d", 0o600, false),
        ("postgres://u:p@h/d", 0o640, true),
        ("u@tcp(h)/d", 0o644, false),
        ("/data/one-api.db", 0o644, false),
    ] {
        let (_, warnings) = read_with(&with(database), &[], Some(mode)).unwrap();
        let of_it = |problem: &Problem| {
            problem.field == "gateway.database" && matches!(problem.reason, ConfigReason::ValueReadableByOthers { .. })
        };
        assert_eq!(warnings.iter().any(of_it), warned, "{database} {mode:o}: {warnings:?}");
    }
}

#[test]
fn the_vaults_place_is_found_in_a_file_that_does_not_stand_up() {
    for (text, expected) in [
        ("[gateway]\ndatabase = \"/data/one-api.db\"\nbusy_timeout = ", Some("/data/one-api-sidecar/vault.db")),
        ("[vault]\npath = \"v.db\"\nstray words\n[[credential]]", Some("/etc/one-api-sidecar/v.db")),
        ("[[gateway]]\ndatabase = \"/a.db\"\n[[gateway]]\ndatabase = \"/b.db\"", None),
        ("[gateway]\ndatabase = \"u:p@tcp(h)/d\"\nbusy_timeout = ", None),
        ("nothing", None),
    ] {
        let (config, problems) = Config::parse(text);
        assert!(read(text).is_err() && problems.len() < 3, "{text}");
        let expected = expected.map(|path| VaultPlace::File(path.into()));
        assert_eq!(vault_place(&config, Path::new(DIRECTORY)), expected, "{text}");
    }
}

#[cfg(feature = "servers")]
#[test]
fn a_vault_in_a_server_is_named_without_its_password() {
    let text = |url: &str| {
        format!("{SMALL}refresh_token = {{ env = \"X\" }}\n[vault]\n{url}\nencryption_key = {{ env = \"K\" }}\n")
    };
    for (url, shown) in [
        ("url = \"postgres://u:sentinel@db/vault\"", "postgres://db:5432/vault"),
        ("url = \"u:sentinel@tcp(db:3307)/vault\"", "mysql://db:3307/vault"),
        ("url = { env = \"VAULT_URL\" }", "env:VAULT_URL"),
    ] {
        let text = text(url);
        let plan = plan(&text);
        assert_eq!(plan.vault.place.to_string(), shown);
        assert!(!format!("{:?}", plan.vault).contains("sentinel"));
        assert!(matches!(plan.vault.place, VaultPlace::Server(_)));
        let (config, _) = Config::parse(&format!("{text}stray words"));
        assert_eq!(vault_place(&config, Path::new(DIRECTORY)), Some(plan.vault.place), "{url}");
    }
    let beside_server = text("url = { env = \"VAULT_URL\" }").replace("one-api.db", "u:p@tcp(h)/d");
    assert!(
        matches!(plan(&beside_server).vault.place, VaultPlace::Server(_)),
        "the gateway may be on a server as well"
    );
    let modes = |url: &str| read_with(&text(url), &[], Some(0o644)).unwrap().1.len();
    assert_eq!(modes("url = \"postgres://u:sentinel@db/vault\""), 1, "others can read the password");
    assert_eq!(modes("url = \"postgres://u@db/vault\""), 0, "nothing in it is secret");
}
