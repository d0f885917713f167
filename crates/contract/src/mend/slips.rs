//! Keywords that look like slips. JSON Schema ignores what it does not know, so `propertes` declares nothing and nobody is told.

use super::{Note, escaped, short, short_place};
use serde_json::Value;

/// What JSON Schema knows (2020-12, and what earlier drafts called it), and what many write beside it.
const KNOWN: [&str; 68] = [
    "$anchor",
    "$comment",
    "$defs",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$recursiveAnchor",
    "$recursiveRef",
    "$ref",
    "$schema",
    "$vocabulary",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "definitions",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "deprecated",
    "description",
    "discriminator",
    "else",
    "enum",
    "example",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "externalDocs",
    "format",
    "id",
    "if",
    "items",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "nullable",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "readOnly",
    "required",
    "then",
    "title",
    "type",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "writeOnly",
    "xml",
];

/// The most slips that are told.
const MOST: usize = 20;

/// Every keyword that is nearly a known one, in a schema that keeps its bounds, with the place and the one it may be.
pub fn slips(schema: &Value, at: &str) -> Vec<Note> {
    let mut found = Vec::new();
    look(schema, at, &mut found);
    found
}

fn look(schema: &Value, at: &str, found: &mut Vec<Note>) {
    let Value::Object(members) = schema else { return };
    for (keyword, value) in members {
        let place = format!("{at}/{}", escaped(keyword));
        match (keyword.as_str(), value) {
            ("properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" | "dependencies", Value::Object(named)) => {
                named.iter().for_each(|(name, schema)| look(schema, &format!("{place}/{}", escaped(name)), found));
            }
            ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(all)) => {
                all.iter().enumerate().for_each(|(index, schema)| look(schema, &format!("{place}/{index}"), found));
            }
            // What is no schema.
            ("const" | "default" | "enum" | "example" | "examples" | "xml" | "discriminator" | "externalDocs", _) => {}
            (known, value) if KNOWN.contains(&known) => look(value, &place, found),
            (unknown, _) => {
                if let Some(meant) = near(unknown).filter(|_| found.len() < MOST) {
                    let text = format!("`{}` is no keyword of JSON Schema and says nothing: did you mean `{meant}`?", short(unknown));
                    found.push(Note { place: short_place(&place), text });
                }
            }
        }
    }
}

/// A known keyword that is at most one letter in four away.
fn near(written: &str) -> Option<&'static str> {
    let short_enough = written.len() <= 40;
    let distance = |known: &&&str| strsim::damerau_levenshtein(known, written);
    KNOWN.iter().filter(|known| short_enough && distance(known) * 4 <= known.len()).min_by_key(distance).copied()
}
