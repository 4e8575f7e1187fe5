//! OTLP over gRPC: `opentelemetry.proto.collector.trace.v1.TraceService/Export`.

use std::{error::Error, fmt, time::Duration};

use hyper::{Uri, body::Bytes, http::uri::PathAndQuery};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::{
    Message,
    bytes::{Buf, BufMut},
};
use tonic::{
    Code, Status,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap},
};

use super::{
    settings::{Compression, OtlpSettings},
    transport::{Accepted, OtlpError, SendError, USER_AGENT, connector, for_log},
};
use crate::causes::with_causes;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

const WRONG_PORT: &str =
    "; does the port speak OTLP/HTTP? Set protocol: http/protobuf, or the collector's gRPC port (4317)";

type Inner = tonic::client::Grpc<Client<HttpsConnector<HttpConnector>, tonic::body::Body>>;

/// A gRPC client over pooled HTTP/2 connections.
pub(super) struct Grpc {
    inner: Inner,
    metadata: MetadataMap,
    timeout: Duration,
}

impl fmt::Debug for Grpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The metadata may hold secrets.
        f.debug_struct("Grpc").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Grpc {
    pub(super) fn new(target: Uri, settings: &OtlpSettings) -> Result<Self, OtlpError> {
        let secure = target.scheme_str() == Some("https");
        let client = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(connector(settings, secure)?);
        let mut inner = tonic::client::Grpc::with_origin(client, target);
        if settings.compression() == Compression::Gzip {
            inner = inner.send_compressed(CompressionEncoding::Gzip);
        }
        let inner = inner.accept_compressed(CompressionEncoding::Gzip);
        Ok(Self { inner, metadata: metadata(settings)?, timeout: settings.timeout() })
    }

    pub(super) async fn send(&self, body: Bytes) -> Result<Accepted, SendError> {
        match tokio::time::timeout(self.timeout, self.export(body)).await {
            Ok(Ok(response)) => Ok(response.into()),
            Ok(Err(status)) => Err(classify(&status)),
            Err(_) => Err(SendError::Retryable {
                asked: None,
                reason: format!("no answer within {} ms", self.timeout.as_millis()),
            }),
        }
    }

    async fn export(&self, body: Bytes) -> Result<ExportTraceServiceResponse, Status> {
        // A clone is a handle on the same pool.
        let mut client = self.inner.clone();
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let mut request = tonic::Request::new(body);
        *request.metadata_mut() = self.metadata.clone();
        request.set_timeout(self.timeout);
        let response = client.unary(request, PathAndQuery::from_static(EXPORT), EncodedRequest).await?;
        Ok(response.into_inner())
    }
}

fn metadata(settings: &OtlpSettings) -> Result<MetadataMap, OtlpError> {
    let mut metadata = MetadataMap::new();
    metadata.insert("user-agent", AsciiMetadataValue::from_static(USER_AGENT));
    for header in settings.headers.iter().flatten() {
        let invalid = || OtlpError::Header { name: header.name.clone() };
        let name = header.name.to_ascii_lowercase();
        let key = AsciiMetadataKey::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let mut value = AsciiMetadataValue::try_from(header.value.as_str()).map_err(|_| invalid())?;
        value.set_sensitive(true);
        metadata.append(key, value);
    }
    Ok(metadata)
}

/// What a connection shows when its other end knows HTTP/1.1 alone: no frames of HTTP/2.
fn not_http2(mut reason: String) -> String {
    if reason.contains("frame with invalid size")
        || reason.contains("PROTOCOL_ERROR")
        || reason.contains("http2")
    {
        reason.push_str(WRONG_PORT);
    }
    reason
}

/// Which failures may pass (OTLP specification, "Failures", OTLP/gRPC).
fn classify(status: &Status) -> SendError {
    if let Some(cause) = status.source() {
        // Not an answer: no connection, or it broke.
        return SendError::Retryable { asked: None, reason: not_http2(with_causes(cause)) };
    }
    let asked = retry_delay(status.details());
    let mut reason = format!("grpc status {:?}: {}", status.code(), for_log(status.message()));
    if status.code() == Code::Unimplemented || status.message().contains("HTTP status code") {
        // Tonic's words for an answer of a server that knows HTTP/2, but not gRPC.
        reason.push_str(WRONG_PORT);
    }
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => SendError::Retryable { asked, reason },
        Code::ResourceExhausted if asked.is_some() => SendError::Retryable { asked, reason },
        _ => SendError::Refused { reason },
    }
}

/// `google.rpc.Status`, as in the `grpc-status-details-bin` trailer.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// `google.rpc.RetryInfo`
#[derive(Clone, PartialEq, Message)]
pub(super) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(super) retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Delay {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// The delay of the RetryInfo among the details, zero if it names none.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    let seconds = u64::try_from(delay.seconds).unwrap_or(0);
    let nanos = u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999);
    Some(Duration::new(seconds, nanos))
}

/// A codec whose requests are encoded already, so that a retry encodes nothing again.
#[derive(Debug, Clone, Copy, Default)]
struct EncodedRequest;

impl Codec for EncodedRequest {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for EncodedRequest {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for EncodedRequest {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<ExportTraceServiceResponse>, Status> {
        let message = source.copy_to_bytes(source.remaining());
        let decoded = ExportTraceServiceResponse::decode(message);
        decoded.map(Some).map_err(|error| Status::internal(format!("answer is not OTLP: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(delay: Option<Delay>) -> Bytes {
        let value = RetryInfo { retry_delay: delay }.encode_to_vec();
        let other = Any { type_url: "type.googleapis.com/google.rpc.ErrorInfo".into(), value: vec![1] };
        let info = Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value };
        let status = RpcStatus { code: 8, message: String::new(), details: vec![other, info] };
        status.encode_to_vec().into()
    }

    #[test]
    fn retryable_codes() {
        use Code::{
            Aborted, AlreadyExists, Cancelled, DataLoss, DeadlineExceeded, FailedPrecondition, Internal,
            InvalidArgument, NotFound, OutOfRange, PermissionDenied, ResourceExhausted, Unauthenticated,
            Unavailable, Unimplemented, Unknown,
        };
        for code in [Cancelled, DeadlineExceeded, Aborted, OutOfRange, Unavailable, DataLoss] {
            assert!(matches!(classify(&Status::new(code, "x")), SendError::Retryable { asked: None, .. }));
        }
        for code in [
            Unknown,
            InvalidArgument,
            NotFound,
            AlreadyExists,
            PermissionDenied,
            ResourceExhausted,
            FailedPrecondition,
            Unimplemented,
            Internal,
            Unauthenticated,
        ] {
            assert!(matches!(classify(&Status::new(code, "x")), SendError::Refused { .. }), "{code:?}");
        }
    }

    #[test]
    fn retry_info_makes_resource_exhausted_retryable_and_is_honoured() {
        for (delay, expected) in [
            (Some(Delay { seconds: 7, nanos: 500_000_000 }), Duration::from_millis(7_500)),
            (Some(Delay { seconds: -7, nanos: -1 }), Duration::ZERO),
            (None, Duration::ZERO),
        ] {
            for code in [Code::ResourceExhausted, Code::Unavailable] {
                let status = Status::with_details(code, "busy", details(delay));
                let SendError::Retryable { asked, .. } = classify(&status) else { panic!("{code:?}") };
                assert_eq!(asked, Some(expected));
            }
        }
        assert_eq!(retry_delay(b"\xff\xff nonsense"), None);
        assert_eq!(retry_delay(b""), None);
    }
}
