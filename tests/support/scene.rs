//! One credential from its seed in a file to its key in channel 1, with everything it meets: a strict token endpoint, a
//! copy of a real gateway's database, and PushPlus.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use one_api_sidecar::credential::record::Record;
use one_api_sidecar::vault::Vault;
use serde_json::Value;

use super::database;
use super::endpoint::{Endpoint, Options};
use super::process::{Bench, Output, assert_no_secret};
use super::{SENTINEL, SOON, eventually};

/// The credential's name, and its client's.
pub const NAME: &str = "kept";

/// See the module.
pub struct Scene {
    pub bench: Bench,
    pub endpoint: Endpoint,
    pub pushplus: Endpoint,
}

impl Scene {
    /// A scene whose credential has these further lines; nothing has run yet.
    pub fn new(options: Options, credential: &str) -> Self {
        let (endpoint, pushplus) = (Endpoint::start(options), Endpoint::answering(200, r#"{"code":200}"#));
        let mut bench = Bench::new();
        database::copy_fixture("one-api.db", &bench.path("one-api.db"));
        bench.env("PUSHPLUS_TOKEN", format!("{SENTINEL}-pushplus"));
        let scene = Self { bench, endpoint, pushplus };
        scene.log_in();
        scene.bench.write_config(&scene.config(&scene.credential(NAME, NAME, "seed", 1, credential)));
        scene
    }

    /// A scene on a strict server whose access tokens live so long.
    pub fn strict(lifetime: Duration, credential: &str) -> Self {
        Self::new(Options { lifetime, ..Options::default() }, credential)
    }

    /// The config file with these credentials.
    pub fn config(&self, credentials: &str) -> String {
        format!(
            r#"
[gateway]
database  = "{}"
cache_lag = "0s"

[defaults]
backoff = {{ min = "100ms", max = "1s" }}

[[notify]]
type  = "pushplus"
token = {{ env = "PUSHPLUS_TOKEN" }}
url   = "{}"
{credentials}"#,
            self.database().display(),
            self.pushplus.url_of("/send"),
        )
    }

    /// A credential's table: its seed is in a file of the bench.
    pub fn credential(&self, name: &str, client: &str, seed: &str, channel: impl Display, more: &str) -> String {
        format!(
            r#"
[[credential]]
name          = "{name}"
token_url     = "{}"
client_id     = "{client}"
refresh_token = {{ file = "{}" }}
channels      = [{channel}]
{more}
"#,
            self.endpoint.url(),
            self.bench.path(seed).display(),
        )
    }

    /// A person logs in: a new family's refresh token is in the seed's file.
    pub fn log_in(&self) -> String {
        let seed = self.endpoint.issue();
        self.set_seed("seed", &seed);
        seed
    }

    /// Replaces a seed's file.
    pub fn set_seed(&self, file: &str, seed: &str) {
        let (path, beside) = (self.bench.path(file), self.bench.path("seed.new"));
        std::fs::write(&beside, seed).unwrap();
        std::fs::rename(beside, path).unwrap();
    }

    /// The gateway's database.
    pub fn database(&self) -> PathBuf {
        self.bench.path("one-api.db")
    }

    /// The vault.
    pub fn vault(&self) -> PathBuf {
        self.bench.path("one-api-sidecar/vault.db")
    }

    /// The records in the vault, read beside whoever owns it.
    pub fn records(&self) -> Vec<Record> {
        Vault::peek(&self.vault(), None).map(|(_, contents)| contents.records).expect("the vault is readable")
    }

    /// The key in channel 1.
    pub fn key(&self) -> String {
        database::channel(&self.database(), 1).key
    }

    /// Whether the key in channel 1 is good for a request now.
    pub fn serves(&self) -> bool {
        self.endpoint.is_valid(&self.key())
    }

    /// Whether channel 1 holds the newest access token that the server gave out.
    pub fn is_delivered(&self) -> bool {
        self.endpoint.accepted_tokens().last() == Some(&self.key())
    }

    /// The refresh tokens that were sent, in their order.
    pub fn sent(&self) -> Vec<String> {
        let tokens = self.endpoint.requests().into_iter().map(|request| request.parameters().remove("refresh_token"));
        tokens.map(|token| token.expect("a refresh sends one")).collect()
    }

    /// `once`, and fine.
    pub fn once(&self) {
        self.command(&["once"]);
    }

    /// A refresh, due or not, and fine.
    pub fn refresh(&self) {
        self.command(&["once", "--force"]);
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let output = self.bench.run_command(arguments);
        assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
        assert_no_secret("a command", &format!("{output:?}"));
        output
    }

    /// The exit code of `status --json`, and what it says of a credential.
    pub fn status_of(&self, name: &str) -> (Option<i32>, Value) {
        let output = self.bench.run_command(&["status", "--json"]);
        assert_no_secret("status", &format!("{output:?}"));
        let status: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("JSON: {output:?}"));
        let credentials = status["credentials"].as_array().cloned().unwrap_or_default();
        let credential = credentials.into_iter().find(|credential| credential["name"] == name);
        (output.code, credential.unwrap_or_else(|| panic!("{name} has a status: {status}")))
    }

    /// State and reason as `status` shows them: "halted outcome_unknown".
    pub fn state(&self) -> String {
        let (_, status) = self.status_of(NAME);
        let words = [&status["state"], &status["reason"]].map(|word| word.as_str().unwrap_or_default().to_owned());
        words.join(" ").trim_end().to_owned()
    }

    /// Waits until `status` shows this.
    pub fn assert_becomes(&self, state: &str) {
        let mut seen = String::new();
        let became = eventually(SOON, || {
            seen = self.state();
            seen == state
        });
        assert!(became, "{state}, not {seen}: {}", self.status_of(NAME).1);
    }

    /// The titles of the messages that people got.
    pub fn titles(&self) -> Vec<String> {
        let messages = self.pushplus.requests();
        messages.iter().map(|message| message.json()["title"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Whether people got a message whose title has these words.
    pub fn told(&self, words: &str) -> bool {
        self.titles().iter().any(|title| title.contains(words))
    }
}
