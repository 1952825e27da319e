//! The one thread that writes the vault.
//!
//! It drains what is waiting and commits it in one transaction (group commit): one credential due costs one small
//! commit, ten thousand cost a few hundred. Answers go out after the commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{oneshot, watch};

use crate::credential::record::RecordId;
use crate::memory;
use crate::reason::VaultReason;
use crate::vault::backing::{Backing, Group, Purpose, Standing};
use crate::vault::{Change, Fingerprint, FingerprintKind, Fingerprinter, VaultError};

/// The most groups of changes in one transaction.
const LARGEST_COMMIT: usize = 512;
/// How long notes that nobody waits for may wait for company: a commit of their own costs the disk as much as one that
/// somebody waits for, often in the very moment in which the key is written beside it.
const NOTES_WAIT: Duration = Duration::from_millis(20);

enum Request {
    Commit {
        group: Group,
        /// `None` where nobody waits.
        done: Option<Done>,
    },
    SeenBy {
        kind: FingerprintKind,
        fingerprint: Fingerprint,
        answer: oneshot::Sender<Result<Vec<RecordId>, VaultError>>,
    },
    MaxInFlight(usize),
    Measure(Histogram),
    Rest,
    Confirm {
        answer: oneshot::Sender<Result<(), VaultError>>,
    },
    Close {
        done: mpsc::Sender<()>,
    },
}

impl Request {
    /// Whether somebody waits for the answer.
    fn is_awaited(&self) -> bool {
        match self {
            Self::Commit { done, .. } => done.is_some(),
            Self::SeenBy { .. } | Self::Confirm { .. } | Self::Close { .. } => true,
            Self::MaxInFlight(_) | Self::Measure(_) | Self::Rest => false,
        }
    }
}

/// Somebody who waits for a commit.
struct Done {
    waiting: oneshot::Sender<Result<(), VaultError>>,
    relay: Option<Relay>,
}

impl Done {
    fn tell(self, result: Result<(), VaultError>) {
        // Nobody minds if the asker has gone.
        let _ = self.waiting.send(result);
    }
}

/// Passes the answers of a commit on where their askers are: a thread on which many wait is woken once for all of them,
/// and not by each.
#[derive(Clone)]
pub struct Relay(tokio::sync::mpsc::UnboundedSender<Vec<(Done, Result<(), VaultError>)>>);

impl Relay {
    /// A relay that works in this runtime, until the last clone of it is dropped.
    pub fn on(tasks: &tokio::runtime::Handle) -> Self {
        let (relay, mut answers) = tokio::sync::mpsc::unbounded_channel::<Vec<(Done, _)>>();
        tasks.spawn(async move {
            while let Some(answers) = answers.recv().await {
                answers.into_iter().for_each(|(done, result)| done.tell(result));
            }
        });
        Self(relay)
    }
}

/// Tells everybody who waited.
fn answer(answers: impl Iterator<Item = (Done, Result<(), VaultError>)>) {
    let mut relayed: Vec<(Relay, Vec<_>)> = Vec::new();
    for (mut done, result) in answers {
        let Some(relay) = done.relay.take() else {
            done.tell(result);
            continue;
        };
        match relayed.iter_mut().find(|(known, _)| known.0.same_channel(&relay.0)) {
            Some((_, together)) => together.push((done, result)),
            None => relayed.push((relay, vec![(done, result)])),
        }
    }
    for (relay, together) in relayed {
        if let Err(refused) = relay.0.send(together) {
            refused.0.into_iter().for_each(|(done, result)| done.tell(result));
        }
    }
}

/// Where requests to the vault go; cheap to clone.
#[derive(Clone)]
pub struct VaultHandle {
    requests: mpsc::Sender<Request>,
    fingerprinter: Fingerprinter,
    standing: watch::Receiver<Standing>,
    relay: Option<Relay>,
}

/// Starts the thread.
pub(super) fn spawn(store: Box<dyn Backing>) -> VaultHandle {
    let (requests, waiting) = mpsc::channel();
    let (tell, standing) = watch::channel(store.standing());
    let fingerprinter = store.fingerprinter().clone();
    std::thread::Builder::new()
        .name("vault".into())
        .spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| serve(store, &waiting, &tell))).is_err() {
                // A bug of ours: whoever used it opens the vault again. What still waits is answered after this.
                tell.send_replace(Standing::Lost(gone()));
            }
        })
        .map(|_| ())
        .unwrap_or_else(|error| tracing::error!(%error, "the vault's thread cannot be started"));
    VaultHandle { requests, fingerprinter, standing, relay: None }
}

impl VaultHandle {
    /// The same vault, for whoever waits for many commits on one thread.
    pub fn through(&self, relay: &Relay) -> Self {
        Self { relay: Some(relay.clone()), ..self.clone() }
    }

    /// Makes fingerprints under the vault's key.
    pub fn fingerprinter(&self) -> &Fingerprinter {
        &self.fingerprinter
    }

    /// Commits what must not be lost; it is durable when this returns. On a full disk the reserve is for this.
    ///
    /// # Errors
    /// When the changes could not be written; none of them was.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<(), VaultError> {
        self.commit_group(Group { purpose: Purpose::Answer, changes }).await
    }

    /// Commits the mark that a request is about to leave. When this returns the mark is durable, and there is room
    /// for the answer.
    ///
    /// # Errors
    /// When there is not, or the mark could not be written: the request must not leave.
    pub async fn commit_before_sending(&self, changes: Vec<Change>) -> Result<(), VaultError> {
        self.commit_group(Group { purpose: Purpose::BeforeSending, changes }).await
    }

    async fn commit_group(&self, group: Group) -> Result<(), VaultError> {
        let (waiting, answer) = oneshot::channel();
        let done = Done { waiting, relay: self.relay.clone() };
        self.send(Request::Commit { group, done: Some(done) })?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Changes for how many requests at once there is to be room.
    pub fn set_max_in_flight(&self, max_in_flight: usize) {
        // Without its thread nothing can be committed either, which is told then.
        let _ = self.send(Request::MaxInFlight(max_in_flight));
    }

    /// Notes from now on how long each commit takes, in seconds.
    pub fn measure(&self, seconds: Histogram) {
        // As above.
        let _ = self.send(Request::Measure(seconds));
    }

    /// There is nothing to do for a while: what is held for speed, and what is free, goes back to the system.
    pub fn rest(&self) {
        // As above.
        let _ = self.send(Request::Rest);
    }

    /// Commits changes that nobody waits for, in the order of the calls; the first failure is logged, and its end.
    pub fn commit_soon(&self, changes: Vec<Change>) {
        let group = Group { purpose: Purpose::Note, changes };
        // Without its thread nothing is noted; whoever holds this handle learns from its standing.
        let _ = self.send(Request::Commit { group, done: None });
    }

    /// The records for which this was seen.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub async fn seen_by(&self, kind: FingerprintKind, fingerprint: Fingerprint) -> Result<Vec<RecordId>, VaultError> {
        let (answer, found) = oneshot::channel();
        self.send(Request::SeenBy { kind, fingerprint, answer })?;
        found.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Makes sure that the vault is still ours. Only one that lies in a database server can be lost.
    ///
    /// # Errors
    /// When it is not, or when nobody can tell.
    pub async fn confirm(&self) -> Result<(), VaultError> {
        let (answer, confirmed) = oneshot::channel();
        self.send(Request::Confirm { answer })?;
        confirmed.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Whether the vault is ours, as it changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Ends the thread after what is waiting was committed, and waits for it.
    pub(super) fn close(self) {
        let (done, closed) = mpsc::channel();
        if self.requests.send(Request::Close { done }).is_ok() {
            // An error means that the thread is gone already.
            let _ = closed.recv();
        }
    }

    fn send(&self, request: Request) -> Result<(), VaultError> {
        self.requests.send(request).map_err(|_| gone())
    }
}

fn gone() -> VaultError {
    VaultError(VaultReason::ThreadEnded)
}

fn serve(mut store: Box<dyn Backing>, waiting: &mpsc::Receiver<Request>, tell: &watch::Sender<Standing>) {
    let (mut seconds, mut notes) = (None, Notes::default());
    loop {
        let first = match store.patience().map(|patience| waiting.recv_timeout(patience)) {
            Some(Ok(first)) => first,
            Some(Err(RecvTimeoutError::Timeout)) => {
                // What comes of it is its standing.
                let _ = store.confirm();
                note(&*store, tell);
                continue;
            }
            Some(Err(RecvTimeoutError::Disconnected)) => return,
            None => match waiting.recv() {
                Ok(first) => first,
                Err(_) => return,
            },
        };
        let mut groups = Vec::new();
        let mut dones = Vec::new();
        let (mut questions, mut askers) = (Vec::new(), Vec::new());
        let mut confirmations = Vec::new();
        let mut closing = None;
        let mut next = Some(first);
        let mut notes_until = None;
        let mut is_awaited = false;
        while let Some(request) = next {
            is_awaited |= request.is_awaited();
            match request {
                Request::Commit { group, done } => {
                    groups.push(group);
                    dones.push(done);
                }
                Request::SeenBy { kind, fingerprint, answer } => {
                    questions.push((kind, fingerprint));
                    askers.push(answer);
                }
                Request::MaxInFlight(count) => store.set_max_in_flight(count),
                Request::Measure(histogram) => seconds = Some(histogram),
                Request::Rest => {
                    store.rest();
                    memory::give_back();
                }
                Request::Confirm { answer } => confirmations.push(answer),
                Request::Close { done } => closing = Some(done),
            }
            next = if groups.len() >= LARGEST_COMMIT || closing.is_some() {
                None
            } else if is_awaited || groups.is_empty() {
                waiting.try_recv().ok()
            } else {
                let until = *notes_until.get_or_insert_with(|| Instant::now() + NOTES_WAIT);
                waiting.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
            };
        }
        if !groups.is_empty() {
            let began = Instant::now();
            let results = store.commit(&groups);
            if let Some(seconds) = &seconds {
                seconds.observe(began.elapsed().as_secs_f64());
            }
            // Before the answers: whoever learns of a failure can know what it means.
            note(&*store, tell);
            let told = dones.into_iter().zip(results).filter_map(|(done, result)| match done {
                Some(done) => Some((done, result)),
                None => {
                    notes.came_to(result);
                    None
                }
            });
            answer(told);
        }
        // After the commits: what was noted before the question is part of the answer.
        for (answer, seen_by) in askers.into_iter().zip(store.seen_by_each(&questions)) {
            // Nobody waits any more: nothing to tell.
            let _ = answer.send(seen_by);
        }
        if !confirmations.is_empty() {
            let confirmed = store.confirm();
            for answer in confirmations {
                let _ = answer.send(confirmed.clone());
            }
        }
        note(&*store, tell);
        if let Some(done) = closing {
            drop(store);
            let _ = done.send(());
            return;
        }
    }
}

/// What became of the notes, for the log: the first that was refused, and the first that was taken again.
#[derive(Debug, Default)]
struct Notes {
    refused: bool,
}

impl Notes {
    fn came_to(&mut self, result: Result<(), VaultError>) {
        // Its new owner knows better.
        if let Err(error @ VaultError(VaultReason::Displaced { .. })) = &result {
            tracing::debug!(%error, "the vault did not take a note");
            return;
        }
        let refused = std::mem::replace(&mut self.refused, result.is_err());
        match result {
            // People are told when it lasts.
            Err(error @ VaultError(VaultReason::ServerAway { .. })) if !refused => {
                tracing::warn!(%error, "the vault takes no notes");
            }
            Err(error) if !refused => tracing::error!(%error, "the vault takes no notes"),
            Ok(()) if refused => tracing::info!("the vault takes notes again"),
            _ => {}
        }
    }
}

fn note(store: &dyn Backing, tell: &watch::Sender<Standing>) {
    let now = store.standing();
    tell.send_if_modified(|standing| {
        let changed = *standing != now;
        *standing = now;
        changed
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::hmac;

    /// A vault with a bug.
    struct Bug(Fingerprinter);

    impl Backing for Bug {
        fn fingerprinter(&self) -> &Fingerprinter {
            &self.0
        }

        fn commit(&mut self, _groups: &[Group]) -> Vec<Result<(), VaultError>> {
            panic!("a bug")
        }

        fn seen_by(&mut self, _kind: FingerprintKind, _of: Fingerprint) -> Result<Vec<RecordId>, VaultError> {
            Ok(Vec::new())
        }
    }

    /// A vault that takes everything.
    struct Sound(Fingerprinter);

    impl Backing for Sound {
        fn fingerprinter(&self) -> &Fingerprinter {
            &self.0
        }

        fn commit(&mut self, groups: &[Group]) -> Vec<Result<(), VaultError>> {
            vec![Ok(()); groups.len()]
        }

        fn seen_by(&mut self, _kind: FingerprintKind, _of: Fingerprint) -> Result<Vec<RecordId>, VaultError> {
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn answers_come_through_a_relay_and_past_one_that_has_ended() {
        let handle = spawn(Box::new(Sound(Fingerprinter(hmac::Key::new(hmac::HMAC_SHA256, b"key")))));
        let relay = Relay::on(&tokio::runtime::Handle::current());
        let relayed = handle.through(&relay);
        let commits = (0..9).map(|_| relayed.commit(Vec::new()));
        assert_eq!(futures_util::future::join_all(commits).await, vec![Ok(()); 9]);

        let elsewhere = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let relay = Relay::on(elsewhere.handle());
        elsewhere.shutdown_background();
        assert_eq!(handle.through(&relay).commit(Vec::new()).await, Ok(()));
    }

    #[tokio::test]
    async fn a_thread_that_stops_in_the_middle_is_a_vault_that_is_lost() {
        let handle = spawn(Box::new(Bug(Fingerprinter(hmac::Key::new(hmac::HMAC_SHA256, b"key")))));
        let ended = VaultError(VaultReason::ThreadEnded);
        assert_eq!(handle.commit(Vec::new()).await, Err(ended.clone()));
        let mut standing = handle.standing();
        let lost = standing.wait_for(|standing| *standing != Standing::Ours).await.expect("it is told").clone();
        assert_eq!(lost, Standing::Lost(ended.clone()));
        assert_eq!(handle.commit(Vec::new()).await, Err(ended), "and nobody waits for one that is gone");
    }
}
