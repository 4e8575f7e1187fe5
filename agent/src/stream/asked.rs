//! What a connection asks of its source: to capture a direction whole, or to make no event for bytes that nobody needs.

use super::{Connection, Need, Parser, Sink as _};
use crate::event::{Capture, CaptureMode, Direction, Feedback};

/// What the source was asked of one direction, and what became of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    pub(super) capture: Capture,
    /// Bytes before this position are not needed: it makes no event for them.
    pub(super) skip_until: u64,
    /// What it has taken. In a log of another agent this may be what nobody here asked for.
    pub(super) taken: Capture,
    /// Bytes of holes where it was asked to make no event.
    pub(super) suppressed: u64,
    /// Bytes of holes before `skip_until`, whatever was lost there, too.
    pub(super) excused: u64,
}

impl Asked {
    /// The source makes no event for bytes before this position.
    pub(super) fn skipped_before(&self) -> u64 {
        if self.skip_until == 0 { self.taken.skip_until } else { self.skip_until }
    }
}

impl<P: Parser> Connection<P> {
    /// Of the bytes that the kernel skipped, those for which it was asked to make no event: the others were needed, and are
    /// unseen.
    pub(super) fn skipped_as_asked(&self, direction: Direction, skipped: u64) -> u64 {
        let asked = &self.asked[direction.index()];
        let nothing = self.opaque || asked.taken.mode == CaptureMode::Nothing;
        if nothing { skipped } else { skipped.min(asked.excused) }
    }

    /// The source captures the stream like this from now on, by [`Direction::index`]. It does what it was asked here, unless
    /// the events are from a log whose agent asked for something else.
    pub fn taken(&mut self, directions: [Capture; 2]) {
        for (asked, taken) in self.asked.iter_mut().zip(directions) {
            asked.taken = taken;
        }
    }

    /// Asks the source for what the parser needs from `position` on, if that has changed: no events while a long body passes.
    pub(super) fn ask(&mut self, direction: Direction, position: u64, out: &mut P::Output) {
        let Need { skippable, skipped, whole } = self.parser.need(direction);
        if skippable == 0 && !whole {
            return;
        }
        let skip_bytes = self.bounds().skip_bytes;
        let asked = &mut self.asked[direction.index()];
        let more = whole && asked.capture.mode == CaptureMode::Ends;
        if more {
            asked.capture.mode = CaptureMode::Whole;
        }
        let endless = skippable == u64::MAX;
        let long = if endless { skipped > skip_bytes } else { skippable > skip_bytes };
        let end = position.saturating_add(skippable);
        let skips = long && asked.skip_until != end;
        if skips {
            asked.skip_until = end;
            // One less, so that the transfer with the last of these bytes makes an event: its time ends the message.
            asked.capture.skip_until = if endless { end } else { end - 1 };
        }
        if more || skips {
            self.ask_source(out);
        }
    }

    pub(super) fn ask_source(&self, out: &mut P::Output) {
        let directions = self.asked.each_ref().map(|asked| asked.capture);
        out.feedback().push(Feedback::Capture { stream: self.id, directions });
    }
}
