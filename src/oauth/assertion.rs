//! The signed assertion of the jwt_bearer grant (RFC 7523 §3), made from the plan, the key and the time.
//!
//! A JWT that is only ever signed needs no JWT library: two JSON objects and one signature, which `ring` makes. Pure,
//! but for the randomness that the signatures themselves ask for.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::config::plan::{Algorithm, Assertion, Endpoint};
use crate::secret::Secret;
use crate::time::Timestamp;

/// How long an assertion is valid, in seconds. It is sent at once; some servers refuse those that live longer.
const LIFETIME: i64 = 180;

/// An assertion that is ready to be sent.
pub struct Signed {
    /// The JWT.
    pub jwt: Secret,
    /// Whether the key came as a service account, whose server reads the scope in the assertion alone.
    pub is_service_account: bool,
}

/// Why there is no assertion: nothing was sent. Tells nothing of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// Neither open PEM nor the JSON of a service account.
    #[error("assertion.key is neither a private key in PEM (without a passphrase) nor the JSON of a service account")]
    Key,
    /// Not of the kind that the algorithm signs with.
    #[error("assertion.key is no RSA key of at least 2048 bits, as algorithm = \"RS256\" needs it")]
    NotRsa,
    /// Not of the kind that the algorithm signs with, or without the public half that `ring` compares.
    #[error(
        "assertion.key is no P-256 key with its public half, as algorithm = \"ES256\" needs it; \
         `openssl ec -in KEY -out NEW` adds that half, and refuses other kinds"
    )]
    NotP256,
    /// Nothing says who signs.
    #[error("assertion.issuer is missing: only a service-account JSON says it by itself")]
    NoIssuer,
    /// The system gave no randomness.
    #[error("signing failed")]
    Signing,
}

/// What is read of a service-account file.
///
/// <https://developers.google.com/identity/protocols/oauth2/service-account>
#[derive(Deserialize)]
struct ServiceAccount {
    client_email: String,
    private_key: Zeroizing<String>,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

/// Signs an assertion for a request that leaves now.
///
/// # Errors
/// When the key cannot be used, or something that the claims need is missing.
pub fn sign(plan: &Assertion, endpoint: &Endpoint, key: &Secret, now: Timestamp) -> Result<Signed, AssertionError> {
    let account: Option<ServiceAccount> = serde_json::from_str(key.expose()).ok();
    let pem = account.as_ref().map_or(key.expose(), |account| account.private_key.as_str());
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| AssertionError::Key)?;

    let of_account = |field: fn(&ServiceAccount) -> Option<&str>| account.as_ref().and_then(field);
    let issuer = plan.issuer.as_deref().or_else(|| of_account(|account| Some(&account.client_email)));
    let issuer = issuer.ok_or(AssertionError::NoIssuer)?;
    let audience = plan.audience.as_deref().or_else(|| of_account(|account| account.token_uri.as_deref()));
    let key_id = plan.key_id.as_deref().or_else(|| of_account(|account| account.private_key_id.as_deref()));

    let algorithm = match plan.algorithm {
        Algorithm::Rs256 => "RS256",
        Algorithm::Es256 => "ES256",
    };
    let mut header = Map::from_iter([("alg".into(), json!(algorithm)), ("typ".into(), json!("JWT"))]);
    header.extend(key_id.map(|id| ("kid".into(), json!(id))));
    let subject = plan.subject.as_deref().unwrap_or(issuer);
    let issued_at = now.as_seconds();
    let mut claims = Map::from_iter([
        ("iss".into(), json!(issuer)),
        ("sub".into(), json!(subject)),
        ("aud".into(), json!(audience.unwrap_or(endpoint.url.as_str()))),
        ("iat".into(), json!(issued_at)),
        ("exp".into(), json!(issued_at + LIFETIME)),
    ]);
    // Google reads the scope here; who does not know the claim ignores it (RFC 7519 §4).
    claims.extend(endpoint.scope.as_ref().map(|scope| ("scope".into(), json!(scope))));
    claims.insert("jti".into(), json!(identifier(&claims, now)));

    let part = |object: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(object).to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(signature(plan.algorithm, &key, signed.as_bytes())?);
    Ok(Signed { jwt: Secret::new(format!("{signed}.{signature}")), is_service_account: account.is_some() })
}

/// Names an assertion, for servers that take each once only: no two are alike in their claims and their millisecond.
fn identifier(claims: &Map<String, Value>, now: Timestamp) -> String {
    let text = format!("{} {}", Value::Object(claims.clone()), now.as_millis());
    URL_SAFE_NO_PAD.encode(&digest(&SHA256, text.as_bytes()).as_ref()[..16])
}

fn signature(algorithm: Algorithm, key: &PrivateKeyDer<'_>, text: &[u8]) -> Result<Vec<u8>, AssertionError> {
    let random = SystemRandom::new();
    match algorithm {
        Algorithm::Rs256 => {
            let pair = match key {
                PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
                PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
                _ => return Err(AssertionError::NotRsa),
            };
            let pair = pair.map_err(|_| AssertionError::NotRsa)?;
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).map_err(|_| AssertionError::Signing)?;
            Ok(signature)
        }
        Algorithm::Es256 => {
            let pkcs8 = match key {
                PrivateKeyDer::Pkcs8(key) => Zeroizing::new(key.secret_pkcs8_der().to_vec()),
                PrivateKeyDer::Sec1(key) => pkcs8_of_p256(key.secret_sec1_der()),
                _ => return Err(AssertionError::NotP256),
            };
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random)
                .map_err(|_| AssertionError::NotP256)?;
            let signature = pair.sign(&random, text).map_err(|_| AssertionError::Signing)?;
            Ok(signature.as_ref().to_vec())
        }
    }
}

/// What `openssl ecparam -genkey` writes (SEC1, RFC 5915), in the envelope that `ring` reads (PKCS#8, RFC 5958 §2). A key
/// of another curve says so itself, and is refused there.
fn pkcs8_of_p256(sec1: &[u8]) -> Zeroizing<Vec<u8>> {
    /// Version 0; the algorithm: id-ecPublicKey, prime256v1.
    const BEFORE: &[u8] =
        b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    let key = der(0x04, &[sec1]);
    der(0x30, &[BEFORE, &key])
}

/// One value of ASN.1 in DER, made of these bytes.
fn der(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    // No key is longer; what is longer gets a wrong length, and is refused like all that is no key.
    let length = u16::try_from(parts.iter().map(|part| part.len()).sum::<usize>()).unwrap_or(u16::MAX);
    let mut value = Zeroizing::new(vec![tag]);
    match length.to_be_bytes() {
        [0, low @ 0..0x80] => value.push(low),
        [0, low] => value.extend([0x81, low]),
        [high, low] => value.extend([0x82, high, low]),
    }
    parts.iter().for_each(|part| value.extend(*part));
    value
}

#[cfg(test)]
mod tests;
