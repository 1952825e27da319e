//! Finding and reading the config file, and saying what is wrong with it.

use std::path::{Path, PathBuf};

use crate::agent::watch;
use crate::cli::{ConfigPlace, Exit};
use crate::config::plan::Plan;
use crate::config::report::{self, Labels};
use crate::messages::{self, About};
use crate::reason::{ConfigReason, Language, Reason};
use crate::shape::Problem;

/// Where the file is looked for when nothing names it.
const PLACES: [&str; 2] = ["sidecar.toml", "/etc/one-api-sidecar/sidecar.toml"];

/// A config file that was read.
pub struct Loaded {
    /// Where it is.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// What it means.
    pub plan: Plan,
    /// What somebody should know of it.
    pub warnings: Vec<Problem>,
}

/// The language of messages while no config says it: from the environment, as its default is.
pub fn default_language() -> Language {
    let first = ["LC_ALL", "LC_MESSAGES", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    match first {
        Some(locale) if locale.to_lowercase().starts_with("zh") => Language::Chinese,
        _ => Language::English,
    }
}

impl ConfigPlace {
    /// The file's text.
    ///
    /// # Errors
    /// When there is none or it cannot be read.
    pub fn read(&self) -> Result<(PathBuf, String), ConfigReason> {
        let path = match &self.config {
            Some(path) => path.clone(),
            None => PLACES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
                ConfigReason::NotFound { looked_in: PLACES.iter().map(|place| (*place).to_owned()).collect() }
            })?,
        };
        let unreadable = |error: String| ConfigReason::Unreadable { path: path.display().to_string(), error };
        let bytes = std::fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| ConfigReason::Syntax { detail: "not UTF-8".into() })?;
        Ok((path, text))
    }

    /// The file's plan; what is wrong with it is printed to standard error.
    ///
    /// # Errors
    /// [`Exit::BadConfig`].
    pub fn load(&self) -> Result<Loaded, Exit> {
        let (path, text) = self.read().map_err(|reason| {
            complain(&reason.into());
            Exit::BadConfig
        })?;
        match watch::load(&path, &text) {
            Ok((plan, warnings)) => Ok(Loaded { path, text, plan, warnings }),
            Err(problems) => {
                eprint!("{}", render(default_language(), &path, &text, &problems));
                Err(Exit::BadConfig)
            }
        }
    }
}

/// Problems as a compiler would print them.
pub fn render(language: Language, path: &Path, text: &str, problems: &[Problem]) -> String {
    let words = messages::words(language);
    let labels = Labels { error: words.error, warning: words.warning, help: words.help };
    report::render(&path.display().to_string(), text, problems, &labels, |reason| {
        let message = messages::explain(language, &Reason::Config(reason.clone()));
        (message.what, message.remedy)
    })
}

/// Says to standard error what is wrong and what to do.
pub fn complain(reason: &Reason) {
    complain_about(reason, About::default());
}

/// [`complain`] of something that concerns a credential.
pub fn complain_of(reason: &Reason, credential: &str) {
    complain_about(reason, About { credential, ..About::default() });
}

fn complain_about(reason: &Reason, about: About<'_>) {
    let language = default_language();
    let words = messages::words(language);
    let message = messages::explain_about(language, reason, about);
    eprintln!("{}: {}\n  {}: {}", words.error, message.what, words.help, message.remedy);
}
