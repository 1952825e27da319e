//! `once`: one pass, for cron; the agent makes it where one runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::oneshot;

use crate::agent::control::Once;
use crate::agent::{Agent, Mode};
use crate::cli::holder::{self, Turn, take_or_ask};
use crate::cli::paper::Paper;
use crate::cli::place::{Loaded, complain};
use crate::cli::progress::Progress;
use crate::cli::run::Signals;
use crate::cli::{ConfigPlace, Exit, block_on, print, status};
use crate::messages;
use crate::reason::{AgentReason, Language};
use crate::shape::nearest;
use crate::telemetry::status::{CredentialState, CredentialStatus, Status};
use crate::time::{Clock, SystemClock};
use crate::vault::{Contents, Vault};

/// How often it is looked how far a pass is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

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
        let following = tokio::spawn(follow(loaded.plan.vault.path.clone(), order.names.clone(), language));
        let made = match take_or_ask(&loaded, "/once", &order).await {
            Ok(Turn::Ours(opened)) => pass(loaded, *opened, order).await,
            Ok(Turn::Theirs(status)) => Ok(Some(*status)),
            Err(exit) => return Ok(exit),
        };
        following.abort();
        // Its line is gone once it is; what it comes to is nothing.
        let _ = following.await;
        let made = made?;
        // Stopped before it was over: the log has said so.
        let Some(made) = made else { return Ok(Exit::Failed) };
        print(&status::table(&made.credentials, language, made.time, Paper::of_stdout()))?;
        Ok(exit(&made.credentials))
    })?
}

/// Shows how far the pass is, wherever it is made: both sides answer at the control socket.
async fn follow(vault: PathBuf, names: Vec<String>, language: Language) {
    let mut progress = Progress::begin();
    if !progress.is_watched() {
        return;
    }
    let words = messages::words(language);
    let began = SystemClock.now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(now) = holder::status(&vault, LOOK_EVERY).await.map(|status| status.of(&names)) else { continue };
        let refreshed = now.credentials.iter().filter(|one| one.refreshed_at.is_some_and(|at| at >= began)).count();
        let line = words
            .once_progress
            .replace("{refreshed}", &refreshed.to_string())
            .replace("{all}", &now.credentials.len().to_string())
            .replace("{time}", &words.length(now.time.since(began)));
        progress.show(&line);
    }
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
