//! What the loop tells the service manager: that it turns, and how things stand.

use crate::agent::Agent;
use crate::messages;
use crate::telemetry::status::credential_state;
use crate::telemetry::systemd::{ServiceManager, sentence};

impl Agent {
    /// Tells a service manager from now on, beginning with: ready.
    pub fn serve_under(&mut self, mut service: ServiceManager) {
        service.ready(&self.sentence());
        self.service = service;
    }

    /// Hands the service manager over to whoever goes on after this agent.
    pub fn release_service(&mut self) -> ServiceManager {
        std::mem::take(&mut self.service)
    }

    /// A turn of the loop, as the service manager sees it.
    pub(super) fn tell_service(&mut self) {
        let mut service = std::mem::take(&mut self.service);
        let words = &messages::words(self.plan.language).service;
        let status = || match (self.stopping, self.displaced && !self.asked_to_stop) {
            (true, true) => words.displaced.to_owned(),
            (true, false) => words.stopping.to_owned(),
            (false, _) => self.sentence(),
        };
        service.turn(self.shared.clock.uptime().awake, status);
        self.service = service;
    }

    /// How things stand, in a sentence.
    fn sentence(&self) -> String {
        let (now, words) = (self.now(), messages::words(self.plan.language));
        let credentials = self.plan.credentials.iter().map(|plan| {
            let record = self.by_name.get(&plan.name).and_then(|id| self.records.get(id)).map(|record| &**record);
            (&*plan.name, credential_state(Some(plan), record, now))
        });
        let service = &words.service;
        let config = self.config_rejected.as_ref().map(|_| service.config_rejected.to_owned());
        let vault = self.vault_trouble.as_ref().map(|_| service.vault_trouble.to_owned());
        let gateways = self.rooms.values().filter(|room| room.trouble.is_some());
        let gateways = gateways.map(|room| service.gateway_trouble.replace("{}", &room.plan.name));
        let fails =
            |name: &str| self.courier.policy().notifier(name).is_some_and(|standing| standing.problem.is_some());
        let notifiers = self.plan.notifiers.iter().filter(|notifier| fails(&notifier.name));
        let notifiers = notifiers.map(|notifier| service.notifier_trouble.replace("{}", &notifier.name));
        sentence(words, credentials, config.into_iter().chain(vault).chain(gateways).chain(notifiers).collect())
    }
}
