//! The authorization code grant for programs on a person's machine (RFC 6749 §4.1, RFC 8252), with PKCE (RFC 7636).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use url::Url;

use super::sane;
use crate::reason::LoginReason;
use crate::secret::Secret;

/// The `grant_type` of the token request.
pub const GRANT_TYPE: &str = "authorization_code";

/// One try, which only the answer with its `state` can end.
#[derive(Debug)]
pub struct Attempt {
    verifier: Secret,
    state: String,
    redirect_uri: String,
    issuer: Option<Url>,
}

impl Attempt {
    /// Begins one, from 32 and 16 random bytes.
    pub fn new(verifier: [u8; 32], state: [u8; 16], redirect_uri: String, issuer: Option<Url>) -> Self {
        let [verifier, state] = [URL_SAFE_NO_PAD.encode(verifier), URL_SAFE_NO_PAD.encode(state)];
        Self { verifier: Secret::new(verifier), state, redirect_uri, issuer }
    }

    /// Where the person's browser is to go (RFC 6749 §4.1.1, RFC 7636 §4.3). The endpoint's own query stays.
    pub fn address(&self, endpoint: &Url, client_id: Option<&str>, scope: Option<&str>) -> Url {
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, self.verifier.expose().as_bytes()));
        let own = [
            ("response_type", Some("code")),
            ("client_id", client_id),
            ("redirect_uri", Some(&*self.redirect_uri)),
            ("scope", scope),
            ("state", Some(&*self.state)),
            ("code_challenge", Some(&*challenge)),
            ("code_challenge_method", Some("S256")),
        ];
        let mut url = endpoint.clone();
        url.query_pairs_mut().extend_pairs(own.into_iter().filter_map(|(name, value)| Some((name, value?))));
        url
    }

    /// The code out of the address that the browser was sent back to: the whole address or its query.
    ///
    /// # Errors
    /// When it belongs to no attempt or another one (RFC 6749 §10.12), or the server refused.
    pub fn code(&self, came_back: &str) -> Result<Secret, LoginReason> {
        let query = came_back.trim().split_once('?').map_or(came_back.trim(), |(_, query)| query);
        let query = query.split('#').next().unwrap_or_default();
        let found = |name: &str| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        if found("state").as_ref() != Some(&self.state) {
            return Err(LoginReason::NotOurs);
        }
        // Whoever names itself must be the one that was asked (RFC 9207 §2.4).
        if let (Some(issuer), Some(came)) = (&self.issuer, found("iss"))
            && came.trim_end_matches('/') != issuer.as_str().trim_end_matches('/')
        {
            return Err(LoginReason::OtherIssuer { host: issuer.host_str().unwrap_or_default().to_owned() });
        }
        match (found("code"), found("error")) {
            (Some(code), _) if !code.is_empty() => Ok(Secret::new(code)),
            (_, Some(error)) if error == "access_denied" => Err(LoginReason::Denied),
            (_, Some(error)) => Err(LoginReason::Refused { code: Some(error).filter(|error| sane(error)) }),
            _ => Err(LoginReason::NotOurs),
        }
    }

    /// The parameters of the token request (RFC 6749 §4.1.3, RFC 7636 §4.5).
    pub fn grant<'a>(&'a self, code: &'a Secret) -> [(&'static str, &'a str); 4] {
        [
            ("grant_type", GRANT_TYPE),
            ("code", code.expose()),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", self.verifier.expose()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> Attempt {
        let issuer = Some("https://a.example".parse().unwrap());
        Attempt::new([7; 32], [9; 16], "http://127.0.0.1:7/callback".into(), issuer)
    }

    #[test]
    fn the_browsers_address_holds_the_challenge_and_never_the_verifier() {
        let endpoint = "https://a.example/auth?access_type=offline".parse().unwrap();
        let url = attempt().address(&endpoint, Some("app"), Some("openid offline_access"));
        assert_eq!(
            url.as_str(),
            "https://a.example/auth?access_type=offline&response_type=code&client_id=app&\
             redirect_uri=http%3A%2F%2F127.0.0.1%3A7%2Fcallback&scope=openid+offline_access&\
             state=CQkJCQkJCQkJCQkJCQkJCQ&code_challenge=3Ev4DHdHPRMPoN6GukAY_pi7IUAF5qWJHRK6kURvnoE&\
             code_challenge_method=S256"
        );
        assert!(!url.as_str().contains(attempt().verifier.expose()));
    }

    /// The example of RFC 7636, appendix B.
    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        let verifier = URL_SAFE_NO_PAD.decode("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
        let attempt = Attempt::new(verifier.try_into().unwrap(), [0; 16], "x:/".into(), None);
        let url = attempt.address(&"https://a.example/".parse().unwrap(), None, None);
        assert!(url.as_str().contains("code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&"), "{url}");
    }

    #[test]
    fn only_the_answer_to_this_attempt_is_taken() {
        let attempt = attempt();
        let state = "state=CQkJCQkJCQkJCQkJCQkJCQ";
        for whole in [
            format!("http://127.0.0.1:7/callback?code=c%2F1&{state}"),
            format!("com.example://back?{state}&code=c%2F1#_"),
            format!(" code=c%2F1&{state}&iss=https%3A%2F%2Fa.example\n"),
        ] {
            assert_eq!(attempt.code(&whole), Ok(Secret::new("c/1")), "{whole}");
        }
        let refused = |code: Option<&str>| LoginReason::Refused { code: code.map(str::to_owned) };
        for (back, reason) in [
            ("?code=c".to_owned(), LoginReason::NotOurs),
            ("?code=c&state=other".to_owned(), LoginReason::NotOurs),
            (format!("?{state}"), LoginReason::NotOurs),
            (
                format!("?code=c&{state}&iss=https://evil.example"),
                LoginReason::OtherIssuer { host: "a.example".into() },
            ),
            (format!("?error=access_denied&{state}"), LoginReason::Denied),
            (format!("?error=invalid_scope&{state}"), refused(Some("invalid_scope"))),
            (format!("?error=a%20sentence&{state}"), refused(None)),
            ("sentinel".to_owned(), LoginReason::NotOurs),
        ] {
            assert_eq!(attempt.code(&back), Err(reason), "{back}");
        }
    }
}
