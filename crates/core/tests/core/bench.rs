//! A journal and a live run side by side: every fact is numbered, stored as text and folded again.
//!
//! After each one, a run folded from the journal must decide, show and count as the live one does.

use maniple_core::{
    AgentName, SessionId, TaskId, Tenant, Time,
    agent::{AgentDefinition, AgentLimits, Contracts, Definitions, Memory},
    event::{Event, ModelFailed, ModelFinished, ModelStarted, Started, StoredEvent, TakenOver, ToolFinished, ToolStarted, ToolStatus},
    message::{FinishReason, Message, ToolCall, Usage},
    model::{FaultKind, ModelName},
    run::{Ask, Awaited, Next, Piece, Plan, Run, Terms},
    signal::{Signal, SignalKind},
    task::{Ending, Header, Task},
    tool::{Effect, ToolDefinition},
};
use semver::Version;
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, time::Duration};

pub const ACCEPTED: Time = Time(1_790_000_000_000);

/// How long a person has to answer here.
pub const APPROVAL_EXPIRES: Duration = Duration::from_secs(60);

/// What was recorded before acting, and what was sent.
#[derive(Debug)]
pub struct Planned {
    pub record: Vec<Event>,
    pub send: Vec<ToolStarted>,
    pub awaits: Option<Awaited>,
}

fn place(event: &Event) -> u32 {
    match event {
        Event::ToolFinished(finished) => finished.index,
        Event::ApprovalRequested(request) => request.index,
        Event::ApprovalDecided(decided) => decided.index,
        other => panic!("a plan does not record {other:?}"),
    }
}

pub struct Bench {
    pub journal: Vec<StoredEvent>,
    pub live: Run,
    pub contracts: Contracts,
    pub now: Time,
    /// Signals that no append has marked as read: a store hands them out again after a crash.
    pub unread: Vec<Signal>,
}

pub fn task() -> Task {
    Task {
        id: TaskId::parse("t-1").unwrap(),
        agent: AgentName::parse("search").unwrap(),
        session_id: SessionId::parse("s-1").unwrap(),
        prompt: "Find it.".into(),
        metadata: Map::new(),
        max_steps: 10,
        token_budget: 8192,
        context: Map::new(),
        deadline_ms: None,
        priority: 5,
        not_before: None,
        output_schema: None,
        cost_budget_usd: None,
        tree_token_budget: None,
        parent_task_id: None,
        retry_of: None,
        tenant: Tenant::default(),
        principal: "local".into(),
        trace: None,
    }
}

/// A tool that takes an optional integer `n`.
pub fn tool(name: &str, effect: Effect) -> ToolDefinition {
    let definition = json!({
        "name": name, "version": "1.2.3", "description": format!("{name} something"), "endpoint": "http://tools.test/", "effect": effect,
        "parameters": { "type": "object", "properties": { "n": { "type": "number" } }, "additionalProperties": false },
    });
    serde_json::from_value(definition).unwrap()
}

/// `look` is pure, `save` idempotent, `pay` at most once, `wait` pure and polled.
pub fn definitions() -> Definitions {
    let wait = ToolDefinition { poll: true, ..tool("wait", Effect::Pure) };
    Definitions {
        agent: AgentDefinition {
            publish: Default::default(),
            name: AgentName::parse("search").unwrap(),
            description: "Finds things.".into(),
            version: Version::new(1, 0, 0),
            model: ModelName::parse("lab/first").unwrap(),
            fallbacks: vec![ModelName::parse("lab/second").unwrap()],
            tools: Vec::new(),
            limits: AgentLimits::default(),
            options: Default::default(),
            memory: Memory::default(),
            output_schema: None,
            examples: Vec::new(),
            prompt: "You find things.".into(),
        },
        tools: vec![tool("look", Effect::Pure), tool("save", Effect::Idempotent), tool("pay", Effect::AtMostOnce), wait],
        untrusted: Vec::new(),
    }
}

/// What a model says: so many tokens of output and none of input.
pub fn reply(text: Option<&str>, calls: &[(&str, &str)], tokens: u64) -> ModelFinished {
    let calls: Vec<ToolCall> = calls
        .iter()
        .enumerate()
        .map(|(at, (name, arguments))| ToolCall {
            id: format!("call-{at}"),
            name: (*name).into(),
            arguments: (*arguments).into(),
            extra: None,
        })
        .collect();
    ModelFinished {
        attempt: 0, // filled in by `Bench::said`
        text: text.map(Into::into),
        finish_reason: if calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls },
        calls,
        usage: Usage { input_tokens: 0, output_tokens: tokens, cached_input_tokens: 0 },
        model: "lab/first".into(),
        cost_usd: None,
        reasoning: None,
    }
}

pub fn signal(id: &str, kind: SignalKind) -> Signal {
    Signal { id: id.into(), kind, data: Value::Null, at: ACCEPTED }
}

pub fn stored(seq: u64, at: Time, step: u32, event: &Event) -> StoredEvent {
    StoredEvent { seq, at, step, name: event.name().into(), data: event.data().unwrap(), made: None }
}

impl Bench {
    pub fn new(task: Task) -> Self {
        Self::with(task, definitions(), None)
    }

    pub fn with(task: Task, definitions: Definitions, taken: Option<TakenOver>) -> Self {
        let journal = vec![stored(1, ACCEPTED, 0, &Event::Accepted(task))];
        let live = Run::fold(&journal).unwrap();
        let mut bench =
            Self { journal, live, contracts: Contracts::compile(definitions).unwrap(), now: Time(ACCEPTED.0 + 1), unread: Vec::new() };
        if let Some(taken) = taken {
            bench.record(&[(0, Event::TakenOver(taken))]);
        }
        bench
    }

    /// Tells the live run facts, appends them as a store does, and compares with a folded run after each.
    pub fn record(&mut self, facts: &[(u32, Event)]) {
        for (step, fact) in facts {
            self.live.tell(self.now, *step, fact).unwrap();
            self.journal.push(stored(self.journal.len() as u64 + 1, self.now, *step, fact));
            self.compare();
        }
        self.live.recorded(self.journal.len() as u64);
        assert_eq!(self.live.seq(), self.folded().seq());
    }

    fn compare(&self) {
        let folded = self.folded();
        assert_eq!(folded.seq(), self.journal.len() as u64);
        assert_eq!(self.live.next(self.now, self.known()), folded.next(self.now, self.known()), "live and folded decide alike");
        assert_eq!(self.live.transcript(&self.contracts), folded.transcript(&self.contracts));
        assert_eq!(self.live.progress(), folded.progress());
        assert_eq!(self.live.step_number(), folded.step_number());
        assert_eq!(self.live.compactions(), folded.compactions());
        assert_eq!(self.live.output_room(100), folded.output_room(100));
        assert_eq!(self.live.best_output(), folded.best_output());
        assert_eq!(self.live.started(), folded.started());
    }

    fn folded(&self) -> Run {
        let mut run = Run::fold(&self.journal).expect("every prefix of a journal folds");
        for signal in &self.unread {
            run.signalled(signal);
        }
        run
    }

    fn known(&self) -> Option<&Contracts> {
        self.live.started().map(|_| &self.contracts)
    }

    /// The holder dies, and another folds what is recorded and reads the unread signals.
    pub fn crash(&mut self) {
        self.live = self.folded();
    }

    pub fn next(&self) -> Next {
        self.live.next(self.now, self.known())
    }

    pub fn ask(&self) -> Ask {
        match self.next() {
            Next::Ask(ask) => ask,
            other => panic!("expected to ask, not {other:?}"),
        }
    }

    pub fn ending(&self) -> Ending {
        match self.next() {
            Next::End(ending) => ending,
            other => panic!("expected the end, not {other:?}"),
        }
    }

    /// The store ends the task: it makes the final event.
    pub fn end(&mut self) -> Ending {
        let ending = self.ending();
        let task = self.live.task();
        let header = Header {
            id: task.id.clone(),
            session_id: task.session_id.clone(),
            agent: task.agent.clone(),
            created_at: ACCEPTED,
            started_at: Some(ACCEPTED),
            trace_id: None,
            retry_of: task.retry_of.clone(),
            progress: self.live.progress().clone(),
            waiting_for: None,
        };
        let event = Event::ended(header.finished(&ending, self.now));
        self.record(&[(self.live.step_number(), event)]);
        assert_eq!(self.next(), Next::Nothing);
        ending
    }

    pub fn start(&mut self) -> &mut Self {
        assert_eq!(self.next(), Next::Start);
        let started = Started {
            version: self.contracts.agent().version.clone(),
            definitions: self.contracts.hash.clone(),
            agent: "hash".into(),
            tools: Vec::new(),
        };
        self.record(&[(self.live.step_number(), Event::Started(started))]);
        self
    }

    /// Records that the model is asked, as `next` says.
    pub fn asked(&mut self) -> Ask {
        let ask = self.ask();
        let started = ModelStarted { attempt: ask.attempt, model: "lab/first".into(), request_hash: "hash".into(), max_output_tokens: 100 };
        self.record(&[(ask.step, Event::ModelStarted(started))]);
        ask
    }

    /// The model is asked and says this.
    pub fn said(&mut self, reply: ModelFinished) -> &mut Self {
        let ask = self.asked();
        self.record(&[(ask.step, Event::ModelFinished(ModelFinished { attempt: ask.attempt, ..reply }))]);
        self
    }

    pub fn says(&mut self, text: &str) -> &mut Self {
        self.said(reply(Some(text), &[], 10))
    }

    pub fn calls(&mut self, calls: &[(&str, &str)]) -> &mut Self {
        self.said(reply(None, calls, 10))
    }

    /// The model is asked and fails.
    pub fn faults(&mut self, fault: FaultKind) -> &mut Self {
        self.faulted(fault, None)
    }

    /// The same, of an attempt that cost something.
    pub fn faulted(&mut self, fault: FaultKind, usage: Option<Usage>) -> &mut Self {
        let ask = self.asked();
        let model = ["lab/first", "lab/second"][ask.model].to_owned();
        let failed = ModelFailed { attempt: ask.attempt, model, fault, message: "no".into(), usage, cost_usd: None };
        self.record(&[(ask.step, Event::ModelFailed(failed))]);
        self
    }

    /// Records what the plan says, in doubt what nobody knows, and returns it.
    pub fn plan(&mut self, room: usize) -> Planned {
        assert_eq!(self.next(), Next::Call);
        let held = BTreeSet::new();
        let terms = Terms { room, now: self.now, approval_expires: APPROVAL_EXPIRES, held: &held };
        let Plan { mut record, start, resend, doubts, expired, awaits } = self.live.plan(&self.contracts, &terms);
        record.extend(doubts.iter().map(|started| self.live.doubt(started, &self.contracts, &terms)));
        record.extend(expired.into_iter().map(Event::ApprovalDecided));
        record.sort_by_key(place);
        record.extend(start.iter().cloned().map(Event::ToolStarted));
        let step = self.live.step_number();
        let facts: Vec<_> = record.iter().map(|event| (step, event.clone())).collect();
        self.record(&facts);
        let send: Vec<_> = resend.into_iter().chain(start).collect();
        send.iter().for_each(|started| self.live.resent(started));
        Planned { record, send, awaits }
    }

    pub fn finished(&mut self, started: &ToolStarted, status: ToolStatus, result: Value) {
        let finished = ToolFinished { index: started.index, name: started.name.clone(), status, result };
        self.record(&[(self.live.step_number(), Event::ToolFinished(finished))]);
    }

    /// Makes every call that the step still waits for, each with this result. Returns what was sent.
    pub fn made(&mut self, result: &Value) -> Vec<ToolStarted> {
        let mut sent = Vec::new();
        while self.next() == Next::Call {
            let plan = self.plan(8);
            for started in &plan.send {
                self.finished(started, ToolStatus::Ok, result.clone());
            }
            assert!(!plan.send.is_empty() || !plan.record.is_empty(), "nothing in flight and nothing to do: the run is stuck");
            sent.extend(plan.send);
        }
        sent
    }

    pub fn shown(&self) -> Vec<Message> {
        self.live.transcript(&self.contracts).into_iter().map(|Piece { message, .. }| message).collect()
    }

    /// What the model reads as the outcomes of its calls.
    pub fn outcomes(&self) -> Vec<(String, bool)> {
        let outcome = |message| match message {
            Message::Tool { content, is_error, .. } => Some((content, is_error)),
            Message::User { .. } | Message::Assistant { .. } => None,
        };
        self.shown().into_iter().filter_map(outcome).collect()
    }
}
