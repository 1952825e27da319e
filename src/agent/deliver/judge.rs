//! What a look means: how each channel stands, and which keys are to be written.

use std::sync::Arc;

use super::orders::{Delivery, DeliveryOrder, Origin, Seen, Untold};
use super::{LOOK_EVERY, LOOK_OFTEN, Room, Target, adopted_id, places_of};
use crate::channel::ownership::{self, Adoption, AdoptionState, Owner};
use crate::channel::policy::{self, ChannelDecision, ChannelState, LAG_MARGIN, Look};
use crate::channel::view::{ChannelView, Status};
use crate::config::plan::{ChannelSelect, GatewayKind};
use crate::credential::event::{Event, Topic};
use crate::credential::record::{ByRecord, Record};
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
        origin: Origin,
        seen: Result<Seen, GatewayError>,
        records: &ByRecord<Box<Record>>,
        vault: &VaultHandle,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> Option<DeliveryOrder> {
        // A look of the room before this one: its own is on its way.
        if !self.ordered(origin) {
            return None;
        }
        self.busy = false;
        // What was ordered before the channels changed says nothing of those that are fed now.
        if origin != self.origin {
            self.look_soon();
            return None;
        }
        self.looked = true;
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                self.untold.clear();
                if let GatewayError::Database(reason) = error {
                    self.note_trouble(reason, now, events);
                }
                return None;
            }
        };
        for index in &seen.indexes {
            self.untold.remove(index);
        }
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
        self.unloaded = seen.unloaded.clone();
        let kind = self.handle.kind();
        let named = self.by_name(&seen);
        self.let_go(&seen.indexes);
        let mut deliveries = Vec::new();
        for index in seen.indexes.iter().copied() {
            let record = records.get(&self.targets[index].record).map(|record| &**record);
            let fingerprinter = vault.fingerprinter();
            if let Some(delivery) = self.judge_target(index, record, &seen, &named, kind, fingerprinter, now, events) {
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
            self.adoptions.entry(publication.id).or_insert_with(|| {
                let selected_by = adoption.state.selected_by.clone();
                let state = AdoptionState { selected_by, ..AdoptionState::default() };
                Box::new(Adoption { state, ..Adoption::clone(adoption) })
            });
        }
        if deliveries.is_empty() || self.trouble.is_some() && !self.writable {
            return None;
        }
        self.busy = true;
        Some(DeliveryOrder { origin: self.origin, handle: self.handle.clone(), vault: vault.clone(), deliveries })
    }

    /// The rows in the order of their names, if a name is to be looked up.
    fn by_name<'v>(&self, seen: &'v Seen) -> Vec<&'v ChannelView> {
        let is_looked_up = |target: &Target| {
            matches!(target.select, ChannelSelect::Name(_)) && adopted_id(&self.adoptions, target).is_none()
        };
        if !seen.indexes.iter().any(|index| is_looked_up(&self.targets[*index])) {
            return Vec::new();
        }
        let mut named: Vec<&ChannelView> = seen.views.iter().collect();
        named.sort_by(|one, other| one.name.cmp(&other.name));
        named
    }

    /// Forgets which channels these targets feed: they are judged afresh.
    fn let_go(&mut self, indexes: &[usize]) {
        if indexes.len() == self.targets.len() {
            return self.holders.clear();
        }
        for index in indexes {
            if let Some(id) = self.targets[*index].standing.id
                && self.holders.get(&id) == Some(index)
            {
                self.holders.remove(&id);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one step of judge(), apart for reading")]
    fn judge_target(
        &mut self,
        index: usize,
        record: Option<&Record>,
        seen: &Seen,
        named: &[&ChannelView],
        kind: Option<GatewayKind>,
        fingerprinter: &Fingerprinter,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> Option<Delivery> {
        let view = match self.find(index, &seen.views, named) {
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
        // Those that are not looked at this time feed theirs, too.
        if let Some(view) = view
            && let holder = *self.holders.entry(view.id).or_insert(index)
            && holder != index
        {
            let reason = ChannelReason::ListedTwice { owner: self.targets[holder].credential.to_string() };
            self.stand(index, Some(view), ChannelState::Conflict, Some(reason), now, events);
            return None;
        }
        let target = &self.targets[index];
        let seen_as = view.and_then(|view| self.adoptions.get(&view.id));
        let adoption = seen_as.or_else(|| self.adoptions.get(&adopted_id(&self.adoptions, target)?)).map(Box::as_ref);
        let grant = record.and_then(|record| record.access.as_ref());
        let (key, mut supported) = match grant.map(|grant| grant.key(&target.key)).transpose() {
            Ok(key) => (key, Ok(())),
            Err(reason) => (None, Err(reason)),
        };
        if let (Some(view), Some(kind)) = (view, kind) {
            supported = supports(kind, view, target.key_is_explicit).and(supported);
        }
        let generation = record.map_or(0, |record| record.state.generation);
        let is_shown = view.is_some_and(|view| view.key.is_some());
        let fingerprint = key.as_ref().filter(|_| !is_shown).map(|key| fingerprinter.of(key).hex());
        let owner = match (view, adoption) {
            (Some(view), Some(adoption)) if is_shown && key != view.key => match seen.ours.get(&view.id) {
                Some(ours) => ownership::owner(view, Some(adoption), key.as_ref(), None, *ours),
                None => {
                    self.ask_again(index, view.id, now);
                    return None;
                }
            },
            (Some(view), adoption) => ownership::owner(view, adoption, key.as_ref(), fingerprint.as_deref(), false),
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
        if owner == Owner::Current && stays(&decision) {
            self.mark_found(index, view, record, now);
        }
        let reenable = match decision {
            ChannelDecision::Leave(state) => {
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
                // What the gateway refused is tried again, and not told again.
                if self.targets[index].standing.state != ChannelState::Unsupported {
                    self.stand(index, view, ChannelState::Pending, None, now, events);
                }
                return self.return_key(index, view?, adoption_id?);
            }
            ChannelDecision::Publish { reenable } => reenable,
            ChannelDecision::Reenable => true,
        };
        let (view, record, key) = (view?, record?, key?);
        let delivery = self.delivery(index, view, record, key, owner, reenable, fingerprinter, now);
        // Another try is not told of, and does not end what was.
        let (state, reason) = match self.targets[index].standing.reason.as_deref() {
            Some(ChannelReason::Refused) => (ChannelState::Unsupported, Some(ChannelReason::Refused)),
            _ => (ChannelState::Pending, None),
        };
        self.stand(index, Some(view), state, reason, now, events);
        Some(delivery)
    }

    /// The row that a target means; `Ok(None)` when there is none. `named` are the rows in the order of their names.
    fn find<'v>(
        &self,
        index: usize,
        views: &'v [ChannelView],
        named: &[&'v ChannelView],
    ) -> Result<Option<&'v ChannelView>, ChannelReason> {
        let target = &self.targets[index];
        let by_id = |id: i64| Some(&views[views.binary_search_by_key(&id, |view| view.id).ok()?]);
        match (adopted_id(&self.adoptions, target), &target.select) {
            (Some(id), _) => Ok(by_id(id)),
            (None, ChannelSelect::Id(id)) => Ok(by_id(*id)),
            (None, ChannelSelect::Name(name)) => {
                let first = named.partition_point(|view| view.name < *name);
                let bear_it = named[first..].iter().take_while(|view| view.name == *name);
                match bear_it.clone().count() {
                    1 => Ok(Some(named[first])),
                    _ => {
                        let ids = bear_it.map(|view| view.id).collect();
                        Err(ChannelReason::NameMatches { name: name.clone(), ids })
                    }
                }
            }
        }
    }

    /// Nobody said yet whether the key that was found is one of ours. A name that was just resolved is asked about by
    /// its id at once; where a new key came meanwhile it is looked at anyway; else something does not answer, and is
    /// not pressed.
    fn ask_again(&mut self, index: usize, id: i64, now: Timestamp) {
        if self.targets[index].standing.id.replace(id) != Some(id) {
            self.mark_dirty(index);
        } else if !self.is_dirty(index) {
            self.next_look = self.next_look.min(now + LOOK_OFTEN);
        }
    }

    /// The channel holds the right key already. The vault may not know it as this target's: the program died after a
    /// publish, the config names the channel otherwise, or a person asked to take it over.
    fn mark_found(&mut self, index: usize, view: Option<&ChannelView>, record: Option<&Record>, now: Timestamp) {
        let (Some(view), Some(record)) = (view, record) else { return };
        let target = &mut self.targets[index];
        let Some(adoption) = self.adoptions.get_mut(&view.id) else { return };
        let (selected_by, generation) = (name_in(&target.select), record.state.generation);
        let is_known = adoption.record == target.record
            && adoption.state.generation == generation
            && adoption.state.selected_by.as_deref() == selected_by
            && !adoption.state.take_over;
        if !is_known {
            adoption.record = target.record;
            adoption.state.generation = generation;
            adoption.state.selected_by = selected_by.map(str::to_owned);
            adoption.state.take_over = false;
            adoption.state.delivered_at.get_or_insert(now);
            self.wishes.notes.push(Change::Adoption(adoption.clone()));
        }
        target.standing.delivered_at = adoption.state.delivered_at;
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
            gives_back: true,
        };
        // After a crash it must not be taken for a key that is ours to replace.
        let before = vec![Change::Adoption(adoption.clone())];
        Some(Delivery { record: target.record, select: target.select.clone(), publication, adoption, before })
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
        self.wishes.notes.push(Change::Adoption(adoption.clone()));
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
        let selected_by = name_in(&target.select).map(str::to_owned);
        let mut before = Vec::new();
        let mut adoption = known.cloned().unwrap_or_else(|| {
            Box::new(Adoption {
                gateway: Arc::clone(&self.plan.name),
                channel: view.id,
                created_time: view.created_time,
                name: view.name.as_str().into(),
                record: target.record,
                displaced: view.key.clone(),
                state: AdoptionState::default(),
            })
        });
        adoption.record = target.record;
        if std::mem::take(&mut adoption.state.take_over) && owner == Owner::Stranger {
            // What is displaced now is what `release` puts back.
            adoption.displaced = view.key.clone();
            before.push(Change::Adoption(adoption.clone()));
        }
        if *adoption.name != *view.name {
            adoption.name = view.name.as_str().into();
        }
        adoption.state.selected_by = selected_by;
        if owner == Owner::Unadopted {
            // The displaced key is safe before it is displaced.
            adoption.displaced = view.key.clone();
            before.push(Change::Adoption(adoption.clone()));
        }
        if is_new_key && target.fingerprinted.as_ref() != Some(&key) {
            // After a crash our own key must not look like a stranger's.
            let (kind, fingerprint) = (FingerprintKind::Key, fingerprinter.of(&key));
            before.push(Change::Seen { record: target.record, kind, fingerprint, at: now });
        }
        adoption.state.generation = record.state.generation;
        adoption.state.fingerprint = view.key.is_none().then(|| fingerprinter.of(&key).hex().into());
        if is_new_key {
            adoption.state.key_written_at = Some(now);
            adoption.state.late = view.status != Status::Enabled || known.is_none() || target.is_late;
        }
        let publication = Publication {
            id: view.id,
            created_time: view.created_time,
            expected: view.key.clone(),
            key,
            reenable,
            gives_back: false,
        };
        Delivery { record: target.record, select: target.select.clone(), publication, adoption, before }
    }

    /// Handles what the writes came to. Returns what is to be noted in the vault.
    pub fn delivered(
        &mut self,
        origin: Origin,
        results: Vec<(Delivery, Result<Published, GatewayError>)>,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> Vec<Change> {
        // What the room before this one wrote is remembered here; how it stands, this one's own look says.
        let is_own = self.ordered(origin);
        self.busy &= !is_own;
        let mut changes = Vec::new();
        let mut trouble = None;
        for (delivery, result) in results {
            let is_its = |index: &usize| is_own && self.targets[*index].select == delivery.select;
            let index = places_of(&self.by_record, delivery.record).find(is_its);
            match result {
                Ok(published) => {
                    let Delivery { mut adoption, publication, .. } = delivery;
                    if self.plan.database.file().is_some() && is_own {
                        self.only_ours_since.get_or_insert(now);
                    }
                    let is_released = self.settle_with(&mut adoption);
                    if is_released != publication.gives_back {
                        // A person decided otherwise while it was on its way.
                        self.look_soon();
                    }
                    if publication.gives_back {
                        tracing::info!(gateway = %self.plan.name, channel = publication.id, "key given back");
                        if let Some(index) = index.filter(|_| is_released) {
                            self.stand(index, None, ChannelState::Released, None, now, events);
                        }
                        continue;
                    }
                    adoption.state.delivered_at = Some(now);
                    adoption.state.only_ours_since = self.only_ours_since;
                    if published.reenabled || adoption.state.late {
                        self.watch_until = self.watch_until.max(now + self.lag() + LAG_MARGIN);
                    }
                    changes.push(Change::Adoption(adoption.clone()));
                    self.adoptions.insert(publication.id, adoption);
                    let Some(index) = index else { continue };
                    let target = &mut self.targets[index];
                    target.fingerprinted = Some(publication.key);
                    target.replaced = None;
                    target.standing.delivered_at = Some(now);
                    target.conflicts = 0;
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
                    if self.is_told() {
                        self.untold.insert(index);
                    }
                }
                Err(GatewayError::Channel(ChannelReason::Conflict)) => {
                    if let Some(index) = index {
                        self.conflicted(index, now, events);
                    }
                }
                Err(GatewayError::Channel(reason)) => {
                    if let Some(index) = index {
                        self.stand(index, None, ChannelState::Unsupported, Some(reason), now, events);
                    }
                }
                Err(GatewayError::Database(reason)) => trouble = Some(reason),
            }
        }
        // Once for all that it stopped: each time makes the next look wait longer.
        if let Some(reason) = trouble.filter(|_| is_own) {
            self.note_trouble(reason, now, events);
        }
        changes
    }

    /// What people and looks changed in an adoption while its key was on its way counts. Returns whether the channel was
    /// given back.
    fn settle_with(&self, adoption: &mut Adoption) -> bool {
        if let Some(known) = self.adoptions.get(&adoption.channel) {
            adoption.state.released = known.state.released;
            adoption.state.reenabled_at.clone_from(&known.state.reenabled_at);
        }
        adoption.state.released
    }

    /// Somebody wrote between our look and our write: look again. Where that goes on and on, it is not pressed, and told.
    fn conflicted(&mut self, index: usize, now: Timestamp, events: &mut Vec<Event>) {
        let target = &mut self.targets[index];
        target.conflicts = target.conflicts.saturating_add(1);
        match target.conflicts {
            1 => self.mark_dirty(index),
            again => self.next_look = self.next_look.min(now + LOOK_EVERY.min(LOOK_OFTEN * (again - 1))),
        }
        self.tell_undelivered(index, &ChannelReason::Conflict.into(), now, events);
    }
}

/// Whether a channel that holds our key goes on holding it, and is ours to feed.
fn stays(decision: &ChannelDecision) -> bool {
    match decision {
        ChannelDecision::Leave(state) | ChannelDecision::Report(state, _) => {
            matches!(state, ChannelState::Delivered | ChannelState::DisabledByHand | ChannelState::Flapping)
        }
        ChannelDecision::Refresh => true,
        ChannelDecision::Publish { .. } | ChannelDecision::Reenable | ChannelDecision::GiveBack => false,
    }
}

/// The name by which the config names a channel.
fn name_in(select: &ChannelSelect) -> Option<&str> {
    match select {
        ChannelSelect::Name(name) => Some(name),
        ChannelSelect::Id(_) => None,
    }
}
