//! Whose key a channel holds: ours, the one we displaced, or a stranger's. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::channel::view::ChannelView;
use crate::credential::record::{RecordId, is_default};
use crate::secret::Secret;
use crate::time::Timestamp;

/// A channel that holds, or held, our key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// The gateway's name.
    pub gateway: Arc<str>,
    /// `channels.id`.
    pub channel: i64,
    /// `channels.created_time`: another one is another channel.
    pub created_time: i64,
    /// `channels.name` at the last look.
    pub name: Arc<str>,
    /// Which credential feeds it.
    pub record: RecordId,
    /// The key it held before we came.
    pub displaced: Option<Secret>,
    /// What is not secret.
    pub state: AdoptionState,
}

/// The part of an adoption that is not secret; stored as JSON, as [`crate::credential::record::State`] is.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct AdoptionState {
    /// When a key was last delivered.
    pub delivered_at: Option<Timestamp>,
    /// The generation of the record whose key was delivered.
    pub generation: u64,
    /// A fingerprint of the key that was delivered, where the gateway shows no keys.
    #[serde(skip_serializing_if = "is_default")]
    pub fingerprint: Option<Box<str>>,
    /// The name by which the config named the channel when it was adopted: the id counts from then on.
    #[serde(skip_serializing_if = "is_default")]
    pub selected_by: Option<String>,
    /// Since when nobody but us had written into the gateway's database, when the key was delivered.
    #[serde(skip_serializing_if = "is_default")]
    pub only_ours_since: Option<Timestamp>,
    /// Given back: left alone until adopted again.
    #[serde(skip_serializing_if = "is_default")]
    pub released: bool,
    /// A person asked to take it over: whatever key it holds is replaced once.
    #[serde(skip_serializing_if = "is_default")]
    pub take_over: bool,
    /// When the last new key was written: status flips until a cache lag later are the old key's doing.
    #[serde(skip_serializing_if = "is_default")]
    pub key_written_at: Option<Timestamp>,
    /// Whether that key was late: the one before it had less than the cache lag to live, or the channel was off.
    /// Then the stale cache may get the channel disabled, and it is watched until the lag has passed.
    #[serde(skip_serializing_if = "is_default")]
    pub late: bool,
    /// When it was disabled after that window and a new key was asked for; three a day, then it is left alone.
    #[serde(skip_serializing_if = "is_default")]
    pub reenabled_at: Vec<Timestamp>,
    /// The generation of the key that the gateway called dead after that window: a new one was asked for.
    #[serde(skip_serializing_if = "is_default")]
    pub asked_for_after: Option<u64>,
}

/// The adoptions in one gateway, by the channel's id. Boxed: the table is up to twice as large as what is in it.
pub type Adoptions = HashMap<i64, Box<Adoption>>;

/// Sorts adoptions by the name of their gateway, which is in memory once for all of them.
pub fn by_gateway(adoptions: Vec<Adoption>) -> HashMap<Arc<str>, Adoptions> {
    let mut gateways: HashMap<Arc<str>, Adoptions> = HashMap::new();
    for mut adoption in adoptions {
        if let Some((name, _)) = gateways.get_key_value(&adoption.gateway) {
            adoption.gateway = Arc::clone(name);
        }
        let gateway = gateways.entry(Arc::clone(&adoption.gateway)).or_default();
        gateway.insert(adoption.channel, Box::new(adoption));
    }
    gateways
}

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The very key that should be there.
    Current,
    /// Nobody's in particular: the channel was never adopted, whatever it holds is displaced.
    Unadopted,
    /// One of ours, an earlier one or another credential's: ours to replace.
    Ours,
    /// The one that was there before we came: a restored backup, ours to replace.
    Displaced,
    /// Somebody else's.
    Stranger,
}

/// Says whose key a channel holds.
///
/// `wanted` is the key that should be there, and `fingerprint` its fingerprint, which only counts where the gateway shows
/// no keys; `seen` says whether the vault knows the present one as one of ours (asked only when nothing else decides).
pub fn owner(
    view: &ChannelView,
    adoption: Option<&Adoption>,
    wanted: Option<&Secret>,
    fingerprint: Option<&str>,
    seen: bool,
) -> Owner {
    let Some(adoption) = adoption else {
        return Owner::Unadopted;
    };
    let Some(held) = &view.key else {
        // Nobody can tell: what was delivered last is taken to be there still, unless a person says otherwise.
        let state = &adoption.state;
        let is_current = fingerprint.is_some() && state.fingerprint.as_deref() == fingerprint && !state.take_over;
        return match state.delivered_at {
            None => Owner::Unadopted,
            Some(_) if is_current => Owner::Current,
            Some(_) => Owner::Ours,
        };
    };
    if wanted == Some(held) {
        Owner::Current
    } else if seen {
        Owner::Ours
    } else if adoption.state.delivered_at.is_none() {
        // Nothing of ours ever arrived there.
        Owner::Unadopted
    } else if adoption.displaced.as_ref() == Some(held) {
        Owner::Displaced
    } else {
        Owner::Stranger
    }
}

/// Whether this adoption is of this very channel: SQLite gives the id of a deleted last channel out again.
pub fn same_channel(view: &ChannelView, adoption: &Adoption) -> bool {
    view.id == adoption.channel && view.created_time == adoption.created_time
}
