//! Secrets that systemd hands over: files in `$CREDENTIALS_DIRECTORY` (`LoadCredential=`, `LoadCredentialEncrypted=`).

use std::path::{Component, Path};

use super::{Environment, file};
use crate::reason::SecretReason;
use crate::secret::{Secret, SecretSource};

/// Reads a credential; its name is one plain path component, so it cannot lead out of the directory.
pub(super) fn read(name: &str, environment: Environment<'_>) -> Result<Secret, SecretReason> {
    let mut components = Path::new(name).components();
    let plain = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    if !plain || name.contains('/') {
        let error = "not a file name".to_owned();
        return Err(SecretReason::FileUnreadable { path: name.into(), error });
    }
    let Some(directory) = environment("CREDENTIALS_DIRECTORY").filter(|directory| !directory.is_empty()) else {
        return Err(SecretReason::NotUnderSystemd { name: name.into() });
    };
    file::read(&Path::new(&directory).join(name), &SecretSource::SystemdCredential(name.into()))
}
