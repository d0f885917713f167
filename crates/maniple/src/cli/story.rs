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
use std::{io::IsTerminal as _, pin::pin, time::Duration};
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
    /// Nothing was told yet; a quiet one tells nothing at all. Where the answer goes to a file or a pipe it is not told beside it too.
    pub fn new(steps: Steps, quiet: bool, interrupt: Interrupt) -> Self {
        let steps = steps.without_answer(!std::io::stdout().is_terminal());
        Self { steps, quiet, interrupt, after: 0, cancelling: false, pressed: false }
    }

    /// Asks a node and tells to the end. Where the one that had the store goes away, whoever has it then is asked: the same id is the
    /// same task. What was reached last stays in `reached`.
    pub async fn ask(&mut self, place: &Where, reached: &mut Option<Reached>, request: &TaskRequest) -> Result<End, Trouble> {
        self.ask_until(place, reached, request, &mut signal(SignalKind::interrupt())?).await
    }

    /// The same with one listener for the whole time: a press counts whatever is going on, and the second one always.
    async fn ask_until(
        &mut self,
        place: &Where,
        reached: &mut Option<Reached>,
        request: &TaskRequest,
        interrupts: &mut Signal,
    ) -> Result<End, Trouble> {
        let id = request.id.as_deref().unwrap_or_default();
        let mut looks = 1;
        loop {
            let node = match reached.take() {
                Some(node) => node,
                None => tokio::select! {
                    node = place.reach(Need::Work) => node?,
                    // Nobody was asked yet: there is nothing to see.
                    _ = interrupts.recv() => return Ok(if looks == 1 { End::Left } else { self.left(id) }),
                },
            };
            match self.ask_node(&node, id, request, interrupts).await {
                Err(trouble) if trouble.exit == Exit::Unreachable && node.was_looked_for() && !self.pressed && looks < LOOKS => looks += 1,
                end => {
                    *reached = Some(node);
                    return end;
                }
            }
        }
    }

    async fn ask_node(&mut self, node: &Reached, id: &str, request: &TaskRequest, interrupts: &mut Signal) -> Result<End, Trouble> {
        let mut asking = pin!(node.client.run_and_follow(request, None));
        let asked = tokio::select! {
            asked = &mut asking => Some(asked),
            _ = interrupts.recv() => {
                self.pressed = true;
                tokio::select! {
                    asked = asking => Some(asked),
                    () = tokio::time::sleep(ANSWERS_SOON) => None,
                    _ = interrupts.recv() => None,
                }
            }
        };
        match asked {
            Some(events) => self.tell(node, id, events?, interrupts).await,
            None => {
                // It may have been accepted all the same.
                if self.interrupt == Interrupt::Cancels {
                    tokio::select! {
                        _ = node.client.cancel(id) => {}
                        () = tokio::time::sleep(ANSWERS_SOON) => {}
                        _ = interrupts.recv() => {}
                    }
                }
                Ok(self.left(id))
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
        self.tell(reached, id, events, &mut signal(SignalKind::interrupt())?).await
    }

    async fn tell(
        &mut self,
        reached: &Reached,
        id: &str,
        events: impl Stream<Item = maniple_core::Result<TaskEvent>>,
        interrupts: &mut Signal,
    ) -> Result<End, Trouble> {
        let mut events = pin!(events);
        loop {
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                () = reached.gone() => {
                    return Err(Trouble { exit: Exit::Unreachable, what: "the node went away".into(), next: Some(format!("maniple task show {id}")) });
                }
                () = pressed(interrupts, self.pressed) => {
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
    if std::io::stdout().is_terminal() { screen::clean(output) } else { output.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, getpid, kill_process};

    #[tokio::test]
    async fn ctrl_c_leaves_while_a_node_is_looked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = folder.path().join(crate::config::FILE_NAME);
        std::fs::write(&settings, "model: demo/demo\n").expect("written");
        // Somebody has just opened the store, and does not say where it listens.
        let lock = std::fs::File::create(folder.path().join("maniple.db.lock")).expect("made");
        lock.lock().expect("ours");
        let place = Where { url: None, config: Some(settings) };
        let request = TaskRequest { id: Some("t".into()), prompt: "hello".into(), ..TaskRequest::default() };
        let mut interrupts = signal(SignalKind::interrupt()).expect("listened to");
        kill_process(getpid(), Signal::INT).expect("sent");
        let mut story = Story::new(Steps::default(), true, Interrupt::Cancels);
        let end = story.ask_until(&place, &mut None, &request, &mut interrupts).await;
        assert!(matches!(end, Ok(End::Left)), "{:?}", end.err());
    }
}
