//! One refresh as a task: secrets, attempt marker, HTTP, vault commit, report.
//!
//! Once its request has left it is never cancelled: nobody holds a handle that could abort it, shutdown waits for it.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;

use crate::agent::held::Held;
use crate::config::plan::{CredentialPlan, Grant};
use crate::credential::policy::LONGEST_WAIT;
use crate::credential::record::{Answer, HaltKind, Outcome, Record, RecordId, Settled};
use crate::failpoint::failpoint;
use crate::oauth::{client, request};
use crate::reason::{Reason, SecretReason, TokenReason, VaultReason};
use crate::secret::{Secret, SecretSource, Values};
use crate::secrets;
use crate::time::{Clock, Timestamp};
use crate::transport::Clients;
use crate::vault::{Change, Fingerprint, FingerprintKind, Fingerprinter, VaultHandle};

/// How long between two tries to commit an answer that must not be lost.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);

/// For how long a mark says by itself that the vault is ours: well below the time after which a database server
/// takes a silent owner for gone.
const FRESH: Duration = Duration::from_secs(3);

/// What every task needs.
pub struct Shared {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The vault.
    pub vault: VaultHandle,
    /// HTTP clients.
    pub clients: Clients,
}

/// A refresh that is about to leave.
pub struct Flight {
    /// What every task needs.
    pub shared: Arc<Shared>,
    /// The vault, as it is asked from where the task runs.
    pub vault: VaultHandle,
    /// The credential's plan.
    pub plan: Arc<CredentialPlan>,
    /// Its record, as it stands in the vault.
    pub record: Record,
    /// Where not yet: what says when it may leave. If that is gone, it does not.
    pub leave: Option<oneshot::Receiver<()>>,
}

/// What a flight tells the agent.
pub enum FlightReport {
    /// The answer has come (or never will): its place is free.
    Answered {
        /// Until when its host asked to be left alone.
        pause: Option<Timestamp>,
        /// Whether it brought a key.
        has_key: bool,
    },
    /// The vault does not take what must not be lost; it is tried again until it does.
    VaultTrouble(VaultReason),
    /// It is over, and durable.
    Settled(Box<Landing>),
}

impl FlightReport {
    /// No answer will come.
    const NOTHING: Self = Self::Answered { pause: None, has_key: false };
}

/// How a flight ended.
pub struct Landing {
    /// The record as it stands in the vault now; `None` when nothing was changed.
    pub record: Option<Record>,
    /// What it means; `None` when no request left.
    pub settled: Option<Settled>,
    /// Why no request left.
    pub grounded: Option<Reason>,
    /// How long the request took.
    pub took: Duration,
    /// The answer, where the vault was not ours any more.
    pub held: Option<Held>,
}

impl Landing {
    /// A record that changed while no request of its credential could leave.
    pub fn without_request(record: Option<Record>) -> Self {
        Self { record, settled: None, grounded: None, took: Duration::ZERO, held: None }
    }
}

impl Flight {
    /// Flies. `report` is called from within the task and must not block.
    pub async fn fly(mut self, report: impl Fn(RecordId, FlightReport)) {
        let (id, leave) = (self.record.id, self.leave.take());
        if AssertUnwindSafe(self.refresh(leave, &|told| report(id, told))).catch_unwind().await.is_ok() {
            return;
        }
        // A bug of ours: the request may have left.
        tracing::error!(credential = %self.plan.name, "the refresh stopped in the middle; the answer counts as lost");
        report(id, FlightReport::NOTHING);
        let mut record = self.record.clone();
        let now = self.shared.clock.now();
        let settled = record.settle(&self.plan, Outcome::Unknown(TokenReason::Crashed), now, fastrand::f64());
        self.land((record, Some(settled)), None, self.shared.clock.uptime().awake, &|told| report(id, told)).await;
    }

    async fn refresh(&self, leave: Option<oneshot::Receiver<()>>, report: &impl Fn(FlightReport)) {
        let clock = &*self.shared.clock;
        let grounded = |reason: Reason| {
            report(FlightReport::NOTHING);
            let landing = Landing { grounded: Some(reason), ..Landing::without_request(None) };
            report(FlightReport::Settled(Box::new(landing)));
        };
        let values = match values(&request::sources(&self.plan)).await {
            Ok(values) => values,
            Err(reason) => return grounded(reason.into()),
        };

        failpoint!("before-marker");
        // The marker is durable before the request leaves, and there is room for its answer. A seed is known as seen from
        // here on, even if an earlier note of it was not taken; what a refresh brought became so with its record.
        let mut record = self.record.clone();
        record.state.token_url = self.plan.endpoint.url.as_str().into();
        record.begin(clock.now());
        let token = match self.plan.grant {
            Grant::RefreshToken { .. } => record.token_to_send().cloned(),
            Grant::ClientCredentials | Grant::JwtBearer(_) => None,
        };
        let mut marker = vec![Change::Record(Box::new(record.clone()))];
        let is_seed = record.candidate.is_some() || record.state.generation == 0;
        marker.extend(token.as_ref().filter(|_| is_seed).map(|token| {
            let (kind, fingerprint) = (FingerprintKind::RefreshToken, self.vault.fingerprinter().of(token));
            Change::Seen { record: record.id, kind, fingerprint, at: clock.now() }
        }));
        let marking = clock.uptime().with_sleep;
        if let Err(error) = self.vault.commit_before_sending(marker).await {
            return grounded(error.0.into());
        }
        if let Some(leave) = leave
            && leave.await.is_err()
        {
            report(FlightReport::NOTHING);
            return self.land((self.record.clone(), None), None, clock.uptime().awake, report).await;
        }
        // Whoever was stopped since then may find that another host has taken over, and has asked with this token.
        if clock.uptime().with_sleep.saturating_sub(marking) > FRESH
            && let Err(error) = self.vault.confirm().await
        {
            return grounded(error.0.into());
        }
        failpoint!("after-marker");

        let sent_at = clock.uptime().awake;
        let mut outcome = client::refresh(&self.shared.clients, clock, &self.plan, token.as_ref(), &values).await;
        failpoint!("answer-read");
        // Its connection is closed before its place is free: there are no more of them than places.
        tokio::task::yield_now().await;
        let now = clock.now();
        let has_key = matches!(&outcome, Outcome::Answered(answer) if answer.access.is_ok());
        report(FlightReport::Answered { pause: pause(&outcome, now), has_key });
        self.keep_secret(&mut outcome).await;
        let held = match (&outcome, token, record.state.attempt) {
            (Outcome::Answered(_), Some(sent), Some(attempt)) => {
                let (plan, outcome) = (Arc::clone(&self.plan), outcome.clone());
                let generation = record.state.generation;
                Some(Held { record: record.id, plan, sent, generation, attempt, outcome, at: now })
            }
            _ => None,
        };
        let mut settled = record.settle(&self.plan, outcome, now, fastrand::f64());
        if let Settled::Halted(kind) = settled {
            match self.never_seen_seed(&record).await {
                Some(seed) if kind != HaltKind::Misconfigured => {
                    record.take_seed(seed);
                    settled = Settled::SeedRefused;
                }
                _ => {
                    if let Some(halt) = &mut record.state.halt {
                        halt.configured = Some(configured(self.vault.fingerprinter(), &self.plan, &values));
                    }
                }
            }
        }
        self.land((record, Some(settled)), held, sent_at, report).await;
    }

    /// Takes the error code out of an answer if it is one of our own secrets: a server may repeat an earlier one, which
    /// only its fingerprint knows.
    async fn keep_secret(&self, outcome: &mut Outcome) {
        let Outcome::Answered(Answer { access: Err(error), .. }) = outcome else { return };
        let TokenReason::UnknownError { code, .. } = &mut error.reason else { return };
        let Some(fingerprint) = code.as_deref().map(|code| self.vault.fingerprinter().of(&Secret::new(code))) else {
            return;
        };
        for kind in [FingerprintKind::RefreshToken, FingerprintKind::Key] {
            if !self.vault.seen_by(kind, fingerprint).await.is_ok_and(|seen_by| seen_by.is_empty()) {
                *code = None;
                return;
            }
        }
    }

    /// Commits until it is durable: what is held in memory only must not be lost. If the vault is another's now, the
    /// answer stays in memory.
    async fn land(
        &self,
        (record, settled): (Record, Option<Settled>),
        held: Option<Held>,
        sent_at: Duration,
        report: &impl Fn(FlightReport),
    ) {
        let now = self.shared.clock.now();
        // By a clock that nobody sets.
        let took = self.shared.clock.uptime().awake.saturating_sub(sent_at);
        let changes = || landing_changes(&self.plan, &record, self.vault.fingerprinter(), now);
        let mut told = false;
        failpoint!("before-vault-commit");
        while let Err(error) = self.vault.commit(changes()).await {
            if let VaultReason::Displaced { .. } | VaultReason::ThreadEnded = error.0 {
                let landing = Landing { held, ..Landing::without_request(None) };
                return report(FlightReport::Settled(Box::new(landing)));
            }
            if !told {
                report(FlightReport::VaultTrouble(error.0));
                told = true;
            }
            tokio::time::sleep(COMMIT_AGAIN).await;
        }
        failpoint!("after-vault-commit");
        let landing = Landing { settled, took, ..Landing::without_request(Some(record)) };
        report(FlightReport::Settled(Box::new(landing)));
    }

    /// The seed's source, read again: somebody may have put a new one there.
    async fn never_seen_seed(&self, record: &Record) -> Option<Secret> {
        let Grant::RefreshToken { seed: Some(source) } = &self.plan.grant else { return None };
        let seed = secrets::fetch(source).await.ok()?;
        let vault = &self.vault;
        let seen = vault.seen_by(FingerprintKind::RefreshToken, vault.fingerprinter().of(&seed)).await.ok()?;
        // Whatever was sent in this flight is known to the record, if not yet to the vault.
        let sent = [&self.record.refresh_token, &self.record.candidate, &record.refresh_token];
        (seen.is_empty() && sent.iter().all(|sent| sent.as_ref() != Some(&seed))).then_some(seed)
    }
}

/// The record, and every secret in it that must be recognised later: its refresh tokens, and the keys it will write.
pub(super) fn landing_changes(
    plan: &CredentialPlan,
    record: &Record,
    fingerprinter: &Fingerprinter,
    at: Timestamp,
) -> Vec<Change> {
    let seen =
        |kind, secret: &Secret| Change::Seen { record: record.id, kind, fingerprint: fingerprinter.of(secret), at };
    let tokens = record.refresh_token.iter().chain(&record.candidate);
    let tokens = tokens.map(|token| seen(FingerprintKind::RefreshToken, token));
    let templates: Vec<_> = plan.channels.iter().map(|channel| &channel.key).collect();
    let keys: BTreeSet<Fingerprint> = record
        .access
        .iter()
        .flat_map(|grant| templates.iter().filter_map(|template| grant.key(template).ok()))
        .map(|key| fingerprinter.of(&key))
        .collect();
    let keys = keys.into_iter().map(|fingerprint| Change::Seen {
        record: record.id,
        kind: FingerprintKind::Key,
        fingerprint,
        at,
    });
    std::iter::once(Change::Record(Box::new(record.clone()))).chain(tokens).chain(keys).collect()
}

/// The values behind some sources.
pub async fn values(sources: &[&SecretSource]) -> Result<Values, SecretReason> {
    let mut values = Values::new();
    for source in sources {
        if !values.contains_key(*source) {
            values.insert((*source).clone(), secrets::fetch(source).await?);
        }
    }
    Ok(values)
}

/// A fingerprint of everything that a `misconfigured` could be about: another one is worth another try.
pub fn configured(fingerprinter: &Fingerprinter, plan: &CredentialPlan, values: &Values) -> String {
    let mut text = format!("{:?} {:?}", plan.endpoint, plan.grant);
    for source in request::sources(plan) {
        if let Some(value) = values.get(source) {
            text.push_str(&fingerprinter.of(value).hex());
        }
    }
    fingerprinter.of_bytes(text.as_bytes()).hex()
}

/// Until when the host asked to be left alone: a 429 is about the host, not about one credential. A wish beyond a day is
/// a mistake or malice.
fn pause(outcome: &Outcome, now: Timestamp) -> Option<Timestamp> {
    let Outcome::Answered(answer) = outcome else { return None };
    match &answer.access {
        Err(error) if matches!(error.reason, TokenReason::Busy { status: 429, .. }) => {
            error.retry_after.map(|wish| wish.min(now + LONGEST_WAIT))
        }
        _ => None,
    }
}
