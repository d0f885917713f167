//! What it means that brokers are as they are, and what to do about it.

use super::{
    Keeps,
    look::{Group, Seen},
};
use crate::{Brokers, KafkaSettings, topics};
use maniple_core::{AgentName, finding::Finding, settings::Period};
use std::collections::BTreeMap;

/// A topic that keeps records for less than that loses them to an outage that nobody would call long.
const SHORT: Period = Period::days(1);
/// How many names are said; the rest is counted.
const NAMED: usize = 5;

/// What was seen, judged.
pub(super) fn judge(seen: &Seen, settings: &KafkaSettings, agents: &[AgentName]) -> Vec<Finding> {
    let mut findings = vec![broker(seen), version(seen)];
    if agents.is_empty() {
        findings.push(Finding::warning(
            "topics",
            "there is no agent here, and so no topic to look at",
            "run it where the project's agent files are",
        ));
        return findings;
    }
    findings.push(topics(seen, settings));
    findings.extend(copies(seen));
    findings.extend(retention(seen));
    findings.push(group(&seen.group, settings));
    findings
}

/// Brokers that cannot be reached.
pub(super) fn away(brokers: &Brokers, why: &str) -> Finding {
    let is = |words: &[&str]| words.iter().any(|word| why.to_lowercase().contains(word));
    let next = if is(&["kafka.options"]) {
        "correct `kafka.options`: the client library does not take them"
    } else if is(&["security.protocol", "ssl", "certificate"]) {
        "correct `security.protocol` and `ssl.ca.location` of `kafka.options`, or the port of `events`"
    } else if is(&["sasl", "authentication", "authorization"]) {
        "correct `sasl.mechanisms`, `sasl.username` and `sasl.password` of `kafka.options`"
    } else {
        "start it, or correct `events`, and `security.protocol` of `kafka.options` where it wants TLS or a password: until then records wait \
         in Kafka and results in the store, and nothing is lost"
    };
    Finding::failed("broker", format!("{brokers} cannot be used: {why}"), next)
}

fn broker(seen: &Seen) -> Finding {
    let said = format!("it answers, {} ms from here; {}", seen.took.as_millis(), counted(seen.brokers, "broker"));
    match seen.controller {
        Some(-1) => Finding::warning(
            "broker",
            format!("{said}, and none of them is the controller: nothing can be created, and no other takes over from one that fails"),
            "look at the logs of the controllers",
        ),
        Some(id) => Finding::ok("broker", format!("{said}; the controller is reached through broker {id}")),
        None => Finding::ok("broker", said),
    }
}

fn version(seen: &Seen) -> Finding {
    let said = match &seen.version {
        Some(version) => format!("they speak {version} among each other"),
        None => "they do not name it, as Kafka 4 and other makes do not; all that is asked of them was understood".into(),
    };
    Finding::ok("broker version", said)
}

fn topics(seen: &Seen, settings: &KafkaSettings) -> Finding {
    let refused: BTreeMap<&String, &String> = seen.missing.iter().filter_map(|(topic, why)| Some((topic, why.as_ref()?))).collect();
    if let Some((first, why)) = refused.first_key_value() {
        return Finding::failed(
            "topics",
            format!(
                "{} may not be created here ({why}): records for it have nowhere to go, and results for it wait",
                names(refused.keys())
            ),
            format!("create each, such as: {}", topics::command(settings, first)),
        );
    }
    match seen.missing.len() {
        0 => Finding::ok("topics", format!("all {} are there", seen.topics.len())),
        _ => {
            Finding::ok("topics", format!("{} are there; {} are made when a worker starts", seen.topics.len(), names(seen.missing.keys())))
        }
    }
}

/// Where there are several brokers, a topic should outlive one of them.
fn copies(seen: &Seen) -> Option<Finding> {
    let single: Vec<&String> = seen.topics.iter().filter(|(_, topic)| topic.copies == 1).map(|(name, _)| name).collect();
    (seen.brokers > 1 && !single.is_empty()).then(|| {
        Finding::warning(
            "copies",
            format!("{} lie on one of {} brokers each: with that one their records are away, or gone", names(&single), seen.brokers),
            "give them a replication factor of 3, and min.insync.replicas=2; `kafka.replication` for those to come",
        )
    })
}

/// How long records can be taken, and with that how long the store remembers them.
fn retention(seen: &Seen) -> Vec<Finding> {
    let mut by_keeps: BTreeMap<&Keeps, Vec<&String>> = BTreeMap::new();
    let mut findings = Vec::new();
    for (name, topic) in seen.topics.iter().filter(|(name, _)| topics::is_of_tasks(name)) {
        match &topic.keeps {
            Ok(keeps) => by_keeps.entry(keeps).or_default().push(name),
            Err(why) => findings.push(Finding::warning(
                "retention",
                format!("{name} does not say how long it keeps records: {why}"),
                "let the client describe the settings of topics (the right DescribeConfigs)",
            )),
        }
    }
    findings.extend(by_keeps.into_iter().map(|(keeps, topics)| kept(keeps, &topics)));
    findings
}

fn kept(keeps: &Keeps, topics: &[&String]) -> Finding {
    let Keeps { policy, ms, bytes } = keeps;
    let (names, first) = (names(topics), topics.first().map_or("TOPIC", |topic| topic.as_str()));
    let alter = |setting: &str| format!("kafka-configs.sh --bootstrap-server HOST:PORT --alter --topic {first} --add-config {setting}");
    if policy.split(',').any(|policy| policy.trim() == "compact") {
        return Finding::failed(
            "retention",
            format!("{names}: cleanup.policy is {policy}, and of a session's records all but the newest go, taken or not"),
            alter("cleanup.policy=delete"),
        );
    }
    let within =
        if *bytes < 0 { String::new() } else { format!(", and at most {bytes} bytes a partition: beyond, the oldest go, taken or not") };
    let Ok(ms) = u64::try_from(*ms) else {
        let said = match *bytes < 0 {
            true => {
                "records are kept for ever, and so the store remembers each of them for ever: `ingest` grows with every record".to_owned()
            }
            false => format!("records are kept for any time{within}; the store remembers each as long"),
        };
        return Finding::warning("retention", format!("{names}: {said}"), alter("retention.ms=604800000"));
    };
    let said = format!("{names}: records are kept for {}{within}; the store remembers each as long", Period::ms(ms));
    match ms < SHORT.as_ms() {
        true => Finding::warning(
            "retention",
            format!("{said}. What waits longer, because the store or all workers are away, is gone before it is taken"),
            alter("retention.ms=604800000"),
        ),
        false => Finding::ok("retention", said),
    }
}

fn group(group: &Result<Group, String>, settings: &KafkaSettings) -> Finding {
    let name = &settings.group;
    let group = match group {
        Ok(group) => group,
        Err(why) => {
            return Finding::warning(
                "group",
                format!("the group `{name}` was not told of: {why}"),
                "let the client describe the group and read its offsets (the right Describe)",
            );
        }
    };
    let waiting = format!("{} waiting", counted(group.waiting, "record"));
    if group.lost > 0 {
        return Finding::failed(
            "group",
            format!(
                "{} gone before the group `{name}` took them, as their topic kept them no longer; {waiting}",
                counted(group.lost, "record")
            ),
            "keep records longer, and have their senders send these again",
        );
    }
    match group.members {
        0 if group.waiting > 0 => {
            Finding::warning("group", format!("nobody takes records as the group `{name}`; {waiting}"), "start a worker: maniple serve")
        }
        0 => Finding::ok("group", format!("nobody takes records as the group `{name}`, and none wait")),
        members => {
            let state = group.state.to_lowercase();
            Finding::ok("group", format!("{} in the group `{name}`, which is {state}; {waiting}", counted(members, "worker")))
        }
    }
}

fn counted(count: impl TryInto<u64>, what: &str) -> String {
    match count.try_into().unwrap_or(0) {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// The first names, and how many more there are.
fn names(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
    match names.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..NAMED].join(", ")),
    }
}

#[cfg(test)]
mod tests;
