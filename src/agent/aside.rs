//! The thread that requests to token endpoints are made on.
//!
//! Thousands of them at once keep a thread busy. The loop must not wait behind them: a key that was obtained would be
//! delivered late. What crosses between threads crosses together: each crossing wakes a thread, which costs as much as a
//! good part of a request.

use std::pin::Pin;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};

use crate::vault::VaultHandle;
use crate::vault::thread::Relay;

/// What the thread is told.
pub enum Errand {
    /// This is a request's whole life.
    Fly(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// This one may leave now.
    Leave(oneshot::Sender<()>),
}

impl Errand {
    /// Within the runtime that requests are made on.
    fn run(self) {
        match self {
            Self::Fly(flight) => drop(tokio::spawn(flight)),
            // If it is gone, it says so itself.
            Self::Leave(leave) => drop(leave.send(())),
        }
    }
}

/// Runs errands on a thread of its own, from the first one on.
#[derive(Default)]
pub struct Aside {
    thread: Option<Thread>,
    /// Until [`Aside::send`].
    errands: Vec<Errand>,
}

struct Thread {
    /// The thread ends when this is dropped.
    errands: mpsc::UnboundedSender<Vec<Errand>>,
    relay: Relay,
}

impl Aside {
    /// Notes an errand.
    pub fn note(&mut self, errand: Errand) {
        self.errands.push(errand);
    }

    /// Sends what was noted on its way. If the system gives no thread, that is the caller's own.
    pub fn send(&mut self) {
        if self.errands.is_empty() {
            return;
        }
        let errands = std::mem::take(&mut self.errands);
        let left = match self.thread() {
            Some(thread) => thread.errands.send(errands).map_err(|refused| refused.0).err(),
            None => Some(errands),
        };
        left.into_iter().flatten().for_each(Errand::run);
    }

    /// The vault, as requests ask it from their thread.
    pub fn vault(&mut self, vault: &VaultHandle) -> VaultHandle {
        self.thread().map_or_else(|| vault.clone(), |thread| vault.through(&thread.relay))
    }

    fn thread(&mut self) -> Option<&Thread> {
        if self.thread.is_none() {
            match Thread::start() {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => tracing::debug!(%error, "no thread for requests"),
            }
        }
        self.thread.as_ref()
    }
}

impl Thread {
    fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let relay = Relay::on(runtime.handle());
        let (errands, mut noted) = mpsc::unbounded_channel::<Vec<Errand>>();
        let run = async move {
            while let Some(errands) = noted.recv().await {
                errands.into_iter().for_each(Errand::run);
            }
        };
        std::thread::Builder::new().name("requests".to_owned()).spawn(move || runtime.block_on(run))?;
        Ok(Self { errands, relay })
    }
}
