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
    pipeline::{EventSink, LedgerTotals, NotCapturedKey, ServiceStanding, Snapshot},
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
                help: "",
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
        beliefs(&mut samples, &snapshot.services, snapshot.calling_processes);
        *self.not_captured.lock().unwrap_or_else(PoisonError::into_inner) = snapshot.tally.not_captured();
        let mut standings = snapshot.processes;
        standings.truncate(DETAILED);
        *self.standings.lock().unwrap_or_else(PoisonError::into_inner) = standings;
        samples.push(Sample {
            name: "wirespan_probes_attached",
            help: "probes in traced programs now",
            labels: Vec::new(),
            value: source.attached_probes() as u64,
        });
        samples.push(Sample {
            name: "wirespan_probed_processes",
            help: "traced processes that run programs with probes",
            labels: Vec::new(),
            value: source.probed_processes() as u64,
        });
        recording(&mut samples, sink);
        processes(&mut samples, table, late);
        samples.extend(runtimes.results().map(|(runtime, result, value)| Sample {
            name: "wirespan_runtimes_total",
            help: "processes looked at for a runtime whose tasks are known",
            labels: vec![("runtime", runtime.to_owned()), ("result", result.to_owned())],
            value,
        }));
        samples.push(Sample {
            name: "wirespan_feedback_refused_total",
            help: "requests to skip bytes that the kernel did not take",
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
                out.counter(sample.name, sample.help, &labels, sample.value);
            } else {
                out.gauge(sample.name, sample.help, &labels, sample.value as f64);
            }
        }
        if let Some(bytes) = resident() {
            out.gauge(
                "wirespan_memory_resident_bytes",
                "resident memory of the agent, ring included",
                &[],
                bytes as f64,
            );
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
fn beliefs(samples: &mut Vec<Sample>, standings: &[ServiceStanding], callers: usize) {
    let mut add = |name, help, labels, value| samples.push(Sample { name, help, labels, value });
    add("wirespan_calling_processes", "processes that have made calls", Vec::new(), callers as u64);
    for standing in standings {
        let of =
            |label, value: &str| vec![("service", standing.service.to_string()), (label, value.to_owned())];
        for believed in TrustLevel::ALL {
            let help = "processes by what names parents in them, where several requests are open";
            let processes = standing.standings[believed as usize];
            add("wirespan_process_belief", help, of("standing", believed.name()), processes);
        }
        for (what, value) in standing.figures.list() {
            let help = "what processes have shown: calls with and without a parent, sides of the last 400 calls, answers";
            add("wirespan_process_calls", help, of("what", what), value);
        }
    }
}

fn kernel(samples: &mut Vec<Sample>, counters: &[(Counter, u64)]) {
    for (counter, value) in counters {
        let label = if counter.metric() == "wirespan_bpf_calls_total" { "program" } else { "reason" };
        samples.push(Sample {
            name: counter.metric(),
            help: counter.help(),
            labels: vec![(label, counter.label().to_owned())],
            value: *value,
        });
    }
}

fn skipped(samples: &mut Vec<Sample>, source: &KernelSource) {
    samples.extend(source.recursion_misses().iter().map(|(program, value)| Sample {
        name: "wirespan_bpf_recursion_misses_total",
        help: "runs that the kernel skipped, since the program was running on that processor already",
        labels: vec![("program", program.clone())],
        value: *value,
    }));
}

fn ring(samples: &mut Vec<Sample>, fill: Fill, undecodable: u64) {
    let mut gauge = |name, help, value| samples.push(Sample { name, help, labels: Vec::new(), value });
    gauge(
        "wirespan_ring_fill_bytes",
        "most bytes found in the ring at once since the last publication",
        fill.used,
    );
    gauge("wirespan_ring_size_bytes", "size of the ring", fill.size);
    gauge("wirespan_ring_undecodable_records_total", "records that are none: must stay 0", undecodable);
}

fn pipeline(samples: &mut Vec<Sample>, snapshot: &Snapshot) {
    let tally = &snapshot.tally;
    let mut add = |name, help, labels, value| samples.push(Sample { name, help, labels, value });
    for (kind, value) in [
        ("transfer", tally.transfers),
        ("opened", tally.opened),
        ("closed", tally.closed),
        ("other", tally.other_events),
    ] {
        add(
            "wirespan_events_total",
            "events that entered the pipeline",
            vec![("kind", kind.to_owned())],
            value,
        );
    }
    add("wirespan_moved_bytes_total", "bytes that the traced calls moved", Vec::new(), tally.moved_bytes);
    add(
        "wirespan_captured_bytes_total",
        "bytes of them that were captured",
        Vec::new(),
        tally.captured_bytes,
    );
    add(
        "wirespan_stray_transfers_total",
        "transfers of connections that are not known",
        Vec::new(),
        tally.stray_transfers,
    );
    for (reason, value) in tally.evicted() {
        let labels = vec![("reason", reason.name().to_owned())];
        add("wirespan_connections_evicted_total", "connections that made room for others", labels, value);
    }
    add(
        "wirespan_redirected_connections_total",
        "connections of which a sockmap takes bytes past TCP: their two ends are not joined",
        Vec::new(),
        tally.redirected,
    );
    add("wirespan_connections", "connections open now", Vec::new(), snapshot.connections as u64);
    add(
        "wirespan_buffered_bytes",
        "bytes that connections buffer",
        Vec::new(),
        snapshot.buffered_bytes as u64,
    );
    for ((reason, service), value) in &snapshot.not_captured {
        let labels = vec![("reason", reason.name().to_owned()), ("service", service.to_string())];
        add(NOT_CAPTURED, "calls seen whose bytes may not be read", labels, *value);
    }
    ledger(samples, &tally.ledger);
    for (what, value) in snapshot.protocol.list().into_iter().chain(snapshot.stream.list()) {
        samples.push(Sample {
            name: "wirespan_protocol_total",
            help: "what the parsers met: losses, ceilings, refusals",
            labels: vec![("what", what.to_owned())],
            value,
        });
    }
    for sample in snapshot.trace.samples() {
        let labels = sample.label.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        samples.push(Sample {
            name: sample.name,
            help: "counted by the trace layer (ARCHITECTURE.md, Counters)",
            labels,
            value: sample.value,
        });
    }
}

fn recording(samples: &mut Vec<Sample>, sink: &EventSink) {
    let Some(recorded) = sink.recorded() else { return };
    for (name, help, value) in [
        ("wirespan_recorded_events_total", "events written to the event log", recorded.events),
        ("wirespan_recorded_bytes_total", "bytes written to the event log", recorded.bytes),
        (
            "wirespan_recording_dropped_events_total",
            "events that came after the recording had stopped",
            recorded.dropped,
        ),
    ] {
        samples.push(Sample { name, help, labels: Vec::new(), value });
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
            help: "bytes of ended connections: observed = parsed + skipped + truncated + dropped + unseen",
            labels: vec![("entry", entry.to_owned())],
            value,
        });
    }
    samples.push(Sample {
        name: "wirespan_ledger_violations_total",
        help: "directions of connections whose account did not balance: must stay 0",
        labels: Vec::new(),
        value: totals.violations,
    });
}

fn processes(samples: &mut Vec<Sample>, table: &Table, late: Late) {
    let counters = table.counters();
    let mut add = |name, help, labels, value| samples.push(Sample { name, help, labels, value });
    add("wirespan_processes_selected", "processes traced now", Vec::new(), table.selected_count() as u64);
    for (what, value) in [
        ("selected", counters.selected),
        ("deselected", counters.deselected),
        ("vanished", counters.vanished),
        ("over_limit", counters.over_limit),
        ("forgotten", counters.forgotten),
        ("unreadable", counters.unreadable),
        ("cut", counters.cut),
    ] {
        let labels = vec![("what", what.to_owned())];
        add("wirespan_process_decisions_total", "decisions about processes", labels, value);
    }
    add(
        "wirespan_processes_found_late_total",
        "processes that the look at all processes selected, every 5 s: what they did before was not seen",
        Vec::new(),
        late.found,
    );
    add(
        "wirespan_processes_unjudged_total",
        "processes that ended before the rules could ask what they need to know: not traced",
        Vec::new(),
        late.processes,
    );
    add(
        "wirespan_unjudged_connections_total",
        "connections of processes that ended before the rules could ask what they need to know: not traced",
        Vec::new(),
        late.connections,
    );
}

/// Resident bytes of this process (second field of /proc/self/statm, in pages).
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * procfs::page_size())
}
