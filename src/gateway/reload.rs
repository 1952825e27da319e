//! The admin API beside the database: keys are written by SQL, in one transaction and bound to the key they replace,
//! and the gateway is then told to load its channels, so that it uses them at once.

use super::api::ApiGateway;
use super::{Gateway, GatewayError, Place, Publication, Published, Trace};
use crate::channel::view::ChannelView;
use crate::config::plan::{ChannelSelect, GatewayKind};
use crate::finding::{Finding, Severity};

/// A gateway's database, and its admin API.
pub struct Reloading {
    database: Box<dyn Gateway>,
    api: ApiGateway,
    /// Whether the last key was in use at once; `None` while none was written.
    reloads: Option<bool>,
}

impl Reloading {
    /// Puts the two together.
    pub fn new(database: Box<dyn Gateway>, api: ApiGateway) -> Self {
        Self { database, api, reloads: None }
    }

    /// Tells the gateway of keys that were written. One that cannot be told goes on with what it has in memory, as
    /// one without an API does: no failure of the write.
    fn reload<'p>(&mut self, written: impl Iterator<Item = &'p Publication>) {
        for publication in written {
            let told = self.api.reload(publication.id, &publication.key);
            let before = self.reloads;
            match told {
                Ok(false) => continue,
                Ok(true) => self.reloads = Some(true),
                Err(error) => {
                    self.reloads = Some(false);
                    if before != self.reloads {
                        tracing::warn!(%error, "the gateway was not told of a new key; it loads it at its next reload");
                    }
                    return;
                }
            }
            // new-api loads all its channels for one of them.
            if self.kind() == Some(GatewayKind::NewApi) {
                return;
            }
        }
    }
}

impl Gateway for Reloading {
    fn observe(&mut self, channels: &[ChannelSelect]) -> Result<Vec<ChannelView>, GatewayError> {
        self.database.observe(channels)
    }

    fn list(&mut self) -> Result<Vec<ChannelView>, GatewayError> {
        self.database.list()
    }

    fn publish(&mut self, batch: &[Publication]) -> Vec<Result<Published, GatewayError>> {
        let answers = self.database.publish(batch);
        // One-API does not reload whatever it is told.
        if self.database.kind() != Some(GatewayKind::OneApi) {
            let written = batch.iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
            self.reload(written.map(|(publication, _)| publication));
        }
        answers
    }

    fn kind(&self) -> Option<GatewayKind> {
        self.database.kind()
    }

    fn place(&mut self) -> Option<Place> {
        self.database.place()
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
