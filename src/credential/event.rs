//! What happens to credentials, channels and the agent: the one stream that logs, messages and counters fold over.

use serde::{Deserialize, Serialize};

use crate::config::plan::DEFAULT_GATEWAY;
use crate::reason::Reason;
use crate::time::Timestamp;

/// The kinds of events, as notifiers choose them by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// A human must re-authorize or decide.
    Halted,
    /// An answer was lost.
    Uncertain,
    /// Still failing, and the key will die.
    Expiring,
    /// Still failing, and the key is dead.
    Expired,
    /// Three failures in a row.
    Failing,
    /// A key could not be delivered.
    Undelivered,
    /// Somebody else changed the key.
    ForeignKey,
    /// The channel is gone.
    ChannelMissing,
    /// Re-enabled too often.
    Flapping,
    /// The vault cannot be written.
    VaultTrouble,
    /// A changed config file was not taken.
    ConfigRejected,
    /// Nobody but us writes to the gateway's database.
    UnusedDatabase,
    /// A notifier does not take messages.
    NotifierTrouble,
    /// It is over.
    Recovered,
    /// A channel was enabled again.
    Reenabled,
    /// A credential was refreshed.
    Refreshed,
    /// The agent started.
    Started,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Halted,
        Self::Uncertain,
        Self::Expiring,
        Self::Expired,
        Self::Failing,
        Self::Undelivered,
        Self::ForeignKey,
        Self::ChannelMissing,
        Self::Flapping,
        Self::VaultTrouble,
        Self::ConfigRejected,
        Self::UnusedDatabase,
        Self::NotifierTrouble,
        Self::Recovered,
        Self::Reenabled,
        Self::Refreshed,
        Self::Started,
    ];

    /// The name as the config writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Halted => "halted",
            Self::Uncertain => "uncertain",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Failing => "failing",
            Self::Undelivered => "undelivered",
            Self::ForeignKey => "foreign_key",
            Self::ChannelMissing => "channel_missing",
            Self::Flapping => "flapping",
            Self::VaultTrouble => "vault_trouble",
            Self::ConfigRejected => "config_rejected",
            Self::UnusedDatabase => "unused_database",
            Self::NotifierTrouble => "notifier_trouble",
            Self::Recovered => "recovered",
            Self::Reenabled => "reenabled",
            Self::Refreshed => "refreshed",
            Self::Started => "started",
        }
    }

    /// Whether notifiers hear of it unless they say otherwise.
    pub fn in_default(self) -> bool {
        !matches!(self, Self::Refreshed | Self::Reenabled | Self::Started)
    }

    /// Whether it stays as it is until a human acts.
    pub fn needs_human(self) -> bool {
        match self {
            Self::Halted
            | Self::Expiring
            | Self::Expired
            | Self::Undelivered
            | Self::ForeignKey
            | Self::ChannelMissing
            | Self::Flapping
            | Self::VaultTrouble
            | Self::ConfigRejected
            | Self::UnusedDatabase
            | Self::NotifierTrouble => true,
            Self::Uncertain | Self::Failing | Self::Recovered | Self::Reenabled | Self::Refreshed | Self::Started => {
                false
            }
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub topic: Topic,
    /// To which credential.
    pub credential: Option<String>,
    /// To which channel.
    pub channel: Option<ChannelName>,
    /// To which notifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifier: Option<String>,
    /// Why.
    pub reason: Option<Reason>,
    /// When the access token dies, where one is held.
    pub expires_at: Option<Timestamp>,
    /// How often it failed in a row.
    pub failures: u32,
    /// Since when what is now over had lasted (`recovered`).
    pub since: Option<Timestamp>,
}

impl Event {
    /// An event with nothing but its topic and time.
    pub fn new(at: Timestamp, topic: Topic) -> Self {
        Self {
            at,
            topic,
            credential: None,
            channel: None,
            notifier: None,
            reason: None,
            expires_at: None,
            failures: 0,
            since: None,
        }
    }
}

/// A channel as people know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChannelName {
    /// The gateway's name.
    pub gateway: String,
    /// `channels.id`, once it is known.
    pub id: Option<i64>,
    /// `channels.name`, or the name that the config gives it.
    pub name: String,
}

impl ChannelName {
    /// As the commands take it: its id (its name while that is not known), after the gateway's name where there are
    /// several gateways.
    pub fn address(&self) -> String {
        let id = self.id.map_or_else(|| self.name.clone(), |id| id.to_string());
        match self.gateway.as_str() {
            DEFAULT_GATEWAY => id,
            gateway => format!("{gateway}/{id}"),
        }
    }

    /// The name, where the address does not say it already.
    pub fn further_name(&self) -> Option<&str> {
        Some(self.name.as_str()).filter(|name| self.id.is_some() && !name.is_empty())
    }
}
