//! English.

mod config;
mod doctor;
mod gateway;
mod login;
pub(super) mod notice;
mod page;
mod secret;
mod token;
mod vault;

use std::time::Duration;

use super::{About, ChannelStates, Columns, CredentialStates, LoginWords, Message, ServiceWords, VaultWords, Words};
use crate::reason::{AgentReason, Language, NotifierReason, Reason};

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
    agent_runs_since: "The agent runs, for {}.",
    agent_is_down: "The agent does not run: start it with `one-api-sidecar run`.",
    once_progress: "{refreshed} of {all} refreshed, {time} …",
    tried_at_start: "It is tried when the agent starts: `one-api-sidecar run`, or `one-api-sidecar once`.",
    nothing_to_retry: "Nothing is the matter with it: it is neither halted nor failing.",
    would_work: "It would work.",
    would_not_work: "It would not work yet: see the lines marked {mark}.",
    doctor: doctor::WORDS,
    plan: "{host} → channel {channels}; refreshed {lead} before the key expires ({lag} for the gateway's cache + {retries} for retries), or at half of its life",
    vault: VaultWords {
        sound: "sound",
        sealed: "It is sealed: without its key nobody can read the tokens in it, not in a backup either.",
        has_key: "`encryption_key` seals it, at the latest when the agent starts: without that key nobody can read the tokens in it, not in a backup either.",
        plain: "It is not sealed: whoever can read the file, or a backup of it, has the tokens. \
                `encryption_key` in `[vault]` seals it.",
        holds: "It holds {records} records, {channels} adopted channels, {fingerprints} fingerprints, {events} events.",
        beside: "It was read beside its owner, {}, which goes on with it.",
        behind: "It is an older state of itself (restored from a backup?): refresh tokens in it may be spent.",
        orphaned: "The record `{}` has no credential in the config; it is kept, and used again when the credential is back.",
        rekeyed: "The vault is sealed with the new key. Put {} into `encryption_key` in `[vault]` before the next start.",
        set_aside: "The vault was set aside as {}.",
        forgotten: "There was no vault to set aside; the next start makes a new one.",
        type_yes: "It is set aside, not deleted. Type `yes` to go on: ",
    },
    preset: "preset {preset} fills what is not written: {fields}",
    login: LoginWords {
        device: "Open this address on any device and type the code:\n\n  {url}\n  {code}\n",
        browser: "Open this address in a browser:\n\n  {url}\n",
        paste: "The browser ends at a page that may not load. Paste its whole address here:",
        waiting: "Waiting, for {time} at most …",
        close_the_page: "Done. You may close this page.",
        done: "{credential}: the refresh token is in the vault; the next start of the agent, or `once`, uses it.",
        at_work: "{credential}: the refresh token is in the vault, and the agent uses it now.",
        held: "This command holds the refresh token, and hands it over as soon as it can, for {time} at most. Ctrl+C gives it up.",
        would_import: "{file} ({format}) holds a refresh token; it would go into the vault for the credential {credential}.",
        say_yes: "Nothing was changed. Say it again with --yes to do it.",
        add_first: "The config has no credential for it yet. Add one, with channels of yours, then import again:",
        nothing_to_import: "Nothing of this file goes into the vault: the credential reads the file itself.",
        client_secret: "The client's secret is in the file too. To put it into the keyring:",
        one_owner: "From then on the other program must not use that refresh token any more.",
        by_pointers: "by pointers",
    },
    page: page::WORDS,
    service: ServiceWords {
        credentials: "{} credentials",
        colon: ": ",
        comma: ", ",
        semicolon: "; ",
        named: "{count} ({names})",
        more: " and {} more",
        config_rejected: "the changed config file was not taken",
        vault_trouble: "the vault cannot be written",
        gateway_trouble: "the gateway {} cannot be used",
        notifier_trouble: "the notifier {} does not take messages",
        standing_by: "Standing by: {} owns the vault",
        standing_by_because: "Standing by: {}",
        displaced: "About to stand by: waiting for answers that are still to come",
        stopping: "Stopping: waiting for answers that are still to come",
    },
};

/// A reason in words.
pub(super) fn explain(reason: &Reason, about: About<'_>) -> Message {
    match reason {
        Reason::Config(reason) => config::explain(reason),
        Reason::Secret(reason) => secret::explain(reason),
        Reason::Token(reason) => token::explain(reason, about.credential),
        Reason::Login(reason) => login::explain(reason, about.credential),
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
        AgentReason::NoTimeZone { name } => Message::new(
            format!("There is no time zone `{name}` on this system; times in messages are UTC."),
            "Write `TZ` as a rule, which needs no database: `CST-8` for China, `<+01>-1` for UTC+1. Or install tzdata; in \
             a container, mount the host's: `/usr/share/zoneinfo:/usr/share/zoneinfo:ro`.",
        ),
        AgentReason::RestartNeeded { section } => Message::new(
            format!("`{section}` has changed, which takes effect at the next start only."),
            "Restart the sidecar when it suits you; with compose: `docker compose restart`.",
        ),
        AgentReason::NoSuchCredential { name, nearest } => Message::new(
            format!("There is no credential named `{name}` in the config."),
            match nearest {
                Some(nearest) => format!("Did you mean `{nearest}`? `one-api-sidecar status` lists all."),
                None => "Take a name that `one-api-sidecar status` lists.".into(),
            },
        ),
        AgentReason::NoSuchChannel { channel } => Message::new(
            format!("No credential of the config feeds a channel `{channel}`."),
            "Take a channel that `one-api-sidecar channels` shows with its credential; with several gateways as \
             GATEWAY/ID. One that left the config goes back into it first.",
        ),
        AgentReason::NothingToGiveBack { channel } => Message::new(
            format!("Channel `{channel}` never got a key of the sidecar's: there is nothing to give back."),
            "If it is to be left alone, take it out of `channels` in the config.",
        ),
        AgentReason::Silent { holder } => Message::new(
            format!("The vault belongs to {holder}, which does not answer."),
            "If it is paused or stuck, end it and try again; its lock is freed when it ends.",
        ),
        AgentReason::OwnedElsewhere { holder } => Message::new(
            format!("Another host owns the vault: {holder}."),
            "Run this command there; `status` works here, too.",
        ),
        AgentReason::NotRunning => Message::new(
            "No agent answers: it does not run, or it hangs.",
            "Start it with `one-api-sidecar run`, or restart its container.",
        ),
        AgentReason::NeedAttention { credentials } => Message::new(
            format!("These credentials are halted or their keys have expired: {}.", list(credentials)),
            "`one-api-sidecar status` says why, and what to do.",
        ),
        AgentReason::NoControlSocket { path, error } => Message::new(
            format!("The control socket {path} cannot be opened: {error}."),
            "Refreshing goes on; commands like `once` and `retry` work while the agent is stopped. Put the vault on a \
             filesystem that has sockets, and let its name be shorter than 80 characters.",
        ),
        AgentReason::CannotListen { address, error } => Message::new(
            format!("The HTTP server cannot listen on {address}: {error}."),
            "Refreshing goes on. End whatever uses the address, or change `listen` in `[server]`; it is tried again.",
        ),
        AgentReason::ListensBeyondLoopback { address } => Message::new(
            format!("The HTTP server listens on {address}: whoever reaches it can read names and states, no keys."),
            "If others should not, set `listen` in `[server]` to 127.0.0.1, or close the port to them.",
        ),
        AgentReason::Abandoned { credentials } if credentials.is_empty() => Message::new(
            "Asked twice to stop: leaving at once.",
            "Nothing is lost: what was not delivered yet is delivered at the next start.",
        ),
        AgentReason::Abandoned { credentials } => Message::new(
            format!(
                "Asked twice to stop: leaving at once. The answers to the requests of {} are not waited for, and \
                 their new refresh tokens may be lost.",
                list(credentials)
            ),
            "Start the agent again: it asks once more. If that is refused, authorize these credentials again.",
        ),
        AgentReason::HeldLost { credentials } => Message::new(
            format!(
                "Stopped while another host owns the vault: the answers for {} that could not be saved are lost, and \
                 with them their new refresh tokens.",
                list(credentials)
            ),
            "The vault's owner asks once more. If that is refused, authorize these credentials again.",
        ),
        AgentReason::NoSuchNotifier { name, known } => Message::new(
            format!("There is no notifier named `{name}` in the config."),
            format!("There are: {}. A notifier without a `name` goes by its `type`.", list(known)),
        ),
        AgentReason::NoNotifier => Message::new(
            "The config has no notifier, so nobody would hear of anything.",
            "Add a `[[notify]]` table to the config; docs/notifications.md has one for each service.",
        ),
        AgentReason::LogFilter { found, nearest } => Message::new(
            format!("`{found}` in `ONE_API_SIDECAR_LOG` is no filter for the log; it is left out."),
            match nearest {
                Some(nearest) => format!("Did you mean `{nearest}`?"),
                None => {
                    "Write a level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or `MODULE=LEVEL`, with commas \
                         between several."
                        .into()
                }
            },
        ),
        AgentReason::LogFormat { found } => Message::new(
            format!("`{found}` in `ONE_API_SIDECAR_LOG_FORMAT` is no form of the log; it is written as text."),
            "Write `text` or `json`.",
        ),
        AgentReason::ClockOff { host, seconds } => {
            let length = super::words(Language::English).length(Duration::from_secs(seconds.unsigned_abs()));
            let side = if *seconds > 0 { "ahead of" } else { "behind" };
            Message::new(
                format!("This machine's clock is {length} {side} that of {host}."),
                "Set it, and keep it right: `timedatectl set-ntp true`; for a container, on its host.",
            )
        }
    }
}

/// Names between commas.
fn list(names: &[String]) -> String {
    names.join(", ")
}
