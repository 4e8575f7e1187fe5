//! The reading of one connection: its parser, and the detector that says which parser that is and when to give up.

use super::{
    Context, Limits, Output,
    detect::{self, Detector},
    http1,
    parser::{FirstBytes, Parser, Protocol as _, Read, each},
    report::Report,
};
use crate::{
    event::{Direction, Feedback, Timestamp},
    stream::{self, Cursor, Fed, Need},
};

/// Reads a connection of any protocol that is known here.
#[derive(Debug)]
pub struct Session {
    parser: Parser,
    detector: Detector,
}

impl Session {
    fn read(&mut self, direction: Direction, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Fed {
        let (front, pid) = (cursor.front(), cursor.thread.pid);
        let read = each!(&mut self.parser, parser => parser.feed(direction, cursor, cx));
        if each!(&mut self.parser, parser => parser.take_recognised()) {
            self.detector.recognised();
        }
        match read {
            Read::Done => Fed::Done,
            Read::Wait => Fed::Wait,
            Read::Opaque => Fed::Opaque,
            Read::Upgraded(to) => match Parser::upgraded(to) {
                Some(parser) => {
                    self.follow(parser);
                    self.read(direction, cursor, cx)
                }
                None => Fed::Opaque,
            },
            Read::Unknown { begins } => self.unknown(direction, cursor, (pid, front), begins, cx),
        }
    }

    /// The parser does not know the end of what this process has moved.
    #[cold]
    fn unknown(
        &mut self,
        direction: Direction,
        cursor: &mut Cursor<'_>,
        (pid, bytes): (u32, &[u8]),
        begins: bool,
        cx: &mut Context<'_>,
    ) -> Fed {
        let known = each!(&self.parser, parser => parser.recognition());
        if direction == Direction::Out && !known.seen {
            detect::look_for_traces(pid, bytes, cx);
        }
        let first = FirstBytes { direction, bytes, passed: bytes.len(), from_start: false };
        if let Some(parser) = Detector::look_again(&first, begins, known.seen) {
            self.replace(parser, cx);
            return self.read(direction, cursor, cx);
        }
        if !self.detector.unknown(begins, known, cx) {
            return Fed::Done;
        }
        each!(&mut self.parser, parser => parser.give_up(cx));
        cx.out.counters.connections_given_up += 1;
        Fed::Opaque
    }

    /// The connection speaks another protocol than was thought.
    #[cold]
    fn replace(&mut self, parser: Parser, cx: &mut Context<'_>) {
        if each!(&self.parser, parser => parser.recognition()).seen {
            each!(&mut self.parser, parser => parser.give_up(cx));
        }
        self.follow(parser);
    }

    /// From here on this parser reads the connection.
    fn follow(&mut self, mut parser: Parser) {
        let next = each!(&self.parser, parser => parser.next_ordinal());
        each!(&mut parser, parser => parser.go_on_from(next));
        self.detector.found();
        self.parser = parser;
    }
}

impl stream::Parser for Session {
    type Output = Output;
    type Limits = Limits;

    fn new(from_start: [bool; 2]) -> Self {
        Self { parser: Parser::Http1(http1::Session::new(from_start)), detector: Detector::new(from_start) }
    }

    fn feed(&mut self, direction: Direction, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Fed {
        if self.detector.looks(direction)
            && let Some(parser) = self.detector.look(direction, cursor)
        {
            self.replace(parser, cx);
        }
        self.read(direction, cursor, cx)
    }

    fn gap(&mut self, direction: Direction, length: u64, at: Timestamp, cx: &mut Context<'_>) {
        self.detector.missed(direction);
        each!(&mut self.parser, parser => parser.gap(direction, length, at, cx));
    }

    fn half_closed(&mut self, direction: Direction, at: Timestamp, cx: &mut Context<'_>) {
        each!(&mut self.parser, parser => parser.half_closed(direction, at, cx));
    }

    fn local_closed(&mut self, peer_finished: bool, at: Timestamp, cx: &mut Context<'_>) {
        each!(&mut self.parser, parser => parser.local_closed(peer_finished, at, cx));
    }

    fn closed(&mut self, errno: u16, at: Timestamp, cx: &mut Context<'_>) {
        each!(&mut self.parser, parser => parser.closed(errno, at, cx));
    }

    fn finish(&mut self, at: Timestamp, cx: &mut Context<'_>) {
        each!(&mut self.parser, parser => parser.finish(at, cx));
    }

    fn awaits_beginning(&self, direction: Direction) -> bool {
        each!(&self.parser, parser => parser.awaits_beginning(direction))
    }

    fn begins(&mut self, direction: Direction, from_start: bool) {
        if from_start {
            self.detector.begins(direction);
        }
        each!(&mut self.parser, parser => parser.begins(direction, from_start));
    }

    fn need(&self, direction: Direction) -> Need {
        each!(&self.parser, parser => parser.need(direction))
    }

    fn buffered(&self) -> usize {
        each!(&self.parser, parser => parser.buffered())
    }

    fn joined_mid_stream(&self) -> bool {
        let known = each!(&self.parser, parser => parser.recognition());
        known.mid_stream && known.understood
    }
}

impl<R: Report + ?Sized> stream::Sink for Output<R> {
    fn feedback(&mut self) -> &mut Vec<Feedback> {
        &mut self.feedback
    }

    fn stream_counters(&mut self) -> &mut stream::Counters {
        &mut self.stream
    }
}
