//! A plain HTTP client for the program's own server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::process::Sidecar;
use super::{SOON, eventually};

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Status line and headers, in lower case.
    pub head: String,
    pub body: String,
}

/// Where an agent with `listen = "127.0.0.1:0"` listens.
pub fn address(agent: &Sidecar) -> SocketAddr {
    let line = agent.wait_for_line("the http server listens", SOON);
    let line = line.unwrap_or_else(|| panic!("it does not listen:\n{}", agent.output()));
    let address = line.split("address=").nth(1).expect("the line has the address");
    address.trim().parse().unwrap()
}

/// Sends these bytes and reads until the other side is done; an answer that cannot be read is status 0.
pub fn say(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut answer = Vec::new();
    let asked = TcpStream::connect(address).and_then(|mut stream| {
        stream.set_read_timeout(Some(SOON * 2))?;
        stream.write_all(bytes)?;
        stream.read_to_end(&mut answer)
    });
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    assert!(asked.is_ok() || status.is_none(), "half an answer: {asked:?} {text}");
    Answer { status: status.unwrap_or(0), head: head.to_lowercase(), body: body.to_owned() }
}

/// GET, as this host, with these further headers.
pub fn get(address: SocketAddr, path: &str, headers: &str) -> Answer {
    say(address, format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").as_bytes())
}

/// The value of a series in `/metrics`; `None` while there is none.
pub fn metric(address: SocketAddr, series: &str) -> Option<f64> {
    let answer = get(address, "/metrics", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    let line = answer.body.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits until a series has this value.
pub fn assert_becomes(address: SocketAddr, series: &str, value: f64) {
    let became = eventually(SOON, || metric(address, series) == Some(value));
    assert!(became, "{series} {value}:\n{}", get(address, "/metrics", "").body);
}
