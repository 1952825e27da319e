//! `health`: does the agent live? For a container's HEALTHCHECK, which must not restart what only a person can mend.

use clap::Args;

use crate::cli::holder::{self, PATIENCE};
use crate::cli::place::complain;
use crate::cli::{ConfigPlace, Exit, block_on};
use crate::reason::AgentReason;
use crate::telemetry::status::CredentialState;

/// What `health` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// No credential may be halted or expired, either
    #[arg(long)]
    credentials: bool,
}

/// Asks the vault's holder.
pub fn run(place: &ConfigPlace, options: &Options) -> anyhow::Result<Exit> {
    // A broken edit does not end the agent that goes on with the last good config.
    let surveyed = match place.survey(None) {
        Ok(surveyed) => surveyed,
        Err(exit) => return Ok(exit),
    };
    let problem = block_on(async {
        let site = holder::site(&surveyed.vault).await?;
        let vault = site.local();
        if !holder::lives(&vault).await {
            // Whoever stands by is well while another host's agent owns the vault.
            return Ok((!site.is_owned_elsewhere().await).then_some(AgentReason::NotRunning));
        }
        if !options.credentials {
            return Ok(None);
        }
        let Some(status) = holder::status(&vault, PATIENCE).await else {
            return Ok(Some(AgentReason::NotRunning));
        };
        let bad = |state| matches!(state, CredentialState::Halted | CredentialState::Expired);
        let bad = status.credentials.into_iter().filter(|credential| bad(credential.state));
        let credentials: Vec<String> = bad.map(|credential| credential.name).collect();
        Ok((!credentials.is_empty()).then_some(AgentReason::NeedAttention { credentials }))
    })?;
    Ok(match problem {
        Err(exit) => exit,
        Ok(Some(reason)) => {
            complain(&reason.into());
            Exit::Failed
        }
        Ok(None) => Exit::Fine,
    })
}
