//! What `run`, `trace` and `record` say when a session has ended.

use anyhow::Result;

use super::stdout::report;
use crate::session::{recording::Recording, runtime::Ended};

/// Says what was seen, missed and exported; `verbose`: with the figures of each process. Returns
/// how the session ended.
pub(super) fn conclude<T>(ended: Ended<T>, verbose: bool) -> Result<T> {
    let Ended { outcome, telemetry, exported } = ended;
    report(format_args!("{}", telemetry.summary(verbose)));
    if !exported.exporters.is_empty() {
        report(format_args!("{exported}"));
    }
    outcome
}

/// Says what became of a recording; false when something went wrong or it never began.
pub(super) fn report_recording(recording: &Recording) -> bool {
    let Some(summary) = recording.outcome() else { return false };
    report(format_args!("{}: {summary}", recording.output()));
    let Some(stop) = &summary.stopped else { return true };
    report(format_args!("the recording stopped early: {stop}"));
    !stop.is_failure()
}
