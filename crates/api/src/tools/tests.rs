//! The words of `/tools`: strict on the way in, and nothing lost on the way back.

use super::{outcome::CallOutcome, wire::*};
use maniple_core::ports::{Admission, Invoked, Probed, Refusal, RefusalKind};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn every_outcome_comes_back_as_it_went_under_the_status_that_says_the_same() {
    let refused = |kind| Invoked::Refused(Refusal { kind, message: "no".into() });
    let table = [
        (Invoked::Failed(json!({ "status": 500, "body": "out of order" })), 502, None),
        (Invoked::NotSent("refused connection".into()), 503, Some(1)),
        (Invoked::Wait("too often".into(), Duration::from_millis(1_500)), 429, Some(2)),
        (Invoked::Unknown("no answer".into()), 504, None),
        (refused(RefusalKind::Arguments), 422, None),
        (refused(RefusalKind::KeyReused), 422, None),
        (refused(RefusalKind::NotGranted), 403, None),
        (refused(RefusalKind::Forbidden), 403, None),
        (refused(RefusalKind::NeedsApproval), 403, None),
        (refused(RefusalKind::NotFound), 404, None),
        (refused(RefusalKind::Quarantined), 409, None),
    ];
    for (invoked, status, retry_after) in table {
        let problem = CallOutcome::of(invoked.clone()).unwrap_err().problem();
        assert_eq!((problem.status, problem.retry_after), (status, retry_after), "{invoked:?}");
        let sent = serde_json::to_string(&problem).unwrap();
        let back = CallOutcome::in_problem(&serde_json::from_str(&sent).unwrap()).unwrap();
        assert_eq!(Invoked::from(back), invoked);
    }
    assert_eq!(CallOutcome::of(Invoked::Ok(json!([1]))), Ok(json!([1])));
}

#[test]
fn what_a_tool_answered_is_in_the_sentence_and_whole_in_the_member() {
    let failure = json!({ "status": 500, "body": "x".repeat(4_000) });
    let problem = CallOutcome::of(Invoked::Failed(failure.clone())).unwrap_err().problem();
    assert!(problem.detail.starts_with("the tool answered 500: xxx") && problem.detail.len() < 300, "{}", problem.detail);
    assert_eq!(problem.more["outcome"]["result"], failure);
}

#[test]
fn admissions_and_probes_come_back_as_they_went() {
    for admission in [Admission::Now, Admission::After(Duration::from_millis(1_234))] {
        let wire = serde_json::to_value(AdmitAnswer::from(admission.clone())).unwrap();
        assert_eq!(Admission::from(serde_json::from_value::<AdmitAnswer>(wire).unwrap()), admission);
    }
    for probed in [Probed::Happened(json!({ "id": 7 })), Probed::DidNot, Probed::Unknown] {
        let wire = serde_json::to_value(ProbeAnswer::from(probed.clone())).unwrap();
        assert_eq!(Probed::from(serde_json::from_value::<ProbeAnswer>(wire).unwrap()), probed);
    }
}

#[test]
fn a_call_is_read_strictly_and_the_field_at_fault_is_named() {
    let of_run = |key: &str, send: &str| json!({ "agent": "a", "run": { "key": key, "send": send } });
    let cases: [(Value, &str); 12] = [
        (json!({ "agent": "a", "argments": {} }), "argments"),
        (json!({ "agent": "a", "arguments": [1] }), "arguments"),
        (json!({ "agent": "a", "version": null }), "version"),
        (json!({ "arguments": {} }), "agent"),
        (json!({ "agent": "a", "timeout_ms": 0 }), "timeout_ms"),
        (json!({ "agent": "a", "timeout_ms": 600_001 }), "timeout_ms"),
        (json!({ "agent": "a", "key": "" }), "key"),
        (json!({ "agent": "a", "principal": "" }), "principal"),
        (json!({ "agent": "a", "send": "s" }), "send"),
        (json!({ "agent": "a", "run": {} }), "run"),
        (of_run("k", "a\nb"), "run.send"),
        (of_run("", "s"), "run.key"),
    ];
    for (body, field) in cases {
        assert_eq!(CallRequest::read(&body).unwrap_err().field.as_deref(), Some(field), "{body}");
    }
    let told = CallRequest::read(&json!({ "agent": "a", "argments": {} })).unwrap_err().message;
    assert!(told.contains("did you mean `arguments`"), "{told}");
    assert!(CallRequest::read(&json!([])).is_err());
    let both = ResolveRequest::read(&json!({ "agent": "a", "tools": [], "pick": "x" })).unwrap_err();
    assert_eq!(both.field.as_deref(), Some("pick"));
}
