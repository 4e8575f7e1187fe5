//! Where the streams of a connection begin: numbers that both of its ends have, however late each of
//! them was observed.

use crate::event::{Direction, Earlier, Opened};

/// The first byte of the stream in either direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    /// Its absolute sequence number.
    pub(super) sequence: [u32; 2],
    /// Its position, which may lie before the first observation. It wraps.
    position: [u64; 2],
}

impl Start {
    /// As far as TCP knows how many bytes had moved before first observation.
    #[expect(clippy::cast_possible_truncation, reason = "sequence numbers are 32 bits wide and wrap")]
    pub(super) fn of(opened: &Opened) -> Option<Self> {
        let mut start = Self { sequence: [0; 2], position: [0; 2] };
        for direction in Direction::BOTH {
            let index = direction.index();
            let moved = match opened.earlier[index] {
                Earlier::Nothing => 0,
                Earlier::Bytes(moved) => moved,
                Earlier::Unknown => return None,
            };
            let position = opened.first_position.wrapping_sub(moved);
            start.position[index] = position;
            start.sequence[index] = opened.first_sequence[index].wrapping_add(position as u32);
        }
        Some(start)
    }

    /// The sequence numbers as the other end has them.
    pub(super) const fn opposite(&self) -> [u32; 2] {
        let [out, into] = self.sequence;
        [into, out]
    }

    /// Position at the other end minus position at this end, by this end's direction.
    pub(super) fn offset_to(&self, other: &Self) -> [u64; 2] {
        Direction::BOTH.map(|direction| {
            let theirs = other.position[direction.reverse().index()];
            theirs.wrapping_sub(self.position[direction.index()])
        })
    }
}
