//! What the config file means: every default applied, every field checked, nothing optional that is needed.
//!
//! [`Plan::resolve`] turns a [`Config`] into a [`Plan`] or into every problem at once; [`Plan::diff`] says what
//! changed between two plans. Pure.

mod credential;
mod endpoint;
mod gateway;
mod vault;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::config::credentials::Credentials;
use crate::config::file::Config;
use crate::config::{diff, resolve};
use crate::finding::Severity;
use crate::notify::services::Service;
use crate::reason::Language;
use crate::shape::Problem;

pub use credential::{
    Algorithm, Assertion, Backoff, ChannelPlan, ChannelSelect, CredentialPlan, Grant, LoginPlan, OnLostAnswer,
};
pub use endpoint::{ClientAuth, Encoding, Endpoint, Method, ResponsePointers, Transport, host, is_loopback};
pub use gateway::{ApiPlan, CacheLag, DEFAULT_GATEWAY, Database, GatewayKind, GatewayPlan, OnForeignKey};
pub use vault::{VaultPlace, VaultPlan};

/// Everything the agent is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The language of messages.
    pub language: Language,
    /// The gateways, in the order of the file.
    pub gateways: Vec<Arc<GatewayPlan>>,
    /// The vault.
    pub vault: VaultPlan,
    /// The HTTP server, if one is wanted.
    pub server: Option<ServerPlan>,
    /// Bounds of the agent.
    pub agent: AgentPlan,
    /// The credentials, in the order of the file.
    pub credentials: Credentials,
    /// The notifiers, in the order of the file.
    pub notifiers: Vec<Arc<NotifierPlan>>,
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPlan {
    /// Where it listens.
    pub listen: std::net::SocketAddr,
}

/// Bounds of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentPlan {
    /// Refreshes at once.
    pub max_in_flight: usize,
    /// Refreshes at once at one token endpoint host.
    pub max_in_flight_per_host: usize,
}

/// A notifier.
#[derive(Debug, Clone)]
pub struct NotifierPlan {
    /// Its name; the type where the config gives none.
    pub name: Arc<str>,
    /// The service behind it.
    pub service: Arc<dyn Service>,
    /// The events it is told of.
    pub events: std::collections::BTreeSet<crate::credential::event::Topic>,
    /// How long a message may take.
    pub timeout: Duration,
    /// A proxy; `None` takes the usual environment variables.
    pub proxy: Option<Url>,
    /// Where the relative path of a command starts from: the config file's directory.
    pub directory: PathBuf,
}

/// What [`Plan::resolve`] has to know besides the file's text.
pub struct Surroundings<'a> {
    /// The directory that relative paths start from: the config file's, absolute.
    pub directory: &'a Path,
    /// The environment that compose shares with the gateway (`SYNC_FREQUENCY`, …).
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The config file's mode, where it is known, to warn of secrets that others can read.
    pub mode: Option<u32>,
}

/// What changed between two plans. Names of credentials; a replaced one keeps its record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanDiff {
    /// Credentials that are new.
    pub start: Vec<Arc<str>>,
    /// Credentials that are gone.
    pub stop: Vec<Arc<str>>,
    /// Credentials that changed.
    pub replace: Vec<Arc<str>>,
    /// Gateways were added, removed or changed.
    pub gateways: bool,
    /// The server's address changed.
    pub server: bool,
    /// Notifiers changed.
    pub notifiers: bool,
    /// The bounds changed.
    pub agent: bool,
    /// The language changed.
    pub language: bool,
    /// The vault's place or key changed: takes effect at the next start only.
    pub vault: bool,
}

impl PlanDiff {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Plan {
    /// Reads a config file's text: [`Config::parse`] and [`Plan::resolve`] in one, problems sorted by place.
    ///
    /// # Errors
    /// Every problem that was found, warnings among them, if at least one is an error.
    pub fn read(text: &str, surroundings: &Surroundings<'_>) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let (config, mut problems) = Config::parse(text);
        let (plan, more) = match Self::resolve(&config, surroundings) {
            Ok((plan, warnings)) => (Some(plan), warnings),
            Err(problems) => (None, problems),
        };
        problems.extend(more);
        problems.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        let is_bad = problems.iter().any(|problem| problem.severity == Severity::Error);
        match plan {
            Some(plan) if !is_bad => Ok((plan, problems)),
            _ => Err(problems),
        }
    }

    /// Checks a config and applies every default.
    ///
    /// Warnings come with the plan.
    ///
    /// # Errors
    /// Every problem that was found, warnings among them, if at least one is an error; nothing new, if the plan is
    /// incomplete for a reason that [`Config::parse`] told already. [`Plan::read`] puts both together.
    pub fn resolve(config: &Config, surroundings: &Surroundings<'_>) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        resolve::plan(config, surroundings)
    }

    /// Takes over the credentials that are as they were before, so that each is in memory once.
    pub fn share(&mut self, before: &Self) {
        self.credentials.share(&before.credentials);
    }

    /// What has to be done to get from this plan to the next.
    pub fn diff(&self, next: &Self) -> PlanDiff {
        diff::between(self, next)
    }

    /// The plan of an agent that does nothing yet, to start from.
    pub fn empty(next: &Self) -> Self {
        Self { gateways: Vec::new(), credentials: Credentials::default(), notifiers: Vec::new(), ..next.clone() }
    }

    /// The gateway of this name.
    pub fn gateway(&self, name: &str) -> Option<&Arc<GatewayPlan>> {
        self.gateways.iter().find(|gateway| &*gateway.name == name)
    }

    /// The credential of this name.
    pub fn credential(&self, name: &str) -> Option<&Arc<CredentialPlan>> {
        self.credentials.get(name)
    }
}
