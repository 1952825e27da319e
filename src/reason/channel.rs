//! Reasons of one room: why one channel does not get its key.

use serde::{Deserialize, Serialize};

/// What can be wrong with one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelReason {
    /// No such channel (any more).
    Missing,
    /// Another channel has been given this id.
    Replaced,
    /// No channel has this name, or several have.
    NameMatches {
        /// The name.
        name: String,
        /// The ids that bear it.
        ids: Vec<i64>,
    },
    /// Somebody else wrote the key.
    Foreign,
    /// Disabled by hand: the key is kept current, the status is left.
    DisabledByHand,
    /// Re-enabled too often.
    Flapping,
    /// The gateway disabled it for a reason that is not the key.
    DisabledForOtherReason {
        /// The gateway's words, cut.
        words: String,
    },
    /// It is enabled, and its abilities are switched off.
    AbilitiesOff,
    /// A multi-key channel of new-api.
    MultiKey,
    /// A channel that the gateway refreshes by itself (new-api type 57).
    SelfRefreshing,
    /// A type whose key is ignored.
    KeyIgnored {
        /// The channel's type.
        kind: i64,
    },
    /// A type whose key is not a bare bearer token; it needs a `channel_key`.
    NeedsChannelKey {
        /// The channel's type.
        kind: i64,
    },
    /// The key to be written has control characters.
    UnsafeKey,
    /// The template names a field the answer did not have.
    TemplateField {
        /// The field.
        field: String,
    },
    /// The gateway's admin API did not take its key, and said nothing that is known here.
    Refused,
    /// The row changed between our look and our write.
    Conflict,
    /// Two names for one channel.
    ListedTwice {
        /// The credential that has it.
        owner: String,
    },
    /// Its gateway is another one's database.
    SameDatabase {
        /// The other gateway's name.
        other: String,
    },
    /// Given back by `release`.
    Released,
}
