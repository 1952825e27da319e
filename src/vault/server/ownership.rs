//! Who owns a vault in a server: whoever holds the server's session lock on the very connection that commits.
//!
//! The lock needs no clock: it goes with its session. The row of the owner is the second fastening. Each transaction
//! begins by counting up in it, on the condition that it still bears this process's mark *and* that the lock is this
//! very session's; so neither a proxy that connects anew without a word nor a session that outlives its owner lets
//! two of them write. The count also tells, after a cut, whether the last transaction has happened.

use ring::rand::{SecureRandom, SystemRandom};

use super::address::Address;
use super::dialect::{self, Dialect};
use super::session::{Session, Trouble, Value};
use super::tables::Ground;
use crate::dsn::Engine;
use crate::reason::VaultReason;
use crate::time::{Clock, SystemClock};
use crate::vault::failure::Failure;
use crate::vault::lock;

/// The name of the lock, as the engine takes it.
#[derive(Clone)]
pub(super) struct LockName {
    engine: Engine,
    number: i64,
    text: String,
}

impl LockName {
    pub(super) fn of(address: &Address, ground: &Ground) -> Self {
        let bytes = address.lock_number(&ground.database, &ground.schema);
        let text = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { engine: address.engine(), number: i64::from_be_bytes(bytes), text }
    }

    fn value(&self) -> Value<'_> {
        match self.engine {
            Engine::Postgres => Value::Int(self.number),
            Engine::MySql => Value::Text(&self.text),
        }
    }

    fn words(&self) -> &'static Dialect {
        dialect::of(self.engine)
    }

    /// Takes the lock for this session; false when another one has it.
    pub(super) fn take(&self, session: &mut Session) -> Result<bool, Trouble> {
        let row = session.one(self.words().lock, &[self.value()])?;
        Ok(row.map_or(Ok(0), |row| row.int(0))? == 1)
    }

    /// Ends this session, and gives back the lock first: a server takes its time to notice that a session has ended,
    /// and whoever opens the vault next need not find it owned by nobody.
    pub(super) fn give_back(&self, mut session: Session) {
        session.hurry();
        // What was begun is undone before anybody else may begin. Where this fails the session's end does it, later.
        if session.run("ROLLBACK").is_ok() {
            let _ = session.one(self.words().unlock, &[self.value()]);
        }
        session.close();
    }

    /// The session that has the lock.
    pub(super) fn holder(&self, session: &mut Session) -> Result<Option<i64>, Trouble> {
        let row = session.one(self.words().lock_holder, &[self.value()])?;
        row.map(|row| row.int(0)).transpose()
    }

    /// Ends a session of this process that is still alive at the server, if it is the one that has the lock.
    pub(super) fn end_former(&self, session: &mut Session, former: i64) -> Result<(), Trouble> {
        if self.holder(session)? == Some(former) {
            session.run(&(self.words().end_session)(former))?;
        }
        Ok(())
    }
}

/// The owner as its row tells.
pub(super) struct Owner {
    /// The mark of its process.
    pub token: String,
    /// How many transactions the vault has seen.
    pub commits: i64,
    /// For people.
    pub holder: String,
}

impl Owner {
    pub(super) fn read(session: &mut Session) -> Result<Self, Trouble> {
        let row = session.one("SELECT token, commits, holder FROM one_api_sidecar_owner WHERE nr = 1", &[])?;
        let row = row.ok_or(Failure::Damaged("the row of its owner is missing"))?;
        Ok(Self { token: row.text(0)?, commits: row.int(1)?, holder: row.text(2)? })
    }
}

/// What a process is to the vault that it owns.
pub(super) struct Ownership {
    lock: LockName,
    token: String,
    /// How many transactions the vault has seen, as far as this process knows.
    pub commits: i64,
}

impl Ownership {
    /// Becomes the owner. The caller's session has the lock, and has proven that the vault is to be read.
    pub(super) fn begin(session: &mut Session, lock: LockName) -> Result<Self, Trouble> {
        let mut mark = [0u8; 16];
        SystemRandom::new().fill(&mut mark).map_err(|_| Failure::NoRandomness)?;
        let token: String = mark.iter().map(|byte| format!("{byte:02x}")).collect();
        let holder: String = lock::this_process().chars().take(190).collect();
        let met = session.execute(
            "UPDATE one_api_sidecar_owner SET token = ?, epoch = epoch + 1, holder = ?, since = ? WHERE nr = 1",
            &[Value::Text(&token), Value::Text(&holder), Value::Int(SystemClock.now().as_millis())],
        )?;
        if met != 1 {
            return Err(Failure::Damaged("the row of its owner is missing").into());
        }
        let commits = Owner::read(session)?.commits;
        Ok(Self { lock, token, commits })
    }

    /// Ends it, and the session that has the lock.
    pub(super) fn end(&self, session: Session) {
        self.lock.give_back(session);
    }

    /// Counts up, within a transaction; false when we are not the owner, or when this is not the session that has
    /// the lock.
    pub(super) fn count(&self, session: &mut Session, to: i64) -> Result<bool, Trouble> {
        let condition = self.lock.words().lock_is_ours;
        let sql = format!(
            "UPDATE one_api_sidecar_owner SET commits = ? WHERE nr = 1 AND token = ? AND commits = ? AND {condition}"
        );
        let values = [Value::Int(to), Value::Text(&self.token), Value::Int(self.commits), self.lock.value()];
        Ok(session.execute(&sql, &values)? == 1)
    }

    /// Whether we are the owner, by the row and by the lock.
    pub(super) fn holds(&self, session: &mut Session) -> Result<bool, Trouble> {
        let condition = self.lock.words().lock_is_ours;
        let sql = format!("SELECT commits FROM one_api_sidecar_owner WHERE nr = 1 AND token = ? AND {condition}");
        Ok(session.one(&sql, &[Value::Text(&self.token), self.lock.value()])?.is_some())
    }

    /// Becomes the owner again after a cut, if nobody else was it meanwhile: then nothing has changed but what a
    /// transaction of ours did of which no answer came. `former` is the session that was cut.
    pub(super) fn resume(&mut self, session: &mut Session, former: i64) -> Result<Resumed, Trouble> {
        if !self.lock.take(session)? {
            let owner = Owner::read(session)?;
            if owner.token != self.token {
                return Ok(Resumed::Lost(VaultReason::Displaced { holder: owner.holder }));
            }
            // Our own former session, which the server has not missed yet; or somebody who is about to begin.
            self.lock.end_former(session, former)?;
            return Ok(Resumed::NotYet);
        }
        // A replica gives its lock, too, and may not have seen everything: what it says counts for nothing. It refuses
        // whatever could write, even where that meets no row.
        session.execute("UPDATE one_api_sidecar_owner SET since = since WHERE nr = 0", &[])?;
        let owner = Owner::read(session)?;
        if owner.token != self.token {
            return Ok(Resumed::Lost(VaultReason::Displaced { holder: owner.holder }));
        }
        let behind = owner.commits < self.commits;
        self.commits = owner.commits;
        Ok(if behind { Resumed::Older } else { Resumed::Ours })
    }
}

/// What came of trying to be the owner again.
pub(super) enum Resumed {
    /// It is ours, as if nothing had been.
    Ours,
    /// It is ours, and it is an older state of itself: a replica that had not seen everything took over.
    Older,
    /// The lock is not to be had at this moment, and nobody else has become the owner.
    NotYet,
    /// Somebody else is the owner, or was.
    Lost(VaultReason),
}
