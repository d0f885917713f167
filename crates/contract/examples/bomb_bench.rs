//! How long each bomb takes: every one of those that the tests throw, mended, compiled, compared, and asked about each value,
//! one after the other; and what the process holds at its fullest. `bomb_bench`
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "../tests/contract/bombs/corpus.rs"]
mod corpus;

use corpus::{BOMBS, bomb, defused, values};
use maniple_contract::{
    compat::{Direction, compare_schemas},
    mend::mend,
};
use maniple_core::schema::Validator;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn main() {
    let values = values();
    let before = fullest_mib();
    let mut took: Vec<(Duration, String)> = (0..BOMBS)
        .map(|number| {
            let (kind, schema) = bomb(number);
            let began = Instant::now();
            let end = throw(&schema, &values);
            (began.elapsed(), format!("{kind}, {number}, {end}"))
        })
        .collect();
    let refused = took.iter().filter(|(_, told)| told.ends_with("refused")).count();
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].0.as_secs_f64() * 1_000.0;
    println!("{BOMBS} bombs: {refused} refused, {} handled", took.len() - refused);
    println!("ms: median {:.2}, 99 % {:.1}, longest {:.1}", at(0.5), at(0.99), at(1.0));
    println!("MiB at the fullest: {} more than the {before} before", fullest_mib() - before);
    for (time, told) in took.iter().rev().take(5) {
        println!("  {:8.1} ms  {told}", time.as_secs_f64() * 1_000.0);
    }
}

/// All that a registration does with a schema, and a call with its arguments.
fn throw(schema: &Value, values: &[Value]) -> &'static str {
    let definition = json!({ "name": "bomb", "version": "1.0.0", "description": "d", "endpoint": "http://x.test/", "parameters": schema });
    let mended = mend(definition).is_ok();
    let Ok(compiled) = Validator::compile(schema) else {
        compare_schemas(Direction::Input, schema, schema);
        return "refused";
    };
    for value in values {
        let _ = compiled.check(value);
    }
    compare_schemas(Direction::Input, schema, &defused(schema));
    compare_schemas(Direction::Output, schema, schema);
    if mended { "handled" } else { "refused" }
}

/// The most that this process ever held, in MiB, as the kernel counts it.
fn fullest_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1_024
}
