//! What both OTLP transports share: connections (TCP, TLS), the outcome of a request, and the choice between the two.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};

use super::{
    grpc::Grpc,
    http::Http,
    settings::{EndpointError, OtlpSettings, Protocol},
};

/// A connection whose data the other host does not acknowledge for this long is given up, instead of the kernel's 15 min.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);
pub(super) const USER_AGENT: &str = concat!("OTel-OTLP-Exporter-wirespan/", env!("CARGO_PKG_VERSION"));

/// Why the OTLP exporter cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(
        "otlp header `{name}` has a name or a value that http does not allow: change OTEL_EXPORTER_OTLP_HEADERS"
    )]
    Header { name: String },
    #[error("cannot read PEM file {path} for the otlp exporter: {source}")]
    Pem { path: PathBuf, source: pem::Error },
    #[error("no certificate in {path}: the otlp exporter needs a PEM file")]
    NoCertificate { path: PathBuf },
    #[error("client certificate and client key of the otlp exporter must be given together")]
    HalfIdentity,
    #[error(
        "otlp over https needs trusted authorities and this host has none: install ca-certificates or name a PEM file in OTEL_EXPORTER_OTLP_CERTIFICATE"
    )]
    NoAuthorities,
    #[error("certificates of the otlp exporter cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

/// The collector took the request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Accepted {
    /// Spans that it did not take (partial success).
    pub(super) rejected: u64,
    /// Why, or a hint although all were taken. Empty when there is nothing to say.
    pub(super) message: String,
    /// Why nothing is known of what it said.
    pub(super) unreadable: Option<String>,
}

impl From<ExportTraceServiceResponse> for Accepted {
    fn from(response: ExportTraceServiceResponse) -> Self {
        let partial = response.partial_success.unwrap_or_default();
        let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
        Self { rejected, message: partial.error_message, unreadable: None }
    }
}

/// The collector did not take the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SendError {
    /// May succeed later, after what the collector asked for, if it did.
    Retryable { asked: Option<Duration>, reason: String },
    /// Will never succeed.
    Refused { reason: String },
}

/// One of the two transports.
#[derive(Debug)]
pub(super) enum Client {
    Grpc(Grpc),
    Http(Http),
}

impl Client {
    pub(super) fn new(settings: &OtlpSettings) -> Result<Self, OtlpError> {
        let target = settings.target()?;
        Ok(match settings.protocol() {
            Protocol::Grpc => Self::Grpc(Grpc::new(target, settings)?),
            Protocol::HttpProtobuf => Self::Http(Http::new(target, settings)?),
        })
    }

    /// What is sent for `request`, an encoded `ExportTraceServiceRequest`: made once for all attempts.
    pub(super) fn body(&self, request: Vec<u8>) -> Bytes {
        match self {
            Self::Grpc(_) => request.into(),
            Self::Http(http) => http.body(request),
        }
    }

    pub(super) async fn send(&self, body: Bytes) -> Result<Accepted, SendError> {
        match self {
            Self::Grpc(grpc) => grpc.send(body).await,
            Self::Http(http) => http.send(body).await,
        }
    }
}

/// Makes connections for `settings`; `secure` when the endpoint is https.
pub(super) fn connector(
    settings: &OtlpSettings,
    secure: bool,
) -> Result<HttpsConnector<HttpConnector>, OtlpError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(settings.timeout()));
    tcp.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
    // Without https the configuration is not used, so a host without authorities is no problem then.
    let authorities = if secure { authorities(settings)? } else { RootCertStore::empty() };
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls(settings, authorities)?).https_or_http();
    Ok(match settings.protocol() {
        Protocol::Grpc => builder.enable_http2().wrap_connector(tcp),
        Protocol::HttpProtobuf => builder.enable_http1().wrap_connector(tcp),
    })
}

fn tls(settings: &OtlpSettings, authorities: RootCertStore) -> Result<ClientConfig, OtlpError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities);
    match (&settings.client_certificate, &settings.client_key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|source| OtlpError::Pem { path: key.clone(), source })?;
            Ok(builder.with_client_auth_cert(certificates(certificate)?, key)?)
        }
        _ => Err(OtlpError::HalfIdentity),
    }
}

fn authorities(settings: &OtlpSettings) -> Result<RootCertStore, OtlpError> {
    let mut store = RootCertStore::empty();
    match &settings.certificate {
        Some(path) => {
            for certificate in certificates(path)? {
                store.add(certificate)?;
            }
        }
        None => {
            // Single certificates of the system's store that cannot be read are no reason to stop.
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            if store.is_empty() {
                return Err(OtlpError::NoAuthorities);
            }
        }
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, OtlpError> {
    let failed = |source| OtlpError::Pem { path: path.to_owned(), source };
    let text = fs::read(path).map_err(|error| failed(pem::Error::Io(error)))?;
    let all = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if all.is_empty() { Err(OtlpError::NoCertificate { path: path.to_owned() }) } else { Ok(all) }
}

/// What a collector says, for the log: one line of bounded length.
pub(super) fn for_log(text: &str) -> String {
    const MAX_CHARACTERS: usize = 300;
    text.chars().take(MAX_CHARACTERS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
