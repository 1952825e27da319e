//! The one answer to "how does it stand": the command, the page and the API share it. Pure.

use std::time::Duration;

use serde::Serialize;

use crate::agent::deliver::Standing;
use crate::channel::policy::ChannelState;
use crate::config::plan::CredentialPlan;
use crate::credential::event::ChannelName;
use crate::credential::policy::{TokenDecision, decide};
use crate::credential::record::Record;
use crate::messages::{self, About};
use crate::reason::{Language, Reason};
use crate::time::Timestamp;

/// How everything stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Of this program.
    pub version: &'static str,
    /// When this was true.
    #[serde(serialize_with = "rfc3339")]
    pub time: Timestamp,
    /// The agent.
    pub agent: AgentStatus,
    /// The credentials, in the order of the config.
    pub credentials: Vec<CredentialStatus>,
}

/// The agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentStatus {
    /// Whether it runs.
    pub running: bool,
    /// Since when, if that is known.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub since: Option<Timestamp>,
    /// Its config file.
    pub config: ConfigStatus,
}

/// The config file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigStatus {
    /// Where it is.
    pub path: String,
    /// When it was applied last, if that is known.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub loaded_at: Option<Timestamp>,
    /// What is wrong with it, with a remedy.
    pub problem: Option<String>,
}

/// One credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CredentialStatus {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: CredentialState,
    /// Why it is halted.
    pub reason: Option<&'static str>,
    /// When the access token dies.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub expires_at: Option<Timestamp>,
    /// When the next request is due.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub refresh_at: Option<Timestamp>,
    /// When the last refresh succeeded.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub refreshed_at: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// The last failure and its remedy.
    pub last_error: Option<String>,
    /// Its channels.
    pub channels: Vec<ChannelStatus>,
}

/// One channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    #[serde(serialize_with = "rfc3339_or_null")]
    pub delivered_at: Option<Timestamp>,
    /// What is the matter, with a remedy.
    pub problem: Option<String>,
}

/// How a credential stands, in the order of what needs attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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
        let message = messages::explain_about(language, reason, About { credential: known.name, channel });
        format!("{} {}", message.what, message.remedy)
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
    CredentialStatus {
        name: known.name.to_owned(),
        state: credential_state(known.plan, record, now),
        reason: halt.map(|halt| halt.kind.as_str()),
        expires_at: record.and_then(|record| record.access.as_ref()).map(|grant| grant.expires_at),
        refresh_at,
        refreshed_at: state.and_then(|state| state.refreshed_at),
        failures: state.map_or(0, |state| state.failures),
        last_error: state.and_then(|state| state.last_error.as_ref()).map(say),
        channels: known
            .channels
            .iter()
            .map(|(gateway, standing, trouble)| ChannelStatus {
                gateway: (*gateway).to_owned(),
                id: standing.id,
                name: standing.name.clone(),
                state: standing.state,
                status: standing.status,
                delivered_at: standing.delivered_at,
                problem: standing.reason.clone().map(Reason::from).or_else(|| trouble.clone()).map(|reason| {
                    let gateway = (*gateway).to_owned();
                    let channel = ChannelName { gateway, id: standing.id, name: standing.name.clone() };
                    say_of(&reason, &channel.address())
                }),
            })
            .collect(),
    }
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

impl Status {
    /// Whether only a human can help one of the credentials.
    pub fn needs_a_human(&self) -> bool {
        self.credentials.iter().any(|credential| credential.state == CredentialState::Halted)
    }
}

impl CredentialState {
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

fn rfc3339<S: serde::Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(moment)
}

fn rfc3339_or_null<S: serde::Serializer>(moment: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match moment {
        Some(moment) => serializer.collect_str(moment),
        None => serializer.serialize_none(),
    }
}
