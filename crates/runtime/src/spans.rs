//! The spans of a run, named twice: as the project names them and as OpenTelemetry's GenAI conventions do.
//!
//! | span | OpenTelemetry name | says |
//! |---|---|---|
//! | `agent.run` | `invoke_agent {agent}` | agent, task, session, current step |
//! | `agent.llm_call` | `chat {model}` | model, tokens |
//! | `agent.tool_call` | `execute_tool {tool}` | tool, call, outcome |
//!
//! Prompts, answers and arguments stay out. The conventions are still in development: their names are in this file only.

use maniple_core::{
    event::{ToolStarted, ToolStatus},
    message::Usage,
    model::ModelName,
    run::{Ask, Run},
    trace::TraceContext,
};
use tracing::{Span, field::Empty, info_span};

/// Ties spans to a trace from outside, where an exporter is at work; without one, nothing.
#[derive(Clone, Copy)]
pub struct Tracing {
    /// Makes a span the child of a context.
    pub adopt: fn(&Span, &TraceContext),
    /// The context of a span, to be passed on.
    pub context: fn(&Span) -> Option<TraceContext>,
}

impl Default for Tracing {
    fn default() -> Self {
        Self { adopt: |_, _| {}, context: |_| None }
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
        trace_id = task.trace.as_ref().map(TraceContext::trace_id),
        epoch,
    )
}

pub(crate) fn llm_call(ask: &Ask, model: &ModelName) -> Span {
    info_span!(
        "agent.llm_call",
        otel.name = %format_args!("chat {}", model.model()),
        otel.kind = "client",
        agent.current_step = ask.step,
        attempt = ask.attempt,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = model.provider(),
        gen_ai.request.model = model.model(),
        llm.prompt_tokens = Empty,
        llm.completion_tokens = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        error.r#type = Empty,
    )
}

pub(crate) fn answered(span: &Span, usage: &Usage) {
    span.record("llm.prompt_tokens", usage.input_tokens);
    span.record("llm.completion_tokens", usage.output_tokens);
    span.record("gen_ai.usage.input_tokens", usage.input_tokens);
    span.record("gen_ai.usage.output_tokens", usage.output_tokens);
}

pub(crate) fn tool_call(started: &ToolStarted) -> Span {
    info_span!(
        "agent.tool_call",
        otel.name = %format_args!("execute_tool {}", started.name),
        otel.kind = "client",
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = %started.name,
        gen_ai.tool.call.id = %started.key,
        error.r#type = Empty,
    )
}

/// Notes what went wrong, if anything did.
pub(crate) fn returned(span: &Span, status: ToolStatus) {
    if status != ToolStatus::Ok {
        span.record("error.type", status.as_str());
    }
}
