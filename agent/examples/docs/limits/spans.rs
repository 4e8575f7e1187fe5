//! Limits of what leaves the agent: exporters, event log, metrics, packet captures.

use std::time::Duration;

use wirespan::{
    config::{Limits as Config, MAX_TIMEOUT, QUEUE_SPANS},
    export::{
        console::ConsoleSettings,
        otlp::{retry::RetrySettings, settings::OtlpSettings},
    },
    source::{log::format::MAX_PAYLOAD, pcap},
};

use super::{Limit, Section};
use crate::{
    source::constant,
    text::{bytes, count, nanoseconds, range, time},
};

const UNREADABLE: &[&str] = &["wirespan_export_unreadable_responses_total"];

pub(super) fn sections() -> Vec<Section> {
    vec![
        Section { title: "Exporters", limits: [exporters(), local()].concat() },
        Section { title: "Metrics", limits: metrics() },
        Section { title: "Event log and packet captures", limits: files() },
    ]
}

fn exporters() -> Vec<Limit> {
    let OtlpSettings { batch_spans, concurrent_requests, retry, .. } = OtlpSettings::default();
    let RetrySettings { max_elapsed, .. } = retry;
    vec![
        Limit::fixed(
            "spans that wait for an exporter",
            count(Config::default().queue_spans as u64),
            "dropped",
            &["wirespan_export_dropped_spans_total{reason=\"queue_full\"}"],
        )
        .set_by("limits.queue_spans", range(&QUEUE_SPANS, count)),
        Limit::fixed(
            "spans of one OTLP request; requests under way",
            format!("{}; {}", count(batch_spans as u64), count(concurrent_requests as u64)),
            "the next request",
            &[],
        ),
        Limit::fixed(
            "time for one OTLP request",
            time(OtlpSettings::default().timeout()),
            "retried",
            &["wirespan_export_failed_attempts_total"],
        )
        .set_by("export.otlp.timeout", format!("at most {}", time(MAX_TIMEOUT))),
        Limit::fixed(
            "time for all retries",
            time(max_elapsed),
            "dropped",
            &["wirespan_export_dropped_spans_total{reason=\"retries_exhausted\"}"],
        ),
        Limit::fixed(
            "bytes of a collector's response",
            bytes(constant("otlp/answer", "MAX_ANSWER")),
            "not read",
            UNREADABLE,
        ),
        Limit::fixed(
            "time for the body of a response",
            nanoseconds(constant("otlp/http", "BODY_PATIENCE")),
            "not read",
            UNREADABLE,
        ),
        Limit::fixed(
            "redirections of a collector",
            count(constant("otlp/http", "MAX_REDIRECTIONS")),
            "a refusal",
            &["wirespan_export_dropped_spans_total{reason=\"not_retryable\"}"],
        ),
    ]
}

fn local() -> Vec<Limit> {
    let ConsoleSettings { max_traces, .. } = ConsoleSettings::default();
    vec![
        Limit::fixed(
            "pause of a pipe's reader",
            time(Duration::from_millis(constant("span_file", "PAUSE"))),
            "dropped",
            &["wirespan_export_dropped_spans_total{reason=\"write_failed\"}"],
        ),
        Limit::fixed(
            "traces that the console holds; their spans",
            format!("{}; {}", count(max_traces as u64), count(constant("console/tree", "MAX_HELD"))),
            "printed before their root",
            &["wirespan_console_early_traces_total"],
        ),
    ]
}

fn metrics() -> Vec<Limit> {
    vec![
        Limit::fixed(
            "services named in labels",
            count(constant("pipeline/services", "SHOWN")),
            "`service=\"other\"`",
            &[],
        ),
        Limit::fixed(
            "processes whose confidence is counted",
            count(constant("telemetry", "PROCESSES")),
            "those with most calls are counted",
            &["wirespan_calling_processes"],
        ),
        Limit::fixed(
            "processes that are shown singly",
            count(constant("telemetry", "DETAILED")),
            "those with most calls are shown",
            &["wirespan_calling_processes"],
        ),
        Limit::fixed(
            "processes and reasons by which uncaptured system calls are counted",
            count(constant("pipeline/tally", "WITHHELD_KEYS")),
            "`service=\"other\"`",
            &[],
        ),
        Limit::fixed(
            "connections to the endpoint; time of one",
            format!(
                "{}; {}",
                count(constant("metrics_server", "MAX_CONNECTIONS")),
                nanoseconds(constant("metrics_server", "CONNECTION_TIMEOUT"))
            ),
            "the oldest is closed",
            &["wirespan_metrics_closed_connections_total"],
        ),
    ]
}

fn files() -> Vec<Limit> {
    let pcap::Limits { connections, waiting_bytes, waiting_bytes_each, waiting_segments_each } =
        pcap::Limits::default();
    let unrecorded: &[&str] = &["wirespan_unrecorded_events_total"];
    vec![
        Limit {
            set: Some("--max-size"),
            ..Limit::fixed(
                "size of an event log",
                bytes(constant("/recording", "MAX_BYTES")),
                "the recording ends",
                unrecorded,
            )
        },
        Limit::fixed(
            "blocks that wait for the disk",
            count(constant("log/recorder", "WAITING_BLOCKS")),
            "the recording ends",
            unrecorded,
        ),
        Limit::fixed("bytes of a block", bytes(MAX_PAYLOAD as u64), "the reader refuses it", &[]),
        Limit::fixed(
            "connections that `--redact` follows",
            count(constant("pipeline/redact", "MAX_STREAMS")),
            "their bytes are masked whole",
            &[],
        ),
        Limit::fixed(
            "fragmented datagrams of a packet capture; tunnels around a packet",
            format!(
                "{}; {}",
                count(constant("pcap/fragments", "MAX_DATAGRAMS")),
                count(constant("pcap/ip", "MAX_TUNNELS"))
            ),
            "not read; the closing line counts them",
            &[],
        ),
        Limit::fixed(
            "connections of a packet capture",
            count(connections as u64),
            "those that are idle longest are forgotten",
            &[],
        ),
        Limit::fixed(
            "bytes that wait behind a hole: all; of one direction",
            format!(
                "{}; {} in {} segments",
                bytes(waiting_bytes as u64),
                bytes(waiting_bytes_each as u64),
                count(waiting_segments_each as u64)
            ),
            "a gap is assumed",
            &["wirespan_protocol_events_total{event=\"gaps\"}"],
        ),
    ]
}
