//! What is to be done with a credential, and when. Pure: takes the time and the jitter, asks nobody.

use std::time::Duration;

use backoff::{BackoffBuilder, ExponentialBuilder};

use crate::config::plan::{Backoff, CredentialPlan, Grant, OnLostAnswer};
use crate::credential::record::{AccessGrant, HaltKind, Record};
use crate::reason::TokenReason;
use crate::time::Timestamp;

/// What is to be done with a credential now, and when to look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenDecision {
    /// Nothing until then; `None`: until something changes.
    Keep(Option<Timestamp>),
    /// Send a refresh.
    Refresh(Why),
    /// Failed before; nothing until then.
    BackOff(Timestamp),
    /// Give up until a human, a new seed or a changed config helps.
    Halt(HaltKind, TokenReason),
}

/// Why a refresh is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// There is no access token yet.
    First,
    /// The access token's time has come.
    Due,
    /// A seed that was never seen.
    NewSeed,
    /// An answer was lost: the same refresh token once more.
    LostAnswer,
    /// A person or the gateway says that the access token is dead.
    Asked,
}

/// How long before the cache lag's edge a lost answer is asked for again.
const LATE_MARGIN: Duration = Duration::from_secs(60);
/// A token from further in the future than this was issued by a clock that has been set back since.
const CLOCK_SLACK: Duration = Duration::from_secs(60);
/// The longest a credential waits after a failure, by its own backoff or the server's wish.
pub const LONGEST_WAIT: Duration = Duration::from_secs(86_400);
/// The shortest time between two refreshes.
const FLOOR: Duration = Duration::from_millis(500);
/// The shortest time between two refreshes when nothing says how long a token lives.
const FLOOR_ASSUMED: Duration = Duration::from_secs(60);

/// Decides what is to be done. `lag` is the longest cache lag of the gateways that the credential feeds.
pub fn decide(plan: &CredentialPlan, record: &Record, lag: Duration, now: Timestamp) -> TokenDecision {
    if !plan.enabled || record.state.halt.is_some() {
        return TokenDecision::Keep(None);
    }
    if matches!(plan.grant, Grant::RefreshToken { .. }) && record.token_to_send().is_none() {
        return TokenDecision::Halt(HaltKind::NoRefreshToken, TokenReason::NoRefreshToken);
    }
    let wanted = match wanted(plan, record, lag, now) {
        Wanted::At(at, why) if at <= now => why,
        Wanted::At(at, _) => return TokenDecision::Keep(Some(at)),
        Wanted::Never(lost_at) => {
            let reason = TokenReason::OutcomeUnknown { lost_at, code: None };
            return TokenDecision::Halt(HaltKind::OutcomeUnknown, reason);
        }
    };
    match record.state.not_before {
        // A wait longer than any is one from before the clock was set back.
        Some(until) if until > now && until.since(now) <= LONGEST_WAIT => TokenDecision::BackOff(until),
        _ => TokenDecision::Refresh(wanted),
    }
}

/// When the next request is wanted, whatever failed before.
enum Wanted {
    At(Timestamp, Why),
    /// The answer of the request at this moment was lost, and it must not be asked for again.
    Never(Timestamp),
}

fn wanted(plan: &CredentialPlan, record: &Record, lag: Duration, now: Timestamp) -> Wanted {
    if record.state.asked {
        return Wanted::At(now, Why::Asked);
    }
    let lost = record.state.lost;
    if record.candidate.is_some() && !lost.is_some_and(|lost| lost.candidate) {
        return Wanted::At(now, Why::NewSeed);
    }
    let Some(grant) = &record.access else {
        return match lost {
            Some(lost) if plan.on_lost_answer == OnLostAnswer::Halt => Wanted::Never(lost.at),
            Some(_) => Wanted::At(now, Why::LostAnswer),
            None => Wanted::At(now, Why::First),
        };
    };
    if grant.issued_at > now + CLOCK_SLACK {
        // The clock was set back while nobody looked: when this token dies is anybody's guess.
        return Wanted::At(now, Why::Due);
    }
    match (lost, plan.on_lost_answer) {
        (None, _) => Wanted::At(refresh_at(plan, record, grant, lag), Why::Due),
        (Some(lost), OnLostAnswer::Halt) => Wanted::Never(lost.at),
        (Some(_), OnLostAnswer::AskNow) => Wanted::At(now, Why::LostAnswer),
        // Once more, late: the successor is lost anyway if the server rotated, and some servers kill the living
        // access token when they see reuse.
        (Some(lost), OnLostAnswer::AskLate) if lost.asked_again == 0 => {
            Wanted::At(grant.expires_at - lag - LATE_MARGIN, Why::LostAnswer)
        }
        // From here on there is nothing left to protect.
        (Some(_), OnLostAnswer::AskLate) => Wanted::At(grant.expires_at, Why::LostAnswer),
    }
}

/// When an access token is to be replaced.
///
/// `expires_at − (lag + refresh_before) − jitter`, the jitter being 0–10 % of that lead; never before half of the
/// lifetime, but at the latest at half of the refresh token's own life; never within the floor. Where a refresh
/// kills the previous access token at once the lag cannot be bought by being early and is left out.
pub fn refresh_at(plan: &CredentialPlan, record: &Record, grant: &AccessGrant, lag: Duration) -> Timestamp {
    let lead = if plan.revokes_previous { plan.refresh_before } else { plan.refresh_before.saturating_add(lag) };
    let jitter = lead / 10 * u32::from(record.state.jitter) / 1000;
    let half = grant.issued_at + grant.expires_at.since(grant.issued_at) / 2;
    let mut at = (grant.expires_at - lead - jitter).max(half);
    if let (Some(came), Some(dies)) = (record.state.refresh_token_at, record.state.refresh_token_expires_at) {
        at = at.min(came + dies.since(came) / 2);
    }
    let floor = if grant.lifetime_assumed { FLOOR_ASSUMED } else { FLOOR };
    at.max(grant.issued_at + floor)
}

/// Whether a gateway may go on using the previous key when it is dead already, however early it is replaced: half of
/// the lifetime is shorter than the cache lag.
pub fn is_short_lived(plan: &CredentialPlan, grant: &AccessGrant, lag: Duration) -> bool {
    !plan.revokes_previous && grant.expires_at.since(grant.issued_at) / 2 < lag
}

/// Failures in a row from which people are told.
pub const FAILING_FROM: u32 = 3;

/// Whether people should hear now that the key will die: while it keeps failing, no try is left that would be in time.
///
/// In time is a try whose key is in use before the old one dies (`lag` is what the gateway may take for that) and that
/// leaves a human half of the time kept for retries. A single failure says so only if the next try comes too late
/// whatever happens, as after a long `Retry-After`.
pub fn is_expiring(plan: &CredentialPlan, record: &Record, lag: Duration, now: Timestamp) -> bool {
    let Some(dies) = record.access.as_ref().map(|grant| grant.expires_at) else { return false };
    let (failures, next) = (record.state.failures, record.state.not_before.unwrap_or(now));
    let is_late = next >= dies || failures >= FAILING_FROM && next + plan.refresh_before / 2 >= dies - lag;
    failures > 0 && dies > now && is_late
}

/// The wait after the `failures`-th failure in a row (0: the first): full jitter below an exponential cap, which
/// never leaves the configured bounds. `jitter` is in `0.0..1.0`.
pub fn backoff(bounds: Backoff, failures: u32, jitter: f64) -> Duration {
    // The cap doubles until it reaches the bound: 64 doublings pass any bound.
    let step = usize::try_from(failures.min(64)).unwrap_or(64);
    let cap = ExponentialBuilder::new()
        .with_min_delay(bounds.min)
        .with_max_delay(bounds.max)
        .with_factor(2.0)
        .without_max_times()
        .build()
        .nth(step)
        .unwrap_or(bounds.max);
    cap.mul_f64(jitter.clamp(0.0, 1.0)).clamp(bounds.min, bounds.max)
}

/// The wait where hurrying cannot help: the upper half of the longest step.
pub fn slow_backoff(bounds: Backoff, jitter: f64) -> Duration {
    (bounds.max / 2 + (bounds.max / 2).mul_f64(jitter.clamp(0.0, 1.0))).clamp(bounds.min, bounds.max)
}

#[cfg(test)]
mod tests;
