//! Response sides: the response to a call that caused the response to an inbound request. They are
//! found when a request is answered, and confirm or refute the request sides of calls.

use super::{
    CHAIN, Causality, Cause, Confidence, Runner, Verdict, ambiguity::InputAmbiguity, confidence::LinkOutcome,
    lost, outlived, stolen::Threads,
};
use crate::{
    protocol::Origin,
    trace::{
        exchange::{Exchange, Key},
        exchanges::Exchanges,
        process::Processes,
        span::SpanKind,
    },
};

impl Causality {
    /// The first byte of a request's final response was written, or its server closed the
    /// connection instead (`!answered`). Finds the call whose response side this is.
    ///
    /// Returns `None` if the request was answered before. Otherwise the call and its verdict, if
    /// there is one.
    pub(in crate::trace) fn answer_request(
        &mut self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
        origin: &Origin,
        answered: bool,
    ) -> Option<Option<(Key, Verdict)>> {
        let cause = Cause::of(exchanges, processes, origin.last_receive);
        let request = exchanges.get_mut(key).filter(|request| !request.links.answered)?;
        close(processes, request, answered);
        request.links.answered_at = origin.at;
        let confidence = processes.get(request.pid).map(|process| &process.confidence);
        let serve_own = confidence.is_some_and(Confidence::connects_serve_their_own);
        let all = confidence.is_some_and(|confidence| confidence.trusts_given_up(true));
        outlived::wait_for_closers(exchanges, key, serve_own, all);
        Some(self.response_side(exchanges, processes, key, origin, cause, answered))
    }

    /// The call whose response is the cause of the response to this request, with its verdict.
    fn response_side(
        &mut self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
        origin: &Origin,
        cause: Cause,
        answered: bool,
    ) -> Option<(Key, Verdict)> {
        let request = exchanges.get(key)?;
        let (read_at, pid, reader) = (request.at, request.pid, request.links.reader);
        if lost(processes, request) || cause == Cause::Lost {
            return None;
        }
        let Cause::Message { key: cause, for_response, .. } = cause else {
            if answered {
                outlived::record_uncovered(exchanges, processes, key);
            }
            return None;
        };
        if cause == key {
            if answered {
                record_coverage(processes, pid, true);
            }
            return None;
        }
        // A message of a stream that goes on shows no end that a response could have waited for.
        if exchanges.get(cause).is_some_and(|message| message.links.is_open_stream()) {
            return None;
        }
        // A server closes a connection for many reasons. The failure of a call is one of them; the
        // response to another call is not.
        let has_failed = |message: &Exchange| message.kind == SpanKind::Client && !message.links.answered;
        if !answered && !exchanges.get(cause).is_some_and(has_failed) {
            return None;
        }
        let call = exchanges.get_mut(cause).filter(|message| message.kind == SpanKind::Client);
        let covered = call.is_some_and(|call| {
            call.links.causes_nothing = true;
            call.at > read_at
        });
        // A response that follows a failed call proves nothing either way.
        let proves = |call: &Exchange| call.kind == SpanKind::Server || call.links.answered;
        if answered && exchanges.get(cause).is_none_or(proves) {
            if covered {
                record_coverage(processes, pid, true);
            } else {
                outlived::record_uncovered(exchanges, processes, key);
            }
        }
        let call = exchanges.get_mut(cause).filter(|_| covered)?;
        if !is_cause(processes, call, key, for_response, answered) {
            return None;
        }
        let threads = match call.pid == pid {
            true => Threads::of(reader, call.links.reader, Runner::of_origin(origin)),
            false => Threads::Others,
        };
        let links = call.links.call_mut()?;
        links.response_side_is_ambiguous = for_response != InputAmbiguity::Single;
        links.has_response_side = true;
        let continues = links.continues;
        let verdict = self.judge_with_response_side(exchanges, processes, cause, key, threads);
        self.confirm_chain(exchanges, processes, continues, key);
        Some((cause, verdict))
    }

    /// The request ended without a response, and nobody was seen to end it, so no response side can
    /// come. Returns `false` if it was answered before.
    pub(in crate::trace) fn unanswered(
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
    ) -> bool {
        let Some(request) = exchanges.get_mut(key) else { return false };
        if request.links.answered {
            return false;
        }
        close(processes, request, false);
        true
    }

    /// Passes the response side back along the calls that this one continues, up to one that has a
    /// response side of its own.
    fn confirm_chain(
        &mut self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        mut next: Option<Key>,
        request: Key,
    ) {
        for _ in 0..CHAIN {
            let Some(key) = next else { return };
            let Some(links) = exchanges.get(key).and_then(|call| call.links.call()) else { return };
            if links.has_response_side {
                return;
            }
            next = links.continues;
            self.compare(exchanges, processes, key, request);
        }
    }

    /// Compares the request side of a call with the request that the response side of it, or of a
    /// call that continues it, names.
    pub(super) fn compare(
        &mut self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        call: Key,
        request: Key,
    ) {
        let proves = exchanges.get(request).is_some_and(|request| !request.links.is_unanswered());
        let Some(call) = exchanges.get_mut(call) else { return };
        let (pid, proves) = (call.pid, proves && call.links.answered);
        let Some(links) = call.links.call_mut() else { return };
        if let (true, Some(process)) = (proves, processes.get_mut(pid)) {
            match (links.connected_for.take(), links.request_side, links.ambiguity) {
                (Some(made_for), ..) => process.confidence.record_response_side(true, made_for == request),
                (None, Some(request_side), Some(InputAmbiguity::Single)) => {
                    process.confidence.record_response_side(false, request_side == request);
                }
                (None, ..) => {}
            }
        }
        let Some(request_side) = links.request_side else { return };
        if request_side == request {
            links.confirmed = true;
            if !(!proves || links.handoff || links.only_open_request)
                && let Some(process) = processes.get_mut(pid)
                && process.confidence.receive_order() == links.receive_order
            {
                process.confidence.record_concurrent_agreement();
            }
            return;
        }
        links.has_conflict = true;
        if !proves {
            return;
        }
        self.conflicts += 1;
        if let (true, Some(process)) = (links.handoff, processes.get_mut(pid)) {
            process.confidence.doubt_handoffs();
            return;
        }
        let process = processes
            .get_mut(pid)
            .filter(|process| process.confidence.receive_order() == links.receive_order);
        // A call that was judged by its request side before is recorded again with its real
        // outcome.
        if let (Some(number), Some(process)) = (links.outcome_number, process) {
            let outcome = links.conflict();
            let before = links.signature_outcome.replace(outcome);
            process.confidence.correct_outcome(number, outcome);
            process.confidence.record_signature_outcome(links.signature(), before, outcome);
        }
    }
}

/// Whether the response to this call, which was received last, is what the response to the request
/// waited for. Counts against the call's signature if it may have waited for another one.
fn is_cause(
    processes: &mut Processes,
    call: &Exchange,
    request: Key,
    for_response: InputAmbiguity,
    answered: bool,
) -> bool {
    let Some(links) = call.links.call() else { return false };
    let is_cause = match for_response {
        InputAmbiguity::Single | InputAmbiguity::SameRequest => true,
        // If two messages were read before the response was written, it may have waited for either.
        InputAmbiguity::Several => links.request_side == Some(request),
        InputAmbiguity::Reused => false,
    };
    if for_response == InputAmbiguity::Several
        && !is_cause
        && answered
        && call.links.answered
        && let Some(process) = processes.get_mut(call.pid)
    {
        process.confidence.record_signature_outcome(links.signature(), None, LinkOutcome::Conflict);
    }
    // A handed-off call needs no response side, so any response side is welcome as a check.
    is_cause || links.handoff
}

/// Records that the response to an inbound request was covered, or was not.
pub(super) fn record_coverage(processes: &mut Processes, pid: u32, covered: bool) {
    if let Some(process) = processes.get_mut(pid) {
        process.confidence.record_coverage(covered);
    }
}

/// From now on the request causes nothing.
fn close(processes: &mut Processes, request: &mut Exchange, answered: bool) {
    request.links.answered = true;
    let mut one_way = false;
    if let Some(links) = request.links.request_mut() {
        links.unanswered = !answered;
        one_way = links.one_way;
    }
    request.links.causes_nothing = true;
    if let Some(process) = processes.get_mut(request.pid) {
        if !one_way {
            process.confidence.request_closed();
        }
        process.unknown_contents =
            process.unknown_contents.saturating_sub(u64::from(!request.links.content_known));
        if let Some(tasks) = &mut process.tasks {
            tasks.closed(request.at, answered);
        }
    }
}
