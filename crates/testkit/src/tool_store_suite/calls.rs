//! The ledger of calls: a key has one outcome, and one process at a time is at it.

use super::{LEASE, World, call, kind, of_other_arguments, opening, seconds};
use futures::future::join_all;
use maniple_core::{
    Kind, Tenant,
    ports::{LedgerKey, Opened, Outcome},
    tool::{Effect, STORED_RESULT_BYTES},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::Barrier;

pub(super) async fn a_call_is_new_once_and_then_has_its_outcome(world: World) {
    assert_eq!(world.open("a").await, Opened::New);
    assert_eq!(world.open("a").await, Opened::UnderWay(LEASE));
    world.close("a", Outcome::Ok(json!({ "paid": 3 }))).await;
    for _ in 0..2 {
        assert_eq!(world.open("a").await, Opened::Done(Outcome::Ok(json!({ "paid": 3 }))));
    }
    assert_eq!(kind(world.store().close_call(&call("b"), &Outcome::Ok(Value::Null)).await), Kind::NotFound);
}

pub(super) async fn a_key_holds_for_its_arguments_only(world: World) {
    let store = world.store();
    assert_eq!(world.open("a").await, Opened::New);
    assert_eq!(store.open_call(&call("a"), &of_other_arguments("x")).await.expect("opened"), Opened::OtherArguments);
    world.close("a", Outcome::Ok(json!(1))).await;
    assert_eq!(store.open_call(&call("a"), &of_other_arguments("y")).await.expect("opened"), Opened::OtherArguments);
    assert_eq!(world.open("a").await, Opened::Done(Outcome::Ok(json!(1))));
}

pub(super) async fn a_key_holds_for_one_tool_of_one_principal(world: World) {
    let store = world.store();
    let mine = call("a");
    let others = [
        LedgerKey { tool: "refund".into(), ..mine.clone() },
        LedgerKey { tenant: Tenant::parse("acme").expect("legal"), ..mine.clone() },
        LedgerKey { principal: "bob".into(), ..mine.clone() },
        LedgerKey { key: "A".into(), ..mine.clone() },
    ];
    assert_eq!(world.open("a").await, Opened::New);
    world.close("a", Outcome::Ok(json!("mine"))).await;
    for other in &others {
        assert_eq!(store.open_call(other, &of_other_arguments("x")).await.expect("opened"), Opened::New, "{other:?}");
        store.drop_call(other, "x").await.expect("dropped");
    }
    assert_eq!(world.open("a").await, Opened::Done(Outcome::Ok(json!("mine"))));
}

pub(super) async fn a_call_is_its_holders_for_as_long_as_it_renews(world: World) {
    let store = world.store();
    assert_eq!(world.open_as("one", "a").await, Opened::New);
    for _ in 0..3 {
        world.clock.advance(seconds(4));
        assert!(store.renew_call(&call("a"), "one", LEASE).await.expect("renewed"));
        assert!(!store.renew_call(&call("a"), "other", LEASE).await.expect("it is not theirs"));
    }
    world.clock.advance(seconds(5));
    assert_eq!(world.open_as("other", "a").await, Opened::UnderWay(seconds(1)));
    world.clock.advance(seconds(1));
    assert_eq!(world.open_as("other", "a").await, Opened::Again);
    assert_eq!(world.open_as("third", "a").await, Opened::UnderWay(LEASE));
    assert!(!store.renew_call(&call("a"), "one", LEASE).await.expect("it is another's"));
    assert!(!store.renew_call(&call("never"), "one", LEASE).await.expect("there is none"));
}

pub(super) async fn a_call_that_nobody_is_at_goes_by_its_effect_class(world: World) {
    use Effect::{AtMostOnce, Idempotent, Pure};
    for was in [Pure, Idempotent, AtMostOnce] {
        for is in [Pure, Idempotent, AtMostOnce] {
            let key = format!("{was} {is}");
            let open = async |holder: &str, effect| world.store().open_call(&call(&key), &opening(holder, effect)).await.expect("opened");
            assert_eq!(open("one", was).await, Opened::New);
            world.clock.advance(LEASE);
            world.reopen();
            let is_never_sent_again = was == AtMostOnce || is == AtMostOnce;
            let expected = if is_never_sent_again { Opened::InDoubt } else { Opened::Again };
            assert_eq!(open("other", is).await, expected, "{key}");
            let then = if is_never_sent_again { Opened::InDoubt } else { Opened::UnderWay(LEASE) };
            assert_eq!(open("third", is).await, then, "{key}: nobody holds what is in doubt");
        }
    }
}

pub(super) async fn what_its_holder_leaves_is_free_at_once(world: World) {
    let store = world.store();
    assert_eq!(world.open_as("one", "a").await, Opened::New);
    store.leave_call(&call("a"), "other").await.expect("it is not theirs");
    assert_eq!(world.open("a").await, Opened::UnderWay(LEASE));
    store.leave_call(&call("a"), "one").await.expect("left");
    store.leave_call(&call("never"), "one").await.expect("there is none");
    assert_eq!(world.open("a").await, Opened::Again);
}

pub(super) async fn who_lost_a_call_changes_nothing_for_the_next_holder_but_its_outcome(world: World) {
    let store = world.store();
    assert_eq!(world.open_as("one", "a").await, Opened::New);
    world.clock.advance(LEASE);
    assert_eq!(world.open_as("other", "a").await, Opened::Again);
    store.leave_call(&call("a"), "one").await.expect("it is not theirs");
    store.drop_call(&call("a"), "one").await.expect("it is not theirs");
    assert_eq!(world.open("a").await, Opened::UnderWay(LEASE));
    world.close("a", Outcome::Ok(json!("of the first"))).await;
    world.close("a", Outcome::Ok(json!("of the other"))).await;
    assert_eq!(world.open_as("other", "a").await, Opened::Done(Outcome::Ok(json!("of the first"))));
}

pub(super) async fn a_call_that_may_have_been_sent_stays_on_record_when_a_later_send_is_not(world: World) {
    let store = world.store();
    assert_eq!(world.open_as("one", "a").await, Opened::New);
    store.leave_call(&call("a"), "one").await.expect("left");
    assert_eq!(world.open_as("other", "a").await, Opened::Again);
    store.drop_call(&call("a"), "other").await.expect("let go of");
    assert_eq!(store.open_call(&call("a"), &of_other_arguments("x")).await.expect("opened"), Opened::OtherArguments);
    assert_eq!(world.open("a").await, Opened::Again);
}

pub(super) async fn the_first_outcome_stays(world: World) {
    world.open_as("one", "a").await;
    world.close("a", Outcome::Failed(json!({ "status": 500 }))).await;
    world.close("a", Outcome::Ok(json!("late"))).await;
    world.store().drop_call(&call("a"), "one").await.expect("nothing to do");
    world.store().leave_call(&call("a"), "one").await.expect("nothing to do");
    assert!(!world.store().renew_call(&call("a"), "one", LEASE).await.expect("nothing to do"));
    assert_eq!(world.open("a").await, Opened::Done(Outcome::Failed(json!({ "status": 500 }))));
}

pub(super) async fn a_call_that_was_not_sent_can_be_opened_anew(world: World) {
    world.open_as("one", "a").await;
    for _ in 0..2 {
        world.store().drop_call(&call("a"), "one").await.expect("dropped");
    }
    assert_eq!(world.store().open_call(&call("a"), &of_other_arguments("x")).await.expect("opened"), Opened::New);
}

pub(super) async fn an_outcome_comes_back_as_it_was(world: World) {
    let long = "ü\"\\\n\u{0}".repeat(10_000);
    let deep = (0..100).fold(json!(1), |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({ "x": inner }) });
    let values = [
        Value::Null,
        json!(""),
        json!("null"),
        json!([]),
        json!({ "status": "ok", "result": 1 }),
        json!(0.1),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(long),
        json!("x".repeat(STORED_RESULT_BYTES - 2)),
        deep,
    ];
    for (number, value) in values.into_iter().enumerate() {
        for outcome in [Outcome::Ok(value.clone()), Outcome::Failed(value)] {
            let key = format!("{number} {}", matches!(outcome, Outcome::Ok(_)));
            world.open(&key).await;
            world.close(&key, outcome.clone()).await;
            assert!(world.open(&key).await == Opened::Done(outcome), "outcome {key} came back as another");
        }
    }
}

pub(super) async fn what_cannot_be_kept_is_refused(world: World) {
    for key in ["", &"k".repeat(256)] {
        assert_eq!(kind(world.store().open_call(&call(key), &opening("x", Effect::Pure)).await), Kind::Invalid, "{} bytes", key.len());
    }
    let longest = "k".repeat(255);
    assert_eq!(world.open(&longest).await, Opened::New);
    let deep = (0..101).fold(json!(1), |inner, _| json!([inner]));
    for result in [json!("x".repeat(STORED_RESULT_BYTES)), deep] {
        assert_eq!(kind(world.store().close_call(&call(&longest), &Outcome::Ok(result)).await), Kind::Invalid);
    }
    assert_eq!(world.open(&longest).await, Opened::UnderWay(LEASE));
}

pub(super) async fn old_calls_are_forgotten_in_batches_the_oldest_first(world: World) {
    for n in 0..10 {
        world.open(&format!("old {n}")).await;
        world.clock.advance(seconds(1));
    }
    world.close("old 1", Outcome::Ok(json!(1))).await;
    world.clock.advance(seconds(60));
    world.open("young").await;
    let store = world.store();
    assert_eq!(store.forget_calls(seconds(3_600), 100).await.expect("forgotten"), 0);
    assert_eq!(store.forget_calls(seconds(60), 3).await.expect("forgotten"), 3);
    assert_eq!(
        (world.open_as("one", "old 2").await, world.open("old 3").await, world.open("young").await),
        (Opened::New, Opened::Again, Opened::UnderWay(LEASE))
    );
    store.drop_call(&call("old 2"), "one").await.expect("dropped");
    assert_eq!(store.forget_calls(seconds(60), 100).await.expect("forgotten"), 7);
    assert_eq!(store.forget_calls(seconds(60), 100).await.expect("forgotten"), 0);
    assert_eq!((world.open("old 1").await, world.open("young").await), (Opened::New, Opened::UnderWay(LEASE)));
    assert_eq!(store.forget_calls(Duration::MAX, 100).await.expect("forgotten"), 0);
    assert_eq!(store.forget_calls(Duration::ZERO, 100).await.expect("forgotten"), 2);
}

pub(super) async fn of_many_who_open_one_key_at_once_one_is_the_first(world: World) {
    let start = Arc::new(Barrier::new(100));
    let all = (0..100).map(|n| {
        let (store, start) = (world.store(), start.clone());
        tokio::spawn(async move {
            start.wait().await;
            store.open_call(&call("a"), &opening(&n.to_string(), Effect::Idempotent)).await.expect("opened")
        })
    });
    let opened: Vec<Opened> = join_all(all).await.into_iter().map(|opened| opened.expect("no panic")).collect();
    assert_eq!(opened.iter().filter(|opened| **opened == Opened::New).count(), 1);
    assert_eq!(opened.iter().filter(|opened| **opened == Opened::UnderWay(LEASE)).count(), 99);
}
