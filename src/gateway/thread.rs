//! The one thread that owns a gateway: async callers ask, it blocks for them.
//!
//! Answers looks at once, writes what is waiting in batches, and between requests catches up with what writes left to
//! do, and looks every two seconds whether somebody else wrote. Decides nothing about keys; called by `agent` and by commands.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::oneshot;

use super::{BATCH, Gateway, GatewayError, Place, Publication, Published, Unloaded};
use crate::channel::view::ChannelView;
use crate::config::plan::{ChannelSelect, GatewayKind};
use crate::finding::Finding;
use crate::reason::GatewayReason;

/// How often the thread looks whether somebody wrote.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// What the gateway's own writers get between two full batches of ours, while they write.
const PAUSE: Duration = Duration::from_millis(10);
/// And while none was seen to write: enough for one that comes to get in between, and be seen.
const SHORT_PAUSE: Duration = Duration::from_millis(1);

/// For how long the gateway may hold open what the next request may need: a look at a few channels comes before a write.
const STAY: Duration = Duration::from_millis(20);

/// And for how long where a key is expected: as long as most token endpoints take to answer.
const STAY_EXPECTING: Duration = Duration::from_secs(1);

type Look = Result<Vec<ChannelView>, GatewayError>;
type Answer = Result<Published, GatewayError>;

/// The way to a gateway from async code. The thread ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct GatewayHandle {
    requests: Sender<Request>,
    known: Arc<Mutex<Known>>,
}

/// What was learned of the gateway so far.
#[derive(Debug, Clone, Copy)]
struct Known {
    kind: Option<GatewayKind>,
    immediate: bool,
}

impl Known {
    fn of(gateway: &dyn Gateway) -> Self {
        Self { kind: gateway.kind(), immediate: gateway.immediate() }
    }
}

impl GatewayHandle {
    /// Starts the thread. `changed` is called on it, at most once in two seconds, when somebody else wrote into the
    /// gateway; it must not block. If the system gives no thread, every request fails.
    pub fn spawn(gateway: Box<dyn Gateway>, changed: impl Fn() + Send + 'static) -> Self {
        let (requests, incoming) = channel();
        let known = Arc::new(Mutex::new(Known::of(&*gateway)));
        let room = Room {
            gateway,
            changed: Box::new(changed),
            known: Arc::clone(&known),
            publishes: VecDeque::new(),
            resume: Instant::now(),
            watch_at: Instant::now() + WATCH_EVERY,
            watch_by: Instant::now() + 2 * WATCH_EVERY,
            leave_at: None,
            expecting_until: None,
            seconds: None,
        };
        let thread = std::thread::Builder::new().name("gateway".to_owned()).spawn(move || room.run(&incoming));
        if let Err(error) = thread {
            tracing::error!(%error, "the gateway's thread cannot be started");
        }
        Self { requests, known }
    }

    /// Says that keys will be written from now on, and not only looked at.
    pub fn begin(&self) {
        // A thread that has ended writes nothing.
        let _ = self.requests.send(Request::Begin);
    }

    /// Says that a key may come soon.
    pub fn expect(&self) {
        // As above.
        let _ = self.requests.send(Request::Expect);
    }

    /// Waits until the gateway was told of the keys that were written, or could not be told.
    pub async fn settle(&self) {
        self.ask(Request::Settle).await;
    }

    /// Notes from now on how long each batch takes to be written, in seconds.
    pub fn measure(&self, seconds: Histogram) {
        // A thread that has ended writes nothing either.
        let _ = self.requests.send(Request::Measure(seconds));
    }

    /// Looks at the channels that are asked for; those that are not there are left out.
    ///
    /// # Errors
    /// As [`Gateway::observe`].
    pub async fn observe(&self, channels: Vec<ChannelSelect>) -> Look {
        self.ask(|reply| Request::Observe(channels, reply)).await.unwrap_or_else(|| Err(ended()))
    }

    /// Looks at every channel.
    ///
    /// # Errors
    /// As [`Gateway::list`].
    pub async fn list(&self) -> Look {
        self.ask(Request::List).await.unwrap_or_else(|| Err(ended()))
    }

    /// Writes keys, together with what others are waiting to write; one answer each, in order.
    pub async fn publish(&self, publications: Vec<Publication>) -> Vec<Answer> {
        let wanted = publications.len();
        let answers = self.ask(|reply| Request::Publish(publications, reply)).await;
        answers.unwrap_or_else(|| vec![Err(ended()); wanted])
    }

    /// Proves that a key could be written now.
    ///
    /// # Errors
    /// As [`Gateway::probe`].
    pub async fn probe(&self) -> Result<(), GatewayError> {
        self.ask(Request::Probe).await.unwrap_or_else(|| Err(ended()))
    }

    /// Channels whose key the gateway does not use, because it could not be told of it.
    pub async fn unloaded(&self) -> Option<Unloaded> {
        self.ask(Request::Unloaded).await.flatten()
    }

    /// Which database it is; `None` while that cannot be told.
    pub async fn place(&self) -> Option<Place> {
        self.ask(Request::Place).await.flatten()
    }

    /// What there is to say about it.
    pub async fn examine(&self) -> Vec<Finding> {
        self.ask(Request::Examine).await.unwrap_or_else(|| vec![unexamined(ended())])
    }

    /// What the gateway was recognised as at the last request.
    pub fn kind(&self) -> Option<GatewayKind> {
        self.known().kind
    }

    /// Whether a key that was written is used at once, as far as that was seen.
    pub fn immediate(&self) -> bool {
        self.known().immediate
    }

    fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).ok()?;
        answer.await.ok()
    }
}

enum Request {
    Observe(Vec<ChannelSelect>, oneshot::Sender<Look>),
    List(oneshot::Sender<Look>),
    Publish(Vec<Publication>, oneshot::Sender<Vec<Answer>>),
    Probe(oneshot::Sender<Result<(), GatewayError>>),
    Place(oneshot::Sender<Option<Place>>),
    Unloaded(oneshot::Sender<Option<Unloaded>>),
    Examine(oneshot::Sender<Vec<Finding>>),
    Measure(Histogram),
    Begin,
    Expect,
    Settle(oneshot::Sender<()>),
}

/// A request to publish that is not written to the end.
struct Publishing {
    left: VecDeque<Publication>,
    answers: Vec<Answer>,
    reply: oneshot::Sender<Vec<Answer>>,
}

struct Room {
    gateway: Box<dyn Gateway>,
    changed: Box<dyn Fn() + Send>,
    known: Arc<Mutex<Known>>,
    publishes: VecDeque<Publishing>,
    /// Not before this moment is the next batch written.
    resume: Instant,
    /// When to look next whether somebody wrote.
    watch_at: Instant,
    /// And at the latest, however many looks come before.
    watch_by: Instant,
    /// When to close what the gateway holds open, if nobody asks for anything before.
    leave_at: Option<Instant>,
    /// Until when a key is expected, if none has come.
    expecting_until: Option<Instant>,
    seconds: Option<Histogram>,
}

impl Room {
    fn run(mut self, requests: &Receiver<Request>) {
        // The first watch only takes the trace: whoever starts the thread looks by himself.
        let _ = self.guarded(|gateway| gateway.changed());
        loop {
            let resume = (!self.publishes.is_empty()).then_some(self.resume);
            let wake_at = [resume, self.leave_at].into_iter().flatten().fold(self.watch_at, Instant::min);
            match requests.recv_timeout(wake_at.saturating_duration_since(Instant::now())) {
                Ok(request) => self.take(request),
                Err(RecvTimeoutError::Timeout) if self.leave_at.is_some_and(|at| Instant::now() >= at) => {
                    let _ = self.guarded(|gateway| gateway.leave());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Whatever waits is taken in before writing, so that one transaction carries as much as it may.
            requests.try_iter().for_each(|request| self.take(request));
            if !self.publishes.is_empty() && Instant::now() >= self.resume {
                self.write_a_batch();
            }
            if self.publishes.is_empty() {
                // A bug there is one of this request only.
                let _ = self.guarded(|gateway| gateway.catch_up());
            }
            if Instant::now() >= self.watch_at {
                self.watch_at = Instant::now() + WATCH_EVERY;
                self.watch_by = self.watch_at + WATCH_EVERY;
                // A watch that fails is a doubt, and in doubt somebody looks.
                if self.guarded(|gateway| gateway.changed()).unwrap_or(true) {
                    (self.changed)();
                }
            }
            let stay_until = self.expecting_until.into_iter().fold(Instant::now() + STAY, Instant::max);
            self.leave_at = self.gateway.stays().then_some(stay_until);
        }
    }

    /// Answers a look at once; queues a publish. Nobody minds if the asker has gone.
    fn take(&mut self, request: Request) {
        match request {
            Request::Observe(channels, reply) => {
                self.expecting_until = None;
                let look = self.guarded(|gateway| gateway.observe(&channels));
                // Whoever wrote until now was seen.
                self.watch_at = self.watch_by.min(Instant::now() + WATCH_EVERY);
                let _ = reply.send(look.unwrap_or_else(Err));
            }
            Request::List(reply) => {
                let look = self.guarded(|gateway| gateway.list());
                let _ = reply.send(look.unwrap_or_else(Err));
            }
            Request::Publish(publications, reply) if publications.is_empty() => {
                let _ = reply.send(Vec::new());
            }
            Request::Publish(publications, reply) => {
                let answers = Vec::with_capacity(publications.len());
                self.publishes.push_back(Publishing { left: publications.into(), answers, reply });
            }
            Request::Probe(reply) => {
                let proof = self.guarded(|gateway| gateway.probe());
                let _ = reply.send(proof.unwrap_or_else(Err));
            }
            Request::Place(reply) => {
                let place = self.guarded(|gateway| gateway.place());
                let _ = reply.send(place.ok().flatten());
            }
            Request::Unloaded(reply) => {
                let unloaded = self.guarded(|gateway| gateway.unloaded());
                let _ = reply.send(unloaded.ok().flatten());
            }
            Request::Measure(seconds) => self.seconds = Some(seconds),
            Request::Begin => {
                let _ = self.guarded(|gateway| gateway.begin());
            }
            Request::Expect => {
                self.expecting_until = Some(Instant::now() + STAY_EXPECTING);
                let _ = self.guarded(|gateway| gateway.expect());
            }
            Request::Settle(reply) => {
                while self.guarded(|gateway| gateway.catch_up()) == Ok(true) {}
                let _ = reply.send(());
            }
            Request::Examine(reply) => {
                let findings = self.guarded(|gateway| gateway.examine());
                let _ = reply.send(findings.unwrap_or_else(|error| vec![unexamined(error)]));
            }
        }
    }

    /// Writes the first keys that wait, whoever asked for them, and answers those who have all of theirs.
    fn write_a_batch(&mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut shares = Vec::new();
        for publishing in &mut self.publishes {
            let share = publishing.left.len().min(BATCH - batch.len());
            batch.extend(publishing.left.drain(..share));
            shares.push(share);
            if batch.len() == BATCH {
                break;
            }
        }
        let began = Instant::now();
        let answers = self.guarded(|gateway| gateway.publish(&batch));
        if let Some(seconds) = &self.seconds {
            seconds.observe(began.elapsed().as_secs_f64());
        }
        let mut answers = answers.unwrap_or_else(|error| vec![Err(error); batch.len()]).into_iter();
        for (publishing, share) in self.publishes.iter_mut().zip(shares) {
            publishing.answers.extend(answers.by_ref().take(share));
        }
        while self.publishes.front().is_some_and(|publishing| publishing.left.is_empty()) {
            if let Some(done) = self.publishes.pop_front() {
                let _ = done.reply.send(done.answers);
            }
        }
        if batch.len() == BATCH {
            let is_busy = self.guarded(|gateway| gateway.is_busy()).unwrap_or(true);
            self.resume = Instant::now() + if is_busy { PAUSE } else { SHORT_PAUSE };
        }
    }

    /// A bug in one request must not end the room: whoever asked is told, and the next one is served.
    fn guarded<T>(&mut self, request: impl FnOnce(&mut dyn Gateway) -> T) -> Result<T, GatewayError> {
        // Nothing is kept between two requests that a half-done one could leave in disorder: what is open stays so only
        // after one that came to its end.
        let outcome = catch_unwind(AssertUnwindSafe(|| request(&mut *self.gateway)));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Known::of(&*self.gateway);
        // The panic's own words could hold anything, and are not passed on.
        outcome.map_err(|_| failed("internal error: a panic"))
    }
}

fn ended() -> GatewayError {
    failed("the gateway's thread has ended")
}

fn failed(error: &str) -> GatewayError {
    GatewayError::Database(GatewayReason::Failed { error: error.to_owned() })
}

fn unexamined(error: GatewayError) -> Finding {
    match error {
        GatewayError::Database(reason) => Finding::error("gateway", reason),
        GatewayError::Channel(reason) => Finding::error("gateway", reason),
    }
}
