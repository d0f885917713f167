//! The API's own description: the table of operations, written as OpenAPI 3.1.
//!
//! The schemas come from the types that are really sent; a test of the door asks every operation of
//! the table, and another compares the document with `schemas/openapi.json`.

mod table;

pub use table::{Operation, TABLE};

use crate::{approvals, event::TaskEvent, page, probe, problem, request::TaskRequest, tools};
use maniple_core::{task::AgentResult, tool::Registered};
use serde_json::{Map, Value, json};
use table::{Param, Parameter, Response};
use utoipa::ToSchema;

/// The whole document.
pub fn document() -> Value {
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
            "schemas": schemas(),
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
        parameters.push(table::AGENT.json());
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
    if let Some(schema) = operation.body {
        let content = json!({ "application/json": { "schema": reference(schema) } });
        written["requestBody"] = json!({ "required": true, "content": content });
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
        401 => answer["headers"] = json!({ "WWW-Authenticate": header("The scheme to use.", "string") }),
        429 | 503 => answer["headers"] = json!({ "Retry-After": header("Seconds to wait before the next try.", "integer") }),
        _ => {}
    }
    answer
}

impl Response {
    fn json(&self) -> Value {
        let mut content = Map::new();
        for (media, schema) in self.content {
            let schema = if schema.is_empty() { json!({ "type": "string" }) } else { reference(schema) };
            content.insert((*media).to_owned(), json!({ "schema": schema }));
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

fn schemas() -> Value {
    let mut found = Vec::new();
    fn add<T: ToSchema>(found: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
        T::schemas(found);
        found.push((T::name().into_owned(), T::schema()));
    }
    add::<TaskRequest>(&mut found);
    add::<AgentResult>(&mut found);
    add::<TaskEvent>(&mut found);
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
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let written = found.into_iter().map(|(name, schema)| {
        // Our own types: their schemas are plain data.
        (name, serde_json::to_value(schema).unwrap_or_default())
    });
    Value::Object(written.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_id_is_one_of_its_kind() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50);
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
        let operations = document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
        let ids: Vec<&str> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        let distinct: std::collections::BTreeSet<&&str> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    }

    #[test]
    fn every_operation_says_how_it_is_refused() {
        for (path, item) in document()["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.contains_key("405") && responses.contains_key("500"), "{method} {path}");
                assert_eq!(responses.contains_key("401"), operation.get("security").is_some(), "{method} {path}");
                assert_eq!(responses.contains_key("413"), method == "post", "{method} {path}");
                for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                    let said = operation["parameters"].as_array().unwrap().iter().any(|p| p["name"] == name && p["in"] == "path");
                    assert!(said, "{method} {path} does not describe {name}");
                }
            }
        }
    }

    #[test]
    fn the_written_description_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/openapi.json");
        let generated = format!("{:#}\n", document());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &generated).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == generated,
            "schemas/openapi.json is not what the code says: run this test with UPDATE=1 and look at the difference"
        );
    }
}
