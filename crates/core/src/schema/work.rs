//! How much work a schema can ask for, counted before it is compiled, and how much a value before it is checked.
//!
//! Forty definitions that each refer twice to the next are a kibibyte of schema and 2⁴⁰ checks of one
//! value. The validator remembers what it found only where a reference recurs, so everything else is
//! counted as it will be unrolled.
//!
//! A list of 10,000 and a choice of 1,000 are 10,000,000 checks, and as many reasons why nothing fits. So what one value
//! costs is counted by level: how many values lie so deep in it, times what each of them is checked against there.

use super::{levels::Levels, patterns, shape::Shape};
use serde_json::Value;
use std::collections::HashMap;

/// The most subschemas that one value may be checked against, references unrolled.
const MAX_APPLICATIONS: u64 = 10_000;
/// How many subschemas one `unevaluated…` may look through, one led to by the next: the validator goes down as deep on its stack.
const MAX_CHAIN: u64 = 64;
/// How many `unevaluated…` may stand one within what another looks through: each checks all of that twice.
const MAX_UNEVALUATED: u64 = 3;
/// How much one value may cost to be checked: some ten milliseconds.
const MAX_CHECKED: u64 = 2_000_000;
/// How many reasons may be collected for the sake of a good complaint: a few MiB of them.
const MAX_EXPLAINED: u64 = 10_000;

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

/// What a schema asks for.
#[derive(Debug)]
pub(super) struct Work {
    /// What a value costs to be checked, by its levels: the validator remembers what it found where references recur.
    checking: Levels,
    /// What it costs to say why it does not fit: every alternative is unrolled.
    explaining: Levels,
    /// The states of the patterns that a text of each level runs through.
    matching: Levels,
    /// The first level at which there are alternatives: only these say more than one reason a value.
    alternatives_from: Option<usize>,
    /// Subschemas.
    pub(super) nodes: u64,
}

/// How much can be said of a value that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Explains {
    /// Every reason.
    All,
    /// The first one.
    First,
    /// That it does not.
    Nothing,
}

impl Work {
    /// Counts a schema's work, or says which of its references is at fault.
    pub(super) fn of(schema: &Value) -> Result<Self, String> {
        let graph = Graph::of(schema)?;
        // A schema that leads back to itself for the same value says nothing, and asks for it without end.
        let order = graph
            .here_order()
            .ok_or("it refers to itself for the same value: let the reference lead into the value, as under `properties`")?;
        let deep = graph.deep_here(&order);
        if deep.iter().zip(&graph.has_unevaluated).any(|(deep, looks)| *looks && *deep > MAX_CHAIN) {
            return Err(format!(
                "what `unevaluatedProperties` or `unevaluatedItems` looks through leads on and on: more than {MAX_CHAIN} subschemas deep"
            ));
        }
        let components = graph.components();
        if graph.unevaluated_within(&components).is_none_or(|deep| deep > MAX_UNEVALUATED) {
            return Err(format!(
                "`unevaluatedProperties` and `unevaluatedItems` stand within each other more than {MAX_UNEVALUATED} deep: name the members with `additionalProperties`"
            ));
        }
        let applications = graph.applications(&components, |_| 1).max(graph.sums(&order, |_| 1));
        if applications > MAX_APPLICATIONS {
            return Err(format!("its references multiply to too much work: more than {MAX_APPLICATIONS} subschemas for one value"));
        }
        let (weight, states) = (|node: usize| graph.weights[node], |node: usize| graph.states[node]);
        let most = graph.applications(&components, weight).max(graph.sums(&order, weight));
        let most_states = graph.applications(&components, states).max(graph.sums(&order, states));
        Ok(Self {
            checking: Levels::of(&graph, &order, weight, |_| 0, most),
            explaining: Levels::of(&graph, &order, weight, |_| 0, u64::MAX),
            // A name is matched with the patterns beside it, and is as deep as the value that it names.
            matching: Levels::of(&graph, &order, states, |node| graph.names[node], most_states.saturating_add(graph.names.iter().sum())),
            alternatives_from: graph.first_level(|node| graph.has_alternatives[node]),
            nodes: graph.here.len() as u64,
        })
    }

    /// What checking a value may cost, in units of some ten nanoseconds.
    pub(super) fn cost(&self, value: &Shape) -> u64 {
        // Sixteen states are walked in the time that one subschema takes; without patterns a text is read once.
        let matched = self.matching.times(value.bytes()).saturating_add(value.total_bytes() / 4) / 16;
        self.checking.times(value.values()).saturating_add(matched)
    }

    /// Whether a value can be checked in bounded time.
    pub(super) fn can_check(&self, value: &Shape) -> bool {
        self.cost(value) <= MAX_CHECKED
    }

    /// How much of the reasons why `value` does not fit can be said in bounded time and memory.
    pub(super) fn explains(&self, value: &Value, shape: &Shape) -> Explains {
        let all = self.explaining.times(&shape.weights());
        if all <= MAX_EXPLAINED {
            return Explains::All;
        }
        // The first reason is found without keeping others: but for the alternatives of the one value that does not fit.
        let kept = self.alternatives_from.map_or(0, |level| {
            let under = |inner: &Value| self.explaining.times_from(level, &Shape::of(inner).weights());
            super::shape::at_level(value, level).map(under).max().unwrap_or(0)
        });
        if all <= MAX_CHECKED && kept <= MAX_EXPLAINED { Explains::First } else { Explains::Nothing }
    }
}

/// Subschemas, and which leads to which. No walk over it recurses.
pub(super) struct Graph {
    /// For the same value.
    pub(super) here: Vec<Vec<usize>>,
    /// For what is inside it.
    inside: Vec<Vec<usize>>,
    /// The same in groups of which one value inside meets one member at most: a value has one name, and one place.
    pub(super) groups: Vec<Vec<Vec<usize>>>,
    /// What one value costs by a node's own words.
    weights: Vec<u64>,
    /// The states of its `pattern`.
    states: Vec<u64>,
    /// The states of its `patternProperties`.
    names: Vec<u64>,
    has_alternatives: Vec<bool>,
    has_unevaluated: Vec<bool>,
}

impl Graph {
    fn of(schema: &Value) -> Result<Self, String> {
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

    fn both(&self, node: usize) -> impl Iterator<Item = usize> {
        self.here[node].iter().chain(&self.inside[node]).copied()
    }

    /// The nodes so that each comes before those it leads to for the same value; `None` if they go in a circle.
    fn here_order(&self) -> Option<Vec<usize>> {
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
    fn sums(&self, order: &[usize], own: impl Fn(usize) -> u64) -> u64 {
        let mut sums = vec![0u64; order.len()];
        for node in order.iter().rev() {
            sums[*node] = self.here[*node].iter().fold(own(*node), |sum, next| sum.saturating_add(sums[*next]));
        }
        sums.into_iter().max().unwrap_or(0)
    }

    /// How many subschemas each node leads to for the same value, one after the other, at most.
    fn deep_here(&self, order: &[usize]) -> Vec<u64> {
        let mut deep = vec![0u64; order.len()];
        for node in order.iter().rev() {
            deep[*node] = self.here[*node].iter().map(|next| deep[*next] + 1).max().unwrap_or(0);
        }
        deep
    }

    /// How many `unevaluated…` stand one within what another looks through, at most; `None` where one looks through itself.
    fn unevaluated_within(&self, components: &[usize]) -> Option<u64> {
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
    fn components(&self) -> Vec<usize> {
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
    fn first_level(&self, holds: impl Fn(usize) -> bool) -> Option<usize> {
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
    fn applications(&self, components: &[usize], own: impl Fn(usize) -> u64) -> u64 {
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

type Anchors<'a> = HashMap<&'a str, Vec<&'a Value>>;

/// Schemas by the names they give themselves. The schema is already known to be shallow.
fn anchors(schema: &Value) -> Result<Anchors<'_>, String> {
    let mut anchors = Anchors::new();
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                if let (false, Some(Value::String(id))) = (std::ptr::eq(value, schema), members.get("$id")) {
                    return Err(format!("`$id` {id} stands inside: only the schema as a whole may have one"));
                }
                if let Some(Value::String(uri)) = members.get("$schema")
                    && draft_of(value) != draft_of(schema)
                {
                    return Err(format!("`$schema` {uri} stands inside: a schema is read by one draft as a whole"));
                }
                for keyword in ["$anchor", "$dynamicAnchor"] {
                    if let Some(Value::String(name)) = members.get(keyword) {
                        anchors.entry(name).or_default().push(value);
                    }
                }
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    Ok(anchors)
}

/// The supported draft that a schema says it is of, 2020-12 where it says nothing; `None` for any other.
fn draft_of(schema: &Value) -> Option<&'static str> {
    match schema.get("$schema").and_then(Value::as_str) {
        None => Some("2020-12"),
        Some(uri) => ["2020-12", "draft-07"].into_iter().find(|draft| uri.contains(draft)),
    }
}

fn targets<'a>(schema: &'a Value, anchors: &Anchors<'a>, reference: &str) -> Result<Vec<&'a Value>, String> {
    let nothing = || format!("the reference {reference} leads nowhere");
    let fragment = percent_decoded(reference.strip_prefix('#').unwrap_or(reference)).ok_or_else(nothing)?;
    if fragment.is_empty() || fragment.starts_with('/') {
        return schema.pointer(&fragment).map(|target| vec![target]).ok_or_else(nothing);
    }
    anchors.get(fragment.as_str()).cloned().ok_or_else(nothing)
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

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).ok()
}
