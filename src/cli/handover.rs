//! `adopt` and `release`: a person takes a channel over, or gives it back.

use std::sync::Arc;

use clap::Args;
use tokio::sync::oneshot;

use crate::agent::control::Handover;
use crate::agent::{Agent, Mode};
use crate::channel::policy::ChannelState;
use crate::cli::holder::{Turn, take_or_ask};
use crate::cli::paper::Paper;
use crate::cli::place::{Loaded, complain};
use crate::cli::run::Signals;
use crate::cli::{ConfigPlace, Exit, block_on, print, status};
use crate::config::plan::Plan;
use crate::reason::{AgentReason, Reason};
use crate::telemetry::status::Status;
use crate::time::SystemClock;
use crate::vault::{Contents, Vault};

/// What `adopt` and `release` take.
#[derive(Debug, Args)]
pub struct Options {
    /// The channel's id, after the gateway's name and a slash where there are several gateways
    #[arg(value_name = "[GATEWAY/]ID")]
    channel: String,
}

/// Does it, through the agent where one runs.
pub fn run(place: &ConfigPlace, options: &Options, give_back: bool) -> anyhow::Result<Exit> {
    let loaded = match place.load() {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let Some((gateway, channel)) = parse(&loaded.plan, &options.channel) else {
        complain(&AgentReason::NoSuchChannel { channel: options.channel.clone() }.into());
        return Ok(Exit::Usage);
    };
    let order = Handover { gateway, channel, give_back };
    let language = loaded.plan.language;
    block_on(async {
        let after = match take_or_ask(&loaded, "/handover", &order).await {
            Ok(Turn::Ours(opened)) => ours(loaded, *opened, order.clone()).await?,
            Ok(Turn::Theirs(status)) => Ok(*status),
            Err(exit) => return Ok(exit),
        };
        match after {
            Ok(after) => {
                print(&status::table(&after.credentials, language, after.time, Paper::of_stdout()))?;
                Ok(exit(&after, &order))
            }
            Err(reason) => {
                complain(&reason);
                Ok(Exit::Failed)
            }
        }
    })?
}

/// The gateway and the id that are meant; the gateway may be left out where there is only one.
fn parse(plan: &Plan, channel: &str) -> Option<(String, i64)> {
    let (gateway, id) = match channel.rsplit_once('/') {
        Some((gateway, id)) => (plan.gateway(gateway)?, id),
        None => match &plan.gateways[..] {
            [only] => (only, channel),
            _ => return None,
        },
    };
    Some((gateway.name.to_string(), id.parse().ok()?))
}

/// Does it here, where no agent runs.
async fn ours(loaded: Loaded, opened: (Vault, Contents), order: Handover) -> anyhow::Result<Result<Status, Reason>> {
    let mut agent = Agent::new(Arc::new(SystemClock), opened, loaded.plan, loaded.path, Mode::Once);
    Signals::new()?.send_to(agent.reports());
    let (answer, mut done) = oneshot::channel();
    let missing = AgentReason::NoSuchChannel { channel: order.channel.to_string() };
    agent.hand_over(order, answer);
    agent.run().await;
    agent.close();
    Ok(done.try_recv().unwrap_or_else(|_| Err(missing.into())))
}

fn exit(after: &Status, order: &Handover) -> Exit {
    let channels = after.credentials.iter().flat_map(|credential| &credential.channels);
    let mut states = channels
        .filter(|channel| channel.gateway == order.gateway && channel.id == Some(order.channel))
        .map(|channel| channel.state);
    let is_done = states.any(|state| match state {
        ChannelState::Released => order.give_back,
        ChannelState::Delivered | ChannelState::DisabledByHand => !order.give_back,
        _ => false,
    });
    if is_done { Exit::Fine } else { Exit::Failed }
}
