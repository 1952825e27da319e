//! How channels stand, and what people are told of it.

use super::{LOOK_EVERY, LOOK_OFTEN, Room, UNDELIVERED_AFTER, UNUSED_AFTER};
use crate::channel::policy::ChannelState;
use crate::channel::view::ChannelView;
use crate::credential::event::{ChannelName, Event, Topic};
use crate::reason::{ChannelReason, GatewayReason, Reason};
use crate::time::Timestamp;

impl Room {
    pub(super) fn note_trouble(&mut self, reason: GatewayReason, now: Timestamp, events: &mut Vec<Event>) {
        self.failures = self.failures.saturating_add(1);
        let often = matches!(
            reason,
            GatewayReason::Missing { .. } | GatewayReason::NotMigrated { .. } | GatewayReason::Busy { .. }
        );
        self.next_look = now + if often { LOOK_OFTEN } else { LOOK_EVERY.min(LOOK_OFTEN * self.failures) };
        let since = match &self.trouble {
            Some((known, since)) if *known == reason => *since,
            _ => now,
        };
        self.trouble = Some((reason.clone(), since));
        let reason = reason.into();
        for index in 0..self.targets.len() {
            self.tell_undelivered(index, &reason, now, events);
        }
    }

    pub(super) fn clear_trouble(&mut self, now: Timestamp) {
        self.trouble = None;
        self.failures = 0;
        let every = if now < self.watch_until { LOOK_OFTEN } else { LOOK_EVERY };
        self.next_look = now + every;
    }

    /// Notes how a channel stands, and says so when that changed.
    pub(super) fn stand(
        &mut self,
        index: usize,
        view: Option<&ChannelView>,
        state: ChannelState,
        reason: Option<ChannelReason>,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) {
        // A key that its gateway does not use has not arrived.
        let channel = view.map(|view| view.id).or(self.targets[index].standing.id);
        let state = match state {
            ChannelState::Delivered if self.unloaded(channel).is_some() => ChannelState::Pending,
            state => state,
        };
        let trouble = self.trouble_of(channel).cloned();
        let target = &mut self.targets[index];
        let id_before = target.standing.id;
        if let Some(view) = view {
            target.standing.id = Some(view.id);
            if *target.standing.name != *view.name {
                target.standing.name = view.name.as_str().into();
            }
            target.standing.status = Some(view.status.as_i64());
        } else if state == ChannelState::Missing {
            target.standing.status = None;
        }
        let state_before = target.standing.state;
        let changed = state_before != state || target.standing.reason.as_deref() != reason.as_ref();
        let was_trouble = target.told_trouble || target.told_undelivered;
        target.standing.state = state;
        target.standing.reason = reason.clone().map(Box::new);
        let topic = trouble_topic(state, reason.as_ref());
        if changed && let Some(topic) = topic {
            // Until it is over: a key on its way does not end it.
            self.targets[index].told_trouble = true;
            let mut event = self.event(index, topic, now);
            event.reason = reason.map(Into::into);
            events.push(event);
        }
        match state {
            ChannelState::Pending => {
                if let Some(reason) = trouble {
                    self.tell_undelivered(index, &reason.into(), now, events);
                }
            }
            // People who gave it back are told no more of it, nor of its end.
            ChannelState::Released => {
                let target = &mut self.targets[index];
                target.pending_since = None;
                target.told_undelivered = false;
                target.told_trouble = false;
            }
            ChannelState::Delivered | ChannelState::DisabledByHand if topic.is_none() => {
                let target = &mut self.targets[index];
                target.pending_since = None;
                target.told_undelivered = false;
                target.told_trouble = false;
                if was_trouble {
                    let mut event = self.event(index, Topic::Recovered, now);
                    // What was told of a name that nobody bore ends under that name.
                    event.channel =
                        event.channel.map(|channel| ChannelName { id: channel.id.and(id_before), ..channel });
                    events.push(event);
                }
            }
            _ => {}
        }
    }

    /// A database that only we write to for a whole day is probably not the one that the gateway uses.
    pub(super) fn tell_unused(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        if !self.told_unused && self.only_ours_since.is_some_and(|since| now.since(since) >= UNUSED_AFTER) {
            self.told_unused = true;
            events.push(self.about_the_gateway(Topic::UnusedDatabase, now));
        }
    }

    pub(super) fn about_the_gateway(&self, topic: Topic, now: Timestamp) -> Event {
        let reason = GatewayReason::Unused { path: self.plan.database.to_string() };
        Event { reason: Some(reason.into()), ..Event::new(now, topic) }
    }

    /// A key that does not arrive is told of after a minute.
    pub(super) fn tell_undelivered(&mut self, index: usize, reason: &Reason, now: Timestamp, events: &mut Vec<Event>) {
        let target = &mut self.targets[index];
        if target.standing.state != ChannelState::Pending {
            return;
        }
        let since = *target.pending_since.get_or_insert(now);
        if !target.told_undelivered && now.since(since) >= UNDELIVERED_AFTER {
            target.told_undelivered = true;
            let mut event = self.event(index, Topic::Undelivered, now);
            event.reason = Some(reason.clone());
            events.push(event);
        }
    }

    pub(super) fn event(&self, index: usize, topic: Topic, now: Timestamp) -> Event {
        let target = &self.targets[index];
        let channel = ChannelName {
            gateway: self.plan.name.to_string(),
            id: target.standing.id,
            name: target.standing.name.to_string(),
        };
        Event { credential: Some(target.credential.to_string()), channel: Some(channel), ..Event::new(now, topic) }
    }
}

/// What is told of a channel that stands so.
fn trouble_topic(state: ChannelState, reason: Option<&ChannelReason>) -> Option<Topic> {
    match state {
        // It holds the right key, and the gateway keeps it off all the same.
        _ if matches!(reason, Some(ChannelReason::DisabledForOtherReason { .. })) => Some(Topic::Flapping),
        ChannelState::Foreign => Some(Topic::ForeignKey),
        ChannelState::Missing => Some(Topic::ChannelMissing),
        ChannelState::Flapping => Some(Topic::Flapping),
        ChannelState::Unsupported | ChannelState::Conflict => Some(Topic::Undelivered),
        _ => None,
    }
}
