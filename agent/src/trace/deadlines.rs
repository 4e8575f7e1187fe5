//! A queue of items that are looked at once event time has reached a moment.
//!
//! Every deadline lies at the same distance from "now", and "now" never goes back. So the queue is
//! ordered by itself and needs no heap. An entry that is settled earlier stays until its moment, or
//! until [`Deadlines::compact`] finds that the queue has doubled.

use std::collections::VecDeque;

use crate::event::Timestamp;

/// A shorter queue is never compacted.
const COMPACT_FROM: usize = 4_096;

#[derive(Debug)]
pub(super) struct Deadlines<T> {
    queue: VecDeque<(Timestamp, T)>,
    /// The moment of the first item, or [`NEVER`]. It is compared with the time of every event.
    next: Timestamp,
    compact_at: usize,
}

const NEVER: Timestamp = Timestamp(u64::MAX);

impl<T: Copy> Deadlines<T> {
    pub(super) const fn new() -> Self {
        Self { queue: VecDeque::new(), next: NEVER, compact_at: COMPACT_FROM }
    }

    pub(super) fn push(&mut self, due: Timestamp, item: T) {
        if self.queue.is_empty() {
            self.next = due;
        }
        self.queue.push_back((due, item));
    }

    /// The first item, if its moment has come.
    #[inline]
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<T> {
        if self.next > now { None } else { self.pop() }
    }

    /// The first item, due or not.
    pub(super) fn pop(&mut self) -> Option<T> {
        let item = self.queue.pop_front().map(|(_, item)| item);
        self.find_next();
        item
    }

    fn find_next(&mut self) {
        self.next = self.queue.front().map_or(NEVER, |(due, _)| *due);
    }

    /// The moment of the first item that is still open.
    pub(super) fn first(&self, mut still_open: impl FnMut(&T) -> bool) -> Option<Timestamp> {
        self.queue.iter().find(|(_, item)| still_open(item)).map(|(at, _)| *at)
    }

    /// Drops items from the front until one is still open.
    pub(super) fn drop_front(&mut self, mut still_open: impl FnMut(&T) -> bool) {
        if self.queue.front().is_none_or(|(_, item)| still_open(item)) {
            return;
        }
        self.queue.pop_front();
        while self.queue.front().is_some_and(|(_, item)| !still_open(item)) {
            self.queue.pop_front();
        }
        self.find_next();
    }

    /// Drops all items that are not open any more, if the queue has doubled since the last time.
    pub(super) fn compact(&mut self, mut still_open: impl FnMut(&T) -> bool) {
        if self.queue.len() < self.compact_at {
            return;
        }
        self.queue.retain(|(_, item)| still_open(item));
        self.find_next();
        self.compact_at = (self.queue.len() * 2).max(COMPACT_FROM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_due_at_their_moment() {
        let mut deadlines = Deadlines::new();
        deadlines.push(Timestamp(10), 'a');
        deadlines.push(Timestamp(20), 'b');
        assert_eq!(deadlines.pop_due(Timestamp(9)), None);
        assert_eq!(deadlines.pop_due(Timestamp(10)), Some('a'));
        assert_eq!(deadlines.pop_due(Timestamp(19)), None);
        assert_eq!(deadlines.pop(), Some('b'));
        assert_eq!(deadlines.pop(), None);
        assert_eq!(deadlines.pop_due(Timestamp(99)), None);
        deadlines.push(Timestamp(30), 'c');
        assert_eq!(deadlines.pop_due(Timestamp(30)), Some('c'));
    }

    #[test]
    fn dropped_items_are_not_due() {
        let is_open = |item: &char| *item == 'b';
        for from_front in [true, false] {
            let mut deadlines = Deadlines { compact_at: 0, ..Deadlines::new() };
            deadlines.push(Timestamp(10), 'a');
            deadlines.push(Timestamp(20), 'b');
            if from_front {
                deadlines.drop_front(is_open);
            } else {
                deadlines.compact(is_open);
            }
            assert_eq!(deadlines.pop_due(Timestamp(10)), None);
            assert_eq!(deadlines.pop_due(Timestamp(20)), Some('b'));
        }
    }

    #[test]
    fn compacts_only_when_it_has_grown() {
        let mut deadlines = Deadlines::new();
        for number in 0..COMPACT_FROM - 1 {
            deadlines.push(Timestamp(1), number);
            deadlines.compact(|_| false);
        }
        assert_eq!(deadlines.queue.len(), COMPACT_FROM - 1);
        deadlines.push(Timestamp(1), COMPACT_FROM);
        deadlines.compact(|number| *number == COMPACT_FROM);
        assert_eq!(deadlines.pop(), Some(COMPACT_FROM));
        assert_eq!(deadlines.pop(), None);
    }
}
