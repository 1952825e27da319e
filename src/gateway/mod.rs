//! Where keys go: the port to a gateway, whatever the way in.
//!
//! The port is synchronous: every way in runs on a thread of its own, and SQLite's waits never touch the async
//! thread. Knows nothing of credentials; called by `agent` and by commands.

pub mod api;
mod batch;
pub mod kind;
pub mod reload;
#[cfg(feature = "servers")]
pub mod server;
pub mod sqlite;
mod stored;
pub mod thread;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::view::ChannelView;
use crate::config::plan::{ChannelSelect, Database, GatewayKind, GatewayPlan};
use crate::finding::Finding;
use crate::reason::{ChannelReason, GatewayReason};
use crate::secret::Secret;

use api::ApiGateway;
use reload::Reloading;
use sqlite::SqliteGateway;

/// How many keys one transaction writes, so that it holds the gateway's lock for about a millisecond.
pub const BATCH: usize = 32;

/// Channels whose key lies in the database and is not used: their gateway loads none by itself, and could not be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unloaded {
    /// Why it could not be told.
    pub reason: GatewayReason,
    /// Their ids.
    pub channels: BTreeSet<i64>,
}

/// One key that is to be written into one channel.
#[derive(Debug, Clone)]
pub struct Publication {
    /// `channels.id`.
    pub id: i64,
    /// `channels.created_time` of the row that was looked at.
    pub created_time: i64,
    /// The key that was read: the write happens only if it is still there (compare and set). `None` where the way in
    /// does not show keys.
    pub expected: Option<Secret>,
    /// The key to write. May equal `expected` when only the status is to be set.
    pub key: Secret,
    /// Whether status 3 becomes 1, and the channel's abilities are switched on; at status 1 the abilities alone.
    pub reenable: bool,
    /// Whether this is the key that was there before us: it is put back as it was, whatever it looks like.
    pub gives_back: bool,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Whether the status went from 3 to 1.
    pub reenabled: bool,
    /// How long the write waited for the lock.
    pub waited: Duration,
    /// How long it held the lock (the whole batch's).
    pub held: Duration,
}

/// Why a look or a write did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// The database as a whole.
    #[error("gateway database: {0:?}")]
    Database(GatewayReason),
    /// This one channel.
    #[error("channel: {0:?}")]
    Channel(ChannelReason),
}

/// What a `stat` of the database and its `-wal` shows; two that differ mean that somebody wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Trace([(u64, i64, i64, u64); 2]);

/// Which database it really is, whatever leads there: two gateways of one place are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(String);

/// The way into the gateway of a plan. Touches nothing yet.
pub fn open(plan: &Arc<GatewayPlan>) -> Box<dyn Gateway> {
    let api = plan.api.clone().map(|api| ApiGateway::new(Arc::clone(plan), api));
    let database: Option<Box<dyn Gateway>> = match &plan.database {
        Database::File(path) => Some(Box::new(SqliteGateway::new(path.clone(), Arc::clone(plan)))),
        #[cfg(feature = "servers")]
        Database::Server(address) => Some(Box::new(server::ServerGateway::new(address.clone(), Arc::clone(plan)))),
        #[cfg(not(feature = "servers"))]
        Database::Server(_) => unreachable!("the config has refused it"),
        Database::None => None,
    };
    match (database, api) {
        (Some(database), Some(api)) => Box::new(Reloading::new(database, api)),
        (Some(database), None) => database,
        (None, Some(api)) => Box::new(api),
        (None, None) => unreachable!("the config has refused it"),
    }
}

/// A gateway, reached in some way.
pub trait Gateway: Send {
    /// Looks at the channels that are asked for; those that are not there are left out.
    ///
    /// # Errors
    /// When the database cannot be read or is not a gateway's; nothing was changed.
    fn observe(&mut self, channels: &[ChannelSelect]) -> Result<Vec<ChannelView>, GatewayError>;

    /// Looks at every channel.
    ///
    /// # Errors
    /// As [`Gateway::observe`].
    fn list(&mut self) -> Result<Vec<ChannelView>, GatewayError>;

    /// Writes a batch of keys in one short transaction; one answer each, in order.
    fn publish(&mut self, batch: &[Publication]) -> Vec<Result<Published, GatewayError>>;

    /// What the gateway was recognised as at the last look.
    fn kind(&self) -> Option<GatewayKind>;

    /// Whoever writes keys begins: what was written before may not have come to the end that [`Gateway::catch_up`] brings.
    fn begin(&mut self) {}

    /// A key may come soon: opens what can be held open until it does. What stands in the way is said by the look that
    /// comes with it.
    fn expect(&mut self) {}

    /// Does a piece of what may wait until nobody else does: after keys were written, or before they are; says whether
    /// there is more to do now.
    fn catch_up(&mut self) -> bool {
        false
    }

    /// Whether something is held open for the request that may come next; [`Gateway::leave`] ends that.
    fn stays(&self) -> bool {
        false
    }

    /// Closes what is held open: no request came for a moment.
    fn leave(&mut self) {}

    /// Channels whose key the gateway does not use until it is told of it, if it could not be told.
    fn unloaded(&self) -> Option<Unloaded> {
        None
    }

    /// Whether a key that was written is used with the gateway's next request, whatever it has in memory.
    fn immediate(&self) -> bool {
        false
    }

    /// Which database it is; `None` while that cannot be told.
    fn place(&mut self) -> Option<Place>;

    /// Proves that a key could be written now, without writing anything.
    ///
    /// # Errors
    /// What stands in the way.
    fn probe(&mut self) -> Result<(), GatewayError>;

    /// A cheap sign of whether somebody wrote since the last one (never opens the file).
    fn trace(&self) -> Trace;

    /// Whether somebody else wrote since this was asked last, by the [`Trace`]; true in doubt, and the first time.
    fn changed(&mut self) -> bool;

    /// Whether somebody else has been writing lately, so that batches must leave room for him; true in doubt.
    fn is_busy(&self) -> bool {
        true
    }

    /// What there is to say about it.
    fn examine(&mut self) -> Vec<Finding>;
}
