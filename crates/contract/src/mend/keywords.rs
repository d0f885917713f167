//! What single keywords were called, or how they were written, elsewhere.

use super::{
    kinds::{Kind, kind},
    refused,
    schema::{Draft, Mender},
    short,
};
use maniple_core::{Result, canonical};
use serde_json::{Map, Value, json};
use std::collections::HashSet;

type Members = Map<String, Value>;

/// What goes on to speak of a schema, or is found at its place, when the rest of it moves into an `anyOf`.
pub(super) const STAYS_OUTSIDE: [&str; 15] = [
    "$schema",
    "$id",
    "$anchor",
    "$dynamicAnchor",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "deprecated",
    "readOnly",
    "writeOnly",
    "example",
    "examples",
];

impl Mender {
    /// 2019-09 wrote `$recursiveRef`. Without `$id` inside, what recurs is the schema as a whole.
    pub(super) fn recursion(&mut self, members: &mut Members, at: &str) -> Result<()> {
        if self.draft != Draft::Draft2019 {
            return Ok(());
        }
        let Some(reference) = members.remove("$recursiveRef") else { return Ok(()) };
        let place = format!("{at}/$recursiveRef");
        if members.insert("$ref".into(), reference).is_some() {
            return Err(refused(&place, "`$ref` stands beside it"));
        }
        self.say(&place, "is `$ref`");
        Ok(())
    }

    pub(super) fn kinds(&mut self, members: &mut Members, at: &str) -> Result<()> {
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

    /// A choice that stands in an enum twice is one choice; draft-07 does not allow it.
    pub(super) fn repeated_choices(&mut self, members: &mut Members, at: &str) {
        let Some(Value::Array(choices)) = members.get_mut("enum") else { return };
        let before = choices.len();
        let mut seen = HashSet::new();
        choices.retain(|choice| seen.insert(canonical::exact(choice)));
        let repeats = before - choices.len();
        if repeats > 0 {
            self.say(&format!("{at}/enum"), &format!("{repeats} repeated: left out"));
        }
    }

    /// 2020-12 calls a list of places `prefixItems`.
    pub(super) fn lists_of_items(&mut self, members: &mut Members, at: &str) {
        if self.draft.has_items_in_a_list() || members.contains_key("prefixItems") || !members.get("items").is_some_and(Value::is_array) {
            return;
        }
        let Some(places) = members.remove("items") else { return };
        members.insert("prefixItems".into(), places);
        self.moves.moved(at, "items", &["prefixItems"]);
        if let Some(rest) = members.remove("additionalItems") {
            members.insert("items".into(), rest);
            self.moves.moved(at, "additionalItems", &["items"]);
        }
        self.say(&format!("{at}/items"), "a list of schemas is `prefixItems`");
    }

    /// 2020-12 tells the names that a property needs from the schema that comes with it.
    pub(super) fn dependencies(&mut self, members: &mut Members, at: &str) -> Result<()> {
        let place = format!("{at}/dependencies");
        let Some(Value::Object(dependencies)) = members.get_mut("dependencies") else { return Ok(()) };
        let mut dependencies = std::mem::take(dependencies);
        members.remove("dependencies");
        for (name, needed) in &mut dependencies {
            if needed.is_string() {
                *needed = json!([needed.take()]);
                self.say(&format!("{place}/{}", super::escaped(name)), "a single name is a list of one");
            }
        }
        if self.draft.has_items_in_a_list() {
            members.insert("dependencies".into(), Value::Object(dependencies));
            return Ok(());
        }
        let (names, schemas): (Members, Members) = dependencies.into_iter().partition(|(_, needed)| needed.is_array());
        for (keyword, found) in [("dependentRequired", names), ("dependentSchemas", schemas)] {
            if found.is_empty() {
                continue;
            }
            let Value::Object(known) = members.entry(keyword).or_insert_with(|| json!({})) else {
                return Err(refused(&format!("{at}/{keyword}"), "it must be an object"));
            };
            for (name, needed) in found {
                if known.get(&name).is_some_and(|other| *other != needed) {
                    return Err(refused(&place, format!("`{}` stands in `{keyword}` too, and says something else", short(&name))));
                }
                known.insert(name, needed);
            }
        }
        self.moves.moved(at, "dependencies", &["dependentSchemas"]);
        self.say(&place, "are `dependentRequired` and `dependentSchemas`");
        Ok(())
    }

    /// OpenAPI 3.0 writes `exclusiveMinimum: true` beside `minimum: 3`.
    pub(super) fn exclusive(&mut self, members: &mut Members, at: &str, flag: &str, bound: &str) {
        let Some(Value::Bool(is_exclusive)) = members.get(flag) else { return };
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
    }

    /// Properties as a list of schemas that each have a name.
    pub(super) fn properties_in_a_list(&mut self, members: &mut Members, at: &str) -> Result<()> {
        let Some(Value::Array(listed)) = members.get_mut("properties") else { return Ok(()) };
        let (place, mut named) = (format!("{at}/properties"), Map::new());
        for (index, entry) in std::mem::take(listed).into_iter().enumerate() {
            let at = format!("{place}/{index}");
            let Value::Object(mut schema) = entry else { return Err(refused(&at, "a schema must be an object")) };
            let Some(Value::String(name)) = schema.remove("name") else { return Err(refused(&at, "a property in a list needs a name")) };
            self.moves.moved(&place, &index.to_string(), &[&name]);
            if named.insert(name, Value::Object(schema)).is_some() {
                return Err(refused(&at, "the name stands twice in the list"));
            }
        }
        members.insert("properties".into(), Value::Object(named));
        self.say(&place, "was a list");
        Ok(())
    }

    /// OpenAPI 3.0 wrote `nullable: true`.
    pub(super) fn nullable(&mut self, members: &mut Members, at: &str) {
        let Some(Value::Bool(is_nullable)) = members.get("nullable") else { return };
        let is_nullable = *is_nullable;
        members.remove("nullable");
        self.say(&format!("{at}/nullable"), if is_nullable { "null is a type" } else { "false: left out" });
        if !is_nullable {
            return;
        }
        let kinds = match members.get("type") {
            Some(Value::String(kind)) => vec![json!(kind)],
            Some(Value::Array(kinds)) => kinds.clone(),
            _ => Vec::new(),
        };
        let is_simple =
            ["const", "$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "not", "if"].iter().all(|keyword| !members.contains_key(*keyword));
        if kinds.is_empty() || !is_simple {
            let (mut outside, inside): (Members, Members) =
                std::mem::take(members).into_iter().partition(|(keyword, _)| STAYS_OUTSIDE.contains(&keyword.as_str()));
            // A schema that says nothing takes null already.
            if !inside.is_empty() {
                outside.insert("anyOf".into(), json!([inside, { "type": "null" }]));
                self.moves.wrapped(at);
            }
            *members = outside;
            return;
        }
        let mut with_null = kinds;
        if !with_null.contains(&json!("null")) {
            with_null.push(json!("null"));
        }
        members.insert("type".into(), if let [one] = &with_null[..] { one.clone() } else { json!(with_null) });
        if let Some(Value::Array(values)) = members.get_mut("enum")
            && !values.contains(&Value::Null)
        {
            values.push(Value::Null);
        }
    }

    /// A default of null where null does not fit says only that there is none.
    pub(super) fn default(&mut self, members: &mut Members, at: &str) {
        let takes_null = match members.get("type") {
            Some(Value::String(kind)) => kind == "null",
            Some(Value::Array(kinds)) => kinds.contains(&json!("null")),
            _ => true,
        };
        if !takes_null && members.get("default") == Some(&Value::Null) {
            members.remove("default");
            self.say(&format!("{at}/default"), "null does not fit the type: left out");
        }
    }
}
