//! Finding and reading the config file, and saying what is wrong with it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::agent::watch;
use crate::cli::progress::tell;
use crate::cli::{ConfigPlace, Exit};
use crate::config::file::Config;
use crate::config::plan::{Plan, VaultPlace};
use crate::config::report::{self, Labels};
use crate::config::resolve::{vault_key, vault_place};
use crate::finding::Severity;
use crate::messages::{self, About};
use crate::reason::{ConfigReason, Language, Reason};
use crate::secret::SecretSource;
use crate::shape::Problem;

/// Where the file is looked for when nothing names it.
const PLACES: [&str; 2] = ["sidecar.toml", "/etc/one-api-sidecar/sidecar.toml"];

/// The language that the config asks for, once one was read.
static CONFIGURED: Mutex<Option<Language>> = Mutex::new(None);

/// A config file that was read.
#[derive(Clone)]
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

/// The language of messages: what the config says, however broken it may be otherwise, else [`default_language`].
pub fn language() -> Language {
    let configured = *CONFIGURED.lock().unwrap_or_else(PoisonError::into_inner);
    configured.unwrap_or_else(default_language)
}

/// A config file as far as it can be read: enough to find the vault by.
pub struct Surveyed {
    /// Where it is.
    pub path: PathBuf,
    /// What it means; `None` while it is broken.
    pub plan: Option<Plan>,
    /// What is wrong with it: place, field, remedy.
    pub problem: Option<String>,
    /// Where the vault is.
    pub vault: VaultPlace,
    /// What seals it, if anything does.
    pub encryption_key: Option<SecretSource>,
}

impl Surveyed {
    /// The language to speak.
    pub fn language(&self) -> Language {
        self.plan.as_ref().map_or_else(language, |plan| plan.language)
    }
}

/// What a config file's text means. From here on its `language` is spoken, however broken it may be otherwise.
///
/// # Errors
/// As [`Plan::read`].
pub fn understand(path: &Path, text: &str) -> Result<(Plan, Vec<Problem>), Vec<Problem>> {
    let read = watch::load(path, text);
    let configured = match &read {
        Ok((plan, _)) => Some(plan.language),
        Err(_) => Config::parse(text).0.tables.language.map(|language| language.value),
    };
    *CONFIGURED.lock().unwrap_or_else(PoisonError::into_inner) = configured;
    read
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
        match understand(&path, &text) {
            Ok((plan, warnings)) => Ok(Loaded { path, text, plan, warnings }),
            Err(problems) => {
                tell(&render(language(), &path, &text, &problems));
                Err(Exit::BadConfig)
            }
        }
    }

    /// The vault's place, from a config that may be broken: that is when people look. `vault` overrides it.
    ///
    /// # Errors
    /// [`Exit::BadConfig`], when nothing says where the vault is.
    pub fn survey(&self, vault: Option<&Path>) -> Result<Surveyed, Exit> {
        let (path, text) = match self.read() {
            Ok(read) => read,
            Err(reason) if vault.is_none() => {
                complain(&reason.into());
                return Err(Exit::BadConfig);
            }
            Err(_) => (self.config.clone().unwrap_or_default(), String::new()),
        };
        let (plan, problem) = match understand(&path, &text) {
            Ok((plan, _)) => (Some(plan), None),
            Err(problems) => {
                let lines = messages::problem_lines(language(), &path, &text, &problems);
                let first = lines.into_iter().find(|(severity, _)| *severity == Severity::Error);
                (None, first.map(|(_, line)| line))
            }
        };
        let directory = std::path::absolute(&path).ok().and_then(|path| path.parent().map(ToOwned::to_owned));
        let directory = directory.unwrap_or_default();
        let encryption_key = match &plan {
            Some(plan) => plan.vault.encryption_key.clone(),
            None => vault_key(&Config::parse(&text).0, &directory),
        };
        let vault = vault
            .map(|path| VaultPlace::File(path.to_owned()))
            .or_else(|| plan.as_ref().map(|plan| plan.vault.place.clone()))
            .or_else(|| vault_place(&Config::parse(&text).0, &directory));
        let Some(vault) = vault else {
            if let Some(problem) = problem {
                tell(&format!("{problem}\n"));
            }
            return Err(Exit::BadConfig);
        };
        let path = std::path::absolute(&path).unwrap_or(path);
        Ok(Surveyed { path, plan, problem, vault, encryption_key })
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
    let language = language();
    let words = messages::words(language);
    let message = messages::explain_about(language, reason, about);
    tell(&format!("{}: {}\n  {}: {}\n", words.error, message.what, words.help, message.remedy));
}
