//! How much work a schema can ask for, counted before it is compiled.
//!
//! Forty definitions that each refer twice to the next are a kibibyte of schema and 2⁴⁰ checks of one
//! value. The validator remembers what it found only where a reference recurs, so everything else is
//! counted as it will be unrolled.

use serde_json::Value;
use std::collections::HashMap;

/// The most subschemas that one value may be checked against, references unrolled.
const MAX_APPLICATIONS: u64 = 10_000;
/// How much may be unrolled for the sake of a good complaint.
const MAX_EXPLAINED: u64 = 100_000;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Work {
    /// Subschemas, references unrolled until they recur.
    applications: u64,
    /// How many recurring ones each value hands on to what is inside it.
    branching: u64,
}

impl Work {
    /// Counts a schema's work, or says which of its references is at fault.
    pub(super) fn of(schema: &Value) -> Result<Self, String> {
        let graph = Graph::of(schema)?;
        // A schema that leads back to itself for the same value says nothing, and asks for it without end.
        let order = graph
            .here_order()
            .ok_or("it refers to itself for the same value: let the reference lead into the value, as under `properties`")?;
        let components = graph.components();
        let applications = graph.applications(&components).max(graph.sums(&order, |_| 1));
        if applications > MAX_APPLICATIONS {
            return Err(format!("its references multiply to too much work: more than {MAX_APPLICATIONS} subschemas for one value"));
        }
        let recurring = |node: usize| graph.inside[node].iter().filter(|next| components[**next] == components[node]).count() as u64;
        Ok(Self { applications, branching: graph.sums(&order, recurring) })
    }

    /// Whether the reasons why `value` does not fit can be listed in bounded time.
    pub(super) fn can_explain(&self, value: &Value) -> bool {
        let unrolled = self.branching.checked_pow(depth(value)).and_then(|times| times.max(1).checked_mul(self.applications));
        unrolled.is_some_and(|work| work <= MAX_EXPLAINED)
    }
}

/// Subschemas, and which leads to which. No walk over it recurses.
struct Graph {
    /// For the same value.
    here: Vec<Vec<usize>>,
    /// For what is inside it.
    inside: Vec<Vec<usize>>,
}

impl Graph {
    fn of(schema: &Value) -> Result<Self, String> {
        let anchors = anchors(schema)?;
        let mut nodes = vec![schema];
        let mut known = HashMap::from([(std::ptr::from_ref(schema), 0)]);
        let mut graph = Self { here: Vec::new(), inside: Vec::new() };
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
            graph.inside.push(under(node, &INSIDE).into_iter().map(&mut number).collect());
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

    /// What each component comes to with everything it leads to. The validator remembers what it found
    /// inside a component, never across: there every reference counts in full.
    fn applications(&self, components: &[usize]) -> u64 {
        let mut members = vec![Vec::new(); components.len()];
        components.iter().enumerate().for_each(|(node, component)| members[*component].push(node));
        let mut sums = vec![0u64; components.len()];
        for component in (0..components.len()).rev() {
            let leads_to = members[component].iter().flat_map(|node| self.both(*node));
            let costs = leads_to.map(|next| if components[next] == component { 1 } else { sums[components[next]] });
            sums[component] = costs.fold(members[component].len() as u64, u64::saturating_add);
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

fn depth(value: &Value) -> u32 {
    match value {
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
