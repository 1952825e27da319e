//! From events to a message: a title that says what to do; a body that says to what, since when, why, and how.

use serde_json::{Value, json};

use super::{About, Message, Words, en, explain, explain_about, words, zh_cn};
use crate::credential::event::{ChannelName, Event, Topic};
use crate::notify::services::Notice;
use crate::reason::{Language, Reason};
use crate::time::Timestamp;

/// Subjects that are written out in one message; the rest is counted.
const SHOWN: usize = 20;

/// What a language needs to say about events.
pub(super) struct Phrases {
    /// The title, without the product's name.
    pub title: fn(&Headline<'_>) -> String,
    /// What the sidecar does about a topic by itself, where that is reassuring to know.
    pub note: fn(Topic) -> Option<&'static str>,
    /// A channel, as in "channel 1 (codex-a)"; the gateway's name where it is not the only one.
    pub channel: fn(&ChannelName) -> String,
    /// Patterns: since when and how long that is.
    pub since: fn(&str, &str) -> String,
    /// When the key dies, and how far away that is; whether it has died already.
    pub dies: fn(&str, &str, bool) -> String,
    /// Failures in a row.
    pub failures: fn(u32) -> String,
    /// How long what is over lasted.
    pub lasted: fn(&str) -> String,
    /// How many subjects are not written out.
    pub more: fn(usize) -> String,
    /// Before the cause.
    pub cause: &'static str,
    /// Before the remedy.
    pub remedy: &'static str,
}

/// What a title is made of.
pub(super) struct Headline<'a> {
    /// What happened.
    pub topic: Topic,
    /// To what: credentials or channels in words, in the order of the events.
    pub subjects: Vec<String>,
    /// Whether the subjects are channels.
    pub channels: bool,
    /// Why, for the first of them.
    pub reason: Option<&'a Reason>,
    /// When the first key dies: the moment, and how far away it is.
    pub dies: Option<(String, String)>,
    /// How long what is over lasted.
    pub lasted: Option<String>,
}

/// One message about events of one topic.
///
/// Events with the same cause share its sentence and its remedy.
pub fn notice(language: Language, events: &[Event], now: Timestamp) -> Notice {
    let phrases = match language {
        Language::English => &en::notice::PHRASES,
        Language::Chinese => &zh_cn::notice::PHRASES,
    };
    let words = words(language);
    let Some(first) = events.first() else {
        return Notice { title: String::new(), body: String::new(), urgent: false, events: Value::Null };
    };
    let title = (phrases.title)(&headline(events, phrases, words, now));
    let mut paragraphs: Vec<String> = (phrases.note)(first.topic).map(str::to_owned).into_iter().collect();
    let mut left = SHOWN;
    for (reason, group) in by_reason(events) {
        paragraphs.extend(paragraph(language, reason, &group, &mut left, phrases, now));
    }
    if events.len() > SHOWN {
        paragraphs.push((phrases.more)(events.len() - SHOWN));
    }
    Notice {
        title: format!("One-API · {title}"),
        body: paragraphs.join("\n\n"),
        urgent: first.topic.needs_human(),
        events: events.iter().map(|event| for_programs(language, event)).collect(),
    }
}

/// An event for programs: nothing but what the text says too, and times in RFC 3339.
fn for_programs(language: Language, event: &Event) -> Value {
    let explained = event.reason.as_ref().map(|reason| explain_only(language, reason, event));
    json!({
        "topic": event.topic.as_str(),
        "at": event.at.to_string(),
        "credential": event.credential,
        "channel": event.channel,
        "cause": explained.as_ref().map(|message| &message.what),
        "remedy": explained.as_ref().map(|message| &message.remedy),
        "expires_at": event.expires_at.map(|at| at.to_string()),
        "failures": event.failures,
        "since": event.since.map(|at| at.to_string()),
    })
}

fn headline<'a>(events: &'a [Event], phrases: &Phrases, words: &Words, now: Timestamp) -> Headline<'a> {
    let first = &events[0];
    let mut subjects: Vec<String> = events.iter().filter_map(|event| name(event, phrases)).collect();
    subjects.dedup();
    let dies = events.iter().filter_map(|event| event.expires_at).min();
    let longest = events.iter().filter_map(|event| event.since.map(|since| event.at.since(since))).max();
    Headline {
        topic: first.topic,
        subjects,
        channels: first.channel.is_some(),
        reason: first.reason.as_ref(),
        dies: dies.map(|dies| (dies.local_short(now), words.from_now(dies, now))),
        lasted: longest.map(|length| words.length(length)),
    }
}

/// What an event is about, in a word: the channel where there is one.
fn name(event: &Event, phrases: &Phrases) -> Option<String> {
    event.channel.as_ref().map(phrases.channel).or_else(|| event.credential.clone())
}

/// The events of each reason, both in the order of their coming.
fn by_reason(events: &[Event]) -> Vec<(Option<&Reason>, Vec<&Event>)> {
    let mut groups: Vec<(Option<&Reason>, Vec<&Event>)> = Vec::new();
    for event in events {
        match groups.iter_mut().find(|(reason, _)| *reason == event.reason.as_ref()) {
            Some((_, group)) => group.push(event),
            None => groups.push((event.reason.as_ref(), vec![event])),
        }
    }
    groups
}

/// The subjects of one reason with what is known of each, then the cause and the remedy; `left` counts down the
/// subjects that are still written out.
fn paragraph(
    language: Language,
    reason: Option<&Reason>,
    group: &[&Event],
    left: &mut usize,
    phrases: &Phrases,
    now: Timestamp,
) -> Option<String> {
    let shown = &group[..group.len().min(*left)];
    *left -= shown.len();
    let mut lines: Vec<String> =
        shown.iter().flat_map(|event| [subject(event, phrases), facts(event, phrases, words(language), now)]).collect();
    if let Some(reason) = reason.filter(|_| !shown.is_empty()) {
        let message = match shown {
            [only] => explain_only(language, reason, only),
            _ => explain(language, reason),
        };
        lines.push(format!("{}{}", phrases.cause, message.what));
        if group[0].topic != Topic::Recovered {
            lines.push(format!("{}{}", phrases.remedy, message.remedy));
        }
    }
    lines.retain(|line| !line.is_empty());
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// A reason whose remedy can name what the one event is about.
fn explain_only(language: Language, reason: &Reason, event: &Event) -> Message {
    let mut about = About::default();
    if let Some(credential) = &event.credential {
        about.credential = credential;
    }
    let channel = event.channel.as_ref().map(ChannelName::address);
    if let Some(channel) = &channel {
        about.channel = channel;
    }
    explain_about(language, reason, about)
}

fn subject(event: &Event, phrases: &Phrases) -> String {
    let channel = event.channel.as_ref().map(phrases.channel);
    [event.credential.clone(), channel].into_iter().flatten().collect::<Vec<_>>().join(" → ")
}

fn facts(event: &Event, phrases: &Phrases, words: &Words, now: Timestamp) -> String {
    let mut facts = Vec::new();
    let since = event.since.unwrap_or(event.at);
    if event.topic == Topic::Recovered {
        facts.extend(event.since.map(|since| (phrases.lasted)(&words.length(event.at.since(since)))));
    }
    facts.push((phrases.since)(&since.local_short(now), &words.from_now(since, now)));
    if let Some(dies) = event.expires_at {
        facts.push((phrases.dies)(&dies.local_short(now), &words.from_now(dies, now), dies <= now));
    }
    if event.failures > 0 {
        facts.push((phrases.failures)(event.failures));
    }
    facts.join(" · ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::plan::DEFAULT_GATEWAY;
    use crate::messages::samples;
    use crate::reason::{ChannelReason, TokenReason};

    const NOW: i64 = 1_767_000_000;

    fn event(topic: Topic, credential: &str) -> Event {
        let now = Timestamp::from_seconds(NOW);
        Event { credential: Some(credential.into()), ..Event::new(now, topic) }
    }

    fn both(events: &[Event]) -> [Notice; 2] {
        let now = Timestamp::from_seconds(NOW);
        [Language::English, Language::Chinese].map(|language| notice(language, events, now))
    }

    #[test]
    fn an_expiring_key_says_when_it_dies_why_and_what_to_do() {
        let now = Timestamp::from_seconds(NOW);
        let dies = now + Duration::from_secs(25 * 60);
        let channel = ChannelName { gateway: "default".into(), id: Some(1), name: "codex-a".into() };
        let event = Event {
            channel: Some(channel),
            reason: Some(TokenReason::ServerError { status: 502 }.into()),
            expires_at: Some(dies),
            failures: 4,
            since: Some(now - Duration::from_secs(3600)),
            ..event(Topic::Expiring, "openai")
        };
        let [english, chinese] = both(&[event]);
        let clock = dies.local_short(now);
        assert!(english.title.contains(&clock) && english.title.contains("in 25 min"), "{}", english.title);
        for part in ["openai", "channel 1 (codex-a)", &clock, "in 25 min", "1 h ago", "4 failures", "HTTP 502", "Do: "]
        {
            assert!(english.body.contains(part), "{part} in {}", english.body);
        }
        for part in ["openai", "渠道 1（codex-a）", &clock, "25 分钟后", "1 小时前", "HTTP 502", "处理："]
        {
            assert!(chinese.body.contains(part), "{part} in {}", chinese.body);
        }
        assert!(english.urgent && chinese.urgent);
    }

    #[test]
    fn several_credentials_with_one_cause_share_one_explanation() {
        let reason = || Some(TokenReason::Busy { status: 503, until: None }.into());
        let events: Vec<Event> = (0..30)
            .map(|n| Event { reason: reason(), failures: 3, ..event(Topic::Failing, &format!("credential-{n}")) })
            .collect();
        let [english, chinese] = both(&events);
        assert!(english.title.contains("30 credentials"), "{}", english.title);
        assert!(chinese.title.contains("30 个凭据"), "{}", chinese.title);
        assert_eq!(english.body.matches("HTTP 503").count(), 1);
        assert!(english.body.contains("credential-19") && !english.body.contains("credential-20"));
        assert!(english.body.contains("and 10 more"), "{}", english.body);
    }

    #[test]
    fn a_recovery_says_how_long_it_lasted() {
        let since = Timestamp::from_seconds(NOW) - Duration::from_secs(7500);
        let [english, chinese] = both(&[Event { since: Some(since), ..event(Topic::Recovered, "openai") }]);
        assert!(english.title.contains("2 h 5 min"), "{}", english.title);
        assert!(chinese.title.contains("2 小时 5 分钟"), "{}", chinese.title);
        assert!(!english.urgent);
    }

    #[test]
    fn the_remedy_names_the_credential_or_the_channel() {
        for (gateway, command) in [(DEFAULT_GATEWAY, "one-api-sidecar adopt 7`"), ("eu", "one-api-sidecar adopt eu/7`")]
        {
            let channel = Some(ChannelName { gateway: gateway.into(), id: Some(7), name: "a".into() });
            let reason = Some(ChannelReason::Foreign.into());
            for notice in both(&[Event { channel, reason, ..event(Topic::ForeignKey, "openai") }]) {
                assert!(notice.body.contains(command), "{}", notice.body);
            }
        }
        let reason = Some(TokenReason::Revoked { code: "invalid_grant".into() }.into());
        for notice in both(&[Event { reason, ..event(Topic::Halted, "openai") }]) {
            assert!(notice.body.contains("one-api-sidecar login openai"), "{}", notice.body);
        }
    }

    #[test]
    fn every_topic_has_a_title_in_both_languages() {
        let now = Timestamp::from_seconds(NOW);
        for topic in Topic::ALL {
            let channel = Some(ChannelName { gateway: "eu".into(), id: Some(7), name: "b".into() });
            let bare = Event::new(now, topic);
            let of_channel = Event { channel, ..event(topic, "openai") };
            let several = [event(topic, "a"), event(topic, "b"), event(topic, "c")];
            for events in [&[bare][..], &[of_channel][..], &[event(topic, "a")][..], &several[..]] {
                let [english, chinese] = both(events);
                assert_ne!(english.title, chinese.title, "{topic:?}");
                for notice in [english, chinese] {
                    assert!(notice.title.chars().count() > 12, "{topic:?}: {}", notice.title);
                    assert!(notice.title.chars().count() <= 100, "{topic:?}: {}", notice.title);
                }
            }
        }
    }

    #[test]
    fn every_reason_can_be_told() {
        for reason in samples::reasons() {
            let event = Event { reason: Some(reason.clone()), ..event(Topic::Halted, "openai") };
            let [english, chinese] = both(&[event]);
            let about = About { credential: "openai", ..About::default() };
            assert!(english.body.contains(&explain_about(Language::English, &reason, about).remedy));
            assert!(chinese.body.contains(&explain_about(Language::Chinese, &reason, about).remedy));
        }
    }
}
