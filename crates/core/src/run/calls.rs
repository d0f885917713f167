//! Which calls of a step are refused, asked about, started, sent again, or in doubt.

use super::{
    Awaited, CALLS_PER_STEP, Call, Run, Step,
    approve::{self, Leave},
};
use crate::{
    Time,
    agent::Contracts,
    canonical, digits,
    event::{ApprovalDecided, Event, ToolFinished, ToolStarted, ToolStatus},
    message::FinishReason,
    tool::{Effect, ToolDefinition, Way},
};
use serde_json::Value;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

/// What to record before acting, and then what to send.
#[derive(Debug, Default)]
pub struct Plan {
    /// Refusals, doubts that were settled, and questions, in the order of the calls.
    pub record: Vec<Event>,
    /// Calls to start: record `tool.started`, then send.
    pub start: Vec<ToolStarted>,
    /// Calls started under an earlier claim that may be sent again, under the key they had.
    pub resend: Vec<ToolStarted>,
    /// Calls started under an earlier claim that may not: see [`Run::doubt`].
    pub doubts: Vec<ToolStarted>,
    /// Questions that nobody answered in time.
    pub expired: Vec<ApprovalDecided>,
    /// What calls wait for that comes from outside.
    pub awaits: Option<Awaited>,
}

/// What a plan is made under.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// How many more calls may be sent.
    pub room: usize,
    /// The store's time.
    pub now: Time,
    /// How long a person has to answer; never beyond the deadline.
    pub approval_expires: Duration,
    /// Calls that are to be left alone for now, by their place in the step.
    pub held: &'a BTreeSet<u32>,
}

/// How many times in a row the same call had the same result.
pub(super) struct Repeats {
    /// The most that any call of the run came to.
    pub most: u32,
    /// For every finished call, by step and index: how many times so far.
    pub each: HashMap<(u32, u32), u32>,
}

impl Plan {
    fn awaits(&mut self, awaited: Awaited) {
        self.awaits = Some(self.awaits.map_or(awaited, |others| others.either(awaited)));
    }
}

impl Run {
    /// What to do with the calls of the current step that have no outcome.
    ///
    /// Calls that are in flight under this claim are left alone.
    pub fn plan(&self, contracts: &Contracts, terms: &Terms) -> Plan {
        let mut plan = Plan::default();
        let Some(step) = self.steps().last() else { return plan };
        let doubted: HashSet<_> = step.calls.iter().filter_map(approve::doubtful).collect();
        for (index, call) in step.calls.iter().enumerate().filter(|(_, call)| call.finished.is_none()) {
            if let Some(asked) = call.open_inquiry() {
                match approve::expired(asked, terms.now) {
                    Some(expired) => plan.expired.push(expired),
                    None => plan.awaits(Awaited::decision(asked.expires_at)),
                }
                continue;
            }
            if let Some(settled) = call.settled() {
                plan.record.push(Event::ToolFinished(settled));
                continue;
            }
            let has_room = plan.start.len() + plan.resend.len() < terms.room && !terms.held.contains(&(index as u32));
            match &call.started {
                Some(started) if call.interrupted => match started.effect {
                    Effect::AtMostOnce => plan.doubts.push(started.clone()),
                    Effect::Pure | Effect::Idempotent if has_room => plan.resend.push(started.clone()),
                    Effect::Pure | Effect::Idempotent => {}
                },
                Some(_) => {}
                None => match self.admit(step, index, call, contracts, &doubted) {
                    Err(why) => plan.record.push(Event::ToolFinished(refusal(index, call, why))),
                    Ok((started, tool)) => match self.leave_of(call, &started, tool, step.number, terms) {
                        Leave::Refused(why) => plan.record.push(Event::ToolFinished(refusal(index, call, why))),
                        Leave::Ask(request) => {
                            plan.awaits(Awaited::decision(request.expires_at));
                            plan.record.push(Event::ApprovalRequested(*request));
                        }
                        Leave::Given if has_room => plan.start.push(started),
                        Leave::Given => {}
                    },
                },
            }
        }
        plan
    }

    fn leave_of(&self, call: &Call, started: &ToolStarted, tool: &ToolDefinition, step: u32, terms: &Terms) -> Leave {
        if tool.requires_approval { self.leave(call, started, tool, step, terms) } else { Leave::Given }
    }

    /// Marks an interrupted call as sent again, so that the next plan leaves it alone.
    pub fn resent(&mut self, started: &ToolStarted) {
        let call = self.steps.last_mut().and_then(|step| step.calls.get_mut(started.index as usize));
        call.into_iter().for_each(|call| call.interrupted = false);
    }

    /// What a run that ends now must still say: `at_most_once` calls without outcome that are not in flight under this claim.
    pub fn open_doubts(&self) -> Vec<Event> {
        let calls = self.steps.last().map_or(&[][..], |step| &step.calls);
        let open = calls.iter().filter(|call| approve::doubtful(call).is_some());
        let outcome = |call: &Call| call.settled().or_else(|| call.started.as_ref().map(doubt));
        open.filter_map(outcome).map(Event::ToolFinished).collect()
    }

    /// What is recorded for an unstarted call that is not made after all.
    pub fn refused(&self, index: u32, result: Value) -> Option<Event> {
        let call = self.steps.last()?.calls.get(index as usize)?;
        Some(Event::ToolFinished(ToolFinished { index, name: call.asked.name.clone(), status: ToolStatus::Refused, result }))
    }

    /// What is recorded for a started call that nobody will hear of again.
    pub fn in_doubt(started: &ToolStarted) -> ToolFinished {
        doubt(started)
    }

    fn admit<'a>(
        &self,
        step: &Step,
        index: usize,
        call: &Call,
        contracts: &'a Contracts,
        newly_doubted: &HashSet<(String, String)>,
    ) -> Result<(ToolStarted, &'a Arc<ToolDefinition>), String> {
        let reply_was_cut = step.reply.as_ref().is_some_and(|reply| reply.finish_reason == FinishReason::Length);
        if reply_was_cut {
            return Err("your answer was cut at its length limit, so this call was not made; make it again, shorter".into());
        }
        if index >= CALLS_PER_STEP {
            return Err(format!("only {CALLS_PER_STEP} calls run in one step; make this one again in the next"));
        }
        let name = &call.asked.name;
        let (tool, validator) = contracts.tool(name).ok_or_else(|| match contracts.tool_names() {
            none if none.is_empty() => format!("there is no tool `{name}`; there are no tools"),
            names => format!("there is no tool `{name}`; there are: {names}"),
        })?;
        let arguments = arguments(&call.asked.arguments)?;
        validator.check(&arguments).map_err(|complaint| format!("the arguments do not fit the tool's parameters: {complaint}"))?;
        let itself = itself(name, &arguments);
        if self.doubted.contains(&itself) || newly_doubted.contains(&itself) {
            return Err("this very call may already have happened; it will not be made again in this task".into());
        }
        Ok((self.started_call(step, index, tool, arguments), tool))
    }

    fn started_call(&self, step: &Step, index: usize, tool: &Arc<ToolDefinition>, arguments: Value) -> ToolStarted {
        let task = &self.task;
        let whose = if task.tenant.is_default() { String::new() } else { format!("{}/", task.tenant) };
        ToolStarted {
            index: index as u32,
            name: tool.name.clone(),
            version: tool.version.clone(),
            arguments,
            key: format!("{whose}{}:{}:{index}", task.id, step.number),
            effect: tool.effect(),
            way: tool.requires_approval.then(|| Way::of(tool)),
        }
    }

    /// Counts equal calls with equal results in a row; what was taken over does not count.
    pub(super) fn repeats(&self, contracts: &Contracts) -> Repeats {
        let mut repeats = Repeats { most: 0, each: HashMap::new() };
        let mut times = 0;
        let mut last: Option<(&str, &str, &ToolFinished)> = None;
        for step in &self.steps[self.taken..] {
            for (index, call) in step.calls.iter().enumerate() {
                let Some(finished) = &call.finished else { continue };
                let polls = contracts.tool(&call.asked.name).is_some_and(|(tool, _)| tool.poll);
                if polls {
                    (times, last) = (0, None);
                    continue;
                }
                let same = last.as_ref().is_some_and(|(name, earlier, outcome)| {
                    *name == call.asked.name
                        && *earlier == call.canonical
                        && outcome.status == finished.status
                        && outcome.result == finished.result
                });
                times = if same { times + 1 } else { 1 };
                repeats.most = repeats.most.max(times);
                repeats.each.insert((step.number, index as u32), times);
                last = Some((&call.asked.name, &call.canonical, finished));
            }
        }
        repeats
    }
}

/// What makes a call the very same call: its tool and its arguments, however they are spelled.
pub(super) fn itself(name: &str, arguments: &Value) -> (String, String) {
    (name.to_owned(), canonical::exact(arguments))
}

/// What a model wrote as arguments; nothing at all counts as no arguments.
pub(super) fn arguments(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_str(&digits::kept(text)).map_err(|e| format!("the arguments are not JSON: {e}"))
}

fn refusal(index: usize, call: &Call, why: String) -> ToolFinished {
    ToolFinished { index: index as u32, name: call.asked.name.clone(), status: ToolStatus::Refused, result: Value::String(why) }
}

fn doubt(started: &ToolStarted) -> ToolFinished {
    let told = "this may have happened; do not repeat it. Nobody knows the outcome of this call.";
    ToolFinished { index: started.index, name: started.name.clone(), status: ToolStatus::InDoubt, result: Value::String(told.into()) }
}
