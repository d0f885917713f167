//! Proves that whatever one schema accepts, another accepts too, or says what stopped the proof.
//!
//! A proof may use what it is about to show for the values inside the value at hand: values end, so a
//! recursive pair is settled when its own question comes back. Within one value no question can come back,
//! since a schema that refers to itself for the same value is refused before. Every look costs a step.

mod keywords;

use super::{
    accepts::accepts,
    facts::{Facts, Part, item, kind, kinds_of_type, prefix, required},
    node::{Node, same, same_keyword},
    number::Bound,
};
use keywords::{about, at_least, at_most, choices, implies_bounds, implies_multiple, is_understood, stands_alone};
use serde_json::Value;
use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashSet},
};

/// How many looks a comparison may take.
pub(super) const MAX_STEPS: u32 = 20_000;
/// How deep a proof may nest.
const MAX_DEPTH: usize = 64;
/// How many reasons one comparison gives.
const MAX_FINDINGS: usize = 64;

/// A step from a value to what is inside it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seg {
    Property(String),
    Item(usize),
    /// An item behind those that have a schema of their own, or a property named nowhere.
    Other,
}

/// Where a proof stands: in the value, and in the text of the schemas.
#[derive(Clone, Default)]
pub(super) struct Place {
    pub(super) path: Vec<Seg>,
    pub(super) pointer: String,
    /// No alternative was taken on the way: what fails here fails for some value, if any value gets here.
    pub(super) is_branch: bool,
}

impl Place {
    fn inside(&self, seg: Seg, pointer: &str) -> Self {
        let mut path = self.path.clone();
        path.push(seg);
        Self { path, pointer: format!("{}{pointer}", self.pointer), is_branch: self.is_branch }
    }
    fn branch(&self) -> Self {
        Self { is_branch: true, ..self.clone() }
    }
}

/// One reason why a proof failed.
pub(super) struct Finding<'a> {
    pub(super) place: Place,
    pub(super) keyword: String,
    pub(super) reason: Reason,
    /// What the value at the place is known to keep, and what it should keep too.
    pub(super) sides: Option<(Facts<'a>, Node<'a>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// A property became required.
    NowRequired,
    /// Kinds of value, listed values, ranges or lengths that were accepted are not any more.
    Narrowed(&'static str),
    /// Properties that are named nowhere were accepted, and are not any more.
    Closed,
    /// A property is described now that was named nowhere, where anything went.
    Undeclared,
    /// The keyword is beyond this proof.
    Unknown,
    /// The comparison became too much work.
    TooMuch,
}

type Proof<'a> = Result<(), Vec<Finding<'a>>>;

pub(super) struct Prover {
    pub(super) steps: u32,
    /// Questions that are being answered, by the identity of their schemas.
    open: Vec<Question>,
}

/// What is asked, by the identity of its schemas, and how deep in the value.
struct Question {
    parts: Vec<(usize, bool)>,
    kinds: u8,
    asked: usize,
    depth: usize,
}

impl Prover {
    pub(super) fn new(steps: u32) -> Self {
        Self { steps, open: Vec::new() }
    }

    /// Whether everything that keeps all of `parts` and is of one of `kinds` is accepted by `b`.
    pub(super) fn included<'a>(&mut self, parts: &[Part<'a>], kinds: u8, b: Node<'a>, place: &Place) -> Proof<'a> {
        if b.value == &Value::Bool(true) {
            return Ok(());
        }
        let Some(left) = self.steps.checked_sub(1 + parts.len() as u32) else { return self.too_much(place) };
        self.steps = left;
        if self.open.len() >= MAX_DEPTH {
            return self.too_much(place);
        }
        if kinds == kind::ALL && parts.iter().any(|part| same(part.node, b, &mut self.steps)) {
            return Ok(());
        }
        let facts = Facts::of(parts, kinds);
        if facts.kinds == 0 {
            return Ok(());
        }
        let mut identities: Vec<_> = facts.parts.iter().map(|part| (part.node.address(), part.split)).collect();
        identities.sort_unstable();
        let question = Question { parts: identities, kinds: facts.kinds, asked: b.address(), depth: place.path.len() };
        let is_same = |open: &&Question| open.parts == question.parts && open.kinds == question.kinds && open.asked == question.asked;
        if let Some(open) = self.open.iter().rfind(is_same) {
            // Only a value inside the one that was asked about settles the question.
            return if open.depth < question.depth { Ok(()) } else { self.too_much(place) };
        }
        self.open.push(question);
        let proof = self.settle(&facts, b, place);
        self.open.pop();
        proof
    }

    /// As it stands, or else case by case.
    fn settle<'a>(&mut self, facts: &Facts<'a>, b: Node<'a>, place: &Place) -> Proof<'a> {
        let has_choice = facts.nodes().any(|node| node.get("anyOf").is_some() || node.get("oneOf").is_some());
        let here = if has_choice || facts.parts.len() > 1 { place.branch() } else { place.clone() };
        let Err(findings) = self.direct(facts, b, &here) else { return Ok(()) };
        if findings.iter().any(|finding| finding.reason == Reason::TooMuch) {
            return Err(findings);
        }
        if let Some(at) = facts.parts.iter().position(|part| !part.split && choices(part.node).next().is_some()) {
            for choice in choices(facts.parts[at].node) {
                let mut parts = facts.parts.clone();
                parts[at].split = true;
                parts.push(Part { node: choice, split: false });
                if self.included(&parts, facts.kinds, b, &here).is_err() {
                    return Err(findings);
                }
            }
            return Ok(());
        }
        if facts.kinds.count_ones() > 1 && choices(b).next().is_some() {
            for one in kind::EACH.into_iter().filter(|one| facts.kinds & one != 0) {
                if self.included(&facts.parts, one, b, &here).is_err() {
                    return Err(findings);
                }
            }
            return Ok(());
        }
        Err(findings)
    }

    /// Every keyword of `b` on its own.
    fn direct<'a>(&mut self, facts: &Facts<'a>, b: Node<'a>, place: &Place) -> Proof<'a> {
        if b.value == &Value::Bool(false) {
            return failed(place, "false", Reason::Narrowed("nothing is accepted any more"), facts, b);
        }
        if let Some(values) = facts.finite() {
            return self.each_value(facts, &values, b, place);
        }
        let mut findings = Vec::new();
        for (keyword, said) in b.keywords() {
            if let Err(found) = self.keyword(facts, b, keyword, said, place) {
                findings.extend(found);
            }
            findings.truncate(MAX_FINDINGS);
        }
        if findings.is_empty() { Ok(()) } else { Err(findings) }
    }

    fn each_value<'a>(&mut self, facts: &Facts<'a>, values: &[Value], b: Node<'a>, place: &Place) -> Proof<'a> {
        let mut is_certain = true;
        for value in values {
            if facts.nodes().any(|node| accepts(node, value, &mut self.steps) == Some(false)) {
                continue;
            }
            match accepts(b, value, &mut self.steps) {
                Some(true) => {}
                Some(false) => return failed(place, "enum", Reason::Narrowed("a listed value is not accepted any more"), facts, b),
                None => is_certain = false,
            }
        }
        if is_certain {
            return Ok(());
        }
        let strange = b.keywords().map(|(keyword, _)| keyword).find(|keyword| !is_understood(keyword)).unwrap_or("enum");
        failed(place, strange, if self.steps == 0 { Reason::TooMuch } else { Reason::Unknown }, facts, b)
    }

    fn keyword<'a>(&mut self, facts: &Facts<'a>, b: Node<'a>, keyword: &str, said: &'a Value, place: &Place) -> Proof<'a> {
        let about = about(keyword);
        if about & facts.kinds == 0 {
            return Ok(());
        }
        // What the other side says in the same words holds whatever it means, unless it leans on its neighbours.
        if stands_alone(keyword) && facts.nodes().any(|node| same_keyword(keyword, node, b, &mut self.steps)) {
            return Ok(());
        }
        let is_narrower = match keyword {
            "type" => facts.kinds & !kinds_of_type(said) == 0,
            "enum" | "const" => false,
            "minimum" | "exclusiveMinimum" => implies_bounds(facts, b, true),
            "maximum" | "exclusiveMaximum" => implies_bounds(facts, b, false),
            "multipleOf" => implies_multiple(facts, said),
            "minLength" | "minItems" => at_least(facts.most(keyword), b.count(keyword)),
            "minProperties" => {
                let named = facts.nodes().map(|node| required(node).collect::<HashSet<_>>().len()).max().unwrap_or(0);
                at_least(facts.most(keyword).max(Some(named as u64)), b.count(keyword))
            }
            "maxLength" | "maxItems" | "maxProperties" => at_most(facts.least(keyword), b.count(keyword)),
            "uniqueItems" => said != &Value::Bool(true) || facts.least("maxItems").is_some_and(|most| most <= 1),
            "required" => return self.required(facts, b, place),
            "properties" => return self.properties(facts, b, place),
            "additionalProperties" => return self.additional(facts, b, said, place),
            "items" | "prefixItems" if !b.get("items").is_some_and(Value::is_array) => return self.items(facts, b, keyword, place),
            "$ref" => {
                return match b.target() {
                    Some(target) => self.included(&facts.parts, facts.kinds, target, place),
                    None => failed(place, "$ref", Reason::Unknown, facts, b),
                };
            }
            "allOf" => {
                let mut findings = Vec::new();
                for branch in b.list("allOf") {
                    findings.extend(self.included(&facts.parts, facts.kinds, branch, place).err().unwrap_or_default());
                }
                return if findings.is_empty() { Ok(()) } else { Err(findings) };
            }
            "anyOf" => {
                let place = place.branch();
                for branch in b.list("anyOf") {
                    if self.included(&facts.parts, facts.kinds, branch, &place).is_ok() {
                        return Ok(());
                    }
                }
                false
            }
            "oneOf" => self.one_of(facts, b, &place.branch()),
            "not" => self.not(facts, b.with(said), &place.branch()),
            _ => false,
        };
        if is_narrower {
            return Ok(());
        }
        let reason = match keyword {
            "type" => Reason::Narrowed("type narrowed"),
            "enum" | "const" => Reason::Narrowed("only listed values are accepted now"),
            "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum" => Reason::Narrowed("range narrowed"),
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => Reason::Narrowed("size narrowed"),
            _ => Reason::Unknown,
        };
        failed(place, keyword, if self.steps == 0 { Reason::TooMuch } else { reason }, facts, b)
    }

    fn required<'a>(&mut self, facts: &Facts<'a>, b: Node<'a>, place: &Place) -> Proof<'a> {
        let missing = required(b).filter(|name| !facts.requires(name)).take(MAX_FINDINGS);
        let found: Vec<_> = missing
            .map(|name| {
                let place = Place { pointer: format!("{}/properties/{}", place.pointer, escaped(name)), ..place.clone() };
                Finding { place, keyword: "required".into(), reason: Reason::NowRequired, sides: Some((facts.clone(), b)) }
            })
            .collect();
        if found.is_empty() { Ok(()) } else { Err(found) }
    }

    fn properties<'a>(&mut self, facts: &Facts<'a>, b: Node<'a>, place: &Place) -> Proof<'a> {
        let mut findings = Vec::new();
        for (name, schema) in b.members("properties").into_iter().flatten() {
            let known = facts.property(name);
            let inner = place.inside(Seg::Property(name.clone()), &format!("/properties/{}", escaped(name)));
            let is_anything = known.iter().all(|part| part.node.value == &Value::Bool(true)) && !facts.declares(name);
            match self.included(&known, kind::ALL, b.with(schema), &inner) {
                Ok(()) => {}
                Err(_) if is_anything && self.steps > 0 => {
                    let schema = b.with(schema);
                    let sides = Some((Facts::of(&known, kind::ALL), schema));
                    findings.push(Finding { place: inner, keyword: "additionalProperties".into(), reason: Reason::Undeclared, sides });
                }
                Err(found) => findings.extend(found),
            }
            findings.truncate(MAX_FINDINGS);
        }
        if findings.is_empty() { Ok(()) } else { Err(findings) }
    }

    fn additional<'a>(&mut self, facts: &Facts<'a>, b: Node<'a>, said: &'a Value, place: &Place) -> Proof<'a> {
        let mut findings = Vec::new();
        let own = b.members("properties");
        let rest = b.with(said);
        let mut names: Vec<&String> = facts.nodes().filter_map(|node| node.members("properties")).flat_map(|known| known.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names.into_iter().filter(|name| own.is_none_or(|own| !own.contains_key(*name))) {
            let inner = place.inside(Seg::Property(name.clone()), &format!("/properties/{}", escaped(name)));
            findings.extend(self.included(&facts.property(name), kind::ALL, rest, &inner).err().unwrap_or_default());
            findings.truncate(MAX_FINDINGS);
        }
        let others = facts.other_properties(b.members("patternProperties"));
        let inner = place.inside(Seg::Other, "/additionalProperties");
        if let Err(found) = self.included(&others, kind::ALL, rest, &inner) {
            let is_anything = others.iter().all(|part| part.node.value == &Value::Bool(true));
            match is_anything && self.steps > 0 {
                true => {
                    let sides = Some((facts.clone(), b));
                    findings.push(Finding { place: place.clone(), keyword: "additionalProperties".into(), reason: Reason::Closed, sides });
                }
                false => findings.extend(found),
            }
        }
        if findings.is_empty() { Ok(()) } else { Err(findings) }
    }

    /// `items` and `prefixItems` together: place by place, then the rest.
    fn items<'a>(&mut self, facts: &Facts<'a>, b: Node<'a>, keyword: &str, place: &Place) -> Proof<'a> {
        if keyword == "items" && b.get("prefixItems").is_some() {
            return Ok(()); // looked at with `prefixItems`
        }
        let longest = usize::try_from(facts.least("maxItems").unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let own = prefix(b).max(facts.prefix());
        for index in 0..own.min(longest) {
            if let Some(schema) = item(b, index) {
                let inner = place.inside(Seg::Item(index), &format!("/prefixItems/{index}"));
                self.included(&facts.item(index), kind::ALL, schema, &inner)?;
            }
        }
        match item(b, own) {
            Some(schema) if longest > own => {
                let seg = if own == 0 { Seg::Item(0) } else { Seg::Other };
                self.included(&facts.item(own), kind::ALL, schema, &place.inside(seg, "/items"))
            }
            _ => Ok(()),
        }
    }

    fn one_of<'a>(&mut self, facts: &Facts<'a>, b: Node<'a>, place: &Place) -> bool {
        let branches: Vec<_> = b.list("oneOf").collect();
        let fits = branches.iter().position(|branch| self.included(&facts.parts, facts.kinds, *branch, place).is_ok());
        fits.is_some_and(|fit| {
            branches.iter().enumerate().all(|(at, other)| at == fit || self.is_disjoint(facts, &Facts::top(*other), MAX_DEPTH))
        })
    }

    /// Nothing fits both, or the other side forbids at least as much.
    fn not<'a>(&mut self, facts: &Facts<'a>, forbidden: Node<'a>, place: &Place) -> bool {
        let mut others = facts.nodes().filter_map(|node| node.child("not")).collect::<Vec<_>>().into_iter();
        self.is_disjoint(facts, &Facts::top(forbidden), MAX_DEPTH)
            || others.any(|other| self.included(&[Part { node: forbidden, split: false }], kind::ALL, other, place).is_ok())
    }

    /// Whether no value keeps both. `false` where that is not certain.
    fn is_disjoint(&mut self, a: &Facts<'_>, b: &Facts<'_>, depth: usize) -> bool {
        let Some(left) = self.steps.checked_sub(1) else { return false };
        self.steps = left;
        let both = a.kinds & b.kinds;
        if both == 0 {
            return true;
        }
        for (one, other) in [(a, b), (b, a)] {
            if let Some(values) = one.finite() {
                let mut is_refused = |value| other.nodes().any(|node| accepts(node, value, &mut self.steps) == Some(false));
                return values.iter().all(&mut is_refused);
            }
        }
        if both & !kind::NUMBER == 0 {
            let apart = |low: Bound, high: Bound| match low.at.compare(high.at) {
                Some(Ordering::Greater) => true,
                Some(Ordering::Equal) => low.is_exclusive || high.is_exclusive,
                Some(Ordering::Less) | None => false,
            };
            let (lows, highs) = ([a.bound(true), b.bound(true)], [a.bound(false), b.bound(false)]);
            return lows.into_iter().flatten().any(|low| highs.into_iter().flatten().any(|high| apart(low, high)));
        }
        if both == kind::OBJECT && depth > 0 {
            let names = a.nodes().chain(b.nodes()).flat_map(required).collect::<BTreeSet<_>>();
            return names.into_iter().any(|name| {
                let (left, right) = (Facts::of(&a.property(name), kind::ALL), Facts::of(&b.property(name), kind::ALL));
                left.kinds == 0 || right.kinds == 0 || self.is_disjoint(&left, &right, depth - 1)
            });
        }
        false
    }

    fn too_much<'a>(&mut self, place: &Place) -> Proof<'a> {
        self.steps = 0;
        Err(vec![Finding { place: place.clone(), keyword: "$ref".into(), reason: Reason::TooMuch, sides: None }])
    }
}

fn failed<'a>(place: &Place, keyword: &str, reason: Reason, facts: &Facts<'a>, b: Node<'a>) -> Proof<'a> {
    Err(vec![Finding { place: place.clone(), keyword: keyword.into(), reason, sides: Some((facts.clone(), b)) }])
}

/// A name as a part of a JSON pointer.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
