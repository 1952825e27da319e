//! A gateway reached through its SQLite file.
//!
//! Opens the database for a look and the write that may follow it, and closes it again (`open`), reads rows (`rows`),
//! writes keys (`write`) and says in plain terms what stands in the way (`diagnose`, `mount`). It blocks: call it on the
//! thread of [`super::thread`], or in a command that has nothing else to do.

mod diagnose;
mod mount;
mod open;
mod rows;
mod write;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Transaction, TransactionBehavior};

use self::diagnose::{beside, hindrances};
use self::mount::Hazards;
use self::open::{Patience, Visit};
use super::kind::accept;
use super::{BATCH, Gateway, GatewayError, Place, Publication, Published, Trace, batch};
use crate::channel::view::ChannelView;
use crate::config::plan::{ChannelSelect, GatewayKind, GatewayPlan};
use crate::finding::Finding;
use crate::reason::{ChannelReason, GatewayReason};

/// For how long after somebody else's write the gateway counts as busy.
const BUSY_FOR: Duration = Duration::from_secs(3);

/// One-API, New API or (beside its admin API) one-hub, by the SQLite file it runs on.
#[derive(Debug)]
pub struct SqliteGateway {
    database: PathBuf,
    plan: Arc<GatewayPlan>,
    kind: Option<GatewayKind>,
    hazards: Hazards,
    seen: Trace,
    /// When somebody else's write was noticed last.
    others_wrote: Option<Instant>,
    /// Open, for the request that may come next.
    visit: Option<Visit>,
}

impl SqliteGateway {
    /// The gateway of a plan, in this file. Touches nothing yet.
    pub fn new(database: PathBuf, plan: Arc<GatewayPlan>) -> Self {
        let (hazards, seen) = (Hazards::default(), Trace::default());
        Self { database, plan, kind: None, hazards, seen, others_wrote: None, visit: None }
    }

    fn visit(&mut self) -> Result<Visit, GatewayReason> {
        self.visit_within(self.plan.busy_timeout)
    }

    /// Waits no longer than this for a lock that somebody else holds.
    fn visit_within(&mut self, patience: Duration) -> Result<Visit, GatewayReason> {
        let patience = Patience::new(patience);
        let visit = Visit::open(&self.database, &self.plan, &mut self.hazards, patience, self.visit.take())?;
        self.kind = Some(visit.kind);
        accept(visit.kind, self.plan.kind, self.plan.api.is_some())?;
        Ok(visit)
    }

    fn look(&mut self, channels: Option<&[ChannelSelect]>) -> Result<Vec<ChannelView>, GatewayReason> {
        let visit = self.visit()?;
        let views = match channels {
            Some(channels) => rows::some(&visit.connection, &visit.select, channels),
            None => rows::all(&visit.connection, &visit.select),
        };
        let views = views.map_err(|error| visit.reason(error))?;
        // Few are looked at when they are to be written.
        self.visit = channels.is_some_and(|channels| channels.len() <= BATCH).then_some(visit);
        Ok(views)
    }

    fn write(&mut self, batch: &[&Publication]) -> Result<Vec<Result<Published, ChannelReason>>, GatewayReason> {
        let visit = self.visit()?;
        let written = write::write(&visit, batch).map_err(|obstacle| visit.reason(obstacle))?;
        // Our own write is no news, unless somebody else's came before it or between.
        match written.ours {
            Some((before, after)) if self.seen == before => self.seen = after,
            _ => self.others_wrote = Some(Instant::now()),
        }
        self.visit = Some(visit);
        Ok(written.answers)
    }

    fn try_write(&mut self) -> Result<(), GatewayReason> {
        let visit = self.visit()?;
        // SQLite notices an unwritable directory only when it makes the journal, after the lock is taken.
        if let Some(hindrance) = hindrances(&visit.path).into_iter().next() {
            return Err(hindrance);
        }
        Transaction::new_unchecked(&visit.connection, TransactionBehavior::Immediate)
            .and_then(Transaction::rollback)
            .map_err(|error| visit.reason(error))
    }
}

impl Gateway for SqliteGateway {
    fn observe(&mut self, channels: &[ChannelSelect]) -> Result<Vec<ChannelView>, GatewayError> {
        self.look(Some(channels)).map_err(GatewayError::Database)
    }

    fn list(&mut self) -> Result<Vec<ChannelView>, GatewayError> {
        self.look(None).map_err(GatewayError::Database)
    }

    fn publish(&mut self, batch: &[Publication]) -> Vec<Result<Published, GatewayError>> {
        batch::publish(batch, |safe| self.write(safe))
    }

    fn kind(&self) -> Option<GatewayKind> {
        self.kind
    }

    fn expect(&mut self) {
        self.visit = self.visit_within(Duration::ZERO).ok();
    }

    fn catch_up(&mut self) -> bool {
        // Who stays may have to write in a moment.
        if let Some(visit) = &self.visit {
            write::get_ready(visit);
        }
        false
    }

    fn stays(&self) -> bool {
        self.visit.is_some()
    }

    fn leave(&mut self) {
        self.visit = None;
    }

    fn place(&mut self) -> Option<Place> {
        let metadata = std::fs::metadata(&self.database).ok()?;
        Some(Place(format!("{}:{}", metadata.dev(), metadata.ino())))
    }

    fn probe(&mut self) -> Result<(), GatewayError> {
        self.try_write().map_err(GatewayError::Database)
    }

    fn trace(&self) -> Trace {
        std::fs::canonicalize(&self.database).map_or_else(|_| Trace::default(), |path| trace_of(&path))
    }

    fn changed(&mut self) -> bool {
        let trace = self.trace();
        let known = std::mem::replace(&mut self.seen, trace);
        // The first trace is compared with nothing.
        if known != trace && known != Trace::default() {
            self.others_wrote = Some(Instant::now());
        }
        known != trace
    }

    fn is_busy(&self) -> bool {
        self.others_wrote.is_some_and(|at| at.elapsed() < BUSY_FOR)
    }

    fn examine(&mut self) -> Vec<Finding> {
        let about = format!("gateway {:?}", &*self.plan.name);
        let Err(reason) = self.try_write().and_then(|()| mount::has_room(&self.database)) else {
            return Vec::new();
        };
        // Where permissions are at fault, all of them: mending one only shows the next.
        let mut reasons = match reason {
            GatewayReason::ReadOnlyFile { .. } | GatewayReason::ReadOnlyDirectory { .. } => {
                std::fs::canonicalize(&self.database).map(|path| hindrances(&path)).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        if !reasons.contains(&reason) {
            reasons.insert(0, reason);
        }
        reasons.into_iter().map(|reason| Finding::error(about.as_str(), reason)).collect()
    }
}

/// What a `stat` shows of a database and of its `-wal`.
fn trace_of(database: &Path) -> Trace {
    let stat = |path: &Path| std::fs::metadata(path).ok();
    let sign = |stat: std::fs::Metadata| (stat.size(), stat.mtime(), stat.mtime_nsec(), stat.ino());
    let database_sign = stat(database).map(sign).unwrap_or_default();
    // An empty -wal comes and goes with whoever opens the database, and says nothing.
    let wal_sign = stat(&beside(database, "-wal")).filter(|stat| stat.size() > 0).map(sign).unwrap_or_default();
    Trace([database_sign, wal_sign])
}
