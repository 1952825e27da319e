//! A new refresh token goes to whoever owns the vault: us, if nobody does.
//!
//! Found before a person is troubled, so that nothing is obtained that cannot be kept.

use crate::agent::seeds;
use crate::cli::Exit;
use crate::cli::holder::{Closed, open, site};
use crate::cli::place::Loaded;
use crate::config::plan::CredentialPlan;
use crate::credential::record::{ClientIdentity, Record, RecordId};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::secrets;
use crate::time::{Clock, SystemClock};
use crate::vault::{Change, Contents, FingerprintKind, Vault};

/// Who takes a refresh token.
pub struct Taker {
    vault: Vault,
    contents: Contents,
}

impl Taker {
    /// Takes the vault, or says who holds it and what to do.
    ///
    /// # Errors
    /// The exit; what is wrong was told.
    pub async fn find(loaded: &Loaded) -> Result<Self, Exit> {
        let site = site(&loaded.plan.vault.place).await?;
        let (vault, contents) = open(loaded, &site).await.map_err(Closed::exit)?;
        Ok(Self { vault, contents })
    }

    /// Gives a credential's record a seed, as if it had stood in the config: durable when this returns. What is
    /// configured now counts as seen, so that it does not displace the new one.
    ///
    /// # Errors
    /// When the vault does not take it.
    pub async fn hand_over(self, plan: &CredentialPlan, seed: Secret) -> Result<(), Reason> {
        let Self { vault, contents } = self;
        let client = ClientIdentity::of(plan);
        let new_id = || RecordId(contents.records.iter().map(|record| record.id.0).max().unwrap_or(0) + 1);
        let named = contents.records.iter().filter(|record| *record.name == *plan.name && record.client == client);
        let mut record = match named.max_by_key(|record| record.id) {
            Some(record) => record.clone(),
            None => Record::new(new_id(), plan),
        };
        let configured = match seeds::source(plan) {
            Some(source) => secrets::fetch(source).await.ok(),
            None => None,
        };
        let at = SystemClock.now();
        let fingerprinter = vault.handle.fingerprinter();
        let seen = |secret: &Secret| Change::Seen {
            record: record.id,
            kind: FingerprintKind::RefreshToken,
            fingerprint: fingerprinter.of(secret),
            at,
        };
        let mut changes: Vec<Change> = configured.iter().chain([&seed]).map(seen).collect();
        record.take_seed(seed);
        changes.insert(0, Change::Record(Box::new(record)));
        let committed = vault.handle.commit(changes).await;
        vault.close();
        committed.map_err(|error| error.0.into())
    }
}
