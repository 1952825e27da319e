//! `import FILE`: a refresh token out of a file that another tool keeps. Says what it would do; does it with `--yes`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::cli::place::{Loaded, complain, complain_of};
use crate::cli::taker::Takers;
use crate::cli::{ConfigPlace, Exit, block_on, print, taker};
use crate::config::plan::{CredentialPlan, Grant};
use crate::messages::{self, LoginWords};
use crate::oauth::import::{self, Found, POINTERS};
use crate::reason::{AgentReason, LoginReason};
use crate::secret::Secret;
use crate::shape::nearest;

/// What `import` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// The file
    file: PathBuf,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Where a field stands in a JSON file of another format: refresh_token=/a/b, client_id=/a/c
    #[arg(long, value_name = "FIELD=POINTER", value_parser = pointer)]
    pointer: Vec<(String, String)>,
    /// The credential; by default the one with the file's client, or the only one
    #[arg(long)]
    name: Option<String>,
}

fn pointer(text: &str) -> Result<(String, String), String> {
    let (field, pointer) = text.split_once('=').ok_or("write FIELD=/a/b")?;
    match (POINTERS.contains(&field), pointer.starts_with('/')) {
        (true, true) => Ok((field.to_owned(), pointer.to_owned())),
        (true, false) => Err("a JSON pointer begins with /".into()),
        (false, _) => Err(format!("there are {}", POINTERS.join(" and "))),
    }
}

/// Imports.
pub fn run(place: &ConfigPlace, options: &Options) -> anyhow::Result<Exit> {
    let loaded = match place.load() {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let words = &messages::words(loaded.plan.language).login;
    let pointers: BTreeMap<String, String> = options.pointer.iter().cloned().collect();
    let found = match std::fs::read_to_string(&options.file) {
        Ok(text) => import::read(&text, &pointers),
        Err(error) => {
            let path = options.file.display().to_string();
            Err(LoginReason::FileUnreadable { path, error: error.to_string() })
        }
    };
    let found = match found {
        Ok(found) => found,
        Err(reason) => {
            complain(&reason.into());
            return Ok(Exit::Failed);
        }
    };
    let Some(seed) = found.refresh_token.clone() else {
        print(&format!("{}\n\n{}", words.nothing_to_import, suggested(&found, options)))?;
        return Ok(Exit::Fine);
    };
    match credential(&loaded, &found, options.name.as_deref()) {
        Choice::One(plan) => into_vault(&loaded, &plan, &found, &seed, options),
        Choice::None => {
            print(&format!(
                "{}\n\n{}{}",
                words.add_first,
                suggested(&found, options),
                secret_advice(words, &found, options)
            ))?;
            Ok(Exit::Usage)
        }
        Choice::Unknown(name) => {
            let known = loaded.plan.credentials.iter().map(|credential| &*credential.name);
            complain(&AgentReason::NoSuchCredential { nearest: nearest(&name, known), name }.into());
            print(&format!("\n{}\n\n{}", words.add_first, suggested(&found, options)))?;
            Ok(Exit::Usage)
        }
    }
}

fn into_vault(
    loaded: &Loaded,
    plan: &CredentialPlan,
    found: &Found,
    seed: &Secret,
    options: &Options,
) -> anyhow::Result<Exit> {
    let words = &messages::words(loaded.plan.language).login;
    if let (Some(wanted), Some(found)) = (&plan.endpoint.client_id, &found.client_id)
        && wanted != found
    {
        let reason = LoginReason::OtherClient { wanted: wanted.clone(), found: found.clone() };
        complain_of(&reason.into(), &plan.name);
        return Ok(Exit::BadConfig);
    }
    if !options.yes {
        let would = words
            .would_import
            .replace("{file}", &options.file.display().to_string())
            .replace("{format}", found.format.map_or(words.by_pointers, |format| format.name))
            .replace("{credential}", &plan.name);
        print(&format!("{would} {}\n{}\n", words.one_owner, words.say_yes))?;
        return Ok(Exit::Fine);
    }
    block_on(async {
        let given = match Takers::find(loaded).await {
            Ok(takers) => takers.give(plan, seed).await,
            Err(exit) => Err(exit),
        };
        match given {
            Ok(taker) => taker::tell(loaded, plan, taker, words.one_owner).await,
            Err(exit) => Ok(exit),
        }
    })?
}

/// Whose refresh token it is.
enum Choice {
    One(Arc<CredentialPlan>),
    None,
    Unknown(String),
}

fn credential(loaded: &Loaded, found: &Found, name: Option<&str>) -> Choice {
    if let Some(name) = name {
        return match loaded.plan.credential(name) {
            Some(plan) => Choice::One(Arc::clone(plan)),
            None => Choice::Unknown(name.to_owned()),
        };
    }
    let takes = |plan: &&Arc<CredentialPlan>| matches!(plan.grant, Grant::RefreshToken { .. });
    let all: Vec<&Arc<CredentialPlan>> = loaded.plan.credentials.iter().filter(takes).collect();
    let is_its = |plan: &&&Arc<CredentialPlan>| found.client_id.is_some() && plan.endpoint.client_id == found.client_id;
    let its: Vec<_> = all.iter().filter(is_its).collect();
    match (its.as_slice(), all.as_slice()) {
        ([one], _) => Choice::One(Arc::clone(one)),
        ([], [only]) if found.client_id.is_none() => Choice::One(Arc::clone(only)),
        _ => Choice::None,
    }
}

/// A credential for the config: what the file says, without any secret.
fn suggested(found: &Found, options: &Options) -> String {
    let name = options.name.as_deref().unwrap_or("imported");
    let file = std::path::absolute(&options.file).unwrap_or_else(|_| options.file.clone());
    let fields = found.format.map_or("token_url     = \"https://…\"", |format| format.fields);
    let fields = fields.replace("FILE", &file.display().to_string());
    let fields = fields.replace("REGION", found.region.as_deref().unwrap_or("REGION"));
    let mut block = format!("[[credential]]\nname          = \"{name}\"\n{fields}\n");
    if let Some(id) = &found.client_id {
        block += &format!("client_id     = {}\n", toml::Value::from(id.as_str()));
    }
    if found.client_secret.is_some() {
        block += &format!("client_secret = {{ keyring = \"{name}-client\" }}\n");
    }
    block + "channels      = [1]\n"
}

/// How the client's secret gets from the file to where the credential looks for it.
fn secret_advice(words: &LoginWords, found: &Found, options: &Options) -> String {
    let Some(pointer) = found.client_secret else { return String::new() };
    let name = options.name.as_deref().unwrap_or("imported");
    let path = pointer.replace('/', ".");
    let file = shown(&options.file);
    format!("\n{}\n\n  jq -r {path} {file} | one-api-sidecar secret set {name}-client\n", words.client_secret)
}

/// A path as a shell takes it.
fn shown(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
