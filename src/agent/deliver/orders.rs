//! Looks and writes on their way: what the gateway's thread and the vault are asked, away from the loop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::channel::ownership::Adoption;
use crate::channel::view::ChannelView;
use crate::config::plan::ChannelSelect;
use crate::credential::record::RecordId;
use crate::failpoint::failpoint;
use crate::gateway::thread::GatewayHandle;
use crate::gateway::{GatewayError, Place, Publication, Published, Unloaded};
use crate::reason::GatewayReason;
use crate::secret::Secret;
use crate::vault::{Change, FingerprintKind, VaultHandle};

/// How long another gateway may take to say where its database is.
const SAID_WITHIN: Duration = Duration::from_secs(1);

/// Who ordered a look or writes. What comes back to a room that has taken the other's place, or has other targets by
/// now, says nothing of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Each room has its own number, those of one name too.
    pub(super) room: u64,
    /// Counts the changes of its targets.
    pub(super) targets: u64,
}

/// What a look brought: the rows, and of each adopted one with a key we did not expect whether that key is one of
/// ours.
pub struct Seen {
    pub(super) indexes: Vec<usize>,
    /// By id, in order.
    pub(super) views: Vec<ChannelView>,
    /// By channel id: whether the vault knows the key that was found. Only of those that were asked for.
    pub(super) ours: HashMap<i64, bool>,
    /// Which of the gateways before this one in the config is the same database; `None` when that was not asked.
    pub(super) same_as: Option<Result<Option<Arc<str>>, Untold>>,
    /// Whether a key could be written; `None` when that was not tried.
    pub(super) writable: Option<Result<(), GatewayError>>,
    /// Channels whose key their gateway does not use.
    pub(super) unloaded: Option<Unloaded>,
}

/// One of the places that were to be compared could not be told.
#[derive(Debug)]
pub struct Untold;

impl Seen {
    /// The targets that were looked at, by their places in the room.
    pub fn indexes(&self) -> &[usize] {
        &self.indexes
    }
}

/// A look that is to be made.
pub struct LookOrder {
    pub(super) handle: GatewayHandle,
    pub(super) vault: VaultHandle,
    pub(super) indexes: Vec<usize>,
    /// Who ordered it.
    pub origin: Origin,
    pub(super) selects: Vec<ChannelSelect>,
    /// By channel id: the key that is expected there; `None` where none is, and the vault is asked about any.
    pub(super) expected: HashMap<i64, Option<Secret>>,
    /// By channel id: an earlier key that is known to be ours.
    pub(super) own: HashMap<i64, Secret>,
    pub(super) probe: bool,
    /// Whether the gateway is told of keys that are written past it.
    pub(super) is_told: bool,
    /// This gateway's name, if its place is to be compared with others'.
    pub(super) compare: Option<Arc<str>>,
    /// Those that come before it.
    pub(super) others: Vec<(Arc<str>, GatewayHandle)>,
}

impl LookOrder {
    /// Has it compare its gateway's place with those that come before it here, if that is to be done.
    pub fn compare_with(&mut self, gateways: &[(Arc<str>, GatewayHandle)]) {
        let Some(own) = &self.compare else { return };
        self.others = gateways.iter().take_while(|(name, _)| name != own).cloned().collect();
    }

    /// Looks; blocks nobody.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn carry_out(self) -> Result<Seen, GatewayError> {
        let mut views = self.handle.observe(self.selects).await?;
        views.sort_by_key(|view| view.id);
        let unexpected = views.iter().filter_map(|view| {
            let key = view.key.as_ref()?;
            self.expected.get(&view.id).filter(|expected| expected.as_ref() != Some(key))?;
            Some((view.id, key))
        });
        // All of them at once: the vault's thread may be in the middle of a commit.
        let ours = join_all(unexpected.map(async |(id, key)| {
            if self.own.get(&id) == Some(key) {
                return Some((id, true));
            }
            let fingerprint = self.vault.fingerprinter().of(key);
            // A vault that cannot be read right now is no proof of a stranger: asked again at the next look.
            let seen_by = self.vault.seen_by(FingerprintKind::Key, fingerprint).await.ok()?;
            Some((id, !seen_by.is_empty()))
        }));
        let ours = ours.await.into_iter().flatten().collect();
        let writable = if self.probe { Some(self.handle.probe().await) } else { None };
        let same_as = if self.compare.is_some() { Some(same_as(&self.handle, &self.others).await) } else { None };
        let unloaded = if self.is_told {
            // Of the keys that were just written, too.
            self.handle.settle().await;
            self.handle.unloaded().await
        } else {
            None
        };
        Ok(Seen { indexes: self.indexes, views, ours, same_as, writable, unloaded })
    }
}

/// The first of the others that is the same database as this one.
async fn same_as(handle: &GatewayHandle, others: &[(Arc<str>, GatewayHandle)]) -> Result<Option<Arc<str>>, Untold> {
    if others.is_empty() {
        return Ok(None);
    }
    let own = place(handle).await.ok_or(Untold)?;
    let mut answer = Ok(None);
    for (name, other) in others {
        match place(other).await {
            Some(place) if place == own => return Ok(Some(Arc::clone(name))),
            Some(_) => {}
            None => answer = Err(Untold),
        }
    }
    answer
}

/// Where a gateway's database is, if it says so soon: another one's trouble must not hold up this one's keys.
async fn place(handle: &GatewayHandle) -> Option<Place> {
    tokio::time::timeout(SAID_WITHIN, handle.place()).await.ok().flatten()
}

/// A key that is to be written, and what it means for the adoption.
#[derive(Clone)]
pub struct Delivery {
    /// The credential's record.
    pub record: RecordId,
    /// How the config names the channel.
    pub select: ChannelSelect,
    pub(super) publication: Publication,
    /// The adoption as it will be when the key has arrived.
    pub(super) adoption: Box<Adoption>,
    /// What must be durable before the gateway hears of the key.
    pub(super) before: Vec<Change>,
}

/// Deliveries that are to be made.
pub struct DeliveryOrder {
    /// Who ordered them.
    pub origin: Origin,
    pub(super) handle: GatewayHandle,
    pub(super) vault: VaultHandle,
    pub(super) deliveries: Vec<Delivery>,
}

impl DeliveryOrder {
    /// Writes: first what must be durable, then the keys.
    pub async fn carry_out(self) -> Vec<(Delivery, Result<Published, GatewayError>)> {
        let before: Vec<Change> = self.deliveries.iter().flat_map(|delivery| delivery.before.clone()).collect();
        if !before.is_empty() && self.vault.commit(before).await.is_err() {
            // No key is written while the vault cannot note it.
            let failed = GatewayError::Database(GatewayReason::Failed { error: "the vault cannot be written".into() });
            return self.deliveries.into_iter().map(|delivery| (delivery, Err(failed.clone()))).collect();
        }
        let publications = self.deliveries.iter().map(|delivery| delivery.publication.clone()).collect();
        failpoint!("before-publish");
        let results = self.handle.publish(publications).await;
        failpoint!("after-publish");
        self.deliveries.into_iter().zip(results).collect()
    }
}
