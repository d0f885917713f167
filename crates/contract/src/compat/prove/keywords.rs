//! What keywords speak of, and when one that is known says as much as one that is asked.

use crate::compat::{
    facts::{Facts, bounds, kind},
    node::Node,
};
use serde_json::Value;

/// The alternatives of which a value keeps at least one. A schema with both is taken by its `anyOf`.
pub(super) fn choices<'a>(node: Node<'a>) -> impl Iterator<Item = Node<'a>> {
    let keyword = if node.get("anyOf").is_some() { "anyOf" } else { "oneOf" };
    node.list(keyword)
}

/// The kinds of value that a keyword speaks of.
pub(super) fn about(keyword: &str) -> u8 {
    match keyword {
        "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum" | "multipleOf" => kind::NUMBER,
        "minLength" | "maxLength" | "pattern" => kind::STRING,
        "minItems" | "maxItems" | "uniqueItems" | "items" | "prefixItems" | "contains" => kind::ARRAY,
        "minProperties" | "maxProperties" | "required" | "properties" | "patternProperties" | "additionalProperties" | "propertyNames" => {
            kind::OBJECT
        }
        _ => kind::ALL,
    }
}

pub(super) fn is_understood(keyword: &str) -> bool {
    about(keyword) != kind::ALL && !matches!(keyword, "pattern" | "contains" | "patternProperties" | "propertyNames")
        || matches!(keyword, "type" | "enum" | "const" | "$ref" | "allOf" | "anyOf" | "oneOf" | "not")
}

/// Whether a keyword means the same whatever stands beside it.
pub(super) fn stands_alone(keyword: &str) -> bool {
    !matches!(
        keyword,
        "additionalProperties"
            | "items"
            | "prefixItems"
            | "additionalItems"
            | "contains"
            | "minContains"
            | "maxContains"
            | "if"
            | "then"
            | "else"
            | "unevaluatedItems"
            | "unevaluatedProperties"
            | "$dynamicRef"
            | "contentEncoding"
            | "contentMediaType"
            | "contentSchema"
    )
}

pub(super) fn at_least(known: Option<u64>, asked: Option<u64>) -> bool {
    asked.is_some_and(|asked| known.unwrap_or(0) >= asked)
}
pub(super) fn at_most(known: Option<u64>, asked: Option<u64>) -> bool {
    asked.is_some_and(|asked| known.is_some_and(|known| known <= asked))
}

pub(super) fn implies_bounds(facts: &Facts<'_>, b: Node<'_>, is_lower: bool) -> bool {
    let Some(known) = facts.bound(is_lower) else { return false };
    bounds(b, is_lower).all(|asked| {
        let asked = if facts.kinds & kind::FRACTION == 0 { asked.for_integers(is_lower) } else { asked };
        known.implies(asked, is_lower)
    })
}

pub(super) fn implies_multiple(facts: &Facts<'_>, said: &Value) -> bool {
    let Some(step) = said.as_u64().filter(|step| (1..1 << 53).contains(step)) else { return false };
    let mut known = facts.nodes().filter_map(|node| node.get("multipleOf").and_then(Value::as_u64));
    (step == 1 && facts.kinds & kind::FRACTION == 0) || known.any(|known| known < 1 << 53 && known % step == 0)
}
