//! What every SQL way in does alike around a batch of keys: split it, refuse what may not be written, and judge what reads
//! back. Pure.

use std::collections::HashMap;

use super::kind::belongs_to_the_gateway;
use super::{BATCH, GatewayError, Publication, Published};
use crate::channel::view::{ChannelView, Status};
use crate::config::plan::GatewayKind;
use crate::reason::{ChannelReason, GatewayReason};

/// For each publication whether it re-enabled its channel, or why it was refused.
pub(super) type Answers = [Result<bool, ChannelReason>];

/// What a database answers when something of its own undid the write.
pub(super) const READ_BACK_OTHERWISE: &str = "what was written read back otherwise (a trigger?)";

/// Hands the safe keys to `write`, a bounded batch at a time; one answer for each publication, in order.
pub(super) fn publish(
    batch: &[Publication],
    mut write: impl FnMut(&[&Publication]) -> Result<Vec<Result<Published, ChannelReason>>, GatewayReason>,
) -> Vec<Result<Published, GatewayError>> {
    let mut answers = Vec::with_capacity(batch.len());
    for chunk in batch.chunks(BATCH) {
        let safe: Vec<&Publication> = chunk.iter().filter(|publication| is_safe(publication)).collect();
        let mut written = match safe.is_empty() {
            true => Ok(Vec::new()),
            false => write(&safe),
        }
        .map(Vec::into_iter);
        answers.extend(chunk.iter().map(|publication| {
            if !is_safe(publication) {
                return Err(GatewayError::Channel(ChannelReason::UnsafeKey));
            }
            match &mut written {
                // One answer for each; a missing one could only mean that the row was not written.
                Ok(written) => written.next().unwrap_or(Err(ChannelReason::Conflict)).map_err(GatewayError::Channel),
                Err(reason) => Err(GatewayError::Database(reason.clone())),
            }
        }));
    }
    answers
}

/// The gateway sends the key in an HTTP header. What was there before us was its own affair.
pub(super) fn is_safe(publication: &Publication) -> bool {
    publication.gives_back || publication.key.fits_a_header()
}

/// A channel as the transaction sees it, if it may be written at all.
pub(super) fn writable(kind: GatewayKind, view: Option<&ChannelView>) -> Result<&ChannelView, ChannelReason> {
    let view = view.ok_or(ChannelReason::Conflict)?;
    belongs_to_the_gateway(kind, view.kind, view.multi_key).map_or(Ok(view), Err)
}

/// Whether a dying gateway had switched the channel's abilities off, and not the channel yet: the key brings them back.
pub(super) fn is_half_disabled(publication: &Publication, view: &ChannelView) -> bool {
    publication.reenable && view.status == Status::Enabled && view.abilities_off
}

/// Within the transaction a row is as we wrote it, or something of the database's own undid it; then nothing may be
/// committed.
pub(super) fn reads_as_written(batch: &[&Publication], answers: &Answers, views: &HashMap<i64, ChannelView>) -> bool {
    let mut last: HashMap<i64, (&Publication, bool)> = HashMap::new();
    for (publication, answer) in batch.iter().zip(answers) {
        if let Ok(reenabled) = answer {
            last.insert(publication.id, (publication, *reenabled));
        }
    }
    last.iter().all(|(id, (publication, reenabled))| {
        views.get(id).is_some_and(|view| {
            view.key.as_ref() == Some(&publication.key)
                && (!reenabled || (view.status == Status::Enabled && !view.abilities_off))
        })
    })
}

/// After the commit a key that is not ours any more is somebody else's, written since.
pub(super) fn confirm(batch: &[&Publication], answers: &mut Answers, views: &HashMap<i64, ChannelView>) {
    for (publication, answer) in batch.iter().zip(answers) {
        let holds = views.get(&publication.id).is_some_and(|view| view.key.as_ref() == Some(&publication.key));
        if answer.is_ok() && !holds {
            *answer = Err(ChannelReason::Conflict);
        }
    }
}
