//! Starts the command of `trace -- CMD` so that it is traced from its first system call. A child of
//! the agent runs the hidden command `wirespan exec-gate`, which stops itself before it executes
//! CMD. The agent selects the stopped process and then continues it.

use std::{
    ffi::OsString,
    io,
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    process::{Child, Command, ExitStatus},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::{
        signal::{Signal, kill, raise},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// The hidden command's name.
pub(crate) const NAME: &str = "exec-gate";

/// A command that has not begun yet.
pub(crate) struct Gated {
    child: Child,
}

impl Gated {
    /// Starts the child, which waits stopped. With `aside` its standard output is the agent's
    /// standard error, because the agent's standard output holds something else.
    pub(crate) fn start(command: &[OsString], aside: bool) -> Result<Self> {
        let own = std::env::current_exe().context("cannot find the agent's own executable")?;
        let mut gate = Command::new(own);
        gate.arg(NAME).arg("--").args(command);
        if aside {
            let stderr = io::stderr().as_fd().try_clone_to_owned().context("cannot use standard error")?;
            gate.stdout(stderr);
        }
        let child = gate.spawn().context("cannot start a child process for the command")?;
        let mut gated = Self { child };
        match waitpid(gated.pid(), Some(WaitPidFlag::WUNTRACED))
            .context("cannot wait for the child process")?
        {
            WaitStatus::Stopped(..) => Ok(gated),
            other => {
                drop(gated.child.kill());
                bail!("the child process did not stop before the command: {other:?}")
            }
        }
    }

    /// Its process id, which the command keeps.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets the command begin.
    pub(crate) fn open(&self) -> Result<()> {
        kill(self.pid(), Signal::SIGCONT).context("cannot continue the child process")
    }

    /// Forwards a signal; a command that is gone needs none.
    pub(crate) fn forward(&self, signal: i32) {
        if let Ok(signal) = Signal::try_from(signal) {
            let _gone = kill(self.pid(), signal);
        }
    }

    /// Its exit status, when it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot wait for the command")
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }
}

/// The hidden command: stops itself and, once continued, executes the command. Returns only when
/// that fails, with the reason.
pub(crate) fn pass(command: &[OsString]) -> Result<io::Error> {
    let Some((program, arguments)) = command.split_first() else { bail!("no command was given") };
    raise(Signal::SIGSTOP).context("cannot stop before the command")?;
    Ok(Command::new(program).args(arguments).exec())
}
