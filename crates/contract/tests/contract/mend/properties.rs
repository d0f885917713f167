//! What holds for every definition, whatever comes: mending ends, twice is once, and what comes out is legal.
//!
//! What fails is printed whole, so that it can become a row of a table next door.

use maniple_contract::mend::{Note, legal_name, mend, mend_schema};
use maniple_core::schema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::HashSet;

/// Words that mean something somewhere in a schema or a definition.
const WORDS: [&str; 58] = [
    "type",
    "properties",
    "required",
    "items",
    "prefixItems",
    "additionalItems",
    "additionalProperties",
    "enum",
    "const",
    "default",
    "nullable",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "$ref",
    "$defs",
    "definitions",
    "$schema",
    "$id",
    "$anchor",
    "dependencies",
    "dependentSchemas",
    "dependentRequired",
    "exclusiveMinimum",
    "minimum",
    "exclusiveMaximum",
    "maximum",
    "format",
    "pattern",
    "name",
    "version",
    "parameters",
    "inputSchema",
    "outputSchema",
    "returns",
    "function",
    "method",
    "endpoint",
    "description",
    "timeout_ms",
    "tags",
    "string",
    "int",
    "dict",
    "any",
    "date",
    "set",
    "file",
    "null",
    "a",
    "b/~%c",
    "",
    "#/properties/a",
    "#",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![9 => prop::sample::select(&WORDS[..]).prop_map(str::to_owned), 1 => "\\PC{0,9}"]
}

/// Any JSON at all, of words that mean something.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
        prop::sample::select(vec!["{", "{\"type\":\"int\"}", "{\"a\":{\"type\":\"str\"}}", "1.0", "v1.2"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            3 => prop::collection::vec((word(), inner), 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A schema as people and programs of other languages write it.
fn messy() -> impl Strategy<Value = Value> {
    let types = ["string", "str", "INT", "float", "dict", "list", "any", "date", "set", "NoneType", "object", "array"];
    let kind = move || prop::sample::select(types.to_vec());
    let choices = prop::collection::vec(prop::sample::select(vec![json!(1), json!(1.0), json!("a"), json!(null), json!([1])]), 1..5);
    let reference = prop::sample::select(vec![
        "#",
        "#/$defs/a",
        "#/definitions/a",
        "#/properties/a",
        "#/properties/0",
        "#/items/0",
        "#/anyOf/0",
        "#/allOf/0",
    ]);
    let leaf = prop_oneof![
        4 => kind().prop_map(|kind| json!({ "type": kind })),
        1 => kind().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => choices.prop_map(|choices| json!({ "enum": choices })),
        1 => reference.prop_map(|to| json!({ "$ref": to })),
        1 => Just(json!({ "type": ["str", "None"], "default": null })),
        1 => Just(json!({ "minimum": 3, "exclusiveMinimum": true, "exclusiveMaximum": false })),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let name = || prop::sample::select(vec!["a", "b", "c/d", "e f", "type"]);
        let named = || {
            prop::collection::vec((name(), inner.clone()), 1..4)
                .prop_map(|named| json!(named.into_iter().collect::<std::collections::BTreeMap<_, _>>()))
        };
        let listed = || prop::collection::vec(inner.clone(), 1..3).prop_map(Value::from);
        let keyword = prop_oneof![
            3 => named().prop_map(|named| ("properties", named)),
            1 => Just(("properties", json!([{ "name": "a", "type": "str", "required": true }, { "name": "b" }]))),
            1 => named().prop_map(|named| ("$defs", named)),
            1 => named().prop_map(|named| ("definitions", named)),
            1 => named().prop_map(|named| ("dependencies", named)),
            1 => Just(("dependencies", json!({ "a": ["b"], "b": "a" }))),
            2 => prop::collection::vec(name(), 0..4).prop_map(|names| ("required", json!(names))),
            1 => any::<bool>().prop_map(|is_required| ("required", json!(is_required))),
            2 => any::<bool>().prop_map(|is_nullable| ("nullable", json!(is_nullable))),
            1 => Just(("default", json!(null))),
            1 => Just(("format", json!(null))),
            1 => kind().prop_map(|kind| ("type", json!(kind))),
            2 => listed().prop_map(|items| ("items", items)),
            1 => inner.clone().prop_map(|items| ("items", items)),
            1 => inner.clone().prop_map(|rest| ("additionalItems", rest)),
            1 => inner.clone().prop_map(|rest| ("additionalProperties", rest)),
            1 => inner.clone().prop_map(|not| ("not", not)),
            1 => listed().prop_map(|parts| ("allOf", parts)),
            1 => listed().prop_map(|parts| ("anyOf", parts)),
        ];
        prop::collection::vec(keyword, 1..6).prop_map(object)
    })
}

/// A messy schema of some draft.
fn of_some_draft() -> impl Strategy<Value = Value> {
    let drafts = [
        None,
        None,
        None,
        Some("http://json-schema.org/draft-04/schema#"),
        Some("http://json-schema.org/draft-07/schema#"),
        Some("https://json-schema.org/draft/2019-09/schema"),
        Some("https://json-schema.org/draft/2020-12/schema"),
    ];
    (messy(), prop::sample::select(drafts.to_vec())).prop_map(|(mut schema, draft)| {
        if let (Some(members), Some(draft)) = (schema.as_object_mut(), draft) {
            members.insert("$schema".into(), draft.into());
        }
        schema
    })
}

/// A schema with nothing in it to mend. What it refers to is there.
fn clean() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        prop::sample::select(vec!["string", "integer", "number", "boolean", "null"]).prop_map(|kind| json!({ "type": kind })),
        Just(json!({ "type": ["integer", "null"], "default": null, "examples": [null] })),
        Just(json!({ "enum": ["a", 1, null] })),
        Just(json!({ "const": { "nullable": true, "type": "dict", "required": [1] } })),
        Just(json!({ "$ref": "#/$defs/leaf" })),
        Just(json!({ "minimum": 1, "exclusiveMaximum": 3 })),
        Just(json!(true)),
    ];
    let inner = leaf.prop_recursive(3, 24, 4, |inner| {
        let keyword = prop_oneof![
            3 => (inner.clone(), inner.clone()).prop_map(|(a, b)| ("properties", json!({ "a": a, "nullable": b }))),
            1 => inner.clone().prop_map(|items| ("items", items)),
            1 => inner.clone().prop_map(|first| ("prefixItems", json!([first]))),
            1 => inner.clone().prop_map(|rest| ("additionalProperties", rest)),
            1 => inner.clone().prop_map(|part| ("allOf", json!([part, { "required": ["z"] }]))),
            1 => inner.clone().prop_map(|part| ("anyOf", json!([part, { "type": "null" }]))),
            1 => inner.clone().prop_map(|not| ("not", not)),
            1 => inner.clone().prop_map(|needed| ("dependentSchemas", json!({ "a": needed }))),
            1 => Just(("dependentRequired", json!({ "type": ["a"], "enum": ["b"] }))),
            1 => Just(("default", json!({ "type": "dict", "enum": [1, 1] }))),
        ];
        prop::collection::vec(keyword, 1..4).prop_map(object)
    });
    inner.prop_map(|schema| match schema {
        Value::Object(mut members) => {
            members.insert("$defs".into(), json!({ "leaf": { "maxLength": 2, "minimum": 2 } }));
            Value::Object(members)
        }
        other => other,
    })
}

fn object(members: Vec<(&'static str, Value)>) -> Value {
    Value::Object(members.into_iter().map(|(keyword, value)| (keyword.to_owned(), value)).collect())
}

fn definition_of(parameters: Option<Value>, returns: Option<Value>) -> Value {
    let mut raw = json!({ "name": "t", "version": "1.0.0", "description": "d", "endpoint": "http://t.test/" });
    for (field, schema) in [("parameters", parameters), ("returns", returns)] {
        if let Some(schema) = schema {
            raw[field] = schema;
        }
    }
    raw
}

/// What must hold of a definition, whatever came.
fn holds_of_a_definition(raw: Value) -> Result<(), TestCaseError> {
    match mend(raw) {
        Err(error) => prop_assert!(error.message.starts_with('/') && error.message.contains(": ") && error.field.is_some(), "{error:?}"),
        Ok(mended) => {
            prop_assert!(mended.definition.check().is_ok(), "{:?}", mended.definition.check());
            prop_assert!(Validator::compile(&mended.definition.parameters).is_ok());
            prop_assert_eq!(mended.definition.parameters.get("type"), Some(&json!("object")));
            let again = mend(serde_json::to_value(&mended.definition).unwrap()).unwrap();
            prop_assert_eq!((&again.definition, again.notes), (&mended.definition, vec![]));
        }
    }
    Ok(())
}

/// What must hold of a schema, whatever came.
fn holds_of_a_schema(raw: Value) -> Result<(), TestCaseError> {
    match mend_schema(raw) {
        Err(error) => prop_assert!(error.message.starts_with('/') && error.message.contains(": ") && error.field.is_some(), "{error:?}"),
        Ok((mended, _)) => {
            prop_assert!(Validator::compile(&mended).is_ok());
            let again = mend_schema(mended.clone());
            prop_assert_eq!(again.map_err(|error| error.message), Ok((mended, Vec::<Note>::new())));
        }
    }
    Ok(())
}

/// Values of every kind, some of which fit what [`clean`] makes.
fn values() -> Vec<Value> {
    let mut values = vec![json!(null), json!(true), json!(1), json!(2.5), json!("a"), json!("abc"), json!([]), json!({})];
    for leaf in values.clone() {
        values.extend([
            json!([leaf]),
            json!({ "a": leaf }),
            json!({ "nullable": leaf, "z": 1 }),
            json!({ "a": { "a": leaf }, "z": 1, "type": 2 }),
        ]);
    }
    values
}

/// 256 unless `PROPTEST_CASES` says otherwise; what fails is printed whole.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_json_is_refused_with_its_place_or_becomes_a_legal_definition(raw in anything(), schema in anything(), returns in prop::option::of(anything())) {
        holds_of_a_definition(raw)?;
        holds_of_a_schema(schema.clone())?;
        holds_of_a_definition(definition_of(Some(schema), returns))?;
    }

    #[test]
    fn what_was_mended_is_mended(schema in of_some_draft(), returns in prop::option::of(of_some_draft())) {
        holds_of_a_schema(schema.clone())?;
        holds_of_a_definition(definition_of(Some(schema), returns))?;
    }

    #[test]
    fn what_was_valid_is_not_changed(schema in clean()) {
        prop_assert!(Validator::compile(&schema).is_ok(), "{}", schema);
        prop_assert_eq!(mend_schema(schema.clone()).map_err(|error| error.message), Ok((schema.clone(), vec![])));
        let object = json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/whole" } }, "$defs": { "whole": {}, "leaf": schema } });
        let mended = mend(definition_of(Some(object.clone()), None)).map_err(|error| TestCaseError::fail(error.message.into_owned()))?;
        prop_assert_eq!((mended.definition.parameters, mended.notes), (object, vec![]));
    }

    /// OpenAPI's word for it means just this: what was taken before, and null.
    #[test]
    fn a_nullable_schema_takes_null_and_what_it_took_before(schema in clean(), default in any::<bool>()) {
        let Value::Object(mut members) = schema.clone() else { return Ok(()) };
        members.insert("nullable".into(), true.into());
        if default {
            members.insert("default".into(), Value::Null);
        }
        let mended = mend_schema(Value::Object(members)).map_err(|error| TestCaseError::fail(error.message.into_owned()))?.0;
        let (before, after) = (Validator::compile(&schema).unwrap(), Validator::compile(&mended).unwrap());
        for value in values() {
            let is_taken = value.is_null() || before.check(&value).is_ok();
            prop_assert_eq!(after.check(&value).is_ok(), is_taken, "{}: {}", value, mended);
        }
        prop_assert_eq!(mended.get("default"), if default { Some(&Value::Null) } else { schema.get("default") });
    }

    /// 100 names each: 25,600 in all.
    #[test]
    fn names_become_legal_or_are_refused_always_alike(names in prop::collection::vec(name(), 100)) {
        let all = || {
            let mut taken = HashSet::new();
            names.iter().map(|name| legal_name(name, &mut taken)).collect::<Vec<_>>()
        };
        let legal = all();
        prop_assert_eq!(&legal, &all());
        prop_assert_eq!(legal.iter().collect::<HashSet<_>>().len(), names.len(), "each has its own");
        for (name, legal) in names.iter().zip(&legal) {
            prop_assert!(is_legal(legal), "{:?}: {}", name, legal);
            prop_assert_eq!(&legal_name(legal, &mut HashSet::new()), legal);
            if is_legal(name) {
                prop_assert_eq!(&legal_name(name, &mut HashSet::new()), name);
            }
        }
    }

    /// As a definition's name, where nothing else tells two tools apart.
    #[test]
    fn a_name_that_says_nothing_is_refused(name in name()) {
        let mut raw = definition_of(None, None);
        raw["name"] = json!(name);
        match mend(raw) {
            Ok(mended) => prop_assert_eq!(mended.definition.name, legal_name(&name, &mut HashSet::new())),
            Err(error) => {
                prop_assert!(error.message.starts_with("/name: ") && !is_legal(&name), "{error:?}");
                prop_assert!(!name.bytes().any(|byte| byte.is_ascii_alphanumeric()));
            }
        }
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,5}",
        "[a-c]{1,2}",
        "[a-z._ /:-]{0,12}",
        "a{60,80}[.x]",
        "\\PC{60,90}",
        ".{0,3}",
        "[_ -]{0,2}",
        "[\u{4e00}-\u{4e20}]{1,3}"
    ]
}

fn is_legal(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}
