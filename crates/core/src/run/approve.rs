//! What a person is asked about a call, and what the answer means for it.
//!
//! | question | approved | denied | nobody in time |
//! |---|---|---|---|
//! | may the call be made? | it is started, if it is exactly what was shown, and goes the way that was shown | refused, with the reason | refused |
//! | did it happen? | it did: `ok` | it did not: `error`, and the doubt is lifted | in doubt |

use super::{Call, Run, Terms, calls};
use crate::{
    Error, Result, Time,
    agent::Contracts,
    canonical,
    event::{Answer, ApprovalDecided, ApprovalRequested, Event, Question, ToolFinished, ToolStarted, ToolStatus},
    signal::Signal,
    tool::{OnInDoubt, ToolDefinition},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// One question about a call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Inquiry {
    pub(super) asked: ApprovalRequested,
    pub(super) answer: Option<ApprovalDecided>,
}

/// What an unstarted call that needs an agreement may do.
pub(super) enum Leave {
    /// Be made.
    Given,
    /// Ask first.
    Ask(Box<ApprovalRequested>),
    /// Nothing any more.
    Refused(String),
}

impl Call {
    /// The question that waits for its answer.
    pub(super) fn open_inquiry(&self) -> Option<&ApprovalRequested> {
        let unanswered = |inquiry: &&Inquiry| inquiry.answer.is_none();
        let open = [&self.approval, &self.doubt].into_iter().flatten().find(unanswered);
        open.filter(|_| self.finished.is_none()).map(|inquiry| &inquiry.asked)
    }

    /// What the answer to "did it happen?" makes of it.
    pub(super) fn settled(&self) -> Option<ToolFinished> {
        let (started, answer) = (self.started.as_ref()?, self.doubt.as_ref()?.answer.as_ref()?);
        let finished = |status, result| ToolFinished { index: started.index, name: started.name.clone(), status, result };
        let told = |otherwise: &str| answer.reason.clone().unwrap_or_else(|| otherwise.to_owned());
        Some(match answer.answer {
            Answer::Approved => {
                let note = told("a person says that this call happened; its result is not known");
                finished(ToolStatus::Ok, json!({ "confirmed_by": answer.by, "note": note }))
            }
            Answer::Denied => {
                let why = answer.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                let text = format!("a person says that this call did not happen{why}. It may be made anew.");
                finished(ToolStatus::Error, Value::String(text))
            }
            Answer::Expired => Run::in_doubt(started),
        })
    }

    pub(super) fn inquired(&mut self, request: &ApprovalRequested) {
        let inquiry = Some(Inquiry { asked: request.clone(), answer: None });
        match request.question {
            Question::MayCall => self.approval = inquiry,
            Question::DidHappen => self.doubt = inquiry,
        }
    }

    pub(super) fn answered(&mut self, decided: &ApprovalDecided) -> Result<()> {
        let inquiries = [&mut self.approval, &mut self.doubt].into_iter().flatten();
        let inquiry = inquiries.into_iter().find(|inquiry| inquiry.asked.id == decided.id);
        let inquiry = inquiry.ok_or_else(|| Error::internal(format!("`{}` is decided and was never asked", decided.id)))?;
        inquiry.answer = Some(decided.clone());
        Ok(())
    }
}

/// The data of an approval signal.
#[derive(Deserialize)]
struct Told {
    id: String,
    approve: bool,
    by: String,
    #[serde(default)]
    reason: Option<String>,
}

impl Run {
    /// What a person's decision means for the journal; nothing where no question of this step waits for it.
    pub(super) fn decided(&self, signal: &Signal) -> Option<ApprovalDecided> {
        let told = Told::deserialize(&signal.data).ok()?;
        let open = self.steps.last()?.calls.iter().filter_map(Call::open_inquiry).find(|asked| asked.id == told.id)?;
        let answer = if told.approve { Answer::Approved } else { Answer::Denied };
        Some(ApprovalDecided { id: told.id, index: open.index, answer, by: Some(told.by), reason: told.reason })
    }

    /// Whether a checked call of a tool that needs an agreement may be made.
    pub(super) fn leave(&self, call: &Call, started: &ToolStarted, tool: &ToolDefinition, step: u32, terms: &Terms) -> Leave {
        let request = self.request(Question::MayCall, started, tool.contract_hash(), step, terms);
        let Some(Inquiry { asked, answer: Some(answer) }) = &call.approval else { return Leave::Ask(Box::new(request)) };
        let why = || answer.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        match answer.answer {
            Answer::Approved if is_what_was_shown(asked, &request) => Leave::Given,
            Answer::Approved => Leave::Refused("what a person agreed to is not what would be called now, so the call was not made".into()),
            Answer::Denied => Leave::Refused(format!("a person refused this call{}", why())),
            Answer::Expired => Leave::Refused("nobody agreed to this call in time, so it was not made".into()),
        }
    }

    /// What is recorded of a call of which nobody knows how it went: the doubt, or the question to a person.
    pub fn doubt(&self, started: &ToolStarted, contracts: &Contracts, terms: &Terms) -> Event {
        let tool = contracts.tool(&started.name).map(|(tool, _)| tool).filter(|tool| tool.on_in_doubt == OnInDoubt::Ask);
        match tool {
            Some(tool) => {
                let request = self.request(Question::DidHappen, started, tool.contract_hash(), self.step_number(), terms);
                Event::ApprovalRequested(request)
            }
            None => Event::ToolFinished(Self::in_doubt(started)),
        }
    }

    fn request(&self, question: Question, started: &ToolStarted, contract: String, step: u32, terms: &Terms) -> ApprovalRequested {
        let suffix = match question {
            Question::MayCall => "",
            Question::DidHappen => ":doubt",
        };
        let open_until = terms.now.plus(terms.approval_expires);
        ApprovalRequested {
            id: format!("{}:{step}:{}{suffix}", self.task.id, started.index),
            index: started.index,
            question,
            tool: started.name.clone(),
            version: started.version.clone(),
            contract,
            way: started.way.clone(),
            // To the last digit: two accounts are never one.
            arguments_hash: canonical::hash_bytes(canonical::exact(&started.arguments).as_bytes()),
            arguments: started.arguments.clone(),
            expires_at: self.deadline().map_or(open_until, |deadline| deadline.min(open_until)),
        }
    }
}

fn is_what_was_shown(shown: &ApprovalRequested, now: &ApprovalRequested) -> bool {
    let binding = |request: &ApprovalRequested| {
        (request.tool.clone(), request.version.clone(), request.contract.clone(), request.arguments_hash.clone())
    };
    // What was asked before ways were recorded was asked about the definitions that the run began with, and so is this.
    let is_same_way = shown.way.is_none() || shown.way == now.way;
    binding(shown) == binding(now) && is_same_way
}

/// The request was not decided in time.
pub(super) fn expired(asked: &ApprovalRequested, now: Time) -> Option<ApprovalDecided> {
    let decided = || ApprovalDecided { id: asked.id.clone(), index: asked.index, answer: Answer::Expired, by: None, reason: None };
    (asked.expires_at <= now).then(decided)
}

/// What makes a call that may have happened the very same as another.
pub(super) fn doubtful(call: &Call) -> Option<(String, String)> {
    let started = call.started.as_ref().filter(|started| started.effect == crate::tool::Effect::AtMostOnce)?;
    let open = call.finished.is_none() && (call.interrupted || call.doubt.is_some());
    open.then(|| calls::itself(&started.name, &started.arguments))
}
