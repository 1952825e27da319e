//! Token endpoints and their answers in English.

use crate::messages::{Message, address, moment};
use crate::reason::TokenReason;

const GOES_ON: &str = "It is tried again by itself.";

pub(super) fn explain(reason: &TokenReason, name: &str) -> Message {
    let authorize = format!(
        "Authorize again: put a fresh refresh token where the credential's `refresh_token` points, or run \
         `one-api-sidecar login {name}`."
    );
    match reason {
        TokenReason::NotSent { host, error } => Message::new(
            format!("{host} could not be reached, nothing was sent: {error}."),
            format!("Check this machine's network, DNS and `proxy`: `curl -v {}`. {GOES_ON}", address(host)),
        ),
        TokenReason::NotMade { detail } => Message::new(
            format!("The request could not be made, nothing was sent: {detail}."),
            format!("Correct the field or the file that is named here. {GOES_ON}"),
        ),
        TokenReason::Certificate { host, error } => Message::new(
            format!("The certificate of {host} was not accepted, nothing was sent: {error}."),
            format!(
                "Check the clock (`date`) and who answers there (`curl -v https://{host}/`); for a private \
                 authority, set `ca_file`. {GOES_ON}"
            ),
        ),
        TokenReason::AnswerLost { host, error } => Message::new(
            format!("The request was sent to {host}, but no whole answer came back: {error}."),
            "Nothing yet: the present key goes on serving, and the same refresh token is asked once more before it \
             dies. If the network here is bad, mend it until then.",
        ),
        TokenReason::DiedInFlight { at } => Message::new(
            format!("The sidecar was killed while the request of {} was under way; its answer is lost.", moment(*at)),
            "Nothing yet: it is asked once more. Give the sidecar time to stop: `stop_grace_period: 1m` in compose.",
        ),
        TokenReason::ServerError { status } => Message::new(
            format!("The token endpoint failed (HTTP {status}); whether it renewed the refresh token is unknown."),
            "Nothing yet: it is asked again. If it lasts, look at the provider's status page.",
        ),
        TokenReason::Busy { status, until } => Message::new(
            match until {
                Some(until) => {
                    format!("The token endpoint asks to be left alone until {} (HTTP {status}).", moment(*until))
                }
                None => format!("The token endpoint is busy (HTTP {status})."),
            },
            format!("{GOES_ON} If it lasts, see whether something else uses the same account or address."),
        ),
        TokenReason::Blocked { status } => Message::new(
            format!("A firewall before the token endpoint turned the request away (HTTP {status})."),
            format!("Reach it from another address: set the credential's `proxy`. {GOES_ON}"),
        ),
        TokenReason::Revoked { code } => Message::new(
            format!("The provider no longer takes the refresh token (`{code}`): it is spent, expired or revoked."),
            authorize,
        ),
        TokenReason::Misconfigured { code } => Message::new(
            format!("The provider refuses this client or its request (`{code}`)."),
            format!(
                "Compare `client_id`, `client_secret`, `token_endpoint_auth_method`, `scope` and `params` with the \
                 provider's documentation; once corrected, `one-api-sidecar retry {name}`."
            ),
        ),
        TokenReason::UnknownError { status, code } => Message::new(
            match code {
                Some(code) => format!("The token endpoint answered with an unknown error `{code}` (HTTP {status})."),
                None => format!("The token endpoint answered with an error (HTTP {status})."),
            },
            format!("Check `token_url` and `method`, then the provider's status page. {GOES_ON}"),
        ),
        TokenReason::Redirected { status } => Message::new(
            format!("The token endpoint redirects elsewhere (HTTP {status}), which is never followed."),
            "Set `token_url` to the final address; `curl -sI` on it shows where it leads.",
        ),
        TokenReason::Unreadable { status, detail } => Message::new(
            format!("The token endpoint's answer cannot be read (HTTP {status}): {detail}."),
            format!("Check that `token_url` is the token endpoint and no proxy answers in its place. {GOES_ON}"),
        ),
        TokenReason::BadAccessToken { detail } => Message::new(
            format!("The answer's access token cannot be used: {detail}. The old key stays in place."),
            format!(
                "Check `access_token` in `[credential.response]`: it must point to where the token stands in the \
                 answer. {GOES_ON}"
            ),
        ),
        TokenReason::OutcomeUnknown { lost_at, code } => Message::new(
            match code {
                Some(code) => format!(
                    "The answer of {} was lost, and now the provider refuses the refresh token (`{code}`): most \
                     likely the lost answer held its successor.",
                    moment(*lost_at)
                ),
                None => format!(
                    "The answer of {} was lost, and `on_lost_answer = \"halt\"` forbids asking again.",
                    moment(*lost_at)
                ),
            },
            match code {
                Some(_) => authorize,
                None => format!("Ask once more with `one-api-sidecar retry {name}`. If that is refused: {authorize}"),
            },
        ),
        TokenReason::NoRefreshToken => {
            Message::new("There is no refresh token: none is configured and none is stored.", authorize)
        }
        TokenReason::SeedRefused { code } => Message::new(
            format!("The new refresh token in the config was refused (`{code}`); the previous one goes on serving."),
            "Check that the new one was copied whole and belongs to this `client_id`; or put the old one back.",
        ),
        TokenReason::SharedSeed { owner } => Message::new(
            format!("The credential `{owner}` holds the same refresh token, and only one may use it."),
            format!("Give this credential a refresh token of its own, or remove it and add its channels to `{owner}`."),
        ),
        TokenReason::ShortLived { lifetime_seconds, lag_seconds } => Message::new(
            format!(
                "The access token lives {lifetime_seconds} s, and the gateway may go on using the previous one for \
                 {lag_seconds} s: requests may fail after each refresh."
            ),
            "Lower the gateway's `SYNC_FREQUENCY` or switch its memory cache off, and set `cache_lag` in `[gateway]`.",
        ),
        TokenReason::OtherClientsSeed { client_id } => Message::new(
            format!(
                "The configured refresh token was issued to another client (`client_id = \"{client_id}\"`, which \
                 used it here before); it is never sent in the name of a second one."
            ),
            "Log in with the client that is configured now and put that refresh token in place; or put `client_id` \
             and `grant_type` back, and the credential goes on where it stopped.",
        ),
        TokenReason::Crashed => Message::new(
            "The refresh stopped because of a fault in the sidecar itself.",
            format!("{GOES_ON} Please report it with the log around this time."),
        ),
        TokenReason::VaultIsOlder { code: None } => Message::new(
            "The vault is an older state of itself (restored from a backup?): this refresh token may have been spent \
             since.",
            "If the newer vault still exists, stop the sidecar and put it back. Otherwise nothing yet: the present \
             key goes on serving, and the refresh token is tried once, shortly before the key dies. Have a fresh one \
             ready in case it is refused.",
        ),
        TokenReason::VaultIsOlder { code: Some(code) } => Message::new(
            format!(
                "The vault was an older state of itself, and the provider refuses its refresh token (`{code}`): \
                 most likely it had been spent since."
            ),
            authorize,
        ),
    }
}
