//! Spans as OTLP's protobuf, written straight into the bytes that are sent: the hot path of the OTLP exporter. What is the same
//! in every span is copied as one array, in which the rest is changed. The tests hold what is written here, byte by byte,
//! against opentelemetry-proto's types.
//!
//! Field numbers are those of opentelemetry-proto (`trace.proto`, `common.proto`, `resource.proto`), fields in their order.

use super::{
    key_value::{KeyValues, SpanAttributes},
    wire::{
        FIXED32, FIXED64, LENGTH, Room, VARINT, append, bytes, field_length, present, start, tag,
        varint_length,
    },
};
use crate::{
    event::ProcessFacts,
    export::{
        attributes::{
            EVIDENCE, FIRST_BYTE_EVENT, LINK_FLAGS, SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION, span_attributes,
            span_flags, status_message,
        },
        resource::{self, Cache, HostResource, Value},
    },
    trace::span::{Link, Parent, Span, SpanEvent, Status},
};

/// Room for an ordinary span and for an ordinary resource, so that the buffer is made once and not many times.
const SPAN_BYTES: usize = 1_024;
const RESOURCE_BYTES: usize = 1_024;
/// The length of a span has nearly always two bytes.
const SPAN_WIDTH: usize = 2;
/// What a span usually has, for a guess at how many bytes the length of all of them will have.
const USUAL_SPAN_BYTES: usize = 700;

/// Writes requests, with the resource of each process written once.
#[derive(Debug)]
pub struct Encoder {
    host: HostResource,
    resources: Cache<Vec<u8>>,
}

impl Encoder {
    /// An encoder for processes of this host.
    #[must_use]
    pub fn new(host: HostResource) -> Self {
        Self { host, resources: Cache::default() }
    }

    /// One `ExportTraceServiceRequest` with all finished spans of `entries`, and how many these are.
    pub fn request<'a>(&mut self, entries: impl Iterator<Item = &'a SpanEvent>) -> (Vec<u8>, u64) {
        let groups = resource::by_process(entries);
        let count: usize = groups.iter().map(|(_, spans)| spans.len()).sum();
        let mut out = Vec::with_capacity(count * SPAN_BYTES + groups.len() * RESOURCE_BYTES);
        for (facts, spans) in groups {
            let host = &self.host;
            let resource = self.resources.get(facts, |facts| write_resource(facts, host));
            write_group(resource, &spans, &mut out);
        }
        (out, count as u64)
    }
}

const REQUEST_RESOURCE_SPANS: u8 = 1;
const RESOURCE_SPANS_SCOPE_SPANS: u8 = 2;
const RESOURCE_SPANS_SCHEMA_URL: u8 = 3;
const SCOPE_SPANS_SPAN: u8 = 2;
const SCOPE_SPANS_SCHEMA_URL: u8 = 3;

/// A `ResourceSpans` with one `ScopeSpans`. `resource` is field 1 already.
fn write_group(resource: &[u8], spans: &[&Span], out: &mut Vec<u8>) {
    let width = varint_length((spans.len() * USUAL_SPAN_BYTES) as u64);
    let group = Room::leave(REQUEST_RESOURCE_SPANS, width, out);
    out.extend_from_slice(resource);
    let scope_spans = Room::leave(RESOURCE_SPANS_SCOPE_SPANS, width, out);
    write_scope(out);
    for span in spans {
        write_span(span, out);
    }
    bytes(SCOPE_SPANS_SCHEMA_URL, SCHEMA_URL.as_bytes(), out);
    scope_spans.fill(out);
    bytes(RESOURCE_SPANS_SCHEMA_URL, SCHEMA_URL.as_bytes(), out);
    group.fill(out);
}

/// The `InstrumentationScope` as field 1 of a `ScopeSpans`.
fn write_scope(out: &mut Vec<u8>) {
    start(1, field_length(SCOPE_NAME.len()) + field_length(SCOPE_VERSION.len()), out);
    bytes(1, SCOPE_NAME.as_bytes(), out);
    bytes(2, SCOPE_VERSION.as_bytes(), out);
}

/// The `Resource` of a process as field 1 of a `ResourceSpans`.
fn write_resource(facts: &ProcessFacts, host: &HostResource) -> Vec<u8> {
    let mut inside = Vec::new();
    let mut attributes = KeyValues { field: 1, out: &mut inside };
    for (key, value) in resource::attributes(facts, host) {
        match value {
            Value::Text(text) => attributes.text(&key, &text),
            Value::Integer(number) => attributes.integer(&key, number),
            Value::Texts(texts) => attributes.texts(&key, &texts),
        }
    }
    let mut out = Vec::with_capacity(field_length(inside.len()));
    bytes(1, &inside, &mut out);
    out
}

/// As field 2 of a `ScopeSpans`.
fn write_span(span: &Span, out: &mut Vec<u8>) {
    let room = write_ids(span, out);
    present(3, span.trace_state.as_bytes(), out);
    if let Some(parent) = &span.parent {
        write_parent(parent, out);
    }
    present(5, span.name.as_bytes(), out);
    write_kind_and_times(span, out);
    span_attributes(span, &mut SpanAttributes(out));
    if let Some(at) = span.first_response_byte {
        write_event(at, out);
    }
    for link in &span.links {
        write_link(link, out);
    }
    write_end(span, out);
    room.fill(out);
}

/// The beginning of a span, whose length is still to be written.
#[inline]
fn write_ids(span: &Span, out: &mut Vec<u8>) -> Room {
    const TRACE: usize = 1 + SPAN_WIDTH + 2;
    const ID: usize = TRACE + 16 + 2;
    const BEGINNING: [u8; ID + 8] = {
        let mut all = [0; ID + 8];
        all[0] = tag(SCOPE_SPANS_SPAN, LENGTH);
        all[TRACE - 2] = tag(1, LENGTH);
        all[TRACE - 1] = 16;
        all[ID - 2] = tag(2, LENGTH);
        all[ID - 1] = 8;
        all
    };
    let room = Room::at(out.len() + 1, SPAN_WIDTH);
    let beginning = append(&BEGINNING, out);
    beginning[TRACE..TRACE + 16].copy_from_slice(&span.trace.0);
    beginning[ID..].copy_from_slice(&span.id.0);
    room
}

#[inline]
fn write_parent(parent: &Parent, out: &mut Vec<u8>) {
    let field = append(&[tag(4, LENGTH), 8, 0, 0, 0, 0, 0, 0, 0, 0], out);
    field[2..].copy_from_slice(&parent.span.0);
}

#[inline]
fn write_kind_and_times(span: &Span, out: &mut Vec<u8>) {
    const FIELDS: [u8; 20] = {
        let mut all = [0; 20];
        all[0] = tag(6, VARINT);
        all[2] = tag(7, FIXED64);
        all[11] = tag(8, FIXED64);
        all
    };
    let kind = span.otlp_kind() as u8;
    if span.start == 0 || span.end == 0 {
        return write_kind_and_times_but_zeros(kind, span, out);
    }
    let fields = append(&FIELDS, out);
    fields[1] = kind;
    fields[3..11].copy_from_slice(&span.start.to_le_bytes());
    fields[12..].copy_from_slice(&span.end.to_le_bytes());
}

/// A time of 0 is protobuf's default and left out.
#[cold]
fn write_kind_and_times_but_zeros(kind: u8, span: &Span, out: &mut Vec<u8>) {
    out.extend_from_slice(&[tag(6, VARINT), kind]);
    for (field, time) in [(7, span.start), (8, span.end)] {
        if time != 0 {
            out.push(tag(field, FIXED64));
            out.extend_from_slice(&time.to_le_bytes());
        }
    }
}

#[inline]
fn write_event(at: u64, out: &mut Vec<u8>) {
    const NAME: usize = 2 + 9 + 2;
    const EVENT: [u8; NAME + FIRST_BYTE_EVENT.len()] = {
        let mut all = [0; NAME + FIRST_BYTE_EVENT.len()];
        all[0] = tag(11, LENGTH);
        all[1] = (all.len() - 2) as u8;
        all[2] = tag(1, FIXED64);
        all[NAME - 2] = tag(2, LENGTH);
        all[NAME - 1] = FIRST_BYTE_EVENT.len() as u8;
        all.split_at_mut(NAME).1.copy_from_slice(FIRST_BYTE_EVENT.as_bytes());
        all
    };
    if at == 0 {
        return write_event_without_time(out);
    }
    append(&EVENT, out)[3..11].copy_from_slice(&at.to_le_bytes());
}

#[cold]
fn write_event_without_time(out: &mut Vec<u8>) {
    start(11, field_length(FIRST_BYTE_EVENT.len()), out);
    bytes(2, FIRST_BYTE_EVENT.as_bytes(), out);
}

fn write_link(link: &Link, out: &mut Vec<u8>) {
    let mut inside = Vec::with_capacity(96);
    bytes(1, &link.trace.0, &mut inside);
    bytes(2, &link.span.0, &mut inside);
    KeyValues { field: 4, out: &mut inside }.text(EVIDENCE.name, link.evidence.name());
    inside.push(tag(6, FIXED32));
    inside.extend_from_slice(&LINK_FLAGS.to_le_bytes());
    bytes(13, &inside, out);
}

/// Status and flags.
#[inline]
fn write_end(span: &Span, out: &mut Vec<u8>) {
    // The key of field 16 has two bytes.
    const END: [u8; 8] = [tag(15, LENGTH), 0, FIXED32 | 0x80, 16 >> 4, 0, 0, 0, 0];
    if span.status == Status::Error {
        write_error(status_message(span).as_bytes(), out);
        out.extend_from_slice(&END[2..]);
    } else {
        out.extend_from_slice(&END);
    }
    if let Some(flags) = out.last_chunk_mut() {
        *flags = span_flags(span).to_le_bytes();
    }
}

/// A status of an error.
fn write_error(message: &[u8], out: &mut Vec<u8>) {
    const CODE: [u8; 2] = [tag(3, VARINT), 2];
    let message_length = if message.is_empty() { 0 } else { field_length(message.len()) };
    start(15, message_length + CODE.len(), out);
    present(2, message, out);
    out.extend_from_slice(&CODE);
}
