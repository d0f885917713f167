//! `agents/NAME.md`: YAML between two lines of `---`, and a body that is the system prompt.

use super::template;
use crate::yaml::{self, Problem};
use maniple_core::{
    AgentName,
    agent::{AgentDefinition, AgentLimits, Example, Memory, Publishes},
    model::{Effort, ModelName, ModelOptions},
    schema::Validator,
    task::TaskLimits,
    tool::ToolWish,
};
use semver::Version;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrontMatter {
    description: String,
    version: Version,
    /// Absent: the node's own.
    model: Option<String>,
    #[serde(default)]
    fallbacks: Vec<String>,
    #[serde(default)]
    tools: Vec<String>,
    #[serde(default)]
    limits: AgentLimits,
    temperature: Option<f64>,
    top_p: Option<f64>,
    seed: Option<i64>,
    stop: Option<Value>,
    reasoning: Option<Value>,
    max_output_tokens: Option<u32>,
    #[serde(default)]
    extra: Map<String, Value>,
    #[serde(default)]
    memory: Memory,
    #[serde(default)]
    output_schema: Option<Value>,
    #[serde(default)]
    examples: Vec<Example>,
    /// What of its tasks goes to Kafka.
    #[serde(default)]
    publish: Publishes,
}

/// Reads an agent, or tells everything that is wrong with it.
pub(super) fn read(file: &Path, text: &str, ceilings: &TaskLimits, default_model: &ModelName) -> Result<AgentDefinition, Vec<Problem>> {
    let (front, body, body_line) = split(file, text).map_err(|problem| vec![problem])?;
    let matter: FrontMatter = yaml::read(file, front, 2).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let mut wrong = |field: &str, message: String| problems.push(Problem::of_field(file, front, 2, field, message));

    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let name = AgentName::parse(stem).map_err(|e| wrong("name", format!("the file's name is the agent's: {e}"))).ok();
    let model = match &matter.model {
        Some(text) => ModelName::parse(text).map_err(|e| wrong("model", e.to_string())).ok(),
        None => Some(default_model.clone()),
    };
    let mut fallbacks = Vec::new();
    for text in &matter.fallbacks {
        ModelName::parse(text).map_or_else(|e| wrong("fallbacks", e.to_string()), |name| fallbacks.push(name));
    }
    let mut tools: Vec<ToolWish> = Vec::new();
    for text in &matter.tools {
        match ToolWish::parse(text) {
            Ok(wish) if tools.iter().any(|other| other.name == wish.name) => {
                wrong("tools", format!("tool `{}` is listed twice", wish.name))
            }
            Ok(wish) => tools.push(wish),
            Err(error) => wrong("tools", error.to_string()),
        }
    }
    if matter.description.trim().is_empty() {
        wrong("description", "description must say what the agent is for".into());
    }
    if let Some(Err(error)) = matter.limits.max_steps.map(|n| ceilings.steps(Some(n.into()))) {
        wrong("limits", format!("limits.{error}"));
    }
    if let Some(Err(error)) = matter.limits.token_budget.map(|n| ceilings.tokens(Some(n as i64))) {
        wrong("limits", format!("limits.{error}"));
    }
    if let Some(Err(error)) = matter.output_schema.as_ref().map(Validator::compile) {
        wrong("output_schema", format!("output_schema: {error}"));
    }
    let options = options(&matter, &mut wrong);
    problems.extend(template::problems(file, body, body_line));
    match (name, model) {
        (Some(name), Some(model)) if problems.is_empty() => Ok(AgentDefinition {
            name,
            model,
            fallbacks,
            tools,
            description: matter.description,
            version: matter.version,
            limits: matter.limits,
            options,
            memory: matter.memory,
            output_schema: matter.output_schema,
            publish: matter.publish,
            examples: matter.examples,
            prompt: body.trim().to_owned(),
        }),
        _ => Err(problems),
    }
}

/// How its model is to speak.
fn options(matter: &FrontMatter, wrong: &mut impl FnMut(&str, String)) -> ModelOptions {
    let stop = match &matter.stop {
        None => Vec::new(),
        Some(stop) => OneOrMore::deserialize(stop).map(OneOrMore::into_list).unwrap_or_else(|_| {
            wrong("stop", "stop must be a text or a list of texts".into());
            Vec::new()
        }),
    };
    // `reasoning: high`, or `reasoning: { effort: high }` as some providers write it.
    let effort = matter.reasoning.as_ref().map(|said| said.get("effort").unwrap_or(said));
    let reasoning = effort.and_then(|effort| {
        let read = Effort::deserialize(effort);
        read.map_err(|_| wrong("reasoning", format!("reasoning must be none, minimal, low, medium or high, not {effort}"))).ok()
    });
    let options = ModelOptions {
        temperature: matter.temperature,
        top_p: matter.top_p,
        seed: matter.seed,
        stop,
        reasoning,
        max_output_tokens: matter.max_output_tokens,
        extra: matter.extra.clone(),
    };
    for problem in options.problems() {
        wrong(problem.field.as_deref().unwrap_or_default(), problem.message.to_string());
    }
    options
}

/// A text, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn into_list(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::More(more) => more,
        }
    }
}

/// Front matter, body, and the line on which the body begins.
fn split<'a>(file: &Path, text: &'a str) -> Result<(&'a str, &'a str, usize), Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let missing = || {
        Problem {
            line: 1,
            column: 1,
            source_line: text.lines().next().unwrap_or_default().to_owned(),
            ..Problem::of_file(file, "an agent file begins with front matter: YAML between two lines of ---")
        }
        .hint("---\ndescription: What it is for.\nversion: 1.0.0\n---\nYou are …")
    };
    let rest = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n")).ok_or_else(missing)?;
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            let front = &rest[..at];
            return Ok((front, &rest[at + line.len()..], front.lines().count() + 3));
        }
        at += line.len();
    }
    let last = text.lines().count();
    let message = "the front matter has no end: a line of --- must follow it, and then the prompt";
    let source_line = text.lines().last().unwrap_or_default().to_owned();
    Err(Problem { line: last, column: 1, source_line, ..Problem::of_file(file, message) }.hint("---\nYou are …"))
}
