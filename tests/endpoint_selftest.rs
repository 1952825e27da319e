//! The scripted token endpoint does what the other tests believe it does.

mod support;

use std::time::{Duration, Instant};

use reqwest::{Client, Response};
use serde_json::Value;
use support::endpoint::{Action, Endpoint, Options};

/// A client that waits long enough for anything that comes at all, even on a busy machine.
fn client() -> Client {
    client_that_waits(Duration::from_secs(10))
}

fn client_that_waits(patience: Duration) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redirects = reqwest::redirect::Policy::none();
    Client::builder().no_proxy().redirect(redirects).timeout(patience).build().unwrap()
}

async fn refresh(endpoint: &Endpoint, refresh_token: &str) -> reqwest::Result<Response> {
    refresh_by(client(), endpoint, refresh_token).await
}

async fn refresh_by(client: Client, endpoint: &Endpoint, refresh_token: &str) -> reqwest::Result<Response> {
    let form = [("grant_type", "refresh_token"), ("client_id", "app"), ("refresh_token", refresh_token)];
    client.post(endpoint.url()).form(&form).send().await
}

async fn refresh_well(endpoint: &Endpoint, refresh_token: &str) -> (String, String) {
    let answer: Value = refresh(endpoint, refresh_token).await.unwrap().json().await.unwrap();
    let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
    (text("access_token"), text("refresh_token"))
}

#[tokio::test]
async fn it_rotates_and_a_reuse_kills_the_family() {
    let endpoint = Endpoint::start(Options::default());
    let seed = endpoint.issue();
    let (access, next) = refresh_well(&endpoint, &seed).await;
    assert!(endpoint.is_valid(&access));
    let (newer, _) = refresh_well(&endpoint, &next).await;
    assert_eq!(endpoint.accepted_tokens(), [access, newer.clone()]);
    assert_eq!(endpoint.reuse_count(), 0);

    assert_eq!(refresh(&endpoint, &seed).await.unwrap().status(), 400);
    assert_eq!(endpoint.reuse_count(), 1);
    assert!(!endpoint.is_valid(&newer));
}

#[tokio::test]
async fn it_records_what_it_was_sent() {
    let endpoint = Endpoint::start(Options::default());
    let body = r#"{"grant_type":"refresh_token","refresh_token":"made up"}"#;
    let url = endpoint.url_of("/other?client_id=app");
    let answer =
        client().post(url).header("X-Org", "mine").header("content-type", "application/json").body(body).send().await;
    assert_eq!(answer.unwrap().status(), 400);

    assert!(endpoint.wait_for_requests(1, Duration::ZERO));
    assert!(!endpoint.wait_for_requests(2, Duration::from_millis(10)));
    let requests = endpoint.requests_of("app");
    let [request] = requests.as_slice() else { panic!("one request: {requests:?}") };
    assert_eq!((request.method.as_str(), request.path()), ("POST", "/other"));
    assert_eq!(request.header("x-org"), Some("mine"));
    assert_eq!(request.json()["refresh_token"], "made up");
    assert_eq!(request.body, body.as_bytes());
    assert!(!request.reused);
}

#[tokio::test]
async fn a_kept_connection_shows() {
    let endpoint = Endpoint::start(Options::default());
    let (one, other) = (client(), client());
    for client in [&one, &one, &other] {
        client.get(endpoint.url()).send().await.unwrap().bytes().await.unwrap();
    }
    let connections: Vec<usize> = endpoint.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 1]);
}

/// Whether the server had rotated can be told by sending the same refresh token again.
async fn lost_answer(action: Action, rotated: bool) {
    let endpoint = Endpoint::start(Options::default());
    let seed = endpoint.issue();
    endpoint.script([action.clone()]);
    let impatient = client_that_waits(Duration::from_millis(400));
    let answer = match refresh_by(impatient, &endpoint, &seed).await {
        Ok(answer) => answer.bytes().await.map(drop),
        Err(error) => Err(error),
    };
    assert!(answer.is_err(), "{action:?} loses the answer");
    assert_eq!(endpoint.requests().len(), 1, "{action:?} still puts the request on record");
    let status = refresh(&endpoint, &seed).await.unwrap().status();
    assert_eq!(status.as_u16(), if rotated { 400 } else { 200 }, "{action:?}");
    assert_eq!(endpoint.reuse_count(), usize::from(rotated), "{action:?}");
}

#[tokio::test]
async fn every_way_to_lose_an_answer_loses_it() {
    for action in [Action::Hang, Action::Reset, Action::Endless] {
        lost_answer(action, false).await;
    }
    let slow = Duration::from_secs(5);
    for action in [
        Action::CommitThenHang,
        Action::CommitThenReset,
        Action::Truncate,
        Action::Drip(Duration::from_millis(20)),
        Action::Delay(slow),
    ] {
        lost_answer(action, true).await;
    }
}

#[tokio::test]
async fn a_reset_is_a_reset_and_not_a_plain_end() {
    let endpoint = Endpoint::start(Options::default());
    endpoint.script([Action::Reset]);
    let error = refresh(&endpoint, "any").await.unwrap_err();
    assert!(format!("{error:?}").contains("ConnectionReset"), "{error:?}");
}

#[tokio::test]
async fn slow_answers_arrive_in_the_end() {
    let endpoint = Endpoint::start(Options::default());
    endpoint.script([Action::Delay(Duration::from_millis(100)), Action::Drip(Duration::from_micros(50))]);
    let started = Instant::now();
    let (_, next) = refresh_well(&endpoint, &endpoint.issue()).await;
    assert!(started.elapsed() >= Duration::from_millis(100));
    let (access, _) = refresh_well(&endpoint, &next).await;
    assert!(endpoint.is_valid(&access));
}

#[tokio::test]
async fn scripted_answers_come_first_then_the_path_then_the_fallback() {
    let paths = [("/oauth/token".into(), Action::redirect(307, "http://192.0.2.1/"))].into();
    let endpoint = Endpoint::start(Options { paths, ..Options::default() });
    endpoint.script([Action::json(200, "null")]);
    assert_eq!(refresh(&endpoint, "any").await.unwrap().text().await.unwrap(), "null");
    let redirect = refresh(&endpoint, "any").await.unwrap();
    assert_eq!(
        (redirect.status().as_u16(), &redirect.headers()["location"]),
        (307, &"http://192.0.2.1/".parse().unwrap())
    );
    let other = client().post(endpoint.url_of("/elsewhere")).send().await.unwrap();
    assert_eq!(other.status(), 400);
}

#[tokio::test]
async fn without_rotation_one_refresh_token_serves_for_ever() {
    let endpoint = Endpoint::start(Options { rotates: false, ..Options::default() });
    let seed = endpoint.issue();
    for _ in 0..3 {
        assert_eq!(refresh_well(&endpoint, &seed).await.1, "");
    }
    assert_eq!(endpoint.reuse_count(), 0);
}
