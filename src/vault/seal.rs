//! Sealing: XChaCha20-Poly1305 over every secret the vault holds.
//!
//! Each sealed secret is bound to the place where it stands (table, row, column), so that none can be put in the
//! place of another. Nonces are random: 24 bytes make that safe for any number of secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::reason::VaultReason;
use crate::secret::Secret;
use crate::vault::failure::Failure;

/// First byte of a secret that is stored as it is.
const PLAIN: u8 = 0;
/// First byte of a sealed secret; the nonce and the ciphertext follow.
const SEALED: u8 = 1;
const NONCE: usize = 24;

/// The key that a vault is sealed with: 32 random bytes.
#[derive(Clone)]
pub struct EncryptionKey(Zeroizing<[u8; 32]>);

impl EncryptionKey {
    /// Reads base64 of exactly 32 bytes; `None` when it is anything else.
    pub fn parse(text: &Secret) -> Option<Self> {
        let bytes = Zeroizing::new(STANDARD.decode(text.expose().trim()).ok()?);
        Some(Self(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// A fresh key in base64; `None` when the system gives no randomness.
    pub fn generate() -> Option<Secret> {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(bytes.as_mut_slice()).ok()?;
        Some(Secret::new(STANDARD.encode(bytes.as_slice())))
    }
}

impl std::fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EncryptionKey(…)")
    }
}

/// How a vault keeps its secrets: as they are, or sealed.
#[derive(Clone, Default)]
pub(super) struct Seal(Option<XChaCha20Poly1305>);

/// The place where a secret stands. Names of gateways hold no slash, so no two rows share a name.
pub(super) fn place(table: &str, row: impl std::fmt::Display, column: &str) -> String {
    format!("{table}/{row}/{column}")
}

impl Seal {
    /// Seals with this key; without one, keeps things as they are.
    pub(super) fn with(key: Option<&EncryptionKey>) -> Self {
        Self(key.map(|key| XChaCha20Poly1305::new(&(*key.0).into())))
    }

    /// Whether it seals.
    pub(super) fn is_sealed(&self) -> bool {
        self.0.is_some()
    }

    /// Puts a secret into its stored form.
    pub(super) fn keep(&self, place: &str, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        let Some(cipher) = &self.0 else { return Ok([&[PLAIN], bytes].concat()) };
        let mut nonce = [0; NONCE];
        SystemRandom::new().fill(&mut nonce).map_err(|_| Failure::NoRandomness)?;
        let payload = Payload { msg: bytes, aad: place.as_bytes() };
        let sealed =
            cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| Failure::Damaged("a secret too long"))?;
        Ok([&[SEALED][..], &nonce, &sealed].concat())
    }

    /// Takes a secret out of its stored form.
    pub(super) fn take(&self, place: &str, stored: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        match (&self.0, stored.split_first()) {
            (None, Some((&PLAIN, bytes))) => Ok(Zeroizing::new(bytes.to_vec())),
            (None, Some((&SEALED, _))) => Err(VaultReason::WrongKey { configured: false }.into()),
            (Some(cipher), Some((&SEALED, rest))) => {
                let (nonce, sealed) =
                    rest.split_first_chunk::<NONCE>().ok_or(Failure::Damaged("a secret cut short"))?;
                let payload = Payload { msg: sealed, aad: place.as_bytes() };
                let opened = cipher.decrypt(&XNonce::from(*nonce), payload);
                opened.map(Zeroizing::new).map_err(|_| Failure::Damaged("a sealed secret was changed or moved"))
            }
            // Whoever can write the file, but has no key, could have put it there.
            (Some(_), Some((&PLAIN, _))) => Err(Failure::Damaged("a secret that is not sealed as the others are")),
            _ => Err(Failure::Damaged("a secret of unknown form")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> EncryptionKey {
        EncryptionKey::parse(&EncryptionKey::generate().unwrap()).unwrap()
    }

    #[test]
    fn a_sealed_secret_opens_in_its_own_place_with_its_own_key_only() {
        let (ours, theirs) = (Seal::with(Some(&key())), Seal::with(Some(&key())));
        let here = place("record", 1, "refresh_token");
        let sealed = ours.keep(&here, b"sentinel").unwrap();
        assert!(!sealed.windows(8).any(|window| window == b"sentinel"));
        assert_ne!(sealed, ours.keep(&here, b"sentinel").unwrap(), "nonces differ");
        assert_eq!(ours.take(&here, &sealed).ok().unwrap().as_slice(), b"sentinel");
        assert!(theirs.take(&here, &sealed).is_err());
        for elsewhere in [place("record", 2, "refresh_token"), place("record", 1, "candidate")] {
            assert!(ours.take(&elsewhere, &sealed).is_err());
        }
        let plain = Seal::default();
        assert!(matches!(
            plain.take(&here, &sealed),
            Err(Failure::Reason(VaultReason::WrongKey { configured: false }))
        ));
        assert!(ours.take(&here, &plain.keep(&here, b"planted").unwrap()).is_err());
        for damaged in [&b""[..], b"\x01", b"\x01short", b"\x02other"] {
            assert!(ours.take(&here, damaged).is_err());
        }
    }

    #[test]
    fn a_key_is_base64_of_exactly_32_bytes_and_is_never_shown() {
        for bytes in [0, 16, 31, 33, 64] {
            assert!(EncryptionKey::parse(&Secret::new(STANDARD.encode(vec![7; bytes]))).is_none(), "{bytes}");
        }
        assert!(EncryptionKey::parse(&Secret::new("not base64 at all, but 44 characters long ok")).is_none());
        let text = STANDARD.encode([7; 32]);
        let key = EncryptionKey::parse(&Secret::new(format!("{text}\n"))).unwrap();
        assert_eq!(format!("{key:?}"), "EncryptionKey(…)");
    }
}
