//! What is remembered of an exchange to judge it and what it causes.

use super::{
    Runner, UnlinkedReason,
    confidence::{CallSignature, LinkOutcome},
};
use crate::{
    event::{Actor, Clarity, Timestamp},
    protocol::Origin,
    trace::exchange::Key,
};

/// What causality knows of one exchange. Small: it outlives the span.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::trace) struct CausalLinks {
    /// The process's epoch when the exchange began. In a later one it neither gives nor gets a parent: something was lost.
    pub(super) epoch: u32,
    /// Who read the first byte of the request, or of the call's response.
    pub(super) reader: Runner,
    /// Request: the one before it on its connection was not over when its first byte was read.
    pub(super) overlaps_previous: bool,
    /// Call: a goroutine handed it to the one that wrote it.
    pub(super) handoff: bool,
    /// Request: calls for it that were handed over and are open.
    pub(super) open_handoffs: u32,
    /// Triggers nothing any more.
    pub(super) causes_nothing: bool,
    /// Request: the first byte of its final response was written, or never will be. Call: of it was read.
    pub(super) answered: bool,
    /// When that was; 0 when it never was.
    pub(super) answered_at: Timestamp,
    /// Request: it ended without an answer, so that it proves nothing.
    pub(super) unanswered: bool,
    /// Call: when it ended without an answer; 0 when it has one, or is open.
    pub(super) failed_at: Timestamp,
    /// Call: its own program ended its sending.
    pub(super) shut: bool,
    /// Call: its own program ended it.
    pub(super) given_up: bool,
    /// Call: it was open when the request of its start side was answered, and nothing else had to do with that start side.
    pub(super) outlives: bool,
    /// Call: who answered that request ended this next: if it gets no answer, it was given up.
    pub(super) abandoned: bool,
    /// Call: it was open when the request of its start side was answered, and what ends it next may tell whose it is.
    pub(super) may_be_given_up: bool,
    /// Call: who answered this request, which nothing else explains, ended this next.
    pub(super) ended_after: Option<Key>,
    /// Call: nothing that belongs to that request was read before its answer, which speaks against end links if this one is answered.
    pub(super) leaves_response_uncovered: bool,
    /// Call: a thread has seen that it ends without an answer.
    pub(super) end_seen: bool,
    /// Call: what it shows if an answer comes, which was not there yet when it was judged.
    pub(super) pending_outcome: Option<LinkOutcome>,
    /// Call: the request of the start side.
    pub(super) request_side: Option<Key>,
    /// Call: the request for which its connection was made, if it is the first on it and has not ended in an answer.
    pub(super) connected_for: Option<Key>,
    /// Call: the call whose response was its cause.
    pub(super) continues: Option<Key>,
    /// Call: how many calls lie before it in that chain.
    pub(super) chain_length: u8,
    /// Call: its response triggered an answer.
    pub(super) has_response_side: bool,
    /// Call: that answer, or that of a call that continues it, was the one of the request of its start side.
    pub(super) confirmed: bool,
    /// Call: its links differ.
    pub(super) has_conflict: bool,
    /// Call: something of its chain was lost.
    pub(super) cause_lost: bool,
    /// Call: the request of its start side was the only one open when it was sent.
    pub(super) only_open_request: bool,
    /// Call: by which order of receives, of those that were tried, its start side was found.
    pub(super) receive_order: u32,
    /// Some call was sent with it as cause.
    pub(super) caused_other: bool,
    /// Call: another one with the same cause went before.
    pub(super) shares_cause: bool,
    /// Call: how clear the receive is that its start side comes from; `None` without one.
    pub(super) ambiguity: Option<Clarity>,
    /// Call: it has a start side alone, unless an end side comes yet.
    pub(super) request_side_only: bool,
    /// Call: it ended in an answer together with others, so that its end says little.
    pub(super) response_side_is_ambiguous: bool,
    /// Call: what sort of call it is, a hash; 0 until its head is read.
    pub(super) signature_hash: u64,
    /// Request: its content is known to those that look for it. Call: so was that of all requests that were open.
    pub(super) content_known: bool,
    /// Call: its number among those that its process has outcome, once it is one of them.
    pub(super) outcome_number: Option<u64>,
    /// Call: no request of its start side was open when its head was read.
    pub(super) without_open_request: bool,
    /// Call: what it has outcome of its kind.
    pub(super) signature_outcome: Option<LinkOutcome>,
    /// Request: read while an earlier one of its connection was not answered.
    pub(super) pipelined: bool,
    /// Call: sent while no more than one request was open.
    pub(super) sent_alone: bool,
    /// Call: the task that sent it may still claim it with an answer.
    pub(super) task_may_claim: bool,
    /// Call: the process is trusted in that, or may be soon, so that it is no orphan before.
    pub(super) awaits_task: bool,
    /// Call: why it is an orphan if its task does not claim it.
    pub(super) reason_without_task: Option<UnlinkedReason>,
    /// Call: the request that an end side has named.
    pub(super) response_side: Option<Key>,
    /// Call: the request with whose answer its task has claimed it.
    pub(super) claimed_for: Option<Key>,
}

impl CausalLinks {
    /// Of an exchange that begins in this epoch of its process, perhaps before the one in front of it is over.
    pub(in crate::trace) fn new(epoch: u32, origin: &Origin, overlaps_previous: bool) -> Self {
        Self { epoch, reader: Runner::of_origin(origin), overlaps_previous, ..Self::default() }
    }

    /// Call: its thread had received in nothing of other requests since its last output.
    pub(super) fn names_one_request(&self) -> bool {
        self.ambiguity.is_some_and(|clarity| clarity != Clarity::Mixed)
    }

    /// Call: nothing else had been received in, at either end, and no other call has its cause.
    pub(in crate::trace) fn is_unambiguous(&self) -> bool {
        self.ambiguity == Some(Clarity::Clear) && !self.response_side_is_ambiguous && !self.shares_cause
    }

    pub(super) const fn signature(&self) -> CallSignature {
        CallSignature { hash: self.signature_hash, shares_cause: self.shares_cause }
    }

    /// What is received from here on belongs to no message.
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

    /// Call: it ended, and no final response had come; `given_up`: by the program that had sent it.
    pub(in crate::trace) const fn call_failed(&mut self, at: Timestamp, given_up: bool) {
        if !self.answered {
            self.failed_at = at;
            self.given_up = given_up || self.shut;
        }
    }

    /// Request: a goroutine has handed over a call for it that is not over.
    pub(in crate::trace) const fn waits_for_call(&self) -> bool {
        self.open_handoffs > 0
    }

    /// Call: that it has no answer, and never will, is news to whoever finds out.
    pub(in crate::trace) const fn may_end(&self) -> bool {
        !self.causes_nothing && !self.end_seen
    }

    /// Call: a thread has found out.
    pub(in crate::trace) const fn see_end(&mut self, actor: &Actor) {
        self.end_seen = true;
        self.reader = Runner::of(actor.thread, actor.task);
    }

    /// Call: its program has ended its sending.
    pub(in crate::trace) const fn shut(&mut self) {
        self.shut = true;
    }

    /// Call: it was still open when this request, that of its start side, was answered.
    pub(super) fn outlives(&self, request: Key) -> bool {
        self.outlives && self.request_side == Some(request)
    }

    /// Call: its own program ended it, or its sending before.
    pub(in crate::trace) const fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// Call: its start side, if it has one, is that request or is in doubt.
    pub(super) fn may_serve(&self, request: Key) -> bool {
        !self.has_certain_request_side() || self.request_side == Some(request)
    }

    /// Call: it has a start side, which is clear and not what its connection was made for.
    pub(super) fn has_certain_request_side(&self) -> bool {
        self.request_side.is_some() && self.is_unambiguous() && self.connected_for.is_none()
    }

    /// Call: the request of its start side.
    pub(in crate::trace) const fn request_side(&self) -> Option<Key> {
        self.request_side
    }

    /// Call: it ended without an answer.
    pub(in crate::trace) const fn has_failed(&self) -> bool {
        self.failed_at.0 > 0
    }

    /// Its content is known, and for a call that of all requests that it could be.
    pub(in crate::trace) const fn set_content_known(&mut self) {
        self.content_known = true;
    }

    pub(in crate::trace) const fn has_known_content(&self) -> bool {
        self.content_known
    }

    /// When its final response began; 0: it has none.
    pub(in crate::trace) const fn answered_at(&self) -> Timestamp {
        self.answered_at
    }

    /// The request is answered, or never will be.
    pub(in crate::trace) const fn is_answered(&self) -> bool {
        self.answered
    }

    /// Call: it was over, answered or not, before the request was answered; or its program gave it up, which some do first.
    pub(in crate::trace) fn over_within(&self, request: &Self) -> bool {
        let over_at = self.answered_at.max(self.failed_at);
        over_at > Timestamp(0) && (over_at <= request.answered_at || self.given_up)
    }

    /// Call: both links agree, and not on this request.
    pub(in crate::trace) fn agree_on_other(&self, request: Key) -> bool {
        self.confirmed && self.request_side != Some(request)
    }
}
