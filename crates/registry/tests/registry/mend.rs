//! Definitions as they come: what is mended, what is said of it, and what is refused.

use maniple_core::schema::Validator;
use maniple_registry::mend::{legal_name, mend, mend_schema};
use serde_json::{Value, json};
use std::collections::HashSet;

fn schema(raw: Value) -> (Value, Vec<String>) {
    let (schema, notes) = mend_schema(raw.clone()).unwrap_or_else(|error| panic!("{raw}: {error}"));
    Validator::compile(&schema).unwrap();
    (schema, notes.iter().map(ToString::to_string).collect())
}
fn definition(change: Value) -> Result<(Value, Vec<String>), String> {
    let mut raw = json!({ "name": "t", "version": "1.0.0", "description": "d", "endpoint": "http://t.test/" });
    raw.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let mended = mend(raw).map_err(|error| error.message.into_owned())?;
    Ok((serde_json::to_value(mended.definition).unwrap(), mended.notes.iter().map(ToString::to_string).collect()))
}

#[test]
fn what_is_legal_stays_as_it_is_and_nothing_is_said() {
    for raw in [
        json!({ "type": "object", "properties": { "type": { "type": "string", "default": "a" }, "required": { "type": "boolean" } }, "required": ["type"] }),
        json!({ "type": ["string", "null"], "default": null, "enum": ["a", null] }),
        json!({ "properties": { "a": {} }, "anyOf": [{ "required": ["a"] }, { "required": ["b"] }] }),
        json!({ "$schema": "http://json-schema.org/draft-07/schema#", "items": [{ "type": "string" }], "additionalItems": false }),
        json!({ "$ref": "#/$defs/a", "$defs": { "a": { "const": null } } }),
        json!(true),
    ] {
        assert_eq!(schema(raw.clone()), (raw, vec![]));
    }
}

#[test]
fn what_other_languages_and_drafts_write_is_mended_and_said() {
    for (raw, mended, said) in [
        (json!({ "type": "dict" }), json!({ "type": "object" }), "/type: `dict` is \"object\""),
        (json!({ "type": "FLOAT" }), json!({ "type": "number" }), "/type: `FLOAT` is \"number\""),
        (json!({ "type": ["str", "None"] }), json!({ "type": ["null", "string"] }), "/type: `str, None` is [\"null\",\"string\"]"),
        (json!({ "type": "any", "title": "x" }), json!({ "title": "x" }), "/type: `any`: left out, anything goes"),
        (json!({ "type": "date" }), json!({ "type": "string", "format": "date" }), "/type: `date` is \"string\""),
        (json!({ "type": "set" }), json!({ "type": "array", "uniqueItems": true }), "/type: `set` is \"array\""),
        (
            json!({ "type": "array", "items": [{ "type": "string" }], "additionalItems": false }),
            json!({ "type": "array", "prefixItems": [{ "type": "string" }], "items": false }),
            "/items: a list of schemas is `prefixItems`",
        ),
        (json!({ "type": "string", "default": null }), json!({ "type": "string" }), "/default: null does not fit the type: left out"),
        (json!({ "type": "string", "format": null }), json!({ "type": "string" }), "/format: null: left out"),
        (json!({ "type": "string", "nullable": true }), json!({ "type": ["string", "null"] }), "/nullable: null is a type"),
        (json!({ "const": 1, "nullable": true }), json!({ "anyOf": [{ "const": 1 }, { "type": "null" }] }), "/nullable: null is a type"),
        (
            json!({ "minimum": 3, "exclusiveMinimum": true }),
            json!({ "exclusiveMinimum": 3 }),
            "/exclusiveMinimum: took the number of `minimum`",
        ),
        (
            json!({ "properties": { "a": { "type": "string", "required": true } } }),
            json!({ "properties": { "a": { "type": "string" } }, "required": ["a"] }),
            "/properties/a/required: moved to the object it belongs to",
        ),
        (
            json!({ "properties": { "a": {} }, "required": ["a", "b"] }),
            json!({ "properties": { "a": {} }, "required": ["a"] }),
            "/required: `b` is left out: there is no such property",
        ),
        (
            json!({ "properties": { "a/b": "int" } }),
            json!({ "properties": { "a/b": { "type": "integer" } } }),
            "/properties/a~1b: `int` stood for a schema of that type",
        ),
        (
            json!({ "$schema": "http://json-schema.org/draft-04/schema#", "$ref": "#/definitions/a", "definitions": { "a": {} } }),
            json!({ "$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#/definitions/a", "definitions": { "a": {} } }),
            "/$schema: http://json-schema.org/draft-04/schema# is read as draft-07",
        ),
    ] {
        let (got, notes) = schema(raw.clone());
        assert_eq!(got, mended, "{raw}");
        assert!(notes.iter().any(|note| note == said), "{raw}: {notes:?}");
        assert_eq!(schema(got.clone()), (got, vec![]), "mending again changes nothing");
    }
}

#[test]
fn parameters_are_read_in_whatever_wrapping_they_come() {
    let plain = json!({ "type": "object", "properties": { "q": { "type": "string" } } });
    let bare = plain["properties"].clone();
    for (change, said) in [
        (json!({ "parameters": plain }), 0),
        (json!({ "parameters": plain.to_string() }), 1),
        (json!({ "parameters": bare }), 1),
        (json!({ "parameters": { "properties": bare } }), 1),
        (json!({ "parameters": { "type": ["object", "null"], "properties": bare } }), 1),
        (json!({ "parameters": { "type": "Dict", "properties": [{ "name": "q", "type": "str" }] } }), 3),
        (json!({ "inputSchema": plain }), 1),
    ] {
        let (mended, notes) = definition(change.clone()).unwrap();
        assert_eq!(mended["parameters"], plain, "{change}");
        assert_eq!(notes.len(), said, "{change}: {notes:?}");
    }
}

#[test]
fn names_versions_and_methods_are_mended() {
    for (change, field, want) in [
        (json!({ "name": "weather.get now" }), "name", "weather_get_now"),
        (json!({ "version": "1.0" }), "version", "1.0.0"),
        (json!({ "version": "v1.2" }), "version", "1.2.0"),
        (json!({ "version": 2 }), "version", "2.0.0"),
        (json!({ "version": "1.2-rc.1" }), "version", "1.2.0-rc.1"),
        (json!({ "method": "get" }), "method", "GET"),
    ] {
        let (mended, notes) = definition(change.clone()).unwrap();
        assert_eq!((mended[field].as_str().unwrap(), notes.len()), (want, 1), "{change}: {notes:?}");
    }
}

#[test]
fn what_would_change_meaning_is_refused_with_its_place() {
    for (change, place) in [
        (json!({ "parameters": { "type": "object", "properties": { "f": { "type": "file" } } } }), "/parameters/properties/f/type: `file`"),
        (json!({ "parameters": { "type": "string" } }), "/parameters/type: parameters must describe an object"),
        (json!({ "parameters": { "properties": { "a": { "items": 3 } } } }), "/parameters:"),
        (json!({ "parameters": { "properties": { "a": 3 } } }), "/parameters/properties/a: a schema must be an object"),
        (json!({ "parameters": { "properties": {}, "required": [1] } }), "/parameters/required: "),
        (json!({ "parameters": "{" }), "/parameters: the text is no schema"),
        (json!({ "returns": { "$ref": "http://elsewhere.test/" } }), "/returns: `$ref`"),
        (json!({ "version": "soon" }), "/: "),
        (json!({ "endpoints": [] }), "/: unknown field `endpoints`"),
    ] {
        let why = definition(change.clone()).expect_err("refused");
        assert!(why.starts_with(place), "{change}: {why}");
    }
}

#[test]
fn names_become_legal_and_stay_apart() {
    let mut taken = HashSet::new();
    let long = "n".repeat(80);
    let names: Vec<String> =
        ["a.b", "a b", "a_b", "", "é", &long, &format!("{long}x")].iter().map(|name| legal_name(name, &mut taken)).collect();
    assert_eq!(names[..5], ["a_b", "a_b_2", "a_b_3", "tool", "_"]);
    assert!(names.iter().all(|name| (1..=64).contains(&name.len())));
    assert_eq!(taken.len(), names.len());
    assert!(names[5].starts_with(&"n".repeat(55)) && names[5] != names[6]);
    assert_eq!(names[5], legal_name(&long, &mut HashSet::new()), "the same name again, whoever asks");
}
