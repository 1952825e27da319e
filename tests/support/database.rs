//! A gateway's database as the tests see it: a copy of a real one, its channels, and every value in it.
//!
//! Never opens the file with ordinary file I/O while the program under test may have it open; the copy is made
//! before.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::types::Value;

/// The databases that real gateways made and the program can write to.
pub const WRITABLE_FIXTURES: [&str; 3] = ["one-api.db", "new-api-2025.db", "new-api-2026.db"];

/// A channel's row, as far as the program may change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    pub key: String,
    pub status: i64,
    /// Its abilities' `enabled`, in the order of their models.
    pub abilities: Vec<bool>,
}

/// Copies one of `tests/fixtures/*.db`.
pub fn copy_fixture(name: &str, to: &Path) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::copy(fixture, to).unwrap();
}

fn open(database: &Path) -> Connection {
    let connection = Connection::open(database).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    connection
}

/// Reads a channel.
pub fn channel(database: &Path, id: i64) -> Channel {
    let connection = open(database);
    let (key, status) = connection
        .query_row("SELECT key, status FROM channels WHERE id = ?1", [id], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let mut statement =
        connection.prepare("SELECT enabled FROM abilities WHERE channel_id = ?1 ORDER BY model, `group`").unwrap();
    let abilities = statement.query_map([id], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    Channel { key, status, abilities }
}

/// Writes a channel's key and status, as somebody else does.
pub fn set_channel(database: &Path, id: i64, key: &str, status: i64) {
    let changed =
        open(database).execute("UPDATE channels SET key = ?2, status = ?3 WHERE id = ?1", (id, key, status)).unwrap();
    assert_eq!(changed, 1, "channel {id} is there");
}

/// Adds a channel like another one, with its own key.
pub fn copy_channel(database: &Path, from: i64, id: i64, key: &str) {
    let connection = open(database);
    connection.execute("CREATE TEMP TABLE copied AS SELECT * FROM channels WHERE id = ?1", [from]).unwrap();
    connection.execute("UPDATE copied SET id = ?1, key = ?2", (id, key)).unwrap();
    assert_eq!(connection.execute("INSERT INTO channels SELECT * FROM copied", []).unwrap(), 1);
}

/// Takes a channel out.
pub fn delete_channel(database: &Path, id: i64) {
    assert_eq!(open(database).execute("DELETE FROM channels WHERE id = ?1", [id]).unwrap(), 1);
}

/// Every value of every table, by table, row and column; the schema is one of the tables.
pub type Cells = BTreeMap<(String, i64, String), Value>;

/// Reads every value of every table.
pub fn all_rows(database: &Path) -> Cells {
    let connection = open(database);
    let mut names = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let mut tables: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    tables.push("sqlite_schema".into());
    let mut cells = Cells::new();
    for table in tables {
        let mut statement = connection.prepare(&format!("SELECT rowid AS _row, * FROM \"{table}\"")).unwrap();
        let columns: Vec<String> = statement.column_names().skip(1).map(str::to_owned).collect();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for (at, column) in columns.iter().enumerate() {
                let place = (table.clone(), row.get(0).unwrap(), column.clone());
                cells.insert(place, row.get(at + 1).unwrap());
            }
        }
    }
    assert!(!cells.is_empty(), "a database has rows");
    cells
}

/// The places where two snapshots differ: `channels[1].key`.
pub fn differences(before: &Cells, after: &Cells) -> Vec<String> {
    let mut places: Vec<_> = before.keys().chain(after.keys()).collect();
    places.sort();
    places.dedup();
    let differs = places.into_iter().filter(|place| before.get(*place) != after.get(*place));
    differs.map(|(table, row, column)| format!("{table}[{row}].{column}")).collect()
}
