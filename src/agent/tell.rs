//! What the agent says: events for people and notifiers, reasons in words for the log.

use tracing::field::display;

use crate::agent::Agent;
use crate::agent::rooms::lag;
use crate::credential::event::{ChannelName, Event, Topic};
use crate::credential::policy::{FAILING_FROM, is_expiring};
use crate::credential::record::{RecordId, Settled};
use crate::finding::Severity;
use crate::messages::{self, About};
use crate::notify::sender::SendReport;
use crate::reason::Reason;
use crate::shape::Problem;
use crate::time::Timestamp;
use crate::vault::Change;

impl Agent {
    /// A reason in words for the log, with its remedy.
    pub(super) fn words(&self, reason: &Reason, credential: &str) -> String {
        self.words_about(reason, About { credential, ..About::default() })
    }

    fn words_about(&self, reason: &Reason, about: About<'_>) -> String {
        let message = messages::explain_about(self.plan.language, reason, about);
        format!("{} {}", message.what, message.remedy)
    }

    /// Tells what a settled refresh means. `since` is when it had begun to fail.
    pub(super) fn tell_settled(&mut self, id: RecordId, settled: Settled, since: Option<Timestamp>) {
        let Some(record) = self.records.get(&id) else { return };
        let (failures, reason) = (record.state.failures, record.state.last_error.clone());
        let plan = self.active.get(&id).map(|active| &active.plan);
        let is_expiring = plan.is_some_and(|plan| is_expiring(plan, record, lag(&self.rooms, plan), self.now()));
        // Before a restart it may have been halted, or in a trouble that its record does not tell of.
        let was_trouble = since.is_some() || self.courier.standing(&self.about(id, Topic::Recovered)).is_some();
        let topics = match settled {
            Settled::Refreshed if was_trouble => vec![Topic::Refreshed, Topic::Recovered],
            Settled::Refreshed => vec![Topic::Refreshed],
            Settled::Lost => vec![Topic::Uncertain],
            Settled::Halted(_) => vec![Topic::Halted],
            Settled::SeedRefused => vec![Topic::Failing],
            Settled::Failed if is_expiring => vec![Topic::Expiring],
            Settled::Failed if failures >= FAILING_FROM => vec![Topic::Failing],
            Settled::Failed => vec![],
        };
        // What people are told of is logged as that.
        if settled != Settled::Refreshed && topics.is_empty() {
            let reason = reason.as_deref().map(|reason| self.words(reason, &record.name));
            tracing::warn!(credential = %record.name, outcome = %settled.as_str(), failures, reason, "the refresh failed");
        }
        for topic in topics {
            let reason = if settled == Settled::Refreshed { None } else { reason.as_deref().cloned() };
            let event = Event { reason, since, ..self.about(id, topic) };
            self.event(event);
        }
    }

    /// A notifier says what became of a message.
    pub(super) fn sent(&mut self, report: &SendReport) {
        let notifier = &report.notifier;
        if self.plan.notifiers.iter().any(|plan| plan.name == *notifier) {
            self.counters.notified(notifier, report.outcome.is_ok());
        }
        match &report.outcome {
            Ok(()) => tracing::debug!(%notifier, "message taken"),
            Err(reason) => {
                tracing::warn!(%notifier, reason = self.words(reason, "NAME"), "the message was not taken");
            }
        }
        if let Some(event) = self.courier.settled(report, self.now()) {
            self.event(event);
        }
    }

    /// Ends a trouble that was told of before a restart, and that nothing here remembers any more.
    pub(super) fn end_if_standing(&mut self, like: Event) {
        if let Some(trouble) = self.courier.standing(&like) {
            let (credential, reason) = (trouble.credential.clone(), trouble.reason.clone());
            self.event(Event { topic: Topic::Recovered, credential, reason, ..like });
        }
    }

    pub(super) fn log_problems(&self, text: &str, problems: &[Problem]) {
        for line in messages::problem_lines(self.plan.language, &self.config, text, problems) {
            match line {
                (Severity::Error, line) => tracing::error!("{line}"),
                (Severity::Warning, line) => tracing::warn!("{line}"),
            }
        }
    }

    /// An event about a credential.
    pub(super) fn about(&self, id: RecordId, topic: Topic) -> Event {
        let record = self.records.get(&id);
        Event {
            credential: record.map(|record| record.name.clone()),
            expires_at: record.and_then(|record| record.access.as_ref()).map(|grant| grant.expires_at),
            failures: record.map_or(0, |record| record.state.failures),
            ..Event::new(self.now(), topic)
        }
    }

    pub(super) fn events(&mut self, events: Vec<Event>) {
        for event in events {
            self.event(event);
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        // A rejected config was told line by line already.
        if event.topic.in_default() && event.topic != Topic::ConfigRejected {
            let channel = event.channel.as_ref().map(ChannelName::address);
            let credential = event.credential.as_deref();
            let placeholders = About::default();
            let about = About {
                credential: credential.unwrap_or(placeholders.credential),
                channel: channel.as_deref().unwrap_or(placeholders.channel),
            };
            let reason = event.reason.as_ref().map(|reason| self.words_about(reason, about));
            let topic = event.topic.as_str();
            let name = event.channel.as_ref().map(|channel| channel.name.as_str()).filter(|name| !name.is_empty());
            let gateway = event.channel.as_ref().map(|channel| display(&channel.gateway));
            let channel = event.channel.as_ref().and_then(|channel| channel.id);
            let (credential, notifier) = (credential.map(display), event.notifier.as_deref().map(display));
            match event.topic {
                Topic::Recovered => tracing::info!(credential, gateway, channel, name, notifier, "{topic}"),
                waits if waits.needs_human() => {
                    tracing::error!(credential, gateway, channel, name, notifier, reason, "{topic}");
                }
                _ => tracing::warn!(credential, gateway, channel, name, notifier, reason, "{topic}"),
            }
        }
        self.courier.tell(&self.plan, &event);
        self.recent.note(event.clone());
        // Thousands of them would drive everything else out of what is kept; the record says when it was refreshed.
        if event.topic != Topic::Refreshed {
            self.shared.vault.commit_soon(vec![Change::Event(Box::new(event))]);
        }
    }
}
