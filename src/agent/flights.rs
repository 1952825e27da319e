//! Refreshes as the loop sees them: which may leave, which are under way, and what came of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::agent::aside::Errand;
use crate::agent::queue::Turn;
use crate::agent::refresh::{Flight, FlightReport, Landing};
use crate::agent::rooms::lag;
use crate::agent::{Agent, Mode, Next};
use crate::credential::event::{Event, Topic};
use crate::credential::policy::is_short_lived;
use crate::credential::record::{HaltKind, Record, RecordId, Settled};
use crate::reason::{Reason, TokenReason, VaultReason};
use crate::time::Timestamp;
use crate::vault::Change;

/// How long a refresh may wait for the first look at its channels.
const FIRST_LOOK: Duration = Duration::from_secs(6);

impl Agent {
    /// Lines a refresh up, if its answer could be delivered.
    pub(super) fn line_up(&mut self, id: RecordId, now: Timestamp) {
        let Some(active) = self.active.get(&id) else { return };
        // A pass of its own does what was asked and nothing else.
        if self.mode == Mode::Once && !self.passes.want(id, &active.plan) {
            return;
        }
        let mut rooms = active.plan.channels.iter().filter_map(|channel| self.rooms.get(&channel.gateway));
        // The kind of a gateway is part of the lag: not before the first look, unless that takes too long.
        if rooms.any(|room| !room.looked) && now < self.started_at + FIRST_LOOK {
            return self.schedule(id, Some(self.started_at + FIRST_LOOK));
        }
        if !self.may_spend(id) {
            return;
        }
        let (Some(active), Some(record)) = (self.active.get_mut(&id), self.records.get(&id)) else { return };
        active.queued = true;
        let dies = record.access.as_ref().map_or(Timestamp::EPOCH, |grant| grant.expires_at);
        let mut gateways = active.plan.channels.iter().map(|channel| &channel.gateway);
        let gateway = gateways.next().filter(|first| gateways.all(|gateway| gateway == *first));
        self.queue.push(&active.host(), gateway, dies, id);
    }

    /// Whether a refresh may leave: nothing is spent for the first time that cannot be delivered. The next look says when
    /// it can.
    fn may_spend(&self, id: RecordId) -> bool {
        let (Some(active), Some(record)) = (self.active.get(&id), self.records.get(&id)) else { return false };
        let mut rooms = active.plan.channels.iter().filter_map(|channel| self.rooms.get(&channel.gateway));
        record.state.generation > 0 || rooms.any(|room| room.could_deliver(id))
    }

    /// Lets a refresh do what it may. While it waited its channels may have become what they are not written to.
    pub(super) fn take_turn(&mut self, turn: Turn) {
        match turn {
            Turn::Now(id) => {
                self.launch(id, None);
                self.leaves(id);
            }
            Turn::GetReady(id, leave) => self.launch(id, Some(leave)),
            Turn::Leave(id, leave) => {
                if self.may_spend(id) && !leave.is_closed() {
                    self.aside.note(Errand::Leave(leave));
                    self.leaves(id);
                }
            }
        }
    }

    /// A request leaves: what it was wanted for is done.
    fn leaves(&mut self, id: RecordId) {
        let Some(active) = self.active.get_mut(&id).filter(|active| active.in_flight) else { return };
        (active.forced, active.forced_by_pass) = (false, false);
        self.passes.note_try(id);
    }

    fn launch(&mut self, id: RecordId, leave: Option<oneshot::Receiver<()>>) {
        let (now, may_spend) = (self.now(), self.may_spend(id));
        let (Some(active), Some(record)) = (self.active.get_mut(&id), self.records.get(&id)) else { return };
        active.queued = false;
        if !may_spend {
            return self.queue.done(&active.host(), id, now);
        }
        active.in_flight = true;
        let plan = Arc::clone(&active.plan);
        let flight = Flight {
            shared: Arc::clone(&self.shared),
            vault: self.aside.vault(&self.shared.vault),
            plan: Arc::clone(&plan),
            record: Record::clone(record),
            leave,
        };
        let reports = self.flight_reports.clone();
        // The agent outlives every flight: it waits for them.
        let flying = flight.fly(move |id, report| drop(reports.send((id, report))));
        self.aside.note(Errand::Fly(Box::pin(self.flights.track_future(flying))));
        if self.flights.len() == 1 {
            self.expect_key(&plan);
        }
    }

    pub(super) fn flew(&mut self, id: RecordId, report: FlightReport) {
        self.tidying.worked(self.now());
        match report {
            FlightReport::Answered { pause, has_key } => {
                let now = self.now();
                if has_key {
                    self.look_ahead(id);
                }
                let Some(active) = self.active.get(&id) else { return };
                self.queue.done(&active.host(), id, now);
                let left = pause.map(|until| self.queue.pause(&active.host(), until)).unwrap_or_default();
                for id in left {
                    if let Some(active) = self.active.get_mut(&id) {
                        active.queued = false;
                    }
                    self.consider(id);
                }
            }
            FlightReport::VaultTrouble(reason) => self.vault_failed(reason),
            FlightReport::Settled(landing) => self.landed(id, *landing),
        }
    }

    pub(super) fn landed(&mut self, id: RecordId, landing: Landing) {
        let Landing { record, settled, grounded, took, held } = landing;
        self.held.extend(held);
        let now = self.now();
        if record.is_some()
            && let Some(reason) = self.vault_trouble.take()
        {
            let event = Event { reason: Some(reason.into()), ..Event::new(now, Topic::Recovered) };
            self.event(event);
        }
        let Some(active) = self.active.get_mut(&id) else { return };
        active.in_flight = false;
        let next = active.next.take();
        // What left the config meanwhile is counted no more.
        if let Some(settled) = settled.filter(|_| !matches!(next, Some(Next::Stop))) {
            self.counters.refreshed(&active.plan.name, settled, Some(took));
        }
        let since = self.records.get(&id).and_then(|record| record.state.failing_since);
        if let Some(record) = record {
            let refreshed = settled == Some(Settled::Refreshed);
            if refreshed {
                active.told_of_end = None;
                let before = self.records.get(&id).and_then(|record| record.access.as_ref());
                for room in self.rooms.values_mut() {
                    room.key_is_new(&record, before, now);
                }
                let expires_at = record.access.as_ref().map(|grant| tracing::field::display(grant.expires_at));
                let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                tracing::info!(
                    credential = %active.plan.name, took_ms, expires_at, "refreshed"
                );
            }
            let lag = lag(&self.rooms, &active.plan);
            let short = record.access.as_ref().filter(|grant| refreshed && is_short_lived(&active.plan, grant, lag));
            let short = short.filter(|_| !std::mem::replace(&mut active.told_short, true)).map(|grant| {
                let lifetime_seconds = grant.expires_at.since(grant.issued_at).as_secs();
                TokenReason::ShortLived { lifetime_seconds, lag_seconds: lag.as_secs() }
            });
            if let Some(reason) = short {
                let reason = self.words(&reason.into(), &record.name);
                tracing::warn!(credential = %record.name, reason, "the key is short-lived");
            }
            self.records.insert(id, Box::new(record));
        } else if let (Some(reason), Some(record)) = (grounded, self.records.get_mut(&id)) {
            let name = Arc::clone(&active.plan.name);
            record.ground(&active.plan, reason.clone(), now, fastrand::f64());
            self.shared.vault.commit_soon(vec![Change::Record(record.clone())]);
            match reason {
                Reason::Vault(reason) => {
                    let words = self.words(&reason.clone().into(), &name);
                    tracing::warn!(credential = %name, reason = words, "no request was sent");
                    // A server may be away for a moment; that is told when it lasts.
                    let passes = matches!(
                        reason,
                        VaultReason::ServerAway { .. } | VaultReason::Displaced { .. } | VaultReason::ThreadEnded
                    );
                    if !passes {
                        self.vault_failed(reason);
                    }
                }
                // A secret that is missing is told as anything else that keeps a key from being replaced.
                _ => self.tell_settled(id, Settled::Failed, since),
            }
        }
        if let Some(settled) = settled {
            self.tell_settled(id, settled, since);
        }
        match next {
            Some(Next::Stop) => {
                self.deactivate(id);
                self.read_orphaned_seeds();
            }
            Some(Next::Replace(plan)) => {
                let name = Arc::clone(&plan.name);
                self.replace_now(id, plan);
                self.retarget();
                self.read_seeds([name]);
            }
            None => {
                if let Some(active) = self.active.get_mut(&id).filter(|active| active.seed_unread) {
                    active.seed_unread = false;
                    let name = Arc::clone(&active.plan.name);
                    self.read_seeds([name]);
                }
                self.consider(id);
            }
        }
    }

    /// Tells that the vault does not take what must be durable: once, however many credentials meet it.
    pub(super) fn vault_failed(&mut self, reason: VaultReason) {
        if self.vault_trouble.as_ref() == Some(&reason) {
            return;
        }
        self.vault_trouble = Some(reason.clone());
        let event = Event { reason: Some(reason.into()), ..Event::new(self.now(), Topic::VaultTrouble) };
        self.event(event);
    }

    pub(super) fn halt(&mut self, id: RecordId, kind: HaltKind, reason: TokenReason) {
        let now = self.now();
        let Some(record) = self.records.get_mut(&id) else { return };
        let settled = record.halt(kind, reason, now);
        self.shared.vault.commit_soon(vec![Change::Record(record.clone())]);
        self.tell_settled(id, settled, None);
    }
}
