//! Who may what, once for all doors.

use super::*;
use futures::future::join_all;
use maniple_core::{
    Error,
    event::{ApprovalRequested, Question},
    ports::Also,
    tool::{Instance, Realm, Source, ToolState, ToolWish},
};
use maniple_testkit::catalogue;

const SCOPES: [Scope; 7] = [Scope::Run, Scope::Read, Scope::Cancel, Scope::Tools, Scope::Approve, Scope::Admin, Scope::Operator];
/// What takes a scope beside that for tools: which. `admin` has none of it.
const BESIDE: [(&str, Scope); 4] = [
    ("call for another tenant", Scope::Operator),
    ("call_for_run", Scope::Operator),
    ("admit", Scope::Operator),
    ("probe_for_run", Scope::Operator),
];

/// What somebody gets who has every right elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Gets {
    /// So many.
    So(usize),
    /// There is no such thing.
    NotFound,
    /// It is not for this principal.
    Denied,
}
use Gets::{Denied, NotFound, So};

/// What is asked about what `acme` has: how, with which scopes beside `admin`, what the admin of another tenant gets, and what
/// one of `acme` gets who may use the agent `write` only. The task `t` is a dead letter of `search`, the task `asks` one that
/// asks a person.
const TABLE: [(&str, &[Scope], Gets, Gets); 32] = [
    ("submit", &[Scope::Run], So(1), Denied),
    ("submit_and_wait", &[Scope::Run], So(1), Denied),
    ("submit_and_follow", &[Scope::Run], So(1), Denied),
    ("retry", &[Scope::Run], NotFound, NotFound),
    ("requeue", &[Scope::Run], NotFound, NotFound),
    ("get", &[Scope::Read, Scope::Run], NotFound, NotFound),
    ("wait", &[Scope::Read, Scope::Run], NotFound, NotFound),
    ("events", &[Scope::Read, Scope::Run], NotFound, NotFound),
    ("list", &[Scope::Read], So(0), So(0)),
    ("list of search", &[Scope::Read], So(0), Denied),
    ("dead_letters", &[Scope::Read], So(0), So(0)),
    ("cancel", &[Scope::Cancel], NotFound, NotFound),
    ("drop_dead_letter", &[], NotFound, NotFound),
    ("conversation", &[Scope::Read], So(0), Denied),
    ("erase", &[], So(0), Denied),
    ("approvals", &[Scope::Read, Scope::Approve], So(0), So(0)),
    ("approvals of search", &[Scope::Read, Scope::Approve], So(0), Denied),
    ("approval", &[Scope::Read, Scope::Approve], NotFound, NotFound),
    ("decide", &[Scope::Approve], NotFound, NotFound),
    ("agents", &[Scope::Read], So(2), So(1)),
    ("tools", &[Scope::Read, Scope::Tools], So(2), So(2)),
    ("tool", &[Scope::Read, Scope::Tools], So(1), So(1)),
    ("tool_versions", &[Scope::Read, Scope::Tools], So(2), So(2)),
    ("granted_to", &[Scope::Read, Scope::Tools], So(2), Denied),
    ("resolve_all", &[Scope::Tools], So(2), Denied),
    ("resolve", &[Scope::Tools], So(1), Denied),
    ("pick", &[Scope::Tools], So(1), Denied),
    ("register", &[Scope::Tools], So(1), So(1)),
    ("register unproven", &[], So(1), So(1)),
    ("withdraw", &[Scope::Tools], So(1), So(1)),
    ("remove", &[Scope::Tools], So(2), So(2)),
    ("call", &[Scope::Tools], So(1), Denied),
];

async fn ask(desk: &Desk, how: &str, who: &Principal) -> Result<usize> {
    let (t, of, search) = (sought("t"), SessionId::parse("t").unwrap(), Addressee::Named(agent()));
    let approvals = |of| ApprovalQuery { of, state: None, task: None, after: None, limit: 50 };
    let now = std::future::ready;
    match how {
        "submit" => desk.submit(who, submission("new")).await.map(|_| 1),
        "submit_and_wait" => desk.submit_and_wait(who, submission("new"), now(())).await.map(|_| 1),
        "submit_and_follow" => desk.submit_and_follow(who, submission("new")).await.map(|_| 1),
        "retry" => desk.retry(who, &t, None, None).await.map(|_| 1),
        "requeue" => desk.requeue(who, &t, None, None).await.map(|_| 1),
        "get" => desk.get(who, &t).await.map(|_| 1),
        "wait" => desk.wait(who, &t, now(())).await.map(|_| 1),
        "events" => desk.events(who, &t, 0).await.map(|_| 1),
        "list" => desk.list(who, all()).await.map(|page| page.items.len()),
        "list of search" => desk.list(who, TaskQuery { of: search, ..all() }).await.map(|page| page.items.len()),
        "dead_letters" => desk.dead_letters(who, all()).await.map(|page| page.items.len()),
        "cancel" => desk.cancel(who, &t, None).await.map(|_| 1),
        "drop_dead_letter" => desk.drop_dead_letter(who, &t, None).await.map(|_| 1),
        "conversation" => desk.conversation(who, &search, of, None, 50).await.map(|page| page.items.len()),
        "erase" => desk.erase(who, &search, of).await.map(|(_, tasks)| tasks as usize),
        "approvals" => desk.approvals(who, approvals(Addressee::Unsaid)).await.map(|page| page.items.len()),
        "approvals of search" => desk.approvals(who, approvals(search)).await.map(|page| page.items.len()),
        "approval" => desk.approval(who, "asks:1:0").await.map(|_| 1),
        "decide" => desk.decide(who, "asks:1:0", Said { approve: true, reason: None }, None).await.map(|_| 1),
        "agents" => desk.agents(who, "", 50).map(|page| page.items.len()),
        other => ask_of_tools(desk, other, who).await,
    }
}

async fn ask_of_tools(desk: &Desk, how: &str, who: &Principal) -> Result<usize> {
    let (search, wish) = (agent(), ToolWish::parse("pay@^1").unwrap());
    let proof = |why: Option<&str>| Definition {
        definition: serde_json::to_value(catalogue::definition("new", "1.0.0")).unwrap(),
        source: Source::Registered,
        unproven_because: why.map(|why| Reason::parse(why).unwrap()),
    };
    // A run's key is its tenant's.
    let run = || OfRun { key: format!("{}/t:1:0", who.tenant), send: "s".into(), agreed: None };
    let far = ToolCall { tenant: Some(Tenant::parse("far").unwrap()), ..calling::pay() };
    match how {
        "tools" => desk.tools(who, None, 50).await.map(|page| page.items.len()),
        "tool" => desk.tool(who, "pay", None).await.map(|_| 1),
        "tool_versions" => desk.tool_versions(who, "pay", None, 50).await.map(|page| page.items.len()),
        "granted_to" => desk.granted_to(who, &search).await.map(|offers| offers.len()),
        "resolve_all" => desk.resolve_all(who, &search, None).await.map(|(offers, _)| offers.len()),
        "resolve" => desk.resolve(who, &search, &[wish], None).await.map(|(offers, _)| offers.len()),
        "pick" => desk.pick(who, &search, &wish, None).await.map(|_| 1).map_err(refused),
        "register" => desk.register(who, proof(None), None).await.map(|_| 1),
        "register unproven" => desk.register(who, proof(Some("we looked")), None).await.map(|_| 1),
        "withdraw" => desk.withdraw(who, "pay", "i1").await.map(|()| 1),
        "remove" => desk.remove(who, "pay", None).await.map(|versions| versions as usize),
        "call" => desk.call(who, calling::pay(), Direct::default()).await.map(|_| 1).map_err(refused),
        "call for another tenant" => desk.call(who, far, Direct::default()).await.map(|_| 1).map_err(|none| unfielded(refused(none))),
        "call_for_run" => desk.call_for_run(who, calling::pay(), run()).await.map(|_| 1).map_err(refused),
        "probe_for_run" => desk.probe_for_run(who, calling::pay(), run(), None).await.map(|_| 1).map_err(refused),
        "admit" => desk.admit(who, calling::pay(), run(), None).await.map(|_| 1).map_err(refused),
        other => panic!("nobody can ask for {other}"),
    }
}

fn refused(none: NoResult) -> Error {
    match none {
        NoResult::Refused(error) => error,
        NoResult::Went(outcome) => panic!("{outcome:?}"),
    }
}

/// What names the tenant as the fault says that a scope is missing.
fn unfielded(error: Error) -> Error {
    Error { field: error.field.filter(|field| field != "tenant" && field != "run"), ..error }
}

fn admin(tenant: &str, agents: Option<&str>) -> Principal {
    let agents = agents.map(|name| [AgentName::parse(name).unwrap()].into());
    Principal { name: "ann".into(), tenant: Tenant::parse(tenant).unwrap(), agents, scopes: only(Scope::Admin) }
}

/// A node with a dead letter and a task that asks a person, both of `acme`.
async fn world() -> Node {
    let (node, ann) = (node(), admin("acme", None));
    node.desk.submit(&ann, submission("t")).await.unwrap();
    node.poison().await;
    node.desk.submit(&ann, submission("asks")).await.unwrap();
    let claimed = node.claim().await;
    let request = Event::ApprovalRequested(ApprovalRequested {
        id: "asks:1:0".into(),
        index: 0,
        question: Question::MayCall,
        tool: "pay".into(),
        version: "1.0.0".parse().unwrap(),
        contract: "c0".into(),
        way: None,
        arguments: json!({}),
        arguments_hash: "h0".into(),
        expires_at: claimed.now.plus(Duration::from_secs(60)),
    });
    let append = Append {
        claim: claimed.claim.clone(),
        after: 1,
        events: vec![(1, request)],
        signals_read: vec![],
        progress: Progress::default(),
        also: vec![Also::Ask { event: 0 }],
        then: Then::Keep,
    };
    node.store.append(append).await.unwrap();
    node
}

#[tokio::test(start_paused = true)]
async fn everything_in_a_tenant_has_its_scopes_and_admin_has_them_all() {
    for (how, scopes, ..) in TABLE {
        for scope in SCOPES {
            let node = world().await;
            let who = Principal { scopes: only(scope), ..admin("acme", None) };
            let got = ask(&node.desk, how, &who).await;
            let may = scope == Scope::Admin || scopes.contains(&scope);
            match got {
                Ok(_) => assert!(may, "{how} with {scope}"),
                Err(error) => assert!(!may && error.kind == Kind::Denied && error.field.is_none(), "{how} with {scope}: {error}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_goes_beyond_a_tenant_takes_operator_and_no_admin_has_it() {
    for (how, beside) in BESIDE {
        for scope in SCOPES {
            let node = world().await;
            let who = Principal { scopes: only(Scope::Tools).with(scope), ..admin("acme", None) };
            match ask(&node.desk, how, &who).await {
                Ok(_) => assert_eq!(scope, beside, "{how}"),
                Err(error) => {
                    assert!(scope != beside && error.kind == Kind::Denied && error.message.contains("operator"), "{how}: {error}")
                }
            }
            let alone = Principal { scopes: only(scope), ..who };
            assert!(scope == Scope::Tools || ask(&node.desk, how, &alone).await.is_err(), "{how} with {scope} alone");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_an_operator_speaks_for_others_and_hands_on_no_more_than_it_is_told() {
    let tenant = |name: &str| Some(Tenant::parse(name).unwrap());
    let (acme, principal) = (admin("acme", None), Some("bob".to_owned()));
    for (whom, field) in [
        (Whom { tenant: tenant("evil"), ..Whom::default() }, "tenant"),
        (Whom { principal: principal.clone(), ..Whom::default() }, "principal"),
        (Whom { tenant: tenant("acme"), scope: Some(Scope::Operator), ..Whom::default() }, "principal"),
    ] {
        let denied = whom.meant_by(&acme).unwrap_err();
        assert_eq!((denied.kind, denied.field.as_deref()), (Kind::Denied, Some(field)));
    }
    let own = Whom { tenant: tenant("acme"), ..Whom::default() };
    assert_eq!(own.meant_by(&acme).unwrap(), acme, "one speaks for oneself");
    let node = Principal { scopes: only(Scope::Tools).with(Scope::Operator), ..admin("default", None) };
    let meant = |principal: &Option<String>, scope| {
        let whom = Whom { tenant: tenant("acme"), principal: principal.clone(), scope };
        whom.meant_by(&node).unwrap().registrant()
    };
    let (bob, ann) = (meant(&principal, None), meant(&None, None));
    assert_eq!((bob.name.as_str(), bob.admin, bob.operator), ("acme/bob", false, false));
    assert_eq!((ann.name.as_str(), ann.admin, ann.operator), ("acme/ann", true, false), "it may everything in that tenant");
    assert!(meant(&principal, Some(Scope::Operator)).operator);
}

#[tokio::test(start_paused = true)]
async fn what_is_another_tenants_or_another_agents_is_not_there_and_another_agent_is_denied() {
    for (how, _, foreign_tenant, foreign_agent) in TABLE {
        for (who, expected) in [(admin("evil", None), foreign_tenant), (admin("acme", Some("write")), foreign_agent)] {
            let node = world().await;
            let got = match ask(&node.desk, how, &who).await {
                Ok(so_many) => So(so_many),
                Err(error) if error.kind == Kind::NotFound => NotFound,
                Err(error) if error.kind == Kind::Denied && error.field.as_deref() == Some("agent") => Denied,
                Err(error) => panic!("{how} as {who:?}: {error}"),
            };
            assert_eq!(got, expected, "{how} as {who:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_changes_for_those_who_may_not() {
    let node = world().await;
    let nobody = Principal { scopes: Scopes::default(), ..admin("acme", None) };
    let others = [nobody, admin("evil", None), admin("acme", Some("write"))];
    let changing = ["retry", "requeue", "cancel", "drop_dead_letter", "erase", "decide"];
    join_all(changing.iter().flat_map(|how| others.iter().map(|who| ask(&node.desk, how, who)))).await;
    let ann = admin("acme", None);
    assert_eq!(node.desk.list(&ann, all()).await.unwrap().items.len(), 2);
    assert_eq!(node.desk.dead_letters(&ann, all()).await.unwrap().items.len(), 1);
    assert_eq!(node.desk.approval(&ann, "asks:1:0").await.unwrap().decision, None);
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_to_the_agent_it_is_addressed_to_or_names_or_to_the_only_one() {
    let node = node();
    let of = |name: &str| AgentName::parse(name).unwrap();
    let (any, writer, stranger) = (admin("acme", None), admin("acme", Some("write")), admin("acme", Some("gone")));
    let asked = |who: &Principal, addressee: Addressee| match node.desk.agent_for(who, &addressee) {
        Ok(agent) => agent.name.to_string(),
        Err(error) => format!("{:?}", error.kind),
    };
    for (who, addressee, expected) in [
        (&any, Addressee::At(of("search")), "search"),
        (&any, Addressee::At(of("gone")), "NotFound"),
        (&writer, Addressee::At(of("search")), "Denied"),
        (&writer, Addressee::At(of("gone")), "Denied"),
        (&writer, Addressee::Named(of("gone")), "Denied"),
        (&any, Addressee::Named(of("search")), "search"),
        (&any, Addressee::Named(of("gone")), "Invalid"),
        (&writer, Addressee::Named(of("search")), "Denied"),
        (&any, Addressee::Unsaid, "Invalid"),
        (&writer, Addressee::Unsaid, "write"),
        (&stranger, Addressee::Unsaid, "NotFound"),
    ] {
        assert_eq!(asked(who, addressee.clone()), expected, "{addressee:?} of {:?}", who.agents);
    }
    let told = node.desk.agent_for(&any, &Addressee::Unsaid).unwrap_err();
    assert!(told.message.contains("search, write") && told.field.as_deref() == Some("agent"), "{told}");
    assert_eq!(node.desk.askable(&writer).len(), 1);
    assert_eq!(node.desk.askable(&Principal { scopes: only(Scope::Read), ..writer }).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_agents_place_has_its_own_tasks_only() {
    let node = world().await;
    let ann = admin("acme", None);
    let at = |name: &str| Sought { at: Some(AgentName::parse(name).unwrap()), ..sought("t") };
    assert!(node.desk.get(&ann, &at("search")).await.is_ok());
    assert_eq!(node.desk.get(&ann, &at("write")).await.unwrap_err().kind, Kind::NotFound);
    let of = |name: &str| TaskQuery { of: Addressee::At(AgentName::parse(name).unwrap()), ..all() };
    assert_eq!(node.desk.list(&ann, of("write")).await.unwrap().items.len(), 0);
    assert_eq!(node.desk.list(&ann, of("gone")).await.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn who_may_only_run_sees_what_they_asked_for_and_nothing_of_what_others_did() {
    let node = world().await;
    let with =
        |name: &str, scopes: &[Scope]| Principal { name: name.into(), scopes: scopes.iter().copied().collect(), ..admin("acme", None) };
    let (ann, bob) = (with("ann", &[Scope::Run]), with("bob", &[Scope::Run, Scope::Cancel]));
    for how in ["get", "wait", "events", "retry", "requeue"] {
        assert_eq!(ask(&node.desk, how, &ann).await.map_err(|error| error.kind), Ok(1), "{how} of one's own");
    }
    let node = world().await;
    for how in ["get", "wait", "events", "retry", "requeue"] {
        let hidden = ask(&node.desk, how, &bob).await.unwrap_err();
        assert_eq!((hidden.kind, &*hidden.message), (Kind::NotFound, "there is no task `t`"), "{how}: as of a task that is not there");
    }
    let again = node.desk.submit(&bob, submission("t")).await.unwrap_err();
    assert_eq!(again.kind, Kind::Denied, "who guesses what was asked under an id is not told what came of it: {again}");
    assert_eq!(node.desk.list(&bob, all()).await.unwrap_err().kind, Kind::Denied);
    assert!(node.desk.get(&with("eve", &[Scope::Read]), &sought("t")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_may_only_cancel_learns_that_it_ended_and_not_with_what() {
    let node = node();
    node.desk.submit(&me(), submission("t")).await.unwrap();
    node.end(&node.claim().await, 1).await;
    let output = async |who: &Principal| match node.desk.cancel(who, &sought("t"), None).await.unwrap().0 {
        Cancelled::Final(result) => (result.status, result.output),
        Cancelled::Asked(result) => panic!("{result:?}"),
    };
    let stopper = Principal { name: "bob".into(), scopes: only(Scope::Cancel), ..me() };
    assert_eq!(output(&stopper).await, (TaskStatus::Completed, None));
    assert_eq!(output(&me()).await, (TaskStatus::Completed, Some("done".into())));
}

#[tokio::test(start_paused = true)]
async fn where_a_tool_is_called_and_as_whom_is_shown_to_those_who_run_it() {
    for (owner, scopes, sees) in [
        ("operator", &[Scope::Operator, Scope::Read][..], true),
        ("operator", &[Scope::Admin], false),
        ("operator", &[Scope::Tools], false),
        ("operator", &[Scope::Read], false),
        ("acme/ann", &[Scope::Admin], true),
        ("acme/ann", &[Scope::Tools], true),
        ("acme/ann", &[Scope::Read], false),
    ] {
        let node = node();
        node.registry.change("pay@2.0.0", |known| {
            known.owner = owner.into();
            known.realm = if owner == "operator" { Realm::Node } else { Realm::Of(Tenant::parse("acme").unwrap()) };
            known.reason = Some("https://pay.test/health answers 503".into());
            known.overridden = Some("ann: pay.test said so".into());
            let tool = &mut known.definition;
            tool.endpoint = "https://pay.test/charge".into();
            (tool.health_url, tool.probe_url) = (Some("https://pay.test/health".into()), Some("https://pay.test/probe".into()));
            tool.credential = Some("pay.test".into());
            known.instances = vec![Instance {
                id: "i1".into(),
                endpoint: tool.endpoint.clone(),
                state: ToolState::Unhealthy,
                reason: known.reason.clone(),
                source: Source::File,
                lease_ms: None,
            }];
        });
        let who = Principal { scopes: scopes.iter().copied().collect(), ..admin("acme", None) };
        let version = "2.0.0".parse().unwrap();
        let shown = [
            serde_json::to_string(&node.desk.tools(&who, None, 50).await.unwrap().items).unwrap(),
            serde_json::to_string(&node.desk.tool(&who, "pay", Some(&version)).await.unwrap()).unwrap(),
            serde_json::to_string(&node.desk.tool_versions(&who, "pay", None, 50).await.unwrap().items).unwrap(),
        ];
        for shown in shown {
            assert_eq!(shown.contains("pay.test"), sees, "{owner} {scopes:?}: {shown}");
            assert_eq!(shown.contains("acme/ann"), sees && owner != "operator", "{owner} {scopes:?}: {shown}");
        }
    }
}
