//! Settings of the OTLP exporter and what the standard environment variables do to them.
//!
//! An explicit value (of the configuration file) wins; the environment fills in what it leaves open; then defaults apply.
//! Of the environment, OTEL_EXPORTER_OTLP_TRACES_* wins over OTEL_EXPORTER_OTLP_*.

use std::{fmt, path::PathBuf, time::Duration};

use hyper::Uri;

use super::retry::RetrySettings;
use crate::{pipeline::queue::DEFAULT_CAPACITY, process::attributes};

/// The path of the trace signal below that of a collector.
const TRACES: &str = "/v1/traces";

/// How spans are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    /// Binary protobuf over HTTP/1.1.
    HttpProtobuf,
}

impl Protocol {
    /// The protocol of this name, as the specification writes it: `grpc` or `http/protobuf`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "grpc" => Some(Self::Grpc),
            "http/protobuf" => Some(Self::HttpProtobuf),
            _ => None,
        }
    }
}

/// How request bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
}

impl Compression {
    /// The compression of this name, as the specification writes it: `none` or `gzip`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "gzip" => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// Where spans are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Of the collector: for http/protobuf `/v1/traces` is appended to its path, unless it ends like that already.
    Base(String),
    /// Of the trace signal: used as it is.
    Traces(String),
}

/// A header (gRPC: metadata) of every request. Its value may be a secret, so it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    pub value: String,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: …", self.name)
    }
}

/// Settings of the OTLP exporter. `None` is "not said": the environment may say it, else the default applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpSettings {
    /// Default: http://localhost:4317 for gRPC, http://localhost:4318 for http/protobuf.
    pub endpoint: Option<Endpoint>,
    /// Default: http/protobuf, as the specification wants it.
    pub protocol: Option<Protocol>,
    /// Default: none.
    pub headers: Option<Vec<Header>>,
    /// Default: gzip for http/protobuf, none for gRPC.
    pub compression: Option<Compression>,
    /// For one request, default 10 s.
    pub timeout: Option<Duration>,
    /// PEM file with the authorities that may have signed the collector's certificate; default: those of the system.
    pub certificate: Option<PathBuf>,
    /// PEM files of the agent's own certificate and key, for collectors that ask for one; both or none.
    pub client_certificate: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    /// For gRPC endpoints without a scheme: whether to use http. Default: no (https).
    pub insecure: Option<bool>,
    /// Spans of one request at most.
    pub batch_spans: usize,
    /// How long the first span of a request waits for others.
    pub batch_delay: Duration,
    /// Requests under way at once.
    pub concurrent_requests: usize,
    pub retry: RetrySettings,
    /// Entries that may wait for the collector.
    pub queue_entries: usize,
}

impl Default for OtlpSettings {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: None,
            headers: None,
            compression: None,
            timeout: None,
            certificate: None,
            client_certificate: None,
            client_key: None,
            insecure: None,
            batch_spans: 512,
            batch_delay: Duration::from_secs(1),
            concurrent_requests: 4,
            retry: RetrySettings::default(),
            queue_entries: DEFAULT_CAPACITY,
        }
    }
}

/// An environment variable whose value cannot be used; it is ignored (OpenTelemetry environment specification).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is ignored: its value is not {expected}")]
pub struct InvalidVariable {
    pub variable: String,
    pub expected: &'static str,
}

impl OtlpSettings {
    /// The settings that the environment alone gives; `None` when it names no endpoint.
    pub fn from_environment(env: impl Fn(&str) -> Option<String>) -> (Option<Self>, Vec<InvalidVariable>) {
        let mut settings = Self::default();
        let invalid = settings.apply_environment(env);
        (settings.endpoint.is_some().then_some(settings), invalid)
    }

    /// Fills in what is `None`. Returns the variables that were ignored, to be logged.
    pub fn apply_environment(&mut self, env: impl Fn(&str) -> Option<String>) -> Vec<InvalidVariable> {
        let mut environment = Environment { env, invalid: vec![] };
        let environment = &mut environment;
        if self.endpoint.is_none() {
            self.endpoint = environment.endpoint();
        }
        environment.fill(&mut self.protocol, "PROTOCOL", "`grpc` or `http/protobuf`", Protocol::parse);
        environment.fill(&mut self.headers, "HEADERS", "a list of name=value", parse_headers);
        environment.fill(&mut self.compression, "COMPRESSION", "`gzip` or `none`", Compression::parse);
        environment.fill(&mut self.timeout, "TIMEOUT", "a number of milliseconds above 0", parse_millis);
        environment.fill(&mut self.certificate, "CERTIFICATE", "a path", parse_path);
        environment.fill(&mut self.client_certificate, "CLIENT_CERTIFICATE", "a path", parse_path);
        environment.fill(&mut self.client_key, "CLIENT_KEY", "a path", parse_path);
        environment.fill(&mut self.insecure, "INSECURE", "`true` or `false`", parse_bool);
        std::mem::take(&mut environment.invalid)
    }

    /// The protocol in effect.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol.unwrap_or(Protocol::HttpProtobuf)
    }

    /// The compression in effect.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression.unwrap_or(match self.protocol() {
            Protocol::Grpc => Compression::None,
            Protocol::HttpProtobuf => Compression::Gzip,
        })
    }

    /// The timeout of one request in effect.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(10))
    }

    /// The address that requests go to. For gRPC scheme and authority, for http/protobuf with the path.
    ///
    /// # Errors
    /// When the endpoint is not an http or https URL.
    pub fn target(&self) -> Result<Uri, EndpointError> {
        let protocol = self.protocol();
        let (text, append) = match &self.endpoint {
            Some(Endpoint::Base(text)) => (text.clone(), true),
            Some(Endpoint::Traces(text)) => (text.clone(), false),
            None if protocol == Protocol::Grpc => ("http://localhost:4317".to_owned(), true),
            None => ("http://localhost:4318".to_owned(), true),
        };
        let text = text.trim().to_owned();
        let with_scheme = match protocol {
            Protocol::Grpc if !text.contains("://") => {
                let scheme = if self.insecure == Some(true) { "http" } else { "https" };
                format!("{scheme}://{text}")
            }
            _ => text.clone(),
        };
        let complete = with_scheme.trim_end_matches('/').ends_with(TRACES);
        let address = match protocol {
            Protocol::HttpProtobuf if append && !complete => {
                format!("{}{TRACES}", with_scheme.trim_end_matches('/'))
            }
            _ => with_scheme,
        };
        let invalid = || EndpointError { endpoint: text.clone() };
        let uri: Uri = address.parse().map_err(|_| invalid())?;
        let host_is_there = uri.authority().is_some_and(|authority| !authority.host().is_empty());
        match uri.scheme_str() {
            Some("http" | "https") if host_is_there => Ok(uri),
            _ => Err(invalid()),
        }
    }
}

impl OtlpSettings {
    /// What is valid and probably not meant.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let Some(Endpoint::Base(text) | Endpoint::Traces(text)) = &self.endpoint else { return Vec::new() };
        let Ok(target) = self.target() else { return Vec::new() };
        let (path, http) = (target.path(), self.protocol() == Protocol::HttpProtobuf);
        let mut doubts = Vec::new();
        let mut doubt = |text: String| doubts.push(format!("the otlp endpoint {target}: {text}"));
        if path.matches(TRACES).count() > 1 {
            doubt(format!("{TRACES} stands in it more than once: no collector has such a path"));
        } else if matches!(self.endpoint, Some(Endpoint::Base(_)))
            && text.trim_end_matches('/').ends_with(TRACES)
        {
            doubt(format!(
                "{TRACES} is taken as it is; the endpoint of a collector is meant to be written without it"
            ));
        }
        for other in ["/v1/metrics", "/v1/logs", "/v1/profiles", "/v1development/profiles"] {
            if path.contains(other) {
                doubt(format!("{other} is for another signal: leave it out"));
            }
        }
        match (http, target.port_u16()) {
            (true, Some(4317)) => {
                doubt("4317 is usually the port for gRPC, and the protocol is http/protobuf: set protocol: grpc or port 4318".to_owned());
            }
            (false, Some(4318)) => {
                doubt("4318 is usually the port for http/protobuf, and the protocol is grpc: set protocol or port 4317".to_owned());
            }
            _ => {}
        }
        if self.headers.iter().flatten().any(|header| header.value.trim() != header.value) {
            doubt("the value of a header begins or ends with blanks".to_owned());
        }
        doubts
    }
}

/// The endpoint is no URL that spans can be sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("otlp endpoint `{endpoint}` is not of the form http://host:port or https://host:port")]
pub struct EndpointError {
    pub endpoint: String,
}

struct Environment<E> {
    env: E,
    invalid: Vec<InvalidVariable>,
}

impl<E: Fn(&str) -> Option<String>> Environment<E> {
    /// The value of the TRACES variable, else of the general one. Empty is unset (environment specification).
    fn value(&self, suffix: &str) -> Option<(String, String)> {
        ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"].iter().find_map(|prefix| {
            let variable = format!("{prefix}{suffix}");
            let value = (self.env)(&variable)?;
            (!value.trim().is_empty()).then(|| (variable, value.trim().to_owned()))
        })
    }

    fn endpoint(&self) -> Option<Endpoint> {
        let (variable, value) = self.value("ENDPOINT")?;
        Some(if variable.contains("TRACES") { Endpoint::Traces(value) } else { Endpoint::Base(value) })
    }

    fn fill<T>(
        &mut self,
        target: &mut Option<T>,
        suffix: &str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) {
        if target.is_some() {
            return;
        }
        let Some((variable, value)) = self.value(suffix) else { return };
        *target = parse(&value);
        if target.is_none() {
            self.invalid.push(InvalidVariable { variable, expected });
        }
    }
}

fn parse_headers(list: &str) -> Option<Vec<Header>> {
    let pairs = attributes::parse(list).ok()?;
    let headers: Vec<_> = pairs.into_iter().map(|(name, value)| Header { name, value }).collect();
    (!headers.is_empty()).then_some(headers)
}

fn parse_millis(text: &str) -> Option<Duration> {
    text.parse().ok().filter(|millis| *millis > 0).map(Duration::from_millis)
}

#[expect(clippy::unnecessary_wraps, reason = "has the form of the other parsers")]
fn parse_path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text))
}

fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment<'a>(all: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| all.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    fn applied(all: &[(&str, &str)]) -> OtlpSettings {
        let mut settings = OtlpSettings::default();
        assert_eq!(settings.apply_environment(environment(all)), []);
        settings
    }

    #[test]
    fn targets() {
        let cases: [(&[(&str, &str)], &str); 11] = [
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/v1/traces")], "http://c:4318/v1/traces"),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/v1/traces/")], "http://c:4318/v1/traces/"),
            (&[], "http://localhost:4318/v1/traces"),
            (&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "http://localhost:4317/"),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")], "http://c:4318/v1/traces"),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c/otlp/")], "https://c/otlp/v1/traces"),
            (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318/x")], "http://c:4318/x"),
            (
                &[
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:1"),
                    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://special:2"),
                ],
                "http://special:2/",
            ),
            (
                &[
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
                    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317"),
                    ("OTEL_EXPORTER_OTLP_INSECURE", "TRUE"),
                ],
                "http://c:4317/",
            ),
            (
                &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317")],
                "https://c:4317/",
            ),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", " "), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")], {
                "http://localhost:4318/v1/traces"
            }),
        ];
        for (variables, expected) in cases {
            assert_eq!(applied(variables).target().unwrap().to_string(), expected, "{variables:?}");
        }
    }

    #[test]
    fn doubtful_endpoints() {
        for (protocol, endpoint, part) in [
            (Protocol::HttpProtobuf, "http://c:4318", None),
            (Protocol::HttpProtobuf, "http://c:4318/otlp", None),
            (Protocol::HttpProtobuf, "http://c:4318/v1/traces", Some("taken as it is")),
            (Protocol::HttpProtobuf, "http://c:4318/v1/traces/v1/traces", Some("more than once")),
            (Protocol::HttpProtobuf, "http://c:4318/v1/metrics", Some("another signal")),
            (Protocol::HttpProtobuf, "http://c:4317", Some("protocol: grpc")),
            (Protocol::Grpc, "http://c:4317", None),
            (Protocol::Grpc, "http://c:4318", Some("4317")),
        ] {
            let endpoint = Some(Endpoint::Base(endpoint.into()));
            let settings = OtlpSettings { endpoint, protocol: Some(protocol), ..OtlpSettings::default() };
            let doubts = settings.doubts();
            assert_eq!(doubts.len(), usize::from(part.is_some()), "{doubts:?}");
            assert!(part.is_none_or(|part| doubts[0].contains(part)), "{doubts:?}");
        }
    }

    #[test]
    fn endpoints_that_are_none() {
        for endpoint in ["", "c:4318", "ftp://c", "http://", "http:///x", "http://a b", "unix:///run/c"] {
            let settings =
                OtlpSettings { endpoint: Some(Endpoint::Base(endpoint.into())), ..OtlpSettings::default() };
            let error = settings.target().unwrap_err();
            assert!(error.to_string().contains("http://host:port"), "{endpoint}");
        }
    }

    #[test]
    fn explicit_values_win_and_the_environment_fills_the_rest() {
        let mut settings = OtlpSettings {
            protocol: Some(Protocol::Grpc),
            timeout: Some(Duration::from_secs(3)),
            ..OtlpSettings::default()
        };
        let invalid = settings.apply_environment(environment(&[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "7"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=general"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=a%20b,x=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ]));
        assert_eq!(invalid, []);
        assert_eq!(settings.protocol(), Protocol::Grpc);
        assert_eq!(settings.timeout(), Duration::from_secs(3));
        assert_eq!(settings.compression(), Compression::Gzip);
        assert_eq!(settings.certificate, Some("/ca.pem".into()));
        let headers = settings.headers.unwrap();
        assert_eq!((headers[0].name.as_str(), headers[0].value.as_str()), ("api-key", "a b"));
        assert_eq!(headers.len(), 2);
        assert!(!format!("{headers:?}").contains("a b"), "secrets are not printed");
    }

    #[test]
    fn invalid_values_are_ignored_and_named() {
        let mut settings = OtlpSettings::default();
        let invalid = settings.apply_environment(environment(&[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ]));
        assert_eq!(settings, OtlpSettings::default());
        let names: Vec<_> = invalid.iter().map(|one| one.variable.as_str()).collect();
        assert_eq!(
            names,
            [
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "OTEL_EXPORTER_OTLP_COMPRESSION",
                "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            ]
        );
    }

    #[test]
    fn the_environment_alone_starts_the_exporter_only_with_an_endpoint() {
        let none = OtlpSettings::from_environment(environment(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]));
        assert_eq!(none, (None, vec![]));
        let (some, _) =
            OtlpSettings::from_environment(environment(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1")]));
        assert_eq!(some.unwrap().endpoint, Some(Endpoint::Base("http://c:1".into())));
    }
}
