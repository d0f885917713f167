//! What tokens of several tenants can do to one registry.

use super::{remote::registry, *};
use maniple_api::tools::RemoteTools;
use maniple_core::tool::ToolDefinition;
use maniple_registry::Files;

/// A registry with the project's `pay`, which needs a person's consent, behind a door with tokens.
async fn market() -> (House, Box<dyn std::any::Any>) {
    use Scope::{Admin, Operator, Tools};
    let (registry, keep) = registry().await;
    let pay = ToolDefinition { requires_approval: true, ..tool("pay", "1.0.0", "The project's.") };
    registry.take_files(vec![pay], Files::Strict).await.unwrap();
    let tokens = vec![
        token("ann", "acme", &["*"], &[Admin]),
        token("eve", "beta", &["*"], &[Admin]),
        token("node", "default", &["*"], &[Tools, Operator]),
    ];
    let auth = Auth::of(Some(&config::Auth { tokens }), false).unwrap();
    (build(Plan { registry, auth, work: false, ..Plan::default() }), Box::new(keep))
}

fn tool(name: &str, version: &str, description: &str) -> ToolDefinition {
    let endpoint = "http://127.0.0.1:9/x".into();
    ToolDefinition { description: description.into(), endpoint, ..definition(name, version) }
}
fn post(tool: &ToolDefinition) -> Request<Body> {
    posting("/tools", &serde_json::to_value(tool).unwrap())
}

#[tokio::test]
async fn a_registry_that_would_refuse_a_runtimes_runs_says_so_before_there_is_one() {
    let (registry, _keep) = registry().await;
    let tokens = vec![
        token("node", "default", &["*"], &[Scope::Tools, Scope::Operator]),
        token("shop-node", "default", &["shopper"], &[Scope::Tools, Scope::Operator]),
        token("admin", "default", &["*"], &[Scope::Admin]),
        token("operator", "default", &["*"], &[Scope::Operator]),
    ];
    let auth = Auth::of(Some(&config::Auth { tokens }), false).unwrap();
    let house = build(Plan { registry, auth, work: false, ..Plan::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = house.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let ping = async |token: Option<&str>| {
        let answer = RemoteTools::new(&url, token.map(str::to_owned)).unwrap().ping().await;
        answer.map_err(|error| (error.kind, error.message.into_owned()))
    };
    assert_eq!([ping(Some("node")).await, ping(Some("shop-node")).await], [Ok(()), Ok(())]);
    for (token, told) in [
        (None, "`registry_token`"),
        (Some("nobody"), "`registry_token`"),
        (Some("admin"), "lacks the scope `operator`"),
        (Some("operator"), "lacks the scope `tools`"),
    ] {
        let (kind, message) = ping(token).await.unwrap_err();
        assert!(kind == maniple_core::Kind::Denied && message.contains(told) && message.contains("registry_token"), "{token:?}: {message}");
    }
}

#[tokio::test]
async fn an_admin_changes_nothing_that_is_the_projects() {
    let (house, _keep) = market().await;
    let without_consent = tool("pay", "1.0.1", "The project's.");
    let beside =
        ToolDefinition { requires_approval: true, endpoint: "http://127.0.0.1:10/x".into(), ..tool("pay", "1.0.0", "The project's.") };
    for (what, bad) in [("a newer version", without_consent), ("an instance beside", beside)] {
        assert_eq!(as_(&house, "ann", post(&bad)).await.problem(403)["field"], "name", "{what}");
    }
    as_(&house, "ann", delete("/tools/pay")).await.problem(403);
    for who in ["ann", "eve", "node"] {
        let known = as_(&house, who, get("/tools/pay/versions")).await.json();
        let versions = known["versions"].as_array().unwrap();
        assert_eq!((versions.len(), versions[0]["instances"].as_array().unwrap().len()), (1, 1), "{known}");
        assert_eq!(versions[0]["definition"]["requires_approval"], true);
    }
}

#[tokio::test]
async fn an_admin_neither_sees_nor_changes_what_is_another_tenants_and_an_operator_does() {
    let (house, _keep) = market().await;
    assert_eq!(as_(&house, "eve", post(&tool("t", "1.0.0", "Beta's."))).await.status, StatusCode::CREATED);
    as_(&house, "ann", get("/tools/t")).await.problem(404);
    as_(&house, "ann", delete("/tools/t")).await.problem(404);
    let call = json!({ "agent": "shopper" });
    let unknown = as_(&house, "ann", posting("/tools/t/invoke", &call)).await.problem(404);
    assert_eq!(unknown["outcome"]["reason"], "not_found");
    assert!(!names(&as_(&house, "ann", get("/tools")).await.json()).contains(&"t@1.0.0".to_owned()));
    // What is asked for another tenant is believed of an operator only.
    for query in ["?tenant=beta", "?tenant=beta&principal=eve"] {
        as_(&house, "ann", get(&format!("/tools/t{query}"))).await.problem(403);
        as_(&house, "ann", delete(&format!("/tools/t{query}"))).await.problem(403);
    }
    let resolve = json!({ "agent": "shopper", "tenant": "beta", "tools": ["t"] });
    assert_eq!(as_(&house, "ann", posting("/tools/resolve", &resolve)).await.problem(403)["field"], "tenant");
    let offers = as_(&house, "node", posting("/tools/resolve", &resolve)).await.json();
    assert_eq!(offers["offers"][0]["definition"]["description"], "Beta's.");

    assert_eq!(as_(&house, "ann", post(&tool("t", "1.0.0", "Acme's."))).await.status, StatusCode::CREATED, "the name is free for acme");
    for (who, query, tenant) in [("ann", "", "acme"), ("eve", "", "beta"), ("node", "?tenant=beta", "beta")] {
        let known = as_(&house, who, get(&format!("/tools/t{query}"))).await.json();
        assert_eq!(
            (&known["tenant"], &known["owner"]),
            (&json!(tenant), &json!(format!("{tenant}/{}", if tenant == "acme" { "ann" } else { "eve" })))
        );
    }
    as_(&house, "node", get("/tools/t")).await.problem(404);
    assert_eq!(as_(&house, "node", delete("/tools/t?tenant=beta")).await.json()["versions"], 1);
    as_(&house, "eve", get("/tools/t")).await.problem(404);
    assert_eq!(as_(&house, "ann", get("/tools/t")).await.json()["tenant"], "acme");
}

#[tokio::test]
async fn what_an_operator_registers_serves_everybody() {
    let (house, _keep) = market().await;
    as_(&house, "ann", post(&tool("t", "1.0.0", "Acme's."))).await;
    assert_eq!(as_(&house, "node", post(&tool("t", "1.0.0", "The node's."))).await.status, StatusCode::CREATED);
    for who in ["ann", "eve", "node"] {
        let known = as_(&house, who, get("/tools/t")).await.json();
        assert_eq!((&known["definition"]["description"], known.get("tenant")), (&json!("The node's."), None), "{who}");
    }
    assert_eq!(as_(&house, "ann", post(&tool("t", "1.0.0", "Acme's."))).await.problem(403)["field"], "name");
}
