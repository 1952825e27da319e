//! Row 57: a keyring that works, one that is locked, and none at all, each against the real thing.
//!
//! Each case runs this test binary again, in surroundings of its own: under `dbus-run-session` with a GNOME Keyring
//! of its own in an empty home, or without any D-Bus. The library connects to D-Bus once in a process, and an
//! environment is not changed under running threads. Debian's packages: `dbus`, `gnome-keyring`. Where they are
//! missing the case is skipped by name, unless `REQUIRE_KEYRING=1` (as in CI) makes that a failure.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use one_api_sidecar::messages::explain;
use one_api_sidecar::reason::{Language, Reason, SecretReason};
use one_api_sidecar::secret::{Secret, SecretSource};
use one_api_sidecar::{cli, secrets};

const SERVICE: &str = "one-api-sidecar-test";
const SENTINEL: &str = "sentinel-5b0c \"quoted\" ünïcode";
/// Set in the second run of this binary: the surroundings are there.
const INSIDE: &str = "KEYRING_TEST_INSIDE";

#[test]
fn row_57_a_working_keyring_sets_reads_lists_and_deletes() {
    if inside() {
        return works();
    }
    let unlocked = r#"printf '\n' | gnome-keyring-daemon --unlock --components=secrets >/dev/null && exec "$@""#;
    in_session("row_57_a_working_keyring_sets_reads_lists_and_deletes", unlocked);
}

fn works() {
    let list = || cli::secret::list(SERVICE);
    assert_eq!(list(), Ok(vec![]));
    assert_eq!(read("seed"), Err(SecretReason::KeyringNoEntry { entry: format!("keyring:{SERVICE}/seed") }));
    assert!(cli::secret::delete(SERVICE, "seed").is_err());

    cli::secret::set(SERVICE, "seed", &Secret::new(SENTINEL)).unwrap();
    cli::secret::set(SERVICE, "other", &Secret::new("x")).unwrap();
    cli::secret::set("another-service", "theirs", &Secret::new("y")).unwrap();
    assert_eq!(read("seed"), Ok(Secret::new(SENTINEL)));
    assert_eq!(fetch("seed"), Ok(Secret::new(SENTINEL)));
    assert_eq!(list(), Ok(vec!["other".to_owned(), "seed".to_owned()]));

    cli::secret::set(SERVICE, "seed", &Secret::new("replaced")).unwrap();
    assert_eq!(read("seed"), Ok(Secret::new("replaced")));
    cli::secret::delete(SERVICE, "seed").unwrap();
    assert_eq!(list(), Ok(vec!["other".to_owned()]));
    assert!(matches!(read("seed"), Err(SecretReason::KeyringNoEntry { .. })));
}

#[test]
fn row_57_a_locked_keyring_is_told_with_the_alternative_and_holds_up_nothing() {
    if inside() {
        return locked();
    }
    // Unlock, store, lock the collection again as a screen lock would.
    let script = r#"
        printf '\n' | gnome-keyring-daemon --unlock --components=secrets >/dev/null
        KEYRING_TEST_STORE=1 "$@" && dbus-send --session --print-reply --dest=org.freedesktop.secrets \
            /org/freedesktop/secrets org.freedesktop.Secret.Service.Lock \
            array:objpath:/org/freedesktop/secrets/aliases/default >/dev/null && exec "$@"
    "#;
    in_session("row_57_a_locked_keyring_is_told_with_the_alternative_and_holds_up_nothing", script);
}

fn locked() {
    if std::env::var_os("KEYRING_TEST_STORE").is_some() {
        return cli::secret::set(SERVICE, "seed", &Secret::new(SENTINEL)).unwrap();
    }
    let begun = Instant::now();
    told_with_the_alternative(fetch("seed"), SecretReason::KeyringLocked);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    others_go_on();
}

#[test]
fn row_57_no_keyring_is_told_at_once_with_the_alternative() {
    if inside() {
        let begun = Instant::now();
        told_with_the_alternative(read("seed"), SecretReason::KeyringAbsent);
        told_with_the_alternative(fetch("seed"), SecretReason::KeyringAbsent);
        assert_eq!(cli::secret::list(SERVICE), Err(SecretReason::KeyringAbsent));
        assert_eq!(cli::secret::set(SERVICE, "seed", &Secret::new(SENTINEL)), Err(SecretReason::KeyringAbsent));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        return others_go_on();
    }
    let test = "row_57_no_keyring_is_told_at_once_with_the_alternative";
    let nowhere = tempfile::tempdir().unwrap();
    // A bus that is named and gone, and none that is named (then it is looked for in the runtime directory).
    let gone = format!("unix:path={}/bus", nowhere.path().display());
    passed(test, &again(test, Command::new(own_binary()).env("DBUS_SESSION_BUS_ADDRESS", gone), nowhere.path()));
    passed(test, &again(test, Command::new(own_binary()).env_remove("DBUS_SESSION_BUS_ADDRESS"), nowhere.path()));
}

#[test]
fn row_57_a_bus_without_a_keyring_is_no_keyring() {
    if inside() {
        return told_with_the_alternative(fetch("seed"), SecretReason::KeyringAbsent);
    }
    let test = "row_57_a_bus_without_a_keyring_is_no_keyring";
    if missing("dbus-run-session") {
        return skipped(test, "dbus-run-session");
    }
    // A session of its own configuration: the system's would start a keyring on demand.
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("session.conf");
    let text = r#"
        <busconfig>
            <type>session</type> <listen>unix:tmpdir=/tmp</listen> <auth>EXTERNAL</auth>
            <policy context="default">
                <allow send_destination="*"/> <allow receive_sender="*"/> <allow own="*"/>
            </policy>
        </busconfig>
    "#;
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("dbus-run-session");
    command.arg("--config-file").arg(&config).arg("--").arg(own_binary());
    passed(test, &again(test, &mut command, home.path()));
}

fn source(entry: &str) -> SecretSource {
    SecretSource::Keyring { service: SERVICE.into(), entry: entry.into() }
}

fn read(entry: &str) -> Result<Secret, SecretReason> {
    secrets::read(&source(entry))
}

/// As the agent reads it: a runtime with one thread, which must not be blocked and must end at once.
fn fetch(entry: &str) -> Result<Secret, SecretReason> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(secrets::fetch(&source(entry)))
}

fn told_with_the_alternative(outcome: Result<Secret, SecretReason>, expected: SecretReason) {
    assert_eq!(outcome, Err(expected.clone()));
    for language in [Language::English, Language::Chinese] {
        let message = explain(language, &Reason::from(expected.clone()));
        assert!(message.remedy.contains("{ env = ") && message.remedy.contains("{ file = "), "{}", message.remedy);
    }
}

/// Another source beside the keyring.
fn others_go_on() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "value\n").unwrap();
    assert_eq!(secrets::read(&SecretSource::File(file.path().into())), Ok(Secret::new("value")));
}

fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

fn own_binary() -> std::path::PathBuf {
    std::env::current_exe().unwrap()
}

/// Runs one test of this binary again, under a D-Bus session in which a shell script has prepared the keyring.
fn in_session(test: &str, script: &str) {
    for program in ["dbus-run-session", "dbus-send", "gnome-keyring-daemon"] {
        if missing(program) {
            return skipped(test, program);
        }
    }
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new("dbus-run-session");
    command.args(["--", "sh", "-c", script, "sh"]).arg(own_binary());
    passed(test, &again(test, &mut command, home.path()));
}

/// Completes a command line that ends with this binary, and runs it.
fn again(test: &str, command: &mut Command, home: &Path) -> Output {
    let command = command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    let command = command.env("HOME", home).env("XDG_RUNTIME_DIR", home).env("XDG_DATA_HOME", home.join("data"));
    command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").output().unwrap()
}

fn passed(test: &str, output: &Output) {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test}: {text}");
    assert!(text.contains("1 passed"), "{test}: nothing ran: {text}");
    assert!(!text.contains("sentinel"), "{test}: {text}");
}

fn missing(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    !std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn skipped(test: &str, program: &str) {
    assert!(std::env::var_os("REQUIRE_KEYRING").is_none(), "{test}: {program} is not installed");
    eprintln!("skipped: {test} ({program} is not installed)");
}
