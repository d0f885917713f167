//! Two stores live the same random life and must say the same at every step.

use super::{
    deciding::{decided, no, requested, yes},
    *,
};
use fastrand::Rng;
use maniple_core::{
    event::Answer,
    ports::{ApprovalState, Born, Decision, Idempotency, ListApprovals, ListTasks, Room},
    task::{ErrorCode, TaskStatus},
};
use std::{collections::HashMap, fmt::Debug};

/// A store that survives its process, or plays that it does.
pub trait Life: Send {
    /// The store as it is now.
    fn store(&self) -> Arc<dyn TaskStore>;
    /// The process dies and the next one opens the store.
    fn restart(&mut self);
}

/// Runs `steps` random calls on both; panics with the seed and the calls so far where they differ.
pub async fn compare(seed: u64, steps: u32, clock: &ManualClock, one: &mut dyn Life, other: &mut dyn Life) {
    let mut dice = Rng::with_seed(seed);
    let mut known = Known::default();
    let mut calls: Vec<String> = Vec::new();
    for _ in 0..steps {
        let call = known.roll(&mut dice, clock);
        calls.push(format!("{call:?}"));
        let (expected, found) = match &call {
            Call::Restart => {
                one.restart();
                other.restart();
                continue;
            }
            Call::Advance(by) => {
                clock.advance(*by);
                continue;
            }
            call => (known.make(&*one.store(), call).await, known.make(&*other.store(), call).await),
        };
        let story = || calls.iter().rev().take(40).rev().cloned().collect::<Vec<_>>().join("\n");
        assert_eq!(expected, found, "seed {seed}: the stores differ after\n{}", story());
        known.check(&*one.store()).await.unwrap_or_else(|broken| panic!("seed {seed}: {broken} after\n{}", story()));
    }
}

#[derive(Debug)]
enum Call {
    /// With whether it would be born claimed, and of whom its worker then takes no more.
    Create(Box<NewTask>, Option<Vec<Tenant>>),
    Claim(Vec<AgentName>, Room),
    Renew(Vec<Claim>),
    Append(Box<Append>),
    Release(Claim),
    Signal(TaskKey, Signal, Option<Idempotency>),
    Signals(TaskKey),
    Get(TaskKey),
    Events(TaskKey, u64, usize),
    List(ListTasks),
    Turns(SessionKey, Option<TaskId>, usize, usize),
    Erase(SessionKey),
    DropDeadLetter(TaskKey, Option<Idempotency>),
    Remember(Tenant, Idempotency, String),
    Recall(Tenant, Idempotency),
    Conversation(SessionKey),
    Approvals(ListApprovals),
    Approval(Tenant, String),
    Decide(Tenant, String, Decision, Option<Idempotency>),
    Sweep,
    Forget(Duration, usize),
    Waiting,
    Advance(Duration),
    Restart,
}

/// What the caller of both stores knows.
#[derive(Default)]
struct Known {
    made: u32,
    /// Claims handed out, with the last number their holder knows.
    claims: Vec<(Claim, u64)>,
    last: Option<Append>,
    finals: HashMap<TaskKey, AgentResult>,
}

impl Known {
    fn roll(&mut self, dice: &mut Rng, clock: &ManualClock) -> Call {
        let some = self.any_key(dice);
        match dice.u32(0..100) {
            0..20 => Call::Create(Box::new(self.new_task(dice, clock)), dice.bool().then(|| any_room(dice).left.into_keys().collect())),
            20..34 => Call::Claim(pick_agents(dice), any_room(dice)),
            34..38 => Call::Renew((0..dice.usize(0..4)).filter_map(|_| self.any_claim(dice)).map(|(claim, _)| claim).collect()),
            38..60 => self.append(dice, clock).map_or(Call::Sweep, |append| Call::Append(Box::new(append))),
            60..63 => self.any_claim(dice).map_or(Call::Sweep, |(claim, _)| Call::Release(claim)),
            63..66 => Call::Decide(some.tenant, any_request(dice), if dice.bool() { yes("ann") } else { no("ben") }, any_idempotency(dice)),
            66..67 => Call::Approval(some.tenant, any_request(dice)),
            67..68 => Call::Approvals(any_approvals(dice, clock)),
            68..71 => Call::Signal(some, any_signal(dice), any_idempotency(dice)),
            71..72 => Call::Signals(some),
            72..74 => Call::Get(some),
            74..75 => Call::Events(some, dice.u64(0..6), dice.usize(0..6)),
            75..78 => Call::List(any_query(dice, clock)),
            78..80 => Call::Turns(any_session(dice), dice.bool().then_some(some.id), dice.usize(0..5), dice.usize(0..200)),
            80..81 => Call::Erase(any_session(dice)),
            81..82 => Call::DropDeadLetter(some, any_idempotency(dice)),
            82..89 => Call::Sweep,
            89..90 => Call::Forget(seconds(dice.u64(0..100_000)), dice.usize(0..5)),
            90..91 => Call::Waiting,
            91 => any_idempotency(dice).map_or(Call::Waiting, |key| Call::Remember(some.tenant, key, some.id.to_string())),
            92 => any_idempotency(dice).map_or(Call::Waiting, |key| Call::Recall(some.tenant, key)),
            93 => Call::Conversation(any_session(dice)),
            94..98 => Call::Advance(any_wait(dice)),
            _ => Call::Restart,
        }
    }

    fn any_key(&self, dice: &mut Rng) -> TaskKey {
        TaskKey { tenant: any_tenant(dice), id: id(&format!("t{}", dice.u32(0..self.made.max(1) + 1))) }
    }
    fn any_claim(&self, dice: &mut Rng) -> Option<(Claim, u64)> {
        // Mostly a recent one; old ones are zombies.
        let recent = self.claims.len().saturating_sub(6);
        let from = if dice.u32(0..5) == 0 { 0 } else { recent };
        (!self.claims.is_empty()).then(|| self.claims[dice.usize(from..self.claims.len())].clone())
    }

    fn new_task(&mut self, dice: &mut Rng, clock: &ManualClock) -> NewTask {
        let number = if dice.u32(0..6) == 0 { dice.u32(0..self.made.max(1)) } else { self.made };
        self.made = self.made.max(number + 1);
        let session = any_session(dice);
        let rarely = |dice: &mut Rng| dice.u32(0..5) == 0;
        let task = Task {
            tenant: session.tenant,
            agent: session.agent,
            priority: dice.u8(3..6),
            not_before: rarely(dice).then(|| Time(clock.now().0 + dice.i64(-1_000..30_000))),
            deadline_ms: rarely(dice).then(|| dice.u64(1..40_000)),
            ..task_in(&format!("t{number}"), session.id.as_str())
        };
        let idempotency = any_idempotency(dice);
        let requeues = rarely(dice).then(|| id(&format!("t{}", dice.u32(0..self.made))));
        NewTask {
            publish: None,
            idempotency,
            requeues,
            content: asked(&Task { prompt: format!("c{}", dice.u32(0..2)), ..task.clone() }),
            session_waiting_max: 4,
            unfinished_max: 20,
            unfinished_each: 9,
            ..new(task)
        }
    }

    fn append(&mut self, dice: &mut Rng, clock: &ManualClock) -> Option<Append> {
        if dice.u32(0..4) == 0 && self.last.is_some() {
            return self.last.clone();
        }
        let (claim, last) = self.any_claim(dice)?;
        let after = if dice.u32(0..10) == 0 { dice.u64(0..6) } else { last };
        let mut events: Vec<Event> = (0..dice.u32(0..3)).map(|n| any_fact(n, dice, clock)).collect();
        let then = match dice.u32(0..5) {
            0 | 1 => Then::Keep,
            2 => {
                let until = dice.bool().then(|| Time(clock.now().0 + dice.i64(-10..20_000)));
                events.push(parked(until));
                park(until)
            }
            3 => completed("x"),
            _ => Then::End(Ending::failed(if dice.bool() { ErrorCode::Internal } else { ErrorCode::Poisoned }, "why")),
        };
        let signals_read = (0..4).filter(|_| dice.bool()).map(|n| format!("s{n}")).collect();
        Some(Append { signals_read, ..append(&claim, after, events, then) })
    }

    /// Makes the call and says what came of it; learns from it too.
    async fn make(&mut self, store: &dyn TaskStore, call: &Call) -> String {
        match call {
            Call::Create(new, full) => {
                let mut new = (**new).clone();
                if let Some(full) = full.clone() {
                    // Each store counts places in its own way.
                    let settled_at = store.conversation(&new.task.session(), None, 1, 1).await.expect("answers").settled_at;
                    let agents = [agent("search"), agent("writer")].into();
                    let (token, events) = (fastrand::u128(..), vec![(1, resumed())]);
                    let settled_at = settled_at.unwrap_or(u64::MAX);
                    new.born = Some(Born { token, is_again: false, agents, full, settled_at, events, also: Vec::new() });
                }
                let created = store.create(new.clone()).await;
                if let Ok(Created { claim: Some((claim, _)), .. }) = &created {
                    self.learn(claim, 2);
                    // Its reply is lost, and it is made again.
                    let again = store.create(new).await.expect("answers");
                    assert_eq!((again.fresh, again.claim.as_ref().map(|(claim, _)| claim)), (true, Some(claim)), "the same birth");
                }
                say(created.map(|created| {
                    let frames = frames(&created.events, &created.result.task_id);
                    (created.result, created.fresh, created.replayed, frames, created.claim)
                }))
            }
            Call::Claim(agents, room) => {
                let claimed = store.claim(agents, room).await.expect("answers");
                for claimed in &claimed {
                    self.learn(&claimed.claim, claimed.journal.len() as u64);
                }
                let seen = |c: &Claimed| {
                    let journal: Vec<String> = c.journal.iter().map(|event| event.frame(&c.claim.key.id)).collect();
                    (c.claim.clone(), c.lease, c.now, c.created_at, journal, c.signals.clone(), c.has_history)
                };
                say::<_, ()>(Ok(claimed.iter().map(seen).collect::<Vec<_>>()))
            }
            Call::Renew(claims) => say(store.renew(claims).await),
            Call::Append(append) => {
                self.last = Some((**append).clone());
                let appended = store.append((**append).clone()).await;
                if let Ok(Appended::Recorded(recorded)) = &appended
                    && let Some(event) = recorded.events.last()
                {
                    self.learn(&append.claim, event.seq);
                }
                say(appended.map(|appended| match appended {
                    Appended::Recorded(recorded) => format!("{:?} {}", frames(&recorded.events, &append.claim.key.id), recorded.readied),
                    other => format!("{other:?}"),
                }))
            }
            Call::Release(claim) => say(store.release(claim).await),
            Call::Signal(key, signal, idempotency) => {
                say(store.signal(key, signal.clone(), idempotency.clone()).await.map(|(signalled, was)| match signalled {
                    Signalled::Ended(result, event) => format!("ended {result:?} {} {was:?}", event.frame(&key.id)),
                    other => format!("{other:?} {was:?}"),
                }))
            }
            Call::Signals(key) => say(store.signals(key).await),
            Call::Get(key) => say(store.get(key).await),
            Call::Events(key, after, limit) => {
                let events = store.events(key, *after, *limit, usize::MAX).await;
                say(events.map(|events| events.map(|events| events.iter().map(|event| event.frame(&key.id)).collect::<Vec<_>>())))
            }
            Call::List(query) => say(store.list(query).await),
            Call::Turns(session, before, limit, bytes) => say(store.turns(session, before.as_ref(), *limit, *bytes).await),
            Call::Erase(session) => say(store.erase(session).await),
            Call::DropDeadLetter(key, idempotency) => say(store.drop_dead_letter(key, idempotency.clone()).await),
            Call::Remember(tenant, idempotency, made) => say(store.remember(tenant, idempotency, made).await),
            Call::Recall(tenant, idempotency) => say(store.recall(tenant, idempotency).await),
            // Each store counts places in its own way.
            Call::Conversation(session) => {
                say(store.conversation(session, None, 5, 200).await.map(|now| (now.turns, now.settled_at.is_some())))
            }
            Call::Approvals(query) => say(store.approvals(query).await),
            Call::Approval(tenant, id) => say(store.approval(tenant, id).await),
            Call::Decide(tenant, id, decision, idempotency) => say(store.decide(tenant, id, decision.clone(), idempotency.clone()).await),
            Call::Sweep => say(store.sweep().await.map(|swept| {
                let ended: Vec<String> = swept.ended.iter().map(|(key, event)| event.frame(&key.id)).collect();
                (swept.ready, ended, swept.next)
            })),
            Call::Forget(keep, limit) => say(store.forget(*keep, *limit).await),
            Call::Waiting => say(store.waiting().await),
            Call::Advance(_) | Call::Restart => String::new(),
        }
    }

    fn learn(&mut self, claim: &Claim, last: u64) {
        self.claims.retain(|(known, _)| known != claim);
        self.claims.push((claim.clone(), last));
    }

    /// What must hold whatever happened: journals without gaps, final states that stay, one head a session.
    async fn check(&mut self, store: &dyn TaskStore) -> Result<(), String> {
        let mut running = HashMap::new();
        for tenant in TENANTS {
            let query = ListTasks { tenant: Tenant::parse(tenant).expect("legal"), limit: 1_000, ..ListTasks::default() };
            for result in store.list(&query).await.expect("answers") {
                let key = TaskKey { tenant: query.tenant.clone(), id: result.task_id.clone() };
                let session = (tenant, result.agent.clone(), result.session_id.clone());
                if result.status == TaskStatus::Running && running.insert(session, key.id.clone()).is_some() {
                    return Err(format!("two tasks run in the session of {}", key.id));
                }
                if result.status.is_final() && *self.finals.entry(key.clone()).or_insert_with(|| result.clone()) != result {
                    return Err(format!("the final result of {} changed", key.id));
                }
                let journal = store.events(&key, 0, 1_000, usize::MAX).await.expect("answers").expect("listed");
                let gapless = journal.iter().zip(1..).all(|(event, seq)| event.seq == seq);
                let one_end = journal.iter().rev().skip(1).all(|event| !event.is_final());
                let ended = journal.last().is_some_and(|event| event.is_final());
                if !gapless || !one_end || ended != result.status.is_final() {
                    return Err(format!("the journal of {} is broken", key.id));
                }
            }
        }
        // Ids that are gone may come back as other tasks.
        let mut gone = Vec::new();
        for key in self.finals.keys() {
            if store.get(key).await.expect("answers").is_none() {
                gone.push(key.clone());
            }
        }
        gone.iter().for_each(|key| drop(self.finals.remove(key)));
        Ok(())
    }
}

fn say<T: Debug, E: Debug>(answer: Result<T, E>) -> String {
    format!("{answer:?}")
}
fn frames(events: &[Arc<StoredEvent>], id: &TaskId) -> Vec<String> {
    events.iter().map(|event| event.frame(id)).collect()
}
fn pick_agents(dice: &mut Rng) -> Vec<AgentName> {
    ["search", "writer"].into_iter().filter(|_| dice.u32(0..4) > 0).map(agent).collect()
}
const TENANTS: [&str; 3] = ["a", "b", "c"];

fn any_tenant(dice: &mut Rng) -> Tenant {
    Tenant::parse(TENANTS[dice.usize(0..TENANTS.len())]).expect("legal")
}
fn any_room(dice: &mut Rng) -> Room {
    let left = (0..dice.usize(0..3)).map(|_| (any_tenant(dice), dice.usize(0..3))).collect();
    Room { places: dice.usize(0..5), of_each: dice.usize(1..5), left, kept: dice.usize(0..2) }
}
fn any_session(dice: &mut Rng) -> SessionKey {
    let name = agent(["search", "writer"][dice.usize(0..2)]);
    SessionKey { tenant: any_tenant(dice), agent: name, id: session(&format!("s{}", dice.u32(0..3))).id }
}
fn any_idempotency(dice: &mut Rng) -> Option<Idempotency> {
    (dice.u32(0..5) == 0).then(|| Idempotency {
        scope: ["tasks", "/elsewhere"][dice.usize(0..2)].into(),
        key: format!("k{}", dice.u32(0..8)),
        body_hash: format!("2:b{}", dice.u32(0..2)),
    })
}
fn any_signal(dice: &mut Rng) -> Signal {
    let kinds = [SignalKind::Cancel, SignalKind::Input, SignalKind::Child];
    signal(&format!("s{}", dice.u32(0..6)), kinds[dice.usize(0..3)])
}
fn any_fact(number: u32, dice: &mut Rng, clock: &ManualClock) -> Event {
    match dice.u32(0..4) {
        0 => requested(&any_request(dice), Time(clock.now().0 + dice.i64(-10..60_000))),
        1 => decided(&any_request(dice), [Answer::Approved, Answer::Denied, Answer::Expired][dice.usize(0..3)]),
        2 => tool_finished(number),
        _ => resumed(),
    }
}
fn any_request(dice: &mut Rng) -> String {
    format!("r{}", dice.u32(0..12))
}
fn any_approvals(dice: &mut Rng, clock: &ManualClock) -> ListApprovals {
    let states = [ApprovalState::Open, ApprovalState::Approved, ApprovalState::Denied, ApprovalState::Expired];
    ListApprovals {
        tenant: any_tenant(dice),
        agents: if dice.bool() { pick_agents(dice) } else { Vec::new() },
        state: dice.bool().then(|| states[dice.usize(0..4)]),
        task: (dice.u32(0..4) == 0).then(|| id(&format!("t{}", dice.u32(0..20)))),
        after: (dice.u32(0..3) == 0).then(|| (Time(clock.now().0 - dice.i64(0..20_000)), any_request(dice))),
        limit: dice.usize(0..10),
    }
}
fn any_wait(dice: &mut Rng) -> Duration {
    match dice.u32(0..12) {
        0..6 => Duration::from_millis(dice.u64(0..3)),
        6..9 => seconds(dice.u64(0..12)),
        9..11 => seconds(dice.u64(10..40)),
        _ => days(dice.u64(0..40)),
    }
}
fn any_query(dice: &mut Rng, clock: &ManualClock) -> ListTasks {
    let statuses = [TaskStatus::Pending, TaskStatus::Running, TaskStatus::Completed, TaskStatus::Failed, TaskStatus::Cancelled];
    let query = ListTasks {
        tenant: any_tenant(dice),
        agents: if dice.bool() { pick_agents(dice) } else { Vec::new() },
        status: dice.bool().then(|| statuses[dice.usize(0..5)]),
        session_id: (dice.u32(0..3) == 0).then(|| any_session(dice).id),
        dead: dice.u32(0..4) == 0,
        before: (dice.u32(0..3) == 0).then(|| (Time(clock.now().0 - dice.i64(0..20_000)), id(&format!("t{}", dice.u32(0..20))))),
        limit: dice.usize(0..10),
        max_bytes: None,
    };
    // By no dice of its own, so that a seed is the history it was.
    ListTasks { max_bytes: (query.limit % 3 == 1).then_some(query.limit * 300), ..query }
}
