//! The thread that owns a gateway: who asks is answered, writes are merged, strangers' writes are noticed.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use one_api_sidecar::channel::view::ChannelView;
use one_api_sidecar::config::plan::{ChannelSelect, GatewayKind};
use one_api_sidecar::finding::Finding;
use one_api_sidecar::gateway::sqlite::SqliteGateway;
use one_api_sidecar::gateway::thread::GatewayHandle;
use one_api_sidecar::gateway::{BATCH, Gateway, GatewayError, Place, Publication, Published, Trace};
use one_api_sidecar::reason::GatewayReason;
use one_api_sidecar::secret::Secret;
use support::gateway::{Database, key, publication, times_open};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

fn spawn(database: &Database) -> (GatewayHandle, UnboundedReceiver<()>) {
    let (changed, changes) = unbounded_channel();
    let gateway = Box::new(SqliteGateway::new(database.path().to_owned(), Arc::new(database.plan())));
    let handle = GatewayHandle::spawn(gateway, move || changed.send(()).unwrap_or(()));
    (handle, changes)
}

async fn look(handle: &GatewayHandle, id: i64) -> ChannelView {
    handle.observe(vec![ChannelSelect::Id(id)]).await.unwrap().remove(0)
}

/// Longer than two of the thread's watches.
const TWO_WATCHES: Duration = Duration::from_millis(4300);

#[tokio::test]
async fn a_strangers_write_is_noticed_and_our_own_is_not() {
    let database = Database::fixture("one-api.db");
    let (handle, mut changes) = spawn(&database);
    let view = look(&handle, 1).await;
    assert_eq!(handle.kind(), Some(GatewayKind::OneApi));
    handle.probe().await.unwrap();
    assert_eq!(handle.examine().await, []);
    assert_eq!(handle.list().await.unwrap().len(), 7);

    let published = handle.publish(vec![publication(&view, "new")]).await;
    assert!(published[0].is_ok());
    assert!(timeout(TWO_WATCHES, changes.recv()).await.is_err(), "woken by our own write");

    database.run("UPDATE channels SET key = 'by an admin' WHERE id = 1");
    timeout(TWO_WATCHES, changes.recv()).await.expect("a stranger wrote");
    assert!(timeout(TWO_WATCHES, changes.recv()).await.is_err(), "told once");
}

#[tokio::test]
async fn a_database_that_was_opened_is_closed_when_nobody_asks_for_anything() {
    let database = Database::fixture("one-api.db");
    let (handle, _changes) = spawn(&database);
    let view = look(&handle, 1).await;
    assert!(handle.publish(vec![publication(&view, "new")]).await[0].is_ok());
    look(&handle, 1).await;
    // Answered after that, and opens nothing.
    handle.place().await.unwrap();
    let closed = async {
        while times_open(database.path()) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Sooner than the thread has anything else to do.
    timeout(Duration::from_secs(1), closed).await.expect("closed");
}

#[tokio::test]
async fn looks_without_end_do_not_hide_that_a_stranger_wrote() {
    let database = Database::fixture("one-api.db");
    let (handle, mut changes) = spawn(&database);
    look(&handle, 1).await;
    database.run("UPDATE channels SET key = 'by an admin' WHERE id = 1");
    let look_on = async {
        loop {
            look(&handle, 1).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        change = timeout(2 * TWO_WATCHES, changes.recv()) => assert_eq!(change, Ok(Some(()))),
        () = look_on => {}
    }
}

#[tokio::test]
async fn row_22_and_23_a_database_that_appears_is_noticed() {
    let database = Database::absent();
    let (handle, mut changes) = spawn(&database);
    let missing = handle.list().await;
    assert!(matches!(missing, Err(GatewayError::Database(GatewayReason::Missing { .. }))), "{missing:?}");
    std::fs::rename(Database::fixture("one-api.db").path(), database.path()).unwrap();
    timeout(TWO_WATCHES, changes.recv()).await.expect("it appeared");
    assert_eq!(key(&look(&handle, 1).await), "fixture-access-token-1");
}

/// Answers each publication with its id for a waiting time; waits for leave before its first batch.
struct Scripted {
    leave: Receiver<()>,
    started: bool,
    batches: Arc<Mutex<Vec<usize>>>,
    ended: Sender<()>,
    watched: Arc<AtomicBool>,
    /// What was done, in order, besides looking.
    done: Sender<&'static str>,
    to_catch_up: usize,
    is_open: bool,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let _ = self.ended.send(());
    }
}

impl Gateway for Scripted {
    fn observe(&mut self, channels: &[ChannelSelect]) -> Result<Vec<ChannelView>, GatewayError> {
        assert!(!channels.is_empty(), "sentinel-in-a-panic");
        Ok(Vec::new())
    }

    fn list(&mut self) -> Result<Vec<ChannelView>, GatewayError> {
        Ok(Vec::new())
    }

    fn publish(&mut self, batch: &[Publication]) -> Vec<Result<Published, GatewayError>> {
        if !std::mem::replace(&mut self.started, true) {
            let _ = self.leave.recv();
        }
        self.batches.lock().unwrap().push(batch.len());
        let _ = self.done.send("publish");
        self.to_catch_up = 3;
        let waited = |publication: &Publication| Duration::from_millis(publication.id.unsigned_abs());
        let published = |publication| Published { reenabled: false, waited: waited(publication), held: Duration::ZERO };
        batch.iter().map(|publication| Ok(published(publication))).collect()
    }

    fn kind(&self) -> Option<GatewayKind> {
        None
    }

    fn place(&mut self) -> Option<Place> {
        None
    }

    fn probe(&mut self) -> Result<(), GatewayError> {
        Ok(())
    }

    fn trace(&self) -> Trace {
        Trace::default()
    }

    fn begin(&mut self) {
        let _ = self.done.send("begin");
    }

    fn expect(&mut self) {
        self.is_open = true;
        let _ = self.done.send("expect");
    }

    fn stays(&self) -> bool {
        self.is_open
    }

    fn leave(&mut self) {
        self.is_open = false;
        let _ = self.done.send("leave");
    }

    fn catch_up(&mut self) -> bool {
        if self.to_catch_up > 0 {
            self.to_catch_up -= 1;
            let _ = self.done.send("catch up");
        }
        self.to_catch_up > 0
    }

    fn changed(&mut self) -> bool {
        !self.watched.swap(true, Ordering::Relaxed)
    }

    fn examine(&mut self) -> Vec<Finding> {
        Vec::new()
    }
}

struct Script {
    handle: GatewayHandle,
    leave: Sender<()>,
    batches: Arc<Mutex<Vec<usize>>>,
    ended: Receiver<()>,
    done: Receiver<&'static str>,
}

fn scripted() -> Script {
    let (leave, granted) = channel();
    let (end, ended) = channel();
    let (doing, done) = channel();
    let batches = Arc::new(Mutex::new(Vec::new()));
    let gateway = Scripted {
        leave: granted,
        started: false,
        batches: Arc::clone(&batches),
        ended: end,
        watched: Arc::default(),
        done: doing,
        to_catch_up: 0,
        is_open: false,
    };
    let handle = GatewayHandle::spawn(Box::new(gateway), || {});
    Script { handle, leave, batches, ended, done }
}

fn keys(ids: std::ops::Range<i64>) -> Vec<Publication> {
    let key = |id| Publication {
        id,
        created_time: 0,
        expected: Some(Secret::new("old")),
        key: Secret::new("new"),
        reenable: false,
        gives_back: false,
    };
    ids.map(key).collect()
}

fn ids(answers: &[Result<Published, GatewayError>]) -> Vec<i64> {
    answers.iter().map(|answer| i64::try_from(answer.as_ref().unwrap().waited.as_millis()).unwrap()).collect()
}

#[tokio::test]
async fn what_waits_is_written_together_in_bounded_batches_and_each_gets_its_own_answers() {
    let script = scripted();
    // One of one key, one of 70, and thirty of one.
    let mut asks: Vec<_> = vec![(0, 1), (1, 71)];
    asks.extend((71..101).map(|id| (id, id + 1)));
    let asking: Vec<_> = asks
        .iter()
        .map(|&(from, to)| {
            let handle = script.handle.clone();
            tokio::spawn(async move { handle.publish(keys(from..to)).await })
        })
        .collect();
    tokio::task::yield_now().await; // Each has asked by now.
    script.leave.send(()).unwrap();
    for (asked, (from, to)) in asking.into_iter().zip(asks) {
        assert_eq!(ids(&asked.await.unwrap()), (from..to).collect::<Vec<_>>());
    }
    let batches = script.batches.lock().unwrap().clone();
    assert_eq!(batches.iter().sum::<usize>(), 101);
    assert!(batches.iter().all(|size| *size <= BATCH), "{batches:?}");
    assert!(batches.len() <= 5, "{batches:?}");
    assert_eq!(script.handle.publish(Vec::new()).await, []);
}

#[tokio::test]
async fn what_writes_left_to_do_is_done_after_the_answer_and_to_its_end_when_somebody_waits_for_it() {
    let script = scripted();
    script.handle.begin();
    script.leave.send(()).unwrap();
    // Two batches: nothing is caught up with while keys wait.
    let keys = keys(0..i64::try_from(BATCH).unwrap() + 1);
    assert_eq!(script.handle.publish(keys).await.len(), BATCH + 1);
    script.handle.settle().await;
    let done: Vec<&str> = script.done.try_iter().collect();
    assert_eq!(done, ["begin", "publish", "publish", "catch up", "catch up", "catch up"]);
}

#[tokio::test]
async fn what_is_opened_for_a_key_stays_open_as_long_as_a_request_may_take_and_no_longer() {
    let script = scripted();
    let begun = Instant::now();
    script.handle.expect();
    let done: Vec<_> = (0..2).map(|_| script.done.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
    assert_eq!(done, ["expect", "leave"]);
    assert!(begun.elapsed() > Duration::from_millis(500), "closed after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_panic_in_one_request_is_told_to_its_asker_and_the_next_is_served() {
    let script = scripted();
    let failed = script.handle.observe(Vec::new()).await;
    assert!(matches!(failed, Err(GatewayError::Database(GatewayReason::Failed { .. }))), "{failed:?}");
    assert!(!format!("{failed:?}").contains("sentinel"));
    assert_eq!(script.handle.observe(vec![ChannelSelect::Id(1)]).await, Ok(Vec::new()));
}

#[tokio::test]
async fn the_thread_ends_with_its_last_handle() {
    let Script { handle, ended, .. } = scripted();
    let other = handle.clone();
    drop(handle);
    other.probe().await.unwrap();
    drop(other);
    ended.recv_timeout(Duration::from_secs(5)).expect("the thread has dropped its gateway");
}
