//! A project from nothing: `new`, `agent check`, `agent test`, `config`.

use super::{maniple, run, told};
use serde_json::json;
use std::{fs, path::Path};

fn new(dir: &Path) -> std::path::PathBuf {
    let made = run(dir, &["new", "helper"]);
    assert_eq!(made.code, 0, "{made:?}");
    dir.join("helper")
}

#[test]
fn a_new_project_is_right_and_passes_its_own_test() {
    let dir = tempfile::tempdir().expect("a folder");
    let project = new(dir.path());
    let checked = run(&project, &["agent", "check"]);
    assert_eq!((checked.code, checked.out.as_str()), (0, "all right: 1 agent, 1 tool, 3 cases\n"), "{checked:?}");
    let tested = run(&project, &["agent", "test", "--json"]);
    assert_eq!(tested.code, 0, "{tested:?}");
    let verdict = tested.json();
    assert_eq!((&verdict["passed"], &verdict["failed"]), (&json!(3), &json!(0)));
    assert_eq!(verdict["cases"][0]["result"]["output"], "17 * 23 is 391.");
    assert!(run(&project, &["agent", "test"]).out.ends_with("\n3 cases passed\n"));
}

#[test]
fn new_leaves_what_is_there_alone_and_wants_a_name_an_agent_can_have() {
    let dir = tempfile::tempdir().expect("a folder");
    let project = new(dir.path());
    fs::write(project.join("agents/helper.md"), "mine").expect("written");
    let again = run(dir.path(), &["new", "helper"]);
    assert_eq!(again.code, 2);
    assert!(again.err.contains("not empty: nothing was written") && again.err.contains("try:"), "{again:?}");
    assert_eq!(fs::read_to_string(project.join("agents/helper.md")).expect("read"), "mine");
    let illegal = run(dir.path(), &["new", "My Agent", "--json"]);
    assert_eq!((illegal.code, illegal.error()["try"].as_str()), (2, Some("maniple new my-agent")), "{illegal:?}");
    assert!(!dir.path().join("My Agent").exists());
}

#[test]
fn check_tells_every_problem_of_every_file_with_its_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let project = new(dir.path());
    let agent = project.join("agents/helper.md");
    let text = fs::read_to_string(&agent).expect("read");
    fs::write(&agent, text.replace("limits:", "limts:")).expect("written");
    fs::write(project.join("cases/bad.yaml"), "prompt: a\nmodel: [say: b]\nexpect: { ouptut: x }\n").expect("written");
    let checked = run(&project, &["agent", "check"]);
    assert_eq!(checked.code, 1, "{checked:?}");
    for part in
        ["unknown key `limts`", "agents/helper.md:7", "did you mean `limits`?", "cases/bad.yaml:3", "did you mean `output`?", "2 problems"]
    {
        assert!(checked.out.contains(part), "{part}: {}", checked.out);
    }
    let problems = run(&project, &["agent", "check", "--json"]).json();
    assert_eq!(problems["ok"], json!(false));
    assert_eq!((&problems["problems"][0]["line"], &problems["problems"][0]["try"]), (&json!(7), &json!("did you mean `limits`?")));

    fs::remove_file(project.join("cases/bad.yaml")).expect("removed");
    fs::write(&agent, text.replace("tools: [", "tools: [shop_find, ")).expect("written");
    fs::write(project.join("maniple.yaml"), "mcp:\n  shop: { url: \"http://127.0.0.1:9/mcp\" }\n").expect("written");
    let weather = project.join("tools/weather.yaml");
    let tool = fs::read_to_string(&weather).expect("read");
    fs::write(&weather, tool.replace("properties:", "propertes:")).expect("written");
    let checked = run(&project, &["agent", "check"]);
    assert!(checked.err.contains("did you mean `properties`?") && checked.err.contains("weather.yaml"), "{checked:?}");
    fs::write(&weather, tool).expect("written");
    let checked = run(&project, &["agent", "check"]);
    assert!(checked.code == 0 && checked.err.contains("not checked, as a running node imports them: shop_find"), "{checked:?}");

    fs::write(&agent, text.replace("clock", "clokc")).expect("written");
    let checked = run(&project, &["agent", "check"]);
    assert!(checked.out.contains("there is no tool `clokc`") && checked.out.contains("agents/helper.md:6"), "{}", checked.out);
}

#[test]
fn check_finds_what_could_not_work_and_accepts_what_could() {
    let dir = tempfile::tempdir().expect("a folder");
    let project = new(dir.path());
    let agent = project.join("agents/helper.md");
    let text = fs::read_to_string(&agent).expect("read");
    let with = |line: &str| fs::write(&agent, text.replace("version:", &format!("{line}\nversion:"))).expect("written");
    let settings = |text: &str| fs::write(project.join("maniple.yaml"), text).expect("written");
    let check = || told(maniple(&project, &["agent", "check"]).env_remove("OPENAI_API_KEY"));
    let refused = |parts: &[&str]| {
        let checked = check();
        assert_eq!(checked.code, 1, "{checked:?}");
        parts.iter().for_each(|part| assert!(checked.out.contains(part), "{part}: {}", checked.out));
    };
    with("model: gemni/flash");
    refused(&["there is no provider `gemni`", "agents/helper.md:3"]);
    with("model: openai/gpt-5-mini");
    refused(&["model `openai/gpt-5-mini` has no key: set OPENAI_API_KEY", "agents/helper.md:3"]);
    with("model: openai/gpt-5-mini\nfallbacks: [demo/demo]");
    assert_eq!(check().code, 0, "one of its models can be asked");
    with("model: openai/gpt-5-mini");
    fs::write(project.join(".env"), "OPENAI_API_KEY=k\n").expect("written");
    assert_eq!(check().code, 0, "its key is beside the settings");
    fs::write(&agent, &text).expect("written");

    settings("agents: agnets/\n");
    refused(&["there is no folder", "agnets", "maniple.yaml:1"]);
    settings("openapi: { shop: { file: shop.json } }\n");
    refused(&["openapi.shop: there is no file", "maniple.yaml:1"]);
    fs::write(project.join("shop.json"), "{}").expect("written");
    settings("model: demo/demo\nopenapi:\n  shop: { file: shop.json, credential: sky, credentials: { key: sea } }\n");
    refused(&["openapi.shop: there is no credential `sky`", "openapi.shop: there is no credential `sea`", "maniple.yaml:2"]);
    let sky = "credentials:\n  sky: { kind: api_key, hosts: [other.example], header: A, secret: k }\n";
    settings(&format!("openapi:\n  shop: {{ file: shop.json, credential: sky }}\n{sky}"));
    assert_eq!(check().code, 0, "it is there");
    settings("");
    let weather = project.join("tools/weather.yaml");
    let tool = fs::read_to_string(&weather).expect("read");
    fs::write(&weather, format!("{tool}\nauth_type: api_key\ncredential: sky\n")).expect("written");
    refused(&["tool `weather`: ", "`sky`", "weather.yaml:"]);
    settings(sky);
    refused(&["tool `weather`: ", "other.example"]);
    settings("");
    fs::write(&weather, &tool).expect("written");

    fs::write(&agent, text.replace("tools: [", "tools: [stock_level, ")).expect("written");
    let registers = check();
    assert!(registers.code == 0 && registers.err.contains("once they register themselves: stock_level"), "{registers:?}");
    fs::write(project.join("tools/pay_v1.yaml"), tool.replace("name: weather", "name: pay_v1")).expect("written");
    fs::write(&agent, text.replace("tools: [", "tools: [block, pay_v2, ")).expect("written");
    let near = check();
    let parts = ["once they register themselves: block (did you mean clock?), pay_v2 (did you mean pay_v1?)"];
    assert!(near.code == 0 && near.err.contains(parts[0]), "a name of its own is only asked about: {near:?}");
    fs::write(&agent, text.replace("tools: [", "tools: [wether, ")).expect("written");
    refused(&["there is no tool `wether`", "agents/helper.md:6"]);

    fs::remove_file(&agent).expect("removed");
    refused(&["there is no agent in", "agents", "try: maniple new"]);
}

#[test]
fn a_case_that_does_not_hold_shows_what_was_expected_and_what_came() {
    let dir = tempfile::tempdir().expect("a folder");
    let project = new(dir.path());
    let case = "prompt: 2+2?\nmodel:\n  - call: { calculator: { expression: 2 + 2 } }\n  - say: It is 4.\nexpect:\n  output: { equals: It is 5. }\n  tool_calls: []\n";
    fs::write(project.join("cases/wrong.yaml"), case).expect("written");
    let tested = run(&project, &["agent", "test", "cases/wrong.yaml"]);
    assert_eq!(tested.code, 1);
    for part in [
        "FAILED",
        "expected \"It is 5.\"",
        "got      \"It is 4.\"",
        "no further call",
        "calculator {\"expression\":\"2 + 2\"} ok",
        "1 case failed, 0 passed",
    ] {
        assert!(tested.out.contains(part), "{part}: {}", tested.out);
    }
}

#[test]
fn a_case_must_use_all_it_says_and_nothing_leaves_the_machine() {
    let dir = tempfile::tempdir().expect("a folder");
    let project = new(dir.path());
    let unsaid = "prompt: a\nmodel: [{ say: b }, { say: c }]\n";
    let unasked = "prompt: a\nmodel: [{ say: b }]\ntools: { weather: [1] }\n";
    let network = "prompt: a\nmodel: [{ call: { weather: { latitude: 1, longitude: 2 } } }, { say: b }]\n";
    let silent = "prompt: a\nmodel: [{ call: { clock: {} } }]\n";
    let refused = "prompt: a\nmodel: [{ call: { weather: { latitude: 100, longitude: 2 } } }, { say: b }]\nexpect: { tool_calls: [{ name: weather, status: refused }] }\n";
    for (name, case) in [("1", unsaid), ("2", unasked), ("3", network), ("4", silent), ("5", refused)] {
        fs::write(project.join(format!("cases/x{name}.yaml")), case).expect("written");
    }
    let files: Vec<String> = (1..=5).map(|n| format!("cases/x{n}.yaml")).collect();
    let arguments: Vec<&str> = ["agent", "test", "--json"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let verdict = run(&project, &arguments).json();
    let got = |n: usize| verdict["cases"][n]["differences"][0]["got"].as_str().unwrap_or("nothing").to_owned();
    assert!(got(0).contains("called 1 times, and the case has lines for 2"), "{}", got(0));
    assert!(got(1).contains("`weather` was not called for 1"), "{}", got(1));
    assert!(got(2).contains("would leave this machine"), "{}", got(2));
    assert!(got(3).contains("the script has 1 lines and none for call 2"), "{}", got(3));
    assert_eq!(verdict["cases"][4]["passed"], json!(true), "arguments are checked before a fake is asked: {verdict}");
}

#[test]
fn cases_of_one_file_may_be_one_conversation() {
    let dir = tempfile::tempdir().expect("a folder");
    let project = new(dir.path());
    let asked = "prompt: Who am I?\nmodel: [{ say: You are Ann. }]\n";
    let talk = format!("session: s\nprompt: I am Ann.\nmodel: [{{ say: Hello Ann. }}]\n---\nsession: s\n{asked}---\n{asked}");
    fs::write(project.join("cases/talk.yaml"), talk).expect("written");
    let verdict = run(&project, &["agent", "test", "cases/talk.yaml", "--json"]).json();
    let tokens = |case: usize| verdict["cases"][case]["result"]["tokens_used"].as_u64().expect("tokens");
    assert_eq!((&verdict["passed"], &verdict["cases"][1]["result"]["session_id"]), (&json!(3), &json!("s")));
    assert!(tokens(1) > tokens(2), "with a conversation before it the same question weighs more: {verdict}");
}

#[test]
fn config_prints_what_is_in_effect_and_no_secret() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings =
        "listen: 127.0.0.1:9000\nmodels:\n  lab: { api: openai, base_url: \"http://127.0.0.1:1/v1\", api_key: \"${env:LAB_KEY}\" }\n";
    fs::write(dir.path().join("maniple.yaml"), settings).expect("written");
    let printed = |arguments: &[&str]| told(maniple(dir.path(), arguments).env("LAB_KEY", "s3cr3t").env("MANIPLE_STORE", "memory:"));
    let yaml = printed(&["config"]);
    assert_eq!(yaml.code, 0, "{yaml:?}");
    assert!(yaml.out.contains("listen: 127.0.0.1:9000") && yaml.out.contains("***") && yaml.out.contains("memory:"), "{yaml:?}");
    let json = printed(&["config", "--json"]);
    assert_eq!(json.json()["models"]["lab"]["api_key"], "***");
    assert!(!yaml.out.contains("s3cr3t") && !json.out.contains("s3cr3t"));

    let unset = run(dir.path(), &["config"]);
    assert!(unset.code == 2 && unset.err.contains("LAB_KEY is not set"), "{unset:?}");
    fs::write(dir.path().join("maniple.yaml"), "store: \"memory:\"\nlistne: 127.0.0.1:1\n").expect("written");
    let slip = run(dir.path(), &["config"]);
    assert_eq!(slip.code, 2);
    for part in ["unknown key `listne`", "maniple.yaml:2", "try: did you mean `listen`?"] {
        assert!(slip.err.contains(part), "{part}: {slip:?}");
    }
}
