//! The main job before your eyes: the real agent between a strict token endpoint and a gateway's database.
//!
//! Owns the stage (folder, config, endpoints, gateway) and the play; the agent is a child process of this very
//! executable and knows nothing of it. Called by the command line; nothing else in the program uses it.

mod agent;
pub mod authorization_server;
mod gateway;
mod model_endpoint;
mod report;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use agent::{Agent, describe, log_tail};
use authorization_server::{Families, SharedFamilies};
pub use report::DemoReport;
use report::{Screen, Tally};

/// How long an access token lives here.
const LIFETIME: Duration = Duration::from_secs(4);

/// After so many refreshes of the first credential the config is edited.
const EDIT_AFTER: u32 = 2;

/// What may be chosen.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Refreshes of the first credential; at least one.
    pub cycles: u32,
    /// A new or empty folder whose files are left to look at.
    pub keep: Option<PathBuf>,
}

/// Why the demo did not come to a good end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Files, sockets or processes.
    #[error("the demo cannot be set up: {0}")]
    Setup(#[from] io::Error),
    /// The gateway's database.
    #[error("the demo's gateway database cannot be created: {0}")]
    Database(#[from] rusqlite::Error),
    /// `--keep` names a folder with something in it.
    #[error("{} is not empty: name a new folder", .0.display())]
    NotEmpty(PathBuf),
    /// The agent ended too early.
    #[error("the agent ended with {0} before the demo did")]
    AgentEnded(String),
    /// It took too long.
    #[error("not done after {} s", .0.as_secs())]
    TimedOut(Duration),
    /// It ran to its end and something was wrong.
    #[error("{}", .0.join("; "))]
    BrokenPromises(Vec<String>),
    /// Ctrl-C.
    #[error("stopped before the end")]
    Interrupted,
}

/// What the endpoint and the gateway see.
enum Event {
    /// The token endpoint granted an access token and is about to say so.
    Answered { client: String, access_token: String, at: Instant },
    /// A new key can be read in the gateway's database.
    KeyVisible { channel: i64, key: String, at: Instant },
    /// The gateway sent a request with a delivered key.
    Request { served: bool },
}

/// Plays the demo and prints it: live lines to standard error, the summary to standard output.
///
/// # Errors
/// When it cannot be set up, is interrupted, takes too long, or a promise is broken; the files are kept then
/// (not after an interruption) and the end of the agent's log is printed. The error itself is the caller's to print.
pub async fn run(options: DemoOptions) -> Result<DemoReport, DemoError> {
    let folder = prepare_folder(options.keep.as_deref())?;
    let screen = Screen::new();
    let result = play(&folder, options.cycles.max(1), screen).await;
    match &result {
        Ok(_) | Err(DemoError::Interrupted) if options.keep.is_none() => std::fs::remove_dir_all(&folder)?,
        Ok(_) | Err(DemoError::Interrupted) => screen.line("files", &folder.display().to_string()),
        Err(_) => {
            let log = folder.join("agent.log");
            screen.line("log", &format!("the end of {}:\n{}", log.display(), log_tail(&log, 30)));
        }
    }
    result
}

/// A folder that only this user can look into.
fn prepare_folder(keep: Option<&Path>) -> Result<PathBuf, DemoError> {
    let folder = match keep {
        Some(folder) => std::path::absolute(folder)?,
        None => std::env::temp_dir().join(format!("one-api-sidecar-demo-{:016x}", fastrand::u64(..))),
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    if std::fs::read_dir(&folder)?.next().is_some() {
        return Err(DemoError::NotEmpty(folder));
    }
    Ok(folder)
}

async fn play(folder: &Path, cycles: u32, screen: Screen) -> Result<DemoReport, DemoError> {
    // reqwest insists on a TLS provider, though nothing here speaks TLS; it may be installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (sender, mut events) = unbounded_channel();
    let families = SharedFamilies::new(Families::new("demo", LIFETIME));
    let token_endpoint = authorization_server::start(families.clone(), sender.clone()).await?;
    let model_endpoint = model_endpoint::start(families.clone()).await?;

    let database = folder.join("one-api.db");
    gateway::create(&database)?;
    for seed in ["first.seed", "second.seed"] {
        std::fs::write(folder.join(seed), families.lock().issue())?;
    }
    let config = folder.join("sidecar.toml");
    std::fs::write(&config, first_config(token_endpoint))?;
    screen.line("gateway", "channel 1 holds a dead key; channel 2 too, and is disabled because of it");

    let mut agent = Agent::start(&config, &folder.join("agent.log"))?;
    let gateway = gateway::start(database, model_endpoint, sender);
    screen.line("agent", &format!("runs on {}, with access tokens of {} s", config.display(), LIFETIME.as_secs()));

    let edit = || {
        screen.line("edit", "sidecar.toml: credential \"second\" added for channel 2");
        replace(&config, &(first_config(token_endpoint) + &second_credential(token_endpoint)))
    };
    let mut tally = Tally::new(screen);
    let limit = LIFETIME * cycles + Duration::from_secs(30);
    let played = tokio::select! {
        played = watch(&mut agent, &mut events, &mut tally, cycles, edit) => played,
        () = tokio::time::sleep(limit) => Err(DemoError::TimedOut(limit)),
        interrupted = interruption() => interrupted.map_err(DemoError::from).and(Err(DemoError::Interrupted)),
    };
    let exit = agent.stop().await?;
    drop(gateway);
    played?;

    let report = tally.report(families.lock().reuse_count(), describe(exit));
    // A reader that went away (`demo | head`) is no reason to fail.
    let _ = writeln!(io::stdout(), "\n{report}");
    match report.broken_promises() {
        broken if broken.is_empty() => Ok(report),
        broken => Err(DemoError::BrokenPromises(broken)),
    }
}

/// Follows the events, edits the config on the way, and returns when everything was seen that is to be seen.
async fn watch(
    agent: &mut Agent,
    events: &mut UnboundedReceiver<Event>,
    tally: &mut Tally,
    cycles: u32,
    edit: impl FnOnce() -> io::Result<()>,
) -> Result<(), DemoError> {
    let mut edit = Some(edit);
    let mut heartbeat = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            Some(event) = events.recv() => tally.note(event),
            _ = heartbeat.tick() => if let Some(status) = agent.exited()? {
                return Err(DemoError::AgentEnded(describe(status)));
            },
        }
        let done = tally.delivered_refreshes("first");
        if let Some(edit) = edit.take_if(|_| done >= EDIT_AFTER.min(cycles)) {
            edit()?;
        }
        if done >= cycles && tally.delivered_refreshes("second") > 0 {
            return Ok(());
        }
    }
}

/// Replaces a file as editors do: a new one beside it, renamed over it.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let beside = file.with_extension("toml.new");
    std::fs::write(&beside, text)?;
    std::fs::rename(beside, file)
}

/// Returns when the user wants to stop.
async fn interruption() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
    }
}

fn first_config(token_endpoint: SocketAddr) -> String {
    format!(
        r#"[gateway]
database  = "one-api.db"
cache_lag = "0s"             # this gateway reads the key for each request

[defaults]
refresh_before = "2s"

[[credential]]
name          = "first"
token_url     = "http://{token_endpoint}/oauth/token"
client_id     = "first"
refresh_token = {{ file = "first.seed" }}
channels      = [1]
"#
    )
}

fn second_credential(token_endpoint: SocketAddr) -> String {
    format!(
        r#"
[[credential]]
name          = "second"
token_url     = "http://{token_endpoint}/oauth/token"
encoding      = "json"
client_id     = "second"
refresh_token = {{ file = "second.seed" }}
channels      = [2]
"#
    )
}
