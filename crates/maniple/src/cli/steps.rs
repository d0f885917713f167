//! What a run does, told as it happens: events and deltas in, text for a person out. No I/O.
//!
//! | event | told |
//! |---|---|
//! | `task.accepted` | which task, agent and session |
//! | `model.started` | the step and its model; a later attempt says that it is one |
//! | `delta` | the model's text as it comes |
//! | `model.finished` | what of its text was not yet told; tokens and time |
//! | `tool.started`, `tool.finished` | arguments; outcome, time and result |
//! | the last one | status, error with what to do, and what it took |
//!
//! Where the answer goes elsewhere, into a pipe, text is told once it is known not to be that.

use super::screen::{clean, count, duration, one_line};
use maniple_api::event::{DELTA, TaskEvent};
use maniple_core::{
    Time,
    event::{EventKind, ToolStatus},
    message::Usage,
    task::{AgentResult, TaskStatus},
};
use owo_colors::OwoColorize;
use serde_json::Value;
use std::{collections::HashMap, time::Duration};

/// The most of arguments and results that is told, in characters.
const VALUE_MAX: usize = 200;

/// A teller of one task. Feed it every event once, in order, and the deltas as they come.
#[derive(Default)]
pub struct Steps {
    /// Of a conversation: text, calls and what goes wrong, without the frame around them.
    brief: bool,
    step: u32,
    attempt: u64,
    asked_at: Option<Time>,
    /// The text of this attempt that was told.
    told: String,
    mid_line: bool,
    calls: usize,
    /// The arguments of each, as the model wrote them.
    asked_for: Vec<String>,
    called_at: HashMap<u64, Time>,
    /// The whole text of the last answer.
    last: Option<String>,
    /// The answer is read elsewhere: it is not told here.
    answer_apart: bool,
    /// The text of a step that called nothing, as long as it may be the answer that is read elsewhere.
    held: String,
}

impl Steps {
    /// Tells text, calls and what goes wrong: for a conversation, whose frame its reader knows.
    pub fn brief() -> Self {
        Self { brief: true, ..Self::default() }
    }

    /// The same without the answer, where it goes elsewhere: of texts only those are told that turn out to be none.
    pub fn without_answer(self, answer_apart: bool) -> Self {
        Self { answer_apart, ..self }
    }

    /// What to tell of an event; often nothing.
    pub fn tell(&mut self, event: &TaskEvent) -> String {
        let data = &event.data;
        if event.kind == DELTA {
            return self.delta(data, event.text().unwrap_or_default());
        }
        let Some(kind) = EventKind::named(&event.kind) else { return String::new() };
        match kind {
            EventKind::Accepted | EventKind::TakenOver if self.brief => String::new(),
            EventKind::Accepted => accepted(data),
            EventKind::TakenOver => self.line(format!("{}", taken_over(data).dimmed())),
            EventKind::ModelStarted => self.asked(event),
            EventKind::ModelFailed => {
                let (fault, message) = (text(data, "fault"), one_line(text(data, "message"), 4 * VALUE_MAX));
                self.line(format!("  {} {message}", format!("attempt {} failed ({fault}):", number(data, "attempt")).yellow()))
            }
            EventKind::ModelFinished => self.answered(event),
            EventKind::ToolStarted => {
                self.called_at.insert(number(data, "index"), event.at.unwrap_or_default());
                let arguments = one_line(&data["arguments"].to_string(), VALUE_MAX);
                self.line(format!("  {} {} {}", "→".cyan(), self.tool(data).cyan(), arguments.dimmed()))
            }
            EventKind::ToolFinished => {
                let line = self.returned(event);
                self.line(line)
            }
            EventKind::ApprovalRequested => {
                let asked = self.asks(data);
                self.line(asked)
            }
            EventKind::ApprovalDecided => {
                let by = data["by"].as_str().map(|by| format!(" by {}", one_line(by, 64))).unwrap_or_default();
                self.line(format!("  {} {}{by}", "?".yellow(), text(data, "answer")))
            }
            EventKind::Parked => self.line(format!("{}", format!("  parked: waits for {}", text(data, "waiting_for")).dimmed())),
            EventKind::Resumed => self.line(format!("{}", "  goes on".dimmed())),
            EventKind::Completed | EventKind::Failed | EventKind::Cancelled => match serde_json::from_value::<AgentResult>(data.clone()) {
                Ok(result) if self.brief && result.status == TaskStatus::Completed && result.error.is_none() => {
                    self.unless_answer(result.output.as_deref()) + &self.line(String::new())
                }
                Ok(result) => self.unless_answer(result.output.as_deref()) + &self.line(summary(&result)),
                Err(_) => String::new(),
            },
            EventKind::Started => String::new(),
        }
    }

    /// Whether this very text was the last that was told in full, so that it need not be shown again.
    pub fn has_told(&self, output: &str) -> bool {
        self.last.as_deref() == Some(output)
    }

    fn asked(&mut self, event: &TaskEvent) -> String {
        let model = one_line(text(&event.data, "model"), VALUE_MAX);
        let attempt = number(&event.data, "attempt");
        let is_new = event.step != self.step;
        (self.step, self.attempt, self.asked_at) = (event.step, attempt, event.at);
        self.told.clear();
        let held = self.unless_answer(None);
        if self.brief {
            return held + &self.line(String::new());
        }
        let line = if is_new {
            format!("{} {}", format!("step {}", event.step).bold(), format!("· {model}").dimmed())
        } else {
            format!("{}", format!("  attempt {attempt} · {model}").dimmed())
        };
        held + &self.line(line)
    }

    fn delta(&mut self, data: &Value, text: &str) -> String {
        let attempt = number(data, "attempt");
        if self.answer_apart || (number(data, "step") as u32, attempt) != (self.step, self.attempt) {
            // Of an attempt that is void, or of one whose beginning was missed, or of what may be the answer: `model.finished` has the
            // whole text.
            return String::new();
        }
        self.told.push_str(text);
        self.text(text)
    }

    fn answered(&mut self, event: &TaskEvent) -> String {
        let data = &event.data;
        let whole = text(data, "text");
        let calls = data["calls"].as_array().map(Vec::as_slice).unwrap_or_default();
        // Deltas may be lost: what is missing at the end is told now, and after a gap in between the whole.
        let mut told = match whole.strip_prefix(self.told.as_str()) {
            Some(whole) if self.answer_apart && calls.is_empty() => {
                self.held = whole.to_owned();
                String::new()
            }
            Some(rest) => self.text(rest),
            None => self.line(String::new()) + &self.text(whole),
        };
        self.last = Some(whole.to_owned()).filter(|whole| !whole.is_empty());
        self.told.clear();
        self.calls = calls.len();
        self.asked_for = calls.iter().map(|call| one_line(text(call, "arguments"), VALUE_MAX)).collect();
        self.called_at.clear();
        if self.brief {
            told.push_str(&self.line(String::new()));
            return told;
        }
        let usage: Usage = serde_json::from_value(data["usage"].clone()).unwrap_or_default();
        let cached = if usage.cached_input_tokens > 0 { format!(" ({} cached)", usage.cached_input_tokens) } else { String::new() };
        let took = since(self.asked_at, event.at);
        let cut = if text(data, "finish_reason") == "length" { " · cut at the allowed length" } else { "" };
        let line = format!("  {} tokens in{cached}, {} out · {took}{cut}", usage.input_tokens, usage.output_tokens);
        told.push_str(&self.line(format!("{}", line.dimmed())));
        told
    }

    /// The text that was held back, once it is known not to be this answer.
    fn unless_answer(&mut self, answer: Option<&str>) -> String {
        let held = std::mem::take(&mut self.held);
        if answer == Some(held.as_str()) { String::new() } else { self.text(&held) }
    }

    fn returned(&self, event: &TaskEvent) -> String {
        let data = &event.data;
        let status = serde_json::from_value(data["status"].clone()).unwrap_or(ToolStatus::Error);
        let result = match &data["result"] {
            Value::String(text) => one_line(text, VALUE_MAX),
            other => one_line(&other.to_string(), VALUE_MAX),
        };
        let name = self.tool(data);
        let outcome = match status {
            ToolStatus::Ok => format!("{name} ok").green().to_string(),
            ToolStatus::Error => format!("{name} failed").yellow().to_string(),
            // It has no line of its own that says with what it was to be called.
            ToolStatus::Refused => {
                let asked_for = self.asked_for.get(number(data, "index") as usize).map_or("", String::as_str);
                format!("{} {}", format!("{name} refused, not sent:").yellow(), asked_for.dimmed())
            }
            ToolStatus::InDoubt => format!("{name} in doubt: it may have happened").red().to_string(),
        };
        let took = match self.called_at.get(&number(data, "index")) {
            Some(called_at) => format!(" · {}", since(Some(*called_at), event.at)),
            None => String::new(),
        };
        format!("  {} {outcome}{} {}", "←".cyan(), took.dimmed(), result.dimmed())
    }

    /// What a person is asked, and how to answer.
    fn asks(&self, data: &Value) -> String {
        let (tool, id) = (one_line(text(data, "tool"), 64), one_line(text(data, "id"), 192));
        let question = match text(data, "question") {
            "did_happen" => format!("{tool}: nobody knows whether this call happened"),
            _ => format!("{tool} needs an approval"),
        };
        let arguments = one_line(&data["arguments"].to_string(), VALUE_MAX);
        format!("  {} {} {}\n    maniple approval approve {id}   (or deny)", "?".yellow(), question.yellow(), arguments.dimmed())
    }

    /// The tool's name, with the call's number where a step has several.
    fn tool(&self, data: &Value) -> String {
        let name = one_line(text(data, "name"), 64);
        if self.calls > 1 { format!("[{}] {name}", number(data, "index") + 1) } else { name }
    }

    /// Text that goes on where the last one stopped.
    fn text(&mut self, text: &str) -> String {
        let text = clean(text);
        if !text.is_empty() {
            self.mid_line = !text.ends_with('\n');
        }
        text
    }

    /// A whole line; an empty one only ends the line before it.
    fn line(&mut self, line: String) -> String {
        let end = if std::mem::take(&mut self.mid_line) { "\n" } else { "" };
        if line.is_empty() { end.to_owned() } else { format!("{end}{line}\n") }
    }
}

/// Status, error with what to do about it, and what it took: one line, or two.
pub fn summary(result: &AgentResult) -> String {
    use maniple_core::task::TaskStatus::*;
    let status = result.status.as_str();
    let status = match result.status {
        Completed if result.error.is_none() => status.green().to_string(),
        Failed => status.red().to_string(),
        Completed | Pending | Running | Cancelled => status.yellow().to_string(),
    };
    let error = result.error.map(|code| format!(" · {}", code.as_str())).unwrap_or_default();
    let cost = result.cost_usd.map(|usd| format!(" · ${usd:.4}")).unwrap_or_default();
    let took = format!(
        "{} · {} · {}{cost} · {}",
        count(result.steps_used.into(), "step"),
        count(result.tool_calls.into(), "tool call"),
        count(result.tokens_used, "token"),
        duration(Duration::from_millis(result.duration_ms))
    );
    let detail = result.error_detail.iter().map(|detail| format!("\n  {}", one_line(detail, 1_000))).collect::<String>();
    format!("{}{error} {}{detail}", status.bold(), format!("· {took}").dimmed())
}

fn accepted(data: &Value) -> String {
    let of = |name| one_line(text(data, name), 256);
    format!("{}\n", format!("task {} · {} · session {}", of("id"), of("agent"), of("session_id")).dimmed())
}

fn taken_over(data: &Value) -> String {
    let steps = data["steps"].as_array().map_or(0, Vec::len) as u64;
    format!("takes over {} of task {}", count(steps, "step"), one_line(text(data, "from"), 128))
}

fn since(from: Option<Time>, to: Option<Time>) -> String {
    duration(to.unwrap_or_default().since(from.unwrap_or_default()))
}
fn text<'a>(data: &'a Value, name: &str) -> &'a str {
    data[name].as_str().unwrap_or_default()
}
fn number(data: &Value, name: &str) -> u64 {
    data[name].as_u64().unwrap_or_default()
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
