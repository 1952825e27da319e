//! Assertions as a server would check them: by their signature, then by their claims.

use ring::signature::{ECDSA_P256_SHA256_FIXED, KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

use super::*;
use crate::credential::sample::{START, at, plan as credential};
use crate::secret::SecretSource;

/// Made for these tests by `openssl genrsa 2048`; nobody trusts it.
const RSA: &str = include_str!("../../../tests/fixtures/keys/rsa.pem");
/// The same key in PKCS#1.
const RSA_PKCS1: &str = include_str!("../../../tests/fixtures/keys/rsa-pkcs1.pem");
/// `openssl ecparam -name prime256v1 -genkey | openssl pkcs8 -topk8 -nodes`.
const P256: &str = include_str!("../../../tests/fixtures/keys/p256.pem");

/// The same key as `openssl ec` writes it (SEC1), as `openssl ecparam -genkey` does (its parameters first), and without
/// its public half.
const P256_SEC1: &str = include_str!("../../../tests/fixtures/keys/p256-sec1.pem");
const P256_ECPARAM: &str = include_str!("../../../tests/fixtures/keys/p256-ecparam.pem");
const P256_HALF: &str = include_str!("../../../tests/fixtures/keys/p256-half.pem");
/// `openssl ecparam -name secp384r1 -genkey -noout`.
const P384_SEC1: &str = include_str!("../../../tests/fixtures/keys/p384-sec1.pem");

fn plan(algorithm: Algorithm) -> Assertion {
    Assertion {
        key: SecretSource::Env("KEY".into()),
        issuer: Some("me".into()),
        subject: None,
        audience: None,
        key_id: None,
        algorithm,
    }
}

fn signed(plan: &Assertion, scope: Option<&str>, key: &str) -> Result<Signed, AssertionError> {
    let mut endpoint = Endpoint::clone(&credential().endpoint);
    endpoint.scope = scope.map(str::to_owned);
    sign(plan, &endpoint, &Secret::new(key), at(0))
}

/// Header, claims, and whether the signature is by this key.
fn checked(jwt: &Secret, algorithm: Algorithm) -> (Value, Value) {
    let parts: Vec<&str> = jwt.expose().split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("three parts") };
    let message = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let PrivateKeyDer::Pkcs8(key) = PrivateKeyDer::from_pem_slice(pem(algorithm).as_bytes()).unwrap() else { panic!() };
    let der = key.secret_pkcs8_der();
    match algorithm {
        Algorithm::Rs256 => {
            let public = RsaKeyPair::from_pkcs8(der).unwrap().public_key().as_ref().to_vec();
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public).verify(message.as_bytes(), &signature).unwrap();
        }
        Algorithm::Es256 => {
            let random = SystemRandom::new();
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random).unwrap();
            let public = pair.public_key().as_ref().to_vec();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public).verify(message.as_bytes(), &signature).unwrap();
        }
    }
    let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    (json(header), json(claims))
}

fn pem(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Rs256 => RSA,
        Algorithm::Es256 => P256,
    }
}

#[test]
fn both_algorithms_sign_the_claims_of_the_rfc() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256] {
        let made = signed(&plan(algorithm), None, pem(algorithm)).unwrap();
        assert!(!made.is_service_account);
        let (header, mut claims) = checked(&made.jwt, algorithm);
        let name = if algorithm == Algorithm::Rs256 { "RS256" } else { "ES256" };
        assert_eq!(header, json!({"alg": name, "typ": "JWT"}));
        assert!(claims["jti"].take().as_str().is_some_and(|id| id.len() == 22));
        let expected = json!({
            "iss": "me", "sub": "me", "aud": "https://auth.example.com/oauth/token",
            "iat": START, "exp": START + LIFETIME, "jti": null,
        });
        assert_eq!(claims, expected);
    }
}

#[test]
fn keys_are_taken_as_openssl_writes_them() {
    for key in [P256, P256_SEC1, P256_ECPARAM] {
        // Checked by the public key of the first.
        checked(&signed(&plan(Algorithm::Es256), None, key).unwrap().jwt, Algorithm::Es256);
    }
    for key in [RSA, RSA_PKCS1] {
        checked(&signed(&plan(Algorithm::Rs256), None, key).unwrap().jwt, Algorithm::Rs256);
    }
}

#[test]
fn what_the_config_says_stands_in_the_claims() {
    let mut plan = plan(Algorithm::Rs256);
    plan.subject = Some("user@example.com".into());
    plan.audience = Some("https://elsewhere.example.com".into());
    plan.key_id = Some("k1".into());
    let (header, claims) = checked(&signed(&plan, Some("a b"), RSA_PKCS1).unwrap().jwt, Algorithm::Rs256);
    assert_eq!(header["kid"], "k1");
    assert_eq!(claims["sub"], "user@example.com");
    assert_eq!(claims["aud"], "https://elsewhere.example.com");
    assert_eq!(claims["scope"], "a b");
}

#[test]
fn a_service_account_says_it_all_by_itself_and_the_config_wins() {
    let account = json!({
        "type": "service_account", "project_id": "p", "private_key_id": "k9", "private_key": RSA,
        "client_email": "robot@p.iam.example.com", "token_uri": "https://oauth2.example.com/token",
    })
    .to_string();
    let mut plan = plan(Algorithm::Rs256);
    plan.issuer = None;
    let made = signed(&plan, None, &account).unwrap();
    assert!(made.is_service_account);
    let (header, claims) = checked(&made.jwt, Algorithm::Rs256);
    assert_eq!((&header["kid"], &claims["iss"]), (&json!("k9"), &json!("robot@p.iam.example.com")));
    assert_eq!(claims["aud"], "https://oauth2.example.com/token");
    plan.issuer = Some("me".into());
    let (_, claims) = checked(&signed(&plan, None, &account).unwrap().jwt, Algorithm::Rs256);
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("me"), &json!("me")));
}

#[test]
fn no_two_assertions_are_alike() {
    let endpoint = credential().endpoint;
    let made = |plan: &Assertion, milliseconds| {
        let now = crate::time::Timestamp::from_millis(START * 1000 + milliseconds);
        let jwt = sign(plan, &endpoint, &Secret::new(RSA), now).unwrap().jwt;
        checked(&jwt, Algorithm::Rs256).1["jti"].clone()
    };
    let mut other = plan(Algorithm::Rs256);
    other.subject = Some("other".into());
    let plan = plan(Algorithm::Rs256);
    assert_ne!(made(&plan, 0), made(&plan, 1));
    assert_ne!(made(&plan, 0), made(&other, 0));
}

#[test]
fn an_unusable_key_is_told_without_being_shown() {
    let mut nameless = plan(Algorithm::Rs256);
    nameless.issuer = None;
    for (plan, key, expected) in [
        (plan(Algorithm::Rs256), "sentinel", AssertionError::Key),
        (plan(Algorithm::Rs256), r#"{"private_key":"sentinel","client_email":"sentinel"}"#, AssertionError::Key),
        (plan(Algorithm::Rs256), P256, AssertionError::NotRsa),
        (plan(Algorithm::Es256), RSA, AssertionError::NotP256),
        (plan(Algorithm::Es256), RSA_PKCS1, AssertionError::NotP256),
        (plan(Algorithm::Es256), P384_SEC1, AssertionError::NotP256),
        (plan(Algorithm::Es256), P256_HALF, AssertionError::NotP256),
        (plan(Algorithm::Rs256), P256_SEC1, AssertionError::NotRsa),
        (nameless, RSA, AssertionError::NoIssuer),
    ] {
        let error = signed(&plan, None, key).err();
        assert_eq!(error, Some(expected), "{key}");
        assert!(!expected.to_string().contains("sentinel"));
    }
}
