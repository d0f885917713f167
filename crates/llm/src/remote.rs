//! A model behind HTTP: one attempt, inside the request's times.
//!
//! | where it fails | fault |
//! |---|---|
//! | no file descriptor | waits for one, as long as `first_byte`; then unreachable |
//! | no connection (name, refused, TLS) | unreachable |
//! | connected, broke before the status line | cut before |
//! | no status line in `first_byte`, no chunk in `between_chunks`, fewer than `bytes_a_minute`, no end in `whole` | timed out |
//! | a status that is no 2xx | [`fault::of_status`] |
//! | broke, garbage or unterminated after a 200 | cut after |

use crate::{
    anthropic, fault, openai,
    provider::{Provider, RemoteApi},
    read,
};
use async_trait::async_trait;
use maniple_core::{
    error::is_starved,
    message::ModelReply,
    model::{Fault, FaultKind, ModelRequest},
    ports::{Model, OnText},
};
use reqwest::{Response, header};
use secrecy::ExposeSecret;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::time::{Instant, timeout, timeout_at};

/// How long a call waits that found no file descriptor, before it looks for one again.
const STARVED_WAIT: Duration = Duration::from_millis(250);
const CONNECT: Duration = Duration::from_secs(10);
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// The one pool of connections, made when the first call needs it: loading certificates takes time.
#[derive(Default)]
pub struct Pool(OnceLock<reqwest::Client>);

impl Pool {
    /// The client, without redirects and without retries of its own. That it cannot be made now is not remembered.
    pub fn client(&self) -> Result<&reqwest::Client, Fault> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        let built = reqwest::Client::builder()
            .user_agent(concat!("maniple/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_idle_timeout(Duration::from_secs(60))
            // Idle ones hold descriptors that others wait for.
            .pool_max_idle_per_host(32)
            .tcp_nodelay(true)
            .build()
            .map_err(|e| Fault::new(FaultKind::Unreachable, format!("no HTTP client can be made: {}", chain(&e))))?;
        Ok(self.0.get_or_init(|| built))
    }
}

/// One model of a provider.
pub struct Remote {
    provider: Arc<Provider>,
    pool: Arc<Pool>,
    model: String,
}

impl Remote {
    /// What the provider calls `model`.
    pub fn new(provider: Arc<Provider>, pool: Arc<Pool>, model: &str) -> Self {
        Self { provider, pool, model: model.to_owned() }
    }

    async fn exchange(&self, request: &ModelRequest, text: &mut OnText<'_>) -> Result<ModelReply, Fault> {
        let response = self.send(request).await?;
        if !response.status().is_success() {
            return Err(refused(response, request.times.between_chunks).await);
        }
        // Some servers ignore `stream` and answer plainly.
        let is_plain = response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
        if is_plain || !self.provider.dialect.stream {
            let body = read::whole(body(response), request.times).await?;
            let reply = match self.provider.api {
                RemoteApi::OpenAi => openai::reply::read(&body, request),
                RemoteApi::Anthropic => anthropic::reply::read(&body, request),
            }?;
            if let Some(said) = &reply.text {
                text(said);
            }
            return Ok(reply);
        }
        let events = match self.provider.api {
            RemoteApi::OpenAi => read::Events::OpenAi(Default::default()),
            RemoteApi::Anthropic => read::Events::Anthropic(Default::default()),
        };
        read::events(body(response), events, request, text).await
    }

    async fn send(&self, request: &ModelRequest) -> Result<Response, Fault> {
        let provider = &self.provider;
        // A plain answer comes all at once, when the model is done: only `whole` can bound it.
        let first_byte = if provider.dialect.stream { request.times.first_byte } else { request.times.whole };
        let body = match provider.api {
            RemoteApi::OpenAi => openai::request::body(request, &self.model, provider.dialect),
            RemoteApi::Anthropic => anthropic::request::body(request, &self.model, provider.dialect.stream),
        };
        let mut sending = self
            .client(first_byte)
            .await?
            .post(provider.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, if provider.dialect.stream { "text/event-stream" } else { "application/json" })
            .body(body);
        if provider.api == RemoteApi::Anthropic {
            sending = sending.header("anthropic-version", ANTHROPIC_VERSION);
        }
        if let Some((name, value)) = self.credential()? {
            sending = sending.header(name, value);
        }
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
            Ok(Err(e)) if e.is_builder() => Err(Fault::new(FaultKind::Invalid, format!("no request can be made: {}", chain(&e)))),
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
            match self.pool.client() {
                Err(_) if std::fs::File::open("/dev/null").is_err() && Instant::now() < until => tokio::time::sleep(STARVED_WAIT).await,
                client => return client,
            }
        }
    }

    fn credential(&self) -> Result<Option<(&'static str, header::HeaderValue)>, Fault> {
        let Some(key) = &self.provider.api_key else {
            return match self.provider.needs_key {
                true => Err(Fault::new(FaultKind::Denied, "there is no API key")),
                false => Ok(None),
            };
        };
        let (name, value) = match self.provider.api {
            RemoteApi::OpenAi => ("authorization", format!("Bearer {}", key.expose_secret())),
            RemoteApi::Anthropic => ("x-api-key", key.expose_secret().to_owned()),
        };
        let mut value = header::HeaderValue::from_str(&value)
            .map_err(|_| Fault::new(FaultKind::Denied, "the API key has characters that no header can carry"))?;
        value.set_sensitive(true);
        Ok(Some((name, value)))
    }
}

#[async_trait]
impl Model for Remote {
    async fn call(&self, request: &ModelRequest, text: &mut OnText<'_>) -> Result<ModelReply, Fault> {
        let whole = request.times.whole;
        // An absurd time must not overflow the clock: a day is no bound to anyone.
        let end = Instant::now() + whole.min(Duration::from_secs(24 * 3600));
        let outcome = timeout_at(end, self.exchange(request, text))
            .await
            .unwrap_or_else(|_| Err(Fault::new(FaultKind::TimedOut, format!("no whole answer in {whole:?}"))));
        outcome.map_err(|fault| self.provider.explain(fault))
    }
}

async fn refused(response: Response, between: Duration) -> Fault {
    let text = |name| response.headers().get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let date = text(header::DATE).and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let now = date.map_or_else(jiff::Timestamp::now, |date| date.timestamp());
    let wait = text(header::RETRY_AFTER).and_then(|wait| fault::retry_after(wait, now));
    let status = response.status();
    let redirect = text(header::LOCATION).map(|to| format!("it redirects to {to}: set base_url to where the API is"));
    let said = read::error_text(body(response), between).await;
    let said = if status.is_redirection() { redirect.unwrap_or(said) } else { said };
    fault::of_status(status.as_u16(), wait, &said)
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
