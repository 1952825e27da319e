//! Looks and writes on their way: what the gateway's thread and the vault are asked, away from the loop.

use std::collections::HashMap;

use crate::channel::ownership::Adoption;
use crate::channel::view::ChannelView;
use crate::config::plan::ChannelSelect;
use crate::credential::record::RecordId;
use crate::failpoint::failpoint;
use crate::gateway::thread::GatewayHandle;
use crate::gateway::{GatewayError, Publication, Published};
use crate::reason::GatewayReason;
use crate::secret::Secret;
use crate::vault::{Change, FingerprintKind, VaultHandle};

/// What a look brought: the rows, and of each adopted one with a key we did not expect whether that key is one of
/// ours.
pub struct Seen {
    pub(super) indexes: Vec<usize>,
    pub(super) serial: u64,
    /// By id, in order.
    pub(super) views: Vec<ChannelView>,
    /// By channel id: whether the vault knows the key that was found. Only of those that were asked for.
    pub(super) ours: HashMap<i64, bool>,
    /// Whether a key could be written; `None` when that was not tried.
    pub(super) writable: Option<Result<(), GatewayError>>,
}

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
    pub(super) serial: u64,
    pub(super) selects: Vec<ChannelSelect>,
    pub(super) expected: HashMap<i64, Secret>,
    pub(super) probe: bool,
}

impl LookOrder {
    /// Looks; blocks nobody.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn carry_out(self) -> Result<Seen, GatewayError> {
        let mut views = self.handle.observe(self.selects).await?;
        views.sort_by_key(|view| view.id);
        let mut ours = HashMap::new();
        for view in &views {
            if self.expected.get(&view.id).is_some_and(|expected| *expected != view.key) {
                let fingerprint = self.vault.fingerprinter().of(&view.key);
                // A vault that cannot be read right now is no proof of a stranger: asked again at the next look.
                if let Ok(seen_by) = self.vault.seen_by(FingerprintKind::Key, fingerprint).await {
                    ours.insert(view.id, !seen_by.is_empty());
                }
            }
        }
        let writable = if self.probe { Some(self.handle.probe().await) } else { None };
        Ok(Seen { indexes: self.indexes, serial: self.serial, views, ours, writable })
    }
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
    pub(super) adoption: Adoption,
    /// What must be durable before the gateway hears of the key.
    pub(super) before: Vec<Change>,
}

/// Deliveries that are to be made.
pub struct DeliveryOrder {
    pub(super) handle: GatewayHandle,
    pub(super) vault: VaultHandle,
    pub(super) deliveries: Vec<Delivery>,
}

impl DeliveryOrder {
    /// Writes: first what must be durable, then the keys.
    pub async fn carry_out(self) -> Vec<(Delivery, Result<Published, GatewayError>)> {
        let before: Vec<Change> = self.deliveries.iter().flat_map(|delivery| delivery.before.clone()).collect();
        if !before.is_empty()
            && let Err(error) = self.vault.commit(before).await
        {
            tracing::error!(%error, "no key is written while the vault cannot note it");
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
