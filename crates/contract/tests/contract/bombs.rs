//! Schemas and values made to be too much: each is refused or handled within the bounds that the parts state.
//!
//! No clock is asked. A comparison may take so many steps, a mending may look at so many schemas, and the
//! validator refuses what unrolls too far; without those bounds most of these never end, and the test with them.
//! How long they take is measured by the example `bomb_bench`.

mod corpus;

use corpus::{BOMBS, bomb, defused, values};
use maniple_contract::{
    compat::{Direction, Verdict, compare_schemas},
    mend::{mend, mend_schema},
};
use maniple_core::schema::{MAX_BYTES, Validator};
use serde_json::json;

/// The longest answer to a bomb, in bytes: a bomb must not come back as a page.
const MAX_ANSWER: usize = 64 * 1024;

#[test]
fn two_thousand_bombs_are_refused_or_handled_within_bounds() {
    // In four heaps at once, for the time's sake.
    let heaps = std::thread::scope(|scope| {
        (0..4)
            .map(|heap| scope.spawn(move || throw(heap)))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|heap| heap.join().unwrap())
            .collect::<Vec<_>>()
    });
    let [refused, handled, unproven] = heaps.into_iter().fold([0; 3], |sum, heap| [sum[0] + heap[0], sum[1] + heap[1], sum[2] + heap[2]]);
    println!("{BOMBS} bombs: {refused} refused, {handled} handled, {unproven} comparisons unproven");
    assert_eq!(refused + handled, BOMBS);
    let held = fullest_mib();
    assert!(held < 1_024, "{held} MiB at the fullest: a bomb alone held gigabytes before reasons were counted");
    assert!(refused > 200 && handled > 200, "both ways are taken: {refused} refused, {handled} handled");
}

/// The most that this process ever held, in MiB, as the kernel counts it.
fn fullest_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1_024
}

/// Throws every fourth bomb, and counts the refused, the handled and the comparisons that came to nothing.
fn throw(heap: u64) -> [u64; 3] {
    let values = values();
    let (mut refused, mut handled, mut unproven) = (0, 0, 0);
    for number in (heap..BOMBS).step_by(4) {
        let (kind, schema) = bomb(number);
        let definition = json!({ "name": "bomb", "version": "1.0.0", "description": "d", "endpoint": "http://x.test/", "parameters": &schema, "returns": &schema });
        for error in [mend_schema(schema.clone()).err(), mend(definition).err()].into_iter().flatten() {
            assert!(error.message.len() <= MAX_ANSWER, "{kind} {number}: {} bytes", error.message.len());
        }
        let compiled = match Validator::compile(&schema) {
            Ok(compiled) => compiled,
            Err(why) => {
                refused += 1;
                assert!(why.len() <= MAX_ANSWER, "{kind} {number}: {} bytes", why.len());
                // What does not compile is not taken in by the others either.
                let report = compare_schemas(Direction::Input, &schema, &schema);
                assert_eq!((report.verdict, report.changes.len()), (Verdict::Unproven, 1), "{kind} {number}");
                continue;
            }
        };
        handled += 1;
        assert!(schema.to_string().len() <= MAX_BYTES, "{kind} {number}");
        for value in &values {
            if let Err(why) = compiled.check(value) {
                assert!(why.len() <= MAX_ANSWER, "{kind} {number}: {} bytes", why.len());
            }
        }
        for new in [defused(&schema), schema.clone()] {
            let report = compare_schemas(Direction::Input, &schema, &new);
            unproven += u64::from(report.verdict == Verdict::Unproven);
            assert!(report.changes.len() <= 100, "{kind} {number}");
            assert!(serde_json::to_string(&report).unwrap().len() <= 16 * MAX_ANSWER, "{kind} {number}");
        }
    }
    [refused, handled, unproven]
}
