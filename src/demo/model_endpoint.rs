//! A model endpoint that takes living access tokens only: 200 for those, 401 for anything else.

use std::net::SocketAddr;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use tokio::net::TcpListener;

use super::authorization_server::SharedFamilies;

/// Starts the endpoint on loopback and returns where it listens; it lives as long as the runtime.
pub(super) async fn start(families: SharedFamilies) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new().fallback(complete).with_state(families);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn complete(State(families): State<SharedFamilies>, headers: HeaderMap) -> StatusCode {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let access_token = authorization.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if families.lock().is_valid(access_token, Instant::now()) { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
}
