//! First logins and imports in English.

use super::list;
use crate::messages::Message;
use crate::reason::LoginReason;

pub(super) fn explain(reason: &LoginReason, name: &str) -> Message {
    let again = format!("Try again with `one-api-sidecar login {name}`.");
    match reason {
        LoginReason::NoneNeeded { grant } => Message::new(
            format!("A credential with `grant_type = \"{grant}\"` has no refresh token and needs no login."),
            "Run `one-api-sidecar once` to see whether it works as it stands.",
        ),
        LoginReason::NoEndpoint { fields } => Message::new(
            "Nothing says where to log in.",
            format!("Set one of these for the credential: {}.", list(fields)),
        ),
        LoginReason::Unusable { host, status, code } => Message::new(
            match code {
                Some(code) => format!("{host} refused to begin a login (`{code}`, HTTP {status})."),
                None => format!("{host} answered something that is no login (HTTP {status})."),
            },
            "Compare `issuer`, `device_authorization_endpoint`, `client_id` and `scope` with the provider's documentation.",
        ),
        LoginReason::OtherIssuer { host } => Message::new(
            format!("Who answered does not speak for the issuer at {host}; nothing was taken from it."),
            "Correct `issuer`: it must be what the provider's metadata calls itself, letter by letter.",
        ),
        LoginReason::NoPort { address, error } => Message::new(
            format!("Nobody can wait for the browser at {address}: {error}."),
            "Close what uses the port, choose another one in `redirect_uri` of `params`, or add `--paste`.",
        ),
        LoginReason::NotOurs => Message::new(
            "The address that came back does not belong to this login.",
            format!("Paste the address of the last page, whole. {again}"),
        ),
        LoginReason::Denied => Message::new("The login was turned down at the provider.", again),
        LoginReason::TimedOut => Message::new("Nobody finished the login in time.", again),
        LoginReason::Refused { code } => Message::new(
            match code {
                Some(code) => format!("The provider refused the login (`{code}`)."),
                None => "The provider refused the login.".into(),
            },
            "Compare `client_id`, `client_secret`, `scope` and the registered redirect address with the provider's \
             documentation.",
        ),
        LoginReason::NoRefreshToken => Message::new(
            "The login worked, but the provider gave no refresh token.",
            "Ask for one: with most providers by `offline_access` in `scope`, with Google by `access_type=offline` in the \
             query of `authorization_endpoint`.",
        ),
        LoginReason::FileUnreadable { path, error } => Message::new(
            format!("{path} cannot be read: {error}."),
            format!("Check the path and who may read it: `ls -l {path}`."),
        ),
        LoginReason::UnknownFormat { known } => Message::new(
            format!("The file is in none of the formats that are known: {}.", list(known)),
            "If it is JSON, say where the refresh token stands: `--pointer refresh_token=/a/b`.",
        ),
        LoginReason::NothingThere { field, pointer } => Message::new(
            format!("At `{pointer}`, where `{field}` was to be, the file has no line of text."),
            "Give a JSON pointer: it begins with `/` and names one key after the other.",
        ),
        LoginReason::SeenBefore => Message::new(
            "The vault has seen this refresh token before: it is at work, or spent; nothing was changed.",
            format!(
                "`one-api-sidecar status` says how `{name}` stands. To get a new one: `one-api-sidecar login {name}`."
            ),
        ),
        LoginReason::NotKept => Message::new(
            "The refresh token of this login could not be stored in time and is lost.",
            format!("Mend what was said above first, then try again with `one-api-sidecar login {name}`."),
        ),
        LoginReason::OtherClient { wanted, found } => Message::new(
            format!("The refresh token was issued for the client `{found}`, and the credential says `{wanted}`."),
            "A refresh token works for its own client only: correct `client_id`, or choose the credential with `--name`.",
        ),
    }
}
