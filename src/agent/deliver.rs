//! Delivery: look at the channels, decide, publish, mark, and watch that the key stays.
//!
//! A [`Room`] is one gateway with the channels we feed in it. It works from what is in memory and in the gateway; a
//! failing refresh does not stop it, and it never delays one. Looks and writes run on the gateway's thread; what
//! comes back is handled on the agent's loop.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::channel::ownership::{self, Adoption, AdoptionState, Owner};
use crate::channel::policy::{self, ChannelDecision, ChannelState, LAG_MARGIN, Look};
use crate::channel::view::{ChannelView, Status};
use crate::config::plan::{ChannelSelect, CredentialPlan, GatewayKind, GatewayPlan};
use crate::config::template::Template;
use crate::credential::event::{ChannelName, Event, Topic};
use crate::credential::record::{Record, RecordId};
use crate::failpoint::failpoint;
use crate::gateway::kind::supports;
use crate::gateway::thread::GatewayHandle;
use crate::gateway::{GatewayError, Publication, Published};
use crate::reason::{ChannelReason, GatewayReason};
use crate::secret::Secret;
use crate::time::Timestamp;
use crate::vault::{Change, FingerprintKind, Fingerprinter, VaultHandle};

/// How often the channels are looked at when nothing says that somebody wrote.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How often while a database is missing or not migrated yet, and while a late key is watched.
const LOOK_OFTEN: Duration = Duration::from_secs(1);
/// For how long only we may have written before people are told.
const UNUSED_AFTER: Duration = Duration::from_secs(86_400);
/// How long a key may be on its way before people are told.
const UNDELIVERED_AFTER: Duration = Duration::from_secs(60);

/// One gateway and the channels we feed in it.
pub struct Room {
    /// The gateway's plan.
    pub plan: Arc<GatewayPlan>,
    /// The way to its thread.
    pub handle: GatewayHandle,
    /// The channels, in the order of the config.
    pub targets: Vec<Target>,
    by_record: HashMap<RecordId, Vec<usize>>,
    /// Counts the changes of `targets`: what was ordered before one is judged by nobody.
    serial: u64,
    /// Channels to look at now, whatever [`Room::next_look`] says.
    dirty: BTreeSet<usize>,
    /// What is remembered of channels, by id.
    pub adoptions: HashMap<i64, Adoption>,
    /// When to look again.
    pub next_look: Timestamp,
    /// Whether a look or a write is under way.
    pub busy: bool,
    /// Whether these channels were looked at, with or without success.
    pub looked: bool,
    /// Whether a key could be written at the last probe.
    pub writable: bool,
    /// What is wrong with the database, and since when.
    pub trouble: Option<(GatewayReason, Timestamp)>,
    failures: u32,
    /// Until then the channels are looked at every second.
    watch_until: Timestamp,
    /// What looking brought up besides deliveries.
    pub wishes: Wishes,
    /// Another gateway of the config that is the same database: everything here is left to it.
    pub same_as: Option<Arc<str>>,
    /// Since when nobody but us wrote, from our own first write on.
    only_ours_since: Option<Timestamp>,
    told_unused: bool,
}

/// What a look brought up besides deliveries; the agent takes it from the room.
#[derive(Default)]
pub struct Wishes {
    /// Credentials to refresh now, because a gateway called their key dead.
    pub refresh: Vec<RecordId>,
    /// What is to be noted in the vault.
    pub notes: Vec<Change>,
}

/// A channel that a credential feeds.
pub struct Target {
    /// The credential's record.
    pub record: RecordId,
    /// The credential's name.
    pub credential: Arc<str>,
    /// How the config names the channel.
    pub select: ChannelSelect,
    key: Template,
    key_is_explicit: bool,
    /// How it stands.
    pub standing: Standing,
    /// A key whose fingerprint is in the vault: it may be written at once.
    fingerprinted: Option<Secret>,
    /// The key that the new one replaces had less than the cache lag to live.
    is_late: bool,
    pending_since: Option<Timestamp>,
    told_undelivered: bool,
}

/// How a channel stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// In a word.
    pub state: ChannelState,
    /// Why, where there is something to say.
    pub reason: Option<ChannelReason>,
    /// Its id, once it is known.
    pub id: Option<i64>,
    /// Its name, once it was seen.
    pub name: String,
    /// The gateway's status number.
    pub status: Option<i64>,
    /// When a key was last delivered.
    pub delivered_at: Option<Timestamp>,
}

impl Standing {
    fn unseen(select: &ChannelSelect) -> Self {
        let (id, name) = match select {
            ChannelSelect::Id(id) => (Some(*id), String::new()),
            ChannelSelect::Name(name) => (None, name.clone()),
        };
        Self { state: ChannelState::Pending, reason: None, id, name, status: None, delivered_at: None }
    }
}

/// What a look brought: the rows, and of each adopted one with a key we did not expect whether that key is one of
/// ours.
pub struct Seen {
    indexes: Vec<usize>,
    serial: u64,
    views: Vec<ChannelView>,
    /// By channel id: whether the vault knows the key that was found. Only of those that were asked for.
    ours: HashMap<i64, bool>,
    /// Whether a key could be written; `None` when that was not tried.
    writable: Option<Result<(), GatewayError>>,
}

/// A look that is to be made.
pub struct LookOrder {
    handle: GatewayHandle,
    vault: VaultHandle,
    indexes: Vec<usize>,
    serial: u64,
    selects: Vec<ChannelSelect>,
    expected: HashMap<i64, Secret>,
    probe: bool,
}

impl LookOrder {
    /// Looks; blocks nobody.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn carry_out(self) -> Result<Seen, GatewayError> {
        let views = self.handle.observe(self.selects).await?;
        let mut ours = HashMap::new();
        for view in &views {
            if self.expected.get(&view.id).is_some_and(|expected| *expected != view.key) {
                let fingerprint = self.vault.fingerprinter().of(&view.key);
                // A vault that cannot be read right now is no proof of a stranger: asked again at the next look.
                if let Ok(seen_by) = self.vault.seen_by(FingerprintKind::Key, fingerprint).await {
                    ours.insert(view.id, !seen_by.is_empty());
                }
            }
        }
        let writable = if self.probe { Some(self.handle.probe().await) } else { None };
        Ok(Seen { indexes: self.indexes, serial: self.serial, views, ours, writable })
    }
}

/// A key that is to be written, and what it means for the adoption.
#[derive(Clone)]
pub struct Delivery {
    /// The credential's record.
    pub record: RecordId,
    /// How the config names the channel.
    pub select: ChannelSelect,
    publication: Publication,
    /// The adoption as it will be when the key has arrived.
    adoption: Adoption,
    /// What must be durable before the gateway hears of the key.
    before: Vec<Change>,
}

/// Deliveries that are to be made.
pub struct DeliveryOrder {
    handle: GatewayHandle,
    vault: VaultHandle,
    deliveries: Vec<Delivery>,
}

impl DeliveryOrder {
    /// Writes: first what must be durable, then the keys.
    pub async fn carry_out(self) -> Vec<(Delivery, Result<Published, GatewayError>)> {
        let before: Vec<Change> = self.deliveries.iter().flat_map(|delivery| delivery.before.clone()).collect();
        if !before.is_empty()
            && let Err(error) = self.vault.commit(before).await
        {
            tracing::error!(%error, "no key is written while the vault cannot note it");
            let failed = GatewayError::Database(GatewayReason::Failed { error: "the vault cannot be written".into() });
            return self.deliveries.into_iter().map(|delivery| (delivery, Err(failed.clone()))).collect();
        }
        let publications = self.deliveries.iter().map(|delivery| delivery.publication.clone()).collect();
        failpoint!("before-publish");
        let results = self.handle.publish(publications).await;
        failpoint!("after-publish");
        self.deliveries.into_iter().zip(results).collect()
    }
}

impl Room {
    /// A room without channels yet.
    pub fn new(plan: Arc<GatewayPlan>, handle: GatewayHandle, adoptions: HashMap<i64, Adoption>) -> Self {
        Self {
            plan,
            handle,
            targets: Vec::new(),
            by_record: HashMap::new(),
            serial: 0,
            dirty: BTreeSet::new(),
            adoptions,
            next_look: Timestamp::EPOCH,
            busy: false,
            looked: false,
            writable: false,
            trouble: None,
            failures: 0,
            watch_until: Timestamp::EPOCH,
            wishes: Wishes::default(),
            same_as: None,
            only_ours_since: None,
            told_unused: false,
        }
    }

    /// How long the gateway may go on using the previous key.
    pub fn lag(&self) -> Duration {
        self.plan.cache_lag.of(self.handle.kind())
    }

    /// Says anew which channels are fed here; what is known of unchanged ones stays.
    pub fn retarget<'p>(&mut self, credentials: impl Iterator<Item = (RecordId, &'p CredentialPlan)>) {
        let mut known: HashMap<(RecordId, ChannelSelect), Target> =
            self.targets.drain(..).map(|target| ((target.record, target.select.clone()), target)).collect();
        self.by_record.clear();
        for (record, plan) in credentials {
            for channel in plan.channels.iter().filter(|channel| channel.gateway == self.plan.name) {
                let fresh = || Target {
                    record,
                    credential: Arc::clone(&plan.name),
                    select: channel.select.clone(),
                    key: channel.key.clone(),
                    key_is_explicit: channel.key_is_explicit,
                    standing: Standing::unseen(&channel.select),
                    fingerprinted: None,
                    is_late: false,
                    pending_since: None,
                    told_undelivered: false,
                };
                let mut target = known.remove(&(record, channel.select.clone())).unwrap_or_else(fresh);
                target.key.clone_from(&channel.key);
                target.key_is_explicit = channel.key_is_explicit;
                target.credential = Arc::clone(&plan.name);
                if let Some(adoption) = adopted_id(&self.adoptions, &target).and_then(|id| self.adoptions.get(&id))
                    && target.standing.status.is_none()
                {
                    target.standing.id = Some(adoption.channel);
                    target.standing.name.clone_from(&adoption.name);
                    target.standing.delivered_at = adoption.state.delivered_at;
                }
                self.by_record.entry(record).or_default().push(self.targets.len());
                self.targets.push(target);
            }
        }
        self.serial += 1;
        self.looked = false;
        self.dirty.clear();
        self.next_look = Timestamp::EPOCH;
    }

    /// The channels that a credential feeds here.
    pub fn targets_of(&self, record: RecordId) -> impl Iterator<Item = &Target> {
        self.by_record.get(&record).into_iter().flatten().map(|index| &self.targets[*index])
    }

    /// A refresh brought a new key, whose fingerprint is in the vault: look at its channels at once. `died_at` is when
    /// the key before it dies, if there was one.
    pub fn key_is_new(&mut self, record: &Record, died_at: Option<Timestamp>, now: Timestamp) {
        let is_late = died_at.is_none_or(|died_at| died_at < now + self.lag());
        for index in self.by_record.get(&record.id).into_iter().flatten() {
            let target = &mut self.targets[*index];
            target.fingerprinted = record.access.as_ref().and_then(|grant| grant.key(&target.key).ok());
            target.is_late = is_late;
            self.dirty.insert(*index);
        }
    }

    /// The wall clock was set by so many milliseconds: windows keep their distance from now.
    pub fn shift(&mut self, milliseconds: i64) {
        for state in self.adoptions.values_mut().map(|adoption| &mut adoption.state) {
            let moments = state.key_written_at.iter_mut().chain(&mut state.delivered_at);
            for moment in moments.chain(&mut state.reenabled_at) {
                *moment = moment.shifted(milliseconds);
            }
        }
        self.watch_until = self.watch_until.shifted(milliseconds);
        self.look_soon();
    }

    /// Look at everything at once.
    pub fn look_soon(&mut self) {
        self.next_look = Timestamp::EPOCH;
    }

    /// Somebody else wrote into the gateway: it is in use, and worth a look.
    pub fn written(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        self.only_ours_since = None;
        if std::mem::take(&mut self.told_unused) {
            events.push(self.about_the_gateway(Topic::Recovered, now));
        }
        self.look_soon();
    }

    /// A person takes a channel over, whatever key it holds. Returns what is to be noted first; `None` when it is not
    /// one of the config's channels.
    pub fn adopt(&mut self, id: i64) -> Option<Vec<Change>> {
        let target = self.targets.iter().find(|target| target.standing.id == Some(id))?;
        let replaced = target.standing.reason == Some(ChannelReason::Replaced);
        self.look_soon();
        if replaced {
            // It is another channel by now: it is adopted as a new one.
            self.adoptions.remove(&id);
            return Some(vec![Change::Forget { gateway: self.plan.name.to_string(), channel: id }]);
        }
        Some(match self.adoptions.get_mut(&id) {
            Some(adoption) => {
                adoption.state.released = false;
                adoption.state.take_over = true;
                adoption.state.reenabled_at.clear();
                vec![Change::Adoption(Box::new(adoption.clone()))]
            }
            None => Vec::new(),
        })
    }

    /// A person gives a channel back, with the key it had before. Returns what is to be noted first; `None` when it
    /// was never adopted.
    pub fn release(&mut self, id: i64) -> Option<Vec<Change>> {
        let adoption = self.adoptions.get_mut(&id)?;
        adoption.state.released = true;
        adoption.state.take_over = false;
        let note = Change::Adoption(Box::new(adoption.clone()));
        self.look_soon();
        Some(vec![note])
    }

    /// When there is something to look at, if nothing happens before.
    pub fn wake(&self) -> Option<Timestamp> {
        if self.busy || self.targets.is_empty() {
            return None;
        }
        Some(if self.dirty.is_empty() { self.next_look } else { Timestamp::EPOCH })
    }

    /// Whether a new key of this credential could be delivered to at least one of its channels here.
    pub fn could_deliver(&self, record: RecordId) -> bool {
        self.writable
            && self.targets_of(record).any(|target| {
                let state = target.standing.state;
                target.standing.status.is_some()
                    && matches!(state, ChannelState::Pending | ChannelState::Delivered | ChannelState::DisabledByHand)
            })
    }

    /// Whether the key of a record is in its channels here, or cannot be.
    pub fn has_settled(&self, record: &Record) -> bool {
        let is_current = |target: &Target| {
            let adoption = target.standing.id.and_then(|id| self.adoptions.get(&id));
            adoption.is_none_or(|adoption| adoption.state.generation == record.state.generation)
        };
        let cannot_be = self.trouble.is_some() && !self.busy;
        cannot_be
            || self.targets_of(record.id).all(|target| match target.standing.state {
                ChannelState::Pending => false,
                ChannelState::Delivered | ChannelState::DisabledByHand => is_current(target),
                _ => true,
            })
    }

    /// The look that is due now, if one is.
    pub fn order_look(
        &mut self,
        records: &HashMap<RecordId, Record>,
        vault: &VaultHandle,
        now: Timestamp,
    ) -> Option<LookOrder> {
        if self.wake().is_none_or(|wake| wake > now) {
            return None;
        }
        self.busy = true;
        let indexes: Vec<usize> = if self.next_look <= now {
            (0..self.targets.len()).collect()
        } else {
            self.dirty.iter().copied().collect()
        };
        self.dirty.clear();
        let mut selects = Vec::with_capacity(indexes.len());
        let mut expected = HashMap::new();
        for target in indexes.iter().map(|index| &self.targets[*index]) {
            let adopted = adopted_id(&self.adoptions, target);
            selects.push(adopted.map_or_else(|| target.select.clone(), ChannelSelect::Id));
            let id = adopted.or(match target.select {
                ChannelSelect::Id(id) => Some(id),
                ChannelSelect::Name(_) => None,
            });
            if let Some(id) = id.filter(|id| self.adoptions.contains_key(id)) {
                let key = records.get(&target.record).and_then(|record| record.access.as_ref()?.key(&target.key).ok());
                expected.insert(id, key.unwrap_or_else(|| Secret::new("")));
            }
        }
        Some(LookOrder {
            handle: self.handle.clone(),
            vault: vault.clone(),
            indexes,
            serial: self.serial,
            selects,
            expected,
            probe: !self.writable || self.trouble.is_some(),
        })
    }

    /// Handles what a look brought: how each channel stands now, and the keys that are to be written.
    pub fn judge(
        &mut self,
        seen: Result<Seen, GatewayError>,
        records: &HashMap<RecordId, Record>,
        vault: &VaultHandle,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> Option<DeliveryOrder> {
        self.busy = false;
        // A look that was ordered for other channels says nothing about these.
        self.looked |= seen.as_ref().map_or(true, |seen| seen.serial == self.serial);
        let seen = match seen {
            Ok(seen) => seen,
            Err(GatewayError::Database(reason)) => {
                self.note_trouble(reason, now, events);
                return None;
            }
            Err(GatewayError::Channel(_)) => return None,
        };
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
        if seen.serial != self.serial {
            self.look_soon();
            return None;
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
            let record = records.get(&self.targets[index].record);
            let fingerprinter = vault.fingerprinter();
            if let Some(delivery) =
                self.judge_target(index, record, &seen, kind, &mut taken, fingerprinter, now, events)
            {
                deliveries.push(delivery);
            }
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
        let owner = match (view, adoption) {
            (Some(view), Some(adoption)) if key.as_ref() != Some(&view.key) => match seen.ours.get(&view.id) {
                Some(ours) => ownership::owner(view, Some(adoption), key.as_ref(), *ours),
                // The key changed since the look was ordered: look again before judging.
                None => {
                    self.dirty.insert(index);
                    return None;
                }
            },
            (Some(view), adoption) => ownership::owner(view, adoption, key.as_ref(), false),
            (None, _) => Owner::Unadopted,
        };
        let lag = self.lag();
        let look = Look {
            adoption,
            view,
            supported,
            owner,
            key_expires_at: grant.map(|grant| grant.expires_at),
            generation: record.map_or(0, |record| record.state.generation),
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
        self.stand(index, Some(view), ChannelState::Pending, None, now, events);
        Some(delivery)
    }

    /// The row that a target means; `Ok(None)` when there is none.
    fn find<'v>(&self, index: usize, views: &'v [ChannelView]) -> Result<Option<&'v ChannelView>, ChannelReason> {
        let target = &self.targets[index];
        let by_id = |id: i64| views.iter().find(|view| view.id == id);
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
            displaced: Some(view.key.clone()),
            state: AdoptionState::default(),
        });
        adoption.record = target.record;
        if std::mem::take(&mut adoption.state.take_over) && owner == Owner::Stranger {
            // What is displaced now is what `release` puts back.
            adoption.displaced = Some(view.key.clone());
            before.push(Change::Adoption(Box::new(adoption.clone())));
        }
        adoption.name.clone_from(&view.name);
        adoption.state.selected_by = selected_by;
        if known.is_none() {
            // The displaced key is safe before it is displaced.
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
                    self.only_ours_since.get_or_insert(now);
                    if adoption.state.released {
                        tracing::info!(gateway = %self.plan.name, channel = publication.id, "key given back");
                        continue;
                    }
                    adoption.state.delivered_at = Some(now);
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
                Err(GatewayError::Channel(ChannelReason::Conflict)) => self.dirty.extend(index),
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

    fn note_trouble(&mut self, reason: GatewayReason, now: Timestamp, events: &mut Vec<Event>) {
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
        self.trouble = Some((reason, since));
        for index in 0..self.targets.len() {
            self.tell_undelivered(index, now, events);
        }
    }

    fn clear_trouble(&mut self, now: Timestamp) {
        self.trouble = None;
        self.failures = 0;
        let every = if now < self.watch_until { LOOK_OFTEN } else { LOOK_EVERY };
        self.next_look = now + every;
    }

    /// Notes how a channel stands, and says so when that changed.
    fn stand(
        &mut self,
        index: usize,
        view: Option<&ChannelView>,
        state: ChannelState,
        reason: Option<ChannelReason>,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) {
        let target = &mut self.targets[index];
        let id_before = target.standing.id;
        if let Some(view) = view {
            target.standing.id = Some(view.id);
            target.standing.name.clone_from(&view.name);
            target.standing.status = Some(view.status.as_i64());
        } else if state == ChannelState::Missing {
            target.standing.status = None;
        }
        let changed = target.standing.state != state || target.standing.reason != reason;
        let was_trouble = trouble_topic(target.standing.state).is_some() || target.told_undelivered;
        target.standing.state = state;
        target.standing.reason.clone_from(&reason);
        if changed && let Some(topic) = trouble_topic(state) {
            let mut event = self.event(index, topic, now);
            event.reason = reason.map(Into::into);
            events.push(event);
        }
        match state {
            ChannelState::Pending => self.tell_undelivered(index, now, events),
            ChannelState::Delivered | ChannelState::DisabledByHand => {
                let target = &mut self.targets[index];
                target.pending_since = None;
                target.told_undelivered = false;
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
    fn tell_unused(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        if !self.told_unused && self.only_ours_since.is_some_and(|since| now.since(since) >= UNUSED_AFTER) {
            self.told_unused = true;
            events.push(self.about_the_gateway(Topic::UnusedDatabase, now));
        }
    }

    fn about_the_gateway(&self, topic: Topic, now: Timestamp) -> Event {
        let reason = GatewayReason::Unused { path: self.plan.database.display().to_string() };
        Event { reason: Some(reason.into()), ..Event::new(now, topic) }
    }

    /// A key that does not arrive is told of after a minute.
    fn tell_undelivered(&mut self, index: usize, now: Timestamp, events: &mut Vec<Event>) {
        let Some((reason, _)) = &self.trouble else { return };
        let reason = reason.clone();
        let target = &mut self.targets[index];
        let since = *target.pending_since.get_or_insert(now);
        if !target.told_undelivered && now.since(since) >= UNDELIVERED_AFTER {
            target.told_undelivered = true;
            let mut event = self.event(index, Topic::Undelivered, now);
            event.reason = Some(reason.into());
            events.push(event);
        }
    }

    fn event(&self, index: usize, topic: Topic, now: Timestamp) -> Event {
        let target = &self.targets[index];
        let channel = ChannelName {
            gateway: self.plan.name.to_string(),
            id: target.standing.id,
            name: target.standing.name.clone(),
        };
        Event { credential: Some(target.credential.to_string()), channel: Some(channel), ..Event::new(now, topic) }
    }
}

/// The id of the channel that a target adopted. A name is resolved until then, and the id counts from then on.
fn adopted_id(adoptions: &HashMap<i64, Adoption>, target: &Target) -> Option<i64> {
    match &target.select {
        ChannelSelect::Id(id) => adoptions.contains_key(id).then_some(*id),
        ChannelSelect::Name(name) => adoptions
            .values()
            .find(|adoption| adoption.record == target.record && adoption.state.selected_by.as_deref() == Some(name))
            .map(|adoption| adoption.channel),
    }
}

fn trouble_topic(state: ChannelState) -> Option<Topic> {
    match state {
        ChannelState::Foreign => Some(Topic::ForeignKey),
        ChannelState::Missing => Some(Topic::ChannelMissing),
        ChannelState::Flapping => Some(Topic::Flapping),
        ChannelState::Unsupported | ChannelState::Conflict => Some(Topic::Undelivered),
        _ => None,
    }
}
