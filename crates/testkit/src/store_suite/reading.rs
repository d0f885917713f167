//! Lists, events, turns and what waits.

use super::*;
use maniple_core::{
    ports::{ListSessions, ListTasks, SessionSummary, Waiting},
    task::{QueuedFor, TaskStatus},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(a_list_is_newest_first_and_pages_without_gap_or_repeat),
        case(a_list_can_be_narrowed),
        case(a_list_stops_once_it_weighs_too_much),
        case(events_are_read_after_a_number_and_within_a_limit),
        case(events_are_read_until_they_weigh_too_much),
        case(nobody_elses_task_is_seen),
        case(turns_are_those_of_completed_tasks_newest_first),
        case(turns_stop_at_their_bounds),
        case(what_was_asked_is_told_from_its_beginning),
        case(sessions_are_listed_newest_first_each_once),
        case(sessions_page_without_gap_or_repeat),
        case(a_queued_task_says_what_it_waits_for),
        case(what_waits_is_told_by_agent),
        case(the_store_answers),
    ]
}

async fn list(w: &World, query: ListTasks) -> Vec<String> {
    w.store.list(&query).await.expect("answers").iter().map(|result| result.task_id.to_string()).collect()
}

async fn a_list_is_newest_first_and_pages_without_gap_or_repeat(w: World) {
    for (n, name) in ["c", "a", "b", "e", "d", "f"].into_iter().enumerate() {
        w.clock.advance(Duration::from_millis((n as u64 % 3) / 2));
        w.accept(task(name)).await;
    }
    // Three moments: (c a), (b e d), (f); within one, by id.
    let all = list(&w, ListTasks { limit: 10, ..ListTasks::default() }).await;
    assert_eq!(all, ["f", "e", "d", "b", "c", "a"]);
    for size in 1..=6 {
        let mut paged: Vec<String> = Vec::new();
        let mut before = None;
        while paged.len() < 6 {
            let page = w.store.list(&ListTasks { before: before.clone(), limit: size, ..ListTasks::default() }).await.expect("answers");
            let last = page.last().expect("more to come");
            before = Some((last.created_at, last.task_id.clone()));
            paged.extend(page.iter().map(|result| result.task_id.to_string()));
        }
        assert_eq!(paged, all, "pages of {size}");
        assert_eq!(list(&w, ListTasks { before, limit: size, ..ListTasks::default() }).await, [""; 0]);
    }
}

async fn a_list_can_be_narrowed(w: World) {
    let claim = w.running(task_in("done", "s")).await;
    w.complete(&claim, 1, "x").await;
    let claim = w.running(task_in("failed", "s")).await;
    let failed = Ending::failed(maniple_core::task::ErrorCode::Internal, "why");
    recorded(w.append(append(&claim, 1, vec![], Then::End(failed))).await);
    w.running(task_in("running", "s")).await;
    w.accept(task_in("pending", "s")).await;
    w.accept(Task { agent: agent("writer"), ..task_in("cancelled", "s") }).await;
    w.signal("cancelled", signal("c", SignalKind::Cancel)).await;
    let any = || ListTasks { limit: 10, ..ListTasks::default() };
    for (status, name) in [
        (TaskStatus::Completed, "done"),
        (TaskStatus::Failed, "failed"),
        (TaskStatus::Running, "running"),
        (TaskStatus::Pending, "pending"),
        (TaskStatus::Cancelled, "cancelled"),
    ] {
        assert_eq!(list(&w, ListTasks { status: Some(status), ..any() }).await, [name]);
    }
    assert_eq!(list(&w, ListTasks { agents: vec![agent("writer")], ..any() }).await, ["cancelled"]);
    assert_eq!(list(&w, ListTasks { agents: vec![agent("writer"), agent("search")], ..any() }).await.len(), 5);
    assert_eq!(list(&w, ListTasks { session_id: Some(session("s").id), ..any() }).await.len(), 5);
    let of_search = ListTasks { session_id: Some(session("s").id), agents: vec![agent("search")], ..any() };
    assert_eq!(list(&w, of_search).await.len(), 4);
    assert_eq!(list(&w, ListTasks { session_id: Some(session("t").id), ..any() }).await, [""; 0]);
    assert_eq!(list(&w, ListTasks { dead: true, ..any() }).await, [""; 0]);
    assert_eq!(list(&w, ListTasks { limit: 0, ..any() }).await, [""; 0]);
}

async fn a_list_stops_once_it_weighs_too_much(w: World) {
    for name in ["a", "b", "c"] {
        let claim = w.running(task(name)).await;
        w.complete(&claim, 1, &"x".repeat(1_000)).await;
        w.clock.advance(seconds(1));
    }
    let one = w.store.get(&key("a")).await.expect("answers").expect("exists").weight();
    assert!(one > 1_000);
    for (max_bytes, names) in [(0, vec!["c"]), (one, vec!["c"]), (one + 1, vec!["c", "b"]), (3 * one, vec!["c", "b", "a"])] {
        assert_eq!(list(&w, ListTasks { limit: 10, max_bytes: Some(max_bytes), ..ListTasks::default() }).await, names, "{max_bytes} bytes");
    }
    assert_eq!(list(&w, ListTasks { limit: 0, max_bytes: Some(0), ..ListTasks::default() }).await, [""; 0]);
}

async fn events_are_read_after_a_number_and_within_a_limit(w: World) {
    let claim = w.running(task("a")).await;
    recorded(w.append(append(&claim, 1, (0..5).map(tool_finished).collect(), Then::Keep)).await);
    let read = |after, limit| {
        let store = w.store.clone();
        async move {
            let events = store.events(&key("a"), after, limit, usize::MAX).await.expect("answers").expect("exists");
            events.iter().map(|event| event.seq).collect::<Vec<_>>()
        }
    };
    assert_eq!(read(0, 100).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(read(2, 3).await, [3, 4, 5]);
    assert_eq!(read(6, 3).await, [0; 0]);
    assert_eq!(read(u64::MAX, 3).await, [0; 0]);
    assert!(w.store.events(&key("nobody"), 0, 10, usize::MAX).await.expect("answers").is_none());
}

async fn events_are_read_until_they_weigh_too_much(w: World) {
    let claim = w.running(task("a")).await;
    recorded(w.append(append(&claim, 1, (0..5).map(tool_finished).collect(), Then::Keep)).await);
    let all = w.store.events(&key("a"), 0, 100, usize::MAX).await.expect("answers").expect("exists");
    let weight = |count: usize| all.iter().take(count).map(|event| event.weight()).sum::<usize>();
    for (max_bytes, count) in [(0, 1), (1, 1), (weight(1), 1), (weight(1) + 1, 2), (weight(4), 4), (weight(6), 6), (usize::MAX, 6)] {
        let read = w.store.events(&key("a"), 0, 100, max_bytes).await.expect("answers").expect("exists");
        assert_eq!(read.len(), count, "within {max_bytes} bytes");
    }
    assert_eq!(w.store.events(&key("a"), 2, 1, usize::MAX).await.expect("answers").expect("exists").len(), 1);
    assert_eq!(w.store.events(&key("a"), 0, 0, 0).await.expect("answers").expect("exists").len(), 0);
}

async fn nobody_elses_task_is_seen(w: World) {
    w.accept(task("a")).await;
    let other = TaskKey { tenant: Tenant::parse("other").expect("legal"), id: id("a") };
    assert_eq!(w.store.get(&other).await.expect("answers"), None);
    assert!(w.store.events(&other, 0, 10, usize::MAX).await.expect("answers").is_none());
    assert_eq!(kind(w.store.signal(&other, signal("c", SignalKind::Cancel), None).await), Some(Kind::NotFound));
    let query = ListTasks { tenant: other.tenant, limit: 10, ..ListTasks::default() };
    assert_eq!(list(&w, query).await, [""; 0]);
}

/// Completed `a` and `c`, failed `b`, running `d`, all of session `s`.
async fn conversation(w: &World) {
    for name in ["a", "b", "c"] {
        let claim = w.running(task_in(name, "s")).await;
        w.clock.advance(seconds(1));
        let ending = match name {
            "b" => Ending::failed(maniple_core::task::ErrorCode::Internal, "why"),
            _ => Ending::completed(Some(format!("answer to {name}"))),
        };
        recorded(w.append(append(&claim, 1, vec![], Then::End(ending))).await);
    }
    w.running(task_in("d", "s")).await;
}

async fn turns_are_those_of_completed_tasks_newest_first(w: World) {
    let began = w.clock.now();
    conversation(&w).await;
    let turns = w.store.turns(&session("s"), None, 10, 100_000).await.expect("answers");
    let seen: Vec<_> = turns.iter().map(|turn| (turn.task_id.as_str(), turn.prompt.as_str(), turn.output.as_deref())).collect();
    assert_eq!(seen, [("c", "prompt of c", Some("answer to c")), ("a", "prompt of a", Some("answer to a"))]);
    assert_eq!((turns[1].asked_at, turns[1].answered_at), (began, began.plus(seconds(1))));
    for (before, expected) in [("d", vec!["c", "a"]), ("c", vec!["a"]), ("b", vec!["a"]), ("a", vec![])] {
        let turns = w.store.turns(&session("s"), Some(&id(before)), 10, 100_000).await.expect("answers");
        assert_eq!(turns.iter().map(|turn| turn.task_id.as_str()).collect::<Vec<_>>(), expected, "before {before}");
    }
    assert_eq!(kind(w.store.turns(&session("other"), Some(&id("a")), 10, 1_000).await), Some(Kind::NotFound));
    let of_writer = SessionKey { agent: agent("writer"), ..session("s") };
    assert!(w.store.turns(&of_writer, None, 10, 1_000).await.expect("answers").is_empty());
}

async fn turns_stop_at_their_bounds(w: World) {
    conversation(&w).await;
    let one = "prompt of c".len() + "answer to c".len();
    for (limit, bytes, count) in [(0, 100, 0), (1, 1_000, 1), (10, 0, 0), (10, 1, 1), (10, one, 1), (10, one + 1, 2)] {
        let turns = w.store.turns(&session("s"), None, limit, bytes).await.expect("answers");
        assert_eq!(turns.len(), count, "at most {limit} and {bytes} bytes");
    }
}

async fn what_was_asked_is_told_from_its_beginning(w: World) {
    w.accept(task("a")).await;
    w.accept(Task { prompt: "zwölf \u{1f600}\u{1f600} \"x\"".into(), ..task("b") }).await;
    let read = |names: &[&str], max_chars| {
        let (store, ids) = (w.store.clone(), names.iter().map(|name| id(name)).collect::<Vec<_>>());
        async move { store.prompts(&Tenant::default(), &ids, max_chars).await.expect("answers") }
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(read(&["a", "nobody", "b"], usize::MAX).await, [some("prompt of a"), None, some("zwölf \u{1f600}\u{1f600} \"x\"")]);
    assert_eq!(read(&["b", "a"], 7).await, [some("zwölf \u{1f600}"), some("prompt ")], "characters are counted, not bytes");
    assert_eq!(read(&[], 7).await, []);
    let other = Tenant::parse("other").expect("legal");
    assert_eq!(w.store.prompts(&other, &[id("a")], 100).await.expect("answers"), [None]);
}

/// The sessions of a page: name, agent, how many tasks, the last one.
async fn sessions(w: &World, query: ListSessions) -> (Vec<(String, String, u64, String)>, Option<(Time, TaskId)>) {
    let page = w.store.sessions(&query).await.expect("answers");
    let told = |s: &SessionSummary| (s.id.to_string(), s.agent.to_string(), s.tasks, s.last.task_id.to_string());
    (page.found.iter().map(told).collect(), page.next)
}

fn sessions_of(names: &[(&str, &str, u64, &str)]) -> Vec<(String, String, u64, String)> {
    names.iter().map(|(s, a, n, t)| ((*s).into(), (*a).into(), *n, (*t).into())).collect()
}

async fn sessions_are_listed_newest_first_each_once(w: World) {
    let any = || ListSessions { limit: 10, max_bytes: usize::MAX, ..ListSessions::default() };
    assert_eq!(sessions(&w, any()).await, (vec![], None));
    for (name, of) in [("a1", "a"), ("b1", "b"), ("a2", "a"), ("c1", "c")] {
        w.accept(task_in(name, of)).await;
        w.clock.advance(seconds(1));
    }
    w.accept(Task { agent: agent("writer"), ..task_in("w1", "a") }).await;
    let all = sessions_of(&[("a", "writer", 1, "w1"), ("c", "search", 1, "c1"), ("a", "search", 2, "a2"), ("b", "search", 1, "b1")]);
    assert_eq!(sessions(&w, any()).await, (all.clone(), None));
    assert_eq!(sessions(&w, ListSessions { agents: vec![agent("search")], ..any() }).await, (all[1..].to_vec(), None));
    // One that is to come later is its session's last all the same, also once it has taken its place.
    w.clock.advance(seconds(1));
    let later = w.clock.now().plus(seconds(5));
    w.accept(Task { not_before: Some(later), ..task_in("b2", "b") }).await;
    w.clock.advance(seconds(1));
    w.accept(task_in("c2", "c")).await;
    let now = sessions_of(&[("c", "search", 2, "c2"), ("b", "search", 2, "b2"), ("a", "writer", 1, "w1"), ("a", "search", 2, "a2")]);
    assert_eq!(sessions(&w, any()).await, (now.clone(), None));
    w.clock.advance(seconds(10));
    w.store.sweep().await.expect("answers");
    assert_eq!(sessions(&w, any()).await, (now, None));
    let other = ListSessions { tenant: Tenant::parse("other").expect("legal"), ..any() };
    assert_eq!(sessions(&w, other).await, (vec![], None));
}

async fn sessions_page_without_gap_or_repeat(w: World) {
    for (n, of) in ["a", "b", "a", "c", "d", "b", "e"].into_iter().enumerate() {
        w.clock.advance(Duration::from_millis((n as u64 % 3) / 2));
        w.accept(task_in(&format!("t{n}"), of)).await;
    }
    let all = sessions(&w, ListSessions { limit: 10, max_bytes: usize::MAX, ..ListSessions::default() }).await.0;
    assert_eq!(all.len(), 5);
    for (limit, max_bytes) in [(1, usize::MAX), (2, usize::MAX), (4, usize::MAX), (5, usize::MAX), (3, 0)] {
        let (mut paged, mut before) = (Vec::new(), None);
        for _ in 0..5 {
            let (found, next) = sessions(&w, ListSessions { before, limit, max_bytes, ..ListSessions::default() }).await;
            assert!(!found.is_empty() && found.len() <= if max_bytes == 0 { 1 } else { limit });
            paged.extend(found);
            before = next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(paged, all, "pages of {limit} and {max_bytes} bytes");
    }
}

async fn a_queued_task_says_what_it_waits_for(w: World) {
    let queued_for = |name| {
        let store = w.store.clone();
        async move { store.get(&key(name)).await.expect("answers").expect("exists").queued_for }
    };
    w.running(task_in("runs", "s")).await;
    w.accept(task_in("behind", "s")).await;
    w.accept(task("ready")).await;
    let later = w.clock.now().plus(seconds(5));
    w.accept(Task { not_before: Some(later), ..task("later") }).await;
    assert_eq!(queued_for("runs").await, None);
    assert_eq!(queued_for("behind").await, Some(QueuedFor::Session));
    assert_eq!(queued_for("ready").await, Some(QueuedFor::Worker));
    assert_eq!(queued_for("later").await, Some(QueuedFor::NotBefore));
    w.signal("later", signal("c", SignalKind::Cancel)).await;
    assert_eq!(queued_for("later").await, None);
}

async fn what_waits_is_told_by_agent(w: World) {
    assert_eq!(w.store.waiting().await.expect("answers"), []);
    w.running(task_in("a", "s")).await;
    w.accept(task_in("behind", "s")).await;
    w.accept(task("b")).await;
    w.clock.advance(seconds(4));
    w.accept(task("c")).await;
    w.accept(Task { agent: agent("writer"), ..task("d") }).await;
    w.clock.advance(seconds(3));
    let of = |name, ready, oldest, running| Waiting { agent: agent(name), ready, oldest: seconds(oldest), running };
    assert_eq!(w.store.waiting().await.expect("answers"), [of("search", 2, 7, 1), of("writer", 1, 3, 0)]);
    w.claim(10).await;
    assert_eq!(w.store.waiting().await.expect("answers"), [of("search", 0, 0, 3), of("writer", 1, 3, 0)]);
    w.expire().await;
    assert_eq!(w.store.waiting().await.expect("answers"), [of("search", 3, 0, 0), of("writer", 1, 14, 0)]);
}

async fn the_store_answers(w: World) {
    w.store.ping().await.expect("answers");
}
