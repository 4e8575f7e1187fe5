//! `wirespan trace`: shows traces on the terminal as they happen, of the processes that match or of
//! a command that it starts.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use super::{ending, target::Target};
use crate::export::{
    self, HostResource,
    console::{ConsoleFormat, ConsoleSettings},
};
use crate::session::recording::Recording;

/// How traces are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A tree for people.
    Tree,
    /// OTLP JSON, one object per line.
    Json,
}

/// Arguments of `wirespan trace`.
#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    #[command(flatten)]
    target: Target,
    #[arg(long, value_enum, default_value = "tree")]
    format: Format,
    /// Also write every event into a new file, for `wirespan replay`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// Exit status of wrong usage: no process was named.
pub(super) const NO_TARGET: i32 = 2;

/// Traces until the time is over, a signal comes, the command ends or nobody reads. Returns the
/// exit status.
pub(super) fn trace(args: TraceArgs, verbose: bool) -> Result<i32> {
    if args.record.as_deref().is_some_and(|path| path.as_os_str() == "-") {
        bail!("standard output holds the traces: give --record a file, or use `wirespan record --out -`");
    }
    let host = HostResource::detect(|name| std::env::var(name).ok());
    let recording = args.record.map(|path| Recording::beside(path, host.clone()));
    let export = export::Settings { console: Some(args.format.console()), ..export::Settings::default() };
    let status = args.target.watch(host, export, recording.clone(), verbose);
    if let Some(recording) = recording {
        ending::report_recording(&recording);
    }
    Ok(status?.unwrap_or(NO_TARGET))
}

impl Format {
    /// The console that shows traces like this.
    pub(super) fn console(self) -> ConsoleSettings {
        let format = match self {
            Self::Tree => ConsoleFormat::Tree,
            Self::Json => ConsoleFormat::Json,
        };
        ConsoleSettings { format, ..ConsoleSettings::default() }
    }
}
