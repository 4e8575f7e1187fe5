//! How far a process is believed: its calls are, while none of its last 400 contradicted itself.

/// The window of the measured rule: a contradiction counts for this many calls.
const WINDOW: u64 = 400;

/// What a process has shown so far.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::trace) struct Belief {
    /// Calls sent so far.
    calls: u64,
    /// How many calls had been sent when the last contradiction was found.
    contradicted_at: Option<u64>,
}

impl Belief {
    /// Counts a call and gives its number.
    pub(super) fn count_call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    /// Start side and end side of a call differ. A contradiction is found after its call was sent, so it counts from the
    /// newest call on: calls sent before it was known and judged later are not believed either.
    pub(super) fn contradict(&mut self) {
        self.contradicted_at = Some(self.calls);
    }

    /// Whether the call with this number may be believed.
    pub(super) fn believes(&self, number: u64) -> bool {
        self.contradicted_at.is_none_or(|at| number.saturating_sub(at) >= WINDOW)
    }

    /// The same for a call that another process made.
    pub(super) fn believes_now(&self) -> bool {
        self.believes(self.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contradiction_counts_for_400_calls() {
        let mut belief = Belief::default();
        let before = belief.count_call();
        assert!(belief.believes(before));
        let found_at = belief.count_call();
        belief.contradict();
        assert!(!belief.believes(before));
        for _ in 0..WINDOW - 1 {
            let number = belief.count_call();
            assert!(!belief.believes(number));
        }
        let number = belief.count_call();
        assert_eq!(number, found_at + WINDOW);
        assert!(belief.believes(number));
    }
}
