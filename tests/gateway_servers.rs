//! What is a server's own about the way into a gateway's database on MariaDB and PostgreSQL: logins, rights, isolation,
//! deadlocks, failovers, and a server that goes away in the middle.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use one_api_sidecar::config::plan::{ChannelSelect, Database as Place};
use one_api_sidecar::gateway::{self, Gateway, GatewayError};
use one_api_sidecar::messages::explain;
use one_api_sidecar::reason::{ChannelReason, GatewayReason, Language, Reason, SecretReason};
use one_api_sidecar::secret::{Secret, SecretSource};
use support::engines::{Fork, PASSWORD, Store, has_password, plan_of};
use support::gateway::{database_reason, feed, key, look, publication, publish};
use support::tls::Authority;
use support::{SOON, eventually};

/// The way in by another address of a store.
fn by(dsn: &str) -> Box<dyn Gateway> {
    gateway::open(&Arc::new(plan_of(dsn)))
}

/// Why a gateway cannot be looked at or written; nothing of it shows the password, in either language.
fn refusal(mut gateway: Box<dyn Gateway>) -> GatewayReason {
    let reason = match gateway.list() {
        Ok(_) => database_reason(gateway.probe()),
        Err(GatewayError::Database(reason)) => reason,
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(gateway.examine().len(), 1, "doctor says so too");
    for language in [Language::English, Language::Chinese] {
        let shown = format!("{reason:?} {:?}", explain(language, &Reason::from(reason.clone())));
        assert!(!has_password(&shown), "{shown}");
    }
    reason
}

on_every_server! {
    fn a_login_that_is_refused_and_a_database_that_is_not_there_are_told_apart(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let at = store.shown();
        let wrong = by(&store.dsn_of("oneapi", "sentinel-5d3b9f-wrong", ""));
        assert_eq!(refusal(wrong), GatewayReason::AccessDenied { at: at.clone(), user: "oneapi".into() });

        let elsewhere = store.dsn().replace(store.database(), "nowhere");
        let at = at.replace(store.database(), "nowhere");
        assert_eq!(refusal(by(&elsewhere)), GatewayReason::UnknownDatabase { at });
    }

    fn row_22_a_server_that_is_not_there_is_waited_for(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let port = store.server().port;
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dsn = store.dsn().replace(&port.to_string(), &closed.to_string());
        let reason = refusal(by(&dsn));
        assert!(matches!(&reason, GatewayReason::Unreachable { error, .. } if error.contains("refused")), "{reason:?}");
    }

    fn an_address_is_read_where_the_config_says_and_what_means_sqlite_is_said(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            let mut plan = store.plan();
            plan.database = Place::Server(SecretSource::File(file.path().into()));
            gateway::open(&Arc::new(plan))
        };
        assert_eq!(open(&format!("{}\n", store.dsn())).list().unwrap().len(), 4);
        let from = format!("file:{}", file.path().display());
        assert_eq!(refusal(open("local")), GatewayReason::AddressMeansSqlite { from: from.clone() });
        let bad = refusal(open(&format!("oneapi:{PASSWORD}@tcp(h:3306)/")));
        assert_eq!(bad, GatewayReason::BadAddress { from, detail: "it names no database".into() });
        let reason = refusal(open(""));
        assert!(matches!(reason, GatewayReason::NoAddress { secret } if matches!(*secret, SecretReason::Empty { .. })));

        let mut plan = store.plan();
        plan.database = Place::Server(SecretSource::Env("NO_SUCH_SQL_DSN".into()));
        let from = "env:NO_SUCH_SQL_DSN".to_owned();
        assert_eq!(refusal(gateway::open(&Arc::new(plan))), GatewayReason::AddressMeansSqlite { from });
    }

    fn row_29_a_user_who_may_only_read_is_told_before_anything_is_written(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let (user, database) = (format!("reader_{}", store.database()), store.database());
        let grants: Vec<String> = match store.engine {
            Engine::MariaDb => vec![
                format!("CREATE USER {user}@'%' IDENTIFIED BY '{PASSWORD}'"),
                format!("GRANT SELECT ON {database}.* TO {user}@'%'"),
            ],
            _ => vec![format!("CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")],
        };
        for grant in grants {
            store.server().administer(&grant);
        }
        if store.engine == Engine::Postgres {
            store.run(&format!("GRANT SELECT ON channels, abilities TO {user}"));
        }
        let dsn = store.dsn_of(&user, PASSWORD, "");
        let mut reader = by(&dsn);
        let view = look(&mut *reader, 1);
        let expected = GatewayReason::NoPrivilege { at: store.shown(), user: user.clone() };
        assert_eq!(database_reason(publish(&mut *reader, &publication(&view, "new"))), expected);
        assert_eq!(refusal(reader), expected);

        // No more than what it needs is enough.
        match store.engine {
            Engine::MariaDb => drop(store.server().administer(&format!(
                "GRANT UPDATE ON {database}.channels TO {user}@'%'; GRANT UPDATE ON {database}.abilities TO {user}@'%'"
            ))),
            _ => store.run(&format!("GRANT UPDATE ON channels, abilities TO {user}")),
        }
        let mut writer = by(&dsn);
        writer.probe().unwrap();
        assert!(feed(&mut *writer, 4, "new").unwrap().reenabled);
    }

    fn a_server_that_takes_no_writes_is_told_by_name_and_heals(engine) {
        let store = Store::on_its_own_server(engine);
        let mut gateway = store.gateway();
        gateway.probe().unwrap();
        let publication = publication(&look(&mut *gateway, 1), "new");
        let (on, off) = match store.engine {
            Engine::MariaDb => ("SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"),
            _ => (
                "ALTER SYSTEM SET default_transaction_read_only = on; SELECT pg_reload_conf()",
                "ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf()",
            ),
        };
        let set = |sql: &str| sql.split("; ").for_each(|sql| drop(store.server().administer(sql)));
        set(on);
        let code = if store.engine == Engine::MariaDb { "1290" } else { "25006" };
        let expected = GatewayReason::ServerReadOnly { at: store.shown(), code: code.into() };
        assert!(eventually(SOON, || gateway.probe() == Err(GatewayError::Database(expected.clone()))));
        assert_eq!(database_reason(publish(&mut *gateway, &publication)), expected);
        assert_eq!(key(&look(&mut *gateway, 1)), "fixture-access-token-1", "it can be read");
        set(off);
        assert!(eventually(SOON, || gateway.probe().is_ok()));
        publish(&mut *gateway, &publication).unwrap();
        assert_eq!(store.key(1), "new");
    }

    fn the_write_is_read_committed_and_leaves_nothing_behind(engine) {
        let store = Store::on_its_own_server(engine);
        // Whatever the server's own default is.
        match store.engine {
            Engine::MariaDb => store.server().administer("SET GLOBAL TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
            _ => store.server().administer(&format!(
                "ALTER DATABASE {} SET default_transaction_isolation = 'serializable'", store.database()
            )),
        };
        store.run("CREATE TABLE seen (isolation varchar(64))");
        match store.engine {
            Engine::MariaDb => {
                store.server().administer("GRANT PROCESS ON *.* TO oneapi@'%'");
                store.run(
                    "CREATE TRIGGER note AFTER UPDATE ON channels FOR EACH ROW INSERT INTO seen SELECT
                     trx_isolation_level FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = connection_id()",
                );
            }
            _ => store.run(
                "CREATE RULE note AS ON UPDATE TO channels DO ALSO
                 INSERT INTO seen SELECT current_setting('transaction_isolation')",
            ),
        }
        let mut gateway = store.gateway();
        feed(&mut *gateway, 1, "new").unwrap();
        let seen = store.query("SELECT DISTINCT isolation FROM seen");
        assert_eq!(seen.to_lowercase(), "read committed");
        let tables = match store.engine {
            Engine::MariaDb => "SHOW TABLES",
            _ => "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1",
        };
        assert_eq!(store.query(tables), "abilities\nchannels\nseen", "no table of ours");
    }

    fn of_two_who_lock_each_other_out_we_try_again(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let mut gateway = store.gateway();
        let wanted = [ChannelSelect::Id(1), ChannelSelect::Id(2)];
        let views = gateway.observe(&wanted).unwrap();
        let batch: Vec<_> = views.iter().map(|view| publication(view, "ours")).collect();
        // Somebody who takes the rows the other way round: 2, and then 1, while we hold 1 and wait for 2.
        let mut other = store.session();
        other.ask("BEGIN");
        other.ask("UPDATE channels SET used_quota = 1 WHERE id = 2");
        let writing = std::thread::spawn(move || gateway.publish(&batch));
        wait_until_somebody_waits(&store);
        other.tell("UPDATE channels SET used_quota = 1 WHERE id = 1");
        other.tell("COMMIT");
        let answers = writing.join().unwrap();
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!([store.key(1), store.key(2)], ["ours", "ours"]);
    }

    fn a_strangers_change_is_noticed_and_looked_for_without_reading_keys(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let mut gateway = store.gateway();
        assert!(!gateway.changed(), "nothing is watched yet");
        look(&mut *gateway, 1);
        assert!(gateway.changed(), "the first time");
        for change in [
            "UPDATE channels SET {key} = 'by an admin' WHERE id = 1",
            "UPDATE channels SET status = 3 WHERE id = 1",
            "UPDATE abilities SET enabled = FALSE WHERE channel_id = 1",
            "DELETE FROM channels WHERE id = 1",
        ] {
            store.run(change);
            assert!(gateway.changed(), "{change}");
        }
        store.run("UPDATE channels SET {key} = 'of no concern' WHERE id = 2");
        assert!(!gateway.changed(), "another channel's");
    }

    fn a_server_that_is_killed_in_a_storm_of_writes_loses_no_key_and_all_converges(engine) {
        let store = Store::on_its_own_server(engine);
        let mut gateway = store.gateway();
        let done = AtomicBool::new(false);
        let mut newest = String::new();
        let (mut writes, mut failed) = (0, 0);
        std::thread::scope(|scope| {
            let killer = scope.spawn(|| {
                for _ in 0..3 {
                    std::thread::sleep(Duration::from_millis(700));
                    store.server().kill();
                    store.server().restart();
                }
                done.store(true, Ordering::Relaxed);
            });
            // As the agent does: look, write what is not there yet, look again.
            while !done.load(Ordering::Relaxed) {
                let Ok(views) = gateway.observe(&[ChannelSelect::Id(1), ChannelSelect::Id(4)]) else {
                    failed += 1;
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                };
                writes += 1;
                newest = format!("key-{writes}");
                let batch: Vec<_> = views.iter().map(|view| publication(view, &newest)).collect();
                for answer in gateway.publish(&batch) {
                    match answer {
                        Ok(_) => {}
                        Err(GatewayError::Database(
                            GatewayReason::ConnectionLost { .. } | GatewayReason::Unreachable { .. },
                        )) => failed += 1,
                        Err(other) => panic!("{other:?}"),
                    }
                }
                let keys: Vec<String> = match gateway.observe(&[ChannelSelect::Id(1), ChannelSelect::Id(4)]) {
                    Ok(views) => views.iter().map(|view| key(view).to_owned()).collect(),
                    Err(_) => continue,
                };
                assert_eq!(keys[0], keys[1], "a batch is written as a whole or not at all");
            }
            killer.join().unwrap();
        });
        println!("{engine:?}: {writes} writes, {failed} attempts met a server that was away");
        assert!(writes > 3 && failed > 0, "{writes} writes, {failed} failed");
        let views = gateway.observe(&[ChannelSelect::Id(1), ChannelSelect::Id(4)]).unwrap();
        for view in &views {
            if key(view) != newest {
                publish(&mut *gateway, &publication(view, &newest)).unwrap();
            }
        }
        assert_eq!([store.key(1), store.key(4)], [newest.clone(), newest]);
    }

    fn a_connection_that_was_cut_while_idle_is_replaced_without_a_word(engine) {
        let store = Store::on_its_own_server(engine);
        let mut gateway = store.gateway();
        let view = look(&mut *gateway, 1);
        store.server().kill();
        store.server().restart();
        publish(&mut *gateway, &publication(&view, "new")).unwrap();
        assert_eq!(store.key(1), "new");
    }

    fn too_many_connections_are_told_by_name(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let user = format!("crowded_{}", store.database());
        match store.engine {
            Engine::MariaDb => store.server().administer(&format!(
                "CREATE USER {user}@'%' IDENTIFIED BY '{PASSWORD}' WITH MAX_USER_CONNECTIONS 1;
                 GRANT ALL ON {}.* TO {user}@'%'", store.database()
            )),
            _ => store.server().administer(&format!(
                "CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 1 IN ROLE oneapi"
            )),
        };
        let dsn = store.dsn_of(&user, PASSWORD, "");
        let mut first = by(&dsn);
        first.list().unwrap();
        assert_eq!(refusal(by(&dsn)), GatewayReason::TooManyConnections { at: store.shown() });
        drop(first);
        assert!(eventually(SOON, || by(&dsn).list().is_ok()), "it took its leave");
    }

    fn tls_that_the_server_does_not_have_is_told(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let more = if store.engine == Engine::MariaDb { "?tls=true" } else { "?sslmode=verify-full" };
        let reason = refusal(by(&store.dsn_of("oneapi", PASSWORD, more)));
        assert!(matches!(reason, GatewayReason::TlsFailed { .. }), "{reason:?}");
    }

    fn a_server_that_insists_on_tls_is_reached_by_it_and_its_certificate_is_checked_when_asked_for(engine) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (authority, stranger) = (Authority::new(), Authority::new());
        authority.identity("127.0.0.1").write(&path("server.pem"), &path("server.key"));
        authority.write(&path("ca.pem"));
        stranger.write(&path("stranger.pem"));
        let pem = |name: &str| std::fs::read_to_string(path(name)).unwrap();
        let store = Store::on_a_server_with_tls(engine, &pem("server.pem"), &pem("server.key"));
        let with = |more: &str| {
            let more = more.replace("FOLDER", &folder.path().display().to_string());
            by(&store.dsn_of("oneapi", PASSWORD, &more))
        };
        let (lets_in, without, unknown) = match store.engine {
            Engine::MariaDb => (&["", "?tls=skip-verify", "?tls=preferred"][..], "?tls=false", "?tls=true"),
            _ => (
                &[
                    "",
                    "?sslmode=allow",
                    "?sslmode=require",
                    "?sslmode=verify-ca&sslrootcert=FOLDER/ca.pem",
                    "?sslmode=verify-full&sslrootcert=FOLDER/ca.pem",
                ][..],
                "?sslmode=disable",
                "?sslmode=verify-full&sslrootcert=FOLDER/stranger.pem",
            ),
        };
        for more in lets_in {
            assert_eq!(with(more).probe(), Ok(()), "{more:?}");
        }
        let refused = match store.engine {
            // It says the same as of a wrong password; MySQL says 3159.
            Engine::MariaDb => GatewayReason::AccessDenied { at: store.shown(), user: "oneapi".into() },
            _ => GatewayReason::TlsRequired { at: store.shown() },
        };
        assert_eq!(refusal(with(without)), refused);
        let reason = refusal(with(unknown));
        let is_of_it = |error: &str| error.contains("invalid peer certificate");
        assert!(matches!(&reason, GatewayReason::TlsFailed { error, .. } if is_of_it(error)), "{reason:?}");
    }

    fn a_conflict_stops_no_other_of_its_batch(engine) {
        let store = Store::fixture(engine, Fork::OneApi);
        let mut gateway = store.gateway();
        let views = gateway.observe(&[ChannelSelect::Id(1), ChannelSelect::Id(4)]).unwrap();
        let mut batch: Vec<_> = views.iter().map(|view| publication(view, "ours")).collect();
        batch[0].expected = Some(Secret::new("another"));
        let answers = gateway.publish(&batch);
        assert_eq!(answers[0], Err(GatewayError::Channel(ChannelReason::Conflict)));
        assert!(answers[1].as_ref().unwrap().reenabled);
    }
}

/// Until a session of this server waits for another one's lock.
fn wait_until_somebody_waits(store: &Store) {
    use support::engines::Engine;
    let waiting = match store.engine {
        Engine::MariaDb => "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
        _ => "SELECT COUNT(*) FROM pg_locks WHERE NOT granted",
    };
    // InnoDB shows what it showed last to whoever asks again within 100 ms.
    let ask = || {
        std::thread::sleep(Duration::from_millis(150));
        store.server().administer(waiting).trim() != "0"
    };
    assert!(eventually(SOON, ask), "nobody waits");
}
