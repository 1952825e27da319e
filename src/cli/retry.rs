//! `retry`: another try for a credential that is halted or failing.

use clap::Args;

use crate::agent::control::Retry;
use crate::cli::holder::{Turn, take_or_ask};
use crate::cli::once::refuse_unknown;
use crate::cli::paper::Paper;
use crate::cli::place::{Loaded, complain, complain_of};
use crate::cli::{ConfigPlace, Exit, block_on, print, status};
use crate::credential::record::youngest;
use crate::messages;
use crate::vault::{Change, Contents, Vault};

/// What `retry` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// The credential
    name: String,
}

/// Asks the agent, or leaves a note for its next start.
pub fn run(place: &ConfigPlace, options: Options) -> anyhow::Result<Exit> {
    let loaded = match place.load() {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    if let Some(exit) = refuse_unknown(&loaded, &options.name) {
        return Ok(exit);
    }
    let order = Retry { name: options.name };
    block_on(async {
        match take_or_ask(&loaded, "/retry", &order).await {
            Ok(Turn::Ours(opened)) => note(&loaded, *opened, &order.name).await,
            Ok(Turn::Theirs(now)) => {
                print(&status::table(&now.credentials, loaded.plan.language, now.time, Paper::of_stdout()))?;
                Ok(Exit::Fine)
            }
            Err(exit) => Ok(exit),
        }
    })?
}

/// Notes in the vault that the credential is to be tried.
async fn note(loaded: &Loaded, (vault, mut contents): (Vault, Contents), name: &str) -> anyhow::Result<Exit> {
    let words = messages::words(loaded.plan.language);
    let known = loaded.plan.credential(name).and_then(|plan| youngest(contents.records.iter(), plan));
    let id = known.map(|record| record.id);
    let record = contents.records.iter_mut().find(|record| Some(record.id) == id);
    let stays = record.as_ref().filter(|record| record.has_nothing_to_send());
    if let Some(halt) = stays.and_then(|record| record.state.halt.as_ref()) {
        complain_of(&halt.reason, name);
        vault.close();
        return Ok(Exit::HumanNeeded);
    }
    let noted = match record.map(|record| record.ask_again().then(|| record.clone())) {
        Some(Some(record)) => {
            vault.handle.commit(vec![Change::Record(Box::new(record))]).await.map(|()| words.tried_at_start)
        }
        Some(None) => Ok(words.nothing_to_retry),
        // Nothing is known of it: its first try is at the start anyway.
        None => Ok(words.tried_at_start),
    };
    vault.close();
    match noted {
        Ok(said) => {
            print(&format!("{name}: {said}\n"))?;
            Ok(Exit::Fine)
        }
        Err(error) => {
            complain(&error.0.into());
            Ok(Exit::Failed)
        }
    }
}
