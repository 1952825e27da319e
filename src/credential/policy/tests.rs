//! The schedule and the decisions, by tables and properties.

use proptest::prelude::*;

use super::*;
use crate::credential::record::{Lost, Outcome};
use crate::credential::sample::{at, grant, plan, record};
use crate::secret::Secret;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const LAG: Duration = Duration::from_secs(600);

#[test]
fn a_token_is_replaced_before_it_dies_by_the_lag_and_the_time_for_retries() {
    // (lifetime, lag, refresh_before, due) in seconds
    for (lifetime, lag, before, due) in [
        (3600, 600, 300, 2700),
        (3600, 0, 300, 3300),
        // Never before half of the lifetime.
        (600, 600, 300, 300),
        (4, 0, 300, 2),
        // At least half a second between two refreshes.
        (0, 0, 300, 0),
    ] {
        let mut plan = plan();
        plan.refresh_before = Duration::from_secs(before);
        let token = grant(Duration::from_secs(lifetime));
        let due_at = refresh_at(&plan, &record(), &token, Duration::from_secs(lag));
        let floor = at(0) + FLOOR;
        assert_eq!(due_at, at(due).max(floor), "lifetime {lifetime}, lag {lag}");
    }
}

#[test]
fn where_a_refresh_kills_the_previous_token_the_lag_is_left_out() {
    let mut plan = plan();
    plan.revokes_previous = true;
    assert_eq!(refresh_at(&plan, &record(), &grant(HOUR), LAG), at(3300));
}

#[test]
fn a_refresh_token_that_dies_sooner_is_used_at_half_of_its_own_life() {
    let mut record = record();
    record.state.refresh_token_at = Some(at(0));
    record.state.refresh_token_expires_at = Some(at(1000));
    assert_eq!(refresh_at(&plan(), &record, &grant(HOUR), LAG), at(500));
}

#[test]
fn an_assumed_lifetime_is_never_refreshed_within_a_minute() {
    let mut token = grant(Duration::from_secs(10));
    token.lifetime_assumed = true;
    assert_eq!(refresh_at(&plan(), &record(), &token, LAG), at(60));
}

#[test]
fn decisions_follow_from_the_record() {
    let kept = |seconds| TokenDecision::Keep(Some(at(seconds)));
    let decided = |change: &dyn Fn(&mut CredentialPlan, &mut Record), now: i64| {
        let (mut plan, mut record) = (plan(), record());
        change(&mut plan, &mut record);
        decide(&plan, &record, LAG, at(now))
    };
    assert_eq!(decided(&|_, _| {}, 0), kept(2700));
    assert_eq!(decided(&|_, _| {}, 2700), TokenDecision::Refresh(Why::Due));
    assert_eq!(decided(&|_, record| record.access = None, 0), TokenDecision::Refresh(Why::First));
    assert_eq!(decided(&|_, record| record.take_seed(Secret::new("new")), 0), TokenDecision::Refresh(Why::NewSeed));
    assert_eq!(decided(&|_, record| record.state.not_before = Some(at(2800)), 2700), TokenDecision::BackOff(at(2800)));
    // What is not due yet is kept, whatever failed before.
    assert_eq!(decided(&|_, record| record.state.not_before = Some(at(2800)), 100), kept(2700));
    assert_eq!(decided(&|plan, _| plan.enabled = false, 9000), TokenDecision::Keep(None));
    let halted = |_: &mut CredentialPlan, record: &mut Record| {
        record.halt(HaltKind::Revoked, TokenReason::Revoked { code: "invalid_grant".into() }, at(0));
    };
    assert_eq!(decided(&halted, 9000), TokenDecision::Keep(None));
    assert_eq!(
        decided(&|_, record| record.refresh_token = None, 0),
        TokenDecision::Halt(HaltKind::NoRefreshToken, TokenReason::NoRefreshToken)
    );
    let client = |plan: &mut CredentialPlan, record: &mut Record| {
        plan.grant = Grant::ClientCredentials;
        record.refresh_token = None;
    };
    assert_eq!(decided(&client, 2700), TokenDecision::Refresh(Why::Due));
}

#[test]
fn row_2_a_lost_answer_is_asked_for_once_more_late_and_then_not_before_the_token_is_dead() {
    let mut record = record();
    record.state.lost = Some(Lost { at: at(2700), candidate: false, asked_again: 0 });
    // 3600 − 600 lag − 60
    assert_eq!(decide(&plan(), &record, LAG, at(2701)), TokenDecision::Keep(Some(at(2940))));
    assert_eq!(decide(&plan(), &record, LAG, at(2940)), TokenDecision::Refresh(Why::LostAnswer));
    record.state.lost = Some(Lost { at: at(2700), candidate: false, asked_again: 1 });
    assert_eq!(decide(&plan(), &record, LAG, at(2941)), TokenDecision::Keep(Some(at(3600))));
    assert_eq!(decide(&plan(), &record, LAG, at(3600)), TokenDecision::Refresh(Why::LostAnswer));
    // Without an access token there is nothing to protect.
    record.access = None;
    assert_eq!(decide(&plan(), &record, LAG, at(2701)), TokenDecision::Refresh(Why::LostAnswer));
}

#[test]
fn row_3_a_server_with_a_grace_period_is_asked_at_once_and_halt_never_asks() {
    let mut record = record();
    record.state.lost = Some(Lost { at: at(2700), candidate: false, asked_again: 0 });
    let mut plan = plan();
    plan.on_lost_answer = OnLostAnswer::AskNow;
    assert_eq!(decide(&plan, &record, LAG, at(2701)), TokenDecision::Refresh(Why::LostAnswer));
    plan.on_lost_answer = OnLostAnswer::Halt;
    let reason = TokenReason::OutcomeUnknown { lost_at: at(2700), code: None };
    assert_eq!(decide(&plan, &record, LAG, at(2701)), TokenDecision::Halt(HaltKind::OutcomeUnknown, reason));
}

#[test]
fn a_person_who_asks_again_is_obeyed_once_whatever_was_decided() {
    let mut plan = plan();
    plan.on_lost_answer = OnLostAnswer::Halt;
    let mut record = record();
    record.access = Some(grant(HOUR));
    assert!(!record.ask_again(), "nothing is the matter");
    assert!(!record.state.asked);

    record.state.lost = Some(Lost { at: at(1), candidate: false, asked_again: 0 });
    record.halt(HaltKind::OutcomeUnknown, TokenReason::OutcomeUnknown { lost_at: at(1), code: None }, at(2));
    assert!(record.ask_again());
    assert_eq!(decide(&plan, &record, LAG, at(3)), TokenDecision::Refresh(Why::Asked));

    record.begin(at(3));
    record.settle(&plan, Outcome::Unknown(TokenReason::ServerError { status: 502 }), at(4), 0.5);
    assert!(matches!(decide(&plan, &record, LAG, at(5)), TokenDecision::Halt(HaltKind::OutcomeUnknown, _)));
}

#[test]
fn a_new_seed_is_tried_though_an_answer_was_lost_and_a_lost_seed_waits_its_turn() {
    let mut record = record();
    record.state.lost = Some(Lost { at: at(2700), candidate: false, asked_again: 0 });
    record.candidate = Some(Secret::new("new"));
    assert_eq!(decide(&plan(), &record, LAG, at(2701)), TokenDecision::Refresh(Why::NewSeed));
    record.state.lost = Some(Lost { at: at(2700), candidate: true, asked_again: 0 });
    assert_eq!(decide(&plan(), &record, LAG, at(2701)), TokenDecision::Keep(Some(at(2940))));
}

#[test]
fn row_51_a_token_or_a_wait_from_the_future_is_not_believed() {
    assert_eq!(decide(&plan(), &record(), LAG, at(-86_400)), TokenDecision::Refresh(Why::Due));
    let mut record = record();
    record.state.not_before = Some(at(2700 + 90_000));
    assert_eq!(decide(&plan(), &record, LAG, at(2700)), TokenDecision::Refresh(Why::Due));
}

#[test]
fn an_outage_is_announced_while_there_is_time_to_act() {
    // A token that dies at 3600 s; 300 s are kept for retries. (lag, failures, now, next try, announced)
    for (lag, failures, now, next, announced) in [
        (600, 0, 2700, 2700, false),
        // One failure, and tries to come.
        (600, 1, 2700, 2701, false),
        (600, 2, 2701, 2703, false),
        (600, 7, 2763, 2827, false),
        // The next try would leave the gateway's cache and a human less than they need: 3600 − 600 − 150.
        (600, 8, 2827, 2955, true),
        (600, 8, 2827, 2850, true),
        (600, 8, 2827, 2849, false),
        // Without a cache there is more time.
        (0, 8, 2827, 2955, false),
        (0, 8, 3427, 3450, true),
        // The next try is too late by itself, as after a long Retry-After.
        (0, 1, 2700, 3600, true),
        (0, 1, 2700, 3599, false),
        // A key that is dead already is another matter.
        (600, 9, 3600, 3700, false),
    ] {
        let mut record = record();
        record.state.failures = failures;
        record.state.not_before = Some(at(next));
        let lag = Duration::from_secs(lag);
        assert_eq!(is_expiring(&plan(), &record, lag, at(now)), announced, "{lag:?} {failures} {now} {next}");
    }
    let mut record = record();
    (record.access, record.state.failures) = (None, 9);
    assert!(!is_expiring(&plan(), &record, LAG, at(0)), "there is no key to die");
}

#[test]
fn the_backoff_doubles_up_to_its_bound() {
    let bounds = Backoff { min: Duration::from_secs(1), max: Duration::from_secs(300) };
    let caps: Vec<u64> = (0..12).map(|failures| backoff(bounds, failures, 1.0).as_secs()).collect();
    assert_eq!(caps, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    assert_eq!(backoff(bounds, u32::MAX, 1.0), bounds.max);
    assert_eq!(backoff(bounds, 9, 0.5), Duration::from_secs(150));
    assert!(slow_backoff(bounds, 0.0) >= Duration::from_secs(150));
}

proptest! {
    #[test]
    fn a_refresh_is_never_before_half_of_the_lifetime_nor_later_than_the_lead(
        lifetime in 1u64..100_000_000, lag in 0u64..4000, before in 0u64..4000, jitter in 0u16..=1000,
    ) {
        let mut plan = plan();
        plan.refresh_before = Duration::from_secs(before);
        let mut record = record();
        record.state.jitter = jitter;
        let token = grant(Duration::from_secs(lifetime));
        let lag = Duration::from_secs(lag);
        let due = refresh_at(&plan, &record, &token, lag);
        let half = token.issued_at + Duration::from_secs(lifetime) / 2;
        let lead = lag + plan.refresh_before;
        prop_assert!(due >= half);
        prop_assert!(due <= (token.expires_at - lead).max(half).max(token.issued_at + FLOOR));
        // The jitter takes at most a tenth of the lead.
        prop_assert!(due + lead + lead / 10 >= token.expires_at);
    }

    #[test]
    fn no_two_refreshes_are_within_the_floor(
        lifetime_ms in 0u64..10_000, assumed: bool, revokes_previous: bool, refresh_token_life in proptest::option::of(0u64..100),
        lag in 0u64..4000, before in 0u64..4000, jitter in 0u16..=1000, later_ms in 0u64..120_000,
    ) {
        let mut plan = plan();
        plan.refresh_before = Duration::from_secs(before);
        plan.revokes_previous = revokes_previous;
        let mut record = record();
        record.state.jitter = jitter;
        record.state.refresh_token_at = refresh_token_life.map(|_| at(0));
        record.state.refresh_token_expires_at = refresh_token_life.map(|life| at(0) + Duration::from_secs(life));
        let mut token = grant(Duration::from_millis(lifetime_ms));
        token.lifetime_assumed = assumed;
        record.access = Some(token);
        let now = at(0) + Duration::from_millis(later_ms);
        let floor = if assumed { FLOOR_ASSUMED } else { FLOOR };
        if decide(&plan, &record, Duration::from_secs(lag), now) == TokenDecision::Refresh(Why::Due) {
            prop_assert!(now >= at(0) + floor);
        }
    }

    #[test]
    fn a_decision_that_waits_comes_true_when_its_time_has_come(
        lifetime in 1u64..1_000_000, lag in 0u64..4000, before in 0u64..4000, jitter in 0u16..=1000, now in 0i64..1_000_000,
    ) {
        let mut plan = plan();
        plan.refresh_before = Duration::from_secs(before);
        let mut record = record();
        record.state.jitter = jitter;
        record.access = Some(grant(Duration::from_secs(lifetime)));
        let lag = Duration::from_secs(lag);
        match decide(&plan, &record, lag, at(now)) {
            TokenDecision::Keep(Some(wake)) => {
                prop_assert!(wake > at(now));
                prop_assert_eq!(decide(&plan, &record, lag, wake), TokenDecision::Refresh(Why::Due));
            }
            decision => prop_assert_eq!(decision, TokenDecision::Refresh(Why::Due)),
        }
    }

    #[test]
    fn the_backoff_never_leaves_its_bounds(
        min in 1u64..100_000, more in 0u64..10_000_000, failures: u32, jitter in 0.0f64..1.0,
    ) {
        let bounds = Backoff { min: Duration::from_millis(min), max: Duration::from_millis(min + more) };
        for wait in [backoff(bounds, failures, jitter), slow_backoff(bounds, jitter)] {
            prop_assert!(wait >= bounds.min && wait <= bounds.max, "{wait:?}");
        }
    }

    #[test]
    fn a_decision_is_never_to_refresh_while_backing_off_or_halted(
        now in 0i64..10_000, not_before in 0i64..10_000, lost: bool, asked_again in 0u32..3, halted: bool, has_access: bool,
    ) {
        let mut record = record();
        record.state.not_before = Some(at(not_before));
        record.state.lost = lost.then_some(Lost { at: at(0), candidate: false, asked_again });
        if !has_access {
            record.access = None;
        }
        if halted {
            record.halt(HaltKind::Revoked, TokenReason::NoRefreshToken, at(0));
        }
        let decision = decide(&plan(), &record, MINUTE, at(now));
        if matches!(decision, TokenDecision::Refresh(_)) {
            prop_assert!(!halted && now >= not_before);
        }
        if let TokenDecision::Keep(Some(wake)) | TokenDecision::BackOff(wake) = decision {
            prop_assert!(wake > at(now));
        }
    }
}

#[test]
fn a_token_whose_half_life_is_shorter_than_the_lag_is_short_lived() {
    assert!(is_short_lived(&plan(), &grant(Duration::from_secs(1199)), LAG));
    assert!(!is_short_lived(&plan(), &grant(Duration::from_secs(1200)), LAG));
    let mut plan = plan();
    plan.revokes_previous = true;
    assert!(!is_short_lived(&plan, &grant(MINUTE), LAG), "being early buys nothing there");
}
