//! Every notice in both languages, as people get it. Reviewed as a whole whenever a word changes:
//! `INSTA_UPDATE=always cargo test --test notices`, then read the difference.

use std::fmt::Write;
use std::time::Duration;

use one_api_sidecar::credential::event::{ChannelName, Event, Topic};
use one_api_sidecar::messages;
use one_api_sidecar::reason::{
    ChannelReason, ConfigReason, GatewayReason, Language, NotifierReason, Reason, TokenReason, VaultReason,
};
use one_api_sidecar::time::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);

fn now() -> Timestamp {
    Timestamp::from_seconds(1_767_000_000)
}

fn of(topic: Topic, credential: &str, reason: impl Into<Reason>) -> Event {
    Event { credential: Some(credential.into()), reason: Some(reason.into()), ..Event::new(now(), topic) }
}

fn channel(event: Event) -> Event {
    let channel = ChannelName { gateway: "default".into(), id: Some(1), name: "codex-a".into() };
    Event { channel: Some(channel), ..event }
}

fn bare(topic: Topic, reason: impl Into<Reason>) -> Event {
    Event { reason: Some(reason.into()), ..Event::new(now(), topic) }
}

/// A typical event of every topic.
fn typical(topic: Topic) -> Event {
    let server_error = TokenReason::ServerError { status: 502 };
    let path = || "/data/one-api.db".to_owned();
    match topic {
        Topic::Halted => of(topic, "openai", TokenReason::Revoked { code: "invalid_grant".into() }),
        Topic::Uncertain => Event {
            expires_at: Some(now() + 40 * MINUTE),
            failures: 1,
            ..of(
                topic,
                "openai",
                TokenReason::AnswerLost { host: "auth.example.com".into(), error: "timed out".into() },
            )
        },
        Topic::Expiring => Event {
            expires_at: Some(now() + 25 * MINUTE),
            failures: 4,
            since: Some(now() - 12 * MINUTE),
            ..of(topic, "openai", server_error)
        },
        Topic::Expired => Event {
            expires_at: Some(now() - MINUTE),
            failures: 9,
            since: Some(now() - 40 * MINUTE),
            ..of(topic, "openai", server_error)
        },
        Topic::Failing => Event {
            expires_at: Some(now() + 50 * MINUTE),
            failures: 3,
            ..of(topic, "openai", TokenReason::Busy { status: 503, until: None })
        },
        Topic::Undelivered => channel(of(topic, "openai", GatewayReason::Busy { waited_ms: 5000 })),
        Topic::ForeignKey => channel(of(topic, "openai", ChannelReason::Foreign)),
        Topic::ChannelMissing => channel(of(topic, "openai", ChannelReason::Missing)),
        Topic::Flapping => channel(of(topic, "openai", ChannelReason::Flapping)),
        Topic::VaultTrouble => bare(topic, VaultReason::Full { path: "/data/one-api-sidecar/vault.db".into() }),
        Topic::ConfigRejected => bare(topic, ConfigReason::MissingField { field: "token_url".into() }),
        Topic::UnusedDatabase => bare(topic, GatewayReason::Unused { path: path() }),
        Topic::NotifierTrouble => {
            let refused =
                NotifierReason::Refused { status: 200, code: Some("903".into()), words: Some("bad token".into()) };
            Event { notifier: Some("wechat".into()), ..bare(topic, refused) }
        }
        Topic::Recovered => Event {
            credential: Some("openai".into()),
            since: Some(now() - 125 * MINUTE),
            expires_at: Some(now() + 60 * MINUTE),
            ..Event::new(now(), topic)
        },
        Topic::Reenabled => channel(Event { credential: Some("openai".into()), ..Event::new(now(), topic) }),
        Topic::Refreshed => Event {
            credential: Some("openai".into()),
            expires_at: Some(now() + 60 * MINUTE),
            ..Event::new(now(), topic)
        },
        Topic::Started => Event::new(now(), topic),
    }
}

/// The message as text; clocks, which depend on the machine's time zone, by their distance.
fn shown(language: Language, events: &[Event]) -> String {
    let notice = messages::notice(language, events, now());
    let mut text = format!("# {}{}\n{}\n", notice.title, if notice.urgent { "  (urgent)" } else { "" }, notice.body);
    for event in events {
        for moment in [Some(event.at), event.expires_at, event.since].into_iter().flatten() {
            let minutes = (moment.as_seconds() - now().as_seconds()) / 60;
            text = text.replace(&moment.local_short(now()), &format!("[{minutes:+} min]"));
        }
    }
    text
}

fn all(language: Language) -> String {
    let mut out = String::new();
    for topic in Topic::ALL {
        let _ = writeln!(out, "{}", shown(language, &[typical(topic)]));
    }
    let several: Vec<Event> =
        (0..30).map(|n| Event { credential: Some(format!("credential-{n}")), ..typical(Topic::Expiring) }).collect();
    let _ = writeln!(out, "{}", shown(language, &several));
    let digest: Vec<Event> =
        [Topic::Halted, Topic::Expired, Topic::Undelivered, Topic::NotifierTrouble, Topic::Recovered]
            .map(typical)
            .to_vec();
    let _ = writeln!(out, "{}", shown(language, &digest));
    let test = messages::test_notice(language);
    let _ = writeln!(out, "# {}\n{}", test.title, test.body);
    out
}

#[test]
fn english() {
    insta::assert_snapshot!(all(Language::English));
}

#[test]
fn chinese() {
    insta::assert_snapshot!(all(Language::Chinese));
}
