//! Calls that are still open when the request of their request side is answered. Some belong to
//! another request, for some nobody waits, and some are given up. A call that is given up shows its
//! request by the thread that closes it.

use super::{
    Causality, Verdict, ambiguity::InputAmbiguity, confidence::LinkOutcome, response_side::record_coverage,
};
use crate::trace::{
    exchange::{Key, Keys},
    exchanges::Exchanges,
    process::Processes,
};

impl Causality {
    /// The verdict on a call that has ended and was open when its request was answered. It was
    /// given up if it got no response and was closed right after that request's response, by the
    /// same thread. Then both sides are known, only in another order.
    pub(in crate::trace) fn judge_outlived(
        &self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
    ) -> Option<Verdict> {
        let call = exchanges.get_mut(key)?;
        let (pid, answered) = (call.pid, call.links.answered);
        let links = call.links.call_mut()?;
        let waited = std::mem::take(&mut links.outlives) | std::mem::take(&mut links.may_be_given_up);
        let closed_after = links.closed_after.take();
        if !waited && closed_after.is_none() {
            return None;
        }
        if links.leaves_response_uncovered && answered {
            record_coverage(processes, pid, false);
        }
        if links.outcome_number.is_some() || links.has_response_side {
            return None;
        }
        if links.abandoned && links.has_failed() {
            (links.has_response_side, links.confirmed) = (true, true);
        }
        if let (Some(request), true) = (closed_after, links.has_failed()) {
            return Some(self.judge_given_up(exchanges, processes, key, request));
        }
        let outcome = match (links.has_conflict, links.confirmed) {
            (true, _) => links.conflict(),
            (false, true) => LinkOutcome::Consistent,
            (false, false) => LinkOutcome::Unexplained,
        };
        if exchanges.get(key).is_some_and(|call| self.awaits_response_side(processes, call, outcome)) {
            return None;
        }
        Some(self.judge(exchanges, processes, key, outcome, None))
    }
}

/// A request is answered. Its open calls wait if their request side is certain: they were sent
/// first after the request was read, and the thread had received nothing else. Whoever closes them
/// may show whose they are. `serve_own`: the first call of a connection waits too. `all`: so do all
/// other calls.
pub(super) fn wait_for_closers(exchanges: &mut Exchanges, request: Key, serve_own: bool, all: bool) {
    let Some(live) = exchanges.get(request).and_then(|request| request.live.as_deref()) else { return };
    if live.calls.is_empty() {
        return;
    }
    let is_open = |call: &Key| exchanges.get(*call).is_some_and(|call| call.open() && !call.links.answered);
    let open: Keys = live.calls.iter().copied().filter(is_open).collect();
    for call in open {
        if let Some(links) = exchanges.get_mut(call).and_then(|call| call.links.call_mut()) {
            let first = links.ambiguity == Some(InputAmbiguity::Single)
                && !links.shares_cause
                && links.chain_length == 0;
            links.outlives = first && (serve_own || links.connected_for.is_none());
            links.may_be_given_up = all;
        }
    }
}

/// A request was answered, and its last receive was neither that request nor a response to one of
/// its calls.
///
/// This counts against response sides, with two exceptions. If the request's last call fails,
/// something else such as a timer caused the response. And if the thread gives up a call right
/// after the response, that explains it ([`super::Confidence::excuse`]).
pub(super) fn record_uncovered(exchanges: &mut Exchanges, processes: &mut Processes, request: Key) {
    let Some(pid) = exchanges.get(request).map(|request| request.pid) else { return };
    let live = exchanges.get(request).and_then(|request| request.live.as_deref());
    let last = live.and_then(|live| live.calls.last().copied()).and_then(|call| exchanges.get_mut(call));
    match last.and_then(|call| call.links.call_mut()) {
        Some(links) if links.has_failed() => {}
        Some(links) if links.outlives => links.leaves_response_uncovered = true,
        _ => {
            if let Some(process) = processes.get_mut(pid) {
                process.confidence.record_uncovered(request);
            }
        }
    }
}
