//! `--redact`: follows a connection just far enough to know which bytes are its structure. In doubt it masks everything, until a
//! transfer begins with a complete first line. What fields say about bodies is read by the parser's own [`Framing`].

use std::collections::VecDeque;

use super::{
    body::Body,
    framing::Framing,
    mask_text::{self as text, First, Method},
    name::Name,
};
use crate::{
    event::{Direction, Transfer},
    protocol::mask::hide,
};

/// A longer line, over all transfers that hold it, is masked.
const MAX_LINE: usize = 4_096;

/// Most requests that wait for their response; a client with more of them is not followed any
/// further.
const MAX_PENDING: usize = 1_024;

/// What a direction is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the first byte of a message, or in its first line.
    Start,
    Head,
    /// In a body that ends at this position.
    Body {
        end: u64,
    },
    ChunkSize,
    /// In a chunk's data that ends at this position.
    Chunk {
        end: u64,
    },
    ChunkEnd,
    Trailers,
    /// In a body that ends with the connection, in a tunnel.
    Rest,
    /// A message may begin with the next transfer.
    Unknown,
}

#[derive(Debug)]
struct Side {
    state: State,
    /// The position after the last byte that was seen.
    next: u64,
    /// No transfer was seen.
    untouched: bool,
    /// The state of the current line after earlier transfers.
    line: Vec<u8>,
    first: First,
    framing: Framing,
}

/// Both directions of a connection.
#[derive(Debug)]
pub(in crate::protocol) struct Mask {
    sides: [Side; 2],
    client: Option<Direction>,
    /// Methods of the requests that have no response yet.
    pending: VecDeque<Method>,
    /// A response may have passed unread: at the next request nothing older is waited for.
    lost: bool,
}

impl Mask {
    /// `from_start`: the first byte of that direction begins a message. `next`: the position of that byte.
    pub(super) fn new(from_start: [bool; 2], next: [u64; 2]) -> Self {
        let side = |direction: Direction| Side {
            state: if from_start[direction.index()] { State::Start } else { State::Unknown },
            next: next[direction.index()],
            untouched: true,
            line: Vec::new(),
            first: First::Neither,
            framing: Framing::default(),
        };
        Self { sides: Direction::BOTH.map(side), client: None, pending: VecDeque::new(), lost: false }
    }

    /// Whether a message was seen, so that it is known which end is the client.
    pub(in crate::protocol) const fn seen(&self) -> bool {
        self.client.is_some()
    }

    /// Whether a message is due in this direction.
    pub(in crate::protocol) fn is_at_start(&self, direction: Direction) -> bool {
        let side = &self.sides[direction.index()];
        side.state == State::Start && side.line.is_empty()
    }

    /// Masks what was captured of a transfer: its first bytes and its last.
    pub(in crate::protocol) fn transfer(
        &mut self,
        transfer: &Transfer<'_>,
        head: &mut [u8],
        tail: &mut [u8],
    ) {
        let side = self.side(transfer.direction);
        if std::mem::take(&mut side.untouched) {
            // Its bytes may have moved before the connection was first observed.
            side.next = side.next.min(transfer.position);
        }
        if transfer.position < side.next {
            // Two threads at once: these bytes do not continue anything.
            hide(head);
            return hide(tail);
        }
        let end = transfer.position.saturating_add(u64::from(transfer.length));
        self.skip_to(transfer.direction, transfer.position);
        if self.side(transfer.direction).state == State::Unknown {
            self.look_for_message(transfer.direction, head);
        }
        self.bytes(transfer.direction, head);
        self.skip_to(transfer.direction, end - tail.len() as u64);
        self.bytes(transfer.direction, tail);
        if self.side(transfer.direction).state == State::Unknown {
            self.lost = true;
            show_last_chunk(transfer, head, tail);
        }
    }

    const fn side(&mut self, direction: Direction) -> &mut Side {
        &mut self.sides[direction.index()]
    }

    /// The bytes up to `position` were not captured.
    fn skip_to(&mut self, direction: Direction, position: u64) {
        let side = self.side(direction);
        if position == side.next {
            return;
        }
        side.next = position;
        side.state = match side.state {
            State::Body { end } if position < end => return,
            State::Chunk { end } if position < end => return,
            State::Body { end } if position == end => State::Start,
            State::Chunk { end } if position == end => State::ChunkEnd,
            State::Rest => State::Rest,
            _ => State::Unknown,
        };
        side.line.clear();
    }

    fn look_for_message(&mut self, direction: Direction, head: &[u8]) {
        let line = memchr::memchr(b'\n', head).map_or(&[][..], |end| &head[..=end]);
        let first = text::first_line(&mut line.to_vec());
        if line.len() <= MAX_LINE && matches!(first, First::Request(_) | First::Response { .. }) {
            self.side(direction).state = State::Start;
        }
    }

    fn bytes(&mut self, direction: Direction, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let side = self.side(direction);
            let left = |end: u64, position: u64| usize::try_from(end - position).unwrap_or(usize::MAX);
            let count = match side.state {
                State::Body { end } | State::Chunk { end } => left(end, side.next).min(bytes.len()),
                State::Rest | State::Unknown => bytes.len(),
                _ => memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1),
            };
            let (step, rest) = bytes.split_at_mut(count);
            bytes = rest;
            match side.state {
                State::Body { .. } | State::Chunk { .. } => {
                    hide(step);
                    let position = side.next + count as u64;
                    self.skip_to(direction, position);
                }
                State::Rest | State::Unknown => {
                    hide(step);
                    side.next = side.next.saturating_add(count as u64);
                }
                _ => {
                    side.next = side.next.saturating_add(count as u64);
                    self.line(direction, step);
                }
            }
        }
    }

    /// Masks a line, or the part of one that this transfer has.
    fn line(&mut self, direction: Direction, step: &mut [u8]) {
        let side = self.side(direction);
        let before = side.line.len();
        let mut line = std::mem::take(&mut side.line);
        line.extend_from_slice(step);
        let mut masked = line.clone();
        let known = line.len() <= MAX_LINE && self.read_line(direction, &mut masked);
        if !known {
            hide(step);
            return self.side(direction).state = State::Unknown;
        }
        step.copy_from_slice(&masked[before..]);
        if !line.ends_with(b"\n") {
            self.side(direction).line = line;
        }
    }

    /// Reads a line, masks it and goes on; false when it does not belong where it is.
    fn read_line(&mut self, direction: Direction, line: &mut [u8]) -> bool {
        let complete = line.ends_with(b"\n");
        let blank = line == b"\n" || line == b"\r\n";
        let side = self.side(direction);
        match side.state {
            // Some clients put an empty line behind a body.
            State::Start if blank || line == b"\r" => true,
            State::Start => self.start(direction, line),
            State::Head | State::Trailers if line == b"\r" => true,
            State::Head if blank => self.head_complete(direction),
            State::Head => {
                let field = text::field(line);
                if let (true, Some((name, value))) = (complete, field)
                    && let Some(name) = Name::of(&name)
                {
                    side.framing.field(name, &value);
                }
                true
            }
            State::Trailers => {
                if blank {
                    side.state = State::Start;
                } else {
                    text::field(line);
                }
                true
            }
            State::ChunkSize => match text::chunk_size(line) {
                Ok(None) => true,
                Ok(Some(0)) => {
                    side.state = State::Trailers;
                    true
                }
                Ok(Some(size)) => {
                    side.state = State::Chunk { end: side.next.saturating_add(size) };
                    true
                }
                Err(()) => false,
            },
            State::ChunkEnd => {
                if blank {
                    side.state = State::ChunkSize;
                }
                blank || line == b"\r"
            }
            State::Body { .. } | State::Chunk { .. } | State::Rest | State::Unknown => false,
        }
    }

    fn start(&mut self, direction: Direction, line: &mut [u8]) -> bool {
        let first = match text::first_line(line) {
            First::Neither if line.ends_with(b"\n") => text::loose_line(line),
            first => first,
        };
        match first {
            First::More => return true,
            First::Neither => return false,
            First::Request(_) if self.client == Some(direction.reverse()) => return false,
            First::Response { .. } if self.client == Some(direction) => return false,
            First::Request(_) => self.client = Some(direction),
            First::Response { .. } => {}
        }
        let side = self.side(direction);
        (side.state, side.first, side.framing) = (State::Head, first, Framing::default());
        true
    }

    fn head_complete(&mut self, direction: Direction) -> bool {
        let side = self.side(direction);
        let (framing, position) = (side.framing, side.next);
        match side.first {
            First::Request(method) => {
                side.state = State::of_body(framing.request_body(), position);
                if std::mem::take(&mut self.lost) {
                    self.pending.clear();
                }
                self.pending.push_back(method);
                self.pending.len() <= MAX_PENDING
            }
            First::Response { status } => {
                let interim = matches!(status, 100 | 102..200);
                let method = if interim { None } else { self.pending.pop_front() };
                let tunnel = status == 101 || method == Some(Method::Connect) && matches!(status, 200..300);
                if tunnel {
                    self.sides.iter_mut().for_each(|side| side.state = State::Rest);
                    return true;
                }
                let no_body = method == Some(Method::Head) || matches!(status, 100..200 | 204 | 304);
                let body =
                    if no_body { State::Start } else { State::of_body(framing.response_body(), position) };
                self.side(direction).state = body;
                true
            }
            First::More | First::Neither => false,
        }
    }
}

impl State {
    /// After a head that ends before `position`, by the body that it announces.
    fn of_body(body: Option<Body>, position: u64) -> Self {
        match body {
            None => Self::Unknown,
            Some(Body::EMPTY) => Self::Start,
            Some(Body::Length { remaining }) => Self::Body { end: position.saturating_add(remaining) },
            Some(Body::Chunked(_)) => Self::ChunkSize,
            Some(Body::UntilClose) => Self::Rest,
        }
    }
}

/// A last chunk at the end of a transfer shows the parser the end of a body of which it lost bytes.
fn show_last_chunk(transfer: &Transfer<'_>, head: &mut [u8], tail: &mut [u8]) {
    const LAST: &[u8] = b"\r\n0\r\n\r\n";
    let whole = transfer.head.len() == transfer.length as usize;
    if transfer.tail.ends_with(LAST) {
        let start = tail.len() - LAST.len();
        tail[start..].copy_from_slice(LAST);
    } else if whole && transfer.head.ends_with(LAST) {
        let start = head.len() - LAST.len();
        head[start..].copy_from_slice(LAST);
    } else if whole && transfer.head == &LAST[2..] {
        head.copy_from_slice(&LAST[2..]);
    }
}
