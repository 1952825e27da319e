//! Is each gateway's database found, recognised, writable, free of hazards and in use, and are the channels there?

use crate::agent::deliver::{UNUSED_AFTER, only_ours_since};
use crate::channel::policy::ChannelState;
use crate::channel::view::ChannelView;
use crate::cli::doctor::Surroundings;
use crate::cli::doctor::report::{Checks, Topic, Verdict};
use crate::config::plan::{ChannelPlan, ChannelSelect, GatewayPlan};
use crate::finding::{Finding, Severity};
use crate::gateway::kind::supports;
use crate::gateway::thread::GatewayHandle;
use crate::gateway::{self, GatewayError};
use crate::messages::About;
use crate::reason::{ChannelReason, GatewayReason, Reason};
use crate::telemetry::status::Status;
use crate::time::{Clock, SystemClock};
use crate::vault::Contents;

/// Looks at every gateway and at the channels that are fed in it.
pub async fn look(around: &Surroundings<'_>, contents: Option<&Contents>, now: Option<&Status>, checks: &mut Checks) {
    let mut places = Vec::new();
    for gateway in &around.plan.gateways {
        let about = format!("gateway {:?}", &*gateway.name);
        let way_in = GatewayHandle::spawn(gateway::open(gateway), || {});
        let place = way_in.place().await;
        if let Some((_, other)) = places.iter().find(|(known, _)| place.is_some() && *known == place) {
            let reason = ChannelReason::SameDatabase { other: String::clone(other) };
            checks.find(Topic::Gateways, about, Verdict::Error, &reason.into());
            continue;
        }
        places.push((place, gateway.name.to_string()));
        if let Some(finding) = contents.and_then(|contents| unused(gateway, contents)) {
            checks.finding(Topic::Gateways, finding);
        }
        let findings = way_in.examine().await;
        let is_closed = findings.iter().any(|finding| finding.severity == Severity::Error);
        findings.into_iter().for_each(|finding| checks.finding(Topic::Gateways, finding));
        if is_closed {
            continue;
        }
        let views = match way_in.list().await {
            Ok(views) => views,
            Err(GatewayError::Database(reason)) => {
                checks.find(Topic::Gateways, about, Verdict::Error, &reason.into());
                continue;
            }
            Err(GatewayError::Channel(reason)) => {
                checks.find(Topic::Gateways, about, Verdict::Error, &reason.into());
                continue;
            }
        };
        let line = around
            .words
            .gateway
            .replace("{path}", &gateway.database.to_string())
            .replace("{kind}", way_in.kind().map_or("", |kind| kind.as_str()))
            .replace("{channels}", &views.len().to_string());
        checks.good(Topic::Gateways, about, line);
        for credential in around.plan.credentials.iter().filter(|credential| credential.enabled) {
            for channel in credential.channels.iter().filter(|channel| channel.gateway == gateway.name) {
                let found = find(channel, &views);
                let judged = found.clone().and_then(|view| {
                    way_in.kind().map_or(Ok(()), |kind| supports(kind, view, channel.key_is_explicit)).map(|()| view)
                });
                let address = address(around, channel);
                let about = format!("credential {:?}, channel {address}", &*credential.name);
                let id = found.as_ref().map_or(address, |view| id_of(around, channel, view));
                let whom = About { credential: &credential.name, channel: &id };
                match judged {
                    Ok(view) => match standing(now, gateway, view) {
                        Some(reason) => {
                            checks.find_of(Topic::Gateways, about, Verdict::Warning, &reason.into(), whom);
                        }
                        None => {
                            let line = around.words.channel.replace("{name}", &view.name);
                            checks.good(Topic::Gateways, about, line.replace("{type}", &view.kind.to_string()));
                        }
                    },
                    Err(reason) => checks.find_of(Topic::Gateways, about, Verdict::Error, &reason.into(), whom),
                }
            }
        }
    }
}

/// As `adopt` takes it.
fn id_of(around: &Surroundings<'_>, channel: &ChannelPlan, view: &ChannelView) -> String {
    match around.plan.gateways.len() {
        1 => view.id.to_string(),
        _ => format!("{}/{}", channel.gateway, view.id),
    }
}

/// As commands take it: the gateway is named where there are several.
fn address(around: &Surroundings<'_>, channel: &ChannelPlan) -> String {
    match around.plan.gateways.len() {
        1 => channel.select.to_string(),
        _ => format!("{}/{}", channel.gateway, channel.select),
    }
}

fn find<'v>(channel: &ChannelPlan, views: &'v [ChannelView]) -> Result<&'v ChannelView, ChannelReason> {
    match &channel.select {
        ChannelSelect::Id(id) => views.iter().find(|view| view.id == *id).ok_or(ChannelReason::Missing),
        ChannelSelect::Name(name) => {
            let named: Vec<&ChannelView> = views.iter().filter(|view| view.name == *name).collect();
            match named.as_slice() {
                [only] => Ok(only),
                _ => {
                    let ids = named.iter().map(|view| view.id).collect();
                    Err(ChannelReason::NameMatches { name: name.clone(), ids })
                }
            }
        }
    }
}

/// What is known of the channel beyond what can be seen in its row.
fn standing(now: Option<&Status>, gateway: &GatewayPlan, view: &ChannelView) -> Option<ChannelReason> {
    let channels = now?.credentials.iter().flat_map(|credential| &credential.channels);
    let channel = channels.into_iter().find(|known| known.gateway == *gateway.name && known.id == Some(view.id))?;
    match channel.state {
        ChannelState::Foreign => Some(ChannelReason::Foreign),
        ChannelState::Flapping => Some(ChannelReason::Flapping),
        ChannelState::Released => Some(ChannelReason::Released),
        ChannelState::DisabledByHand => Some(ChannelReason::DisabledByHand),
        // It is there, so it is another one than it was.
        ChannelState::Missing => Some(ChannelReason::Replaced),
        _ => None,
    }
}

/// A database that for a day nobody but us has written to.
fn unused(gateway: &GatewayPlan, contents: &Contents) -> Option<Finding> {
    let here = contents.adoptions.iter().filter(|adoption| *adoption.gateway == *gateway.name);
    let since = only_ours_since(gateway, here)?;
    let reason = Reason::from(GatewayReason::Unused { path: gateway.database.to_string() });
    (SystemClock.now().since(since) >= UNUSED_AFTER)
        .then(|| Finding::warning(format!("gateway {:?}", &*gateway.name), reason))
}
