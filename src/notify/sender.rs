//! The sending of notices: one task for each notifier, so that a slow, broken or hostile one holds up nobody else.
//!
//! Owns the queue, the HTTP client and the retries. Must not decide what is sent (that is [`super::policy`]) nor judge
//! an answer (that is the [`Service`](super::services::Service)). Called by the agent and by `notify test`.

use std::collections::VecDeque;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::services::{Notice, Reply, Values};
use crate::config::plan::{NotifierPlan, Transport};
use crate::reason::{NotifierReason, Reason, SecretReason};
use crate::secret::{Secret, SecretSource};
use crate::transport;

/// Notices that wait for one notifier; the oldest makes room.
const QUEUE: usize = 64;
/// As much of an answer as is read.
const BODY: usize = 64 * 1024;
/// The waits before the second, third and fourth attempt at one notice.
const WAITS: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(180)];
/// How long a shutdown waits for what is on its way.
const FAREWELL: Duration = Duration::from_secs(5);

/// A secret on its way.
pub type Read = Pin<Box<dyn Future<Output = Result<Secret, SecretReason>> + Send>>;
/// Reads secrets for a notifier: [`crate::secrets::fetch`], or a test's own.
pub type Resolve = Arc<dyn Fn(SecretSource) -> Read + Send + Sync>;

/// What became of a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendReport {
    /// The notifier's name.
    pub notifier: Arc<str>,
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
    /// Starts the notifier's task; it reports every notice once, when it was taken or given up.
    pub fn spawn(plan: Arc<NotifierPlan>, resolve: Resolve, reports: mpsc::Sender<SendReport>) -> Self {
        Self::spawn_with(plan, resolve, reports, WAITS)
    }

    fn spawn_with(
        plan: Arc<NotifierPlan>,
        resolve: Resolve,
        reports: mpsc::Sender<SendReport>,
        waits: [Duration; 3],
    ) -> Self {
        let queue = Arc::new(Queue::default());
        let waiting = Arc::clone(&queue);
        let task = tokio::spawn(async move {
            let client = client(&plan);
            while let Some(notice) = waiting.next().await {
                let outcome = deliver(&plan, &client, &resolve, &notice, &waits, &waiting.closed).await;
                let report = SendReport { notifier: Arc::clone(&plan.name), outcome };
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

    /// Takes no more notices, tries each that waits once more, and gives up after five seconds.
    ///
    /// The receiver of the reports goes on being read meanwhile, or is dropped.
    pub async fn shutdown(mut self) {
        self.queue.closed.cancel();
        if tokio::time::timeout(FAREWELL, &mut self.task).await.is_err() {
            self.task.abort();
        }
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
    client: &Result<reqwest::Client, String>,
    resolve: &Resolve,
    notice: &Notice,
    waits: &[Duration],
    closed: &CancellationToken,
) -> Result<(), Reason> {
    let client = client.as_ref().map_err(|error| NotifierReason::Unreachable { error: error.clone() })?;
    let mut waits = waits.iter();
    loop {
        let last = closed.is_cancelled();
        let Err(failure) = attempt(plan, client, resolve, notice).await else { return Ok(()) };
        let wait = waits.next().filter(|_| failure.again && !last);
        let Some(wait) = wait else { return Err(failure.reason) };
        tokio::select! {
            () = tokio::time::sleep(*wait) => {}
            () = closed.cancelled() => {}
        }
    }
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

async fn attempt(
    plan: &NotifierPlan,
    client: &reqwest::Client,
    resolve: &Resolve,
    notice: &Notice,
) -> Result<(), Failure> {
    let mut values = Values::new();
    for source in plan.service.sources() {
        values.insert(source.clone(), resolve(source.clone()).await.map_err(Failure::final_one)?);
    }
    let request = plan.service.request(notice, &values).map_err(Failure::final_one)?;
    let unreachable = |error: reqwest::Error| {
        let reason = without_secrets(NotifierReason::Unreachable { error: cause(error) }, &values);
        Failure { reason: reason.into(), again: true }
    };
    let mut request = reqwest::Request::try_from(request).map_err(unreachable)?;
    *request.timeout_mut() = Some(plan.timeout);
    let response = client.execute(request).await.map_err(unreachable)?;
    let reply = reply(response).await.map_err(unreachable)?;
    plan.service
        .accepted(&reply)
        .map_err(|reason| Failure { reason: without_secrets(reason, &values).into(), again: reply.status == 429 })
}

/// Reads an answer, as much of it as a service has to say.
async fn reply(mut response: reqwest::Response) -> reqwest::Result<Reply> {
    let mut reply = Reply { status: response.status().as_u16(), body: Vec::new() };
    while let Some(chunk) = response.chunk().await? {
        let room = BODY - reply.body.len();
        reply.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if reply.body.len() == BODY {
            break;
        }
    }
    Ok(reply)
}

/// The innermost cause of a failed request, without the address, which may hold a secret.
fn cause(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let error = error.without_url();
    let mut innermost: &dyn Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Takes the service's words out of a reason if they repeat one of the secrets that were sent to it.
fn without_secrets(reason: NotifierReason, values: &Values) -> NotifierReason {
    let repeats = |text: &str| values.values().any(|value| !value.is_empty() && text.contains(value.expose().trim()));
    match reason {
        NotifierReason::Refused { status, code, words } => NotifierReason::Refused {
            status,
            code: code.filter(|code| !repeats(code)),
            words: words.filter(|words| !repeats(words)),
        },
        NotifierReason::Unreachable { error } if repeats(&error) => {
            NotifierReason::Unreachable { error: "the request failed".into() }
        }
        other => other,
    }
}

/// The notifier's own HTTP client: it is written to a few times a day.
fn client(plan: &NotifierPlan) -> Result<reqwest::Client, String> {
    let transport =
        Transport { connect_timeout: plan.timeout, proxy: plan.proxy.clone(), ca_file: None, client_cert: None };
    transport::client(&transport, None).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
