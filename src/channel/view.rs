//! What a look at a gateway's database showed of one channel.

use crate::secret::Secret;

/// The gateway's word for a channel's state (`channels.status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 1: enabled.
    Enabled,
    /// 2: disabled by hand; never touched.
    DisabledByHand,
    /// 3: disabled by the gateway.
    AutoDisabled,
    /// Anything else.
    Other(i64),
}

impl From<i64> for Status {
    fn from(status: i64) -> Self {
        match status {
            1 => Self::Enabled,
            2 => Self::DisabledByHand,
            3 => Self::AutoDisabled,
            other => Self::Other(other),
        }
    }
}

impl Status {
    /// The number as the gateway stores it.
    pub fn as_i64(self) -> i64 {
        match self {
            Self::Enabled => 1,
            Self::DisabledByHand => 2,
            Self::AutoDisabled => 3,
            Self::Other(other) => other,
        }
    }
}

/// One row of `channels`, as far as it concerns us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelView {
    /// `channels.id`.
    pub id: i64,
    /// `channels.type`.
    pub kind: i64,
    /// `channels.name`.
    pub name: String,
    /// `channels.status`.
    pub status: Status,
    /// `channels.key`; `None` where the way in does not show it.
    pub key: Option<Secret>,
    /// `channels.created_time`: with the id it tells a channel from a later one of the same id.
    pub created_time: i64,
    /// new-api: `channel_info.is_multi_key`.
    pub multi_key: bool,
    /// new-api: `other_info.status_reason`, why the gateway disabled it.
    pub status_reason: Option<String>,
    /// Whether any of its abilities is switched off (they route requests while the gateway's cache is off).
    pub abilities_off: bool,
}
