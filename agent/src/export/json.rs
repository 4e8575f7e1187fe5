//! OTLP JSON (opentelemetry-proto, "JSON Protobuf Encoding"), written straight from spans: the hot path of the file exporter.
//!
//! Ids are lower-case hex, 64-bit integers are strings, enums are integers, keys are camelCase. One batch is one line, an
//! `ExportTraceServiceRequest` (the OTLP file-exporter format), its spans grouped by resource.

use std::net::IpAddr;

use super::{
    attributes::{
        EVIDENCE, FIRST_BYTE_EVENT, Key, LINK_FLAGS, SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION, Sink,
        span_attributes, span_flags, status_message,
    },
    resource::{self, Cache, HostResource, Value},
};
use crate::{
    address::write_address,
    event::ProcessFacts,
    trace::span::{OtlpKind, Span, SpanEvent, Status},
};

/// Writes batches as lines.
#[derive(Debug)]
pub struct LineWriter {
    host: HostResource,
    /// What stands before the spans of a process: resource and scope.
    heads: Cache<Vec<u8>>,
}

impl LineWriter {
    /// A writer for processes of this host.
    #[must_use]
    pub fn new(host: HostResource) -> Self {
        Self { host, heads: Cache::default() }
    }

    /// Appends one line with the finished spans of `entries`, nothing if there are none. Returns their number.
    pub fn line(&mut self, entries: &[SpanEvent], out: &mut Vec<u8>) -> u64 {
        let groups = resource::by_process(entries.iter());
        if groups.is_empty() {
            return 0;
        }
        let mut written = 0;
        out.extend_from_slice(br#"{"resourceSpans":["#);
        for (facts, spans) in groups {
            let host = &self.host;
            out.extend_from_slice(self.heads.get(facts, |facts| head(facts, host)));
            for one in &spans {
                span(one, out);
                out.push(b',');
            }
            written += spans.len() as u64;
            replace_last_comma(b"]", out);
            out.extend_from_slice(br#","schemaUrl":""#);
            out.extend_from_slice(SCHEMA_URL.as_bytes());
            out.extend_from_slice(br#""}],"schemaUrl":""#);
            out.extend_from_slice(SCHEMA_URL.as_bytes());
            out.extend_from_slice(br#""},"#);
        }
        replace_last_comma(b"]}\n", out);
        written
    }
}

/// A `ResourceSpans` up to and without its first span.
fn head(facts: &ProcessFacts, host: &HostResource) -> Vec<u8> {
    let mut out = br#"{"resource":{"attributes":["#.to_vec();
    for (key, value) in resource::attributes(facts, host) {
        out.extend_from_slice(br#"{"key":"#);
        string(&key, &mut out);
        out.extend_from_slice(br#","value":"#);
        match value {
            Value::Text(text) => text_value(&text, &mut out),
            Value::Integer(number) => integer_value(number, &mut out),
            Value::Texts(texts) => texts_value(&texts, &mut out),
        }
        out.extend_from_slice(b"},");
    }
    replace_last_comma(br#"]},"scopeSpans":[{"scope":{"name":""#, &mut out);
    out.extend_from_slice(SCOPE_NAME.as_bytes());
    out.extend_from_slice(br#"","version":""#);
    out.extend_from_slice(SCOPE_VERSION.as_bytes());
    out.extend_from_slice(br#""},"spans":["#);
    out
}

fn span(span: &Span, out: &mut Vec<u8>) {
    // Room for an ordinary span, so that the vector grows once and not many times.
    out.reserve(2_048);
    out.extend_from_slice(br#"{"traceId":""#);
    hex(&span.trace.0, out);
    out.extend_from_slice(br#"","spanId":""#);
    hex(&span.id.0, out);
    if let Some(parent) = &span.parent {
        out.extend_from_slice(br#"","parentSpanId":""#);
        hex(&parent.span.0, out);
    }
    out.extend_from_slice(br#"","flags":"#);
    decimal(span_flags(span), out);
    if !span.trace_state.is_empty() {
        out.extend_from_slice(br#","traceState":"#);
        string(&span.trace_state, out);
    }
    out.extend_from_slice(br#","name":"#);
    string(&span.name, out);
    out.extend_from_slice(match span.otlp_kind() {
        OtlpKind::Server => br#","kind":2,"startTimeUnixNano":""#,
        OtlpKind::Client => br#","kind":3,"startTimeUnixNano":""#,
        OtlpKind::Producer => br#","kind":4,"startTimeUnixNano":""#,
        OtlpKind::Consumer => br#","kind":5,"startTimeUnixNano":""#,
    });
    decimal(span.start, out);
    out.extend_from_slice(br#"","endTimeUnixNano":""#);
    decimal(span.end, out);
    out.extend_from_slice(br#"","attributes":["#);
    span_attributes(span, &mut JsonAttributes(out));
    replace_last_comma(b"]", out);
    events(span, out);
    links(span, out);
    status(span, out);
    out.push(b'}');
}

fn events(span: &Span, out: &mut Vec<u8>) {
    let Some(at) = span.first_response_byte else { return };
    out.extend_from_slice(br#","events":[{"timeUnixNano":""#);
    decimal(at, out);
    out.extend_from_slice(br#"","name":""#);
    out.extend_from_slice(FIRST_BYTE_EVENT.as_bytes());
    out.extend_from_slice(br#""}]"#);
}

fn links(span: &Span, out: &mut Vec<u8>) {
    if span.links.is_empty() {
        return;
    }
    out.extend_from_slice(br#","links":["#);
    for link in &span.links {
        out.extend_from_slice(br#"{"traceId":""#);
        hex(&link.trace.0, out);
        out.extend_from_slice(br#"","spanId":""#);
        hex(&link.span.0, out);
        out.extend_from_slice(br#"","attributes":["#);
        JsonAttributes(out).text(EVIDENCE, link.evidence.name());
        replace_last_comma(br#"],"flags":"#, out);
        decimal(LINK_FLAGS, out);
        out.extend_from_slice(b"},");
    }
    replace_last_comma(b"]", out);
}

fn status(span: &Span, out: &mut Vec<u8>) {
    match span.status {
        Status::Unset => out.extend_from_slice(br#","status":{}"#),
        Status::Error => {
            out.extend_from_slice(br#","status":{"message":"#);
            string(status_message(span), out);
            out.extend_from_slice(br#","code":2}"#);
        }
    }
}

/// Writes attributes, each with a comma after it.
struct JsonAttributes<'a>(&'a mut Vec<u8>);

impl JsonAttributes<'_> {
    /// `name` needs no escaping: it is of the conventions, or the token that names a field.
    fn rare(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        self.0.extend_from_slice(br#"{"key":""#);
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(br#"","value":"#);
        value(self.0);
        self.0.extend_from_slice(b"},");
    }
}

impl Sink for JsonAttributes<'_> {
    fn text<const N: usize>(&mut self, key: &Key<N>, value: &str) {
        self.0.extend_from_slice(key.json_text.as_bytes());
        escaped(value, self.0);
        self.0.extend_from_slice(br#""}},"#);
    }

    fn integer<const N: usize>(&mut self, key: &Key<N>, value: i64) {
        self.0.extend_from_slice(key.json_integer.as_bytes());
        decimal(value, self.0);
        self.0.extend_from_slice(br#""}},"#);
    }

    fn boolean<const N: usize>(&mut self, key: &Key<N>, value: bool) {
        let value: &[u8] = if value { br#"{"boolValue":true}"# } else { br#"{"boolValue":false}"# };
        self.rare(key.name, |out| out.extend_from_slice(value));
    }

    fn texts(&mut self, name: &str, values: &[&str]) {
        self.rare(name, |out| texts_value(values, out));
    }

    fn address<const N: usize>(&mut self, key: &Key<N>, value: IpAddr) {
        self.0.extend_from_slice(key.json_text.as_bytes());
        write_address(value, self.0);
        self.0.extend_from_slice(br#""}},"#);
    }
}

fn text_value(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"stringValue":"#);
    string(text, out);
    out.push(b'}');
}

fn integer_value(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"intValue":""#);
    decimal(number, out);
    out.extend_from_slice(br#""}"#);
}

fn texts_value(texts: &[impl AsRef<str>], out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"arrayValue":{"values":["#);
    for text in texts {
        text_value(text.as_ref(), out);
        out.push(b',');
    }
    replace_last_comma(b"]}}", out);
}

/// Every list here is written with a comma after each element; `end` takes the place of the last one, if there is one.
fn replace_last_comma(end: &[u8], out: &mut Vec<u8>) {
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.extend_from_slice(end);
}

fn decimal(number: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn hex<const N: usize>(bytes: &[u8; N], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [[0; 2]; N];
    for (pair, byte) in text.iter_mut().zip(bytes) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
    out.extend_from_slice(text.as_flattened());
}

/// A JSON string with its quotes.
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escaped(text, out);
    out.push(b'"');
}

/// Which bytes a JSON string may not hold as they are (RFC 8259, section 7).
const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The inside of a JSON string.
fn escaped(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    // Nearly all text is plain. Without an early exit the compiler looks at many bytes at once.
    let special = rest.iter().fold(false, |special, byte| special | needs_escape(*byte));
    if !special {
        return out.extend_from_slice(rest);
    }
    while let Some(plain) = rest.iter().position(|byte| needs_escape(*byte)) {
        out.extend_from_slice(&rest[..plain]);
        let byte = rest[plain];
        match byte {
            b'"' => out.extend_from_slice(br#"\""#),
            b'\\' => out.extend_from_slice(br"\\"),
            b'\n' => out.extend_from_slice(br"\n"),
            b'\r' => out.extend_from_slice(br"\r"),
            b'\t' => out.extend_from_slice(br"\t"),
            _ => {
                out.extend_from_slice(br"\u00");
                hex(&[byte], out);
            }
        }
        rest = &rest[plain + 1..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::TracesData;
    use proptest::prelude::*;

    use super::*;
    use crate::{export::otlp::convert::Converter, pipeline::samples};

    fn host() -> HostResource {
        HostResource {
            name: Some("no\"de".into()),
            id: Some("8f0e".into()),
            attributes: vec![("k8s.cluster.name".into(), "blue\n".into())],
        }
    }

    /// What an OTLP reader makes of our line must be what we send as protobuf.
    fn assert_same(entries: &[SpanEvent]) {
        let mut line = vec![];
        let written = LineWriter::new(host()).line(entries, &mut line);
        let text = str::from_utf8(&line).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "one line");
        assert!(text.ends_with('\n'));
        let read: TracesData = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"));
        let request = Converter::new(host()).request(entries.iter());
        assert_eq!(read.resource_spans, request.resource_spans);
        let spans =
            read.resource_spans.iter().flat_map(|resource| &resource.scope_spans).flat_map(|s| &s.spans);
        assert_eq!(spans.count() as u64, written);
    }

    #[test]
    fn lines_read_back_as_what_is_sent_as_protobuf() {
        let all: Vec<_> =
            samples::variety().into_iter().map(|span| SpanEvent::Span(Box::new(span))).collect();
        for one in &all {
            assert_same(std::slice::from_ref(one));
        }
        assert_same(&all);
    }

    #[test]
    fn notices_of_open_requests_are_not_spans() {
        let mut out = vec![];
        assert_eq!(LineWriter::new(host()).line(&[samples::open()], &mut out), 0);
        assert!(out.is_empty());
    }

    #[test]
    fn the_format_to_the_letter() {
        let mut span = samples::client_span();
        span.process = std::sync::Arc::default();
        let mut out = vec![];
        super::span(&span, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with(concat!(
            r#"{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba90202","#,
            r#""parentSpanId":"00f067aa0ba90201","flags":257,"name":"GET","kind":3,"#,
            r#""startTimeUnixNano":"1795183387124456789","endTimeUnixNano":"1795183387129456789","attributes":["#,
            r#"{"key":"http.request.method","value":{"stringValue":"GET"}},"#,
        )), "{text}");
        assert!(text.contains(r#"{"key":"http.response.status_code","value":{"intValue":"404"}}"#), "{text}");
        assert!(
            text.contains(r#"{"key":"network.peer.address","value":{"stringValue":"2001:db8::2"}}"#),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn any_text_survives(text in any::<String>(), tail in "\\PC*") {
            let mut span = samples::client_span();
            span.name = text.clone().into();
            span.error = Some(text + &tail);
            span.trace_state = tail.into();
            assert_same(&[SpanEvent::Span(Box::new(span))]);
        }
    }

    /// Prints the cost per span. Run by hand: `cargo test --release --lib json::tests::cost -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement, not a test"]
    fn cost() {
        const ROUNDS: u32 = 2_000;
        let process = std::sync::Arc::new(samples::facts());
        let batch: Vec<_> = (0..512)
            .map(|index| {
                let mut span = if index % 2 == 0 { samples::server_span() } else { samples::client_span() };
                span.process = std::sync::Arc::clone(&process);
                SpanEvent::Span(Box::new(span))
            })
            .collect();
        let mut writer = LineWriter::new(host());
        let mut out = vec![];
        let mut best = std::time::Duration::MAX;
        for _ in 0..ROUNDS {
            let started = std::time::Instant::now();
            out.clear();
            writer.line(&batch, &mut out);
            best = best.min(started.elapsed());
        }
        println!("{:?} and {} bytes per span", best / 512, out.len() / 512);
    }
}
