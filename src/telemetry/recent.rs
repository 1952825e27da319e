//! What happened lately, as much of it as a person looks through. Pure.

use std::collections::VecDeque;

use crate::credential::event::{Event, Topic};

/// How many events are remembered.
const KEPT: usize = 50;
/// How many of them may be refreshes: a thousand credentials make one every few seconds, and everything else must not
/// drown in them.
const REFRESHES_KEPT: usize = 10;

/// The last events; the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recent(VecDeque<Event>);

impl Recent {
    /// Notes what has just happened.
    pub fn note(&mut self, event: Event) {
        if event.topic == Topic::Refreshed {
            let mut refreshes = self.0.iter().enumerate().filter(|(_, event)| event.topic == Topic::Refreshed);
            if let Some((oldest, _)) = refreshes.nth(REFRESHES_KEPT - 1) {
                self.0.remove(oldest);
            }
        }
        self.0.push_front(event);
        self.0.truncate(KEPT);
    }

    /// The events, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Event> {
        self.0.iter()
    }
}

/// From the oldest to the newest.
impl FromIterator<Event> for Recent {
    fn from_iter<I: IntoIterator<Item = Event>>(events: I) -> Self {
        let mut recent = Self::default();
        events.into_iter().for_each(|event| recent.note(event));
        recent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn event(second: i64, topic: Topic) -> Event {
        Event::new(Timestamp::from_seconds(second), topic)
    }

    #[test]
    fn a_thousand_refreshes_do_not_hide_what_else_happened() {
        let mut events: Vec<Event> = (0..1000).map(|second| event(second, Topic::Refreshed)).collect();
        events.insert(3, event(3, Topic::Halted));
        let recent: Recent = events.into_iter().collect();
        let topics: Vec<Topic> = recent.iter().map(|event| event.topic).collect();
        assert_eq!(topics.len(), REFRESHES_KEPT + 1);
        assert_eq!(topics.last(), Some(&Topic::Halted));
        let newest = recent.iter().next().map(|event| event.at);
        assert_eq!(newest, Some(Timestamp::from_seconds(999)));
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let recent: Recent = (0..200).map(|second| event(second, Topic::Reenabled)).collect();
        let seconds: Vec<i64> = recent.iter().map(|event| event.at.as_seconds()).collect();
        assert_eq!(seconds, (150..200).rev().collect::<Vec<_>>());
    }
}
