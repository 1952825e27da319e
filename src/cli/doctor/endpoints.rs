//! Can the token endpoints be reached? A name is looked up, a connection and TLS are made, and the root of the server
//! is asked for its head: no parameter, header or secret of a credential is in that, and nothing is spent.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use url::Url;

use crate::cli::doctor::Surroundings;
use crate::cli::doctor::report::{Checks, Topic, Verdict};
use crate::cli::doctor::secrets::Outcomes;
use crate::config::plan::{Transport, host};
use crate::oauth::client::{Heard, reach};
use crate::secret::Values;
use crate::time::SystemClock;
use crate::transport::Clients;

/// How long one may take; a refresh has the time that the config gives it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many are asked at once.
const AT_ONCE: usize = 16;

/// A server, a way of reaching it, and whose it is.
struct Server<'a> {
    root: Url,
    transport: &'a Transport,
    credentials: Vec<&'a str>,
}

/// Asks every token endpoint's server; what was heard, by host.
pub async fn look(around: &Surroundings<'_>, values: &Outcomes, checks: &mut Checks) -> Vec<(String, Heard)> {
    let values: Values =
        values.iter().filter_map(|(source, read)| Some((source.clone(), read.clone().ok()?))).collect();
    let clients = Clients::default();
    let servers = servers(around);
    let asked =
        servers.iter().map(|server| reach(&clients, &SystemClock, server.transport, &values, &server.root, PATIENCE));
    let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut heard = Vec::new();
    for (server, answer) in servers.iter().zip(answers) {
        let host = host(&server.root);
        match answer {
            Ok(one) => {
                let line = around.words.endpoint.replace("{host}", &host);
                checks.good(Topic::Endpoints, credentials(server), line);
                heard.push((host, one));
            }
            Err(reason) => checks.find(Topic::Endpoints, credentials(server), Verdict::Error, &reason.into()),
        }
    }
    heard
}

fn credentials(server: &Server<'_>) -> String {
    const SHOWN: usize = 5;
    let quoted: Vec<String> = server.credentials.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
    let more = server.credentials.len().saturating_sub(SHOWN);
    let more = if more == 0 { String::new() } else { format!(" (+{more})") };
    format!("credential {}{more}", quoted.join(", "))
}

/// Each server once for each way of reaching it.
fn servers<'a>(around: &Surroundings<'a>) -> Vec<Server<'a>> {
    let mut servers: Vec<Server<'a>> = Vec::new();
    for credential in around.plan.credentials.iter().filter(|credential| credential.enabled) {
        let mut root = credential.endpoint.url.clone();
        root.set_path("/");
        root.set_query(None);
        root.set_fragment(None);
        // An address of the config holds no user name; one that did would be a secret.
        let _ = root.set_username("").and_then(|()| root.set_password(None));
        let transport = &credential.endpoint.transport;
        match servers.iter_mut().find(|server| server.root == root && server.transport == transport) {
            Some(server) => server.credentials.push(&credential.name),
            None => servers.push(Server { root, transport, credentials: vec![&credential.name] }),
        }
    }
    servers
}
