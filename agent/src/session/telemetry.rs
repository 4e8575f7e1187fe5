//! The agent's own counters. The session publishes them; the metrics, the status page and the
//! summary at the end read them.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use agent_common::Counter;

use super::{
    sample::{NOT_CAPTURED, Sample},
    status::Status,
    summary::summary,
};
use crate::{
    export::{self, metrics::MetricsText},
    pipeline::{EventSink, LedgerTotals, NotCapturedKey, ServiceConfidence, Snapshot},
    process::{Table, runtime::Runtimes},
    source::kernel::{Fill, KernelSource},
    trace::{ProcessConfidence, TrustLevel},
};

/// Processes, those with most calls, that are counted by service.
const PROCESSES: usize = 512;
/// Most of them that are shown each by itself, on the status page.
const DETAILED: usize = 64;
/// Most of them in the summary at the end.
const SUMMARIZED: usize = 8;

/// What late decisions about processes cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Late {
    /// Processes that a scan found.
    pub(crate) found: u64,
    /// Processes that ended before the rules could decide.
    pub(crate) processes: u64,
    /// Connections of those.
    pub(crate) connections: u64,
}
/// The metric of the exporters that the summary shows.
const UNDELIVERED: &str = "wirespan_export_dropped_spans_total";

/// The numbers of the last publication.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    samples: Mutex<Vec<Sample>>,
    standings: Mutex<Vec<ProcessConfidence>>,
    /// System calls of running processes whose bytes were not captured.
    not_captured: Mutex<Vec<(NotCapturedKey, u64)>>,
    refused_feedback: AtomicU64,
    descendants: AtomicUsize,
}

impl Telemetry {
    /// Counts a request to skip that the kernel refused.
    pub(crate) fn count_refused_feedback(&self) {
        self.refused_feedback.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds the spans that the exporters lost, for the summary at the end.
    pub(crate) fn undelivered(&self, exporters: &export::Summary) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        for exporter in &exporters.exporters {
            samples.extend(exporter.dropped.iter().map(|(reason, spans)| Sample {
                name: UNDELIVERED,
                labels: vec![("reason", reason.name().to_owned()), ("exporter", exporter.name.to_owned())],
                value: *spans,
            }));
        }
    }

    pub(crate) fn set_descendants(&self, processes: usize) {
        self.descendants.store(processes, Ordering::Relaxed);
    }

    /// Processes of the command that `trace` or `record` started, itself included, that still run.
    pub(crate) fn descendants(&self) -> usize {
        self.descendants.load(Ordering::Relaxed)
    }

    /// What was seen and missed up to the last publication, and how far the links of each process
    /// are trusted: for people. `figures` adds the counts behind that.
    pub(crate) fn summary(&self, figures: bool) -> String {
        let mut text = summary(&self.samples.lock().unwrap_or_else(PoisonError::into_inner), &[]);
        append_processes(&mut text, &self.standings.lock().unwrap_or_else(PoisonError::into_inner), figures);
        if self.standings.lock().unwrap_or_else(PoisonError::into_inner).len() > SUMMARIZED {
            text.push_str("; `wirespan doctor --pid N` shows each");
        }
        text
    }

    /// Replaces the published counters.
    pub(crate) fn publish(
        &self,
        counters: &[(Counter, u64)],
        source: &mut KernelSource,
        sink: &mut EventSink,
        table: &Table,
        runtimes: &Runtimes,
        late: Late,
    ) {
        let mut samples = Vec::with_capacity(160);
        kernel(&mut samples, counters);
        skipped(&mut samples, source);
        ring(&mut samples, source.fill(), source.undecodable());
        let snapshot = sink.snapshot(PROCESSES);
        pipeline(&mut samples, &snapshot);
        confidence(&mut samples, &snapshot.services, snapshot.calling_processes);
        *self.not_captured.lock().unwrap_or_else(PoisonError::into_inner) = snapshot.tally.not_captured();
        let mut standings = snapshot.processes;
        standings.truncate(DETAILED);
        *self.standings.lock().unwrap_or_else(PoisonError::into_inner) = standings;
        samples.push(Sample {
            name: "wirespan_attached_uprobes",
            labels: Vec::new(),
            value: source.attached_probes() as u64,
        });
        samples.push(Sample {
            name: "wirespan_probed_processes",
            labels: Vec::new(),
            value: source.probed_processes() as u64,
        });
        recording(&mut samples, sink);
        processes(&mut samples, table, late);
        samples.extend(runtimes.results().map(|(runtime, result, value)| Sample {
            name: "wirespan_runtime_lookups_total",
            labels: vec![("runtime", runtime.to_owned()), ("result", result.to_owned())],
            value,
        }));
        samples.push(Sample {
            name: "wirespan_bpf_refused_skip_requests_total",
            labels: Vec::new(),
            value: self.refused_feedback.load(Ordering::Relaxed),
        });
        *self.samples.lock().unwrap_or_else(PoisonError::into_inner) = samples;
    }

    /// The status page, which `doctor` reads. It has the single processes, for each of which the
    /// metrics would need a series.
    pub(crate) fn status(&self) -> Status {
        Status::new(
            &self.samples.lock().unwrap_or_else(PoisonError::into_inner),
            &self.standings.lock().unwrap_or_else(PoisonError::into_inner),
            &self.not_captured.lock().unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Writes the metrics: the last publication, and the memory at this moment.
    pub(crate) fn collect(&self, out: &mut MetricsText) {
        for sample in self.samples.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if sample.name == UNDELIVERED {
                // The exporters write this metric themselves.
                continue;
            }
            let labels: Vec<(&'static str, &str)> =
                sample.labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
            if sample.name.ends_with("_total") {
                out.counter(sample.name, &labels, sample.value);
            } else {
                out.gauge(sample.name, &labels, sample.value as f64);
            }
        }
        out.gauge("wirespan_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        if let Some(bytes) = resident() {
            out.gauge("process_resident_memory_bytes", &[], bytes as f64);
        }
        if let Some(seconds) = cpu_seconds() {
            out.counter("process_cpu_seconds_total", &[], seconds);
        }
    }
}

/// What was seen and missed of a log, for people. `figures` adds the counts behind the trust in
/// links.
pub(crate) fn log_summary(sink: &mut EventSink, figures: bool) -> String {
    let snapshot = sink.snapshot(PROCESSES);
    let mut text = capture_summary(&snapshot, &[]);
    append_processes(&mut text, &snapshot.processes, figures);
    text
}

/// The same for a packet capture, which has no processes. `also` holds further losses.
pub(crate) fn capture_summary(snapshot: &Snapshot, also: &[String]) -> String {
    let mut samples = Vec::with_capacity(128);
    pipeline(&mut samples, snapshot);
    summary(&samples, also)
}

/// How far the links of the processes that make most calls are trusted, for people.
fn append_processes(text: &mut String, standings: &[ProcessConfidence], figures: bool) {
    for standing in standings.iter().take(SUMMARIZED) {
        let line = if figures { format!("{standing:#}") } else { standing.to_string() };
        text.push_str(&format!("\nwirespan: {line}"));
    }
    if standings.len() > SUMMARIZED {
        text.push_str("\nwirespan: and further processes");
    }
}

/// How far the links of processes are trusted, by service: pids would make a series for each
/// process.
fn confidence(samples: &mut Vec<Sample>, standings: &[ServiceConfidence], callers: usize) {
    let mut add = |name, labels, value| samples.push(Sample { name, labels, value });
    add("wirespan_calling_processes", Vec::new(), callers as u64);
    for standing in standings {
        let of =
            |label, value: &str| vec![("service", standing.service.to_string()), (label, value.to_owned())];
        for believed in TrustLevel::ALL {
            let processes = standing.standings[believed as usize];
            add("wirespan_process_confidence", of("level", believed.name()), processes);
        }
        for (name, result, value) in standing.figures.metrics() {
            let labels = match result {
                Some(result) => of("result", result),
                None => vec![("service", standing.service.to_string())],
            };
            add(name, labels, value);
        }
    }
}

fn kernel(samples: &mut Vec<Sample>, counters: &[(Counter, u64)]) {
    for (counter, value) in counters {
        samples.push(Sample {
            name: counter.metric(),
            labels: vec![(counter.label(), counter.value().to_owned())],
            value: *value,
        });
    }
}

fn skipped(samples: &mut Vec<Sample>, source: &KernelSource) {
    samples.extend(source.recursion_misses().iter().map(|(program, value)| Sample {
        name: "wirespan_bpf_recursion_misses_total",
        labels: vec![("program", program.clone())],
        value: *value,
    }));
}

fn ring(samples: &mut Vec<Sample>, fill: Fill, undecodable: u64) {
    let mut gauge = |name, value| samples.push(Sample { name, labels: Vec::new(), value });
    gauge("wirespan_ring_peak_bytes", fill.used);
    gauge("wirespan_ring_size_bytes", fill.size);
    gauge("wirespan_ring_undecodable_records_total", undecodable);
}

fn pipeline(samples: &mut Vec<Sample>, snapshot: &Snapshot) {
    let tally = &snapshot.tally;
    let mut add = |name, labels, value| samples.push(Sample { name, labels, value });
    for (kind, value) in [
        ("transfer", tally.transfers),
        ("opened", tally.opened),
        ("closed", tally.closed),
        ("other", tally.other_events),
    ] {
        add("wirespan_events_total", vec![("type", kind.to_owned())], value);
    }
    add("wirespan_transferred_bytes_total", Vec::new(), tally.moved_bytes);
    add("wirespan_captured_bytes_total", Vec::new(), tally.captured_bytes);
    add("wirespan_unknown_connection_transfers_total", Vec::new(), tally.stray_transfers);
    for (reason, value) in tally.evicted() {
        let labels = vec![("reason", reason.name().to_owned())];
        add("wirespan_evicted_connections_total", labels, value);
    }
    add("wirespan_redirected_connections_total", Vec::new(), tally.redirected);
    add("wirespan_connections", Vec::new(), snapshot.connections as u64);
    add("wirespan_buffered_bytes", Vec::new(), snapshot.buffered_bytes as u64);
    for ((reason, service), value) in &snapshot.not_captured {
        let labels = vec![("reason", reason.name().to_owned()), ("service", service.to_string())];
        add(NOT_CAPTURED, labels, *value);
    }
    ledger(samples, &tally.ledger);
    let parsers = snapshot.protocol.samples().chain(snapshot.stream.samples());
    for sample in parsers.chain(snapshot.trace.samples()) {
        let labels = sample.label.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        samples.push(Sample { name: sample.name, labels, value: sample.value });
    }
}

fn recording(samples: &mut Vec<Sample>, sink: &EventSink) {
    let Some(recorded) = sink.recorded() else { return };
    for (name, value) in [
        ("wirespan_recorded_events_total", recorded.events),
        ("wirespan_recorded_bytes_total", recorded.bytes),
        ("wirespan_unrecorded_events_total", recorded.dropped),
    ] {
        samples.push(Sample { name, labels: Vec::new(), value });
    }
}

fn ledger(samples: &mut Vec<Sample>, totals: &LedgerTotals) {
    for (entry, value) in [
        ("observed", totals.observed),
        ("parsed", totals.parsed),
        ("skipped", totals.skipped),
        ("truncated", totals.truncated),
        ("dropped", totals.dropped),
        ("unseen", totals.unseen),
    ] {
        samples.push(Sample {
            name: "wirespan_ledger_bytes_total",
            labels: vec![("entry", entry.to_owned())],
            value,
        });
    }
    samples.push(Sample {
        name: "wirespan_ledger_violations_total",
        labels: Vec::new(),
        value: totals.violations,
    });
}

fn processes(samples: &mut Vec<Sample>, table: &Table, late: Late) {
    let counters = table.counters();
    let mut add = |name, labels, value| samples.push(Sample { name, labels, value });
    add("wirespan_selected_processes", Vec::new(), table.selected_count() as u64);
    for (what, value) in [
        ("selected", counters.selected),
        ("deselected", counters.deselected),
        ("exited", counters.vanished),
        ("over_limit", counters.over_limit),
        ("not_remembered", counters.forgotten),
        ("unreadable", counters.unreadable),
        ("search_limit", counters.cut),
    ] {
        let labels = vec![("result", what.to_owned())];
        add("wirespan_process_decisions_total", labels, value);
    }
    add("wirespan_late_processes_total", Vec::new(), late.found);
    add("wirespan_undecided_processes_total", Vec::new(), late.processes);
    add("wirespan_undecided_connections_total", Vec::new(), late.connections);
}

/// CPU time of this process, all threads, user and system.
fn cpu_seconds() -> Option<f64> {
    let stat = procfs::process::Process::myself().ok()?.stat().ok()?;
    Some((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

/// Resident bytes of this process (second field of /proc/self/statm, in pages).
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * procfs::page_size())
}
