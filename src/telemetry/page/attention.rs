//! What needs attention: the troubles of everything that a status tells of, those with one cause together.

use std::collections::HashMap;

use super::{Mood, full_channel_name, without};
use crate::channel::policy::ChannelState;
use crate::messages::Words;
use crate::telemetry::status::{Status, channel_word};
use crate::time::Timestamp;

/// Names that are written out for one matter.
const NAMES: usize = 12;

/// Something that needs attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Matter<'a> {
    /// How much of it.
    pub mood: Mood,
    /// What it is, in a word or two.
    pub word: &'static str,
    /// Whom it concerns.
    pub names: Vec<String>,
    /// How many more there are.
    pub unnamed: usize,
    /// Since when, for the first of them.
    pub since: Option<Timestamp>,
    /// What is the matter.
    pub what: &'a str,
    /// What to do.
    pub remedy: &'a str,
}

/// All that needs attention, the worst first.
pub(super) fn matters<'a>(status: &'a Status, words: &'static Words) -> Vec<Matter<'a>> {
    let w = &words.page;
    let mut gathered = Gathered::default();
    let agent = &status.agent;
    if agent.vault.problem.is_some() {
        let told = without(agent.vault.problem.as_ref(), agent.vault.remedy.as_ref());
        gathered.add(Mood::Act, w.vault_trouble, "[vault]".into(), None, told);
    }
    for credential in &status.credentials {
        let mood = Mood::of_credential(credential);
        if mood <= Mood::Watch {
            let told = without(credential.last_error.as_ref(), credential.remedy.as_ref());
            let word = credential.state.word(words);
            gathered.add(mood, word, credential.name.clone(), credential.troubled_since, told);
        }
        for channel in &credential.channels {
            let mood = Mood::of_channel(channel);
            if mood <= Mood::Watch {
                let told = without(channel.problem.as_ref(), channel.remedy.as_ref());
                let word = match channel.state {
                    ChannelState::Pending => w.undelivered,
                    state => channel_word(words, state),
                };
                let name = format!("{} → {}", credential.name, full_channel_name(w, channel));
                gathered.add(mood, word, name, None, told);
            }
        }
    }
    if let Some(problem) = &agent.config.problem {
        gathered.add(Mood::Watch, w.config_rejected, agent.config.path.clone(), None, (problem, ""));
    }
    for notifier in &status.notifiers {
        if Mood::of_notifier(notifier) == Mood::Watch {
            let told = without(notifier.problem.as_ref(), notifier.remedy.as_ref());
            gathered.add(Mood::Watch, w.notifier_trouble, notifier.name.clone(), None, told);
        }
    }
    let mut matters = gathered.matters;
    matters.sort_by_key(|matter| matter.mood);
    matters
}

/// Matters as they come; a thousand credentials at one broken endpoint are one of them.
#[derive(Default)]
struct Gathered<'a> {
    matters: Vec<Matter<'a>>,
    known: HashMap<(Mood, &'static str, &'a str, &'a str), usize>,
}

impl<'a> Gathered<'a> {
    fn add(
        &mut self,
        mood: Mood,
        word: &'static str,
        name: String,
        since: Option<Timestamp>,
        (what, remedy): (&'a str, &'a str),
    ) {
        let place = *self.known.entry((mood, word, what, remedy)).or_insert(self.matters.len());
        match self.matters.get_mut(place) {
            None => self.matters.push(Matter { mood, word, names: vec![name], unnamed: 0, since, what, remedy }),
            Some(matter) => {
                if matter.names.len() < NAMES {
                    matter.names.push(name);
                } else {
                    matter.unnamed += 1;
                }
                matter.since = matter.since.into_iter().chain(since).min();
            }
        }
    }
}
