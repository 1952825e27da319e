//! Timelines: what happened when, and what each notifier gets when.

use super::*;
use crate::credential::event::ChannelName;
use crate::reason::{ConfigReason, NotifierReason, VaultReason};

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

    /// Plays events, in order, up to a second; after each there is a restart, which loses nothing but memory.
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
                for outgoing in due {
                    assert_eq!(self.policy.settled(&outgoing.notifier, &Ok(()), now), None);
                    self.messages.push((now.since(at(0)).as_secs(), outgoing));
                }
                assert!(self.policy.wake().is_none_or(|wake| wake > now), "asks to be woken again at once");
            }
            let stored = serde_json::to_string(&self.policy).unwrap();
            let restarted = serde_json::from_str::<Policy>(&stored).unwrap().resumed();
            assert_eq!(restarted, self.policy);
            self.policy = restarted;
        }
        assert!(events.next().is_none(), "the timeline ends before its events");
    }

    /// What was sent, a row for each topic of a message.
    fn sent(&self) -> Vec<Sent> {
        let subject = |event: &Event| match (&event.channel, &event.credential) {
            (Some(channel), _) => channel.name.clone(),
            (None, credential) => credential.clone().unwrap_or_default(),
        };
        let rows = |(second, outgoing): &(u64, Outgoing)| {
            let topics = outgoing.events.chunk_by(|one, other| one.topic == other.topic);
            let row = |events: &[Event]| {
                (*second, outgoing.notifier.clone(), events[0].topic, events.iter().map(subject).collect())
            };
            topics.map(row).collect::<Vec<Sent>>()
        };
        self.messages.iter().flat_map(rows).collect()
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
            vec![row(2, Failing, &["a", "b", "c"]), row(603, Failing, &["d"])],
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
                row(650, Recovered, &["a", "channel-2"]),
            ],
        ),
        (
            "a trouble that begins again is told again, and not at once if it is no more than that",
            vec![
                event(0, Failing, "a"),
                event(10, Recovered, "a"),
                event(20, Failing, "a"),
                event(30, Expiring, "a"),
                event(1000, Recovered, "a"),
                event(9000, Failing, "a"),
            ],
            10_000,
            vec![
                row(2, Failing, &["a"]),
                row(12, Recovered, &["a"]),
                row(32, Expiring, &["a"]),
                row(1002, Recovered, &["a"]),
                row(9002, Failing, &["a"]),
            ],
        ),
        (
            "an end that was not told yet is not told when it begins again, nor is the new beginning once it is over",
            vec![event(0, Failing, "a"), event(10, Recovered, "a"), event(11, Failing, "a"), event(90, Recovered, "a")],
            1000,
            vec![row(2, Failing, &["a"]), row(92, Recovered, &["a"])],
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
fn the_limits_of_a_service_hold_messages_back_and_make_one_of_them() {
    use Topic::*;
    let topics = all();
    let recipients = [Recipient { name: "wechat", events: &topics, limits: Limits { per_minute: 2, per_day: 5 } }];
    let kinds = [Halted, ForeignKey, ChannelMissing, Flapping, VaultTrouble, ConfigRejected, UnusedDatabase];
    let every = |seconds: u64| -> Vec<Event> {
        (0..).zip(kinds).map(|(n, topic)| event(n * seconds, topic, &format!("c{n}"))).collect()
    };
    let counts = |run: &Run| -> Vec<(u64, usize)> {
        run.messages.iter().map(|(second, outgoing)| (*second, outgoing.events.len())).collect()
    };
    let mut run = Run::new();
    run.play(&every(5), 3599, &recipients);
    assert_eq!(
        counts(&run),
        [(2, 1), (7, 1), (62, 5)],
        "the third waits for the minute to pass, and takes the rest along"
    );

    let mut run = Run::new();
    run.play(&every(600), 86_402, &recipients);
    let seconds: Vec<u64> = counts(&run).iter().map(|(second, _)| *second).collect();
    assert_eq!(seconds, [2, 602, 1202, 1802, 2402, 86_402], "the sixth of the day waits for the next");
    assert_eq!(run.messages[5].1.events.len(), 7, "with the two that are new and the reminders");
}

#[test]
fn the_last_messages_of_a_day_are_kept_for_what_needs_a_human() {
    let topics = all();
    let recipients = [Recipient { name: "wechat", events: &topics, limits: Limits { per_minute: 2, per_day: 5 } }];
    let mut events: Vec<Event> = (0..6).map(|n| event(n * 10_000, Topic::Uncertain, &format!("c{n}"))).collect();
    events.push(event(55_000, Topic::Halted, "h"));
    let mut run = Run::new();
    run.play(&events, 58_000, &recipients);
    let seconds: Vec<(u64, usize)> =
        run.messages.iter().map(|(second, outgoing)| (*second, outgoing.events.len())).collect();
    assert_eq!(seconds, [(2, 1), (10_002, 1), (20_002, 1), (30_002, 1), (55_002, 3)]);
    assert_eq!(run.messages[4].1.events[0].topic, Topic::Halted);
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
    assert_eq!(after.sent(), []);
    // What was not told yet is.
    let mut run = Run::new();
    run.policy.tell(&event(0, Topic::Halted, "a"));
    run.play(&[], 1, &recipients);
    assert_eq!(run.messages, []);
    let stored = serde_json::to_string(&run.policy).unwrap();
    let mut after = Run { policy: serde_json::from_str(&stored).unwrap(), messages: Vec::new() };
    after.play(&[], 3599, &recipients);
    assert_eq!(after.sent(), [(2, "wechat".into(), Topic::Halted, vec!["a".into()])]);
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

/// What thirty credentials of one provider tell while it is down from `0` for five hours; `dies` says when each one's
/// key dies, an hour's tokens being spread over the hour or not.
fn bad_night(dies: impl Fn(u64) -> u64) -> Vec<Event> {
    const HOURS_5: u64 = 18_000;
    let mut events = Vec::new();
    for n in 0..30_u64 {
        let (name, dies) = (format!("c{n}"), dies(n));
        // A quarter of an hour before it dies it is due; the third failure is some seconds later, and then there is one
        // every few minutes.
        let due = dies.saturating_sub(900);
        events.push(event(due + 5, Topic::Failing, &name));
        events.extend(
            (0..).map(|k| due + 60 + k * 250).take_while(|at| *at < dies).map(|at| event(at, Topic::Failing, &name)),
        );
        events.push(event(due + 400, Topic::Expiring, &name));
        events.push(event(dies, Topic::Expired, &name));
        events.extend(
            (1..).map(|k| dies + k * 280).take_while(|at| *at < HOURS_5).map(|at| event(at, Topic::Failing, &name)),
        );
        events.push(event(HOURS_5 + n * 10, Topic::Recovered, &name));
    }
    events.sort_by_key(|event| event.at);
    events
}

/// A provider is down for five hours at night. Restarts are after every event; the numbers are printed, so that a
/// change of the rules shows.
#[test]
fn a_bad_night_makes_six_messages_at_most() {
    let (topics, few) = (all(), BTreeSet::from([Topic::Halted, Topic::Expired, Topic::Recovered]));
    let recipients = [
        Recipient { name: "wechat", events: &topics, limits: Limits { per_minute: 5, per_day: 200 } },
        Recipient { name: "serverchan", events: &topics, limits: Limits { per_minute: 5, per_day: 5 } },
        Recipient { name: "few", events: &few, limits: PLENTY },
    ];
    let nights: [(&str, Vec<Event>); 3] = [
        ("all keys die within half a minute", bad_night(|n| 3600 + n)),
        ("they die spread over an hour", bad_night(|n| 900 + n * 120)),
        ("they die in no order", bad_night(|n| 900 + n * 7919 % 3600)),
    ];
    for (night, events) in nights {
        let mut run = Run::new();
        run.play(&events, 86_400, &recipients);
        println!("{night}:");
        for (second, outgoing) in &run.messages {
            let topics = outgoing.events.chunk_by(|one, other| one.topic == other.topic);
            let topics: Vec<String> =
                topics.map(|events| format!("{} {}", events.len(), events[0].topic.as_str())).collect();
            println!("  {second:>6} s  {:10}  {}", outgoing.notifier, topics.join(", "));
        }
        for recipient in recipients {
            let messages = run.messages.iter().filter(|(_, outgoing)| outgoing.notifier == recipient.name).count();
            println!("  {}: {messages} messages", recipient.name);
            assert!(messages <= 6, "{night}: {} gets {messages}", recipient.name);
        }
        let told = |topic| run.sent().into_iter().filter(move |(_, name, t, _)| name == "wechat" && *t == topic);
        assert_eq!(told(Topic::Recovered).map(|(.., subjects)| subjects.len()).sum::<usize>(), 30, "{night}");
        assert!(told(Topic::Expiring).next().is_some_and(|(second, ..)| second < 2700 + 470), "{night}");
    }
}

/// A reason why a message was not taken.
fn refusal() -> Reason {
    NotifierReason::Refused { status: 200, code: Some("903".into()), words: None }.into()
}

fn unreachable() -> Reason {
    NotifierReason::Unreachable { error: "connection refused".into() }.into()
}

#[test]
fn row_54_what_was_not_taken_goes_out_later_with_what_has_come_since() {
    let topics = all();
    let recipients = [Recipient { name: "wechat", events: &topics, limits: PLENTY }];
    let mut policy = Policy::default();
    policy.tell(&event(0, Topic::Halted, "a"));
    policy.tell(&event(0, Topic::Failing, "b"));
    policy.tell(&event(0, Topic::Failing, "c"));
    assert_eq!(policy.due(at(2), &recipients).len(), 1);
    policy.tell(&event(5, Topic::Expired, "d"));
    assert_eq!(policy.due(at(7), &recipients), [], "one at a time");
    assert_eq!(policy.settled("wechat", &Err(unreachable()), at(100)), None, "a moment without network is no news");
    // While it waits, one is over and one gets worse.
    policy.tell(&event(200, Topic::Recovered, "b"));
    policy.tell(&event(210, Topic::Expired, "c"));
    assert_eq!(policy.due(at(399), &recipients), []);
    assert_eq!(policy.wake(), Some(at(400)));
    let due = policy.due(at(400), &recipients);
    let told: Vec<(Topic, &str)> =
        due[0].events.iter().map(|event| (event.topic, event.credential.as_deref().unwrap())).collect();
    assert_eq!(told, [(Topic::Halted, "a"), (Topic::Expired, "d"), (Topic::Expired, "c")]);
    assert_eq!(policy.settled("wechat", &Ok(()), at(401)), None);
    let standing = policy.notifier("wechat").unwrap();
    assert_eq!((standing.taken, standing.refused, standing.failures), (1, 1, 0));
    assert_eq!((standing.at, &standing.problem), (Some(at(401)), &None));
}

#[test]
fn row_54_a_refusal_is_kept_counted_and_told_through_another_notifier() {
    let topics = all();
    let recipient = |name| Recipient { name, events: &topics, limits: PLENTY };
    let recipients = [recipient("wechat"), recipient("mail")];
    let mut policy = Policy::default();
    policy.tell(&event(0, Topic::Halted, "a"));
    assert_eq!(policy.due(at(2), &recipients).len(), 2);
    assert_eq!(policy.settled("mail", &Ok(()), at(3)), None);
    let trouble = policy.settled("wechat", &Err(refusal()), at(3)).unwrap();
    assert_eq!((trouble.topic, trouble.notifier.as_deref()), (Topic::NotifierTrouble, Some("wechat")));
    assert_eq!(trouble.reason, Some(refusal()));
    assert_eq!(policy.notifier("wechat").unwrap().problem, Some(refusal()));
    policy.tell(&trouble);
    let due = policy.due(at(5), &recipients);
    assert_eq!(due.iter().map(|outgoing| outgoing.notifier.as_str()).collect::<Vec<_>>(), ["mail"], "not by itself");
    assert_eq!(policy.settled("mail", &Ok(()), at(6)), None);
    // The token is corrected: what it did not take goes at once, and its end is told to who heard of it.
    policy.try_again();
    assert_eq!(policy.due(at(10), &recipients)[0].events[0].topic, Topic::Halted);
    let over = policy.settled("wechat", &Ok(()), at(11)).unwrap();
    assert_eq!(over.topic, Topic::Recovered);
    policy.tell(&over);
    let due = policy.due(at(13), &recipients);
    assert_eq!((due.len(), due[0].notifier.as_str(), due[0].events[0].topic), (1, "mail", Topic::Recovered));
}

#[test]
fn row_54_a_notifier_that_stays_down_is_asked_less_and_less_and_learns_nothing_twice() {
    let topics = all();
    let recipients = [Recipient { name: "wechat", events: &topics, limits: Limits { per_minute: 1, per_day: 5 } }];
    let mut policy = Policy::default();
    policy.tell(&event(0, Topic::Failing, "a"));
    let (mut tried, mut now) = (Vec::new(), at(0));
    while let Some(wake) = policy.wake().filter(|wake| *wake < at(86_400)) {
        now = now.max(wake);
        if !policy.due(now, &recipients).is_empty() {
            tried.push(now.since(at(0)).as_secs());
            policy.settled("wechat", &Err(unreachable()), now);
        }
    }
    assert_eq!(tried, [2, 302, 2102, 9302, 30_902, 52_502, 74_102]);
    policy.tell(&event(80_000, Topic::Recovered, "a"));
    assert_eq!(policy.due(at(90_000), &recipients), [], "whoever heard of nothing needs not hear that it is over");
}

#[test]
fn what_was_under_way_when_the_process_died_goes_out_again() {
    let topics = all();
    let recipients = [Recipient { name: "wechat", events: &topics, limits: PLENTY }];
    let mut policy = Policy::default();
    policy.tell(&event(0, Topic::Halted, "a"));
    let first = policy.due(at(2), &recipients);
    let stored = serde_json::to_string(&policy).unwrap();
    let mut policy = serde_json::from_str::<Policy>(&stored).unwrap().resumed();
    assert!(policy.wake().is_some_and(|wake| wake <= at(3)));
    assert_eq!(policy.due(at(3), &recipients), first);
    // And where nothing is ever heard of a message, it is given up after a while.
    assert_eq!(policy.due(at(1000), &recipients), []);
    assert_eq!(policy.due(at(3 + 1800), &recipients), first);
}

#[test]
fn nobody_is_reminded_of_what_the_config_has_no_more() {
    let topics = all();
    let recipients = [Recipient { name: "wechat", events: &topics, limits: PLENTY }];
    let mut run = Run::new();
    run.play(&[event(0, Topic::Halted, "a"), event(0, Topic::Halted, "b")], 10, &recipients);
    assert!(run.policy.standing(&event(0, Topic::Recovered, "a")).is_some());
    run.policy.forget(|event| event.credential.as_deref() == Some("a"));
    assert!(run.policy.standing(&event(0, Topic::Recovered, "a")).is_none());
    run.play(&[], 4000, &recipients);
    assert_eq!(run.sent()[1..], [(3600, "wechat".into(), Topic::Halted, vec!["b".into()])]);
}
