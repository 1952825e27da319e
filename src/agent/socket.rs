//! The control socket: a Unix socket beside the vault, served by whoever holds its lock.
//!
//! The routes of [`crate::telemetry::server`], and those that act. Only the owner of the vault may connect (mode 600). It is bound and
//! connected to through the directory's descriptor: a socket's path ends at 107 bytes, a vault's need not.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use rustix::fs::{AtFlags, Mode, OFlags, fchmod, open, unlinkat};
use rustix::io::Errno;
use tokio::net::{UnixSocket, UnixStream};

use crate::agent::control::{Handover, Line, Once, Retry};
use crate::agent::obtained::Obtained;
use crate::reason::Reason;
use crate::telemetry::server::{Serving, read_only};
use crate::telemetry::status::Status;

/// How many may wait to be taken in.
const BACKLOG: u32 = 64;

/// Where the socket of a vault is.
struct Place {
    directory: OwnedFd,
    name: OsString,
}

/// The socket of a vault: two vaults may share a directory.
pub fn path_of(vault: &Path) -> PathBuf {
    vault.with_extension("sock")
}

impl Place {
    fn of(vault: &Path) -> std::io::Result<Self> {
        let directory = vault.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { directory, name: path_of(vault).file_name().unwrap_or_default().to_owned() })
    }

    /// A path that is short however deep the directory lies; good while this place is kept.
    fn path(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.directory.as_raw_fd().to_string()).join(&self.name)
    }

    fn remove(&self) -> std::io::Result<()> {
        match unlinkat(&self.directory, &self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The served socket.
pub struct ControlSocket {
    place: Place,
    serving: Serving,
}

impl ControlSocket {
    /// Serves the socket of a vault whose lock is ours: what lies in its place is a dead owner's.
    ///
    /// # Errors
    /// When the filesystem has no sockets, or the vault's name is too long for one.
    pub fn serve(vault: &Path, line: Line) -> std::io::Result<Self> {
        let place = Place::of(vault)?;
        place.remove()?;
        let socket = UnixSocket::new_stream()?;
        // Before it has a name: there is no moment at which others could connect (Linux takes the mode over).
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        socket.bind(place.path())?;
        let listener = socket.listen(BACKLOG)?;
        // A pass takes as long as it takes; who may connect is trusted.
        let serving = Serving::start(listener, router(line), Duration::MAX);
        Ok(Self { place, serving })
    }

    /// Takes it away, after the answers under way have gone out. The lock must still be held.
    pub async fn close(self) {
        if let Err(error) = self.place.remove() {
            tracing::warn!(%error, "the control socket stays behind; the next owner removes it");
        }
        self.serving.close().await;
    }
}

/// Connects to whoever holds a vault.
///
/// # Errors
/// When nobody serves its socket.
pub async fn connect(vault: &Path) -> std::io::Result<UnixStream> {
    let place = Place::of(vault)?;
    UnixStream::connect(place.path()).await
}

fn router(line: Line) -> Router {
    let acting = Router::new()
        .route("/once", post(once))
        .route("/retry", post(retry))
        .route("/handover", post(hand_over))
        .route("/seed", post(seed))
        .with_state(line.clone());
    read_only(line).merge(acting)
}

async fn once(State(line): State<Line>, Json(order): Json<Once>) -> Response {
    answer(line.once(order).await)
}

async fn retry(State(line): State<Line>, Json(order): Json<Retry>) -> Response {
    answer(line.retry(order).await)
}

async fn hand_over(State(line): State<Line>, Json(order): Json<Handover>) -> Response {
    answer(line.hand_over(order).await)
}

async fn seed(State(line): State<Line>, Json(order): Json<Obtained>) -> Response {
    answer(line.seed(order).await)
}

fn answer(answer: Option<Result<Status, Reason>>) -> Response {
    match answer {
        Some(Ok(status)) => Json(status).into_response(),
        Some(Err(reason)) => (StatusCode::NOT_FOUND, Json(reason)).into_response(),
        // It is ending: whoever asks may soon have the lock.
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
