//! What each answer, break and silence comes to.

use super::{
    KEY, call, lab, providers,
    server::{Act, HEAD_CHUNKED, HEAD_TO_CLOSE, Server, answer, chunked},
    short,
};
use crate::{Api, discover::among, fixture::request, profile::Like};
use maniple_core::{
    message::FinishReason,
    model::{FaultKind, ModelRequest},
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

const OPENAI: &str = include_str!("../../golden/openai/tool-call.sse");
const ANTHROPIC: &str = include_str!("../../golden/anthropic/tool-call.sse");
const PLAIN: &str = include_str!("../../golden/openai/tool-call.json");

fn asked() -> ModelRequest {
    ModelRequest { times: short(), ..request("find rust") }
}

/// What is said of limits on most answers, whatever became of them.
const LEFT: &str = "x-ratelimit-remaining-requests: 100\r\nx-ratelimit-reset-requests: 6m0s\r\n";
const USED_UP: &str = "x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 6m0s\r\n";

#[tokio::test]
async fn each_status_of_the_fault_table_is_its_fault() {
    let error = |message: &str, code: &str| format!(r#"{{"error":{{"message":"{message}","code":"{code}"}}}}"#);
    let wait = |seconds: u64| Some(Duration::from_secs(seconds));
    let date = "retry-after: Sun, 22 Nov 2026 10:00:42 GMT\r\ndate: Sun, 22 Nov 2026 10:00:00 GMT\r\n";
    let rows: Vec<(&str, &str, String, FaultKind, Option<Duration>)> = vec![
        ("429 X", "retry-after: 7\r\n", error("slow down", "rate_limit_exceeded"), FaultKind::Throttled, wait(7)),
        ("429 X", date, error("slow down", "rate_limit_exceeded"), FaultKind::Throttled, wait(42)),
        ("429 X", "", String::new(), FaultKind::Throttled, None),
        ("429 X", "", error("You exceeded your current quota, check your plan and billing", "insufficient_quota"), FaultKind::Money, None),
        ("402 X", "", error("Payment required", "x"), FaultKind::Money, None),
        ("400 X", "", error("Your credit balance is too low", "invalid_request_error"), FaultKind::Money, None),
        ("500 X", "", "oops".into(), FaultKind::Failed, None),
        ("502 X", "", "<html>".into(), FaultKind::Failed, None),
        ("503 X", "retry-after: 3\r\n", String::new(), FaultKind::Overloaded, wait(3)),
        ("504 X", "", String::new(), FaultKind::Failed, None),
        ("529 X", "", r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#.into(), FaultKind::Overloaded, None),
        ("408 X", "", String::new(), FaultKind::Failed, None),
        (
            "400 X",
            "",
            error("This model's maximum context length is 8192 tokens", "context_length_exceeded"),
            FaultKind::ContextTooLong,
            None,
        ),
        (
            "400 X",
            "",
            r#"{"error":{"code":400,"message":"the request exceeds","type":"exceed_context_size_error"}}"#.into(),
            FaultKind::ContextTooLong,
            None,
        ),
        (
            "400 X",
            "",
            error("prompt is too long: 210000 tokens > 200000 maximum", "invalid_request_error"),
            FaultKind::ContextTooLong,
            None,
        ),
        ("413 X", "", String::new(), FaultKind::ContextTooLong, None),
        ("400 X", "", error("The response was filtered", "content_filter"), FaultKind::Refused, None),
        ("401 X", "", error("Incorrect API key", "invalid_api_key"), FaultKind::Denied, None),
        ("403 X", "", error("not in your country", "unsupported_country"), FaultKind::Denied, None),
        ("400 X", "", error("bad tool schema", "invalid_request_error"), FaultKind::Invalid, None),
        ("404 X", "", error("model `m1` not found", "model_not_found"), FaultKind::Invalid, None),
        ("422 X", "", r#"{"detail":[{"msg":"field required"}]}"#.into(), FaultKind::Invalid, None),
        ("307 X", "location: http://elsewhere.example/\r\n", String::new(), FaultKind::Invalid, None),
        ("501 X", "", String::new(), FaultKind::Invalid, None),
        ("429 X", "x-ratelimit-reset-tokens: 9s\r\n", error("slow down", "rate_limit_exceeded"), FaultKind::Throttled, wait(9)),
        ("503 X", USED_UP, String::new(), FaultKind::Overloaded, wait(360)),
        ("503 X", LEFT, String::new(), FaultKind::Overloaded, None),
        ("500 X", LEFT, "oops".into(), FaultKind::Failed, None),
        ("500 X", USED_UP, "oops".into(), FaultKind::Failed, None),
    ];
    for api in [Api::OpenAi, Api::Anthropic] {
        let server = Server::doing(rows.iter().map(|(status, headers, body, ..)| Act::Keep(answer(status, headers, body)))).await;
        let providers = providers(lab(api.clone(), &server));
        for (status, _, body, kind, retry_after) in &rows {
            let fault = call(&providers, &asked()).await.0.expect_err("a fault");
            assert_eq!((fault.kind, fault.retry_after), (*kind, *retry_after), "{api:?} {status} {body}: {fault}");
            assert!(fault.message.starts_with("lab: "), "{fault}");
        }
        assert_eq!(server.requests().len(), rows.len(), "one attempt a call, nothing followed");
    }
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_overload_and_one_that_breaks_early_is_cut_before() {
    let server = Server::doing([Act::Close(vec![]), Act::Close(b"HTTP/1.1 200 OK\r\ncontent-ty".to_vec())]).await;
    let providers_there = providers(lab(Api::OpenAi, &server));
    for _ in 0..2 {
        assert_eq!(call(&providers_there, &asked()).await.0.expect_err("cut").kind, FaultKind::CutBefore);
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mut settings = lab(Api::OpenAi, &server);
    settings.base_url = Some(format!("http://{nobody}/v1"));
    assert_eq!(call(&providers(settings), &asked()).await.0.expect_err("refused").kind, FaultKind::Unreachable);
}

#[tokio::test]
async fn a_stream_cut_at_any_byte_on_the_wire_is_no_reply_until_the_reason_why_it_stopped_came() {
    for (api, stream, reason) in
        [(Api::OpenAi, OPENAI, "\"finish_reason\":\"tool_calls\""), (Api::Anthropic, ANTHROPIC, "\"stop_reason\":\"tool_use\"")]
    {
        let whole = chunked(stream);
        let text = String::from_utf8_lossy(&whole);
        let stopped = text.find(reason).expect("it is there");
        let terminated = stopped + text[stopped..].find("\n\n").expect("the event ends") + 2;
        let cuts: Vec<usize> = (HEAD_CHUNKED.len()..=whole.len()).collect();
        let server = Server::doing(cuts.iter().map(|&cut| Act::Close(whole[..cut].to_vec()))).await;
        let providers = providers(lab(api.clone(), &server));
        for cut in cuts {
            let (reply, heard) = call(&providers, &asked()).await;
            match reply {
                Ok(reply) => {
                    assert!(cut >= terminated, "{api:?} cut at {cut}");
                    assert_eq!((reply.calls.len(), reply.finish_reason, heard.as_str()), (2, FinishReason::ToolCalls, "Let me look: é"));
                }
                Err(fault) => {
                    assert!(cut < terminated, "{api:?} cut at {cut}: {fault}");
                    assert_eq!(fault.kind, FaultKind::CutAfter, "{api:?} cut at {cut}: {fault}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_stream_without_done_ends_well_where_the_connection_does() {
    let stream = OPENAI.strip_suffix("data: [DONE]\n\n").expect("it ends so");
    let server = Server::doing([Act::Close([HEAD_TO_CLOSE, stream.as_bytes()].concat())]).await;
    assert_eq!(call(&providers(lab(Api::OpenAi, &server)), &asked()).await.0.expect("a reply").calls.len(), 2);
}

#[tokio::test]
async fn silence_before_between_and_a_drip_without_end_are_time_outs() {
    let drip = b"2\r\n:\n\r\n".to_vec();
    for (act, field) in [
        (Act::Hold(vec![]), 0),
        (Act::Hold(chunked(OPENAI)[..400].to_vec()), 1),
        (Act::Flood(HEAD_CHUNKED.to_vec(), drip), 2),
        (Act::Hold(answer("500 X", "content-type: text/plain\r\n", "")[..20].to_vec()), 0),
    ] {
        let server = Server::doing([act]).await;
        let mut asked = asked();
        let soon = Duration::from_millis(60);
        match field {
            0 => asked.times.first_byte = soon,
            1 => asked.times.between_chunks = soon,
            _ => asked.times.whole = soon,
        }
        // What floods reaches its bound of bytes or of time, whichever is first on this machine.
        let fault = call(&providers(lab(Api::OpenAi, &server)), &asked).await.0.expect_err("late");
        assert_eq!(fault.kind, FaultKind::TimedOut, "{fault}");
    }
}

#[tokio::test]
async fn a_plain_answer_may_take_as_long_as_the_whole_call() {
    let told = Arc::new(Notify::new());
    let server = Server::doing([Act::Wait(vec![], told.clone(), answer("200 OK", "content-type: application/json\r\n", PLAIN))]).await;
    let mut settings = lab(Api::OpenAi, &server);
    settings.stream = false;
    let mut asked = asked();
    asked.times.first_byte = Duration::from_millis(30);
    let (providers, telling) = (providers(settings), async {
        tokio::time::sleep(Duration::from_millis(90)).await;
        told.notify_one();
    });
    let ((reply, _), ()) = tokio::join!(call(&providers, &asked), telling);
    assert_eq!(reply.expect("a reply").calls.len(), 2);
    assert!(!server.requests()[0].contains("\"stream\""), "it asks for no stream");
}

#[tokio::test]
async fn a_server_that_ignores_stream_is_understood() {
    let json = include_str!("../../golden/anthropic/tool-call.json");
    for (api, body, said) in
        [(Api::OpenAi, include_str!("../../golden/openai/answer.json"), "Bonjour"), (Api::Anthropic, json, "Let me look.")]
    {
        let server = Server::doing([Act::Keep(answer("200 OK", "content-type: application/json; charset=utf-8\r\n", body))]).await;
        let (reply, heard) = call(&providers(lab(api, &server)), &asked()).await;
        assert_eq!((reply.expect("a reply").text.as_deref(), heard.as_str()), (Some(said), said));
    }
}

#[tokio::test]
async fn an_answer_that_is_none_or_has_no_end_is_discarded() {
    let html = answer("200 OK", "content-type: text/html\r\n", "<html>sign in</html>");
    let broken = answer("200 OK", "content-type: application/json\r\n", "{\"choices\":[{\"mess");
    let error = answer("200 OK", "content-type: application/json\r\n", r#"{"error":{"message":"worker died"}}"#);
    let line = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    for act in [
        Act::Close(html),
        Act::Close(broken),
        Act::Close(error),
        Act::Close(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        Act::Flood(HEAD_CHUNKED.to_vec(), line.into_bytes()),
    ] {
        let server = Server::doing([act]).await;
        let fault = call(&providers(lab(Api::OpenAi, &server)), &asked()).await.0.expect_err("none");
        assert_eq!(fault.kind, FaultKind::CutAfter, "{fault}");
    }
}

#[tokio::test]
async fn text_is_heard_while_the_answer_is_still_coming() {
    let whole = chunked(OPENAI);
    let middle = whole.windows(3).position(|w| w == "é\"".as_bytes()).expect("the text") + 60;
    let told = Arc::new(Notify::new());
    let server = Server::doing([Act::Wait(whole[..middle].to_vec(), told.clone(), whole[middle..].to_vec())]).await;
    let providers = providers(lab(Api::OpenAi, &server));
    let model = maniple_core::ports::Models::model(&providers, &asked().model).expect("a model");
    // The rest is sent only once the first text was heard: a model that kept it back would never end.
    let reply = model.call(&asked(), &mut |_| told.notify_one()).await;
    assert_eq!(reply.expect("a reply").calls.len(), 2);
}

#[tokio::test]
async fn dropping_a_call_closes_its_connection() {
    let server = Server::doing([Act::Hold(chunked(OPENAI)[..600].to_vec())]).await;
    let providers = providers(lab(Api::OpenAi, &server));
    let model = maniple_core::ports::Models::model(&providers, &asked().model).expect("a model");
    let heard = Arc::new(Notify::new());
    let hearing = heard.clone();
    let running = tokio::spawn(async move { model.call(&asked(), &mut |_| hearing.notify_one()).await });
    heard.notified().await;
    running.abort();
    tokio::time::timeout(Duration::from_secs(10), server.gone.notified()).await.expect("the server sees the client go");
}

#[tokio::test]
async fn calls_one_after_the_other_share_a_connection() {
    let server = Server::doing([Act::Keep(chunked(OPENAI))]).await;
    let providers = providers(lab(Api::OpenAi, &server));
    for _ in 0..5 {
        call(&providers, &asked()).await.0.expect("a reply");
    }
    assert_eq!((server.requests().len(), server.connections()), (5, 1));
}

#[tokio::test]
async fn each_api_is_asked_where_and_as_it_wants() {
    for (api, stream, line, key) in [
        (Api::OpenAi, OPENAI, "POST /v1/chat/completions HTTP/1.1", format!("authorization: Bearer {KEY}")),
        (Api::Anthropic, ANTHROPIC, "POST /v1/messages HTTP/1.1", format!("x-api-key: {KEY}")),
    ] {
        let server = Server::doing([Act::Keep(chunked(stream))]).await;
        call(&providers(lab(api.clone(), &server)), &asked()).await.0.expect("a reply");
        let request = &server.requests()[0];
        let (head, body) = request.split_once("\r\n\r\n").expect("a request");
        assert!(head.starts_with(line) && head.contains(&key), "{head}");
        assert_eq!(head.contains("anthropic-version: 2023-06-01"), matches!(api, Api::Anthropic));
        let body: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!((&body["model"], &body["stream"], &body["max_tokens"]), (&"m1".into(), &true.into(), &500.into()));
    }
}

#[tokio::test]
async fn a_key_is_never_in_a_message_and_a_message_is_never_long() {
    let long = format!("{}{KEY} ", "é".repeat(2_040)).repeat(40);
    let server = Server::doing([
        Act::Keep(answer("401 X", "", &format!(r#"{{"error":"bad key {KEY}"}}"#))),
        Act::Keep(answer("400 X", "", &long)),
        Act::Flood(b"HTTP/1.1 500 X\r\n\r\n".to_vec(), long.clone().into_bytes()),
    ])
    .await;
    let providers = providers(lab(Api::OpenAi, &server));
    let denied = call(&providers, &asked()).await.0.expect_err("denied");
    assert_eq!(denied.message, "lab: HTTP 401: bad key ***: set models.lab.api_key in maniple.yaml to a key of this provider");
    for kind in [FaultKind::Invalid, FaultKind::Failed] {
        let fault = call(&providers, &asked()).await.0.expect_err("a fault");
        assert_eq!(fault.kind, kind);
        assert!(fault.message.len() <= 4096 && !fault.message.contains("sk-very"), "{}", fault.message.len());
    }
}

#[tokio::test]
async fn the_first_local_server_that_lists_a_model_is_found_in_time() {
    let models = |names: &[&str]| {
        let data: Vec<Value> = names.iter().map(|id| serde_json::json!({ "id": id })).collect();
        Act::Keep(answer("200 OK", "content-type: application/json\r\n", &serde_json::json!({ "data": data }).to_string()))
    };
    let silent = Server::doing([Act::Hold(vec![])]).await;
    let stranger = Server::doing([Act::Keep(answer("404 Not Found", "", "{}"))]).await;
    let empty = Server::doing([models(&[])]).await;
    let found = Server::doing([models(&["nomic-embed-text", "qwen3"])]).await;
    let later = Server::doing([models(&["other"])]).await;
    let urls = [&silent, &stranger, &empty, &found, &later].map(|server| format!("{}/v1", server.url()));
    let urls = urls.each_ref().map(|url| (url.as_str(), Like::LlamaCpp));
    let begun = std::time::Instant::now();
    let discovered = among(&urls).await.expect("one answers");
    let settings = &discovered.settings;
    assert_eq!((settings.base_url.as_deref(), discovered.model.as_str()), (Some(urls[3].0), "qwen3"));
    assert_eq!(settings.profile.like, Some(Like::LlamaCpp), "it is asked as what listens there is");
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(found.requests()[0].starts_with("GET /v1/models "));
    assert!(among(&urls[..3]).await.is_none());
}

/// What was asked for in each request, as JSON.
fn bodies(server: &Server) -> Vec<Value> {
    let body = |request: &String| serde_json::from_str(request.split_once("\r\n\r\n").expect("a request").1).expect("JSON");
    server.requests().iter().map(body).collect()
}
fn refused(message: &str) -> Act {
    Act::Keep(answer("400 X", "content-type: application/json\r\n", &serde_json::json!({ "error": { "message": message } }).to_string()))
}
fn plainly(said: &str) -> Act {
    let answered = serde_json::json!({ "choices": [{ "message": { "content": said }, "finish_reason": "stop" }] });
    Act::Keep(answer("200 OK", "content-type: application/json\r\n", &answered.to_string()))
}

#[tokio::test]
async fn what_is_complained_of_is_mended_within_the_attempt_and_not_done_again() {
    let server = Server::doing([
        refused("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."),
        refused("max_tokens is too large: 500. This model supports at most 400 completion tokens, whereas you provided 500."),
        refused("Argument not supported: stream_options"),
        plainly("one"),
        plainly("two"),
    ])
    .await;
    let providers = providers(lab(Api::OpenAi, &server));
    for said in ["one", "two"] {
        assert_eq!(call(&providers, &asked()).await.0.expect("an answer").text.as_deref(), Some(said));
    }
    let bodies = bodies(&server);
    assert_eq!(bodies.len(), 5, "the second call knows");
    for body in &bodies[3..] {
        assert_eq!((body.get("max_tokens"), &body["max_completion_tokens"], body.get("stream_options")), (None, &400.into(), None));
    }
}

#[tokio::test]
async fn a_complaint_that_no_mending_helps_is_made_known_and_nothing_is_learnt_from_it() {
    let server = Server::doing([refused("Argument not supported: stream_options"), refused("no"), refused("no"), plainly("fine")]).await;
    let providers = providers(lab(Api::OpenAi, &server));
    for _ in 0..2 {
        let fault = call(&providers, &asked()).await.0.expect_err("refused");
        assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Invalid, "lab: HTTP 400: no"));
    }
    assert_eq!(bodies(&server).iter().map(|body| body.get("stream_options").is_some()).collect::<Vec<_>>(), [true, false, true]);
    let stubborn = Server::doing((0..40).map(|n| refused(&format!("max_tokens is too large: the range is [1, {}]", 400 - n)))).await;
    let stubborn_providers = super::providers(lab(Api::OpenAi, &stubborn));
    assert!(call(&stubborn_providers, &asked()).await.0.is_err());
    assert_eq!(stubborn.requests().len() as u32, 1 + crate::learn::MENDS);
}

#[tokio::test]
async fn what_an_operator_adds_to_every_call_is_sent_and_kept_out_of_messages() {
    let server = Server::doing([Act::Keep(answer("400 X", "", r#"{"error":"header-secret query-secret are wrong"}"#))]).await;
    let mut settings = lab(Api::OpenAi, &server);
    settings.base_url = Some(format!("{}/openai/deployments/d/chat/completions?api-version=1", server.url()));
    settings.headers = [("X-Team".to_owned(), "header-secret".into()), ("user-agent".to_owned(), "own".into())].into();
    settings.query = [("key".to_owned(), "query-secret".into())].into();
    settings.organization = Some("org-1".into());
    let mut asked = asked();
    asked.options.extra.insert("top_k".into(), 3.into());
    let fault = call(&providers(settings), &asked).await.0.expect_err("refused");
    assert_eq!(fault.message, "lab: HTTP 400: *** *** are wrong");
    let request = &server.requests()[0];
    assert!(request.starts_with("POST /openai/deployments/d/chat/completions?api-version=1&key=query-secret HTTP/1.1"), "{request}");
    for line in ["x-team: header-secret", "user-agent: own", "openai-organization: org-1"] {
        assert!(request.contains(line), "`{line}` is missing in {request}");
    }
    assert_eq!(bodies(&server)[0]["top_k"], 3);
}

#[tokio::test]
async fn a_providers_own_time_is_within_what_the_call_may_take() {
    let server = Server::doing([Act::Hold(vec![])]).await;
    let mut settings = lab(Api::OpenAi, &server);
    settings.timeout = Some(maniple_core::settings::Period::ms(60));
    let fault = call(&providers(settings), &asked()).await.0.expect_err("late");
    assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::TimedOut, "lab: no whole answer in 60ms"));
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_what_it_cost() {
    let begun = chunked("data: {\"choices\":[{\"delta\":{\"content\":\"so it begins\"}}]}\n\n");
    let server = Server::doing([Act::Close(begun[..begun.len() - 5].to_vec()), Act::Close(HEAD_CHUNKED.to_vec())]).await;
    let providers = providers(lab(Api::OpenAi, &server));
    let usage = call(&providers, &asked()).await.0.expect_err("cut").usage.expect("something was heard");
    assert!(usage.input_tokens > 0 && usage.output_tokens >= 3, "{usage:?}");
    assert_eq!(call(&providers, &asked()).await.0.expect_err("cut").usage, None, "nothing was");
}

#[tokio::test]
async fn an_attempt_that_runs_out_of_its_whole_time_says_what_it_cost() {
    let begun = chunked("data: {\"choices\":[{\"delta\":{\"content\":\"so it begins\"}}]}\n\n");
    let server = Server::doing([Act::Hold(begun[..begun.len() - 5].to_vec())]).await;
    let mut asked = asked();
    asked.times.whole = Duration::from_millis(400);
    let fault = call(&providers(lab(Api::OpenAi, &server)), &asked).await.0.expect_err("late");
    assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::TimedOut, "lab: no whole answer in 400ms"));
    assert!(fault.usage.is_some_and(|usage| usage.output_tokens >= 3), "{:?}", fault.usage);
}

#[tokio::test]
async fn no_secret_of_an_address_is_told_as_it_is_or_as_it_is_sent() {
    let redirect = "location: https://me:pass-word@elsewhere.example/v2/x?key=url+secret%2F1&b=2#at\r\n";
    let quoting = r#"{"error":"cannot serve ?key=url+secret%2F1&more=own+secret%2F2 (url secret/1, own secret/2, version 2024-10-21)"}"#;
    let server = Server::doing([Act::Keep(answer("308 X", redirect, "")), Act::Keep(answer("400 X", "", quoting))]).await;
    let mut settings = lab(Api::OpenAi, &server);
    settings.base_url = Some(format!("{}/v1?key=url+secret%2F1&api-version=2024-10-21", server.url()));
    settings.query = [("more".to_owned(), "own secret/2".into())].into();
    let providers = providers(settings);
    let redirected = call(&providers, &asked()).await.0.expect_err("moved");
    assert_eq!(redirected.message, "lab: HTTP 308: it redirects to https://elsewhere.example/v2/x: set base_url to where the API is");
    let refused = call(&providers, &asked()).await.0.expect_err("refused");
    assert_eq!(refused.message, "lab: HTTP 400: cannot serve ?key=***&more=*** (***, ***, version 2024-10-21)");
}
