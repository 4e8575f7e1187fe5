//! The verdict on a call: its outcome, and whether its process is trusted enough to draw a parent
//! from it.
//!
//! The rules are tried in this order:
//!
//! 1. Its sides conflict, and sides mostly agree in its process: no parent.
//! 2. It has a response side, all responses of its process are covered, and one thread read the
//!    request, read the response and wrote the response to the request: the parent is the request
//!    that the response side names.
//! 3. Its sides agree, and its process is trusted in that: the parent is the request that both
//!    name.
//! 4. It has a request side alone, it was answered before that request was, and its process is
//!    trusted in that: the parent is the request that the request side names.
//! 5. Otherwise it has no parent.
//!
//! A verdict is made when a call gets its response side, or when the request of its request side is
//! answered. Where response sides are trusted, a call that has none by then waits for one.

use super::{
    Causality, Confidence, Runner, UnlinkedReason, Verdict,
    ambiguity::InputAmbiguity,
    call_links::CallLinks,
    confidence::LinkOutcome,
    lost,
    stolen::{self, Threads},
};
use crate::{
    protocol::Origin,
    trace::{
        exchange::{Exchange, Key},
        exchanges::Exchanges,
        process::{Process, Processes},
        span::Evidence,
    },
};

/// The request that a call's response side names, and the threads involved.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResponseSide {
    request: Key,
    threads: Threads,
}

impl Causality {
    /// The verdict on a call whose response caused the response to `request`.
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
        let Some(links) = exchanges.get(key).and_then(|call| call.links.call()) else {
            return Verdict::Unlinked(UnlinkedReason::NoCause);
        };
        let outcome = match links.request_side {
            Some(request_side) if request_side == request => LinkOutcome::Consistent,
            Some(_) => links.conflict(),
            None => LinkOutcome::ResponseSideOnly,
        };
        self.judge(exchanges, processes, key, outcome, Some(ResponseSide { request, threads }))
    }

    /// The verdict on a call when the request of its request side is answered, or never will be
    /// (`response` is `None`). Returns `None` if the call was judged before, or if it waits for its
    /// response side.
    pub(in crate::trace) fn judge_with_request(
        &self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
        response: Option<&Origin>,
    ) -> Option<Verdict> {
        let call = exchanges.get(key)?;
        let links = call.links.call()?;
        if links.outcome_number.is_some() || links.has_response_side {
            return None;
        }
        let over = call.links.answered || links.has_failed();
        if (links.outlives || links.may_be_given_up) && !over {
            return None;
        }
        let Some(response) = response else { return Some(Verdict::Unlinked(UnlinkedReason::Unanswered)) };
        let outcome = match (links.has_conflict, links.confirmed, over) {
            (true, _, _) => links.conflict(),
            (false, true, _) => LinkOutcome::Consistent,
            (false, false, true) => LinkOutcome::RequestSideOnly,
            (false, false, false) => LinkOutcome::Unexplained,
        };
        if self.awaits_response_side(processes, call, outcome) {
            let superseded = superseded(exchanges, key, response);
            if let Some(links) = exchanges.get_mut(key).and_then(|call| call.links.call_mut()) {
                links.request_side_only = outcome == LinkOutcome::RequestSideOnly;
            }
            if outcome == LinkOutcome::RequestSideOnly && superseded {
                // The outcome counts at once, and a later response side corrects it. Otherwise
                // confidence would grow as late as such calls wait.
                record(exchanges, processes, key, outcome);
            }
            return None;
        }
        Some(self.judge(exchanges, processes, key, outcome, None))
    }

    /// The verdict on a call whose sides agreed before its process was trusted: its parent, if the
    /// process is trusted by now.
    pub(in crate::trace) fn prove(
        &self,
        exchanges: &Exchanges,
        processes: &Processes,
        key: Key,
    ) -> Option<Verdict> {
        let call = exchanges.get(key)?;
        let links = call.links.call()?;
        let request_side = links.request_side.filter(|_| links.confirmed && !links.has_conflict)?;
        let request = exchanges.get(request_side)?;
        let process =
            processes.get(call.pid).filter(|_| !lost(processes, call) && !lost(processes, request))?;
        let both = process.confidence.is_consistent()
            && processes.get(request.pid).is_some_and(|process| process.confidence.is_consistent());
        let trusted = (call.pid == request.pid || both) && trusts_agreement(&process.confidence, links);
        trusted.then_some(Verdict::Parent(request_side, Evidence::BothSides))
    }

    /// A call has waited for its response side so long that its span is exported without one.
    /// Records that as its outcome.
    pub(in crate::trace) fn give_up_waiting(
        &self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
    ) {
        let Some(links) = exchanges.get(key).and_then(|call| call.links.call()) else { return };
        let open = |request: Key| exchanges.get(request).is_some_and(|request| !request.links.answered);
        let comes_later = links.request_side.is_some_and(open);
        if links.outcome_number.is_none() && !links.has_response_side && !comes_later {
            let outcome =
                if links.request_side_only { LinkOutcome::RequestSideOnly } else { LinkOutcome::Unexplained };
            record(exchanges, processes, key, outcome);
        }
    }

    /// Whether a response side that may still come would say more.
    pub(super) fn awaits_response_side(
        &self,
        processes: &Processes,
        call: &Exchange,
        outcome: LinkOutcome,
    ) -> bool {
        let Some(links) = call.links.call() else { return false };
        if links.has_failed() {
            // Whoever saw the call fail did so before this request was answered, so no response
            // side can come.
            return false;
        }
        let Some(process) = processes.get(call.pid) else { return false };
        let alone = match outcome {
            LinkOutcome::RequestSideOnly => !self.trusts_request_side(&process.confidence, links),
            LinkOutcome::Unexplained => true,
            LinkOutcome::Consistent
            | LinkOutcome::Conflict
            | LinkOutcome::AmbiguousConflict
            | LinkOutcome::ResponseSideOnly => false,
        };
        alone && self.rules.response_side && process.confidence.awaits_response_side()
    }

    pub(super) fn judge(
        &self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
        outcome: LinkOutcome,
        response_side: Option<ResponseSide>,
    ) -> Verdict {
        let unlinked = Verdict::Unlinked;
        let Some(call) = exchanges.get(key) else { return unlinked(UnlinkedReason::NoCause) };
        let request_lost = |request: Key| exchanges.get(request).is_none_or(|it| lost(processes, it));
        let Some(links) = call.links.call() else { return unlinked(UnlinkedReason::NoCause) };
        let named = response_side.map(|response_side| response_side.request).or(links.request_side);
        if links.cause_lost || lost(processes, call) || named.is_some_and(request_lost) {
            return unlinked(UnlinkedReason::Loss);
        }
        // A request that got no response proves nothing about its calls.
        if !named
            .and_then(|request| exchanges.get(request))
            .is_some_and(|request| request.links.is_unanswered())
        {
            record(exchanges, processes, key, outcome);
        }
        let Some(call) = exchanges.get(key) else { return unlinked(UnlinkedReason::NoCause) };
        let Some(links) = call.links.call() else { return unlinked(UnlinkedReason::NoCause) };
        let Some(process) = processes.get(call.pid) else { return unlinked(UnlinkedReason::Loss) };
        let confidence = &process.confidence;
        if let Some(response_side) = response_side
            && self.decides(exchanges, confidence, key, links, outcome, response_side)
        {
            let agrees = outcome == LinkOutcome::Consistent;
            let evidence = if agrees { Evidence::BothSides } else { Evidence::ResponseSide };
            if !agrees || self.rules.both_sides {
                return Verdict::Parent(response_side.request, evidence);
            }
        }
        let Some(request_side) = links.request_side else {
            let has_response_side = response_side.is_some();
            return unlinked(if has_response_side {
                UnlinkedReason::ResponseSideOnly
            } else {
                UnlinkedReason::NoCause
            });
        };
        // If a child process makes a call for a request of its parent process, both must be
        // consistent.
        let request = exchanges.get(request_side).and_then(|request| processes.get(request.pid));
        let consistent = request.is_some_and(|process| process.confidence.is_consistent());
        let both = confidence.is_consistent() && consistent;
        let own = exchanges.get(request_side).is_some_and(|request| request.pid == call.pid);
        match outcome {
            LinkOutcome::Consistent if !self.rules.both_sides => unlinked(UnlinkedReason::RequestSideOnly),
            LinkOutcome::Consistent if (own || both) && trusts_agreement(confidence, links) => {
                Verdict::Parent(request_side, Evidence::BothSides)
            }
            LinkOutcome::Consistent if both => unlinked(UnlinkedReason::Unproven),
            LinkOutcome::RequestSideOnly if (own || both) && self.trusts_request_side(confidence, links) => {
                Verdict::Parent(request_side, Evidence::RequestSide)
            }
            LinkOutcome::RequestSideOnly | LinkOutcome::Unexplained if both => {
                unlinked(UnlinkedReason::RequestSideOnly)
            }
            _ => unlinked(UnlinkedReason::Conflict),
        }
    }

    /// Whether the response side of a call decides, whatever its request side says (rule 2).
    fn decides(
        &self,
        exchanges: &Exchanges,
        confidence: &Confidence,
        key: Key,
        call: &CallLinks,
        outcome: LinkOutcome,
        response_side: ResponseSide,
    ) -> bool {
        let ResponseSide { request, threads } = response_side;
        let agrees = outcome == LinkOutcome::Consistent;
        let conflicts = matches!(outcome, LinkOutcome::Conflict | LinkOutcome::AmbiguousConflict);
        let stolen = stolen::trusts(exchanges, confidence, key, request, threads);
        (!conflicts || !confidence.agrees_mostly())
            && !call.response_side_is_ambiguous
            // With several threads, one may close what another has given up and then answer
            // something else.
            && (agrees || !call.given_up || confidence.has_one_reader())
            && !confidence.signatures().rarely_ends_in_response(call.signature_hash)
            && self.trusts_response_side(
                confidence,
                threads == Threads::One || self.rules.across_threads || stolen,
                call.only_open_request && agrees && signature_allows(confidence, call),
            )
    }

    fn trusts_request_side(&self, confidence: &Confidence, call: &CallLinks) -> bool {
        self.rules.request_side
            && call.receive_order == confidence.receive_order()
            && call.names_one_request()
            && confidence.trusts_request_side(call.only_open_request, call.signature())
    }

    fn trusts_response_side(
        &self,
        confidence: &Confidence,
        by_these_threads: bool,
        unambiguous: bool,
    ) -> bool {
        self.rules.response_side && by_these_threads && confidence.trusts_response_side(unambiguous)
    }
}

/// Whether the thread that read a call's response has received something else by the time it writes
/// this response. Then the call's response is hardly what another response waited for.
fn superseded(exchanges: &Exchanges, call: Key, response: &Origin) -> bool {
    let Some(receive) = response.last_receive else { return false };
    let last =
        exchanges.connection(receive.connection).and_then(|it| exchanges.by_received(it, receive.position));
    let is_call = last.is_some_and(|it| it.key == call);
    !is_call && exchanges.get(call).is_some_and(|call| call.links.reader == Runner::of_origin(response))
}

/// Whether the call's signature says that agreement of its sides is no coincidence.
///
/// If its response side is ambiguous, calls with this signature must be known to be consistent. If
/// an earlier call shares its cause, the signature must have no recent conflicts and few older
/// ones. Few older ones are also required if only a call that continues this one has a response
/// side. (A call sent after a timer's call continues it.)
fn signature_allows(confidence: &Confidence, links: &CallLinks) -> bool {
    let signatures = confidence.signatures();
    if links.response_side_is_ambiguous {
        return signatures.is_consistent(links.signature_hash);
    }
    let hash = links.signature_hash;
    let weaker = links.shares_cause || !links.has_response_side;
    let doubted =
        links.shares_cause && signatures.has_conflicts(hash) || weaker && signatures.often_conflicts(hash);
    !doubted && !signatures.is_unreliable(hash) && !signatures.rarely_ends_in_response(hash)
}

/// Agreement counts where neither the call's signature nor its process makes a coincidence likely.
fn trusts_agreement(confidence: &Confidence, links: &CallLinks) -> bool {
    links.receive_order == confidence.receive_order()
        && signature_allows(confidence, links)
        && confidence.trusts_agreement(
            links.only_open_request,
            links.ambiguity == Some(InputAmbiguity::Single) && !links.response_side_is_ambiguous,
        )
}

/// Records the outcome of a call. A failed call has none, and one that is still open gets it with
/// its response.
pub(super) fn record(exchanges: &mut Exchanges, processes: &mut Processes, key: Key, outcome: LinkOutcome) {
    let Some(call) = exchanges.get_mut(key) else { return };
    let (pid, answered, events_lost) = (call.pid, call.links.answered, lost(processes, call));
    let Some(links) = call.links.call_mut() else { return };
    if links.handoff || links.cause_lost || events_lost {
        return;
    }
    // Its request side was found with a receive order that has since been given up.
    let same = |process: &Process| process.confidence.receive_order() == links.receive_order;
    if !processes.get(pid).is_some_and(same) {
        return;
    }
    if !answered {
        links.pending_outcome = (!links.has_failed()).then_some(outcome);
        return;
    }
    links.pending_outcome = None;
    let Some(process) = processes.get_mut(pid) else { return };
    match links.outcome_number {
        Some(number) => process.confidence.correct_outcome(number, outcome),
        None => links.outcome_number = Some(process.confidence.record_outcome(outcome)),
    }
    let before = links.signature_outcome.replace(outcome);
    process.confidence.record_signature_outcome(links.signature(), before, outcome);
}
