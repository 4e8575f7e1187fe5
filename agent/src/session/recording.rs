//! A recording: where the event log goes, and the log's header. The header holds all that a replay
//! needs besides the events: the settings of the pipeline, and the host's part of every resource.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{
    export::HostResource,
    pipeline,
    source::log::{CreateError, Output, Recorder, RecorderSettings, Summary},
};

/// Bytes of a log unless another limit is given.
pub(crate) const MAX_BYTES: u64 = 1 << 30;

/// The JSON text at the start of a log. What a log leaves out has its default; keys that this agent
/// does not know are reported.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Header {
    /// Version of the agent that recorded.
    pub(crate) agent: String,
    /// Release of the kernel, and how it was hooked: for people.
    pub(crate) kernel: String,
    #[serde(alias = "rung")]
    pub(crate) attach_mode: String,
    /// What was selected, and how much of each system call was captured: for people.
    pub(crate) select: Vec<String>,
    pub(crate) capture_bytes: u32,
    /// Whether payload was masked.
    pub(crate) redacted: bool,
    pub(crate) host: HostResource,
    pub(crate) pipeline: pipeline::Settings,
}

impl Header {
    /// Reads a header; also gives the keys that this agent does not know.
    pub(crate) fn parse(text: &str) -> Result<(Self, Vec<String>)> {
        let mut unknown = Vec::new();
        let mut json = serde_json::Deserializer::from_str(text);
        let header = serde_ignored::deserialize(&mut json, |key| unknown.push(key.to_string()))
            .and_then(|header| json.end().map(|()| header))
            .context("the log's header cannot be understood")?;
        Ok((header, unknown))
    }
}

/// What the header of the log says of the session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    pub(crate) attach_mode: &'static str,
    pub(crate) select: Vec<String>,
    pub(crate) capture_bytes: u32,
}

/// A recording that a session is to make.
#[derive(Debug, Clone)]
pub(crate) struct Recording {
    settings: RecorderSettings,
    host: HostResource,
    over: Arc<Notify>,
    outcome: Arc<Mutex<Option<Summary>>>,
}

impl Recording {
    pub(crate) fn new(settings: RecorderSettings, host: HostResource) -> Self {
        Self { settings, host, over: Arc::default(), outcome: Arc::default() }
    }

    /// A recording that the agent makes beside its traces.
    pub(crate) fn beside(path: PathBuf, host: HostResource) -> Self {
        Self::new(RecorderSettings { output: Output::File(path), max_bytes: MAX_BYTES, redact: false }, host)
    }

    /// Starts the recorder.
    pub(crate) fn start(&self, run: Run, mut pipeline: pipeline::Settings) -> Result<Recorder> {
        // Masked content no longer shows which requests are the same.
        pipeline.trace.causality.content &= !self.settings.redact;
        let header = Header {
            select: run.select,
            capture_bytes: run.capture_bytes,
            attach_mode: run.attach_mode.to_owned(),
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: nix::sys::utsname::uname()
                .map(|name| name.release().to_string_lossy().into_owned())
                .unwrap_or_default(),
            redacted: self.settings.redact,
            host: self.host.clone(),
            pipeline,
        };
        let text = serde_json::to_string(&header).context("cannot write the log's header")?;
        Recorder::start(&self.settings, &text, Arc::clone(&self.over)).map_err(|error| match error {
            CreateError::Thread(_) | CreateError::Header(_) => error.into(),
            _ => anyhow::anyhow!("cannot record: {error}"),
        })
    }

    /// Notified when the recording has stopped by itself, at its limit or on a full disk.
    pub(crate) fn over(&self) -> Arc<Notify> {
        Arc::clone(&self.over)
    }

    /// Whether the log goes to standard output, where nothing else may be written then.
    pub(crate) fn to_stdout(&self) -> bool {
        self.settings.output == Output::Stdout
    }

    /// The session stores the outcome here.
    pub(crate) fn ended(&self, summary: Summary) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(summary);
    }

    /// The outcome, once the session has ended; `None` when the recording never began.
    pub(crate) fn outcome(&self) -> Option<Summary> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Where the events go.
    pub(crate) const fn output(&self) -> &Output {
        &self.settings.output
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::trace::Redaction;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let mut header = Header { agent: "1".into(), redacted: true, ..Header::default() };
        header.host.attributes = vec![("a".into(), "b".into())];
        header.pipeline.connections = 7;
        header.pipeline.limits.held_transfers = 8;
        header.pipeline.trace.parent_wait = Duration::new(3, 5);
        header.pipeline.trace.open_notice = None;
        header.pipeline.trace.text.path = 9;
        header.pipeline.trace.redaction = Redaction::new(["Own", "token"]);
        let text = serde_json::to_string(&header).unwrap();
        let (read, unknown) = Header::parse(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert_eq!(unknown, Vec::<String>::new());
        assert!(text.contains(r#"["own","token"]"#), "{text}");
    }

    #[test]
    fn unknown_keys_are_told_and_missing_ones_have_their_default() {
        let (header, unknown) =
            Header::parse(r#"{"new":1,"pipeline":{"trace":{"also":[]},"connections":3}}"#).unwrap();
        assert_eq!(unknown, ["new", "pipeline.trace.also"]);
        assert_eq!((header.pipeline.connections, header.pipeline.limits.held_transfers), (3, 256));
        for text in ["", "7", "{}x", r#"{"agent":1}"#] {
            assert!(Header::parse(text).is_err(), "{text}");
        }
    }
}
