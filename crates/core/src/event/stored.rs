//! An event as it was recorded, and as readers are sent it.

use super::{Event, EventKind};
use crate::{Result, TaskId, Time, task::AgentResult};
use serde::Serialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, sync::Arc};

/// A recorded event, its data as the JSON text that was stored, so that readers need not parse it.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// 1, 2, 3 … without gaps.
    pub seq: u64,
    /// When it was recorded, by the store's clock.
    pub at: Time,
    /// The step it belongs to; 0 before the first.
    pub step: u32,
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its data as JSON text.
    pub data: Box<RawValue>,
    /// The result of a final event that was made in this process: who waits for it need not read it back.
    pub made: Option<Arc<AgentResult>>,
}

/// What stands behind the data of an event as readers are sent it.
pub const FRAME_TAIL: &str = "}";

/// What readers are sent for one event, by whatever door, before its data.
#[derive(Serialize)]
struct Frame<'a> {
    id: u64,
    r#type: &'a str,
    task_id: &'a TaskId,
    at: Time,
    step: u32,
}

impl StoredEvent {
    /// Which it is, where this build knows its name.
    pub fn kind(&self) -> Option<EventKind> {
        EventKind::named(&self.name)
    }
    /// The event. Fails on one this build does not know.
    pub fn event(&self) -> Result<Event> {
        Event::read(&self.name, self.data.get())
    }
    /// The event as its readers are shown it: without what providers want back, and with what models thought only if `reasoning`.
    /// The same one where that is nothing.
    pub fn shown(self: Arc<Self>, reasoning: bool) -> Arc<Self> {
        const MAY_HOLD: [&str; 2] = ["\"reasoning\":", "\"extra\":"];
        let is_one = matches!(self.kind(), Some(EventKind::ModelFinished | EventKind::TakenOver));
        if !is_one || !MAY_HOLD.iter().any(|member| self.data.get().contains(member)) {
            return self;
        }
        let mut event = match self.event() {
            Ok(event) => event,
            // What this build cannot read it does not show either: a provider's secret may stand there.
            Err(_) => return Arc::new(Self { data: RawValue::NULL.to_owned(), ..(*self).clone() }),
        };
        match &mut event {
            Event::ModelFinished(reply) => reply.show(reasoning),
            Event::TakenOver(taken) => taken.steps.iter_mut().for_each(|step| step.reply.show(reasoning)),
            _ => {}
        }
        event.data().map_or(self.clone(), |data| Arc::new(Self { data, ..(*self).clone() }))
    }
    /// `{id, type, task_id, at, step, data}` as JSON text.
    pub fn frame(&self, task_id: &TaskId) -> String {
        [&self.frame_head(task_id), self.data.get(), FRAME_TAIL].concat()
    }
    /// What stands before the data in [`Self::frame`]; [`FRAME_TAIL`] stands behind it. So that a large one need not be copied whole.
    pub fn frame_head(&self, task_id: &TaskId) -> String {
        let frame = Frame { id: self.seq, r#type: &self.name, task_id, at: self.at, step: self.step };
        let mut head = serde_json::to_string(&frame).unwrap_or_default();
        head.pop();
        head + ",\"data\":"
    }
    /// What it weighs in memory, in bytes, nearly: what pages and queues of events are bounded by.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.data.get().len()
    }
    /// Whether nothing follows it.
    pub fn is_final(&self) -> bool {
        self.kind().is_some_and(EventKind::is_final)
    }
    /// The result in a final event.
    pub fn result(&self) -> Option<AgentResult> {
        match &self.made {
            Some(result) => Some((**result).clone()),
            None => self.is_final().then(|| serde_json::from_str(self.data.get()).ok()).flatten(),
        }
    }
}
