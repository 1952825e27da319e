//! `doctor`: would it work here? The printed list of what every room finds when it examines itself. Changes nothing.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use crate::agent::deliver::{UNUSED_AFTER, only_ours_since};
use crate::cli::place::render;
use crate::cli::vault::read_key;
use crate::cli::{ConfigPlace, Exit, block_on, print};
use crate::config::plan::{GatewayPlan, NotifierPlan, Plan};
use crate::finding::{Finding, Severity};
use crate::gateway;
use crate::gateway::thread::GatewayHandle;
use crate::messages;
use crate::notify::policy::Policy;
use crate::oauth::request;
use crate::reason::{GatewayReason, VaultReason};
use crate::secret::SecretSource;
use crate::time::{Clock, SystemClock};
use crate::vault::{self, Contents, Vault};
use crate::{agent, secrets};

/// What `doctor` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Stable JSON
    #[arg(long)]
    json: bool,
}

/// A finding in words.
#[derive(Debug, Serialize)]
struct Found {
    about: String,
    severity: Severity,
    message: String,
    remedy: String,
}

/// Examines everything.
pub fn run(place: &ConfigPlace, options: &Options) -> anyhow::Result<Exit> {
    let loaded = match place.load() {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    eprint!("{}", render(loaded.plan.language, &loaded.path, &loaded.text, &loaded.warnings));
    let directory = std::path::absolute(&loaded.path)?.parent().map(ToOwned::to_owned).unwrap_or_default();
    let findings = block_on(examine(&loaded.plan, &directory))?;
    let language = loaded.plan.language;
    let found: Vec<Found> = findings
        .into_iter()
        .map(|Finding { about, reason, severity }| {
            let message = messages::explain(language, &reason);
            Found { about, severity, message: message.what, remedy: message.remedy }
        })
        .collect();
    let works = found.iter().all(|found| found.severity != Severity::Error);
    if options.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&found)?))?;
    } else {
        print(&text(&found, works, language))?;
    }
    Ok(if works { Exit::Fine } else { Exit::Failed })
}

fn text(found: &[Found], works: bool, language: crate::reason::Language) -> String {
    let words = messages::words(language);
    let mut out = String::new();
    for Found { about, severity, message, remedy } in found {
        let severity = match severity {
            Severity::Error => words.error,
            Severity::Warning => words.warning,
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{severity}: {about}: {message}\n  {}: {remedy}", words.help);
    }
    out + if works { words.would_work } else { words.would_not_work } + "\n"
}

/// What every room has to say.
async fn examine(plan: &Plan, directory: &Path) -> Vec<Finding> {
    let mut findings = vault_findings(plan).await;
    for gateway in &plan.gateways {
        findings.extend(GatewayHandle::spawn(gateway::open(gateway), || {}).examine().await);
    }
    findings.extend(secret_findings(plan, directory).await);
    findings
}

async fn vault_findings(plan: &Plan) -> Vec<Finding> {
    let path = &plan.vault.path;
    let mut findings = vault::examine(path);
    let key = match &plan.vault.encryption_key {
        None => None,
        Some(source) => match read_key(source).await {
            Ok(key) => Some(key),
            Err(reason) => {
                findings.push(Finding::error("vault", reason));
                return findings;
            }
        },
    };
    let seen = vault::stands(path).and_then(|_| Vault::peek(path, key.as_ref()));
    match seen {
        Ok((_, contents)) => {
            findings.extend(plan.gateways.iter().filter_map(|gateway| unused(gateway, &contents)));
            findings.extend(notifier_findings(plan, contents.notices.as_deref()));
        }
        // It is made at the first start.
        Err(vault::VaultError(VaultReason::Missing { .. })) => {}
        Err(error) => findings.push(Finding::error("vault", error.0)),
    }
    findings
}

/// A database that for a day nobody but us has written to.
fn unused(gateway: &GatewayPlan, contents: &Contents) -> Option<Finding> {
    let here = contents.adoptions.iter().filter(|adoption| *adoption.gateway == *gateway.name);
    let since = only_ours_since(gateway, here)?;
    let reason = GatewayReason::Unused { path: gateway.database.to_string() };
    (SystemClock.now().since(since) >= UNUSED_AFTER)
        .then(|| Finding::warning(format!("gateway {:?}", &*gateway.name), reason))
}

/// The notifiers that did not take their last message.
fn notifier_findings(plan: &Plan, remembered: Option<&str>) -> Vec<Finding> {
    let policy = Policy::remembered(remembered);
    let problem = |notifier: &Arc<NotifierPlan>| {
        let reason = policy.notifier(&notifier.name)?.problem.clone()?;
        Some(Finding::warning(format!("notifier {:?}", &*notifier.name), reason))
    };
    plan.notifiers.iter().filter_map(problem).collect()
}

/// Every secret that the plan names is read once; its value goes nowhere.
async fn secret_findings(plan: &Plan, directory: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let credentials = plan.credentials.iter().filter(|credential| credential.enabled);
    let of_credentials = credentials.flat_map(|credential| {
        let sources = request::sources(credential).into_iter().chain(agent::seeds::source(credential));
        sources.map(|source| (format!("credential {:?}", &*credential.name), source)).collect::<Vec<_>>()
    });
    let of_notifiers = plan.notifiers.iter().flat_map(|notifier| {
        let sources = notifier.service.sources().into_iter();
        sources.map(|source| (format!("notifier {:?}", &*notifier.name), source)).collect::<Vec<_>>()
    });
    let all: Vec<(String, &SecretSource)> = of_credentials.chain(of_notifiers).collect();
    for (about, source) in all {
        if let Err(reason) = secrets::fetch(&source.within(directory)).await {
            findings.push(Finding::error(about, reason));
        }
    }
    findings
}
