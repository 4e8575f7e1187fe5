//! Causality from two links: which request caused a call, on nothing but what each thread took in last before it sent
//! something.
//!
//! Every *output* (a call's request, a connect, an answer) has a *cause*: the message to which the last byte belongs that
//! its thread took in.
//! * RequestSide side: a call belongs to the request that its cause belongs to; if the cause is a call's response, to the
//!   request of that call (a *continuation*).
//! * End side: when a call's response is the cause of an answer, that call is a child of the answered request.
//!
//! What the two links of a call are worth depends on what its process has outcome so far ([`Confidence`]); the rules are in
//! `judge.rs`. A continuation confirms the start side of the calls it continues, it never decides. Everything else is an
//! orphan. A request's own bytes cause nothing once it is answered; an answer uses its cause up; a call sent before the
//! request was read cannot be its child.

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

/// Continuations that are followed back from a call.
const CHAIN: u8 = 40;

/// Which evidence may name a parent within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Both links agree. Default on.
    pub two_sided: bool,
    /// The start side alone, of processes whose calls show no conflict. Default on.
    pub start: bool,
    /// The end side alone, of processes whose answers are all covered. Default on.
    pub end: bool,
    /// Call and answer written by the same task of the runtime (CPython's contexts). Default on.
    pub task: bool,
    /// The end side also where one thread read the request and another wrote the answer: wrong for programs whose workers
    /// answer from a shared completion queue. Default off.
    pub across_threads: bool,
    /// The call is a request that the process received, sent on. Default on.
    pub content: bool,
    /// What a goroutine handed to another, and goroutines in the index of threads. Default on.
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

/// Who runs: a thread, or a goroutine in its index.
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
    /// Of a thread on which the runtime runs this, if it has tasks.
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

/// What is known of a call's parent when the verdict falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace) enum Verdict {
    Parent(Key, Evidence),
    Unlinked(UnlinkedReason),
}

/// Why a call has no inferred parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::trace) enum UnlinkedReason {
    /// No start side, and no end side that is waited for.
    NoCause,
    /// No end side confirmed the start side, and the process is not trusted without.
    RequestSideOnly,
    /// An end side only, and the process is not trusted without a start side.
    ResponseSideOnly,
    /// The request of the start side ended without an answer.
    Unanswered,
    /// Its links differ, or those of others of its process do of late.
    Conflict,
    /// Both links agree, but other requests were open and the process has not outcome enough calls to be trusted.
    Unproven,
    /// Events of the process were lost while it or the request of the start side was open.
    Loss,
    /// Its goroutine had received in more than one request of a connection, and which of them it serves is not known.
    Pipelined,
    /// The request has too many calls.
    Limit,
}

/// A call's start side: what is known at once, and what to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace) struct RequestSide {
    /// `None`: it falls later.
    pub(in crate::trace) verdict: Option<Verdict>,
    /// The call is to be judged when this request is answered.
    pub(in crate::trace) judged_with: Option<Key>,
}

impl RequestSide {
    const fn decided(reason: UnlinkedReason) -> Self {
        Self { verdict: Some(Verdict::Unlinked(reason)), judged_with: None }
    }
}

/// Judges calls; `conflicts` counts those whose two links differ.
#[derive(Debug)]
pub(in crate::trace) struct Causality {
    pub(in crate::trace) conflicts: u64,
    /// The same of tasks.
    pub(in crate::trace) task_conflicts: u64,
    rules: Rules,
}

impl Causality {
    pub(in crate::trace) const fn new(rules: Rules) -> Self {
        Self { conflicts: 0, task_conflicts: 0, rules }
    }

    /// A call's first byte was written: notes its start side.
    pub(in crate::trace) fn call(
        &self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
        cause: Cause,
    ) -> RequestSide {
        let (request_side, previous, depth) = match cause {
            Cause::None | Cause::Lost => (None, None, 0),
            Cause::Message { key, .. } => request_side_of(exchanges, key),
        };
        let request = request_side.and_then(|request_side| exchanges.get(request_side));
        let request_is_open = request.is_some_and(|request| !request.links.answered);
        let request_pid = request.map(|request| request.pid);
        let unambiguous = request_pid
            .and_then(|pid| processes.get(pid))
            .is_some_and(|process| process.confidence.unambiguous());
        let order = exchanges
            .get(key)
            .and_then(|call| processes.get(call.pid))
            .map_or(0, |process| process.confidence.receive_order());
        // What goes on from a call of another order is of that order, too.
        let order =
            previous.and_then(|call| exchanges.get(call)).map_or(order, |call| call.links.receive_order);
        let shares_cause = cause
            .key()
            .and_then(|cause| exchanges.get_mut(cause))
            .is_some_and(|message| std::mem::replace(&mut message.links.caused_other, true));
        let Some(call) = exchanges.get_mut(key) else { return RequestSide::decided(UnlinkedReason::NoCause) };
        let links = &mut call.links;
        links.shares_cause = shares_cause;
        links.receive_order = order;
        (links.request_side, links.continues, links.chain_length) = (request_side, previous, depth);
        links.only_open_request = unambiguous;
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
            // Its end side may still name a parent.
            return RequestSide { verdict: None, judged_with: None };
        }
        links.pending_outcome = Some(confidence::LinkOutcome::Unexplained);
        // A continuation of an answered request can no more be confirmed.
        RequestSide::decided(if request_side.is_some() {
            UnlinkedReason::RequestSideOnly
        } else {
            UnlinkedReason::NoCause
        })
    }

    /// What the first call of a connection was sent for, as its connect says: noted, and whether that is to be trusted.
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

    /// The head of a call was read, which says of what kind it is: whether its start side alone names its parent, before it
    /// has ended.
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

    /// A call is over. If it was not answered it shows nothing: neither whose it is nor that it is nobody's. One without a start side, or whose request is answered already, speaks against calls of its kind from now
    /// on, until an end side comes: while it is awaited it says nothing, or the calls in flight would outvote those that have
    /// ended.
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
        let request_side = call.links.request_side.and_then(|request_side| exchanges.get(request_side));
        let explained =
            !call.links.without_open_request && request_side.is_some_and(|request| !request.links.answered);
        let Some(call) = exchanges.get_mut(key) else { return };
        let links = &mut call.links;
        if explained || links.request_side_only || links.handoff || links.signature_outcome.is_some() {
            return;
        }
        if let Some(process) = processes.get_mut(call.pid) {
            links.signature_outcome = Some(confidence::LinkOutcome::Unexplained);
            process.confidence.record_of_signature(
                links.signature(),
                None,
                confidence::LinkOutcome::Unexplained,
            );
        }
    }

    /// The first byte of a request's final response was written, or (`!answered`) its server closed the connection instead:
    /// notes the end side. `None` when it was answered before; else the call that ended in it, if any, with its verdict.
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
        outlived::outlive(exchanges, key, serve_own, all);
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
        // A server closes a connection for many reasons; the end of a call is one, the response to another call is none.
        let ends = |message: &Exchange| message.kind == SpanKind::Client && !message.links.answered;
        if !answered && !exchanges.get(cause).is_some_and(ends) {
            return Some(None);
        }
        let call = exchanges.get_mut(cause).filter(|message| message.kind == SpanKind::Client);
        let covered = call.is_some_and(|call| {
            call.links.causes_nothing = true;
            call.at > read_at
        });
        // An answer after a call that got none proves nothing, either way.
        let proves = |call: &Exchange| call.kind == SpanKind::Server || call.links.answered;
        if answered && exchanges.get(cause).is_none_or(proves) {
            if covered {
                record_coverage(processes, pid, true);
            } else {
                outlived::record_uncovered(exchanges, processes, key);
            }
        }
        let own = exchanges.get_mut(cause).filter(|_| covered);
        let suffices = match for_answer {
            Clarity::Clear | Clarity::OfOne => true,
            // Of two messages that were read before the answer was written either may be what it waited for.
            Clarity::Mixed => own.as_ref().is_some_and(|call| call.links.request_side == Some(key)),
            Clarity::Again => false,
        };
        if let (Clarity::Mixed, false, Some(call)) = (for_answer, suffices, &own)
            && answered
            && call.links.answered
            && let Some(process) = processes.get_mut(call.pid)
        {
            process.confidence.record_of_signature(
                call.links.signature(),
                None,
                confidence::LinkOutcome::Conflict,
            );
        }
        // A call that was handed over needs no end side, so that any is welcome that speaks against it.
        let Some(call) = own.filter(|call| suffices || call.links.handoff) else { return Some(None) };
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

    /// The request ended without an answer, and nobody is seen to have ended it: no end side can come.
    /// `false` when it was answered before.
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

    /// The end side travels back along the continuations, up to a call that has an end side of its own.
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

    /// Holds the start side of a call against the request in which it, or a continuation of it, ended.
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
                process.confidence.agreed_concurrently();
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
        // One that was judged by its start side before counts as what it turned out to be.
        if let (Some(number), Some(process)) = (call.links.outcome_number, process) {
            let outcome = judge::conflict_of(&call.links);
            let before = call.links.signature_outcome.replace(outcome);
            process.confidence.correct(number, outcome);
            process.confidence.record_of_signature(call.links.signature(), before, outcome);
        }
    }
}

/// The request that a call with this cause belongs to, the call that it continues, and how many it continues.
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
        process.confidence.answered(covered);
    }
}

/// From now on the request triggers nothing.
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

/// Whether events of its process were lost since the exchange began (or nothing is known of the process any more).
pub(in crate::trace) fn lost(processes: &Processes, exchange: &Exchange) -> bool {
    processes.get(exchange.pid).is_none_or(|process| process.epoch != exchange.links.epoch)
}
