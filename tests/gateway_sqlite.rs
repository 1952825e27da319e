//! What is SQLite's own about the way into a gateway's file, on copies of databases that real gateways made; what is the same
//! on every engine is in `gateway.rs`. The rows are those of the fault table.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use one_api_sidecar::channel::view::Status;
use one_api_sidecar::config::plan::{ChannelSelect, GatewayKind, GatewayPlan};
use one_api_sidecar::gateway::sqlite::SqliteGateway;
use one_api_sidecar::gateway::{Gateway, GatewayError, Publication, Published};
use one_api_sidecar::reason::{ChannelReason, GatewayReason};
use one_api_sidecar::secret::Secret;
use support::gateway::{
    Database, OneApi, Routed, Writers, database_reason, differences, feed, key, look, plan, publication, publish,
    snapshot_all_rows, times_open,
};

const WRITABLE: [(&str, GatewayKind); 3] = [
    ("one-api.db", GatewayKind::OneApi),
    ("new-api-2025.db", GatewayKind::NewApi),
    ("new-api-2026.db", GatewayKind::NewApi),
];

fn gateway(database: &Database) -> SqliteGateway {
    SqliteGateway::new(database.path().to_owned(), Arc::new(database.plan()))
}

fn with(database: &Database, change: impl FnOnce(&mut GatewayPlan)) -> SqliteGateway {
    let mut plan = database.plan();
    change(&mut plan);
    SqliteGateway::new(database.path().to_owned(), Arc::new(plan))
}

fn refused(reason: ChannelReason) -> Result<Published, GatewayError> {
    Err(GatewayError::Channel(reason))
}

#[test]
fn a_publish_changes_the_one_key_and_nothing_else_in_any_table() {
    for (name, kind) in WRITABLE {
        let database = Database::fixture(name);
        let before = snapshot_all_rows(database.path());
        let mut gateway = gateway(&database);

        let published = feed(&mut gateway, 1, "a-new-access-token").unwrap();

        assert!(!published.reenabled);
        assert_eq!(gateway.kind(), Some(kind), "{name}");
        let changed = differences(&before, &snapshot_all_rows(database.path()));
        assert_eq!(changed, ["channels[1].key: 'fixture-access-token-1' -> 'a-new-access-token'"], "{name}");
        assert_eq!(database.files(), ["one-api.db"], "{name}: nothing is left beside it");
    }
}

#[test]
fn a_look_changes_nothing_and_shows_what_is_there() {
    for (name, _) in WRITABLE {
        let database = Database::fixture(name);
        let before = (snapshot_all_rows(database.path()), gateway(&database).trace());
        let mut gateway = gateway(&database);

        let all = gateway.list().unwrap();
        let wanted = [
            ChannelSelect::Name("两组渠道".into()),
            ChannelSelect::Name(r#"it's "quoted"; -- 名字"#.into()),
            ChannelSelect::Id(1),
            ChannelSelect::Name("codex-a".into()),
            ChannelSelect::Id(404),
        ];
        let some = gateway.observe(&wanted).unwrap();

        assert_eq!(some.iter().map(|view| view.id).collect::<Vec<_>>(), [1, 2, 7], "{name}: each once, by id");
        assert_eq!(some, [all[0].clone(), all[1].clone(), all[6].clone()], "{name}");
        let states: Vec<_> = all.iter().take(4).map(|view| (view.status, view.abilities_off)).collect();
        let expected = [
            (Status::Enabled, false),
            (Status::Enabled, false),
            (Status::DisabledByHand, true),
            (Status::AutoDisabled, true),
        ];
        assert_eq!(states, expected, "{name}");
        assert_eq!(all[3].status_reason.is_some(), name != "one-api.db", "{name}: new-api says why");
        assert_eq!((snapshot_all_rows(database.path()), gateway.trace()), before, "{name}");
    }
}

#[test]
fn keys_are_compared_by_their_bytes_whatever_they_are_stored_as() {
    let database = Database::fixture("one-api.db");
    database.run(
        "UPDATE channels SET key = CAST('as a blob' AS BLOB) WHERE id = 1;
         UPDATE channels SET key = NULL WHERE id = 2;
         UPDATE channels SET key = CAST(x'61ff62' AS TEXT) WHERE id = 5;",
    );
    let mut gateway = gateway(&database);
    feed(&mut gateway, 1, "new-1").unwrap();
    feed(&mut gateway, 2, "new-2").unwrap();
    assert_eq!([database.key(1), database.key(2)], ["new-1", "new-2"]);
    // What is not text is seen, hides no other row, and is never written over.
    assert_eq!(key(&look(&mut gateway, 5)), "a\u{fffd}b");
    assert_eq!(feed(&mut gateway, 5, "new-5"), refused(ChannelReason::Conflict));
}

#[test]
fn a_database_that_undoes_the_write_keeps_nothing_of_it() {
    let database = Database::fixture("one-api.db");
    database.run(
        "CREATE TRIGGER undo AFTER UPDATE OF key ON channels
         BEGIN UPDATE channels SET key = 'sentinel-undone' WHERE id = NEW.id; END",
    );
    let before = snapshot_all_rows(database.path());
    let reason = database_reason(feed(&mut gateway(&database), 1, "sentinel-new"));
    assert!(matches!(reason, GatewayReason::Failed { .. }), "{reason:?}");
    assert!(!format!("{reason:?}").contains("sentinel"));
    assert_eq!(differences(&before, &snapshot_all_rows(database.path())), [""; 0]);
}

#[test]
fn row_17_a_lock_of_3_seconds_is_waited_for() {
    let database = Database::fixture("one-api.db");
    let mut gateway = gateway(&database);
    let publication = publication(&look(&mut gateway, 1), "new");
    let locker = database.connect();
    locker.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let unlock = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(3));
        locker.execute_batch("COMMIT").unwrap();
    });
    let published = publish(&mut gateway, &publication).unwrap();
    unlock.join().unwrap();
    assert!(published.waited >= Duration::from_millis(2900), "{published:?}");
    assert!(published.held < Duration::from_secs(1), "{published:?}");
}

#[test]
fn row_18_a_lock_longer_than_the_budget_is_said_and_the_next_try_succeeds() {
    let database = Database::fixture("one-api.db");
    let mut patient = gateway(&database);
    let publication = publication(&look(&mut patient, 1), "new");
    let mut hasty = with(&database, |plan| plan.busy_timeout = Duration::from_millis(200));
    let locker = database.connect();
    for lock in ["BEGIN EXCLUSIVE", "BEGIN IMMEDIATE"] {
        locker.execute_batch(lock).unwrap();
        let reason = database_reason(publish(&mut hasty, &publication));
        assert!(matches!(reason, GatewayReason::Busy { waited_ms: 200..=1000 }), "{lock}: {reason:?}");
        locker.execute_batch("ROLLBACK").unwrap();
    }
    publish(&mut hasty, &publication).unwrap();
    assert_eq!(database.key(1), "new");
}

#[test]
fn a_reader_that_stays_makes_us_give_the_lock_back_before_the_gateway_gives_up() {
    let database = Database::fixture("one-api.db");
    let mut gateway = gateway(&database);
    let publication = publication(&look(&mut gateway, 1), "new");
    let reader = database.connect();
    reader.execute_batch("BEGIN; SELECT * FROM channels").unwrap();
    let _held: i64 = reader.query_row("SELECT count(*) FROM channels", [], |row| row.get(0)).unwrap();
    let reason = database_reason(publish(&mut gateway, &publication));
    assert!(matches!(reason, GatewayReason::Busy { waited_ms: 900..=2500 }), "{reason:?}");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(database.key(1), "fixture-access-token-1", "nothing half done");
    publish(&mut gateway, &publication).unwrap();
}

#[test]
fn row_19_beside_busy_writers_no_write_fails_on_either_side() {
    // Writers that never pause lock out each other as well (with nobody else there: 4 times in 6 s), so theirs are
    // counted only where they wait for their upstream.
    for (mode, upstream) in [("DELETE", 0), ("WAL", 0), ("DELETE", 20), ("WAL", 20)] {
        let database = Database::fixture("one-api.db");
        let set_mode = format!("PRAGMA journal_mode={mode}");
        let _: String = database.connect().query_row(&set_mode, [], |row| row.get(0)).unwrap();
        let mut gateway = gateway(&database);
        let writers = Writers::start(database.path(), 4, Duration::from_millis(upstream));
        let mut published = Vec::new();
        for round in 0..50 {
            published.push(feed(&mut gateway, 1, &format!("key-{round}")).unwrap());
            let before = writers.requests();
            while writers.requests() == before {
                std::thread::yield_now();
            }
        }
        let (requests, locked) = writers.stop();
        let mut waited: Vec<_> = published.iter().map(|published| published.waited).collect();
        let mut held: Vec<_> = published.iter().map(|published| published.held).collect();
        waited.sort();
        held.sort();
        println!(
            "{mode}, upstream {upstream} ms: {requests} requests beside, {locked} locked; \
             waited p50 {:?} max {:?}; held p50 {:?} max {:?}",
            waited[25], waited[49], held[25], held[49]
        );
        assert!(upstream == 0 || locked == 0, "{mode}: {locked} of the gateway's own writes");
        assert_eq!(database.key(1), "key-49");
        assert_eq!(database.integrity(), "ok");
    }
}

#[test]
fn row_20_a_database_in_wal_mode_is_written_beside_an_old_snapshot() {
    let database = Database::fixture("new-api-2026.db");
    let gateways_own = database.connect();
    let _: String = gateways_own.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0)).unwrap();
    gateways_own.execute_batch("BEGIN").unwrap();
    let _snapshot: i64 = gateways_own.query_row("SELECT count(*) FROM channels", [], |row| row.get(0)).unwrap();

    feed(&mut gateway(&database), 4, "new").unwrap();

    gateways_own.execute_batch("COMMIT").unwrap();
    let (key, status): (String, i64) = gateways_own
        .query_row("SELECT key, status FROM channels WHERE id = 4", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!((key.as_str(), status), ("new", 1));
    let mode: String = gateways_own.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal", "its mode is its own");
}

#[test]
fn row_21_a_hot_journal_is_rolled_back_before_we_write() {
    let original = Database::fixture("one-api.db");
    let before = snapshot_all_rows(original.path());
    let crashed = original.as_a_kill_would_leave_it();
    let untouched = std::fs::read(Database::fixture("one-api.db").path()).unwrap();
    assert_ne!(std::fs::read(crashed.path()).unwrap(), untouched, "half of it is in the file");

    feed(&mut gateway(&crashed), 1, "new").unwrap();

    let changed = differences(&before, &snapshot_all_rows(crashed.path()));
    assert_eq!(changed, ["channels[1].key: 'fixture-access-token-1' -> 'new'"]);
    assert_eq!(crashed.integrity(), "ok");
    assert_eq!(crashed.files(), ["one-api.db"]);
}

#[test]
fn row_22_a_missing_database_is_said_and_nothing_is_created() {
    let database = Database::absent();
    let mut gateway = gateway(&database);
    let missing = GatewayReason::Missing { path: database.path().display().to_string() };
    assert_eq!(database_reason(gateway.list()), missing);
    assert_eq!(database_reason(gateway.observe(&[ChannelSelect::Id(1)])), missing);
    assert_eq!(database_reason(gateway.probe()), missing);
    let publication = Publication {
        id: 1,
        created_time: 1,
        expected: Some(Secret::new("a")),
        key: Secret::new("b"),
        reenable: false,
        gives_back: false,
    };
    assert_eq!(database_reason(publish(&mut gateway, &publication)), missing);
    assert_eq!(gateway.examine().len(), 1);
    assert_eq!(database.files(), [""; 0]);
}

#[test]
fn row_23_an_empty_or_unmigrated_database_is_waited_for() {
    let database = Database::absent();
    let not_migrated = GatewayReason::NotMigrated { path: database.path().display().to_string() };
    let mut gateway = gateway(&database);

    std::fs::write(database.path(), "").unwrap();
    assert_eq!(database_reason(gateway.list()), not_migrated);
    for step in [
        "PRAGMA user_version = 1",
        "CREATE TABLE abilities (`group` text, model text, channel_id integer, enabled numeric, priority integer)",
    ] {
        database.run(step);
        assert_eq!(database_reason(gateway.list()), not_migrated, "after {step}");
    }
    assert_eq!(database.files(), ["one-api.db"]);

    database.run(
        "CREATE TABLE channels (id integer PRIMARY KEY, type integer, key text, status integer, name text,
                                created_time integer, config text);
         INSERT INTO channels VALUES (1, 50, 'old', 1, 'first', 7, '')",
    );
    feed(&mut gateway, 1, "new").unwrap();
    assert_eq!(database.key(1), "new");
}

#[test]
fn row_24_one_hub_and_another_kind_than_the_configured_are_refused() {
    let database = Database::fixture("one-hub.db");
    let before = snapshot_all_rows(database.path());
    let mut one_hub = gateway(&database);
    assert_eq!(database_reason(one_hub.list()), GatewayReason::OneHub);
    assert_eq!(database_reason(one_hub.probe()), GatewayReason::OneHub);
    assert_eq!(one_hub.kind(), Some(GatewayKind::OneHub));
    assert_eq!(differences(&before, &snapshot_all_rows(database.path())), [""; 0]);

    let database = Database::fixture("new-api-2025.db");
    let mut misnamed = with(&database, |plan| plan.kind = Some(GatewayKind::OneApi));
    let other = GatewayReason::OtherKind { wanted: "one-api".into(), found: "new-api".into() };
    assert_eq!(database_reason(misnamed.list()), other);
}

#[test]
fn row_25_a_database_replaced_by_rename_is_seen_and_the_next_write_goes_into_it() {
    let database = Database::fixture("one-api.db");
    let mut gateway = gateway(&database);
    feed(&mut gateway, 1, "new").unwrap();
    gateway.changed();

    std::fs::rename(Database::fixture("one-api.db").path(), database.path()).unwrap();

    assert!(gateway.changed());
    assert_eq!(key(&look(&mut gateway, 1)), "fixture-access-token-1");
    feed(&mut gateway, 1, "new").unwrap();
    assert_eq!(database.key(1), "new");
}

#[test]
fn row_25_a_database_replaced_while_we_wait_is_not_taken_for_written() {
    for mode in ["DELETE", "WAL"] {
        let database = Database::fixture("one-api.db");
        let locker = database.connect();
        let _: String = locker.query_row(&format!("PRAGMA journal_mode={mode}"), [], |row| row.get(0)).unwrap();
        let mut gateway = gateway(&database);
        let publication = publication(&look(&mut gateway, 1), "new");
        gateway.leave();
        locker.execute_batch("BEGIN IMMEDIATE").unwrap();
        let writing = std::thread::spawn(move || publish(&mut gateway, &publication));
        wait_until_open_twice(database.path());
        std::fs::rename(Database::fixture("one-api.db").path(), database.path()).unwrap();
        locker.execute_batch("COMMIT").unwrap();
        assert_eq!(database_reason(writing.join().unwrap()), GatewayReason::Moved, "{mode}");
    }
}

#[test]
fn a_database_stays_open_for_a_look_at_few_and_the_write_after_it_and_no_longer_than_it_is_there() {
    let database = Database::fixture("one-api.db");
    let mut gateway = gateway(&database);
    let open = || times_open(database.path());
    let view = look(&mut gateway, 1);
    assert_eq!((gateway.stays(), open()), (true, 1));
    publish(&mut gateway, &publication(&view, "new")).unwrap();
    assert_eq!((gateway.stays(), open()), (true, 1));
    gateway.leave();
    assert_eq!((gateway.stays(), open()), (false, 0));
    gateway.list().unwrap();
    assert_eq!((gateway.stays(), open()), (false, 0), "nothing comes after a look at everything");

    look(&mut gateway, 1);
    let moved = database.path().with_extension("moved");
    std::fs::rename(database.path(), &moved).unwrap();
    assert!(matches!(
        database_reason(publish(&mut gateway, &publication(&view, "newer"))),
        GatewayReason::Missing { .. }
    ));
    assert_eq!((gateway.stays(), times_open(&moved)), (false, 0));
    std::fs::rename(&moved, database.path()).unwrap();
    assert_eq!(database.key(1), "new");
}

#[test]
fn where_a_key_is_expected_the_database_is_opened_before_the_look_unless_that_takes_waiting() {
    let database = Database::fixture("one-api.db");
    let mut gateway = with(&database, |plan| plan.busy_timeout = Duration::from_secs(3600));
    gateway.expect();
    assert_eq!((gateway.stays(), times_open(database.path())), (true, 1));
    feed(&mut gateway, 1, "new").unwrap();
    assert_eq!((database.key(1), times_open(database.path())), ("new".into(), 1));
    gateway.leave();
    // Whoever waits for the lock here does so for an hour.
    let locker = database.connect();
    locker.execute_batch("BEGIN EXCLUSIVE").unwrap();
    gateway.expect();
    assert!(!gateway.stays());
    locker.execute_batch("COMMIT").unwrap();
    feed(&mut gateway, 1, "newer").unwrap();
    assert_eq!(database.key(1), "newer");
}

#[test]
fn a_table_that_is_altered_between_a_look_and_the_write_after_it_is_written_all_the_same() {
    let database = Database::fixture("one-api.db");
    let mut gateway = gateway(&database);
    feed(&mut gateway, 1, "new").unwrap();
    let view = look(&mut gateway, 1);
    database.run("ALTER TABLE channels ADD COLUMN later TEXT DEFAULT 'by a later version'");
    publish(&mut gateway, &publication(&view, "newer")).unwrap();
    assert_eq!(database.key(1), "newer");
    database.run("ALTER TABLE channels RENAME TO former");
    let gone = database_reason(publish(&mut gateway, &publication(&view, "newest")));
    assert!(matches!(gone, GatewayReason::NotMigrated { .. }), "{gone:?}");
    assert!(!gateway.stays());
}

/// Until this process has the file open twice: by the test's connection and by the gateway's.
fn wait_until_open_twice(path: &Path) {
    while times_open(path) < 2 {
        std::thread::yield_now();
    }
    // It has the file by its name now; let it come to the lock.
    std::thread::sleep(Duration::from_millis(50));
}

#[test]
fn row_26_a_database_restored_in_place_is_seen() {
    let database = Database::fixture("one-api.db");
    let backup = std::fs::read(database.path()).unwrap();
    let mut gateway = gateway(&database);
    feed(&mut gateway, 1, "new").unwrap();
    gateway.changed();
    std::fs::write(database.path(), backup).unwrap();
    assert!(gateway.changed());
    assert_eq!(key(&look(&mut gateway, 1)), "fixture-access-token-1");
}

#[test]
fn row_27_what_is_no_database_or_damaged_is_said_and_not_written() {
    let database = Database::absent();
    std::fs::write(database.path(), "certainly not a database ".repeat(400)).unwrap();
    let path = database.path().display().to_string();
    assert_eq!(database_reason(gateway(&database).list()), GatewayReason::NotADatabase { path });

    let database = Database::fixture("one-api.db");
    let mut gateway = gateway(&database);
    let publication = publication(&look(&mut gateway, 1), "new");
    gateway.leave();
    let mut bytes = std::fs::read(database.path()).unwrap();
    bytes[4096..].fill(0xa5);
    std::fs::write(database.path(), &bytes).unwrap();
    let corrupt = GatewayReason::Corrupt { path: database.path().display().to_string() };
    assert_eq!(database_reason(gateway.list()), corrupt);
    assert_eq!(database_reason(publish(&mut gateway, &publication)), corrupt);
    assert_eq!(std::fs::read(database.path()).unwrap(), bytes, "not a byte was written");
}

#[test]
fn row_34_the_gateway_serves_with_the_new_key_at_the_next_request() {
    let database = Database::fixture("one-api.db");
    let one_api = OneApi::open(database.path());
    let mut gateway = gateway(&database);
    let request = || one_api.request("default", "gpt-4o", |key| key == "alive");
    assert_eq!(request(), Routed::Refused(1));
    assert_eq!(request(), Routed::NoChannel);
    feed(&mut gateway, 1, "alive").unwrap();
    assert_eq!(request(), Routed::Served(1));

    // A key without the wish to re-enable leaves the status.
    one_api.disable(1);
    let view = look(&mut gateway, 1);
    let quiet = Publication { reenable: false, ..publication(&view, "alive-2") };
    assert!(!publish(&mut gateway, &quiet).unwrap().reenabled);
    assert_eq!(look(&mut gateway, 1).status, Status::AutoDisabled);
    // And the status alone may be asserted again, the key being there already.
    assert!(feed(&mut gateway, 1, "alive-2").unwrap().reenabled);
}

#[test]
fn row_59_a_database_with_a_hard_link_is_refused() {
    let database = Database::fixture("one-api.db");
    let mut gateway = gateway(&database);
    let publication = publication(&look(&mut gateway, 1), "new");
    let elsewhere = Database::absent();
    std::fs::hard_link(database.path(), elsewhere.path()).unwrap();
    let shared = GatewayReason::SharedInode { path: database.path().display().to_string() };
    assert_eq!(database_reason(gateway.probe()), shared);
    assert_eq!(database_reason(publish(&mut gateway, &publication)), shared);
    std::fs::remove_file(elsewhere.path()).unwrap();
    publish(&mut gateway, &publication).unwrap();
}

#[test]
fn a_symbolic_link_to_the_database_is_followed_and_its_journal_lies_beside_the_file() {
    let database = Database::fixture("one-api.db");
    let link = Database::absent();
    std::os::unix::fs::symlink(database.path(), link.path()).unwrap();
    let mut gateway = SqliteGateway::new(link.path().to_owned(), Arc::new(plan(link.path())));
    feed(&mut gateway, 1, "new").unwrap();
    assert_eq!(database.key(1), "new");
    gateway.changed();
    database.run("UPDATE channels SET used_quota = 5 WHERE id = 1");
    assert!(gateway.changed(), "the trace is the file's, not the link's");
}

#[test]
fn our_own_write_is_no_news_and_a_strangers_is() {
    let database = Database::fixture("one-api.db");
    let mut gateway = gateway(&database);
    assert!(gateway.changed(), "the first time");
    assert!(!gateway.changed());

    feed(&mut gateway, 1, "new").unwrap();
    assert!(!gateway.changed(), "we wrote");

    database.run("UPDATE channels SET key = 'by an admin' WHERE id = 1");
    feed(&mut gateway, 2, "new").unwrap();
    assert!(gateway.changed(), "a stranger wrote before us");
    assert!(!gateway.changed());
    assert_eq!(feed(&mut gateway, 1, "newer").map(|published| published.reenabled), Ok(false));
    assert!(!gateway.changed());
}
