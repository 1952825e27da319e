//! Can the notifiers be reached, and how did they take their last message? Nothing is sent.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::cli::doctor::Surroundings;
use crate::cli::doctor::report::{Check, Checks, Topic, Verdict};
use crate::cli::doctor::secrets::Outcomes;
use crate::config::plan::NotifierPlan;
use crate::messages;
use crate::notify::carriers::Carriers;
use crate::notify::policy::Policy;
use crate::reason::{AgentReason, NotifierReason};
use crate::secret::Values;
use crate::time::{Clock, SystemClock};
use crate::vault::Contents;

/// How many are tried at once.
const AT_ONCE: usize = 8;

/// Looks at every notifier.
pub async fn look(around: &Surroundings<'_>, contents: Option<&Contents>, secrets: &Outcomes, checks: &mut Checks) {
    if around.plan.notifiers.is_empty() {
        checks.find(Topic::Notifiers, "", Verdict::Warning, &AgentReason::NoNotifier.into());
        return;
    }
    let values: Values =
        secrets.iter().filter_map(|(source, read)| Some((source.clone(), read.clone().ok()?))).collect();
    let policy = Policy::remembered(contents.and_then(|contents| contents.notices.as_deref()));
    let said: HashMap<&str, &str> = around
        .living
        .iter()
        .flat_map(|living| &living.notifiers)
        .filter_map(|notifier| Some((notifier.name.as_str(), notifier.problem.as_deref()?)))
        .collect();
    let tried = around.plan.notifiers.iter().map(|notifier| reach(around, notifier, &values));
    let reached: Vec<Option<Result<(), NotifierReason>>> = stream::iter(tried).buffered(AT_ONCE).collect().await;
    for (notifier, reached) in around.plan.notifiers.iter().zip(reached) {
        let about = format!("notifier {:?}", &*notifier.name);
        let standing = policy.notifier(&notifier.name);
        match reached {
            Some(Err(reason)) => checks.find(Topic::Notifiers, about.clone(), Verdict::Error, &reason.into()),
            None => checks.note(Topic::Notifiers, about.clone(), Verdict::Skipped, around.words.notifier_skipped),
            Some(Ok(())) => {
                let taken = standing.filter(|standing| standing.problem.is_none() && standing.taken > 0);
                let taken = taken.and_then(|standing| standing.at).map(|at| {
                    let ago = messages::words(around.plan.language).since(at, SystemClock.now());
                    format!("{}{}", around.words.comma, around.words.notifier_took.replace("{ago}", &ago))
                });
                let line = around.words.notifier;
                checks.good(Topic::Notifiers, about.clone(), format!("{line}{}", taken.unwrap_or_default()));
            }
        }
        match (standing.and_then(|standing| standing.problem.as_ref()), said.get(&*notifier.name)) {
            (Some(problem), _) => checks.find(Topic::Notifiers, about, Verdict::Warning, problem),
            (None, Some(said)) => checks.push(Check {
                topic: Topic::Notifiers,
                about,
                verdict: Verdict::Warning,
                reason: Some("notifier.last_message".into()),
                message: (*said).to_owned(),
                remedy: None,
            }),
            (None, None) => {}
        }
    }
    checks.note(Topic::Notifiers, "", Verdict::Skipped, around.words.notify_test);
}

/// `None` where a secret is missing, of which the address may be made.
async fn reach(
    around: &Surroundings<'_>,
    notifier: &Arc<NotifierPlan>,
    values: &Values,
) -> Option<Result<(), NotifierReason>> {
    if notifier.service.sources().iter().any(|source| !values.contains_key(*source)) {
        return None;
    }
    let notice = messages::test_notice(around.plan.language);
    let dispatch = match notifier.service.request(&notice, values, SystemClock.now()) {
        Ok(dispatch) => dispatch,
        Err(reason) => return Some(Err(reason)),
    };
    Some(Carriers::of(notifier).reach(dispatch).await)
}
