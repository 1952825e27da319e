//! `once`: one pass, for cron.

use std::sync::Arc;

use clap::Args;

use crate::agent::{Agent, Mode};
use crate::cli::place::complain;
use crate::cli::{ConfigPlace, Exit, block_on, print, run, status};
use crate::reason::AgentReason;
use crate::shape::nearest;
use crate::telemetry::status::{CredentialState, CredentialStatus};
use crate::time::{Clock, SystemClock};

/// What `once` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Only these credentials
    names: Vec<String>,
    /// Refresh what is not due, too
    #[arg(long)]
    force: bool,
}

/// One pass.
pub fn run(place: &ConfigPlace, options: Options) -> anyhow::Result<Exit> {
    let loaded = match place.load() {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    for name in &options.names {
        if loaded.plan.credential(name).is_none() {
            let known = loaded.plan.credentials.iter().map(|credential| &*credential.name);
            let reason = AgentReason::NoSuchCredential { name: name.clone(), nearest: nearest(name, known) };
            complain(&reason.into());
            return Ok(Exit::Usage);
        }
    }
    let opened = match run::open(&loaded) {
        Ok(opened) => opened,
        Err(exit) => return Ok(exit),
    };
    let is_named = |name: &str| options.names.is_empty() || options.names.iter().any(|named| named == name);
    let mode = Mode::Once { names: options.names.clone(), force: options.force };
    block_on(async {
        let plan = loaded.plan.clone();
        let mut agent = Agent::new(Arc::new(SystemClock), opened, loaded.plan, loaded.path, mode);
        agent.run().await;
        let now = SystemClock.now();
        let mut statuses = status::credentials(&plan, agent.records(), agent.rooms(), now);
        statuses.retain(|credential| is_named(&credential.name));
        agent.close();
        print(&status::table(&statuses, plan.language, now, status::Style::of_stdout()))?;
        Ok(exit(&statuses))
    })?
}

fn exit(credentials: &[CredentialStatus]) -> Exit {
    let is_well = |credential: &CredentialStatus| match credential.state {
        CredentialState::Disabled => true,
        CredentialState::Active => credential.channels.iter().all(|channel| channel.problem.is_none()),
        _ => false,
    };
    if credentials.iter().any(|credential| credential.state == CredentialState::Halted) {
        Exit::HumanNeeded
    } else if credentials.iter().all(is_well) {
        Exit::Fine
    } else {
        Exit::Failed
    }
}
