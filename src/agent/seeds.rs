//! Seeds: the configured refresh tokens, and which record they belong to.
//!
//! A record is found by its credential's name and client, else by any refresh token it ever had, if no credential of
//! the config bears its name any more (the credential was renamed). A seed that was seen before is ignored: a
//! reverted `.env` brings back a spent one. A never-seen one is tried first.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;

use crate::agent::{Agent, Report};
use crate::config::plan::{CredentialPlan, Grant};
use crate::credential::event::{Event, Topic};
use crate::credential::record::{ClientIdentity, HaltKind, Record, RecordId};
use crate::reason::{Reason, TokenReason};
use crate::secret::{Secret, SecretSource};
use crate::secrets;
use crate::vault::{Change, Fingerprint, FingerprintKind, VaultHandle};

/// A seed that was read.
pub struct SeedRead {
    name: Arc<str>,
    seed: Result<KnownSeed, Reason>,
}

struct KnownSeed {
    seed: Secret,
    fingerprint: Fingerprint,
    seen_by: Vec<RecordId>,
}

/// The seed's source of a credential, if it has one.
pub fn source(plan: &CredentialPlan) -> Option<&SecretSource> {
    match &plan.grant {
        Grant::RefreshToken { seed } => seed.as_ref(),
        Grant::ClientCredentials | Grant::JwtBearer(_) => None,
    }
}

/// Reads seeds and asks the vault who has seen them.
async fn read(vault: VaultHandle, wanted: Vec<(Arc<str>, SecretSource)>) -> Vec<SeedRead> {
    let read_one = async |(name, source): (Arc<str>, SecretSource)| {
        let seed = match secrets::fetch(&source).await {
            Ok(seed) => {
                let fingerprint = vault.fingerprinter().of(&seed);
                let seen_by = vault.seen_by(FingerprintKind::RefreshToken, fingerprint).await;
                seen_by.map(|seen_by| KnownSeed { seed, fingerprint, seen_by }).map_err(|error| error.0.into())
            }
            Err(reason) => Err(reason.into()),
        };
        SeedRead { name, seed }
    };
    join_all(wanted.into_iter().map(read_one)).await
}

impl Agent {
    /// Reads the seeds of these credentials in the background.
    pub(super) fn read_seeds(&mut self, names: impl IntoIterator<Item = Arc<str>>) {
        let wanted: Vec<_> = names
            .into_iter()
            .filter_map(|name| {
                let source = source(self.plan.credential(&name)?)?.clone();
                Some((name, source))
            })
            .collect();
        if wanted.is_empty() {
            return;
        }
        self.seeds_underway += 1;
        let (vault, reports) = (self.shared.vault.clone(), self.reports.clone());
        tokio::spawn(async move {
            // The agent is gone when nobody listens.
            let _ = reports.send(Report::Seeds(read(vault, wanted).await));
        });
    }

    /// Gives each seed to its record; makes the records that are missing.
    pub(super) fn take_seeds(&mut self, seeds: Vec<SeedRead>) {
        self.seeds_underway -= 1;
        let mut changes = Vec::new();
        let mut fresh = HashMap::new();
        for SeedRead { name, seed } in seeds {
            // The config may have changed meanwhile.
            let Some(plan) = self.plan.credential(&name).cloned() else { continue };
            if !plan.enabled {
                continue;
            }
            match seed {
                Ok(seed) => self.take_seed(&plan, seed, &mut fresh, &mut changes),
                Err(reason) => self.seed_is_missing(&plan, reason, &mut changes),
            }
        }
        if !changes.is_empty() {
            // In order before any attempt marker: the vault's thread commits first what came first.
            self.shared.vault.commit_soon(changes);
        }
        self.retarget();
    }

    fn take_seed(
        &mut self,
        plan: &Arc<CredentialPlan>,
        known: KnownSeed,
        fresh: &mut HashMap<Fingerprint, RecordId>,
        changes: &mut Vec<Change>,
    ) {
        let KnownSeed { seed, fingerprint, mut seen_by } = known;
        seen_by.extend(fresh.get(&fingerprint));
        let id = match self.by_name.get(&plan.name) {
            Some(id) => *id,
            None => self.record_for(plan, &seen_by, changes),
        };
        let now = self.now();
        let Some(record) = self.records.get_mut(&id) else { return };
        let mine = seen_by.contains(&id)
            || [&record.refresh_token, &record.candidate].iter().any(|token| token.as_ref() == Some(&seed));
        let other = seen_by.iter().find(|other| **other != id && self.active.contains_key(other)).copied();
        if let Some(active) = self.active.get_mut(&id) {
            active.seed_problem = None;
        }
        if !mine && let Some(other) = other {
            // The owner goes on; this one must not send what the other may have spent.
            let owner = self.records.get(&other).map(|record| record.name.clone()).unwrap_or_default();
            if let Some(record) = self.records.get_mut(&id)
                && record.state.halt.is_none()
                && record.token_to_send().is_none()
            {
                self.halt(id, HaltKind::Misconfigured, TokenReason::SharedSeed { owner });
            }
            return;
        }
        if !mine && !self.active.get(&id).is_some_and(|active| active.in_flight) {
            record.take_seed(seed);
            fresh.insert(fingerprint, id);
            changes.push(Change::Record(Box::new(record.clone())));
            changes.push(Change::Seen { record: id, kind: FingerprintKind::RefreshToken, fingerprint, at: now });
        }
        self.consider(id);
    }

    fn seed_is_missing(&mut self, plan: &Arc<CredentialPlan>, reason: Reason, changes: &mut Vec<Change>) {
        let id = match self.by_name.get(&plan.name) {
            Some(id) => *id,
            None => self.record_for(plan, &[], changes),
        };
        let Some(active) = self.active.get_mut(&id) else { return };
        let news = active.seed_problem.as_ref() != Some(&reason);
        active.seed_problem = Some(reason.clone());
        let Some(record) = self.records.get_mut(&id) else { return };
        // It does not matter while the vault holds what is needed.
        if record.token_to_send().is_none() && news {
            record.state.last_error = Some(reason.clone());
            changes.push(Change::Record(Box::new(record.clone())));
            let missing = reason.clone();
            let reason = self.words(&reason, &plan.name);
            tracing::warn!(credential = %plan.name, reason, "the refresh token cannot be read");
            let event = Event { reason: Some(missing), ..self.about(id, Topic::Failing) };
            self.event(event);
        }
        self.consider(id);
    }

    /// The record of a credential that has none of its own: a renamed one's, else a new one.
    fn record_for(&mut self, plan: &Arc<CredentialPlan>, seen_by: &[RecordId], changes: &mut Vec<Change>) -> RecordId {
        let client = ClientIdentity::of(plan);
        let renamed = seen_by.iter().copied().find(|id| {
            !self.active.contains_key(id)
                && self.records.get(id).is_some_and(|record| {
                    record.client == client && self.plan.credential(&record.name).is_none_or(|plan| !plan.enabled)
                })
        });
        let id = match renamed {
            Some(id) => {
                if let Some(record) = self.records.get_mut(&id) {
                    tracing::info!(from = %record.name, to = %plan.name, "the credential was renamed; its record follows");
                    record.name = plan.name.to_string();
                    changes.push(Change::Record(Box::new(record.clone())));
                }
                id
            }
            None => {
                let id = self.new_id();
                let record = Record::new(id, plan);
                changes.push(Change::Record(Box::new(record.clone())));
                self.records.insert(id, record);
                id
            }
        };
        self.activate(id, plan);
        id
    }

    /// The record that bears a credential's name and belongs to its client.
    pub(super) fn record_named(&self, plan: &CredentialPlan) -> Option<RecordId> {
        let client = ClientIdentity::of(plan);
        let named = self.records.values().filter(|record| *record.name == *plan.name && record.client == client);
        named.map(|record| record.id).max()
    }
}
