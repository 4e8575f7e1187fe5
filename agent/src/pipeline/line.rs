//! Events in, batches of spans out. Which spans stand in which batch depends on the events alone, never on when they were
//! read: so a replay hands its exporters what the live run handed to its own.

use super::{
    Engine, Settings,
    queue::{Batch, Batcher},
};
use crate::event::{Event, Timestamp};

/// The engine and the batcher behind it.
#[derive(Debug)]
pub struct Pipeline {
    engine: Engine,
    batcher: Batcher,
    /// The youngest event time seen: batches never go back in time.
    now: Timestamp,
}

impl Pipeline {
    /// A pipeline that has seen nothing; the first events should be the clock and the run key.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { engine: Engine::new(settings), batcher: Batcher::new(), now: Timestamp::default() }
    }

    /// Takes one event; gives what that completes to `out`. A batch without entries only tells the time.
    pub fn feed(&mut self, event: &Event<'_>, mut out: impl FnMut(Batch)) {
        self.engine.feed(event);
        let at = self.now.max(event.at().unwrap_or_default());
        self.now = at;
        for traced in self.engine.drain() {
            if let Some(batch) = self.batcher.push(traced, at) {
                out(batch);
            }
        }
        match event {
            Event::Tick { .. } | Event::Shutdown { .. } => out(self.batcher.take(at)),
            // Under load a source may find no time for ticks.
            _ => {
                if let Some(batch) = self.batcher.tick(at) {
                    out(batch);
                }
            }
        }
    }

    /// What the counters and the feedback are asked of.
    pub const fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }
}
