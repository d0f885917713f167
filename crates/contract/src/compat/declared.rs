//! What callers see by name: parameters that come and go, and descriptions.

use super::{Change, ChangeKind, Direction, facts::Facts, node::Node, prove::escaped};
use std::collections::BTreeSet;

/// How deep in declared objects the look goes.
const MAX_DEPTH: usize = 8;
/// How many declared properties are looked at, and how many changes are told.
const MAX_LOOKS: u32 = 2_000;
const MAX_CHANGES: usize = 64;

/// Removed and added properties, and changed descriptions, in what both sides declare.
pub(super) fn changes(direction: Direction, old: Node<'_>, new: Node<'_>) -> Vec<Change> {
    let mut walk = Walk { direction, looks: MAX_LOOKS, changes: Vec::new() };
    walk.objects(old, new, "", MAX_DEPTH);
    walk.changes
}

struct Walk {
    direction: Direction,
    looks: u32,
    changes: Vec<Change>,
}

impl Walk {
    fn objects(&mut self, old: Node<'_>, new: Node<'_>, place: &str, depth: usize) {
        let Some(left) = self.looks.checked_sub(1) else { return };
        self.looks = left;
        if depth == 0 || self.changes.len() >= MAX_CHANGES {
            return;
        }
        if !place.is_empty() && old.value.get("description") != new.value.get("description") {
            self.changes.push(Change::new(ChangeKind::Note, place, "the description changed"));
        }
        let (old_facts, new_facts) = (Facts::top(old), Facts::top(new));
        let (before, after) = (declared(&old_facts), declared(&new_facts));
        for name in &before {
            let at = format!("{place}/properties/{}", escaped(name));
            match (property(&old_facts, name), property(&new_facts, name)) {
                (Some(one), Some(other)) => self.objects(one, other, &at, depth - 1),
                _ if after.contains(name) || self.mentions(new, name) => {}
                _ => self.removed(&new_facts, &at, name),
            }
        }
        for name in after.iter().filter(|name| !before.contains(*name)) {
            let what = match (self.direction, new_facts.requires(name)) {
                (Direction::Input, false) => format!("optional parameter added: `{name}`"),
                (Direction::Output, _) => format!("the result may hold `{name}`"),
                (Direction::Input, true) => continue, // told as now required
            };
            self.changes.push(Change::new(ChangeKind::Addition, format!("{place}/properties/{}", escaped(name)), what));
        }
    }

    fn removed(&mut self, new: &Facts<'_>, at: &str, name: &str) {
        let has_patterns = new.nodes().any(|node| node.get("patternProperties").is_some());
        let change = match self.direction {
            Direction::Output => return, // what no longer comes back is told as no longer promised
            Direction::Input if has_patterns => {
                Change::new(ChangeKind::Unproven, at, format!("`{name}` is no longer declared; `patternProperties` may cover it"))
            }
            Direction::Input => Change::new(ChangeKind::Break, at, format!("parameter removed: `{name}`")),
        };
        self.changes.push(change);
    }

    /// Whether an alternative of the schema declares the name.
    fn mentions(&mut self, node: Node<'_>, name: &str) -> bool {
        let mut open = vec![node];
        let mut looks = 200;
        while let Some(node) = open.pop() {
            looks -= 1;
            if looks == 0 {
                return true;
            }
            if node.members("properties").is_some_and(|members| members.contains_key(name)) {
                return true;
            }
            open.extend(node.target());
            for keyword in ["allOf", "anyOf", "oneOf"] {
                open.extend(node.list(keyword));
            }
            open.extend(["if", "then", "else"].into_iter().filter_map(|keyword| node.child(keyword)));
            open.extend(node.members("dependentSchemas").into_iter().flatten().map(|(_, schema)| node.with(schema)));
        }
        false
    }
}

fn declared<'a>(facts: &Facts<'a>) -> BTreeSet<&'a str> {
    facts.nodes().filter_map(|node| node.members("properties")).flat_map(|known| known.keys()).map(String::as_str).collect()
}

fn property<'a>(facts: &Facts<'a>, name: &str) -> Option<Node<'a>> {
    facts.nodes().find_map(|node| node.members("properties").and_then(|known| known.get(name)).map(|schema| node.with(schema)))
}
