//! The API's own description: the table of operations, written as OpenAPI 3.1.
//!
//! The schemas come from the types that are really sent; a test of the door asks every operation of
//! the table, and another compares the document with `schemas/openapi.json`.

mod bodies;
mod bounds;
mod events;
mod links;
mod parameter;
mod table;

pub use table::{Operation, TABLE};

use crate::{approvals, page, probe, problem, request::TaskRequest, tools};
use links::Link;
use maniple_core::{
    task::{AgentResult, Ceilings},
    tool::Registered,
};
use parameter::{Param, Parameter};
use serde_json::{Map, Value, json};
use table::Response;
use utoipa::ToSchema;

/// The whole document, of a node where tasks may ask for this much.
pub fn document(ceilings: Ceilings) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Maniple",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Micro agents that survive anything: send a task, follow its events, read its result. \
                An accepted task is durable; a recorded model or tool outcome is never asked for again.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "tags": tags(),
        "paths": paths(),
        "components": {
            "schemas": schemas(ceilings),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer",
                    "description": "A token of the node's `auth` section. A node without that section asks for none." },
            },
        },
    })
}

fn tags() -> Value {
    json!([
        { "name": "run", "description": "Ask an agent, and wait for it or not." },
        { "name": "tasks", "description": "What was asked, and what came of it." },
        { "name": "dead letters", "description": "Tasks that kept killing their worker." },
        { "name": "approvals", "description": "What runs ask of people." },
        { "name": "sessions", "description": "Conversations: which there are, their messages and their erasure." },
        { "name": "tools", "description": "The registry: what agents may call, who serves it, and the call itself." },
        { "name": "node", "description": "The node itself." },
    ])
}

fn paths() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in TABLE {
        let mut add = |path: String, under_agent: bool| {
            let item = paths.entry(path).or_insert_with(|| json!({}));
            item[operation.method] = described(operation, under_agent);
        };
        add(operation.path.to_owned(), false);
        if operation.under_agent {
            add(format!("/agents/{{agent}}{}", operation.path), true);
        }
    }
    Value::Object(paths)
}

fn described(operation: &Operation, under_agent: bool) -> Value {
    let suffix = if under_agent { "_of_agent" } else { "" };
    let mut parameters: Vec<Value> = Vec::new();
    if under_agent {
        parameters.push(parameter::AGENT.json());
    }
    let not_said_twice = |p: &&Parameter| !(under_agent && p.place == Param::Query && p.name == "agent");
    parameters.extend(operation.parameters.iter().filter(not_said_twice).map(Parameter::json));
    let mut written = json!({
        "operationId": format!("{}{suffix}", operation.name),
        "summary": operation.summary,
        "description": operation.description,
        "tags": [operation.tag],
        "responses": responses(operation),
    });
    if !parameters.is_empty() {
        written["parameters"] = parameters.into();
    }
    if let Some(body) = &operation.body {
        written["requestBody"] = body.json();
    }
    if let Some(scope) = operation.scope {
        written["security"] = json!([{}, { "bearer": [scope] }]);
    }
    written
}

fn responses(operation: &Operation) -> Value {
    let mut responses = Map::new();
    for answer in operation.answers {
        responses.insert(answer.status.to_string(), answer.json());
    }
    for status in operation.problems() {
        responses.entry(status.to_string()).or_insert_with(|| problem_answer(status));
    }
    Value::Object(responses)
}

fn problem_answer(status: u16) -> Value {
    let mut answer = json!({
        "description": table::reason(status),
        "content": { problem::MEDIA_TYPE: { "schema": reference("Problem") } },
    });
    let header = |what: &str, kind: &str| json!({ "description": what, "schema": { "type": kind } });
    match status {
        405 => answer["headers"] = json!({ "Allow": header("The methods that are offered here.", "string") }),
        401 => answer["headers"] = json!({ "WWW-Authenticate": header("The scheme to use.", "string") }),
        429 | 503 => answer["headers"] = json!({ "Retry-After": header("Seconds to wait before the next try.", "integer") }),
        _ => {}
    }
    answer
}

impl Response {
    fn json(&self) -> Value {
        let mut content = Map::new();
        for (media, name) in self.content {
            let schema = if name.is_empty() { json!({ "type": "string" }) } else { reference(name) };
            let mut written = json!({ "schema": schema });
            if *name == "EventFrame" {
                written["example"] = events::STREAM.into();
            }
            content.insert((*media).to_owned(), written);
        }
        let mut answer = json!({ "description": self.description });
        if !content.is_empty() {
            answer["content"] = Value::Object(content);
        }
        let headers: Map<String, Value> = self
            .headers
            .iter()
            .map(|(name, what)| ((*name).to_owned(), json!({ "description": what, "schema": { "type": "string" } })))
            .collect();
        if !headers.is_empty() {
            answer["headers"] = Value::Object(headers);
        }
        if !self.links.is_empty() {
            answer["links"] = Value::Object(Link::all(self.links));
        }
        answer
    }
}

fn reference(schema: &str) -> Value {
    match schema {
        "object" => json!({ "type": "object" }),
        several if several.contains(" | ") => json!({ "oneOf": several.split(" | ").map(reference).collect::<Vec<_>>() }),
        name => json!({ "$ref": format!("#/components/schemas/{name}") }),
    }
}

/// Types and their schemas.
type Found = Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>;

fn add<T: ToSchema>(found: &mut Found) {
    T::schemas(found);
    found.push((T::name().into_owned(), T::schema()));
}

fn schemas(ceilings: Ceilings) -> Value {
    let mut found = Found::new();
    add::<TaskRequest>(&mut found);
    add::<AgentResult>(&mut found);
    add::<page::TaskPage>(&mut found);
    add::<page::AgentPage>(&mut found);
    add::<approvals::ApprovalPage>(&mut found);
    add::<approvals::Decision>(&mut found);
    add::<page::SessionPage>(&mut found);
    add::<page::MessagePage>(&mut found);
    add::<page::Erased>(&mut found);
    add::<tools::ToolPage>(&mut found);
    add::<tools::VersionPage>(&mut found);
    add::<tools::GrantedPage>(&mut found);
    add::<tools::Removed>(&mut found);
    add::<tools::CallRequest>(&mut found);
    add::<tools::CallOfRun>(&mut found);
    add::<tools::CallAnswer>(&mut found);
    add::<tools::AdmitAnswer>(&mut found);
    add::<tools::ProbeAnswer>(&mut found);
    add::<tools::ResolveRequest>(&mut found);
    add::<tools::ResolveAnswer>(&mut found);
    add::<Registered>(&mut found);
    add::<problem::Problem>(&mut found);
    add::<probe::Health>(&mut found);
    add::<probe::Readiness>(&mut found);
    let events = events::schemas(&mut found);
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let written = found.into_iter().map(|(name, schema)| {
        // Our own types: their schemas are plain data.
        (name, without_null_defaults(serde_json::to_value(schema).unwrap_or_default()))
    });
    let mut written: Map<String, Value> = written.chain(events).collect();
    bounds::write(&mut written, ceilings);
    Value::Object(written)
}

/// A field that is left out has no default that could be sent.
fn without_null_defaults(mut schema: Value) -> Value {
    for field in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(|fields| fields.values_mut()) {
        if let Some(field) = field.as_object_mut()
            && field.get("default").is_some_and(Value::is_null)
        {
            field.remove("default");
        }
    }
    schema
}

#[cfg(test)]
mod tests;
