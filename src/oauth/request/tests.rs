//! The exact bytes of a request, for every encoding and way of proving who the client is.

use std::sync::Arc;

use super::*;
use crate::credential::sample::{at, plan};

fn secret(name: &str) -> SecretSource {
    SecretSource::Env(name.into())
}

/// A client with a secret whose characters every encoding has to escape.
fn with_secret(auth: ClientAuth) -> CredentialPlan {
    let mut plan = plan();
    Arc::make_mut(&mut plan.endpoint).auth = auth;
    Arc::make_mut(&mut plan.endpoint).client_id = Some("app: 1".into());
    Arc::make_mut(&mut plan.endpoint).client_secret = Some(secret("CLIENT"));
    plan
}

fn values() -> Values {
    [("CLIENT", "s&c=r%t+\""), ("ORG", "o-1"), ("PIN", "p\"1")]
        .map(|(name, value)| (secret(name), Secret::new(value)))
        .into()
}

fn made(plan: &CredentialPlan) -> TokenRequest {
    let token = Secret::new("r/1+2=");
    let token = matches!(plan.grant, Grant::RefreshToken { .. }).then_some(&token);
    request(plan, token, &values(), at(0)).unwrap_or_else(|error| panic!("{error}"))
}

fn body(request: &TokenRequest) -> &str {
    std::str::from_utf8(&request.body).unwrap()
}

fn header<'r>(request: &'r TokenRequest, name: &str) -> Option<&'r str> {
    request.headers.get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn a_form_is_sorted_and_escaped() {
    let mut plan = plan();
    Arc::make_mut(&mut plan.endpoint).scope = Some("openid offline_access".into());
    let request = made(&plan);
    assert_eq!(request.url.as_str(), "https://auth.example.com/oauth/token");
    assert_eq!(header(&request, "content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(header(&request, "accept"), Some("application/json"));
    assert_eq!(header(&request, "authorization"), None);
    assert_eq!(
        body(&request),
        "client_id=app&grant_type=refresh_token&refresh_token=r%2F1%2B2%3D&scope=openid+offline_access"
    );
}

#[test]
fn json_is_one_flat_object() {
    let mut plan = with_secret(ClientAuth::ClientSecretPost);
    Arc::make_mut(&mut plan.endpoint).encoding = Encoding::Json;
    let request = made(&plan);
    assert_eq!(header(&request, "content-type"), Some("application/json"));
    assert_eq!(
        body(&request),
        r#"{"client_id":"app: 1","client_secret":"s&c=r%t+\"","grant_type":"refresh_token","refresh_token":"r/1+2="}"#
    );
}

#[test]
fn in_the_query_there_is_no_body_and_the_addresss_own_query_stays() {
    let mut plan = with_secret(ClientAuth::ClientSecretPost);
    Arc::make_mut(&mut plan.endpoint).url = "https://auth.example.com/token?version=2".parse().unwrap();
    for (method, encoding) in [(Method::Post, Encoding::Query), (Method::Get, Encoding::Query)] {
        let endpoint = Arc::make_mut(&mut plan.endpoint);
        (endpoint.method, endpoint.encoding) = (method, encoding);
        let request = made(&plan);
        assert_eq!(
            request.url.as_str(),
            "https://auth.example.com/token?version=2&client_id=app%3A+1&client_secret=s%26c%3Dr%25t%2B%22&\
             grant_type=refresh_token&refresh_token=r%2F1%2B2%3D"
        );
        assert!(request.body.is_empty() && request.method == method);
        assert_eq!(header(&request, "content-type"), None);
    }
}

#[test]
fn basic_encodes_both_parts_first_and_keeps_them_out_of_the_body() {
    // RFC 6749 §2.3.1: app%3A+1 : s%26c%3Dr%25t%2B%22
    let request = made(&with_secret(ClientAuth::ClientSecretBasic));
    let expected = format!("Basic {}", STANDARD.encode("app%3A+1:s%26c%3Dr%25t%2B%22"));
    assert_eq!(header(&request, "authorization"), Some(expected.as_str()));
    assert!(request.headers["authorization"].is_sensitive());
    assert_eq!(body(&request), "grant_type=refresh_token&refresh_token=r%2F1%2B2%3D");
}

#[test]
fn params_are_sent_as_they_are_and_standard_ones_under_their_other_names() {
    let mut plan = with_secret(ClientAuth::ClientSecretPost);
    Arc::make_mut(&mut plan.endpoint).encoding = Encoding::Json;
    Arc::make_mut(&mut plan.endpoint).params = BTreeMap::from([
        ("audience".into(), TextOrSecret::Text("https://api.example.com/".into())),
        ("pin".into(), TextOrSecret::Secret(secret("PIN"))),
    ]);
    let names = [
        ("client_id", "clientId"),
        ("client_secret", "clientSecret"),
        ("grant_type", "grantType"),
        ("refresh_token", "refreshToken"),
    ];
    Arc::make_mut(&mut plan.endpoint).param_names = names.map(|(from, to)| (from.to_owned(), to.to_owned())).into();
    assert_eq!(
        body(&made(&plan)),
        r#"{"audience":"https://api.example.com/","clientId":"app: 1","clientSecret":"s&c=r%t+\"","grantType":"refresh_token","pin":"p\"1","refreshToken":"r/1+2="}"#
    );
}

#[test]
fn headers_of_the_config_win_over_ours_and_are_never_shown() {
    let mut plan = plan();
    Arc::make_mut(&mut plan.endpoint).headers = vec![
        (ACCEPT, TextOrSecret::Text("application/vnd.example+json".into())),
        ("x-org".parse().unwrap(), TextOrSecret::Secret(secret("ORG"))),
    ];
    let request = made(&plan);
    assert_eq!(header(&request, "accept"), Some("application/vnd.example+json"));
    assert_eq!(header(&request, "x-org"), Some("o-1"));
    assert!(!format!("{:?}", request.headers).contains("o-1"));
}

#[test]
fn client_credentials_send_no_refresh_token_and_a_client_may_have_no_name() {
    let mut plan = plan();
    plan.grant = Grant::ClientCredentials;
    Arc::make_mut(&mut plan.endpoint).client_id = None;
    assert_eq!(body(&made(&plan)), "grant_type=client_credentials");
}

#[test]
fn what_cannot_be_sent_is_told_without_its_value() {
    let plan = with_secret(ClientAuth::ClientSecretPost);
    let missing = request(&plan, None, &Values::new(), at(0)).err();
    assert_eq!(missing, Some(RequestError::Missing("env:CLIENT".into())));
    let mut plan = super::tests::plan();
    Arc::make_mut(&mut plan.endpoint).headers = vec![("x-org".parse().unwrap(), TextOrSecret::Secret(secret("ORG")))];
    let values = Values::from([(secret("ORG"), Secret::new("sentinel\n"))]);
    let refused = request(&plan, None, &values, at(0)).err();
    assert_eq!(refused, Some(RequestError::Header("x-org".into())));
}

#[test]
fn every_secret_that_a_request_needs_is_named() {
    let mut plan = with_secret(ClientAuth::ClientSecretPost);
    Arc::make_mut(&mut plan.endpoint).params.insert("pin".into(), TextOrSecret::Secret(secret("PIN")));
    Arc::make_mut(&mut plan.endpoint).headers = vec![("x-org".parse().unwrap(), TextOrSecret::Secret(secret("ORG")))];
    Arc::make_mut(&mut plan.endpoint).transport.client_cert = Some(("cert.pem".into(), secret("KEY")));
    assert_eq!(sources(&plan), [&secret("CLIENT"), &secret("PIN"), &secret("ORG"), &secret("KEY")]);
}
