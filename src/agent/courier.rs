//! Takes events to people: what the notify policy says is due goes to the notifiers' own tasks; nobody waits for them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::agent::Report;
use crate::config::plan::Plan;
use crate::credential::event::Event;
use crate::messages;
use crate::notify::policy::{GATHER, Policy, Recipient};
use crate::notify::sender::{Resolve, SendReport, Sender};
use crate::secrets;
use crate::time::Timestamp;
use crate::vault::Change;

/// Reports of notifiers that may wait for the agent.
const REPORTS: usize = 64;

/// The notify policy and the notifiers' tasks.
pub struct Courier {
    policy: Policy,
    senders: HashMap<Arc<str>, Sender>,
    reports: mpsc::Sender<SendReport>,
    /// Where the relative paths of the notifiers' secrets start from: the config file's.
    directory: PathBuf,
    changed: bool,
}

impl Courier {
    /// A courier that remembers what was told before; notifiers come with [`Courier::replace`].
    pub fn new(remembered: Option<&str>, directory: PathBuf, inbox: mpsc::UnboundedSender<Report>) -> Self {
        // State of another version is worth less than telling again.
        let policy = remembered.and_then(|state| serde_json::from_str(state).ok()).unwrap_or_default();
        let (reports, mut incoming) = mpsc::channel(REPORTS);
        tokio::spawn(async move {
            while let Some(report) = incoming.recv().await {
                if inbox.send(Report::Sent(report)).is_err() {
                    return;
                }
            }
        });
        Self { policy, senders: HashMap::new(), reports, directory, changed: false }
    }

    /// Takes over the plan's notifiers; what the former ones are sending, they finish.
    pub fn replace(&mut self, plan: &Plan) {
        for (_, sender) in self.senders.drain() {
            tokio::spawn(sender.shutdown());
        }
        let directory = self.directory.clone();
        let resolve: Resolve = Arc::new(move |source| {
            let source = source.within(&directory);
            Box::pin(async move { secrets::fetch(&source).await })
        });
        for notifier in &plan.notifiers {
            let sender = Sender::spawn(Arc::clone(notifier), Arc::clone(&resolve), self.reports.clone());
            self.senders.insert(Arc::clone(&notifier.name), sender);
        }
    }

    /// Takes note of an event.
    pub fn tell(&mut self, event: &Event) {
        self.policy.tell(event);
        self.changed = true;
    }

    /// Hands over what is due; returns what is to be remembered, if that changed.
    pub fn deliver(&mut self, plan: &Plan, now: Timestamp) -> Option<Change> {
        if !self.changed && self.policy.wake().is_none_or(|wake| wake > now) {
            return None;
        }
        let recipients: Vec<Recipient<'_>> = plan.notifiers.iter().map(|notifier| (&**notifier).into()).collect();
        let due = self.policy.due(now, &recipients);
        for outgoing in &due {
            if let Some(sender) = self.senders.get(&*outgoing.notifier) {
                sender.try_send(messages::notice(plan.language, &outgoing.events, now));
            }
        }
        let remember = std::mem::take(&mut self.changed) || !due.is_empty();
        remember.then(|| serde_json::to_string(&self.policy).ok().map(Change::Notices)).flatten()
    }

    /// Hands over what would wait for others like it: nothing more comes.
    pub fn flush(&mut self, plan: &Plan, now: Timestamp) -> Option<Change> {
        self.changed = true;
        self.deliver(plan, now + GATHER)
    }

    /// When there is something to hand over next.
    pub fn wake(&self) -> Option<Timestamp> {
        self.policy.wake()
    }

    /// Lets what is under way finish, for a few seconds.
    pub async fn shutdown(&mut self) {
        futures_util::future::join_all(self.senders.drain().map(|(_, sender)| sender.shutdown())).await;
    }
}
