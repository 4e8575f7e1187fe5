//! Metrics of processes, exporters, recording and the agent itself.

use crate::metric::Metric;

/// The names of the exporters.
const EXPORTERS: &[(&str, &str)] =
    &[("otlp", "OTLP over gRPC or HTTP"), ("file", "OTLP JSON lines in a file"), ("console", "the terminal")];

pub(super) fn metrics() -> Vec<Metric> {
    [processes(), confidence(), exporters(), agent()].concat()
}

fn processes() -> Vec<Metric> {
    vec![
        Metric::new("wirespan_selected_processes", "Processes that are traced now."),
        Metric::new(
            "wirespan_process_decisions_total",
            "Outcomes of matching a process against the select and exclude rules.",
        )
        .by(
            "result",
            &[
                ("selected", "a process became selected"),
                ("deselected", "a process stopped being selected, by its exit too"),
                ("exited", "a process matched and was gone before its facts were read"),
                ("over_limit", "a process matched while too many were selected: not traced"),
                (
                    "not_remembered",
                    "a decision was not remembered for lack of room; each scan makes it again",
                ),
                (
                    "unreadable",
                    "a process could not be matched because /proc refused to say what a rule asks",
                ),
                (
                    "search_limit",
                    "a limit cut a search for listening sockets: a `port` rule may have missed a process",
                ),
            ],
        ),
        Metric::new(
            "wirespan_late_processes_total",
            "Processes selected only by the periodic scan of all processes (every 5 s): what they did before \
             was not seen.",
        ),
        Metric::new(
            "wirespan_undecided_processes_total",
            "Processes that ended before they could be matched against the rules: not traced.",
        ),
        Metric::new(
            "wirespan_undecided_connections_total",
            "Connections of processes that ended before they could be matched against the rules: not traced.",
        ),
        Metric::new(
            "wirespan_runtime_lookups_total",
            "Processes in which the agent looked for a runtime whose tasks it can tell apart.",
        )
        .by("runtime", &[("cpython", "CPython, whose tasks are asyncio's")])
        .by(
            "result",
            &[
                ("on", "its tasks are read"),
                ("other_version", "a version whose memory layout is not known"),
                ("other_build", "a debug build, or one without the interpreter's lock"),
                ("other_libc", "no glibc, or one that does not say where thread-local values stand"),
            ],
        ),
    ]
}

fn confidence() -> Vec<Metric> {
    vec![
        Metric::new(
            "wirespan_calling_processes",
            "Traced processes that have made calls (outbound requests).",
        ),
        Metric::new(
            "wirespan_process_confidence",
            "Processes by the evidence that the agent accepts for the parents of their calls, of those with most calls.",
        )
        .by("service", &[])
        .by(
            "level",
            &[
                ("request_side", "the request side alone, for calls that are known to be consistent"),
                ("response_side", "the response side alone"),
                ("both_sides", "request side and response side where they agree"),
                (
                    "insufficient_evidence",
                    "nothing yet while several requests are open: too few calls have been consistent",
                ),
                ("conflict", "nothing: the sides of its calls name different requests"),
            ],
        ),
        Metric::new(
            "wirespan_process_calls",
            "Calls (outbound requests) of these processes, by whether their parent is known.",
        )
        .by("service", &[])
        .by(
            "result",
            &[("linked", "its parent is a request to the process"), ("unlinked", "it has no parent")],
        ),
        Metric::new(
            "wirespan_process_recent_calls",
            "The last judged calls of each of these processes, at most 400, by the sides that name their request.",
        )
        .by("service", &[])
        .by(
            "result",
            &[
                ("consistent", "request side and response side name the same request"),
                ("conflict", "they name different requests"),
                ("request_side_only", "only the request side names one"),
                ("response_side_only", "only the response side names one"),
                (
                    "unexplained",
                    "neither names one, or the request side's request did not wait for the call",
                ),
            ],
        ),
        Metric::new(
            "wirespan_process_recent_responses",
            "The last responses of each of these processes, at most 400, by what the thread that sent them had received last.",
        )
        .by("service", &[])
        .by(
            "result",
            &[
                ("explained", "the answered request, or the response to one of its calls"),
                ("unexplained", "something else"),
            ],
        ),
        Metric::new(
            "wirespan_process_concurrent_consistent_calls",
            "Calls of these processes whose sides agreed while other requests were open: enough of them make the process trusted.",
        )
        .by("service", &[]),
    ]
}

fn exporters() -> Vec<Metric> {
    vec![
        Metric::new(
            "wirespan_exported_spans_total",
            "Spans delivered for good: acknowledged by the collector, written to the file or printed.",
        )
        .by("exporter", EXPORTERS),
        Metric::new("wirespan_export_dropped_spans_total", "Spans that an exporter did not deliver.")
            .by("exporter", EXPORTERS)
            .by(
                "reason",
                &[
                    ("queue_full", "the exporter's queue was full, or closed already"),
                    ("retries_exhausted", "retried for the configured time in vain"),
                    (
                        "not_retryable",
                        "the collector refused the request with a status that is not retryable",
                    ),
                    (
                        "partial_success",
                        "the collector took the request and rejected some spans (partial success)",
                    ),
                    ("write_failed", "writing to the file or the terminal failed"),
                    ("shutdown", "the agent ended before the span was delivered"),
                ],
            ),
        Metric::new(
            "wirespan_export_failed_attempts_total",
            "Requests or writes that failed; their spans are retried or counted as dropped.",
        )
        .by("exporter", EXPORTERS),
        Metric::new(
            "wirespan_export_dropped_notices_total",
            "Notices of requests that have been open for a second, for which a queue had no room; no span is \
             lost with them.",
        )
        .by("exporter", EXPORTERS)
        .by("reason", &[("queue_full", "the exporter's queue was full, or closed already")]),
        Metric::new(
            "wirespan_export_queue_entries",
            "Spans, and notices of open requests, that wait for the exporter.",
        )
        .by("exporter", EXPORTERS),
        Metric::new("wirespan_export_queue_capacity_entries", "Limit of the exporter's queue.")
            .by("exporter", EXPORTERS),
        Metric::new(
            "wirespan_export_unreadable_responses_total",
            "Responses of the collector that took the spans with a body that is not OTLP.",
        ),
        Metric::new(
            "wirespan_export_file_reopens_total",
            "Times that the span file was reopened or restarted.",
        )
        .by(
            "reason",
            &[
                ("moved", "its path named nothing or another file"),
                ("truncated", "it had become shorter"),
                ("signal", "a signal asked for it"),
            ],
        ),
        Metric::new(
            "wirespan_console_early_traces_total",
            "Traces printed before their root because more were held than the limit.",
        ),
    ]
}

fn agent() -> Vec<Metric> {
    vec![
        Metric::new("wirespan_recorded_events_total", "Events written to the event log."),
        Metric::new("wirespan_recorded_bytes_total", "Bytes written to the event log."),
        Metric::new("wirespan_unrecorded_events_total", "Events that came after the recording had stopped."),
        Metric::new("wirespan_build_info", "Always 1; the label names the agent's version.")
            .by("version", &[]),
        Metric::new("process_cpu_seconds_total", "CPU time of the agent, all threads, user and system."),
        Metric::new("process_resident_memory_bytes", "Resident memory of the agent, ring buffer included."),
        Metric::new(
            "wirespan_metrics_closed_connections_total",
            "Connections to the metrics endpoint that were closed to make room for newer ones.",
        ),
    ]
}
