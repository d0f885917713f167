//! Schemas of other drafts and languages, schema by schema.

use super::{
    Note, escaped,
    kinds::kind,
    nothing, parsed,
    references::{BY_NAME, Moves, VALUES, drop_dead, lead_to_the_whole},
    refused, short, short_place,
};
use maniple_core::{
    Result,
    schema::{MAX_BYTES, MAX_DEPTH, Validator, mend_patterns},
};
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// How many schemas one mending looks at. The validator takes fewer.
const MAX_SCHEMAS: usize = 4_000;
/// How many notes one schema makes; what is mended beyond is counted.
const MAX_NOTES: usize = 100;
/// The draft that is not read, and what draft-07 has in the place of what only it has.
const DRAFT_03: &str = "required properties are names in a list, `divisibleBy` is `multipleOf`, `extends` is `allOf`, `disallow` is `not`, \
    `id` is `$id`, and `exclusiveMinimum: true` takes the number of `minimum`";
/// Drafts of which all is draft-07 once it is mended.
const AS_DRAFT_07: [&str; 2] = ["draft-04", "draft-06"];
/// Whichever draft is the newest.
const NEWEST: [&str; 2] = ["http://json-schema.org/schema", "https://json-schema.org/schema"];
/// They hold a list of schemas.
const LISTS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// They hold one schema.
const SINGLE: [&str; 12] = [
    "items",
    "additionalProperties",
    "additionalItems",
    "propertyNames",
    "contains",
    "contentSchema",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// Which names a keyword may go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Draft {
    Draft07,
    /// Read as 2020-12.
    Draft2019,
    Draft2020,
}

impl Draft {
    /// Whether what comes out is draft-07, where a list under `items` is legal, and `dependencies` are.
    pub(super) fn has_items_in_a_list(self) -> bool {
        self == Self::Draft07
    }
}

/// Mends one schema and keeps account of it.
pub(super) struct Mender {
    at: String,
    notes: Vec<Note>,
    untold: usize,
    looked_at: usize,
    pub(super) draft: Draft,
    pub(super) moves: Moves,
}

/// A mended schema, and whether it said of itself that it is required.
struct Member {
    schema: Value,
    is_required: bool,
}

impl Mender {
    pub(super) fn new(at: &str) -> Self {
        Self { at: at.into(), notes: Vec::new(), untold: 0, looked_at: 0, draft: Draft::Draft2020, moves: Moves::default() }
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
        // Before anything is done for each of its parts.
        let bytes = raw.to_string().len();
        if bytes > MAX_BYTES {
            return Err(refused(&at, format!("the schema has {bytes} bytes; at most {MAX_BYTES} are allowed")));
        }
        let raw = self.read_draft(raw)?;
        let mut schema = self.below(raw, &at, 0, false)?;
        if self.moves.lead(&mut schema, &at) {
            self.say(&at, "references follow what was moved");
        }
        Ok(schema)
    }

    /// A schema that compiles: what in one that does not cannot be checked is taken out, and said.
    pub(super) fn compiled(&mut self, mut schema: Value) -> Result<Value> {
        if Validator::compile(&schema).is_ok() {
            return Ok(schema);
        }
        let at = self.at.clone();
        for reference in drop_dead(&mut schema) {
            self.say(&at, &format!("the reference `{}` leads nowhere in it: anything is taken there", short(&reference)));
        }
        mend_patterns(&mut schema).iter().for_each(|said| self.say(&at, said));
        Validator::compile(&schema).map_err(|why| refused(&at, why))?;
        Ok(schema)
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
                members.keys().for_each(|name| self.moves.moved(&at, name, &["properties", name]));
                json!({ "type": "object", "properties": members })
            }
            mut raw => {
                self.never_null(&mut raw)?;
                raw
            }
        };
        let mut schema = self.whole(raw)?;
        let means_itself = lead_to_the_whole(&mut schema);
        let Value::Object(members) = &mut schema else { return Err(refused(&at, "parameters must describe an object")) };
        match members.get("type") {
            None => {
                self.say(&at, "`type: object` added: arguments are one");
                members.insert("type".into(), "object".into());
            }
            Some(Value::Array(kinds)) if kinds.contains(&json!("object")) => {
                if means_itself {
                    return Err(refused(&format!("{at}/type"), NULL_INSIDE));
                }
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
        self.default(members, &at);
        Ok(schema)
    }

    /// Arguments are an object also where they are said to be nullable.
    fn never_null(&mut self, raw: &mut Value) -> Result<()> {
        let place = format!("{}/nullable", self.at);
        if raw.get("nullable") != Some(&Value::Bool(true)) {
            return Ok(());
        }
        if lead_to_the_whole(raw) {
            return Err(refused(&place, NULL_INSIDE));
        }
        if let Some(members) = raw.as_object_mut() {
            members.remove("nullable");
            self.say(&place, "left out: arguments are an object");
        }
        Ok(())
    }

    /// 2019-09 is read as 2020-12, draft-04 and draft-06 as draft-07; an older one is refused by its name.
    fn read_draft(&mut self, mut raw: Value) -> Result<Value> {
        let Some(members) = raw.as_object_mut() else { return Ok(raw) };
        let Some(Value::String(uri)) = members.get("$schema") else { return Ok(raw) };
        let (place, uri) = (format!("{}/$schema", self.at), uri.clone());
        if uri.contains("draft-07") {
            self.draft = Draft::Draft07;
        } else if let Some(draft) = AS_DRAFT_07.into_iter().find(|draft| uri.contains(draft)) {
            self.draft = Draft::Draft07;
            members.insert("$schema".into(), "http://json-schema.org/draft-07/schema#".into());
            // What `$id` is called there; references into this very schema need none.
            if members.get("id").is_some_and(Value::is_string) {
                members.remove("id");
            }
            self.say(&place, &format!("{draft} is read as draft-07"));
        } else if uri.contains("draft-03") {
            return Err(refused(&place, format!("draft-03 is not read: convert the schema to draft-07 or 2020-12 ({DRAFT_03})")));
        } else if NEWEST.contains(&uri.trim_end_matches('#')) {
            members.remove("$schema");
            self.say(&place, "the newest draft is read as 2020-12");
        } else if uri.contains("2019-09") {
            self.draft = Draft::Draft2019;
            members.remove("$schema");
            self.say(&place, "2019-09 is read as 2020-12");
        } else if !uri.contains("2020-12") {
            return Err(refused(&place, format!("{} is no draft that is known: use 2020-12 or draft-07", short(&uri))));
        }
        Ok(raw)
    }

    /// A schema that is no property: nothing is there to require it.
    fn below(&mut self, raw: Value, at: &str, depth: usize, is_part: bool) -> Result<Value> {
        let member = self.member(raw, at, depth, is_part)?;
        if member.is_required {
            self.say(&format!("{at}/required"), "left out: only a property can be required");
        }
        Ok(member.schema)
    }

    /// `is_part`: it stands in a combination, where `required` may name what its neighbours declare.
    fn member(&mut self, raw: Value, at: &str, depth: usize, is_part: bool) -> Result<Member> {
        let mut members = match raw {
            Value::Object(members) => members,
            Value::Bool(_) => return Ok(Member { schema: raw, is_required: false }),
            Value::String(name) if kind(&name).is_some() => {
                self.say(at, &format!("`{name}` stood for a schema of that type"));
                Map::from_iter([("type".to_owned(), Value::String(name))])
            }
            _ => return Err(refused(at, "a schema must be an object")),
        };
        self.looked_at += 1;
        if depth > MAX_DEPTH || self.looked_at > MAX_SCHEMAS {
            return Err(refused(at, format!("the schema nests deeper than {MAX_DEPTH} or holds more than {MAX_SCHEMAS} schemas")));
        }
        self.leave_out_nulls(&mut members, at);
        let is_required = self.own_required(&mut members, at);
        self.recursion(&mut members, at)?;
        self.kinds(&mut members, at)?;
        self.repeated_choices(&mut members, at);
        self.lists_of_items(&mut members, at);
        self.dependencies(&mut members, at)?;
        self.exclusive(&mut members, at, "exclusiveMinimum", "minimum");
        self.exclusive(&mut members, at, "exclusiveMaximum", "maximum");
        self.properties_in_a_list(&mut members, at)?;
        let hoisted = self.inside(&mut members, at, depth, is_part)?;
        self.required(&mut members, hoisted, at, is_part)?;
        self.nullable(&mut members, at);
        self.default(&mut members, at);
        Ok(Member { schema: Value::Object(members), is_required })
    }

    /// Everything below, and which properties said of themselves that they are required.
    fn inside(&mut self, members: &mut Map<String, Value>, at: &str, depth: usize, is_part: bool) -> Result<Vec<String>> {
        let mut hoisted = Vec::new();
        for (keyword, value) in members {
            let place = format!("{at}/{}", escaped(keyword));
            match value {
                Value::Object(named) if keyword == "properties" => {
                    hoisted.extend(self.required_inside(named, &place));
                    for (name, schema) in named {
                        let place = format!("{place}/{}", escaped(name));
                        let member = self.member(schema.take(), &place, depth + 1, is_part)?;
                        *schema = member.schema;
                        if member.is_required {
                            self.say(&format!("{place}/required"), "moved to the object it belongs to");
                            hoisted.push(name.clone());
                        }
                    }
                }
                Value::Object(named) if BY_NAME.contains(&keyword.as_str()) => {
                    let is_part = is_part || keyword != "patternProperties";
                    let is_list_of_names = |value: &Value| keyword == "dependencies" && value.is_array();
                    for (name, schema) in named.iter_mut().filter(|(_, schema)| !is_list_of_names(schema)) {
                        *schema = self.below(schema.take(), &format!("{place}/{}", escaped(name)), depth + 1, is_part)?;
                    }
                }
                Value::Array(items) if LISTS.contains(&keyword.as_str()) || (keyword == "items" && self.draft.has_items_in_a_list()) => {
                    let is_part = is_part || (keyword != "prefixItems" && keyword != "items");
                    for (index, schema) in items.iter_mut().enumerate() {
                        *schema = self.below(schema.take(), &format!("{place}/{index}"), depth + 1, is_part)?;
                    }
                }
                Value::Object(_) | Value::String(_) if SINGLE.contains(&keyword.as_str()) => {
                    let is_part = is_part || matches!(keyword.as_str(), "not" | "if" | "then" | "else");
                    *value = self.below(value.take(), &place, depth + 1, is_part)?;
                }
                _ => {}
            }
        }
        Ok(hoisted)
    }

    /// A list of names under `required` in a map of properties is that of the object: no list is a schema.
    fn required_inside(&mut self, named: &mut Map<String, Value>, at: &str) -> Vec<String> {
        let listed = named.get("required").and_then(Value::as_array);
        let names: Option<Vec<String>> = listed.and_then(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect());
        let Some(names) = names else { return Vec::new() };
        named.remove("required");
        self.say(&format!("{at}/required"), "moved to the object it belongs to");
        names
    }

    fn leave_out_nulls(&mut self, members: &mut Map<String, Value>, at: &str) {
        let is_empty = |(name, value): (&String, &Value)| (value.is_null() && !VALUES.contains(&name.as_str())).then(|| name.clone());
        let empty: Vec<String> = members.iter().filter_map(is_empty).collect();
        for name in empty {
            members.remove(&name);
            self.say(&format!("{at}/{}", escaped(&name)), "null: left out");
        }
    }

    /// Many write `required: true` inside the property.
    fn own_required(&mut self, members: &mut Map<String, Value>, at: &str) -> bool {
        let Some(Value::Bool(is_required)) = members.get("required") else { return false };
        let is_required = *is_required;
        members.remove("required");
        if !is_required {
            self.say(&format!("{at}/required"), "false: left out");
        }
        is_required
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
        const ELSEWHERE: [&str; 9] =
            ["$ref", "allOf", "anyOf", "oneOf", "patternProperties", "$dynamicRef", "if", "dependentSchemas", "dependencies"];
        let is_whole = !is_part && !ELSEWHERE.iter().any(|keyword| members.contains_key(*keyword));
        let has_schema_for_others =
            ["additionalProperties", "unevaluatedProperties"].iter().any(|keyword| members.get(*keyword).is_some_and(Value::is_object));
        let declared = members.get("properties").and_then(Value::as_object).filter(|_| is_whole && !has_schema_for_others);
        let (mut kept, mut known, mut told) = (Vec::new(), HashSet::new(), Vec::new());
        for name in listed.into_iter().chain(hoisted) {
            if declared.is_some_and(|declared| !declared.contains_key(&name)) {
                told.push(format!("`{}` is left out: there is no such property", short(&name)));
            } else if known.insert(name.clone()) {
                kept.push(name);
            } else {
                told.push(format!("`{}` stood there twice", short(&name)));
            }
        }
        told.iter().for_each(|text| self.say(&place, text));
        members.insert("required".into(), json!(kept));
        Ok(())
    }

    pub(super) fn say(&mut self, place: &str, text: &str) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(Note { place: short_place(place), text: text.into() });
        } else {
            self.untold += 1;
        }
    }
}

const NULL_INSIDE: &str = "arguments are an object, but `#` refers to them where null may stand: refer to a schema under `$defs`";

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
    // What has an object under it in a schema, too.
    let is_keyword =
        |name: &str| BY_NAME.contains(&name) || SINGLE.contains(&name) || ["dependentRequired", "$ref", "$schema"].contains(&name);
    let is_said = members.keys().any(|name| is_keyword(name));
    // A lone `default` or `const` may be one of an object.
    let is_value = |name: &String| VALUES.contains(&name.as_str());
    !is_said && members.values().all(is_schema) && !members.keys().all(is_value)
}
