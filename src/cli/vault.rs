//! `vault keygen`, `rekey`, `check` and `reset`, and the key that the config names.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Subcommand};
use serde::Serialize;

use crate::cli::place::{Loaded, complain};
use crate::cli::progress::tell;
use crate::cli::{Arguments, ConfigPlace, Exit, block_on, print};
use crate::config::plan::Plan;
use crate::messages;
use crate::reason::{ConfigReason, Reason, VaultReason};
use crate::secret::SecretSource;
use crate::secrets;
use crate::telemetry::status::orphans;
use crate::time::{Clock, SystemClock};
use crate::vault::seal::EncryptionKey;
use crate::vault::{self, Checked, Vault, VaultError, aside};

/// What `vault` takes.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print a fresh encryption key
    Keygen,
    /// Seal the vault with another key; the config's is the old one
    Rekey {
        /// Where the new key is: env:NAME, file:PATH or keyring:ENTRY
        #[arg(long, value_name = "SOURCE")]
        new_key: String,
    },
    /// Is the vault sound, what does it hold, and whose records are orphaned? Changes nothing
    Check {
        /// Stable JSON
        #[arg(long)]
        json: bool,
    },
    /// Set the vault aside and begin anew: every credential then needs a fresh refresh token
    Reset {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Where `--new-key` says the key is. What stands there otherwise may be the key itself: nobody repeats it.
fn source(text: &str) -> Option<SecretSource> {
    match text.split_once(':')? {
        (_, "") => None,
        ("env", name) => Some(SecretSource::Env(name.into())),
        ("file", path) => Some(SecretSource::File(path.into())),
        ("keyring", entry) => {
            let service = SecretSource::DEFAULT_KEYRING_SERVICE.into();
            Some(SecretSource::Keyring { service, entry: entry.into() })
        }
        _ => None,
    }
}

/// Does what was asked.
pub fn run(place: &ConfigPlace, options: &Options) -> anyhow::Result<Exit> {
    if let Action::Keygen = options.action {
        let key = EncryptionKey::generate().context("the system gives no randomness")?;
        print(&format!("{}\n", key.expose()))?;
        return Ok(Exit::Fine);
    }
    let loaded = match place.load() {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let done = block_on(act(&loaded, &options.action))?;
    Ok(done.err().unwrap_or(Exit::Fine))
}

async fn act(loaded: &Loaded, action: &Action) -> Result<(), Exit> {
    let configured = loaded.plan.vault.encryption_key.as_ref();
    match action {
        Action::Keygen => Ok(()),
        Action::Rekey { new_key } => rekey(loaded, encryption_key(configured).await?.as_ref(), new_key).await,
        Action::Check { json } => check(loaded, encryption_key(configured).await?.as_ref(), *json),
        Action::Reset { yes } => reset(loaded, *yes),
    }
}

/// The encryption key that the config names; what is wrong with it is said to standard error.
///
/// # Errors
/// [`Exit::BadConfig`] when it cannot be read, or is no key.
pub async fn encryption_key(source: Option<&SecretSource>) -> Result<Option<EncryptionKey>, Exit> {
    let Some(source) = source else { return Ok(None) };
    match read_key(source).await {
        Ok(key) => Ok(Some(key)),
        Err(reason) => {
            complain(&reason);
            Err(Exit::BadConfig)
        }
    }
}

/// Reads an encryption key.
///
/// # Errors
/// When it cannot be read, or is no key.
pub async fn read_key(source: &SecretSource) -> Result<EncryptionKey, Reason> {
    let text = secrets::fetch(source).await?;
    Ok(EncryptionKey::parse(&text).ok_or(ConfigReason::BadKey)?)
}

/// Says what is wrong with a vault, and how that ends.
pub fn refused(error: VaultError) -> Exit {
    let exit = match error.0 {
        VaultReason::Owned { .. } | VaultReason::Unconfirmed { .. } => Exit::Failed,
        _ => Exit::BadConfig,
    };
    complain(&error.0.into());
    exit
}

async fn rekey(loaded: &Loaded, old: Option<&EncryptionKey>, new_key: &str) -> Result<(), Exit> {
    let Some(source) = source(new_key) else {
        let message = "--new-key takes env:NAME, file:PATH or keyring:ENTRY";
        Arguments::command().error(ErrorKind::ValueValidation, message).exit();
    };
    let Some(new) = encryption_key(Some(&source)).await? else { return Ok(()) };
    Vault::rekey(&loaded.plan.vault.path, old, &new).map_err(refused)?;
    let words = &messages::words(loaded.plan.language).vault;
    say(&format!("{}\n", words.rekeyed.replace("{}", &source.to_string())))
}

fn reset(loaded: &Loaded, yes: bool) -> Result<(), Exit> {
    let path = &loaded.plan.vault.path;
    let words = &messages::words(loaded.plan.language).vault;
    if !yes {
        let unconfirmed = VaultReason::Unconfirmed { path: path.display().to_string() };
        if !std::io::stdin().is_terminal() {
            return Err(refused(VaultError(unconfirmed)));
        }
        let message = messages::explain(loaded.plan.language, &unconfirmed.into());
        tell(&format!("{}\n{}", message.what, words.type_yes));
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        if read.is_err() || answer.trim() != "yes" {
            return Err(Exit::Failed);
        }
    }
    let place = aside::set_aside(path, SystemClock.now()).map_err(refused)?;
    say(&match place {
        Some(place) => format!("{}\n", words.set_aside.replace("{}", &place.display().to_string())),
        None => format!("{}\n", words.forgotten),
    })
}

/// What `vault check --json` prints.
#[derive(Debug, Serialize)]
struct Checkup {
    path: PathBuf,
    sound: bool,
    sealed: bool,
    beside: Option<String>,
    behind: bool,
    records: usize,
    adoptions: usize,
    fingerprints: i64,
    events: i64,
    orphaned: Vec<String>,
    warnings: Vec<String>,
}

fn check(loaded: &Loaded, key: Option<&EncryptionKey>, json: bool) -> Result<(), Exit> {
    let path = &loaded.plan.vault.path;
    let Checked { contents, sealed, fingerprints, events, beside } = Vault::check(path, key).map_err(refused)?;
    let warnings = vault::examine(path).into_iter().map(|finding| {
        let message = messages::explain(loaded.plan.language, &finding.reason);
        format!("{} {}", message.what, message.remedy)
    });
    let report = Checkup {
        path: path.clone(),
        sound: true,
        sealed,
        beside,
        behind: contents.behind,
        records: contents.records.len(),
        adoptions: contents.adoptions.len(),
        fingerprints,
        events,
        orphaned: orphans(&loaded.plan, contents.records.iter()),
        warnings: warnings.collect(),
    };
    if !json {
        return say(&text_of(&report, &loaded.plan));
    }
    let text = serde_json::to_string_pretty(&report).map_err(|_| Exit::Failed)?;
    say(&format!("{text}\n"))
}

fn text_of(report: &Checkup, plan: &Plan) -> String {
    let all = messages::words(plan.language);
    let words = &all.vault;
    let seal = if report.sealed { words.sealed } else { words.plain };
    let holds = words
        .holds
        .replace("{records}", &report.records.to_string())
        .replace("{channels}", &report.adoptions.to_string())
        .replace("{fingerprints}", &report.fingerprints.to_string())
        .replace("{events}", &report.events.to_string());
    let mut out = format!("{}: {}\n{seal}\n{holds}\n", report.path.display(), words.sound);
    if let Some(holder) = &report.beside {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "{}", words.beside.replace("{}", holder));
    }
    if report.behind {
        let _ = writeln!(out, "{}", words.behind);
    }
    for name in &report.orphaned {
        let _ = writeln!(out, "{}", words.orphaned.replace("{}", name));
    }
    for warning in &report.warnings {
        let _ = writeln!(out, "{}: {warning}", all.warning);
    }
    out
}

fn say(text: &str) -> Result<(), Exit> {
    print(text).map_err(unexpected)
}

/// What nobody expected, said to standard error.
#[expect(clippy::needless_pass_by_value, reason = "it maps an error")]
pub fn unexpected(error: anyhow::Error) -> Exit {
    tell(&format!("error: {error:#}\n"));
    Exit::Failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_named_as_they_are_shown() {
        for text in ["env:KEY", "file:/run/secrets/key", "keyring:vault"] {
            assert_eq!(source(text).unwrap().to_string(), text);
        }
        for text in ["sentinel", "sentinel:x", "env:", "", ":"] {
            assert!(source(text).is_none(), "{text}");
        }
    }
}
