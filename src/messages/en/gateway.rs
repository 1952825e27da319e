//! Gateways and their channels in English.

use super::list;
use crate::messages::Message;
use crate::reason::{ApiFailure, ChannelReason, GatewayReason};

pub(super) fn explain(reason: &GatewayReason) -> Message {
    match reason {
        GatewayReason::Missing { path } => Message::new(
            format!("The gateway's database {path} is not there."),
            "Start the gateway once, or correct `database` in `[gateway]`; with compose, both containers mount the \
             same volume. Keys wait and are delivered once it is there.",
        ),
        GatewayReason::NotMigrated { path } => Message::new(
            format!("The gateway's database {path} has no tables yet."),
            "Start the gateway once: it makes them. Keys wait until then.",
        ),
        GatewayReason::Unknown { missing } => Message::new(
            format!("The database is not one of a gateway that is known here; missing: {}.", list(missing)),
            "Check that `database` in `[gateway]` names the database of a One-API or New API.",
        ),
        GatewayReason::OneHub => Message::new(
            "This is the database of one-hub, which never looks again at what is written into it.",
            "Reach one-hub by its admin API instead: `api = { … }` and `kind = \"one-hub\"` in `[gateway]`.",
        ),
        GatewayReason::OtherKind { wanted, found } => Message::new(
            format!("The config says `kind = \"{wanted}\"`, but this is the database of {found}."),
            format!("Correct `database`, or write `kind = \"{found}\"` (or `\"auto\"`) in `[gateway]`."),
        ),
        GatewayReason::Busy { waited_ms } => Message::new(
            format!("Somebody else held the gateway's database locked for longer than {waited_ms} ms."),
            "It is tried again by itself. If it recurs, look for a backup or another program that works on the \
             file (`fuser -v FILE`), or raise `busy_timeout`.",
        ),
        GatewayReason::ReadOnlyFile { path, owner, us } => Message::new(
            format!("The database {path} belongs to {owner}, and the sidecar runs as {us}, which may not write it."),
            format!("Run the sidecar as its owner: in compose `user: \"{owner}\"`; or `chown {us} {path}`."),
        ),
        GatewayReason::ReadOnlyDirectory { path, owner, us } => Message::new(
            format!(
                "The directory {path} belongs to {owner}, and the sidecar runs as {us}, which may not write there; \
                 SQLite needs it for its journal."
            ),
            format!("Run the sidecar as its owner: in compose `user: \"{owner}\"`; or `chown {us} {path}`."),
        ),
        GatewayReason::ReadOnlyMount { path } => Message::new(
            format!("{path} lies on a mount that is read-only."),
            "Take `:ro` off the volume in compose, then `docker compose up -d`.",
        ),
        GatewayReason::HotJournal { path } => Message::new(
            format!("A gateway that crashed left a journal beside {path}, which the sidecar may not roll back."),
            "Start the gateway once: it puts the database in order. Or let the sidecar write there: `user:` in \
             compose, or `chown`.",
        ),
        GatewayReason::Moved => Message::new(
            "The database file was replaced while it was being written.",
            "Nothing: it is opened afresh and tried again. To restore a backup, stop the gateway first.",
        ),
        GatewayReason::NotADatabase { path } => Message::new(
            format!("{path} is not an SQLite database."),
            "Correct `database` in `[gateway]`: it names the gateway's file, usually `one-api.db`.",
        ),
        GatewayReason::Corrupt { path } => Message::new(
            format!("The gateway's database {path} is damaged; nothing is written into it."),
            format!("Stop the gateway, check with `sqlite3 {path} \"PRAGMA integrity_check\"`, restore a backup."),
        ),
        GatewayReason::Full { path } => Message::new(
            format!("The disk is full: {path} cannot be written."),
            "Free some space: `df -h`, `docker system df`. The keys wait and are delivered then.",
        ),
        GatewayReason::CannotOpen { path, error } => Message::new(
            format!("The gateway's database {path} cannot be opened: {error}."),
            format!("Check the path and the owner where the sidecar runs: `ls -ln {path}`."),
        ),
        GatewayReason::Filesystem { name } => Message::new(
            format!("The database lies on {name}, where SQLite's locks cannot be relied on between machines."),
            format!(
                "Run the sidecar on the machine that holds the file, on a local volume. If gateway and sidecar are \
                 on one kernel, allow it: `allow_filesystem = [\"{name}\"]` in `[gateway]`."
            ),
        ),
        GatewayReason::SharedInode { path } => Message::new(
            format!("{path} is itself a mount point or has several hard links: its journal would lie elsewhere."),
            "Mount the directory, not the file: in compose `volumes: [\"./data:/data\"]`, for the gateway too.",
        ),
        GatewayReason::Failed { error } => Message::new(
            format!("The gateway's database did not take the key: {error}."),
            "It is tried again by itself. If it lasts, look whether the gateway itself can still write.",
        ),
        GatewayReason::Api { failure } => api(failure),
        GatewayReason::ApiOfOneApi => Message::new(
            "One-API goes on with the key in its memory until its next reload, whatever its admin API is told; a \
             channel that the old key gets disabled until then is enabled again and again.",
            "Let the sidecar write the database instead (`database` in `[gateway]`), or switch the gateway's memory \
             cache off (`MEMORY_CACHE_ENABLED=false`, no Redis), or refresh early enough (`refresh_before`).",
        ),
        GatewayReason::Unused { path } => Message::new(
            format!("For a day nobody but the sidecar has written to {path}: the gateway seems to use another one."),
            "Compare `database` in `[gateway]` with the gateway's own settings: its volume, and SQL_DSN or \
             SQLITE_PATH.",
        ),
        GatewayReason::NoAddress { secret } => {
            let message = super::secret::explain(secret);
            Message::new(
                format!("The address of the gateway's database cannot be read. {}", message.what),
                message.remedy,
            )
        }
        GatewayReason::AddressMeansSqlite { from } => Message::new(
            format!("{from} is empty or begins with `local`: the gateway then uses SQLite and no server."),
            "If the gateway runs on SQLite, name its file: `database = \"/data/one-api.db\"`. If it runs on a server, \
             give the sidecar the SQL_DSN that the gateway has (in compose under `environment:` of both).",
        ),
        GatewayReason::BadAddress { from, detail } => Message::new(
            format!("What {from} holds is not a usable address of a database: {detail}."),
            "Write it as the gateway's SQL_DSN has it: `user:password@tcp(host:3306)/database` or \
             `postgres://user:password@host:5432/database`.",
        ),
        GatewayReason::Unreachable { at, error } => Message::new(
            format!("The gateway's database {at} does not answer: {error}."),
            "It is tried again by itself, and keys wait. If it lasts: does the server run, and is its host name known \
             where the sidecar runs (in compose, the same network)?",
        ),
        GatewayReason::ConnectionLost { at } => Message::new(
            format!("The connection to the gateway's database {at} broke."),
            "Nothing: it is made anew, and what became of the last write is looked at.",
        ),
        GatewayReason::AccessDenied { at, user } => Message::new(
            format!("The gateway's database {at} does not let the user `{user}` in."),
            "Check user and password in `database`, and that the server allows this user from the sidecar's address \
             (MySQL: `'user'@'%'`; PostgreSQL: `pg_hba.conf`). A MariaDB that insists on TLS says the same: \
             `?tls=skip-verify`. An environment variable is read at start only: `docker compose up -d`.",
        ),
        GatewayReason::UnknownDatabase { at } => Message::new(
            format!("The server of {at} has no such database, or none for this user."),
            "Correct the database's name in `database`: the gateway's own SQL_DSN has it.",
        ),
        GatewayReason::TlsRequired { at } => Message::new(
            format!("The server of {at} lets nobody in without TLS."),
            "Add `?tls=skip-verify` or `?tls=true` (MySQL), or `?sslmode=require` or `verify-full` (PostgreSQL), to the \
             address.",
        ),
        GatewayReason::TlsFailed { at, error } => Message::new(
            format!("No TLS connection to {at}: {error}."),
            "Let the certificate name this host and its authority be known where the sidecar runs (SSL_CERT_FILE, or \
             `sslrootcert=` for PostgreSQL); certificates of X.509 version 1 are not taken. On a network of your own: \
             `tls=skip-verify`, `sslmode=require`, or no TLS.",
        ),
        GatewayReason::TooManyConnections { at } => Message::new(
            format!("The server of {at} takes no more connections."),
            "It is tried again by itself. The sidecar needs one: raise `max_connections`, or lower the gateway's \
             SQL_MAX_OPEN_CONNS.",
        ),
        GatewayReason::ServerReadOnly { at, code } => Message::new(
            format!("The server of {at} takes no writes now (error {code}): a replica, or a failover."),
            "It is tried again by itself, with a new connection. If it lasts, name the primary in `database`.",
        ),
        GatewayReason::NoPrivilege { at, user } => Message::new(
            format!("The user `{user}` may not read or write the tables of {at}."),
            format!(
                "Give it what it needs: `GRANT SELECT, UPDATE ON channels TO {user}` and the same on `abilities`; or \
                 use the gateway's own user."
            ),
        ),
        GatewayReason::RowsLocked { at, waited_ms } => Message::new(
            format!("Somebody else held the channels in {at} locked for longer than {waited_ms} ms."),
            "It is tried again by itself. If it recurs, look for a long transaction (`SHOW PROCESSLIST`, \
             `pg_stat_activity`), or raise `busy_timeout`.",
        ),
        GatewayReason::ServerFull { at } => Message::new(
            format!("The disk of the server of {at} is full."),
            "Free some space there. The keys wait and are delivered then.",
        ),
    }
}

fn api(failure: &ApiFailure) -> Message {
    match failure {
        ApiFailure::Unreachable { error } => Message::new(
            format!("The gateway's admin API cannot be reached: {error}."),
            "Check `url` under `api` in `[gateway]`, and that the gateway runs; in compose it is the service's name. \
             It is tried again by itself.",
        ),
        ApiFailure::Token(reason) => super::secret::explain(reason),
        ApiFailure::Denied => Message::new(
            "The gateway does not know the access token of its admin API.",
            "Make one in the gateway's web page, logged in as an administrator (Settings, Personal: the system access \
             token), and put it where `token` under `api` in `[gateway]` points.",
        ),
        ApiFailure::NotAnAdministrator => Message::new(
            "The access token of the gateway's admin API belongs to a user who is no administrator.",
            "Make the token as an administrator, or make that user one in the gateway's web page.",
        ),
        ApiFailure::WrongUser => Message::new(
            "The gateway wants to know whose access token it is, and it is not that user's.",
            "Write the administrator's id as `user` under `api` in `[gateway]`; the first administrator is 1. The \
             gateway's web page shows it under Users.",
        ),
        ApiFailure::RateLimited => Message::new(
            "The gateway's admin API takes no more requests for now: 480 in 3 minutes is One-API's limit.",
            "It is tried again by itself. If it recurs, raise `GLOBAL_API_RATE_LIMIT` on the gateway.",
        ),
        ApiFailure::Refused => Message::new(
            "The gateway's admin API refused the key.",
            "It is tried again by itself. The gateway's own log says why.",
        ),
        ApiFailure::NotTheApi { status } => Message::new(
            format!("What answers at the admin API's address is not a gateway's API (HTTP {status})."),
            "Check `url` under `api` in `[gateway]`: the address of the gateway's web page, without `/api`.",
        ),
        ApiFailure::OtherGateway => Message::new(
            "The admin API does not show the channel that the key was written into: it seems to be another gateway's.",
            "Check `url` under `api` in `[gateway]`: it must lead to the gateway that uses this database.",
        ),
    }
}

pub(super) fn channel(reason: &ChannelReason, id: &str) -> Message {
    match reason {
        ChannelReason::Missing => Message::new(
            "The gateway has no such channel (any more).",
            "See `one-api-sidecar channels` for what there is, and correct `channels` in the credential.",
        ),
        ChannelReason::Replaced => Message::new(
            "The channel was deleted, and another one has been given its id; it is left alone.",
            format!(
                "If the new channel is to get this key: `one-api-sidecar adopt {id}`. Else correct `channels` in the \
             credential."
            ),
        ),
        ChannelReason::NameMatches { name, ids } if ids.is_empty() => Message::new(
            format!("No channel is named `{name}`."),
            "See `one-api-sidecar channels` for the names, and correct `channels` in the credential.",
        ),
        ChannelReason::NameMatches { name, ids } => {
            let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
            Message::new(
                format!("Several channels are named `{name}`: {}.", list(&ids)),
                "Name the channel by its id in the credential's `channels`.",
            )
        }
        ChannelReason::Foreign => Message::new(
            "Somebody else has changed the channel's key; it is left as it is.",
            format!(
                "If it is to get our key again: `one-api-sidecar adopt {id}`. If not, take the channel out of the config."
            ),
        ),
        ChannelReason::DisabledByHand => Message::new(
            "The channel was disabled by hand; its key is kept current, and it stays disabled.",
            "Enable it in the gateway when it is to serve again.",
        ),
        ChannelReason::Flapping => Message::new(
            "The gateway keeps disabling the channel although its key is fresh; it is no longer enabled again.",
            "Test the channel in the gateway: the account's quota, the model list, the base URL. Then enable it there.",
        ),
        ChannelReason::DisabledForOtherReason { words } => Message::new(
            format!("The gateway disabled the channel for another reason than its key: {words}."),
            "Clear that up at the provider, then enable the channel in the gateway.",
        ),
        ChannelReason::AbilitiesOff => Message::new(
            "The channel is enabled but its abilities are switched off: without its memory cache the gateway sends it \
             no requests.",
            "Disable the channel in the gateway and enable it again. The next key that is written does it too, unless \
             `reenable = \"never\"` forbids that.",
        ),
        ChannelReason::MultiKey => Message::new(
            "This is a multi-key channel, which cannot be fed with one key.",
            "Make an ordinary channel with a single key in New API and name that one in `channels`.",
        ),
        ChannelReason::SelfRefreshing => Message::new(
            "The gateway itself refreshes the key of this type of channel; two would use up each other's tokens.",
            "Take it out of `channels`, or make it a channel of another type.",
        ),
        ChannelReason::KeyIgnored { kind } => Message::new(
            format!("The gateway ignores the key of a channel of type {kind}."),
            "Name a channel of another type in `channels`.",
        ),
        ChannelReason::NeedsChannelKey { kind } => Message::new(
            format!("A channel of type {kind} wants more in its key than a bare access token."),
            "Say how the key is made up: `channels = [{ id = …, channel_key = \"…{access_token}…\" }]`.",
        ),
        ChannelReason::UnsafeKey => Message::new(
            "The key that was to be written has control characters in it; it was not written.",
            "Check the `channel_key` template and `[credential.response]`.",
        ),
        ChannelReason::TemplateField { field } => Message::new(
            format!("`channel_key` names `{field}`, which the provider's answer does not have."),
            "Correct `channel_key`, or ask for the field with `scope` (an `id_token` needs `openid`).",
        ),
        ChannelReason::Refused => Message::new(
            "The gateway's admin API did not take this channel's key or its status, and gave no reason that is known here.",
            "It is tried again every minute. The gateway's own log says why; saving the channel in its web page may say it \
             too.",
        ),
        ChannelReason::Conflict => Message::new(
            "The channel's row was changed between our look and our write; nothing was written.",
            "It is looked at afresh and tried again. If that goes on, something changes the row before each write: a \
             trigger, or another program.",
        ),
        ChannelReason::ListedTwice { owner } => Message::new(
            format!("This channel is fed by the credential `{owner}` already."),
            "Leave it in the `channels` of one credential only.",
        ),
        ChannelReason::SameDatabase { other } => Message::new(
            format!("This gateway has the same database as the gateway `{other}`."),
            format!("Remove one of the two `[[gateway]]` tables and let its channels name `{other}`."),
        ),
        ChannelReason::Released => Message::new(
            "The channel was given back with `release`; it is left alone.",
            format!("To feed it again: `one-api-sidecar adopt {id}`. Else take it out of the config."),
        ),
    }
}
