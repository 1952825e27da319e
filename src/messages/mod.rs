//! The catalogue: the only place with prose for users.
//!
//! Turns a [`Reason`] into a sentence and a remedy, and events into a
//! [`Notice`](crate::notify::services::Notice), in each language. Each language is a module of exhaustive matches,
//! so a reason without words does not compile. Pure; knows nothing of who shows the words. Called by the commands,
//! the page, the log and the notifiers.

mod en;
mod notice;
mod page;
#[cfg(test)]
pub(crate) mod samples;
mod zh_cn;

use std::path::Path;
use std::time::Duration;

pub use notice::{happened, notice, test_notice};
pub use page::PageWords;

use url::Url;

use crate::config::plan::is_loopback;
use crate::config::report::{self, Report};
use crate::finding::Severity;
use crate::reason::{ConfigReason, Language, Reason};
use crate::shape::Problem;
use crate::time::Timestamp;

/// What a person reads about a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What is the matter: one or two sentences.
    pub what: String,
    /// What to do about it, concretely.
    pub remedy: String,
}

impl Message {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// What the commands in a remedy are to name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About<'a> {
    /// The credential.
    pub credential: &'a str,
    /// The channel: its id, after the gateway's name and a slash where there are several.
    pub channel: &'a str,
}

/// Placeholders, as the commands' own help writes them.
impl Default for About<'_> {
    fn default() -> Self {
        Self { credential: "NAME", channel: "ID" }
    }
}

/// A reason in words; commands in the remedy say `NAME` and `ID` where names belong.
pub fn explain(language: Language, reason: &Reason) -> Message {
    explain_about(language, reason, About::default())
}

/// A reason in words; commands in the remedy name what it is about.
pub fn explain_about(language: Language, reason: &Reason, about: About<'_>) -> Message {
    match language {
        Language::English => en::explain(reason, about),
        Language::Chinese => zh_cn::explain(reason, about),
    }
}

/// The few words that tables and lists are made of.
pub fn words(language: Language) -> &'static Words {
    match language {
        Language::English => &en::WORDS,
        Language::Chinese => &zh_cn::WORDS,
    }
}

/// Problems of the config file, a line each: place, field, what is wrong, what to do.
pub fn problem_lines(language: Language, file: &Path, text: &str, problems: &[Problem]) -> Vec<(Severity, String)> {
    let words = |reason: &ConfigReason| {
        let message = explain(language, &Reason::Config(reason.clone()));
        (message.what, message.remedy)
    };
    let line = |report: Report| {
        let place = match (report.line, report.column) {
            (Some(line), Some(column)) => format!(":{line}:{column}"),
            _ => String::new(),
        };
        let field = if report.field.is_empty() { String::new() } else { format!("{}: ", report.field) };
        (report.severity, format!("{}{place}: {field}{} {}", report.file, report.message, report.remedy))
    };
    report::reports(&file.display().to_string(), text, problems, words).into_iter().map(line).collect()
}

/// Words of the commands and the page. Patterns hold `{}` once.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// Severity of a finding.
    pub error: &'static str,
    /// Severity of a finding.
    pub warning: &'static str,
    /// Before a remedy.
    pub help: &'static str,
    /// Pattern for a moment to come.
    pub in_time: &'static str,
    /// Pattern for a moment past.
    pub ago: &'static str,
    /// Patterns for lengths of time: days, hours, minutes, seconds.
    pub units: [&'static str; 4],
    /// Column titles of `status`.
    pub columns: Columns,
    /// A credential's states.
    pub credential: CredentialStates,
    /// A channel's states.
    pub channel: ChannelStates,
    /// In `notify test`: the service has the message.
    pub taken: &'static str,
    /// In `notify test`: it has not.
    pub refused: &'static str,
    /// Beneath `status`.
    pub agent_runs: &'static str,
    /// Beneath `status`: pattern for how long.
    pub agent_runs_since: &'static str,
    /// Beneath `status`.
    pub agent_is_down: &'static str,
    /// The end of `doctor`.
    pub would_work: &'static str,
    /// The end of `doctor`; field mark.
    pub would_not_work: &'static str,
    /// What `doctor` says.
    pub doctor: DoctorWords,
    /// While `once` works; fields refreshed, all, time.
    pub once_progress: &'static str,
    /// `retry` while no agent runs.
    pub tried_at_start: &'static str,
    /// `retry` of a credential that is neither halted nor failing.
    pub nothing_to_retry: &'static str,
    /// A credential's plan in `check`; fields host, channels, lead, lag, retries.
    pub plan: &'static str,
    /// What the `vault` commands say.
    pub vault: VaultWords,
    /// Below it, where a preset filled it; fields preset, fields.
    pub preset: &'static str,
    /// What `login` and `import` say.
    pub login: LoginWords,
    /// What the page says.
    pub page: PageWords,
    /// What a service manager shows of the agent.
    pub service: ServiceWords,
}

/// The status line for a service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceWords {
    /// Pattern for how many there are.
    pub credentials: &'static str,
    /// Between that and their states.
    pub colon: &'static str,
    /// Between states and between names.
    pub comma: &'static str,
    /// Between sentences.
    pub semicolon: &'static str,
    /// A state with names; fields count, names.
    pub named: &'static str,
    /// Pattern for how many more there are.
    pub more: &'static str,
    /// The last good config goes on.
    pub config_rejected: &'static str,
    /// The vault does not take what must be durable.
    pub vault_trouble: &'static str,
    /// Pattern for a gateway that cannot be used.
    pub gateway_trouble: &'static str,
    /// Pattern for a notifier that does not take messages.
    pub notifier_trouble: &'static str,
    /// Pattern for who owns the vault.
    pub standing_by: &'static str,
    /// Pattern for why nobody here can own the vault now.
    pub standing_by_because: &'static str,
    /// Somebody else owns the vault now.
    pub displaced: &'static str,
    /// It ends.
    pub stopping: &'static str,
}

/// What `doctor` says of what is well; fields in braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoctorWords {
    /// The headings: config, secrets, vault, gateways, token endpoints, this machine, notifiers.
    pub topics: [&'static str; 7],
    /// Between two statements.
    pub comma: &'static str,
    /// The end, where there are warnings only; field mark.
    pub would_work_but: &'static str,
    /// What the config holds; fields credentials, gateways, notifiers.
    pub config: &'static str,
    /// A secret is there; field source.
    pub secret: &'static str,
    /// A seed is not there, and nobody needs it; field source.
    pub seed_not_needed: &'static str,
    /// The vault's owner answers; field holder.
    pub agent_answers: &'static str,
    /// No vault yet.
    pub vault_to_come: &'static str,
    /// The vault is sealed.
    pub sealed: &'static str,
    /// It is not.
    pub plain: &'static str,
    /// Pattern for how many records it holds.
    pub records: &'static str,
    /// A database; fields path, kind, channels.
    pub gateway: &'static str,
    /// A channel; fields name, type.
    pub channel: &'static str,
    /// A token endpoint's server; field host.
    pub endpoint: &'static str,
    /// The clock is right; field host.
    pub clock: &'static str,
    /// There is nothing to compare it with.
    pub clock_unknown: &'static str,
    /// Edits of the config are seen.
    pub inotify: &'static str,
    /// The keyring answers.
    pub keyring: &'static str,
    /// A notifier can be reached.
    pub notifier: &'static str,
    /// It took its last message; field ago.
    pub notifier_took: &'static str,
    /// It was not looked at: a secret is missing.
    pub notifier_skipped: &'static str,
    /// What was not tried.
    pub notify_test: &'static str,
}

impl DoctorWords {
    /// The heading of this number.
    pub fn topic(&self, number: usize) -> &'static str {
        self.topics.get(number).copied().unwrap_or_default()
    }
}

/// What the `vault` commands say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaultWords {
    /// After the path of a sound vault.
    pub sound: &'static str,
    /// It is sealed.
    pub sealed: &'static str,
    /// It is, at the latest from the next start on: so `check`, which does not open it.
    pub has_key: &'static str,
    /// It is not, and what that means.
    pub plain: &'static str,
    /// What it holds; fields records, channels, fingerprints, events.
    pub holds: &'static str,
    /// Pattern for who owns it while it was read.
    pub beside: &'static str,
    /// It is an older state of itself.
    pub behind: &'static str,
    /// Pattern for the name of a record without a credential.
    pub orphaned: &'static str,
    /// Pattern for where the new key is.
    pub rekeyed: &'static str,
    /// Pattern for where the vault is now.
    pub set_aside: &'static str,
    /// There was nothing to set aside but the memory of a vault.
    pub forgotten: &'static str,
    /// Asks for a person's word.
    pub type_yes: &'static str,
}

/// The dialogue of `login`, and what `import` says; fields in braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginWords {
    /// Open this address and type the code; fields url, code.
    pub device: &'static str,
    /// Open this address.
    pub browser: &'static str,
    /// Paste the address that the browser ended at.
    pub paste: &'static str,
    /// Somebody waits; field time.
    pub waiting: &'static str,
    /// What the browser shows at the end.
    pub close_the_page: &'static str,
    /// The refresh token is in the vault, and nobody runs who uses it; field credential.
    pub done: &'static str,
    /// The refresh token is in the vault, and the agent uses it now; field credential.
    pub at_work: &'static str,
    /// Nobody takes the refresh token yet; field time.
    pub held: &'static str,
    /// The refresh token would go into the vault; fields file, format, credential.
    pub would_import: &'static str,
    /// How to do it.
    pub say_yes: &'static str,
    /// The config has no such credential; field file.
    pub add_first: &'static str,
    /// Nothing of this file goes into the vault.
    pub nothing_to_import: &'static str,
    /// Below it, where the file has a client secret; the command follows.
    pub client_secret: &'static str,
    /// Who else has the refresh token must not use it any more.
    pub one_owner: &'static str,
    /// A format that the command line told by pointers.
    pub by_pointers: &'static str,
}

/// Column titles of `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after what it says")]
pub struct Columns {
    pub credential: &'static str,
    pub state: &'static str,
    pub expires: &'static str,
    pub next_refresh: &'static str,
    pub failures: &'static str,
    pub channels: &'static str,
}

/// The words for a credential's states, named as in `status --json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after what it says")]
pub struct CredentialStates {
    pub active: &'static str,
    pub failing: &'static str,
    pub uncertain: &'static str,
    pub expired: &'static str,
    pub halted: &'static str,
    pub waiting: &'static str,
    pub disabled: &'static str,
}

/// The words for a channel's states, named as in `status --json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after what it says")]
pub struct ChannelStates {
    pub delivered: &'static str,
    pub pending: &'static str,
    pub foreign: &'static str,
    pub missing: &'static str,
    pub disabled_by_hand: &'static str,
    pub flapping: &'static str,
    pub released: &'static str,
    pub unsupported: &'static str,
    pub conflict: &'static str,
}

impl Words {
    /// A length of time in its two largest units: "1 h 5 min".
    pub fn length(&self, length: Duration) -> String {
        let seconds = length.as_secs();
        let counts = [seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60];
        let first = counts.iter().position(|count| *count > 0).unwrap_or(counts.len() - 1);
        let shown = counts.iter().zip(self.units).skip(first).take(2).enumerate();
        let parts: Vec<String> = shown
            .filter(|(index, (count, _))| *index == 0 || **count > 0)
            .map(|(_, (count, unit))| unit.replace("{}", &count.to_string()))
            .collect();
        parts.join(" ")
    }

    /// How far a moment is from now: "in 25 min", "2 h ago".
    pub fn from_now(&self, moment: Timestamp, now: Timestamp) -> String {
        if moment >= now {
            self.in_time.replace("{}", &self.length(moment.since(now)))
        } else {
            self.since(moment, now)
        }
    }

    /// How long ago something happened: "2 h ago", and "0 s ago" when it just did.
    pub fn since(&self, moment: Timestamp, now: Timestamp) -> String {
        self.ago.replace("{}", &self.length(now.since(moment)))
    }
}

/// A moment inside a sentence, in the machine's time zone and always with its date.
fn moment(at: Timestamp) -> String {
    at.local_short(Timestamp::EPOCH)
}

/// The address of a host, for `curl`: plain http is spoken within this machine only.
fn address(host: &str) -> String {
    let plain = format!("http://{host}/");
    match Url::parse(&plain) {
        Ok(url) if is_loopback(&url) => plain,
        _ => format!("https://{host}/"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::reason::TokenReason;

    #[test]
    fn every_reason_has_words_and_a_remedy_in_both_languages() {
        let reasons = samples::reasons();
        assert!(reasons.len() > 120, "{}", reasons.len());
        for reason in reasons {
            let [english, chinese] = [Language::English, Language::Chinese].map(|language| explain(language, &reason));
            assert_ne!(english.what, chinese.what, "{reason:?}");
            assert_ne!(english.remedy, chinese.remedy, "{reason:?}");
            for (text, ends) in [(&english.what, ['.', '?', '…']), (&english.remedy, ['.', '?', ':'])] {
                assert!(text.len() > 12 && text.ends_with(ends), "{reason:?}: {text}");
                assert!(text.is_ascii() || text.contains('…'), "{reason:?}: {text}");
            }
            for text in [&chinese.what, &chinese.remedy] {
                assert!(text.ends_with(['。', '？']), "{reason:?}: {text}");
                assert!(text.chars().any(|c| ('一'..='鿿').contains(&c)), "{reason:?}: {text}");
            }
        }
    }

    #[test]
    fn both_languages_show_the_same_facts() {
        // What stands in backticks or braces is typed as it is: it must not be lost in translation.
        for reason in samples::reasons() {
            let typed = |language| {
                let Message { what, remedy } = explain(language, &reason);
                let text = format!("{what} {remedy}");
                text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<HashSet<_>>()
            };
            assert_eq!(typed(Language::English), typed(Language::Chinese), "{reason:?}");
        }
    }

    #[test]
    fn only_commands_of_the_contract_are_named() {
        let commands = [
            "run",
            "once",
            "check",
            "doctor",
            "status",
            "channels",
            "adopt",
            "release",
            "retry",
            "secret",
            "vault",
            "login",
            "import",
            "notify",
            "health",
            "demo",
            "schema",
            "completions",
            "man",
        ];
        for reason in samples::reasons() {
            let remedy = explain(Language::English, &reason).remedy;
            for command in remedy.split("`one-api-sidecar ").skip(1) {
                let command = command.split([' ', '`']).next().unwrap();
                assert!(commands.contains(&command), "{command}: {remedy}");
            }
        }
    }

    #[test]
    fn a_remedy_asks_as_the_sidecar_does() {
        for (host, address) in [
            ("auth.example", "`curl -v https://auth.example/`"),
            ("127.0.0.1:9000", "`curl -v http://127.0.0.1:9000/`"),
            ("[::1]:9000", "`curl -v http://[::1]:9000/`"),
            ("localhost", "`curl -v http://localhost/`"),
        ] {
            let reason = TokenReason::NotSent { host: host.into(), error: "refused".into() }.into();
            for language in [Language::English, Language::Chinese] {
                let remedy = explain(language, &reason).remedy;
                assert!(remedy.contains(address), "{remedy}");
            }
        }
    }

    #[test]
    fn lengths_are_told_in_two_units() {
        let cases = [
            (0, "0 s", "0 秒"),
            (45, "45 s", "45 秒"),
            (1500, "25 min", "25 分钟"),
            (3900, "1 h 5 min", "1 小时 5 分钟"),
            (3605, "1 h", "1 小时"),
            (183_600, "2 d 3 h", "2 天 3 小时"),
        ];
        for (seconds, english, chinese) in cases {
            let length = Duration::from_secs(seconds);
            assert_eq!(words(Language::English).length(length), english);
            assert_eq!(words(Language::Chinese).length(length), chinese);
        }
        let now = Timestamp::from_seconds(10_000);
        let later = now + Duration::from_secs(60);
        assert_eq!(words(Language::English).from_now(later, now), "in 1 min");
        assert_eq!(words(Language::Chinese).from_now(now, later), "1 分钟前");
    }
}
