//! `run`: the agent, or its stand-by while another one owns the vault.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;

use crate::agent::{Agent, Ending, Mode, Report};
use crate::cli::holder::{Closed, open};
use crate::cli::place::{Loaded, render};
use crate::cli::{ConfigPlace, Exit, block_on};
use crate::messages;
use crate::reason::AgentReason;
use crate::telemetry::systemd::ServiceManager;
use crate::time::{self, Clock, SystemClock};
use crate::vault::{Contents, Vault};

/// How often a stand-by tries the lock.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// Runs the agent until it is stopped.
pub fn run(place: &ConfigPlace) -> anyhow::Result<Exit> {
    let loaded = match place.load() {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    for line in render(loaded.plan.language, &loaded.path, &loaded.text, &loaded.warnings).lines() {
        tracing::warn!("{line}");
    }
    if let Some(name) = time::missing_zone() {
        let message = messages::explain(loaded.plan.language, &AgentReason::NoTimeZone { name }.into());
        tracing::warn!("{} {}", message.what, message.remedy);
    }
    block_on(async {
        let mut signals = Signals::new()?;
        let mut service = ServiceManager::from_env();
        let (loaded, opened) = match own(place, loaded, &mut signals, &mut service).await {
            Ok(owned) => owned,
            Err(exit) => return Ok(exit),
        };
        let Loaded { path, text, plan, .. } = loaded;
        let (credentials, gateways) = (plan.credentials.len(), plan.gateways.len());
        let mut agent = Agent::new(Arc::new(SystemClock), opened, plan, path.clone(), Mode::Run);
        agent.serve_control();
        agent.watch_config(text)?;
        signals.send_to(agent.reports());
        agent.serve_under(service);
        tracing::info!(
            version = %env!("CARGO_PKG_VERSION"), config = %path.display(), credentials, gateways,
            "one-api-sidecar is ready"
        );
        let ending = agent.run().await;
        agent.close();
        if ending == Ending::Abandoned {
            return Ok(Exit::Failed);
        }
        tracing::info!("stopped; everything is saved");
        Ok(Exit::Fine)
    })?
}

/// Waits until the vault is ours. The error is the exit of a stand-by that was stopped, or of one that cannot be.
async fn own(
    place: &ConfigPlace,
    mut loaded: Loaded,
    signals: &mut Signals,
    service: &mut ServiceManager,
) -> Result<(Loaded, (Vault, Contents)), Exit> {
    let words = messages::words(loaded.plan.language);
    let mut stood_by = false;
    let mut status = String::new();
    loop {
        match open(&loaded).await {
            Ok(opened) if !stood_by => return Ok((loaded, opened)),
            Ok(opened) => {
                stood_by = false;
                // It may have changed while nobody here watched it. If it is broken now, the one from before goes on,
                // as it would have in the agent that went; the watcher tells the problem.
                match place.load() {
                    Ok(fresh) if fresh.plan.vault == loaded.plan.vault => return Ok((fresh, opened)),
                    Ok(fresh) => loaded = fresh,
                    Err(_) => return Ok((loaded, opened)),
                }
                continue;
            }
            Err(Closed::Owned { holder }) if !stood_by => {
                tracing::info!("ready: standing by, {holder} owns the vault");
                stood_by = true;
                status = words.service.standing_by.replace("{}", &holder);
                service.ready(&status);
            }
            Err(Closed::Owned { .. }) => {}
            Err(Closed::Refused(exit)) => return Err(exit),
        }
        service.turn(SystemClock.uptime().awake, || status.clone());
        tokio::select! {
            _ = signals.terminate.recv() => return Err(Exit::Fine),
            _ = signals.interrupt.recv() => return Err(Exit::Fine),
            // Whoever takes over reads everything then.
            _ = signals.hangup.recv() => {
                service.reloading(SystemClock.uptime().awake);
                service.reloaded();
            }
            () = tokio::time::sleep(TRY_AGAIN) => {}
        }
    }
}

/// The signals that mean something here.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes them over from the system, which would end the process.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// SIGTERM and SIGINT stop, SIGHUP reads again. The agent answers the first two; the third does not ask it.
    pub fn send_to(mut self, reports: UnboundedSender<Report>) {
        tokio::spawn(async move {
            let mut stops = 0;
            loop {
                let report = tokio::select! {
                    _ = self.terminate.recv() => Report::Stop,
                    _ = self.interrupt.recv() => Report::Stop,
                    _ = self.hangup.recv() => Report::Hangup,
                };
                if matches!(report, Report::Stop) {
                    stops += 1;
                }
                if stops > 2 {
                    std::process::exit(1);
                }
                if reports.send(report).is_err() {
                    return;
                }
            }
        });
    }
}
