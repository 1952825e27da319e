//! The safe write on a server: a batch of keys in one transaction.
//!
//! READ COMMITTED, the rows locked in ascending order, compare and set, read back within, COMMIT, read back after. Either
//! the whole batch is written or nothing of it; a channel that refuses is left out. Row locks hold up who writes these
//! very channels, and nobody else.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Recognised;
use super::diagnose::Obstacle;
use super::dialect::{Dialect, has_abilities};
use super::link::{Link, Value};
use super::rows;
use crate::channel::view::ChannelView;
use crate::config::plan::GatewayKind;
use crate::failpoint::failpoint;
use crate::gateway::batch::{READ_BACK_OTHERWISE, confirm, is_half_disabled, reads_as_written, writable};
use crate::gateway::{Publication, Published};
use crate::reason::{ChannelReason, GatewayReason};

/// Writes a batch. Its keys are known to be safe to write. Whoever calls rolls back after an error.
pub(super) async fn write(
    link: &mut Link,
    dialect: &Dialect,
    recognised: &Recognised,
    batch: &[&Publication],
    patience: Duration,
) -> Result<Vec<Result<Published, ChannelReason>>, Obstacle> {
    let began = Instant::now();
    let ids: BTreeSet<i64> = batch.iter().map(|publication| publication.id).collect();
    let ids: Vec<i64> = ids.into_iter().collect();
    begin(link, dialect, patience).await?;
    link.rows(&dialect.lock(&ids), &[]).await?;
    let (waited, locked) = (began.elapsed(), Instant::now());

    let views = rows::these(link, &recognised.select, &ids).await?;
    let mut written = Vec::with_capacity(batch.len());
    for publication in batch {
        written.push(match writable(recognised.kind, views.get(&publication.id)) {
            Ok(view) => write_one(link, dialect, recognised.kind, publication, view).await?,
            Err(reason) => Err(reason),
        });
    }
    if written.iter().any(Result::is_ok) {
        let views = rows::these(link, &recognised.select, &ids).await?;
        if !reads_as_written(batch, &written, &views) {
            return Err(GatewayReason::Failed { error: READ_BACK_OTHERWISE.to_owned() }.into());
        }
        failpoint!("in-gateway-transaction");
        link.say("COMMIT").await?;
    } else {
        link.say("ROLLBACK").await?;
    }
    let held = locked.elapsed();

    // It is written; that nobody can say what became of it since is no failure of the write. The next look says.
    if let Ok(views) = rows::these(link, &recognised.select, &ids).await {
        confirm(batch, &mut written, &views);
    }
    Ok(written.into_iter().map(|answer| answer.map(|reenabled| Published { reenabled, waited, held })).collect())
}

/// Does everything that a write does, to no row.
pub(super) async fn rehearse(
    link: &mut Link,
    dialect: &Dialect,
    kind: GatewayKind,
    patience: Duration,
) -> Result<(), Obstacle> {
    begin(link, dialect, patience).await?;
    for statement in dialect.rehearsal(kind) {
        link.rows(&statement, &[]).await?;
    }
    link.say("ROLLBACK").await?;
    Ok(())
}

async fn begin(link: &mut Link, dialect: &Dialect, patience: Duration) -> Result<(), Obstacle> {
    for statement in dialect.begin {
        link.say(statement).await?;
    }
    if let Some(statement) = dialect.patience(patience) {
        link.say(&statement).await?;
    }
    Ok(())
}

async fn write_one(
    link: &mut Link,
    dialect: &Dialect,
    kind: GatewayKind,
    publication: &Publication,
    view: &ChannelView,
) -> sqlx::Result<Result<bool, ChannelReason>> {
    let id = publication.id;
    let Some(expected) = &publication.expected else { return Ok(Err(ChannelReason::Conflict)) };
    let values = [
        Value::Text(publication.key.expose()),
        Value::Text(expected.expose()),
        Value::Number(id),
        Value::Number(publication.created_time),
    ];
    if link.execute(&dialect.set_key(), &values).await? != 1 {
        return Ok(Err(ChannelReason::Conflict));
    }
    if !publication.reenable {
        return Ok(Ok(false));
    }
    // Never from 2: that was somebody's hand.
    let enable = format!("UPDATE channels SET status = 1 WHERE id = {id} AND status = 3");
    let reenabled = link.execute(&enable, &[]).await? == 1;
    if has_abilities(kind) && (reenabled || is_half_disabled(publication, view)) {
        // As `UpdateChannelStatusById` does, one-api model/channel.go and model/ability.go.
        link.execute(&format!("UPDATE abilities SET enabled = TRUE WHERE channel_id = {id}"), &[]).await?;
    }
    Ok(Ok(reenabled))
}
