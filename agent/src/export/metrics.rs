//! Self-metrics: the Prometheus text format (version 0.0.4) and the small HTTP server that shows it.
//!
//! A writer of our own and not prometheus-client: what is exported are snapshots of counters that live elsewhere (BPF
//! maps, per-connection ledgers), not objects of a registry, and that crate writes OpenMetrics text only.

use std::{
    convert::Infallible,
    fmt::Write,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Bytes, header, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustc_hash::FxHashMap;
use tokio::{net::TcpStream, runtime::Handle, sync::Semaphore, task::AbortHandle};

/// Connections served at once; further ones wait in the listen queue.
const MAX_CONNECTIONS: usize = 16;
/// A client must have sent the head of its request within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection ends after this time whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Collects samples and writes them grouped by metric.
#[derive(Debug, Default)]
pub struct MetricsText {
    families: Vec<Family>,
    index: FxHashMap<&'static str, usize>,
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    samples: String,
}

impl MetricsText {
    /// Adds a sample of a counter. `name` is `wirespan_<thing>_<unit>_total`; label names are identifiers, label values
    /// any text. Every drop has a label `reason`.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        debug_assert!(name.ends_with("_total"), "the counter {name} must end in _total");
        self.sample(name, help, "counter", labels, format_args!("{value}"));
    }

    /// Adds a sample of a gauge.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        debug_assert!(!name.ends_with("_total"), "the gauge {name} must not end in _total");
        self.sample(name, help, "gauge", labels, format_args!("{value}"));
    }

    fn sample(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: &'static str,
        labels: &[(&'static str, &str)],
        value: std::fmt::Arguments<'_>,
    ) {
        let index = *self.index.entry(name).or_insert_with(|| {
            self.families.push(Family { name, help, kind, samples: String::new() });
            self.families.len() - 1
        });
        let family = &mut self.families[index];
        debug_assert_eq!(family.kind, kind, "{name} is used as counter and as gauge");
        let out = &mut family.samples;
        out.push_str(name);
        for (position, (label, text)) in labels.iter().enumerate() {
            out.push(if position == 0 { '{' } else { ',' });
            out.push_str(label);
            out.push_str("=\"");
            escape_label(text, out);
            out.push('"');
        }
        if !labels.is_empty() {
            out.push('}');
        }
        // Writing to a string cannot fail.
        let _ = writeln!(out, " {value}");
    }

    /// The page: each metric once with HELP and TYPE, in the order of first mention.
    #[must_use]
    pub fn finish(self) -> String {
        let mut out = String::new();
        for family in self.families {
            let Family { name, help, kind, samples } = family;
            let help = help.replace('\\', r"\\").replace('\n', r"\n");
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}");
        }
        out
    }
}

fn escape_label(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str(r"\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str(r"\n"),
            other => out.push(other),
        }
    }
}

/// Writes all metrics of the agent; called for every scrape, from a task of the runtime, so it must be quick.
pub type Collect = Arc<dyn Fn(&mut MetricsText) + Send + Sync>;

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
    /// Listens on `address` and answers `GET /metrics` and `GET /healthz`.
    ///
    /// # Errors
    /// When `address` cannot be listened on.
    pub fn start(address: SocketAddr, collect: Collect, runtime: &Handle) -> Result<Self, MetricsError> {
        let listener = listen(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => MetricsError::InUse { address },
            io::ErrorKind::AddrNotAvailable => MetricsError::NotLocal { address },
            _ => MetricsError::Listen { address, source },
        })?;
        let failed = |source| MetricsError::Listen { address, source };
        let address = listener.local_addr().map_err(failed)?;
        let _entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let task = runtime.spawn(accept(listener, collect)).abort_handle();
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

async fn accept(listener: tokio::net::TcpListener, collect: Collect) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let collect = Arc::clone(&collect);
                tokio::spawn(async move {
                    serve(stream, collect).await;
                    drop(permit);
                });
            }
            // Out of file descriptors, or the peer is gone already: neither may spin nor end the endpoint.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve(stream: TcpStream, collect: Collect) {
    let service = service_fn(move |request| {
        let answer = respond(&request, &collect);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // A client that goes away or talks nonsense is its own problem.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
}

fn respond<B>(request: &Request<B>, collect: &Collect) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = page(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        refusal.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match request.uri().path() {
        "/metrics" => {
            let mut text = MetricsText::default();
            collect(&mut text);
            page(StatusCode::OK, text.finish())
        }
        "/healthz" => page(StatusCode::OK, "ok\n"),
        _ => page(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n"),
    }
}

fn page(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn some_metrics() -> Collect {
        Arc::new(|out| {
            out.counter("wirespan_a_spans_total", "First.", &[], 3);
            out.gauge("wirespan_b_bytes", "Back\\slash\nand line.", &[("x", "1")], 0.5);
            out.counter("wirespan_a_spans_total", "First.", &[("reason", "a\"b\\c\nd")], u64::MAX);
        })
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[test]
    fn samples_of_a_metric_stand_together_and_are_escaped() {
        let mut text = MetricsText::default();
        some_metrics()(&mut text);
        assert_eq!(
            text.finish(),
            concat!(
                "# HELP wirespan_a_spans_total First.\n",
                "# TYPE wirespan_a_spans_total counter\n",
                "wirespan_a_spans_total 3\n",
                "wirespan_a_spans_total{reason=\"a\\\"b\\\\c\\nd\"} 18446744073709551615\n",
                "# HELP wirespan_b_bytes Back\\\\slash\\nand line.\n",
                "# TYPE wirespan_b_bytes gauge\n",
                "wirespan_b_bytes{x=\"1\"} 0.5\n",
            )
        );
    }

    #[tokio::test]
    async fn the_endpoint_answers() {
        let loopback = "127.0.0.1:0".parse().unwrap();
        let server = MetricsServer::start(loopback, some_metrics(), &Handle::current()).unwrap();
        for (line, status, part) in [
            ("GET /metrics HTTP/1.1", "200", "\nwirespan_a_spans_total 3\n"),
            ("GET /metrics?x=1 HTTP/1.0", "200", "version=0.0.4"),
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
        let error = MetricsServer::start(address, some_metrics(), &Handle::current()).unwrap_err();
        assert!(matches!(error, MetricsError::InUse { .. }));
        assert!(error.to_string().contains(&format!("{address} is in use")), "{error}");
        let elsewhere = "192.0.2.1:9".parse().unwrap();
        let error = MetricsServer::start(elsewhere, some_metrics(), &Handle::current()).unwrap_err();
        assert!(matches!(error, MetricsError::NotLocal { .. }), "{error}");
    }
}
