//! No secret is in anything that the program shows. Every secret of a config, every token that a server gives out and
//! every key that a gateway holds carries a sentinel; everything is run with the log at its loudest, and everything that
//! comes out of it is searched: for the sentinel as it is, and in base64, hexadecimal and percent encoding.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use support::endpoint::{Action, Endpoint, Options, Request};
use support::process::Bench;
use support::{SENTINEL, SOON, database, eventually};

/// A text that must not hold a secret, and what it is.
type Shown = (String, String);

/// Every form in which a sentinel could hide, in lower case (base64 aside).
fn forms() -> Vec<(&'static str, String)> {
    let hexadecimal: String = SENTINEL.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = SENTINEL.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let mut forms = vec![
        ("as it is", SENTINEL.to_owned()),
        ("hexadecimal", hexadecimal),
        ("percent", percent),
        ("percent, as forms do", SENTINEL.replace('-', "%2d")),
        ("bytes", SENTINEL.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ")),
    ];
    for offset in 0..3 {
        // Base64 depends on what stands before: what is the same whatever that is.
        let encoded = STANDARD.encode([&[b'x'; 2][..offset.min(2)], SENTINEL.as_bytes()].concat());
        let (first, last) = ([0, 2, 3][offset], encoded.len() - 4);
        forms.push(("base64", encoded[first..last].to_owned()));
    }
    forms
}

/// Where a secret is seen, if it is.
fn leak(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    let seen = forms().into_iter().find(|(name, form)| match *name {
        "base64" => text.contains(form) || text.contains(&form.replace('+', "-").replace('/', "_")),
        _ => lower.contains(form),
    });
    let (name, form) = seen?;
    let line = text.lines().find(|line| line.contains(&form) || line.to_lowercase().contains(&form));
    Some(format!("{name}: {}", line.unwrap_or(text)))
}

fn assert_clean(shown: &[Shown]) {
    let leaks: Vec<String> = shown
        .iter()
        .filter_map(|(what, text)| leak(text).map(|leak| format!("{what} shows a secret, {leak}")))
        .collect();
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}

#[test]
fn the_search_finds_every_form_of_a_secret() {
    for before in ["", "a", "ab", "abc", "user:"] {
        let secret = format!("{before}{SENTINEL}-seed-and-more");
        for hidden in [
            secret.clone(),
            STANDARD.encode(&secret),
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&secret),
            secret.bytes().map(|byte| format!("{byte:02X}")).collect(),
            secret.bytes().map(|byte| format!("%{byte:02X}")).collect(),
            secret.replace('-', "%2D"),
            format!("{:?}", secret.as_bytes()),
        ] {
            assert!(leak(&format!("some words\nand {hidden} in a line\n")).is_some(), "{hidden}");
        }
    }
    assert_eq!(leak("sentinel-less, and c2VudGluZWw alone"), None);
}

/// A config with every kind of secret, servers that answer and servers that echo what they got.
struct Stage {
    bench: Bench,
    endpoint: Endpoint,
    echoing: Endpoint,
    notifiers: BTreeMap<&'static str, Endpoint>,
    listen: String,
}

impl Stage {
    fn new() -> Self {
        let endpoint = Endpoint::start(Options { lifetime: Duration::from_secs(3), ..Options::default() });
        let echo = format!(
            r#"{{"error":"{SENTINEL}-seed-echo","error_description":"the refresh token {SENTINEL}-seed-echo of {SENTINEL}-client is spent","request":"{SENTINEL}-seed-echo"}}"#
        );
        let page = format!("<html><body>Blocked: {SENTINEL}-seed-page {SENTINEL}-client</body></html>");
        let html = |status| {
            let headers = vec![("content-type".into(), "text/html".into())];
            Action::Answer { status, headers, body: page.clone().into_bytes() }
        };
        let odd =
            format!(r#"{{"access_token":"{SENTINEL}\u0000x","refresh_token":"{SENTINEL}-next","expires_in":60}}"#);
        let paths = [
            ("/echo", Action::json(400, echo)),
            ("/page", html(403)),
            ("/redirect", Action::redirect(307, format!("http://127.0.0.1:1/{SENTINEL}-redirect"))),
            ("/odd", Action::json(200, odd)),
            ("/text", Action::json(200, format!("{SENTINEL}-not-json"))),
            ("/broken", html(502)),
        ];
        let paths = paths.into_iter().map(|(path, action)| (path.to_owned(), action)).collect();
        let echoing = Endpoint::start(Options { paths, ..Options::default() });
        let refusal = format!(r#"{{"code":903,"msg":"the token {SENTINEL}-pushplus is unknown"}}"#);
        let notifiers = BTreeMap::from([
            ("pushplus", Endpoint::answering(200, r#"{"code":200}"#)),
            ("refusing", Endpoint::answering(200, &refusal)),
            ("webhook", Endpoint::answering(200, "{}")),
            ("telegram", Endpoint::answering(401, &format!(r#"{{"ok":false,"description":"{SENTINEL}-telegram"}}"#))),
        ]);
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut bench = Bench::new();
        database::copy_fixture("one-api.db", &bench.path("one-api.db"));
        for id in 1..=7 {
            database::set_channel(&bench.path("one-api.db"), id, &format!("{SENTINEL}-displaced-{id}"), 1);
        }
        for id in 11..=17 {
            database::copy_channel(&bench.path("one-api.db"), 1, id, &format!("{SENTINEL}-displaced-{id}"));
        }
        // 32 bytes of a key that begins with the sentinel.
        let key = STANDARD.encode(format!("{SENTINEL:-<32}"));
        for (name, value) in [
            ("KEY", key),
            ("RUST_BACKTRACE", "1".into()),
            ("ONE_API_SIDECAR_LOG", "trace".into()),
            ("CLIENT_SECRET", format!("{SENTINEL}-client")),
            ("HEADER", format!("Bearer {SENTINEL}-header")),
            ("PARAM", format!("{SENTINEL}-param")),
            ("PUSHPLUS_TOKEN", format!("{SENTINEL}-pushplus")),
            ("HMAC", format!("{SENTINEL}-hmac")),
            ("SEED", endpoint.issue()),
            ("ASSERTION", format!("-----BEGIN PRIVATE KEY-----\n{SENTINEL}-key\n-----END PRIVATE KEY-----")),
        ] {
            bench.env(name, value);
        }
        let webhook = notifiers["webhook"].url_of(&format!("/{SENTINEL}-webhook?key={SENTINEL}"));
        for (file, value) in [
            ("basic.seed", endpoint.issue()),
            ("echo.seed", format!("{SENTINEL}-seed-echo")),
            ("page.seed", format!("{SENTINEL}-seed-page")),
            ("client.key", format!("-----BEGIN PRIVATE KEY-----\n{SENTINEL}-client-key\n-----END PRIVATE KEY-----")),
            ("client.pem", "no certificate".into()),
            ("webhook.url", webhook),
            ("other.json", format!(r#"{{"a":{{"b":"{SENTINEL}-imported"}},"client_secret":"{SENTINEL}-imported"}}"#)),
        ] {
            std::fs::write(bench.path(file), value).unwrap();
        }
        let stage = Self { bench, endpoint, echoing, notifiers, listen };
        stage.bench.write_config(&stage.config());
        stage
    }

    fn config(&self) -> String {
        let url = self.endpoint.url();
        let notifier = |name: &str, path: &str| self.notifiers[name].url_of(path);
        let mut text = format!(
            r#"[gateway]
database  = "one-api.db"
cache_lag = "0s"

[vault]
encryption_key = {{ env = "KEY" }}

[server]
listen = "{listen}"

[defaults]
refresh_before = "1s"
backoff = {{ min = "100ms", max = "1s" }}

[[credential]]
name          = "post"
token_url     = "{url}"
client_id     = "post"
client_secret = {{ env = "CLIENT_SECRET" }}
token_endpoint_auth_method = "client_secret_post"
headers       = {{ "x-secret" = {{ env = "HEADER" }} }}
params        = {{ extra = {{ env = "PARAM" }} }}
refresh_token = {{ env = "SEED" }}
channels      = [1, {{ id = 11, channel_key = "a {{access_token}} b" }}]

[[credential]]
name          = "basic"
token_url     = "{url}"
client_id     = "basic"
client_secret = {{ env = "CLIENT_SECRET" }}
token_endpoint_auth_method = "client_secret_basic"
encoding      = "query"
refresh_token = {{ file = "basic.seed" }}
channels      = [2]

[[credential]]
name          = "assertion"
grant_type    = "jwt_bearer"
token_url     = "{url}"
channels      = [12]
[credential.assertion]
key    = {{ env = "ASSERTION" }}
issuer = "x"

[[credential]]
name          = "mutual"
token_url     = "{url}"
client_cert   = "client.pem"
client_key    = {{ file = "client.key" }}
refresh_token = {{ value = "{SENTINEL}-in-the-config" }}
channels      = [13]

[[notify]]
type   = "pushplus"
token  = {{ env = "PUSHPLUS_TOKEN" }}
url    = "{pushplus}"
events = ["all"]

[[notify]]
name   = "refusing"
type   = "pushplus"
token  = {{ env = "PUSHPLUS_TOKEN" }}
url    = "{refusing}"
events = ["all"]

[[notify]]
type        = "webhook"
url         = {{ file = "webhook.url" }}
headers     = {{ authorization = {{ env = "HEADER" }} }}
hmac_secret = {{ env = "HMAC" }}
events      = ["all"]

[[notify]]
type    = "telegram"
token   = {{ env = "PUSHPLUS_TOKEN" }}
chat_id = 1
url     = "{telegram}"
events  = ["all"]

[[notify]]
type     = "smtp"
host     = "127.0.0.1"
port     = 1
tls      = "none"
username = "user"
password = {{ env = "PUSHPLUS_TOKEN" }}
from     = "a@b.example"
to       = ["c@d.example"]
events   = ["all"]
timeout  = "1s"

[[notify]]
type    = "command"
program = "sh"
args    = ["-c", "env >&2; cat >&2; exit 1"]
events  = ["all"]
"#,
            listen = self.listen,
            pushplus = notifier("pushplus", "/send"),
            refusing = notifier("refusing", "/send"),
            telegram = notifier("telegram", ""),
        );
        let echoing = [("echo", 3), ("page", 4), ("redirect", 5), ("odd", 14), ("text", 15), ("broken", 16)];
        for (name, channel) in echoing {
            let seed = if name == "echo" { "echo.seed" } else { "page.seed" };
            let seed = if ["echo", "page"].contains(&name) {
                format!("{{ file = \"{seed}\" }}")
            } else {
                format!("{{ value = \"{SENTINEL}-seed-{name}\" }}")
            };
            text += &format!(
                "\n[[credential]]\nname = \"{name}\"\ntoken_url = \"{}\"\nclient_id = \"{name}\"\n\
                 refresh_token = {seed}\nchannels = [{channel}]\n",
                self.echoing.url_of(&format!("/{name}"))
            );
        }
        text
    }

    /// What every command says, as things are now.
    fn commands(&self, when: &str) -> Vec<Shown> {
        let commands: [&[&str]; 30] = [
            &["check"],
            &["check", "--json"],
            &["doctor"],
            &["doctor", "--json"],
            &["status"],
            &["status", "--json"],
            &["channels"],
            &["channels", "--json"],
            &["health"],
            &["health", "--credentials"],
            &["once"],
            &["once", "--force", "post", "basic"],
            &["retry", "echo"],
            &["release", "2"],
            &["adopt", "2"],
            &["adopt", "nonsense"],
            &["notify", "test"],
            &["notify", "test", "--json"],
            &["login", "post"],
            &["login", "assertion"],
            &["import", "other.json"],
            &["import", "other.json", "--pointer", "refresh_token=/a/b", "--name", "post"],
            &["import", "client.key"],
            &["secret", "list"],
            &["vault", "check"],
            &["vault", "check", "--json"],
            &["vault", "rekey", "--new-key", "env:CLIENT_SECRET"],
            &["vault", "rekey", "--new-key", SENTINEL],
            &["schema"],
            &["nonsense"],
        ];
        let run = |arguments: &&[&str]| {
            let output = self.bench.run_command(arguments);
            (format!("{when}: {}", arguments.join(" ")), output.stdout + &output.stderr)
        };
        commands.iter().map(run).collect()
    }
}

/// Everything a server says to a request.
fn ask(mut stream: impl Read + Write, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

const PATHS: [&str; 8] =
    ["/", "/api/status", "/api/events", "/metrics", "/healthz", "/readyz", "/sentinel", "/%2e%2e/vault.db"];

/// What the running agent's addresses say: the configured one, and the control socket.
fn answers(stage: &Stage) -> Vec<Shown> {
    let over_tcp = PATHS.iter().map(|path| {
        let stream = TcpStream::connect(&stage.listen).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        (format!("GET {path}"), ask(stream, path))
    });
    let at_the_socket = PATHS.iter().map(|path| {
        let stream = UnixStream::connect(stage.bench.path("one-api-sidecar/vault.sock")).unwrap();
        (format!("GET {path} at the control socket"), ask(stream, path))
    });
    over_tcp.chain(at_the_socket).collect()
}

/// What people read of messages: not the service's own token, which is in the address, a header or a field for it.
fn messages(stage: &Stage) -> Vec<Shown> {
    let text = |name: &str, request: &Request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let own = format!("\"token\":\"{SENTINEL}-pushplus\"");
        (format!("a message to {name}"), if name == "webhook" { body } else { body.replace(&own, "") })
    };
    let all = stage.notifiers.iter();
    all.flat_map(|(name, server)| server.requests().iter().map(|request| text(name, request)).collect::<Vec<_>>())
        .collect()
}

/// What lies in the folder and anybody may read: nothing but the config and the secrets' own files hold one.
fn vault_files(stage: &Stage) -> Vec<Shown> {
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let folder = std::fs::read_dir(stage.bench.path("one-api-sidecar")).unwrap();
    let files = folder.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    // It is sealed: not even its own files show anything.
    files.map(|path| (path.display().to_string(), read(&path))).collect()
}

fn a_run_shows_nothing(format: &str) {
    let mut stage = Stage::new();
    stage.bench.env("ONE_API_SIDECAR_LOG_FORMAT", format);
    let mut shown = stage.commands("before the first start");
    let agent = stage.bench.start();
    let key = || database::channel(&stage.bench.path("one-api.db"), 1).key;
    assert!(eventually(SOON, || stage.endpoint.is_valid(&key())), "{}", agent.output());
    assert!(key().starts_with(SENTINEL), "keys carry the sentinel");
    shown.extend(stage.commands("beside the agent"));
    shown.extend(answers(&stage));
    let halted = |name: &str| agent.output().contains(name);
    assert!(eventually(SOON, || halted("echo") && halted("odd")), "{}", agent.output());

    // A bad edit, a changed secret, a good edit.
    let good = stage.config();
    stage
        .bench
        .rename_config(&format!("refresh_token = \"{SENTINEL}-bare\"\n{good}\n[[credential]]\nx = \"{SENTINEL}\""));
    assert!(agent.wait_for_line("sidecar.toml:", SOON).is_some(), "{}", agent.output());
    shown.extend(stage.commands("beside the agent, with a broken config"));
    shown.extend(answers(&stage));
    stage.bench.rename_config(&good);
    std::fs::write(stage.bench.path("page.seed"), format!("{SENTINEL}-seed-new")).unwrap();
    database::set_channel(&stage.bench.path("one-api.db"), 2, &format!("{SENTINEL}-stranger"), 3);
    assert!(stage.notifiers["pushplus"].wait_for_requests(2, SOON), "messages come");
    shown.extend(stage.commands("beside the agent again"));
    shown.push(("the agent's log".into(), agent.stop()));
    let log = &shown.last().unwrap().1;
    assert!(log.contains("TRACE"), "the log is at its loudest");
    assert_eq!(log.lines().filter(|line| line.starts_with('{')).count() > 10, format == "json");

    shown.extend(stage.commands("after the agent"));
    stage.bench.env("KEY", STANDARD.encode(format!("{SENTINEL}{SENTINEL:x<18}")));
    shown.extend(stage.commands("with another key"));
    shown.extend(messages(&stage));
    shown.extend(vault_files(&stage));
    assert!(shown.len() > 150 && shown.iter().filter(|(_, text)| !text.is_empty()).count() > 120);
    assert_clean(&shown);
}

#[test]
fn nothing_that_is_shown_holds_a_secret_with_the_log_as_text() {
    a_run_shows_nothing("text");
}

#[test]
fn nothing_that_is_shown_holds_a_secret_with_the_log_as_json() {
    a_run_shows_nothing("json");
}

/// A panic in the middle of a refresh, with its backtrace.
#[cfg(feature = "failpoints")]
#[test]
fn a_panic_shows_no_secret() {
    for moment in ["before-connect", "answer-begun", "answer-read", "before-vault-commit", "before-publish"] {
        let mut stage = Stage::new();
        stage.bench.env("FAILPOINTS", format!("{moment}=panic"));
        let agent = stage.bench.spawn_run();
        assert!(agent.wait_for_line("panicked at", SOON).is_some(), "{moment}: {}", agent.output());
        let status = stage.bench.run_command(&["status"]);
        assert_clean(&[(format!("{moment}: the agent"), agent.output()), (moment.into(), format!("{status:?}"))]);
    }
}
