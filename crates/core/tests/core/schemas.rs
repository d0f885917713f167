//! Hostile schemas are refused or checked in bounded time and on a bounded stack.

#![allow(clippy::disallowed_methods)] // what takes for ever without its bound is timed, generously

use maniple_core::schema::{MAX_BYTES, MAX_DEPTH, MAX_SUBSCHEMAS, Validator};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn refused(schema: &Value) -> String {
    Validator::compile(schema).err().unwrap_or_else(|| panic!("compiled: {}", schema.to_string().chars().take(200).collect::<String>()))
}

/// Arrays in arrays.
fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}

/// On the stack of an async worker's thread, so that too deep a recursion ends this test and not only a guess.
fn on_a_worker(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(test).unwrap().join().unwrap();
}

#[test]
fn a_schema_is_bounded_in_bytes_depth_and_subschemas() {
    let heavy = json!({ "description": "x".repeat(MAX_BYTES) });
    assert!(refused(&heavy).contains("at most 65536"), "{}", refused(&heavy));
    let deep = |depth| (0..depth).fold(json!({}), |inner, _| json!({ "not": inner }));
    Validator::compile(&deep(MAX_DEPTH)).unwrap();
    assert!(refused(&deep(MAX_DEPTH + 1)).contains("deeper than 64"));
    let wide = |count| json!({ "anyOf": vec![json!({}); count] });
    Validator::compile(&wide(MAX_SUBSCHEMAS - 1)).unwrap();
    assert!(refused(&wide(MAX_SUBSCHEMAS)).contains("more than 1000"));
}

#[test]
fn a_reference_that_is_not_local_is_refused_and_nothing_is_fetched() {
    for far in ["http://far.test/s", "https://far.test/s#/a", "file:///etc/passwd", "other.json", "//far.test/s", "urn:x:y"] {
        for keyword in ["$ref", "$dynamicRef"] {
            let why = refused(&json!({ "properties": { "a": { keyword: far } } }));
            assert!(why.contains("not local"), "{why}");
        }
    }
    assert!(refused(&json!({ "$ref": "#/nowhere" })).contains("nowhere"));
}

#[test]
fn a_schema_inside_cannot_change_what_references_mean() {
    Validator::compile(&json!({ "$id": "http://far.test/s", "$ref": "#/$defs/a", "$defs": { "a": { "type": "integer" } } })).unwrap();
    assert!(refused(&json!({ "properties": { "a": { "$id": "http://far.test/s", "$ref": "#" } } })).contains("stands inside"));
    Validator::compile(&json!({ "properties": { "$id": { "type": "string" } } })).expect("a property may be called so");
    let draft_07 = "http://json-schema.org/draft-07/schema#";
    let inside = json!({ "$schema": draft_07, "$ref": "#/$defs/a", "minimum": 3 });
    assert!(refused(&json!({ "items": inside, "$defs": { "a": {} } })).contains("one draft as a whole"));
    Validator::compile(&json!({ "$schema": draft_07, "items": inside, "$defs": { "a": {} } })).expect("the same draft, said twice");
}

#[test]
fn both_drafts_are_read_and_no_other() {
    let tuple = json!([1, "a"]);
    let of = |schema: &str, keyword: &str| json!({ "$schema": schema, keyword: [{ "type": "string" }] });
    assert!(Validator::compile(&of("http://json-schema.org/draft-07/schema#", "items")).unwrap().check(&tuple).is_err());
    assert!(Validator::compile(&of("https://json-schema.org/draft/2020-12/schema", "prefixItems")).unwrap().check(&tuple).is_err());
    assert!(refused(&of("http://json-schema.org/draft-04/schema#", "items")).contains("use 2020-12 or draft-07"));
    assert!(refused(&json!([])).contains("must be an object"));
    assert!(refused(&json!({ "type": "nothing" })).contains("nothing"));
}

#[test]
fn a_pattern_runs_in_linear_time_or_is_refused() {
    let began = Instant::now();
    let validator = Validator::compile(&json!({ "pattern": "^(a+)+$" })).unwrap();
    validator.check(&json!(format!("{}!", "a".repeat(100_000)))).unwrap_err();
    for pattern in [r"(?=a)b", r"(a)\1", "(?<!a)b", "a{1000}{1000}{1000}"] {
        refused(&json!({ "pattern": pattern }));
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_huge_enum_is_no_burden_and_its_complaint_is_short() {
    let values: Vec<Value> = (0..10_000).map(|n| json!(n)).collect();
    let validator = Validator::compile(&json!({ "enum": values })).unwrap();
    validator.check(&json!(9_999)).unwrap();
    assert!(validator.check(&json!("x".repeat(100_000))).unwrap_err().len() < 2_000);
}

#[test]
fn a_model_reads_at_most_five_complaints_each_with_its_place() {
    let validator = Validator::compile(&json!({ "items": { "type": "integer" } })).unwrap();
    let complaint = validator.check(&json!(["a", "b", "c", "d", "e", "f", "g"])).unwrap_err();
    assert_eq!(complaint.matches("at /").count(), 5, "{complaint}");
    assert!(complaint.starts_with("at /0: \"a\" is not of type \"integer\""), "{complaint}");
}

#[test]
fn a_schema_that_describes_trees_checks_deep_ones_on_a_small_stack() {
    on_a_worker(|| {
        for schema in [
            json!({ "items": { "$ref": "#" } }),
            json!({ "$defs": { "a b": { "items": { "$ref": "#/%24defs/a%20b" } } }, "$ref": "#/$defs/a%20b" }),
            json!({ "$defs": { "t": { "anyOf": [{ "type": "integer" }, { "items": { "$ref": "#/$defs/t" } }] } }, "$ref": "#/$defs/t" }),
            json!({ "$dynamicAnchor": "t", "items": { "$dynamicRef": "#t" } }),
        ] {
            let validator = Validator::compile(&schema).unwrap();
            validator.check(&nested(64)).unwrap();
            validator.check(&nested(126)).unwrap();
        }
        let strict = Validator::compile(&json!({ "type": "array", "items": { "$ref": "#" } })).unwrap();
        strict.check(&nested(126)).unwrap_err();
    });
}

#[test]
fn a_schema_that_refers_to_itself_without_going_deeper_is_refused() {
    on_a_worker(|| {
        for schema in [
            json!({ "$ref": "#" }),
            json!({ "allOf": [{ "$ref": "#" }] }),
            json!({ "not": { "$ref": "#" } }),
            json!({ "if": { "$ref": "#" }, "then": true }),
            json!({ "anyOf": [{ "type": "integer" }, { "oneOf": [{ "$ref": "#" }] }] }),
            json!({ "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } }, "$ref": "#/$defs/a" }),
            json!({ "$defs": { "a": { "allOf": [{ "$ref": "#/$defs/b" }] }, "b": { "allOf": [{ "$ref": "#/$defs/a" }] } }, "$ref": "#/$defs/a" }),
            json!({ "$dynamicAnchor": "t", "allOf": [{ "$dynamicRef": "#t" }] }),
            json!({ "dependentSchemas": { "a": { "$ref": "#" } } }),
            json!({ "$anchor": "a", "allOf": [{ "$ref": "#a" }] }),
            json!({ "allOf": [{ "$ref": "#%2FallOf%2F0" }] }),
            json!({ "$defs": { "u": { "$ref": "#" } }, "items": { "$ref": "#/$defs/u" }, "allOf": [{ "$ref": "#/$defs/u" }] }),
            json!({ "items": { "allOf": [{ "$ref": "#/items" }] } }),
        ] {
            let why = refused(&schema);
            assert!(why.contains("refers to itself"), "{why}");
        }
    });
}

/// So many definitions, each made of the next; the last is a string.
fn chain(length: usize, of: impl Fn(Value) -> Value) -> Value {
    let mut definitions = serde_json::Map::new();
    for n in 0..length {
        definitions.insert(format!("d{n}"), of(json!({ "$ref": format!("#/$defs/d{}", n + 1) })));
    }
    definitions.insert(format!("d{length}"), json!({ "type": "string" }));
    json!({ "$defs": definitions, "$ref": "#/$defs/d0" })
}

#[test]
fn references_that_double_at_every_turn_are_refused() {
    let began = Instant::now();
    for doubled in [
        |next: Value| json!({ "anyOf": [next, next] }),
        |next: Value| json!({ "allOf": [next], "not": { "not": next } }),
        |next: Value| json!({ "properties": { "x": next }, "additionalProperties": next }),
        |next: Value| json!({ "anyOf": [{ "properties": { "x": next } }, { "items": { "items": next } }] }),
    ] {
        let why = refused(&chain(40, doubled));
        assert!(why.contains("too much work"), "{why}");
    }
    let mut recurring = chain(40, |next| json!({ "anyOf": [next, next] }));
    recurring["$defs"]["d40"] = json!({ "items": { "$ref": "#/$defs/d0" } });
    assert!(refused(&recurring).contains("too much work"), "a number is checked anew by each, recurring or not");
    on_a_worker(|| {
        let long = Validator::compile(&chain(900, |next| next)).unwrap();
        long.check(&json!("a")).unwrap();
        long.check(&json!(1)).unwrap_err();
    });
    Validator::compile(&chain(40, |next| json!({ "properties": { "x": next } }))).unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_tree_with_alternatives_at_every_level_takes_bounded_time_however_deep_and_wrong_it_is() {
    let child = json!({ "type": "object", "properties": { "x": { "$ref": "#" } }, "required": ["x"] });
    let validator = Validator::compile(&json!({ "anyOf": [child, child, { "const": 1 }] })).unwrap();
    let tree = |depth: u32, leaf: u32| (0..depth).fold(json!(leaf), |inner, _| json!({ "x": inner }));
    let began = Instant::now();
    validator.check(&tree(60, 1)).unwrap();
    assert!(validator.check(&tree(60, 2)).unwrap_err().contains("too deeply"));
    assert!(validator.check(&tree(3, 2)).unwrap_err().contains("anyOf"), "a shallow one is explained");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// How much this process ever held more than before.
fn fullest_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1_024
}

#[test]
fn a_wide_value_against_many_alternatives_costs_neither_seconds_nor_gigabytes() {
    let constants = |count: usize| (0..count).map(|n| json!({ "const": n })).collect::<Vec<_>>();
    let wide = vec![json!(-1); 9_900];
    let named = |member: Value| wide.iter().enumerate().map(|(n, _)| (format!("p{n}"), member.clone())).collect::<serde_json::Map<_, _>>();
    let objects =
        |count: usize| (0..count).map(|n| json!({ "properties": { "a": { "const": n } }, "required": ["a"] })).collect::<Vec<_>>();
    let long_enum = json!({ "enum": (0..9_000).collect::<Vec<_>>() });
    let cases = [
        (json!({ "items": { "anyOf": constants(990) } }), json!(wide)),
        (json!({ "anyOf": constants(490).into_iter().map(|one| json!({ "items": one })).collect::<Vec<_>>() }), json!(wide)),
        (json!({ "items": { "oneOf": constants(990) } }), json!(wide)),
        (json!({ "additionalProperties": { "anyOf": constants(990) } }), json!(named(json!(-1)))),
        (json!({ "propertyNames": { "anyOf": constants(990) } }), json!(named(json!(-1)))),
        (json!({ "items": { "anyOf": objects(240) } }), json!(vec![json!({ "a": "x" }); 5_000])),
        (json!({ "anyOf": vec![json!({ "additionalProperties": false }); 990] }), json!(named(json!(-1)))),
        (json!({ "items": { "allOf": (0..990).map(|n| json!({ "maximum": -n - 2 })).collect::<Vec<_>>() } }), json!(wide)),
        (json!({ "items": long_enum }), json!(wide)),
        (json!({ "anyOf": vec![json!({ "type": "integer" }); 990] }), json!("x".repeat(1 << 20))),
        (json!({ "items": { "items": { "anyOf": constants(990) } } }), json!(vec![json!(vec![-1; 99]); 100])),
    ];
    let (began, before) = (Instant::now(), fullest_mib());
    for (at, (schema, value)) in cases.iter().enumerate() {
        let validator = Validator::compile(schema).unwrap_or_else(|why| panic!("{at}: {why}"));
        let why = validator.check(value).expect_err("nothing of it fits");
        assert!(why.len() < 2_000, "{at}: {}", why.len());
    }
    assert!(fullest_mib() - before < 300, "{} MiB", fullest_mib() - before);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn of_a_large_value_the_first_place_that_does_not_fit_is_named() {
    let number = json!({ "anyOf": [{ "type": "integer" }, { "type": "null" }] });
    let row = json!({ "type": "object", "properties": { "id": number }, "required": ["id"] });
    let validator = Validator::compile(&json!({ "items": row })).unwrap();
    let mut rows = vec![json!({ "id": 1 }); 9_000];
    rows[4_711] = json!({ "id": "x" });
    validator.check(&json!(rows[..4_711])).unwrap();
    let why = validator.check(&json!(rows)).unwrap_err();
    assert!(why.starts_with("at /4711/id: \"x\" is not valid under any of the schemas"), "{why}");
    let few = Validator::compile(&json!({ "items": { "anyOf": (0..990).map(|n| json!({ "const": n })).collect::<Vec<_>>() } })).unwrap();
    few.check(&json!((0..990).collect::<Vec<_>>())).unwrap();
    assert!(few.check(&json!([1, 2, -1])).unwrap_err().starts_with("at /2: -1 is not valid"));
}

#[test]
fn a_long_value_of_a_large_schema_is_no_trouble() {
    let fields: serde_json::Map<String, Value> =
        (0..300).map(|n| (format!("f{n}"), json!({ "type": ["string", "null"], "maxLength": 100 }))).collect();
    let validator =
        Validator::compile(&json!({ "items": { "type": "object", "properties": fields, "additionalProperties": false } })).unwrap();
    let row: serde_json::Map<String, Value> = (0..300).map(|n| (format!("f{n}"), json!("a"))).collect();
    validator.check(&json!(vec![json!(row); 300])).expect("ninety thousand values, each of which meets one schema");
}

/// Each looks through the one before it.
fn looking_through(depth: usize) -> Value {
    let mut definitions = serde_json::Map::from_iter([("d0".to_owned(), json!({ "properties": { "zz": true } }))]);
    for n in 1..=depth {
        let before = format!("#/$defs/d{}", n - 1);
        definitions.insert(format!("d{n}"), json!({ "allOf": [{ "$ref": before }], "unevaluatedProperties": { "type": "integer" } }));
    }
    json!({ "$defs": definitions, "allOf": [{ "$ref": format!("#/$defs/d{depth}") }] })
}

#[test]
fn what_looks_through_what_looks_through_others_is_refused_where_it_multiplies() {
    on_a_worker(|| {
        for depth in [4, 14, 40, 300] {
            let why = refused(&looking_through(depth));
            assert!(why.contains("unevaluatedProperties") || why.contains("on and on"), "{depth}: {why}");
        }
        let through_members =
            (0..5).fold(json!({}), |inner, _| json!({ "anyOf": [{ "properties": { "a": inner } }], "unevaluatedProperties": false }));
        assert!(refused(&through_members).contains("within each other"));
        let through_itself = json!({ "anyOf": [{ "properties": { "a": { "$ref": "#" } } }], "unevaluatedProperties": false });
        assert!(refused(&through_itself).contains("within each other"));
        let on_and_on = (1..300).map(|n| (format!("d{n}"), json!({ "$ref": format!("#/$defs/d{}", n - 1) })));
        let definitions: serde_json::Map<String, Value> = on_and_on.chain([("d0".to_owned(), json!({}))]).collect();
        assert!(refused(&json!({ "$defs": definitions, "$ref": "#/$defs/d299", "unevaluatedProperties": false })).contains("on and on"));
    });
}

#[test]
fn a_schema_that_adds_members_to_another_and_closes_it_is_no_trouble() {
    let tree = json!({
        "$defs": { "named": { "properties": { "name": { "type": "string" } } } },
        "allOf": [{ "$ref": "#/$defs/named" }],
        "properties": { "children": { "type": "array", "items": { "$ref": "#" } } },
        "unevaluatedProperties": false
    });
    let tree = Validator::compile(&tree).unwrap();
    tree.check(&json!({ "name": "a", "children": [{ "name": "b" }] })).unwrap();
    assert!(tree.check(&json!({ "children": [{ "nme": "b" }] })).is_err());
    let members: serde_json::Map<String, Value> = (0..8_000).map(|n| (format!("m{n}"), json!(n))).collect();
    let began = Instant::now();
    let _ = Validator::compile(&looking_through(3)).unwrap().check(&Value::Object(members));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn patterns_are_bounded_in_sum() {
    let patterns = |count: usize, pattern: &str| {
        let all: serde_json::Map<String, Value> =
            (0..count).map(|n| (format!("p{n}"), json!({ "pattern": format!("{n}{pattern}") }))).collect();
        json!({ "properties": all })
    };
    let (began, before) = (Instant::now(), fullest_mib());
    Validator::compile(&patterns(150, "^[a-z0-9._-]{1,64}$")).expect("as they are in the wild");
    assert!(refused(&patterns(900, "a")).contains("more than 200 patterns"));
    for much in ["(a{1,100}){1,100}", "(((a{9}){9}){9}){9}", "\\W{200}", "\\p{L}{20}", "[^a]{500}", "(?i)(abc|def){500}"] {
        assert!(refused(&patterns(190, much)).contains("50000 states"), "{much}: {}", refused(&patterns(190, much)));
    }
    let names: serde_json::Map<String, Value> = (0..190).map(|n| (format!("{n}(a{{1,100}}){{1,100}}"), json!({}))).collect();
    assert!(refused(&json!({ "patternProperties": names })).contains("50000 states"));
    assert!(refused(&json!({ "$defs": { "unused": patterns(190, "(a{1,100}){1,100}") } })).contains("50000 states"));
    assert!(fullest_mib() - before < 300, "{} MiB", fullest_mib() - before);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_long_text_and_a_large_pattern_are_not_multiplied() {
    let began = Instant::now();
    let validator = Validator::compile(&json!({ "items": { "pattern": "[01]*1[01]{2000}x" } })).unwrap();
    validator.check(&json!(["01".repeat(20) + &"1".repeat(2_000) + "x"])).unwrap();
    assert!(validator.check(&json!(["01".repeat(500_000)])).unwrap_err().contains("too much"));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn types_that_refer_to_each_other_are_no_trouble() {
    let names = ["add", "mul", "neg", "call", "if", "let", "fn", "list"];
    let any = json!({ "anyOf": names.map(|name| json!({ "$ref": format!("#/$defs/{name}") })) });
    let definition = |name: &str| {
        let members = json!({ "op": { "const": name }, "left": any, "right": any });
        json!({ "type": "object", "properties": members, "required": ["op"], "additionalProperties": false })
    };
    let definitions: serde_json::Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), definition(name))).collect();
    let validator = Validator::compile(&json!({ "$defs": definitions, "anyOf": any["anyOf"] })).unwrap();
    let tree = |depth: u32, leaf: &str| {
        (0..depth).fold(json!({ "op": leaf }), |inner, _| json!({ "op": "add", "left": inner, "right": { "op": "fn" } }))
    };
    let began = Instant::now();
    validator.check(&tree(20, "list")).unwrap();
    validator.check(&tree(20, "nosuch")).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
