//! A token endpoint that does nothing but answer: strict about refresh tokens, and as fast as this machine allows.
//!
//! It runs on a thread of the benchmark, so what is measured is another process.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

/// How long an access token is: 32 random bytes in base64, as opaque tokens are.
const TOKEN: usize = 43;

/// What the endpoint knows of one credential.
#[derive(Debug, Clone, Copy)]
struct Family {
    generation: u64,
    answered_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Book {
    families: Vec<Family>,
    latency: Duration,
    lifetime_seconds: u64,
    first: Option<Instant>,
    requests: usize,
    refused: usize,
}

/// A running token endpoint.
pub struct Endpoint {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

impl Endpoint {
    /// Serves so many credentials, on a thread that lasts as long as the benchmark.
    pub fn start(credentials: usize) -> Self {
        let family = Family { generation: 0, answered_at: None };
        let book = Book { families: vec![family; credentials], lifetime_seconds: 86_400, ..Book::default() };
        let book = Arc::new(Mutex::new(book));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let served = Arc::clone(&book);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, served));
        });
        Self { address, book }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// How long it thinks before it answers.
    pub fn set_latency(&self, latency: Duration) {
        self.book().latency = latency;
    }

    /// How long its tokens live.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.book().lifetime_seconds = lifetime.as_secs();
    }

    /// Forgets the times, not the tokens.
    pub fn forget_times(&self) {
        let mut book = self.book();
        (book.first, book.requests) = (None, 0);
        book.families.iter_mut().for_each(|family| family.answered_at = None);
    }

    /// When the first request came since the times were forgotten.
    pub fn first_request(&self) -> Option<Instant> {
        self.book().first
    }

    /// How many requests came since the times were forgotten.
    pub fn requests(&self) -> usize {
        self.book().requests
    }

    /// How many requests brought a refresh token that was not the current one.
    pub fn refused(&self) -> usize {
        self.book().refused
    }

    /// When a credential was answered last.
    pub fn answered_at(&self, credential: usize) -> Option<Instant> {
        self.book().families[credential].answered_at
    }

    /// Those of these credentials that were answered since the times were forgotten, and when.
    pub fn answered(&self, credentials: &[usize]) -> Vec<(usize, Instant)> {
        let book = self.book();
        let answered_at = |credential: &usize| Some((*credential, book.families[*credential].answered_at?));
        credentials.iter().filter_map(answered_at).collect()
    }

    /// The access token that a credential has now.
    pub fn access_token(&self, credential: usize) -> String {
        token("at", credential, self.book().families[credential].generation)
    }

    /// The refresh token that a credential has now.
    pub fn refresh_token(&self, credential: usize) -> String {
        token("rt", credential, self.book().families[credential].generation)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: std::net::TcpListener, book: Arc<Mutex<Book>>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        // Out of descriptors for a moment: whoever connects waits in the backlog.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let book = Arc::clone(&book);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&book), request));
            // A client that goes away is its own business.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(book: Arc<Mutex<Book>>, request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
    let came = Instant::now();
    let body = request.into_body().collect().await?.to_bytes();
    let latency = {
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        book.first.get_or_insert(came);
        book.requests += 1;
        book.latency
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    let lifetime = book.lifetime_seconds;
    let sent = url::form_urlencoded::parse(&body).find(|(name, _)| name == "refresh_token");
    let sent = sent.map(|(_, value)| value.into_owned()).unwrap_or_default();
    let credential = sent.split('-').nth(1).and_then(|number| number.parse::<usize>().ok());
    let known = credential.filter(|credential| {
        book.families.get(*credential).is_some_and(|family| token("rt", *credential, family.generation) == sent)
    });
    let Some(credential) = known else {
        // Anything that is no refresh token is a message or the measure of HTTP alone: answered at once.
        let (status, body) = match sent.as_str() {
            "" | "none" => (StatusCode::OK, r#"{"access_token":"none","token_type":"Bearer","expires_in":3600}"#),
            _ => (StatusCode::BAD_REQUEST, r#"{"error":"invalid_grant"}"#),
        };
        book.refused += usize::from(status != StatusCode::OK);
        return Ok(json(status, body.to_owned()));
    };
    let family = &mut book.families[credential];
    family.generation += 1;
    let (access, refresh) = (token("at", credential, family.generation), token("rt", credential, family.generation));
    family.answered_at = Some(Instant::now());
    let body = format!(
        r#"{{"access_token":"{access}","refresh_token":"{refresh}","token_type":"Bearer","expires_in":{lifetime}}}"#
    );
    Ok(json(StatusCode::OK, body))
}

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}

fn token(kind: &str, credential: usize, generation: u64) -> String {
    format!("{:x<TOKEN$}", format!("{kind}-{credential}-{generation}-"))
}
