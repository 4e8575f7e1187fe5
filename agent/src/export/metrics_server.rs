//! The small HTTP server that shows the agent's own metrics. No client can keep it from another: idle and slow connections
//! are bounded in number and in time.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Bytes, header, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, runtime::Handle, task::AbortHandle};

use super::metrics::MetricsText;

/// Connections open at once.
const MAX_CONNECTIONS: usize = 64;
/// A client must have sent the head of its request within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection ends after this time whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Writes the metrics; called for every request, from a task of the runtime, so it must be quick.
pub type Collect = Arc<dyn Fn(&mut MetricsText) + Send + Sync>;

/// What the endpoint shows.
#[derive(Clone)]
pub struct Pages {
    /// `/metrics`: all metrics of the agent.
    pub metrics: Collect,
    /// `/status`: what `wirespan doctor` asks for, as JSON.
    pub status: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

/// Why the metrics endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error(
        "metrics address {address} is in use by another process: stop that process (`ss -ltnp` shows it) or set \
         another `metrics.listen`"
    )]
    InUse { address: SocketAddr },
    #[error("metrics address {address} is not an address of this host: set another `metrics.listen`")]
    NotLocal { address: SocketAddr },
    #[error("cannot listen for metrics on {address}: {source}; set another `metrics.listen`")]
    Listen { address: SocketAddr, source: io::Error },
}

/// The running endpoint; dropping it closes it.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    task: AbortHandle,
}

impl MetricsServer {
    /// Listens on `address` and answers `GET /metrics`, `GET /status` and `GET /healthz`.
    ///
    /// # Errors
    /// When `address` cannot be listened on.
    pub fn start(address: SocketAddr, pages: Pages, runtime: &Handle) -> Result<Self, MetricsError> {
        let listener = listen(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => MetricsError::InUse { address },
            io::ErrorKind::AddrNotAvailable => MetricsError::NotLocal { address },
            _ => MetricsError::Listen { address, source },
        })?;
        let failed = |source| MetricsError::Listen { address, source };
        let address = listener.local_addr().map_err(failed)?;
        let _entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let task = runtime.spawn(accept(listener, pages)).abort_handle();
        Ok(Self { address, task })
    }

    /// Where it listens: the port is known here also when 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves every connection at once. At the bound the oldest makes room for the newest: one that asks is answered within
/// milliseconds, so what is old does nothing.
async fn accept(listener: tokio::net::TcpListener, pages: Pages) {
    let closed = Arc::new(AtomicU64::new(0));
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                open.retain(|connection| !connection.is_finished());
                if open.len() >= MAX_CONNECTIONS
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                    closed.fetch_add(1, Ordering::Relaxed);
                }
                open.push_back(
                    tokio::spawn(serve(stream, pages.clone(), Arc::clone(&closed))).abort_handle(),
                );
            }
            // Out of file descriptors, or the peer is gone already: neither may spin nor end the endpoint.
            Err(_) => {
                if let Some(oldest) = open.pop_front() {
                    oldest.abort();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, pages: Pages, closed: Arc<AtomicU64>) {
    let service = service_fn(move |request| {
        let answer = respond(&request, &pages, closed.load(Ordering::Relaxed));
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // A client that goes away or talks nonsense is its own problem.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
}

fn respond<B>(request: &Request<B>, pages: &Pages, closed: u64) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = page(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        refusal.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match request.uri().path() {
        "/metrics" => {
            let mut text = MetricsText::default();
            (pages.metrics)(&mut text);
            text.counter("wirespan_metrics_closed_connections_total", &[], closed);
            page(StatusCode::OK, text.finish())
        }
        "/status" => typed(StatusCode::OK, "application/json", (pages.status)()),
        "/healthz" => page(StatusCode::OK, "ok\n"),
        _ => page(StatusCode::NOT_FOUND, "there are /metrics, /status and /healthz\n"),
    }
}

fn page(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    typed(status, "text/plain; version=0.0.4; charset=utf-8", text)
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let content_type = header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pages() -> Pages {
        Pages {
            metrics: Arc::new(|out| out.counter("wirespan_recorded_events_total", &[], 3)),
            status: Arc::new(|| r#"{"agent":"wirespan"}"#.to_owned()),
        }
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn idle_and_slow_connections_keep_nobody_out() {
        let loopback = "127.0.0.1:0".parse().unwrap();
        let server = MetricsServer::start(loopback, pages(), &Handle::current()).unwrap();
        let mut others = Vec::new();
        for number in 0..3 * MAX_CONNECTIONS {
            let mut stream = TcpStream::connect(server.address()).await.unwrap();
            // Some begin a request and do not end it.
            let begun: &[u8] = if number % 3 == 0 { b"GET /metrics HTTP/1.1\r\nHost" } else { b"" };
            stream.write_all(begun).await.unwrap();
            others.push(stream);
        }
        let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let answer = tokio::time::timeout(Duration::from_secs(2), ask(server.address(), request)).await;
        let answer = answer.expect("an answer although others are idle");
        let made_room = 2 * MAX_CONNECTIONS + 1;
        let counted = format!("wirespan_metrics_closed_connections_total {made_room}\n");
        assert!(answer.contains(&counted), "{answer}");
        drop(others);
    }

    #[tokio::test]
    async fn the_endpoint_answers() {
        let loopback = "127.0.0.1:0".parse().unwrap();
        let server = MetricsServer::start(loopback, pages(), &Handle::current()).unwrap();
        for (line, status, part) in [
            ("GET /metrics HTTP/1.1", "200", "\nwirespan_recorded_events_total 3\n"),
            ("GET /metrics?x=1 HTTP/1.0", "200", "version=0.0.4"),
            ("GET /status HTTP/1.1", "200", "content-type: application/json"),
            ("GET /status HTTP/1.1", "200", r#"{"agent":"wirespan"}"#),
            ("GET /healthz HTTP/1.1", "200", "ok"),
            ("GET / HTTP/1.1", "404", "/metrics"),
            ("POST /metrics HTTP/1.1", "405", "GET"),
        ] {
            let request =
                format!("{line}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            let answer = ask(server.address(), &request).await;
            assert_eq!(answer.split(' ').nth(1), Some(status), "{line}: {answer}");
            assert!(answer.contains(part), "{line}: {answer}");
        }
        assert!(ask(server.address(), "\u{0}\u{1}nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = MetricsServer::start(address, pages(), &Handle::current()).unwrap_err();
        assert!(matches!(error, MetricsError::InUse { .. }));
        assert!(error.to_string().contains(&format!("{address} is in use")), "{error}");
        let elsewhere = "192.0.2.1:9".parse().unwrap();
        let error = MetricsServer::start(elsewhere, pages(), &Handle::current()).unwrap_err();
        assert!(matches!(error, MetricsError::NotLocal { .. }), "{error}");
    }
}
