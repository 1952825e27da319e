//! What people ask of a living agent, and the passes they wait for.
//!
//! Whoever asks holds a [`Line`]; the question goes into the loop's inbox and is answered by the loop, which alone
//! knows. `once` is a pass, whether it comes from this process or through the [socket](super::socket): the one code
//! path makes the same result.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::agent::deliver::Room;
use crate::agent::obtained::Obtained;
use crate::agent::{Agent, Mode, Report};
use crate::config::plan::CredentialPlan;
use crate::credential::event::ChannelName;
use crate::credential::record::RecordId;
use crate::reason::{AgentReason, Reason};
use crate::shape::nearest;
use crate::telemetry::metrics::Counters;
use crate::telemetry::server::{Living, Pulse};
use crate::telemetry::status::{self, AgentStatus, ConfigStatus, Status, VaultStatus};
use crate::vault::Change;

/// One pass over these credentials (all, if none is named).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Once {
    /// Their names.
    pub names: Vec<String>,
    /// Whether those that are not due are refreshed too.
    pub force: bool,
}

/// Another try for a credential that is halted or failing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Its name.
    pub name: String,
}

/// A channel that a person takes over, or gives back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The gateway's name.
    pub gateway: String,
    /// `channels.id`.
    pub channel: i64,
    /// Whether it gets the key back that it had before; else it gets ours, whatever it holds.
    pub give_back: bool,
}

impl Handover {
    /// As the command takes it.
    fn address(&self) -> String {
        let name = ChannelName { gateway: self.gateway.clone(), id: Some(self.channel), name: String::new() };
        name.address()
    }
}

/// Where an answer goes.
pub type Answer<T> = oneshot::Sender<T>;

/// A question to the loop, and where its answer goes. A dropped answer means that the agent is ending.
pub enum Request {
    /// Do you live?
    Pulse(Answer<Pulse>),
    /// How does everything stand?
    Status(Answer<Status>),
    /// Make a pass; answered when it is over.
    Once(Once, Answer<Result<Status, Reason>>),
    /// Try this one again; answered at once.
    Retry(Retry, Answer<Result<Status, Reason>>),
    /// Take this channel over, or give it back; answered when that is done, or cannot be.
    Handover(Handover, Answer<Result<Status, Reason>>),
    /// Take this refresh token, which a person obtained; answered when it is durable.
    Seed(Obtained, Answer<Result<Status, Reason>>),
}

/// The way to ask; cheap to clone. Answers `None` when the agent is ending.
#[derive(Debug, Clone)]
pub struct Line {
    inbox: mpsc::UnboundedSender<Report>,
    counters: Counters,
}

impl Line {
    /// Makes a pass and waits until it is over: refreshes have settled, their keys are delivered or cannot be.
    pub async fn once(&self, order: Once) -> Option<Result<Status, Reason>> {
        self.ask(|answer| Request::Once(order, answer)).await
    }

    /// Tries a credential again.
    pub async fn retry(&self, order: Retry) -> Option<Result<Status, Reason>> {
        self.ask(|answer| Request::Retry(order, answer)).await
    }

    /// Takes a channel over or gives it back.
    pub async fn hand_over(&self, order: Handover) -> Option<Result<Status, Reason>> {
        self.ask(|answer| Request::Handover(order, answer)).await
    }

    /// Hands over what a person obtained, and waits until it is durable.
    pub async fn seed(&self, order: Obtained) -> Option<Result<Status, Reason>> {
        self.ask(|answer| Request::Seed(order, answer)).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.inbox.send(Report::Control(request(answer))).ok()?;
        answered.await.ok()
    }
}

impl Living for Line {
    async fn pulse(&self) -> Option<Pulse> {
        self.ask(Request::Pulse).await
    }

    async fn status(&self) -> Option<Status> {
        self.ask(Request::Status).await
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// The passes that are not over.
#[derive(Default)]
pub(super) struct Passes {
    under_way: Vec<Pass>,
    /// Of channels that nobody can tell yet: names are looked up, and seeds still make records.
    handovers: Vec<(Handover, Answer<Result<Status, Reason>>)>,
}

struct Pass {
    names: Vec<String>,
    /// Whether what is not due is refreshed too.
    force: bool,
    /// Credentials that had a request, or tried to, since it began.
    tried: BTreeSet<RecordId>,
    /// Credentials that have not settled yet; `None` until every seed is read, for seeds make records.
    left: Option<BTreeSet<RecordId>>,
    answer: Answer<Result<Status, Reason>>,
}

impl Pass {
    fn names(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|named| named == name)
    }
}

impl Passes {
    /// Whether none is left.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty() && self.handovers.is_empty()
    }

    /// Whether one of them is still to try this credential: each tries it once.
    pub(super) fn want(&self, id: RecordId, plan: &CredentialPlan) -> bool {
        self.under_way.iter().any(|pass| pass.names(&plan.name) && !pass.tried.contains(&id))
    }

    /// Whether one of them forces this credential, which has its record only now: it was renamed.
    pub(super) fn force(&self, id: RecordId, plan: &CredentialPlan) -> bool {
        let forces = |pass: &Pass| pass.force && pass.names(&plan.name) && !pass.tried.contains(&id);
        self.under_way.iter().any(|pass| pass.left.is_none() && forces(pass))
    }

    /// Whether one of them still wants this credential refreshed that is not due.
    fn still_force(&self, id: RecordId, plan: &CredentialPlan) -> bool {
        self.under_way.iter().any(|pass| pass.force && pass.names(&plan.name) && !pass.tried.contains(&id))
    }

    /// A request of this credential is about to leave.
    pub(super) fn note_try(&mut self, id: RecordId) {
        for pass in &mut self.under_way {
            pass.tried.insert(id);
        }
    }
}

impl Agent {
    /// The way to ask this agent.
    pub fn line(&self) -> Line {
        Line { inbox: self.reports.clone(), counters: self.counters.clone() }
    }

    /// Begins a pass.
    pub fn begin(&mut self, order: Once, answer: Answer<Result<Status, Reason>>) {
        if let Some(unknown) = order.names.iter().find(|name| self.plan.credential(name).is_none()) {
            // Nobody waits any more: nothing to tell, here and below.
            let _ = answer.send(Err(self.no_such(unknown)));
            return;
        }
        let Once { names, force } = order;
        let pass = Pass { names, force, tried: BTreeSet::new(), left: None, answer };
        let mut named = Vec::new();
        for (id, active) in self.active.iter_mut().filter(|(_, active)| pass.names(&active.plan.name)) {
            // What is under way brings what is asked for.
            active.forced_by_pass |= force && !active.in_flight && !active.queued;
            named.push((*id, active.plan.name.clone()));
        }
        self.passes.under_way.push(pass);
        for (id, _) in &named {
            self.consider(*id);
        }
        // A pass of its own reads every seed at its start; this one follows suit.
        if self.mode == Mode::Run {
            self.sweep_these(named.into_iter().map(|(_, name)| name).collect());
        }
    }

    /// Takes a channel over or gives it back. What follows is a pass over its credential that refreshes nothing.
    pub fn hand_over(&mut self, order: Handover, answer: Answer<Result<Status, Reason>>) {
        let Handover { gateway, channel, give_back } = &order;
        let known = self.rooms.get_mut(gateway.as_str()).and_then(|room| {
            let target = room.targets.iter().find(|target| target.standing.id == Some(*channel))?;
            let (credential, record, standing) = (target.credential.to_string(), target.record, &target.standing);
            let name = ChannelName { gateway: gateway.clone(), id: standing.id, name: standing.name.to_string() };
            let notes = if *give_back { room.release(*channel) } else { room.adopt(*channel) };
            Some((credential, record, name, notes))
        });
        let Some((credential, record, name, notes)) = known else {
            match self.cannot_tell(&order) {
                Ok(true) => self.passes.handovers.push((order, answer)),
                // Nobody waits any more: nothing to tell, here and below.
                Ok(false) => drop(answer.send(Err(AgentReason::NoSuchChannel { channel: order.address() }.into()))),
                Err(reason) => drop(answer.send(Err(reason))),
            }
            return;
        };
        let Some(notes) = notes else {
            let _ = answer.send(Err(AgentReason::NothingToGiveBack { channel: order.address() }.into()));
            return;
        };
        tracing::info!(%credential, %gateway, channel, give_back, "asked to hand a channel over");
        self.shared.vault.commit_soon(notes);
        if *give_back {
            self.courier.forget(&name);
        }
        let (names, tried) = (vec![credential], [record].into());
        self.passes.under_way.push(Pass { names, force: false, tried, left: None, answer });
    }

    /// Whether nobody can tell yet who feeds a channel: its gateway was not looked at, or a seed may still make the
    /// record of who does.
    ///
    /// # Errors
    /// When the gateway was looked at in vain, and a name may stand for the channel.
    fn cannot_tell(&self, order: &Handover) -> Result<bool, Reason> {
        let Some(room) = self.rooms.get(order.gateway.as_str()) else { return Ok(false) };
        let unresolved = || room.targets.iter().any(|target| target.standing.id.is_none());
        match &room.trouble {
            _ if self.seeds_underway > 0 => Ok(true),
            _ if !room.looked => Ok(unresolved()),
            Some((reason, _)) if unresolved() => Err(reason.clone().into()),
            _ => Ok(false),
        }
    }

    /// Answers the passes that are over.
    pub(super) fn answer_passes(&mut self) {
        for (order, answer) in std::mem::take(&mut self.passes.handovers) {
            if !answer.is_closed() {
                self.hand_over(order, answer);
            }
        }
        let mut passes = std::mem::take(&mut self.passes.under_way);
        let over: Vec<Pass> = passes.extract_if(.., |pass| pass.answer.is_closed() || self.is_over(pass)).collect();
        if !passes.is_empty() {
            self.rooms.values_mut().for_each(Room::look_whether_told);
        }
        self.passes.under_way = passes;
        for pass in over {
            // What could not be sent is not forced later, when nobody waits for it.
            for (id, active) in self.active.iter_mut().filter(|_| pass.force) {
                active.forced_by_pass &= self.passes.still_force(*id, &active.plan);
            }
            let _ = pass.answer.send(Ok(self.status().of(&pass.names)));
        }
    }

    /// Whether everything of a pass has settled. What settled once is not looked at again.
    fn is_over(&self, pass: &mut Pass) -> bool {
        if self.seeds_underway > 0 {
            return false;
        }
        if pass.left.is_none() {
            let named = self.active.iter().filter(|(_, active)| pass.names(&active.plan.name));
            pass.left = Some(named.map(|(id, _)| *id).collect());
        }
        let Some(left) = &mut pass.left else { return false };
        while let Some(id) = left.first() {
            if !self.has_settled(*id) {
                return false;
            }
            left.pop_first();
        }
        true
    }

    /// Whether no request of a credential is under way and its key is delivered and told, or cannot be.
    fn has_settled(&self, id: RecordId) -> bool {
        let Some(active) = self.active.get(&id) else { return true };
        let rooms = || active.plan.channels.iter().filter_map(|channel| self.rooms.get(&channel.gateway));
        if active.in_flight || active.queued || rooms().any(|room| !room.looked) {
            return false;
        }
        let Some(record) = self.records.get(&id) else { return true };
        let has_living_key = record.access.as_ref().is_some_and(|grant| grant.expires_at > self.now());
        rooms().all(|room| room.has_settled(record, has_living_key))
    }

    /// Answers what people ask.
    pub(super) fn asked(&mut self, request: Request) {
        match request {
            Request::Pulse(answer) => drop(answer.send(self.pulse())),
            Request::Status(answer) => drop(answer.send(self.status())),
            // Nothing new starts: the answer is dropped, and whoever asks may soon have the lock.
            Request::Once(..) | Request::Retry(..) | Request::Handover(..) | Request::Seed(..) if self.stopping => {}
            Request::Seed(order, answer) => self.take_obtained((order, answer)),
            Request::Handover(order, answer) => self.hand_over(order, answer),
            Request::Once(order, answer) => self.begin(order, answer),
            Request::Retry(order, answer) => drop(answer.send(self.retry(&order.name))),
        }
    }

    fn retry(&mut self, name: &str) -> Result<Status, Reason> {
        let Some(plan) = self.plan.credential(name).cloned() else { return Err(self.no_such(name)) };
        let id = self.by_name.get(name).copied();
        let rests = |id: &RecordId| self.active.get(id).is_some_and(|active| !active.in_flight);
        if let Some(id) = id.filter(rests)
            && let Some(record) = self.records.get_mut(&id)
        {
            // Somebody may have put a new seed there before asking.
            let mut sweeps = record.has_nothing_to_send();
            if record.ask_again() {
                sweeps = true;
                tracing::info!(credential = %plan.name, "asked to try again");
                self.shared.vault.commit_soon(vec![Change::Record(record.clone())]);
            }
            if sweeps {
                self.sweep_these(vec![plan.name.clone()]);
                self.consider(id);
            }
        }
        Ok(self.status().of(&[name.to_owned()]))
    }

    pub(super) fn no_such(&self, name: &str) -> Reason {
        let known = self.plan.credentials.iter().map(|credential| &*credential.name);
        AgentReason::NoSuchCredential { name: name.to_owned(), nearest: nearest(name, known) }.into()
    }

    fn pulse(&self) -> Pulse {
        Pulse {
            running: self.mode == Mode::Run,
            config: self.config_rejected.is_none(),
            vault: self.vault_trouble.is_none(),
            // Nobody looks where nothing is fed.
            gateways: self.rooms.values().all(|room| room.targets.is_empty() || room.looked && room.trouble.is_none()),
        }
    }

    pub(super) fn status(&self) -> Status {
        let now = self.now();
        let config = ConfigStatus {
            path: self.config.display().to_string(),
            loaded_at: Some(self.loaded_at),
            problem: self.config_rejected.as_ref().map(|rejected| rejected.line.clone()),
        };
        let vault = VaultStatus::new(self.plan.language, self.vault_trouble.as_ref());
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            time: now,
            language: self.plan.language,
            agent: AgentStatus {
                owner: None,
                running: self.mode == Mode::Run,
                since: Some(self.started_at),
                config,
                vault,
            },
            credentials: status::credentials(
                &self.plan,
                self.records.values().map(|record| &**record),
                self.rooms.values(),
                now,
            ),
            orphans: status::orphans(&self.plan, self.records.values().map(|record| &**record)),
            notifiers: status::notifiers(&self.plan, self.courier.policy()),
            events: status::events(self.plan.language, self.recent.iter()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::sample;

    #[test]
    fn a_pass_that_is_over_takes_nothing_from_another() {
        let pass = |name: &str, force| {
            let (names, tried, answer) = (vec![name.to_owned()], BTreeSet::new(), oneshot::channel().0);
            Pass { names, force, tried, left: None, answer }
        };
        let (id, plan) = (RecordId(1), sample::plan());
        let mut passes = Passes { under_way: vec![pass("other", true), pass("openai", false)], ..Passes::default() };
        assert!(!passes.still_force(id, &plan));
        passes.under_way.push(pass("openai", true));
        assert!(passes.still_force(id, &plan));
        passes.note_try(id);
        assert!(!passes.still_force(id, &plan));
    }
}
