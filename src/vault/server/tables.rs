//! A vault's tables as a whole: whether they are there, whole and ours to read, and making them.
//!
//! MySQL commits each table by itself, so a note in the first one says how far the making has come: a vault that was
//! interrupted in it is finished, one that lost a table is left alone.

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use super::address::Address;
use super::dialect::{self, PREFIX};
use super::rows::{meta, set_meta};
use super::session::{Row, Session, Trouble, Value};
use crate::reason::VaultReason;
use crate::vault::Fingerprinter;
use crate::vault::failure::Failure;
use crate::vault::seal::{EncryptionKey, Seal};
use crate::vault::sealing::{FINGERPRINT_KEY, KEY_CHECK, KEY_CHECK_TEXT, place_of};

/// There while the tables are being made.
const MAKING: &str = "making";
/// The schema's number, in ASCII.
const VERSION: &str = "schema";
/// The number of the tables that this program makes; they are counted apart from the file's.
const SCHEMA: i64 = 1;

/// Where the tables stand, as unqualified names are understood.
pub(super) struct Ground {
    pub database: String,
    pub schema: String,
    tables: Vec<String>,
}

/// How a vault stands there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing of it.
    Nothing,
    /// Its making was interrupted: nothing can be in it yet.
    Half,
    /// All of it.
    Whole,
}

impl Ground {
    pub(super) fn look(session: &mut Session, address: &Address) -> Result<Self, Trouble> {
        let words = dialect::of(address.engine());
        let place = session.one(words.place, &[])?.ok_or_else(|| Trouble::Refused("it names no database".into()))?;
        let tables = session.rows(words.tables, &[])?.iter().map(|row| row.text(0)).collect::<Result<_, _>>()?;
        Ok(Self { database: place.text(0)?, schema: place.text(1)?, tables })
    }

    /// What of a vault is there; the tables themselves are not judged yet.
    pub(super) fn found(&self, session: &mut Session, address: &Address) -> Result<Found, Trouble> {
        let names = dialect::TABLES.map(|name| format!("{PREFIX}{name}"));
        let missing: Vec<&str> = names.iter().filter(|name| !self.tables.contains(name)).map(String::as_str).collect();
        if missing.len() == names.len() {
            return Ok(Found::Nothing);
        }
        let gone = |missing: &str| VaultReason::ServerGone { server: address.to_string(), missing: missing.to_owned() };
        if missing.contains(&names[0].as_str()) {
            return Err(gone(&names[0]).into());
        }
        let version = match meta(session, VERSION)? {
            Some(version) => std::str::from_utf8(&version).ok().and_then(|version| version.parse().ok()),
            None if meta(session, MAKING)?.is_some() || missing.len() == names.len() - 1 => return Ok(Found::Half),
            None => return Err(gone(&format!("the content of {}", names[0])).into()),
        };
        match version {
            Some(found) if found > SCHEMA => Err(VaultReason::Newer { found, known: SCHEMA }.into()),
            Some(SCHEMA) if missing.is_empty() => Ok(Found::Whole),
            Some(SCHEMA) => Err(gone(&missing.join(", ")).into()),
            _ => Err(Failure::NotAVault.into()),
        }
    }
}

/// Makes the tables, or goes on making them. The caller holds the lock.
pub(super) fn make(session: &mut Session, address: &Address, key: &EncryptionKey) -> Result<(), Trouble> {
    let words = dialect::of(address.engine());
    for (nth, table) in words.create().iter().enumerate() {
        session.run(table)?;
        if nth == 0 {
            set_meta(session, words, MAKING, b"1")?;
        }
    }
    let mut fingerprint_key = zeroize::Zeroizing::new([0u8; 32]);
    SystemRandom::new().fill(fingerprint_key.as_mut_slice()).map_err(|_| Failure::NoRandomness)?;
    session.run("BEGIN")?;
    seal_meta(session, address, &Seal::with(Some(key)), fingerprint_key.as_slice())?;
    session.execute("DELETE FROM one_api_sidecar_owner WHERE nr = 1", &[])?;
    session.execute(
        "INSERT INTO one_api_sidecar_owner (nr, token, epoch, commits, holder, since) VALUES (1, '', 0, 0, '', 0)",
        &[],
    )?;
    set_meta(session, words, VERSION, SCHEMA.to_string().as_bytes())?;
    session.execute("DELETE FROM one_api_sidecar_meta WHERE name = ?", &[Value::Text(MAKING)])?;
    session.run("COMMIT")
}

/// Writes the vault's own secrets.
pub(super) fn seal_meta(
    session: &mut Session,
    address: &Address,
    seal: &Seal,
    fingerprint_key: &[u8],
) -> Result<(), Trouble> {
    let words = dialect::of(address.engine());
    let check = seal.keep(&place_of(KEY_CHECK), KEY_CHECK_TEXT)?;
    set_meta(session, words, FINGERPRINT_KEY, &seal.keep(&place_of(FINGERPRINT_KEY), fingerprint_key)?)?;
    set_meta(session, words, KEY_CHECK, &check)
}

/// The seal of a vault, proven by its key check value: one in a server is always sealed.
pub(super) fn proven(session: &mut Session, key: &EncryptionKey) -> Result<Seal, Trouble> {
    let check = meta(session, KEY_CHECK)?.ok_or(Failure::Damaged("its key check is missing"))?;
    let seal = Seal::with(Some(key));
    match seal.take(&place_of(KEY_CHECK), &check) {
        Ok(_) => Ok(seal),
        Err(_) => Err(VaultReason::WrongKey { configured: true }.into()),
    }
}

/// The key that makes the vault's fingerprints.
pub(super) fn fingerprint_key(session: &mut Session, seal: &Seal) -> Result<zeroize::Zeroizing<Vec<u8>>, Trouble> {
    let stored = meta(session, FINGERPRINT_KEY)?.ok_or(Failure::Damaged("its fingerprint key is missing"))?;
    Ok(seal.take(&place_of(FINGERPRINT_KEY), &stored)?)
}

/// Makes the vault's fingerprints.
pub(super) fn fingerprinter(session: &mut Session, seal: &Seal) -> Result<Fingerprinter, Trouble> {
    Ok(Fingerprinter(hmac::Key::new(hmac::HMAC_SHA256, &fingerprint_key(session, seal)?)))
}

/// The settings of the server under which a commit may not survive a power cut.
pub(super) fn lax(session: &mut Session, address: &Address) -> Result<Vec<String>, Trouble> {
    let rows = session.rows(dialect::of(address.engine()).durability, &[])?;
    let named = |row: &Row| Ok((row.int(2)? == 0).then_some(format!("{} = {}", row.text(0)?, row.text(1)?)));
    rows.iter().filter_map(|row| named(row).transpose()).collect()
}
