//! Tests of the OTLP exporter against a collector on loopback.

use std::{net::TcpListener as StdListener, path::Path, sync::OnceLock};

use prost::Message as _;
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use tokio::runtime::Handle;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
        server::WebPkiClientVerifier,
    },
};
use tonic::Code;

use super::{
    collector::{Collector, Received, Reply},
    settings::{Compression, Endpoint, Header, Protocol},
    *,
};
use crate::{
    export::{ExporterSummary, Exporters, Settings},
    pipeline::{queue::Batch, samples},
    trace::span::SpanEvent,
};

const PROTOCOLS: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];
/// Long enough for any machine; nothing is measured against it.
const PATIENCE: Duration = Duration::from_secs(60);

fn settings(endpoint: String, protocol: Protocol) -> OtlpSettings {
    OtlpSettings {
        endpoint: Some(Endpoint::Base(endpoint)),
        protocol: Some(protocol),
        batch_delay: Duration::from_millis(1),
        retry: RetrySettings {
            initial: Duration::from_millis(1),
            max: Duration::from_millis(2),
            max_elapsed: PATIENCE,
        },
        ..OtlpSettings::default()
    }
}

fn spans(count: usize) -> Batch {
    let process = Arc::new(samples::facts());
    let one = |_| {
        let mut span = samples::server_span();
        span.process = Arc::clone(&process);
        SpanEvent::Span(Box::new(span))
    };
    samples::batch((0..count).map(one).collect())
}

fn start(otlp: OtlpSettings) -> Exporters {
    let settings = Settings { otlp: Some(otlp), ..Settings::default() };
    Exporters::start(&settings, &HostResource::default(), &Handle::current()).unwrap()
}

async fn stop(exporters: Exporters, deadline: Duration) -> ExporterSummary {
    let mut summary = exporters.shutdown(deadline).await;
    assert_eq!(summary.exporters.len(), 1);
    summary.exporters.remove(0)
}

/// Sends `count` spans as one batch and drains.
async fn export(otlp: OtlpSettings, count: usize) -> ExporterSummary {
    let exporters = start(otlp);
    exporters.send(&spans(count));
    stop(exporters, PATIENCE).await
}

fn dropped(summary: &ExporterSummary) -> Vec<(DropReason, u64)> {
    summary.dropped.clone().into_iter().collect()
}

#[tokio::test]
async fn spans_arrive_with_headers_over_both_protocols_and_compressions() {
    for protocol in PROTOCOLS {
        for compression in [Compression::None, Compression::Gzip] {
            let collector = Collector::start([]).await;
            let mut otlp = settings(collector.url(), protocol);
            otlp.compression = Some(compression);
            otlp.headers = Some(vec![Header { name: "Api-Key".into(), value: "secret 1".into() }]);
            let summary = export(otlp, 3).await;
            assert_eq!((summary.exported, summary.dropped_total()), (3, 0));
            let received = collector.received();
            assert_eq!(received.len(), 1);
            let request = &received[0];
            assert_eq!(request.spans(), 3);
            assert_eq!(request.compressed, compression == Compression::Gzip, "{protocol:?}");
            assert_eq!(request.header("api-key"), Some("secret 1"));
            assert!(request.header("user-agent").unwrap().starts_with("OTel-OTLP-Exporter-wirespan/"));
            let (path, content_type) = match protocol {
                Protocol::Grpc => {
                    ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", "application/grpc")
                }
                Protocol::HttpProtobuf => ("/v1/traces", "application/x-protobuf"),
            };
            assert_eq!((request.path.as_str(), request.header("content-type")), (path, Some(content_type)));
        }
    }
}

#[tokio::test]
async fn what_may_pass_is_sent_again_unchanged() {
    let refused = |code| Reply::Grpc(code, vec![]);
    let http = |status| Reply::Http(status, vec![], "");
    for (protocol, script) in [
        (Protocol::Grpc, [refused(Code::Unavailable), refused(Code::Aborted)]),
        (Protocol::HttpProtobuf, [http(503), http(429)]),
    ] {
        let collector = Collector::start(script).await;
        let summary = export(settings(collector.url(), protocol), 5).await;
        assert_eq!((summary.exported, summary.dropped_total()), (5, 0));
        let received = collector.received();
        assert_eq!(received.len(), 3);
        assert!(received.iter().all(|one| one.request == received[0].request));
    }
}

#[tokio::test]
async fn what_is_final_is_dropped_and_counted_and_the_next_goes_on() {
    for (protocol, reply) in [
        (Protocol::Grpc, Reply::Grpc(Code::InvalidArgument, vec![])),
        (Protocol::Grpc, Reply::Grpc(Code::ResourceExhausted, vec![])),
        (Protocol::HttpProtobuf, Reply::Http(400, vec![], "no")),
        (Protocol::HttpProtobuf, Reply::Http(307, vec![("location", "http://other.example/")], "")),
        (Protocol::HttpProtobuf, Reply::Http(307, vec![("location", "https://127.0.0.1/")], "")),
        (Protocol::HttpProtobuf, Reply::Http(302, vec![("location", "/v1/traces")], "")),
    ] {
        let collector = Collector::start([reply]).await;
        let exporters = start(settings(collector.url(), protocol));
        exporters.send(&spans(2));
        collector.arrivals(1).await;
        exporters.send(&spans(3));
        let summary = stop(exporters, PATIENCE).await;
        assert_eq!((summary.exported, dropped(&summary)), (3, vec![(DropReason::Refused, 2)]));
        assert_eq!(collector.received().len(), 2);
    }
}

#[tokio::test]
async fn what_the_collector_asks_for_is_heard() {
    let info = grpc::Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
        value: grpc::RetryInfo { retry_delay: Some(grpc::Delay { seconds: 7, nanos: 0 }) }.encode_to_vec(),
    };
    let details = grpc::RpcStatus { code: 8, message: String::new(), details: vec![info] }.encode_to_vec();
    for (protocol, reply) in [
        (Protocol::Grpc, Reply::Grpc(Code::ResourceExhausted, details)),
        (Protocol::HttpProtobuf, Reply::Http(503, vec![("retry-after", "7")], "busy")),
    ] {
        let collector = Collector::start([reply]).await;
        let client = Client::new(&settings(collector.url(), protocol)).unwrap();
        let result = client.send(client.body(vec![])).await;
        let Err(SendError::Retryable { asked, .. }) = result else { panic!("{result:?}") };
        assert_eq!(asked, Some(Duration::from_secs(7)), "{protocol:?}");
    }
}

#[tokio::test]
async fn rejected_spans_are_counted_and_not_sent_again() {
    for protocol in PROTOCOLS {
        let collector = Collector::start([Reply::Partial(2, "too old")]).await;
        let summary = export(settings(collector.url(), protocol), 5).await;
        assert_eq!((summary.exported, dropped(&summary)), (3, vec![(DropReason::Rejected, 2)]));
        assert_eq!(collector.received().len(), 1);
    }
}

#[tokio::test]
async fn nonsense_counts_of_rejected_spans_break_no_account() {
    for (rejected, exported) in [(-1, 5), (0, 5), (i64::MAX, 0)] {
        let collector = Collector::start([Reply::Partial(rejected, "")]).await;
        let summary = export(settings(collector.url(), Protocol::Grpc), 5).await;
        assert_eq!((summary.exported, summary.dropped_total()), (exported, 5 - exported));
    }
}

#[tokio::test]
async fn requests_have_at_most_the_configured_number_of_spans() {
    for protocol in PROTOCOLS {
        let collector = Collector::start([]).await;
        let mut otlp = settings(collector.url(), protocol);
        otlp.batch_delay = PATIENCE;
        let exporters = start(otlp);
        exporters.send(&spans(100));
        exporters.send(&spans(2_000));
        // Closing the queue ends the wait for a full request.
        let summary = stop(exporters, PATIENCE).await;
        assert_eq!((summary.exported, summary.dropped_total()), (2_100, 0));
        let mut sizes: Vec<_> = collector.received().iter().map(Received::spans).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [52, 512, 512, 512, 512]);
    }
}

/// A port on which nobody listens.
fn closed_port() -> String {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_dead_collector_does_not_hold_up_the_shutdown_and_all_is_counted() {
    for protocol in PROTOCOLS {
        let mut otlp = settings(closed_port(), protocol);
        otlp.queue_entries = 5_000;
        let exporters = start(otlp);
        exporters.send(&spans(6_000));
        let summary = stop(exporters, Duration::from_millis(20)).await;
        assert_eq!(summary.exported, 0);
        assert_eq!(summary.dropped_total(), 6_000);
        assert_eq!(dropped(&summary), [(DropReason::QueueFull, 1_000), (DropReason::Shutdown, 5_000)]);
    }
}

#[tokio::test]
async fn a_silent_collector_does_not_hold_up_the_shutdown_either() {
    for protocol in PROTOCOLS {
        let collector = Collector::start([Reply::Silence]).await;
        let exporters = start(settings(collector.url(), protocol));
        exporters.send(&spans(7));
        collector.arrivals(1).await;
        let summary = stop(exporters, Duration::from_millis(1)).await;
        assert_eq!((summary.exported, dropped(&summary)), (0, vec![(DropReason::Shutdown, 7)]));
    }
}

#[tokio::test]
async fn a_silent_collector_is_asked_again_after_the_timeout() {
    for protocol in PROTOCOLS {
        let collector = Collector::start([Reply::Silence]).await;
        let mut otlp = settings(collector.url(), protocol);
        otlp.timeout = Some(Duration::from_millis(200));
        let summary = export(otlp, 7).await;
        assert_eq!((summary.exported, summary.dropped_total()), (7, 0));
        // At least once is what OTLP promises; on a slow machine the second answer may be late too.
        assert!(collector.spans() >= 14, "sent again");
    }
}

#[tokio::test]
async fn retries_end_and_the_spans_are_counted() {
    for protocol in PROTOCOLS {
        let mut otlp = settings(closed_port(), protocol);
        otlp.retry.max_elapsed = Duration::ZERO;
        let summary = export(otlp, 9).await;
        assert_eq!((summary.exported, dropped(&summary)), (0, vec![(DropReason::RetriesExhausted, 9)]));
    }
}

#[tokio::test]
async fn why_a_collector_is_unreachable_is_told() {
    for protocol in PROTOCOLS {
        let client = Client::new(&settings(closed_port(), protocol)).unwrap();
        let result = client.send(client.body(vec![])).await;
        let Err(SendError::Retryable { reason, .. }) = result else { panic!("{result:?}") };
        assert!(reason.to_lowercase().contains("connection refused"), "{protocol:?}: {reason}");
    }
}

/// Everything that the tests of this process log. One subscriber for all: whether a message is of interest is remembered
/// per process, so that one for a single thread misses messages which other tests were the first to give.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn of_process() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        let start = || {
            let log = Self::default();
            let lines = log.clone();
            let subscriber =
                tracing_subscriber::fmt().with_ansi(false).with_writer(move || lines.clone()).finish();
            tracing::subscriber::set_global_default(subscriber).expect("no other test has set one");
            log
        };
        LOG.get_or_init(start).clone()
    }

    /// Lines with both texts.
    fn count(&self, endpoint: &str, text: &str) -> usize {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(endpoint) && line.contains(text)).count()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_is_told_once_and_not_per_request() {
    let log = Log::of_process();
    let unavailable = || Reply::Http(503, vec![], "");
    let refused = || Reply::Http(400, vec![], "");
    let script =
        [unavailable(), unavailable(), unavailable(), Reply::Accept, refused(), refused(), unavailable()];
    let collector = Collector::start(script).await;
    let endpoint = collector.url();
    let mut otlp = settings(endpoint.clone(), Protocol::HttpProtobuf);
    otlp.batch_spans = 1;
    otlp.concurrent_requests = 1;
    let summary = export(otlp, 5).await;
    assert_eq!((summary.exported, summary.dropped_total()), (3, 2));
    assert_eq!(log.count(&endpoint, "collector takes no spans"), 2, "once per outage");
    assert_eq!(log.count(&endpoint, "collector answers again"), 2);
    assert_eq!(log.count(&endpoint, "collector refused spans"), 1, "once a minute");
}

/// An authority of our own with the files and the server that it certifies.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Writes the authority's certificate as PEM.
    fn write(&self, path: &Path) {
        std::fs::write(path, self.issuer.pem()).unwrap();
    }

    /// A certificate for 127.0.0.1 and its key.
    fn certify(&self) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        (parameters.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A server; it wants a certificate of the client by this authority when `mutual`.
    fn acceptor(&self, mutual: bool) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let mut authorities = RootCertStore::empty();
        authorities.add(self.issuer.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider))
                .build()
                .unwrap();
        let builder =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder =
            if mutual { builder.with_client_cert_verifier(verifier) } else { builder.with_no_client_auth() };
        let (certificate, key) = self.certify();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config).into()
    }
}

#[tokio::test]
async fn https_trusts_the_authorities_of_the_file_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("ours.pem"), directory.path().join("theirs.pem"));
    let authority = Authority::new();
    authority.write(&ours);
    Authority::new().write(&theirs);
    for protocol in PROTOCOLS {
        let collector = Collector::start_with([], Some(authority.acceptor(false))).await;
        let mut otlp = settings(format!("https://{}", collector.address), protocol);
        otlp.certificate = Some(ours.clone());
        let summary = export(otlp.clone(), 3).await;
        assert_eq!((summary.exported, collector.spans()), (3, 3), "{protocol:?}");

        otlp.certificate = Some(theirs.clone());
        let client = Client::new(&otlp).unwrap();
        let result = client.send(client.body(vec![])).await;
        let Err(SendError::Retryable { reason, .. }) = result else { panic!("{result:?}") };
        assert!(reason.contains("certificate"), "{protocol:?}: {reason}");
    }
}

#[tokio::test]
async fn a_collector_that_asks_for_a_certificate_gets_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    let authority = Authority::new();
    authority.write(&path("ca.pem"));
    let (certificate, key) = authority.certify();
    std::fs::write(path("client.pem"), certificate.pem()).unwrap();
    std::fs::write(path("client.key"), key.serialize_pem()).unwrap();
    for protocol in PROTOCOLS {
        let collector = Collector::start_with([], Some(authority.acceptor(true))).await;
        let mut otlp = settings(format!("https://{}", collector.address), protocol);
        otlp.certificate = Some(path("ca.pem"));
        let client = Client::new(&otlp).unwrap();
        assert!(client.send(client.body(vec![])).await.is_err(), "{protocol:?}: without a certificate");
        otlp.client_certificate = Some(path("client.pem"));
        otlp.client_key = Some(path("client.key"));
        let summary = export(otlp, 3).await;
        assert_eq!((summary.exported, collector.spans()), (3, 3), "{protocol:?}");
    }
}

#[test]
fn settings_that_cannot_work_are_told_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for protocol in PROTOCOLS {
        let good = settings("https://127.0.0.1:1".into(), protocol);
        let header =
            |name: &str, value: &str| Some(vec![Header { name: name.to_owned(), value: value.to_owned() }]);
        for (bad, part) in [
            (OtlpSettings { certificate: Some("/no/such.pem".into()), ..good.clone() }, "/no/such.pem"),
            (OtlpSettings { certificate: Some(empty.clone()), ..good.clone() }, "empty.pem"),
            (OtlpSettings { client_key: Some(empty.clone()), ..good.clone() }, "together"),
            (OtlpSettings { endpoint: Some(Endpoint::Base("ftp://x".into())), ..good.clone() }, "ftp://x"),
        ] {
            let error = Client::new(&bad).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let plain = settings("http://127.0.0.1:1".into(), protocol);
        for headers in [header("a b", "1"), header("a", "secret\n")] {
            let error = Client::new(&OtlpSettings { headers, ..plain.clone() }).unwrap_err().to_string();
            assert!(error.contains("otlp header `a"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}

/// What a replay relies on: how fast spans come does not decide which of them stand in one request.
#[tokio::test]
async fn one_request_at_a_time_without_a_delay_is_cut_by_number_alone() {
    let mut requests = vec![];
    for pause in [Duration::ZERO, Duration::from_millis(20)] {
        let collector = Collector::start([]).await;
        let mut otlp = settings(collector.url(), Protocol::Grpc);
        otlp.batch_spans = 512;
        otlp.batch_delay = PATIENCE;
        otlp.concurrent_requests = 1;
        let exporters = start(otlp);
        for count in [100, 500, 30, 700] {
            exporters.send(&spans(count));
            tokio::time::sleep(pause).await;
        }
        stop(exporters, PATIENCE).await;
        let received = collector.received();
        assert_eq!(received.iter().map(Received::spans).collect::<Vec<_>>(), [512, 512, 306]);
        requests.push(received.into_iter().map(|one| one.request).collect::<Vec<_>>());
    }
    assert!(requests[0] == requests[1]);
}
