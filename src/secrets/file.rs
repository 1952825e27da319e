//! Secrets in files: read whole, one trailing newline trimmed.

use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::reason::SecretReason;
use crate::secret::{Secret, SecretSource};

/// Longer than any secret is.
const LIMIT: u64 = 1024 * 1024;

/// Reads the file; `source` is how it may be named to people.
pub(super) fn read(path: &Path, source: &SecretSource) -> Result<Secret, SecretReason> {
    let from = || source.to_string();
    let bytes = bytes(path)
        .map_err(|error| SecretReason::FileUnreadable { path: path.display().to_string(), error: error.to_string() })?;
    if bytes.len() as u64 > LIMIT {
        return Err(SecretReason::TooLong { from: from() });
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| SecretReason::NotText { from: from() })?;
    let value = super::without_newline(text);
    if value.is_empty() {
        return Err(SecretReason::Empty { from: from() });
    }
    Ok(Secret::new(value))
}

/// At most one byte more than is taken, in memory that is zeroed afterwards.
fn bytes(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = std::fs::File::open(path)?;
    // Room for the whole file at once: a buffer that grows leaves copies behind.
    let room = file.metadata()?.len().min(LIMIT) as usize + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(LIMIT + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
