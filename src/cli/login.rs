//! `login NAME`: the first refresh token, by device code or by browser. What people read goes to standard error; the
//! refresh token goes nowhere but into the vault.

mod browser;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;
use url::Url;

use crate::agent::refresh;
use crate::cli::place::{complain, complain_of};
use crate::cli::progress::tell;
use crate::cli::taker::Takers;
use crate::cli::{ConfigPlace, Exit, block_on, taker};
use crate::config::plan::{CredentialPlan, Grant, LoginPlan, Method, host};
use crate::credential::record::{Answer, Outcome};
use crate::messages::{self, LoginWords, Words};
use crate::oauth::client::{self, Failure};
use crate::oauth::login::code::Attempt;
use crate::oauth::login::device::{self, Authorization, Next};
use crate::oauth::login::discovery::{self, Metadata};
use crate::oauth::request::{self, TokenRequest};
use crate::oauth::response::Response;
use crate::reason::{AgentReason, LoginReason, Reason, TokenReason};
use crate::secret::{Secret, TextOrSecret, Values};
use crate::shape::nearest;
use crate::time::SystemClock;
use crate::transport::Clients;

/// How long a person has for a login by browser.
const PATIENCE: Duration = Duration::from_secs(600);

/// What `login` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// The credential
    name: String,
    /// By a code that is typed on another device, even if a browser would do
    #[arg(long, conflicts_with = "browser")]
    device: bool,
    /// By a browser on this machine, even if a code would do
    #[arg(long)]
    browser: bool,
    /// By a browser elsewhere: wait for no call, read the address that it ended at from standard input
    #[arg(long, conflicts_with = "device")]
    paste: bool,
}

/// Logs in.
pub fn run(place: &ConfigPlace, options: &Options) -> anyhow::Result<Exit> {
    let loaded = match place.load() {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let Some(plan) = loaded.plan.credential(&options.name).cloned() else {
        let known = loaded.plan.credentials.iter().map(|credential| &*credential.name);
        let nearest = nearest(&options.name, known);
        complain(&AgentReason::NoSuchCredential { name: options.name.clone(), nearest }.into());
        return Ok(Exit::Usage);
    };
    if !matches!(plan.grant, Grant::RefreshToken { .. }) {
        complain_of(&LoginReason::NoneNeeded { grant: plan.grant.as_str().into() }.into(), &plan.name);
        return Ok(Exit::Usage);
    }
    let words = messages::words(loaded.plan.language);
    block_on(async {
        let takers = match Takers::find(&loaded).await {
            Ok(takers) => takers,
            Err(exit) => return Ok(exit),
        };
        let logged_in = async { Session::open(&plan, words).await?.log_in(options).await };
        let seed = match logged_in.await {
            Ok(seed) => seed,
            Err(reason) => {
                complain_of(&reason, &plan.name);
                return Ok(Exit::Failed);
            }
        };
        match takers.give_only_copy(&plan, &seed).await {
            Ok(taker) => taker::tell(&loaded, &plan, taker, "").await,
            Err(exit) => Ok(exit),
        }
    })?
}

/// What every step of a login needs.
struct Session<'a> {
    plan: &'a CredentialPlan,
    words: &'static Words,
    clients: Clients,
    values: Values,
}

impl<'a> Session<'a> {
    async fn open(plan: &'a CredentialPlan, words: &'static Words) -> Result<Self, Reason> {
        let values = refresh::values(&request::sources(plan)).await?;
        Ok(Self { plan, words, clients: Clients::default(), values })
    }

    fn words(&self) -> &'static LoginWords {
        &self.words.login
    }

    /// Chooses the way and goes it.
    async fn log_in(&self, options: &Options) -> Result<Secret, Reason> {
        let wants_browser = options.browser || options.paste;
        let LoginPlan { issuer, authorization_endpoint, device_authorization_endpoint } = &*self.plan.login;
        let is_told =
            if wants_browser { authorization_endpoint.is_some() } else { device_authorization_endpoint.is_some() };
        let metadata = match issuer {
            Some(issuer) if !is_told => Some(self.discover(issuer).await?),
            _ => None,
        };
        let of_issuer = |field: fn(&Metadata) -> &Option<Url>| metadata.as_ref().and_then(|found| field(found).clone());
        let device = device_authorization_endpoint.clone();
        let device = device.or_else(|| of_issuer(|found| &found.device_authorization_endpoint));
        let authorization = authorization_endpoint.clone();
        let authorization = authorization.or_else(|| of_issuer(|found| &found.authorization_endpoint));
        let answer = match (device, authorization) {
            (Some(device), _) if !wants_browser => self.by_device(device).await?,
            (_, Some(authorization)) if !options.device => self.by_browser(authorization, options.paste).await?,
            _ => {
                let fields = ["issuer", "device_authorization_endpoint", "authorization_endpoint"];
                let wanted = fields.into_iter().filter(|field| match *field {
                    "device_authorization_endpoint" => !wants_browser,
                    "authorization_endpoint" => !options.device,
                    _ => true,
                });
                return Err(LoginReason::NoEndpoint { fields: wanted.map(str::to_owned).collect() }.into());
            }
        };
        answer.refresh_token.ok_or_else(|| LoginReason::NoRefreshToken.into())
    }

    /// The issuer's metadata, from the first place that has some.
    async fn discover(&self, issuer: &Url) -> Result<Metadata, Reason> {
        let mut found = Err(LoginReason::Unusable { host: host(issuer), status: 404, code: None });
        for url in discovery::places(issuer) {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
            let request = TokenRequest { method: Method::Get, url, headers, body: Vec::new() };
            found = discovery::read(issuer, &self.fetch(request).await?);
            if found.is_ok() {
                break;
            }
        }
        Ok(found?)
    }

    async fn fetch(&self, request: TokenRequest) -> Result<Response, Reason> {
        let fetched = client::fetch(&self.clients, &SystemClock, &self.plan.endpoint, request, &self.values).await;
        fetched.map_err(|failure| match failure {
            Failure::NotSent(reason) | Failure::Lost(reason) => reason.into(),
        })
    }

    /// A token request of a login's own grant.
    async fn ask(&self, grant: &[(&str, &str)], secret: &Secret) -> Result<Outcome, Reason> {
        let request = request::token_request(&self.plan.endpoint, grant, &self.values).map_err(not_made)?;
        Ok(client::ask(&self.clients, &SystemClock, self.plan, request, Some(secret), &self.values).await)
    }

    /// RFC 8628: shows the code, then asks until the person is done.
    async fn by_device(&self, url: Url) -> Result<Answer, Reason> {
        let asked = host(&url);
        let endpoint = device::endpoint(&self.plan.endpoint, url);
        let scope: Vec<_> = endpoint.scope.as_deref().map(|scope| ("scope", scope)).into_iter().collect();
        let request = request::token_request(&endpoint, &scope, &self.values).map_err(not_made)?;
        let authorization = Authorization::read(&self.fetch(request).await?, &asked)?;
        let complete = authorization.verification_uri_complete.as_ref().unwrap_or(&authorization.verification_uri);
        show_as_qr_code(complete);
        let shown = self.words().device.replace("{url}", authorization.verification_uri.as_str());
        tell(&format!("{}\n", shown.replace("{code}", &authorization.user_code)));
        self.say_waiting(authorization.expires_in);

        let ends = Instant::now() + authorization.expires_in;
        let grant = [("grant_type", device::GRANT_TYPE), ("device_code", authorization.device_code.expose())];
        let mut interval = authorization.interval;
        let mut wait = interval;
        loop {
            if Instant::now() + wait > ends {
                return Err(LoginReason::TimedOut.into());
            }
            tokio::time::sleep(wait).await;
            match device::next(self.ask(&grant, &authorization.device_code).await?, &mut interval) {
                Next::Wait(length) => wait = length,
                Next::Done(answer) => return Ok(answer),
                Next::Over(reason) => return Err(reason.into()),
            }
        }
    }

    /// RFC 8252: sends a browser, and takes what it brings back.
    async fn by_browser(&self, endpoint: Url, paste: bool) -> Result<Answer, Reason> {
        let registered = match self.plan.endpoint.params.get("redirect_uri") {
            Some(TextOrSecret::Text(uri)) => Some(uri.as_str()),
            _ => None,
        };
        let back = browser::Back::prepare(registered, paste).await?;
        let (verifier, state) = (random::<32>()?, random::<16>()?);
        let attempt = Attempt::new(verifier, state, back.redirect_uri(), self.plan.login.issuer.clone());
        let (client_id, scope) = (self.plan.endpoint.client_id.as_deref(), self.plan.endpoint.scope.as_deref());
        let address = attempt.address(&endpoint, client_id, scope);
        tell(&format!("{}\n", self.words().browser.replace("{url}", address.as_str())));
        if back.wants_paste() {
            tell(&format!("{}\n", self.words().paste));
        }
        self.say_waiting(PATIENCE);
        let code = tokio::time::timeout(PATIENCE, back.code(&attempt, self.words().close_the_page)).await;
        let code = code.map_err(|_| LoginReason::TimedOut)??;
        match self.ask(&attempt.grant(&code), &code).await? {
            Outcome::Answered(answer) if answer.access.is_ok() || answer.refresh_token.is_some() => Ok(answer),
            Outcome::Answered(Answer { access: Err(error), .. }) => Err(error.reason.into()),
            Outcome::Answered(_) => Err(LoginReason::NoRefreshToken.into()),
            Outcome::NotSent(reason) | Outcome::Unknown(reason) => Err(reason.into()),
        }
    }

    fn say_waiting(&self, length: Duration) {
        tell(&format!("{}\n", self.words().waiting.replace("{time}", &self.words.length(length))));
    }
}

fn not_made(error: request::RequestError) -> Reason {
    TokenReason::NotMade { detail: error.to_string() }.into()
}

fn random<const N: usize>() -> Result<[u8; N], Reason> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| TokenReason::NotMade { detail: "the system gives no randomness".into() })?;
    Ok(bytes)
}

/// For a telephone's camera, where standard error is a terminal. What is drawn is the light part, in white on black
/// whatever the terminal's own colours are: many cameras do not read a code the other way round. Where `NO_COLOR` asks
/// for none, the terminal is taken to be light on dark, as most are.
fn show_as_qr_code(url: &Url) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let Ok(code) = QrCode::new(url.as_str()) else { return };
    let drawn = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    let coloured = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (on, off) = if coloured { ("\x1b[97;40m", "\x1b[0m") } else { ("", "") };
    for line in drawn.lines() {
        tell(&format!("{on}{line}{off}\n"));
    }
    tell("\n");
}
