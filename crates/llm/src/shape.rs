//! A tool's parameters as a provider takes them; arguments are checked against the original, not against this.
//!
//! | providers refuse, or models stumble over | what is shown |
//! |---|---|
//! | `anyOf`, `oneOf`, `allOf`, `enum`, `not` … at the top | the members of all of them; what goes with what is said in words |
//! | an object without `properties`, a list without `items`, `true` and `false` | the empty ones |
//! | names of properties beyond `[a-zA-Z0-9_.-]{1,64}` | legal ones, mapped back in the calls' arguments |
//! | `$schema`, `$id` | nothing |
//! | a `$ref` to what is shown elsewhere or by another name: below `#/`, but for `#/$defs/NAME` and `#/definitions/NAME` | what it means |
//! | lengths and patterns, which small models copy into their arguments | nothing |

use maniple_core::{canonical, digits, message::ToolSpec};
use serde_json::{Map, Value, json};
use std::{
    borrow::Cow,
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

/// The longest name of a property, in characters.
const NAME_MAX: usize = 64;
/// How many references are followed one after the other.
const HOPS_MAX: usize = 16;
/// How deep combinations at the top are looked into.
const COMBINED_MAX: usize = 4;
/// How deep references are replaced one within the other by what they mean, and how many in all; beyond, anything is shown.
const REPLACED_DEPTH: usize = 4;
const REPLACED_MAX: usize = 64;
/// The most alternatives that are said in words.
const SAID_MAX: usize = 8;

/// What a provider takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Whether any text may be the name of a property.
    pub any_name: bool,
    /// Whether lengths and patterns are shown.
    pub lengths: bool,
}

impl Shape {
    /// As Chat Completions has it.
    pub const OPENAI: Self = Self { any_name: true, lengths: true };
    /// As Messages has it.
    pub const ANTHROPIC: Self = Self { any_name: false, lengths: true };

    /// A tool as it is shown.
    pub fn of<'a>(self, tool: &'a ToolSpec) -> Cow<'a, ToolSpec> {
        let names = if self.any_name { BTreeMap::new() } else { names(&tool.parameters) };
        let shaping = Shaping { shape: self, whole: &tool.parameters, names, depth: Cell::new(0), replaced: Cell::new(0) };
        let (parameters, said) = shaping.top();
        if parameters == tool.parameters && said.is_none() {
            return Cow::Borrowed(tool);
        }
        let description = said.map_or_else(|| tool.description.clone(), |said| format!("{}\n{said}", tool.description));
        Cow::Owned(ToolSpec { name: tool.name.clone(), description, parameters })
    }
}

/// The arguments of a call with the names that the tool has for them. What is no JSON stays as it is.
pub fn original_names(tool: &ToolSpec, arguments: String) -> String {
    let names = names(&tool.parameters);
    if names.is_empty() {
        return arguments;
    }
    let shown: BTreeMap<String, String> = names.into_iter().map(|(original, shown)| (shown, original)).collect();
    match serde_json::from_str::<Value>(&digits::kept(&arguments)) {
        Ok(value) if mentions(&value, &shown) => renamed(value, &shown).to_string(),
        Ok(_) | Err(_) => arguments,
    }
}

fn mentions(value: &Value, names: &BTreeMap<String, String>) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(name, member)| names.contains_key(name) || mentions(member, names)),
        Value::Array(items) => items.iter().any(|item| mentions(item, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn renamed(value: Value, names: &BTreeMap<String, String>) -> Value {
    match value {
        Value::Object(members) => {
            let of = |(name, member)| (names.get(&name).cloned().unwrap_or(name), renamed(member, names));
            Value::Object(members.into_iter().map(of).collect())
        }
        Value::Array(items) => items.into_iter().map(|item| renamed(item, names)).collect(),
        scalar => scalar,
    }
}

/// Every name of a property that is not legal everywhere, and the legal one it goes by: no other property's anywhere in the schema.
fn names(schema: &Value) -> BTreeMap<String, String> {
    let mut all = BTreeSet::new();
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                all.extend(members.get("properties").and_then(Value::as_object).into_iter().flat_map(|named| named.keys().cloned()));
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let is_legal = |name: &str| (1..=NAME_MAX).contains(&name.len()) && name.chars().all(legal);
    let mut names = BTreeMap::new();
    for name in all.iter().filter(|name| !is_legal(name)) {
        let plain: String = name.chars().take(NAME_MAX + 1).map(|c| if legal(c) { c } else { '_' }).collect();
        let with_hash = || {
            format!("{}_{}", plain.get(..plain.len().min(NAME_MAX - 9)).unwrap_or_default(), &canonical::hash_bytes(name.as_bytes())[..8])
        };
        let is_free = |wanted: &str| !all.contains(wanted) && !names.values().any(|taken: &String| taken == wanted);
        let shown = if is_legal(&plain) && is_free(&plain) { plain.clone() } else { with_hash() };
        names.insert(name.clone(), shown);
    }
    names
}

struct Shaping<'a> {
    shape: Shape,
    whole: &'a Value,
    names: BTreeMap<String, String>,
    /// Within how many replaced references we are, and how many there were.
    depth: Cell<usize>,
    replaced: Cell<usize>,
}

impl Shaping<'_> {
    /// An object that says all its members itself, and what that leaves to be said in words.
    fn top(&self) -> (Value, Option<String>) {
        const COMBINING: [&str; 12] =
            ["$ref", "allOf", "anyOf", "oneOf", "not", "enum", "const", "if", "then", "else", "dependentSchemas", "unevaluatedProperties"];
        let mut gathered = Gathered::default();
        self.gather(self.whole, true, 0, &mut gathered);
        let mut top = Map::new();
        for (keyword, value) in self.whole.as_object().into_iter().flatten() {
            if !COMBINING.contains(&keyword.as_str()) && !["type", "properties", "required"].contains(&keyword.as_str()) {
                top.insert(keyword.clone(), value.clone());
            }
        }
        top.insert("type".into(), "object".into());
        top.insert("properties".into(), gathered.properties.into());
        let required: Vec<Value> = gathered.required.into_iter().map(Value::from).collect();
        if !required.is_empty() || self.whole.get("required").is_some() {
            top.insert("required".into(), required.into());
        }
        let (shown, is_said) = (self.schema(&Value::Object(top)), !gathered.alternatives.is_empty());
        (shown, is_said.then(|| format!("Arguments that go together: {}.", gathered.alternatives.join("; or "))))
    }

    /// The members of a schema and of all that it is combined of; those of an alternative are not needed.
    fn gather(&self, schema: &Value, is_sure: bool, depth: usize, gathered: &mut Gathered) {
        let schema = self.resolved(schema);
        if depth > COMBINED_MAX {
            return;
        }
        for (name, member) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let known = gathered.properties.get(name);
            // What an alternative says of a member more closely is one of several that it may be.
            let both = known.filter(|known| *known != member && **known != Value::Bool(true)).map(|known| {
                match known.get("anyOf").and_then(Value::as_array) {
                    Some(choices) if choices.contains(member) => known.clone(),
                    Some(choices) if known.as_object().is_some_and(|known| known.len() == 1) => {
                        json!({ "anyOf": choices.iter().chain([member]).collect::<Vec<_>>() })
                    }
                    _ if depth == 0 || is_sure => known.clone(),
                    _ => json!({ "anyOf": [known, member] }),
                }
            });
            gathered.properties.insert(name.clone(), both.unwrap_or_else(|| member.clone()));
        }
        let needed = || schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        for name in needed().filter(|_| is_sure) {
            if !gathered.required.contains(&name) {
                gathered.required.push(name);
            }
        }
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.gather(part, is_sure, depth + 1, gathered);
        }
        for keyword in ["anyOf", "oneOf"] {
            let Some(parts) = schema.get(keyword).and_then(Value::as_array) else { continue };
            for part in parts {
                self.gather(part, false, depth + 1, gathered);
            }
            let said: Vec<String> = parts.iter().take(SAID_MAX).filter_map(|part| self.said(part)).collect();
            if said.len() > 1 && is_sure {
                gathered.alternatives.extend(said);
            }
        }
        for keyword in ["then", "else", "if"] {
            schema.get(keyword).into_iter().for_each(|part| self.gather(part, false, depth + 1, gathered));
        }
    }

    /// What an alternative needs, or else names.
    fn said(&self, part: &Value) -> Option<String> {
        let part = self.resolved(part);
        let listed = part.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let mut names: Vec<&str> = listed.collect();
        if names.is_empty() {
            names = part.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys).map(String::as_str).collect();
        }
        let shown: Vec<String> = names.into_iter().map(|name| format!("`{}`", self.names.get(name).map_or(name, String::as_str))).collect();
        (!shown.is_empty()).then(|| shown.join(" and "))
    }

    fn resolved<'v>(&'v self, mut schema: &'v Value) -> &'v Value {
        for _ in 0..HOPS_MAX {
            let target = schema.get("$ref").and_then(Value::as_str).and_then(|reference| self.whole.pointer(reference.strip_prefix('#')?));
            match target {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    /// A schema anywhere.
    fn schema(&self, schema: &Value) -> Value {
        let Some(members) = schema.as_object() else {
            return match schema {
                Value::Bool(true) => json!({}),
                Value::Bool(false) => json!({ "not": {} }),
                other => other.clone(),
            };
        };
        if let Some(reference) = members.get("$ref").and_then(Value::as_str)
            && !stays(reference)
        {
            return self.replaced(reference, members);
        }
        const UNSHOWN: [&str; 3] = ["$schema", "$id", "$comment"];
        const LENGTHS: [&str; 9] = [
            "pattern",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
            "contentEncoding",
            "contentMediaType",
        ];
        let is_shown = |keyword: &str| !UNSHOWN.contains(&keyword) && (self.shape.lengths || !LENGTHS.contains(&keyword));
        let mut out = Map::new();
        for (keyword, value) in members.iter().filter(|(keyword, _)| is_shown(keyword)) {
            let shown = match (keyword.as_str(), value) {
                ("properties", Value::Object(named)) => {
                    let open = named.iter().filter(|(_, schema)| **schema != Value::Bool(false));
                    Value::Object(open.map(|(name, schema)| (self.name(name), self.schema(schema))).collect())
                }
                ("required", Value::Array(names)) => {
                    names.iter().map(|name| name.as_str().map_or(name.clone(), |name| self.name(name).into())).collect()
                }
                ("$defs" | "definitions" | "patternProperties" | "dependentSchemas", Value::Object(named)) => {
                    Value::Object(named.iter().map(|(name, schema)| (name.clone(), self.schema(schema))).collect())
                }
                // A list of places: none but the newest draft has another word for it, and providers take one schema here.
                ("items", Value::Array(places)) => json!({ "anyOf": places.iter().map(|place| self.schema(place)).collect::<Vec<_>>() }),
                ("items", value) => self.schema(value),
                ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(parts)) => parts.iter().map(|part| self.schema(part)).collect(),
                ("additionalProperties" | "unevaluatedProperties" | "unevaluatedItems" | "additionalItems", Value::Bool(_)) => {
                    value.clone()
                }
                (
                    "not"
                    | "if"
                    | "then"
                    | "else"
                    | "contains"
                    | "propertyNames"
                    | "additionalProperties"
                    | "unevaluatedProperties"
                    | "unevaluatedItems"
                    | "additionalItems",
                    value,
                ) => self.schema(value),
                (_, value) => value.clone(),
            };
            out.insert(keyword.clone(), shown);
        }
        let is_of = |kind: &str| match members.get("type") {
            Some(Value::String(said)) => said == kind,
            Some(Value::Array(said)) => said.iter().any(|said| said == kind),
            _ => false,
        };
        if is_of("object") && !out.contains_key("properties") {
            out.insert("properties".into(), json!({}));
        }
        if is_of("array") && !out.contains_key("items") {
            out.insert("items".into(), json!({}));
        }
        Value::Object(out)
    }

    /// What a reference means, with what stands beside it.
    fn replaced(&self, reference: &str, beside: &Map<String, Value>) -> Value {
        let has_room = self.depth.get() < REPLACED_DEPTH && self.replaced.get() < REPLACED_MAX;
        let target = reference.strip_prefix('#').and_then(|pointer| self.whole.pointer(pointer)).filter(|_| has_room);
        let mut meant = target.and_then(Value::as_object).cloned().unwrap_or_default();
        meant.extend(beside.iter().filter(|(keyword, _)| *keyword != "$ref").map(|(keyword, value)| (keyword.clone(), value.clone())));
        self.depth.set(self.depth.get() + 1);
        self.replaced.set(self.replaced.get() + 1);
        let shown = self.schema(&Value::Object(meant));
        self.depth.set(self.depth.get() - 1);
        shown
    }

    fn name(&self, name: &str) -> String {
        self.names.get(name).map_or(name, String::as_str).to_owned()
    }
}

/// Whether what a reference means is shown where it points: a definition, the whole, or what has a name of its own.
fn stays(reference: &str) -> bool {
    let is_definition = |place| reference.strip_prefix(place).is_some_and(|name| !name.contains('/'));
    !reference.starts_with("#/") || is_definition("#/$defs/") || is_definition("#/definitions/")
}

/// What the top of a schema comes to.
#[derive(Default)]
struct Gathered {
    properties: Map<String, Value>,
    required: Vec<String>,
    alternatives: Vec<String>,
}

#[cfg(test)]
mod tests;
