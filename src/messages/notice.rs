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
    /// A notifier.
    pub notifier: fn(&str) -> String,
    /// After the title of the first matter, how many others there are.
    pub others: fn(usize) -> String,
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
    /// Title and body of a test.
    pub test: [&'static str; 2],
    /// What happened to the subject, after the fact; how long what is over had lasted.
    pub happened: fn(&str, Topic, Option<&str>) -> String,
    /// The subject of what happens to none of them.
    pub sidecar: &'static str,
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
    /// What the subjects are.
    pub kind: Kind,
    /// Why, for the first of them.
    pub reason: Option<&'a Reason>,
    /// When the first key dies: the moment, and how far away it is.
    pub dies: Option<(String, String)>,
    /// How long what is over lasted.
    pub lasted: Option<String>,
}

/// What events are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Credentials, or the sidecar itself.
    Credentials,
    Channels,
    Notifiers,
}

impl Kind {
    fn of(event: &Event) -> Self {
        match (&event.notifier, &event.channel) {
            (Some(_), _) => Self::Notifiers,
            (None, Some(_)) => Self::Channels,
            (None, None) => Self::Credentials,
        }
    }
}

/// One message about events; the title is that of the first.
///
/// Events of one topic share a section, and those with the same cause its sentence and its remedy.
pub fn notice(language: Language, events: &[Event], now: Timestamp) -> Notice {
    let phrases = phrases(language);
    let words = words(language);
    let matters = grouped(events.iter(), |event| (event.topic, Kind::of(event)));
    let titles: Vec<String> =
        matters.iter().map(|(_, group)| (phrases.title)(&headline(group, phrases, words, now))).collect();
    let Some(title) = titles.first() else {
        return Notice { title: String::new(), body: String::new(), urgent: false, events: Value::Null };
    };
    let mut paragraphs: Vec<String> = Vec::new();
    let mut left = SHOWN;
    for ((key, group), title) in matters.iter().zip(&titles) {
        if matters.len() > 1 {
            paragraphs.push(format!("■ {title}"));
        }
        paragraphs.extend((phrases.note)(key.0).map(str::to_owned));
        for (reason, group) in grouped(group.iter().copied(), |event| event.reason.as_ref()) {
            paragraphs.extend(paragraph(language, reason, &group, &mut left, phrases, now));
        }
    }
    if events.len() > SHOWN {
        paragraphs.push((phrases.more)(events.len() - SHOWN));
    }
    let others = if matters.len() > 1 { (phrases.others)(matters.len() - 1) } else { String::new() };
    Notice {
        title: format!("One-API · {title}{others}"),
        body: paragraphs.join("\n\n"),
        urgent: events.iter().any(|event| event.topic.needs_human()),
        events: events.iter().map(|event| for_programs(language, event)).collect(),
    }
}

/// One event in a line, as a log tells it: without its moment, its cause and what to do.
pub fn happened(language: Language, event: &Event) -> String {
    let phrases = phrases(language);
    let subject = name(event, phrases).unwrap_or_else(|| phrases.sidecar.to_owned());
    let lasted = event.since.map(|since| words(language).length(event.at.since(since)));
    (phrases.happened)(&subject, event.topic, lasted.as_deref())
}

/// What `notify test` sends.
pub fn test_notice(language: Language) -> Notice {
    let [title, body] = phrases(language).test;
    Notice { title: format!("One-API · {title}"), body: body.into(), urgent: false, events: json!([]) }
}

fn phrases(language: Language) -> &'static Phrases {
    match language {
        Language::English => &en::notice::PHRASES,
        Language::Chinese => &zh_cn::notice::PHRASES,
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
        "notifier": event.notifier,
        "cause": explained.as_ref().map(|message| &message.what),
        "remedy": explained.as_ref().map(|message| &message.remedy),
        "expires_at": event.expires_at.map(|at| at.to_string()),
        "failures": event.failures,
        "since": event.since.map(|at| at.to_string()),
    })
}

fn headline<'a>(events: &[&'a Event], phrases: &Phrases, words: &Words, now: Timestamp) -> Headline<'a> {
    let first = events[0];
    let mut subjects: Vec<String> = events.iter().filter_map(|event| name(event, phrases)).collect();
    subjects.dedup();
    let dies = events.iter().filter_map(|event| event.expires_at).min();
    let longest = events.iter().filter_map(|event| event.since.map(|since| event.at.since(since))).max();
    Headline {
        topic: first.topic,
        subjects,
        kind: Kind::of(first),
        reason: first.reason.as_ref(),
        dies: dies.map(|dies| (dies.local_short(now), words.from_now(dies, now))),
        lasted: longest.map(|length| words.length(length)),
    }
}

/// What an event is about, in a word: the notifier or the channel where there is one.
fn name(event: &Event, phrases: &Phrases) -> Option<String> {
    let notifier = event.notifier.as_deref().map(phrases.notifier);
    notifier.or_else(|| event.channel.as_ref().map(phrases.channel)).or_else(|| event.credential.clone())
}

/// Events by what they have in common, both in the order of their coming.
fn grouped<'a, K: PartialEq>(
    events: impl Iterator<Item = &'a Event>,
    key: impl Fn(&'a Event) -> K,
) -> Vec<(K, Vec<&'a Event>)> {
    let mut groups: Vec<(K, Vec<&Event>)> = Vec::new();
    for event in events {
        let key = key(event);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, group)) => group.push(event),
            None => groups.push((key, vec![event])),
        }
    }
    groups
}

/// The cause and the remedy of one reason, and its subjects with what is known of each; `left` counts down the
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
    let facts = |event: &&Event| facts(event, phrases, words(language), now);
    // Those of whom the same is known share a line.
    let mut subjects = Vec::new();
    for (facts, group) in grouped(shown.iter().copied(), |event| facts(&event)) {
        let names: Vec<String> = group.iter().map(|event| subject(event, phrases)).collect();
        subjects.extend([names.join(", "), facts]);
    }
    let mut explained = Vec::new();
    if let Some(reason) = reason.filter(|_| !shown.is_empty()) {
        let message = match shown {
            [only] => explain_only(language, reason, only),
            _ => explain(language, reason),
        };
        explained.push(format!("{}{}", phrases.cause, message.what));
        if group[0].topic != Topic::Recovered {
            explained.push(format!("{}{}", phrases.remedy, message.remedy));
        }
    }
    // Services cut long texts: what there is to do stands before a long list.
    let mut lines = if shown.len() > 1 { [explained, subjects] } else { [subjects, explained] }.concat();
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
    let notifier = event.notifier.as_deref().map(phrases.notifier);
    [event.credential.clone(), channel, notifier].into_iter().flatten().collect::<Vec<_>>().join(" → ")
}

fn facts(event: &Event, phrases: &Phrases, words: &Words, now: Timestamp) -> String {
    let mut facts = Vec::new();
    let since = event.since.unwrap_or(event.at);
    if event.topic == Topic::Recovered {
        facts.extend(event.since.map(|since| (phrases.lasted)(&words.length(event.at.since(since)))));
    }
    let ago = words.ago.replace("{}", &words.length(now.since(since)));
    facts.push((phrases.since)(&since.local_short(now), &ago));
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
    fn several_matters_make_one_message_with_the_first_in_the_title() {
        let channel = ChannelName { gateway: "default".into(), id: Some(1), name: "codex-a".into() };
        let events = [
            event(Topic::Halted, "openai"),
            event(Topic::Halted, "azure"),
            Event { channel: Some(channel), ..event(Topic::Undelivered, "openai") },
            event(Topic::Recovered, "baidu"),
        ];
        let [english, chinese] = both(&events);
        assert_eq!(english.title, "One-API · Act: openai and azure have stopped being refreshed · and 2 other matters");
        assert_eq!(chinese.title, "One-API · 请处理：openai 和 azure 已停止刷新 · 另有 2 件事");
        for notice in [english, chinese] {
            assert_eq!(notice.body.matches('■').count(), 3, "{}", notice.body);
            assert!(notice.urgent);
            let topics: Vec<&str> =
                notice.events.as_array().unwrap().iter().map(|event| event["topic"].as_str().unwrap()).collect();
            assert_eq!(topics, ["halted", "halted", "undelivered", "recovered"]);
        }
    }

    #[test]
    fn programs_get_what_the_text_says_and_nothing_else() {
        let now = Timestamp::from_seconds(NOW);
        let channel = ChannelName { gateway: "eu".into(), id: Some(7), name: "a".into() };
        let event = Event {
            channel: Some(channel),
            reason: Some(TokenReason::ServerError { status: 502 }.into()),
            expires_at: Some(now),
            failures: 4,
            ..event(Topic::Expiring, "openai")
        };
        let [english, _] = both(&[event]);
        let told = &english.events[0];
        let keys: Vec<&String> = told.as_object().unwrap().keys().collect();
        let expected =
            ["at", "cause", "channel", "credential", "expires_at", "failures", "notifier", "remedy", "since", "topic"];
        assert_eq!(keys, expected);
        assert_eq!((&told["at"], &told["failures"]), (&json!("2025-12-29T09:20:00Z"), &json!(4)));
        assert_eq!(told["channel"], json!({ "gateway": "eu", "id": 7, "name": "a" }));
        assert!(english.body.contains(told["cause"].as_str().unwrap()), "{told}");
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
