//! What travels, and what an answer means.

use crate::server::{Server, answer, call, invocation, registry, tool};
use axum::{Router, body::Bytes, extract::Request, response::IntoResponse, routing::any};
use http_body_reading::collect;
use maniple_core::ports::{Invoked, RunCall, Tools};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

mod http_body_reading {
    //! The echo server's reading of a request.
    use super::{Bytes, Request};
    use axum::body::to_bytes;
    pub async fn collect(request: Request) -> (axum::http::request::Parts, Bytes) {
        let (parts, body) = request.into_parts();
        (parts, to_bytes(body, 1 << 20).await.unwrap())
    }
}

/// A tool server that answers with what it was sent.
async fn echo() -> String {
    async fn tell(request: Request) -> impl IntoResponse {
        let (parts, body) = collect(request).await;
        let header = |name: &str| parts.headers.get(name).map(|v| v.to_str().unwrap().to_owned());
        axum::Json(json!({
            "method": parts.method.as_str(), "uri": parts.uri.to_string(), "body": String::from_utf8_lossy(&body),
            "key": header("idempotency-key"), "traceparent": header("traceparent"), "tracestate": header("tracestate"),
            "content_type": header("content-type"), "accept_encoding": header("accept-encoding"), "agent": header("user-agent"),
        }))
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(tell))).await });
    format!("http://{address}")
}

fn ok(invoked: Invoked) -> Value {
    match invoked {
        Invoked::Ok(value) => value,
        other => panic!("{other:?}"),
    }
}

fn failed(invoked: Invoked) -> Value {
    match invoked {
        Invoked::Failed(value) => value,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_post_carries_its_arguments_its_key_and_its_trace() {
    let url = format!("{}/pay/{{to}}?fixed=1", echo().await);
    let sent = ok(call(&url, json!({}), json!({ "to": "a/b", "amount": 3 })).await);
    let expected = json!({
        "method": "POST", "uri": "/pay/a%2Fb?fixed=1", "body": r#"{"amount":3}"#, "key": "task-1:2:0",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1",
        "content_type": "application/json", "accept_encoding": "identity", "agent": concat!("maniple/", env!("CARGO_PKG_VERSION")),
    });
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn a_get_and_a_delete_carry_theirs_in_the_query_and_have_no_body() {
    let server = echo().await;
    for method in ["GET", "DELETE"] {
        let sent =
            ok(call(&format!("{server}/s/{{id}}"), json!({ "method": method }), json!({ "id": 1, "q": ["a", "b c"], "o": {} })).await);
        assert_eq!((&sent["method"], &sent["uri"]), (&json!(method), &json!("/s/1?o=%7B%7D&q=a&q=b+c")));
        assert_eq!((&sent["body"], &sent["content_type"]), (&json!(""), &Value::Null));
        assert_eq!(sent["key"], "task-1:2:0");
    }
    assert_eq!(ok(call(&server, json!({ "method": "HEAD" }), json!({})).await), Value::Null);
}

/// `hello`, as `gzip -n` writes it.
const GZIPPED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\x07\x00\x86\xa6\x10\x36\x05\x00\x00\x00";

#[tokio::test]
async fn a_2xx_is_json_by_its_content_type_else_text_and_204_is_null() {
    for (given, expected) in [
        (answer("200 OK", "content-type: application/json; charset=utf-8\r\n", r#"{"a":[1]}"#), json!({ "a": [1] })),
        (answer("201 Created", "content-type: application/hal+json\r\n", "7"), json!(7)),
        (answer("200 OK", "content-type: application/json\r\n", ""), Value::Null),
        (answer("200 OK", "content-type: application/json\r\n", "{not json"), json!("{not json")),
        (answer("200 OK", "content-type: text/plain\r\n", r#"{"a":1}"#), json!(r#"{"a":1}"#)),
        (answer("200 OK", "", "as it is\n"), json!("as it is\n")),
        (answer("204 No Content", "", ""), Value::Null),
        (answer("200 OK", "content-type: image/png\r\n", [0u8; 300]), json!("[300 bytes of image/png, which is no text]")),
        (
            answer("200 OK", "content-encoding: gzip\r\n", "xx"),
            json!("[2 bytes coded as gzip, which was not asked for and is not decoded]"),
        ),
        (answer("200 OK", "content-type: text/plain; charset=iso-8859-1\r\n", b"caf\xe9"), json!("café")),
        (answer("200 OK", "content-type: application/json; charset=windows-1252\r\n", b"[\"\x80\"]"), json!(["€"])),
        (answer("200 OK", "content-type: application/json\r\n", b"\xef\xbb\xbf{\"a\":1}"), json!({ "a": 1 })),
        (
            answer("200 OK", "content-type: application/json\r\n", r#"{"wei":1234567890123456789012}"#),
            json!({ "wei": "1234567890123456789012" }),
        ),
        (answer("200 OK", "content-type: application/json\r\n", r#"{"id":9007199254740993}"#), json!({ "id": 9_007_199_254_740_993_u64 })),
        (answer("200 OK", "content-type: text/plain\r\ncontent-encoding: gzip\r\n", GZIPPED), json!("hello")),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nto the end".to_vec(), json!("to the end")),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".to_vec(), json!("abcde")),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(), json!("ok")),
    ] {
        let shown = String::from_utf8_lossy(&given).into_owned();
        let (server, _) = Server::answering(given).await;
        assert_eq!(call(&server.url("/"), json!({}), json!({})).await, Invoked::Ok(expected), "{shown}");
    }
}

#[tokio::test]
async fn any_other_status_is_a_failure_with_its_status_and_4_kib_of_its_body() {
    let (server, _) = Server::answering(answer("422 No", "content-type: application/json\r\n", r#"{"why":"x"}"#)).await;
    assert_eq!(failed(call(&server.url("/"), json!({}), json!({})).await), json!({ "status": 422, "body": { "why": "x" } }));

    let (server, _) = Server::answering(answer("500 No", "", "e".repeat(100_000))).await;
    let failure = failed(call(&server.url("/"), json!({}), json!({})).await);
    assert_eq!(failure, json!({ "status": 500, "body": format!("{} [cut]", "e".repeat(4096)) }));

    let (server, _) = Server::answering(answer("304 Not Modified", "", "")).await;
    assert_eq!(failed(call(&server.url("/"), json!({ "method": "GET" }), json!({})).await)["status"], 304);
}

#[tokio::test]
async fn of_a_huge_answer_one_mib_is_stored_and_it_says_so() {
    const MIB: usize = 1024 * 1024;
    for (body, content_type) in [
        ("x".repeat(5 * MIB), "text/plain"),
        ("\u{1}".repeat(MIB), "text/plain"),
        ("\"\n".repeat(MIB / 2), "text/plain"),
        (format!("[{}1]", "1,".repeat(MIB)), "application/json"),
        ("ä".repeat(MIB), "text/plain"),
    ] {
        let (server, _) = Server::answering(answer("200 OK", &format!("content-type: {content_type}\r\n"), &body)).await;
        let value = ok(call(&server.url("/"), json!({}), json!({})).await);
        let stored = value.to_string().len();
        assert!((MIB / 2..=MIB).contains(&stored), "{stored} bytes of {content_type}");
        assert_eq!(value["truncated"], true);
        let text = value["text"].as_str().unwrap().trim_end_matches('\u{fffd}');
        assert!(body.starts_with(text));
    }
    let (server, _) = Server::answering(answer("200 OK", "", "x".repeat(MIB - 2))).await;
    assert_eq!(ok(call(&server.url("/"), json!({}), json!({})).await), json!("x".repeat(MIB - 2)));
}

#[tokio::test]
async fn an_endless_answer_is_left_after_its_first_mib() {
    let server = Server::start(|mut stream| async move {
        use tokio::io::AsyncWriteExt;
        crate::server::read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'y'; 8192]).await.is_ok() {}
    })
    .await;
    assert_eq!(ok(call(&server.url("/"), json!({}), json!({})).await)["truncated"], true);
}

#[tokio::test]
async fn a_redirect_is_not_followed_when_a_body_was_sent() {
    let target = echo().await;
    for status in ["301 X", "302 X", "303 X", "307 X", "308 X"] {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let (server, requests) = Server::answering(answer(status, &format!("location: {target}/there\r\n"), "")).await;
            let failure = failed(call(&server.url("/"), json!({ "method": method }), json!({})).await);
            assert_eq!(failure["location"], format!("{target}/there"), "{method} {status}");
            assert_eq!(requests.count(), 1);
        }
    }
}

#[tokio::test]
async fn a_get_follows_five_redirects_on_its_own_origin_and_no_sixth() {
    for (redirects, follows) in [(1, true), (5, true), (6, false), (1_000, false)] {
        let server = Server::start(move |mut stream| async move {
            use tokio::io::AsyncWriteExt;
            while let Some(request) = crate::server::read_request(&mut stream).await {
                let hop: usize = request.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
                let given = if hop < redirects {
                    answer("302 X", &format!("location: /{}\r\n", hop + 1), "")
                } else {
                    answer("200 OK", "", request)
                };
                stream.write_all(&given).await.unwrap();
            }
        })
        .await;
        let invoked = call(&server.url("/0"), json!({ "method": "GET" }), json!({})).await;
        if follows {
            let last = ok(invoked).as_str().unwrap().to_ascii_lowercase();
            assert!(last.starts_with(&format!("get /{redirects} ")) && last.contains("idempotency-key: task-1:2:0"), "{last}");
        } else {
            assert_eq!(failed(invoked), json!({ "error": "more than 5 redirects" }));
        }
    }
}

#[tokio::test]
async fn a_redirect_away_from_the_operators_origin_passes_the_egress_rules() {
    let inside = Server::start(|_| async {}).await;
    let (server, requests) = Server::answering(answer("302 X", &format!("location: {}\r\n", inside.url("/")), "")).await;
    let failure = failed(call(&server.url("/"), json!({ "method": "GET" }), json!({})).await);
    assert!(failure["error"].as_str().unwrap().contains("not on the public internet"), "{failure}");
    assert_eq!((requests.count(), inside.connections()), (1, 0));
    for location in ["ftp://x.test/", "http://[", "file:///etc/passwd", "http://u:p@127.0.0.1/"] {
        let (server, _) = Server::answering(answer("302 X", &format!("location: {location}\r\n"), "")).await;
        assert!(failed(call(&server.url("/"), json!({ "method": "GET" }), json!({})).await)["error"].is_string(), "{location}");
    }
}

#[tokio::test]
async fn a_result_that_breaks_the_tools_promise_is_a_failure_that_says_it_was_carried_out() {
    let returns = json!({ "type": "object", "required": ["id"] });
    let (server, _) = Server::answering(answer("200 OK", "content-type: application/json\r\n", r#"{"x":1}"#)).await;
    let failure = failed(call(&server.url("/"), json!({ "returns": returns }), json!({})).await);
    assert!(failure["error"].as_str().unwrap().starts_with("the call was carried out, but"), "{failure}");
    assert_eq!((failure.get("status"), &failure["body"]), (None, &json!(r#"{"x":1}"#)));
    let (server, _) = Server::answering(answer("200 OK", "content-type: application/json\r\n", r#"{"id":1}"#)).await;
    assert_eq!(ok(call(&server.url("/"), json!({ "returns": returns }), json!({})).await), json!({ "id": 1 }));
}

#[tokio::test]
async fn arguments_that_do_not_fit_the_path_are_a_failure_and_nothing_is_sent() {
    let server = Server::start(|_| async {}).await;
    let failure = failed(call(&server.url("/{id}"), json!({}), json!({ "id": ".." })).await);
    assert!(failure["error"].as_str().unwrap().contains("`id`"), "{failure}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_built_in_tools_answer_through_the_same_call() {
    let (registry, run) = (registry(), |name: &str| tool(&format!("builtin:{name}"), json!({})));
    let sum = registry.invoke(&RunCall(invocation(run("calculator"), json!({ "expression": "17 * 23" })))).await;
    assert_eq!(sum, Invoked::Ok(json!({ "result": 391 })));
    let wrong = failed(registry.invoke(&RunCall(invocation(run("calculator"), json!({ "expression": "1 +" })))).await);
    assert_eq!(wrong, json!({ "error": "the expression ends too early" }));
    let now = ok(registry.invoke(&RunCall(invocation(run("clock"), json!({ "time_zone": "Asia/Tokyo" })))).await);
    assert!(now["local"].as_str().unwrap().ends_with("+09:00"), "{now}");
    assert!(matches!(registry.invoke(&RunCall(invocation(run("gone"), json!({})))).await, Invoked::NotSent(_)));
}

#[tokio::test]
async fn an_answer_too_deep_for_a_record_is_taken_as_text() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for (depth, is_json) in [(64, true), (65, false), (126, false)] {
        let (server, _) = Server::answering(answer("200 OK", "content-type: application/json\r\n", nested(depth))).await;
        let result = ok(call(&server.url("/"), json!({}), json!({})).await);
        assert_eq!((result.is_array(), result.is_string()), (is_json, !is_json), "{depth}");
        let (server, _) = Server::answering(answer("500 Oh", "content-type: application/json\r\n", nested(depth))).await;
        let failure = failed(call(&server.url("/"), json!({}), json!({})).await);
        assert_eq!(failure["body"].is_array(), is_json, "{depth}");
    }
}

#[tokio::test]
async fn a_failure_says_when_it_may_be_asked_again() {
    for (headers, expected) in [
        ("retry-after: 1.5\r\n", json!(1_500)),
        ("retry-after: 1m30s\r\n", json!(90_000)),
        ("retry-after: -1\r\n", Value::Null),
        ("", Value::Null),
    ] {
        let (server, _) = Server::answering(answer("429 Slow Down", headers, "")).await;
        let failure = failed(call(&server.url("/"), json!({}), json!({})).await);
        assert_eq!((&failure["status"], failure.get("retry_after_ms").cloned().unwrap_or_default()), (&json!(429), expected), "{headers}");
    }
}

#[tokio::test]
async fn a_call_that_is_never_sent_twice_goes_on_a_connection_of_its_own() {
    let server = Server::start(|mut stream| async move {
        while crate::server::read_request(&mut stream).await.is_some() {
            stream.write_all(&answer("200 OK", "", "ok")).await.unwrap();
        }
    })
    .await;
    let registry = registry();
    let called = async |effect: &str| {
        let before = server.connections();
        for _ in 0..3 {
            ok(registry.invoke(&RunCall(invocation(tool(&server.url("/"), json!({ "effect": effect })), json!({})))).await);
        }
        server.connections() - before
    };
    assert_eq!(called("at_most_once").await, 3, "one that lay idle may be closed just then");
    assert_eq!(called("idempotent").await, 1, "what may be sent again shares one");
    assert_eq!(called("at_most_once").await, 3);
}

#[tokio::test]
async fn whole_numbers_are_sent_as_integers_and_long_ones_to_the_last_digit() {
    let server = echo().await;
    let arguments =
        json!({ "a": 3.0, "b": [1.5, -2.0], "c": { "d": 1e300 }, "e": 9_007_199_254_740_993_u64, "f": u64::MAX, "g": i64::MIN });
    let sent = ok(call(&server, json!({}), arguments).await);
    let expected = r#"{"a":3,"b":[1.5,-2],"c":{"d":1e+300},"e":9007199254740993,"f":18446744073709551615,"g":-9223372036854775808}"#;
    assert_eq!(sent["body"].as_str().unwrap().replace("1e300", "1e+300"), expected);
    let sent = ok(call(&server, json!({ "method": "GET" }), json!({ "page": 2.0 })).await);
    assert_eq!(sent["uri"], "/?page=2");
}

#[tokio::test]
async fn a_result_of_long_integers_fits_what_the_tool_promises_of_them() {
    let returns = |of: &str| json!({ "returns": { "type": "object", "properties": { "wei": { "type": of, "minimum": 0 } } } });
    let body = r#"{"wei":12345678901234567890123,"list":[1]}"#;
    let (server, _) = Server::answering(answer("200 OK", "content-type: application/json\r\n", body)).await;
    let kept = json!({ "wei": "12345678901234567890123", "list": [1] });
    for of in ["integer", "number", "string"] {
        assert_eq!(ok(call(&server.url("/"), returns(of), json!({})).await), kept, "{of}");
    }
    let (server, _) =
        Server::answering(answer("200 OK", "content-type: application/json\r\n", r#"{"wei":-12345678901234567890123}"#)).await;
    let failure = failed(call(&server.url("/"), returns("integer"), json!({})).await);
    assert!(failure["error"].as_str().unwrap().contains("does not fit"), "{failure}");
}
