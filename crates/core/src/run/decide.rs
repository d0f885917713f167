//! What comes next.

use super::{REPAIRS, REPEATS_END, Run, Step, answer};
use crate::{
    Time,
    agent::Contracts,
    event::{ModelFailed, ModelFinished},
    message::{FinishReason, ModelReply},
    model::FaultKind,
    retry::{self, After, Choice},
    schema::Validator,
    task::{Ending, ErrorCode},
};
use serde_json::Value;

/// The least room for output that a call is made with, in tokens.
pub const LEAST_OUTPUT: u64 = 64;

/// What a run does next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Resolve the definitions and record `task.started`.
    Start,
    /// Record `model.started` and ask.
    Ask(Ask),
    /// Record what [`Run::plan`] says and call.
    Call,
    /// Record the end.
    End(Ending),
    /// It has ended.
    Nothing,
}

/// A model call to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// In which step.
    pub step: u32,
    /// The attempt within the step.
    pub attempt: u32,
    /// Which model of the agent's chain: 0 is its own, then the fallbacks.
    pub model: usize,
    /// What is waited for first, by whoever was there when the attempt before it failed.
    pub after: After,
    /// Whether no other model is to be asked before it, should it have too much to do.
    pub is_last_resort: bool,
    /// Whether this is the last step it may take: tools are shown, but it must answer.
    pub last: bool,
}

impl Run {
    /// What comes next at `now`. `contracts` are what `task.started` names; before that, `None`.
    pub fn next(&self, now: Time, contracts: Option<&Contracts>) -> Next {
        if self.ended {
            return Next::Nothing;
        }
        if self.cancelled {
            return Next::End(Ending::cancelled());
        }
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            let detail = "the task did not end inside deadline_ms, which counts from its acceptance; allow more, or ask for less";
            let detail = match self.waits_for_model() {
                Some(fault) => format!("{detail}; it waited for {}: {}", fault.model, fault.message),
                None => detail.to_owned(),
            };
            return Next::End(Ending { output: self.best_output(), ..Ending::failed(ErrorCode::DeadlineExceeded, detail) });
        }
        let (Some(_), Some(contracts)) = (&self.started, contracts) else {
            return Next::Start;
        };
        match self.steps.last() {
            None => self.ask(1, contracts),
            Some(step) => match &step.reply {
                None => self.ask(step.number, contracts),
                // A refusal is final: calls that stand before it may be half a thought.
                Some(reply) if reply.calls.is_empty() || reply.finish_reason == FinishReason::Refusal => self.answered(step, contracts),
                Some(_) => self.called(step, contracts),
            },
        }
    }

    /// How much a call may say, after an estimate of its input; `None` where there is no room for it.
    ///
    /// The first call is made unless its input alone is estimated at more than twice the budget.
    pub fn output_room(&self, estimated_input: u64) -> Option<u32> {
        let budget = self.task.token_budget;
        let room = budget.saturating_sub(self.progress.tokens_used).saturating_sub(estimated_input);
        let is_made = match self.progress.steps_used {
            0 => estimated_input <= budget.saturating_mul(2),
            _ => room >= LEAST_OUTPUT,
        };
        is_made.then(|| room.max(LEAST_OUTPUT).min(u32::MAX.into()) as u32)
    }

    /// What was last said of a model that has too much to do, where that is what the run waits for.
    pub fn waits_for_model(&self) -> Option<&ModelFailed> {
        let step = self.steps.last().filter(|step| step.reply.is_none())?;
        step.faults.last().filter(|fault| fault.fault.is_overload())
    }

    /// The end of a run that used up its tokens.
    pub fn out_of_tokens(&self) -> Ending {
        let budget = self.task.token_budget;
        Ending {
            error: Some(ErrorCode::TokenBudgetExceeded),
            error_detail: Some(format!("the run's model calls use up token_budget {budget}; allow more, or ask for less")),
            ..Ending::completed(self.best_output())
        }
    }

    /// The end of a run whose next call has no room: see [`Run::output_room`].
    pub fn no_room(&self, estimated_input: u64) -> Ending {
        let ending = self.out_of_tokens();
        if self.progress.steps_used > 0 {
            return ending;
        }
        let budget = self.task.token_budget;
        let detail = format!(
            "the first call's input alone is estimated at {estimated_input} tokens, more than twice token_budget {budget}, so it was \
             not sent; allow more, or ask with less"
        );
        Ending { error_detail: Some(detail), ..ending }
    }

    /// The newest text a model said.
    pub fn best_output(&self) -> Option<String> {
        let texts = self.steps.iter().rev().filter_map(|step| step.reply.as_ref()?.text.as_ref());
        texts.into_iter().find(|text| !text.is_empty()).cloned()
    }

    /// The schema the answer must fit: the task's, else the agent's.
    pub fn output_schema<'a>(&'a self, contracts: &'a Contracts) -> Option<&'a Value> {
        self.task.output_schema.as_ref().or(contracts.agent().output_schema.as_ref())
    }

    /// The schema by which the newest answer is to be judged, where there is one.
    pub fn judges_by<'a>(&'a self, contracts: &'a Contracts) -> Option<&'a Value> {
        let reply = self.steps.last()?.reply.as_ref()?;
        if reply.calls.is_empty() { self.output_schema(contracts) } else { None }
    }

    /// Whether the newest answer came without calls: what is asked for now is that it be mended.
    pub fn is_repairing(&self) -> bool {
        self.steps.iter().rev().find_map(|step| step.reply.as_ref()).is_some_and(|reply| reply.calls.is_empty())
    }

    fn own_steps(&self) -> &[Step] {
        &self.steps[self.taken..]
    }
    fn over_budget(&self) -> bool {
        self.progress.tokens_used > self.task.token_budget
    }
    fn steps_left(&self) -> u32 {
        self.task.max_steps.saturating_sub(self.own_steps().len() as u32)
    }

    /// The next attempt of the step's model call, or the end where no model of the chain is left.
    fn ask(&self, number: u32, contracts: &Contracts) -> Next {
        if self.over_budget() {
            return Next::End(self.out_of_tokens());
        }
        let step = self.steps.last().filter(|step| step.number == number);
        let faults = step.map_or(&[][..], |step| &step.faults);
        let agent = contracts.agent();
        let chain: Vec<&str> = std::iter::once(&agent.model).chain(&agent.fallbacks).map(|name| name.as_str()).collect();
        match retry::choose(&chain, faults) {
            Choice::Ask(turn) => {
                let steps_with_this = self.own_steps().len() as u32 + u32::from(step.is_none());
                let last = steps_with_this >= self.task.max_steps;
                let attempt = step.map_or(0, |step| step.attempts) + 1;
                Next::Ask(Ask { step: number, attempt, model: turn.model, after: turn.after, is_last_resort: turn.is_last, last })
            }
            Choice::End(code, detail) => Next::End(Ending { output: self.best_output(), ..Ending::failed(code, detail) }),
        }
    }

    /// The model answered without asking for tools, or refused.
    fn answered(&self, step: &Step, contracts: &Contracts) -> Next {
        let Some(reply) = &step.reply else { return self.ask(step.number, contracts) };
        if reply.finish_reason == FinishReason::Refusal && !self.over_budget() {
            let detail = format!("{} will not answer this prompt; change what is asked", reply.model);
            return Next::End(Ending { output: reply.text.clone(), ..Ending::failed(ErrorCode::ModelRefused, detail) });
        }
        let fit = self.fit(contracts, reply.text.as_deref().unwrap_or_default());
        if self.over_budget() {
            return Next::End(Ending { structured: fit.ok().flatten(), ..self.out_of_tokens() });
        }
        match fit {
            Ok(None) if reply.finish_reason == FinishReason::Length => Next::End(self.cut_at_its_length(reply)),
            Ok(None) if reply.text.as_deref().unwrap_or_default().trim().is_empty() => Next::End(self.said_nothing(reply)),
            Ok(structured) => Next::End(Ending { structured, ..Ending::completed(Some(reply.text.clone().unwrap_or_default())) }),
            Err(_) if self.repairs() < REPAIRS && self.steps_left() > 0 => self.ask(step.number + 1, contracts),
            Err(complaint) => {
                let detail = format!("the answer does not fit output_schema, after {} repairs: {complaint}", self.repairs());
                Next::End(Ending { output: reply.text.clone(), ..Ending::failed(ErrorCode::OutputInvalid, detail) })
            }
        }
    }

    /// The end of a run whose answer has no end.
    fn cut_at_its_length(&self, reply: &ModelFinished) -> Ending {
        let told = format!(
            "{} stopped at its output limit, so the answer is not whole; ask for less, or allow more (token_budget, max_output_tokens)",
            reply.model
        );
        let output = reply.text.clone().filter(|text| !text.is_empty()).or_else(|| self.best_output());
        Ending { error: Some(ErrorCode::OutputTruncated), error_detail: Some(told), ..Ending::completed(output) }
    }

    /// The end of a run whose answer has nothing in it.
    fn said_nothing(&self, reply: &ModelFinished) -> Ending {
        let told = format!("{} answered with nothing, twice; ask in other words, or ask another model", reply.model);
        Ending { error: Some(ErrorCode::OutputEmpty), error_detail: Some(told), ..Ending::completed(self.best_output()) }
    }

    /// Whether an answer with nothing in it is asked again: once a step.
    pub fn asks_again(&self, reply: &ModelReply) -> bool {
        let asked_again = self.steps.last().is_some_and(|step| step.faults.iter().any(|fault| fault.fault == FaultKind::Empty));
        reply.is_empty() && !asked_again
    }

    /// The model asked for tools.
    fn called(&self, step: &Step, contracts: &Contracts) -> Next {
        if self.over_budget() {
            return Next::End(self.out_of_tokens());
        }
        let is_own = self.own_steps().iter().any(|own| own.number == step.number);
        if is_own && self.steps_left() == 0 {
            let steps = self.task.max_steps;
            return Next::End(Ending {
                error: Some(ErrorCode::MaxStepsReached),
                error_detail: Some(format!("after {steps} steps the model still asked for tools; allow more max_steps, or ask for less")),
                ..Ending::completed(self.best_output())
            });
        }
        if step.calls.iter().any(|call| call.finished.is_none()) {
            return Next::Call;
        }
        if self.repeats(contracts).most >= REPEATS_END {
            let detail = format!("the model made the same call with the same result {REPEATS_END} times in a row");
            return Next::End(Ending { output: self.best_output(), ..Ending::failed(ErrorCode::RepeatedCalls, detail) });
        }
        self.ask(step.number + 1, contracts)
    }

    /// The structured answer, `None` where no schema asks for one, or what does not fit.
    pub(super) fn fit(&self, contracts: &Contracts, text: &str) -> Result<Option<Value>, String> {
        let Some(schema) = self.output_schema(contracts) else { return Ok(None) };
        let value = answer::parse(text)?;
        // Checked at acceptance or when the agent was read: it compiles.
        Validator::compile(schema)?.check(&value)?;
        Ok(Some(value))
    }

    /// Answers of this run that came without tool calls: each but the last was sent back for repair.
    pub(super) fn repairs(&self) -> u32 {
        let answers = self.own_steps().iter().filter_map(|step| step.reply.as_ref()).filter(|reply| reply.calls.is_empty()).count();
        answers.saturating_sub(1) as u32
    }
}

impl From<(u32, ModelReply, String, Option<f64>)> for ModelFinished {
    fn from((attempt, reply, model, cost_usd): (u32, ModelReply, String, Option<f64>)) -> Self {
        let ModelReply { text, calls, usage, finish_reason, reasoning, model: _ } = reply;
        Self { attempt, text, calls, usage, model, finish_reason, cost_usd, reasoning }
    }
}
