//! The summary at the end of a run: how many requests were seen, what was missed, and why. Its
//! numbers are those of the metrics.

use std::fmt::Write as _;

use super::sample::Sample;

/// Metrics that count lost spans or bytes, and the words for them. Metrics that are not here count
/// no loss.
const MISSED: [(&str, &str); 15] = [
    ("wirespan_trace_incomplete_spans_total", "spans made from incomplete data"),
    ("wirespan_ring_dropped_records_total", "records for which the ring had no room (capture.ring_bytes)"),
    (
        "wirespan_bpf_refused_map_entries_total",
        "times that a map of the kernel had no room (limits.connections)",
    ),
    ("wirespan_bpf_untraced_syscalls_total", "system calls on sockets that cannot be traced"),
    ("wirespan_uncaptured_syscalls_total", "system calls whose bytes may not be read"),
    ("wirespan_evicted_connections_total", "connections that made room for others"),
    ("wirespan_unknown_connection_transfers_total", "transfers on connections that are not known"),
    ("wirespan_ledger_bytes_total", "bytes that no parser saw"),
    ("wirespan_ledger_violations_total", "connections whose bytes are not accounted for: a defect"),
    (
        "wirespan_stream_events_total",
        "connections on which bytes had moved before they were first seen (older than the agent, or read by another process before)",
    ),
    ("wirespan_trace_refusals_total", "times that a ceiling was met"),
    (
        "wirespan_undecided_connections_total",
        "connections of processes that ended before they could be judged",
    ),
    ("wirespan_late_processes_total", "processes that were found late, by the look at all processes"),
    ("wirespan_trace_expired_spans_total", "spans whose parent was not known in time"),
    ("wirespan_trace_truncated_attributes_total", "texts of spans cut to their limit"),
];

/// Metrics that count what was lost outside the pipeline, with the label values that mean a loss.
const BESIDE: [(&str, &[&str], &str); 3] = [
    (
        "wirespan_process_decisions_total",
        &["over_limit", "search_limit"],
        "decisions by which a process that matches may not be traced",
    ),
    ("wirespan_ring_undecodable_records_total", &[""], "records of the ring that are none: a defect"),
    (
        "wirespan_export_dropped_spans_total",
        &["queue_full", "retries_exhausted", "not_retryable", "partial_success", "write_failed", "shutdown"],
        "spans that did not get out",
    ),
];

/// What the parsers could not read, by a label of this metric.
const PROTOCOL: &str = "wirespan_protocol_events_total";
const UNREAD: [(&str, &str); 6] = [
    ("responses_without_request", "responses without a request that could be read"),
    ("requests_http09", "requests of HTTP/0.9, which is not read"),
    ("requests_unconfirmed", "possible requests that no response proved"),
    ("parse_failures", "message starts that could not be read, on connections that carry HTTP/1"),
    ("framing_lost", "messages whose end is not known"),
    ("http1_given_up", "connections given up that carry HTTP/1"),
];

/// Connections of other protocols, which are no loss.
const NOT_HTTP1: &str = "connections_not_http1";

/// A cause of other losses. It counts the system calls of any process, so alone it says nothing
/// about the traced ones.
const SKIPPED: (&str, &str) =
    ("wirespan_bpf_recursion_misses_total", "runs of programs that the kernel skipped, for any process");

/// Entries of the ledger that no parser saw. Skipped bytes were not needed.
const UNSEEN: [&str; 3] = ["truncated", "dropped", "unseen"];

/// One line about what was seen, and one for each kind of loss. `also` holds such lines of the
/// source.
pub(super) fn summary(samples: &[Sample], also: &[String]) -> String {
    let seen = |kind: &str| sum(samples, "wirespan_trace_requests_total", |label| label == kind);
    let mut text = format!("{} requests received, {} made", seen("server"), seen("client"));
    let left_out = sum(samples, "wirespan_trace_left_out_spans_total", |_| true);
    if left_out > 0 {
        // Writing to a string does not fail.
        let _ =
            write!(text, ", {left_out} spans left to programs that export their own (instrumented: skip)");
    }
    let redirected = sum(samples, "wirespan_redirected_connections_total", |_| true);
    if redirected > 0 {
        let _ = write!(
            text,
            ", {redirected} connections redirected by a sockmap (their two ends are not joined)"
        );
    }
    let others = sum(samples, PROTOCOL, |label| label == NOT_HTTP1);
    if others > 0 {
        let _ = write!(text, ", {others} connections not read as HTTP/1");
    }
    let mut missed: Vec<String> =
        MISSED.iter().filter_map(|(name, what)| line(samples, name, what)).collect();
    missed.extend(BESIDE.iter().filter_map(|(name, labels, what)| {
        let counted: Vec<_> =
            labels.iter().map(|label| (*label, sum(samples, name, |found| found == *label))).collect();
        let total: u64 = counted.iter().map(|(_, count)| count).sum();
        let named = counted.iter().filter(|(label, count)| *count > 0 && !label.is_empty());
        let reasons: Vec<String> = named.map(|(label, count)| format!("{label} {count}")).collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join(", ")) };
        (total > 0).then(|| format!("{total} {what}{reasons}"))
    }));
    missed.extend(UNREAD.iter().filter_map(|(counter, what)| {
        let count = sum(samples, PROTOCOL, |label| label == *counter);
        (count > 0).then(|| format!("{count} {what}"))
    }));
    missed.extend_from_slice(also);
    if missed.is_empty() {
        text.push_str("; nothing was missed");
        return text;
    }
    missed.extend(line(samples, SKIPPED.0, SKIPPED.1));
    text.push_str("; missed:");
    for line in missed {
        // Writing to a string does not fail.
        let _ = write!(text, "\n  {line}");
    }
    text
}

/// `12 records for which … (reason 10, other 2)`; `None` when there are none.
fn line(samples: &[Sample], name: &str, what: &str) -> Option<String> {
    let counts = |label: &str| match name {
        "wirespan_ledger_bytes_total" => UNSEEN.contains(&label),
        "wirespan_stream_events_total" => label == "joined_mid_stream",
        _ => true,
    };
    let total = sum(samples, name, counts);
    if total == 0 {
        return None;
    }
    let mut reasons: Vec<(&str, u64)> = Vec::new();
    for sample in samples.iter().filter(|sample| sample.name == name && sample.value > 0) {
        let Some((_, label)) = sample.labels.first().filter(|(_, label)| counts(label)) else { continue };
        match reasons.iter_mut().find(|(known, _)| known == label) {
            Some((_, count)) => *count += sample.value,
            None => reasons.push((label, sample.value)),
        }
    }
    let reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    Some(if reasons.is_empty() {
        format!("{total} {what}")
    } else {
        format!("{total} {what}: {}", reasons.join(", "))
    })
}

/// The sum over the samples of a metric whose first label's value (or nothing) is wanted.
fn sum(samples: &[Sample], name: &str, wanted: impl Fn(&str) -> bool) -> u64 {
    let label = |sample: &Sample| sample.labels.first().map_or(String::new(), |(_, value)| value.clone());
    samples
        .iter()
        .filter(|sample| sample.name == name && wanted(&label(sample)))
        .map(|sample| sample.value)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &'static str, labels: &[(&'static str, &str)], value: u64) -> Sample {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Sample { name, labels, value }
    }

    #[test]
    fn a_run_that_missed_nothing() {
        let samples = [
            sample("wirespan_trace_requests_total", &[("kind", "server")], 7),
            sample("wirespan_trace_requests_total", &[("kind", "client")], 2),
            sample("wirespan_bpf_recursion_misses_total", &[("program", "tcp_sendmsg")], 1),
            sample("wirespan_ring_dropped_records_total", &[("type", "transfer")], 0),
            sample("wirespan_ledger_bytes_total", &[("entry", "skipped")], 1_000),
        ];
        assert_eq!(summary(&samples, &[]), "7 requests received, 2 made; nothing was missed");
        let left_out = sample("wirespan_trace_left_out_spans_total", &[], 3);
        assert_eq!(
            summary(&[left_out], &[]),
            "0 requests received, 0 made, 3 spans left to programs that export their own (instrumented: skip); nothing was missed"
        );
        let redirected = sample("wirespan_redirected_connections_total", &[], 2);
        assert_eq!(
            summary(&[redirected], &[]),
            "0 requests received, 0 made, 2 connections redirected by a sockmap (their two ends are not joined); nothing was missed"
        );
    }

    #[test]
    fn what_was_lost_beside_the_pipeline_is_missed_too() {
        let samples = [
            sample("wirespan_process_decisions_total", &[("result", "selected")], 9),
            sample("wirespan_process_decisions_total", &[("result", "unreadable")], 9),
            sample("wirespan_process_decisions_total", &[("result", "over_limit")], 2),
            sample("wirespan_ring_undecodable_records_total", &[], 1),
            sample(
                "wirespan_export_dropped_spans_total",
                &[("reason", "write_failed"), ("exporter", "file")],
                5,
            ),
            sample(
                "wirespan_export_dropped_spans_total",
                &[("reason", "write_failed"), ("exporter", "otlp")],
                1,
            ),
        ];
        assert_eq!(
            summary(&samples, &[]),
            "0 requests received, 0 made; missed:\n  \
             2 decisions by which a process that matches may not be traced: over_limit 2\n  \
             1 records of the ring that are none: a defect\n  \
             6 spans that did not get out: write_failed 6"
        );
    }

    #[test]
    fn what_was_missed_has_its_reasons() {
        let samples = [
            sample("wirespan_uncaptured_syscalls_total", &[("reason", "io_uring"), ("pid", "1")], 3),
            sample("wirespan_uncaptured_syscalls_total", &[("reason", "io_uring"), ("pid", "2")], 4),
            sample("wirespan_uncaptured_syscalls_total", &[("reason", "flags"), ("pid", "2")], 1),
            sample("wirespan_ledger_bytes_total", &[("entry", "parsed")], 50),
            sample("wirespan_ledger_bytes_total", &[("entry", "unseen")], 9),
            sample("wirespan_unknown_connection_transfers_total", &[], 2),
            sample("wirespan_protocol_events_total", &[("event", "gaps_in_bodies")], 5),
            sample("wirespan_stream_events_total", &[("event", "joined_mid_stream")], 1),
            sample("wirespan_bpf_recursion_misses_total", &[("program", "tcp_sendmsg")], 1),
        ];
        assert_eq!(
            summary(&samples, &[]),
            "0 requests received, 0 made; missed:\n  \
             8 system calls whose bytes may not be read: io_uring 7, flags 1\n  \
             2 transfers on connections that are not known\n  \
             9 bytes that no parser saw: unseen 9\n  \
             1 connections on which bytes had moved before they were first seen (older than the agent, or read by another process \
             before): joined_mid_stream 1\n  \
             1 runs of programs that the kernel skipped, for any process: tcp_sendmsg 1"
        );
    }

    #[test]
    fn what_was_not_read_is_not_nothing() {
        let parser = |what, value| sample("wirespan_protocol_events_total", &[("event", what)], value);
        let others =
            [parser("connections_not_http1", 2), parser("unknown_starts", 7), parser("transfers_held", 9)];
        let expected = "0 requests received, 0 made, 2 connections not read as HTTP/1; nothing was missed";
        assert_eq!(summary(&others, &[]), expected);
        let unread = [parser("responses_without_request", 3), parser("requests_http09", 1)];
        assert_eq!(
            summary(&unread, &["4 packets in tunnels that are not read".to_owned()]),
            "0 requests received, 0 made; missed:\n  \
             3 responses without a request that could be read\n  \
             1 requests of HTTP/0.9, which is not read\n  \
             4 packets in tunnels that are not read"
        );
    }

    #[test]
    fn every_counter_of_a_parser_that_is_told_exists() {
        let known: Vec<_> = crate::protocol::Counters::default().samples().collect();
        for (counter, _) in UNREAD.into_iter().chain([(NOT_HTTP1, "")]) {
            assert!(known.iter().any(|sample| sample.label == Some(("event", counter))), "{counter}");
        }
    }
}
