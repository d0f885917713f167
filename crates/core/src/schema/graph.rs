//! The subschemas of a schema, and which leads to which: for the same value, or for what is inside it.
//!
//! No walk over it recurses: a schema may lead on further than a stack is deep.

use super::{
    patterns,
    references::{anchors, targets},
    shape::Shape,
};
use serde_json::Value;
use std::collections::HashMap;

/// Keywords that apply a schema to the same value.
const HERE: [&str; 9] = ["not", "if", "then", "else", "allOf", "anyOf", "oneOf", "dependentSchemas", "dependencies"];
/// Keywords that apply one to what is inside the value.
const INSIDE: [&str; 10] = [
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "additionalItems",
    "contains",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Of these, the ones whose members are named by the author, not by JSON Schema.
const BY_NAME: [&str; 4] = ["dependentSchemas", "dependencies", "properties", "patternProperties"];

/// Subschemas, by number, and which leads to which.
pub(super) struct Graph {
    /// For the same value.
    pub(super) here: Vec<Vec<usize>>,
    /// For what is inside it.
    inside: Vec<Vec<usize>>,
    /// The same in groups of which one value inside meets one member at most: a value has one name, and one place.
    pub(super) groups: Vec<Vec<Vec<usize>>>,
    /// What one value costs by a node's own words.
    pub(super) weights: Vec<u64>,
    /// The states of its `pattern`.
    pub(super) states: Vec<u64>,
    /// The states of its `patternProperties`.
    pub(super) names: Vec<u64>,
    pub(super) has_alternatives: Vec<bool>,
    pub(super) has_unevaluated: Vec<bool>,
}

impl Graph {
    pub(super) fn of(schema: &Value) -> Result<Self, String> {
        let anchors = anchors(schema)?;
        let mut nodes = vec![schema];
        let mut known = HashMap::from([(std::ptr::from_ref(schema), 0)]);
        let mut graph = Self {
            here: Vec::new(),
            inside: Vec::new(),
            groups: Vec::new(),
            weights: Vec::new(),
            states: Vec::new(),
            names: Vec::new(),
            has_alternatives: Vec::new(),
            has_unevaluated: Vec::new(),
        };
        while let Some(node) = nodes.get(graph.here.len()).copied() {
            let mut number = |next| {
                *known.entry(std::ptr::from_ref(next)).or_insert_with(|| {
                    nodes.push(next);
                    nodes.len() - 1
                })
            };
            let mut here = under(node, &HERE);
            for keyword in ["$ref", "$dynamicRef"] {
                if let Some(Value::String(reference)) = node.get(keyword) {
                    here.extend(targets(schema, &anchors, reference)?);
                }
            }
            graph.here.push(here.into_iter().map(&mut number).collect());
            let groups: Vec<Vec<usize>> = groups(node).into_iter().map(|group| group.into_iter().map(&mut number).collect()).collect();
            graph.inside.push(groups.iter().flatten().copied().collect());
            graph.groups.push(groups);
            graph.weights.push(weight(node));
            graph.states.push(node.get("pattern").and_then(Value::as_str).map_or(0, patterns::states));
            graph.names.push(members(node, "patternProperties").map(|name| patterns::states(name)).sum());
            let looks_through = ["unevaluatedProperties", "unevaluatedItems"].iter().any(|keyword| node.get(keyword).is_some());
            graph.has_unevaluated.push(looks_through);
            graph.has_alternatives.push(["anyOf", "oneOf"].iter().any(|keyword| node.get(keyword).is_some()));
        }
        Ok(graph)
    }

    pub(super) fn both(&self, node: usize) -> impl Iterator<Item = usize> {
        self.here[node].iter().chain(&self.inside[node]).copied()
    }

    /// The nodes so that each comes before those it leads to for the same value; `None` if they go in a circle.
    pub(super) fn here_order(&self) -> Option<Vec<usize>> {
        let mut waits_for = vec![0; self.here.len()];
        self.here.iter().flatten().for_each(|next| waits_for[*next] += 1);
        let mut order: Vec<usize> = (0..self.here.len()).filter(|node| waits_for[*node] == 0).collect();
        let mut at = 0;
        while let Some(node) = order.get(at).copied() {
            at += 1;
            for next in &self.here[node] {
                waits_for[*next] -= 1;
                if waits_for[*next] == 0 {
                    order.push(*next);
                }
            }
        }
        (order.len() == self.here.len()).then_some(order)
    }

    /// The greatest sum that any node comes to, with all it leads to for the same value.
    pub(super) fn sums(&self, order: &[usize], own: impl Fn(usize) -> u64) -> u64 {
        let mut sums = vec![0u64; order.len()];
        for node in order.iter().rev() {
            sums[*node] = self.here[*node].iter().fold(own(*node), |sum, next| sum.saturating_add(sums[*next]));
        }
        sums.into_iter().max().unwrap_or(0)
    }

    /// How many subschemas each node leads to for the same value, one after the other, at most.
    pub(super) fn deep_here(&self, order: &[usize]) -> Vec<u64> {
        let mut deep = vec![0u64; order.len()];
        for node in order.iter().rev() {
            deep[*node] = self.here[*node].iter().map(|next| deep[*next] + 1).max().unwrap_or(0);
        }
        deep
    }

    /// How many `unevaluated…` stand one within what another looks through, at most; `None` where one looks through itself.
    pub(super) fn unevaluated_within(&self, components: &[usize]) -> Option<u64> {
        let looks = |node: usize| self.has_unevaluated[node] && !self.here[node].is_empty();
        let count = components.len();
        let (mut own, mut leads_to) = (vec![0u64; count], vec![Vec::new(); count]);
        for node in 0..count {
            if looks(node) {
                if self.here[node].iter().any(|next| components[*next] == components[node]) {
                    return None;
                }
                own[components[node]] = 1;
            }
            leads_to[components[node]].extend(self.both(node).map(|next| components[next]).filter(|next| *next != components[node]));
        }
        let mut deep = vec![0u64; count];
        for component in (0..count).rev() {
            deep[component] = own[component] + leads_to[component].iter().map(|next| deep[*next]).max().unwrap_or(0);
        }
        Some(deep.into_iter().max().unwrap_or(0))
    }

    /// The number of the component of each node: nodes that lead to each other are in one (Kosaraju's algorithm).
    /// A component leads only to components of its own or a higher number.
    pub(super) fn components(&self) -> Vec<usize> {
        let count = self.here.len();
        let mut finished = Vec::with_capacity(count);
        let mut seen = vec![false; count];
        for root in 0..count {
            let mut path = vec![(root, false)];
            while let Some((node, is_done)) = path.pop() {
                if is_done {
                    finished.push(node);
                } else if !std::mem::replace(&mut seen[node], true) {
                    path.push((node, true));
                    path.extend(self.both(node).filter(|next| !seen[*next]).map(|next| (next, false)));
                }
            }
        }
        let mut back = vec![Vec::new(); count];
        (0..count).for_each(|node| self.both(node).for_each(|next| back[next].push(node)));
        let mut components = vec![usize::MAX; count];
        let mut next_component = 0;
        for root in finished.into_iter().rev() {
            let mut open = vec![root];
            let before = next_component;
            while let Some(node) = open.pop() {
                if components[node] == usize::MAX {
                    components[node] = before;
                    next_component = before + 1;
                    open.extend(&back[node]);
                }
            }
        }
        components
    }

    /// The first level at which a node is met of which something holds, the schema itself on level 0.
    pub(super) fn first_level(&self, holds: impl Fn(usize) -> bool) -> Option<usize> {
        let mut seen = vec![false; self.here.len()];
        let mut level = vec![0];
        for number in 0.. {
            let mut next = Vec::new();
            while let Some(node) = level.pop() {
                if std::mem::replace(&mut seen[node], true) {
                    continue;
                }
                if holds(node) {
                    return Some(number);
                }
                level.extend(&self.here[node]);
                next.extend(&self.inside[node]);
            }
            if next.is_empty() {
                break;
            }
            level = next;
        }
        None
    }

    /// What each component comes to with everything it leads to, by what each node comes to itself. The validator remembers
    /// what it found inside a component, never across: there every reference counts in full.
    pub(super) fn applications(&self, components: &[usize], own: impl Fn(usize) -> u64) -> u64 {
        let mut members = vec![Vec::new(); components.len()];
        components.iter().enumerate().for_each(|(node, component)| members[*component].push(node));
        let mut sums = vec![0u64; components.len()];
        for component in (0..components.len()).rev() {
            let leads_to = members[component].iter().flat_map(|node| self.both(*node));
            let costs = leads_to.map(|next| if components[next] == component { own(next) } else { sums[components[next]] });
            let itself = members[component].iter().map(|node| own(*node)).fold(0, u64::saturating_add);
            sums[component] = costs.fold(itself, u64::saturating_add);
        }
        sums.into_iter().max().unwrap_or(0)
    }
}

fn under<'a>(schema: &'a Value, keywords: &[&str]) -> Vec<&'a Value> {
    let mut found = Vec::new();
    for keyword in keywords {
        match schema.get(keyword) {
            Some(Value::Object(members)) if BY_NAME.contains(keyword) => found.extend(members.values()),
            Some(Value::Array(items)) => found.extend(items),
            Some(one) => found.push(one),
            None => {}
        }
    }
    found.retain(|schema| schema.is_object());
    found
}

/// What leads inside, in groups of which one value meets one member at most.
fn groups(schema: &Value) -> Vec<Vec<&Value>> {
    let mut groups = Vec::new();
    for keyword in INSIDE {
        let found = under(schema, &[keyword]);
        match keyword {
            "properties" | "items" | "prefixItems" => groups.push(found),
            _ => groups.extend(found.into_iter().map(|one| vec![one])),
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// What one value costs by a schema's own words: itself, the values that it is compared with, the names that are looked for.
fn weight(schema: &Value) -> u64 {
    let compared = ["enum", "const", "required", "dependentRequired", "dependencies"];
    let compared: u64 = compared.iter().filter_map(|keyword| schema.get(keyword)).map(|value| Shape::of(value).weight()).sum();
    let looked_for = members(schema, "properties").count() as u64;
    (1 + looked_for).saturating_add(compared)
}

fn members<'a>(schema: &'a Value, keyword: &str) -> impl Iterator<Item = &'a String> {
    schema.get(keyword).and_then(Value::as_object).into_iter().flat_map(|members| members.keys())
}
