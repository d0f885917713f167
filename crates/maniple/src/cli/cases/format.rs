//! A case as a file writes it: what is asked, what the model says, what tools answer, what is expected.
//!
//! A file holds one case, or several as YAML documents (`---` between them). They are played in order over one
//! store, so cases that name the same session are one conversation.

use crate::{
    files::regular,
    yaml::{self, Problem},
};
use maniple_core::{
    event::ToolStatus,
    model::FaultKind,
    task::{ErrorCode, TaskStatus},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt, path::Path};

/// The most a file of cases may weigh.
const FILE_MAX: u64 = 1 << 20;

/// One case.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows. Default: the file's name, with a number where it holds several.
    #[serde(default)]
    pub name: String,
    /// Who is asked. Needed only where the project has several agents.
    #[serde(default)]
    pub agent: Option<String>,
    /// What is asked.
    pub prompt: String,
    /// The conversation. Default: a new one.
    #[serde(default)]
    pub session: Option<String>,
    /// The caller's facts.
    #[serde(default)]
    pub context: Map<String, Value>,
    /// See the task's field of that name.
    #[serde(default)]
    pub output_schema: Option<Map<String, Value>>,
    /// See the task's field of that name.
    #[serde(default)]
    pub max_steps: Option<i64>,
    /// See the task's field of that name.
    #[serde(default)]
    pub token_budget: Option<i64>,
    /// What the model says, call by call. All of it must be said.
    pub model: Vec<Line>,
    /// What tools answer, call by call. A tool without answers is called for real, if it needs no network.
    #[serde(default)]
    pub tools: BTreeMap<String, Vec<ToolAnswer>>,
    /// What must come of it.
    #[serde(default)]
    pub expect: Expect,
}

/// What the model does with one call.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Line {
    /// Its words.
    pub say: Option<String>,
    /// The tools it asks for.
    pub call: Calls,
    /// It does not answer, like this.
    pub fault: Option<FaultKind>,
}

/// `{calculator: {expression: "1"}}`, or a list of such where one tool is called twice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calls(pub Vec<(String, Value)>);

/// What a tool answers: any value, or `{fails: why}`, or `{lost: why}` for an outcome that nobody learns.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Value")]
pub enum ToolAnswer {
    /// It worked.
    Is(Value),
    /// It says that it failed.
    Fails(Value),
    /// It may have happened.
    Lost(String),
}

/// What must come of a case. What is left out is not looked at, but for `status`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// Default `completed`.
    pub status: TaskStatus,
    /// The answer's text.
    pub output: Option<Text>,
    /// The answer as JSON, for a case with `output_schema`.
    pub structured: Option<Value>,
    /// All tool calls, in order.
    pub tool_calls: Option<Vec<ExpectedCall>>,
    /// How many model calls were answered.
    pub steps: Option<u32>,
    /// The error code; `null` for none.
    #[serde(deserialize_with = "said")]
    pub error: Option<Option<ErrorCode>>,
}

impl Default for Expect {
    fn default() -> Self {
        Self { status: TaskStatus::Completed, output: None, structured: None, tool_calls: None, steps: None, error: None }
    }
}

/// What a text must be. Every rule that is there must hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Text {
    /// This, exactly.
    pub equals: Option<String>,
    /// This, somewhere.
    pub contains: Option<String>,
    /// A regular expression that fits somewhere.
    pub matches: Option<String>,
}

/// A tool call that must have been made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedCall {
    /// The tool.
    pub name: String,
    /// Its arguments, exactly. Default: any.
    #[serde(default)]
    pub arguments: Option<Value>,
    /// `ok` (default), `error`, `refused` or `in_doubt`.
    #[serde(default = "ok")]
    pub status: ToolStatus,
}

fn ok() -> ToolStatus {
    ToolStatus::Ok
}

/// The cases of a file, each with a name; or what is wrong with it, and where.
pub fn read(file: &Path) -> Result<Vec<Case>, Problem> {
    let text = regular::text(file, FILE_MAX).map_err(|e| Problem::of_file(file, format!("the file cannot be read: {e}")))?;
    parse(file, &text)
}

fn parse(file: &Path, text: &str) -> Result<Vec<Case>, Problem> {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut cases = Vec::new();
    for (first_line, document) in documents(text) {
        let mut case: Case = yaml::read(file, document, first_line)?;
        if case.model.iter().any(|line| line.say.is_none() && line.call.0.is_empty() && line.fault.is_none()) {
            return Err(Problem::of_field(file, document, first_line, "model", "a line of `model` needs `say`, `call` or `fault`"));
        }
        if case.name.is_empty() {
            case.name = format!("{stem} {}", cases.len() + 1);
        }
        cases.push(case);
    }
    if let [only] = cases.as_mut_slice()
        && only.name == format!("{stem} 1")
    {
        only.name = stem;
    }
    Ok(cases)
}

/// The documents of a file that hold anything, each with the line it begins on.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut first_line, mut at) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_end() == "---" {
            documents.push((first_line, &text[start..at]));
            (start, first_line) = (at + line.len(), number + 2);
        }
        at += line.len();
    }
    documents.push((first_line, &text[start..]));
    let holds_anything = |document: &str| document.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    documents.retain(|(_, document)| holds_anything(document));
    documents
}

impl From<Value> for ToolAnswer {
    fn from(value: Value) -> Self {
        let Value::Object(members) = &value else { return Self::Is(value) };
        match members.iter().next() {
            Some((name, why)) if members.len() == 1 && name == "fails" => Self::Fails(why.clone()),
            Some((name, why)) if members.len() == 1 && name == "lost" => Self::Lost(why.as_str().unwrap_or("lost").to_owned()),
            _ => Self::Is(value),
        }
    }
}

/// A field that is there, null included.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<ErrorCode>>, D::Error> {
    Option::<ErrorCode>::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Calls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Calls;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tools with their arguments, such as {clock: {}}, or a list of such")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Calls, A::Error> {
                let mut calls = Vec::new();
                while let Some((name, arguments)) = map.next_entry::<String, Value>()? {
                    calls.push((name, if arguments.is_null() { Value::Object(Map::new()) } else { arguments }));
                }
                Ok(Calls(calls))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Calls, A::Error> {
                let mut calls = Vec::new();
                while let Some(Calls(more)) = seq.next_element::<Calls>()? {
                    calls.extend(more);
                }
                Ok(Calls(calls))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Calls, E> {
                Ok(Calls::default())
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(text: &str) -> Result<Vec<Case>, Problem> {
        parse(Path::new("cases/sums.yaml"), text)
    }

    #[test]
    fn a_file_holds_several_cases_and_names_those_that_have_none() {
        let cases = parsed("# sums\n---\nprompt: a\nmodel: [say: b]\n---\nname: second\nprompt: c\nmodel: [say: d]\n---\n").expect("cases");
        assert_eq!(cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(), ["sums 1", "second"]);
        assert_eq!(cases[0].expect.status, TaskStatus::Completed);
        assert_eq!(parsed("prompt: a\nmodel: [say: b]\n").expect("a case")[0].name, "sums");
    }

    #[test]
    fn calls_keep_their_order_and_one_tool_may_be_called_twice() {
        let calls = |yaml: &str| parsed(&format!("prompt: a\nmodel:\n  - call: {yaml}\n")).expect("a case")[0].model[0].call.0.clone();
        let expected = |names: [&str; 2]| names.map(|name| (name.to_owned(), json!({}))).to_vec();
        assert_eq!(calls("{ weather: {}, clock: }"), expected(["weather", "clock"]));
        assert_eq!(calls("[{ clock: {} }, { clock: {} }]"), expected(["clock", "clock"]));
    }

    #[test]
    fn a_tool_answers_fails_or_is_lost() {
        let answers = "prompt: a\nmodel: [say: b]\ntools: { t: [{ fails: down }, { lost: cut }, { fails: 1, why: 2 }, 7] }";
        let answers = parsed(answers).expect("a case")[0].tools["t"].clone();
        let is = ToolAnswer::Is(json!({ "fails": 1, "why": 2 }));
        assert_eq!(answers, [ToolAnswer::Fails(json!("down")), ToolAnswer::Lost("cut".into()), is, ToolAnswer::Is(json!(7))]);
    }

    #[test]
    fn what_is_not_known_is_named_with_its_line_in_whatever_document() {
        let wrong = parsed("prompt: a\nmodel: [say: b]\n---\nprompt: a\nmodel: [say: b]\nexpect: { outptu: x }\n").expect_err("a typo");
        assert_eq!((wrong.line, wrong.hint.as_deref()), (6, Some("did you mean `output`?")), "{wrong}");
        assert!(parsed("prompt: a\nmodel: [{}]\n").expect_err("an empty line").message.contains("`say`, `call` or `fault`"));
    }
}
