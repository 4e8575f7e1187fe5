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

mod ambiguity;
mod call_links;
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
mod response_side;
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

use super::{
    exchange::{Exchange, Key},
    exchanges::Exchanges,
    process::Processes,
    span::Evidence,
};
use crate::{
    event::{Task, Thread},
    protocol::Origin,
};

/// The longest chain of calls, each continuing the one before, that is followed.
const CHAIN: u8 = 40;

/// Which evidence may name a parent within a process. The aliases are the names in event logs of
/// older versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Request side and response side agree. Default on.
    #[serde(alias = "two_sided")]
    pub both_sides: bool,
    /// The request side alone, in processes whose calls have no conflicts. Default on.
    #[serde(alias = "start")]
    pub request_side: bool,
    /// The response side alone, in processes whose responses are all covered. Default on.
    #[serde(alias = "end")]
    pub response_side: bool,
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
            both_sides: true,
            request_side: true,
            response_side: true,
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
            continues.and_then(|call| exchanges.get(call)?.links.call()).map_or(order, |it| it.receive_order);
        let shares_cause = cause
            .key()
            .and_then(|cause| exchanges.get_mut(cause))
            .is_some_and(|message| std::mem::replace(&mut message.links.caused_other, true));
        let Some(call) = exchanges.get_mut(key) else { return RequestSide::decided(UnlinkedReason::NoCause) };
        let Some(links) = call.links.call_mut() else {
            return RequestSide::decided(UnlinkedReason::NoCause);
        };
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
        if self.rules.response_side && process.confidence.awaits_response_side() {
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
        if let Some(links) = call.links.call_mut() {
            links.connected_for = request;
        }
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
        exchanges.get_mut(key)?.links.call_mut()?.signature_hash = signature_hash;
        let call = exchanges.get(key)?;
        let process = processes.get(call.pid)?;
        let links = call.links.call()?;
        let request = links.request_side.and_then(|request_side| exchanges.get(request_side));
        let Some(request) = request.filter(|request| !request.links.answered) else {
            exchanges.get_mut(key)?.links.call_mut()?.without_open_request = true;
            return None;
        };
        let trusted = self.rules.request_side
            && links.names_one_request()
            && process.confidence.trusts_request_side(links.only_open_request, links.signature());
        let known = !lost(processes, call) && !lost(processes, request) && !links.handoff;
        let request_side = links.request_side.filter(|_| request.pid == call.pid && known && trusted)?;
        Some(Verdict::Parent(request_side, Evidence::RequestSide))
    }

    /// A call has ended. One without a response shows nothing: neither which request caused
    /// it nor that none did.
    ///
    /// An answered call that has no request side, or whose request is answered already, counts
    /// against its signature from now on, until a response side comes. It must not count before it
    /// has ended, or the calls in flight would outvote those that have ended.
    pub(in crate::trace) fn call_over(exchanges: &mut Exchanges, processes: &mut Processes, key: Key) {
        let Some(links) = exchanges.get(key).and_then(|call| call.links.call()) else { return };
        if let (true, Some(request_side)) = (links.handoff, links.request_side)
            && let Some(request) = exchanges.get_mut(request_side).and_then(|it| it.links.request_mut())
        {
            request.open_handoffs = request.open_handoffs.saturating_sub(1);
        }
        let Some(call) = exchanges.get_mut(key) else { return };
        let answered = call.links.answered;
        let pending_outcome = call.links.call_mut().and_then(|links| links.pending_outcome.take());
        if !answered {
            return;
        }
        if let Some(outcome) = pending_outcome {
            judge::record(exchanges, processes, key, outcome);
        }
        let Some(links) = exchanges.get(key).and_then(|call| call.links.call()) else { return };
        let request = links.request_side.and_then(|request_side| exchanges.get(request_side));
        let explained = !links.without_open_request && request.is_some_and(|request| !request.links.answered);
        let Some(call) = exchanges.get_mut(key) else { return };
        let Some(links) = call.links.call_mut() else { return };
        if explained || links.request_side_only || links.handoff || links.signature_outcome.is_some() {
            return;
        }
        if let Some(process) = processes.get_mut(call.pid) {
            links.signature_outcome = Some(LinkOutcome::Unexplained);
            process.confidence.record_signature_outcome(links.signature(), None, LinkOutcome::Unexplained);
        }
    }
}

/// The request that a call with this cause belongs to, the call that it continues, and the length
/// of that chain.
fn request_side_of(exchanges: &Exchanges, cause: Key) -> (Option<Key>, Option<Key>, u8) {
    let Some(message) = exchanges.get(cause) else { return (None, None, 0) };
    let request_side = request_of(message, cause);
    match message.links.call() {
        None => (request_side, None, 0),
        Some(call) => (request_side, Some(cause), call.chain_length.saturating_add(1).min(CHAIN)),
    }
}

/// The request that a message belongs to: itself, or that of the call whose response it is.
fn request_of(message: &Exchange, key: Key) -> Option<Key> {
    match message.links.call() {
        None => Some(key),
        Some(call) if call.chain_length >= CHAIN => None,
        Some(call) => call.request_side,
    }
}

/// Whether events of its process were lost since the exchange began, or the process is not known
/// any more.
pub(in crate::trace) fn lost(processes: &Processes, exchange: &Exchange) -> bool {
    processes.get(exchange.pid).is_none_or(|process| process.epoch != exchange.links.epoch)
}
