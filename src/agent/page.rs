//! The configured address (`[server]`): the read-only routes, for people's browsers and monitors.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::agent::Agent;
use crate::messages;
use crate::reason::{AgentReason, Language};
use crate::telemetry::server::{Serving, by_local_name, read_only};

/// How often an address that is taken is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// How long a connection may last, so that a slow reader gives its place back.
const LONGEST: Duration = Duration::from_secs(30);

/// The served address; it is given up when this is dropped.
pub struct Page(JoinHandle<()>);

impl Drop for Page {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Agent {
    /// Serves an address as soon as it can be had.
    pub(super) fn serve_page(&self, address: SocketAddr) -> Page {
        let router = read_only(self.line()).layer(from_fn(by_local_name));
        Page(tokio::spawn(serve(address, router, self.plan.language)))
    }
}

async fn serve(address: SocketAddr, router: Router, language: Language) {
    let warn = |reason: AgentReason| {
        let message = messages::explain(language, &reason.into());
        tracing::warn!("{} {}", message.what, message.remedy);
    };
    let mut told = false;
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) if !told => {
                told = true;
                warn(AgentReason::CannotListen { address: address.to_string(), error: error.to_string() });
            }
            Err(_) => {}
        }
        tokio::time::sleep(TRY_AGAIN).await;
    };
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(%address, "the HTTP server listens");
    if !address.ip().is_loopback() {
        warn(AgentReason::ListensBeyondLoopback { address: address.to_string() });
    }
    let _serving = Serving::start(listener, router, LONGEST);
    std::future::pending().await
}
