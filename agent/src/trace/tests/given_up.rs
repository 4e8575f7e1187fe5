//! Calls that are given up at a limit, and whose start side says nothing: who has answered ends them next.

use super::world::{Exchange, SECOND, World, thread};
use crate::{
    event::{ConnectionId, Thread},
    trace::span::Evidence,
};

/// A process of which one thread reads requests, and another one is told of limits.
struct Limits {
    world: World,
    reader: Thread,
    timer: Thread,
    /// It has read nothing, so that its calls have no start side.
    idle: Thread,
    clients: [ConnectionId; 3],
}

impl Limits {
    /// A process whose end sides are believed.
    fn new() -> Self {
        let mut world = World::new();
        let (reader, timer, idle) = (thread(1, 0), thread(1, 1), thread(1, 2));
        let hanging = world.open(timer);
        world.read_request(hanging, timer, "/hanging");
        let clients = [world.open(reader), world.open(reader), world.open(reader)];
        let mut limits = Self { world, reader, timer, idle, clients };
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

    fn call(&mut self, caller: Thread) -> Exchange {
        let backend = self.world.open(caller);
        self.world.write_request(backend, caller, "/")
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
    for shuts in [false, true] {
        let mut limits = Limits::after(100);
        let (request, call) = limits.without_start(0);
        limits.world.answer(request, limits.timer);
        if shuts {
            limits.world.shut(call, limits.timer);
        }
        limits.world.let_go(call, limits.timer);
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
    let mut limits = Limits::after(100);
    let (request, call) = limits.without_start(0);
    let (_, other) = limits.without_start(1);
    limits.end(request, call);
    limits.world.let_go(other, limits.timer);
    assert!(limits.has_parent(call) && !limits.has_parent(other));
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

/// A program that answers at one limit and closes other requests' calls at another says so where start sides are beyond doubt.
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
