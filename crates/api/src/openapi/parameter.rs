//! What is sent beside a body: in the path, the query and the headers.

use super::bounds;
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Param {
    Path,
    Query,
    Header,
}

#[derive(Debug)]
pub(super) struct Parameter {
    pub name: &'static str,
    pub place: Param,
    pub what: &'static str,
    pub schema: fn() -> Value,
}

impl Parameter {
    pub(super) fn json(&self) -> Value {
        let place = match self.place {
            Param::Path => "path",
            Param::Query => "query",
            Param::Header => "header",
        };
        let mut schema = (self.schema)();
        let example = schema.as_object_mut().and_then(|schema| schema.remove("examples")).and_then(|examples| examples.get(0).cloned());
        let mut written =
            json!({ "name": self.name, "in": place, "required": self.place == Param::Path, "description": self.what, "schema": schema });
        if let Some(example) = example {
            written["example"] = example;
        }
        if written["schema"]["type"] == "array" {
            // With commas between the items.
            (written["style"], written["explode"]) = ("form".into(), false.into());
        }
        written
    }
}

const fn path(name: &'static str, what: &'static str, schema: fn() -> Value) -> Parameter {
    Parameter { name, place: Param::Path, what, schema }
}
pub(super) const fn query(name: &'static str, what: &'static str, schema: fn() -> Value) -> Parameter {
    Parameter { name, place: Param::Query, what, schema }
}
pub(super) const fn header(name: &'static str, what: &'static str, schema: fn() -> Value) -> Parameter {
    Parameter { name, place: Param::Header, what, schema }
}

pub(super) const AGENT: Parameter = path("agent", "The agent's name.", bounds::agent);
pub(super) const ID: Parameter = path("id", "The task.", bounds::task_id);
pub(super) const APPROVAL: Parameter = path("id", "The request.", bounds::approval_id);
pub(super) const SESSION: Parameter = path("id", "The conversation.", bounds::session_id);
pub(super) const TOOL: Parameter = path("name", "The tool's name.", bounds::tool);
pub(super) const INSTANCE: Parameter = path("instance", "As its registration named it.", bounds::instance);

pub(super) const KEY: Parameter =
    header("Idempotency-Key", "1 to 255 printable characters of ASCII. The same key and body is the same task, for 24 h.", bounds::key);
pub(super) const CALL_KEY: Parameter = header(
    "Idempotency-Key",
    "1 to 255 printable characters of ASCII. The same key and arguments is the same call of the tool, answered from its record for 24 h. One is made otherwise. Not with `run`, which has its own.",
    bounds::key,
);
pub(super) const KNOWN_KEY: Parameter =
    header("Idempotency-Key", "1 to 255 printable characters of ASCII. The same key with another body is refused.", bounds::key);
pub(super) const TRACE: Parameter =
    header("traceparent", "W3C trace context; the task's spans join it. One that is not well formed is left alone.", bounds::traceparent);
pub(super) const LAST_EVENT: Parameter = header("Last-Event-ID", "Resume after this number; wins over `after`.", bounds::event_number);

pub(super) const AFTER: Parameter = query("after", "Resume after this number.", bounds::event_number);
pub(super) const TOOL_VERSION: Parameter = query("version", "SemVer, such as `1.2.0`.", bounds::version);
pub(super) const OF_TENANT: Parameter =
    query("tenant", "As this tenant sees it, or on its behalf, if not the token's own. Needs `operator`.", bounds::tenant);
pub(super) const OF_PRINCIPAL: Parameter =
    query("principal", "Who asks there, if not the token's holder. Needs `operator`.", bounds::plain_principal);
pub(super) const OF_SCOPE: Parameter = query("scope", "`admin` or `operator`, if `principal` has it.", bounds::scope);
pub(super) const LIMIT: Parameter = query("limit", "How many at most.", bounds::limit);
pub(super) const CURSOR: Parameter = query("cursor", "`next_cursor` of the page before.", bounds::cursor);
pub(super) const NAME_CURSOR: Parameter = query("cursor", "`next_cursor` of the page before.", bounds::tool);
pub(super) const AGENT_CURSOR: Parameter = query("cursor", "`next_cursor` of the page before.", bounds::text);
pub(super) const VERSION_CURSOR: Parameter = query("cursor", "`next_cursor` of the page before.", bounds::version);
pub(super) const TURN_CURSOR: Parameter = query("cursor", "`next_cursor` of the page before.", bounds::task_sought);
pub(super) const APPROVAL_CURSOR: Parameter = query("cursor", "`next_cursor` of the page before.", bounds::approval_cursor);
pub(super) const PROMPT: Parameter = query("include", "`prompt`: with what was asked.", bounds::include);
pub(super) const THOUGHTS: Parameter =
    query("include", "`reasoning`: events show what models thought, in `model.finished`.", bounds::reasoning);
pub(super) const BEGINNINGS: Parameter = query("include", "`prompt`: with the beginning of each prompt, 200 characters.", bounds::include);
pub(super) const OF_AGENT: Parameter = query("agent", "Of this agent; needed where the node serves several.", bounds::agent);
