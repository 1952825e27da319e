use std::borrow::Cow;

use super::rows::Bar;
use super::*;
use crate::reason::Language;
use crate::telemetry::status::{AgentStatus, ConfigStatus, VaultStatus};

const MINUTE: Duration = Duration::from_secs(60);

fn now() -> Timestamp {
    Timestamp::from_seconds(1_767_000_000)
}

/// A credential whose key of an hour came so many minutes ago, before a gateway with a cache of ten.
fn credential(age: u32) -> CredentialStatus {
    let issued = now() - MINUTE * age;
    CredentialStatus {
        name: "a".into(),
        state: CredentialState::Active,
        reason: None,
        issued_at: Some(issued),
        expires_at: Some(issued + MINUTE * 60),
        deadline_at: Some(issued + MINUTE * 50),
        refresh_at: Some(issued + MINUTE * 45),
        refreshed_at: Some(issued),
        failures: 0,
        troubled_since: None,
        last_error: None,
        remedy: None,
        channels: Vec::new(),
    }
}

fn channel(name: &str, state: ChannelState, problem: Option<&str>) -> ChannelStatus {
    ChannelStatus {
        gateway: DEFAULT_GATEWAY.into(),
        id: Some(1),
        name: name.into(),
        state,
        status: Some(1),
        delivered_at: None,
        problem: problem.map(str::to_owned),
        remedy: None,
    }
}

fn status(credentials: Vec<CredentialStatus>) -> Status {
    let config = ConfigStatus { path: "sidecar.toml".into(), loaded_at: None, problem: None };
    Status {
        version: Cow::Borrowed("0"),
        time: now(),
        language: Language::English,
        agent: AgentStatus { running: true, since: None, config, vault: VaultStatus::default() },
        credentials,
        orphans: Vec::new(),
        notifiers: Vec::new(),
        events: Vec::new(),
    }
}

#[test]
fn a_bar_shows_what_has_passed_what_is_next_and_what_is_too_late() {
    let bar = |age| Bar::of(&credential(age), now()).unwrap();
    assert_eq!(bar(0), Bar { lived: 0.0, refresh: Some(75.0), deadline: 83.5 });
    assert_eq!(bar(20).lived, 33.5);
    assert_eq!(bar(60).lived, 100.0);
    assert_eq!(bar(3000).lived, 100.0);
    let late = CredentialStatus { refresh_at: Some(now() + MINUTE * 90), ..credential(1) };
    assert_eq!(Bar::of(&late, now()).unwrap().refresh, None, "it is beyond the bar's end");
    let no_key = CredentialStatus { issued_at: None, ..credential(1) };
    assert_eq!(Bar::of(&no_key, now()), None);
    let no_life = CredentialStatus { expires_at: Some(now()), ..credential(0) };
    assert_eq!(Bar::of(&no_life, now()).unwrap().lived, 100.0);
}

#[test]
fn lengths_are_told_as_exactly_as_they_matter() {
    let words = messages::words(Language::English);
    let cases = [(0, "0 s ago"), (45, "in 45 s"), (754, "in 12 min"), (3_700, "in 1 h 1 min"), (180_000, "in 2 d 2 h")];
    for (seconds, told) in cases {
        assert_eq!(distance(words, now() + Duration::from_secs(seconds), now()), told);
    }
    assert_eq!(distance(words, now() - MINUTE * 3 - Duration::from_secs(59), now()), "3 min ago");
}

#[test]
fn what_a_person_did_with_a_channel_is_no_trouble() {
    let words = messages::words(Language::English);
    for state in [ChannelState::DisabledByHand, ChannelState::Released, ChannelState::Delivered, ChannelState::Pending]
    {
        let problem = matches!(state, ChannelState::DisabledByHand | ChannelState::Released).then_some("As wanted.");
        let credential = CredentialStatus { channels: vec![channel("a", state, problem)], ..credential(1) };
        assert_eq!(matters(&status(vec![credential]), words), [], "{state:?}");
    }
    for state in [ChannelState::Foreign, ChannelState::Missing, ChannelState::Flapping, ChannelState::Unsupported] {
        let credential = CredentialStatus { channels: vec![channel("a", state, Some("So."))], ..credential(1) };
        let found = rows(&status(vec![credential.clone()]), words).remove(0).mood;
        assert_eq!(found, Mood::Act, "{state:?}");
        assert_eq!(matters(&status(vec![credential]), words).len(), 1, "{state:?}");
    }
}

#[test]
fn who_waits_for_a_secret_that_cannot_be_read_waits_for_a_person() {
    let words = messages::words(Language::English);
    let waiting = CredentialStatus { state: CredentialState::Waiting, ..credential(1) };
    assert_eq!(matters(&status(vec![waiting.clone()]), words), [], "it may have just begun");
    let secret = Some("The environment variable `SEED` is unset. Set it.".to_owned());
    let found = status(vec![CredentialStatus { last_error: secret, ..waiting }]);
    assert_eq!(matters(&found, words).first().map(|matter| (matter.mood, matter.word)), Some((Mood::Act, "waiting")));
}

#[test]
fn a_gateway_that_cannot_be_read_is_one_matter_for_all_its_channels() {
    let trouble = Some("The database is locked.");
    let one = |nth: usize| CredentialStatus {
        name: format!("credential-{nth}"),
        channels: vec![channel(&format!("channel-{nth}"), ChannelState::Pending, trouble)],
        ..credential(1)
    };
    let status = status((0..100).map(one).collect());
    let matters = matters(&status, messages::words(Language::English));
    let [matter] = matters.as_slice() else { panic!("{matters:?}") };
    assert_eq!((matter.names.len(), matter.unnamed, matter.mood), (12, 88, Mood::Watch));
    assert_eq!(matter.what, "The database is locked.");
}

#[test]
fn what_a_problem_ends_with_is_its_remedy() {
    let (text, remedy) = (Some("It broke. Mend it.".to_owned()), Some("Mend it.".to_owned()));
    assert_eq!(without(text.as_ref(), remedy.as_ref()), ("It broke.", "Mend it."));
    assert_eq!(without(text.as_ref(), None), ("It broke. Mend it.", ""), "an agent of another version tells none");
    assert_eq!(without(None, None), ("", ""));
}
