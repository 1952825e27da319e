//! A service manager that started the sidecar, as its `NOTIFY_SOCKET` is read.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use super::SOON;
use super::process::{Bench, assert_no_secret};

/// The end of the socket at which a service manager reads.
pub struct Manager(UnixDatagram);

impl Manager {
    /// Every later process of this bench has it.
    pub fn of(bench: &mut Bench) -> Self {
        let path = bench.path("notify.sock");
        bench.env("NOTIFY_SOCKET", path.display().to_string());
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Self(socket)
    }

    /// What comes next; `None` if nothing does for a moment.
    pub fn next(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).ok()?;
        let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
        assert_no_secret("the service manager", &message);
        Some(message)
    }

    /// Reads up to a message like this one, and returns it.
    pub fn wait_for(&self, pattern: &str) -> String {
        self.hear(pattern).pop().unwrap()
    }

    /// Reads up to a message like this one; all that came.
    pub fn hear(&self, pattern: &str) -> Vec<String> {
        let (deadline, mut heard) = (Instant::now() + SOON, Vec::new());
        while Instant::now() < deadline {
            heard.extend(self.next());
            if heard.last().is_some_and(|message| message.contains(pattern)) {
                return heard;
            }
        }
        panic!("{pattern} was not heard, but {heard:?}");
    }
}
