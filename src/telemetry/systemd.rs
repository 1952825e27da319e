//! What a service manager hears of us (sd_notify(3)): ready, how things stand, reloading, stopping, and that the loop
//! turns.
//!
//! Nothing here waits: systemd has one socket for all services and may be slow to read it, and a supervisor that
//! forgets to read must not stop a refresh. The usual library blocks there, which is why this is written out. What
//! must be heard is sent again at the next turn; a status or a watchdog's food is newer by then. Called by `run` while
//! it stands by, then by the agent's loop: a watchdog fed from anywhere else would say nothing.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::messages::Words;
use crate::telemetry::status::CredentialState;

/// How long between two looks at how things stand.
const PATIENCE: Duration = Duration::from_secs(1);
/// How soon what could not be sent is sent again.
const AGAIN: Duration = Duration::from_millis(100);
/// How many credentials of a state are named.
const NAMED: usize = 3;

/// The service manager that started this process. Moments are those of the clock that nobody sets
/// ([`crate::time::Uptime::awake`]).
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often the watchdog is fed: half of what it stands.
    feed_every: Option<Duration>,
    fed_at: Option<Duration>,
    /// What it must hear, and has not yet.
    unsent: VecDeque<String>,
    status: String,
    /// When it was last asked how things stand: that is work, with thousands of credentials.
    looked_at: Option<Duration>,
    /// Something may have changed since.
    held_back: bool,
    reloading: bool,
}

impl ServiceManager {
    /// The one that the environment names, if it does; else whatever is told goes nowhere.
    pub fn from_env() -> Self {
        let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
        let ours = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| ours).map(Duration::from_micros);
        Self::at(&std::env::var_os("NOTIFY_SOCKET").unwrap_or_default(), watchdog)
    }

    /// One that reads at this socket (`@` begins an abstract name) and expects food for its watchdog so often.
    pub fn at(socket: &OsStr, watchdog: Option<Duration>) -> Self {
        let address = match socket.as_bytes() {
            [] => return Self::default(),
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            path => SocketAddr::from_pathname(OsStr::from_bytes(path)),
        };
        let socket = address.and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            Ok((socket, address))
        });
        if let Err(error) = &socket {
            tracing::warn!(%error, "NOTIFY_SOCKET cannot be used: the service manager hears nothing");
        }
        let feed_every = watchdog.filter(|length| !length.is_zero()).map(|length| length / 2);
        Self { socket: socket.ok(), feed_every, ..Self::default() }
    }

    /// Whether anybody is told.
    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// We are ready, and how things stand.
    pub fn ready(&mut self, status: &str) {
        self.status = one_line(status);
        let status = &self.status;
        self.tell(format!("READY=1\nSTATUS={status}"));
    }

    /// We read the config and the secrets again.
    pub fn reloading(&mut self, now: Duration) {
        self.reloading = true;
        self.tell(format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// We have read them, whatever came of it.
    pub fn reloaded(&mut self) {
        if std::mem::take(&mut self.reloading) {
            self.tell("READY=1".into());
        }
    }

    /// We are about to end.
    pub fn stopping(&mut self, status: &str) {
        self.status = one_line(status);
        let status = &self.status;
        self.tell(format!("STOPPING=1\nSTATUS={status}"));
    }

    /// A turn of the loop: sends what is unsent, feeds the watchdog if it is time, and says how things stand if that
    /// changed, at most once a second.
    pub fn turn(&mut self, now: Duration, status: impl FnOnce() -> String) {
        if !self.is_there() {
            return;
        }
        while let Some(message) = self.unsent.front() {
            if !self.send(message) {
                return;
            }
            self.unsent.pop_front();
        }
        let feeds = self.feed_every.is_some_and(|every| is_past(self.fed_at, every, now));
        if feeds && self.send("WATCHDOG=1") {
            self.fed_at = Some(now);
        }
        self.held_back = !is_past(self.looked_at, PATIENCE, now);
        if self.held_back {
            return;
        }
        self.looked_at = Some(now);
        let status = one_line(&status());
        if status != self.status && self.send(&format!("STATUS={status}")) {
            self.status = status;
        }
    }

    /// How long the loop may rest until the next turn.
    pub fn rest(&self, now: Duration) -> Duration {
        let until =
            |last: Option<Duration>, every| last.map_or(Duration::ZERO, |last| (last + every).saturating_sub(now));
        let again = (!self.unsent.is_empty()).then_some(AGAIN);
        let feed = self.feed_every.map(|every| until(self.fed_at, every).max(AGAIN.min(every)));
        let say = self.held_back.then(|| until(self.looked_at, PATIENCE));
        let rests = [again, feed, say].into_iter().flatten();
        rests.min().filter(|_| self.is_there()).unwrap_or(Duration::MAX)
    }

    /// Sends what must be heard: now, or as soon as it can be.
    fn tell(&mut self, message: String) {
        if self.is_there() && (!self.unsent.is_empty() || !self.send(&message)) {
            self.unsent.push_back(message);
        }
    }

    /// Sends, and says whether there is nothing to send again.
    fn send(&self, message: &str) -> bool {
        let Some((socket, address)) = &self.socket else { return true };
        match socket.send_to_addr(message.as_bytes(), address) {
            Ok(_) => true,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            Err(error) => {
                tracing::debug!(%error, "the service manager does not hear");
                true
            }
        }
    }
}

fn is_past(last: Option<Duration>, every: Duration, now: Duration) -> bool {
    last.is_none_or(|last| now.saturating_sub(last) >= every)
}

/// A line break would end the assignment.
fn one_line(status: &str) -> String {
    status.replace('\n', " ")
}

/// How things stand, in a sentence: how many credentials are in which state, by name where somebody should look, and
/// what else is wrong.
pub fn sentence<'n>(
    words: &Words,
    credentials: impl Iterator<Item = (&'n str, CredentialState)>,
    troubles: Vec<String>,
) -> String {
    let service = &words.service;
    let mut by_state: Vec<(CredentialState, Vec<&str>)> = CredentialState::ALL.map(|state| (state, Vec::new())).into();
    let mut all = 0;
    for (name, state) in credentials {
        all += 1;
        if let Some((_, names)) = by_state.iter_mut().find(|(one, _)| *one == state) {
            names.push(name);
        }
    }
    let count = |(state, names): (CredentialState, Vec<&str>)| {
        let counted = format!("{} {}", names.len(), state.word(words));
        match state {
            CredentialState::Active | CredentialState::Waiting | CredentialState::Disabled => counted,
            _ => {
                let more = names.len().saturating_sub(NAMED);
                let mut named = names.into_iter().take(NAMED).collect::<Vec<_>>().join(service.comma);
                if more > 0 {
                    named += &service.more.replace("{}", &more.to_string());
                }
                service.named.replace("{count}", &counted).replace("{names}", &named)
            }
        }
    };
    let states: Vec<String> = by_state.into_iter().filter(|(_, names)| !names.is_empty()).map(count).collect();
    let credentials = service.credentials.replace("{}", &all.to_string());
    let mut parts =
        vec![if states.is_empty() { credentials } else { credentials + service.colon + &states.join(service.comma) }];
    parts.extend(troubles);
    parts.join(service.semicolon)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::messages::words;
    use crate::reason::Language;

    const SECOND: Duration = Duration::from_secs(1);

    /// A service manager's end, and ours.
    fn pair(watchdog: Option<Duration>) -> (UnixDatagram, ServiceManager, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify.sock");
        let ear = UnixDatagram::bind(&path).unwrap();
        ear.set_nonblocking(true).unwrap();
        (ear, ServiceManager::at(path.as_os_str(), watchdog), folder)
    }

    fn heard(ear: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 4096];
        let messages = std::iter::from_fn(|| ear.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec()));
        messages.map(|message| String::from_utf8(message).unwrap()).collect()
    }

    #[test]
    fn the_life_of_a_service_is_heard_in_its_order() {
        let (ear, mut manager, _folder) = pair(None);
        manager.ready("all\nwell");
        manager.reloaded();
        manager.reloading(Duration::from_micros(1_234_567));
        manager.reloaded();
        manager.turn(SECOND, || "all well".into());
        manager.turn(SECOND * 2, || "one is halted".into());
        manager.turn(SECOND * 4, || "one is halted".into());
        manager.stopping("stopping");
        assert_eq!(
            heard(&ear),
            [
                "READY=1\nSTATUS=all well",
                "RELOADING=1\nMONOTONIC_USEC=1234567",
                "READY=1",
                "STATUS=one is halted",
                "STOPPING=1\nSTATUS=stopping"
            ]
        );
    }

    #[test]
    fn the_watchdog_is_fed_by_turns_at_half_of_its_time() {
        let (ear, mut manager, _folder) = pair(Some(SECOND * 10));
        for second in 0..=15 {
            manager.turn(SECOND * second, String::new);
        }
        assert_eq!(heard(&ear), ["WATCHDOG=1"; 4], "at 0, 5, 10 and 15");
        assert_eq!(manager.rest(SECOND * 17), SECOND * 3);
    }

    #[test]
    fn a_status_that_changes_often_is_said_once_a_second_and_not_forgotten() {
        let (ear, mut manager, _folder) = pair(None);
        manager.turn(SECOND, || "one".into());
        manager.turn(SECOND + SECOND / 4, || "two".into());
        assert_eq!(manager.rest(SECOND + SECOND / 4), SECOND * 3 / 4, "the loop comes back for it");
        manager.turn(SECOND + SECOND / 2, || unreachable!("nobody looks so often"));
        manager.turn(SECOND * 2, || "three".into());
        assert_eq!(heard(&ear), ["STATUS=one", "STATUS=three"]);
    }

    #[test]
    fn a_manager_that_does_not_read_holds_up_nobody_and_hears_what_matters_later() {
        let (ear, mut manager, _folder) = pair(None);
        let mut turns = 0;
        while manager.send("STATUS=full") {
            turns += 1;
            assert!(turns < 100_000, "its queue has an end");
        }
        manager.ready("all well");
        manager.reloading(SECOND);
        manager.reloaded();
        manager.turn(SECOND, || "not said".into());
        assert_eq!(manager.rest(SECOND), AGAIN);
        assert!(heard(&ear).iter().all(|message| message == "STATUS=full"));
        manager.turn(SECOND * 2, || "all well".into());
        assert_eq!(heard(&ear), ["READY=1\nSTATUS=all well", "RELOADING=1\nMONOTONIC_USEC=1000000", "READY=1"]);
        assert_eq!(manager.rest(SECOND * 2), Duration::MAX);
    }

    #[test]
    fn an_abstract_name_is_found_and_no_name_is_no_manager() {
        let name = format!("one-api-sidecar-test-{}", std::process::id());
        let ear = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        ear.set_nonblocking(true).unwrap();
        ServiceManager::at(OsStr::new(&format!("@{name}")), None).ready("well");
        assert_eq!(heard(&ear), ["READY=1\nSTATUS=well"]);
        let mut nobody = ServiceManager::at(OsStr::new(""), Some(SECOND));
        nobody.ready("well");
        nobody.turn(SECOND, || unreachable!("nobody listens"));
        assert_eq!(nobody.rest(SECOND), Duration::MAX);
    }

    #[test]
    fn the_sentence_names_whom_to_look_at_first() {
        use CredentialState::{Active, Disabled, Failing, Halted};
        let many = ["a", "b", "c", "d", "e"].map(|name| (name, Halted));
        let some = [("openai", Failing), ("x", Active), ("y", Active), ("z", Disabled)];
        let said = |language, credentials: &[(&str, CredentialState)], troubles: &[&str]| {
            let troubles = troubles.iter().map(|trouble| (*trouble).to_owned()).collect();
            sentence(words(language), credentials.iter().copied(), troubles)
        };
        assert_eq!(
            said(Language::English, &some, &["the config file was not taken"]),
            "4 credentials: 1 failing (openai), 2 active, 1 disabled; the config file was not taken"
        );
        assert_eq!(said(Language::English, &many, &[]), "5 credentials: 5 halted (a, b, c and 2 more)");
        assert_eq!(said(Language::English, &[], &[]), "0 credentials");
        assert_eq!(said(Language::Chinese, &some, &[]), "4 个凭据：1 刷新失败（openai）、2 正常、1 已禁用");
    }
}
