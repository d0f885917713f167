//! A process that leaves cuts nobody: who waits is told where its task is, and who reads where to go on.

use super::{
    GENEROUS,
    fleet::{self, Place},
    node::{Node, World},
    reader,
};
use futures::StreamExt;
use maniple_core::{TaskId, task::AgentResult};
use maniple_testkit::postgres::Database;
use serde_json::json;
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

/// How often it is tried: what is cut by chance is not cut each time.
const ROUNDS: usize = 4;
const SOCKETS: usize = 3;

/// Asks and waits for the answer: the status, the Location and the body.
async fn run(world: &World, id: String) -> (u16, String, AgentResult) {
    let asked = json!({ "id": id, "prompt": "look" });
    let answer = world.door.client.post(format!("{}/agents/looker/run", world.door.url)).json(&asked).send().await.expect("it is answered");
    let location = answer.headers().get("location").map(|place| place.to_str().expect("text").to_owned());
    (answer.status().as_u16(), location.unwrap_or_default(), answer.json().await.expect("a whole body"))
}

/// Asks and reads events until the stream ends; the last number of it.
async fn streamed(world: &World, id: String) -> u64 {
    let asked = world.door.client.post(format!("{}/agents/looker/run", world.door.url)).header("accept", "text/event-stream");
    let mut body = asked.json(&json!({ "id": id, "prompt": "look" })).send().await.expect("it is answered").bytes_stream();
    let mut read = Vec::new();
    while let Some(piece) = body.next().await {
        read.extend_from_slice(&piece.expect("the stream ends, and is not cut"));
    }
    let text = String::from_utf8(read).expect("text");
    assert!(text.ends_with("\n\n") && !text.contains("event: task.completed"), "{text}");
    text.lines().filter_map(|line| line.strip_prefix("id:")?.trim().parse().ok()).max().expect("events")
}

/// Reads a task's events over a WebSocket until it is closed; why it was.
async fn socket(world: &World, id: &str, reading: &AtomicUsize) -> Option<CloseCode> {
    let url = format!("{}/tasks/{id}/events", world.door.url.replace("http://", "ws://"));
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("it is upgraded");
    socket.next().await.expect("an event").expect("an event");
    reading.fetch_add(1, Ordering::SeqCst);
    while let Some(message) = socket.next().await {
        match message {
            Ok(Message::Close(frame)) => return frame.map(|frame| frame.code),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
    None
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(GENEROUS, waiting).await.expect(what);
}

async fn arrived(world: &World, calls: usize) {
    until("the calls are under way", || world.ledger.arrivals().len() >= calls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_leaves_tells_who_waits_where_its_task_is_and_who_reads_where_to_go_on() {
    let world = World::new().await;
    // However little time its calls are given.
    world.has_settings("worker: { drain: 0s }\n");
    for round in 0..ROUNDS {
        world.has_a_look_that_takes(Duration::from_secs(8));
        let node = Node::start(&world);
        node.answers(&world, GENEROUS).await;
        let before = world.ledger.arrivals().len();
        let (waits, reads) = (format!("waits-{round}"), format!("reads-{round}"));
        let meanwhile = async {
            arrived(&world, before + 2).await;
            let reading = AtomicUsize::new(0);
            let sockets = futures::future::join_all((0..SOCKETS).map(|_| socket(&world, &waits, &reading)));
            let leave = async {
                until("all sockets are read", || reading.load(Ordering::SeqCst) == SOCKETS).await;
                node.leave(GENEROUS).await;
            };
            futures::join!(sockets, leave).0
        };
        let ((status, location, result), last, closed) =
            futures::join!(run(&world, waits.clone()), streamed(&world, reads.clone()), meanwhile);
        assert_eq!((status, location.as_str()), (202, format!("/tasks/{waits}").as_str()), "{result:?}");
        assert_eq!((result.task_id.as_str(), result.status.is_final()), (waits.as_str(), false), "{result:?}");
        assert_eq!(closed, [Some(CloseCode::Restart); SOCKETS], "round {round}");

        world.has_a_look_that_takes(Duration::from_millis(8));
        let node = Node::start(&world);
        node.answers(&world, GENEROUS).await;
        let end = tokio::time::Instant::now() + GENEROUS;
        for id in [&waits, &reads] {
            let id = TaskId::parse(id).expect("an id");
            let result = reader::ended(&world.door, &id, end).await.expect("it goes on");
            assert_eq!(result.status.as_str(), "completed", "{result:?}");
        }
        let events = reader::events_after(&world.door, &TaskId::parse(&reads).expect("an id"), last).await;
        let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
        assert_eq!(numbers, (last + 1..=last + events.len() as u64).collect::<Vec<_>>(), "no gap and no repeat after {last}");
        assert!(events.last().is_some_and(|event| event.is_final()));
        node.leave(GENEROUS).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_api_that_leaves_tells_who_waits_where_its_task_is_while_it_goes_on_elsewhere() {
    let database = Database::empty();
    let world = World::over(&database.url()).await;
    world.has_a_look_that_takes(Duration::from_secs(6));
    let mut places: Vec<Place> = ["api", "worker"].map(|role| Place::of(&world, role)).into();
    fleet::balance(&world, &[&places[0]]).await;
    for place in &places {
        place.is_ready(&world, GENEROUS).await;
    }
    let mut api = places.remove(0);
    let replaced = async {
        arrived(&world, 1).await;
        api.replace(&world, GENEROUS).await;
    };
    let ((status, location, result), ()) = futures::join!(run(&world, "waits".into()), replaced);
    assert_eq!((status, location.as_str(), result.status.as_str()), (202, "/tasks/waits", "running"), "{result:?}");
    let end = tokio::time::Instant::now() + GENEROUS;
    let result = reader::ended(&world.door, &result.task_id, end).await.expect("it goes on");
    assert_eq!((result.status.as_str(), world.ledger.arrivals().len()), ("completed", 1), "{result:?}");
    api.leave(GENEROUS).await;
    places.remove(0).leave(GENEROUS).await;
}
