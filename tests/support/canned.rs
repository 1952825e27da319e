//! An agent that always says the same: it holds a vault's lock and answers at its control socket. For what commands
//! show of a state that is hard to come by, at a fixed time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::{SOON, eventually};

/// A canned agent; it ends with the test's process.
pub struct Canned {
    _lock: File,
    socket: PathBuf,
}

impl Canned {
    /// Answers everything with this status, beside this vault.
    pub fn start(vault: &Path, status: &serde_json::Value) -> Self {
        std::fs::create_dir_all(vault.parent().unwrap()).unwrap();
        std::fs::write(vault.with_extension("lock"), "process 7 on host\n").unwrap();
        let lock = File::options().read(true).write(true).open(vault.with_extension("lock")).unwrap();
        // A process that is being started somewhere else may still hold the descriptor of the one before.
        assert!(eventually(SOON, || lock.try_lock().is_ok()));
        let socket = vault.with_extension("sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let status = status.to_string();
        std::thread::spawn(move || {
            // Who goes away in between is of no interest.
            listener.incoming().flatten().for_each(|stream| drop(answer(stream, &status)));
        });
        Self { _lock: lock, socket }
    }
}

impl Drop for Canned {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn answer(mut stream: UnixStream, status: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut length, mut first) = (String::new(), 0, String::new());
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if first.is_empty() {
            first.clone_from(&line);
        }
        line.clear();
    }
    reader.read_exact(&mut vec![0; length])?;
    let body = if first.contains("/healthz") { "ok\n" } else { status };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}
