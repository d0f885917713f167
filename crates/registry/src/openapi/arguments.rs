//! The arguments of a tool as they are put together from parameters and a body.

use super::{schema::Schemas, shortened};
use maniple_core::{
    schema::{self, Validator},
    tool::Place,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Arguments {
    pub(super) properties: Map<String, Value>,
    pub(super) required: Vec<Value>,
    pub(super) places: BTreeMap<String, Place>,
    /// What is needed beside a member, where that is given.
    pub(super) needed_beside: Map<String, Value>,
    pub(super) closed: bool,
    pub(super) notes: Vec<String>,
}

impl Arguments {
    /// A name that no argument has yet.
    pub(super) fn free(&mut self, name: &str, place: &str) -> String {
        if !self.properties.contains_key(name) {
            return name.to_owned();
        }
        let mut other = format!("{place}_{name}");
        while self.properties.contains_key(&other) {
            other.push('_');
        }
        self.notes.push(format!("two parameters are called `{name}`: the one in the {place} is `{other}`"));
        other
    }
    pub(super) fn add(&mut self, name: &str, schema: Value, required: bool) {
        self.properties.insert(name.to_owned(), schema);
        if required {
            self.required.push(name.into());
        }
    }

    /// All of them as one schema. One that is beyond the bounds of a schema says less, rather than nothing.
    pub(super) fn schema(&mut self, schemas: &Schemas) -> Result<Value, String> {
        let mut whole = json!({ "type": "object", "properties": std::mem::take(&mut self.properties) });
        for (keyword, value) in [("required", Value::from(self.required.clone())), ("dependentRequired", self.needed_beside.clone().into())]
        {
            if value.as_array().is_some_and(|names| !names.is_empty()) || value.as_object().is_some_and(|names| !names.is_empty()) {
                whole[keyword] = value;
            }
        }
        if self.closed {
            whole["additionalProperties"] = false.into();
        }
        let definitions = schemas.definitions(&whole);
        self.notes.extend(schemas.notes());
        if !definitions.is_empty() {
            whole["$defs"] = definitions.into();
        }
        if Validator::compile(&whole).is_ok() {
            return Ok(whole);
        }
        self.notes.extend(schema::mend_patterns(&mut whole));
        let Err(why) = Validator::compile(&whole) else { return Ok(whole) };
        if let Some(members) = whole.as_object_mut() {
            members.remove("$defs");
        }
        for property in whole["properties"].as_object_mut().into_iter().flat_map(|properties| properties.values_mut()) {
            let kept = ["type", "description", "enum"].into_iter().filter_map(|key| Some((key.to_owned(), property.get(key)?.clone())));
            *property = Value::Object(kept.collect());
        }
        Validator::compile(&whole)?;
        self.notes.push(format!("its schema is shortened to names and types: {why}"));
        Ok(whole)
    }
}

/// Says what a parameter is for, where its schema does not.
pub(super) fn describe(schema: &mut Value, description: Option<&Value>) {
    let Some(Value::String(text)) = description else { return };
    let text = || shortened(text, super::DESCRIPTION_MAX);
    match schema {
        Value::Object(members) => drop(members.entry("description").or_insert_with(|| text().into())),
        Value::Bool(true) => *schema = json!({ "description": text() }),
        _ => {}
    }
}
