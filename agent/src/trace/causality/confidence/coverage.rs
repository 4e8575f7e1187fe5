//! Coverage of the last responses. A response is covered if its cause is the answered request
//! itself or a call made for it.

use std::collections::VecDeque;

use crate::trace::exchange::Key;

/// Responses that must be covered before response sides are trusted.
pub(super) const RESPONSES: usize = 400;
/// Uncovered responses that may still be excused. Several threads may reach a time limit at once.
const EXCUSABLE: usize = 8;

#[derive(Debug, Clone, Default)]
pub(super) struct Coverage {
    /// Whether each of the last [`RESPONSES`] was covered.
    covered: VecDeque<bool>,
    uncovered: usize,
    /// The last [`EXCUSABLE`] uncovered responses.
    excusable: VecDeque<Uncovered>,
    /// Covered responses that were written while other requests were open, since the last uncovered
    /// one.
    covered_concurrently: u64,
}

/// An uncovered response.
#[derive(Debug, Clone, Copy)]
struct Uncovered {
    /// The request that it answered, if something may still explain it.
    request: Option<Key>,
    /// The value of [`Coverage::covered_concurrently`] when it was written.
    covered_concurrently: u64,
}

impl Coverage {
    /// A covered response was written. `concurrent`: other requests were open.
    pub(super) fn add_covered(&mut self, concurrent: bool) {
        self.covered_concurrently += u64::from(concurrent);
        self.add(true);
    }

    /// An uncovered response was written. `request` is set if something may still explain it.
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

    /// Removes the uncovered response to this request from the count, because something else
    /// explains it. Does nothing if it is too old.
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

    /// How many of the last responses are counted.
    pub(super) fn seen(&self) -> u64 {
        self.covered.len() as u64
    }

    pub(super) const fn uncovered(&self) -> u64 {
        self.uncovered as u64
    }

    /// Covered responses that were written while other requests were open, since the last uncovered
    /// one.
    pub(super) const fn covered_concurrently(&self) -> u64 {
        self.covered_concurrently
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u32) -> Key {
        Key::of_none(number)
    }

    /// Two threads reach their time limits at once. Either response may be explained first.
    #[test]
    fn any_of_the_last_uncovered_responses_may_be_excused() {
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
            assert_eq!(responses.uncovered(), 3, "not one of them");
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
    fn a_response_that_nothing_may_explain_stays() {
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
    fn excusing_removes_the_right_response() {
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
    fn responses_while_nothing_else_is_open_prove_less() {
        let mut responses = Coverage::default();
        responses.add_covered(false);
        responses.add_covered(true);
        assert_eq!((responses.seen(), responses.covered_concurrently()), (2, 1));
    }
}
