//! Limits of the trace layer.

use wirespan::{
    config::{MAX_PARENT_WAIT, WAITING_SPANS},
    trace::{Settings, TextLimits},
};

use super::{Limit, Section};
use crate::{
    source::constant,
    text::{bytes, count, nanoseconds, range, time},
};

const FORGOTTEN: &[&str] = &["wirespan_trace_roots_total{reason=\"parent_evicted\"}"];
const CUT: &[&str] = &["wirespan_trace_truncated_attributes_total"];

pub(super) fn sections() -> Vec<Section> {
    vec![
        Section { title: "Exchanges and spans", limits: exchanges() },
        Section { title: "Connections and processes of the tracer", limits: connections() },
        Section { title: "Parents", limits: parents() },
        Section { title: "Attribute values and header fields", limits: texts() },
    ]
}

fn number(number: usize) -> String {
    count(number as u64)
}

fn exchanges() -> Vec<Limit> {
    let Settings {
        parent_wait,
        waiting_spans,
        open_notice,
        exchanges,
        exchanges_per_connection,
        recent_exchanges,
        remembered_exchanges,
        ..
    } = Settings::default();
    vec![
        Limit::fixed(
            "finished spans that wait for a parent",
            number(waiting_spans),
            "the one that ended first is exported as it is",
            &["wirespan_trace_expired_spans_total{reason=\"waiting_spans\"}"],
        )
        .set_by("limits.waiting_spans", range(&WAITING_SPANS, count)),
        Limit::fixed(
            "how long a span waits for a parent",
            time(parent_wait),
            "exported as it is",
            &["wirespan_trace_expired_spans_total{reason=\"parent_wait\"}"],
        )
        .set_by("limits.parent_wait", format!("at most {}", time(MAX_PARENT_WAIT))),
        Limit::fixed(
            "open exchanges",
            number(exchanges),
            "further requests make no span",
            &["wirespan_trace_refusals_total{reason=\"exchanges\"}"],
        ),
        Limit::fixed(
            "open exchanges of a connection",
            number(exchanges_per_connection),
            "the oldest is ended as it is",
            &["wirespan_trace_refusals_total{reason=\"exchanges_per_connection\"}"],
        ),
        Limit::fixed(
            "exported exchanges that may still be parents",
            number(remembered_exchanges),
            "the one exported first is forgotten",
            FORGOTTEN,
        ),
        Limit::fixed(
            "the same of a connection",
            number(recent_exchanges),
            "the oldest is forgotten",
            FORGOTTEN,
        ),
        Limit::fixed(
            "age of an open request at which the console shows it",
            open_notice.map_or_else(String::new, time),
            "one notice",
            &["wirespan_trace_open_request_notices_total"],
        ),
    ]
}

fn connections() -> Vec<Limit> {
    let Settings {
        flow_wait, linger, connections, calls_per_request, connects, processes, flow_keys, ..
    } = Settings::default();
    vec![
        Limit::fixed(
            "connections",
            number(connections),
            "one that is idle for long is forgotten",
            &["wirespan_trace_refusals_total{reason=\"connections\"}"],
        ),
        Limit::fixed(
            "connects in progress",
            number(connects),
            "a failed connect makes no span",
            &["wirespan_trace_refusals_total{reason=\"connects\"}"],
        ),
        Limit::fixed(
            "processes",
            number(processes),
            "unknown service, no parents within the process",
            &["wirespan_trace_refusals_total{reason=\"processes\"}"],
        ),
        Limit::fixed(
            "calls of a request",
            number(calls_per_request),
            "no parent",
            &["wirespan_trace_roots_total{reason=\"call_limit\"}"],
        ),
        Limit::fixed(
            "requests by which a connection's other end is found",
            number(flow_keys),
            "the ends are not joined",
            &["wirespan_trace_refusals_total{reason=\"pending_joins\"}"],
        ),
        Limit::fixed(
            "how long a request waits for the other end",
            time(flow_wait),
            "it may still be joined later",
            &["wirespan_trace_connection_joins_total{result=\"remote\"}"],
        ),
        Limit::fixed(
            "how long a closed connection or ended process is remembered",
            time(linger),
            "it can be no parent",
            FORGOTTEN,
        ),
    ]
}

fn parents() -> Vec<Limit> {
    let of = |within, name| count(constant(within, name));
    vec![
        Limit::fixed(
            "threads and goroutines whose receives are remembered",
            of("trace/causality", "RUNNERS"),
            "all are forgotten: their next calls are ambiguous",
            &["wirespan_trace_evicted_threads_total"],
        ),
        Limit::fixed(
            "parts of a multiplexed connection whose exchange is remembered",
            of("trace/parts", "REMEMBERED"),
            "the oldest makes room: what was received in it causes nothing",
            &["wirespan_trace_evicted_parts_total"],
        ),
        Limit::fixed(
            "contents of requests and calls",
            of("trace/content", "REMEMBERED"),
            "the oldest makes room",
            &["wirespan_trace_evicted_contents_total"],
        ),
        Limit::fixed(
            "how long a content is remembered",
            nanoseconds(constant("trace/content", "WINDOW")),
            "no parent by content",
            &[],
        ),
        Limit::fixed(
            "open requests without content beside which content counts",
            of("trace/content", "WITHOUT_CONTENT"),
            "no parent by content",
            &[],
        ),
        Limit::fixed(
            "requests of a new process whose contents are kept",
            of("trace/process", "AT_FIRST"),
            "kept only once they are of use",
            &[],
        ),
        Limit::fixed(
            "calls of a process that wait for its confidence",
            of("trace/unproven", "WAITING"),
            "the oldest has no parent",
            &["wirespan_trace_roots_total{reason=\"insufficient_evidence\"}"],
        ),
        Limit::fixed(
            "CPython processes whose tasks are followed",
            of("trace/process", "WITH_TASKS"),
            "no parent by task",
            &[],
        ),
        Limit::fixed(
            "tasks of one of them; its calls; its requests",
            format!(
                "{}; {}; {}",
                of("trace/causality", "CONTEXTS"),
                of("trace/causality", "CALLS"),
                of("trace/causality", "REQUESTS")
            ),
            "no parent by task",
            &[],
        ),
    ]
}

fn texts() -> Vec<Limit> {
    let TextLimits { path, query, user_agent, header, method, host } = TextLimits::default();
    let text = |number: usize| bytes(number as u64);
    vec![
        Limit::fixed("`url.path`; `url.query`", format!("{}; {}", text(path), text(query)), "cut", CUT),
        Limit::fixed("`user_agent.original`", text(user_agent), "cut", CUT),
        Limit::fixed("`http.request.header.<name>`", text(header), "cut", CUT),
        Limit::fixed("`http.request.method_original`", text(method), "cut", CUT),
        Limit::fixed("`server.address`", text(host), "cut", CUT),
        Limit::fixed(
            "header fields in `correlation_headers`",
            count(constant("config/read", "CORRELATION_HEADERS")),
            "the configuration is refused",
            &[],
        ),
        Limit::fixed(
            "proxies that a request names",
            count(constant("trace/forwarded", "PROXIES")),
            "ignored",
            &["wirespan_trace_invalid_headers_total{header=\"forwarded\"}"],
        ),
        Limit::fixed(
            "characters of `tracestate`; its members",
            format!(
                "{}; {}",
                count(constant("trace/context", "STATE_CHARACTERS")),
                count(constant("trace/context", "STATE_MEMBERS"))
            ),
            "cut; dropped",
            &["wirespan_trace_invalid_headers_total{header=\"tracestate\"}"],
        ),
    ]
}

/// Fails to compile when the tracer gets a setting: a limit needs a row above.
#[cfg(test)]
const _: fn(Settings) = |settings| {
    let Settings {
        parent_wait: _,
        waiting_spans: _,
        flow_wait: _,
        open_notice: _,
        linger: _,
        connections: _,
        exchanges: _,
        exchanges_per_connection: _,
        recent_exchanges: _,
        remembered_exchanges: _,
        calls_per_request: _,
        connects: _,
        processes: _,
        flow_keys: _,
        // No limits.
        causality: _,
        instrumented: _,
        correlation_headers: _,
        forwarded: _,
        text: _,
        redaction: _,
    } = settings;
};
