//! What counts for and against the rule that a thread closes the calls of the request that it has
//! just answered.

use super::{SECOND, TimeLimits, thread};
use crate::trace::span::Evidence;

/// A program answers at one time limit and closes other requests' calls at another. Calls with a
/// certain request side reveal it.
#[test]
fn calls_closed_after_another_requests_response_count_against_the_rule() {
    let mut limits = TimeLimits::trusted();
    let first = limits.request(0);
    let its_call = limits.call(limits.reader);
    let second = limits.request(1);
    let other = limits.call(limits.reader);
    limits.time_out(first, other);
    limits.time_out(second, its_call);
    for (times, known) in [(399, false), (1, true)] {
        (0..times).for_each(|_| {
            limits.give_up();
            limits.serve();
        });
        let (request, call) = limits.request_and_call(0);
        limits.time_out(request, call);
        limits.world.pass(SECOND);
        let parent = limits.world.find(call).and_then(|span| span.parent);
        assert_eq!(parent.is_some(), known, "{times}");
        // Until that response has left the window.
        (0..400).for_each(|_| limits.serve());
    }
}

/// The same for calls with a certain request side. They show that the program does so.
#[test]
fn calls_sent_before_the_request_was_read_count_against_the_rule() {
    let mut limits = TimeLimits::trusted();
    let request = limits.request(0);
    let call = limits.call(limits.reader);
    let quick = limits.world.read_request(limits.clients[1], limits.timer, "/health");
    limits.time_out(quick, call);
    limits.serve();
    limits.world.answer(request, limits.reader);
    let (request, call) = limits.request_and_call(2);
    limits.time_out(request, call);
    limits.assert_unlinked([call]);
}

/// Such calls do not excuse the response either.
#[test]
fn a_call_sent_before_the_request_explains_no_response() {
    let mut limits = TimeLimits::trusted();
    let uncovered = |limits: &TimeLimits| {
        let figures = limits.world.tracer.process_confidence(4).0[0].figures;
        figures.responses - figures.covered
    };
    let closer = thread(1, 5);
    limits.world.read_request(limits.clients[2], closer, "/hanging");
    let (_, call) = limits.request_and_call(0);
    let late = limits.request(1);
    limits.world.answer(late, closer);
    limits.world.close_exchange(call, closer);
    assert_eq!(uncovered(&limits), 1);
    // A call whose certain request side names another request does not excuse it either.
    let mut limits = TimeLimits::trusted();
    let late = limits.world.read_request(limits.clients[1], limits.idle, "/");
    limits.request(0);
    let call = limits.call(limits.reader);
    limits.world.read_request(limits.clients[2], closer, "/hanging");
    limits.world.answer(late, closer);
    limits.world.close_exchange(call, closer);
    assert_eq!(uncovered(&limits), 1);
}

/// A janitor closes the call of an open request after its worker has answered a request that only
/// slept.
#[test]
fn a_janitor_that_closes_calls_of_open_requests_makes_no_wrong_parents() {
    let mut limits = TimeLimits::trusted();
    let (mut wrong, mut last) = (0, Vec::new());
    for round in 0..200 {
        // Half of the calls have a request side. The sleeping requests are open longer.
        let slept = limits.world.read_request(limits.clients[1], limits.timer, "/sleep");
        let request = limits.request(0);
        let call = limits.call(if round % 2 == 0 { limits.reader } else { limits.idle });
        let its_own = limits.call(limits.idle);
        limits.time_out(slept, call);
        limits.world.answer(request, limits.reader);
        limits.world.close_exchange(its_own, limits.reader);
        last.push(call);
    }
    limits.world.pass(SECOND);
    limits.world.shutdown();
    for call in last {
        wrong += usize::from(limits.world.span(call).parent.is_some());
    }
    assert_eq!(wrong, 0);
}

/// A poller whose calls hang is given up by a thread that has just answered.
#[test]
fn a_signature_that_never_has_a_response_side_gets_no_parent() {
    let mut limits = TimeLimits::trusted();
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
    limits.time_out(request, poll);
    limits.assert_unlinked([poll]);
}

#[test]
fn calls_given_up_while_nothing_else_was_open_prove_nothing() {
    let mut limits = TimeLimits::new();
    limits.answer(limits.hanging);
    (0..150).for_each(|_| limits.give_up());
    let (request, call) = limits.request_and_call(0);
    limits.time_out(request, call);
    limits.assert_unlinked([call]);
}

/// Several tasks time out at once. That counts neither for nor against the rule.
#[test]
fn a_thread_that_answered_several_requests_does_not_count_against_the_rule() {
    let mut limits = TimeLimits::trusted();
    let first = limits.request(0);
    let its_call = limits.call(limits.reader);
    let second = limits.request(1);
    let other = limits.call(limits.reader);
    limits.answer(first);
    limits.answer(second);
    limits.world.shut_down(its_call, limits.timer);
    limits.close(its_call);
    limits.close(other);
    (0..400).for_each(|_| limits.serve());
    let (request, call) = limits.request_and_call(0);
    limits.time_out(request, call);
    limits.assert_child(call, request, Evidence::ResponseSide);
}

/// A response that is neither covered nor excused shows that the program answers for reasons that
/// are not seen.
#[test]
fn an_uncovered_response_switches_the_rule_off() {
    let mut limits = TimeLimits::trusted();
    let closer = thread(1, 5);
    limits.world.read_request(limits.clients[2], closer, "/hanging");
    let (request, call) = limits.request_and_call(1);
    let late = limits.request(0);
    limits.world.answer(late, closer);
    limits.time_out(request, call);
    limits.assert_unlinked([call]);
}
