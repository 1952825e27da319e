//! `run`: the agent, or its stand-by while another one owns the vault.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;

use crate::agent::held::{self, Held};
use crate::agent::{Agent, Ending, Mode, Report};
use crate::cli::holder::{self, Closed};
use crate::cli::place::{Loaded, render};
use crate::cli::vault::encryption_key;
use crate::cli::{ConfigPlace, Exit, block_on};
use crate::config::plan::VaultPlan;
use crate::messages;
use crate::reason::AgentReason;
use crate::telemetry::systemd::ServiceManager;
use crate::time::{self, Clock, SystemClock};
use crate::vault::{Contents, Vault};

/// How often a stand-by tries the lock.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// How often it tries a server that it cannot reach.
const TRY_SERVER_AGAIN: Duration = Duration::from_secs(1);

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
        let (mut loaded, mut held) = (loaded, Vec::new());
        loop {
            let (owned, opened) = match own(place, loaded, &mut signals, &mut service, &mut held).await {
                Ok(owned) => owned,
                Err(exit) => return Ok(exit),
            };
            loaded = owned.clone();
            let Loaded { path, text, plan, .. } = owned;
            let (credentials, gateways) = (plan.credentials.len(), plan.gateways.len());
            let mut agent = Agent::new(Arc::new(SystemClock), opened, plan, path.clone(), Mode::Run);
            agent.serve_control();
            agent.watch_config(text)?;
            // Whoever stands by afterwards hears what came meanwhile.
            let for_agent = std::mem::replace(&mut signals, Signals::new()?);
            for_agent.send_to(agent.reports());
            agent.serve_under(service);
            tracing::info!(
                version = %env!("CARGO_PKG_VERSION"), config = %path.display(), credentials, gateways,
                "one-api-sidecar is ready"
            );
            let ending = agent.run().await;
            service = agent.release_service();
            held.extend(agent.close());
            match ending {
                Ending::Displaced => {}
                Ending::Abandoned => return Ok(Exit::Failed),
                Ending::Saved => {
                    tracing::info!("stopped; everything is saved");
                    return Ok(Exit::Fine);
                }
            }
        }
    })?
}

/// Waits until the vault is ours, and what was held while it was not is in it. The error is the exit of a stand-by that
/// was stopped, or of one that cannot be.
async fn own(
    place: &ConfigPlace,
    mut loaded: Loaded,
    signals: &mut Signals,
    service: &mut ServiceManager,
    held: &mut Vec<Held>,
) -> Result<(Loaded, (Vault, Contents)), Exit> {
    let (mut stood_by, mut is_ready) = (false, false);
    let mut site = holder::site(&loaded.plan.vault.place).await?;
    loop {
        // Whoever is stopped while a server lets it in gives back what it may have got.
        let opened = tokio::select! {
            () = signals.stop() => return Err(stopped(held, &loaded).await),
            opened = holder::open(&loaded, &site) => opened,
        };
        let words = &messages::words(loaded.plan.language).service;
        let (wait, status) = match opened {
            Ok((vault, mut contents)) => {
                match stood_by.then(|| place.load().ok()).flatten() {
                    // It may have changed while nobody here watched it. If it is broken now, the one from before goes
                    // on, as it would have in the agent that went; the watcher tells the problem.
                    Some(fresh) if fresh.plan.vault == loaded.plan.vault => loaded = fresh,
                    Some(fresh) => {
                        site = holder::site(&fresh.plan.vault.place).await?;
                        (loaded, stood_by) = (fresh, false);
                        vault.close();
                        continue;
                    }
                    None => {}
                }
                let Err(error) = held::redeem(held, &vault, &mut contents).await else {
                    return Ok((loaded, (vault, contents)));
                };
                vault.close();
                let message = messages::explain(loaded.plan.language, &error.0.into());
                (TRY_AGAIN, words.standing_by_because.replace("{}", &message.what))
            }
            Err(Closed::Owned { holder }) => {
                if !stood_by {
                    tracing::info!("ready: standing by, {holder} owns the vault");
                }
                stood_by = true;
                (TRY_AGAIN, words.standing_by.replace("{}", &holder))
            }
            Err(Closed::Away(reason)) => {
                let message = messages::explain(loaded.plan.language, &reason.into());
                if !stood_by {
                    tracing::warn!("standing by: {} {}", message.what, message.remedy);
                }
                stood_by = true;
                (TRY_SERVER_AGAIN, words.standing_by_because.replace("{}", &message.what))
            }
            Err(Closed::Refused(exit)) => return Err(exit),
        };
        if !is_ready {
            service.ready(&status);
            is_ready = true;
        }
        service.turn(SystemClock.uptime().awake, || status);
        tokio::select! {
            _ = signals.terminate.recv() => return Err(stopped(held, &loaded).await),
            _ = signals.interrupt.recv() => return Err(stopped(held, &loaded).await),
            // Whoever takes over reads everything then.
            _ = signals.hangup.recv() => {
                service.reloading(SystemClock.uptime().awake);
                service.reloaded();
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// How a process ends that is not the owner. What it held is lost with it; if the vault still waits for that, it is
/// said.
pub async fn stopped(held: &mut Vec<Held>, loaded: &Loaded) -> Exit {
    if held.is_empty() {
        return Exit::Fine;
    }
    let VaultPlan { place, encryption_key: source } = &loaded.plan.vault;
    if let (Ok(site), Ok(key)) = (holder::site(place).await, encryption_key(source.as_ref()).await)
        && let Ok((_, contents)) = site.peek(key.as_ref()).await
    {
        held.retain(|answer| answer.is_awaited(&contents));
    }
    if held.is_empty() {
        return Exit::Fine;
    }
    let credentials = held.iter().map(|answer| answer.plan.name.to_string()).collect();
    let message = messages::explain(loaded.plan.language, &AgentReason::HeldLost { credentials }.into());
    tracing::error!("{} {}", message.what, message.remedy);
    Exit::Failed
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

    /// Waits until somebody asks to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
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
