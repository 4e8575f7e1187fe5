//! Limits and switches of the trace layer. Event logs hold them under these names.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    causality::Rules,
    forwarded::{self, Forwarded},
    instrumented::Instrumented,
    redaction::Redaction,
};

/// How far the trace layer may go in memory and in waiting. All times are event time.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// How long a finished span waits for its parent before it is exported as it stands. Default 30 s.
    pub parent_wait: Duration,
    /// Finished spans that may wait at once; beyond it the one that ended first goes as it stands. Default 50,000.
    pub waiting_spans: usize,
    /// How long a request waits for the other end of its connection to show. Default 200 ms.
    pub flow_wait: Duration,
    /// An exchange or connect open for this long is announced once; `None` never. Default 1 s.
    pub open_notice: Option<Duration>,
    /// How long a closed connection and an exited process are remembered. Default 2 s.
    pub linger: Duration,
    /// Connections known at once; beyond it one that was silent for long makes room. Default 65,536.
    pub connections: usize,
    /// Exchanges open or waiting at once; further requests make no span. Default 200,000.
    pub exchanges: usize,
    /// Exchanges open or waiting on one connection; beyond it the oldest is ended as it stands. Default 1,024.
    pub exchanges_per_connection: usize,
    /// Exported exchanges of one connection that later spans may still name as their parent. Default 32.
    pub recent_exchanges: usize,
    /// The same of all connections; the one exported first goes. Default 100,000.
    pub remembered_exchanges: usize,
    /// Calls of one request that wait for its answer to be judged; further ones are orphans. Default 1,024.
    pub calls_per_request: usize,
    /// Connects in progress; further ones make no span when they fail. Default 16,384.
    pub connects: usize,
    /// Processes known at once; further ones get placeholder facts and no inferred parents. Default 32,768.
    pub processes: usize,
    /// Requests by which connections that have no partner yet may be recognised. Default 65,536.
    pub flow_keys: usize,
    /// Which evidence may name a parent within a process.
    pub causality: Rules,
    /// What becomes of the spans of programs that export their own. Default: they are left out.
    pub instrumented: Instrumented,
    /// Fields of requests that become attributes, in lower case. Default `x-request-id`.
    pub correlation_headers: Vec<String>,
    /// Which peers are trusted when they say for whom they ask. Logs that do not say were made without.
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
            connections: 65_536,
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
    /// The fields of requests that spans are made of besides those that every span needs.
    pub(crate) fn wanted_fields(&self) -> impl Iterator<Item = &str> {
        let forwarded = forwarded::FIELDS.into_iter().filter(|_| self.forwarded.believes_any());
        self.correlation_headers.iter().map(String::as_str).chain(forwarded)
    }
}

/// Bytes of UTF-8 that a text may have after redaction; the rest is cut at a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextLimits {
    /// `url.path`. Default 8,192: the longest that servers take by themselves.
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
