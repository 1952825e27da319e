//! The way into a gateway's database, the same on SQLite, MariaDB and PostgreSQL, on what real gateways made. The rows are
//! those of the fault table.

mod support;

use std::sync::mpsc::channel;
use std::time::Duration;

use one_api_sidecar::channel::view::{ChannelView, Status};
use one_api_sidecar::config::plan::{ApiPlan, ChannelSelect, GatewayKind};
use one_api_sidecar::gateway::{GatewayError, Publication, Published};
use one_api_sidecar::reason::{ChannelReason, GatewayReason};
use one_api_sidecar::secret::{Secret, SecretSource};
use support::engines::{FORKS, Fork, Store};
use support::gateway::{database_reason, feed, key, look, publication, publish};

fn refused(reason: ChannelReason) -> Result<Published, GatewayError> {
    Err(GatewayError::Channel(reason))
}

fn many_channels(store: &Store, first: i64, count: i64) {
    let rows: Vec<String> = (first..first + count).map(|id| format!("({id}, 50, 'key-{id}', 'many', 1)")).collect();
    store.run(&format!("INSERT INTO channels (id, type, {{key}}, name, created_time) VALUES {}", rows.join(", ")));
}

on_every_engine! {
    fn a_publish_changes_the_one_key_and_nothing_else(engine) {
        for (fork, kind) in [(Fork::OneApi, GatewayKind::OneApi), (Fork::NewApi, GatewayKind::NewApi)] {
            let store = Store::fixture(engine, fork);
            let before = store.snapshot();
            let mut gateway = store.gateway();

            let published = feed(&mut *gateway, 1, "a-new-access-token").unwrap();

            assert!(!published.reenabled);
            assert_eq!(gateway.kind(), Some(kind));
            let changed = store.changed_since(&before);
            assert_eq!(changed, ["channels[1].key: 'fixture-access-token-1' -> 'a-new-access-token'"], "{fork:?}");
        }
    }

    fn a_look_changes_nothing_and_shows_what_is_there(engine) {
        for fork in FORKS {
            let store = Store::fixture(engine, fork);
            let before = store.snapshot();
            let mut gateway = store.gateway();

            let all = gateway.list().unwrap();
            let wanted = [
                ChannelSelect::Name("两组渠道".into()),
                ChannelSelect::Id(1),
                ChannelSelect::Name("codex-a".into()),
                ChannelSelect::Name("CODEX-A ".into()),
                ChannelSelect::Id(404),
            ];
            let some = gateway.observe(&wanted).unwrap();

            assert_eq!(some, [all[0].clone(), all[1].clone()], "{fork:?}: each once, by id, and no name that is alike");
            let states: Vec<_> = all.iter().take(4).map(|view| (view.status, view.abilities_off)).collect();
            let expected = [
                (Status::Enabled, false),
                (Status::Enabled, false),
                (Status::DisabledByHand, true),
                (Status::AutoDisabled, true),
            ];
            assert_eq!(states, expected, "{fork:?}");
            assert_eq!(all[3].status_reason.is_some(), fork == Fork::NewApi, "new-api says why");
            assert!(all[0].created_time > 1_700_000_000 && all[0].kind > 0, "{:?}", all[0]);
            assert_eq!(store.changed_since(&before), [""; 0], "{fork:?}");
        }
    }

    fn a_look_at_thousands_of_channels_finds_each(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        many_channels(&store, 1000, 2000);
        let wanted: Vec<_> = (1000..3000).map(ChannelSelect::Id).collect();
        let views = store.gateway().observe(&wanted).unwrap();
        assert_eq!(views.len(), 2000);
        assert!(views.iter().all(|view| view.key == Some(Secret::new(format!("key-{}", view.id)))));
    }

    fn a_batch_is_answered_in_order_and_one_refusal_stops_no_other(engine) {
        let store = Store::fixture(engine, Fork::NewApi);
        many_channels(&store, 100, 5);
        store.run("UPDATE channels SET type = 57 WHERE id = 103");
        let mut gateway = store.gateway();
        let wanted: Vec<_> = (100..105).map(ChannelSelect::Id).collect();
        let views = gateway.observe(&wanted).unwrap();
        let mut batch: Vec<_> = views.iter().map(|view| publication(view, &format!("new-{}", view.id))).collect();
        batch[1].expected = Some(Secret::new("not what it holds"));
        batch[2].key = Secret::new("a\nb");
        batch.push(Publication { id: 404, ..batch[0].clone() });

        let answers: Vec<_> = gateway.publish(&batch).into_iter().map(|answer| answer.err()).collect();

        let channel = |reason| Some(GatewayError::Channel(reason));
        let expected = [
            None,
            channel(ChannelReason::Conflict),
            channel(ChannelReason::UnsafeKey),
            channel(ChannelReason::SelfRefreshing),
            None,
            channel(ChannelReason::Conflict),
        ];
        assert_eq!(answers, expected);
        assert_eq!([100, 101, 103, 104].map(|id| store.key(id)), ["new-100", "key-101", "key-103", "new-104"]);
    }

    fn more_than_a_batch_is_written_in_several(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        many_channels(&store, 100, 100);
        let mut gateway = store.gateway();
        let wanted: Vec<_> = (100..200).map(ChannelSelect::Id).collect();
        let views = gateway.observe(&wanted).unwrap();
        let batch: Vec<_> = views.iter().map(|view| publication(view, "new")).collect();
        assert!(gateway.publish(&batch).iter().all(Result::is_ok));
        assert!(gateway.observe(&wanted).unwrap().iter().all(|view| view.key == Some(Secret::new("new"))));
    }

    fn keys_are_compared_by_their_bytes(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let mut gateway = store.gateway();
        let view = look(&mut *gateway, 1);
        for alike in ["FIXTURE-access-token-1", "fixture-access-token-1 "] {
            store.run(&format!("UPDATE channels SET {{key}} = '{alike}' WHERE id = 1"));
            assert_eq!(publish(&mut *gateway, &publication(&view, "new")), refused(ChannelReason::Conflict), "{alike:?}");
        }
        let name = "UPDATE channels SET name = 'ünïcode 名字', {key} = 'кључ' WHERE id = 1";
        store.run(name);
        feed(&mut *gateway, 1, "new").unwrap();
        assert_eq!(look(&mut *gateway, 1).name, "ünïcode 名字");
    }

    fn row_42_keys_and_names_with_quotes_are_bound_and_unsafe_ones_never_written(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let mut gateway = store.gateway();
        let hostile = r#"'); DROP TABLE channels; -- "名字" \ %s ?1 $1 :key"#;
        feed(&mut *gateway, 2, hostile).unwrap();
        assert_eq!(key(&look(&mut *gateway, 2)), hostile);
        assert_eq!(gateway.observe(&[ChannelSelect::Name(hostile.into())]), Ok(Vec::new()));
        feed(&mut *gateway, 2, "back").unwrap();

        let before = store.snapshot();
        for key in ["", "a\nb", "a\rb", "a\0b", "\u{7f}", "a\tb", "\u{85}"] {
            assert_eq!(feed(&mut *gateway, 2, key), refused(ChannelReason::UnsafeKey), "{key:?}");
        }
        assert_eq!(store.changed_since(&before), [""; 0]);
    }

    fn row_17_a_lock_is_waited_for(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let mut gateway = store.gateway();
        let publication = publication(&look(&mut *gateway, 1), "new");
        let lock = store.lock("1");
        let (written, answer) = channel();
        let writing = std::thread::spawn(move || written.send(publish(&mut *gateway, &publication)).unwrap());
        assert!(answer.recv_timeout(Duration::from_secs(3)).is_err(), "it waits");
        drop(lock);
        let published = answer.recv_timeout(Duration::from_secs(5)).unwrap().unwrap();
        writing.join().unwrap();
        assert!(published.waited >= Duration::from_millis(2500), "{published:?}");
        assert_eq!(store.key(1), "new");
    }

    fn row_18_a_lock_longer_than_the_budget_is_said_and_the_next_try_succeeds(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let mut hasty = store.gateway_with(|plan| plan.busy_timeout = Duration::from_millis(200));
        let publication = publication(&look(&mut *hasty, 1), "new");
        let lock = store.lock("1");
        match database_reason(publish(&mut *hasty, &publication)) {
            GatewayReason::Busy { waited_ms } | GatewayReason::RowsLocked { waited_ms, .. } => {
                assert!((200..5000).contains(&waited_ms), "{waited_ms}");
            }
            other => panic!("{other:?}"),
        }
        drop(lock);
        assert_eq!(store.key(1), "fixture-access-token-1", "nothing half done");
        publish(&mut *hasty, &publication).unwrap();
        assert_eq!(store.key(1), "new");
    }

    fn row_23_a_database_that_is_not_migrated_yet_is_waited_for(engine) {
        let store = Store::empty(engine);
        let mut gateway = store.gateway();
        let abilities = "CREATE TABLE abilities ({group} varchar(32), model varchar(191), channel_id bigint,
            enabled boolean, priority bigint)";
        store.run(abilities);
        let reason = database_reason(gateway.list());
        assert_eq!(reason, GatewayReason::NotMigrated { path: store.shown() });
        store.run(
            "CREATE TABLE channels (id bigint PRIMARY KEY, type bigint, {key} text, status bigint, name varchar(191),
                created_time bigint, config text)",
        );
        store.run("INSERT INTO channels VALUES (1, 50, 'old', 1, 'first', 7, '')");
        feed(&mut *gateway, 1, "new").unwrap();
        assert_eq!(store.key(1), "new");
    }

    fn row_24_an_unknown_fork_is_refused_by_the_columns_that_were_missed(engine) {
        for (fork, change, expected) in [
            (Fork::OneApi, "ALTER TABLE channels RENAME COLUMN {key} TO secret", &["key"][..]),
            (Fork::OneApi, "ALTER TABLE channels DROP COLUMN config", &["config", "auto_ban", "other_info"]),
            (Fork::NewApi, "ALTER TABLE channels RENAME COLUMN status TO state", &["status"]),
            (Fork::OneApi, "ALTER TABLE abilities RENAME COLUMN enabled TO on_", &["abilities.enabled"]),
            (Fork::OneApi, "ALTER TABLE channels ADD COLUMN deleted_at bigint", &["proxy", "plugin", "only_chat"]),
        ] {
            let store = Store::fixture(engine, fork);
            let mut gateway = store.gateway();
            let publication = publication(&look(&mut *gateway, 1), "new");
            store.run(change);
            let before = store.snapshot();
            let unknown = GatewayReason::Unknown { missing: expected.iter().map(|name| (*name).to_owned()).collect() };
            assert_eq!(database_reason(gateway.list()), unknown, "{change}");
            assert_eq!(database_reason(publish(&mut *gateway, &publication)), unknown, "{change}");
            assert_eq!(store.changed_since(&before), [""; 0], "{change}");
        }
        let store = Store::empty(engine);
        store.run("CREATE TABLE something (id bigint)");
        let unknown = GatewayReason::Unknown { missing: vec!["channels".into()] };
        assert_eq!(database_reason(store.gateway().list()), unknown);
    }

    fn row_24_one_hub_and_another_kind_than_the_configured_are_refused(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let mut misnamed = store.gateway_with(|plan| plan.kind = Some(GatewayKind::NewApi));
        let other = GatewayReason::OtherKind { wanted: "new-api".into(), found: "one-api".into() };
        assert_eq!(database_reason(misnamed.list()), other);

        let mut one_hub = store.gateway();
        one_hub.list().unwrap();
        store.run("ALTER TABLE channels ADD COLUMN deleted_at bigint");
        store.run("ALTER TABLE channels ADD COLUMN plugin bigint");
        assert_eq!(database_reason(one_hub.list()), GatewayReason::OneHub);
        assert_eq!(database_reason(one_hub.probe()), GatewayReason::OneHub);
        assert_eq!(one_hub.kind(), Some(GatewayKind::OneHub));
    }

    fn one_hub_beside_its_admin_api_is_read_without_what_was_deleted_and_written_without_abilities(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        store.run("ALTER TABLE channels ADD COLUMN deleted_at bigint");
        store.run("ALTER TABLE channels ADD COLUMN plugin bigint");
        store.run("UPDATE channels SET deleted_at = 5 WHERE id = 2");
        store.run("DROP TABLE abilities");
        let mut gateway = store.gateway_with(|plan| {
            let token = SecretSource::Value(Secret::new("admin"));
            plan.api = Some(ApiPlan { url: "http://127.0.0.1:1/".parse().unwrap(), token, user: None });
        });
        let ids: Vec<i64> = gateway.list().unwrap().iter().map(|view| view.id).collect();
        assert!(ids.contains(&1) && ids.contains(&4) && !ids.contains(&2), "{ids:?}");
        assert_eq!(gateway.kind(), Some(GatewayKind::OneHub));
        gateway.probe().unwrap();
        assert_eq!(gateway.observe(&[ChannelSelect::Id(1), ChannelSelect::Id(2)]).unwrap().len(), 1);
        assert!(feed(&mut *gateway, 4, "new").unwrap().reenabled);
        assert_eq!(store.key(4), "new");
        let deleted = ChannelView { id: 2, ..look(&mut *gateway, 1) };
        assert_eq!(publish(&mut *gateway, &publication(&deleted, "new")), refused(ChannelReason::Conflict));
        gateway.changed();
        assert!(!gateway.changed());
    }

    fn row_31_and_63_a_key_or_a_channel_that_is_another_by_now_is_not_written(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let mut gateway = store.gateway();
        let first = look(&mut *gateway, 1);
        store.run("UPDATE channels SET {key} = 'by an admin' WHERE id = 1");
        assert_eq!(publish(&mut *gateway, &publication(&first, "new")), refused(ChannelReason::Conflict));
        assert_eq!(store.key(1), "by an admin");

        // A channel is deleted and its id given out again, by chance even with the same key.
        let last = look(&mut *gateway, 4);
        store.run("UPDATE channels SET created_time = created_time + 60, name = 'another' WHERE id = 4");
        assert_eq!(publish(&mut *gateway, &publication(&last, "new")), refused(ChannelReason::Conflict));
        assert_eq!(store.key(4), "fixture-access-token-4");
    }

    fn row_32_a_deleted_channel_is_left_out_of_a_look_and_never_written(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let mut gateway = store.gateway();
        let gone = look(&mut *gateway, 4);
        store.run("DELETE FROM channels WHERE id = 4");
        let before = store.snapshot();
        assert_eq!(gateway.observe(&[ChannelSelect::Id(4)]), Ok(Vec::new()));
        assert_eq!(publish(&mut *gateway, &publication(&gone, "new")), refused(ChannelReason::Conflict));
        assert_eq!(store.changed_since(&before), [""; 0]);
    }

    fn row_33_a_channel_disabled_by_hand_gets_its_key_and_stays_disabled(engine) {
        for fork in FORKS {
            let store = Store::fixture(engine, fork);
            let before = store.snapshot();
            let published = feed(&mut *store.gateway(), 3, "new").unwrap();
            assert!(!published.reenabled, "{fork:?}");
            assert_eq!(store.changed_since(&before), ["channels[3].key: 'fixture-access-token-3' -> 'new'"]);
        }
    }

    fn row_34_a_channel_that_its_dead_key_disabled_is_enabled_with_its_abilities(engine) {
        for fork in FORKS {
            let store = Store::fixture(engine, fork);
            let before = store.snapshot();
            let published = feed(&mut *store.gateway(), 4, "new").unwrap();
            assert!(published.reenabled, "{fork:?}");
            let changed = store.changed_since(&before);
            assert_eq!(changed.len(), 3, "{fork:?}: {changed:?}");
            assert!(changed[0].starts_with("abilities[") && changed[0].ends_with("].enabled: 0 -> 1"), "{changed:?}");
            assert_eq!(changed[1], "channels[4].key: 'fixture-access-token-4' -> 'new'");
            assert_eq!(changed[2], "channels[4].status: 3 -> 1");
        }
    }

    fn row_34_abilities_that_a_dying_gateway_left_off_come_with_the_next_key_and_never_by_hands_doing(engine) {
        for fork in FORKS {
            let store = Store::fixture(engine, fork);
            // one-api switches the abilities off first, and then the channel: it was killed between the two.
            for (channel, status) in [(1, 1), (2, 2)] {
                store.run(&format!("UPDATE abilities SET enabled = FALSE WHERE channel_id = {channel}"));
                store.run(&format!("UPDATE channels SET status = {status} WHERE id = {channel}"));
            }
            let mut gateway = store.gateway();
            let half = look(&mut *gateway, 1);
            assert!(half.abilities_off && half.status == Status::Enabled, "{fork:?}");
            let published = feed(&mut *gateway, 1, "new").unwrap();
            assert!(!published.reenabled, "{fork:?}: its status is as it was");
            assert!(!look(&mut *gateway, 1).abilities_off, "{fork:?}");
            feed(&mut *gateway, 2, "new").unwrap();
            let by_hand = look(&mut *gateway, 2);
            assert!(by_hand.abilities_off && by_hand.status == Status::DisabledByHand, "{fork:?}");
        }
    }

    fn row_34_the_status_alone_may_be_asserted_again_and_is_left_without_the_wish(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let mut gateway = store.gateway();
        let view = look(&mut *gateway, 4);
        let quiet = Publication { reenable: false, ..publication(&view, "alive") };
        assert!(!publish(&mut *gateway, &quiet).unwrap().reenabled);
        assert_eq!(look(&mut *gateway, 4).status, Status::AutoDisabled);
        assert!(feed(&mut *gateway, 4, "alive").unwrap().reenabled);
        assert_eq!((look(&mut *gateway, 4).status, look(&mut *gateway, 4).abilities_off), (Status::Enabled, false));
    }

    fn row_38_multi_key_and_self_refreshing_channels_are_refused(engine) {
        let store = Store::fixture(engine, Fork::NewApi);
        store.run("UPDATE channels SET channel_info = '{\"is_multi_key\":true}' WHERE id = 1");
        store.run("UPDATE channels SET type = 57 WHERE id = 2");
        let before = store.snapshot();
        let mut gateway = store.gateway();
        assert!(look(&mut *gateway, 1).multi_key);
        assert_eq!(feed(&mut *gateway, 1, "new"), refused(ChannelReason::MultiKey));
        assert_eq!(feed(&mut *gateway, 2, "new"), refused(ChannelReason::SelfRefreshing));
        assert_eq!(store.changed_since(&before), [""; 0]);
    }

    fn two_names_of_one_database_are_one_place(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let other = Store::fixture(engine, Fork::OneApi);
        let place = |store: &Store| store.gateway().place().expect("a place can be told");
        assert_eq!(place(&store), place(&store));
        assert_ne!(place(&store), place(&other));
    }
}
