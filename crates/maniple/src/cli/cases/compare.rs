//! What was expected against what came: every difference, in words.

use super::{
    format::{Expect, ExpectedCall, Text},
    play::{MadeCall, Played},
};
use crate::cli::screen;
use maniple_core::{schema, task::ErrorCode};
use serde::Serialize;
use serde_json::json;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Of what.
    pub what: &'static str,
    /// What the case says.
    pub expected: String,
    /// What came.
    pub got: String,
}

/// Every difference; none for a case that passes.
pub fn differences(expect: &Expect, played: &Played) -> Vec<Difference> {
    let result = &played.result;
    let mut found = Vec::new();
    let mut differ = |what, expected: String, got: String| found.push(Difference { what, expected, got });
    let error = result.error.map_or("none", ErrorCode::as_str);
    if result.status != expect.status {
        let detail = result.error_detail.iter().map(|detail| format!(": {detail}")).collect::<String>();
        let why = if result.error.is_some() { format!(" ({error}{detail})") } else { String::new() };
        differ("status", expect.status.as_str().to_owned(), format!("{}{why}", result.status.as_str()));
    }
    if let Some(expected) = expect.error
        && expected != result.error
    {
        differ("error", expected.map_or("none", ErrorCode::as_str).to_owned(), error.to_owned());
    }
    if let Some(text) = &expect.output {
        let output = result.output.as_deref().unwrap_or_default();
        broken(text, output).into_iter().for_each(|expected| differ("output", expected, quoted(output)));
    }
    if let Some(structured) = &expect.structured
        && Some(structured) != result.structured.as_ref()
    {
        differ("structured", structured.to_string(), result.structured.as_ref().map_or_else(|| "none".into(), ToString::to_string));
    }
    if let Some(steps) = expect.steps
        && steps != result.steps_used
    {
        differ("steps", steps.to_string(), result.steps_used.to_string());
    }
    if let Some(expected) = &expect.tool_calls {
        for number in 0..expected.len().max(played.calls.len()) {
            let (expected, made) = (expected.get(number), played.calls.get(number));
            if !expected.zip(made).is_some_and(|(expected, made)| fits(expected, made)) {
                differ("tool call", expected.map_or_else(|| "no further call".into(), wanted), made.map_or_else(|| "none".into(), shown));
            }
        }
    }
    played.complaints.iter().for_each(|complaint| differ("case", "all of it to be used, and nothing else".into(), complaint.clone()));
    found
}

/// The rules a text breaks.
fn broken(rules: &Text, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if let Some(whole) = &rules.equals
        && whole != text
    {
        broken.push(quoted(whole));
    }
    if let Some(part) = &rules.contains
        && !text.contains(part.as_str())
    {
        broken.push(format!("contains {}", quoted(part)));
    }
    if let Some(pattern) = &rules.matches {
        // The linear-time expressions of our schemas: no second dialect in a project.
        match schema::Validator::compile(&json!({ "pattern": pattern })) {
            Ok(validator) if validator.check(&json!(text)).is_ok() => {}
            Ok(_) => broken.push(format!("matches {pattern}")),
            Err(why) => broken.push(format!("matches {pattern}, which is no regular expression: {why}")),
        }
    }
    broken
}

fn fits(expected: &ExpectedCall, made: &MadeCall) -> bool {
    expected.name == made.name
        && expected.status == made.status
        && expected.arguments.as_ref().is_none_or(|arguments| *arguments == made.arguments)
}
fn wanted(call: &ExpectedCall) -> String {
    let arguments = call.arguments.as_ref().map_or_else(|| "(any arguments)".into(), ToString::to_string);
    format!("{} {arguments} {}", call.name, call.status.as_str())
}
fn shown(call: &MadeCall) -> String {
    format!("{} {} {}", call.name, call.arguments, call.status.as_str())
}
fn quoted(text: &str) -> String {
    format!("\"{}\"", screen::one_line(text, 400))
}

#[cfg(test)]
mod tests {
    use super::*;
    use maniple_core::{event::ToolStatus, task::TaskStatus};
    use serde_json::Value;

    fn played() -> Played {
        let result = json!({ "task_id": "t", "status": "completed", "output": "It is noon.", "steps_used": 2, "tokens_used": 30, "tool_calls": 1,
            "error": null, "duration_ms": 1, "session_id": "s", "agent": "a", "created_at": "2026-01-01T00:00:00Z", "started_at": null,
            "finished_at": null, "error_detail": null, "structured": { "hour": 12 }, "cost_usd": null, "model": "m", "trace_id": null,
            "waiting_for": null, "retry_of": null });
        let call = MadeCall { name: "clock".into(), arguments: json!({ "time_zone": "UTC" }), status: ToolStatus::Ok };
        Played { result: serde_json::from_value(result).expect("a result"), calls: vec![call], complaints: vec![] }
    }
    fn found(expect: Value) -> Vec<(&'static str, String, String)> {
        let expect: Expect = serde_json::from_value(expect).expect("an expectation");
        differences(&expect, &played()).into_iter().map(|d| (d.what, d.expected, d.got)).collect()
    }

    #[test]
    fn what_is_as_expected_differs_in_nothing() {
        let output = json!({ "equals": "It is noon.", "contains": "noon", "matches": "^It.*\\.$" });
        let calls = json!([{ "name": "clock", "arguments": { "time_zone": "UTC" } }]);
        assert_eq!(
            found(
                json!({ "status": "completed", "error": null, "output": output, "tool_calls": calls, "steps": 2, "structured": { "hour": 12 } })
            ),
            []
        );
        assert_eq!(found(json!({})), []);
    }

    #[test]
    fn every_rule_bites() {
        let bites = |expect: Value, what: &str| assert_eq!(found(expect.clone()).first().map(|d| d.0), Some(what), "{expect}");
        bites(json!({ "status": "failed" }), "status");
        bites(json!({ "error": "internal" }), "error");
        bites(json!({ "output": { "equals": "It is noon" } }), "output");
        bites(json!({ "output": { "contains": "midnight" } }), "output");
        bites(json!({ "output": { "matches": "^noon" } }), "output");
        bites(json!({ "output": { "matches": "(" } }), "output");
        bites(json!({ "structured": { "hour": 13 } }), "structured");
        bites(json!({ "steps": 1 }), "steps");
        bites(json!({ "tool_calls": [] }), "tool call");
        bites(json!({ "tool_calls": [{ "name": "calculator" }] }), "tool call");
        bites(json!({ "tool_calls": [{ "name": "clock", "arguments": {} }] }), "tool call");
        bites(json!({ "tool_calls": [{ "name": "clock", "status": "error" }] }), "tool call");
        bites(json!({ "tool_calls": [{ "name": "clock" }, { "name": "clock" }] }), "tool call");
    }

    #[test]
    fn a_failed_task_says_why_where_an_answer_was_expected() {
        let mut failed = played();
        failed.result.status = TaskStatus::Failed;
        failed.result.error = Some(maniple_core::task::ErrorCode::ModelUnavailable);
        failed.result.error_detail = Some("it is down".into());
        failed.complaints = vec!["unused".into()];
        let found = differences(&Expect::default(), &failed);
        assert_eq!(found[0].got, "failed (model_unavailable: it is down)");
        assert_eq!((found.len(), found[1].what), (2, "case"));
    }
}
