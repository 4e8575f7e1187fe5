//! A process that the rules look at. Its facts come from /proc while it lives, and from the
//! kernel's report once it is gone.

use std::cell::OnceCell;

use super::{ProcError, ProcRoot, Undecided, cgroup::Cgroups, listeners::ListeningSockets};

/// A process that the rules look at. Each fact is read once, when a rule first needs it.
#[derive(Debug)]
pub struct Candidate<'a> {
    proc: &'a ProcRoot,
    sockets: &'a ListeningSockets,
    pub(super) pid: u32,
    /// Nothing of the process can be read any more.
    gone: bool,
    executable: OnceCell<Option<String>>,
    command_line: OnceCell<String>,
    cgroups: OnceCell<Cgroups>,
}

impl<'a> Candidate<'a> {
    #[must_use]
    pub fn new(proc: &'a ProcRoot, sockets: &'a ListeningSockets, pid: u32) -> Self {
        Self {
            proc,
            sockets,
            pid,
            gone: false,
            executable: OnceCell::new(),
            command_line: OnceCell::new(),
            cgroups: OnceCell::new(),
        }
    }

    /// A process that is gone, or is another program by now, of which only this is known.
    #[must_use]
    pub fn gone(self, executable: Option<String>, arguments: Option<&[String]>) -> Self {
        Self {
            gone: true,
            executable: executable.map(|path| OnceCell::from(Some(path))).unwrap_or_default(),
            command_line: arguments.map(|all| OnceCell::from(all.join(" "))).unwrap_or_default(),
            ..self
        }
    }

    pub(super) fn executable(&self) -> Result<Option<&str>, Undecided> {
        let path = self.once(&self.executable, || self.proc.executable(self.pid))?;
        Ok(path.as_deref())
    }

    pub(super) fn command_line(&self) -> Result<&str, Undecided> {
        let text = self.once(&self.command_line, || Ok(self.proc.arguments(self.pid)?.join(" ")))?;
        Ok(text)
    }

    pub(super) fn cgroups(&self) -> Result<&Cgroups, Undecided> {
        self.once(&self.cgroups, || self.proc.cgroups(self.pid))
    }

    pub(super) fn listens_on(&self, port: u16) -> Result<bool, Undecided> {
        if self.gone {
            return if self.sockets.is_reported(self.pid, port) { Ok(true) } else { Err(Undecided::Gone) };
        }
        Ok(self.sockets.listens_on(self.proc, self.pid, port)?)
    }

    fn once<'c, T>(
        &self,
        cell: &'c OnceCell<T>,
        read: impl FnOnce() -> Result<T, ProcError>,
    ) -> Result<&'c T, Undecided> {
        match cell.get() {
            Some(value) => Ok(value),
            None if self.gone => Err(Undecided::Gone),
            None => {
                let value = read()?;
                Ok(cell.get_or_init(|| value))
            }
        }
    }
}
