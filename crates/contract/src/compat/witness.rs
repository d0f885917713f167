//! Looks for a value that one schema accepts and another does not. Whoever uses one checks it first.

use super::{
    accepts::accepts,
    facts::{Facts, Part, bounds, kind, required},
    node::Node,
    number::Num,
    prove::Seg,
};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// How many schemas a search may look at.
pub(super) const MAX_STEPS: u32 = 10_000;
/// How many values one place is tried with.
const MAX_SAMPLES: usize = 48;
/// How long a made-up text or list may be.
const MAX_LENGTH: u64 = 2_000;
const MAX_DEPTH: usize = 8;

/// Makes values up; every schema it looks at costs a step.
pub(super) struct Search {
    pub(super) steps: u32,
}

impl Search {
    /// Values for the whole, each with one of `locals` at the end of `path`.
    pub(super) fn wholes(&mut self, top: Node<'_>, path: &[Seg], locals: &[Value]) -> Vec<Value> {
        locals.iter().filter_map(|local| self.embed(&Facts::top(top), path, local, MAX_DEPTH * 4)).collect()
    }

    /// Values that keep `facts` where that can be told, and preferably not `asked`.
    pub(super) fn locals(&mut self, facts: &Facts<'_>, asked: Node<'_>) -> Vec<Value> {
        let mut values = self.samples(facts, Some(asked), MAX_DEPTH);
        values.retain(|value| accepts(asked, value, &mut self.steps) != Some(true));
        values.sort_by_key(|value| value.to_string().len());
        values
    }

    fn embed(&mut self, facts: &Facts<'_>, path: &[Seg], local: &Value, depth: usize) -> Option<Value> {
        self.steps = self.steps.checked_sub(1)?;
        let Some((seg, rest)) = path.split_first() else { return Some(local.clone()) };
        let depth = depth.checked_sub(1)?;
        match seg {
            Seg::Property(name) => {
                let inner = self.embed(&Facts::of(&facts.property(name), kind::ALL), rest, local, depth)?;
                let mut members = self.required_members(facts, MAX_DEPTH, Some(name))?;
                members.insert(name.clone(), inner);
                Some(Value::Object(members))
            }
            Seg::Item(at) => {
                let inner = self.embed(&Facts::of(&facts.item(*at), kind::ALL), rest, local, depth)?;
                self.list_with(facts, *at, inner)
            }
            Seg::Other if facts.kinds & kind::OBJECT != 0 => {
                let inner = self.embed(&Facts::of(&facts.other_properties(None), kind::ALL), rest, local, depth)?;
                let mut members = self.required_members(facts, MAX_DEPTH, None)?;
                members.insert("other".into(), inner);
                Some(Value::Object(members))
            }
            Seg::Other => {
                let at = facts.prefix();
                let inner = self.embed(&Facts::of(&facts.item(at), kind::ALL), rest, local, depth)?;
                self.list_with(facts, at, inner)
            }
        }
    }

    fn list_with(&mut self, facts: &Facts<'_>, at: usize, inner: Value) -> Option<Value> {
        let least = facts.most("minItems").unwrap_or(0).min(MAX_LENGTH) as usize;
        let mut items = Vec::new();
        for index in 0..least.max(at + 1).min(MAX_LENGTH as usize) {
            items.push(if index == at { inner.clone() } else { self.minimal(&Facts::of(&facts.item(index), kind::ALL), MAX_DEPTH)? });
        }
        Some(Value::Array(items))
    }

    /// What must be there, and nothing else. `but` is left to the caller.
    fn required_members(&mut self, facts: &Facts<'_>, depth: usize, but: Option<&str>) -> Option<Map<String, Value>> {
        let names: BTreeSet<&str> = facts.nodes().flat_map(required).filter(|name| Some(*name) != but).collect();
        let mut members = Map::new();
        for name in names {
            let value = self.minimal(&Facts::of(&facts.property(name), kind::ALL), depth.checked_sub(1)?)?;
            members.insert(name.to_owned(), value);
        }
        Some(members)
    }

    fn minimal(&mut self, facts: &Facts<'_>, depth: usize) -> Option<Value> {
        let values = self.samples(facts, None, depth);
        let doubtful = values.first().cloned();
        let sure = values.into_iter().find(|value| facts.nodes().all(|node| accepts(node, value, &mut self.steps) == Some(true)));
        sure.or(doubtful)
    }

    fn samples(&mut self, facts: &Facts<'_>, asked: Option<Node<'_>>, depth: usize) -> Vec<Value> {
        let Some(left) = self.steps.checked_sub(1) else { return Vec::new() };
        self.steps = left;
        if facts.parts.is_empty() && facts.kinds == kind::ALL && asked.is_none() {
            return vec![Value::Null, Value::Bool(false), Value::from(0), Value::from("a")];
        }
        let mut found: Vec<Value> = Vec::new();
        if let Some(values) = facts.finite() {
            found.extend(values);
        } else {
            for node in facts.nodes() {
                found.extend(node.value.get("default").cloned());
                let examples = node.value.get("examples").and_then(Value::as_array).into_iter().flatten();
                found.extend(examples.take(4).cloned());
            }
            if let Some(asked) = asked {
                found.extend(asked.get("enum").and_then(Value::as_array).into_iter().flatten().take(4).cloned());
            }
            if facts.kinds & kind::NUMBER != 0 {
                found.extend(numbers(facts, asked));
            }
            if facts.kinds & kind::STRING != 0 {
                found.extend(texts(facts, asked));
            }
            if facts.kinds & kind::OBJECT != 0 && depth > 0 {
                self.objects(facts, asked, depth, &mut found);
            }
            if facts.kinds & kind::ARRAY != 0 && depth > 0 {
                self.arrays(facts, asked, depth, &mut found);
            }
            if facts.kinds & kind::NULL != 0 {
                found.push(Value::Null);
            }
            if facts.kinds & kind::BOOLEAN != 0 {
                found.extend([Value::Bool(false), Value::Bool(true)]);
            }
        }
        if depth > 0 {
            self.alternatives(facts, depth, &mut found);
        }
        found.retain(|value| facts.nodes().all(|node| accepts(node, value, &mut self.steps) != Some(false)));
        found.truncate(MAX_SAMPLES);
        found
    }

    fn alternatives(&mut self, facts: &Facts<'_>, depth: usize, found: &mut Vec<Value>) {
        let open =
            facts.parts.iter().position(|part| !part.split && (part.node.get("anyOf").is_some() || part.node.get("oneOf").is_some()));
        let Some(at) = open else { return };
        for keyword in ["anyOf", "oneOf"] {
            for choice in facts.parts[at].node.list(keyword).take(8) {
                let mut parts = facts.parts.clone();
                parts[at].split = true;
                parts.push(Part { node: choice, split: false });
                found.extend(self.samples(&Facts::of(&parts, facts.kinds), None, depth - 1).into_iter().take(8));
            }
        }
    }

    fn objects(&mut self, facts: &Facts<'_>, asked: Option<Node<'_>>, depth: usize, found: &mut Vec<Value>) {
        let Some(least) = self.required_members(facts, depth, None) else { return };
        found.push(Value::Object(least.clone()));
        let Some(asked) = asked else { return };
        let names: BTreeSet<&String> = facts.nodes().filter_map(|node| node.members("properties")).flat_map(|known| known.keys()).collect();
        let mut all = least.clone();
        for name in names.into_iter().take(64) {
            let Some(value) = self.minimal(&Facts::of(&facts.property(name), kind::ALL), depth - 1) else { continue };
            if !least.contains_key(name) {
                let mut one = least.clone();
                one.insert(name.clone(), value.clone());
                found.push(Value::Object(one));
            }
            all.insert(name.clone(), value);
        }
        found.push(Value::Object(all.clone()));
        // Names that are declared nowhere: of use only where the other side closes the object or counts.
        let most = asked.count("maxProperties").map_or(1, |most| most.saturating_add(1)).min(64);
        for at in 0..most {
            let Some(value) = self.minimal(&Facts::of(&facts.other_properties(None), kind::ALL), depth - 1) else { return };
            all.insert(format!("other_{at}"), value.clone());
            if at == 0 {
                let mut one = least.clone();
                one.insert("other".into(), value);
                found.push(Value::Object(one));
            }
        }
        found.push(Value::Object(all));
    }

    fn arrays(&mut self, facts: &Facts<'_>, asked: Option<Node<'_>>, depth: usize, found: &mut Vec<Value>) {
        let rest = self.samples(&Facts::of(&facts.item(facts.prefix()), kind::ALL), None, depth - 1);
        for length in lengths(facts, asked, "minItems", "maxItems").into_iter().filter(|length| *length <= 256) {
            let mut items: Vec<Value> = Vec::new();
            for at in 0..length as usize {
                let choices =
                    if at < facts.prefix() { self.samples(&Facts::of(&facts.item(at), kind::ALL), None, depth - 1) } else { rest.clone() };
                let fresh = choices.iter().find(|choice| !items.contains(choice)).or(choices.first());
                items.extend(fresh.cloned());
            }
            if let [first, _, rest @ ..] = &items[..] {
                found.push(std::iter::repeat_n(first, 2).chain(rest).cloned().collect());
            }
            found.push(Value::Array(items));
        }
    }
}

fn numbers(facts: &Facts<'_>, asked: Option<Node<'_>>) -> Vec<Value> {
    let mut around: Vec<Num> = vec![Num::Int(0), Num::Int(1), Num::Int(-1)];
    for is_lower in [true, false] {
        around.extend(facts.bound(is_lower).map(|bound| bound.at));
        around.extend(asked.into_iter().flat_map(|node| bounds(node, is_lower)).map(|bound| bound.at));
    }
    for node in facts.nodes() {
        if let Some(Value::Number(step)) = node.get("multipleOf") {
            let step = Num::of(step);
            around.push(step);
            if let Num::Int(step) = step {
                let near: Vec<i128> = around.iter().filter_map(|num| if let Num::Int(i) = num { Some(*i) } else { None }).collect();
                around.extend(near.into_iter().filter(|_| step > 0).flat_map(|i| {
                    let whole = i.div_euclid(step).saturating_mul(step);
                    [Num::Int(whole), Num::Int(whole.saturating_add(step))]
                }));
            }
        }
    }
    let mut values = Vec::new();
    for num in around {
        let steps: &[f64] = if facts.kinds & kind::FRACTION == 0 { &[0.0, 1.0, -1.0] } else { &[0.0, 1.0, -1.0, 0.5, -0.5] };
        let near = steps.iter().filter_map(|step| num.plus(*step).as_json());
        near.for_each(|value| {
            if !values.contains(&value) {
                values.push(value)
            }
        });
    }
    values
}

fn texts(facts: &Facts<'_>, asked: Option<Node<'_>>) -> Vec<Value> {
    let made = lengths(facts, asked, "minLength", "maxLength").into_iter().map(|length| Value::String("a".repeat(length as usize)));
    made.chain(["0", "A", "a b", "2020-01-01", "a@b.co", "https://example.com"].map(Value::from)).collect()
}

fn lengths(facts: &Facts<'_>, asked: Option<Node<'_>>, least: &str, most: &str) -> BTreeSet<u64> {
    let mut lengths = BTreeSet::new();
    let own_least = facts.most(least).unwrap_or(0);
    lengths.extend([own_least, own_least.saturating_add(1), own_least.saturating_add(2)]);
    lengths.extend(facts.least(most));
    if let Some(asked) = asked {
        lengths.extend(asked.count(least).map(|length| length.saturating_sub(1)));
        lengths.extend(asked.count(most).map(|length| length.saturating_add(1)));
    }
    lengths.retain(|length| *length <= MAX_LENGTH);
    lengths
}
