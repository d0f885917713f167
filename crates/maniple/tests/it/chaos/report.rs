//! What came of it, for people: as Markdown.

use super::{
    faults::{Fault, Past},
    fleet::Fleet,
    takeover::Takeovers,
};
use maniple_testkit::checker::Findings;
use std::{collections::BTreeMap, fmt::Write as _, process::Command, time::Duration};

const HEAD: &str = "# Chaos: what a fleet loses

Three apis, three workers and a registry of the built binary, over Postgres, Redis and Kafka of their own. Callers submit tasks over HTTP and Kafka
to conversations with several tasks, deliver one request and one record in ten again, cancel some, call tools themselves, and read event streams
that are cut and go on at another api; every run calls tools of all three effect classes through the registry. Meanwhile every part is hurt at
random, from a seed. At the end everything that was accepted is held against what arrived outside: in the tools, at the readers, in Kafka.

This page is what one run wrote; `scripts/chaos --full --report FILE` makes another. `scripts/chaos` does the same for about a minute, and so do the tests.
";

/// What happened, and what was found.
pub struct Outcome {
    pub seed: u64,
    /// How long it was hurt, how long it then took until everything had its end, and all of it.
    pub hurt: Duration,
    pub settled: Duration,
    pub all: Duration,
    pub past: Past,
    pub takeovers: Takeovers,
    pub findings: Findings,
    pub deadlocks: Vec<String>,
    pub repaired: u64,
    pub followed: u64,
    pub repeated_results: u64,
    /// Tasks that failed, by why.
    pub failed: BTreeMap<&'static str, u64>,
    pub cancelled: u64,
    pub doubted: u64,
    /// Calls that arrived at tools, and calls of the model.
    pub arrivals: u64,
    pub asked: u64,
}

impl Outcome {
    /// Whether every promise was kept. A task that keeps losing its worker without getting anywhere is poisoned, as is promised;
    /// no other one may fail.
    pub fn is_clean(&self) -> bool {
        let others_failed = self.failed.keys().any(|why| *why != "poisoned");
        self.findings.is_clean() && self.deadlocks.is_empty() && self.repaired == 0 && !others_failed
    }
}

pub async fn markdown(fleet: &Fleet, outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").expect("a string takes it");
    let Outcome { seed, hurt, settled, all, past, takeovers, findings, deadlocks, repaired, failed, .. } = outcome;
    let count = |what: &str| fleet.counts.get(what);
    line(HEAD.to_owned());
    line(format!(
        "Seed {seed}. Hurt for {} s, at rest {} s later, {} s with its start and the check of everything.\n",
        hurt.as_secs(),
        settled.as_secs(),
        all.as_secs()
    ));
    line(format!("{}\n", machine(fleet).await));
    line("| what must not be | found |\n|---|---|".into());
    line(format!("| L: accepted tasks without an end | {} |", findings.lost.len()));
    line(format!("| D: side effects beyond their class, as the tools counted them | {} |", findings.doubled.len()));
    line(format!(
        "| V: any other promise broken: a final status, an order, a number of an event, an answer | {} |",
        findings.violated.len()
    ));
    line(format!("| `maniple_store_sessions_repaired_total` | {repaired} |"));
    line(format!("| deadlocks in Postgres | {} |\n", deadlocks.len()));

    line("| fault | times |\n|---|---|".into());
    for fault in Fault::ALL {
        let times = past.faults.iter().filter(|was| was.fault == fault).count();
        line(format!("| {} | {times} |", fault.told()));
    }
    line(format!("| all | {} |\n", past.faults.len()));

    line("| what went on meanwhile | |\n|---|---|".into());
    let (by_http, by_kafka) = (count("tasks by HTTP"), count("tasks by Kafka"));
    line(format!("| tasks accepted | {} ({by_http} by HTTP, {by_kafka} by Kafka) |", by_http + by_kafka));
    line(format!(
        "| of them cancelled; failed | {}; {} |",
        outcome.cancelled,
        if failed.is_empty() { "0".into() } else { format!("{failed:?}") }
    ));
    line(format!("| requests delivered again, at another moment and api | {} |", count("requests delivered again")));
    line(format!("| records delivered again | {} |", count("records delivered again")));
    line(format!("| requests without an answer, asked again | {} |", count("requests without an answer")));
    line(format!("| answers 503, 429 | {}, {} |", count("answers 503"), count("answers 429")));
    line(format!("| model calls; calls that arrived at tools | {}; {} |", outcome.asked, outcome.arrivals));
    line(format!("| of them by callers of tools themselves | {} |", count("calls by callers of tools")));
    line(format!("| calls in doubt | {} |", outcome.doubted));
    line(format!(
        "| streams read to their end, resumed at another api | {}, {} times |",
        outcome.followed,
        count("streams resumed at another api")
    ));
    line(format!("| results told twice over Kafka | {} |", outcome.repeated_results));
    line(format!(
        "| processes that left of their own, as where no database answers at their start | {} |\n",
        count("processes that left of their own")
    ));

    line(
        "| from the death of a worker to the next record of its tasks | deaths | tasks | median | longest |\n|---|---|---|---|---|".into(),
    );
    let row = |ms: &[i64], deaths: usize, what: &str| {
        let seconds = |ms: Option<&i64>| ms.map_or("–".into(), |ms| format!("{:.1} s", *ms as f64 / 1_000.0));
        format!("| {what} | {deaths} | {} | {} | {} |", ms.len(), seconds(ms.get(ms.len() / 2)), seconds(ms.last()))
    };
    line(row(&takeovers.alone_ms, takeovers.alone, "no other worker, database or registry was hurt near it"));
    line(row(&takeovers.among_others_ms, takeovers.among_others, "others were: their own absence is part of it"));
    text
}

async fn machine(fleet: &Fleet) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).map(|name| name.trim_start_matches([' ', '\t', ':']));
    let build = if cfg!(debug_assertions) { "a development build" } else { "a release build" };
    format!(
        "{cores} cores ({}), {:.0} GiB, which the fleet, its servers and its callers share. maniple {} ({build}), {}, {}, Kafka {}.",
        model.unwrap_or("unknown"),
        kib as f64 / f64::from(1 << 20),
        env!("CARGO_PKG_VERSION"),
        postgres(fleet.servers.url("postgres")).await,
        first_line("redis-server", &["--version"]),
        kafka(),
    )
}

async fn postgres(url: &str) -> String {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    let version: String = client.query_one("SHOW server_version", &[]).await.expect("answers").get(0);
    format!("PostgreSQL {version}")
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let said = Command::new(program).args(arguments).output().expect("it is installed");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    // `Redis server v=7.0.15 sha=…`.
    said.split_whitespace().find_map(|word| word.strip_prefix("v=")).map_or(said.clone(), |version| format!("Redis {version}"))
}

fn kafka() -> String {
    let script = include_str!("../../../../../scripts/services");
    script.lines().find_map(|line| line.strip_prefix("KAFKA_VERSION=")).unwrap_or("unknown").to_owned()
}
