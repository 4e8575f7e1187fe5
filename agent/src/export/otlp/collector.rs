//! A collector for tests, on a loopback port: takes OTLP over gRPC and HTTP, records requests and answers as told.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io::Read,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    header::HeaderValue,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;
use tonic::Code;

/// An answer.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Accept,
    /// Partial success: rejected spans, message.
    Partial(i64, &'static str),
    /// HTTP status, headers, body.
    Http(u16, Vec<(&'static str, &'static str)>, &'static str),
    /// gRPC status, `grpc-status-details-bin`.
    Grpc(Code, Vec<u8>),
    /// Never.
    Silence,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) compressed: bool,
    pub(super) request: ExportTraceServiceRequest,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(super) fn spans(&self) -> usize {
        self.request.resource_spans.iter().flat_map(|one| &one.scope_spans).map(|one| one.spans.len()).sum()
    }
}

/// The running collector; stops when dropped.
#[derive(Debug)]
pub(super) struct Collector {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    /// What is answered, in order; then everything is accepted.
    script: Mutex<VecDeque<Reply>>,
    received: Mutex<Vec<Received>>,
    arrivals: Semaphore,
}

impl Collector {
    pub(super) async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        Self::start_with(script, None).await
    }

    pub(super) async fn start_with(
        script: impl IntoIterator<Item = Reply>,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(script.into_iter().collect()),
            received: Mutex::default(),
            arrivals: Semaphore::new(0),
        });
        let task = tokio::spawn(accept(listener, tls, Arc::clone(&shared))).abort_handle();
        Self { address, shared, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    pub(super) fn spans(&self) -> usize {
        self.received().iter().map(Received::spans).sum()
    }

    /// Waits until `count` more requests have come.
    pub(super) async fn arrivals(&self, count: u32) {
        self.shared.arrivals.acquire_many(count).await.unwrap().forget();
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            match tls {
                None => serve(stream, shared).await,
                // A client that does not trust us ends the handshake.
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let grpc = head.headers.get("content-type").is_some_and(|value| value == "application/grpc");
    let (compressed, message) = if grpc {
        (body[0] == 1, &body[5..])
    } else {
        (head.headers.get("content-encoding").is_some_and(|value| value == "gzip"), &body[..])
    };
    let message = if compressed { gunzip(message) } else { message.to_vec() };
    let received = Received {
        path: head.uri.path().to_owned(),
        headers: head.headers,
        compressed,
        request: ExportTraceServiceRequest::decode(message.as_slice()).unwrap(),
    };
    shared.received.lock().unwrap().push(received);
    let reply = shared.script.lock().unwrap().pop_front().unwrap_or(Reply::Accept);
    shared.arrivals.add_permits(1);
    if matches!(reply, Reply::Silence) {
        std::future::pending::<()>().await;
    }
    Ok(if grpc { grpc_response(reply) } else { http_response(reply) })
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

fn message(reply: &Reply) -> Vec<u8> {
    let partial_success = match reply {
        Reply::Partial(rejected_spans, text) => Some(ExportTracePartialSuccess {
            rejected_spans: *rejected_spans,
            error_message: (*text).to_owned(),
        }),
        _ => None,
    };
    ExportTraceServiceResponse { partial_success }.encode_to_vec()
}

fn http_response(reply: Reply) -> Response<Body> {
    let body = message(&reply);
    let (status, headers, body) = match reply {
        Reply::Http(status, headers, body) => (status, headers, body.as_bytes().to_vec()),
        _ => (200, vec![("content-type", "application/x-protobuf")], body),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed());
    *response.status_mut() = status.try_into().unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn grpc_response(reply: Reply) -> Response<Body> {
    let message = message(&reply);
    let mut response = match reply {
        Reply::Grpc(code, details) => {
            // An error has no message and its status stands in the head ("trailers only").
            let status = tonic::Status::with_details(code, "as told", details.into());
            let mut response = Response::new(Full::new(Bytes::new()).boxed());
            status.add_header(response.headers_mut()).unwrap();
            response
        }
        _ => {
            let mut frame = vec![0];
            frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
            frame.extend_from_slice(&message);
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let body = Full::new(Bytes::from(frame)).with_trailers(async { Some(Ok(trailers)) });
            Response::new(body.boxed())
        }
    };
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
