//! Every registered service: its request field by field, and every kind of answer.

use serde_json::{Value, json};
use toml::de::{DeTable, DeValue};

use super::wording::{first_bytes, first_chars, markdown, shown};
use super::*;
use crate::reason::ConfigReason;
use crate::shape::{Problem, Reader};

mod cases;

use cases::{NOW_MS, cases};

fn parse(service: &str, table: &str) -> (Option<Arc<dyn Service>>, Vec<Problem>) {
    let registration = REGISTRY.iter().find(|registration| registration.name == service).unwrap();
    let table = DeTable::parse(table).unwrap();
    let span = table.span();
    let table = toml::Spanned::new(span, DeValue::Table(table.into_inner()));
    let mut reader = Reader::default();
    let mut section = Section::open(table, "notify", &mut reader).unwrap();
    let service = (registration.parse)(&mut section);
    section.finish();
    (service, reader.problems)
}

/// The sentinel behind every source; what stands in the table itself, or an address, where that is needed.
fn values(service: &dyn Service) -> Values {
    let value = |source: &SecretSource| match source {
        SecretSource::Value(value) => value.clone(),
        SecretSource::Env(name) if name == "TOKEN_IS_NOT_URL" => Secret::new(" http://127.0.0.1:1/ntfy\n"),
        _ => Secret::new("sentinel"),
    };
    service.sources().into_iter().map(|source| (source.clone(), value(source))).collect()
}

fn notice() -> Notice {
    Notice {
        title: "Act: <now>".into(),
        body: "why\nhow `a_b`".into(),
        urgent: true,
        events: json!([{ "topic": "halted" }]),
    }
}

fn dispatch(service: &dyn Service, notice: &Notice) -> Dispatch {
    service.request(notice, &values(service), Timestamp::from_millis(NOW_MS)).unwrap()
}

fn http(service: &dyn Service, notice: &Notice) -> http::Request<Vec<u8>> {
    let Dispatch::Http(request) = dispatch(service, notice) else { panic!("{service:?} does not speak HTTP") };
    request
}

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, body: body.into() }
}

#[test]
fn every_registered_service_has_a_case() {
    for registration in REGISTRY.iter().filter(|registration| !["smtp", "command"].contains(&registration.name)) {
        assert!(cases().iter().any(|case| case.service == registration.name), "{}", registration.name);
    }
}

#[test]
fn requests_are_field_by_field_as_the_service_documents_them() {
    for case in cases() {
        let (service, problems) = parse(case.service, case.table);
        assert_eq!(problems, [], "{}", case.table);
        let service = service.unwrap();
        assert!(!format!("{service:?}").contains("sentinel"), "{service:?}");
        let request = http(&*service, &notice());
        assert_eq!(request.method(), http::Method::POST);
        assert_eq!(request.uri(), case.uri, "{}", case.table);
        let mut headers: Vec<(&str, &str)> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let (content_type, value) = headers.remove(0);
        assert_eq!(content_type, "content-type");
        assert!(value == "application/json" || value == "application/vnd+json", "{value}");
        headers.sort_unstable();
        assert_eq!(headers, case.headers, "{}", case.table);
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body, case.body, "{}", case.service);
    }
}

#[test]
fn success_is_what_the_body_says() {
    for case in cases() {
        let service = parse(case.service, case.table).0.unwrap();
        let name = case.service;
        for (status, body) in case.taken {
            assert_eq!(service.accepted(&reply(*status, body)), Ok(()), "{name}: {body}");
            assert!(service.accepted(&reply(500, body)).is_err(), "{name}: a failed request was not taken");
        }
        for (status, body, code, words) in case.refused {
            let [code, words] = [code, words].map(|text| text.map(str::to_owned));
            let expected = NotifierReason::Refused { status: *status, code, words };
            assert_eq!(service.accepted(&reply(*status, body)), Err(expected), "{name}: {body}");
        }
        for (status, body) in case.limited.iter().chain(&[(429, "slow down"), (429, "{}")]) {
            let limited = service.accepted(&reply(*status, body));
            assert!(matches!(limited, Err(NotifierReason::RateLimited { .. })), "{name}: {limited:?}");
        }
        for garbage in ["", "<html>ok</html>", "{", "null", "[200]", r#"{"msg":"ok"}"#, r#"{"code":"yes"}"#, "\u{0}"] {
            let read = service.accepted(&reply(200, garbage));
            let expected = if case.reads_body { Err(NotifierReason::Unreadable { status: 200 }) } else { Ok(()) };
            assert_eq!(read, expected, "{name}: {garbage:?}");
        }
        let down = service.accepted(&reply(502, "<html>bad gateway</html>"));
        assert_eq!(down, Err(NotifierReason::Refused { status: 502, code: None, words: None }), "{name}");
    }
}

#[test]
fn texts_end_where_the_service_ends_them() {
    // Of four bytes and of three, so that a cut in the middle of a character shows.
    let long = Notice { title: "标题🙂".repeat(30), body: "错🙂\n".repeat(10_000), ..notice() };
    let chars = |text: &Value| text.as_str().unwrap().chars().count();
    let bytes = |text: &Value| text.as_str().unwrap().len();
    for case in cases() {
        let service = parse(case.service, case.table).0.unwrap();
        let request = http(&*service, &long);
        let whole = request.body().len();
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        let fits = match case.service {
            "pushplus" => chars(&body["title"]) == 90,
            "serverchan" => {
                chars(&body["title"]) == 32
                    && (32_700..=32_768).contains(&bytes(&body["desp"]))
                    && body["desp"].as_str().unwrap().starts_with(&long.title)
            }
            "bark" => (2990..=3000).contains(&bytes(&body["body"])),
            "wecom" => (2040..=2048).contains(&bytes(&body["text"]["content"])),
            "dingtalk" => (15_000..=20_000).contains(&whole),
            "feishu" => (15_000..=20 * 1024).contains(&whole),
            "telegram" => chars(&body["text"]) == 4096,
            "slack" => chars(&body["text"]) <= 40_000,
            "discord" => chars(&body["content"]) == 2000,
            "ntfy" => (4090..=4096).contains(&bytes(&body["message"])),
            _ => true,
        };
        assert!(fits, "{}: {whole} bytes", case.service);
    }
}

#[test]
fn a_serverchan_key_says_which_service_it_belongs_to() {
    let service = parse("serverchan", r#"key = { env = "KEY" }"#).0.unwrap();
    for (key, uri) in [
        ("SCT123Tabc", "https://sctapi.ftqq.com/SCT123Tabc.send"),
        (" sctp4567tabc\n", "https://4567.push.ft07.com/send/sctp4567tabc.send"),
        ("sctpx.evil.example/t", "https://sctapi.ftqq.com/sctpx.evil.example%2Ft.send"),
        ("sctptabc", "https://sctapi.ftqq.com/sctptabc.send"),
    ] {
        let values = [(SecretSource::Env("KEY".into()), Secret::new(key))].into();
        let sent = service.request(&notice(), &values, Timestamp::EPOCH).unwrap();
        let Dispatch::Http(request) = sent else { panic!("no HTTP") };
        assert_eq!(request.uri(), uri);
    }
}

#[test]
fn a_mail_has_its_headers_and_none_can_be_smuggled_in() {
    let table = r#"
        host = "mail.example"
        username = "me"
        password = { env = "PASSWORD" }
        from = "One-API <sidecar@example.com>"
        to = ["ops@example.com", "Ops Two <ops2@example.com>"]
    "#;
    let (service, problems) = parse("smtp", table);
    assert_eq!(problems, []);
    let service = service.unwrap();
    let hostile = Notice { title: "授权\r\nBcc: evil@example.com".into(), body: "为何\n.\nwhy".into(), ..notice() };
    let Dispatch::Mail(mail) = dispatch(&*service, &hostile) else { panic!("no mail") };
    assert_eq!((mail.host.as_str(), mail.port, mail.tls), ("mail.example", 465, smtp::Tls::Implicit));
    assert_eq!(mail.login.as_ref().map(|(name, word)| (name.as_str(), word.expose())), Some(("me", "sentinel")));
    let text = String::from_utf8(mail.message.formatted()).unwrap();
    let headers: Vec<&str> = text.split("\r\n\r\n").next().unwrap().split("\r\n").collect();
    for header in [
        "From: One-API <sidecar@example.com>",
        "To: ops@example.com, \"Ops Two\" <ops2@example.com>",
        "Date: Mon, 29 Dec 2025 09:20:00 +0000",
        "Message-ID: <1767000000123.one-api-sidecar@example.com>",
        "Content-Type: text/plain; charset=utf-8",
    ] {
        assert!(headers.contains(&header), "{header} in {text}");
    }
    assert!(!headers.iter().any(|header| header.starts_with("Bcc")), "{text}");
    assert!(!text.contains("sentinel") && !format!("{mail:?}").contains("sentinel"), "{text}");
    let to: Vec<String> = mail.message.envelope().to().iter().map(ToString::to_string).collect();
    assert_eq!(to, ["ops@example.com", "ops2@example.com"]);

    assert_eq!(service.accepted(&reply(250, "queued")), Ok(()));
    let refused = NotifierReason::MailRefused { code: 535, words: Some("authentication failed".into()) };
    assert_eq!(service.accepted(&reply(535, "authentication failed\r\n")), Err(refused));
}

#[test]
fn a_mail_servers_port_and_tls_follow_from_each_other() {
    let base = "host = \"h\"\nfrom = \"a@b.c\"\nto = \"d@e.f\"\n";
    for (lines, port, tls) in [
        ("", 465, smtp::Tls::Implicit),
        ("tls = \"starttls\"", 587, smtp::Tls::Starttls),
        ("tls = \"none\"", 25, smtp::Tls::None),
        ("port = 587", 587, smtp::Tls::Starttls),
        ("port = 2465", 2465, smtp::Tls::Implicit),
        ("port = 25\ntls = \"starttls\"", 25, smtp::Tls::Starttls),
    ] {
        let service = parse("smtp", &format!("{base}{lines}")).0.unwrap();
        let Dispatch::Mail(mail) = dispatch(&*service, &notice()) else { panic!("no mail") };
        assert_eq!((mail.port, mail.tls), (port, tls), "{lines}");
    }
}

#[test]
fn a_command_gets_the_message_as_json_and_no_shell() {
    let table = r#"
        program = "bin/notify.sh"
        args = ["--to", "$(ops); rm"]
    "#;
    let service = parse("command", table).0.unwrap();
    let Dispatch::Command(command) = dispatch(&*service, &notice()) else { panic!("no command") };
    assert_eq!(command.program, PathBuf::from("bin/notify.sh"));
    assert_eq!(command.args, ["--to", "$(ops); rm"]);
    assert_eq!(command.input.last(), Some(&b'\n'));
    let input: Value = serde_json::from_slice(&command.input).unwrap();
    let expected = json!({
        "title": "Act: <now>", "body": "why\nhow `a_b`", "urgent": true, "events": [{ "topic": "halted" }]
    });
    assert_eq!(input, expected);

    assert_eq!(service.accepted(&reply(0, "noise")), Ok(()));
    let failed = NotifierReason::CommandFailed { status: 3, words: Some("no route".into()) };
    assert_eq!(service.accepted(&reply(3, "trying\nno route\n\n")), Err(failed));
}

/// A service, its table, and what is told of which field.
type Mistake = (&'static str, &'static str, Vec<(&'static str, ConfigReason)>);

#[test]
fn a_bad_table_is_told_with_its_fields() {
    use ConfigReason::*;
    let missing = |field: &str| MissingField { field: field.into() };
    let cases: Vec<Mistake> = vec![
        ("pushplus", "", vec![("notify", missing("token"))]),
        ("pushplus", r#"token = "sentinel""#, vec![("notify.token", BareSecret { env: None })]),
        ("serverchan", "", vec![("notify", missing("key"))]),
        ("bark", "", vec![("notify", missing("device_key"))]),
        ("wecom", "", vec![("notify", missing("key"))]),
        ("dingtalk", "", vec![("notify", missing("access_token"))]),
        ("feishu", "", vec![("notify", missing("token"))]),
        ("telegram", "", vec![("notify", missing("token")), ("notify", missing("chat_id"))]),
        ("slack", "", vec![("notify", missing("url"))]),
        ("discord", "", vec![("notify", missing("url"))]),
        ("ntfy", "", vec![("notify", missing("topic"))]),
        ("gotify", "", vec![("notify", missing("url")), ("notify", missing("token"))]),
        ("smtp", "", vec![("notify", missing("host")), ("notify", missing("from")), ("notify", missing("to"))]),
        ("message-pusher", "", vec![("notify", missing("url")), ("notify", missing("user"))]),
        ("webhook", "", vec![("notify", missing("url"))]),
        ("command", "", vec![("notify", missing("program"))]),
        ("smtp", "host = \"h\"\nfrom = \"sentinel\"\nto = \"a@b.c\"", vec![("notify.from", BadMailAddress)]),
        (
            "smtp",
            "host = \"h\"\nfrom = \"a@b.c\"\nto = []",
            vec![("notify.to", OutOfRange { bounds: "at least one address".into() })],
        ),
        (
            "smtp",
            "host = \"h\"\nfrom = \"a@b.c\"\nto = \"a@b.c\"\nport = 70000",
            vec![("notify.port", OutOfRange { bounds: "1 to 65535".into() })],
        ),
        (
            "smtp",
            "host = \"h\"\nfrom = \"a@b.c\"\nto = \"a@b.c\"\nusername = \"me\"",
            vec![("notify.username", Needs { field: "username".into(), other: "password".into() })],
        ),
        ("webhook", "url = \"https://h/\"\nheaders = { x = \"sentinel\\n\" }", vec![("notify.headers", BadHeader)]),
        (
            "webhook",
            "url = \"https://h/\"\nsuccess = { pointer = \"/ok\" }",
            vec![("notify.success", missing("equals"))],
        ),
        (
            "webhook",
            "url = \"https://h/\"\nsuccess = { pointer = \"ok\", equals = 0 }",
            vec![("notify.success.pointer", BadPointer)],
        ),
        (
            "webhook",
            "url = \"https://h/\"\nbody = 'sentinel'",
            vec![("notify.body", BadBody { detail: "it is not JSON at its line 1, column 1".into() })],
        ),
    ];
    for (service, table, expected) in cases {
        let (_, problems) = parse(service, table);
        let found: Vec<(&str, ConfigReason)> =
            problems.iter().map(|problem| (problem.field.as_str(), problem.reason.clone())).collect();
        assert_eq!(found, expected, "{service}: {table}");
    }
    for url in ["nothing", "ftp://host/", "http://", "https://u:sentinel@host/"] {
        for (service, fields) in [("pushplus", "token = { env = \"T\" }"), ("slack", ""), ("webhook", "")] {
            let (_, problems) = parse(service, &format!("{fields}\nurl = \"{url}\""));
            let [Problem { field, reason: BadUrl { detail }, .. }] = &problems[..] else { panic!("{problems:?}") };
            assert!(field == "notify.url" && !detail.contains("sentinel"), "{field}: {detail}");
        }
    }
}

#[test]
fn a_secret_address_that_is_none_is_told_without_being_shown() {
    let table = "token = { env = \"T\" }\nurl = { env = \"U\" }";
    let service = parse("pushplus", table).0.unwrap();
    assert_eq!(service.sources().len(), 2);
    let refused = service.request(&notice(), &values(&*service), Timestamp::EPOCH);
    let error = format!("{:?}", refused.unwrap_err());
    assert!(!error.contains("sentinel"), "{error}");
}

#[test]
fn texts_are_cut_at_characters() {
    assert_eq!(first_chars("短标题", 3), "短标题");
    assert_eq!(first_chars("一二三四五", 3), "一二…");
    assert_eq!(first_bytes("一二三", 9), "一二三");
    assert_eq!(first_bytes("一二三四", 9), "一二…");
    assert_eq!(first_bytes("一二三四", 11), "一二…");
    assert_eq!(first_bytes("abcd", 0), "…");
    assert_eq!(shown("a\r\nb\u{1b}[31m"), Some("a  b [31m".into()));
    assert_eq!(shown("\n"), None);
    assert_eq!(shown(&"错".repeat(200)).unwrap().chars().count(), 100);
}

#[test]
fn markdown_shows_what_was_written() {
    assert_eq!(markdown("a_b *c*\n\n[x](y) `k_1` <b>"), r"a\_b \*c\*".to_owned() + "\n\n" + r"\[x](y) `k_1` \<b>");
    assert_eq!(markdown("one ` only_"), r"one \` only\_");
}
