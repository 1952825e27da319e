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
use crate::config::credentials::Credentials;
use crate::config::plan::{Plan, VaultPlan};
use crate::memory;
use crate::messages;
use crate::reason::{AgentReason, Reason, VaultReason};
use crate::telemetry::systemd::ServiceManager;
use crate::time::{self, Clock, SystemClock};
use crate::vault::{Contents, Site, Vault};

/// How often a stand-by tries the lock.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// How often it tries a vault that it cannot reach, or that was taken from it.
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
        let (mut loaded, mut held, mut was_owner) = (loaded, Vec::new(), false);
        loop {
            let (mut owned, opened) = match own(place, loaded, &mut signals, &mut service, &mut held, was_owner).await {
                Ok(owned) => owned,
                Err(exit) => return Ok(exit),
            };
            // Nobody reads it twice, and that of thousands of credentials is long.
            let text = std::mem::take(&mut owned.text);
            (loaded, was_owner) = (owned.clone(), true);
            // The agent's, which it hands over at its end, may be another by then.
            loaded.plan.credentials = Credentials::default();
            let Loaded { path, plan, .. } = owned;
            let (credentials, gateways) = (plan.credentials.len(), plan.gateways.len());
            let mut agent = Agent::new(Arc::new(SystemClock), opened, plan, path.clone(), Mode::Run);
            agent.serve_control();
            agent.watch_config(text)?;
            // Whoever stands by afterwards hears what came meanwhile.
            let for_agent = std::mem::replace(&mut signals, Signals::new()?);
            for_agent.send_to(agent.reports());
            agent.serve_under(service);
            // Reading took more than what was read: not beside what refreshing thousands at once takes.
            memory::give_back();
            tracing::info!(
                version = %env!("CARGO_PKG_VERSION"), config = %path.display(), credentials, gateways,
                "one-api-sidecar is ready"
            );
            let ending = agent.run().await;
            service = agent.release_service();
            // Should the file be broken by now, the last good one goes on. Its vault is the one that was open.
            loaded.plan = Plan { vault: loaded.plan.vault, ..agent.plan().clone() };
            held.extend(agent.close());
            match ending {
                // Whatever took it does so again, if it is a bug of ours.
                Ending::Displaced => tokio::time::sleep(TRY_SERVER_AGAIN).await,
                Ending::Abandoned => {
                    stopped(&mut held, &loaded).await;
                    return Ok(Exit::Failed);
                }
                Ending::Saved if held.is_empty() => {
                    tracing::info!("stopped; everything is saved");
                    return Ok(Exit::Fine);
                }
                // It was stopped in the very moment in which the vault was lost.
                Ending::Saved => return Ok(stopped(&mut held, &loaded).await),
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
    was_owner: bool,
) -> Result<(Loaded, (Vault, Contents)), Exit> {
    let (mut stood_by, mut is_ready) = (was_owner, false);
    // The way to the vault, and what was said last of why it is closed.
    let (mut site, mut said) = (None, None);
    loop {
        // Whoever is stopped while a server lets it in gives back what it may have got.
        let opened = tokio::select! {
            () = signals.stop() => return Err(stopped(held, &loaded).await),
            opened = go(&loaded, &mut site) => opened,
        };
        let words = &messages::words(loaded.plan.language).service;
        let (wait, status) = match opened {
            Ok((vault, mut contents)) => {
                match stood_by.then(|| place.load().ok()).flatten() {
                    // It may have changed while nobody here watched it. If it is broken now, the one from before goes
                    // on, as it would have in the agent that went; the watcher tells the problem.
                    Some(fresh) if fresh.plan.vault == loaded.plan.vault => loaded = fresh,
                    Some(fresh) if held.is_empty() => {
                        (loaded, site, said, stood_by) = (fresh, None, None, false);
                        vault.close();
                        continue;
                    }
                    // What is held belongs into this vault. The watcher tells that another one wants a restart.
                    Some(_) | None => {}
                }
                let Err(error) = held::redeem(held, &vault, &mut contents).await else {
                    return Ok((loaded, (vault, contents)));
                };
                vault.close();
                let message = messages::explain(loaded.plan.language, &error.0.into());
                (TRY_AGAIN, words.standing_by_because.replace("{}", &message.what))
            }
            Err(closed) if !is_waited_for(&closed, stood_by, held) => return Err(closed.exit()),
            Err(Closed::Owned { holder }) => {
                if said.replace(holder.clone()).is_none() {
                    tracing::info!("ready: standing by, {holder} owns the vault");
                }
                stood_by = true;
                (TRY_AGAIN, words.standing_by.replace("{}", &holder))
            }
            Err(Closed::Away(reason)) => {
                stood_by = true;
                (TRY_SERVER_AGAIN, stand_by(&loaded, &reason.into(), &mut said))
            }
            Err(Closed::Refused(reason)) => (TRY_SERVER_AGAIN, stand_by(&loaded, &reason, &mut said)),
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

/// Goes to the vault. The way there is kept: a stand-by has its connection in it.
async fn go(loaded: &Loaded, site: &mut Option<Site>) -> Result<(Vault, Contents), Closed> {
    let site = match site {
        Some(site) => site,
        None => {
            let found = Site::of(&loaded.plan.vault.place).await;
            site.insert(found.map_err(|reason| Closed::Refused(Box::new(reason)))?)
        }
    };
    holder::open(loaded, site).await
}

/// Whether somebody waits for a vault that is closed. What only a person can mend ends a process that has nothing to
/// lose, so that the person hears of it. A server that somebody stands by for may refuse for a moment, as in a failover;
/// and answers that are held are not thrown away for anything.
fn is_waited_for(closed: &Closed, stood_by: bool, held: &[Held]) -> bool {
    let passes = |reason: &Reason| {
        matches!(
            reason,
            Reason::Secret(_) | Reason::Vault(VaultReason::ServerRefused { .. } | VaultReason::Full { .. })
        )
    };
    match closed {
        Closed::Owned { .. } | Closed::Away(_) => true,
        Closed::Refused(reason) => !held.is_empty() || stood_by && passes(reason),
    }
}

/// Says why the vault is not to be had, if that is news; what the service manager shows.
fn stand_by(loaded: &Loaded, reason: &Reason, said: &mut Option<String>) -> String {
    let message = messages::explain(loaded.plan.language, reason);
    if said.as_ref() != Some(&message.what) {
        tracing::warn!("standing by: {} {}", message.what, message.remedy);
        *said = Some(message.what.clone());
    }
    messages::words(loaded.plan.language).service.standing_by_because.replace("{}", &message.what)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::held::sample;
    use crate::reason::ConfigReason;

    #[test]
    fn what_is_held_is_not_thrown_away_and_what_passes_is_waited_for() {
        let server = || "postgres://db:5432/vault".to_owned();
        let refused = |reason: Reason| Closed::Refused(Box::new(reason));
        let passing = || refused(VaultReason::ServerRefused { server: server(), error: "no".into() }.into());
        let lasting = || refused(VaultReason::WrongKey { configured: true }.into());
        let held = [sample("sent", false)];
        for (closed, first, standby, holding) in [
            (Closed::Owned { holder: "process 7".into() }, true, true, true),
            (Closed::Away(VaultReason::ServerAway { server: server(), error: "gone".into() }), true, true, true),
            (passing(), false, true, true),
            (lasting(), false, false, true),
            (refused(ConfigReason::BadKey.into()), false, false, true),
        ] {
            assert_eq!(is_waited_for(&closed, false, &[]), first);
            assert_eq!(is_waited_for(&closed, true, &[]), standby);
            assert_eq!(is_waited_for(&closed, true, &held), holding);
        }
    }
}
