//! A gateway's database with as many channels as wanted, a config that feeds them, and the agent beside it.

use std::collections::HashMap;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use one_api_sidecar::time::{Clock, SystemClock};
use rusqlite::Connection;

use crate::endpoint::Endpoint;
use crate::process::Agent;

/// The id of the first channel that is fed; the fixture has its own below.
pub const FIRST_CHANNEL: i64 = 1001;

/// One folder with everything in it, gone when it is dropped.
pub struct Scene {
    folder: tempfile::TempDir,
    /// How many credentials.
    pub size: usize,
    /// The token endpoint.
    pub endpoint: Endpoint,
    in_flight: usize,
    edits: u64,
    notifier: bool,
}

impl Scene {
    /// A gateway with so many channels, none fed yet.
    pub fn new(size: usize) -> Self {
        let folder = tempfile::TempDir::new_in(place()).unwrap();
        let scene = Self { folder, size, endpoint: Endpoint::start(size), in_flight: 64, edits: 0, notifier: false };
        copy_gateway(&scene.gateway(), size);
        // Not beside the databases, as with docker compose: whoever watches it is not woken by every write.
        std::fs::create_dir(scene.folder.path().join("config")).unwrap();
        scene.write_config();
        scene
    }

    /// Where the gateway's database is.
    pub fn gateway(&self) -> PathBuf {
        self.folder.path().join("one-api.db")
    }

    /// Where the vault is.
    pub fn vault(&self) -> PathBuf {
        self.folder.path().join("vault.db")
    }

    /// Where the config is.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("config/sidecar.toml")
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How many refreshes at once, in all and at the one host.
    pub fn set_in_flight(&mut self, in_flight: usize) {
        self.in_flight = in_flight;
        self.write_config();
    }

    /// Tells a webhook of each refresh, as the script of old does.
    pub fn tell_of_refreshes(&mut self) {
        self.notifier = true;
        self.write_config();
    }

    /// Changes one credential, as a person would with an editor that renames.
    pub fn edit(&mut self) {
        self.edits += 1;
        self.write_config();
    }

    fn write_config(&self) {
        let mut text = format!(
            "[gateway]\ndatabase = {:?}\ncache_lag = \"0s\"\n\n[vault]\npath = {:?}\n\n\
             [agent]\nmax_in_flight = {flight}\nmax_in_flight_per_host = {flight}\n",
            self.gateway().display().to_string(),
            self.vault().display().to_string(),
            flight = self.in_flight,
        );
        if self.notifier {
            let url = self.endpoint.url();
            let _ = write!(text, "\n[[notify]]\ntype = \"webhook\"\nurl = {url:?}\nevents = [\"all\"]\n");
        }
        for credential in 0..self.size {
            let edited = if credential == 0 { self.edits } else { 0 };
            let _ = write!(
                text,
                "\n[[credential]]\nname = \"{}\"\ntoken_url = {:?}\nclient_id = \"bench\"\n\
                 refresh_token = {{ value = {:?} }}\nrefresh_before = \"{}s\"\nchannels = [{}]\n",
                name(credential),
                self.endpoint.url(),
                format!("rt-{credential}-0-{}", "x".repeat(43)).chars().take(43).collect::<String>(),
                3600 + edited,
                channel(credential),
            );
        }
        let beside = self.folder.path().join("config/sidecar.toml.new");
        std::fs::write(&beside, text).unwrap();
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(beside, self.config()).unwrap();
    }

    /// Starts the agent with as many descriptors as the system's default gives.
    pub fn start(&self) -> Agent {
        Agent::start(&self.config(), &self.vault(), 1024)
    }

    /// Starts it, waits until each credential has its first key, and stops it.
    pub fn deliver_everything(&self) {
        let agent = self.start();
        self.wait_until_delivered();
        agent.stop();
    }

    /// While no agent runs, in a vault that is not sealed (its secrets begin with a zero): lets every key be due since long, each with some minutes to live, soonest dead first in
    /// reverse order of the config.
    pub fn make_everything_due(&self) {
        let now = SystemClock.now().as_millis();
        let vault = connect(&self.vault());
        let changed = vault
            .execute(
                "UPDATE record SET access = CAST(x'00' || json_set(CAST(substr(access, 2) AS TEXT), '$.issued_at', ?1, '$.expires_at', ?2 - id) AS BLOB)",
                (now - 86_400_000, now + 600_000),
            )
            .unwrap();
        assert_eq!(changed, self.size);
        self.endpoint.forget_times();
    }

    /// Waits until every channel holds the endpoint's current key.
    pub fn wait_until_delivered(&self) {
        let began = std::time::Instant::now();
        while self.undelivered() > 0 {
            assert!(began.elapsed() < Duration::from_secs(120), "{} keys do not arrive", self.undelivered());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How many channels do not hold the endpoint's current key, or hold the one from before all.
    pub fn undelivered(&self) -> usize {
        self.missing(&connect(&self.gateway()), (0..self.size).collect()).len()
    }

    /// Those of these credentials whose channels do not hold the endpoint's current key.
    pub fn missing(&self, gateway: &Connection, credentials: Vec<usize>) -> Vec<usize> {
        let ids: Vec<String> = credentials.iter().map(|credential| channel(*credential).to_string()).collect();
        let mut look = gateway
            .prepare_cached("SELECT id, key FROM channels WHERE id IN (SELECT value FROM json_each(?1))")
            .unwrap();
        let rows = look.query_map([format!("[{}]", ids.join(","))], |row| Ok((row.get(0)?, row.get(1)?)));
        let keys: HashMap<i64, String> = rows.unwrap().map(Result::unwrap).collect();
        assert_eq!(keys.len(), credentials.len());
        let is_missing = |credential: &usize| keys[&channel(*credential)] != self.endpoint.access_token(*credential);
        credentials.into_iter().filter(is_missing).collect()
    }

    /// How many of the endpoint's current refresh tokens are not in the vault.
    pub fn not_durable(&self) -> usize {
        let connection = connect(&self.vault());
        let mut statement =
            connection.prepare("SELECT name, CAST(substr(refresh_token, 2) AS TEXT) FROM record").unwrap();
        let held = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let held: HashMap<String, String> = held.map(Result::unwrap).collect();
        (0..self.size).filter(|at| held.get(&name(*at)) != Some(&self.endpoint.refresh_token(*at))).count()
    }
}

/// The name of a credential.
pub fn name(credential: usize) -> String {
    format!("c{credential:05}")
}

/// The channel of a credential.
pub fn channel(credential: usize) -> i64 {
    FIRST_CHANNEL + i64::try_from(credential).unwrap()
}

/// Where the databases are made: in the folder of the build and not in /tmp, which may be in memory.
pub fn place() -> PathBuf {
    std::env::var_os("PERFORMANCE_DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into()).into()
}

/// Opened as the gateway opens it.
pub fn connect(database: &Path) -> Connection {
    let connection = Connection::open(database).unwrap();
    connection.busy_timeout(Duration::from_secs(3)).unwrap();
    connection
}

/// A copy of a real gateway's database, with so many channels more, abilities and all.
pub fn copy_gateway(to: &Path, channels: usize) {
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/one-api.db"), to).unwrap();
    let connection = connect(to);
    connection
        .execute_batch(
            "CREATE TEMP TABLE channel AS SELECT * FROM channels WHERE id = 1;
             CREATE TEMP TABLE ability AS SELECT * FROM abilities WHERE channel_id = 1;
             BEGIN",
        )
        .unwrap();
    for id in (0..channels).map(channel) {
        let key = format!("before-{id}");
        connection.prepare_cached("UPDATE channel SET id = ?1, key = ?2").unwrap().execute((id, key)).unwrap();
        connection.prepare_cached("UPDATE ability SET channel_id = ?1").unwrap().execute([id]).unwrap();
        connection.prepare_cached("INSERT INTO channels SELECT * FROM channel").unwrap().execute([]).unwrap();
        connection.prepare_cached("INSERT INTO abilities SELECT * FROM ability").unwrap().execute([]).unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
}
