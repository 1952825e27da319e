//! `run`: the agent.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;

use crate::agent::{Agent, Mode, Report};
use crate::cli::place::{Loaded, render};
use crate::cli::vault::{encryption_key, refused, unexpected};
use crate::cli::{ConfigPlace, Exit, block_on};
use crate::messages;
use crate::time::SystemClock;
use crate::vault::{self, Vault};

/// Runs the agent until it is stopped.
pub fn run(place: &ConfigPlace) -> anyhow::Result<Exit> {
    let loaded = match place.load() {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    for line in render(loaded.plan.language, &loaded.path, &loaded.text, &loaded.warnings).lines() {
        tracing::warn!("{line}");
    }
    let opened = match open(&loaded) {
        Ok(opened) => opened,
        Err(exit) => return Ok(exit),
    };
    block_on(async move {
        let Loaded { path, text, plan, .. } = loaded;
        let (credentials, gateways) = (plan.credentials.len(), plan.gateways.len());
        let mut agent = Agent::new(Arc::new(SystemClock), opened, plan, path.clone(), Mode::Run);
        agent.watch_config(text)?;
        listen_to_signals(agent.reports())?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"), config = %path.display(), credentials, gateways,
            "one-api-sidecar is ready"
        );
        agent.run().await;
        agent.close();
        tracing::info!("stopped; everything is saved");
        Ok(Exit::Fine)
    })?
}

/// Opens the vault; says what is wrong with it.
pub fn open(loaded: &Loaded) -> Result<(Vault, vault::Contents), Exit> {
    let path = &loaded.plan.vault.path;
    let key = block_on(encryption_key(loaded.plan.vault.encryption_key.as_ref())).map_err(unexpected)??;
    let opened = Vault::open(path, key.as_ref(), loaded.plan.agent.max_in_flight).map_err(refused)?;
    for finding in vault::examine(path) {
        let message = messages::explain(loaded.plan.language, &finding.reason);
        tracing::warn!("{} {}", message.what, message.remedy);
    }
    Ok(opened)
}

/// SIGTERM and SIGINT stop, SIGHUP reads again; a second stop does not wait.
fn listen_to_signals(reports: UnboundedSender<Report>) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        let mut stopped = false;
        loop {
            let report = tokio::select! {
                _ = terminate.recv() => Report::Stop,
                _ = interrupt.recv() => Report::Stop,
                _ = hangup.recv() => Report::Hangup,
            };
            if matches!(report, Report::Stop) && std::mem::replace(&mut stopped, true) {
                tracing::error!(
                    "stopped again: leaving at once; a refresh token whose answer was still to come may be lost"
                );
                std::process::exit(1);
            }
            if reports.send(report).is_err() {
                return;
            }
        }
    });
    Ok(())
}
