//! Takes keywords out of a schema that cannot be checked, so that it takes more values than it did, and never fewer.
//!
//! Taking out a keyword makes its own schema looser; what that means above depends on where it stands:
//!
//! | where something below is looser | what becomes of it |
//! |---|---|
//! | `not`, `if` with `then` and `else`, `maxContains` beside `contains` | gone: it would take less |
//! | `oneOf` | `anyOf`, or gone beside one: two may fit now |
//! | `unevaluatedProperties`, `unevaluatedItems` beside it | gone: it no longer knows what was looked at |
//! | anything else | is looser itself |

use serde_json::{Map, Value};

type Members = Map<String, Value>;

/// Their members are schemas, named by the author.
const BY_NAME: [&str; 6] = ["properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"];
/// They hold values, where a keyword is none.
const VALUES: [&str; 5] = ["enum", "const", "default", "example", "examples"];
/// They apply schemas to the same value.
const HERE: [&str; 9] = ["not", "if", "then", "else", "allOf", "anyOf", "oneOf", "dependentSchemas", "dependencies"];

/// Lets `take_out` see each schema in a schema, however deep, to take keywords out; it says whether it did.
pub fn loosen(schema: &mut Value, take_out: &mut dyn FnMut(&mut Map<String, Value>) -> bool) {
    let mut is_looser = false;
    walk(schema, &mut |members| {
        let taken = take_out(members);
        is_looser |= taken;
        taken
    });
    if is_looser {
        // What a reference leads to may be looser now, so it is looked at as if it were.
        walk(schema, &mut |members| ["$ref", "$dynamicRef"].iter().any(|keyword| members.contains_key(*keyword)));
    }
}

/// Whether a schema is looser than it was.
fn walk(schema: &mut Value, take_out: &mut dyn FnMut(&mut Members) -> bool) -> bool {
    match schema {
        Value::Object(members) => {
            let taken = take_out(members);
            below(members, taken, take_out)
        }
        // Below a keyword that nobody knows.
        Value::Array(schemas) => any(schemas.iter_mut(), take_out),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn below(members: &mut Members, taken: bool, take_out: &mut dyn FnMut(&mut Members) -> bool) -> bool {
    let (mut is_looser, mut is_looser_here, mut looser) = (taken, taken, Vec::new());
    for (keyword, value) in members.iter_mut().filter(|(keyword, _)| !VALUES.contains(&keyword.as_str())) {
        let is = match value {
            Value::Object(named) if BY_NAME.contains(&keyword.as_str()) => any(named.values_mut(), take_out),
            schema => walk(schema, take_out),
        };
        if is {
            is_looser = true;
            is_looser_here |= HERE.contains(&keyword.as_str());
            looser.push(keyword.clone());
        }
    }
    for keyword in looser {
        match keyword.as_str() {
            "not" => drop(members.remove("not")),
            "if" => ["if", "then", "else"].iter().for_each(|keyword| drop(members.remove(*keyword))),
            "contains" => drop(members.remove("maxContains")),
            "oneOf" => {
                if let Some(alternatives) = members.remove("oneOf") {
                    members.entry("anyOf").or_insert(alternatives);
                }
            }
            _ => {}
        }
    }
    if is_looser_here {
        ["unevaluatedProperties", "unevaluatedItems"].iter().for_each(|keyword| drop(members.remove(*keyword)));
    }
    is_looser
}

/// All of them are looked at.
fn any<'a>(schemas: impl Iterator<Item = &'a mut Value>, take_out: &mut dyn FnMut(&mut Members) -> bool) -> bool {
    schemas.fold(false, |is_looser, schema| walk(schema, take_out) | is_looser)
}
