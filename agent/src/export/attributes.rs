//! Which attributes a span has, by OpenTelemetry's stable HTTP and network conventions: said once, for every encoding.

use std::net::IpAddr;

use compact_str::CompactString;

use super::otlp::key_value::{text_beginning, text_beginning_length, whole_text};
use crate::{
    event::Endpoint,
    trace::{
        http::{Http, Text},
        operation::{Kind, Operation},
        span::{Span, SpanKind, Status},
    },
};

/// The version of the semantic conventions that the names below are from.
pub(crate) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";
/// Name of the instrumentation scope.
pub(crate) const SCOPE_NAME: &str = "wirespan";
/// Version of the instrumentation scope: that of the agent.
pub(crate) const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Name of the event at the first byte of the first response.
pub(crate) const FIRST_BYTE_EVENT: &str = "http.response.first_byte";

/// OTLP span flags, bits 8 and 9 (opentelemetry-proto `SpanFlags`).
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The name of an attribute, also as the beginning of what each encoding writes, put together by the compiler: the writers are
/// hot. `N` is the length of the beginning in protobuf, so that it is copied as an array.
#[derive(Debug)]
pub(crate) struct Key<const N: usize> {
    pub(crate) name: &'static str,
    /// Up to the value of a text attribute, with its opening quote.
    pub(crate) json_text: &'static str,
    /// Up to the value of an integer attribute, with its opening quote.
    pub(crate) json_integer: &'static str,
    /// Up to the value of a text attribute; its lengths have still to be written.
    pub(crate) otlp_text: [u8; N],
}

/// A [`Key`]. Names of the semantic conventions need no escaping.
macro_rules! key {
    ($name:literal) => {
        const {
            &Key {
                name: $name,
                json_text: concat!(r#"{"key":""#, $name, r#"","value":{"stringValue":""#),
                json_integer: concat!(r#"{"key":""#, $name, r#"","value":{"intValue":""#),
                otlp_text: text_beginning::<{ text_beginning_length($name) }>($name),
            }
        }
    };
}

/// A text attribute that has this value, ready-made.
#[derive(Debug)]
pub(crate) struct Constant<const N: usize, const M: usize> {
    pub(crate) key: &'static Key<N>,
    pub(crate) value: &'static str,
    pub(crate) otlp: [u8; M],
}

/// A [`Constant`].
macro_rules! constant {
    ($name:literal, $value:literal) => {
        const {
            const KEY: &Key<{ text_beginning_length($name) }> = key!($name);
            &Constant {
                key: KEY,
                value: $value,
                otlp: whole_text::<_, { text_beginning_length($name) + $value.len() }>(
                    &KEY.otlp_text,
                    $value,
                ),
            }
        }
    };
}

/// Gives a text attribute that nearly always has one of these values to `$out`, unless it is empty: that is how [`Http`] says
/// that the head which would tell was not seen.
macro_rules! usual_text {
    ($name:literal, $text:expr, [$($value:literal)*], $out:expr) => {
        match $text {
            "" => {}
            $($value => $out.constant(constant!($name, $value)),)*
            other => $out.text(key!($name), other),
        }
    };
}

/// Attribute of spans with a parent and of links: how the relation is known.
pub(crate) const EVIDENCE: &Key<{ text_beginning_length("wirespan.parent.evidence") }> =
    key!("wirespan.parent.evidence");

/// An encoding.
pub(crate) trait Sink {
    fn text<const N: usize>(&mut self, key: &Key<N>, value: &str);
    fn constant<const N: usize, const M: usize>(&mut self, constant: &Constant<N, M>) {
        self.text(constant.key, constant.value);
    }
    fn integer<const N: usize>(&mut self, key: &Key<N>, value: i64);
    fn boolean<const N: usize>(&mut self, key: &Key<N>, value: bool);
    fn texts(&mut self, name: &str, values: &[&str]);
    fn address<const N: usize>(&mut self, key: &Key<N>, value: IpAddr);
}

/// Gives all attributes of `span` to `out`, in a fixed order.
pub(crate) fn span_attributes(span: &Span, out: &mut impl Sink) {
    match (&span.http, &span.operation) {
        (Some(http), _) => http_attributes(http, out),
        (None, Some(operation)) => operation_attributes(operation, span, out),
        (None, None) => {
            // A connect that failed: the peer is all that is known of the server.
            end(&span.peer, key!("server.address"), key!("server.port"), out);
        }
    }
    if let Some(error) = &span.error {
        out.text(key!("error.type"), error);
    }
    network_attributes(span.local.as_ref(), &span.peer, out);
    if !span.process.is_virtual() {
        out.integer(key!("thread.id"), span.thread_id.into());
    }
    wirespan_attributes(span, out);
}

/// The names of RPC are those of version 1.39 and later of the conventions, where they are not stable yet.
#[cold]
#[inline(never)]
fn operation_attributes(operation: &Operation, span: &Span, out: &mut impl Sink) {
    let Operation { kind, system, name, target, status } = operation;
    let (name, target, status) = (name.as_deref(), target.as_deref(), status.as_deref());
    match kind {
        Kind::Rpc => {
            out.text(key!("rpc.system.name"), system);
            optional_text(key!("rpc.method"), name, out);
            optional_text(key!("rpc.response.status_code"), status, out);
        }
        Kind::Database => {
            out.text(key!("db.system.name"), system);
            optional_text(key!("db.operation.name"), name, out);
            optional_text(key!("db.collection.name"), target, out);
            optional_text(key!("db.response.status_code"), status, out);
        }
        Kind::Messaging => {
            out.text(key!("messaging.system"), system);
            optional_text(key!("messaging.operation.type"), name, out);
            optional_text(key!("messaging.destination.name"), target, out);
        }
    }
    let server = if span.kind == SpanKind::Client { Some(&span.peer) } else { span.local.as_ref() };
    if let Some(server) = server {
        end(server, key!("server.address"), key!("server.port"), out);
    }
}

fn http_attributes(http: &Http, out: &mut impl Sink) {
    usual_text!("http.request.method", http.method, ["GET" "POST"], out);
    optional_text(key!("http.request.method_original"), http.text(Text::MethodOriginal), out);
    optional_text(key!("url.full"), http.text(Text::FullUrl), out);
    optional_text(key!("url.path"), http.text(Text::Path), out);
    optional_text(key!("url.query"), http.text(Text::Query), out);
    usual_text!("url.scheme", http.scheme, ["http"], out);
    if let Some(status) = http.status {
        out.integer(key!("http.response.status_code"), status.into());
    }
    optional_text(key!("server.address"), http.text(Text::ServerAddress), out);
    optional_port(key!("server.port"), http.server_port, out);
    optional_text(key!("client.address"), http.text(Text::ClientAddress), out);
    optional_port(key!("client.port"), http.client_port, out);
    out.constant(constant!("network.protocol.name", "http"));
    usual_text!("network.protocol.version", http.version, ["1.1"], out);
    optional_text(key!("user_agent.original"), http.text(Text::UserAgent), out);
    request_headers(&http.request_headers, out);
    optional_size(key!("http.request.body.size"), http.request_body_size, out);
    optional_size(key!("http.response.body.size"), http.response_body_size, out);
}

/// One attribute per name, with all its values.
fn request_headers(headers: &[(CompactString, CompactString)], out: &mut impl Sink) {
    for (index, (name, _)) in headers.iter().enumerate() {
        if headers[..index].iter().any(|(earlier, _)| earlier == name) {
            continue;
        }
        let of_name = headers[index..].iter().filter(|(other, _)| other == name);
        let values: Vec<&str> = of_name.map(|(_, value)| value.as_str()).collect();
        out.texts(&format!("http.request.header.{name}"), &values);
    }
}

fn network_attributes(local: Option<&Endpoint>, peer: &Endpoint, out: &mut impl Sink) {
    end(peer, key!("network.peer.address"), key!("network.peer.port"), out);
    if let Some(local) = local {
        end(local, key!("network.local.address"), key!("network.local.port"), out);
    }
    let Some(peer) = peer.inet() else {
        return out.constant(constant!("network.transport", "unix"));
    };
    out.constant(constant!("network.transport", "tcp"));
    if plain(peer.ip()).is_ipv4() {
        out.constant(constant!("network.type", "ipv4"));
    } else {
        out.constant(constant!("network.type", "ipv6"));
    }
}

/// Address and port of an end; of a unix socket its name, if it has one.
#[inline]
fn end<const N: usize, const M: usize>(end: &Endpoint, address: &Key<N>, port: &Key<M>, out: &mut impl Sink) {
    match end {
        Endpoint::Inet(end) => {
            out.address(address, plain(end.ip()));
            out.integer(port, end.port().into());
        }
        Endpoint::Unix(end) => optional_text(address, end.name().as_deref(), out),
    }
}

fn wirespan_attributes(span: &Span, out: &mut impl Sink) {
    if let Some(parent) = &span.parent {
        out.text(EVIDENCE, parent.evidence.name());
    }
    if span.parent_unknown {
        out.boolean(key!("wirespan.parent.unknown"), true);
    }
    if !span.incomplete.is_empty() {
        out.texts("wirespan.incomplete", &span.incomplete);
    }
    if span.missing_bytes > 0 {
        out.integer(key!("wirespan.missing.bytes"), saturated(span.missing_bytes));
    }
}

/// OTLP `Span.flags`: the W3C flags, and whether the parent is remote (said also where there is none: it is not).
pub(crate) fn span_flags(span: &Span) -> u32 {
    let remote = span.parent.is_some_and(|parent| parent.remote);
    u32::from(span.flags) | HAS_IS_REMOTE | if remote { IS_REMOTE } else { 0 }
}

/// OTLP `Link.flags`: links point to spans of this agent; the W3C flags of the other trace are not known here.
pub(crate) const LINK_FLAGS: u32 = HAS_IS_REMOTE;

/// OTLP status message. Empty where the response's status code says it all (semantic conventions, "Status").
pub(crate) fn status_message(span: &Span) -> &str {
    let said_by_code = span.http.as_ref().is_some_and(|http| http.status.is_some_and(|code| code >= 400));
    match (&span.error, span.status) {
        (Some(error), Status::Error) if !said_by_code => error,
        _ => "",
    }
}

/// IPv4-mapped IPv6 addresses, as dual-stack sockets have them, are shown as what they are: IPv4.
pub(crate) fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// OTLP integers are signed; nothing counted here comes near their end.
pub(crate) fn saturated(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn optional_text<const N: usize>(key: &Key<N>, value: Option<&str>, out: &mut impl Sink) {
    if let Some(value) = value {
        out.text(key, value);
    }
}

fn optional_port<const N: usize>(key: &Key<N>, value: Option<u16>, out: &mut impl Sink) {
    if let Some(value) = value {
        out.integer(key, value.into());
    }
}

fn optional_size<const N: usize>(key: &Key<N>, value: Option<u64>, out: &mut impl Sink) {
    if let Some(value) = value {
        out.integer(key, saturated(value));
    }
}
