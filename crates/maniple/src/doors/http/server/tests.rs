//! The listener over real sockets: what only bytes on a wire can show.

use super::super::{
    Auth, CorsSettings, Limits,
    tests::{Plan, build, frames, guarding::token},
};
use super::*;
use crate::config;
use futures::{SinkExt, StreamExt};
use maniple_api::{TaskRequest, client::Client};
use maniple_core::Scope;
use maniple_runtime::desk;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::{
    self, Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

struct Served {
    house: super::super::tests::House,
    address: SocketAddr,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

async fn served_with(plan: Plan) -> Served {
    let (header_read, plan_connections) = (plan.limits.header_read, plan.limits.connections);
    let house = build(plan);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let serving = tokio::spawn(serve(
        listener,
        house.router.clone().layer(axum::middleware::from_fn(super::super::visitor::hosted)),
        header_read,
        Shares::of(plan_connections),
        stop.clone(),
    ));
    Served { house, address, stop, serving }
}

async fn served() -> Served {
    served_with(Plan::default()).await
}

impl Served {
    fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address), None).unwrap()
    }
    async fn talk(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that refuses a body unread may close before all of it is sent.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).to_lowercase()
    }
}

fn asking(prompt: &str) -> TaskRequest {
    TaskRequest { prompt: prompt.into(), ..TaskRequest::default() }
}

#[tokio::test]
async fn the_client_runs_follows_lists_retries_and_erases() {
    let served = served().await;
    let client = served.client();
    let request = TaskRequest { session_id: Some("s/ü".into()), ..asking("hello") };
    let ran = client.run(&request, Some("k")).await.unwrap();
    assert_eq!((ran.result.output.as_deref(), ran.replayed), (Some("answer to: hello"), false));
    assert!(client.submit(&request, Some("k")).await.unwrap().replayed);

    let streamed: Vec<_> = client.run_and_follow(&asking("again"), None).await.unwrap().map(Result::unwrap).collect().await;
    let text: String = streamed.iter().filter_map(|event| event.text()).collect();
    assert_eq!((text.as_str(), streamed.last().unwrap().kind.as_str()), ("answer to: again", "task.completed"));
    let id = streamed[0].task_id.to_string();
    let replayed: Vec<_> = client.events(&id, 0).map(Result::unwrap).collect().await;
    assert_eq!(replayed, streamed.into_iter().filter(|event| event.id.is_some()).collect::<Vec<_>>());
    assert_eq!(client.events(&id, 5).count().await, 0);

    let failed = client.run(&asking("fail"), None).await.unwrap().result;
    assert_eq!(client.retry(failed.task_id.as_str(), None).await.unwrap().result.retry_of, Some(failed.task_id.clone()));
    assert_eq!(client.cancel(failed.task_id.as_str()).await.unwrap(), client.task(failed.task_id.as_str()).await.unwrap());
    assert_eq!(client.tasks(&Default::default()).await.unwrap().tasks.len(), 4);
    assert_eq!(client.messages("s/ü", &Default::default()).await.unwrap().messages.len(), 2);
    assert_eq!(client.erase("s/ü", Some("search")).await.unwrap().tasks, 1);
    assert_eq!(client.agents(&Default::default()).await.unwrap().agents[0].name, "search");
    assert_eq!(client.dead_letters(&Default::default()).await.unwrap().tasks, []);
    assert!(client.ready().await.is_ok());

    let refused = client.run(&TaskRequest { max_steps: Some(99), ..asking("p") }, None).await.unwrap_err();
    assert_eq!((refused.kind, refused.field.as_deref()), (maniple_core::Kind::Invalid, Some("max_steps")));
    assert_eq!(client.task("none").await.unwrap_err().kind, maniple_core::Kind::NotFound);
    let nobody = Client::new("http://127.0.0.1:1", None).unwrap().task("x").await.unwrap_err();
    assert!(nobody.kind == maniple_core::Kind::Unavailable && nobody.message.contains("maniple dev"), "{nobody}");
}

/// A door that lets only so many bytes of each connection through, then cuts it.
async fn cutting(to: SocketAddr, bytes: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                let (mut far_read, mut far_write) = far.split();
                let (mut near_read, mut near_write) = near.split();
                let mut limited = (&mut far_read).take(bytes as u64);
                tokio::select! {
                    _ = tokio::io::copy(&mut near_read, &mut far_write) => {}
                    _ = tokio::io::copy(&mut limited, &mut near_write) => {}
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn the_client_follows_a_task_over_connections_that_are_cut() {
    let served = served().await;
    let id = served.client().run(&asking("hello"), None).await.unwrap().result.task_id.to_string();
    let whole: Vec<_> = served.client().events(&id, 0).map(Result::unwrap).collect().await;
    let near = cutting(served.address, 1_500).await;
    let client = Client::new(&format!("http://{near}"), None).unwrap();
    let pieced: Vec<_> = client.events(&id, 0).map(Result::unwrap).collect().await;
    assert_eq!(pieced, whole);
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_unread_and_the_client_reads_why() {
    let served = served().await;
    for size in [(1 << 20) + 1, 3 << 20] {
        let mut request =
            format!("POST /tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n")
                .into_bytes();
        let head = request.len();
        assert!(served.talk(&request).await.starts_with("http/1.1 413 "), "before a byte of it came");
        request.resize(head + size, b'x');
        let answer = served.talk(&request).await;
        assert!(answer.starts_with("http/1.1 413 ") && answer.contains("application/problem+json"), "{answer}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_slow_too_large_or_no_http_ends_its_connection() {
    let limits = Limits { header_read: Period::ms(200), ..Limits::default() };
    let served = served_with(Plan { limits, ..Plan::default() }).await;
    let began = std::time::Instant::now();
    served.talk(b"GET /health HTTP/1.1\r\nhost: x\r\nx-slow").await;
    assert!(began.elapsed() < Duration::from_secs(3));
    let large = format!("GET /health HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(400 << 10));
    let answer = served.talk(large.as_bytes()).await;
    assert!(answer.starts_with("http/1.1 431 "), "{answer:?}");
    assert!(!served.talk(b"\x16\x03\x01\x02\x00\x01 no http\r\n\r\n").await.contains(" 200 "));
    assert!(served.talk(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.starts_with("http/1.1 200 "));
}

async fn websocket(served: &Served, path: &str) -> Vec<Result<Message, tungstenite::Error>> {
    let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{}{path}", served.address)).await.unwrap();
    socket.collect().await
}

#[tokio::test]
async fn a_websocket_tells_the_same_events_and_says_goodbye() {
    let served = served().await;
    let id = served.client().run(&asking("hello"), None).await.unwrap().result.task_id.to_string();
    let by_sse: Vec<Value> =
        frames(&served.house.get(&format!("/tasks/{id}/events")).await.bytes).into_iter().map(|frame| frame.2).collect();
    for after in [0, 2, by_sse.len()] {
        let told = websocket(&served, &format!("/tasks/{id}/events?after={after}")).await;
        let (last, texts) = told.split_last().unwrap();
        let texts: Vec<Value> = texts.iter().map(|m| serde_json::from_str(m.as_ref().unwrap().to_text().unwrap()).unwrap()).collect();
        assert_eq!(texts, by_sse[after..]);
        assert!(matches!(last.as_ref().unwrap(), Message::Close(Some(frame)) if frame.code == CloseCode::Normal), "{last:?}");
    }
    let refused = tokio_tungstenite::connect_async(format!("ws://{}/tasks/none/events", served.address)).await.unwrap_err();
    assert!(matches!(refused, tungstenite::Error::Http(answer) if answer.status() == 404));
}

#[tokio::test]
async fn events_larger_than_a_piece_reach_their_readers_whole() {
    let served = served().await;
    for bytes in [8 << 10, 60 << 10, 300 << 10] {
        let prompt: String = ('a'..='z').cycle().take(bytes).collect();
        let id = served.client().run(&asking(&prompt), None).await.unwrap().result.task_id.to_string();
        let url = format!("http://{}/tasks/{id}/events", served.address);
        let by_sse: Vec<Value> =
            frames(&reqwest::get(url).await.unwrap().bytes().await.unwrap()).into_iter().map(|frame| frame.2).collect();
        assert_eq!(by_sse[0]["data"]["prompt"], prompt);
        let told = websocket(&served, &format!("/tasks/{id}/events")).await;
        let texts = told.iter().filter_map(|m| m.as_ref().unwrap().to_text().ok().filter(|text| text.starts_with('{')));
        assert_eq!(texts.map(|text| serde_json::from_str::<Value>(text).unwrap()).collect::<Vec<_>>(), by_sse);
    }
}

#[tokio::test]
async fn a_websocket_tells_deltas_live_without_a_number() {
    let served = served().await;
    let id = served.client().submit(&asking("slow hello"), None).await.unwrap().result.task_id.to_string();
    let told = websocket(&served, &format!("/agents/search/tasks/{id}/events")).await;
    let texts = told.iter().filter_map(|m| m.as_ref().ok()?.to_text().ok().filter(|text| !text.is_empty()));
    let deltas: Vec<Value> =
        texts.filter_map(|text| serde_json::from_str(text).ok()).filter(|told: &Value| told["type"] == "delta").collect();
    let data = json!({"step": 1, "attempt": 1, "index": 0, "text": "answer to: slow hello"});
    assert_eq!(deltas, [json!({"type": "delta", "task_id": id, "step": 1, "data": data})]);
}

#[tokio::test]
async fn a_page_may_listen_by_websocket_where_it_may_use_the_node_and_nowhere_else() {
    use tungstenite::client::IntoClientRequest;
    let cors = CorsSettings { origins: vec!["https://app.example".into()] };
    let tokens = vec![token("ann", "default", &["*"], &[Scope::Run, Scope::Read])];
    let locked = Auth::of(Some(&config::Auth { tokens }), false).unwrap();
    for (auth, shown) in [(Auth::Open, None), (locked, Some("ann"))] {
        let served = served_with(Plan { cors: cors.clone(), auth, ..Plan::default() }).await;
        let own = format!("http://{}", served.address);
        let client = Client::new(&own, shown.map(str::to_owned)).unwrap();
        let id = client.run(&asking("hello"), None).await.unwrap().result.task_id.to_string();
        for (origin, allowed) in [
            (own.as_str(), true),
            ("http://localhost:3000", true),
            ("https://app.example", true),
            ("https://evil.example", false),
            ("null", false),
        ] {
            let mut request = format!("ws://{}/tasks/{id}/events", served.address).into_client_request().unwrap();
            request.headers_mut().insert("origin", origin.parse().unwrap());
            if let Some(shown) = shown {
                request.headers_mut().insert("authorization", format!("Bearer {shown}").parse().unwrap());
            }
            assert_eq!(tokio_tungstenite::connect_async(request).await.is_ok(), allowed, "{origin} {shown:?}");
        }
    }
}

#[tokio::test]
async fn a_reader_that_leaves_cancels_nothing_and_gives_its_place_back() {
    let desk = desk::Limits { event_streams: 1, ..desk::Limits::default() };
    let served = served_with(Plan { desk, ..Plan::default() }).await;
    let client = served.client();
    for round in 0..3 {
        let id = client.submit(&asking("slow"), None).await.unwrap().result.task_id.to_string();
        let url = format!("ws://{}/tasks/{id}/events", served.address);
        let mut socket = loop {
            // The place of the round before is given back when its end is noticed.
            match tokio_tungstenite::connect_async(&url).await {
                Ok((socket, _)) => break socket,
                Err(tungstenite::Error::Http(answer)) => assert_eq!(answer.status(), 503),
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert!(socket.next().await.unwrap().unwrap().is_text());
        match round {
            0 => drop(socket),
            1 => socket.close(None).await.unwrap(),
            _ => socket.send(Message::Text("x".repeat(100 << 10).into())).await.unwrap(),
        }
        if round == 0 {
            assert_eq!(served.house.ended(&id).await["status"], "completed");
        }
    }
}

#[tokio::test]
async fn a_reader_that_says_goodbye_is_answered() {
    let served = served_with(Plan { work: false, ..Plan::default() }).await;
    let id = served.client().submit(&asking("p"), None).await.unwrap().result.task_id.to_string();
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/tasks/{id}/events", served.address)).await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Message::Text(_)))));
    socket.close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() })).await.unwrap();
    let last: Vec<_> = socket.collect().await;
    assert!(matches!(last.last(), Some(Ok(Message::Close(Some(frame)))) if frame.code == CloseCode::Away), "{last:?}");
}

#[tokio::test]
async fn a_leaving_node_takes_nobody_closes_the_idle_and_ends_streams() {
    let served = served_with(Plan { work: false, ..Plan::default() }).await;
    let client = served.client();
    let id = client.submit(&asking("p"), None).await.unwrap().result.task_id.to_string();
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    let streaming = reqwest::get(format!("http://{}/tasks/{id}/events", served.address)).await.unwrap();
    let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/tasks/{id}/events", served.address)).await.unwrap();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.run(&asking("p"), None).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    served.house.closing.cancel();
    served.stop.cancel();
    assert!(!waiting.await.unwrap().unwrap().result.status.is_final());
    assert!(String::from_utf8_lossy(&streaming.bytes().await.unwrap()).starts_with("id: 1\n"));
    let told: Vec<_> = socket.collect().await;
    assert!(matches!(told.last(), Some(Ok(Message::Close(Some(frame)))) if frame.code == CloseCode::Restart), "{told:?}");
    assert_eq!(idle.read(&mut [0; 8]).await.unwrap(), 0);
    tokio::time::timeout(Duration::from_secs(5), served.serving).await.expect("it leaves within its bound").unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[tokio::test]
async fn a_leaving_node_answers_who_was_let_in_and_whose_request_was_on_its_way() {
    let served = served().await;
    let request = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    idle.write_all(request).await.unwrap();
    let mut answer = [0; 1_024];
    let read = idle.read(&mut answer).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer[..read]).to_lowercase().contains("connection: close"));
    // The system lets these in; nobody takes them before the node leaves.
    let waiting: Vec<std::net::TcpStream> = (0..20).map(|_| std::net::TcpStream::connect(served.address).unwrap()).collect();
    served.stop.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut all: Vec<TcpStream> = vec![idle];
    for stream in waiting {
        stream.set_nonblocking(true).unwrap();
        all.push(TcpStream::from_std(stream).unwrap());
    }
    for (number, mut stream) in all.into_iter().enumerate() {
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap_or_else(|error| panic!("{number}: {error}"));
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.to_lowercase().contains("connection: close"), "{number}: {answer:?}");
    }
    tokio::time::timeout(Duration::from_secs(5), served.serving).await.expect("it leaves within its bound").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_loses_its_connection() {
    let (near, _far) = tokio::io::duplex(64);
    let mut connection = Patient::new(near);
    let began = tokio::time::Instant::now();
    let error = connection.write_all(&[0; 1_000]).await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, STALLED));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_little_at_a_time_keeps_its_connection() {
    let (near, mut far) = tokio::io::duplex(64);
    let mut connection = Patient::new(near);
    let reading = tokio::spawn(async move {
        let mut taken = 0;
        while taken < 1_000 {
            tokio::time::sleep(STALLED - Duration::from_secs(1)).await;
            taken += far.read(&mut [0; 64]).await.unwrap();
        }
    });
    connection.write_all(&[0; 1_000]).await.unwrap();
    reading.await.unwrap();
}

#[tokio::test]
async fn a_client_that_closes_its_side_after_its_request_gets_its_answer() {
    let served = served().await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let body = r#"{"prompt":"hello"}"#;
    let head = format!("POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await.expect("it ends").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("answer to: hello"), "{answer}");
}

#[tokio::test]
async fn http_1_1_names_a_host_and_http_1_0_need_not() {
    let served = served().await;
    let answer = served.talk(b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("http/1.1 400") && answer.contains("asks for a host header"), "{answer}");
    assert!(served.talk(b"GET /health HTTP/1.0\r\n\r\n").await.starts_with("http/1.0 200"));
    assert!(served.talk(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.starts_with("http/1.1 200"));
}
