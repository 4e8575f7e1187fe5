//! What a connection asks of the parser that reads its bytes. The connection puts transfers into order, waits for what is late,
//! says what will never come and keeps the ledger; the parser says what the bytes mean and which of them it needs.

use super::{Counters, Cursor};
use crate::event::{Direction, Feedback, StreamId, Timestamp};

/// Reads both directions of one stream, in the order of positions.
pub trait Parser {
    /// Takes what the parser reports.
    type Output: Sink + ?Sized;
    /// The bounds of parser and connection.
    type Limits: Copy + Into<super::Limits>;

    /// A parser that has read nothing. `from_start`: the first byte of that direction will be the stream's first.
    fn new(from_start: [bool; 2]) -> Self;

    /// Reads a transfer, or the rest of one after [`Fed::Wait`].
    fn feed(&mut self, direction: Direction, cursor: &mut Cursor<'_>, cx: &mut ContextOf<'_, Self>) -> Fed;

    /// `length` bytes at the next position will never come; `at` is when that was seen.
    fn gap(&mut self, direction: Direction, length: u64, at: Timestamp, cx: &mut ContextOf<'_, Self>);

    /// No bytes follow in `direction`.
    fn half_closed(&mut self, direction: Direction, at: Timestamp, cx: &mut ContextOf<'_, Self>);

    /// The program has closed the connection; `peer_finished`: the peer had sent its last byte before.
    fn local_closed(&mut self, peer_finished: bool, at: Timestamp, cx: &mut ContextOf<'_, Self>);

    /// The connection is gone, with `errno` when by an error, else 0.
    fn closed(&mut self, errno: u16, at: Timestamp, cx: &mut ContextOf<'_, Self>);

    /// Nothing more will be read, whatever still moves: open exchanges end as unfinished.
    fn finish(&mut self, at: Timestamp, cx: &mut ContextOf<'_, Self>);

    /// Whether [`Parser::begins`] must be called before the first transfer of this direction is read.
    fn awaits_beginning(&self, direction: Direction) -> bool;

    /// The first transfer of a direction is there; `from_start`: with it both directions are seen from their first bytes.
    fn begins(&mut self, direction: Direction, from_start: bool);

    /// What is needed of this direction from the next byte on.
    fn need(&self, direction: Direction) -> Need;

    /// Bytes that the parser keeps.
    fn buffered(&self) -> usize;

    /// Messages were read, and others may have passed before the first of them.
    fn joined_mid_stream(&self) -> bool;
}

/// Where a parser reports to.
pub trait Sink {
    /// Requests to the source of events.
    fn feedback(&mut self) -> &mut Vec<Feedback>;
    /// Counts of the connections.
    fn stream_counters(&mut self) -> &mut Counters;
}

/// The [`Context`] of a parser.
pub type ContextOf<'a, P> = Context<'a, <P as Parser>::Output, <P as Parser>::Limits>;

/// What every step of a parser may use.
#[derive(Debug)]
pub struct Context<'a, O: ?Sized, L> {
    pub stream: StreamId,
    pub limits: &'a L,
    pub out: &'a mut O,
    /// The transfer may be held until the other direction has moved on. Without this a parser always goes on.
    pub may_wait: bool,
    /// Time of the first transfer of the other direction that is held.
    pub other_held_at: Option<Timestamp>,
    /// Position of the next byte that the application has not moved in the other direction.
    pub other_position: u64,
}

impl<O: ?Sized, L> Context<'_, O, L> {
    /// Something of the other direction that moved before this transfer is still to be read, and may be waited for.
    pub(crate) fn older_is_held(&self, cursor: &Cursor<'_>) -> bool {
        self.may_wait && self.other_held_at.is_some_and(|held_at| held_at <= cursor.at)
    }
}

/// What became of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// It was read to its end.
    Done,
    /// Its rest must be offered again when the other direction has moved on.
    Wait,
    /// Nothing more will be read of this connection.
    Opaque,
}

/// What is needed of a direction from its next byte on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// So many bytes need not be seen; `u64::MAX`: none until the direction ends.
    pub skippable: u64,
    /// Bytes of the same kind that have passed before them.
    pub skipped: u64,
    /// Framing lies between the data: transfers should be captured whole.
    pub whole: bool,
}

impl Need {
    /// Every byte may matter.
    pub(crate) const ALL: Self = Self { skippable: 0, skipped: 0, whole: false };
}
