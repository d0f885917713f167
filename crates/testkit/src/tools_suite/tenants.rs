//! Whose tools are whose: the node's are everybody's, a tenant's its own.

use super::*;
use maniple_core::{ports::Registrant, tool::ToolVersion};

fn tenant(name: &str) -> Tenant {
    Tenant::parse(name).expect("a tenant")
}
/// Somebody of a tenant, who may bring tools.
fn of(tenant_name: &str, name: &str) -> Registrant {
    let tenant = tenant(tenant_name);
    let name = if tenant.is_default() { name.to_owned() } else { format!("{tenant}/{name}") };
    Registrant { name, tenant, admin: false, operator: false }
}
fn admin_of(tenant: &str) -> Registrant {
    Registrant { admin: true, ..of(tenant, "root") }
}

impl World {
    async fn brought(&self, by: &Registrant, fields: Value) -> Result<Registered, Kind> {
        let registration =
            Registration { definition: self.definition(fields), by: by.clone(), source: Source::Registered, override_reason: None };
        self.registry().register(registration).await.map_err(|error| error.kind)
    }
    /// Every tool of that name that a tenant sees, with whose it is.
    async fn seen_by(&self, of: &str, name: &str) -> Vec<String> {
        let listed = self.registry().list(&tenant(of), None, 500).await.expect("a list");
        let listed: Vec<_> = listed.into_iter().filter(|known| known.definition.name == name).collect();
        let versions = self.registry().versions(&tenant(of), name).await.unwrap_or_default();
        let told = |known: &ToolVersion| format!("{} of {}", known.definition.version, known.realm.tenant().map_or("all", Tenant::as_str));
        let told: Vec<String> = versions.iter().map(told).collect();
        assert_eq!(listed.len(), told.len(), "the list and the tool's own page say the same: {listed:?}");
        told
    }
    async fn offered_to(&self, of: &str, wish: &str) -> Option<ToolDefinition> {
        let wishes = [ToolWish::parse(wish).expect("a wish")];
        let offers = self.registry().resolve(&tenant(of), &shopper(), &wishes).await.ok()?;
        let granted = self.registry().granted(&tenant(of), &shopper()).await.ok().unwrap_or_default();
        let picked = self.registry().pick(&tenant(of), &shopper(), &wishes[0].name, &range("*")).await.ok();
        let offer = offers.into_iter().next();
        assert_eq!(offer, picked, "what a run begins with is what a call gets");
        assert!(offer.as_ref().is_none_or(|offer| granted.contains(offer)), "and what the agent is said to be granted");
        offer.map(|offer| offer.definition)
    }
}

pub(super) async fn two_tenants_have_a_tool_of_one_name_and_neither_hears_of_the_others(world: World) {
    let (ann, bea) = (of("acme", "ann"), of("beta", "bea"));
    let mine = world.brought(&ann, json!({ "description": "Acme's.", "endpoint": world.server.endpoint("t") })).await.expect("hers");
    let theirs = json!({ "description": "Beta's.", "endpoint": world.server.endpoint("other"), "parameters": { "type": "object" } });
    let theirs = world.brought(&bea, theirs).await.expect("another contract under the same version, of another tenant");
    assert_ne!(mine.contract, theirs.contract);
    world.brought(&ann, json!({ "name": "secret_ledger" })).await.expect("hers");
    for (who, sees) in [("acme", vec!["1.0.0 of acme"]), ("beta", vec!["1.0.0 of beta"]), ("gamma", vec![])] {
        assert_eq!(world.seen_by(who, "t").await, sees, "{who}");
    }
    assert_eq!(world.offered_to("acme", "t").await.expect("hers").description, "Acme's.");
    assert_eq!(world.offered_to("beta", "t").await.expect("hers").description, "Beta's.");
    assert_eq!(world.offered_to("gamma", "t").await, None);
    // A word of it in an error would tell as much as a list.
    let told = world.registry().versions(&tenant("beta"), "secret_ledgers").await.expect_err("it is not there").message;
    assert!(!told.replace("`secret_ledgers`", "").contains("secret_ledger"), "{told}");

    // Each tenant's calls go to its own; one that names the other's contract is refused.
    let call = |whose: &str, tool: &ToolDefinition, key: &str| Invocation {
        tenant: tenant(whose),
        ..world.invocation(tool, &format!("{whose}/{key}:1:0"), json!({}))
    };
    assert!(matches!(world.registry().invoke(&RunCall(call("acme", &mine.definition, "a"))).await, Invoked::Ok(_)));
    assert!(matches!(world.registry().invoke(&RunCall(call("beta", &theirs.definition, "b"))).await, Invoked::Ok(_)));
    assert_eq!((world.ledger.count("t"), world.ledger.count("other")), (1, 1));
    let foreign = world.registry().invoke(&RunCall(call("beta", &mine.definition, "c"))).await;
    assert_eq!(refused(&foreign), RefusalKind::NotFound);
    let foreign = Invocation { key: "k".into(), ..call("gamma", &mine.definition, "d") };
    assert_eq!(refused(&world.called("gus", foreign).await.invoked), RefusalKind::NotFound);
    assert_eq!((world.ledger.count("t"), world.ledger.count("other")), (1, 1), "nothing of it arrives");
}

pub(super) async fn nobody_changes_what_is_another_tenants_or_the_nodes(world: World) {
    let ann = of("acme", "ann");
    let hers = world.brought(&ann, json!({})).await.expect("hers");
    // An admin is one of its tenant.
    for stranger in [admin_of("beta"), of("acme", "bob")] {
        assert!(world.registry().withdraw("t", &hers.instance, &stranger).await.is_err(), "{stranger:?}");
        assert!(world.registry().remove("t", None, &stranger).await.is_err(), "{stranger:?}");
    }
    assert_eq!(world.registry().remove("t", None, &admin_of("beta")).await.expect_err("it is not there").kind, Kind::NotFound);
    assert_eq!(world.brought(&of("acme", "bob"), json!({ "version": "1.1.0" })).await.map(drop), Err(Kind::Denied));
    world.brought(&admin_of("acme"), json!({ "version": "1.1.0" })).await.expect("an admin acts for every owner of its tenant");
    assert_eq!(world.seen_by("acme", "t").await, ["1.1.0 of acme", "1.0.0 of acme"]);

    // What is the node's, no tenant takes, adds to or takes out, an admin of the tenant that the operator has neither.
    let other = json!({ "name": "clock", "version": "1.0.1", "description": "Tells a wrong time." });
    for who in [ann.clone(), admin_of("acme"), admin_of("default")] {
        assert_eq!(world.brought(&who, other.clone()).await.map(drop), Err(Kind::Denied), "{who:?}");
        assert_eq!(world.registry().remove("clock", None, &who).await.expect_err("it is the node's").kind, Kind::Denied, "{who:?}");
    }
    assert_eq!(world.seen_by("acme", "clock").await, ["1.0.0 of all"]);
    assert_eq!(world.registry().remove("t", None, &admin_of("acme")).await.expect("its own"), 2);
}

pub(super) async fn what_an_operator_brings_serves_everybody_and_its_name_is_the_nodes_from_then_on(world: World) {
    let ann = of("acme", "ann");
    let hers = world.brought(&ann, json!({ "description": "Acme's." })).await.expect("hers");
    let node = Registrant { operator: true, ..of("default", "ops") };
    let brought = json!({ "description": "The node's.", "endpoint": world.server.endpoint("node") });
    let ours = world.brought(&node, brought).await.expect("a name that a tenant has is no obstacle");
    for who in ["acme", "beta", "default"] {
        assert_eq!(world.seen_by(who, "t").await, ["1.0.0 of all"], "{who}");
        assert_eq!(world.offered_to(who, "t").await.expect("everybody's").description, "The node's.");
    }
    assert_eq!(world.brought(&ann, json!({ "description": "Acme's." })).await.map(drop), Err(Kind::Denied), "nor is it renewed");
    // A run that began with the tenant's own is not given the node's for it, nor the tenant's any more.
    let call = Invocation { tenant: tenant("acme"), ..world.invocation(&hers.definition, "acme/a:1:0", json!({})) };
    assert_eq!(refused(&world.registry().invoke(&RunCall(call)).await), RefusalKind::NotFound);
    let call = Invocation { tenant: tenant("acme"), ..world.invocation(&ours.definition, "acme/b:1:0", json!({})) };
    assert!(matches!(world.registry().invoke(&RunCall(call)).await, Invoked::Ok(_)));
    assert_eq!((world.ledger.count("t"), world.ledger.count("node")), (0, 1));
    // What is not seen any more, its owner can take out all the same; once the node's is gone, the name is free.
    assert_eq!(world.registry().remove("t", None, &ann).await.expect("hers"), 1);
    assert_eq!(world.registry().remove("t", None, &node).await.expect("the node's"), 1);
    world.brought(&of("beta", "bea"), json!({ "description": "Beta's." })).await.expect("it is free");
    assert_eq!(world.seen_by("acme", "t").await, [""; 0]);
}

pub(super) async fn no_answer_crosses_tenants(world: World) {
    // One tool of the node's, whose results may be used again, called under one key by namesakes of two tenants.
    let pure = json!({ "effect": "pure", "cache_ttl_ms": 60_000 });
    let tool = world.registered(pure).await.definition;
    let of = |whose: &str| Invocation { tenant: tenant(whose), ..world.invocation(&tool, "k", json!({ "n": 1 })) };
    for (whose, arrived) in [("acme", 1), ("beta", 2), ("acme", 2), ("beta", 2)] {
        let outcome = world.called("ann", of(whose)).await;
        assert!(matches!(outcome.invoked, Invoked::Ok(_)), "{outcome:?}");
        assert_eq!(world.ledger.count("t"), arrived, "{whose}");
    }
    // A run's key, given as a direct call's own, is another key: its answer is not the run's to find.
    let tool = world.registered(json!({ "version": "1.1.0", "effect": "pure" })).await.definition;
    let guess = Invocation { tenant: tenant("beta"), ..world.invocation(&tool, "acme/job-1:1:0", json!({ "n": 2 })) };
    world.called("ann", guess).await;
    let run = Invocation { tenant: tenant("acme"), ..world.invocation(&tool, "acme/job-1:1:0", json!({ "n": 2 })) };
    world.registry().invoke(&RunCall(run)).await;
    let keys: Vec<String> = world.ledger.arrivals().into_iter().filter_map(|arrival| arrival.key).collect();
    assert_eq!(&keys[2..], ["beta/call/ann/acme/job-1:1:0", "acme/job-1:1:0"], "each arrives, and the tool can tell them apart");
}
