//! What is remembered of a credential, and how an answer changes it.
//!
//! A record outlives its place in the config file: it has an id of its own, keeps its tokens when the credential is
//! removed, and is stored whole in the vault. The transitions here are pure; they never lose a refresh token.

mod grant;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use serde::{Deserialize, Serialize};

use crate::config::plan::{CredentialPlan, Grant};
use crate::credential::policy::{LONGEST_WAIT, backoff, slow_backoff};
use crate::reason::{Reason, TokenReason};
use crate::secret::Secret;
use crate::shared::Shared;
use crate::time::Timestamp;

pub use grant::AccessGrant;

/// The identity of a record; never given out twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(pub i64);

/// What is looked up by record. We give the ids out ourselves: nobody can choose them so that they collide.
pub type ByRecord<T> = HashMap<RecordId, T, BuildHasherDefault<IdHasher>>;

/// See [`ByRecord`].
#[derive(Debug, Clone, Copy, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_i64(i64::from(*byte)));
    }

    fn write_i64(&mut self, id: i64) {
        // Fibonacci hashing: ids that follow one another are spread over all bits.
        self.0 = (self.0 ^ id.cast_unsigned()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// For which client a refresh token was issued: it is never sent in the name of another (RFC 6749 §6).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientIdentity {
    /// The `grant_type` parameter.
    pub grant_type: Shared,
    /// The client's identifier; empty where the service has none.
    pub client_id: Shared,
}

impl ClientIdentity {
    /// The identity a plan speaks with.
    pub fn of(plan: &CredentialPlan) -> Self {
        let client_id = plan.endpoint.client_id.as_deref().unwrap_or_default();
        Self { grant_type: plan.grant.as_str().into(), client_id: client_id.into() }
    }
}

/// Everything that is remembered of a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its identity.
    pub id: RecordId,
    /// The credential's name in the config file.
    pub name: String,
    /// For which client the tokens were issued.
    pub client: ClientIdentity,
    /// The refresh token to send next.
    pub refresh_token: Option<Secret>,
    /// A never-seen seed, to be tried before [`Record::refresh_token`], which stays until this one succeeded.
    pub candidate: Option<Secret>,
    /// The access token that serves now.
    pub access: Option<AccessGrant>,
    /// Everything that is not a secret.
    pub state: State,
}

/// The part of a record that is not secret; stored as JSON, where what is as ever is left out: short rows make cheap
/// commits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The token endpoint that was asked last.
    pub token_url: Shared,
    /// How often a refresh succeeded.
    pub generation: u64,
    /// A request is under way: durable before it leaves.
    #[serde(skip_serializing_if = "is_default")]
    pub attempt: Option<Attempt>,
    /// An answer was lost, and the server may have rotated.
    #[serde(skip_serializing_if = "is_default")]
    pub lost: Option<Lost>,
    /// Nothing was lost in flight: the vault turned out to be an older state of itself.
    #[serde(skip_serializing_if = "is_default")]
    pub vault_was_older: bool,
    /// Only a human, a new seed or a changed config can help.
    #[serde(skip_serializing_if = "is_default")]
    pub halt: Option<Box<Halt>>,
    /// Failures in a row.
    #[serde(skip_serializing_if = "is_default")]
    pub failures: u32,
    /// Since when it fails.
    #[serde(skip_serializing_if = "is_default")]
    pub failing_since: Option<Timestamp>,
    /// The last failure; cleared by a success.
    #[serde(skip_serializing_if = "is_default")]
    pub last_error: Option<Box<Reason>>,
    /// A person asked for a request now; settled by the next one.
    #[serde(skip_serializing_if = "is_default")]
    pub asked: bool,
    /// No request before this moment (backoff with its jitter, or the server's wish).
    #[serde(skip_serializing_if = "is_default")]
    pub not_before: Option<Timestamp>,
    /// Drawn once for each access token: the share of a tenth of the lead, in thousandths.
    pub jitter: u16,
    /// When the last refresh succeeded.
    #[serde(skip_serializing_if = "is_default")]
    pub refreshed_at: Option<Timestamp>,
    /// Learned from answers: does a refresh invalidate the refresh token that was sent? A server that did so once may
    /// do so again, even if not every answer brings a new one.
    #[serde(skip_serializing_if = "is_default")]
    pub rotates: Option<bool>,
    /// The refresh token was refused: after a seed that is refused too there is nothing to go on with.
    #[serde(skip_serializing_if = "is_default")]
    pub refused: bool,
    /// When the refresh token came.
    #[serde(skip_serializing_if = "is_default")]
    pub refresh_token_at: Option<Timestamp>,
    /// When the refresh token itself dies, where the server says so.
    #[serde(skip_serializing_if = "is_default")]
    pub refresh_token_expires_at: Option<Timestamp>,
}

/// Whether a value is what the reading of a row without it comes to.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A request that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it was begun.
    pub at: Timestamp,
    /// Whether the candidate is sent, not the refresh token.
    pub candidate: bool,
}

/// A lost answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// When it was lost.
    pub at: Timestamp,
    /// Whether the candidate had been sent.
    pub candidate: bool,
    /// How often the same refresh token was sent again since, without an answer.
    pub asked_again: u32,
}

/// Why a credential is halted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// The class, as `status` shows it.
    pub kind: HaltKind,
    /// What happened.
    pub reason: Reason,
    /// Since when.
    pub at: Timestamp,
    /// A fingerprint of what was configured (endpoint, client, secrets): another one revives a misconfigured
    /// credential. Hex.
    pub configured: Option<String>,
}

/// The classes of a halt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaltKind {
    /// The refresh token is dead.
    Revoked,
    /// The config, a secret or the client's registration is wrong.
    Misconfigured,
    /// An answer was lost and the refresh token is refused since.
    OutcomeUnknown,
    /// There is none.
    NoRefreshToken,
}

impl HaltKind {
    /// The name as `status` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Misconfigured => "misconfigured",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::NoRefreshToken => "no_refresh_token",
        }
    }
}

/// What a refresh came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The request never left; retry freely.
    NotSent(TokenReason),
    /// It left, and whether the server rotated is not known.
    Unknown(TokenReason),
    /// The server answered.
    Answered(Answer),
}

/// A token endpoint's answer: its two tokens are judged separately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The access token, or why there is none.
    pub access: Result<AccessGrant, TokenError>,
    /// A sound refresh token, if one came; it replaces the one that was sent.
    pub refresh_token: Option<Secret>,
    /// When that one dies, where the server says so.
    pub refresh_token_expires_at: Option<Timestamp>,
}

/// An answer without an access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenError {
    /// What it means for us.
    pub class: ErrorClass,
    /// What is told.
    pub reason: TokenReason,
    /// Until when the server wants to be left alone.
    pub retry_after: Option<Timestamp>,
}

/// What an error means for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Goes away: back off.
    Transient,
    /// Goes away slowly, if at all: back off at the longest step.
    Slow,
    /// The refresh token is dead.
    Revoked,
    /// The client, scope or grant is wrong.
    Misconfigured,
    /// Whether the server rotated is not known.
    Unknown,
}

/// What a settled refresh means, for events and counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settled {
    /// A new access token.
    Refreshed,
    /// Tried again later.
    Failed,
    /// The answer was lost and the server may have rotated.
    Lost,
    /// A new seed was refused; the previous refresh token goes on.
    SeedRefused,
    /// Halted.
    Halted(HaltKind),
}

impl Settled {
    /// Every `outcome` label of `refreshes_total`.
    pub const OUTCOMES: [&str; 5] = ["ok", "transient", "revoked", "misconfigured", "unknown_outcome"];

    /// The `outcome` label of `refreshes_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refreshed => "ok",
            Self::Failed => "transient",
            Self::Lost | Self::Halted(HaltKind::OutcomeUnknown) => "unknown_outcome",
            Self::SeedRefused | Self::Halted(HaltKind::Revoked | HaltKind::NoRefreshToken) => "revoked",
            Self::Halted(HaltKind::Misconfigured) => "misconfigured",
        }
    }
}

impl Record {
    /// A record that knows nothing yet.
    pub fn new(id: RecordId, plan: &CredentialPlan) -> Self {
        Self {
            id,
            name: plan.name.to_string(),
            client: ClientIdentity::of(plan),
            refresh_token: None,
            candidate: None,
            access: None,
            state: State { token_url: plan.endpoint.url.as_str().into(), ..State::default() },
        }
    }

    /// Whether a refresh invalidates the refresh token that is sent: configured, learned, else assumed.
    pub fn rotates(&self, plan: &CredentialPlan) -> bool {
        matches!(plan.grant, Grant::RefreshToken { .. }) && plan.rotates.or(self.state.rotates).unwrap_or(true)
    }

    /// The refresh token the next request sends: a lost candidate is asked again before anything else, a new one is
    /// tried first.
    pub fn token_to_send(&self) -> Option<&Secret> {
        self.candidate.as_ref().or(self.refresh_token.as_ref())
    }

    /// Takes a seed that was never seen: it is tried first, and brings a halted credential back to life.
    pub fn take_seed(&mut self, seed: Secret) {
        self.candidate = Some(seed);
        self.revive();
        self.state.lost = self.state.lost.filter(|lost| !lost.candidate);
    }

    /// Brings a halted credential back to life, as a person or a changed config asks.
    pub fn revive(&mut self) {
        self.state.halt = None;
        self.state.not_before = None;
    }

    /// A person asks for another try now, whatever the wait and whatever was lost. False when nothing is the matter, or
    /// nothing is left to send: the halt that says so stands until there is.
    pub fn ask_again(&mut self) -> bool {
        let troubled = self.state.halt.is_some() || self.state.failures > 0;
        if !troubled || self.has_nothing_to_send() {
            return false;
        }
        self.revive();
        self.state.asked = true;
        true
    }

    /// Whether it is halted without a refresh token to go on with.
    pub fn has_nothing_to_send(&self) -> bool {
        self.state.halt.is_some() && *self.client.grant_type == *"refresh_token" && self.token_to_send().is_none()
    }

    /// Notes that a request is about to leave; to be made durable first.
    pub fn begin(&mut self, now: Timestamp) {
        self.state.attempt = Some(Attempt { at: now, candidate: self.candidate.is_some() });
    }

    /// A marker found at start: the program died while a request was under way.
    pub fn found_marker(&mut self, plan: &CredentialPlan, now: Timestamp, jitter: f64) -> Option<Settled> {
        let attempt = self.state.attempt?;
        let reason = TokenReason::DiedInFlight { at: attempt.at };
        Some(self.settle(plan, Outcome::Unknown(reason), now, jitter))
    }

    /// The vault that this record was read from is an older state of itself. If a refresh spends the refresh token,
    /// this one may be spent: it is asked once, late, like one whose answer was lost. Says whether it is so.
    pub fn doubt(&mut self, plan: Option<&CredentialPlan>, now: Timestamp) -> bool {
        let rotates = plan.map_or(self.state.rotates != Some(false), |plan| self.rotates(plan));
        if !rotates || self.token_to_send().is_none() || self.state.halt.is_some() {
            return false;
        }
        self.state.attempt = None;
        let candidate = self.candidate.is_some();
        self.state.lost = Some(Lost { at: now, candidate, asked_again: 0 });
        self.state.vault_was_older = true;
        self.note_failure(TokenReason::VaultIsOlder { code: None }.into(), now);
        true
    }

    /// Applies what a refresh came to. `jitter` is in `0.0..1.0`, drawn for this once.
    pub fn settle(&mut self, plan: &CredentialPlan, outcome: Outcome, now: Timestamp, jitter: f64) -> Settled {
        let attempt = self.state.attempt.take().unwrap_or(Attempt { at: now, candidate: self.candidate.is_some() });
        self.state.asked = false;
        match outcome {
            Outcome::NotSent(reason) => self.fail(plan, reason, None, false, now, jitter),
            Outcome::Unknown(reason) => self.lose(plan, attempt, reason, now, jitter),
            Outcome::Answered(answer) => {
                let rotated = answer.refresh_token.is_some();
                if let Some(successor) = answer.refresh_token {
                    self.rotate(attempt, successor, answer.refresh_token_expires_at, now);
                }
                match answer.access {
                    Ok(grant) => self.succeed(attempt, grant, rotated, jitter, now),
                    // Half an answer: its refresh token is kept, its access token is not.
                    Err(error) if rotated => self.fail(plan, error.reason, error.retry_after, false, now, jitter),
                    Err(error) => self.refuse(plan, attempt, error, now, jitter),
                }
            }
        }
    }

    /// A returned refresh token replaces the one that was sent (RFC 6749 §6).
    fn rotate(&mut self, attempt: Attempt, successor: Secret, dies: Option<Timestamp>, now: Timestamp) {
        let sent = if attempt.candidate { self.candidate.take() } else { self.refresh_token.take() };
        let rotated = sent.as_ref() != Some(&successor);
        self.state.rotates = Some(rotated || self.state.rotates == Some(true));
        self.state.refused = false;
        self.refresh_token = Some(successor);
        self.state.refresh_token_at = Some(now);
        self.state.refresh_token_expires_at = dies;
        self.state.lost = None;
        self.state.vault_was_older = false;
    }

    fn succeed(&mut self, attempt: Attempt, grant: AccessGrant, rotated: bool, jitter: f64, now: Timestamp) -> Settled {
        if !rotated {
            if attempt.candidate
                && let Some(seed) = self.candidate.take()
            {
                self.refresh_token = Some(seed);
                self.state.refresh_token_at = Some(now);
                self.state.refresh_token_expires_at = None;
            }
            self.state.rotates.get_or_insert(false);
        }
        self.access = Some(grant);
        self.state = State {
            generation: self.state.generation + 1,
            jitter: thousandths(jitter),
            refreshed_at: Some(now),
            lost: None,
            vault_was_older: false,
            halt: None,
            refused: false,
            failures: 0,
            failing_since: None,
            last_error: None,
            not_before: None,
            ..std::mem::take(&mut self.state)
        };
        Settled::Refreshed
    }

    fn refuse(
        &mut self,
        plan: &CredentialPlan,
        attempt: Attempt,
        error: TokenError,
        now: Timestamp,
        jitter: f64,
    ) -> Settled {
        match error.class {
            ErrorClass::Transient => self.fail(plan, error.reason, error.retry_after, false, now, jitter),
            ErrorClass::Slow => self.fail(plan, error.reason, error.retry_after, true, now, jitter),
            ErrorClass::Unknown => self.lose(plan, attempt, error.reason, now, jitter),
            ErrorClass::Misconfigured => self.halt(HaltKind::Misconfigured, error.reason, now),
            ErrorClass::Revoked if matches!(plan.grant, Grant::RefreshToken { .. }) => {
                self.refresh_token_refused(attempt, error.reason, now)
            }
            // Without a refresh token there is nothing to revoke: the client itself is refused.
            ErrorClass::Revoked => self.halt(HaltKind::Misconfigured, error.reason, now),
        }
    }

    fn refresh_token_refused(&mut self, attempt: Attempt, reason: TokenReason, now: Timestamp) -> Settled {
        let lost = self.state.lost.filter(|lost| lost.candidate == attempt.candidate);
        let code = match &reason {
            TokenReason::Revoked { code } => code.clone(),
            _ => String::new(),
        };
        if attempt.candidate {
            self.candidate = None;
            if lost.is_some() {
                self.state.lost = None;
            }
            if self.refresh_token.is_some() && !self.state.refused {
                self.state.last_error = Some(Box::new(TokenReason::SeedRefused { code }.into()));
                self.state.not_before = None;
                return Settled::SeedRefused;
            }
        } else {
            self.state.refused = true;
        }
        match lost.or(self.state.lost) {
            Some(lost) => {
                let code = Some(code);
                let reason = if self.state.vault_was_older {
                    TokenReason::VaultIsOlder { code }
                } else {
                    TokenReason::OutcomeUnknown { lost_at: lost.at, code }
                };
                self.halt(HaltKind::OutcomeUnknown, reason, now)
            }
            None => self.halt(HaltKind::Revoked, reason, now),
        }
    }

    /// Stops refreshing until a human, a new seed or a changed config helps. The access token goes on serving.
    pub fn halt(&mut self, kind: HaltKind, reason: TokenReason, now: Timestamp) -> Settled {
        let reason = Reason::from(reason);
        self.note_failure(reason.clone(), now);
        self.state.halt = Some(Box::new(Halt { kind, reason, at: now, configured: None }));
        Settled::Halted(kind)
    }

    fn lose(
        &mut self,
        plan: &CredentialPlan,
        attempt: Attempt,
        reason: TokenReason,
        now: Timestamp,
        jitter: f64,
    ) -> Settled {
        if !self.rotates(plan) {
            return self.fail(plan, reason, None, false, now, jitter);
        }
        let asked_again = match self.state.lost {
            Some(lost) if lost.candidate == attempt.candidate => lost.asked_again.saturating_add(1),
            _ => 0,
        };
        let at = self.state.lost.filter(|_| asked_again > 0).map_or(attempt.at, |lost| lost.at);
        self.state.lost = Some(Lost { at, candidate: attempt.candidate, asked_again });
        self.fail(plan, reason, None, false, now, jitter);
        Settled::Lost
    }

    fn fail(
        &mut self,
        plan: &CredentialPlan,
        reason: TokenReason,
        retry_after: Option<Timestamp>,
        slow: bool,
        now: Timestamp,
        jitter: f64,
    ) -> Settled {
        let wait =
            if slow { slow_backoff(plan.backoff, jitter) } else { backoff(plan.backoff, self.state.failures, jitter) };
        self.note_failure(reason.into(), now);
        let own = now + wait;
        // A wish beyond a day is a mistake or malice.
        self.state.not_before = Some(retry_after.map_or(own, |wish| wish.min(now + LONGEST_WAIT).max(own)));
        Settled::Failed
    }

    /// The wall clock was set by so many milliseconds: every moment that is still to come keeps its distance from now.
    pub fn shift(&mut self, milliseconds: i64) {
        let grant = self.access.iter_mut().flat_map(|grant| [&mut grant.issued_at, &mut grant.expires_at]);
        let state = &mut self.state;
        let optional = [
            &mut state.not_before,
            &mut state.failing_since,
            &mut state.refreshed_at,
            &mut state.refresh_token_at,
            &mut state.refresh_token_expires_at,
        ];
        let attempt = state.attempt.as_mut().map(|attempt| &mut attempt.at);
        let lost = state.lost.as_mut().map(|lost| &mut lost.at);
        for moment in grant.chain(optional.into_iter().flatten()).chain(attempt).chain(lost) {
            *moment = moment.shifted(milliseconds);
        }
    }

    /// No request left, for a reason of our own (a secret, the vault): tried again later.
    pub fn ground(&mut self, plan: &CredentialPlan, reason: Reason, now: Timestamp, jitter: f64) {
        let wait = backoff(plan.backoff, self.state.failures, jitter);
        self.state.attempt = None;
        self.note_failure(reason, now);
        self.state.not_before = Some(now + wait);
    }

    fn note_failure(&mut self, reason: Reason, now: Timestamp) {
        self.state.failures = self.state.failures.saturating_add(1);
        self.state.failing_since.get_or_insert(now);
        self.state.last_error = Some(Box::new(reason));
    }
}

/// Whose record is whose: by name and client, the youngest where there are several.
pub fn by_client<'r>(records: impl Iterator<Item = &'r Record>) -> HashMap<(&'r str, ClientIdentity), RecordId> {
    let mut found: HashMap<(&str, ClientIdentity), RecordId> = HashMap::new();
    for record in records {
        let id = found.entry((&record.name, record.client.clone())).or_insert(record.id);
        *id = record.id.max(*id);
    }
    found
}

/// The record that bears a credential's name and belongs to its client, the youngest where there are several.
pub fn youngest<'r>(records: impl Iterator<Item = &'r Record>, plan: &CredentialPlan) -> Option<&'r Record> {
    let client = ClientIdentity::of(plan);
    records.filter(|record| *record.name == *plan.name && record.client == client).max_by_key(|record| record.id)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000 first")]
fn thousandths(share: f64) -> u16 {
    (share.clamp(0.0, 1.0) * 1000.0) as u16
}

#[cfg(test)]
mod tests;
