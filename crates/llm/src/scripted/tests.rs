//! The scripted model keeps to its script.

use crate::{Line, Scripted, fixture::request};
use maniple_core::{
    message::{FinishReason, Message, ToolCall},
    model::{Fault, FaultKind, ModelRequest},
    ports::Model,
};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

async fn ask(model: &Scripted, request: &ModelRequest) -> (Result<Option<String>, Fault>, Vec<String>) {
    let mut heard = Vec::new();
    let reply = model.call(request, &mut |word| heard.push(word.to_owned())).await;
    (reply.map(|reply| reply.text), heard)
}

#[tokio::test]
async fn it_says_its_lines_in_order_and_remembers_what_it_was_asked() {
    let model = Scripted::new([Line::text("one two"), Line::call("pay", json!({"n": 1})).and_call("clock", json!("not json"))]);
    let first = ask(&model, &request("a")).await;
    assert_eq!(first, (Ok(Some("one two".into())), vec!["one ".to_owned(), "two".to_owned()]));
    let reply = model.call(&request("b"), &mut |_| {}).await.expect("an answer");
    let call =
        |id: &str, name: &str, arguments: &str| ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), extra: None };
    assert_eq!(
        reply.calls,
        [call(&crate::answer::made_id(&["1", "0"]), "pay", r#"{"n":1}"#), call(&crate::answer::made_id(&["1", "1"]), "clock", "not json")]
    );
    assert_eq!((reply.finish_reason, reply.model.as_str()), (FinishReason::ToolCalls, "m1"));
    assert_eq!(ask(&model, &request("c")).await.0.expect_err("no third line").kind, FaultKind::Invalid);
    assert_eq!(model.requests(), [request("a"), request("b"), request("c")]);
    assert_eq!(model.calls(), 3);
}

#[tokio::test]
async fn a_broken_answer_is_heard_and_is_no_reply() {
    let model = Scripted::new([Line::cut("half an")]);
    let (reply, heard) = ask(&model, &request("a")).await;
    assert_eq!((reply.expect_err("cut").kind, heard.concat()), (FaultKind::CutAfter, "half an".to_owned()));
}

#[tokio::test]
async fn by_step_it_says_what_the_conversation_has_come_to() {
    let model = Scripted::by_step([Line::call("clock", json!({})), Line::text("noon"), Line::text("noon, repaired")]);
    let assistant = |text: Option<&str>, calls: &[ToolCall]| Message::Assistant {
        content: text.map(str::to_owned),
        calls: calls.to_vec(),
        reasoning: None,
        by: None,
    };
    let user = |text: &str| Message::User { content: text.into() };
    let mut asked = request("an earlier turn");
    asked.messages.extend([assistant(Some("its answer"), &[]), user("what time is it")]);
    let calls = model.call(&asked, &mut |_| {}).await.expect("a reply").calls;
    assert_eq!(calls[0].name, "clock");
    asked.messages.push(assistant(None, &calls));
    asked.messages.push(Message::Tool { call_id: calls[0].id.clone(), name: "clock".into(), content: "12:00".into(), is_error: false });
    assert_eq!(ask(&model, &asked).await.0, Ok(Some("noon".into())));
    asked.messages.extend([assistant(Some("noon"), &[]), user("that does not fit")]);
    assert_eq!(ask(&model, &asked).await.0, Ok(Some("noon, repaired".into())));
}

#[tokio::test(start_paused = true)]
async fn it_takes_its_time_within_the_times_of_the_request() {
    let slow = |line: Line| Scripted::answering(move |_| line.clone());
    let begun = Instant::now();
    let (reply, _) = ask(&slow(Line::text("a b c").after(Duration::from_secs(2)).slowly(Duration::from_secs(1))), &request("a")).await;
    assert!(reply.is_ok());
    assert_eq!(begun.elapsed(), Duration::from_secs(4));
    for (line, after) in [
        (Line::text("a").after(Duration::from_secs(31)), 30),
        (Line::text("a b").slowly(Duration::from_secs(31)), 30),
        (Line::text("a ".repeat(100)).slowly(Duration::from_secs(29)), 600),
    ] {
        let begun = Instant::now();
        assert_eq!(ask(&slow(line), &request("a")).await.0.expect_err("late").kind, FaultKind::TimedOut);
        assert_eq!(begun.elapsed(), Duration::from_secs(after));
    }
}

#[tokio::test]
async fn a_test_can_wait_until_it_is_called() {
    let model = Scripted::new([Line::text("late").after(Duration::from_secs(20))]);
    let other = model.clone();
    let call = tokio::spawn(async move { other.call(&request("a"), &mut |_| {}).await });
    model.called(1).await;
    call.abort();
    assert!(call.await.expect_err("aborted").is_cancelled());
    assert_eq!(model.calls(), 1);
}

#[test]
fn lines_are_read_from_a_file_strictly() {
    let line: Line = serde_json::from_value(json!({"calls": [{"name": "clock"}], "delay_ms": 5})).expect("a line");
    let mut expected = Line::call("clock", serde_json::Value::Null).after(Duration::from_millis(5));
    assert_eq!(line, expected);
    expected = serde_json::from_value(json!({"fault": "overloaded", "message": "down"})).expect("a line");
    assert_eq!(expected, Line::fault(FaultKind::Overloaded, "down"));
    assert!(serde_json::from_value::<Line>(json!({"txt": "typo"})).is_err());
}
