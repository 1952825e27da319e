//! What one notifier is to get, and how it took what it got. Pure.
//!
//! At most one message is under way to a notifier. What comes meanwhile, what its service's limits hold back, and what
//! it did not take wait, and go out as one message.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Recipient, Trouble};
use crate::credential::event::{Event, Topic};
use crate::notify::services::Limits;
use crate::reason::{NotifierReason, Reason};
use crate::time::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// The longest that sending takes; after it nobody says any more what became of a message.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// The waits after messages in a row that were not taken.
const RETRIES: [Duration; 4] = [
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(6 * 3600),
];

/// An event on its way into messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Item {
    /// The event.
    pub event: Event,
    /// The trouble it belongs to.
    pub subject: Option<String>,
    /// The only notifiers it is for.
    pub only: Option<BTreeSet<String>>,
}

impl Item {
    /// Whether a notifier is to hear of it. Of its own trouble it would hear when that is over.
    pub(super) fn is_for(&self, recipient: &Recipient<'_>) -> bool {
        let chosen = self.only.as_ref().is_none_or(|only| only.contains(recipient.name));
        let own = self.event.notifier.as_deref() == Some(recipient.name);
        chosen && !own && recipient.events.contains(&self.event.topic)
    }

    /// What needs a human comes first; credentials and channels read differently.
    fn rank(&self) -> (Topic, bool) {
        (self.event.topic, self.event.channel.is_some())
    }
}

/// How a notifier took what it got.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// Messages that were taken.
    pub taken: u64,
    /// Messages that were not.
    pub refused: u64,
    /// How many in a row were not.
    pub failures: u32,
    /// When the last one was taken or not.
    pub at: Option<Timestamp>,
    /// Why the last one was not taken.
    pub problem: Option<Reason>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Outbox {
    /// What it is to get.
    pub waiting: Vec<Item>,
    /// What it is getting.
    under_way: Option<Parcel>,
    /// The messages of the last day: exact where a token bucket would let twice as many through around midnight.
    sent: Vec<Timestamp>,
    /// Until when what waits is held back.
    held_until: Option<Timestamp>,
    /// When a message may be tried again after one that was not taken.
    retry_at: Option<Timestamp>,
    /// How it took what it got.
    pub standing: Standing,
}

/// A message under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Parcel {
    items: Vec<Item>,
    since: Timestamp,
    /// The subjects that the notifier hears of for the first time.
    news: BTreeSet<String>,
}

impl Outbox {
    /// Everything that waits, as one message, if it may go now.
    pub(super) fn take(
        &mut self,
        name: &str,
        now: Timestamp,
        limits: Limits,
        troubles: &mut BTreeMap<String, Trouble>,
    ) -> Vec<Event> {
        self.held_until = None;
        if self.under_way.as_ref().is_some_and(|parcel| parcel.since > now || now.since(parcel.since) >= PATIENCE) {
            self.give_back(name, troubles);
        }
        if self.waiting.is_empty() || self.under_way.is_some() {
            return Vec::new();
        }
        self.sent.retain(|sent| *sent <= now && now.since(*sent) < DAY);
        let matters = |topic: Topic| topic.needs_human() || topic == Topic::Recovered;
        let urgent = self.waiting.iter().any(|item| matters(item.event.topic));
        // A wait longer than any is one from before the clock was set back.
        let retry_at = self.retry_at.filter(|at| at.since(now) <= RETRIES[RETRIES.len() - 1]);
        let free = self.free_at(limits, urgent).max(retry_at.unwrap_or(Timestamp::EPOCH));
        if free > now {
            self.held_until = Some(free);
            return Vec::new();
        }
        self.sent.push(now);
        let items = latest(std::mem::take(&mut self.waiting));
        let mut news = BTreeSet::new();
        for item in items.iter().filter(|item| item.event.topic != Topic::Recovered) {
            let Some(subject) = &item.subject else { continue };
            if troubles.get_mut(subject).is_some_and(|trouble| trouble.told.insert(name.to_owned())) {
                news.insert(subject.clone());
            }
        }
        let events = items.iter().map(|item| item.event.clone()).collect();
        self.under_way = Some(Parcel { items, since: now, news });
        events
    }

    /// What became of the message under way: the topic to tell others, if there is one.
    pub(super) fn settle(
        &mut self,
        name: &str,
        outcome: &Result<(), Reason>,
        now: Timestamp,
        troubles: &mut BTreeMap<String, Trouble>,
    ) -> Option<Topic> {
        self.standing.at = Some(now);
        self.standing.problem = outcome.as_ref().err().cloned();
        let Err(reason) = outcome else {
            (self.under_way, self.retry_at) = (None, None);
            (self.standing.taken, self.standing.failures) = (self.standing.taken + 1, 0);
            return Some(Topic::Recovered);
        };
        (self.standing.refused, self.standing.failures) = (self.standing.refused + 1, self.standing.failures + 1);
        let unreachable = matches!(reason, Reason::Notifier(NotifierReason::Unreachable { .. }));
        if unreachable {
            // The service has counted nothing.
            self.sent.pop();
        }
        // A service that asks for patience gets more of it.
        let limited = matches!(reason, Reason::Notifier(NotifierReason::RateLimited { .. }));
        let wait = self.standing.failures.saturating_sub(1) as usize + if limited { 2 } else { 0 };
        self.retry_at = Some(now + RETRIES[wait.min(RETRIES.len() - 1)]);
        self.held_until = self.retry_at;
        self.give_back(name, troubles);
        // A moment without network is nobody's business.
        (!unreachable || self.standing.failures > 1).then_some(Topic::NotifierTrouble)
    }

    /// Takes back what is under way: what is not over meanwhile waits again, and does not count as told.
    pub(super) fn give_back(&mut self, name: &str, troubles: &mut BTreeMap<String, Trouble>) {
        let Some(Parcel { items, news, .. }) = self.under_way.take() else { return };
        for subject in news {
            troubles.get_mut(&subject).map(|trouble| trouble.told.remove(name));
        }
        let is_over = |item: &Item| {
            let subject = item.subject.as_ref().filter(|_| item.event.topic != Topic::Recovered);
            subject.is_some_and(|subject| !troubles.contains_key(subject))
        };
        self.waiting.splice(0..0, items.into_iter().filter(|item| !is_over(item)));
    }

    /// Does not wait for another try.
    pub(super) fn try_again(&mut self) {
        (self.retry_at, self.held_until) = (None, None);
    }

    /// When there is something to do.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        match &self.under_way {
            Some(parcel) => Some(parcel.since + PATIENCE),
            None if self.waiting.is_empty() => None,
            None => Some(self.held_until.unwrap_or(Timestamp::EPOCH)),
        }
    }

    /// When the service's limits allow another message. The last fifth of a day's is kept for what
    /// needs a human, and for its end.
    fn free_at(&self, limits: Limits, urgent: bool) -> Timestamp {
        let after = |count: u32, window: Duration| {
            let oldest = self.sent.len().checked_sub(count.max(1) as usize).map(|index| self.sent[index]);
            oldest.map_or(Timestamp::EPOCH, |oldest| oldest + window)
        };
        let kept = if urgent { 0 } else { limits.per_day / 5 };
        after(limits.per_minute, MINUTE).max(after(limits.per_day - kept, DAY))
    }
}

/// The latest of each subject, ranked: what a trouble was before it got worse is no news any more.
fn latest(items: Vec<Item>) -> Vec<Item> {
    let mut seen = BTreeSet::new();
    let mut latest = Vec::with_capacity(items.len());
    for item in items.into_iter().rev() {
        if item.subject.clone().is_none_or(|subject| seen.insert(subject)) {
            latest.push(item);
        }
    }
    latest.reverse();
    latest.sort_by_key(Item::rank);
    latest
}
