//! Against a loopback HTTP server that is down, slow, rude or broken.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;
use toml::de::{DeTable, DeValue};

use super::*;
use crate::notify::services::REGISTRY;
use crate::shape::{Reader, Section};

const SECRET: &str = "sentinel-7d21";
const SOON: [Duration; 3] = [Duration::from_millis(5); 3];
const NEVER: [Duration; 3] = [Duration::from_secs(3600); 3];

fn notice(title: &str) -> Notice {
    Notice { title: title.into(), body: "body".into(), urgent: false, events: serde_json::Value::Null }
}

fn plan(address: &str, timeout: Duration) -> Arc<NotifierPlan> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let text = format!("token = {{ env = \"TOKEN\" }}\nurl = \"{address}\"");
    let table = DeTable::parse(&text).unwrap();
    let span = table.span();
    let mut reader = Reader::default();
    let table = toml::Spanned::new(span, DeValue::Table(table.into_inner()));
    let mut section = Section::open(table, "notify", &mut reader).unwrap();
    let service = (REGISTRY[0].parse)(&mut section).unwrap();
    let plan = NotifierPlan {
        name: "wechat".into(),
        service,
        events: BTreeSet::new(),
        timeout,
        proxy: None,
        directory: ".".into(),
    };
    Arc::new(plan)
}

fn secrets() -> Resolve {
    Arc::new(|_| Box::pin(async { Ok(Secret::new(SECRET)) }))
}

type Answer = fn(usize) -> Response;

/// A server that answers its n-th request as it is told; its address, and how often it was asked.
async fn server(answer: Answer) -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let state = (answer, Arc::clone(&asked));
    let handler = |State((answer, asked)): State<(Answer, Arc<AtomicUsize>)>| async move {
        answer(asked.fetch_add(1, Ordering::SeqCst))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/send", listener.local_addr().unwrap());
    let router = Router::new().route("/send", post(handler)).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, asked)
}

fn json(status: u16, body: &'static str) -> Response {
    (http::StatusCode::from_u16(status).unwrap(), body).into_response()
}

/// A server that takes connections and never says a word.
async fn silent() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (format!("http://{}/send", listener.local_addr().unwrap()), listener)
}

/// What becomes of one notice.
async fn outcome(address: &str, timeout: Duration, resolve: Resolve) -> Result<(), Reason> {
    let (reports, mut inbox) = mpsc::channel(8);
    let sender = Sender::spawn_with(plan(address, timeout), 0, resolve, reports, SOON);
    sender.try_send(notice("t"));
    let report = inbox.recv().await.unwrap();
    assert_eq!(&*report.notifier, "wechat");
    assert!(!format!("{report:?}").contains("sentinel"), "{report:?}");
    report.outcome
}

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_taken_notice_is_reported_as_such() {
    let (address, asked) = server(|_| json(200, r#"{"code":200}"#)).await;
    assert_eq!(outcome(&address, LONG, secrets()).await, Ok(()));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn row_54_a_refusal_with_http_200_is_one_and_never_repeats_a_secret() {
    let (address, asked) = server(|_| json(200, r#"{"code":903,"msg":"bad token sentinel-7d21"}"#)).await;
    let refused = NotifierReason::Refused { status: 200, code: Some("903".into()), words: None };
    assert_eq!(outcome(&address, LONG, secrets()).await, Err(refused.into()));
    assert_eq!(asked.load(Ordering::SeqCst), 1, "asking again would not help");
}

#[test]
fn no_part_of_a_secret_comes_back_in_a_services_words() {
    let address = "https://hooks.example/services/T012/B345/sentinel-4b1f";
    let source = SecretSource::Env("URL".into());
    let values = Values::from([(source, Secret::new(format!("{address}\n")))]);
    let refused = |words: &str| NotifierReason::Refused { status: 404, code: None, words: Some(words.into()) };
    for words in [
        format!("no webhook at {address}"),
        "Cannot POST /services/T012/B345/sentinel-4b1f".into(),
        "bad token sentinel…".into(),
    ] {
        let silenced = without_secrets(refused(&words), &values);
        assert_eq!(silenced, NotifierReason::Refused { status: 404, code: None, words: None }, "{words}");
    }
    assert_eq!(without_secrets(refused("no such service"), &values), refused("no such service"));
    let mail = NotifierReason::MailRefused { code: 535, words: Some("sentinel-4b1f is wrong".into()) };
    assert_eq!(without_secrets(mail, &values), NotifierReason::MailRefused { code: 535, words: None });
}

#[tokio::test]
async fn row_54_garbage_and_endless_answers_are_recognised() {
    let unreadable = Err(NotifierReason::Unreadable { status: 200 }.into());
    let (address, _) = server(|_| json(200, "<html>hello</html>")).await;
    assert_eq!(outcome(&address, LONG, secrets()).await, unreadable);
    let (address, _) = server(|_| vec![b'x'; 50 << 20].into_response()).await;
    assert_eq!(outcome(&address, LONG, secrets()).await, unreadable);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, asked) = server(|_| json(200, r#"{"code":200}"#)).await;
    static ELSEWHERE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    ELSEWHERE.set(elsewhere).unwrap();
    let (address, _) = server(|_| {
        (http::StatusCode::TEMPORARY_REDIRECT, [(http::header::LOCATION, ELSEWHERE.get().unwrap().as_str())], "")
            .into_response()
    })
    .await;
    let refused = NotifierReason::Refused { status: 307, code: None, words: None };
    assert_eq!(outcome(&address, LONG, secrets()).await, Err(refused.into()));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn too_many_requests_are_retried_until_taken_or_given_up() {
    let (address, asked) = server(|n| if n < 2 { json(429, "") } else { json(200, r#"{"code":200}"#) }).await;
    assert_eq!(outcome(&address, LONG, secrets()).await, Ok(()));
    assert_eq!(asked.load(Ordering::SeqCst), 3);

    let (address, asked) = server(|_| json(429, "")).await;
    let limited = NotifierReason::RateLimited { code: "429".into() };
    assert_eq!(outcome(&address, LONG, secrets()).await, Err(limited.into()));
    assert_eq!(asked.load(Ordering::SeqCst), 4);

    let (address, asked) = server(|_| json(200, r#"{"code":900}"#)).await;
    assert!(outcome(&address, LONG, secrets()).await.is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 1, "900 is for the whole day");
}

#[tokio::test]
async fn row_54_a_service_that_is_down_or_silent_is_unreachable() {
    let (address, listener) = silent().await;
    let outcome_of_silence = outcome(&address, Duration::from_millis(30), secrets()).await;
    let late = NotifierReason::Unreachable { error: "no answer in time".into() };
    assert_eq!(outcome_of_silence, Err(late.into()));
    drop(listener);
    let down = outcome(&address, LONG, secrets()).await;
    let Err(Reason::Notifier(NotifierReason::Unreachable { error })) = down else { panic!("{down:?}") };
    assert!(error.contains("refused") && !error.contains("127.0.0.1"), "{error}");
}

#[tokio::test]
async fn a_missing_secret_is_reported_and_nothing_is_sent() {
    let (address, asked) = server(|_| json(200, r#"{"code":200}"#)).await;
    let missing = SecretReason::EnvMissing { name: "TOKEN".into() };
    let reason = missing.clone();
    let resolve: Resolve = Arc::new(move |_| {
        let reason = reason.clone();
        Box::pin(async move { Err(reason) })
    });
    assert_eq!(outcome(&address, LONG, resolve).await, Err(missing.into()));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn row_54_a_silent_service_never_holds_up_the_caller_and_loses_the_oldest() {
    let (address, _listener) = silent().await;
    let (reports, inbox) = mpsc::channel(1);
    let sender = Sender::spawn(plan(&address, LONG), 0, secrets(), reports);
    let begun = Instant::now();
    for n in 0..QUEUE + 10 {
        sender.try_send(notice(&n.to_string()));
    }
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_eq!(sender.dropped(), 10);
    assert_eq!(sender.queue.lock().notices.front().unwrap().title, "10");
    drop(inbox);
}

#[tokio::test]
async fn a_shutdown_sends_what_waits_and_skips_the_waits_between() {
    let (address, asked) = server(|n| if n == 0 { json(429, "") } else { json(200, r#"{"code":200}"#) }).await;
    let (reports, mut inbox) = mpsc::channel(8);
    let sender = Sender::spawn_with(plan(&address, LONG), 0, secrets(), reports, NEVER);
    sender.try_send(notice("a"));
    while asked.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    sender.try_send(notice("b"));
    assert!(sender.shutdown().await);
    assert_eq!(inbox.recv().await.unwrap().outcome, Ok(()));
    assert_eq!(inbox.recv().await.unwrap().outcome, Ok(()));
    assert_eq!(inbox.recv().await, None);
}

#[tokio::test]
async fn a_proxy_is_used_and_a_dead_one_is_told() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut plan = Arc::unwrap_or_clone(plan("http://notifier.invalid/send", LONG));
    plan.proxy = Some(format!("http://{dead}").parse().unwrap());
    let (reports, mut inbox) = mpsc::channel(8);
    let sender = Sender::spawn_with(Arc::new(plan), 0, secrets(), reports, SOON);
    sender.try_send(notice("t"));
    let outcome = inbox.recv().await.unwrap().outcome;
    let Err(Reason::Notifier(NotifierReason::Unreachable { error })) = outcome else { panic!("{outcome:?}") };
    assert!(error.contains("refused"), "{error}");
}

#[test]
fn bundled_roots_make_a_client() {
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        reqwest::Certificate::from_der(root).unwrap();
    }
}
