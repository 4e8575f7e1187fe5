//! A small protocol, made for the tests by the recipe in CONTRIBUTING.md: how little a new protocol takes, and a folder to begin
//! from.
//!
//! A connection begins with [`HELLO`], sent by its client. Every message is a line: `ASK key` is a request, `OK value` or
//! `NO reason` its reply. Replies come in the order of their requests.

use std::collections::VecDeque;

use super::{
    Begin, Context, Database, ExchangeEnd, ExchangeId, Incomplete, Operation, Ordinal, Origin, Outcome,
    Progress, Reply, Role, Shape, Status,
    parser::{FirstBytes, Protocol, Read, Recognised, Recognition},
};
use crate::{
    event::{Direction, Timestamp},
    stream::{Cursor, Need},
};

#[cfg(test)]
mod tests;

/// What the client of a connection sends first.
const HELLO: &[u8] = b"TOY/1\n";
/// A longer line is none: the rest of the connection is not read.
const MOST: usize = 256;

/// A line so far, and who moved its first byte.
#[derive(Debug, Default)]
struct Line {
    text: Vec<u8>,
    origin: Option<Origin>,
}

/// Reads both directions of a connection.
#[derive(Debug)]
pub(super) struct Session {
    client: Direction,
    lines: [Line; 2],
    /// Requests without a reply.
    open: VecDeque<Ordinal>,
    next: Ordinal,
    /// Position of the next byte in each direction.
    position: [u64; 2],
}

impl Session {
    /// A line is whole, without its end. Says whether it belongs to the protocol.
    fn line(&mut self, direction: Direction, at: Timestamp, cx: &mut Context<'_>) -> bool {
        let Line { text, origin } = std::mem::take(&mut self.lines[direction.index()]);
        let Some(origin) = origin else { return false };
        let text = String::from_utf8_lossy(&text);
        match text.split_once(' ') {
            Some(("ASK", key)) if direction == self.client => self.ask(key, origin, cx),
            Some((word @ ("OK" | "NO"), _)) if direction != self.client => {
                self.reply(word == "OK", &origin, at, cx);
            }
            _ => return text.as_bytes() == &HELLO[..HELLO.len() - 1],
        }
        true
    }

    fn ask(&mut self, key: &str, origin: Origin, cx: &mut Context<'_>) {
        let id = ExchangeId::new(cx.stream, self.next);
        let begin = Begin {
            role: Role::of_request(self.client),
            shape: Shape::RequestReply,
            origin,
            multiplexed: false,
            other_position: self.position[self.client.reverse().index()],
        };
        cx.out.report.begin(id, &begin);
        let operation = Database { system: "toy", operation: Some("ASK"), collection: Some(key) };
        cx.out.report.described(id, Operation::Database(operation));
        self.open.push_back(self.next);
        self.next += 1;
    }

    fn reply(&mut self, good: bool, origin: &Origin, at: Timestamp, cx: &mut Context<'_>) {
        let Some(ordinal) = self.open.pop_front() else { return };
        let id = ExchangeId::new(cx.stream, ordinal);
        let status = Status { code: Some(if good { "OK" } else { "NO" }), is_error: !good };
        cx.out.report.reply(id, origin, Progress::Final, Reply::Status(status));
        end(id, Outcome::Complete, at, cx);
    }

    fn end_all(&mut self, outcome: Outcome, at: Timestamp, cx: &mut Context<'_>) {
        for ordinal in std::mem::take(&mut self.open) {
            end(ExchangeId::new(cx.stream, ordinal), outcome, at, cx);
        }
    }
}

fn end(id: ExchangeId, outcome: Outcome, at: Timestamp, cx: &mut Context<'_>) {
    let mut incomplete = Incomplete::default();
    if outcome == Outcome::Lost {
        incomplete.add(Incomplete::GAP);
    }
    let end = ExchangeEnd {
        outcome,
        request_body: None,
        response_body: None,
        request_end: None,
        missing: 0,
        incomplete,
    };
    cx.out.report.end(id, at, &end);
}

impl Protocol for Session {
    fn recognise(first: &FirstBytes<'_>) -> Recognised<Self> {
        if !first.from_start {
            return Recognised::No;
        }
        first.begin_with(HELLO, || {
            let mut lines: [Line; 2] = Default::default();
            lines[first.direction.index()].text = HELLO[..first.passed].to_vec();
            Self { client: first.direction, lines, open: VecDeque::new(), next: 0, position: [0; 2] }
        })
    }

    fn next_ordinal(&self) -> Ordinal {
        self.next
    }

    fn go_on_from(&mut self, next: Ordinal) {
        self.next = next;
    }

    fn feed(&mut self, direction: Direction, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Read {
        while cursor.length > 0 {
            let front = cursor.front();
            if front.is_empty() {
                cursor.miss();
                self.end_all(Outcome::Lost, cursor.at, cx);
                return Read::Opaque;
            }
            let line = &mut self.lines[direction.index()];
            line.origin.get_or_insert(Origin {
                at: cursor.at,
                thread: cursor.thread,
                position: cursor.position,
                last_receive: cursor.last_receive,
                task: cursor.task,
            });
            let end = memchr::memchr(b'\n', front);
            let count = end.unwrap_or(front.len());
            line.text.extend_from_slice(&front[..count]);
            let long = line.text.len() > MOST;
            cursor.parse(count + usize::from(end.is_some()));
            self.position[direction.index()] = cursor.position;
            if long || end.is_some() && !self.line(direction, cursor.at, cx) {
                self.end_all(Outcome::Lost, cursor.at, cx);
                return Read::Opaque;
            }
        }
        Read::Done
    }

    /// What was missed may have been the end of a line, or many lines.
    fn gap(&mut self, direction: Direction, _: u64, at: Timestamp, cx: &mut Context<'_>) {
        self.lines[direction.index()] = Line::default();
        self.end_all(Outcome::Lost, at, cx);
    }

    fn half_closed(&mut self, _: Direction, _: Timestamp, _: &mut Context<'_>) {}

    fn local_closed(&mut self, _: bool, at: Timestamp, cx: &mut Context<'_>) {
        self.end_all(Outcome::ConnectionClosed(None), at, cx);
    }

    fn closed(&mut self, errno: u16, at: Timestamp, cx: &mut Context<'_>) {
        self.end_all(Outcome::ConnectionClosed((errno != 0).then_some(errno)), at, cx);
    }

    fn finish(&mut self, at: Timestamp, cx: &mut Context<'_>) {
        self.end_all(Outcome::Unfinished, at, cx);
    }

    fn need(&self, _: Direction) -> Need {
        Need::ALL
    }

    fn buffered(&self) -> usize {
        self.lines.iter().map(|line| line.text.len()).sum()
    }

    fn recognition(&self) -> Recognition {
        Recognition { seen: true, mid_stream: false, understood: true }
    }

    fn give_up(&mut self, cx: &mut Context<'_>) {
        self.end_all(Outcome::Lost, Timestamp::default(), cx);
    }
}
