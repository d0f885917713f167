//! What is sent and answered at `/tools`. Bodies are read strictly: an unknown field is refused and named.

use crate::strict;
use maniple_core::{
    Error, Result,
    ports::{Admission, Idempotency, Probed},
    tool::{LeftOut, Offer, ToolDefinition, ToolVersion, Way},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::time::Duration;
use utoipa::ToSchema;

/// The longest name of a principal that is asked for, in characters.
pub const PRINCIPAL_MAX: usize = 255;
/// The longest time-out that a call may ask for, in ms.
pub const TIMEOUT_MS_MAX: u64 = ToolDefinition::TIMEOUT_MS_MAX;

/// A page of the catalogue: by name, the versions of each highest first. `limit` counts names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ToolPage {
    /// The versions.
    pub tools: Vec<ToolVersion>,
    /// Where the next page begins; null after the last.
    pub next_cursor: Option<String>,
    /// What of the imports is no tool, and why: on the first page, for those who run the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// A page of one tool's versions, highest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VersionPage {
    /// The versions.
    pub versions: Vec<ToolVersion>,
    /// Where the next page begins; null after the last.
    pub next_cursor: Option<String>,
}

/// A tool as the model of an agent is shown it, with its version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GrantedTool {
    /// Its name.
    pub name: String,
    /// The version that a call gets now.
    pub version: String,
    /// What the model reads to know when to call it.
    pub description: String,
    /// JSON Schema of the arguments.
    #[schema(value_type = Object)]
    pub parameters: Value,
}

impl From<&Offer> for GrantedTool {
    fn from(offer: &Offer) -> Self {
        let spec = offer.definition.spec();
        Self { name: spec.name, version: offer.definition.version.to_string(), description: spec.description, parameters: spec.parameters }
    }
}

/// Everything that an agent may use now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GrantedPage {
    /// The tools, in the order of the agent's file.
    pub tools: Vec<GrantedTool>,
    /// Always null: an agent's tools fit one page.
    pub next_cursor: Option<String>,
}

/// What a removal did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// The tool.
    pub name: String,
    /// How many of its versions are forgotten.
    pub versions: u64,
}

/// A call of a tool, or what names one. Leave a field out for its default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CallRequest {
    /// The agent on whose grant it is called.
    pub agent: String,
    /// The arguments; none where the tool takes none.
    #[schema(value_type = Object)]
    pub arguments: Map<String, Value>,
    /// A range, such as `^1.2`; the highest version in it that can be called. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub version: Option<String>,
    /// The hash of the very contract that is meant. No other is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub contract: Option<String>,
    /// On whose behalf, if not the token's tenant. Needs `operator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tenant: Option<String>,
    /// Who asks, where the token's holder asks for others: keys are each principal's own. Without `operator` it is a name within the
    /// token's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub principal: Option<String>,
    /// For `probe`: the key of the direct call that is meant. `invoke` takes it as the header Idempotency-Key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub key: Option<String>,
    /// How long the call may take; never longer than the tool's own `timeout_ms`, which is the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub timeout_ms: Option<u64>,
    /// For runtimes: it is a run's call, and this is what its journal calls it. No record of it is made here. Needs `operator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub run: Option<CallOfRun>,
}

/// What a run's journal calls a call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallOfRun {
    /// Its Idempotency-Key: `{task_id}:{step}:{index}`, with `{tenant}/` before it outside the default tenant.
    pub key: String,
    /// Names this very send: another attempt under the same key has another.
    pub send: String,
    /// Of a call that a person agreed to: the way they agreed to. It is sent no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agreed: Option<Way>,
    /// It was asked for before, and its answer was lost. Nothing is sent: a process that knows of the send answers, every other one
    /// says that it does not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub again: bool,
}
fn is_false(value: &bool) -> bool {
    !value
}

impl CallRequest {
    const FIELDS: [&str; 9] = ["agent", "arguments", "version", "contract", "tenant", "principal", "key", "timeout_ms", "run"];

    /// Reads the types and the bounds; names the field at fault.
    pub fn read(body: &Value) -> Result<Self> {
        let request: Self = strictly(body, &Self::FIELDS)?;
        if request.agent.is_empty() {
            return Err(Error::invalid("agent is missing: name the agent on whose grant the tool is called").at("agent"));
        }
        let run = request.run.as_ref();
        for (field, text) in [("key", request.key.as_ref()), ("run.key", run.map(|run| &run.key)), ("run.send", run.map(|run| &run.send))] {
            let legal =
                |text: &String| (1..=Idempotency::KEY_MAX).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b));
            if text.is_some_and(|text| !legal(text)) {
                return Err(Error::invalid(format!("{field} must be 1 to 255 printable characters of ASCII")).at(field));
            }
        }
        let legal = |name: &String| (1..=PRINCIPAL_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control);
        if request.principal.as_ref().is_some_and(|name| !legal(name)) {
            return Err(Error::invalid("principal must be 1 to 255 characters, none of them a control character").at("principal"));
        }
        if request.timeout_ms.is_some_and(|ms| !(1..=TIMEOUT_MS_MAX).contains(&ms)) {
            return Err(Error::invalid(format!("timeout_ms must be 1 to {TIMEOUT_MS_MAX}")).at("timeout_ms"));
        }
        Ok(request)
    }
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CallAnswer {
    /// What the tool answered, at most 1 MiB of it.
    pub result: Value,
    /// The tool that was called.
    pub tool: String,
    /// Its version.
    pub version: String,
}

/// Whether a call may go now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdmitAnswer {
    /// It may: one of the calls that the tool's `rate_limit` allows the agent in 60 s is this one.
    pub admitted: bool,
    /// Otherwise not before this has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub wait_ms: Option<u64>,
}

impl From<Admission> for AdmitAnswer {
    fn from(admission: Admission) -> Self {
        match admission {
            Admission::Now => Self { admitted: true, wait_ms: None },
            Admission::After(wait) => Self { admitted: false, wait_ms: Some(in_ms(wait)) },
        }
    }
}
impl From<AdmitAnswer> for Admission {
    fn from(answer: AdmitAnswer) -> Self {
        match answer.admitted {
            true => Self::Now,
            false => Self::After(Duration::from_millis(answer.wait_ms.unwrap_or(1_000))),
        }
    }
}

/// Whether a call in doubt happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "probed", rename_all = "snake_case")]
pub enum ProbeAnswer {
    /// It did.
    Happened {
        /// What it answered.
        result: Value,
    },
    /// It did not, and never will.
    DidNot,
    /// Nobody knows.
    Unknown,
}

impl From<Probed> for ProbeAnswer {
    fn from(probed: Probed) -> Self {
        match probed {
            Probed::Happened(result) => Self::Happened { result },
            Probed::DidNot => Self::DidNot,
            Probed::Unknown => Self::Unknown,
        }
    }
}
impl From<ProbeAnswer> for Probed {
    fn from(answer: ProbeAnswer) -> Self {
        match answer {
            ProbeAnswer::Happened { result } => Self::Happened(result),
            ProbeAnswer::DidNot => Self::DidNot,
            ProbeAnswer::Unknown => Self::Unknown,
        }
    }
}

/// What an agent of a runtime asks of a registry elsewhere: some tools, one to call, or without either all that it was granted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResolveRequest {
    /// The agent.
    pub agent: String,
    /// On whose behalf, if not the token's tenant: an agent's tools may differ by tenant. Needs `operator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tenant: Option<String>,
    /// `NAME` or `NAME@RANGE`: the highest version of each that can be called.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tools: Option<Vec<String>>,
    /// `NAME` or `NAME@RANGE`: the one that a call would get, if the agent was granted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub pick: Option<String>,
}

impl ResolveRequest {
    /// Reads the types; names the field at fault.
    pub fn read(body: &Value) -> Result<Self> {
        let request: Self = strictly(body, &["agent", "tenant", "tools", "pick"])?;
        match (&request.tools, &request.pick) {
            (Some(_), Some(_)) => Err(Error::invalid("pick and tools are two questions: send one of them").at("pick")),
            _ => Ok(request),
        }
    }
}

/// Tools as an agent may use them now, in the order in which they were asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResolveAnswer {
    /// The tools. One that nobody serves well now is left out.
    pub offers: Vec<Offer>,
}

/// A wait on the wire: a part of a millisecond is rounded up, since coming back early helps nobody.
pub(super) fn in_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

fn strictly<T: DeserializeOwned>(body: &Value, fields: &[&str]) -> Result<T> {
    let members = strict::members(body, fields)?;
    if let Some((name, _)) = members.iter().find(|(_, value)| value.is_null()) {
        return Err(Error::invalid(format!("{name}: null is no value: leave it out")).at(name.clone()));
    }
    strict::typed(body)
}
