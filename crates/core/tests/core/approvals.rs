//! What people are asked about calls, and what their answers mean.

use crate::bench::{ACCEPTED, APPROVAL_EXPIRES, Bench, definitions, signal, task, tool};
use maniple_core::{
    Time,
    event::{Answer, ApprovalDecided, ApprovalRequested, Event, Question, ToolStatus},
    ports::Decision,
    run::{Awaited, Next, Run},
    signal::{Signal, SignalKind},
    task::Task,
    tool::{Effect, OnInDoubt, ToolDefinition, Way},
};
use serde_json::json;

/// `pay` needs an agreement, `send` asks a person when nobody knows.
fn bench(task: Task) -> Bench {
    let mut definitions = definitions();
    definitions.tools[2].requires_approval = true;
    definitions.tools.push(ToolDefinition { on_in_doubt: OnInDoubt::Ask, ..tool("send", Effect::AtMostOnce) });
    let mut bench = Bench::with(task, definitions, None);
    bench.start();
    bench
}

fn requests(record: &[Event]) -> Vec<ApprovalRequested> {
    record.iter().filter_map(|event| if let Event::ApprovalRequested(request) = event { Some(request.clone()) } else { None }).collect()
}

fn says(id: &str, approve: bool, reason: Option<&str>) -> Signal {
    Decision { approve, by: "ann".into(), reason: reason.map(Into::into) }.signal(id)
}

/// The holder folds the decision in and records it.
fn decides(bench: &mut Bench, signal: &Signal) {
    let facts = bench.live.signalled(signal);
    assert_eq!(facts.len(), 1, "{facts:?}");
    let step = bench.live.step_number();
    bench.record(&facts.into_iter().map(|fact| (step, fact)).collect::<Vec<_>>());
}

#[test]
fn a_call_that_needs_an_agreement_asks_once_and_the_others_go() {
    let mut bench = bench(task());
    bench.calls(&[("pay", r#"{"n":1}"#), ("look", "{}")]);
    let plan = bench.plan(8);
    assert_eq!(plan.send.iter().map(|started| started.name.as_str()).collect::<Vec<_>>(), ["look"]);
    let until = bench.now.plus(APPROVAL_EXPIRES);
    let [request] = &requests(&plan.record)[..] else { panic!("{:?}", plan.record) };
    assert_eq!((request.id.as_str(), request.question, request.expires_at), ("t-1:1:0", Question::MayCall, until));
    assert_eq!(
        (&request.arguments, request.contract.as_str()),
        (&json!({ "n": 1 }), &*bench.contracts.definitions.tools[2].contract_hash())
    );
    for _ in 0..2 {
        let again = bench.plan(8);
        assert_eq!((again.record.len(), again.awaits), (0, Some(Awaited::decision(until))), "it was asked");
        bench.crash();
        bench.now = Time(bench.now.0 + 1);
    }
}

#[test]
fn what_was_agreed_to_is_sent_and_what_was_refused_is_not() {
    let mut bench = bench(task());
    bench.calls(&[("pay", r#"{"n":1}"#), ("pay", r#"{"n":2}"#)]).plan(8);
    decides(&mut bench, &says("t-1:1:0", true, None));
    decides(&mut bench, &says("t-1:1:1", false, Some("too dear")));
    bench.crash();
    let plan = bench.plan(8);
    assert_eq!(plan.send.iter().map(|started| started.key.as_str()).collect::<Vec<_>>(), ["t-1:1:0"]);
    bench.finished(&plan.send[0], ToolStatus::Ok, json!("paid"));
    assert_eq!(bench.outcomes(), [("paid".into(), false), ("a person refused this call: too dear".into(), true)]);
}

#[test]
fn a_decision_is_folded_once_and_only_for_what_was_asked() {
    let mut bench = bench(task());
    bench.calls(&[("pay", "{}")]).plan(8);
    assert_eq!(bench.live.signalled(&says("t-1:1:7", true, None)), []);
    assert_eq!(bench.live.signalled(&signal("nonsense", SignalKind::Approval)), []);
    decides(&mut bench, &says("t-1:1:0", true, None));
    assert_eq!(bench.live.signalled(&says("t-1:1:0", false, None)), [], "it is decided");
}

#[test]
fn a_request_nobody_answers_in_time_is_a_refusal_and_ends_with_the_deadline_at_the_latest() {
    let mut bench = bench(Task { deadline_ms: Some(70_000), ..task() });
    bench.calls(&[("pay", "{}"), ("look", "{}")]);
    let sent = bench.plan(8).send;
    bench.finished(&sent[0], ToolStatus::Ok, json!(1));
    bench.now = bench.now.plus(APPROVAL_EXPIRES);
    let expired = ApprovalDecided { id: "t-1:1:0".into(), index: 0, answer: Answer::Expired, by: None, reason: None };
    assert_eq!(bench.plan(8).record, [Event::ApprovalDecided(expired)]);
    bench.plan(8);
    assert!(bench.outcomes()[0].0.contains("nobody agreed to this call in time"));
    bench.calls(&[("pay", "{}")]);
    assert_eq!(requests(&bench.plan(8).record)[0].expires_at, Time(ACCEPTED.0 + 70_000));
}

#[test]
fn an_agreement_fits_only_what_was_shown() {
    let changes: [fn(&mut ApprovalRequested); 7] = [
        |shown| shown.tool = "look".into(),
        |shown| shown.version.minor += 1,
        |shown| shown.contract = "another".into(),
        |shown| shown.arguments_hash = "another".into(),
        |shown| shown.way.as_mut().unwrap().host = "https://another.test".into(),
        |shown| shown.way.as_mut().unwrap().path = "/another".into(),
        |shown| shown.way.as_mut().unwrap().credential = Some("another".into()),
    ];
    for change in changes {
        let mut bench = bench(task());
        bench.calls(&[("pay", "{}")]).plan(8);
        let mut journal = bench.journal.clone();
        let last = journal.last_mut().unwrap();
        let Event::ApprovalRequested(mut shown) = last.event().unwrap() else { panic!("{last:?}") };
        change(&mut shown);
        last.data = Event::ApprovalRequested(shown).data().unwrap();
        (bench.live, bench.journal) = (Run::fold(&journal).unwrap(), journal);
        decides(&mut bench, &says("t-1:1:0", true, None));
        assert!(bench.plan(8).send.is_empty());
        assert!(bench.outcomes()[0].0.contains("not what would be called now"));
    }
}

#[test]
fn a_person_is_shown_where_the_call_goes_and_the_call_is_bound_to_it() {
    let mut bench = bench(task());
    bench.calls(&[("pay", "{}"), ("look", "{}")]);
    let plan = bench.plan(8);
    let way = Way::of(&bench.contracts.definitions.tools[2]);
    assert_eq!(requests(&plan.record)[0].way.as_ref(), Some(&way));
    assert_eq!(plan.send[0].way, None, "nobody was asked about that one");
    decides(&mut bench, &says("t-1:1:0", true, None));
    assert_eq!(bench.plan(8).send[0].way, Some(way));
}

#[test]
fn a_request_from_before_ways_were_recorded_is_still_agreed_to() {
    let mut bench = bench(task());
    bench.calls(&[("pay", "{}")]).plan(8);
    let mut journal = bench.journal.clone();
    let last = journal.last_mut().unwrap();
    let mut data: serde_json::Value = serde_json::from_str(last.data.get()).unwrap();
    data.as_object_mut().unwrap().remove("way").expect("it is recorded now");
    last.data = serde_json::value::to_raw_value(&data).unwrap();
    (bench.live, bench.journal) = (Run::fold(&journal).unwrap(), journal);
    decides(&mut bench, &says("t-1:1:0", true, None));
    assert_eq!(bench.plan(8).send.len(), 1);
}

#[test]
fn amounts_that_differ_in_their_last_digit_are_shown_as_different() {
    let mut bench = bench(task());
    bench.calls(&[("pay", r#"{"n":1234567890123456789}"#), ("pay", r#"{"n":1234567890123456788}"#)]);
    let requests = requests(&bench.plan(8).record);
    assert_ne!(requests[0].arguments_hash, requests[1].arguments_hash);
}

#[test]
fn of_a_call_in_doubt_a_person_is_asked_once_and_it_is_never_sent_again() {
    type Expected = (ToolStatus, &'static str);
    let answers: [(bool, Expected); 2] = [(true, (ToolStatus::Ok, "ann")), (false, (ToolStatus::Error, "did not happen: no trace of it"))];
    for (approve, (status, told)) in answers {
        let mut bench = bench(task());
        bench.calls(&[("send", "{}"), ("send", "{}")]).plan(1);
        bench.crash();
        let plan = bench.plan(8);
        assert_eq!(requests(&plan.record)[0].id, "t-1:1:0:doubt");
        assert_eq!((requests(&plan.record)[0].question, plan.send.len()), (Question::DidHappen, 0), "nor is its twin");
        bench.crash();
        assert!(bench.plan(8).record.is_empty());
        decides(&mut bench, &says("t-1:1:0:doubt", approve, (!approve).then_some("no trace of it")));
        bench.crash();
        let [Event::ToolFinished(finished)] = &bench.plan(8).record[..] else { panic!("it is settled") };
        assert_eq!(finished.status, status);
        assert!(finished.result.to_string().contains(told), "{}", finished.result);
        bench.calls(&[("send", "{}")]);
        assert_eq!(bench.plan(8).send.len(), 1, "nothing is in doubt any more: it is another call");
    }
}

#[test]
fn a_doubt_nobody_answers_stays_one() {
    let mut bench = bench(task());
    bench.calls(&[("send", "{}")]).plan(8);
    bench.crash();
    bench.plan(8);
    bench.now = bench.now.plus(APPROVAL_EXPIRES);
    bench.plan(8);
    bench.plan(8);
    assert!(bench.outcomes()[0].0.contains("this may have happened"));
    bench.calls(&[("send", "{}")]);
    assert!(bench.plan(8).send.is_empty());
}

#[test]
fn a_run_that_ends_while_a_person_is_asked_says_what_is_in_doubt() {
    let mut bench = bench(Task { deadline_ms: Some(10), ..task() });
    bench.calls(&[("send", "{}")]);
    let sent = bench.plan(8).send;
    bench.crash();
    bench.plan(8);
    bench.now = Time(ACCEPTED.0 + 10);
    assert!(matches!(bench.next(), Next::End(_)));
    assert_eq!(bench.live.open_doubts(), [Event::ToolFinished(Run::in_doubt(&sent[0]))]);
    bench.end();
    let taken = maniple_core::run::take_over(&bench.journal).unwrap();
    let mut definitions = bench.contracts.definitions.clone();
    definitions.tools.retain(|tool| tool.name == "send");
    let mut retry = Bench::with(Task { id: "t-2".to_owned().try_into().unwrap(), ..task() }, definitions, Some(taken));
    retry.start();
    let plan = retry.plan(8);
    assert_eq!((requests(&plan.record)[0].id.as_str(), plan.send.len()), ("t-2:1:0:doubt", 0), "the retry asks anew");
}

#[test]
fn an_agreement_to_a_call_that_was_not_sent_ends_with_its_task() {
    let mut bench = bench(Task { deadline_ms: Some(10), ..task() });
    bench.calls(&[("pay", "{}"), ("look", "{}")]).plan(8);
    decides(&mut bench, &says("t-1:1:0", true, None));
    bench.now = Time(ACCEPTED.0 + 10);
    bench.end();
    let taken = maniple_core::run::take_over(&bench.journal).unwrap();
    let mut retry =
        Bench::with(Task { id: "t-2".to_owned().try_into().unwrap(), ..task() }, bench.contracts.definitions.clone(), Some(taken));
    retry.start();
    assert_eq!(requests(&retry.plan(8).record)[0].id, "t-2:1:0");
}
