use super::*;

fn load(text: &str, environment: &[(&str, &str)]) -> anyhow::Result<Config> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join(FILE_NAME);
    std::fs::write(&file, text)?;
    let variables: Vec<(String, String)> = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let known = variables.clone();
    Config::load_with(&file, move |name| known.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()), variables.into_iter())
}

fn refusal(text: &str) -> String {
    format!("{:#}", load(text, &[]).expect_err("it was to be refused"))
}

#[test]
fn an_empty_file_is_all_defaults_that_suit_a_laptop() {
    let config = load("", &[]).unwrap();
    assert_eq!((config.listen.as_str(), config.store.as_str()), ("127.0.0.1:8080", "sqlite:maniple.db"));
    assert_eq!((config.limits.tasks.max_steps, config.limits.tasks.token_budget), (25, 32_768));
}

#[test]
fn an_unknown_key_names_the_nearest_one_the_file_and_the_line() {
    let told = refusal("listen: 127.0.0.1:1\nlimits:\n  max_step: 3\n");
    assert!(told.contains("unknown key `max_step`") && told.contains("did you mean `max_steps`?"), "{told}");
    assert!(told.contains("maniple.yaml:3:3") && told.contains("3 |   max_step: 3"), "{told}");
}

#[test]
fn a_wrong_value_is_told_where_it_stands_whoever_owns_the_section() {
    for (section, key) in [("worker", "poll"), ("limits", "header_read")] {
        let told = refusal(&format!("listen: 127.0.0.1:1\n{section}:\n  {key}: soon\n  other: 1\n"));
        assert!(told.contains("`soon` is no duration: write 500ms, 50s"), "{told}");
        assert!(told.contains("maniple.yaml:3:"), "{told}");
    }
    for (text, wrong) in [
        ("limits:\n  session_waiting: 7\n  unfinished_tasks: many\n", "\"many\", expected u64"),
        ("mcp:\n  a:\n    confirm: some\n", "`some` confirms nothing: write `all`, or a list of tools"),
        ("mcp:\n  a:\n    version: newest\n", "version `newest` is no SemVer such as 1.2.0"),
    ] {
        let told = refusal(text);
        assert!(told.contains(wrong) && told.contains("maniple.yaml:3:"), "{told}");
    }
}

#[test]
fn a_section_of_several_owners_gives_each_its_own() {
    let config = load("limits: { max_steps: 30, header_read: 5s, unfinished_tasks: 7 }\n", &[]).unwrap();
    let limits = config.limits;
    assert_eq!((limits.tasks.max_steps, limits.door.header_read.as_ms(), limits.desk.unfinished_tasks), (30, 5_000, 7));
    assert_eq!((limits.tasks.token_budget, limits.desk.session_waiting, limits.door.json_depth), (32_768, 100, 64));
}

#[test]
fn a_variable_that_names_no_setting_names_the_known_ones() {
    let told = format!("{:#}", load("", &[("MANIPLE_LIMITS__MAX_STEP", "3")]).expect_err("it was to be refused"));
    assert!(told.contains("limits") && told.contains("unknown field `max_step`") && told.contains("`unfinished_tasks`"), "{told}");
}

#[test]
fn the_environment_lies_over_the_file_at_any_depth() {
    let config = load(
        "limits: { max_steps: 30 }\nstore: sqlite:a.db\n",
        &[("MANIPLE_LIMITS__MAX_STEPS", "50"), ("MANIPLE_STORE", "memory:"), ("MANIPLE_URL", "http://x")],
    )
    .unwrap();
    assert_eq!((config.limits.tasks.max_steps, config.store.as_str()), (50, "memory:"));
}

#[test]
fn a_wrong_environment_variable_is_named_by_its_path() {
    let told = format!("{:#}", load("", &[("MANIPLE_LIMITS__MAX_STEPS", "many")]).expect_err("it was to be refused"));
    assert!(told.contains("limits.max_steps"), "{told}");
}

#[test]
fn secrets_come_from_outside_and_print_as_stars() {
    let config = load(
        "models:\n  lab: { api: openai, base_url: \"http://127.0.0.1:1/v1\", api_key: \"${env:LAB_KEY}\" }\n",
        &[("LAB_KEY", "s3cr3t")],
    )
    .unwrap();
    let printed = config.print().unwrap();
    assert!(printed.contains("***") && !printed.contains("s3cr3t") && !format!("{config:?}").contains("s3cr3t"), "{printed}");
    let told = refusal("models:\n  lab: { api: openai, api_key: \"${env:NO_SUCH_KEY}\" }\n");
    assert!(told.contains("NO_SUCH_KEY is not set"), "{told}");
}

#[test]
fn what_is_printed_can_be_read_again() {
    let config = load("worker: { drain: 20s }\n", &[]).unwrap();
    let again = load(&config.print().unwrap(), &[]).unwrap();
    assert_eq!(again.worker, config.worker);
    assert_eq!(again.limits, config.limits);
}

#[test]
fn without_auth_only_loopback_is_listened_on() {
    assert!(refusal("listen: 0.0.0.0:8080\n").contains("--insecure"));
    assert!(load("listen: 0.0.0.0:8080\ninsecure: true\n", &[]).is_ok());
    let token = "a".repeat(64);
    assert!(load(&format!("listen: 0.0.0.0:8080\nauth: {{ tokens: [{{ name: ci, sha256: {token} }}] }}\n"), &[]).is_ok());
}

#[test]
fn what_is_not_in_this_build_is_refused_by_name() {
    for text in ["bus: redis://x", "events: kafka://x:1"] {
        assert!(refusal(text).contains("not in this build"), "{text}");
    }
}

#[test]
fn a_registry_elsewhere_is_named_by_its_address() {
    assert!(load("registry: http://registry:8080\nregistry_token: t\n", &[]).is_ok());
    for text in ["registry: elsewhere", "registry: ftp://x", "registry: ''"] {
        assert!(refusal(text).contains("http://registry:8080"), "{text}");
    }
}

#[test]
fn ceilings_have_ceilings() {
    assert!(refusal("limits: { max_steps: 1001 }").contains("1 to 1000"));
    assert!(refusal("limits: { token_budget: 10000001 }").contains("512 to 10000000"));
}

#[test]
fn credentials_are_read_and_print_as_stars() {
    let text = "credentials:
  shop: { kind: api_key, hosts: [api.shop.example], header: X-Api-Key, secret: \"${env:SHOP_KEY}\" }
  crm:
    kind: oauth2
    hosts: [\"*.crm.example\"]
    token_url: https://login.crm.example/token
    client_id: maniple
    secret: \"${env:SHOP_KEY}\"
    scopes: [read, write]
    auth_style: body
";
    let config = load(text, &[("SHOP_KEY", "s3cr3t")]).unwrap();
    assert_eq!(format!("{:?}", config.credentials().unwrap()), r#"["crm", "shop"]"#);
    let printed = config.print().unwrap();
    assert!(printed.contains("***") && printed.contains("login.crm.example"), "{printed}");
    assert!(!printed.contains("s3cr3t") && !format!("{config:?}").contains("s3cr3t"), "{printed}");
    assert!(load(&printed, &[]).is_ok(), "what is printed can be read again: {printed}");
}

#[test]
fn a_credential_that_could_not_work_is_refused_where_it_stands() {
    for (fields, told) in [
        ("kind: api_key, hosts: [x.test], secret: s3cr3t", "header or `query`"),
        ("kind: api_key, hosts: [x.test], secret: s3cr3t, header: a, query: b", "header or `query`"),
        ("kind: api_key, hosts: [x.test], secret: s3cr3t, header: a, token_url: b", "token_url belongs to the other kind"),
        ("kind: api_key, hosts: [], secret: s3cr3t, header: a", "hosts must list 1 to 64"),
        ("kind: api_key, hosts: [\"http://x.test\"], secret: s3cr3t, header: a", "hosts has `http://x.test`"),
        ("kind: api_key, hosts: [x.test], secret: \"\", header: a", "secret is empty"),
        ("kind: oauth2, hosts: [x.test], secret: s3cr3t, client_id: a", "token_url must say"),
        ("kind: oauth2, hosts: [x.test], secret: s3cr3t, client_id: a, token_url: b", "token_url must be an http"),
        ("kind: oauth2, hosts: [x.test], secret: s3cr3t, token_url: \"http://x\"", "client_id must say"),
        ("kind: basic, hosts: [x.test], secret: s3cr3t", "unknown value `basic`"),
        ("kind: api_key, secret: s3cr3t, header: a", "hosts"),
    ] {
        let refused = refusal(&format!("listen: 127.0.0.1:1\ncredentials:\n  shop: {{ {fields} }}\n"));
        assert!(refused.contains(told), "{fields}: {refused}");
        assert!(refused.contains("maniple.yaml:"), "{fields}: {refused}");
    }
}
