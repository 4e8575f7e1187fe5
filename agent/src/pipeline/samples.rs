//! Spans for tests: an ordinary one of each kind, and variations that every encoding must survive.

use std::sync::Arc;

use super::queue::Batch;
use crate::{
    event::{Endpoint, ProcessFacts, Timestamp},
    trace::{
        http::{Http, Text},
        operation::{self, Operation},
        span::{Evidence, Link, Parent, Span, SpanEvent, SpanId, SpanKind, Status, TraceId},
    },
};

/// 2026-11-20T14:03:07.123456789Z
pub(crate) const START: u64 = 1_795_183_387_123_456_789;
/// A millisecond, in nanoseconds.
pub(crate) const MILLI: u64 = 1_000_000;

/// An address and port.
fn end(text: &str) -> Endpoint {
    Endpoint::Inet(text.parse().unwrap())
}

pub(crate) fn trace_id(last: u8) -> TraceId {
    TraceId([0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, last])
}

pub(crate) fn span_id(last: u8) -> SpanId {
    SpanId([0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, last])
}

pub(crate) fn facts() -> ProcessFacts {
    ProcessFacts {
        pid: 4711,
        start_time: 123_456,
        parent_pid: Some(1),
        executable: "/opt/shop/shop-server".into(),
        command_args: vec!["shop-server".into(), "--port".into()],
        service_name: "shop".into(),
        resource_attributes: vec![("service.namespace".into(), "eu".into())],
        container_id: Some("0123456789abcdef".repeat(4).into()),
        user_id: Some(1000),
    }
}

/// A root: GET /orders?id=7, 200, 12.3 ms.
pub(crate) fn server_span() -> Span {
    Span {
        trace: trace_id(0x36),
        id: span_id(1),
        parent: None,
        links: vec![],
        flags: 1,
        trace_state: Box::default(),
        kind: SpanKind::Server,
        name: "GET".into(),
        start: START,
        end: START + 12 * MILLI + 300_000,
        status: Status::Unset,
        error: None,
        first_response_byte: Some(START + 11 * MILLI),
        http: Some(
            Http {
                method: "GET",
                scheme: "http",
                status: Some(200),
                version: "1.1",
                server_port: Some(8080),
                client_port: Some(51_000),
                request_headers: vec![
                    ("x-request-id".into(), "7".into()),
                    ("x-request-id".into(), "8".into()),
                ],
                request_body_size: Some(0),
                response_body_size: Some(2048),
                ..Http::default()
            }
            .with(Text::Path, "/orders")
            .with(Text::Query, "id=7")
            .with(Text::ServerAddress, "shop.example")
            .with(Text::ClientAddress, "192.0.2.7")
            .with(Text::UserAgent, "curl/8.9.1"),
        ),
        operation: None,
        local: Some(end("[::ffff:192.0.2.1]:8080")),
        peer: end("[::ffff:192.0.2.7]:51000"),
        thread_id: 4712,
        incomplete: vec![],
        missing_bytes: 0,
        parent_unknown: false,
        process: Arc::new(facts()),
    }
}

/// A call by [`server_span`]'s process for that request: 404, 5 ms.
pub(crate) fn client_span() -> Span {
    Span {
        id: span_id(2),
        parent: Some(Parent { span: span_id(1), evidence: Evidence::BothSides, remote: false }),
        kind: SpanKind::Client,
        start: START + MILLI,
        end: START + 6 * MILLI,
        status: Status::Error,
        error: Some("404".into()),
        first_response_byte: None,
        http: Some(
            Http {
                method: "GET",
                scheme: "http",
                status: Some(404),
                version: "1.1",
                server_port: Some(9000),
                response_body_size: Some(9),
                ..Http::default()
            }
            .with(Text::Path, "/stock/7")
            .with(Text::FullUrl, "http://stock:9000/stock/7")
            .with(Text::ServerAddress, "stock"),
        ),
        local: Some(end("[2001:db8::1]:40000")),
        peer: end("[2001:db8::2]:9000"),
        ..server_span()
    }
}

/// A call of each kind that is no HTTP.
pub(crate) fn operation_span(kind: operation::Kind) -> Span {
    let (name, target): (&str, Option<&str>) = match kind {
        operation::Kind::Rpc => ("shop.Orders/Get", None),
        operation::Kind::Database => ("SELECT", Some("orders")),
        operation::Kind::Messaging => ("send", Some("orders")),
    };
    let operation = Operation {
        kind,
        system: "sample",
        name: Some(name.into()),
        target: target.map(Into::into),
        status: Some("UNAVAILABLE".into()).filter(|_| kind != operation::Kind::Messaging),
    };
    Span {
        name: target.map_or(name.into(), |target| format!("{name} {target}").into()),
        http: None,
        operation: Some(Box::new(operation)),
        error: Some("UNAVAILABLE".into()),
        ..client_span()
    }
}

/// A connect that was refused.
pub(crate) fn connect_span() -> Span {
    Span {
        id: span_id(3),
        kind: SpanKind::Client,
        name: "connect".into(),
        status: Status::Error,
        error: Some("ECONNREFUSED".into()),
        first_response_byte: None,
        http: None,
        operation: None,
        local: None,
        peer: end("192.0.2.9:1"),
        ..client_span()
    }
}

/// A notice of a request that is open for 1.2 s.
pub(crate) fn open() -> SpanEvent {
    let mut span = server_span();
    span.end = span.start + 1_200 * MILLI;
    if let Some(http) = &mut span.http {
        http.status = None;
    }
    SpanEvent::Open(Box::new(span))
}

/// Ordinary, odd and hostile spans, of several processes.
pub(crate) fn variety() -> Vec<Span> {
    let mut all = vec![server_span(), client_span(), connect_span()];
    all.extend(operation::Kind::ALL.map(operation_span));
    let other_process = Arc::new(ProcessFacts {
        pid: u32::MAX,
        service_name: "quote\" back\\slash \u{0} \u{2028} \u{1f980}".into(),
        executable: "".into(),
        command_args: vec![],
        container_id: None,
        resource_attributes: vec![("ke\"y\n".into(), "v\tal\u{7f}ue".into())],
        ..facts()
    });
    for nasty in [
        "",
        "\"",
        "\\",
        "\\\"\\",
        "\u{0}\u{1}\u{8}\u{9}\u{a}\u{b}\u{c}\u{d}\u{1f}",
        "\u{7f}\u{80}\u{2028}\u{2029}\u{feff}\u{fffd}\u{10ffff}",
        "</script>\r\n{}[],:",
        "grüße/日本語/🦀",
        "\u{1b}[31mred\u{1b}]0;title\u{7}",
    ] {
        let mut span = server_span();
        span.name = nasty.into();
        span.trace_state = nasty.into();
        span.error = Some(nasty.into());
        span.status = Status::Error;
        span.process = Arc::clone(&other_process);
        let http = Http { method: "_OTHER", status: None, ..span.http.unwrap() };
        span.http = Some(
            http.with(Text::MethodOriginal, nasty)
                .with(Text::Path, nasty)
                .with(Text::Query, nasty)
                .with(Text::FullUrl, nasty)
                .with(Text::UserAgent, nasty),
        );
        all.push(span);
    }
    let mut extremes = client_span();
    extremes.parent = Some(Parent { span: SpanId([0xff; 8]), evidence: Evidence::Traceparent, remote: true });
    extremes.flags = 0xff;
    extremes.start = 0;
    extremes.end = u64::MAX;
    extremes.missing_bytes = u64::MAX;
    extremes.incomplete = vec!["gap", "truncated"];
    extremes.parent_unknown = true;
    extremes.links = vec![
        Link { trace: trace_id(1), span: span_id(9), evidence: Evidence::Connection },
        Link { trace: trace_id(2), span: span_id(8), evidence: Evidence::Traceparent },
    ];
    all.push(extremes);
    all
}

/// A batch that was complete at time 0.
pub(crate) fn batch(entries: Vec<SpanEvent>) -> Batch {
    Batch { at: Timestamp(0), entries: Arc::new(entries) }
}
