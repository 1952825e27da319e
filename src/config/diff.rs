//! What changed between two plans, so that a config edit touches only that.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::plan::{CredentialPlan, NotifierPlan, Plan, PlanDiff};

/// See [`Plan::diff`].
pub(super) fn between(from: &Plan, to: &Plan) -> PlanDiff {
    let (old, new) = (by_name(from), by_name(to));
    let names = |plan: &Plan, take: &dyn Fn(&CredentialPlan) -> bool| -> Vec<Arc<str>> {
        plan.credentials.iter().filter(|credential| take(credential)).map(|found| found.name.clone()).collect()
    };
    PlanDiff {
        start: names(to, &|credential| !old.contains_key(&*credential.name)),
        stop: names(from, &|credential| !new.contains_key(&*credential.name)),
        replace: names(to, &|credential| old.get(&*credential.name).is_some_and(|before| *before != credential)),
        gateways: from.gateways.len() != to.gateways.len()
            || from.gateways.iter().any(|gateway| to.gateway(&gateway.name) != Some(gateway)),
        server: from.server != to.server,
        notifiers: from.notifiers.len() != to.notifiers.len()
            || from.notifiers.iter().any(|notifier| !to.notifiers.iter().any(|other| same(notifier, other))),
        agent: from.agent != to.agent,
        language: from.language != to.language,
        vault: from.vault != to.vault,
    }
}

fn by_name(plan: &Plan) -> HashMap<&str, &CredentialPlan> {
    plan.credentials.iter().map(|credential| (&*credential.name, &**credential)).collect()
}

fn same(one: &NotifierPlan, other: &NotifierPlan) -> bool {
    one.name == other.name
        && one.events == other.events
        && one.timeout == other.timeout
        && one.proxy == other.proxy
        && one.service.same(&*other.service)
        // A service is compared by what it shows, and never shows a value.
        && one.service.sources() == other.service.sources()
}
