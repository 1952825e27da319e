//! The safe write: a batch of keys in one short transaction.
//!
//! `BEGIN IMMEDIATE` (a deferred transaction that reads first fails at its first write beside other writers,
//! whatever the timeout), compare and set, read back within, COMMIT, read back after. Nothing else happens while the
//! lock is held, and either the whole batch is written or nothing of it; a channel that refuses is left out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rusqlite::{CachedStatement, Connection, Transaction, TransactionBehavior, named_params};

use super::diagnose::Obstacle;
use super::open::Visit;
use super::rows;
use super::trace_of;
use crate::channel::view::ChannelView;
use crate::config::plan::GatewayKind;
use crate::failpoint::failpoint;
use crate::gateway::batch::{READ_BACK_OTHERWISE, confirm, is_half_disabled, reads_as_written, writable};
use crate::gateway::{Publication, Published, Trace};
use crate::reason::{ChannelReason, GatewayReason};
use crate::secret::Secret;

/// How long a commit waits for readers to leave. The gateway's own writers, who wait behind us, give up after 3 s.
const HOLD_AT_MOST: Duration = Duration::from_secs(1);

/// What a batch came to.
pub(super) struct Written {
    /// One answer for each publication, in order.
    pub(super) answers: Vec<Result<Published, ChannelReason>>,
    /// The database's trace before and after, if nobody else committed in between.
    pub(super) ours: Option<(Trace, Trace)>,
}

/// Parses what a write runs, which stays with the connection.
pub(super) fn get_ready(visit: &Visit) {
    // What is in the way is said when something is to be written.
    let _ = Statements::prepare(visit);
}

/// Writes a batch. Its keys are known to be safe to write.
pub(super) fn write(visit: &Visit, batch: &[&Publication]) -> Result<Written, Obstacle> {
    // Parsed before the lock is taken.
    let mut statements = Statements::prepare(visit)?;
    let transaction = Transaction::new_unchecked(&visit.connection, TransactionBehavior::Immediate)?;
    let waited = visit.patience.spent();
    let locked = Instant::now();
    visit.patience.allow(HOLD_AT_MOST);

    // From here on nobody else commits: whatever these show was there before us.
    let before = trace_of(&visit.path);
    let version = data_version(&visit.connection)?;
    let mut written = statements.apply(visit.kind, batch)?;
    let wrote = written.iter().any(Result::is_ok);
    if wrote {
        if !reads_as_written(batch, &written, &statements.look(batch)?) {
            return Err(GatewayReason::Failed { error: READ_BACK_OTHERWISE.to_owned() }.into());
        }
        failpoint!("in-gateway-transaction");
        transaction.commit()?;
    } else {
        transaction.rollback()?;
    }
    let held = locked.elapsed();

    let mut ours = None;
    if wrote {
        let after = trace_of(&visit.path);
        visit.patience.allow(HOLD_AT_MOST);
        if visit.was_moved() {
            return Err(GatewayReason::Moved.into());
        }
        if data_version(&visit.connection).is_ok_and(|now| now == version) {
            // Nobody has committed since. A stranger's commit in the very tick of the clock in which the file was written
            // by us does not show in the trace; the regular look sees it.
            ours = Some((before, after));
        } else {
            // It is written; that nobody can say what became of it since is no failure of the write. The next look says.
            match statements.look(batch) {
                Ok(views) => confirm(batch, &mut written, &views),
                Err(error) => {
                    tracing::debug!(code = ?error.sqlite_error_code(), "the keys could not be read back after the commit");
                }
            }
        }
    }
    let answers =
        written.into_iter().map(|answer| answer.map(|reenabled| Published { reenabled, waited, held })).collect();
    Ok(Written { answers, ours })
}

/// Changes when another connection commits, and only then. <https://sqlite.org/pragma.html#pragma_data_version>
fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

struct Statements<'a> {
    look: CachedStatement<'a>,
    set_key: CachedStatement<'a>,
    enable: CachedStatement<'a>,
    /// one-hub has no such table of its own.
    enable_abilities: Option<CachedStatement<'a>>,
}

impl<'a> Statements<'a> {
    fn prepare(visit: &'a Visit) -> rusqlite::Result<Self> {
        let connection = &visit.connection;
        Ok(Self {
            look: connection
                .prepare_cached(&format!("{} WHERE id IN (SELECT value FROM json_each(?1))", visit.select))?,
            // A key is TEXT, but what somebody stored as a BLOB, or not at all, is compared by its bytes too.
            set_key: connection.prepare_cached(
                r#"UPDATE channels SET "key" = :key
                   WHERE id = :id AND coalesce("key", '') IN (:expected, CAST(:expected AS BLOB))
                     AND coalesce(created_time, 0) = :created_time"#,
            )?,
            // Never from 2: that was somebody's hand.
            enable: connection.prepare_cached("UPDATE channels SET status = 1 WHERE id = :id AND status = 3")?,
            // As `UpdateChannelStatusById` does, one-api model/channel.go and model/ability.go.
            enable_abilities: match visit.kind {
                GatewayKind::OneHub => None,
                GatewayKind::OneApi | GatewayKind::NewApi => {
                    Some(connection.prepare_cached("UPDATE abilities SET enabled = 1 WHERE channel_id = :id")?)
                }
            },
        })
    }

    fn look(&mut self, batch: &[&Publication]) -> rusqlite::Result<HashMap<i64, ChannelView>> {
        let ids: Vec<i64> = batch.iter().map(|publication| publication.id).collect();
        self.look.query_map([rows::json(&ids)], |row| rows::view(row).map(|view| (view.id, view)))?.collect()
    }

    fn apply(
        &mut self,
        kind: GatewayKind,
        batch: &[&Publication],
    ) -> rusqlite::Result<Vec<Result<bool, ChannelReason>>> {
        let views = self.look(batch)?;
        let mut answers = Vec::with_capacity(batch.len());
        for publication in batch {
            answers.push(match writable(kind, views.get(&publication.id)) {
                Ok(view) => self.apply_one(publication, view)?,
                Err(reason) => Err(reason),
            });
        }
        Ok(answers)
    }

    fn apply_one(
        &mut self,
        publication: &Publication,
        view: &ChannelView,
    ) -> rusqlite::Result<Result<bool, ChannelReason>> {
        let id = publication.id;
        let changed = self.set_key.execute(named_params! {
            ":key": publication.key.expose(),
            ":id": id,
            ":expected": publication.expected.as_ref().map(Secret::expose),
            ":created_time": publication.created_time,
        })?;
        if changed != 1 {
            return Ok(Err(ChannelReason::Conflict));
        }
        let reenabled = publication.reenable && self.enable.execute(named_params! { ":id": id })? == 1;
        let half_disabled = is_half_disabled(publication, view);
        if let Some(abilities) = self.enable_abilities.as_mut().filter(|_| reenabled || half_disabled) {
            abilities.execute(named_params! { ":id": id })?;
        }
        Ok(Ok(reenabled))
    }
}
