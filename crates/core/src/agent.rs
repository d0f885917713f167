//! An agent: what its file says, and what a run holds on to from its beginning to its end.

use crate::{
    AgentName, Error, Result, canonical,
    message::ToolSpec,
    model::{ModelName, ModelOptions},
    schema::Validator,
    tool::{Offer, ToolDefinition, ToolWish},
};
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::HashMap, sync::Arc};

/// An agent as its file defines it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentDefinition {
    /// The file's name.
    pub name: AgentName,
    /// What it is for.
    pub description: String,
    /// SemVer.
    pub version: Version,
    /// Whom it asks.
    pub model: ModelName,
    /// Whom it asks when that one does not answer, in this order.
    #[serde(default)]
    pub fallbacks: Vec<ModelName>,
    /// What it may call. What is not listed is not granted.
    #[serde(default)]
    pub tools: Vec<ToolWish>,
    /// Its own defaults and lower caps.
    #[serde(default)]
    pub limits: AgentLimits,
    /// How its model is to speak.
    #[serde(default, skip_serializing_if = "ModelOptions::is_usual")]
    pub options: ModelOptions,
    /// How much of the conversation it is shown.
    #[serde(default)]
    pub memory: Memory,
    /// Its answers must fit this schema, unless the task brings its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// What of its tasks is published to Kafka, whatever door they came by.
    #[serde(default, skip_serializing_if = "Publishes::is_nothing")]
    pub publish: Publishes,
    /// Few-shot examples.
    #[serde(default)]
    pub examples: Vec<Example>,
    /// The body: the system prompt, a template.
    pub prompt: String,
}

/// What of an agent's tasks is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Publishes {
    /// The results of tasks that came by Kafka, and nothing else.
    #[default]
    None,
    /// Every result.
    Results,
    /// Every result and every event.
    Steps,
}
impl Publishes {
    fn is_nothing(&self) -> bool {
        *self == Self::None
    }
}

/// An agent's own defaults and caps, within the node's ceilings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentLimits {
    /// Default and cap of a task's `max_steps`.
    pub max_steps: Option<u32>,
    /// Default and cap of a task's `token_budget`, in tokens.
    pub token_budget: Option<u64>,
    /// How long `POST /run` waits before it answers 202, in milliseconds. Default 50 s.
    #[serde(rename = "sync_run", skip_serializing_if = "Option::is_none", with = "milliseconds")]
    pub sync_run_ms: Option<u64>,
    /// How long one model call may take in all, in milliseconds. Default 10 min.
    pub call_max_ms: Option<u64>,
    /// How long a step waits out models that have too much to do, in milliseconds. Default 15 min.
    #[serde(rename = "patience", skip_serializing_if = "Option::is_none", with = "milliseconds")]
    pub patience_ms: Option<u64>,
}

/// How much of the conversation an agent is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Tokens of conversation, examples and steps in one model request. Default 6,000.
    pub window_tokens: u64,
}
impl Default for Memory {
    fn default() -> Self {
        Self { window_tokens: 6_000 }
    }
}

/// One few-shot example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// What was asked.
    pub user: String,
    /// What a good answer is.
    pub assistant: String,
}

/// Agent and tools as a run began with them. Stored by hash until no task needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definitions {
    /// The agent.
    pub agent: AgentDefinition,
    /// Its tools, each at the version it got.
    pub tools: Vec<ToolDefinition>,
    /// Those of them, by name, whose URLs no operator wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untrusted: Vec<String>,
}

impl Definitions {
    /// Of an agent and what it was offered.
    pub fn of(agent: AgentDefinition, offers: Vec<Offer>) -> Self {
        let untrusted = offers.iter().filter(|offer| !offer.trusted).map(|offer| offer.definition.name.clone()).collect();
        Self { agent, tools: offers.into_iter().map(|offer| offer.definition).collect(), untrusted }
    }
    /// Whether an operator wrote the URLs of the tool of that name.
    pub fn trusts(&self, tool: &str) -> bool {
        !self.untrusted.iter().any(|name| name == tool)
    }
    /// The hash under which a store keeps them.
    pub fn hash(&self) -> String {
        canonical::hash(self)
    }
}

/// Definitions with their schemas compiled: what a run decides with.
#[derive(Debug)]
pub struct Contracts {
    /// What it was made of.
    pub definitions: Definitions,
    /// The hash of `definitions`.
    pub hash: String,
    /// As a model is shown them.
    pub specs: Arc<[ToolSpec]>,
    tools: HashMap<String, (Arc<ToolDefinition>, Validator)>,
}

impl Contracts {
    /// Compiles the schemas.
    pub fn compile(definitions: Definitions) -> Result<Self> {
        let mut tools = HashMap::new();
        for tool in &definitions.tools {
            let validator =
                Validator::compile(&tool.parameters).map_err(|e| Error::invalid(format!("tool `{}`: parameters: {e}", tool.name)))?;
            tools.insert(tool.name.clone(), (Arc::new(tool.clone()), validator));
        }
        let specs = definitions.tools.iter().map(ToolDefinition::spec).collect();
        Ok(Self { hash: definitions.hash(), specs, tools, definitions })
    }
    /// The agent.
    pub fn agent(&self) -> &AgentDefinition {
        &self.definitions.agent
    }
    /// A granted tool and the validator of its arguments.
    pub fn tool(&self, name: &str) -> Option<(&Arc<ToolDefinition>, &Validator)> {
        self.tools.get(name).map(|(tool, validator)| (tool, validator))
    }
    /// How many bytes its schemas hold, estimated.
    pub fn weight(&self) -> u64 {
        self.tools.values().map(|(_, validator)| validator.weight()).sum()
    }
    /// The names of the granted tools, for messages.
    pub fn tool_names(&self) -> String {
        self.definitions.tools.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Milliseconds that a file may write as a [`Period`]. What is written here is hashed, so it stays in milliseconds.
mod milliseconds {
    use crate::settings::Period;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(ms: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match ms {
            Some(ms) => serializer.serialize_str(&format!("{ms}ms")),
            None => serializer.serialize_none(),
        }
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        Ok(Option::<Period>::deserialize(deserializer)?.map(Period::as_ms))
    }
}
