//! What the last calls have outcome, counted over a short and a long window.

use std::collections::VecDeque;

/// Calls that decide how far links are trusted.
const SHORT: usize = 400;
/// Calls that decide whether a start side is trusted before the call has ended.
const LONG: usize = 2_000;

/// What a judged call shows of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace::causality) enum LinkOutcome {
    /// Both links, on one request.
    Consistent,
    /// Both links, on different requests.
    Conflict,
    /// The same, but its thread had received in more than one message before it was sent, or what another output had used: of
    /// whom that suffices little.
    AmbiguousConflict,
    /// A start side only; the call was answered before its request was.
    RequestSideOnly,
    /// An end side only.
    ResponseSideOnly,
    /// Neither, or a start side that the answered request did not wait for.
    Unexplained,
}

/// How many calls of a window show what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) consistent: u64,
    pub(super) conflicts: u64,
    pub(super) ambiguous_conflicts: u64,
    pub(super) request_side_only: u64,
    pub(super) response_side_only: u64,
    pub(super) unexplained: u64,
}

impl Counts {
    pub(super) const fn all(&self) -> u64 {
        self.consistent
            + self.all_conflicts()
            + self.request_side_only
            + self.response_side_only
            + self.unexplained
    }

    /// Calls with two links that differ, whatever the reason.
    pub(super) const fn all_conflicts(&self) -> u64 {
        self.conflicts + self.ambiguous_conflicts
    }

    const fn of(&mut self, outcome: LinkOutcome) -> &mut u64 {
        match outcome {
            LinkOutcome::Consistent => &mut self.consistent,
            LinkOutcome::Conflict => &mut self.conflicts,
            LinkOutcome::AmbiguousConflict => &mut self.ambiguous_conflicts,
            LinkOutcome::RequestSideOnly => &mut self.request_side_only,
            LinkOutcome::ResponseSideOnly => &mut self.response_side_only,
            LinkOutcome::Unexplained => &mut self.unexplained,
        }
    }
}

/// The last calls, in the order in which they were judged.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    calls: VecDeque<LinkOutcome>,
    /// The number of the first of them.
    first: u64,
    short: Counts,
    long: Counts,
}

impl Window {
    pub(super) const fn short(&self) -> &Counts {
        &self.short
    }

    pub(super) const fn long(&self) -> &Counts {
        &self.long
    }

    /// Adds a call; gives its number.
    pub(super) fn push(&mut self, outcome: LinkOutcome) -> u64 {
        self.calls.push_back(outcome);
        *self.short.of(outcome) += 1;
        *self.long.of(outcome) += 1;
        if let Some(index) = self.calls.len().checked_sub(SHORT + 1) {
            *self.short.of(self.calls[index]) -= 1;
        }
        let number = self.first + self.calls.len() as u64 - 1;
        if self.calls.len() > LONG
            && let Some(oldest) = self.calls.pop_front()
        {
            self.first += 1;
            *self.long.of(oldest) -= 1;
        }
        number
    }

    /// Forgets all calls; numbers go on.
    pub(super) fn restart(&mut self) {
        self.first += self.calls.len() as u64;
        self.calls.clear();
        (self.short, self.long) = Default::default();
    }

    /// Says something else of a call, if it still counts.
    pub(super) fn replace(&mut self, number: u64, outcome: LinkOutcome) {
        let Some(index) = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok()) else {
            return;
        };
        let Some(before) = self.calls.get_mut(index).map(|call| std::mem::replace(call, outcome)) else {
            return;
        };
        *self.long.of(before) -= 1;
        *self.long.of(outcome) += 1;
        if index + SHORT >= self.calls.len() {
            *self.short.of(before) -= 1;
            *self.short.of(outcome) += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [LinkOutcome; 6] = [
        LinkOutcome::Consistent,
        LinkOutcome::Conflict,
        LinkOutcome::AmbiguousConflict,
        LinkOutcome::RequestSideOnly,
        LinkOutcome::ResponseSideOnly,
        LinkOutcome::Unexplained,
    ];

    fn counted<'a>(calls: impl Iterator<Item = &'a LinkOutcome>) -> Counts {
        let mut counts = Counts::default();
        calls.for_each(|outcome| *counts.of(*outcome) += 1);
        counts
    }

    proptest! {
        /// The running counts are those that counting anew gives.
        #[test]
        fn counts_are_right(steps in prop::collection::vec((0..6_usize, 0..3_u64, 0..3_000_u64), 0..3_000)) {
            let mut window = Window::default();
            let mut all = Vec::new();
            for (outcome, replaces, back) in steps {
                if replaces == 0 && !all.is_empty() {
                    let index = all.len().saturating_sub(1 + usize::try_from(back).unwrap() % all.len());
                    window.replace(index as u64, ALL[outcome]);
                    if index + LONG >= all.len() {
                        all[index] = ALL[outcome];
                    }
                } else {
                    prop_assert_eq!(window.push(ALL[outcome]), all.len() as u64);
                    all.push(ALL[outcome]);
                }
            }
            prop_assert_eq!(*window.short(), counted(all.iter().rev().take(SHORT)));
            prop_assert_eq!(*window.long(), counted(all.iter().rev().take(LONG)));
        }
    }
}
