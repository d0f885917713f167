//! Schemas of other drafts and languages, keyword by keyword.

use super::{
    Note,
    kinds::{Kind, kind},
    nothing, parsed, refused, short,
};
use maniple_core::{Result, schema::MAX_DEPTH};
use serde_json::{Map, Value, json};

/// How many schemas one mending looks at. The validator takes fewer.
const MAX_SCHEMAS: usize = 4_000;
/// How many notes one schema makes; what is mended beyond is counted.
const MAX_NOTES: usize = 100;
const DRAFT_07: &str = "http://json-schema.org/draft-07/schema#";
/// Their members are schemas, named by the author.
const BY_NAME: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
/// They hold a list of schemas.
const LISTS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// They hold one schema.
const SINGLE: [&str; 11] = [
    "items",
    "additionalProperties",
    "additionalItems",
    "propertyNames",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// They hold values, where null is one.
const VALUES: [&str; 5] = ["const", "default", "enum", "example", "examples"];

/// Mends one schema and keeps account of it.
pub(super) struct Mender {
    at: String,
    notes: Vec<Note>,
    untold: usize,
    looked_at: usize,
    is_draft_07: bool,
}

/// A mended schema, and whether it said of itself that it is required.
struct Member {
    schema: Value,
    is_required: Option<bool>,
}

impl Mender {
    pub(super) fn new(at: &str) -> Self {
        Self { at: at.into(), notes: Vec::new(), untold: 0, looked_at: 0, is_draft_07: false }
    }

    pub(super) fn into_notes(mut self) -> Vec<Note> {
        if self.untold > 0 {
            self.notes.push(Note { place: self.at, text: format!("and {} more of the same kinds", self.untold) });
        }
        self.notes
    }

    /// A schema of any value.
    pub(super) fn whole(&mut self, raw: Value) -> Result<Value> {
        let at = self.at.clone();
        let raw = match raw {
            Value::String(text) if kind(&text).is_none() => {
                self.say(&at, "was JSON text");
                parsed(&text, &at)?
            }
            raw => raw,
        };
        let raw = self.draft(raw)?;
        Ok(self.member(raw, &at, 0, false)?.schema)
    }

    /// A schema of arguments: always an object.
    pub(super) fn parameters(&mut self, raw: Value) -> Result<Value> {
        let at = self.at.clone();
        let raw = match raw {
            Value::Null | Value::Bool(true) => {
                self.say(&at, "says nothing: no arguments");
                return Ok(nothing());
            }
            Value::String(text) => {
                self.say(&at, "was JSON text");
                parsed(&text, &at)?
            }
            raw => raw,
        };
        let raw = match raw {
            Value::Object(members) if is_bare(&members) => {
                self.say(&at, "was a bare map of properties");
                json!({ "type": "object", "properties": members })
            }
            raw => raw,
        };
        let mut schema = self.whole(raw)?;
        let Value::Object(members) = &mut schema else { return Err(refused(&at, "parameters must describe an object")) };
        match members.get("type") {
            None => {
                self.say(&at, "`type: object` added: arguments are one");
                members.insert("type".into(), "object".into());
            }
            Some(Value::Array(kinds)) if kinds.contains(&json!("object")) => {
                self.say(&format!("{at}/type"), "is `object`: arguments are one");
                members.insert("type".into(), "object".into());
            }
            Some(Value::String(kind)) if kind == "null" => {
                self.say(&at, "says null: no arguments");
                return Ok(nothing());
            }
            Some(Value::String(kind)) if kind == "object" => {}
            Some(_) => return Err(refused(&format!("{at}/type"), "parameters must describe an object")),
        }
        Ok(schema)
    }

    /// Older drafts are read as the nearest that is supported.
    fn draft(&mut self, mut raw: Value) -> Result<Value> {
        let Some(members) = raw.as_object_mut() else { return Ok(raw) };
        let Some(Value::String(uri)) = members.get("$schema") else { return Ok(raw) };
        let (place, uri) = (format!("{}/$schema", self.at), uri.clone());
        if uri.contains("draft-07") {
            self.is_draft_07 = true;
        } else if ["draft-03", "draft-04", "draft-06"].iter().any(|old| uri.contains(old)) {
            self.is_draft_07 = true;
            members.insert("$schema".into(), DRAFT_07.into());
            self.say(&place, &format!("{} is read as draft-07", short(&uri)));
        } else if uri.contains("2019-09") {
            members.remove("$schema");
            self.say(&place, "2019-09 is read as 2020-12");
        } else if !uri.contains("2020-12") {
            return Err(refused(&place, format!("{} is no draft that is known: use 2020-12 or draft-07", short(&uri))));
        }
        Ok(raw)
    }

    /// `is_part`: it stands in a combination, where `required` may name what its neighbours declare.
    fn member(&mut self, raw: Value, at: &str, depth: usize, is_part: bool) -> Result<Member> {
        self.looked_at += 1;
        if depth > MAX_DEPTH || self.looked_at > MAX_SCHEMAS {
            return Err(refused(at, format!("the schema nests deeper than {MAX_DEPTH} or holds more than {MAX_SCHEMAS} schemas")));
        }
        let mut members = match raw {
            Value::Object(members) => members,
            Value::Bool(_) => return Ok(Member { schema: raw, is_required: None }),
            Value::String(name) if kind(&name).is_some() => {
                self.say(at, &format!("`{name}` stood for a schema of that type"));
                Map::from_iter([("type".to_owned(), Value::String(name))])
            }
            _ => return Err(refused(at, "a schema must be an object")),
        };
        self.leave_out_nulls(&mut members, at);
        let is_required = self.own_required(&mut members, at);
        self.kinds(&mut members, at)?;
        self.lists_of_items(&mut members, at);
        self.exclusive(&mut members, at, "exclusiveMinimum", "minimum")?;
        self.exclusive(&mut members, at, "exclusiveMaximum", "maximum")?;
        self.properties_in_a_list(&mut members, at)?;
        let hoisted = self.inside(&mut members, at, depth, is_part)?;
        self.required(&mut members, hoisted, at, is_part)?;
        let schema = self.nullable(members, at);
        Ok(Member { schema: self.default(schema, at), is_required })
    }

    /// Everything below, and which properties said of themselves that they are required.
    fn inside(&mut self, members: &mut Map<String, Value>, at: &str, depth: usize, is_part: bool) -> Result<Vec<String>> {
        let mut hoisted = Vec::new();
        let keywords: Vec<String> = members.keys().cloned().collect();
        for keyword in keywords {
            let place = format!("{at}/{keyword}");
            let Some(value) = members.get_mut(&keyword) else { continue };
            match value {
                Value::Object(named) if BY_NAME.contains(&keyword.as_str()) => {
                    for (name, schema) in named.iter_mut() {
                        let place = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
                        let is_free = matches!(keyword.as_str(), "$defs" | "definitions" | "dependentSchemas");
                        let member = self.member(schema.take(), &place, depth + 1, is_part && keyword != "properties" || is_free)?;
                        *schema = member.schema;
                        if keyword == "properties" && member.is_required == Some(true) {
                            hoisted.push(name.clone());
                        }
                    }
                }
                Value::Array(items) if LISTS.contains(&keyword.as_str()) || (keyword == "items" && self.is_draft_07) => {
                    let is_part = keyword != "prefixItems" && keyword != "items";
                    for (index, schema) in items.iter_mut().enumerate() {
                        *schema = self.member(schema.take(), &format!("{place}/{index}"), depth + 1, is_part)?.schema;
                    }
                }
                Value::Object(_) | Value::String(_) if SINGLE.contains(&keyword.as_str()) => {
                    let is_part = matches!(keyword.as_str(), "not" | "if" | "then" | "else");
                    *value = self.member(value.take(), &place, depth + 1, is_part)?.schema;
                }
                _ => {}
            }
        }
        Ok(hoisted)
    }

    fn leave_out_nulls(&mut self, members: &mut Map<String, Value>, at: &str) {
        let is_empty = |(name, value): (&String, &Value)| (value.is_null() && !VALUES.contains(&name.as_str())).then(|| name.clone());
        let empty: Vec<String> = members.iter().filter_map(is_empty).collect();
        for name in empty {
            members.remove(&name);
            self.say(&format!("{at}/{name}"), "null: left out");
        }
    }

    /// Draft-03 wrote `required: true` inside the property.
    fn own_required(&mut self, members: &mut Map<String, Value>, at: &str) -> Option<bool> {
        let Some(Value::Bool(is_required)) = members.get("required") else { return None };
        let is_required = *is_required;
        members.remove("required");
        self.say(&format!("{at}/required"), if is_required { "moved to the object it belongs to" } else { "false: left out" });
        Some(is_required)
    }

    fn kinds(&mut self, members: &mut Map<String, Value>, at: &str) -> Result<()> {
        let place = format!("{at}/type");
        let names: Vec<String> = match members.get("type") {
            None => return Ok(()),
            Some(Value::String(name)) => vec![name.clone()],
            Some(Value::Array(names)) if !names.is_empty() && names.iter().all(Value::is_string) => {
                names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some(_) => return Err(refused(&place, "a type is a name or a list of names")),
        };
        let mut kinds: Vec<&str> = Vec::new();
        for name in &names {
            let is_alone = names.len() == 1;
            match kind(name) {
                Some(Kind::Is(kind)) => kinds.push(kind),
                Some(Kind::Any) => {
                    members.remove("type");
                    self.say(&place, "`any`: left out, anything goes");
                    return Ok(());
                }
                // Beside other types a format or uniqueness would speak of them too.
                Some(Kind::Format(format)) if is_alone && members.get("format").is_none_or(|own| own == format) => {
                    kinds.push("string");
                    members.insert("format".into(), format.into());
                }
                Some(Kind::Set) if is_alone => {
                    kinds.push("array");
                    members.insert("uniqueItems".into(), true.into());
                }
                _ => {
                    return Err(refused(
                        &place,
                        format!("`{}` is no type of JSON Schema, and what it stands for is not certain", short(name)),
                    ));
                }
            }
        }
        kinds.sort_unstable();
        kinds.dedup();
        let mended = if let [one] = kinds[..] { json!(one) } else { json!(kinds) };
        let is_news = kinds.len() != names.len() || names.iter().any(|name| !kinds.contains(&name.as_str()));
        if is_news {
            self.say(&place, &format!("`{}` is {mended}", short(&names.join(", "))));
            members.insert("type".into(), mended);
        }
        Ok(())
    }

    /// 2020-12 calls a list of places `prefixItems`.
    fn lists_of_items(&mut self, members: &mut Map<String, Value>, at: &str) {
        if self.is_draft_07 || members.contains_key("prefixItems") || !members.get("items").is_some_and(Value::is_array) {
            return;
        }
        let Some(places) = members.remove("items") else { return };
        members.insert("prefixItems".into(), places);
        if let Some(rest) = members.remove("additionalItems") {
            members.insert("items".into(), rest);
        }
        self.say(&format!("{at}/items"), "a list of schemas is `prefixItems`");
    }

    /// Draft-04 wrote `exclusiveMinimum: true` beside `minimum: 3`.
    fn exclusive(&mut self, members: &mut Map<String, Value>, at: &str, flag: &str, bound: &str) -> Result<()> {
        let Some(Value::Bool(is_exclusive)) = members.get(flag) else { return Ok(()) };
        let is_exclusive = *is_exclusive;
        members.remove(flag);
        let place = format!("{at}/{flag}");
        if !is_exclusive {
            self.say(&place, "false: left out");
        } else if let Some(limit) = members.remove(bound) {
            members.insert(flag.into(), limit);
            self.say(&place, &format!("took the number of `{bound}`"));
        } else {
            self.say(&place, &format!("left out: there is no `{bound}`"));
        }
        Ok(())
    }

    /// Properties as a list of schemas that each have a name.
    fn properties_in_a_list(&mut self, members: &mut Map<String, Value>, at: &str) -> Result<()> {
        let Some(Value::Array(listed)) = members.get("properties") else { return Ok(()) };
        let mut named = Map::new();
        for (index, entry) in listed.iter().enumerate() {
            let place = format!("{at}/properties/{index}");
            let Some(mut schema) = entry.as_object().cloned() else { return Err(refused(&place, "a schema must be an object")) };
            let Some(Value::String(name)) = schema.remove("name") else { return Err(refused(&place, "a property in a list needs a name")) };
            if named.insert(name, Value::Object(schema)).is_some() {
                return Err(refused(&place, "the name stands twice in the list"));
            }
        }
        members.insert("properties".into(), Value::Object(named));
        self.say(&format!("{at}/properties"), "was a list");
        Ok(())
    }

    fn required(&mut self, members: &mut Map<String, Value>, hoisted: Vec<String>, at: &str, is_part: bool) -> Result<()> {
        let place = format!("{at}/required");
        let listed = match members.get("required") {
            None if hoisted.is_empty() => return Ok(()),
            None => Vec::new(),
            Some(Value::String(name)) => {
                self.say(&place, "a single name is a list of one");
                vec![name.clone()]
            }
            Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
                names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some(_) => return Err(refused(&place, "`required` is a list of names")),
        };
        // With any of these the name may be declared elsewhere.
        const ELSEWHERE: [&str; 7] = ["$ref", "allOf", "anyOf", "oneOf", "patternProperties", "$dynamicRef", "if"];
        let is_whole = !is_part && !ELSEWHERE.iter().any(|keyword| members.contains_key(*keyword));
        let has_schema_for_others = members.get("additionalProperties").is_some_and(Value::is_object);
        let declared = members.get("properties").and_then(Value::as_object).filter(|_| is_whole && !has_schema_for_others);
        let mut kept: Vec<String> = Vec::new();
        let mut told = Vec::new();
        for name in listed.into_iter().chain(hoisted) {
            if declared.is_some_and(|declared| !declared.contains_key(&name)) {
                told.push(format!("`{}` is left out: there is no such property", short(&name)));
            } else if kept.contains(&name) {
                told.push(format!("`{}` stood there twice", short(&name)));
            } else {
                kept.push(name);
            }
        }
        told.iter().for_each(|text| self.say(&place, text));
        members.insert("required".into(), json!(kept));
        Ok(())
    }

    /// OpenAPI 3.0 wrote `nullable: true`.
    fn nullable(&mut self, mut members: Map<String, Value>, at: &str) -> Value {
        let Some(Value::Bool(is_nullable)) = members.get("nullable") else { return Value::Object(members) };
        let is_nullable = *is_nullable;
        members.remove("nullable");
        self.say(&format!("{at}/nullable"), if is_nullable { "null is a type" } else { "false: left out" });
        if !is_nullable {
            return Value::Object(members);
        }
        let kinds = match members.get("type") {
            Some(Value::String(kind)) => vec![json!(kind)],
            Some(Value::Array(kinds)) => kinds.clone(),
            _ => Vec::new(),
        };
        let is_simple = ["const", "$ref", "allOf", "anyOf", "oneOf", "not", "if"].iter().all(|keyword| !members.contains_key(*keyword));
        if kinds.is_empty() || !is_simple {
            return json!({ "anyOf": [Value::Object(members), { "type": "null" }] });
        }
        let mut with_null = kinds;
        if !with_null.contains(&json!("null")) {
            with_null.push(json!("null"));
        }
        members.insert("type".into(), json!(with_null));
        if let Some(Value::Array(values)) = members.get_mut("enum")
            && !values.contains(&Value::Null)
        {
            values.push(Value::Null);
        }
        Value::Object(members)
    }

    /// A default of null where null does not fit says only that there is none.
    fn default(&mut self, mut schema: Value, at: &str) -> Value {
        let takes_null = match schema.get("type") {
            Some(Value::String(kind)) => kind == "null",
            Some(Value::Array(kinds)) => kinds.contains(&json!("null")),
            _ => true,
        };
        if !takes_null
            && let Some(members) = schema.as_object_mut()
            && members.get("default") == Some(&Value::Null)
        {
            members.remove("default");
            self.say(&format!("{at}/default"), "null does not fit the type: left out");
        }
        schema
    }

    fn say(&mut self, place: &str, text: &str) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(Note { place: place.into(), text: text.into() });
        } else {
            self.untold += 1;
        }
    }
}

/// Whether this is what should stand under `properties`: every member is a schema, and nothing says otherwise.
fn is_bare(members: &Map<String, Value>) -> bool {
    let is_schema = |value: &Value| match value {
        Value::Object(inner) => {
            let is_type = |value: &Value| value.as_str().is_some_and(|name| kind(name).is_some()) || value.is_array();
            inner.get("type").is_some_and(is_type)
                || inner.get("$ref").is_some_and(Value::is_string)
                || ["enum", "anyOf", "oneOf", "allOf"].iter().any(|keyword| inner.get(*keyword).is_some_and(Value::is_array))
        }
        _ => false,
    };
    let is_said = ["properties", "$defs", "definitions", "$ref", "$schema"].iter().any(|keyword| members.contains_key(*keyword));
    !members.is_empty() && !is_said && members.values().all(is_schema) && !SINGLE.iter().any(|keyword| members.contains_key(*keyword))
}
