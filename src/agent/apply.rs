//! Applies a plan: stops before starts, and nothing but what changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::agent::deliver::Room;
use crate::agent::watch::{self, Sight};
use crate::agent::{Active, Agent, Mode, Next, Rejected, Report, refresh, seeds};
use crate::channel::ownership::Adoptions;
use crate::config::plan::{CredentialPlan, GatewayPlan, Plan, PlanDiff};
use crate::credential::event::{Event, Topic};
use crate::credential::record::{ClientIdentity, Halt, HaltKind, Record, RecordId, State, by_client};
use crate::finding::Severity;
use crate::gateway;
use crate::gateway::thread::GatewayHandle;
use crate::messages;
use crate::oauth::request;
use crate::reason::{AgentReason, Reason};
use crate::vault::Change;

impl Agent {
    /// Takes over a plan.
    pub(super) fn apply(&mut self, next: Plan, diff: &PlanDiff) {
        self.counters.follow(&self.plan, &next);
        self.plan = Arc::new(next);
        if diff.vault {
            let reason = AgentReason::RestartNeeded { section: "vault".into() };
            tracing::warn!("{}", self.words(&reason.into(), "NAME"));
        }
        self.queue.set_bounds(self.plan.agent);
        self.shared.vault.set_max_in_flight(self.plan.agent.max_in_flight);
        // Certificates may have changed with the plan.
        self.shared.clients.forget();
        if diff.server && self.mode == Mode::Run {
            self.page = self.plan.server.as_ref().map(|server| self.serve_page(server.listen));
        }
        if diff.notifiers || diff.language {
            self.courier.replace(&self.plan);
        }
        for name in &diff.stop {
            self.stop_credential(name);
        }
        if diff.gateways {
            self.open_gateways();
        }
        let mut unread = Vec::new();
        for name in &diff.replace {
            self.replace_credential(name);
            unread.push(Arc::clone(name));
        }
        // Looked up once for all: whoever starts now gets no other's record.
        let known = by_client(self.records.values().map(|record| &**record));
        let starting: Vec<_> = diff
            .start
            .iter()
            .filter_map(|name| self.plan.credential(name).filter(|plan| plan.enabled).cloned())
            .map(|plan| (known.get(&(&*plan.name, ClientIdentity::of(&plan))).copied(), plan))
            .collect();
        for (record, plan) in starting {
            self.start(&plan, record);
        }
        unread.extend(diff.start.iter().cloned());
        self.retarget();
        self.read_seeds(unread);
        // The cache lag is part of every due time.
        if diff.gateways {
            self.consider_all();
        }
    }

    /// The vault is an older state of itself: refresh tokens that may be spent are asked late, and only once. Noted in
    /// one commit, so that a crash in between is noticed again.
    pub(super) fn doubt_all(&mut self, plan: &Plan) -> Vec<RecordId> {
        let now = self.now();
        let (mut changes, mut doubted) = (vec![Change::CaughtUp], Vec::new());
        for record in self.records.values_mut() {
            let own = plan.credential(&record.name).filter(|plan| ClientIdentity::of(plan) == record.client);
            if record.doubt(own.map(|plan| &**plan), now) {
                changes.push(Change::Record(record.clone()));
                doubted.push(record.id);
            }
        }
        self.shared.vault.commit_soon(changes);
        doubted
    }

    /// Opens the gateways that are new or changed, closes those that are gone; what is known of channels stays.
    fn open_gateways(&mut self) {
        let mut before = std::mem::take(&mut self.rooms);
        let mut rooms = BTreeMap::new();
        for plan in &self.plan.gateways {
            let room = match before.remove(&plan.name) {
                Some(room) if room.plan == *plan => room,
                Some(room) => self.open_gateway(plan, room.adoptions),
                None => {
                    let adoptions = self.adoptions_elsewhere.remove(&plan.name).unwrap_or_default();
                    self.open_gateway(plan, adoptions)
                }
            };
            rooms.insert(Arc::clone(&plan.name), room);
        }
        for (name, room) in before {
            self.adoptions_elsewhere.insert(name, room.adoptions);
        }
        self.rooms = rooms;
    }

    fn open_gateway(&self, plan: &Arc<GatewayPlan>, adoptions: Adoptions) -> Room {
        let (reports, name) = (self.reports.clone(), Arc::clone(&plan.name));
        let changed = move || {
            // The agent is gone when nobody listens.
            let _ = reports.send(Report::GatewayWritten(Arc::clone(&name)));
        };
        let handle = GatewayHandle::spawn(gateway::open(plan), changed);
        handle.begin();
        handle.measure(self.counters.publish_seconds(&plan.name));
        Room::new(Arc::clone(plan), handle, adoptions)
    }

    /// Tells every room which channels it feeds.
    pub(super) fn retarget(&mut self) {
        let mut plans: Vec<(RecordId, Arc<CredentialPlan>)> = Vec::with_capacity(self.plan.credentials.len());
        for plan in self.plan.credentials.iter().filter(|plan| plan.enabled) {
            if let Some(id) = self.by_name.get(&plan.name) {
                plans.push((*id, Arc::clone(plan)));
            }
        }
        for room in self.rooms.values_mut() {
            room.retarget(plans.iter().map(|(id, plan)| (*id, &**plan)));
        }
    }

    fn start_credential(&mut self, name: &Arc<str>) {
        let Some(plan) = self.plan.credential(name).filter(|plan| plan.enabled).cloned() else { return };
        let record = self.record_named(&plan);
        self.start(&plan, record);
    }

    /// Starts a credential with the record that bears its name, if there is one.
    fn start(&mut self, plan: &Arc<CredentialPlan>, record: Option<RecordId>) {
        match record {
            // Removed and added again while its request is under way: a second one would spend the same token.
            Some(id) if self.active.contains_key(&id) => {
                if let Some(active) = self.active.get_mut(&id) {
                    active.next = Some(Next::Replace(Arc::clone(plan)));
                }
            }
            Some(id) => self.activate(id, plan),
            // Without a name the seed may still tell whose record it is.
            None if seeds::source(plan).is_some() => {}
            None => {
                let id = self.new_id();
                let record = Record::new(id, plan);
                self.shared.vault.commit_soon(vec![Change::Record(Box::new(record.clone()))]);
                self.records.insert(id, Box::new(record));
                self.activate(id, plan);
            }
        }
    }

    fn stop_credential(&mut self, name: &Arc<str>) {
        let Some(id) = self.by_name.get(name).copied() else { return };
        match self.active.get_mut(&id) {
            Some(active) if active.in_flight => active.next = Some(Next::Stop),
            _ => self.deactivate(id),
        }
    }

    fn replace_credential(&mut self, name: &Arc<str>) {
        let Some(plan) = self.plan.credential(name).cloned() else { return };
        let Some(id) = self.by_name.get(name).copied() else { return self.start_credential(name) };
        if let Some(active) = self.active.get_mut(&id)
            && active.in_flight
        {
            active.next = Some(Next::Replace(plan));
            return;
        }
        self.replace_now(id, plan);
    }

    /// Replaces the plan of a credential that has no request under way.
    pub(super) fn replace_now(&mut self, id: RecordId, plan: Arc<CredentialPlan>) {
        let same_client = self.records.get(&id).is_some_and(|record| record.client == ClientIdentity::of(&plan));
        if !plan.enabled || !same_client {
            // Another client never gets to send this record's refresh token: it has, or gets, a record of its own.
            self.deactivate(id);
            self.start_credential(&plan.name);
            return;
        }
        self.deactivate(id);
        self.activate(id, &plan);
    }

    /// Puts a record to work.
    pub(super) fn activate(&mut self, id: RecordId, plan: &Arc<CredentialPlan>) {
        self.by_name.insert(Arc::clone(&plan.name), id);
        let forced_by_pass = self.passes.force(id, plan);
        self.active.insert(id, Box::new(Active { forced_by_pass, ..Active::new(plan) }));
        let now = self.now();
        let Some(record) = self.records.get_mut(&id) else { return };
        if *record.state.token_url != *plan.endpoint.url.as_str() && record.refresh_token.is_some() {
            tracing::warn!(credential = %plan.name, "token_url changed: the refresh token goes to another address from now on");
        }
        if let Some(settled) = record.found_marker(plan, now, fastrand::f64()) {
            self.shared.vault.commit_soon(vec![Change::Record(record.clone())]);
            // The former process sent it; nobody else can count it.
            self.counters.refreshed(&plan.name, settled, None);
            self.tell_settled(id, settled, None);
        } else {
            self.tell_again(id);
        }
        self.check_configured(id);
        self.consider(id);
    }

    /// Tells what stands: the program may have died before people heard of it. Who knows is not told twice.
    fn tell_again(&mut self, id: RecordId) {
        let Some(record) = self.records.get(&id) else { return };
        let (topic, reason) = match &record.state {
            State { halt: Some(halt), .. } => (Topic::Halted, Some(halt.reason.clone())),
            State { lost: Some(_), last_error, .. } => (Topic::Uncertain, last_error.as_deref().cloned()),
            _ => return,
        };
        let event = Event { reason, ..self.about(id, topic) };
        self.courier.tell(&self.plan, &event);
    }

    pub(super) fn deactivate(&mut self, id: RecordId) {
        let Some(active) = self.active.remove(&id) else { return };
        self.queue.remove(&active.host(), id);
        if let Some(due) = active.due {
            self.due.remove(&(due, id));
        }
        if self.by_name.get(&active.plan.name) == Some(&id) {
            self.by_name.remove(&active.plan.name);
        }
    }

    /// A credential that is halted as misconfigured comes back when what it could be about has changed.
    pub(super) fn check_configured(&mut self, id: RecordId) {
        let (Some(active), Some(record)) = (self.active.get(&id), self.records.get(&id)) else { return };
        if !record.state.halt.as_ref().is_some_and(|halt| halt.kind == HaltKind::Misconfigured) {
            return;
        }
        let (plan, shared, reports) = (Arc::clone(&active.plan), Arc::clone(&self.shared), self.reports.clone());
        tokio::spawn(async move {
            if let Ok(values) = refresh::values(&request::sources(&plan)).await {
                let now = refresh::configured(shared.vault.fingerprinter(), &plan, &values);
                let _ = reports.send(Report::Configured(id, now));
            }
        });
    }

    pub(super) fn configured(&mut self, id: RecordId, configured: &str) {
        let Some(record) = self.records.get_mut(&id) else { return };
        let other = |halt: &Halt| {
            halt.kind == HaltKind::Misconfigured && halt.configured.as_deref().is_some_and(|then| then != configured)
        };
        if record.state.halt.as_deref().is_some_and(other) {
            tracing::info!(credential = %record.name, "its configuration changed: trying again");
            record.revive();
            self.shared.vault.commit_soon(vec![Change::Record(record.clone())]);
            self.consider(id);
        }
    }

    pub(super) fn config_seen(&mut self, sight: Sight) {
        let text = match sight {
            Sight::Changed(text) => text,
            Sight::Unreadable(reason) => {
                let reason = reason.into();
                let line = self.words(&reason, "NAME");
                tracing::error!("{line}");
                return self.reject(reason, line);
            }
            Sight::NoInotify(reason) => {
                tracing::warn!("{}", self.words(&reason.into(), "NAME"));
                return;
            }
        };
        match watch::load(&self.config, &text) {
            Ok((mut plan, warnings)) => {
                self.counters.reloaded(true);
                self.log_problems(&text, &warnings);
                self.loaded_at = self.now();
                if let Some(rejected) = self.config_rejected.take() {
                    let event = Event { reason: Some(rejected.reason), ..Event::new(self.now(), Topic::Recovered) };
                    self.event(event);
                }
                plan.share(&self.plan);
                let diff = self.plan.diff(&plan);
                if diff == PlanDiff::default() {
                    tracing::info!("config read again: nothing changed");
                    return;
                }
                self.apply(plan, &diff);
                tracing::info!(
                    added = diff.start.len(),
                    removed = diff.stop.len(),
                    changed = diff.replace.len(),
                    "config applied"
                );
            }
            Err(problems) => {
                self.log_problems(&text, &problems);
                let first = problems.iter().find(|problem| problem.severity == Severity::Error);
                if let Some(problem) = first {
                    let alone = std::slice::from_ref(problem);
                    let lines = messages::problem_lines(self.plan.language, &self.config, &text, alone);
                    let line = lines.into_iter().map(|(_, line)| line).collect();
                    self.reject(problem.reason.clone().into(), line);
                }
            }
        }
    }

    fn reject(&mut self, reason: Reason, line: String) {
        tracing::error!("config not taken; the last good one goes on");
        self.counters.reloaded(false);
        self.config_rejected = Some(Rejected { reason: reason.clone(), line });
        let event = Event { reason: Some(reason), ..Event::new(self.now(), Topic::ConfigRejected) };
        self.event(event);
    }
}
