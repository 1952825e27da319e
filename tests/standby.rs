//! Three agents on one vault in a database server, as on three hosts (fault row 66): killed, stopped and let go on, cut
//! off, kept waiting, their server killed. One owns the vault at a time, nobody sends a refresh token that the vault
//! knew to be spent, and every family that dies is named.
//!
//! `STANDBY_SECONDS=120 cargo test --test standby -- --nocapture` is the long form; `SEED` repeats a run's moments.

mod support;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use one_api_sidecar::config::plan::VaultPlace;
use one_api_sidecar::credential::record::Record;
use one_api_sidecar::secret::{Secret, SecretSource};
use one_api_sidecar::time::Timestamp;
use one_api_sidecar::vault::Site;
use one_api_sidecar::vault::seal::EncryptionKey;
use support::endpoint::{Action, Endpoint, Options};
use support::engines::{Engine, PASSWORD, Store, USER};
use support::process::{Bench, Sidecar, assert_no_secret};
use support::service::Manager;
use support::wire::Wire;
use support::{SOON, database, eventually};

/// How long the server's answer is on its way: the window that a fault may meet.
const ANSWER_TAKES: Duration = Duration::from_millis(50);
/// Longer than the server keeps a silent session.
const LONG: Duration = Duration::from_secs(12);
/// How often the channel's key is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// One host: its own config and wire, and the process.
struct Host {
    bench: Bench,
    wire: Wire,
    process: Option<Sidecar>,
}

/// When each key was first seen in the channel.
type Keys = Arc<Mutex<BTreeMap<String, Instant>>>;

struct Scene {
    store: Store,
    endpoint: Endpoint,
    hosts: Vec<Host>,
    key: Secret,
    keys: Keys,
    done: Arc<AtomicBool>,
    watcher: Option<JoinHandle<Duration>>,
    /// When a person logged in.
    logins: Vec<Instant>,
    /// The halts that a person has logged in for.
    answered: Option<Timestamp>,
    named: usize,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

impl Scene {
    fn new(engine: Engine, hosts: usize) -> Self {
        let store = Store::on_its_own_server(engine);
        let options =
            Options { lifetime: Duration::from_secs(2), fallback: Action::Delay(ANSWER_TAKES), ..Options::default() };
        let endpoint = Endpoint::start(options);
        let key = EncryptionKey::generate().unwrap();
        let (keys, done) = (Keys::default(), Arc::new(AtomicBool::new(false)));
        let hosts = (0..hosts).map(|_| {
            let mut bench = Bench::new();
            bench.env("VAULT_KEY", key.expose());
            let wire = Wire::to(store.server().port);
            let dsn = store.dsn_of(USER, PASSWORD, "");
            let port = format!(":{}", store.server().port);
            bench.env("VAULT_URL", dsn.replace(&port, &format!(":{}", wire.address.port())));
            Host { bench, wire, process: None }
        });
        let hosts = hosts.collect();
        let mut scene = Self {
            store,
            endpoint,
            hosts,
            key,
            keys,
            done,
            watcher: None,
            logins: Vec::new(),
            answered: None,
            named: 0,
        };
        database::copy_fixture("one-api.db", &scene.database());
        scene.log_in();
        let config = scene.config();
        for host in &mut scene.hosts {
            host.bench.write_config(&config);
            host.process = Some(host.bench.start());
        }
        scene.watch();
        scene
    }

    /// The gateway is one for all hosts.
    fn database(&self) -> PathBuf {
        self.hosts[0].bench.path("one-api.db")
    }

    fn config(&self) -> String {
        format!(
            r#"
[gateway]
database  = "{}"
cache_lag = "0s"

[vault]
url            = {{ env = "VAULT_URL" }}
encryption_key = {{ env = "VAULT_KEY" }}

[[credential]]
name           = "kept"
token_url      = "{}"
client_id      = "app"
refresh_token  = {{ file = "{}" }}
refresh_before = "1s"
backoff        = {{ min = "100ms", max = "1s" }}
channels       = [1]
"#,
            self.database().display(),
            self.endpoint.url(),
            self.hosts[0].bench.path("seed").display(),
        )
    }

    fn log_in(&mut self) {
        self.logins.push(Instant::now());
        let (path, beside) = (self.hosts[0].bench.path("seed"), self.hosts[0].bench.path("seed.new"));
        std::fs::write(&beside, self.endpoint.issue()).unwrap();
        std::fs::rename(beside, path).unwrap();
    }

    /// Looks at the channel all the time: when each key came, and how long it was without a valid one.
    fn watch(&mut self) {
        let (database, keys, done) = (self.database(), Arc::clone(&self.keys), Arc::clone(&self.done));
        self.watcher = Some(std::thread::spawn(move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            while !done.load(Ordering::Relaxed) {
                let key = database::channel(&database, 1).key;
                let now = Instant::now();
                let mut keys = keys.lock().unwrap();
                if let Entry::Vacant(new) = keys.entry(key) {
                    new.insert(now);
                    longest = longest.max(now - last);
                    last = now;
                }
                drop(keys);
                std::thread::sleep(LOOK);
            }
            longest
        }));
    }

    /// The record, read beside its owner; `None` while the server is away or nothing is there yet.
    fn record(&self) -> Option<Record> {
        let place = VaultPlace::Server(SecretSource::Value(Secret::new(self.store.dsn())));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let key = EncryptionKey::parse(&self.key);
        let peeked = runtime.block_on(async { Site::of(&place).await.unwrap().peek(key.as_ref()).await });
        peeked.ok()?.1.records.pop()
    }

    /// If the family's loss is named, a person logs in again.
    fn log_in_if_named(&mut self) {
        if let Some(halt) = self.record().and_then(|record| record.state.halt)
            && self.answered != Some(halt.at)
        {
            self.answered = Some(halt.at);
            self.named += 1;
            self.log_in();
            for host in &mut self.hosts {
                host.process.as_mut().unwrap().hangup();
            }
        }
    }

    /// The host whose process the vault names as its owner.
    fn owner(&self) -> Option<usize> {
        let holder = self.store.query("SELECT holder FROM one_api_sidecar_owner");
        self.hosts.iter().position(|host| {
            let pid = host.process.as_ref().unwrap().id();
            holder.starts_with(&format!("process {pid} "))
        })
    }

    /// Waits, and does what a person does meanwhile.
    fn pass(&mut self, length: Duration) {
        let until = Instant::now() + length;
        while Instant::now() < until {
            self.log_in_if_named();
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A refresh that began after this moment has settled, and its key is in the channel.
    fn goes_on(&mut self) -> bool {
        let before = self.endpoint.accepted_tokens().len();
        let deadline = Instant::now() + SOON * 4;
        while Instant::now() < deadline {
            self.log_in_if_named();
            let tokens = self.endpoint.accepted_tokens();
            let key = database::channel(&self.database(), 1).key;
            if tokens.len() > before && tokens[before..].contains(&key) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    fn outputs(&self) -> String {
        self.hosts.iter().map(|host| host.process.as_ref().unwrap().output() + "\n----\n").collect()
    }

    fn fault(&mut self, fault: Fault) {
        let Some(owner) = self.owner() else { return };
        match fault {
            Fault::Kill => {
                let host = &mut self.hosts[owner];
                host.process.as_mut().unwrap().kill();
                assert_no_secret("an agent", &host.process.as_ref().unwrap().output());
                host.process = Some(host.bench.spawn_run());
            }
            Fault::Stop(length) => {
                self.hosts[owner].process.as_mut().unwrap().pause();
                self.pass(length);
                self.hosts[owner].process.as_mut().unwrap().resume();
            }
            Fault::Cut => self.hosts[owner].wire.cut(),
            Fault::Hold(length) => {
                self.hosts[owner].wire.hold(true);
                self.pass(length);
                self.hosts[owner].wire.hold(false);
            }
            Fault::Server => {
                self.store.server().kill();
                std::thread::sleep(Duration::from_millis(500));
                self.store.server().restart();
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Stop(Duration),
    Cut,
    Hold(Duration),
    Server,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Every write of the owner's row, as the server saw it: who, in which session, the how-manieth.
const HISTORY: [&str; 2] = [
    "CREATE TABLE history (nr BIGINT AUTO_INCREMENT PRIMARY KEY, token VARCHAR(190), session BIGINT, commits BIGINT, at DOUBLE);
     CREATE TRIGGER watched AFTER UPDATE ON one_api_sidecar_owner FOR EACH ROW
       INSERT INTO history (token, session, commits, at)
       VALUES (NEW.token, CONNECTION_ID(), NEW.commits, UNIX_TIMESTAMP(SYSDATE(6)))",
    "CREATE TABLE history (nr BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, token TEXT, session BIGINT, commits BIGINT, at FLOAT8);
     CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
       INSERT INTO history (token, session, commits, at)
       VALUES (NEW.token, pg_backend_pid(), NEW.commits, extract(epoch FROM clock_timestamp())); RETURN NEW; END $$;
     CREATE TRIGGER watched AFTER UPDATE ON one_api_sidecar_owner FOR EACH ROW EXECUTE FUNCTION watch()",
];

/// Judges the history: the owners in their order, and the longest time in which nobody wrote.
fn judge_history(store: &Store) -> (usize, usize, f64) {
    let rows = store.query("SELECT token, commits, at FROM history ORDER BY nr");
    let rows: Vec<Vec<&str>> = rows.lines().map(|line| line.split(['\t', '|']).collect()).collect();
    assert!(!rows.is_empty(), "somebody wrote");
    let (mut owners, mut longest): (Vec<&str>, f64) = (Vec::new(), 0.0);
    for pair in rows.windows(2) {
        let [before, after] =
            [&pair[0], &pair[1]].map(|row| (row[0], row[1].parse::<i64>().unwrap(), row[2].parse::<f64>().unwrap()));
        longest = longest.max(after.2 - before.2);
        // Whoever becomes the owner writes its mark; everything else counts up by one from what was there.
        assert_eq!(after.1, before.1 + i64::from(after.0 == before.0), "no transaction is built on another's past");
        if owners.last() != Some(&before.0) {
            owners.push(before.0);
        }
    }
    owners.push(rows[rows.len() - 1][0]);
    owners.dedup();
    let distinct: BTreeSet<&&str> = owners.iter().collect();
    assert_eq!(distinct.len(), owners.len(), "an owner that was replaced never writes again");
    (owners.len(), rows.len(), longest)
}

on_every_server! {
    fn row_66_three_agents_on_one_vault(engine) {
        let seconds = number("STANDBY_SECONDS").unwrap_or(30);
        let seed = number("SEED").unwrap_or_else(|| fastrand::u64(..));
        println!("{engine:?}: SEED={seed} STANDBY_SECONDS={seconds}");
        let mut moments = fastrand::Rng::with_seed(seed);
        let mut scene = Scene::new(engine, 3);
        assert!(scene.goes_on(), "{}", scene.outputs());
        scene.store.run(HISTORY[usize::from(engine == Engine::Postgres)]);

        let begun = Instant::now();
        let mut faults = BTreeMap::new();
        // Each once, whatever the length; then at random.
        let each = [Fault::Stop(LONG), Fault::Cut, Fault::Kill, Fault::Server, Fault::Hold(LONG)];
        let mut next = each.into_iter();
        loop {
            let length = Duration::from_millis(moments.u64(500..14_000));
            let any = [Fault::Kill, Fault::Stop(length), Fault::Cut, Fault::Hold(length), Fault::Server];
            let fault = match next.next() {
                Some(fault) => fault,
                None if begun.elapsed() >= Duration::from_secs(seconds) => break,
                None => any[moments.usize(0..any.len())],
            };
            *faults.entry(format!("{fault:?}").chars().take_while(|c| c.is_alphabetic()).collect::<String>()).or_insert(0) += 1;
            scene.fault(fault);
            scene.pass(Duration::from_millis(moments.u64(500..3000)));
        }
        assert!(scene.goes_on(), "left alone it goes on:\n{}", scene.outputs());

        let requests = scene.endpoint.requests();
        let keys = scene.keys.lock().unwrap().clone();
        // A refresh token is known to be spent when its successor is durable; at the latest when the access token that
        // came with that is in the channel.
        let sent = |request: &support::endpoint::Request| request.parameters().remove("refresh_token").unwrap();
        let mut spent_at: BTreeMap<String, Instant> = BTreeMap::new();
        for request in &requests {
            if let Some(at) = request.granted.as_ref().and_then(|key| keys.get(key)) {
                spent_at.insert(sent(request), *at);
            }
        }
        let known_spent = |request: &&support::endpoint::Request| {
            spent_at.get(&sent(request)).is_some_and(|known| *known + LOOK < request.at)
        };
        let known = requests.iter().filter(known_spent).count();
        let reused: Vec<_> = requests.iter().filter(|request| request.reused).collect();
        // The strict server kills a family with its first spent token; nobody logs in before that has a name.
        let login = |at: Instant| scene.logins.iter().filter(|login| **login <= at).count() - 1;
        let dead: BTreeSet<usize> = reused.iter().map(|request| login(request.at)).collect();
        let named: BTreeSet<usize> = (0..scene.named).collect();
        let (owners, commits, longest) = judge_history(&scene.store);
        scene.done.store(true, Ordering::Relaxed);
        let gap = scene.watcher.take().unwrap().join().unwrap();
        println!("row 66, {engine:?}: {faults:?} in {:?}: {} refreshes, {} logins", begun.elapsed(), requests.len(), scene.logins.len());
        println!("row 66, {engine:?}: {owners} owners, {commits} transactions, of an owner that was replaced 0");
        println!("row 66, {engine:?}: spent refresh tokens sent {}, that the vault knew to be spent {known}", reused.len());
        println!("row 66, {engine:?}: families lost {}, named {}", dead.len(), named.len());
        println!("row 66, {engine:?}: longest time without a commit {longest:.1} s, without a new key {gap:.1?}");
        assert_no_secret("the agents", &scene.outputs().replace(&scene.store.dsn(), ""));
        assert_eq!(known, 0, "{}", scene.outputs());
        assert_eq!(dead, named, "every family that died is named, and no other");
        assert!(owners >= 3, "others took over:\n{}", scene.outputs());
        // One that holds an answer, of which the owner has not made up its mind yet, says so; any other ends well.
        for host in &mut scene.hosts {
            let mut process = host.process.take().unwrap();
            process.terminate();
            let exit = process.wait_exit(SOON).and_then(|exit| exit.code());
            let lost = process.lines_with("answers for kept that could not be saved are lost").len();
            assert_eq!(exit, Some(i32::from(lost > 0)), "{}", process.output());
        }
    }

    fn row_15_of_two_hosts_the_other_takes_over_when_one_dies(engine) {
        let mut scene = Scene::new(engine, 2);
        assert!(scene.goes_on(), "{}", scene.outputs());
        let first = scene.owner().unwrap();
        let other = scene.hosts[1 - first].process.as_ref().unwrap();
        assert!(other.wait_for_line("standing by", SOON).is_some(), "{}", other.output());
        let status = scene.hosts[1 - first].bench.run_command(&["status", "--json"]);
        let owner = format!("process {} on", scene.hosts[first].process.as_ref().unwrap().id());
        assert!(status.stdout.contains(&owner), "status on the other host names the owner: {status:?}");
        let check = scene.hosts[1 - first].bench.run_command(&["vault", "check"]);
        assert!(check.code == Some(0) && check.stdout.contains(&owner), "{check:?}");

        // All run on one host here, whose agent's socket does not answer; on another host that would be well.
        let health = scene.hosts[1 - first].bench.run_command(&["health"]);
        assert_eq!(health.code, Some(1), "{health:?}");
        scene.store.run("UPDATE one_api_sidecar_owner SET holder = 'process 1 on elsewhere'");
        let health = scene.hosts[1 - first].bench.run_command(&["health"]);
        assert_eq!(health.code, Some(0), "{health:?}");

        let died = Instant::now();
        scene.hosts[first].process.as_mut().unwrap().kill();
        assert!(eventually(SOON, || scene.owner() == Some(1 - first)), "{}", scene.outputs());
        println!("row 15, {engine:?}: taken over after {:?}", died.elapsed());
        assert!(scene.goes_on(), "{}", scene.outputs());
        let reset = scene.hosts[first].bench.run_command(&["vault", "reset", "--yes"]);
        assert_eq!(reset.code, Some(3), "{reset:?}");
        assert_no_secret("the commands", &format!("{status:?}{check:?}{reset:?}"));
    }

    fn an_owner_that_was_replaced_stands_by_and_does_not_stop(engine) {
        let mut scene = Scene::new(engine, 1);
        assert!(scene.goes_on(), "{}", scene.outputs());
        scene.hosts[0].process.take().unwrap().stop();
        let manager = Manager::of(&mut scene.hosts[0].bench);
        scene.hosts[0].process = Some(scene.hosts[0].bench.start());
        manager.wait_for("READY=1");
        scene.store.run("UPDATE one_api_sidecar_owner SET token = 'another', holder = 'process 1 on elsewhere'");
        // Whoever says that it stops is ended by its service manager soon.
        let heard = manager.hear("READY=1");
        assert!(!heard.iter().any(|message| message.contains("STOPPING")), "{heard:?}");
        assert!(scene.goes_on(), "{}", scene.outputs());
        scene.hosts[0].process.take().unwrap().stop();
        manager.wait_for("STOPPING=1");
    }

    fn a_server_that_refuses_for_a_moment_ends_no_stand_by(engine) {
        let mut scene = Scene::new(engine, 2);
        assert!(scene.goes_on(), "{}", scene.outputs());
        let standby = 1 - scene.owner().unwrap();
        let said = |scene: &Scene, words: &str| {
            scene.hosts[standby].process.as_ref().unwrap().wait_for_line(words, SOON).is_some()
        };
        assert!(said(&scene, "ready: standing by"), "{}", scene.outputs());
        let may_log_in = |scene: &Scene, may: bool| match engine {
            Engine::MariaDb => {
                let lock = if may { "UNLOCK" } else { "LOCK" };
                scene.store.server().administer(&format!("ALTER USER {USER}@'%' ACCOUNT {lock}"));
            }
            _ => {
                let login = if may { "LOGIN" } else { "NOLOGIN" };
                scene.store.server().administer(&format!("ALTER ROLE {USER} {login}"));
            }
        };
        may_log_in(&scene, false);
        scene.hosts.iter().for_each(|host| host.wire.cut());
        assert!(said(&scene, " refuses: "), "{}", scene.outputs());
        may_log_in(&scene, true);
        assert!(scene.goes_on(), "{}", scene.outputs());
        for host in &mut scene.hosts {
            assert!(host.process.as_mut().unwrap().is_running(), "{}", host.process.as_ref().unwrap().output());
        }
    }

    fn an_owner_that_was_replaced_goes_on_with_the_last_config_that_was_good(engine) {
        let mut scene = Scene::new(engine, 1);
        assert!(scene.goes_on(), "{}", scene.outputs());
        let host = &scene.hosts[0];
        let said = |words: &str| host.process.as_ref().unwrap().wait_for_line(words, SOON).is_some();
        host.bench.write_config(&scene.config().replace("channels       = [1]", "channels       = [2]"));
        assert!(said("config applied"), "{}", scene.outputs());
        host.bench.write_config("[[");
        assert!(said("config not taken"), "{}", scene.outputs());
        scene.store.run("UPDATE one_api_sidecar_owner SET token = 'another', holder = 'process 1 on elsewhere'");
        assert!(said("belongs to somebody else"), "{}", scene.outputs());
        let before = scene.endpoint.accepted_tokens().len();
        let is_fed = || scene.endpoint.accepted_tokens()[before..].contains(&database::channel(&scene.database(), 2).key);
        assert!(eventually(SOON, is_fed), "{}", scene.outputs());
    }
}
