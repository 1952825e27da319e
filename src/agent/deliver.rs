//! Delivery: look at the channels, decide, publish, mark, and watch that the key stays.
//!
//! A [`Room`] is one gateway with the channels we feed in it. It works from what is in memory and in the gateway; a
//! failing refresh does not stop it, and it never delays one. Looks and writes run on the gateway's thread; what
//! comes back is handled on the agent's loop.

mod judge;
mod orders;
mod tell;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use orders::{Delivery, DeliveryOrder, LookOrder, Origin, Seen};

use crate::channel::ownership::{Adoption, Adoptions};
use crate::channel::policy::ChannelState;
use crate::config::plan::{ChannelSelect, CredentialPlan, Database, GatewayPlan};
use crate::config::template::Template;
use crate::credential::event::{Event, Topic};
use crate::credential::record::{AccessGrant, ByRecord, Record, RecordId};
use crate::gateway::thread::GatewayHandle;
use crate::gateway::{BATCH, GatewayError, Unloaded};
use crate::reason::{ChannelReason, GatewayReason};
use crate::secret::Secret;
use crate::time::Timestamp;
use crate::vault::{Change, VaultHandle};

/// How often the channels are looked at when nothing says that somebody wrote.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How often while a database is missing or not migrated yet, and while a late key is watched.
const LOOK_OFTEN: Duration = Duration::from_secs(1);
/// With so many keys on their way into a gateway nothing more is asked for: they take some hundredths of a second.
const BEHIND: usize = 4 * BATCH;
/// For how long only we may have written before people are told.
pub const UNUSED_AFTER: Duration = Duration::from_secs(86_400);
/// How long a key may be on its way before people are told.
const UNDELIVERED_AFTER: Duration = Duration::from_secs(60);
/// For how long what was seen before a key was durable holds. The write compares in any case.
const AHEAD: Duration = Duration::from_secs(1);
/// How many writes in a row may meet a changed row before nobody waits for the key any more.
const CONFLICTS: u32 = 5;

/// One gateway and the channels we feed in it.
pub struct Room {
    /// The gateway's plan.
    pub plan: Arc<GatewayPlan>,
    /// The way to its thread.
    pub handle: GatewayHandle,
    /// The channels, in the order of the config.
    pub targets: Vec<Target>,
    /// The targets of each record, by their places.
    by_record: BTreeSet<(RecordId, usize)>,
    /// Which room this is and which targets it has: what was ordered of others is judged by nobody.
    origin: Origin,
    /// Which target feeds a channel, by its id, as of the last look at it.
    holders: HashMap<i64, usize>,
    /// Channels to look at now, whatever [`Room::next_look`] says, the soonest dead first.
    dirty: BTreeSet<(Timestamp, usize)>,
    /// Targets whose key was written, but not looked at since: whether their gateway was told of it, a look says.
    untold: BTreeSet<usize>,
    /// What is remembered of channels, by id.
    pub adoptions: Adoptions,
    /// When to look again.
    pub next_look: Timestamp,
    /// Whether a look or a write is under way.
    pub busy: bool,
    /// What a look brought that was made before the key was durable, and when.
    ahead: Option<(Timestamp, Seen)>,
    /// Whether these channels were looked at, with or without success.
    pub looked: bool,
    /// Whether a key could be written at the last probe.
    pub writable: bool,
    /// What is wrong with the database, and since when.
    pub trouble: Option<(GatewayReason, Timestamp)>,
    /// Channels whose key the gateway does not use, as of the last look.
    unloaded: Option<Unloaded>,
    /// What of that the log has.
    pub logged: Option<GatewayReason>,
    failures: u32,
    /// The cache lag that due times were reckoned with last.
    lag_reckoned: Duration,
    /// Until then the channels are looked at every second.
    watch_until: Timestamp,
    /// What looking brought up besides deliveries.
    pub wishes: Wishes,
    /// Another gateway of the config that is the same database: everything here is left to it.
    pub same_as: Option<Arc<str>>,
    /// Whether that was found out, of every gateway before this one.
    compared: bool,
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
    /// The one before it, until it is replaced: ours, without asking the vault.
    replaced: Option<Secret>,
    /// The key that the new one replaces had less than the cache lag to live.
    is_late: bool,
    /// When the key that the new one replaces dies.
    dies: Timestamp,
    pending_since: Option<Timestamp>,
    /// How many writes in a row met a row that was changed since the look.
    conflicts: u32,
    told_undelivered: bool,
    told_trouble: bool,
}

/// How a channel stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// In a word.
    pub state: ChannelState,
    /// Why, where there is something to say.
    pub reason: Option<Box<ChannelReason>>,
    /// Its id, once it is known.
    pub id: Option<i64>,
    /// Its name, once it was seen.
    pub name: Arc<str>,
    /// The gateway's status number.
    pub status: Option<i64>,
    /// When a key was last delivered.
    pub delivered_at: Option<Timestamp>,
}

impl Standing {
    fn unseen(select: &ChannelSelect) -> Self {
        let (id, name) = match select {
            ChannelSelect::Id(id) => (Some(*id), Arc::default()),
            ChannelSelect::Name(name) => (None, name.as_str().into()),
        };
        Self { state: ChannelState::Pending, reason: None, id, name, status: None, delivered_at: None }
    }
}

impl Room {
    /// A room without channels yet.
    pub fn new(plan: Arc<GatewayPlan>, handle: GatewayHandle, adoptions: Adoptions) -> Self {
        static ROOMS: AtomicU64 = AtomicU64::new(0);
        let only_ours_since = only_ours_since(&plan, adoptions.values().map(Box::as_ref));
        let lag_reckoned = plan.cache_lag.of(handle.kind(), handle.immediate());
        Self {
            plan,
            handle,
            targets: Vec::new(),
            by_record: BTreeSet::new(),
            origin: Origin { room: ROOMS.fetch_add(1, Ordering::Relaxed), targets: 0 },
            holders: HashMap::new(),
            dirty: BTreeSet::new(),
            untold: BTreeSet::new(),
            adoptions,
            next_look: Timestamp::EPOCH,
            busy: false,
            ahead: None,
            looked: false,
            writable: false,
            trouble: None,
            unloaded: None,
            logged: None,
            failures: 0,
            lag_reckoned,
            watch_until: Timestamp::EPOCH,
            wishes: Wishes::default(),
            same_as: None,
            compared: false,
            only_ours_since,
            told_unused: false,
        }
    }

    /// How long the gateway may go on using the previous key.
    pub fn lag(&self) -> Duration {
        self.plan.cache_lag.of(self.handle.kind(), self.handle.immediate())
    }

    /// Whether the cache lag is another one than when this was asked last: it is part of every due time.
    pub fn lag_changed(&mut self) -> bool {
        let lag = self.lag();
        std::mem::replace(&mut self.lag_reckoned, lag) != lag
    }

    /// Whether what was ordered is of this room, be it of its former targets.
    pub fn ordered(&self, origin: Origin) -> bool {
        self.origin.room == origin.room
    }

    /// Says anew which channels are fed here; what is known of unchanged ones stays.
    pub fn retarget<'p>(&mut self, credentials: impl Iterator<Item = (RecordId, &'p CredentialPlan)>) {
        let mut known: HashMap<(RecordId, ChannelSelect), Target> =
            self.targets.drain(..).map(|target| ((target.record, target.select.clone()), target)).collect();
        self.by_record.clear();
        // A name is resolved until it adopts a channel; from then on the id counts.
        let named = self
            .adoptions
            .values()
            .filter_map(|adoption| Some(((adoption.record, adoption.state.selected_by.as_deref()?), adoption.channel)));
        let named: HashMap<(RecordId, &str), i64> = named.collect();
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
                    replaced: None,
                    is_late: false,
                    dies: Timestamp::EPOCH,
                    pending_since: None,
                    conflicts: 0,
                    told_undelivered: false,
                    told_trouble: false,
                };
                let mut target = known.remove(&(record, channel.select.clone())).unwrap_or_else(fresh);
                target.key.clone_from(&channel.key);
                target.key_is_explicit = channel.key_is_explicit;
                target.credential = Arc::clone(&plan.name);
                let adopted = match &channel.select {
                    ChannelSelect::Id(id) => Some(*id),
                    ChannelSelect::Name(name) => named.get(&(record, name.as_str())).copied(),
                };
                if let Some(adoption) = adopted.and_then(|id| self.adoptions.get(&id))
                    && target.standing.status.is_none()
                {
                    target.standing.id = Some(adoption.channel);
                    target.standing.name.clone_from(&adoption.name);
                    target.standing.delivered_at = adoption.state.delivered_at;
                }
                self.by_record.insert((record, self.targets.len()));
                self.targets.push(target);
            }
        }
        self.targets.shrink_to_fit();
        self.origin.targets += 1;
        self.holders.clear();
        self.looked = false;
        self.dirty.clear();
        self.untold.clear();
        self.ahead = None;
        self.next_look = Timestamp::EPOCH;
    }

    /// The channels that a credential feeds here.
    pub fn targets_of(&self, record: RecordId) -> impl Iterator<Item = &Target> {
        places_of(&self.by_record, record).map(|index| &self.targets[index])
    }

    /// A refresh is about to bring a new key, and no other is under way: its gateway is opened meanwhile.
    pub fn expect_key(&self) {
        if self.is_at_rest() {
            self.handle.expect();
        }
    }

    /// What is wrong with the gateway that concerns a channel: with its database, or with the way to tell it of a key.
    pub fn trouble_of(&self, channel: Option<i64>) -> Option<&GatewayReason> {
        self.trouble.as_ref().map(|(reason, _)| reason).or_else(|| self.unloaded(channel))
    }

    /// Why the gateway does not use the key in a channel, if it does not.
    fn unloaded(&self, channel: Option<i64>) -> Option<&GatewayReason> {
        let unloaded = self.unloaded.as_ref()?;
        channel.filter(|id| unloaded.channels.contains(id)).map(|_| &unloaded.reason)
    }

    /// Whether nothing is under way or wrong.
    fn is_at_rest(&self) -> bool {
        let is_well = self.looked && self.compared && self.writable && self.trouble.is_none();
        is_well && !self.busy && self.dirty.is_empty()
    }

    /// A refresh brought a new key, which is about to be made durable: meanwhile its channels are looked at. Where
    /// something else is under way, or wrong, they are when it is durable.
    pub fn look_ahead(
        &mut self,
        record: RecordId,
        records: &ByRecord<Box<Record>>,
        vault: &VaultHandle,
    ) -> Option<LookOrder> {
        if !self.is_at_rest() {
            return None;
        }
        let indexes: Vec<usize> = places_of(&self.by_record, record).take(BATCH).collect();
        if indexes.is_empty() {
            return None;
        }
        self.busy = true;
        let mut order = self.look_at(indexes, records, vault);
        // When it is judged, the key that is there now is the one before.
        for (id, key) in &mut order.expected {
            order.own.extend(key.take().map(|key| (*id, key)));
        }
        Some(order)
    }

    /// Keeps what a look ahead brought until the key is durable. What it did not bring is looked for then.
    pub fn looked_ahead(&mut self, origin: Origin, seen: Result<Seen, GatewayError>, now: Timestamp) {
        if self.ordered(origin) {
            self.busy = false;
            self.ahead = seen.ok().filter(|_| origin == self.origin).map(|seen| (now, seen));
        }
    }

    /// A refresh brought a new key, whose fingerprint is in the vault: look at its channels at once. `before` is what the
    /// record had until then.
    pub fn key_is_new(&mut self, record: &Record, before: Option<&AccessGrant>, now: Timestamp) {
        let died_at = before.map(|grant| grant.expires_at);
        let is_late = died_at.is_none_or(|died_at| died_at < now + self.lag());
        for index in places_of(&self.by_record, record.id) {
            let target = &mut self.targets[index];
            let key = record.access.as_ref().and_then(|grant| grant.key(&target.key).ok());
            // After a start nothing was written yet, and what is in the channel is most often what the record had.
            let former = || before.and_then(|grant| grant.key(&target.key).ok());
            target.replaced = std::mem::replace(&mut target.fingerprinted, key).or_else(former);
            target.is_late = is_late;
            target.dies = died_at.unwrap_or_default();
            if matches!(target.standing.state, ChannelState::Delivered | ChannelState::DisabledByHand) {
                target.standing.state = ChannelState::Pending;
            }
            self.dirty.insert((target.dies, index));
        }
    }

    /// Whether so many keys wait here to be written that more would wait long; `coming` more wait for the vault. While
    /// none can be written at all they wait in any case, and the tokens must not die meanwhile.
    pub fn is_behind(&self, coming: usize) -> bool {
        self.trouble.is_none() && self.dirty.len() + coming >= BEHIND
    }

    /// Look at this channel next.
    fn mark_dirty(&mut self, index: usize) {
        self.dirty.insert((self.targets[index].dies, index));
    }

    /// Whether it is looked at next.
    fn is_dirty(&self, index: usize) -> bool {
        self.dirty.contains(&(self.targets[index].dies, index))
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

    /// Whether the gateway is told of keys that are written past it.
    fn is_told(&self) -> bool {
        self.plan.api.is_some() && self.plan.database != Database::None
    }

    /// Somebody waits to hear whether the keys that were written are used: look, once no other key is on its way.
    pub fn look_whether_told(&mut self) {
        if !self.busy && self.dirty.is_empty() {
            let untold = self.untold.iter().map(|index| (self.targets[*index].dies, *index));
            self.dirty.extend(untold);
        }
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
        let replaced = target.standing.reason.as_deref() == Some(&ChannelReason::Replaced);
        self.look_soon();
        self.looked = false;
        if replaced {
            // It is another channel by now: it is adopted as a new one.
            self.adoptions.remove(&id);
            return Some(vec![Change::Forget { gateway: self.plan.name.to_string(), channel: id }]);
        }
        Some(match self.adoptions.get_mut(&id) {
            Some(adoption) => {
                adoption.state.released = false;
                // Over when the look finds our key there, or when it was written.
                adoption.state.take_over = true;
                adoption.state.reenabled_at.clear();
                vec![Change::Adoption(adoption.clone())]
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
        let note = Change::Adoption(adoption.clone());
        self.look_soon();
        self.looked = false;
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

    /// Whether the key of a record, if it lives, is in its channels here and their gateway was told of it, or cannot be;
    /// and whether those that are given back have their own keys.
    pub fn has_settled(&self, record: &Record, lives: bool) -> bool {
        let adoption = |target: &Target| target.standing.id.and_then(|id| self.adoptions.get(&id));
        let is_current = |target: &Target| {
            adoption(target).is_none_or(|adoption| {
                adoption.record == record.id && adoption.state.generation == record.state.generation
            })
        };
        let is_released = |target: &Target| adoption(target).is_some_and(|adoption| adoption.state.released);
        let cannot_be = self.trouble.is_some() && !self.busy;
        let has_settled = |index: usize| {
            let target = &self.targets[index];
            match target.standing.state {
                // What the gateway is not told of takes a person.
                ChannelState::Pending if self.unloaded(target.standing.id).is_some() => true,
                ChannelState::Pending => target.conflicts >= CONFLICTS || !lives && !is_released(target),
                ChannelState::Delivered | ChannelState::DisabledByHand => {
                    !lives || is_current(target) && !self.untold.contains(&index)
                }
                _ => true,
            }
        };
        cannot_be || places_of(&self.by_record, record.id).all(has_settled)
    }

    /// What was seen ahead, if that is all that is to be looked at now.
    pub fn take_ahead(&mut self, now: Timestamp) -> Option<(Origin, Seen)> {
        if self.wake().is_none_or(|wake| wake > now) || self.next_look <= now {
            return None;
        }
        let holds = |at: &Timestamp| (*at..*at + AHEAD).contains(&now);
        let (_, seen) = self.ahead.take().filter(|(at, _)| holds(at))?;
        let dirty: BTreeSet<usize> = self.dirty.iter().map(|(_, index)| *index).collect();
        if !dirty.iter().eq(&seen.indexes) {
            return None;
        }
        self.dirty.clear();
        Some((self.origin, seen))
    }

    /// The look that is due now, if one is: at everything, or at as many new keys as one commit takes. So whatever
    /// comes meanwhile and dies sooner waits for one commit and no longer.
    pub fn order_look(
        &mut self,
        records: &ByRecord<Box<Record>>,
        vault: &VaultHandle,
        now: Timestamp,
    ) -> Option<LookOrder> {
        if self.wake().is_none_or(|wake| wake > now) {
            return None;
        }
        self.busy = true;
        self.ahead = None;
        let indexes: Vec<usize> = if self.next_look <= now {
            self.dirty.clear();
            (0..self.targets.len()).collect()
        } else {
            let mut soonest: Vec<usize> = Vec::with_capacity(BATCH);
            while soonest.len() < BATCH
                && let Some((_, index)) = self.dirty.pop_first()
            {
                soonest.push(index);
            }
            // Of two that mean one channel the first in the config feeds it, whichever dies sooner.
            soonest.sort_unstable();
            soonest
        };
        Some(self.look_at(indexes, records, vault))
    }

    fn look_at(&self, indexes: Vec<usize>, records: &ByRecord<Box<Record>>, vault: &VaultHandle) -> LookOrder {
        let mut selects = Vec::with_capacity(indexes.len());
        let (mut expected, mut own) = (HashMap::new(), HashMap::new());
        for target in indexes.iter().map(|index| &self.targets[*index]) {
            let adopted = adopted_id(&self.adoptions, target);
            selects.push(adopted.map_or_else(|| target.select.clone(), ChannelSelect::Id));
            // A name may lead to a channel that was adopted under another one, or by another credential: whoever has
            // seen it once knows its id.
            let id = adopted.or(target.standing.id);
            if let Some(id) = id.filter(|id| self.adoptions.contains_key(id)) {
                let key = records.get(&target.record).and_then(|record| record.access.as_ref()?.key(&target.key).ok());
                // Where two expect different keys, each may find the other's.
                let known = expected.entry(id).or_insert_with(|| key.clone());
                if *known != key {
                    *known = None;
                }
                own.extend(target.replaced.clone().map(|replaced| (id, replaced)));
            }
        }
        LookOrder {
            handle: self.handle.clone(),
            vault: vault.clone(),
            indexes,
            origin: self.origin,
            selects,
            expected,
            own,
            probe: !self.writable || self.trouble.is_some(),
            is_told: self.is_told(),
            compare: (!self.compared || self.trouble.is_some()).then(|| Arc::clone(&self.plan.name)),
            others: Vec::new(),
        }
    }
}

/// Since when nobody but us has written into a gateway's database, as far as that can be known: nobody has since our
/// last delivery, and nobody had before it.
pub fn only_ours_since<'a>(plan: &GatewayPlan, adoptions: impl Iterator<Item = &'a Adoption>) -> Option<Timestamp> {
    /// The file's time is taken by the kernel's clock a moment after we took ours.
    const SLACK: Duration = Duration::from_secs(2);
    let last = adoptions.max_by_key(|adoption| adoption.state.delivered_at)?;
    let written_at = |path: &std::path::Path| Timestamp::from(std::fs::metadata(path).ok()?.modified().ok()?).into();
    // A server does not say when somebody wrote last.
    let database = plan.database.file()?;
    let mut wal = database.as_os_str().to_owned();
    wal.push("-wal");
    let written: Option<Timestamp> = [database, wal.as_ref()].into_iter().filter_map(written_at).max();
    let ours = last.state.delivered_at? + SLACK;
    last.state.only_ours_since.filter(|_| written.is_some_and(|written| written <= ours))
}

/// The places of a record's targets.
fn places_of(by_record: &BTreeSet<(RecordId, usize)>, record: RecordId) -> impl Iterator<Item = usize> {
    by_record.range((record, 0)..=(record, usize::MAX)).map(|(_, index)| *index)
}

/// The id of the channel that a target adopted. A name is resolved until then, and the id counts from then on.
fn adopted_id(adoptions: &Adoptions, target: &Target) -> Option<i64> {
    // Nothing is adopted that was not seen: retargeting and each look bring the id along.
    let adoption = adoptions.get(&target.standing.id?)?;
    let is_its_own = match &target.select {
        ChannelSelect::Id(id) => adoption.channel == *id,
        ChannelSelect::Name(name) => {
            adoption.record == target.record && adoption.state.selected_by.as_deref() == Some(name)
        }
    };
    is_its_own.then_some(adoption.channel)
}
