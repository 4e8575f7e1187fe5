//! The part of an exchange by which it is judged, and by which the messages it causes are judged.

use super::{
    Runner, UnlinkedReason,
    confidence::{CallSignature, LinkOutcome},
};
use crate::{
    event::{Actor, Clarity, Timestamp},
    protocol::Origin,
    trace::exchange::Key,
};

/// What causality knows of one exchange. It must stay small, because it outlives the span.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::trace) struct CausalLinks {
    /// The process's epoch when the exchange began. In a later epoch it neither gives nor gets a
    /// parent, because events were lost.
    pub(super) epoch: u32,
    /// Who read the first byte of the inbound request, or of the response to the call.
    pub(super) reader: Runner,
    /// Request: its first byte was read before the previous exchange of its connection was over.
    pub(super) overlaps_previous: bool,
    /// Call: a goroutine handed it off to the one that wrote it.
    pub(super) handoff: bool,
    /// Request: how many calls that were handed off for it are open.
    pub(super) open_handoffs: u32,
    /// What is received of it causes nothing any more.
    pub(super) causes_nothing: bool,
    /// Request: the first byte of its final response was written, or never will be. Call: the first
    /// byte of its final response was read.
    pub(super) answered: bool,
    /// When that was; 0 if it never was.
    pub(super) answered_at: Timestamp,
    /// Request: it ended without a response, so it proves nothing.
    pub(super) unanswered: bool,
    /// Call: when it ended without a response; 0 if it has one or is still open.
    pub(super) failed_at: Timestamp,
    /// Call: its own program shut down the sending direction.
    pub(super) shut: bool,
    /// Call: its own program ended it before the response.
    pub(super) given_up: bool,
    /// Call: it was open when the request of its request side was answered, and that request side
    /// is certain.
    pub(super) outlives: bool,
    /// Call: the thread that answered that request closed this call next. If the call gets no
    /// response, it was given up.
    pub(super) abandoned: bool,
    /// Call: it was open when the request of its request side was answered, and whoever closes it
    /// may show whose it is.
    pub(super) may_be_given_up: bool,
    /// Call: the request that a thread answered, for no reason that is seen, right before it closed
    /// this call.
    pub(super) closed_after: Option<Key>,
    /// Call: nothing that belongs to its request was read last before that request's response. If
    /// the call is answered after all, the response counts as uncovered.
    pub(super) leaves_response_uncovered: bool,
    /// Call: a thread has seen that it ends without a response.
    pub(super) end_seen: bool,
    /// Call: its outcome, recorded if its response comes. It was judged while it was still open.
    pub(super) pending_outcome: Option<LinkOutcome>,
    /// Call: the request of its request side.
    pub(super) request_side: Option<Key>,
    /// Call: the request for which its connection was made. Only for the first call of a
    /// connection, until it gets a response side.
    pub(super) connected_for: Option<Key>,
    /// Call: the earlier call whose response was its cause.
    pub(super) continues: Option<Key>,
    /// Call: how many calls precede it in that chain.
    pub(super) chain_length: u8,
    /// Call: its response caused the response to an inbound request.
    pub(super) has_response_side: bool,
    /// Call: that request, or the one named by the response side of a call that continues it, is
    /// the one of its request side.
    pub(super) confirmed: bool,
    /// Call: its request side and response side name different requests.
    pub(super) has_conflict: bool,
    /// Call: its cause, or part of the chain before it, was lost.
    pub(super) cause_lost: bool,
    /// Call: the request of its request side was the only one open when the call was sent.
    pub(super) only_open_request: bool,
    /// Call: the receive order by which its request side was found, of those that were tried.
    pub(super) receive_order: u32,
    /// Some call was sent with it as its cause.
    pub(super) caused_other: bool,
    /// Call: an earlier call has the same cause.
    pub(super) shares_cause: bool,
    /// Call: how ambiguous the receive is that its request side comes from. `None` without a
    /// request side.
    pub(super) ambiguity: Option<Clarity>,
    /// Call: it has a request side alone, unless a response side still comes.
    pub(super) request_side_only: bool,
    /// Call: several responses were read before the one that its response side is, so the response
    /// side says little.
    pub(super) response_side_is_ambiguous: bool,
    /// Call: the hash of its signature; 0 until its head is read.
    pub(super) signature_hash: u64,
    /// Request: its content is known. Call: the contents of all requests that were open are known
    /// or differ from its own.
    pub(super) content_known: bool,
    /// Call: the number of its outcome in its process's window, once it is recorded.
    pub(super) outcome_number: Option<u64>,
    /// Call: when its head was read, it had no request side whose request was open.
    pub(super) without_open_request: bool,
    /// Call: the outcome that was recorded for its signature.
    pub(super) signature_outcome: Option<LinkOutcome>,
    /// Request: it was read while an earlier one of its connection was not answered.
    pub(super) pipelined: bool,
    /// Call: at most one request was open when it was sent.
    pub(super) sent_alone: bool,
    /// Call: the task that sent it may still claim it with a response.
    pub(super) task_may_claim: bool,
    /// Call: its verdict waits for its task, because the task join of its process is trusted or may
    /// be soon.
    pub(super) awaits_task: bool,
    /// Call: why it is unlinked if its task does not claim it.
    pub(super) reason_without_task: Option<UnlinkedReason>,
    /// Call: the parent that a response side, alone or with the request side, has named.
    pub(super) response_side: Option<Key>,
    /// Call: the request for which its task has claimed it.
    pub(super) claimed_for: Option<Key>,
}

impl CausalLinks {
    /// The links of an exchange that begins in this epoch of its process. `overlaps_previous`: the
    /// previous exchange of the connection is not over.
    pub(in crate::trace) fn new(epoch: u32, origin: &Origin, overlaps_previous: bool) -> Self {
        Self { epoch, reader: Runner::of_origin(origin), overlaps_previous, ..Self::default() }
    }

    /// Call: everything that its thread had received since its last send belongs to one request.
    pub(super) fn names_one_request(&self) -> bool {
        self.ambiguity.is_some_and(|clarity| clarity != Clarity::Mixed)
    }

    /// Call: its thread had received nothing else at either end, and no other call shares its
    /// cause.
    pub(in crate::trace) fn is_unambiguous(&self) -> bool {
        self.ambiguity == Some(Clarity::Clear) && !self.response_side_is_ambiguous && !self.shares_cause
    }

    pub(super) const fn signature(&self) -> CallSignature {
        CallSignature { hash: self.signature_hash, shares_cause: self.shares_cause }
    }

    /// From here on, what is received on the connection belongs to no message.
    pub(in crate::trace) const fn cause_nothing(&mut self) {
        self.causes_nothing = true;
    }

    /// The first byte of a call's response was read.
    pub(in crate::trace) const fn response_read(&mut self, origin: &Origin) {
        self.reader = Runner::of_origin(origin);
    }

    /// A call has its final response.
    pub(in crate::trace) const fn call_answered(&mut self, at: Timestamp) {
        self.answered = true;
        self.answered_at = at;
    }

    /// Call: it ended without a final response. `given_up`: its own program ended it.
    pub(in crate::trace) const fn call_failed(&mut self, at: Timestamp, given_up: bool) {
        if !self.answered {
            self.failed_at = at;
            self.given_up = given_up || self.shut;
        }
    }

    /// Request: a goroutine has handed off a call for it that is not over.
    pub(in crate::trace) const fn waits_for_call(&self) -> bool {
        self.open_handoffs > 0
    }

    /// Call: no thread has seen yet that it ends without a response.
    pub(in crate::trace) const fn may_end(&self) -> bool {
        !self.causes_nothing && !self.end_seen
    }

    /// Call: a thread has seen that it ends without a response.
    pub(in crate::trace) const fn see_end(&mut self, actor: &Actor) {
        self.end_seen = true;
        self.reader = Runner::of(actor.thread, actor.task);
    }

    /// Call: its program has shut down the sending direction.
    pub(in crate::trace) const fn shut(&mut self) {
        self.shut = true;
    }

    /// Call: it was still open when this request, that of its request side, was answered.
    pub(super) fn outlives(&self, request: Key) -> bool {
        self.outlives && self.request_side == Some(request)
    }

    /// Call: its own program ended it, or shut down the sending direction before it ended.
    pub(in crate::trace) const fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// Call: its request side names this request, is uncertain, or is missing.
    pub(super) fn may_serve(&self, request: Key) -> bool {
        !self.has_certain_request_side() || self.request_side == Some(request)
    }

    /// Call: it has a request side that is unambiguous and does not come from a connect.
    pub(super) fn has_certain_request_side(&self) -> bool {
        self.request_side.is_some() && self.is_unambiguous() && self.connected_for.is_none()
    }

    /// Call: the request of its request side.
    pub(in crate::trace) const fn request_side(&self) -> Option<Key> {
        self.request_side
    }

    /// Call: it ended without a response.
    pub(in crate::trace) const fn has_failed(&self) -> bool {
        self.failed_at.0 > 0
    }

    /// Its content is known, and for a call that of all requests that it could forward.
    pub(in crate::trace) const fn set_content_known(&mut self) {
        self.content_known = true;
    }

    pub(in crate::trace) const fn has_known_content(&self) -> bool {
        self.content_known
    }

    /// When its final response began; 0 if it has none.
    pub(in crate::trace) const fn answered_at(&self) -> Timestamp {
        self.answered_at
    }

    /// The request is answered, or never will be.
    pub(in crate::trace) const fn is_answered(&self) -> bool {
        self.answered
    }

    /// Call: it was over before the request was answered, with or without a response. A call that
    /// its program gave up counts too, because some programs answer first.
    pub(in crate::trace) fn over_within(&self, request: &Self) -> bool {
        let over_at = self.answered_at.max(self.failed_at);
        over_at > Timestamp(0) && (over_at <= request.answered_at || self.given_up)
    }

    /// Call: both sides agree, and not on this request.
    pub(in crate::trace) fn agree_on_other(&self, request: Key) -> bool {
        self.confirmed && self.request_side != Some(request)
    }
}
