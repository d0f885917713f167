//! How a command ends: a code for scripts, and for people what happened and what to try next.

use crate::yaml::Problem;
use maniple_core::{Error, Kind};
use std::{fmt, io, process::ExitCode};

/// The table of `--help`, and the one place that explains the codes.
pub const CODES: &str = "\
Exit codes:
    0  it worked; of `run`: the task completed
    1  the task failed or was cancelled; a check or a test found something
    2  wrong usage: an argument, a file, a setting or a request that cannot be right
    3  no node answers
    4  refused: no valid token, or not allowed with it
    5  there is nothing of that name
    6  conflict: it is in a state that does not allow this
    7  busy: over a limit, or the node cannot work now; try again later
   70  a fault of ours, or a disk that cannot be written
  130  left by Ctrl-C; the task may go on";

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It worked.
    Done = 0,
    /// The task failed or was cancelled; a check or a test found something.
    Unsuccessful = 1,
    /// An argument, a file, a setting or a request that cannot be right.
    Usage = 2,
    /// No node answers.
    Unreachable = 3,
    /// 401 or 403.
    Refused = 4,
    /// 404.
    NotFound = 5,
    /// 409.
    Conflict = 6,
    /// 429 or 503.
    Busy = 7,
    /// A bug or a broken disk.
    Internal = 70,
    /// Left by a second Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command could not do its work.
#[derive(Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The code.
    pub exit: Exit,
    /// What happened; empty where there is nobody left to tell.
    pub what: String,
    /// What to try next.
    pub next: Option<String>,
}

impl Trouble {
    /// A command that cannot be right as it was typed.
    pub fn usage(what: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, what: what.into(), next: None }
    }
    /// Says what to try next.
    pub fn try_next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
    /// Says what to try next, where nobody has said it yet.
    pub fn or_try(self, next: impl Into<String>) -> Self {
        if self.next.is_some() { self } else { self.try_next(next) }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// What a node, or a part of this process, answered.
impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let next = match error.kind {
            Kind::Denied => Some("set MANIPLE_TOKEN to a token that the node knows and that has the scope".to_owned()),
            Kind::NotFound => Some("maniple task ls".to_owned()),
            Kind::Exhausted => Some(later(&error)),
            Kind::Unavailable if error.retry_after.is_some() => Some(later(&error)),
            Kind::Unavailable => Some("start a node with `maniple dev`, or say where one is with --url".to_owned()),
            Kind::Invalid | Kind::Conflict | Kind::Internal => None,
        };
        let exit = match error.kind {
            Kind::Invalid => Exit::Usage,
            Kind::NotFound => Exit::NotFound,
            Kind::Conflict => Exit::Conflict,
            Kind::Denied => Exit::Refused,
            Kind::Exhausted => Exit::Busy,
            // A node that cannot work now always says when to come back; one that does not answer cannot.
            Kind::Unavailable if error.retry_after.is_some() => Exit::Busy,
            Kind::Unavailable => Exit::Unreachable,
            Kind::Internal => Exit::Internal,
        };
        let mut what = error.message.to_string();
        if exit == Exit::Internal
            && let Some(below) = &error.source
        {
            what.push_str(&format!(": {below}"));
        }
        Self { exit, what, next }
    }
}

fn later(error: &Error) -> String {
    let seconds = error.retry_after.map_or(1, |wait| wait.as_millis().div_ceil(1000).max(1));
    format!("the same again in {seconds} s")
}

/// The whole chain, outermost first; the code of the first of our own errors in it.
impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        let ours = error.chain().find_map(|cause| cause.downcast_ref::<Error>()).cloned().map(Trouble::from);
        let what = format!("{error:#}");
        if let Some(problem) = error.chain().find_map(|cause| cause.downcast_ref::<Problem>()) {
            let place = Problem { hint: None, ..problem.clone() };
            return Self { exit: Exit::Usage, what: place.to_string(), next: problem.hint.clone() };
        }
        match ours {
            Some(Trouble { exit, next, .. }) => Self { exit, what, next },
            None => Self { exit: Exit::Usage, what, next: None },
        }
    }
}

/// Something of this process cannot be read or written.
impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            // Whoever read our output has seen enough: `maniple task ls | head -1`.
            return Self { exit: Exit::Done, what: String::new(), next: None };
        }
        Self { exit: Exit::Internal, what: error.to_string(), next: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_kind_of_error_has_its_code() {
        let table = [
            (Error::invalid("x"), Exit::Usage),
            (Error::not_found("x"), Exit::NotFound),
            (Error::conflict("x"), Exit::Conflict),
            (Error::denied("x"), Exit::Refused),
            (Error::exhausted("x"), Exit::Busy),
            (Error::unavailable("x").after(Duration::from_secs(1)), Exit::Busy),
            (Error::unavailable("x"), Exit::Unreachable),
            (Error::internal("x"), Exit::Internal),
        ];
        for (error, exit) in table {
            assert_eq!(Trouble::from(error.clone()).exit, exit, "{error:?}");
            let wrapped = Trouble::from(anyhow::Error::new(error).context("while starting"));
            assert_eq!((wrapped.exit, wrapped.what.as_str()), (exit, "while starting: x"));
        }
    }

    #[test]
    fn the_help_explains_every_code() {
        use Exit::*;
        for exit in [Done, Unsuccessful, Usage, Unreachable, Refused, NotFound, Conflict, Busy, Internal, Interrupted] {
            assert!(CODES.contains(&format!("{:>5}  ", exit as u8)), "{exit:?}");
        }
    }

    #[test]
    fn a_reader_who_has_seen_enough_is_no_trouble() {
        assert_eq!(Trouble::from(io::Error::from(io::ErrorKind::BrokenPipe)).exit, Exit::Done);
    }
}
