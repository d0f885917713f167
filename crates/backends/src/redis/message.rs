//! What processes tell each other over Redis.
//!
//! | channel | carries | who listens |
//! |---|---|---|
//! | `PREFIX:DATABASE:hints` | [`Hints`]: what happened, for whoever works | every process |
//! | `PREFIX:DATABASE:task:TENANT/ID` | [`Told`]: a task's events and pieces of text | those with a reader of it |
//!
//! Other versions may say more: what is not known is passed over, what cannot be read counts as lost.

use super::Place;
use maniple_core::{
    AgentName, TaskId, TaskKey, Tenant, Time,
    event::StoredEvent,
    ports::{Delta, Live},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{borrow::Cow, sync::Arc};

/// An event that is larger than that, in bytes, its readers find in the journal; so does the reader of a bus in one process.
const EVENT_MAX: usize = 32 << 10;

/// What happened.
#[derive(Serialize, Deserialize, Default)]
pub(super) struct Hints {
    /// Who says it.
    #[serde(rename = "o")]
    pub(super) origin: u64,
    /// Agents that have a ready task.
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ready: Vec<AgentName>,
    /// Tasks with an unread signal.
    #[serde(rename = "s", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) signalled: Vec<(Tenant, TaskId)>,
    /// More than is named: all look for themselves.
    #[serde(rename = "a", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) many: bool,
}

/// What became of a task, in the order in which it did.
#[derive(Serialize, Deserialize)]
pub(super) struct Told {
    #[serde(rename = "o")]
    pub(super) origin: u64,
    #[serde(rename = "l")]
    pub(super) live: Vec<Item>,
}

/// One thing that became of it.
#[derive(Serialize, Deserialize)]
pub(super) enum Item {
    #[serde(rename = "e")]
    Event(Event),
    #[serde(rename = "d")]
    Delta(Delta),
    /// There is more in the journal.
    #[serde(rename = "l")]
    Lagged,
}

/// An event, its data as it was recorded.
#[derive(Serialize, Deserialize)]
pub(super) struct Event {
    seq: u64,
    at: Time,
    step: u32,
    name: String,
    data: Box<RawValue>,
}

impl Item {
    pub(super) fn of(live: &Live) -> Self {
        match live {
            Live::Event(event) if event.weight() <= EVENT_MAX => Self::Event(Event {
                seq: event.seq,
                at: event.at,
                step: event.step,
                name: event.name.clone().into_owned(),
                data: event.data.clone(),
            }),
            Live::Event(_) | Live::Lagged => Self::Lagged,
            Live::Delta(delta) if delta.text.len() <= EVENT_MAX => Self::Delta(delta.clone()),
            Live::Delta(_) => Self::Lagged,
        }
    }
    pub(super) fn live(self) -> Live {
        match self {
            Self::Event(Event { seq, at, step, name, data }) => {
                Live::Event(Arc::new(StoredEvent { seq, at, step, name: Cow::Owned(name), data, made: None }))
            }
            Self::Delta(delta) => Live::Delta(delta),
            Self::Lagged => Live::Lagged,
        }
    }
    /// What it comes to on the wire, in bytes, nearly.
    pub(super) fn bytes(&self) -> usize {
        const AROUND: usize = 64;
        AROUND
            + match self {
                Self::Event(event) => event.name.len() + event.data.get().len(),
                Self::Delta(delta) => delta.text.len(),
                Self::Lagged => 0,
            }
    }
    pub(super) fn is_delta(&self) -> bool {
        matches!(self, Self::Delta(_))
    }
}

/// The names of the channels.
pub(super) struct Channels {
    pub(super) hints: String,
    task: String,
}

impl Channels {
    pub(super) fn of(place: &Place) -> Self {
        Self { hints: place.name("hints"), task: place.name("task:") }
    }
    pub(super) fn task(&self, key: &TaskKey) -> String {
        format!("{}{}/{}", self.task, key.tenant, key.id)
    }
    /// Which task a channel is of.
    pub(super) fn key(&self, channel: &str) -> Option<TaskKey> {
        let (tenant, id) = channel.strip_prefix(&self.task)?.split_once('/')?;
        Some(TaskKey { tenant: Tenant::parse(tenant).ok()?, id: TaskId::parse(id).ok()? })
    }
}
