//! What `run`, `trace` and `record` say when a session has ended.

use anyhow::Result;

use super::stdout::tell;
use crate::session::{recording::Recording, runtime::Ended};

/// Says what was seen, missed and exported; `verbose`: with the figures of each process. Returns how the session ended.
pub(super) fn conclude<T>(ended: Ended<T>, verbose: bool) -> Result<T> {
    let Ended { outcome, telemetry, exported } = ended;
    tell(format_args!("{}", telemetry.summary(verbose)));
    if !exported.exporters.is_empty() {
        tell(format_args!("{exported}"));
    }
    outcome
}

/// Says what became of a recording; false when something went wrong or it never began.
pub(super) fn report_recording(recording: &Recording) -> bool {
    let Some(summary) = recording.outcome() else { return false };
    tell(format_args!("{}: {summary}", recording.output()));
    let Some(stop) = &summary.stopped else { return true };
    tell(format_args!("the recording stopped early: {stop}"));
    !stop.is_failure()
}
