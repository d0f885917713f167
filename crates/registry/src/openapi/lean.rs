//! A document without what no tool needs: examples, extensions, and answers unless a schema refers into one. In the wild that is half
//! of it.

use crate::yaml;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Members of these are named by the author: none of them is what its name says.
const BY_NAME: [&str; 16] = [
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
    "schemas",
    "paths",
    "pathItems",
    "securitySchemes",
    "security",
    "variables",
    "parameters",
    "headers",
    "requestBodies",
    "content",
    "encoding",
];
/// They hold values, not a part of the document.
const VALUES: [&str; 3] = ["enum", "const", "default"];
/// What no tool needs.
const UNNEEDED: [&str; 7] = ["example", "examples", "externalDocs", "xml", "callbacks", "links", "webhooks"];

/// What of a document is read.
#[derive(Clone, Copy)]
pub(super) struct Keeps {
    answers: bool,
}

impl Keeps {
    /// What is needed of this text.
    pub(super) fn of(text: &str) -> Self {
        // A reference to an answer is one of another answer; one into it leads to a schema.
        let leads_into = |rest: &str| {
            let reference = rest.split(['"', '\'', '\n', ' ']).next().unwrap_or_default();
            reference.contains("/content/") || reference.contains("/schema") || reference.contains("/headers/")
        };
        Self { answers: text.split("responses/").skip(1).any(leads_into) }
    }

    pub(super) fn json(self, text: &str) -> serde_json::Result<Value> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = Lean { keeps: self, members: Members::OfTheDocument }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(value)
    }

    pub(super) fn yaml(self, text: &str) -> Result<Value, serde_saphyr::Error> {
        yaml::foreign(text, |deserializer| Lean { keeps: self, members: Members::OfTheDocument }.deserialize(deserializer))
    }

    fn is_needed(self, name: &str) -> bool {
        !UNNEEDED.contains(&name) && !name.starts_with("x-") && (self.answers || name != "responses")
    }
}

/// What the names of members mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Members {
    OfTheDocument,
    /// They are the author's; what stands below is the document again.
    ByName,
    /// They are part of a value, and so is all that stands below.
    OfAValue,
}

impl Members {
    /// Of the member of that name.
    fn below(self, name: &str) -> Self {
        match self {
            Self::OfAValue => Self::OfAValue,
            Self::OfTheDocument if BY_NAME.contains(&name) => Self::ByName,
            Self::OfTheDocument if VALUES.contains(&name) => Self::OfAValue,
            Self::OfTheDocument | Self::ByName => Self::OfTheDocument,
        }
    }
}

/// A value on its way in.
#[derive(Clone, Copy)]
struct Lean {
    keeps: Keeps,
    members: Members,
}

impl<'de> DeserializeSeed<'de> for Lean {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Lean {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        // Of a list it is said what its items are: `security` lists maps by name.
        while let Some(item) = items.next_element_seed(self)? {
            all.push(item);
        }
        Ok(all.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if self.members != Members::OfTheDocument || self.keeps.is_needed(&name) {
                let member = members.next_value_seed(Lean { members: self.members.below(&name), ..self })?;
                all.insert(name, member);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(all.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn examples_extensions_and_answers_are_not_read_but_what_is_called_like_them_is() {
        let schema = json!({ "properties": { "example": { "type": "string", "example": "x" }, "x-id": {}, "responses": { "items": {} }, "properties": { "xml": {}, "enum": [{ "x-b": 1 }] } } });
        let whole = json!({ "x-a": 1, "security": [{ "x-key": [] }], "paths": { "/x": { "get": { "responses": { "200": {} }, "schema": schema, "list": [{ "examples": [1] }, -1, 1.5, null, true] } } } });
        let properties =
            json!({ "example": { "type": "string" }, "x-id": {}, "responses": { "items": {} }, "properties": { "enum": [{ "x-b": 1 }] } });
        let expected = json!({ "security": [{ "x-key": [] }], "paths": { "/x": { "get": { "schema": { "properties": properties }, "list": [{}, -1, 1.5, null, true] } } } });
        let text = whole.to_string();
        assert_eq!(Keeps::of(&text).json(&text).expect("JSON"), expected);
        assert_eq!(Keeps::of(&text).yaml(&text).expect("YAML"), expected);
        assert!(Keeps::of(&text).json(&format!("{text} x")).is_err(), "something stands behind it");
    }

    #[test]
    fn answers_are_read_where_a_schema_refers_into_one() {
        let answers = |text: &str| Keeps::of(text).answers;
        assert!(!answers(r##"{"$ref": "#/components/responses/Gone"}"##));
        assert!(answers(r##"{"$ref": "#/components/responses/Gone/content/application~1json/schema"}"##));
        assert!(answers("$ref: '#/paths/~1x/get/responses/200/content/a/schema'\n"));
    }
}
