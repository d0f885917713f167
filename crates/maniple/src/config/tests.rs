use super::*;
use maniple_backends::postgres::Times;
use std::time::Duration;

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
fn how_long_a_database_may_take_is_within_bounds() {
    let config = load("store_lock_timeout: 2s\nstore_connect_timeout: 500ms\n", &[]).unwrap();
    let times = config.store_options().times;
    assert_eq!(times, Times { lock: Duration::from_secs(2), connect: Duration::from_millis(500), ..Times::default() });
    assert_eq!(load("", &[]).unwrap().store_options().times, Times::default(), "the settings' defaults are the store's");
    for (text, wrong) in [
        ("store_connect_timeout: 0s\n", "store_connect_timeout must be 100ms to 5m"),
        ("store_statement_timeout: 2h\n", "store_statement_timeout must be 1s to 1h"),
        ("store_idle_timeout: 1ms\n", "store_idle_timeout must be 1s to 1h"),
    ] {
        let told = refusal(text);
        assert!(told.contains(wrong) && told.contains("maniple.yaml:1:"), "{told}");
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
fn what_the_environment_did_wrong_is_blamed_on_it_and_not_on_the_file() {
    let file = "listen: 127.0.0.1:1\nlimits: { max_steps: 3 }\nworker: { drain: 5s }\n";
    for (name, value, told) in [
        ("MANIPLE_LIMITS__MAX_STEPS", "many", "limits.max_steps: "),
        ("MANIPLE_LIMITS__MAX_STEPS", "1001", "1 to 1000"),
        ("MANIPLE_LIMITS__MAX_STEP", "3", "unknown field `max_step`"),
        ("MANIPLE_WORKER__DRAIN", "soon", "`soon` is no duration"),
        ("MANIPLE_LISTEN", "0.0.0.0:80", "listens on loopback only"),
        ("MANIPLE_LISTEN", "8080", "the host is missing"),
        ("MANIPLE_COLOUR", "red", "unknown field `colour`"),
    ] {
        let refused = format!("{:#}", load(file, &[(name, value)]).expect_err("it was to be refused"));
        assert!(refused.starts_with(&format!("the environment variable {name}: ")), "{name}={value}: {refused}");
        assert!(refused.contains(told) && !refused.contains("maniple.yaml"), "{name}={value}: {refused}");
    }
    let of_file = format!("{:#}", load("listen: x\n", &[("MANIPLE_STORE", "memory:")]).expect_err("it was to be refused"));
    assert!(of_file.contains("maniple.yaml:1:1") && !of_file.contains("environment"), "{of_file}");
}

#[test]
fn an_address_that_is_none_says_what_is_missing() {
    assert_eq!(address("listen", "localhost:8080").unwrap(), "127.0.0.1:8080".parse().unwrap());
    assert_eq!(address("listen", "[::1]:80").unwrap(), "[::1]:80".parse().unwrap());
    for (text, why) in [
        ("8080", "the host is missing"),
        (":8080", "the host is missing"),
        ("127.0.0.1", "the port is missing"),
        ("localhost", "the port is missing"),
        ("127.0.0.1:http", "the port must be a number"),
        ("node.example:80", "an IP address or `localhost`"),
        ("http://127.0.0.1:80", "leave the scheme out"),
    ] {
        let told = address("metrics.listen", text).unwrap_err();
        assert_eq!(told.field.as_deref(), Some("metrics.listen"));
        let told = told.message;
        assert!(told.starts_with("metrics.listen `") && told.contains(why) && told.contains("127.0.0.1:8080"), "{text}: {told}");
    }
}

#[test]
fn who_only_looks_needs_no_secrets_and_who_works_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE_NAME);
    let lab = "models:\n  lab: { api: openai, api_key: \"${env:MANIPLE_TEST_NOT_SET}\" }\n  other: { api: openai, api_key: k }\n";
    let shop = "credentials:\n  shop: { kind: api_key, hosts: [x.test], header: A, secret: \"${file:none}\" }\n";
    let rest = "registry: http://127.0.0.1:1\nregistry_token: \"${env:MANIPLE_TEST_NOT_SET}\"\nlimits: { max_steps: 7 }\n";
    let metrics = "metrics: { token: \"${env:MANIPLE_TEST_NOT_SET}\", listen: \"localhost:9090\" }\n";
    std::fs::write(&file, format!("{lab}{shop}{rest}{metrics}")).unwrap();
    let looking = Config::to_look(&file).unwrap();
    assert_eq!(looking.models.keys().collect::<Vec<_>>(), ["other"]);
    assert_eq!((looking.credentials.len(), looking.registry_token.is_none(), looking.limits.tasks.max_steps), (0, true, 7));
    let (listen, token) = (looking.metrics.check().unwrap(), looking.metrics.token);
    assert_eq!((token.is_none(), listen), (true, "127.0.0.1:9090".parse().ok()), "it may be written as `localhost`");
    let told = format!("{:#}", Config::load(&file).unwrap_err());
    assert!(told.contains("none cannot be read") && told.contains("${file:none}"), "{told}");
    std::fs::write(&file, "store: \"${env:MANIPLE_TEST_NOT_SET}\"\n").unwrap();
    assert!(Config::to_look(&file).is_err(), "without its store nothing can be looked at");
}

#[test]
fn what_stands_in_env_beside_the_settings_is_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "MANIPLE_STORE=memory:\nLAB_TEST_KEY='s3cr$t'\nMANIPLE_WORKER__DRAIN=7s\n").unwrap();
    let file = folder.path().join(FILE_NAME);
    std::fs::write(&file, "models:\n  lab: { api: openai, api_key: \"${env:LAB_TEST_KEY}\" }\n").unwrap();
    let config = Config::load(&file).unwrap();
    assert_eq!((config.store.as_str(), config.worker.drain.as_ms()), ("memory:", 7_000));
    assert_eq!(config.models["lab"].api_key.as_ref().map(|key| key.expose()), Some("s3cr$t"));
    assert_eq!(config.environment.get("LAB_TEST_KEY").as_deref(), Some("s3cr$t"));
    let flagged = Config::with_flags(&file, [("MANIPLE_STORE".to_owned(), "sqlite:a.db".to_owned())]).unwrap();
    assert_eq!(flagged.store, "sqlite:a.db", "a flag is over all of them");
    std::fs::write(folder.path().join(".env"), "MANIPLE_LISTEN=x\n").unwrap();
    let told = format!("{:#}", Config::with_flags(&folder.path().join("none.yaml"), []).unwrap_err());
    assert!(told.starts_with("the variable MANIPLE_LISTEN in .env: "), "{told}");
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
    assert!(refusal("events: nats://x:1").contains("not known to this build"));
}

#[test]
fn events_over_kafka_need_a_postgres_store_and_settings_that_lose_no_task() {
    assert!(refusal("events: kafka://a:9092").contains("Postgres store"));
    let store = "store: postgres://db/maniple\n";
    assert!(load(&format!("{store}events: kafka://a:9092,b:9092\nschema_registry: http://r:8081\n"), &[]).is_ok());
    for (text, why) in [
        ("events: kafka://a", "without a host or a port"),
        ("schema_registry: http://r:8081", "`events` is none"),
        ("events: kafka://a:1\nschema_registry: ftp://r", "http://registry:8081"),
        ("events: kafka://a:1\nkafka: { options: { acks: \"1\" } }", "may not set `acks`"),
        ("events: kafka://a:1\nkafka: { tenant: \"a b\" }", "kafka.tenant"),
        ("events: kafka://a:1\nkafka: { namespace: com.9x }", "kafka.namespace"),
        ("events: kafka://a:1\nkafka: { batch: 0 }", "1 to 10000"),
    ] {
        let told = refusal(&format!("{store}{text}"));
        assert!(told.contains(why), "{text}: {told}");
    }
}

#[cfg(feature = "redis")]
#[test]
fn a_bus_between_processes_goes_with_a_store_that_they_share_and_prints_without_its_password() {
    let shared = "store: postgres://ann@db/maniple\n";
    for (text, told) in [
        ("bus: redis://cache\n".to_owned(), "needs a Postgres store"),
        (format!("{shared}bus: redis-cluster://cache\n"), "Redis Cluster is not supported"),
        (format!("{shared}bus: redis://a,b\n"), "redis+sentinel://"),
        (format!("{shared}bus: elsewhere\n"), "redis://HOST"),
    ] {
        assert!(refusal(&text).contains(told), "{text}: {}", refusal(&text));
    }
    let config = load(&format!("{shared}bus: rediss://:s3cret@cache/3?prefix=blue\n"), &[]).unwrap();
    let printed = config.print().unwrap();
    assert!(printed.contains("rediss://:***@cache:6379/3?prefix=blue") && !printed.contains("s3cret"), "{printed}");
    assert!(matches!(config.store_options().bus, maniple_backends::BusUrl::Redis(_)));
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
