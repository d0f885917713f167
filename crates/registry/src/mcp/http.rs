//! A server behind streamable HTTP.
//!
//! A complete answer of any status is one: what the library below would tell as an error of the connection becomes the outcome of the
//! call here ([`post`](Client::post)). Nothing is sent again in here: that is decided where it is known what a call may do.
//! Its messages are taken at 2,000 a second, an answer is at most 4 MiB. A redirect is followed where it keeps the method (307, 308) and
//! leads to the same origin; another one is told to the operator with its target. A proxy of the environment is not used.

mod answer;
mod events;

use super::{
    pace,
    reading::{self, Asked, Questions},
    ticket::Ticket,
};
use crate::transport::client;
use answer::Answer;
use futures::{StreamExt, stream::BoxStream};
use http::{HeaderName, HeaderValue, StatusCode, header};
use maniple_core::settings::Secret;
use reqwest::redirect;
use rmcp::{
    model::{ClientJsonRpcMessage, GetExtensions, NumberOrString, ServerJsonRpcMessage},
    transport::{
        StreamableHttpClientTransport,
        common::client_side_sse::FixedInterval,
        streamable_http_client::{
            SseError, StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError, StreamableHttpPostResponse,
            StreamableHttpResponseLimits,
        },
    },
};
use serde::Deserialize;
use serde_json::{Value, json};
use sse_stream::Sse;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use url::Url;

const ANSWER_BYTES: usize = 4 << 20;
const CONNECTS_WITHIN: Duration = Duration::from_secs(5);
/// Calls in flight at one server.
const CALLS_MAX: usize = 64;
/// How often a broken event stream is taken up again where it broke off.
const RESUMED_AT_MOST: usize = 3;
/// How many redirects of one request are followed.
const REDIRECTS_MAX: usize = 3;

type Answered<T> = Result<T, StreamableHttpError<reqwest::Error>>;
type Headers = HashMap<HeaderName, HeaderValue>;

/// The client that tells whether a request was written, and reads what really comes.
#[derive(Clone)]
pub(super) struct Client {
    client: reqwest::Client,
    /// The same without idle connections: each request has one of its own.
    fresh: reqwest::Client,
    /// Something says that the connection is of no use any more.
    suspect: Arc<Notify>,
    /// The server has given a session, which it may forget.
    has_session: Arc<AtomicBool>,
    questions: Questions,
}

/// The headers an operator gave, or what is wrong with one. Their values are not printed.
pub(super) fn headers(given: &BTreeMap<String, Secret>) -> Result<Headers, String> {
    let mut headers = Headers::new();
    for (name, value) in given {
        let header = HeaderName::try_from(name.as_str()).map_err(|_| format!("`{name}` is no header name"))?;
        if ["accept", "mcp-session-id", "mcp-protocol-version", "last-event-id"].contains(&header.as_str()) {
            return Err(format!("the header `{name}` belongs to the protocol"));
        }
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| format!("the value of `{name}` is no header value"))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

/// A transport to a server; `suspect` hears of it when the connection turns out to be of no use, `has_session` is set once requests
/// carry a session.
pub(super) fn connect(
    url: &Url,
    given: &BTreeMap<String, Secret>,
    suspect: Arc<Notify>,
    has_session: Arc<AtomicBool>,
) -> Result<StreamableHttpClientTransport<Client>, String> {
    let builder = || client::builder(CONNECTS_WITHIN).redirect(redirect::Policy::custom(follow));
    let made = |builder: reqwest::ClientBuilder| builder.build().map_err(|error| format!("cannot make an HTTP client: {error}"));
    let (client, fresh) = (made(builder())?, made(builder().pool_max_idle_per_host(0))?);
    let mut resuming = FixedInterval::default();
    resuming.max_times = Some(RESUMED_AT_MOST);
    let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
        .custom_headers(headers(given)?)
        .max_concurrent_requests(CALLS_MAX)
        .max_sse_event_size(ANSWER_BYTES)
        .max_json_response_size(ANSWER_BYTES)
        .max_error_response_size(4 << 10)
        .reinit_on_expired_session(false);
    config.retry_config = Arc::new(resuming);
    let client = Client { client, fresh, suspect, has_session, questions: Questions::default() };
    Ok(StreamableHttpClientTransport::with_client(client, config))
}

/// Only where the request stays what it is and goes to whom the operator named: often it is a slash at the end.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let keeps_method = matches!(attempt.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    let stays = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if keeps_method && stays && attempt.previous().len() <= REDIRECTS_MAX { attempt.follow() } else { attempt.stop() }
}

/// As the library takes a message.
fn taken(message: Value, session: Option<String>) -> Answered<StreamableHttpPostResponse> {
    Ok(StreamableHttpPostResponse::Json(ServerJsonRpcMessage::deserialize(message)?, session))
}

impl Client {
    async fn post(
        &self,
        uri: &str,
        message: &ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        headers: Headers,
    ) -> Answered<StreamableHttpPostResponse> {
        self.questions.note(message);
        let client = if Fresh::is_asked_by(message) { &self.fresh } else { &self.client };
        let mut request = client.post(uri).header(header::ACCEPT, "application/json, text/event-stream");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let in_session = session_id.is_some();
        if let Some(session) = &session_id {
            self.has_session.store(true, Ordering::Relaxed);
            request = request.header("mcp-session-id", &**session);
        }
        let response = request.json(message).send().await.map_err(StreamableHttpError::Client)?;
        let status = response.status();
        let session = response.headers().get("mcp-session-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        let Some((id, asked)) = Asked::by(message) else {
            // Nothing is waited for, so nothing in the answer counts.
            return match status.is_success() {
                true => Ok(StreamableHttpPostResponse::Accepted),
                false => Err(said(Answer::read(response).await.map_err(StreamableHttpError::Client)?.told())),
            };
        };
        if status.is_success() && events::is_stream(&response) {
            let stream = events::answering(response, id, asked);
            return Ok(StreamableHttpPostResponse::Sse(pace::messages(stream).boxed(), session));
        }
        let answer = Answer::read(response).await.map_err(StreamableHttpError::Client)?;
        self.answered(&answer, id, asked, in_session, session)
    }

    /// A complete answer, as the library is to take it.
    fn answered(
        &self,
        answer: &Answer,
        id: NumberOrString,
        asked: Asked,
        in_session: bool,
        session: Option<String>,
    ) -> Answered<StreamableHttpPostResponse> {
        let message = if answer.whole { reading::answer_to(&id, asked, &answer.text) } else { None };
        let is_denied = matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        match (message, asked) {
            (Some(message), _) if answer.status.is_success() => taken(message, session),
            (message, Asked::Call) => taken(reading::as_answer(&id, &failed(answer.failure(message))), session),
            // Who stands before the server may refuse the question that came first in 2026: then the older handshake is tried.
            (message, Asked::Discover) if answer.status.is_client_error() && !is_denied && !in_session => {
                let refused = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32600, "message": answer.told() } });
                taken(message.unwrap_or(refused), None)
            }
            (Some(message), _) if !is_denied && message.get("error").is_some() => taken(message, session),
            _ => Err(said(answer.told())),
        }
    }

    fn unwritten(&self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            ticket.unwritten();
        }
        self.suspect.notify_one();
    }
}

/// What travels with a request beside it.
fn extension<T: Send + Sync + 'static>(message: &ClientJsonRpcMessage) -> Option<&T> {
    match message {
        ClientJsonRpcMessage::Request(request) => request.request.extensions().get(),
        _ => None,
    }
}

/// A request goes out on a connection of its own: one that lay idle may be closed just then, and nobody knows how far the request got.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fresh;

impl Fresh {
    fn is_asked_by(message: &ClientJsonRpcMessage) -> bool {
        extension::<Self>(message).is_some()
    }
}

/// A failure as [`super::outcome`] tells it from a result.
fn failed(failure: Value) -> Value {
    json!({ super::outcome::FAILED: failure })
}

fn said(what: String) -> StreamableHttpError<reqwest::Error> {
    StreamableHttpError::UnexpectedServerResponse(what.into())
}

impl StreamableHttpClient for Client {
    type Error = reqwest::Error;

    async fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        custom_headers: Headers,
        _limits: StreamableHttpResponseLimits,
    ) -> Answered<StreamableHttpPostResponse> {
        let ticket = extension::<Ticket>(&message).cloned();
        if ticket.as_ref().is_some_and(|ticket| !ticket.write()) {
            return Err(StreamableHttpError::Io(std::io::Error::other("given up before it was written")));
        }
        let answered = self.post(&uri, &message, session_id, custom_headers).await;
        if matches!(&answered, Err(StreamableHttpError::Client(error)) if error.is_connect()) {
            self.unwritten(ticket);
        }
        answered
    }

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: Headers,
    ) -> Answered<StreamableHttpPostResponse> {
        let limits = StreamableHttpResponseLimits::default();
        self.post_message_with_response_limits(uri, message, session_id, auth_header, custom_headers, limits).await
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: Headers,
    ) -> Answered<()> {
        self.client.delete_session(uri, session_id, auth_header, custom_headers).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: Headers,
    ) -> Answered<BoxStream<'static, Result<Sse, SseError>>> {
        self.get_stream_with_max_sse_event_size(uri, session_id, last_event_id, auth_header, custom_headers, ANSWER_BYTES).await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: Headers,
        max_sse_event_size: usize,
    ) -> Answered<BoxStream<'static, Result<Sse, SseError>>> {
        let stream = self
            .client
            .get_stream_with_max_sse_event_size(uri, session_id, last_event_id, auth_header, custom_headers, max_sse_event_size)
            .await?;
        Ok(pace::messages(events::unasked(stream, self.questions.clone())).boxed())
    }
}
