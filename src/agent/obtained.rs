//! A refresh token that a person obtained, by `login` or `import`: durable in the vault, then at work.
//!
//! The one way it goes, whether the vault is the agent's or was free and is the command's own for a moment.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::agent::control::Answer;
use crate::agent::{Agent, Report, refresh, seeds};
use crate::config::plan::{CredentialPlan, Grant};
use crate::credential::record::{Record, RecordId};
use crate::reason::{LoginReason, Reason};
use crate::secret::Secret;
use crate::secrets;
use crate::telemetry::status::Status;
use crate::time::Timestamp;
use crate::vault::{Change, Fingerprint, FingerprintKind, VaultHandle};

/// What a person obtained, as it travels over the control socket. There is no `Debug`: it holds a secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct Obtained {
    /// The credential's name.
    pub name: String,
    /// For which client it was issued; empty where the service has none.
    pub client_id: String,
    /// The refresh token.
    pub refresh_token: Zeroizing<String>,
    /// Whether it was issued just now. One out of a file may have been spent since.
    pub just_issued: bool,
}

/// What is durable.
pub struct Taken {
    /// The record, with the refresh token in it.
    pub record: Record,
    /// What the credential is configured with: it must not displace what a person obtained after it.
    pub passed_over: Option<Fingerprint>,
}

/// Those that ever got an answer: what one of them has seen may be spent.
pub fn proven<'r>(records: impl IntoIterator<Item = &'r Record>) -> BTreeSet<RecordId> {
    records.into_iter().filter(|record| record.state.generation > 0).map(|record| record.id).collect()
}

/// Gives a record its refresh token, as if that had stood in the config: durable when this returns.
///
/// # Errors
/// When one of the `proven` records has seen it and it was not issued just now, or when the vault does not take it.
pub async fn take(
    vault: &VaultHandle,
    plan: &CredentialPlan,
    mut record: Record,
    order: &Obtained,
    proven: &BTreeSet<RecordId>,
    at: Timestamp,
) -> Result<Taken, Reason> {
    let (kind, fingerprinter) = (FingerprintKind::RefreshToken, vault.fingerprinter());
    let seed = Secret::new(order.refresh_token.as_str());
    let is_held = [&record.refresh_token, &record.candidate].iter().any(|held| held.as_ref() == Some(&seed));
    if !is_held && !order.just_issued {
        let seen_by = vault.seen_by(kind, fingerprinter.of(&seed)).await.map_err(|error| error.0)?;
        if seen_by.iter().any(|id| proven.contains(id)) {
            return Err(LoginReason::SeenBefore.into());
        }
    }
    let configured = match seeds::source(plan) {
        Some(source) => secrets::fetch(source).await.ok(),
        None => None,
    };
    let passed_over = configured.as_ref().map(|configured| fingerprinter.of(configured));
    let seen = passed_over.into_iter().chain([fingerprinter.of(&seed)]);
    let seen = seen.map(|fingerprint| Change::Seen { record: record.id, kind, fingerprint, at }).collect::<Vec<_>>();
    if is_held {
        record.revive();
    } else {
        record.take_seed(seed);
    }
    let record_first = std::iter::once(Change::Record(Box::new(record.clone())));
    vault.commit(record_first.chain(seen).collect()).await.map_err(|error| error.0)?;
    Ok(Taken { record, passed_over })
}

type Waiting = (Obtained, Answer<Result<Status, Reason>>);

impl Agent {
    /// Takes what a person obtained; answered when it is durable. A request that is under way lands first.
    pub(super) fn take_obtained(&mut self, (order, answer): Waiting) {
        let plan = match self.plan_for(&order) {
            Ok(plan) => plan,
            // Nobody waits any more: nothing to tell, here and below.
            Err(reason) => return drop(answer.send(Err(reason))),
        };
        let known = self.by_name.get(&plan.name).copied().or_else(|| self.record_named(&plan));
        let id = known.unwrap_or_else(|| self.new_id());
        if self.active.get(&id).is_some_and(|active| active.in_flight) {
            self.obtained.push((order, answer));
            return;
        }
        let record = self.records.entry(id).or_insert_with(|| Box::new(Record::new(id, &plan))).clone();
        if plan.enabled && !self.active.contains_key(&id) {
            self.activate(id, &plan);
            self.retarget();
        }
        if let Some(active) = self.active.get_mut(&id) {
            // Nothing leaves with the previous refresh token meanwhile.
            (active.in_flight, active.queued) = (true, false);
            self.queue.remove(&active.host(), id);
        }
        tracing::info!(credential = %plan.name, "a person obtained a refresh token");
        let (shared, reports, now) = (Arc::clone(&self.shared), self.reports.clone(), self.now());
        let proven = proven(self.records.values().map(|record| &**record));
        self.flights.spawn(async move {
            let taken = take(&shared.vault, &plan, *record, &order, &proven, now).await;
            // The agent waits for this: it listens.
            let _ = reports.send(Report::Obtained(id, Box::new(taken), answer));
        });
    }

    /// Those that waited for a request to land, if it has. While the agent stops nobody waits: the command, which
    /// learns of it, takes the vault when it is free.
    pub(super) fn take_those_that_wait(&mut self) {
        let waiting = std::mem::take(&mut self.obtained);
        waiting.into_iter().filter(|_| !self.stopping).collect::<Vec<_>>().into_iter().for_each(|waiting| {
            self.take_obtained(waiting);
        });
    }

    /// It is durable, or cannot be.
    pub(super) fn obtained(
        &mut self,
        id: RecordId,
        taken: Result<Taken, Reason>,
        answer: Answer<Result<Status, Reason>>,
    ) {
        let name = self.records.get(&id).map(|record| record.name.clone()).unwrap_or_default();
        let (record, refused) = match taken {
            Ok(Taken { record, passed_over }) => {
                if let Some(active) = self.active.get_mut(&id) {
                    active.passed_over = passed_over.map(Box::new);
                }
                (Some(record), None)
            }
            Err(reason) => (None, Some(reason)),
        };
        if self.active.contains_key(&id) {
            self.landed(id, refresh::Landing::without_request(record));
        } else if let Some(record) = record {
            self.records.insert(id, Box::new(record));
        }
        let _ = answer.send(match refused {
            Some(reason) => Err(reason),
            None => Ok(self.status().of(&[name])),
        });
    }

    /// The plan of the credential that is meant, if it is its client's.
    fn plan_for(&self, order: &Obtained) -> Result<Arc<CredentialPlan>, Reason> {
        let Some(plan) = self.plan.credential(&order.name) else { return Err(self.no_such(&order.name)) };
        if !matches!(plan.grant, Grant::RefreshToken { .. }) {
            return Err(LoginReason::NoneNeeded { grant: plan.grant.as_str().into() }.into());
        }
        let wanted = plan.endpoint.client_id.as_deref().unwrap_or_default();
        if wanted != order.client_id {
            let (wanted, found) = (wanted.to_owned(), order.client_id.clone());
            return Err(LoginReason::OtherClient { wanted, found }.into());
        }
        Ok(Arc::clone(plan))
    }
}
