//! The calls of runs elsewhere, at the door.

use super::*;
use maniple_core::ports::{Invoked, Refusal};

fn of_run(send: &str, again: bool) -> Value {
    let run = if again { json!({ "key": "t:1:0", "send": send, "again": true }) } else { json!({ "key": "t:1:0", "send": send }) };
    json!({ "agent": "search", "version": "=1.0.0", "contract": definition("a", "1.0.0").contract_hash(), "run": run })
}

#[tokio::test(start_paused = true)]
async fn a_send_is_made_once_and_what_came_of_it_is_known_to_whoever_asks_again() {
    let (house, registry) = shop(&["a@1.0.0"]);
    registry.will(Duration::from_secs(2), Invoked::Ok(json!({ "sum": 3 })));
    let expected = json!({ "result": { "sum": 3 }, "tool": "a", "version": "1.0.0" });
    let asked = house.post("/tools/a/invoke", of_run("t:1:0#1.1", false));
    assert!(tokio::time::timeout(Duration::from_secs(1), asked).await.is_err(), "its answer is lost");
    assert_eq!(house.post("/tools/a/invoke", of_run("t:1:0#1.1", true)).await.json(), expected, "it is waited for");
    registry.change("a@1.0.0", |known| known.definition.name = "gone".into());
    for again in [true, false] {
        assert_eq!(house.post("/tools/a/invoke", of_run("t:1:0#1.1", again)).await.json(), expected, "a send is not made twice");
    }
    assert_eq!(seen(&registry.calls).len(), 1);
    let call = registry.call();
    assert_eq!((&*call.key, &*call.send, seen(&registry.direct).len()), ("t:1:0", "t:1:0#1.1", 0), "under the run's own names");
}

#[tokio::test(start_paused = true)]
async fn a_send_that_this_process_does_not_know_of_is_not_made_by_asking_about_it() {
    let (house, registry) = locked_shop(&["a@1.0.0"]);
    let ask = async |who: &str, again| as_(&house, who, posting("/tools/a/invoke", &of_run("s", again))).await;
    let unknown = ask("node", true).await.problem(404);
    assert_eq!((&unknown["type"], unknown.get("outcome")), (&json!("urn:maniple:problem:call-not-known"), None));
    assert!(seen(&registry.calls).is_empty());
    assert_eq!(ask("node", false).await.status, StatusCode::OK);
    assert_eq!(ask("node", true).await.status, StatusCode::OK);
    assert_eq!(ask("other node", true).await.problem(404)["type"], unknown["type"], "nobody hears of another principal's calls");
}

#[tokio::test(start_paused = true)]
async fn every_outcome_of_a_runs_call_is_told_again_as_it_was() {
    let (house, registry) = shop(&["a@1.0.0"]);
    let refused = Invoked::Refused(Refusal { kind: RefusalKind::Forbidden, message: "no".into() });
    let wait = Invoked::Wait("often".into(), Duration::from_secs(1));
    for (number, invoked) in
        [Invoked::Failed(json!("broken")), Invoked::NotSent("down".into()), wait, refused, Invoked::Unknown("cut".into())]
            .into_iter()
            .enumerate()
    {
        registry.will(Duration::ZERO, invoked);
        let send = format!("s{number}");
        let (first, again) =
            (house.post("/tools/a/invoke", of_run(&send, false)).await, house.post("/tools/a/invoke", of_run(&send, true)).await);
        assert_eq!((first.status, first.json()), (again.status, again.json()));
        assert_eq!(seen(&registry.calls).len(), number + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_only_a_journal_knows_is_an_operators_word_and_the_rest_is_checked() {
    let (house, registry) = locked_shop(&["a@1.0.0"]);
    let call = |more: Value| {
        let mut body = json!({ "agent": "search", "run": { "key": "t:1:0", "send": "s" } });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        posting("/tools/a/invoke", &body)
    };
    let own = json!({ "run": { "key": "acme/t:1:0", "send": "s" } });
    for (who, more) in [("maker", json!({})), ("root", own)] {
        let refused = as_(&house, who, call(more)).await.problem(403);
        assert_eq!(refused["field"], "run", "{who} is no runtime, whatever the tool");
    }
    registry.change("a@1.0.0", |known| known.definition.requires_approval = true);
    let theirs = json!({ "tenant": "other", "run": { "key": "other/t:1:0", "send": "s" } });
    assert_eq!(as_(&house, "node", call(theirs)).await.status, StatusCode::OK);
    assert_eq!((registry.call().tenant.as_str(), registry.call().key.as_str()), ("other", "other/t:1:0"));
    *seen(&registry.unfit) = Some(Refusal { kind: RefusalKind::Arguments, message: "at /n: too big".into() });
    let unfit = as_(&house, "node", call(json!({ "tenant": "other", "run": { "key": "other/t:1:1", "send": "s" } }))).await.problem(422);
    assert_eq!(unfit["outcome"]["reason"], "arguments");
    assert_eq!(seen(&registry.calls).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_runs_key_is_its_tenants_and_no_direct_calls() {
    let (house, registry) = locked_shop(&["a@1.0.0"]);
    for (tenant, key) in [
        ("default", "acme/t:1:0"),
        ("default", "default/call/ann/k"),
        ("default", "default/t:1:0"),
        ("acme", "t:1:0"),
        ("acme", "other/t:1:0"),
        ("acme", "acme/call/ann/k"),
        ("acme", "acme/call/ann/t:1:0"),
    ] {
        for what in ["invoke", "admit", "probe"] {
            let body = json!({ "agent": "search", "tenant": tenant, "run": { "key": key, "send": "s" } });
            let refused = as_(&house, "node", posting(&format!("/tools/a/{what}"), &body)).await.problem(422);
            assert_eq!(refused["field"], "run.key", "{tenant} {key} {what}");
        }
    }
    assert!(seen(&registry.calls).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_run_elsewhere_asks_whether_its_call_may_go_and_whether_it_happened() {
    let (house, registry) = shop(&["a@1.0.0"]);
    let asked = json!({ "agent": "search", "run": { "key": "t:1:0", "send": "t:1:0:1" } });
    assert_eq!(house.post("/tools/a/admit", asked.clone()).await.json(), json!({ "admitted": false, "wait_ms": 1500 }));
    assert_eq!((registry.call().key, registry.call().send), ("t:1:0".to_owned(), "t:1:0:1".to_owned()));
    assert_eq!(house.post("/tools/a/probe", asked.clone()).await.json(), json!({ "probed": "happened", "result": { "key": "t:1:0" } }));
    let keyed = house.post_with("/tools/a/invoke", asked, ("Idempotency-Key", "k")).await.problem(422);
    assert_eq!(keyed["field"], "Idempotency-Key", "its key is the run's");
}
