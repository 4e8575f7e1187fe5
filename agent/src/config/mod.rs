//! Configuration: one YAML file and the standard environment variables become one typed, validated
//! [`Config`].
//!
//! The file says what is selected and which exporters run; the `OTEL_EXPORTER_OTLP_*` variables
//! fill in what it leaves out of `export.otlp`. Nothing is guessed: an unknown key, a wrong type or
//! an impossible value is an error that names file, line, column and what was expected there.

mod doubts;
mod endpoint;
mod error;
mod quantity;
mod read;
mod yaml;

use std::{fs::File, io::Read, net::SocketAddr, path::Path, time::Duration};

pub(crate) use doubts::of_rule as doubt_of_rule;
pub(crate) use endpoint::check as check_endpoint;
pub use error::ConfigError;
pub(crate) use quantity::{DURATION, SIZE, bytes as parse_size, duration as parse_duration};

use crate::{
    export::{self, HostResource, otlp::settings::InvalidVariable},
    pipeline,
    process::Selection,
    source::kernel,
    trace::{CausalityRules, Forwarded, Instrumented, Redaction, SENSITIVE_QUERY_NAMES},
};

/// Bytes of a configuration file.
pub const MAX_FILE: u64 = 1024 * 1024;
/// Least and most of `capture.bytes`.
pub const CAPTURE_BYTES: std::ops::RangeInclusive<u64> = 256..=agent_common::CAPTURE_MAX as u64;
/// Least and most of `capture.head_bytes`: what a parser keeps of a head.
pub const HEAD_BYTES: std::ops::RangeInclusive<u64> = 4096..=65536;
/// Least and most of `capture.ring_bytes`, which is a power of two.
pub const RING_BYTES: std::ops::RangeInclusive<u64> = 4096..=1024 * 1024 * 1024;
/// Least and most of `capture.nice`.
pub const NICE: std::ops::RangeInclusive<i32> = -20..=19;
/// Least and most of `limits.connections`.
pub const CONNECTIONS: std::ops::RangeInclusive<u64> = 1..=1_048_576;
/// Least and most of `limits.buffered_bytes`.
pub const BUFFERED_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=64 << 30;
/// Most of `limits.idle`.
pub const MAX_IDLE: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Least and most of `limits.waiting_spans`.
pub const WAITING_SPANS: std::ops::RangeInclusive<u64> = 1..=1_000_000;
/// Least and most of `limits.queue_spans`.
pub const QUEUE_SPANS: std::ops::RangeInclusive<u64> = 1..=1_000_000;
/// Most of `limits.parent_wait`.
pub const MAX_PARENT_WAIT: Duration = Duration::from_secs(600);
/// Most of `export.otlp.timeout`.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// What `wirespan config default` prints: every key with its default and meaning. It parses.
const EXAMPLE: &str = include_str!("default.yaml");

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which processes are traced. `select` is never empty.
    pub selection: Selection,
    /// At least one exporter.
    pub export: export::Settings,
    /// Attributes of every resource, over those of the agent's OTEL_RESOURCE_ATTRIBUTES.
    pub resource: Vec<(String, String)>,
    /// Where the agent serves its own metrics; not at all when `None`.
    pub metrics: Option<SocketAddr>,
    pub capture: Capture,
    pub limits: Limits,
    /// Which evidence may name a parent within a process.
    pub causality: CausalityRules,
    /// What becomes of the spans of programs that export their own.
    pub instrumented: Instrumented,
    /// Request headers that become attributes of spans, in lower case.
    pub correlation_headers: Vec<String>,
    /// Which peers are trusted when they say for whom they ask.
    pub forwarded: Forwarded,
    /// `redaction.query_parameters`: names besides the built-in ones; see [`Config::redaction`].
    pub query_parameters: Vec<String>,
    /// Level of the agent's own log; `None`: the command line decides.
    pub log: Option<LogLevel>,
    /// What in the file is valid and probably not meant; see [`Config::warnings`].
    pub doubts: Vec<String>,
}

/// What the kernel copies. Defaults: those of [`kernel::Settings`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capture {
    /// Most bytes copied from the start of one system call, [`CAPTURE_BYTES`].
    pub bytes: u32,
    /// Most bytes of a message's head, which is captured in pieces beyond `bytes`, [`HEAD_BYTES`].
    pub head_bytes: u32,
    /// Size of the ring between kernel and agent, a power of two in [`RING_BYTES`]. `None`: by the
    /// host's CPUs and the memory that the agent may use.
    pub ring_bytes: Option<u32>,
    /// Nice value of the thread that reads the ring, [`NICE`].
    pub nice: i32,
}

impl Default for Capture {
    fn default() -> Self {
        let kernel::Settings { capture_bytes, head_bytes, ring_bytes, nice, .. } =
            kernel::Settings::default();
        Self { bytes: capture_bytes, head_bytes, ring_bytes, nice }
    }
}

/// Ceilings. The layer that keeps one owns its default and counts what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections traced at once, [`CONNECTIONS`].
    pub connections: u32,
    /// Bytes that all connections together may buffer, [`BUFFERED_BYTES`].
    pub buffered_bytes: usize,
    /// How long a connection may be silent before it is forgotten, at most [`MAX_IDLE`].
    pub idle: Duration,
    /// Finished spans that may wait for their parent, [`WAITING_SPANS`].
    pub waiting_spans: usize,
    /// How long a finished span waits for its parent, at most [`MAX_PARENT_WAIT`].
    pub parent_wait: Duration,
    /// Spans that may wait for each exporter, [`QUEUE_SPANS`].
    pub queue_spans: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let pipeline::Settings { buffered_bytes, idle, trace, .. } = pipeline::Settings::default();
        Self {
            connections: kernel::Settings::default().connections,
            buffered_bytes,
            idle,
            waiting_spans: trace.waiting_spans,
            parent_wait: trace.parent_wait,
            queue_spans: pipeline::queue::DEFAULT_CAPACITY,
        }
    }
}

/// Level of the agent's log, the least talkative first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// As written in the file and understood by `tracing`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Config {
    /// Reads and validates a file.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let unreadable = |source| ConfigError::unreadable(&file, source);
        let mut bytes = Vec::new();
        // One byte more than allowed shows a large file. A pipe has no size on disk.
        File::open(path)
            .map_err(unreadable)?
            .take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(ConfigError::TooLarge { file });
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            ConfigError::NotUtf8 { file: file.clone(), line }
        })?;
        Self::parse(&file, text)
    }

    /// Validates a text; `name` stands for the file in errors.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let read = |root: yaml::Node| {
            let mut config = read::config(&root)?;
            let doubts = doubts::of_file(&root, &config);
            config.doubts = doubts
                .into_iter()
                .map(|doubt| format!("{name}:{}:{}: {}", doubt.at.line, doubt.at.column, doubt.message))
                .collect();
            Ok(config)
        };
        yaml::parse(text).and_then(read).map_err(|problem| ConfigError::Invalid {
            file: name.to_owned(),
            line: problem.at.line,
            column: problem.at.column,
            message: problem.message,
        })
    }

    /// Settings that are valid and probably do not mean what was meant, the environment's included.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.doubts.iter().cloned().chain(doubts::of_export(self)).collect()
    }

    /// A commented file with every key, which is itself valid.
    #[must_use]
    pub const fn example() -> &'static str {
        EXAMPLE
    }

    /// Fills in what the file leaves out of `export.otlp`. Returns the variables that were ignored,
    /// to be logged.
    pub fn apply_environment(&mut self, lookup: impl Fn(&str) -> Option<String>) -> Vec<InvalidVariable> {
        let Some(otlp) = self.export.otlp.as_mut() else {
            let names = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
            let set =
                names.into_iter().filter(|name| lookup(name).is_some_and(|value| !value.trim().is_empty()));
            let idle =
                |name| format!("{name} is set and has no effect: `export` has no `otlp`; add `otlp: {{}}`");
            self.doubts.extend(set.map(idle));
            return Vec::new();
        };
        otlp.apply_environment(lookup)
    }

    /// What all exported resources share: what is detected of this host, the agent's
    /// OTEL_RESOURCE_ATTRIBUTES, and over them `resource` of the file.
    #[must_use]
    pub fn host_resource(&self, lookup: impl Fn(&str) -> Option<String>) -> HostResource {
        let mut host = HostResource::detect(lookup);
        host.attributes.retain(|(key, _)| self.resource.iter().all(|(own, _)| own != key));
        host.attributes.extend(self.resource.iter().cloned());
        host
    }

    /// What is replaced in URLs: the values of the built-in query parameters and of the file's.
    #[must_use]
    pub fn redaction(&self) -> Redaction {
        let more = self.query_parameters.iter().map(String::as_str);
        Redaction::new(SENSITIVE_QUERY_NAMES.iter().copied().chain(more))
    }
}

#[cfg(test)]
mod tests;
