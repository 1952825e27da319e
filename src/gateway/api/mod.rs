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
use crate::config::plan::{ApiPlan, ChannelSelect, Database, GatewayKind, GatewayPlan};
use crate::finding::Finding;
use crate::reason::{ApiFailure, ChannelReason, GatewayReason};
use crate::secret::Secret;

/// Up to so many channels are looked at one by one; more of them on the pages of all channels.
const FEW: usize = 10;
/// How old a look may be that a write relies on.
const FRESH: Duration = Duration::from_secs(5);
/// For how long a channel that the gateway refused a key for is not asked again to take that key.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// And while keys that go into the database may wait for it.
const TIMEOUT_BESIDE: Duration = Duration::from_secs(5);

/// One-API, New API or one-hub, by its admin API.
pub struct ApiGateway {
    plan: Arc<GatewayPlan>,
    client: Client,
    kind: Option<GatewayKind>,
    /// What was seen last, by id.
    seen: BTreeMap<i64, Seen>,
    /// Whether every channel was seen once.
    listed: bool,
    /// A list of all channels that was begun.
    listing: Option<Listing>,
    /// Channels that did not take a key.
    refused: BTreeMap<i64, Refused>,
    /// Whether new-api is of 2026 or newer.
    has_status_route: Option<bool>,
    immediate: bool,
}

/// What was seen of a channel.
struct Seen {
    /// `None` when it was not there.
    view: Option<ChannelView>,
    at: Instant,
}

/// How far a list of all channels has come.
#[derive(Clone, Copy)]
struct Listing {
    page: u32,
    /// How many pages in a row showed nothing new.
    stale: u32,
    began: Instant,
}

/// A key that a channel did not take.
struct Refused {
    key: Secret,
    at: Instant,
    /// The key was taken, and the status was not.
    is_written: bool,
}

impl ApiGateway {
    /// Sends nothing yet.
    pub fn new(plan: Arc<GatewayPlan>, api: ApiPlan) -> Self {
        let timeout = if plan.database == Database::None { TIMEOUT } else { TIMEOUT_BESIDE };
        Self {
            plan,
            client: Client::new(api, timeout),
            kind: None,
            seen: BTreeMap::new(),
            listed: false,
            listing: None,
            refused: BTreeMap::new(),
            has_status_route: None,
            immediate: false,
        }
    }

    /// Makes the gateway load all its channels from the database, by way of this one, of which nothing is changed; says
    /// whether it uses them at once now.
    ///
    /// # Errors
    /// When it cannot be reached or does not do it; it then goes on with what it has in memory. When this channel is gone
    /// or another one.
    pub(super) fn load(&mut self, id: i64, created_time: i64) -> Result<bool, GatewayError> {
        // A write to an id that is not there answers success, and leaves a stray ability behind.
        let view = self.look_at(id).map_err(of_one)?;
        if view.is_none_or(|view| view.created_time != created_time) {
            return Err(GatewayError::Channel(ChannelReason::Conflict));
        }
        self.client.load(id).map_err(refused)?;
        self.learn();
        Ok(self.immediate)
    }

    /// One channel as it is now; `None` when it is not there.
    fn look_at(&mut self, id: i64) -> Result<Option<ChannelView>, GatewayReason> {
        match self.client.channel(id) {
            Ok(channel) => self.take(&channel),
            Err(Refusal::NoChannel) => {
                self.seen.insert(id, Seen { view: None, at: Instant::now() });
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
            self.seen.insert(view.id, Seen { view: Some(view.clone()), at: Instant::now() });
        }
        Ok(view)
    }

    /// Goes on with the list of all channels: to its end if it is `patient`, else as far as looks may ask now. Says
    /// whether it came to its end. What was seen before it stays until then.
    fn go_on_listing(&mut self, patient: bool) -> Result<bool, GatewayReason> {
        // The first page of those who count from 1 comes twice; a page beyond the last is empty, or the last again.
        while patient || self.client.spare() > 0 {
            let begin = || Listing { page: 0, stale: 0, began: Instant::now() };
            let Listing { page, mut stale, began } = *self.listing.get_or_insert_with(begin);
            let data = self.client.page(page).map_err(failure)?;
            let channels = answer::page(&data)?;
            stale += 1;
            for channel in channels {
                let id = channel["id"].as_i64().unwrap_or_default();
                if self.seen.get(&id).is_none_or(|seen| seen.at < began) {
                    stale = 0;
                }
                self.take(channel)?;
            }
            if stale == 2 || channels.is_empty() && page > 0 {
                self.seen.retain(|_, seen| seen.at >= began || seen.view.is_none());
                (self.listed, self.listing) = (true, None);
                return Ok(true);
            }
            self.listing = Some(Listing { page: page + 1, stale, began });
        }
        Ok(false)
    }

    /// Every channel, whatever time that takes.
    fn list_all(&mut self) -> Result<(), GatewayReason> {
        self.listing = None;
        self.go_on_listing(true).map(drop)
    }

    /// Looks at these channels, as far as the gateway's limit on requests allows; else they are as they were.
    fn look(&mut self, channels: &[ChannelSelect]) -> Result<Vec<ChannelView>, GatewayReason> {
        let id_of = |select: &ChannelSelect| match select {
            ChannelSelect::Id(id) => Some(*id),
            ChannelSelect::Name(_) => None,
        };
        let ids: Vec<i64> = channels.iter().filter_map(id_of).collect();
        let has_names = ids.len() < channels.len();
        if has_names || ids.len() > FEW {
            if self.go_on_listing(false)? {
                // A channel that is deleted while the list is read makes another one slip through: it is asked for.
                let missed: Vec<i64> = ids.iter().copied().filter(|id| !self.seen.contains_key(id)).collect();
                for id in missed.into_iter().take(FEW) {
                    self.look_at(id)?;
                }
            }
            let is_known = |id: &i64| self.seen.contains_key(id);
            if !self.listed && (has_names || !ids.iter().all(is_known)) {
                // What is not seen yet is not missing.
                return Err(ApiFailure::RateLimited.into());
            }
        } else {
            for id in ids {
                if self.client.spare() > 0 || !self.seen.contains_key(&id) {
                    self.look_at(id)?;
                }
            }
        }
        let wanted = |view: &ChannelView| {
            channels.iter().any(|select| match select {
                ChannelSelect::Id(id) => view.id == *id,
                ChannelSelect::Name(name) => view.name == *name,
            })
        };
        Ok(self.views().filter(|view| wanted(view)).cloned().collect())
    }

    fn views(&self) -> impl Iterator<Item = &ChannelView> {
        self.seen.values().filter_map(|seen| seen.view.as_ref())
    }

    fn write(&mut self, publication: &Publication) -> Result<Published, GatewayError> {
        if !is_safe(publication) {
            return Err(GatewayError::Channel(ChannelReason::UnsafeKey));
        }
        let began = Instant::now();
        let id = publication.id;
        let mut is_written = false;
        if let Some(refused) = self.refused.get(&id).filter(|refused| refused.key == publication.key) {
            if refused.at.elapsed() < REFUSED_FOR {
                return Err(GatewayError::Channel(ChannelReason::Refused));
            }
            is_written = refused.is_written;
        }
        self.refused.remove(&id);
        let outcome = self.write_into(publication, &mut is_written);
        if outcome == Err(GatewayError::Channel(ChannelReason::Refused)) {
            let key = publication.key.clone();
            self.refused.insert(id, Refused { key, at: Instant::now(), is_written });
        }
        Ok(Published { reenabled: outcome?, waited: Duration::ZERO, held: began.elapsed() })
    }

    /// Writes the key, unless it is written already, and the status. Says whether the channel was enabled.
    fn write_into(&mut self, publication: &Publication, is_written: &mut bool) -> Result<bool, GatewayError> {
        let id = publication.id;
        let is_it = |view: &ChannelView| view.id == id && view.created_time == publication.created_time;
        let fresh = self.seen.get(&id).filter(|seen| seen.at.elapsed() < FRESH && !*is_written);
        let view = match fresh.and_then(|seen| seen.view.clone()) {
            Some(view) => Some(view),
            // A write to an id that is not there answers success, and leaves a stray ability behind.
            None => self.look_at(id).map_err(of_one)?,
        };
        let Some(mut view) = view.filter(is_it) else {
            return Err(GatewayError::Channel(ChannelReason::Conflict));
        };
        if let Some(reason) = self.kind.and_then(|kind| belongs_to_the_gateway(kind, view.kind, view.multi_key)) {
            return Err(GatewayError::Channel(reason));
        }
        if !*is_written {
            let echo = self.client.write_key(id, &publication.key).map_err(refused)?;
            *is_written = true;
            if echo.as_ref().and_then(answer::key).is_some_and(|echoed| echoed != publication.key) {
                return Err(GatewayError::Channel(ChannelReason::Conflict));
            }
            // What was seen before may be another status by now: somebody's hand must not be overruled.
            match echo.as_ref().and_then(answer::view).filter(is_it) {
                Some(echoed) => view = echoed,
                None if echo.is_none() && !publication.reenable => {}
                None => {
                    let now = self.look_at(id).map_err(of_one)?.filter(is_it);
                    view = now.ok_or(GatewayError::Channel(ChannelReason::Conflict))?;
                }
            }
        }
        let reenabled =
            publication.reenable && view.status == Status::AutoDisabled && self.enable(id).map_err(refused)?;
        self.learn();
        if let Some(seen) = self.seen.get_mut(&id).and_then(|seen| seen.view.as_mut()) {
            seen.status = if reenabled { Status::Enabled } else { view.status };
        }
        Ok(reenabled)
    }

    /// Sets status 1; says whether that changed it.
    fn enable(&mut self, id: i64) -> Result<bool, Refusal> {
        if self.kind == Some(GatewayKind::NewApi) {
            match self.client.set_enabled(id) {
                // Before 2026 there was no such route.
                Err(Refusal::NoRoute) => self.has_status_route = Some(false),
                outcome => return outcome,
            }
        }
        self.client.enable(id).map(|()| true)
    }

    /// Learns whether the gateway has loaded its channels after a write that it took.
    fn learn(&mut self) {
        if self.kind == Some(GatewayKind::NewApi) && self.has_status_route.is_none() {
            // No failure of the write: it is asked again after the next one.
            self.has_status_route = self.client.has_status_route().ok();
        }
        self.immediate = match self.kind {
            Some(GatewayKind::OneHub) => true,
            Some(GatewayKind::NewApi) => self.has_status_route == Some(true),
            Some(GatewayKind::OneApi) | None => false,
        };
    }
}

impl Gateway for ApiGateway {
    fn observe(&mut self, channels: &[ChannelSelect]) -> Result<Vec<ChannelView>, GatewayError> {
        self.look(channels).map_err(GatewayError::Database)
    }

    fn list(&mut self) -> Result<Vec<ChannelView>, GatewayError> {
        self.list_all().map_err(GatewayError::Database)?;
        Ok(self.views().cloned().collect())
    }

    fn publish(&mut self, batch: &[Publication]) -> Vec<Result<Published, GatewayError>> {
        let mut answers = Vec::with_capacity(batch.len());
        for publication in batch {
            let answer = self.write(publication);
            let is_over = matches!(answer, Err(GatewayError::Database(_)));
            answers.push(answer.clone());
            if is_over {
                // What stopped this one stops the others too, and asking again would only use up the limit. What one
                // channel is refused for is its own affair.
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
        self.client.page(0).map(drop).map_err(|refusal| GatewayError::Database(failure(refusal).into()))
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
        if let Err(reason) = self.list_all() {
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

/// What it means for the channel that was asked for. Only what concerns them all is a failure of the whole API.
fn refused(refusal: Refusal) -> GatewayError {
    match refusal {
        Refusal::NoChannel => GatewayError::Channel(ChannelReason::Conflict),
        other => of_one(failure(other).into()),
    }
}

fn of_one(reason: GatewayReason) -> GatewayError {
    match reason {
        GatewayReason::Api { failure: ApiFailure::Refused } => GatewayError::Channel(ChannelReason::Refused),
        other => GatewayError::Database(other),
    }
}
