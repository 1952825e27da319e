//! What to tell whom, and when: a fold over events. Pure; the caller stores it and brings the time.
//!
//! A trouble is told once, when it begins or gets worse; reminded of while only a human can end it; and its end is
//! told once, to those who heard of it. Events of one topic that come close together make one message. A notifier
//! that has used up its service's limits is not written to: what is due to it waits, and merges by topic into as few
//! messages as there are topics (the seam for a digest is `Outbox::messages`).
//!
//! The state is serialisable, so a restart neither repeats what was told nor forgets what was not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::plan::NotifierPlan;
use crate::credential::event::{Event, Topic};
use crate::notify::services::Limits;
use crate::reason::Reason;
use crate::time::Timestamp;

/// How long the first event of a message waits for others like it.
pub const GATHER: Duration = Duration::from_secs(2);
/// A reminder takes those along that would be due this much later.
const TOGETHER: Duration = Duration::from_secs(30 * 60);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Whom to tell.
#[derive(Debug, Clone, Copy)]
pub struct Recipient<'a> {
    /// The notifier's name.
    pub name: &'a str,
    /// What it wants to hear of.
    pub events: &'a BTreeSet<Topic>,
    /// How often its service may be used.
    pub limits: Limits,
}

impl<'a> From<&'a NotifierPlan> for Recipient<'a> {
    fn from(plan: &'a NotifierPlan) -> Self {
        Self { name: &plan.name, events: &plan.events, limits: plan.service.limits() }
    }
}

/// A message to be sent: events of one topic, for one notifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The notifier's name.
    pub notifier: String,
    /// What it is about, for [`crate::messages::notice`]; never empty.
    pub events: Vec<Event>,
}

/// All that is remembered about telling.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// What is not over yet, by its subject.
    troubles: BTreeMap<String, Trouble>,
    /// What waits for others like it.
    gathering: Vec<Item>,
    /// What each notifier is to get, and when it got something.
    outboxes: BTreeMap<String, Outbox>,
}

/// A trouble that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Trouble {
    /// When it began.
    since: Timestamp,
    /// When it became what it is now.
    changed: Timestamp,
    /// What it is now, as it was heard of last.
    now: Event,
    /// What it has been: none of these is told again before it is over.
    topics: BTreeSet<Topic>,
    /// The notifiers that heard of it.
    told: BTreeSet<String>,
    /// When it is brought to mind again.
    remind_at: Option<Timestamp>,
}

/// An event on its way into messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Item {
    /// The event.
    event: Event,
    /// The trouble it belongs to.
    subject: Option<String>,
    /// The only notifiers it is for.
    only: Option<BTreeSet<String>>,
}

/// What a notifier is to get, and when it got something.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Outbox {
    waiting: Vec<Item>,
    /// The messages of the last day: exact where a token bucket would let twice as many through around midnight.
    sent: Vec<Timestamp>,
    /// Until when its service's limits hold back what waits.
    held_until: Option<Timestamp>,
}

impl Policy {
    /// Takes note of an event; it may or may not become part of a message.
    pub fn tell(&mut self, event: &Event) {
        match event.topic {
            Topic::Recovered => self.over(event),
            Topic::Reenabled | Topic::Refreshed | Topic::Started => {
                self.gathering.push(Item { event: event.clone(), subject: None, only: None });
            }
            _ => self.trouble(event),
        }
    }

    /// A trouble begins, gets worse, or goes on.
    fn trouble(&mut self, event: &Event) {
        let subject = subject(event);
        if !self.troubles.contains_key(&subject) {
            let trouble = Trouble {
                since: event.at,
                changed: event.at,
                now: event.clone(),
                topics: BTreeSet::new(),
                told: self.take_recoveries(&subject),
                remind_at: None,
            };
            self.troubles.insert(subject.clone(), trouble);
        }
        let Some(trouble) = self.troubles.get_mut(&subject) else { return };
        let event = Event { since: Some(trouble.since), ..event.clone() };
        if trouble.topics.insert(event.topic) {
            trouble.changed = event.at;
            trouble.remind_at = next_reminder(event.topic, event.at, event.at);
            trouble.now = event.clone();
            self.gathering.push(Item { event, subject: Some(subject), only: None });
        } else if trouble.now.topic == event.topic {
            trouble.now = event;
        }
    }

    /// Takes back the end of a trouble that has begun again; whoever had not heard of the end yet.
    fn take_recoveries(&mut self, subject: &str) -> BTreeSet<String> {
        let is_one = |item: &mut Item| item.event.topic == Topic::Recovered && item.subject.as_deref() == Some(subject);
        let mut told: BTreeSet<String> =
            self.gathering.extract_if(.., is_one).filter_map(|item| item.only).flatten().collect();
        for (name, outbox) in &mut self.outboxes {
            told.extend(outbox.waiting.extract_if(.., is_one).map(|_| name.clone()));
        }
        told
    }

    /// A trouble is over: what was not told of it never will be; who heard of it hears of its end.
    fn over(&mut self, event: &Event) {
        let ended: Vec<String> = self.troubles.keys().filter(|key| ends(event, key)).cloned().collect();
        for key in ended {
            let Some(trouble) = self.troubles.remove(&key) else { continue };
            let stays = |item: &Item| item.event.topic == Topic::Recovered || item.subject.as_ref() != Some(&key);
            self.gathering.retain(stays);
            for outbox in self.outboxes.values_mut() {
                outbox.waiting.retain(stays);
            }
            if !trouble.told.is_empty() {
                let event = Event { since: Some(trouble.since), ..event.clone() };
                self.gathering.push(Item { event, subject: Some(key), only: Some(trouble.told) });
            }
        }
    }

    /// The messages that are due now. They count as told: sending them is the caller's.
    pub fn due(&mut self, now: Timestamp, recipients: &[Recipient<'_>]) -> Vec<Outgoing> {
        self.outboxes.retain(|name, _| recipients.iter().any(|recipient| recipient.name == name));
        let mut items = self.gathered(now);
        items.extend(self.reminders(now));
        let mut outgoing = Vec::new();
        for recipient in recipients {
            let outbox = self.outboxes.entry(recipient.name.to_owned()).or_default();
            outbox.waiting.extend(items.iter().filter(|item| item.is_for(recipient)).cloned());
            for message in outbox.messages(now, recipient.limits) {
                for item in &message {
                    let trouble = item.subject.as_ref().and_then(|subject| self.troubles.get_mut(subject));
                    if let Some(trouble) = trouble.filter(|_| item.event.topic != Topic::Recovered) {
                        trouble.told.insert(recipient.name.to_owned());
                    }
                }
                let events = message.into_iter().map(|item| item.event).collect();
                outgoing.push(Outgoing { notifier: recipient.name.to_owned(), events });
            }
        }
        outgoing
    }

    /// When [`Policy::due`] has something to do next.
    pub fn wake(&self) -> Option<Timestamp> {
        let gathered = self.gathering.iter().map(|item| item.event.at + GATHER);
        let reminders = self.troubles.values().filter_map(|trouble| trouble.remind_at);
        let held = self.outboxes.values().filter_map(|outbox| outbox.held_until);
        gathered.chain(reminders).chain(held).min()
    }

    /// Takes out the topics whose first event has waited long enough.
    fn gathered(&mut self, now: Timestamp) -> Vec<Item> {
        // An event of the future is one from before the clock was set back.
        let ripe = |item: &Item| item.event.at + GATHER <= now || item.event.at > now;
        let topics: BTreeSet<Topic> =
            self.gathering.iter().filter(|item| ripe(item)).map(|item| item.event.topic).collect();
        self.gathering.extract_if(.., |item| topics.contains(&item.event.topic)).collect()
    }

    /// What still needs a human and has not been brought to mind for long enough.
    fn reminders(&mut self, now: Timestamp) -> Vec<Item> {
        let due = |trouble: &Trouble, now| trouble.remind_at.is_some_and(|at| at <= now);
        if !self.troubles.values().any(|trouble| due(trouble, now)) {
            return Vec::new();
        }
        let soon = now + TOGETHER;
        let troubles = self.troubles.iter_mut().filter(|(_, trouble)| due(trouble, soon));
        troubles
            .map(|(subject, trouble)| {
                let reminded = trouble.remind_at.unwrap_or(now).max(now);
                trouble.remind_at = next_reminder(trouble.now.topic, trouble.changed, reminded);
                Item { event: trouble.now.clone(), subject: Some(subject.clone()), only: None }
            })
            .collect()
    }
}

impl Item {
    fn is_for(&self, recipient: &Recipient<'_>) -> bool {
        let chosen = self.only.as_ref().is_none_or(|only| only.contains(recipient.name));
        chosen && recipient.events.contains(&self.event.topic)
    }
}

impl Outbox {
    /// The messages that may go out now, one a topic, those that need a human first; the rest goes on waiting.
    fn messages(&mut self, now: Timestamp, limits: Limits) -> Vec<Vec<Item>> {
        self.sent.retain(|sent| *sent <= now && now.since(*sent) < DAY);
        self.held_until = None;
        let mut messages = Vec::new();
        while let Some(next) = self.waiting.iter().map(Item::kind).min() {
            let free = self.free_at(limits);
            if free > now {
                self.held_until = Some(free);
                break;
            }
            self.sent.push(now);
            let mut message: Vec<Item> = Vec::new();
            for item in self.waiting.extract_if(.., |item| item.kind() == next) {
                // A reminder beside what it reminds of: the later news is enough.
                message.retain(|earlier| earlier.subject.is_none() || earlier.subject != item.subject);
                message.push(item);
            }
            messages.push(message);
        }
        messages
    }

    /// When the service's limits allow another message.
    fn free_at(&self, limits: Limits) -> Timestamp {
        let after = |count: u32, window: Duration| {
            let oldest = self.sent.len().checked_sub(count.max(1) as usize).map(|index| self.sent[index]);
            oldest.map_or(Timestamp::EPOCH, |oldest| oldest + window)
        };
        after(limits.per_minute, MINUTE).max(after(limits.per_day, DAY))
    }
}

impl Item {
    /// Items of one kind share a message: credentials and channels read differently.
    fn kind(&self) -> (Topic, bool) {
        (self.event.topic, self.event.channel.is_some())
    }
}

/// What a trouble belongs to: a channel, else a credential, else it stands for itself.
fn subject(event: &Event) -> String {
    match (&event.channel, &event.credential) {
        (Some(channel), _) => format!("channel {}", channel.address()),
        (None, Some(credential)) => format!("credential {credential}"),
        (None, None) => event.topic.as_str().to_owned(),
    }
}

/// Whether a recovery ends a subject's trouble. One without a channel and a credential says by its reason's room
/// which trouble is over.
fn ends(recovered: &Event, subject_key: &str) -> bool {
    if recovered.channel.is_some() || recovered.credential.is_some() {
        return subject(recovered) == subject_key;
    }
    let topic = match recovered.reason {
        Some(Reason::Vault(_)) => Topic::VaultTrouble,
        Some(Reason::Config(_)) => Topic::ConfigRejected,
        Some(Reason::Gateway(_)) => Topic::UnusedDatabase,
        _ => return !subject_key.contains(' '),
    };
    subject_key == topic.as_str()
}

/// One hour, six hours, then every day after a trouble became what it is.
fn next_reminder(topic: Topic, changed: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let elapsed = now.since(changed);
    let wait = match elapsed {
        _ if !topic.needs_human() => return None,
        _ if elapsed < HOUR => HOUR,
        _ if elapsed < HOUR * 6 => HOUR * 6,
        _ => DAY.saturating_mul(u32::try_from(elapsed.as_secs() / DAY.as_secs()).unwrap_or(u32::MAX).saturating_add(1)),
    };
    Some(changed + wait)
}

#[cfg(test)]
mod tests;
