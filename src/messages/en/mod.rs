//! English.

mod config;
mod gateway;
pub(super) mod notice;
mod secret;
mod token;
mod vault;

use super::{About, ChannelStates, Columns, CredentialStates, Message, Words};
use crate::reason::{AgentReason, NotifierReason, Reason};

/// The words of tables and lists.
pub(super) const WORDS: Words = Words {
    error: "error",
    warning: "warning",
    help: "help",
    in_time: "in {}",
    ago: "{} ago",
    units: ["{} d", "{} h", "{} min", "{} s"],
    columns: Columns {
        credential: "CREDENTIAL",
        state: "STATE",
        expires: "EXPIRES",
        next_refresh: "NEXT REFRESH",
        failures: "FAILURES",
        channels: "CHANNELS",
    },
    credential: CredentialStates {
        active: "active",
        failing: "failing",
        uncertain: "uncertain",
        expired: "expired",
        halted: "halted",
        waiting: "waiting",
        disabled: "disabled",
    },
    channel: ChannelStates {
        delivered: "delivered",
        pending: "pending",
        foreign: "somebody else's key",
        missing: "missing",
        disabled_by_hand: "disabled by hand",
        flapping: "flapping",
        released: "released",
        unsupported: "unsupported",
        conflict: "conflict",
    },
    taken: "taken",
    refused: "not taken",
    agent_runs: "The agent runs.",
    agent_is_down: "The agent does not run: start it with `one-api-sidecar run`.",
    would_work: "It would work.",
    would_not_work: "It would not work yet.",
    plan: "{host} → channel {channels}; refreshed {lead} before the key expires ({lag} for the gateway's cache + {retries} for retries), or at half of its life",
};

/// A reason in words.
pub(super) fn explain(reason: &Reason, about: About<'_>) -> Message {
    match reason {
        Reason::Config(reason) => config::explain(reason),
        Reason::Secret(reason) => secret::explain(reason),
        Reason::Token(reason) => token::explain(reason, about.credential),
        Reason::Vault(reason) => vault::explain(reason),
        Reason::Gateway(reason) => gateway::explain(reason),
        Reason::Channel(reason) => gateway::channel(reason, about.channel),
        Reason::Notifier(reason) => notifier(reason),
        Reason::Agent(reason) => agent(reason),
    }
}

fn notifier(reason: &NotifierReason) -> Message {
    match reason {
        NotifierReason::Unreachable { error } => Message::new(
            format!("The message service could not be reached: {error}."),
            "Check this machine's network and the notifier's `url` and `proxy`; the message is tried again.",
        ),
        NotifierReason::Refused { status, code, words } => {
            let code = code.as_ref().map(|code| format!(", code {code}")).unwrap_or_default();
            let words = words.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
            Message::new(
                format!("The message service refused the message (HTTP {status}{code}){words}."),
                "Check the notifier's token and its other fields in the config, and the account at the service.",
            )
        }
        NotifierReason::RateLimited { code } => Message::new(
            format!("The message service asks for fewer messages (code {code})."),
            "Nothing to do today; for good, narrow the notifier's `events` in the config or add a second notifier.",
        ),
        NotifierReason::Unreadable { status } => Message::new(
            format!("The message service answered something that is not its own format (HTTP {status})."),
            "Check the notifier's `url` and `proxy`: probably something else answers there.",
        ),
        NotifierReason::MailRefused { code, words } => {
            let words = words.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
            Message::new(
                format!("The mail server refused the mail (code {code}){words}."),
                "Check the notifier's `username`, `password`, `from` and `to` in the config; many providers want a \
                 password made for applications.",
            )
        }
        NotifierReason::CommandFailed { status, words } => {
            let words = words.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
            Message::new(
                format!("The notifier's command ended with status {status}{words}."),
                "Run it by hand with a message on its standard input; it must end with status 0.",
            )
        }
        NotifierReason::CommandNotRun { error } => Message::new(
            format!("The notifier's command did not run to its end: {error}."),
            "Check `program` in the config, its permissions, and that it ends within the notifier's `timeout`.",
        ),
    }
}

fn agent(reason: &AgentReason) -> Message {
    match reason {
        AgentReason::NoInotify { error } => Message::new(
            format!("The system does not report file changes ({error}); files are compared every few seconds instead."),
            "Nothing has to be done; to have edits taken at once, raise `fs.inotify.max_user_watches` on the host.",
        ),
        AgentReason::RestartNeeded { section } => Message::new(
            format!("`{section}` has changed, which takes effect at the next start only."),
            "Restart the sidecar when it suits you; with compose: `docker compose restart`.",
        ),
        AgentReason::Running { holder } => Message::new(
            format!("An agent is running already: {holder}."),
            "Let it do the work and watch it with `one-api-sidecar status`, or stop it first.",
        ),
        AgentReason::NoSuchCredential { name, nearest } => Message::new(
            format!("There is no credential named `{name}` in the config."),
            match nearest {
                Some(nearest) => format!("Did you mean `{nearest}`? `one-api-sidecar status` lists all."),
                None => "Take a name that `one-api-sidecar status` lists.".into(),
            },
        ),
        AgentReason::NoSuchNotifier { name, known } => Message::new(
            format!("There is no notifier named `{name}` in the config."),
            format!("There are: {}. A notifier without a `name` goes by its `type`.", list(known)),
        ),
        AgentReason::NoNotifier => Message::new(
            "The config has no notifier, so nobody would hear of anything.",
            "Add a `[[notify]]` table to the config; docs/notifications.md has one for each service.",
        ),
    }
}

/// Names between commas.
fn list(names: &[String]) -> String {
    names.join(", ")
}
