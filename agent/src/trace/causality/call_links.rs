//! What causality knows of a call besides what it knows of every exchange: its request side, its
//! response side, and what it has shown of its process.

use super::{
    UnlinkedReason,
    ambiguity::InputAmbiguity,
    confidence::{CallSignature, LinkOutcome},
};
use crate::{event::Timestamp, trace::exchange::Key};

/// The links of a call.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CallLinks {
    /// Both ends send messages until its last reply.
    pub(super) stream: bool,
    /// A goroutine handed it off to the one that wrote it.
    pub(super) handoff: bool,
    /// When it ended without a response; 0 if it has one or is still open.
    pub(super) failed_at: Timestamp,
    /// Its own program shut down the sending direction.
    pub(super) shut: bool,
    /// Its own program ended it before the response.
    pub(super) given_up: bool,
    /// It was open when the request of its request side was answered, and that request side is
    /// certain.
    pub(super) outlives: bool,
    /// The thread that answered the request of its request side closed this call next. If the call
    /// gets no response, it was given up.
    pub(super) abandoned: bool,
    /// It was open when the request of its request side was answered, and the thread that closes it
    /// may show which request caused it.
    pub(super) may_be_given_up: bool,
    /// The request that a thread answered right before it closed this call, if nothing that was
    /// received explains that response.
    pub(super) closed_after: Option<Key>,
    /// The request of its request side was answered without a receive that explains it. If this
    /// call is answered after all, that response counts as uncovered.
    pub(super) leaves_response_uncovered: bool,
    /// A thread has seen that it ends without a response.
    pub(super) end_seen: bool,
    /// Its outcome, recorded if its response comes. It was judged while it was still open.
    pub(super) pending_outcome: Option<LinkOutcome>,
    /// Its request side: the request that its cause belongs to.
    pub(super) request_side: Option<Key>,
    /// The request for which its connection was made. Only for the first call of a connection,
    /// until it gets a response side.
    pub(super) connected_for: Option<Key>,
    /// The earlier call whose response was its cause.
    pub(super) continues: Option<Key>,
    /// How many calls precede it in the chain of calls that it continues.
    pub(super) chain_length: u8,
    /// Its response caused the response to an inbound request.
    pub(super) has_response_side: bool,
    /// Its response side, or that of a call that continues it, names the request of its request
    /// side.
    pub(super) confirmed: bool,
    /// Its request side and response side name different requests.
    pub(super) has_conflict: bool,
    /// Its cause, or part of the chain before it, was lost.
    pub(super) cause_lost: bool,
    /// The request of its request side was the only one open when the call was sent.
    pub(super) only_open_request: bool,
    /// The receive order by which its request side was found, of those that were tried.
    pub(super) receive_order: u32,
    /// An earlier call has the same cause.
    pub(super) shares_cause: bool,
    /// How ambiguous the receive is that its request side comes from. `None` without a request
    /// side.
    pub(super) ambiguity: Option<InputAmbiguity>,
    /// It has a request side alone, unless a response side still comes.
    pub(super) request_side_only: bool,
    /// Several responses were read before the one that its response side is, so the response side
    /// says little.
    pub(super) response_side_is_ambiguous: bool,
    /// The hash of its signature; 0 until its head is read.
    pub(super) signature_hash: u64,
    /// The number of its outcome in its process's window, once it is recorded.
    pub(super) outcome_number: Option<u64>,
    /// When its head was read, it had no request side whose request was open.
    pub(super) without_open_request: bool,
    /// The outcome that was recorded for its signature.
    pub(super) signature_outcome: Option<LinkOutcome>,
    /// At most one request was open when it was sent.
    pub(super) sent_alone: bool,
    /// The task that sent it may still claim it with a response.
    pub(super) task_may_claim: bool,
    /// Its verdict waits for its task, because the task join of its process is trusted or may be
    /// soon.
    pub(super) awaits_task: bool,
    /// Why it is unlinked if its task does not claim it.
    pub(super) reason_without_task: Option<UnlinkedReason>,
    /// The parent that a response side, alone or with the request side, has named.
    pub(super) response_side: Option<Key>,
    /// The request for which its task has claimed it.
    pub(super) claimed_for: Option<Key>,
}

impl CallLinks {
    /// Whether everything that its thread had received since its last send belongs to one request.
    pub(super) fn names_one_request(&self) -> bool {
        self.ambiguity.is_some_and(|ambiguity| ambiguity != InputAmbiguity::Several)
    }

    /// Whether its thread had received nothing else at either end, and no other call shares its
    /// cause.
    pub(super) fn is_unambiguous(&self) -> bool {
        self.ambiguity == Some(InputAmbiguity::Single)
            && !self.response_side_is_ambiguous
            && !self.shares_cause
    }

    pub(super) const fn signature(&self) -> CallSignature {
        CallSignature { hash: self.signature_hash, shares_cause: self.shares_cause }
    }

    /// The outcome if its sides conflict.
    pub(super) fn conflict(&self) -> LinkOutcome {
        if self.ambiguity == Some(InputAmbiguity::Single) {
            LinkOutcome::Conflict
        } else {
            LinkOutcome::AmbiguousConflict
        }
    }

    /// Whether it was still open when this request, that of its request side, was answered.
    pub(super) fn outlives(&self, request: Key) -> bool {
        self.outlives && self.request_side == Some(request)
    }

    /// Whether its request side names this request, is uncertain, or is missing.
    pub(super) fn may_serve(&self, request: Key) -> bool {
        !self.has_certain_request_side() || self.request_side == Some(request)
    }

    /// Whether it has a request side that is unambiguous and does not come from a connect.
    pub(super) fn has_certain_request_side(&self) -> bool {
        self.request_side.is_some() && self.is_unambiguous() && self.connected_for.is_none()
    }

    /// Whether it ended without a response.
    pub(super) const fn has_failed(&self) -> bool {
        self.failed_at.0 > 0
    }
}
