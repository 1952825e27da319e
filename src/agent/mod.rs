//! The agent: one loop over what is due, what came back, and what people want.
//!
//! It owns every record and every room; tasks and threads get copies and report back. Nothing in the loop blocks: no
//! file, no database, no network. Refreshes are tasks that are never cancelled; looks and writes run on the
//! gateways' threads, commits on the vault's.

pub mod apply;
pub mod clock;
pub mod courier;
pub mod deliver;
pub mod queue;
pub mod refresh;
pub mod seeds;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::channel::ownership::Adoption;
use crate::channel::policy::ChannelState;
use crate::config::plan::{CredentialPlan, GatewayPlan, Plan, PlanDiff};
use crate::credential::event::{ChannelName, Event, Topic};
use crate::credential::policy::{FAILING_FROM, TokenDecision, decide, is_expiring};
use crate::credential::record::{HaltKind, Record, RecordId, Settled};
use crate::finding::Severity;
use crate::gateway::{GatewayError, Published};
use crate::messages::{self, About};
use crate::notify::sender::SendReport;
use crate::reason::{Reason, TokenReason};
use crate::secret::SecretSource;
use crate::shape::Problem;
use crate::time::{Clock, Timestamp};
use crate::transport::Clients;
use crate::vault::{Change, Contents, Vault};

use clock::{ClockWatch, Parted, spread};
use courier::Courier;
use deliver::{Delivery, Room, Seen};
use queue::Queue;
use refresh::{Flight, FlightReport, Landing, Shared};
use seeds::SeedRead;
use watch::{ConfigWatch, Sight};

/// The longest sleep: a suspend or a clock step is seen within it.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);
/// How often secrets in files are read again.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// How long a refresh may wait for the first look at its channels.
const FIRST_LOOK: Duration = Duration::from_secs(6);
/// How long a shutdown waits for keys to be delivered, after what was sent is saved.
const LAST_DELIVERY: Duration = Duration::from_secs(2);

/// What comes back to the loop.
pub enum Report {
    /// From a refresh.
    Flight(RecordId, FlightReport),
    /// From a look at a gateway.
    Seen(Arc<str>, Box<Result<Seen, GatewayError>>),
    /// From writes into a gateway.
    Delivered(Arc<str>, Vec<(Delivery, Result<Published, GatewayError>)>),
    /// Somebody wrote into a gateway.
    GatewayWritten(Arc<str>),
    /// Seeds were read.
    Seeds(Vec<SeedRead>),
    /// The fingerprint of what a credential is configured with now.
    Configured(RecordId, String),
    /// From the config file's watcher.
    Config(Sight),
    /// From a notifier.
    Sent(SendReport),
    /// SIGHUP.
    Hangup,
    /// SIGTERM or SIGINT.
    Stop,
}

/// What the agent is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Go on until it is stopped.
    Run,
    /// One pass over these credentials (all, if none is named).
    Once {
        /// The names.
        names: Vec<String>,
        /// Whether those that are not due are refreshed too.
        force: bool,
    },
}

/// A credential at work.
struct Active {
    plan: Arc<CredentialPlan>,
    host: Arc<str>,
    in_flight: bool,
    queued: bool,
    /// Its place in the order of due times.
    due: Option<Timestamp>,
    /// Refresh even if it is not due.
    forced: bool,
    /// A request was made, or tried, in this run.
    tried: bool,
    told_expired: bool,
    seed_problem: Option<Reason>,
    /// What comes after the request that is under way.
    next: Option<Next>,
}

enum Next {
    Replace(Arc<CredentialPlan>),
    Stop,
}

impl Active {
    fn new(plan: &Arc<CredentialPlan>) -> Self {
        Self {
            plan: Arc::clone(plan),
            host: plan.endpoint.host().into(),
            in_flight: false,
            queued: false,
            due: None,
            forced: false,
            tried: false,
            told_expired: false,
            seed_problem: None,
            next: None,
        }
    }
}

/// The agent's state; see the module.
pub struct Agent {
    shared: Arc<Shared>,
    vault: Vault,
    plan: Arc<Plan>,
    records: HashMap<RecordId, Record>,
    active: HashMap<RecordId, Active>,
    by_name: HashMap<Arc<str>, RecordId>,
    due: BTreeSet<(Timestamp, RecordId)>,
    queue: Queue,
    rooms: BTreeMap<Arc<str>, Room>,
    /// Of gateways that are not in the config now.
    adoptions_elsewhere: HashMap<String, HashMap<i64, Adoption>>,
    courier: Courier,
    inbox: mpsc::UnboundedReceiver<Report>,
    reports: mpsc::UnboundedSender<Report>,
    flights: TaskTracker,
    seeds_underway: usize,
    mode: Mode,
    started_at: Timestamp,
    sweep_at: Timestamp,
    clocks: ClockWatch,
    stopping: bool,
    config: PathBuf,
    config_watch: Option<ConfigWatch>,
    /// What is wrong with the config file, while the last good plan goes on.
    config_rejected: Option<Reason>,
}

impl Agent {
    /// An agent that owns a vault and has a plan; nothing was done yet.
    pub fn new(
        clock: Arc<dyn Clock>,
        (vault, contents): (Vault, Contents),
        plan: Plan,
        config: PathBuf,
        mode: Mode,
    ) -> Self {
        let (reports, inbox) = mpsc::unbounded_channel();
        let (now, uptime) = (clock.now(), clock.uptime());
        let directory = config.parent().map(ToOwned::to_owned).unwrap_or_default();
        let shared = Shared { clock, vault: vault.handle.clone(), clients: Clients::default() };
        let mut adoptions_elsewhere: HashMap<String, HashMap<i64, Adoption>> = HashMap::new();
        for adoption in contents.adoptions {
            adoptions_elsewhere.entry(adoption.gateway.clone()).or_default().insert(adoption.channel, adoption);
        }
        let mut agent = Self {
            shared: Arc::new(shared),
            vault,
            queue: Queue::new(plan.agent),
            plan: Arc::new(Plan::empty(&plan)),
            records: contents.records.into_iter().map(|record| (record.id, record)).collect(),
            active: HashMap::new(),
            by_name: HashMap::new(),
            due: BTreeSet::new(),
            rooms: BTreeMap::new(),
            adoptions_elsewhere,
            courier: Courier::new(contents.notices.as_deref(), directory, reports.clone()),
            inbox,
            reports,
            flights: TaskTracker::new(),
            seeds_underway: 0,
            mode,
            started_at: now,
            sweep_at: now + SWEEP_EVERY,
            clocks: ClockWatch::new(now, uptime),
            stopping: false,
            config,
            config_watch: None,
            config_rejected: None,
        };
        // Start-up is a config edit from the empty plan.
        let mut diff = agent.plan.diff(&plan);
        (diff.notifiers, diff.vault) = (true, false);
        agent.apply(plan, &diff);
        agent
    }

    /// Where signals and watchers send what they see.
    pub fn reports(&self) -> mpsc::UnboundedSender<Report> {
        self.reports.clone()
    }

    /// Watches the config file from now on; `text` is what was read already.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn watch_config(&mut self, text: String) -> std::io::Result<()> {
        let reports = self.reports.clone();
        let see = move |sight| {
            // The agent is gone when nobody listens.
            let _ = reports.send(Report::Config(sight));
        };
        self.config_watch = Some(ConfigWatch::start(&self.config, text, see)?);
        Ok(())
    }

    /// Runs until it is stopped, or until the one pass is over; what was sent is saved before it returns.
    pub async fn run(&mut self) {
        self.event(Event::new(self.now(), Topic::Started));
        self.end_if_standing(Event::new(self.now(), Topic::ConfigRejected));
        if let Mode::Once { names, force } = self.mode.clone() {
            for (id, active) in &mut self.active {
                active.forced = force && (names.is_empty() || names.iter().any(|name| **name == *active.plan.name));
                tracing::trace!(id = id.0, forced = active.forced, "one pass");
            }
        }
        self.consider_all();
        let mut last_call = None;
        loop {
            self.tick();
            if self.stopping || self.is_done() {
                let idle = self.flights.is_empty() && !self.active.values().any(|active| active.in_flight);
                if idle {
                    // Keys that are on their way get a moment; what waits longer is left to the next start.
                    let deadline = *last_call.get_or_insert(self.now() + LAST_DELIVERY);
                    if !self.rooms.values().any(|room| room.busy) || self.now() >= deadline {
                        break;
                    }
                }
            }
            let sleep = self.wake().since(self.now()).min(LONGEST_SLEEP);
            tokio::select! {
                report = self.inbox.recv() => {
                    if let Some(report) = report {
                        self.handle(report);
                    }
                }
                () = tokio::time::sleep(sleep) => {}
            }
            while let Ok(report) = self.inbox.try_recv() {
                self.handle(report);
            }
        }
        if self.mode != Mode::Run
            && let Some(change) = self.courier.flush(&self.plan, self.now())
        {
            self.shared.vault.commit_soon(vec![change]);
        }
        self.courier.shutdown().await;
        while let Ok(report) = self.inbox.try_recv() {
            if let Report::Sent(report) = report {
                self.sent(&report);
            }
        }
        self.shared.vault.commit_soon(self.courier.state().into_iter().collect());
    }

    /// Ends: the vault's thread commits what waits.
    pub fn close(self) {
        self.vault.close();
    }

    /// The records, as they stand.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The rooms, as they stand.
    pub fn rooms(&self) -> impl Iterator<Item = &Room> {
        self.rooms.values()
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// A reason in words for the log, with its remedy.
    fn words(&self, reason: &Reason, credential: &str) -> String {
        self.words_about(reason, About { credential, ..About::default() })
    }

    fn words_about(&self, reason: &Reason, about: About<'_>) -> String {
        let message = messages::explain_about(self.plan.language, reason, about);
        format!("{} {}", message.what, message.remedy)
    }

    fn new_id(&self) -> RecordId {
        RecordId(self.records.keys().map(|id| id.0).max().unwrap_or(0) + 1)
    }

    /// Does what is due.
    fn tick(&mut self) {
        self.watch_clocks();
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
        if !self.stopping {
            while let Some(id) = self.queue.next(now) {
                self.launch(id);
            }
        }
        self.look_around(now);
        if now >= self.sweep_at && self.mode == Mode::Run {
            self.sweep_at = now + SWEEP_EVERY;
            self.sweep();
        }
        if let Some(change) = self.courier.deliver(&self.plan, now) {
            self.shared.vault.commit_soon(vec![change]);
        }
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
                    changes.push(Change::Record(Box::new(record.clone())));
                }
                self.shared.vault.commit_soon(changes);
                self.started_at = self.started_at.shifted(milliseconds);
                self.sweep_at = self.sweep_at.shifted(milliseconds);
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
    fn wake(&mut self) -> Timestamp {
        let now = self.now();
        let first_due = self.due.first().map(|(due, _)| *due);
        let rooms = self.rooms.values().filter_map(Room::wake).min();
        let sweep = (self.mode == Mode::Run).then_some(self.sweep_at);
        let wakes = [first_due, rooms, sweep, self.courier.wake(), self.queue.wake(now)];
        let next = wakes.into_iter().flatten().min().unwrap_or(Timestamp::MAX);
        // While it stops, what is due is not done: look again when something comes back, or soon.
        if self.stopping { next.max(now + Duration::from_millis(50)) } else { next }
    }

    fn consider_all(&mut self) {
        let ids: Vec<RecordId> = self.active.keys().copied().collect();
        for id in ids {
            self.consider(id);
        }
    }

    /// Decides what is to be done with a credential, and does it or notes when.
    fn consider(&mut self, id: RecordId) {
        let now = self.now();
        let (Some(active), Some(record)) = (self.active.get_mut(&id), self.records.get(&id)) else { return };
        if active.in_flight || active.queued || self.stopping {
            return;
        }
        if let Some(due) = active.due.take() {
            self.due.remove(&(due, id));
        }
        let lag = lag(&self.rooms, &active.plan);
        let mut next = match decide(&active.plan, record, lag, now) {
            TokenDecision::Keep(_) | TokenDecision::BackOff(_) if active.forced && record.state.halt.is_none() => {
                return self.line_up(id, now);
            }
            TokenDecision::Refresh(_) => return self.line_up(id, now),
            // The seed may still come.
            TokenDecision::Halt(HaltKind::NoRefreshToken, _) if seeds::source(&active.plan).is_some() => None,
            TokenDecision::Halt(kind, reason) => return self.halt(id, kind, reason),
            TokenDecision::Keep(until) => until,
            TokenDecision::BackOff(until) => Some(until),
        };
        let troubled = record.state.failures > 0;
        if let Some(dies) = record.access.as_ref().map(|grant| grant.expires_at).filter(|_| troubled) {
            if dies > now {
                next = Some(next.map_or(dies, |next| next.min(dies)));
            } else if !active.told_expired {
                active.told_expired = true;
                let event = Event { reason: record.state.last_error.clone(), ..self.about(id, Topic::Expired) };
                self.event(event);
            }
        }
        self.schedule(id, next);
    }

    fn schedule(&mut self, id: RecordId, at: Option<Timestamp>) {
        let (Some(active), Some(at)) = (self.active.get_mut(&id), at) else { return };
        active.due = Some(at);
        self.due.insert((at, id));
    }

    /// Lines a refresh up, if its answer could be delivered.
    fn line_up(&mut self, id: RecordId, now: Timestamp) {
        let (Some(active), Some(record)) = (self.active.get_mut(&id), self.records.get(&id)) else { return };
        if matches!(&self.mode, Mode::Once { names, .. } if active.tried || !is_named(names, &active.plan)) {
            return;
        }
        let rooms = || active.plan.channels.iter().filter_map(|channel| self.rooms.get(&channel.gateway));
        // The kind of a gateway is part of the lag: not before the first look, unless that takes too long.
        if rooms().any(|room| !room.looked) && now < self.started_at + FIRST_LOOK {
            return self.schedule(id, Some(self.started_at + FIRST_LOOK));
        }
        // Nothing is spent for the first time that cannot be delivered; the next look says when it can.
        if record.state.generation == 0 && !rooms().any(|room| room.could_deliver(id)) {
            return;
        }
        active.queued = true;
        let dies = record.access.as_ref().map_or(Timestamp::EPOCH, |grant| grant.expires_at);
        self.queue.push(&active.host, dies, id);
    }

    fn launch(&mut self, id: RecordId) {
        let (Some(active), Some(record)) = (self.active.get_mut(&id), self.records.get(&id)) else { return };
        (active.queued, active.in_flight, active.forced, active.tried) = (false, true, false, true);
        let flight =
            Flight { shared: Arc::clone(&self.shared), plan: Arc::clone(&active.plan), record: record.clone() };
        let reports = self.reports.clone();
        // The agent outlives every flight: it waits for them.
        self.flights.spawn(flight.fly(move |id, report| drop(reports.send(Report::Flight(id, report)))));
    }

    fn handle(&mut self, report: Report) {
        match report {
            Report::Flight(id, FlightReport::Answered { pause }) => {
                if let Some(active) = self.active.get(&id) {
                    self.queue.done(&active.host);
                    if let Some(until) = pause {
                        self.queue.pause(&Arc::clone(&active.host), until);
                    }
                }
            }
            Report::Flight(id, FlightReport::VaultTrouble(reason)) => {
                let event = Event { reason: Some(reason.into()), ..self.about(id, Topic::VaultTrouble) };
                self.event(event);
            }
            Report::Flight(id, FlightReport::Settled(landing)) => self.landed(id, *landing),
            Report::Seen(name, seen) => self.seen(&name, *seen),
            Report::Delivered(name, results) => {
                let now = self.now();
                let mut events = Vec::new();
                let Some(room) = self.rooms.get_mut(&name) else { return };
                let changes = room.delivered(results, now, &mut events);
                if !changes.is_empty() {
                    self.shared.vault.commit_soon(changes);
                }
                self.events(events);
            }
            Report::GatewayWritten(name) => {
                let (now, mut events) = (self.now(), Vec::new());
                if let Some(room) = self.rooms.get_mut(&name) {
                    room.written(now, &mut events);
                }
                self.events(events);
                self.end_if_standing(Event::new(now, Topic::UnusedDatabase));
            }
            Report::Seeds(seeds) => self.take_seeds(seeds),
            Report::Configured(id, configured) => self.configured(id, &configured),
            Report::Config(sight) => self.config_seen(sight),
            Report::Sent(report) => self.sent(&report),
            Report::Hangup => {
                tracing::info!("reading config and secrets again");
                if let Some(watch) = &self.config_watch {
                    watch.read_now();
                }
                self.sweep_all();
            }
            Report::Stop => {
                if !self.stopping {
                    tracing::info!(in_flight = self.flights.len(), "stopping: nothing new starts");
                }
                self.stopping = true;
                self.queue.clear();
                self.flights.close();
            }
        }
    }

    /// A notifier says what became of a message.
    fn sent(&mut self, report: &SendReport) {
        let notifier = &report.notifier;
        match &report.outcome {
            Ok(()) => tracing::debug!(%notifier, "message taken"),
            Err(reason) => {
                tracing::warn!(%notifier, reason = self.words(reason, "NAME"), "the message was not taken");
            }
        }
        if let Some(event) = self.courier.settled(report, self.now()) {
            self.event(event);
        }
    }

    fn landed(&mut self, id: RecordId, landing: Landing) {
        let Landing { record, settled, grounded, took } = landing;
        let now = self.now();
        let Some(active) = self.active.get_mut(&id) else { return };
        active.in_flight = false;
        let next = active.next.take();
        let since = self.records.get(&id).and_then(|record| record.state.failing_since);
        if let Some(record) = record {
            let refreshed = settled == Some(Settled::Refreshed);
            if refreshed {
                active.told_expired = false;
                let before = self.records.get(&id).and_then(|record| record.access.as_ref());
                let died_at = before.map(|grant| grant.expires_at);
                for room in self.rooms.values_mut() {
                    room.key_is_new(&record, died_at, now);
                }
                let expires_at = record.access.as_ref().map(|grant| grant.expires_at.to_string());
                tracing::info!(
                    credential = %active.plan.name, took_ms = took.as_millis(), expires_at, "refreshed"
                );
            }
            self.records.insert(id, record);
        } else if let (Some(reason), Some(record)) = (grounded, self.records.get_mut(&id)) {
            let name = Arc::clone(&active.plan.name);
            record.ground(&active.plan, reason.clone(), now, fastrand::f64());
            self.shared.vault.commit_soon(vec![Change::Record(Box::new(record.clone()))]);
            tracing::warn!(credential = %name, reason = self.words(&reason, &name), "no request was sent");
        }
        if let Some(settled) = settled {
            self.tell_settled(id, settled, since);
        }
        match next {
            Some(Next::Stop) => self.deactivate(id),
            Some(Next::Replace(plan)) => {
                let name = Arc::clone(&plan.name);
                self.replace_now(id, plan);
                self.retarget();
                self.read_seeds([name]);
            }
            None => self.consider(id),
        }
    }

    /// Tells what a settled refresh means. `since` is when it had begun to fail.
    fn tell_settled(&mut self, id: RecordId, settled: Settled, since: Option<Timestamp>) {
        let Some(record) = self.records.get(&id) else { return };
        let (failures, reason) = (record.state.failures, record.state.last_error.clone());
        let plan = self.active.get(&id).map(|active| &active.plan);
        let is_expiring = plan.is_some_and(|plan| is_expiring(plan, record, lag(&self.rooms, plan), self.now()));
        // Before a restart it may have been halted, or in a trouble that its record does not tell of.
        let was_trouble = since.is_some() || self.courier.standing(&self.about(id, Topic::Recovered)).is_some();
        let topics = match settled {
            Settled::Refreshed if was_trouble => vec![Topic::Refreshed, Topic::Recovered],
            Settled::Refreshed => vec![Topic::Refreshed],
            Settled::Lost => vec![Topic::Uncertain],
            Settled::Halted(_) => vec![Topic::Halted],
            Settled::SeedRefused => vec![Topic::Failing],
            Settled::Failed if is_expiring => vec![Topic::Expiring],
            Settled::Failed if failures >= FAILING_FROM => vec![Topic::Failing],
            Settled::Failed => vec![],
        };
        if settled != Settled::Refreshed {
            let reason = reason.as_ref().map(|reason| self.words(reason, &record.name));
            tracing::warn!(credential = %record.name, outcome = settled.as_str(), failures, reason, "the refresh failed");
        }
        for topic in topics {
            let reason = if settled == Settled::Refreshed { None } else { reason.clone() };
            let event = Event { reason, since, ..self.about(id, topic) };
            self.event(event);
        }
    }

    fn seen(&mut self, name: &str, seen: Result<Seen, GatewayError>) {
        let now = self.now();
        let mut events = Vec::new();
        let same_as = self.same_database(name);
        let Some(room) = self.rooms.get_mut(name) else { return };
        let (first, lag) = (!room.looked, room.lag());
        if first {
            room.same_as = same_as;
        }
        let waited: Vec<RecordId> = room.targets.iter().map(|target| target.record).collect();
        let could: Vec<bool> = waited.iter().map(|id| room.could_deliver(*id)).collect();
        let trouble = room.trouble.clone();
        if let Some(order) = room.judge(seen, &self.records, &self.shared.vault, now, &mut events) {
            let (name, reports) = (Arc::clone(&room.plan.name), self.reports.clone());
            tokio::spawn(async move {
                // The agent is gone when nobody listens.
                let _ = reports.send(Report::Delivered(name, order.carry_out().await));
            });
        }
        let wishes = std::mem::take(&mut room.wishes);
        let lag_changed = room.lag() != lag;
        let trouble = (room.trouble != trouble).then(|| room.trouble.clone());
        let well = room.targets.iter().map(|target| &target.standing).filter(|_| first);
        let well: Vec<ChannelName> = well
            .filter(|standing| standing.state == ChannelState::Delivered)
            .map(|standing| ChannelName { gateway: name.to_owned(), id: standing.id, name: standing.name.clone() })
            .collect();
        let news: Vec<RecordId> = waited
            .into_iter()
            .zip(could)
            .filter(|(id, could)| first || lag_changed || room.could_deliver(*id) != *could)
            .map(|(id, _)| id)
            .collect();
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

    /// Ends a trouble that was told of before a restart, and that nothing here remembers any more.
    fn end_if_standing(&mut self, like: Event) {
        if let Some(trouble) = self.courier.standing(&like) {
            let (credential, reason) = (trouble.credential.clone(), trouble.reason.clone());
            self.event(Event { topic: Topic::Recovered, credential, reason, ..like });
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

    fn look_around(&mut self, now: Timestamp) {
        for room in self.rooms.values_mut() {
            let Some(order) = room.order_look(&self.records, &self.shared.vault, now) else { continue };
            let (name, reports) = (Arc::clone(&room.plan.name), self.reports.clone());
            tokio::spawn(async move {
                // The agent is gone when nobody listens.
                let _ = reports.send(Report::Seen(name, Box::new(order.carry_out().await)));
            });
        }
    }

    fn configured(&mut self, id: RecordId, configured: &str) {
        let Some(record) = self.records.get_mut(&id) else { return };
        let other = |halt: &crate::credential::record::Halt| {
            halt.kind == HaltKind::Misconfigured && halt.configured.as_deref() != Some(configured)
        };
        if record.state.halt.as_ref().is_some_and(other) {
            tracing::info!(credential = %record.name, "its configuration changed: trying again");
            record.revive();
            self.shared.vault.commit_soon(vec![Change::Record(Box::new(record.clone()))]);
            self.consider(id);
        }
    }

    fn halt(&mut self, id: RecordId, kind: HaltKind, reason: TokenReason) {
        let now = self.now();
        let Some(record) = self.records.get_mut(&id) else { return };
        let settled = record.halt(kind, reason, now);
        self.shared.vault.commit_soon(vec![Change::Record(Box::new(record.clone()))]);
        self.tell_settled(id, settled, None);
    }

    /// Reads those secrets again that may have changed under us: files, and whatever is missing.
    fn sweep(&mut self) {
        let changeable = |active: &Active| {
            let in_file =
                matches!(seeds::source(&active.plan), Some(SecretSource::File(_) | SecretSource::SystemdCredential(_)));
            in_file || active.seed_problem.is_some()
        };
        let halted = |id: &RecordId| self.records.get(id).is_some_and(|record| record.state.halt.is_some());
        let names: Vec<Arc<str>> = self
            .active
            .iter()
            .filter(|(id, active)| changeable(active) || halted(id))
            .map(|(_, active)| Arc::clone(&active.plan.name))
            .collect();
        self.sweep_these(names);
    }

    fn sweep_all(&mut self) {
        let names: Vec<Arc<str>> = self.by_name.keys().cloned().collect();
        self.sweep_these(names);
    }

    fn sweep_these(&mut self, names: Vec<Arc<str>>) {
        let ids: Vec<RecordId> = names.iter().filter_map(|name| self.by_name.get(name)).copied().collect();
        for id in ids {
            self.check_configured(id);
        }
        self.read_seeds(names);
    }

    fn config_seen(&mut self, sight: Sight) {
        let text = match sight {
            Sight::Changed(text) => text,
            Sight::Unreadable(reason) => {
                let reason = reason.into();
                tracing::error!(reason = self.words(&reason, "NAME"), "the last good config goes on");
                return self.reject(reason);
            }
            Sight::NoInotify(reason) => {
                tracing::warn!("{}", self.words(&reason.into(), "NAME"));
                return;
            }
        };
        match watch::load(&self.config, &text) {
            Ok((plan, warnings)) => {
                self.log_problems(&text, &warnings);
                if let Some(reason) = self.config_rejected.take() {
                    let event = Event { reason: Some(reason), ..Event::new(self.now(), Topic::Recovered) };
                    self.event(event);
                }
                let diff = self.plan.diff(&plan);
                if diff == PlanDiff::default() {
                    tracing::info!("config read again: nothing changed");
                    return;
                }
                self.apply(plan, &diff);
                tracing::info!(
                    added = diff.start.len(),
                    removed = diff.stop.len(),
                    changed = diff.replace.len(),
                    "config applied"
                );
            }
            Err(problems) => {
                self.log_problems(&text, &problems);
                let first = problems.iter().find(|problem| problem.severity == Severity::Error);
                if let Some(problem) = first {
                    self.reject(problem.reason.clone().into());
                }
            }
        }
    }

    fn reject(&mut self, reason: Reason) {
        self.config_rejected = Some(reason.clone());
        let event = Event { reason: Some(reason), ..Event::new(self.now(), Topic::ConfigRejected) };
        self.event(event);
    }

    fn log_problems(&self, text: &str, problems: &[Problem]) {
        for line in messages::problem_lines(self.plan.language, &self.config, text, problems) {
            match line {
                (Severity::Error, line) => tracing::error!("{line}"),
                (Severity::Warning, line) => tracing::warn!("{line}"),
            }
        }
    }

    /// An event about a credential.
    fn about(&self, id: RecordId, topic: Topic) -> Event {
        let record = self.records.get(&id);
        Event {
            credential: record.map(|record| record.name.clone()),
            expires_at: record.and_then(|record| record.access.as_ref()).map(|grant| grant.expires_at),
            failures: record.map_or(0, |record| record.state.failures),
            ..Event::new(self.now(), topic)
        }
    }

    fn events(&mut self, events: Vec<Event>) {
        for event in events {
            self.event(event);
        }
    }

    fn event(&mut self, event: Event) {
        // A rejected config was told line by line already.
        if event.topic.in_default() && event.topic != Topic::ConfigRejected {
            let channel = event.channel.as_ref().map(ChannelName::address);
            let credential = event.credential.as_deref();
            let placeholders = About::default();
            let about = About {
                credential: credential.unwrap_or(placeholders.credential),
                channel: channel.as_deref().unwrap_or(placeholders.channel),
            };
            let reason = event.reason.as_ref().map(|reason| self.words_about(reason, about));
            let topic = event.topic.as_str();
            match event.topic {
                Topic::Recovered => tracing::info!(credential, channel, "{topic}"),
                _ => tracing::warn!(credential, channel, reason, "{topic}"),
            }
        }
        self.courier.tell(&event);
        self.shared.vault.commit_soon(vec![Change::Event(Box::new(event))]);
    }

    /// Whether the one pass is over: nothing under way, nothing that could still be delivered.
    fn is_done(&self) -> bool {
        let Mode::Once { names, .. } = &self.mode else { return false };
        let settled = self.seeds_underway == 0
            && self.queue.is_empty()
            && self.rooms.values().all(|room| !room.busy && (room.looked || room.targets.is_empty()));
        settled
            && self.active.iter().all(|(id, active)| {
                !is_named(names, &active.plan) || !active.in_flight && !active.queued && self.is_delivered(*id)
            })
    }

    /// Whether there is nothing left to deliver for a credential, or no way to.
    fn is_delivered(&self, id: RecordId) -> bool {
        let has_key = self.records.get(&id).is_some_and(|record| record.access.is_some());
        !has_key
            || self.rooms.values().all(|room| {
                room.trouble.is_some()
                    || room.targets_of(id).all(|target| target.standing.state != ChannelState::Pending)
            })
    }
}

fn is_named(names: &[String], plan: &CredentialPlan) -> bool {
    names.is_empty() || names.iter().any(|name| **name == *plan.name)
}

/// The longest cache lag of the gateways that a credential feeds.
fn lag(rooms: &BTreeMap<Arc<str>, Room>, plan: &CredentialPlan) -> Duration {
    let rooms = plan.channels.iter().filter_map(|channel| rooms.get(&channel.gateway));
    rooms.map(Room::lag).max().unwrap_or_default()
}
