//! `check`: is the config right? Touches no network and changes nothing.

use std::fmt::Write;

use clap::Args;
use serde::Serialize;

use crate::cli::place::{self, complain, render};
use crate::cli::progress::tell;
use crate::cli::{ConfigPlace, Exit, print};
use crate::config::plan::{CacheLag, CredentialPlan, Plan, VaultPlace};
use crate::config::report::{self, Report};
use crate::messages;
use crate::reason::Reason;
use crate::vault;

/// What `check` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Stable JSON
    #[arg(long)]
    json: bool,
}

/// The answer as JSON.
#[derive(Debug, Serialize)]
struct Checked {
    ok: bool,
    problems: Vec<Report>,
}

/// Checks the config.
pub fn run(place: &ConfigPlace, options: &Options) -> anyhow::Result<Exit> {
    let (path, text) = match place.read() {
        Ok(read) => read,
        Err(reason) => {
            complain(&reason.into());
            return Ok(Exit::BadConfig);
        }
    };
    let (plan, problems) = match place::understand(&path, &text) {
        Ok((plan, warnings)) => (Some(plan), warnings),
        Err(problems) => (None, problems),
    };
    let language = place::language();
    if options.json {
        let reports = report::reports(&path.display().to_string(), &text, &problems, |reason| {
            let message = messages::explain(language, &Reason::Config(reason.clone()));
            (message.what, message.remedy)
        });
        print(&format!("{}\n", serde_json::to_string_pretty(&Checked { ok: plan.is_some(), problems: reports })?))?;
    } else {
        tell(&render(language, &path, &text, &problems));
        if let Some(plan) = &plan {
            print(&explained(plan))?;
        }
    }
    Ok(if plan.is_some() { Exit::Fine } else { Exit::BadConfig })
}

/// The plan, a line for each credential.
fn explained(plan: &Plan) -> String {
    let words = messages::words(plan.language);
    let mut out = String::new();
    for credential in &plan.credentials {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "{}", line(plan, credential));
    }
    let seal = if plan.vault.encryption_key.is_some() { words.vault.has_key } else { words.vault.plain };
    let _ = writeln!(out, "vault: {}\n  {seal}", plan.vault.place);
    let file = match &plan.vault.place {
        VaultPlace::File(path) => Some(path),
        VaultPlace::Server(_) => None,
    };
    for finding in file.into_iter().flat_map(|path| vault::examine(path)) {
        let message = messages::explain(plan.language, &finding.reason);
        let _ = writeln!(out, "{}: {} {}", words.warning, message.what, message.remedy);
    }
    out
}

fn line(plan: &Plan, credential: &CredentialPlan) -> String {
    let words = messages::words(plan.language);
    let channels: Vec<String> = credential
        .channels
        .iter()
        .map(|channel| match plan.gateways.len() {
            1 => channel.select.to_string(),
            _ => format!("{}/{}", channel.gateway, channel.select),
        })
        .collect();
    let lags: Vec<CacheLag> = credential
        .channels
        .iter()
        .filter_map(|channel| plan.gateway(&channel.gateway))
        .map(|gateway| gateway.cache_lag)
        .collect();
    let lag = lags.iter().map(|lag| lag.of(None, false)).max().unwrap_or_default();
    let lead = if credential.revokes_previous { credential.refresh_before } else { lag + credential.refresh_before };
    let plan_line = words
        .plan
        .replace("{lead}", &words.length(lead))
        .replace("{lag}", &words.length(lead.saturating_sub(credential.refresh_before)))
        .replace("{retries}", &words.length(credential.refresh_before))
        .replace("{host}", &credential.endpoint.host())
        .replace("{channels}", &channels.join(", "));
    let state = if credential.enabled { plan_line } else { words.credential.disabled.to_owned() };
    let preset = credential.preset.map(|preset| {
        let line = words.preset.replace("{preset}", preset.name).replace("{fields}", &preset.line());
        format!("\n  {line}")
    });
    format!("{}: {state}{}", credential.name, preset.unwrap_or_default())
}
