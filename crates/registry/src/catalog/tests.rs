use super::*;
use maniple_core::{Tenant, ports::Registrant, tool::Effect};
use serde_json::{Value, json};

fn tool(name: &str, version: &str) -> ToolDefinition {
    let url = "http://tools.test/x";
    serde_json::from_value(json!({ "name": name, "version": version, "description": "d", "endpoint": url })).expect("a definition")
}
fn resolved(catalog: &Catalog, wishes: &[&str]) -> Result<Vec<String>, String> {
    let wishes: Vec<_> = wishes.iter().map(|w| ToolWish::parse(w).expect("a wish")).collect();
    let tools = catalog.resolve(&Tenant::default(), &AgentName::parse("a").expect("a name"), &wishes).map_err(|e| e.to_string())?;
    Ok(tools.iter().map(|t| format!("{} {}", t.definition.name, t.definition.version)).collect())
}
fn refused(endpoint: &str, parameters: Value) -> String {
    let mut definition = tool("t", "1.0.0");
    definition.endpoint = endpoint.into();
    definition.parameters = parameters;
    Catalog::new(vec![definition]).err().map_or_else(String::new, |errors| errors[0].to_string())
}

#[test]
fn a_wish_gets_the_highest_version_in_its_range() {
    let catalog = Catalog::new(["1.2.0", "1.10.0", "1.9.0", "2.0.0", "3.0.0-rc.1"].map(|v| tool("search", v)).into()).expect("good ones");
    assert_eq!(resolved(&catalog, &["search"]), Ok(vec!["search 2.0.0".into()]));
    assert_eq!(resolved(&catalog, &["search@^1.2", "clock"]), Ok(vec!["search 1.10.0".into(), "clock 1.0.0".into()]));
    assert_eq!(resolved(&catalog, &["search@=3.0.0-rc.1"]), Ok(vec!["search 3.0.0-rc.1".into()]));
}

#[test]
fn what_is_missing_is_named_with_what_there_is() {
    let catalog = Catalog::new(vec![tool("web_search", "1.0.0"), tool("web_search", "1.1.0")]).expect("good ones");
    let wishes = ["web_serach", "clock@^7", "zzz", "clock"].map(|wish| ToolWish::parse(wish).expect("a wish"));
    let message =
        catalog.check_wishes(&Tenant::default(), &AgentName::parse("a").expect("a name"), &wishes).expect_err("missing").to_string();
    assert_eq!(
        message,
        "agent `a`: there is no tool `web_serach`; did you mean `web_search` (1.0.0, 1.1.0)?; tool `clock` has no version in `^7`; \
         there is 1.0.0; there is no tool `zzz`; there are calculator, clock, http_fetch, web_search; tool `clock` is listed twice"
    );
}

#[test]
fn a_tool_that_was_taken_out_is_gone_and_the_agents_that_list_it_go_on_without_it() {
    let catalog = Catalog::default();
    let by = Registrant { name: "ann".into(), tenant: Tenant::default(), admin: false, operator: false };
    let origin = Origin::of(by, Source::Added, None).expect("it may be added");
    for version in ["1.0.0", "2.0.0"] {
        let accepted = catalog.plan(&origin, vec![tool("t", version).into()]).all().expect("a good one").remove(0);
        catalog.join(&origin, accepted, None);
    }
    assert_eq!(resolved(&catalog, &["t@^1", "clock"]), Ok(vec!["t 1.0.0".into(), "clock 1.0.0".into()]));
    catalog.forget(&Realm::Of(Tenant::default()), "t", Some(&Version::new(1, 0, 0)));
    assert_eq!(resolved(&catalog, &["t@^1", "clock"]), Ok(vec!["clock 1.0.0".into()]), "nothing is left in its range");
    catalog.forget(&Realm::Of(Tenant::default()), "t", None);
    assert_eq!(resolved(&catalog, &["t", "clock"]), Ok(vec!["clock 1.0.0".into()]), "nothing is left of its name");
}

fn take(catalog: &Catalog, definitions: Vec<ToolDefinition>, files: Files) -> Result<(), Vec<String>> {
    let (files, incoming) = (Origin::File(files), definitions.into_iter().map(Incoming::from).collect());
    let accepted = catalog.plan(&files, incoming).all().map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    catalog.put(&files, accepted);
    Ok(())
}
fn at(endpoint: &str, definition: ToolDefinition) -> ToolDefinition {
    ToolDefinition { endpoint: endpoint.into(), ..definition }
}

#[test]
fn a_replacement_is_whole_or_nothing() {
    let catalog = Catalog::new(vec![tool("old", "1.0.0")]).expect("a good one");
    let mut bad = tool("bad", "1.0.0");
    bad.description = " ".into();
    let errors =
        take(&catalog, vec![bad, tool("new", "1.0.0"), tool("new", "1.0.0"), tool("clock", "1.0.0")], Files::Strict).expect_err("bad");
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors[2].contains("built in"), "{errors:?}");
    assert_eq!(resolved(&catalog, &["old"]).map(|found| found.len()), Ok(1));
    take(&catalog, vec![tool("new", "1.0.0")], Files::Strict).expect("a good one");
    assert_eq!(resolved(&catalog, &["old"]), Ok(vec![]), "it is known, and nobody serves it");
    assert!(resolved(&catalog, &["new", "calculator", "clock", "http_fetch"]).is_ok());
}

#[test]
fn a_version_that_is_published_keeps_its_contract_and_may_have_many_instances() {
    let catalog = Catalog::new(vec![tool("t", "1.0.0")]).expect("a good one");
    let mut other = tool("t", "1.0.0");
    other.description = "another".into();
    let told = take(&catalog, vec![other.clone()], Files::Strict).expect_err("changed").join("");
    assert!(
        told.contains("1.0.0 is published with another contract") && told.contains("1.0.1") && told.contains("maniple tool rm t@1.0.0"),
        "{told}"
    );

    take(&catalog, vec![other.clone()], Files::Looking).expect("looked at");
    assert_eq!(resolved(&catalog, &["t"]), Ok(vec![]));
    let seen = catalog.versions(&Tenant::default(), "t").expect("known");
    assert_eq!((seen[0].state, seen[0].definition.description.as_str()), (ToolState::Quarantined, "another"));

    take(&catalog, vec![other], Files::Lenient).expect("somebody writes it");
    assert_eq!(resolved(&catalog, &["t"]), Ok(vec!["t 1.0.0".into()]));

    let two = vec![at("http://a.test/", tool("u", "1.0.0")), at("http://b.test/", tool("u", "1.0.0"))];
    take(&catalog, two, Files::Strict).expect("one version at two places");
    assert_eq!(catalog.versions(&Tenant::default(), "u").expect("known")[0].instances.len(), 2);
}

#[test]
fn a_minor_version_that_breaks_callers_is_refused_with_the_breaks_and_a_major_one_is_not() {
    let with = |version: &str, parameters: Value| ToolDefinition { parameters, ..tool("search", version) };
    let before = json!({ "type": "object", "additionalProperties": false, "properties": { "q": { "type": "string" } } });
    let narrower = json!({ "type": "object", "additionalProperties": false, "properties": { "q": { "type": "string", "maxLength": 3 } } });
    let both = json!({ "q": { "type": "string" }, "page": { "type": "integer" } });
    let wider = json!({ "type": "object", "additionalProperties": false, "properties": both });
    let told = Catalog::new(vec![with("1.0.0", before.clone()), with("1.1.0", narrower.clone())]).err().expect("narrowed")[0].to_string();
    assert!(told.contains("1.1.0 after 1.0.0") && told.contains("maxLength") && told.contains("2.0.0"), "{told}");
    let told = Catalog::new(vec![with("0.1.3", before.clone()), with("0.1.4", narrower.clone())]).err().expect("narrowed")[0].to_string();
    assert!(told.contains("make it 0.2.0"), "{told}");

    let catalog = Catalog::new(vec![with("2.0.0", narrower), with("1.0.0", before), with("1.1.0", wider)]).expect("they may");
    assert_eq!(resolved(&catalog, &["search@^1"]), Ok(vec!["search 1.1.0".into()]));
    assert_eq!(resolved(&catalog, &["search"]), Ok(vec!["search 2.0.0".into()]), "two majors live side by side");
    let versions = catalog.versions(&Tenant::default(), "search").expect("known");
    assert_eq!(versions[1].verdict, Some(maniple_core::tool::Verdict::Compatible));
    assert_eq!(versions[0].verdict, Some(maniple_core::tool::Verdict::Breaking));
    assert!(!versions[0].changes.is_empty());
}

#[test]
fn who_ever_brings_it_only_a_major_version_takes_less_care() {
    let careful = |version: &str| ToolDefinition { requires_approval: true, ..tool("pay", version) };
    let unasked = |version: &str| tool("pay", version);
    let repeatable = |version: &str| ToolDefinition { effect: Some(Effect::Idempotent), ..careful(version) };
    let by = Registrant { name: "ann".into(), tenant: Tenant::default(), admin: true, operator: true };
    let because = || Some("we looked".to_owned());
    let origins = [
        Origin::File(Files::Strict),
        Origin::Mcp { server: "m".into() },
        Origin::Openapi { document: "d".into(), has_base_url: true },
        Origin::of(by.clone(), Source::Registered, because()).expect("it may"),
        Origin::of(by, Source::Added, because()).expect("it may"),
    ];
    for origin in origins {
        let catalog = Catalog::default();
        let bring = |definition: ToolDefinition| {
            let accepted = catalog.plan(&origin, vec![Incoming::from(definition)]).all().map_err(|errors| errors[0].to_string())?;
            let loosened = accepted[0].loosened.clone();
            accepted.into_iter().for_each(|one| drop(catalog.join(&origin, one, None)));
            Ok::<_, String>(loosened)
        };
        bring(careful("1.1.0")).expect("the first");
        for (definition, told) in [
            (unasked("1.2.0"), "approval no longer required"),
            (unasked("1.1.1"), "make it 2.0.0"),
            (repeatable("1.2.0"), "effect loosened"),
            (unasked("1.0.0"), "within one line every version takes the same care"),
        ] {
            // What an import may be repeated by is an operator's word.
            if origin.policy().effect_is_confirmed && told == "effect loosened" {
                continue;
            }
            let refused = bring(definition).expect_err(told);
            assert!(refused.contains(told), "{origin:?}: {refused}");
        }
        bring(unasked("2.0.0")).expect("a major one may");
        bring(careful("1.2.0")).expect("it takes the same care");
    }
}

#[test]
fn who_writes_a_file_is_told_what_it_breaks_and_goes_on() {
    let careful = |version: &str| ToolDefinition { requires_approval: true, ..tool("pay", version) };
    let narrow = json!({ "type": "object", "required": ["id"], "properties": { "id": { "type": "string" } } });
    let narrower = ToolDefinition { parameters: narrow, ..tool("pay", "1.0.2") };
    let bring = |catalog: &Catalog, files: Files, definition: ToolDefinition| {
        let origin = Origin::File(files);
        let mut accepted = catalog.plan(&origin, vec![definition.into()]).all().map_err(|errors| errors[0].to_string())?;
        let (loosened, breaks) = (accepted[0].loosened.clone(), accepted[0].breaks.take());
        catalog.put(&origin, accepted);
        Ok::<_, String>((loosened, breaks))
    };
    let catalog = Catalog::default();
    let write = |definition| bring(&catalog, Files::Lenient, definition).expect("somebody writes it");
    assert_eq!(write(tool("pay", "1.0.0")), (vec![], None));
    let below = ToolDefinition { effect: Some(Effect::Pure), ..tool("pay", "0.9.0") };
    assert_eq!(write(below).1, None, "another line");
    for (definition, told) in [(careful("1.0.1"), "approval now required"), (narrower, "make it 2.0.0")] {
        let version = definition.version.clone();
        let (_, breaks) = write(definition);
        assert!(breaks.as_ref().is_some_and(|breaks| breaks.contains(told)), "{told}: {breaks:?}");
        assert_eq!(resolved(&catalog, &["pay"]), Ok(vec![format!("pay {version}")]), "it is used");
    }
    write(careful("3.0.0"));
    assert_eq!(write(tool("pay", "3.0.0")).0.len(), 1, "and what less care its own version takes");

    let deployed = Catalog::new(vec![tool("pay", "1.0.0")]).expect("a good one");
    let told = bring(&deployed, Files::Strict, careful("1.0.1")).expect_err("a patch that breaks callers");
    assert!(told.contains("approval now required") && told.contains("make it 2.0.0"), "{told}");
}

#[test]
fn an_effect_that_is_confirmed_applies_under_the_version_that_is_published() {
    let effect = |effect| ToolDefinition { effect: Some(effect), ..tool("t", "1.0.0") };
    for origin in [Origin::Mcp { server: "m".into() }, Origin::Openapi { document: "d".into(), has_base_url: true }] {
        let catalog = Catalog::default();
        let bring = |definition: ToolDefinition| {
            let accepted = catalog.plan(&origin, vec![definition.into()]).all().expect("it may");
            let quarantine = accepted[0].quarantine.clone();
            catalog.put(&origin, accepted);
            quarantine
        };
        let used = || {
            let offers =
                catalog.resolve(&Tenant::default(), &AgentName::parse("a").expect("a name"), &[ToolWish::parse("t").expect("a wish")]);
            offers.expect("known").first().map(|offer| offer.definition.effect())
        };
        assert_eq!((bring(effect(Effect::AtMostOnce)), used()), (None, Some(Effect::AtMostOnce)));
        for said in [Effect::Pure, Effect::AtMostOnce, Effect::Idempotent] {
            assert_eq!((bring(effect(said)), used()), (None, Some(said)), "{origin:?}");
        }
        let patch = ToolDefinition { version: Version::new(1, 0, 1), ..effect(Effect::Pure) };
        assert_eq!((bring(patch), used()), (None, Some(Effect::Pure)), "with a new version too");

        let other = ToolDefinition { description: "another".into(), ..effect(Effect::Idempotent) };
        let why = bring(other).expect("it is not what was published");
        assert!(why.contains("maniple tool rm t@1.0.0") && why.contains("used from then on"), "{why}");
    }
}

#[test]
fn a_pre_release_is_what_is_meant_where_there_is_no_release() {
    let catalog = Catalog::new(vec![tool("t", "1.0.0-rc.1"), tool("t", "1.0.0-rc.2"), tool("u", "0.9.0"), tool("u", "1.0.0-rc.1")]);
    let catalog = catalog.expect("good ones");
    assert_eq!(resolved(&catalog, &["t", "u"]), Ok(vec!["t 1.0.0-rc.2".into(), "u 0.9.0".into()]));
    let pick = |range: &str, granted: &str| {
        let wish = ToolWish { name: "t".into(), range: range.parse().expect("a range") };
        let picked = catalog.pick_within(&Tenant::default(), &wish, &granted.parse().expect("a range"), true);
        picked.map(|offer| offer.definition.version.to_string()).map_err(|(_, why)| why)
    };
    assert_eq!(pick("*", "*"), Ok("1.0.0-rc.2".into()));
    assert_eq!(pick("*", "=1.0.0-rc.1"), Ok("1.0.0-rc.1".into()), "who names none means what was granted");
    assert_eq!(pick("=1.0.0-rc.1", "*"), Ok("1.0.0-rc.1".into()));
    assert!(pick("=1.0.0-rc.1", "=1.0.0-rc.2").is_err_and(|why| why.contains("was granted as `=1.0.0-rc.2`")));
}

#[test]
fn a_tool_whose_server_is_still_being_connected_to_is_waited_for_not_missing() {
    let catalog = Catalog::default();
    let agent = AgentName::parse("a").expect("a name");
    let settled = |wish: &str| {
        let wishes = [ToolWish::parse("clock").expect("a wish"), ToolWish::parse(wish).expect("a wish")];
        let offers = catalog.resolve(&Tenant::default(), &agent, &wishes).expect("what there is");
        let checked = catalog.check_wishes(&Tenant::default(), &agent, &wishes).is_ok();
        (catalog.is_settled(&wishes, &offers).map_err(|error| (error.kind, error.message.into_owned())), checked)
    };
    catalog.set_connecting("files", true);
    let told = "tool `files_read`: the mcp server `files` is still being connected to".to_owned();
    assert_eq!(settled("files_read"), (Err((maniple_core::Kind::Unavailable, told)), true));
    assert_eq!(settled("filesystem"), (Ok(()), false), "another's");
    catalog.set_connecting("files", false);
    assert_eq!(settled("files_read"), (Ok(()), false));
}

#[test]
fn what_changed_under_a_pin_is_quarantined_and_says_so() {
    let catalog = Catalog::new(vec![at("http://good.test/", tool("t", "1.0.0"))]).expect("a good one");
    catalog.pin(Pins::of(&catalog.list(&Tenant::default(), None, 100)));
    assert_eq!(resolved(&catalog, &["t", "clock"]).map(|found| found.len()), Ok(2));

    take(&catalog, vec![at("http://evil.test/", tool("t", "1.0.0")), tool("t", "1.0.1")], Files::Strict).expect("it moved");
    assert_eq!(resolved(&catalog, &["t"]), Ok(vec![]));
    let seen = catalog.versions(&Tenant::default(), "t").expect("known");
    assert_eq!((seen[0].state, seen[1].state), (ToolState::Quarantined, ToolState::Quarantined));
    assert!(seen[0].reason.as_deref().is_some_and(|why| why.contains("pins 1.0.0, not 1.0.1")), "{seen:?}");
    assert!(seen[1].reason.as_deref().is_some_and(|why| why.contains("evil.test")), "{seen:?}");
}

#[test]
fn an_endpoint_that_could_never_work_is_refused_by_what_is_wrong_with_it() {
    let object = json!({ "type": "object", "properties": { "id": { "type": "string" } }, "required": ["id"] });
    for (endpoint, why) in [
        ("builtin:clok", "did you mean `clock`"),
        ("ftp://x.test/", "http"),
        ("not a url", "no URL"),
        ("http://u:p@x.test/", "credentials"),
        ("http://{id}.test/", "only in the path"),
        ("http://x.test/a?q={id}", "only in the path"),
        ("http://x.test/{id", "not closed"),
        ("http://x.test/{idd}", "`idd` is no parameter"),
        ("http://x.test/#{id}", "only in the path"),
    ] {
        let message = refused(endpoint, object.clone());
        assert!(message.contains(why), "{endpoint}: {message:?}");
    }
    assert!(refused("http://x.test/{id}", json!({ "type": "object", "properties": { "id": {} } })).contains("required"));
    assert_eq!(refused("http://x.test/{id}/of/{id}?fixed=1", object), "");
}
