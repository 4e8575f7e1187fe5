//! What the last responses have outcome: whether each is covered, that is, triggered by the answered request itself or by a call made
//! for it.

use std::collections::VecDeque;

use crate::trace::exchange::Key;

/// Coverage that must be covered.
pub(super) const RESPONSES: usize = 400;
/// Coverage that are not covered and may be excused yet: several threads may be told of a limit at once.
const EXCUSABLE: usize = 8;

#[derive(Debug, Clone, Default)]
pub(super) struct Coverage {
    /// Whether each of the last [`RESPONSES`] was covered.
    covered: VecDeque<bool>,
    uncovered: usize,
    /// The last [`EXCUSABLE`] that were not.
    excusable: VecDeque<Uncovered>,
    /// Coverage written while other requests were open, since the last that was not covered.
    covered_concurrently: u64,
}

/// An answer that was not covered.
#[derive(Debug, Clone, Copy)]
struct Uncovered {
    /// Whose it is, if something else may explain it yet.
    request: Option<Key>,
    /// Coverage before it that were covered while other requests were open, back to the one before that was not.
    covered_concurrently: u64,
}

impl Coverage {
    /// One was written; `concurrent`: while other requests were open.
    pub(super) fn add_covered(&mut self, concurrent: bool) {
        self.covered_concurrently += u64::from(concurrent);
        self.add(true);
    }

    /// One was written that is not covered, of this request if something else may explain it yet.
    pub(super) fn add_uncovered(&mut self, request: Option<Key>) {
        let covered_concurrently = std::mem::take(&mut self.covered_concurrently);
        self.excusable.push_back(Uncovered { request, covered_concurrently });
        if self.excusable.len() > EXCUSABLE {
            self.excusable.pop_front();
        }
        self.add(false);
    }

    fn add(&mut self, covered: bool) {
        self.covered.push_back(covered);
        self.uncovered += usize::from(!covered);
        if self.covered.len() > RESPONSES {
            let oldest = self.covered.pop_front();
            self.uncovered -= usize::from(oldest == Some(false));
        }
    }

    /// Something else explains the answer of this request: it counts neither way, if it is one of the last that were not covered.
    pub(super) fn excuse(&mut self, request: Key) {
        let index = self.excusable.iter().rposition(|it| it.request == Some(request));
        let Some((index, excused)) = index.and_then(|index| Some((index, self.excusable.remove(index)?)))
        else {
            return;
        };
        let next = self.excusable.get_mut(index).map(|next| &mut next.covered_concurrently);
        *next.unwrap_or(&mut self.covered_concurrently) += excused.covered_concurrently;
        let younger = self.excusable.len() - index;
        let uncovered = self.covered.iter().enumerate().rev().filter(|(_, covered)| !**covered);
        if let Some(index) = uncovered.map(|(index, _)| index).nth(younger) {
            self.covered.remove(index);
            self.uncovered -= 1;
        }
    }

    /// How many were written, of the last ones.
    pub(super) fn seen(&self) -> u64 {
        self.covered.len() as u64
    }

    pub(super) const fn uncovered(&self) -> u64 {
        self.uncovered as u64
    }

    /// Coverage that were covered while other requests were open, since the last that was not.
    pub(super) const fn covered_concurrently(&self) -> u64 {
        self.covered_concurrently
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::ConnectionId, trace::slots::Slot};

    fn request(connection: u64) -> Key {
        Key { connection: ConnectionId(connection), ordinal: 0, slot: Slot::NONE }
    }

    /// Two threads are told of limits at once: either answer may be explained, in whatever order.
    #[test]
    fn any_of_the_last_uncovered_answers_may_be_excused() {
        for order in [[1, 2, 3], [3, 1, 2], [2, 3, 1]] {
            let mut responses = Coverage::default();
            for number in 1..=3 {
                (0..10).for_each(|_| responses.add_covered(true));
                responses.add_uncovered(Some(request(number)));
            }
            (0..10).for_each(|_| responses.add_covered(true));
            assert_eq!(
                (responses.seen(), responses.uncovered(), responses.covered_concurrently()),
                (43, 3, 10)
            );
            responses.excuse(request(7));
            assert_eq!(responses.uncovered(), 3, "nobody's");
            for number in order {
                responses.excuse(request(number));
                responses.excuse(request(number));
            }
            assert_eq!(
                (responses.seen(), responses.uncovered(), responses.covered_concurrently()),
                (40, 0, 40)
            );
        }
    }

    #[test]
    fn what_nothing_may_explain_stays() {
        let mut responses = Coverage::default();
        responses.add_covered(true);
        responses.add_uncovered(None);
        responses.add_uncovered(Some(request(1)));
        responses.excuse(request(1));
        assert_eq!((responses.uncovered(), responses.covered_concurrently()), (1, 0));
        responses.add_uncovered(Some(request(2)));
        (0..EXCUSABLE).for_each(|_| responses.add_uncovered(None));
        let before = responses.uncovered();
        responses.excuse(request(2));
        assert_eq!(responses.uncovered(), before, "too many came after it");
    }

    #[test]
    fn an_answer_is_excused_where_it_stands() {
        let mut responses = Coverage::default();
        responses.add_uncovered(Some(request(1)));
        (0..RESPONSES - 2).for_each(|_| responses.add_covered(true));
        responses.add_uncovered(Some(request(2)));
        responses.excuse(request(2));
        responses.add_covered(true);
        responses.add_covered(true);
        assert_eq!((responses.seen(), responses.uncovered()), (400, 0), "the first one is too old by now");
        responses.add_uncovered(Some(request(3)));
        (0..RESPONSES - 2).for_each(|_| responses.add_covered(true));
        responses.add_uncovered(Some(request(4)));
        responses.excuse(request(3));
        responses.add_covered(true);
        responses.add_covered(true);
        assert_eq!((responses.seen(), responses.uncovered()), (400, 1), "the last one is not");
    }

    #[test]
    fn answers_while_nothing_else_is_open_prove_less() {
        let mut responses = Coverage::default();
        responses.add_covered(false);
        responses.add_covered(true);
        assert_eq!((responses.seen(), responses.covered_concurrently()), (2, 1));
    }
}
