//! What is expected of a store, as it was written down beside it on the day it was made.

use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

#[derive(Deserialize)]
pub struct Manifest {
    /// The bearer token of each principal.
    pub tokens: BTreeMap<String, String>,
    pub tasks: Vec<Task>,
    /// What was asked: asked again, it is not asked anew.
    pub submissions: Vec<Submission>,
    /// What was asked and is erased.
    pub gone: Vec<Submission>,
    pub conversations: Vec<Conversation>,
    /// Those that were decided.
    pub approvals: Vec<Value>,
    pub dead_letters: Vec<String>,
    pub calls: Vec<Call>,
    /// The definition of a tool that had registered itself.
    pub registered: Value,
    /// The definition of a tool that somebody had added.
    pub added: Value,
}

#[derive(Deserialize)]
pub struct Task {
    pub id: String,
    pub r#as: String,
    /// How many events it had.
    pub events: usize,
    /// Over these events as readers are sent them, a line each.
    pub sha256: String,
    /// Of a task that had ended: what it came to.
    pub result: Option<Value>,
    /// Of a task that had not: what it will come to.
    pub then: Option<Then>,
}

#[derive(Deserialize)]
pub struct Then {
    /// What a person has to say to it before.
    pub decide: Option<Decide>,
    pub status: String,
    /// How its tool calls went, all of them.
    pub calls: Vec<String>,
    /// The keys under which calls arrive at tools from now on.
    pub arrivals: Vec<String>,
}

#[derive(Deserialize)]
pub struct Decide {
    pub id: String,
    pub decision: String,
}

#[derive(Deserialize)]
pub struct Submission {
    pub r#as: String,
    pub path: String,
    pub key: Option<String>,
    /// None of a retry.
    pub body: Option<Value>,
    pub task_id: String,
}

#[derive(Deserialize)]
pub struct Conversation {
    pub path: String,
    pub messages: Value,
}

/// A tool call over HTTP, under a key, and the answer to the same call now.
#[derive(Deserialize)]
pub struct Call {
    pub tool: String,
    pub key: String,
    pub body: Value,
    pub status: u16,
    pub result: Option<Value>,
    pub outcome: Option<Value>,
    /// The keys under which it arrives at the tool once more.
    pub arrivals: Vec<String>,
}

impl Manifest {
    pub fn read(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join("manifest.json")).expect("a manifest");
        serde_json::from_str(&text).expect("a manifest")
    }
    /// Whose tasks they are, and their ids, sorted.
    pub fn tasks_of(&self, who: &str) -> Vec<&str> {
        let mut ids: Vec<&str> = self.tasks.iter().filter(|task| task.r#as == who).map(|task| task.id.as_str()).collect();
        ids.sort_unstable();
        ids
    }
    /// Those that had not ended, with what they come to.
    pub fn under_way(&self) -> impl Iterator<Item = (&Task, &Then)> {
        self.tasks.iter().filter_map(|task| Some((task, task.then.as_ref()?)))
    }
}
