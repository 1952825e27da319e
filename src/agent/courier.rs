//! Takes events to people: what the notify policy says is due goes to the notifiers' own tasks; nobody waits for them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::agent::Report;
use crate::config::plan::Plan;
use crate::credential::event::{ChannelName, Event, Topic};
use crate::messages;
use crate::notify::policy::{Policy, Recipient};
use crate::notify::sender::{FAREWELL, Resolve, SendReport, Sender};
use crate::reason::NotifierReason;
use crate::secrets;
use crate::time::Timestamp;
use crate::vault::Change;

/// What is remembered is written at once, and then not again for so long: in a bad night of ten thousand credentials it
/// is large, and changes with each of them. A crash in between is mended by what stands in the records.
const REMEMBER_EVERY: Duration = Duration::from_secs(1);

/// Reports of notifiers that may wait for the agent.
const REPORTS: usize = 64;

/// The notify policy and the notifiers' tasks.
pub struct Courier {
    policy: Policy,
    senders: HashMap<Arc<str>, Sender>,
    /// How often the senders were replaced, and what that was when each notifier got the message that is under way.
    generation: u64,
    carrying: HashMap<String, u64>,
    /// Where notifiers report to; nobody does after the shutdown.
    reports: Option<mpsc::Sender<SendReport>>,
    /// Hands their reports on to the agent.
    relay: Option<JoinHandle<()>>,
    /// Where the relative paths of the notifiers' secrets start from: the config file's.
    directory: PathBuf,
    /// Something was told since the policy was asked what is due.
    changed: bool,
    /// When the policy has something to do next, as far as it said; not asked again until it is told something.
    wake: Option<Timestamp>,
    /// Something is to be remembered that was not written yet.
    unwritten: bool,
    /// When it was written last.
    written_at: Timestamp,
}

impl Courier {
    /// A courier that remembers what was told before; notifiers come with [`Courier::replace`].
    pub fn new(remembered: Option<&str>, directory: PathBuf, inbox: mpsc::UnboundedSender<Report>) -> Self {
        let (reports, mut incoming) = mpsc::channel(REPORTS);
        let relay = tokio::spawn(async move {
            while let Some(report) = incoming.recv().await {
                if inbox.send(Report::Sent(report)).is_err() {
                    return;
                }
            }
        });
        let (reports, relay) = (Some(reports), Some(relay));
        let policy = Policy::remembered(remembered).resumed();
        let wake = policy.wake();
        Self {
            policy,
            senders: HashMap::new(),
            generation: 0,
            carrying: HashMap::new(),
            reports,
            relay,
            directory,
            changed: false,
            wake,
            unwritten: false,
            written_at: Timestamp::EPOCH,
        }
    }

    /// Takes over the plan's notifiers; what the former ones are sending, they finish.
    pub fn replace(&mut self, plan: &Plan) {
        let Some(reports) = &self.reports else { return };
        let generation = self.generation;
        for (notifier, sender) in self.senders.drain() {
            let reports = reports.clone();
            tokio::spawn(async move {
                if !sender.shutdown().await {
                    let error = "it was given up for the new config".into();
                    let outcome = Err(NotifierReason::Unreachable { error }.into());
                    // The agent is gone when nobody listens.
                    let _ = reports.send(SendReport { notifier, generation, outcome }).await;
                }
            });
        }
        self.generation += 1;
        // What was wrong with a notifier may just have been corrected.
        self.policy.try_again();
        self.changed = true;
        let directory = self.directory.clone();
        let resolve: Resolve = Arc::new(move |source| {
            let source = source.within(&directory);
            Box::pin(async move { secrets::fetch(&source).await })
        });
        for notifier in &plan.notifiers {
            let sender = Sender::spawn(Arc::clone(notifier), self.generation, Arc::clone(&resolve), reports.clone());
            self.senders.insert(Arc::clone(&notifier.name), sender);
        }
    }

    /// Takes note of an event. What only some want to hear of is no event where nobody does.
    pub fn tell(&mut self, plan: &Plan, event: &Event) {
        let is_wanted = || plan.notifiers.iter().any(|notifier| notifier.events.contains(&event.topic));
        if matches!(event.topic, Topic::Refreshed | Topic::Reenabled | Topic::Started) && !is_wanted() {
            return;
        }
        self.policy.tell(event);
        self.changed = true;
    }

    /// The wall clock was set: what was to be done when may be due now, or not yet.
    pub fn clock_was_set(&mut self) {
        self.changed = true;
    }

    /// The trouble that stands with the subject of this event.
    pub fn standing(&self, like: &Event) -> Option<&Event> {
        self.policy.standing(like)
    }

    /// Nobody is reminded of a channel's trouble any more, nor told of its end.
    pub fn forget(&mut self, channel: &ChannelName) {
        let address = Some(channel.address());
        self.policy.forget(|event| event.channel.as_ref().map(ChannelName::address) == address);
        self.changed = true;
    }

    /// What is remembered of telling, and of each notifier.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Takes note of what became of a message; returns an event if that is one. What a sender did not get rid of that
    /// was replaced since says nothing of the one that has its place: that one tries it.
    pub fn settled(&mut self, report: &SendReport, now: Timestamp) -> Option<Event> {
        let carried = self.carrying.remove(&*report.notifier)?;
        self.changed = true;
        if carried != report.generation {
            // Of a message before this one, whose fate was told already.
            self.carrying.insert(report.notifier.to_string(), carried);
            return None;
        }
        if carried != self.generation && report.outcome.is_err() {
            self.policy.give_back(&report.notifier);
            return None;
        }
        self.policy.settled(&report.notifier, &report.outcome, now)
    }

    /// What is to be remembered.
    pub fn state(&self) -> Option<Change> {
        serde_json::to_string(&self.policy).ok().map(Change::Notices)
    }

    /// Hands over what is due; returns what is to be remembered, if that changed.
    pub fn deliver(&mut self, plan: &Plan, now: Timestamp) -> Option<Change> {
        if !self.changed && self.wake.is_none_or(|wake| wake > now) {
            return self.remember(false, now);
        }
        self.policy.forget(|event| is_gone(plan, event));
        let recipients: Vec<Recipient<'_>> = plan.notifiers.iter().map(|notifier| (&**notifier).into()).collect();
        let due = self.policy.due(now, &recipients);
        for outgoing in &due {
            if let Some(sender) = self.senders.get(&*outgoing.notifier) {
                self.carrying.insert(outgoing.notifier.clone(), self.generation);
                sender.try_send(messages::notice(plan.language, &outgoing.events, now));
            }
        }
        self.unwritten |= std::mem::take(&mut self.changed) || !due.is_empty();
        self.wake = self.policy.wake();
        // A message that is under way must not go out twice.
        self.remember(!due.is_empty(), now)
    }

    /// What is to be written now.
    fn remember(&mut self, at_once: bool, now: Timestamp) -> Option<Change> {
        let rested = now.since(self.written_at) >= REMEMBER_EVERY || now < self.written_at;
        if !self.unwritten || !(at_once || rested) {
            return None;
        }
        (self.unwritten, self.written_at) = (false, now);
        self.state()
    }

    /// Hands over what would wait for others like it: nothing more comes.
    pub fn flush(&mut self, plan: &Plan, now: Timestamp) -> Option<Change> {
        self.changed = true;
        self.policy.hurry();
        // Whatever waited is written with it.
        self.written_at = Timestamp::EPOCH;
        self.deliver(plan, now)
    }

    /// When there is something to hand over next.
    pub fn wake(&self) -> Option<Timestamp> {
        let write = self.unwritten.then(|| self.written_at + REMEMBER_EVERY);
        let told = self.changed.then_some(Timestamp::EPOCH);
        [self.wake, write, told].into_iter().flatten().min()
    }

    /// Lets what is under way finish, for a few seconds, and every report of it come in.
    pub async fn shutdown(&mut self) {
        futures_util::future::join_all(self.senders.drain().map(|(_, sender)| sender.shutdown())).await;
        self.reports = None;
        if let Some(relay) = self.relay.take() {
            // A sender that was replaced a moment ago may still be at work: not longer than its own farewell.
            let _ = tokio::time::timeout(FAREWELL, relay).await;
        }
    }
}

/// Whether the config no longer has what an event is about, or does not work on it.
fn is_gone(plan: &Plan, event: &Event) -> bool {
    let credential = event.credential.as_deref();
    let works_on = |name| plan.credential(name).is_some_and(|credential| credential.enabled);
    let notifies = |name: &str| plan.notifiers.iter().any(|notifier| &*notifier.name == name);
    credential.is_some_and(|name| !works_on(name)) || event.notifier.as_deref().is_some_and(|name| !notifies(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_is_reminded_of_a_channel_that_was_given_back() {
        let mut courier = Courier::new(None, PathBuf::new(), mpsc::unbounded_channel().0);
        let about = |id| {
            let channel = ChannelName { gateway: "eu".into(), id: Some(id), name: "codex".into() };
            Event { channel: Some(channel), ..Event::new(Timestamp::EPOCH, Topic::ForeignKey) }
        };
        for id in [1, 2] {
            courier.policy.tell(&about(id));
        }
        courier.forget(about(1).channel.as_ref().expect("it is about one"));
        assert!(courier.standing(&about(1)).is_none() && courier.standing(&about(2)).is_some());
    }
}
