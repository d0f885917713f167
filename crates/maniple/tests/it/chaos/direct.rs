//! Callers of tools themselves, through the apis and the registry, each call under a key until its outcome is known.

use super::{fleet::Fleet, load::ANSWER_MAX};
use fastrand::Rng;
use maniple_testkit::{checker::Findings, ledger::Arrival};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often a call is asked for whose outcome nobody says.
const ASKED_MAX: usize = 6;
const TOOLS: [&str; 3] = ["look", "put", "pay"];

/// Calls whose result was told, by their mark.
pub type Told = BTreeSet<String>;

/// One call after the other until told to stop.
pub async fn call(fleet: Arc<Fleet>, mut dice: Rng, stop: CancellationToken) -> Told {
    let mut told = Told::new();
    for number in 0_u64.. {
        if stop.is_cancelled() {
            break;
        }
        let (tool, mark) = (TOOLS[dice.usize(0..TOOLS.len())], format!("direct-{number}"));
        fleet.counts.one("calls by callers of tools");
        let mut first: Option<Value> = None;
        for _ in 0..ASKED_MAX {
            let Some(answer) = ask(&fleet, tool, &mark, number, &mut dice).await else {
                sleep(Duration::from_millis(300)).await;
                continue;
            };
            match &first {
                Some(first) if *first != answer => fleet.violated(format!("{mark} of {tool} was told as {first} and as {answer}")),
                // Once more: its record answers.
                None if dice.u8(0..4) == 0 => first = Some(answer),
                _ => {
                    told.insert(mark);
                    break;
                }
            }
        }
        sleep(Duration::from_millis(dice.u64(50..250))).await;
    }
    told
}

/// The result, where it is told.
async fn ask(fleet: &Fleet, tool: &str, mark: &str, number: u64, dice: &mut Rng) -> Option<Value> {
    let door = fleet.doors.any(dice);
    let call = json!({ "agent": "plain", "arguments": { "mark": mark, "place": "direct", "nonce": number } });
    let request = door.client.post(format!("{}/tools/{tool}/invoke", door.url)).header("Idempotency-Key", mark).json(&call);
    let answer = request.timeout(ANSWER_MAX).send().await.ok()?;
    let status = answer.status();
    let body: Value = answer.json().await.ok()?;
    match status.as_u16() {
        200 => Some(body["result"].clone()),
        502..=504 => None,
        _ => {
            fleet.violated(format!("a call of {tool} was answered {status} {body}"));
            None
        }
    }
}

/// Whether a call that arrived is of these callers.
pub fn is_direct(arrival: &Arrival) -> bool {
    arrival.arguments["place"] == "direct"
}

/// What arrived beyond its class, or was told and never arrived.
pub fn check(arrivals: &[Arrival], told: &Told, found: &mut Findings) {
    let mut calls: BTreeMap<&str, Vec<&Arrival>> = BTreeMap::new();
    for arrival in arrivals.iter().filter(|arrival| is_direct(arrival)) {
        calls.entry(arrival.arguments["mark"].as_str().unwrap_or_default()).or_default().push(arrival);
    }
    for (mark, arrivals) in &calls {
        let keys: BTreeSet<_> = arrivals.iter().map(|arrival| &arrival.key).collect();
        match arrivals[0].tool.as_str() {
            "pay" if arrivals.len() > 1 => found.doubled.push(format!("`{mark}`, at most once, arrived {} times", arrivals.len())),
            "put" if keys.len() > 1 => found.doubled.push(format!("`{mark}`, idempotent, arrived under {keys:?}")),
            _ => {}
        }
    }
    found
        .violated
        .extend(told.iter().filter(|mark| !calls.contains_key(mark.as_str())).map(|mark| format!("`{mark}` was told and never arrived")));
}
