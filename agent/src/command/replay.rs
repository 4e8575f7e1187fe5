//! `wirespan replay`: recorded events through the same pipeline as live ones, without root and without a kernel. The same
//! file gives the same spans, byte by byte, whenever and wherever it is replayed.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tokio::{sync::oneshot, time::timeout};

use super::{signals::Signals, trace::Format};
use crate::{
    config,
    event::{Event, Timestamp},
    export::{
        self, HostResource, Sender,
        file::FileSettings,
        otlp::settings::{Endpoint, OtlpSettings, Protocol},
    },
    pipeline::{self, Pipeline},
    protocol,
    session::{
        recording::Header,
        runtime::{Prepared, Setup},
        telemetry::{capture_summary, log_summary},
    },
    source::{
        FIRST_BYTES, Kind,
        log::{End, LogReader},
        pcap::{self, View},
    },
    trace,
};

/// Longest sleep of a replay at recorded pace, so that a signal ends it soon.
const NAP: Duration = Duration::from_millis(100);

/// How long the exporters may take for what is left: longer than OTLP retries.
const DRAIN: Duration = Duration::from_secs(600);

/// How long they may take after a signal.
const DRAIN_ASKED: Duration = Duration::from_secs(3);

/// The port on which collectors speak gRPC (OTLP specification).
const GRPC_PORT: u16 = 4317;

/// Arguments of `wirespan replay`.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Event logs of `wirespan record`, or packet captures (pcap, pcapng); each is replayed by itself, one after the other.
    /// - is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Of a packet capture: whose spans to make of a request that both ends might tell of.
    #[arg(long, value_name = "client|server|both", default_value_t)]
    view: View,
    /// Show traces on the terminal; the default without --export is tree.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Send spans to this OTLP endpoint (http://HOST:PORT), or append them to this file as OTLP JSON lines.
    #[arg(long, value_name = "URL|FILE")]
    export: Option<String>,
    /// What the endpoint speaks: grpc or http/protobuf. Default: grpc on port 4317, else http/protobuf.
    #[arg(long, requires = "export", value_name = "P", value_parser = protocol)]
    protocol: Option<Protocol>,
    /// At the pace at which it was recorded instead of as fast as possible.
    #[arg(long)]
    realtime: bool,
}

/// Replays every file. Returns the exit status: 1 when a file was not whole or a span did not get out.
pub(super) fn replay(args: &ReplayArgs) -> Result<i32> {
    let export = args.exporters()?;
    let mut whole = true;
    for path in &args.files {
        match one(path, &export, args).with_context(|| format!("{}", path.display()))? {
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

fn one(path: &Path, export: &export::Settings, args: &ReplayArgs) -> Result<Outcome> {
    let path = if path == Path::new("-") { Path::new("/dev/stdin") } else { path };
    let mut file = File::open(path).context("cannot be opened")?;
    let mut first = Vec::new();
    file.by_ref().take(FIRST_BYTES as u64).read_to_end(&mut first).context("cannot be read")?;
    let kind = Kind::of(&first);
    let input = BufReader::with_capacity(1 << 16, std::io::Cursor::new(first).chain(file));
    match kind {
        Some(Kind::Log) => log(input, export, args.realtime),
        Some(Kind::Capture) => capture(input, export, args),
        None => {
            bail!("is neither an event log of wirespan (`wirespan record` makes one) nor a packet capture")
        }
    }
}

/// Replays an event log, and says on stderr what is to be known of it.
fn log(input: impl Read + Send + 'static, export: &export::Settings, realtime: bool) -> Result<Outcome> {
    let reader = LogReader::open(input)?;
    let (header, unknown) = Header::parse(reader.header())?;
    for key in unknown {
        eprintln!("wirespan: the log's setting {key:?} is not known to this agent and has no effect");
    }
    let own = env!("CARGO_PKG_VERSION");
    if header.agent != own {
        eprintln!("wirespan: recorded by agent {:?}, this is {own:?}: spans may differ", header.agent);
    }
    if let Some(minor) = reader.newer_minor() {
        eprintln!(
            "wirespan: the log's format 1.{minor} is newer than this agent; what is new in it is passed over"
        );
    }
    let setup = Setup { host: header.host, export: export.clone() };
    let replay = Replay::new(header.pipeline, realtime);
    run(&setup, move |sender, stop| replay.log(reader, sender, stop))
}

/// Replays a packet capture, and says on stderr what was in it.
fn capture(
    input: impl Read + Send + 'static,
    export: &export::Settings,
    args: &ReplayArgs,
) -> Result<Outcome> {
    // Packets do not tell on which host they were captured.
    let setup = Setup { host: HostResource::default(), export: export.clone() };
    // A capture cannot be asked to meet a connection anew, and one packet with a wrong time must not end all others.
    // What the reader forgets has no end: the pipeline has room for as many of those, which are older than all others.
    let ends = if args.view == View::Both { 2 } else { 1 };
    let connections = 2 * ends * pcap::Limits::default().connections;
    let settings = pipeline::Settings {
        connections,
        idle: Duration::MAX,
        trace: trace::Settings { connections, ..trace::Settings::default() },
        ..pipeline::Settings::default()
    };
    let replay = Replay::new(settings, args.realtime);
    let options = pcap::Options { view: args.view, ..pcap::Options::new(protocol::opening) };
    run(&setup, move |sender, stop| replay.capture(input, &options, sender, stop))
}

/// The exporters around a replay in a thread of its own, until it is over or a signal comes.
fn run(
    setup: &Setup,
    replay: impl FnOnce(&Sender, &AtomicBool) -> Result<bool> + Send + 'static,
) -> Result<Outcome> {
    let Prepared { runtime, exporters, .. } = setup.start()?;
    let mut signals = Signals::catch(&runtime)?;
    let closed = exporters.output_closed();
    let (stop, sender) = (Arc::new(AtomicBool::new(false)), exporters.sender());
    let (report, mut ended) = oneshot::channel();
    let stopped = Arc::clone(&stop);
    let body = move || drop(report.send(replay(&sender, &stopped)));
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
        eprintln!("wirespan: not every span got out: {summary}");
    }
    Ok(if whole && lost == 0 { Outcome::Whole } else { Outcome::Partly })
}

/// Feeds a pipeline from a file.
struct Replay {
    pipeline: Pipeline,
    pace: Option<Pace>,
    /// The youngest event time.
    now: Timestamp,
}

impl Replay {
    fn new(settings: pipeline::Settings, realtime: bool) -> Self {
        Self {
            pipeline: Pipeline::new(settings),
            pace: realtime.then(Pace::default),
            now: Timestamp::default(),
        }
    }

    /// Feeds all that happened in a capture; whether it was whole.
    fn capture(
        mut self,
        input: impl Read,
        options: &pcap::Options,
        sender: &Sender,
        stop: &AtomicBool,
    ) -> Result<bool> {
        let report = pcap::read(input, options, &mut |event| {
            if !stop.load(Ordering::Relaxed) {
                self.feed(event, sender, stop);
            }
        })?;
        eprintln!("wirespan: {report}");
        eprintln!("wirespan: {}", capture_summary(self.pipeline.engine(), &report.missed()));
        if let Some(damage) = &report.damage {
            eprintln!("wirespan: the rest of the file is damaged: {damage}");
        }
        Ok(report.damage.is_none())
    }

    /// Feeds all events of a log; whether it was whole.
    fn log<R: Read>(mut self, mut reader: LogReader<R>, sender: &Sender, stop: &AtomicBool) -> Result<bool> {
        while !stop.load(Ordering::Relaxed) {
            let Some(event) = reader.next_event().context("cannot be read")? else { break };
            self.feed(&event, sender, stop);
        }
        let Some(end) = reader.end() else { return Ok(false) };
        if end != End::Whole {
            eprintln!("wirespan: {end}");
            // What the run would have done at its end: everything that is open goes as it stands.
            let at = self.now;
            self.feed(&Event::Shutdown { at }, sender, stop);
        }
        if reader.unknown_records() > 0 {
            eprintln!("wirespan: {} records of unknown kinds were passed over", reader.unknown_records());
        }
        eprintln!("wirespan: {}", log_summary(self.pipeline.engine()));
        Ok(end == End::Whole)
    }

    /// The one way in, for events of any source.
    fn feed(&mut self, event: &Event<'_>, sender: &Sender, stop: &AtomicBool) {
        if let Some(at) = event.at() {
            self.now = self.now.max(at);
            if let Some(pace) = &mut self.pace {
                pace.wait(at, stop);
            }
        }
        self.pipeline.feed(event, |batch| sender.send_waiting(&batch));
        // There is no kernel that could be asked for less.
        drop(self.pipeline.engine().drain_feedback());
    }
}

/// The pace at which events were recorded.
#[derive(Debug, Default)]
struct Pace {
    /// When the first event was replayed, and its time.
    start: Option<(Instant, Timestamp)>,
}

impl Pace {
    /// Waits until it is time for an event of `at`.
    fn wait(&mut self, at: Timestamp, stop: &AtomicBool) {
        let (started, first) = *self.start.get_or_insert_with(|| (Instant::now(), at));
        let due = Duration::from_nanos(at.since(first));
        while !stop.load(Ordering::Relaxed) {
            let left = due.saturating_sub(started.elapsed());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(NAP));
        }
    }
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
            eprintln!("wirespan: {variable}");
        }
        if !self.realtime {
            // Which spans stand in which request must not depend on how fast they come.
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
mod summaries;
#[cfg(test)]
mod tests;
