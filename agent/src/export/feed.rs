//! What the agent knows of one exporter: its queue and the account of every span given to it.
//!
//! Every span pushed is, in the end, exactly one of: exported, or dropped for one [`DropReason`].

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{metrics::MetricsText, span_file::Change};
use crate::pipeline::queue::Queue;

/// Why a span did not get out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum DropReason {
    /// The exporter's queue was full, or closed already.
    QueueFull,
    /// Retried for the configured time in vain.
    RetriesExhausted,
    /// The collector refused the request with a status that is not retryable.
    Refused,
    /// The collector took the request but rejected some spans of it (OTLP partial success).
    Rejected,
    /// Writing to the file or the terminal failed.
    Write,
    /// The agent stopped before the span was out.
    Shutdown,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 6] =
        [Self::QueueFull, Self::RetriesExhausted, Self::Refused, Self::Rejected, Self::Write, Self::Shutdown];

    /// The value of the `reason` label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::RetriesExhausted => "retries_exhausted",
            Self::Refused => "not_retryable",
            Self::Rejected => "partial_success",
            Self::Write => "write_failed",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Queue and counters of one exporter.
#[derive(Debug)]
pub(crate) struct Feed {
    /// The `exporter` label: `otlp`, `file`, `console`.
    pub(crate) name: &'static str,
    pub(crate) queue: Queue,
    exported: AtomicU64,
    /// By `DropReason as usize`; [`DropReason::QueueFull`] is counted by the queue.
    dropped: [AtomicU64; DropReason::ALL.len()],
    failed_attempts: AtomicU64,
    early_traces: AtomicU64,
    unreadable_answers: AtomicU64,
    /// By `Change as usize`.
    file_changes: [AtomicU64; Change::ALL.len()],
    /// The destination shall be opened anew.
    reopen: AtomicBool,
}

impl Feed {
    pub(crate) fn new(name: &'static str, capacity: usize) -> Self {
        Self {
            name,
            queue: Queue::new(capacity),
            exported: AtomicU64::new(0),
            dropped: Default::default(),
            failed_attempts: AtomicU64::new(0),
            early_traces: AtomicU64::new(0),
            unreadable_answers: AtomicU64::new(0),
            file_changes: Default::default(),
            reopen: AtomicBool::new(false),
        }
    }

    pub(crate) fn add_exported(&self, spans: u64) {
        self.exported.fetch_add(spans, Ordering::Relaxed);
    }

    pub(crate) fn add_dropped(&self, reason: DropReason, spans: u64) {
        self.dropped[reason as usize].fetch_add(spans, Ordering::Relaxed);
    }

    /// An attempt (a request, a write) failed, whatever became of its spans.
    pub(crate) fn add_failed_attempt(&self) {
        self.failed_attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// Traces that the console printed before their time because too many were held.
    pub(crate) fn add_early_traces(&self, traces: u64) {
        self.early_traces.fetch_add(traces, Ordering::Relaxed);
    }

    /// An answer of the collector that says success in a body which cannot be read.
    pub(crate) fn add_unreadable_answer(&self) {
        self.unreadable_answers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_file_change(&self, change: Change) {
        self.file_changes[change as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Asks the exporter to open its destination anew; it does so within its flush.
    pub(crate) fn ask_reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked for since the last call.
    pub(crate) fn take_reopen(&self) -> bool {
        self.reopen.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        let counted = self.dropped[reason as usize].load(Ordering::Relaxed);
        if reason == DropReason::QueueFull { counted + self.queue.dropped_spans() } else { counted }
    }

    /// Counts every span that was let in and is neither exported nor dropped as lost to the shutdown. Call it once,
    /// after the exporter has stopped.
    pub(crate) fn settle(&self) {
        let resolved: u64 = DropReason::ALL
            .iter()
            .filter(|reason| **reason != DropReason::QueueFull)
            .map(|reason| self.dropped(*reason))
            .sum::<u64>()
            + self.exported();
        self.add_dropped(DropReason::Shutdown, self.queue.accepted_spans().saturating_sub(resolved));
    }

    pub(crate) fn summary(&self) -> ExporterSummary {
        ExporterSummary {
            name: self.name,
            exported: self.exported(),
            dropped: DropReason::ALL
                .iter()
                .map(|reason| (*reason, self.dropped(*reason)))
                .filter(|(_, spans)| *spans > 0)
                .collect(),
        }
    }

    pub(crate) fn collect(&self, out: &mut MetricsText) {
        let exporter = ("exporter", self.name);
        out.counter("wirespan_exported_spans_total", &[exporter], self.exported());
        for reason in DropReason::ALL {
            out.counter(
                "wirespan_export_dropped_spans_total",
                &[exporter, ("reason", reason.name())],
                self.dropped(reason),
            );
        }
        out.counter(
            "wirespan_export_failed_attempts_total",
            &[exporter],
            self.failed_attempts.load(Ordering::Relaxed),
        );
        out.counter(
            "wirespan_export_dropped_notices_total",
            &[exporter, ("reason", DropReason::QueueFull.name())],
            self.queue.dropped_notices(),
        );
        if self.name == "otlp" {
            out.counter(
                "wirespan_export_unreadable_responses_total",
                &[],
                self.unreadable_answers.load(Ordering::Relaxed),
            );
        }
        for change in Change::ALL.into_iter().filter(|_| self.name == "file") {
            out.counter(
                "wirespan_export_file_reopens_total",
                &[("reason", change.name())],
                self.file_changes[change as usize].load(Ordering::Relaxed),
            );
        }
        if self.name == "console" {
            out.counter(
                "wirespan_console_early_traces_total",
                &[],
                self.early_traces.load(Ordering::Relaxed),
            );
        }
        out.gauge("wirespan_export_queue_entries", &[exporter], self.queue.len() as f64);
        out.gauge("wirespan_export_queue_capacity_entries", &[exporter], self.queue.capacity() as f64);
    }
}

/// What became of the spans given to one exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExporterSummary {
    /// `otlp`, `file` or `console`.
    pub name: &'static str,
    /// Spans that got out.
    pub exported: u64,
    /// Spans that did not, by reason; only reasons that occurred.
    pub dropped: BTreeMap<DropReason, u64>,
}

impl ExporterSummary {
    /// Spans that did not get out, for whatever reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }
}
