//! What a look means: how each channel stands, and which keys are to be written.

use std::collections::HashMap;
use std::sync::Arc;

use super::orders::{Delivery, DeliveryOrder, Seen, Untold};
use super::{Room, adopted_id};
use crate::channel::ownership::{self, Adoption, AdoptionState, Owner};
use crate::channel::policy::{self, ChannelDecision, ChannelState, LAG_MARGIN, Look};
use crate::channel::view::{ChannelView, Status};
use crate::config::plan::{ChannelSelect, GatewayKind};
use crate::credential::event::{Event, Topic};
use crate::credential::record::{Record, RecordId};
use crate::gateway::kind::supports;
use crate::gateway::{BATCH, GatewayError, Publication, Published};
use crate::reason::ChannelReason;
use crate::secret::Secret;
use crate::time::Timestamp;
use crate::vault::{Change, FingerprintKind, Fingerprinter, VaultHandle};

impl Room {
    /// Handles what a look brought: how each channel stands now, and the keys that are to be written.
    pub fn judge(
        &mut self,
        seen: Result<Seen, GatewayError>,
        records: &HashMap<RecordId, Box<Record>>,
        vault: &VaultHandle,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> Option<DeliveryOrder> {
        self.busy = false;
        // What was ordered before the channels changed says nothing of those that are fed now.
        if seen.as_ref().is_ok_and(|seen| seen.serial != self.serial) {
            self.look_soon();
            return None;
        }
        self.looked = true;
        let seen = match seen {
            Ok(seen) => seen,
            Err(GatewayError::Database(reason)) => {
                self.note_trouble(reason, now, events);
                return None;
            }
            Err(GatewayError::Channel(_)) => return None,
        };
        match &seen.same_as {
            None => {}
            Some(Ok(same_as)) => {
                self.same_as.clone_from(same_as);
                self.compared = true;
            }
            // Asked again at the next look; what was known of it may still hold.
            Some(Err(Untold)) => self.compared = false,
        }
        match seen.writable.clone() {
            Some(Err(GatewayError::Database(reason))) => {
                self.writable = false;
                self.note_trouble(reason, now, events);
            }
            Some(_) => {
                self.writable = true;
                self.clear_trouble(now);
            }
            None => self.clear_trouble(now),
        }
        if let Some(other) = self.same_as.clone() {
            for index in 0..self.targets.len() {
                let reason = ChannelReason::SameDatabase { other: other.to_string() };
                self.stand(index, None, ChannelState::Conflict, Some(reason), now, events);
            }
            return None;
        }
        self.tell_unused(now, events);
        let kind = self.handle.kind();
        let mut taken: HashMap<i64, Arc<str>> = HashMap::new();
        let mut deliveries = Vec::new();
        for index in seen.indexes.iter().copied() {
            let record = records.get(&self.targets[index].record).map(|record| &**record);
            let fingerprinter = vault.fingerprinter();
            if let Some(delivery) =
                self.judge_target(index, record, &seen, kind, &mut taken, fingerprinter, now, events)
            {
                deliveries.push((self.targets[index].dies, index, delivery));
            }
        }
        // One commit's worth, soonest dead first; the rest is looked at right after.
        deliveries.sort_by_key(|(dies, ..)| *dies);
        for (dies, index, _) in deliveries.drain(BATCH.min(deliveries.len())..) {
            self.dirty.insert((dies, index));
        }
        let deliveries: Vec<Delivery> = deliveries.into_iter().map(|(.., delivery)| delivery).collect();
        for Delivery { publication, adoption, .. } in &deliveries {
            // Known from now on, whatever becomes of the write: the displaced key must not be forgotten.
            self.adoptions.entry(publication.id).or_insert_with(|| Adoption {
                state: AdoptionState { selected_by: adoption.state.selected_by.clone(), ..AdoptionState::default() },
                ..adoption.clone()
            });
        }
        if deliveries.is_empty() || self.trouble.is_some() && !self.writable {
            return None;
        }
        self.busy = true;
        Some(DeliveryOrder { handle: self.handle.clone(), vault: vault.clone(), deliveries })
    }

    #[expect(clippy::too_many_arguments, reason = "one step of judge(), apart for reading")]
    fn judge_target(
        &mut self,
        index: usize,
        record: Option<&Record>,
        seen: &Seen,
        kind: Option<GatewayKind>,
        taken: &mut HashMap<i64, Arc<str>>,
        fingerprinter: &Fingerprinter,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> Option<Delivery> {
        let view = match self.find(index, &seen.views) {
            Ok(view) => view,
            Err(reason) => {
                let state = match &reason {
                    ChannelReason::NameMatches { ids, .. } if !ids.is_empty() => ChannelState::Conflict,
                    _ => ChannelState::Missing,
                };
                self.stand(index, None, state, Some(reason), now, events);
                return None;
            }
        };
        let target = &self.targets[index];
        if let Some(view) = view
            && let Some(owner) = taken.insert(view.id, Arc::clone(&target.credential))
        {
            let reason = ChannelReason::ListedTwice { owner: owner.to_string() };
            self.stand(index, Some(view), ChannelState::Conflict, Some(reason), now, events);
            return None;
        }
        let adoption = view
            .and_then(|view| self.adoptions.get(&view.id))
            .or_else(|| adopted_id(&self.adoptions, target).and_then(|id| self.adoptions.get(&id)));
        let grant = record.and_then(|record| record.access.as_ref());
        let (key, mut supported) = match grant.map(|grant| grant.key(&target.key)).transpose() {
            Ok(key) => (key, Ok(())),
            Err(reason) => (None, Err(reason)),
        };
        if let (Some(view), Some(kind)) = (view, kind) {
            supported = supports(kind, view, target.key_is_explicit).and(supported);
        }
        let generation = record.map_or(0, |record| record.state.generation);
        let owner = match (view, adoption) {
            (Some(view), Some(adoption)) if view.key.is_some() && key != view.key => match seen.ours.get(&view.id) {
                Some(ours) => ownership::owner(view, Some(adoption), key.as_ref(), generation, *ours),
                // The key changed since the look was ordered: look again before judging.
                None => {
                    self.mark_dirty(index);
                    return None;
                }
            },
            (Some(view), adoption) => ownership::owner(view, adoption, key.as_ref(), generation, false),
            (None, _) => Owner::Unadopted,
        };
        let lag = self.lag();
        let look = Look {
            adoption,
            view,
            supported,
            owner,
            key_expires_at: grant.map(|grant| grant.expires_at),
            generation,
            lag,
        };
        let decision = policy::decide(&self.plan, look, now);
        let adoption_id = adoption.map(|adoption| adoption.channel);
        let reenable = match decision {
            ChannelDecision::Leave(state) => {
                self.mark_found(index, view, record, owner, now);
                self.stand(index, view, state, None, now, events);
                return None;
            }
            ChannelDecision::Report(state, reason) => {
                self.stand(index, view, state, Some(reason), now, events);
                return None;
            }
            ChannelDecision::Refresh => {
                self.ask_for_a_key(index, view, record, now);
                self.stand(index, view, ChannelState::Delivered, None, now, events);
                return None;
            }
            ChannelDecision::GiveBack => {
                self.stand(index, view, ChannelState::Released, None, now, events);
                return self.return_key(index, view?, adoption_id?);
            }
            ChannelDecision::Publish { reenable } => reenable,
            ChannelDecision::Reenable => true,
        };
        let (view, record, key) = (view?, record?, key?);
        let delivery = self.delivery(index, view, record, key, owner, reenable, fingerprinter, now);
        // Another try is not told of, and does not end what was.
        let (state, reason) = match &self.targets[index].standing.reason {
            Some(ChannelReason::Refused) => (ChannelState::Unsupported, Some(ChannelReason::Refused)),
            _ => (ChannelState::Pending, None),
        };
        self.stand(index, Some(view), state, reason, now, events);
        Some(delivery)
    }

    /// The row that a target means; `Ok(None)` when there is none.
    fn find<'v>(&self, index: usize, views: &'v [ChannelView]) -> Result<Option<&'v ChannelView>, ChannelReason> {
        let target = &self.targets[index];
        let by_id = |id: i64| Some(&views[views.binary_search_by_key(&id, |view| view.id).ok()?]);
        match (adopted_id(&self.adoptions, target), &target.select) {
            (Some(id), _) => Ok(by_id(id)),
            (None, ChannelSelect::Id(id)) => Ok(by_id(*id)),
            (None, ChannelSelect::Name(name)) => {
                let mut named = views.iter().filter(|view| view.name == *name);
                match (named.next(), named.next()) {
                    (Some(view), None) => Ok(Some(view)),
                    _ => {
                        let ids = views.iter().filter(|view| view.name == *name).map(|view| view.id).collect();
                        Err(ChannelReason::NameMatches { name: name.clone(), ids })
                    }
                }
            }
        }
    }

    /// The channel holds the right key already, and the vault does not know yet: the program died after a publish.
    fn mark_found(
        &mut self,
        index: usize,
        view: Option<&ChannelView>,
        record: Option<&Record>,
        owner: Owner,
        now: Timestamp,
    ) {
        let (Some(view), Some(record), Owner::Current) = (view, record, owner) else { return };
        let delivered_at = self.adoptions.get_mut(&view.id).map(|adoption| {
            if adoption.state.generation != record.state.generation {
                adoption.state.generation = record.state.generation;
                adoption.state.delivered_at.get_or_insert(now);
            }
            adoption.state.delivered_at
        });
        self.targets[index].standing.delivered_at = delivered_at.flatten();
    }

    /// The key that was there before we came, on its way back.
    fn return_key(&self, index: usize, view: &ChannelView, id: i64) -> Option<Delivery> {
        let target = &self.targets[index];
        let adoption = self.adoptions.get(&id)?.clone();
        let publication = Publication {
            id: view.id,
            created_time: view.created_time,
            expected: view.key.clone(),
            key: adoption.displaced.clone()?,
            reenable: false,
        };
        Some(Delivery {
            record: target.record,
            select: target.select.clone(),
            publication,
            adoption,
            before: Vec::new(),
        })
    }

    /// The gateway calls the key dead that we believed valid: another one is asked for, once for each key.
    fn ask_for_a_key(&mut self, index: usize, view: Option<&ChannelView>, record: Option<&Record>, now: Timestamp) {
        let (Some(view), Some(record)) = (view, record) else { return };
        let Some(adoption) = self.adoptions.get_mut(&view.id) else { return };
        adoption.state.asked_for_after = Some(record.state.generation);
        adoption.state.reenabled_at.push(now);
        let excess = adoption.state.reenabled_at.len().saturating_sub(10);
        adoption.state.reenabled_at.drain(..excess);
        self.wishes.refresh.push(record.id);
        self.wishes.notes.push(Change::Adoption(Box::new(adoption.clone())));
        tracing::warn!(
            credential = %self.targets[index].credential, gateway = %self.plan.name, channel = view.id,
            "the gateway calls the key dead: refreshing now"
        );
    }

    #[expect(clippy::too_many_arguments, reason = "one step of judge(), apart for reading")]
    fn delivery(
        &self,
        index: usize,
        view: &ChannelView,
        record: &Record,
        key: Secret,
        owner: Owner,
        reenable: bool,
        fingerprinter: &Fingerprinter,
        now: Timestamp,
    ) -> Delivery {
        let target = &self.targets[index];
        let known = self.adoptions.get(&view.id);
        let is_new_key = owner != Owner::Current;
        let selected_by = match &target.select {
            ChannelSelect::Name(name) => Some(name.clone()),
            ChannelSelect::Id(_) => None,
        };
        let mut before = Vec::new();
        let mut adoption = known.cloned().unwrap_or_else(|| Adoption {
            gateway: self.plan.name.to_string(),
            channel: view.id,
            created_time: view.created_time,
            name: view.name.clone(),
            record: target.record,
            displaced: view.key.clone(),
            state: AdoptionState::default(),
        });
        adoption.record = target.record;
        if std::mem::take(&mut adoption.state.take_over) && owner == Owner::Stranger {
            // What is displaced now is what `release` puts back.
            adoption.displaced = view.key.clone();
            before.push(Change::Adoption(Box::new(adoption.clone())));
        }
        adoption.name.clone_from(&view.name);
        adoption.state.selected_by = selected_by;
        if owner == Owner::Unadopted {
            // The displaced key is safe before it is displaced.
            adoption.displaced = view.key.clone();
            before.push(Change::Adoption(Box::new(adoption.clone())));
        }
        if is_new_key && target.fingerprinted.as_ref() != Some(&key) {
            // After a crash our own key must not look like a stranger's.
            let (kind, fingerprint) = (FingerprintKind::Key, fingerprinter.of(&key));
            before.push(Change::Seen { record: target.record, kind, fingerprint, at: now });
        }
        adoption.state.generation = record.state.generation;
        if is_new_key {
            adoption.state.key_written_at = Some(now);
            adoption.state.late = view.status != Status::Enabled || known.is_none() || target.is_late;
        }
        let publication =
            Publication { id: view.id, created_time: view.created_time, expected: view.key.clone(), key, reenable };
        Delivery { record: target.record, select: target.select.clone(), publication, adoption, before }
    }

    /// Handles what the writes came to. Returns what is to be noted in the vault.
    pub fn delivered(
        &mut self,
        results: Vec<(Delivery, Result<Published, GatewayError>)>,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> Vec<Change> {
        self.busy = false;
        let mut changes = Vec::new();
        for (delivery, result) in results {
            let of_record = self.by_record.get(&delivery.record);
            let index = of_record
                .and_then(|indexes| indexes.iter().find(|index| self.targets[**index].select == delivery.select))
                .copied();
            match result {
                Ok(published) => {
                    let Delivery { mut adoption, publication, .. } = delivery;
                    if self.plan.database.file().is_some() {
                        self.only_ours_since.get_or_insert(now);
                    }
                    if adoption.state.released {
                        tracing::info!(gateway = %self.plan.name, channel = publication.id, "key given back");
                        continue;
                    }
                    adoption.state.delivered_at = Some(now);
                    adoption.state.only_ours_since = self.only_ours_since;
                    if published.reenabled || adoption.state.late {
                        self.watch_until = self.watch_until.max(now + self.lag() + LAG_MARGIN);
                    }
                    changes.push(Change::Adoption(Box::new(adoption.clone())));
                    self.adoptions.insert(publication.id, adoption);
                    let Some(index) = index else { continue };
                    let target = &mut self.targets[index];
                    target.fingerprinted = Some(publication.key);
                    target.standing.delivered_at = Some(now);
                    tracing::info!(
                        credential = %target.credential, gateway = %self.plan.name, channel = publication.id,
                        reenabled = published.reenabled, "key delivered"
                    );
                    let by_hand = target.standing.status == Some(Status::DisabledByHand.as_i64());
                    let state = if by_hand { ChannelState::DisabledByHand } else { ChannelState::Delivered };
                    if published.reenabled {
                        target.standing.status = Some(Status::Enabled.as_i64());
                        events.push(self.event(index, Topic::Reenabled, now));
                    }
                    self.stand(index, None, state, None, now, events);
                }
                // Somebody wrote between our look and our write.
                Err(GatewayError::Channel(ChannelReason::Conflict)) => {
                    if let Some(index) = index {
                        self.mark_dirty(index);
                    }
                }
                Err(GatewayError::Channel(reason)) => {
                    if let Some(index) = index {
                        self.stand(index, None, ChannelState::Unsupported, Some(reason), now, events);
                    }
                }
                Err(GatewayError::Database(reason)) => self.note_trouble(reason, now, events),
            }
        }
        changes
    }
}
