//! The loop's side of delivery: orders looks, and hands what they bring to the [`Room`] they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::agent::deliver::{Delivery, LookOrder, Origin, Room, Seen};
use crate::agent::{Agent, Report};
use crate::channel::policy::ChannelState;
use crate::config::plan::CredentialPlan;
use crate::credential::event::{ChannelName, Event, Topic};
use crate::credential::record::RecordId;
use crate::failpoint::failpoint;
use crate::gateway::thread::GatewayHandle;
use crate::gateway::{GatewayError, Published};
use crate::reason::ChannelReason;
use crate::telemetry::metrics::Delivered;
use crate::time::Timestamp;

impl Agent {
    pub(super) fn seen(&mut self, name: &str, origin: Origin, seen: Result<Seen, GatewayError>) {
        let now = self.now();
        let mut events = Vec::new();
        let Some(room) = self.rooms.get_mut(name) else { return };
        let looked = room.looked;
        // Whose keys could be delivered before, of those that were looked at: only these can change one by one.
        let indexes = seen.as_ref().map_or(&[][..], |seen| seen.indexes());
        let looked_at = indexes.iter().filter_map(|index| room.targets.get(*index)).map(|target| target.record);
        let could: Vec<(RecordId, bool)> = looked_at.map(|id| (id, room.could_deliver(id))).collect();
        let was_writable = room.writable;
        let order = room.judge(origin, seen, &self.records, &self.shared.vault, now, &mut events);
        if order.is_some() && self.unsure.is_some() {
            // What may be another's to write is not written.
            room.busy = false;
            room.look_soon();
        } else if let Some(order) = order {
            let (name, origin, reports) = (Arc::clone(&room.plan.name), order.origin, self.reports.clone());
            tokio::spawn(async move {
                // The agent is gone when nobody listens.
                let _ = reports.send(Report::Delivered(name, origin, order.carry_out().await));
            });
        }
        let wishes = std::mem::take(&mut room.wishes);
        let first = !looked && room.looked;
        let lag_changed = room.lag_changed();
        let well = room.targets.iter().map(|target| &target.standing).filter(|_| first);
        let well: Vec<ChannelName> = well
            .filter(|standing| standing.state == ChannelState::Delivered)
            .map(|standing| ChannelName { gateway: name.to_owned(), id: standing.id, name: standing.name.to_string() })
            .collect();
        let news: Vec<RecordId> = if first || lag_changed || room.writable != was_writable {
            room.targets.iter().map(|target| target.record).collect()
        } else {
            could.into_iter().filter(|(id, could)| room.could_deliver(*id) != *could).map(|(id, _)| id).collect()
        };
        self.log_trouble(name);
        if !wishes.notes.is_empty() {
            self.shared.vault.commit_soon(wishes.notes);
        }
        for id in wishes.refresh {
            if let Some(active) = self.active.get_mut(&id) {
                active.forced = true;
            }
            self.consider(id);
        }
        for id in news {
            self.consider(id);
        }
        self.events(events);
        for channel in well {
            self.end_if_standing(Event { channel: Some(channel), ..Event::new(now, Topic::Recovered) });
        }
    }

    /// Logs what is wrong with a gateway's database, once, and its end. Not while keys are on their way: they may meet
    /// what a look does not.
    fn log_trouble(&mut self, name: &str) {
        let Some(room) = self.rooms.get_mut(name).filter(|room| !room.busy) else { return };
        let trouble = room.trouble.as_ref().map(|(reason, _)| reason.clone());
        if room.logged == trouble {
            return;
        }
        room.logged.clone_from(&trouble);
        match trouble {
            Some(reason) => {
                let reason = self.words(&reason.into(), "NAME");
                tracing::warn!(gateway = name, reason, "the gateway's database cannot be used now");
            }
            None => tracing::info!(gateway = name, "the gateway's database can be used"),
        }
    }

    pub(super) fn look_around(&mut self, now: Timestamp) {
        let handles: Vec<(Arc<str>, GatewayHandle)> = self
            .plan
            .gateways
            .iter()
            .filter_map(|gateway| Some((Arc::clone(&gateway.name), self.rooms.get(&gateway.name)?.handle.clone())))
            .collect();
        let mut known = Vec::new();
        for room in self.rooms.values_mut() {
            if let Some((origin, seen)) = room.take_ahead(now) {
                known.push((Arc::clone(&room.plan.name), origin, seen));
            } else if let Some(mut order) = room.order_look(&self.records, &self.shared.vault, now) {
                order.compare_with(&handles);
                carry_out(order, &room.plan.name, &self.reports, Report::Seen);
            }
        }
        for (name, origin, seen) in known {
            self.seen(&name, origin, Ok(seen));
        }
    }

    /// This record is refreshed, and no other: its gateways are opened while its request is away.
    pub(super) fn expect_key(&self, plan: &CredentialPlan) {
        let gateways: BTreeSet<&str> = plan.channels.iter().map(|channel| &*channel.gateway).collect();
        gateways.into_iter().filter_map(|gateway| self.rooms.get(gateway)).for_each(Room::expect_key);
    }

    /// A refresh of this record brought a key, which is on its way into the vault: its channels are looked at meanwhile.
    pub(super) fn look_ahead(&mut self, id: RecordId) {
        let Some(active) = self.active.get(&id) else { return };
        let gateways: BTreeSet<&str> = active.plan.channels.iter().map(|channel| &*channel.gateway).collect();
        for gateway in gateways {
            if let Some(room) = self.rooms.get_mut(gateway)
                && let Some(order) = room.look_ahead(id, &self.records, &self.shared.vault)
            {
                carry_out(order, &room.plan.name, &self.reports, Report::SeenAhead);
            }
        }
    }

    pub(super) fn seen_ahead(&mut self, name: &str, origin: Origin, seen: Result<Seen, GatewayError>) {
        let now = self.now();
        if let Some(room) = self.rooms.get_mut(name) {
            room.looked_ahead(origin, seen, now);
        }
    }

    pub(super) fn delivered(
        &mut self,
        name: &str,
        origin: Origin,
        results: Vec<(Delivery, Result<Published, GatewayError>)>,
    ) {
        let now = self.now();
        let mut events = Vec::new();
        let Some(room) = self.rooms.get_mut(name) else { return };
        for (_, result) in &results {
            let delivered = match result {
                Ok(_) => Delivered::Ok,
                Err(GatewayError::Channel(ChannelReason::Conflict)) => Delivered::Conflict,
                Err(_) => Delivered::Failed,
            };
            self.counters.published(&room.plan.name, delivered);
        }
        let changes = room.delivered(origin, results, now, &mut events);
        self.log_trouble(name);
        failpoint!("before-mark");
        if !changes.is_empty() {
            self.shared.vault.commit_soon(changes);
        }
        self.events(events);
    }
}

/// The longest cache lag of the gateways that a credential feeds.
pub(super) fn lag(rooms: &BTreeMap<Arc<str>, Room>, plan: &CredentialPlan) -> Duration {
    let rooms = plan.channels.iter().filter_map(|channel| rooms.get(&channel.gateway));
    rooms.map(Room::lag).max().unwrap_or_default()
}

/// Makes a look away from the loop, and reports what it brought.
fn carry_out(
    order: LookOrder,
    gateway: &Arc<str>,
    reports: &mpsc::UnboundedSender<Report>,
    report: impl FnOnce(Arc<str>, Origin, Box<Result<Seen, GatewayError>>) -> Report + Send + 'static,
) {
    let (name, origin, reports) = (Arc::clone(gateway), order.origin, reports.clone());
    tokio::spawn(async move {
        // The agent is gone when nobody listens.
        let _ = reports.send(report(name, origin, Box::new(order.carry_out().await)));
    });
}
