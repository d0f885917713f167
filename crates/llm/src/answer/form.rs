//! An answer that is to fit a schema: how a provider is held to it, and where it then stands.

use crate::profile::{Profile, Structured};
use maniple_core::{
    message::ToolCall,
    model::{ModelRequest, ToolChoice},
};
use serde_json::Value;

/// How a request's answer is held to its schema.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Form<'a> {
    /// There is none.
    Free,
    /// The provider does it.
    Native(&'a Value),
    /// It is the arguments of the tool of this name.
    Tool(&'static str, &'a Value),
    /// The model is told.
    Prompted(&'a Value),
}

impl Form<'_> {
    /// What the model is told of it. The run checks and repairs an answer anyway.
    pub fn told(&self) -> Option<String> {
        match self {
            Self::Prompted(schema) => Some(format!(
                "Your final answer must be one JSON value that fits the JSON Schema below, and nothing else: \
                 no words around it, no code fence.\n{schema}"
            )),
            Self::Tool(name, _) => Some(format!("Give your final answer by calling the tool `{name}`, and in no other way.")),
            Self::Free | Self::Native(_) => None,
        }
    }
}

/// The name of the tool whose arguments are the answer, and another for agents that have a tool of that name.
const NAMES: [&str; 2] = ["answer", "final_answer"];

/// What a model is told of it.
pub const PURPOSE: &str = "Gives the final answer. Call it once, alone, when you are done.";

/// Whether the model may call tools of its agent.
pub fn may_call(request: &ModelRequest, profile: &Profile) -> bool {
    request.tool_choice == ToolChoice::Auto && profile.tools && !request.tools.is_empty()
}

/// How this request's answer is held to its schema.
pub fn form<'a>(request: &'a ModelRequest, profile: &Profile) -> Form<'a> {
    let Some(schema) = &request.output_schema else { return Form::Free };
    match profile.structured(may_call(request, profile)) {
        Structured::Native => Form::Native(schema),
        // Arguments are an object.
        Structured::Tool if schema["type"] == "object" => {
            let is_taken = request.tools.iter().any(|tool| tool.name == NAMES[0]);
            Form::Tool(NAMES[usize::from(is_taken)], schema)
        }
        Structured::Tool | Structured::Prompted => Form::Prompted(schema),
    }
}

/// Takes the answer out of the calls, where it stands there.
pub fn answered(request: &ModelRequest, profile: &Profile, calls: &mut Vec<ToolCall>) -> Option<String> {
    let Form::Tool(name, _) = form(request, profile) else { return None };
    let at = calls.iter().position(|call| call.name == name)?;
    let answer = calls.remove(at).arguments;
    calls.retain(|call| call.name != name);
    // With other calls beside it, it was not done.
    calls.is_empty().then_some(answer)
}
