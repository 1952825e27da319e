//! The command line: one file a command.
//!
//! Results go to standard output, logs and progress to standard error. Every command ends with one of [`Exit`].

mod channels;
mod check;
mod demo;
mod doctor;
mod handover;
mod health;
pub mod help;
mod holder;
mod import;
mod login;
mod notify;
mod once;
mod paper;
mod place;
pub mod progress;
mod retry;
mod run;
pub mod secret;
mod status;
mod taker;
mod vault;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, FromArgMatches, Parser, Subcommand};

pub use place::default_language;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// Something unexpected, or some credential failed.
    Failed = 1,
    /// The command line names something that is not there.
    Usage = 2,
    /// The config is bad, or the vault must not be touched.
    BadConfig = 3,
    /// A human must re-authorize or decide.
    HumanNeeded = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Keeps the OAuth-backed channels of a One-API gateway alive.
#[derive(Debug, Parser)]
#[command(name = "one-api-sidecar", version, about, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: ConfigPlace,
}

/// Where the config file is.
#[derive(Debug, Clone, Args)]
pub struct ConfigPlace {
    /// The config file [default: ./sidecar.toml, else /etc/one-api-sidecar/sidecar.toml]
    #[arg(short, long, global = true, value_name = "FILE", env = "ONE_API_SIDECAR_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent: refresh every credential in time, deliver the keys, tell people
    Run,
    /// One pass, for cron: refresh what is due, deliver the keys, exit
    Once(once::Options),
    /// Is the config right? Every problem at once; touches no network, changes nothing
    Check(check::Options),
    /// Would it work here? What every part finds when it examines itself, with a remedy each
    Doctor(doctor::Options),
    /// How the credentials and channels stand
    Status(status::Options),
    /// Wake a credential that is halted, or do not wait for one that is failing
    Retry(retry::Options),
    /// Take over a channel whose key somebody else wrote: the current key is delivered at once
    Adopt(handover::Options),
    /// Give a channel back, with the key it had before
    Release(handover::Options),
    /// Does the agent live? For HEALTHCHECK
    Health(health::Options),
    /// The gateway's channels, and who feeds them
    Channels(channels::Options),
    /// The first refresh token of a credential, by a code on another device or by a browser
    Login(login::Options),
    /// Refresh tokens out of files that other tools keep
    Import(import::Options),
    /// The notifiers
    Notify(notify::Options),
    /// Secrets in the keyring
    Secret(secret::Options),
    /// The vault: its encryption key, whether it is sound, beginning anew
    Vault(vault::Options),
    /// The main job on an embedded token endpoint and gateway database; needs no files
    Demo(demo::Options),
    /// The JSON schema of the config file, for editors
    Schema,
    /// Completions for a shell
    Completions(help::CompletionsOptions),
    /// The manual page
    Man(help::ManOptions),
}

impl Arguments {
    /// What the command line says; ends the process where it asks for help or makes no sense.
    pub fn of_command_line() -> Self {
        let matches = help::command().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Whether the command is the agent itself, whose log is on by default.
    pub fn is_agent(&self) -> bool {
        matches!(self.command, Command::Run)
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// What nobody expected; what can be expected has its own [`Exit`].
    pub fn run(self) -> anyhow::Result<Exit> {
        let place = self.place;
        match self.command {
            Command::Run => run::run(&place),
            Command::Once(options) => once::run(&place, options),
            Command::Check(options) => check::run(&place, &options),
            Command::Doctor(options) => doctor::run(&place, &options),
            Command::Status(options) => status::run(&place, &options),
            Command::Retry(options) => retry::run(&place, options),
            Command::Adopt(options) => handover::run(&place, &options, false),
            Command::Release(options) => handover::run(&place, &options, true),
            Command::Health(options) => health::run(&place, &options),
            Command::Channels(options) => channels::run(&place, &options),
            Command::Login(options) => login::run(&place, &options),
            Command::Import(options) => import::run(&place, &options),
            Command::Notify(options) => notify::run(&place, &options),
            Command::Secret(options) => secret::run(&options),
            Command::Vault(options) => vault::run(&place, &options),
            Command::Demo(options) => demo::run(&options),
            Command::Schema => {
                print(crate::config::schema::TEXT)?;
                Ok(Exit::Fine)
            }
            Command::Completions(options) => help::completions(&options),
            Command::Man(options) => help::man(&options),
        }
    }
}

/// Writes a result to standard output. A reader that has gone away (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Runs a future on a runtime of this one thread.
fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}
