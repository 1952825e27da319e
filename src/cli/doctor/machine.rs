//! This machine: its clock, whether edits are seen, and the keyring where one is used.

use std::time::Duration;

use crate::agent::watch;
use crate::cli::doctor::Surroundings;
use crate::cli::doctor::report::{Checks, Topic, Verdict};
use crate::cli::doctor::secrets::Outcomes;
use crate::oauth::client::Heard;
use crate::reason::{AgentReason, SecretReason};
use crate::secret::SecretSource;
use crate::time;

/// How far the clock may be off: assertions and moments of expiry are taken at their word up to about here.
const FAR: Duration = Duration::from_secs(60);

/// Looks at the machine. `heard` are the token endpoints' answers, whose `Date` the clock is compared with.
pub fn look(around: &Surroundings<'_>, heard: &[(String, Heard)], secrets: &Outcomes, checks: &mut Checks) {
    clock(around, heard, checks);
    match watch::probe(&around.config) {
        Ok(()) => checks.good(Topic::Machine, "", around.words.inotify),
        Err(reason) => checks.find(Topic::Machine, "", Verdict::Warning, &reason.into()),
    }
    keyring(around, secrets, checks);
    if let Some(name) = time::missing_zone() {
        checks.find(Topic::Machine, "TZ", Verdict::Warning, &AgentReason::NoTimeZone { name }.into());
    }
}

fn clock(around: &Surroundings<'_>, heard: &[(String, Heard)], checks: &mut Checks) {
    let mut offsets: Vec<(i64, &str)> =
        heard.iter().filter_map(|(host, heard)| Some((heard.clock_offset()?, host.as_str()))).collect();
    offsets.sort_unstable();
    // In the middle: one server whose clock is wrong does not make ours wrong.
    let Some((seconds, host)) = offsets.get(offsets.len() / 2).copied() else {
        checks.note(Topic::Machine, "", Verdict::Skipped, around.words.clock_unknown);
        return;
    };
    if seconds.unsigned_abs() > FAR.as_secs() {
        let reason = AgentReason::ClockOff { host: host.to_owned(), seconds };
        checks.find(Topic::Machine, "", Verdict::Warning, &reason.into());
    } else {
        checks.good(Topic::Machine, "", around.words.clock.replace("{host}", host));
    }
}

/// Told once, however many secrets are in it.
fn keyring(around: &Surroundings<'_>, secrets: &Outcomes, checks: &mut Checks) {
    let mut asked = secrets.iter().filter(|(source, _)| matches!(source, SecretSource::Keyring { .. })).peekable();
    if asked.peek().is_none() {
        return;
    }
    let is_trouble = |reason: &&SecretReason| {
        matches!(reason, SecretReason::KeyringAbsent | SecretReason::KeyringLocked | SecretReason::KeyringFailed { .. })
    };
    match asked.find_map(|(_, read)| read.as_ref().err().filter(is_trouble)) {
        Some(reason) => {
            let verdict = if around.living.is_some() { Verdict::Warning } else { Verdict::Error };
            checks.find(Topic::Machine, "", verdict, &reason.clone().into());
        }
        None => checks.good(Topic::Machine, "", around.words.keyring),
    }
}
