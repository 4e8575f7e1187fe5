//! Calls that a program gives up at a time limit of its own, and whose request side does not say
//! for certain whose they are.
//!
//! Nothing that a thread received explains the response then, because a timer caused it. But tokio
//! closes what the timed-out task drops as the very next thing that the thread does. So the request
//! that the thread answered just before is the one that the call was made for.
//!
//! The order says nothing if the thread answers several requests before it closes anything, or
//! closes several calls after one response. It also says nothing while another unexplained response
//! is pending whose request was open when the call was sent, because the call may belong to that
//! request. And first the rule must have agreed with certain request sides many times in a row.

use super::{Causality, UnlinkedReason, Verdict, lost, receives::LastAnswered};
use crate::{
    event::Timestamp,
    trace::{exchange::Key, exchanges::Exchanges, process::Processes, span::Evidence},
};

impl Causality {
    /// Notes that nothing which its thread had received explains why this request is answered now.
    pub(in crate::trace) fn unexplained(
        exchanges: &Exchanges,
        processes: &mut Processes,
        key: Key,
        at: Timestamp,
    ) {
        let Some(request) = exchanges.get(key) else { return };
        if let Some(process) = processes.get_mut(request.pid) {
            process.confidence.unexplained().add(key, request.at, at);
        }
    }

    /// A thread ends this open call right after it has answered a request, with nothing read or
    /// sent in between.
    pub(in crate::trace) fn closed_after_response(
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
        answered: LastAnswered,
    ) {
        let request = answered.request;
        let Some(call) = exchanges.get_mut(key) else { return };
        let Some(process) = processes.get_mut(call.pid) else { return };
        let (sent_at, confidence) = (call.at, &mut process.confidence);
        let Some(links) = call.links.call_mut() else { return };
        // A call that was sent before the request was read belongs to another request.
        let is_later = sent_at > answered.read_at;
        if links.outlives(request) {
            links.abandoned = true;
        }
        if is_later && links.may_serve(request) {
            confidence.excuse(request);
            confidence.unexplained().settle(request);
        } else if let (true, Some(request_side)) = (links.has_certain_request_side(), links.request_side) {
            confidence.unexplained().settle(request_side);
        }
        if !answered.pending {
            return;
        }
        let agrees = links.request_side == Some(request);
        if links.has_certain_request_side() {
            if !agrees || confidence.open_requests() > 0 {
                confidence.record_given_up(agrees);
            }
            return;
        }
        // If the request has other calls, its response may follow from one of them. If the call's
        // request side names another request, even doubtfully, it may be one of several concurrent
        // calls of that one.
        let only = match links.request_side {
            Some(_) => agrees && answered.calls == 1,
            None => answered.calls == 0,
        };
        if only
            && is_later
            && !confidence.unexplained().may_explain(sent_at)
            && confidence.trusts_given_up(agrees)
            && confidence.trusts_response_side(false)
        {
            links.closed_after = Some(request);
        }
    }

    /// The verdict on a call that got no response and was closed right after the response to this
    /// request.
    pub(super) fn judge_given_up(
        &self,
        exchanges: &mut Exchanges,
        processes: &Processes,
        key: Key,
        request: Key,
    ) -> Verdict {
        let gone = |key: Key| exchanges.get(key).is_none_or(|it| lost(processes, it));
        if gone(key) || gone(request) {
            return Verdict::Unlinked(UnlinkedReason::Loss);
        }
        let Some(call) = exchanges.get_mut(key) else { return Verdict::Unlinked(UnlinkedReason::NoCause) };
        let Some(links) = call.links.call_mut() else {
            return Verdict::Unlinked(UnlinkedReason::NoCause);
        };
        let agrees = links.request_side == Some(request);
        links.has_response_side = true;
        links.confirmed = agrees;
        let signatures = processes.get(call.pid).map(|process| process.confidence.signatures());
        let by_chance =
            signatures.is_none_or(|signatures| signatures.rarely_ends_in_response(links.signature_hash));
        match (agrees, by_chance) {
            (_, true) => Verdict::Unlinked(UnlinkedReason::ResponseSideOnly),
            (true, _) if self.rules.both_sides => Verdict::Parent(request, Evidence::BothSides),
            (false, _) if self.rules.response_side => Verdict::Parent(request, Evidence::ResponseSide),
            _ => Verdict::Unlinked(UnlinkedReason::RequestSideOnly),
        }
    }
}
