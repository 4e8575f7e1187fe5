//! OTLP over HTTP: binary protobuf, POST, HTTP/1.1.

use std::{
    fmt,
    io::Write,
    time::{Duration, SystemTime},
};

use flate2::{Compression as Level, write::GzEncoder};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use super::{
    grpc::RpcStatus,
    settings::{Compression, OtlpSettings},
    transport::{Accepted, OtlpError, SendError, USER_AGENT, connector, for_log, with_causes},
};

/// Bytes of an answer that are read; a longer one is not from a collector.
const MAX_ANSWER: usize = 64 * 1_024;

/// An HTTP client over pooled connections.
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    target: Uri,
    headers: HeaderMap,
    compression: Compression,
    timeout: Duration,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The headers may hold secrets.
        f.debug_struct("Http").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Http {
    pub(super) fn new(target: Uri, settings: &OtlpSettings) -> Result<Self, OtlpError> {
        let secure = target.scheme_str() == Some("https");
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector(settings, secure)?);
        let compression = settings.compression();
        Ok(Self { client, target, headers: headers(settings)?, compression, timeout: settings.timeout() })
    }

    /// The body for `request`, compressed as configured.
    pub(super) fn body(&self, request: Vec<u8>) -> Bytes {
        match self.compression {
            Compression::None => request.into(),
            Compression::Gzip => {
                let mut encoder = GzEncoder::new(Vec::with_capacity(request.len() / 4), Level::fast());
                encoder
                    .write_all(&request)
                    .and_then(|()| encoder.finish())
                    .expect("writing to a vector cannot fail")
                    .into()
            }
        }
    }

    pub(super) async fn send(&self, body: Bytes) -> Result<Accepted, SendError> {
        match tokio::time::timeout(self.timeout, self.post(body)).await {
            Ok(result) => result,
            Err(_) => Err(SendError::Retryable {
                asked: None,
                reason: format!("no answer within {} ms", self.timeout.as_millis()),
            }),
        }
    }

    async fn post(&self, body: Bytes) -> Result<Accepted, SendError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| SendError::Retryable { asked: None, reason: with_causes(&error) })?;
        let status = response.status();
        let asked = retry_after(response.headers(), SystemTime::now());
        let answer = read(response.into_body()).await;
        if status.is_success() {
            return accepted(&answer?);
        }
        let said = answer.map(|answer| message_of(&answer)).unwrap_or_default();
        Err(classify(status, asked, &said))
    }
}

fn headers(settings: &OtlpSettings) -> Result<HeaderMap, OtlpError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    if settings.compression() == Compression::Gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    for one in settings.headers.iter().flatten() {
        let invalid = || OtlpError::Header { name: one.name.clone() };
        let name = HeaderName::from_bytes(one.name.as_bytes()).map_err(|_| invalid())?;
        let mut value = HeaderValue::from_str(&one.value).map_err(|_| invalid())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

async fn read(body: Incoming) -> Result<Bytes, SendError> {
    let collected = Limited::new(body, MAX_ANSWER).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| SendError::Retryable {
        asked: None,
        reason: format!("answer broke off or is too long: {error}"),
    })
}

/// An empty answer is a full success; anything else must be the response message.
fn accepted(answer: &Bytes) -> Result<Accepted, SendError> {
    let response = ExportTraceServiceResponse::decode(answer.clone());
    response.map(Accepted::from).map_err(|_| SendError::Refused {
        reason: "the answer is not OTLP: is the endpoint a collector's OTLP/HTTP port?".to_owned(),
    })
}

/// Which failures may pass (OTLP specification, "Failures", OTLP/HTTP).
fn classify(status: StatusCode, asked: Option<Duration>, said: &str) -> SendError {
    let reason = if said.is_empty() {
        format!("http status {status}")
    } else {
        format!("http status {status}: {said}")
    };
    match status.as_u16() {
        429 | 502 | 503 | 504 => SendError::Retryable { asked, reason },
        _ => SendError::Refused { reason },
    }
}

/// What the collector says of an error: a `google.rpc.Status` or text.
fn message_of(answer: &Bytes) -> String {
    match RpcStatus::decode(answer.clone()) {
        Ok(status) if !status.message.is_empty() => for_log(&status.message),
        _ => for_log(&String::from_utf8_lossy(answer)),
    }
}

/// The wait of Retry-After: seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retryable_statuses() {
        for code in 300..600 {
            let status = StatusCode::from_u16(code).unwrap();
            let retryable = matches!(classify(status, None, ""), SendError::Retryable { .. });
            assert_eq!(retryable, [429, 502, 503, 504].contains(&code), "{code}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Fri, 20 Nov 2026 14:00:00 GMT").unwrap();
        for (text, expected) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Fri, 20 Nov 2026 14:01:00 GMT", Some(60)),
            ("Fri, 20 Nov 2026 13:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn what_a_collector_says_fits_a_log_line() {
        let status = RpcStatus { code: 3, message: "bad\nspan".into(), details: vec![] };
        assert_eq!(message_of(&status.encode_to_vec().into()), "bad span");
        assert_eq!(message_of(&Bytes::from_static(b"<html>\x1b[31m")), "<html> [31m");
        assert_eq!(message_of(&vec![b'x'; 10_000].into()).len(), 300);
        assert_eq!(message_of(&Bytes::new()), "");
    }
}
