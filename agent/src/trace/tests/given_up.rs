//! Calls that are given up at a limit, and whose start side says nothing: who has answered ends them next.

use super::world::{Exchange, SECOND, World, thread};
use crate::{
    event::{ConnectionId, Thread},
    trace::{Settings, causality::Rules, span::Evidence},
};

/// A process of which one thread reads requests, and another one is told of limits.
struct Limits {
    world: World,
    reader: Thread,
    timer: Thread,
    /// It has read nothing, so that its calls have no start side.
    idle: Thread,
    clients: [ConnectionId; 3],
    /// A request that is open all the time, so that links might differ.
    hanging: Exchange,
}

impl Limits {
    /// A process whose end links are trusted.
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

    /// Where this many calls whose start side is beyond doubt were given up.
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

    /// A call that is given up, and whose start side is beyond doubt.
    fn give_up(&mut self) {
        let request = self.request(0);
        let call = self.call(self.reader);
        self.end(request, call);
    }

    /// A request, and a call for it without a start side.
    fn without_start(&mut self, client: usize) -> (Exchange, Exchange) {
        (self.request(client), self.call(self.idle))
    }

    /// The limit is over: the request is answered, and its call is closed.
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
fn a_call_that_is_ended_next_after_an_answer_was_made_for_it() {
    for (shuts, closer) in [(false, 1), (true, 1), (true, 2)] {
        let mut limits = Limits::after(100);
        let (request, call) = limits.without_start(0);
        limits.world.answer(request, limits.timer);
        // More of the same answer.
        limits.world.write_more(request.connection, limits.timer);
        if shuts {
            limits.world.shut(call, limits.timer);
        }
        limits.world.let_go(call, thread(1, closer));
        limits.world.pass(SECOND);
        limits.world.assert_child(call, request, Evidence::End);
    }
}

/// The start side says the same, although the thread had read something else as well.
#[test]
fn a_start_side_in_doubt_is_confirmed_by_who_ends_the_call_next() {
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
fn few_calls_that_were_given_up_prove_nothing() {
    let mut limits = Limits::after(99);
    let (request, call) = limits.without_start(0);
    limits.end(request, call);
    assert!(!limits.has_parent(call));
}

/// Several tasks are told of their limits at once, and answer before anything is closed.
#[test]
fn who_has_answered_several_requests_tells_nothing() {
    let mut limits = Limits::after(100);
    let (first, its_call) = limits.without_start(0);
    let (second, other) = limits.without_start(1);
    limits.world.answer(first, limits.timer);
    limits.world.answer(second, limits.timer);
    limits.world.let_go(its_call, limits.timer);
    limits.world.let_go(other, limits.timer);
    assert!(!limits.has_parent(its_call) && !limits.has_parent(other));
}

/// The same where nothing counts the first answer as uncovered: its last call had failed.
#[test]
fn an_answer_that_did_not_count_is_one_of_several_too() {
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

/// Two threads are told of limits at once, and one of them closes what the other's task has dropped.
#[test]
fn nothing_is_told_while_another_threads_answer_waits_to_be_explained() {
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
fn only_the_first_call_that_is_ended_after_an_answer_is_told_of() {
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

/// A call is given up for another one (a fallback) by the thread that has just answered somebody else.
#[test]
fn an_answer_that_a_response_explains_tells_of_no_other_call() {
    let mut limits = Limits::after(100);
    let (_, given_up) = limits.without_start(0);
    let (request, call) = limits.without_start(1);
    limits.world.read_response(call, limits.timer);
    limits.end(request, given_up);
    assert!(!limits.has_parent(given_up));
}

/// The answer follows from the request's own call, which is closed by another thread or later.
#[test]
fn a_request_with_a_call_of_its_own_takes_no_other() {
    for others in 0..2 {
        let mut limits = Limits::after(100);
        let request = limits.request(0);
        limits.call(limits.reader);
        let (_, given_up) = if others == 0 {
            limits.without_start(1)
        } else {
            // Its start side names the request, too, but another call went before.
            (request, limits.call(limits.reader))
        };
        limits.end(request, given_up);
        assert!(!limits.has_parent(given_up));
    }
}

/// A program that answers at one limit and closes other requests' calls at another says so where start links are beyond doubt.
#[test]
fn calls_that_were_ended_after_anothers_answer_speak_against_it() {
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
        // Until that answer is forgotten.
        (0..400).for_each(|_| limits.serve());
    }
}

/// A worker that answers at once what it reads, in front of others' calls that it closes: they had been sent before.
#[test]
fn a_call_that_was_sent_before_the_request_was_read_is_another_ones() {
    let mut limits = Limits::after(100);
    let (_, call) = limits.without_start(0);
    let quick = limits.world.read_request(limits.clients[1], limits.timer, "/health");
    limits.end(quick, call);
    assert!(!limits.has_parent(call));
}

/// The same where start links are beyond doubt: then its program is known to do so.
#[test]
fn calls_that_were_sent_before_the_request_was_read_speak_against_it() {
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

/// They do not excuse that answer, either.
#[test]
fn a_call_that_was_sent_before_explains_no_answer() {
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
    // Nor does one that is another request's beyond doubt.
    let mut limits = Limits::after(100);
    let late = limits.world.read_request(limits.clients[1], limits.idle, "/");
    limits.request(0);
    let call = limits.call(limits.reader);
    limits.world.read_request(limits.clients[2], closer, "/hanging");
    limits.world.answer(late, closer);
    limits.world.let_go(call, closer);
    assert_eq!(uncovered(&limits), 1);
}

/// A limit is over on the thread that had read the request, so that the answer counts as covered, and another thread, which has answered
/// as well, closes what the task has dropped.
#[test]
fn a_call_may_be_for_any_request_whose_answer_nothing_explains() {
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

/// One that was answered before the call was sent, or read after it, has nothing to do with it.
#[test]
fn requests_that_were_not_open_when_a_call_was_sent_are_no_candidates() {
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

/// The second of two calls at once, whose start side is in doubt therefore, is closed by a thread that has answered somebody else.
#[test]
fn one_of_several_calls_at_once_is_not_anothers() {
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

/// Those are none, either, whose answer a response explains.
#[test]
fn requests_whose_answers_are_explained_are_no_candidates() {
    let mut limits = Limits::after(100);
    let (explained, answered) = limits.without_start(0);
    let (request, call) = limits.without_start(2);
    limits.world.read_response(answered, thread(1, 5));
    limits.world.answer(explained, thread(1, 5));
    limits.end(request, call);
    limits.world.pass(SECOND);
    limits.world.assert_child(call, request, Evidence::End);
}

/// A janitor closes a call of a request that is open yet, after its worker has answered one that had only slept.
#[test]
fn a_janitor_that_closes_calls_of_open_requests_is_found_out() {
    let mut limits = Limits::after(100);
    let (mut wrong, mut last) = (0, Vec::new());
    for round in 0..200 {
        // Half of the calls have a start side. Those that sleep are open longer.
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

/// A pool closes a connection that nobody uses: its last call has its response.
#[test]
fn idle_connections_that_are_closed_say_nothing() {
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
fn a_first_try_that_is_ended_late_is_nobody_elses() {
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

/// A poller whose calls hang is given up by whoever has answered.
#[test]
fn a_kind_of_call_that_never_ends_in_answers_is_nobodys() {
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

/// What is shut is not closed yet, and may be answered.
#[test]
fn a_call_that_is_answered_after_all_was_not_given_up() {
    let mut limits = Limits::after(100);
    let (request, call) = limits.without_start(0);
    limits.world.answer(request, limits.timer);
    limits.world.shut(call, limits.timer);
    limits.world.read_response(call, limits.idle);
    assert!(!limits.has_parent(call));
}

#[test]
fn calls_that_were_given_up_while_nothing_else_was_open_prove_nothing() {
    let mut limits = Limits::new();
    limits.world.answer(limits.hanging, limits.timer);
    (0..150).for_each(|_| limits.give_up());
    let (request, call) = limits.without_start(0);
    limits.end(request, call);
    assert!(!limits.has_parent(call));
}

#[test]
fn what_was_lost_makes_no_parent() {
    let mut limits = Limits::after(100);
    let request = limits.request(0);
    limits.world.lose(1);
    limits.world.write_more(limits.clients[2], thread(1, 4));
    let call = limits.call(limits.idle);
    limits.end(request, call);
    assert!(!limits.has_parent(call));
}

/// Where links mostly agree, no call waits for an end side: this one does, which may be told of yet.
#[test]
fn a_call_in_doubt_waits_for_who_ends_it() {
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
    // Not longer than until it is ended.
    limits.request(2);
    let request = limits.request(0);
    let call = limits.call(limits.reader);
    limits.world.answer(request, limits.timer);
    limits.world.let_go(call, limits.idle);
    assert!(limits.world.find(call).is_some_and(|span| span.parent.is_none()));
}

/// A thread goes from one request to the next with nothing read in between.
#[test]
fn an_answer_that_owes_nothing_says_nothing_of_the_next() {
    // The call of the first was ended.
    let mut limits = Limits::after(100);
    let (first, its_call) = limits.without_start(0);
    limits.world.answer(first, limits.timer);
    limits.world.shut(its_call, limits.timer);
    let (second, call) = limits.without_start(1);
    limits.end(second, call);
    assert!(limits.has_parent(call));
    // Its response explains it, and nothing else.
    let mut limits = Limits::after(100);
    let (second, call) = limits.without_start(1);
    let (first, its_call) = limits.without_start(0);
    limits.world.read_response(its_call, thread(1, 5));
    limits.world.answer(first, thread(1, 5));
    limits.world.answer(second, thread(1, 5));
    limits.world.let_go(call, thread(1, 5));
    assert!(limits.has_parent(call));
    // It was read later.
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

/// Several tasks are told of their limits at once: that speaks neither for nor against it.
#[test]
fn who_has_answered_several_requests_does_not_speak_against_it() {
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

/// An answer that nothing covers or excuses says that its program answers for reasons which are not seen.
#[test]
fn where_an_answer_is_uncovered_nothing_is_told() {
    let mut limits = Limits::after(100);
    let closer = thread(1, 5);
    limits.world.read_request(limits.clients[2], closer, "/hanging");
    let (request, call) = limits.without_start(1);
    let late = limits.request(0);
    limits.world.answer(late, closer);
    limits.end(request, call);
    assert!(!limits.has_parent(call));
}

/// The second call of a task whose first one has no start side: its receive is clear, but says nothing.
#[test]
fn a_call_that_goes_on_from_one_without_a_start_side_may_be_told_of() {
    let mut limits = Limits::after(100);
    let (request, first) = limits.without_start(0);
    limits.world.read_response(first, thread(1, 4));
    let second = limits.call(thread(1, 4));
    limits.end(request, second);
    limits.world.pass(SECOND);
    limits.world.assert_child(second, request, Evidence::End);
}
