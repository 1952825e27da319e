//! A sample of every reason there is, for tests. A variant without a sample does not compile.

use serde::Deserialize;

use crate::reason::{
    AgentReason, ApiFailure, ChannelReason, ConfigReason, GatewayReason, LoginReason, NotifierReason, Reason,
    SecretReason, TokenReason, VaultReason,
};
use crate::time::Timestamp;

/// Gathers samples by their patterns: the match below is exhaustive only if every variant is here.
macro_rules! samples {
    ($kind:ident: $($variant:ident $({ $($field:ident: $value:expr),* })?),* $(,)?) => {{
        let _every_variant_is_here = |reason: &$kind| match reason {
            $($kind::$variant { .. } => ()),*
        };
        vec![$(Reason::from($kind::$variant $({ $($field: $value.into()),* })?)),*]
    }};
}

/// Every variant once, and again where an optional field changes the words.
pub(crate) fn reasons() -> Vec<Reason> {
    let at = Timestamp::from_seconds(1_767_000_000);
    let names = || vec!["one".to_owned(), "two".to_owned()];
    let path = "/data/one-api.db";
    let server = "mysql://db:3306/oneapi";
    let error = "the system's words";
    let mut reasons = samples!(ConfigReason:
        NotFound { looked_in: names() },
        Unreadable { path: path, error: error },
        Syntax { detail: "expected `=`" },
        UnknownKey { key: "token_ulr", nearest: "token_url".to_owned(), known: names() },
        MisplacedKey { key: "language", belongs: "above the first [table]" },
        WrongType { expected: "text", found: "a table" },
        MissingField { field: "token_url" },
        NotOneOf { found: "forn".to_owned(), expected: names(), nearest: "form".to_owned() },
        BadDuration,
        OutOfRange { bounds: "1 to 100" },
        BareSecret { env: "TOKEN".to_owned() },
        SecretSources,
        BadUrl { detail: "no host" },
        BadDatabase { detail: "it names no database" },
        PlainHttp,
        BadName,
        Duplicate { what: "credential \"a\"", first_line: 3_usize },
        UnknownGateway { name: "eu", known: names() },
        GatewayNeeded { known: names() },
        VaultPathNeeded,
        VaultPathBesideServer,
        BadVaultUrl { detail: "it names no database" },
        VaultKeyNeeded,
        BadTemplate { detail: "unclosed brace" },
        BadBody { detail: "not JSON" },
        BadMailAddress,
        BadPointer,
        BadHeader,
        BadKey,
        TimeoutOrder,
        BackoffOrder,
        OwnTokenUrl { preset: "auth0", form: "https://TENANT.auth0.com/oauth/token" },
        Needs { field: "service", other: "keyring" },
        Conflicts { field: "api", other: "database" },
        NotInThisBuild { what: "database on a server", feature: "servers" },
        UnknownService { name: "pushpuls", nearest: "pushplus".to_owned(), known: names() },
        ValueReadableByOthers { mode: "644" },
        SingleFileMount,
    );
    reasons.extend(samples!(SecretReason:
        EnvMissing { name: "TOKEN" },
        EnvAndFile { name: "TOKEN" },
        NotText { from: "env:TOKEN" },
        FileUnreadable { path: "/run/secrets/x", error: error },
        Empty { from: "file:/run/secrets/x" },
        TooLong { from: "file:/run/secrets/x" },
        KeyringNoEntry { entry: "keyring:x" },
        KeyringLocked,
        KeyringAbsent,
        KeyringFailed { error: error },
        NotUnderSystemd { name: "x" },
    ));
    reasons.extend(samples!(TokenReason:
        NotSent { host: "auth.example", error: error },
        NotMade { detail: "the key is no PEM" },
        Certificate { host: "auth.example", error: error },
        AnswerLost { host: "auth.example", error: error },
        DiedInFlight { at: at },
        ServerError { status: 502_u16 },
        Busy { status: 429_u16, until: at },
        Blocked { status: 403_u16 },
        Revoked { code: "invalid_grant" },
        Misconfigured { code: "invalid_client" },
        UnknownError { status: 400_u16, code: "odd".to_owned() },
        Redirected { status: 302_u16 },
        Unreadable { status: 200_u16, detail: "not JSON" },
        BadAccessToken { detail: "missing" },
        OutcomeUnknown { lost_at: at, code: "invalid_grant".to_owned() },
        NoRefreshToken,
        SeedRefused { code: "invalid_grant" },
        SharedSeed { owner: "a" },
        ShortLived { lifetime_seconds: 600_u64, lag_seconds: 600_u64 },
        OtherClientsSeed { client_id: "app" },
        Crashed,
        VaultIsOlder { code: "invalid_grant".to_owned() },
    ));
    reasons.extend(samples!(LoginReason:
        NoneNeeded { grant: "client_credentials" },
        NoEndpoint { fields: names() },
        Unusable { host: "auth.example", status: 400_u16, code: "invalid_scope".to_owned() },
        OtherIssuer { host: "auth.example" },
        NoPort { address: "127.0.0.1:7171", error: error },
        NotOurs,
        Denied,
        TimedOut,
        Refused { code: "invalid_scope".to_owned() },
        NoRefreshToken,
        FileUnreadable { path: "auth.json", error: error },
        UnknownFormat { known: names() },
        NothingThere { field: "refresh_token", pointer: "/a/b" },
        SeenBefore,
        NotKept,
        OtherClient { wanted: "app", found: "other" },
    ));
    reasons.extend(samples!(VaultReason:
        Directory { path: "/data/vault", error: error },
        Owned { holder: "run, pid 7" },
        NotAVault { path: path },
        Newer { found: 9, known: 1 },
        Older { found: 1, known: 2 },
        Damaged { path: path, error: error },
        WrongKey { configured: true },
        Full { path: path },
        Unwritable { path: path, error: error },
        ReadableByOthers { path: path, mode: "644" },
        Missing { path: path },
        Gone { path: path },
        ReadOnly { path: path },
        OtherOwner { path: path, owner: 1000_u32, us: 0_u32 },
        Filesystem { path: path, name: "nfs" },
        Fleeting { path: path, filesystem: "overlay" },
        ServerAway { server: "postgres://db:5432/vault", error: error },
        ServerRefused { server: "mysql://db:3306/vault", error: error },
        Displaced { holder: "process 7 on host-b" },
        ThreadEnded,
        ServerGone { server: "mysql://db:3306/vault", missing: "one_api_sidecar_meta" },
        ServerLax { server: "mysql://db:3306/vault", setting: "innodb_flush_log_at_trx_commit = 2" },
        ServerReset { server: "mysql://db:3306/vault" },
        Unconfirmed { path: path },
    ));
    reasons.extend(samples!(GatewayReason:
        Missing { path: path },
        NotMigrated { path: path },
        Unknown { missing: names() },
        OneHub,
        OtherKind { wanted: "one-api", found: "new-api" },
        Busy { waited_ms: 5000_u64 },
        ReadOnlyFile { path: path, owner: "0:0", us: "1000:1000" },
        ReadOnlyDirectory { path: "/data", owner: "0:0", us: "1000:1000" },
        ReadOnlyMount { path: path },
        HotJournal { path: path },
        Moved,
        NotADatabase { path: path },
        Corrupt { path: path },
        Full { path: path },
        CannotOpen { path: path, error: error },
        Filesystem { name: "nfs" },
        SharedInode { path: path },
        Failed { error: error },
        Unused { path: path },
        Api { failure: ApiFailure::RateLimited },
        ApiOfOneApi,
        NoAddress { secret: Box::new(SecretReason::KeyringLocked) },
        AddressMeansSqlite { from: "env:SQL_DSN" },
        BadAddress { from: "env:SQL_DSN", detail: "it names no database" },
        Unreachable { at: server, error: error },
        ConnectionLost { at: server },
        AccessDenied { at: server, user: "oneapi" },
        UnknownDatabase { at: server },
        TlsRequired { at: server },
        TlsFailed { at: server, error: error },
        TooManyConnections { at: server },
        ServerReadOnly { at: server, code: "1290" },
        NoPrivilege { at: server, user: "oneapi" },
        RowsLocked { at: server, waited_ms: 5000_u64 },
        ServerFull { at: server },
    ));
    let failures = [
        ApiFailure::Unreachable { error: error.into() },
        ApiFailure::Token(SecretReason::EnvMissing { name: "ONE_API_ADMIN_TOKEN".into() }),
        ApiFailure::Denied,
        ApiFailure::NotAnAdministrator,
        ApiFailure::WrongUser,
        ApiFailure::Refused,
        ApiFailure::NotTheApi { status: 404 },
        ApiFailure::OtherGateway,
    ];
    reasons.extend(failures.map(|failure| GatewayReason::Api { failure }.into()));
    reasons.extend(samples!(ChannelReason:
        Missing,
        Replaced,
        NameMatches { name: "a", ids: vec![1, 2] },
        Foreign,
        DisabledByHand,
        Flapping,
        DisabledForOtherReason { words: "quota exceeded" },
        AbilitiesOff,
        MultiKey,
        SelfRefreshing,
        KeyIgnored { kind: 1 },
        NeedsChannelKey { kind: 33 },
        UnsafeKey,
        TemplateField { field: "id_token" },
        Refused,
        Conflict,
        ListedTwice { owner: "a" },
        SameDatabase { other: "eu" },
        Released,
    ));
    reasons.extend(samples!(NotifierReason:
        Unreachable { error: error },
        Refused { status: 200_u16, code: "903".to_owned(), words: "bad token".to_owned() },
        RateLimited { code: "900" },
        Unreadable { status: 200_u16 },
        MailRefused { code: 535_u16, words: "no such user".to_owned() },
        CommandFailed { status: 1_u16, words: "no route".to_owned() },
        CommandNotRun { error: error },
    ));
    reasons.extend(samples!(AgentReason:
        NoInotify { error: error },
        NoTimeZone { name: "Asia/Shanghai" },
        RestartNeeded { section: "[vault]" },
        NoSuchCredential { name: "opnai", nearest: "openai".to_owned() },
        NoSuchChannel { channel: "7" },
        NothingToGiveBack { channel: "7" },
        Silent { holder: "process 7 on host" },
        OwnedElsewhere { holder: "process 7 on host-a" },
        NotRunning,
        NeedAttention { credentials: vec!["a".to_owned(), "b".to_owned()] },
        NoControlSocket { path: path, error: error },
        CannotListen { address: "127.0.0.1:9170", error: error },
        ListensBeyondLoopback { address: "0.0.0.0:9170" },
        Abandoned { credentials: vec!["a".to_owned(), "b".to_owned()] },
        HeldLost { credentials: vec!["a".to_owned(), "b".to_owned()] },
        NoSuchNotifier { name: "wechta", known: names() },
        NoNotifier,
        LogFilter { found: "inof", nearest: "info".to_owned() },
        LogFormat { found: "yaml" },
        ClockOff { host: "auth.example", seconds: 95_i64 },
    ));
    reasons.extend(without_optional_fields(at, names()));
    reasons
}

fn without_optional_fields(at: Timestamp, names: Vec<String>) -> Vec<Reason> {
    vec![
        ConfigReason::UnknownKey { key: "x".into(), nearest: None, known: names.clone() }.into(),
        ConfigReason::MisplacedKey { key: "kind".into(), belongs: "[gateway]".into() }.into(),
        ConfigReason::NotOneOf { found: None, expected: names.clone(), nearest: None }.into(),
        ConfigReason::BareSecret { env: None }.into(),
        ConfigReason::UnknownService { name: "x".into(), nearest: None, known: names }.into(),
        TokenReason::Busy { status: 503, until: None }.into(),
        TokenReason::UnknownError { status: 404, code: None }.into(),
        TokenReason::OutcomeUnknown { lost_at: at, code: None }.into(),
        TokenReason::VaultIsOlder { code: None }.into(),
        LoginReason::Unusable { host: "auth.example".into(), status: 200, code: None }.into(),
        LoginReason::Refused { code: None }.into(),
        VaultReason::WrongKey { configured: false }.into(),
        VaultReason::Fleeting { path: "/dev/shm/vault.db".into(), filesystem: "tmpfs".into() }.into(),
        ChannelReason::NameMatches { name: "a".into(), ids: Vec::new() }.into(),
        NotifierReason::Refused { status: 500, code: None, words: None }.into(),
        NotifierReason::MailRefused { code: 535, words: None }.into(),
        NotifierReason::CommandFailed { status: 1, words: None }.into(),
        AgentReason::NoSuchCredential { name: "x".into(), nearest: None }.into(),
        AgentReason::Abandoned { credentials: Vec::new() }.into(),
        AgentReason::LogFilter { found: "a=loud".into(), nearest: None }.into(),
    ]
}

#[test]
fn every_reason_is_read_again_as_it_was_written() {
    for reason in reasons() {
        let written = serde_json::to_string(&reason).unwrap();
        assert_eq!(serde_json::from_str::<Reason>(&written).unwrap(), reason, "{written}");
        let value: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(Reason::deserialize(value).unwrap(), reason, "{written}");
    }
    let unknown = serde_json::from_str::<Reason>(r#"{"room":"cellar","reason":"dark"}"#).unwrap_err();
    assert!(unknown.to_string().contains("cellar"), "{unknown}");
}
