//! What MySQL and PostgreSQL say differently, as data: everything else about a server gateway is the same for both.
//!
//! Reserved words are quoted (`key`), flags are written `TRUE` and `FALSE` (tinyint there, boolean here), and every column is
//! read as text, so that a bigint here and an int there are one.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

use crate::config::plan::GatewayKind;
use crate::dsn::Engine;

/// The words of an engine.
#[derive(Debug)]
pub(super) struct Dialect {
    /// `key` as a column: a reserved word in MySQL.
    key: &'static str,
    /// What a value of any type becomes text with.
    text: &'static str,
    /// Compares the key by its bytes: MySQL's collations take `a` for `A`, and ignore spaces at the end.
    same_key: &'static str,
    /// The columns of the gateway's two tables, as `table, column`.
    pub(super) columns: &'static str,
    /// 1 if the database has tables and none of a gateway's.
    pub(super) strange: &'static str,
    /// Begins the transaction of a write, its isolation said.
    pub(super) begin: &'static [&'static str],
    /// Which database this is, by the server's own word, whatever address leads to it.
    pub(super) place: &'static [&'static str],
    /// A sum over rows that changes when one of them does.
    checksum: &'static str,
    numbered: bool,
}

const MYSQL: Dialect = Dialect {
    key: "`key`",
    text: "CHAR",
    same_key: "CAST(COALESCE(`key`, '') AS BINARY) = CAST(? AS BINARY)",
    columns: "SELECT CAST(table_name AS CHAR), CAST(column_name AS CHAR) FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name IN ('channels', 'abilities')",
    strange: "SELECT CAST(COUNT(*) > 0 AND COALESCE(SUM(table_name IN ('abilities', 'redemptions')), 0) = 0 AS CHAR)
        FROM information_schema.tables WHERE table_schema = DATABASE()",
    // For the next transaction only; the session's own default stays what it was.
    begin: &["SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION"],
    // `server_uuid` is MySQL's, `server_uid` a newer MariaDB's.
    place: &[
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid', 'hostname', 'port', 'datadir')",
        "SELECT DATABASE()",
    ],
    checksum: "BIT_XOR(CRC32(CONCAT_WS('|', id, status, created_time, `key`)))",
    numbered: false,
};

const POSTGRES: Dialect = Dialect {
    key: r#""key""#,
    text: "text",
    same_key: r#"COALESCE("key", '') = $2"#,
    // Where the search path finds the tables, and with the columns that this user has no right to: information_schema
    // hides those, and a missing right would look like a missing column.
    columns:
        "SELECT CASE attrelid WHEN to_regclass('channels') THEN 'channels' ELSE 'abilities' END, CAST(attname AS text)
        FROM pg_attribute WHERE attrelid IN (to_regclass('channels'), to_regclass('abilities'))
        AND attnum > 0 AND NOT attisdropped",
    strange: "SELECT CASE WHEN COUNT(*) > 0 AND COUNT(*) FILTER (WHERE tablename IN ('abilities', 'redemptions')) = 0
        THEN '1' ELSE '0' END FROM pg_tables WHERE schemaname = ANY (current_schemas(false))",
    begin: &["BEGIN ISOLATION LEVEL READ COMMITTED"],
    place: &["SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()), current_database(),
            CAST(to_regclass('channels') AS oid))"],
    checksum: r#"SUM(hashtext(concat_ws('|', id, status, created_time, "key")))"#,
    numbered: true,
};

impl Dialect {
    pub(super) fn of(engine: Engine) -> &'static Self {
        match engine {
            Engine::MySql => &MYSQL,
            Engine::Postgres => &POSTGRES,
        }
    }

    /// The statement that reads channels, to be followed by a WHERE; the order of its columns is [`super::rows::view`]'s.
    pub(super) fn select(&self, kind: GatewayKind, columns: &HashSet<String>) -> String {
        let as_text = |column: &str| format!("CAST({column} AS {})", self.text);
        let where_there = |name: &str| if columns.contains(name) { as_text(name) } else { "NULL".to_owned() };
        let abilities_off = match has_abilities(kind) {
            true => {
                "CASE WHEN EXISTS (SELECT 1 FROM abilities WHERE channel_id = channels.id AND enabled = FALSE)
                 THEN '1' ELSE '0' END"
            }
            false => "'0'",
        };
        let mut sql = "SELECT ".to_owned();
        for column in ["id", "type", "name", "status", self.key, "created_time"] {
            sql += &as_text(column);
            sql += ", ";
        }
        let (other_info, channel_info) = (where_there("other_info"), where_there("channel_info"));
        // Writing to a String cannot fail, here and below.
        let _ = write!(sql, "{other_info}, {channel_info}, {abilities_off} FROM {}", there_are(kind));
        sql
    }

    /// The n-th bound value, from 1.
    pub(super) fn placeholder(&self, n: usize) -> String {
        if self.numbered { format!("${n}") } else { "?".to_owned() }
    }

    /// Locks rows in one order everywhere, so that two of us never wait for each other.
    pub(super) fn lock(&self, ids: &[i64]) -> String {
        format!("SELECT CAST(id AS {}) FROM channels WHERE {} ORDER BY id FOR UPDATE", self.text, one_of(ids))
    }

    /// Sets the key (1) over the key that was read (2), in the very row (3, 4) that was looked at.
    pub(super) fn set_key(&self) -> String {
        let [new, id, created] = [1, 3, 4].map(|n| self.placeholder(n));
        format!(
            "UPDATE channels SET {} = {new} WHERE {} AND id = {id} AND COALESCE(created_time, 0) = {created}",
            self.key, self.same_key
        )
    }

    /// What a write needs the right to do, done to no row.
    pub(super) fn rehearsal(&self, kind: GatewayKind) -> Vec<String> {
        let key = self.key;
        let mut statements =
            vec![self.lock(&[0]), format!("UPDATE channels SET {key} = {key}, status = status WHERE id = 0 AND 1 = 0")];
        if has_abilities(kind) {
            statements.push("UPDATE abilities SET enabled = enabled WHERE channel_id = 0 AND 1 = 0".to_owned());
        }
        statements
    }

    /// One text that changes when one of these channels does, or an ability of theirs.
    pub(super) fn checksum(&self, kind: GatewayKind, ids: &[i64]) -> String {
        let (channels, ids) = (there_are(kind), one_of(ids));
        let abilities = match has_abilities(kind) {
            true => format!("SELECT COUNT(*) FROM abilities WHERE enabled = FALSE AND channel_{ids}"),
            false => "SELECT 0".to_owned(),
        };
        format!(
            "SELECT CAST(COUNT(*) AS {text}), CAST({} AS {text}), CAST(({abilities}) AS {text})
             FROM {channels} WHERE {ids}",
            self.checksum,
            text = self.text,
        )
    }

    /// How long this transaction waits for a lock, and how long it may be left open by a process that is frozen. In MySQL
    /// the session says so.
    pub(super) fn patience(&self, budget: Duration) -> Option<String> {
        // The whole of it: what is cut off here would be missing from what was configured.
        let milliseconds = budget.as_micros().div_ceil(1000).max(1);
        self.numbered.then(|| {
            format!("SET LOCAL lock_timeout = {milliseconds}; SET LOCAL idle_in_transaction_session_timeout = 60000")
        })
    }
}

/// Where channels are read from. one-hub keeps what was deleted.
fn there_are(kind: GatewayKind) -> &'static str {
    match kind {
        GatewayKind::OneHub => "(SELECT * FROM channels WHERE deleted_at IS NULL) AS channels",
        GatewayKind::OneApi | GatewayKind::NewApi => "channels",
    }
}

/// one-hub has no such table of its own.
pub(super) fn has_abilities(kind: GatewayKind) -> bool {
    kind != GatewayKind::OneHub
}

/// `id IN (1, 2)`: numbers need no binding. An empty list finds nothing.
pub(super) fn one_of(ids: &[i64]) -> String {
    let mut sql = "id IN (".to_owned();
    for (at, id) in ids.iter().enumerate() {
        let _ = write!(sql, "{}{id}", if at == 0 { "" } else { ", " });
    }
    if ids.is_empty() {
        sql += "NULL";
    }
    sql + ")"
}
