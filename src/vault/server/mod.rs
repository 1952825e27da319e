//! The vault in PostgreSQL or MySQL, for a standby on another host.
//!
//! The same port as the file, the same tables (`rows`, made and recognised by `tables`), the same seal, and the same
//! rule of one owner (`ownership`): the lock is the server's session lock, held on the very connection that commits
//! (`session`). `dialect` is what the two engines say differently. Everything here blocks; who calls from where
//! nobody may wait does it on a thread of its own.

mod address;
mod dialect;
mod ownership;
mod rows;
mod session;
mod store;
mod tables;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::finding::Finding;
use crate::reason::VaultReason;
use crate::vault::backing::Backing;
use crate::vault::seal::{EncryptionKey, Seal, place};
use crate::vault::stored::{RECORD_SECRETS, displaced};
use crate::vault::{Checked, Contents, Fingerprinter, VaultError};

pub use address::Address;
use ownership::{LockName, Owner, Ownership};
use session::{Session, Trouble, Value};
use store::{Reader, ServerStore};
use tables::{Found, Ground};

/// The way to a vault in a server. A stand-by keeps its connection here from one try to the next.
pub struct Door {
    address: Address,
    waiting: Mutex<Option<(Session, LockName)>>,
    /// The most transactions that this process knows the vault to have seen.
    seen: AtomicI64,
}

impl Door {
    /// The way to this address; nobody has gone it yet.
    pub fn new(address: Address) -> Arc<Self> {
        Arc::new(Self { address, waiting: Mutex::default(), seen: AtomicI64::new(0) })
    }

    /// The address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    fn seen(&self) -> i64 {
        self.seen.load(Ordering::Relaxed)
    }

    fn note(&self, commits: i64) {
        self.seen.fetch_max(commits, Ordering::Relaxed);
    }

    /// A new session with the settings that the vault wants.
    fn connect(&self) -> Result<Session, Trouble> {
        let mut session = Session::connect(&self.address)?;
        for setting in dialect::of(self.address.engine()).settings {
            match session.run(setting) {
                Ok(()) => {}
                Err(Trouble::Refused(error)) => tracing::debug!(%error, setting, "the server does not know a setting"),
                Err(trouble) => return Err(trouble),
            }
        }
        if let Some(schema) = &self.address.schema {
            // Letters, digits and underscores only.
            session.run(&format!("SET search_path TO \"{schema}\""))?;
        }
        Ok(session)
    }

    fn named(&self, trouble: Trouble) -> VaultError {
        trouble.named(&self.address)
    }

    /// Takes the lock, if it is free; else keeps the session for the next try.
    fn take(&self) -> Result<(Session, LockName, Ground), Trouble> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut session, lock) = match waiting.take() {
            Some(waited) => waited,
            None => {
                let mut session = self.connect()?;
                let ground = self.ground(&mut session)?;
                let lock = LockName::of(&self.address, &ground);
                (session, lock)
            }
        };
        if lock.take(&mut session)? {
            // What was there before the lock was ours may be there no more.
            let ground = Ground::look(&mut session, &self.address)?;
            return Ok((session, lock, ground));
        }
        let holder = match Owner::read(&mut session) {
            Ok(owner) if !owner.holder.is_empty() => owner.holder,
            // It is being made, or cannot be read: whoever has the lock tells why.
            _ => "another process".to_owned(),
        };
        *waiting = Some((session, lock));
        Err(VaultReason::Owned { holder }.into())
    }

    /// Where the tables are or will be; makes the schema that the address names.
    fn ground(&self, session: &mut Session) -> Result<Ground, Trouble> {
        let ground = Ground::look(session, &self.address)?;
        match &self.address.schema {
            Some(schema) if ground.schema.is_empty() => {
                session.run(&format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\""))?;
                Ground::look(session, &self.address)
            }
            _ => Ok(ground),
        }
    }

    /// Becomes the owner: takes the lock, makes the vault if there is none, reads it.
    ///
    /// # Errors
    /// When somebody else owns it, or when it cannot be read; then nothing was changed.
    pub(super) fn open(self: &Arc<Self>, key: &EncryptionKey) -> Result<(Box<dyn Backing>, Contents), VaultError> {
        self.open_here(key).map_err(|trouble| self.named(trouble))
    }

    fn open_here(self: &Arc<Self>, key: &EncryptionKey) -> Result<(Box<dyn Backing>, Contents), Trouble> {
        let (mut session, lock, ground) = self.take()?;
        match self.begin(&mut session, &lock, &ground, key) {
            Ok((sealing, ownership, contents)) => {
                Ok((Box::new(ServerStore::new(Arc::clone(self), sealing, session, ownership)), contents))
            }
            Err(trouble) => {
                lock.give_back(session);
                Err(trouble)
            }
        }
    }

    /// Reads the vault, or makes it, and becomes its owner. The session has the lock.
    fn begin(
        &self,
        session: &mut Session,
        lock: &LockName,
        ground: &Ground,
        key: &EncryptionKey,
    ) -> Result<((Seal, Fingerprinter), Ownership, Contents), Trouble> {
        if ground.found(session, &self.address)? != Found::Whole {
            if self.seen() > 0 {
                // It was there a moment ago.
                let (server, missing) = (self.address.to_string(), "every table".to_owned());
                return Err(VaultReason::ServerGone { server, missing }.into());
            }
            tables::make(session, &self.address, key)?;
        }
        let sealing = unlock(session, key)?;
        // Read before anything is changed: what cannot be read stays as it is.
        let contents = read(session, &sealing.0)?;
        let ownership = Ownership::begin(session, lock.clone())?;
        let contents = Contents { behind: ownership.commits < self.seen(), ..contents };
        self.note(ownership.commits);
        Ok((sealing, ownership, contents))
    }

    /// Reads the vault beside its owner, in one state.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub(super) fn peek(self: &Arc<Self>, key: &EncryptionKey) -> Result<(Box<dyn Backing>, Contents), VaultError> {
        let peek = || -> Result<(Box<dyn Backing>, Contents), Trouble> {
            let mut session = self.connect()?;
            self.expect_whole(&mut session)?;
            session.run(dialect::of(self.address.engine()).snapshot)?;
            let (seal, fingerprinter) = unlock(&mut session, key)?;
            let contents = read(&mut session, &seal)?;
            session.run("COMMIT")?;
            Ok((Box::new(Reader::new(Arc::clone(self), fingerprinter, session)), contents))
        };
        peek().map_err(|trouble| self.named(trouble))
    }

    fn expect_whole(&self, session: &mut Session) -> Result<LockName, Trouble> {
        let ground = Ground::look(session, &self.address)?;
        match ground.found(session, &self.address)? {
            Found::Whole => Ok(LockName::of(&self.address, &ground)),
            Found::Nothing | Found::Half => Err(VaultReason::Missing { path: self.address.to_string() }.into()),
        }
    }

    /// Looks at a vault, beside its owner if it has one, without changing anything.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub(super) fn check(&self, key: &EncryptionKey) -> Result<Checked, VaultError> {
        let check = || -> Result<Checked, Trouble> {
            let mut session = self.connect()?;
            let lock = self.expect_whole(&mut session)?;
            session.run(dialect::of(self.address.engine()).snapshot)?;
            let (seal, _) = unlock(&mut session, key)?;
            let contents = read(&mut session, &seal)?;
            let (fingerprints, events) = rows::counts(&mut session)?;
            session.run("COMMIT")?;
            let beside = match lock.holder(&mut session)? {
                Some(_) => Some(Owner::read(&mut session)?.holder),
                None => None,
            };
            Ok(Checked { contents, sealed: true, fingerprints, events, beside })
        };
        check().map_err(|trouble| self.named(trouble))
    }

    /// Seals everything with another key, in one transaction.
    ///
    /// # Errors
    /// When somebody owns it, there is none, or it cannot be read. The vault is as before then.
    pub(super) fn rekey(&self, old: &EncryptionKey, new: &EncryptionKey) -> Result<(), VaultError> {
        let turn = |session: &mut Session, lock: &LockName| -> Result<(), Trouble> {
            self.expect_whole(session)?;
            let (from, _) = unlock(session, old)?;
            let ownership = Ownership::begin(session, lock.clone())?;
            session.run("BEGIN")?;
            if !ownership.count(session, ownership.commits + 1)? {
                return Err(Trouble::Cut("the session that owned the vault is another one now".into()));
            }
            reseal(session, &self.address, &from, &Seal::with(Some(new)))?;
            session.run("COMMIT")
        };
        let rekey = || -> Result<(), Trouble> {
            let (mut session, lock, _) = self.take()?;
            let turned = turn(&mut session, &lock);
            lock.give_back(session);
            turned
        };
        rekey().map_err(|trouble| self.named(trouble))
    }

    /// Who owns the vault now; `None` when nobody does, or nobody can tell.
    pub(super) fn holder(&self) -> Option<String> {
        let holder = || -> Result<Option<String>, Trouble> {
            let mut session = self.connect()?;
            let lock = self.expect_whole(&mut session)?;
            match lock.holder(&mut session)? {
                Some(_) => Owner::read(&mut session).map(|owner| Some(owner.holder)),
                None => Ok(None),
            }
        };
        holder().ok().flatten()
    }

    /// What there is to say about the server.
    pub(super) fn examine(&self) -> Vec<Finding> {
        let lax = self.connect().and_then(|mut session| tables::lax(&mut session, &self.address));
        let server = || self.address.to_string();
        match lax {
            Ok(lax) => lax
                .into_iter()
                .map(|setting| Finding::warning("vault", VaultReason::ServerLax { server: server(), setting }))
                .collect(),
            // Whoever opens it tells that.
            Err(_) => Vec::new(),
        }
    }
}

fn unlock(session: &mut Session, key: &EncryptionKey) -> Result<(Seal, Fingerprinter), Trouble> {
    let seal = tables::proven(session, key)?;
    let fingerprinter = tables::fingerprinter(session, &seal)?;
    Ok((seal, fingerprinter))
}

fn read(session: &mut Session, seal: &Seal) -> Result<Contents, Trouble> {
    Ok(Contents {
        records: rows::records(session, seal)?,
        adoptions: rows::adoptions(session, seal)?,
        notices: rows::notices(session)?,
        events: rows::events(session)?,
        behind: false,
    })
}

/// Seals everything otherwise, within a transaction.
fn reseal(session: &mut Session, address: &Address, from: &Seal, to: &Seal) -> Result<(), Trouble> {
    let turn = |place: &str, stored: &[u8]| to.keep(place, &from.take(place, stored)?);
    for column in RECORD_SECRETS {
        let sql = format!("SELECT id, {column} FROM one_api_sidecar_record WHERE {column} IS NOT NULL");
        for row in session.rows(&sql, &[])? {
            let (id, stored) = (row.int(0)?, row.bytes(1)?.unwrap_or_default());
            let sealed = turn(&place("record", id, column), &stored)?;
            let sql = format!("UPDATE one_api_sidecar_record SET {column} = ? WHERE id = ?");
            session.execute(&sql, &[Value::Bytes(Some(&sealed)), Value::Int(id)])?;
        }
    }
    let sql = "SELECT gateway, channel, displaced FROM one_api_sidecar_adoption WHERE displaced IS NOT NULL";
    for row in session.rows(sql, &[])? {
        let (gateway, channel, stored) = (row.text(0)?, row.int(1)?, row.bytes(2)?.unwrap_or_default());
        let sealed = turn(&displaced(&gateway, channel), &stored)?;
        let sql = "UPDATE one_api_sidecar_adoption SET displaced = ? WHERE gateway = ? AND channel = ?";
        session.execute(sql, &[Value::Bytes(Some(&sealed)), Value::Text(&gateway), Value::Int(channel)])?;
    }
    let fingerprint_key = tables::fingerprint_key(session, from)?;
    tables::seal_meta(session, address, to, &fingerprint_key)
}
