//! What may be in the file only once: a name, a channel, a refresh token's source.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::hash::Hash;

use super::Check;
use crate::config::file::{ChannelEntry, CredentialSection, Entry, is_name};
use crate::config::plan::{ChannelSelect, DEFAULT_GATEWAY};
use crate::reason::ConfigReason;
use crate::shape::{At, Span};

/// Looks through all credentials and notifiers.
pub(super) fn check(check: &mut Check<'_>) {
    let config = check.config;
    let credentials = config.tables.credential.as_ref().map_or(&[][..], |credentials| &credentials.value.0);
    let notifiers = config.tables.notify.as_ref().map_or(&[][..], |notifiers| &notifiers.value.0);

    // An unusable name was told as such, and is not repeated.
    let usable = |name: &&At<String>| is_name(&name.value);
    let mut names = Firsts::default();
    for entry in credentials {
        if let Some(name) = entry.at.value.name.as_ref().filter(usable) {
            names.see(check, name.value.as_str(), format!("{}.name", entry.label), &name.span, || {
                format!("credential \"{}\"", name.value)
            });
        }
    }
    let mut names = Firsts::default();
    for entry in notifiers {
        let notifier = &entry.at.value;
        let Some(name) = notifier.common.name.as_ref().or(notifier.kind.as_ref()).filter(usable) else { continue };
        names.see(check, name.value.as_str(), format!("{}.name", entry.label), &name.span, || {
            format!("notifier \"{}\"", name.value)
        });
    }
    let mut sources = Firsts::default();
    for entry in credentials.iter().filter(|entry| is_enabled(entry)) {
        if let Some(source) = &entry.at.value.refresh_token {
            sources.see(check, &source.value, format!("{}.refresh_token", entry.label), &source.span, || {
                format!("refresh_token {}", source.value)
            });
        }
    }
    channels(check, credentials);
}

fn channels(check: &mut Check<'_>, credentials: &[Entry<CredentialSection>]) {
    let config = check.config;
    let gateways = config.tables.gateway.as_ref().map_or(&[][..], |gateways| &gateways.value.0);
    let only = match gateways {
        [gateway] => gateway.at.value.name.as_ref().map_or(DEFAULT_GATEWAY, |name| name.value.as_str()),
        _ => "",
    };
    let mut firsts = Firsts::default();
    for entry in credentials {
        let channels = entry.at.value.channels.as_ref().map_or(&[][..], |channels| &channels.value);
        for (index, channel) in channels.iter().enumerate() {
            let Some((gateway, select)) = place(&channel.value, only).filter(|(gateway, _)| is_name(gateway)) else {
                continue;
            };
            let what = match gateway == only {
                true => format!("channel {select}"),
                false => format!("channel {select} of gateway \"{gateway}\""),
            };
            let field = format!("{}.channels[{index}]", entry.label);
            firsts.see(check, (gateway, select), field, &channel.span, || what);
        }
    }
}

/// Gateway and selector of a channel, if it has both.
fn place<'c>(channel: &'c ChannelEntry, only: &'c str) -> Option<(&'c str, ChannelSelect)> {
    match channel {
        ChannelEntry::Id(id) => Some((only, ChannelSelect::Id(*id))),
        ChannelEntry::Name(name) => Some((only, ChannelSelect::Name(name.clone()))),
        ChannelEntry::Table(table) => {
            let gateway = table.gateway.as_ref().map_or(only, |gateway| gateway.value.as_str());
            let id = table.id.as_ref().map(|id| ChannelSelect::Id(id.value));
            let name = || table.name.as_ref().map(|name| ChannelSelect::Name(name.value.clone()));
            Some((gateway, id.or_else(name)?))
        }
    }
}

fn is_enabled(entry: &Entry<CredentialSection>) -> bool {
    entry.at.value.enabled.as_ref().is_none_or(|enabled| enabled.value)
}

/// What was seen, and on which line first.
struct Firsts<K>(HashMap<K, usize>);

impl<K> Default for Firsts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Firsts<K> {
    /// Complains if this was seen before.
    fn see(&mut self, check: &mut Check<'_>, key: K, field: String, span: &Span, what: impl FnOnce() -> String) {
        match self.0.entry(key) {
            Vacant(entry) => {
                entry.insert(check.line(span));
            }
            Occupied(entry) => {
                check.error(field, span, ConfigReason::Duplicate { what: what(), first_line: *entry.get() });
            }
        }
    }
}
