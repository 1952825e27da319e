//! Timelines: what happened when, and what each notifier gets when.

use super::*;
use crate::credential::event::ChannelName;
use crate::reason::{ConfigReason, VaultReason};

const START: i64 = 1_767_000_000;

/// `seconds` after the start.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(START) + Duration::from_secs(seconds)
}

fn event(seconds: u64, topic: Topic, credential: &str) -> Event {
    Event { credential: Some(credential.into()), ..Event::new(at(seconds), topic) }
}

fn of_channel(seconds: u64, topic: Topic, id: i64) -> Event {
    let channel = ChannelName { gateway: "default".into(), id: Some(id), name: format!("channel-{id}") };
    Event { channel: Some(channel), ..event(seconds, topic, "a") }
}

fn all() -> BTreeSet<Topic> {
    Topic::ALL.into_iter().filter(|topic| topic.in_default()).collect()
}

const PLENTY: Limits = Limits { per_minute: 1000, per_day: 100_000 };

/// A message as the tables write it: second, notifier, topic, subjects.
type Sent = (u64, String, Topic, Vec<String>);
/// The same where there is one notifier only.
type Row = (u64, Topic, Vec<String>);
/// What happens, until when, and what one notifier gets.
type Timeline = (&'static str, Vec<Event>, u64, Vec<Row>);

/// Runs events through a policy that is woken whenever it asks to be, as the agent does, until `end`.
struct Run {
    policy: Policy,
    messages: Vec<(u64, Outgoing)>,
}

impl Run {
    fn new() -> Self {
        Self { policy: Policy::default(), messages: Vec::new() }
    }

    /// Plays events, in order, up to a second; each restart in between loses nothing but memory.
    fn play(&mut self, events: &[Event], end: u64, recipients: &[Recipient<'_>]) {
        let mut events = events.iter().peekable();
        loop {
            let next_event = events.peek().map(|event| event.at);
            let wake = self.policy.wake();
            let Some(now) = next_event.into_iter().chain(wake).min().filter(|now| *now <= at(end)) else { break };
            if next_event == Some(now) {
                self.policy.tell(events.next().unwrap());
            }
            if wake == Some(now) {
                let due = self.policy.due(now, recipients);
                let second = now.since(at(0)).as_secs();
                self.messages.extend(due.into_iter().map(|outgoing| (second, outgoing)));
                assert!(self.policy.wake().is_none_or(|wake| wake > now), "asks to be woken again at once");
            }
            let stored = serde_json::to_string(&self.policy).unwrap();
            assert_eq!(serde_json::from_str::<Policy>(&stored).unwrap(), self.policy);
        }
        assert!(events.next().is_none(), "the timeline ends before its events");
    }

    fn sent(&self) -> Vec<Sent> {
        let row = |(second, outgoing): &(u64, Outgoing)| {
            let subjects = outgoing.events.iter().map(|event| match (&event.channel, &event.credential) {
                (Some(channel), _) => channel.name.clone(),
                (None, credential) => credential.clone().unwrap_or_default(),
            });
            (*second, outgoing.notifier.clone(), outgoing.events[0].topic, subjects.collect())
        };
        self.messages.iter().map(row).collect()
    }
}

/// What one notifier that takes the default events gets.
fn one(events: &[Event], end: u64) -> Vec<Row> {
    let topics = all();
    let mut run = Run::new();
    run.play(events, end, &[Recipient { name: "wechat", events: &topics, limits: PLENTY }]);
    run.sent().into_iter().map(|(second, _, topic, subjects)| (second, topic, subjects)).collect()
}

fn row(second: u64, topic: Topic, subjects: &[&str]) -> Row {
    (second, topic, subjects.iter().map(|subject| (*subject).to_owned()).collect())
}

#[test]
fn timelines() {
    use Topic::*;
    let cases: Vec<Timeline> = vec![
        ("nothing happens", vec![], 100_000, vec![]),
        (
            "a refresh and a start are nobody's business by default",
            vec![event(0, Started, "a"), event(1, Refreshed, "a"), event(2, Reenabled, "a")],
            1000,
            vec![],
        ),
        (
            "a trouble is told once, however often it is heard of",
            vec![event(0, Failing, "a"), event(60, Failing, "a"), event(600, Failing, "a")],
            100_000,
            vec![row(2, Failing, &["a"])],
        ),
        (
            "its end is told once",
            vec![event(0, Failing, "a"), event(60, Recovered, "a"), event(61, Recovered, "a")],
            100_000,
            vec![row(2, Failing, &["a"]), row(62, Recovered, &["a"])],
        ),
        (
            "what is over before it was told is never told",
            vec![event(0, Failing, "a"), event(1, Recovered, "a")],
            100_000,
            vec![],
        ),
        ("a recovery of nothing says nothing", vec![event(0, Recovered, "a")], 100_000, vec![]),
        (
            "several together make one message, another later its own",
            vec![event(0, Failing, "a"), event(1, Failing, "b"), event(1, Failing, "c"), event(3, Failing, "d")],
            1000,
            vec![row(2, Failing, &["a", "b", "c"]), row(5, Failing, &["d"])],
        ),
        (
            "several recover together",
            vec![event(0, Failing, "a"), event(0, Failing, "b"), event(9, Recovered, "a"), event(10, Recovered, "b")],
            1000,
            vec![row(2, Failing, &["a", "b"]), row(11, Recovered, &["a", "b"])],
        ),
        (
            "getting worse is told, getting a little better again is not",
            vec![
                event(0, Failing, "a"),
                event(100, Expiring, "a"),
                event(200, Failing, "a"),
                event(300, Expired, "a"),
                event(400, Expiring, "a"),
                event(500, Recovered, "a"),
            ],
            1000,
            vec![
                row(2, Failing, &["a"]),
                row(102, Expiring, &["a"]),
                row(302, Expired, &["a"]),
                row(502, Recovered, &["a"]),
            ],
        ),
        (
            "what needs a human is brought to mind after 1 h, 6 h, and daily",
            vec![event(0, Halted, "a")],
            200_000,
            vec![
                row(2, Halted, &["a"]),
                row(3600, Halted, &["a"]),
                row(21_600, Halted, &["a"]),
                row(86_400, Halted, &["a"]),
                row(172_800, Halted, &["a"]),
            ],
        ),
        (
            "reminders start over when it gets worse, and end with the trouble",
            vec![event(0, Expiring, "a"), event(3000, Expired, "a"), event(7000, Recovered, "a")],
            100_000,
            vec![
                row(2, Expiring, &["a"]),
                row(3002, Expired, &["a"]),
                row(6600, Expired, &["a"]),
                row(7002, Recovered, &["a"]),
            ],
        ),
        (
            "reminders that would come close together come together",
            vec![event(0, Halted, "a"), event(900, Halted, "b")],
            25_000,
            vec![
                row(2, Halted, &["a"]),
                row(902, Halted, &["b"]),
                row(3600, Halted, &["a", "b"]),
                row(21_600, Halted, &["a", "b"]),
            ],
        ),
        (
            "a channel's trouble is its own, beside its credential's and the other channels'",
            vec![
                of_channel(0, Undelivered, 1),
                of_channel(0, Undelivered, 2),
                event(0, Failing, "a"),
                event(50, Recovered, "a"),
                of_channel(100, Recovered, 2),
            ],
            1000,
            vec![
                row(2, Failing, &["a"]),
                row(2, Undelivered, &["channel-1", "channel-2"]),
                row(52, Recovered, &["a"]),
                row(102, Recovered, &["channel-2"]),
            ],
        ),
        (
            "a trouble that begins again is told again",
            vec![event(0, Failing, "a"), event(10, Recovered, "a"), event(20, Failing, "a")],
            1000,
            vec![row(2, Failing, &["a"]), row(12, Recovered, &["a"]), row(22, Failing, &["a"])],
        ),
        (
            "an end that was not told yet is not told when it begins again",
            vec![event(0, Failing, "a"), event(10, Recovered, "a"), event(11, Failing, "a"), event(90, Recovered, "a")],
            1000,
            vec![row(2, Failing, &["a"]), row(13, Failing, &["a"]), row(92, Recovered, &["a"])],
        ),
    ];
    for (name, events, end, expected) in cases {
        assert_eq!(one(&events, end), expected, "{name}");
    }
}

#[test]
fn a_recovery_tells_how_long_everything_lasted() {
    let events = [event(0, Topic::Failing, "a"), event(500, Topic::Expired, "a"), event(900, Topic::Recovered, "a")];
    let topics = all();
    let mut run = Run::new();
    run.play(&events, 1000, &[Recipient { name: "wechat", events: &topics, limits: PLENTY }]);
    let (_, last) = run.messages.last().unwrap();
    assert_eq!(last.events[0].since, Some(at(0)));
    let (_, expired) = &run.messages[1];
    assert_eq!((expired.events[0].topic, expired.events[0].since), (Topic::Expired, Some(at(0))));
}

#[test]
fn reminders_carry_the_latest_news() {
    let topics = all();
    let mut run = Run::new();
    let later = Event { failures: 9, ..event(3000, Topic::Expired, "a") };
    let events = [event(0, Topic::Expired, "a"), later];
    run.play(&events, 4000, &[Recipient { name: "wechat", events: &topics, limits: PLENTY }]);
    assert_eq!(run.messages[1].1.events[0].failures, 9);
}

#[test]
fn what_has_no_subject_recovers_by_its_room() {
    let vault = Reason::from(VaultReason::Full { path: "v".into() });
    let config = Reason::from(ConfigReason::BadDuration);
    let bare =
        |seconds, topic, reason: &Reason| Event { reason: Some(reason.clone()), ..Event::new(at(seconds), topic) };
    let events = [
        bare(0, Topic::VaultTrouble, &vault),
        bare(0, Topic::ConfigRejected, &config),
        bare(10, Topic::Recovered, &config),
    ];
    let sent = one(&events, 4000);
    let topics: Vec<(u64, Topic)> = sent.iter().map(|(second, topic, _)| (*second, *topic)).collect();
    let (vault, config, recovered) = (Topic::VaultTrouble, Topic::ConfigRejected, Topic::Recovered);
    assert_eq!(topics, [(2, vault), (2, config), (12, recovered), (3600, vault)]);
}

#[test]
fn each_notifier_hears_what_it_chose_and_ends_of_what_it_heard() {
    let (everything, only_halted) = (all(), BTreeSet::from([Topic::Halted, Topic::Recovered]));
    let recipients = [
        Recipient { name: "all", events: &everything, limits: PLENTY },
        Recipient { name: "few", events: &only_halted, limits: PLENTY },
    ];
    let mut run = Run::new();
    let events = [
        event(0, Topic::Failing, "a"),
        event(0, Topic::Failing, "b"),
        event(100, Topic::Halted, "b"),
        event(200, Topic::Recovered, "a"),
        event(300, Topic::Recovered, "b"),
    ];
    run.play(&events, 1000, &recipients);
    let few: Vec<Sent> = run.sent().into_iter().filter(|(_, name, ..)| name == "few").collect();
    let row = |second, topic| (second, "few".to_owned(), topic, vec!["b".to_owned()]);
    assert_eq!(few, [row(102, Topic::Halted), row(302, Topic::Recovered)]);
    assert_eq!(run.sent().len(), 4 + 2);
}

#[test]
fn the_limits_of_a_service_hold_messages_back_and_merge_them() {
    let limits = Limits { per_minute: 2, per_day: 5 };
    let topics = all();
    let recipients = [Recipient { name: "wechat", events: &topics, limits }];
    let mut run = Run::new();
    let events: Vec<Event> = (0..10).map(|n| event(n * 5, Topic::Failing, &format!("c{n}"))).collect();
    run.play(&events, 3600, &recipients);
    let counts: Vec<(u64, usize)> = run.sent().iter().map(|(second, .., subjects)| (*second, subjects.len())).collect();
    assert_eq!(counts, [(2, 1), (7, 1), (62, 8)], "the third waits for the minute to pass, and takes the rest along");

    let mut run = Run::new();
    let events: Vec<Event> = (0..20).map(|n| event(n * 600, Topic::Failing, &format!("c{n}"))).collect();
    run.play(&events, 86_402, &recipients);
    let seconds: Vec<u64> = run.sent().iter().map(|(second, ..)| *second).collect();
    assert_eq!(seconds, [2, 602, 1202, 1802, 2402, 86_402], "the sixth of the day waits for the next");
    assert_eq!(run.messages[5].1.events.len(), 15);
}

#[test]
fn what_was_held_back_and_is_over_is_not_told() {
    let limits = Limits { per_minute: 1, per_day: 5 };
    let topics = all();
    let mut run = Run::new();
    let events = [event(0, Topic::Failing, "a"), event(5, Topic::Failing, "b"), event(30, Topic::Recovered, "b")];
    run.play(&events, 3600, &[Recipient { name: "wechat", events: &topics, limits }]);
    assert_eq!(run.sent().len(), 1);
}

#[test]
fn a_restart_repeats_nothing_and_forgets_nothing() {
    let topics = all();
    let recipients = [Recipient { name: "wechat", events: &topics, limits: PLENTY }];
    let mut run = Run::new();
    run.play(&[event(0, Topic::Halted, "a"), event(1, Topic::Failing, "b")], 2, &recipients);
    let stored = serde_json::to_string(&run.policy).unwrap();
    let mut after = Run { policy: serde_json::from_str(&stored).unwrap(), messages: Vec::new() };
    // The agent starts and finds both as they were.
    after.play(&[event(50, Topic::Halted, "a"), event(50, Topic::Failing, "b")], 3599, &recipients);
    assert_eq!(after.sent(), [(3, "wechat".into(), Topic::Failing, vec!["b".into()])]);
}

#[test]
fn a_removed_notifier_is_forgotten_and_none_is_no_trouble() {
    let topics = all();
    let mut run = Run::new();
    run.play(&[event(0, Topic::Halted, "a")], 100, &[Recipient { name: "old", events: &topics, limits: PLENTY }]);
    run.play(&[event(200, Topic::Halted, "b")], 300, &[]);
    assert!(run.policy.outboxes.is_empty());
    assert_eq!(run.messages.len(), 1);
}

#[test]
fn a_clock_set_back_does_not_silence_it() {
    let topics = all();
    let recipients = [Recipient { name: "wechat", events: &topics, limits: Limits { per_minute: 1, per_day: 1 } }];
    let mut policy = Policy::default();
    policy.tell(&event(1_000_000, Topic::Halted, "a"));
    assert_eq!(policy.due(at(1_000_002), &recipients).len(), 1);
    policy.tell(&event(0, Topic::Halted, "b"));
    assert_eq!(policy.due(at(2), &recipients).len(), 1);
}

/// A provider that is down for five hours at night, thirty credentials whose tokens live for an hour: printed, so
/// that a change of the rules shows.
#[test]
fn a_bad_night() {
    let topics = all();
    let recipients = [Recipient { name: "wechat", events: &topics, limits: Limits { per_minute: 5, per_day: 200 } }];
    let mut events = Vec::new();
    for n in 0..30_u64 {
        let name = format!("c{n}");
        let start = n; // one failing provider: all notice within half a minute
        events.push(event(start, Topic::Failing, &name));
        events.push(event(1800 + start, Topic::Expiring, &name));
        events.push(event(3600 + start, Topic::Expired, &name));
        events.push(event(18_000 + start, Topic::Recovered, &name));
    }
    events.sort_by_key(|event| event.at);
    let mut run = Run::new();
    run.play(&events, 86_400, &recipients);
    for (second, _, topic, subjects) in run.sent() {
        println!("{second:>6} s {:10} {} credentials", topic.as_str(), subjects.len());
    }
    assert!(run.messages.len() < 30, "{}", run.messages.len());
}
