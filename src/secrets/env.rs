//! Secrets in the environment: `NAME`, or the file that `NAME_FILE` names (the convention of container images).

use std::path::PathBuf;

use super::{Environment, file};
use crate::reason::SecretReason;
use crate::secret::{Secret, SecretSource};

/// Reads the variable, else the file. An empty variable counts as unset: compose sets `NAME: ${NAME}` to nothing.
pub(super) fn read(name: &str, environment: Environment<'_>) -> Result<Secret, SecretReason> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    match (set(name), set(&format!("{name}_FILE"))) {
        (Some(_), Some(_)) => Err(SecretReason::EnvAndFile { name: name.into() }),
        (Some(value), None) => match value.into_string() {
            Ok(text) => Ok(Secret::new(text)),
            Err(_) => Err(SecretReason::NotText { from: SecretSource::Env(name.into()).to_string() }),
        },
        (None, Some(path)) => {
            let path = PathBuf::from(path);
            file::read(&path, &SecretSource::File(path.clone()))
        }
        (None, None) => Err(SecretReason::EnvMissing { name: name.into() }),
    }
}
