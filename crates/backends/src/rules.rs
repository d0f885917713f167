//! What every store decides alike: bounds, the events it writes itself, and the words of its refusals.

pub mod tools;

use maniple_core::{
    AgentName, Error, Result, TaskId, Tenant, Time,
    event::{Answer, ApprovalRequested, Event, StoredEvent},
    ports::{Also, Append, Approval, ApprovalState, Decision, Idempotency, NewTask, Then},
    task::{AgentResult, Ending, ErrorCode, Header, Task},
};
use serde_json::value::RawValue;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// How long a claim holds without renewal.
pub const LEASE: Duration = Duration::from_secs(10);
/// After so many claims in a row that expired without progress a task is poisoned.
pub const BARREN_EXPIRED_MAX: u32 = 3;
/// After so many claims in a row found open at a restart, without progress, a task is poisoned.
pub const BARREN_OPEN_MAX: u32 = 10;
/// How long an Idempotency-Key is remembered.
pub const KEYS_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long the id of a task that is gone stays taken.
pub const IDS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The most tasks one claim hands out.
pub const CLAIM_MAX: usize = 256;
/// The most tasks one sweep moves.
pub const SWEEP_MAX: usize = 256;
/// The most signals of one unfinished task, read ones included.
pub const SIGNALS_MAX: u64 = 1_000;
/// The longest signal id.
pub const SIGNAL_ID_MAX: usize = 128;
/// The most events of one task.
pub const EVENTS_MAX: u64 = (1 << 20) - 1;
/// The most tasks, or events, one read returns.
pub const READ_MAX: usize = 10_000;

/// Those that come until they weigh `max_bytes`; at least one. No more are made than are wanted.
pub fn within<T, E>(
    max_bytes: Option<usize>,
    weight: impl Fn(&T) -> usize,
    items: impl Iterator<Item = Result<T, E>>,
) -> Result<Vec<T>, E> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for item in items {
        let item = item?;
        bytes += weight(&item);
        found.push(item);
        if max_bytes.is_some_and(|most| bytes >= most) {
            break;
        }
    }
    Ok(found)
}

/// An event that has no number yet.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) step: u32,
    pub(crate) name: &'static str,
    pub(crate) data: Box<RawValue>,
}

impl Draft {
    pub(crate) fn of(step: u32, event: &Event) -> Result<Self> {
        Ok(Self { step, name: event.name(), data: event.data()? })
    }
    pub(crate) fn numbered(&self, seq: u64, at: Time) -> StoredEvent {
        StoredEvent { seq, at, step: self.step, name: self.name.into(), data: self.data.clone(), made: None }
    }
    pub(crate) fn is(&self, stored: &StoredEvent) -> bool {
        self.step == stored.step && self.name == stored.name && self.data.get() == stored.data.get()
    }
}

/// The events of an append, checked and written out.
pub(crate) fn drafts(append: &Append) -> Result<Vec<Draft>> {
    if append.events.iter().any(|(_, event)| event.is_final()) {
        return Err(Error::internal("the final event is made by the store: end the task with `Then::End`"));
    }
    let parks = matches!(append.events.last(), Some((_, Event::Parked(_))));
    if matches!(append.then, Then::Park(_)) && !parks {
        return Err(Error::internal("an append that parks must have `run.parked` last"));
    }
    if append.after + append.events.len() as u64 >= EVENTS_MAX {
        return Err(Error::internal(format!("task `{}` has no room for more than {EVENTS_MAX} events", append.claim.key.id)));
    }
    append.events.iter().map(|(step, event)| Draft::of(*step, event)).collect()
}

/// The events of a submission, checked and written out: those of its acceptance, and those under its claim if it is born with one.
pub(crate) fn submitted(new: &NewTask) -> Result<(Vec<Draft>, Vec<Draft>)> {
    let mut accepted = vec![Draft::of(0, &Event::Accepted(new.task.clone()))?];
    if let Some(event) = &new.taken_over {
        accepted.push(Draft::of(0, event)?);
    }
    let born = new.born.as_ref().map_or(&[][..], |born| &born.events);
    let asks = |also: &Also| matches!(also, Also::Ask { .. } | Also::Settle { .. });
    if born.iter().any(|(_, event)| event.is_final()) || new.born.iter().flat_map(|born| &born.also).any(asks) {
        return Err(Error::internal("a task that is born neither ends nor asks: its first answer is still to come"));
    }
    Ok((accepted, born.iter().map(|(step, event)| Draft::of(*step, event)).collect::<Result<_>>()?))
}

/// What of what goes with facts is written as text; nothing for the rest.
pub(crate) fn text(also: &Also) -> Result<String> {
    let text = match also {
        Also::Definitions(kept) => serde_json::to_string(&kept.1),
        Also::Ask { .. } | Also::Settle { .. } => Ok(String::new()),
    };
    text.map_err(|e| Error::internal("what goes with facts cannot be written").because(e))
}

/// The final event of a task that ends at `at`.
pub(crate) fn final_event(header: &Header, ending: &Ending, seq: u64, step: u32, at: Time) -> Result<(StoredEvent, AgentResult)> {
    let result = header.finished(ending, at);
    let event = Draft::of(step, &Event::ended(result.clone()))?.numbered(seq, at);
    Ok((StoredEvent { made: Some(Arc::new(result.clone())), ..event }, result))
}

/// Whether a recorded final event says what this ending says.
pub(crate) fn ends_alike(stored: &StoredEvent, ending: &Ending) -> bool {
    stored.result().is_some_and(|result| {
        result.status == ending.status
            && result.output == ending.output
            && result.error == ending.error
            && result.error_detail == ending.error_detail
            && result.structured == ending.structured
    })
}

pub(crate) fn poisoned_by_expiry() -> Ending {
    Ending::failed(
        ErrorCode::Poisoned,
        format!(
            "its worker died or hung {BARREN_EXPIRED_MAX} times in a row before a model or a tool answered: look at its input and its tools, then requeue it"
        ),
    )
}

pub(crate) fn poisoned_at_open() -> Ending {
    Ending::failed(
        ErrorCode::Poisoned,
        format!(
            "the node died {BARREN_OPEN_MAX} times in a row while it ran, before a model or a tool answered: look at its input and its tools, then requeue it"
        ),
    )
}

pub(crate) fn overdue() -> Ending {
    Ending::failed(
        ErrorCode::DeadlineExceeded,
        "its deadline passed before a worker could begin: give it more time, or the node more workers",
    )
}

pub(crate) fn is_poisoned(ending: &Ending) -> bool {
    ending.error == Some(ErrorCode::Poisoned)
}

/// The task of a journal's first event.
pub(crate) fn accepted(first: Option<&StoredEvent>) -> Result<Task> {
    match first.map(StoredEvent::event).transpose()? {
        Some(Event::Accepted(task)) => Ok(task),
        _ => Err(Error::internal("a journal must begin with task.accepted")),
    }
}

pub(crate) fn no_task(id: &TaskId) -> Error {
    Error::not_found(format!("there is no task `{id}`"))
}
pub(crate) fn other_content(id: &TaskId) -> Error {
    Error::conflict(format!("task `{id}` exists with other content: choose another id")).at("id")
}
pub(crate) fn id_taken(id: &TaskId) -> Error {
    Error::conflict(format!("the id `{id}` belonged to a task that is gone and stays taken for 30 days: choose another")).at("id")
}
pub(crate) fn other_body() -> Error {
    Error::invalid("this Idempotency-Key was used with another body: use a new key for a new request").at("Idempotency-Key")
}
/// Fails where a key was used for something else.
pub(crate) fn same_body(kept: &str, idempotency: &Idempotency) -> Result<()> {
    if kept == idempotency.body_hash { Ok(()) } else { Err(other_body()) }
}
pub(crate) fn gone_with_key() -> Error {
    Error::conflict("the task made under this Idempotency-Key is gone: use a new key to ask again").at("Idempotency-Key")
}
pub(crate) fn session_full(max: u32) -> Error {
    Error::exhausted(format!("{max} tasks wait in this session already: wait for one to end"))
        .at("session_id")
        .after(Duration::from_secs(5))
}
pub(crate) fn node_full(max: u64) -> Error {
    Error::unavailable(format!("{max} tasks are unfinished, which is all this node takes: try again later")).after(Duration::from_secs(5))
}
pub(crate) fn tenant_full(tenant: &Tenant, max: u64) -> Error {
    Error::exhausted(format!("the tenant `{tenant}` has {max} unfinished tasks, which is all it may: wait for some to end, or cancel them"))
        .after(Duration::from_secs(5))
}
pub(crate) fn not_dead(id: &TaskId) -> Error {
    Error::not_found(format!("task `{id}` is not in the dead letters"))
}
pub(crate) fn session_busy() -> Error {
    Error::conflict("the session has an unfinished task: cancel it or wait for its end, then erase")
}
pub(crate) fn no_approval(id: &str) -> Error {
    Error::not_found(format!("there is no approval `{id}`"))
}

/// Whether a decision may be made now: `Ok(true)` where it is new, `Ok(false)` where it was made before.
pub(crate) fn decides(approval: &Approval, decision: &Decision, task_ended: bool) -> Result<bool> {
    let id = &approval.request.id;
    match (approval.state, &approval.decision) {
        (_, Some(made)) if made == decision => Ok(false),
        (state, Some(made)) => Err(Error::conflict(format!("approval `{id}` was {} by {} already", state.as_str(), made.by))),
        _ if task_ended => Err(Error::conflict(format!("approval `{id}` comes too late: task `{}` has ended", approval.key.id))),
        (ApprovalState::Open, None) => Ok(true),
        (ApprovalState::Approved | ApprovalState::Denied | ApprovalState::Expired, None) => {
            let at = approval.request.expires_at;
            Err(Error::conflict(format!("approval `{id}` expired at {at}: the run went on without it")))
        }
    }
}

/// The requests of which an append says that nobody decided in time.
pub(crate) fn expired(also: &[Also]) -> impl Iterator<Item = &str> {
    also.iter().filter_map(|also| match also {
        Also::Settle { id, answer: Answer::Expired } => Some(id.as_str()),
        Also::Settle { answer: Answer::Approved | Answer::Denied, .. } | Also::Definitions(_) | Also::Ask { .. } => None,
    })
}

/// The request at a place of an append.
pub(crate) fn asked(append: &Append, event: usize) -> Result<&ApprovalRequested> {
    match append.events.get(event) {
        Some((_, Event::ApprovalRequested(request))) => Ok(request),
        _ => Err(Error::internal("an append that asks must name the place of its `approval.requested`")),
    }
}

/// A request nobody decided is expired from its moment on, folded in or not.
pub(crate) fn state_at(recorded: ApprovalState, expires_at: Time, now: Time) -> ApprovalState {
    if recorded == ApprovalState::Open && expires_at <= now { ApprovalState::Expired } else { recorded }
}

pub(crate) fn inbox_full(id: &TaskId) -> Error {
    Error::exhausted(format!("task `{id}` has had {SIGNALS_MAX} signals: no more are taken"))
}
pub(crate) fn signal_id_wrong() -> Error {
    Error::invalid(format!("a signal's id must be 1 to {SIGNAL_ID_MAX} characters")).at("id")
}

/// Checks what a sender chose.
pub(crate) fn check_signal_id(id: &str) -> Result<()> {
    let legal = !id.is_empty() && id.chars().count() <= SIGNAL_ID_MAX;
    if legal { Ok(()) } else { Err(signal_id_wrong()) }
}

/// Whose turn it is: the next name after the one served last, around and around.
///
/// Turns are kept apart for each set of agents, so that being served by one worker never costs a tenant its
/// turn at another. Priorities order a tenant's own tasks: they never come before another tenant's turn.
#[derive(Debug, Default)]
pub(crate) struct Turns(HashMap<Vec<AgentName>, Tenant>);

/// How many queues are remembered; beyond, all begin anew, which is fair too.
const TURNS_MAX: usize = 1_024;

impl Turns {
    pub(crate) fn last(&self, agents: &[AgentName]) -> Option<&Tenant> {
        self.0.get(agents)
    }
    pub(crate) fn served(&mut self, agents: &[AgentName], tenant: Tenant) {
        if self.0.len() >= TURNS_MAX {
            self.0.clear();
        }
        self.0.insert(agents.to_vec(), tenant);
    }
}

/// The agents of a claim, each once and in one order.
pub(crate) fn agents_of(agents: &[AgentName]) -> Vec<AgentName> {
    let mut agents = agents.to_vec();
    agents.sort_unstable();
    agents.dedup();
    agents
}
