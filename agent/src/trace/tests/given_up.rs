//! Calls that are given up at a time limit and have no certain request side. The thread that has
//! answered the request closes them next.

use super::world::{Exchange, SECOND, World, thread};
use crate::{
    event::{ConnectionId, Thread},
    trace::{Settings, causality::Rules, span::Evidence},
};

/// A process in which one thread reads requests and another one handles time limits.
struct Limits {
    world: World,
    reader: Thread,
    timer: Thread,
    /// A thread that has read nothing, so its calls have no request side.
    idle: Thread,
    clients: [ConnectionId; 3],
    /// A request that is always open, so that the two sides of a call could differ.
    hanging: Exchange,
}

impl Limits {
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
        self.end(request, call);
    }

    /// A request and a call for it without a request side.
    fn without_start(&mut self, client: usize) -> (Exchange, Exchange) {
        (self.request(client), self.call(self.idle))
    }

    /// The time limit is over: the request is answered and its call is closed.
    fn end(&mut self, request: Exchange, call: Exchange) {
        self.world.answer(request, self.timer);
        self.world.let_go(call, self.timer);
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
        let mut limits = Limits::after(100);
        let (request, call) = limits.without_start(0);
        limits.world.answer(request, limits.timer);
        // More of the same response.
        limits.world.write_more(request.connection, limits.timer);
        if shuts {
            limits.world.shut(call, limits.timer);
        }
        limits.world.let_go(call, thread(1, closer));
        limits.world.pass(SECOND);
        limits.world.assert_child(call, request, Evidence::End);
    }
}

/// The request side names the same request, although the thread had read something else as well.
#[test]
fn an_uncertain_request_side_is_confirmed_by_the_threads_last_response() {
    for (times, known) in [(29, false), (30, true)] {
        let mut limits = Limits::after(times);
        limits.request(1);
        let request = limits.request(0);
        let call = limits.call(limits.reader);
        limits.end(request, call);
        assert_eq!(limits.has_parent(call), known);
        if known {
            limits.world.assert_child(call, request, Evidence::TwoSided);
        }
    }
}

#[test]
fn few_given_up_calls_prove_nothing() {
    let mut limits = Limits::after(99);
    let (request, call) = limits.without_start(0);
    limits.end(request, call);
    assert!(!limits.has_parent(call));
}

/// Several tasks time out at once and answer before anything is closed.
#[test]
fn a_thread_that_answered_several_requests_shows_nothing() {
    let mut limits = Limits::after(100);
    let (first, its_call) = limits.without_start(0);
    let (second, other) = limits.without_start(1);
    limits.world.answer(first, limits.timer);
    limits.world.answer(second, limits.timer);
    limits.world.let_go(its_call, limits.timer);
    limits.world.let_go(other, limits.timer);
    assert!(!limits.has_parent(its_call) && !limits.has_parent(other));
}

/// The same if the first response does not count as uncovered because its last call had failed.
#[test]
fn a_response_that_did_not_count_is_one_of_several_too() {
    let mut limits = Limits::after(100);
    let first = limits.request(0);
    let failed = limits.call(limits.reader);
    limits.world.let_go(failed, limits.idle);
    let its_call = limits.call(limits.idle);
    let (second, other) = limits.without_start(1);
    limits.world.answer(first, limits.timer);
    limits.world.answer(second, limits.timer);
    limits.world.let_go(its_call, limits.timer);
    limits.world.let_go(other, limits.timer);
    assert!(!limits.has_parent(its_call) && !limits.has_parent(other));
}

/// Two threads handle time limits at once, and one of them closes what the other one's task has
/// dropped.
#[test]
fn nothing_is_concluded_while_another_threads_response_is_unexplained() {
    let mut limits = Limits::after(100);
    let (first, its_call) = limits.without_start(0);
    let (second, _) = limits.without_start(1);
    let noise = limits.request(2);
    limits.world.answer(first, limits.reader);
    limits.world.answer(second, limits.timer);
    limits.world.let_go(its_call, limits.timer);
    assert!(!limits.has_parent(its_call));
    let _ = noise;
}

#[test]
fn only_the_first_call_closed_after_a_response_gets_a_parent() {
    for shuts in [false, true] {
        let mut limits = Limits::after(100);
        let (request, call) = limits.without_start(0);
        let (_, other) = limits.without_start(1);
        if shuts {
            limits.world.answer(request, limits.timer);
            limits.world.shut(call, limits.timer);
        } else {
            limits.end(request, call);
        }
        limits.world.let_go(other, limits.timer);
        limits.world.let_go(call, limits.timer);
        assert!(limits.has_parent(call));
        assert!(limits.world.span(other).parent.is_none());
    }
}

/// A call is given up for a fallback by a thread that has just answered another request.
#[test]
fn a_response_that_another_response_explains_shows_nothing_about_other_calls() {
    let mut limits = Limits::after(100);
    let (_, given_up) = limits.without_start(0);
    let (request, call) = limits.without_start(1);
    limits.world.read_response(call, limits.timer);
    limits.end(request, given_up);
    assert!(!limits.has_parent(given_up));
}

/// The response follows from the request's own call, which another thread closes, or which is
/// closed later.
#[test]
fn a_request_with_a_call_of_its_own_takes_no_other() {
    for others in 0..2 {
        let mut limits = Limits::after(100);
        let request = limits.request(0);
        limits.call(limits.reader);
        let (_, given_up) = if others == 0 {
            limits.without_start(1)
        } else {
            // Its request side names the request too, but it shares its cause with an earlier call.
            (request, limits.call(limits.reader))
        };
        limits.end(request, given_up);
        assert!(!limits.has_parent(given_up));
    }
}

/// A program answers at one time limit and closes other requests' calls at another. Calls with a
/// certain request side reveal it.
#[test]
fn calls_closed_after_another_requests_response_count_against_the_rule() {
    let mut limits = Limits::after(100);
    let first = limits.request(0);
    let its_call = limits.call(limits.reader);
    let second = limits.request(1);
    let other = limits.call(limits.reader);
    limits.end(first, other);
    limits.end(second, its_call);
    for (times, known) in [(399, false), (1, true)] {
        (0..times).for_each(|_| {
            limits.give_up();
            limits.serve();
        });
        let (request, call) = limits.without_start(0);
        limits.end(request, call);
        limits.world.pass(SECOND);
        let parent = limits.world.find(call).and_then(|span| span.parent);
        assert_eq!(parent.is_some(), known, "{times}");
        // Until that response has left the window.
        (0..400).for_each(|_| limits.serve());
    }
}

/// A worker answers at once what it reads, and then closes other requests' calls. Those were sent
/// before.
#[test]
fn a_call_sent_before_the_request_was_read_is_not_its_child() {
    let mut limits = Limits::after(100);
    let (_, call) = limits.without_start(0);
    let quick = limits.world.read_request(limits.clients[1], limits.timer, "/health");
    limits.end(quick, call);
    assert!(!limits.has_parent(call));
}

/// The same for calls with a certain request side. They show that the program does so.
#[test]
fn calls_sent_before_the_request_was_read_count_against_the_rule() {
    let mut limits = Limits::after(100);
    let request = limits.request(0);
    let call = limits.call(limits.reader);
    let quick = limits.world.read_request(limits.clients[1], limits.timer, "/health");
    limits.end(quick, call);
    limits.serve();
    limits.world.answer(request, limits.reader);
    let (request, call) = limits.without_start(2);
    limits.end(request, call);
    assert!(!limits.has_parent(call));
}

/// Such calls do not excuse the response either.
#[test]
fn a_call_sent_before_the_request_explains_no_response() {
    let mut limits = Limits::after(100);
    let uncovered = |limits: &Limits| {
        let figures = limits.world.tracer.process_confidence(4).0[0].figures;
        figures.responses - figures.covered
    };
    let closer = thread(1, 5);
    limits.world.read_request(limits.clients[2], closer, "/hanging");
    let (_, call) = limits.without_start(0);
    let late = limits.request(1);
    limits.world.answer(late, closer);
    limits.world.let_go(call, closer);
    assert_eq!(uncovered(&limits), 1);
    // A call whose certain request side names another request does not excuse it either.
    let mut limits = Limits::after(100);
    let late = limits.world.read_request(limits.clients[1], limits.idle, "/");
    limits.request(0);
    let call = limits.call(limits.reader);
    limits.world.read_request(limits.clients[2], closer, "/hanging");
    limits.world.answer(late, closer);
    limits.world.let_go(call, closer);
    assert_eq!(uncovered(&limits), 1);
}

/// A timeout fires on the thread that had read the request, so its response counts as covered.
/// Another thread, which has answered too, closes what the task has dropped.
#[test]
fn a_call_may_belong_to_any_request_whose_response_is_unexplained() {
    for settled in [false, true] {
        let mut limits = Limits::after(100);
        let first = limits.world.read_request(limits.clients[0], thread(1, 4), "/");
        let its_call = limits.call(limits.idle);
        let second = limits.request(1);
        let (own, call) = (limits.call(limits.idle), limits.call(limits.idle));
        let _ = its_call;
        limits.world.answer(first, thread(1, 4));
        if settled {
            limits.world.let_go(own, thread(1, 4));
        }
        limits.end(second, call);
        assert_eq!(limits.has_parent(call), settled);
    }
}

/// A request that was answered before the call was sent, or read after it, cannot be its parent.
#[test]
fn requests_not_open_when_the_call_was_sent_are_no_candidates() {
    let mut limits = Limits::after(100);
    let quick = |limits: &mut Limits| {
        let quick = limits.world.read_request(limits.clients[0], thread(1, 4), "/health");
        limits.world.answer(quick, thread(1, 4));
    };
    let request = limits.request(1);
    quick(&mut limits);
    let call = limits.call(limits.idle);
    quick(&mut limits);
    limits.end(request, call);
    limits.world.pass(SECOND);
    limits.world.assert_child(call, request, Evidence::End);
}

/// Two concurrent calls, so the second one's request side is uncertain. It is closed by a thread
/// that has answered another request.
#[test]
fn one_of_several_concurrent_calls_is_not_another_requests() {
    for own in [false, true] {
        let mut limits = Limits::after(100);
        let first = limits.request(0);
        let calls = [limits.call(limits.reader), limits.call(limits.reader)];
        let second = limits.world.read_request(limits.clients[1], limits.idle, "/");
        if own {
            limits.call(limits.idle);
        }
        let third = limits.call(limits.reader);
        limits.world.answer(first, limits.reader);
        limits.world.let_go(calls[0], limits.reader);
        limits.end(second, third);
        assert!(!limits.has_parent(third));
    }
}

/// Requests whose responses a call's response explains are no candidates either.
#[test]
fn requests_whose_responses_are_explained_are_no_candidates() {
    let mut limits = Limits::after(100);
    let (explained, answered) = limits.without_start(0);
    let (request, call) = limits.without_start(2);
    limits.world.read_response(answered, thread(1, 5));
    limits.world.answer(explained, thread(1, 5));
    limits.end(request, call);
    limits.world.pass(SECOND);
    limits.world.assert_child(call, request, Evidence::End);
}

/// A janitor closes the call of an open request after its worker has answered a request that only
/// slept.
#[test]
fn a_janitor_that_closes_calls_of_open_requests_makes_no_wrong_parents() {
    let mut limits = Limits::after(100);
    let (mut wrong, mut last) = (0, Vec::new());
    for round in 0..200 {
        // Half of the calls have a request side. The sleeping requests are open longer.
        let slept = limits.world.read_request(limits.clients[1], limits.timer, "/sleep");
        let request = limits.request(0);
        let call = limits.call(if round % 2 == 0 { limits.reader } else { limits.idle });
        let its_own = limits.call(limits.idle);
        limits.end(slept, call);
        limits.world.answer(request, limits.reader);
        limits.world.let_go(its_own, limits.reader);
        last.push(call);
    }
    limits.world.pass(SECOND);
    limits.world.shutdown();
    for call in last {
        wrong += usize::from(limits.world.span(call).parent.is_some());
    }
    assert_eq!(wrong, 0);
}

/// A pool closes an idle connection, whose last call has its response.
#[test]
fn closing_an_idle_connection_shows_nothing() {
    let mut limits = Limits::after(100);
    let (served, call) = limits.without_start(0);
    limits.world.read_response(call, limits.idle);
    let (request, own) = limits.without_start(1);
    limits.world.answer(served, limits.idle);
    limits.world.answer(request, limits.timer);
    limits.world.let_go(call, limits.timer);
    limits.world.let_go(own, limits.timer);
    limits.world.pass(SECOND);
    limits.world.shutdown();
    let id = limits.world.id(request);
    assert!(limits.world.span(call).parent.is_none_or(|parent| parent.span != id));
}

/// The first try is given up after the second one was answered.
#[test]
fn a_first_try_closed_late_gets_no_wrong_parent() {
    let mut limits = Limits::after(100);
    let request = limits.request(0);
    let (first, second) = (limits.call(limits.idle), limits.call(limits.idle));
    let (other, own) = limits.without_start(1);
    limits.world.read_response(second, limits.timer);
    limits.world.answer(request, limits.timer);
    limits.world.answer(other, limits.timer);
    limits.world.let_go(first, limits.timer);
    limits.world.let_go(own, limits.timer);
    limits.world.pass(SECOND);
    limits.world.shutdown();
    let id = limits.world.id(other);
    assert!(limits.world.span(first).parent.is_none_or(|parent| parent.span != id));
}

/// A poller whose calls hang is given up by a thread that has just answered.
#[test]
fn a_signature_that_never_has_a_response_side_gets_no_parent() {
    let mut limits = Limits::after(100);
    for _ in 0..64 {
        let backend = limits.world.open(limits.idle);
        let poll = limits.world.write_request(backend, limits.idle, "/poll");
        limits.world.read_response(poll, thread(1, 4));
    }
    limits.world.pass(SECOND);
    (0..120).for_each(|_| limits.serve());
    let request = limits.request(0);
    let backend = limits.world.open(limits.idle);
    let poll = limits.world.write_request(backend, limits.idle, "/poll");
    limits.end(request, poll);
    assert!(!limits.has_parent(poll));
}

/// A connection that is shut down is not closed yet, and its call may be answered.
#[test]
fn a_call_answered_after_shutdown_was_not_given_up() {
    let mut limits = Limits::after(100);
    let (request, call) = limits.without_start(0);
    limits.world.answer(request, limits.timer);
    limits.world.shut(call, limits.timer);
    limits.world.read_response(call, limits.idle);
    assert!(!limits.has_parent(call));
}

#[test]
fn calls_given_up_while_nothing_else_was_open_prove_nothing() {
    let mut limits = Limits::new();
    limits.world.answer(limits.hanging, limits.timer);
    (0..150).for_each(|_| limits.give_up());
    let (request, call) = limits.without_start(0);
    limits.end(request, call);
    assert!(!limits.has_parent(call));
}

#[test]
fn lost_events_make_no_parent() {
    let mut limits = Limits::after(100);
    let request = limits.request(0);
    limits.world.lose(1);
    limits.world.write_more(limits.clients[2], thread(1, 4));
    let call = limits.call(limits.idle);
    limits.end(request, call);
    assert!(!limits.has_parent(call));
}

/// Where sides mostly agree, no call waits for a response side. This one does, because its closer
/// may still show whose it is.
#[test]
fn an_uncertain_call_waits_until_it_is_closed() {
    let mut limits = Limits::new();
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
    limits.end(request, call);
    limits.world.pass(SECOND);
    limits.world.assert_child(call, request, Evidence::TwoSided);
    // But it waits no longer than until it is closed.
    limits.request(2);
    let request = limits.request(0);
    let call = limits.call(limits.reader);
    limits.world.answer(request, limits.timer);
    limits.world.let_go(call, limits.idle);
    assert!(limits.world.find(call).is_some_and(|span| span.parent.is_none()));
}

/// A thread goes from one request to the next without reading anything in between.
#[test]
fn an_explained_response_does_not_affect_the_next() {
    // The call of the first request was closed.
    let mut limits = Limits::after(100);
    let (first, its_call) = limits.without_start(0);
    limits.world.answer(first, limits.timer);
    limits.world.shut(its_call, limits.timer);
    let (second, call) = limits.without_start(1);
    limits.end(second, call);
    assert!(limits.has_parent(call));
    // The response to its own call explains the first response.
    let mut limits = Limits::after(100);
    let (second, call) = limits.without_start(1);
    let (first, its_call) = limits.without_start(0);
    limits.world.read_response(its_call, thread(1, 5));
    limits.world.answer(first, thread(1, 5));
    limits.world.answer(second, thread(1, 5));
    limits.world.let_go(call, thread(1, 5));
    assert!(limits.has_parent(call));
    // The thread has read something in between.
    let mut limits = Limits::after(100);
    let (second, call) = limits.without_start(1);
    limits.world.read_request(limits.clients[0], limits.timer, "/");
    limits.end(second, call);
    assert!(limits.has_parent(call));
}

#[test]
fn it_can_be_switched_off() {
    for (two_sided, end) in [(true, true), (false, true), (true, false)] {
        let causality = Rules { two_sided, end, ..Rules::default() };
        let settings = Settings { causality, open_notice: None, ..Settings::default() };
        let mut limits = Limits::with(World::with(settings));
        (0..100).for_each(|_| limits.give_up());
        let (request, call) = limits.without_start(0);
        limits.end(request, call);
        limits.request(1);
        let request = limits.request(0);
        let agreeing = limits.call(limits.reader);
        limits.end(request, agreeing);
        limits.world.pass(SECOND);
        limits.world.shutdown();
        assert_eq!(limits.world.span(call).parent.is_some(), end);
        assert_eq!(limits.world.span(agreeing).parent.is_some(), two_sided);
    }
}

/// Several tasks time out at once. That counts neither for nor against the rule.
#[test]
fn a_thread_that_answered_several_requests_does_not_count_against_the_rule() {
    let mut limits = Limits::after(100);
    let first = limits.request(0);
    let its_call = limits.call(limits.reader);
    let second = limits.request(1);
    let other = limits.call(limits.reader);
    limits.world.answer(first, limits.timer);
    limits.world.answer(second, limits.timer);
    limits.world.shut(its_call, limits.timer);
    limits.world.let_go(its_call, limits.timer);
    limits.world.let_go(other, limits.timer);
    (0..400).for_each(|_| limits.serve());
    let (request, call) = limits.without_start(0);
    limits.end(request, call);
    limits.world.pass(SECOND);
    limits.world.assert_child(call, request, Evidence::End);
}

/// A response that is neither covered nor excused shows that the program answers for reasons that
/// are not seen.
#[test]
fn an_uncovered_response_switches_the_rule_off() {
    let mut limits = Limits::after(100);
    let closer = thread(1, 5);
    limits.world.read_request(limits.clients[2], closer, "/hanging");
    let (request, call) = limits.without_start(1);
    let late = limits.request(0);
    limits.world.answer(late, closer);
    limits.end(request, call);
    assert!(!limits.has_parent(call));
}

/// The second call of a task whose first call has no request side. Its receive is unambiguous but
/// names no request.
#[test]
fn a_continuation_of_a_call_without_a_request_side_may_get_a_parent() {
    let mut limits = Limits::after(100);
    let (request, first) = limits.without_start(0);
    limits.world.read_response(first, thread(1, 4));
    let second = limits.call(thread(1, 4));
    limits.end(request, second);
    limits.world.pass(SECOND);
    limits.world.assert_child(second, request, Evidence::End);
}
