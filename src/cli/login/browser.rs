//! How a browser comes back: to a port of this machine (RFC 8252 §7.3), or in a line that a person pastes.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use url::{Host, Url};

use crate::oauth::login::code::Attempt;
use crate::reason::LoginReason;
use crate::secret::Secret;

/// Where it comes back where `params` names no `redirect_uri`.
const OWN: &str = "http://127.0.0.1/callback";
/// The longest head of a request that is read, and how long it may take.
const LARGEST_HEAD: usize = 16 * 1024;
const SLOWEST_HEAD: Duration = Duration::from_secs(5);

/// A way back.
pub struct Back {
    redirect_uri: Url,
    listener: Option<TcpListener>,
    pasted: Option<mpsc::Receiver<String>>,
}

impl Back {
    /// Waits at the loopback address that is registered, on any port if it names none; reads standard input where
    /// that is a terminal, was asked for, or is the only way.
    pub async fn prepare(registered: Option<&str>, paste: bool) -> Result<Self, LoginReason> {
        let not_ours = |_| LoginReason::NotOurs;
        let mut redirect_uri = Url::parse(registered.unwrap_or(OWN)).map_err(not_ours)?;
        let host = match redirect_uri.host() {
            _ if paste || redirect_uri.scheme() != "http" => None,
            Some(Host::Ipv4(address)) if address.is_loopback() => Some(address.to_string()),
            Some(Host::Ipv6(address)) if address.is_loopback() => Some(format!("[{address}]")),
            Some(Host::Domain("localhost")) => Some("127.0.0.1".to_owned()),
            _ => None,
        };
        let listener = match host {
            None => None,
            Some(host) => {
                let address = format!("{host}:{}", redirect_uri.port().unwrap_or(0));
                let no_port =
                    |error: std::io::Error| LoginReason::NoPort { address: address.clone(), error: error.to_string() };
                let listener = TcpListener::bind(&address).await.map_err(no_port)?;
                let port = listener.local_addr().map_err(no_port)?.port();
                // It cannot fail: the address has a host.
                let _ = redirect_uri.set_port(Some(port));
                Some(listener)
            }
        };
        let pasted = (listener.is_none() || std::io::stdin().is_terminal()).then(read_lines);
        Ok(Self { redirect_uri, listener, pasted })
    }

    /// What the authorization server is told.
    pub fn redirect_uri(&self) -> String {
        self.redirect_uri.to_string()
    }

    /// Whether somebody may have to paste.
    pub fn wants_paste(&self) -> bool {
        self.pasted.is_some()
    }

    /// The code, by whichever way it comes first. What belongs to another login is passed over, unless it was pasted.
    pub async fn code(self, attempt: &Attempt, farewell: &str) -> Result<Secret, LoginReason> {
        let Self { redirect_uri, listener, pasted } = self;
        let called = async {
            let Some(listener) = listener else { return std::future::pending().await };
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                match answer(stream, redirect_uri.path(), attempt, farewell).await {
                    None | Some(Err(LoginReason::NotOurs)) => {}
                    Some(code) => return code,
                }
            }
        };
        let read = async {
            let Some(mut pasted) = pasted else { return std::future::pending().await };
            match pasted.recv().await {
                Some(line) => attempt.code(&line),
                None => Err(LoginReason::NotOurs),
            }
        };
        tokio::select! {
            code = called => code,
            code = read => code,
        }
    }
}

/// Lines of standard input, by a thread that nobody waits for.
fn read_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let lines = std::io::stdin().lock().lines().map_while(Result::ok);
        lines.filter(|line| !line.trim().is_empty()).find(|line| sender.blocking_send(line.clone()).is_err());
    });
    receiver
}

/// Reads one request and answers it; `None` if it was not for the redirect address.
async fn answer(
    mut stream: TcpStream,
    path: &str,
    attempt: &Attempt,
    farewell: &str,
) -> Option<Result<Secret, LoginReason>> {
    let head = tokio::time::timeout(SLOWEST_HEAD, read_head(&mut stream)).await.ok()??;
    let target = head.strip_prefix("GET ")?.split(' ').next()?;
    let (status, body, code) = if target.split('?').next() == Some(path) {
        let code = attempt.code(target);
        let (status, body) = if code.is_ok() { ("200 OK", farewell) } else { ("400 Bad Request", "") };
        (status, body, Some(code))
    } else {
        ("404 Not Found", "", None)
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // Whether the browser still listens matters to nobody.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    code
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > LARGEST_HEAD || stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    String::from_utf8(head).ok()
}
