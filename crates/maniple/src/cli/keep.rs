//! `maniple keep`: stands between a node and a command that it has started, so that the command and all it has started end with the
//! node, however that ends. Nobody types it.

use super::exit::{Exit, Trouble};
use clap::Args;
use rustix::process::{Pid, Signal, getpgrp, getppid, kill_process_group};
use std::{ffi::OsString, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};

/// Runs a command that ends with the process that asked for it.
#[derive(Debug, Args)]
pub struct Keep {
    /// The process that asks
    parent: i32,
    /// The command
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Keep {
    /// Runs the command in this process group, and kills the group when its parent is gone.
    pub fn run(self) -> Result<ExitCode, Trouble> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.wait())
    }

    async fn wait(self) -> Result<ExitCode, Trouble> {
        // The system sends it when the parent is gone: see `PR_SET_PDEATHSIG`.
        let mut orphaned = signal(SignalKind::terminate())?;
        #[cfg(target_os = "linux")]
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).map_err(std::io::Error::from)?;
        if getppid() != Pid::from_raw(self.parent) {
            return Ok(Exit::Unsuccessful.into());
        }
        let (program, arguments) = self.command.split_first().ok_or_else(|| Trouble::usage("there is no command"))?;
        let mut child = tokio::process::Command::new(program).args(arguments).spawn().map_err(|error| {
            let program = program.to_string_lossy();
            Trouble::usage(format!("cannot start `{program}`: {error}"))
        })?;
        tokio::select! {
            status = child.wait() => {
                let code = status?.code().and_then(|code| u8::try_from(code).ok());
                Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
            }
            _ = orphaned.recv() => {
                // Itself too, so nothing comes after this.
                let _ = kill_process_group(getpgrp(), Signal::KILL);
                Ok(ExitCode::FAILURE)
            }
        }
    }
}
