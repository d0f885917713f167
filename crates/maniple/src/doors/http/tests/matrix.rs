//! Every call of the API description, asked by whom it is not for: what is another's is told apart from nothing by nobody, and
//! who lacks the scope is told that and nothing else.

use super::{guarding::token, *};
use maniple_api::openapi::{Operation, TABLE};
use maniple_core::Scope;

const SCOPES: [Scope; 7] = [Scope::Run, Scope::Read, Scope::Cancel, Scope::Tools, Scope::Approve, Scope::Admin, Scope::Operator];

fn house_of(tokens: Vec<config::Token>) -> House {
    let auth = Auth::of(Some(&config::Auth { tokens }), false).unwrap();
    build(Plan { agents: vec![agent("search"), agent("write")], auth, ..Plan::default() })
}

async fn ask_as(house: &House, who: &str, method: &str, path: &str, body: Option<Body>) -> Answer {
    let mut request = Request::builder().method(method.to_uppercase().as_str()).uri(path);
    request = request.header("authorization", format!("Bearer {who}"));
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    house.ask(request.body(body.unwrap_or_else(Body::empty)).unwrap()).await
}

/// The ways to a call: bare, and under the agent whose tasks it is about.
fn ways(operation: &Operation) -> Vec<String> {
    let under = operation.under_agent.then(|| format!("/agents/search{}", operation.path));
    [operation.path.to_owned()].into_iter().chain(under).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_anothers_is_answered_as_what_is_not_there() {
    let all = |name, tenant, agents| token(name, tenant, agents, &SCOPES[..6]);
    let house = house_of(vec![all("ann", "acme", &["*"]), all("bob", "acme", &["write"]), all("eve", "evil", &["*"])]);
    for asked in [
        json!({ "id": "ended-1", "session_id": "talk-01", "prompt": "p" }),
        json!({ "id": "failed1", "session_id": "talk-02", "prompt": "fail" }),
        json!({ "id": "later-1", "session_id": "talk-03", "prompt": "p", "not_before": "2027-01-01T00:00:00Z" }),
    ] {
        let path = if asked["id"] == "later-1" { "/agents/search/tasks" } else { "/agents/search/run" };
        let made = ask_as(&house, "ann", "post", path, Some(Body::from(asked.to_string()))).await;
        assert!(made.status.is_success(), "{}", made.json());
    }
    let ids = ["ended-1", "failed1", "later-1", "talk-01", "talk-02", "talk-03"];
    let mut before = Vec::new();
    for id in &ids[..3] {
        before.push(ask_as(&house, "ann", "get", &format!("/tasks/{id}"), None).await.json());
    }

    let mut asked = 0;
    for operation in TABLE.iter().filter(|operation| operation.path.contains("{id}")) {
        for way in ways(operation) {
            for who in ["eve", "bob"] {
                for id in ids {
                    let body = || (operation.method == "post").then(|| Body::from("{}"));
                    let theirs = ask_as(&house, who, operation.method, &way.replace("{id}", id), body()).await;
                    let nothing = ask_as(&house, who, operation.method, &way.replace("{id}", "nothing"), body()).await;
                    let told = |answer: &Answer| String::from_utf8_lossy(&answer.bytes).into_owned();
                    let case = format!("{who}: {} {} of {id}", operation.method, way);
                    assert_eq!((theirs.status, told(&theirs).replace(id, "nothing")), (nothing.status, told(&nothing)), "{case}");
                    assert!(!told(&theirs).contains("answer to"), "{case}: {}", told(&theirs));
                    asked += 1;
                }
            }
        }
    }
    assert!(asked >= 200, "the description has lost its calls: {asked}");
    for (id, before) in ids.iter().zip(before) {
        assert_eq!(ask_as(&house, "ann", "get", &format!("/tasks/{id}"), None).await.json(), before, "nobody changed it");
    }
}

#[tokio::test(start_paused = true)]
async fn who_lacks_the_scope_of_a_call_is_told_that_and_not_listened_to() {
    let names: Vec<String> = SCOPES.iter().map(ToString::to_string).collect();
    let house = house_of(names.iter().zip(SCOPES).map(|(name, scope)| token(name, "acme", &["*"], &[scope])).collect());
    let mut refused = 0;
    // What an MCP client may not is not listed to it: its own tests see to that.
    for operation in TABLE.iter().filter(|operation| operation.path != "/mcp") {
        let Some(scope) = operation.scope else { continue };
        let will_do = |name: &str| {
            name == scope || (name == "admin" && scope != "operator") || operation.description.contains(&format!("The scope `{name}`"))
        };
        for way in ways(operation) {
            let path = way.replace("{id}", "t").replace("{name}", "tool").replace("{instance}", "i");
            for name in &names {
                let unread = || Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
                if !will_do(name) {
                    let answer = ask_as(&house, name, operation.method, &path, (operation.method == "post").then(unread)).await;
                    assert_eq!(answer.status, 403, "{name}: {} {path}", operation.method);
                    assert!(
                        answer.problem(403)["detail"].as_str().unwrap().contains("lacks the scope"),
                        "{name}: {} {path}",
                        operation.method
                    );
                    refused += 1;
                }
            }
        }
    }
    assert!(refused >= 150, "the description has lost its scopes: {refused}");
}
