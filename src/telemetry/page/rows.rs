//! A credential's row: the life of its key as a bar, and its channels.

use super::{Mood, channel_name, distance, full_channel_name, without};
use crate::messages::Words;
use crate::telemetry::status::{CredentialState, CredentialStatus, Status, channel_word};
use crate::time::Timestamp;

/// One row.
pub(super) struct Row<'a> {
    /// Whose it is.
    pub credential: &'a CredentialStatus,
    /// How well the worst of it is.
    pub mood: Mood,
    /// How well the credential itself is.
    pub own: Mood,
    /// Its state.
    pub word: &'static str,
    /// Its channels, in a few words.
    pub channels: String,
    /// The life of its key.
    pub bar: Option<Bar>,
    /// When the next request is due.
    pub refresh: String,
    /// When the key dies.
    pub expires: String,
    /// Failures in a row; empty if there are none.
    pub failures: String,
    /// The moments of its life, with their names.
    pub moments: Vec<(&'static str, Timestamp)>,
    /// What is the matter, where the list above it may not say it.
    pub what: &'a str,
    /// What to do.
    pub remedy: &'a str,
}

/// The life of a key from its issue to its death; places in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bar {
    /// How much of it has passed.
    pub lived: f64,
    /// Where the next refresh is, if it is before the end.
    pub refresh: Option<f64>,
    /// From where on a new key comes too late.
    pub deadline: f64,
}

impl Bar {
    /// The bar of a credential that holds a key.
    pub(super) fn of(credential: &CredentialStatus, now: Timestamp) -> Option<Self> {
        let (issued, dies) = (credential.issued_at?, credential.expires_at?);
        let place = |at: Timestamp| {
            let (from_start, whole) = (at.since(issued).as_secs_f64(), dies.since(issued).as_secs_f64());
            // Halves are exact enough to look at, and let the rows of two moments be equal.
            if whole > 0.0 { (from_start / whole * 200.0).round().min(200.0) / 2.0 } else { 100.0 }
        };
        Some(Self {
            lived: place(now),
            refresh: credential.refresh_at.filter(|at| *at < dies).map(place),
            deadline: credential.deadline_at.map_or(100.0, place),
        })
    }
}

/// The rows, what needs attention first, else in the order of the config.
pub(super) fn rows<'a>(status: &'a Status, words: &'static Words) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'_>> =
        status.credentials.iter().map(|credential| row(credential, words, status.time)).collect();
    rows.sort_by_key(|row| (row.mood, row.credential.state));
    rows
}

fn row<'a>(credential: &'a CredentialStatus, words: &'static Words, now: Timestamp) -> Row<'a> {
    let w = &words.page;
    let own = Mood::of_credential(credential);
    let mood =
        credential.channels.iter().map(Mood::of_channel).filter(|mood| *mood <= Mood::Watch).fold(own, Mood::min);
    let troubled = credential.channels.iter().find(|channel| Mood::of_channel(channel) <= Mood::Watch);
    let channels = match (troubled, credential.channels.as_slice()) {
        (Some(channel), _) => (w.channel_is)(&channel_name(w, channel), channel_word(words, channel.state)),
        (None, []) => w.no_channels.to_owned(),
        (None, few @ [_] | few @ [_, _]) => {
            few.iter().map(|channel| full_channel_name(w, channel)).collect::<Vec<_>>().join(", ")
        }
        (None, many) => (w.channels)(many.len()),
    };
    let refresh = match credential.refresh_at {
        None => String::new(),
        Some(at) if at <= now => w.refresh_now.to_owned(),
        Some(at) => w.refresh.replace("{}", &distance(words, at, now)),
    };
    let expires = match credential.expires_at {
        None if credential.state == CredentialState::Disabled => String::new(),
        None => w.no_key.to_owned(),
        Some(at) => {
            let pattern = if at > now { w.expires } else { w.expired };
            pattern.replace("{}", &distance(words, at, now))
        }
    };
    let moments = [
        (w.issued, credential.issued_at),
        (w.refresh_at, credential.refresh_at),
        (w.deadline, credential.deadline_at),
        (w.expires_at, credential.expires_at),
        (w.refreshed_at, credential.refreshed_at.filter(|_| own != Mood::Well)),
    ];
    let moments = moments.into_iter().filter_map(|(label, at)| Some((label, at?))).collect();
    let (what, remedy) = without(credential.last_error.as_ref(), credential.remedy.as_ref());
    let failures = if credential.failures > 0 { (w.failures)(credential.failures) } else { String::new() };
    let word = credential.state.word(words);
    let bar = Bar::of(credential, now);
    Row { credential, mood, own, word, channels, bar, refresh, expires, failures, moments, what, remedy }
}
