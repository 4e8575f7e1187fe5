//! HTTP/2 as a [`Protocol`]: how it is recognised, the loop over the frames of a transfer, and how its exchanges end with their
//! connection.

use super::{
    PREFACE,
    reader::Step,
    session::{Half, Session},
};
use crate::{
    event::{Direction, Timestamp},
    protocol::{
        Context, Incomplete, Ordinal, Outcome, Part, detect,
        http::UpgradeToken,
        mask,
        parser::{FirstBytes, Protocol, Read, Recognised, Recognition},
    },
    stream::{Cursor, Need},
};

/// Whether a server has spoken first (section 3.4): a SETTINGS frame with at most 42 settings, of which there are 10 today.
fn begins_as_server(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, length, 4, 0, 0, 0, 0, 0, ..] if length % 6 == 0)
}

impl Protocol for Session {
    fn recognise(first: &FirstBytes<'_>) -> Recognised<Self> {
        if first.from_start && first.passed == 0 && begins_as_server(first.bytes) {
            return Recognised::Yes(Self::new(Some(first.direction.reverse()), PREFACE.len()));
        }
        let rest = PREFACE.len().saturating_sub(first.passed);
        first.begin_with(PREFACE, || Self::new(Some(first.direction), rest))
    }

    fn mask(&self, next: [u64; 2]) -> mask::Mask {
        let Some(client) = self.client else { return mask::Mask::Whole };
        let rest = self.directions[client.index()].reader.preface_left();
        mask::Mask::Http2(super::Mask { client, preface_end: next[client.index()] + rest as u64 })
    }

    fn upgraded(to: UpgradeToken) -> Option<Self> {
        (to == UpgradeToken::H2c).then(|| Self::new(None, 0))
    }

    fn next_ordinal(&self) -> Ordinal {
        self.next
    }

    fn go_on_from(&mut self, next: Ordinal) {
        self.next = next;
    }

    fn feed(&mut self, direction: Direction, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Read {
        if !std::mem::replace(&mut self.counted, true) {
            cx.out.counters.connections_http2 += 1;
        }
        self.look_for_preface(direction, cursor);
        let (at, most) = (cursor.at, cx.limits.head_bytes);
        let sent = cursor.front();
        loop {
            match self.half(direction).reader.step(cursor, most) {
                Step::Done => {
                    // Frames that cannot be read may still have the path of OTLP, as those of a redacted log do.
                    if (self.client, direction) == (Some(Direction::Out), Direction::Out)
                        && self.half(direction).reader.is_lost()
                    {
                        detect::look_for_traces(cursor.thread.pid, sent, cx);
                    }
                    return Read::Done;
                }
                Step::Found => {}
                Step::Preface { from } => {
                    let part = Part { direction, range: from..cursor.position, exchange: None };
                    cx.out.report.part(cx.stream, &part);
                }
                Step::Header { header, origin } => {
                    self.frame_begins(direction, header, origin, cursor.position, cx);
                }
                Step::Payload { header, from, length } => {
                    self.payload(direction, header, (from, length), cx);
                }
                Step::Frame { header, origin, payload, missed } => {
                    if let Some(payload) = payload {
                        let length = payload.len() as u64;
                        let range = cursor.position - length..cursor.position;
                        let part = Part { direction, range, exchange: self.exchange(header) };
                        cx.out.report.part(cx.stream, &part);
                    }
                    self.frame_over(direction, (header, origin), payload, missed, at, cx);
                }
                Step::Lost { missed } => {
                    let why = if missed > 0 { Incomplete::TRUNCATED } else { Incomplete::MALFORMED };
                    self.lose(direction, missed, why, at, cx);
                }
            }
        }
    }

    fn gap(&mut self, direction: Direction, length: u64, at: Timestamp, cx: &mut Context<'_>) {
        let reader = &mut self.half(direction).reader;
        let current = reader.current();
        if !reader.gap(length) {
            cx.out.counters.gaps += 1;
            return self.lose(direction, length, Incomplete::GAP, at, cx);
        }
        cx.out.counters.gaps_in_bodies += 1;
        if let Some(header) = current {
            self.count_data(direction, header, length);
        }
    }

    fn half_closed(&mut self, direction: Direction, at: Timestamp, cx: &mut Context<'_>) {
        if self.client == Some(direction) {
            self.client_finished = true;
        } else {
            self.end_all(self.cut_off(None), at, cx);
        }
    }

    fn local_closed(&mut self, peer_finished: bool, at: Timestamp, cx: &mut Context<'_>) {
        let serves = self.client == Some(Direction::In);
        self.client_finished |= serves && peer_finished;
        let outcome = match serves || peer_finished {
            true => self.cut_off(None),
            false => Outcome::ClientAborted(None),
        };
        self.end_all(outcome, at, cx);
    }

    fn closed(&mut self, errno: u16, at: Timestamp, cx: &mut Context<'_>) {
        self.end_all(self.cut_off((errno != 0).then_some(errno)), at, cx);
    }

    fn finish(&mut self, at: Timestamp, cx: &mut Context<'_>) {
        self.end_all(Outcome::Unfinished, at, cx);
    }

    fn need(&self, direction: Direction) -> Need {
        self.directions[direction.index()].reader.need()
    }

    fn buffered(&self) -> usize {
        let half = |half: &Half| {
            let block = half.block.as_ref().map_or(0, |block| block.bytes.len());
            half.reader.kept().len() + half.decoder.bytes() + block
        };
        self.directions.iter().map(half).sum()
    }

    fn recognition(&self) -> Recognition {
        Recognition { seen: true, mid_stream: false, understood: true }
    }

    fn give_up(&mut self, _: &mut Context<'_>) {}
}
