//! Seeds: the configured refresh tokens, and which record they belong to.
//!
//! A record is found by its credential's name and client, else by any refresh token it ever had, if no credential of
//! the config bears its name any more (the credential was renamed). A seed that was seen before is ignored: a
//! reverted `.env` brings back a spent one. A never-seen one is tried first. One that another record has seen is not sent,
//! unless that record is out of work and never got an answer: whoever mistypes a `client_id` may correct it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::future::join_all;

use crate::agent::{Active, Agent, Next, Report};
use crate::config::plan::{CredentialPlan, Grant};
use crate::credential::event::{Event, Topic};
use crate::credential::record::{ClientIdentity, HaltKind, Record, RecordId, youngest};
use crate::reason::{Reason, TokenReason};
use crate::secret::{Secret, SecretSource};
use crate::secrets;
use crate::vault::{Change, Fingerprint, FingerprintKind, VaultHandle};

/// How many seeds are read at once: a file takes a descriptor and a thread.
const AT_ONCE: usize = 32;

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

/// What is to be noted in the vault when all seeds were given to their records.
#[derive(Default)]
struct Notes {
    touched: BTreeSet<RecordId>,
    taken: HashMap<Fingerprint, RecordId>,
    /// Whether a credential has another record now, or its first.
    moved: bool,
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
    let mut read = Vec::with_capacity(wanted.len());
    let mut wanted = wanted.into_iter();
    loop {
        let some: Vec<_> = wanted.by_ref().take(AT_ONCE).map(read_one).collect();
        if some.is_empty() {
            return read;
        }
        read.extend(join_all(some).await);
    }
}

impl Agent {
    /// Reads those secrets again that may have changed under us: files, and whatever is missing.
    pub(super) fn sweep(&mut self) {
        let changeable = |active: &Active| {
            let in_file =
                matches!(source(&active.plan), Some(SecretSource::File(_) | SecretSource::SystemdCredential(_)));
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

    pub(super) fn sweep_all(&mut self) {
        let names: Vec<Arc<str>> = self.by_name.keys().cloned().collect();
        self.sweep_these(names);
    }

    pub(super) fn sweep_these(&mut self, names: Vec<Arc<str>>) {
        let ids: Vec<RecordId> = names.iter().filter_map(|name| self.by_name.get(name)).copied().collect();
        for id in ids {
            self.check_configured(id);
        }
        self.read_seeds(names);
    }

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
        let mut notes = Notes::default();
        for SeedRead { name, seed } in seeds {
            // The config may have changed meanwhile.
            let Some(plan) = self.plan.credential(&name).filter(|plan| plan.enabled).cloned() else { continue };
            // While the credential's former client has a request under way; read again when that has landed.
            if self.by_name.get(&name).is_some_and(|id| self.is_leaving(*id)) {
                continue;
            }
            match seed {
                Ok(seed) => self.take_seed(&plan, seed, &mut notes),
                Err(reason) => self.seed_is_missing(&plan, reason, &mut notes),
            }
        }
        // As the records stand now; in order before any attempt marker: the vault's thread commits first what came
        // first.
        let records = notes.touched.iter().filter_map(|id| self.records.get(id));
        let mut changes: Vec<Change> = records.map(|record| Change::Record(record.clone())).collect();
        let (kind, at) = (FingerprintKind::RefreshToken, self.now());
        changes.extend(notes.taken.iter().map(|(fingerprint, record)| Change::Seen {
            record: *record,
            kind,
            fingerprint: *fingerprint,
            at,
        }));
        if !changes.is_empty() {
            self.shared.vault.commit_soon(changes);
        }
        if notes.moved {
            self.retarget();
        }
    }

    fn take_seed(&mut self, plan: &Arc<CredentialPlan>, known: KnownSeed, notes: &mut Notes) {
        let KnownSeed { seed, fingerprint, mut seen_by } = known;
        seen_by.extend(notes.taken.get(&fingerprint));
        if seen_by.iter().any(|id| self.is_leaving(*id)) {
            // A renamed credential whose request is still under way; read again when that has landed.
            return;
        }
        let mut id = match self.by_name.get(&plan.name) {
            Some(id) => *id,
            None => self.record_for(plan, &seen_by, notes),
        };
        let Some(active) = self.active.get_mut(&id) else { return };
        active.seed_problem = None;
        let (in_flight, is_passed_over) = (active.in_flight, active.passed_over.as_deref() == Some(&fingerprint));
        let Some(record) = self.records.get(&id) else { return };
        let held = [&record.refresh_token, &record.candidate].iter().any(|token| token.as_ref() == Some(&seed));
        if held || seen_by.contains(&id) || is_passed_over {
            return self.consider(id);
        }
        let is_empty = record.state.generation == 0 && record.token_to_send().is_none();
        if is_empty && let Some(renamed) = self.renamed(plan, &seen_by) {
            // The credential was halted because its seed was another's, who has left since: it follows after all.
            self.swap_names(id, renamed, notes);
            self.deactivate(id);
            self.activate(renamed, plan);
            notes.moved = true;
            id = renamed;
        } else if let Some(reason) = self.refuse_seed(plan, &seen_by) {
            let state = self.records.get(&id).map(|record| &record.state);
            if is_empty && state.is_some_and(|state| state.halt.is_none()) {
                self.halt(id, HaltKind::Misconfigured, reason);
            }
            return;
        } else if in_flight {
            if let Some(active) = self.active.get_mut(&id) {
                active.seed_unread = true;
            }
            return;
        } else {
            // Whoever had it never got an answer for it, and is gone: only one record may send it.
            for owner in &seen_by {
                let Some(owner) = self.records.get_mut(owner) else { continue };
                owner.refresh_token.take_if(|token| *token == seed);
                owner.candidate.take_if(|token| *token == seed);
                notes.touched.insert(owner.id);
            }
            if let Some(record) = self.records.get_mut(&id) {
                record.take_seed(seed);
            }
            notes.touched.insert(id);
            notes.taken.insert(fingerprint, id);
        }
        self.consider(id);
    }

    /// Why a seed that other records have seen must not be sent for this credential. The vault knows it to be spent,
    /// or cannot know that it is not: one that brought an answer under another client, or that somebody else uses.
    fn refuse_seed(&self, plan: &CredentialPlan, seen_by: &[RecordId]) -> Option<TokenReason> {
        let owners = || seen_by.iter().filter_map(|id| self.records.get(id));
        let shared = |owner: &Record| TokenReason::SharedSeed { owner: owner.name.clone() };
        if let Some(owner) = owners().find(|owner| self.active.contains_key(&owner.id)) {
            return Some(shared(owner));
        }
        let owner = owners().find(|owner| owner.state.generation > 0)?;
        Some(if owner.client == ClientIdentity::of(plan) {
            shared(owner)
        } else {
            TokenReason::OtherClientsSeed { client_id: owner.client.client_id.to_string() }
        })
    }

    fn seed_is_missing(&mut self, plan: &Arc<CredentialPlan>, reason: Reason, notes: &mut Notes) {
        let id = match self.by_name.get(&plan.name) {
            Some(id) => *id,
            None => self.record_for(plan, &[], notes),
        };
        let Some(active) = self.active.get_mut(&id) else { return };
        let news = active.seed_problem.as_deref() != Some(&reason);
        active.seed_problem = Some(Box::new(reason.clone()));
        let Some(record) = self.records.get_mut(&id) else { return };
        // It does not matter while the vault holds what is needed.
        if record.token_to_send().is_none() && news {
            record.state.last_error = Some(Box::new(reason.clone()));
            notes.touched.insert(id);
            let event = Event { reason: Some(reason), ..self.about(id, Topic::Failing) };
            self.event(event);
        }
        self.consider(id);
    }

    /// The record of a credential that has none of its own: a renamed one's, else a new one.
    fn record_for(&mut self, plan: &Arc<CredentialPlan>, seen_by: &[RecordId], notes: &mut Notes) -> RecordId {
        let id = match self.renamed(plan, seen_by) {
            Some(id) => {
                if let Some(record) = self.records.get_mut(&id) {
                    tracing::info!(from = %record.name, to = %plan.name, "the credential was renamed; its record follows");
                    record.name = plan.name.to_string();
                }
                id
            }
            None => {
                let id = self.new_id();
                self.records.insert(id, Box::new(Record::new(id, plan)));
                id
            }
        };
        notes.touched.insert(id);
        notes.moved = true;
        self.activate(id, plan);
        id
    }

    /// The record among these that a credential may take over: its client's, and no enabled credential bears its name.
    fn renamed(&self, plan: &CredentialPlan, seen_by: &[RecordId]) -> Option<RecordId> {
        let client = ClientIdentity::of(plan);
        seen_by.iter().copied().find(|id| {
            !self.active.contains_key(id)
                && self.records.get(id).is_some_and(|record| {
                    record.client == client && self.plan.credential(&record.name).is_none_or(|plan| !plan.enabled)
                })
        })
    }

    fn swap_names(&mut self, one: RecordId, other: RecordId, notes: &mut Notes) {
        if let [Some(one), Some(other)] = self.records.get_disjoint_mut([&one, &other]) {
            tracing::info!(from = %other.name, to = %one.name, "the credential was renamed; its record follows");
            std::mem::swap(&mut one.name, &mut other.name);
        }
        notes.touched.extend([one, other]);
    }

    /// Whether a record's credential is gone from the config while its request is under way.
    fn is_leaving(&self, id: RecordId) -> bool {
        self.active.get(&id).is_some_and(|active| matches!(active.next, Some(Next::Stop)))
    }

    /// Reads the seeds of credentials that have no record yet: one that left may be theirs.
    pub(super) fn read_orphaned_seeds(&mut self) {
        let enabled = self.plan.credentials.iter().filter(|plan| plan.enabled);
        let names: Vec<Arc<str>> =
            enabled.map(|plan| &plan.name).filter(|name| !self.by_name.contains_key(*name)).cloned().collect();
        self.read_seeds(names);
    }

    /// The record that bears a credential's name and belongs to its client.
    pub(super) fn record_named(&self, plan: &CredentialPlan) -> Option<RecordId> {
        youngest(self.records.values().map(|record| &**record), plan).map(|record| record.id)
    }
}
