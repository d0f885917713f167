//! Runs by chance: random replies, outcomes, faults, signals, deadlines, crashes and retries, against an outside ledger.
//!
//! [`Bench`] compares the live run with a folded one after every fact. Here stand the promises that
//! need a whole life to check.

use crate::bench::{ACCEPTED, Bench, definitions, reply, signal, task};
use maniple_core::{
    TaskId, Time, canonical,
    event::{Event, ModelFinished, ToolFinished, ToolStarted, ToolStatus},
    message::FinishReason,
    model::FaultKind::{self, *},
    run::{Next, Run, take_over},
    signal::SignalKind,
    task::{Ending, Task, TaskStatus},
    tool::Effect,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Numbers from proptest, so that it can shrink them. Used up, they are all 0: the plainest choice.
struct Dice<'a>(std::slice::Iter<'a, u8>);
impl Dice<'_> {
    fn of(&mut self, sides: usize) -> usize {
        usize::from(*self.0.next().unwrap_or(&0)) % sides
    }
    /// True once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.of(times) == times - 1
    }
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.of(of.len())]
    }
}

/// What arrived outside, over all retries of a task.
#[derive(Default)]
struct Ledger {
    arrived: HashMap<String, (ToolStarted, u32)>,
    with_outcome: HashSet<String>,
    doubted: HashSet<(String, String)>,
}

impl Ledger {
    fn arrives(&mut self, call: &ToolStarted, again: bool) {
        assert!(!self.with_outcome.contains(&call.key), "sent again though its outcome is recorded: {call:?}");
        let (first, times) = self.arrived.entry(call.key.clone()).or_insert_with(|| (call.clone(), 0));
        *times += 1;
        assert_eq!(first, call, "one key, one call, one set of arguments");
        assert_eq!(again, *times > 1, "a call is sent again only as one that was interrupted");
        assert!(call.effect != Effect::AtMostOnce || *times == 1, "sent twice: {call:?}");
        let call_itself = (call.name.clone(), canonical::text(&call.arguments));
        assert!(again || !self.doubted.contains(&call_itself), "made though the very same call is in doubt: {call:?}");
    }
    fn has_outcome(&mut self, call: &ToolStarted, status: ToolStatus) {
        assert!(self.with_outcome.insert(call.key.clone()), "a second outcome: {call:?}");
        if status == ToolStatus::InDoubt {
            assert_eq!(call.effect, Effect::AtMostOnce);
            self.doubted.insert((call.name.clone(), canonical::text(&call.arguments)));
        }
    }
}

struct Life<'a> {
    dice: Dice<'a>,
    ledger: Ledger,
    in_flight: Vec<ToolStarted>,
    asked: BTreeSet<u32>,
}

impl Life<'_> {
    fn said(&mut self) -> ModelFinished {
        let arguments = ["{}", r#"{"n":1}"#, r#"{ "n": 1.0 }"#, r#"{"n":0.1234567890123456789}"#, r#"{"n":"#, r#"{"m":1}"#, ""];
        let count = match self.dice.of(8) {
            0..=2 => 0,
            7 => 18,
            some => some - 2,
        };
        let calls: Vec<_> =
            (0..count).map(|_| (self.dice.one(&["look", "save", "pay", "wait", "nosuch"]), self.dice.one(&arguments))).collect();
        let text = self.dice.one(&[Some("7"), Some("seven"), None]);
        let mut said = reply(text, &calls, self.dice.one(&[10, 0, 300, 1_500]));
        said.usage.input_tokens = self.dice.one(&[5, 0, 100]);
        if self.dice.once_in(12) {
            said.finish_reason = self.dice.one(&[FinishReason::Length, FinishReason::Refusal]);
        }
        said
    }

    /// One task from start to end. Returns how it ended.
    fn of(&mut self, bench: &mut Bench) -> Ending {
        self.in_flight.clear();
        self.asked.clear();
        let mut tokens = 0;
        for _ in 0..5_000 {
            self.hold(bench, &mut tokens);
            if self.dice.once_in(16) {
                bench.crash();
                self.in_flight.clear();
            }
            if self.dice.once_in(40) {
                bench.now = Time(bench.now.0 + 100);
            }
            if self.dice.once_in(64) {
                bench.unread.push(signal("c", SignalKind::Cancel));
                let cancel = bench.unread.last().unwrap().clone();
                bench.live.signalled(&cancel);
            }
            match bench.next() {
                Next::Start => {
                    bench.start();
                }
                Next::Ask(ask) => {
                    self.asked.insert(ask.step);
                    assert_eq!(ask.last, self.asked.len() == bench.live.task().max_steps as usize);
                    if bench.live.output_room(50).is_none() {
                        return bench.live.out_of_tokens();
                    }
                    self.ask(bench);
                }
                Next::Call => self.call(bench),
                Next::End(_) => return bench.end(),
                Next::Nothing => panic!("it was not ended"),
            }
        }
        panic!("the run does not come to an end");
    }

    fn ask(&mut self, bench: &mut Bench) {
        match self.dice.of(8) {
            0..=5 => {
                let said = self.said();
                bench.said(said);
            }
            6 => {
                bench.asked();
                bench.crash();
            }
            _ => {
                const FAULTS: [FaultKind; 10] =
                    [Throttled, Overloaded, CutBefore, CutAfter, TimedOut, ContextTooLong, Money, Invalid, Denied, Refused];
                let fault = self.dice.one(&FAULTS);
                bench.faults(fault);
            }
        }
    }

    fn call(&mut self, bench: &mut Bench) {
        let room = 8 - self.in_flight.len();
        let room = if self.dice.once_in(6) { room.min(1) } else { room };
        let interrupted: HashSet<String> = self.waiting(bench).map(|call| call.key.clone()).collect();
        let plan = bench.plan(room);
        assert!(plan.send.len() <= room, "no more than there is room for");
        for event in &plan.record {
            if let Event::ToolFinished(ToolFinished { index, status: ToolStatus::InDoubt, .. }) = event {
                let calls = &bench.live.steps().last().unwrap().calls;
                let call = calls[*index as usize].started.clone().unwrap();
                self.ledger.has_outcome(&call, ToolStatus::InDoubt);
            }
        }
        if self.dice.once_in(10) {
            // It dies after the record and before the first byte.
            bench.crash();
            self.in_flight.clear();
            return;
        }
        for call in plan.send {
            let again = interrupted.contains(&call.key);
            assert!(!(again && call.effect == Effect::AtMostOnce), "in doubt, and sent: {call:?}");
            self.ledger.arrives(&call, again && self.ledger.arrived.contains_key(&call.key));
            self.in_flight.push(call);
        }
        if self.in_flight.is_empty() {
            assert!(!plan.record.is_empty() || room == 0, "nothing in flight and nothing to do: the run is stuck");
            return;
        }
        if self.dice.once_in(10) {
            bench.crash();
            self.in_flight.clear();
            return;
        }
        let at = self.dice.of(self.in_flight.len());
        let call = self.in_flight.swap_remove(at);
        let unknown = call.effect == Effect::AtMostOnce && self.dice.once_in(4);
        let status = if unknown { ToolStatus::InDoubt } else { self.dice.one(&[ToolStatus::Ok, ToolStatus::Error]) };
        let result: Value = self.dice.one(&["seen", "gone"]).into();
        self.ledger.has_outcome(&call, status);
        bench.finished(&call, status, result);
    }

    /// Started calls of the current step that have no outcome and are not in flight.
    fn waiting<'b>(&'b self, bench: &'b Bench) -> impl Iterator<Item = &'b ToolStarted> {
        let calls = bench.live.steps().last().into_iter().flat_map(|step| &step.calls);
        let open = calls.filter(|call| call.finished.is_none()).filter_map(|call| call.started.as_ref());
        open.filter(|call| self.in_flight.iter().all(|flying| flying.key != call.key))
    }

    /// What holds at every moment of a run.
    fn hold(&self, bench: &Bench, tokens: &mut u64) {
        let (run, task) = (&bench.live, bench.live.task());
        assert!(self.asked.len() <= task.max_steps as usize, "no more steps than allowed");
        assert!(run.progress().steps_used <= task.max_steps);
        assert!(run.progress().tokens_used >= *tokens, "tokens only grow");
        *tokens = run.progress().tokens_used;
        for call in run.steps().iter().flat_map(|step| &step.calls) {
            let refused = call.finished.as_ref().is_some_and(|finished| finished.status == ToolStatus::Refused);
            assert!(!(refused && call.started.is_some()), "refused and started: {call:?}");
        }
    }
}

fn live(dice: &[u8]) {
    let mut life = Life { dice: Dice(dice.iter()), ledger: Ledger::default(), in_flight: Vec::new(), asked: BTreeSet::new() };
    let task = Task {
        max_steps: 1 + life.dice.of(7) as u32,
        token_budget: life.dice.one(&[8_192, 512, 2_000]),
        deadline_ms: life.dice.one(&[None, Some(150)]),
        output_schema: life.dice.one(&[None, Some(())]).map(|()| json!({ "type": "integer" })),
        ..task()
    };
    let mut bench = Bench::new(task.clone());
    for retry in 1..=3 {
        let ending = life.of(&mut bench);
        if ending.status != TaskStatus::Failed || bench.next() != Next::Nothing {
            return;
        }
        let taken = take_over(&bench.journal).unwrap();
        for step in &taken.steps {
            assert!(Run::fold(&bench.journal).unwrap().steps().iter().any(|old| old.number == step.step));
        }
        let highest = taken.steps.last().map_or(0, |step| step.step);
        let id = TaskId::parse(&format!("t-1-{retry}")).unwrap();
        bench = Bench::with(Task { id, retry_of: Some(task.id.clone()), ..task.clone() }, definitions(), Some(taken));
        assert_eq!(bench.live.step_number(), highest, "step numbers go on");
        assert_eq!(bench.live.deadline(), task.deadline(ACCEPTED));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_a_folded_run_goes_on_as_the_live_one_and_keeps_every_promise(dice in prop::collection::vec(any::<u8>(), 0..600)) {
        live(&dice);
    }
}
