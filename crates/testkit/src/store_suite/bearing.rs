//! Tasks that are born claimed: accepted, claimed and begun in one transaction.

use super::*;
use maniple_core::{
    agent::{AgentDefinition, AgentLimits, Definitions, Memory},
    model::ModelName,
    ports::{Born, Idempotency},
    task::TaskStatus,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(a_task_born_claimed_is_running_under_epoch_1_with_what_it_begins_with),
        case(the_same_birth_whose_reply_was_lost_is_answered_with_its_claim),
        case(the_same_task_by_another_wish_is_a_replay_and_nobodys_to_drive),
        case(a_birth_is_no_birth_where_somebody_is_before_it_in_its_session),
        case(a_birth_is_no_birth_where_its_worker_has_not_read_the_last_turn),
        case(a_birth_is_no_birth_while_a_ready_task_of_its_priority_or_higher_waits),
        case(a_birth_is_no_birth_while_another_tenant_waits_for_its_turn),
        case(what_is_scheduled_or_refused_is_not_born),
        case(a_born_claim_expires_and_is_released_like_any_other),
        case(the_definitions_of_a_born_task_are_kept),
    ]
}

fn born(token: u128, settled_at: u64) -> Born {
    let agents = [agent("search"), agent("writer")].into();
    Born { token, is_again: false, agents, full: Vec::new(), settled_at, events: vec![(0, resumed()), (1, resumed())], also: Vec::new() }
}
fn wish(task: Task, token: u128) -> NewTask {
    NewTask { born: Some(born(token, 0)), ..new(task) }
}

impl World {
    async fn bear(&self, new: NewTask) -> Created {
        self.store.create(new).await.expect("accepted")
    }
    async fn settled_at(&self, name: &str) -> Option<u64> {
        self.store.conversation(&session(name), None, 10, 1_000).await.expect("answers").settled_at
    }
}

async fn a_task_born_claimed_is_running_under_epoch_1_with_what_it_begins_with(w: World) {
    let created = w.bear(wish(task("a"), 7)).await;
    let (claim, lease) = created.claim.expect("born");
    assert_eq!((claim.epoch, lease, created.result.status), (1, seconds(10), TaskStatus::Running));
    assert_eq!(created.result.started_at, Some(w.clock.now()));
    assert_eq!(created.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(w.names("a").await, ["task.accepted", "run.resumed", "run.resumed"]);
    assert_eq!((w.claim_ids(10).await, w.get("a").await), (vec![], created.result));
    let waiting = w.store.waiting().await.expect("answers");
    assert_eq!((waiting.len(), waiting[0].ready, waiting[0].running), (1, 0, 1));
    w.complete(&claim, 3, "done").await;
    assert_eq!(w.get("a").await.output.as_deref(), Some("done"));
}

async fn the_same_birth_whose_reply_was_lost_is_answered_with_its_claim(w: World) {
    let key = Idempotency { scope: "tasks".into(), key: "k".into(), body_hash: "x".into() };
    let wish = NewTask { idempotency: Some(key), ..wish(task("a"), 7) };
    let first = w.bear(wish.clone()).await;
    let again = w.bear(wish).await;
    assert_eq!((again.fresh, again.replayed, &again.claim), (true, false, &first.claim));
    let numbers = |created: &Created| created.events.iter().map(|event| (event.seq, event.name.clone())).collect::<Vec<_>>();
    assert_eq!(numbers(&again), numbers(&first));
    assert_eq!(w.journal("a").await.len(), 3, "nothing was written anew");
}

async fn the_same_task_by_another_wish_is_a_replay_and_nobodys_to_drive(w: World) {
    w.bear(wish(task("a"), 7)).await;
    let other = w.bear(wish(task("a"), 8)).await;
    assert_eq!((other.fresh, other.claim.is_none(), other.result.status), (false, true, TaskStatus::Running));
    let plain = w.accept(task("a")).await;
    assert_eq!((plain.fresh, plain.claim), (false, None));
}

async fn a_birth_is_no_birth_where_somebody_is_before_it_in_its_session(w: World) {
    let first = w.bear(wish(task_in("a", "s"), 7)).await.claim.expect("born").0;
    assert_eq!(w.settled_at("s").await, None, "it is under way");
    let second = w.bear(wish(task_in("b", "s"), 8)).await;
    assert_eq!((second.fresh, &second.claim, second.result.status), (true, &None, TaskStatus::Pending));
    assert_eq!(w.names("b").await, ["task.accepted"]);
    w.complete(&first, 3, "done").await;
    assert_eq!(w.claim_ids(10).await, ["b"]);
}

async fn a_birth_is_no_birth_where_its_worker_has_not_read_the_last_turn(w: World) {
    let first = w.bear(wish(task_in("a", "s"), 7)).await.claim.expect("born").0;
    w.complete(&first, 3, "done").await;
    let read = w.settled_at("s").await.expect("it stands still");
    assert_eq!(w.bear(wish(task_in("b", "s"), 8)).await.claim, None, "it has read nothing of it");
    let claim = w.claim(1).await.pop().expect("ready").claim;
    w.complete(&claim, 1, "done").await;
    let late = NewTask { born: Some(born(9, read)), ..new(task_in("c", "s")) };
    assert_eq!(w.bear(late).await.claim, None, "it has not read `b`");
    let claim = w.claim(1).await.pop().expect("ready").claim;
    w.complete(&claim, 1, "done").await;
    let read = w.settled_at("s").await.expect("it stands still");
    let knows = NewTask { born: Some(born(10, read)), ..new(task_in("d", "s")) };
    assert!(w.bear(knows).await.claim.is_some());
}

async fn a_birth_is_no_birth_while_a_ready_task_of_its_priority_or_higher_waits(w: World) {
    w.accept(Task { agent: agent("writer"), priority: 5, ..task("waits") }).await;
    assert_eq!(w.bear(wish(Task { priority: 5, ..task("a") }, 7)).await.claim, None);
    assert_eq!(w.bear(wish(Task { priority: 4, ..task("b") }, 8)).await.claim, None);
    assert!(w.bear(wish(Task { priority: 6, ..task("c") }, 9)).await.claim.is_some(), "it goes before them");
    w.accept(Task { agent: agent("elsewhere"), priority: 9, ..task("others") }).await;
    w.store.claim(&[agent("search"), agent("writer")], &Room::of(10)).await.expect("answers");
    assert!(w.bear(wish(task("d"), 10)).await.claim.is_some(), "what this worker cannot claim is not in its way");
}

async fn a_birth_is_no_birth_while_another_tenant_waits_for_its_turn(w: World) {
    let beta = Tenant::parse("beta").expect("legal");
    w.accept(Task { tenant: beta.clone(), priority: 0, ..task("theirs") }).await;
    assert_eq!(w.bear(wish(Task { priority: 9, ..task("a") }, 7)).await.claim, None, "its priority is its own tenant's affair");
    w.claim(1).await;
    w.accept(Task { tenant: beta.clone(), ..task("more") }).await;
    w.claim(1).await;
    let of_full = |token| NewTask { born: Some(Born { full: vec![beta.clone()], ..born(token, 0) }), ..new(task("b")) };
    assert!(w.bear(of_full(8)).await.claim.is_some(), "what its worker takes no more of is in nobody's way");
}

async fn what_is_scheduled_or_refused_is_not_born(w: World) {
    let later = Task { not_before: Some(w.clock.now().plus(seconds(60))), ..task("later") };
    let created = w.bear(wish(later, 7)).await;
    assert_eq!((created.claim, created.result.status), (None, TaskStatus::Pending));
    let full = NewTask { unfinished_max: 1, ..wish(task("b"), 8) };
    assert_eq!(kind(w.store.create(full).await), Some(Kind::Unavailable));
    assert_eq!(w.store.get(&key("b")).await.expect("answers"), None);
}

async fn a_born_claim_expires_and_is_released_like_any_other(w: World) {
    let (claim, _) = w.bear(wish(task("a"), 7)).await.claim.expect("born");
    w.store.release(&claim).await.expect("handed over");
    let again = w.claim(1).await.pop().expect("ready");
    assert_eq!((again.claim.epoch, again.journal.len()), (2, 3));
    let (late, _) = w.bear(wish(task("b"), 8)).await.claim.expect("born");
    w.expire().await;
    assert_eq!(w.claim_ids(10).await, ["a", "b"]);
    assert!(matches!(w.append(append(&late, 3, vec![], Then::Keep)).await, Appended::Stale));
    let lost = w.bear(wish(task("b"), 8)).await;
    assert_eq!((lost.fresh, lost.claim), (false, None), "by then it is another worker's");
}

async fn the_definitions_of_a_born_task_are_kept(w: World) {
    let definition = AgentDefinition {
        publish: Default::default(),
        name: agent("search"),
        description: String::new(),
        version: "1.0.0".parse().expect("SemVer"),
        model: ModelName::parse("lab/one").expect("legal"),
        fallbacks: Vec::new(),
        tools: Vec::new(),
        limits: AgentLimits::default(),
        options: Default::default(),
        memory: Memory::default(),
        output_schema: None,
        examples: Vec::new(),
        prompt: "answer".into(),
    };
    let kept = Definitions::of(definition, Vec::new());
    let also = vec![Also::Definitions(Arc::new((kept.hash(), kept.clone())))];
    let claim = w.bear(NewTask { born: Some(Born { also, ..born(7, 0) }), ..new(task("a")) }).await.claim.expect("born").0;
    assert_eq!(w.store.definitions(&kept.hash()).await.expect("answers"), Some(kept.clone()));
    w.store.forget(seconds(0), 10).await.expect("answers");
    assert_eq!(w.store.definitions(&kept.hash()).await.expect("answers"), Some(kept.clone()), "`a` runs on them");
    w.complete(&claim, 3, "done").await;
    w.clock.advance(days(1));
    w.store.forget(seconds(0), 10).await.expect("answers");
    assert_eq!(w.store.definitions(&kept.hash()).await.expect("answers"), None);
}
