//! MCP servers, imported and called, on both protocol versions and both transports.

use crate::{
    mcp_server::{BEFORE, HttpServer, Ledger, NEWEST, Served, command, listed},
    server::{Server as HttpStub, answer},
};
use maniple_core::{
    AgentName, Tenant,
    ports::{Invocation, Invoked},
    settings::{Period, Secret},
    tool::Effect,
    trace::TraceContext,
};
use maniple_registry::Confirm;
use maniple_registry::mcp::{Listing, Server, ServerSettings, State, Times};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

const SOON: Duration = Duration::from_secs(20);

fn times() -> Times {
    Times { backoff: Duration::from_millis(20), backoff_max: Duration::from_millis(200), ..Times::default() }
}
fn stdio(command: Vec<String>, env: &[(&str, String)]) -> ServerSettings {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), Secret::from(value.as_str()))).collect();
    ServerSettings { command, env, times: times(), ..ServerSettings::default() }
}
/// This test binary as a server on its standard streams.
fn child(dir: &Path, version: &str) -> ServerSettings {
    let env = [("LEDGER", dir.join("ledger").display().to_string()), ("VERSION", version.to_owned())];
    stdio(command(), &env)
}
fn behind(server: &HttpServer) -> ServerSettings {
    at(&server.url())
}
fn at(url: &str) -> ServerSettings {
    ServerSettings { url: Some(url.into()), times: times(), ..ServerSettings::default() }
}
/// A command of the shell as a server.
fn shell(script: &str) -> ServerSettings {
    stdio(vec!["sh".into(), "-c".into(), script.into()], &[])
}

async fn started(settings: ServerSettings) -> Server {
    let server = Server::start("shop", settings).unwrap();
    let listing = server.settled(SOON).await;
    assert!(matches!(listing.state, State::Connected { .. }), "{:?}", listing.state);
    server
}
fn invocation(server: &Server, tool: &str, arguments: Value) -> Invocation {
    let definition = server.tools().into_iter().find(|imported| imported.original == tool).unwrap().definition;
    Invocation {
        timeout: Duration::from_millis(definition.timeout_ms),
        tool: Arc::new(definition),
        trusted: true,
        arguments,
        key: "task-1:2:0".into(),
        send: "task-1:2:0/1".into(),
        agent: AgentName::parse("clerk").unwrap(),
        tenant: Tenant::default(),
        agreed: None,
        trace: TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some("a=1")),
    }
}
async fn call(server: &Server, tool: &str, arguments: Value) -> Invoked {
    server.call(&invocation(server, tool, arguments)).await
}
/// What a run does: what was not sent is sent again, of what is unknown only what may be.
async fn run(server: &Server, tool: &str, arguments: Value) -> Invoked {
    let call = invocation(server, tool, arguments);
    for _ in 0..100 {
        match server.call(&call).await {
            Invoked::NotSent(_) => {}
            Invoked::Unknown(_) if call.tool.effect() != Effect::AtMostOnce => {}
            other => return other,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came back");
}
async fn until(server: &Server, fits: impl FnMut(&Arc<Listing>) -> bool) -> Arc<Listing> {
    let mut listings = server.listings();
    let listing = tokio::time::timeout(SOON, listings.wait_for(fits)).await;
    listing.expect("in time").unwrap().clone()
}

#[tokio::test]
async fn tools_are_listed_and_called_on_both_versions_over_both_transports() {
    for (versions, version) in [(NEWEST, "2026-07-28"), (BEFORE, "2025-11-25")] {
        let dir = tempfile::tempdir().unwrap();
        let http = HttpServer::start(Served::new(Ledger::new(dir.path()), versions));
        for settings in [behind(&http), child(dir.path(), version)] {
            let server = started(settings).await;
            let listing = server.settled(SOON).await;
            assert_eq!(listing.state, State::Connected { protocol: version.into() });
            let names: Vec<String> = listing.tools.iter().map(|tool| tool.definition.name.clone()).collect();
            assert_eq!(names, ["shop_echo", "shop_fail", "shop_hang", "shop_pay", "shop_refuse", "shop_set"]);
            assert!(listing.tools.iter().all(|tool| tool.definition.version.to_string() == "2.1.0"));
            assert!(listing.tools.iter().all(|tool| tool.definition.effect() == Effect::AtMostOnce), "nothing is confirmed");

            let expected = json!({
                "tool": "echo", "arguments": { "a": [1, "ä"] }, "key": "task-1:2:0",
                "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1",
            });
            assert_eq!(call(&server, "echo", json!({ "a": [1, "ä"] })).await, Invoked::Ok(expected));
            assert_eq!(call(&server, "fail", json!({})).await, Invoked::Failed(json!({ "error": "no such file" })));
            let refused = json!({ "error": "never heard of it", "code": -32602, "data": { "hint": "spell it" } });
            assert_eq!(call(&server, "refuse", json!({})).await, Invoked::Failed(refused));
        }
    }
}

#[tokio::test]
async fn all_pages_are_listed() {
    for versions in [NEWEST, BEFORE] {
        let dir = tempfile::tempdir().unwrap();
        let tools: Vec<Value> = (0..95).map(|i| listed(&format!("tool_{i:03}"), json!({}))).collect();
        let served = Served { page: 10, ..Served::new(Ledger::new(dir.path()), versions) };
        served.tools.send_replace(tools);
        let http = HttpServer::start(served);
        let server = started(behind(&http)).await;
        let names: Vec<String> = server.tools().into_iter().map(|tool| tool.original).collect();
        assert_eq!(names, (0..95).map(|i| format!("tool_{i:03}")).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_changed_list_is_followed_told_or_not() {
    for (versions, tells_changes) in [(NEWEST, true), (BEFORE, true), (NEWEST, false), (BEFORE, false)] {
        let dir = tempfile::tempdir().unwrap();
        let http = HttpServer::start(Served { tells_changes, ..Served::new(Ledger::new(dir.path()), versions) });
        let mut settings = behind(&http);
        if !tells_changes {
            settings.times.ping_every = Duration::from_millis(100);
        }
        let server = started(settings).await;
        let told = async {
            loop {
                // Again and again: nobody knows when the client has begun to listen.
                http.served.change(vec![listed("new", json!({ "readOnlyHint": true }))]).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let listing = tokio::select! {
            () = told => unreachable!(),
            listing = until(&server, |listing| listing.tools.len() == 1) => listing,
        };
        assert_eq!(listing.tools[0].definition.name, "shop_new");
        assert_eq!(listing.tools[0].proposed_effect, Some(Effect::Pure));
    }
}

#[tokio::test]
async fn a_command_that_dies_in_mid_call_is_started_again_and_each_class_keeps_its_promise() {
    for version in ["2026-07-28", "2025-11-25"] {
        let dir = tempfile::tempdir().unwrap();
        let server = started(ServerSettings { confirm: Confirm::All, ..child(dir.path(), version) }).await;
        let ledger = Ledger::new(dir.path());
        for (tool, effect, arrivals) in [("echo", Effect::Pure, 2), ("set", Effect::Idempotent, 2), ("pay", Effect::AtMostOnce, 1)] {
            let arguments = json!({ "do": "die once" });
            assert_eq!(invocation(&server, tool, json!({})).tool.effect(), effect);
            let outcome = run(&server, tool, arguments.clone()).await;
            let arrived = ledger.of(tool);
            assert_eq!(arrived.len(), arrivals, "{tool}: {arrived:?}");
            assert!(arrived.iter().all(|one| one["key"] == "task-1:2:0" && one["arguments"] == arguments), "{arrived:?}");
            match effect {
                Effect::AtMostOnce => assert!(matches!(outcome, Invoked::Unknown(_)), "{outcome:?}"),
                Effect::Pure | Effect::Idempotent => assert!(matches!(outcome, Invoked::Ok(_)), "{outcome:?}"),
            }
        }
        assert!(matches!(run(&server, "pay", json!({})).await, Invoked::Ok(_)), "it is there again");
    }
}

#[tokio::test]
async fn a_server_behind_http_that_dies_in_mid_call_is_found_again() {
    for versions in [NEWEST, BEFORE] {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(dir.path());
        let mut http = HttpServer::start(Served::new(ledger.clone(), versions));
        let mut settings = ServerSettings { confirm: Confirm::All, ..behind(&http) };
        settings.times.call_waits = Duration::from_millis(200);
        let server = Arc::new(started(settings).await);
        for (tool, arrivals) in [("echo", 2), ("set", 2), ("pay", 1)] {
            let running = tokio::spawn({
                let server = server.clone();
                async move { run(&server, tool, json!({ "do": "wait once" })).await }
            });
            while ledger.of(tool).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            http.restart().await;
            let outcome = running.await.unwrap();
            assert_eq!(matches!(outcome, Invoked::Ok(_)), tool != "pay", "{tool}: {outcome:?}");
            assert_eq!(ledger.of(tool).len(), arrivals);
        }
        assert!(matches!(run(&server, "pay", json!({})).await, Invoked::Ok(_)), "it is there again");

        http.gone().await;
        let away = call(&server, "pay", json!({})).await;
        assert!(matches!(away, Invoked::NotSent(_)), "{away:?}");
        until(&server, |listing| matches!(listing.state, State::Lost { .. })).await;
        assert_eq!(server.tools().len(), 6, "its tools stay known");
        http.restart().await;
        until(&server, |listing| matches!(listing.state, State::Connected { .. })).await;
        assert!(matches!(run(&server, "pay", json!({})).await, Invoked::Ok(_)));
        assert_eq!(ledger.of("pay").len(), 3);
    }
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_made_anew_and_the_call_was_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::new(dir.path());
    let mut http = HttpServer::start(Served::new(ledger.clone(), BEFORE));
    let server = started(behind(&http)).await;
    assert!(matches!(call(&server, "pay", json!({})).await, Invoked::Ok(_)));
    http.restart().await;
    assert!(matches!(run(&server, "pay", json!({})).await, Invoked::Ok(_)));
    assert_eq!(ledger.of("pay").len(), 2, "an at_most_once call was sent on, not lost and not repeated");
}

#[tokio::test]
async fn a_call_without_an_answer_in_time_is_unknown_and_its_server_is_told() {
    for (versions, version) in [(NEWEST, "2026-07-28"), (BEFORE, "2025-11-25")] {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(dir.path());
        let http = HttpServer::start(Served::new(ledger.clone(), versions));
        for settings in [behind(&http), child(dir.path(), version)] {
            let server = started(ServerSettings { timeout: Period::ms(300), ..settings }).await;
            let before = ledger.of("hang").len();
            let outcome = call(&server, "hang", json!({})).await;
            assert_eq!(outcome, Invoked::Unknown("tool `shop_hang`: no answer within 300 ms".into()));
            for _ in 0..500 {
                if ledger.of("hang").len() == before + 2 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(ledger.of("hang").last().unwrap()["cancelled"], true);
            assert_eq!(ledger.of("hang").len(), before + 2);
        }
    }
}

/// A server of the shell that agrees on 2025-11-25 and lists one tool, then does what `then` says.
fn handshake_then(tools: &str, then: &str) -> String {
    let initialized = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}}"#;
    format!(
        r#"read -r discover
echo '{{"jsonrpc":"2.0","id":0,"error":{{"code":-32601,"message":"not found"}}}}'
read -r initialize
echo '{initialized}'
read -r initialized
read -r list
echo '{{"jsonrpc":"2.0","id":2,"result":{{"tools":{tools}}}}}'
{then}"#
    )
}
const ONE_TOOL: &str = r#"[{"name":"pay","description":"d","inputSchema":{"type":"object"}}]"#;

#[tokio::test]
async fn of_a_server_that_stops_reading_what_was_queued_was_not_sent() {
    let server = Arc::new(started(ServerSettings { timeout: Period::seconds(1), ..shell(&handshake_then(ONE_TOOL, "sleep 60")) }).await);
    let first = tokio::spawn({
        let server = server.clone();
        async move { call(&server, "pay", json!({ "text": "x".repeat(1 << 20) })).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let second = call(&server, "pay", json!({})).await;
    assert!(matches!(second, Invoked::NotSent(_)), "{second:?}");
    let first = first.await.unwrap();
    assert!(matches!(first, Invoked::Unknown(_)), "a part of it was written: {first:?}");
}

#[tokio::test]
async fn a_bad_definition_does_not_hide_the_others() {
    let tools = r#"[{"name":7},{"name":"list","inputSchema":"none"},{"name":"ok","inputSchema":{}},{"inputSchema":{"type":"object"}}]"#;
    let server = started(shell(&handshake_then(tools, "sleep 60"))).await;
    let listing = server.settled(SOON).await;
    let taken: Vec<&str> = listing.tools.iter().map(|tool| tool.original.as_str()).collect();
    assert_eq!(taken, ["ok"]);
    let reasons: Vec<&str> = listing.refused.iter().map(|refused| refused.reason.as_str()).collect();
    let nameless = "its name must be a text of 1 to 256 bytes";
    assert_eq!(reasons, [nameless, "inputSchema must be an object", nameless]);
}

#[tokio::test]
async fn a_command_that_floods_its_output_is_bounded_and_its_calls_time_out() {
    for flood in ["yes", "yes | tr -d '\\n'", r#"yes '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'"#] {
        let settings = ServerSettings { timeout: Period::ms(500), ..shell(&handshake_then(ONE_TOOL, flood)) };
        let server = started(settings).await;
        let outcome = call(&server, "pay", json!({})).await;
        assert!(matches!(outcome, Invoked::Unknown(_) | Invoked::NotSent(_)), "{flood}: {outcome:?}");
    }
}

#[tokio::test]
async fn what_a_command_says_of_a_call_before_it_dies_is_not_told_on() {
    let server = started(shell(&handshake_then(ONE_TOOL, "read line; echo \"cannot do $line\" >&2; exit 1"))).await;
    let outcome = call(&server, "pay", json!({ "text": "4111-1111" })).await;
    assert!(matches!(outcome, Invoked::Unknown(_)), "{outcome:?}");
    let listing = until(&server, |listing| matches!(listing.state, State::Lost { .. })).await;
    assert!(!format!("{outcome:?} {:?}", listing.state).contains("4111"), "{outcome:?} {:?}", listing.state);
}

#[tokio::test]
async fn a_command_that_cannot_start_says_why() {
    for (script, why) in [("echo 'no module named shop' >&2; exit 1", "no module named shop"), ("exit 0", "closed")] {
        let server = Server::start("shop", shell(script)).unwrap();
        let listing = until(&server, |listing| matches!(&listing.state, State::Lost { reason } if reason.contains(why))).await;
        assert!(listing.tools.is_empty());
    }
    let slow = ServerSettings { start_timeout: Some(Period::ms(200)), ..shell("sleep 60") };
    let server = Server::start("shop", slow).unwrap();
    let State::Lost { reason } = &server.settled(SOON).await.state else { panic!("lost") };
    assert!(reason.contains("no handshake within 200 ms"), "{reason}");
    let server = Server::start("shop", stdio(vec!["/no/such/program".into()], &[])).unwrap();
    let State::Lost { reason } = &server.settled(SOON).await.state else { panic!("lost") };
    assert!(reason.starts_with("cannot start `/no/such/program`"), "{reason}");
}

#[tokio::test]
async fn a_command_sees_its_own_environment_and_not_this_process_s() {
    let dir = tempfile::tempdir().unwrap();
    let server = started(child(dir.path(), "2026-07-28")).await;
    let Invoked::Ok(told) = call(&server, "echo", json!({ "do": "tell its environment" })).await else { panic!("a result") };
    let seen: Vec<&str> = told["environment"].as_object().unwrap().keys().map(String::as_str).collect();
    assert!(seen.contains(&"LEDGER") && seen.contains(&"PATH"), "{seen:?}");
    let ours = ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"];
    assert!(std::env::var(ours[0]).is_ok(), "cargo sets it for the tests");
    assert!(ours.iter().all(|name| !seen.contains(name)), "{seen:?}");
}

#[tokio::test]
async fn a_command_is_gone_once_its_server_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let server = started(child(dir.path(), "2025-11-25")).await;
    let Invoked::Ok(told) = call(&server, "echo", json!({ "do": "tell its environment" })).await else { panic!("a result") };
    let process = format!("/proc/{}/stat", told["process"]);
    let lives = || std::fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z "));
    if !Path::new("/proc/self/stat").exists() {
        return; // nothing to look at here
    }
    assert!(lives());
    drop(server);
    for _ in 0..500 {
        if !lives() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it lives on");
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_not_followed() {
    let elsewhere = HttpStub::start(|_| async {}).await;
    for status in ["302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let (stub, _) = HttpStub::answering(answer(status, &format!("location: {}\r\n", elsewhere.url("/mcp")), "")).await;
        let server = Server::start("shop", at(&stub.url("/mcp"))).unwrap();
        let listing = server.settled(SOON).await;
        assert!(matches!(&listing.state, State::Lost { reason } if reason.contains(status.split(' ').next().unwrap())), "{listing:?}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn headers_travel_with_every_request_and_are_not_printed() {
    let (stub, requests) = HttpStub::answering(answer("401 Unauthorized", "www-authenticate: Bearer\r\n", "")).await;
    let headers = BTreeMap::from([("authorization".to_owned(), Secret::from("Bearer s3cret"))]);
    let settings = ServerSettings { headers, ..at(&stub.url("/mcp")) };
    assert!(!format!("{settings:?}").contains("s3cret"));
    let server = Server::start("shop", settings).unwrap();
    let State::Lost { reason } = server.settled(SOON).await.state.clone() else { panic!("lost") };
    assert!(reason.to_lowercase().contains("auth") && !reason.contains("s3cret"), "{reason}");
    assert!(requests.0.lock().unwrap().iter().all(|request| request.to_lowercase().contains("authorization: bearer s3cret")));
    assert!(requests.count() > 0);
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let http = |url: &str, header: &str| ServerSettings { headers: BTreeMap::from([(header.to_owned(), Secret::from("v"))]), ..at(url) };
    let program = || stdio(vec!["x".into()], &[]);
    for (name, settings, field) in [
        ("a b", program(), "mcp"),
        (&*"x".repeat(33), program(), "mcp"),
        ("s", stdio(vec![], &[]), "mcp.s"),
        ("s", ServerSettings { url: Some("http://x.test/".into()), ..program() }, "mcp.s"),
        ("s", stdio(vec![String::new()], &[]), "mcp.s.command"),
        ("s", http("ftp://x.test/", "a"), "mcp.s.url"),
        ("s", http("nowhere", "a"), "mcp.s.url"),
        ("s", http("http://u:p@x.test/", "a"), "mcp.s.url"),
        ("s", http("http://x.test/", "mcp-session-id"), "mcp.s.headers"),
        ("s", http("http://x.test/", "no header"), "mcp.s.headers"),
        ("s", ServerSettings { timeout: Period::ms(0), ..http("http://x.test/", "a") }, "mcp.s.timeout"),
        ("s", ServerSettings { start_timeout: Some(Period::minutes(11)), ..http("http://x.test/", "a") }, "mcp.s.start_timeout"),
    ] {
        let error = settings.check(name).unwrap_err();
        assert_eq!(error.field.as_deref(), Some(field), "{error:?}");
    }
    http("https://x.test/mcp", "authorization").check("s").unwrap();
}
