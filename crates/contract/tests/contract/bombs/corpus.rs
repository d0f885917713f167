//! What is thrown: twenty-four kinds of schemas and nine values, each made to be too much.

use serde_json::{Map, Value, json};

/// How many bombs there are.
pub const BOMBS: u64 = 2_000;

/// The bomb of this number: a kind by turns, larger with each turn.
pub fn bomb(number: u64) -> (&'static str, Value) {
    let (kind, size) = (number % 24, 2 + number / 24);
    let wide = size as usize * 40;
    let tower = size.min(MAX_TOWER);
    let defs = |make: &dyn Fn(u64) -> Value| (0..=size).map(|at| (format!("d{at}"), make(at))).collect::<Map<_, _>>();
    let to = |at: u64| json!({ "$ref": format!("#/$defs/d{}", (at + 1).min(size)) });
    match kind {
        0 => ("properties nest", (0..size).fold(json!({}), |inner, _| json!({ "properties": { "a": inner } }))),
        1 => ("arrays nest in a constant", json!({ "const": (0..size).fold(json!(1), |inner, _| json!([inner])) })),
        2 => ("allOf in a chain", (0..size).fold(json!({ "minimum": 1 }), |inner, _| json!({ "allOf": [inner, { "type": "integer" }] }))),
        3 => (
            "anyOf in a tower",
            (0..tower).fold(json!({ "minLength": size }), |inner, _| json!({ "anyOf": [inner.clone(), { "not": inner }] })),
        ),
        4 => (
            "properties in a row",
            json!({ "properties": (0..wide).map(|at| (format!("p{at}"), json!({ "type": "string" }))).collect::<Map<_, _>>() }),
        ),
        5 => ("a long enum", json!({ "enum": (0..wide * 4).collect::<Vec<_>>() })),
        6 => (
            "references fan out",
            json!({ "$ref": "#/$defs/d0", "$defs": defs(&|at| if at == size { json!({ "type": "string" }) } else { json!({ "allOf": [to(at), to(at)] }) }) }),
        ),
        7 => (
            "references fan out inside",
            json!({ "$ref": "#/$defs/d0", "$defs": defs(&|at| json!({ "properties": { "a": to(at), "b": to(at) }, "maxProperties": at })) }),
        ),
        8 => (
            "a reference to itself",
            json!({ "$ref": "#/$defs/d0", "$defs": defs(&|at| json!({ "$ref": format!("#/$defs/d{}", (at + 1) % (size + 1)) })) }),
        ),
        9 => (
            "a tree without end",
            json!({ "$ref": "#/$defs/d0", "$defs": defs(&|at| json!({ "anyOf": [{ "type": "null" }, { "items": { "$ref": format!("#/$defs/d{}", (at + 1) % (size + 1)) }, "minItems": at }] })) }),
        ),
        10 => ("a pattern that backtracks", json!({ "pattern": format!("^({}a+)+$", "(a|aa)+".repeat(size as usize)) })),
        11 => ("a pattern that multiplies", json!({ "pattern": (0..size).fold("a".to_owned(), |inner, _| format!("({inner}){{50}}")) })),
        12 => (
            "sizes beyond memory",
            json!({ "minItems": 1e9, "maxItems": u64::MAX, "minLength": 1e9 as u64 * size, "minProperties": 1e12, "items": { "type": "string" } }),
        ),
        13 => (
            "steps beyond numbers",
            json!({ "multipleOf": format!("1e-{}", 200 + size).parse::<f64>().unwrap().max(f64::MIN_POSITIVE), "minimum": -1e308, "maximum": 1e308 }),
        ),
        14 => ("a giant name", json!({ "properties": { "n".repeat(wide * 30): {} }, "required": ["n".repeat(wide * 30)] })),
        15 => (
            "alternatives of objects",
            json!({ "oneOf": (0..size * 3).map(|at| json!({ "properties": { "k": { "const": at }, "n": { "$ref": "#" } }, "required": ["k"] })).collect::<Vec<_>>() }),
        ),
        16 => (
            "alternatives beside alternatives",
            json!({ "allOf": (0..size).map(|at| json!({ "anyOf": [{ "minimum": at }, { "maximum": at }, { "type": "string" }] })).collect::<Vec<_>>() }),
        ),
        17 => (
            "prefixItems in a row",
            json!({ "prefixItems": (0..wide).map(|at| json!({ "maximum": at })).collect::<Vec<_>>(), "items": false }),
        ),
        18 => (
            "alternatives for each of many",
            json!({ "items": { "anyOf": (0..(size * 12).min(990)).map(|at| json!({ "const": format!("{at}") })).collect::<Vec<_>>() } }),
        ),
        19 => (
            "alternatives of many",
            json!({ "oneOf": (0..size * 5).map(|at| json!({ "additionalProperties": { "const": format!("{at}") }, "items": { "maximum": at } })).collect::<Vec<_>>() }),
        ),
        20 => (
            "patterns in a row",
            json!({ "properties": (0..size * 2).map(|at| (format!("p{at}"), json!({ "pattern": format!("{at}(a{{1,{size}}}){{1,{size}}}") }))).collect::<Map<_, _>>() }),
        ),
        21 => (
            "patterns of names",
            json!({ "patternProperties": (0..size).map(|at| (format!("[01]*{at}[0-9a-p]{{{size}}}"), json!({ "enum": [at] }))).collect::<Map<_, _>>() }),
        ),
        22 => ("not of not", (0..size).fold(json!({ "type": "string" }), |inner, _| json!({ "not": inner }))),
        _ => (
            "conditions in a tower",
            (0..tower).fold(json!({ "maxLength": size }), |inner, _| json!({ "if": inner.clone(), "then": inner, "else": false })),
        ),
    }
}

/// Towers that double are not built higher than this: their text would not fit into memory.
const MAX_TOWER: u64 = 11;

/// Values made to cost: deep, wide, long and large.
pub fn values() -> Vec<Value> {
    vec![
        (0..60).fold(json!("a"), |inner, _| json!({ "a": inner, "n": null })),
        (0..60).fold(json!(1), |inner, _| json!([inner, inner_leaf()])),
        Value::from(vec![json!("a"); 10_000]),
        json!("a".repeat(100_000) + "b"),
        json!(1e308),
        json!((0..10_000).map(|at| (format!("p{at}"), json!(at))).collect::<Map<_, _>>()),
        Value::from(vec![json!({ "k": -1, "n": { "k": "x", "a": null } }); 3_000]),
        json!((0..100).map(|at| (format!("p{at}"), json!(vec![-1; 99]))).collect::<Map<_, _>>()),
        json!({ "p0": "01".repeat(50_000), "p1": "a".repeat(50_000) }),
    ]
}
fn inner_leaf() -> Value {
    json!({ "k": 1, "n": { "k": 2 } })
}

/// The same bomb with one number, name or list less.
pub fn defused(bomb: &Value) -> Value {
    let mut other = bomb.clone();
    if let Some(members) = other.as_object_mut() {
        members.insert("title".into(), "defused".into());
        members.insert("minProperties".into(), 1.into());
    }
    other
}
