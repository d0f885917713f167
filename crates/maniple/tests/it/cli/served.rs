//! Nodes: how they are found, what they say of themselves, whom they let in.

use super::{
    PATIENCE, Told, Watchdog,
    around::{Node, demo, signal, until},
    maniple, run, told,
};
use serde_json::Value;
use std::{fs, io::BufReader, net::TcpListener, path::Path, process::Stdio, time::Instant};

#[test]
fn a_running_node_is_found_by_its_store_and_stops_gracefully() {
    let dir = demo();
    let node = Node::dev(dir.path());
    let agents = run(dir.path(), &["agent", "ls", "--json"]).json();
    assert_eq!(agents["agents"][0]["name"], "assistant", "without a project a built-in assistant answers");
    // The store has one owner, so an answer can only come from that node.
    assert_eq!(run(dir.path(), &["run", "What is 1 + 1?"]).code, 0);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let by_url = run(elsewhere.path(), &["task", "ls", "--url", &node.url, "--json"]).json();
    assert_eq!(by_url["tasks"].as_array().map(Vec::len), Some(1));
    let second = told(&mut maniple(dir.path(), &["dev", "--listen", "127.0.0.1:0"]));
    assert!(second.code == 6 && second.err.contains("belongs to process"), "{second:?}");
    assert_eq!(node.stop(), Some(0));
    assert_eq!(run(dir.path(), &["task", "ls", "--json"]).json()["tasks"].as_array().map(Vec::len), Some(1));
}

#[test]
fn an_address_in_use_says_how_to_take_another() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let dir = demo();
    let told = run(dir.path(), &["dev", "--listen", &address]);
    assert!(told.code == 6 && told.err.contains(&address) && told.err.contains("try: --listen"), "{told:?}");
}

#[test]
fn the_banner_says_where_what_and_how_to_try_it() {
    let dir = demo();
    let mut child =
        maniple(dir.path(), &["dev", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    let _watched = Watchdog::over(child.id());
    let banner = until(&mut BufReader::new(child.stdout.take().expect("piped")), "built-in assistant");
    signal(&child, "INT");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    for part in
        ["assistant  demo/demo  clock, calculator, http_fetch", "/docs", "maniple run \"", "curl http://127.0.0.1:", "maniple new NAME"]
    {
        assert!(banner.contains(part), "{part}: {banner}");
    }
}

#[test]
fn the_banner_says_which_tools_of_an_agent_are_not_there() {
    let dir = tempfile::tempdir().expect("a folder");
    assert_eq!(run(dir.path(), &["new", "helper"]).code, 0);
    let (project, agent) = (dir.path().join("helper"), dir.path().join("helper/agents/helper.md"));
    let text = fs::read_to_string(&agent).expect("read").replace("tools: [", "tools: [shop_open_ticket, ");
    fs::write(&agent, text).expect("written");
    let mut child =
        maniple(&project, &["dev", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    let _watched = Watchdog::over(child.id());
    let banner = until(&mut BufReader::new(child.stdout.take().expect("piped")), "Ctrl-C stops");
    signal(&child, "INT");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(banner.contains("shop_open_ticket (not there yet), calculator, clock, weather"), "{banner}");
}

#[test]
fn a_changed_file_is_used_by_the_next_task_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().expect("a folder");
    assert_eq!(run(dir.path(), &["new", "helper"]).code, 0);
    let project = dir.path().join("helper");
    let file = project.join("agents/helper.md");
    let text = fs::read_to_string(&file).expect("read");
    let mut node = Node::start(maniple(&project, &["dev"]).stderr(Stdio::piped()));
    let mut log = BufReader::new(node.child.stderr.take().expect("piped"));
    let version = || run(&project, &["agent", "ls", "--url", &node.url, "--json"]).json()["agents"][0]["version"].clone();
    fs::write(&file, text.replace("version: 0.1.0", "vresion: 0.2.0")).expect("written");
    let warned = until(&mut log, "did you mean");
    assert!(warned.contains("not taken over") && warned.contains("helper.md:3") && !warned.contains('\x1b'), "{warned}");
    assert_eq!(version(), "0.1.0");
    fs::write(&file, text.replace("version: 0.1.0", "version: 0.3.0")).expect("written");
    until(&mut log, "new tasks use them");
    let begun = Instant::now();
    while version() != "0.3.0" {
        assert!(begun.elapsed() < PATIENCE, "the change was never taken over");
    }
}

#[test]
fn a_node_with_tokens_refuses_strangers_and_knows_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    // sha256 of "sesame"
    let hash = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272";
    let tokens = format!("tokens: [{{ name: me, sha256: {hash}, tenant: default, scopes: [run, read, cancel] }}]");
    fs::write(dir.path().join("maniple.yaml"), format!("model: demo/demo\nauth:\n  {tokens}\n")).expect("written");
    let node = Node::dev(dir.path());
    let stranger = run(dir.path(), &["run", "hello", "--json"]);
    assert_eq!(stranger.code, 4, "{stranger:?}");
    assert!(stranger.error()["try"].as_str().is_some_and(|next| next.contains("MANIPLE_TOKEN")), "{stranger:?}");
    let known: Told = told(maniple(dir.path(), &["run", "hello"]).env("MANIPLE_TOKEN", "sesame"));
    assert_eq!(known.code, 0, "{known:?}");

    let (project, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let settings = project.path().join("maniple.yaml");
    let (file, named) = (project.path().join(".env"), settings.to_str().expect("text"));
    fs::write(&file, format!("MANIPLE_URL={}\nMANIPLE_TOKEN=sesame\n", node.url)).expect("written");
    for (dir, arguments) in
        [(&project, &[][..]), (&elsewhere, &["--config", named]), (&elsewhere, &["--config", named, "--url", &node.url])]
    {
        let listed = run(dir.path(), &[&["task", "ls"], arguments].concat());
        assert!(
            listed.code == 0 && listed.out.contains("hello"),
            "`.env` beside the settings says which node, and with which token: {listed:?}"
        );
    }
    fs::write(&file, "MANIPLE_TOKEN=s3cr3t x\n").expect("written");
    let slip = run(project.path(), &["task", "ls", "--url", &node.url]);
    assert!(slip.code == 2 && slip.err.contains("line 1 is no NAME=VALUE") && !slip.err.contains("s3cr3t"), "{slip:?}");
}

#[test]
fn serve_takes_one_agent_file_and_refuses_roles_it_cannot_part() {
    let dir = tempfile::tempdir().expect("a folder");
    assert_eq!(run(dir.path(), &["new", "helper"]).code, 0);
    let project = dir.path().join("helper");
    fs::copy(project.join("agents/helper.md"), project.join("agents/other.md")).expect("copied");
    for (roles, part) in [(&["--role", "api"][..], "only over a Postgres store"), (&["--role", "console"], "not in this build")] {
        let refused = run(&project, &[&["serve"], roles].concat());
        assert!(refused.code == 2 && refused.err.contains(part) && refused.err.contains("try:"), "{refused:?}");
    }
    let open = run(&project, &["serve", "--listen", "0.0.0.0:0"]);
    assert!(open.code == 2 && open.err.contains("loopback only") && open.err.contains("--insecure"), "{open:?}");
    let missing = run(&project, &["serve", "--config", "nothing.yaml"]);
    assert!(missing.code == 2 && missing.err.contains("there are no settings at nothing.yaml"), "{missing:?}");
    let closed = run(&project, &["serve", "--config", "maniple.yaml/x"]);
    assert!(closed.code == 2 && closed.err.contains("maniple.yaml/x cannot be read: "), "{closed:?}");
    let node =
        Node::start(maniple(&project, &["serve", "--agent", "agents/other.md", "--role", "api", "--role", "worker"]).stderr(Stdio::null()));
    let agents = run(&project, &["agent", "ls", "--url", &node.url, "--json"]).json();
    let names: Vec<&Value> = agents["agents"].as_array().expect("agents").iter().map(|agent| &agent["name"]).collect();
    assert_eq!(names, ["other"]);
}

#[test]
fn a_node_that_its_registry_or_its_database_keeps_from_working_does_not_start_and_says_what_to_look_at() {
    let (dir, of_registry) = (demo(), demo());
    let hash = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272"; // of "sesame"
    let auth = format!("auth: {{ tokens: [{{ name: fleet, sha256: {hash}, scopes: [tools, operator] }}] }}\n");
    fs::write(of_registry.path().join("maniple.yaml"), &auth).expect("written");
    let registry = Node::start(maniple(of_registry.path(), &["serve", "--role", "registry"]).stderr(Stdio::null()));
    let named = |token: &str| format!("{auth}registry: {}\nregistry_token: {token}\n", registry.url);
    fs::write(dir.path().join("maniple.yaml"), named("nonsense")).expect("written");
    let refused = run(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
    assert!(refused.code == 4 && refused.err.contains("registry_token") && !refused.err.contains("MANIPLE_TOKEN"), "{refused:?}");
    fs::write(dir.path().join("maniple.yaml"), named("sesame")).expect("written");
    assert_eq!(Node::start(maniple(dir.path(), &["serve"]).stderr(Stdio::null())).stop(), Some(0));
    // One that is away may come yet.
    fs::write(dir.path().join("maniple.yaml"), format!("{auth}registry: http://127.0.0.1:1\n")).expect("written");
    assert_eq!(Node::start(maniple(dir.path(), &["serve"]).stderr(Stdio::null())).stop(), Some(0));

    fs::write(dir.path().join("maniple.yaml"), "store: postgres://ann@127.0.0.1:1/maniple\n").expect("written");
    let away = run(dir.path(), &["serve", "--listen", "127.0.0.1:0", "--config", "maniple.yaml"]);
    assert!(away.code == 3 && away.err.contains("try: maniple doctor --config maniple.yaml"), "{away:?}");
}

#[test]
fn a_node_without_an_agent_says_where_it_looked_for_one() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("maniple.yaml"), "agents: [agnets, more]\n").expect("written");
    let mut node = Node::start(maniple(dir.path(), &["serve"]).stderr(Stdio::piped()));
    let warned = until(&mut BufReader::new(node.child.stderr.take().expect("piped")), "there is no agent here");
    assert!(warned.contains("agnets, ") && warned.contains("more"), "{warned}");
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn the_examples_are_right_and_pass_their_own_tests() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut projects = 0;
    for folder in fs::read_dir(&examples).expect("examples").flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let checked = run(&folder, &["agent", "check"]);
        assert_eq!(checked.code, 0, "{}: {checked:?}", folder.display());
        let tested = run(&folder, &["agent", "test"]);
        assert_eq!(tested.code, 0, "{}: {tested:?}", folder.display());
        projects += 1;
    }
    assert!(projects >= 2);
}

#[test]
fn commands_need_no_secrets_of_the_node_they_speak_to() {
    let dir = demo();
    let node = Node::dev(dir.path());
    let secret = "\"${env:NOT_SET_HERE}\"";
    let settings = format!(
        "model: demo/demo\nmodels: {{ lab: {{ api: openai, api_key: {secret} }} }}\nmetrics: {{ token: {secret} }}\n\
        credentials: {{ shop: {{ kind: api_key, hosts: [shop.example], header: X-Key, secret: {secret} }} }}\n"
    );
    fs::write(dir.path().join("maniple.yaml"), settings).expect("written");
    fs::create_dir(dir.path().join("tools")).expect("made");
    let tool = "name: pay\nversion: 1.0.0\ndescription: Pays.\nendpoint: https://shop.example/pay\nauth_type: api_key\n\
        credential: shop\neffect: idempotent\nparameters: { type: object, properties: {} }\n";
    fs::write(dir.path().join("tools/pay.yaml"), tool).expect("written");
    assert_eq!(run(dir.path(), &["run", "What is 1 + 1?"]).code, 0, "the node that runs has them");
    assert_eq!(run(dir.path(), &["task", "ls"]).code, 0);
    node.stop();
    let looked = run(dir.path(), &["task", "ls", "--json"]);
    assert_eq!((looked.code, looked.json()["tasks"].as_array().map(Vec::len)), (0, Some(1)), "what it left can be looked at");
    let tools = run(dir.path(), &["tool", "ls"]);
    assert!(tools.code == 0 && tools.out.contains("pay"), "a tool is shown without the credential it names: {tools:?}");
    let asked = run(dir.path(), &["run", "hello"]);
    assert!(asked.code == 2 && asked.err.contains("NOT_SET_HERE is not set"), "to work, they are needed: {asked:?}");
}

#[test]
fn an_address_without_a_scheme_is_one_and_what_is_none_is_said() {
    let dir = demo();
    let node = Node::dev(dir.path());
    let port = node.url.rsplit(':').next().expect("a port");
    for url in [format!("127.0.0.1:{port}"), format!("localhost:{port}/")] {
        let listed = run(dir.path(), &["agent", "ls", "--url", &url]);
        assert_eq!(listed.code, 0, "{url}: {listed:?}");
    }
    let wrong = run(dir.path(), &["agent", "ls", "--url", "ftp://x"]);
    assert!(wrong.code == 2 && wrong.err.contains("`ftp://x` is no address of a node: write http://HOST:PORT"), "{wrong:?}");
}
