//! What is to be done when: what is due is done, everything else says when it wants to be woken.

use std::time::Duration;

use crate::agent::clock::{Parted, spread};
use crate::agent::deliver::Room;
use crate::agent::{Agent, Mode, rooms, seeds};
use crate::credential::event::{Event, Topic};
use crate::credential::policy::{TokenDecision, decide};
use crate::credential::record::{HaltKind, RecordId};
use crate::reason::TokenReason;
use crate::time::Timestamp;
use crate::vault::Change;

/// The longest sleep: a suspend or a clock step is seen within it.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_secs(15);
/// How often secrets in files are read again.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// How many refreshes do something at once. Hundreds that leave together come back together, and everybody waits for them
/// in turn: their thread, the vault, the gateway.
const TURNS_AT_ONCE: usize = 32;
/// How often a shutdown looks whether it is over.
const WHILE_STOPPING: Duration = Duration::from_millis(50);
/// How often it looks around while nobody knows whose the vault is.
const WHILE_UNSURE: Duration = Duration::from_secs(1);

impl Agent {
    /// Does what is due.
    pub(super) fn tick(&mut self) {
        self.watch_clocks();
        self.take_those_that_wait();
        let now = self.now();
        while let Some((due, id)) = self.due.first().copied() {
            if due > now {
                break;
            }
            self.due.remove(&(due, id));
            if let Some(active) = self.active.get_mut(&id) {
                active.due = None;
            }
            self.consider(id);
        }
        self.tell_unsure(now);
        // Before the refreshes: what was seen already is judged here, and may want one.
        if self.is_owner() {
            self.look_around(now);
        }
        self.has_more_turns = !self.stopping && self.is_owner() && self.take_turns();
        self.aside.send();
        if now >= self.sweep_at && self.mode == Mode::Run && self.is_owner() {
            self.sweep_at = now + SWEEP_EVERY;
            // What hangs is not read twice.
            if self.seeds_underway == 0 {
                self.sweep();
            }
        }
        if self.tidying.is_due(now) {
            self.shared.vault.rest();
        }
        if let Some(change) = self.courier.deliver(&self.plan, now) {
            self.shared.vault.commit_soon(vec![change]);
        }
    }

    /// Lets as many refreshes do what they may as go at once; says whether there may be more.
    fn take_turns(&mut self) -> bool {
        for _ in 0..TURNS_AT_ONCE {
            // What is flying and not under way has its answer, and waits for the vault.
            let coming = self.flights.len().saturating_sub(self.queue.under_way());
            let is_behind = |gateway: &str| self.rooms.get(gateway).is_some_and(|room| room.is_behind(coming));
            let Some(turn) = self.queue.next_turn(is_behind) else { return false };
            self.take_turn(turn);
        }
        true
    }

    /// A clock that was set or a machine that slept must neither let keys die unseen nor refresh everything at once.
    fn watch_clocks(&mut self) {
        let now = self.now();
        match self.clocks.look(now, self.shared.clock.uptime()) {
            None => {}
            Some(Parted::Set(milliseconds)) => {
                tracing::warn!(seconds = milliseconds / 1000, "the clock was set; what is due keeps its distance");
                // What is under way settles by the new clock by itself.
                let resting = |id: &RecordId| !self.active.get(id).is_some_and(|active| active.in_flight);
                let mut changes = Vec::new();
                for (_, record) in self.records.iter_mut().filter(|(id, _)| resting(id)) {
                    record.shift(milliseconds);
                    changes.push(Change::Record(record.clone()));
                }
                self.shared.vault.commit_soon(changes);
                self.started_at = self.started_at.shifted(milliseconds);
                self.sweep_at = self.sweep_at.shifted(milliseconds);
                self.tidying.shift(milliseconds);
                if let Some(unsure) = &mut self.unsure {
                    unsure.since = unsure.since.shifted(milliseconds);
                }
                self.queue.shift(milliseconds);
                self.courier.clock_was_set();
                self.rooms.values_mut().for_each(|room| room.shift(milliseconds));
                self.consider_all();
            }
            Some(Parted::Slept(length)) => {
                let overdue: Vec<RecordId> =
                    self.due.iter().take_while(|(due, _)| *due <= now).map(|(_, id)| *id).collect();
                tracing::info!(seconds = length.as_secs(), overdue = overdue.len(), "the machine slept");
                self.due.retain(|(due, _)| *due > now);
                for id in overdue {
                    let dies = self.records.get(&id).and_then(|record| record.access.as_ref());
                    let at = spread(dies.map(|grant| grant.expires_at), now, fastrand::f64());
                    self.schedule(id, Some(at));
                }
            }
        }
    }

    /// When there is something to do, if nothing comes back before.
    pub(super) fn wake(&mut self) -> Timestamp {
        let now = self.now();
        let first_due = self.due.first().map(|(due, _)| *due);
        let rooms = self.rooms.values().filter_map(Room::wake).min();
        let sweep = (self.mode == Mode::Run).then_some(self.sweep_at);
        let wakes = [first_due, rooms, sweep, self.tidying.wake(), self.courier.wake()];
        let next = wakes.into_iter().flatten().min().unwrap_or(Timestamp::MAX);
        // While it stops or is not the owner, what is due is not done: look again when something comes back, or soon.
        match (self.stopping, self.is_owner()) {
            (true, _) => now + WHILE_STOPPING,
            (false, false) => now + WHILE_UNSURE,
            (false, true) => next,
        }
    }

    pub(super) fn consider_all(&mut self) {
        let ids: Vec<RecordId> = self.active.keys().copied().collect();
        for id in ids {
            self.consider(id);
        }
    }

    /// Decides what is to be done with a credential, and does it or notes when.
    pub(super) fn consider(&mut self, id: RecordId) {
        let now = self.now();
        let (Some(active), Some(record)) = (self.active.get_mut(&id), self.records.get(&id)) else { return };
        if active.in_flight || active.queued || self.stopping {
            return;
        }
        if let Some(due) = active.due.take() {
            self.due.remove(&(due, id));
        }
        let lag = rooms::lag(&self.rooms, &active.plan);
        let decision = decide(&active.plan, record, lag, now);
        // A pass that refreshes everything does not hurry what is asked once more, late: its key lives on that.
        let lives = || record.access.as_ref().is_some_and(|grant| grant.expires_at > now);
        let is_spared = || record.state.lost.is_some() && lives();
        let forced = active.forced || active.forced_by_pass && !is_spared();
        let wanted = match decision {
            TokenDecision::Refresh(_) => true,
            TokenDecision::Keep(_) | TokenDecision::BackOff(_) => forced && record.state.halt.is_none(),
            TokenDecision::Halt(..) => false,
        };
        let paused = self.queue.paused_until(&active.host(), now).filter(|_| wanted);
        let mut next = match decision {
            _ if paused.is_some() => paused,
            _ if wanted => return self.line_up(id, now),
            // Nothing else is wanted than what was done above.
            TokenDecision::Refresh(_) => None,
            // The seed may still come.
            TokenDecision::Halt(HaltKind::NoRefreshToken, _) if seeds::source(&active.plan).is_some() => None,
            TokenDecision::Halt(kind, reason) => return self.halt(id, kind, reason),
            TokenDecision::Keep(until) => until,
            TokenDecision::BackOff(until) => Some(until),
        };
        // Of a halted one people know already that they must act, and by when.
        let troubled = (record.state.failures > 0 || paused.is_some()) && record.state.halt.is_none();
        if let Some(dies) = record.access.as_ref().map(|grant| grant.expires_at).filter(|_| troubled) {
            let topic = if dies > now {
                next = Some(next.map_or(dies, |next| next.min(dies)));
                // Of what keeps failing by itself people are told at each failure.
                paused.filter(|until| *until >= dies).map(|_| Topic::Expiring)
            } else {
                Some(Topic::Expired)
            };
            if let Some(topic) = topic.filter(|_| active.told_of_end != topic) {
                active.told_of_end = Some(topic);
                let host_is_busy = paused.map(|until| TokenReason::Busy { status: 429, until: Some(until) }.into());
                let reason = host_is_busy.or_else(|| record.state.last_error.as_deref().cloned());
                let event = Event { reason, ..self.about(id, topic) };
                self.event(event);
            }
        }
        self.schedule(id, next);
    }

    pub(super) fn schedule(&mut self, id: RecordId, at: Option<Timestamp>) {
        let (Some(active), Some(at)) = (self.active.get_mut(&id), at) else { return };
        active.due = Some(at);
        self.due.insert((at, id));
    }
}
