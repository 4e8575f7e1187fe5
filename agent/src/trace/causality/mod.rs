//! Causality from two sides: which inbound request caused a call. The only evidence is what each
//! thread received last before it sent something.
//!
//! Everything that is sent (a call, a connect, a response) has a *cause*: the message to which the
//! last byte belongs that its thread received.
//!
//! * Request side: a call belongs to the request that its cause belongs to. If the cause is the
//!   response to another call, that is the request of that call, and the new call *continues* it.
//! * Response side: if the response to a call is the cause of the response to an inbound request,
//!   the call is a child of that request.
//!
//! How far the two sides of a call are trusted depends on what its process has shown so far
//! ([`Confidence`]). The rules are in `judge.rs`. A continuation confirms the request side of the
//! calls that it continues, but never decides alone. A call for which no rule applies is unlinked.
//!
//! Three facts limit what can be a cause. A request causes nothing once it is answered. A response
//! uses up its cause. A call that was sent before a request was read cannot be its child.

mod cause;
mod confidence;
mod given_up;
mod handoff;
mod inherited;
mod join;
mod judge;
mod links;
mod outlived;
mod receives;
mod stolen;
mod tasks;
mod turns;

use serde::{Deserialize, Serialize};

pub(in crate::trace) use cause::Cause;
pub(in crate::trace) use confidence::Confidence;
pub(in crate::trace) use inherited::{InheritedCauses, propagate_cause};
pub(in crate::trace) use links::CausalLinks;
pub(in crate::trace) use receives::Receives;
pub(in crate::trace) use tasks::{Claimed, Settled, Tasks};
pub(in crate::trace) use turns::Deferral;

use confidence::LinkOutcome;
use stolen::Threads;

use super::{
    exchange::{Exchange, Key},
    exchanges::Exchanges,
    process::Processes,
    span::{Evidence, SpanKind},
};
use crate::{
    event::{Clarity, Task, Thread},
    protocol::Origin,
};

/// The longest chain of calls, each continuing the one before, that is followed.
const CHAIN: u8 = 40;

/// Which evidence may name a parent within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Request side and response side agree. Default on.
    pub two_sided: bool,
    /// The request side alone, in processes whose calls have no conflicts. Default on.
    pub start: bool,
    /// The response side alone, in processes whose responses are all covered. Default on.
    pub end: bool,
    /// The same task of the runtime wrote the call and the response (CPython's contexts). Default
    /// on.
    pub task: bool,
    /// The response side alone also where one thread read the request and another wrote the
    /// response. This is wrong for programs whose workers answer from a shared completion queue.
    /// Default off.
    pub across_threads: bool,
    /// The call forwards a request that the process received, recognised by its content. Default
    /// on.
    pub content: bool,
    /// Handoffs between goroutines, and goroutines in place of threads. Default on.
    pub goroutine: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            two_sided: true,
            start: true,
            end: true,
            across_threads: false,
            task: true,
            content: true,
            goroutine: true,
        }
    }
}

/// Who acts: a thread, or a goroutine in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Runner {
    Thread(u32),
    Goroutine(u64),
}

impl Default for Runner {
    fn default() -> Self {
        Self::Thread(0)
    }
}

impl Runner {
    /// The runner of a thread on which the runtime runs this task, if it has tasks.
    const fn of(thread: Thread, task: Option<Task>) -> Self {
        match task {
            Some(Task::Goroutine(id) | Task::Handoff(id)) => Self::Goroutine(id),
            _ => Self::Thread(thread.tid),
        }
    }

    const fn of_origin(origin: &Origin) -> Self {
        Self::of(origin.thread, origin.task)
    }
}

/// The decision on a call's parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace) enum Verdict {
    Parent(Key, Evidence),
    Unlinked(UnlinkedReason),
}

/// Why a call has no inferred parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::trace) enum UnlinkedReason {
    /// It has no request side, and no response side is waited for.
    NoCause,
    /// No response side confirmed the request side, and the process is not trusted without one.
    RequestSideOnly,
    /// It has a response side alone, and the process is not trusted without a request side.
    ResponseSideOnly,
    /// The request of its request side ended without a response.
    Unanswered,
    /// Its sides conflict, or those of other recent calls of its process do.
    Conflict,
    /// Both sides agree, but other requests were open, and the process has not shown enough
    /// consistent calls to be trusted.
    Unproven,
    /// Events of the process were lost while the call or the request of its request side was open.
    Loss,
    /// Its goroutine had read bytes of more than one request of a connection, and which of them it
    /// serves is not known.
    Pipelined,
    /// The request has too many calls.
    Limit,
}

/// What is known of a call when its request side is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace) struct RequestSide {
    /// `None` if the verdict is made later.
    pub(in crate::trace) verdict: Option<Verdict>,
    /// The call is judged when this request is answered.
    pub(in crate::trace) judged_with: Option<Key>,
}

impl RequestSide {
    const fn decided(reason: UnlinkedReason) -> Self {
        Self { verdict: Some(Verdict::Unlinked(reason)), judged_with: None }
    }
}

/// Judges calls. `conflicts` counts those whose two sides differ.
#[derive(Debug)]
pub(in crate::trace) struct Causality {
    pub(in crate::trace) conflicts: u64,
    /// The conflicts that the task join has found.
    pub(in crate::trace) task_conflicts: u64,
    rules: Rules,
}

impl Causality {
    pub(in crate::trace) const fn new(rules: Rules) -> Self {
        Self { conflicts: 0, task_conflicts: 0, rules }
    }

    /// The first byte of a call was written: finds its request side.
    pub(in crate::trace) fn call(
        &self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
        cause: Cause,
    ) -> RequestSide {
        let (request_side, continues, chain_length) = match cause {
            Cause::None | Cause::Lost => (None, None, 0),
            Cause::Message { key, .. } => request_side_of(exchanges, key),
        };
        let request = request_side.and_then(|request_side| exchanges.get(request_side));
        let request_is_open = request.is_some_and(|request| !request.links.answered);
        let request_pid = request.map(|request| request.pid);
        let only_open_request = request_pid
            .and_then(|pid| processes.get(pid))
            .is_some_and(|process| process.confidence.unambiguous());
        let order = exchanges
            .get(key)
            .and_then(|call| processes.get(call.pid))
            .map_or(0, |process| process.confidence.receive_order());
        // A call that continues one of another receive order belongs to that order too.
        let order =
            continues.and_then(|call| exchanges.get(call)).map_or(order, |call| call.links.receive_order);
        let shares_cause = cause
            .key()
            .and_then(|cause| exchanges.get_mut(cause))
            .is_some_and(|message| std::mem::replace(&mut message.links.caused_other, true));
        let Some(call) = exchanges.get_mut(key) else { return RequestSide::decided(UnlinkedReason::NoCause) };
        let links = &mut call.links;
        links.shares_cause = shares_cause;
        links.receive_order = order;
        (links.request_side, links.continues, links.chain_length) = (request_side, continues, chain_length);
        links.only_open_request = only_open_request;
        links.ambiguity = match cause {
            Cause::Message { for_call, .. } => Some(for_call),
            Cause::None | Cause::Lost => None,
        };
        let Some(process) = processes.get_mut(call.pid).filter(|_| cause != Cause::Lost) else {
            links.cause_lost = true;
            return RequestSide::decided(UnlinkedReason::Loss);
        };
        if let (Some(request_side), true) = (request_side, request_is_open) {
            return RequestSide { verdict: None, judged_with: Some(request_side) };
        }
        if self.rules.end && process.confidence.awaits_response_side() {
            // Its response side may still name a parent.
            return RequestSide { verdict: None, judged_with: None };
        }
        links.pending_outcome = Some(LinkOutcome::Unexplained);
        // A continuation of a call whose request is answered cannot be confirmed any more.
        RequestSide::decided(if request_side.is_some() {
            UnlinkedReason::RequestSideOnly
        } else {
            UnlinkedReason::NoCause
        })
    }

    /// Notes the request for which the connection of this call, its first, was made. Returns
    /// whether connects of this process are trusted.
    pub(in crate::trace) fn connected_for(
        exchanges: &mut Exchanges,
        processes: &Processes,
        key: Key,
        cause: Cause,
    ) -> bool {
        let request = cause.key().and_then(|cause| request_side_of(exchanges, cause).0);
        let Some(call) = exchanges.get_mut(key) else { return true };
        call.links.connected_for = request;
        processes.get(call.pid).is_none_or(|process| process.confidence.trusts_connects())
    }

    /// The head of a call was read, so its signature is known. Returns the parent if the request
    /// side alone is trusted for this signature, before the call has ended.
    pub(in crate::trace) fn head_read(
        &self,
        exchanges: &mut Exchanges,
        processes: &Processes,
        key: Key,
        signature_hash: u64,
    ) -> Option<Verdict> {
        exchanges.get_mut(key)?.links.signature_hash = signature_hash;
        let call = exchanges.get(key)?;
        let process = processes.get(call.pid)?;
        let links = &call.links;
        let request = links.request_side.and_then(|request_side| exchanges.get(request_side));
        let Some(request) = request.filter(|request| !request.links.answered) else {
            exchanges.get_mut(key)?.links.without_open_request = true;
            return None;
        };
        let trusted = self.rules.start
            && links.names_one_request()
            && process.confidence.trusts_request_side(links.only_open_request, links.signature());
        let known = !lost(processes, call) && !lost(processes, request) && !links.handoff;
        let request_side = links.request_side.filter(|_| request.pid == call.pid && known && trusted)?;
        Some(Verdict::Parent(request_side, Evidence::Start))
    }

    /// A call has ended. One without a response shows nothing: neither whose it is nor that it is
    /// nobody's.
    ///
    /// An answered call that has no request side, or whose request is answered already, counts
    /// against its signature from now on, until a response side comes. It must not count before it
    /// has ended, or the calls in flight would outvote those that have ended.
    pub(in crate::trace) fn call_over(exchanges: &mut Exchanges, processes: &mut Processes, key: Key) {
        let Some(call) = exchanges.get(key) else { return };
        if let (true, Some(request_side)) = (call.links.handoff, call.links.request_side)
            && let Some(request) = exchanges.get_mut(request_side)
        {
            request.links.open_handoffs = request.links.open_handoffs.saturating_sub(1);
        }
        let Some(call) = exchanges.get_mut(key) else { return };
        let pending_outcome = call.links.pending_outcome.take();
        if !call.links.answered {
            return;
        }
        if let Some(outcome) = pending_outcome {
            judge::record(exchanges, processes, key, outcome);
        }
        let Some(call) = exchanges.get(key) else { return };
        let request = call.links.request_side.and_then(|request_side| exchanges.get(request_side));
        let explained =
            !call.links.without_open_request && request.is_some_and(|request| !request.links.answered);
        let Some(call) = exchanges.get_mut(key) else { return };
        let links = &mut call.links;
        if explained || links.request_side_only || links.handoff || links.signature_outcome.is_some() {
            return;
        }
        if let Some(process) = processes.get_mut(call.pid) {
            links.signature_outcome = Some(LinkOutcome::Unexplained);
            process.confidence.record_signature_outcome(links.signature(), None, LinkOutcome::Unexplained);
        }
    }

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
        let (read_at, pid, reader) = (request.at, request.pid, request.links.reader);
        let confidence = processes.get(pid).map(|process| &process.confidence);
        let serve_own = confidence.is_some_and(Confidence::connects_serve_their_own);
        let all = confidence.is_some_and(|confidence| confidence.trusts_given_up(true));
        outlived::wait_for_closers(exchanges, key, serve_own, all);
        let Some(request) = exchanges.get(key) else { return Some(None) };
        if lost(processes, request) || cause == Cause::Lost {
            return Some(None);
        }
        let Cause::Message { key: cause, for_answer, .. } = cause else {
            if answered {
                outlived::record_uncovered(exchanges, processes, key);
            }
            return Some(None);
        };
        if cause == key {
            if answered {
                record_coverage(processes, pid, true);
            }
            return Some(None);
        }
        // A server closes a connection for many reasons. The failure of a call is one of them; the
        // response to another call is not.
        let has_failed = |message: &Exchange| message.kind == SpanKind::Client && !message.links.answered;
        if !answered && !exchanges.get(cause).is_some_and(has_failed) {
            return Some(None);
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
        let own = exchanges.get_mut(cause).filter(|_| covered);
        let is_cause = match for_answer {
            Clarity::Clear | Clarity::OfOne => true,
            // If two messages were read before the response was written, it may have waited for
            // either.
            Clarity::Mixed => own.as_ref().is_some_and(|call| call.links.request_side == Some(key)),
            Clarity::Again => false,
        };
        if let (Clarity::Mixed, false, Some(call)) = (for_answer, is_cause, &own)
            && answered
            && call.links.answered
            && let Some(process) = processes.get_mut(call.pid)
        {
            process.confidence.record_signature_outcome(call.links.signature(), None, LinkOutcome::Conflict);
        }
        // A handed-off call needs no response side, so any response side is welcome as a check.
        let Some(call) = own.filter(|call| is_cause || call.links.handoff) else { return Some(None) };
        call.links.response_side_is_ambiguous = for_answer != Clarity::Clear;
        call.links.has_response_side = true;
        let previous = call.links.continues;
        let writer = Runner::of_origin(origin);
        let own = call.pid == pid;
        let threads = if own { Threads::of(reader, call.links.reader, writer) } else { Threads::Others };
        let verdict = self.judge_with_response_side(exchanges, processes, cause, key, threads);
        self.confirm_chain(exchanges, processes, previous, key);
        Some(Some((cause, verdict)))
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
            let Some((key, call)) = next.and_then(|key| exchanges.get(key).map(|call| (key, call))) else {
                return;
            };
            if call.links.has_response_side {
                return;
            }
            next = call.links.continues;
            self.compare(exchanges, processes, key, request);
        }
    }

    /// Compares the request side of a call with the request that the response side of it, or of a
    /// call that continues it, names.
    fn compare(&mut self, exchanges: &mut Exchanges, processes: &mut Processes, call: Key, request: Key) {
        let proves = exchanges.get(request).is_some_and(|request| !request.links.unanswered);
        let Some(call) = exchanges.get_mut(call) else { return };
        let proves = proves && call.links.answered;
        if let (true, Some(process)) = (proves, processes.get_mut(call.pid)) {
            match (call.links.connected_for.take(), call.links.request_side, call.links.ambiguity) {
                (Some(made_for), ..) => process.confidence.record_response_side(true, made_for == request),
                (None, Some(request_side), Some(Clarity::Clear)) => {
                    process.confidence.record_response_side(false, request_side == request)
                }
                (None, ..) => {}
            }
        }
        let Some(request_side) = call.links.request_side else { return };
        if request_side == request {
            call.links.confirmed = true;
            if !(!proves || call.links.handoff || call.links.only_open_request)
                && let Some(process) = processes.get_mut(call.pid)
                && process.confidence.receive_order() == call.links.receive_order
            {
                process.confidence.record_concurrent_agreement();
            }
            return;
        }
        call.links.has_conflict = true;
        if !proves {
            return;
        }
        self.conflicts += 1;
        if let (true, Some(process)) = (call.links.handoff, processes.get_mut(call.pid)) {
            process.confidence.doubt_handoffs();
            return;
        }
        let process = processes
            .get_mut(call.pid)
            .filter(|process| process.confidence.receive_order() == call.links.receive_order);
        // A call that was judged by its request side before is recorded again with its real
        // outcome.
        if let (Some(number), Some(process)) = (call.links.outcome_number, process) {
            let outcome = judge::conflict_of(&call.links);
            let before = call.links.signature_outcome.replace(outcome);
            process.confidence.correct_outcome(number, outcome);
            process.confidence.record_signature_outcome(call.links.signature(), before, outcome);
        }
    }
}

/// The request that a call with this cause belongs to, the call that it continues, and the length
/// of that chain.
fn request_side_of(exchanges: &Exchanges, cause: Key) -> (Option<Key>, Option<Key>, u8) {
    let Some(message) = exchanges.get(cause) else { return (None, None, 0) };
    let request_side = request_of(message, cause);
    match message.kind {
        SpanKind::Server => (request_side, None, 0),
        SpanKind::Client => {
            (request_side, Some(cause), message.links.chain_length.saturating_add(1).min(CHAIN))
        }
    }
}

/// The request that a message belongs to: itself, or that of the call whose response it is.
fn request_of(message: &Exchange, key: Key) -> Option<Key> {
    match message.kind {
        SpanKind::Server => Some(key),
        SpanKind::Client if message.links.chain_length >= CHAIN => None,
        SpanKind::Client => message.links.request_side,
    }
}

fn record_coverage(processes: &mut Processes, pid: u32, covered: bool) {
    if let Some(process) = processes.get_mut(pid) {
        process.confidence.record_coverage(covered);
    }
}

/// From now on the request causes nothing.
fn close(processes: &mut Processes, request: &mut Exchange, answered: bool) {
    request.links.answered = true;
    request.links.unanswered = !answered;
    request.links.causes_nothing = true;
    if let Some(process) = processes.get_mut(request.pid) {
        process.confidence.request_closed();
        process.unknown_contents =
            process.unknown_contents.saturating_sub(u64::from(!request.links.content_known));
        if let Some(tasks) = &mut process.tasks {
            tasks.closed(request.at, answered);
        }
    }
}

/// Whether events of its process were lost since the exchange began, or the process is not known
/// any more.
pub(in crate::trace) fn lost(processes: &Processes, exchange: &Exchange) -> bool {
    processes.get(exchange.pid).is_none_or(|process| process.epoch != exchange.links.epoch)
}
