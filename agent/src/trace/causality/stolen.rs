//! Tasks that a thread steals from another (tokio): one thread reads a request, another one sends the call for it, with an receive of its
//! own that says nothing, and a third may read the response and answer. Such a call has an end side alone.
//!
//! Workers that answer from a shared queue of completions look the same, and there the end side is wrong: what was read last is
//! somebody else's response. But their calls have start links, which tell.

use super::{Confidence, Runner};
use crate::{
    event::Clarity,
    trace::{
        exchange::{Exchange, Key},
        exchanges::Exchanges,
        process::Processes,
    },
};

/// Which threads served a request, as far as a call that ended in its answer suffices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// One read the request, read the response and wrote the answer.
    One,
    /// One read the request, another one read the response and wrote the answer.
    Two,
    /// One read the response, another one wrote the answer.
    Others,
}

impl Threads {
    pub(super) fn of(read_request: Runner, read_response: Runner, wrote_answer: Runner) -> Self {
        if read_response != wrote_answer {
            Self::Others
        } else if read_request == wrote_answer {
            Self::One
        } else {
            Self::Two
        }
    }
}

/// Whether a call without a start side belongs to the request in whose answer it ended, although another thread had read that. One
/// that is in doubt and names the same request will do. One that names another request will not, however doubtful: the call may be one
/// of several at once for that. Nor where the answered request has another call by its start side: its answer may follow from
/// that one.
pub(super) fn trusts(
    exchanges: &Exchanges,
    confidence: &Confidence,
    key: Key,
    request: Key,
    threads: Threads,
) -> bool {
    let fits = |call: &Exchange| match call.links.request_side {
        Some(request_side) => request_side == request && call.links.ambiguity != Some(Clarity::Clear),
        None => true,
    };
    threads == Threads::Two
        && exchanges.get(key).is_some_and(fits)
        && confidence.trusts_stolen()
        && !has_calls(exchanges, request, Some(key))
}

/// What a call shows of such ends that has a start side, too. Where they differ, that speaks against the end if the answered
/// request has another call by its start side. Else it is the start side that names what the thread had read before it stole the task,
/// or a timer has answered: now and then that is so where tasks are stolen, but not often.
pub(super) fn record(
    exchanges: &Exchanges,
    processes: &mut Processes,
    key: Key,
    request: Key,
    threads: Threads,
) {
    let Some(call) = exchanges.get(key).filter(|_| threads == Threads::Two) else { return };
    let links = &call.links;
    let suffices = links.answered
        && !links.handoff
        && links.connected_for.is_none()
        && links.ambiguity == Some(Clarity::Clear);
    let Some(request_side) = links.request_side.filter(|_| suffices) else { return };
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

/// Whether a request has calls by their start links, this one left out.
fn has_calls(exchanges: &Exchanges, request: Key, but: Option<Key>) -> bool {
    let live = exchanges.get(request).and_then(|request| request.live.as_deref());
    live.is_none_or(|live| live.calls.iter().any(|call| Some(*call) != but))
}
