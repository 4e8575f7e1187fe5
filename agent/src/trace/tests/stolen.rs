//! Tasks that threads steal: a call that is sent by a thread which had read nothing, and ends in an answer of another one.

use super::world::{Exchange, SECOND, World, thread};
use crate::{
    event::{ConnectionId, Thread},
    trace::span::Evidence,
};

/// A process of which this one reads requests and sends calls, and the other takes over.
struct Stealing {
    world: World,
    reader: Thread,
    thief: Thread,
    /// It has read nothing, so that its calls have no start side.
    idle: Thread,
    clients: [ConnectionId; 2],
}

impl Stealing {
    /// Another request is open all the time, so that links might differ.
    fn new() -> Self {
        let mut world = World::new();
        let (reader, thief, idle) = (thread(1, 0), thread(1, 1), thread(1, 2));
        let hanging = world.open(reader);
        world.read_request(hanging, reader, "/hanging");
        let clients = [world.open(reader), world.open(reader)];
        Self { world, reader, thief, idle, clients }
    }

    /// A request of this client, and a call for it that this thread sends.
    fn serve(&mut self, client: usize, actor: Thread) -> (Exchange, Exchange) {
        let request = self.world.read_request(self.clients[client], self.reader, "/");
        let backend = self.world.open(actor);
        (request, self.world.write_request(backend, actor, "/"))
    }

    fn answer(&mut self, request: Exchange, call: Exchange) {
        self.world.read_response(call, self.thief);
        self.world.answer(request, self.thief);
    }

    /// So many tasks that are stolen, a few of which before they had called.
    fn steal(&mut self, times: usize) {
        for number in 0..times {
            let (request, call) = self.serve(0, if number % 8 == 0 { self.idle } else { self.reader });
            self.answer(request, call);
        }
    }

    /// A call without a start side, and its request.
    fn stolen(&mut self) -> (Exchange, Exchange) {
        let (request, call) = self.serve(0, self.idle);
        self.answer(request, call);
        self.world.pass(SECOND);
        (request, call)
    }
}

#[test]
fn a_call_of_a_stolen_task_belongs_to_the_request_in_whose_answer_it_ended() {
    let mut stealing = Stealing::new();
    stealing.steal(160);
    let (request, call) = stealing.stolen();
    stealing.world.assert_child(call, request, Evidence::End);
}

#[test]
fn few_agreements_prove_nothing_of_stolen_tasks() {
    let mut stealing = Stealing::new();
    stealing.steal(100);
    let (_, call) = stealing.stolen();
    assert!(stealing.world.span(call).parent.is_none());
}

/// Workers that answer from a shared queue of completions: what a thread has read last is another request's response.
#[test]
fn answers_from_a_queue_of_completions_speak_against_ends() {
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
    stealing.world.assert_child(call, request, Evidence::End);
}

/// The same before it was seen to do so: the answer may follow from the call that the request has by its start side.
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

/// A thread that steals a task has read a request of its own before: then it is the start side that is wrong.
#[test]
fn a_wrong_start_side_does_not_speak_against_ends() {
    let mut stealing = Stealing::new();
    stealing.steal(160);
    // By a thread of its own: what is read after it would not be clear.
    let request = stealing.world.read_request(stealing.clients[0], thread(1, 3), "/");
    let (other, call) = stealing.serve(1, stealing.reader);
    stealing.answer(request, call);
    let (next, late) = stealing.serve(0, stealing.idle);
    stealing.answer(next, late);
    stealing.world.pass(SECOND);
    stealing.world.assert_child(late, next, Evidence::End);
    assert!(stealing.world.span(call).parent.is_none(), "its receive was clear, and says something else");
    stealing.world.answer(other, stealing.thief);
}

/// A thread that takes over a task after it has called for another request: its receive was used, and names that one. So does the
/// second call of a task that waits for the first one, too.
#[test]
fn a_start_side_in_doubt_that_names_another_request_speaks_against_the_end() {
    let mut stealing = Stealing::new();
    stealing.steal(160);
    let (other, its_call) = stealing.serve(1, stealing.reader);
    // By a thread of its own: the reader's receive stays that of the other request.
    let request = stealing.world.read_request(stealing.clients[0], thread(1, 3), "/");
    let backend = stealing.world.open(stealing.reader);
    let call = stealing.world.write_request(backend, stealing.reader, "/");
    stealing.answer(request, call);
    stealing.answer(other, its_call);
    stealing.world.pass(SECOND);
    assert!(stealing.world.span(call).parent.is_none());
    stealing.world.assert_child(its_call, other, Evidence::TwoSided);
}

/// The second of two calls at once, whose response a thread reads that then answers somebody else's request by a timer.
#[test]
fn one_of_several_calls_at_once_is_not_taken_by_a_timers_answer() {
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

/// One of several calls at once, after whose response a thread goes on with a task that another one had woken.
#[test]
fn a_call_with_a_used_input_is_not_taken_for_that_of_a_request_with_its_own() {
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

/// The second call of a task whose first one has no start side, either: its receive is clear, but says nothing.
#[test]
fn a_call_that_goes_on_from_one_without_a_start_side_has_none() {
    let mut stealing = Stealing::new();
    stealing.steal(160);
    let (request, first) = stealing.serve(0, stealing.idle);
    stealing.world.read_response(first, thread(1, 3));
    let backend = stealing.world.open(thread(1, 3));
    let second = stealing.world.write_request(backend, thread(1, 3), "/");
    stealing.answer(request, second);
    stealing.world.pass(SECOND);
    stealing.world.assert_child(second, request, Evidence::End);
}

/// A program in which timers answer as well: what a thread reads just before is no reason for that.
#[test]
fn answers_by_timers_speak_against_ends() {
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

/// Where links mostly agree and few tasks are stolen, a call without a start side waits for its end all the same.
#[test]
fn few_stolen_tasks_are_waited_for() {
    let mut stealing = Stealing::new();
    for number in 0..640 {
        let (request, call) =
            stealing.serve(0, if number % 64 == 0 { stealing.idle } else { stealing.reader });
        stealing.answer(request, call);
    }
    let (request, call) = stealing.stolen();
    stealing.world.assert_child(call, request, Evidence::End);
}
