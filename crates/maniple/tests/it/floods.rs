//! Many that take nothing, and many that say nothing: what a node holds for them, and who is served all the same.

use crate::node::Served;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};

/// Nothing here takes so long; a hanging test says where it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn host(node: &Served) -> String {
    node.address.trim_start_matches("http://").to_owned()
}

async fn connect(node: &Served) -> TcpStream {
    TcpStream::connect(host(node)).await.expect("the system takes it for the node")
}

/// A task whose first event is of so many bytes, at its end.
async fn large_task(node: &Served, bytes: usize) -> String {
    let asked = node.post("/run").json(&json!({ "prompt": "x".repeat(bytes) })).send().await.expect("it answers");
    assert_eq!(asked.status(), 200);
    asked.json::<Value>().await.expect("a task")["task_id"].as_str().expect("its id").to_owned()
}

/// Asks for a path, reads the first bytes of the answer, and leaves the rest where it is.
async fn unread(node: &Served, path: &str, more: &str) -> TcpStream {
    let mut stream = connect(node).await;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{more}\r\n", host(node)).as_bytes()).await.expect("it listens");
    let mut status = [0; 10];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut status)).await.expect("it answers").expect("it answers");
    stream
}

/// Reads on until the last event has come, and so many bytes before it.
async fn rest(mut stream: TcpStream, wanted: usize, ends_with: &'static [u8]) {
    let (mut chunk, mut count, mut last) = (vec![0; 256 << 10], 0, Vec::new());
    loop {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut chunk)).await.expect("it goes on").expect("it goes on");
        assert_ne!(read, 0, "it broke off after {count}");
        count += read;
        last.extend_from_slice(&chunk[read.saturating_sub(2_000)..read]);
        if last.windows(ends_with.len()).any(|window| window == ends_with) {
            break;
        }
        last.drain(..last.len().saturating_sub(2_000));
    }
    assert!(count >= wanted, "{count} of {wanted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_reads_hold_next_to_nothing_and_lose_no_event() {
    // More than lies in the kernel's buffers.
    const LARGE: usize = 3 << 20;
    let node = Served::start("limits: { body_bytes: 8388608 }\ntelemetry: { level: warn }\n");
    let path = format!("/tasks/{}/events", large_task(&node, LARGE).await);
    let before = node.peak_mib();
    let upgrade =
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let mut streams = Vec::new();
    for n in 0..120 {
        let as_socket = n % 4 == 3;
        streams.push((unread(&node, &path, if as_socket { upgrade } else { "" }).await, as_socket));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let held = node.peak_mib() - before;
    assert!(held < 100, "120 unread streams hold {held} MiB");
    let at_once = Arc::new(Semaphore::new(32));
    let reading = streams.into_iter().map(|(stream, as_socket)| {
        let at_once = at_once.clone();
        tokio::spawn(async move {
            let _place = at_once.acquire().await.expect("open");
            let end: &[u8] = if as_socket { b"\"type\":\"task.completed\"" } else { b"event: task.completed" };
            rest(stream, LARGE, end).await;
        })
    });
    for read in reading.collect::<Vec<_>>() {
        read.await.expect("every event came");
    }
    assert!(node.peak_mib() - before < 150, "while they are read: {} MiB", node.peak_mib() - before);
}
