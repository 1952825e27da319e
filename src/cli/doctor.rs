//! `doctor`: would it work here? Every part is looked at, what is well is named, what is not comes with a remedy.
//! Changes nothing, sends no secret and no message; works beside a running agent.

mod endpoints;
mod gateways;
mod machine;
mod notifiers;
mod report;
mod secrets;
mod vaults;

use std::path::PathBuf;

use clap::Args;

use crate::cli::place::{self, Surveyed};
use crate::cli::progress::Progress;
use crate::cli::{ConfigPlace, Exit, block_on, holder, print, status};
use crate::config::plan::Plan;
use crate::config::report::reports;
use crate::messages::{self, DoctorWords};
use crate::reason::Reason;
use crate::telemetry::status::{CredentialState, Status};
use crate::vault::Site;
use report::{Check, Checks, Topic, Verdict};

/// What `doctor` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Stable JSON
    #[arg(long)]
    json: bool,
}

/// What every part needs to know.
struct Surroundings<'a> {
    plan: &'a Plan,
    site: Site,
    /// The config file, absolute.
    config: PathBuf,
    /// How everything stands, as the running agent says.
    living: Option<Status>,
    /// Who owns the vault, as its lock file says.
    holder: Option<String>,
    words: &'static DoctorWords,
}

/// Examines everything.
pub fn run(place: &ConfigPlace, options: &Options) -> anyhow::Result<Exit> {
    let (path, text) = match place.read() {
        Ok(read) => read,
        Err(reason) => {
            let mut checks = Checks::new(place::language());
            checks.find(Topic::Config, "", Verdict::Error, &reason.into());
            return conclude(&checks, options, Exit::BadConfig);
        }
    };
    let (plan, problems) = match place::understand(&path, &text) {
        Ok((plan, warnings)) => (Some(plan), warnings),
        Err(problems) => (None, problems),
    };
    let language = place::language();
    let mut checks = Checks::new(language);
    let words = |reason: &crate::reason::ConfigReason| {
        let message = messages::explain(language, &Reason::Config(reason.clone()));
        (message.what, message.remedy)
    };
    for told in reports(&path.display().to_string(), &text, &problems, words) {
        checks.config_problem(told);
    }
    let Some(plan) = plan else { return conclude(&checks, options, Exit::BadConfig) };
    checks.config_well(&path, &plan);
    let exit = block_on(examine(&plan, path, &mut checks))??;
    conclude(&checks, options, exit)
}

/// Prints what was found. `worst` is the exit where something is wrong.
fn conclude(checks: &Checks, options: &Options, worst: Exit) -> anyhow::Result<Exit> {
    let text = if options.json { checks.json()? } else { checks.text() };
    print(&text)?;
    Ok(if checks.works() { Exit::Fine } else { worst })
}

/// Looks at everything, and says what exit an error means.
async fn examine(plan: &Plan, path: PathBuf, checks: &mut Checks) -> anyhow::Result<Exit> {
    let mut progress = Progress::begin();
    let site = match Site::of(&plan.vault.place).await {
        Ok(site) => site,
        Err(reason) => {
            checks.find(Topic::Vault, "", Verdict::Error, &reason);
            return Ok(Exit::BadConfig);
        }
    };
    let living = holder::status(&site.local(), holder::PATIENCE).await;
    let holder = site.holder().await;
    let config = std::path::absolute(path)?;
    let around = Surroundings { plan, site, config, living, holder, words: &messages::words(plan.language).doctor };

    progress.show(around.words.topic(Topic::Vault.index()));
    let (contents, untouchable) = vaults::look(&around, checks).await;
    progress.show(around.words.topic(Topic::Secrets.index()));
    let values = secrets::look(&around, contents.as_ref(), checks).await;
    progress.show(around.words.topic(Topic::Gateways.index()));
    let now = status_of(&around).await;
    gateways::look(&around, contents.as_ref(), now.as_ref(), checks).await;
    progress.show(around.words.topic(Topic::Endpoints.index()));
    let heard = endpoints::look(&around, &values, checks).await;
    let is_halted = halted(&around, now.as_ref(), checks);
    machine::look(&around, &heard, &values, checks);
    progress.show(around.words.topic(Topic::Notifiers.index()));
    notifiers::look(&around, contents.as_ref(), &values, checks).await;
    Ok(match (untouchable, is_halted) {
        (true, _) => Exit::BadConfig,
        (_, true) => Exit::HumanNeeded,
        _ => Exit::Failed,
    })
}

/// How everything stands: as the agent says, else as the vault and the gateways do.
async fn status_of(around: &Surroundings<'_>) -> Option<Status> {
    if let Some(living) = &around.living {
        return Some(living.clone());
    }
    let surveyed = Surveyed {
        path: around.config.clone(),
        plan: Some(around.plan.clone()),
        problem: None,
        vault: around.plan.vault.place.clone(),
        encryption_key: around.plan.vault.encryption_key.clone(),
    };
    // What keeps the vault from being read was told already.
    status::at_rest(&surveyed).await.ok()
}

/// The credentials that only a human can help: whatever else is well, these do not work.
fn halted(around: &Surroundings<'_>, now: Option<&Status>, checks: &mut Checks) -> bool {
    let all = now.into_iter().flat_map(|status| &status.credentials);
    let halted: Vec<_> =
        all.filter(|one| one.state == CredentialState::Halted && around.plan.credential(&one.name).is_some()).collect();
    for credential in &halted {
        let message = credential.last_error.clone().unwrap_or_default();
        checks.push(Check {
            topic: Topic::Endpoints,
            about: format!("credential {:?}", credential.name),
            verdict: Verdict::Error,
            reason: Some("halted".into()),
            message,
            remedy: None,
        });
    }
    !halted.is_empty()
}
