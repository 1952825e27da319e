//! The one answer to "how does it stand": the command, the page and the API share it. Pure.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::deliver::{Room, Standing, Target};
use crate::channel::policy::ChannelState;
use crate::config::plan::{CredentialPlan, Plan};
use crate::credential::event::{ChannelName, Event, Topic};
use crate::credential::policy::{TokenDecision, decide};
use crate::credential::record::{ClientIdentity, HaltKind, Record, RecordId, by_client};
use crate::messages::{self, About, Message, Words};
use crate::notify::policy::Policy;
use crate::reason::{Language, Reason, VaultReason};
use crate::time::Timestamp;

/// How everything stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of this program.
    pub version: Cow<'static, str>,
    /// When this was true.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// The language of the sentences in it.
    #[serde(default)]
    pub language: Language,
    /// The agent.
    pub agent: AgentStatus,
    /// The credentials, in the order of the config.
    pub credentials: Vec<CredentialStatus>,
    /// The names of records that no credential of the config has; they are kept until a person removes them.
    #[serde(default)]
    pub orphans: Vec<String>,
    /// The notifiers, in the order of the config.
    #[serde(default)]
    pub notifiers: Vec<NotifierStatus>,
    /// What happened lately, the newest first.
    #[serde(default)]
    pub events: Vec<EventStatus>,
}

/// One notifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifierStatus {
    /// Its name.
    pub name: String,
    /// Why it did not take its last message, with a remedy.
    pub problem: Option<String>,
    /// The part of `problem` that says what to do.
    #[serde(default)]
    pub remedy: Option<String>,
    /// Messages that it took.
    #[serde(default)]
    pub taken: u64,
    /// Messages that it did not take.
    #[serde(default)]
    pub refused: u64,
    /// When it last took one, or did not.
    #[serde(default, with = "rfc3339_or_null")]
    pub at: Option<Timestamp>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventStatus {
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// What.
    pub topic: Topic,
    /// To which credential.
    pub credential: Option<String>,
    /// To which channel: its id, after the gateway's name and a slash where there are several.
    pub channel: Option<String>,
    /// To which notifier.
    pub notifier: Option<String>,
    /// The same in words.
    pub text: String,
    /// Why, in a sentence.
    pub cause: Option<String>,
}

/// What happened, in words.
pub fn events<'e>(language: Language, recent: impl Iterator<Item = &'e Event>) -> Vec<EventStatus> {
    let one = |event: &Event| EventStatus {
        at: event.at,
        topic: event.topic,
        credential: event.credential.clone(),
        channel: event.channel.as_ref().map(ChannelName::address),
        notifier: event.notifier.clone(),
        text: messages::happened(language, event),
        cause: event.reason.as_ref().map(|reason| messages::explain(language, reason).what),
    };
    recent.map(one).collect()
}

/// A problem as one sentence after the other.
fn in_one(message: &Message) -> String {
    format!("{} {}", message.what, message.remedy)
}

/// How each notifier stands.
pub fn notifiers(plan: &Plan, policy: &Policy) -> Vec<NotifierStatus> {
    let one = |name: &str| {
        let standing = policy.notifier(name).cloned().unwrap_or_default();
        let problem = standing.problem.as_ref().map(|reason| messages::explain(plan.language, reason));
        NotifierStatus {
            name: name.to_owned(),
            problem: problem.as_ref().map(in_one),
            remedy: problem.map(|problem| problem.remedy),
            taken: standing.taken,
            refused: standing.refused,
            at: standing.at,
        }
    };
    plan.notifiers.iter().map(|notifier| one(&notifier.name)).collect()
}

/// The names of the records that no credential of the config has.
pub fn orphans<'r>(plan: &Plan, records: impl Iterator<Item = &'r Record>) -> Vec<String> {
    let has_credential = |record: &&Record| {
        plan.credential(&record.name).is_some_and(|credential| ClientIdentity::of(credential) == record.client)
    };
    let mut names: Vec<String> =
        records.filter(|record| !has_credential(record)).map(|record| record.name.clone()).collect();
    names.sort();
    names
}

/// The agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Who owns the vault, where it lies in a database server and another host may be meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whether it runs.
    pub running: bool,
    /// Since when, if that is known.
    #[serde(with = "rfc3339_or_null")]
    pub since: Option<Timestamp>,
    /// Its config file.
    pub config: ConfigStatus,
    /// Its vault.
    #[serde(default)]
    pub vault: VaultStatus,
}

/// The vault.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VaultStatus {
    /// Why it did not take what it was last given, with a remedy.
    pub problem: Option<String>,
    /// The part of `problem` that says what to do.
    pub remedy: Option<String>,
}

impl VaultStatus {
    /// In words.
    pub fn new(language: Language, trouble: Option<&VaultReason>) -> Self {
        let problem = trouble.map(|reason| messages::explain(language, &reason.clone().into()));
        Self { problem: problem.as_ref().map(in_one), remedy: problem.map(|problem| problem.remedy) }
    }
}

/// The config file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// Where it is.
    pub path: String,
    /// When it was applied last, if that is known.
    #[serde(with = "rfc3339_or_null")]
    pub loaded_at: Option<Timestamp>,
    /// What is wrong with it, with a remedy.
    pub problem: Option<String>,
}

/// One credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialStatus {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: CredentialState,
    /// Why it is halted.
    pub reason: Option<HaltKind>,
    /// When the access token came.
    #[serde(default, with = "rfc3339_or_null")]
    pub issued_at: Option<Timestamp>,
    /// When the access token dies.
    #[serde(with = "rfc3339_or_null")]
    pub expires_at: Option<Timestamp>,
    /// By when a new one must be in the gateway, which may go on using this one for its cache lag.
    #[serde(default, with = "rfc3339_or_null")]
    pub deadline_at: Option<Timestamp>,
    /// When the next request is due.
    #[serde(with = "rfc3339_or_null")]
    pub refresh_at: Option<Timestamp>,
    /// When the last refresh succeeded.
    #[serde(with = "rfc3339_or_null")]
    pub refreshed_at: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// Since when it is halted or failing.
    #[serde(default, with = "rfc3339_or_null")]
    pub troubled_since: Option<Timestamp>,
    /// The last failure and its remedy.
    pub last_error: Option<String>,
    /// The part of `last_error` that says what to do.
    #[serde(default)]
    pub remedy: Option<String>,
    /// Its channels.
    pub channels: Vec<ChannelStatus>,
}

/// One channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// The gateway's name.
    pub gateway: String,
    /// `channels.id`, once it is known.
    pub id: Option<i64>,
    /// `channels.name`, once it was seen.
    pub name: String,
    /// How it stands.
    pub state: ChannelState,
    /// `channels.status`, if it was seen.
    pub status: Option<i64>,
    /// When a key was last delivered.
    #[serde(with = "rfc3339_or_null")]
    pub delivered_at: Option<Timestamp>,
    /// What is the matter, with a remedy.
    pub problem: Option<String>,
    /// The part of `problem` that says what to do.
    #[serde(default)]
    pub remedy: Option<String>,
}

/// How a credential stands, in the order of what needs attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialState {
    /// A human is needed.
    Halted,
    /// Failing, and the key is dead.
    Expired,
    /// An answer was lost.
    Uncertain,
    /// Backing off; the key is still valid.
    Failing,
    /// Nothing known yet.
    Waiting,
    /// All is well.
    Active,
    /// Switched off in the config.
    Disabled,
}

/// What is known of a credential.
pub struct Known<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its plan; `None` while the config cannot be read.
    pub plan: Option<&'a CredentialPlan>,
    /// Its record; `None` before its first run.
    pub record: Option<&'a Record>,
    /// The longest cache lag of its gateways.
    pub lag: Duration,
    /// Its channels: the gateway's name, how it stands, and what is wrong with the gateway itself.
    pub channels: Vec<(&'a str, &'a Standing, Option<Reason>)>,
}

/// Puts together how a credential stands.
pub fn credential(known: &Known<'_>, language: Language, now: Timestamp) -> CredentialStatus {
    let say_of = |reason: &Reason, channel: &str| {
        messages::explain_about(language, reason, About { credential: known.name, channel })
    };
    let say = |reason: &Reason| say_of(reason, About::default().channel);
    let record = known.record;
    let state = record.map(|record| &record.state);
    let halt = state.and_then(|state| state.halt.as_ref());
    let refresh_at = known.plan.zip(record).and_then(|(plan, record)| match decide(plan, record, known.lag, now) {
        TokenDecision::Keep(at) => at,
        TokenDecision::BackOff(at) => Some(at),
        TokenDecision::Refresh(_) => Some(now),
        TokenDecision::Halt(..) => None,
    });
    let grant = record.and_then(|record| record.access.as_ref());
    let last_error = state.and_then(|state| state.last_error.as_deref()).map(say);
    CredentialStatus {
        name: known.name.to_owned(),
        state: credential_state(known.plan, record, now),
        reason: halt.map(|halt| halt.kind),
        issued_at: grant.map(|grant| grant.issued_at),
        expires_at: grant.map(|grant| grant.expires_at),
        deadline_at: grant.map(|grant| (grant.expires_at - known.lag).max(grant.issued_at)),
        refresh_at,
        refreshed_at: state.and_then(|state| state.refreshed_at),
        failures: state.map_or(0, |state| state.failures),
        troubled_since: halt.map(|halt| halt.at).or_else(|| state.and_then(|state| state.failing_since)),
        last_error: last_error.as_ref().map(in_one),
        remedy: last_error.map(|error| error.remedy),
        channels: known
            .channels
            .iter()
            .map(|(gateway, standing, trouble)| {
                let problem =
                    standing.reason.as_deref().cloned().map(Reason::from).or_else(|| trouble.clone()).map(|reason| {
                        let gateway = (*gateway).to_owned();
                        let channel = ChannelName { gateway, id: standing.id, name: standing.name.to_string() };
                        say_of(&reason, &channel.address())
                    });
                ChannelStatus {
                    gateway: (*gateway).to_owned(),
                    id: standing.id,
                    name: standing.name.to_string(),
                    state: standing.state,
                    status: standing.status,
                    delivered_at: standing.delivered_at,
                    problem: problem.as_ref().map(in_one),
                    remedy: problem.map(|problem| problem.remedy),
                }
            })
            .collect(),
    }
}

/// How each credential of a plan stands, in the order of the config.
pub fn credentials<'r>(
    plan: &Plan,
    records: impl Iterator<Item = &'r Record>,
    rooms: impl Iterator<Item = &'r Room>,
    now: Timestamp,
) -> Vec<CredentialStatus> {
    let records: Vec<&Record> = records.collect();
    let by_client = by_client(records.iter().copied());
    let by_id: HashMap<RecordId, &Record> = records.into_iter().map(|record| (record.id, record)).collect();
    let mut lags: HashMap<&str, Duration> = HashMap::new();
    let mut fed: HashMap<&str, Vec<(&Room, &Target)>> = HashMap::new();
    for room in rooms {
        lags.insert(&room.plan.name, room.lag());
        for target in &room.targets {
            fed.entry(&target.credential).or_default().push((room, target));
        }
    }
    let one = |plan_of_one: &Arc<CredentialPlan>| {
        let name = &*plan_of_one.name;
        let record = by_client.get(&(name, ClientIdentity::of(plan_of_one))).and_then(|id| by_id.get(id)).copied();
        let channels = fed.get(name).into_iter().flatten().map(|(room, target)| {
            let trouble = room.trouble_of(target.standing.id).cloned().map(Reason::from);
            (&*room.plan.name, &target.standing, trouble)
        });
        let lag = plan_of_one.channels.iter().filter_map(|channel| lags.get(&*channel.gateway)).max();
        let (lag, channels) = (lag.copied().unwrap_or_default(), channels.collect());
        let known = Known { name, plan: Some(plan_of_one), record, lag, channels };
        credential(&known, plan.language, now)
    };
    plan.credentials.iter().map(one).collect()
}

/// How a credential stands, in a word.
pub fn credential_state(plan: Option<&CredentialPlan>, record: Option<&Record>, now: Timestamp) -> CredentialState {
    if plan.is_some_and(|plan| !plan.enabled) {
        return CredentialState::Disabled;
    }
    let Some(record) = record else { return CredentialState::Waiting };
    let dies = record.access.as_ref().map(|grant| grant.expires_at);
    match (&record.state, dies) {
        (state, _) if state.halt.is_some() => CredentialState::Halted,
        (_, Some(dies)) if dies <= now => CredentialState::Expired,
        (state, _) if state.lost.is_some() => CredentialState::Uncertain,
        (state, _) if state.failures > 0 => CredentialState::Failing,
        (_, None) => CredentialState::Waiting,
        _ => CredentialState::Active,
    }
}

/// The word that people read for a channel's state.
pub fn channel_word(words: &Words, state: ChannelState) -> &'static str {
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

impl Status {
    /// Whether only a human can help one of the credentials.
    pub fn needs_a_human(&self) -> bool {
        self.credentials.iter().any(|credential| credential.state == CredentialState::Halted)
    }

    /// Leaves only the credentials of these names; all, if none is named.
    #[must_use]
    pub fn of(mut self, names: &[String]) -> Self {
        self.credentials.retain(|credential| names.is_empty() || names.contains(&credential.name));
        self
    }
}

impl CredentialState {
    /// All of them, in the order of what needs attention.
    pub const ALL: [Self; 7] =
        [Self::Halted, Self::Expired, Self::Uncertain, Self::Failing, Self::Waiting, Self::Active, Self::Disabled];

    /// The word that people read.
    pub fn word(self, words: &Words) -> &'static str {
        let words = &words.credential;
        match self {
            Self::Halted => words.halted,
            Self::Expired => words.expired,
            Self::Uncertain => words.uncertain,
            Self::Failing => words.failing,
            Self::Waiting => words.waiting,
            Self::Active => words.active,
            Self::Disabled => words.disabled,
        }
    }

    /// The name as `status --json` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Halted => "halted",
            Self::Expired => "expired",
            Self::Uncertain => "uncertain",
            Self::Failing => "failing",
            Self::Waiting => "waiting",
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

/// Moments travel as people read them: RFC 3339 in whole seconds.
mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::time::Timestamp;

    pub(super) fn serialize<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(moment)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse_rfc3339(&text).ok_or_else(|| D::Error::custom("not a moment"))
    }
}

mod rfc3339_or_null {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::time::Timestamp;

    pub(super) fn serialize<S: Serializer>(moment: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match moment {
            Some(moment) => serializer.collect_str(moment),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        let parse = |text: String| Timestamp::parse_rfc3339(&text).ok_or_else(|| D::Error::custom("not a moment"));
        Option::<String>::deserialize(deserializer)?.map(parse).transpose()
    }
}
