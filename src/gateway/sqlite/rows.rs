//! Rows of `channels` as [`ChannelView`]s.
//!
//! Reads only the columns that are there. Tolerant of what a value is stored as: one odd row must not hide the
//! others.

use std::collections::{BTreeMap, HashSet};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Params, Row};

use crate::channel::view::{ChannelView, Status};
use crate::config::plan::{ChannelSelect, GatewayKind};
use crate::gateway::stored::{is_multi_key, status_reason};
use crate::secret::Secret;

/// How many channels one statement reads: a look holds the shared lock while it runs, and no commit gets through.
const LOOK_AT_ONCE: usize = 500;

/// The statement that reads channels, to be followed by a WHERE.
///
/// `channel_info` is read as the BLOB it is and parsed here: SQLite's JSON functions would take it as JSONB.
/// `abilities.enabled` is 0 or 1: `UpdateAbilityStatus` in one-api `model/ability.go`.
pub(super) fn select(kind: GatewayKind, columns: &HashSet<String>) -> String {
    let where_there = |name: &'static str| if columns.contains(name) { name } else { "NULL" };
    let abilities_off = match kind {
        GatewayKind::OneHub => "0",
        GatewayKind::OneApi | GatewayKind::NewApi => {
            "EXISTS (SELECT 1 FROM abilities WHERE channel_id = channels.id AND enabled = 0)"
        }
    };
    // one-hub keeps what was deleted.
    let channels = match kind {
        GatewayKind::OneHub => "(SELECT * FROM channels WHERE deleted_at IS NULL) AS channels",
        GatewayKind::OneApi | GatewayKind::NewApi => "channels",
    };
    let other_info = where_there("other_info");
    let channel_info = where_there("channel_info");
    format!(
        r#"SELECT id, type, name, status, "key", created_time, {other_info}, {channel_info}, {abilities_off} FROM {channels}"#
    )
}

/// Every channel, by id.
pub(super) fn all(connection: &Connection, select: &str) -> rusqlite::Result<Vec<ChannelView>> {
    collect(connection, &format!("{select} ORDER BY id"), [])
}

/// The channels that are asked for, by id, each once.
pub(super) fn some(
    connection: &Connection,
    select: &str,
    channels: &[ChannelSelect],
) -> rusqlite::Result<Vec<ChannelView>> {
    let mut found = BTreeMap::new();
    for chunk in channels.chunks(LOOK_AT_ONCE) {
        let mut ids = Vec::new();
        let mut names = Vec::new();
        for channel in chunk {
            match channel {
                ChannelSelect::Id(id) => ids.push(*id),
                ChannelSelect::Name(name) => names.push(name.as_str()),
            }
        }
        // Left out where nothing needs it: names have no index in every gateway.
        let by_name = if names.is_empty() { "" } else { " OR name IN (SELECT value FROM json_each(?2))" };
        let sql = format!("{select} WHERE id IN (SELECT value FROM json_each(?1)){by_name}");
        let views = match by_name {
            "" => collect(connection, &sql, [json(&ids)])?,
            _ => collect(connection, &sql, [json(&ids), json(&names)])?,
        };
        found.extend(views.into_iter().map(|view| (view.id, view)));
    }
    Ok(found.into_values().collect())
}

/// Our own parameters as one JSON array: one statement for however many there are.
pub(super) fn json<T: serde::Serialize>(values: &[T]) -> String {
    // Numbers and text always serialise; an empty list finds nothing.
    serde_json::to_string(values).unwrap_or_else(|_| "[]".to_owned())
}

fn collect(connection: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<Vec<ChannelView>> {
    // Collected to the end: a statement that is half-way through holds its lock.
    connection.prepare_cached(sql)?.query_map(params, view)?.collect()
}

/// One row of [`select`].
pub(super) fn view(row: &Row<'_>) -> rusqlite::Result<ChannelView> {
    Ok(ChannelView {
        id: row.get(0)?,
        kind: integer(row.get_ref(1)?),
        name: text(row.get_ref(2)?),
        status: Status::from(integer(row.get_ref(3)?)),
        key: Some(Secret::new(text(row.get_ref(4)?))),
        created_time: integer(row.get_ref(5)?),
        status_reason: status_reason(bytes(row.get_ref(6)?)),
        multi_key: is_multi_key(bytes(row.get_ref(7)?)),
        abilities_off: integer(row.get_ref(8)?) != 0,
    })
}

fn integer(value: ValueRef<'_>) -> i64 {
    match value {
        ValueRef::Integer(number) => number,
        _ => 0,
    }
}

fn bytes(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        _ => &[],
    }
}

/// What is not UTF-8 is read with replacement characters; as a key it then equals nothing that is stored, so that it
/// is never written over, and [`crate::gateway::kind::supports`] refuses the channel.
fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Integer(number) => number.to_string(),
        value => String::from_utf8_lossy(bytes(value)).into_owned(),
    }
}
