//! What the door takes, as schemas. Every bound here is the constant that the door checks by.
//!
//! Patterns are of ECMA-262 and of the plainest sort: no classes such as `\d`, which mean more to some readers, and no looking ahead.

use crate::{
    approvals::REASON_MAX,
    page::{DEFAULT_LIMIT, MAX_LIMIT},
    tools::wire::{PRINCIPAL_MAX, TIMEOUT_MS_MAX},
};
use maniple_core::{
    AgentName, SessionId, TaskId, Tenant,
    ports::Idempotency,
    request::DEADLINE_MS_MAX,
    task::{Ceilings, STEPS_MIN, TOKENS_MIN, TaskLimits},
    tool::ToolDefinition,
};
use serde_json::{Map, Value, json};

/// A number of a version.
const NUMBER: &str = "(0|[1-9][0-9]{0,17})";
/// What may follow the numbers of a version.
const PRERELEASE: &str = "(-(0|[1-9][0-9]{0,17}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)([.](0|[1-9][0-9]{0,17}|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?";
const BUILD: &str = "([+][0-9A-Za-z-]+([.][0-9A-Za-z-]+)*)?";

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}
pub(super) fn task_id() -> Value {
    let pattern = format!("^[A-Za-z0-9._:-]{{1,{}}}$", TaskId::CHARS_MAX);
    // Neither can stand in a path.
    let nowhere = json!({ "enum": [".", ".."] });
    json!({ "type": "string", "minLength": 1, "maxLength": TaskId::CHARS_MAX, "pattern": pattern, "not": nowhere, "examples": ["order-7"] })
}
pub(super) fn session_id() -> Value {
    let nowhere = json!({ "enum": [".", ".."] });
    json!({ "type": "string", "minLength": 1, "maxLength": SessionId::CHARS_MAX, "not": nowhere, "examples": ["customer-42"] })
}
/// Of a task that is looked for: one that cannot be is not there.
pub(super) fn task_sought() -> Value {
    anywhere(task_id())
}
pub(super) fn session_sought() -> Value {
    anywhere(session_id())
}
fn anywhere(mut id: Value) -> Value {
    if let Some(id) = id.as_object_mut() {
        id.remove("not");
    }
    id
}
pub(super) fn approval_id() -> Value {
    json!({ "type": "string", "minLength": 1, "examples": ["order-7:1:0"] })
}
pub(super) fn agent() -> Value {
    let (pattern, most) = (format!("^[a-z0-9]([a-z0-9-]{{0,{}}}[a-z0-9])?$", AgentName::CHARS_MAX - 2), AgentName::CHARS_MAX);
    json!({ "type": "string", "minLength": 1, "maxLength": most, "pattern": pattern, "examples": ["assistant"] })
}
pub(super) fn tenant() -> Value {
    let (pattern, most) = (format!("^[A-Za-z0-9._-]{{1,{}}}$", Tenant::CHARS_MAX), Tenant::CHARS_MAX);
    json!({ "type": "string", "minLength": 1, "maxLength": most, "pattern": pattern, "examples": ["default"] })
}
/// Of a body. Control characters are those of Unicode.
fn principal() -> Value {
    let pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$";
    json!({ "type": "string", "minLength": 1, "maxLength": PRINCIPAL_MAX, "pattern": pattern, "examples": ["ann"] })
}
pub(super) fn plain_principal() -> Value {
    let pattern = "^[^/\\u0000-\\u001f\\u007f-\\u009f]+$";
    json!({ "type": "string", "minLength": 1, "maxLength": PRINCIPAL_MAX, "pattern": pattern, "examples": ["ann"] })
}
pub(super) fn tool() -> Value {
    let pattern = format!("^[A-Za-z0-9_-]{{1,{}}}$", ToolDefinition::NAME_MAX);
    json!({ "type": "string", "minLength": 1, "maxLength": ToolDefinition::NAME_MAX, "pattern": pattern, "examples": ["clock"] })
}
pub(super) fn instance() -> Value {
    json!({ "type": "string", "minLength": 1, "examples": ["clock-1"] })
}
pub(super) fn version() -> Value {
    json!({ "type": "string", "pattern": format!("^{NUMBER}[.]{NUMBER}[.]{NUMBER}{PRERELEASE}{BUILD}$"), "examples": ["1.0.0"] })
}
fn range() -> String {
    let one = format!("((\\^|~|=|>=?|<=?) *)?{NUMBER}([.]{NUMBER}([.]{NUMBER}{PRERELEASE}{BUILD})?)?");
    format!("([*]|{one}( *, *{one}){{0,31}}|{NUMBER}([.]{NUMBER})?[.][*])")
}
fn wish() -> Value {
    json!({ "type": "string", "pattern": format!("^[^@]+(@{})?$", range()), "examples": ["clock"] })
}
/// In a header, whose blanks at both ends are no part of it.
pub(super) fn key() -> Value {
    let pattern = format!("^[!-~]([ -~]{{0,{}}}[!-~])?$", Idempotency::KEY_MAX - 2);
    json!({ "type": "string", "minLength": 1, "maxLength": Idempotency::KEY_MAX, "pattern": pattern })
}
fn key_in_body() -> Value {
    let pattern = format!("^[ -~]{{1,{}}}$", Idempotency::KEY_MAX);
    json!({ "type": "string", "minLength": 1, "maxLength": Idempotency::KEY_MAX, "pattern": pattern })
}
/// Of a call of a run, whose last part says which call: `TASK:STEP:INDEX`.
fn key_of_run() -> Value {
    let pattern = format!("^([A-Za-z0-9._-]{{1,{}}}/)?[ -.0-~]+$", Tenant::CHARS_MAX);
    json!({ "type": "string", "minLength": 1, "maxLength": Idempotency::KEY_MAX, "pattern": pattern })
}
pub(super) fn traceparent() -> Value {
    json!({ "type": "string", "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"] })
}
pub(super) fn event_number() -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": i64::MAX, "examples": [0] })
}
pub(super) fn limit() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT, "examples": [DEFAULT_LIMIT] })
}
/// Of a list by time whose items have ids such as tasks.
pub(super) fn cursor() -> Value {
    let pattern = format!("^[0-9]{{1,18}}[.][A-Za-z0-9._:-]{{1,{}}}$", TaskId::CHARS_MAX);
    json!({ "type": "string", "pattern": pattern, "examples": ["4102444800000.order-7"] })
}
pub(super) fn approval_cursor() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]{1,18}[.]", "examples": ["0.order-7:1:0"] })
}
pub(super) fn include() -> Value {
    json!({ "type": "array", "items": { "enum": ["prompt"] }, "examples": [["prompt"]] })
}
pub(super) fn reasoning() -> Value {
    // Other words are skipped.
    json!({ "type": "array", "items": { "type": "string" }, "examples": [["reasoning"]] })
}
pub(super) fn task_status() -> Value {
    json!({ "$ref": "#/components/schemas/TaskStatus" })
}
pub(super) fn approval_state() -> Value {
    json!({ "type": "string", "enum": ["open", "approved", "denied", "expired"] })
}
pub(super) fn source() -> Value {
    json!({ "type": "string", "enum": ["registered", "added"], "default": "registered" })
}
pub(super) fn scope() -> Value {
    json!({ "type": "string", "enum": ["admin", "operator"] })
}
pub(super) fn reason() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 1_000, "pattern": "[!-~]", "examples": ["both callers were asked"] })
}

/// Writes the bounds of what is sent into the schemas of the types.
pub(super) fn write(schemas: &mut Map<String, Value>, ceilings: Ceilings) {
    let limits = TaskLimits::below(ceilings);
    let between = |low: i64, high: i64| json!({ "minimum": low, "maximum": high });
    let steps = json!({ "minimum": STEPS_MIN, "maximum": limits.max_steps, "default": limits.default_max_steps, "description": "How many model calls at most." });
    let tokens = json!({ "minimum": TOKENS_MIN, "maximum": limits.token_budget, "default": limits.default_token_budget,
        "description": "How many tokens its model calls may use." });
    let bounds = [
        ("TaskRequest", "id", task_id()),
        ("TaskRequest", "session_id", session_id()),
        ("TaskRequest", "prompt", json!({ "minLength": 1 })),
        ("TaskRequest", "agent", agent()),
        ("TaskRequest", "max_steps", steps),
        ("TaskRequest", "token_budget", tokens),
        ("TaskRequest", "deadline_ms", between(1, DEADLINE_MS_MAX)),
        ("TaskRequest", "priority", json!({ "minimum": 0, "maximum": 9, "default": 5 })),
        ("Decision", "reason", json!({ "maxLength": REASON_MAX })),
        ("CallRequest", "agent", agent()),
        ("CallRequest", "version", json!({ "pattern": format!("^{}$", range()), "examples": ["^1.0"] })),
        ("CallRequest", "tenant", tenant()),
        ("CallRequest", "principal", principal()),
        ("CallRequest", "key", key_in_body()),
        ("CallRequest", "timeout_ms", between(1, TIMEOUT_MS_MAX as i64)),
        ("CallOfRun", "key", key_of_run()),
        ("CallOfRun", "send", key_in_body()),
        ("ResolveRequest", "agent", agent()),
        ("ResolveRequest", "tenant", tenant()),
        ("ResolveRequest", "tools", json!({ "items": wish(), "maxItems": 1_000 })),
        ("ResolveRequest", "pick", wish()),
        ("ToolDefinition", "name", tool()),
        ("ToolDefinition", "version", version()),
        ("ToolDefinition", "description", json!({ "minLength": 1 })),
        ("ToolDefinition", "timeout_ms", between(1, ToolDefinition::TIMEOUT_MS_MAX as i64)),
        ("ToolDefinition", "rate_limit", between(1, ToolDefinition::RATE_LIMIT_MAX.into())),
        ("ToolDefinition", "cache_ttl_ms", between(1, ToolDefinition::CACHE_TTL_MS_MAX as i64)),
    ];
    for (schema, field, bound) in bounds {
        let Some(Value::Object(known)) = schemas.get_mut(schema).and_then(|schema| schema["properties"].get_mut(field)) else { continue };
        let Value::Object(bound) = bound else { continue };
        known.remove("default");
        known.extend(bound);
    }
    for (schema, required) in [("CallRequest", "agent"), ("ResolveRequest", "agent")] {
        schemas[schema]["required"] = json!([required]);
    }
    schemas["Decision"]["additionalProperties"] = false.into();
    schemas["ResolveRequest"]["not"] = json!({ "required": ["tools", "pick"] });
    schemas.extend(choices());
}

/// The forms that one type takes at different calls.
fn choices() -> Map<String, Value> {
    let of = |base: &str, what: &str, rule: Value| json!({ "description": what, "allOf": [{ "$ref": format!("#/components/schemas/{base}") }, rule] });
    let (run, key) = (json!({ "required": ["run"] }), json!({ "required": ["key"] }));
    let only = |one: &Value, other: &Value| json!({ "required": one["required"], "not": other });
    let call = [
        ("CallToInvoke", "A call. Its key is the header Idempotency-Key, or stands in `run`.", json!({ "not": key })),
        ("CallToAdmit", "A run's call, before it is made.", run.clone()),
        ("CallToProbe", "A run's call, or the direct call of `key`.", json!({ "oneOf": [only(&run, &key), only(&key, &run)] })),
    ];
    let call = call.map(|(name, what, rule)| (name, of("CallRequest", what, rule)));
    let endpoint = json!({ "type": "string", "pattern": "^https?://[^/?#]" });
    let kinds = json!({ "const": "object" });
    let new_tool = of(
        "ToolDefinition",
        "A definition on its way in. Where it leads must be reachable for tools that register themselves, and its schemas must be JSON Schema.",
        json!({ "properties": { "endpoint": endpoint, "parameters": { "properties": { "type": kinds } }, "scopes": { "maxItems": 0 } } }),
    );
    let no_fields = json!({ "type": "object", "additionalProperties": false, "description": "Nothing: this call takes no fields." });
    let message = json!({ "type": "object", "description": "A message of the Model Context Protocol.", "required": ["jsonrpc"],
        "properties": { "jsonrpc": { "const": "2.0" }, "id": { "type": ["string", "integer"] }, "method": { "type": "string" } } });
    let mut all: Map<String, Value> = call.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    all.insert("NewTool".into(), new_tool);
    all.insert("NoFields".into(), no_fields);
    all.insert("McpMessage".into(), message);
    all
}
