//! A terminal of 80 columns and 24 rows, with a command on it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::eventually;

/// What stands on it, and the command.
pub struct Terminal {
    pub child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts a command with all three streams on a new terminal.
    pub fn start(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let open = || rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let slave: OwnedFd = open();
        let stream = || Stdio::from(slave.as_fd().try_clone_to_owned().unwrap());
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        // The command's own streams must be the last: their end is the end of what can be read.
        drop((command, slave));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            let mut master = File::from(master);
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = master.read(&mut chunk) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..count]);
            }
        });
        Self { child, seen, reader: Some(reader) }
    }

    /// Everything that was written so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until this was written.
    pub fn wait_for(&self, text: &str, timeout: Duration) -> bool {
        eventually(timeout, || self.text().contains(text))
    }

    /// Waits for the command's end; everything that was written.
    pub fn finish(mut self, timeout: Duration) -> (Option<i32>, String) {
        let mut status = None;
        let ended = eventually(timeout, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "it did not end:\n{}", self.text());
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        (status.and_then(|status| status.code()), self.text())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
