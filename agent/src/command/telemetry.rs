//! The agent's own numbers: the session publishes them, the metrics endpoint and the summary at the end read them.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use agent_common::Counter;

use super::funnel::Funnel;
use super::summary::summary;
use crate::{
    export::{self, metrics::MetricsText},
    pipeline::{Engine, LedgerTotals, NotCapturedKey, ServiceStanding},
    process::{Table, runtime::Runtimes},
    source::kernel::{Fill, KernelSource},
    trace::{ProcessConfidence, TrustLevel},
};

/// Processes, those with most calls, of which the belief by service is made.
const PROCESSES: usize = 512;
/// Most of them that are shown each by itself, beside the metrics.
const DETAILED: usize = 64;
/// Most of them in what is said at the end.
const SUMMARIZED: usize = 8;

/// What late judgements about processes cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Late {
    /// Found by the repeated look at all processes.
    pub(super) found: u64,
    /// Ended before they could be judged.
    pub(super) processes: u64,
    /// Connections of those.
    pub(super) connections: u64,
}
/// What the summary tells of the exporters.
const UNDELIVERED: &str = "wirespan_export_dropped_spans_total";

/// One number, ready to be written.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: u64,
}

/// The numbers of the last publication.
#[derive(Debug, Default)]
pub(super) struct Telemetry {
    samples: Mutex<Vec<Sample>>,
    standings: Mutex<Vec<ProcessConfidence>>,
    /// NotCaptured calls of running processes.
    not_captured: Mutex<Vec<(NotCapturedKey, u64)>>,
    refused_feedback: AtomicU64,
    descendants: AtomicUsize,
}

impl Telemetry {
    /// A request to skip that the kernel did not take.
    pub(super) fn count_refused_feedback(&self) {
        self.refused_feedback.fetch_add(1, Ordering::Relaxed);
    }

    /// What the exporters did not get out, when they have ended: for the summary.
    pub(super) fn undelivered(&self, exporters: &export::Summary) {
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

    pub(super) fn set_descendants(&self, processes: usize) {
        self.descendants.store(processes, Ordering::Relaxed);
    }

    /// Processes of the command that `trace` or `record` started, itself included, that still run.
    pub(super) fn descendants(&self) -> usize {
        self.descendants.load(Ordering::Relaxed)
    }

    /// What was seen and missed up to the last publication, and how far the processes that made calls are believed, for
    /// people.
    pub(super) fn summary(&self) -> String {
        let mut text = summary(&self.samples.lock().unwrap_or_else(PoisonError::into_inner), &[]);
        told(&mut text, &self.standings.lock().unwrap_or_else(PoisonError::into_inner));
        if self.standings.lock().unwrap_or_else(PoisonError::into_inner).len() > SUMMARIZED {
            text.push_str("; `wirespan doctor --pid N` tells of each");
        }
        text
    }

    /// Replaces what the endpoint shows.
    pub(super) fn publish(
        &self,
        counters: &[(Counter, u64)],
        source: &mut KernelSource,
        funnel: &mut Funnel,
        table: &Table,
        runtimes: &Runtimes,
        late: Late,
    ) {
        let mut samples = Vec::with_capacity(160);
        kernel(&mut samples, counters);
        skipped(&mut samples, source);
        ring(&mut samples, source.fill(), source.undecodable());
        pipeline(&mut samples, funnel.engine());
        let (mut standings, callers) = funnel.engine().standings(PROCESSES);
        beliefs(&mut samples, &funnel.engine().service_standings(&standings), callers);
        standings.truncate(DETAILED);
        *self.not_captured.lock().unwrap_or_else(PoisonError::into_inner) =
            funnel.engine().tally().not_captured();
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
        recording(&mut samples, funnel);
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

    /// Writes what is known of single processes: for whoever asks, not for a scrape, which would get a series for each.
    pub(super) fn collect_processes(&self, out: &mut MetricsText) {
        for standing in self.standings.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let pid = standing.pid.to_string();
            let mut add = |name, help, label, value: &str, count: u64| {
                let labels = [("pid", &*pid), ("service", &*standing.service), (label, value)];
                out.gauge(name, help, &labels, count as f64);
            };
            let help = "what names parents in a process, where several requests are open";
            add("wirespan_process_belief", help, "standing", standing.level.name(), 1);
            for (what, value) in standing.figures.list() {
                add("wirespan_process_calls", "what a process has shown", "what", what, value);
            }
        }
        for (key, value) in self.not_captured.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let labels = [("reason", key.reason.name()), ("pid", &*key.pid.to_string())];
            let help = "calls seen whose bytes may not be read, of processes that run";
            out.counter("wirespan_withheld_calls_total", help, &labels, *value);
        }
    }

    /// Writes the last publication, and what is read at the moment.
    pub(super) fn collect(&self, out: &mut MetricsText) {
        for sample in self.samples.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if sample.name == UNDELIVERED {
                // The exporters tell of it themselves.
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

/// What a pipeline was told by a log and missed.
pub(super) fn log_summary(engine: &mut Engine) -> String {
    let mut text = capture_summary(engine, &[]);
    told(&mut text, &engine.standings(PROCESSES).0);
    text
}

/// The same of a capture, which missed this `also`. It tells nothing of processes.
pub(super) fn capture_summary(engine: &mut Engine, also: &[String]) -> String {
    let mut samples = Vec::with_capacity(128);
    pipeline(&mut samples, engine);
    summary(&samples, also)
}

/// How far the processes that make most calls are believed, for people.
fn told(text: &mut String, standings: &[ProcessConfidence]) {
    for standing in standings.iter().take(SUMMARIZED) {
        text.push_str(&format!("\nwirespan: {standing}"));
    }
    if standings.len() > SUMMARIZED {
        text.push_str("\nwirespan: and further processes");
    }
}

/// How far the processes that make most calls are believed, by service: pids would make a series for each process.
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

fn pipeline(samples: &mut Vec<Sample>, engine: &mut Engine) {
    let not_captured = engine.withheld_by_service();
    let tally = engine.tally().clone();
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
    add("wirespan_connections", "connections open now", Vec::new(), engine.connections() as u64);
    add("wirespan_buffered_bytes", "bytes that connections buffer", Vec::new(), engine.buffered() as u64);
    for ((reason, service), value) in not_captured {
        let labels = vec![("reason", reason.name().to_owned()), ("service", service.to_string())];
        add("wirespan_withheld_calls_total", "calls seen whose bytes may not be read", labels, value);
    }
    ledger(samples, &tally.ledger);
    for (what, value) in engine.protocol_counters().list() {
        samples.push(Sample {
            name: "wirespan_protocol_total",
            help: "what the parsers met: losses, ceilings, refusals",
            labels: vec![("what", what.to_owned())],
            value,
        });
    }
    for sample in engine.trace_counters().samples() {
        let labels = sample.label.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        samples.push(Sample {
            name: sample.name,
            help: "counted by the trace layer (ARCHITECTURE.md, Counters)",
            labels,
            value: sample.value,
        });
    }
}

fn recording(samples: &mut Vec<Sample>, funnel: &Funnel) {
    let Some(recorded) = funnel.recorded() else { return };
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
