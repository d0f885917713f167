//! A task told as it happens, over any number of nodes, to its end; and what Ctrl-C does meanwhile.

use super::{
    exit::{Exit, Trouble},
    reach::{Need, Reached, Where},
    screen,
    steps::Steps,
};
use futures::{Stream, StreamExt};
use maniple_api::{TaskRequest, event::TaskEvent};
use maniple_core::task::AgentResult;
use std::{pin::pin, time::Duration};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often a node that went away in between is looked for again.
const LOOKS: u32 = 3;
/// How long a node that was just asked has to answer once a person wants to leave.
const ANSWERS_SOON: Duration = Duration::from_secs(2);

/// What the first Ctrl-C does; the second always leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// The node is asked to cancel the task.
    Cancels,
    /// It is left alone and goes on.
    Leaves,
}

/// How following a task ended.
pub enum End {
    /// With the task.
    Result(Box<AgentResult>),
    /// With Ctrl-C, before the task had ended.
    Left,
}

/// What was told so far of one task.
pub struct Story {
    /// What is told of what.
    pub steps: Steps,
    quiet: bool,
    interrupt: Interrupt,
    /// The last event that was told.
    after: u64,
    cancelling: bool,
    /// Ctrl-C was pressed before there was a task to cancel.
    pressed: bool,
}

impl Story {
    /// Nothing was told yet; a quiet one tells nothing at all.
    pub fn new(steps: Steps, quiet: bool, interrupt: Interrupt) -> Self {
        Self { steps, quiet, interrupt, after: 0, cancelling: false, pressed: false }
    }

    /// Asks a node and tells to the end. Where the one that had the store goes away, whoever has it then is asked: the same id is the
    /// same task. What was reached last stays in `reached`.
    pub async fn ask(&mut self, place: &Where, reached: &mut Option<Reached>, request: &TaskRequest) -> Result<End, Trouble> {
        let id = request.id.as_deref().unwrap_or_default();
        let mut looks = 1;
        loop {
            let node = match reached.take() {
                Some(node) => node,
                None => place.reach(Need::Work).await?,
            };
            // Listened to before the request is sent: who is quick wants the task cancelled, not this process gone.
            let mut interrupts = signal(SignalKind::interrupt())?;
            let asked = {
                let mut asking = pin!(node.client.run_and_follow(request, None));
                tokio::select! {
                    asked = &mut asking => asked,
                    _ = interrupts.recv() => {
                        self.pressed = true;
                        match tokio::time::timeout(ANSWERS_SOON, asking).await {
                            Ok(asked) => asked,
                            Err(_) => return Ok(self.left(id)),
                        }
                    }
                }
            };
            let end = match asked {
                Ok(events) => self.tell(&node, id, events, interrupts).await,
                Err(error) => Err(error.into()),
            };
            match end {
                Err(trouble) if trouble.exit == Exit::Unreachable && node.was_looked_for() && looks < LOOKS => looks += 1,
                end => {
                    *reached = Some(node);
                    return end;
                }
            }
        }
    }

    /// Tells a task's events to its end.
    pub async fn follow(
        &mut self,
        reached: &Reached,
        id: &str,
        events: impl Stream<Item = maniple_core::Result<TaskEvent>>,
    ) -> Result<End, Trouble> {
        self.tell(reached, id, events, signal(SignalKind::interrupt())?).await
    }

    /// The same with one listener for the whole time: a second Ctrl-C counts even while the first one is being passed on.
    async fn tell(
        &mut self,
        reached: &Reached,
        id: &str,
        events: impl Stream<Item = maniple_core::Result<TaskEvent>>,
        mut interrupts: Signal,
    ) -> Result<End, Trouble> {
        let mut events = pin!(events);
        loop {
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                () = reached.gone() => {
                    return Err(Trouble { exit: Exit::Unreachable, what: "the node went away".into(), next: Some(format!("maniple task show {id}")) });
                }
                () = pressed(&mut interrupts, self.pressed) => {
                    self.pressed = false;
                    if self.interrupt == Interrupt::Leaves || std::mem::replace(&mut self.cancelling, true) {
                        return Ok(self.left(id));
                    }
                    if !self.quiet {
                        screen::remark("\ncancelling; Ctrl-C again leaves without waiting");
                    }
                    tokio::select! {
                        asked = reached.client.cancel(id) => asked?,
                        _ = interrupts.recv() => return Ok(self.left(id)),
                    };
                    continue;
                }
            };
            let Some(event) = event.transpose()? else {
                let what = "the events stopped before the task ended".to_owned();
                return Err(Trouble { exit: Exit::Internal, what, next: Some(format!("maniple task show {id}")) });
            };
            if event.id.is_some_and(|number| number <= self.after) {
                continue;
            }
            self.after = event.id.unwrap_or(self.after);
            let told = self.steps.tell(&event);
            if !self.quiet && !told.is_empty() {
                screen::piece(&told);
            }
            if event.is_final() {
                let unreadable =
                    |e: serde_json::Error| Trouble { exit: Exit::Internal, what: format!("the result cannot be read: {e}"), next: None };
                return Ok(End::Result(serde_json::from_value(event.data).map_err(unreadable)?));
            }
        }
    }

    /// The answer of a task that was told, on standard output: not once more where a person has just read it.
    pub fn answer(&self, result: &AgentResult) -> std::io::Result<()> {
        match &result.output {
            Some(output) if !(self.steps.has_told(output) && screen::is_one_terminal()) => screen::answer(passed_on(output)),
            Some(_) | None => Ok(()),
        }
    }

    fn left(&self, id: &str) -> End {
        screen::remark(format!("\nleft; see what becomes of it: maniple task watch {id}"));
        End::Left
    }
}

/// Resolves at the next Ctrl-C, at once where it came already.
async fn pressed(interrupts: &mut Signal, already: bool) {
    if !already {
        interrupts.recv().await;
    }
}

/// On a terminal a model may not steer it; in a pipe the answer is passed on as it is.
fn passed_on(output: &str) -> String {
    use std::io::IsTerminal as _;
    if std::io::stdout().is_terminal() { screen::clean(output) } else { output.to_owned() }
}
