//! A gateway: One-API's tables in a database of its own, and a steady stream of requests with the keys in them.
//!
//! Reads the key for each request, as One-API does without its memory cache. Never writes a key: that is the
//! agent's part.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use super::Event;

/// What the channels hold before the agent comes; requests with these are not counted.
const DEAD_KEYS: [&str; 2] = ["dead-key-1", "dead-key-2"];

/// Between two requests of a channel.
const REQUEST_INTERVAL: Duration = Duration::from_millis(30);

/// Between two looks for a new key: how finely "answer → key visible" is measured.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// How long One-API itself waits for a lock (its `SQLITE_BUSY_TIMEOUT`).
const BUSY_TIMEOUT: Duration = Duration::from_millis(3000);

/// One-API's tables as its commit 8df4a26 makes them.
const TABLES: &str = r#"
CREATE TABLE `channels` (`id` integer,`type` integer DEFAULT 0,`key` text,`status` integer DEFAULT 1,`name` text,
  `weight` integer DEFAULT 0,`created_time` integer,`test_time` integer,`response_time` integer,
  `base_url` text DEFAULT "",`other` text,`balance` real,`balance_updated_time` integer,`models` text,
  `group` varchar(32) DEFAULT "default",`used_quota` integer DEFAULT 0,`model_mapping` varchar(1024) DEFAULT "",
  `priority` integer DEFAULT 0,`config` text,`system_prompt` text,PRIMARY KEY (`id`));
CREATE INDEX `idx_channels_name` ON `channels`(`name`);
CREATE TABLE `abilities` (`group` varchar(32),`model` text,`channel_id` integer,`enabled` numeric,
  `priority` integer DEFAULT 0,PRIMARY KEY (`group`,`model`,`channel_id`));
CREATE INDEX `idx_abilities_priority` ON `abilities`(`priority`);
CREATE INDEX `idx_abilities_channel_id` ON `abilities`(`channel_id`);
"#;

/// Creates the database with two channels whose keys are dead; the gateway has disabled the second one already.
pub(super) fn create(database: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(database)?;
    connection.execute_batch(TABLES)?;
    for (id, status, name, key) in [(1, 1, "main", DEAD_KEYS[0]), (2, 3, "spare", DEAD_KEYS[1])] {
        connection.execute(
            "INSERT INTO channels (id, type, key, status, name, created_time, base_url, models)
             VALUES (?1, 50, ?2, ?3, ?4, unixepoch(), 'http://127.0.0.1', 'demo-model')",
            (id, key, status, name),
        )?;
        connection.execute(
            "INSERT INTO abilities (`group`, model, channel_id, enabled) VALUES ('default', 'demo-model', ?1, ?2)",
            (id, status == 1),
        )?;
    }
    Ok(())
}

/// A channel that requests are routed to, and its key.
struct Enabled {
    channel: i64,
    key: String,
}

impl Enabled {
    fn was_delivered(&self) -> bool {
        !DEAD_KEYS.contains(&self.key.as_str())
    }
}

/// The channels that One-API would route to: status 1 and an ability switched on.
fn enabled_channels(database: &Path) -> rusqlite::Result<Vec<Enabled>> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let mut statement = connection.prepare(
        "SELECT id, key FROM channels WHERE status = 1
         AND EXISTS (SELECT 1 FROM abilities WHERE channel_id = channels.id AND enabled = 1)",
    )?;
    let rows = statement.query_map([], |row| Ok(Enabled { channel: row.get(0)?, key: row.get(1)? }))?;
    rows.collect()
}

async fn look(database: &Path) -> Vec<Enabled> {
    let database = database.to_owned();
    let looked = tokio::task::spawn_blocking(move || enabled_channels(&database)).await;
    // A look that failed is as good as no look: the next one comes in a moment, and a gateway that cannot read its
    // database serves nothing, which the counts show.
    looked.ok().and_then(Result::ok).unwrap_or_default()
}

/// Starts the gateway's tasks; dropping them stops it.
pub(super) fn start(database: PathBuf, model_endpoint: SocketAddr, events: UnboundedSender<Event>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(watch_keys(database.clone(), events.clone()));
    tasks.spawn(send_requests(database, model_endpoint, events));
    tasks
}

async fn watch_keys(database: PathBuf, events: UnboundedSender<Event>) {
    let mut seen: HashMap<i64, String> = HashMap::new();
    loop {
        for row in look(&database).await.into_iter().filter(Enabled::was_delivered) {
            if seen.get(&row.channel) != Some(&row.key) {
                seen.insert(row.channel, row.key.clone());
                let _ = events.send(Event::KeyVisible { channel: row.channel, key: row.key, at: Instant::now() });
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

async fn send_requests(database: PathBuf, model_endpoint: SocketAddr, events: UnboundedSender<Event>) {
    // Plain http on this machine: certificates are not looked for, which an empty image does not have.
    let client = match reqwest::Client::builder().no_proxy().tls_certs_only([]).build() {
        Ok(client) => client,
        Err(_) => return, // nothing is served then, which the demo reports as a failure
    };
    let url = format!("http://{model_endpoint}/v1/chat/completions");
    let mut ticks = tokio::time::interval(REQUEST_INTERVAL);
    loop {
        ticks.tick().await;
        for row in look(&database).await {
            let counts = row.was_delivered();
            let answer = client.post(&url).bearer_auth(&row.key).send().await;
            if counts {
                let served = answer.is_ok_and(|answer| answer.status().is_success());
                let _ = events.send(Event::Request { served });
            }
        }
    }
}
