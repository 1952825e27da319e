//! Is the vault sound, ours and writable? With an agent beside, what that agent says counts.

use crate::cli::doctor::Surroundings;
use crate::cli::doctor::report::{Checks, Topic, Verdict};
use crate::cli::vault::read_key;
use crate::messages;
use crate::reason::{AgentReason, Reason, VaultReason};
use crate::vault::seal::EncryptionKey;
use crate::vault::{Checked, Contents, VaultError};

/// Looks at the vault: what it holds, where that can be read, and whether it is one that must not be touched.
pub async fn look(around: &Surroundings<'_>, checks: &mut Checks) -> (Option<Contents>, bool) {
    let site = &around.site;
    for finding in site.examine().await {
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
        // One of another host, which has no socket here.
        (Some(holder), None) if site.is_owned_elsewhere().await => {
            checks.good(Topic::Vault, site.to_string(), holder.clone());
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
    let looked = if around.holder.is_some() {
        site.peek(key.as_ref()).await.map(|(_, contents)| contents)
    } else {
        alone(around, key.as_ref(), checks).await
    };
    match looked {
        Ok(contents) => (Some(contents), false),
        Err(VaultError(VaultReason::Missing { .. })) if around.living.is_none() => {
            match site.could_begin(around.plan.agent.max_in_flight) {
                Ok(()) => {
                    checks.good(Topic::Vault, site.to_string(), around.words.vault_to_come);
                    (Some(Contents::default()), false)
                }
                Err(error) => {
                    checks.find(Topic::Vault, "", Verdict::Error, &error.0.into());
                    (None, false)
                }
            }
        }
        Err(VaultError(reason)) => {
            let untouchable = !matches!(
                reason,
                VaultReason::Full { .. } | VaultReason::Owned { .. } | VaultReason::ServerAway { .. }
            );
            let reason: Reason = reason.into();
            checks.find(Topic::Vault, "", Verdict::Error, &reason);
            (None, untouchable)
        }
    }
}

/// Nobody else is there: it is checked as a whole.
async fn alone(
    around: &Surroundings<'_>,
    key: Option<&EncryptionKey>,
    checks: &mut Checks,
) -> Result<Contents, VaultError> {
    let site = &around.site;
    let Checked { contents, sealed, .. } = site.check(key).await?;
    site.has_room(around.plan.agent.max_in_flight)?;
    let all = messages::words(around.plan.language);
    let words = &all.vault;
    let seal = if sealed { around.words.sealed } else { around.words.plain };
    let records = around.words.records.replace("{}", &contents.records.len().to_string());
    let line = format!("{}{comma}{seal}{comma}{records}", words.sound, comma = around.words.comma);
    checks.good(Topic::Vault, site.to_string(), line);
    if contents.behind {
        checks.note(Topic::Vault, "", Verdict::Warning, words.behind);
    }
    Ok(contents)
}
