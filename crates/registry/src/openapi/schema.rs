//! Schemas of a document as JSON Schema 2020-12 with references of their own, as a request needs them: what is `readOnly` is neither
//! offered nor required (OpenAPI 3.0.3, "Schema Object").

use super::document::{Document, pointer};
use maniple_core::schema::MAX_SUBSCHEMAS;
use serde_json::{Map, Value, json};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
};

/// How deep a schema is read; deeper, anything goes.
const DEPTH_MAX: usize = 64;
/// How deep a schema stands in place of its reference.
const IN_PLACE_MAX: usize = 8;
/// How many schemas are read for one tool: it may have far fewer.
const READ_MAX: usize = 8 * MAX_SUBSCHEMAS;
/// How many components one tool may draw in, and what they may weigh as JSON: more would not be within a tool's bounds anyway.
const DEFINITIONS_MAX: usize = 500;
const DEFINITIONS_BYTES: usize = 32 << 10;
/// What the schemas that all operations of one document draw in may weigh together: where there are many, each has less, and the same
/// whichever of them become tools.
const DEFINITIONS_OF_ALL: usize = 4 << 20;
/// What each may have at least.
const DEFINITIONS_LEAST: usize = 1 << 10;
/// Says nothing about a value, or only in OpenAPI.
const DROPPED: [&str; 7] = ["example", "examples", "xml", "externalDocs", "discriminator", "nullable", "$schema"];
/// Their members are named by the author.
const BY_NAME: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
/// They hold values, not schemas.
const VALUES: [&str; 4] = ["enum", "const", "default", "required"];
/// They hold schemas of the same value.
pub(super) const COMPOSED: [&str; 3] = ["allOf", "anyOf", "oneOf"];

pub(super) struct Schemas<'a> {
    document: &'a Document,
    /// The pointers of what is referred to, by the name that it has here.
    named: RefCell<BTreeMap<String, String>>,
    /// What the definitions of one tool may weigh.
    bytes_max: usize,
    /// How many schemas are still read.
    left: Cell<usize>,
    notes: RefCell<BTreeSet<String>>,
}

impl<'a> Schemas<'a> {
    /// For one operation of the document.
    pub(super) fn new(document: &'a Document) -> Self {
        // In steps, so that hardly ever an operation more in the document changes what the others take.
        let bytes_max = (DEFINITIONS_OF_ALL / document.operations_in_all.next_power_of_two()).clamp(DEFINITIONS_LEAST, DEFINITIONS_BYTES);
        Self { document, named: RefCell::default(), bytes_max, left: Cell::new(READ_MAX), notes: RefCell::default() }
    }

    /// What was not read.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        self.notes.take().into_iter()
    }

    /// A schema of the document, its references turned to `$defs`.
    pub(super) fn taken(&self, schema: &Value) -> Value {
        self.converted(schema, 0, &BTreeSet::new())
    }

    /// The `$defs` that a schema needs, and those that they need.
    pub(super) fn definitions(&self, schema: &Value) -> Map<String, Value> {
        let mut found = Map::new();
        // What is near is of more use than what is far: each level before the next.
        let mut open: VecDeque<String> = self.referenced(schema).into();
        let mut bytes = 0;
        let mut is_cut = false;
        while let Some(name) = open.pop_front() {
            if found.contains_key(&name) {
                continue;
            }
            let pointer = self.named.borrow().get(&name).cloned().unwrap_or_default();
            let schema = self.document.root.pointer(&pointer).filter(|_| found.len() < DEFINITIONS_MAX && bytes <= self.bytes_max);
            // Beyond the bounds anything goes there, rather than nothing.
            is_cut |= schema.is_none();
            let definition = schema.map_or(Value::Bool(true), |schema| self.taken(schema));
            open.extend(self.referenced(&definition));
            bytes += definition.to_string().len();
            found.insert(name, definition);
        }
        if is_cut {
            self.notes.borrow_mut().insert(format!("its schemas are cut after {bytes} bytes: anything is taken beyond"));
        }
        found
    }

    /// `others` are the names that are `readOnly` by what stands beside this schema.
    fn converted(&self, schema: &Value, depth: usize, others: &BTreeSet<String>) -> Value {
        let Some(members) = schema.as_object() else {
            return if schema.is_boolean() { schema.clone() } else { Value::Bool(true) };
        };
        if depth > DEPTH_MAX {
            return Value::Bool(true);
        }
        let Some(left) = self.left.get().checked_sub(1) else {
            self.notes.borrow_mut().insert(format!("its schemas are cut after {READ_MAX} of them: anything is taken beyond"));
            return Value::Bool(true);
        };
        self.left.set(left);
        let reference = members.get("$ref").and_then(Value::as_str);
        if let Some(reference) = reference {
            // It says what it requires in its own place, where nobody knows what stands beside it here.
            if depth < IN_PLACE_MAX && self.requires(schema, others) {
                return self.converted(self.document.resolved(schema), depth + 1, others);
            }
            let Some(reference) = self.reference(reference) else { return Value::Bool(true) };
            let said = members.get("description").filter(|_| self.document.is_3_0);
            if self.document.is_3_0 || members.len() == 1 {
                let mut out = Map::from_iter([("$ref".to_owned(), reference.into())]);
                out.extend(said.map(|said| ("description".to_owned(), said.clone())));
                return Value::Object(out);
            }
            let mut beside = members.clone();
            beside.remove("$ref");
            let mut out = self.converted(&Value::Object(beside), depth, others);
            out["$ref"] = reference.into();
            return out;
        }
        let read_only = &self.read_only(schema) | others;
        let mut out = Map::new();
        for (key, value) in members.iter().filter(|(key, _)| !DROPPED.contains(&key.as_str()) && !key.starts_with("x-")) {
            let converted = match value {
                Value::Object(inner) if BY_NAME.contains(&key.as_str()) => {
                    let inner = inner.iter().filter(|(name, _)| key != "properties" || !read_only.contains(*name));
                    Value::Object(inner.map(|(name, schema)| (name.clone(), self.converted(schema, depth + 1, &BTreeSet::new()))).collect())
                }
                Value::Array(names) if key == "required" => {
                    let needed: Vec<Value> =
                        names.iter().filter(|name| !name.as_str().is_some_and(|name| read_only.contains(name))).cloned().collect();
                    if needed.is_empty() {
                        continue;
                    }
                    needed.into()
                }
                Value::Object(_) if !VALUES.contains(&key.as_str()) => self.converted(value, depth + 1, &BTreeSet::new()),
                Value::Array(items) if COMPOSED.contains(&key.as_str()) => {
                    items.iter().map(|schema| self.converted(schema, depth + 1, &read_only)).collect()
                }
                Value::Array(items) if key == "prefixItems" => {
                    items.iter().map(|schema| self.converted(schema, depth + 1, &BTreeSet::new())).collect()
                }
                _ => value.clone(),
            };
            out.insert(key.clone(), converted);
        }
        exclusive(&mut out, "exclusiveMinimum", "minimum");
        exclusive(&mut out, "exclusiveMaximum", "maximum");
        if members.get("nullable") == Some(&Value::Bool(true)) {
            return nullable(out);
        }
        Value::Object(out)
    }

    /// The reference here to what one of the document leads to; none where that is not to be had, which is noted.
    fn reference(&self, reference: &str) -> Option<String> {
        let found = pointer(reference).filter(|pointer| self.document.root.pointer(pointer).is_some());
        let Some(pointer) = found else {
            let why = if reference.starts_with('#') { "leads nowhere" } else { "is not in this document" };
            let shown: String = reference.chars().take(200).collect();
            self.notes.borrow_mut().insert(format!("`{shown}` {why}: anything is taken there"));
            return None;
        };
        let below = pointer.strip_prefix("/components/schemas/").unwrap_or(&pointer);
        let wanted = match below.contains('/') {
            // What lies below a component, or elsewhere, is one of its own here.
            true => below.trim_start_matches('/').replace('/', "."),
            false => unescaped(below),
        };
        let mut named = self.named.borrow_mut();
        let mut name = wanted;
        while named.get(&name).is_some_and(|other| *other != pointer) {
            name.push('_');
        }
        let reference = format!("#/$defs/{}", escaped(&name));
        named.insert(name, pointer);
        Some(reference)
    }

    /// The names of members that are `readOnly` by a schema or what it is composed of.
    fn read_only(&self, schema: &Value) -> BTreeSet<String> {
        let is_read_only = |schema: &Value| schema.get("readOnly") == Some(&Value::Bool(true));
        let composed = self.document.composed(schema, &COMPOSED).into_iter();
        let members = composed.filter_map(|schema| schema.get("properties")?.as_object()).flatten();
        let read_only = members.filter(|(_, member)| is_read_only(member) || is_read_only(self.document.resolved(member)));
        read_only.map(|(name, _)| name.clone()).collect()
    }

    /// Whether a schema requires one of those members, as far as it does not itself say that they are `readOnly`.
    fn requires(&self, schema: &Value, names: &BTreeSet<String>) -> bool {
        if names.is_empty() {
            return false;
        }
        let own = self.read_only(schema);
        let composed = self.document.composed(schema, &["allOf"]).into_iter();
        let mut required = composed.filter_map(|schema| schema.get("required")?.as_array()).flatten().filter_map(Value::as_str);
        required.any(|name| names.contains(name) && !own.contains(name))
    }

    /// The names of the `$defs` that a schema refers to.
    fn referenced(&self, schema: &Value) -> Vec<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![schema];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(members) => {
                    let reference = members.get("$ref").and_then(Value::as_str).and_then(pointer);
                    let name = reference.as_deref().and_then(|pointer| pointer.strip_prefix("/$defs/")).map(unescaped);
                    found.extend(name.filter(|name| self.named.borrow().contains_key(name)));
                    open.extend(members.values());
                }
                Value::Array(items) => open.extend(items),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        found.into_iter().collect()
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

/// A name as a JSON pointer writes it, as it is.
fn unescaped(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}

/// A name as a reference writes it: as a JSON pointer does, and percent-encoded.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.replace('~', "~0").replace('/', "~1").bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'$' | b'!' | b'*' | b'@' | b':' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
