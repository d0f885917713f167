//! Schemas and values made to be too much: each is refused or handled within the bounds that the parts state.
//!
//! No clock is asked. A comparison may take so many steps, a mending may look at so many schemas, and the
//! validator refuses what unrolls too far; without those bounds most of these never end, and the test with them.

use maniple_core::schema::{MAX_BYTES, Validator};
use maniple_registry::{
    compat::{Direction, Verdict, compare_schemas},
    mend::mend_schema,
};
use serde_json::{Map, Value, json};

/// How many bombs are thrown.
const BOMBS: u64 = 2_000;
/// The longest answer to a bomb, in bytes: a bomb must not come back as a page.
const MAX_ANSWER: usize = 64 * 1024;

/// The bomb of this number: a kind by turns, larger with each turn.
fn bomb(number: u64) -> (&'static str, Value) {
    let (kind, size) = (number % 20, 2 + number / 20);
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
        18 => ("not of not", (0..size).fold(json!({ "type": "string" }), |inner, _| json!({ "not": inner }))),
        _ => (
            "conditions in a tower",
            (0..tower).fold(json!({ "maxLength": size }), |inner, _| json!({ "if": inner.clone(), "then": inner, "else": false })),
        ),
    }
}

/// Towers that double are not built higher than this: their text would not fit into memory.
const MAX_TOWER: u64 = 11;

/// Values made to cost: deep, wide, long and large.
fn values() -> Vec<Value> {
    vec![
        (0..60).fold(json!("a"), |inner, _| json!({ "a": inner, "n": null })),
        (0..60).fold(json!(1), |inner, _| json!([inner, inner_leaf()])),
        Value::from(vec![json!("a"); 10_000]),
        json!("a".repeat(100_000) + "b"),
        json!(1e308),
        json!((0..10_000).map(|at| (format!("p{at}"), json!(at))).collect::<Map<_, _>>()),
    ]
}
fn inner_leaf() -> Value {
    json!({ "k": 1, "n": { "k": 2 } })
}

/// The same bomb with one number, name or list less.
fn defused(bomb: &Value) -> Value {
    let mut other = bomb.clone();
    if let Some(members) = other.as_object_mut() {
        members.insert("title".into(), "defused".into());
        members.insert("minProperties".into(), 1.into());
    }
    other
}

#[test]
fn two_thousand_bombs_are_refused_or_handled_within_bounds() {
    // In four heaps at once, for the time's sake.
    let heaps = std::thread::scope(|scope| {
        (0..4)
            .map(|heap| scope.spawn(move || throw(heap)))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|heap| heap.join().unwrap())
            .collect::<Vec<_>>()
    });
    let [refused, handled, unproven] = heaps.into_iter().fold([0; 3], |sum, heap| [sum[0] + heap[0], sum[1] + heap[1], sum[2] + heap[2]]);
    println!("{BOMBS} bombs: {refused} refused, {handled} handled, {unproven} comparisons unproven");
    assert_eq!(refused + handled, BOMBS);
    assert!(refused > 200 && handled > 200, "both ways are taken: {refused} refused, {handled} handled");
}

/// Throws every fourth bomb, and counts the refused, the handled and the comparisons that came to nothing.
fn throw(heap: u64) -> [u64; 3] {
    let values = values();
    let (mut refused, mut handled, mut unproven) = (0, 0, 0);
    for number in (heap..BOMBS).step_by(4) {
        let (kind, schema) = bomb(number);
        let mended = mend_schema(schema.clone());
        if let Err(error) = &mended {
            assert!(error.message.len() <= MAX_ANSWER, "{kind} {number}: {} bytes", error.message.len());
        }
        let compiled = match Validator::compile(&schema) {
            Ok(compiled) => compiled,
            Err(why) => {
                refused += 1;
                assert!(why.len() <= MAX_ANSWER, "{kind} {number}: {} bytes", why.len());
                // What does not compile is not taken in by the others either.
                let report = compare_schemas(Direction::Input, &schema, &schema);
                assert_eq!((report.verdict, report.changes.len()), (Verdict::Unproven, 1), "{kind} {number}");
                continue;
            }
        };
        handled += 1;
        assert!(schema.to_string().len() <= MAX_BYTES, "{kind} {number}");
        for value in &values {
            if let Err(why) = compiled.check(value) {
                assert!(why.len() <= MAX_ANSWER, "{kind} {number}: {} bytes", why.len());
            }
        }
        for new in [defused(&schema), schema.clone()] {
            let report = compare_schemas(Direction::Input, &schema, &new);
            unproven += u64::from(report.verdict == Verdict::Unproven);
            assert!(report.changes.len() <= 100, "{kind} {number}");
            assert!(serde_json::to_string(&report).unwrap().len() <= 16 * MAX_ANSWER, "{kind} {number}");
        }
    }
    [refused, handled, unproven]
}
