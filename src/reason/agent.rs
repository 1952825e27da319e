//! Reasons of one room: what the agent itself has to say.

use serde::{Deserialize, Serialize};

/// What concerns the agent and its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentReason {
    /// The kernel gives no more inotify watches, or there are none here; the content poll does the work.
    NoInotify {
        /// The system's words.
        error: String,
    },
    /// `TZ` names a time zone that the system does not have.
    NoTimeZone {
        /// The name.
        name: String,
    },
    /// A change that needs a restart.
    RestartNeeded {
        /// The section that changed.
        section: String,
    },
    /// A credential name that is not in the config.
    NoSuchCredential {
        /// The name.
        name: String,
        /// The nearest known name.
        nearest: Option<String>,
    },
    /// A channel that no credential of the config feeds.
    NoSuchChannel {
        /// As it was named.
        channel: String,
    },
    /// A channel that is to be given back and never got a key of ours.
    NothingToGiveBack {
        /// As it was named.
        channel: String,
    },
    /// Somebody holds the vault and does not answer.
    Silent {
        /// Who, as the lock file says.
        holder: String,
    },
    /// A process of another host owns the vault: there is no way to it from here.
    OwnedElsewhere {
        /// Who, as the vault's server says.
        holder: String,
    },
    /// No agent runs.
    NotRunning,
    /// Credentials that are halted or whose key is dead.
    NeedAttention {
        /// Their names.
        credentials: Vec<String>,
    },
    /// The control socket cannot be opened: nobody can ask this process anything.
    NoControlSocket {
        /// The socket.
        path: String,
        /// The system's words.
        error: String,
    },
    /// The HTTP server's address cannot be had.
    CannotListen {
        /// The address.
        address: String,
        /// The system's words.
        error: String,
    },
    /// The HTTP server can be reached from other machines.
    ListensBeyondLoopback {
        /// The address.
        address: String,
    },
    /// Asked twice to stop: it leaves without waiting for these credentials' answers.
    Abandoned {
        /// Those with a request under way.
        credentials: Vec<String>,
    },
    /// It ends while the vault is another's, with answers in memory that the vault still waits for.
    HeldLost {
        /// Whose they are.
        credentials: Vec<String>,
    },
    /// A notifier name that is not in the config.
    NoSuchNotifier {
        /// The name.
        name: String,
        /// The names that are.
        known: Vec<String>,
    },
    /// The config has no notifier.
    NoNotifier,
    /// A part of the log's filter that means nothing.
    LogFilter {
        /// As it was written.
        found: String,
        /// The nearest level.
        nearest: Option<String>,
    },
    /// No form of the log.
    LogFormat {
        /// As it was written.
        found: String,
    },
    /// This machine's clock and a token endpoint's differ by more than a minute.
    ClockOff {
        /// The endpoint's host.
        host: String,
        /// How far ours is ahead; negative when it is behind.
        seconds: i64,
    },
}
