//! Whose bytes are whose on a multiplexed connection: the received bytes of the last messages, each
//! with its exchange. Where messages are interleaved, the bytes after a message's first one may
//! belong to any other exchange.

use std::{collections::VecDeque, ops::Range};

use smallvec::SmallVec;

use crate::protocol::Ordinal;

/// Parts that are remembered of a connection. What is older is nobody's that is known, so that it
/// causes nothing.
const REMEMBERED: usize = 256;

/// Received parts in the order of their positions.
#[derive(Debug, Default)]
pub(super) struct Parts(VecDeque<Part>);

#[derive(Debug)]
struct Part {
    range: Range<u64>,
    exchange: Option<Ordinal>,
}

/// Whose a byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// It was not parsed yet, or is no longer remembered.
    Unknown,
    /// No exchange's.
    Nobody,
    Exchange(Ordinal),
}

impl From<Option<Ordinal>> for Owner {
    fn from(exchange: Option<Ordinal>) -> Self {
        exchange.map_or(Self::Nobody, Self::Exchange)
    }
}

impl Parts {
    /// Notes whose these bytes are. They come after all that were noted before. Returns whether the
    /// oldest part made room.
    pub(super) fn add(&mut self, range: Range<u64>, exchange: Option<Ordinal>) -> bool {
        if let Some(last) = self.0.back_mut()
            && last.exchange == exchange
            && last.range.end == range.start
        {
            last.range.end = range.end;
            return false;
        }
        let full = self.0.len() >= REMEMBERED;
        if full {
            self.0.pop_front();
        }
        self.0.push_back(Part { range, exchange });
        full
    }

    /// Whose the byte at this position is.
    pub(super) fn at(&self, position: u64) -> Owner {
        let index = self.0.partition_point(|part| part.range.end <= position);
        match self.0.get(index) {
            Some(part) if part.range.contains(&position) => part.exchange.into(),
            _ => Owner::Unknown,
        }
    }

    /// Whose the bytes from `first` to `last` are, each owner but [`Owner::Nobody`] once.
    pub(super) fn owners(&self, first: u64, last: u64) -> SmallVec<[Owner; 4]> {
        let mut owners = SmallVec::new();
        let mut note = |owner| {
            if owner != Owner::Nobody && !owners.contains(&owner) {
                owners.push(owner);
            }
        };
        let mut next = first;
        let index = self.0.partition_point(|part| part.range.end <= first);
        for part in self.0.range(index..).take_while(|part| part.range.start <= last) {
            if part.range.start > next {
                note(Owner::Unknown);
            }
            note(part.exchange.into());
            next = part.range.end;
        }
        if next <= last {
            note(Owner::Unknown);
        }
        owners
    }
}

#[cfg(test)]
mod tests {
    use super::{Owner::*, *};

    #[test]
    fn a_byte_belongs_to_the_exchange_of_its_part() {
        let mut parts = Parts::default();
        for (range, exchange) in
            [(10..20, Some(0)), (20..25, Some(1)), (25..30, None), (30..40, Some(0)), (45..50, Some(2))]
        {
            parts.add(range, exchange);
        }
        let at = |position| parts.at(position);
        assert_eq!([9, 10, 19, 20, 25].map(at), [Unknown, Exchange(0), Exchange(0), Exchange(1), Nobody]);
        assert_eq!([39, 40, 45, 50].map(at), [Exchange(0), Unknown, Exchange(2), Unknown]);
        let owners = |first, last| parts.owners(first, last).into_vec();
        assert_eq!(owners(10, 19), [Exchange(0)]);
        assert_eq!(owners(19, 39), [Exchange(0), Exchange(1)]);
        assert_eq!(owners(25, 29), []);
        assert_eq!(owners(39, 45), [Exchange(0), Unknown, Exchange(2)]);
        assert_eq!(owners(48, 50), [Exchange(2), Unknown]);
        assert_eq!(owners(60, 70), [Unknown]);
    }

    #[test]
    fn parts_of_one_exchange_in_a_row_are_one() {
        let mut parts = Parts::default();
        assert!((0..1_000).all(|start| !parts.add(start..start + 1, Some(7))));
        assert_eq!((parts.0.len(), parts.at(0)), (1, Exchange(7)));
        let evicted =
            (0..1_000).filter(|number| parts.add(1_000 + number..1_001 + number, Some(*number))).count();
        assert_eq!(evicted, 1_001 - REMEMBERED);
        assert_eq!((parts.0.len(), parts.at(1_000), parts.at(1_999)), (REMEMBERED, Unknown, Exchange(999)));
    }
}
