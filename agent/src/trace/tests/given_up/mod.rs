//! Calls that are given up at a time limit and have no certain request side. The thread that has
//! answered the request closes them next.

mod candidates;
mod evidence;

use super::world::{Exchange, SECOND, World, thread};
use crate::{
    event::{ConnectionId, Thread},
    trace::{Settings, causality::Rules, span::Evidence},
};

/// A process in which one thread reads requests and another one handles time limits.
struct TimeLimits {
    world: World,
    reader: Thread,
    timer: Thread,
    /// A thread that has read nothing, so its calls have no request side.
    idle: Thread,
    clients: [ConnectionId; 3],
    /// A request that is always open, so that the two sides of a call could differ.
    hanging: Exchange,
}

impl TimeLimits {
    /// A process whose response sides are trusted.
    fn new() -> Self {
        Self::with(World::new())
    }

    fn with(mut world: World) -> Self {
        let (reader, timer, idle) = (thread(1, 0), thread(1, 1), thread(1, 2));
        let hanging = world.open(timer);
        let hanging = world.read_request(hanging, timer, "/hanging");
        let clients = [world.open(reader), world.open(reader), world.open(reader)];
        let mut limits = Self { world, reader, timer, idle, clients, hanging };
        for _ in 0..120 {
            limits.serve();
        }
        limits
    }

    /// The same after enough calls with a certain request side were given up.
    fn trusted() -> Self {
        Self::after(100)
    }

    /// The same after this many calls with a certain request side were given up.
    fn after(times: usize) -> Self {
        let mut limits = Self::new();
        (0..times).for_each(|_| limits.give_up());
        limits
    }

    fn request(&mut self, client: usize) -> Exchange {
        self.world.read_request(self.clients[client], self.reader, "/")
    }

    fn call(&mut self, actor: Thread) -> Exchange {
        let backend = self.world.open(actor);
        self.world.write_request(backend, actor, "/")
    }

    /// A request that is answered after its call was.
    fn serve(&mut self) {
        let request = self.request(0);
        let call = self.call(self.idle);
        self.world.read_response(call, self.reader);
        self.world.answer(request, self.reader);
    }

    /// A call with a certain request side that is given up.
    fn give_up(&mut self) {
        let request = self.request(0);
        let call = self.call(self.reader);
        self.time_out(request, call);
    }

    /// A request and a call for it without a request side.
    fn request_and_call(&mut self, client: usize) -> (Exchange, Exchange) {
        (self.request(client), self.call(self.idle))
    }

    /// The time limit is over: the request is answered and its call is closed.
    fn time_out(&mut self, request: Exchange, call: Exchange) {
        self.answer(request);
        self.close(call);
    }

    /// The request is answered by the thread that handles time limits.
    fn answer(&mut self, request: Exchange) {
        self.world.answer(request, self.timer);
    }

    /// The call is closed by the thread that handles time limits.
    fn close(&mut self, call: Exchange) {
        self.world.close_exchange(call, self.timer);
    }

    #[track_caller]
    fn assert_child(&mut self, call: Exchange, request: Exchange, evidence: Evidence) {
        self.world.pass(SECOND);
        self.world.assert_child(call, request, evidence);
    }

    #[track_caller]
    fn assert_unlinked<const N: usize>(&mut self, calls: [Exchange; N]) {
        for call in calls {
            assert!(!self.has_parent(call), "{call:?}");
        }
    }

    fn has_parent(&mut self, call: Exchange) -> bool {
        self.world.pass(SECOND);
        self.world.shutdown();
        self.world.span(call).parent.is_some()
    }
}

#[test]
fn a_call_closed_right_after_a_response_was_made_for_that_request() {
    for (shuts, closer) in [(false, 1), (true, 1), (true, 2)] {
        let mut limits = TimeLimits::trusted();
        let (request, call) = limits.request_and_call(0);
        limits.answer(request);
        // More of the same response.
        limits.world.write_more(request.connection, limits.timer);
        if shuts {
            limits.world.shut_down(call, limits.timer);
        }
        limits.world.close_exchange(call, thread(1, closer));
        limits.assert_child(call, request, Evidence::ResponseSide);
    }
}

/// The request side names the same request, although the thread had read something else as well.
#[test]
fn an_uncertain_request_side_is_confirmed_by_the_threads_last_response() {
    for (times, known) in [(29, false), (30, true)] {
        let mut limits = TimeLimits::after(times);
        limits.request(1);
        let request = limits.request(0);
        let call = limits.call(limits.reader);
        limits.time_out(request, call);
        assert_eq!(limits.has_parent(call), known);
        if known {
            limits.world.assert_child(call, request, Evidence::BothSides);
        }
    }
}

#[test]
fn few_given_up_calls_prove_nothing() {
    let mut limits = TimeLimits::after(99);
    let (request, call) = limits.request_and_call(0);
    limits.time_out(request, call);
    limits.assert_unlinked([call]);
}

#[test]
fn only_the_first_call_closed_after_a_response_gets_a_parent() {
    for shuts in [false, true] {
        let mut limits = TimeLimits::trusted();
        let (request, call) = limits.request_and_call(0);
        let (_, other) = limits.request_and_call(1);
        if shuts {
            limits.answer(request);
            limits.world.shut_down(call, limits.timer);
        } else {
            limits.time_out(request, call);
        }
        limits.close(other);
        limits.close(call);
        assert!(limits.has_parent(call));
        assert!(limits.world.span(other).parent.is_none());
    }
}

/// A connection that is shut down is not closed yet, and its call may be answered.
#[test]
fn a_call_answered_after_shutdown_was_not_given_up() {
    let mut limits = TimeLimits::trusted();
    let (request, call) = limits.request_and_call(0);
    limits.answer(request);
    limits.world.shut_down(call, limits.timer);
    limits.world.read_response(call, limits.idle);
    limits.assert_unlinked([call]);
}

#[test]
fn lost_events_make_no_parent() {
    let mut limits = TimeLimits::trusted();
    let request = limits.request(0);
    limits.world.lose(1);
    limits.world.write_more(limits.clients[2], thread(1, 4));
    let call = limits.call(limits.idle);
    limits.time_out(request, call);
    limits.assert_unlinked([call]);
}

/// Where sides mostly agree, no call waits for a response side. This one does, because its closer
/// may still show whose it is.
#[test]
fn an_uncertain_call_waits_until_it_is_closed() {
    let mut limits = TimeLimits::new();
    for _ in 0..450 {
        let request = limits.request(0);
        let call = limits.call(limits.reader);
        limits.world.read_response(call, limits.reader);
        limits.world.answer(request, limits.reader);
    }
    (0..30).for_each(|_| limits.give_up());
    limits.request(1);
    let request = limits.request(0);
    let call = limits.call(limits.reader);
    limits.time_out(request, call);
    limits.assert_child(call, request, Evidence::BothSides);
    // But it waits no longer than until it is closed.
    limits.request(2);
    let request = limits.request(0);
    let call = limits.call(limits.reader);
    limits.answer(request);
    limits.world.close_exchange(call, limits.idle);
    assert!(limits.world.find(call).is_some_and(|span| span.parent.is_none()));
}

#[test]
fn it_can_be_switched_off() {
    for (both_sides, response_side) in [(true, true), (false, true), (true, false)] {
        let causality = Rules { both_sides, response_side, ..Rules::default() };
        let settings = Settings { causality, open_notice: None, ..Settings::default() };
        let mut limits = TimeLimits::with(World::with(settings));
        (0..100).for_each(|_| limits.give_up());
        let (request, call) = limits.request_and_call(0);
        limits.time_out(request, call);
        limits.request(1);
        let request = limits.request(0);
        let agreeing = limits.call(limits.reader);
        limits.time_out(request, agreeing);
        limits.world.pass(SECOND);
        limits.world.shutdown();
        assert_eq!(limits.world.span(call).parent.is_some(), response_side);
        assert_eq!(limits.world.span(agreeing).parent.is_some(), both_sides);
    }
}

/// The second call of a task whose first call has no request side. Its receive is unambiguous but
/// names no request.
#[test]
fn a_continuation_of_a_call_without_a_request_side_may_get_a_parent() {
    let mut limits = TimeLimits::trusted();
    let (request, first) = limits.request_and_call(0);
    limits.world.read_response(first, thread(1, 4));
    let second = limits.call(thread(1, 4));
    limits.time_out(request, second);
    limits.assert_child(second, request, Evidence::ResponseSide);
}
