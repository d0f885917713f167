use super::*;
use serde_json::json;

/// Events as a node sends them, one a line: second, step, type, data.
fn told(events: &[(i64, u32, &str, Value)]) -> (String, Steps) {
    told_by(Steps::default(), events)
}
fn told_by(mut steps: Steps, events: &[(i64, u32, &str, Value)]) -> (String, Steps) {
    let mut text = String::new();
    for (id, (at, step, kind, data)) in events.iter().enumerate() {
        let event = json!({ "id": id + 1, "type": kind, "task_id": "t1", "at": Time(at * 100), "step": step, "data": data });
        let mut event: TaskEvent = serde_json::from_value(event).expect("an event");
        if event.kind == DELTA {
            (event.id, event.at) = (None, None);
        }
        text.push_str(&steps.tell(&event));
    }
    (anstream::adapter::strip_str(&text).to_string(), steps)
}

fn started(at: i64, step: u32, attempt: u32) -> (i64, u32, &'static str, Value) {
    (at, step, "model.started", json!({ "attempt": attempt, "model": "demo/demo", "request_hash": "", "max_output_tokens": 64 }))
}
fn delta(step: u32, attempt: u32, index: u32, text: &str) -> (i64, u32, &'static str, Value) {
    (0, step, DELTA, json!({ "step": step, "attempt": attempt, "index": index, "text": text }))
}
fn finished(at: i64, step: u32, text: &str, calls: usize) -> (i64, u32, &'static str, Value) {
    let calls: Vec<Value> = (0..calls).map(|_| json!({ "id": "c", "name": "clock", "arguments": "{}" })).collect();
    let usage = json!({ "input_tokens": 10, "output_tokens": 5, "cached_input_tokens": 4 });
    (
        at,
        step,
        "model.finished",
        json!({ "attempt": 1, "text": text, "calls": calls, "usage": usage, "model": "m", "finish_reason": "stop" }),
    )
}

fn completed(output: &str) -> Value {
    json!({ "task_id": "t1", "status": "completed", "output": output, "steps_used": 2, "tokens_used": 30, "tool_calls": 1,
        "error": null, "duration_ms": 1300, "session_id": "s1", "agent": "a", "created_at": Time(0), "started_at": null, "finished_at": null,
        "error_detail": null, "structured": null, "cost_usd": 0.0012, "model": "m", "trace_id": null, "waiting_for": null, "retry_of": null })
}

#[test]
fn where_the_answer_goes_elsewhere_every_text_but_that_is_told() {
    let events = |output: &str| {
        [
            started(1, 1, 1),
            delta(1, 1, 0, "I look."),
            finished(2, 1, "I look.", 1),
            started(3, 2, 1),
            finished(4, 2, "no JSON", 0),
            started(5, 3, 1),
            delta(3, 1, 0, "It is "),
            finished(6, 3, "It is noon.", 0),
            (7, 3, "task.completed", completed(output)),
        ]
    };
    let texts = |steps: Steps, output| {
        let told = told_by(steps.without_answer(true), &events(output)).0;
        told.lines().filter(|line| ["I look.", "no JSON", "It is"].iter().any(|text| line.starts_with(text))).collect::<Vec<_>>().join("|")
    };
    for steps in [Steps::default, Steps::brief] {
        assert_eq!(texts(steps(), "It is noon."), "I look.|no JSON");
        assert_eq!(texts(steps(), "12:00"), "I look.|no JSON|It is noon.", "it was not the answer");
    }
}

#[test]
fn a_run_with_a_tool_reads_like_a_story() {
    let (text, steps) = told(&[
        (0, 0, "task.accepted", json!({ "id": "t1", "agent": "a", "session_id": "s1" })),
        started(1, 1, 1),
        finished(3, 1, "", 1),
        (3, 1, "tool.started", json!({ "index": 0, "name": "clock", "arguments": { "time_zone": "UTC" } })),
        (4, 1, "tool.finished", json!({ "index": 0, "name": "clock", "status": "ok", "result": { "utc": "12:00" } })),
        started(5, 2, 1),
        delta(2, 1, 0, "It is "),
        delta(2, 1, 1, "noon."),
        finished(12, 2, "It is noon.", 0),
        (13, 2, "task.completed", completed("It is noon.")),
    ]);
    assert_eq!(
        text,
        "task t1 · a · session s1\n\
         step 1 · demo/demo\n  10 tokens in (4 cached), 5 out · 200 ms\n  → clock {\"time_zone\":\"UTC\"}\n  ← clock ok · 100 ms {\"utc\":\"12:00\"}\n\
         step 2 · demo/demo\nIt is noon.\n  10 tokens in (4 cached), 5 out · 700 ms\n\
         completed · 2 steps · 1 tool call · 30 tokens · $0.0012 · 1.3 s\n"
    );
    assert!(steps.has_told("It is noon."));
}

#[test]
fn lost_pieces_are_told_at_the_end_and_void_ones_are_not_taken_for_the_answer() {
    let (tail_lost, _) = told(&[started(1, 1, 1), delta(1, 1, 0, "It is "), finished(2, 1, "It is noon.", 0)]);
    assert!(tail_lost.contains("\nIt is noon.\n"), "{tail_lost}");
    let (gap, steps) = told(&[started(1, 1, 1), delta(1, 1, 1, "noon."), finished(2, 1, "It is noon.", 0)]);
    assert!(gap.contains("\nnoon.\nIt is noon.\n"), "{gap}");
    assert!(steps.has_told("It is noon."));
    let failed = (2, 1, "model.failed", json!({ "attempt": 1, "model": "demo/demo", "fault": "cut_after", "message": "it broke off" }));
    let (void, _) = told(&[
        started(1, 1, 1),
        delta(1, 1, 0, "It"),
        failed,
        started(3, 1, 2),
        delta(1, 1, 1, "late"),
        delta(1, 2, 0, "No"),
        finished(4, 1, "No", 0),
    ]);
    assert_eq!(
        void,
        "step 1 · demo/demo\nIt\n  attempt 1 failed (cut_after): it broke off\n  attempt 2 · demo/demo\nNo\n  10 tokens in (4 cached), 5 out · 100 ms\n"
    );
}

#[test]
fn calls_of_one_step_are_numbered_and_every_outcome_has_its_words() {
    let finish =
        |index: u32, status: &str| (1, 1, "tool.finished", json!({ "index": index, "name": "pay", "status": status, "result": "why" }));
    let (text, _) = told(&[started(0, 1, 1), finished(1, 1, "", 3), finish(0, "error"), finish(1, "refused"), finish(2, "in_doubt")]);
    assert!(
        text.ends_with("← [1] pay failed why\n  ← [2] pay refused, not sent: {} why\n  ← [3] pay in doubt: it may have happened why\n"),
        "{text}"
    );
}

#[test]
fn what_is_not_known_is_skipped() {
    assert_eq!(told(&[(0, 1, "tool.dreamt", json!({ "name": "x" }))]).0, "");
}
