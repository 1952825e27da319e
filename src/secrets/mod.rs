//! Where secrets come from: the environment, files, the keyring, systemd, the config file itself.
//!
//! Owns the reading of every [`SecretSource`] and the mapping of what can go wrong to a [`SecretReason`]. Must not
//! cache, log or show a value. Called by the agent (through [`fetch`]) and by the commands (through [`read`]).

mod env;
mod file;
pub mod keyring;
mod systemd;

use std::collections::HashSet;
use std::ffi::OsString;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::reason::SecretReason;
use crate::secret::{Secret, SecretSource};

/// How long [`fetch`] waits for a source.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many sources are read at once: each takes a thread.
static AT_ONCE: Semaphore = Semaphore::const_new(32);
/// Sources whose reader did not answer in time, and is at it still: another one would hang like it.
static HANGING: LazyLock<Mutex<HashSet<SecretSource>>> = LazyLock::new(Mutex::default);

fn hanging() -> MutexGuard<'static, HashSet<SecretSource>> {
    // Nothing panics while it is held.
    HANGING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks up a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Reads a secret; blocks for as long as its source does.
///
/// # Errors
/// Why there is none. A source that holds nothing is an error too.
pub fn read(source: &SecretSource) -> Result<Secret, SecretReason> {
    read_with(source, &|name| std::env::var_os(name))
}

/// [`read`] with an environment of the caller's choice.
///
/// # Errors
/// As [`read`].
pub fn read_with(source: &SecretSource, environment: Environment<'_>) -> Result<Secret, SecretReason> {
    match source {
        SecretSource::Env(name) => env::read(name, environment),
        SecretSource::File(path) => file::read(path, source),
        SecretSource::Keyring { service, entry } => keyring::get(service, entry),
        SecretSource::SystemdCredential(name) => systemd::read(name, environment),
        SecretSource::Value(value) => Ok(value.clone()),
    }
}

/// Reads a secret without ever holding up the caller's runtime: at most five seconds, from when its turn has come.
///
/// A keyring may ask a person for a password and a file may lie on a mount that hangs, so the read has a thread of
/// its own, which nobody waits for at shutdown (the runtime waits for its own blocking threads). While one hangs its
/// source is not read again.
///
/// # Errors
/// As [`read`], or that no answer came in time.
pub async fn fetch(source: &SecretSource) -> Result<Secret, SecretReason> {
    fetch_within(source, PATIENCE).await
}

async fn fetch_within(source: &SecretSource, patience: Duration) -> Result<Secret, SecretReason> {
    match source {
        SecretSource::Value(value) => return Ok(value.clone()),
        // A variable is read without waiting for anything.
        SecretSource::Env(name) if std::env::var_os(name).is_some_and(|value| !value.is_empty()) => {
            return read(source);
        }
        _ => {}
    }
    let late = || Err(unavailable(source, format!("no answer within {} s", patience.as_secs())));
    // It is never closed.
    let _turn = AT_ONCE.acquire().await;
    if hanging().contains(source) {
        return late();
    }
    let (answer, mut answered) = oneshot::channel();
    let wanted = source.clone();
    let read_it = move || {
        let read = read(&wanted);
        // Whoever gives up does so before this, or has the answer.
        let mut hanging = hanging();
        hanging.remove(&wanted);
        let _ = answer.send(read);
    };
    if let Err(error) = std::thread::Builder::new().name("secret".into()).spawn(read_it) {
        return Err(unavailable(source, error.to_string()));
    }
    let stopped = |_| Err(unavailable(source, "the reader stopped".into()));
    match tokio::time::timeout(patience, &mut answered).await {
        Ok(read) => read.unwrap_or_else(stopped),
        Err(_) => {
            let mut hanging = hanging();
            answered.try_recv().unwrap_or_else(|_| {
                hanging.insert(source.clone());
                late()
            })
        }
    }
}

/// The text without one newline at its end, in Unix or Windows form: editors and `echo` add it.
pub(crate) fn without_newline(text: &str) -> &str {
    text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line))
}

/// A source that could not even be asked.
fn unavailable(source: &SecretSource, error: String) -> SecretReason {
    match source {
        SecretSource::Keyring { .. } => SecretReason::KeyringFailed { error },
        SecretSource::File(path) => SecretReason::FileUnreadable { path: path.display().to_string(), error },
        other => SecretReason::FileUnreadable { path: other.to_string(), error },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + use<> {
        let variables: HashMap<String, OsString> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        move |name| variables.get(name).cloned()
    }

    fn env(variables: &[(&str, &str)]) -> Result<Secret, SecretReason> {
        read_with(&SecretSource::Env("KEY".into()), &environment(variables))
    }

    fn write(content: impl AsRef<[u8]>) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    fn file(content: impl AsRef<[u8]>) -> Result<Secret, SecretReason> {
        read(&SecretSource::File(write(content).path().into()))
    }

    #[test]
    fn a_variable_or_the_file_it_names_but_never_both() {
        let file = write("from-file\n");
        let path = file.path().to_str().unwrap();
        let missing = Err(SecretReason::EnvMissing { name: "KEY".into() });
        assert_eq!(env(&[("KEY", "direct")]), Ok(Secret::new("direct")));
        assert_eq!(env(&[("KEY", "direct"), ("KEY_FILE", "")]), Ok(Secret::new("direct")));
        assert_eq!(env(&[("KEY_FILE", path)]), Ok(Secret::new("from-file")));
        assert_eq!(env(&[("KEY", ""), ("KEY_FILE", path)]), Ok(Secret::new("from-file")));
        assert_eq!(env(&[]), missing);
        assert_eq!(env(&[("KEY", "")]), missing);
        let both = Err(SecretReason::EnvAndFile { name: "KEY".into() });
        assert_eq!(env(&[("KEY", "direct"), ("KEY_FILE", path)]), both);
        let gone = env(&[("KEY_FILE", "/nowhere/at/all")]);
        assert!(matches!(gone, Err(SecretReason::FileUnreadable { path, .. }) if path == "/nowhere/at/all"));
    }

    #[test]
    fn exactly_one_newline_is_trimmed_from_a_file() {
        for (content, value) in
            [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("a\r", "a\r")]
        {
            assert_eq!(file(content), Ok(Secret::new(value)), "{content:?}");
        }
    }

    #[test]
    fn empty_long_and_binary_files_are_refused() {
        assert!(matches!(file(""), Err(SecretReason::Empty { .. })));
        assert!(matches!(file("\n"), Err(SecretReason::Empty { .. })));
        assert!(matches!(file(vec![b'x'; 1024 * 1024 + 1]), Err(SecretReason::TooLong { .. })));
        assert!(file(vec![b'x'; 1024 * 1024]).is_ok());
        assert!(matches!(file([0xff, 0xfe]), Err(SecretReason::NotText { .. })));
        let directory = tempfile::tempdir().unwrap();
        let read = read(&SecretSource::File(directory.path().into()));
        assert!(matches!(read, Err(SecretReason::FileUnreadable { .. })), "{read:?}");
    }

    #[test]
    fn systemd_credentials_are_files_of_its_directory_only() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("seed"), "value\n").unwrap();
        let set = environment(&[("CREDENTIALS_DIRECTORY", directory.path().to_str().unwrap())]);
        let named = |name: &str| SecretSource::SystemdCredential(name.into());
        assert_eq!(read_with(&named("seed"), &set), Ok(Secret::new("value")));
        for escape in ["../seed", "..", "/etc/passwd", ""] {
            let read = read_with(&named(escape), &set);
            assert!(matches!(read, Err(SecretReason::FileUnreadable { .. })), "{escape:?}: {read:?}");
        }
        let unset = read_with(&named("seed"), &environment(&[]));
        assert_eq!(unset, Err(SecretReason::NotUnderSystemd { name: "seed".into() }));
    }

    #[test]
    fn no_failure_shows_what_was_read() {
        let path = write("sentinel");
        let path = path.path().to_str().unwrap();
        let binary = [b"sentinel".as_slice(), &[0xff]].concat();
        let failures =
            [env(&[("KEY", "sentinel"), ("KEY_FILE", path)]), file(&binary), file("sentinel".repeat(1 << 18))];
        for failure in failures {
            let reason = crate::reason::Reason::from(failure.unwrap_err());
            for language in [crate::reason::Language::English, crate::reason::Language::Chinese] {
                let shown = format!("{reason:?} {:?}", crate::messages::explain(language, &reason));
                assert!(!shown.contains("sentinel"), "{shown}");
            }
        }
    }

    #[tokio::test]
    async fn a_source_that_never_answers_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let source = SecretSource::File(pipe.clone());
        let fetched = async |patience| fetch_within(&source, patience).await;
        let read = fetched(Duration::from_millis(20)).await;
        assert!(matches!(read, Err(SecretReason::FileUnreadable { .. })), "{read:?}");
        // While it hangs nobody else is sent after it.
        let begun = std::time::Instant::now();
        let read = fetched(Duration::from_secs(60)).await;
        assert!(matches!(read, Err(SecretReason::FileUnreadable { .. })), "{read:?}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        // Its reader is let go, and it is read again.
        std::fs::write(&pipe, "late").unwrap();
        while hanging().contains(&source) {
            tokio::task::yield_now().await;
        }
        std::fs::remove_file(&pipe).unwrap();
        std::fs::write(&pipe, "value").unwrap();
        assert_eq!(fetched(PATIENCE).await, Ok(Secret::new("value")));
    }
}
