//! Feeds the pipeline from a file instead of the kernel: an event log or a packet capture.

use std::{
    io::Read,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::telemetry::{capture_summary, log_summary};
use crate::{
    event::{Event, Timestamp},
    export::Sender,
    pipeline::{self, EventSink},
    source::{
        log::{End, LogReader},
        pcap::{self, Report},
    },
};

/// Longest sleep of a replay at recorded pace, so that a signal ends it soon.
const NAP: Duration = Duration::from_millis(100);

/// A replay of one file.
pub(crate) struct Replay {
    sink: EventSink,
    pace: Option<Pace>,
}

/// What became of an event log.
pub(crate) struct ReplayedLog {
    pub(crate) end: End,
    /// Records of types that this agent does not know.
    pub(crate) unknown_records: u64,
    /// What was seen and missed, for people.
    pub(crate) summary: String,
}

/// What became of a packet capture.
pub(crate) struct ReplayedCapture {
    pub(crate) report: Report,
    /// What was seen and missed, for people.
    pub(crate) summary: String,
}

impl Replay {
    /// A replay into these exporters. A replay can wait for them, so it loses nothing.
    pub(crate) fn new(settings: pipeline::Settings, sender: Sender, realtime: bool) -> Self {
        let sink = EventSink::new(settings, move |batch| sender.send_waiting(&batch));
        Self { sink, pace: realtime.then(Pace::default) }
    }

    /// Feeds all events of a capture.
    pub(crate) fn capture(
        mut self,
        input: impl Read,
        options: &pcap::Options,
        stop: &AtomicBool,
    ) -> Result<ReplayedCapture> {
        let report = pcap::read(input, options, &mut |event| {
            if !stop.load(Ordering::Relaxed) {
                self.feed(event, stop);
            }
        })?;
        let summary = capture_summary(&self.sink.snapshot(0), &report.missed());
        Ok(ReplayedCapture { report, summary })
    }

    /// Feeds all events of a log. `figures` adds the counts behind the trust in links to the
    /// summary. Returns `None` when it was stopped before the log's end.
    pub(crate) fn log<R: Read>(
        mut self,
        mut reader: LogReader<R>,
        stop: &AtomicBool,
        figures: bool,
    ) -> Result<Option<ReplayedLog>> {
        while !stop.load(Ordering::Relaxed) {
            let Some(event) = reader.next_event().context("cannot be read")? else { break };
            self.feed(&event, stop);
        }
        let Some(end) = reader.end() else { return Ok(None) };
        if end != End::Whole {
            // As at the end of a run, everything that is open goes out as it is.
            let at = self.sink.now();
            self.feed(&Event::Shutdown { at }, stop);
        }
        Ok(Some(ReplayedLog {
            end,
            unknown_records: reader.unknown_records(),
            summary: log_summary(&mut self.sink, figures),
        }))
    }

    fn feed(&mut self, event: &Event<'_>, stop: &AtomicBool) {
        if let (Some(pace), Some(at)) = (&mut self.pace, event.at()) {
            pace.wait(at, stop);
        }
        self.sink.feed(event);
        // There is no kernel that could skip anything.
        drop(self.sink.drain_feedback());
    }
}

/// The pace at which events were recorded.
#[derive(Debug, Default)]
struct Pace {
    /// When the first event was replayed, and its time.
    start: Option<(Instant, Timestamp)>,
}

impl Pace {
    /// Waits until it is time for an event of `at`.
    fn wait(&mut self, at: Timestamp, stop: &AtomicBool) {
        let (started, first) = *self.start.get_or_insert_with(|| (Instant::now(), at));
        let due = Duration::from_nanos(at.since(first));
        while !stop.load(Ordering::Relaxed) {
            let left = due.saturating_sub(started.elapsed());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(NAP));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;

    #[test]
    fn a_replay_at_recorded_pace_takes_the_time_of_the_run() {
        let mut pace = Pace::default();
        let started = Instant::now();
        let stop = AtomicBool::new(false);
        for at in [5, 30, 20, 60] {
            pace.wait(Timestamp(at * MILLI), &stop);
        }
        assert!(started.elapsed() >= Duration::from_millis(55));
        stop.store(true, Ordering::Relaxed);
        pace.wait(Timestamp(u64::MAX), &stop);
    }
}
