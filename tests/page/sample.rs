//! Statuses as an agent might tell them, in its own words.

use std::time::Duration;

use one_api_sidecar::channel::policy::ChannelState;
use one_api_sidecar::credential::event::{ChannelName, Event, Topic};
use one_api_sidecar::credential::record::HaltKind;
use one_api_sidecar::messages::{self, About, Message};
use one_api_sidecar::reason::{ChannelReason, Language, NotifierReason, Reason, TokenReason};
use one_api_sidecar::telemetry::status::{
    self, AgentStatus, ChannelStatus, ConfigStatus, CredentialState, CredentialStatus, NotifierStatus, Status,
    VaultStatus,
};
use one_api_sidecar::time::Timestamp;

/// The moment of every sample.
pub fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-01-02T14:05:10Z").unwrap()
}

pub fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// A status without credentials.
pub fn empty(language: Language) -> Status {
    let config =
        ConfigStatus { path: "/data/sidecar.toml".into(), loaded_at: Some(now() - minutes(200)), problem: None };
    let vault = VaultStatus::default();
    Status {
        version: "0.1.0".into(),
        time: now(),
        language,
        agent: AgentStatus { running: true, since: Some(now() - minutes(370)), config, vault },
        credentials: Vec::new(),
        orphans: Vec::new(),
        notifiers: Vec::new(),
        events: Vec::new(),
    }
}

/// A healthy credential whose key of an hour came so many minutes ago.
pub fn credential(name: &str, age: u64, channels: &[(i64, &str)]) -> CredentialStatus {
    let issued = now() - minutes(age);
    let channel = |(id, name): &(i64, &str)| ChannelStatus {
        gateway: "default".into(),
        id: Some(*id),
        name: (*name).into(),
        state: ChannelState::Delivered,
        status: Some(1),
        delivered_at: Some(issued + Duration::from_secs(1)),
        problem: None,
        remedy: None,
    };
    CredentialStatus {
        name: name.into(),
        state: CredentialState::Active,
        reason: None,
        issued_at: Some(issued),
        expires_at: Some(issued + minutes(60)),
        deadline_at: Some(issued + minutes(50)),
        refresh_at: Some(issued + minutes(44)),
        refreshed_at: Some(issued),
        failures: 0,
        troubled_since: None,
        last_error: None,
        remedy: None,
        channels: channels.iter().map(channel).collect(),
    }
}

fn explain(language: Language, reason: &Reason, credential: &str, channel: &str) -> (Option<String>, Option<String>) {
    let Message { what, remedy } = messages::explain_about(language, reason, About { credential, channel });
    (Some(format!("{what} {remedy}")), Some(remedy))
}

/// The credential is in trouble since so many minutes.
pub fn troubled(
    mut credential: CredentialStatus,
    language: Language,
    state: CredentialState,
    reason: TokenReason,
    since: u64,
) -> CredentialStatus {
    let (error, remedy) = explain(language, &reason.into(), &credential.name, "ID");
    credential.state = state;
    credential.reason = (state == CredentialState::Halted).then_some(HaltKind::Revoked);
    credential.refresh_at = (state != CredentialState::Halted).then(|| now() + minutes(2));
    (credential.last_error, credential.remedy) = (error, remedy);
    credential.troubled_since = Some(now() - minutes(since));
    credential.failures = 4;
    credential
}

/// The state of a credential whose refresh token is no longer taken.
pub fn halted(name: &str, language: Language, channels: &[(i64, &str)]) -> CredentialStatus {
    let reason = TokenReason::Revoked { code: "invalid_grant".into() };
    troubled(credential(name, 47, channels), language, CredentialState::Halted, reason, 3)
}

/// A house with something of everything.
pub fn house(language: Language) -> Status {
    let mut status = well(language);
    let busy = TokenReason::Busy { status: 503, until: None };
    let mut claude = credential("claude", 33, &[(4, "claude-eu"), (9, "claude-us")]);
    let foreign = &mut claude.channels[1];
    foreign.state = ChannelState::Foreign;
    (foreign.problem, foreign.remedy) = explain(language, &ChannelReason::Foreign.into(), "claude", "9");
    status.credentials[1] = halted("codex-team", language, &[(2, "codex-b")]);
    status.credentials[2] = claude;
    let gemini = credential("gemini", 46, &[(5, "gemini-pro")]);
    status.credentials[3] = troubled(gemini, language, CredentialState::Failing, busy.clone(), 2);
    let refused = NotifierReason::Refused { status: 200, code: Some("900".into()), words: None };
    let (problem, remedy) = explain(language, &refused.into(), "NAME", "ID");
    status.notifiers[1] = NotifierStatus { problem, remedy, refused: 1, ..status.notifiers[1].clone() };
    let event = |age: u64, topic: Topic, name: &str| Event {
        credential: Some(name.into()),
        ..Event::new(now() - minutes(age), topic)
    };
    let channel = ChannelName { gateway: "default".into(), id: Some(9), name: "claude-us".into() };
    let revoked = TokenReason::Revoked { code: "invalid_grant".into() };
    let events = [
        Event { reason: Some(busy.into()), ..event(1, Topic::Failing, "gemini") },
        Event { reason: Some(revoked.into()), ..event(3, Topic::Halted, "codex-team") },
        Event { channel: Some(channel), ..event(20, Topic::ForeignKey, "claude") },
        event(22, Topic::Refreshed, "openai"),
        event(33, Topic::Refreshed, "claude"),
        event(47, Topic::Refreshed, "codex-team"),
        Event { since: Some(now() - minutes(118)), ..event(91, Topic::Recovered, "baidu") },
        Event::new(now() - minutes(370), Topic::Started),
    ];
    status.events = status::events(language, events.iter());
    status
}

/// The same house on a morning on which one credential has to be authorized again.
pub fn morning(language: Language) -> Status {
    let mut status = well(language);
    status.credentials[1] = halted("codex-team", language, &[(2, "codex-b")]);
    let event = |age: u64, topic: Topic, name: &str| Event {
        credential: Some(name.into()),
        ..Event::new(now() - minutes(age), topic)
    };
    let revoked = TokenReason::Revoked { code: "invalid_grant".into() };
    let events = [
        Event { reason: Some(revoked.into()), ..event(3, Topic::Halted, "codex-team") },
        event(5, Topic::Refreshed, "baidu"),
        event(22, Topic::Refreshed, "openai"),
        event(33, Topic::Refreshed, "claude"),
        Event { since: Some(now() - minutes(118)), ..event(91, Topic::Recovered, "gemini") },
        Event::new(now() - minutes(370), Topic::Started),
    ];
    status.events = status::events(language, events.iter());
    status
}

/// The same house on a good day.
pub fn well(language: Language) -> Status {
    let notifier = |name: &str, taken: u64| NotifierStatus {
        name: name.into(),
        problem: None,
        remedy: None,
        taken,
        refused: 0,
        at: Some(now() - minutes(3)),
    };
    let event = |age: u64, name: &str| Event {
        credential: Some(name.into()),
        ..Event::new(now() - minutes(age), Topic::Refreshed)
    };
    let events =
        [event(5, "baidu"), event(22, "openai"), event(33, "claude"), Event::new(now() - minutes(370), Topic::Started)];
    Status {
        credentials: vec![
            credential("openai", 22, &[(1, "codex-a")]),
            credential("codex-team", 12, &[(2, "codex-b")]),
            credential("claude", 33, &[(4, "claude-eu"), (9, "claude-us")]),
            credential("gemini", 41, &[(5, "gemini-pro")]),
            credential("baidu", 5, &[(3, "文心一言")]),
        ],
        notifiers: vec![notifier("wechat", 14), notifier("mail", 14)],
        events: status::events(language, events.iter()),
        ..empty(language)
    }
}

/// So many healthy credentials, one channel each.
pub fn crowd(count: usize, language: Language) -> Status {
    let one = |nth: usize| {
        let (id, name) = (i64::try_from(nth).unwrap(), format!("channel-{nth:04}"));
        credential(&format!("credential-{nth:04}"), nth as u64 % 44, &[(id, &name)])
    };
    Status { credentials: (1..=count).map(one).collect(), ..well(language) }
}
