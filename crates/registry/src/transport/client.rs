//! One exchange over HTTP: a request, at most one answer, and what is known when there is none.
//!
//! # What is sent how often
//!
//! Read in the sources of reqwest 0.13.5, hyper-util 0.1.21 and hyper 1.12.0: there are two layers that could
//! send again. reqwest repeats HTTP/2 requests that the server says it did not process; `retry::never` turns
//! that off, and these clients speak HTTP/1.1 only. hyper-util takes another connection when a pooled one turns
//! out closed (`retry_canceled_requests`, which reqwest leaves on); it can do so only with the request that hyper
//! hands back, and hyper hands back only one that still lies in the connection's queue: once the dispatcher
//! has taken it out to encode it, an error comes without the request (`Client::recv_msg` and `Envelope::drop` in
//! hyper). So a request of which a byte may have been written is never sent again.
//!
//! `is_connect` is true of look-up, connecting, TLS and their time-out, all before the first byte: *not sent*.
//! Any other error is *unknown*. One that says that there was no file descriptor is *not sent* too, and soon worth another try.

use super::answer::HttpAnswer;
use crate::{
    credentials::Authorization,
    egress::{Egress, Refused, Unresolved},
};
use maniple_core::error::is_starved;
use reqwest::{
    Method, StatusCode,
    header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, LOCATION},
};
use std::{error::Error, sync::OnceLock, time::Duration};
use url::{Origin, Url};

/// How many redirects one call follows.
const REDIRECTS_MAX: usize = 5;

/// How long connecting may take, by class: a call gets the longest that is at most half of its own time-out,
/// so that "could not connect" is known before the call's time is over and nothing is known any more.
const CONNECT_CLASSES_MS: [u64; 4] = [5_000, 1_000, 200, 20];

/// How long a call waits that found no file descriptor.
pub(crate) const STARVED_WAIT: Duration = Duration::from_secs(1);

/// Headers that the wire sets itself, or that decide where a request goes: neither an argument nor a key travels as one.
pub(crate) const WIRE_HEADERS: [&str; 14] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "accept",
    "accept-encoding",
    "idempotency-key",
    "traceparent",
    "tracestate",
];

/// HTTP clients for URLs that an operator wrote, and the egress for all others.
pub(crate) struct Client {
    trusted: Patient,
    /// The same without idle connections: each request has one of its own.
    fresh: Patient,
    egress: Egress,
}

/// A client that is made when it is first used, or when the registry is warmed is called: reading the
/// machine's certificates would delay every start. That it cannot be made is no lasting fact, so the next call tries again.
pub(crate) struct LazyClient {
    builder: Box<dyn Fn() -> reqwest::ClientBuilder + Send + Sync>,
    made: OnceLock<reqwest::Client>,
}

impl LazyClient {
    pub(crate) fn new(builder: impl Fn() -> reqwest::ClientBuilder + Send + Sync + 'static) -> Self {
        Self { builder: Box::new(builder), made: OnceLock::new() }
    }
    pub(crate) fn get(&self) -> Result<&reqwest::Client, Lost> {
        if let Some(client) = self.made.get() {
            return Ok(client);
        }
        let made = (self.builder)().build().map_err(|error| {
            let why = format!("cannot make an HTTP client: {}", chain(&error));
            // The certificates are files: what kept them from being read is not always told.
            if is_starved(&error) || std::fs::File::open("/dev/null").is_err() { Lost::Starved(why) } else { Lost::NotSent(why) }
        })?;
        Ok(self.made.get_or_init(|| made))
    }
}

/// One client for each class of patience.
pub(crate) struct Patient(Vec<(Duration, LazyClient)>);

impl Patient {
    pub(crate) fn new(builder: impl Fn(Duration) -> reqwest::ClientBuilder + Clone + Send + Sync + 'static) -> Self {
        let client = |connect| {
            let builder = builder.clone();
            (connect, LazyClient::new(move || builder(connect)))
        };
        Self(CONNECT_CLASSES_MS.into_iter().map(Duration::from_millis).map(client).collect())
    }
    pub(crate) fn for_timeout(&self, timeout: Duration) -> &LazyClient {
        let connect = connect_within(timeout);
        let fitting = self.0.iter().find(|(class, _)| *class == connect).or(self.0.last());
        &fitting.expect("there are classes").1
    }
}

/// How long connecting may take for a call of so much time.
pub(crate) fn connect_within(timeout: Duration) -> Duration {
    let mut classes = CONNECT_CLASSES_MS.into_iter().map(Duration::from_millis);
    let last = CONNECT_CLASSES_MS[CONNECT_CLASSES_MS.len() - 1];
    classes.find(|connect| *connect <= timeout / 2).unwrap_or(Duration::from_millis(last))
}

/// A request before it is sent.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Vec<u8>>,
    /// What an operator wrote: this origin is reached without asking the egress rules.
    pub(crate) trusted: Option<Origin>,
    /// The whole call's time; the caller enforces it.
    pub(crate) timeout: Duration,
    /// The most of a successful answer's body that is kept, in bytes.
    pub(crate) keeps: usize,
    /// Whether it goes out on a connection of its own: one that lay idle may be closed just then, and nobody knows how far the
    /// request got.
    pub(crate) fresh: bool,
}

/// Why there is no answer.
pub(crate) enum Lost {
    /// The egress rules forbid it, and nothing was sent; trying again would not help.
    Refused(String),
    /// It was answered with a redirect that may not be followed.
    Astray(String),
    /// Not a byte was written.
    NotSent(String),
    /// Not a byte was written, as this name could not be looked up.
    Unresolved(String, String),
    /// Not a byte was written, as this process is out of file descriptors.
    Starved(String),
    /// Nobody knows.
    Unknown(String),
}

/// What every client of this crate has in common.
pub(crate) fn builder(connect: Duration) -> reqwest::ClientBuilder {
    // A proxy from the environment would look names up itself, behind the egress rules' back. Idle connections
    // are left before the 5 s after which common servers close them, so that fewer calls end in doubt.
    reqwest::Client::builder()
        .connect_timeout(connect)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .http1_only()
        .no_proxy()
        .referer(false)
        .pool_idle_timeout(Duration::from_secs(4))
        .pool_max_idle_per_host(32)
        .user_agent(concat!("maniple/", env!("CARGO_PKG_VERSION")))
}

impl Client {
    pub(crate) fn new(egress: Egress) -> Self {
        let fresh = Patient::new(|connect| builder(connect).pool_max_idle_per_host(0));
        Self { trusted: Patient::new(builder), fresh, egress }
    }

    /// Sends once and reads the answer. Redirects of a GET or HEAD are followed, each its own check: back to
    /// the operator's origin freely, elsewhere by the egress rules, never from https to http.
    pub(crate) async fn exchange(&self, request: Request) -> Result<HttpAnswer, Lost> {
        self.exchange_as(request, &Authorization::default()).await
    }

    /// Makes the clients of operators' URLs, so that no call has to read certificates.
    pub(crate) fn warm(&self) {
        for (_, client) in self.trusted.0.iter().chain(&self.fresh.0) {
            if let Err(Lost::NotSent(why) | Lost::Starved(why)) = client.get() {
                return tracing::warn!(why, "no HTTP client for tools yet: the first call tries again");
            }
        }
    }

    /// Why a URL that no operator wrote cannot be reached whatever its name leads to.
    pub(crate) fn forbids(&self, url: &Url) -> Option<String> {
        self.egress.client(url, Duration::from_secs(1)).err().map(|refused| refused.to_string())
    }

    /// The same as somebody. The authorization stays at the origin of the request's URL: a redirect that leads elsewhere
    /// goes without it, and so does one that leads back from there, which somebody else chose.
    pub(crate) async fn exchange_as(&self, mut request: Request, who: &Authorization) -> Result<HttpAnswer, Lost> {
        let home = request.url.origin();
        let mut sent_as = Some(who);
        for hop in 0..=REDIRECTS_MAX {
            let mut answer = self.send(&request, sent_as, hop).await?;
            let follows = request.body.is_none() && matches!(request.method, Method::GET | Method::HEAD);
            let Some(next) = redirect(&answer).filter(|_| follows) else {
                if answer.0.headers().get(LOCATION).is_some_and(|location| who.is_in(location.as_bytes())) {
                    answer.0.headers_mut().remove(LOCATION); // it would be told to the model
                }
                return read(answer, request.keeps).await;
            };
            request.url = who.stripped(&next.map_err(Lost::Astray)?);
            sent_as = sent_as.filter(|_| request.url.origin() == home);
        }
        Err(Lost::Astray(format!("more than {REDIRECTS_MAX} redirects")))
    }

    async fn send(&self, request: &Request, who: Option<&Authorization>, hop: usize) -> Result<(reqwest::Response, Url), Lost> {
        let refused_at = |why| if hop == 0 { Lost::Refused(why) } else { Lost::Astray(why) };
        let client = match &request.trusted {
            Some(origin) if *origin == request.url.origin() => {
                if request.fresh { &self.fresh } else { &self.trusted }.for_timeout(request.timeout)
            }
            _ => self.egress.client(&request.url, request.timeout).map_err(|refused| refused_at(refused.to_string()))?,
        };
        let (mut url, mut headers) = (request.url.clone(), request.headers.clone());
        if let Some(who) = who {
            url = who.signed(&url);
            who.sign(&mut headers);
        }
        // Whoever codes its answer all the same is read within the bounds of any other: see `HttpAnswer::read`.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut building = client.get()?.request(request.method.clone(), url).headers(headers);
        if let Some(body) = &request.body {
            building = building.body(body.clone());
        }
        match building.send().await {
            // As it was before it was signed: an answer tells where it came from.
            Ok(response) => Ok((response, request.url.clone())),
            Err(error) => Err(match refused(&error) {
                Some(why) => refused_at(why),
                None if let Some(name) = unresolved(&error) => match hop {
                    0 => Lost::Unresolved(name, told(error)),
                    _ => Lost::Astray(Refused::not_public(&name).to_string()),
                },
                // An earlier hop was answered: the call did reach somebody.
                None if hop > 0 => Lost::Unknown(told(error)),
                None if error.is_connect() && is_starved(&error) => Lost::Starved(told(error)),
                None if error.is_connect() || error.is_builder() => Lost::NotSent(told(error)),
                None => Lost::Unknown(told(error)),
            }),
        }
    }
}

async fn read((response, url): (reqwest::Response, Url), keeps: usize) -> Result<HttpAnswer, Lost> {
    HttpAnswer::read(response, url, keeps).await.map_err(|error| Lost::Unknown(format!("the answer broke off: {}", told(error))))
}

/// Where a redirect leads, or why it is not followed.
fn redirect((response, from): &(reqwest::Response, Url)) -> Option<Result<Url, String>> {
    let follows = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    if !follows.contains(&response.status()) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    let Some(to) = location.to_str().ok().and_then(|location| from.join(location).ok()) else {
        return Some(Err("it redirects to something that is no URL".into()));
    };
    if from.scheme() == "https" && to.scheme() != "https" {
        return Some(Err(format!("it redirects from https to {}", to.scheme())));
    }
    Some(Ok(to))
}

fn refused(error: &reqwest::Error) -> Option<String> {
    cause::<Refused>(error).map(Refused::to_string)
}
fn unresolved(error: &reqwest::Error) -> Option<String> {
    cause::<Unresolved>(error).map(|unresolved| unresolved.name.clone())
}
fn cause<E: Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        source = cause.source();
    }
    None
}

/// The causes of an error in a line, without its URL: arguments may be in it.
pub(crate) fn told(error: reqwest::Error) -> String {
    chain(&error.without_url())
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
