//! Limits and switches of the trace layer. Event logs hold them under these names.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    causality::Rules,
    forwarded::{self, Forwarded},
    instrumented::Instrumented,
    redaction::Redaction,
};
use crate::event::DEFAULT_CONNECTIONS;

/// How much memory the trace layer may use and how long it may wait. All times are event time.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// How long a finished span waits for its parent before it is exported without one. Default 30
    /// s.
    pub parent_wait: Duration,
    /// Finished spans that may wait at once. Beyond this number the one that ended first is
    /// exported as it is. Default 50,000.
    pub waiting_spans: usize,
    /// How long a request waits for the other end of its connection to appear. Default 200 ms.
    pub flow_wait: Duration,
    /// How long an exchange or connect is open when a notice of it is emitted; `None`: never.
    /// Default 1 s.
    pub open_notice: Option<Duration>,
    /// How long a closed connection and an exited process are remembered. Default 2 s.
    pub linger: Duration,
    /// Connections known at once. Beyond this number one that was idle for long is evicted. Default
    /// [`DEFAULT_CONNECTIONS`].
    pub connections: usize,
    /// Exchanges open or waiting at once. Further requests get no span. Default 200,000.
    pub exchanges: usize,
    /// Exchanges open or waiting on one connection. Beyond this number the oldest is ended as it
    /// is. Default 1,024.
    pub exchanges_per_connection: usize,
    /// Exported exchanges of one connection that later spans may still name as their parent.
    /// Default 32.
    pub recent_exchanges: usize,
    /// The same for all connections together; the one exported first is dropped. Default 100,000.
    pub remembered_exchanges: usize,
    /// Calls of one request that wait for its response to be judged. Further ones are unlinked.
    /// Default 1,024.
    pub calls_per_request: usize,
    /// Connects in progress. Further ones get no span when they fail. Default 16,384.
    pub connects: usize,
    /// Processes known at once. Further ones get placeholder facts and no inferred parents. Default
    /// 32,768.
    pub processes: usize,
    /// Requests under which connections without a partner are registered. Default 65,536.
    pub flow_keys: usize,
    /// Which evidence may name a parent within a process.
    pub causality: Rules,
    /// What happens to the spans of programs that export their own. Default: they are left out.
    pub instrumented: Instrumented,
    /// Fields of requests that become attributes, in lower case. Default `x-request-id`.
    pub correlation_headers: Vec<String>,
    /// Peers that are trusted when they say for which client they forward a request. Event logs
    /// without this setting were made when no peer was.
    #[serde(default = "Forwarded::none")]
    pub forwarded: Forwarded,
    /// Limits of texts.
    pub text: TextLimits,
    /// What is replaced in URLs.
    pub redaction: Redaction,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            parent_wait: Duration::from_secs(30),
            waiting_spans: 50_000,
            flow_wait: Duration::from_millis(200),
            open_notice: Some(Duration::from_secs(1)),
            linger: Duration::from_secs(2),
            connections: DEFAULT_CONNECTIONS as usize,
            exchanges: 200_000,
            exchanges_per_connection: 1_024,
            recent_exchanges: 32,
            remembered_exchanges: 100_000,
            calls_per_request: 1_024,
            connects: 16_384,
            processes: 32_768,
            flow_keys: 65_536,
            causality: Rules::default(),
            instrumented: Instrumented::default(),
            correlation_headers: vec!["x-request-id".to_owned()],
            forwarded: Forwarded::default(),
            text: TextLimits::default(),
            redaction: Redaction::default(),
        }
    }
}

impl Settings {
    /// The request fields that spans are made from, besides those that every span needs.
    pub(crate) fn wanted_fields(&self) -> impl Iterator<Item = &str> {
        let forwarded = forwarded::FIELDS.into_iter().filter(|_| self.forwarded.trusts_any());
        self.correlation_headers.iter().map(String::as_str).chain(forwarded)
    }
}

/// Limits of texts in bytes of UTF-8, after redaction. The rest is cut at a character boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextLimits {
    /// `url.path`. Default 8,192, the longest path that servers accept by default.
    pub path: usize,
    /// `url.query`. Default 8,192.
    pub query: usize,
    /// `user_agent.original`. Default 512.
    pub user_agent: usize,
    /// `http.request.header.<name>`. Default 256.
    pub header: usize,
    /// `http.request.method_original`. Default 64.
    pub method: usize,
    /// `server.address`, and the authority in `url.full`. Default 255, the longest DNS name.
    pub host: usize,
}

impl Default for TextLimits {
    fn default() -> Self {
        Self { path: 8_192, query: 8_192, user_agent: 512, header: 256, method: 64, host: 255 }
    }
}

/// A duration in nanoseconds of event time, saturating.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
