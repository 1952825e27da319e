//! A plan and a record to start tests from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::plan::{
    Backoff, ClientAuth, CredentialPlan, Encoding, Endpoint, Grant, LoginPlan, Method, OnLostAnswer, ResponsePointers,
    Transport,
};
use crate::credential::record::{AccessGrant, Record, RecordId};
use crate::secret::{Secret, SecretSource};
use crate::time::Timestamp;

/// The moment around which the tests play, in Unix seconds.
pub const START: i64 = 1_800_000_000;

/// A moment, in seconds from [`START`].
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(START + seconds)
}

/// A credential with every default.
pub fn plan() -> CredentialPlan {
    CredentialPlan {
        name: "openai".into(),
        preset: None,
        enabled: true,
        grant: Grant::RefreshToken { seed: Some(SecretSource::Env("SEED".into())) },
        endpoint: Arc::new(Endpoint {
            url: "https://auth.example.com/oauth/token".parse().unwrap(),
            method: Method::Post,
            encoding: Encoding::Form,
            auth: ClientAuth::None,
            client_id: Some("app".into()),
            client_secret: None,
            scope: None,
            params: BTreeMap::new(),
            param_names: BTreeMap::new(),
            headers: Vec::new(),
            response: ResponsePointers::default(),
            timeout: Duration::from_secs(30),
            transport: Transport {
                connect_timeout: Duration::from_secs(10),
                proxy: None,
                ca_file: None,
                client_cert: None,
            },
        }),
        channels: Vec::new(),
        refresh_before: Duration::from_secs(300),
        fallback_lifetime: Duration::from_secs(3600),
        rotates: None,
        revokes_previous: false,
        on_lost_answer: OnLostAnswer::AskLate,
        backoff: Backoff { min: Duration::from_secs(1), max: Duration::from_secs(300) },
        login: LoginPlan::default().into(),
    }
}

/// An access token that was issued at [`START`] and lives so long.
pub fn grant(lifetime: Duration) -> AccessGrant {
    AccessGrant {
        token: Secret::new("access-1"),
        id_token: None,
        fields: BTreeMap::new(),
        issued_at: at(0),
        expires_at: at(0) + lifetime,
        lifetime_assumed: false,
    }
}

/// A record with a refresh token and an access token that lives an hour.
pub fn record() -> Record {
    let mut record = Record::new(RecordId(1), &plan());
    record.refresh_token = Some(Secret::new("refresh-1"));
    record.access = Some(grant(Duration::from_secs(3600)));
    record.state.generation = 1;
    record
}
