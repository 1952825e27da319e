//! Gateways reached by their admin API, alone and beside their database: what each does with a key, and each way in
//! which an API says no.

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use one_api_sidecar::channel::view::{ChannelView, Status};
use one_api_sidecar::config::plan::{ApiPlan, ChannelSelect, Database, GatewayKind, GatewayPlan};
use one_api_sidecar::finding::Severity;
use one_api_sidecar::gateway::{self, Gateway, GatewayError, Publication};
use one_api_sidecar::messages::explain;
use one_api_sidecar::reason::{ApiFailure, ChannelReason, GatewayReason, Language, Reason};
use one_api_sidecar::secret::{Secret, SecretSource};
use serde_json::json;
use support::admin_api::{AdminApi, Program, USER, token};
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

    fn key(&self, id: i64) -> String {
        let connection = rusqlite::Connection::open(self.database()).unwrap();
        connection.query_row("SELECT key FROM channels WHERE id = ?1", [id], |row| row.get(0)).unwrap()
    }

    fn status(&self, id: i64) -> i64 {
        let connection = rusqlite::Connection::open(self.database()).unwrap();
        connection.query_row("SELECT status FROM channels WHERE id = ?1", [id], |row| row.get(0)).unwrap()
    }
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
        assert_eq!(stage.api.routed(ENABLED).as_deref() == Some("new"), at_once, "{program:?}");
        assert_eq!(gateway.immediate(), at_once, "{program:?}");

        let view = look(&mut *gateway, DEAD);
        assert!(publish(&mut *gateway, &publication(&view, "alive", true)).unwrap().reenabled, "{program:?}");
        assert_eq!(stage.api.routed(DEAD).as_deref() == Some("alive"), at_once, "{program:?}");
    }
}

#[test]
fn beside_the_database_an_api_that_fails_is_no_failure_of_the_write() {
    let stage = Stage::new(Program::NewApi2026);
    let mut gateway = stage.beside_the_database();
    let view = look(&mut *gateway, ENABLED);
    publish(&mut *gateway, &publication(&view, "first", false)).unwrap();
    assert!(gateway.immediate());
    stage.api.break_with(502, "");
    let view = look(&mut *gateway, ENABLED);
    publish(&mut *gateway, &publication(&view, "second", false)).unwrap();
    assert_eq!(stage.key(ENABLED), "second");
    assert!(!gateway.immediate(), "the old key may be in use for as long as without the API");
    let findings = gateway.examine();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].severity, Severity::Warning);
}

#[test]
fn one_load_is_enough_for_a_whole_batch() {
    let stage = Stage::new(Program::NewApi2026);
    let mut gateway = stage.beside_the_database();
    let batch: Vec<Publication> = [1, 2, 7].map(|id| publication(&look(&mut *gateway, id), "new", false)).into();
    assert!(gateway.publish(&batch).iter().all(Result::is_ok));
    for id in [1, 2, 7] {
        assert_eq!(stage.api.routed(id).as_deref(), Some("new"));
    }
    let loads = stage.api.requests().into_iter().filter(|request| request.starts_with("POST")).count();
    assert_eq!(loads, 1);
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
