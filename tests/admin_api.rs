//! Gateways reached by their admin API, alone and beside their database: what each does with a key, and each way in
//! which an API says no.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use one_api_sidecar::channel::view::{ChannelView, Status};
use one_api_sidecar::config::plan::{ApiPlan, ChannelSelect, Database, GatewayKind, GatewayPlan};
use one_api_sidecar::finding::Severity;
use one_api_sidecar::gateway::api::ApiGateway;
use one_api_sidecar::gateway::reload::Reloading;
use one_api_sidecar::gateway::sqlite::SqliteGateway;
use one_api_sidecar::gateway::{self, Gateway, GatewayError, Publication, Unloaded};
use one_api_sidecar::messages::explain;
use one_api_sidecar::reason::{ApiFailure, ChannelReason, GatewayReason, Language, Reason};
use one_api_sidecar::secret::{Secret, SecretSource};
use serde_json::json;
use support::admin_api::{AdminApi, Program, Refusing, USER, token};
use support::endpoint::Options;
use support::gateway::{look, publish};
use support::process::assert_no_secret;
use support::scene::Scene;
use support::{SENTINEL, SOON, database, eventually};
use tempfile::TempDir;

const ENABLED: i64 = 1;
const BY_HAND: i64 = 3;
const DEAD: i64 = 4;

/// A gateway's program with its database, and the way to it.
struct Stage {
    folder: TempDir,
    api: AdminApi,
}

impl Stage {
    fn new(program: Program) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("gateway.db");
        database::copy_fixture(program.fixture(), &database);
        Self { api: AdminApi::start(program, database), folder }
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("gateway.db")
    }

    fn plan(&self, beside: bool) -> GatewayPlan {
        let api = ApiPlan {
            url: format!("{}/", self.api.url()).parse().unwrap(),
            token: SecretSource::Value(Secret::new(token())),
            user: Some(USER),
        };
        GatewayPlan {
            database: if beside { Database::File(self.database()) } else { Database::None },
            api: Some(api),
            ..support::gateway::plan("/none".as_ref())
        }
    }

    fn alone(&self) -> Box<dyn Gateway> {
        gateway::open(&Arc::new(self.plan(false)))
    }

    fn beside_the_database(&self) -> Box<dyn Gateway> {
        gateway::open(&Arc::new(self.plan(true)))
    }

    /// The same, not waiting between two tries to reach the API.
    fn beside_the_database_in_a_hurry(&self) -> Reloading {
        let plan = Arc::new(self.plan(true));
        let api = ApiGateway::new(Arc::clone(&plan), plan.api.clone().unwrap());
        Reloading::new(Box::new(SqliteGateway::new(self.database(), plan)), api).with_pause(Duration::ZERO)
    }

    fn run(&self, sql: &str) {
        rusqlite::Connection::open(self.database()).unwrap().execute_batch(sql).unwrap();
    }

    fn key(&self, id: i64) -> String {
        key_in(&self.database(), id)
    }

    fn status(&self, id: i64) -> i64 {
        let connection = rusqlite::Connection::open(self.database()).unwrap();
        connection.query_row("SELECT status FROM channels WHERE id = ?1", [id], |row| row.get(0)).unwrap()
    }
}

fn key_in(database: &Path, id: i64) -> String {
    let connection = rusqlite::Connection::open(database).unwrap();
    connection.query_row("SELECT key FROM channels WHERE id = ?1", [id], |row| row.get(0)).unwrap()
}

fn publication(view: &ChannelView, key: &str, reenable: bool) -> Publication {
    Publication { reenable, ..support::gateway::publication(view, key) }
}

#[test]
fn every_gateway_shows_its_channels_without_their_keys() {
    for (program, kind) in [
        (Program::OneApi, GatewayKind::OneApi),
        (Program::NewApi2025, GatewayKind::NewApi),
        (Program::NewApi2026, GatewayKind::NewApi),
        (Program::OneHub, GatewayKind::OneHub),
    ] {
        let stage = Stage::new(program);
        let mut gateway = stage.alone();
        let all = gateway.list().unwrap();
        assert_eq!(gateway.kind(), Some(kind), "{program:?}");
        let connection = rusqlite::Connection::open(stage.database()).unwrap();
        let deleted = if program == Program::OneHub { "WHERE deleted_at IS NULL" } else { "" };
        let ids = connection.prepare(&format!("SELECT id FROM channels {deleted} ORDER BY id")).unwrap();
        let ids: Vec<i64> = { ids }.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(all.iter().map(|view| view.id).collect::<Vec<_>>(), ids, "{program:?}: every one, once");
        assert!(all.iter().all(|view| view.key.is_none()), "{program:?}");

        let names = [ChannelSelect::Name("两组渠道".into()), ChannelSelect::Id(BY_HAND)];
        let seen = gateway.observe(&names).unwrap();
        let seen: Vec<(i64, Status)> = seen.iter().map(|view| (view.id, view.status)).collect();
        assert_eq!(seen, [(2, Status::Enabled), (BY_HAND, Status::DisabledByHand)], "{program:?}");
    }
}

#[test]
fn a_key_is_in_use_at_once_where_the_gateway_loads_its_channels_when_told() {
    for (program, at_once) in
        [(Program::OneApi, false), (Program::NewApi2025, false), (Program::NewApi2026, true), (Program::OneHub, true)]
    {
        let stage = Stage::new(program);
        let mut gateway = stage.alone();
        let view = look(&mut *gateway, ENABLED);
        assert!(!publish(&mut *gateway, &publication(&view, "new", false)).unwrap().reenabled);
        assert_eq!(stage.key(ENABLED), "new", "{program:?}");
        assert_eq!(stage.api.routed(ENABLED).as_deref() == Some("new"), at_once, "{program:?}");
        assert_eq!(gateway.immediate(), at_once, "{program:?}");
        stage.api.reload();
        assert_eq!(stage.api.routed(ENABLED).as_deref(), Some("new"), "{program:?}");
    }
}

#[test]
fn a_dead_channel_is_enabled_with_its_new_key_and_one_disabled_by_hand_is_not() {
    for program in Program::ALL {
        let stage = Stage::new(program);
        let mut gateway = stage.alone();
        for (id, reenabled, status) in [(DEAD, true, 1), (BY_HAND, false, 2)] {
            let view = look(&mut *gateway, id);
            let published = publish(&mut *gateway, &publication(&view, "new", true)).unwrap();
            assert_eq!(published.reenabled, reenabled, "{program:?} {id}");
            assert_eq!((stage.key(id).as_str(), stage.status(id)), ("new", status), "{program:?} {id}");
            assert_eq!(look(&mut *gateway, id).status.as_i64(), status, "{program:?} {id}");
        }
    }
}

#[test]
fn row_31_a_channel_that_is_gone_or_another_is_not_written_although_the_api_would_say_success() {
    for program in Program::ALL {
        let stage = Stage::new(program);
        let mut gateway = stage.alone();
        let view = look(&mut *gateway, ENABLED);
        let conflict = Err(GatewayError::Channel(ChannelReason::Conflict));
        let nobody = publication(&ChannelView { id: 4711, ..view.clone() }, "new", true);
        assert_eq!(publish(&mut *gateway, &nobody), conflict, "{program:?}");
        let another = publication(&ChannelView { created_time: view.created_time + 1, ..view }, "new", true);
        assert_eq!(publish(&mut *gateway, &another), conflict, "{program:?}");
        assert!(stage.api.junk().is_empty(), "{program:?}");
        assert_ne!(stage.key(ENABLED), "new", "{program:?}");
    }
}

#[test]
fn row_38_keys_that_are_the_gateways_own_are_left_alone() {
    let stage = Stage::new(Program::NewApi2026);
    let mut gateway = stage.alone();
    for (id, reason) in [(9, ChannelReason::MultiKey), (10, ChannelReason::SelfRefreshing)] {
        let (view, before) = (look(&mut *gateway, id), stage.key(id));
        let published = publish(&mut *gateway, &publication(&view, "new", true));
        assert_eq!(published, Err(GatewayError::Channel(reason)));
        assert_eq!(stage.key(id), before);
    }
    let view = look(&mut *gateway, ENABLED);
    let unsafe_key = publish(&mut *gateway, &publication(&view, "new\nline", false));
    assert_eq!(unsafe_key, Err(GatewayError::Channel(ChannelReason::UnsafeKey)));
}

/// What stands in the way, by the probe and by a look.
fn hindrance(gateway: &mut dyn Gateway) -> ApiFailure {
    let probed = gateway.probe().unwrap_err();
    assert_eq!(gateway.list().unwrap_err(), probed);
    let GatewayError::Database(GatewayReason::Api { failure }) = probed else { panic!("{probed:?}") };
    failure
}

#[test]
fn each_way_of_saying_no_is_recognised_and_says_what_to_do() {
    let refused = |program: Program, spoil: &dyn Fn(&Stage, &mut GatewayPlan)| {
        let stage = Stage::new(program);
        let mut plan = stage.plan(false);
        spoil(&stage, &mut plan);
        hindrance(&mut *gateway::open(&Arc::new(plan)))
    };
    fn api(plan: &mut GatewayPlan) -> &mut ApiPlan {
        plan.api.as_mut().unwrap()
    }
    let wrong = SecretSource::Value(Secret::new(format!("{SENTINEL}-wrong")));
    let missing = SecretSource::Env("NOT_SET_ANYWHERE".into());
    let broken = |status: u16, body: &'static str| {
        refused(Program::OneApi, &move |stage: &Stage, _: &mut GatewayPlan| stage.api.break_with(status, body))
    };
    let mut failures = vec![];
    for program in Program::ALL {
        failures.push((ApiFailure::Denied, refused(program, &|_, plan| api(plan).token = wrong.clone())));
        failures.push((ApiFailure::NotAnAdministrator, refused(program, &|stage, _| stage.api.demote())));
    }
    for user in [None, Some(2)] {
        let failure = refused(Program::NewApi2026, &|_, plan| api(plan).user = user);
        failures.push((ApiFailure::WrongUser, failure));
    }
    failures.push((ApiFailure::RateLimited, broken(429, "")));
    failures.push((ApiFailure::NotTheApi { status: 404 }, broken(404, "404 page not found")));
    failures.push((ApiFailure::NotTheApi { status: 200 }, broken(200, "<!doctype html>")));
    let echo = json!({ "success": false, "message": format!("cannot write {SENTINEL}") }).to_string();
    failures.push((ApiFailure::Refused, refused(Program::OneApi, &|stage, _| stage.api.break_with(200, &echo))));
    for (expected, found) in &failures {
        assert_eq!(found, expected);
    }
    let unreachable = refused(Program::OneApi, &|_, plan| api(plan).url = "http://127.0.0.1:1/".parse().unwrap());
    assert!(matches!(unreachable, ApiFailure::Unreachable { .. }), "{unreachable:?}");
    let no_token = refused(Program::OneApi, &|_, plan| api(plan).token = missing.clone());
    assert!(matches!(no_token, ApiFailure::Token(_)), "{no_token:?}");

    for failure in failures.into_iter().map(|(_, found)| found).chain([unreachable, no_token]) {
        let reason = Reason::from(GatewayReason::Api { failure });
        for language in [Language::English, Language::Chinese] {
            let message = explain(language, &reason);
            let shown = format!("{reason:?} {message:?}");
            assert!(!shown.contains(SENTINEL), "{shown}");
        }
    }
}

#[test]
fn beside_the_database_a_key_is_bound_to_the_one_it_replaces_and_in_use_at_once() {
    for (program, at_once) in
        [(Program::OneApi, false), (Program::NewApi2025, false), (Program::NewApi2026, true), (Program::OneHub, true)]
    {
        let stage = Stage::new(program);
        let mut gateway = stage.beside_the_database();
        let view = look(&mut *gateway, ENABLED);
        assert!(view.key.is_some(), "{program:?}");
        let stale = Publication { expected: Some(Secret::new("another")), ..publication(&view, "new", false) };
        let conflict = Err(GatewayError::Channel(ChannelReason::Conflict));
        assert_eq!(publish(&mut *gateway, &stale), conflict, "{program:?}");

        publish(&mut *gateway, &publication(&view, "new", false)).unwrap();
        assert_eq!(stage.key(ENABLED), "new", "{program:?}");
        assert_eq!(stage.api.requests().len(), 0, "{program:?}: whoever publishes does not wait for the API");
        assert!(!gateway.catch_up());
        assert_eq!(stage.api.routed(ENABLED).as_deref() == Some("new"), at_once, "{program:?}");
        assert_eq!(gateway.immediate(), at_once, "{program:?}");

        let view = look(&mut *gateway, DEAD);
        assert!(publish(&mut *gateway, &publication(&view, "alive", true)).unwrap().reenabled, "{program:?}");
        assert!(!gateway.catch_up());
        assert_eq!(stage.api.routed(DEAD).as_deref() == Some("alive"), at_once, "{program:?}");
    }
}

#[test]
fn beside_the_database_an_api_that_fails_is_no_failure_of_the_write() {
    let stage = Stage::new(Program::NewApi2026);
    let mut gateway = stage.beside_the_database();
    let view = look(&mut *gateway, ENABLED);
    publish(&mut *gateway, &publication(&view, "first", false)).unwrap();
    assert!(!gateway.catch_up());
    assert!(gateway.immediate());
    stage.api.break_with(502, "");
    let view = look(&mut *gateway, ENABLED);
    publish(&mut *gateway, &publication(&view, "second", false)).unwrap();
    assert_eq!(stage.key(ENABLED), "second");
    assert!(!gateway.catch_up(), "an API that failed is left alone for a while");
    assert!(!gateway.immediate(), "the old key may be in use for as long as without the API");
    let asked = stage.api.requests().len();
    let view = look(&mut *gateway, ENABLED);
    publish(&mut *gateway, &publication(&view, "third", false)).unwrap();
    assert!(!gateway.catch_up());
    assert_eq!(stage.api.requests().len(), asked, "whatever is written meanwhile");
    let findings = gateway.examine();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].severity, Severity::Warning);
}

#[test]
fn one_load_is_enough_for_a_whole_batch_and_changes_no_channel() {
    for program in [Program::NewApi2026, Program::OneHub] {
        let stage = Stage::new(program);
        let mut gateway = stage.beside_the_database();
        let batch: Vec<Publication> = [1, 2, 7].map(|id| publication(&look(&mut *gateway, id), "new", false)).into();
        assert!(gateway.publish(&batch).iter().all(Result::is_ok), "{program:?}");
        // Somebody is quicker than the second request.
        stage.run("UPDATE channels SET key = 'by an admin', status = 2 WHERE id = 1");
        assert!(!gateway.catch_up());
        for id in [2, 7] {
            assert_eq!(stage.api.routed(id).as_deref(), Some("new"), "{program:?}");
        }
        let writes = stage.api.writes();
        assert_eq!(writes.iter().filter(|write| write.starts_with("PUT")).collect::<Vec<_>>(), ["PUT /api/channel/ 1"]);
        assert_eq!((stage.key(1).as_str(), stage.status(1)), ("by an admin", 2), "{program:?}");
    }
}

#[test]
fn a_key_that_the_gateway_was_not_told_of_is_told_when_the_api_is_back() {
    for program in [Program::NewApi2026, Program::OneHub] {
        let stage = Stage::new(program);
        let mut gateway = stage.beside_the_database_in_a_hurry();
        for (status, body) in [(502, ""), (429, ""), (200, "<!doctype html>")] {
            stage.api.break_with(status, body);
            let view = look(&mut gateway, ENABLED);
            let key = format!("while {status}");
            publish(&mut gateway, &publication(&view, &key, false)).unwrap();
            for _ in 0..3 {
                assert!(gateway.catch_up(), "{program:?}: there is still something to tell");
            }
            assert_ne!(stage.api.routed(ENABLED).as_deref(), Some(&*key), "{program:?}");
            assert!(!gateway.immediate());
            stage.api.mend();
            assert!(!gateway.catch_up());
            assert_eq!(stage.api.routed(ENABLED).as_deref(), Some(&*key), "{program:?}");
            assert!(gateway.immediate(), "{program:?}");
            assert_eq!(gateway.unloaded(), None, "{program:?}");
        }
    }
}

#[test]
fn a_one_hub_that_cannot_be_told_of_a_key_does_not_use_it_and_others_come_to() {
    for (program, loads_by_itself) in [(Program::NewApi2026, true), (Program::OneHub, false)] {
        let stage = Stage::new(program);
        let mut gateway = stage.beside_the_database_in_a_hurry();
        let view = look(&mut gateway, ENABLED);
        publish(&mut gateway, &publication(&view, "first", false)).unwrap();
        assert_eq!(gateway.unloaded(), None, "{program:?}: not tried yet");
        stage.api.demote();
        gateway.catch_up();
        let reason = ApiFailure::NotAnAdministrator.into();
        let unloaded = Unloaded { reason, channels: [ENABLED].into() };
        assert_eq!(gateway.unloaded(), Some(unloaded).filter(|_| !loads_by_itself), "{program:?}");
        assert_eq!(stage.key(ENABLED), "first", "{program:?}: it lies in the database");
    }
    // The API of another one, whose channel is not this one's.
    let (stage, other) = (Stage::new(Program::OneHub), Stage::new(Program::OneHub));
    other.run("UPDATE channels SET created_time = created_time + 1");
    let plan = Arc::new(stage.plan(true));
    let api = ApiGateway::new(Arc::clone(&plan), other.plan(true).api.unwrap());
    let database = Box::new(SqliteGateway::new(stage.database(), plan));
    let mut gateway = Reloading::new(database, api).with_pause(Duration::ZERO);
    for id in [ENABLED, DEAD] {
        let view = look(&mut gateway, id);
        publish(&mut gateway, &publication(&view, "new", false)).unwrap();
    }
    assert_eq!((0..5).take_while(|_| gateway.catch_up()).count(), 1, "each is tried once");
    let unloaded = Unloaded { reason: ApiFailure::OtherGateway.into(), channels: [ENABLED, DEAD].into() };
    assert_eq!(gateway.unloaded(), Some(unloaded));
    assert_eq!(other.api.writes(), [""; 0], "and nothing is written into the other one");
}

#[test]
fn a_channel_that_is_refused_or_another_by_now_keeps_no_other_key_from_being_told() {
    for program in [Program::NewApi2026, Program::OneHub] {
        let stage = Stage::new(program);
        let mut gateway = stage.beside_the_database_in_a_hurry();
        let batch: Vec<Publication> = [1, 2, 7].map(|id| publication(&look(&mut gateway, id), "new", false)).into();
        assert!(gateway.publish(&batch).iter().all(Result::is_ok));
        stage.run("UPDATE channels SET created_time = created_time + 1 WHERE id = 1");
        stage.api.refuse(2, Refusing::Everything);
        let calls = (0..5).take_while(|_| gateway.catch_up()).count();
        assert!(calls < 5, "{program:?}");
        assert!(!stage.api.writes().contains(&"PUT /api/channel/ 1".to_owned()), "{program:?}: it is another one");
        assert_eq!(stage.api.routed(7).as_deref(), Some("new"), "{program:?}");
        assert!(gateway.immediate(), "{program:?}");

        // The only one is tried until it is taken.
        let view = look(&mut gateway, 2);
        publish(&mut gateway, &publication(&view, "newer", false)).unwrap();
        assert!(gateway.catch_up() && gateway.catch_up());
        assert!(!gateway.immediate());
        stage.api.accept();
        assert!(!gateway.catch_up());
        assert_eq!(stage.api.routed(2).as_deref(), Some("newer"), "{program:?}");
    }
}

#[test]
fn one_hub_is_told_at_the_start_of_what_a_crash_left_untold_by_whoever_writes() {
    let stage = Stage::new(Program::OneHub);
    stage.run("UPDATE channels SET key = 'of a crash' WHERE id = 1");
    let mut watcher = stage.beside_the_database();
    look(&mut *watcher, ENABLED);
    assert!(!watcher.catch_up());
    assert_eq!(stage.api.requests(), [""; 0], "who only looks changes nothing");

    let mut writer = stage.beside_the_database();
    writer.begin();
    look(&mut *writer, ENABLED);
    assert!(!writer.catch_up());
    assert_eq!(stage.api.routed(ENABLED).as_deref(), Some("of a crash"));
    assert_eq!(stage.api.writes(), ["PUT /api/channel/ 1"]);
    look(&mut *writer, ENABLED);
    assert!(!writer.catch_up());
    assert_eq!(stage.api.writes().len(), 1, "once");
}

#[test]
fn row_33_a_channel_that_is_disabled_by_hand_after_the_look_is_not_enabled() {
    for program in Program::ALL {
        for is_terse in [false, true] {
            let stage = Stage::new(program);
            if is_terse {
                stage.api.be_terse();
            }
            let mut gateway = stage.alone();
            let view = look(&mut *gateway, DEAD);
            assert_eq!(view.status, Status::AutoDisabled);
            stage.run("UPDATE channels SET status = 2 WHERE id = 4");
            let published = publish(&mut *gateway, &publication(&view, "new", true)).unwrap();
            assert!(!published.reenabled, "{program:?}");
            assert_eq!((stage.key(DEAD).as_str(), stage.status(DEAD)), ("new", 2), "{program:?} {is_terse}");

            let view = look(&mut *gateway, ENABLED);
            stage.run("UPDATE channels SET status = 2 WHERE id = 1");
            publish(&mut *gateway, &publication(&view, "new", true)).unwrap();
            assert_eq!(stage.status(ENABLED), 2, "{program:?} {is_terse}");
        }
    }
}

#[test]
fn a_channel_that_is_refused_stops_no_other_and_gets_its_key_once() {
    for program in Program::ALL {
        let stage = Stage::new(program);
        let mut gateway = stage.alone();
        let batch: Vec<Publication> =
            [ENABLED, 2, DEAD, 7].map(|id| publication(&look(&mut *gateway, id), "new", true)).into();
        stage.api.refuse(2, Refusing::Everything);
        stage.api.refuse(DEAD, Refusing::Status);
        let refused = Err(GatewayError::Channel(ChannelReason::Refused));
        for _ in 0..3 {
            let answers = gateway.publish(&batch);
            assert!(answers[0].is_ok() && answers[3].is_ok(), "{program:?} {answers:?}");
            assert_eq!((&answers[1], &answers[2]), (&refused, &refused), "{program:?}");
        }
        assert_eq!((stage.key(7).as_str(), stage.key(DEAD).as_str()), ("new", "new"), "{program:?}");
        // Three keys three times would be nine; of the two that are refused each was tried once.
        let keys = stage.api.writes().iter().filter(|write| write.ends_with(" key")).count();
        assert_eq!(keys, 3 + 3 + 1 + 1, "{program:?}");

        // Another key is another matter.
        stage.api.accept();
        let newer: Vec<Publication> =
            batch.iter().map(|old| Publication { key: Secret::new("newer"), ..old.clone() }).collect();
        assert!(gateway.publish(&newer).iter().all(Result::is_ok), "{program:?}");
        assert_eq!((stage.key(2).as_str(), stage.status(DEAD)), ("newer", 1), "{program:?}");
    }
}

#[test]
fn what_concerns_the_whole_api_stops_a_batch() {
    let stage = Stage::new(Program::OneApi);
    let mut gateway = stage.alone();
    let batch: Vec<Publication> = [1, 2, 7].map(|id| publication(&look(&mut *gateway, id), "new", false)).into();
    for (status, failure) in [(429, ApiFailure::RateLimited), (502, ApiFailure::NotTheApi { status: 502 })] {
        let asked = stage.api.requests().len();
        stage.api.break_with(status, "");
        let answers = gateway.publish(&batch);
        let reason = GatewayReason::Api { failure };
        assert_eq!(answers, vec![Err(GatewayError::Database(reason)); 3]);
        assert_eq!(stage.api.requests().len(), asked + 1);
    }
}

#[test]
fn a_list_that_fails_half_way_makes_no_living_channel_missing() {
    let stage = Stage::new(Program::OneApi);
    let mut gateway = stage.alone();
    let everything = [1, 2, 3, 4, 7].map(ChannelSelect::Id).to_vec();
    let names = ["两组渠道".to_owned()].map(ChannelSelect::Name).to_vec();
    let wanted = [everything.clone(), names.clone()].concat();
    let ids = |views: &[ChannelView]| views.iter().map(|view| view.id).collect::<Vec<_>>();
    assert_eq!(ids(&gateway.observe(&wanted).unwrap()), [1, 2, 3, 4, 7]);
    // The last looks that are allowed now: what follows is told from memory.
    while stage.api.requests().len() < 148 {
        gateway.observe(&everything[..1]).unwrap();
    }
    stage.api.break_after(1, 502, "");
    assert!(gateway.observe(&wanted).is_err());
    stage.api.mend();
    assert_eq!(ids(&gateway.observe(&wanted).unwrap()), [1, 2, 3, 4, 7]);
}

#[test]
fn looks_leave_room_for_writes_whatever_is_missing_and_however_long_the_list_is() {
    let stage = Stage::new(Program::OneApi);
    stage.run(
        "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
         INSERT INTO channels (id, type, key, status, name, created_time) SELECT i, 50, 'k', 1, 'n' || i, 5 FROM n",
    );
    let mut gateway = stage.alone();
    let gone = [ChannelSelect::Id(ENABLED), ChannelSelect::Id(4711)];
    for _ in 0..200 {
        assert_eq!(gateway.observe(&gone).unwrap().len(), 1);
    }
    let asked = |most: usize| {
        let asked = stage.api.requests().len();
        assert!(asked <= most, "{asked}");
        asked
    };
    // 150 at once, and what the seconds of this test allow; 50 are the writes'.
    asked(155);
    let long: Vec<ChannelSelect> = (100..120).map(ChannelSelect::Id).collect();
    for _ in 0..50 {
        let unseen = gateway.observe(&long);
        let limited = GatewayReason::Api { failure: ApiFailure::RateLimited };
        assert_eq!(unseen, Err(GatewayError::Database(limited)), "what was not seen yet is not missing");
    }
    let before = asked(160);
    let view = look(&mut *gateway, ENABLED);
    for turn in 0..20 {
        publish(&mut *gateway, &publication(&view, &format!("new {turn}"), false)).unwrap();
    }
    assert!(asked(185) >= before + 20);
    assert_eq!(stage.key(ENABLED), "new 19");
}

#[test]
fn a_token_that_nobody_hands_out_is_given_up() {
    let stage = Stage::new(Program::OneApi);
    let pipe = stage.folder.path().join("token");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut plan = stage.plan(false);
    plan.api.as_mut().unwrap().token = SecretSource::File(pipe);
    let probed = gateway::open(&Arc::new(plan)).probe();
    let Err(GatewayError::Database(GatewayReason::Api { failure: ApiFailure::Token(_) })) = probed else {
        panic!("{probed:?}")
    };
}

/// A one-hub beside its database and its admin API, one of whose channels is kept.
fn hub_beside_its_database() -> (Scene, AdminApi, PathBuf) {
    let mut scene = Scene::new(Options::default(), "");
    let hub = scene.bench.path("one-hub.db");
    database::copy_fixture("one-hub.db", &hub);
    let api = AdminApi::start(Program::OneHub, hub.clone());
    let credential = scene.credential("kept", "kept", "seed", DEAD, "");
    let text = format!(
        "[gateway]\ndatabase = \"{}\"\napi = {{ url = \"{}\", token = {{ env = \"ADMIN\" }}, user = {USER} }}\n\
         [vault]\npath = \"{}\"\n{credential}",
        hub.display(),
        api.url(),
        scene.vault().display(),
    );
    scene.bench.env("ADMIN", token());
    scene.bench.write_config(&text);
    (scene, api, hub)
}

#[test]
fn once_ends_only_after_the_gateway_was_told() {
    let (scene, api, _) = hub_beside_its_database();
    api.be_slow(Duration::from_millis(500));
    let once = scene.bench.run_command(&["once"]);
    assert_eq!(once.code, Some(0), "{once:?}");
    assert!(api.routed(DEAD).is_some_and(|key| scene.endpoint.is_valid(&key)), "{once:?}");
    assert_no_secret("once", &(once.stdout + &once.stderr));
}

#[test]
fn once_fails_where_the_gateway_could_not_be_told_of_the_key() {
    let (scene, api, hub) = hub_beside_its_database();
    api.break_with(401, "");
    let once = scene.bench.run_command(&["once"]);
    assert_eq!(once.code, Some(1), "{once:?}");
    assert!(once.stdout.contains("pending") && once.stdout.contains("admin API"), "{once:?}");
    assert!(scene.endpoint.is_valid(&key_in(&hub, DEAD)), "it lies in the database");
    // The next one tells of it what this one could not.
    api.mend();
    let next = scene.bench.run_command(&["once"]);
    assert_eq!(next.code, Some(0), "{next:?}");
    assert_eq!(api.routed(DEAD), Some(key_in(&hub, DEAD)), "{next:?}");
    assert_eq!(scene.endpoint.requests().len(), 1, "{next:?}");
    assert_no_secret("once", &(once.stdout + &once.stderr + &next.stdout + &next.stderr));
}

#[test]
fn once_beside_a_running_agent_fails_where_the_gateway_could_not_be_told_of_the_key() {
    let (scene, api, hub) = hub_beside_its_database();
    let sidecar = scene.bench.start();
    let routed = || api.routed(DEAD).is_some_and(|key| scene.endpoint.is_valid(&key));
    assert!(eventually(SOON, routed), "{}", sidecar.output());
    api.break_with(401, "");
    let once = scene.bench.run_command(&["once", "--force"]);
    assert_eq!(once.code, Some(1), "{once:?} {}", sidecar.output());
    assert!(once.stdout.contains("pending") && once.stdout.contains("admin API"), "{once:?}");
    assert_ne!(api.routed(DEAD), Some(key_in(&hub, DEAD)), "{once:?}");
    assert_no_secret("once", &(once.stdout + &once.stderr));
}

/// What the agent says beside a one-hub that it cannot tell of its keys, and when it can.
#[test]
fn a_key_that_one_hub_does_not_use_is_shown_as_pending_with_the_reason() {
    let (scene, api, hub) = hub_beside_its_database();
    api.break_with(401, "");
    let sidecar = scene.bench.start();
    let status = || scene.bench.run_command(&["status"]).stdout;
    let says = |state, why| eventually(SOON, || status().contains(state) && status().contains(why));
    assert!(says("pending", "admin API"), "{} {}", status(), sidecar.output());
    assert!(scene.endpoint.is_valid(&key_in(&hub, DEAD)), "it lies in the database");
    // As people mend it: a change of the gateway's part of the config.
    api.mend();
    let config = std::fs::read_to_string(scene.bench.config()).unwrap();
    scene.bench.write_config(&config.replacen("[vault]", "cache_lag = \"1s\"\n[vault]", 1));
    assert!(says("delivered", ""), "{} {}", status(), sidecar.output());
    let routed = || api.routed(DEAD).is_some_and(|key| scene.endpoint.is_valid(&key));
    assert!(eventually(SOON, routed), "{}", sidecar.output());
    for (what, text) in [("run", sidecar.output()), ("status", status())] {
        assert_no_secret(what, &text);
    }
}

/// The agent against one-hub, which nothing but its API reaches.
#[test]
fn the_agent_keeps_a_one_hub_channel_alive_by_the_api_alone() {
    let scene = Scene::new(Options { lifetime: Duration::from_secs(4), ..Options::default() }, "");
    let hub = scene.bench.path("one-hub.db");
    database::copy_fixture("one-hub.db", &hub);
    let api = AdminApi::start(Program::OneHub, hub);
    let credential = scene.credential("kept", "kept", "seed", DEAD, "refresh_before = \"1s\"");
    let text = format!(
        "[gateway]\nkind = \"one-hub\"\napi = {{ url = \"{}\", token = {{ env = \"ADMIN\" }}, user = {USER} }}\n\
         [vault]\npath = \"{}\"\n{credential}",
        api.url(),
        scene.vault().display(),
    );
    let mut scene = scene;
    scene.bench.env("ADMIN", token());
    scene.bench.write_config(&text);
    let sidecar = scene.bench.start();
    let routed = || api.routed(DEAD).filter(|key| scene.endpoint.is_valid(key));
    assert!(eventually(SOON, || routed().is_some()), "{}", sidecar.output());
    let first = routed();
    assert!(eventually(SOON, || routed().is_some_and(|key| Some(&key) != first.as_ref())), "{}", sidecar.output());
    let status = scene.bench.run_command(&["status"]);
    assert!(status.stdout.contains("delivered"), "{}", status.stdout);
    let doctor = scene.bench.run_command(&["doctor"]);
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    for (what, text) in [("run", sidecar.output()), ("status", status.stdout), ("doctor", doctor.stdout)] {
        assert_no_secret(what, &text);
    }
}

#[test]
fn the_agent_says_of_a_channel_that_is_refused_and_feeds_it_when_it_is_taken() {
    let scene = Scene::new(Options { lifetime: Duration::from_secs(4), ..Options::default() }, "");
    let hub = scene.bench.path("one-hub.db");
    database::copy_fixture("one-hub.db", &hub);
    let api = AdminApi::start(Program::OneHub, hub);
    api.refuse(ENABLED, Refusing::Everything);
    let credential = scene.credential("kept", "kept", "seed", ENABLED, "refresh_before = \"1s\"");
    let text = format!(
        "[gateway]\napi = {{ url = \"{}\", token = {{ env = \"ADMIN\" }}, user = {USER} }}\n\
         [vault]\npath = \"{}\"\n{credential}",
        api.url(),
        scene.vault().display(),
    );
    let mut scene = scene;
    scene.bench.env("ADMIN", token());
    scene.bench.write_config(&text);
    let sidecar = scene.bench.start();
    let status = || scene.bench.run_command(&["status"]).stdout;
    assert!(eventually(SOON, || status().contains("unsupported")), "{} {}", status(), sidecar.output());
    assert!(status().contains("did not take this channel's key"), "{}", status());
    // The next key is another matter, and so is the one after that.
    api.accept();
    let routed = || api.routed(ENABLED).filter(|key| scene.endpoint.is_valid(key));
    assert!(eventually(SOON, || routed().is_some()), "{}", sidecar.output());
    assert!(eventually(SOON, || status().contains("delivered")), "{}", status());
    for (what, text) in [("run", sidecar.output()), ("status", status())] {
        assert_no_secret(what, &text);
    }
}
