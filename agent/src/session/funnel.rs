//! The one way into the pipeline: every event is recorded, if there is a recorder, and then fed. Whoever holds the funnel
//! cannot feed an event that is not recorded, nor in another order.

use crate::{
    event::Event,
    export::Sender,
    pipeline::{self, Engine, Pipeline},
    source::log::{Recorder, Summary},
};

/// See the module.
pub(crate) struct Funnel {
    pipeline: Pipeline,
    sender: Sender,
    recorder: Option<Recorder>,
}

impl Funnel {
    pub(crate) fn new(settings: pipeline::Settings, sender: Sender, recorder: Option<Recorder>) -> Self {
        Self { pipeline: Pipeline::new(settings), sender, recorder }
    }

    /// Takes one event; what it completes goes to the exporters.
    pub(crate) fn feed(&mut self, event: &Event<'_>) {
        let Self { pipeline, sender, recorder } = self;
        if let Some(recorder) = recorder {
            recorder.record(event);
        }
        pipeline.feed(event, |batch| sender.send(&batch));
    }

    /// What the counters and the feedback are asked of.
    pub(crate) const fn engine(&mut self) -> &mut Engine {
        self.pipeline.engine()
    }

    /// The recording so far.
    pub(crate) fn recorded(&self) -> Option<Summary> {
        self.recorder.as_ref().map(Recorder::progress)
    }

    /// Ends the recording; what became of it.
    pub(crate) fn close(&mut self) -> Option<Summary> {
        self.recorder.take().map(Recorder::finish)
    }
}
