//! What providers are shown.

use super::*;

/// Schemas of tools as they come, each with what a provider would say of it.
fn schemas() -> Vec<(&'static str, Value)> {
    let text = json!({ "type": "string" });
    vec![
        ("plain", json!({ "type": "object", "properties": { "b": text, "a": { "type": "integer" } }, "required": ["b", "a"] })),
        ("no properties", json!({ "type": "object" })),
        ("nothing at all", json!({})),
        ("closed", json!({ "type": "object", "additionalProperties": false })),
        (
            "alternatives",
            json!({ "anyOf": [
                { "type": "object", "properties": { "a": text, "kind": { "const": "x" } }, "required": ["a"] },
                { "$ref": "#/$defs/Other" },
            ], "$defs": { "Other": { "type": "object", "properties": { "b": text, "kind": { "const": "y" } }, "required": ["b"] } } }),
        ),
        (
            "one of two",
            json!({ "type": "object", "properties": { "a": text, "b": text }, "oneOf": [{ "required": ["a"] }, { "required": ["b"] }] }),
        ),
        (
            "composed",
            json!({ "allOf": [{ "$ref": "#/$defs/Pet" }, { "properties": { "breed": text }, "required": ["breed"] }],
                "$defs": { "Pet": { "type": "object", "properties": { "name": text }, "required": ["name"] } } }),
        ),
        ("a list", json!({ "type": "object", "properties": { "a": { "type": "array" }, "b": { "type": ["array", "null"] } } })),
        ("a tuple", json!({ "type": "object", "properties": { "a": { "type": "array", "items": [text, { "type": "integer" }] } } })),
        ("booleans", json!({ "type": "object", "properties": { "a": true, "b": false, "c": { "type": "object" } } })),
        (
            "names",
            json!({ "type": "object", "required": ["$top"], "properties": {
                "$top": { "type": "integer" }, "_top": text, "filter[name]": text, "uygulanıyor": text, "k".repeat(70): text,
                "deep": { "type": "object", "properties": { "@odata.type": text } } } }),
        ),
        (
            "lengths",
            json!({ "type": "object", "properties": { "a": { "type": "string", "pattern": "^a+$", "maxLength": 5, "enum": ["a"] } } }),
        ),
        (
            "a draft",
            json!({ "$schema": "http://json-schema.org/draft-07/schema#", "$id": "x", "type": "object", "properties": { "a": text } }),
        ),
    ]
}

fn tool(parameters: Value) -> ToolSpec {
    ToolSpec { name: "t".into(), description: "Does it.".into(), parameters }
}

#[test]
fn every_schema_is_shown_as_each_provider_takes_it() {
    for (name, shape) in [("openai", Shape::OPENAI), ("anthropic", Shape::ANTHROPIC), ("small", Shape { any_name: false, lengths: false })]
    {
        let shown: BTreeMap<&str, Value> = schemas()
            .into_iter()
            .map(|(title, parameters)| {
                let tool = tool(parameters);
                let shown = shape.of(&tool);
                (title, json!({ "description": shown.description, "parameters": shown.parameters }))
            })
            .collect();
        insta::with_settings!({ snapshot_path => "../../golden/shape", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_json_snapshot!(name, shown)
        });
    }
}

/// What the APIs themselves say of the parameters of a tool.
#[test]
fn no_provider_refuses_what_is_shown() {
    for shape in [Shape::OPENAI, Shape::ANTHROPIC, Shape { any_name: false, lengths: false }] {
        for (title, parameters) in schemas() {
            let tool = tool(parameters);
            let shown = shape.of(&tool).into_owned().parameters;
            assert_eq!((&shown["type"], shown["properties"].is_object()), (&json!("object"), true), "{title}: {shown}");
            let refused = ["anyOf", "oneOf", "allOf", "enum", "not", "$ref"].iter().find(|keyword| shown.get(**keyword).is_some());
            assert_eq!(refused, None, "{title}: {shown}");
            for (name, property) in shown["properties"].as_object().into_iter().flatten() {
                let legal = name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
                assert!(shape.any_name || legal, "{title}: {name}");
                assert!(property.is_object() && (property["type"] != "array" || property["items"].is_object()), "{title}: {property}");
            }
            maniple_core::schema::Validator::compile(&shown).unwrap_or_else(|why| panic!("{title}: {why}"));
        }
    }
}

#[test]
fn what_is_legal_already_is_not_touched() {
    let tool = tool(schemas().remove(0).1);
    assert!(matches!(Shape::ANTHROPIC.of(&tool), Cow::Borrowed(_)));
}

#[test]
fn arguments_come_back_under_the_names_of_the_tool() {
    let (_, parameters) = schemas().into_iter().find(|(title, _)| *title == "names").expect("it is there");
    let tool = tool(parameters);
    let names = names(&tool.parameters);
    let given = json!({ names["$top"].as_str(): 1, "_top": "x", names["filter[name]"].as_str(): ["a"], "deep": { names["@odata.type"].as_str(): "b" } });
    let given = given.to_string().replace("\"x\"", "123456789012345678901234567890");
    let back: Value = serde_json::from_str(&original_names(&tool, given)).expect("JSON");
    assert_eq!(back, json!({ "$top": 1, "_top": "123456789012345678901234567890", "filter[name]": ["a"], "deep": { "@odata.type": "b" } }));
    assert_ne!(names["$top"], "_top", "another property has that name");
    for broken in ["", "{\"a\":", "[1]", r#"{ "_top" :1}"#] {
        assert_eq!(original_names(&tool, broken.to_owned()), broken, "what needs no mapping stays as it was written");
    }
}

#[test]
fn a_reference_to_what_is_shown_elsewhere_is_replaced_by_what_it_means() {
    let parameters = json!({
        "type": "object",
        "allOf": [{ "properties": { "from": { "type": "string", "maxLength": 9 } } }],
        "properties": {
            "to": { "$ref": "#/allOf/0/properties/from", "description": "where it goes" },
            "$via": { "type": "array", "items": { "$ref": "#/$defs/Stop" } },
            "back": { "$ref": "#/properties/$via" },
            "name": { "$ref": "#/$defs/Stop/properties/$name" },
            "child": { "type": "object", "properties": { "again": { "$ref": "#/properties/child" } } },
            "self": { "$ref": "#" },
            "nowhere": { "$ref": "#/properties/none", "description": "lost" },
        },
        "$defs": { "Stop": { "type": "object", "properties": { "$name": { "type": "string" } } } },
    });
    let shown = Shape { any_name: false, lengths: false }.of(&tool(parameters)).into_owned().parameters;
    let properties = &shown["properties"];
    assert_eq!(properties["to"], json!({ "type": "string", "description": "where it goes" }));
    assert_eq!(properties["back"], json!({ "type": "array", "items": { "$ref": "#/$defs/Stop" } }));
    assert_eq!(properties["name"], json!({ "type": "string" }));
    assert_eq!(properties["self"], json!({ "$ref": "#" }));
    assert_eq!(properties["nowhere"], json!({ "description": "lost" }));
    let mut open = vec![&shown];
    while let Some(value) = open.pop() {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            assert!(shown.pointer(reference.trim_start_matches('#')).is_some(), "{reference} dangles in {shown}");
        }
        open.extend(value.as_object().into_iter().flat_map(Map::values).chain(value.as_array().into_iter().flatten()));
    }
    let bomb = json!({ "type": "object", "properties": { "a": { "type": "object", "properties":
        (0..40).map(|n| (format!("p{n}"), json!({ "$ref": "#/properties/a" }))).collect::<Map<_, _>>() } } });
    assert!(Shape::OPENAI.of(&tool(bomb)).parameters.to_string().len() < 1 << 20);
}
