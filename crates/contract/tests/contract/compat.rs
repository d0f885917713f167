//! What a new version does to callers of the old: each rule once, and the promise of *compatible* by chance.

use maniple_contract::compat::{ChangeKind, Direction, Report, Verdict, compare, compare_schemas};
use maniple_core::{schema::Validator, tool::ToolDefinition};
use proptest::prelude::*;
use serde_json::{Value, json};

fn input(old: Value, new: Value) -> Report {
    compare_schemas(Direction::Input, &old, &new)
}
fn object(properties: Value, required: Value) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}
fn tool(change: Value) -> ToolDefinition {
    let mut raw = json!({ "name": "t", "version": "1.0.0", "description": "d", "endpoint": "http://t.test/",
        "parameters": { "type": "object", "properties": { "q": { "type": "string" } } } });
    raw.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(raw).unwrap()
}

#[test]
fn what_only_widens_is_compatible() {
    let s = json!({ "type": "string" });
    for (old, new) in [
        (json!({ "type": "integer" }), json!({ "type": "number" })),
        (json!({ "type": "integer", "minimum": 1 }), json!({ "type": "number", "exclusiveMinimum": 0 })),
        (json!({ "type": "integer", "exclusiveMinimum": 0 }), json!({ "type": "integer", "minimum": 1 })),
        (json!({ "enum": ["a", "b"] }), json!({ "type": "string", "maxLength": 1 })),
        (json!({ "const": 1 }), json!({ "enum": [1.0, 2] })),
        (json!({ "type": "boolean" }), json!({ "enum": [true, false] })),
        (json!({ "type": ["string", "null"] }), json!({ "anyOf": [{ "type": "null" }, { "type": "string" }] })),
        (json!({ "anyOf": [{ "type": "null" }, s] }), json!({ "type": ["string", "null"] })),
        (json!({ "multipleOf": 6 }), json!({ "multipleOf": 3 })),
        (json!({ "type": "string", "minLength": 3, "maxLength": 4 }), json!({ "type": "string", "minLength": 2, "maxLength": 9 })),
        (json!({ "type": "array", "items": s, "maxItems": 2 }), json!({ "type": "array", "items": true, "maxItems": 3 })),
        (json!({ "prefixItems": [s, s], "items": false }), json!({ "items": s })),
        (json!({ "pattern": "^a+$", "format": "date" }), json!({ "pattern": "^a+$" })),
        (object(json!({ "a": s }), json!(["a"])), object(json!({ "a": s, "b": s }), json!([]))),
        (object(json!({ "a": s }), json!([])), json!({ "type": "object", "properties": { "a": s } })),
        (json!({ "allOf": [{ "type": "integer" }, { "minimum": 3 }] }), json!({ "type": "integer", "minimum": 2 })),
        (json!({ "not": { "type": ["string", "null"] } }), json!({ "not": { "type": "null" } })),
        (json!({ "type": "integer" }), json!({ "oneOf": [{ "type": "integer" }, { "type": "string" }] })),
        (
            json!({ "$ref": "#/$defs/n", "$defs": { "n": { "type": "object", "properties": { "n": { "$ref": "#/$defs/n" } }, "required": ["n"] } } }),
            json!({ "$ref": "#/$defs/m", "$defs": { "m": { "type": "object", "properties": { "n": { "$ref": "#/$defs/m" } } } } }),
        ),
    ] {
        let report = input(old.clone(), new.clone());
        assert_eq!(report.verdict, Verdict::Compatible, "{old} -> {new}: {report:?}");
    }
}

#[test]
fn what_narrows_is_breaking_and_shown_by_a_value() {
    let s = json!({ "type": "string" });
    for (old, new, place) in [
        (json!({ "type": "number" }), json!({ "type": "integer" }), "/type"),
        (json!({ "type": "integer" }), json!({ "type": "integer", "minimum": 1 }), "/minimum"),
        (json!({ "type": "integer" }), json!({ "type": "integer", "maximum": 1e12 }), "/maximum"),
        (json!({ "enum": ["a", "b"] }), json!({ "enum": ["a"] }), "/enum"),
        (s.clone(), json!({ "type": "string", "maxLength": 80 }), "/maxLength"),
        (s.clone(), json!({ "type": "string", "pattern": "^[0-9]+$" }), "/pattern"),
        (s.clone(), json!({ "type": "string", "enum": ["a"] }), "/enum"),
        (json!({ "type": "array" }), json!({ "type": "array", "uniqueItems": true }), "/uniqueItems"),
        (json!({ "type": "array" }), json!({ "type": "array", "items": { "type": "string" } }), "/items/type"),
        (object(json!({ "a": s }), json!([])), object(json!({ "a": { "type": "integer" } }), json!([])), "/properties/a/type"),
        (object(json!({ "a": s }), json!([])), object(json!({ "a": s }), json!(["a"])), "/properties/a"),
        (json!({ "type": "object" }), json!({ "type": "object", "additionalProperties": false }), "/additionalProperties"),
        (json!({ "anyOf": [{ "type": "null" }, s] }), json!({ "type": "string" }), "/type"),
        (json!({}), json!({ "not": { "type": "null" } }), "/not"),
        (json!({ "type": "integer" }), json!({ "type": "integer", "multipleOf": 2 }), "/multipleOf"),
    ] {
        let report = input(old.clone(), new.clone());
        assert_eq!(report.verdict, Verdict::Breaking, "{old} -> {new}: {report:?}");
        let change = &report.changes[0];
        assert_eq!(change.place, place, "{old} -> {new}: {report:?}");
        let witness = change.witness.clone().unwrap_or_else(|| panic!("no witness: {old} -> {new}: {report:?}"));
        assert!(Validator::compile(&old).unwrap().check(&witness).is_ok(), "{witness}");
        assert!(Validator::compile(&new).unwrap().check(&witness).is_err(), "{witness}");
    }
}

#[test]
fn what_is_beyond_a_proof_is_named() {
    for (old, new, place) in [
        (json!({ "type": "string", "pattern": "^a$" }), json!({ "type": "string", "pattern": "^a{1}$" }), "/pattern"),
        (json!({ "contains": { "const": 1 } }), json!({ "contains": { "enum": [1] } }), "/contains"),
        (json!({ "type": "object" }), json!({ "type": "object", "properties": { "b": { "type": "string" } } }), "/properties/b"),
    ] {
        let report = input(old.clone(), new.clone());
        assert_eq!(report.verdict, Verdict::Unproven, "{old} -> {new}: {report:?}");
        assert_eq!(report.changes[0].place, place, "{report:?}");
    }
}

#[test]
fn a_result_may_be_narrowed_and_not_widened() {
    let (wide, narrow) = (json!({ "type": ["string", "null"] }), json!({ "type": "string" }));
    assert_eq!(compare_schemas(Direction::Output, &wide, &narrow).verdict, Verdict::Compatible);
    let report = compare_schemas(Direction::Output, &narrow, &wide);
    assert_eq!((report.verdict, report.changes[0].witness.clone()), (Verdict::Breaking, Some(Value::Null)), "{report:?}");
}

#[test]
fn the_rules_beside_the_schemas_are_named() {
    let old = tool(json!({ "effect": "idempotent", "returns": { "type": "string" } }));
    for (change, verdict, text) in [
        (json!({}), Verdict::Compatible, ""),
        (json!({ "description": "other" }), Verdict::Compatible, "/description: the description changed"),
        (json!({ "effect": "pure" }), Verdict::Breaking, "effect loosened: idempotent is now pure"),
        (json!({ "effect": "at_most_once" }), Verdict::Breaking, "effect weakened"),
        (json!({ "requires_approval": true }), Verdict::Breaking, "approval now required"),
        (json!({ "scopes": ["pay"] }), Verdict::Breaking, "scope now required: `pay`"),
        (json!({ "name": "u" }), Verdict::Breaking, "renamed"),
        (json!({ "returns": null }), Verdict::Breaking, "result no longer described"),
        (
            json!({ "parameters": { "type": "object", "properties": {} } }),
            Verdict::Breaking,
            "/parameters/properties/q: parameter removed: `q`",
        ),
        (
            json!({ "parameters": { "type": "object", "properties": { "q": { "type": "string" } }, "required": ["q"] } }),
            Verdict::Breaking,
            "parameter now required: `q`",
        ),
    ] {
        let mut base = json!({ "effect": "idempotent", "returns": { "type": "string" } });
        base.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let report = compare(&old, &tool(base));
        assert_eq!(report.verdict, verdict, "{change}: {report:?}");
        assert!(report.changes.iter().any(|c| c.to_string().contains(text)) || text.is_empty(), "{change}: {report:?}");
        let back: Report = serde_json::from_value(serde_json::to_value(&report).unwrap()).unwrap();
        assert_eq!(back, report);
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-4..8i64).prop_map(Value::from),
        (-8..16i64).prop_map(|half| json!(half as f64 / 2.0)),
        "[ab]{0,3}".prop_map(Value::from),
        prop_oneof![Just(json!(1e300)), Just(json!(u64::MAX)), Just(json!(i64::MIN)), Just(json!(0.1))],
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4).prop_map(|members| json!(members)),
        ]
    })
}

fn keyword(inner: BoxedStrategy<Value>) -> impl Strategy<Value = (String, Value)> {
    let kinds = prop::sample::subsequence(vec!["null", "boolean", "object", "array", "string", "integer", "number"], 1..4);
    let list = || prop::collection::vec(inner.clone(), 1..4).prop_map(Value::from);
    let number = || prop_oneof![(-3..6i64).prop_map(Value::from), (-5..9i64).prop_map(|half| json!(half as f64 / 2.0))];
    let count = || (0..4u64).prop_map(Value::from);
    let named = |name: &'static str, strategy: BoxedStrategy<Value>| strategy.prop_map(move |value| (name.to_owned(), value));
    prop_oneof![
        4 => named("type", kinds.prop_map(|kinds| json!(kinds)).boxed()),
        1 => named("enum", prop::collection::vec(value(), 1..4).prop_map(Value::from).boxed()),
        1 => named("const", value().boxed()),
        2 => prop::sample::select(vec!["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]).prop_flat_map(move |name| named(name, number().boxed())),
        1 => named("multipleOf", prop_oneof![(1..5u64).prop_map(Value::from), Just(json!(0.5)), Just(json!(2.0))].boxed()),
        3 => prop::sample::select(vec!["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"])
            .prop_flat_map(move |name| named(name, count().boxed())),
        1 => named("uniqueItems", any::<bool>().prop_map(Value::from).boxed()),
        1 => named("pattern", prop::sample::select(vec!["^a", "b$"]).prop_map(Value::from).boxed()),
        1 => named("format", Just(json!("date")).boxed()),
        4 => named("properties", prop::collection::btree_map("[abc]", inner.clone(), 1..4).prop_map(|members| json!(members)).boxed()),
        2 => named("required", prop::sample::subsequence(vec!["a", "b", "c"], 1..3).prop_map(|names| json!(names)).boxed()),
        2 => named("additionalProperties", prop_oneof![any::<bool>().prop_map(Value::from), inner.clone()].boxed()),
        1 => named("patternProperties", inner.clone().prop_map(|schema| json!({ "^a": schema })).boxed()),
        1 => named("propertyNames", Just(json!({ "maxLength": 1 })).boxed()),
        2 => named("items", inner.clone()),
        1 => named("prefixItems", list().boxed()),
        1 => named("contains", inner.clone()),
        1 => named("not", inner.clone()),
        1 => named("if", inner.clone()),
        1 => named("then", inner.clone()),
        1 => prop::sample::select(vec!["anyOf", "oneOf", "allOf"]).prop_flat_map({
            let inner = inner.clone();
            move |name| named(name, prop::collection::vec(inner.clone(), 1..4).prop_map(Value::from).boxed())
        }),
        1 => named("$ref", prop::sample::select(vec!["#/$defs/x", "#/$defs/y"]).prop_map(Value::from).boxed()),
        1 => named("description", Just(json!("words")).boxed()),
    ]
}

fn subschema() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![8 => Just(json!({})), 1 => any::<bool>().prop_map(Value::from)];
    let build = |inner: BoxedStrategy<Value>| {
        prop::collection::vec(keyword(inner), 0..4).prop_map(|members| Value::Object(members.into_iter().collect())).boxed()
    };
    leaf.prop_recursive(3, 24, 4, move |inner| build(inner.boxed())).boxed()
}

fn schema() -> impl Strategy<Value = Value> {
    (subschema(), subschema(), subschema(), prop::bool::weighted(0.1)).prop_map(|(top, x, y, is_draft_07)| {
        let mut top = if top.is_object() { top } else { json!({ "not": top }) };
        top["$defs"] = json!({ "x": x, "y": y });
        if is_draft_07 {
            top["$schema"] = json!("http://json-schema.org/draft-07/schema#");
        }
        top
    })
}

/// The same schema with one to three of its keywords, anywhere, changed or taken out.
fn mutated(schema: &Value, seeds: &[(u16, u8)], other: &Value) -> Value {
    let mut changed = schema.clone();
    for (at, how) in seeds {
        let mut left = *at as usize % 40;
        change(&mut changed, &mut left, *how, other);
    }
    changed
}
fn change(value: &mut Value, left: &mut usize, how: u8, other: &Value) -> bool {
    if let Value::Object(members) = value {
        for key in members.keys().cloned().collect::<Vec<_>>() {
            if *left == 0 {
                match (how % 4, &members[&key]) {
                    (0, _) => drop(members.remove(&key)),
                    (1, Value::Number(number)) => drop(members.insert(key, json!((number.as_f64().unwrap() + 1.0).abs().round() as i64))),
                    (2, Value::Number(number)) => drop(members.insert(key, json!((number.as_f64().unwrap() - 1.0).abs().round() as i64))),
                    (3, Value::Array(items)) if items.len() > 1 => drop(members.insert(key, json!(items[1..].to_vec()))),
                    _ => members.extend(
                        other.as_object().into_iter().flatten().filter(|(k, _)| *k != "$defs").map(|(k, v)| (k.clone(), v.clone())),
                    ),
                }
                return true;
            }
            *left -= 1;
            if change(members.get_mut(&key).unwrap(), left, how, other) {
                return true;
            }
        }
    } else if let Value::Array(items) = value {
        return items.iter_mut().any(|item| change(item, left, how, other));
    }
    false
}

/// Values near a schema: what stands in it as a constant, and objects and lists of such.
fn near(schema: &Value, found: &mut Vec<Value>) {
    if let Value::Object(members) = schema {
        for (key, member) in members {
            match key.as_str() {
                "const" => found.push(member.clone()),
                "enum" => found.extend(member.as_array().unwrap().clone()),
                _ => near(member, found),
            }
            if let Some(number) = member.as_f64() {
                found.extend([
                    json!(number),
                    json!(number + 0.5),
                    json!((number as i64).saturating_add(1)),
                    json!((number as i64).saturating_sub(1)),
                    json!("a".repeat(number.abs() as usize % 6)),
                ]);
            }
        }
    } else if let Value::Array(items) = schema {
        items.iter().for_each(|item| near(item, found));
    }
}

fn judged(old: &Value, new: &Value, values: &[Value]) -> Result<Option<Verdict>, TestCaseError> {
    let (Ok(before), Ok(after)) = (Validator::compile(old), Validator::compile(new)) else { return Ok(None) };
    let report = input(old.clone(), new.clone());
    for change in report.changes.iter().filter(|change| change.witness.is_some()) {
        let witness = change.witness.as_ref().unwrap();
        prop_assert_eq!(change.kind, ChangeKind::Break);
        prop_assert!(before.check(witness).is_ok() && after.check(witness).is_err(), "{} is no witness: {} -> {}", witness, old, new);
    }
    if report.verdict == Verdict::Compatible {
        let mut candidates = values.to_vec();
        near(old, &mut candidates);
        near(new, &mut candidates);
        let leaves: Vec<Value> = candidates.iter().take(12).cloned().collect();
        for (at, leaf) in leaves.iter().enumerate() {
            let other = &leaves[(at + 1) % leaves.len()];
            candidates.extend([
                json!([leaf]),
                json!([leaf, other]),
                json!({ "a": leaf }),
                json!({ "a": leaf, "b": other }),
                json!({ "c": other, "d": leaf }),
            ]);
        }
        for value in candidates.iter().filter(|value| before.check(value).is_ok()) {
            prop_assert!(after.check(value).is_ok(), "compatible, yet {} is refused: {} -> {}", value, old, new);
        }
    }
    Ok(Some(report.verdict))
}

/// 128 unless `PROPTEST_CASES` says otherwise; what fails is printed whole.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(128);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn compatible_never_refuses_what_the_old_one_took(
        old in schema(), other in schema(), seeds in prop::collection::vec(any::<(u16, u8)>(), 1..4), values in prop::collection::vec(value(), 24)
    ) {
        judged(&old, &mutated(&old, &seeds, &other), &values)?;
        judged(&mutated(&old, &seeds, &other), &old, &values)?;
        judged(&old, &other, &values)?;
    }

    #[test]
    fn a_schema_is_compatible_with_itself_whatever_its_words_and_order(old in schema()) {
        let mut said = old.clone();
        said["title"] = json!("another");
        let reordered: Value = serde_json::from_str(&said.to_string()).unwrap();
        if Validator::compile(&old).is_ok() {
            let report = input(old.clone(), reordered);
            prop_assert_eq!(report.verdict, Verdict::Compatible, "{:?}", report);
        }
    }
}
