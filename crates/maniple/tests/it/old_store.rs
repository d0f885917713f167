//! Opens stores that older builds have written: what they hold stays true, and what they began goes on.
//!
//! `tests/fixtures/stores/vN` was left behind by a node that was killed, and its manifest says what is expected of it.

mod manifest;
mod world;

use maniple_core::{
    Time,
    event::StoredEvent,
    run::{Next, Run},
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use world::{World, sha256};

const V3: &str = "v3";

/// Fails where a member that the manifest has is not as it was. There may be new ones.
fn assert_holds(found: &Value, expected: &Value, what: &str) {
    for (name, value) in expected.as_object().unwrap_or_else(|| panic!("{what}: {expected} is no object")) {
        assert_eq!(&found[name], value, "{what}: {name} of {found}");
    }
}

/// What readers are sent, as it is folded.
fn journal(events: &[String]) -> Vec<StoredEvent> {
    #[derive(Deserialize)]
    struct Frame {
        id: u64,
        r#type: String,
        at: Time,
        step: u32,
        data: Box<RawValue>,
    }
    let frames = events.iter().map(|event| serde_json::from_str(event).expect("a frame"));
    frames.map(|Frame { id, r#type, at, step, data }| StoredEvent { seq: id, at, step, name: r#type.into(), data, made: None }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_had_ended_in_an_old_store_reads_as_it_did() {
    let world = World::of(V3).await;
    for task in &world.manifest.tasks {
        let Some(result) = &task.result else { continue };
        let (_, found) = world.get(&task.r#as, &format!("/tasks/{}", task.id)).await;
        assert_holds(&found, result, &task.id);
        let events = world.events(task).await;
        assert_eq!((events.len(), sha256(&events)), (task.events, task.sha256.clone()), "{}: {events:#?}", task.id);
        let run = Run::fold(&journal(&events)).unwrap_or_else(|error| panic!("{}: {error} {:?}: {events:#?}", task.id, error.source));
        assert_eq!(run.next(Time(0), None), Next::Nothing, "{}", task.id);
    }
    for who in ["shop", "press"] {
        assert_eq!(world.tasks_of(who).await, world.manifest.tasks_of(who), "{who}");
    }
    for conversation in &world.manifest.conversations {
        let (_, page) = world.get("shop", &conversation.path).await;
        assert_eq!(page["messages"], conversation.messages, "{}", conversation.path);
    }
    for approval in &world.manifest.approvals {
        let path = format!("/approvals/{}", approval["id"].as_str().expect("an id"));
        assert_holds(&world.get("shop", &path).await.1, approval, &path);
    }
    let (_, dead) = world.get("shop", "/dead-letters").await;
    let dead: Vec<&str> = dead["tasks"].as_array().into_iter().flatten().filter_map(|task| task["task_id"].as_str()).collect();
    assert_eq!(dead, world.manifest.dead_letters);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_under_way_in_an_old_store_goes_on_where_it_was() {
    let world = World::of(V3).await;
    for (task, then) in world.manifest.under_way() {
        let Some(decide) = &then.decide else { continue };
        let path = format!("/approvals/{}", decide.id);
        // A call in doubt is asked about once the node has found it.
        world.until(&task.r#as, &path, |status, _| status == 200).await;
        let (status, told, _) = world.post(&task.r#as, &path, None, Some(&json!({ "decision": decide.decision }))).await;
        assert_eq!(status, 200, "{told}");
    }
    for (task, then) in world.manifest.under_way() {
        let found = world.until(&task.r#as, &format!("/tasks/{}", task.id), |_, found| found["status"] == then.status).await;
        if found["status"] == "pending" {
            continue;
        }
        let events = world.events(task).await;
        assert_eq!(sha256(&events[..task.events]), task.sha256, "{} has another beginning: {events:#?}", task.id);
        let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).expect("JSON")).collect();
        let numbers: Vec<u64> = events.iter().filter_map(|event| event["id"].as_u64()).collect();
        assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>(), "{}", task.id);
        let outcomes: Vec<&Value> =
            events.iter().filter(|event| event["type"] == "tool.finished").map(|event| &event["data"]["status"]).collect();
        assert_eq!(outcomes, then.calls.iter().collect::<Vec<_>>(), "{}", task.id);
    }
    let mut expected: Vec<&String> = world.manifest.under_way().flat_map(|(_, then)| &then.arrivals).collect();
    expected.sort_unstable();
    assert_eq!(world.outside.arrivals().iter().collect::<Vec<_>>(), expected, "calls arrive once, under the keys they had");
    a_run_ends_on_the_agent_it_began_with(&world).await;
    a_dead_letter_can_be_tried_again(&world).await;
}

/// Its file is of the second edition, and so is what only waited.
async fn a_run_ends_on_the_agent_it_began_with(world: &World) {
    let [asked] = &world.outside.asked("Refund the chair.")[..] else { panic!("the one that was parked is asked once") };
    assert!(asked[0]["content"].as_str().is_some_and(|system| system.contains("first edition")), "{asked}");
    let [asked] = &world.outside.asked("Next, please: 2.")[..] else { panic!("the one that waited is asked once") };
    assert!(asked[0]["content"].as_str().is_some_and(|system| system.contains("second edition")), "{asked}");
    let prompts: Vec<&Value> = asked.as_array().into_iter().flatten().filter(|m| m["role"] == "user").map(|m| &m["content"]).collect();
    assert_eq!(prompts, ["Refund the chair.", "Next, please: 1.", "Next, please: 2."], "in the order in which they waited");
}

async fn a_dead_letter_can_be_tried_again(world: &World) {
    for id in &world.manifest.dead_letters {
        let (status, made, _) = world.post("shop", &format!("/dead-letters/{id}/requeue"), None, None).await;
        assert_eq!((status.as_u16(), &made["retry_of"]), (202, &json!(id)), "{made}");
        let path = format!("/tasks/{}", made["task_id"].as_str().expect("an id"));
        world.until("shop", &path, |_, found| found["status"] == "completed").await;
    }
    assert_eq!(world.get("shop", "/dead-letters").await.1["tasks"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_of_an_old_store_is_not_asked_anew() {
    let world = World::of(V3).await;
    for asked in &world.manifest.submissions {
        let key = asked.key.as_deref();
        let (status, found, is_replayed) = world.post(&asked.r#as, &asked.path, key, asked.body.as_ref()).await;
        assert!(status.is_success(), "{status} {found}");
        assert_eq!((found["task_id"].as_str(), is_replayed), (Some(&*asked.task_id), key.is_some()), "{found}");
        let Some(body) = &asked.body else { continue };
        let mut other = body.clone();
        other["prompt"] = "Something else.".into();
        let (status, told, _) = world.post(&asked.r#as, &asked.path, key, Some(&other)).await;
        assert_eq!(status, if key.is_some() { 422 } else { 409 }, "{told}");
    }
    for gone in &world.manifest.gone {
        let (status, told, _) = world.post(&gone.r#as, &gone.path, gone.key.as_deref(), gone.body.as_ref()).await;
        assert_eq!(status, 409, "{told}");
        let (status, told, _) = world.post(&gone.r#as, &gone.path, None, gone.body.as_ref()).await;
        assert_eq!(status, 409, "{told}");
        assert_eq!(world.get(&gone.r#as, &format!("/tasks/{}", gone.task_id)).await.0, 404);
    }
    for who in ["shop", "press"] {
        assert_eq!(world.tasks_of(who).await, world.manifest.tasks_of(who), "{who}: nothing was made");
    }
    what_was_decided_stays_decided(&world).await;
}

async fn what_was_decided_stays_decided(world: &World) {
    for approval in &world.manifest.approvals {
        let path = format!("/approvals/{}", approval["id"].as_str().expect("an id"));
        let (same, other) = if approval["state"] == "approved" { ("approve", "deny") } else { ("deny", "approve") };
        for (decision, expected) in [(same, 200), (other, 409)] {
            let body = json!({ "decision": decision, "reason": approval["decision"]["reason"] });
            let (status, told, _) = world.post("shop", &path, None, Some(&body)).await;
            assert_eq!(status, expected, "{decision}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tools_and_the_ledger_of_an_old_store_are_what_they_were() {
    let world = World::of(V3).await;
    for call in &world.manifest.calls {
        let path = format!("/tools/{}/invoke", call.tool);
        let (status, found, _) = world.post("shop", &path, Some(&call.key), Some(&call.body)).await;
        assert_eq!(status, call.status, "{}: {found}", call.key);
        call.result.iter().for_each(|result| assert_eq!(&found["result"], result, "{}", call.key));
        call.outcome.iter().for_each(|outcome| assert_holds(&found["outcome"], outcome, &call.key));
        let arrived: Vec<String> = world.outside.arrivals().into_iter().filter(|key| *key == call.key).collect();
        assert_eq!(arrived, call.arrivals, "{}", call.key);
        let other = json!({ "agent": call.body["agent"], "arguments": { "what": "something else" } });
        let (status, told, _) = world.post("shop", &path, Some(&call.key), Some(&other)).await;
        assert_eq!((status.as_u16(), &told["outcome"]["reason"]), (422, &json!("key_reused")), "{told}");
    }
    let (registered, added) = (&world.manifest.registered, &world.manifest.added);
    let (status, told, _) = world.post("shop", "/tools", None, Some(registered)).await;
    assert_eq!(status, 200, "a version that is known is renewed: {told}");
    let mut other = registered.clone();
    other["description"] = "Does something else.".into();
    let (status, told, _) = world.post("shop", "/tools", None, Some(&other)).await;
    assert_eq!(status, 409, "a version has one contract for ever: {told}");
    for definition in [registered, added] {
        let name = definition["name"].as_str().expect("a name");
        let (_, known) = world.get("shop", &format!("/tools/{name}")).await;
        assert_holds(&known["definition"], definition, name);
        let body = json!({ "agent": "clerk", "arguments": { "what": "you" } });
        let (status, told, _) = world.post("shop", &format!("/tools/{name}/invoke"), None, Some(&body)).await;
        assert_eq!((status.as_u16(), &told["result"]["done"]), (200, &json!(format!("/{name}"))), "{told}");
    }
}
