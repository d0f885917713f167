//! Definitions as they come: what is mended, what is said of it, and what is refused.

mod properties;

use maniple_contract::mend::{legal_name, mend, mend_schema};
use maniple_core::schema::Validator;
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
            json!({ "enum": [1, "a", 1.0, { "b": 1, "c": 2 }, { "c": 2, "b": 1 }] }),
            json!({ "enum": [1, "a", { "b": 1, "c": 2 }] }),
            "/enum: 2 repeated: left out",
        ),
        (
            json!({ "dependencies": { "a": ["b"], "c": { "required": ["d"] }, "e": "f" } }),
            json!({ "dependentRequired": { "a": ["b"], "e": ["f"] }, "dependentSchemas": { "c": { "required": ["d"] } } }),
            "/dependencies: are `dependentRequired` and `dependentSchemas`",
        ),
        (
            json!({ "$schema": "http://json-schema.org/draft-07/schema#", "dependencies": { "a": ["b"], "c": { "type": "str" } } }),
            json!({ "$schema": "http://json-schema.org/draft-07/schema#", "dependencies": { "a": ["b"], "c": { "type": "string" } } }),
            "/dependencies/c/type: `str` is \"string\"",
        ),
        (
            json!({ "$schema": "https://json-schema.org/draft/2019-09/schema", "items": { "$recursiveRef": "#" } }),
            json!({ "items": { "$ref": "#" } }),
            "/items/$recursiveRef: is `$ref`",
        ),
        (
            json!({ "type": "object", "allOf": [{ "minProperties": 1 }], "nullable": true, "default": null, "title": "t" }),
            json!({ "anyOf": [{ "type": "object", "allOf": [{ "minProperties": 1 }] }, { "type": "null" }], "default": null, "title": "t" }),
            "/nullable: null is a type",
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
fn what_is_said_to_a_models_provider_beside_a_definition_is_left_out() {
    let plain = json!({ "type": "object", "properties": {} });
    let flat = json!({ "type": "function", "strict": true, "parameters": plain });
    let (mended, notes) = definition(flat).unwrap();
    assert_eq!(mended["name"], "t");
    assert_eq!(notes, ["/type: left out: it is for a model's provider", "/strict: left out: it is for a model's provider"]);
    let inner = json!({ "name": "t", "description": "d", "strict": true, "parameters": plain });
    let wrapped = json!({ "type": "function", "version": "1.0.0", "endpoint": "http://x.test/", "function": inner });
    let mended = mend(wrapped).unwrap();
    assert_eq!((mended.definition.name.as_str(), mended.notes.len()), ("t", 3));
    assert!(definition(json!({ "type": "tool" })).is_err(), "that is something else");
}

#[test]
fn a_keyword_that_is_nearly_one_is_told_wherever_a_schema_is() {
    let schema = json!({
        "type": "object", "propertes": {}, "x-note": 1, "example": { "titel": 1 }, "additionalPropertes": false,
        "properties": { "propertes": { "requierd": ["a"], "enum": [{ "typ": 1 }] }, "b": { "items": { "minLenght": 1 }, "anyOf": [{ "tpye": "string" }] } },
    });
    let slips = maniple_contract::mend::slips(&schema, "/parameters");
    let told: Vec<(&str, &str)> = slips.iter().map(|slip| (slip.place.as_str(), slip.text.rsplit('`').nth(1).unwrap())).collect();
    assert_eq!(
        told,
        [
            ("/parameters/additionalPropertes", "additionalProperties"),
            ("/parameters/propertes", "properties"),
            ("/parameters/properties/b/anyOf/0/tpye", "type"),
            ("/parameters/properties/b/items/minLenght", "minLength"),
            ("/parameters/properties/propertes/requierd", "required"),
        ]
    );
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
fn a_name_that_was_made_legal_is_told_as_it_came() {
    let original = |name: &str| {
        let raw = json!({ "name": name, "version": "1.0.0", "description": "d", "endpoint": "http://t.test/" });
        mend(raw).map(|mended| (mended.definition.name, mended.original_name)).unwrap()
    };
    assert_eq!(original("get.user"), ("get_user".to_owned(), Some("get.user".to_owned())));
    assert_eq!(original("get/user"), ("get_user".to_owned(), Some("get/user".to_owned())), "which makes two tools of them");
    assert_eq!(original("get_user"), ("get_user".to_owned(), None));
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
        (json!({ "version": "soon" }), "/version: unexpected character"),
        (json!({ "endpoints": [] }), "/endpoints: there is no field `endpoints`: did you mean `endpoint`?"),
        (json!({ "timeoutMs": 5 }), "/timeoutMs: there is no field `timeoutMs`: did you mean `timeout_ms`?"),
        (json!({ "icon": "x" }), "/icon: there is no field `icon`: there are name, version,"),
        (json!({ "timeout_ms": "5" }), "/timeout_ms: invalid type"),
        (json!({ "timeout_ms": 0 }), "/timeout_ms: timeout_ms must be 1 to 600000"),
        (json!({ "description": " " }), "/description: description must say"),
        (json!({ "places": { "a/b": { "in": "sky" } } }), "/places/a~1b/in: unknown variant `sky`"),
        (json!({ "version": 1.1 }), "/version: 1.1 is a number"),
        (json!({ "name": "搜索" }), "/name: `搜索` has no character"),
        (json!({ "parameters": { "nullable": true, "properties": { "child": { "$ref": "#" } } } }), "/parameters/nullable: "),
        (json!({ "parameters": { "type": ["object", "null"], "properties": { "child": { "$ref": "#" } } } }), "/parameters/type: "),
        (
            json!({ "returns": { "dependencies": { "a": ["b"] }, "dependentRequired": { "a": ["c"] } } }),
            "/returns/dependencies: `a` stands in `dependentRequired` too",
        ),
        (json!({ "returns": { "title": "t".repeat(70_000) } }), "/returns: the schema has 70012 bytes"),
    ] {
        let why = definition(change.clone()).expect_err("refused");
        assert!(why.starts_with(place), "{change}: {why}");
    }
}

#[test]
fn a_draft_that_is_too_old_is_refused_by_its_name_with_what_to_convert() {
    for field in ["parameters", "returns"] {
        let uri = "http://json-schema.org/draft-03/schema#";
        let why = definition(json!({ field: { "$schema": uri, "type": "object" } })).expect_err("refused");
        let told = format!("/{field}/$schema: draft-03 is not read: convert the schema to draft-07 or 2020-12");
        assert!(why.starts_with(&told) && why.contains("`divisibleBy` is `multipleOf`"), "{why}");
    }
}

#[test]
fn draft_04_and_draft_06_are_read_as_draft_07() {
    for draft in ["draft-04", "draft-06"] {
        let uri = format!("http://json-schema.org/{draft}/schema#");
        let schema = json!({
            "$schema": uri, "id": "http://x.test/t", "type": "object",
            "properties": { "id": { "type": "integer", "minimum": 0, "exclusiveMinimum": true }, "pair": { "items": [{ "type": "integer" }] } },
        });
        let (definition, notes) = definition(json!({ "parameters": schema })).expect("it is read");
        let expected = json!({
            "$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
            "properties": { "id": { "type": "integer", "exclusiveMinimum": 0 }, "pair": { "items": [{ "type": "integer" }] } },
        });
        assert_eq!(definition["parameters"], expected);
        assert_eq!(notes[0], format!("/parameters/$schema: {draft} is read as draft-07"));
    }
}

#[test]
fn what_cannot_be_checked_in_a_schema_is_taken_out_alone_and_said() {
    let schema = |mail: Value, other: Value| json!({ "type": "object", "properties": { "mail": mail, "other": other } });
    for (mail, kept, told) in [
        (json!({ "type": "string", "pattern": "^(?!.*\\.\\.)(a)\\1$" }), json!({ "type": "string" }), "is not checked"),
        (json!({ "type": "string", "pattern": "^[a-z" }), json!({ "type": "string" }), "is not checked"),
        (json!({ "pattern": "^[\\w-.]+$" }), json!({ "pattern": "^[\\w\\-.]+$" }), "is read as"),
        (json!({ "pattern": "\\A\\d+\\Z" }), json!({ "pattern": "^\\d+$" }), "is read as"),
        (json!({ "$ref": "#/$defs/Gone", "title": "t" }), json!({ "title": "t" }), "leads nowhere"),
        (json!({ "$ref": "http://elsewhere.test/x.json" }), json!({}), "leads nowhere"),
    ] {
        let other = json!({ "type": "string", "pattern": "^a$" });
        let (definition, notes) = definition(json!({ "parameters": schema(mail.clone(), other.clone()) })).expect("it is read");
        assert_eq!(definition["parameters"], schema(kept, other), "{mail}");
        assert!(notes.iter().any(|note| note.contains(told)), "{mail}: {notes:?}");
    }
}

#[test]
fn what_is_taken_out_of_a_schema_makes_it_take_more_and_never_less() {
    let odd = || json!({ "type": "string", "pattern": "^(a)\\1$" });
    let gone = || json!({ "$ref": "#/$defs/Gone" });
    let with = |of: Value| json!({ "type": "object", "properties": { "p": of } });
    for (of, value) in [
        // Who matched the pattern was not one of the others.
        (json!({ "patternProperties": { "^(a)\\1$": {} }, "additionalProperties": false }), json!({ "aa": 1 })),
        (json!({ "patternProperties": { "^(a)\\1$": {} }, "unevaluatedProperties": false }), json!({ "aa": 1 })),
        (json!({ "allOf": [{ "patternProperties": { "^(a)\\1$": {} } }], "unevaluatedProperties": false }), json!({ "aa": 1 })),
        (json!({ "$ref": "#/$defs/Gone", "unevaluatedProperties": false }), json!({ "a": 1 })),
        // What is negated takes less where the schema below takes more.
        (json!({ "not": odd() }), json!("b")),
        (json!({ "not": gone() }), json!("b")),
        (json!({ "not": { "properties": { "a": odd() } } }), json!({ "a": "b" })),
        (json!({ "not": { "not": { "not": gone() } } }), json!("b")),
        (json!({ "if": odd(), "then": false, "else": { "type": "string" } }), json!("b")),
        (json!({ "if": gone(), "then": { "type": "integer" } }), json!("b")),
        // Two that take anything are never exactly one.
        (json!({ "oneOf": [gone(), { "$ref": "#/$defs/Lost" }] }), json!({ "a": 1 })),
        (json!({ "oneOf": [odd(), { "type": "string", "minLength": 2 }] }), json!("aa b")),
        (json!({ "oneOf": [odd(), { "type": "string" }], "anyOf": [{ "type": "string" }, { "type": "null" }] }), json!("b")),
        (json!({ "contains": odd(), "maxContains": 1 }), json!(["aa", "b"])),
        // A property is a schema, whatever it is called.
        (
            json!({ "properties": { "default": odd(), "enum": gone(), "example": { "properties": { "const": odd() } } } }),
            json!({ "enum": 1 }),
        ),
    ] {
        let (definition, _) = definition(json!({ "parameters": with(of.clone()) })).expect("it is read");
        let validator = Validator::compile(&definition["parameters"]).expect("it compiles");
        assert_eq!(validator.check(&json!({ "p": value })), Ok(()), "{of} has become {}", definition["parameters"]);
    }
    // By way of a reference, too.
    let parameters = json!({
        "type": "object", "$defs": { "odd": odd() },
        "properties": { "p": { "not": { "$ref": "#/$defs/odd" } }, "q": { "oneOf": [{ "$ref": "#/$defs/odd" }, { "type": "string", "minLength": 2 }] } },
    });
    let (definition, _) = definition(json!({ "parameters": parameters })).expect("it is read");
    let validator = Validator::compile(&definition["parameters"]).expect("it compiles");
    assert_eq!(validator.check(&json!({ "p": "b", "q": "b b" })), Ok(()), "{}", definition["parameters"]);
    assert_eq!(definition["parameters"]["properties"]["q"]["anyOf"][1], json!({ "type": "string", "minLength": 2 }), "the rest stays");
}

#[test]
fn a_schema_that_names_itself_by_its_id_and_a_list_that_slipped_into_properties_are_read_as_meant() {
    let own = json!({ "$id": "https://x.test/t.json", "type": "object", "properties": { "a": { "$ref": "t.json#/$defs/N" } }, "$defs": { "N": { "type": "string" } } });
    assert_eq!(
        definition(json!({ "parameters": own })).expect("it is read").0["parameters"]["properties"]["a"],
        json!({ "$ref": "#/$defs/N" })
    );
    let slipped = json!({ "type": "object", "properties": { "coin": { "type": "string" }, "required": ["coin"] } });
    let parameters = definition(json!({ "parameters": slipped })).expect("it is read").0["parameters"].clone();
    assert_eq!(parameters, json!({ "type": "object", "properties": { "coin": { "type": "string" } }, "required": ["coin"] }));
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

#[test]
fn references_follow_what_is_moved() {
    for (does_follow, raw, mended) in [
        (
            false,
            json!({ "$ref": "#/$defs/a", "$defs": { "a": { "type": "string" } }, "nullable": true }),
            json!({ "anyOf": [{ "$ref": "#/$defs/a" }, { "type": "null" }], "$defs": { "a": { "type": "string" } } }),
        ),
        (
            true,
            json!({ "nullable": true, "anyOf": [{ "type": "string" }, { "items": { "$ref": "#/anyOf/0" } }] }),
            json!({ "anyOf": [{ "anyOf": [{ "type": "string" }, { "items": { "$ref": "#/anyOf/0/anyOf/0" } }] }, { "type": "null" }] }),
        ),
        (
            true,
            json!({ "items": [{ "type": "string" }, { "not": { "$ref": "#/items/0" } }], "additionalItems": { "$ref": "#/additionalItems/$defs/n", "$defs": { "n": {} } } }),
            json!({ "prefixItems": [{ "type": "string" }, { "not": { "$ref": "#/prefixItems/0" } }], "items": { "$ref": "#/items/$defs/n", "$defs": { "n": {} } } }),
        ),
        (
            true,
            json!({ "properties": [{ "name": "a b/c", "type": "string" }, { "name": "d", "$ref": "#/properties/0" }] }),
            json!({ "properties": { "a b/c": { "type": "string" }, "d": { "$ref": "#/properties/a%20b~1c" } } }),
        ),
        (
            true,
            json!({ "dependencies": { "a": { "$ref": "#/dependencies/b" }, "b": { "minProperties": 2 } } }),
            json!({ "dependentSchemas": { "a": { "$ref": "#/dependentSchemas/b" }, "b": { "minProperties": 2 } } }),
        ),
        (
            false,
            json!({ "const": 1, "nullable": true, "$defs": { "a": { "const": { "$ref": "#/const" } } } }),
            json!({ "anyOf": [{ "const": 1 }, { "type": "null" }], "$defs": { "a": { "const": { "$ref": "#/const" } } } }),
        ),
    ] {
        let (got, notes) = schema(raw.clone());
        assert_eq!(got, mended, "{raw}");
        let is_told = notes.contains(&"/: references follow what was moved".to_owned());
        assert_eq!(is_told, does_follow, "{raw}: {notes:?}");
    }
    let bare = json!({ "parameters": { "a": { "type": "string" }, "b": { "$ref": "#/a" } } });
    let (mended, _) = definition(bare).unwrap();
    assert_eq!(mended["parameters"]["properties"]["b"], json!({ "$ref": "#/properties/a" }));
}

#[test]
fn what_neighbours_declare_stays_required_below_a_combination() {
    let raw = json!({ "allOf": [
        { "properties": { "a": { "properties": { "x": {} } } } },
        { "properties": { "a": { "properties": { "y": {} }, "required": ["x"] } } },
    ] });
    assert_eq!(schema(raw.clone()), (raw, vec![]));
}

#[test]
fn a_name_is_found_among_ten_thousand_that_are_taken() {
    let mut taken = HashSet::new();
    let names: Vec<String> = (0..10_000).map(|_| legal_name("search", &mut taken)).collect();
    assert_eq!([&names[0], &names[1], &names[9_999]], ["search", "search_2", "search_10000"]);
    assert_eq!(taken.len(), 10_000);
    let mut gaps: HashSet<String> = ["a", "a_2", "a_4", "a_5"].map(str::to_owned).into();
    let more: HashSet<String> = (0..4).map(|_| legal_name("a", &mut gaps)).collect();
    assert_eq!((more.len(), gaps.len()), (4, 8), "none twice, wherever the gaps are: {more:?}");
}

#[test]
fn a_giant_name_makes_a_short_note() {
    let name = "n".repeat(60_000);
    let (_, notes) = schema(json!({ "properties": { name: { "type": "str" } } }));
    assert!(notes[0].len() < 600, "{} bytes", notes[0].len());
}
