use super::*;

fn project(files: &[(&str, &str)]) -> Result<Project, Vec<Problem>> {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let sources =
        Sources { agent_folders: vec![folder.path().join("agents")], agent_files: vec![], tool_folders: vec![folder.path().join("tools")] };
    Project::load(&sources, &TaskLimits::default(), &ModelName::parse("demo/demo").unwrap())
}

fn told(files: &[(&str, &str)]) -> String {
    project(files).expect_err("it was to be refused").iter().map(|problem| format!("{problem}\n")).collect()
}

const AGENT: &str = "---\ndescription: Finds and cites sources.\nversion: 1.0.0\nmodel: openai/gpt-5-mini\nfallbacks: [anthropic/claude-haiku]\ntools: [web_search@^2.1, clock]\nlimits: { max_steps: 10, token_budget: 8192, sync_run: 50s }\nmemory: { window_tokens: 6000 }\nexamples:\n  - { user: \"a\", assistant: \"b\" }\n---\nYou are a researcher. Today is {{ today }}.\n";

const WEB_SEARCH: &str = "name: web_search\nversion: 2.3.0\ndescription: d\nendpoint: http://127.0.0.1:1/x\n";

#[test]
fn the_agent_of_the_contract_is_read_whole() {
    let read = project(&[("agents/search.md", AGENT)]).unwrap();
    let agent = &read.agents[0];
    assert_eq!(
        (agent.name.as_str(), agent.model.as_str(), agent.tools[0].to_string()),
        ("search", "openai/gpt-5-mini", "web_search@^2.1".into())
    );
    assert_eq!((agent.limits.sync_run_ms, agent.memory.window_tokens), (Some(50_000), 6_000));
    assert_eq!(agent.prompt, "You are a researcher. Today is {{ today }}.");
}

#[test]
fn an_agent_without_a_model_asks_the_nodes() {
    let read = project(&[("agents/a.md", "---\ndescription: d\nversion: 1.0.0\n---\nHello.")]).unwrap();
    assert_eq!(read.agents[0].model.as_str(), "demo/demo");
}

#[test]
fn an_unknown_key_is_told_with_file_line_and_the_nearest_key() {
    let told = told(&[("agents/a.md", "---\ndescription: d\nversion: 1.0.0\nfallback: [x/y]\n---\nHello.")]);
    assert!(told.contains("unknown key `fallback`") && told.contains("did you mean `fallbacks`?") && told.contains("a.md:4:1"), "{told}");
}

#[test]
fn every_problem_of_every_file_is_told_at_once() {
    let told = told(&[
        ("agents/a.md", "---\ndescription: d\nversion: 1.0.0\nmodel: gpt\nlimits: { max_steps: 99 }\n---\nToday is {{ today."),
        ("agents/Bad_Name.md", "---\ndescription: d\nversion: 1.0.0\n---\nHello."),
        ("tools/t.yaml", "name: t\nversion: 1.0.0\ndescription: d\nendpoint: http://127.0.0.1:1/x\nscopes: [pay]\n"),
        ("agents/nofront.md", "Hello."),
    ]);
    for part in [
        "PROVIDER/MODEL",
        "max_steps must be 1 to 25",
        "no template",
        "the file's name is the agent's",
        "scopes is not enforced",
        "begins with front matter",
    ] {
        assert!(told.contains(part), "`{part}` is missing in:\n{told}");
    }
    assert!(told.contains("t.yaml:5:1") && told.contains("a.md:4:1") && told.contains("a.md:7:1"), "{told}");
}

#[test]
fn a_readme_beside_agents_is_none() {
    let found = project(&[("agents/README.md", "# Our agents\n"), ("agents/readme.md", "Theirs."), ("agents/a.md", AGENT)]).unwrap();
    assert_eq!(found.agents.iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn front_matter_without_an_end_and_a_version_that_is_a_number_are_told_as_what_they_are() {
    let open = told(&[("agents/a.md", "---\ndescription: d\nversion: 1.0.0\nYou are brief.\n")]);
    assert!(open.contains("the front matter has no end") && open.contains("a.md:4:1"), "{open}");
    let none = told(&[("agents/a.md", "You are brief.\n")]);
    assert!(none.contains("begins with front matter") && none.contains("a.md:1:1"), "{none}");
    for version in ["1", "1.0", "\"1.0\"", "v1", "latest"] {
        let told = told(&[("agents/a.md", &format!("---\ndescription: d\nversion: {version}\n---\nHello."))]);
        assert!(told.contains("a version is three numbers, as in `version: 1.0.0`") && told.contains("a.md:3:"), "{version}: {told}");
    }
}

#[test]
fn the_same_tool_version_twice_is_refused() {
    let tool = "name: t\nversion: 1.0.0\ndescription: d\nendpoint: http://127.0.0.1:1/x\n";
    let told = told(&[("tools/a.yaml", tool), ("tools/b.yaml", tool)]);
    assert!(told.contains("defined twice: in ") && told.contains("a.yaml") && told.contains("b.yaml"), "{told}");
}

#[test]
fn a_definition_that_is_nearly_right_is_refused_with_what_would_make_it_so() {
    let file = |version: &str, kind: &str| {
        let parameters = format!("parameters: {{ type: object, properties: {{ n: {{ type: {kind} }} }} }}\n");
        told(&[("tools/t.yaml", &format!("name: t\nversion: {version}\ndescription: d\nendpoint: http://127.0.0.1:1/x\n{parameters}"))])
    };
    for (version, kind, hint) in
        [("1.0.0", "float", "/parameters/properties/n/type: "), ("\"1.0\"", "number", "/version: \"1.0\" is 1.0.0")]
    {
        let told = file(version, kind);
        assert!(told.contains(&format!("try: {hint}")), "`{hint}` is missing in:\n{told}");
    }
    let told = told(&[("agents/a.md", "---\ndescription: d\ntools: [clock]\n---\nHello.")]);
    assert!(told.contains("the key `version` is missing") && told.contains("try: version: 1.0.0") && !told.contains("clock"), "{told}");
}

#[test]
fn a_fingerprint_changes_with_any_file_and_with_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let sources = Sources { agent_folders: vec![folder.path().to_owned()], ..Sources::default() };
    let empty = fingerprint(&sources);
    assert_eq!(empty, fingerprint(&sources));
    std::fs::write(folder.path().join("a.md"), AGENT).unwrap();
    assert_ne!(empty, fingerprint(&sources));
}

#[test]
fn a_name_no_task_will_fill_is_told_at_its_place_with_the_nearest_one() {
    let body =
        "Hello.\n\ntoday {{ tody }}\n{% for n in range(2) %}{{ n }}{{ context.zone | default(metadata.zone) }}{% endfor %}{{ Session_id }}";
    let problems = project(&[("agents/a.md", &format!("---\ndescription: d\nversion: 1.0.0\n---\n{body}"))]).unwrap_err();
    let told: Vec<_> = problems.iter().map(|p| (p.line, p.message.as_str(), p.hint.as_deref().unwrap_or_default())).collect();
    let expected = [(8, "unknown name `Session_id`", "did you mean `session_id`?"), (7, "unknown name `tody`", "did you mean `today`?")];
    assert_eq!(told, expected);
    assert_eq!(problems[1].column, 10);
}

#[test]
fn a_broken_template_is_told_at_the_line_that_breaks_it() {
    let problems =
        project(&[("agents/a.md", "---\ndescription: d\nversion: 1.0.0\n---\n\nHello.\n{% if today %}\nOh {{ ) }}\n")]).unwrap_err();
    assert_eq!((problems[0].line, problems[0].source_line.as_str()), (8, "Oh {{ ) }}"), "{}", problems[0]);
}

#[test]
fn an_endpoint_that_cannot_work_is_told_at_its_line() {
    let tool = WEB_SEARCH.replace("http://127.0.0.1:1/x", "http://127.0.0.1:1/{id}");
    let told = told(&[("tools/web_search.yaml", &tool)]);
    assert!(told.contains("web_search.yaml:4:1") && told.contains("`id` is no parameter"), "{told}");
}

#[test]
fn an_agent_may_ask_for_a_tool_that_is_registered_later() {
    let agent = "---\ndescription: d\nversion: 1.0.0\ntools: [later@^9]\n---\nHello.";
    assert_eq!(project(&[("agents/a.md", agent)]).unwrap().agents[0].tools[0].to_string(), "later@^9");
}

#[test]
fn an_agent_says_how_its_model_is_to_speak() {
    let agent = "---\ndescription: d\nversion: 1.0.0\ntemperature: 0\ntop_p: 0.9\nseed: 7\nstop: END\nreasoning: high\nmax_output_tokens: 500\nextra: { top_k: 3 }\n---\nHello.";
    let options = project(&[("agents/a.md", agent)]).unwrap().agents[0].options.clone();
    assert_eq!((options.temperature, options.top_p, options.seed, options.max_output_tokens), (Some(0.0), Some(0.9), Some(7), Some(500)));
    assert_eq!((options.stop, options.reasoning.map(|effort| effort.as_str())), (vec!["END".to_owned()], Some("high")));
    assert_eq!(options.extra["top_k"], 3);
    let other = "---\ndescription: d\nversion: 1.0.0\nstop: [A, B]\nreasoning: { effort: low }\n---\nHello.";
    let options = project(&[("agents/a.md", other)]).unwrap().agents[0].options.clone();
    assert_eq!((options.stop.len(), options.reasoning.map(|effort| effort.as_str())), (2, Some("low")));
    assert!(project(&[("agents/a.md", AGENT)]).unwrap().agents[0].options.is_usual(), "and need not");
}

#[test]
fn what_no_model_could_follow_is_told_at_its_line() {
    let agent = "---\ndescription: d\nversion: 1.0.0\ntemperature: 3\nstop: [a, b, c, d, e]\nreasoning: hard\nmax_output_tokens: 1\nextra: { messages: [] }\n---\nHello.";
    let told = told(&[("agents/a.md", agent)]);
    for (part, line) in [
        ("temperature must be 0 to 2, not 3", 4),
        ("stop takes at most 4 texts, not 5", 5),
        ("reasoning must be none, minimal, low, medium or high", 6),
        ("max_output_tokens must be 16 or more, not 1", 7),
        ("extra may not hold `messages`", 8),
    ] {
        assert!(told.contains(part) && told.contains(&format!("a.md:{line}:1")), "`{part}` is missing in:\n{told}");
    }
}
