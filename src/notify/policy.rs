//! What to tell whom, and when: a fold over events. Pure; the caller stores it and brings the time.
//!
//! A trouble is told once, when it begins or gets worse; reminded of while only a human can end it; and its end is
//! told once, to those who heard of it. What comes close together makes one message (`pace` says how close that is),
//! and a notifier that is busy, down or has used up its service's limits gets everything that waits for it in one later
//! (`outbox`).
//!
//! The state is serialisable, so a restart neither repeats what was told nor forgets what was not.

mod outbox;
mod pace;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::plan::NotifierPlan;
use crate::credential::event::{Event, Topic};
use crate::notify::services::Limits;
use crate::reason::Reason;
use crate::time::Timestamp;

pub use outbox::Standing;
use outbox::{Item, Outbox};
pub use pace::GATHER;
use pace::Pace;

/// A reminder takes those along that would be due this much later.
const TOGETHER: Duration = Duration::from_secs(3600);
/// What changed longer ago is no part of what goes on now.
const EPISODE: Duration = Duration::from_secs(6 * 3600);
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

/// A message to be sent to one notifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The notifier's name.
    pub notifier: String,
    /// What it is about, for [`crate::messages::notice`]: never empty, what needs a human first.
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
    /// How often there was something to tell lately.
    pace: Pace,
    /// What each notifier is to get, and how it took what it got.
    outboxes: BTreeMap<String, Outbox>,
    /// Nothing more comes in this run.
    #[serde(skip)]
    hurried: bool,
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

impl Policy {
    /// What the vault remembers; state of another version is worth less than telling again.
    pub fn remembered(state: Option<&str>) -> Self {
        state.and_then(|state| serde_json::from_str(state).ok()).unwrap_or_default()
    }

    /// The state after a restart: nobody knows what became of messages that were under way.
    pub fn resumed(mut self) -> Self {
        for (name, outbox) in &mut self.outboxes {
            outbox.give_back(name, &mut self.troubles);
        }
        self
    }

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
            let Some(trouble) = self.remove(&key) else { continue };
            if !trouble.told.is_empty() {
                let event = Event { since: Some(trouble.since), ..event.clone() };
                self.gathering.push(Item { event, subject: Some(key), only: Some(trouble.told) });
            }
        }
    }

    /// Takes a trouble out, and what was still to be told of it.
    fn remove(&mut self, subject: &str) -> Option<Trouble> {
        let stays = |item: &Item| item.event.topic == Topic::Recovered || item.subject.as_deref() != Some(subject);
        self.gathering.retain(stays);
        for outbox in self.outboxes.values_mut() {
            outbox.waiting.retain(stays);
        }
        self.troubles.remove(subject)
    }

    /// Forgets the troubles of what the config does not have any more: nobody is reminded of them.
    pub fn forget(&mut self, is_gone: impl Fn(&Event) -> bool) {
        let gone = self.troubles.iter().filter(|(_, trouble)| is_gone(&trouble.now));
        let gone: Vec<String> = gone.map(|(subject, _)| subject.clone()).collect();
        for subject in gone {
            self.remove(&subject);
        }
    }

    /// The trouble that stands with the subject of this event, as it was heard of last.
    pub fn standing(&self, like: &Event) -> Option<&Event> {
        self.troubles.get(&subject(like)).map(|trouble| &trouble.now)
    }

    /// The messages that are due now. Each is under way until [`Policy::settled`] says what became of it.
    pub fn due(&mut self, now: Timestamp, recipients: &[Recipient<'_>]) -> Vec<Outgoing> {
        self.outboxes.retain(|name, _| recipients.iter().any(|recipient| recipient.name == name));
        let mut items = self.reminders(now);
        let crowd = self.crowd();
        let is_ripe = |item: &Item| {
            // An event of the future is one from before the clock was set back.
            self.hurried || item.event.at > now || self.ripens(item, &crowd) <= now
        };
        if !items.is_empty() || self.gathering.iter().any(is_ripe) {
            // When one message goes, everything that gathers goes with it.
            items.splice(0..0, self.gathering.drain(..));
        }
        self.pace.note(items.iter().map(|item| item.event.topic), now);
        let mut outgoing = Vec::new();
        for recipient in recipients {
            let outbox = self.outboxes.entry(recipient.name.to_owned()).or_default();
            outbox.waiting.extend(items.iter().filter(|item| item.is_for(recipient)).cloned());
            let events = outbox.take(recipient.name, now, recipient.limits, &mut self.troubles);
            if !events.is_empty() {
                outgoing.push(Outgoing { notifier: recipient.name.to_owned(), events });
            }
        }
        outgoing
    }

    /// What became of the message that was under way to a notifier; an event, if others are to hear of that.
    ///
    /// What was not taken waits, and goes out later together with what has come since.
    pub fn settled(&mut self, notifier: &str, outcome: &Result<(), Reason>, now: Timestamp) -> Option<Event> {
        let outbox = self.outboxes.get_mut(notifier)?;
        let topic = outbox.settle(notifier, outcome, now, &mut self.troubles)?;
        let reason = outcome.as_ref().err().cloned();
        let event = Event { notifier: Some(notifier.to_owned()), reason, ..Event::new(now, topic) };
        // A notifier that works again after nothing was said of it is no news.
        (topic != Topic::Recovered || self.troubles.contains_key(&subject(&event))).then_some(event)
    }

    /// The message that is under way to a notifier will not arrive, which says nothing of the notifier: it waits again.
    pub fn give_back(&mut self, notifier: &str) {
        if let Some(outbox) = self.outboxes.get_mut(notifier) {
            outbox.give_back(notifier, &mut self.troubles);
        }
    }

    /// How a notifier took what it got; `None` before the first message.
    pub fn notifier(&self, name: &str) -> Option<&Standing> {
        self.outboxes.get(name).map(|outbox| &outbox.standing)
    }

    /// What a notifier refused under its former config it may take now: nothing waits for another try.
    pub fn try_again(&mut self) {
        self.outboxes.values_mut().for_each(Outbox::try_again);
    }

    /// What gathers is due at once: nothing more like it comes.
    pub fn hurry(&mut self) {
        self.hurried = true;
    }

    /// When [`Policy::due`] has something to do next.
    pub fn wake(&self) -> Option<Timestamp> {
        let crowd = self.crowd();
        let gathered = self.gathering.iter().map(|item| self.ripens(item, &crowd));
        let reminders = self.troubles.values().filter_map(|trouble| trouble.remind_at);
        let outboxes = self.outboxes.values().filter_map(Outbox::wake);
        gathered.chain(reminders).chain(outboxes).min()
    }

    /// When each trouble changed that people know of and that may end by itself. Counted once for everything that
    /// gathers: in a bad night both are many.
    fn crowd(&self) -> Vec<Timestamp> {
        let is_one = |trouble: &&Trouble| pace::ends_by_itself(trouble.now.topic) && !trouble.told.is_empty();
        self.troubles.values().filter(is_one).map(|trouble| trouble.changed).collect()
    }

    /// When an item has waited long enough for others like it.
    fn ripens(&self, item: &Item, crowd: &[Timestamp]) -> Timestamp {
        let recent = crowd.iter().filter(|changed| item.event.at.since(**changed) < EPISODE);
        // More make no difference.
        let crowd = recent.take(pace::CROWD).count();
        item.event.at + self.pace.window(item.event.topic, item.event.at, crowd)
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

/// What a trouble belongs to: a notifier, a channel, else a credential, else it stands for itself.
fn subject(event: &Event) -> String {
    match (&event.notifier, &event.channel, &event.credential) {
        (Some(notifier), ..) => format!("notifier {notifier}"),
        (None, Some(channel), _) => format!("channel {}", channel.address()),
        (None, None, Some(credential)) => format!("credential {credential}"),
        (None, None, None) => event.topic.as_str().to_owned(),
    }
}

/// Whether a recovery ends a subject's trouble. One without a subject of its own says by its reason's room which
/// trouble is over.
fn ends(recovered: &Event, subject_key: &str) -> bool {
    if recovered.notifier.is_some() || recovered.channel.is_some() || recovered.credential.is_some() {
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
