//! One connection to a server, from the handshake to its end.

use super::{
    IDEMPOTENCY_KEY,
    answers::{answered, http_answer, no_handshake, page, told, with_last_line},
    http,
    import::TOOLS_MAX,
    outcome,
    settings::{ServerSettings, Transport},
    stdio,
    ticket::Ticket,
};
use maniple_core::ports::{Invocation, Invoked};
use rmcp::{
    ClientHandler, ClientLifecycleMode, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, ClientConfig, ClientRequest, DiscoverRequest, DiscoverRequestParams, ErrorCode,
        Implementation, ListToolsRequest, PaginatedRequestParams, PingRequest, ProtocolVersion, RequestMetaObject, ServerResult,
        SubscriptionFilter,
    },
    service::{
        NotificationContext, Peer, PeerRequestOptions, RequestHandle, RunningService, ServiceError, serve_client_with_lifecycle_and_ct,
    },
};
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The most that one listing may weigh, all pages.
const LISTING_BYTES: usize = 32 << 20;
const PAGES_MAX: usize = 1_000;
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
}

impl Connection {
    /// Connects and agrees on a version. The error says what went wrong, with the last that a command said on standard error:
    /// it has seen no call yet, so that no call is told with it.
    pub(super) async fn open(name: &str, settings: &ServerSettings, handshake: Handshake, within: Duration) -> Result<Self, String> {
        let (changed, suspect, stop) = (Arc::new(Notify::new()), Arc::new(Notify::new()), CancellationToken::new());
        let handler = Handler { changed: changed.clone() };
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
                    let transport = http::connect(&url, headers, suspect.clone())?;
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
        Ok(Self { peer, stop, ended, calls: AtomicUsize::new(0), changed, suspect })
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

    /// All tools as the server wrote them, all pages, no more than is taken.
    pub(super) async fn list(&self, within: Duration) -> Result<Vec<Value>, String> {
        match tokio::time::timeout(within, self.pages(within)).await {
            Ok(listed) => listed,
            Err(_) => Err(format!("its tools were not listed within {} ms", within.as_millis())),
        }
    }

    async fn pages(&self, within: Duration) -> Result<Vec<Value>, String> {
        let (mut tools, mut weight) = (Vec::new(), 0);
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let params = cursor.clone().map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
            let request = ListToolsRequest { params, ..Default::default() };
            let answer = self.ask(ClientRequest::ListToolsRequest(request), None, within).await;
            let (page, next) = page(answer.map_err(|lost| format!("its tools cannot be listed: {}", lost.told()))?)?;
            weight += page.iter().map(|tool| tool.to_string().len()).sum::<usize>();
            if weight > LISTING_BYTES {
                return Err(format!("its list of tools has more than {LISTING_BYTES} bytes"));
            }
            tools.extend(page);
            match next {
                Some(next) if tools.len() <= TOOLS_MAX => {
                    if cursor.as_ref() == Some(&next) {
                        return Err("its list of tools leads back to the same page".into());
                    }
                    cursor = Some(next);
                }
                _ => return Ok(tools),
            }
        }
        Err(format!("its list of tools has more than {PAGES_MAX} pages"))
    }

    /// Whether the server answers a request that does nothing.
    pub(super) async fn check(&self, within: Duration) -> Health {
        let request = match self.is_stateless() {
            true => ClientRequest::DiscoverRequest(DiscoverRequest::new(DiscoverRequestParams {})),
            false => ClientRequest::PingRequest(PingRequest::default()),
        };
        match self.ask(request, None, within).await {
            Ok(_) | Err(Lost::Broken(ServiceError::McpError(_))) => Health::Well,
            Err(Lost::TimedOut) => Health::Silent,
            Err(lost) => Health::Dead(lost.told()),
        }
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
    pub(super) async fn call(&self, original: String, call: &Invocation, within: Duration) -> Invoked {
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
        let mut request = CallToolRequest::new(CallToolRequestParams::new(original).with_arguments(arguments));
        request.extensions.insert(ticket.clone());
        let _in_flight = InFlight::begin(&self.calls);
        match self.ask(ClientRequest::CallToolRequest(request), Some(meta), within).await {
            Ok(answer) => answered(answer),
            Err(lost) => self.unanswered(lost, &ticket, call),
        }
    }

    /// Sends a request and waits for its answer. Whoever stops waiting has the server told.
    async fn ask(&self, request: ClientRequest, meta: Option<RequestMetaObject>, within: Duration) -> Result<ServerResult, Lost> {
        let may_cancel = !matches!(request, ClientRequest::DiscoverRequest(_));
        let mut options = PeerRequestOptions::no_options();
        options.meta = meta;
        let asking = async {
            let handle = self.peer.send_request_with_option(request, options).await?;
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
            Lost::Broken(ServiceError::TransportSend(error)) => match http_answer(error.error.as_ref()) {
                Some(failure) => return failure,
                None => lost.told(),
            },
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
