//! What the patterns of a schema come to, estimated before they are compiled.
//!
//! `(a{1,100}){1,100}` is seventeen characters and ten thousand states: repetitions multiply. A pattern that is bounded by itself is
//! nothing when nine hundred of them stand beside each other, so they share one budget.

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::Value;

/// How many patterns one schema may hold.
pub(super) const MAX_PATTERNS: usize = 200;
/// How many states they may come to together.
pub(super) const MAX_STATES: u64 = 50_000;

/// What all patterns of a schema come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Patterns {
    pub(super) count: usize,
    pub(super) states: u64,
}

impl Patterns {
    /// Counts those of a schema, wherever they stand in it, or says which bound they break.
    pub(super) fn of(schema: &Value) -> Result<Self, String> {
        let mut all = Self::default();
        let mut open = vec![schema];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(pattern)) = members.get("pattern") {
                        all.add(pattern)?;
                    }
                    if let Some(Value::Object(named)) = members.get("patternProperties") {
                        named.keys().try_for_each(|pattern| all.add(pattern))?;
                    }
                    open.extend(members.values());
                }
                Value::Array(items) => open.extend(items),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        Ok(all)
    }

    fn add(&mut self, pattern: &str) -> Result<(), String> {
        self.count += 1;
        if self.count > MAX_PATTERNS {
            return Err(format!("it has more than {MAX_PATTERNS} patterns"));
        }
        self.states = self.states.saturating_add(states(pattern));
        if self.states > MAX_STATES {
            let shown: String = pattern.chars().take(80).collect();
            return Err(format!(
                "its patterns come to too much, with `{shown}` to more than {MAX_STATES} states: bound lengths by `maxLength`, not by repetition"
            ));
        }
        Ok(())
    }
}

/// How many states a pattern may come to. One that cannot be read comes to none: it is refused where it is compiled.
pub(super) fn states(pattern: &str) -> u64 {
    // Leading look-aheads are taken apart by the validator and matched one by one.
    let parts = jsonschema_regex::split_leading_lookaheads(pattern).unwrap_or_else(|| vec![pattern.to_owned()]);
    let read = |part: &String| regex_syntax::parse(&jsonschema_regex::to_rust_regex(part).ok()?).ok();
    parts.iter().filter_map(read).map(|hir| of(&hir)).fold(0, u64::saturating_add)
}

fn of(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty => 0,
        HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        // A range of characters beyond ASCII is several of bytes.
        HirKind::Class(Class::Unicode(class)) => {
            class.ranges().iter().map(|range| if range.end().is_ascii() { 1 } else { 4 }).sum::<u64>().max(1)
        }
        HirKind::Class(Class::Bytes(class)) => (class.ranges().len() as u64).max(1),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            of(&repetition.sub).saturating_add(1).saturating_mul(times.into())
        }
        HirKind::Capture(capture) => of(&capture.sub).saturating_add(2),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(|part| of(part).saturating_add(1)).fold(0, u64::saturating_add)
        }
    }
}
