//! Tasks that threads steal: a call is sent by a thread that had read nothing, and another thread
//! reads its response and answers.

use super::world::{Exchange, SECOND, World, thread};
use crate::{
    event::{ConnectionId, Thread},
    trace::span::Evidence,
};

/// A process in which `reader` reads requests and sends calls, and `thief` takes over its tasks.
struct Stealing {
    world: World,
    reader: Thread,
    thief: Thread,
    /// A thread that has read nothing, so its calls have no request side.
    idle: Thread,
    clients: [ConnectionId; 2],
}

impl Stealing {
    /// A process with another request that is always open, so that the two sides of a call could
    /// differ.
    fn new() -> Self {
        let mut world = World::new();
        let (reader, thief, idle) = (thread(1, 0), thread(1, 1), thread(1, 2));
        let hanging = world.open(reader);
        world.read_request(hanging, reader, "/hanging");
        let clients = [world.open(reader), world.open(reader)];
        Self { world, reader, thief, idle, clients }
    }

    /// A request of this client and a call for it that this thread sends.
    fn serve(&mut self, client: usize, actor: Thread) -> (Exchange, Exchange) {
        let request = self.world.read_request(self.clients[client], self.reader, "/");
        let backend = self.world.open(actor);
        (request, self.world.write_request(backend, actor, "/"))
    }

    fn answer(&mut self, request: Exchange, call: Exchange) {
        self.world.read_response(call, self.thief);
        self.world.answer(request, self.thief);
    }

    /// Tasks that are stolen after their call, and a few that are stolen before it.
    fn steal(&mut self, times: usize) {
        for number in 0..times {
            let (request, call) = self.serve(0, if number % 8 == 0 { self.idle } else { self.reader });
            self.answer(request, call);
        }
    }

    /// A request and a call for it without a request side.
    fn stolen(&mut self) -> (Exchange, Exchange) {
        let (request, call) = self.serve(0, self.idle);
        self.answer(request, call);
        self.world.pass(SECOND);
        (request, call)
    }
}

#[test]
fn a_call_of_a_stolen_task_has_the_request_of_its_response_side_as_parent() {
    let mut stealing = Stealing::new();
    stealing.steal(160);
    let (request, call) = stealing.stolen();
    stealing.world.assert_child(call, request, Evidence::ResponseSide);
}

#[test]
fn few_agreements_prove_nothing_about_stolen_tasks() {
    let mut stealing = Stealing::new();
    stealing.steal(100);
    let (_, call) = stealing.stolen();
    assert!(stealing.world.span(call).parent.is_none());
}

/// Workers answer from a shared queue of completions. The last receive of a thread is the response
/// to another request's call.
#[test]
fn responses_from_a_completion_queue_count_against_response_sides() {
    let mut stealing = Stealing::new();
    stealing.steal(160);
    let first = stealing.serve(0, stealing.reader);
    let second = stealing.serve(1, stealing.reader);
    stealing.answer(first.0, second.1);
    stealing.answer(second.0, first.1);
    let (_, call) = stealing.stolen();
    assert!(stealing.world.span(call).parent.is_none(), "it has shown what it does");
    stealing.steal(420);
    let (_, call) = stealing.stolen();
    assert!(stealing.world.span(call).parent.is_none(), "for long");
    stealing.steal(60);
    let (request, call) = stealing.stolen();
    stealing.world.assert_child(call, request, Evidence::ResponseSide);
}

/// The same before the process was seen to do so. The response may follow from the call that has
/// this request as its request side.
#[test]
fn a_request_with_a_call_of_its_own_takes_no_other() {
    let mut stealing = Stealing::new();
    stealing.steal(160);
    let (request, call) = stealing.serve(0, stealing.reader);
    let other = stealing.serve(1, stealing.idle);
    stealing.answer(request, other.1);
    stealing.answer(other.0, call);
    stealing.world.pass(SECOND);
    assert!(stealing.world.span(other.1).parent.is_none());
}

/// A thread that steals a task has read a request itself before. Then the request side is wrong.
#[test]
fn a_wrong_request_side_does_not_count_against_response_sides() {
    let mut stealing = Stealing::new();
    stealing.steal(160);
    // A thread of its own reads it, or the next receive would be ambiguous.
    let request = stealing.world.read_request(stealing.clients[0], thread(1, 3), "/");
    let (other, call) = stealing.serve(1, stealing.reader);
    stealing.answer(request, call);
    let (next, late) = stealing.serve(0, stealing.idle);
    stealing.answer(next, late);
    stealing.world.pass(SECOND);
    stealing.world.assert_child(late, next, Evidence::ResponseSide);
    assert!(
        stealing.world.span(call).parent.is_none(),
        "its receive was unambiguous but names another request"
    );
    stealing.world.answer(other, stealing.thief);
}

/// A thread takes over a task after it has made a call for another request. Its used receive names
/// that one. A second call of a task that waits for its first call looks the same.
#[test]
fn an_uncertain_request_side_of_another_request_rules_out_the_response_side() {
    let mut stealing = Stealing::new();
    stealing.steal(160);
    let (other, its_call) = stealing.serve(1, stealing.reader);
    // A thread of its own reads it, so the reader's last receive stays that of the other request.
    let request = stealing.world.read_request(stealing.clients[0], thread(1, 3), "/");
    let backend = stealing.world.open(stealing.reader);
    let call = stealing.world.write_request(backend, stealing.reader, "/");
    stealing.answer(request, call);
    stealing.answer(other, its_call);
    stealing.world.pass(SECOND);
    assert!(stealing.world.span(call).parent.is_none());
    stealing.world.assert_child(its_call, other, Evidence::BothSides);
}

/// The second of two concurrent calls. The thread that reads its response then answers another
/// request because of a timer.
#[test]
fn one_of_several_concurrent_calls_is_not_attributed_to_a_timers_response() {
    let mut stealing = Stealing::new();
    stealing.steal(160);
    let sleeping = stealing.world.read_request(stealing.clients[0], thread(1, 3), "/sleep");
    let (request, first) = stealing.serve(1, stealing.reader);
    let backend = stealing.world.open(stealing.reader);
    let second = stealing.world.write_request(backend, stealing.reader, "/");
    stealing.world.read_response(second, stealing.thief);
    stealing.world.answer(sleeping, stealing.thief);
    stealing.answer(request, first);
    stealing.world.pass(SECOND);
    let parent = stealing.world.span(second).parent;
    assert!(parent.is_none_or(|parent| parent.span == stealing.world.id(request)));
}

/// One of several concurrent calls. After its response the thread goes on with a task that another
/// thread had woken.
#[test]
fn a_call_with_a_used_receive_is_not_attributed_to_a_request_with_its_own_call() {
    let mut stealing = Stealing::new();
    stealing.steal(160);
    let (request, its_call) = stealing.serve(0, stealing.reader);
    let (other, first) = stealing.serve(1, stealing.reader);
    let backend = stealing.world.open(stealing.reader);
    let second = stealing.world.write_request(backend, stealing.reader, "/");
    stealing.world.read_response(its_call, stealing.idle);
    stealing.world.read_response(second, stealing.thief);
    stealing.world.answer(request, stealing.thief);
    stealing.answer(other, first);
    stealing.world.pass(SECOND);
    let parent = stealing.world.span(second).parent;
    assert!(parent.is_none_or(|parent| parent.span == stealing.world.id(other)));
}

/// The second call of a task whose first call has no request side. Its receive is unambiguous but
/// names no request.
#[test]
fn a_continuation_of_a_call_without_a_request_side_has_none() {
    let mut stealing = Stealing::new();
    stealing.steal(160);
    let (request, first) = stealing.serve(0, stealing.idle);
    stealing.world.read_response(first, thread(1, 3));
    let backend = stealing.world.open(thread(1, 3));
    let second = stealing.world.write_request(backend, thread(1, 3), "/");
    stealing.answer(request, second);
    stealing.world.pass(SECOND);
    stealing.world.assert_child(second, request, Evidence::ResponseSide);
}

/// A program in which timers answer as well. What a thread reads just before is no cause of that.
#[test]
fn responses_caused_by_timers_count_against_response_sides() {
    let mut stealing = Stealing::new();
    stealing.steal(160);
    for _ in 0..4 {
        let sleeping = stealing.world.read_request(stealing.clients[0], thread(1, 3), "/sleep");
        let (request, first) = stealing.serve(1, stealing.reader);
        let backend = stealing.world.open(stealing.reader);
        let second = stealing.world.write_request(backend, stealing.reader, "/");
        stealing.answer(sleeping, first);
        stealing.answer(request, second);
    }
    let (_, call) = stealing.stolen();
    assert!(stealing.world.span(call).parent.is_none());
}

/// Where sides mostly agree and few tasks are stolen, a call without a request side still waits for
/// its response side.
#[test]
fn a_call_of_a_rarely_stolen_task_waits_for_its_response_side() {
    let mut stealing = Stealing::new();
    for number in 0..640 {
        let (request, call) =
            stealing.serve(0, if number % 64 == 0 { stealing.idle } else { stealing.reader });
        stealing.answer(request, call);
    }
    let (request, call) = stealing.stolen();
    stealing.world.assert_child(call, request, Evidence::ResponseSide);
}
