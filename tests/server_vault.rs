//! The vault in a file, in MariaDB and in PostgreSQL: what holds of one holds of all. And what only a server brings:
//! cut sessions, servers that are killed, tables that are gone.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use one_api_sidecar::config::plan::VaultPlace;
use one_api_sidecar::credential::event::{Event, Topic};
use one_api_sidecar::credential::record::{ClientIdentity, Record, RecordId, State};
use one_api_sidecar::reason::VaultReason;
use one_api_sidecar::secret::{Secret, SecretSource};
use one_api_sidecar::time::Timestamp;
use one_api_sidecar::vault::backing::Standing;
use one_api_sidecar::vault::seal::EncryptionKey;
use one_api_sidecar::vault::{Change, Contents, FingerprintKind, Site, Vault, VaultError};
use support::engines::{Engine, PASSWORD, Store, USER};
use support::process::Bench;
use tempfile::TempDir;

/// Where a test's vault is.
struct Home {
    place: VaultPlace,
    key: EncryptionKey,
    _folder: Option<TempDir>,
}

impl Home {
    fn new(engine: Engine) -> Self {
        if engine != Engine::Sqlite {
            return Self::at(&Store::empty(engine).dsn());
        }
        let folder = tempfile::tempdir().unwrap();
        let place = VaultPlace::File(folder.path().join("vault.db"));
        Self { place, key: key(), _folder: Some(folder) }
    }

    fn at(dsn: &str) -> Self {
        let place = VaultPlace::Server(SecretSource::Value(Secret::new(dsn)));
        Self { place, key: key(), _folder: None }
    }

    /// The way there, as another process goes it.
    async fn site(&self) -> Site {
        Site::of(&self.place).await.unwrap()
    }

    async fn try_open(&self) -> Result<(Vault, Contents), VaultError> {
        self.site().await.open(Some(&self.key), 4).await
    }

    async fn open(&self) -> (Vault, Contents) {
        self.open_by(&self.site().await).await
    }

    /// By a way that was gone before.
    async fn open_by(&self, site: &Site) -> (Vault, Contents) {
        // Whoever was cut off is missed by the server after a moment.
        for _ in 0..100 {
            match site.open(Some(&self.key), 4).await {
                Err(VaultError(VaultReason::Owned { .. } | VaultReason::ServerAway { .. })) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                opened => return opened.unwrap(),
            }
        }
        panic!("the vault stays another's");
    }
}

fn key() -> EncryptionKey {
    EncryptionKey::parse(&EncryptionKey::generate().unwrap()).unwrap()
}

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn record(id: i64, token: &str) -> Record {
    Record {
        id: RecordId(id),
        name: format!("名 {id}"),
        client: ClientIdentity { grant_type: "refresh_token".into(), client_id: "app".into() },
        refresh_token: Some(Secret::new(token)),
        candidate: None,
        access: None,
        state: State { generation: 7, ..State::default() },
    }
}

fn write(id: i64, token: &str) -> Vec<Change> {
    vec![Change::Record(Box::new(record(id, token)))]
}

fn tokens(contents: &Contents) -> Vec<&str> {
    contents.records.iter().map(|record| record.refresh_token.as_ref().unwrap().expose()).collect()
}

on_every_engine! {
    fn what_is_committed_is_there_for_the_next(engine) {
        block_on(async {
            let home = Home::new(engine);
            let (vault, contents) = home.open().await;
            assert_eq!(contents, Contents::default());
            let seen = vault.handle.fingerprinter().of(&Secret::new("seed"));
            let note = |kind| Change::Seen { record: RecordId(1), kind, fingerprint: seen, at: Timestamp::EPOCH };
            vault.handle.commit([write(1, "first"), vec![note(FingerprintKind::RefreshToken)]].concat()).await.unwrap();
            vault.handle.commit_before_sending([write(1, "second"), write(2, "other")].concat()).await.unwrap();
            vault.handle.commit(vec![
                Change::Event(Box::new(Event::new(Timestamp::EPOCH, Topic::Started))),
                Change::Notices("{}".into()),
                Change::Notices("{\"a\":1}".into()),
            ]).await.unwrap();
            vault.close();

            let (vault, contents) = home.open().await;
            assert_eq!(contents.records, [record(1, "second"), record(2, "other")]);
            assert_eq!(contents.notices.as_deref(), Some("{\"a\":1}"));
            assert_eq!(vault.handle.fingerprinter().of(&Secret::new("seed")), seen, "the same key makes them");
            let seen_by = |kind| vault.handle.seen_by(kind, seen);
            assert_eq!(seen_by(FingerprintKind::RefreshToken).await, Ok(vec![RecordId(1)]));
            assert_eq!(seen_by(FingerprintKind::Key).await, Ok(vec![]));
            vault.close();
            let checked = home.site().await.check(Some(&home.key)).await.unwrap();
            assert_eq!((checked.fingerprints, checked.events, checked.sealed), (1, 1, true));
        });
    }

    fn row_15_one_owns_it_and_others_may_only_read(engine) {
        block_on(async {
            let home = Home::new(engine);
            let (vault, _) = home.open().await;
            vault.handle.commit(write(1, "first")).await.unwrap();
            let second = home.site().await;
            for _ in 0..3 {
                let refused = second.open(Some(&home.key), 4).await.err().unwrap();
                let VaultReason::Owned { holder } = refused.0 else { panic!("{refused:?}") };
                assert!(holder.contains(&format!("process {}", std::process::id())), "{holder}");
            }
            assert!(second.holder().await.is_some());
            let (reader, contents) = second.peek(Some(&home.key)).await.unwrap();
            assert_eq!(tokens(&contents), ["first"]);
            assert!(reader.commit(write(1, "stolen")).await.is_err());
            vault.close();
            assert_eq!(second.holder().await, None);
            let (third, contents) = second.open(Some(&home.key), 4).await.unwrap();
            assert_eq!(tokens(&contents), ["first"]);
            third.close();
        });
    }

    fn row_60_a_wrong_key_is_refused_and_nothing_changes(engine) {
        block_on(async {
            let home = Home::new(engine);
            let (vault, _) = home.open().await;
            vault.handle.commit(write(1, "first")).await.unwrap();
            vault.close();
            let site = home.site().await;
            let wrong = Some(VaultError(VaultReason::WrongKey { configured: true }));
            assert_eq!(site.open(Some(&key()), 4).await.err(), wrong);
            assert_eq!(site.peek(Some(&key())).await.err(), wrong);
            let new = key();
            site.rekey(Some(&home.key), &new).await.unwrap();
            assert_eq!(site.open(Some(&home.key), 4).await.err(), wrong);
            let (vault, contents) = site.open(Some(&new), 4).await.unwrap();
            assert_eq!(tokens(&contents), ["first"]);
            vault.close();
        });
    }

    fn the_last_thousand_keys_are_known_and_every_refresh_token(engine) {
        block_on(async {
            let home = Home::new(engine);
            let (vault, _) = home.open().await;
            let fingerprint = |n: i64| vault.handle.fingerprinter().of(&Secret::new(n.to_string()));
            let make = |kind, n| {
                let (fingerprint, at) = (fingerprint(n), Timestamp::from_millis(n));
                Change::Seen { record: RecordId(1), kind, fingerprint, at }
            };
            let keys = (0..1100).map(|n| make(FingerprintKind::Key, n));
            let tokens = (0..1100).map(|n| make(FingerprintKind::RefreshToken, n));
            let mut record = record(1, "token");
            record.state.generation = 128;
            let record = Change::Record(Box::new(record));
            vault.handle.commit(keys.chain(tokens).chain([record]).collect()).await.unwrap();
            let seen = async |kind, n| !vault.handle.seen_by(kind, fingerprint(n)).await.unwrap().is_empty();
            assert!(!seen(FingerprintKind::Key, 98).await);
            assert!(seen(FingerprintKind::Key, 100).await);
            assert!(seen(FingerprintKind::RefreshToken, 0).await, "row 16: the seed is still configured");
            vault.close();
        });
    }

    fn a_group_happens_whole_or_not_at_all(engine) {
        block_on(async {
            let home = Home::new(engine);
            let (vault, _) = home.open().await;
            // All at once, so that they meet in one transaction.
            let commits = (1..=300).map(|id| vault.handle.commit(write(id, "token")));
            for result in futures_util::future::join_all(commits).await {
                assert_eq!(result, Ok(()));
            }
            vault.close();
            let (vault, contents) = home.open().await;
            assert_eq!(contents.records.len(), 300);
            vault.close();
        });
    }
}

on_every_server! {
    fn a_server_that_is_slow_to_miss_a_session_leaves_the_vault_to_the_next(engine) {
        block_on(async {
            let store = Store::empty(engine);
            let port = store.server().port;
            let dsn = store.dsn().replace(&format!(":{port}"), &format!(":{}", slow_to_miss(port)));
            let home = Home::at(&dsn);
            home.try_open().await.unwrap().0.close();
            let wrong = Some(VaultError(VaultReason::WrongKey { configured: true }));
            assert_eq!(home.site().await.open(Some(&key()), 4).await.err(), wrong);
            assert_eq!(home.site().await.rekey(Some(&key()), &key()).await.err(), wrong);
            let new = key();
            home.site().await.rekey(Some(&home.key), &new).await.unwrap();
            home.site().await.open(Some(&new), 4).await.unwrap().0.close();
        });
    }

    fn row_60_a_newer_vault_is_refused(engine) {
        block_on(async {
            let store = Store::empty(engine);
            let home = Home::at(&store.dsn());
            home.open().await.0.close();
            store.run("UPDATE one_api_sidecar_meta SET value = '9' WHERE name = 'schema'");
            assert_eq!(home.try_open().await.err().unwrap().0, VaultReason::Newer { found: 9, known: 1 });
        });
    }

    fn the_oldest_of_many_fingerprints_is_found_by_an_index(engine) {
        block_on(async {
            let store = Store::empty(engine);
            let home = Home::at(&store.dsn());
            home.open().await.0.close();
            let (catalogue, name) = match engine {
                Engine::MariaDb => ("information_schema.statistics WHERE table_schema = DATABASE() AND", "index_name"),
                _ => ("pg_indexes WHERE", "indexname"),
            };
            let index = "one_api_sidecar_fingerprint_age";
            let count = store.query(&format!("SELECT count(DISTINCT {name}) FROM {catalogue} {name} = '{index}'"));
            assert_eq!(count, "1");
            // A vault from before there was one is as good.
            store.run(&match engine {
                Engine::MariaDb => format!("DROP INDEX {index} ON one_api_sidecar_fingerprint"),
                _ => format!("DROP INDEX {index}"),
            });
            let (vault, _) = home.open().await;
            vault.handle.commit(write(1, "first")).await.unwrap();
            vault.close();
        });
    }

    fn a_vault_that_lost_a_table_is_left_alone(engine) {
        for table in ["meta", "record", "owner"] {
            block_on(async {
                let store = Store::empty(engine);
                let home = Home::at(&store.dsn());
                home.open().await.0.close();
                store.run(&format!("DROP TABLE one_api_sidecar_{table}"));
                let missing = format!("one_api_sidecar_{table}");
                let gone = VaultReason::ServerGone { server: store.shown(), missing };
                assert_eq!(home.try_open().await.err().unwrap().0, gone);
            });
        }
    }

    fn a_vault_whose_making_was_interrupted_is_finished(engine) {
        block_on(async {
            let store = Store::empty(engine);
            let home = Home::at(&store.dsn());
            home.open().await.0.close();
            store.run("DROP TABLE one_api_sidecar_notice; DROP TABLE one_api_sidecar_event;
                       DELETE FROM one_api_sidecar_meta; INSERT INTO one_api_sidecar_meta VALUES ('making', '1')");
            let (vault, contents) = home.open().await;
            assert_eq!(contents, Contents::default());
            vault.handle.commit(write(1, "first")).await.unwrap();
            vault.close();
        });
    }

    fn a_command_beside_another_host_s_owner_is_sent_there(engine) {
        block_on(async {
            let store = Store::empty(engine);
            let mut bench = Bench::new();
            let generated = EncryptionKey::generate().unwrap();
            let place = VaultPlace::Server(SecretSource::Value(Secret::new(store.dsn())));
            let home = Home { place, key: EncryptionKey::parse(&generated).unwrap(), _folder: None };
            let (vault, _) = home.open().await;
            store.run("UPDATE one_api_sidecar_owner SET holder = 'process 7 on host-a'");
            bench.env("VAULT_KEY", generated.expose());
            bench.env("VAULT_URL", store.dsn());
            for (language, said) in [
                ("en", "Another host owns the vault: process 7 on host-a."),
                ("zh-CN", "保管库由另一台主机上的 process 7 on host-a 使用。"),
            ] {
                bench.write_config(&format!(
                    r#"
language = "{language}"
[gateway]
database = "one-api.db"
[vault]
url            = {{ env = "VAULT_URL" }}
encryption_key = {{ env = "VAULT_KEY" }}
[[credential]]
name          = "first"
token_url     = "http://127.0.0.1:1/token"
client_id     = "app"
refresh_token = {{ env = "SEED" }}
channels      = [1]
"#
                ));
                for command in [&["once"][..], &["adopt", "1"], &["retry", "first"]] {
                    let output = bench.run_command(command);
                    assert_eq!(output.code, Some(1), "{command:?}: {output:?}");
                    assert!(output.stderr.contains(said), "{command:?}: {output:?}");
                }
            }
            vault.close();
        });
    }

    fn a_cut_session_is_had_again_and_nobody_notices(engine) {
        block_on(async {
            let store = Store::empty(engine);
            let home = Home::at(&store.dsn());
            let (vault, _) = home.open().await;
            for round in 0..3 {
                cut_all(&store);
                assert_eq!(vault.handle.commit(write(1, &round.to_string())).await, Ok(()));
                assert_eq!(*vault.handle.standing().borrow(), Standing::Ours);
            }
            vault.close();
            let (vault, contents) = home.open().await;
            assert_eq!(tokens(&contents), ["2"]);
            vault.close();
        });
    }

    fn whoever_was_cut_off_and_replaced_writes_no_more(engine) {
        block_on(async {
            let store = Store::empty(engine);
            let home = Home::at(&store.dsn());
            let (first, _) = home.open().await;
            first.handle.commit(write(1, "first")).await.unwrap();
            // Nobody tells the first one that its session is gone; the second one takes over.
            cut_all(&store);
            let (second, contents) = home.open().await;
            assert_eq!(tokens(&contents), ["first"]);
            second.handle.commit(write(1, "second")).await.unwrap();
            for _ in 0..2 {
                let refused = first.handle.commit(write(1, "overwritten")).await.unwrap_err();
                assert!(matches!(refused.0, VaultReason::Displaced { .. }), "{refused:?}");
                assert!(first.handle.confirm().await.is_err());
            }
            assert!(matches!(&*first.handle.standing().borrow(), Standing::Lost(_)));
            // Even when the second one is gone: what the first one knows is old.
            second.close();
            assert!(first.handle.commit(write(1, "overwritten")).await.is_err());
            first.close();
            let (third, contents) = home.open().await;
            assert_eq!(tokens(&contents), ["second"]);
            third.close();
        });
    }

    fn a_lock_without_the_owner_s_row_is_not_enough(engine) {
        block_on(async {
            let store = Store::empty(engine);
            let home = Home::at(&store.dsn());
            let (vault, _) = home.open().await;
            vault.handle.commit(write(1, "first")).await.unwrap();
            store.run("UPDATE one_api_sidecar_owner SET token = 'another', holder = 'host-b'");
            let refused = vault.handle.commit(write(1, "overwritten")).await.unwrap_err();
            assert_eq!(refused.0, VaultReason::Displaced { holder: "host-b".into() });
            vault.close();
            let (vault, contents) = home.open().await;
            assert_eq!(tokens(&contents), ["first"]);
            vault.close();
        });
    }

    fn an_older_state_that_comes_back_beneath_the_owner_is_noticed(engine) {
        block_on(async {
            let store = Store::empty(engine);
            let home = Home::at(&store.dsn());
            let here = home.site().await;
            let (vault, _) = home.open_by(&here).await;
            for round in 0..5 {
                vault.handle.commit(write(1, &round.to_string())).await.unwrap();
            }
            // As a replica that had not seen the last transactions.
            store.run("UPDATE one_api_sidecar_owner SET commits = commits - 2");
            // A heartbeat may have noticed it before: then the server counts as away until it was asked again.
            let refused = loop {
                match vault.handle.commit(write(1, "more")).await.unwrap_err() {
                    VaultError(VaultReason::ServerAway { .. }) => {}
                    refused => break refused,
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            assert!(matches!(refused.0, VaultReason::Displaced { .. }), "{refused:?}");
            vault.close();
            let (vault, contents) = home.open_by(&here).await;
            assert!(contents.behind, "its refresh tokens may be spent");
            vault.handle.commit(vec![Change::CaughtUp]).await.unwrap();
            vault.close();
            let (vault, contents) = home.open_by(&here).await;
            assert!(!contents.behind);
            vault.close();
        });
    }

    fn a_server_that_became_read_only_is_away_until_it_is_not(engine) {
        block_on(async {
            let store = Store::on_its_own_server(engine);
            let home = Home::at(&store.dsn());
            let (vault, _) = home.open().await;
            vault.handle.commit(write(1, "first")).await.unwrap();
            let other = home.site().await;
            // As after a failover: the old primary keeps its sessions, and their locks.
            let read_only = |is| match engine {
                Engine::MariaDb => drop(store.server().administer(&format!("SET GLOBAL read_only = {is}"))),
                _ => {
                    store.server().administer(&format!("ALTER SYSTEM SET default_transaction_read_only = {is}"));
                    store.server().administer("SELECT pg_reload_conf()");
                }
            };
            read_only(1);
            // A server that reads its settings again does so soon.
            let mut standing = vault.handle.standing();
            for nth in 0.. {
                match vault.handle.commit(write(1, &nth.to_string())).await {
                    Ok(()) => tokio::time::sleep(Duration::from_millis(20)).await,
                    Err(VaultError(VaultReason::ServerAway { error, .. })) => {
                        assert!(error.contains("read-only"), "{error}");
                        break;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
            assert!(matches!(&*standing.borrow_and_update(), Standing::Unsure(_)), "nothing is begun meanwhile");
            assert!(vault.handle.confirm().await.is_err());
            read_only(0);
            let ours = standing.wait_for(|standing| *standing == Standing::Ours);
            tokio::time::timeout(Duration::from_secs(20), ours).await.expect("it is had again").unwrap();
            vault.handle.commit(write(1, "last")).await.unwrap();
            vault.close();

            // Whoever stands by waits for it, too.
            read_only(1);
            let away = other.open(Some(&home.key), 4).await.err().map(|error| error.0);
            assert!(matches!(away, Some(VaultReason::ServerAway { .. })), "{away:?}");
            read_only(0);
            let (vault, contents) = home.open().await;
            assert_eq!(tokens(&contents), ["last"]);
            vault.close();
        });
    }

    fn the_last_word_about_a_killed_server_is_its_count(engine) {
        block_on(async {
            let store = Store::on_its_own_server(engine);
            let home = Home::at(&store.dsn());
            let (vault, _) = home.open().await;
            let mut acknowledged = 0;
            for round in 0..6 {
                let handle = vault.handle.clone();
                let storm = tokio::spawn(async move {
                    let mut last = None;
                    for nth in 0..2000 {
                        let commit = write(1, &format!("{round}-{nth}"));
                        match handle.commit(commit).await {
                            Ok(()) => last = Some(nth),
                            Err(error) => return (last, Some(error)),
                        }
                    }
                    (last, None)
                });
                tokio::time::sleep(Duration::from_millis(60)).await;
                store.server().kill();
                let (last, error) = storm.await.unwrap();
                assert!(last.is_none() || error.is_some(), "the storm met the kill");
                acknowledged += last.map_or(0, |last| last + 1);
                let refused = vault.handle.confirm().await.unwrap_err();
                assert!(matches!(refused.0, VaultReason::ServerAway { .. }), "{refused:?}");
                store.server().restart();
                let mut standing = vault.handle.standing();
                let ours = standing.wait_for(|standing| *standing == Standing::Ours);
                tokio::time::timeout(Duration::from_secs(20), ours).await.expect("it is had again").unwrap();
                let (_, contents) = home.site().await.peek(Some(&home.key)).await.unwrap();
                if let Some(last) = last {
                    // What was acknowledged is there; the one after it may be, of which no answer came.
                    let may = [format!("{round}-{last}"), format!("{round}-{}", last + 1)];
                    assert!(may.iter().any(|token| tokens(&contents) == [token]), "{may:?} {:?}", tokens(&contents));
                }
            }
            println!("{engine:?}: {acknowledged} commits acknowledged around 6 kills of the server, lost 0");
            assert!(acknowledged > 0);
            vault.close();
        });
    }

    fn a_user_without_rights_and_an_address_that_is_none_are_refused_without_their_password(engine) {
        block_on(async {
            let store = Store::empty(engine);
            let wrong = [
                store.dsn_of(USER, &format!("{PASSWORD}-wrong"), ""),
                store.dsn().replace("oneapi_", "nowhere_"),
            ];
            for dsn in wrong {
                let error = Home::at(&dsn).try_open().await.err().unwrap();
                assert!(matches!(error.0, VaultReason::ServerRefused { .. }), "{error:?}");
                assert!(!format!("{error:?}").contains(PASSWORD), "{error:?}");
            }
            let closed = store.dsn().replace(&format!(":{}", store.server().port), ":1");
            let error = Home::at(&closed).try_open().await.err().unwrap();
            assert!(matches!(error.0, VaultReason::ServerAway { .. }), "{error:?}");
        });
    }
}

#[test]
fn a_schema_of_its_own_is_made() {
    if !Engine::Postgres.is_here("a_schema_of_its_own_is_made") {
        return;
    }
    block_on(async {
        let store = Store::empty(Engine::Postgres);
        let homes = ["?schema=one", "?schema=two"].map(|more| Home::at(&store.dsn_of(USER, PASSWORD, more)));
        let (one, _) = homes[0].open().await;
        // Another schema is another vault, with a lock of its own.
        let (two, _) = homes[1].open().await;
        one.handle.commit(write(1, "one")).await.unwrap();
        two.handle.commit(write(1, "two")).await.unwrap();
        one.close();
        two.close();
        assert_eq!(tokens(&homes[1].open().await.1), ["two"]);
    });
}

/// A way to the server that does not pass on a farewell: the server misses a session long after it has ended.
fn slow_to_miss(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    let pass = |mut from: TcpStream, mut to: TcpStream, farewell: Option<Duration>| {
        let mut bytes = [0u8; 65536];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            // What is followed by the end of the connection is a farewell.
            if let Some(waits) = farewell {
                from.set_read_timeout(Some(waits)).unwrap();
                if matches!(from.peek(&mut [0]), Ok(0)) {
                    break;
                }
                from.set_read_timeout(None).unwrap();
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
    };
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
            let (there, back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || pass(server, back, None));
            thread::spawn(move || {
                let _kept = there.try_clone().unwrap();
                pass(client, there, Some(Duration::from_millis(10)));
                thread::sleep(Duration::from_mins(1));
            });
        }
    });
    own
}

/// Ends every session in a database, as a proxy or an administrator does.
fn cut_all(store: &Store) {
    match store.engine {
        Engine::MariaDb => {
            let sessions = store.server().administer(&format!(
                "SELECT id FROM information_schema.processlist WHERE db = '{}'",
                store.database()
            ));
            for id in sessions.lines() {
                store.server().administer(&format!("KILL CONNECTION {id}"));
            }
        }
        _ => {
            let database = store.database();
            store.server().administer(&format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
            ));
        }
    }
}
