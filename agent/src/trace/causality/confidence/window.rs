//! The outcomes of the last calls, counted over a short and a long window.

use std::collections::VecDeque;

/// Calls that decide how far the two sides are trusted.
const SHORT: usize = 400;
/// Calls that decide whether the request side is trusted before the call has ended.
const LONG: usize = 2_000;

/// What request side and response side of a judged call show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace::causality) enum LinkOutcome {
    /// Both sides name the same request.
    Consistent,
    /// The sides name different requests.
    Conflict,
    /// The sides name different requests, but the request side is ambiguous: the thread had
    /// received more than one message before it sent the call, or something else had used the
    /// receive.
    AmbiguousConflict,
    /// A request side alone. The call was answered before that request was.
    RequestSideOnly,
    /// A response side alone.
    ResponseSideOnly,
    /// No side, or a request side whose request was answered without waiting for the call.
    Unexplained,
}

/// How many calls of a window have which outcome.
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

    /// Calls whose sides conflict, ambiguous or not.
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

/// The outcomes of the last calls, in the order in which they were judged.
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

    /// Adds an outcome and returns its number.
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

    /// Forgets all outcomes. Numbers continue.
    pub(super) fn restart(&mut self) {
        self.first += self.calls.len() as u64;
        self.calls.clear();
        (self.short, self.long) = Default::default();
    }

    /// Replaces an outcome that is still in the window.
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
        /// The running counts equal a recount of the window.
        #[test]
        fn running_counts_equal_a_recount(
            steps in prop::collection::vec((0..6_usize, 0..3_u64, 0..3_000_u64), 0..3_000),
        ) {
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
