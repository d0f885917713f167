//! What is sent in a body, with examples that the door takes.

use super::reference;
use serde_json::{Map, Value, json};

/// A body of a call.
#[derive(Debug)]
pub(super) struct Body {
    /// The name of its schema.
    pub schema: &'static str,
    /// Whether there must be one.
    pub required: bool,
    examples: fn() -> Vec<(&'static str, &'static str, Value)>,
}

impl Body {
    pub(super) fn json(&self) -> Value {
        let examples: Map<String, Value> = (self.examples)()
            .into_iter()
            .map(|(name, what, value)| (name.to_owned(), json!({ "summary": what, "value": value })))
            .collect();
        let content = json!({ "schema": reference(self.schema), "examples": examples });
        json!({ "required": self.required, "content": { "application/json": content } })
    }
}

const fn of(schema: &'static str, examples: fn() -> Vec<(&'static str, &'static str, Value)>) -> Body {
    Body { schema, required: true, examples }
}

pub(super) const TASK: Body = of("TaskRequest", || {
    vec![
        ("question", "A question", json!({ "prompt": "What is 17 * 23?" })),
        (
            "turn",
            "A turn of a conversation, under an id of the caller's",
            json!({ "id": "order-7", "session_id": "customer-42", "prompt": "Where is my order?", "max_steps": 5, "token_budget": 4096,
                "deadline_ms": 600_000, "priority": 7, "context": { "order": 7 }, "metadata": { "channel": "chat" } }),
        ),
        (
            "structured",
            "An answer as JSON, not before its time",
            json!({ "prompt": "Is 17 a prime?", "not_before": "2026-01-31T12:00:00Z",
                "output_schema": { "type": "object", "properties": { "prime": { "type": "boolean" } }, "required": ["prime"] } }),
        ),
    ]
});

pub(super) const NOTHING: Body =
    Body { schema: "NoFields", required: false, examples: || vec![("nothing", "As good as no body", json!({}))] };

pub(super) const DECISION: Body = of("Decision", || {
    vec![
        ("approve", "Yes", json!({ "decision": "approve", "reason": "the address is the customer's own" })),
        ("deny", "No", json!({ "decision": "deny" })),
    ]
});

pub(super) const DEFINITION: Body = of("NewTool", || {
    let schema = json!({ "type": "object", "properties": { "id": { "type": "integer", "minimum": 1 } }, "required": ["id"] });
    vec![(
        "order",
        "A tool that looks something up",
        json!({ "name": "order_status", "version": "1.0.0", "description": "Says where an order is.", "method": "GET",
            "endpoint": "https://shop.example.com/orders/{id}", "parameters": schema, "timeout_ms": 5000, "rate_limit": 600 }),
    )]
});

pub(super) const RESOLVE: Body = of("ResolveRequest", || {
    vec![
        ("all", "All that the agent was granted", json!({ "agent": "assistant" })),
        ("tools", "The best version of each wish", json!({ "agent": "assistant", "tools": ["clock", "calculator@^1.0"] })),
        ("pick", "What a call by name would get", json!({ "agent": "assistant", "pick": "clock" })),
    ]
});

pub(super) const INVOKE: Body = of("CallToInvoke", || {
    vec![
        ("direct", "A call", json!({ "agent": "assistant", "arguments": { "time_zone": "Europe/Oslo" } })),
        (
            "of_a_run",
            "A runtime's call",
            json!({ "agent": "assistant", "arguments": {}, "version": "^1.0", "timeout_ms": 5000,
                "run": { "key": "order-7:1:0", "send": "order-7:1:0/1" } }),
        ),
    ]
});

pub(super) const ADMIT: Body = of("CallToAdmit", || {
    vec![("run", "A run's call", json!({ "agent": "assistant", "run": { "key": "order-7:1:0", "send": "order-7:1:0/1" } }))]
});

pub(super) const PROBE: Body = of("CallToProbe", || {
    vec![
        ("run", "A run's call", json!({ "agent": "assistant", "run": { "key": "order-7:1:0", "send": "order-7:1:0/1" } })),
        ("direct", "A direct call", json!({ "agent": "assistant", "key": "order-7-paid" })),
    ]
});

pub(super) const MESSAGE: Body =
    of("McpMessage", || vec![("ping", "Whether it is there", json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }))]);
