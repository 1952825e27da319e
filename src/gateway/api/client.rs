//! Requests to a gateway's admin API, one after another, no faster than the gateway allows.
//!
//! Blocks its caller (the gateway's thread) on a small runtime of its own. Knows routes and headers; what an answer
//! means is `answer`'s.

use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::answer::{self, Refusal};
use crate::config::plan::{ApiPlan, Transport};
use crate::reason::ApiFailure;
use crate::secret::Secret;
use crate::{secrets, transport};

/// No channel list is longer, one page of it.
const LARGEST_ANSWER: usize = 8 * 1024 * 1024;
/// One-API refuses more than 480 requests of one address in 3 minutes (`GLOBAL_API_RATE_LIMIT`); its other users
/// come from the same address behind a proxy, and get the larger half.
const ALLOWED: f64 = 200.0;
const ALLOWED_A_SECOND: f64 = ALLOWED / 180.0;
/// Requests that looks leave to writes.
const RESERVED: f64 = 50.0;

/// What reaches the admin API of one gateway.
pub(super) struct Client {
    plan: ApiPlan,
    /// How long one request may take.
    timeout: Duration,
    runtime: Option<Runtime>,
    http: Option<reqwest::Client>,
    allowance: Allowance,
}

impl Client {
    /// Sends nothing yet.
    pub(super) fn new(plan: ApiPlan, timeout: Duration) -> Self {
        Self { plan, timeout, runtime: None, http: None, allowance: Allowance::new(Instant::now()) }
    }

    /// One channel; mostly without its key.
    pub(super) fn channel(&mut self, id: i64) -> Result<Value, Refusal> {
        self.read(&format!("api/channel/{id}"))
    }

    /// One page of all channels, the first being 0.
    ///
    /// one-api counts pages from 0 and has 10 channels on each; new-api and one-hub count from 1 and let the asker
    /// choose. Asked for both ways, every one of them shows each channel on some page.
    pub(super) fn page(&mut self, page: u32) -> Result<Value, Refusal> {
        let path = format!("api/channel/?p={page}&page={}&page_size=100&size=100", page + 1);
        self.read(&path)
    }

    /// Writes a key; what is left out stays as it is (on one-hub as long as `models` is left out too). Most gateways
    /// answer with the channel as it is then.
    pub(super) fn write_key(&mut self, id: i64, key: &Secret) -> Result<Option<Value>, Refusal> {
        self.call(Method::PUT, "api/channel/", Some(json!({ "id": id, "key": key.expose() })))
    }

    /// Sets status 1, in the way of one-api, one-hub and new-api before 2026.
    pub(super) fn enable(&mut self, id: i64) -> Result<(), Refusal> {
        self.call(Method::PUT, "api/channel/", Some(json!({ "id": id, "status": 1 }))).map(drop)
    }

    /// Sets status 1 in the way of new-api since 2026; says whether that changed it.
    pub(super) fn set_enabled(&mut self, id: i64) -> Result<bool, Refusal> {
        let changed = self.call(Method::POST, &format!("api/channel/{id}/status"), Some(json!({ "status": 1 })))?;
        Ok(changed != Some(Value::Bool(false)))
    }

    /// Changes nothing of a channel, after which one-hub and new-api (since v0.8.8) load all their channels from the
    /// database. On new-api a status that is set to what it is would not do that.
    ///
    /// Sources: `UpdateChannel` in `controller/channel.go` of new-api (`InitChannelCache` after each) and `Update` in
    /// `model/channel.go` of one-hub (`ChannelGroup.Load`).
    pub(super) fn load(&mut self, id: i64) -> Result<Option<Value>, Refusal> {
        self.call(Method::PUT, "api/channel/", Some(json!({ "id": id })))
    }

    /// Whether this is a new-api of 2026 or newer, by the route that sets a status; asked for no channel at all.
    pub(super) fn has_status_route(&mut self) -> Result<bool, Refusal> {
        match self.call(Method::POST, "api/channel/-/status", Some(json!({}))) {
            Ok(_) | Err(Refusal::NoChannel | Refusal::Api(ApiFailure::Refused)) => Ok(true),
            Err(Refusal::NoRoute) => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }

    /// How many requests looks may make now, so that there is room for writes after them.
    pub(super) fn spare(&self) -> usize {
        (self.allowance.left(Instant::now()) - RESERVED).max(0.0) as usize
    }

    /// What cannot be without `data`.
    fn read(&mut self, path: &str) -> Result<Value, Refusal> {
        self.call(Method::GET, path, None)?.ok_or(Refusal::Api(ApiFailure::NotTheApi { status: 200 }))
    }

    fn call(&mut self, method: Method, path: &str, body: Option<Value>) -> Result<Option<Value>, Refusal> {
        std::thread::sleep(self.allowance.take(Instant::now()));
        let (status, body) = self.send(method, path, body).map_err(Refusal::Api)?;
        answer::data(status, &body)
    }

    fn send(&mut self, method: Method, path: &str, body: Option<Value>) -> Result<(u16, Vec<u8>), ApiFailure> {
        let unreachable = |error: String| ApiFailure::Unreachable { error };
        let runtime = match &self.runtime {
            Some(runtime) => runtime,
            None => {
                let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
                self.runtime.insert(made.map_err(|error| unreachable(error.to_string()))?)
            }
        };
        // Read each time: a token in a file may have been changed, and there are few requests. A keyring may ask a
        // person, and nobody is there.
        let token = runtime.block_on(secrets::fetch(&self.plan.token)).map_err(ApiFailure::Token)?;
        let mut authorization = HeaderValue::from_str(token.expose()).map_err(|_| ApiFailure::Denied)?;
        authorization.set_sensitive(true);
        let http = match &self.http {
            Some(http) => http.clone(),
            None => {
                let transport =
                    Transport { connect_timeout: self.timeout / 2, proxy: None, ca_file: None, client_cert: None };
                let http = transport::client(&transport, None).map_err(|error| unreachable(error.to_string()))?;
                self.http.insert(http).clone()
            }
        };
        let url = self.plan.url.join(path).map_err(|error| unreachable(error.to_string()))?;
        let mut request = http.request(method, url).timeout(self.timeout).header(AUTHORIZATION, authorization);
        if let Some(user) = self.plan.user {
            request = request.header("New-Api-User", user);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        runtime
            .block_on(async {
                let mut response = request.send().await?;
                let (body, _) = transport::body(&mut response, LARGEST_ANSWER).await?;
                Ok((response.status().as_u16(), body))
            })
            .map_err(|error| unreachable(transport::plain(error)))
    }
}

/// A bucket of requests that fills again evenly.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: ALLOWED, at: now }
    }

    fn left(&self, now: Instant) -> f64 {
        let filled = now.saturating_duration_since(self.at).as_secs_f64() * ALLOWED_A_SECOND;
        (self.left + filled).min(ALLOWED)
    }

    /// How long until there is one.
    fn wait(&self, now: Instant) -> Duration {
        Duration::from_secs_f64((1.0 - self.left(now)).max(0.0) / ALLOWED_A_SECOND)
    }

    /// Takes one; says how long to wait before it is used.
    fn take(&mut self, now: Instant) -> Duration {
        let wait = self.wait(now);
        *self = Self { left: self.left(now) - 1.0, at: now };
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_what_follows_comes_at_the_gateways_pace() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        for _ in 0..200 {
            assert_eq!(allowance.take(start), Duration::ZERO);
        }
        assert_eq!(allowance.take(start).as_millis(), 900);
        assert_eq!(allowance.take(start).as_millis(), 1800);
        let later = start + Duration::from_secs(180);
        assert_eq!(allowance.wait(later), Duration::ZERO);
        assert!((197.0..199.0).contains(&allowance.left(later)), "{}", allowance.left(later));
    }
}
