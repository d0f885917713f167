//! Facts that reach a run from outside.

use crate::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A fact for the holder of a task's claim to fold into the journal. Durable; the same id twice is once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Chosen by the sender so that sending twice is harmless; unique in its task, at most 128 characters.
    pub id: String,
    /// What happened.
    pub kind: SignalKind,
    /// What goes with it.
    #[serde(default)]
    pub data: Value,
    /// When the store took it. Given by the store.
    #[serde(default)]
    pub at: Time,
}

/// The sorts of signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalKind {
    /// Somebody asked the run to stop.
    Cancel,
    /// The moment a parked run waited for has come. Written by the store's sweep.
    Timer,
    /// A person decided over a call.
    Approval,
    /// A person answered the run's question.
    Input,
    /// A child task ended.
    Child,
}

impl SignalKind {
    /// The name in storage and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Timer => "timer",
            Self::Approval => "approval",
            Self::Input => "input",
            Self::Child => "child",
        }
    }
    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Cancel, Self::Timer, Self::Approval, Self::Input, Self::Child].into_iter().find(|kind| kind.as_str() == text)
    }
}
