//! `status`: how the credentials and channels stand, from the vault and the gateways, whether the agent runs or not.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::agent::deliver::Room;
use crate::channel::ownership::Adoption;
use crate::channel::policy::ChannelState;
use crate::cli::holder;
use crate::cli::place::{Surveyed, complain};
use crate::cli::vault::encryption_key;
use crate::cli::{ConfigPlace, Exit, block_on, default_language, print};
use crate::config::plan::{CredentialPlan, Plan};
use crate::credential::record::{ClientIdentity, Record, RecordId};
use crate::gateway::sqlite::SqliteGateway;
use crate::gateway::thread::GatewayHandle;
use crate::messages::{self, Words};
use crate::notify::policy::Policy;
use crate::reason::{Language, VaultReason};
use crate::telemetry::status::{
    self, AgentStatus, ChannelStatus, ConfigStatus, CredentialState, CredentialStatus, Known, Status,
};
use crate::time::{Clock, SystemClock, Timestamp};
use crate::vault::{Contents, Vault, VaultHandle, lock::Lock};

/// How long the living state is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often `--watch` looks.
const REDRAW_EVERY: Duration = Duration::from_secs(1);

/// What `status` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Stable JSON
    #[arg(long)]
    json: bool,
    /// Redraw every second
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// The vault, where the config does not say it
    #[arg(long, value_name = "PATH")]
    vault: Option<PathBuf>,
}

/// Shows how everything stands.
pub fn run(place: &ConfigPlace, options: &Options) -> anyhow::Result<Exit> {
    loop {
        let surveyed = match place.survey(options.vault.as_deref()) {
            Ok(surveyed) => surveyed,
            Err(exit) => return Ok(exit),
        };
        let status = match block_on(status(&surveyed))? {
            Ok(status) => status,
            Err(exit) => return Ok(exit),
        };
        let exit = if status.needs_a_human() { Exit::HumanNeeded } else { Exit::Fine };
        if options.json {
            print(&format!("{}\n", serde_json::to_string_pretty(&status)?))?;
            return Ok(exit);
        }
        let text = text_of(&status, surveyed.language(), Style::of_stdout());
        if !options.watch {
            print(&text)?;
            return Ok(exit);
        }
        if !redraw(&text)? {
            return Ok(exit);
        }
        std::thread::sleep(REDRAW_EVERY);
    }
}

/// Shows a text in place of the one before; false when nobody reads any more.
fn redraw(text: &str) -> std::io::Result<bool> {
    let mut out = std::io::stdout().lock();
    // Home, and what is below erased: a terminal does not flicker as it would if it were cleared first.
    let (before, after) = if out.is_terminal() { ("\x1b[H", "\x1b[J") } else { ("", "\n") };
    let text = if before.is_empty() { text.to_owned() } else { text.replace('\n', "\x1b[K\n") };
    match out.write_all(format!("{before}{text}{after}").as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true),
    }
}

/// The living state where the vault's holder tells it, else what the vault and the gateways say.
async fn status(surveyed: &Surveyed) -> Result<Status, Exit> {
    if let Some(living) = holder::status(&surveyed.vault, PATIENCE).await {
        return Ok(living);
    }
    let key = encryption_key(surveyed.encryption_key.as_ref()).await?;
    let opened = match Vault::peek(&surveyed.vault, key.as_ref()) {
        Ok((handle, contents)) => Some((handle, contents)),
        Err(error) if matches!(error.0, VaultReason::Missing { .. }) => None,
        Err(error) => {
            complain(&error.0.into());
            return Err(Exit::BadConfig);
        }
    };
    let now = SystemClock.now();
    let notifiers = match (&surveyed.plan, &opened) {
        (Some(plan), Some((_, contents))) => status::notifiers(plan, &Policy::remembered(contents.notices.as_deref())),
        _ => Vec::new(),
    };
    let orphans = match (&surveyed.plan, &opened) {
        (Some(plan), Some((_, contents))) => status::orphans(plan, contents.records.iter()),
        _ => Vec::new(),
    };
    let credentials = match &surveyed.plan {
        Some(plan) => look(plan, opened, now).await,
        None => opened.map(|(_, contents)| from_vault(&contents, now)).unwrap_or_default(),
    };
    let (path, problem) = (surveyed.path.display().to_string(), surveyed.problem.clone());
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        time: now,
        agent: AgentStatus {
            running: Lock::holder(&surveyed.vault).is_some(),
            since: None,
            config: ConfigStatus { path, loaded_at: None, problem },
        },
        credentials,
        orphans,
        notifiers,
    })
}

/// Looks at the channels as the agent would, and writes nothing.
async fn look(plan: &Plan, opened: Option<(VaultHandle, Contents)>, now: Timestamp) -> Vec<CredentialStatus> {
    let (handle, contents) = match opened {
        Some((handle, contents)) => (Some(handle), contents),
        None => (None, Contents::default()),
    };
    let records: HashMap<RecordId, Box<Record>> =
        contents.records.into_iter().map(|record| (record.id, Box::new(record))).collect();
    let mut adoptions: HashMap<String, HashMap<i64, Adoption>> = HashMap::new();
    for adoption in contents.adoptions {
        adoptions.entry(adoption.gateway.clone()).or_default().insert(adoption.channel, adoption);
    }
    let mut rooms = Vec::new();
    for gateway in &plan.gateways {
        let thread = GatewayHandle::spawn(Box::new(SqliteGateway::new(Arc::clone(gateway))), || {});
        let mut room = Room::new(Arc::clone(gateway), thread, adoptions.remove(&*gateway.name).unwrap_or_default());
        room.retarget(fed(plan, &records));
        if let Some(handle) = &handle
            && let Some(order) = room.order_look(&records, handle, now)
        {
            let seen = order.carry_out().await;
            // The deliveries it finds due are the agent's to make.
            let _ = room.judge(seen, &records, handle, now, &mut Vec::new());
        }
        rooms.push(room);
    }
    status::credentials(plan, records.values().map(|record| &**record), rooms.iter(), now)
}

/// Who feeds channels, with their records; one that has none yet gets a number nobody else has.
fn fed<'p>(
    plan: &'p Plan,
    records: &'p HashMap<RecordId, Box<Record>>,
) -> impl Iterator<Item = (RecordId, &'p CredentialPlan)> {
    let by_client = status::by_client(records.values().map(|record| &**record));
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
        status::credential(&known, default_language(), now)
    };
    contents.records.iter().map(one).collect()
}

/// Whether the output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// Colour only on a terminal, and not where `NO_COLOR` is set.
    pub fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colour: wanted && std::io::stdout().is_terminal() }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn text_of(status: &Status, language: Language, style: Style) -> String {
    let words = messages::words(language);
    let mut out = String::new();
    if let Some(problem) = &status.agent.config.problem {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "{}: {problem}\n", style.paint("31", words.error));
    }
    out.push_str(&table(&status.credentials, language, status.time, style));
    for name in &status.orphans {
        let _ = writeln!(out, "{}", style.paint("2", &words.vault.orphaned.replace("{}", name)));
    }
    for notifier in &status.notifiers {
        if let Some(problem) = &notifier.problem {
            let _ = writeln!(out, "{}", style.paint("33", &format!("{}: {}: {problem}", notifier.name, words.refused)));
        }
    }
    let agent = if status.agent.running { words.agent_runs } else { words.agent_is_down };
    let _ = writeln!(out, "\n{}", style.paint("2", agent));
    out
}

/// The credentials as a table, what needs attention first, the channels beneath.
pub fn table(credentials: &[CredentialStatus], language: Language, now: Timestamp, style: Style) -> String {
    let words = messages::words(language);
    let mut sorted: Vec<&CredentialStatus> = credentials.iter().collect();
    sorted.sort_by_key(|credential| credential.state);
    let titles = &words.columns;
    let mut rows = vec![[titles.credential, titles.state, titles.expires, titles.next_refresh].map(str::to_owned)];
    for credential in &sorted {
        let moment = |moment: Option<Timestamp>| moment.map_or_else(|| "—".into(), |at| words.from_now(at, now));
        let state = credential_word(words, credential.state);
        rows.push([
            credential.name.clone(),
            state.to_owned(),
            moment(credential.expires_at),
            moment(credential.refresh_at),
        ]);
    }
    let widths: Vec<usize> =
        (0..4).map(|column| rows.iter().map(|row| columns(&row[column])).max().unwrap_or_default()).collect();
    let mut out = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let padded = format!("{cell}{}", " ".repeat(width - columns(cell)));
            match (index.checked_sub(1).map(|index| sorted[index].state), column) {
                (None, _) => style.paint("2", &padded),
                (Some(state), 1) => style.paint(colour(state), &padded),
                _ => padded,
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(out, "{}", line.trim_end());
        let Some(credential) = index.checked_sub(1).map(|index| sorted[index]) else { continue };
        for channel in &credential.channels {
            let _ = writeln!(out, "  {}", channel_line(words, channel, now));
            if let Some(problem) = &channel.problem {
                let _ = writeln!(out, "    {}", style.paint("33", problem));
            }
        }
        if let Some(error) = &credential.last_error {
            let _ = writeln!(out, "  {}", style.paint("31", error));
        }
    }
    out
}

fn channel_line(words: &Words, channel: &ChannelStatus, now: Timestamp) -> String {
    let known = channel.id.map(|id| id.to_string()).into_iter().chain(Some(channel.name.clone()));
    let known: Vec<String> = known.filter(|part| !part.is_empty()).collect();
    let state = channel_word(words, channel.state);
    let delivered = channel.delivered_at.map(|at| format!(" ({})", words.since(at, now))).unwrap_or_default();
    format!("→ {}/{}: {state}{delivered}", channel.gateway, known.join(" "))
}

fn colour(state: CredentialState) -> &'static str {
    match state {
        CredentialState::Halted | CredentialState::Expired => "31",
        CredentialState::Uncertain | CredentialState::Failing => "33",
        CredentialState::Active => "32",
        CredentialState::Waiting | CredentialState::Disabled => "2",
    }
}

fn credential_word(words: &Words, state: CredentialState) -> &'static str {
    let words = &words.credential;
    match state {
        CredentialState::Halted => words.halted,
        CredentialState::Expired => words.expired,
        CredentialState::Uncertain => words.uncertain,
        CredentialState::Failing => words.failing,
        CredentialState::Waiting => words.waiting,
        CredentialState::Active => words.active,
        CredentialState::Disabled => words.disabled,
    }
}

fn channel_word(words: &Words, state: ChannelState) -> &'static str {
    let words = &words.channel;
    match state {
        ChannelState::Delivered => words.delivered,
        ChannelState::Pending => words.pending,
        ChannelState::Foreign => words.foreign,
        ChannelState::Missing => words.missing,
        ChannelState::DisabledByHand => words.disabled_by_hand,
        ChannelState::Flapping => words.flapping,
        ChannelState::Released => words.released,
        ChannelState::Unsupported => words.unsupported,
        ChannelState::Conflict => words.conflict,
    }
}

/// How many columns of a terminal a text takes: Chinese characters take two.
fn columns(text: &str) -> usize {
    text.chars().map(|c| if (c as u32) >= 0x1100 && c != '—' && c != '→' { 2 } else { 1 }).sum()
}
