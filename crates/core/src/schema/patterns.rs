//! What the patterns of a schema come to, estimated before they are compiled.
//!
//! `(a{1,100}){1,100}` is seventeen characters and ten thousand states: repetitions multiply. A pattern that is bounded by itself is
//! nothing when nine hundred of them stand beside each other, so they share one budget.

use super::{DFA_BYTES, looser::loosen};
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
            let shown = shown(pattern);
            return Err(format!(
                "its patterns come to too much, with `{shown}` to more than {MAX_STATES} states: bound lengths by `maxLength`, not by repetition"
            ));
        }
        Ok(())
    }
}

/// Rewrites the patterns of a schema that only another engine reads (`[\w-.]`, `\A…\Z`), and takes those out that cannot be matched in
/// bounded time (look-around, back-references, more states than all may have) or that are no patterns; the rest of it stays as it is,
/// but for what would take less for that ([`loosen`]). Says what was done, and looks at no more patterns than a schema may have.
pub fn mend_patterns(schema: &mut Value) -> Vec<String> {
    let mut said = Vec::new();
    let mut looked_at = 0;
    loosen(schema, &mut |members| {
        let mut is_taken = false;
        if let Some(Value::String(pattern)) = members.get("pattern").filter(|_| looked_at < MAX_PATTERNS) {
            looked_at += 1;
            match mended(pattern, &mut said) {
                Some(mended) => drop(members.insert("pattern".into(), mended.into())),
                None => is_taken = members.remove("pattern").is_some(),
            }
        }
        if let Some(Value::Object(named)) = members.get_mut("patternProperties")
            && looked_at + named.len() <= MAX_PATTERNS
        {
            looked_at += named.len();
            let (before, kept) = (named.len(), std::mem::take(named).into_iter());
            *named = kept.filter_map(|(pattern, schema)| Some((mended(&pattern, &mut said)?, schema))).collect();
            if named.len() < before {
                is_taken = true;
                // Whoever matched it was not one of the others.
                members.remove("additionalProperties");
            }
        }
        is_taken
    });
    said
}

/// A pattern as it can be matched; `None` where it cannot. What is not as it was is said.
fn mended(pattern: &str, said: &mut Vec<String>) -> Option<String> {
    if is_linear(pattern) {
        return Some(pattern.to_owned());
    }
    let rewritten = rewritten(pattern);
    if rewritten != pattern && is_linear(&rewritten) {
        said.push(format!("the pattern `{}` is read as `{}`", shown(pattern), shown(&rewritten)));
        return Some(rewritten);
    }
    said.push(format!("the pattern `{}` is not checked: it cannot be matched in bounded time", shown(pattern)));
    None
}

/// The anchors of Python and Ruby as those of ECMA-262, and a `-` beside a class of characters, which can begin no range, as itself.
fn rewritten(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 4);
    let mut characters = pattern.chars().peekable();
    let (mut is_inside, mut is_behind_class) = (false, false);
    while let Some(c) = characters.next() {
        let was_behind_class = std::mem::take(&mut is_behind_class);
        match c {
            '\\' => match characters.next() {
                Some('A') if !is_inside => out.push('^'),
                Some('Z' | 'z') if !is_inside => out.push('$'),
                Some(escaped) => {
                    is_behind_class = matches!(escaped, 'w' | 'W' | 'd' | 'D' | 's' | 'S');
                    out.extend(['\\', escaped]);
                }
                None => out.push('\\'),
            },
            '[' if !is_inside => {
                is_inside = true;
                out.push('[');
            }
            ']' if is_inside => {
                is_inside = false;
                out.push(']');
            }
            '-' if is_inside && was_behind_class && characters.peek() != Some(&']') => out.push_str("\\-"),
            c => out.push(c),
        }
    }
    out
}

/// Whether the validator can match it, within the bounds.
fn is_linear(pattern: &str) -> bool {
    let schema = serde_json::json!({ "pattern": pattern });
    states(pattern) <= MAX_STATES && super::options(DFA_BYTES).build(&schema).is_ok()
}

fn shown(pattern: &str) -> String {
    pattern.chars().take(80).collect()
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
