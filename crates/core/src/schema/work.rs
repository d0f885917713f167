//! How much work a schema can ask for, counted before it is compiled, and how much a value before it is checked.
//!
//! Forty definitions that each refer twice to the next are a kibibyte of schema and 2⁴⁰ checks of one
//! value. The validator remembers what it found only where a reference recurs, so everything else is
//! counted as it will be unrolled.
//!
//! A list of 10,000 and a choice of 1,000 are 10,000,000 checks, and as many reasons why nothing fits. So what one value
//! costs is counted by level: how many values lie so deep in it, times what each of them is checked against there.

use super::{graph::Graph, levels::Levels, shape::Shape};
use serde_json::Value;

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
