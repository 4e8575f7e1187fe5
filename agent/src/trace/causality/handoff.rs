//! Calls that one goroutine hands off to another one, which writes them, as Go's `net/http` does.
//! The last receive of the first goroutine comes with the call, so its request is known at once,
//! from the first call of a process on.
//!
//! A goroutine does one thing at a time. One case could still deceive: a client that pipelines its
//! requests. Then the goroutine that serves the first request may have read bytes of the second
//! one. Two conditions exclude that case. The request must be the first of its connection that is
//! not over. And if it began before the previous one was over, another goroutine must have read its
//! beginning: `net/http` has a background reader for that, and the serving goroutine reads on only
//! when its handler has returned.

use super::{Causality, Cause, Runner, UnlinkedReason, Verdict, lost, request_side_of};
use crate::{
    event::LastReceive,
    trace::{
        exchange::{Exchange, Key},
        exchanges::{Connection, Exchanges},
        process::Processes,
        span::Evidence,
    },
};

impl Causality {
    /// The verdict on a handed-off call. `receive` is the last receive of the goroutine that handed
    /// it off.
    pub(in crate::trace) fn judge_handoff(
        &self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
        goroutine: u64,
        receive: Option<LastReceive>,
    ) -> Verdict {
        let cause = match self.rules.goroutine {
            true => Cause::of(exchanges, processes, receive),
            // The goroutine that writes the call has received nothing itself.
            false => Cause::None,
        };
        let (request_side, continues, chain_length) = match cause {
            Cause::None | Cause::Lost => (None, None, 0),
            Cause::Message { key: cause, .. } => request_side_of(exchanges, cause),
        };
        let Some(call) = exchanges.get_mut(key) else { return Verdict::Unlinked(UnlinkedReason::NoCause) };
        let pid = call.pid;
        let Some(links) = call.links.call_mut() else {
            return Verdict::Unlinked(UnlinkedReason::NoCause);
        };
        (links.request_side, links.continues, links.chain_length) = (request_side, continues, chain_length);
        links.handoff = true;
        links.cause_lost = cause == Cause::Lost;
        let Some(process) = processes.get_mut(pid).filter(|_| cause != Cause::Lost) else {
            return Verdict::Unlinked(UnlinkedReason::Loss);
        };
        let trusted = process.confidence.trusts_handoff();
        let Some(request_side) = request_side else { return Verdict::Unlinked(UnlinkedReason::NoCause) };
        if let Some(request) = exchanges.get_mut(request_side).and_then(|it| it.links.request_mut()) {
            request.open_handoffs += 1;
        }
        let Some(request) = exchanges.get(request_side) else {
            return Verdict::Unlinked(UnlinkedReason::NoCause);
        };
        if lost(processes, request) {
            return Verdict::Unlinked(UnlinkedReason::Loss);
        }
        if request.links.answered || request.pid != pid {
            return Verdict::Unlinked(UnlinkedReason::RequestSideOnly);
        }
        if !trusted {
            return Verdict::Unlinked(UnlinkedReason::Conflict);
        }
        let before =
            request.ordinal.checked_sub(1).and_then(|ordinal| exchanges.key(request.connection, ordinal));
        let multiplexed = exchanges.connection(request.connection).is_some_and(Connection::is_multiplexed);
        let before = before.filter(|_| !multiplexed);
        let waits = before.and_then(|before| exchanges.get(before)).is_some_and(Exchange::open);
        let overlaps = request.links.request().is_some_and(|links| links.overlaps_previous);
        let read_ahead = overlaps && request.links.reader == Runner::Goroutine(goroutine);
        if waits || read_ahead {
            return Verdict::Unlinked(UnlinkedReason::Pipelined);
        }
        Verdict::Parent(request_side, Evidence::Goroutine)
    }
}
