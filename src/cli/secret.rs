//! `secret set`, `list` and `delete`: entries of the keyring.
//!
//! Owns how a value comes in without being seen; the keyring itself is [`crate::secrets::keyring`].

use std::io::{self, IsTerminal, Read};

use anyhow::Context;
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use crate::cli::place::complain;
use crate::cli::{Exit, print};
use crate::reason::SecretReason;
use crate::secret::{Secret, SecretSource};
use crate::secrets::{self, keyring};

/// What `secret` takes.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
    /// The entries' service in the keyring
    #[arg(long, global = true, default_value = SecretSource::DEFAULT_KEYRING_SERVICE)]
    service: String,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write an entry; the value is asked for without echo, or read from standard input
    Set {
        /// The entry, as `{ keyring = "NAME" }` names it
        name: String,
    },
    /// The names of the entries
    List,
    /// Delete an entry
    Delete {
        /// The entry
        name: String,
    },
}

/// Does what was asked.
pub fn run(options: &Options) -> anyhow::Result<Exit> {
    let service = &options.service;
    let done = match &options.action {
        Action::Set { name } => set(service, name, &value(&format!("{name}: "))?),
        Action::Delete { name } => delete(service, name),
        Action::List => match list(service) {
            Ok(names) => {
                print(&names.iter().map(|name| format!("{name}\n")).collect::<String>())?;
                Ok(())
            }
            Err(reason) => Err(reason),
        },
    };
    Ok(match done {
        Ok(()) => Exit::Fine,
        Err(reason) => {
            complain(&reason.into());
            Exit::Failed
        }
    })
}

/// A secret is at most this long; the rest of a larger input is not even read.
const LIMIT: u64 = 1024 * 1024;

/// The value for `secret set`: from a prompt without echo where standard input is a terminal, else from it.
///
/// # Errors
/// When nothing can be read, or what is read is not text. The value is in no error.
pub fn value(prompt: &str) -> anyhow::Result<Secret> {
    if io::stdin().is_terminal() {
        let typed = rpassword::prompt_password(prompt).context("cannot read from the terminal")?;
        return Ok(Secret::new(typed));
    }
    piped(io::stdin().lock())
}

/// The whole input, one trailing newline trimmed.
fn piped(input: impl Read) -> anyhow::Result<Secret> {
    let mut bytes = Zeroizing::new(Vec::new());
    input.take(LIMIT + 1).read_to_end(&mut bytes).context("cannot read standard input")?;
    anyhow::ensure!(bytes.len() as u64 <= LIMIT, "standard input is longer than 1 MiB");
    let text = std::str::from_utf8(&bytes).ok().context("standard input is not UTF-8 text")?;
    Ok(Secret::new(secrets::without_newline(text)))
}

/// `secret set NAME`: writes an entry, or replaces its value.
///
/// # Errors
/// An empty value, or what the keyring says.
pub fn set(service: &str, name: &str, value: &Secret) -> Result<(), SecretReason> {
    if value.is_empty() {
        let source = SecretSource::Keyring { service: service.into(), entry: name.into() };
        return Err(SecretReason::Empty { from: source.to_string() });
    }
    keyring::set(service, name, value)
}

/// `secret list`: the names of the entries, never a value.
///
/// # Errors
/// What the keyring says.
pub fn list(service: &str) -> Result<Vec<String>, SecretReason> {
    keyring::list(service)
}

/// `secret delete NAME`.
///
/// # Errors
/// No such entry, or what else the keyring says.
pub fn delete(service: &str, name: &str) -> Result<(), SecretReason> {
    keyring::delete(service, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piped_value_loses_one_newline_and_nothing_else() {
        for (input, value) in [("x\n", "x"), ("x\r\n", "x"), (" x \n\n", " x \n"), ("", "")] {
            assert_eq!(piped(input.as_bytes()).unwrap(), Secret::new(value), "{input:?}");
        }
    }

    #[test]
    fn binary_and_endless_input_are_refused_without_being_shown() {
        let error = format!("{:?}", piped(&b"sentinel\xff"[..]).unwrap_err());
        assert!(!error.contains("sentinel"), "{error}");
        assert!(piped(io::repeat(b'x')).is_err());
    }

    #[test]
    fn an_empty_value_is_refused_before_the_keyring_is_asked() {
        let refused = set(SecretSource::DEFAULT_KEYRING_SERVICE, "seed", &Secret::new(""));
        assert_eq!(refused, Err(SecretReason::Empty { from: "keyring:seed".into() }));
    }
}
