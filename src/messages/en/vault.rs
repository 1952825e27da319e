//! The vault in English.

use crate::messages::Message;
use crate::reason::VaultReason;

pub(super) fn explain(reason: &VaultReason) -> Message {
    match reason {
        VaultReason::Directory { path, error } => Message::new(
            format!("The vault's directory {path} cannot be made or written: {error}."),
            format!(
                "Make it and give it to the sidecar's user: `mkdir -p {path}`, `chown UID:GID {path}`; or choose \
                 another place with `path` in `[vault]`."
            ),
        ),
        VaultReason::Owned { holder } => Message::new(
            format!("Another process owns the vault: {holder}."),
            "Leave the work to it, or stop it first. Two sidecars never share a vault.",
        ),
        VaultReason::NotAVault { path } => Message::new(
            format!("{path} is not a vault of this program; it is left untouched."),
            "Point `path` in `[vault]` to the vault, or to a file that does not exist yet.",
        ),
        VaultReason::Newer { found, known } => Message::new(
            format!(
                "A newer version wrote the vault (format {found}; this version knows up to {known}). It is left untouched."
            ),
            format!(
                "Run the newer version again; with compose, set the image's tag back to it. To stay with this one, \
                 stop the sidecar and put the copy that the upgrade kept beside the vault in its place \
                 (`vault.db.schema-{known}.bak`): refresh tokens that were rotated since are not in it."
            ),
        ),
        VaultReason::Older { found, known } => Message::new(
            format!("An older version wrote the vault (format {found}; this version writes {known})."),
            "Start the agent, `one-api-sidecar run`: it brings the vault forward and keeps a copy of the former one \
             beside it.",
        ),
        VaultReason::Damaged { path, error } => Message::new(
            format!("The vault {path} is damaged: {error}. It is left untouched."),
            "Stop the sidecar, copy the file away, and restore a backup. Without one: \
             `one-api-sidecar vault reset`, then authorize each credential again.",
        ),
        VaultReason::WrongKey { configured: true } => Message::new(
            "The vault is sealed with another key than the configured one. It is left untouched.",
            "Put the key it was sealed with back into `encryption_key` in `[vault]`.",
        ),
        VaultReason::WrongKey { configured: false } => Message::new(
            "The vault is sealed, and no key is configured. It is left untouched.",
            "Set `encryption_key` in `[vault]` to the key it was sealed with: { env = \"…\" } or { file = \"…\" }.",
        ),
        VaultReason::Full { path } => Message::new(
            format!("The disk is full: the vault {path} cannot be written."),
            "Free some space: `df -h`, `docker system df`. Nothing is refreshed until the vault can be written; \
             then it goes on by itself.",
        ),
        VaultReason::Unwritable { path, error } => Message::new(
            format!("The vault {path} cannot be written: {error}."),
            "Check the file's owner and mount (`ls -ln`, `findmnt -T`) and the disk (`dmesg`). Nothing is refreshed \
             until it can be written; then it goes on by itself.",
        ),
        VaultReason::ReadableByOthers { path, mode } => Message::new(
            format!("Others can read {path} (mode {mode}), and it holds tokens."),
            format!("Close it: `chmod go-rwx {path}`."),
        ),
        VaultReason::Missing { path } => Message::new(
            format!("There is no vault at {path} yet."),
            "Start the sidecar: `one-api-sidecar run` makes it. If it has run before, check `path` in `[vault]`.",
        ),
        VaultReason::Gone { path } => Message::new(
            format!("The vault {path} is gone or empty, but there was one; the configured refresh tokens are spent."),
            "Put the vault back, from a backup if need be. Without one: `one-api-sidecar vault reset`, then authorize \
             each credential again.",
        ),
        VaultReason::ReadOnly { path } => Message::new(
            format!("The vault {path} is read-only for the sidecar's user. It is left untouched."),
            format!(
                "Make it writable: `chmod u+w {path}`; if its mount is read-only (`findmnt -T {path}`), mount it `rw`."
            ),
        ),
        VaultReason::OtherOwner { path, owner, us } => Message::new(
            format!(
                "The vault {path} belongs to user {owner}, and the sidecar runs as user {us}. It is left untouched."
            ),
            format!(
                "Run the sidecar as user {owner} (`user:` in compose, `User=` in the unit, `sudo -u '#{owner}'`), or \
                 hand over the vault and what lies beside it: `chown {us} {path}`."
            ),
        ),
        VaultReason::Filesystem { path, name } => Message::new(
            format!(
                "The vault {path} lies on {name}, where locks do not hold between machines: two sidecars could spend one \
                 refresh token."
            ),
            "Put it on a local disk: change `path` in `[vault]`; with Docker to a named volume, not to a folder that \
             Docker Desktop shares. `allow_filesystem` is for gateways, the vault has no such exception.",
        ),
        VaultReason::Fleeting { path, filesystem } => Message::new(
            match filesystem.as_str() {
                "overlay" => {
                    format!("The vault {path} lies on a container's own layer and is lost with the container.")
                }
                _ => format!("The vault {path} lies in memory ({filesystem}) and is lost when the machine stops."),
            },
            "Put it on a volume: its refresh tokens cannot be had again. Change `path` in `[vault]`, or mount a volume \
             over its directory.",
        ),
        VaultReason::ServerAway { server, error } => Message::new(
            format!("The vault's database server {server} cannot be reached: {error}."),
            "See that the server runs and that this host reaches it. Nothing is refreshed until then, and answers that \
             came meanwhile are kept in memory; then it goes on by itself.",
        ),
        VaultReason::ServerRefused { server, error } => Message::new(
            format!("The vault's database server {server} refuses: {error}."),
            "Check the user, its rights (CREATE, SELECT, INSERT, UPDATE, DELETE on the vault's database or schema), and \
             that the address leads to a server that can be written to, not to a replica or a pooler.",
        ),
        VaultReason::Displaced { holder } => Message::new(
            format!("The vault belongs to somebody else now: {holder}."),
            "Nothing is to be done: this one stands by, and takes over when that one ends.",
        ),
        VaultReason::ThreadEnded => Message::new(
            "What writes the vault has stopped in the middle: a bug.",
            "The vault is opened again by itself; answers that came meanwhile are kept in memory until then. Report the \
             lines before this one, please.",
        ),
        VaultReason::ServerGone { server, missing } => Message::new(
            format!("The vault in {server} is not whole: {missing} is gone. It is left untouched."),
            "Restore a backup of all tables named one_api_sidecar_…. Without one: stop every sidecar, drop those tables, \
             and authorize each credential again.",
        ),
        VaultReason::ServerLax { server, setting } => Message::new(
            format!("{server} may lose the last commits in a power cut: {setting}."),
            "Set `fsync = on` and `synchronous_commit = on` (PostgreSQL) or `innodb_flush_log_at_trx_commit = 1` (MySQL): \
             a lost refresh token cannot be had again.",
        ),
        VaultReason::ServerReset { server } => Message::new(
            format!("The vault in {server} is not set aside by this program: its tables may be another host's memory."),
            "Stop every sidecar that uses it, then rename or drop the tables named one_api_sidecar_… there. Each \
             credential has to be authorized again.",
        ),
        VaultReason::Unconfirmed { path } => Message::new(
            format!(
                "Without the vault {path} each credential has to be authorized again: its configured refresh token \
                 is spent."
            ),
            "If that is what you want: `one-api-sidecar vault reset --yes`. The vault is set aside, not deleted.",
        ),
    }
}
