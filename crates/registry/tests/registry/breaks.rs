//! Servers that break at every point: what is known afterwards is *not sent*, an outcome, or *unknown*.

use crate::server::{Server, answer, call, invocation, read_request, registry, tool};
use maniple_core::ports::{Invoked, RunCall, Tools};
use serde_json::json;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

fn is_not_sent(invoked: &Invoked) -> bool {
    matches!(invoked, Invoked::NotSent(_))
}
fn is_unknown(invoked: &Invoked) -> bool {
    matches!(invoked, Invoked::Unknown(_))
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", free.local_addr().unwrap());
    drop(free);
    for method in ["GET", "POST"] {
        let invoked = call(&url, json!({ "method": method }), json!({})).await;
        assert!(is_not_sent(&invoked), "{invoked:?}");
    }
}

#[tokio::test]
async fn a_name_nobody_has_is_not_sent() {
    let invoked = call("http://tool.invalid/", json!({}), json!({})).await;
    assert!(is_not_sent(&invoked), "{invoked:?}");
}

#[tokio::test]
async fn a_failed_tls_handshake_is_not_sent() {
    let server = Server::start(|mut stream| async move {
        let _ = stream.write_all(b"this is no TLS\r\n\r\n").await;
    })
    .await;
    let invoked = call(&format!("https://{}/", server.address), json!({}), json!({})).await;
    assert!(is_not_sent(&invoked), "{invoked:?}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_tls_handshake_that_never_ends_is_not_sent_within_half_the_time() {
    let server = Server::start(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let mut call = invocation(tool(&format!("https://{}/", server.address), json!({})), json!({}));
    call.timeout = Duration::from_millis(500);
    let invoked = registry().invoke(&RunCall(call)).await;
    assert!(is_not_sent(&invoked), "{invoked:?}");
}

#[tokio::test]
async fn a_server_that_dies_with_the_request_in_its_hands_leaves_it_unknown() {
    let server = Server::start(|mut stream| async move {
        read_request(&mut stream).await;
    })
    .await;
    for method in ["GET", "POST"] {
        let invoked = call(&server.url("/"), json!({ "method": method }), json!({})).await;
        assert!(is_unknown(&invoked), "{invoked:?}");
    }
    assert_eq!(server.connections(), 2, "nothing was sent a second time");
}

#[tokio::test]
async fn a_server_that_closes_before_it_reads_leaves_it_unknown_too() {
    let server = Server::start(|stream| async move { drop(stream) }).await;
    let invoked = call(&server.url("/"), json!({}), json!({ "x": "y".repeat(100_000) })).await;
    assert!(is_unknown(&invoked), "{invoked:?}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_whole_answer_is_an_outcome_though_the_server_dies_right_after_it() {
    let (server, _) = Server::answering(answer("200 OK", "content-type: application/json\r\n", r#"{"done":true}"#)).await;
    assert_eq!(call(&server.url("/"), json!({}), json!({})).await, Invoked::Ok(json!({ "done": true })));
}

#[tokio::test]
async fn an_answer_cut_anywhere_is_unknown() {
    let whole = answer("200 OK", "content-type: application/json\r\n", r#"{"done":true}"#);
    let registry = registry();
    for at in 0..whole.len() {
        let (server, requests) = Server::answering(&whole[..at]).await;
        let invoked = registry.invoke(&RunCall(invocation(tool(&server.url("/"), json!({})), json!({})))).await;
        assert!(is_unknown(&invoked), "cut at {at}: {invoked:?}");
        assert_eq!(requests.count(), 1, "cut at {at}");
    }
    let chunked = b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for at in 0..chunked.len() {
        let (server, _) = Server::answering(&chunked[..at]).await;
        let invoked = registry.invoke(&RunCall(invocation(tool(&server.url("/"), json!({})), json!({})))).await;
        assert!(is_unknown(&invoked), "cut at {at}: {invoked:?}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_byte_by_byte_is_an_answer() {
    let server = Server::start(|mut stream| async move {
        read_request(&mut stream).await;
        for byte in answer("200 OK", "content-type: application/json\r\n", r#"{"a":"ä"}"#) {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(call(&server.url("/"), json!({}), json!({})).await, Invoked::Ok(json!({ "a": "ä" })));
}

#[tokio::test]
async fn a_silent_server_and_one_that_stops_midway_are_unknown_at_the_time_out() {
    for sent in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"] {
        let server = Server::start(move |mut stream| async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(sent).await;
            std::future::pending::<()>().await;
        })
        .await;
        let mut call = invocation(tool(&server.url("/"), json!({})), json!({}));
        call.timeout = Duration::from_millis(150);
        assert_eq!(registry().invoke(&RunCall(call)).await, Invoked::Unknown("tool `t` gave no complete answer within 150 ms".into()));
    }
}

#[tokio::test]
async fn a_connection_nobody_accepts_is_not_sent() {
    // A backlog of one, filled: the kernel answers no further SYN.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        held.push(stream);
        assert!(held.len() < 100, "the backlog never fills");
    }
    let mut call = invocation(tool(&format!("http://{address}/"), json!({})), json!({}));
    call.timeout = Duration::from_millis(500);
    let invoked = registry().invoke(&RunCall(call)).await;
    assert!(is_not_sent(&invoked), "{invoked:?}");
}

#[tokio::test]
async fn a_server_that_redirects_and_dies_was_reached_so_it_is_unknown() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        read_request(&mut stream).await;
        stream.write_all(&answer("302 X", "location: /next\r\nconnection: close\r\n", "")).await.unwrap();
    });
    let invoked = call(&url, json!({ "method": "GET", "effect": "at_most_once" }), json!({})).await;
    assert!(is_unknown(&invoked), "{invoked:?}");
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_unknown() {
    for garbage in ["garbage\r\n\r\n".to_owned(), format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "h".repeat(1 << 20))] {
        let (server, _) = Server::answering(garbage).await;
        let invoked = call(&server.url("/"), json!({}), json!({})).await;
        assert!(is_unknown(&invoked), "{invoked:?}");
    }
}

/// A server that keeps connections open and closes each at a moment of its own choosing.
///
/// Whatever the race, what the caller is told agrees with the server's ledger: an outcome arrived once,
/// *not sent* not at all, *unknown* at most once.
#[tokio::test]
async fn a_pooled_connection_closed_under_a_call_never_sends_it_twice() {
    let ledger = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
    let (book, turn) = (ledger.clone(), Arc::new(std::sync::atomic::AtomicU64::new(0)));
    let server = Server::start(move |mut stream| {
        let (book, turn) = (book.clone(), turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        async move {
            for round in 0..=(turn % 3) {
                let Some(request) = read_request(&mut stream).await else { return };
                let key = request.lines().find_map(|l| l.strip_prefix("idempotency-key: ")).unwrap().to_owned();
                *book.lock().unwrap().entry(key).or_default() += 1;
                if turn % 7 == 6 && round == turn % 3 {
                    return; // dies with the request in its hands
                }
                if stream.write_all(&answer("200 OK", "", "ok")).await.is_err() {
                    return;
                }
            }
            for _ in 0..turn % 50 {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    let (registry, mut told) = (registry(), [0; 3]);
    for n in 0..600 {
        let mut call = invocation(tool(&server.url("/"), json!({ "effect": "idempotent" })), json!({})); // others have a connection of their own
        call.key = format!("task:{n}:0");
        let arrived = |ledger: &Mutex<HashMap<String, usize>>| ledger.lock().unwrap().get(&call.key).copied().unwrap_or(0);
        match registry.invoke(&RunCall(call.clone())).await {
            Invoked::Ok(_) => {
                told[0] += 1;
                assert_eq!(arrived(&ledger), 1, "call {n}");
            }
            Invoked::NotSent(why) => {
                told[1] += 1;
                assert_eq!(arrived(&ledger), 0, "call {n}: {why}");
            }
            Invoked::Unknown(why) => {
                told[2] += 1;
                assert!(arrived(&ledger) <= 1, "call {n}: {why}");
            }
            other @ (Invoked::Failed(_) | Invoked::Wait(..) | Invoked::Refused(_)) => panic!("call {n}: {other:?}"),
        }
    }
    assert!(told[0] > 200 && told[2] > 10, "the server was to answer most and to break some: {told:?}");
    assert!(ledger.lock().unwrap().values().all(|times| *times == 1));
    assert!(server.connections() < 600, "connections are used again");
}
