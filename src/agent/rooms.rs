//! The loop's side of delivery: orders looks, and hands what they bring to the [`Room`] they are about.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::deliver::{Delivery, Room, Seen};
use crate::agent::{Agent, Report};
use crate::channel::policy::ChannelState;
use crate::config::plan::{CredentialPlan, GatewayPlan};
use crate::credential::event::{ChannelName, Event, Topic};
use crate::credential::record::RecordId;
use crate::failpoint::failpoint;
use crate::gateway::{GatewayError, Published};
use crate::time::Timestamp;

impl Agent {
    pub(super) fn seen(&mut self, name: &str, seen: Result<Seen, GatewayError>) {
        let now = self.now();
        let mut events = Vec::new();
        let same_as = self.same_database(name);
        let Some(room) = self.rooms.get_mut(name) else { return };
        let (looked, lag) = (room.looked, room.lag());
        // Which file it is can be seen as soon as there is one.
        if seen.is_ok() && (!looked || room.trouble.is_some()) {
            room.same_as = same_as;
        }
        // Whose keys could be delivered before, of those that were looked at: only these can change one by one.
        let indexes = seen.as_ref().map_or(&[][..], |seen| seen.indexes());
        let looked_at = indexes.iter().filter_map(|index| room.targets.get(*index)).map(|target| target.record);
        let could: Vec<(RecordId, bool)> = looked_at.map(|id| (id, room.could_deliver(id))).collect();
        let (was_writable, trouble) = (room.writable, room.trouble.clone());
        if let Some(order) = room.judge(seen, &self.records, &self.shared.vault, now, &mut events) {
            let (name, reports) = (Arc::clone(&room.plan.name), self.reports.clone());
            tokio::spawn(async move {
                // The agent is gone when nobody listens.
                let _ = reports.send(Report::Delivered(name, order.carry_out().await));
            });
        }
        let wishes = std::mem::take(&mut room.wishes);
        let first = !looked && room.looked;
        let lag_changed = room.lag() != lag;
        let trouble = (room.trouble != trouble).then(|| room.trouble.clone());
        let well = room.targets.iter().map(|target| &target.standing).filter(|_| first);
        let well: Vec<ChannelName> = well
            .filter(|standing| standing.state == ChannelState::Delivered)
            .map(|standing| ChannelName { gateway: name.to_owned(), id: standing.id, name: standing.name.clone() })
            .collect();
        let news: Vec<RecordId> = if first || lag_changed || room.writable != was_writable {
            room.targets.iter().map(|target| target.record).collect()
        } else {
            could.into_iter().filter(|(id, could)| room.could_deliver(*id) != *could).map(|(id, _)| id).collect()
        };
        match trouble {
            Some(Some((reason, _))) => {
                let reason = self.words(&reason.into(), "NAME");
                tracing::warn!(gateway = name, reason, "the gateway's database cannot be used now");
            }
            Some(None) => tracing::info!(gateway = name, "the gateway's database can be used"),
            None => {}
        }
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

    /// The gateway before this one in the config whose database is the very same file.
    fn same_database(&self, name: &str) -> Option<Arc<str>> {
        use std::os::unix::fs::MetadataExt;
        let place = |gateway: &GatewayPlan| {
            let metadata = std::fs::metadata(&gateway.database).ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        let mine = place(self.plan.gateway(name)?)?;
        let mut before = self.plan.gateways.iter().take_while(|gateway| &*gateway.name != name);
        before.find(|gateway| place(gateway) == Some(mine)).map(|gateway| Arc::clone(&gateway.name))
    }

    pub(super) fn look_around(&mut self, now: Timestamp) {
        for room in self.rooms.values_mut() {
            let Some(order) = room.order_look(&self.records, &self.shared.vault, now) else { continue };
            let (name, reports) = (Arc::clone(&room.plan.name), self.reports.clone());
            tokio::spawn(async move {
                // The agent is gone when nobody listens.
                let _ = reports.send(Report::Seen(name, Box::new(order.carry_out().await)));
            });
        }
    }

    pub(super) fn delivered(&mut self, name: &str, results: Vec<(Delivery, Result<Published, GatewayError>)>) {
        let now = self.now();
        let mut events = Vec::new();
        let Some(room) = self.rooms.get_mut(name) else { return };
        let changes = room.delivered(results, now, &mut events);
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
