//! What the description says is what the door does: its examples, and both sides of every bound.

use super::*;
use maniple_testkit::catalogue::Fake;
use std::collections::BTreeSet;

/// A house in which what the examples name is there.
async fn house_of_examples() -> (House, Value) {
    let registry = Arc::new(Fake::with(&["calculator@1.0.0", "clock@1.0.0"]));
    let house = build(Plan { agents: vec![agent("assistant")], registry, ..Plan::default() });
    let document = house.get("/openapi.json").await.json();
    (house, document)
}

/// Every call as `(method, path, what is said of it)`.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    found
}

/// A path with the examples of its parameters, but for one.
fn placed(path: &str, operation: &Value, but: Option<(&str, &str)>) -> String {
    let mut path = path.to_owned();
    for parameter in operation["parameters"].as_array().into_iter().flatten().filter(|parameter| parameter["in"] == "path") {
        let name = parameter["name"].as_str().unwrap();
        let value = but.filter(|(other, _)| *other == name).map_or_else(|| parameter["example"].as_str().unwrap(), |(_, value)| value);
        path = path.replace(&format!("{{{name}}}"), value);
    }
    path
}

fn asking(method: &str, path: &str, body: Option<&Value>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json").header(header::ACCEPT, "application/json, text/event-stream");
    }
    request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap()
}

fn examples(operation: &Value) -> Vec<Value> {
    let content = &operation["requestBody"]["content"]["application/json"];
    content["examples"].as_object().into_iter().flat_map(|examples| examples.values()).map(|example| example["value"].clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_door_takes_every_example_of_a_body() {
    let (house, document) = house_of_examples().await;
    let mut asked = 0;
    for (method, path, operation) in operations(&document) {
        for example in examples(&operation) {
            let answer = house.ask(asking(&method, &placed(&path, &operation, None), Some(&example))).await;
            let status = answer.status.as_u16();
            // What the examples name may not be there, or may have ended; and this registry grants `clock` to nobody.
            let not_granted = || answer.json()["outcome"]["reason"] == "not_granted";
            let taken = answer.status.is_success() || status == 404 || status == 409 || (status == 403 && not_granted());
            assert!(taken, "{method} {path} with {example}: {status} {}", String::from_utf8_lossy(&answer.bytes));
            assert!(operation["responses"].get(status.to_string()).is_some(), "{method} {path} does not say that it answers {status}");
            asked += 1;
        }
        if method != "GET" && method != "DELETE" {
            assert!(!examples(&operation).is_empty(), "{method} {path} has no example");
        }
    }
    assert!(asked >= 30, "the description has lost its examples: {asked}");
}

/// Text within a bound and beyond it, of characters that every pattern takes.
fn at_its_bounds(schema: &Value) -> Vec<(Value, bool)> {
    let mut values = Vec::new();
    if let Some(most) = schema["maxLength"].as_u64() {
        values.extend([(json!("a".repeat(most as usize)), true), (json!("a".repeat(most as usize + 1)), false)]);
    }
    if let Some(least) = schema["minLength"].as_u64().filter(|least| *least > 0) {
        values.push((json!("a".repeat(least as usize - 1)), false));
    }
    if let Some(least) = schema["minimum"].as_i64() {
        values.extend([(json!(least), true), (json!(least - 1), false)]);
    }
    if let Some(most) = schema["maximum"].as_i64() {
        values.push((json!(most), true));
        values.extend(most.checked_add(1).map(|beyond| (json!(beyond), false)));
    }
    for listed in schema["enum"].as_array().into_iter().flatten() {
        values.extend([(listed.clone(), true), (json!("else"), false)]);
    }
    if let Some(most) = schema["maxItems"].as_u64().filter(|most| *most > 0) {
        values.push((json!(vec!["clock"; most as usize + 1]), false));
    }
    values
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap(),
        None => schema,
    }
}

#[tokio::test(start_paused = true)]
async fn every_bound_of_a_parameter_is_the_doors_own() {
    let (house, document) = house_of_examples().await;
    let mut tried = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            if name == "name" || name == "cursor" {
                continue; // the registry says which tools there are, and a page which one follows
            }
            for (value, within) in at_its_bounds(resolved(&document, &parameter["schema"])) {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let body = examples(&operation).into_iter().next();
                let mut request = match parameter["in"].as_str().unwrap() {
                    "path" if text.is_empty() => continue, // another path
                    "path" => asking(&method, &placed(&path, &operation, Some((name, &text))), body.as_ref()),
                    "query" => asking(&method, &format!("{}?{name}={text}", placed(&path, &operation, None)), body.as_ref()),
                    _ => asking(&method, &placed(&path, &operation, None), body.as_ref()),
                };
                if parameter["in"] == "header" {
                    request.headers_mut().insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), text.parse().unwrap());
                }
                let answer = house.open(request).await;
                let status = answer.status().as_u16();
                let refused = matches!(status, 400 | 404 | 422);
                let case = format!("{method} {path}: {name} of {} characters, {text:.40}", text.len());
                if within {
                    assert!(!matches!(status, 400 | 422), "{case} is refused with {status}");
                } else {
                    assert!(refused, "{case} is taken with {status}");
                }
                tried.insert((name.to_owned(), within));
            }
        }
    }
    for name in [
        "id",
        "agent",
        "limit",
        "status",
        "state",
        "session_id",
        "task_id",
        "tenant",
        "principal",
        "Idempotency-Key",
        "Last-Event-ID",
        "after",
    ] {
        assert!(tried.contains(&(name.to_owned(), false)), "{name} has lost its bounds: {tried:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_bound_of_a_field_is_the_doors_own() {
    let (house, document) = house_of_examples().await;
    let mut tried = BTreeSet::new();
    for path in ["/tasks", "/tools/{name}/invoke", "/tools/{name}/probe", "/tools/resolve", "/approvals/{id}"] {
        let operation = &document["paths"][path]["post"];
        let schema = resolved(&document, &operation["requestBody"]["content"]["application/json"]["schema"]);
        let schema = resolved(&document, schema.pointer("/allOf/0").unwrap_or(schema));
        for (field, bounds) in schema["properties"].as_object().unwrap() {
            for (value, within) in at_its_bounds(resolved(&document, bounds)) {
                let mut body = examples(operation).pop().unwrap();
                if path == "/tasks" {
                    body = json!({ "prompt": "p" });
                }
                // What goes with one form of a call only.
                for (form, other) in [("tools", "pick"), ("key", "run")] {
                    if field == form {
                        body.as_object_mut().unwrap().remove(other);
                    }
                }
                body[field] = value.clone();
                let answer = house.ask(asking("POST", &placed(path, operation, None), Some(&body))).await;
                let at_fault = answer.status == StatusCode::UNPROCESSABLE_ENTITY && answer.json()["field"].as_str() == Some(field);
                // An agent that is within its bounds need not be here; a call that has its key elsewhere takes none.
                let elsewhere = (field == "agent") || (field == "key" && path.ends_with("invoke"));
                if within && !elsewhere {
                    assert!(!at_fault, "{path}: {field} is refused at its bound: {}", answer.json());
                }
                if !within {
                    assert!(at_fault, "{path}: {field} beyond its bound is not refused: {} {}", answer.status, answer.json());
                }
                tried.insert(field.clone());
            }
        }
    }
    let all = [
        "agent",
        "deadline_ms",
        "decision",
        "id",
        "key",
        "max_steps",
        "principal",
        "priority",
        "prompt",
        "reason",
        "session_id",
        "tenant",
        "timeout_ms",
        "token_budget",
        "tools",
    ];
    assert_eq!(tried.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

#[tokio::test(start_paused = true)]
async fn the_description_tells_the_nodes_own_ceilings() {
    let terms = maniple_core::task::TaskLimits::below(maniple_core::task::Ceilings { max_steps: 7, token_budget: 600 });
    let house = build(Plan { tasks: terms, ..Plan::default() });
    let fields = house.get("/openapi.json").await.json()["components"]["schemas"]["TaskRequest"]["properties"].clone();
    assert_eq!((&fields["max_steps"]["maximum"], &fields["max_steps"]["default"]), (&json!(7), &json!(7)));
    assert_eq!((&fields["token_budget"]["maximum"], &fields["token_budget"]["default"]), (&json!(600), &json!(600)));
    assert_eq!(house.post("/tasks", json!({ "prompt": "p", "max_steps": 8 })).await.problem(422)["field"], "max_steps");
}

#[tokio::test(start_paused = true)]
async fn every_event_that_is_sent_fits_its_schema() {
    let (house, document) = house_of_examples().await;
    house.post("/run", json!({ "id": "t", "prompt": "hello" })).await;
    let sent = frames(&house.get("/tasks/t/events").await.bytes);
    assert!(sent.len() >= 5, "{sent:?}");
    let mut schema = document["components"]["schemas"]["TaskEvent"].clone();
    schema["components"] = document["components"].clone();
    let of_events = maniple_core::schema::Validator::compile(&schema).unwrap();
    for (_, name, event) in sent.into_iter().filter(|(_, name, _)| name != "delta") {
        assert!(of_events.check(&event).is_ok(), "{name}: {:?} of {event}", of_events.check(&event));
    }
}
