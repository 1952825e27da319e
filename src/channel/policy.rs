//! What is to be done with a channel: leave it, publish into it, enable it again, or tell somebody. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channel::ownership::{Adoption, Owner, same_channel};
use crate::channel::view::{ChannelView, Status};
use crate::config::plan::{GatewayPlan, OnForeignKey};
use crate::reason::ChannelReason;
use crate::time::Timestamp;

/// How a channel stands, as `status` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelState {
    /// It holds the current key.
    Delivered,
    /// The current key is on its way, or there is none yet.
    Pending,
    /// Somebody else wrote its key.
    Foreign,
    /// It is gone.
    Missing,
    /// Disabled by hand; its key is kept current.
    DisabledByHand,
    /// Enabled again too often.
    Flapping,
    /// Given back.
    Released,
    /// Its key is not ours to write.
    Unsupported,
    /// Another name for a channel that is fed already.
    Conflict,
}

impl ChannelState {
    /// The name as `status` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Pending => "pending",
            Self::Foreign => "foreign",
            Self::Missing => "missing",
            Self::DisabledByHand => "disabled_by_hand",
            Self::Flapping => "flapping",
            Self::Released => "released",
            Self::Unsupported => "unsupported",
            Self::Conflict => "conflict",
        }
    }
}

/// What is to be done with a channel now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelDecision {
    /// Nothing.
    Leave(ChannelState),
    /// Write the key.
    Publish {
        /// Whether status 3 becomes 1 with it.
        reenable: bool,
    },
    /// Only enable it again: the old key, cached by the gateway, got it disabled after the new one was written.
    Reenable,
    /// Put the key back that was there before we came.
    GiveBack,
    /// Get a new key now: the gateway says that this one is dead. Asked once for each key, and counted against the
    /// day's limit.
    Refresh,
    /// Nothing, and somebody should know.
    Report(ChannelState, ChannelReason),
}

/// All that a decision about a channel looks at.
#[derive(Debug, Clone)]
pub struct Look<'a> {
    /// What is remembered of it; `None` while it was never adopted.
    pub adoption: Option<&'a Adoption>,
    /// What was seen of it; `None` when it is not there.
    pub view: Option<&'a ChannelView>,
    /// What its gateway says of a channel of this type.
    pub supported: Result<(), ChannelReason>,
    /// Whose key it holds.
    pub owner: Owner,
    /// When the key that should be there dies; `None` while there is none.
    pub key_expires_at: Option<Timestamp>,
    /// The generation of that key.
    pub generation: u64,
    /// How long the gateway may go on using the previous key.
    pub lag: Duration,
}

/// After the cache lag, how much longer a status flip is put down to the old key.
pub const LAG_MARGIN: Duration = Duration::from_secs(10);
/// How often a day a channel is enabled again outside of that window.
const REENABLED_A_DAY: usize = 3;
const DAY: Duration = Duration::from_secs(86_400);

/// Decides what is to be done with a channel.
pub fn decide(plan: &GatewayPlan, look: Look<'_>, now: Timestamp) -> ChannelDecision {
    let Look { adoption, view, supported, owner, key_expires_at, generation, lag } = look;
    let released = adoption.is_some_and(|adoption| adoption.state.released);
    let Some(view) = view else {
        return match released {
            true => ChannelDecision::Leave(ChannelState::Released),
            false => ChannelDecision::Report(ChannelState::Missing, ChannelReason::Missing),
        };
    };
    if released {
        let is_ours = matches!(owner, Owner::Current | Owner::Ours);
        // What was displaced may itself be one of ours: then it is back already.
        let is_owed = |adoption: &Adoption| {
            same_channel(view, adoption) && adoption.displaced.is_some() && adoption.displaced != view.key
        };
        return match is_ours && adoption.is_some_and(is_owed) {
            true => ChannelDecision::GiveBack,
            false => ChannelDecision::Leave(ChannelState::Released),
        };
    }
    if adoption.is_some_and(|adoption| !same_channel(view, adoption)) {
        return ChannelDecision::Report(ChannelState::Missing, ChannelReason::Replaced);
    }
    if let Err(reason) = supported {
        return ChannelDecision::Report(ChannelState::Unsupported, reason);
    }
    let Some(expires_at) = key_expires_at else {
        return ChannelDecision::Leave(ChannelState::Pending);
    };
    let may_replace =
        plan.on_foreign_key == OnForeignKey::Overwrite || adoption.is_some_and(|adoption| adoption.state.take_over);
    if owner == Owner::Stranger && !may_replace {
        return ChannelDecision::Report(ChannelState::Foreign, ChannelReason::Foreign);
    }
    let disabled_by_key = view.status == Status::AutoDisabled && is_about_the_key(view.status_reason.as_deref());
    if owner != Owner::Current {
        if expires_at <= now {
            return ChannelDecision::Leave(ChannelState::Pending);
        }
        // Its abilities are what a gateway switches off first: it died, or was killed, between the two.
        let half_disabled = view.status == Status::Enabled && view.abilities_off;
        return ChannelDecision::Publish { reenable: plan.reenable && (disabled_by_key || half_disabled) };
    }
    match view.status {
        Status::DisabledByHand => ChannelDecision::Leave(ChannelState::DisabledByHand),
        Status::AutoDisabled if !plan.reenable || expires_at <= now => ChannelDecision::Leave(ChannelState::Delivered),
        Status::AutoDisabled if !disabled_by_key => {
            let words = view.status_reason.as_deref().unwrap_or_default().chars().take(100).collect();
            ChannelDecision::Report(ChannelState::Delivered, ChannelReason::DisabledForOtherReason { words })
        }
        Status::AutoDisabled => reenable(adoption, generation, lag, now),
        Status::Enabled if view.abilities_off => {
            ChannelDecision::Report(ChannelState::Delivered, ChannelReason::AbilitiesOff)
        }
        Status::Enabled | Status::Other(_) => ChannelDecision::Leave(ChannelState::Delivered),
    }
}

/// A channel that holds the right key and is disabled: the stale cache's doing for a while; after that the key itself
/// is dead, and a new one is asked for, three times a day.
fn reenable(adoption: Option<&Adoption>, generation: u64, lag: Duration, now: Timestamp) -> ChannelDecision {
    let Some(Adoption { state, .. }) = adoption else { return ChannelDecision::Leave(ChannelState::Delivered) };
    if state.key_written_at.is_some_and(|written_at| now <= written_at + lag + LAG_MARGIN) {
        return ChannelDecision::Reenable;
    }
    if state.asked_for_after == Some(generation) {
        // The new key is on its way, or cannot be had; this one is not tried again.
        return ChannelDecision::Leave(ChannelState::Delivered);
    }
    if state.reenabled_at.iter().filter(|at| now.since(**at) < DAY).count() < REENABLED_A_DAY {
        ChannelDecision::Refresh
    } else {
        ChannelDecision::Report(ChannelState::Flapping, ChannelReason::Flapping)
    }
}

/// Whether the gateway's stored reason for a disabled channel speaks of its key. Gateways that store none (one-api),
/// or an empty one, get the benefit of the doubt: a dead key is by far the commonest reason.
///
/// Source: new-api stores `status_code=401, …` or the upstream's words (`other_info.status_reason`).
fn is_about_the_key(reason: Option<&str>) -> bool {
    const WORDS: [&str; 13] = [
        "status_code=401",
        "unauthorized",
        "unauthenticated",
        "authentication",
        "api key",
        "api_key",
        "access token",
        "invalid token",
        "invalid_token",
        "token is expired",
        "token expired",
        "token has expired",
        "credential",
    ];
    let Some(reason) = reason.filter(|reason| !reason.trim().is_empty()) else {
        return true;
    };
    let reason = reason.to_lowercase();
    WORDS.iter().any(|word| reason.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::ownership::{AdoptionState, owner};
    use crate::config::plan::{CacheLag, DEFAULT_GATEWAY, Database};
    use crate::credential::record::RecordId;
    use crate::secret::Secret;

    const NOW: i64 = 1_000_000;
    const LAG: Duration = Duration::from_secs(60);

    fn gateway(on_foreign_key: OnForeignKey, reenable: bool) -> GatewayPlan {
        GatewayPlan {
            name: DEFAULT_GATEWAY.into(),
            database: Database::File("/x".into()),
            api: None,
            kind: None,
            cache_lag: CacheLag::ByKind,
            busy_timeout: Duration::from_secs(5),
            on_foreign_key,
            reenable,
            allow_filesystem: vec![],
        }
    }

    fn view(status: i64, key: &str) -> ChannelView {
        ChannelView {
            id: 1,
            kind: 50,
            name: "codex-a".into(),
            status: status.into(),
            key: Some(Secret::new(key)),
            created_time: 7,
            multi_key: false,
            status_reason: None,
            abilities_off: false,
        }
    }

    fn adoption(written: i64, reenabled: &[i64]) -> Adoption {
        Adoption {
            gateway: "default".into(),
            channel: 1,
            created_time: 7,
            name: "codex-a".into(),
            record: RecordId(1),
            displaced: Some(Secret::new("before")),
            state: AdoptionState {
                delivered_at: Some(Timestamp::from_seconds(written)),
                key_written_at: Some(Timestamp::from_seconds(written)),
                reenabled_at: reenabled.iter().map(|at| Timestamp::from_seconds(*at)).collect(),
                ..AdoptionState::default()
            },
        }
    }

    fn decided(
        plan: &GatewayPlan,
        adoption: Option<&Adoption>,
        view: Option<&ChannelView>,
        seen: bool,
    ) -> ChannelDecision {
        let key = Secret::new("new");
        let owner = view.map_or(Owner::Unadopted, |view| owner(view, adoption, Some(&key), None, seen));
        let key_expires_at = Some(Timestamp::from_seconds(NOW + 3600));
        let look = Look { adoption, view, supported: Ok(()), owner, key_expires_at, generation: 4, lag: LAG };
        decide(plan, look, Timestamp::from_seconds(NOW))
    }

    #[test]
    fn a_channel_is_adopted_whatever_key_it_holds_and_revived_once() {
        let plan = gateway(OnForeignKey::Report, true);
        assert_eq!(decided(&plan, None, Some(&view(1, "x")), false), ChannelDecision::Publish { reenable: false });
        assert_eq!(decided(&plan, None, Some(&view(3, "x")), false), ChannelDecision::Publish { reenable: true });
        assert_eq!(decided(&plan, None, Some(&view(2, "x")), false), ChannelDecision::Publish { reenable: false });
        let never = gateway(OnForeignKey::Report, false);
        assert_eq!(decided(&never, None, Some(&view(3, "x")), false), ChannelDecision::Publish { reenable: false });
    }

    #[test]
    fn our_own_and_the_displaced_key_are_replaced_and_a_strangers_is_not() {
        let plan = gateway(OnForeignKey::Report, true);
        let adoption = adoption(NOW - 9000, &[]);
        let publish = ChannelDecision::Publish { reenable: false };
        assert_eq!(decided(&plan, Some(&adoption), Some(&view(1, "old")), true), publish);
        assert_eq!(decided(&plan, Some(&adoption), Some(&view(1, "before")), false), publish);
        let foreign = ChannelDecision::Report(ChannelState::Foreign, ChannelReason::Foreign);
        assert_eq!(decided(&plan, Some(&adoption), Some(&view(1, "stranger")), false), foreign);
        let overwrite = gateway(OnForeignKey::Overwrite, true);
        assert_eq!(decided(&overwrite, Some(&adoption), Some(&view(1, "stranger")), false), publish);
    }

    #[test]
    fn a_released_channel_gets_its_key_back_and_is_left_alone_then() {
        let plan = gateway(OnForeignKey::Overwrite, true);
        let mut released = adoption(NOW, &[]);
        released.state.released = true;
        assert_eq!(decided(&plan, Some(&released), Some(&view(1, "new")), false), ChannelDecision::GiveBack);
        assert_eq!(decided(&plan, Some(&released), Some(&view(1, "old")), true), ChannelDecision::GiveBack);
        let left = ChannelDecision::Leave(ChannelState::Released);
        for key in ["before", "stranger"] {
            assert_eq!(decided(&plan, Some(&released), Some(&view(3, key)), false), left, "{key}");
        }
        assert_eq!(decided(&plan, Some(&released), Some(&view(1, "before")), true), left, "it was one of ours itself");
        assert_eq!(decided(&plan, Some(&released), None, false), left);
        let mut reused = view(1, "new");
        reused.created_time = 8;
        assert_eq!(decided(&plan, Some(&released), Some(&reused), true), left, "another channel by now");
    }

    #[test]
    fn a_person_may_take_a_strangers_key_over() {
        let plan = gateway(OnForeignKey::Report, true);
        let mut asked = adoption(NOW, &[]);
        asked.state.take_over = true;
        let publish = ChannelDecision::Publish { reenable: false };
        assert_eq!(decided(&plan, Some(&asked), Some(&view(1, "stranger")), false), publish);
    }

    #[test]
    fn row_33_a_channel_disabled_by_hand_stays_so() {
        let plan = gateway(OnForeignKey::Report, true);
        let adoption = adoption(NOW, &[]);
        let left = ChannelDecision::Leave(ChannelState::DisabledByHand);
        assert_eq!(decided(&plan, Some(&adoption), Some(&view(2, "new")), false), left);
    }

    #[test]
    fn rows_35_and_37_reassertions_are_free_while_the_cache_may_lag_and_bounded_after() {
        let plan = gateway(OnForeignKey::Report, true);
        let disabled = view(3, "new");
        let free = ChannelDecision::Reenable;
        assert_eq!(decided(&plan, Some(&adoption(NOW - 69, &[])), Some(&disabled), false), free);
        let counted = ChannelDecision::Refresh;
        assert_eq!(decided(&plan, Some(&adoption(NOW - 71, &[])), Some(&disabled), false), counted);
        let mut asked = adoption(NOW - 71, &[NOW - 1]);
        asked.state.asked_for_after = Some(4);
        let left = ChannelDecision::Leave(ChannelState::Delivered);
        assert_eq!(decided(&plan, Some(&asked), Some(&disabled), false), left, "once for each key");
        let thrice = adoption(NOW - 9000, &[NOW - 300, NOW - 200, NOW - 100]);
        let flapping = ChannelDecision::Report(ChannelState::Flapping, ChannelReason::Flapping);
        assert_eq!(decided(&plan, Some(&thrice), Some(&disabled), false), flapping);
        let yesterday = adoption(NOW - 99_000, &[NOW - 90_000, NOW - 200, NOW - 100]);
        assert_eq!(decided(&plan, Some(&yesterday), Some(&disabled), false), counted);
    }

    #[test]
    fn a_reason_that_is_not_the_key_leaves_the_channel_alone() {
        let plan = gateway(OnForeignKey::Report, true);
        let mut disabled = view(3, "new");
        for words in ["balance too low", "status_code=429, limit of tokens per min reached in request 401403"] {
            disabled.status_reason = Some(words.into());
            let decision = decided(&plan, Some(&adoption(NOW, &[])), Some(&disabled), false);
            let reason = ChannelReason::DisabledForOtherReason { words: words.into() };
            assert_eq!(decision, ChannelDecision::Report(ChannelState::Delivered, reason));
        }
        disabled.status_reason = Some("status_code=401, Provided authentication token is expired.".into());
        let decision = decided(&plan, Some(&adoption(NOW, &[])), Some(&disabled), false);
        assert_eq!(decision, ChannelDecision::Reenable);
    }

    #[test]
    fn an_enabled_channel_whose_abilities_are_off_is_told_and_healed_with_the_next_key() {
        let half = |key| ChannelView { abilities_off: true, ..view(1, key) };
        for (reenable, key, expected) in [
            (true, "new", ChannelDecision::Report(ChannelState::Delivered, ChannelReason::AbilitiesOff)),
            (true, "before", ChannelDecision::Publish { reenable: true }),
            (false, "before", ChannelDecision::Publish { reenable: false }),
        ] {
            let plan = gateway(OnForeignKey::Report, reenable);
            assert_eq!(decided(&plan, Some(&adoption(NOW, &[])), Some(&half(key)), true), expected, "{key}");
        }
        let by_hand = ChannelView { abilities_off: true, ..view(2, "before") };
        let plan = gateway(OnForeignKey::Report, true);
        let kept_current = ChannelDecision::Publish { reenable: false };
        assert_eq!(decided(&plan, Some(&adoption(NOW, &[])), Some(&by_hand), true), kept_current);
    }

    #[test]
    fn rows_32_and_63_a_channel_that_is_gone_or_another_is_not_written() {
        let plan = gateway(OnForeignKey::Overwrite, true);
        let adoption = adoption(NOW, &[]);
        let missing = ChannelDecision::Report(ChannelState::Missing, ChannelReason::Missing);
        assert_eq!(decided(&plan, Some(&adoption), None, false), missing);
        let mut reused = view(1, "x");
        reused.created_time = 8;
        let replaced = ChannelDecision::Report(ChannelState::Missing, ChannelReason::Replaced);
        assert_eq!(decided(&plan, Some(&adoption), Some(&reused), false), replaced);
    }
}
