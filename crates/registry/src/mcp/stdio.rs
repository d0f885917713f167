//! A server on the standard streams of a command.
//!
//! What it writes is bounded: a line of more than 4 MiB is thrown away, what comes faster than 32 MiB or 2,000 messages a second
//! is left in its pipe until there is time. What it says on standard error is read at 256 KiB a second, and the beginning of each
//! line goes to the log, at most 50 lines a second.
//!
//! A command is the first of a process group of its own, and what it has started ends with it.

use super::{
    lines::Lines,
    pace::{Pace, Paced},
    reading::{self, Questions},
    ticket::Ticket,
};
use maniple_core::settings::Secret;
use rmcp::{
    RoleClient,
    model::GetExtensions,
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::{Transport, async_rw::AsyncRwTransport},
};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, Empty},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::Instant,
};

const LINE_BYTES: usize = 4 << 20;
const BYTES_A_SECOND: u64 = 32 << 20;
const ERROR_BYTES_A_SECOND: u64 = 256 << 10;
const LOGGED_LINE_BYTES: usize = 1_024;
const LOGGED_LINES_A_SECOND: u32 = 50;
/// How long a server may take to go once its input is closed.
const GOES_WITHIN: Duration = Duration::from_secs(2);
/// How long what a server wrote before it went is waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// The variables of this process that a server gets to see.
const PASSED_ON: [&str; 10] = ["HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"];

/// The last line a server wrote on standard error: often why it went.
#[derive(Debug, Clone, Default)]
pub(super) struct LastLine(Arc<Mutex<String>>);

impl LastLine {
    pub(super) fn said(&self) -> Option<String> {
        let line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!line.is_empty()).then(|| line.clone())
    }
    fn set(&self, line: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = line.to_owned();
    }
}

/// A running command that speaks MCP. It is killed when this is dropped, and with it all that it has started.
pub(super) struct Process {
    /// Before the child: while nobody has waited for it, its number is nobody else's.
    group: Group,
    child: Child,
    gone: bool,
    output: Output,
    /// Only written to: reading is more lenient here.
    input: AsyncRwTransport<RoleClient, Empty, ChildStdin>,
    /// One message is written at a time, so that what waits here is known not to have been written.
    writing: Arc<tokio::sync::Mutex<()>>,
    pace: Pace,
}

/// The processes that a command has started, and itself.
struct Group(Option<Pid>);

impl Group {
    fn end(&mut self) {
        if let Some(first) = self.0.take() {
            // Nobody there is as good.
            let _ = kill_process_group(first, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts a command. The error names it.
pub(super) fn start(
    server: &str,
    command: &[String],
    env: &BTreeMap<String, Secret>,
    cwd: Option<&Path>,
) -> Result<(Process, LastLine), String> {
    let (program, arguments) = command.split_first().ok_or("command must name a program")?;
    let mut building = Command::new(program);
    building.args(arguments).env_clear();
    building.envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    building.envs(env.iter().map(|(name, value)| (name, value.expose())));
    if let Some(cwd) = cwd {
        building.current_dir(cwd);
    }
    building.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut child = building.spawn().map_err(|error| format!("cannot start `{program}`: {error}"))?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(id as i32)));
    let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
        return Err(format!("`{program}` has no standard streams"));
    };
    let last_line = LastLine::default();
    tokio::spawn(log(server.to_owned(), Paced::new(stderr, ERROR_BYTES_A_SECOND), last_line.clone()));
    let lines = Lines::new(Paced::new(stdout, BYTES_A_SECOND), LINE_BYTES);
    let input = AsyncRwTransport::new(tokio::io::empty(), stdin);
    let process = Process {
        group,
        child,
        gone: false,
        output: Output { lines, heard: VecDeque::new(), questions: Questions::default() },
        input,
        writing: Arc::default(),
        pace: Pace::new(),
    };
    Ok((process, last_line))
}

impl Transport<RoleClient> for Process {
    type Error = io::Error;

    fn send(&mut self, message: TxJsonRpcMessage<RoleClient>) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let ticket = match &message {
            TxJsonRpcMessage::<RoleClient>::Request(request) => request.request.extensions().get::<Ticket>().cloned(),
            _ => None,
        };
        self.output.questions.note(&message);
        let (writing, written) = (self.writing.clone(), self.input.send(message));
        async move {
            let _alone = writing.lock().await;
            if ticket.is_some_and(|ticket| !ticket.write()) {
                return Err(io::Error::other("given up before it was written"));
            }
            written.await
        }
    }

    /// The next message; `None` once the command is gone and its last words are read. Loses nothing when dropped.
    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        tokio::time::sleep_until(self.pace.due()).await;
        if !self.gone {
            tokio::select! {
                biased;
                message = self.output.next() => {
                    self.pace.message();
                    return message;
                }
                _ = self.child.wait() => self.gone = true, // its children may hold its output open for ever
            }
        }
        tokio::time::timeout(LAST_WORDS, self.output.next()).await.ok().flatten()
    }

    /// Closes its input, and kills it where it does not go by itself.
    async fn close(&mut self) -> io::Result<()> {
        let _ = tokio::time::timeout(LAST_WORDS, self.input.close()).await;
        if !self.gone {
            let _ = tokio::time::timeout(GOES_WITHIN, self.child.wait()).await;
        }
        // Itself, where it is still there, and what it has started, which may not have noticed.
        self.group.end();
        self.child.wait().await?;
        self.gone = true;
        Ok(())
    }
}

/// What a command writes, read as messages.
struct Output {
    lines: Lines<Paced<ChildStdout>>,
    /// What was read of a line and not yet taken.
    heard: VecDeque<RxJsonRpcMessage<RoleClient>>,
    questions: Questions,
}

impl Output {
    /// The next message it writes; what is none is passed over. Loses nothing when dropped.
    async fn next(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            if let Some(message) = self.heard.pop_front() {
                return Some(message);
            }
            let line = self.lines.next().await?;
            let messages = reading::messages(&reading::text(&line), &self.questions);
            if messages.is_empty() && !line.is_empty() {
                tracing::trace!(bytes = line.len(), "an mcp server wrote a line that is no message");
            }
            self.heard.extend(messages.into_iter().filter_map(|message| RxJsonRpcMessage::<RoleClient>::deserialize(message).ok()));
        }
    }
}

/// What a server says on standard error, into the log.
async fn log(server: String, mut stderr: impl AsyncRead + Unpin, last_line: LastLine) {
    let (mut chunk, mut line) = ([0; 4_096], Vec::new());
    let (mut second, mut logged, mut left_out) = (Instant::now(), 0, 0u64);
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        for byte in &chunk[..read] {
            if *byte != b'\n' {
                if line.len() < LOGGED_LINE_BYTES {
                    line.push(*byte);
                }
                continue;
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if second.elapsed() >= Duration::from_secs(1) {
                (second, logged) = (Instant::now(), 0);
            }
            logged += 1;
            if logged <= LOGGED_LINES_A_SECOND {
                tracing::debug!(server, left_out, "{text}");
                left_out = 0;
            } else {
                left_out += 1;
            }
            if !text.is_empty() {
                last_line.set(&text);
            }
        }
    }
}
