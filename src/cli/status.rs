//! `status`: how the credentials and channels stand, from the vault and the gateways, whether the agent runs or not.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::agent::deliver::Room;
use crate::agent::watch;
use crate::channel::ownership::Adoption;
use crate::channel::policy::ChannelState;
use crate::cli::place::complain;
use crate::cli::{ConfigPlace, Exit, block_on, default_language, print};
use crate::config::file::Config;
use crate::config::plan::{CredentialPlan, Plan};
use crate::config::resolve::vault_path;
use crate::credential::record::{ClientIdentity, Record, RecordId};
use crate::finding::Severity;
use crate::gateway::sqlite::SqliteGateway;
use crate::gateway::thread::GatewayHandle;
use crate::messages::{self, Words};
use crate::notify::policy::Policy;
use crate::reason::{Language, Reason, VaultReason};
use crate::telemetry::status::{
    self, AgentStatus, ChannelStatus, ConfigStatus, CredentialState, CredentialStatus, Known, Status,
};
use crate::time::{Clock, SystemClock, Timestamp};
use crate::vault::{Contents, Vault, VaultHandle, lock::Lock};

/// What `status` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Stable JSON
    #[arg(long)]
    json: bool,
    /// The vault, where the config does not say it
    #[arg(long, value_name = "PATH")]
    vault: Option<PathBuf>,
}

/// Shows how everything stands.
pub fn run(place: &ConfigPlace, options: &Options) -> anyhow::Result<Exit> {
    let (path, text) = match place.read() {
        Ok(read) => read,
        Err(reason) if options.vault.is_none() => {
            complain(&reason.into());
            return Ok(Exit::BadConfig);
        }
        Err(_) => (place.config.clone().unwrap_or_default(), String::new()),
    };
    let (plan, problem) = match watch::load(&path, &text) {
        Ok((plan, _)) => (Some(plan), None),
        Err(problems) => {
            let language = default_language();
            let lines = messages::problem_lines(language, &path, &text, &problems);
            let first = lines.into_iter().find(|(severity, _)| *severity == Severity::Error);
            (None, first.map(|(_, line)| line))
        }
    };
    // A broken edit is when people look: the vault's place is in what still parses.
    let directory = std::path::absolute(&path)?.parent().map(ToOwned::to_owned).unwrap_or_default();
    let vault = options.vault.clone().or_else(|| plan.as_ref().map(|plan| plan.vault.path.clone()));
    let Some(vault) = vault.or_else(|| vault_path(&Config::parse(&text).0, &directory)) else {
        if let Some(problem) = problem {
            eprintln!("{problem}");
        }
        return Ok(Exit::BadConfig);
    };
    let opened = match Vault::peek(&vault) {
        Ok((handle, contents)) => Some((handle, contents)),
        Err(error) if matches!(error.0, VaultReason::Missing { .. }) => None,
        Err(error) => {
            complain(&error.0.into());
            return Ok(Exit::BadConfig);
        }
    };
    let now = SystemClock.now();
    let remembered = opened.as_ref().and_then(|(_, contents)| contents.notices.clone());
    let credentials = match &plan {
        Some(plan) => block_on(look(plan, opened, now))?,
        None => opened.map(|(_, contents)| from_vault(&contents, now)).unwrap_or_default(),
    };
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        time: now,
        agent: AgentStatus {
            running: Lock::holder(&vault).is_some(),
            since: None,
            config: ConfigStatus { path: std::path::absolute(&path)?.display().to_string(), loaded_at: None, problem },
        },
        credentials,
    };
    let language = plan.as_ref().map_or_else(default_language, |plan| plan.language);
    if options.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&status)?))?;
    } else {
        print(&text_of(&status, language, Style::of_stdout()))?;
        print(&notifiers(plan.as_ref(), remembered.as_deref(), language))?;
    }
    Ok(if status.needs_a_human() { Exit::HumanNeeded } else { Exit::Fine })
}

/// The notifiers that did not take their last message, a line each.
fn notifiers(plan: Option<&Plan>, remembered: Option<&str>, language: Language) -> String {
    let (policy, words) = (Policy::remembered(remembered), messages::words(language));
    let line = |name: &str| {
        let message = messages::explain(language, policy.notifier(name)?.problem.as_ref()?);
        Some(format!("{name}: {}: {} {}\n", words.refused, message.what, message.remedy))
    };
    plan.iter().flat_map(|plan| &plan.notifiers).filter_map(|notifier| line(&notifier.name)).collect()
}

/// Looks at the channels as the agent would, and writes nothing.
async fn look(plan: &Plan, opened: Option<(VaultHandle, Contents)>, now: Timestamp) -> Vec<CredentialStatus> {
    let (handle, contents) = match opened {
        Some((handle, contents)) => (Some(handle), contents),
        None => (None, Contents::default()),
    };
    let records: HashMap<RecordId, Record> = contents.records.into_iter().map(|record| (record.id, record)).collect();
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
    credentials(plan, records.values(), rooms.iter(), now)
}

/// Who feeds channels, with their records; one that has none yet gets a number nobody else has.
fn fed<'p>(
    plan: &'p Plan,
    records: &HashMap<RecordId, Record>,
) -> impl Iterator<Item = (RecordId, &'p CredentialPlan)> {
    let by_client = by_client(records.values());
    plan.credentials.iter().filter(|credential| credential.enabled).zip(1..).map(move |(credential, nth)| {
        let known = by_client.get(&(credential.name.to_string(), ClientIdentity::of(credential))).copied();
        (known.unwrap_or(RecordId(-nth)), &**credential)
    })
}

fn by_client<'r>(records: impl Iterator<Item = &'r Record>) -> BTreeMap<(String, ClientIdentity), RecordId> {
    records.map(|record| ((record.name.clone(), record.client.clone()), record.id)).collect()
}

/// How each credential of a plan stands.
pub fn credentials<'r>(
    plan: &Plan,
    records: impl Iterator<Item = &'r Record>,
    rooms: impl Iterator<Item = &'r Room>,
    now: Timestamp,
) -> Vec<CredentialStatus> {
    let records: Vec<&Record> = records.collect();
    let rooms: Vec<&Room> = rooms.collect();
    let by_client = by_client(records.iter().copied());
    let by_id: HashMap<RecordId, &Record> = records.into_iter().map(|record| (record.id, record)).collect();
    let one = |credential: &Arc<CredentialPlan>| {
        let key = (credential.name.to_string(), ClientIdentity::of(credential));
        let record = by_client.get(&key).and_then(|id| by_id.get(id)).copied();
        let fed = rooms.iter().flat_map(|room| {
            let mine = room.targets.iter().filter(|target| target.credential == credential.name);
            mine.map(|target| {
                let trouble = room.trouble.as_ref().map(|(reason, _)| Reason::from(reason.clone()));
                (&*room.plan.name, &target.standing, trouble)
            })
        });
        let feeds = |room: &&&Room| credential.channels.iter().any(|channel| channel.gateway == room.plan.name);
        let lag = rooms.iter().filter(feeds).map(|room| room.lag()).max().unwrap_or_default();
        let known = Known { name: &credential.name, plan: Some(credential), record, lag, channels: fed.collect() };
        status::credential(&known, plan.language, now)
    };
    plan.credentials.iter().map(one).collect()
}

/// What the vault alone says, while the config cannot be read.
fn from_vault(contents: &Contents, now: Timestamp) -> Vec<CredentialStatus> {
    let one = |record: &Record| {
        let known = Known {
            name: &record.name,
            plan: None,
            record: Some(record),
            lag: std::time::Duration::ZERO,
            channels: Vec::new(),
        };
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
    let delivered = channel.delivered_at.map(|at| format!(" ({})", words.from_now(at, now))).unwrap_or_default();
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
