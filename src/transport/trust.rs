//! Who is believed to be who they say: the system's roots, read when the first handshake asks for them.
//!
//! Reading a hundred and more certificates takes longer than a refresh. A command that asks nobody, or only an endpoint
//! in the same network without TLS, does not wait for it, and does not keep them in memory.

use std::sync::{Arc, LazyLock, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// The system's roots; in an empty container, where there are none, Mozilla's as they were at build time. Reads them
/// each time, for what speaks TLS without HTTP.
pub fn roots() -> Vec<CertificateDer<'static>> {
    let can_be_used = |root: &CertificateDer<'static>| RootCertStore::empty().add(root.clone()).is_ok();
    let native: Vec<_> = rustls_native_certs::load_native_certs().certs.into_iter().filter(can_be_used).collect();
    if native.is_empty() { webpki_root_certs::TLS_SERVER_ROOT_CERTS.to_vec() } else { native }
}

static ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots());
    Arc::new(store)
});

/// rustls's check of a server's certificate against the system's roots and those of a `ca_file`.
#[derive(Debug)]
pub(super) struct Trust {
    own: RootCertStore,
    provider: Arc<CryptoProvider>,
    check: OnceLock<Result<Arc<WebPkiServerVerifier>, Error>>,
}

impl Trust {
    /// `own` are trusted beside the system's.
    pub(super) fn new(own: RootCertStore, provider: Arc<CryptoProvider>) -> Self {
        Self { own, provider, check: OnceLock::new() }
    }

    fn check(&self) -> Result<&WebPkiServerVerifier, Error> {
        let made = self.check.get_or_init(|| {
            let mut roots = ROOTS.clone();
            if !self.own.is_empty() {
                Arc::make_mut(&mut roots).roots.extend_from_slice(&self.own.roots);
            }
            WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone())
                .build()
                .map_err(|error| Error::General(error.to_string()))
        });
        made.as_deref().map_err(Clone::clone)
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check()?.verify_server_cert(server, between, name, stapled, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, server, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, server, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
