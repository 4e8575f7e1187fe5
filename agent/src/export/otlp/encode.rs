//! Spans as OTLP's protobuf, written straight into bytes: the hot path of the OTLP exporter. By way of opentelemetry-proto's
//! structs a span cost about a hundred allocations; the tests hold what is written here against them, byte by byte.
//!
//! Field numbers are those of opentelemetry-proto (`trace.proto`, `common.proto`, `resource.proto`), fields in their order.

use std::net::IpAddr;

use prost::encoding::{encode_varint, encoded_len_varint};

use crate::{
    event::ProcessFacts,
    export::{
        attributes::{
            EVIDENCE, FIRST_BYTE_EVENT, Key, LINK_FLAGS, SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION, Sink,
            span_attributes, span_flags, status_message,
        },
        resource::{self, Cache, HostResource, Value},
    },
    trace::{
        address_text,
        span::{Link, Span, SpanKind, Status, Traced},
    },
};

/// Room for an ordinary span, so that buffers grow once and not many times.
const SPAN_BYTES: usize = 1_024;

/// Writes requests, with the resource of each process written once.
#[derive(Debug)]
pub struct Encoder {
    host: HostResource,
    resources: Cache<Vec<u8>>,
    /// The span being written, whose length stands before it.
    span: Vec<u8>,
    /// All spans of one process.
    spans: Vec<u8>,
}

impl Encoder {
    /// An encoder for processes of this host.
    #[must_use]
    pub fn new(host: HostResource) -> Self {
        Self { host, resources: Cache::default(), span: Vec::new(), spans: Vec::new() }
    }

    /// One `ExportTraceServiceRequest` with all finished spans of `entries`, and how many these are.
    pub fn request<'a>(&mut self, entries: impl Iterator<Item = &'a Traced>) -> (Vec<u8>, u64) {
        let mut out = Vec::new();
        let mut count = 0;
        for (facts, spans) in resource::by_process(entries) {
            count += spans.len() as u64;
            self.spans.clear();
            self.spans.reserve(spans.len() * SPAN_BYTES);
            for span in spans {
                self.span.clear();
                write_span(span, &mut self.span);
                bytes(SCOPE_SPANS_SPAN, &self.span, &mut self.spans);
            }
            let host = &self.host;
            let resource = self.resources.get(facts, |facts| write_resource(facts, host));
            write_group(resource, &self.spans, &mut out);
        }
        (out, count)
    }
}

const REQUEST_RESOURCE_SPANS: u8 = 1;
const RESOURCE_SPANS_SCOPE_SPANS: u8 = 2;
const RESOURCE_SPANS_SCHEMA_URL: u8 = 3;
const SCOPE_SPANS_SPAN: u8 = 2;
const SCOPE_SPANS_SCHEMA_URL: u8 = 3;

/// Wire types (Protocol Buffers, "Encoding").
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED32: u8 = 5;

/// A `ResourceSpans` with one `ScopeSpans`. `resource` is field 1 already, `spans` are the fields 2 of the scope.
fn write_group(resource: &[u8], spans: &[u8], out: &mut Vec<u8>) {
    let scope = scope();
    let scope_url = field_length(SCHEMA_URL.len());
    let scope_spans = scope.len() + spans.len() + scope_url;
    let group = resource.len() + field_length(scope_spans) + field_length(SCHEMA_URL.len());
    out.reserve(group + 16);
    start(REQUEST_RESOURCE_SPANS, group, out);
    out.extend_from_slice(resource);
    start(RESOURCE_SPANS_SCOPE_SPANS, scope_spans, out);
    out.extend_from_slice(&scope);
    out.extend_from_slice(spans);
    bytes(SCOPE_SPANS_SCHEMA_URL, SCHEMA_URL.as_bytes(), out);
    bytes(RESOURCE_SPANS_SCHEMA_URL, SCHEMA_URL.as_bytes(), out);
}

/// The `InstrumentationScope` as field 1 of a `ScopeSpans`.
fn scope() -> Vec<u8> {
    let mut inside = Vec::with_capacity(32);
    bytes(1, SCOPE_NAME.as_bytes(), &mut inside);
    bytes(2, SCOPE_VERSION.as_bytes(), &mut inside);
    field(1, &inside)
}

/// The `Resource` of a process as field 1 of a `ResourceSpans`.
fn write_resource(facts: &ProcessFacts, host: &HostResource) -> Vec<u8> {
    let mut inside = Vec::new();
    let mut attributes = Attributes { field: 1, out: &mut inside };
    for (key, value) in resource::attributes(facts, host) {
        match value {
            Value::Text(text) => attributes.write_text(&key, text.as_bytes()),
            Value::Integer(number) => attributes.write_integer(&key, number),
            Value::Texts(texts) => attributes.write_texts(&key, &texts),
        }
    }
    field(1, &inside)
}

fn write_span(span: &Span, out: &mut Vec<u8>) {
    bytes(1, &span.trace.0, out);
    bytes(2, &span.id.0, out);
    present(3, span.trace_state.as_bytes(), out);
    if let Some(parent) = &span.parent {
        bytes(4, &parent.span.0, out);
    }
    present(5, span.name.as_bytes(), out);
    let kind = match span.kind {
        SpanKind::Server => 2,
        SpanKind::Client => 3,
    };
    varint(6, kind, out);
    fixed64(7, span.start, out);
    fixed64(8, span.end, out);
    span_attributes(span, &mut Attributes { field: 9, out });
    if let Some(at) = span.first_response_byte {
        write_event(at, out);
    }
    for link in &span.links {
        write_link(link, out);
    }
    write_status(span, out);
    key(16, FIXED32, out);
    out.extend_from_slice(&span_flags(span).to_le_bytes());
}

fn write_event(at: u64, out: &mut Vec<u8>) {
    // A time of 0 is protobuf's default and left out.
    let time = if at == 0 { 0 } else { 1 + size_of::<u64>() };
    start(11, time + field_length(FIRST_BYTE_EVENT.len()), out);
    fixed64(1, at, out);
    bytes(2, FIRST_BYTE_EVENT.as_bytes(), out);
}

fn write_link(link: &Link, out: &mut Vec<u8>) {
    let mut inside = Vec::with_capacity(96);
    bytes(1, &link.trace.0, &mut inside);
    bytes(2, &link.span.0, &mut inside);
    Attributes { field: 4, out: &mut inside }.text(EVIDENCE, link.evidence.name());
    key(6, FIXED32, &mut inside);
    inside.extend_from_slice(&LINK_FLAGS.to_le_bytes());
    bytes(13, &inside, out);
}

fn write_status(span: &Span, out: &mut Vec<u8>) {
    let message = status_message(span).as_bytes();
    let message_length = if message.is_empty() { 0 } else { field_length(message.len()) };
    let code_length = if span.status == Status::Error { 2 } else { 0 };
    start(15, message_length + code_length, out);
    present(2, message, out);
    if span.status == Status::Error {
        varint(3, 2, out);
    }
}

/// Writes each attribute as a `KeyValue` in this field.
struct Attributes<'a> {
    field: u8,
    out: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// Begins a `KeyValue` whose `AnyValue` has `value` bytes.
    fn begin(&mut self, name: &str, value: usize) {
        let length = field_length(name.len()) + field_length(value);
        self.out.reserve(field_length(length));
        match (one_byte(length), one_byte(name.len()), one_byte(value)) {
            // Nearly all: then every length has one byte.
            (Some(length), Some(name_length), Some(value)) => {
                self.out.extend_from_slice(&[tag(self.field, LENGTH), length, tag(1, LENGTH), name_length]);
                self.out.extend_from_slice(name.as_bytes());
                self.out.extend_from_slice(&[tag(2, LENGTH), value]);
            }
            _ => {
                start(self.field, length, self.out);
                bytes(1, name.as_bytes(), self.out);
                start(2, value, self.out);
            }
        }
    }

    fn write_text(&mut self, name: &str, value: &[u8]) {
        self.begin(name, field_length(value.len()));
        bytes(1, value, self.out);
    }

    fn write_integer(&mut self, name: &str, value: i64) {
        let value = value.cast_unsigned();
        self.begin(name, 1 + varint_length(value));
        key(3, VARINT, self.out);
        write_varint(value, self.out);
    }

    fn write_texts(&mut self, name: &str, values: &[impl AsRef<str>]) {
        let mut array = Vec::new();
        for value in values {
            let value = value.as_ref().as_bytes();
            start(1, field_length(value.len()), &mut array);
            bytes(1, value, &mut array);
        }
        self.begin(name, field_length(array.len()));
        bytes(5, &array, self.out);
    }
}

impl Sink for Attributes<'_> {
    fn text(&mut self, key: Key, value: &str) {
        self.write_text(key.name, value.as_bytes());
    }

    fn integer(&mut self, key: Key, value: i64) {
        self.write_integer(key.name, value);
    }

    fn boolean(&mut self, name: Key, value: bool) {
        self.begin(name.name, 2);
        key(2, VARINT, self.out);
        self.out.push(u8::from(value));
    }

    fn texts(&mut self, name: &str, values: &[&str]) {
        self.write_texts(name, values);
    }

    fn address(&mut self, key: Key, value: IpAddr) {
        self.write_text(key.name, address_text(value).as_bytes());
    }
}

/// Keys and most lengths have one byte, for which prost's loop is slow.
#[inline]
fn write_varint(value: u64, out: &mut Vec<u8>) {
    match u8::try_from(value) {
        Ok(byte @ 0..=0x7f) => out.push(byte),
        _ => encode_varint(value, out),
    }
}

#[inline]
const fn varint_length(value: u64) -> usize {
    if value < 0x80 { 1 } else { encoded_len_varint(value) }
}

/// A length as a varint of one byte, if it is one.
#[inline]
fn one_byte(length: usize) -> Option<u8> {
    u8::try_from(length).ok().filter(|byte| *byte < 0x80)
}

/// The key of a field up to 15 has one byte.
#[inline]
const fn tag(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

#[inline]
fn key(field: u8, wire_type: u8, out: &mut Vec<u8>) {
    write_varint(u64::from(field) << 3 | u64::from(wire_type), out);
}

/// Begins a field of `length` bytes.
#[inline]
fn start(field: u8, length: usize, out: &mut Vec<u8>) {
    key(field, LENGTH, out);
    write_varint(length as u64, out);
}

/// A text, bytes or message field.
#[inline]
fn bytes(field: u8, value: &[u8], out: &mut Vec<u8>) {
    start(field, value.len(), out);
    out.extend_from_slice(value);
}

/// A text that is empty is protobuf's default and left out.
fn present(field: u8, value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() {
        bytes(field, value, out);
    }
}

fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field_length(value.len()));
    bytes(number, value, &mut out);
    out
}

/// A number that is 0 is protobuf's default and left out.
fn fixed64(field: u8, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        key(field, FIXED64, out);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn varint(field: u8, value: u64, out: &mut Vec<u8>) {
    key(field, VARINT, out);
    write_varint(value, out);
}

/// Bytes of a field (numbers up to 15) with `length` bytes inside.
#[inline]
const fn field_length(length: usize) -> usize {
    1 + varint_length(length as u64) + length
}
