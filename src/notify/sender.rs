//! The sending of notices: one task for each notifier, so that a slow, broken or hostile one holds up nobody else.
//!
//! Owns the queue and the retries. Must not decide what is sent (that is [`super::policy`]), nor send it itself (those
//! are the [`super::carriers`]), nor judge an answer (that is the [`Service`](super::services::Service)). Called by the
//! agent and by `notify test`.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::carriers::Carriers;
use super::services::{Notice, Values};
use crate::config::plan::NotifierPlan;
use crate::reason::{NotifierReason, Reason, SecretReason};
use crate::secret::{Secret, SecretSource};
use crate::time::{Clock, SystemClock};

/// Notices that wait for one notifier; the oldest makes room.
const QUEUE: usize = 64;
/// The waits before the second, third and fourth attempt at one notice.
const WAITS: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(180)];
/// How long a shutdown waits for what is on its way.
pub const FAREWELL: Duration = Duration::from_secs(5);

/// A secret on its way.
pub type Read = Pin<Box<dyn Future<Output = Result<Secret, SecretReason>> + Send>>;
/// Reads secrets for a notifier: [`crate::secrets::fetch`], or a test's own.
pub type Resolve = Arc<dyn Fn(SecretSource) -> Read + Send + Sync>;

/// What became of a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendReport {
    /// The notifier's name.
    pub notifier: Arc<str>,
    /// The number that its sender was given.
    pub generation: u64,
    /// Whether the service took it; a [`NotifierReason`], or the [`SecretReason`] that kept it from being sent.
    pub outcome: Result<(), Reason>,
}

/// A notifier's task and the queue before it.
#[derive(Debug)]
pub struct Sender {
    queue: Arc<Queue>,
    task: JoinHandle<()>,
}

/// The notices that wait, and the wish to end.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct Waiting {
    notices: VecDeque<Notice>,
    dropped: u64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while the lock is held, and a queue is sound whatever happened.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next notice; `None` once the queue is closed and empty.
    async fn next(&self) -> Option<Notice> {
        loop {
            if let Some(notice) = self.lock().notices.pop_front() {
                return Some(notice);
            }
            if self.closed.is_cancelled() {
                return None;
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = self.closed.cancelled() => {}
            }
        }
    }
}

impl Sender {
    /// Starts the notifier's task; it reports every notice once, when it was taken or given up. The reports bear this
    /// number.
    pub fn spawn(
        plan: Arc<NotifierPlan>,
        generation: u64,
        resolve: Resolve,
        reports: mpsc::Sender<SendReport>,
    ) -> Self {
        Self::spawn_with(plan, generation, resolve, reports, WAITS)
    }

    fn spawn_with(
        plan: Arc<NotifierPlan>,
        generation: u64,
        resolve: Resolve,
        reports: mpsc::Sender<SendReport>,
        waits: [Duration; 3],
    ) -> Self {
        let queue = Arc::new(Queue::default());
        let waiting = Arc::clone(&queue);
        let task = tokio::spawn(async move {
            let carriers = Carriers::of(&plan);
            while let Some(notice) = waiting.next().await {
                let outcome = deliver(&plan, &carriers, &resolve, &notice, &waits, &waiting.closed).await;
                let report = SendReport { notifier: Arc::clone(&plan.name), generation, outcome };
                if reports.send(report).await.is_err() {
                    return; // Nobody listens any more: the agent is gone.
                }
            }
        });
        Self { queue, task }
    }

    /// Queues a notice and returns at once; a full queue loses its oldest.
    pub fn try_send(&self, notice: Notice) {
        let mut waiting = self.queue.lock();
        if waiting.notices.len() == QUEUE {
            waiting.notices.pop_front();
            waiting.dropped += 1;
        }
        waiting.notices.push_back(notice);
        drop(waiting);
        self.queue.changed.notify_one();
    }

    /// How many notices a full queue has lost.
    pub fn dropped(&self) -> u64 {
        self.queue.lock().dropped
    }

    /// Takes no more notices, tries each that waits once more, and gives up after five seconds: then one of them is not
    /// reported, and this returns false.
    ///
    /// The receiver of the reports goes on being read meanwhile, or is dropped.
    pub async fn shutdown(mut self) -> bool {
        self.queue.closed.cancel();
        let ended = tokio::time::timeout(FAREWELL, &mut self.task).await.is_ok();
        if !ended {
            self.task.abort();
        }
        ended
    }
}

/// A sender that is dropped without a farewell (its notifier left the config) ends too.
impl Drop for Sender {
    fn drop(&mut self) {
        self.queue.closed.cancel();
    }
}

/// Sends a notice, again after a while if the service could not be reached or asks for patience.
async fn deliver(
    plan: &NotifierPlan,
    carriers: &Carriers,
    resolve: &Resolve,
    notice: &Notice,
    waits: &[Duration],
    closed: &CancellationToken,
) -> Result<(), Reason> {
    let mut waits = waits.iter();
    loop {
        let last = closed.is_cancelled();
        let Err(failure) = attempt(plan, carriers, resolve, notice).await else { return Ok(()) };
        let wait = waits.next().filter(|_| failure.again && !last);
        let Some(wait) = wait else { return Err(failure.reason) };
        tokio::select! {
            () = tokio::time::sleep(*wait) => {}
            () = closed.cancelled() => {}
        }
    }
}

/// Sends a notice once, now: what the service makes of it.
///
/// # Errors
/// A [`NotifierReason`], or the [`SecretReason`] that kept it from being sent.
pub async fn send_now(plan: &NotifierPlan, resolve: &Resolve, notice: &Notice) -> Result<(), Reason> {
    attempt(plan, &Carriers::of(plan), resolve, notice).await.map_err(|failure| failure.reason)
}

/// Why an attempt failed, and whether another makes sense.
struct Failure {
    reason: Reason,
    again: bool,
}

impl Failure {
    fn final_one(reason: impl Into<Reason>) -> Self {
        Self { reason: reason.into(), again: false }
    }
}

async fn attempt(plan: &NotifierPlan, carriers: &Carriers, resolve: &Resolve, notice: &Notice) -> Result<(), Failure> {
    let mut values = Values::new();
    for source in plan.service.sources() {
        values.insert(source.clone(), resolve(source.clone()).await.map_err(Failure::final_one)?);
    }
    let dispatch = plan.service.request(notice, &values, SystemClock.now()).map_err(Failure::final_one)?;
    let reply = carriers.carry(dispatch).await.map_err(|reason| {
        // A command that ran into its timeout may have done half of its work: it is not run again at once.
        let again = matches!(reason, NotifierReason::Unreachable { .. });
        Failure { reason: without_secrets(reason, &values).into(), again }
    })?;
    plan.service
        .accepted(&reply)
        .map_err(|reason| Failure { reason: without_secrets(reason, &values).into(), again: reply.status == 429 })
}

/// Takes the service's words out of a reason if they repeat one of the secrets that were sent to it.
fn without_secrets(reason: NotifierReason, values: &Values) -> NotifierReason {
    let silent = |words: Option<String>| words.filter(|words| !repeats(words, values));
    match reason {
        NotifierReason::Refused { status, code, words } => {
            NotifierReason::Refused { status, code: silent(code), words: silent(words) }
        }
        NotifierReason::MailRefused { code, words } => NotifierReason::MailRefused { code, words: silent(words) },
        NotifierReason::CommandFailed { status, words } => {
            NotifierReason::CommandFailed { status, words: silent(words) }
        }
        NotifierReason::Unreachable { error } if repeats(&error, values) => {
            NotifierReason::Unreachable { error: "the request failed".into() }
        }
        other => other,
    }
}

/// As much of a secret as tells it from other words.
const TELLING: usize = 8;

/// Whether a text repeats a secret, or the beginning of one of its parts: a service may cut it or show a path only.
fn repeats(text: &str, values: &Values) -> bool {
    values.values().map(|value| value.expose().trim()).filter(|value| !value.is_empty()).any(|value| {
        let parts = value.split(['/', '?', '&', '=']).filter(|part| part.chars().count() >= TELLING);
        let begins = |part: &str| text.contains(&part.chars().take(TELLING).collect::<String>());
        text.contains(value) || parts.into_iter().any(begins)
    })
}

#[cfg(test)]
mod tests;
