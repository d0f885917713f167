//! One connection to a server, from the handshake to its end.

use super::{
    IDEMPOTENCY_KEY,
    answers::{answered, no_handshake, page, told, with_last_line},
    http,
    import::TOOLS_MAX,
    listed::Listed,
    outcome,
    seats::Audiences,
    settings::{ServerSettings, Transport},
    stdio,
    ticket::Ticket,
};
use maniple_core::{
    ports::{Audience, Invocation, Invoked},
    tool::Effect,
};
use rmcp::{
    ClientHandler, ClientLifecycleMode, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, ClientConfig, ClientRequest, DiscoverRequest, DiscoverRequestParams, ErrorCode,
        Implementation, ListToolsRequest, PaginatedRequestParams, PingRequest, ProgressNotificationParam, ProtocolVersion,
        RequestMetaObject, ServerResult, SubscriptionFilter,
    },
    service::{
        NotificationContext, Peer, PeerRequestOptions, RequestHandle, RunningService, ServiceError, serve_client_with_lifecycle_and_ct,
    },
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const PAGES_MAX: usize = 1_000;
/// So many pages in a row that bring nothing new are the end of a listing, whatever their cursors say.
const EMPTY_PAGES_MAX: usize = 5;
/// How long telling a server that nobody waits any more may take.
const CANCELS_WITHIN: Duration = Duration::from_secs(5);
/// How long until a stream of changes that broke off is asked for again.
const LISTENS_AGAIN: Duration = Duration::from_secs(2);

/// How a protocol version is agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handshake {
    /// `server/discover` of 2026-07-28; a server that answers that it does not know it is asked to `initialize`.
    Newest,
    /// `initialize` at once, for servers that break when they are asked anything before it.
    Initialize,
}

/// A connection that has agreed on a protocol version. It closes when it is dropped.
pub(super) struct Connection {
    peer: Peer<RoleClient>,
    /// Ends it.
    stop: CancellationToken,
    /// It has ended.
    ended: CancellationToken,
    calls: AtomicUsize,
    /// Requests carry a session, which the server may forget.
    has_session: Arc<AtomicBool>,
    audiences: Audiences,
    /// The server says that its tools changed.
    pub(super) changed: Arc<Notify>,
    /// A call found that the connection is of no use.
    pub(super) suspect: Arc<Notify>,
}

/// How a server took a health check.
pub(super) enum Health {
    /// It answered.
    Well,
    /// Not in time.
    Silent,
    /// The connection is of no use.
    Dead(String),
}

/// What there is instead of an answer.
enum Lost {
    TimedOut,
    Broken(ServiceError),
}

/// What this client says of itself, and hears without asking.
struct Handler {
    changed: Arc<Notify>,
    audiences: Audiences,
}

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        let mut info = ClientConfig::default();
        info.client_info = Implementation::new("maniple", env!("CARGO_PKG_VERSION"));
        info.protocol_version = ProtocolVersion::LATEST_WITH_INITIALIZE;
        info
    }
    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed.notify_one();
    }
    async fn on_progress(&self, told: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        if let Some(audience) = self.audiences.of(&told.progress_token) {
            audience.progress(told.progress, told.total, told.message);
        }
    }
}

impl Connection {
    /// Connects and agrees on a version. The error says what went wrong, with the last that a command said on standard error:
    /// it has seen no call yet, so that no call is told with it.
    pub(super) async fn open(name: &str, settings: &ServerSettings, handshake: Handshake, within: Duration) -> Result<Self, String> {
        let (changed, suspect, stop) = (Arc::new(Notify::new()), Arc::new(Notify::new()), CancellationToken::new());
        let has_session = Arc::new(AtomicBool::new(false));
        let audiences = Audiences::default();
        let handler = Handler { changed: changed.clone(), audiences: audiences.clone() };
        let lifecycle = match handshake {
            Handshake::Newest => ClientLifecycleMode::Auto {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
                legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
            },
            Handshake::Initialize => ClientLifecycleMode::Initialize,
        };
        let (shaking_hands, last_line): (futures::future::BoxFuture<'_, _>, _) =
            match settings.transport(name).map_err(|error| error.message)? {
                Transport::Stdio(ServerSettings { command, env, cwd, keeper, .. }) => {
                    let command = [keeper.as_slice(), command.as_slice()].concat();
                    let (process, last_line) = stdio::start(name, &command, env, cwd.as_deref())?;
                    (Box::pin(serve_client_with_lifecycle_and_ct(handler, process, lifecycle, stop.clone())), Some(last_line))
                }
                Transport::Http(url, headers) => {
                    let transport = http::connect(&url, headers, suspect.clone(), has_session.clone())?;
                    (Box::pin(serve_client_with_lifecycle_and_ct(handler, transport, lifecycle, stop.clone())), None)
                }
            };
        let service: RunningService<RoleClient, Handler> = match tokio::time::timeout(within, shaking_hands).await {
            Ok(Ok(service)) => service,
            Ok(Err(error)) => return Err(with_last_line(no_handshake(&error), last_line.as_ref())),
            Err(_) => {
                let why = format!("no handshake within {} ms", within.as_millis());
                return Err(with_last_line(why, last_line.as_ref()));
            }
        };
        let (peer, ended) = (service.peer().clone(), CancellationToken::new());
        let end = ended.clone().drop_guard();
        tokio::spawn(async move {
            let _end = end;
            let _ = service.waiting().await;
        });
        Ok(Self { peer, stop, ended, calls: AtomicUsize::new(0), has_session, audiences, changed, suspect })
    }

    /// The protocol version agreed on.
    pub(super) fn protocol(&self) -> String {
        self.peer.peer_info().map(|info| info.protocol_version.to_string()).unwrap_or_default()
    }
    /// The version that the server says it has.
    pub(super) fn server_version(&self) -> Option<String> {
        Some(self.peer.peer_info()?.server_info.as_ref()?.version.clone())
    }
    /// Whether it says when its tools change; one that does not is asked.
    pub(super) fn tells_changes(&self) -> bool {
        self.peer.peer_info().is_some_and(|info| info.capabilities.tools.as_ref().and_then(|tools| tools.list_changed) == Some(true))
    }
    /// Whether no call is in flight: a server at work may have no time for questions.
    pub(super) fn is_idle(&self) -> bool {
        self.calls.load(Ordering::SeqCst) == 0
    }
    fn is_stateless(&self) -> bool {
        self.peer.peer_info().is_some_and(|info| !info.protocol_version.has_initialize())
    }

    /// Ends it; calls in flight are told so.
    pub(super) fn close(&self) {
        self.stop.cancel();
    }
    /// Waits for its end.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// All tools as the server wrote them, all pages, no more than is taken. A listing whose pages lead nowhere new ends there.
    pub(super) async fn list(&self, within: Duration) -> Result<Vec<Value>, String> {
        let mut listed = Listed::default();
        match tokio::time::timeout(within, self.pages(&mut listed, within)).await {
            Ok(Ok(())) => Ok(listed.tools),
            Ok(Err(why)) => Err(why),
            // It has said all it has, and goes on saying that there is more.
            Err(_) if listed.pages_without_news > 0 && !listed.tools.is_empty() => Ok(listed.tools),
            Err(_) => Err(format!("its tools were not listed within {} ms", within.as_millis())),
        }
    }

    async fn pages(&self, listed: &mut Listed, within: Duration) -> Result<(), String> {
        let (mut seen, mut cursor) = (BTreeSet::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            let asked = self.ask(list_from(cursor.clone()), None, within).await;
            let (page, next) = match asked {
                Ok(answer) => page(answer)?,
                // Before 2026 an empty cursor was the end, to some that is no cursor to ask by.
                Err(_) if cursor.as_deref() == Some("") => return Ok(()),
                Err(lost) => return Err(format!("its tools cannot be listed: {}", lost.told())),
            };
            listed.add(page)?;
            match next {
                Some(next)
                    if listed.tools.len() <= TOOLS_MAX && listed.pages_without_news < EMPTY_PAGES_MAX && seen.insert(next.clone()) =>
                {
                    cursor = Some(next);
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Whether the server answers a request that does nothing.
    pub(super) async fn check(&self, within: Duration) -> Health {
        let request = match self.is_stateless() {
            true => ClientRequest::DiscoverRequest(DiscoverRequest::new(DiscoverRequestParams {})),
            false => ClientRequest::PingRequest(PingRequest::default()),
        };
        match self.ask(request, None, within).await {
            Ok(_) => return Health::Well,
            Err(Lost::TimedOut) => return Health::Silent,
            Err(Lost::Broken(ServiceError::McpError(_))) if !self.has_session() => return Health::Well,
            Err(lost) if !self.has_session() => return Health::Dead(lost.told()),
            // It may not know the question, or the session any more: what it has answered before tells which.
            Err(_) => {}
        }
        match self.ask(list_from(None), None, within).await {
            Ok(_) => Health::Well,
            Err(Lost::TimedOut) => Health::Silent,
            Err(lost) => Health::Dead(format!("the server does not know the session any more: {}", lost.told())),
        }
    }

    fn has_session(&self) -> bool {
        self.has_session.load(Ordering::Relaxed)
    }

    /// Asks to be told of changes, for as long as this is polled: since 2026-07-28 nobody is told unasked.
    pub(super) async fn listen(&self) {
        if !self.is_stateless() || !self.tells_changes() {
            return std::future::pending().await;
        }
        loop {
            match self.peer.listen(SubscriptionFilter::builder().tools_list_changed().build()).await {
                Ok(mut changes) => {
                    while let Ok(Some(_)) = changes.next().await {
                        self.changed.notify_one();
                    }
                }
                Err(ServiceError::McpError(error)) if error.code == ErrorCode::METHOD_NOT_FOUND => return std::future::pending().await,
                Err(error) => tracing::debug!(%error, "changes of an mcp server's tools cannot be heard"),
            }
            tokio::time::sleep(LISTENS_AGAIN).await;
            self.changed.notify_one(); // what changed while nobody listened
        }
    }

    /// One attempt of a call, within that time.
    pub(super) async fn call(&self, original: &str, call: &Invocation, within: Duration, audience: Option<&Arc<dyn Audience>>) -> Invoked {
        let arguments = match &call.arguments {
            Value::Object(members) => members.clone(),
            Value::Null => Default::default(),
            _ => return outcome::unusable("arguments must be an object"),
        };
        let mut meta = RequestMetaObject::new();
        meta.insert(IDEMPOTENCY_KEY.into(), call.key.clone().into());
        if let Some(trace) = &call.trace {
            meta.set_traceparent(&trace.traceparent);
            if let Some(state) = &trace.tracestate {
                meta.set_tracestate(state);
            }
        }
        let ticket = Ticket::default();
        let mut request = CallToolRequest::new(CallToolRequestParams::new(original.to_owned()).with_arguments(arguments));
        request.extensions.insert(ticket.clone());
        if call.tool.effect() == Effect::AtMostOnce {
            request.extensions.insert(http::Fresh);
        }
        let _in_flight = InFlight::begin(&self.calls);
        match self.ask_before(ClientRequest::CallToolRequest(request), Some(meta), within, audience).await {
            Ok(answer) => answered(answer, call.tool.returns.as_ref(), audience),
            Err(lost) => self.unanswered(lost, &ticket, call),
        }
    }

    /// Whether the server told this outcome because it has forgotten the session, and so did nothing: the session is then of no use for
    /// anything else either. Asked after an error answer; what a tool says against a call is none.
    pub(super) async fn forgot(&self, outcome: &Invoked, within: Duration) -> bool {
        let Invoked::Failed(failure) = outcome else { return false };
        let is_error_answer = failure.get("status").is_some() || failure.get("code").is_some();
        if !is_error_answer || !self.has_session() {
            return false;
        }
        // To a request of a session 404 says that there is none (Streamable HTTP); of other answers the server is asked.
        let is_gone = failure["status"] == 404;
        if !is_gone && !matches!(self.check(within).await, Health::Dead(_)) {
            return false;
        }
        self.suspect.notify_one();
        true
    }

    /// Sends a request and waits for its answer. Whoever stops waiting has the server told.
    async fn ask(&self, request: ClientRequest, meta: Option<RequestMetaObject>, within: Duration) -> Result<ServerResult, Lost> {
        self.ask_before(request, meta, within, None).await
    }

    async fn ask_before(
        &self,
        request: ClientRequest,
        meta: Option<RequestMetaObject>,
        within: Duration,
        audience: Option<&Arc<dyn Audience>>,
    ) -> Result<ServerResult, Lost> {
        let may_cancel = !matches!(request, ClientRequest::DiscoverRequest(_));
        let mut options = PeerRequestOptions::no_options();
        options.meta = meta;
        let asking = async {
            let handle = self.peer.send_request_with_option(request, options).await?;
            let _seat = audience.map(|audience| self.audiences.seat(&handle.progress_token, audience));
            let mut waiting = Waiting(Some(handle), may_cancel);
            let answer = match &mut waiting.0 {
                Some(handle) => (&mut handle.rx).await,
                None => return Err(ServiceError::TransportClosed),
            };
            waiting.0 = None;
            answer.map_err(|_| ServiceError::TransportClosed)?
        };
        match tokio::time::timeout(within, asking).await {
            Ok(answer) => answer.map_err(Lost::Broken),
            Err(_) => Err(Lost::TimedOut),
        }
    }

    /// What is known of a call without an answer. A complete HTTP answer of any status is one; else what was never written
    /// was not sent, and of the rest nobody knows.
    fn unanswered(&self, lost: Lost, ticket: &Ticket, call: &Invocation) -> Invoked {
        let why = match &lost {
            Lost::Broken(ServiceError::McpError(error)) => return outcome::refused(error.clone()),
            Lost::TimedOut => format!("no answer within {} ms", call.timeout.as_millis()),
            Lost::Broken(_) => lost.told(),
        };
        let why = format!("tool `{}`: {why}", call.tool.name);
        if ticket.withdraw() { Invoked::NotSent(why) } else { Invoked::Unknown(why) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Lost {
    fn told(&self) -> String {
        match self {
            Self::TimedOut => "no answer in time".into(),
            Self::Broken(error) => told(error),
        }
    }
}

fn list_from(cursor: Option<String>) -> ClientRequest {
    let params = cursor.map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
    ClientRequest::ListToolsRequest(ListToolsRequest { params, ..Default::default() })
}

/// Counts a call in flight.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn begin(calls: &'a AtomicUsize) -> Self {
        calls.fetch_add(1, Ordering::SeqCst);
        Self(calls)
    }
}
impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A request whose answer is waited for, and whether its server may be told that it is not any more.
struct Waiting(Option<RequestHandle<RoleClient>>, bool);

impl Drop for Waiting {
    fn drop(&mut self) {
        let (Some(handle), true, Ok(runtime)) = (self.0.take(), self.1, tokio::runtime::Handle::try_current()) else { return };
        let reason = Some("the caller does not wait any more".to_owned());
        runtime.spawn(async move { tokio::time::timeout(CANCELS_WITHIN, handle.cancel(reason)).await });
    }
}
