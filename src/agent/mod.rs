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
pub mod ending;
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
pub mod tidying;
pub mod timetable;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch as changes};
use tokio_util::task::TaskTracker;

use crate::channel::ownership::{self, Adoptions};
use crate::config::plan::{CredentialPlan, Plan};
use crate::credential::event::{Event, Topic};
use crate::credential::record::{ByRecord, Record, RecordId};
use crate::gateway::{GatewayError, Published};
use crate::notify::sender::SendReport;
use crate::reason::{AgentReason, Reason, VaultReason};
use crate::telemetry::log::Gathering;
use crate::telemetry::metrics::Counters;
use crate::telemetry::recent::Recent;
use crate::telemetry::status::Status;
use crate::telemetry::systemd::ServiceManager;
use crate::time::{Clock, Timestamp};
use crate::transport::Clients;
use crate::vault::backing::Standing;
use crate::vault::{Contents, Fingerprint, Vault};
use crate::{memory, messages};

use aside::Aside;
use clock::ClockWatch;
use control::{Answer, Passes, Request};
use courier::Courier;
use deliver::{Delivery, Origin, Room, Seen};
pub use ending::Ending;
use held::{Held, Unsure};
use obtained::{Obtained, Taken};
use page::Page;
use queue::Queue;
use refresh::{FlightReport, Shared};
use seeds::SeedRead;
use socket::ControlSocket;
use tidying::Tidying;
use timetable::{LONGEST_SLEEP, SWEEP_EVERY};
use watch::{ConfigWatch, Sight};

/// With so many refreshes under way, and as long as they come back one after another, the loop takes in together what
/// comes, and is not woken by each.
const CROWD: usize = 16;
/// How long what comes waits for company: the shortest sleep there is.
const TOGETHER: Duration = Duration::from_millis(1);

/// With so much time until the next thing is due the program's pages are given back.
const REST: Duration = Duration::from_secs(1);

/// What comes back to the loop, besides what refreshes report.
pub enum Report {
    /// From a look at a gateway.
    Seen(Arc<str>, Origin, Box<Result<Seen, GatewayError>>),
    /// From a look at the channels of a key that is not durable yet.
    SeenAhead(Arc<str>, Origin, Box<Result<Seen, GatewayError>>),
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

impl Report {
    /// Whether getting there took memory that is free by now.
    fn took_memory(&self) -> bool {
        /// A look at so many channels takes about a quarter of a megabyte.
        const MANY: usize = 500;
        match self {
            Self::Config(_) | Self::Seeds(_) | Self::Control(_) => true,
            Self::Seen(_, _, seen) => (**seen).as_ref().is_ok_and(|seen| seen.indexes().len() >= MANY),
            _ => false,
        }
    }
}

/// What the agent is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Go on until it is stopped.
    Run,
    /// Make the passes that are asked for, and end.
    Once,
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
    in_flight: bool,
    queued: bool,
    /// Its place in the order of due times.
    due: Option<Timestamp>,
    /// Refresh even if it is not due: a gateway calls its key dead.
    forced: bool,
    /// The same, for a pass.
    forced_by_pass: bool,
    /// What was told of its key's end: that it comes, or that it came.
    told_of_end: Option<Topic>,
    told_short: bool,
    seed_problem: Option<Box<Reason>>,
    /// A seed came while a request was under way: it is read again when that has landed.
    seed_unread: bool,
    /// The configured seed that a person's login or import came after: it is ignored, however late it is read.
    passed_over: Option<Box<Fingerprint>>,
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
            in_flight: false,
            queued: false,
            due: None,
            forced: false,
            forced_by_pass: false,
            told_of_end: None,
            told_short: false,
            seed_problem: None,
            seed_unread: false,
            passed_over: None,
            next: None,
        }
    }

    /// Of the token endpoint.
    fn host(&self) -> String {
        self.plan.endpoint.host()
    }
}

/// The agent's state; see the module.
pub struct Agent {
    shared: Arc<Shared>,
    vault: Vault,
    plan: Arc<Plan>,
    /// Boxed: the table is up to twice as large as what is in it.
    records: ByRecord<Box<Record>>,
    /// The highest that was given out.
    last_id: RecordId,
    active: ByRecord<Box<Active>>,
    by_name: HashMap<Arc<str>, RecordId>,
    due: BTreeSet<(Timestamp, RecordId)>,
    queue: Queue,
    rooms: BTreeMap<Arc<str>, Room>,
    /// Of gateways that are not in the config now.
    adoptions_elsewhere: HashMap<Arc<str>, Adoptions>,
    courier: Courier,
    inbox: mpsc::UnboundedReceiver<Report>,
    reports: mpsc::UnboundedSender<Report>,
    /// What comes back from refreshes.
    flown: mpsc::UnboundedReceiver<(RecordId, FlightReport)>,
    flight_reports: mpsc::UnboundedSender<(RecordId, FlightReport)>,
    flights: TaskTracker,
    /// Refreshes may be waiting that could do something.
    has_more_turns: bool,
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
    tidying: Tidying,
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
        let (flight_reports, flown) = mpsc::unbounded_channel();
        let (now, uptime) = (clock.now(), clock.uptime());
        let config = std::path::absolute(&config).unwrap_or(config);
        let directory = config.parent().map(ToOwned::to_owned).unwrap_or_default();
        let shared = Shared { clock, vault: vault.handle.clone(), clients: Clients::default() };
        let mut agent = Self {
            shared: Arc::new(shared),
            queue: Queue::new(plan.agent),
            plan: Arc::new(Plan::empty(&plan)),
            last_id: contents.records.iter().map(|record| record.id).max().unwrap_or(RecordId(0)),
            records: contents.records.into_iter().map(|record| (record.id, Box::new(record))).collect(),
            active: ByRecord::default(),
            by_name: HashMap::new(),
            due: BTreeSet::new(),
            rooms: BTreeMap::new(),
            adoptions_elsewhere: ownership::by_gateway(contents.adoptions),
            courier: Courier::new(contents.notices.as_deref(), directory, reports.clone()),
            inbox,
            reports,
            flown,
            flight_reports,
            flights: TaskTracker::new(),
            has_more_turns: false,
            aside: Aside::default(),
            seeds_underway: 0,
            passes: Passes::default(),
            obtained: Vec::new(),
            counters: Counters::default(),
            service: ServiceManager::default(),
            mode,
            started_at: now,
            sweep_at: now + SWEEP_EVERY,
            tidying: Tidying::new(now),
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
            let reason = agent.records.get(&id).and_then(|record| record.state.last_error.as_deref().cloned());
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
        let (mut last_call, mut is_crowded) = (None, false);
        loop {
            let gathering = Gathering::begin();
            self.tick();
            self.tell_service();
            self.answer_passes();
            drop(gathering);
            if self.abandoned || self.has_ended(&mut last_call) {
                break;
            }
            let rest = self.service.rest(self.shared.clock.uptime().awake);
            let sleep = self.wake().since(self.now()).min(LONGEST_SLEEP).min(rest);
            let sleep = if is_crowded || self.has_more_turns { sleep.min(TOGETHER) } else { sleep };
            if sleep >= REST && self.is_at_rest() {
                memory::forget_the_program();
            }
            let mut flew = None;
            tokio::select! {
                report = self.inbox.recv() => {
                    if let Some(report) = report {
                        self.handle(report);
                    }
                }
                report = self.flown.recv(), if !is_crowded => flew = report,
                () = tokio::time::sleep(sleep) => {}
                () = changed(&mut self.standing) => self.stands(),
            }
            let _gathering = Gathering::begin();
            is_crowded = false;
            while let Some((id, report)) = flew.or_else(|| self.flown.try_recv().ok()) {
                self.flew(id, report);
                (flew, is_crowded) = (None, self.flights.len() >= CROWD);
            }
            while let Ok(report) = self.inbox.try_recv() {
                self.handle(report);
            }
        }
        self.end().await
    }

    /// Whether nothing is under way.
    fn is_at_rest(&self) -> bool {
        self.flights.is_empty() && !self.rooms.values().any(|room| room.busy)
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn new_id(&mut self) -> RecordId {
        self.last_id.0 += 1;
        self.last_id
    }

    fn handle(&mut self, report: Report) {
        if report.took_memory() {
            self.tidying.worked(self.now());
        }
        match report {
            Report::Seen(name, origin, seen) => self.seen(&name, origin, *seen),
            Report::SeenAhead(name, origin, seen) => self.seen_ahead(&name, origin, *seen),
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
