//! Ids, times, canonical JSON, traces, estimates, the breaker, and the checks of task and tool.

use crate::bench::{ACCEPTED, task, tool};
use maniple_core::{
    AgentName, SessionId, TaskId, Tenant, Time,
    breaker::{Breaker, BreakerSettings, State},
    canonical, estimate,
    message::{Message, ToolCall},
    task::{Ceilings, Header, Progress, Task, TaskLimits, TaskStatus},
    tool::{AuthType, Effect, Method, SHOWN_RESULT_BYTES, ToolDefinition, ToolWish, shown},
    trace::TraceContext,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn ids_are_checked_where_they_enter_and_name_their_field() {
    let long = |n| "a".repeat(n);
    for good in ["a", "A-Za.z0_9:-", &long(128)] {
        assert_eq!(TaskId::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", "a b", "a/b", "ä", "a\n", &long(129)] {
        assert_eq!(TaskId::parse(bad).unwrap_err().field.as_deref(), Some("id"), "{bad:?}");
    }
    for good in ["s", "any thing: ü\t", &"ü".repeat(256)] {
        assert_eq!(SessionId::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", &"ü".repeat(257)] {
        assert_eq!(SessionId::parse(bad).unwrap_err().field.as_deref(), Some("session_id"), "{bad:?}");
    }
    for good in ["a", "7", "a-b", "a--b", &long(63)] {
        assert_eq!(AgentName::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", "-a", "a-", "-", "A", "a_b", "a.b", "ä", &long(64)] {
        assert_eq!(AgentName::parse(bad).unwrap_err().field.as_deref(), Some("agent"), "{bad:?}");
    }
    for bad in ["", "a/b", "a:b", &long(65)] {
        assert_eq!(Tenant::parse(bad).unwrap_err().field.as_deref(), Some("tenant"), "{bad:?}");
    }
    assert!(Tenant::default().is_default() && !Tenant::parse("acme").unwrap().is_default());
}

#[test]
fn an_id_read_from_json_is_checked_too() {
    assert!(serde_json::from_value::<TaskId>(json!("a b")).is_err());
    assert!(serde_json::from_value::<AgentName>(json!("A")).is_err());
    assert_eq!(serde_json::to_value(TaskId::parse("a:b").unwrap()).unwrap(), json!("a:b"));
}

#[test]
fn a_time_is_written_in_utc_with_milliseconds_and_read_from_any_offset() {
    assert_eq!(ACCEPTED.to_string(), "2026-09-21T14:13:20.000Z");
    assert_eq!(Time::parse("2026-09-21T16:13:20.0009+02:00"), Some(ACCEPTED));
    for bad in ["", "2026-09-21", "2026-09-21T14:13:20", "tomorrow", "2026-13-01T00:00:00Z"] {
        assert_eq!(Time::parse(bad), None, "{bad:?}");
    }
    assert_eq!(ACCEPTED.day(), "2026-09-21");
    assert_eq!(Time(5).since(Time(7)), Duration::ZERO, "never negative");
}

#[test]
fn however_far_a_moment_is_put_off_it_can_be_written_and_read() {
    for by in [Duration::MAX, Duration::from_millis(u64::MAX), Duration::from_secs(86_400 * 366 * 10_000)] {
        let far = ACCEPTED.plus(by);
        assert!(far > ACCEPTED);
        assert_eq!(serde_json::from_value::<Time>(json!(far)).unwrap(), far, "{far}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_time_reads_back_as_it_was(ms in 0..253_402_207_200_000i64) {
        prop_assert_eq!(Time::parse(&Time(ms).to_string()), Some(Time(ms)));
    }

    #[test]
    fn a_trace_header_is_well_formed_or_not_taken(text in "\\PC{0,60}") {
        if let Some(trace) = TraceContext::parse(&text, None) {
            prop_assert_eq!(trace.trace_id().len(), 32);
        }
    }

    #[test]
    fn an_estimate_is_within_the_text(text in "\\PC{0,200}") {
        let tokens = estimate::tokens(&text);
        prop_assert!(tokens <= text.len() as u64 && tokens >= text.len().div_ceil(4) as u64 / 4);
    }
}

#[test]
fn canonical_json_has_one_spelling_whatever_the_order_and_the_spaces() {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let (one, other) =
        (read(r#"{"b":[1.0,"é"],"a":{"y":null,"x":1e2}}"#), read("{\"a\": {\"x\": 100, \"y\": null}, \"b\": [1, \"\\u00e9\"]}"));
    assert_eq!(canonical::text(&one), r#"{"a":{"x":100,"y":null},"b":[1,"é"]}"#);
    assert_eq!(canonical::hash(&one), canonical::hash(&other));
    assert!(canonical::same(&one, &other));
    assert!(!canonical::same(&json!([1, 2]), &json!([2, 1])), "order in a list means something");
    assert_eq!(canonical::hash_bytes(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

#[test]
fn values_are_told_apart_to_the_last_digit_and_numbers_are_one_however_they_are_spelled() {
    let exact = |text: &str| canonical::exact(&serde_json::from_str(text).unwrap());
    assert_ne!(exact("[1234567890123456789]"), exact("[1234567890123456788]"));
    assert_ne!(exact("18446744073709551615"), exact("18446744073709551614"));
    for same in [
        ["1", "1.0"],
        ["1e16", "10000000000000000"],
        ["9007199254740992", "9007199254740992.0"],
        ["{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}"],
    ] {
        assert_eq!(exact(same[0]), exact(same[1]));
    }
}

#[test]
fn a_trace_parent_that_is_not_well_formed_is_not_taken() {
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let trace = TraceContext::parse(good, Some("vendor=1")).unwrap();
    assert_eq!((trace.trace_id(), trace.tracestate.as_deref()), ("4bf92f3577b34da6a3ce929d0e0e4736", Some("vendor=1")));
    for bad in [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
    ] {
        assert_eq!(TraceContext::parse(bad, None), None, "{bad}");
    }
    assert_eq!(TraceContext::parse(good, Some(&"x".repeat(513))).unwrap().tracestate, None, "too long to pass on");
    assert_eq!(TraceContext::begin(0, 0).traceparent, "00-00000000000000000000000000000001-0000000000000001-01", "never all zero");
}

#[test]
fn tokens_are_a_quarter_of_ascii_and_every_other_character() {
    for (text, tokens) in [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("안녕", 2), ("ab안녕🙂", 4)] {
        assert_eq!(estimate::tokens(text), tokens, "{text}");
    }
    let call = ToolCall { id: "c".into(), name: "look".into(), arguments: r#"{"n":1}"#.into(), extra: None };
    assert_eq!(estimate::message_tokens(&Message::User { content: "abcd".into() }), 5);
    assert_eq!(
        estimate::message_tokens(&Message::Assistant { content: None, calls: vec![call], reasoning: None, by: None }),
        4 + 1 + 2 + 4
    );
    let result = Message::Tool { call_id: "c".into(), name: "look".into(), content: "abcd".into(), is_error: false };
    assert_eq!(estimate::message_tokens(&result), 6);
}

const SECOND: Duration = Duration::from_secs(1);

fn opened() -> Breaker {
    let mut breaker = Breaker::new(BreakerSettings { threshold: 3, cool_down: 10 * SECOND });
    (0..3).for_each(|_| breaker.failed(SECOND));
    breaker
}

#[test]
fn a_breaker_opens_at_its_threshold_of_failures_in_a_row() {
    let mut breaker = Breaker::new(BreakerSettings { threshold: 3, cool_down: 10 * SECOND });
    breaker.failed(SECOND);
    breaker.failed(SECOND);
    breaker.succeeded();
    breaker.failed(SECOND);
    breaker.failed(SECOND);
    assert!(breaker.admit(SECOND) && breaker.state(SECOND) == State::Closed, "a success begins the count anew");
    breaker.failed(SECOND);
    assert_eq!(breaker.state(SECOND), State::Open);
    assert!(!breaker.admit(2 * SECOND));
    assert_eq!(breaker.wait(2 * SECOND), 9 * SECOND);
}

#[test]
fn a_half_open_breaker_lets_one_call_try() {
    let mut breaker = opened();
    let now = 11 * SECOND;
    assert_eq!(breaker.state(now), State::HalfOpen);
    assert!(breaker.admit(now) && !breaker.admit(now), "one goes, others are refused");
    assert_eq!(breaker.wait(now), 10 * SECOND);
    breaker.succeeded();
    assert!(breaker.admit(now) && breaker.state(now) == State::Closed);
}

#[test]
fn a_trial_that_fails_opens_the_breaker_for_another_cool_down() {
    let mut breaker = opened();
    assert!(breaker.admit(11 * SECOND));
    breaker.failed(12 * SECOND);
    assert_eq!(breaker.state(21 * SECOND), State::Open);
    assert!(breaker.admit(22 * SECOND));
}

#[test]
fn a_trial_nobody_hears_of_again_frees_its_place_after_a_cool_down() {
    let mut breaker = opened();
    assert!(breaker.admit(11 * SECOND) && !breaker.admit(20 * SECOND) && breaker.admit(21 * SECOND));
}

#[test]
fn asking_takes_no_trial_and_one_that_came_to_nothing_gives_it_back() {
    let mut breaker = opened();
    assert!(!breaker.lets(10 * SECOND));
    assert!(breaker.lets(11 * SECOND) && breaker.lets(11 * SECOND) && breaker.admit(11 * SECOND) && !breaker.lets(11 * SECOND));
    breaker.let_go();
    assert!(breaker.state(11 * SECOND) == State::HalfOpen && breaker.admit(11 * SECOND));
}

#[test]
fn limits_are_checked_never_clamped_and_name_the_field_and_both_bounds() {
    let limits = TaskLimits::default();
    assert_eq!((limits.steps(None).unwrap(), limits.steps(Some(1)).unwrap(), limits.steps(Some(25)).unwrap()), (10, 1, 25));
    assert_eq!(
        (limits.tokens(None).unwrap(), limits.tokens(Some(512)).unwrap(), limits.tokens(Some(32_768)).unwrap()),
        (8_192, 512, 32_768)
    );
    for bad in [i64::MIN, -1, 0, 26, i64::MAX] {
        let error = limits.steps(Some(bad)).unwrap_err();
        assert_eq!((error.field.as_deref(), error.to_string()), (Some("max_steps"), format!("max_steps must be 1 to 25, not {bad}")));
    }
    for bad in [0, 511, 32_769] {
        assert_eq!(limits.tokens(Some(bad)).unwrap_err().field.as_deref(), Some("token_budget"));
    }
}

#[test]
fn a_ceiling_below_the_usual_default_lowers_the_default() {
    let low = TaskLimits::below(Ceilings { max_steps: 5, token_budget: 1_000 });
    assert_eq!((low.steps(None).unwrap(), low.tokens(None).unwrap()), (5, 1_000));
    let high = TaskLimits::below(Ceilings { max_steps: 1_000, token_budget: 10_000_000 });
    assert_eq!((high.steps(None).unwrap(), high.tokens(None).unwrap()), (10, 8_192));
}

#[test]
fn a_task_without_a_prompt_or_with_a_schema_that_is_none_is_refused() {
    task().check().unwrap();
    let field = |task: Task| task.check().unwrap_err().field.unwrap();
    assert_eq!(field(Task { prompt: String::new(), ..task() }), "prompt");
    assert_eq!(field(Task { output_schema: Some(json!({ "type": "nothing" })), ..task() }), "output_schema");
    assert_eq!(field(Task { output_schema: Some(json!("string")), ..task() }), "output_schema");
}

#[test]
fn a_task_is_pending_until_it_is_claimed_and_running_until_it_ends() {
    let header = |started_at| Header {
        id: task().id,
        session_id: task().session_id,
        agent: task().agent,
        created_at: ACCEPTED,
        started_at,
        trace_id: None,
        retry_of: None,
        progress: Progress::default(),
        waiting_for: None,
    };
    let later = Time(ACCEPTED.0 + 50);
    let pending = header(None).live(later);
    assert_eq!((pending.status, pending.duration_ms, pending.finished_at), (TaskStatus::Pending, 0, None));
    let running = header(Some(Time(ACCEPTED.0 + 20))).live(later);
    assert_eq!((running.status, running.duration_ms, running.finished_at), (TaskStatus::Running, 30, None), "from first claim");
}

#[test]
fn an_effect_unsaid_goes_by_the_method() {
    let of = |method, effect| ToolDefinition { method, effect, ..tool("t", Effect::Pure) }.effect();
    for method in [Method::Get, Method::Head] {
        assert_eq!(of(method, None), Effect::Pure);
    }
    for method in [Method::Post, Method::Put, Method::Patch, Method::Delete] {
        assert_eq!(of(method, None), Effect::AtMostOnce);
    }
    assert_eq!(of(Method::Post, Some(Effect::Pure)), Effect::Pure);
    assert_eq!(Method::default(), Method::Post);
}

#[test]
fn the_contract_of_a_tool_is_what_callers_rely_on_and_not_where_it_is() {
    let tool = tool("t", Effect::Pure);
    let other = |change: &dyn Fn(&mut ToolDefinition)| {
        let mut changed = tool.clone();
        change(&mut changed);
        changed.contract_hash() != tool.contract_hash()
    };
    assert!(!other(&|t| t.endpoint = "http://elsewhere.test/".into()));
    assert!(!other(&|t| (t.timeout_ms, t.tags) = (1, vec!["x".into()])));
    assert!(!other(&|t| t.parameters = serde_json::from_str(&t.parameters.to_string()).unwrap()));
    assert!(other(&|t| t.name = "u".into()) && other(&|t| t.version.patch += 1) && other(&|t| t.description.push('.')));
    assert!(other(&|t| t.parameters = json!({})) && other(&|t| t.returns = Some(json!({}))) && other(&|t| t.method = Method::Get));
    assert!(other(&|t| t.effect = Some(Effect::Idempotent)) && other(&|t| t.requires_approval = true));
    assert!(other(&|t| t.scopes = vec!["s".into()]));
    let unsaid = ToolDefinition { effect: None, ..tool.clone() };
    let said = ToolDefinition { effect: Some(Effect::AtMostOnce), ..tool.clone() };
    assert_eq!(unsaid.contract_hash(), said.contract_hash(), "what is meant, not what is written");
}

#[test]
fn what_nothing_enforces_is_refused_by_name_and_so_is_what_cannot_be() {
    tool("a_B-9", Effect::Pure).check().unwrap();
    let field = |change: &dyn Fn(&mut ToolDefinition)| {
        let mut changed = tool("t", Effect::Pure);
        change(&mut changed);
        changed.check().unwrap_err().field.unwrap()
    };
    for name in ["", "a b", "a.b", "ä", &"a".repeat(65)] {
        assert_eq!(field(&|t| t.name = name.into()), "name");
    }
    assert_eq!(field(&|t| t.description = " ".into()), "description");
    assert_eq!(field(&|t| t.timeout_ms = 0), "timeout_ms");
    assert_eq!(field(&|t| t.timeout_ms = 600_001), "timeout_ms");
    assert_eq!(field(&|t| t.rate_limit = Some(0)), "rate_limit");
    assert_eq!(field(&|t| t.auth_type = AuthType::ApiKey), "credential");
    assert_eq!(field(&|t| t.credential = Some("key".into())), "auth_type");
    assert_eq!(field(&|t| (t.effect, t.cache_ttl_ms) = (Some(Effect::AtMostOnce), Some(1))), "cache_ttl_ms");
    assert_eq!(field(&|t| t.cache_ttl_ms = Some(86_400_001)), "cache_ttl_ms");
    assert_eq!(field(&|t| t.scopes = vec!["pay".into()]), "scopes");
    assert_eq!(field(&|t| t.parameters = json!({ "type": "string" })), "parameters");
    assert_eq!(field(&|t| t.parameters = json!({ "properties": 7 })), "parameters");
    assert_eq!(field(&|t| t.returns = Some(json!({ "$ref": "http://far.test/" }))), "returns");
}

#[test]
fn a_tool_is_wished_for_by_name_or_name_and_range() {
    for text in ["web_search@^2.1", "clock", "a@=1.2.3"] {
        assert_eq!(ToolWish::parse(text).unwrap().to_string(), text);
    }
    for bad in ["", "@1", "a@", "a@new"] {
        assert_eq!(ToolWish::parse(bad).unwrap_err().field.as_deref(), Some("tools"), "{bad}");
    }
}

#[test]
fn a_model_is_shown_sixteen_kibibytes_of_a_result_cut_between_characters() {
    assert_eq!(shown(&json!("text as it is")), "text as it is");
    assert_eq!(shown(&json!({ "a": [1] })), r#"{"a":[1]}"#);
    let fits = "x".repeat(SHOWN_RESULT_BYTES);
    assert_eq!(shown(&json!(fits)), fits);
    for length in [SHOWN_RESULT_BYTES + 2, 1 << 20] {
        for offset in ["", "x"] {
            let long = format!("{offset}{}", "é".repeat(length / 2));
            let text = shown(&json!(long));
            let (kept, note) = text.split_once('\n').unwrap();
            assert!(text.len() <= SHOWN_RESULT_BYTES && long.starts_with(kept), "the note included");
            assert_eq!(note, format!("(cut: the first {} of {} bytes)", kept.len(), long.len()));
        }
    }
}
