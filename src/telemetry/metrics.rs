//! `/metrics`: what is counted and timed, and how everything stands, for Prometheus.
//!
//! Counters and histograms are folds over what comes back to the agent's loop; they live here, beside it. Gauges are
//! not kept at all: each scrape takes them from the [`Status`] of that moment, so they cannot part from what `status`
//! shows, and what left the config is gone from them by itself. Called by the agent (to count) and by the server (to
//! show).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::config::plan::Plan;
use crate::credential::record::Settled;
use crate::telemetry::status::{CredentialState, CredentialStatus, Status};
use crate::time::Timestamp;

/// What every name begins with.
const PREFIX: &str = "one_api_sidecar";
/// Upper bounds of a request's length, in seconds: from loopback to the longest timeouts.
const REQUEST_SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0];
/// Upper bounds of a database write's length, in seconds: from a fast disk to a lock that was not had in time.
const WRITE_SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// How the text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4, which whoever asks for nothing gets.
    Text,
}

impl Format {
    /// What a request's `Accept` header prefers.
    pub fn accepted(accept: &str) -> Self {
        let open_metrics = quality(accept, "application/openmetrics-text", "1.0.0");
        if open_metrics > 0.0 && open_metrics >= quality(accept, "text/plain", "0.0.4") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The `Content-Type` of the text.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// How much a media type in this version is wanted, 0 to 1 (RFC 9110 §12.5.1).
fn quality(accept: &str, media_type: &str, version: &str) -> f32 {
    let of_one = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type));
        let parameters: BTreeMap<&str, &str> = parts.filter_map(|part| part.split_once('=')).collect();
        let fits = parameters.get("version").is_none_or(|wanted| wanted.trim_matches('"') == version);
        let quality = parameters.get("q").map_or(Some(1.0), |quality| quality.parse().ok());
        quality.filter(|_| named && fits)
    };
    accept.split(',').filter_map(of_one).fold(0.0, f32::max)
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCredential {
    credential: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRefresh {
    credential: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfGateway {
    gateway: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPublish {
    gateway: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfNotifier {
    notifier: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReload {
    outcome: &'static str,
}

type Times<L> = Family<L, Histogram, fn() -> Histogram>;

/// What became of a key that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// It is in the channel.
    Ok,
    /// Somebody else wrote between the look and the write; looked at again.
    Conflict,
    /// The database or the channel did not take it.
    Failed,
}

impl Delivered {
    const ALL: [Self; 3] = [Self::Ok, Self::Conflict, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Conflict => "conflict",
            Self::Failed => "failed",
        }
    }
}

const TAKEN: [&str; 2] = ["ok", "failed"];
const RELOADED: [&str; 2] = ["ok", "rejected"];

fn outcome_of(names: [&'static str; 2], well: bool) -> &'static str {
    let [ok, other] = names;
    if well { ok } else { other }
}

/// The counters and histograms; cheap to clone, and every clone is the same.
#[derive(Debug, Clone)]
pub struct Counters {
    refreshes: Family<OfRefresh, Counter>,
    refresh_seconds: Times<OfCredential>,
    publishes: Family<OfPublish, Counter>,
    publish_seconds: Times<OfGateway>,
    commit_seconds: Histogram,
    notifications: Family<OfNotifier, Counter>,
    reloads: Family<OfReload, Counter>,
    /// Whether there is a server to read them from: thousands of credentials are not counted for nobody.
    served: Arc<AtomicBool>,
}

impl Default for Counters {
    fn default() -> Self {
        let counters = Self {
            refreshes: Family::default(),
            refresh_seconds: Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)),
            publishes: Family::default(),
            publish_seconds: Family::new_with_constructor(|| Histogram::new(WRITE_SECONDS)),
            commit_seconds: Histogram::new(WRITE_SECONDS),
            notifications: Family::default(),
            reloads: Family::default(),
            served: Arc::default(),
        };
        for outcome in RELOADED {
            drop(counters.reloads.get_or_create(&OfReload { outcome }));
        }
        counters
    }
}

impl Counters {
    /// Goes from one plan to the next: what is new counts from zero on, so that its first failure shows as an
    /// increase; what is gone is forgotten. Credentials are counted while the plan has a server.
    pub fn follow(&self, before: &Plan, next: &Plan) {
        self.served.store(next.server.is_some(), Ordering::Relaxed);
        let counted = |plan: &Plan| plan.server.is_some();
        let credentials =
            |plan: &Plan| names(plan.credentials.iter().filter(|_| counted(plan)).map(|credential| &credential.name));
        let gateways = |plan: &Plan| names(plan.gateways.iter().map(|gateway| &gateway.name));
        let notifiers = |plan: &Plan| names(plan.notifiers.iter().map(|notifier| &notifier.name));
        let (is, was) = (credentials(next), credentials(before));
        for outcome in Settled::OUTCOMES {
            follow(&self.refreshes, &was, &is, |credential| OfRefresh { credential, outcome });
        }
        for credential in was.difference(&is).cloned() {
            self.refresh_seconds.remove(&OfCredential { credential });
        }
        let (is, was) = (gateways(next), gateways(before));
        for outcome in Delivered::ALL.map(Delivered::as_str) {
            follow(&self.publishes, &was, &is, |gateway| OfPublish { gateway, outcome });
        }
        for gateway in was.difference(&is).cloned() {
            self.publish_seconds.remove(&OfGateway { gateway });
        }
        let (is, was) = (notifiers(next), notifiers(before));
        for outcome in TAKEN {
            follow(&self.notifications, &was, &is, |notifier| OfNotifier { notifier, outcome });
        }
    }

    /// A request for a credential was sent and came to this; `took` where its answer was waited for.
    pub fn refreshed(&self, credential: &Arc<str>, settled: Settled, took: Option<Duration>) {
        if !self.served.load(Ordering::Relaxed) {
            return;
        }
        let credential = Arc::clone(credential);
        if let Some(took) = took {
            let labels = OfCredential { credential: Arc::clone(&credential) };
            self.refresh_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        }
        self.refreshes.get_or_create(&OfRefresh { credential, outcome: settled.as_str() }).inc();
    }

    /// A key was to be written into a gateway.
    pub fn published(&self, gateway: &Arc<str>, delivered: Delivered) {
        let labels = OfPublish { gateway: Arc::clone(gateway), outcome: delivered.as_str() };
        self.publishes.get_or_create(&labels).inc();
    }

    /// A notifier took a message, or did not.
    pub fn notified(&self, notifier: &Arc<str>, taken: bool) {
        let labels = OfNotifier { notifier: Arc::clone(notifier), outcome: outcome_of(TAKEN, taken) };
        self.notifications.get_or_create(&labels).inc();
    }

    /// The config file was read again, and taken or not.
    pub fn reloaded(&self, taken: bool) {
        self.reloads.get_or_create(&OfReload { outcome: outcome_of(RELOADED, taken) }).inc();
    }

    /// Where a gateway's thread notes how long its writes take.
    pub fn publish_seconds(&self, gateway: &Arc<str>) -> Histogram {
        self.publish_seconds.get_or_create_owned(&OfGateway { gateway: Arc::clone(gateway) })
    }

    /// Where the vault's thread notes how long its commits take.
    pub fn commit_seconds(&self) -> Histogram {
        self.commit_seconds.clone()
    }

    /// The whole text, gauges by this status.
    pub fn exposition(&self, status: Status, format: Format) -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register("refreshes", "Requests to token endpoints, by what they came to", self.refreshes.clone());
        registry.register("publishes", "Keys that were to be written into a gateway", self.publishes.clone());
        registry.register("notifications", "Messages to a notifier", self.notifications.clone());
        registry.register("config_reloads", "Readings of the config file after the first", self.reloads.clone());
        registry.register(
            "refresh_duration_seconds",
            "How long token endpoints took to answer",
            self.refresh_seconds.clone(),
        );
        registry.register(
            "publish_duration_seconds",
            "How long a batch of keys took to be written, waiting for the database's lock included",
            self.publish_seconds.clone(),
        );
        registry.register(
            "vault_commit_duration_seconds",
            "How long a commit of the vault took until it was durable",
            self.commit_seconds.clone(),
        );
        registry.register_collector(Box::new(Gauges(status)));
        let mut exposition = String::new();
        // Writing into a String does not fail.
        let _ = text::encode(&mut exposition, &registry);
        match format {
            Format::OpenMetrics => exposition,
            Format::Text => before_open_metrics(&exposition),
        }
    }
}

fn names<'n>(names: impl Iterator<Item = &'n Arc<str>>) -> BTreeSet<Arc<str>> {
    names.cloned().collect()
}

/// Begins the counters of new names and ends those of names that are gone.
fn follow<L: Clone + std::hash::Hash + Eq>(
    family: &Family<L, Counter>,
    was: &BTreeSet<Arc<str>>,
    is: &BTreeSet<Arc<str>>,
    labels: impl Fn(Arc<str>) -> L,
) {
    for gone in was.difference(is) {
        family.remove(&labels(Arc::clone(gone)));
    }
    for new in is.difference(was) {
        drop(family.get_or_create(&labels(Arc::clone(new))));
    }
}

/// The same in the format before OpenMetrics, where a counter's family bears the name of its samples.
fn before_open_metrics(exposition: &str) -> String {
    let mut text = String::with_capacity(exposition.len());
    let mut help = "";
    for line in exposition.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            text += &format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
        } else if line != "# EOF" {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// How everything stands at the moment of a scrape.
#[derive(Debug)]
struct Gauges(Status);

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(status) = self;
        let credentials = &status.credentials;
        let one = |labels| std::iter::once((labels, 1));
        let mut gauge = Gauge(&mut encoder);
        gauge.write("build_info", "The version that runs.", one([("version", &*status.version)]))?;
        gauge.write(
            "access_token_expiry_timestamp_seconds",
            "When the access token that serves now dies.",
            moments(credentials, |credential| credential.expires_at),
        )?;
        gauge.write(
            "next_refresh_timestamp_seconds",
            "When the next request to the token endpoint is due.",
            moments(credentials, |credential| credential.refresh_at),
        )?;
        gauge.write(
            "credential_state",
            "How a credential stands: 1 for its present state.",
            credentials.iter().map(|one| ([("credential", &*one.name), ("state", one.state.as_str())], 1)),
        )?;
        gauge.write(
            "channel_state",
            "How a channel stands: 1 for its present state.",
            channels(credentials).iter().map(|(gateway, channel, state)| {
                ([("gateway", *gateway), ("channel", channel.as_str()), ("state", *state)], 1)
            }),
        )?;
        let count = |state| credentials.iter().filter(|credential| credential.state == state).count();
        let counts = CredentialState::ALL.map(|state| ([("state", state.as_str())], wide(count(state))));
        gauge.write("credentials", "How many credentials stand so.", counts.into_iter())?;
        let config = &status.agent.config;
        gauge.write_one(
            "config_last_reload_successful",
            "Whether the config file is applied as it stands.",
            Some(i64::from(config.problem.is_none())),
        )?;
        gauge.write_one(
            "config_last_reload_success_timestamp_seconds",
            "When the config file was last found good.",
            config.loaded_at.map(Timestamp::as_seconds),
        )
    }
}

/// Writes gauges.
struct Gauge<'e, 'd>(&'e mut DescriptorEncoder<'d>);

impl Gauge<'_, '_> {
    fn write<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (L, i64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// One without labels.
    fn write_one(&mut self, name: &str, help: &str, value: Option<i64>) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        value.map_or(Ok(()), |value| ConstGauge::new(value).encode(metric))
    }
}

fn moments(
    credentials: &[CredentialStatus],
    moment: impl Fn(&CredentialStatus) -> Option<Timestamp>,
) -> impl Iterator<Item = ([(&str, &str); 1], i64)> {
    credentials
        .iter()
        .filter_map(move |credential| Some(([("credential", &*credential.name)], moment(credential)?.as_seconds())))
}

/// Gateway, id and state of each channel; the name while there is no id. A set, for two entries of the config may
/// turn out to mean one channel.
fn channels(credentials: &[CredentialStatus]) -> BTreeSet<(&str, String, &str)> {
    let channels = credentials.iter().flat_map(|credential| &credential.channels);
    let address = |id: Option<i64>, name: &str| id.map_or_else(|| name.to_owned(), |id| id.to_string());
    channels.map(|one| (&*one.gateway, address(one.id, &one.name), one.state.as_str())).collect()
}

fn wide(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
