//! Is the vault sound, ours and writable? With an agent beside, what that agent says counts.

use crate::cli::doctor::Surroundings;
use crate::cli::doctor::report::{Checks, Topic, Verdict};
use crate::cli::vault::read_key;
use crate::messages;
use crate::reason::{AgentReason, Reason, VaultReason};
use crate::vault::seal::EncryptionKey;
use crate::vault::{self, Checked, Contents, Vault, VaultError};

/// Looks at the vault: what it holds, where that can be read, and whether it is one that must not be touched.
pub async fn look(around: &Surroundings<'_>, checks: &mut Checks) -> (Option<Contents>, bool) {
    let path = &around.plan.vault.path;
    for finding in vault::examine(path) {
        checks.finding(Topic::Vault, finding);
    }
    let key = match &around.plan.vault.encryption_key {
        None => Ok(None),
        Some(source) => read_key(source).await.map(Some),
    };
    match (&around.holder, &around.living) {
        (Some(holder), Some(_)) => {
            checks.good(Topic::Vault, "", around.words.agent_answers.replace("{holder}", holder));
        }
        (Some(holder), None) => {
            let silent = AgentReason::Silent { holder: holder.clone() };
            checks.find(Topic::Vault, "", Verdict::Error, &silent.into());
        }
        (None, _) => {}
    }
    let key = match key {
        Ok(key) => key,
        // The agent has it, from its own environment; whoever only asks needs none.
        Err(reason) if around.living.is_some() => {
            checks.find(Topic::Vault, "encryption_key", Verdict::Warning, &reason);
            return (None, false);
        }
        Err(reason) => {
            checks.find(Topic::Vault, "encryption_key", Verdict::Error, &reason);
            return (None, true);
        }
    };
    let looked =
        if around.holder.is_some() { beside(around, key.as_ref()) } else { alone(around, key.as_ref(), checks) };
    match looked {
        Ok(contents) => (Some(contents), false),
        Err(VaultError(VaultReason::Missing { .. })) if around.living.is_none() => {
            match vault::could_begin(path, around.plan.agent.max_in_flight) {
                Ok(()) => {
                    checks.good(Topic::Vault, path.display().to_string(), around.words.vault_to_come);
                    (Some(Contents::default()), false)
                }
                Err(error) => {
                    checks.find(Topic::Vault, "", Verdict::Error, &error.0.into());
                    (None, false)
                }
            }
        }
        Err(VaultError(reason)) => {
            let untouchable = !matches!(reason, VaultReason::Full { .. } | VaultReason::Owned { .. });
            let reason: Reason = reason.into();
            checks.find(Topic::Vault, "", Verdict::Error, &reason);
            (None, untouchable)
        }
    }
}

/// Beside its owner the vault is only read.
fn beside(around: &Surroundings<'_>, key: Option<&EncryptionKey>) -> Result<Contents, VaultError> {
    vault::stands(&around.plan.vault.path)?;
    Vault::peek(&around.plan.vault.path, key).map(|(_, contents)| contents)
}

/// Nobody else is there: it is checked as a whole.
fn alone(around: &Surroundings<'_>, key: Option<&EncryptionKey>, checks: &mut Checks) -> Result<Contents, VaultError> {
    let path = &around.plan.vault.path;
    let Checked { contents, sealed, .. } = Vault::check(path, key)?;
    vault::has_room(path, around.plan.agent.max_in_flight)?;
    let all = messages::words(around.plan.language);
    let words = &all.vault;
    let seal = if sealed { around.words.sealed } else { around.words.plain };
    let records = around.words.records.replace("{}", &contents.records.len().to_string());
    let line = format!("{}{comma}{seal}{comma}{records}", words.sound, comma = around.words.comma);
    checks.good(Topic::Vault, path.display().to_string(), line);
    if contents.behind {
        checks.note(Topic::Vault, "", Verdict::Warning, words.behind);
    }
    Ok(contents)
}
