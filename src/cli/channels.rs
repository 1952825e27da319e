//! `channels`: what channels a gateway has, and who feeds them.

use std::fmt::Write;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use crate::channel::view::ChannelView;
use crate::cli::place::complain;
use crate::cli::{ConfigPlace, Exit, print};
use crate::config::plan::{ChannelSelect, GatewayPlan, Plan};
use crate::gateway::{self, GatewayError};
use crate::reason::Reason;

/// What `channels` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Stable JSON
    #[arg(long)]
    json: bool,
}

/// A channel as it is listed.
#[derive(Debug, Serialize)]
struct Listed {
    gateway: String,
    id: i64,
    name: String,
    r#type: i64,
    status: i64,
    credential: Option<String>,
}

/// Lists the channels of every gateway.
pub fn run(place: &ConfigPlace, options: &Options) -> anyhow::Result<Exit> {
    let loaded = match place.load() {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let mut listed = Vec::new();
    let mut exit = Exit::Fine;
    for gateway in &loaded.plan.gateways {
        match gateway::open(gateway).list() {
            Ok(views) => listed.extend(views.iter().map(|view| one(&loaded.plan, gateway, view))),
            Err(GatewayError::Database(reason)) => {
                complain(&Reason::from(reason));
                exit = Exit::Failed;
            }
            Err(GatewayError::Channel(reason)) => {
                complain(&Reason::from(reason));
                exit = Exit::Failed;
            }
        }
    }
    if options.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&listed)?))?;
    } else {
        let several = loaded.plan.gateways.len() > 1;
        let mut out = String::new();
        for Listed { gateway, id, name, r#type, status, credential } in &listed {
            let gateway = if several { format!("{gateway}/") } else { String::new() };
            let fed = credential.as_ref().map(|credential| format!("  ← {credential}")).unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{gateway}{id:<4} type {type:<3} status {status}  {name}{fed}");
        }
        print(&out)?;
    }
    Ok(exit)
}

fn one(plan: &Plan, gateway: &GatewayPlan, view: &ChannelView) -> Listed {
    let feeds = |credential: &&Arc<crate::config::plan::CredentialPlan>| {
        credential.channels.iter().any(|channel| {
            channel.gateway == gateway.name
                && match &channel.select {
                    ChannelSelect::Id(id) => *id == view.id,
                    ChannelSelect::Name(name) => *name == view.name,
                }
        })
    };
    Listed {
        gateway: gateway.name.to_string(),
        id: view.id,
        name: view.name.clone(),
        r#type: view.kind,
        status: view.status.as_i64(),
        credential: plan.credentials.iter().find(feeds).map(|credential| credential.name.to_string()),
    }
}
