//! Certificates of an authority of our own, and a TLS front before any plain listener.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::proxy::listen;

/// Years of validity.
type Years = (i32, i32);
const NOW: Years = (2020, 2090);
const LONG_AGO: Years = (2001, 2002);

/// An authority that the machine does not know.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes the authority's certificate, for `ca_file`.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.0.pem()).unwrap();
    }

    /// A good certificate for a host.
    pub fn identity(&self, host: &str) -> Identity {
        self.issue(host, NOW)
    }

    /// A certificate whose time is over.
    pub fn expired(&self, host: &str) -> Identity {
        self.issue(host, LONG_AGO)
    }

    fn issue(&self, host: &str, (from, to): Years) -> Identity {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        Identity { certificate: params.signed_by(&key, &self.0).unwrap(), key }
    }
}

impl Identity {
    /// Writes the certificate and the key, for `client_cert` and `client_key`.
    pub fn write(&self, certificate: &Path, key: &Path) {
        std::fs::write(certificate, self.certificate.pem()).unwrap();
        std::fs::write(key, self.key.serialize_pem()).unwrap();
    }
}

/// A TLS server that hands what it decrypts to a plain one; it ends when it is dropped.
pub struct TlsFront {
    pub address: SocketAddr,
    refused: Arc<AtomicUsize>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl TlsFront {
    /// Before `behind`, as this identity; with `clients`, only for clients that this authority knows.
    pub fn start(identity: &Identity, clients: Option<&Authority>, behind: SocketAddr) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = match clients {
            None => builder.unwrap().with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.0.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.unwrap().with_client_cert_verifier(verifier.unwrap())
            }
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.serialize_der()));
        let config = builder.with_single_cert(vec![identity.certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let refused = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&refused);
        let (address, stop) = listen(move |stream| {
            let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
            async move {
                match acceptor.accept(stream).await {
                    Ok(mut inside) => {
                        let mut behind = TcpStream::connect(behind).await?;
                        tokio::io::copy_bidirectional(&mut inside, &mut behind).await.map(drop)
                    }
                    Err(error) => {
                        count.fetch_add(1, Ordering::SeqCst);
                        Err(error)
                    }
                }
            }
        });
        Self { address, refused, _stop: stop }
    }

    /// The address of a path.
    pub fn url_of(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// How many clients did not come through the handshake.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}
