//! A gateway reached through its database server: MySQL, MariaDB or PostgreSQL.
//!
//! One connection, made when it is needed and kept; what the two engines say differently is data (`dialect`). Reads rows
//! (`rows`), writes keys (`write`), says in plain terms what stands in the way (`diagnose`). The port is synchronous: the
//! library's waits happen on a small runtime of this gateway's own, on the thread that calls ([`super::thread`]).

mod diagnose;
mod dialect;
mod link;
mod rows;
mod write;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use self::diagnose::{Obstacle, Way};
use self::dialect::Dialect;
use self::link::Link;
use super::kind::{accept, identify};
use super::{Gateway, GatewayError, Place, Publication, Published, Trace, batch};
use crate::channel::view::ChannelView;
use crate::config::plan::{ChannelSelect, GatewayKind, GatewayPlan};
use crate::dsn::{Dsn, NotADsn};
use crate::finding::Finding;
use crate::reason::{ChannelReason, GatewayReason, SecretReason};
use crate::secret::{Secret, SecretSource};
use crate::secrets;

/// How long anything but waiting for a lock may take: then the server, or the way to it, is as good as gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long leave-taking may last.
const FAREWELL: Duration = Duration::from_secs(1);

/// How often an address that stands in a file is read again.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// One-API, New API or (beside its admin API) one-hub, by the database server it runs on.
pub struct ServerGateway {
    address: SecretSource,
    plan: Arc<GatewayPlan>,
    runtime: Option<Runtime>,
    session: Option<Session>,
    kind: Option<GatewayKind>,
    /// The channels that were looked at: what [`Gateway::changed`] is about.
    watched: BTreeSet<i64>,
    checked: Option<Vec<link::TextRow>>,
}

/// A connection, and what it was made from.
struct Session {
    link: Link,
    dsn: Dsn,
    dialect: &'static Dialect,
    text: Secret,
    read_at: Instant,
}

/// What the tables were recognised as.
struct Recognised {
    kind: GatewayKind,
    /// The SELECT that reads channels with the columns that this database has.
    select: String,
}

impl ServerGateway {
    /// The gateway of a plan, on the server whose address is read from this source. Touches nothing yet.
    pub fn new(address: SecretSource, plan: Arc<GatewayPlan>) -> Self {
        Self { address, plan, runtime: None, session: None, kind: None, watched: BTreeSet::new(), checked: None }
    }

    /// Runs one operation to its end on this gateway's own runtime.
    fn block_on<T>(
        &mut self,
        operation: impl AsyncFnOnce(&mut Self) -> Result<T, GatewayReason>,
    ) -> Result<T, GatewayReason> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| GatewayReason::Failed { error: error.to_string() })?,
        };
        let outcome = runtime.block_on(operation(self));
        self.runtime = Some(runtime);
        outcome
    }

    /// Runs an operation on a connection whose tables are recognised. Who was let through before us in a deadlock costs
    /// another try, as long as the busy timeout lasts.
    async fn visit<T>(
        &mut self,
        in_transaction: bool,
        operation: impl AsyncFn(&mut Link, &'static Dialect, &Recognised, Duration) -> Result<T, Obstacle>,
    ) -> Result<T, GatewayReason> {
        let recognised = self.recognised().await?;
        self.kind = Some(recognised.kind);
        accept(recognised.kind, self.plan.kind, self.plan.api.is_some())?;
        let began = Instant::now();
        loop {
            let session = self.session.as_mut().ok_or_else(no_session)?;
            let patience = self.plan.busy_timeout.saturating_sub(began.elapsed());
            let run = operation(&mut session.link, session.dialect, &recognised, patience);
            let obstacle = match tokio::time::timeout(patience + ANSWER_WITHIN, run).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(obstacle)) => obstacle,
                Err(_) => GatewayReason::ConnectionLost { at: session.dsn.to_string() }.into(),
            };
            let way = obstacle.way();
            let reason = obstacle.reason(&session.dsn, began.elapsed(), true);
            let undone = match way {
                Way::Reconnect => false,
                _ if in_transaction => session.rolled_back().await,
                _ => true,
            };
            if !undone {
                // The server rolls back what a connection that is gone had not committed.
                self.session = None;
            }
            if way != Way::Again || !undone || began.elapsed() >= self.plan.busy_timeout {
                return Err(reason);
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=50))).await;
        }
    }

    /// What the tables are, looked at anew each time: a gateway migrates them while we are connected. A connection that
    /// broke since it was used last is replaced at once.
    async fn recognised(&mut self) -> Result<Recognised, GatewayReason> {
        self.read_address_again().await;
        if let Some(session) = &mut self.session {
            match session.recognise().await {
                Ok(recognised) => return Ok(recognised),
                Err(obstacle) if obstacle.way() == Way::Reconnect => self.session = None,
                Err(obstacle) => return Err(obstacle.reason(&session.dsn, Duration::ZERO, true)),
            }
        }
        let mut session = self.connect().await?;
        let recognised = session.recognise().await;
        let recognised = recognised.map_err(|obstacle| obstacle.reason(&session.dsn, Duration::ZERO, true))?;
        self.session = Some(session);
        Ok(recognised)
    }

    async fn connect(&self) -> Result<Session, GatewayReason> {
        let text = self.read_address().await?;
        let dsn = Dsn::parse(text.expose()).map_err(|problem| {
            let from = self.address.to_string();
            match problem {
                NotADsn::Sqlite => GatewayReason::AddressMeansSqlite { from },
                NotADsn::Bad(detail) => GatewayReason::BadAddress { from, detail: detail.to_owned() },
            }
        })?;
        match Link::open(&dsn, self.plan.busy_timeout).await {
            Ok(link) => {
                let dialect = Dialect::of(dsn.engine);
                Ok(Session { link, dsn, dialect, text, read_at: Instant::now() })
            }
            Err(error) => Err(Obstacle::from(error).reason(&dsn, Duration::ZERO, false)),
        }
    }

    async fn read_address(&self) -> Result<Secret, GatewayReason> {
        secrets::fetch(&self.address).await.map_err(|secret| match secret {
            SecretReason::EnvMissing { .. } => GatewayReason::AddressMeansSqlite { from: self.address.to_string() },
            secret => GatewayReason::NoAddress { secret: Box::new(secret) },
        })
    }

    /// A file may have another password, or another server, by now.
    async fn read_address_again(&mut self) {
        let Some(session) = &mut self.session else { return };
        if !matches!(self.address, SecretSource::File(_)) || session.read_at.elapsed() < READ_AGAIN_AFTER {
            return;
        }
        session.read_at = Instant::now();
        let known = session.text.clone();
        if self.read_address().await.is_ok_and(|text| text != known) {
            self.leave();
        }
    }

    /// Forgets the connection; the server hears of it when the socket closes.
    fn leave(&mut self) {
        self.session = None;
        self.checked = None;
    }

    fn look(&mut self, channels: Option<&[ChannelSelect]>) -> Result<Vec<ChannelView>, GatewayReason> {
        let views = self.block_on(async |gateway| {
            let look = async |link: &mut Link, dialect: &'static Dialect, recognised: &Recognised, _| {
                Ok(match channels {
                    Some(channels) => rows::some(link, dialect, &recognised.select, channels).await?,
                    None => rows::all(link, &recognised.select).await?,
                })
            };
            gateway.visit(false, look).await
        })?;
        if channels.is_some() {
            self.watched.extend(views.iter().map(|view| view.id));
        }
        Ok(views)
    }

    fn write(&mut self, batch: &[&Publication]) -> Result<Vec<Result<Published, ChannelReason>>, GatewayReason> {
        self.block_on(async |gateway| {
            let write = async |link: &mut Link, dialect: &'static Dialect, recognised: &Recognised, patience| {
                write::write(link, dialect, recognised, batch, patience).await
            };
            gateway.visit(true, write).await
        })
    }

    fn try_write(&mut self) -> Result<(), GatewayReason> {
        self.block_on(async |gateway| {
            let rehearse = async |link: &mut Link, dialect: &'static Dialect, recognised: &Recognised, patience| {
                write::rehearse(link, dialect, recognised.kind, patience).await
            };
            gateway.visit(true, rehearse).await
        })
    }

    /// One text that changes when one of the watched channels does.
    async fn checksum(&mut self) -> Option<Vec<link::TextRow>> {
        let ids: Vec<i64> = self.watched.iter().copied().collect();
        let (kind, session) = (self.kind?, self.session.as_mut()?);
        let sql = session.dialect.checksum(kind, &ids);
        tokio::time::timeout(ANSWER_WITHIN, session.link.rows(&sql, &[])).await.ok()?.ok()
    }
}

impl Session {
    async fn recognise(&mut self) -> Result<Recognised, Obstacle> {
        let silent = |_| Obstacle::from(GatewayReason::ConnectionLost { at: self.dsn.to_string() });
        tokio::time::timeout(ANSWER_WITHIN, recognise(&mut self.link, self.dialect, &self.dsn)).await.map_err(silent)?
    }

    /// Whether nothing is left of a transaction that failed.
    async fn rolled_back(&mut self) -> bool {
        matches!(tokio::time::timeout(ANSWER_WITHIN, self.link.say("ROLLBACK")).await, Ok(Ok(())))
    }
}

async fn recognise(link: &mut Link, dialect: &'static Dialect, dsn: &Dsn) -> Result<Recognised, Obstacle> {
    let (mut channels, mut abilities) = (HashSet::new(), HashSet::new());
    for row in link.rows(dialect.columns, &[]).await? {
        if let [Some(table), Some(column)] = row.as_slice() {
            let columns = if table == "channels" { &mut channels } else { &mut abilities };
            columns.insert(column.clone());
        }
    }
    if channels.is_empty() {
        // The tables appear one after another: a database with one that only these gateways have is in the making.
        let rows = link.rows(dialect.strange, &[]).await?;
        let is_strange = rows.first().and_then(|row| row.first()?.as_deref()) == Some("1");
        return Err(if is_strange {
            GatewayReason::Unknown { missing: vec!["channels".into()] }
        } else {
            GatewayReason::NotMigrated { path: dsn.to_string() }
        }
        .into());
    }
    let kind = identify(&channels, &abilities, &dsn.to_string())?;
    Ok(Recognised { kind, select: dialect.select(kind, &channels) })
}

fn no_session() -> GatewayReason {
    GatewayReason::Failed { error: "no connection".to_owned() }
}

impl Gateway for ServerGateway {
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

    fn place(&mut self) -> Option<Place> {
        let place = self.block_on(async |gateway| {
            let ask = async |link: &mut Link, dialect: &'static Dialect, _: &Recognised, _| {
                let mut words = Vec::new();
                for statement in dialect.place {
                    words.extend(link.rows(statement, &[]).await?.into_iter().flatten().flatten());
                }
                Ok(Place(words.join("/")))
            };
            gateway.visit(false, ask).await
        });
        place.ok()
    }

    fn probe(&mut self) -> Result<(), GatewayError> {
        self.try_write().map_err(GatewayError::Database)
    }

    /// A server shows nothing from outside.
    fn trace(&self) -> Trace {
        Trace::default()
    }

    /// Asks for a checksum of the channels that were looked at, every few seconds. Our own write shows in it too and costs
    /// one look more.
    fn changed(&mut self) -> bool {
        // Without a connection there is trouble, and whoever is in trouble looks by himself.
        if self.session.is_none() || self.watched.is_empty() {
            return false;
        }
        match self.block_on(async |gateway| Ok(gateway.checksum().await)) {
            Ok(Some(sum)) => {
                let before = self.checked.replace(sum);
                before != self.checked
            }
            _ => {
                self.leave();
                true
            }
        }
    }

    fn examine(&mut self) -> Vec<Finding> {
        let about = format!("gateway {:?}", &*self.plan.name);
        self.try_write().err().map(|reason| Finding::error(about, reason)).into_iter().collect()
    }
}

impl Drop for ServerGateway {
    /// Takes leave, so that the server's log has no connection that was aborted.
    fn drop(&mut self) {
        let (Some(runtime), session) = (self.runtime.take(), self.session.take()) else { return };
        if let Some(session) = session
            && tokio::runtime::Handle::try_current().is_err()
        {
            // It is gone either way.
            let _ = runtime.block_on(async { tokio::time::timeout(FAREWELL, session.link.close()).await });
        }
        runtime.shutdown_background();
    }
}
