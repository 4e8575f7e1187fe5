//! Responses that nothing explains which their thread had received. A call that is given up may
//! belong to the request of any of them.

use std::collections::VecDeque;

use crate::{event::Timestamp, trace::exchange::Key};

/// Responses that are remembered. What a time limit drops is closed soon after its response.
const REMEMBERED: usize = 64;

#[derive(Debug, Clone, Default)]
pub(in crate::trace::causality) struct Unexplained {
    responses: VecDeque<Response>,
}

#[derive(Debug, Clone, Copy)]
struct Response {
    request: Key,
    read_at: Timestamp,
    answered_at: Timestamp,
}

impl Unexplained {
    pub(in crate::trace::causality) fn add(
        &mut self,
        request: Key,
        read_at: Timestamp,
        answered_at: Timestamp,
    ) {
        if self.responses.len() >= REMEMBERED {
            self.responses.pop_front();
        }
        self.responses.push_back(Response { request, read_at, answered_at });
    }

    /// A call that was made for this request has ended.
    pub(in crate::trace::causality) fn settle(&mut self, request: Key) {
        if let Some(index) = self.responses.iter().rposition(|response| response.request == request) {
            self.responses.remove(index);
        }
    }

    /// Whether a call that was sent at this time may belong to one of these requests, because the
    /// request was open then.
    pub(in crate::trace::causality) fn may_explain(&self, sent_at: Timestamp) -> bool {
        self.responses.iter().any(|response| response.read_at < sent_at && sent_at < response.answered_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_responses_are_remembered_until_they_are_settled() {
        let mut unexplained = Unexplained::default();
        for number in 0..65 {
            let read_at = 10 * u64::from(number);
            unexplained.add(Key::of_none(number), Timestamp(read_at), Timestamp(read_at + 5));
        }
        assert!(!unexplained.may_explain(Timestamp(2)), "the first is forgotten");
        assert!(unexplained.may_explain(Timestamp(12)) && unexplained.may_explain(Timestamp(642)));
        assert!(!unexplained.may_explain(Timestamp(17)), "none was open");
        unexplained.settle(Key::of_none(1));
        unexplained.settle(Key::of_none(99));
        assert!(!unexplained.may_explain(Timestamp(12)) && unexplained.may_explain(Timestamp(22)));
    }
}
