//! Moments at which a test ends the process as `kill -9` does, and commits of the vault that fail. Leaf.
//!
//! The `fail` crate behind the cargo feature `failpoints`; in a build without it nothing of this is in the binary.
//! `FAILPOINTS="answer-read=return"` kills at the first such moment, `2*off->return` at the third,
//! `return(stamp:FILE)` only notes in FILE when it came. `vault-commit=return(full:FILE)` and `return(io:FILE)` fail
//! every commit for as long as FILE exists, so that a test chooses the moment; `full-once` removes FILE.

/// A moment of interest, on condition if one is given.
macro_rules! failpoint {
    ($moment:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::failpoint::reached($moment);
    };
    ($moment:literal if $condition:expr) => {
        #[cfg(feature = "failpoints")]
        if $condition {
            $crate::failpoint::reached($moment);
        }
    };
}
pub(crate) use failpoint;

#[cfg(not(feature = "failpoints"))]
mod off {
    /// Reads `FAILPOINTS`; once, at the start.
    #[inline(always)]
    pub fn setup() {}

    /// What a vault commit is to fail with.
    ///
    /// # Errors
    /// Never.
    #[inline(always)]
    pub fn vault_commit() -> rusqlite::Result<()> {
        Ok(())
    }
}
#[cfg(not(feature = "failpoints"))]
pub use off::{setup, vault_commit};

#[cfg(feature = "failpoints")]
mod on {
    use std::io::Write;
    use std::path::Path;

    use rusqlite::ffi;

    /// Reads `FAILPOINTS`; once, at the start.
    pub fn setup() {
        // Dropping the scenario would end it.
        std::mem::forget(fail::FailScenario::setup());
    }

    /// Does what is configured for a moment.
    pub fn reached(moment: &str) {
        fail::eval(moment, |action| match action.as_deref().and_then(|action| action.strip_prefix("stamp:")) {
            Some(file) => stamp(moment, file),
            None => die(),
        });
    }

    /// What a vault commit is to fail with.
    ///
    /// # Errors
    /// As configured.
    pub fn vault_commit() -> rusqlite::Result<()> {
        let code = fail::eval("vault-commit", |action| {
            let action = action.unwrap_or_default();
            let (kind, file) = action.split_once(':').unwrap_or((&action, ""));
            match kind {
                _ if !Path::new(file).exists() => None,
                "full-once" => std::fs::remove_file(file).ok().map(|()| ffi::SQLITE_FULL),
                "full" => Some(ffi::SQLITE_FULL),
                _ => Some(ffi::SQLITE_IOERR_FSYNC),
            }
        });
        code.flatten().map_or(Ok(()), |code| Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)))
    }

    fn stamp(moment: &str, file: &str) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
        let written =
            file.and_then(|mut file| writeln!(file, "{moment} {}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000));
        drop(written); // a test that counts them sees that one is missing
    }

    fn die() {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal may reach another thread first.
        loop {
            std::thread::park();
        }
    }
}
#[cfg(feature = "failpoints")]
pub use on::{reached, setup, vault_commit};
