//! What every [`ToolStore`] promises, as tests any store can run.

mod calls;

use crate::{
    faults::{Fault, Faults, Remembered, Side},
    store_suite::ManualClock,
};
use futures::future::BoxFuture;
use maniple_core::{
    Error, Kind, Tenant,
    ports::{LedgerKey, Opened, Opening, Outcome, ToolStore},
    tool::{Effect, Published, Realm, Source, ToolDefinition, Verdict},
};
use semver::Version;
use serde_json::json;
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Where stores come and go, their content staying.
pub trait Place: Send {
    /// The store as it is now.
    fn store(&self) -> Arc<dyn ToolStore>;
    /// The process dies and the next one opens the store; a store in memory plays that.
    fn reopen(&mut self);
}

/// Runs every test on a store of its own, on a clock that only the test moves; panics with the names of those that failed.
pub async fn run<P: Place + 'static>(make: impl Fn(&ManualClock) -> P) {
    let mut failed = Vec::new();
    for case in [
        case(a_version_published_again_is_the_one_that_was_published),
        case(a_version_is_served_where_it_was_added),
        case(a_version_has_one_contract),
        case(a_name_belongs_to_who_published_it_first),
        case(a_name_of_one_realm_is_another_one_than_that_of_another_realm),
        case(versions_of_a_name_stand_beside_each_other),
        case(what_is_unpublished_is_gone_and_its_name_free),
        case(calls::a_call_is_new_once_and_then_has_its_outcome),
        case(calls::a_key_holds_for_its_arguments_only),
        case(calls::a_key_holds_for_one_tool_of_one_principal),
        case(calls::a_call_is_its_holders_for_as_long_as_it_renews),
        case(calls::a_call_that_nobody_is_at_goes_by_its_effect_class),
        case(calls::what_its_holder_leaves_is_free_at_once),
        case(calls::who_lost_a_call_changes_nothing_for_the_next_holder_but_its_outcome),
        case(calls::a_call_that_may_have_been_sent_stays_on_record_when_a_later_send_is_not),
        case(calls::the_first_outcome_stays),
        case(calls::a_call_that_was_not_sent_can_be_opened_anew),
        case(calls::an_outcome_comes_back_as_it_was),
        case(calls::what_cannot_be_kept_is_refused),
        case(calls::old_calls_are_forgotten_in_batches_the_oldest_first),
        case(calls::of_many_who_open_one_key_at_once_one_is_the_first),
        case(a_process_that_dies_forgets_nothing),
        case(whoever_lost_the_reply_asks_again),
    ] {
        let clock = ManualClock::new();
        let world = World { place: Mutex::new(Box::new(make(&clock))), clock, holders: AtomicU32::new(0) };
        if tokio::spawn((case.run)(world)).await.is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{} promises are broken: {failed:#?}", failed.len());
}

struct Case {
    name: &'static str,
    run: Box<dyn Fn(World) -> BoxFuture<'static, ()> + Send + Sync>,
}

/// A test, called what its function is called.
fn case<F, R>(test: F) -> Case
where
    F: Fn(World) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let name = std::any::type_name::<F>().rsplit("::").next().unwrap_or_default();
    Case { name, run: Box::new(move |world| Box::pin(test(world))) }
}

/// What a test works with.
struct World {
    place: Mutex<Box<dyn Place>>,
    clock: ManualClock,
    holders: AtomicU32,
}

impl World {
    fn store(&self) -> Arc<dyn ToolStore> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).store()
    }
    fn reopen(&self) {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).reopen();
    }
    async fn published(&self) -> Vec<(String, String, String)> {
        let published = self.store().published().await.expect("published");
        published.into_iter().map(|p| (p.definition.name.clone(), p.definition.version.to_string(), p.owner)).collect()
    }
    /// Somebody opens it who never did before.
    async fn open(&self, key: &str) -> Opened {
        let holder = format!("holder {}", self.holders.fetch_add(1, Ordering::Relaxed));
        self.open_as(&holder, key).await
    }
    async fn open_as(&self, holder: &str, key: &str) -> Opened {
        self.store().open_call(&call(key), &opening(holder, Effect::Idempotent)).await.expect("opened")
    }
    async fn close(&self, key: &str, outcome: Outcome) {
        self.store().close_call(&call(key), &outcome).await.expect("closed");
    }
}

/// A version of a tool, published by somebody.
pub fn version(name: &str, version: &str, owner: &str) -> Published {
    let definition = json!({
        "name": name, "version": version, "description": "d", "endpoint": "http://x.test/",
        "parameters": { "type": "object", "properties": { "n": { "type": "number", "maximum": 0.1, "minimum": -1e300 } } },
    });
    let definition: ToolDefinition = serde_json::from_value(definition).expect("a definition");
    Published {
        contract: definition.contract_hash(),
        definition: Arc::new(definition),
        owner: owner.into(),
        realm: Realm::Node,
        source: Source::Registered,
        at: Default::default(),
        previous: Some(Version::new(0, 9, 0)),
        verdict: Some(Verdict::Unproven),
        changes: vec!["`n` is new".into()],
        overridden: Some("ann: it is fine".into()),
        added: Vec::new(),
    }
}
fn call(key: &str) -> LedgerKey {
    LedgerKey { tenant: Tenant::default(), principal: "ann".into(), tool: "pay".into(), key: key.into() }
}
const LEASE: Duration = Duration::from_secs(6);
fn opening(holder: &str, effect: Effect) -> Opening {
    Opening { arguments_hash: "hash".into(), effect, holder: holder.into(), lease: LEASE }
}
fn of_other_arguments(holder: &str) -> Opening {
    Opening { arguments_hash: "another".into(), ..opening(holder, Effect::Idempotent) }
}
fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
fn kind<T: std::fmt::Debug>(refused: Result<T, Error>) -> Kind {
    refused.expect_err("it was to be refused").kind
}
fn owned(names: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    names.iter().map(|(name, version, owner)| ((*name).into(), (*version).into(), (*owner).into())).collect()
}

async fn a_version_published_again_is_the_one_that_was_published(world: World) {
    let began = world.clock.now();
    let first = world.store().publish(version("pay", "1.0.0", "ann")).await.expect("published");
    assert_eq!(first, Published { at: began, ..version("pay", "1.0.0", "ann") });
    world.clock.advance(seconds(60));
    let mut again = version("pay", "1.0.0", "ann");
    // Not part of the contract: the first one's are remembered.
    Arc::make_mut(&mut again.definition).endpoint = "http://elsewhere.test/".into();
    again.changes.clear();
    assert_eq!(world.store().publish(again).await.expect("published"), first);
    assert_eq!(world.store().published().await.expect("published"), [first]);
}

async fn a_version_is_served_where_it_was_added(world: World) {
    let registered = world.store().publish(version("pay", "1.0.0", "ann")).await.expect("published");
    let mut again = version("pay", "1.0.0", "ann");
    again.source = Source::Added;
    let at = |endpoint: &str, timeout| {
        let mut definition = (*again.definition).clone();
        (definition.endpoint, definition.timeout_ms) = (endpoint.into(), timeout);
        definition
    };
    let (one, other, moved) = (at("http://one.test/", 1_000), at("http://other.test/", 2_000), at("http://one.test/", 3_000));
    let mut expected = registered;
    for (added, all) in [(&one, vec![&one]), (&other, vec![&one, &other]), (&moved, vec![&moved, &other]), (&moved, vec![&moved, &other])] {
        again.added = vec![added.clone()];
        expected.added = all.into_iter().cloned().collect();
        assert_eq!(world.store().publish(again.clone()).await.expect("published"), expected);
        world.reopen();
        assert_eq!(world.store().published().await.expect("published"), [expected.clone()]);
    }
    again.added = (0..Published::ADDED_MAX).map(|n| at(&format!("http://{n}.test/"), 1_000)).collect();
    assert_eq!(kind(world.store().publish(again).await), Kind::Exhausted);
    assert_eq!(world.store().published().await.expect("published"), [expected]);
}

async fn a_version_has_one_contract(world: World) {
    let first = world.store().publish(version("pay", "1.0.0", "ann")).await.expect("published");
    let mut other = version("pay", "1.0.0", "ann");
    other.contract = "another".into();
    let error = world.store().publish(other).await.expect_err("it was to be refused");
    assert_eq!(error.kind, Kind::Conflict);
    assert!(error.message.contains("`pay` 1.0.0"), "{error}");
    assert_eq!(world.store().published().await.expect("published"), [first]);
}

async fn a_name_belongs_to_who_published_it_first(world: World) {
    world.store().publish(version("pay", "1.0.0", "ann")).await.expect("published");
    for number in ["1.0.0", "1.1.0", "2.0.0"] {
        let error = world.store().publish(version("pay", number, "bob")).await.expect_err("it was to be refused");
        assert_eq!(error.kind, Kind::Denied);
        assert!(error.message.contains("`pay`") && !error.message.contains("ann"), "{error}");
    }
    world.store().publish(version("pay2", "1.0.0", "bob")).await.expect("another name");
    assert_eq!(world.published().await, owned(&[("pay", "1.0.0", "ann"), ("pay2", "1.0.0", "bob")]));
}

async fn a_name_of_one_realm_is_another_one_than_that_of_another_realm(world: World) {
    let of = |tenant: &str| Realm::Of(Tenant::parse(tenant).expect("a tenant"));
    let mut expected = Vec::new();
    for (realm, owner) in [(Realm::Node, "operator"), (of("acme"), "acme/ann"), (of("beta"), "beta/ann")] {
        let mut one = Published { realm: realm.clone(), ..version("pay", "1.0.0", owner) };
        // Each has a contract of its own.
        Arc::make_mut(&mut one.definition).description = owner.into();
        one.contract = one.definition.contract_hash();
        let published = world.store().publish(one.clone()).await.expect("nobody else's name is in its way");
        assert_eq!((published.realm.clone(), &published.contract), (realm, &one.contract));
        assert_eq!(world.store().publish(one).await.expect("again"), published);
        expected.push(published);
    }
    world.reopen();
    assert_eq!(world.store().published().await.expect("published"), expected);
    let thief = Published { realm: of("acme"), ..version("pay", "1.1.0", "acme/bob") };
    assert_eq!(kind(world.store().publish(thief).await), Kind::Denied, "within a realm it belongs to who was first");
    assert_eq!(world.store().unpublish(&of("acme"), "pay", None).await.expect("unpublished"), 1);
    assert_eq!(world.store().unpublish(&of("gone"), "pay", None).await.expect("nothing"), 0);
    expected.remove(1);
    assert_eq!(world.store().published().await.expect("published"), expected);
}

async fn versions_of_a_name_stand_beside_each_other(world: World) {
    for number in ["10.0.0", "2.0.0", "2.0.0-rc.1", "2.0.0+build"] {
        world.store().publish(version("pay", number, "ann")).await.expect("published");
    }
    let expected = [("pay", "2.0.0-rc.1", "ann"), ("pay", "2.0.0", "ann"), ("pay", "2.0.0+build", "ann"), ("pay", "10.0.0", "ann")];
    assert_eq!(world.published().await, owned(&expected));
}

async fn what_is_unpublished_is_gone_and_its_name_free(world: World) {
    let store = world.store();
    for (name, number) in [("pay", "1.0.0"), ("pay", "1.1.0"), ("pay", "1.2.0"), ("payment", "1.0.0")] {
        store.publish(version(name, number, "ann")).await.expect("published");
    }
    let one = Version::new(1, 1, 0);
    assert_eq!(store.unpublish(&Realm::Node, "pay", Some(&one)).await.expect("unpublished"), 1);
    assert_eq!(store.unpublish(&Realm::Node, "pay", Some(&one)).await.expect("nothing"), 0);
    assert_eq!(kind(store.publish(version("pay", "1.1.0", "bob")).await), Kind::Denied, "the name is still somebody's");
    assert_eq!(store.unpublish(&Realm::Node, "pay", None).await.expect("unpublished"), 2);
    assert_eq!(store.unpublish(&Realm::Node, "pay", None).await.expect("nothing"), 0);
    store.publish(version("pay", "1.1.0", "bob")).await.expect("the name is free");
    assert_eq!(world.published().await, owned(&[("pay", "1.1.0", "bob"), ("payment", "1.0.0", "ann")]));
}

async fn a_process_that_dies_forgets_nothing(world: World) {
    let published = world.store().publish(version("pay", "1.0.0", "ann")).await.expect("published");
    for key in ["open", "done", "dropped"] {
        world.open_as("one", key).await;
    }
    world.close("done", Outcome::Ok(json!({ "paid": 3 }))).await;
    world.store().drop_call(&call("dropped"), "one").await.expect("dropped");
    world.reopen();
    assert_eq!(world.store().published().await.expect("published"), [published]);
    assert_eq!(kind(world.store().publish(version("pay", "1.0.0", "bob")).await), Kind::Denied);
    assert_eq!(world.open("open").await, Opened::UnderWay(LEASE), "nobody knows yet that its holder is dead");
    world.clock.advance(LEASE);
    assert_eq!(world.open("open").await, Opened::Again);
    assert_eq!(world.open("done").await, Opened::Done(Outcome::Ok(json!({ "paid": 3 }))));
    assert_eq!(world.open("dropped").await, Opened::New);
}

/// Every write is made twice, its first reply lost: what comes of it is what one write with its reply comes to.
async fn whoever_lost_the_reply_asks_again(world: World) {
    let seen = Mutex::new(BTreeMap::new());
    let faults = Faults::new(move |point| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = seen.entry((point.call, matches!(point.side, Side::After))).or_insert(0);
        *calls += 1;
        if point.side == Side::After && *calls % 2 == 1 { Fault::Unavailable } else { Fault::None }
    });
    let store = Remembered { inner: world.store(), faults };
    for attempt in 1..=2 {
        let published = store.publish(version("pay", "1.0.0", "ann")).await;
        assert_eq!(published.is_ok(), attempt == 2);
    }
    assert_eq!(world.published().await, owned(&[("pay", "1.0.0", "ann")]));
    let one = opening("one", Effect::AtMostOnce);
    assert_eq!(kind(store.open_call(&call("a"), &one).await), Kind::Unavailable);
    assert_eq!(store.open_call(&call("a"), &one).await.expect("opened"), Opened::New);
    assert_eq!(kind(store.renew_call(&call("a"), "one", LEASE).await), Kind::Unavailable);
    assert!(store.renew_call(&call("a"), "one", LEASE).await.expect("renewed"));
    let outcome = Outcome::Ok(json!(1));
    assert_eq!(kind(store.close_call(&call("a"), &outcome).await), Kind::Unavailable);
    store.close_call(&call("a"), &outcome).await.expect("closed");
    assert_eq!(world.open("a").await, Opened::Done(outcome));
    world.open_as("one", "b").await;
    assert_eq!(kind(store.drop_call(&call("b"), "one").await), Kind::Unavailable);
    store.drop_call(&call("b"), "one").await.expect("dropped");
    world.open_as("one", "c").await;
    assert_eq!(kind(store.leave_call(&call("c"), "one").await), Kind::Unavailable);
    store.leave_call(&call("c"), "one").await.expect("left");
    assert_eq!(kind(store.open_call(&call("c"), &opening("other", Effect::Pure)).await), Kind::Unavailable);
    assert_eq!(store.open_call(&call("c"), &opening("other", Effect::Pure)).await.expect("opened"), Opened::Again);
    assert_eq!(kind(store.unpublish(&Realm::Node, "pay", None).await), Kind::Unavailable);
    assert_eq!(store.unpublish(&Realm::Node, "pay", None).await.expect("unpublished"), 0);
    assert_eq!((world.published().await, world.open("b").await), (vec![], Opened::New));
}
