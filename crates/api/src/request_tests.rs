use super::*;
use maniple_core::{
    Tenant,
    agent::AgentLimits,
    request::Acceptance,
    task::{Task, TaskLimits},
};
use serde_json::json;

/// The longest deadline: a hundred years.
const DEADLINE_MS_MAX: i64 = 3_155_760_000_000;

fn agent() -> AgentName {
    AgentName::parse("search").unwrap()
}

fn accept_with(body: Value, agent_limits: &AgentLimits, limits: TaskLimits) -> Result<Task> {
    TaskRequest::read(&body)?.to(&agent())?.accept(Acceptance {
        agent_limits,
        limits,
        tenant: Tenant::default(),
        principal: "local".into(),
        trace: None,
        fresh_id: TaskId::parse("fresh").unwrap(),
        fresh_session: SessionId::parse("made").unwrap(),
    })
}

fn accept(body: Value) -> Result<Task> {
    accept_with(body, &AgentLimits::default(), TaskLimits::default())
}

/// A request that is right but for one field.
fn with(field: &str, value: Value) -> Value {
    let mut body = json!({"prompt": "p"});
    body[field] = value;
    body
}

#[test]
fn a_prompt_alone_gets_the_defaults_of_the_article() {
    let expected = Task {
        id: TaskId::parse("fresh").unwrap(),
        agent: agent(),
        session_id: SessionId::parse("made").unwrap(),
        prompt: "p".into(),
        metadata: Map::new(),
        max_steps: 10,
        token_budget: 8192,
        context: Map::new(),
        deadline_ms: None,
        priority: 5,
        not_before: None,
        output_schema: None,
        cost_budget_usd: None,
        tree_token_budget: None,
        parent_task_id: None,
        retry_of: None,
        tenant: Tenant::default(),
        principal: "local".into(),
        trace: None,
    };
    assert_eq!(accept(json!({"prompt": "p"})).unwrap(), expected);
}

#[test]
fn every_bound_is_strict_on_both_sides_and_names_its_field() {
    let long = |n: usize| json!("x".repeat(n));
    let years = json!(DEADLINE_MS_MAX);
    let table = [
        (
            "id",
            vec![json!("a"), json!("A-Za-z0-9._:-"), long(128)],
            vec![json!(""), long(129), json!("a b"), json!("é"), json!("a/b"), json!(1)],
        ),
        ("session_id", vec![json!("s"), long(256), json!("é".repeat(256))], vec![json!(""), long(257), json!(5)]),
        ("prompt", vec![json!("p"), json!("\u{0}"), long(100_000)], vec![json!(""), json!(5), json!(["p"])]),
        ("metadata", vec![json!({}), json!({"a": [1, null]})], vec![json!([]), json!("x"), json!(1)]),
        (
            "max_steps",
            vec![json!(1), json!(25)],
            vec![json!(0), json!(26), json!(-1), json!(1.5), json!(10.0), json!("3"), json!(true), json!(u64::MAX)],
        ),
        ("token_budget", vec![json!(512), json!(32_768)], vec![json!(511), json!(32_769), json!(-1), json!("512")]),
        ("agent", vec![json!("search")], vec![json!("other"), json!("Search"), json!(1)]),
        ("context", vec![json!({"a": 1})], vec![json!([]), json!("x")]),
        ("deadline_ms", vec![json!(1), years], vec![json!(0), json!(-5), json!(1.5), json!("1"), json!(DEADLINE_MS_MAX + 1)]),
        ("priority", vec![json!(0), json!(9)], vec![json!(-1), json!(10), json!("5")]),
        (
            "not_before",
            vec![json!("2026-01-31T12:00:00Z"), json!("2026-01-31T12:00:00.5+09:00")],
            vec![json!("tomorrow"), json!(0), json!("")],
        ),
        (
            "output_schema",
            vec![json!({}), json!({"type": "object"})],
            vec![json!([]), json!("x"), json!({"type": 5}), json!({"$ref": "http://x/"})],
        ),
    ];
    assert_eq!(table.each_ref().map(|row| row.0), FIELDS, "every field has its row");
    for (field, good, bad) in table {
        for value in good {
            assert!(accept(with(field, value.clone())).is_ok(), "{field} = {value}: {:?}", accept(with(field, value.clone())));
        }
        for value in bad.into_iter().chain([Value::Null]) {
            let error = accept(with(field, value.clone())).expect_err(&format!("{field} = {value}"));
            assert_eq!(error.field.as_deref(), Some(field), "{field} = {value}: {error}");
            assert!(error.message.contains(field), "{error}");
        }
    }
}

#[test]
fn a_field_nobody_knows_is_named_with_the_nearest_one() {
    let error = accept(with("max_step", json!(3))).unwrap_err();
    assert_eq!((error.field.as_deref(), &*error.message), (Some("max_step"), "there is no field `max_step`: did you mean `max_steps`?"));
    assert!(accept(with("retry_of", json!("t"))).unwrap_err().message.starts_with("there is no field `retry_of`"));
    assert!(accept(with("tenant", json!("t"))).is_err());
}

#[test]
fn what_nothing_enforces_is_refused_by_name() {
    for field in NOT_ENFORCED {
        let error = accept(with(field, json!(1))).unwrap_err();
        assert_eq!(&*error.message, format!("{field} is not enforced by this version: leave it out"));
        assert_eq!(error.field.as_deref(), Some(field));
    }
}

#[test]
fn a_body_that_is_no_object_or_lacks_its_prompt_is_refused() {
    for body in [json!(null), json!([]), json!("p"), json!(5)] {
        assert!(accept(body).unwrap_err().message.contains("must be a JSON object"));
    }
    assert_eq!(accept(json!({})).unwrap_err().field.as_deref(), Some("prompt"));
}

#[test]
fn an_agents_own_limits_are_its_default_and_its_cap_and_never_raise_the_nodes() {
    let own = AgentLimits { max_steps: Some(5), token_budget: Some(100_000), ..AgentLimits::default() };
    let task = accept_with(json!({"prompt": "p"}), &own, TaskLimits::default()).unwrap();
    assert_eq!((task.max_steps, task.token_budget), (5, 32_768));
    let error = accept_with(with("max_steps", json!(6)), &own, TaskLimits::default()).unwrap_err();
    assert_eq!(&*error.message, "max_steps must be 1 to 5, not 6");
    let raised = TaskLimits { max_steps: 1000, ..TaskLimits::default() };
    assert_eq!(accept_with(with("max_steps", json!(1000)), &AgentLimits::default(), raised).unwrap().max_steps, 1000);
}

#[test]
fn requests_are_compared_by_what_they_ask_of_whom_not_by_their_spelling() {
    let hash = |text: &str, agent: &AgentName| {
        let body = crate::json::parse(text.as_bytes(), Default::default()).unwrap();
        TaskRequest::read(&body).unwrap().to(agent).unwrap().hash()
    };
    let spelled = "{ \"max_steps\" : 3,\n \"prompt\" : \"\\u0078\", \"agent\": \"search\", \"metadata\": {} }";
    assert_eq!(hash(r#"{"prompt":"x","max_steps":3}"#, &agent()), hash(spelled, &agent()));
    assert_ne!(hash(r#"{"prompt":"x"}"#, &agent()), hash(r#"{"prompt":"y"}"#, &agent()));
    assert_ne!(hash(r#"{"prompt":"x"}"#, &agent()), hash(r#"{"prompt":"x"}"#, &AgentName::parse("other").unwrap()));
}

#[test]
fn a_request_that_is_written_is_the_request_that_is_read() {
    let full = json!({"id": "i", "session_id": "s", "prompt": "p", "metadata": {"m": 1}, "max_steps": 3, "token_budget": 600,
        "agent": "search", "context": {"c": 1}, "deadline_ms": 5, "priority": 1, "not_before": "2026-01-31T12:00:00Z", "output_schema": {}});
    let request = TaskRequest::read(&full).unwrap();
    let written = serde_json::to_value(&request).unwrap();
    assert_eq!(written, full);
    let fields: std::collections::BTreeSet<&str> = written.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, FIELDS.into_iter().collect(), "FIELDS names every field of the struct");
}
