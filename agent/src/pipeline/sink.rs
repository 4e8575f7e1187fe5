//! The one way into the pipeline, for live sessions and for replays: events in, batches of spans
//! out.
//!
//! Whoever holds the sink cannot feed an event that is not recorded, nor in another order than it
//! is recorded. Which spans stand in which batch depends on the events alone and never on when they
//! were read. So a replay delivers to its exporters what the live run delivered to its own.

use super::{
    Engine, Settings, Snapshot,
    queue::{Batch, Batcher},
    redact::Masker,
};
use crate::{
    event::{Event, Feedback, Timestamp},
    source::log::{Recorder, Summary},
};

/// Takes the batches. A batch without entries only says how much time has passed.
type Deliver = Box<dyn FnMut(Batch) + Send>;

/// The engine, the recorder before it (if the events are recorded), and the batcher behind it.
pub(crate) struct EventSink {
    recorder: Option<Recorder>,
    /// Masks what is recorded, if that is wanted.
    masker: Option<Masker>,
    engine: Engine,
    batcher: Batcher,
    deliver: Deliver,
    /// The youngest event time seen: batches never go back in time.
    now: Timestamp,
}

impl EventSink {
    /// A sink that has seen nothing; the first events should be the clock and the run key.
    pub(crate) fn new(settings: Settings, deliver: impl FnMut(Batch) + Send + 'static) -> Self {
        Self {
            recorder: None,
            masker: None,
            engine: Engine::new(settings),
            batcher: Batcher::new(),
            deliver: Box::new(deliver),
            now: Timestamp::default(),
        }
    }

    /// The same sink, which records every event first if there is a recorder.
    pub(crate) fn recorded_by(self, recorder: Option<Recorder>) -> Self {
        let masker = recorder.as_ref().filter(|recorder| recorder.redacts()).map(|_| Masker::default());
        Self { recorder, masker, ..self }
    }

    /// Takes one event and delivers the batches that it completes.
    pub(crate) fn feed(&mut self, event: &Event<'_>) {
        if let Some(recorder) = &mut self.recorder {
            match &mut self.masker {
                Some(masker) => recorder.record(&masker.mask(event)),
                None => recorder.record(event),
            }
        }
        self.engine.feed(event);
        let at = self.now.max(event.at().unwrap_or_default());
        self.now = at;
        for entry in self.engine.drain() {
            if let Some(batch) = self.batcher.push(entry, at) {
                (self.deliver)(batch);
            }
        }
        match event {
            Event::Tick { .. } | Event::Shutdown { .. } => (self.deliver)(self.batcher.take(at)),
            // Under load a source may find no time for ticks.
            _ => {
                if let Some(batch) = self.batcher.tick(at) {
                    (self.deliver)(batch);
                }
            }
        }
    }

    /// What the pipeline asks of the source, since the last call.
    pub(crate) fn drain_feedback(&mut self) -> impl Iterator<Item = Feedback> + '_ {
        self.engine.drain_feedback()
    }

    /// All counters, with at most `processes` of the processes that made calls.
    pub(crate) fn snapshot(&mut self, processes: usize) -> Snapshot {
        Snapshot::of(&mut self.engine, processes)
    }

    /// The youngest event time.
    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }

    /// The recording so far.
    pub(crate) fn recorded(&self) -> Option<Summary> {
        self.recorder.as_ref().map(Recorder::progress)
    }

    /// Ends the recording; returns what became of it.
    pub(crate) fn close(&mut self) -> Option<Summary> {
        self.recorder.take().map(Recorder::finish)
    }
}
