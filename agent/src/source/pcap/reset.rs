//! A RST. The end that receives it may ignore it (RFC 5961, section 3; RFC 1337), and somebody else
//! may have sent it. Only what follows shows whether it holds.
//!
//! An end that acknowledges bytes captured after the RST has ignored it. An end that sends more
//! behind the RST has not sent it. Until then, or until [`RESET_WAIT`] has passed, nothing more is
//! read. When the RST holds, what came after it is dropped: the end that was reset could not read
//! it, and nobody can use what was on its way.

use super::{
    Report,
    connection::{Connection, Context, Phase},
    tcp::Segment,
};
use crate::event::Timestamp;

/// How long, in nanoseconds, a sign of life is waited for.
const RESET_WAIT: u64 = 1_000_000_000;
/// A RST further from the next byte than this was made for another connection or by somebody else.
const NEAR: i64 = 1024 * 1024;

/// A RST that was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reset {
    at: Timestamp,
    /// The latest time of the capture at that moment.
    seen: Timestamp,
    /// Position of the RST, and position behind everything that its sender had sent before.
    position: Option<i64>,
    end: i64,
}

impl Connection {
    /// Whether a RST is still undecided.
    pub(super) fn is_frozen(&self) -> bool {
        self.resets.iter().any(Option::is_some)
    }

    pub(super) fn reset(&mut self, side: usize, segment: &Segment<'_>, cx: &mut Context<'_>) {
        if self.phase == Phase::Over {
            return;
        }
        let half = &self.halves[side];
        let near = half.ahead(segment.sequence).is_some_and(|ahead| ahead.abs() <= NEAR);
        if half.base().is_some() && !near {
            cx.report.out_of_window += 1;
            return;
        }
        let (position, end) = (half.position(segment.sequence), half.captured_end().cast_signed());
        self.resets[side].get_or_insert(Reset { at: segment.at, seen: self.last, position, end });
    }

    /// Takes back the RSTs that, as a segment of `side` shows, were ignored.
    pub(super) fn ignore_reset(&mut self, side: usize, segment: &Segment<'_>, report: &mut Report) {
        if segment.rst || !self.is_frozen() {
            return;
        }
        let mut ignored = 0;
        // The side accepted the connection that it seemed to refuse.
        if segment.syn && self.resets[side].take().is_some() {
            ignored += 1;
        }
        let other = &self.halves[1 - side];
        let had = segment.acknowledgment.and_then(|ack| other.position(ack));
        let lives = |reset: &mut Reset| had.is_some_and(|had| had > reset.end);
        if self.resets[1 - side].take_if(lives).is_some() {
            ignored += 1;
        }
        let start = self.halves[side].position(segment.first_byte());
        let goes_on = |reset: &mut Reset| {
            let behind = start.is_some_and(|start| start + i64::from(segment.length) > reset.end);
            segment.length > 0 && behind && reset.position.is_some() && start >= reset.position
        };
        if self.resets[side].take_if(goes_on).is_some() {
            ignored += 1;
        }
        report.resets_ignored += ignored;
    }

    pub(super) fn reset_is_due(&self, now: Timestamp) -> bool {
        self.resets.iter().flatten().any(|reset| now.since(reset.seen) >= RESET_WAIT)
    }

    /// Nothing has shown that the RST was ignored: it ends the connection, at the time when it was
    /// sent.
    pub(super) fn reset_holds(&mut self, at: Timestamp, cx: &mut Context<'_>) {
        let resets = std::mem::take(&mut self.resets);
        let sent = |side: usize| resets[side].map(|reset| (reset.at, side));
        let Some((reset_at, side)) = sent(0).into_iter().chain(sent(1)).min() else { return };
        for side in 0..2 {
            self.on_half(side, cx, |half, _, to| half.drop_after_reset(to));
        }
        self.open(at, None, cx);
        self.settle(reset_at, None, cx);
        self.finish(cx);
        self.close(reset_at, Some(side), cx);
        self.phase = Phase::Over;
        self.release(cx.room);
    }
}
