//! `notify test`: a message through each notifier, and what each answered.

use std::fmt::Write;
use std::sync::Arc;

use clap::{Args, Subcommand};
use futures_util::future::join_all;
use serde::Serialize;

use crate::cli::place::complain;
use crate::cli::{ConfigPlace, Exit, block_on, print};
use crate::config::plan::{NotifierPlan, Plan};
use crate::messages;
use crate::notify::sender::{self, Resolve};
use crate::reason::{AgentReason, Language, Reason};
use crate::secrets;

/// What `notify` takes.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Send a test message through each notifier, and say what each answered
    Test {
        /// The notifiers [default: all]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Stable JSON
        #[arg(long)]
        json: bool,
    },
}

/// What a notifier made of the message.
#[derive(Debug, Serialize)]
struct Answer {
    name: String,
    taken: bool,
    message: Option<String>,
    remedy: Option<String>,
}

/// Does what was asked.
pub fn run(place: &ConfigPlace, options: &Options) -> anyhow::Result<Exit> {
    let Action::Test { names, json } = &options.action;
    let loaded = match place.load() {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let chosen = match choose(&loaded.plan, names) {
        Ok(chosen) => chosen,
        Err(reason) => {
            complain(&reason.into());
            return Ok(Exit::Usage);
        }
    };
    let language = loaded.plan.language;
    let directory = std::path::absolute(&loaded.path)?.parent().map(ToOwned::to_owned).unwrap_or_default();
    let resolve: Resolve = Arc::new(move |source| {
        let source = source.within(&directory);
        Box::pin(async move { secrets::fetch(&source).await })
    });
    let notice = messages::test_notice(language);
    let sent = block_on(join_all(chosen.iter().map(|plan| sender::send_now(plan, &resolve, &notice))))?;
    let answers: Vec<Answer> = chosen.iter().zip(sent).map(|(plan, outcome)| answer(language, plan, outcome)).collect();
    if *json {
        print(&format!("{}\n", serde_json::to_string_pretty(&answers)?))?;
    } else {
        print(&text(language, &answers))?;
    }
    Ok(if answers.iter().all(|answer| answer.taken) { Exit::Fine } else { Exit::Failed })
}

/// The notifiers of these names, in the order of the config; all, if there is none.
fn choose<'p>(plan: &'p Plan, names: &[String]) -> Result<Vec<&'p Arc<NotifierPlan>>, AgentReason> {
    if plan.notifiers.is_empty() {
        return Err(AgentReason::NoNotifier);
    }
    let is_known = |name: &&String| plan.notifiers.iter().any(|notifier| *notifier.name == ***name);
    if let Some(name) = names.iter().find(|name| !is_known(name)) {
        let known = plan.notifiers.iter().map(|notifier| notifier.name.to_string()).collect();
        return Err(AgentReason::NoSuchNotifier { name: name.clone(), known });
    }
    let is_chosen =
        |notifier: &&Arc<NotifierPlan>| names.is_empty() || names.iter().any(|name| **name == *notifier.name);
    Ok(plan.notifiers.iter().filter(is_chosen).collect())
}

fn answer(language: Language, plan: &NotifierPlan, outcome: Result<(), Reason>) -> Answer {
    let message = outcome.err().map(|reason| messages::explain(language, &reason));
    let taken = message.is_none();
    let (message, remedy) = message.map(|message| (message.what, message.remedy)).unzip();
    Answer { name: plan.name.to_string(), taken, message, remedy }
}

fn text(language: Language, answers: &[Answer]) -> String {
    let words = messages::words(language);
    let mut out = String::new();
    for Answer { name, message, remedy, .. } in answers {
        // Writing to a String cannot fail.
        let _ = match (message, remedy) {
            (Some(message), Some(remedy)) => {
                writeln!(out, "{name}: {}: {message}\n  {}: {remedy}", words.refused, words.help)
            }
            _ => writeln!(out, "{name}: {}", words.taken),
        };
    }
    out
}
