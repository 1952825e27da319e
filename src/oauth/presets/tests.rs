//! Every preset, walked: what it sends, what it makes of an answer, and where it is documented.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::config::plan::{CredentialPlan, Method, Plan, Surroundings};
use crate::credential::record::Outcome;
use crate::credential::sample::at;
use crate::oauth::request::{self, request};
use crate::oauth::response::{Response, outcome};
use crate::secret::{Secret, SecretSource, Values};

/// What a preset is to do.
pub(super) struct Case {
    /// What a user writes beside it.
    pub(super) written: &'static str,
    /// The request that comes of both, as it goes over the wire; `ASSERTION` is a signed assertion.
    pub(super) request: &'static str,
    /// How the provider answers.
    pub(super) content_type: &'static str,
    /// An answer of the documented form.
    pub(super) answer: &'static str,
    /// What is taken out of it.
    pub(super) access_token: &'static str,
    pub(super) refresh_token: Option<&'static str>,
    /// In seconds.
    pub(super) lifetime: i64,
}

const RSA: &str = include_str!("../../../tests/fixtures/keys/rsa.pem");

fn read(text: &str) -> Result<Plan, String> {
    let surroundings = Surroundings { directory: Path::new("/"), env: &|_| None, mode: None };
    match Plan::read(text, &surroundings) {
        Ok((plan, warnings)) if warnings.is_empty() => Ok(plan),
        Ok((_, problems)) | Err(problems) => Err(format!("{text}\n{problems:#?}")),
    }
}

fn credential(preset: &Preset, case: &Case) -> CredentialPlan {
    let text = format!(
        "[gateway]\ndatabase = \"/a.db\"\n[[credential]]\nname = \"x\"\npreset = \"{}\"\nchannels = [1]\n{}",
        preset.name, case.written
    );
    let plan = read(&text).unwrap_or_else(|error| panic!("{error}"));
    (*plan.credentials[0]).clone()
}

fn values() -> Values {
    let account = json!({"client_email": "robot@example.com", "private_key": RSA}).to_string();
    let named = |(name, value): (&str, &str)| (SecretSource::Env(name.into()), Secret::new(value));
    [("CLIENT", "secret"), ("RSA", RSA), ("ACCOUNT", &account)].map(named).into()
}

/// A request as lines: method and address, headers, a blank line, the body.
fn lines(plan: &CredentialPlan) -> String {
    let values = values();
    assert!(request::sources(plan).iter().all(|source| values.contains_key(source)));
    let seed = Secret::new("seed");
    let seed = (plan.grant.as_str() == "refresh_token").then_some(&seed);
    let request = request(plan, seed, &values, at(0)).unwrap_or_else(|error| panic!("{error}"));
    let method = if request.method == Method::Post { "POST" } else { "GET" };
    let mut headers: Vec<String> =
        request.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    headers.sort();
    let body = String::from_utf8(request.body).unwrap();
    let is_assertion = |word: &&str| word.starts_with("eyJ") && word.matches('.').count() == 2;
    let assertion = body.split(['=', '&', '"']).find(is_assertion).unwrap_or("no assertion");
    let body = body.replace(assertion, "ASSERTION");
    format!("{method} {}\n{}\n\n{body}", request.url, headers.join("\n")).trim().to_owned()
}

#[test]
fn every_preset_sends_what_its_provider_documents() {
    for (preset, case) in CASES {
        assert_eq!(lines(&credential(preset, case)), case.request.trim(), "{}", preset.name);
    }
}

#[test]
fn every_preset_reads_what_its_provider_answers() {
    for (preset, case) in CASES {
        let plan = credential(preset, case);
        let response = Response {
            status: 200,
            content_type: Some(case.content_type.into()),
            body: case.answer.into(),
            sent_at: at(0),
            received_at: at(0),
            ..Response::default()
        };
        let Outcome::Answered(answer) = outcome(&plan, &response, &[]) else { panic!("{}", preset.name) };
        let access = answer.access.unwrap_or_else(|error| panic!("{}: {error:?}", preset.name));
        assert_eq!(access.token, Secret::new(case.access_token), "{}", preset.name);
        assert_eq!(answer.refresh_token, case.refresh_token.map(Secret::new), "{}", preset.name);
        assert_eq!(access.expires_at, at(case.lifetime), "{}", preset.name);
        assert!(!access.lifetime_assumed, "{}", preset.name);
        let has_life = case.answer.contains("refresh_expires_in") || case.answer.contains("refresh_token_expires_in");
        assert_eq!(answer.refresh_token_expires_at.is_some(), has_life, "{}", preset.name);
    }
}

#[test]
fn every_preset_is_one_line_a_field_and_has_a_name_of_its_own() {
    for (index, preset) in REGISTRY.iter().enumerate() {
        assert_eq!(Preset::named(preset.name).map(|found| found.fields), Some(preset.fields));
        assert!(index == 0 || REGISTRY[index - 1].name < preset.name, "{} is in its order", preset.name);
        let is_field = |line: &str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        assert!(preset.fields.trim().lines().all(is_field), "{}", preset.fields);
        let brings_url = preset.fields.contains("\ntoken_url = ");
        assert!(brings_url != preset.own_token_url.is_some(), "{}: one of the two", preset.name);
    }
}

#[test]
fn every_preset_has_a_page_whose_example_is_read_as_it_stands() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers");
    let table = std::fs::read_to_string(docs.join("README.md")).unwrap();
    examples(&table).into_iter().for_each(is_read);
    for preset in REGISTRY {
        let page = std::fs::read_to_string(docs.join(format!("{}.md", preset.name)))
            .unwrap_or_else(|error| panic!("docs/providers/{}.md: {error}", preset.name));
        assert!(table.contains(&format!("]({}.md)", preset.name)), "{} is in the table", preset.name);
        let examples = examples(&page);
        let names_it = |line: &str| line.starts_with("preset ") && line.ends_with(&format!("= \"{}\"", preset.name));
        assert!(examples.first().is_some_and(|example| example.lines().any(names_it)), "{}", preset.name);
        examples.into_iter().for_each(is_read);
    }
}

/// The pieces of config on a page.
fn examples(page: &str) -> Vec<&str> {
    page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

fn is_read(example: &str) {
    read(&format!("[gateway]\ndatabase = \"/a.db\"\n{example}")).unwrap_or_else(|error| panic!("{error}"));
}
