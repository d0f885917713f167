//! An outside memory of every side effect that was asked for: it deduplicates nothing and forgets nothing.
//!
//! [`Ledger`] is the memory, [`Server`] an HTTP tool server in front of it, [`Tools`] the same inside a process.

mod server;
mod tools;

pub use server::Server;
pub use tools::Tools;

use maniple_core::{
    canonical,
    tool::{Effect, ToolDefinition},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What a tool does with one call. A call has arrived, and is remembered, in all of these but the last two.
#[derive(Debug, Clone, PartialEq)]
pub enum Mode {
    /// It answers with this.
    Ok(Value),
    /// A complete answer that is a failure, with this status.
    Fail(u16),
    /// It answers well, after this long.
    Slow(Duration),
    /// It never answers.
    Hang,
    /// The answer breaks off in the middle.
    Reset,
    /// It closes the connection before it has read anything. In a process: the caller cannot know.
    Close,
    /// It cannot be reached: not a byte is written.
    NotSent,
}

/// One call that reached a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// The tool.
    pub tool: String,
    /// The Idempotency-Key it came under.
    pub key: Option<String>,
    /// Its arguments.
    pub arguments: Value,
    /// When, in milliseconds since 1970 by the machine's clock.
    pub at_ms: i64,
    /// An outcome had been recorded under this key before: it must not have come.
    pub too_late: bool,
}

impl Arrival {
    /// What was asked for, whoever sent it and however often: the tool, and the model's `mark` and `place`.
    /// Calls without a mark are told apart by their arguments.
    pub fn action(&self) -> String {
        match (self.arguments.get("mark").and_then(Value::as_str), self.arguments.get("place").and_then(Value::as_str)) {
            (Some(mark), Some(place)) => format!("{} {mark} {place}", self.tool),
            _ => format!("{} {}", self.tool, canonical::text(&self.arguments)),
        }
    }
}

/// The memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    arrivals: Vec<Arrival>,
    recorded: BTreeMap<String, u64>,
    modes: BTreeMap<String, Mode>,
    once: BTreeMap<String, VecDeque<Mode>>,
    /// Keys a probe was told of as "did not, and never will".
    barred: BTreeSet<String>,
}

impl Ledger {
    /// An empty one; every tool answers well.
    pub fn new() -> Self {
        Self::default()
    }
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// From now on `tool` does this.
    pub fn set(&self, tool: &str, mode: Mode) {
        self.memory().modes.insert(tool.to_owned(), mode);
    }
    /// The next calls of `tool` do these, one each; then it does again what was [`Ledger::set`].
    pub fn next(&self, tool: &str, modes: impl IntoIterator<Item = Mode>) {
        self.memory().once.entry(tool.to_owned()).or_default().extend(modes);
    }
    /// Everything that arrived, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.memory().arrivals.clone()
    }
    /// How many calls of `tool` arrived.
    pub fn count(&self, tool: &str) -> usize {
        self.memory().arrivals.iter().filter(|arrival| arrival.tool == tool).count()
    }
    /// An outcome is recorded under this key: what arrives under it from now on is too late.
    pub fn recorded(&self, key: &str) {
        *self.memory().recorded.entry(key.to_owned()).or_default() += 1;
    }

    /// Whether a call under this key arrived. Where it did not, it never will: what comes under it later is turned away.
    pub fn probe(&self, key: &str) -> bool {
        let mut memory = self.memory();
        let arrived = memory.arrivals.iter().any(|arrival| arrival.key.as_deref() == Some(key));
        if !arrived {
            memory.barred.insert(key.to_owned());
        }
        arrived
    }
    fn turns_away(&self, key: &str) -> bool {
        self.memory().barred.contains(key)
    }

    fn mode(&self, tool: &str) -> Mode {
        let mut memory = self.memory();
        let once = memory.once.get_mut(tool).and_then(VecDeque::pop_front);
        once.or_else(|| memory.modes.get(tool).cloned()).unwrap_or_else(|| Mode::Ok(json!({ "tool": tool, "ok": true })))
    }
    fn arrived(&self, tool: &str, key: Option<String>, arguments: Value) {
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let mut memory = self.memory();
        let too_late = key.as_ref().is_some_and(|key| memory.recorded.contains_key(key));
        memory.arrivals.push(Arrival { tool: tool.to_owned(), key, arguments, at_ms, too_late });
    }
}

/// A tool of that name and effect, whose arguments are what [`crate::model::Fickle`] writes.
pub fn definition(name: &str, effect: Effect, endpoint: &str) -> ToolDefinition {
    let parameters = json!({
        "type": "object",
        "properties": { "mark": { "type": "string" }, "place": { "type": "string" }, "nonce": { "type": "integer" } },
        "required": ["mark", "place", "nonce"],
    });
    let definition = json!({
        "name": name, "version": "1.0.0", "description": format!("an {effect} effect that is counted"),
        "parameters": parameters, "endpoint": endpoint, "effect": effect,
    });
    serde_json::from_value(definition).expect("a definition as core reads it")
}
