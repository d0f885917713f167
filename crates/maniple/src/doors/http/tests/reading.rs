//! Reading: events, lists, sessions, dead letters, descriptions.

use super::*;
use futures::StreamExt;
use maniple_core::{
    Error, Result,
    ports::{Claimed, Delta, Live, Room, Swept, Waiting},
};

#[tokio::test(start_paused = true)]
async fn a_run_can_be_asked_for_as_a_stream() {
    let house = house();
    let mut request = posting("/run", &json!({"prompt": "one two"}));
    request.headers_mut().insert("accept", "text/event-stream".parse().unwrap());
    let answer = house.ask(request).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, Some("text/event-stream")));
    let frames = frames(&answer.bytes);
    let events: Vec<&Frame> = frames.iter().filter(|frame| frame.0.is_some()).collect();
    assert_eq!(events.iter().map(|event| event.0.unwrap()).collect::<Vec<_>>(), (1..=events.len() as u64).collect::<Vec<_>>());
    let kinds: Vec<&str> = events.iter().map(|event| event.1.as_str()).collect();
    assert_eq!(kinds, ["task.accepted", "task.started", "model.started", "model.finished", "task.completed"]);
    let task = &events[0].2["task_id"];
    for (id, kind, data) in &events {
        assert_eq!((&data["id"], &data["type"], &data["task_id"]), (&json!(id.unwrap()), &json!(kind), task));
        assert!(data["at"].is_string() && data["step"].is_u64() && data["data"].is_object(), "{data}");
    }
    let deltas: Vec<&Frame> = frames.iter().filter(|frame| frame.0.is_none()).collect();
    assert_eq!(
        (deltas[0].1.as_str(), &deltas[0].2),
        ("delta", &json!({"step": 1, "attempt": 1, "index": 0, "text": "answer to: one two"}))
    );
    assert_eq!(answer.header("location"), Some(&*format!("/tasks/{}", task.as_str().unwrap())));
}

#[tokio::test(start_paused = true)]
async fn a_stream_hands_out_some_kib_until_they_are_taken_and_then_the_next() {
    let house = house();
    let id = house.run(&"x".repeat(200 << 10)).await["task_id"].as_str().unwrap().to_owned();
    let response = house.open(Request::get(format!("/tasks/{id}/events")).body(Body::empty()).unwrap()).await;
    let mut pieces = response.into_body().into_data_stream();
    let (mut held, mut whole): (Vec<bytes::Bytes>, Vec<u8>) = Default::default();
    loop {
        // A minute in which nothing is taken.
        match tokio::time::timeout(Duration::from_secs(60), pieces.next()).await {
            Ok(Some(piece)) => held.push(piece.unwrap()),
            Ok(None) => break,
            Err(_) => {
                assert!(!held.is_empty(), "it goes on once they are taken");
                held.drain(..).for_each(|piece| whole.extend_from_slice(&piece));
            }
        }
        let bytes: usize = held.iter().map(|piece| piece.len()).sum();
        assert!(bytes <= 16 << 10, "{bytes} bytes are out at once");
    }
    held.drain(..).for_each(|piece| whole.extend_from_slice(&piece));
    assert_eq!(frames(&whole), frames(&house.get(&format!("/tasks/{id}/events")).await.bytes));
}

#[tokio::test(start_paused = true)]
async fn what_a_model_thought_is_shown_to_readers_that_ask_for_it_and_what_it_signed_to_nobody() {
    let house = house();
    let id = house.run("hard").await["task_id"].as_str().unwrap().to_owned();
    let path = format!("/tasks/{id}/events");
    let finished = |answer: Answer| {
        assert!(!String::from_utf8_lossy(&answer.bytes).contains("SIGNED"));
        frames(&answer.bytes).into_iter().find(|frame| frame.1 == "model.finished").unwrap().2["data"].clone()
    };
    assert_eq!(finished(house.get(&path).await).get("reasoning"), None);
    for query in ["include=reasoning", "include=prompt,%20reasoning&after=1"] {
        assert_eq!(finished(house.get(&format!("{path}?{query}")).await)["reasoning"], json!({ "text": "hm" }), "{query}");
    }
    let mut request = posting("/run?include=reasoning", &json!({"prompt": "hard too"}));
    request.headers_mut().insert("accept", "text/event-stream".parse().unwrap());
    assert_eq!(finished(house.ask(request).await)["reasoning"]["text"], "hm");
}

#[tokio::test(start_paused = true)]
async fn events_resume_after_any_number_the_header_wins_and_rubbish_is_400() {
    let house = house();
    let id = house.run("p").await["task_id"].as_str().unwrap().to_owned();
    let path = format!("/tasks/{id}/events");
    let all = frames(&house.get(&path).await.bytes);
    let after = |header: Option<&str>, query: &str| {
        let mut request = Request::get(format!("{path}{query}"));
        if let Some(header) = header {
            request = request.header("Last-Event-ID", header);
        }
        house.ask(request.body(Body::empty()).unwrap())
    };
    for n in 0..all.len() {
        assert_eq!(frames(&after(Some(&n.to_string()), "?after=9999").await.bytes), all[n..]);
        assert_eq!(frames(&after(None, &format!("?after={n}")).await.bytes), all[n..]);
    }
    let last = all.len().to_string();
    assert_eq!(after(Some(&last), "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(after(None, &format!("?after={last}")).await.status, StatusCode::NO_CONTENT);
    for bad in ["abc", "-1", "+1", "1.5", "", "99999999999999999999", "9223372036854775808"] {
        assert_eq!(after(Some(bad), "?after=1").await.problem(400)["field"], "Last-Event-ID", "{bad}");
        assert_eq!(after(None, &format!("?after={}", bad.replace('+', "%2B"))).await.problem(400)["field"], "after", "{bad}");
    }
    house.get("/tasks/none/events").await.problem(404);
}

/// Two claims of a run played by hand, so that a stream stays open.
async fn begin(house: &House, prompt: &str) -> (String, Claimed) {
    let id = house.post("/tasks", json!({"prompt": prompt})).await.json()["task_id"].as_str().unwrap().to_owned();
    let claimed = house.store.claim(&[AgentName::parse("search").unwrap()], &Room::of(1)).await.unwrap().pop().unwrap();
    (id, claimed)
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_kept_open_by_comments_and_ends_when_the_node_leaves() {
    let house = build(Plan { work: false, ..Plan::default() });
    let (id, _claimed) = begin(&house, "p").await;
    let mut body =
        house.open(Request::get(format!("/tasks/{id}/events")).body(Body::empty()).unwrap()).await.into_body().into_data_stream();
    assert!(body.next().await.unwrap().unwrap().starts_with(b"id: 1\n"));
    let began = tokio::time::Instant::now();
    for n in 1..=3 {
        assert_eq!(&body.next().await.unwrap().unwrap()[..], b":\n\n");
        assert_eq!(began.elapsed(), Duration::from_secs(15 * n));
    }
    house.bus.publish(&_claimed.claim.key, Live::Delta(Delta { step: 1, attempt: 1, index: 0, text: "x\ny".into() }));
    let delta = body.next().await.unwrap().unwrap();
    assert_eq!(frames(&delta), [(None, "delta".to_owned(), json!({"step": 1, "attempt": 1, "index": 0, "text": "x\ny"}))]);
    house.closing.cancel();
    assert!(body.next().await.is_none());
}

/// Streams broken off after a random number of bytes, while the task runs and after.
#[tokio::test(start_paused = true)]
async fn a_thousand_random_disconnects_of_a_stream_miss_repeat_and_reorder_nothing() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let house = house();
    let mut connections = 0;
    while connections < 1_000 {
        let prompt = format!("{}{}", if dice.bool() { "slow " } else { "" }, "x".repeat(dice.usize(1..400)));
        let id = house.post("/tasks", json!({"prompt": prompt})).await.json()["task_id"].as_str().unwrap().to_owned();
        let mut seen: Vec<Frame> = Vec::new();
        loop {
            let last = seen.last().map_or(0, |frame| frame.0.unwrap());
            let request = Request::get(format!("/tasks/{id}/events")).header("last-event-id", last);
            let response = house.open(request.body(Body::empty()).unwrap()).await;
            connections += 1;
            if response.status() == StatusCode::NO_CONTENT {
                break;
            }
            let (mut received, bytes) = (Vec::new(), dice.usize(0..2_000));
            let mut body = response.into_body().into_data_stream();
            let patience = Duration::from_millis(dice.u64(0..1_500));
            let reading = async {
                while received.len() < bytes {
                    let Some(piece) = body.next().await else { break };
                    received.extend_from_slice(&piece.unwrap());
                }
            };
            let _ = tokio::time::timeout(patience, reading).await;
            received.truncate(bytes);
            seen.extend(frames(&received).into_iter().filter(|frame| frame.0.is_some()));
        }
        let whole: Vec<Frame> = frames(&house.get(&format!("/tasks/{id}/events")).await.bytes);
        assert_eq!(seen, whole, "seed {seed}");
        assert!(whole.len() >= 5 && whole.last().unwrap().1 == "task.completed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_pages_through_everything_once_newest_first() {
    let house = house();
    let mut made = Vec::new();
    for n in 0..12 {
        let body = json!({"prompt": if n % 4 == 0 { "fail" } else { "p" }, "session_id": "s"});
        made.push(house.post("/run", body).await.json()["task_id"].clone());
        tokio::time::advance(Duration::from_millis(5)).await;
    }
    house.run("elsewhere").await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = house.get(&format!("/agents/search/tasks?session_id=s&limit=5{cursor}")).await.json();
        seen.extend(page["tasks"].as_array().unwrap().iter().map(|task| task["task_id"].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    made.reverse();
    assert_eq!(seen, made);
    let failed = house.get("/tasks?status=failed&agent=search").await.json();
    assert_eq!((failed["tasks"].as_array().unwrap().len(), &failed["next_cursor"]), (3, &Value::Null));
    let exactly = house.get("/tasks?session_id=s&limit=12").await.json();
    assert_eq!((exactly["tasks"].as_array().unwrap().len(), &exactly["next_cursor"]), (12, &Value::Null));
    for (query, status, field) in [
        ("limit=0", 422, "limit"),
        ("limit=201", 422, "limit"),
        ("limit=x", 422, "limit"),
        ("status=done", 422, "status"),
        ("agent=A", 422, "agent"),
        ("session_id=", 422, "session_id"),
    ] {
        assert_eq!(house.get(&format!("/tasks?{query}")).await.problem(status)["field"], field);
    }
    house.get("/tasks?cursor=rubbish").await.problem(400);
    house.get("/tasks?limit=1&limit=2").await.problem(400);
    house.get("/agents/nobody/tasks").await.problem(404);
    house.get("/agents/nobody/tasks/none").await.problem(404);
}

#[tokio::test(start_paused = true)]
async fn a_conversation_is_read_in_pages_and_erased() {
    let house = house();
    for n in 0..5 {
        house.post("/run", json!({"prompt": format!("q{n}"), "session_id": "a/b ü"})).await;
    }
    let path = "/sessions/a%2Fb%20%C3%BC/messages";
    let page = house.get(&format!("{path}?limit=2")).await.json();
    let said: Vec<&Value> = page["messages"].as_array().unwrap().iter().map(|message| &message["content"]).collect();
    assert_eq!(said, ["q3", "answer to: q3", "q4", "answer to: q4"]);
    assert_eq!(page["messages"][0]["role"], "user");
    let older = house.get(&format!("/agents/search{path}?limit=50&cursor={}", page["next_cursor"].as_str().unwrap())).await.json();
    assert_eq!((older["messages"].as_array().unwrap().len(), &older["messages"][0]["content"]), (6, &json!("q0")));
    house.get(&format!("{path}?cursor=none")).await.problem(400);
    house.get(&format!("{path}?cursor=%20")).await.problem(400);

    let erased = house.delete("/sessions/a%2Fb%20%C3%BC").await;
    assert_eq!((erased.status, &erased.json()["tasks"]), (StatusCode::OK, &json!(5)));
    assert_eq!(house.get(path).await.json(), json!({"messages": [], "next_cursor": null}));
    house.post("/tasks", json!({"prompt": "slow", "session_id": "busy"})).await;
    house.delete("/agents/search/sessions/busy").await.problem(409);
    house.get("/agents/nobody/sessions/s/messages").await.problem(404);
    assert_eq!(house.get(&format!("/sessions/{}/messages", "x".repeat(257))).await.problem(422)["field"], "session_id");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_listed_requeued_and_dropped() {
    let house = build(Plan { work: false, ..Plan::default() });
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(house.post("/tasks", json!({"prompt": "p"})).await.json()["task_id"].as_str().unwrap().to_owned());
    }
    for _ in 0..3 {
        house.store.claim(&[AgentName::parse("search").unwrap()], &Room::of(2)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(11)).await;
        house.store.sweep().await.unwrap();
    }
    let dead = house.get("/dead-letters").await.json();
    assert_eq!((dead["tasks"].as_array().unwrap().len(), &dead["tasks"][0]["error"]), (2, &json!("poisoned")));

    let requeued = house.ask(empty_post(&format!("/dead-letters/{}/requeue", ids[0]))).await;
    assert_eq!((requeued.status, &requeued.json()["retry_of"]), (StatusCode::ACCEPTED, &json!(ids[0])));
    house.ask(empty_post(&format!("/dead-letters/{}/requeue", ids[0]))).await.problem(404);

    let path = format!("/dead-letters/{}/drop", ids[1]);
    assert_eq!(house.post_with(&path, json!({}), ("Idempotency-Key", "k")).await.header("idempotency-replayed"), None);
    house.ask(empty_post(&path)).await.problem(404);
    let again = house.post_with(&path, json!({}), ("Idempotency-Key", "k")).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (StatusCode::OK, Some("true")));
    assert_eq!(house.get("/dead-letters").await.json()["tasks"], json!([]));
    assert_eq!(house.get(&format!("/tasks/{}", ids[1])).await.json()["status"], "failed", "its record stays");
    house.ask(empty_post("/dead-letters/none/drop")).await.problem(404);
}

#[tokio::test(start_paused = true)]
async fn every_operation_of_the_description_is_served_and_nothing_else_is_offered() {
    let house = house();
    let mut offered: std::collections::BTreeMap<&str, Vec<String>> = Default::default();
    for operation in maniple_api::openapi::TABLE {
        offered.entry(operation.path).or_default().push(operation.method.to_uppercase());
    }
    for (path, mut methods) in offered {
        if methods.contains(&"GET".to_owned()) {
            methods.push("HEAD".into());
        }
        methods.sort();
        let under_agent = maniple_api::openapi::TABLE.iter().any(|operation| operation.path == path && operation.under_agent);
        let concrete = ["{id}", "{name}", "{instance}"].iter().fold(path.to_owned(), |path, part| path.replace(part, "x"));
        for path in [Some(concrete.clone()), under_agent.then(|| format!("/agents/search{concrete}"))].into_iter().flatten() {
            let refused = house.ask(Request::patch(&path).body(Body::empty()).unwrap()).await;
            refused.problem(405);
            let mut allowed: Vec<&str> = refused.header("allow").unwrap().split(',').map(str::trim).collect();
            allowed.sort_unstable();
            assert_eq!(allowed, methods, "{path}");
        }
    }
}

/// A store that says nothing of what waits: at once, or never.
struct Silent(bool);

#[async_trait::async_trait]
impl Upkeep for Silent {
    async fn sweep_leases_by(&self, _: Time) -> Result<Swept> {
        Ok(Swept::default())
    }
    async fn forget(&self, _: Duration, _: usize) -> Result<u64> {
        Ok(0)
    }
    async fn forget_beyond(&self, _: u64, _: usize) -> Result<u64> {
        Ok(0)
    }
    async fn waiting(&self) -> Result<Vec<Waiting>> {
        if self.0 { std::future::pending().await } else { Err(Error::unavailable("the database does not answer")) }
    }
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_are_told_while_the_store_is_away_or_stands_still() {
    for stands_still in [false, true] {
        let house = build(Plan { upkeep: Some(Arc::new(Silent(stands_still))), ..Plan::default() });
        let asked = tokio::time::timeout(Duration::from_secs(5), house.get("/metrics")).await.expect("a collector waits 10 s");
        assert_eq!(asked.status, StatusCode::OK, "{stands_still}");
        assert!(String::from_utf8(asked.bytes).unwrap().contains("# TYPE"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_node_says_what_it_is() {
    let house = build(Plan { agents: vec![agent("a"), agent("b"), agent("c")], ..Plan::default() });
    let page = house.get("/agents?limit=2").await.json();
    assert_eq!((&page["agents"][1]["name"], &page["next_cursor"]), (&json!("b"), &json!("b")));
    assert!(!page.to_string().contains("You are tested"), "prompts stay inside");
    let rest = house.get("/agents?cursor=b").await.json();
    assert_eq!((&rest["agents"][0]["name"], &rest["next_cursor"]), (&json!("c"), &Value::Null));

    assert_eq!(house.get("/health").await.json()["status"], "ok");
    assert_eq!(house.get("/ready").await.json()["status"], "ready");
    house.ready.store(false, Ordering::SeqCst);
    let problem = house.get("/ready").await;
    assert!(problem.header("retry-after").is_some());
    let problem = problem.problem(503);
    assert_eq!(problem["parts"][0], json!({"name": "store", "state": "failed", "detail": "the disk is gone"}));
    assert!(problem["detail"].as_str().unwrap().contains("store: the disk is gone"));

    assert!(String::from_utf8(house.get("/metrics").await.bytes).unwrap().contains("# TYPE"));
    assert!(house.get("/openapi.json").await.json()["openapi"].as_str().unwrap().starts_with("3."));
    let docs = house.get("/docs").await;
    let text = String::from_utf8(docs.bytes.clone()).unwrap();
    assert!(docs.header("content-type").unwrap().starts_with("text/html"));
    assert!(docs.header("content-security-policy").unwrap().contains("script-src 'sha256-"));
    assert!(!text.contains("src=\"http") && !text.contains("href=\"http") && !text.contains("@import") && !text.contains("url("));
    let tools = house.get("/docs/tools").await;
    assert!(tools.header("content-security-policy").unwrap().contains("script-src 'sha256-"));
    assert!(String::from_utf8(tools.bytes).unwrap().contains("<title>Maniple tools"));
    let head = house.ask(Request::head("/health").body(Body::empty()).unwrap()).await;
    assert_eq!((head.status, head.bytes.len()), (StatusCode::OK, 0));
}

#[tokio::test(start_paused = true)]
async fn a_prompt_is_shown_where_it_is_asked_for_whole_for_a_task_and_its_beginning_in_lists() {
    let house = house();
    let long = "ä".repeat(300);
    let id = house.run(&long).await["task_id"].as_str().unwrap().to_owned();
    assert_eq!(house.get(&format!("/tasks/{id}")).await.json().get("prompt"), None);
    for path in [format!("/tasks/{id}?include=prompt"), format!("/agents/search/status/{id}?include=prompt")] {
        assert_eq!(house.get(&path).await.json()["prompt"], json!(long), "{path}");
    }
    assert_eq!(house.get("/tasks").await.json()["tasks"][0].get("prompt"), None);
    assert_eq!(house.get("/tasks?include=prompt").await.json()["tasks"][0]["prompt"], json!("ä".repeat(200)));
    for path in [format!("/tasks/{id}?include=all"), "/tasks?include=output".into(), "/sessions?include=x".into()] {
        assert_eq!(house.get(&path).await.problem(422)["field"], "include", "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_are_listed_newest_first_with_their_agent_number_and_last_task() {
    let house = house();
    let run = async |session: &str, prompt: &str| house.post("/run", json!({"session_id": session, "prompt": prompt})).await.json();
    run("one", "first").await;
    run("two", "second").await;
    let last = run("one", "third").await;
    let page = house.get("/sessions?include=prompt").await.json();
    let told = |page: &Value| -> Vec<(String, u64, String)> {
        let of = |s: &Value| (s["session_id"].as_str().unwrap().into(), s["tasks"].as_u64().unwrap(), s["agent"].as_str().unwrap().into());
        page["sessions"].as_array().unwrap().iter().map(of).collect()
    };
    assert_eq!(told(&page), [("one".into(), 2, "search".into()), ("two".into(), 1, "search".into())]);
    assert_eq!((&page["sessions"][0]["last_task"]["task_id"], &page["next_cursor"]), (&last["task_id"], &Value::Null));
    assert_eq!(page["sessions"][0]["last_task"]["prompt"], "third");
    let first = house.get("/agents/search/sessions?limit=1").await.json();
    assert_eq!((told(&first).len(), first["sessions"][0]["last_task"].get("prompt")), (1, None));
    let next = house.get(&format!("/sessions?limit=1&cursor={}", first["next_cursor"].as_str().unwrap())).await.json();
    assert_eq!((told(&next)[0].0.as_str(), &next["next_cursor"]), ("two", &Value::Null));
    house.get("/sessions?cursor=x").await.problem(400);
    house.get("/agents/nobody/sessions").await.problem(404);
    assert_eq!(told(&house.get("/sessions?agent=nobody").await.json()), []);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_acceptable_is_no_wish_for_one() {
    let house = house();
    for (accept, is_stream) in [
        ("text/event-stream;q=0, application/json", false),
        ("text/event-stream; q=0.0", false),
        ("application/json", false),
        ("text/event-stream;q=0.5", true),
        ("application/json, Text/Event-Stream; charset=utf-8", true),
    ] {
        let mut request = posting("/run", &json!({"prompt": "p"}));
        request.headers_mut().insert("accept", accept.parse().unwrap());
        let answer = house.ask(request).await;
        assert_eq!(answer.header("content-type") == Some("text/event-stream"), is_stream, "{accept}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_to_the_node_itself_is_led_to_its_description() {
    let answer = house().get("/").await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::TEMPORARY_REDIRECT, Some("docs")));
}
