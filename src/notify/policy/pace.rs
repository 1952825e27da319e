//! How long an event waits for others like it: moments for the first of its kind, longer and longer while they keep
//! coming. Pure.
//!
//! A lone trouble is told at once. When a provider is down for a night, thirty credentials fail, expire and recover, each
//! in its own minute: people need to hear of the first of each, and of the others in few messages.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::credential::event::Topic;
use crate::time::Timestamp;

/// How long the first event of a message waits for others like it.
pub const GATHER: Duration = Duration::from_secs(2);
/// The waits, from step to step.
const STEPS: [Duration; 4] = [GATHER, Duration::from_secs(60), Duration::from_secs(600), Duration::from_secs(3600)];
/// As many troubles that end by themselves are one large one.
pub(super) const CROWD: usize = 3;

/// When there was something to tell of each topic, and how often in a row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Pace(BTreeMap<Topic, Streak>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Streak {
    messages: usize,
    last: Timestamp,
}

impl Pace {
    /// How long an event of this moment waits. `crowd` counts the troubles that people know of and that may end by
    /// themselves.
    pub(super) fn window(&self, topic: Topic, at: Timestamp, crowd: usize) -> Duration {
        match topic {
            // Good news is complete when nothing is left, and until then there is no hurry.
            Topic::Recovered if crowd == 0 => GATHER,
            _ => STEPS[step(topic, crowd, self.messages(topic, at, 2))],
        }
    }

    /// The messages in a row with this topic; one that has been quiet for so many of its waits begins anew.
    fn messages(&self, topic: Topic, at: Timestamp, waits: u32) -> usize {
        let goes_on = |streak: &&Streak| at.since(streak.last) <= STEPS[step(topic, CROWD, streak.messages)] * waits;
        self.0.get(&topic).filter(goes_on).map_or(0, |streak| streak.messages)
    }

    /// Takes note of a message with these topics.
    pub(super) fn note(&mut self, topics: impl Iterator<Item = Topic>, now: Timestamp) {
        for topic in topics.collect::<BTreeSet<Topic>>() {
            // What is told now began up to a wait ago.
            let messages = self.messages(topic, now, 3) + 1;
            self.0.insert(topic, Streak { messages, last: now });
        }
    }
}

/// The step that an event waits for after so many messages in a row.
fn step(topic: Topic, crowd: usize, messages: usize) -> usize {
    let is_large = crowd >= CROWD && ends_by_itself(topic);
    match (messages, topic.needs_human()) {
        (0, _) if topic == Topic::Recovered => 2,
        (0, true) => usize::from(is_large),
        (0, false) => {
            if is_large {
                2
            } else {
                0
            }
        }
        // Each of these may ask for another act of a human: none waits long.
        (many, true) if !is_large => many.min(2),
        (many, _) => (many + 1).min(3),
    }
}

/// Whether a topic is like the weather: it comes over many at once, and passes.
pub(super) fn ends_by_itself(topic: Topic) -> bool {
    matches!(topic, Topic::Uncertain | Topic::Failing | Topic::Expiring | Topic::Expired | Topic::Undelivered)
}
