//! `status`: how the credentials and channels stand, from the vault and the gateways, whether the agent runs or not.

mod table;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::agent::deliver::Room;
use crate::channel::ownership;
use crate::cli::holder;
use crate::cli::paper::Paper;
use crate::cli::place::{self, Surveyed, complain};
use crate::cli::vault::read_key;
use crate::cli::{ConfigPlace, Exit, block_on, print};
use crate::config::plan::{CredentialPlan, Plan};
use crate::credential::record::{ByRecord, ClientIdentity, Record, RecordId, by_client};
use crate::gateway;
use crate::gateway::thread::GatewayHandle;
use crate::notify::policy::Policy;
use crate::reason::{Language, Reason, VaultReason};
use crate::telemetry::recent::Recent;
use crate::telemetry::status::{self, AgentStatus, ConfigStatus, CredentialStatus, Known, Status, VaultStatus};
use crate::time::{Clock, SystemClock, Timestamp};
use crate::vault::{Contents, Site, VaultHandle};

/// How long the living state is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

pub use table::table;

/// What `status` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Stable JSON
    #[arg(long)]
    json: bool,
    /// Redraw every second; on a pipe: print once for each change
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// The vault, where the config does not say it
    #[arg(long, value_name = "PATH")]
    vault: Option<PathBuf>,
}

/// Shows how everything stands.
pub fn run(place: &ConfigPlace, options: &Options) -> anyhow::Result<Exit> {
    if options.watch {
        return block_on(watch::watch(place, options.vault.as_deref()))?;
    }
    let (status, language) = match block_on(now(place, options.vault.as_deref()))? {
        Ok(now) => now,
        Err(exit) => return Ok(exit),
    };
    if options.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&status)?))?;
    } else {
        print(&table::whole(&status, language, Paper::of_stdout()))?;
    }
    Ok(exit(&status))
}

fn exit(status: &Status) -> Exit {
    if status.needs_a_human() { Exit::HumanNeeded } else { Exit::Fine }
}

/// How everything stands, and the language to say it in: from the vault's holder, else from the vault and the gateways.
/// What is wrong is said to standard error.
async fn now(place: &ConfigPlace, vault: Option<&Path>) -> Result<(Status, Language), Exit> {
    let surveyed = place.survey(vault)?;
    let local = holder::site(&surveyed.vault).await?.local();
    let status = match holder::status(&local, PATIENCE).await {
        Some(living) => living,
        None => at_rest(&surveyed).await.map_err(|reason| {
            complain(&reason);
            Exit::BadConfig
        })?,
    };
    Ok((status, surveyed.language()))
}

/// What the vault and the gateways say.
///
/// # Errors
/// Why the vault cannot be read.
pub async fn at_rest(surveyed: &Surveyed) -> Result<Status, Reason> {
    let key = match &surveyed.encryption_key {
        Some(source) => Some(read_key(source).await?),
        None => None,
    };
    let site = Site::of(&surveyed.vault).await?;
    let opened = match site.peek(key.as_ref()).await {
        Ok((handle, contents)) => Some((handle, contents)),
        Err(error) if matches!(error.0, VaultReason::Missing { .. }) => None,
        Err(error) => return Err(error.0.into()),
    };
    let holder = site.holder().await;
    let now = SystemClock.now();
    let notifiers = match (&surveyed.plan, &opened) {
        (Some(plan), Some((_, contents))) => status::notifiers(plan, &Policy::remembered(contents.notices.as_deref())),
        _ => Vec::new(),
    };
    let orphans = match (&surveyed.plan, &opened) {
        (Some(plan), Some((_, contents))) => status::orphans(plan, contents.records.iter()),
        _ => Vec::new(),
    };
    let language = surveyed.language();
    let events = match &opened {
        Some((_, contents)) => status::events(language, contents.events.iter().cloned().collect::<Recent>().iter()),
        None => Vec::new(),
    };
    let credentials = match &surveyed.plan {
        Some(plan) => look(plan, opened, now).await,
        None => opened.map(|(_, contents)| from_vault(&contents, now)).unwrap_or_default(),
    };
    let (path, problem) = (surveyed.path.display().to_string(), surveyed.problem.clone());
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        time: now,
        language,
        agent: AgentStatus {
            running: holder.is_some(),
            owner: holder.filter(|_| site.file().is_none()),
            since: None,
            config: ConfigStatus { path, loaded_at: None, problem },
            vault: VaultStatus::default(),
        },
        credentials,
        orphans,
        notifiers,
        events,
    })
}

/// Looks at the channels as the agent would, and writes nothing.
async fn look(plan: &Plan, opened: Option<(VaultHandle, Contents)>, now: Timestamp) -> Vec<CredentialStatus> {
    let (handle, contents) = match opened {
        Some((handle, contents)) => (Some(handle), contents),
        None => (None, Contents::default()),
    };
    let records: ByRecord<Box<Record>> =
        contents.records.into_iter().map(|record| (record.id, Box::new(record))).collect();
    let mut adoptions = ownership::by_gateway(contents.adoptions);
    let (mut rooms, mut gateways) = (Vec::new(), Vec::new());
    for gateway in &plan.gateways {
        let thread = GatewayHandle::spawn(gateway::open(gateway), || {});
        gateways.push((Arc::clone(&gateway.name), thread.clone()));
        let mut room = Room::new(Arc::clone(gateway), thread, adoptions.remove(&gateway.name).unwrap_or_default());
        room.retarget(fed(plan, &records));
        if let Some(handle) = &handle
            && let Some(mut order) = room.order_look(&records, handle, now)
        {
            order.compare_with(&gateways);
            let (origin, seen) = (order.origin, order.carry_out().await);
            // The deliveries it finds due are the agent's to make.
            let _ = room.judge(origin, seen, &records, handle, now, &mut Vec::new());
        }
        rooms.push(room);
    }
    status::credentials(plan, records.values().map(|record| &**record), rooms.iter(), now)
}

/// Who feeds channels, with their records; one that has none yet gets a number nobody else has.
fn fed<'p>(plan: &'p Plan, records: &'p ByRecord<Box<Record>>) -> impl Iterator<Item = (RecordId, &'p CredentialPlan)> {
    let by_client = by_client(records.values().map(|record| &**record));
    plan.credentials.iter().filter(|credential| credential.enabled).zip(1..).map(move |(credential, nth)| {
        let known = by_client.get(&(&*credential.name, ClientIdentity::of(credential))).copied();
        (known.unwrap_or(RecordId(-nth)), &**credential)
    })
}

/// What the vault alone says, while the config cannot be read.
fn from_vault(contents: &Contents, now: Timestamp) -> Vec<CredentialStatus> {
    let one = |record: &Record| {
        let known =
            Known { name: &record.name, plan: None, record: Some(record), lag: Duration::ZERO, channels: Vec::new() };
        status::credential(&known, place::language(), now)
    };
    contents.records.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_json_is_what_is_printed() {
        let page = include_str!("../../docs/commands.md");
        let (_, section) = page.split_once("## `status --json`").expect("the page has it");
        let (_, example) = section.split_once("```json").expect("with an example");
        let (example, _) = example.split_once("```").expect("that ends");
        let documented: serde_json::Value = serde_json::from_str(example).unwrap();
        let read: Status = serde_json::from_str(example).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), documented, "every field, and no other");
    }
}
