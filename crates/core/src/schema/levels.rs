//! What a value costs on each of its levels.

use super::graph::Graph;

/// Deeper levels cost what the last one does.
const MAX_LEVELS: usize = 128;

/// For one value on each level, the schema itself on level 0.
#[derive(Debug, Clone)]
pub(super) struct Levels(Vec<u64>);

impl Levels {
    /// By what each node costs itself, and what it costs beside that for each value inside; never more than `most`.
    ///
    /// `order` has each node before those it leads to for the same value.
    pub(super) fn of(graph: &Graph, order: &[usize], own: impl Fn(usize) -> u64, beside: impl Fn(usize) -> u64, most: u64) -> Self {
        let mut levels = Vec::new();
        let mut above: Vec<u64> = Vec::new();
        for level in 0..MAX_LEVELS {
            let mut costs = vec![0u64; order.len()];
            for node in order.iter().rev() {
                let inside = |group: &Vec<usize>| group.iter().map(|next| above[*next]).max().unwrap_or(0);
                let itself = match level {
                    0 => own(*node),
                    _ => graph.groups[*node].iter().map(inside).fold(if level == 1 { beside(*node) } else { 0 }, u64::saturating_add),
                };
                costs[*node] = graph.here[*node].iter().fold(itself, |sum, next| sum.saturating_add(costs[*next]));
            }
            // The schema is the first node.
            levels.push(costs[0].min(most));
            let is_last = costs.iter().all(|cost| *cost == 0);
            above = costs;
            if is_last && level > 0 {
                break;
            }
        }
        Self(levels)
    }

    /// What so many values on each level come to.
    pub(super) fn times(&self, values: &[u64]) -> u64 {
        self.times_from(0, values)
    }
    /// The same for what lies on this level and deeper.
    pub(super) fn times_from(&self, level: usize, values: &[u64]) -> u64 {
        let cost = |at: usize| self.0[at.min(self.0.len() - 1)];
        values.iter().zip(level..).fold(0u64, |sum, (count, at)| sum.saturating_add(count.saturating_mul(cost(at))))
    }
}
