//! Sealing a whole vault: which seal it has, another seal for everything in it, and no trace of the former.

use rusqlite::{Connection, Transaction, params};

use crate::reason::VaultReason;
use crate::vault::failure::Failure;
use crate::vault::rows::{meta, set_meta};
use crate::vault::seal::{EncryptionKey, Seal, place};
use crate::vault::stored::{RECORD_SECRETS, displaced};

/// Sealed with the vault's key: a wrong one is known at once.
pub(super) const KEY_CHECK: &str = "key_check";
/// What is sealed there.
pub(super) const KEY_CHECK_TEXT: &[u8] = b"one-api-sidecar";
/// There while pages or the log may still hold what was sealed otherwise before.
const SCRUB: &str = "scrub";
/// Makes the vault's fingerprints; sealed like a token.
pub(super) const FINGERPRINT_KEY: &str = "fingerprint_key";

pub(super) fn place_of(name: &str) -> String {
    place("meta", name, "value")
}

/// The seal that a vault has, proven by its key check value. A configured key does not seal by itself.
pub(super) fn proven(connection: &Connection, key: Option<&EncryptionKey>) -> Result<Seal, Failure> {
    let Some(check) = meta(connection, KEY_CHECK)? else { return Ok(Seal::default()) };
    let seal = Seal::with(key);
    match seal.take(&place_of(KEY_CHECK), &check) {
        Ok(_) => Ok(seal),
        Err(_) => Err(VaultReason::WrongKey { configured: key.is_some() }.into()),
    }
}

/// Gives a vault that is being made its secrets.
pub(super) fn begin(transaction: &Transaction<'_>, seal: &Seal, fingerprint_key: &[u8]) -> Result<(), Failure> {
    set_meta(transaction, FINGERPRINT_KEY, &seal.keep(&place_of(FINGERPRINT_KEY), fingerprint_key)?)?;
    if seal.is_sealed() {
        set_meta(transaction, KEY_CHECK, &seal.keep(&place_of(KEY_CHECK), KEY_CHECK_TEXT)?)?;
    }
    Ok(())
}

/// The key that makes the vault's fingerprints.
pub(super) fn fingerprint_key(connection: &Connection, seal: &Seal) -> Result<zeroize::Zeroizing<Vec<u8>>, Failure> {
    let stored = meta(connection, FINGERPRINT_KEY)?.ok_or(Failure::Damaged("its fingerprint key is missing"))?;
    seal.take(&place_of(FINGERPRINT_KEY), &stored)
}

/// Seals everything with another key, in one transaction; [`scrub`] is to follow.
pub(super) fn reseal(connection: &mut Connection, from: &Seal, key: &EncryptionKey) -> Result<Seal, Failure> {
    let to = Seal::with(Some(key));
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let turn = |place: &str, stored: &[u8]| to.keep(place, &from.take(place, stored)?);
    for column in RECORD_SECRETS {
        let mut read = transaction.prepare(&format!("SELECT id, {column} FROM record WHERE {column} IS NOT NULL"))?;
        let rows = read.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows: Vec<(i64, Vec<u8>)> = rows.collect::<Result<_, _>>()?;
        let mut write = transaction.prepare(&format!("UPDATE record SET {column} = ?2 WHERE id = ?1"))?;
        for (id, stored) in rows {
            write.execute(params![id, turn(&place("record", id, column), &stored)?])?;
        }
    }
    {
        let mut read =
            transaction.prepare("SELECT gateway, channel, displaced FROM adoption WHERE displaced IS NOT NULL")?;
        let rows = read.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let rows: Vec<(String, i64, Vec<u8>)> = rows.collect::<Result<_, _>>()?;
        let mut write =
            transaction.prepare("UPDATE adoption SET displaced = ?3 WHERE gateway = ?1 AND channel = ?2")?;
        for (gateway, channel, stored) in rows {
            write.execute(params![gateway, channel, turn(&displaced(&gateway, channel), &stored)?])?;
        }
    }
    begin(&transaction, &to, &fingerprint_key(&transaction, from)?)?;
    set_meta(&transaction, SCRUB, &[])?;
    transaction.commit()?;
    Ok(to)
}

/// Leaves nothing in free pages or in the log of what was sealed otherwise before, if that is still to be done. An
/// interrupted one starts again at the next start.
pub(super) fn scrub(connection: &Connection) -> Result<(), Failure> {
    if meta(connection, SCRUB)?.is_none() {
        return Ok(());
    }
    connection.execute_batch("VACUUM")?;
    let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy {
        return Err(VaultReason::Owned { holder: "a reader".into() }.into());
    }
    connection.execute("DELETE FROM meta WHERE name = ?1", [SCRUB])?;
    Ok(())
}
