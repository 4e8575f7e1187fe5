//! The part of an exchange by which it is judged, and by which the messages it causes are judged.

use super::{Runner, call_links::CallLinks};
use crate::{
    event::{Actor, Timestamp},
    protocol::{Origin, Shape},
    trace::exchange::Key,
};

/// What causality knows of one exchange. It must stay small, because it outlives the span.
#[derive(Debug, Clone, Copy)]
pub(in crate::trace) struct CausalLinks {
    /// The process's epoch when the exchange began. In a later epoch it neither gives nor gets a
    /// parent, because events were lost.
    pub(super) epoch: u32,
    /// Who read the first byte of the inbound request, or of the response to the call.
    pub(super) reader: Runner,
    /// What is received of it causes nothing any more.
    pub(super) causes_nothing: bool,
    /// Request: the first byte of its final response was written, or never will be. Call: the first
    /// byte of its final response was read.
    pub(super) answered: bool,
    /// When that was; 0 if it never was.
    pub(super) answered_at: Timestamp,
    /// Some call was sent with it as its cause.
    pub(super) caused_other: bool,
    /// Request: its content is known. Call: the contents of all requests that were open are known
    /// or differ from its own.
    pub(super) content_known: bool,
    role: Role,
}

/// What only inbound requests have, or only calls.
#[derive(Debug, Clone, Copy)]
enum Role {
    Request(RequestLinks),
    Call(CallLinks),
}

/// What causality knows of an inbound request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RequestLinks {
    /// No reply will come, and what its receiver does for it has no known end.
    pub(super) one_way: bool,
    /// Its first byte was read before the previous exchange of its connection was over.
    pub(super) overlaps_previous: bool,
    /// How many calls that were handed off for it are open.
    pub(super) open_handoffs: u32,
    /// It ended without a response, so it proves nothing.
    pub(super) unanswered: bool,
    /// It was read while an earlier one of its connection was not answered.
    pub(super) pipelined: bool,
}

impl CausalLinks {
    /// The links of an inbound request that begins in this epoch of its process.
    /// `overlaps_previous`: the previous exchange of the connection is not over.
    pub(in crate::trace) fn of_request(epoch: u32, origin: &Origin, overlaps_previous: bool) -> Self {
        Self::new(epoch, origin, Role::Request(RequestLinks { overlaps_previous, ..RequestLinks::default() }))
    }

    /// The exchange is none of a request with one reply.
    pub(in crate::trace) fn set_shape(&mut self, shape: Shape) {
        match &mut self.role {
            Role::Request(request) => request.one_way = shape == Shape::OneWay,
            Role::Call(call) => call.stream = shape == Shape::Stream,
        }
    }

    /// Whether this is a call of whose stream more messages may come.
    pub(super) fn is_open_stream(&self) -> bool {
        !self.answered && self.call().is_some_and(|call| call.stream)
    }

    /// The links of a call that begins in this epoch of its process.
    pub(in crate::trace) fn of_call(epoch: u32, origin: &Origin) -> Self {
        Self::new(epoch, origin, Role::Call(CallLinks::default()))
    }

    fn new(epoch: u32, origin: &Origin, role: Role) -> Self {
        Self {
            epoch,
            reader: Runner::of_origin(origin),
            causes_nothing: false,
            answered: false,
            answered_at: Timestamp::default(),
            caused_other: false,
            content_known: false,
            role,
        }
    }

    /// The links of a call; `None` of a request.
    #[inline]
    pub(super) const fn call(&self) -> Option<&CallLinks> {
        match &self.role {
            Role::Call(call) => Some(call),
            Role::Request(_) => None,
        }
    }

    #[inline]
    pub(super) const fn call_mut(&mut self) -> Option<&mut CallLinks> {
        match &mut self.role {
            Role::Call(call) => Some(call),
            Role::Request(_) => None,
        }
    }

    /// The links of a request; `None` of a call.
    #[inline]
    pub(super) const fn request(&self) -> Option<&RequestLinks> {
        match &self.role {
            Role::Request(request) => Some(request),
            Role::Call(_) => None,
        }
    }

    #[inline]
    pub(super) const fn request_mut(&mut self) -> Option<&mut RequestLinks> {
        match &mut self.role {
            Role::Request(request) => Some(request),
            Role::Call(_) => None,
        }
    }

    /// Whether this is a call that was sent while at most one request was open.
    pub(super) fn sent_alone(&self) -> bool {
        self.call().is_some_and(|call| call.sent_alone)
    }

    /// Whether this is a call that its task may still claim.
    pub(super) fn task_may_claim(&self) -> bool {
        self.call().is_some_and(|call| call.task_may_claim)
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

    /// A call has ended, perhaps without a final response. `given_up`: its own program ended it.
    pub(in crate::trace) const fn call_ended(&mut self, at: Timestamp, given_up: bool) {
        if !self.answered
            && let Some(call) = self.call_mut()
        {
            call.failed_at = at;
            call.given_up = given_up || call.shut;
        }
    }

    /// Whether a goroutine has handed off a call for this request that is not over.
    pub(in crate::trace) fn waits_for_call(&self) -> bool {
        self.request().is_some_and(|request| request.open_handoffs > 0)
    }

    /// Whether no thread has seen yet that this call ends without a response.
    pub(in crate::trace) fn may_end(&self) -> bool {
        !self.causes_nothing && self.call().is_some_and(|call| !call.end_seen)
    }

    /// A thread has seen that this call ends without a response.
    pub(in crate::trace) const fn see_end(&mut self, actor: &Actor) {
        self.reader = Runner::of(actor.thread, actor.task);
        if let Some(call) = self.call_mut() {
            call.end_seen = true;
        }
    }

    /// The program of a call has shut down the sending direction.
    pub(in crate::trace) const fn shut(&mut self) {
        if let Some(call) = self.call_mut() {
            call.shut = true;
        }
    }

    /// Whether a call's own program ended it, or shut down the sending direction before it ended.
    pub(in crate::trace) fn is_given_up(&self) -> bool {
        self.call().is_some_and(|call| call.given_up)
    }

    /// The request of a call's request side.
    pub(in crate::trace) fn request_side(&self) -> Option<Key> {
        self.call()?.request_side
    }

    /// Whether this is a call that ended without a response.
    pub(in crate::trace) fn has_failed(&self) -> bool {
        self.call().is_some_and(CallLinks::has_failed)
    }

    /// Whether this is a call whose thread had received nothing else at either end, and no other
    /// call shares its cause.
    pub(in crate::trace) fn is_unambiguous(&self) -> bool {
        self.call().is_some_and(CallLinks::is_unambiguous)
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

    /// Whether this request ended without a response, so that it proves nothing.
    pub(super) fn is_unanswered(&self) -> bool {
        self.request().is_some_and(|request| request.unanswered)
    }

    /// Whether this call was over before the request was answered, with or without a response. A
    /// call that its program gave up counts too, because some programs answer first.
    pub(in crate::trace) fn over_within(&self, request: &Self) -> bool {
        let Some(call) = self.call() else { return false };
        let over_at = self.answered_at.max(call.failed_at);
        over_at > Timestamp(0) && (over_at <= request.answered_at || call.given_up)
    }

    /// Whether both sides of this call agree, and not on this request.
    pub(in crate::trace) fn agree_on_other(&self, request: Key) -> bool {
        self.call().is_some_and(|call| call.confirmed && call.request_side != Some(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All remembered exchanges have links: 100,000 by default.
    #[test]
    fn links_stay_small() {
        assert!(size_of::<CausalLinks>() <= 160);
    }
}
