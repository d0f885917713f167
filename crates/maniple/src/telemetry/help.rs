//! What each metric is, for whoever looks at `/metrics`.

use metrics::{describe_counter, describe_gauge, describe_histogram};

enum Kind {
    Counter,
    Gauge,
    Histogram,
}
use Kind::{Counter, Gauge, Histogram};

const METRICS: &[(Kind, &str, &str)] = &[
    (Gauge, "maniple_tasks_waiting", "Tasks that are ready and that nobody works on yet."),
    (Gauge, "maniple_tasks_running", "Tasks that are worked on."),
    (Gauge, "maniple_oldest_waiting_seconds", "How long the oldest of the ready ones has waited: what to scale by."),
    (Counter, "maniple_tasks_total", "Tasks that ended: completed, failed, cancelled."),
    (Counter, "maniple_http_requests_total", "Requests answered; route is the pattern, never the path."),
    (Histogram, "maniple_http_request_seconds", "Until the head of the answer."),
    (Counter, "maniple_http_shed_total", "Turned away at a bound of the node: requests, event streams, connections."),
    (Counter, "maniple_steps_total", "Model calls that were answered."),
    (Counter, "maniple_tokens_total", "Tokens as the provider reported them; input includes cached_input."),
    (Gauge, "maniple_cost_usd_total", "US dollars, where prices are configured."),
    (Histogram, "maniple_model_call_seconds", "One attempt of a model call, ok or fault."),
    (Counter, "maniple_model_faults_total", "Attempts that came to nothing."),
    (Gauge, "maniple_model_breaker_open", "State of the circuit breaker: 0 it is closed, 0.5 one call may try, 1 it is open."),
    (
        Counter,
        "maniple_tool_refusals_total",
        "Calls that were not made: arguments, not_granted, not_found, quarantined, key_reused, forbidden, needs_approval.",
    ),
    (Gauge, "maniple_tool_instances", "Instances of tools, healthy or unhealthy."),
    (Counter, "maniple_tool_cache_total", "Calls of pure tools with a cache_ttl_ms: hit or miss."),
    (Counter, "maniple_tool_calls_total", "Finished tool calls: ok, error, refused, in_doubt."),
    (Histogram, "maniple_tool_call_seconds", "One tool call with its attempts."),
    (Counter, "maniple_approvals_requested_total", "Questions put to a person: may_call, did_happen."),
    (Counter, "maniple_approvals_decided_total", "What came of them: approved, denied, expired."),
    (
        Counter,
        "maniple_aside_refused_total",
        "What takes long to read and was turned away: number too many of one owner waited, time its turn did not come.",
    ),
    (
        Counter,
        "maniple_runtime_stalls_total",
        "Stalls of a second and more: threads those that serve stood still, process all of it did, as when it is stopped.",
    ),
    (Histogram, "maniple_store_connection_wait_seconds", "How long a call waited for a connection to Postgres."),
    (Counter, "maniple_store_sessions_repaired_total", "Sessions that waited though nobody was before them: 0, or a defect."),
    (Gauge, "maniple_kafka_up", "Whether the brokers of `events` answered when they were asked last: 1 they did, 0 they are away."),
    (Gauge, "maniple_redis_up", "Whether the Redis of `bus` answers: 1 it does, 0 it is away."),
    (
        Counter,
        "maniple_limits_counted_here_total",
        "Calls of limited tools that Redis did not count: this process did, for its share of the limit.",
    ),
    (Gauge, "maniple_store_up", "Whether the store said what waits in it when this was asked: 1 it did, 0 it did not."),
    (Histogram, "maniple_store_commit_seconds", "One commit, its fsync included."),
    (Histogram, "maniple_store_commit_batch_size", "How many writes shared a commit."),
];

/// Tells the recorder of this process, once it is installed.
pub(super) fn describe() {
    for (kind, name, help) in METRICS {
        match kind {
            Counter => describe_counter!(*name, *help),
            Gauge => describe_gauge!(*name, *help),
            Histogram => describe_histogram!(*name, *help),
        }
    }
}
