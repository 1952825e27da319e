//! What PostgreSQL and MySQL say differently, as data; everything else of the vault is one implementation.

use crate::dsn::Engine;

/// The tables' prefix.
pub(super) const PREFIX: &str = "one_api_sidecar_";

/// The tables, in the order of their making.
pub(super) const TABLES: [&str; 7] = ["meta", "owner", "record", "fingerprint", "adoption", "event", "notice"];

/// The words of one engine.
pub(super) struct Dialect {
    /// Settings of each session. What the server does not know is passed over. It keeps a session that says nothing for
    /// ten seconds: so long after its owner was paused or cut off the vault is free.
    pub settings: &'static [&'static str],
    /// The types of numbers that count up, numbers, short texts, long texts, long bytes, short bytes.
    serial: &'static str,
    short_text: &'static str,
    long_text: &'static str,
    long_bytes: &'static str,
    short_bytes: &'static str,
    /// What follows a table's columns.
    table_end: &'static str,
    /// How the order of fingerprints by age is declared: among the table's columns, and after it. A vault from before
    /// this has none, and is slower at most.
    fingerprint_age: (&'static str, &'static str),
    /// Takes the lock, given its name; 1 when it is ours.
    pub lock: &'static str,
    /// Gives the lock back, given its name.
    pub unlock: &'static str,
    /// Whose the lock is, given its name: the session's number; no row or NULL when it is free.
    pub lock_holder: &'static str,
    /// A condition: the lock, given its name, is this very session's.
    pub lock_is_ours: &'static str,
    /// Ends another session of the same user, given its number.
    pub end_session: fn(i64) -> String,
    /// The names of our tables that are there.
    pub tables: &'static str,
    /// The database and the schema that unqualified names mean.
    pub place: &'static str,
    /// The settings that say whether a commit survives a power cut: name, value, and whether it does.
    pub durability: &'static str,
    /// Begins a transaction that sees one state of everything.
    pub snapshot: &'static str,
    /// What stands between an insert and its assignments.
    on_conflict: fn(&[&str]) -> String,
    /// What a row that could not be inserted would have had in a column.
    inserted: fn(&str) -> String,
}

/// The words of an engine.
pub(super) fn of(engine: Engine) -> &'static Dialect {
    match engine {
        Engine::Postgres => &POSTGRES,
        Engine::MySql => &MYSQL,
    }
}

static POSTGRES: Dialect = Dialect {
    settings: &[
        // Stronger than "on" is left as it is.
        "SELECT set_config('synchronous_commit', 'on', false)
           WHERE current_setting('synchronous_commit') IN ('off', 'local')",
        "SET idle_session_timeout = '10s'", // from version 14 on
        "SET idle_in_transaction_session_timeout = '10s'",
        "SET statement_timeout = '10s'",
        "SET lock_timeout = '5s'",
        // Of a host that is gone, where the idle timeout is not known.
        "SET tcp_keepalives_idle = 5",
        "SET tcp_keepalives_interval = 2",
        "SET tcp_keepalives_count = 3",
        "SET tcp_user_timeout = '10s'",
        "SET client_min_messages = 'warning'",
    ],
    serial: "BIGINT GENERATED ALWAYS AS IDENTITY",
    short_text: "VARCHAR(190)",
    long_text: "TEXT",
    long_bytes: "BYTEA",
    short_bytes: "BYTEA",
    table_end: "",
    fingerprint_age: (
        "",
        "; CREATE INDEX IF NOT EXISTS one_api_sidecar_fingerprint_age ON one_api_sidecar_fingerprint (record, kind, at)",
    ),
    lock: "SELECT CASE WHEN pg_try_advisory_lock(?::bigint) THEN 1 ELSE 0 END::bigint",
    unlock: "SELECT CASE WHEN pg_advisory_unlock(?::bigint) THEN 1 ELSE 0 END::bigint",
    lock_holder: "SELECT pid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND ((classid::bigint << 32) | objid::bigint) = ?::bigint",
    lock_is_ours: "EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND pid = pg_backend_pid() AND ((classid::bigint << 32) | objid::bigint) = ?::bigint)",
    end_session: |number| format!("SELECT pg_terminate_backend({number})"),
    tables: "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() AND tablename LIKE 'one_api_sidecar_%'",
    place: "SELECT current_database()::text, coalesce(current_schema(), '')::text",
    durability: "SELECT name::text, setting::text, CASE WHEN setting = 'off' THEN 0 ELSE 1 END::bigint
        FROM pg_settings WHERE name IN ('fsync', 'full_page_writes')",
    snapshot: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    on_conflict: |keys| format!("ON CONFLICT ({}) DO UPDATE SET", keys.join(", ")),
    inserted: |column| format!("EXCLUDED.{column}"),
};

static MYSQL: Dialect = Dialect {
    settings: &[
        "SET SESSION wait_timeout = 10",
        "SET SESSION net_read_timeout = 10",
        "SET SESSION net_write_timeout = 10",
        "SET SESSION innodb_lock_wait_timeout = 5",
        "SET SESSION lock_wait_timeout = 5",
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET SESSION autocommit = 1",
    ],
    serial: "BIGINT AUTO_INCREMENT",
    short_text: "VARCHAR(190)",
    long_text: "LONGTEXT",
    long_bytes: "LONGBLOB",
    short_bytes: "VARBINARY(32)",
    table_end: " ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin",
    fingerprint_age: (", INDEX one_api_sidecar_fingerprint_age (record, kind, at)", ""),
    lock: "SELECT CAST(COALESCE(GET_LOCK(CONCAT('one_api_sidecar.', ?), 0), 0) AS SIGNED)",
    unlock: "SELECT CAST(COALESCE(RELEASE_LOCK(CONCAT('one_api_sidecar.', ?)), 0) AS SIGNED)",
    lock_holder: "SELECT id FROM (SELECT CAST(IS_USED_LOCK(CONCAT('one_api_sidecar.', ?)) AS SIGNED) AS id) AS held
        WHERE id IS NOT NULL",
    lock_is_ours: "COALESCE(IS_USED_LOCK(CONCAT('one_api_sidecar.', ?)) = CONNECTION_ID(), 0)",
    end_session: |number| format!("KILL CONNECTION {number}"),
    tables: "SELECT CAST(table_name AS CHAR) FROM information_schema.tables
        WHERE table_schema = DATABASE() AND table_name LIKE 'one\\_api\\_sidecar\\_%'",
    place: "SELECT CAST(DATABASE() AS CHAR), ''",
    durability: "SELECT 'innodb_flush_log_at_trx_commit', CAST(@@GLOBAL.innodb_flush_log_at_trx_commit AS CHAR),
        CAST(@@GLOBAL.innodb_flush_log_at_trx_commit = 1 AS SIGNED)",
    snapshot: "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    on_conflict: |_| "ON DUPLICATE KEY UPDATE".into(),
    inserted: |column| format!("VALUES({column})"),
};

impl Dialect {
    /// Every table, each as one statement; the first is the one that says how far their making has come.
    pub(super) fn create(&self) -> [String; 7] {
        let Self { serial, short_text, long_text, long_bytes, short_bytes, table_end, .. } = self;
        let (within, after) = self.fingerprint_age;
        let table =
            |name: &str, columns: String| format!("CREATE TABLE IF NOT EXISTS {PREFIX}{name} ({columns}){table_end}");
        [
            table("meta", format!("name {short_text} NOT NULL PRIMARY KEY, value {long_bytes} NOT NULL")),
            table(
                "owner",
                format!(
                    "nr SMALLINT NOT NULL PRIMARY KEY, token {short_text} NOT NULL, epoch BIGINT NOT NULL,
                     commits BIGINT NOT NULL, holder {short_text} NOT NULL, since BIGINT NOT NULL"
                ),
            ),
            table(
                "record",
                format!(
                    "id BIGINT NOT NULL PRIMARY KEY, name {long_text} NOT NULL, grant_type {long_text} NOT NULL,
                     client_id {long_text} NOT NULL, refresh_token {long_bytes}, candidate {long_bytes},
                     access {long_bytes}, state {long_text} NOT NULL"
                ),
            ),
            table(
                "fingerprint",
                format!(
                    "kind BIGINT NOT NULL, mac {short_bytes} NOT NULL, record BIGINT NOT NULL, at BIGINT NOT NULL,
                     PRIMARY KEY (kind, mac, record){within}"
                ),
            ) + after,
            table(
                "adoption",
                format!(
                    "gateway {short_text} NOT NULL, channel BIGINT NOT NULL, created_time BIGINT NOT NULL,
                     name {long_text} NOT NULL, record BIGINT NOT NULL, displaced {long_bytes}, state {long_text} NOT NULL,
                     PRIMARY KEY (gateway, channel)"
                ),
            ),
            table("event", format!("id {serial} PRIMARY KEY, at BIGINT NOT NULL, body {long_text} NOT NULL")),
            table("notice", format!("name {short_text} NOT NULL PRIMARY KEY, state {long_text} NOT NULL")),
        ]
    }

    /// Writes a row, in place of the one with the same keys.
    pub(super) fn upsert(&self, table: &str, keys: &[&str], rest: &[&str]) -> String {
        let columns = [keys, rest].concat();
        let marks = vec!["?"; columns.len()].join(", ");
        let assignments: Vec<String> =
            rest.iter().map(|column| format!("{column} = {}", (self.inserted)(column))).collect();
        format!(
            "INSERT INTO {PREFIX}{table} ({}) VALUES ({marks}) {} {}",
            columns.join(", "),
            (self.on_conflict)(keys),
            assignments.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_put_in_place_of_the_one_with_its_keys() {
        let upsert = |engine| of(engine).upsert("meta", &["name"], &["value"]);
        assert_eq!(
            upsert(Engine::Postgres),
            "INSERT INTO one_api_sidecar_meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = \
             EXCLUDED.value"
        );
        assert_eq!(
            upsert(Engine::MySql),
            "INSERT INTO one_api_sidecar_meta (name, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE value = VALUES(value)"
        );
    }
}
