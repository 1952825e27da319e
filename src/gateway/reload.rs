//! The admin API beside the database: keys are written by SQL, in one transaction and bound to the key they replace,
//! and the gateway is then told to load its channels, so that it uses them at once.
//!
//! Whoever publishes has his answer before the gateway is told: an API that is slow or gone holds up no key. What it was
//! not told of is remembered and told later: one-hub never looks into its database by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::api::ApiGateway;
use super::{Gateway, GatewayError, Place, Publication, Published, Trace, Unloaded};
use crate::channel::view::ChannelView;
use crate::config::plan::{ChannelSelect, GatewayKind};
use crate::finding::{Finding, Severity};
use crate::reason::{ApiFailure, ChannelReason, GatewayReason};

/// How long an API that failed is left alone at first; doubled each time, and [`LONGEST_PAUSE`] at most.
const PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A gateway's database, and its admin API.
pub struct Reloading {
    database: Box<dyn Gateway>,
    api: ApiGateway,
    /// Channels whose key the gateway may not have in memory yet, by id, with their `created_time`.
    untold: BTreeMap<i64, i64>,
    /// Those that the API does not show, since it was last told of any: another gateway's API, or they are gone.
    unknown: BTreeSet<i64>,
    /// Why it could not be told at the last try.
    failure: Option<GatewayReason>,
    /// Channels that could not be used to tell it, since the last failure of the whole.
    useless: usize,
    failures: u32,
    pause: Duration,
    /// Not before this moment is it told.
    resume: Instant,
    /// Whether what was written before we began may be unknown to it.
    distrusts: bool,
    /// Whether the last key was in use at once; `None` while none was written.
    reloads: Option<bool>,
}

impl Reloading {
    /// Puts the two together.
    pub fn new(database: Box<dyn Gateway>, api: ApiGateway) -> Self {
        Self {
            database,
            api,
            untold: BTreeMap::new(),
            unknown: BTreeSet::new(),
            failure: None,
            useless: 0,
            failures: 0,
            pause: PAUSE,
            resume: Instant::now(),
            distrusts: false,
            reloads: None,
        }
    }

    /// Leaves an API that failed alone for this long at first.
    #[must_use]
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Tells the gateway, by way of the first channel that it was not told of. It loads all its channels for one.
    fn tell(&mut self) {
        let Some((id, created_time)) = self.untold.iter().nth(self.useless).map(|(id, time)| (*id, *time)) else {
            return;
        };
        match self.api.load(id, created_time) {
            Ok(at_once) => {
                if self.failures > 0 {
                    tracing::info!("the gateway was told of its new keys");
                }
                self.untold.clear();
                self.unknown.clear();
                self.failure = None;
                (self.useless, self.failures) = (0, 0);
                self.reloads = Some(at_once);
            }
            Err(GatewayError::Channel(ChannelReason::Conflict)) => {
                // It is gone, or another one by now: nobody needs its key.
                self.untold.remove(&id);
                self.unknown.insert(id);
                if self.untold.is_empty() {
                    tracing::warn!("the admin API shows no channel that a key was written into: is it this gateway's?");
                    self.reloads = Some(false);
                    self.failure = Some(ApiFailure::OtherGateway.into());
                }
            }
            // The next one may do.
            Err(GatewayError::Channel(_)) if self.useless + 1 < self.untold.len() => self.useless += 1,
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!(%error, "the gateway cannot be told of new keys by its admin API; it is tried again");
                }
                let pause = self.pause.saturating_mul(1 << self.failures.min(4)).min(LONGEST_PAUSE);
                self.resume = Instant::now() + pause;
                self.failures = self.failures.saturating_add(1);
                self.useless = 0;
                self.reloads = Some(false);
                self.failure = Some(match error {
                    GatewayError::Database(reason) => reason,
                    GatewayError::Channel(_) => ApiFailure::Refused.into(),
                });
            }
        }
    }

    fn is_due(&self) -> bool {
        !self.untold.is_empty() && Instant::now() >= self.resume
    }
}

impl Gateway for Reloading {
    fn observe(&mut self, channels: &[ChannelSelect]) -> Result<Vec<ChannelView>, GatewayError> {
        let views = self.database.observe(channels)?;
        if self.distrusts && !views.is_empty() {
            self.distrusts = false;
            // The others load their channels from time to time by themselves.
            if self.kind() == Some(GatewayKind::OneHub) {
                self.untold.extend(views.iter().map(|view| (view.id, view.created_time)));
            }
        }
        Ok(views)
    }

    fn list(&mut self) -> Result<Vec<ChannelView>, GatewayError> {
        self.database.list()
    }

    fn publish(&mut self, batch: &[Publication]) -> Vec<Result<Published, GatewayError>> {
        let answers = self.database.publish(batch);
        // One-API does not reload whatever it is told.
        if self.database.kind() != Some(GatewayKind::OneApi) {
            let written = batch.iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
            self.untold.extend(written.map(|(publication, _)| (publication.id, publication.created_time)));
        }
        answers
    }

    fn begin(&mut self) {
        self.distrusts = true;
    }

    fn expect(&mut self) {
        self.database.expect();
    }

    fn catch_up(&mut self) -> bool {
        if self.is_due() {
            // The API may take long.
            self.database.leave();
            self.tell();
        }
        self.database.catch_up() || self.is_due()
    }

    fn stays(&self) -> bool {
        self.database.stays()
    }

    fn leave(&mut self) {
        self.database.leave();
    }

    fn kind(&self) -> Option<GatewayKind> {
        self.database.kind()
    }

    fn place(&mut self) -> Option<Place> {
        self.database.place()
    }

    fn unloaded(&self) -> Option<Unloaded> {
        // The others load their channels from time to time by themselves.
        let reason = self.failure.clone().filter(|_| self.kind() == Some(GatewayKind::OneHub))?;
        let channels = self.untold.keys().chain(&self.unknown).copied().collect();
        Some(Unloaded { reason, channels })
    }

    fn immediate(&self) -> bool {
        self.reloads == Some(true)
    }

    fn probe(&mut self) -> Result<(), GatewayError> {
        self.database.probe()
    }

    fn trace(&self) -> Trace {
        self.database.trace()
    }

    fn changed(&mut self) -> bool {
        self.database.changed()
    }

    fn is_busy(&self) -> bool {
        self.database.is_busy()
    }

    fn examine(&mut self) -> Vec<Finding> {
        let mut findings = self.database.examine();
        // Without the API keys arrive all the same, only later.
        let of_the_api = self.api.examine().into_iter().filter(|finding| finding.severity == Severity::Error);
        findings.extend(of_the_api.map(|finding| Finding { severity: Severity::Warning, ..finding }));
        findings
    }
}
