//! What the commands know of an event log: where it goes, and its header, which holds all that a replay needs besides the
//! events: the settings of the pipeline, and the host's part of every resource.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::stdout::tell;
use crate::{
    export::HostResource,
    pipeline,
    source::log::{CreateError, Output, Recorder, RecorderSettings, Summary},
};

/// Bytes of a log unless another limit is given.
pub(super) const MAX_BYTES: u64 = 1 << 30;

/// The JSON text at the start of a log. What a log does not say has its default; what is not known here is told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    /// Version of the agent that recorded.
    pub(super) agent: String,
    /// Release of the kernel, and how it was hooked: for people.
    pub(super) kernel: String,
    #[serde(alias = "rung")]
    pub(super) attach_mode: String,
    /// What was selected and how much of a call was captured: for people.
    pub(super) select: Vec<String>,
    pub(super) capture_bytes: u32,
    /// Whether payload was masked.
    pub(super) redacted: bool,
    pub(super) host: HostResource,
    pub(super) pipeline: pipeline::Settings,
}

impl Header {
    /// Reads a header; also gives the keys that this agent does not know.
    pub(super) fn parse(text: &str) -> Result<(Self, Vec<String>)> {
        let mut unknown = Vec::new();
        let mut json = serde_json::Deserializer::from_str(text);
        let header = serde_ignored::deserialize(&mut json, |key| unknown.push(key.to_string()))
            .and_then(|header| json.end().map(|()| header))
            .context("the log's header cannot be understood")?;
        Ok((header, unknown))
    }
}

/// What the session tells of itself when it begins to record.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    pub(super) attach_mode: &'static str,
    pub(super) select: Vec<String>,
    pub(super) capture_bytes: u32,
}

/// A recording that a session is to make.
#[derive(Debug, Clone)]
pub(super) struct Recording {
    settings: RecorderSettings,
    host: HostResource,
    over: Arc<Notify>,
    outcome: Arc<Mutex<Option<Summary>>>,
}

impl Recording {
    pub(super) fn new(settings: RecorderSettings, host: HostResource) -> Self {
        Self { settings, host, over: Arc::default(), outcome: Arc::default() }
    }

    /// A recording beside something else that the agent does.
    pub(super) fn beside(path: PathBuf, host: HostResource) -> Self {
        Self::new(RecorderSettings { output: Output::File(path), max_bytes: MAX_BYTES, redact: false }, host)
    }

    /// Begins it.
    pub(super) fn start(&self, run: Run, mut pipeline: pipeline::Settings) -> Result<Recorder> {
        // What was masked says nothing of sameness.
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

    /// Notified when the recording has stopped by itself: its limit, a full disk.
    pub(super) fn over(&self) -> Arc<Notify> {
        Arc::clone(&self.over)
    }

    /// Whether it goes to standard output, where nothing else may stand then.
    pub(super) fn to_stdout(&self) -> bool {
        self.settings.output == Output::Stdout
    }

    /// The session tells what became of it.
    pub(super) fn ended(&self, summary: Summary) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(summary);
    }

    /// Tells people what became of it; false when something went wrong or there is no recording.
    pub(super) fn report(&self) -> bool {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(summary) = outcome else { return false };
        tell(format_args!("{}: {summary}", self.settings.output));
        let Some(stop) = &summary.stopped else { return true };
        tell(format_args!("the recording stopped early: {stop}"));
        !stop.is_failure()
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
        header.pipeline.limits.held_calls = 8;
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
        assert_eq!((header.pipeline.connections, header.pipeline.limits.held_calls), (3, 256));
        for text in ["", "7", "{}x", r#"{"agent":1}"#] {
            assert!(Header::parse(text).is_err(), "{text}");
        }
    }
}
