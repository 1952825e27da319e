//! The config file in English. Place and field stand before each sentence already.

use super::list;
use crate::messages::Message;
use crate::reason::ConfigReason;

pub(super) fn explain(reason: &ConfigReason) -> Message {
    match reason {
        ConfigReason::NotFound { looked_in } => Message::new(
            format!("There is no config file; looked in {}.", list(looked_in)),
            "Make one there (`sidecar.toml.example` shows every field), or name it with `--config FILE`.",
        ),
        ConfigReason::Unreadable { path, error } => Message::new(
            format!("The config file {path} cannot be read: {error}."),
            format!("Check the path and who may read it: `ls -l {path}`."),
        ),
        ConfigReason::Syntax { detail } => {
            Message::new(format!("This is not TOML: {detail}."), "Correct this place; text stands in \"quotes\".")
        }
        ConfigReason::UnknownKey { key, nearest, known } => Message::new(
            format!("Unknown key `{key}`."),
            match nearest {
                Some(nearest) => format!("Did you mean `{nearest}`?"),
                None => format!("Remove it, or take one of: {}.", list(known)),
            },
        ),
        ConfigReason::MisplacedKey { key, belongs } => {
            Message::new(format!("`{key}` does not belong here."), format!("Move it: it goes {}.", place(belongs)))
        }
        ConfigReason::WrongType { expected, found } => {
            Message::new(format!("This should be {expected}, but is {found}."), format!("Write {expected} here."))
        }
        ConfigReason::MissingField { field } => Message::new(
            format!("`{field}` is missing."),
            format!("Add `{field} = …`; `sidecar.toml.example` shows every field."),
        ),
        ConfigReason::NotOneOf { found, expected, nearest } => Message::new(
            match found {
                Some(found) => format!("`{found}` is not one of: {}.", list(expected)),
                None => format!("This is not one of: {}.", list(expected)),
            },
            match nearest {
                Some(nearest) => format!("Did you mean `\"{nearest}\"`?"),
                None => "Write one of them, in quotes.".into(),
            },
        ),
        ConfigReason::BadDuration => {
            Message::new("This is not a length of time.", "Write it like \"90s\", \"10m\" or \"1h 30m\".")
        }
        ConfigReason::OutOfRange { bounds } => Message::new(format!("This must be {bounds}."), "Correct the value."),
        ConfigReason::BareSecret { env } => Message::new(
            "A secret does not stand here as text; a table says where it is.",
            match env {
                Some(name) => format!("Write {{ env = \"{name}\" }}."),
                None => "Write { env = \"NAME\" }, { file = \"…\" }, { keyring = \"…\" } or { systemd_credential = \
                         \"…\" }; if it must be in this file: { value = \"…\" }."
                    .into(),
            },
        ),
        ConfigReason::SecretSources => Message::new(
            "A secret has exactly one source.",
            "Leave one of `env`, `file`, `keyring`, `systemd_credential`, `value` in the table.",
        ),
        ConfigReason::BadUrl { detail } => Message::new(
            format!("This is not a usable address: {detail}."),
            "Write it whole, like \"https://host/path\".",
        ),
        ConfigReason::BadDatabase { detail } => Message::new(
            format!("This is not a usable address of a database: {detail}."),
            "Write it as the gateway's SQL_DSN has it: \"user:password@tcp(host:3306)/database\" or \
             \"postgres://user:password@host:5432/database\"; better `{ env = \"SQL_DSN\" }`. An SQLite file by its path.",
        ),
        ConfigReason::PlainHttp => Message::new(
            "Over plain http the secrets could be read on the way.",
            "Write https://; http:// is taken for this machine only (localhost, 127.0.0.1, [::1]).",
        ),
        ConfigReason::BadName => Message::new("A name is made of a-z, 0-9, `.`, `_` and `-`.", "Choose such a name."),
        ConfigReason::Duplicate { what, first_line } => Message::new(
            format!("There is a second {what}; the first is in line {first_line}."),
            "Remove or rename one of the two.",
        ),
        ConfigReason::UnknownGateway { name, known } => Message::new(
            format!("There is no gateway `{name}`."),
            format!("Take one of: {}; or add it as a `[[gateway]]`.", list(known)),
        ),
        ConfigReason::GatewayNeeded { known } => Message::new(
            "With several gateways each channel says which one it is in.",
            format!("Write {{ gateway = \"…\", id = … }} with one of: {}.", list(known)),
        ),
        ConfigReason::VaultPathNeeded => Message::new(
            "With several gateways the vault has no place of its own accord.",
            "Set `path` in `[vault]`, like \"/data/one-api-sidecar/vault.db\".",
        ),
        ConfigReason::VaultPathBesideServer => Message::new(
            "The gateway's database is on a server, so the vault has no place beside it.",
            "Set `path` in `[vault]` to a file on a disk of its own, like \"/data/one-api-sidecar/vault.db\", or `url` to \
             keep it in a database server, too (docs/two-hosts.md).",
        ),
        ConfigReason::BadVaultUrl { detail } => Message::new(
            format!("This is not the address of a database server: {detail}."),
            "Write it like \"postgres://user:password@host:5432/database\", \"mysql://user:password@host:3306/database\" \
             or \"user:password@tcp(host:3306)/database\".",
        ),
        ConfigReason::VaultKeyNeeded => Message::new(
            "A vault in a database server needs an `encryption_key`: the server's administrators, backups and replicas \
             would hold every token readable.",
            "Make one with `one-api-sidecar vault keygen`, and set `encryption_key = { env = \"…\" }` in `[vault]`; the \
             same on each host.",
        ),
        ConfigReason::BadTemplate { detail } => Message::new(
            format!("This template cannot be filled: {detail}."),
            "Use {access_token}, {id_token}, {expires_at} or a pointer into the answer like {/account/id}; a brace \
             itself is {{ or }}.",
        ),
        ConfigReason::BadBody { detail } => Message::new(
            format!("This body cannot be sent: {detail}."),
            "Write JSON in '''three quotes''', with {title}, {body}, {urgent} or {events} inside its texts, like \
             '''{\"text\": \"{title}\"}'''; a brace inside a text is {{ or }}.",
        ),
        ConfigReason::BadMailAddress => Message::new(
            "This is not a mail address.",
            "Write it like \"ops@example.com\" or \"One-API <sidecar@example.com>\".",
        ),
        ConfigReason::BadPointer => {
            Message::new("This is not a JSON pointer.", "Begin it with `/`, like \"/data/access_token\".")
        }
        ConfigReason::BadHeader => Message::new(
            "HTTP does not allow this header.",
            "Names are letters, digits and `-`; values are one line of ASCII.",
        ),
        ConfigReason::BadKey => Message::new(
            "An encryption key is base64 of exactly 32 bytes.",
            "Make one with `one-api-sidecar vault keygen`.",
        ),
        ConfigReason::TimeoutOrder => Message::new(
            "`timeout` covers the whole request, so it must be longer than `connect_timeout`.",
            "Raise `timeout` or lower `connect_timeout`.",
        ),
        ConfigReason::BackoffOrder => {
            Message::new("`backoff.min` is longer than `backoff.max`.", "Lower `min` or raise `max`.")
        }
        ConfigReason::OwnTokenUrl { preset, form } => Message::new(
            format!("The preset `{preset}` leaves `token_url` to you: every customer has its own."),
            format!("Add it, in the form `token_url = \"{form}\"`."),
        ),
        ConfigReason::Needs { field, other } => Message::new(
            format!("`{field}` means nothing without `{other}`."),
            format!("Add `{other}`, or remove `{field}`."),
        ),
        ConfigReason::Conflicts { field, other } => {
            Message::new(format!("`{field}` does not go together with `{other}`."), "Remove one of the two.")
        }
        ConfigReason::NotInThisBuild { what, feature } => Message::new(
            format!("This program was built without {what}."),
            format!(
                "Take the usual build, or build it with the feature: `cargo build --release --features {feature}`."
            ),
        ),
        ConfigReason::UnknownService { name, nearest, known } => Message::new(
            format!("There is no notifier of type `{name}`."),
            match nearest {
                Some(nearest) => format!("Did you mean `\"{nearest}\"`?"),
                None => format!("Take one of: {}.", list(known)),
            },
        ),
        ConfigReason::ValueReadableByOthers { mode } => Message::new(
            format!("A secret stands in this file, and others can read it (mode {mode})."),
            "Run `chmod 600` on it, or move the secret out: { env = \"…\" } or { file = \"…\" }.",
        ),
        ConfigReason::SingleFileMount => Message::new(
            "The config file is mounted as a single file: an edit that replaces it on the host never arrives here.",
            "Mount the directory it is in: in compose `volumes: [\"./sidecar:/etc/one-api-sidecar:ro\"]`.",
        ),
    }
}

/// `belongs` is a table's name, or words that need none.
fn place(belongs: &str) -> String {
    if belongs.starts_with('[') { format!("into `{}`", belongs.replace(", ", "` or `")) } else { belongs.to_owned() }
}
