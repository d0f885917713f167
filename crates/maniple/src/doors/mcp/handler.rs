//! The protocol: what is listed, and which part answers.

use super::{Caller, agents, tools};
use maniple_core::{Error, Kind};
use maniple_runtime::desk::Desk;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CancelTaskParams, GetTaskParams, GetTaskResult, Implementation, ListToolsResult,
        PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, UpdateTaskParams,
    },
    service::RequestContext,
};
use serde_json::Value;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// How many tools a page holds.
const PAGE: usize = 200;

/// Serves one request of one principal.
#[derive(Clone)]
pub(in crate::doors) struct Handler {
    /// What decides.
    pub(in crate::doors) desk: Desk,
    /// Whether this node runs agents; a registry runs none.
    pub(in crate::doors) runs_agents: bool,
    /// Ends waiting when the node leaves; tasks go on.
    pub(in crate::doors) closing: CancellationToken,
    /// For whom.
    pub(in crate::doors) caller: Arc<Caller>,
    /// The tool that the request calls, where it is one of the catalogue's: what its headers must agree with, and how it is called.
    pub(in crate::doors) called: Option<tools::Found>,
}

/// Before the name in a cursor: what does not begin with it is none.
const CURSOR: &str = "after:";

impl Handler {
    /// With the tool that a message calls, whose annotated arguments are in headers too (SEP-2243).
    pub(in crate::doors) async fn about(mut self, message: &Value) -> Self {
        let name = message.get("params").and_then(|params| params.get("name")).and_then(Value::as_str);
        if let (Some("tools/call"), Some(name)) = (message.get("method").and_then(Value::as_str), name)
            && agents::named(&self, name).is_none()
        {
            // What went wrong is told when it is called.
            self.called = tools::named(&self, name).await.ok().flatten();
        }
        self
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_tasks().build();
        let mut implementation = Implementation::new("maniple", env!("CARGO_PKG_VERSION"));
        implementation.title = Some("Maniple".into());
        let instructions = "Tools of this node, and its agents as tools named agent_NAME: give one a prompt, and a session_id to go on with a conversation.";
        ServerConfig::new(capabilities).with_server_info(implementation).with_instructions(instructions)
    }

    /// By name, a page at a time; the cursor is the last name.
    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut all = agents::listed(self);
        let taken: Vec<String> = all.iter().map(|tool| tool.name.to_string()).collect();
        let catalogue = tools::listed(self).await.map_err(refused)?;
        all.extend(catalogue.into_iter().filter(|tool| !taken.iter().any(|name| *name == tool.name)));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let cursor = request.and_then(|request| request.cursor);
        let after = match cursor.as_deref().map(|cursor| cursor.strip_prefix(CURSOR)) {
            Some(None) => return Err(ErrorData::invalid_params("`cursor` is none that this server gave: leave it out to begin", None)),
            Some(Some(name)) => Some(name),
            None => None,
        };
        let mut rest = all.into_iter().filter(|tool| after.is_none_or(|after| *tool.name > *after));
        let page: Vec<Tool> = rest.by_ref().take(PAGE).collect();
        let next_cursor = rest.next().and(page.last()).map(|last| format!("{CURSOR}{}", last.name));
        let mut listed = ListToolsResult::with_all_items(page);
        listed.next_cursor = next_cursor;
        Ok(listed)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.called.as_ref().map(|found| &found.tool).filter(|tool| tool.name == name).cloned()
    }

    async fn call_tool(&self, request: CallToolRequestParams, context: RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        match agents::named(self, &request.name) {
            Some(agent) => agents::call(self, &*agent.map_err(refused)?, arguments, &context).await,
            None => tools::call(self, &request.name, arguments, &context).await.map(Into::into),
        }
    }

    async fn get_task(&self, request: GetTaskParams, _: RequestContext<RoleServer>) -> Result<GetTaskResult, ErrorData> {
        agents::task(self, &request.task_id).await.map_err(refused)
    }

    async fn cancel_task(&self, request: CancelTaskParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        agents::cancel(self, &request.task_id).await.map_err(refused)
    }

    async fn update_task(&self, _: UpdateTaskParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        Err(ErrorData::invalid_params("no task here asks its client for input", None))
    }
}

/// An error of ours as the protocol tells it.
pub(super) fn refused(error: Error) -> ErrorData {
    match error.kind {
        Kind::Internal => tracing::error!(%error, source = ?error.source, "a request failed"),
        Kind::Unavailable => tracing::warn!(%error, source = ?error.source, "a request was turned away"),
        Kind::Invalid | Kind::NotFound | Kind::Conflict | Kind::Denied | Kind::Exhausted => {}
    }
    match error.kind {
        Kind::Internal | Kind::Unavailable | Kind::Exhausted => ErrorData::internal_error(error.message, None),
        Kind::Denied => ErrorData::invalid_request(error.message, None),
        Kind::Invalid | Kind::NotFound | Kind::Conflict => ErrorData::invalid_params(error.message, None),
    }
}
