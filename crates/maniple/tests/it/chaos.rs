//! A fleet of the built binary over Postgres, Redis and Kafka of its own, all of which are hurt at random while callers go on: nothing is
//! lost, nothing is done twice, and nothing else that is promised breaks, as seen from outside.
//!
//! `scripts/chaos` runs it by these: `MANIPLE_CHAOS_SECONDS` says how long it is hurt (18), `MANIPLE_SEED` with which dice, and
//! `MANIPLE_CHAOS_REPORT` names a file that what came of it is written to, as Markdown.

mod courier;
mod direct;
mod faults;
mod fleet;
mod follow;
mod load;
mod report;
mod servers;
mod takeover;

use crate::survival::{number, reader, seed};
use fastrand::Rng;
use fleet::Fleet;
use futures::StreamExt as _;
use load::Known;
use maniple_core::task::{ErrorCode, TaskStatus};
use maniple_testkit::checker::{Checker, Findings};
use servers::Servers;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const GENEROUS: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fleet_whose_every_part_is_hurt_loses_nothing_and_repeats_nothing() {
    let (seconds, seed) = (number("MANIPLE_CHAOS_SECONDS").unwrap_or(18), seed());
    let (mut dice, started) = (Rng::with_seed(seed), Instant::now());
    let fleet = Fleet::start(Servers::start()).await;
    let (known, stop, stop_keeping) = (Known::default(), CancellationToken::new(), CancellationToken::new());
    let keeping = tokio::spawn(fleet.clone().keep(stop_keeping.clone()));
    tokio::spawn(load::tell(fleet.clone(), known.clone(), stop_keeping.clone()));
    let mut callers = load::begin(&fleet, &known, &mut dice, &stop);
    let readers = tokio::spawn(follow::some(fleet.clone(), known.clone(), dice.fork(), stop.clone()));
    let courier = tokio::spawn(courier::send(fleet.clone(), known.clone(), dice.fork(), stop.clone()));
    let direct = tokio::spawn(direct::call(fleet.clone(), dice.fork(), stop.clone()));

    let began = Instant::now();
    let past = faults::rage(&fleet, dice.fork(), Duration::from_secs(seconds)).await;
    let hurt = began.elapsed();
    stop.cancel();
    fleet.is_ready().await;
    while let Some(called) = callers.join_next().await {
        called.expect("no caller found anything wrong");
    }
    let told = direct.await.expect("no caller of tools found anything wrong");
    let sent = courier.await.expect("the courier found nothing wrong");
    let unsettled = settle(&fleet, &known).await;
    let followed = readers.await.expect("no reader found anything wrong");
    let results = courier::Results::read(fleet.servers.url("kafka"), &sent).await;
    let settled = began.elapsed() - hurt;

    let ended = check(&fleet, &known, &followed).await;
    let mut findings = std::mem::take(&mut *fleet.found.lock().expect("no panic"));
    findings.lost.extend(ended.found.lost);
    findings.doubled.extend(ended.found.doubled);
    findings.violated.extend(ended.found.violated);
    findings.lost.extend(unsettled.iter().map(|id| format!("{id} has no end after {settled:?}")));
    findings.violated.extend(results.wrong(&sent));
    direct::check(&fleet.world.ledger.arrivals(), &told, &mut findings);
    let log = fleet.world.log();
    findings.violated.extend(log.lines().filter(|line| line.contains("panicked")).map(str::to_owned));
    let database = fleet.servers.url("postgres");
    let outcome = report::Outcome {
        seed,
        hurt,
        settled,
        all: started.elapsed(),
        takeovers: takeover::measure(database, &past.deaths, &past.faults).await,
        deadlocks: [past.deadlocks.clone(), faults::deadlocks_in(&fleet.servers.said("postgres"))].concat(),
        repaired: log.matches("a session waited for nobody").count() as u64,
        followed: followed.number() as u64,
        repeated_results: results.repeated,
        failed: ended.failed,
        cancelled: ended.cancelled,
        doubted: ended.doubted,
        arrivals: fleet.world.ledger.arrivals().len() as u64,
        asked: fleet.world.model.asked(),
        past,
        findings,
    };
    let text = report::markdown(&fleet, &outcome).await;
    println!("{text}");
    if let Ok(file) = std::env::var("MANIPLE_CHAOS_REPORT") {
        std::fs::write(&file, &text).expect("the report can be written");
    }
    stop_keeping.cancel();
    keeping.await.expect("whoever leaves is started again");
    if !outcome.is_clean() {
        let kept = std::env::temp_dir().join(format!("maniple-chaos-{seed}.log"));
        std::fs::write(&kept, log).expect("the log can be kept");
        outcome.deadlocks.iter().for_each(|said| eprintln!("{said}"));
        panic!("seed {seed}: {:#?}\nthe log of all processes is kept in {}", outcome.findings, kept.display());
    }
    for place in &fleet.places {
        place.lock().await.leave(GENEROUS).await;
    }
}

/// Waits until everything has its end. What has none in time.
async fn settle(fleet: &Arc<Fleet>, known: &Known) -> Vec<maniple_core::TaskId> {
    let stop = CancellationToken::new();
    let looking = tokio::spawn(load::look(fleet.clone(), known.clone(), Rng::new(), stop.clone()));
    let until = Instant::now() + GENEROUS;
    while known.unfinished() > 0 && Instant::now() < until {
        sleep(Duration::from_millis(50)).await;
    }
    stop.cancel();
    looking.await.expect("nothing accepted is gone");
    known.unended()
}

/// What every task came to.
struct Ended {
    found: Findings,
    failed: BTreeMap<&'static str, u64>,
    cancelled: u64,
    doubted: u64,
}

/// Reads every journal once more, and holds them against what arrived at the tools and what readers saw.
async fn check(fleet: &Arc<Fleet>, known: &Known, followed: &follow::Followed) -> Ended {
    let mut checker = Checker::new();
    let (mut failed, mut cancelled, mut doubted, mut unlike) = (BTreeMap::new(), 0, 0, Vec::new());
    let read = futures::stream::iter(known.everything()).map(|id| async {
        let door = fleet.doors.any(&mut Rng::new()).clone();
        let (result, events) = (reader::seen(&door, &id).await, reader::events(&door, &id).await);
        (id, result, events)
    });
    let mut read = std::pin::pin!(read.buffer_unordered(16));
    while let Some((id, result, events)) = read.next().await {
        unlike.extend(followed.compare(&id, &events));
        doubted += events.iter().filter(|event| event.data.get().contains("\"in_doubt\"")).count() as u64;
        if let Some(result) = &result {
            if let Err(changed) = known.saw(result.clone()) {
                unlike.push(changed);
            }
            cancelled += u64::from(result.status == TaskStatus::Cancelled);
            if result.status == TaskStatus::Failed {
                *failed.entry(result.error.map_or("", ErrorCode::as_str)).or_default() += 1;
            }
        }
        checker.task(id, result, events);
    }
    checker.arrivals(fleet.world.ledger.arrivals().into_iter().filter(|arrival| !direct::is_direct(arrival)));
    checker.one_clock(5);
    let mut found = checker.check();
    found.violated.append(&mut unlike);
    Ended { found, failed, cancelled, doubted }
}
