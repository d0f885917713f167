//! The spans of a run, named twice: as the project names them and as OpenTelemetry's GenAI conventions do.
//!
//! | span | OpenTelemetry name | says |
//! |---|---|---|
//! | `agent.run` | `invoke_agent {agent}` | agent, task, session, current step, model, tokens of all its calls |
//! | `agent.llm_call` | `chat {model}` | provider, model, conversation, tokens, why it stopped |
//! | `agent.tool_call` | `execute_tool {tool}` | tool, call |
//!
//! One that came to nothing has the status of an error, and `error.type` of what it came to: a run its error code, a model call
//! the fault, a tool call the status of the answer or why there was none. Prompts, answers and arguments stay out. The
//! conventions are still in development: their names are in this file only.

use maniple_core::{
    TaskId,
    event::ToolStarted,
    message::{FinishReason, ModelReply, Usage},
    model::{Fault, ModelName},
    ports::{Invocation, Invoked, Server},
    run::{Ask, Run},
    task::{Ending, ErrorCode, TaskStatus},
    trace::TraceContext,
};
use std::borrow::Cow;
use tracing::{Span, field::Empty, info_span};

/// Ties spans to a trace from outside, where an exporter is at work; without one, nothing.
#[derive(Clone, Copy)]
pub struct Tracing {
    /// Makes a span the child of a context, or the first of the trace that begins with it.
    pub adopt: fn(&Span, &TraceContext),
    /// The context of a span, to be passed on.
    pub context: fn(&Span) -> Option<TraceContext>,
    /// Sets an attribute that is a list.
    pub list: fn(&Span, &'static str, &[&str]),
}

impl Default for Tracing {
    fn default() -> Self {
        Self { adopt: |_, _| {}, context: |_| None, list: |_, _, _| {} }
    }
}

pub(crate) fn run(run: &Run, epoch: u64) -> Span {
    let task = run.task();
    info_span!(
        "agent.run",
        otel.name = %format_args!("invoke_agent {}", task.agent),
        agent.id = %task.agent,
        agent.task_id = %task.id,
        agent.session = %task.session_id,
        agent.current_step = run.step_number(),
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = %task.agent,
        gen_ai.conversation.id = %task.session_id,
        gen_ai.provider.name = Empty,
        gen_ai.request.model = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        trace_id = task.trace.as_ref().map(TraceContext::trace_id),
        epoch,
        otel.status_code = Empty,
        error.r#type = Empty,
    )
}

/// What a run has come to when its driver leaves it, at its end or parked, and what its model calls took meanwhile.
pub(crate) fn left(span: &Span, run: &Run, spent: &Usage) {
    span.record("agent.current_step", run.step_number());
    let mut replies = run.steps().iter().filter_map(|step| step.reply.as_ref());
    if let Some(model) = replies.next_back().and_then(|reply| ModelName::parse(&reply.model).ok()) {
        span.record("gen_ai.provider.name", model.provider());
        span.record("gen_ai.request.model", model.model());
    }
    span.record("gen_ai.usage.input_tokens", spent.input_tokens);
    span.record("gen_ai.usage.output_tokens", spent.output_tokens);
}

/// How a run ended. What a person cancelled is no error.
pub(crate) fn ended(span: &Span, ending: &Ending) {
    if ending.status == TaskStatus::Failed {
        went_wrong(span, ending.error.map_or("failed", ErrorCode::as_str));
    }
}

pub(crate) fn llm_call(run: &Run, ask: &Ask, model: &ModelName, server: Option<&Server>) -> Span {
    info_span!(
        "agent.llm_call",
        otel.name = %format_args!("chat {}", model.model()),
        otel.kind = "client",
        agent.current_step = ask.step,
        attempt = ask.attempt,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = model.provider(),
        gen_ai.request.model = model.model(),
        gen_ai.response.model = Empty,
        gen_ai.conversation.id = %run.task().session_id,
        server.address = server.map(|server| server.address.as_str()),
        server.port = server.map(|server| server.port),
        llm.prompt_tokens = Empty,
        llm.completion_tokens = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        otel.status_code = Empty,
        error.r#type = Empty,
    )
}

pub(crate) fn answered(span: &Span, tracing: &Tracing, reply: &ModelReply) {
    let reason = match reply.finish_reason {
        FinishReason::Stop => "stop",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::Length => "length",
        FinishReason::Refusal => "content_filter",
    };
    (tracing.list)(span, "gen_ai.response.finish_reasons", &[reason]);
    span.record("gen_ai.response.model", reply.model.as_str());
    span.record("llm.prompt_tokens", reply.usage.input_tokens);
    span.record("llm.completion_tokens", reply.usage.output_tokens);
    span.record("gen_ai.usage.input_tokens", reply.usage.input_tokens);
    span.record("gen_ai.usage.output_tokens", reply.usage.output_tokens);
}

/// A model call came to nothing.
pub(crate) fn faulted(span: &Span, fault: &Fault) {
    went_wrong(span, fault.kind.as_str());
}

/// A call of a run.
pub(crate) fn tool_call(run: &Run, started: &ToolStarted) -> Span {
    let task = run.task();
    execute_tool(&started.name, &started.key, task.agent.as_str(), Some(&task.id))
}

/// A call that came through a door.
pub(crate) fn direct_call(call: &Invocation) -> Span {
    execute_tool(&call.tool.name, &call.key, call.agent.as_str(), None)
}

fn execute_tool(tool: &str, key: &str, agent: &str, task: Option<&TaskId>) -> Span {
    info_span!(
        "agent.tool_call",
        otel.name = %format_args!("execute_tool {tool}"),
        otel.kind = "client",
        agent.id = agent,
        agent.task_id = task.map(tracing::field::display),
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = tool,
        gen_ai.tool.call.id = key,
        otel.status_code = Empty,
        error.r#type = Empty,
    )
}

/// Why a tool call, or an attempt of one, did not go well.
pub(crate) fn cause(invoked: &Invoked) -> Option<Cow<'static, str>> {
    Some(match invoked {
        Invoked::Ok(_) => return None,
        Invoked::Failed(result) => match &result["status"] {
            serde_json::Value::Number(status) => Cow::Owned(status.to_string()),
            _ => Cow::Borrowed("tool_error"),
        },
        Invoked::NotSent(_) => Cow::Borrowed("not_sent"),
        Invoked::Wait(..) => Cow::Borrowed("rate_limited"),
        Invoked::Refused(refusal) => Cow::Borrowed(refusal.kind.as_str()),
        Invoked::Unknown(_) => Cow::Borrowed("no_outcome"),
    })
}

/// The span's work came to nothing, for that cause.
pub(crate) fn went_wrong(span: &Span, cause: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", cause);
}
