//! A gateway-like pool of writers while everything is refreshed: what it feels of our writes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::scene::{Scene, connect, copy_gateway};
use crate::storm::{Storm, storm};
use crate::support::Spread;

/// How long a writer waits for the upstream's answer that it then accounts for.
const UPSTREAM: Duration = Duration::from_millis(20);

/// What a pool came to.
#[derive(Default)]
pub struct Pool {
    /// How long each transaction took, the waiting for its lock included.
    pub took: Spread,
    /// Transactions.
    pub writes: usize,
    /// How many of them ended with "database is locked".
    pub locked: usize,
}

impl Pool {
    /// How many of a thousand transactions were locked out.
    pub fn locked_of_1000(&self) -> f64 {
        self.locked as f64 * 1000.0 / self.writes.max(1) as f64
    }

    /// The standard error of that: rare cases that are counted scatter by the root of their number.
    pub fn error_of_1000(&self) -> f64 {
        (self.locked as f64).sqrt() * 1000.0 / self.writes.max(1) as f64
    }
}

/// One size of pool under three skies.
pub struct Beside {
    pub writers: usize,
    /// Nothing else goes on.
    pub alone: Pool,
    /// Everything is refreshed, and the keys go into another database.
    pub elsewhere: Pool,
    /// Everything is refreshed, and the keys go into the pool's own database.
    pub here: Pool,
    /// What the storm came to there.
    pub storm: Storm,
}

/// Measures a pool alone, beside a storm that writes elsewhere, and beside one that writes into its own database; as
/// often as wanted, in turn.
pub fn measure(scene: &Scene, writers: usize, rounds: usize) -> Beside {
    let other = scene.folder().join("other.db");
    copy_gateway(&other, scene.size);
    let empty = Pool::default;
    let mut beside = Beside { writers, alone: empty(), elsewhere: empty(), here: empty(), storm: Storm::default() };
    for _ in 0..rounds {
        let storm_elsewhere = beside.elsewhere.run(&other, writers, || storm(scene, false));
        let length = storm_elsewhere.lasted;
        beside.alone.run(&other, writers, || std::thread::sleep(length));
        beside.storm = beside.here.run(&scene.gateway(), writers, || storm(scene, false));
    }
    beside
}

impl Pool {
    /// Adds what a pool comes to while something else is done.
    fn run<T>(&mut self, database: &Path, writers: usize, meanwhile: impl FnOnce() -> T) -> T {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let pool: Vec<_> = (0..writers).map(|_| scope.spawn(|| write_until(&is_over, database))).collect();
            let outcome = meanwhile();
            is_over.store(true, Ordering::Relaxed);
            for writer in pool {
                let (took, locked) = writer.join().unwrap();
                self.writes += took.len();
                self.locked += locked;
                took.into_iter().for_each(|took| self.took.add(took));
            }
            outcome
        })
    }
}

/// The five transactions of a request, again and again, each deferred as gorm makes it.
fn write_until(is_over: &AtomicBool, database: &Path) -> (Vec<Duration>, usize) {
    const WRITES: [&str; 5] = [
        "UPDATE users SET quota = quota - 1 WHERE id = 1",
        "UPDATE tokens SET remain_quota = remain_quota - 1, used_quota = used_quota + 1 WHERE id = 1",
        "INSERT INTO logs (user_id, created_at, type, content) VALUES (1, 1, 2, 'a request')",
        "UPDATE users SET used_quota = used_quota + 1, request_count = request_count + 1 WHERE id = 1",
        "UPDATE channels SET used_quota = used_quota + 1 WHERE id = 1",
    ];
    let connection = connect(database);
    let (mut took, mut locked) = (Vec::new(), 0);
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(UPSTREAM);
        for write in WRITES {
            let began = Instant::now();
            if let Err(error) = connection.execute_batch(&format!("BEGIN; {write}; COMMIT")) {
                assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy), "{error}");
                if !connection.is_autocommit() {
                    connection.execute_batch("ROLLBACK").unwrap();
                }
                locked += 1;
            }
            took.push(began.elapsed());
        }
    }
    (took, locked)
}
