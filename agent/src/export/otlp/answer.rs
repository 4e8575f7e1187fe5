//! What collectors answer over HTTP: the response message in the encodings that servers really use, and what a refusal most
//! likely means.
//!
//! A status of success says that the spans were taken, whatever stands in the body (OTLP specification, "OTLP/HTTP
//! Response"): a body that cannot be read costs a warning, never the spans.

use std::io::Read as _;

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use hyper::{
    HeaderMap, StatusCode, Uri,
    body::Bytes,
    header::{self, HeaderValue},
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use serde::Deserialize;

use super::transport::{Accepted, for_log};

/// Bytes of an answer that are read, before and after decompression.
pub(super) const MAX_ANSWER: usize = 64 * 1_024;

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The body of an answer, as far as it was read.
#[derive(Debug, Clone, Default)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    /// Why there is no more of it, when it is not whole.
    pub(super) cut: Option<String>,
}

/// What a collector says that has taken the spans.
pub(super) fn accepted(headers: &HeaderMap, body: &Body) -> Accepted {
    let unreadable = |why: &str| Accepted { unreadable: Some(why.to_owned()), ..Accepted::default() };
    let bytes = match decoded(headers, &body.bytes) {
        Ok(bytes) => bytes,
        Err(why) => return unreadable(&why),
    };
    match (response(headers, &bytes), &body.cut) {
        (_, Some(cut)) => unreadable(cut),
        (Some(accepted), None) => accepted,
        (None, None) => unreadable("it is not OTLP: is the endpoint a collector's OTLP/HTTP port?"),
    }
}

/// The text of a body that says why the spans were not taken.
pub(super) fn plain(headers: &HeaderMap, body: &Body) -> Bytes {
    decoded(headers, &body.bytes).map_or_else(|_| body.bytes.clone(), Bytes::from)
}

/// The response message, as protobuf or JSON whatever the head says of it; an empty body is a full success.
fn response(headers: &HeaderMap, bytes: &[u8]) -> Option<Accepted> {
    let text = bytes.trim_ascii();
    if text.is_empty() {
        return Some(Accepted::default());
    }
    let says_json = headers.get(header::CONTENT_TYPE).is_some_and(is_json);
    if says_json || text[0] == b'{' {
        // One value: what follows it is somebody's line feed or padding.
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Json>();
        if let Some(Ok(json)) = values.next() {
            return Some(json.into());
        }
    }
    ExportTraceServiceResponse::decode(bytes).ok().map(Accepted::from)
}

fn is_json(value: &HeaderValue) -> bool {
    let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json")
}

fn decoded(headers: &HeaderMap, bytes: &Bytes) -> Result<Vec<u8>, String> {
    let coding =
        headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let limit = MAX_ANSWER as u64;
    let mut out = Vec::new();
    let result = match coding.trim().to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" if bytes.starts_with(&GZIP) => {
            MultiGzDecoder::new(&bytes[..]).take(limit).read_to_end(&mut out)
        }
        "deflate" if !bytes.is_empty() => ZlibDecoder::new(&bytes[..]).take(limit).read_to_end(&mut out),
        // Some proxies compress and do not say so, or take the coding away and leave the field.
        _ if bytes.starts_with(&GZIP) => MultiGzDecoder::new(&bytes[..]).take(limit).read_to_end(&mut out),
        "" | "identity" | "gzip" | "x-gzip" | "deflate" => return Ok(bytes.to_vec()),
        _ if bytes.is_empty() => return Ok(Vec::new()),
        other => return Err(format!("its content coding {:?} is not known", for_log(other))),
    };
    // The end of a compressed body may be cut, as its text may be.
    if result.is_err() && out.is_empty() {
        return Err("its compressed body is damaged".to_owned());
    }
    Ok(out)
}

/// `ExportTraceServiceResponse` as JSON (OTLP specification, "JSON Protobuf Encoding"): 64-bit numbers may be strings, and
/// unknown keys are ignored. Servers that are not strict write the names of the proto file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Json {
    #[serde(alias = "partial_success")]
    #[serde(rename = "partialSuccess")]
    partial_success: Option<Partial>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Partial {
    #[serde(alias = "rejected_spans")]
    #[serde(rename = "rejectedSpans")]
    rejected_spans: serde_json::Value,
    #[serde(alias = "error_message")]
    #[serde(rename = "errorMessage")]
    error_message: serde_json::Value,
}

impl From<Json> for Accepted {
    fn from(json: Json) -> Self {
        let partial = json.partial_success.unwrap_or_default();
        let rejected = match &partial.rejected_spans {
            serde_json::Value::String(text) => text.trim().parse().unwrap_or(0),
            // A whole number may be written as 2.0 or 2e0.
            value => value.as_u64().or_else(|| whole(value.as_f64()?)).unwrap_or(0),
        };
        let message = partial.error_message.as_str().unwrap_or_default().to_owned();
        Self { rejected, message, unreadable: None }
    }
}

fn whole(number: f64) -> Option<u64> {
    format!("{number:.0}").parse().ok()
}

/// What to do about a refusal, where its status says more than the collector's own words.
pub(super) fn hint(status: StatusCode, target: &Uri, location: Option<&str>) -> Option<String> {
    let path = target.path();
    Some(match status.as_u16() {
        300..=399 => match location {
            Some(location) => format!("the endpoint has moved: set it to {}", for_log(location)),
            None => "the endpoint has moved and does not say where: set the collector's own address".to_owned(),
        },
        401 | 403 | 407 => "check the credentials in export.otlp.headers (OTEL_EXPORTER_OTLP_HEADERS)".to_owned(),
        404 if path.matches("/v1/traces").count() > 1 => {
            format!("the path {path} has /v1/traces twice: leave it out of the endpoint")
        }
        404 | 405 if target.port_u16() == Some(4317) => {
            "4317 is usually the port for gRPC: set protocol: grpc, or port 4318".to_owned()
        }
        404 | 405 => format!("nothing takes spans at {path}: is the endpoint a collector's OTLP/HTTP port (4318)?"),
        413 => "the request is too large for the collector or a proxy before it: raise their limit".to_owned(),
        415 => "it does not take protobuf or its compression: set compression: none, or a collector's OTLP/HTTP port".to_owned(),
        426 | 505 => "the port speaks another version of HTTP: set protocol: grpc for a collector's gRPC port".to_owned(),
        _ => return None,
    })
}

/// Where the same request may be sent instead: the same scheme and host, since the headers may hold credentials and the
/// certificate authorities are chosen by the scheme.
pub(super) fn redirected(from: &Uri, location: &str) -> Option<Uri> {
    let authority = from.authority()?.as_str();
    let scheme = from.scheme_str()?;
    let text = match location {
        _ if location.contains("://") => location.to_owned(),
        _ if location.starts_with("//") => format!("{scheme}:{location}"),
        _ if location.starts_with('/') => format!("{scheme}://{authority}{location}"),
        _ => {
            let directory = from.path().rsplit_once('/').map_or("", |(directory, _)| directory);
            format!("{scheme}://{authority}{directory}/{location}")
        }
    };
    let target: Uri = text.split('#').next()?.parse().ok()?;
    let same = target.scheme_str() == Some(scheme)
        && target
            .host()
            .is_some_and(|host| Some(host.to_ascii_lowercase()) == from.host().map(str::to_ascii_lowercase));
    same.then_some(target)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn read(all: &[(&'static str, &'static str)], bytes: &[u8]) -> Accepted {
        accepted(&headers(all), &Body { bytes: bytes.to_vec().into(), cut: None })
    }

    fn protobuf(rejected_spans: i64) -> Vec<u8> {
        let partial_success = Some(ExportTracePartialSuccess { rejected_spans, error_message: "no".into() });
        ExportTraceServiceResponse { partial_success }.encode_to_vec()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn answers_of_success() {
        const JSON: (&str, &str) = ("content-type", "application/json");
        const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
        const GZIPPED: (&str, &str) = ("content-encoding", "gzip");
        type Row<'a> = (&'a [(&'static str, &'static str)], Vec<u8>, u64);
        let rows: [Row<'_>; 21] = [
            (&[], vec![], 0),
            (&[PROTOBUF], vec![], 0),
            (&[JSON], vec![], 0),
            (&[JSON], b"{}".to_vec(), 0),
            (&[JSON], b"\r\n".to_vec(), 0),
            (
                &[("content-type", "Application/JSON; charset=utf-8")],
                b" {\"partialSuccess\":{}}\n".to_vec(),
                0,
            ),
            (&[JSON], br#"{"partialSuccess":null}"#.to_vec(), 0),
            (&[JSON], br#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"no"}}"#.to_vec(), 2),
            (&[JSON], br#"{"partialSuccess":{"rejectedSpans":2}}"#.to_vec(), 2),
            (&[JSON], br#"{"partial_success":{"rejected_spans":2.0}}"#.to_vec(), 2),
            (
                &[JSON],
                br#"{"partialSuccess":{"rejectedSpans":"-1","errorMessage":null},"new":[1]}"#.to_vec(),
                0,
            ),
            (&[JSON], br#"{"partialSuccess":{"rejectedSpans":1}}garbage"#.to_vec(), 1),
            // The head is wrong or says nothing.
            (&[], br#"{"partialSuccess":{"rejectedSpans":1}}"#.to_vec(), 1),
            (&[PROTOBUF], b"{}".to_vec(), 0),
            (&[("content-type", "text/plain")], b"{}".to_vec(), 0),
            (&[JSON], protobuf(3), 3),
            (&[PROTOBUF], protobuf(3), 3),
            (&[PROTOBUF, GZIPPED], gzip(&protobuf(3)), 3),
            (&[JSON, GZIPPED], gzip(br#"{"partialSuccess":{"rejectedSpans":"4"}}"#), 4),
            (&[JSON, GZIPPED], b"{}".to_vec(), 0),
            (&[PROTOBUF, GZIPPED], vec![], 0),
        ];
        for (head, body, rejected) in rows {
            let read = read(head, &body);
            assert_eq!((read.rejected, read.unreadable), (rejected, None), "{head:?} {body:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_rejects_nothing() {
        let mut bomb = gzip(&vec![b'<'; 10 << 20]);
        for (head, body) in [
            (("content-type", "text/html"), b"<html>welcome</html>".to_vec()),
            (("content-type", "application/json"), b"[1".to_vec()),
            (("content-type", "application/json"), b"OK".to_vec()),
            (("content-encoding", "br"), b"\x0b\x02\x80".to_vec()),
            (("content-encoding", "gzip"), b"\x1f\x8bxx".to_vec()),
            (("content-encoding", "gzip"), std::mem::take(&mut bomb)),
        ] {
            let read = read(&[head], &body);
            assert!(read.rejected == 0 && read.unreadable.is_some(), "{head:?}: {read:?}");
        }
    }

    #[test]
    fn redirections_stay_on_the_host() {
        let from: Uri = "http://c:4318/v1/traces".parse().unwrap();
        for (location, expected) in [
            ("/v1/traces/", Some("http://c:4318/v1/traces/")),
            ("http://c:4319/x", Some("http://c:4319/x")),
            ("http://C:4318/x#y", Some("http://c:4318/x")),
            ("spans", Some("http://c:4318/v1/spans")),
            ("//c/x", Some("http://c/x")),
            ("https://c/v1/traces", None),
            ("http://other:4318/v1/traces", None),
            ("//other/x", None),
            ("ftp://c/x", None),
            ("http://", None),
        ] {
            let found = redirected(&from, location).map(|uri| uri.to_string().to_ascii_lowercase());
            assert_eq!(found.as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let hint = |status, target: &str, location| {
            hint(StatusCode::from_u16(status).unwrap(), &target.parse().unwrap(), location)
                .unwrap_or_default()
        };
        let usual = "http://c:4318/v1/traces";
        for (status, target, location, part) in [
            (404, "http://c:4318/v1/traces/v1/traces", None, "twice"),
            (404, usual, None, "OTLP/HTTP port"),
            (405, usual, None, "OTLP/HTTP port"),
            (404, "http://c:4317/v1/traces", None, "protocol: grpc"),
            (415, usual, None, "compression: none"),
            (401, usual, None, "credentials"),
            (301, usual, Some("https://c/"), "set it to https://c/"),
            (308, usual, None, "moved"),
        ] {
            assert!(hint(status, target, location).contains(part), "{status} {target}");
        }
        assert_eq!(hint(400, usual, None), "");
    }
}
