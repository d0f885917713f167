//! A retry takes over the failed task's record.

use super::{Call, Step, calls};
use crate::{
    Error, Result,
    event::{EventKind, StoredEvent, TakenOver, TakenStep, ToolStatus},
};

/// What a retry takes over: everything through the last step in which a tool call was started.
/// Later steps are asked anew. `Conflict` for a journal that did not end in `task.failed`.
pub fn take_over(journal: &[StoredEvent]) -> Result<TakenOver> {
    let failed = journal.last().is_some_and(|last| last.kind() == Some(EventKind::Failed));
    if !failed {
        return Err(Error::conflict("only a failed task can be retried"));
    }
    let run = super::Run::fold(journal)?;
    let keep = run.steps.iter().rposition(|step| step.calls.iter().any(|call| call.started.is_some())).map_or(0, |at| at + 1);
    let steps = run.steps[..keep].iter().filter_map(|step| {
        Some(TakenStep {
            step: step.number,
            reply: step.reply.clone()?,
            started: step.calls.iter().filter_map(|call| call.started.clone()).collect(),
            finished: step.calls.iter().filter_map(|call| call.finished.clone()).collect(),
        })
    });
    Ok(TakenOver { from: run.task.id.clone(), steps: steps.collect() })
}

impl Step {
    /// The step as it was in the failed task. A call without outcome is one that was interrupted.
    pub(super) fn taken(taken: &TakenStep) -> Result<Self> {
        let mut step = Step::new(taken.step);
        step.replied(taken.reply.clone());
        for started in &taken.started {
            let call = call_of(&mut step, started.index)?;
            call.started = Some(started.clone());
            call.interrupted = true;
        }
        for finished in &taken.finished {
            let call = call_of(&mut step, finished.index)?;
            call.finished = Some(finished.clone());
            call.interrupted = false;
        }
        Ok(step)
    }
}

fn call_of(step: &mut Step, index: u32) -> Result<&mut Call> {
    let number = step.number;
    step.calls.get_mut(index as usize).ok_or_else(|| Error::internal(format!("taken step {number} asked for no call {index}")))
}

/// Calls of taken steps that may have happened.
pub(super) fn doubts(steps: &[Step]) -> Vec<(String, String)> {
    let calls = steps.iter().flat_map(|step| &step.calls);
    let doubted = calls.filter(|call| call.finished.as_ref().is_some_and(|finished| finished.status == ToolStatus::InDoubt));
    doubted.filter_map(|call| call.started.as_ref()).map(|started| calls::itself(&started.name, &started.arguments)).collect()
}
