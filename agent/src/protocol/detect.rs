//! Which protocol a connection speaks, and when it is given up. Never by its port: by what its bytes are.
//!
//! A connection is looked at as long as nobody knows it:
//!
//! 1. Every protocol is asked about the first bytes of either direction, in as many pieces as they come.
//! 2. Where none recognises them, HTTP/1 is looked for. Its parser says which bytes it does not know.
//! 3. What it does not know is looked at again: another protocol may begin late.
//! 4. At a limit the connection is given up.
//!
//! HTTP/1 can also hand a connection over, by an upgrade.

use super::{
    Context, otlp,
    parser::{FirstBytes, Parser, Recognised, Recognition},
};
use crate::{event::Direction, stream::Cursor};

/// What was seen of a connection.
#[derive(Debug)]
pub(super) struct Detector {
    /// The first bytes of either direction.
    first: [First; 2],
    /// Where a message should have begun, since the last one that parsed.
    unknown_starts: u32,
    /// Transfers without any message.
    unknown_transfers: u32,
}

/// What is known of a direction's first bytes.
#[derive(Debug)]
enum First {
    /// None has come.
    Awaited,
    /// Some protocol may begin so.
    Begun(Box<Beginning>),
    /// They say nothing more.
    Over,
}

#[derive(Debug)]
struct Beginning {
    bytes: Vec<u8>,
    /// Position of the next byte.
    next: u64,
}

impl Detector {
    /// `from_start`: the first byte of that direction will be the stream's first.
    pub(super) fn new(from_start: [bool; 2]) -> Self {
        let first = from_start.map(|from_start| if from_start { First::Awaited } else { First::Over });
        Self { first, unknown_starts: 0, unknown_transfers: 0 }
    }

    /// The first byte that comes in this direction will be the stream's first.
    pub(super) fn begins(&mut self, direction: Direction) {
        self.first[direction.index()] = First::Awaited;
    }

    /// Whether the next bytes of this direction are worth a look.
    #[inline]
    pub(super) const fn looks(&self, direction: Direction) -> bool {
        !matches!(self.first[direction.index()], First::Over)
    }

    /// Whether all that has come of this direction is the beginning of what some protocol begins with.
    pub(super) const fn has_begun(&self, direction: Direction) -> bool {
        matches!(self.first[direction.index()], First::Begun(_))
    }

    /// The protocol is known, other than HTTP/1.
    pub(super) fn found(&mut self) {
        self.first = [First::Over, First::Over];
    }

    /// Bytes of this direction were missed.
    pub(super) fn missed(&mut self, direction: Direction) {
        self.first[direction.index()] = First::Over;
    }

    /// Looks at the first bytes of a direction. Returns the parser of the protocol that begins so.
    pub(super) fn look(&mut self, direction: Direction, cursor: &Cursor<'_>) -> Option<Parser> {
        let front = cursor.front();
        let first = &mut self.first[direction.index()];
        let mut beginning = match std::mem::replace(first, First::Over) {
            First::Awaited => None,
            First::Begun(beginning) if beginning.next == cursor.position => Some(beginning),
            _ => return None,
        };
        let passed = beginning.as_ref().map_or(0, |beginning| beginning.bytes.len());
        let bytes = match &mut beginning {
            Some(beginning) => {
                beginning.bytes.extend_from_slice(front);
                &beginning.bytes
            }
            None => front,
        };
        match Parser::recognise(&FirstBytes { direction, bytes, passed, from_start: true }) {
            Recognised::Yes(parser) => return Some(parser),
            Recognised::NotYet if !front.is_empty() && front.len() as u64 == cursor.length => {
                let bytes = bytes.to_vec();
                *first = First::Begun(Box::new(Beginning { bytes, next: cursor.end() }));
            }
            Recognised::NotYet | Recognised::No => {}
        }
        None
    }

    /// A message has begun that parses: the connection is worth reading.
    pub(super) const fn recognised(&mut self) {
        self.unknown_starts = 0;
        self.unknown_transfers = 0;
    }

    /// A transfer begins so, and ends in bytes that are no part of any message of HTTP/1. Returns the parser of the protocol that
    /// begins so, though late. Where HTTP/1 was `seen` a message must be due, for a body may hold anything.
    pub(super) fn look_again(first: &FirstBytes<'_>, begins: bool, seen: bool) -> Option<Parser> {
        if seen && !begins {
            return None;
        }
        match Parser::recognise(first) {
            Recognised::Yes(parser) => Some(parser),
            Recognised::NotYet | Recognised::No => None,
        }
    }

    /// A transfer ended in bytes that are no part of any message; `begins`: where one should have begun. Says whether the
    /// connection is to be given up.
    pub(super) fn unknown(&mut self, begins: bool, known: Recognition, cx: &mut Context<'_>) -> bool {
        self.unknown_transfers += 1;
        if begins {
            self.unknown_starts += 1;
            match known.seen {
                false => cx.out.counters.unknown_starts += 1,
                true => cx.out.counters.parse_failures += 1,
            }
        }
        let limits = cx.limits;
        let (starts, transfers) = match known {
            Recognition { seen: true, .. } => (limits.unknown_starts_late, u32::MAX),
            Recognition { mid_stream: true, .. } => {
                (limits.unknown_starts_late, limits.unknown_transfers_late)
            }
            _ => (limits.unknown_starts, limits.unknown_transfers),
        };
        self.unknown_starts >= starts || self.unknown_transfers >= transfers
    }
}

/// What a program sends on a connection of which no message was seen yet.
pub(super) fn look_for_traces(pid: u32, sent: &[u8], cx: &mut Context<'_>) {
    if otlp::exports_traces(sent) {
        cx.out.report.exports_traces(pid);
    }
}
