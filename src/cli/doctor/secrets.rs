//! Is every secret there that the config names? Each is read once; the values are kept for the checks that connect.

use std::path::Path;

use futures_util::future::join_all;

use crate::agent::seeds;
use crate::cli::doctor::Surroundings;
use crate::cli::doctor::report::{Checks, Topic, Verdict};
use crate::config::plan::CredentialPlan;
use crate::credential::record::{Record, youngest};
use crate::oauth::request;
use crate::reason::SecretReason;
use crate::secret::{Secret, SecretSource};
use crate::secrets;
use crate::vault::Contents;

/// What every source gave.
pub type Outcomes = Vec<(SecretSource, Result<Secret, SecretReason>)>;

/// A source and whom it is for.
struct Wanted<'a> {
    about: String,
    source: &'a SecretSource,
    /// The vault holds what it would give.
    replaced: bool,
}

/// Reads every secret, all at once.
pub async fn look(around: &Surroundings<'_>, contents: Option<&Contents>, checks: &mut Checks) -> Outcomes {
    let directory = around.config.parent().unwrap_or(Path::new("/"));
    let wanted = wanted(around, contents);
    let read = join_all(wanted.iter().map(|one| {
        let source = one.source.within(directory);
        async move { secrets::fetch(&source).await }
    }))
    .await;
    let mut outcomes = Vec::with_capacity(wanted.len());
    for (one, read) in wanted.into_iter().zip(read) {
        let shown = one.source.to_string();
        match &read {
            Ok(_) => checks.good(Topic::Secrets, one.about, around.words.secret.replace("{source}", &shown)),
            Err(_) if one.replaced => {
                checks.good(Topic::Secrets, one.about, around.words.seed_not_needed.replace("{source}", &shown));
            }
            Err(reason) => {
                // A running agent has read its own, maybe from an environment that this shell has not.
                let verdict = if around.living.is_some() { Verdict::Warning } else { Verdict::Error };
                checks.find(Topic::Secrets, one.about, verdict, &reason.clone().into());
            }
        }
        outcomes.push((one.source.clone(), read));
    }
    outcomes
}

fn wanted<'a>(around: &Surroundings<'a>, contents: Option<&Contents>) -> Vec<Wanted<'a>> {
    let mut wanted = Vec::new();
    for credential in around.plan.credentials.iter().filter(|credential| credential.enabled) {
        let about = format!("credential {:?}", &*credential.name);
        for source in request::sources(credential) {
            wanted.push(Wanted { about: about.clone(), source, replaced: false });
        }
        if let Some(source) = seeds::source(credential) {
            let replaced = contents.is_some_and(|contents| has_refresh_token(credential, contents));
            wanted.push(Wanted { about, source, replaced });
        }
    }
    for notifier in &around.plan.notifiers {
        for source in notifier.service.sources() {
            wanted.push(Wanted { about: format!("notifier {:?}", &*notifier.name), source, replaced: false });
        }
    }
    wanted
}

fn has_refresh_token(credential: &CredentialPlan, contents: &Contents) -> bool {
    youngest(contents.records.iter(), credential).and_then(Record::token_to_send).is_some()
}
