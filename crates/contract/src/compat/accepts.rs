//! Whether a schema accepts a value, where that is certain.

use super::{
    facts::{bounds, item, kind_of, kinds_of_type, required},
    node::Node,
    number::{Bound, Num, equal},
};
use serde_json::Value;

/// `None` where a keyword stands in the way that is not understood here, or the steps are used up.
pub(super) fn accepts(node: Node<'_>, value: &Value, steps: &mut u32) -> Option<bool> {
    *steps = steps.checked_sub(1)?;
    if let Value::Bool(all) = node.value {
        return Some(*all);
    }
    let mut is_certain = true;
    for (keyword, said) in node.keywords() {
        match keeps(node, keyword, said, value, steps) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => is_certain = false,
        }
    }
    is_certain.then_some(true)
}

fn keeps<'a>(node: Node<'a>, keyword: &str, said: &'a Value, value: &Value, steps: &mut u32) -> Option<bool> {
    let amount = |have: usize| node.count(keyword).map(|said| (have as u64, said));
    Some(match (keyword, value) {
        ("type", _) => kinds_of_type(said) & kind_of(value) != 0,
        ("enum", _) => {
            let values = said.as_array()?;
            *steps = steps.checked_sub(values.len() as u32 / 256)?;
            values.iter().any(|one| equal(one, value))
        }
        ("const", _) => equal(said, value),
        ("$ref", _) => return accepts(node.target()?, value, steps),
        ("allOf", _) => return every(node.list("allOf").map(|branch| accepts(branch, value, steps))),
        ("anyOf", _) => return every(node.list("anyOf").map(|branch| accepts(branch, value, steps).map(|fits| !fits))).map(|none| !none),
        ("oneOf", _) => {
            let verdicts: Option<Vec<bool>> = node.list("oneOf").map(|branch| accepts(branch, value, steps)).collect();
            verdicts?.into_iter().filter(|fits| *fits).count() == 1
        }
        ("not", _) => !accepts(node.with(said), value, steps)?,
        ("minimum" | "exclusiveMinimum", Value::Number(number)) => keeps_bounds(node, number, true),
        ("maximum" | "exclusiveMaximum", Value::Number(number)) => keeps_bounds(node, number, false),
        ("multipleOf", Value::Number(number)) => match (said, Num::of(number)) {
            (Value::Number(step), Num::Int(whole)) if whole.abs() < 1 << 53 => match Num::of(step) {
                Num::Int(step) if step > 0 && step < 1 << 53 => whole % step == 0,
                _ => return None,
            },
            _ => return None,
        },
        ("minLength", Value::String(text)) => amount(text.chars().count()).map(|(have, said)| have >= said)?,
        ("maxLength", Value::String(text)) => amount(text.chars().count()).map(|(have, said)| have <= said)?,
        ("minItems", Value::Array(items)) => amount(items.len()).map(|(have, said)| have >= said)?,
        ("maxItems", Value::Array(items)) => amount(items.len()).map(|(have, said)| have <= said)?,
        ("uniqueItems", Value::Array(items)) => {
            if said == &Value::Bool(true) {
                *steps = steps.checked_sub((items.len() * items.len()) as u32)?;
                items.iter().enumerate().all(|(at, one)| items[..at].iter().all(|other| !equal(one, other)))
            } else {
                true
            }
        }
        ("prefixItems" | "items", Value::Array(_)) if said.is_array() && keyword == "items" => return None,
        ("prefixItems" | "items", Value::Array(items)) => {
            let places = items.iter().enumerate();
            return every(places.map(|(at, one)| item(node, at).map_or(Some(true), |schema| accepts(schema, one, steps))));
        }
        ("minProperties", Value::Object(members)) => amount(members.len()).map(|(have, said)| have >= said)?,
        ("maxProperties", Value::Object(members)) => amount(members.len()).map(|(have, said)| have <= said)?,
        ("required", Value::Object(members)) => required(node).all(|name| members.contains_key(name)),
        ("properties", Value::Object(members)) => {
            let known = said.as_object()?;
            let both = members.iter().filter_map(|(name, member)| known.get(name).map(|schema| (schema, member)));
            return every(both.map(|(schema, member)| accepts(node.with(schema), member, steps)));
        }
        ("additionalProperties", Value::Object(members)) => {
            let known = node.members("properties");
            let mut others = members.iter().filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name))).peekable();
            if others.peek().is_some() && node.get("patternProperties").is_some() {
                return None;
            }
            return every(others.map(|(_, member)| accepts(node.with(said), member, steps)));
        }
        // These speak of one kind of value only, and it is not this one.
        ("minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum" | "multipleOf", _) => !value.is_number(),
        ("minLength" | "maxLength", _) => true,
        ("pattern", _) if !value.is_string() => true,
        ("minItems" | "maxItems" | "uniqueItems" | "prefixItems" | "items" | "contains", _) if !value.is_array() => true,
        ("minProperties" | "maxProperties" | "required" | "properties" | "additionalProperties" | "propertyNames", _)
            if !value.is_object() =>
        {
            true
        }
        ("patternProperties", _) if !value.is_object() => true,
        _ => return None,
    })
}

fn keeps_bounds(node: Node<'_>, number: &serde_json::Number, is_lower: bool) -> bool {
    let here = Bound { at: Num::of(number), is_exclusive: false };
    bounds(node, is_lower).all(|bound| here.implies(bound, is_lower))
}

/// All of them, with one certain no stronger than any doubt.
fn every(verdicts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut is_certain = true;
    for verdict in verdicts {
        match verdict {
            Some(true) => {}
            Some(false) => return Some(false),
            None => is_certain = false,
        }
    }
    is_certain.then_some(true)
}
