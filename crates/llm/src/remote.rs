//! A model behind HTTP: one attempt, inside the request's times. A request that is complained of in a way that can be mended is
//! made again within it ([`learn`]).
//!
//! | where it fails | fault |
//! |---|---|
//! | no file descriptor | waits for one, as long as `first_byte`; then unreachable |
//! | no connection (name, refused, TLS) | unreachable |
//! | connected, broke before the status line | cut before |
//! | no status line in `first_byte`, no chunk in `between_chunks`, fewer than `bytes_a_minute`, no end in `whole` | timed out |
//! | a status that is no 2xx | [`fault::of_status`] |
//! | broke, garbage or without a reason to stop after a 200 | cut after |

use crate::{
    anthropic, fault, learn, openai,
    profile::Profile,
    provider::{Provider, RemoteApi},
    read::{self, Deadline},
};
use async_trait::async_trait;
use maniple_core::{
    error::is_starved,
    message::ModelReply,
    model::{Fault, FaultKind, ModelRequest},
    ports::{Model, OnText},
    settings::is_this_machine,
    waits,
};
use reqwest::{
    Response,
    header::{self, HeaderMap, HeaderValue},
};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

/// How long a call waits that found no file descriptor, before it looks for one again.
const STARVED_WAIT: Duration = Duration::from_millis(250);
const CONNECT: Duration = Duration::from_secs(10);
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// The pools of connections, made when the first call needs one: loading certificates takes time.
#[derive(Default)]
pub struct Pool {
    anywhere: OnceLock<reqwest::Client>,
    /// For this machine, which no proxy can reach.
    here: OnceLock<reqwest::Client>,
}

impl Pool {
    /// The client, without redirects and without retries of its own. That it cannot be made now is not remembered.
    pub fn client(&self, is_here: bool) -> Result<&reqwest::Client, Fault> {
        let kept = if is_here { &self.here } else { &self.anywhere };
        if let Some(client) = kept.get() {
            return Ok(client);
        }
        let builder = reqwest::Client::builder()
            .user_agent(concat!("maniple/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_idle_timeout(Duration::from_secs(60))
            // Idle ones hold descriptors that others wait for.
            .pool_max_idle_per_host(32)
            .tcp_nodelay(true);
        let built = if is_here { builder.no_proxy() } else { builder }
            .build()
            .map_err(|e| Fault::new(FaultKind::Unreachable, format!("no HTTP client can be made: {}", chain(&e))))?;
        Ok(kept.get_or_init(|| built))
    }
}

/// One model of a provider.
pub struct Remote {
    provider: Arc<Provider>,
    pool: Arc<Pool>,
    model: String,
}

/// Why a request has no answer.
enum Failed {
    /// The provider said so.
    Refused { status: u16, body: String, said: fault::Said, fault: Fault },
    /// For any other reason.
    Otherwise(Fault),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Otherwise(fault)
    }
}

impl Remote {
    /// What the provider calls `model`.
    pub fn new(provider: Arc<Provider>, pool: Arc<Pool>, model: &str) -> Self {
        Self { provider, pool, model: model.to_owned() }
    }

    /// Asks, and asks again where the request was complained of in a way that can be mended.
    async fn exchange(&self, request: &ModelRequest, deadline: Deadline, text: &mut OnText<'_>) -> Result<ModelReply, Fault> {
        let mut profile = self.provider.profile(&self.model);
        let (mut most, mut lasting, mut mends, mut is_own) = (u32::MAX, Vec::new(), 0, false);
        loop {
            let max_tokens = profile.max_tokens(request).min(most);
            let body = match self.provider.api {
                RemoteApi::OpenAi => openai::request::body(request, &self.model, &profile, max_tokens),
                RemoteApi::Anthropic => anthropic::request::body(request, &self.model, &profile, max_tokens),
            };
            let (status, complaint, said, fault) = match self.ask(&body, request, &profile).await {
                Ok(response) => {
                    for (before, learnt, told) in lasting {
                        if self.provider.learn(&self.model, &before, &learnt) {
                            tracing::warn!(provider = %self.provider.name, model = %self.model, "the model {told}: asked accordingly from now on");
                        }
                    }
                    return self.read(response, deadline, request, &profile, text).await;
                }
                Err(Failed::Refused { status, body, said, fault }) => (status, body, said, fault),
                Err(Failed::Otherwise(fault)) => return Err(fault),
            };
            let sent = learn::Sent { request, profile: &profile, body: &body, max_tokens };
            let Some(lesson) = learn::lesson(status, &complaint, &said, &sent).filter(|_| mends < learn::MENDS) else { return Err(fault) };
            tracing::debug!(provider = %self.provider.name, model = %self.model, status, "complained of, mended and asked again");
            mends += 1;
            most = lesson.most.map_or(most, |fewer| fewer.min(most));
            // Behind what is done for this call alone nothing is remembered.
            is_own |= !lesson.lasts;
            if !is_own {
                lasting.push((profile, lesson.profile.clone(), lesson.told));
            }
            profile = lesson.profile;
        }
    }

    async fn read(
        &self,
        response: Response,
        deadline: Deadline,
        request: &ModelRequest,
        profile: &Profile,
        text: &mut OnText<'_>,
    ) -> Result<ModelReply, Fault> {
        let events = match self.provider.api {
            RemoteApi::OpenAi => read::Events::openai(),
            RemoteApi::Anthropic => read::Events::anthropic(),
        };
        read::answer(body(response), deadline, events, request, profile, text).await
    }

    async fn ask(&self, body: &Map<String, Value>, request: &ModelRequest, profile: &Profile) -> Result<Response, Failed> {
        let response = self.send(body, request, profile).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(response, request.times.between_chunks).await)
    }

    async fn send(&self, body: &Map<String, Value>, request: &ModelRequest, profile: &Profile) -> Result<Response, Fault> {
        let provider = &self.provider;
        // A plain answer comes all at once, when the model is done: only `whole` can bound it.
        let first_byte = if profile.stream { request.times.first_byte } else { request.times.whole };
        let body = serde_json::to_vec(body).map_err(|e| Fault::new(FaultKind::Invalid, format!("no request can be made: {e}")))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static(if profile.stream { "text/event-stream" } else { "application/json" }));
        if provider.api == RemoteApi::Anthropic {
            headers.insert("anthropic-version", HeaderValue::from_static(ANTHROPIC_VERSION));
        }
        if let Some((name, value)) = self.credential()? {
            headers.insert(name, value);
        }
        headers.extend(provider.headers.clone());
        let sending = self.client(first_byte).await?.post(provider.url.clone()).headers(headers).body(body);
        let sent = timeout(first_byte, async {
            // Without a descriptor there is no connection, so nothing was sent: the same attempt begins when there is one.
            loop {
                let Some(again) = sending.try_clone() else { return sending.send().await };
                match again.send().await {
                    Err(error) if error.is_connect() && is_starved(&error) => tokio::time::sleep(STARVED_WAIT).await,
                    sent => return sent,
                }
            }
        });
        match sent.await {
            Err(_) => Err(Fault::new(FaultKind::TimedOut, format!("no byte of an answer in {first_byte:?}"))),
            Ok(Err(e)) if e.is_connect() => Err(Fault::new(FaultKind::Unreachable, format!("no connection: {}", chain(&e.without_url())))),
            Ok(Err(e)) if e.is_builder() => {
                Err(Fault::new(FaultKind::Invalid, format!("no request can be made: {}", chain(&e.without_url()))))
            }
            Ok(Err(e)) => {
                Err(Fault::new(FaultKind::CutBefore, format!("the connection broke before an answer: {}", chain(&e.without_url()))))
            }
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// The client; where the process has no descriptor to read certificates with, as soon as it has one.
    async fn client(&self, within: Duration) -> Result<&reqwest::Client, Fault> {
        let until = Instant::now() + within;
        loop {
            match self.pool.client(self.provider.url.host_str().is_some_and(is_this_machine)) {
                Err(_) if std::fs::File::open("/dev/null").is_err() && Instant::now() < until => tokio::time::sleep(STARVED_WAIT).await,
                client => return client,
            }
        }
    }

    fn credential(&self) -> Result<Option<(&'static str, HeaderValue)>, Fault> {
        let Some(key) = &self.provider.api_key else {
            return match self.provider.needs_key {
                true => Err(Fault::new(FaultKind::Denied, "there is no API key")),
                false => Ok(None),
            };
        };
        let key = key.expose_secret();
        let (name, value) = match (self.provider.key_header, self.provider.api) {
            (Some(name), _) => (name, key.to_owned()),
            (None, RemoteApi::OpenAi) => ("authorization", format!("Bearer {key}")),
            (None, RemoteApi::Anthropic) => ("x-api-key", key.to_owned()),
        };
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| Fault::new(FaultKind::Denied, "the API key has characters that no header can carry"))?;
        value.set_sensitive(true);
        Ok(Some((name, value)))
    }
}

#[async_trait]
impl Model for Remote {
    async fn call(&self, request: &ModelRequest, text: &mut OnText<'_>) -> Result<ModelReply, Fault> {
        let whole = self.provider.timeout.map_or(request.times.whole, |timeout| timeout.min(request.times.whole));
        // An absurd time must not overflow the clock: a day is no bound to anyone.
        let deadline = Deadline::within(whole.min(Duration::from_secs(24 * 3600)));
        let outcome = timeout_at(deadline.end, self.exchange(request, deadline, text)).await.unwrap_or_else(|_| Err(deadline.missed()));
        outcome.map_err(|fault| self.provider.explain(fault))
    }
}

async fn refused(response: Response, between: Duration) -> Failed {
    let names: Vec<String> = response.headers().keys().map(|name| name.as_str().to_owned()).collect();
    let headers = response.headers().clone();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let now = waits::answered_at(&text, jiff::Timestamp::now());
    let status = response.status();
    let redirect = text("location").filter(|_| status.is_redirection());
    let redirect = redirect.map(|to| format!("it redirects to {}: set base_url to where the API is", place(response.url(), &to)));
    let body = read::error_text(body(response), between).await;
    let (status, body) = (status.as_u16(), redirect.unwrap_or(body));
    let said = fault::Said::read(&body);
    let wait = fault::in_headers(status, text, &names, said.wait(), now);
    let fault = fault::of_status(status, wait, &said);
    Failed::Refused { status, body, said, fault }
}

/// Where a redirect leads, without what may be secret in it.
fn place(from: &Url, to: &str) -> String {
    let Ok(mut to) = from.join(to) else { return "somewhere else".to_owned() };
    to.set_query(None);
    to.set_fragment(None);
    // An address without a host has no user either.
    let _ = to.set_username("").and_then(|()| to.set_password(None));
    to.into()
}

/// An error with what lies below: the first line of reqwest's says little.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn body(response: Response) -> impl futures::Stream<Item = Result<bytes::Bytes, Broken>> {
    use futures::StreamExt;
    response.bytes_stream().map(|chunk| chunk.map_err(|e| Broken(chain(&e.without_url()))))
}

/// Why a body broke off.
struct Broken(String);
impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
