//! Recorded shapes of real services' answers, and hostile ones.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::config::plan::{ChannelPlan, ChannelSelect, DEFAULT_GATEWAY};
use crate::config::template::Template;
use crate::credential::sample::{at, plan};

fn response(status: u16, body: &str) -> Response {
    Response {
        status,
        content_type: Some("application/json".into()),
        body: body.into(),
        sent_at: at(0),
        received_at: at(1),
        ..Response::default()
    }
}

fn judged(response: &Response) -> Outcome {
    outcome(&plan(), response, &[&Secret::new("refresh-1")])
}

fn answer(status: u16, body: &str) -> Answer {
    match judged(&response(status, body)) {
        Outcome::Answered(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn class(status: u16, body: &str) -> ErrorClass {
    answer(status, body).access.unwrap_err().class
}

fn lifetime_of(body: &str) -> (i64, bool) {
    let access = answer(200, body).access.unwrap();
    (access.expires_at.as_seconds() - at(0).as_seconds(), access.lifetime_assumed)
}

fn jwt(claims: &str) -> String {
    format!("eyJhbGciOiJIUzI1NiJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

#[test]
fn a_plain_answer_is_taken_whole() {
    let answer = answer(200, r#"{"access_token":"a","refresh_token":"r","expires_in":60,"id_token":"i"}"#);
    let access = answer.access.unwrap();
    assert_eq!((access.token, access.id_token), (Secret::new("a"), Some(Secret::new("i"))));
    assert_eq!((access.issued_at, access.expires_at), (at(0), at(60)), "counted from when the request was sent");
    assert_eq!(answer.refresh_token, Some(Secret::new("r")));
}

#[test]
fn a_lifetime_is_read_in_every_way_it_is_written() {
    let body = |rest: &str| format!(r#"{{"access_token":"a"{rest}}}"#);
    for (rest, seconds, assumed) in [
        (r#","expires_in":60"#, 60, false),
        (r#","expires_in":60.9"#, 60, false),
        (r#","expires_in":"60""#, 60, false),
        ("", 3600, true),
        (r#","expires_in":null"#, 3600, true),
        (r#","expires_in":0"#, 3600, true),
        (r#","expires_in":-5"#, 3600, true),
        (r#","expires_in":"soon""#, 3600, true),
        (r#","expires_in":[60]"#, 3600, true),
        (r#","expires_in":1e300"#, 366 * 86_400, false),
        (r#","expires_in":99999999999999999999"#, 366 * 86_400, false),
    ] {
        assert_eq!(lifetime_of(&body(rest)), (seconds, assumed), "{rest}");
    }
}

#[test]
fn an_absolute_expiry_is_read_by_the_servers_clock() {
    let mut plan = plan();
    Arc::make_mut(&mut plan.endpoint).response.expires_at = "/expires_at".into();
    let seconds = at(0).as_seconds();
    for written in [
        format!("{}", seconds + 500),
        format!("{}", (seconds + 500) * 1000),
        format!("\"{}\"", seconds + 500),
        format!("\"{}\"", at(500)),
    ] {
        let mut response = response(200, &format!(r#"{{"access_token":"a","expires_at":{written}}}"#));
        let expires_at = |response: &Response| match outcome(&plan, response, &[]) {
            Outcome::Answered(answer) => answer.access.unwrap().expires_at,
            other => panic!("{other:?}"),
        };
        assert_eq!(expires_at(&response), at(500), "{written}");
        // The server's clock is a hundred seconds ahead of ours.
        let date = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds + 101).unwrap());
        response.date = Some(httpdate::fmt_http_date(date));
        assert_eq!(expires_at(&response), at(400), "{written}");
    }
}

#[test]
fn a_jwt_tells_its_own_expiry_when_nothing_else_does() {
    let token = jwt(&format!(r#"{{"exp":{}}}"#, at(777).as_seconds()));
    assert_eq!(lifetime_of(&format!(r#"{{"access_token":"{token}"}}"#)), (777, false));
    for claims in [r#"{"exp":"x"}"#, "{}", "[1]", "no json"] {
        assert_eq!(lifetime_of(&format!(r#"{{"access_token":"{}"}}"#, jwt(claims))), (3600, true), "{claims}");
    }
}

#[test]
fn errors_are_classified_by_their_code_first_and_by_their_status_then() {
    use ErrorClass::{Misconfigured, Revoked, Slow, Transient};
    for (status, body, expected) in [
        (400, r#"{"error":"invalid_grant"}"#, Revoked),
        // Auth0 says it with 403.
        (403, r#"{"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}"#, Revoked),
        // OpenAI nests it.
        (401, r#"{"error":{"message":"…","type":"invalid_request_error","code":"refresh_token_reused"}}"#, Revoked),
        // GitHub says it with 200.
        (200, r#"{"error":"bad_refresh_token","error_description":"…"}"#, Revoked),
        (401, r#"{"error":"invalid_client"}"#, Misconfigured),
        (400, r#"{"error":"unauthorized_client"}"#, Misconfigured),
        (400, r#"{"error":"invalid_scope"}"#, Misconfigured),
        (429, r#"{"error":"rate_limited"}"#, Transient),
        (503, "", Transient),
        (408, "", Transient),
        (425, "", Transient),
        (400, "<html>bad gateway</html>", Transient),
        (403, "<!DOCTYPE html><title>Attention Required!</title>", Slow),
        (400, r#"{"error":"something_new"}"#, Slow),
        (401, r#"{"message":"no"}"#, Slow),
        (307, "", Slow),
    ] {
        assert_eq!(class(status, body), expected, "{status} {body}");
    }
}

#[test]
fn what_may_have_rotated_is_unknown() {
    for (status, body) in [
        (500, ""),
        (502, "<html>"),
        (504, "{}"),
        (200, ""),
        (200, "<html>welcome</html>"),
        (200, r#"{"access_token":"a""#),
        (200, r#"["access_token"]"#),
        (204, ""),
    ] {
        assert!(matches!(judged(&response(status, body)), Outcome::Unknown(_)), "{status} {body}");
    }
    let cut = Response { cut: true, ..response(200, "{}") };
    assert!(matches!(judged(&cut), Outcome::Unknown(TokenReason::Unreadable { .. })));
}

#[test]
fn row_42_an_unsound_access_token_never_becomes_a_key() {
    let long = format!("\"{}\"", "a".repeat(LONGEST_ACCESS_TOKEN + 1));
    for token in
        ["null", "\"\"", "\"  \"", "7", "true", "[\"a\"]", "{}", "\"a\\nb\"", "\"a\\u0000\"", "\"schlüssel\"", &long]
    {
        let alone = answer(200, &format!(r#"{{"access_token":{token}}}"#));
        assert_eq!(alone.access.unwrap_err().class, ErrorClass::Unknown, "{token}");
        // Its sound successor is kept all the same.
        let half = answer(200, &format!(r#"{{"access_token":{token},"refresh_token":"r"}}"#));
        assert_eq!(half.access.unwrap_err().class, ErrorClass::Transient, "{token}");
        assert_eq!(half.refresh_token, Some(Secret::new("r")), "{token}");
    }
}

#[test]
fn an_unsound_refresh_token_is_not_taken() {
    for token in ["null", "\"\"", "7", "\"a\\nb\""] {
        let answer = answer(200, &format!(r#"{{"access_token":"a","refresh_token":{token}}}"#));
        assert_eq!(answer.refresh_token, None, "{token}");
        assert!(answer.access.is_ok());
    }
}

#[test]
fn a_code_is_shown_only_if_it_is_plain_and_nothing_that_was_sent() {
    for (code, shown) in [
        ("something_new", Some("something_new")),
        ("refresh-1", None),
        ("x-refresh-1-x", None),
        ("two words", None),
        ("AADSTS700082", Some("AADSTS700082")),
        ("E0000015", Some("E0000015")),
        ("rt_4Fg7hJ2kLm9Qw3Zx", None),
        ("9f8e7d6c5b4a39281706", None),
        ("123456789", None),
        ("<b>", None),
    ] {
        let reason = answer(400, &format!(r#"{{"error":"{code}"}}"#)).access.unwrap_err().reason;
        assert_eq!(reason, TokenReason::UnknownError { status: 400, code: shown.map(str::to_owned) });
    }
}

#[test]
fn row_40_retry_after_is_read_as_seconds_and_as_a_date() {
    let date = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(at(90).as_seconds()).unwrap());
    for (wish, until) in
        [("30".to_owned(), Some(at(31))), (httpdate::fmt_http_date(date), Some(at(90))), ("soon".to_owned(), None)]
    {
        let response = Response { retry_after: Some(wish), ..response(429, "") };
        let Outcome::Answered(answer) = judged(&response) else { panic!() };
        assert_eq!(answer.access.unwrap_err().retry_after, until);
    }
}

#[test]
fn a_form_is_read_like_json() {
    let mut form = response(200, "access_token=a&refresh_token=r&expires_in=60&token_type=bearer");
    form.content_type = Some("application/x-www-form-urlencoded; charset=utf-8".into());
    let Outcome::Answered(answer) = judged(&form) else { panic!() };
    assert_eq!(answer.refresh_token, Some(Secret::new("r")));
    assert_eq!(answer.access.unwrap().expires_at, at(60));
}

#[test]
fn other_names_and_further_fields_are_found_by_pointer() {
    let mut plan = plan();
    Arc::make_mut(&mut plan.endpoint).response.access_token = "/data/accessToken".into();
    Arc::make_mut(&mut plan.endpoint).response.refresh_expires_in = "/data/refreshExpiresIn".into();
    plan.channels.push(ChannelPlan {
        gateway: DEFAULT_GATEWAY.into(),
        select: ChannelSelect::Id(1),
        key: Template::parse("{access_token}:{/data/account}").unwrap(),
        key_is_explicit: true,
    });
    let body = r#"{"data":{"accessToken":"a","refreshExpiresIn":900,"account":7}}"#;
    let Outcome::Answered(answer) = outcome(&plan, &response(200, body), &[]) else { panic!() };
    assert_eq!(answer.refresh_token_expires_at, Some(at(900)));
    assert_eq!(answer.access.unwrap().key(&plan.channels[0].key), Ok(Secret::new("a:7")));
}

/// Whatever comes, what is taken of it is sound.
fn is_sound(plan: &CredentialPlan, response: &Response) {
    let Outcome::Answered(answer) = outcome(plan, response, &[&Secret::new("refresh-1")]) else { return };
    if let Some(token) = &answer.refresh_token {
        assert!(sound(token.expose(), LONGEST_REFRESH_TOKEN).is_ok());
    }
    match answer.access {
        Ok(grant) => {
            assert!(sound(grant.token.expose(), LONGEST_ACCESS_TOKEN).is_ok());
            assert!(grant.expires_at >= grant.issued_at, "{:?}", grant.expires_at);
            assert!(grant.expires_at <= grant.issued_at + LONGEST_LIFETIME);
        }
        Err(error) => assert!(!format!("{error:?}").contains("sentinel")),
    }
}

proptest! {
    #[test]
    fn row_55_any_bytes_are_read_without_a_panic(
        status in 100u16..600, body in proptest::collection::vec(any::<u8>(), 0..300),
        content_type in proptest::option::of(".{0,60}"), date in proptest::option::of(".{0,40}"),
        retry_after in proptest::option::of(".{0,40}"),
    ) {
        let received = response(status, "");
        is_sound(&plan(), &Response { body, content_type, date, retry_after, ..received });
    }

    #[test]
    fn row_55_any_json_is_read_without_a_panic(
        status in prop_oneof![Just(200u16), Just(400), Just(401), Just(429), Just(503)],
        access in any_value(), refresh in any_value(), life in any_value(), expires_at in any_value(), error in any_value(),
        form: bool,
    ) {
        let mut plan = plan();
        Arc::make_mut(&mut plan.endpoint).response.expires_at = "/expires_at".into();
        Arc::make_mut(&mut plan.endpoint).response.refresh_expires_in = "/expires_in".into();
        let body = format!(
            r#"{{"access_token":{access},"refresh_token":{refresh},"expires_in":{life},"expires_at":{expires_at},"error":{error}}}"#
        );
        let mut received = response(status, &body);
        if form {
            received.body = body.replace("\",\"", "&").replace("\":\"", "=").into_bytes();
            received.content_type = Some("application/x-www-form-urlencoded".into());
        }
        is_sound(&plan, &received);
    }
}

/// A JSON value as servers write them, sane and mad.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        any::<f64>().prop_map(|number| Value::from(number).to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| Value::from(text).to_string()),
        "[0-9TZ:.+-]{0,30}".prop_map(|text| Value::from(text).to_string()),
        Just(r#"{"code":"sentinel code","type":7}"#.to_owned()),
        Just("[[]]".to_owned()),
    ]
}

#[test]
fn a_short_secret_hides_no_word_of_the_standards_and_an_echo_stays_hidden() {
    let short = Secret::new("a");
    for code in ["authorization_pending", "slow_down", "access_denied", "expired_token", "odd_and_unknown"] {
        let response = Response {
            status: 400,
            body: format!(r#"{{"error":"{code}"}}"#).into_bytes(),
            content_type: Some("application/json".into()),
            ..Response::default()
        };
        let Outcome::Answered(answer) = outcome(&plan(), &response, &[&short]) else { panic!("{code}") };
        let TokenReason::UnknownError { code: shown, .. } = answer.access.unwrap_err().reason else { panic!("{code}") };
        let expected = (code != "odd_and_unknown").then(|| code.to_owned());
        assert_eq!(shown, expected);
    }
}
