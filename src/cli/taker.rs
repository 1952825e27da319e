//! A new refresh token goes to whoever owns the vault: us, if nobody does.
//!
//! Whether anybody could take it is found out before a person is troubled, so that nothing is obtained that cannot be
//! kept. Nobody holds the vault while a person is away: an agent may start or end meanwhile.

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::agent::control::Once;
use crate::agent::obtained::{self, Obtained};
use crate::cli::holder::{Turn, probe, take_or_ask};
use crate::cli::paper::Paper;
use crate::cli::place::{Loaded, complain_of};
use crate::cli::{Exit, once, print, progress, status};
use crate::config::plan::CredentialPlan;
use crate::credential::record::{Record, RecordId, youngest};
use crate::messages;
use crate::reason::{LoginReason, Reason};
use crate::secret::Secret;
use crate::time::{Clock, SystemClock};
use crate::vault::{Contents, Vault};

/// For how long a refresh token that cannot be had again is held while nobody takes it.
const HELD: Duration = Duration::from_secs(600);
/// How long between two tries, at first and at most.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Who has the refresh token now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taker {
    /// The vault; nobody runs who uses it yet.
    Vault,
    /// The agent, which has it in its vault and uses it.
    Agent,
}

/// Who takes refresh tokens.
pub struct Takers<'a> {
    loaded: &'a Loaded,
}

impl<'a> Takers<'a> {
    /// Makes sure that somebody would take one now.
    ///
    /// # Errors
    /// The exit; what is wrong was told.
    pub async fn find(loaded: &'a Loaded) -> Result<Self, Exit> {
        probe(loaded).await?;
        Ok(Self { loaded })
    }

    /// Hands over one that stays where it was read: durable when this returns.
    ///
    /// # Errors
    /// The exit; what is wrong was told.
    pub async fn give(&self, plan: &CredentialPlan, seed: &Secret) -> Result<Taker, Exit> {
        self.hand_over(plan, &order(plan, seed, false)).await
    }

    /// Hands over one that was issued just now and that nobody else has: durable when this returns. Whatever is in the
    /// way is told, and tried again: a person may mend it.
    ///
    /// # Errors
    /// The exit, when nobody took it for long; what is wrong was told.
    pub async fn give_only_copy(&self, plan: &CredentialPlan, seed: &Secret) -> Result<Taker, Exit> {
        let (order, begun) = (order(plan, seed, true), Instant::now());
        let mut wait = TRY_AGAIN.0;
        loop {
            let exit = match self.hand_over(plan, &order).await {
                Ok(taker) => return Ok(taker),
                Err(exit) => exit,
            };
            if begun.elapsed() + wait > HELD {
                complain_of(&LoginReason::NotKept.into(), &plan.name);
                return Err(exit);
            }
            let words = messages::words(self.loaded.plan.language);
            let left = words.length(HELD.saturating_sub(begun.elapsed()));
            progress::tell(&format!("{}\n", words.login.held.replace("{time}", &left)));
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(TRY_AGAIN.1);
        }
    }

    async fn hand_over(&self, plan: &CredentialPlan, order: &Obtained) -> Result<Taker, Exit> {
        let opened = match take_or_ask(self.loaded, "/seed", order).await? {
            Turn::Theirs(status) if status.agent.running => return Ok(Taker::Agent),
            Turn::Theirs(_) => return Ok(Taker::Vault),
            Turn::Ours(opened) => *opened,
        };
        match into_vault(opened, plan, order).await {
            Ok(()) => Ok(Taker::Vault),
            Err(reason) => {
                complain_of(&reason, &plan.name);
                Err(Exit::Failed)
            }
        }
    }
}

fn order(plan: &CredentialPlan, seed: &Secret, just_issued: bool) -> Obtained {
    Obtained {
        name: plan.name.to_string(),
        client_id: plan.endpoint.client_id.clone().unwrap_or_default(),
        refresh_token: Zeroizing::new(seed.expose().to_owned()),
        just_issued,
    }
}

/// Does it here, where nobody runs.
async fn into_vault(
    (vault, contents): (Vault, Contents),
    plan: &CredentialPlan,
    order: &Obtained,
) -> Result<(), Reason> {
    let records = &contents.records;
    let record = youngest(records.iter(), plan).cloned().unwrap_or_else(|| {
        let last = records.iter().map(|record| record.id.0).max();
        Record::new(RecordId(last.unwrap_or(0) + 1), plan)
    });
    let proven = obtained::proven(records);
    let taken = obtained::take(&vault.handle, plan, record, order, &proven, SystemClock.now()).await;
    vault.close();
    taken.map(|_| ())
}

/// Says who has it; where the agent has, also what it makes of it.
pub async fn tell(loaded: &Loaded, plan: &CredentialPlan, taker: Taker, more: &str) -> anyhow::Result<Exit> {
    let words = &messages::words(loaded.plan.language).login;
    let said = match taker {
        Taker::Vault => words.done,
        Taker::Agent => words.at_work,
    };
    let said = said.replace("{credential}", &plan.name);
    print(&format!("{}\n", format!("{said} {more}").trim_end()))?;
    if taker == Taker::Vault {
        return Ok(Exit::Fine);
    }
    // The refresh is on its way already: this waits for what comes of it.
    let pass = Once { names: vec![plan.name.to_string()], force: false };
    match take_or_ask(loaded, "/once", &pass).await {
        Ok(Turn::Theirs(after)) => {
            print(&status::table(&after.credentials, loaded.plan.language, after.time, Paper::of_stdout()))?;
            Ok(once::exit(&after.credentials))
        }
        // The agent has ended meanwhile; its next start goes on with it.
        Ok(Turn::Ours(opened)) => {
            opened.0.close();
            Ok(Exit::Fine)
        }
        Err(exit) => Ok(exit),
    }
}
