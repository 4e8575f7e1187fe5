//! `wirespan replay`: feeds recorded events to the same pipeline as live ones, without root and
//! without a kernel. The same file gives the same spans, byte by byte, whenever and wherever it is
//! replayed.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tokio::{sync::oneshot, time::timeout};

use super::{signals::Signals, stdout::report, trace::Format};
use crate::{
    config,
    export::{
        self, HostResource, Sender,
        file::FileSettings,
        otlp::settings::{Endpoint, OtlpSettings, Protocol},
    },
    pipeline, protocol,
    session::{
        recording::Header,
        replay::{Replay, ReplayedCapture, ReplayedLog},
        runtime::{Prepared, Setup},
    },
    source::{
        FIRST_BYTES, Kind,
        log::{End, LogReader},
        pcap::{self, View},
    },
    trace,
};

/// How long the exporters may take for what is left: longer than OTLP retries.
const DRAIN: Duration = Duration::from_secs(600);

/// How long they may take after a signal.
const DRAIN_ASKED: Duration = Duration::from_secs(3);

/// The port on which collectors speak gRPC (OTLP specification).
const GRPC_PORT: u16 = 4317;

/// Arguments of `wirespan replay`.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Recordings (`record`, `--record`) or packet captures (pcap, pcapng). Each is replayed by
    /// itself, one after the other. `-`: standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Packet captures only: whose spans to make, the client's, the server's, or both. A capture
    /// shows both sides of each request, wherever it was taken.
    #[arg(long, value_name = "client|server|both", default_value_t)]
    view: View,
    /// Print traces on the terminal in this format. Without --export: tree; with it: nothing.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Send spans to this OTLP endpoint (http://HOST:PORT), or append them to this file as OTLP
    /// JSON lines.
    #[arg(long, value_name = "URL|FILE")]
    export: Option<String>,
    /// The OTLP protocol of the endpoint. Default: grpc on port 4317, else http/protobuf.
    #[arg(long, requires = "export", value_name = "grpc|http/protobuf", value_parser = protocol)]
    protocol: Option<Protocol>,
    /// Replay at the recorded pace instead of as fast as possible.
    #[arg(long)]
    realtime: bool,
}

/// Replays every file. Returns the exit status: 1 when a file was not whole or a span did not get
/// out.
pub(super) fn replay(args: &ReplayArgs, verbose: bool) -> Result<i32> {
    let export = args.exporters()?;
    let mut whole = true;
    for path in &args.files {
        match replay_file(path, &export, args, verbose).with_context(|| format!("{}", path.display()))? {
            Outcome::Whole => {}
            Outcome::Partly => whole = false,
            Outcome::Interrupted => return Ok(1),
            Outcome::Unread => return Ok(0),
        }
    }
    Ok(i32::from(!whole))
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Whole,
    Partly,
    /// By a signal.
    Interrupted,
    /// Nobody reads standard output any more (`| head`).
    Unread,
}

fn replay_file(path: &Path, export: &export::Settings, args: &ReplayArgs, verbose: bool) -> Result<Outcome> {
    let path = if path == Path::new("-") { Path::new("/dev/stdin") } else { path };
    let mut file = File::open(path).context("cannot be opened")?;
    let mut first = Vec::new();
    file.by_ref().take(FIRST_BYTES as u64).read_to_end(&mut first).context("cannot be read")?;
    let kind = Kind::of(&first);
    let input = BufReader::with_capacity(1 << 16, std::io::Cursor::new(first).chain(file));
    match kind {
        Some(Kind::Log) => log(input, export, args.realtime, verbose),
        Some(Kind::Capture) => capture(input, export, args),
        None => {
            bail!("is neither an event log of wirespan (`wirespan record` makes one) nor a packet capture")
        }
    }
}

/// Replays an event log, and reports on stderr what is unusual about it.
fn log(
    input: impl Read + Send + 'static,
    export: &export::Settings,
    realtime: bool,
    verbose: bool,
) -> Result<Outcome> {
    let reader = LogReader::open(input)?;
    let (header, unknown) = Header::parse(reader.header())?;
    for key in unknown {
        report(format_args!("the log's setting {key:?} is not known to this agent and has no effect"));
    }
    let own = env!("CARGO_PKG_VERSION");
    if header.agent != own {
        report(format_args!("recorded by agent {:?}, this is {own:?}: spans may differ", header.agent));
    }
    if let Some((major, minor)) = reader.newer_version() {
        report(format_args!(
            "the log's format {major}.{minor} is newer than this agent; what is new in it is passed over"
        ));
    }
    let setup = Setup { host: header.host, export: export.clone() };
    run(&setup, move |sender, stop| {
        let replayed = Replay::new(header.pipeline, sender, realtime).log(reader, stop, verbose)?;
        Ok(replayed.is_some_and(report_log))
    })
}

/// Replays a packet capture, and reports on stderr what was in it.
fn capture(
    input: impl Read + Send + 'static,
    export: &export::Settings,
    args: &ReplayArgs,
) -> Result<Outcome> {
    // Packets do not say on which host they were captured.
    let setup = Setup { host: HostResource::default(), export: export.clone() };
    // A connection of a capture is never idle: one packet with a wrong time must not end all
    // connections. The reader reports no end of connections that it forgets, so the pipeline has
    // room for as many of those as for open ones.
    let ends = if args.view == View::Both { 2 } else { 1 };
    let connections = 2 * ends * pcap::Limits::default().connections;
    let settings = pipeline::Settings {
        connections,
        idle: Duration::MAX,
        trace: trace::Settings { connections, ..trace::Settings::default() },
        ..pipeline::Settings::default()
    };
    let realtime = args.realtime;
    let options = pcap::Options { view: args.view, ..pcap::Options::new(protocol::opening) };
    run(&setup, move |sender, stop| {
        Replay::new(settings, sender, realtime).capture(input, &options, stop).map(report_capture)
    })
}

/// Says what became of a log; whether it was whole.
fn report_log(log: ReplayedLog) -> bool {
    let ReplayedLog { end, unknown_records, summary } = log;
    if end != End::Whole {
        report(format_args!("{end}"));
    }
    if unknown_records > 0 {
        report(format_args!("{unknown_records} records of unknown kinds were passed over"));
    }
    report(format_args!("{summary}"));
    end == End::Whole
}

/// Says what became of a capture; whether it was whole.
fn report_capture(capture: ReplayedCapture) -> bool {
    let ReplayedCapture { report: found, summary } = capture;
    report(format_args!("{found}"));
    report(format_args!("{summary}"));
    if let Some(damage) = &found.damage {
        report(format_args!("the rest of the file is damaged: {damage}"));
    }
    found.damage.is_none()
}

/// The exporters around a replay in a thread of its own, until it is over or a signal comes.
fn run(
    setup: &Setup,
    replay: impl FnOnce(Sender, &AtomicBool) -> Result<bool> + Send + 'static,
) -> Result<Outcome> {
    let Prepared { runtime, exporters, .. } = setup.start()?;
    let mut signals = Signals::catch(&runtime)?;
    let closed = exporters.output_closed();
    let (stop, sender) = (Arc::new(AtomicBool::new(false)), exporters.sender());
    let (report_end, mut ended) = oneshot::channel();
    let stopped = Arc::clone(&stop);
    let body = move || drop(report_end.send(replay(sender, &stopped)));
    thread::Builder::new()
        .name("replay".to_owned())
        .spawn(body)
        .context("cannot start the thread of the replay")?;
    let replayed = runtime.block_on(async {
        tokio::select! {
            result = &mut ended => Ok(result),
            _ = signals.next() => Err(Outcome::Interrupted),
            () = closed.notified() => Err(Outcome::Unread),
        }
    });
    stop.store(true, Ordering::Relaxed);
    let drain = if replayed.is_ok() { DRAIN } else { DRAIN_ASKED };
    let summary = runtime.block_on(async {
        tokio::select! {
            summary = exporters.shutdown(drain) => Some(summary),
            _ = signals.next() => None,
        }
    });
    // The reader may have gone after the last event was fed, but before the last line was printed.
    let unread = runtime.block_on(async { timeout(Duration::ZERO, closed.notified()).await.is_ok() });
    runtime.shutdown_background();
    if unread {
        return Ok(Outcome::Unread);
    }
    let replayed = match replayed {
        Ok(replayed) => replayed,
        Err(outcome) => return Ok(outcome),
    };
    let Some(summary) = summary else { return Ok(Outcome::Interrupted) };
    let whole = replayed.context("the replay ended unexpectedly: this is a defect")??;
    let lost: u64 = summary.exporters.iter().map(export::ExporterSummary::dropped_total).sum();
    if lost > 0 {
        report(format_args!("not every span got out: {summary}"));
    }
    Ok(if whole && lost == 0 { Outcome::Whole } else { Outcome::Partly })
}

impl ReplayArgs {
    fn exporters(&self) -> Result<export::Settings> {
        let mut settings = export::Settings::default();
        match &self.export {
            Some(target) if target.contains("://") => settings.otlp = Some(self.otlp(target)?),
            Some(_) if self.protocol.is_some() => bail!("--protocol is for an endpoint, not for a file"),
            Some(path) => settings.file = Some(FileSettings::new(path.into())),
            None => {}
        }
        let format = self.format.or_else(|| self.export.is_none().then_some(Format::Tree));
        settings.console = format.map(Format::console);
        Ok(settings)
    }

    fn otlp(&self, url: &str) -> Result<OtlpSettings> {
        let grpc_port = url.trim_end_matches('/').ends_with(&format!(":{GRPC_PORT}"));
        let protocol = self.protocol.or_else(|| grpc_port.then_some(Protocol::Grpc));
        if let Err(expected) = config::check_endpoint(url, protocol == Some(Protocol::Grpc)) {
            bail!("--export: expected {expected}");
        }
        let mut otlp = OtlpSettings {
            endpoint: Some(Endpoint::Base(url.to_owned())),
            protocol,
            ..OtlpSettings::default()
        };
        for variable in otlp.apply_environment(|name| std::env::var(name).ok()) {
            report(format_args!("{variable}"));
        }
        if !self.realtime {
            // Which spans go into which request must not depend on how fast they come.
            otlp.batch_delay = DRAIN;
            otlp.concurrent_requests = 1;
        }
        Ok(otlp)
    }
}

fn protocol(text: &str) -> Result<Protocol, String> {
    Protocol::parse(text).ok_or_else(|| "write grpc or http/protobuf".to_owned())
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod grpc;
#[cfg(test)]
mod hand_written;
#[cfg(test)]
mod redacted;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod summaries;
#[cfg(test)]
mod tests;
