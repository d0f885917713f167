use super::{super::look::Topic, *};
use maniple_core::finding::State;
use std::time::Duration;

const DAY: i64 = 24 * 3_600_000;

fn agent() -> AgentName {
    AgentName::parse("shop").expect("legal")
}
fn keeps(policy: &str, ms: i64, bytes: i64) -> Result<Keeps, String> {
    Ok(Keeps { policy: policy.into(), ms, bytes })
}
/// One broker with the topics of one agent.
fn seen(keeps: Result<Keeps, String>) -> Seen {
    let topics = [agent().tasks_topic(), agent().dead_letters_topic(), agent().results_topic()];
    Seen {
        took: Duration::from_millis(3),
        brokers: 1,
        controller: Some(1),
        version: None,
        topics: topics.into_iter().map(|name| (name, Topic { copies: 1, keeps: keeps.clone() })).collect(),
        missing: BTreeMap::new(),
        group: Ok(Group { state: "Stable".into(), members: 2, waiting: 5, lost: 0 }),
    }
}
fn judged(seen: &Seen) -> Vec<Finding> {
    judge(seen, &KafkaSettings::default(), &[agent()])
}
/// The one finding of that name.
fn of(check: &str, findings: &[Finding]) -> (State, String, String) {
    let found: Vec<&Finding> = findings.iter().filter(|finding| finding.check == check).collect();
    assert_eq!(found.len(), 1, "{check}: {findings:?}");
    (found[0].state, found[0].said.clone(), found[0].next.clone().unwrap_or_default())
}

#[test]
fn where_all_is_as_it_should_be_nothing_is_to_be_done() {
    let findings = judged(&seen(keeps("delete", 7 * DAY, -1)));
    assert!(findings.iter().all(|finding| finding.state == State::Ok && finding.next.is_none()), "{findings:?}");
    assert!(of("group", &findings).1.contains("2 workers in the group `maniple`, which is stable; 5 records waiting"), "{findings:?}");
    let (_, said, _) = of("retention", &findings);
    assert_eq!(said, "agent.tasks.shop: records are kept for 7d; the store remembers each as long");
}

#[test]
fn how_long_a_topic_keeps_records_is_said_and_what_comes_of_it() {
    for (policy, ms, bytes, state, words) in [
        ("delete", -1, -1, State::Warning, "for ever, and so the store remembers each of them for ever"),
        ("delete", -1, 1_000, State::Warning, "at most 1000 bytes a partition"),
        ("delete", DAY - 1, -1, State::Warning, "gone before it is taken"),
        ("delete", DAY, -1, State::Ok, "kept for 1d"),
        ("compact", 7 * DAY, -1, State::Failed, "all but the newest go"),
        ("compact,delete", 7 * DAY, -1, State::Failed, "all but the newest go"),
    ] {
        let (found, said, next) = of("retention", &judged(&seen(keeps(policy, ms, bytes))));
        assert!(found == state && said.contains(words), "{policy} {ms} {bytes}: {found:?} {said}");
        assert_eq!(next.contains("--topic agent.tasks.shop --add-config"), state != State::Ok, "{next}");
    }
    let (state, said, _) = of("retention", &judged(&seen(Err("not allowed".into()))));
    assert!(state == State::Warning && said.contains("not allowed"), "{said}");
}

#[test]
fn a_missing_topic_is_no_fault_unless_it_may_not_be_created() {
    let mut seen = seen(keeps("delete", 7 * DAY, -1));
    seen.topics.remove("agent.results.shop");
    seen.missing.insert("agent.results.shop".into(), None);
    let (state, said, _) = of("topics", &judged(&seen));
    assert!(state == State::Ok && said.contains("2 are there; agent.results.shop are made when a worker starts"), "{said}");
    seen.missing.insert("agent.results.shop".into(), Some("not allowed".into()));
    let (state, said, next) = of("topics", &judged(&seen));
    assert!(state == State::Failed && said.contains("not allowed"), "{said}");
    assert!(next.ends_with("--create --topic agent.results.shop --partitions 6"), "{next}");
}

#[test]
fn records_that_nobody_takes_and_records_that_were_lost_are_said() {
    let with = |members, waiting, lost| {
        let group = Ok(Group { state: "Empty".into(), members, waiting, lost });
        of("group", &judged(&Seen { group, ..seen(keeps("delete", 7 * DAY, -1)) }))
    };
    assert_eq!(with(0, 0, 0).0, State::Ok);
    let (state, said, next) = with(0, 1, 0);
    assert!(state == State::Warning && said.contains("1 record waiting") && next.contains("maniple serve"), "{said} {next}");
    let (state, said, _) = with(1, 0, 3);
    assert!(state == State::Failed && said.contains("3 records gone before"), "{said}");
    let unknown = Seen { group: Err("not allowed".into()), ..seen(keeps("delete", 7 * DAY, -1)) };
    assert_eq!(of("group", &judged(&unknown)).0, State::Warning);
}

#[test]
fn of_several_brokers_one_must_not_have_the_only_copy_and_one_must_be_the_controller() {
    let several = Seen { brokers: 3, controller: Some(-1), ..seen(keeps("delete", 7 * DAY, -1)) };
    let findings = judged(&several);
    assert_eq!((of("copies", &findings).0, of("broker", &findings).0), (State::Warning, State::Warning));
    assert!(of("broker", &findings).1.contains("none of them is the controller"));
}

#[test]
fn a_broker_that_cannot_be_used_says_what_to_correct() {
    let brokers: Brokers = "kafka://h:1".parse().expect("legal");
    let next = |why: &str| away(&brokers, why).next.expect("something to do");
    assert!(next("h:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused").contains("correct `events`"));
    assert!(next("SASL authentication error: Authentication failed").contains("sasl.password"));
    assert!(next("SSL handshake failed: certificate verify failed").contains("ssl.ca.location"));
    assert!(next("No such configuration property: look at kafka.options").contains("does not take them"));
    assert_eq!(away(&brokers, "x").state, State::Failed);
}
