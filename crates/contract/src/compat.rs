//! Whether a new version of a tool breaks those who call the old one.
//!
//! Arguments must not be narrowed and results must not be widened. *Compatible* is only said when it is
//! proven; *breaking* when a value shows it, checked by the validator itself, or a named rule says so; the
//! rest is *unproven* and names what stopped the proof. A comparison takes a bounded number of steps.

mod accepts;
mod declared;
mod facts;
mod node;
mod number;
mod prove;
mod witness;

pub use maniple_core::tool::Verdict;

use facts::{Part, kind};
use maniple_core::{
    schema::Validator,
    tool::{Effect, ToolDefinition},
};
use node::Doc;
use prove::{Finding, Place, Prover, Reason};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How many changes one report lists.
const MAX_CHANGES: usize = 100;
/// For how many places a witness is looked for.
const MAX_WITNESSED: usize = 16;
/// How many values the validators are asked about.
const MAX_CHECKS: u32 = 200;
/// The longest witness that is shown, as JSON text.
const MAX_WITNESS_BYTES: usize = 4 << 10;

/// Which way values travel through a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Callers send them: what the old schema accepted, the new one must accept.
    Input,
    /// Callers receive them: what the new schema accepts, the old one must have accepted.
    Output,
}

/// What a change means to callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Some callers break.
    Break,
    /// Nobody can say whether callers break.
    Unproven,
    /// Callers may do more than before.
    Addition,
    /// Callers need not care.
    Note,
}

/// One difference between two versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// A JSON pointer into the definition or schema.
    pub place: String,
    /// What it means to callers.
    pub kind: ChangeKind,
    /// What happened, for people.
    pub text: String,
    /// A value that was fine before and is not now, checked with the validator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Value>,
}

impl Change {
    fn new(kind: ChangeKind, place: impl Into<String>, text: impl Into<String>) -> Self {
        Self { place: place.into(), kind, text: text.into(), witness: None }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.place.is_empty() { "/" } else { &self.place };
        write!(f, "{place}: {}", self.text)?;
        match &self.witness {
            Some(witness) => write!(f, " (for example {})", witness.to_string().chars().take(200).collect::<String>()),
            None => Ok(()),
        }
    }
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The worst of the changes.
    pub verdict: Verdict,
    /// Breaks first, then what is unproven, additions and notes; at most 100.
    pub changes: Vec<Change>,
}

impl Report {
    fn of(mut changes: Vec<Change>) -> Self {
        let rank = |change: &Change| match change.kind {
            ChangeKind::Break => 0,
            ChangeKind::Unproven => 1,
            ChangeKind::Addition => 2,
            ChangeKind::Note => 3,
        };
        changes.sort_by_key(rank);
        let verdict = match changes.first().map(|change| change.kind) {
            Some(ChangeKind::Break) => Verdict::Breaking,
            Some(ChangeKind::Unproven) => Verdict::Unproven,
            Some(ChangeKind::Addition | ChangeKind::Note) | None => Verdict::Compatible,
        };
        changes.truncate(MAX_CHANGES);
        Self { verdict, changes }
    }

    /// The changes of one kind, a line each.
    pub fn lines(&self, kind: ChangeKind) -> Vec<String> {
        self.changes.iter().filter(|change| change.kind == kind).map(ToString::to_string).collect()
    }
}

/// Compares two versions of a tool as their callers see them. What their version numbers allow is the catalogue's to say.
pub fn compare(old: &ToolDefinition, new: &ToolDefinition) -> Report {
    use ChangeKind::{Addition, Break, Note};
    let mut changes = Vec::new();
    let mut say = |kind, place: &str, text: String| changes.push(Change::new(kind, place, text));
    if old.name != new.name {
        say(Break, "/name", format!("renamed: `{}` is now `{}`", old.name, new.name));
    }
    if old.description != new.description {
        say(Note, "/description", "the description changed".into());
    }
    if old.method != new.method {
        say(Note, "/method", "the method changed; callers name the tool, not the method".into());
    }
    if rank(new.effect()) > rank(old.effect()) {
        say(Break, "/effect", format!("effect weakened: {} is now {}, so it may be repeated less", old.effect(), new.effect()));
    }
    if !old.requires_approval && new.requires_approval {
        say(Break, "/requires_approval", "approval now required: calls wait for a person".into());
    }
    // Callers do not break by it; those who relied on the care that was taken do.
    loosened(old, new).into_iter().for_each(|(place, text)| say(Break, place, text));
    for scope in new.scopes.iter().filter(|scope| !old.scopes.contains(scope)) {
        say(Break, "/scopes", format!("scope now required: `{scope}`"));
    }
    for scope in old.scopes.iter().filter(|scope| !new.scopes.contains(scope)) {
        say(Addition, "/scopes", format!("scope `{scope}` is not needed any more"));
    }
    if old.deprecated != new.deprecated {
        say(Note, "/deprecated", new.deprecated.clone().map_or("not deprecated any more".into(), |why| format!("deprecated: {why}")));
    }
    changes.extend(below("/parameters", compare_schemas(Direction::Input, &old.parameters, &new.parameters)));
    match (&old.returns, &new.returns) {
        (Some(old), Some(new)) => changes.extend(below("/returns", compare_schemas(Direction::Output, old, new))),
        (Some(_), None) => changes.push(Change::new(Break, "/returns", "result no longer described: anything may come back")),
        (None, Some(_)) => changes.push(Change::new(Addition, "/returns", "the result is described now")),
        (None, None) => {}
    }
    Report::of(changes)
}

/// What the platform is asked to take less care of than before: calls that were sent once and may be repeated now, or went past a
/// person and do not now. The place in the definition, and what happened.
pub fn loosened(old: &ToolDefinition, new: &ToolDefinition) -> Vec<(&'static str, String)> {
    let mut loosened = Vec::new();
    if rank(new.effect()) < rank(old.effect()) {
        loosened.push(("/effect", format!("effect loosened: {} is now {}, so calls may be repeated", old.effect(), new.effect())));
    }
    if old.requires_approval && !new.requires_approval {
        loosened.push(("/requires_approval", "approval no longer required: calls go without a person".to_owned()));
    }
    loosened
}

/// Compares two schemas for values that travel in one direction.
pub fn compare_schemas(direction: Direction, old: &Value, new: &Value) -> Report {
    let compiled = (Validator::compile(old), Validator::compile(new));
    let (old_checks, new_checks) = match compiled {
        (Ok(old), Ok(new)) => (old, new),
        (Err(why), _) => return Report::of(vec![Change::new(ChangeKind::Unproven, "", format!("the old schema does not compile: {why}"))]),
        (_, Err(why)) => return Report::of(vec![Change::new(ChangeKind::Unproven, "", format!("the new schema does not compile: {why}"))]),
    };
    let (old, new) = (Doc::of(old), Doc::of(new));
    // Whatever the first accepts, the second must accept.
    let (first, second, first_checks, second_checks) = match direction {
        Direction::Input => (&old, &new, old_checks, new_checks),
        Direction::Output => (&new, &old, new_checks, old_checks),
    };
    let part = Part { node: first.top(), split: false };
    let findings = Prover::new(prove::MAX_STEPS).included(&[part], kind::ALL, second.top(), &Place::default()).err().unwrap_or_default();
    let mut trial =
        Trial { first: first_checks, second: second_checks, checks: MAX_CHECKS, search: witness::Search { steps: witness::MAX_STEPS } };
    let mut changes: Vec<Change> = Vec::new();
    for (at, finding) in findings.iter().enumerate() {
        let witness = if at < MAX_WITNESSED { trial.witness(first, finding) } else { None };
        let change = judged(direction, finding, witness);
        if !changes.iter().any(|known| known.place == change.place && known.text == change.text) {
            changes.push(change);
        }
    }
    changes.extend(declared::changes(direction, old.top(), new.top()));
    Report::of(changes)
}

/// The two validators, and how often they may still be asked.
struct Trial {
    first: Validator,
    second: Validator,
    checks: u32,
    search: witness::Search,
}

impl Trial {
    fn witness<'a>(&mut self, first: &'a Doc<'a>, finding: &Finding<'a>) -> Option<Value> {
        // Only a caller who sent what was never declared would notice: that is for a person to judge.
        if finding.reason == Reason::Undeclared {
            return None;
        }
        let (facts, asked) = finding.sides.as_ref()?;
        let locals = self.search.locals(facts, *asked);
        let wholes = self.search.wholes(first.top(), &finding.place.path, &locals);
        wholes.into_iter().find(|value| self.shows(value))
    }

    fn shows(&mut self, value: &Value) -> bool {
        if self.checks == 0 || value.to_string().len() > MAX_WITNESS_BYTES {
            return false;
        }
        self.checks -= 1;
        self.first.check(value).is_ok() && self.second.check(value).is_err()
    }
}

fn judged(direction: Direction, finding: &Finding<'_>, witness: Option<Value>) -> Change {
    let keyword = &finding.keyword;
    let pointer = &finding.place.pointer;
    let name = pointer.rsplit('/').next().unwrap_or_default().replace("~1", "/").replace("~0", "~");
    let is_input = direction == Direction::Input;
    let (place, text) = match finding.reason {
        Reason::NowRequired if is_input => (pointer.clone(), format!("parameter now required: `{name}`")),
        Reason::NowRequired => (pointer.clone(), format!("result no longer promised: `{name}`")),
        Reason::Narrowed(rule) if is_input => (format!("{pointer}/{keyword}"), rule.to_owned()),
        Reason::Narrowed(rule) => (format!("{pointer}/{keyword}"), format!("result widened: {rule} in the old schema, not in the new")),
        Reason::Closed if is_input => (format!("{pointer}/{keyword}"), "undeclared properties are no longer taken".into()),
        Reason::Closed => (format!("{pointer}/{keyword}"), "result widened: undeclared properties may come back".into()),
        Reason::Undeclared if is_input => (
            pointer.clone(),
            format!(
                "`{keyword}` was open, so anything went under `{name}`, which is described now; an old schema that is closed makes this provable"
            ),
        ),
        Reason::Undeclared => {
            (pointer.clone(), format!("`{keyword}` is open, so anything may come back under `{name}`, which was described"))
        }
        Reason::Unknown => (format!("{pointer}/{keyword}"), format!("nothing is proven about `{keyword}`")),
        Reason::TooMuch => (pointer.clone(), "the schemas are too much work to compare".into()),
    };
    let has_rule = matches!(finding.reason, Reason::NowRequired | Reason::Narrowed(_) | Reason::Closed) && !finding.place.is_branch;
    let kind = if witness.is_some() || has_rule { ChangeKind::Break } else { ChangeKind::Unproven };
    let text = match (&witness, finding.reason) {
        (Some(_), Reason::Unknown) => format!("`{keyword}` refuses what was fine before"),
        _ => text,
    };
    Change { place, kind, text, witness }
}

fn below(prefix: &str, report: Report) -> impl Iterator<Item = Change> {
    let prefix = prefix.to_owned();
    report.changes.into_iter().map(move |change| Change { place: format!("{prefix}{}", change.place), ..change })
}

/// Greater is harder on callers.
fn rank(effect: Effect) -> u8 {
    match effect {
        Effect::Pure => 0,
        Effect::Idempotent => 1,
        Effect::AtMostOnce => 2,
    }
}
