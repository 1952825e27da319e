//! `[[notify]]`: what every notifier has in common; the services parsed their own fields.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Check;
use super::network::proxy_url;
use crate::config::file::{Entry, NotifySection};
use crate::config::plan::NotifierPlan;
use crate::config::words::not_one_of;
use crate::credential::event::Topic;
use crate::reason::ConfigReason;
use crate::shape::At;

/// All notifiers that can be used, in the order of the file.
pub(super) fn notifiers(check: &mut Check<'_>) -> Vec<Arc<NotifierPlan>> {
    let config = check.config;
    let entries = config.tables.notify.as_ref().map_or(&[][..], |notifiers| &notifiers.value.0);
    entries.iter().filter_map(|entry| notifier(check, entry)).map(Arc::new).collect()
}

fn notifier(check: &mut Check<'_>, entry: &Entry<NotifySection>) -> Option<NotifierPlan> {
    let (label, header, written) = (&entry.label, &entry.at.span, &entry.at.value);
    if written.kind.is_none() {
        check.missing(label, "type", header);
    }
    let name = match (&written.common.name, &written.kind) {
        (Some(name), _) => check.name(format!("{label}.name"), name),
        (None, kind) => kind.as_ref().map(|kind| kind.value.as_str().into()),
    };
    let (least, most) = (Duration::from_millis(10), Duration::from_secs(5 * 60));
    let written_timeout = written.common.timeout.as_ref();
    let timeout = check.length(&format!("{label}.timeout"), written_timeout, Duration::from_secs(10), least..=most);
    let events = match &written.common.events {
        Some(events) => topics(check, &format!("{label}.events"), &events.value),
        None => defaults(),
    };
    let proxy = written.common.proxy.as_ref().and_then(|proxy| proxy_url(check, &format!("{label}.proxy"), proxy));
    let Some(service) = written.service.clone() else {
        check.incomplete = true;
        return None;
    };
    if let (Some(at), false) = (&written.common.proxy, service.speaks_http()) {
        let other = format!("type = \"{}\"", written.kind.as_ref().map_or("", |kind| &kind.value));
        check.error(format!("{label}.proxy"), &at.span, ConfigReason::Conflicts { field: "proxy".into(), other });
    }
    for source in service.sources() {
        check.warn_of_value(label, source, header);
    }
    let directory = check.surroundings.directory.to_owned();
    Some(NotifierPlan { name: name?, service, events, timeout, proxy, directory })
}

fn defaults() -> BTreeSet<Topic> {
    Topic::ALL.into_iter().filter(|topic| topic.in_default()).collect()
}

/// The events of a list like `["default", "refreshed", "-failing"]`; one that only takes out starts from the default.
fn topics(check: &mut Check<'_>, field: &str, written: &[At<String>]) -> BTreeSet<Topic> {
    let only_takes_out = !written.is_empty() && written.iter().all(|word| word.value.starts_with('-'));
    let mut chosen = if only_takes_out { defaults() } else { BTreeSet::new() };
    for (index, word) in written.iter().enumerate() {
        let text = word.value.as_str();
        let named = |name: &str| Topic::ALL.into_iter().find(|topic| topic.as_str() == name);
        match (text, named(text), text.strip_prefix('-').and_then(named)) {
            ("default", ..) => chosen.extend(defaults()),
            ("all", ..) => chosen.extend(Topic::ALL),
            (_, Some(topic), _) => {
                chosen.insert(topic);
            }
            (_, _, Some(topic)) => {
                chosen.remove(&topic);
            }
            _ => {
                let words = ["default", "all"].into_iter().chain(Topic::ALL.into_iter().map(Topic::as_str));
                check.error(format!("{field}[{index}]"), &word.span, not_one_of(text, words));
            }
        }
    }
    chosen
}
