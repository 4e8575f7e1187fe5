//! OTLP over HTTP: binary protobuf, POST, HTTP/1.1.

use std::{
    fmt,
    io::Write,
    time::{Duration, SystemTime},
};

use flate2::{Compression as Level, write::GzEncoder};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use prost::Message;
use tokio::time::timeout;

use super::{
    answer::{self, Body, MAX_ANSWER, accepted, hint, redirected},
    grpc::RpcStatus,
    settings::{Compression, OtlpSettings},
    transport::{Accepted, OtlpError, SendError, USER_AGENT, connector, for_log},
};
use crate::causes::with_causes;

/// How long the body of an answer may take.
const BODY_PATIENCE: Duration = Duration::from_secs(2);
/// Redirections that are followed for one request.
const MAX_REDIRECTIONS: usize = 3;

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
        match timeout(self.timeout, self.post(body)).await {
            Ok(result) => result,
            Err(_) => Err(SendError::Retryable {
                asked: None,
                reason: format!("no answer within {} ms", self.timeout.as_millis()),
            }),
        }
    }

    /// Sends the body, also to where the endpoint has moved (RFC 9110 section 15.4.8 and 15.4.9: the same request).
    async fn post(&self, body: Bytes) -> Result<Accepted, SendError> {
        let mut target = self.target.clone();
        for hop in 0.. {
            let response = self.request(&target, body.clone()).await?;
            let (head, body) = response.into_parts();
            let status = head.status;
            // The head says what became of the spans: a body that does not end must not have them sent again.
            let answer = timeout(BODY_PATIENCE, read(body)).await.unwrap_or_else(|_| Body {
                cut: Some(format!("it does not end within {} s", BODY_PATIENCE.as_secs())),
                ..Body::default()
            });
            if status.is_success() {
                return Ok(accepted(&head.headers, &answer));
            }
            let location = head.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
            let next = location.filter(|_| matches!(status.as_u16(), 307 | 308) && hop < MAX_REDIRECTIONS);
            if let Some(next) = next.and_then(|location| redirected(&target, location)) {
                target = next;
                continue;
            }
            let said = message_of(&answer::plain(&head.headers, &answer));
            let hint = hint(status, &target, location);
            return Err(classify(status, retry_after(&head.headers, SystemTime::now()), &said, hint));
        }
        // Not reached: the last redirection is a refusal.
        Err(SendError::Refused { reason: "too many redirections".to_owned() })
    }

    async fn request(&self, target: &Uri, body: Bytes) -> Result<Response<Incoming>, SendError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target.clone();
        *request.headers_mut() = self.headers.clone();
        let answered = self.client.request(request).await;
        answered.map_err(|error| SendError::Retryable { asked: None, reason: not_http(with_causes(&error)) })
    }
}

/// A collector's gRPC port answers a request of HTTP/1.1 with a frame of HTTP/2.
fn not_http(mut reason: String) -> String {
    if reason.contains("invalid HTTP version") || reason.contains("HTTP/2") {
        reason.push_str(
            "; does the port speak gRPC? Set protocol: grpc, or the collector's OTLP/HTTP port (4318)",
        );
    }
    reason
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

/// Reads as much of an answer as there is, up to [`MAX_ANSWER`].
async fn read(mut body: Incoming) -> Body {
    let mut bytes = Vec::new();
    let mut cut = None;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
            Err(error) => {
                cut = Some(format!("it broke off: {}", with_causes(&error)));
                break;
            }
        }
        if bytes.len() > MAX_ANSWER {
            bytes.truncate(MAX_ANSWER);
            cut = Some(format!("it is longer than {MAX_ANSWER} bytes"));
            break;
        }
    }
    Body { bytes: bytes.into(), cut }
}

/// Which failures may pass (OTLP specification, "Failures", OTLP/HTTP).
fn classify(status: StatusCode, asked: Option<Duration>, said: &str, hint: Option<String>) -> SendError {
    let mut reason = format!("http status {status}");
    for text in [said, hint.as_deref().unwrap_or_default()].into_iter().filter(|text| !text.is_empty()) {
        reason.push_str(": ");
        reason.push_str(text);
    }
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
            let retryable = matches!(classify(status, None, "", None), SendError::Retryable { .. });
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
