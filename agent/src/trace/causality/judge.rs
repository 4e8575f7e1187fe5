//! The verdict on a call: what its links show, and whether its process is trusted in that.
//!
//! In this order:
//! 1. its links differ, and in its process they mostly agree: no parent;
//! 2. it ended in an response, all answers of its process are covered, and one thread read the request, read the response and
//!    wrote the response: the answered request;
//! 3. its links agree, and its process is trusted in that: the request on which they do;
//! 4. a start side alone of a call that was answered before its request was, and its process is trusted in that: the request
//!    of the start side;
//! 5. else none.
//!
//! A verdict falls when a call ends in an response, or when the request of its start side is answered. In a process whose response_side
//! links are trusted, a call that has none then waits for it.

use super::{
    CausalLinks, Causality, Confidence, Runner, UnlinkedReason, Verdict,
    confidence::LinkOutcome,
    lost,
    stolen::{self, Threads},
};
use crate::{
    event::Clarity,
    protocol::Origin,
    trace::{
        exchange::{Exchange, Key},
        exchanges::Exchanges,
        process::{Process, Processes},
        span::{Evidence, SpanKind},
    },
};

/// The request in whose response a call ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResponseSide {
    request: Key,
    threads: Threads,
}

impl Causality {
    /// The verdict on a call whose response triggered the response of `request`.
    pub(super) fn judge_with_response_side(
        &mut self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
        request: Key,
        threads: Threads,
    ) -> Verdict {
        stolen::record(exchanges, processes, key, request, threads);
        self.compare(exchanges, processes, key, request);
        let Some(call) = exchanges.get(key) else { return Verdict::Unlinked(UnlinkedReason::NoCause) };
        let outcome = match call.links.request_side {
            Some(request_side) if request_side == request => LinkOutcome::Consistent,
            Some(_) => conflict_of(&call.links),
            None => LinkOutcome::ResponseSideOnly,
        };
        self.judge(exchanges, processes, key, outcome, Some(ResponseSide { request, threads }))
    }

    /// The verdict on a call whose start side's request is answered now (`None`: never will be). `None`: it was judged before,
    /// or its response_side side is waited for.
    pub(in crate::trace) fn judge_with_request(
        &self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
        response: Option<&Origin>,
    ) -> Option<Verdict> {
        let call = exchanges.get(key)?;
        let links = &call.links;
        if links.outcome_number.is_some() || links.has_response_side {
            return None;
        }
        let over = links.answered || links.has_failed();
        if (links.outlives || links.may_be_given_up) && !over {
            return None;
        }
        let Some(response) = response else { return Some(Verdict::Unlinked(UnlinkedReason::Unanswered)) };
        let outcome = match (links.has_conflict, links.confirmed, over) {
            (true, _, _) => conflict_of(links),
            (false, true, _) => LinkOutcome::Consistent,
            (false, false, true) => LinkOutcome::RequestSideOnly,
            (false, false, false) => LinkOutcome::Unexplained,
        };
        if self.awaits_response_side(processes, call, outcome) {
            let superseded = superseded(exchanges, key, response);
            if let Some(call) = exchanges.get_mut(key) {
                call.links.request_side_only = outcome == LinkOutcome::RequestSideOnly;
            }
            if outcome == LinkOutcome::RequestSideOnly && superseded {
                // It counts at once, or confidence would come as much later as such calls wait; an response_side side corrects it.
                record(exchanges, processes, key, outcome);
            }
            return None;
        }
        Some(self.judge(exchanges, processes, key, outcome, None))
    }

    /// The verdict on a call whose links agreed before its process was trusted in that: its parent, if it is by now.
    pub(in crate::trace) fn prove(
        &self,
        exchanges: &Exchanges,
        processes: &Processes,
        key: Key,
    ) -> Option<Verdict> {
        let call = exchanges.get(key)?;
        let request_side =
            call.links.request_side.filter(|_| call.links.confirmed && !call.links.has_conflict)?;
        let request = exchanges.get(request_side)?;
        let process =
            processes.get(call.pid).filter(|_| !lost(processes, call) && !lost(processes, request))?;
        let both = process.confidence.is_consistent()
            && processes.get(request.pid).is_some_and(|process| process.confidence.is_consistent());
        let trusted = (call.pid == request.pid || both) && trusts_agreement(&process.confidence, call);
        trusted.then_some(Verdict::Parent(request_side, Evidence::TwoSided))
    }

    /// No response_side side was found for a call for so long that its span goes without: that is what it shows.
    pub(in crate::trace) fn give_up(&self, exchanges: &mut Exchanges, processes: &mut Processes, key: Key) {
        let Some(call) = exchanges.get(key).filter(|call| call.kind == SpanKind::Client) else { return };
        let open = |request: Key| exchanges.get(request).is_some_and(|request| !request.links.answered);
        let comes_later = call.links.request_side.is_some_and(open);
        if call.links.outcome_number.is_none() && !call.links.has_response_side && !comes_later {
            let outcome = if call.links.request_side_only {
                LinkOutcome::RequestSideOnly
            } else {
                LinkOutcome::Unexplained
            };
            record(exchanges, processes, key, outcome);
        }
    }

    /// Whether an response_side side that may come later would say more.
    pub(super) fn awaits_response_side(
        &self,
        processes: &Processes,
        call: &Exchange,
        outcome: LinkOutcome,
    ) -> bool {
        if call.links.has_failed() {
            // Whoever saw it response_side had seen so before this request was answered.
            return false;
        }
        let Some(process) = processes.get(call.pid) else { return false };
        let alone = match outcome {
            LinkOutcome::RequestSideOnly => !self.trusts_request_side(&process.confidence, call),
            LinkOutcome::Unexplained => true,
            LinkOutcome::Consistent
            | LinkOutcome::Conflict
            | LinkOutcome::AmbiguousConflict
            | LinkOutcome::ResponseSideOnly => false,
        };
        alone && self.rules.end && process.confidence.awaits_response_side()
    }

    pub(super) fn judge(
        &self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
        outcome: LinkOutcome,
        response_side: Option<ResponseSide>,
    ) -> Verdict {
        let Some(call) = exchanges.get(key) else { return Verdict::Unlinked(UnlinkedReason::NoCause) };
        let request_lost = |request: Key| exchanges.get(request).is_none_or(|it| lost(processes, it));
        let named = response_side.map(|response_side| response_side.request).or(call.links.request_side);
        if call.links.cause_lost || lost(processes, call) || named.is_some_and(request_lost) {
            return Verdict::Unlinked(UnlinkedReason::Loss);
        }
        // A request without an response proves nothing of the calls for it.
        if !named.and_then(|request| exchanges.get(request)).is_some_and(|request| request.links.unanswered) {
            record(exchanges, processes, key, outcome);
        }
        let Some(call) = exchanges.get(key) else { return Verdict::Unlinked(UnlinkedReason::NoCause) };
        let Some(process) = processes.get(call.pid) else { return Verdict::Unlinked(UnlinkedReason::Loss) };
        let confidence = &process.confidence;
        let stolen = response_side.is_some_and(|response_side| {
            stolen::trusts(exchanges, confidence, key, response_side.request, response_side.threads)
        });
        if let Some(response_side) = response_side
            && !(matches!(outcome, LinkOutcome::Conflict | LinkOutcome::AmbiguousConflict) && confidence.agrees_mostly())
            && !call.links.response_side_is_ambiguous
            // Of several threads one closes what another has given up, and answers something else next.
            && (outcome == LinkOutcome::Consistent || !call.links.given_up || confidence.one_reads())
            && !confidence.signatures().rarely_ends_in_response(call.links.signature_hash)
            && self.trusts_response_side(
                confidence,
                response_side.threads == Threads::One || self.rules.across_threads || stolen,
                call.links.only_open_request && outcome == LinkOutcome::Consistent && signature_allows(confidence, call),
            )
        {
            let evidence =
                if outcome == LinkOutcome::Consistent { Evidence::TwoSided } else { Evidence::End };
            if evidence == Evidence::End || self.rules.two_sided {
                return Verdict::Parent(response_side.request, evidence);
            }
        }
        let Some(request_side) = call.links.request_side else {
            return Verdict::Unlinked(if response_side.is_some() {
                UnlinkedReason::ResponseSideOnly
            } else {
                UnlinkedReason::NoCause
            });
        };
        // Where a child process makes the call of its parent's request, both are judged.
        let request = exchanges.get(request_side).and_then(|request| processes.get(request.pid));
        let consistent = request.is_some_and(|process| process.confidence.is_consistent());
        let both = confidence.is_consistent() && consistent;
        let own = exchanges.get(request_side).is_some_and(|request| request.pid == call.pid);
        match outcome {
            LinkOutcome::Consistent if !self.rules.two_sided => {
                Verdict::Unlinked(UnlinkedReason::RequestSideOnly)
            }
            LinkOutcome::Consistent if (own || both) && trusts_agreement(confidence, call) => {
                Verdict::Parent(request_side, Evidence::TwoSided)
            }
            LinkOutcome::Consistent if both => Verdict::Unlinked(UnlinkedReason::Unproven),
            LinkOutcome::RequestSideOnly if (own || both) && self.trusts_request_side(confidence, call) => {
                Verdict::Parent(request_side, Evidence::Start)
            }
            LinkOutcome::RequestSideOnly | LinkOutcome::Unexplained if both => {
                Verdict::Unlinked(UnlinkedReason::RequestSideOnly)
            }
            _ => Verdict::Unlinked(UnlinkedReason::Conflict),
        }
    }

    fn trusts_request_side(&self, confidence: &Confidence, call: &Exchange) -> bool {
        let links = &call.links;
        self.rules.start
            && links.receive_order == confidence.receive_order()
            && links.names_one_request()
            && confidence.trusts_request_side(links.only_open_request, links.signature())
    }

    fn trusts_response_side(
        &self,
        confidence: &Confidence,
        by_these_threads: bool,
        unambiguous: bool,
    ) -> bool {
        self.rules.end && by_these_threads && confidence.trusts_response_side(unambiguous)
    }
}

/// Whether the thread that read a call's response has received in something else by the time it writes this response, so that the
/// response will hardly be what another response waited for.
fn superseded(exchanges: &Exchanges, call: Key, response: &Origin) -> bool {
    let Some(receive) = response.last_receive else { return false };
    let last =
        exchanges.connection(receive.connection).and_then(|it| exchanges.by_received(it, receive.position));
    let is_call =
        receive.connection == call.connection && last.is_some_and(|it| it.key.ordinal == call.ordinal);
    !is_call && exchanges.get(call).is_some_and(|call| call.links.reader == Runner::of_origin(response))
}

/// What a call shows whose links differ.
pub(super) fn conflict_of(links: &CausalLinks) -> LinkOutcome {
    if links.ambiguity == Some(Clarity::Clear) {
        LinkOutcome::Conflict
    } else {
        LinkOutcome::AmbiguousConflict
    }
}

/// Whether the kind of a call says that agreement is no chance. Where its response_side side is weak the kind must be known to agree. Where
/// another call with the same cause went before, nothing may speak against it of late and not much before; nor much where only
/// a call that continues it has ended (one that is sent after that of a timer continues it).
fn signature_allows(confidence: &Confidence, call: &Exchange) -> bool {
    let (links, signatures) = (&call.links, confidence.signatures());
    if links.response_side_is_ambiguous {
        return signatures.is_consistent(links.signature_hash);
    }
    let hash = links.signature_hash;
    let weaker = links.shares_cause || !links.has_response_side;
    let doubted =
        links.shares_cause && signatures.has_conflicts(hash) || weaker && signatures.often_conflicts(hash);
    !doubted && !signatures.is_unreliable(hash) && !signatures.rarely_ends_in_response(hash)
}

/// An agreement counts where neither the kind of call nor the process makes it a chance.
fn trusts_agreement(confidence: &Confidence, call: &Exchange) -> bool {
    let links = &call.links;
    links.receive_order == confidence.receive_order()
        && signature_allows(confidence, call)
        && confidence.trusts_agreement(
            links.only_open_request,
            links.ambiguity == Some(Clarity::Clear) && !links.response_side_is_ambiguous,
        )
}

/// Notes what a call shows of its process: nothing if it was not answered, or not yet.
pub(super) fn record(exchanges: &mut Exchanges, processes: &mut Processes, key: Key, outcome: LinkOutcome) {
    let Some(call) = exchanges.get_mut(key) else { return };
    if call.links.handoff || call.links.cause_lost || lost(processes, call) {
        return;
    }
    // Its start side was found in an order that has turned out to be another.
    let same = |process: &Process| process.confidence.receive_order() == call.links.receive_order;
    if !processes.get(call.pid).is_some_and(same) {
        return;
    }
    if !call.links.answered {
        call.links.pending_outcome = (!call.links.has_failed()).then_some(outcome);
        return;
    }
    call.links.pending_outcome = None;
    let Some(process) = processes.get_mut(call.pid) else { return };
    match call.links.outcome_number {
        Some(number) => process.confidence.correct(number, outcome),
        None => call.links.outcome_number = Some(process.confidence.record(outcome)),
    }
    process.confidence.record_of_signature(
        call.links.signature(),
        call.links.signature_outcome.replace(outcome),
        outcome,
    );
}
