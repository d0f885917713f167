//! Schemas of a document as JSON Schema 2020-12 with references of their own.

use super::Document;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// How deep a schema is read; deeper, anything goes.
const DEPTH_MAX: usize = 64;
/// How many components one tool may draw in, and what they may weigh as JSON: more would not be within a tool's bounds anyway.
const DEFINITIONS_MAX: usize = 500;
const DEFINITIONS_BYTES: usize = 128 << 10;
/// Says nothing about a value, or only in OpenAPI.
const DROPPED: [&str; 7] = ["example", "examples", "xml", "externalDocs", "discriminator", "nullable", "$schema"];
/// Their members are named by the author.
const BY_NAME: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
/// They hold values, not schemas.
const VALUES: [&str; 4] = ["enum", "const", "default", "required"];

pub(super) struct Schemas<'a> {
    document: &'a Document,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(document: &'a Document) -> Self {
        Self { document }
    }

    /// A schema of the document, its references to components turned to `$defs`.
    pub(super) fn taken(&self, schema: &Value) -> Value {
        self.converted(schema, 0)
    }

    /// The `$defs` that a schema needs, and those that they need.
    pub(super) fn definitions(&self, schema: &Value) -> Map<String, Value> {
        let mut found = Map::new();
        let mut open = referenced(schema);
        let mut bytes = 0;
        while let Some(name) = open.pop_first() {
            let key = unescaped(&name);
            if found.contains_key(&key) || found.len() >= DEFINITIONS_MAX || bytes > DEFINITIONS_BYTES {
                continue;
            }
            let reference = format!("#/components/schemas/{name}");
            let definition = self.document.at(&reference).map_or(Value::Bool(true), |schema| self.taken(schema));
            open.extend(referenced(&definition));
            bytes += definition.to_string().len();
            found.insert(key, definition);
        }
        found
    }

    fn converted(&self, schema: &Value, depth: usize) -> Value {
        let Some(members) = schema.as_object() else {
            return if schema.is_boolean() { schema.clone() } else { Value::Bool(true) };
        };
        if depth > DEPTH_MAX {
            return Value::Bool(true);
        }
        if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
            return match reference.strip_prefix("#/components/schemas/") {
                Some(name) => json!({ "$ref": format!("#/$defs/{name}") }),
                None => Value::Bool(true),
            };
        }
        let mut out = Map::new();
        for (key, value) in members.iter().filter(|(key, _)| !DROPPED.contains(&key.as_str()) && !key.starts_with("x-")) {
            let converted = match value {
                Value::Object(inner) if BY_NAME.contains(&key.as_str()) => {
                    Value::Object(inner.iter().map(|(name, schema)| (name.clone(), self.converted(schema, depth + 1))).collect())
                }
                Value::Object(_) if !VALUES.contains(&key.as_str()) => self.converted(value, depth + 1),
                Value::Array(items) if matches!(key.as_str(), "allOf" | "anyOf" | "oneOf" | "prefixItems") => {
                    items.iter().map(|schema| self.converted(schema, depth + 1)).collect()
                }
                _ => value.clone(),
            };
            out.insert(key.clone(), converted);
        }
        if self.document.is_3_0 {
            exclusive(&mut out, "exclusiveMinimum", "minimum");
            exclusive(&mut out, "exclusiveMaximum", "maximum");
        }
        if members.get("nullable") == Some(&Value::Bool(true)) {
            return nullable(out);
        }
        Value::Object(out)
    }
}

/// `exclusiveMinimum: true` beside `minimum: 3` is `exclusiveMinimum: 3`.
fn exclusive(members: &mut Map<String, Value>, flag: &str, bound: &str) {
    let Some(Value::Bool(is_exclusive)) = members.get(flag) else { return };
    let is_exclusive = *is_exclusive;
    members.remove(flag);
    if is_exclusive && let Some(value) = members.remove(bound) {
        members.insert(flag.into(), value);
    }
}

fn nullable(mut members: Map<String, Value>) -> Value {
    if let Some(Value::Array(values)) = members.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    match members.get("type") {
        Some(Value::String(kind)) => {
            let both = json!([kind, "null"]);
            members.insert("type".into(), both);
            Value::Object(members)
        }
        Some(_) => Value::Object(members),
        None => json!({ "anyOf": [Value::Object(members), { "type": "null" }] }),
    }
}

fn referenced(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                let name = members.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix("#/$defs/"));
                // One that leads on below a component draws in all of it.
                found.extend(name.and_then(|name| name.split('/').next()).map(str::to_owned));
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    found
}

/// A name as a JSON pointer writes it, as it is.
fn unescaped(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}
