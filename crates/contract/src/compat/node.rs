//! Schemas in their documents: what a reference leads to, and when two of them are the same.

use serde_json::{Map, Value};
use std::collections::HashSet;

/// What says something to people and tools, and nothing about a value.
pub(super) fn is_annotation(keyword: &str) -> bool {
    const ANNOTATIONS: [&str; 14] = [
        "$schema",
        "$id",
        "$comment",
        "$defs",
        "definitions",
        "$anchor",
        "title",
        "description",
        "default",
        "examples",
        "example",
        "deprecated",
        "readOnly",
        "writeOnly",
    ];
    ANNOTATIONS.contains(&keyword) || keyword.starts_with("x-")
}

/// A whole schema and the draft it is read by.
pub(super) struct Doc<'a> {
    pub(super) root: &'a Value,
    /// Else 2020-12.
    pub(super) is_draft_07: bool,
}

impl<'a> Doc<'a> {
    pub(super) fn of(root: &'a Value) -> Self {
        let is_draft_07 = root.get("$schema").and_then(Value::as_str).is_some_and(|uri| uri.contains("draft-07"));
        Self { root, is_draft_07 }
    }
    pub(super) fn top(&'a self) -> Node<'a> {
        Node { value: self.root, doc: self }
    }
}

/// One schema of a document.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pub(super) value: &'a Value,
    pub(super) doc: &'a Doc<'a>,
}

impl<'a> Node<'a> {
    /// The schema's own keywords that count. In draft-07 a reference hides its neighbours.
    pub(super) fn keywords(self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let hidden = self.doc.is_draft_07 && self.value.get("$ref").is_some();
        let members = self.value.as_object().into_iter().flatten();
        let counts = move |k: &str| match k {
            "$ref" => true,
            "prefixItems" if self.doc.is_draft_07 => false,
            _ => !hidden && !is_annotation(k),
        };
        members.map(|(k, v)| (k.as_str(), v)).filter(move |(k, _)| counts(k))
    }
    /// The value of one keyword that counts.
    pub(super) fn get(self, keyword: &str) -> Option<&'a Value> {
        if self.doc.is_draft_07 && (keyword == "prefixItems" || (keyword != "$ref" && self.value.get("$ref").is_some())) {
            return None;
        }
        self.value.get(keyword)
    }
    pub(super) fn count(self, keyword: &str) -> Option<u64> {
        let value = self.get(keyword)?;
        value.as_u64().or_else(|| value.as_f64().filter(|f| *f >= 0.0 && f.fract() == 0.0 && *f < 1e15).map(|f| f as u64))
    }
    pub(super) fn members(self, keyword: &str) -> Option<&'a Map<String, Value>> {
        self.get(keyword)?.as_object()
    }
    /// The subschemas in a list, such as those of `anyOf`.
    pub(super) fn list(self, keyword: &str) -> impl Iterator<Item = Node<'a>> + use<'a> {
        self.get(keyword).and_then(Value::as_array).into_iter().flatten().map(move |value| self.with(value))
    }
    pub(super) fn child(self, keyword: &str) -> Option<Node<'a>> {
        self.get(keyword).map(|value| self.with(value))
    }
    pub(super) fn with(self, value: &'a Value) -> Node<'a> {
        Node { value, ..self }
    }
    /// Where `$ref` leads; `None` for a spelling that is not followed here, such as an anchor.
    pub(super) fn target(self) -> Option<Node<'a>> {
        let pointer = self.get("$ref")?.as_str()?.strip_prefix('#')?;
        let is_plain = pointer.is_empty() || (pointer.starts_with('/') && !pointer.contains('%'));
        if is_plain { self.doc.root.pointer(pointer).map(|value| self.with(value)) } else { None }
    }
    pub(super) fn address(self) -> usize {
        std::ptr::from_ref(self.value) as usize
    }
}

/// Whether two schemas are the same up to order and annotations, those they refer to included.
/// `steps` bounds the look; when it is used up the answer is no.
pub(super) fn same<'a>(a: Node<'a>, b: Node<'a>, steps: &mut u32) -> bool {
    a.doc.is_draft_07 == b.doc.is_draft_07 && Sameness { seen: HashSet::new(), steps }.schemas(a, b)
}

struct Sameness<'s> {
    seen: HashSet<(usize, usize)>,
    steps: &'s mut u32,
}

impl Sameness<'_> {
    fn schemas<'a>(&mut self, a: Node<'a>, b: Node<'a>) -> bool {
        let Some(left) = self.steps.checked_sub(1) else { return false };
        *self.steps = left;
        if a.address() == b.address() || !self.seen.insert((a.address(), b.address())) {
            return true;
        }
        if !a.value.is_object() || !b.value.is_object() {
            return a.value == b.value;
        }
        a.keywords().count() == b.keywords().count()
            && a.keywords().all(|(keyword, value)| b.get(keyword).is_some_and(|other| self.keyword(keyword, a.with(value), b.with(other))))
    }

    /// Whether one keyword says the same on both sides.
    fn keyword<'a>(&mut self, keyword: &str, a: Node<'a>, b: Node<'a>) -> bool {
        let weight = a.value.as_array().map_or(0, |items| items.len() / 16) as u32;
        let Some(left) = self.steps.checked_sub(weight) else { return false };
        *self.steps = left;
        match keyword {
            "properties" | "patternProperties" | "dependentSchemas" => match (a.value, b.value) {
                (Value::Object(left), Value::Object(right)) => {
                    left.len() == right.len()
                        && left.iter().all(|(k, v)| right.get(k).is_some_and(|other| self.schemas(a.with(v), b.with(other))))
                }
                _ => false,
            },
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => self.lists(a, b),
            "items" if a.value.is_array() => self.lists(a, b),
            "not"
            | "if"
            | "then"
            | "else"
            | "items"
            | "additionalProperties"
            | "additionalItems"
            | "propertyNames"
            | "contains"
            | "unevaluatedItems"
            | "unevaluatedProperties" => self.schemas(a, b),
            "required" | "enum" | "type" => same_set(a.value, b.value),
            // A name means what its whole document makes of it.
            "$dynamicRef" | "$dynamicAnchor" | "dependencies" => a.doc.root == b.doc.root && a.value == b.value,
            "$ref" => a.value == b.value && self.references(a, b),
            _ => a.value == b.value,
        }
    }

    fn lists<'a>(&mut self, a: Node<'a>, b: Node<'a>) -> bool {
        match (a.value, b.value) {
            (Value::Array(left), Value::Array(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(x, y)| self.schemas(a.with(x), b.with(y)))
            }
            _ => false,
        }
    }

    fn references<'a>(&mut self, a: Node<'a>, b: Node<'a>) -> bool {
        let target = |node: Node<'a>| {
            let pointer = node.value.as_str()?.strip_prefix('#')?;
            if pointer.contains('%') { None } else { node.doc.root.pointer(pointer).map(|value| node.with(value)) }
        };
        match (target(a), target(b)) {
            (Some(left), Some(right)) => self.schemas(left, right),
            _ => a.doc.root == b.doc.root,
        }
    }
}

/// Whether one keyword, which nothing else here understands, says the same in both.
pub(super) fn same_keyword<'a>(keyword: &str, a: Node<'a>, b: Node<'a>, steps: &mut u32) -> bool {
    if a.doc.is_draft_07 != b.doc.is_draft_07 {
        return false;
    }
    match (a.get(keyword), b.get(keyword)) {
        (None, None) => true,
        (Some(left), Some(right)) => Sameness { seen: HashSet::new(), steps }.keyword(keyword, a.with(left), b.with(right)),
        _ => false,
    }
}

fn same_set(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() && left.len() <= 64 => {
            left.iter().all(|item| right.contains(item)) && right.iter().all(|item| left.contains(item))
        }
        _ => a == b,
    }
}
