//! Reasons of one room: what can be wrong with the config file.

use serde::{Deserialize, Serialize};

/// What can be wrong in the config file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigReason {
    /// No config file at any of the places it is looked for.
    NotFound {
        /// The places, in order.
        looked_in: Vec<String>,
    },
    /// The file could not be read.
    Unreadable {
        /// The file.
        path: String,
        /// The system's words.
        error: String,
    },
    /// Not TOML.
    Syntax {
        /// The parser's words, without the source line.
        detail: String,
    },
    /// A key nobody knows.
    UnknownKey {
        /// The key as written.
        key: String,
        /// The known key nearest to it, if one is near.
        nearest: Option<String>,
        /// The keys that are known here.
        known: Vec<String>,
    },
    /// A known key in the wrong place.
    MisplacedKey {
        /// The key.
        key: String,
        /// Where it belongs: `above the first [table]`, `[gateway]`, `[[credential]]`.
        belongs: String,
    },
    /// A value of the wrong type.
    WrongType {
        /// What is taken: `text`, `a table`, …
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A required field is not there.
    MissingField {
        /// The field.
        field: String,
    },
    /// One of a few words was expected.
    NotOneOf {
        /// The value as written; `None` where it could be a secret.
        found: Option<String>,
        /// The words that are taken.
        expected: Vec<String>,
        /// The nearest of them.
        nearest: Option<String>,
    },
    /// Not a length of time.
    BadDuration,
    /// A number or length outside its bounds.
    OutOfRange {
        /// The bounds in words: `1 to 100000`, `at least 1s`.
        bounds: String,
    },
    /// A secret written as bare text.
    BareSecret {
        /// The variable that `$X` or `${X}` names, if the text looks like that.
        env: Option<String>,
    },
    /// A secret table with none or several sources.
    SecretSources,
    /// Not a usable address.
    BadUrl {
        /// What is wrong with it, without the address.
        detail: String,
    },
    /// Not a usable address of a database.
    BadDatabase {
        /// What is wrong with it, without the address.
        detail: String,
    },
    /// Plain http to a host that is not loopback.
    PlainHttp,
    /// A name outside `[a-z0-9._-]`.
    BadName,
    /// The same name or channel twice.
    Duplicate {
        /// What there are two of: `credential "x"`, `channel 1`.
        what: String,
        /// The line of the first.
        first_line: usize,
    },
    /// An entry that names a gateway that is not there.
    UnknownGateway {
        /// The name as written.
        name: String,
        /// The gateways that are configured.
        known: Vec<String>,
    },
    /// With several gateways each channel says which one it is in.
    GatewayNeeded {
        /// The gateways that are configured.
        known: Vec<String>,
    },
    /// With several gateways the vault's place must be given.
    VaultPathNeeded,
    /// Beside a database server the vault has no place of its own accord.
    VaultPathBesideServer,
    /// Not the address of a database server.
    BadVaultUrl {
        /// What is wrong with it.
        detail: String,
    },
    /// A vault in a database server must be sealed.
    VaultKeyNeeded,
    /// A `channel_key` template that cannot be filled.
    BadTemplate {
        /// What is wrong with it.
        detail: String,
    },
    /// A webhook's `body` that is no JSON template.
    BadBody {
        /// What is wrong with it, without what stands there.
        detail: String,
    },
    /// Not a mail address.
    BadMailAddress,
    /// A JSON pointer that does not start with `/`.
    BadPointer,
    /// A header name or value that HTTP does not allow.
    BadHeader,
    /// Not base64 of exactly 32 bytes.
    BadKey,
    /// `timeout` must exceed `connect_timeout`.
    TimeoutOrder,
    /// `backoff.min` must not exceed `backoff.max`.
    BackoffOrder,
    /// A preset whose customers have a token endpoint each.
    OwnTokenUrl {
        /// The preset.
        preset: String,
        /// The form of the address.
        form: String,
    },
    /// A field that only makes sense with another.
    Needs {
        /// The field that is set.
        field: String,
        /// What it needs beside it.
        other: String,
    },
    /// A field that does not go with another.
    Conflicts {
        /// The field that is set.
        field: String,
        /// What it does not go with.
        other: String,
    },
    /// A feature that this build was made without.
    NotInThisBuild {
        /// What was asked for.
        what: String,
        /// The cargo feature that has it.
        feature: String,
    },
    /// A notifier type nobody knows.
    UnknownService {
        /// The type as written.
        name: String,
        /// The nearest known type.
        nearest: Option<String>,
        /// All types.
        known: Vec<String>,
    },
    /// A secret's value in a file that others can read.
    ValueReadableByOthers {
        /// The file's mode in octal.
        mode: String,
    },
    /// A value in the config file while the file is mounted as a single file.
    SingleFileMount,
}
