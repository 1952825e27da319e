//! HTTP clients: one for each way of connecting, shared by everything that connects in that way.
//!
//! A client follows no redirect, retries nothing and keeps no idle connection: whether a request was sent must never
//! be in doubt because of a connection that went stale in a pool.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::{Client, Proxy, redirect, retry};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::plan::Transport;
use crate::secret::{Secret, Values};

use trust::Trust;
pub use trust::roots;

mod trust;

/// What every request calls itself.
pub const USER_AGENT: &str = concat!("one-api-sidecar/", env!("CARGO_PKG_VERSION"));

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// A certificate file cannot be read or holds none.
    #[error("{}: {error}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// The words of the system or the parser.
        error: String,
    },
    /// The client's certificate and key do not go together, or the key cannot be read.
    #[error("client certificate: {0}")]
    ClientCertificate(String),
    /// The client could not be made.
    #[error("HTTP client: {0}")]
    Client(String),
}

/// Clients that were made already.
#[derive(Debug, Default)]
pub struct Clients {
    made: Mutex<HashMap<(Transport, Option<Secret>), Client>>,
}

impl Clients {
    /// The client for this way of connecting; `values` holds the client certificate's key, where one is configured.
    ///
    /// # Errors
    /// When a certificate or key cannot be used. Nothing was sent.
    pub fn get(&self, transport: &Transport, values: &Values) -> Result<Client, TransportError> {
        let key = transport.client_cert.as_ref().and_then(|(_, source)| values.get(source)).cloned();
        let wanted = (transport.clone(), key);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = made.get(&wanted) {
            return Ok(client.clone());
        }
        let client = client(&wanted.0, wanted.1.as_ref())?;
        made.insert(wanted, client.clone());
        Ok(client)
    }

    /// Forgets them all: certificates are read again.
    pub fn forget(&self) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Makes a client; `key` is the client certificate's, where one is configured.
///
/// # Errors
/// When a certificate or key cannot be used.
pub fn client(transport: &Transport, key: Option<&Secret>) -> Result<Client, TransportError> {
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls(transport, key)?)
        .connect_timeout(transport.connect_timeout)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .pool_max_idle_per_host(0)
        .user_agent(USER_AGENT);
    if let Some(proxy) = &transport.proxy {
        let proxy = Proxy::all(proxy.clone()).map_err(|error| TransportError::Client(plain(error)))?;
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|error| TransportError::Client(plain(error)))
}

/// Reads an answer's body, at most so many bytes of it; says whether that cut it.
///
/// # Errors
/// When it does not come to its end.
pub async fn body(response: &mut reqwest::Response, most: usize) -> reqwest::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = most - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok((body, true));
        }
    }
    Ok((body, false))
}

/// An HTTP error and its causes in words, without the address, which may hold a secret.
pub fn plain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words = format!("{words}: {cause_words}");
        }
        source = cause.source();
    }
    words
}

fn tls(transport: &Transport, key: Option<&Secret>) -> Result<ClientConfig, TransportError> {
    let mut own = RootCertStore::empty();
    if let Some(path) = &transport.ca_file {
        let (added, _) = own.add_parsable_certificates(certificates(path)?);
        if added == 0 {
            let error = "no certificate in it".to_owned();
            return Err(TransportError::Certificates { path: path.clone(), error });
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| TransportError::Client(error.to_string()))?
        .dangerous() // only in that the roots are read later; the check is rustls's own
        .with_custom_certificate_verifier(Arc::new(Trust::new(own, provider)));
    let mut config = match (&transport.client_cert, key) {
        (Some((path, _)), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
                .map_err(|_| TransportError::ClientCertificate("client_key holds no private key in PEM".into()))?;
            builder
                .with_client_auth_cert(certificates(path)?, key)
                .map_err(|error| TransportError::ClientCertificate(error.to_string()))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let failed = |error: String| TransportError::Certificates { path: path.to_owned(), error };
    CertificateDer::pem_file_iter(path)
        .map_err(|error| failed(error.to_string()))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(error.to_string()))
}
