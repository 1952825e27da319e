//! The agent: one loop over what is due, what came back, and what people want.
//!
//! It owns every record and every room; tasks and threads get copies and report back. Nothing in the loop waits for a
//! network or a database, or reads a file (it may ask when one was written). Refreshes are tasks that are never
//! cancelled; looks and writes run on the gateways' threads, commits on the vault's.

pub mod apply;
pub mod aside;
pub mod clock;
pub mod control;
pub mod courier;
pub mod deliver;
pub mod flights;
pub mod held;
pub mod obtained;
pub mod page;
pub mod queue;
pub mod refresh;
pub mod rooms;
pub mod seeds;
pub mod service;
pub mod socket;
pub mod tell;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch as changes};
use tokio_util::task::TaskTracker;

use crate::channel::ownership::Adoption;
use crate::config::plan::{CredentialPlan, Plan};
use crate::credential::event::{Event, Topic};
use crate::credential::policy::{TokenDecision, decide};
use crate::credential::record::{HaltKind, Record, RecordId};
use crate::gateway::{GatewayError, Published};
use crate::messages;
use crate::notify::sender::SendReport;
use crate::reason::{AgentReason, Reason, TokenReason, VaultReason};
use crate::telemetry::metrics::Counters;
use crate::telemetry::recent::Recent;
use crate::telemetry::status::Status;
use crate::telemetry::systemd::ServiceManager;
use crate::time::{Clock, Timestamp};
use crate::transport::Clients;
use crate::vault::backing::Standing;
use crate::vault::{Change, Contents, Fingerprint, Vault};

use aside::Aside;
use clock::{ClockWatch, Parted, spread};
use control::{Answer, Passes, Request};
use courier::Courier;
use deliver::{Delivery, Origin, Room, Seen};
use held::{Held, Unsure};
use obtained::{Obtained, Taken};
use page::Page;
use queue::Queue;
use refresh::{FlightReport, Shared};
use seeds::SeedRead;
use socket::ControlSocket;
use watch::{ConfigWatch, Sight};

/// The longest sleep: a suspend or a clock step is seen within it.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);
/// How often secrets in files are read again.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// How long after something came of a refresh or an edit free memory is given back.
const TIDY_AFTER: Duration = Duration::from_secs(1);
/// How often a shutdown looks whether it is over.
const WHILE_STOPPING: Duration = Duration::from_millis(50);
/// How often it looks around while nobody knows whose the vault is.
const WHILE_UNSURE: Duration = Duration::from_secs(1);
/// How long a shutdown waits for keys to be delivered, after what was sent is saved.
const LAST_DELIVERY: Duration = Duration::from_secs(2);
/// How long a pass that nobody continues waits for gateways to hear of its keys.
const LAST_CALL_OF_A_PASS: Duration = Duration::from_secs(10);

/// What comes back to the loop.
pub enum Report {
    /// From a refresh.
    Flight(RecordId, FlightReport),
    /// From a look at a gateway.
    Seen(Arc<str>, Origin, Box<Result<Seen, GatewayError>>),
    /// From writes into a gateway.
    Delivered(Arc<str>, Origin, Vec<(Delivery, Result<Published, GatewayError>)>),
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
    /// What a person obtained is durable, or cannot be; somebody waits for the answer.
    Obtained(RecordId, Box<Result<Taken, Reason>>, Answer<Result<Status, Reason>>),
    /// Somebody asks, through the control socket or in this process.
    Control(Request),
    /// SIGTERM or SIGINT; the second one does not wait.
    Stop,
}

/// What the agent is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Go on until it is stopped.
    Run,
    /// Make the passes that are asked for, and end.
    Once,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// What was sent was awaited and saved.
    Saved,
    /// Asked twice to stop, it did not wait.
    Abandoned,
    /// Somebody else owns the vault now. What came meanwhile is in [`Agent::close`]'s hands.
    Displaced,
}

/// A config file that was not taken, while the last good plan goes on.
struct Rejected {
    reason: Reason,
    /// Where and what, as `status` shows it.
    line: String,
}

/// A credential at work.
struct Active {
    plan: Arc<CredentialPlan>,
    host: Arc<str>,
    in_flight: bool,
    queued: bool,
    /// Its place in the order of due times.
    due: Option<Timestamp>,
    /// Refresh even if it is not due: a gateway calls its key dead.
    forced: bool,
    /// The same, for a pass.
    forced_by_pass: bool,
    told_expired: bool,
    told_short: bool,
    seed_problem: Option<Reason>,
    /// A seed came while a request was under way: it is read again when that has landed.
    seed_unread: bool,
    /// The configured seed that a person's login or import came after: it is ignored, however late it is read.
    passed_over: Option<Fingerprint>,
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
            forced_by_pass: false,
            told_expired: false,
            told_short: false,
            seed_problem: None,
            seed_unread: false,
            passed_over: None,
            next: None,
        }
    }
}

/// The agent's state; see the module.
pub struct Agent {
    shared: Arc<Shared>,
    vault: Vault,
    plan: Arc<Plan>,
    /// Boxed: the table is up to twice as large as what is in it.
    records: HashMap<RecordId, Box<Record>>,
    /// The highest that was given out.
    last_id: RecordId,
    active: HashMap<RecordId, Box<Active>>,
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
    aside: Aside,
    seeds_underway: usize,
    passes: Passes,
    /// What people obtained while a request of that credential was under way.
    obtained: Vec<(Obtained, Answer<Result<Status, Reason>>)>,
    counters: Counters,
    service: ServiceManager,
    mode: Mode,
    started_at: Timestamp,
    sweep_at: Timestamp,
    /// When free memory is given back, if there may be some: put off while there is work.
    tidy_at: Option<Timestamp>,
    clocks: ClockWatch,
    stopping: bool,
    abandoned: bool,
    config: PathBuf,
    config_watch: Option<ConfigWatch>,
    /// When the config file was last found good.
    loaded_at: Timestamp,
    config_rejected: Option<Rejected>,
    socket: Option<ControlSocket>,
    /// The configured address, while it is served.
    page: Option<Page>,
    /// What is wrong with the vault, while it does not take what must be durable.
    vault_trouble: Option<VaultReason>,
    /// Whether the vault is ours, as its thread says.
    standing: changes::Receiver<Standing>,
    /// While nobody knows whose it is, or it is another's.
    unsure: Option<Unsure>,
    /// Somebody else owns it.
    displaced: bool,
    /// Somebody asked to stop while it ended because of that.
    asked_to_stop: bool,
    /// Answers that came since.
    held: Vec<Held>,
    /// What happened lately.
    recent: Recent,
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
        let config = std::path::absolute(&config).unwrap_or(config);
        let directory = config.parent().map(ToOwned::to_owned).unwrap_or_default();
        let shared = Shared { clock, vault: vault.handle.clone(), clients: Clients::default() };
        let mut adoptions_elsewhere: HashMap<String, HashMap<i64, Adoption>> = HashMap::new();
        for adoption in contents.adoptions {
            adoptions_elsewhere.entry(adoption.gateway.clone()).or_default().insert(adoption.channel, adoption);
        }
        let mut agent = Self {
            shared: Arc::new(shared),
            queue: Queue::new(plan.agent),
            plan: Arc::new(Plan::empty(&plan)),
            last_id: contents.records.iter().map(|record| record.id).max().unwrap_or(RecordId(0)),
            records: contents.records.into_iter().map(|record| (record.id, Box::new(record))).collect(),
            active: HashMap::new(),
            by_name: HashMap::new(),
            due: BTreeSet::new(),
            rooms: BTreeMap::new(),
            adoptions_elsewhere,
            courier: Courier::new(contents.notices.as_deref(), directory, reports.clone()),
            inbox,
            reports,
            flights: TaskTracker::new(),
            aside: Aside::default(),
            seeds_underway: 0,
            passes: Passes::default(),
            obtained: Vec::new(),
            counters: Counters::default(),
            service: ServiceManager::default(),
            mode,
            started_at: now,
            sweep_at: now + SWEEP_EVERY,
            tidy_at: Some(now + TIDY_AFTER),
            clocks: ClockWatch::new(now, uptime),
            stopping: false,
            abandoned: false,
            config,
            config_watch: None,
            loaded_at: now,
            config_rejected: None,
            vault_trouble: None,
            standing: vault.handle.standing(),
            unsure: None,
            displaced: false,
            asked_to_stop: false,
            held: Vec::new(),
            vault,
            recent: contents.events.into_iter().collect(),
            socket: None,
            page: None,
        };
        agent.shared.vault.measure(agent.counters.commit_seconds());
        // Start-up is a config edit from the empty plan.
        let mut diff = agent.plan.diff(&plan);
        (diff.notifiers, diff.server, diff.vault) = (true, true, false);
        let doubted = if contents.behind { agent.doubt_all(&plan) } else { Vec::new() };
        agent.apply(plan, &diff);
        for id in doubted.into_iter().filter(|id| agent.active.contains_key(id)).collect::<Vec<_>>() {
            let reason = agent.records.get(&id).and_then(|record| record.state.last_error.clone());
            agent.event(Event { reason, ..agent.about(id, Topic::Uncertain) });
        }
        agent
    }

    /// What it goes by: the last config that was good.
    pub fn plan(&self) -> &Plan {
        &self.plan
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

    /// Serves the control socket from now on. Without one everything else goes on.
    pub fn serve_control(&mut self) {
        match ControlSocket::serve(&self.vault.path, self.line()) {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => {
                let (path, error) = (socket::path_of(&self.vault.path).display().to_string(), error.to_string());
                tracing::warn!("{}", self.words(&AgentReason::NoControlSocket { path, error }.into(), "NAME"));
            }
        }
    }

    /// Runs until it is stopped, or until the passes are over; what was sent is saved before it returns.
    pub async fn run(&mut self) -> Ending {
        self.event(Event::new(self.now(), Topic::Started));
        self.end_if_standing(Event::new(self.now(), Topic::ConfigRejected));
        self.consider_all();
        let mut last_call = None;
        loop {
            self.tick();
            self.tell_service();
            self.answer_passes();
            if self.abandoned || self.has_ended(&mut last_call) {
                break;
            }
            let rest = self.service.rest(self.shared.clock.uptime().awake);
            let sleep = self.wake().since(self.now()).min(LONGEST_SLEEP).min(rest);
            tokio::select! {
                report = self.inbox.recv() => {
                    if let Some(report) = report {
                        self.handle(report);
                    }
                }
                () = tokio::time::sleep(sleep) => {}
                () = changed(&mut self.standing) => self.stands(),
            }
            while let Ok(report) = self.inbox.try_recv() {
                self.handle(report);
            }
        }
        if !self.abandoned {
            self.settle_gateways().await;
        }
        self.passes = Passes::default();
        if self.mode == Mode::Once
            && let Some(change) = self.courier.flush(&self.plan, self.now())
        {
            self.shared.vault.commit_soon(vec![change]);
        }
        if !self.abandoned {
            self.send_last_messages().await;
        }
        // Whoever asks from now on, or has no answer yet, learns that it is ending.
        self.inbox.close();
        while self.inbox.try_recv().is_ok() {}
        if let Some(socket) = self.socket.take() {
            socket.close().await;
        }
        match (self.abandoned, self.displaced) {
            (true, _) => Ending::Abandoned,
            (false, true) => Ending::Displaced,
            (false, false) => Ending::Saved,
        }
    }

    /// Lets gateways hear of the keys that were written. One that cannot is left to the next start.
    async fn settle_gateways(&self) {
        let told = self.rooms.values().filter(|room| room.plan.api.is_some());
        let settled = told.map(|room| room.handle.settle());
        let patience = if self.mode == Mode::Once { LAST_CALL_OF_A_PASS } else { LAST_DELIVERY };
        let _ = tokio::time::timeout(patience, futures_util::future::join_all(settled)).await;
    }

    /// Lets the notifiers finish, and remembers what they did not get rid of.
    async fn send_last_messages(&mut self) {
        let mut sent = Vec::new();
        {
            let mut finished = std::pin::pin!(self.courier.shutdown());
            loop {
                tokio::select! {
                    () = &mut finished => break,
                    // Any other report is dropped: who asked something learns by that that it is ending.
                    Some(report) = self.inbox.recv() => if let Report::Sent(report) = report {
                        sent.push(report);
                    },
                }
            }
        }
        while let Ok(report) = self.inbox.try_recv() {
            if let Report::Sent(report) = report {
                sent.push(report);
            }
        }
        for report in sent {
            self.sent(&report);
        }
        self.shared.vault.commit_soon(self.courier.state().into_iter().collect());
    }

    /// Whether nothing is left to wait for. Keys that are on their way get a moment, from `last_call` on; what waits
    /// longer is left to the next start.
    fn has_ended(&self, last_call: &mut Option<Timestamp>) -> bool {
        let ending = self.stopping || self.mode == Mode::Once && self.passes.is_empty();
        let is_idle = || self.flights.is_empty() && !self.active.values().any(|active| active.in_flight);
        if !ending || !is_idle() {
            *last_call = None;
            return false;
        }
        let deadline = *last_call.get_or_insert(self.now() + LAST_DELIVERY);
        self.now() >= deadline || !self.rooms.values().any(|room| room.busy)
    }

    /// Says what is lost by not waiting.
    fn abandon(&mut self) {
        self.abandoned = true;
        let in_flight = self.active.values().filter(|active| active.in_flight);
        let mut credentials: Vec<String> = in_flight.map(|active| active.plan.name.to_string()).collect();
        credentials.sort();
        tracing::error!("{}", self.words(&AgentReason::Abandoned { credentials }.into(), "NAME"));
    }

    /// Ends: the vault's thread commits what waits. Answers that it may not take, because the vault is another's, are
    /// handed over to whoever stands by.
    pub fn close(self) -> Vec<Held> {
        self.vault.close();
        self.held
    }

    /// Nothing new starts from now on.
    fn stop_starting(&mut self) {
        self.stopping = true;
        self.queue.clear();
        self.flights.close();
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn new_id(&mut self) -> RecordId {
        self.last_id.0 += 1;
        self.last_id
    }

    /// Does what is due.
    fn tick(&mut self) {
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
        if !self.stopping && self.is_owner() {
            // No faster than they can be delivered: the old key may die with the request for the new one.
            while !self.rooms.values().any(Room::is_behind)
                && let Some(id) = self.queue.pop()
            {
                self.launch(id);
            }
        }
        if self.is_owner() {
            self.look_around(now);
        }
        if now >= self.sweep_at && self.mode == Mode::Run && self.is_owner() {
            self.sweep_at = now + SWEEP_EVERY;
            // What hangs is not read twice.
            if self.seeds_underway == 0 {
                self.sweep();
            }
        }
        if self.tidy_at.is_some_and(|at| at <= now) {
            self.tidy_at = None;
            self.shared.vault.rest();
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
                    changes.push(Change::Record(record.clone()));
                }
                self.shared.vault.commit_soon(changes);
                self.started_at = self.started_at.shifted(milliseconds);
                self.sweep_at = self.sweep_at.shifted(milliseconds);
                self.tidy_at = self.tidy_at.map(|at| at.shifted(milliseconds));
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
    fn wake(&mut self) -> Timestamp {
        let now = self.now();
        let first_due = self.due.first().map(|(due, _)| *due);
        let rooms = self.rooms.values().filter_map(Room::wake).min();
        let sweep = (self.mode == Mode::Run).then_some(self.sweep_at);
        let wakes = [first_due, rooms, sweep, self.tidy_at, self.courier.wake()];
        let next = wakes.into_iter().flatten().min().unwrap_or(Timestamp::MAX);
        // While it stops or is not the owner, what is due is not done: look again when something comes back, or soon.
        match (self.stopping, self.is_owner()) {
            (true, _) => now + WHILE_STOPPING,
            (false, false) => now + WHILE_UNSURE,
            (false, true) => next,
        }
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
        let paused = self.queue.paused_until(&active.host, now).filter(|_| wanted);
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
            if dies > now {
                next = Some(next.map_or(dies, |next| next.min(dies)));
            } else if !active.told_expired {
                active.told_expired = true;
                let host_is_busy = || Some(TokenReason::Busy { status: 429, until: Some(paused?) }.into());
                let reason = record.state.last_error.clone().or_else(host_is_busy);
                let event = Event { reason, ..self.about(id, Topic::Expired) };
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

    fn handle(&mut self, report: Report) {
        if matches!(report, Report::Flight(..) | Report::Config(_) | Report::Seeds(_) | Report::Control(_)) {
            self.tidy_at = Some(self.now() + TIDY_AFTER);
        }
        match report {
            Report::Flight(id, report) => self.flew(id, report),
            Report::Seen(name, origin, seen) => self.seen(&name, origin, *seen),
            Report::Delivered(name, origin, results) => self.delivered(&name, origin, results),
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
            Report::Config(sight) => {
                let read = !matches!(sight, Sight::NoInotify(_));
                self.config_seen(sight);
                if read {
                    self.service.reloaded();
                }
            }
            Report::Sent(report) => self.sent(&report),
            Report::Hangup => {
                tracing::info!("reading config and secrets again");
                self.service.reloading(self.shared.clock.uptime().awake);
                match &self.config_watch {
                    Some(watch) => watch.read_now(),
                    None => self.service.reloaded(),
                }
                self.sweep_all();
            }
            Report::Obtained(id, taken, answer) => self.obtained(id, *taken, answer),
            Report::Control(request) => self.asked(request),
            // Whoever stands by next hears of it, too.
            Report::Stop if self.displaced && !self.asked_to_stop => {
                self.service.stopping(messages::words(self.plan.language).service.stopping);
                self.asked_to_stop = true;
            }
            Report::Stop if self.stopping => self.abandon(),
            Report::Stop => {
                tracing::info!(in_flight = self.flights.len(), "stopping: nothing new starts");
                self.service.stopping(messages::words(self.plan.language).service.stopping);
                self.stop_starting();
            }
        }
    }
}

/// Waits until something is said anew; for ever, when nobody is left to say it.
async fn changed(standing: &mut changes::Receiver<Standing>) {
    if standing.changed().await.is_err() {
        std::future::pending().await
    }
}
