//! Mail through a real server: aiosmtpd, without TLS, with STARTTLS, and with TLS from the first byte.
//!
//! Needs Python with aiosmtpd; where it is missing the tests say so and are skipped. With `REQUIRE_SMTP=1` that is a
//! failure.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use support::process::{Bench, Output, assert_no_secret};
use support::{SENTINEL, SOON};

/// The servers, and what they take.
struct MailServer {
    child: Child,
    _input: ChildStdin,
    lines: Receiver<Value>,
    ports: Value,
    bench: Bench,
}

impl MailServer {
    /// The servers with a certificate of an authority of their own; `None` where they cannot be had.
    fn start() -> Option<Self> {
        let has_it = Command::new("python3").args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        if !has_it.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("REQUIRE_SMTP").is_none(), "REQUIRE_SMTP is set, and python3 has no aiosmtpd");
            eprintln!("skipped: python3 has no aiosmtpd (pip install aiosmtpd)");
            return None;
        }
        let bench = Bench::new();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &authority).unwrap();
        for (name, pem) in
            [("ca.pem", authority.pem()), ("mail.pem", certificate.pem()), ("mail.key", key.serialize_pem())]
        {
            std::fs::write(bench.path(name), pem).unwrap();
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/mail_server.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args([bench.path("mail.pem"), bench.path("mail.key")])
            .args(["ops", &password()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // It grumbles about clients that hang up, as these tests want them to.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        let ports = lines.recv_timeout(SOON).unwrap();
        Some(Self { child, _input: input, lines, ports, bench })
    }

    /// Sends a test through one of the servers.
    fn send(&mut self, server: &str, fields: &str) -> Output {
        let (port, password) = (&self.ports[server], password());
        self.bench.env("MAIL_PASSWORD", password);
        self.bench.write_config(&format!(
            r#"
[gateway]
database = "one-api.db"
[[credential]]
name = "a"
token_url = "https://auth.example.com/token"
channels = [1]
[[notify]]
type = "smtp"
host = "localhost"
port = {port}
from = "One-API <sidecar@example.com>"
to = ["ops@example.com", "second@example.com"]
{fields}
"#
        ));
        let output = self.bench.run_command(&["notify", "test"]);
        assert_no_secret("notify test", &format!("{output:?}"));
        output
    }

    fn mail(&self) -> Value {
        self.lines.recv_timeout(SOON).expect("a mail arrives")
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn password() -> String {
    format!("{SENTINEL}-mail")
}

const LOGIN: &str = "username = \"ops\"\npassword = { env = \"MAIL_PASSWORD\" }";

#[test]
fn a_mail_arrives_whole_by_each_way() {
    let Some(mut server) = MailServer::start() else { return };
    let authority = server.bench.path("ca.pem").display().to_string();
    server.bench.env("SSL_CERT_FILE", authority);
    server.bench.env("LANG", "zh_CN.UTF-8");
    for (way, login, tls) in [("none", "", false), ("starttls", LOGIN, true), ("implicit", LOGIN, true)] {
        let output = server.send(way, &format!("tls = \"{way}\"\n{login}"));
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), "smtp: 已送达\n"), "{way}: {output:?}");
        let mail = server.mail();
        assert_eq!((&mail["server"], &mail["tls"]), (&way.into(), &tls.into()));
        assert_eq!(mail["authenticated"], !login.is_empty());
        assert_eq!((&mail["from"], &mail["to"][0]), (&"sidecar@example.com".into(), &"ops@example.com".into()));
        assert_eq!(mail["to"][1], "second@example.com");
        assert_eq!(mail["headers"]["Subject"], "One-API · 测试：消息可以送达");
        assert_eq!(mail["headers"]["From"], "One-API <sidecar@example.com>");
        assert!(mail["headers"]["Date"].is_string() && mail["headers"]["Message-ID"].is_string(), "{mail}");
        assert!(mail["body"].as_str().unwrap().starts_with("无需处理。这是 `one-api-sidecar notify test`"), "{mail}");
        assert!(!mail.to_string().contains(SENTINEL));
    }
}

#[test]
fn a_wrong_password_a_strangers_certificate_and_missing_tls_are_told() {
    let Some(mut server) = MailServer::start() else { return };
    // Nobody vouches for the certificate yet.
    for way in ["starttls", "implicit"] {
        let output = server.send(way, &format!("tls = \"{way}\"\n{LOGIN}"));
        assert_eq!(output.code, Some(1), "{way}: {output:?}");
        assert!(output.stdout.to_lowercase().contains("certificate"), "{way}: {output:?}");
    }
    let authority = server.bench.path("ca.pem").display().to_string();
    server.bench.env("SSL_CERT_FILE", authority);
    let output =
        server.send("implicit", "tls = \"implicit\"\nusername = \"other\"\npassword = { env = \"MAIL_PASSWORD\" }");
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("smtp: not taken: The mail server refused the mail (code 535)"), "{output:?}");
    // A server without STARTTLS gets neither a password nor a mail.
    let output = server.send("none", &format!("tls = \"starttls\"\n{LOGIN}"));
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(server.lines.try_recv().is_err(), "nothing arrived");
}
