//! A gateway reached through its admin API.
//!
//! The API shows no keys: nobody can tell whose key a channel holds, a write cannot be bound to the key it replaces,
//! and what a write displaces is not known. So each write looks first whether the channel is still the one that was
//! adopted, and writes whatever it holds. It blocks: call it on the thread of [`super::thread`], or in a command.

mod answer;
mod client;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::answer::Refusal;
use self::client::Client;
use super::batch::is_safe;
use super::kind::belongs_to_the_gateway;
use super::{Gateway, GatewayError, Place, Publication, Published, Trace};
use crate::channel::view::{ChannelView, Status};
use crate::config::plan::{ApiPlan, ChannelSelect, GatewayKind, GatewayPlan};
use crate::finding::Finding;
use crate::reason::{ApiFailure, ChannelReason, GatewayReason};
use crate::secret::Secret;

/// Up to so many channels are looked at one by one; more of them on the pages of all channels.
const FEW: usize = 10;
/// How old a look may be that a write relies on.
const FRESH: Duration = Duration::from_secs(5);

/// One-API, New API or one-hub, by its admin API.
pub struct ApiGateway {
    plan: Arc<GatewayPlan>,
    client: Client,
    kind: Option<GatewayKind>,
    /// What was seen last, and when.
    seen: BTreeMap<i64, (ChannelView, Instant)>,
    /// How many requests the last look at all channels took.
    pages: usize,
    immediate: bool,
}

impl ApiGateway {
    /// Sends nothing yet.
    pub fn new(plan: Arc<GatewayPlan>, api: ApiPlan) -> Self {
        Self { plan, client: Client::new(api), kind: None, seen: BTreeMap::new(), pages: 1, immediate: false }
    }

    /// Makes the gateway use a key at once that was written into its database; says whether it does now. A channel
    /// that is not enabled is in nobody's memory.
    ///
    /// # Errors
    /// When it cannot be reached, or does not take it; it then goes on with what it has in memory.
    pub(super) fn reload(&mut self, id: i64, key: &Secret) -> Result<bool, GatewayError> {
        let view = self.look_at(id).map_err(GatewayError::Database)?;
        let view = view.ok_or(GatewayError::Channel(ChannelReason::Conflict))?;
        if self.kind == Some(GatewayKind::OneHub) {
            self.client.write_key(id, key).map_err(refused)?;
        }
        if view.status != Status::Enabled {
            return Ok(false);
        }
        self.enable(id).map_err(refused)?;
        Ok(self.immediate)
    }

    /// One channel as it is now; `None` when it is not there.
    fn look_at(&mut self, id: i64) -> Result<Option<ChannelView>, GatewayReason> {
        match self.client.channel(id) {
            Ok(channel) => self.take(&channel),
            Err(Refusal::NoChannel) => {
                self.seen.remove(&id);
                Ok(None)
            }
            Err(refusal) => Err(failure(refusal).into()),
        }
    }

    /// Takes note of a channel that was shown.
    fn take(&mut self, channel: &Value) -> Result<Option<ChannelView>, GatewayReason> {
        let kind = answer::recognise(channel)?;
        self.kind = Some(kind);
        if let Some(wanted) = self.plan.kind.filter(|wanted| *wanted != kind) {
            let (wanted, found) = (wanted.as_str().to_owned(), kind.as_str().to_owned());
            return Err(GatewayReason::OtherKind { wanted, found });
        }
        let view = answer::view(channel);
        if let Some(view) = &view {
            self.seen.insert(view.id, (view.clone(), Instant::now()));
        }
        Ok(view)
    }

    /// Every channel.
    fn look_at_all(&mut self) -> Result<(), GatewayReason> {
        self.seen.clear();
        // The first page of those who count from 1 comes twice; a page beyond the last is empty, or the last again.
        let (mut page, mut stale) = (0, 0);
        while stale < 2 {
            let data = self.client.page(page).map_err(failure)?;
            let channels = answer::page(&data)?;
            let before = self.seen.len();
            for channel in channels {
                self.take(channel)?;
            }
            page += 1;
            stale = if self.seen.len() > before { 0 } else { stale + 1 };
            if channels.is_empty() && page > 1 {
                break;
            }
        }
        self.pages = page as usize;
        Ok(())
    }

    /// Looks at these channels, as far as the gateway's limit on requests allows; else they are as they were.
    fn look(&mut self, channels: &[ChannelSelect]) -> Result<Vec<ChannelView>, GatewayReason> {
        let id_of = |select: &ChannelSelect| match select {
            ChannelSelect::Id(id) => Some(*id),
            ChannelSelect::Name(_) => None,
        };
        let ids: Option<Vec<i64>> = channels.iter().map(id_of).collect();
        match ids.filter(|ids| ids.len() <= FEW) {
            Some(ids) if self.client.allows(ids.len()) || ids.iter().any(|id| !self.seen.contains_key(id)) => {
                for id in ids {
                    self.look_at(id)?;
                }
            }
            Some(_) => {}
            None if self.client.allows(self.pages) || self.seen.is_empty() => self.look_at_all()?,
            None => {}
        }
        let wanted = |view: &ChannelView| {
            channels.iter().any(|select| match select {
                ChannelSelect::Id(id) => view.id == *id,
                ChannelSelect::Name(name) => view.name == *name,
            })
        };
        Ok(self.seen.values().map(|(view, _)| view).filter(|view| wanted(view)).cloned().collect())
    }

    fn write(&mut self, publication: &Publication) -> Result<Published, GatewayError> {
        if !is_safe(publication) {
            return Err(GatewayError::Channel(ChannelReason::UnsafeKey));
        }
        let began = Instant::now();
        let id = publication.id;
        let fresh = self.seen.get(&id).filter(|(_, at)| at.elapsed() < FRESH).map(|(view, _)| view.clone());
        let view = match fresh {
            Some(view) => Some(view),
            // A write to an id that is not there answers success, and leaves a stray ability behind.
            None => self.look_at(id).map_err(GatewayError::Database)?,
        };
        let Some(view) = view.filter(|view| view.created_time == publication.created_time) else {
            return Err(GatewayError::Channel(ChannelReason::Conflict));
        };
        if let Some(reason) = self.kind.and_then(|kind| belongs_to_the_gateway(kind, view.kind, view.multi_key)) {
            return Err(GatewayError::Channel(reason));
        }
        let echoed = answer::key(&self.client.write_key(id, &publication.key).map_err(refused)?);
        if echoed.is_some_and(|echoed| echoed != publication.key) {
            return Err(GatewayError::Channel(ChannelReason::Conflict));
        }
        let reenabled = publication.reenable && view.status == Status::AutoDisabled;
        // new-api loads its channels when the status is set, even to what it is.
        if reenabled || view.status == Status::Enabled && self.kind == Some(GatewayKind::NewApi) {
            self.enable(id).map_err(refused)?;
        }
        self.immediate |= self.kind == Some(GatewayKind::OneHub);
        if let Some((seen, _)) = self.seen.get_mut(&id).filter(|_| reenabled) {
            seen.status = Status::Enabled;
        }
        Ok(Published { reenabled, waited: Duration::ZERO, held: began.elapsed() })
    }

    /// Sets status 1, and learns whether that makes the gateway load its channels at once.
    fn enable(&mut self, id: i64) -> Result<(), Refusal> {
        if self.kind == Some(GatewayKind::NewApi) {
            match self.client.set_enabled(id) {
                Ok(_) => {
                    self.immediate = true;
                    return Ok(());
                }
                // Before 2026 there was no such route.
                Err(Refusal::NoRoute) => self.immediate = false,
                Err(refusal) => return Err(refusal),
            }
        }
        self.client.enable(id)?;
        self.immediate |= self.kind == Some(GatewayKind::OneHub);
        Ok(())
    }
}

impl Gateway for ApiGateway {
    fn observe(&mut self, channels: &[ChannelSelect]) -> Result<Vec<ChannelView>, GatewayError> {
        self.look(channels).map_err(GatewayError::Database)
    }

    fn list(&mut self) -> Result<Vec<ChannelView>, GatewayError> {
        self.look_at_all().map_err(GatewayError::Database)?;
        Ok(self.seen.values().map(|(view, _)| view.clone()).collect())
    }

    fn publish(&mut self, batch: &[Publication]) -> Vec<Result<Published, GatewayError>> {
        let mut answers = Vec::with_capacity(batch.len());
        for publication in batch {
            let answer = self.write(publication);
            let is_over = matches!(answer, Err(GatewayError::Database(_)));
            answers.push(answer.clone());
            if is_over {
                // What stopped this one stops the others too, and asking again would only use up the limit.
                answers.resize(batch.len(), answer);
                break;
            }
        }
        answers
    }

    fn kind(&self) -> Option<GatewayKind> {
        self.kind
    }

    fn place(&mut self) -> Option<Place> {
        None
    }

    fn immediate(&self) -> bool {
        self.immediate
    }

    /// Only an administrator sees the channels, and whoever sees them may write them.
    fn probe(&mut self) -> Result<(), GatewayError> {
        self.client.page(0).map(drop).map_err(refused)
    }

    fn trace(&self) -> Trace {
        Trace::default()
    }

    /// Nothing cheap tells; the regular look does.
    fn changed(&mut self) -> bool {
        false
    }

    fn examine(&mut self) -> Vec<Finding> {
        let about = format!("gateway {:?}", &*self.plan.name);
        if let Err(reason) = self.look_at_all() {
            return vec![Finding::error(about, reason)];
        }
        match self.kind {
            Some(GatewayKind::OneApi) => vec![Finding::warning(about, GatewayReason::ApiOfOneApi)],
            _ => Vec::new(),
        }
    }
}

fn failure(refusal: Refusal) -> ApiFailure {
    match refusal {
        Refusal::Api(failure) => failure,
        Refusal::NoChannel => ApiFailure::Refused,
        Refusal::NoRoute => ApiFailure::NotTheApi { status: 404 },
    }
}

fn refused(refusal: Refusal) -> GatewayError {
    match refusal {
        Refusal::NoChannel => GatewayError::Channel(ChannelReason::Conflict),
        other => GatewayError::Database(failure(other).into()),
    }
}
