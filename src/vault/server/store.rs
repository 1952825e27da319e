//! The vault in a server, as its owner writes it.
//!
//! Everything goes through the one connection that holds the lock. When that is gone the store stands unsure: it
//! writes nothing, connects anew, takes the lock again and looks whose the vault is. If nobody else owned it meanwhile
//! it goes on, and the count of transactions says whether the one that was cut off has happened. Else it is lost, for
//! good: whoever used it reads the vault again, as a stand-by does.

use std::sync::Arc;
use std::time::Duration;

use super::Door;
use super::dialect;
use super::ownership::{Ownership, Resumed};
use super::rows;
use super::session::{Session, Trouble};
use crate::credential::record::RecordId;
use crate::failpoint::failpoint;
use crate::reason::VaultReason;
use crate::vault::backing::{Backing, Group, Standing};
use crate::vault::seal::Seal;
use crate::vault::{Change, Fingerprint, FingerprintKind, Fingerprinter, VaultError};

/// How often the owner shows the server that it lives: far below the server's idle time.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How often a lost connection is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// See the module.
pub(super) struct ServerStore {
    door: Arc<Door>,
    seal: Seal,
    fingerprinter: Fingerprinter,
    session: Option<Session>,
    /// The number of the session that was there last.
    former: i64,
    ownership: Ownership,
    standing: Standing,
}

/// How a transaction went.
enum Went {
    Done,
    /// It has not happened, because of what is in it.
    Refused(Trouble),
    /// The connection is gone; nothing has happened.
    Cut(Trouble),
    /// The connection went while it was being committed.
    Unknown(Trouble),
}

impl ServerStore {
    pub(super) fn new(
        door: Arc<Door>,
        (seal, fingerprinter): (Seal, Fingerprinter),
        session: Session,
        ownership: Ownership,
    ) -> Self {
        let former = session.number;
        Self { door, seal, fingerprinter, session: Some(session), former, ownership, standing: Standing::Ours }
    }

    fn cut(&mut self, trouble: Trouble) {
        self.session = None;
        if self.standing == Standing::Ours {
            self.standing = Standing::Unsure(trouble.named(&self.door.address));
            tracing::debug!(standing = ?self.standing, "the connection that owns the vault is gone");
        }
    }

    /// Why nothing can be done now.
    fn why(&self) -> Result<(), VaultError> {
        match &self.standing {
            Standing::Ours => Ok(()),
            Standing::Unsure(error) | Standing::Lost(error) => Err(error.clone()),
        }
    }

    /// Tries to be the owner again, if that is in doubt.
    fn recover(&mut self) -> Result<(), VaultError> {
        if let Standing::Unsure(_) = self.standing {
            match self.resume() {
                Ok(Resumed::Ours) => self.standing = Standing::Ours,
                Ok(Resumed::NotYet) => {}
                Ok(Resumed::Older) => {
                    let holder = crate::vault::lock::this_process();
                    self.standing = Standing::Lost(VaultError(VaultReason::Displaced { holder }));
                    self.session = None;
                }
                Ok(Resumed::Lost(reason)) => {
                    self.standing = Standing::Lost(VaultError(reason));
                    self.session = None;
                }
                Err(trouble) => {
                    self.session = None;
                    self.standing = Standing::Unsure(trouble.named(&self.door.address));
                }
            }
        }
        self.why()
    }

    fn resume(&mut self) -> Result<Resumed, Trouble> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.door.connect()?,
        };
        let resumed = self.ownership.resume(&mut session, self.former)?;
        if matches!(resumed, Resumed::Ours) {
            self.former = session.number;
        }
        // It is kept while the lock is not to be had, too.
        self.session = Some(session);
        Ok(resumed)
    }

    /// Commits these groups together.
    fn transact(&mut self, groups: &[&Group]) -> Went {
        let Some(session) = &mut self.session else { return Went::Cut(Trouble::Cut("no connection".into())) };
        let words = dialect::of(self.door.address.engine());
        let seal = &self.seal;
        let catches_up = |change: &Change| matches!(change, Change::CaughtUp);
        let caught_up = groups.iter().flat_map(|group| &group.changes).any(catches_up);
        let least = if caught_up { self.door.seen() } else { 0 };
        let to = self.ownership.commits.max(least) + 1;
        let begun = session.run("BEGIN").and_then(|()| self.ownership.count(session, to));
        match begun {
            Ok(true) => {}
            Ok(false) => {
                return Went::Cut(Trouble::Cut("the session that owned the vault is another one now".into()));
            }
            Err(trouble @ Trouble::Cut(_)) => return Went::Cut(trouble),
            Err(trouble) => return self.rolled_back(trouble),
        }
        let mut changes = groups.iter().flat_map(|group| &group.changes);
        match changes.try_for_each(|change| rows::apply(session, words, seal, change)) {
            Ok(()) => {}
            Err(trouble @ Trouble::Cut(_)) => return Went::Cut(trouble),
            Err(trouble) => return self.rolled_back(trouble),
        }
        failpoint!("server-commit");
        match session.run("COMMIT") {
            Ok(()) => {
                self.ownership.commits = to;
                self.door.note(to);
                Went::Done
            }
            Err(trouble) => Went::Unknown(trouble),
        }
    }

    fn rolled_back(&mut self, trouble: Trouble) -> Went {
        match self.session.as_mut().map(|session| session.run("ROLLBACK")) {
            Some(Ok(())) => Went::Refused(trouble),
            // Without its connection it is rolled back by the server.
            _ => Went::Cut(trouble),
        }
    }

    /// Commits these groups together, and tries it once more if the connection was lost and could be had again.
    fn commit_together(&mut self, groups: &[&Group]) -> Result<(), Option<VaultError>> {
        for _ in 0..2 {
            self.recover().map_err(Some)?;
            let before = self.ownership.commits;
            match self.transact(groups) {
                Went::Done => return Ok(()),
                Went::Refused(trouble) if groups.len() == 1 => return Err(Some(trouble.named(&self.door.address))),
                Went::Refused(_) => return Err(None),
                Went::Cut(trouble) => self.cut(trouble),
                Went::Unknown(trouble) => {
                    self.cut(trouble);
                    // Whoever is sure to be the owner still reads in the count what became of it.
                    self.recover().map_err(Some)?;
                    if self.ownership.commits > before {
                        self.door.note(self.ownership.commits);
                        return Ok(());
                    }
                }
            }
        }
        self.recover().map_err(Some)?;
        let error = "the connection is lost again and again".into();
        Err(Some(VaultError(VaultReason::ServerAway { server: self.door.address.to_string(), error })))
    }
}

impl Backing for ServerStore {
    fn fingerprinter(&self) -> &Fingerprinter {
        &self.fingerprinter
    }

    fn commit(&mut self, groups: &[Group]) -> Vec<Result<(), VaultError>> {
        let all: Vec<&Group> = groups.iter().collect();
        match self.commit_together(&all) {
            Ok(()) => vec![Ok(()); groups.len()],
            Err(Some(error)) => vec![Err(error); groups.len()],
            // One that fails does not take the others with it.
            Err(None) => all
                .iter()
                .map(|group| self.commit_together(&[*group]).map_err(|error| error.unwrap_or_else(unnamed)))
                .collect(),
        }
    }

    fn seen_by(&mut self, kind: FingerprintKind, fingerprint: Fingerprint) -> Result<Vec<RecordId>, VaultError> {
        self.recover()?;
        let Some(session) = &mut self.session else { return Err(unnamed()) };
        match rows::seen_by(session, kind, fingerprint) {
            Ok(records) => Ok(records),
            Err(trouble @ Trouble::Cut(_)) => {
                self.cut(trouble);
                self.why().and(Err(unnamed()))
            }
            Err(trouble) => Err(trouble.named(&self.door.address)),
        }
    }

    fn confirm(&mut self) -> Result<(), VaultError> {
        self.recover()?;
        let held = match &mut self.session {
            Some(session) => self.ownership.holds(session),
            None => Ok(false),
        };
        match held {
            Ok(true) => return Ok(()),
            Ok(false) => self.cut(Trouble::Cut("the session that owned the vault is another one now".into())),
            Err(trouble) => self.cut(trouble),
        }
        self.recover()
    }

    fn standing(&self) -> Standing {
        self.standing.clone()
    }

    fn patience(&self) -> Option<Duration> {
        match self.standing {
            Standing::Ours => Some(HEARTBEAT),
            Standing::Unsure(_) => Some(TRY_AGAIN),
            Standing::Lost(_) => None,
        }
    }
}

impl Drop for ServerStore {
    fn drop(&mut self) {
        // On a runtime nobody may wait for a farewell; the server notices the end of the connection, too.
        if let Some(session) = self.session.take()
            && tokio::runtime::Handle::try_current().is_err()
        {
            self.ownership.end(session);
        }
    }
}

fn unnamed() -> VaultError {
    VaultError(VaultReason::ServerAway { server: String::new(), error: "the connection is gone".into() })
}

/// The vault in a server, as somebody reads it beside its owner.
pub(super) struct Reader {
    door: Arc<Door>,
    fingerprinter: Fingerprinter,
    session: Session,
}

impl Reader {
    pub(super) fn new(door: Arc<Door>, fingerprinter: Fingerprinter, session: Session) -> Self {
        Self { door, fingerprinter, session }
    }
}

impl Backing for Reader {
    fn fingerprinter(&self) -> &Fingerprinter {
        &self.fingerprinter
    }

    fn commit(&mut self, groups: &[Group]) -> Vec<Result<(), VaultError>> {
        let holder = "its owner".into();
        vec![Err(VaultError(VaultReason::Owned { holder })); groups.len()]
    }

    fn seen_by(&mut self, kind: FingerprintKind, fingerprint: Fingerprint) -> Result<Vec<RecordId>, VaultError> {
        rows::seen_by(&mut self.session, kind, fingerprint).map_err(|trouble| trouble.named(&self.door.address))
    }
}
