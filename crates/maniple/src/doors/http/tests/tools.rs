//! Tools at the door: what is there, who may change it, and every way a call can go.

mod calling;
mod remote;
mod replicas;
mod run_calls;
mod tenants;

use super::{guarding::token, *};
use maniple_core::{
    Scope,
    ports::RefusalKind,
    tool::{LeftOut, Source, ToolState},
};
use maniple_testkit::catalogue::{Fake, definition, seen};

/// A house with these tools.
fn shop(tools: &[&str]) -> (House, Arc<Fake>) {
    let registry = Arc::new(Fake::with(tools));
    (build(Plan { registry: registry.clone(), ..Plan::default() }), registry)
}

/// The same, whose tokens are spelled like their names.
fn locked_shop(tools: &[&str]) -> (House, Arc<Fake>) {
    use Scope::{Admin, Operator, Read, Run, Tools};
    let tokens = vec![
        token("maker", "default", &["*"], &[Tools]),
        token("bob", "acme", &["write"], &[Tools]),
        token("reader", "acme", &["*"], &[Read]),
        token("runner", "acme", &["*"], &[Run]),
        token("root", "acme", &["*"], &[Admin]),
        token("node", "default", &["*"], &[Tools, Operator]),
        token("other node", "default", &["*"], &[Tools, Operator]),
    ];
    let auth = Auth::of(Some(&config::Auth { tokens }), false).unwrap();
    let registry = Arc::new(Fake::with(tools));
    (build(Plan { registry: registry.clone(), auth, ..Plan::default() }), registry)
}

async fn as_(house: &House, who: &str, mut request: Request<Body>) -> Answer {
    request.headers_mut().insert("authorization", format!("Bearer {who}").parse().unwrap());
    house.ask(request).await
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}
fn delete(path: &str) -> Request<Body> {
    Request::delete(path).body(Body::empty()).unwrap()
}
fn names(page: &Value) -> Vec<String> {
    page["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| format!("{}@{}", tool["definition"]["name"], tool["definition"]["version"]).replace('"', ""))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_catalogue_is_paged_by_name_and_a_name_keeps_its_versions_together() {
    let (house, _) = shop(&["a@2.0.0", "a@1.0.0", "b@1.0.0", "c@3.0.0", "c@1.0.0"]);
    let first = house.get("/tools?limit=2").await.json();
    assert_eq!((names(&first), &first["next_cursor"]), (vec!["a@2.0.0".into(), "a@1.0.0".into(), "b@1.0.0".into()], &json!("b")));
    let last = house.get("/tools?limit=2&cursor=b").await.json();
    assert_eq!((names(&last), &last["next_cursor"]), (vec!["c@3.0.0".into(), "c@1.0.0".into()], &Value::Null));
    assert_eq!(house.get("/tools?limit=3").await.json()["next_cursor"], Value::Null);
    house.get("/tools?cursor=a%20b").await.problem(400);
    house.get("/tools?limit=0").await.problem(422);
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_told_what_it_may_use_in_its_models_shape_and_nothing_else() {
    let (house, _) = shop(&["a@1.0.0", "clock@1.0.0"]);
    let page = house.get("/tools?agent=search").await.json();
    let parameters = definition("a", "1.0.0").parameters;
    let tool = json!({ "name": "a", "version": "1.0.0", "description": "For tests.", "parameters": parameters });
    assert_eq!(page, json!({ "tools": [tool], "next_cursor": null }));
    assert_eq!(house.get("/tools?agent=nobody").await.problem(404)["field"], "agent");
    assert_eq!(house.get("/tools?agent=No%20Name").await.problem(422)["field"], "agent");
}

#[tokio::test(start_paused = true)]
async fn a_tool_is_shown_in_the_version_that_can_be_called_or_the_one_that_is_named() {
    let (house, registry) = shop(&["a@2.0.0", "a@1.1.0", "a@1.0.0", "resolve@1.0.0"]);
    registry.change("a@2.0.0", |known| known.state = ToolState::Unhealthy);
    let version = |answer: Answer| answer.json()["definition"]["version"].as_str().unwrap().to_owned();
    assert_eq!(version(house.get("/tools/a").await), "1.1.0");
    assert_eq!(version(house.get("/tools/a?version=2.0.0").await), "2.0.0");
    assert_eq!(house.get("/tools/a?version=1").await.problem(422)["field"], "version");
    let missing = house.get("/tools/a?version=7.0.0").await.problem(404);
    assert!(missing["detail"].as_str().unwrap().contains("there are 2.0.0, 1.1.0, 1.0.0"), "{missing}");
    house.get("/tools/none").await.problem(404);
    assert_eq!(house.get("/tools/resolve").await.json()["definition"]["name"], "resolve", "a route's name is a tool's name too");

    let page = house.get("/tools/a/versions?limit=2").await.json();
    assert_eq!((page["versions"].as_array().unwrap().len(), &page["next_cursor"]), (2, &json!("1.1.0")));
    let rest = house.get("/tools/a/versions?limit=2&cursor=1.1.0").await.json();
    assert_eq!((&rest["versions"][0]["definition"]["version"], &rest["next_cursor"]), (&json!("1.0.0"), &Value::Null));
    house.get("/tools/a/versions?cursor=x").await.problem(400);
}

#[tokio::test(start_paused = true)]
async fn a_definition_is_new_with_201_and_renewed_with_200_by_whoever_the_token_stands_for() {
    let (house, registry) = locked_shop(&[]);
    let definition = serde_json::to_value(definition("a", "1.0.0")).unwrap();
    let post = |path: &str| posting(path, &definition);
    assert_eq!(as_(&house, "maker", post("/tools")).await.status, StatusCode::CREATED);
    let renewed = as_(&house, "bob", post("/tools?source=added")).await;
    assert_eq!((renewed.status, &renewed.json()["lease_ms"]), (StatusCode::OK, &json!(30_000)));
    let why = as_(&house, "root", post("/tools?override=we%20looked")).await;
    assert_eq!(why.status, StatusCode::OK);
    {
        let brought = seen(&registry.registrations);
        let told: Vec<_> =
            brought.iter().map(|one| (one.by.name.as_str(), one.by.admin, one.source, one.override_reason.as_deref())).collect();
        let expected = [
            ("maker", false, Source::Registered, None),
            ("acme/bob", false, Source::Added, None),
            ("acme/root", true, Source::Registered, Some("we looked")),
        ];
        assert_eq!(told, expected);
    }
    // A node of a fleet says for whom it asks, and is believed; nobody else is.
    for (who, query, field) in [
        ("root", "tenant=other", "tenant"),
        ("root", "principal=bob", "principal"),
        ("root", "tenant=acme&scope=operator", "principal"),
        ("maker", "tenant=default&principal=ann&scope=admin", "principal"),
    ] {
        assert_eq!(as_(&house, who, post(&format!("/tools?{query}"))).await.problem(403)["field"], field, "{who} {query}");
    }
    for (query, name, admin, operator) in [
        ("", "node", false, true),
        ("?tenant=acme&principal=ann", "acme/ann", false, false),
        ("?tenant=acme&principal=ann&scope=admin", "acme/ann", true, false),
        ("?tenant=default&principal=ann&scope=operator", "ann", false, true),
        ("?tenant=acme", "acme/node", true, false),
    ] {
        assert!(as_(&house, "node", post(&format!("/tools{query}"))).await.status.is_success(), "{query}");
        let by = seen(&registry.registrations).pop().unwrap().by;
        assert_eq!((by.name.as_str(), by.admin, by.operator), (name, admin, operator), "{query}");
    }
    as_(&house, "maker", post("/tools?override=please")).await.problem(403);
    assert_eq!(as_(&house, "root", post("/tools?override=%20")).await.problem(422)["field"], "override");
    assert_eq!(as_(&house, "maker", post("/tools?source=file")).await.problem(422)["field"], "source");
    as_(&house, "reader", post("/tools")).await.problem(403);
    assert_eq!(seen(&registry.registrations).len(), 3, "what is refused does not reach the registry");
}

#[tokio::test(start_paused = true)]
async fn an_instance_leaves_and_versions_are_forgotten_in_their_owners_name() {
    let (house, registry) = locked_shop(&["a@1.0.0"]);
    let out = as_(&house, "maker", delete("/tools/a/instances/i%2F1")).await;
    assert_eq!((out.status, out.bytes.len()), (StatusCode::NO_CONTENT, 0));
    assert_eq!(as_(&house, "bob", delete("/tools/a?version=1.0.0")).await.json(), json!({ "name": "a", "versions": 2 }));
    assert_eq!(as_(&house, "bob", delete("/tools/a")).await.status, StatusCode::OK);
    assert_eq!(*seen(&registry.removals), ["a/i/1 by maker", "a@1.0.0 by acme/bob", "a@* by acme/bob"]);
    as_(&house, "reader", delete("/tools/a")).await.problem(403);
    assert_eq!(as_(&house, "bob", delete("/tools/a?version=one")).await.problem(422)["field"], "version");
}

#[tokio::test(start_paused = true)]
async fn looking_needs_one_of_two_scopes_and_acting_needs_the_one() {
    let (house, _) = locked_shop(&["a@1.0.0"]);
    for path in ["/tools", "/tools/a", "/tools/a/versions", "/tools?agent=search"] {
        for who in ["maker", "reader", "root"] {
            assert_eq!(as_(&house, who, get(path)).await.status, StatusCode::OK, "{who} {path}");
        }
        as_(&house, "runner", get(path)).await.problem(403);
        house.get(path).await.problem(401);
    }
    let of_run = json!({ "agent": "search", "run": { "key": "acme/t:1:0", "send": "s" } });
    for what in ["invoke", "admit", "probe"] {
        let refused = as_(&house, "root", posting(&format!("/tools/a/{what}"), &of_run)).await.problem(403);
        assert_eq!(refused["field"], "run", "{what}: an admin is no runtime");
    }
    for (path, body) in [
        ("/tools/a/invoke", json!({ "agent": "search" })),
        ("/tools/a/invoke", of_run.clone()),
        ("/tools/a/admit", of_run.clone()),
        ("/tools/a/probe", of_run),
        ("/tools/a/probe", json!({ "agent": "search", "key": "k" })),
        ("/tools/resolve", json!({ "agent": "search" })),
    ] {
        as_(&house, "reader", posting(path, &body)).await.problem(403);
        let refused = as_(&house, "bob", posting(path, &body)).await.problem(403);
        assert_eq!(refused["field"], "agent", "{path}: bob may not use that agent");
    }
    as_(&house, "bob", get("/tools?agent=search")).await.problem(403);
}

#[tokio::test(start_paused = true)]
async fn a_registrys_door_offers_tools_and_what_a_node_says_of_itself_and_nothing_else() {
    let house = build(Plan { registry: Arc::new(Fake::with(&["a@1.0.0"])), serves: Serves::Registry, ..Plan::default() });
    for path in ["/tools", "/tools/a", "/docs/tools", "/health", "/ready", "/metrics", "/openapi.json"] {
        assert_eq!(house.get(path).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(house.post("/tools/a/invoke", json!({ "agent": "search" })).await.status, StatusCode::OK);
    house.post("/run", json!({ "prompt": "p" })).await.problem(404);
    for path in ["/tasks", "/agents", "/dead-letters"] {
        house.get(path).await.problem(404);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_used_for_another_body_is_refused_and_a_known_one_is_said() {
    let (house, _) = shop(&[]);
    let body = |version: &str| serde_json::to_value(definition("a", version)).unwrap();
    assert_eq!(house.post_with("/tools", body("1.0.0"), ("Idempotency-Key", "k")).await.header("idempotency-replayed"), None);
    let again = house.post_with("/tools", body("1.0.0"), ("Idempotency-Key", "k")).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (StatusCode::OK, Some("true")), "it renews all the same");
    let other = house.post_with("/tools", body("1.1.0"), ("Idempotency-Key", "k")).await;
    assert_eq!(other.problem(422)["field"], "Idempotency-Key");
}

#[tokio::test(start_paused = true)]
async fn what_of_an_import_is_no_tool_is_told_once_to_who_runs_the_node() {
    let (house, registry) = locked_shop(&["a@1.0.0", "b@1.0.0"]);
    let one = LeftOut {
        from: "openapi:api".into(),
        place: "POST /x".into(),
        name: Some("api_x".into()),
        why: "its body is application/xml".into(),
    };
    seen(&registry.left_out).push(one.clone());
    let first = as_(&house, "node", get("/tools?limit=1")).await.json();
    assert_eq!(
        first["left_out"],
        json!([{ "from": "openapi:api", "place": "POST /x", "name": "api_x", "why": "its body is application/xml" }])
    );
    let next = as_(&house, "node", get("/tools?limit=1&cursor=a")).await.json();
    let others = as_(&house, "reader", get("/tools")).await.json();
    assert_eq!((next.get("left_out"), others.get("left_out")), (None, None));
    let told = as_(&house, "node", get("/tools/api_x")).await.problem(404);
    assert!(told["detail"].as_str().unwrap().contains("POST /x of openapi:api is left out, as its body is application/xml"), "{told}");
    let told = as_(&house, "reader", get("/tools/api_x")).await.problem(404);
    assert!(!told["detail"].as_str().unwrap().contains("xml"), "{told}");
}
