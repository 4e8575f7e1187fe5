//! `wirespan trace`: traces scroll by on the terminal, of the processes that match or of a command started here.

use std::{ffi::OsString, process::ExitStatus, time::Duration};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    gate::Gated,
    listeners,
    runtime::{Setup, Signals, Tracing},
    session::{Options, Session},
};
use crate::{
    export::{
        self, HostResource,
        console::{ConsoleFormat, ConsoleSettings},
    },
    process::{Glob, Rule, Selection},
    source::kernel::{self, Rung},
};

/// How often the command is looked at.
const POLL: Duration = Duration::from_millis(20);

/// How long after the command's end events are still read: the last of them, and what the trees wait for.
const SETTLE: Duration = Duration::from_millis(300);

/// How traces are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A tree for people.
    Tree,
    /// OTLP JSON, one object per line.
    Json,
}

/// Arguments of `wirespan trace`.
#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    /// Trace this process (may be repeated, as all selectors; one that matches suffices).
    #[arg(long, value_name = "N")]
    pid: Vec<u32>,
    /// Trace processes whose executable's path matches; `*` also matches `/`. A bare name matches in any directory.
    #[arg(long, value_name = "GLOB")]
    exe: Vec<String>,
    /// Trace processes whose arguments, joined by spaces, match.
    #[arg(long, value_name = "GLOB")]
    cmdline: Vec<String>,
    /// Trace processes that listen on this port.
    #[arg(long, value_name = "N")]
    port: Vec<u16>,
    /// Trace processes in this cgroup and below it.
    #[arg(long, value_name = "PATH")]
    cgroup: Vec<String>,
    /// Stop after this time: 10s, 500ms, 2m, 1h.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    time: Option<Duration>,
    #[arg(long, value_enum, default_value = "tree")]
    format: Format,
    /// Use only this rung of hooks: raw_tp or fexit.
    #[arg(long, value_name = "R")]
    rung: Option<Rung>,
    /// Start this command and trace it from its first system call.
    #[arg(last = true, value_name = "CMD ARGS")]
    command: Vec<OsString>,
}

/// Traces until the time is over, a signal comes, the command ends or nobody reads. Returns the exit status.
pub(super) fn trace(args: TraceArgs, verbose: bool) -> Result<i32> {
    let selection = args.selection()?;
    if selection.select.is_empty() && args.command.is_empty() {
        listeners::print()?;
        return Ok(2);
    }
    let gated = if args.command.is_empty() { None } else { Some(Gated::start(&args.command)?) };
    let kernel = kernel::Settings { rung: args.rung, verbose, ..kernel::Settings::default() };
    let options = Options { selection, kernel, ..Options::default() };
    let pid = gated.as_ref().map(Gated::id);
    let named = !options.selection.select.is_empty();
    let prepare = move |session: &mut Session| {
        if let Some(pid) = pid {
            session.pin(pid)?;
        }
        if named && session.selected() == 0 {
            eprintln!("wirespan: no process matches yet; those that start from now on are traced");
        }
        Ok(())
    };
    let setup = Setup { host: HostResource::detect(|name| std::env::var(name).ok()), export: args.export() };
    let prepared = setup.start()?;
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
    let deadline = args.time.map(|time| Instant::now() + time);
    match gated {
        Some(gated) => {
            gated.open()?;
            tracing.until(command_ended(gated, signals, deadline))?
        }
        None => tracing.until(async move {
            tokio::select! {
                _ = signals.next() => {}
                () = closed.notified() => {}
                () = over(deadline) => {}
            }
            Ok(0)
        })?,
    }
}

/// Waits for the command and passes signals on to it; when the time is over it is asked to end. Its status is ours.
async fn command_ended(mut gated: Gated, mut signals: Signals, mut deadline: Option<Instant>) -> Result<i32> {
    loop {
        if let Some(status) = gated.ended()? {
            sleep(SETTLE).await;
            return Ok(code(status));
        }
        tokio::select! {
            signal = signals.next() => gated.forward(signal),
            () = over(deadline) => {
                gated.forward(libc::SIGTERM);
                deadline = None;
            }
            () = sleep(POLL) => {}
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
        None => std::future::pending().await,
    }
}

impl TraceArgs {
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
            select.push(Rule { exe: Some(executable(exe)?), ..Rule::default() });
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

    fn export(&self) -> export::Settings {
        let format = match self.format {
            Format::Tree => ConsoleFormat::Tree,
            Format::Json => ConsoleFormat::Json,
        };
        export::Settings {
            console: Some(ConsoleSettings { format, ..ConsoleSettings::default() }),
            ..export::Settings::default()
        }
    }
}

/// `nginx` means `*/nginx`: at a shell nobody types the path.
fn executable(text: &str) -> Result<Glob> {
    let pattern =
        if text.contains('/') || text.starts_with('*') { text.to_owned() } else { format!("*/{text}") };
    Ok(Glob::new(&pattern)?)
}

/// `10s`, `500ms`, `2m`, `1h`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let expected = || format!("{text:?} is no time: write it like 10s, 500ms, 2m or 1h");
    let number: u64 = text[..digits].parse().map_err(|_| expected())?;
    let milliseconds = match &text[digits..] {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(expected()),
    };
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, milliseconds) in
            [("10s", 10_000), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000), ("3", 3_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "10 s", "-1s", "1d", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bare_name_matches_in_any_directory() {
        let glob = executable("nginx").expect("a glob");
        assert!(glob.matches("/usr/sbin/nginx"));
        assert!(!glob.matches("/usr/sbin/nginx-debug"));
    }
}
