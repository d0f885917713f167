//! A typed client of the door. A refusal is the same [`Error`] on both sides of the wire.

mod follow;

pub use follow::Follow;

use crate::{
    approvals::{Approval, ApprovalPage, Decision},
    event::TaskEvent,
    page::{AgentPage, Erased, MessagePage, SessionPage, TaskPage},
    probe::Readiness,
    problem::Problem,
    request::TaskRequest,
};
use futures::{Stream, StreamExt};
use maniple_core::{Error, Result, settings::is_this_machine, task::AgentResult};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The most an answer may weigh: a page of two hundred large results fits.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// A connection that was idle for so long is not used again. A node that leaves hears idle ones for twice as long, so that no request
/// meets a connection that is being closed.
pub const IDLE_MAX: Duration = Duration::from_millis(500);

/// Speaks to one node.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    pub(crate) base: String,
    token: Option<String>,
}

/// What a task's answer says beside the task.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The task as it is.
    pub result: AgentResult,
    /// Whether the Idempotency-Key was known.
    pub replayed: bool,
}

/// Which tasks to list. Empty means any.
#[derive(Debug, Clone, Default)]
pub struct TaskQuery {
    /// In this state.
    pub status: Option<String>,
    /// Of this conversation.
    pub session_id: Option<String>,
    /// Of this agent.
    pub agent: Option<String>,
    /// How many at most.
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// With the beginning of each prompt.
    pub prompts: bool,
}

impl TaskQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let given = [
            ("status", self.status.clone()),
            ("session_id", self.session_id.clone()),
            ("agent", self.agent.clone()),
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("cursor", self.cursor.clone()),
            ("include", self.prompts.then(|| "prompt".to_owned())),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

impl Client {
    /// A client of the node at `base`, such as `http://127.0.0.1:8080`.
    pub fn new(base: &str, token: Option<String>) -> Result<Self> {
        Self::connecting_within(Duration::from_secs(5), base, token)
    }

    pub(crate) fn connecting_within(connect_max: Duration, base: &str, token: Option<String>) -> Result<Self> {
        let base = base.trim().trim_end_matches('/');
        // `localhost:8080` reads as a URL of the scheme `localhost`.
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        let is_http = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        let Some(url) = reqwest::Url::parse(&base).ok().filter(is_http) else {
            return Err(Error::invalid(format!("`{base}` is no address of a node: write http://HOST:PORT or HOST:PORT")).at("url"));
        };
        let http =
            reqwest::Client::builder().connect_timeout(connect_max).pool_idle_timeout(IDLE_MAX).redirect(reqwest::redirect::Policy::none());
        let is_here = url.host_str().is_some_and(is_this_machine);
        let http = if is_here { http.no_proxy() } else { http }.build();
        let http = http.map_err(|e| Error::internal("the HTTP client cannot be made").because(e))?;
        Ok(Self { http, base, token })
    }

    /// Asks and waits. The task may be unfinished: then it goes on.
    pub async fn run(&self, request: &TaskRequest, key: Option<&str>) -> Result<Submitted> {
        self.submitted(self.asking("/run", request, key)).await
    }
    /// Asks and does not wait.
    pub async fn submit(&self, request: &TaskRequest, key: Option<&str>) -> Result<Submitted> {
        self.submitted(self.asking("/tasks", request, key)).await
    }
    /// Asks and follows: the task's events and deltas from its first, over any number of connections.
    pub async fn run_and_follow(&self, request: &TaskRequest, key: Option<&str>) -> Result<impl Stream<Item = Result<TaskEvent>> + use<>> {
        let response = self.sent(self.asking("/run", request, key).header(header::ACCEPT, "text/event-stream")).await?;
        Ok(Follow::begun(self.clone(), response).into_stream())
    }
    /// A task's events after `after` and its deltas, over any number of connections, to its last.
    pub fn events(&self, task: &str, after: u64) -> impl Stream<Item = Result<TaskEvent>> + use<> {
        Follow::of(self.clone(), task.to_owned(), after).into_stream()
    }
    /// A task as it is now.
    pub async fn task(&self, task: &str) -> Result<AgentResult> {
        self.answer(self.to(Method::GET, &["tasks", task])).await
    }
    /// The same with what was asked.
    pub async fn task_with_prompt(&self, task: &str) -> Result<AgentResult> {
        self.answer(self.to(Method::GET, &["tasks", task]).query(&[("include", "prompt")])).await
    }
    /// A page of tasks, newest first.
    pub async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage> {
        self.answer(self.to(Method::GET, &["tasks"]).query(&query.pairs())).await
    }
    /// Asks a task to stop.
    pub async fn cancel(&self, task: &str) -> Result<AgentResult> {
        self.answer(self.to(Method::POST, &["tasks", task, "cancel"])).await
    }
    /// Retries a failed task from its record.
    pub async fn retry(&self, task: &str, key: Option<&str>) -> Result<Submitted> {
        self.submitted(keyed(self.to(Method::POST, &["tasks", task, "retry"]), key)).await
    }
    /// A page of dead letters, newest first. `status` and `session_id` of the query are not used.
    pub async fn dead_letters(&self, query: &TaskQuery) -> Result<TaskPage> {
        self.answer(self.to(Method::GET, &["dead-letters"]).query(&query.pairs())).await
    }
    /// Tries a dead letter again.
    pub async fn requeue(&self, task: &str, key: Option<&str>) -> Result<Submitted> {
        self.submitted(keyed(self.to(Method::POST, &["dead-letters", task, "requeue"]), key)).await
    }
    /// Takes a dead letter out.
    pub async fn drop_dead_letter(&self, task: &str) -> Result<AgentResult> {
        self.answer(self.to(Method::POST, &["dead-letters", task, "drop"])).await
    }
    /// A page of requests for a person, oldest first: (name, value) as the query has them.
    pub async fn approvals(&self, query: &[(&str, String)]) -> Result<ApprovalPage> {
        self.answer(self.to(Method::GET, &["approvals"]).query(query)).await
    }
    /// A request for a person.
    pub async fn approval(&self, id: &str) -> Result<Approval> {
        self.answer(self.to(Method::GET, &["approvals", id])).await
    }
    /// Decides over one.
    pub async fn decide(&self, id: &str, decision: &Decision, key: Option<&str>) -> Result<Approval> {
        self.answer(keyed(self.to(Method::POST, &["approvals", id]).json(decision), key)).await
    }
    /// A page of conversations, newest first. `status` and `session_id` of the query are not used.
    pub async fn sessions(&self, query: &TaskQuery) -> Result<SessionPage> {
        self.answer(self.to(Method::GET, &["sessions"]).query(&query.pairs())).await
    }
    /// A page of a conversation.
    pub async fn messages(&self, session: &str, query: &TaskQuery) -> Result<MessagePage> {
        self.answer(self.to(Method::GET, &["sessions", session, "messages"]).query(&query.pairs())).await
    }
    /// Erases a conversation.
    pub async fn erase(&self, session: &str, agent: Option<&str>) -> Result<Erased> {
        let query: Vec<(&str, &str)> = agent.map(|agent| ("agent", agent)).into_iter().collect();
        self.answer(self.to(Method::DELETE, &["sessions", session]).query(&query)).await
    }
    /// A page of agents.
    pub async fn agents(&self, query: &TaskQuery) -> Result<AgentPage> {
        self.answer(self.to(Method::GET, &["agents"]).query(&query.pairs())).await
    }
    /// Whether the node can work, part by part. `Unavailable` when it cannot.
    pub async fn ready(&self) -> Result<Readiness> {
        self.answer(self.to(Method::GET, &["ready"])).await
    }

    fn asking(&self, path: &str, request: &TaskRequest, key: Option<&str>) -> RequestBuilder {
        keyed(self.to(Method::POST, &[path.trim_start_matches('/')]).json(request), key)
    }

    /// Each part becomes one segment, whatever it holds.
    pub(crate) fn to(&self, method: Method, parts: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        for part in parts {
            url.push('/');
            part.bytes().for_each(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b':' | b'~' => url.push(byte as char),
                other => url.push_str(&format!("%{other:02X}")),
            });
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn submitted(&self, request: RequestBuilder) -> Result<Submitted> {
        let response = self.sent(request).await?;
        let replayed = response.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
        Ok(Submitted { result: read(response).await?, replayed })
    }

    pub(crate) async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        read(self.sent(request).await?).await
    }

    /// The response, if it is not a refusal.
    pub(crate) async fn sent(&self, request: RequestBuilder) -> Result<Response> {
        let response = self.asked(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem: Problem = match read(response).await {
            Ok(problem) => problem,
            Err(_) => return Err(not_ours(&self.base, status)),
        };
        Err(problem.into())
    }

    /// The response, whatever it says.
    pub(crate) async fn asked(&self, request: RequestBuilder) -> Result<Response> {
        request.send().await.map_err(|e| self.unreachable(e))
    }

    fn unreachable(&self, error: reqwest::Error) -> Error {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(below) = cause.source() {
            cause = below;
        }
        Error::unavailable(format!("no node answers at {}: {cause}; start one with `maniple dev`, or say --url", self.base)).because(error)
    }
}

pub(crate) fn keyed(request: RequestBuilder, key: Option<&str>) -> RequestBuilder {
    match key {
        Some(key) => request.header("Idempotency-Key", key),
        None => request,
    }
}

fn not_ours(base: &str, status: StatusCode) -> Error {
    Error::unavailable(format!("{base} answered {status} without saying why: is it a Maniple node?"))
}

pub(crate) async fn read<T: DeserializeOwned>(response: Response) -> Result<T> {
    let broken = |e: reqwest::Error| Error::unavailable("the answer broke off: ask again").because(e);
    let mut bytes = Vec::new();
    let mut body = response.bytes_stream();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece.map_err(broken)?);
        if bytes.len() > MAX_ANSWER_BYTES {
            return Err(Error::internal("the answer has no end"));
        }
    }
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::internal("the answer is not what this version reads: are both sides the same version?").because(e))
}
