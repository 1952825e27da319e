//! Secrets' sources in English.

use crate::messages::Message;
use crate::reason::SecretReason;

pub(super) fn explain(reason: &SecretReason) -> Message {
    match reason {
        SecretReason::EnvMissing { name } => Message::new(
            format!("The environment variable `{name}` is unset or empty, and so is `{name}_FILE`."),
            format!(
                "Set `{name}` where the sidecar is started (with compose: under `environment:`, then \
                 `docker compose up -d`), or name another source: {{ file = \"…\" }}."
            ),
        ),
        SecretReason::EnvAndFile { name } => Message::new(
            format!("The environment variables `{name}` and `{name}_FILE` are both set."),
            format!("Unset one of them; with compose, then `docker compose up -d`. `{name}_FILE` is meant for a path."),
        ),
        SecretReason::NotText { from } => Message::new(
            format!("The secret at {from} is not UTF-8 text."),
            "Store the secret again as text; a binary key goes in as base64.",
        ),
        SecretReason::FileUnreadable { path, error } => Message::new(
            format!("The secret's file {path} cannot be read: {error}."),
            format!(
                "Check that the file exists where the sidecar runs (with compose: under `volumes:` or `secrets:`) \
                 and that its user may read it: `ls -l {path}`, `chown`."
            ),
        ),
        SecretReason::Empty { from } => {
            Message::new(format!("The secret at {from} is empty."), "Write the value there, on one line.")
        }
        SecretReason::TooLong { from } => Message::new(
            format!("What stands at {from} is too long for a secret."),
            "Check that the right source is named: it should hold the value and nothing else.",
        ),
        SecretReason::KeyringNoEntry { entry } => Message::new(
            format!("The keyring has no entry {entry}."),
            "Store it as the user the sidecar runs as: `one-api-sidecar secret set NAME`; \
             `one-api-sidecar secret list` shows what is there.",
        ),
        SecretReason::KeyringLocked => Message::new(
            "The keyring is locked, or it has no default collection yet.",
            "Unlock it: log in on the desktop, or run `gnome-keyring-daemon --unlock`. For a server, name another \
             source: { env = \"…\" }, { file = \"…\" } or { systemd_credential = \"…\" }.",
        ),
        SecretReason::KeyringAbsent => Message::new(
            "There is no keyring here: no D-Bus session, or no Secret Service on it.",
            "In a container or on a server, name another source: { env = \"…\" }, { file = \"…\" } or \
             { systemd_credential = \"…\" }. On a desktop, start the keyring, then restart the sidecar.",
        ),
        SecretReason::KeyringFailed { error } => Message::new(
            format!("The keyring did not hand out the secret: {error}."),
            "Look whether it is asking for a password on a screen, and try `one-api-sidecar secret list`; or name \
             another source: { env = \"…\" } or { file = \"…\" }.",
        ),
        SecretReason::NotUnderSystemd { name } => Message::new(
            format!(
                "systemd has handed over no credentials (`$CREDENTIALS_DIRECTORY` is not set), so `{name}` is missing."
            ),
            format!("Add `LoadCredential={name}:/path/to/it` to the unit and restart it, or name another source."),
        ),
    }
}
