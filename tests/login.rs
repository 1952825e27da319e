//! First logins and imports, by the real program: with a scripted server, and with servers that nobody here wrote.

mod support;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use support::database;
use support::endpoint::{Action, Endpoint, Options};
use support::peer::Peer;
use support::process::{Bench, Sidecar, assert_no_secret};
use support::{SENTINEL, SOON};
use url::Url;

/// A gateway and one credential, which has no refresh token yet.
struct Stage {
    bench: Bench,
    database: PathBuf,
}

impl Stage {
    fn new(credential: &str) -> Self {
        let bench = Bench::new();
        let database = bench.path("one-api.db");
        database::copy_fixture("one-api.db", &database);
        bench.write_config(&format!(
            "[gateway]\ndatabase = \"{}\"\ncache_lag = \"0s\"\n[[credential]]\nname = \"acme\"\nchannels = [1]\n{credential}",
            database.display()
        ));
        Self { bench, database }
    }

    fn key(&self) -> String {
        database::channel(&self.database, 1).key
    }

    /// What the vault got is enough for a key.
    fn works(&self, is_valid: impl Fn(&str) -> bool) {
        let ran = self.bench.run_command(&["once"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(is_valid(&self.key()), "{ran:?}");
    }
}

/// Waits for a command to end well; what it said.
fn ends(mut command: Sidecar, code: i32) -> String {
    let exit = command.wait_exit(3 * SOON).unwrap_or_else(|| panic!("it did not end:\n{}", command.output()));
    let output = command.output();
    assert_eq!(exit.code(), Some(code), "{output}");
    assert_no_secret("login", &output);
    output
}

/// The address that the program tells a person to open.
fn address(command: &Sidecar) -> Url {
    let line = command.wait_for_line("response_type=code", SOON);
    line.unwrap_or_else(|| panic!("no address:\n{}", command.output())).trim().parse().unwrap()
}

fn parameter(url: &Url, name: &str) -> String {
    let found = url.query_pairs().find(|(key, _)| key == name);
    found.unwrap_or_else(|| panic!("{name} is in {url}")).1.into_owned()
}

/// A browser that is sent to an address of this machine; the status line of the answer.
fn go(address: &str) -> String {
    let url: Url = address.parse().unwrap();
    let mut stream = TcpStream::connect((url.host_str().unwrap(), url.port().unwrap())).unwrap();
    let target = &url[url::Position::BeforePath..];
    write!(stream, "GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

/// An endpoint that gives a code, and a refresh token of a family of its own for it.
fn giving(endpoint: &Endpoint) -> Action {
    let answer =
        json!({"access_token": format!("{SENTINEL}-first"), "expires_in": 60, "refresh_token": endpoint.issue()});
    Action::json(200, answer.to_string())
}

fn credential(endpoint: &Endpoint, more: &str) -> String {
    format!("token_url = \"{}\"\nclient_id = \"app\"\nscope = \"openid offline_access\"\n{more}\n", endpoint.url())
}

#[test]
fn a_device_code_is_shown_and_asked_for_as_the_server_wishes() {
    let endpoint = Endpoint::start(Options::default());
    let device = endpoint.url_of("/device");
    let stage = Stage::new(&credential(&endpoint, &format!("device_authorization_endpoint = \"{device}\"")));
    let shown = json!({
        "device_code": format!("{SENTINEL}-device"), "user_code": "WDJB-MJHT", "interval": 1, "expires_in": 600,
        "verification_uri": "https://acme.example/device",
    });
    let error = |code: &str| Action::json(400, json!({"error": code}).to_string());
    endpoint.script([
        Action::json(200, shown.to_string()),
        error("authorization_pending"),
        error("slow_down"),
        giving(&endpoint),
    ]);
    let (login, _stdin) = stage.bench.spawn_command(&["login", "acme"]);
    assert!(login.wait_for_line("WDJB-MJHT", SOON).is_some(), "{}", login.output());
    let output = ends(login, 0);
    assert!(output.contains("https://acme.example/device") && output.contains("is in the vault"), "{output}");

    let requests = endpoint.requests();
    assert_eq!(requests[0].path(), "/device");
    assert_eq!(String::from_utf8_lossy(&requests[0].body), "client_id=app&scope=openid+offline_access");
    for asked in &requests[1..4] {
        let parameters = asked.parameters();
        assert_eq!(parameters["grant_type"], "urn:ietf:params:oauth:grant-type:device_code");
        assert_eq!(parameters["device_code"], format!("{SENTINEL}-device"));
    }
    let gaps: Vec<u64> = requests.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs()).collect();
    assert_eq!(gaps, [1, 1, 6], "interval, and five seconds more after slow_down");
    stage.works(|key| endpoint.is_valid(key));
    assert_eq!(endpoint.requests().len(), 5);
}

#[test]
fn aws_has_a_device_flow_of_its_own_names() {
    let endpoint = Endpoint::start(Options::default());
    let device = endpoint.url_of("/device_authorization?startUrl=https://acme.awsapps.com/start");
    let stage = Stage::new(&format!(
        "preset = \"aws-sso\"\ntoken_url = \"{}\"\nclient_id = \"app\"\n\
         client_secret = {{ value = \"{SENTINEL}-client\" }}\ndevice_authorization_endpoint = \"{device}\"\n",
        endpoint.url_of("/token")
    ));
    // https://docs.aws.amazon.com/singlesignon/latest/OIDCAPIReference/: StartDeviceAuthorization, CreateToken.
    let shown = json!({
        "deviceCode": format!("{SENTINEL}-device"), "userCode": "WDJB-MJHT", "interval": 1, "expiresIn": 600,
        "verificationUri": "https://acme.awsapps.com/start/#/device",
        "verificationUriComplete": "https://acme.awsapps.com/start/#/device?user_code=WDJB-MJHT",
    });
    let pending = json!({"error": "authorization_pending", "error_description": "not yet"});
    let answer = |n: u8| {
        let tokens = json!({"accessToken": format!("{SENTINEL}-a{n}"), "refreshToken": format!("{SENTINEL}-r{n}"),
            "expiresIn": 3600, "tokenType": "Bearer"});
        Action::json(200, tokens.to_string())
    };
    let shown = Action::json(200, shown.to_string());
    endpoint.script([shown, Action::json(400, pending.to_string()), answer(1), answer(2)]);
    let (login, _stdin) = stage.bench.spawn_command(&["login", "acme"]);
    let output = ends(login, 0);
    assert!(output.contains("https://acme.awsapps.com/start/#/device") && output.contains("WDJB-MJHT"), "{output}");
    stage.works(|key| key == format!("{SENTINEL}-a2"));

    let client = json!({"clientId": "app", "clientSecret": format!("{SENTINEL}-client")});
    let with = |more: serde_json::Value| {
        let mut all = client.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let code = with(json!({"grantType": "urn:ietf:params:oauth:grant-type:device_code",
        "deviceCode": format!("{SENTINEL}-device")}));
    let expected = [
        with(json!({"startUrl": "https://acme.awsapps.com/start"})),
        code.clone(),
        code,
        with(json!({"grantType": "refresh_token", "refreshToken": format!("{SENTINEL}-r1")})),
    ];
    let sent: Vec<_> = endpoint.requests().iter().map(support::endpoint::Request::json).collect();
    assert_eq!(sent, expected);
    assert_eq!(endpoint.requests()[0].target, "/device_authorization");
}

#[test]
fn a_browser_comes_back_to_this_machine_with_a_code() {
    let endpoint = Endpoint::start(Options::default());
    let authorize = endpoint.url_of("/authorize?audience=x");
    let stage = Stage::new(&credential(&endpoint, &format!("authorization_endpoint = \"{authorize}\"")));
    endpoint.script([giving(&endpoint)]);
    let (login, _stdin) = stage.bench.spawn_command(&["login", "acme"]);
    let url = address(&login);
    assert_eq!((parameter(&url, "audience"), parameter(&url, "client_id")), ("x".into(), "app".into()));
    let (back, state) = (parameter(&url, "redirect_uri"), parameter(&url, "state"));
    // What does not belong to this login changes nothing.
    assert!(go(&back.replace("/callback", "/favicon.ico")).contains("404"));
    assert!(go(&format!("{back}?code=forged&state=x")).contains("400"));
    assert!(go(&format!("{back}?code={SENTINEL}-code&state={state}")).contains("200"));
    ends(login, 0);

    let [exchange] = &endpoint.requests()[..] else { panic!("{:?}", endpoint.requests()) };
    let parameters = exchange.parameters();
    assert_eq!((&*parameters["grant_type"], &*parameters["client_id"]), ("authorization_code", "app"));
    assert_eq!((&parameters["redirect_uri"], parameters["code"].as_str()), (&back, "sentinel-5d3b9f-code"));
    let challenge = ring::digest::digest(&ring::digest::SHA256, parameters["code_verifier"].as_bytes());
    assert_eq!(URL_SAFE_NO_PAD.encode(challenge), parameter(&url, "code_challenge"));
    stage.works(|key| endpoint.is_valid(key));
}

#[test]
fn without_a_browser_here_the_last_address_is_pasted() {
    let endpoint = Endpoint::start(Options::default());
    let more = format!(
        "authorization_endpoint = \"{}\"\nparams = {{ redirect_uri = \"com.example.app://done\" }}",
        endpoint.url_of("/authorize")
    );
    let stage = Stage::new(&credential(&endpoint, &more));
    endpoint.script([giving(&endpoint)]);
    let (login, mut stdin) = stage.bench.spawn_command(&["login", "acme", "--paste"]);
    let url = address(&login);
    assert_eq!(parameter(&url, "redirect_uri"), "com.example.app://done");
    writeln!(stdin, "com.example.app://done?code={SENTINEL}-code&state={}", parameter(&url, "state")).unwrap();
    ends(login, 0);
    assert_eq!(endpoint.requests()[0].parameters()["redirect_uri"], "com.example.app://done");
    stage.works(|key| endpoint.is_valid(key));
}

#[test]
fn the_issuers_metadata_tells_where_to_go_and_nobody_elses() {
    let endpoint = Endpoint::start(Options::default());
    let issuer = endpoint.url_of("/tenant");
    let metadata = |issuer: &str| {
        let body = json!({"issuer": issuer, "authorization_endpoint": endpoint.url_of("/authorize")});
        Action::json(200, body.to_string())
    };
    let stage = Stage::new(&credential(&endpoint, &format!("issuer = \"{issuer}\"")));
    endpoint.script([metadata("https://evil.example"), metadata("https://evil.example")]);
    let (login, _stdin) = stage.bench.spawn_command(&["login", "acme"]);
    assert!(ends(login, 1).contains("does not speak for the issuer"));
    endpoint.script([Action::json(404, "{}"), metadata(&issuer)]);
    let (login, _stdin) = stage.bench.spawn_command(&["login", "acme"]);
    assert_eq!(address(&login).path(), "/authorize");
    let paths: Vec<String> = endpoint.requests().iter().map(|request| request.path().to_owned()).collect();
    let places = ["/tenant/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/tenant"];
    assert_eq!(paths, [places, places].concat());
}

#[test]
fn what_cannot_work_is_said_before_anybody_is_troubled() {
    let endpoint = Endpoint::start(Options::default());
    let stage = Stage::new(&credential(&endpoint, ""));
    let nowhere = stage.bench.run_command(&["login", "acme"]);
    assert_eq!(nowhere.code, Some(1));
    assert!(
        nowhere.stderr.contains("Nothing says where to log in") && nowhere.stderr.contains("issuer"),
        "{nowhere:?}"
    );
    let misspelt = stage.bench.run_command(&["login", "acmee"]);
    assert!(misspelt.code == Some(2) && misspelt.stderr.contains("`acme`"), "{misspelt:?}");
    let none = Stage::new(&credential(&endpoint, "grant_type = \"client_credentials\""));
    let none = none.bench.run_command(&["login", "acme"]);
    assert!(none.code == Some(2) && none.stderr.contains("needs no login"), "{none:?}");
    assert_eq!(endpoint.requests().len(), 0);
}

#[test]
fn a_login_that_brings_no_refresh_token_says_how_to_get_one() {
    let endpoint = Endpoint::start(Options::default());
    let more = format!("authorization_endpoint = \"{}\"", endpoint.url_of("/authorize"));
    let stage = Stage::new(&credential(&endpoint, &more));
    for (back, said) in [
        (format!("code={SENTINEL}-code"), "offline_access"),
        ("error=access_denied".to_owned(), "turned down"),
        ("error=invalid_scope".to_owned(), "invalid_scope"),
    ] {
        endpoint.script([Action::json(200, json!({"access_token": format!("{SENTINEL}-a")}).to_string())]);
        let (login, mut stdin) = stage.bench.spawn_command(&["login", "acme", "--paste"]);
        let state = parameter(&address(&login), "state");
        writeln!(stdin, "http://127.0.0.1/callback?{back}&state={state}").unwrap();
        let output = ends(login, 1);
        assert!(output.contains(said), "{output}");
    }
}

#[test]
fn a_configured_seed_does_not_displace_the_one_of_a_login() {
    let endpoint = Endpoint::start(Options::default());
    let more = format!(
        "authorization_endpoint = \"{}\"\nrefresh_token = {{ value = \"{SENTINEL}-stale\" }}",
        endpoint.url_of("/authorize")
    );
    let stage = Stage::new(&credential(&endpoint, &more));
    endpoint.script([giving(&endpoint)]);
    let (login, mut stdin) = stage.bench.spawn_command(&["login", "acme", "--paste"]);
    let state = parameter(&address(&login), "state");
    writeln!(stdin, "?code={SENTINEL}-code&state={state}").unwrap();
    ends(login, 0);
    stage.works(|key| endpoint.is_valid(key));
    let stale = |value: &String| value.ends_with("stale");
    assert!(!endpoint.requests().iter().any(|request| request.parameters().values().any(stale)));
}

#[test]
fn an_import_says_what_it_would_do_and_does_it_when_told() {
    let endpoint = Endpoint::start(Options::default());
    let stage = Stage::new(&credential(&endpoint, ""));
    let file = |name: &str, content: serde_json::Value| {
        std::fs::write(stage.bench.path(name), content.to_string()).unwrap();
    };
    file("answer.json", json!({"access_token": format!("{SENTINEL}-a"), "refresh_token": endpoint.issue()}));
    let dry = stage.bench.run_command(&["import", "answer.json"]);
    assert!(dry.code == Some(0) && dry.stdout.contains("credential acme") && dry.stdout.contains("--yes"), "{dry:?}");
    assert!(!stage.bench.path("one-api-sidecar").exists(), "nothing was changed");
    let done = stage.bench.run_command(&["import", "answer.json", "--yes"]);
    assert!(done.code == Some(0) && done.stdout.contains("is in the vault"), "{done:?}");
    stage.works(|key| endpoint.is_valid(key));

    // By pointers; a file of another client is refused.
    file("odd.json", json!({"a": {"b": endpoint.issue(), "c": "other"}}));
    let pointers = ["import", "odd.json", "--yes", "--pointer", "refresh_token=/a/b", "--name", "acme"];
    let odd = stage.bench.run_command(&pointers);
    assert_eq!(odd.code, Some(0), "{odd:?}");
    let other = stage.bench.run_command(&[&pointers[..], &["--pointer", "client_id=/a/c"]].concat());
    assert!(other.code == Some(3) && other.stderr.contains("`other`"), "{other:?}");
    let unknown = stage.bench.run_command(&["import", "one-api.db"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");

    // A credential that the config lacks is written out, without any secret.
    let secret = |name: &str| format!("{SENTINEL}-{name}");
    file(
        "adc.json",
        json!({"type": "authorized_user", "client_id": "1.apps", "client_secret": secret("c"), "refresh_token": secret("r")}),
    );
    let advice = stage.bench.run_command(&["import", "adc.json", "--name", "vertex"]);
    assert!(advice.code == Some(2) && advice.stdout.contains("preset        = \"google\""), "{advice:?}");
    file("robot.json", json!({"type": "service_account", "client_email": "e", "private_key": secret("k")}));
    let robot = stage.bench.run_command(&["import", "robot.json"]);
    assert!(robot.code == Some(0) && robot.stdout.contains("google-service-account"), "{robot:?}");
    for output in [dry, done, odd, other, unknown, advice, robot] {
        assert_no_secret("import", &format!("{output:?}"));
    }
}

/// The credentials that oidc-provider knows.
fn at_peer(peer: &Peer, client: &str) -> String {
    format!("token_url = \"{}\"\n{client}\n", peer.url_of("/token"))
}

#[test]
fn oidc_provider_gives_a_refresh_token_by_device_code() {
    let Some(peer) = Peer::start("oidc-provider", "op.mjs", &[]) else { return };
    let more = format!("client_id = \"pub\"\nscope = \"openid offline_access\"\nissuer = \"{}\"", peer.url_of(""));
    let stage = Stage::new(&at_peer(&peer, &more));
    let (login, _stdin) = stage.bench.spawn_command(&["login", "acme"]);
    let is_code = |line: &str| line.len() == 9 && line.as_bytes()[4] == b'-';
    assert!(login.wait_for_line("waiting", SOON).is_some(), "{}", login.output());
    let output = login.output();
    let code = output.lines().map(str::trim).find(|line| is_code(line)).unwrap_or_else(|| panic!("{output}"));
    assert!(Peer::visit(&[&peer.url_of("/device"), code]).contains("successful"));
    ends(login, 0);
    stage.works(|key| key != "old-key" && key.len() > 20);
}

#[test]
fn oidc_provider_gives_a_refresh_token_by_browser() {
    let Some(peer) = Peer::start("oidc-provider", "op.mjs", &[]) else { return };
    for (client, auth) in [
        ("client_id = \"pub\"", ""),
        ("client_id = \"conf-basic\"\nclient_secret = { value = \"s3cr3t-basic\" }", "client_secret_basic"),
        ("client_id = \"conf-post\"\nclient_secret = { value = \"s3cr3t-post\" }", "client_secret_post"),
    ] {
        let auth = if auth.is_empty() { auth.to_owned() } else { format!("token_endpoint_auth_method = \"{auth}\"") };
        let more = format!(
            "{client}\n{auth}\nscope = \"openid offline_access\"\nissuer = \"{}\"\n\
             params = {{ redirect_uri = \"http://127.0.0.1/cb\" }}",
            peer.url_of("")
        );
        let stage = Stage::new(&at_peer(&peer, &more));
        let (login, _stdin) = stage.bench.spawn_command(&["login", "acme", "--browser"]);
        // It grants offline access only to who asks for consent.
        let address = format!("{}&prompt=consent", address(&login));
        let ended = Peer::visit(&[&address]);
        assert!(ended.contains("/cb?code="), "{ended}");
        ends(login, 0);
        stage.works(|key| key.len() > 20);
    }
}

#[test]
fn oidc_provider_gives_a_client_a_key_without_any_user() {
    let Some(peer) = Peer::start("oidc-provider", "op.mjs", &[]) else { return };
    let more = "grant_type = \"client_credentials\"\ntoken_endpoint_auth_method = \"client_secret_post\"\n\
                client_id = \"conf-post\"\nclient_secret = { value = \"s3cr3t-post\" }";
    Stage::new(&at_peer(&peer, more)).works(|key| key.len() > 20);
    let wrong = Stage::new(&at_peer(&peer, &more.replace("s3cr3t-post", "wrong")));
    let refused = wrong.bench.run_command(&["once"]);
    assert!(refused.code == Some(4) && refused.stdout.contains("invalid_client"), "{refused:?}");
}

#[test]
fn oauth2_mock_server_checks_the_verifier_and_its_keys_say_how_long_they_live() {
    let Some(peer) = Peer::start("oauth2-mock-server", "server.mjs", &[]) else { return };
    let more = format!(
        "client_id = \"app\"\nscope = \"openid\"\nissuer = \"{}\"\nresponse = {{ expires_in = \"\" }}",
        peer.url_of("")
    );
    let stage = Stage::new(&at_peer(&peer, &more));
    let (login, _stdin) = stage.bench.spawn_command(&["login", "acme"]);
    assert!(Peer::visit(&[address(&login).as_str()]).contains("/callback?code="));
    ends(login, 0);
    stage.works(|key| key.split('.').count() == 3);
    let shown = stage.bench.run_command(&["status"]).stdout;
    assert!(shown.contains("in 59 min") || shown.contains("in 1 h"), "the lifetime is the key's own: {shown}");
}

#[test]
fn a_person_who_never_comes_is_not_waited_for_beyond_the_codes_life() {
    let endpoint = Endpoint::start(Options {
        paths: HashMap::from([(
            "/device".to_owned(),
            Action::json(
                200,
                r#"{"device_code":"d-0123456789","user_code":"A","verification_uri":"https://a.example/","expires_in":2,"interval":1}"#,
            ),
        )]),
        fallback: Action::json(400, r#"{"error":"authorization_pending"}"#),
        ..Options::default()
    });
    let more = format!("device_authorization_endpoint = \"{}\"", endpoint.url_of("/device"));
    let stage = Stage::new(&credential(&endpoint, &more));
    let begun = std::time::Instant::now();
    let (login, _stdin) = stage.bench.spawn_command(&["login", "acme"]);
    let output = ends(login, 1);
    assert!(output.contains("in time"), "{output}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}
