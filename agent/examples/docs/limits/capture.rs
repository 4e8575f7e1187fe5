//! Limits of the kernel side and of connections.

use agent_common::{IOVECS, TAIL_MAX};
use wirespan::{
    config::{
        BUFFERED_BYTES, CAPTURE_BYTES, CONNECTIONS, Capture, HEAD_BYTES, Limits as Config, MAX_IDLE,
        RING_BYTES,
    },
    protocol, stream,
};

use super::{Limit, Section};
use crate::{
    source::{constant, map_entries},
    text::{bytes, count, nanoseconds, range, time},
};

const TRUNCATED: &[&str] = &["wirespan_ledger_bytes_total{entry=\"truncated\"}"];
const GIVEN_UP: &[&str] = &["wirespan_protocol_events_total{event=\"connections_given_up\"}"];

pub(super) fn sections() -> Vec<Section> {
    vec![
        Section { title: "Capture", limits: capture() },
        Section { title: "Kernel maps", limits: maps() },
        Section { title: "Connections", limits: connections() },
        Section { title: "Order of bytes, per connection", limits: order() },
        Section { title: "HTTP/1 parser, per connection", limits: parser() },
    ]
}

fn capture() -> Vec<Limit> {
    let Capture { bytes: captured, head_bytes, ring_bytes: _, nice: _ } = Capture::default();
    let ring = |name| bytes(constant("ring_size", name));
    vec![
        Limit::fixed(
            "bytes captured from the start of a system call",
            bytes(captured),
            "truncated; a span that needed them says so",
            TRUNCATED,
        )
        .set_by("capture.bytes", range(&CAPTURE_BYTES, bytes)),
        Limit::fixed("bytes captured from its end", bytes(TAIL_MAX as u64), "truncated", TRUNCATED),
        Limit::fixed(
            "bytes captured of a message head",
            bytes(head_bytes),
            "truncated; the span says `truncated`",
            TRUNCATED,
        )
        .set_by("capture.head_bytes", range(&HEAD_BYTES, bytes)),
        Limit::fixed("iovecs of a system call that are read", count(IOVECS as u64), "truncated", TRUNCATED),
        Limit::fixed(
            "ring buffer",
            format!(
                "{} for each CPU, {} to {}, 1/{} of the memory",
                ring("PER_CPU"),
                ring("LEAST"),
                ring("MOST"),
                constant("ring_size", "OF_MEMORY")
            ),
            "records are dropped; spans that needed them say `gap`",
            &["wirespan_ring_dropped_records_total"],
        )
        .set_by("capture.ring_bytes", format!("a power of two, {}", range(&RING_BYTES, bytes))),
    ]
}

fn maps() -> Vec<Limit> {
    let entries = |name| count(map_entries(name));
    vec![
        Limit::fixed(
            "selected processes",
            entries("PROCESSES"),
            "not traced",
            &["wirespan_bpf_refused_map_entries_total{map=\"processes\"}"],
        ),
        Limit::fixed(
            "threads with a last receive whose slot (of 65,536) another thread has",
            entries("THREADS"),
            "their calls have no request side",
            &["wirespan_bpf_refused_map_entries_total{map=\"threads\"}"],
        ),
        Limit::fixed(
            "goroutines with a last receive",
            entries("GOROUTINES"),
            "the least recently used makes room; its calls have no request side",
            &["wirespan_trace_roots_total{reason=\"no_request_received\"}"],
        ),
        Limit::fixed(
            "requests that goroutines hand over",
            entries("HANDOFFS"),
            "the least recently used makes room; its call has no request side",
            &["wirespan_trace_roots_total{reason=\"no_request_received\"}"],
        ),
        Limit::fixed(
            "connects in progress",
            entries("PENDING"),
            "a failed connect makes no span",
            &["wirespan_bpf_refused_map_entries_total{map=\"connects\"}"],
        ),
        Limit::fixed("processes whose tasks are read", entries("RUNTIMES"), "followed by their threads", &[]),
        Limit::fixed(
            "executable files with a decision",
            entries("EXES"),
            "the agent decides and not the kernel, so that what the program does first may be missed",
            &[],
        ),
    ]
}

fn connections() -> Vec<Limit> {
    let Config { connections, buffered_bytes, idle, .. } = Config::default();
    vec![
        Limit::fixed(
            "connections at once",
            count(connections),
            "a sixteenth of them is evicted, drawn from the half that is idle longer; what is open there \
             says `unfinished`",
            &[
                "wirespan_evicted_connections_total{reason=\"connection_limit\"}",
                "wirespan_bpf_refused_map_entries_total{map=\"connections\"}",
            ],
        )
        .set_by("limits.connections", range(&CONNECTIONS, count)),
        Limit::fixed(
            "bytes buffered by all connections",
            bytes(buffered_bytes as u64),
            "connections that buffer are evicted",
            &["wirespan_evicted_connections_total{reason=\"buffer_limit\"}"],
        )
        .set_by("limits.buffered_bytes", range(&BUFFERED_BYTES, bytes)),
        Limit::fixed(
            "time without a transfer",
            time(idle),
            "the connection is evicted",
            &["wirespan_evicted_connections_total{reason=\"idle_timeout\"}"],
        )
        .set_by("limits.idle", format!("at most {}", time(MAX_IDLE))),
        Limit::fixed(
            "sockets of one sock_diag dump",
            count(constant("sock_diag", "MAX_SOCKETS")),
            "all get cookies; those beyond are not listed",
            &[],
        ),
        Limit::fixed(
            "network namespaces remembered as dumped",
            count(constant("cookies", "NAMESPACES")),
            "dumped again for each process",
            &[],
        ),
    ]
}

fn order() -> Vec<Limit> {
    let stream::Limits { held_transfers, held_bytes, hold_nanos, skip_bytes } = stream::Limits::default();
    let overflow: &[&str] = &["wirespan_stream_events_total{event=\"held_overflow\"}"];
    vec![
        Limit::fixed(
            "transfers of a direction that wait for others",
            count(held_transfers as u64),
            "a gap is assumed",
            overflow,
        ),
        Limit::fixed("their captured bytes", bytes(held_bytes as u64), "a gap is assumed", overflow),
        Limit::fixed(
            "how long they wait",
            nanoseconds(hold_nanos),
            "a gap is assumed",
            &["wirespan_protocol_events_total{event=\"gaps\"}"],
        ),
        Limit::fixed(
            "bytes to come from which on they are skipped in the kernel",
            bytes(skip_bytes),
            "no record is made of them",
            &["wirespan_ledger_bytes_total{entry=\"skipped\"}"],
        ),
    ]
}

fn parser() -> Vec<Limit> {
    // The first four are those of the order of bytes.
    let protocol::Limits {
        held_transfers: _,
        held_bytes: _,
        hold_nanos: _,
        skip_bytes: _,
        head_bytes,
        idle_nanos,
        pending_requests,
        open_streams,
        unknown_starts,
        unknown_starts_late,
        unknown_transfers,
        unknown_transfers_late,
    } = protocol::Limits::default();
    vec![
        Limit::fixed(
            "bytes of a head that comes in several transfers",
            bytes(head_bytes as u64),
            "the rest is not read; the span says `truncated`",
            &["wirespan_protocol_events_total{event=\"heads_too_large\"}"],
        ),
        Limit::fixed(
            "requests without a response",
            count(pending_requests as u64),
            "pairing begins anew",
            &["wirespan_protocol_events_total{event=\"pending_overflow\"}"],
        ),
        Limit::fixed(
            "open streams of a connection of HTTP/2",
            count(open_streams as u64),
            "no span for those beyond",
            &["wirespan_protocol_events_total{event=\"streams_not_followed\"}"],
        ),
        Limit::fixed(
            "fields that a peer of HTTP/2 has inserted, each direction",
            bytes(constant("http2/session", "WINDOW")),
            "fields that refer to older ones are unknown",
            &["wirespan_protocol_events_total{event=\"fields_forgotten\"}"],
        ),
        Limit::fixed(
            "octets of an HPACK integer behind its prefix",
            count(constant("hpack/primitive", "OCTETS")),
            "the header block is malformed; the span says so",
            &["wirespan_protocol_events_total{event=\"heads_incomplete\"}"],
        ),
        Limit::fixed(
            "requests that only a response proves",
            format!(
                "{}, {}",
                count(constant("http1/kept", "KEPT")),
                bytes(constant("http1/kept", "KEPT_BYTES"))
            ),
            "not taken for requests",
            &["wirespan_protocol_events_total{event=\"requests_unconfirmed\"}"],
        ),
        Limit::fixed(
            "idle time after which a pipelining client begins anew",
            nanoseconds(idle_nanos),
            "pairing begins anew",
            &[],
        ),
        Limit::fixed(
            "unknown message starts before giving up; of a connection joined mid-stream",
            format!("{}; {}", count(unknown_starts), count(unknown_starts_late)),
            "the connection becomes opaque",
            GIVEN_UP,
        ),
        Limit::fixed(
            "transfers without a message before giving up; of a connection joined mid-stream",
            format!("{}; {}", count(unknown_transfers), count(unknown_transfers_late)),
            "the connection becomes opaque",
            GIVEN_UP,
        ),
    ]
}
