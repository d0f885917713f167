//! A server behind streamable HTTP.
//!
//! The transport below sends again what a server answered with "this session is over", after making another session.
//! Here it does not get to: sending again is decided in one place, by the run, so such an answer ends the connection and the call was
//! not sent. Its messages are taken at 2,000 a second. Redirects are not followed, a proxy of the environment is not used, and an answer is at most 4 MiB.

use super::{pace, ticket::Ticket};
use crate::transport::client;
use futures::{StreamExt, stream::BoxStream};
use http::{HeaderName, HeaderValue};
use maniple_core::settings::Secret;
use rmcp::{
    model::{ClientJsonRpcMessage, GetExtensions},
    transport::{
        StreamableHttpClientTransport,
        common::client_side_sse::FixedInterval,
        streamable_http_client::{
            SseError, StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError, StreamableHttpPostResponse,
            StreamableHttpResponseLimits,
        },
    },
};
use sse_stream::Sse;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
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

type Answered<T> = Result<T, StreamableHttpError<reqwest::Error>>;
type Headers = HashMap<HeaderName, HeaderValue>;

/// The client that tells whether a request was written.
#[derive(Clone)]
pub(super) struct Client {
    client: reqwest::Client,
    /// Something says that the connection is of no use any more.
    suspect: Arc<Notify>,
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

/// A transport to a server; `suspect` hears of it when the connection turns out to be of no use.
pub(super) fn connect(
    url: &Url,
    given: &BTreeMap<String, Secret>,
    suspect: Arc<Notify>,
) -> Result<StreamableHttpClientTransport<Client>, String> {
    let client = client::builder(CONNECTS_WITHIN).build().map_err(|error| format!("cannot make an HTTP client: {error}"))?;
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
    Ok(StreamableHttpClientTransport::with_client(Client { client, suspect }, config))
}

impl StreamableHttpClient for Client {
    type Error = reqwest::Error;

    async fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: Headers,
        limits: StreamableHttpResponseLimits,
    ) -> Answered<StreamableHttpPostResponse> {
        let ticket = match &message {
            ClientJsonRpcMessage::Request(request) => request.request.extensions().get::<Ticket>().cloned(),
            _ => None,
        };
        if ticket.as_ref().is_some_and(|ticket| !ticket.write()) {
            return Err(StreamableHttpError::Io(std::io::Error::other("given up before it was written")));
        }
        let answered = self.client.post_message_with_response_limits(uri, message, session_id, auth_header, custom_headers, limits).await;
        match &answered {
            Err(StreamableHttpError::Client(error)) if error.is_connect() => self.unwritten(ticket),
            Err(StreamableHttpError::SessionExpired) => self.unwritten(ticket),
            _ => {}
        }
        answered.map(|answer| match answer {
            StreamableHttpPostResponse::Sse(events, session) => StreamableHttpPostResponse::Sse(pace::messages(events).boxed(), session),
            other => other,
        })
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
        self.client
            .get_stream_with_max_sse_event_size(uri, session_id, last_event_id, auth_header, custom_headers, max_sse_event_size)
            .await
            .map(|events| pace::messages(events).boxed())
    }
}

impl Client {
    fn unwritten(&self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            ticket.unwritten();
        }
        self.suspect.notify_one();
    }
}
