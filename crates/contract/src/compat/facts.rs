//! What is known of the values that several schemas accept together.

use super::{
    node::Node,
    number::{Bound, Num},
};
use serde_json::Value;

/// The kinds of value, whole numbers apart from others, one bit each.
pub(super) mod kind {
    pub(crate) const NULL: u8 = 1;
    pub(crate) const BOOLEAN: u8 = 2;
    pub(crate) const OBJECT: u8 = 4;
    pub(crate) const ARRAY: u8 = 8;
    pub(crate) const STRING: u8 = 16;
    pub(crate) const INTEGER: u8 = 32;
    pub(crate) const FRACTION: u8 = 64;
    pub(crate) const NUMBER: u8 = INTEGER | FRACTION;
    pub(crate) const ALL: u8 = 127;
    pub(crate) const EACH: [u8; 7] = [NULL, BOOLEAN, OBJECT, ARRAY, STRING, INTEGER, FRACTION];
}

/// The kinds that a `type` keyword names.
pub(super) fn kinds_of_type(value: &Value) -> u8 {
    match value {
        Value::String(name) => match name.as_str() {
            "null" => kind::NULL,
            "boolean" => kind::BOOLEAN,
            "object" => kind::OBJECT,
            "array" => kind::ARRAY,
            "string" => kind::STRING,
            "integer" => kind::INTEGER,
            "number" => kind::NUMBER,
            _ => 0,
        },
        Value::Array(names) => names.iter().fold(0, |mask, name| mask | kinds_of_type(name)),
        _ => 0,
    }
}

/// The kind of a value.
pub(super) fn kind_of(value: &Value) -> u8 {
    match value {
        Value::Null => kind::NULL,
        Value::Bool(_) => kind::BOOLEAN,
        Value::Object(_) => kind::OBJECT,
        Value::Array(_) => kind::ARRAY,
        Value::String(_) => kind::STRING,
        Value::Number(number) if Num::of(number).is_integer() => kind::INTEGER,
        Value::Number(_) => kind::FRACTION,
    }
}

/// One of several schemas that hold together.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) node: Node<'a>,
    /// Its alternatives were looked at one by one already.
    pub(super) split: bool,
}

/// Schemas that hold together: each says something, and none is a reference or an `allOf` any more.
#[derive(Clone)]
pub(super) struct Facts<'a> {
    pub(super) parts: Vec<Part<'a>>,
    /// The kinds of value they leave; 0 when no value fits.
    pub(super) kinds: u8,
}

/// How many schemas may hold together before the rest is left out of account.
const MAX_PARTS: usize = 256;

impl<'a> Facts<'a> {
    /// Takes references and `allOf` apart. What it cannot follow it leaves out: that only ever accepts more.
    pub(super) fn of(parts: &[Part<'a>], kinds: u8) -> Self {
        let mut facts = Self { parts: Vec::new(), kinds };
        let mut open: Vec<Part<'a>> = parts.iter().rev().copied().collect();
        let mut looked_at = 0;
        while let Some(part) = open.pop() {
            looked_at += 1;
            if looked_at > MAX_PARTS {
                break;
            }
            let node = part.node;
            if node.value == &Value::Bool(false) {
                facts.kinds = 0;
            }
            if let Some(target) = node.target() {
                open.push(Part { node: target, split: false });
            }
            open.extend(node.list("allOf").map(|node| Part { node, split: false }));
            if node.keywords().all(|(keyword, _)| keyword == "$ref" || keyword == "allOf") {
                continue;
            }
            if let Some(named) = node.get("type") {
                facts.kinds &= kinds_of_type(named);
            }
            if let Some(values) = node.get("enum").and_then(Value::as_array) {
                facts.kinds &= values.iter().fold(0, |mask, value| mask | kind_of(value));
            }
            if let Some(value) = node.get("const") {
                facts.kinds &= kind_of(value);
            }
            match facts.parts.iter_mut().find(|known| known.node.address() == node.address()) {
                Some(known) => known.split |= part.split,
                None => facts.parts.push(part),
            }
        }
        facts
    }

    pub(super) fn top(node: Node<'a>) -> Self {
        Self::of(&[Part { node, split: false }], kind::ALL)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = Node<'a>> {
        self.parts.iter().map(|part| part.node)
    }

    /// All values that are left, where they are few.
    pub(super) fn finite(&self) -> Option<Vec<Value>> {
        for node in self.nodes() {
            let listed = node.get("const").map(std::slice::from_ref).or_else(|| node.get("enum")?.as_array().map(Vec::as_slice));
            if let Some(values) = listed {
                return Some(values.iter().filter(|value| kind_of(value) & self.kinds != 0).cloned().collect());
            }
        }
        if self.kinds & !(kind::NULL | kind::BOOLEAN) != 0 {
            return None;
        }
        let mut values = Vec::new();
        if self.kinds & kind::NULL != 0 {
            values.push(Value::Null);
        }
        if self.kinds & kind::BOOLEAN != 0 {
            values.extend([Value::Bool(true), Value::Bool(false)]);
        }
        Some(values)
    }

    /// The greatest of a keyword such as `minLength`.
    pub(super) fn most(&self, keyword: &str) -> Option<u64> {
        self.nodes().filter_map(|node| node.count(keyword)).max()
    }
    /// The least of a keyword such as `maxLength`.
    pub(super) fn least(&self, keyword: &str) -> Option<u64> {
        self.nodes().filter_map(|node| node.count(keyword)).min()
    }

    /// The tightest lower or upper bound of the numbers.
    pub(super) fn bound(&self, is_lower: bool) -> Option<Bound> {
        let mut tightest: Option<Bound> = None;
        for bound in self.nodes().flat_map(|node| bounds(node, is_lower)) {
            let bound = if self.kinds & kind::FRACTION == 0 { bound.for_integers(is_lower) } else { bound };
            if tightest.is_none_or(|old| bound.implies(old, is_lower)) {
                tightest = Some(bound);
            }
        }
        tightest
    }

    pub(super) fn requires(&self, name: &str) -> bool {
        self.nodes().any(|node| requires(node, name))
    }

    /// Whether some part has a property of this name.
    pub(super) fn declares(&self, name: &str) -> bool {
        self.nodes().any(|node| node.members("properties").is_some_and(|members| members.contains_key(name)))
    }

    /// The schemas that the property of this name keeps; none means that nothing is known of it.
    pub(super) fn property(&self, name: &str) -> Vec<Part<'a>> {
        let mut found = Vec::new();
        for node in self.nodes() {
            if let Some(schema) = node.members("properties").and_then(|members| members.get(name)) {
                found.push(Part { node: node.with(schema), split: false });
            } else if node.get("patternProperties").is_none()
                && let Some(rest) = node.child("additionalProperties")
            {
                found.push(Part { node: rest, split: false });
            }
        }
        found
    }

    /// The schemas that every property keeps which is named nowhere, among the names that match none of `patterns`.
    pub(super) fn other_properties(&self, patterns: Option<&serde_json::Map<String, Value>>) -> Vec<Part<'a>> {
        let applies = |node: &Node<'a>| {
            let own = node.members("patternProperties");
            own.is_none_or(|own| own.keys().all(|pattern| patterns.is_some_and(|known| known.contains_key(pattern))))
        };
        let rests = self.nodes().filter(applies).filter_map(|node| node.child("additionalProperties"));
        rests.map(|node| Part { node, split: false }).collect()
    }

    /// The schemas that the item at this place keeps.
    pub(super) fn item(&self, index: usize) -> Vec<Part<'a>> {
        self.nodes().filter_map(|node| item(node, index)).map(|node| Part { node, split: false }).collect()
    }
    /// How many places have a schema of their own.
    pub(super) fn prefix(&self) -> usize {
        self.nodes().map(prefix).max().unwrap_or(0)
    }
}

pub(super) fn requires(node: Node<'_>, name: &str) -> bool {
    required(node).any(|required| required == name)
}
pub(super) fn required<'a>(node: Node<'a>) -> impl Iterator<Item = &'a str> {
    node.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
pub(super) fn prefix(node: Node<'_>) -> usize {
    node.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len)
}
/// The schema of the item at this place. Draft-07's list under `items` is not understood here.
pub(super) fn item<'a>(node: Node<'a>, index: usize) -> Option<Node<'a>> {
    let own = node.get("prefixItems").and_then(Value::as_array).and_then(|prefix| prefix.get(index));
    own.map(|schema| node.with(schema)).or_else(|| node.child("items").filter(|items| !items.value.is_array()))
}
pub(super) fn bounds(node: Node<'_>, is_lower: bool) -> impl Iterator<Item = Bound> {
    let names = if is_lower { ["minimum", "exclusiveMinimum"] } else { ["maximum", "exclusiveMaximum"] };
    names.into_iter().filter_map(move |name| match node.get(name) {
        Some(Value::Number(number)) => Some(Bound { at: Num::of(number), is_exclusive: name.starts_with("ex") }),
        _ => None,
    })
}
