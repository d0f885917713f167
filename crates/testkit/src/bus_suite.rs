//! What every [`Bus`] promises, as tests any bus can run: two of them are two processes.
//!
//! ```text
//! bus_suite::run(async || Fixture { here, there, carries, keep }).await
//! ```
//!
//! A bus may lose and repeat; what it may not is to leave a reader waiting that has something to read: that one is told the event, or
//! that it lagged.

use futures::{
    StreamExt,
    future::{BoxFuture, join_all},
    stream::BoxStream,
};
use maniple_core::{
    AgentName, TaskId, TaskKey, Tenant, Time,
    event::StoredEvent,
    ports::{Bus, Delta, Hint, Live},
};
use serde_json::value::RawValue;
use std::{any::Any, future::Future, sync::Arc, time::Duration};
use tokio::time::timeout;

/// Two processes that share a bus.
pub struct Fixture {
    /// The bus of one.
    pub here: Arc<dyn Bus>,
    /// The bus of the other; the same one where there is but one process.
    pub there: Arc<dyn Bus>,
    /// What it carries from one to the other.
    pub carries: Carries,
    /// Kept until the test is over.
    pub keep: Box<dyn Any + Send + Sync>,
}

/// What a bus carries between processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// Events and pieces of text.
    Everything,
    /// That there is something to read.
    Notices,
}

/// What must happen happens long before that.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs every test on processes of its own; panics with the names of those that failed.
pub async fn run<R>(make: impl Fn() -> R)
where
    R: Future<Output = Fixture>,
{
    let mut failed = Vec::new();
    for case in [
        case(hints_reach_all_who_listen_here_and_there),
        case(hints_that_come_together_all_arrive),
        case(a_reader_elsewhere_sees_events_in_order_or_is_told_to_look),
        case(whoever_publishes_is_not_told_what_it_said),
        case(the_same_id_of_another_tenant_is_another_task),
        case(pieces_of_text_reach_readers_elsewhere_where_the_bus_carries_them),
        case(a_reader_that_comes_again_and_again_misses_nothing),
        case(all_readers_of_a_task_are_told),
        case(an_event_too_large_for_the_bus_is_looked_for),
        case(of_very_many_tasks_at_once_each_reader_is_told),
        case(a_reader_sees_nothing_of_other_tasks),
    ] {
        let fixture = make().await;
        fixture.is_up().await;
        if tokio::spawn((case.run)(fixture)).await.is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{} promises are broken: {failed:#?}", failed.len());
}

struct Case {
    name: &'static str,
    run: Box<dyn Fn(Fixture) -> BoxFuture<'static, ()> + Send + Sync>,
}

/// A test, called what its function is called.
fn case<F, R>(test: F) -> Case
where
    F: Fn(Fixture) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let name = std::any::type_name::<F>().rsplit("::").next().unwrap_or_default();
    Case { name, run: Box::new(move |fixture| Box::pin(test(fixture))) }
}

/// A task of that id.
pub fn key(id: &str) -> TaskKey {
    TaskKey { tenant: Tenant::default(), id: TaskId::parse(id).expect("legal") }
}
/// A recorded event of that number.
pub fn event(seq: u64) -> Live {
    sized(seq, 8)
}
fn sized(seq: u64, bytes: usize) -> Live {
    let data = RawValue::from_string(format!("{{\"text\":\"ü{}\"}}", "x".repeat(bytes))).expect("JSON");
    Live::Event(Arc::new(StoredEvent { seq, at: Time(1_700_000_000_123), step: 2, name: "model.finished".into(), data, made: None }))
}
/// A piece of text of that number.
pub fn delta(index: u32) -> Live {
    Live::Delta(Delta { step: 1, attempt: 1, index, text: format!("piece {index}\n") })
}

/// What was heard, as it can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// An event of that number.
    Event(u64),
    /// A piece of that number.
    Delta(u32),
    /// Something was lost.
    Lagged,
}

/// What a reader hears next.
pub async fn next(reader: &mut BoxStream<'static, Live>) -> Heard {
    match timeout(PATIENCE, reader.next()).await.expect("a reader is not left waiting") {
        Some(Live::Event(event)) => {
            let Live::Event(sent) = sized(event.seq, event.data.get().len() - r#"{"text":"ü"}"#.len()) else { unreachable!("it is one") };
            let parts = |event: &StoredEvent| (event.at, event.step, event.name.clone().into_owned(), event.data.get().to_owned());
            assert_eq!(parts(&event), parts(&sent), "an event arrives as it was recorded");
            Heard::Event(event.seq)
        }
        Some(Live::Delta(piece)) => {
            assert_eq!(piece.text, format!("piece {}\n", piece.index));
            Heard::Delta(piece.index)
        }
        Some(Live::Lagged) => Heard::Lagged,
        None => panic!("the stream ended"),
    }
}

/// Waits until a listener hears a hint.
pub async fn hear(hints: &mut BoxStream<'static, Hint>, wanted: &Hint) {
    let heard = async { while hints.next().await.as_ref().is_some_and(|hint| hint != wanted) {} };
    timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("{wanted:?} was not heard"));
}

impl Fixture {
    /// Until each hears the other.
    async fn is_up(&self) {
        for (from, to) in [(&self.here, &self.there), (&self.there, &self.here)] {
            let mut hints = to.hints();
            let heard = async {
                let marker = Hint::Signalled(key("marker"));
                loop {
                    from.hint(marker.clone());
                    let heard = async { while hints.next().await.as_ref().is_some_and(|hint| *hint != marker) {} };
                    if timeout(Duration::from_millis(50), heard).await.is_ok() {
                        break;
                    }
                }
            };
            timeout(PATIENCE, heard).await.expect("one process hears the other");
        }
    }
    /// An event as a reader elsewhere hears it.
    fn heard(&self, seq: u64) -> Heard {
        match self.carries {
            Carries::Everything => Heard::Event(seq),
            Carries::Notices => Heard::Lagged,
        }
    }
}

async fn hints_reach_all_who_listen_here_and_there(fixture: Fixture) {
    let listeners = [fixture.here.hints(), fixture.here.hints(), fixture.there.hints(), fixture.there.hints()];
    let ready = Hint::Ready(AgentName::parse("search").expect("legal"));
    let signalled = Hint::Signalled(TaskKey { tenant: Tenant::parse("acme.x").expect("legal"), ..key("a:b.c_d-e") });
    fixture.here.hint(ready.clone());
    let mut listeners = join_all(listeners.map(|mut hints| async {
        hear(&mut hints, &ready).await;
        hints
    }))
    .await;
    fixture.there.hint(signalled.clone());
    join_all(listeners.iter_mut().map(|hints| hear(hints, &signalled))).await;
}

async fn hints_that_come_together_all_arrive(fixture: Fixture) {
    let mut hints = fixture.there.hints();
    for number in 0..500 {
        fixture.here.hint(Hint::Signalled(key(&format!("t{number}"))));
    }
    let mut missing: std::collections::HashSet<TaskKey> = (0..500).map(|number| key(&format!("t{number}"))).collect();
    while !missing.is_empty() {
        match timeout(PATIENCE, hints.next()).await.unwrap_or_else(|_| panic!("{} are missing", missing.len())) {
            Some(Hint::Signalled(task)) => _ = missing.remove(&task),
            // Whoever is told so looks for all of them.
            Some(Hint::Missed) => return,
            Some(Hint::Ready(_)) => {}
            None => panic!("hints end"),
        }
    }
}

async fn a_reader_elsewhere_sees_events_in_order_or_is_told_to_look(fixture: Fixture) {
    let mut reader = fixture.there.subscribe(&key("t")).await;
    for seq in 1..=20 {
        fixture.here.publish(&key("t"), event(seq));
    }
    if fixture.carries == Carries::Everything {
        for seq in 1..=20 {
            assert_eq!(next(&mut reader).await, Heard::Event(seq));
        }
    } else {
        assert_eq!(next(&mut reader).await, Heard::Lagged);
    }
}

async fn whoever_publishes_is_not_told_what_it_said(fixture: Fixture) {
    let (mut here, mut there) = (fixture.here.subscribe(&key("t")).await, fixture.there.subscribe(&key("t")).await);
    fixture.here.publish(&key("t"), event(1));
    fixture.here.publish(&key("t"), delta(0));
    let mut heard = next(&mut there).await;
    if fixture.carries == Carries::Everything {
        assert_eq!(heard, Heard::Event(1));
        heard = next(&mut there).await;
        assert_eq!(heard, Heard::Delta(0));
    }
    // What comes after it came after anything that was told twice.
    fixture.there.publish(&key("t"), event(2));
    let heard = [next(&mut here).await, next(&mut here).await, next(&mut here).await];
    assert_eq!(heard, [Heard::Event(1), Heard::Delta(0), fixture.heard(2)]);
}

async fn the_same_id_of_another_tenant_is_another_task(fixture: Fixture) {
    let other = TaskKey { tenant: Tenant::parse("acme").expect("legal"), ..key("t") };
    let (mut reader, mut of_other) = (fixture.there.subscribe(&key("t")).await, fixture.there.subscribe(&other).await);
    fixture.here.publish(&other, event(1));
    assert_eq!(next(&mut of_other).await, fixture.heard(1));
    fixture.here.publish(&key("t"), event(2));
    assert_eq!(next(&mut reader).await, fixture.heard(2));
}

async fn pieces_of_text_reach_readers_elsewhere_where_the_bus_carries_them(fixture: Fixture) {
    let mut reader = fixture.there.subscribe(&key("t")).await;
    for index in 0..10 {
        fixture.here.publish(&key("t"), delta(index));
    }
    fixture.here.publish(&key("t"), event(1));
    if fixture.carries == Carries::Everything {
        for index in 0..10 {
            assert_eq!(next(&mut reader).await, Heard::Delta(index));
        }
    }
    assert_eq!(next(&mut reader).await, fixture.heard(1));
}

async fn a_reader_that_comes_again_and_again_misses_nothing(fixture: Fixture) {
    for seq in 1..=100 {
        let mut reader = fixture.there.subscribe(&key("t")).await;
        fixture.here.publish(&key("t"), event(seq));
        let heard = next(&mut reader).await;
        assert!(heard == fixture.heard(seq) || heard == Heard::Lagged, "{heard:?} instead of {seq}");
    }
}

async fn all_readers_of_a_task_are_told(fixture: Fixture) {
    let mut readers = Vec::new();
    for _ in 0..8 {
        readers.push(fixture.there.subscribe(&key("t")).await);
    }
    let mut here = fixture.here.subscribe(&key("t")).await;
    drop(readers.split_off(4));
    fixture.here.publish(&key("t"), event(1));
    assert_eq!(next(&mut here).await, Heard::Event(1));
    for reader in &mut readers {
        assert_eq!(next(reader).await, fixture.heard(1));
    }
}

async fn an_event_too_large_for_the_bus_is_looked_for(fixture: Fixture) {
    let (mut here, mut there) = (fixture.here.subscribe(&key("t")).await, fixture.there.subscribe(&key("t")).await);
    fixture.here.publish(&key("t"), sized(1, 1 << 20));
    assert_eq!(next(&mut here).await, Heard::Lagged);
    assert_eq!(next(&mut there).await, Heard::Lagged);
    fixture.here.publish(&key("t"), event(2));
    assert_eq!((next(&mut here).await, next(&mut there).await), (Heard::Event(2), fixture.heard(2)));
}

async fn of_very_many_tasks_at_once_each_reader_is_told(fixture: Fixture) {
    let tasks: Vec<TaskKey> = (0..5_000).map(|number| key(&format!("t{number}"))).collect();
    let mut readers = Vec::new();
    for task in tasks.iter().step_by(100) {
        readers.push(fixture.there.subscribe(task).await);
    }
    for task in &tasks {
        fixture.here.publish(task, event(1));
    }
    for reader in &mut readers {
        let heard = next(reader).await;
        assert!(matches!(heard, Heard::Event(1) | Heard::Lagged), "{heard:?}");
    }
}

async fn a_reader_sees_nothing_of_other_tasks(fixture: Fixture) {
    let mut reader = fixture.there.subscribe(&key("t")).await;
    let mut of_others = Vec::new();
    for number in 0..50 {
        of_others.push(fixture.there.subscribe(&key(&format!("t{number}"))).await);
        fixture.here.publish(&key(&format!("t{number}")), event(9));
    }
    for reader in &mut of_others {
        next(reader).await;
    }
    fixture.here.publish(&key("t"), event(1));
    assert_eq!(next(&mut reader).await, fixture.heard(1));
}
