//! Tasks that one thread steals from another (tokio). One thread reads a request. Another one sends
//! the call for it, and its own last receive says nothing about that. A third thread may read the
//! response and answer the request. Such a call has a response side alone.
//!
//! Workers that answer from a shared queue of completions look the same, and there the response
//! side is wrong, because the last receive belongs to another request. But their calls have request
//! sides, which reveal it.

use super::{Confidence, Runner, ambiguity::InputAmbiguity, call_links::CallLinks};
use crate::trace::{exchange::Key, exchanges::Exchanges, process::Processes};

/// Which threads served a request, as far as the response side of its call shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// One thread read the request, read the call's response and answered the request.
    One,
    /// One thread read the request; another one read the call's response and answered the request.
    Two,
    /// One thread read the call's response; another one answered the request.
    Others,
}

impl Threads {
    pub(super) fn of(read_request: Runner, read_response: Runner, wrote_response: Runner) -> Self {
        if read_response != wrote_response {
            Self::Others
        } else if read_request == wrote_response {
            Self::One
        } else {
            Self::Two
        }
    }
}

/// Whether a call has the request that its response side names as its parent, although another
/// thread had read that request.
///
/// A doubtful request side is no obstacle if it names the same request. If it names another one,
/// however doubtfully, the call may be one of several concurrent calls of that one. And if the
/// answered request has another call by its request side, its response may follow from that call.
pub(super) fn trusts(
    exchanges: &Exchanges,
    confidence: &Confidence,
    key: Key,
    request: Key,
    threads: Threads,
) -> bool {
    let fits = |call: &CallLinks| match call.request_side {
        Some(request_side) => request_side == request && call.ambiguity != Some(InputAmbiguity::Single),
        None => true,
    };
    threads == Threads::Two
        && exchanges.get(key).and_then(|call| call.links.call()).is_some_and(fits)
        && confidence.trusts_stolen()
        && !has_calls(exchanges, request, Some(key))
}

/// Records how a response side across threads compares with a certain request side.
///
/// If they conflict, the response side is taken to be wrong if the answered request has another
/// call by its request side. Otherwise the request side names what the thread had read before it
/// stole the task, or a timer caused the response. Where tasks are stolen this happens now and
/// then, but not often.
pub(super) fn record(
    exchanges: &Exchanges,
    processes: &mut Processes,
    key: Key,
    request: Key,
    threads: Threads,
) {
    let Some(call) = exchanges.get(key).filter(|_| threads == Threads::Two) else { return };
    let Some(links) = call.links.call() else { return };
    let is_comparable = call.links.answered
        && !links.handoff
        && links.connected_for.is_none()
        && links.ambiguity == Some(InputAmbiguity::Single);
    let Some(request_side) = links.request_side.filter(|_| is_comparable) else { return };
    let Some(process) = processes.get_mut(call.pid) else { return };
    if request_side == request {
        if links.is_unambiguous() && !links.only_open_request {
            process.confidence.record_stolen(true);
        }
    } else if has_calls(exchanges, request, Some(key)) {
        process.confidence.record_stolen(false);
    } else {
        process.confidence.record_stray_stolen();
    }
}

/// Whether a request has other calls than `but` by their request sides.
fn has_calls(exchanges: &Exchanges, request: Key, but: Option<Key>) -> bool {
    let live = exchanges.get(request).and_then(|request| request.live.as_deref());
    live.is_none_or(|live| live.calls.iter().any(|call| Some(*call) != but))
}
