//! Every reason a person may read of, in plain data: no prose (that is [`crate::messages`]), no secrets.
//!
//! Each room maps its own errors to one of these. Reasons are stored in the vault (as the last error of a
//! credential), so variants are renamed or removed only with a migration; fields hold names, paths, codes and
//! times, never a body or a secret.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The language of messages, notices and the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Language {
    /// English.
    #[default]
    #[serde(rename = "en")]
    English,
    /// Simplified Chinese.
    #[serde(rename = "zh-CN")]
    Chinese,
}

/// Why something is as it is; one variant a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "room", content = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// About the config file.
    Config(ConfigReason),
    /// About a secret's source.
    Secret(SecretReason),
    /// About a token endpoint and its answers.
    Token(TokenReason),
    /// About getting a first refresh token.
    Login(LoginReason),
    /// About the vault.
    Vault(VaultReason),
    /// About a gateway's database.
    Gateway(GatewayReason),
    /// About one channel of a gateway.
    Channel(ChannelReason),
    /// About a notifier.
    Notifier(NotifierReason),
    /// About the agent itself and the machine it runs on.
    Agent(AgentReason),
}

macro_rules! into_reason {
    ($($kind:ident => $variant:ident),* $(,)?) => {
        $(impl From<$kind> for Reason {
            fn from(reason: $kind) -> Self {
                Self::$variant(reason)
            }
        })*
    };
}
into_reason! {
    ConfigReason => Config, SecretReason => Secret, TokenReason => Token, LoginReason => Login, VaultReason => Vault,
    GatewayReason => Gateway, ChannelReason => Channel, NotifierReason => Notifier, AgentReason => Agent,
}

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
    /// A known feature that this version does not have yet.
    NotYet {
        /// The feature, as the config names it.
        what: String,
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

/// What can be wrong with a secret's source. `source` is the source as it may be shown (`env:NAME`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretReason {
    /// The variable is unset or empty, and so is `NAME_FILE`.
    EnvMissing {
        /// The variable.
        name: String,
    },
    /// `NAME` and `NAME_FILE` are both set.
    EnvAndFile {
        /// The variable.
        name: String,
    },
    /// The variable is not UTF-8.
    NotText {
        /// The source.
        from: String,
    },
    /// The file cannot be read.
    FileUnreadable {
        /// The file.
        path: String,
        /// The system's words.
        error: String,
    },
    /// The source is there and holds nothing.
    Empty {
        /// The source.
        from: String,
    },
    /// Longer than any secret is (1 MiB).
    TooLong {
        /// The source.
        from: String,
    },
    /// The keyring has no such entry.
    KeyringNoEntry {
        /// The entry.
        entry: String,
    },
    /// The keyring's collection is locked.
    KeyringLocked,
    /// There is no keyring: no D-Bus session, no Secret Service.
    KeyringAbsent,
    /// The keyring answered something else, or not in time.
    KeyringFailed {
        /// Its words.
        error: String,
    },
    /// `$CREDENTIALS_DIRECTORY` is not set.
    NotUnderSystemd {
        /// The credential's name.
        name: String,
    },
}

/// What a token endpoint's answer, or the lack of one, means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenReason {
    /// The request never left: DNS, connect, TLS, or the client itself.
    NotSent {
        /// The host that was to be asked.
        host: String,
        /// The system's words.
        error: String,
    },
    /// No request could be made of what is configured (a key, a certificate, a header); nothing was sent.
    NotMade {
        /// What is wrong, without any value.
        detail: String,
    },
    /// The certificate was not accepted; nothing was sent.
    Certificate {
        /// The host.
        host: String,
        /// The TLS library's words.
        error: String,
    },
    /// Sent, and no whole answer came back.
    AnswerLost {
        /// The host.
        host: String,
        /// The system's words.
        error: String,
    },
    /// An attempt marker was found at start: the program died while a request was under way.
    DiedInFlight {
        /// When the request was begun.
        at: Timestamp,
    },
    /// 500, 502 or 504: whether the server rotated is unknown.
    ServerError {
        /// The HTTP status.
        status: u16,
    },
    /// 429, 408, 425 or 503: later.
    Busy {
        /// The HTTP status.
        status: u16,
        /// Until when the server asked to be left alone.
        until: Option<Timestamp>,
    },
    /// A block page of a CDN or firewall.
    Blocked {
        /// The HTTP status.
        status: u16,
    },
    /// The refresh token is spent, expired or revoked.
    Revoked {
        /// The server's error code.
        code: String,
    },
    /// The client, scope or grant is wrong.
    Misconfigured {
        /// The server's error code.
        code: String,
    },
    /// An error code nobody knows.
    UnknownError {
        /// The HTTP status.
        status: u16,
        /// The server's error code, where it has one of sane form.
        code: Option<String>,
    },
    /// A redirect, which is never followed.
    Redirected {
        /// The HTTP status.
        status: u16,
    },
    /// An answer that cannot be read as a token answer.
    Unreadable {
        /// The HTTP status.
        status: u16,
        /// Why: `not JSON`, `cut off`, `larger than 1 MiB`, …
        detail: String,
    },
    /// A readable answer whose access token cannot be used.
    BadAccessToken {
        /// Why: `missing`, `not text`, `empty`, `control characters`, `too long`.
        detail: String,
    },
    /// The answer of an earlier request was lost, and now the server refuses the refresh token.
    OutcomeUnknown {
        /// When the answer was lost.
        lost_at: Timestamp,
        /// The server's error code now, where it was asked again.
        code: Option<String>,
    },
    /// No refresh token is configured or stored.
    NoRefreshToken,
    /// A new seed was refused; the previous refresh token goes on.
    SeedRefused {
        /// The server's error code.
        code: String,
    },
    /// Two credentials hold one refresh token.
    SharedSeed {
        /// The credential that owns it.
        owner: String,
    },
    /// The configured refresh token was used in the name of another client before.
    OtherClientsSeed {
        /// The client's identifier; empty where the service has none.
        client_id: String,
    },
    /// The refresh stopped in the middle of our own code.
    Crashed,
    /// The vault is an older state of itself: the refresh token may have been spent since.
    VaultIsOlder {
        /// The server's error code, where it refused the refresh token.
        code: Option<String>,
    },
    /// Half of the access token's life is shorter than the gateway's cache lag.
    ShortLived {
        /// How long it lives.
        lifetime_seconds: u64,
        /// The cache lag.
        lag_seconds: u64,
    },
}

/// Why `login` or `import` got no refresh token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginReason {
    /// The credential's grant has no refresh token.
    NoneNeeded {
        /// The grant.
        grant: String,
    },
    /// Nothing says where to log in.
    NoEndpoint {
        /// The fields of which one is needed.
        fields: Vec<String>,
    },
    /// The issuer or the device endpoint answered something else.
    Unusable {
        /// The host.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The server's error code, where it has one of sane form.
        code: Option<String>,
    },
    /// Somebody else speaks for the issuer.
    OtherIssuer {
        /// The issuer's host.
        host: String,
    },
    /// No port to wait for the browser on.
    NoPort {
        /// The address.
        address: String,
        /// The system's words.
        error: String,
    },
    /// What came back belongs to no login of ours.
    NotOurs,
    /// The person said no.
    Denied,
    /// Nobody came in time.
    TimedOut,
    /// The server refused.
    Refused {
        /// Its error code, where it has one of sane form.
        code: Option<String>,
    },
    /// It worked, but no refresh token came.
    NoRefreshToken,
    /// The file cannot be read.
    FileUnreadable {
        /// The file.
        path: String,
        /// The system's words.
        error: String,
    },
    /// The file is in no format of the list.
    UnknownFormat {
        /// The list.
        known: Vec<String>,
    },
    /// A pointer of the command line leads to no text.
    NothingThere {
        /// The field.
        field: String,
        /// The pointer.
        pointer: String,
    },
    /// The file's refresh token was issued for another client.
    OtherClient {
        /// The credential's client.
        wanted: String,
        /// The file's.
        found: String,
    },
}

/// What can be wrong with the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VaultReason {
    /// Its directory cannot be made or written.
    Directory {
        /// The directory.
        path: String,
        /// The system's words.
        error: String,
    },
    /// Another process owns it.
    Owned {
        /// Who, as the lock file says.
        holder: String,
    },
    /// The file is not a vault: not SQLite, or another application's.
    NotAVault {
        /// The file.
        path: String,
    },
    /// A newer version wrote it.
    Newer {
        /// The version found.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// The file is damaged.
    Damaged {
        /// The file.
        path: String,
        /// SQLite's words.
        error: String,
    },
    /// It is sealed and no key, or another key, is configured.
    WrongKey {
        /// Whether a key is configured at all.
        configured: bool,
    },
    /// The disk is full.
    Full {
        /// The file.
        path: String,
    },
    /// Writing failed.
    Unwritable {
        /// The file.
        path: String,
        /// SQLite's or the system's words.
        error: String,
    },
    /// The file or its directory can be read by others.
    ReadableByOthers {
        /// The path.
        path: String,
        /// Its mode in octal.
        mode: String,
    },
    /// No vault there yet.
    Missing {
        /// The file.
        path: String,
    },
    /// There was a vault, and now there is none.
    Gone {
        /// The file.
        path: String,
    },
    /// The file is read-only.
    ReadOnly {
        /// The file.
        path: String,
    },
    /// The file belongs to another user.
    OtherOwner {
        /// The file.
        path: String,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// It lies on a container's own layer, or in memory.
    Fleeting {
        /// The file.
        path: String,
        /// `overlay`, `tmpfs`, …
        filesystem: String,
    },
    /// Setting a vault aside takes a person's word.
    Unconfirmed {
        /// The file.
        path: String,
    },
}

/// What can be wrong with a gateway's database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayReason {
    /// The file is not there (yet).
    Missing {
        /// The file.
        path: String,
    },
    /// The file has no tables yet.
    NotMigrated {
        /// The file.
        path: String,
    },
    /// Not a gateway we know.
    Unknown {
        /// The columns that were looked for and not found.
        missing: Vec<String>,
    },
    /// A one-hub database: it never reloads what SQL wrote.
    OneHub,
    /// Another kind than the config says.
    OtherKind {
        /// What the config says.
        wanted: String,
        /// What the database is.
        found: String,
    },
    /// Somebody held the lock longer than the busy timeout.
    Busy {
        /// How long we waited, in milliseconds.
        waited_ms: u64,
    },
    /// The file is not writable for this user.
    ReadOnlyFile {
        /// The file.
        path: String,
        /// Owner of the file as `UID:GID`.
        owner: String,
        /// Who we are, as `UID:GID`.
        us: String,
    },
    /// The file's directory is not writable for this user (the journal lives there).
    ReadOnlyDirectory {
        /// The directory.
        path: String,
        /// Owner as `UID:GID`.
        owner: String,
        /// Who we are, as `UID:GID`.
        us: String,
    },
    /// The mount is read-only.
    ReadOnlyMount {
        /// The file.
        path: String,
    },
    /// A crashed gateway left a journal that cannot be rolled back here.
    HotJournal {
        /// The file.
        path: String,
    },
    /// The file was replaced while it was open.
    Moved,
    /// Not a database.
    NotADatabase {
        /// The file.
        path: String,
    },
    /// The database is damaged.
    Corrupt {
        /// The file.
        path: String,
    },
    /// The disk is full.
    Full {
        /// The file.
        path: String,
    },
    /// It cannot be opened.
    CannotOpen {
        /// The file.
        path: String,
        /// SQLite's words.
        error: String,
    },
    /// A network or shared filesystem.
    Filesystem {
        /// Its name: `nfs`, `cifs`, `virtiofs` …
        name: String,
    },
    /// The file itself is a mount point or has several hard links.
    SharedInode {
        /// The file.
        path: String,
    },
    /// Anything else SQLite said.
    Failed {
        /// Its words and code.
        error: String,
    },
    /// For a day only we wrote to it.
    Unused {
        /// The file.
        path: String,
    },
}

/// What can be wrong with one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelReason {
    /// No such channel (any more).
    Missing,
    /// Another channel has been given this id.
    Replaced,
    /// No channel has this name, or several have.
    NameMatches {
        /// The name.
        name: String,
        /// The ids that bear it.
        ids: Vec<i64>,
    },
    /// Somebody else wrote the key.
    Foreign,
    /// Disabled by hand: the key is kept current, the status is left.
    DisabledByHand,
    /// Re-enabled too often.
    Flapping,
    /// The gateway disabled it for a reason that is not the key.
    DisabledForOtherReason {
        /// The gateway's words, cut.
        words: String,
    },
    /// A multi-key channel of new-api.
    MultiKey,
    /// A channel that the gateway refreshes by itself (new-api type 57).
    SelfRefreshing,
    /// A type whose key is ignored.
    KeyIgnored {
        /// The channel's type.
        kind: i64,
    },
    /// A type whose key is not a bare bearer token; it needs a `channel_key`.
    NeedsChannelKey {
        /// The channel's type.
        kind: i64,
    },
    /// The key to be written has control characters.
    UnsafeKey,
    /// The template names a field the answer did not have.
    TemplateField {
        /// The field.
        field: String,
    },
    /// The row changed between our look and our write.
    Conflict,
    /// Two names for one channel.
    ListedTwice {
        /// The credential that has it.
        owner: String,
    },
    /// Its gateway is another one's database.
    SameDatabase {
        /// The other gateway's name.
        other: String,
    },
    /// Given back by `release`.
    Released,
}

/// What can be wrong with a notifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotifierReason {
    /// It could not be reached in time.
    Unreachable {
        /// The system's words, without the address.
        error: String,
    },
    /// It answered, and refused.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The service's own code.
        code: Option<String>,
        /// The service's own words, cut and stripped.
        words: Option<String>,
    },
    /// It asks to be left alone.
    RateLimited {
        /// The service's own code or the HTTP status.
        code: String,
    },
    /// An answer nobody can read.
    Unreadable {
        /// The HTTP status.
        status: u16,
    },
    /// The mail server refused.
    MailRefused {
        /// The SMTP code.
        code: u16,
        /// The server's own words, cut and stripped.
        words: Option<String>,
    },
    /// The command ended with something else than 0.
    CommandFailed {
        /// Its exit status; 128 and the signal's number where one ended it.
        status: u16,
        /// The last line of its standard error, cut and stripped.
        words: Option<String>,
    },
    /// The command could not be started, or did not end in time.
    CommandNotRun {
        /// The system's words.
        error: String,
    },
}

/// What concerns the agent and its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentReason {
    /// The kernel gives no more inotify watches, or there are none here; the content poll does the work.
    NoInotify {
        /// The system's words.
        error: String,
    },
    /// A change that needs a restart.
    RestartNeeded {
        /// The section that changed.
        section: String,
    },
    /// An agent runs already.
    Running {
        /// Who, as the lock file says.
        holder: String,
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
    /// Somebody holds the vault and does not answer.
    Silent {
        /// Who, as the lock file says.
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
    /// A notifier name that is not in the config.
    NoSuchNotifier {
        /// The name.
        name: String,
        /// The names that are.
        known: Vec<String>,
    },
    /// The config has no notifier.
    NoNotifier,
}
