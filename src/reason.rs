//! Every reason a person may read of, in plain data: no prose (that is [`crate::messages`]), no secrets.
//!
//! A file a room; each room maps its own errors to its own. Reasons are stored in the vault (as the last error of a
//! credential), so variants are renamed or removed only with a migration; fields hold names, paths, codes and
//! times, never a body or a secret.

mod agent;
mod channel;
mod config;
mod gateway;
mod login;
mod notifier;
mod secret;
mod token;
mod vault;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

pub use agent::AgentReason;
pub use channel::ChannelReason;
pub use config::ConfigReason;
pub use gateway::{ApiFailure, GatewayReason};
pub use login::LoginReason;
pub use notifier::NotifierReason;
pub use secret::SecretReason;
pub use token::TokenReason;
pub use vault::VaultReason;

/// The language of messages, notices and the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Language {
    /// English.
    #[default]
    #[serde(rename = "en")]
    English,
    /// Simplified Chinese.
    #[serde(rename = "zh-CN")]
    Chinese,
}

/// Why something is as it is; one variant a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "room", content = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// About the config file.
    Config(ConfigReason),
    /// About a secret's source.
    Secret(SecretReason),
    /// About a token endpoint and its answers.
    Token(TokenReason),
    /// About getting a first refresh token.
    Login(LoginReason),
    /// About the vault.
    Vault(VaultReason),
    /// About a gateway's database.
    Gateway(GatewayReason),
    /// About one channel of a gateway.
    Channel(ChannelReason),
    /// About a notifier.
    Notifier(NotifierReason),
    /// About the agent itself and the machine it runs on.
    Agent(AgentReason),
}

impl Reason {
    /// Its name for programs, which stays: `gateway.missing`.
    pub fn code(&self) -> String {
        // A reason is plain data: it is written as an object with a room and the variant's name or object.
        let value = serde_json::to_value(self).unwrap_or_default();
        let reason = &value["reason"];
        let name = reason.as_str().or_else(|| reason.as_object()?.keys().next().map(String::as_str));
        format!("{}.{}", value["room"].as_str().unwrap_or_default(), name.unwrap_or_default())
    }
}

macro_rules! into_reason {
    ($($kind:ident => $variant:ident as $room:literal),* $(,)?) => {
        $(impl From<$kind> for Reason {
            fn from(reason: $kind) -> Self {
                Self::$variant(reason)
            }
        })*

        impl<'de> Deserialize<'de> for Reason {
            /// By way of a JSON value, so that the compiler writes the reading of all the variants out for one kind of
            /// deserializer only: the derived form has four, which are half a megabyte.
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                struct Written {
                    room: String,
                    reason: serde_json::Value,
                }
                let Written { room, reason } = Written::deserialize(deserializer)?;
                match room.as_str() {
                    $($room => $kind::deserialize(reason).map(Self::$variant).map_err(D::Error::custom),)*
                    unknown => Err(D::Error::unknown_variant(unknown, &[$($room),*])),
                }
            }
        }
    };
}
into_reason! {
    ConfigReason => Config as "config", SecretReason => Secret as "secret", TokenReason => Token as "token",
    LoginReason => Login as "login", VaultReason => Vault as "vault", GatewayReason => Gateway as "gateway",
    ChannelReason => Channel as "channel", NotifierReason => Notifier as "notifier", AgentReason => Agent as "agent",
}
