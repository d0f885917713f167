//! Two processes of a registry over one store: a key has one outcome, whichever of them is asked.

use crate::bench::{Bench, Counting, definition, invocation, until};
use futures::future::join_all;
use maniple_backends::memory;
use maniple_core::{
    Tenant,
    ports::{DirectCall, DirectOutcome, Invocation, Invoked, LedgerKey, Opened, Opening, ToolRegistry},
    tool::{Effect, ToolDefinition},
};
use maniple_registry::GatewaySettings;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Two of them, which know the tool.
async fn two(server: &Counting, fields: Value, call_lease: Duration) -> ([Bench; 2], ToolDefinition) {
    let settings = GatewaySettings { call_lease, ..GatewaySettings::default() };
    let one = Bench::new(&["t"]).await;
    let both = [Bench::over(one.store.clone(), &["t"], settings).await, Bench::over(one.store.clone(), &["t"], settings).await];
    for bench in &both {
        bench.register(definition(&server.url, fields.clone())).await;
    }
    let tool = both[0].registry.versions(&Tenant::default(), "t").await.unwrap().remove(0).definition;
    (both, tool)
}

/// A call that somebody was at when its process was killed: so long nobody knows.
async fn killed_at(bench: &Bench, effect: Effect, lease: Duration) {
    let key = LedgerKey { tenant: Tenant::default(), principal: "ann".into(), tool: "t".into(), key: "k".into() };
    let arguments_hash = maniple_core::canonical::hash(&json!({}));
    let opening = Opening { arguments_hash, effect, holder: "the dead".into(), lease };
    assert_eq!(bench.store.open_call(&key, &opening).await.unwrap(), Opened::New);
}

#[tokio::test]
async fn one_key_is_one_arrival_whichever_process_is_asked() {
    for effect in ["pure", "idempotent", "at_most_once"] {
        let server = Counting::start().await;
        let (both, tool) = two(&server, json!({ "effect": effect }), Duration::from_secs(6)).await;
        server.set_slow(150);
        let calls = (0..40).map(|n| {
            let (registry, call) = (both[n % 2].registry.clone(), DirectCall::new("ann", invocation(&tool, json!({}), "k")));
            tokio::spawn(async move { registry.call(&call).await })
        });
        let outcomes: Vec<DirectOutcome> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        let expected = Invoked::Ok(json!({ "n": 1, "path": "/" }));
        assert!(outcomes.iter().all(|outcome| outcome.invoked == expected), "{effect}: {outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| !outcome.replayed).count(), 1, "{effect}: one of them was sent");
        assert_eq!(server.calls(), 1, "{effect}");
    }
}

#[tokio::test]
async fn a_call_under_way_stays_its_process_s_although_it_takes_longer_than_a_lease() {
    let server = Counting::start().await;
    let (both, tool) = two(&server, json!({ "effect": "idempotent" }), Duration::from_millis(300)).await;
    server.set_slow(1_200);
    let (registry, call) = (both[0].registry.clone(), DirectCall::new("ann", invocation(&tool, json!({}), "k")));
    let first = tokio::spawn(async move { registry.call(&call).await });
    until("it arrived", async || server.calls() == 1).await;
    let other = both[1].called(invocation(&tool, json!({}), "k")).await;
    assert_eq!(other, DirectOutcome { replayed: true, ..first.await.unwrap() });
    assert!(matches!(other.invoked, Invoked::Ok(_)), "{other:?}");
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn a_call_whose_process_was_killed_is_waited_for_and_then_goes_by_its_effect_class() {
    for (effect, sent_again) in [(Effect::Pure, true), (Effect::Idempotent, true), (Effect::AtMostOnce, false)] {
        let server = Counting::start().await;
        let (both, tool) = two(&server, json!({ "effect": effect }), Duration::from_secs(6)).await;
        let lease = Duration::from_millis(400);
        killed_at(&both[0], effect, lease).await;
        let asked = Instant::now();
        let outcomes = join_all(both.iter().map(|bench| bench.called(invocation(&tool, json!({}), "k")))).await;
        assert!(asked.elapsed() >= lease - Duration::from_millis(20), "{effect}: it may be under way until then");
        for outcome in outcomes {
            assert_eq!(matches!(outcome.invoked, Invoked::Ok(_)), sent_again, "{effect}: {outcome:?}");
            assert_eq!(matches!(outcome.invoked, Invoked::Unknown(_)), !sent_again, "{effect}: {outcome:?}");
        }
        assert_eq!(server.calls(), usize::from(sent_again), "{effect}: by one of the two");
    }
}

#[tokio::test]
async fn nobody_waits_for_another_process_longer_than_its_own_time() {
    let server = Counting::start().await;
    let (both, tool) = two(&server, json!({ "effect": "idempotent" }), Duration::from_secs(6)).await;
    killed_at(&both[0], Effect::Idempotent, Duration::from_secs(60)).await;
    let short = Invocation { timeout: Duration::from_millis(200), ..invocation(&tool, json!({}), "k") };
    let asked = Instant::now();
    let outcome = both[1].called(short).await.invoked;
    assert!(matches!(&outcome, Invoked::Unknown(why) if why.contains("under way")), "{outcome:?}");
    assert!(asked.elapsed() < Duration::from_secs(2));
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn what_one_process_could_not_send_the_other_may() {
    let (server, store) = (Counting::start().await, Arc::new(memory::TaskStore::new()));
    let bench = async || Bench::over(store.clone(), &["t"], GatewaySettings::default()).await;
    let (one, other) = (bench().await, bench().await);
    let tool = one.register(definition(&server.url, json!({}))).await;
    one.registry.withdraw("t", &tool.instance, &crate::bench::registration(json!({}), "ann").by).await.unwrap();
    assert!(matches!(one.call(&tool.definition, json!({}), "k").await, Invoked::NotSent(_)));
    other.register(definition(&server.url, json!({}))).await;
    assert!(matches!(other.call(&tool.definition, json!({}), "k").await, Invoked::Ok(_)), "an at_most_once call that was not sent is new");
    assert_eq!(server.calls(), 1);
}
