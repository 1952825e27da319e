//! The config file, from its text to a plan or to every problem at once.

mod diff;
mod example;
mod plan;
mod problems;
mod secrecy;

use std::path::Path;

use one_api_sidecar::config::plan::{Plan, Surroundings};
use one_api_sidecar::config::report::{Labels, Report, render, reports};
use one_api_sidecar::reason::ConfigReason;
use one_api_sidecar::shape::Problem;

/// The config of the original script, as the contract gives it.
pub const TEN_LINES: &str = r#"
[gateway]
database = "/data/one-api.db"

[[credential]]
name          = "openai"
token_url     = "https://auth0.openai.com/oauth/token"
encoding      = "json"
client_id     = "pdlLIX2Y72MIl2rhLhTE9VV9bN905kBh"
params        = { redirect_uri = "com.openai.chat://auth0.openai.com/ios/com.openai.chat/callback" }
refresh_token = { env = "OPENAI_REFRESH_TOKEN" }
channels      = [1]

[[notify]]
type  = "pushplus"
token = { env = "PUSHPLUS_TOKEN" }
"#;

/// A gateway and a credential that more fields can be appended to.
pub const SMALL: &str = r#"
[gateway]
database = "one-api.db"
[[credential]]
name = "a"
token_url = "https://auth.example.com/token"
channels = [1]
"#;

pub const EXAMPLE: &str = include_str!("../../sidecar.toml.example");

/// Where the config file is said to be.
pub const DIRECTORY: &str = "/etc/one-api-sidecar";

pub fn read(text: &str) -> Result<(Plan, Vec<Problem>), Vec<Problem>> {
    read_with(text, &[], None)
}

pub fn read_with(text: &str, env: &[(&str, &str)], mode: Option<u32>) -> Result<(Plan, Vec<Problem>), Vec<Problem>> {
    let look = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Plan::read(text, &Surroundings { directory: Path::new(DIRECTORY), env: &look, mode })
}

pub fn plan(text: &str) -> Plan {
    let (plan, warnings) = read(text).unwrap_or_else(|problems| panic!("{text}\n{}", shown(text, &problems)));
    assert!(warnings.is_empty(), "{text}\n{}", shown(text, &warnings));
    plan
}

pub fn words(reason: &ConfigReason) -> (String, String) {
    (format!("{reason:?}"), "a remedy".into())
}

pub fn shown(text: &str, problems: &[Problem]) -> String {
    render("sidecar.toml", text, problems, &Labels::default(), words)
}

/// The problems of a text as line, column, field and reason.
pub fn problems(text: &str) -> Vec<(Option<usize>, Option<usize>, String, ConfigReason)> {
    let problems = match read(text) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    let reports: Vec<Report> = reports("sidecar.toml", text, &problems, words);
    assert_eq!(reports.len(), problems.len());
    reports
        .into_iter()
        .zip(problems)
        .map(|(report, problem)| (report.line, report.column, problem.field, problem.reason))
        .collect()
}

/// The one problem of a text.
pub fn problem(text: &str) -> (String, ConfigReason) {
    let mut found = problems(text);
    assert_eq!(found.len(), 1, "{text}\n{found:#?}");
    let (.., field, reason) = found.remove(0);
    (field, reason)
}
