//! Two tenants whose tasks, sessions and requests have the same names: neither sees nor moves anything of the other's.

use super::{
    deciding::{requested, yes},
    *,
};
use maniple_core::ports::{ListApprovals, ListSessions, ListTasks};
use maniple_core::task::ErrorCode;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(what_two_tenants_call_alike_is_apart),
        case(what_one_tenant_does_moves_nothing_of_anothers),
        case(how_far_a_conversation_was_read_is_its_tenants_alone),
    ]
}

const OURS: &str = "default";
const THEIRS: &str = "other";

fn of(tenant: &str) -> Tenant {
    Tenant::parse(tenant).expect("legal")
}
fn key_of(tenant: &str, name: &str) -> TaskKey {
    TaskKey { tenant: of(tenant), id: id(name) }
}
fn session_of(tenant: &str, name: &str) -> SessionKey {
    SessionKey { tenant: of(tenant), ..session(name) }
}

impl World {
    async fn accept_of(&self, tenant: &str, task: Task) {
        let task = Task { tenant: of(tenant), prompt: format!("{} asks {}", tenant, task.id), ..task };
        assert!(self.accept(task).await.fresh);
    }
    async fn claim_of(&self, tenant: &str, name: &str) -> Claim {
        // Nothing else is ready.
        let claimed = self.claim(1).await.pop().expect("ready");
        assert_eq!(claimed.claim.key, key_of(tenant, name));
        claimed.claim
    }
    /// A dead letter, a turn in the session `s`, then a task in it that asks and is parked, and one that waits behind it.
    async fn live(&self, tenant: &str) {
        self.accept_of(tenant, task("dead")).await;
        let claim = self.claim_of(tenant, "dead").await;
        recorded(self.append(append(&claim, 1, vec![], Then::End(Ending::failed(ErrorCode::Poisoned, "why")))).await);
        self.accept_of(tenant, task_in("first", "s")).await;
        let claim = self.claim_of(tenant, "first").await;
        self.complete(&claim, 1, &format!("{tenant} has it")).await;
        self.accept_of(tenant, task_in("asks", "s")).await;
        let claim = self.claim_of(tenant, "asks").await;
        let request = requested("asks:1:0", self.clock.now().plus(seconds(600)));
        recorded(self.append(append(&claim, 1, vec![request, parked(None)], park(None))).await);
        self.accept_of(tenant, task_in("waits", "s")).await;
    }
    /// All that a tenant can see.
    async fn seen_by(&self, tenant: &str) -> Vec<String> {
        let (store, mut seen) = (&self.store, Vec::new());
        let all = [id("dead"), id("first"), id("asks"), id("waits")];
        for name in &all {
            let key = TaskKey { tenant: of(tenant), id: name.clone() };
            seen.push(format!("{:?}", store.get(&key).await.expect("answers")));
            seen.push(format!("{:?}", store.events(&key, 0, 100, usize::MAX).await.expect("answers")));
            seen.push(format!("{:?}", store.signals(&key).await.expect("answers")));
        }
        let tasks = ListTasks { tenant: of(tenant), limit: 100, ..ListTasks::default() };
        seen.push(format!("{:?}", store.list(&tasks).await.expect("answers")));
        seen.push(format!("{:?}", store.list(&ListTasks { dead: true, ..tasks.clone() }).await.expect("answers")));
        let in_session = ListTasks { session_id: Some(SessionId::parse("s").expect("legal")), agents: vec![agent("search")], ..tasks };
        seen.push(format!("{:?}", store.list(&in_session).await.expect("answers")));
        let sessions = ListSessions { tenant: of(tenant), limit: 100, max_bytes: usize::MAX, ..ListSessions::default() };
        seen.push(format!("{:?}", store.sessions(&sessions).await.expect("answers")));
        seen.push(format!("{:?}", store.prompts(&of(tenant), &all, 100).await.expect("answers")));
        let session = session_of(tenant, "s");
        seen.push(format!("{:?}", store.conversation(&session, None, 100, usize::MAX).await.expect("answers")));
        seen.push(format!("{:?}", store.turns(&session, Some(&id("asks")), 100, usize::MAX).await.expect("answers")));
        let approvals = ListApprovals { tenant: of(tenant), limit: 100, ..ListApprovals::default() };
        seen.push(format!("{:?}", store.approvals(&approvals).await.expect("answers")));
        seen.push(format!("{:?}", store.approval(&of(tenant), "asks:1:0").await.expect("answers")));
        seen
    }
}

async fn what_two_tenants_call_alike_is_apart(w: World) {
    w.live(OURS).await;
    let alone = w.seen_by(OURS).await;
    w.live(THEIRS).await;
    assert_eq!(w.seen_by(OURS).await, alone);
    let theirs = w.seen_by(THEIRS).await;
    assert!(theirs.iter().all(|seen| !seen.contains("default asks") && !seen.contains("default has it")), "{theirs:#?}");
    assert_eq!(theirs.len(), alone.len());
    let sees = |seen: &[String], text: &str| seen.iter().filter(|seen| seen.contains(text)).count();
    assert_eq!(sees(&theirs, "other asks"), sees(&alone, "default asks"));
    assert_eq!(sees(&theirs, "other has it"), sees(&alone, "default has it"));
}

async fn what_one_tenant_does_moves_nothing_of_anothers(w: World) {
    w.live(OURS).await;
    w.live(THEIRS).await;
    let before = w.seen_by(OURS).await;
    let (store, theirs) = (&w.store, |name: &str| key_of(THEIRS, name));
    // A signal, a decision, a cancel of one that waits.
    store.signal(&theirs("asks"), signal("more", SignalKind::Input), None).await.expect("left");
    store.decide(&of(THEIRS), "asks:1:0", yes("eve"), None).await.expect("decided");
    store.signal(&theirs("waits"), signal("stop", SignalKind::Cancel), None).await.expect("ended");
    assert_eq!(w.seen_by(OURS).await, before);
    // The parked one is claimed, renewed, recorded under and ended; its session is free, and ours is not.
    let claim = w.claim_of(THEIRS, "asks").await;
    assert!(w.claim(10).await.is_empty(), "ours is parked");
    store.renew(std::slice::from_ref(&claim)).await.expect("answers");
    let of_ours = Claim { key: key_of(OURS, "asks"), epoch: claim.epoch };
    let stale = store.append(append(&of_ours, 3, vec![], completed("eve"))).await.expect("answers");
    assert!(matches!(stale, Appended::Stale), "{stale:?}");
    w.complete(&claim, 3, "theirs").await;
    assert!(w.claim(10).await.is_empty(), "nobody of ours was freed by it");
    assert_eq!(w.seen_by(OURS).await, before);
    // Their dead letter, their conversation, and in time their tasks go.
    store.drop_dead_letter(&theirs("dead"), None).await.expect("dropped");
    assert_eq!(store.erase(&session_of(THEIRS, "s")).await.expect("erased"), 3);
    assert_eq!(w.seen_by(OURS).await, before);
    assert_eq!(kind(store.erase(&session_of(OURS, "s")).await), Some(Kind::Conflict), "ours goes on");
    // An id that is gone is gone there alone.
    assert_eq!(kind(store.create(new(Task { tenant: of(THEIRS), ..task("first") })).await), Some(Kind::Conflict));
    assert!(!w.accept(Task { prompt: "default asks first".into(), ..task_in("first", "s") }).await.fresh, "ours is there");
}

async fn how_far_a_conversation_was_read_is_its_tenants_alone(w: World) {
    let read = async || {
        let conversation = w.store.conversation(&session_of(OURS, "s"), None, 100, usize::MAX).await.expect("answers");
        (conversation.turns.len(), conversation.settled_at)
    };
    w.accept_of(OURS, task_in("first", "s")).await;
    let claim = w.claim_of(OURS, "first").await;
    w.complete(&claim, 1, "done").await;
    let settled = read().await;
    assert!(settled.0 == 1 && settled.1.is_some(), "{settled:?}");
    // Theirs has a turn after it, and then something under way.
    w.accept_of(THEIRS, task_in("first", "s")).await;
    let claim = w.claim_of(THEIRS, "first").await;
    assert_eq!(read().await, settled);
    w.complete(&claim, 1, "done").await;
    assert_eq!(read().await, settled);
}
