//! The main job on databases of real gateways: the ten-line config puts the key into the channel, once, and touches
//! nothing else.

mod support;

use std::path::Path;

use support::database::{self, Cells, WRITABLE_FIXTURES};
use support::endpoint::{Endpoint, Options};
use support::process::{Bench, assert_no_secret};
use support::{SENTINEL, SOON};

/// What PushPlus answers to a message that it took.
const TAKEN: &str = r#"{"code":200,"msg":"ok","data":"0123456789abcdef"}"#;

const REDIRECT_URI: &str = "com.openai.chat://auth0.openai.com/ios/com.openai.chat/callback";

struct Scene {
    bench: Bench,
    endpoint: Endpoint,
    pushplus: Endpoint,
    before: Cells,
}

/// The ten-line config on a copy of a gateway's database, with both services on loopback.
fn scene(fixture: &str, notify: &str) -> Scene {
    let (endpoint, pushplus) = (Endpoint::start(Options::default()), Endpoint::answering(200, TAKEN));
    let mut bench = Bench::new();
    let database = bench.path("one-api.db");
    database::copy_fixture(fixture, &database);
    bench.env("OPENAI_REFRESH_TOKEN", endpoint.issue());
    bench.env("PUSHPLUS_TOKEN", format!("{SENTINEL}-pushplus"));
    bench.write_config(&format!(
        r#"
[gateway]
database = "{}"

[[credential]]
name          = "openai"
token_url     = "{}"
encoding      = "json"
client_id     = "pdlLIX2Y72MIl2rhLhTE9VV9bN905kBh"
params        = {{ redirect_uri = "{REDIRECT_URI}" }}
refresh_token = {{ env = "OPENAI_REFRESH_TOKEN" }}
channels      = [1]

[[notify]]
type  = "pushplus"
token = {{ env = "PUSHPLUS_TOKEN" }}
url   = "{}"
{notify}
"#,
        database.display(),
        endpoint.url(),
        pushplus.url_of("/send"),
    ));
    let before = database::all_rows(&database);
    Scene { bench, endpoint, pushplus, before }
}

impl Scene {
    fn changes(&self) -> Vec<String> {
        database::differences(&self.before, &database::all_rows(&self.bench.path("one-api.db")))
    }

    fn key(&self) -> String {
        database::channel(&self.bench.path("one-api.db"), 1).key
    }

    fn once(&self) {
        let output = self.bench.run_command(&["once"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert_no_secret("once", &format!("{output:?}"));
    }
}

#[test]
fn once_puts_the_key_into_the_channel_and_the_second_once_sends_nothing() {
    for fixture in WRITABLE_FIXTURES {
        let scene = scene(fixture, "");
        scene.once();
        assert_eq!(scene.endpoint.accepted_tokens(), [scene.key()], "{fixture}");
        assert_eq!(scene.changes(), ["channels[1].key"], "{fixture}: every other value is as it was");

        scene.once();
        assert_eq!(scene.endpoint.requests().len(), 1, "{fixture}: nothing was due");
        assert_eq!(scene.changes(), ["channels[1].key"], "{fixture}");
        assert_eq!(scene.endpoint.reuse_count(), 0, "{fixture}");
    }
}

#[test]
fn the_request_is_the_original_scripts() {
    let scene = scene("one-api.db", "");
    scene.once();
    let requests = scene.endpoint.requests();
    let [request] = requests.as_slice() else { panic!("one request: {requests:?}") };
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/oauth/token"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    let mut body = request.json();
    let refresh_token = body["refresh_token"].take();
    assert!(refresh_token.as_str().is_some_and(|token| token.starts_with(SENTINEL)));
    let exactly = serde_json::json!({
        "redirect_uri": REDIRECT_URI,
        "grant_type": "refresh_token",
        "client_id": "pdlLIX2Y72MIl2rhLhTE9VV9bN905kBh",
        "refresh_token": null,
    });
    assert_eq!(body, exactly);
}

/// Reading the system's certificates takes longer than a refresh. Here it would never end.
#[test]
fn without_tls_nobody_waits_for_the_systems_certificates() {
    let mut scene = scene("one-api.db", "");
    let pipe = scene.bench.path("certificates.pem");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    scene.bench.env("SSL_CERT_FILE", pipe.display().to_string());
    scene.once();
    assert_eq!(scene.endpoint.accepted_tokens(), [scene.key()]);
}

#[test]
fn a_forced_once_sends_the_rotated_refresh_token() {
    let scene = scene("one-api.db", "");
    scene.once();
    let output = scene.bench.run_command(&["once", "--force"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let accepted = scene.endpoint.accepted_tokens();
    assert_eq!(accepted.len(), 2);
    assert_eq!(scene.key(), accepted[1]);
    assert_eq!(scene.endpoint.reuse_count(), 0);
}

#[test]
fn a_message_goes_out_without_a_key_in_it() {
    let scene = scene("one-api.db", r#"events = ["refreshed"]"#);
    scene.once();
    assert!(scene.pushplus.wait_for_requests(1, SOON), "PushPlus heard of the refresh");
    let message = scene.pushplus.requests()[0].json();
    assert_eq!(message["token"], format!("{SENTINEL}-pushplus"));
    for field in ["title", "content"] {
        let text = message[field].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "{field}: {message}");
        assert_no_secret(field, text);
    }
}

#[test]
fn a_key_that_the_gateway_disabled_is_enabled_again_with_its_abilities() {
    for fixture in WRITABLE_FIXTURES {
        let scene = scene(fixture, "");
        let config = std::fs::read_to_string(scene.bench.config()).unwrap();
        scene.bench.write_config(&config.replace("channels      = [1]", "channels      = [4]"));
        scene.once();
        let channel = database::channel(&scene.bench.path("one-api.db"), 4);
        assert_eq!(scene.endpoint.accepted_tokens(), [channel.key], "{fixture}");
        assert_eq!((channel.status, channel.abilities), (1, vec![true]), "{fixture}");
        assert!(scene.changes().contains(&"channels[4].status".to_owned()));
        assert_eq!(scene.changes().len(), 3, "{fixture}: {:?}", scene.changes());
    }
}

#[test]
fn what_is_not_a_gateway_it_can_write_to_is_refused_by_name_and_nothing_is_spent() {
    let scene = scene("one-hub.db", "");
    let output = scene.bench.run_command(&["once"]);
    assert!(output.code.is_some_and(|code| code != 0), "{output:?}");
    assert!((output.stdout + &output.stderr).contains("one-hub"), "one-hub is named");
    assert_eq!(scene.endpoint.requests().len(), 0, "nothing is spent that cannot be delivered");
    assert_eq!(scene.changes(), [""; 0]);
}

#[test]
fn a_missing_database_is_waited_for_never_created() {
    let scene = scene("one-api.db", "");
    let database = scene.bench.path("one-api.db");
    let aside = scene.bench.path("aside.db");
    std::fs::rename(&database, &aside).unwrap();
    let agent = scene.bench.start();
    std::fs::rename(&aside, &database).unwrap();
    assert!(scene.endpoint.wait_for_requests(1, SOON));
    assert!(support::eventually(SOON, || scene.endpoint.accepted_tokens() == [scene.key()]));
    agent.stop();
    assert_eq!(scene.changes(), ["channels[1].key"]);
    assert!(!Path::new(&aside).exists());
}
