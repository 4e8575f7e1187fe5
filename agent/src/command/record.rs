//! `wirespan record`: every event of a run into a file, for `wirespan replay`. Nothing is exported.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use anyhow::{Result, bail};
use clap::Args;

use super::{ending, target::Target, trace::NO_TARGET};
use crate::session::recording::Recording;
use crate::{
    config,
    export::{self, HostResource},
    source::log::{Output, RecorderSettings},
};

/// Arguments of `wirespan record`.
#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    #[command(flatten)]
    target: Target,
    /// The file, which must not exist yet; only its owner can read it. `-`: standard output.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Stop when the file reaches this size: 500MiB, 2GiB.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size)]
    max_size: u64,
    /// Mask bodies, paths, query values and header values in the recording.
    #[arg(long)]
    redact: bool,
}

/// Records until the time is over, a signal comes, the command ends or the file is full. Returns
/// the exit status: that of the command, but 1 when not everything could be recorded.
pub(super) fn record(args: RecordArgs, verbose: bool) -> Result<i32> {
    let host = HostResource::detect(|name| std::env::var(name).ok());
    let settings =
        RecorderSettings { output: output(args.out)?, max_bytes: args.max_size, redact: args.redact };
    let recording = Recording::new(settings, host.clone());
    let status = args.target.watch(host, export::Settings::default(), Some(recording.clone()), verbose);
    let complete = ending::report_recording(&recording);
    let Some(status) = status? else { return Ok(NO_TARGET) };
    Ok(if complete { status } else { 1 })
}

/// A terminal is no place for a log.
fn output(path: PathBuf) -> Result<Output> {
    if path.as_os_str() != "-" {
        return Ok(Output::File(path));
    }
    if io::stdout().is_terminal() {
        bail!("an event log is no text: with `--out -` send standard output to a file or a pipe");
    }
    Ok(Output::Stdout)
}

fn size(text: &str) -> Result<u64, String> {
    let fits = config::parse_size(text).filter(|bytes| *bytes <= i64::MAX as u64);
    fits.ok_or_else(|| format!("expected {}", config::SIZE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::recording::MAX_BYTES;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!((size("500MiB"), size("1GiB")), (Ok(500 << 20), Ok(MAX_BYTES)));
        for text in ["", "1GB", "-1", "99999999999GiB", "9223372036854775808"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
