//! A real agent's page in a real browser.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use one_api_sidecar::reason::Language;
use one_api_sidecar::telemetry::page::render;
use serde_json::json;

use crate::chromium::{Browser, Screen};
use crate::sample;
use crate::support::endpoint::Action;
use crate::support::process::{Sidecar, assert_no_secret};
use crate::support::scene::{NAME, Scene};
use crate::support::{SOON, eventually};

const HOUR: Duration = Duration::from_secs(3600);

/// A scene with a page, nothing of it running yet.
fn scene() -> (Scene, SocketAddr) {
    let scene = Scene::strict(HOUR, "");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = scene.config(&scene.credential(NAME, NAME, "seed", 1, ""));
    scene.bench.write_config(&format!("language = \"en\"\n{config}\n[server]\nlisten = \"{address}\"\n"));
    (scene, address)
}

fn start(scene: &Scene) -> Sidecar {
    let agent = scene.bench.start();
    assert!(agent.wait_for_line("listens", SOON).is_some(), "{}", agent.output());
    agent
}

/// What the agent answers, head and body.
fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn revoked() -> Action {
    Action::json(400, r#"{"error":"invalid_grant"}"#)
}

#[test]
fn no_page_shows_a_secret() {
    let (scene, address) = scene();
    let agent = start(&scene);
    assert!(eventually(SOON, || scene.is_delivered()), "{}", agent.output());
    let answers = ["/", "/api/status"].map(|path| get(address, path));
    scene.endpoint.script([revoked()]);
    assert_eq!(scene.bench.run_command(&["once", "--force"]).code, Some(4));
    let halted = ["/", "/api/status"].map(|path| get(address, path));
    for answer in answers.iter().chain(&halted) {
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(NAME), "{answer}");
        assert_no_secret("the page", answer);
    }
    assert!(halted[0].contains("invalid_grant"), "{}", halted[0]);
    let head = answers[0].split("\r\n\r\n").next().unwrap().to_lowercase();
    for header in [
        "content-security-policy: default-src 'none'",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        "content-type: text/html; charset=utf-8",
    ] {
        assert!(head.contains(header), "{header} in {head}");
    }
    agent.stop();
}

#[test]
fn a_halted_credential_is_shown_with_its_remedy_with_and_without_javascript() {
    let Some(mut browser) = Browser::start() else { return };
    let (scene, address) = scene();
    let hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>";
    let database = rusqlite::Connection::open(scene.database()).unwrap();
    database.execute("UPDATE channels SET name = ?1 WHERE id = 1", [hostile]).unwrap();
    drop(database);
    scene.endpoint.script([revoked()]);
    let agent = start(&scene);
    scene.assert_becomes("halted revoked");

    let origin = format!("http://{address}/");
    for scripts in [true, false] {
        browser.allow_scripts(scripts);
        browser.open(&origin);
        let text = browser.evaluate("document.body.innerText").as_str().unwrap().to_owned();
        let parts = [
            "One matter needs you",
            "halted",
            "invalid_grant",
            "What to do",
            "one-api-sidecar login kept",
            hostile,
            "pushplus",
        ];
        for part in parts {
            assert!(text.contains(part), "{part}, scripts {scripts}: {text}");
        }
        assert_eq!(text.contains("This is a picture of that moment"), !scripts, "{text}");
        assert_eq!(browser.evaluate("document.scripts.length"), json!(1), "its own");
        assert_eq!(browser.complaints(), [""; 0], "scripts {scripts}");
        let foreign = |asked: &String| !asked.starts_with(&origin) && !asked.starts_with("data:");
        let asked_for = browser.asked_for();
        assert!(asked_for.contains(&origin) && !asked_for.iter().any(foreign), "{asked_for:?}");
        assert!(!browser.saw_dialog());
    }

    // The complaints would have been heard: whatever comes in by any way does not run and does not ask elsewhere.
    browser.allow_scripts(true);
    browser.open(&origin);
    let refused = browser.evaluate(
        "new Promise((done) => {
            const refused = [];
            document.addEventListener('securitypolicyviolation', (event) => {
                refused.push(event.effectiveDirective);
                if (refused.length === 3) { done(refused.sort()); }
            });
            const script = document.createElement('script');
            script.textContent = 'window.entered = true';
            document.body.append(script);
            document.body.setAttribute('style', 'color: red');
            fetch('http://127.0.0.1:1/').catch(() => {});
        })",
    );
    assert_eq!(refused, json!(["connect-src", "script-src-elem", "style-src-attr"]));
    assert_eq!(browser.evaluate("window.entered === undefined"), json!(true));
    assert!(!browser.complaints().is_empty());
    agent.stop();
}

#[test]
fn the_page_keeps_itself_up_to_date_and_says_when_the_agent_is_gone() {
    let Some(mut browser) = Browser::start() else { return };
    let (scene, address) = scene();
    let agent = start(&scene);
    assert!(eventually(SOON, || scene.is_delivered()), "{}", agent.output());
    browser.open(&format!("http://{address}/"));
    browser.wait_until("document.querySelector('h1').textContent === 'All is well'");
    browser.evaluate("window.since = 'the first'; document.querySelector('#c-kept summary').click()");
    browser.evaluate("document.querySelector('#c-kept summary').focus()");

    scene.endpoint.script([revoked()]);
    assert_eq!(scene.bench.run_command(&["once", "--force"]).code, Some(4));
    browser.wait_until("document.querySelector('h1').textContent === 'One matter needs you'");
    browser.wait_until("document.querySelector('#c-kept .word').textContent === 'halted'");
    assert_eq!(browser.evaluate("window.since"), json!("the first"), "it was not loaded anew");
    assert_eq!(
        browser.evaluate("document.querySelector('#c-kept details').open"),
        json!(true),
        "what was open stays open"
    );
    assert_eq!(
        browser.evaluate("document.activeElement.closest('li').id"),
        json!("c-kept"),
        "and the focus where it was"
    );
    assert_eq!(browser.evaluate("document.getElementById('say').textContent"), json!("One matter needs you"));
    assert_eq!(browser.evaluate("document.getElementById('lost').hidden"), json!(true));

    agent.stop();
    browser.wait_until("!document.getElementById('lost').hidden");
    let lost = browser.evaluate("document.getElementById('lost').textContent");
    assert!(lost.as_str().unwrap().starts_with("The agent has not answered since "), "{lost}");
    let agent = start(&scene);
    browser.wait_until("document.getElementById('lost').hidden");
    let lately = browser.evaluate("document.getElementById('lately').textContent");
    let started = lately.as_str().unwrap().matches("The sidecar started").count();
    assert_eq!(started, 2, "what happened before the restart is remembered: {lately}");
    assert_eq!(browser.complaints(), [""; 0]);
    agent.stop();
}

#[test]
fn a_list_of_a_thousand_is_sifted_by_what_is_typed() {
    let Some(mut browser) = Browser::start() else { return };
    let file = tempfile::Builder::new().suffix(".html").tempfile().unwrap();
    std::fs::write(file.path(), render(&sample::crowd(1000, Language::English)).unwrap()).unwrap();
    browser.open(&format!("file://{}", file.path().display()));
    let sift = |browser: &mut Browser, typed: &str| {
        let type_it = "const field = document.querySelector('#filter input'); field.value = typed;
            field.dispatchEvent(new Event('input')); document.querySelectorAll('#rows > li:not([hidden])').length";
        let rows = browser.evaluate(&format!("((typed) => {{ return eval(`{type_it}`); }})({typed:?})"));
        (rows, browser.evaluate("document.querySelector('#filter small').textContent"))
    };
    assert_eq!(sift(&mut browser, "CREDENTIAL-003"), (json!(10), json!("10 of 1000")));
    assert_eq!(sift(&mut browser, "channel-0777 active"), (json!(1), json!("1 of 1000")));
    assert_eq!(sift(&mut browser, "halted"), (json!(0), json!("0 of 1000")));
    assert_eq!(sift(&mut browser, ""), (json!(1000), json!("")));
}

#[test]
fn nothing_is_wider_than_a_small_phone() {
    let Some(mut browser) = Browser::start() else { return };
    for (language, count) in [(Language::English, 0), (Language::Chinese, 0), (Language::English, 100)] {
        let mut status = sample::house(language);
        status.credentials.extend(sample::crowd(count, language).credentials);
        status.credentials[0].name = "a-name-that-is-as-long-as-names-of-other-peoples-systems-are".into();
        let file = tempfile::Builder::new().suffix(".html").tempfile().unwrap();
        std::fs::write(file.path(), render(&status).unwrap()).unwrap();
        browser.screen(Screen { width: 360, height: 740, dark: false, phone: true });
        browser.open(&format!("file://{}", file.path().display()));
        browser.evaluate("document.querySelectorAll('details').forEach((row) => { row.open = true; })");
        let wide = "[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > 360.5)
            .map((e) => e.outerHTML.slice(0, 80)).slice(0, 5)";
        assert_eq!(browser.evaluate(wide), json!([]), "{language:?}, {count}");
    }
}
