//! Answers that came when the vault was not ours any more, and the vault's standing as the loop sees it.
//!
//! A vault in a database server can be lost: the connection was cut, or the process was stopped for so long that
//! another host took over. A request that was under way then brings an answer that may not be written: somebody else
//! owns the record. It is kept in memory until the vault is ours again. Then the record, read anew, tells: if it still
//! has the refresh token that was sent, the answer is its successor; if not, somebody went on without it, and nothing
//! newer is overwritten.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::Agent;
use crate::agent::refresh::landing_changes;
use crate::config::plan::CredentialPlan;
use crate::credential::event::{Event, Topic};
use crate::credential::record::{Attempt, Outcome, Record, RecordId};
use crate::secret::Secret;
use crate::time::Timestamp;
use crate::vault::backing::Standing;
use crate::vault::{Contents, Vault, VaultError};

/// How long nobody may know whose the vault is before people are told. A server that restarts is back by then.
const TOLD_AFTER: Duration = Duration::from_secs(15);

/// An answer in memory.
#[derive(Clone)]
pub struct Held {
    /// Whose.
    pub record: RecordId,
    /// The plan of the credential when the request left.
    pub plan: Arc<CredentialPlan>,
    /// The refresh token that was sent.
    pub sent: Secret,
    /// How often the record had been refreshed when the request left.
    pub generation: u64,
    /// As it was noted before the request left.
    pub attempt: Attempt,
    /// What it came to.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
}

impl Held {
    /// Whether the vault still has the refresh token that was sent as the one to send next, and nobody got an answer to
    /// it meanwhile: a server that does not rotate answers as often as it is asked.
    pub fn is_awaited(&self, contents: &Contents) -> bool {
        let known = contents.records.iter().find(|record| record.id == self.record);
        known.is_some_and(|record| self.is_awaited_by(record))
    }

    fn is_awaited_by(&self, record: &Record) -> bool {
        let current = if self.attempt.candidate { &record.candidate } else { &record.refresh_token };
        record.state.generation == self.generation && current.as_ref() == Some(&self.sent)
    }

    /// The record with the answer in it; `None` when the record has gone on without it.
    fn redeemed(&self, record: &Record, jitter: f64) -> Option<Record> {
        if !self.is_awaited_by(record) {
            return None;
        }
        let mut record = record.clone();
        record.state.attempt = Some(self.attempt);
        record.settle(&self.plan, self.outcome.clone(), self.at, jitter);
        Some(record)
    }
}

/// Writes what was held into a vault that is ours again. What is settled leaves `held`.
///
/// # Errors
/// When the vault does not take it; it is held still.
pub async fn redeem(held: &mut Vec<Held>, vault: &Vault, contents: &mut Contents) -> Result<(), VaultError> {
    while let Some(answer) = held.first() {
        let known = contents.records.iter_mut().find(|record| record.id == answer.record);
        let redeemed = known.and_then(|known| Some((answer.redeemed(known, fastrand::f64())?, known)));
        let name = &answer.plan.name;
        match redeemed {
            Some((record, known)) => {
                let changes = landing_changes(&answer.plan, &record, vault.handle.fingerprinter(), answer.at);
                vault.handle.commit(changes).await?;
                *known = record;
                tracing::info!(credential = %name, "the answer that was kept in memory is saved");
            }
            None => tracing::warn!(credential = %name, "the vault went on without the answer that was kept in memory"),
        }
        held.remove(0);
    }
    Ok(())
}

/// Since when nobody knows whose the vault is, and why.
pub(super) struct Unsure {
    pub(super) since: Timestamp,
    error: VaultError,
}

impl Agent {
    /// Takes note of whose the vault is now.
    pub(super) fn stands(&mut self) {
        let standing = self.standing.borrow_and_update().clone();
        match standing {
            Standing::Ours => {
                if self.unsure.take().is_some() {
                    tracing::info!("the vault is ours again; nobody else had it");
                    if let Some(reason) = self.vault_trouble.take() {
                        self.event(Event { reason: Some(reason.into()), ..Event::new(self.now(), Topic::Recovered) });
                    }
                    self.consider_all();
                }
            }
            Standing::Unsure(error) => match &mut self.unsure {
                Some(unsure) => unsure.error = error,
                None => {
                    tracing::warn!("{}", self.words(&error.0.clone().into(), "NAME"));
                    self.unsure = Some(Unsure { since: self.now(), error });
                }
            },
            Standing::Lost(error) => {
                tracing::warn!("{}", self.words(&error.0.clone().into(), "NAME"));
                self.unsure = Some(Unsure { since: self.now(), error });
                self.displaced = true;
                self.stop_starting();
            }
        }
    }

    /// Whether the vault is ours, for all that is known: otherwise nothing is begun.
    pub(super) fn is_owner(&self) -> bool {
        self.unsure.is_none()
    }

    /// Tells people of a vault that nobody reaches for long.
    pub(super) fn tell_unsure(&mut self, now: Timestamp) {
        if let Some(unsure) = &self.unsure
            && !self.displaced
            && self.vault_trouble.is_none()
            && now.since(unsure.since) >= TOLD_AFTER
        {
            let reason = unsure.error.0.clone();
            self.vault_failed(reason);
        }
    }
}

/// The answer to a request of the sample record, as it was when this was sent.
#[cfg(test)]
pub(crate) fn sample(sent: &str, candidate: bool) -> Held {
    use crate::credential::record::Answer;
    use crate::credential::sample;

    let (at, before) = (sample::at(10), sample::record());
    let generation = before.state.generation;
    let (grant, refresh_token) = (before.access.expect("the sample holds one"), Some(Secret::new("successor")));
    let answer = Answer { access: Ok(grant), refresh_token, refresh_token_expires_at: None };
    Held {
        record: RecordId(1),
        plan: Arc::new(sample::plan()),
        sent: Secret::new(sent),
        generation,
        attempt: Attempt { at, candidate },
        outcome: Outcome::Answered(answer),
        at,
    }
}

#[cfg(test)]
mod tests {
    use super::sample as held;
    use super::*;
    use crate::credential::record::Lost;
    use crate::credential::sample;

    fn with_token(token: &str) -> Record {
        Record { refresh_token: Some(Secret::new(token)), candidate: None, ..sample::record() }
    }

    #[test]
    fn an_answer_is_the_successor_of_the_token_that_the_vault_still_has() {
        let mut record = with_token("sent");
        record.state.lost = Some(Lost { at: sample::at(5), candidate: false, asked_again: 0 });
        let redeemed = held("sent", false).redeemed(&record, 0.5).expect("the record waits for it");
        assert_eq!(redeemed.refresh_token, Some(Secret::new("successor")));
        assert_eq!((redeemed.state.lost, redeemed.state.attempt), (None, None));
    }

    #[test]
    fn a_newer_record_is_left_as_it_is() {
        assert_eq!(held("sent", false).redeemed(&with_token("newer"), 0.5), None);
        let mut again = with_token("sent");
        again.state.generation += 1;
        assert_eq!(held("sent", false).redeemed(&again, 0.5), None, "refreshed since, with a token that is not spent");
        let candidate = Record { candidate: Some(Secret::new("seed")), ..with_token("sent") };
        assert_eq!(held("sent", true).redeemed(&candidate, 0.5), None);
        let redeemed = held("seed", true).redeemed(&candidate, 0.5).expect("the seed is still to be tried");
        assert_eq!((redeemed.refresh_token, redeemed.candidate), (Some(Secret::new("successor")), None));
    }
}
