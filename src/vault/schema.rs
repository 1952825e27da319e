//! The vault's schema through the versions: which one a file has, and how an older one is brought forward.
//!
//! Only forward, a step a version, all of them in one transaction, after a copy was put beside the vault for whoever
//! has to go back. A step that was released is never changed. What every schema keeps as it is: `application_id`,
//! `user_version`, and the table `meta` with the key check, so that a key is proven before anything is touched.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::reason::VaultReason;
use crate::vault::failure::{Failure, system};
use crate::vault::place;
use crate::vault::seal::Seal;

/// "OAPS": tells a vault from other SQLite files.
const APPLICATION_ID: i64 = 0x4F41_5053;
/// The schema of the first version.
const FIRST: i64 = 1;

/// Brings the tables from one schema to the next; what it seals anew it seals in its new place.
pub(super) type Step = fn(&Transaction<'_>, &Seal) -> Result<(), Failure>;

/// A schema: the steps that lead to it from the first one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schema(pub(super) &'static [Step]);

/// The schema that this program writes; [`super::rows::CREATE`] makes it at once.
pub(super) const OURS: Schema = Schema(&[]);

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recognised {
    /// A vault of the schema that was asked for.
    Vault,
    /// A vault of an earlier one.
    Older(i64),
    /// Nobody wrote to it yet.
    Empty,
}

impl Schema {
    /// Its number.
    pub(super) fn number(self) -> i64 {
        FIRST + i64::try_from(self.0.len()).unwrap_or(i64::MAX - FIRST)
    }

    /// Tells what a file is.
    ///
    /// # Errors
    /// When it is not a vault, or a newer one.
    pub(super) fn recognise(self, connection: &Connection) -> Result<Recognised, Failure> {
        let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (application, found) = (pragma("application_id")?, pragma("user_version")?);
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let known = self.number();
        match (application, tables) {
            (0, 0) if found == 0 => Ok(Recognised::Empty),
            (APPLICATION_ID, _) if found > known => Err(VaultReason::Newer { found, known }.into()),
            (APPLICATION_ID, _) if found == known => Ok(Recognised::Vault),
            (APPLICATION_ID, _) if found >= FIRST => Ok(Recognised::Older(found)),
            _ => Err(Failure::NotAVault),
        }
    }

    /// Makes a file a vault of this schema; its tables were made in the same transaction.
    pub(super) fn stamp(self, transaction: &Transaction<'_>) -> Result<(), Failure> {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", self.number())?;
        Ok(())
    }

    /// Brings a vault forward from an earlier schema, and says where the copy of the former one is. An interrupted one
    /// begins again at the next start. The caller has proven the seal and holds the lock.
    ///
    /// # Errors
    /// When the copy cannot be kept or a step fails: then the vault is as before.
    pub(super) fn migrate(
        self,
        connection: &mut Connection,
        path: &Path,
        seal: &Seal,
        from: i64,
    ) -> Result<PathBuf, Failure> {
        let steps = usize::try_from(from - FIRST).ok().and_then(|done| self.0.get(done..)).unwrap_or_default();
        let copy = keep_copy(connection, path, from)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        steps.iter().try_for_each(|step| step(&transaction, seal))?;
        self.stamp(&transaction)?;
        transaction.commit()?;
        Ok(copy)
    }
}

/// Where the copy of a vault is that is brought forward from a schema.
pub(super) fn copy_of(path: &Path, schema: i64) -> PathBuf {
    place::with_suffix(path, &format!(".schema-{schema}.bak"))
}

/// Puts a copy beside the vault, sealed as the vault is, and waits until it is on the disk. One that is there already
/// is replaced: an upgrade was interrupted, or its program went back and worked on; its refresh tokens are spent.
fn keep_copy(connection: &Connection, path: &Path, schema: i64) -> Result<PathBuf, Failure> {
    let copy = copy_of(path, schema);
    let unfinished = place::with_suffix(&copy, ".part");
    let of_the_system = |error: std::io::Error| Failure::Reason(system(&copy, &error).0);
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(of_the_system(error)),
        _ => {}
    }
    let name = unfinished.to_str().ok_or_else(|| of_the_system(std::io::Error::other("its path is not UTF-8")))?;
    // SQLite fills an empty file as it finds it: its mode is ours to set. It needs no temporary file for that.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(of_the_system)?;
    let filled = connection
        .execute("VACUUM INTO ?1", [name])
        .map_err(Failure::from)
        .and_then(|_| File::open(&unfinished).and_then(|file| file.sync_all()).map_err(of_the_system));
    if let Err(failure) = filled {
        // Half a copy helps nobody, and the disk may be full because of it.
        let _ = std::fs::remove_file(&unfinished);
        return Err(failure);
    }
    std::fs::rename(&unfinished, &copy).map_err(of_the_system)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(of_the_system)?;
    Ok(copy)
}

#[cfg(test)]
mod tests;
