//! Asking: run, tasks, ids, keys, cancel, retry.

use super::*;
use std::collections::BTreeSet;

#[tokio::test(start_paused = true)]
async fn a_run_answers_with_every_field_and_its_place() {
    let house = house();
    let answer = house.post("/run", json!({"prompt": "2+2?", "session_id": "s", "metadata": {"a": 1}})).await;
    assert_eq!(answer.status, StatusCode::OK);
    let task = answer.json();
    let shown: BTreeSet<&str> = task.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "task_id status output steps_used tokens_used tool_calls error duration_ms session_id agent created_at started_at \
        finished_at error_detail structured cost_usd model trace_id waiting_for retry_of";
    assert_eq!(shown, expected.split_whitespace().collect());
    assert_eq!((&task["status"], &task["output"], &task["session_id"]), (&json!("completed"), &json!("answer to: 2+2?"), &json!("s")));
    assert_eq!((&task["steps_used"], &task["error"], &task["agent"]), (&json!(1), &Value::Null, &json!("search")));
    assert_eq!(answer.header("location"), Some(&*format!("/tasks/{}", task["task_id"].as_str().unwrap())));
    assert_eq!(house.get(answer.header("location").unwrap()).await.json(), task);
    assert_eq!(house.get(&format!("/status/{}", task["task_id"].as_str().unwrap())).await.json(), task);
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_is_200_too() {
    let answer = house().post("/run", json!({"prompt": "fail"})).await;
    assert_eq!(
        (answer.status, &answer.json()["status"], &answer.json()["error"]),
        (StatusCode::OK, &json!("failed"), &json!("model_denied"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_past_its_time_is_202_and_goes_on() {
    let house = house();
    let began = tokio::time::Instant::now();
    let answer = house.post("/run", json!({"prompt": "slow"})).await;
    assert_eq!((answer.status, began.elapsed().as_secs()), (StatusCode::ACCEPTED, 2));
    let id = answer.json()["task_id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), Some(&*format!("/tasks/{id}")));
    assert_eq!(house.ended(&id).await["status"], "completed");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_run_is_answered_when_the_node_leaves() {
    let house = house();
    let closing = house.closing.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        closing.cancel();
    });
    let began = tokio::time::Instant::now();
    let answer = house.post("/run", json!({"prompt": "slow"})).await;
    assert_eq!((answer.status, began.elapsed()), (StatusCode::ACCEPTED, Duration::from_millis(500)));
    house.get("/ready").await.problem(503);
    assert_eq!(house.get("/health").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn an_id_is_the_callers_once() {
    let house = house();
    let first = house.post("/tasks", json!({"prompt": "p", "id": "mine", "max_steps": 3})).await;
    assert_eq!((first.status, &first.json()["task_id"]), (StatusCode::ACCEPTED, &json!("mine")));
    house.ended("mine").await;
    let again = house
        .ask(
            Request::post("/agents/search/tasks")
                .header("content-type", "application/vnd.x+json; charset=UTF-8")
                .body(Body::from("{ \"max_steps\":3, \"id\":\"mine\",\n\"prompt\":\"\\u0070\", \"agent\": \"search\"}"))
                .unwrap(),
        )
        .await;
    assert_eq!((again.status, &again.json()["status"]), (StatusCode::ACCEPTED, &json!("completed")));
    assert_eq!(again.header("idempotency-replayed"), None);
    assert_eq!(house.post("/run", json!({"prompt": "p", "id": "mine", "max_steps": 3})).await.status, StatusCode::OK);
    assert_eq!(house.post("/tasks", json!({"prompt": "p", "id": "mine"})).await.problem(409)["field"], "id");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_one_task_across_run_and_tasks_and_spellings() {
    let house = house();
    let body = || json!({"prompt": "p", "session_id": "s"});
    let first = house.post_with("/tasks", body(), ("Idempotency-Key", "k")).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (StatusCode::ACCEPTED, None));
    let id = first.json()["task_id"].clone();
    for path in ["/tasks", "/agents/search/tasks", "/run", "/agents/search/run"] {
        let again = house.post_with(path, body(), ("idempotency-key", "k")).await;
        assert_eq!((again.json()["task_id"].clone(), again.header("idempotency-replayed")), (id.clone(), Some("true")), "{path}");
        assert_eq!(again.status.as_u16(), if path.ends_with("run") { 200 } else { 202 });
    }
    let other = house.post_with("/run", json!({"prompt": "q", "session_id": "s"}), ("Idempotency-Key", "k")).await;
    assert_eq!(other.problem(422)["field"], "Idempotency-Key");
    for bad in ["", "é", &"x".repeat(256)] {
        let mut request = posting("/tasks", &body());
        request.headers_mut().insert("idempotency-key", http::HeaderValue::from_bytes(bad.as_bytes()).unwrap());
        assert_eq!(house.ask(request).await.problem(400)["field"], "Idempotency-Key", "{bad:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_was_accepted_is_remembered_under_a_key() {
    let house = house();
    house.post_with("/tasks", json!({"prompt": ""}), ("Idempotency-Key", "k")).await.problem(422);
    let accepted = house.post_with("/tasks", json!({"prompt": "p"}), ("Idempotency-Key", "k")).await;
    assert_eq!((accepted.status, accepted.header("idempotency-replayed")), (StatusCode::ACCEPTED, None));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_posts_with_one_key_make_one_task() {
    let house = Arc::new(house());
    let posts = (0..1_000).map(|n| {
        let house = house.clone();
        tokio::spawn(async move {
            let path = if n % 3 == 0 { "/run" } else { "/tasks" };
            house.post_with(path, json!({"prompt": "slowly but once"}), ("Idempotency-Key", "k")).await
        })
    });
    let answers: Vec<Answer> = futures::future::join_all(posts).await.into_iter().map(Result::unwrap).collect();
    let tasks: BTreeSet<String> = answers.iter().map(|answer| answer.json()["task_id"].to_string()).collect();
    assert_eq!(tasks.len(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).count(), 1);
    assert_eq!(house.get("/tasks").await.json()["tasks"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_202_until_the_task_is_final_and_200_then() {
    let house = house();
    let id = house.post("/tasks", json!({"prompt": "slow"})).await.json()["task_id"].as_str().unwrap().to_owned();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(house.delete(&format!("/tasks/{id}")).await.status, StatusCode::ACCEPTED);
    let ended = house.ended(&id).await;
    assert_eq!(ended["status"], "cancelled");
    let again = house.ask(empty_post(&format!("/tasks/{id}/cancel"))).await;
    assert_eq!((again.status, again.json()), (StatusCode::OK, ended));

    let done = house.run("p").await;
    let path = format!("/agents/search/tasks/{}/cancel", done["task_id"].as_str().unwrap());
    let first = house.post_with(&path, json!({}), ("Idempotency-Key", "k")).await;
    assert_eq!((first.status, first.json(), first.header("idempotency-replayed")), (StatusCode::OK, done.clone(), None));
    let second = house.post_with(path.trim_start_matches("/agents/search"), json!({}), ("Idempotency-Key", "k")).await;
    assert_eq!((second.status, second.json(), second.header("idempotency-replayed")), (StatusCode::OK, done, Some("true")));
    assert_eq!(house.post(&path, json!({"why": "x"})).await.problem(422)["field"], "why");
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_is_retried_once_a_key() {
    let house = house();
    let failed = house.run("fail").await;
    let path = format!("/tasks/{}/retry", failed["task_id"].as_str().unwrap());
    let with_key = || async {
        let mut request = empty_post(&path);
        request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        house.ask(request).await
    };
    let (first, second) = (with_key().await, with_key().await);
    assert_eq!((first.status, &first.json()["retry_of"]), (StatusCode::ACCEPTED, &failed["task_id"]));
    assert_eq!((second.status, second.json()["task_id"].clone()), (StatusCode::ACCEPTED, first.json()["task_id"].clone()));
    assert_eq!((first.header("idempotency-replayed"), second.header("idempotency-replayed")), (None, Some("true")));
    assert_ne!(house.ask(empty_post(&path)).await.json()["task_id"], first.json()["task_id"]);
    let done = house.run("p").await;
    house.ask(empty_post(&format!("/tasks/{}/retry", done["task_id"].as_str().unwrap()))).await.problem(409);
    house.ask(empty_post("/tasks/none/retry")).await.problem(404);
}

#[tokio::test(start_paused = true)]
async fn several_agents_are_told_apart_by_path_or_body() {
    let house = build(Plan { agents: vec![agent("search"), agent("write")], ..Plan::default() });
    let problem = house.post("/run", json!({"prompt": "p"})).await.problem(422);
    assert!(problem["field"] == "agent" && problem["detail"].as_str().unwrap().contains("search, write"), "{problem}");
    assert_eq!(house.post("/run", json!({"prompt": "p", "agent": "write"})).await.json()["agent"], "write");
    assert_eq!(house.post("/agents/write/run", json!({"prompt": "p"})).await.json()["agent"], "write");
    assert_eq!(house.post("/agents/write/run", json!({"prompt": "p", "agent": "search"})).await.problem(422)["field"], "agent");
    let unknown = house.post("/run", json!({"prompt": "p", "agent": "nobody"})).await.problem(422);
    assert!(unknown["detail"].as_str().unwrap().contains("search, write"), "{unknown}");
    let id = house.post("/agents/write/run", json!({"prompt": "p"})).await.json()["task_id"].as_str().unwrap().to_owned();
    assert_eq!(house.get(&format!("/agents/write/tasks/{id}")).await.status, StatusCode::OK);
    house.get(&format!("/agents/search/tasks/{id}")).await.problem(404);
    house.ask(empty_post(&format!("/agents/search/tasks/{id}/cancel"))).await.problem(404);
    house.post("/agents/nobody/run", json!({"prompt": "p"})).await.problem(404);
    house.post("/agents/No-body/run", json!({"prompt": "p"})).await.problem(404);
}

#[tokio::test(start_paused = true)]
async fn the_callers_trace_is_honoured_and_one_is_begun_otherwise() {
    let house = house();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(house.post_with("/run", json!({"prompt": "p"}), ("traceparent", parent)).await.json()["trace_id"], parent[3..35]);
    for bad in ["", "00-0-0-00", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"] {
        let begun = house.post_with("/run", json!({"prompt": "p"}), ("traceparent", bad)).await.json()["trace_id"].clone();
        assert_eq!(begun.as_str().unwrap().len(), 32);
        assert!(!bad.contains(begun.as_str().unwrap()));
    }
}

#[tokio::test(start_paused = true)]
async fn every_refusal_of_a_field_is_422_and_names_it() {
    let house = house();
    for (field, value) in
        [("max_steps", json!(26)), ("prompt", json!(5)), ("max_step", json!(3)), ("webhook", json!("x")), ("priority", json!(null))]
    {
        let mut body = json!({"prompt": "p"});
        body[field] = value;
        assert_eq!(house.post("/tasks", body).await.problem(422)["field"], field);
    }
    for body in [json!([]), json!(null), json!("p")] {
        house.post("/tasks", body).await.problem(422);
    }
    assert_eq!(house.post("/tasks", json!({})).await.problem(422)["field"], "prompt");
}
