//! How far a process is believed: its calls are, while none of its last 400 contradicted itself.
//!
//! A process must first have had its chances to contradict itself: calls with both sides, sent while several requests were
//! open, whose sides agreed. Until then only what is unambiguous counts: a call sent while one request alone was open. (The
//! measured rule believes from the first call on; simulated programs with timers get 1 in 1,000 of their first parents
//! wrong that way. Counting calls instead of chances was not enough either: an end side may be rare.)

/// Agreements after which the absence of contradictions means something.
const PROVEN: u64 = 30;
/// The window of the measured rule: a contradiction counts for this many calls.
const WINDOW: u64 = 400;

/// What a process has shown so far.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::trace) struct Belief {
    /// Calls sent so far.
    calls: u64,
    /// Calls whose sides agreed although other requests were open.
    agreed: u64,
    /// How many calls had been sent when the last contradiction was found.
    contradicted_at: Option<u64>,
    /// Requests that were read and are not answered yet.
    open_requests: u64,
}

impl Belief {
    /// A request was read.
    pub(in crate::trace) const fn request_opened(&mut self) {
        self.open_requests += 1;
    }

    /// It was answered, or never will be.
    pub(super) const fn request_closed(&mut self) {
        self.open_requests = self.open_requests.saturating_sub(1);
    }

    /// Whether no more than one request is open: then a call has not many to belong to.
    pub(super) const fn unambiguous(&self) -> bool {
        self.open_requests <= 1
    }

    /// Whether it had its chances to contradict itself.
    pub(super) const fn proven(&self) -> bool {
        self.agreed >= PROVEN
    }

    /// Start side and end side of a call agree, and might as well have differed.
    pub(super) const fn agree(&mut self) {
        self.agreed += 1;
    }

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
