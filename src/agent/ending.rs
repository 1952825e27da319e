//! How a run ends: nothing new starts, what was sent is awaited and saved, keys and messages that are on their way get a
//! moment.

use std::time::Duration;

use crate::agent::control::Passes;
use crate::agent::held::Held;
use crate::agent::{Agent, Mode, Report};
use crate::reason::AgentReason;
use crate::time::Timestamp;

/// How long a shutdown waits for keys to be delivered, after what was sent is saved, and then for gateways to be told.
const LAST_DELIVERY: Duration = Duration::from_secs(2);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// What was sent was awaited and saved.
    Saved,
    /// Asked twice to stop, it did not wait.
    Abandoned,
    /// Somebody else owns the vault now. What came meanwhile is in [`Agent::close`]'s hands.
    Displaced,
}

impl Agent {
    /// Does what is left to do after the last turn of the loop.
    pub(super) async fn end(&mut self) -> Ending {
        if !self.abandoned {
            self.settle_gateways().await;
        }
        self.passes = Passes::default();
        if self.mode == Mode::Once
            && let Some(change) = self.courier.flush(&self.plan, self.now())
        {
            self.shared.vault.commit_soon(vec![change]);
        }
        if !self.abandoned {
            self.send_last_messages().await;
        }
        // Whoever asks from now on, or has no answer yet, learns that it is ending.
        self.inbox.close();
        while self.inbox.try_recv().is_ok() {}
        if let Some(socket) = self.socket.take() {
            socket.close().await;
        }
        match (self.abandoned, self.displaced) {
            (true, _) => Ending::Abandoned,
            (false, true) => Ending::Displaced,
            (false, false) => Ending::Saved,
        }
    }

    /// Lets gateways hear of the keys that were written. One that cannot is left to the next start.
    async fn settle_gateways(&self) {
        let told = self.rooms.values().filter(|room| room.plan.api.is_some());
        let settled = told.map(|room| room.handle.settle());
        let _ = tokio::time::timeout(LAST_DELIVERY, futures_util::future::join_all(settled)).await;
    }

    /// Lets the notifiers finish, and remembers what they did not get rid of.
    async fn send_last_messages(&mut self) {
        let mut sent = Vec::new();
        {
            let mut finished = std::pin::pin!(self.courier.shutdown());
            loop {
                tokio::select! {
                    () = &mut finished => break,
                    // Any other report is dropped: who asked something learns by that that it is ending.
                    Some(report) = self.inbox.recv() => if let Report::Sent(report) = report {
                        sent.push(report);
                    },
                }
            }
        }
        while let Ok(report) = self.inbox.try_recv() {
            if let Report::Sent(report) = report {
                sent.push(report);
            }
        }
        for report in sent {
            self.sent(&report);
        }
        self.shared.vault.commit_soon(self.courier.state().into_iter().collect());
    }

    /// Whether nothing is left to wait for. Keys that are on their way get a moment, from `last_call` on; what waits
    /// longer is left to the next start.
    pub(super) fn has_ended(&self, last_call: &mut Option<Timestamp>) -> bool {
        let ending = self.stopping || self.mode == Mode::Once && self.passes.is_empty();
        let is_idle = || self.flights.is_empty() && !self.active.values().any(|active| active.in_flight);
        if !ending || !is_idle() {
            *last_call = None;
            return false;
        }
        let deadline = *last_call.get_or_insert(self.now() + LAST_DELIVERY);
        self.now() >= deadline || !self.rooms.values().any(|room| room.busy)
    }

    /// Says what is lost by not waiting.
    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
        let in_flight = self.active.values().filter(|active| active.in_flight);
        let mut credentials: Vec<String> = in_flight.map(|active| active.plan.name.to_string()).collect();
        credentials.sort();
        tracing::error!("{}", self.words(&AgentReason::Abandoned { credentials }.into(), "NAME"));
    }

    /// Ends: the vault's thread commits what waits. Answers that it may not take, because the vault is another's, are
    /// handed over to whoever stands by.
    pub fn close(self) -> Vec<Held> {
        self.vault.close();
        self.held
    }

    /// Nothing new starts from now on.
    pub(super) fn stop_starting(&mut self) {
        self.stopping = true;
        self.queue.clear();
        self.flights.close();
    }
}
