//! What an answer does to a record: no refresh token is ever lost by it.

use std::time::Duration;

use super::*;
use crate::config::template::Template;
use crate::credential::sample::{at, grant, plan, record};
use crate::reason::ChannelReason;

const HOUR: Duration = Duration::from_secs(3600);

fn answered(access: Result<AccessGrant, TokenError>, refresh_token: Option<&str>) -> Outcome {
    let refresh_token = refresh_token.map(Secret::new);
    Outcome::Answered(Answer { access, refresh_token, refresh_token_expires_at: None })
}

fn refused(class: ErrorClass, code: &str) -> Outcome {
    let reason = TokenReason::Revoked { code: code.into() };
    answered(Err(TokenError { class, reason, retry_after: None }), None)
}

fn lost() -> Outcome {
    Outcome::Unknown(TokenReason::ServerError { status: 502 })
}

fn settled(record: &mut Record, outcome: Outcome) -> Settled {
    record.begin(at(10));
    record.settle(&plan(), outcome, at(11), 0.5)
}

fn token(record: &Record) -> Option<&str> {
    record.refresh_token.as_ref().map(Secret::expose)
}

#[test]
fn a_returned_refresh_token_replaces_the_one_that_was_sent() {
    let mut record = record();
    assert_eq!(settled(&mut record, answered(Ok(grant(HOUR)), Some("refresh-2"))), Settled::Refreshed);
    assert_eq!(token(&record), Some("refresh-2"));
    assert_eq!(record.state.rotates, Some(true));
    assert_eq!((record.state.generation, record.state.failures, record.state.attempt), (2, 0, None));
}

#[test]
fn row_43_a_missing_refresh_token_means_keep_the_old() {
    let mut record = record();
    settled(&mut record, answered(Ok(grant(HOUR)), None));
    assert_eq!(token(&record), Some("refresh-1"));
    assert_eq!(record.state.rotates, Some(false), "learned: this server does not rotate");
}

#[test]
fn row_42_half_an_answer_keeps_the_successor_and_not_the_key() {
    let mut record = record();
    let reason = TokenReason::BadAccessToken { detail: "empty".into() };
    let error = TokenError { class: ErrorClass::Transient, reason, retry_after: None };
    assert_eq!(settled(&mut record, answered(Err(error), Some("refresh-2"))), Settled::Failed);
    assert_eq!(token(&record), Some("refresh-2"));
    assert_eq!(record.access.as_ref().unwrap().token, Secret::new("access-1"));
    assert!(record.state.not_before > Some(at(11)));
}

#[test]
fn what_was_not_sent_is_retried_freely() {
    let mut record = record();
    let outcome = Outcome::NotSent(TokenReason::NotSent { host: "x".into(), error: "refused".into() });
    assert_eq!(settled(&mut record, outcome), Settled::Failed);
    assert_eq!((record.state.lost, record.state.attempt), (None, None));
}

#[test]
fn row_2_a_lost_answer_leaves_the_access_token_serving_and_counts_the_asking() {
    let mut record = record();
    assert_eq!(settled(&mut record, lost()), Settled::Lost);
    assert_eq!(record.state.lost, Some(Lost { at: at(10), candidate: false, asked_again: 0 }));
    assert!(record.access.is_some() && record.state.halt.is_none());
    settled(&mut record, lost());
    assert_eq!(record.state.lost, Some(Lost { at: at(10), candidate: false, asked_again: 1 }), "since the first loss");
    assert_eq!(
        settled(&mut record, refused(ErrorClass::Revoked, "invalid_grant")),
        Settled::Halted(HaltKind::OutcomeUnknown)
    );
    let expected = TokenReason::OutcomeUnknown { lost_at: at(10), code: Some("invalid_grant".into()) };
    assert_eq!(record.state.halt.as_ref().unwrap().reason, expected.into());
    assert!(token(&record).is_some(), "a stored credential is never deleted because of a failure");
}

#[test]
fn row_3_a_late_answer_ends_the_uncertainty() {
    let mut record = record();
    settled(&mut record, lost());
    assert_eq!(settled(&mut record, answered(Ok(grant(HOUR)), Some("refresh-2"))), Settled::Refreshed);
    assert_eq!((record.state.lost, token(&record)), (None, Some("refresh-2")));
}

#[test]
fn where_nothing_rotates_a_lost_answer_is_just_a_failure() {
    let mut record = record();
    record.state.rotates = Some(false);
    assert_eq!(settled(&mut record, lost()), Settled::Failed);
    assert_eq!(record.state.lost, None);
    let mut plan = plan();
    plan.rotates = Some(true);
    record.begin(at(20));
    assert_eq!(
        record.settle(&plan, lost(), at(21), 0.5),
        Settled::Lost,
        "what is configured wins over what was learned"
    );
}

#[test]
fn a_marker_found_at_start_is_a_lost_answer() {
    let mut record = record();
    assert_eq!(record.found_marker(&plan(), at(20), 0.5), None);
    record.begin(at(10));
    assert_eq!(record.found_marker(&plan(), at(20), 0.5), Some(Settled::Lost));
    assert_eq!(record.state.lost.unwrap().at, at(10));
    assert_eq!(record.state.last_error, Some(Box::new(TokenReason::DiedInFlight { at: at(10) }.into())));
}

#[test]
fn row_39_a_refused_refresh_token_halts() {
    let mut record = record();
    assert_eq!(settled(&mut record, refused(ErrorClass::Revoked, "invalid_grant")), Settled::Halted(HaltKind::Revoked));
    assert_eq!(token(&record), Some("refresh-1"));
    assert!(record.access.is_some());
}

#[test]
fn row_16_a_new_seed_is_tried_first_and_the_old_one_stays_until_it_succeeded() {
    let mut record = record();
    record.take_seed(Secret::new("seed-2"));
    assert_eq!(record.token_to_send(), Some(&Secret::new("seed-2")));
    assert_eq!(settled(&mut record, refused(ErrorClass::Revoked, "invalid_grant")), Settled::SeedRefused);
    assert_eq!(record.token_to_send(), Some(&Secret::new("refresh-1")));

    record.take_seed(Secret::new("seed-3"));
    assert_eq!(settled(&mut record, answered(Ok(grant(HOUR)), None)), Settled::Refreshed);
    assert_eq!((token(&record), &record.candidate), (Some("seed-3"), &None));
}

#[test]
fn row_16_a_refused_seed_does_not_bring_back_a_refresh_token_that_was_refused_before() {
    let mut record = record();
    settled(&mut record, lost());
    let revoked = || refused(ErrorClass::Revoked, "invalid_grant");
    assert_eq!(settled(&mut record, revoked()), Settled::Halted(HaltKind::OutcomeUnknown));
    record.take_seed(Secret::new("seed-2"));
    assert_eq!(settled(&mut record, revoked()), Settled::Halted(HaltKind::OutcomeUnknown));
    assert_eq!(record.token_to_send(), Some(&Secret::new("refresh-1")), "kept, and not sent");

    record.take_seed(Secret::new("seed-3"));
    settled(&mut record, answered(Ok(grant(HOUR)), Some("refresh-3")));
    record.take_seed(Secret::new("seed-4"));
    assert_eq!(settled(&mut record, revoked()), Settled::SeedRefused, "there is one to go on with again");
}

#[test]
fn a_server_that_rotated_once_is_not_trusted_to_keep_the_refresh_token_from_then_on() {
    let mut record = record();
    settled(&mut record, answered(Ok(grant(HOUR)), Some("refresh-2")));
    settled(&mut record, answered(Ok(grant(HOUR)), None));
    assert_eq!(record.state.rotates, Some(true));
    assert_eq!(settled(&mut record, lost()), Settled::Lost);
}

#[test]
fn a_new_seed_brings_a_halted_credential_back() {
    let mut record = record();
    settled(&mut record, refused(ErrorClass::Revoked, "invalid_grant"));
    record.take_seed(Secret::new("seed-2"));
    assert_eq!(record.state.halt, None);
    settled(&mut record, answered(Ok(grant(HOUR)), Some("refresh-9")));
    assert_eq!(token(&record), Some("refresh-9"));
}

#[test]
fn a_misconfigured_client_halts_whatever_the_grant() {
    let mut record = record();
    let halted = Settled::Halted(HaltKind::Misconfigured);
    assert_eq!(settled(&mut record, refused(ErrorClass::Misconfigured, "invalid_client")), halted);
    let mut plan = plan();
    plan.grant = Grant::ClientCredentials;
    record.revive();
    record.begin(at(20));
    assert_eq!(record.settle(&plan, refused(ErrorClass::Revoked, "invalid_grant"), at(21), 0.5), halted);
}

#[test]
fn row_40_the_servers_wish_is_obeyed_within_a_day() {
    for (wish, until) in
        [(at(500), at(500)), (at(0), at(11) + Duration::from_millis(1000)), (at(999_999), at(11 + 86_400))]
    {
        let mut record = record();
        let reason = TokenReason::Busy { status: 429, until: Some(wish) };
        let error = TokenError { class: ErrorClass::Transient, reason, retry_after: Some(wish) };
        settled(&mut record, answered(Err(error), None));
        assert_eq!(record.state.not_before, Some(until));
    }
}

#[test]
fn a_key_is_made_from_its_template_or_refused() {
    let template = |text| Template::parse(text).unwrap();
    let mut token = grant(HOUR);
    token.fields.insert("/account/id".into(), Secret::new("acc-7"));
    assert_eq!(token.key(&template("Bearer {access_token}")), Ok(Secret::new("Bearer access-1")));
    assert_eq!(token.key(&template("{access_token}|{/account/id}")), Ok(Secret::new("access-1|acc-7")));
    let missing = |field: &str| Err(ChannelReason::TemplateField { field: field.into() });
    assert_eq!(token.key(&template("{id_token}")), missing("id_token"));
    assert_eq!(token.key(&template("{access_token}{/nowhere}")), missing("/nowhere"));
    token.fields.insert("/account/id".into(), Secret::new("a\r\nX-Evil: 1"));
    assert_eq!(token.key(&template("{/account/id}")), Err(ChannelReason::UnsafeKey));
}

#[test]
fn what_is_as_ever_is_not_stored() {
    let state = State { token_url: "https://a/".into(), generation: 3, ..State::default() };
    let stored = serde_json::to_string(&state).unwrap();
    assert_eq!(stored, r#"{"token_url":"https://a/","generation":3,"jitter":0}"#);
    assert_eq!(serde_json::from_str::<State>(&stored).unwrap(), state);
    let before = r#"{"token_url":"https://a/","generation":3,"attempt":null,"lost":null,"vault_was_older":false,"halt":null,
        "failures":0,"failing_since":null,"last_error":null,"asked":false,"not_before":null,"jitter":0,"refused":false}"#;
    assert_eq!(serde_json::from_str::<State>(before).unwrap(), state, "as earlier versions wrote it");
}
