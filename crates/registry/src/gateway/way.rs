//! Where a call goes: to an instance that is well, whose breaker lets calls through, and that has the fewest in hand.
//!
//! It is looked for before the rate is asked, so that a call that has nowhere to go takes no place under it; and taken after that, so
//! that one that waits for its place does not hold a breaker's only trial.

use super::{Gateway, refused, told_why};
use crate::catalog::{Entry, InHand, Instance};
use maniple_core::{
    ports::{Invocation, Invoked, RefusalKind},
    tool::{self, Realm, ToolDefinition, ToolState},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Whose word a call goes by.
#[derive(Clone, Copy)]
pub(super) enum Definition<'a> {
    /// The version that is published, and served by its instances.
    Published(&'a Entry),
    /// A run's own, which an operator wrote and which nobody serves any more: a run ends on the definition it began with.
    OfTheRun,
}

impl<'a> Definition<'a> {
    pub(super) fn published(self) -> Option<&'a Entry> {
        match self {
            Self::Published(entry) => Some(entry),
            Self::OfTheRun => None,
        }
    }
}

/// Where a call could go.
pub(super) enum Way {
    /// To one of these, the first first: they are well, and their breakers let calls through.
    To(Vec<Arc<Instance>>),
    /// Where a run's own definition says, which is no more.
    AsItBegan,
}

/// Where a call goes.
pub(super) struct Target {
    pub(super) definition: Arc<ToolDefinition>,
    pub(super) trusted: bool,
    /// Whose definition it is.
    pub(super) realm: Realm,
    /// The instance's count of it; none for a run that ends on a definition that is no more.
    pub(super) hand: Option<InHand>,
}

impl Gateway {
    /// The instances that are well and whose breakers let calls through, those with the fewest in hand first.
    pub(super) fn way(&self, definition: Definition<'_>, call: &Invocation) -> Result<Way, Invoked> {
        let pins = self.catalog.pins();
        let entry = match definition {
            Definition::Published(entry) => entry,
            Definition::OfTheRun => {
                let tool = &call.tool;
                if !leads_as_agreed(tool, call) {
                    return Err(led_elsewhere(call));
                }
                return match pins.against(&tool.name, &tool.version, &tool.contract_hash(), &tool.endpoint) {
                    None => Ok(Way::AsItBegan),
                    Some(why) => Err(Invoked::Refused(refused(
                        RefusalKind::Quarantined,
                        format!("tool `{}` is quarantined: {}", tool.name, told_why(self.tells_reasons, &tool.name, Some(why))),
                    ))),
                };
            }
        };
        let agreed = |instance: &&Arc<Instance>| leads_as_agreed(&instance.definition, call);
        if !entry.instances.is_empty() && !entry.instances.iter().any(|instance| agreed(&instance)) {
            return Err(led_elsewhere(call));
        }
        let (mut usable, mut worst) = (Vec::new(), (ToolState::Gone, "nobody serves it now".to_owned()));
        for instance in entry.instances.iter().filter(agreed) {
            match entry.usable(instance, &pins) {
                Ok(()) => usable.push(instance.clone()),
                Err(why) => worst = why,
            }
        }
        let name = &call.tool.name;
        if usable.is_empty() {
            let (state, why) = worst;
            let why = told_why(self.tells_reasons, name, Some(why));
            return Err(match (state, why) {
                (ToolState::Quarantined, why) => {
                    Invoked::Refused(refused(RefusalKind::Quarantined, format!("tool `{name}` is quarantined: {why}")))
                }
                (state, why) => Invoked::NotSent(format!("tool `{name}` {} is {}: {why}", call.tool.version, state.as_str())),
            });
        }
        let from = self.turn.fetch_add(1, Ordering::Relaxed) % usable.len();
        usable.rotate_left(from);
        usable.sort_by_key(|instance| instance.in_hand());
        let mut open: Option<Duration> = None;
        usable.retain(|instance| match instance.lets() {
            Ok(()) => true,
            Err(wait) => {
                open = open.min(Some(wait)).or(Some(wait));
                false
            }
        });
        if usable.is_empty() { Err(broken(name, open)) } else { Ok(Way::To(usable)) }
    }
}

/// The first instance of the way whose breaker still lets the call through.
pub(super) fn take(way: Way, call: &Invocation) -> Result<Target, Invoked> {
    let Way::To(instances) = way else {
        // Nobody but an operator wrote it.
        return Ok(Target { definition: call.tool.clone(), trusted: true, realm: Realm::Node, hand: None });
    };
    let mut open = None;
    for instance in instances {
        match instance.take() {
            Ok(hand) => {
                let (definition, realm) = (instance.definition.clone(), instance.realm.clone());
                return Ok(Target { definition, trusted: instance.trusted, realm, hand: Some(hand) });
            }
            Err(wait) => open = open.min(Some(wait)).or(Some(wait)),
        }
    }
    Err(broken(&call.tool.name, open))
}

/// Whether a call of that definition goes the way that a person agreed to, if one did.
fn leads_as_agreed(definition: &ToolDefinition, call: &Invocation) -> bool {
    call.agreed.as_ref().is_none_or(|agreed| *agreed == tool::Way::of(definition))
}

fn led_elsewhere(call: &Invocation) -> Invoked {
    let told = format!(
        "`{}` leads elsewhere now than a person agreed to, or goes as somebody else, so it was not called. A new task asks anew",
        call.tool.name
    );
    Invoked::Refused(refused(RefusalKind::NeedsApproval, told))
}

fn broken(tool: &str, wait: Option<Duration>) -> Invoked {
    let wait = wait.unwrap_or_default().as_millis();
    Invoked::NotSent(format!("tool `{tool}` failed several times in a row, so its breaker is open for another {wait} ms"))
}
