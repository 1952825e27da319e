//! The thread that requests to token endpoints are made on.
//!
//! Thousands of them at once keep a thread busy. The loop must not wait behind them: a key that was obtained would be
//! delivered late.

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Runs tasks on a thread of its own, from the first one on.
#[derive(Default)]
pub struct Aside(Option<Thread>);

struct Thread {
    tasks: Handle,
    /// Ends the thread when it is dropped.
    _alive: oneshot::Sender<()>,
}

impl Aside {
    /// Where to spawn them. If the system gives no thread, that is the caller's own.
    pub fn handle(&mut self) -> Handle {
        if self.0.is_none() {
            match Thread::start() {
                Ok(thread) => self.0 = Some(thread),
                Err(error) => {
                    tracing::debug!(%error, "no thread for requests");
                    return Handle::current();
                }
            }
        }
        self.0.as_ref().map_or_else(Handle::current, |thread| thread.tasks.clone())
    }
}

impl Thread {
    fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let tasks = runtime.handle().clone();
        let (alive, ended) = oneshot::channel::<()>();
        let run = move || drop(runtime.block_on(ended));
        std::thread::Builder::new().name("requests".to_owned()).spawn(run)?;
        Ok(Self { tasks, _alive: alive })
    }
}
