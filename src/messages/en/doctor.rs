//! What `doctor` says in English.

use crate::messages::DoctorWords;

pub(super) const WORDS: DoctorWords = DoctorWords {
    topics: ["Config", "Secrets", "Vault", "Gateway", "Token endpoints", "This machine", "Notifiers"],
    comma: ", ",
    would_work_but: "It would work. The lines marked {mark} are worth a look.",
    config: "credentials: {credentials}, gateways: {gateways}, notifiers: {notifiers}",
    secret: "{source} is there",
    seed_not_needed: "{source} is not there, and not needed: the vault holds a refresh token",
    agent_answers: "the agent runs ({holder}) and answers",
    vault_to_come: "not there yet; the first start makes it",
    sealed: "sealed",
    plain: "not sealed",
    records: "records: {}",
    gateway: "{path} is a {kind} database, can be written; channels: {channels}",
    channel: "there ({name}, type {type})",
    endpoint: "{host} can be reached; nothing was sent",
    clock: "the clock agrees with that of {host}",
    clock_unknown: "the clock could not be compared: no token endpoint said its time",
    inotify: "edits of the config are seen at once",
    keyring: "the keyring answers",
    notifier: "can be reached; nothing was sent",
    notifier_took: "took its last message {ago}",
    notifier_skipped: "not looked at: its secret is missing",
    notify_test: "`one-api-sidecar notify test` sends a message through each",
};
