//! Every service of `docs/providers`, and every field of a credential, through the real program: the request that a
//! server gets, and the key that its answer makes in the channel.

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::database;
use support::endpoint::{Action, Endpoint, Options};
use support::process::{Bench, Output, assert_no_secret};
use support::proxy::Tunnel;
use support::tls::{Authority, TlsFront};
use support::{SENTINEL, SOON};

/// A service: what is written, what it must get, what it answers, and the key that is to come of it.
struct Service {
    name: &'static str,
    /// The credential's fields; `URL` is its token endpoint.
    written: &'static str,
    /// Method, path and query.
    request: &'static str,
    /// Headers that it must get, a line each.
    headers: &'static str,
    /// The body; `*` stands for anything.
    body: &'static str,
    /// Content type and body of the answer.
    answer: (&'static str, &'static str),
    key: &'static str,
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// The table of services, one after the other.
const SERVICES: &[Service] = &[
    Service {
        name: "openai",
        written: "preset = \"openai\"\nrefresh_token = { env = \"SEED\" }\ntoken_url = \"URL\"",
        request: "POST /openai",
        headers: "content-type: application/json",
        body: r#"{"client_id":"pdlLIX2Y72MIl2rhLhTE9VV9bN905kBh","grant_type":"refresh_token","redirect_uri":"com.openai.chat://auth0.openai.com/ios/com.openai.chat/callback","refresh_token":"SEED"}"#,
        answer: (JSON, r#"{"access_token":"openai-key","refresh_token":"sentinel-5d3b9f-next","expires_in":864000}"#),
        key: "openai-key",
    },
    Service {
        name: "openai-form",
        written: "token_url = \"URL\"\nclient_id = \"app\"\nrefresh_token = { env = \"SEED\" }",
        request: "POST /openai-form",
        headers: "content-type: application/x-www-form-urlencoded",
        body: "client_id=app&grant_type=refresh_token&refresh_token=SEED",
        // No lifetime but the access token's own.
        answer: (JSON, r#"{"access_token":"eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjQwMDAwMDAwMDB9.c2ln","refresh_token":"n"}"#),
        key: "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjQwMDAwMDAwMDB9.c2ln",
    },
    Service {
        name: "anthropic",
        written: "preset = \"anthropic\"\ntoken_url = \"URL\"\nparams = { federation_rule_id = \"fdrl_1\" }\n\
                  assertion = { key = { env = \"P256\" }, issuer = \"https://id.example.com\", algorithm = \"ES256\" }",
        request: "POST /anthropic",
        headers: "content-type: application/json",
        body: r#"{"assertion":"*","federation_rule_id":"fdrl_1","grant_type":"urn:ietf:params:oauth:grant-type:jwt-bearer"}"#,
        answer: (JSON, r#"{"access_token":"sk-ant-oat01-x","expires_in":28800,"token_type":"Bearer"}"#),
        key: "sk-ant-oat01-x",
    },
    Service {
        name: "google",
        written: "preset = \"google\"\ntoken_url = \"URL\"\nclient_id = \"app\"\nclient_secret = { env = \"CLIENT\" }\n\
                  refresh_token = { env = \"SEED\" }",
        request: "POST /google",
        headers: "content-type: application/x-www-form-urlencoded",
        body: "client_id=app&client_secret=sentinel-5d3b9f-client&grant_type=refresh_token&refresh_token=SEED",
        answer: (JSON, r#"{"access_token":"ya29.a0","expires_in":3599,"token_type":"Bearer"}"#),
        key: "ya29.a0",
    },
    Service {
        name: "google-service-account",
        written: "preset = \"google-service-account\"\ntoken_url = \"URL\"\nassertion.key = { file = \"account.json\" }",
        request: "POST /google-service-account",
        headers: "content-type: application/x-www-form-urlencoded",
        body: "assertion=*&grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer",
        answer: (JSON, r#"{"access_token":"ya29.c","expires_in":3599,"token_type":"Bearer"}"#),
        key: "ya29.c",
    },
    Service {
        name: "microsoft-entra",
        written: "preset = \"microsoft-entra\"\ntoken_url = \"URL\"\nclient_id = \"app\"\nscope = \"x/.default\"\n\
                  client_secret = { env = \"CLIENT\" }\ngrant_type = \"client_credentials\"",
        request: "POST /microsoft-entra",
        headers: "content-type: application/x-www-form-urlencoded",
        body: "client_id=app&client_secret=sentinel-5d3b9f-client&grant_type=client_credentials&scope=x%2F.default",
        answer: (JSON, r#"{"token_type":"Bearer","expires_in":"3599","ext_expires_in":3599,"access_token":"entra"}"#),
        key: "entra",
    },
    Service {
        name: "auth0",
        written: "preset = \"auth0\"\ntoken_url = \"URL\"\nclient_id = \"app\"\nencoding = \"json\"\n\
                  refresh_token = { env = \"SEED\" }",
        request: "POST /auth0",
        headers: "content-type: application/json",
        body: r#"{"client_id":"app","grant_type":"refresh_token","refresh_token":"SEED"}"#,
        answer: (JSON, r#"{"access_token":"auth0-key","refresh_token":"n","expires_in":86400}"#),
        key: "auth0-key",
    },
    Service {
        name: "okta",
        written: "preset = \"okta\"\ntoken_url = \"URL\"\nclient_id = \"app\"\nclient_secret = { env = \"CLIENT\" }\n\
                  refresh_token = { env = \"SEED\" }",
        request: "POST /okta",
        headers: "authorization: Basic YXBwOnNlbnRpbmVsLTVkM2I5Zi1jbGllbnQ=",
        body: "grant_type=refresh_token&refresh_token=SEED",
        answer: (JSON, r#"{"access_token":"okta-key","refresh_token":"n","expires_in":3600}"#),
        key: "okta-key",
    },
    Service {
        name: "gitlab",
        written: "preset = \"gitlab\"\ntoken_url = \"URL\"\nclient_id = \"app\"\nclient_secret = { env = \"CLIENT\" }\n\
                  refresh_token = { env = \"SEED\" }",
        request: "POST /gitlab",
        headers: "accept: application/json",
        body: "client_id=app&client_secret=sentinel-5d3b9f-client&grant_type=refresh_token&refresh_token=SEED",
        answer: (JSON, r#"{"access_token":"gitlab-key","refresh_token":"n","expires_in":7200,"created_at":1}"#),
        key: "gitlab-key",
    },
    Service {
        name: "github-app",
        written: "preset = \"github-app\"\ntoken_url = \"URL\"\nclient_id = \"app\"\n\
                  client_secret = { env = \"CLIENT\" }\nrefresh_token = { env = \"SEED\" }",
        request: "POST /github-app",
        headers: "accept: application/json",
        body: "client_id=app&client_secret=sentinel-5d3b9f-client&grant_type=refresh_token&refresh_token=SEED",
        answer: (FORM, "access_token=ghu_1&expires_in=28800&refresh_token=ghr_2&refresh_token_expires_in=15811200"),
        key: "ghu_1",
    },
    Service {
        name: "keycloak",
        written: "preset = \"keycloak\"\ntoken_url = \"URL\"\nclient_id = \"app\"\nclient_secret = { env = \"CLIENT\" }\n\
                  token_endpoint_auth_method = \"client_secret_post\"\nrefresh_token = { env = \"SEED\" }",
        request: "POST /keycloak",
        headers: "content-type: application/x-www-form-urlencoded",
        body: "client_id=app&client_secret=sentinel-5d3b9f-client&grant_type=refresh_token&refresh_token=SEED",
        answer: (JSON, r#"{"access_token":"kc","refresh_token":"n","expires_in":3600,"refresh_expires_in":7200}"#),
        key: "kc",
    },
    Service {
        name: "aws-sso",
        written: "preset = \"aws-sso\"\ntoken_url = \"URL\"\nclient_id = \"app\"\nclient_secret = { env = \"CLIENT\" }\n\
                  refresh_token = { env = \"SEED\" }",
        request: "POST /aws-sso",
        headers: "content-type: application/json",
        body: r#"{"clientId":"app","clientSecret":"sentinel-5d3b9f-client","grantType":"refresh_token","refreshToken":"SEED"}"#,
        answer: (JSON, r#"{"accessToken":"aoa","expiresIn":28800,"refreshToken":"aor","tokenType":"Bearer"}"#),
        key: "aoa",
    },
    Service {
        name: "baidu",
        written: "preset = \"baidu\"\ntoken_url = \"URL\"\nclient_id = \"app\"\nclient_secret = { env = \"CLIENT\" }",
        request: "POST /baidu?client_id=app&client_secret=sentinel-5d3b9f-client&grant_type=client_credentials",
        headers: "",
        body: "",
        answer: (JSON, r#"{"refresh_token":"25.b","expires_in":2592000,"access_token":"24.6c"}"#),
        key: "24.6c",
    },
    Service {
        name: "tencent",
        written: "grant_type = \"client_credentials\"\ntoken_url = \"URL?v=2\"\nmethod = \"GET\"\nclient_id = \"app\"\n\
                  client_secret = { env = \"CLIENT\" }\ntoken_endpoint_auth_method = \"client_secret_post\"\n\
                  param_names = { client_id = \"appid\", client_secret = \"secret\" }",
        request: "GET /tencent?v=2&appid=app&grant_type=client_credentials&secret=sentinel-5d3b9f-client",
        headers: "",
        body: "",
        answer: (JSON, r#"{"access_token":"tx","expires_in":7200}"#),
        key: "tx",
    },
    Service {
        name: "exchange",
        written: "grant_type = \"client_credentials\"\ntoken_url = \"URL\"\nmethod = \"GET\"\n\
                  headers = { authorization = { env = \"AUTHORIZATION\" }, x-editor = \"vim\" }\n\
                  response = { access_token = \"/token\", expires_in = \"\", expires_at = \"/expires_at\" }",
        request: "GET /exchange?grant_type=client_credentials",
        headers: "authorization: token sentinel-5d3b9f-ghu\nx-editor: vim",
        body: "",
        answer: (JSON, r#"{"token":"tid=1;exp=2","expires_at":4000000000,"refresh_in":1500}"#),
        key: "tid=1;exp=2",
    },
    Service {
        name: "nested",
        written: "token_url = \"URL\"\nencoding = \"json\"\nclient_id = \"app\"\n\
                  params = { pin = { env = \"PIN\" }, audience = \"a\" }\nscope = \"a b\"\n\
                  param_names = { refresh_token = \"refreshToken\", scope = \"scopes\" }\n\
                  response = { access_token = \"/data/token\", expires_in = \"/data/life\", error = \"/err\" }\n\
                  channel_key = \"{/data/account}|{access_token}\"\nrefresh_token = { env = \"SEED\" }",
        request: "POST /nested",
        headers: "content-type: application/json",
        body: r#"{"audience":"a","client_id":"app","grant_type":"refresh_token","pin":"sentinel-5d3b9f-pin","refreshToken":"SEED","scopes":"a b"}"#,
        answer: (JSON, r#"{"data":{"token":"nested-key","life":"3600","account":17},"err":null}"#),
        key: "17|nested-key",
    },
];

/// A bench with a gateway and the secrets of the tests; credentials are added as text.
struct Stage {
    bench: Bench,
    config: String,
    database: std::path::PathBuf,
    channel: i64,
}

impl Stage {
    fn new() -> Self {
        let mut bench = Bench::new();
        let database = bench.path("one-api.db");
        database::copy_fixture("one-api.db", &database);
        let key = |name: &str| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys");
            std::fs::read_to_string(folder.join(name)).unwrap()
        };
        let account = serde_json::json!({
            "type": "service_account", "client_email": "robot@example.com", "private_key": key("rsa.pem"),
        });
        std::fs::write(bench.path("account.json"), account.to_string()).unwrap();
        bench.env("P256", key("p256.pem"));
        for (name, value) in [("CLIENT", "client"), ("PIN", "pin")] {
            bench.env(name, format!("{SENTINEL}-{value}"));
        }
        bench.env("AUTHORIZATION", format!("token {SENTINEL}-ghu"));
        let config = format!("[gateway]\ndatabase = \"{}\"\ncache_lag = \"0s\"\n", database.display());
        Self { bench, config, database, channel: 100 }
    }

    /// Adds a credential with a channel of its own, and says which.
    fn add(&mut self, name: &str, url: &str, written: &str) -> i64 {
        self.channel += 1;
        database::copy_channel(&self.database, 1, self.channel, "old-key");
        let seed = format!("SEED_{}", self.channel);
        self.bench.env(&seed, seed_of(name));
        let written = written.replace("URL", url).replace("\"SEED\"", &format!("\"{seed}\""));
        self.config += &format!("[[credential]]\nname = \"{name}\"\nchannels = [{}]\n{written}\n", self.channel);
        self.channel
    }

    /// One pass over all of them.
    fn once(&self) -> Output {
        self.bench.write_config(&self.config);
        self.bench.run_command(&["once"])
    }

    fn key(&self, channel: i64) -> String {
        database::channel(&self.database, channel).key
    }

    /// A credential as `status --json` shows it.
    fn status(&self, name: &str) -> Value {
        let shown = self.bench.run_command(&["status", "--json"]);
        let status: Value = serde_json::from_str(&shown.stdout).unwrap_or_else(|_| panic!("{shown:?}"));
        let all = status["credentials"].as_array().unwrap();
        all.iter().find(|credential| credential["name"] == name).unwrap().clone()
    }
}

fn seed_of(name: &str) -> String {
    format!("{SENTINEL}-seed-of-{name}")
}

fn answering((content_type, body): (&str, &str)) -> Action {
    Action::Answer {
        status: 200,
        headers: vec![("content-type".into(), content_type.into())],
        body: body.as_bytes().to_vec(),
    }
}

/// Whether a text is the pattern, whose `*` stands for anything.
fn fits(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        Some((before, after)) => text.starts_with(before) && text.ends_with(after),
        None => text == pattern,
    }
}

#[test]
fn every_service_gets_its_request_and_its_answer_becomes_the_key() {
    let paths = SERVICES.iter().map(|service| (format!("/{}", service.name), answering(service.answer)));
    let endpoint = Endpoint::start(Options { paths: paths.collect(), ..Options::default() });
    let mut stage = Stage::new();
    let channels: Vec<i64> = SERVICES
        .iter()
        .map(|service| stage.add(service.name, &endpoint.url_of(&format!("/{}", service.name)), service.written))
        .collect();
    let ran = stage.once();
    let requests = endpoint.requests();
    for (service, channel) in SERVICES.iter().zip(channels) {
        let name = service.name;
        let sent: Vec<_> = requests.iter().filter(|request| request.path() == format!("/{name}")).collect();
        let [request] = sent[..] else { panic!("{name}: {} requests\n{ran:?}", sent.len()) };
        assert_eq!(format!("{} {}", request.method, request.target), service.request, "{name}");
        for line in service.headers.lines() {
            let (header, value) = line.split_once(": ").unwrap();
            assert_eq!(request.header(header), Some(value), "{name}");
        }
        let body = String::from_utf8_lossy(&request.body);
        let pattern = service.body.replace("SEED", &seed_of(name));
        assert!(fits(&body, &pattern), "{name}:\n{body}\n{pattern}");
        assert_eq!(stage.key(channel), service.key, "{name}\n{ran:?}");
    }
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let checked = stage.bench.run_command(&["check"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    for preset in ["openai", "google-service-account", "aws-sso"] {
        let lines = checked.stdout.lines().filter(|line| line.contains(&format!("preset {preset} fills"))).count();
        assert_eq!(lines, 1, "check explains {preset} in one line:\n{}", checked.stdout);
    }
    for output in [ran, checked] {
        assert_no_secret("a command", &format!("{}{}", output.stdout, output.stderr));
    }
}

#[test]
fn each_channel_may_have_a_key_of_its_own() {
    let answer = answering((JSON, r#"{"access_token":"a","id_token":"i","expires_in":3600,"account":{"id":"x/1"}}"#));
    let endpoint = Endpoint::start(Options { fallback: answer, ..Options::default() });
    let mut stage = Stage::new();
    for channel in [201, 202, 203] {
        database::copy_channel(&stage.database, 1, channel, "old-key");
    }
    let written = "token_url = \"URL\"\nclient_id = \"app\"\nrefresh_token = { env = \"SEED\" }\n\
                   channel_key = \"default {access_token}\"";
    stage.add("several", &endpoint.url(), written);
    stage.config = stage.config.replace(
        "channels = [101]",
        "channels = [101, { id = 201, channel_key = \"Bearer {access_token}\" }, \
         { id = 202, channel_key = \"{{{id_token}}}\" }, { id = 203, channel_key = \"{/account/id}@{expires_at}\" }]",
    );
    let ran = stage.once();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!([101, 201, 202].map(|channel| stage.key(channel)), ["default a", "Bearer a", "{i}"]);
    let key = stage.key(203);
    let expires_at = key.strip_prefix("x/1@").and_then(|at| at.parse::<i64>().ok());
    assert!(expires_at.is_some_and(|at| at > 1_700_000_000), "{key}");
}

#[test]
fn what_is_said_of_lifetimes_sets_the_time_of_the_next_refresh() {
    let paths = HashMap::from([
        ("/silent".to_owned(), answering((JSON, r#"{"access_token":"a","refresh_token":"r"}"#))),
        (
            "/idle".to_owned(),
            answering((JSON, r#"{"access_token":"a","expires_in":36000,"refresh_token":"r","idle":1000}"#)),
        ),
    ]);
    let endpoint = Endpoint::start(Options { paths, ..Options::default() });
    let mut stage = Stage::new();
    let rest = "\nclient_id = \"app\"\nrefresh_token = { env = \"SEED\" }\ntoken_url = \"URL\"";
    stage.add(
        "silent",
        &endpoint.url_of("/silent"),
        &format!("fallback_lifetime = \"2h\"\nrefresh_before = \"30m\"{rest}"),
    );
    stage.add("idle", &endpoint.url_of("/idle"), &format!("response.refresh_expires_in = \"/idle\"{rest}"));
    let ran = stage.once();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let seconds = |name: &str, from: &str, to: &str| {
        let status = stage.status(name);
        let at = |field: &str| {
            let text = status[field].as_str().unwrap_or_else(|| panic!("{field}: {status}"));
            one_api_sidecar::time::Timestamp::parse_rfc3339(text).unwrap().as_seconds()
        };
        at(to) - at(from)
    };
    let near = |seconds: i64, expected: i64| (seconds - expected).abs() <= 5;
    assert!(near(seconds("silent", "refreshed_at", "expires_at"), 7200), "fallback_lifetime");
    let lead = seconds("silent", "refresh_at", "expires_at");
    assert!((1795..=1985).contains(&lead), "refresh_before, and a tenth of it at most: {lead}");
    assert!(near(seconds("idle", "refreshed_at", "refresh_at"), 500), "half of the refresh token's own life");
}

#[test]
fn a_request_ends_at_its_timeout_and_counts_as_lost() {
    let endpoint = Endpoint::start(Options { fallback: Action::Hang, ..Options::default() });
    let mut stage = Stage::new();
    let rest = "\nclient_id = \"app\"\nrefresh_token = { env = \"SEED\" }\ntoken_url = \"URL\"";
    let channel =
        stage.add("slow", &endpoint.url(), &format!("timeout = \"300ms\"\nconnect_timeout = \"200ms\"{rest}"));
    let begun = std::time::Instant::now();
    let ran = stage.once();
    assert!(begun.elapsed() < SOON, "{ran:?}");
    assert_eq!((ran.code, endpoint.requests().len()), (Some(1), 1), "{ran:?}");
    assert_eq!(stage.status("slow")["state"], "uncertain");
    assert_eq!(stage.key(channel), "old-key");
}

#[test]
fn every_kind_of_proxy_is_gone_through() {
    let answer = answering((JSON, r#"{"access_token":"a","expires_in":3600}"#));
    let endpoint = Endpoint::start(Options { fallback: answer.clone(), ..Options::default() });
    let plain = Endpoint::start(Options { fallback: answer.clone(), ..Options::default() });
    let behind = Endpoint::start(Options { fallback: answer, ..Options::default() });
    let (socks, tunnel) = (Tunnel::socks5(), Tunnel::connect());
    let authority = Authority::new();
    let front = TlsFront::start(&authority.identity("localhost"), None, behind.address());
    let secure = TlsFront::start(&authority.identity("localhost"), None, endpoint.address());
    let mut stage = Stage::new();
    authority.write(&stage.bench.path("ca.pem"));
    let port = |address: std::net::SocketAddr| address.port();
    let mut add = |name: &str, url: String, proxy: String| {
        let written = format!(
            "token_url = \"URL\"\nclient_id = \"{name}\"\nrefresh_token = {{ env = \"SEED\" }}\n\
             ca_file = \"ca.pem\"\nproxy = \"{proxy}\""
        );
        stage.add(name, &url, &written)
    };
    let channels = [
        add("http", endpoint.url(), plain.url_of("")),
        add("https", endpoint.url(), format!("https://localhost:{}", port(front.address))),
        add("socks5", endpoint.url(), format!("socks5://{}", socks.address)),
        add("tunnel", secure.url_of("/oauth/token"), format!("http://{}", tunnel.address)),
    ];
    let ran = stage.once();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // A proxy for plain http gets the whole address, and is the one who answers here.
    for (proxy, name) in [(&plain, "http"), (&behind, "https")] {
        let [request] = &proxy.requests()[..] else { panic!("{name}: {ran:?}") };
        assert_eq!(request.target, endpoint.url(), "{name}");
        assert_eq!(request.parameters()["client_id"], name);
    }
    assert_eq!(socks.asked(), [endpoint.address().to_string()]);
    assert_eq!(tunnel.asked(), [format!("localhost:{}", port(secure.address))]);
    let direct: Vec<String> = endpoint.requests().iter().map(|seen| seen.parameters()["client_id"].clone()).collect();
    assert!(direct.len() == 2 && !direct.iter().any(|name| name.starts_with("http")), "{direct:?}");
    assert!(channels.into_iter().all(|channel| stage.key(channel) == "a"));
}

#[test]
fn a_private_authority_and_a_client_certificate_are_used() {
    let answer = answering((JSON, r#"{"access_token":"a","expires_in":3600}"#));
    let endpoint = Endpoint::start(Options { fallback: answer, ..Options::default() });
    let authority = Authority::new();
    let mutual = TlsFront::start(&authority.identity("localhost"), Some(&authority), endpoint.address());
    let mut stage = Stage::new();
    authority.write(&stage.bench.path("ca.pem"));
    authority.identity("sidecar").write(&stage.bench.path("client.pem"), &stage.bench.path("client.key"));
    let written = |rest: &str| {
        format!(
            "token_url = \"URL\"\nclient_id = \"app\"\nrefresh_token = {{ env = \"SEED\" }}\nca_file = \"ca.pem\"\n\
             backoff = {{ min = \"1m\" }}\n{rest}"
        )
    };
    let known = "client_cert = \"client.pem\"\nclient_key = { file = \"client.key\" }";
    let known = stage.add("known", &mutual.url_of("/known"), &written(known));
    let stranger = stage.add("stranger", &mutual.url_of("/stranger"), &written(""));
    let ran = stage.once();
    assert_eq!((stage.key(known).as_str(), stage.key(stranger).as_str()), ("a", "old-key"), "{ran:?}");
    let paths: Vec<String> = endpoint.requests().iter().map(|request| request.path().to_owned()).collect();
    assert_eq!(paths, ["/known"]);
    assert_eq!(mutual.refused(), 1);
    // A wrong key file says what is wrong with it.
    std::fs::write(stage.bench.path("client.key"), SENTINEL).unwrap();
    let ran = stage.bench.run_command(&["once", "--force", "known"]);
    assert!(ran.stdout.contains("client_key holds no private key in PEM"), "{ran:?}");
    assert_no_secret("once", &format!("{ran:?}"));
}

#[test]
fn the_wait_between_retries_stays_within_its_bounds() {
    let endpoint = Endpoint::start(Options { fallback: Action::json(503, "{}"), ..Options::default() });
    let mut stage = Stage::new();
    let written = "token_url = \"URL\"\nclient_id = \"app\"\nrefresh_token = { env = \"SEED\" }\n\
                   backoff = { min = \"200ms\", max = \"400ms\" }";
    stage.add("busy", &endpoint.url(), written);
    stage.bench.write_config(&stage.config);
    let agent = stage.bench.start();
    assert!(endpoint.wait_for_requests(6, SOON), "{}", agent.output());
    let times: Vec<_> = endpoint.requests().iter().map(|request| request.at).collect();
    for pair in times.windows(2) {
        let gap = pair[1] - pair[0];
        assert!(gap >= Duration::from_millis(195) && gap < Duration::from_millis(900), "{gap:?}");
    }
    agent.stop();
}
