//! What `trace` and `record` share: which processes they trace, for how long, and the session for
//! it.

use std::{ffi::OsString, future, process::ExitStatus, sync::Arc, time::Duration};

use anyhow::{Result, bail};
use clap::Args;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use super::{ending, listeners, signals::Signals, stdout::report};
use crate::{
    config,
    export::{self, HostResource},
    process::{Glob, Rule, Selection},
    session::{
        Options, Session,
        gate::Gated,
        recording::Recording,
        runtime::{Setup, Tracing},
        telemetry::Telemetry,
    },
    source::kernel::{self, AttachMode},
};

/// How often the command is checked.
const POLL: Duration = Duration::from_millis(20);

/// How long events are read after the command's end, for the last of them and for trees that wait
/// for them.
const SETTLE: Duration = Duration::from_millis(300);

/// How long a command may go on after the terminal is gone.
const HANG_UP: Duration = Duration::from_secs(2);

/// Heading of the options that select processes.
const SELECTORS: &str = "Processes to trace (those that match any of these; each may be repeated)";

/// Arguments of `trace` and `record`.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// This process, and the children that it forks until they execute another program.
    #[arg(long, value_name = "PID", help_heading = SELECTORS)]
    pid: Vec<u32>,
    /// Processes whose executable has this path; `*` also matches `/`. A bare name matches in any
    /// directory.
    #[arg(long, value_name = "GLOB", help_heading = SELECTORS)]
    exe: Vec<String>,
    /// Processes whose whole command line matches: the program as it was called and its arguments,
    /// joined by spaces.
    #[arg(long, value_name = "GLOB", help_heading = SELECTORS)]
    cmdline: Vec<String>,
    /// Processes that listen on this TCP port.
    #[arg(long, value_name = "PORT", help_heading = SELECTORS)]
    port: Vec<u16>,
    /// Processes in this cgroup or below it.
    #[arg(long, value_name = "PATH", help_heading = SELECTORS)]
    cgroup: Vec<String>,
    /// Stop after this duration: 500ms, 10s, 2m, 1h.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    time: Option<Duration>,
    /// How BPF programs are attached to the kernel. Default: the first of the two that works;
    /// `wirespan doctor` says which.
    #[arg(long, value_name = "raw_tp|fexit")]
    attach_mode: Option<AttachMode>,
    /// Start this command and trace it, with the processes that it starts, from its first system
    /// call.
    #[arg(last = true, value_name = "CMD ARGS")]
    command: Vec<OsString>,
}

impl Target {
    /// Watches until the time is over, a signal comes, the command ends, nobody reads or the
    /// recording is over. Returns the exit status; `None` when no process was named.
    pub(super) fn watch(
        self,
        host: HostResource,
        export: export::Settings,
        recording: Option<Recording>,
        verbose: bool,
    ) -> Result<Option<i32>> {
        let selection = self.selection()?;
        if selection.select.is_empty() && self.command.is_empty() {
            listeners::print()?;
            return Ok(None);
        }
        for doubt in selection.select.iter().filter_map(config::doubt_of_rule) {
            report(format_args!("warning: {doubt}"));
        }
        let gated = if self.command.is_empty() {
            None
        } else {
            Some(Gated::start(&self.command, recording.as_ref().is_some_and(Recording::to_stdout))?)
        };
        let kernel =
            kernel::Settings { attach_mode: self.attach_mode, verbose, ..kernel::Settings::default() };
        // A recording beside a trace may end without it.
        let alone = recording.as_ref().filter(|_| export == export::Settings::default());
        let recorded = alone.map(Recording::over).unwrap_or_default();
        let options = Options { selection, kernel, recording, ..Options::default() };
        let prepare = prepare(&options, gated.as_ref().map(Gated::id));
        let prepared = Setup { host, export }.start()?;
        let mut signals = Signals::catch(&prepared.runtime)?;
        let closed = prepared.exporters.output_closed();
        let tracing = match Tracing::start(prepared, options, Box::new(prepare)) {
            Ok(tracing) => tracing,
            Err(error) => {
                if let Some(gated) = &gated {
                    gated.forward(libc::SIGKILL);
                }
                return Err(error);
            }
        };
        let deadline = self.time.map(|time| Instant::now() + time);
        let numbers = tracing.telemetry();
        match gated {
            Some(gated) => {
                gated.open()?;
                let wait = Wait { signals, deadline, numbers, reader: closed, recorder: recorded, verbose };
                ending::conclude(tracing.until(wait.command(gated)), verbose)?.map(Some)
            }
            None => ending::conclude(
                tracing.until(async move {
                    tokio::select! {
                        _ = signals.next_end(|| report(format_args!("{}", numbers.summary(verbose)))) => {}
                        () = closed.notified() => {}
                        () = recorded.notified() => {}
                        () = over(deadline) => {}
                    }
                    Ok(Some(0))
                }),
                verbose,
            )?,
        }
    }

    /// One rule per selector.
    fn selection(&self) -> Result<Selection> {
        let mut select = Vec::new();
        for &pid in &self.pid {
            if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
                bail!(
                    "there is no process {pid}; `wirespan trace` without a selector lists those that listen"
                );
            }
            select.push(Rule { pid: Some(pid), ..Rule::default() });
        }
        for exe in &self.exe {
            select.push(Rule { exe: Some(Glob::new(exe)?), ..Rule::default() });
        }
        for cmdline in &self.cmdline {
            select.push(Rule { cmdline: Some(Glob::new(cmdline)?), ..Rule::default() });
        }
        select.extend(self.port.iter().map(|&port| Rule { port: Some(port), ..Rule::default() }));
        select.extend(self.cgroup.iter().map(|path| Rule { cgroup: Some(path.clone()), ..Rule::default() }));
        for rule in &select {
            rule.check()?;
        }
        Ok(Selection { select, exclude: Vec::new() })
    }
}

/// Sets up the session before it runs.
fn prepare(options: &Options, pid: Option<u32>) -> impl FnOnce(&mut Session) -> Result<()> + use<> {
    let named = !options.selection.select.is_empty();
    move |session| {
        if let Some(pid) = pid {
            session.pin(pid)?;
        }
        if named && session.selected() == 0 {
            report(format_args!("no process matches yet; those that start from now on are traced"));
        }
        Ok(())
    }
}

/// What ends a trace of a command.
struct Wait {
    signals: Signals,
    deadline: Option<Instant>,
    numbers: Arc<Telemetry>,
    /// Nobody reads standard output any more.
    reader: Arc<Notify>,
    /// A recording without a trace has stopped.
    recorder: Arc<Notify>,
    /// The summary has the figures of each process.
    verbose: bool,
}

/// Why a wait is over.
enum Cause {
    Signal(i32),
    Time,
    Poll,
    /// Nobody gets the traces any more.
    Unread,
}

impl Wait {
    /// Waits for the command and forwards signals to it. When the time is over, the command is
    /// asked to end. Returns its exit status.
    async fn command(mut self, mut gated: Gated) -> Result<i32> {
        let mut hung_up = None;
        loop {
            if let Some(status) = gated.ended()? {
                sleep(SETTLE).await;
                self.descendants().await;
                return Ok(code(status));
            }
            match self.next(hung_up).await {
                Cause::Signal(signal) => {
                    gated.forward(signal);
                    if signal == libc::SIGHUP {
                        hung_up = hung_up.or(Some(Instant::now() + HANG_UP));
                    }
                }
                Cause::Time if hung_up.is_some_and(|at| at <= Instant::now()) => {
                    return Ok(128 + libc::SIGHUP);
                }
                Cause::Time => {
                    gated.forward(libc::SIGTERM);
                    self.deadline = None;
                }
                Cause::Poll | Cause::Unread => {}
            }
        }
    }

    /// Traces what the command has left behind, such as a daemon, until that ends or somebody has
    /// seen enough, as strace -f does.
    async fn descendants(&mut self) {
        let mut announced = false;
        loop {
            let running = self.numbers.descendants();
            if running == 0 {
                return;
            }
            if !std::mem::replace(&mut announced, true) {
                report(format_args!(
                    "the command has ended; {running} of its descendants still run and are traced until they end, or Ctrl-C"
                ));
            }
            match self.next(None).await {
                Cause::Poll => {}
                Cause::Signal(_) | Cause::Time | Cause::Unread => {
                    let running = self.numbers.descendants();
                    return report(format_args!("{running} descendants of the command go on untraced"));
                }
            }
        }
    }

    async fn next(&mut self, hung_up: Option<Instant>) -> Cause {
        let Self { signals, deadline, numbers, reader, recorder, verbose } = self;
        let verbose = *verbose;
        tokio::select! {
            signal = signals.next_end(|| report(format_args!("{}", numbers.summary(verbose)))) => Cause::Signal(signal),
            () = over(*deadline) => Cause::Time,
            () = over(hung_up) => Cause::Time,
            () = reader.notified() => Cause::Unread,
            () = recorder.notified() => Cause::Unread,
            () = sleep(POLL) => Cause::Poll,
        }
    }
}

/// As shells report it: 128 plus the signal's number when a signal ended it.
fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

async fn over(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => future::pending().await,
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text).ok_or_else(|| format!("expected {}", config::DURATION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_refused_as_in_the_configuration() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2 m"), Ok(Duration::from_secs(120)));
        for text in ["", "30", "1d"] {
            assert_eq!(duration(text), Err("expected a duration like 500ms, 10s, 2m or 1h".to_owned()));
        }
    }
}
