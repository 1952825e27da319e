//! `once`: one pass, for cron; the agent makes it where one runs.

use std::sync::Arc;

use clap::Args;
use tokio::sync::oneshot;

use crate::agent::control::Once;
use crate::agent::{Agent, Mode};
use crate::cli::holder::{Turn, take_or_ask};
use crate::cli::place::{Loaded, complain};
use crate::cli::run::Signals;
use crate::cli::{ConfigPlace, Exit, block_on, print, status};
use crate::reason::AgentReason;
use crate::shape::nearest;
use crate::telemetry::status::{CredentialState, CredentialStatus, Status};
use crate::time::SystemClock;
use crate::vault::{Contents, Vault};

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
    if let Some(exit) = options.names.iter().find_map(|name| refuse_unknown(&loaded, name)) {
        return Ok(exit);
    }
    let order = Once { names: options.names, force: options.force };
    let language = loaded.plan.language;
    block_on(async {
        let made = match take_or_ask(&loaded, "/once", &order).await {
            Ok(Turn::Ours(opened)) => pass(loaded, *opened, order).await?,
            Ok(Turn::Theirs(status)) => Some(*status),
            Err(exit) => return Ok(exit),
        };
        // Stopped before it was over: the log has said so.
        let Some(made) = made else { return Ok(Exit::Failed) };
        print(&status::table(&made.credentials, language, made.time, status::Style::of_stdout()))?;
        Ok(exit(&made.credentials))
    })?
}

/// Says that a name is not in the config, if that is so.
pub fn refuse_unknown(loaded: &Loaded, name: &str) -> Option<Exit> {
    if loaded.plan.credential(name).is_some() {
        return None;
    }
    let known = loaded.plan.credentials.iter().map(|credential| &*credential.name);
    complain(&AgentReason::NoSuchCredential { name: name.to_owned(), nearest: nearest(name, known) }.into());
    Some(Exit::Usage)
}

/// A pass of our own; `None` when it was stopped.
async fn pass(loaded: Loaded, opened: (Vault, Contents), order: Once) -> anyhow::Result<Option<Status>> {
    let mut agent = Agent::new(Arc::new(SystemClock), opened, loaded.plan, loaded.path, Mode::Once);
    // A request that has left is awaited here, too.
    Signals::new()?.send_to(agent.reports());
    agent.serve_control();
    let (answer, mut made) = oneshot::channel();
    agent.begin(order, answer);
    agent.run().await;
    agent.close();
    Ok(made.try_recv().ok().and_then(Result::ok))
}

/// How a pass ended, by how its credentials stand.
pub fn exit(credentials: &[CredentialStatus]) -> Exit {
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
