//! From spans to the messages of opentelemetry-proto. Only for tests: what the encoders write is held against it.

use std::net::IpAddr;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{self as proto, ResourceSpans, ScopeSpans, span, status::StatusCode},
};

use crate::{
    export::{
        attributes::{
            EVIDENCE, FIRST_BYTE_EVENT, Key, LINK_FLAGS, SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION, Sink,
            span_attributes, span_flags, status_message,
        },
        resource::{self, Cache, HostResource, Value},
    },
    trace::span::{Link, OtlpKind, Span, SpanEvent, Status},
};

/// Makes requests, with the resource of each process made once.
#[derive(Debug)]
pub(crate) struct Converter {
    host: HostResource,
    resources: Cache<Resource>,
}

impl Converter {
    pub(crate) fn new(host: HostResource) -> Self {
        Self { host, resources: Cache::default() }
    }

    /// One request with all finished spans of `entries`.
    pub(crate) fn request<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a SpanEvent>,
    ) -> ExportTraceServiceRequest {
        let resource_spans = resource::by_process(entries)
            .into_iter()
            .map(|(facts, spans)| {
                let host = &self.host;
                let resource = self.resources.get(facts, |facts| Resource {
                    attributes: resource::attributes(facts, host)
                        .into_iter()
                        .map(resource_attribute)
                        .collect(),
                    ..Resource::default()
                });
                ResourceSpans {
                    resource: Some(resource.clone()),
                    scope_spans: vec![ScopeSpans {
                        scope: Some(InstrumentationScope {
                            name: SCOPE_NAME.to_owned(),
                            version: SCOPE_VERSION.to_owned(),
                            ..InstrumentationScope::default()
                        }),
                        spans: spans.into_iter().map(convert).collect(),
                        schema_url: SCHEMA_URL.to_owned(),
                    }],
                    schema_url: SCHEMA_URL.to_owned(),
                }
            })
            .collect();
        ExportTraceServiceRequest { resource_spans }
    }
}

fn convert(span: &Span) -> proto::Span {
    let mut attributes = Attributes(Vec::with_capacity(24));
    span_attributes(span, &mut attributes);
    let first_byte = span.first_response_byte.map(|at| span::Event {
        time_unix_nano: at,
        name: FIRST_BYTE_EVENT.to_owned(),
        ..span::Event::default()
    });
    let code = match span.status {
        Status::Unset => StatusCode::Unset,
        Status::Error => StatusCode::Error,
    };
    proto::Span {
        trace_id: span.trace.0.to_vec(),
        span_id: span.id.0.to_vec(),
        trace_state: span.trace_state.to_string(),
        parent_span_id: span.parent.map(|parent| parent.span.0.to_vec()).unwrap_or_default(),
        flags: span_flags(span),
        name: span.name.to_string(),
        kind: match span.otlp_kind() {
            OtlpKind::Server => span::SpanKind::Server,
            OtlpKind::Client => span::SpanKind::Client,
            OtlpKind::Producer => span::SpanKind::Producer,
            OtlpKind::Consumer => span::SpanKind::Consumer,
        }
        .into(),
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end,
        attributes: attributes.0,
        events: first_byte.into_iter().collect(),
        links: span.links.iter().map(convert_link).collect(),
        status: Some(proto::Status { message: status_message(span).to_owned(), code: code.into() }),
        ..proto::Span::default()
    }
}

fn convert_link(link: &Link) -> span::Link {
    span::Link {
        trace_id: link.trace.0.to_vec(),
        span_id: link.span.0.to_vec(),
        attributes: vec![attribute(EVIDENCE.name, text(link.evidence.name()))],
        flags: LINK_FLAGS,
        ..span::Link::default()
    }
}

struct Attributes(Vec<KeyValue>);

impl Sink for Attributes {
    fn text<const N: usize>(&mut self, key: &Key<N>, value: &str) {
        self.0.push(attribute(key.name, text(value)));
    }

    fn integer<const N: usize>(&mut self, key: &Key<N>, value: i64) {
        self.0.push(attribute(key.name, any_value::Value::IntValue(value)));
    }

    fn boolean<const N: usize>(&mut self, key: &Key<N>, value: bool) {
        self.0.push(attribute(key.name, any_value::Value::BoolValue(value)));
    }

    fn texts(&mut self, name: &str, values: &[&str]) {
        self.0.push(attribute(name, texts(values)));
    }

    fn address<const N: usize>(&mut self, key: &Key<N>, value: IpAddr) {
        self.0.push(attribute(key.name, any_value::Value::StringValue(value.to_string())));
    }
}

fn resource_attribute((key, value): resource::Attribute) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Integer(number) => any_value::Value::IntValue(number),
        Value::Texts(all) => texts(&all),
    };
    attribute(&key, value)
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(value: &str) -> any_value::Value {
    any_value::Value::StringValue(value.to_owned())
}

fn texts(values: &[impl AsRef<str>]) -> any_value::Value {
    let values = values.iter().map(|value| AnyValue { value: Some(text(value.as_ref())) }).collect();
    any_value::Value::ArrayValue(ArrayValue { values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pipeline::samples,
        trace::{http::Http, span::Parent},
    };

    fn attributes(span: &Span) -> Vec<(String, String)> {
        convert(span)
            .attributes
            .into_iter()
            .map(|attribute| {
                let value = match attribute.value.and_then(|value| value.value) {
                    Some(any_value::Value::StringValue(text)) => text,
                    Some(any_value::Value::IntValue(number)) => number.to_string(),
                    Some(any_value::Value::BoolValue(truth)) => truth.to_string(),
                    Some(any_value::Value::ArrayValue(array)) => {
                        let texts = array.values.into_iter().map(|value| match value.value {
                            Some(any_value::Value::StringValue(text)) => text,
                            other => format!("{other:?}"),
                        });
                        texts.collect::<Vec<_>>().join(", ")
                    }
                    other => format!("{other:?}"),
                };
                (attribute.key, value)
            })
            .collect()
    }

    fn assert_attributes(span: &Span, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(attributes(span), expected);
    }

    #[test]
    fn a_server_span_by_the_conventions() {
        let span = samples::server_span();
        assert_attributes(
            &span,
            &[
                ("http.request.method", "GET"),
                ("url.path", "/orders"),
                ("url.query", "id=7"),
                ("url.scheme", "http"),
                ("http.response.status_code", "200"),
                ("server.address", "shop.example"),
                ("server.port", "8080"),
                ("client.address", "192.0.2.7"),
                ("client.port", "51000"),
                ("network.protocol.name", "http"),
                ("network.protocol.version", "1.1"),
                ("user_agent.original", "curl/8.9.1"),
                ("http.request.header.x-request-id", "7, 8"),
                ("http.request.body.size", "0"),
                ("http.response.body.size", "2048"),
                ("network.peer.address", "192.0.2.7"),
                ("network.peer.port", "51000"),
                ("network.local.address", "192.0.2.1"),
                ("network.local.port", "8080"),
                ("network.transport", "tcp"),
                ("network.type", "ipv4"),
                ("thread.id", "4712"),
            ],
        );
        let converted = convert(&span);
        assert_eq!(converted.kind, span::SpanKind::Server as i32);
        assert_eq!(converted.flags, 0x101);
        assert_eq!(converted.parent_span_id, Vec::<u8>::new());
        assert_eq!(converted.events[0].name, "http.response.first_byte");
        assert_eq!(converted.events[0].time_unix_nano, samples::START + 11 * samples::MILLI);
        assert_eq!(converted.status, Some(proto::Status::default()));
    }

    #[test]
    fn a_failed_connect_names_the_peer_as_server() {
        let span = samples::connect_span();
        assert_attributes(
            &span,
            &[
                ("server.address", "192.0.2.9"),
                ("server.port", "1"),
                ("error.type", "ECONNREFUSED"),
                ("network.peer.address", "192.0.2.9"),
                ("network.peer.port", "1"),
                ("network.transport", "tcp"),
                ("network.type", "ipv4"),
                ("thread.id", "4712"),
                ("wirespan.parent.evidence", "both_sides"),
            ],
        );
        let status = convert(&span).status.unwrap();
        assert_eq!((status.message.as_str(), status.code()), ("ECONNREFUSED", StatusCode::Error));
    }

    #[test]
    fn the_status_code_needs_no_message() {
        let status = convert(&samples::client_span()).status.unwrap();
        assert_eq!((status.message.as_str(), status.code()), ("", StatusCode::Error));
    }

    #[test]
    fn what_was_not_seen_is_no_attribute() {
        let mut span = samples::server_span();
        span.http = Some(Http::default());
        let all = attributes(&span);
        assert_eq!(all[0], ("network.protocol.name".to_owned(), "http".to_owned()));
        assert!(all.iter().all(|(_, value)| !value.is_empty()), "{all:?}");
    }

    #[test]
    fn flags_say_whether_the_parent_is_remote() {
        let mut span = samples::client_span();
        assert_eq!(convert(&span).flags, 0x101);
        span.parent = span.parent.map(|parent| Parent { remote: true, ..parent });
        span.flags = 0;
        assert_eq!(convert(&span).flags, 0x300);
    }
}
