//! Which request a call that was given up may belong to, if several were answered.

use super::{SECOND, TimeLimits, thread};
use crate::trace::span::Evidence;

/// Several tasks time out at once and answer before anything is closed.
#[test]
fn a_thread_that_answered_several_requests_shows_nothing() {
    let mut limits = TimeLimits::trusted();
    let (first, its_call) = limits.request_and_call(0);
    let (second, other) = limits.request_and_call(1);
    limits.answer(first);
    limits.answer(second);
    limits.close(its_call);
    limits.close(other);
    limits.assert_unlinked([its_call, other]);
}

/// The same if the first response does not count as uncovered because its last call had failed.
#[test]
fn a_response_that_did_not_count_is_one_of_several_too() {
    let mut limits = TimeLimits::trusted();
    let first = limits.request(0);
    let failed = limits.call(limits.reader);
    limits.world.close_exchange(failed, limits.idle);
    let its_call = limits.call(limits.idle);
    let (second, other) = limits.request_and_call(1);
    limits.answer(first);
    limits.answer(second);
    limits.close(its_call);
    limits.close(other);
    limits.assert_unlinked([its_call, other]);
}

/// Two threads handle time limits at once, and one of them closes what the other one's task has
/// dropped.
#[test]
fn nothing_is_concluded_while_another_threads_response_is_unexplained() {
    let mut limits = TimeLimits::trusted();
    let (first, its_call) = limits.request_and_call(0);
    let (second, _) = limits.request_and_call(1);
    let noise = limits.request(2);
    limits.world.answer(first, limits.reader);
    limits.answer(second);
    limits.close(its_call);
    limits.assert_unlinked([its_call]);
    let _ = noise;
}

/// A call is given up for a fallback by a thread that has just answered another request.
#[test]
fn a_response_that_another_response_explains_shows_nothing_about_other_calls() {
    let mut limits = TimeLimits::trusted();
    let (_, given_up) = limits.request_and_call(0);
    let (request, call) = limits.request_and_call(1);
    limits.world.read_response(call, limits.timer);
    limits.time_out(request, given_up);
    limits.assert_unlinked([given_up]);
}

/// The response follows from the request's own call, which another thread closes, or which is
/// closed later.
#[test]
fn a_request_with_a_call_of_its_own_takes_no_other() {
    for others in 0..2 {
        let mut limits = TimeLimits::trusted();
        let request = limits.request(0);
        limits.call(limits.reader);
        let (_, given_up) = if others == 0 {
            limits.request_and_call(1)
        } else {
            // Its request side names the request too, but it shares its cause with an earlier call.
            (request, limits.call(limits.reader))
        };
        limits.time_out(request, given_up);
        limits.assert_unlinked([given_up]);
    }
}

/// A worker answers at once what it reads, and then closes other requests' calls. Those were sent
/// before.
#[test]
fn a_call_sent_before_the_request_was_read_is_not_its_child() {
    let mut limits = TimeLimits::trusted();
    let (_, call) = limits.request_and_call(0);
    let quick = limits.world.read_request(limits.clients[1], limits.timer, "/health");
    limits.time_out(quick, call);
    limits.assert_unlinked([call]);
}

/// A timeout fires on the thread that had read the request, so its response counts as covered.
/// Another thread, which has answered too, closes what the task has dropped.
#[test]
fn a_call_may_belong_to_any_request_whose_response_is_unexplained() {
    for settled in [false, true] {
        let mut limits = TimeLimits::trusted();
        let first = limits.world.read_request(limits.clients[0], thread(1, 4), "/");
        let its_call = limits.call(limits.idle);
        let second = limits.request(1);
        let (own, call) = (limits.call(limits.idle), limits.call(limits.idle));
        let _ = its_call;
        limits.world.answer(first, thread(1, 4));
        if settled {
            limits.world.close_exchange(own, thread(1, 4));
        }
        limits.time_out(second, call);
        assert_eq!(limits.has_parent(call), settled);
    }
}

/// A request that was answered before the call was sent, or read after it, cannot be its parent.
#[test]
fn requests_not_open_when_the_call_was_sent_are_no_candidates() {
    let mut limits = TimeLimits::trusted();
    let quick = |limits: &mut TimeLimits| {
        let quick = limits.world.read_request(limits.clients[0], thread(1, 4), "/health");
        limits.world.answer(quick, thread(1, 4));
    };
    let request = limits.request(1);
    quick(&mut limits);
    let call = limits.call(limits.idle);
    quick(&mut limits);
    limits.time_out(request, call);
    limits.assert_child(call, request, Evidence::ResponseSide);
}

/// Two concurrent calls, so the second one's request side is uncertain. It is closed by a thread
/// that has answered another request.
#[test]
fn one_of_several_concurrent_calls_is_not_another_requests() {
    for own in [false, true] {
        let mut limits = TimeLimits::trusted();
        let first = limits.request(0);
        let calls = [limits.call(limits.reader), limits.call(limits.reader)];
        let second = limits.world.read_request(limits.clients[1], limits.idle, "/");
        if own {
            limits.call(limits.idle);
        }
        let third = limits.call(limits.reader);
        limits.world.answer(first, limits.reader);
        limits.world.close_exchange(calls[0], limits.reader);
        limits.time_out(second, third);
        limits.assert_unlinked([third]);
    }
}

/// Requests whose responses a call's response explains are no candidates either.
#[test]
fn requests_whose_responses_are_explained_are_no_candidates() {
    let mut limits = TimeLimits::trusted();
    let (explained, answered) = limits.request_and_call(0);
    let (request, call) = limits.request_and_call(2);
    limits.world.read_response(answered, thread(1, 5));
    limits.world.answer(explained, thread(1, 5));
    limits.time_out(request, call);
    limits.assert_child(call, request, Evidence::ResponseSide);
}

/// A pool closes an idle connection, whose last call has its response.
#[test]
fn closing_an_idle_connection_shows_nothing() {
    let mut limits = TimeLimits::trusted();
    let (served, call) = limits.request_and_call(0);
    limits.world.read_response(call, limits.idle);
    let (request, own) = limits.request_and_call(1);
    limits.world.answer(served, limits.idle);
    limits.answer(request);
    limits.close(call);
    limits.close(own);
    limits.world.pass(SECOND);
    limits.world.shutdown();
    let id = limits.world.id(request);
    assert!(limits.world.span(call).parent.is_none_or(|parent| parent.span != id));
}

/// The first try is given up after the second one was answered.
#[test]
fn a_first_try_closed_late_gets_no_wrong_parent() {
    let mut limits = TimeLimits::trusted();
    let request = limits.request(0);
    let (first, second) = (limits.call(limits.idle), limits.call(limits.idle));
    let (other, own) = limits.request_and_call(1);
    limits.world.read_response(second, limits.timer);
    limits.answer(request);
    limits.answer(other);
    limits.close(first);
    limits.close(own);
    limits.world.pass(SECOND);
    limits.world.shutdown();
    let id = limits.world.id(other);
    assert!(limits.world.span(first).parent.is_none_or(|parent| parent.span != id));
}

/// A thread goes from one request to the next without reading anything in between.
#[test]
fn an_explained_response_does_not_affect_the_next() {
    // The call of the first request was closed.
    let mut limits = TimeLimits::trusted();
    let (first, its_call) = limits.request_and_call(0);
    limits.answer(first);
    limits.world.shut_down(its_call, limits.timer);
    let (second, call) = limits.request_and_call(1);
    limits.time_out(second, call);
    assert!(limits.has_parent(call));
    // The response to its own call explains the first response.
    let mut limits = TimeLimits::trusted();
    let (second, call) = limits.request_and_call(1);
    let (first, its_call) = limits.request_and_call(0);
    limits.world.read_response(its_call, thread(1, 5));
    limits.world.answer(first, thread(1, 5));
    limits.world.answer(second, thread(1, 5));
    limits.world.close_exchange(call, thread(1, 5));
    assert!(limits.has_parent(call));
    // The thread has read something in between.
    let mut limits = TimeLimits::trusted();
    let (second, call) = limits.request_and_call(1);
    limits.world.read_request(limits.clients[0], limits.timer, "/");
    limits.time_out(second, call);
    assert!(limits.has_parent(call));
}
