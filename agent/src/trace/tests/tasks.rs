//! The task join: an event loop whose tasks are known by the address of their context, which a
//! later task may get as well.

use std::collections::BTreeMap;

use super::world::{Exchange, SECOND, World};
use crate::{
    event::{ConnectionId, Task, Thread},
    trace::{CausalityRules, Settings, span::Evidence},
};

/// Which task makes the calls of a request, and which one answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// The task that serves the request does both.
    Own,
    /// Each call has a task of its own that ends with the response (gather, `wait_for`).
    Subtask,
    /// The same, and a third task answers (a streaming response).
    SubtaskAndLate,
    /// A task that ends when the call is sent (a writer of the body) calls; the serving task
    /// answers.
    Writer,
    /// The same, and a third task answers.
    WriterAndLate,
    /// The serving task calls; another one answers.
    Late,
    /// One context for everything (a loop that defers its writes).
    Shared,
}

impl Shape {
    const ALL: [Self; 7] = [
        Self::Own,
        Self::Subtask,
        Self::SubtaskAndLate,
        Self::Writer,
        Self::WriterAndLate,
        Self::Late,
        Self::Shared,
    ];
}

#[derive(Debug)]
struct Job {
    shape: Shape,
    client: ConnectionId,
    request: Exchange,
    main: u64,
    calls: Vec<(ConnectionId, Exchange, u64)>,
    /// Turns until it goes on.
    pause: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    BeforeCall,
    Waiting,
    BeforeAnswer,
}

/// An event loop in one thread that hands out addresses like CPython: the one that was freed last
/// comes first.
#[derive(Debug)]
struct Loop {
    world: World,
    dice: u64,
    free: Vec<u64>,
    next: u64,
    idle: Vec<ConnectionId>,
    backends: Vec<ConnectionId>,
    jobs: Vec<Job>,
    truth: BTreeMap<Exchange, Exchange>,
    /// Turns that a request waits at most before it calls and before it answers.
    pauses: (usize, usize),
}

const OWN: Thread = Thread { pid: 1, tid: 1_000 };

impl Loop {
    fn new(seed: u64, clients: usize, pauses: (usize, usize)) -> Self {
        let mut world = World::new();
        let idle = (0..clients).map(|_| world.open(OWN)).collect();
        let (backends, jobs) = (Vec::new(), Vec::new());
        Self {
            world,
            dice: seed,
            free: Vec::new(),
            next: 0x1000,
            idle,
            backends,
            jobs,
            truth: BTreeMap::new(),
            pauses,
        }
    }

    fn roll(&mut self, links: usize) -> usize {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.dice >> 33).unwrap() % links.max(1)
    }

    fn enter(&mut self) -> u64 {
        self.free.pop().unwrap_or_else(|| {
            self.next += 48;
            self.next
        })
    }

    fn leave(&mut self, context: u64) {
        if context != 0x1000 {
            self.free.push(context);
        }
    }

    fn accept(&mut self, shape: Shape) {
        let at = self.roll(self.idle.len());
        let client = self.idle.swap_remove(at);
        let request = self.world.read_request(client, OWN, "/");
        let main = if shape == Shape::Shared { 0x1000 } else { self.enter() };
        let pause = self.roll(self.pauses.0 + 1);
        self.jobs.push(Job {
            shape,
            client,
            request,
            main,
            calls: Vec::new(),
            pause,
            state: State::BeforeCall,
        });
    }

    fn call(&mut self, job: &mut Job) {
        let own = matches!(job.shape, Shape::Own | Shape::Late | Shape::Shared);
        let writer = matches!(job.shape, Shape::Writer | Shape::WriterAndLate);
        let calls = if own || writer { 1 } else { 1 + self.roll(2) };
        for _ in 0..calls {
            let context = if own { job.main } else { self.enter() };
            self.world.task = Some(Task::Context(context));
            let backend = self.backends.pop().unwrap_or_else(|| self.world.open(OWN));
            let call = self.world.write_request(backend, OWN, "/");
            self.truth.insert(call, job.request);
            if writer {
                self.leave(context);
            }
            job.calls.push((backend, call, if own || writer { 0 } else { context }));
        }
        job.state = State::Waiting;
    }

    fn step(&mut self, mut job: Job) {
        match job.state {
            State::BeforeCall => self.call(&mut job),
            State::Waiting => {
                let at = self.roll(job.calls.len());
                let (backend, call, context) = job.calls.swap_remove(at);
                self.world.read_response(call, OWN);
                self.backends.push(backend);
                if context != 0 {
                    self.leave(context);
                }
                if job.calls.is_empty() {
                    job.state = State::BeforeAnswer;
                    job.pause = self.roll(self.pauses.1 + 1);
                }
            }
            State::BeforeAnswer => {
                let late = matches!(job.shape, Shape::SubtaskAndLate | Shape::WriterAndLate | Shape::Late);
                let context = if late { self.enter() } else { job.main };
                self.world.task = Some(Task::Context(context));
                self.world.answer(job.request, OWN);
                if late {
                    self.leave(context);
                }
                self.leave(job.main);
                self.idle.push(job.client);
                return;
            }
        }
        self.jobs.push(job);
    }

    /// Returns how many parents are right, how many are wrong, and how many calls there are.
    fn run(mut self, shapes: &[Shape], turns: usize) -> (usize, usize, usize) {
        for _ in 0..turns {
            if !self.idle.is_empty() && self.roll(3) == 0 {
                let shape = shapes[self.roll(shapes.len())];
                self.accept(shape);
            }
            if self.jobs.is_empty() {
                continue;
            }
            let at = self.roll(self.jobs.len());
            let mut job = self.jobs.swap_remove(at);
            if job.pause > 0 {
                job.pause -= 1;
                self.jobs.push(job);
            } else {
                self.step(job);
            }
        }
        self.world.shutdown();
        let (mut right, mut wrong) = (0, 0);
        for (call, request) in &self.truth {
            let Some(parent) = self.world.find(*call).and_then(|span| span.parent) else { continue };
            if parent.span == self.world.id(*request) { right += 1 } else { wrong += 1 }
        }
        (right, wrong, self.truth.len())
    }
}

#[test]
fn tasks_that_serve_one_request_each_get_right_parents() {
    for (seed, clients) in [(1, 1), (2, 2), (3, 8), (4, 64)] {
        for pauses in [(0, 0), (3, 0), (0, 3), (9, 9)] {
            let (right, wrong, all) = Loop::new(seed, clients, pauses).run(&[Shape::Own], 6_000);
            assert_eq!(wrong, 0, "{clients} {pauses:?}");
            // The calls in flight at the end have no parent.
            assert!(right + 2 * clients >= all, "{right} of {all}, {clients} {pauses:?}");
        }
    }
}

#[test]
fn reused_addresses_make_no_parents() {
    for shape in Shape::ALL {
        for with_own in [false, true] {
            for clients in [1, 2, 3, 8, 64] {
                for pauses in [(0, 0), (3, 0), (30, 0), (0, 3), (30, 30)] {
                    for seed in 0..2 {
                        let shapes: &[Shape] =
                            if with_own { &[shape, Shape::Own, Shape::Own] } else { &[shape] };
                        let (right, wrong, all) = Loop::new(seed, clients, pauses).run(shapes, 1_500);
                        assert_eq!(
                            wrong, 0,
                            "{shapes:?} {clients} {pauses:?} {seed}: {right} of {all} are right"
                        );
                    }
                }
            }
        }
    }
}

/// Two requests at a time, each served by a task. The two sides of their calls conflict.
struct Pair {
    world: World,
    clients: [ConnectionId; 2],
    backends: [ConnectionId; 2],
}

impl Pair {
    /// A process with the task join alone, or with no evidence at all.
    fn new(task: bool) -> Self {
        let causality = CausalityRules {
            both_sides: false,
            request_side: false,
            response_side: false,
            task,
            across_threads: false,
            content: false,
            goroutine: false,
        };
        let mut world = World::with(Settings { open_notice: None, causality, ..Settings::default() });
        let clients = [(); 2].map(|()| world.open(OWN));
        let backends = [(); 2].map(|()| world.open(OWN));
        Self { world, clients, backends }
    }

    fn call(&mut self, at: usize, task: u64) -> Exchange {
        self.world.task = Some(Task::Context(task));
        self.world.write_request(self.backends[at], OWN, "/")
    }

    fn answer(&mut self, request: Exchange, task: u64) {
        self.world.task = Some(Task::Context(task));
        self.world.answer(request, OWN);
    }

    /// Two requests, and calls whose order of sending and answering misleads both sides.
    fn round(&mut self) -> [(Exchange, Exchange); 2] {
        let requests = self.clients.map(|client| self.world.read_request(client, OWN, "/"));
        let calls = [0, 1].map(|at| self.call(at, 100 + at as u64));
        self.world.read_response(calls[1], OWN);
        self.world.read_response(calls[0], OWN);
        self.answer(requests[1], 101);
        self.answer(requests[0], 100);
        [(requests[0], calls[0]), (requests[1], calls[1])]
    }

    fn trusted(task: bool) -> Self {
        let mut pair = Self::new(task);
        for _ in 0..30 {
            pair.round();
        }
        pair
    }

    fn task_conflicts(&self) -> u64 {
        self.world.tracer.counters().task_conflicts
    }
}

#[test]
fn a_task_that_answers_claims_its_own_calls() {
    let mut pair = Pair::trusted(true);
    let claimed = pair.round();
    pair.world.pass(SECOND);
    for (request, call) in claimed {
        pair.world.assert_child(call, request, Evidence::Task);
        pair.world.assert_root(request);
    }
    assert_eq!(pair.task_conflicts(), 0);
}

/// The calls by which a process earns its confidence get their parents too.
#[test]
fn claims_that_earn_confidence_are_trusted() {
    let mut pair = Pair::new(true);
    let rounds: Vec<_> = (0..15).flat_map(|_| pair.round()).collect();
    pair.world.pass(SECOND);
    for (request, call) in rounds {
        pair.world.assert_child(call, request, Evidence::Task);
    }
}

/// Claims before a conflict, or too few of them, make no parents. Their calls do not wait for long.
#[test]
fn claims_that_do_not_earn_confidence_are_not_trusted() {
    let mut pair = Pair::new(true);
    let mut rounds: Vec<_> = (0..14).flat_map(|_| pair.round()).collect();
    let requests = pair.clients.map(|client| pair.world.read_request(client, OWN, "/"));
    pair.answer(requests[0], 100);
    let call = pair.call(0, 100);
    pair.world.read_response(call, OWN);
    pair.answer(requests[1], 100);
    assert_eq!(pair.task_conflicts(), 1);
    rounds.extend((0..14).flat_map(|_| pair.round()));
    pair.world.pass(3 * SECOND);
    for (_, call) in rounds {
        pair.world.assert_root(call);
    }
}

/// At the end nothing waits any more.
#[test]
fn claims_not_trusted_at_the_end_leave_calls_unlinked() {
    let mut pair = Pair::new(true);
    let rounds = pair.round();
    pair.world.shutdown();
    for (_, call) in rounds {
        pair.world.assert_root(call);
    }
}

#[test]
fn it_can_be_switched_off() {
    let mut pair = Pair::trusted(false);
    pair.round();
    pair.world.shutdown();
    assert_eq!(pair.world.tracer.counters().parents_task, 0);
}

/// A call that another request's task claims, after its own task has ended, gets no parent.
#[test]
fn an_unanswered_call_is_not_claimed() {
    let mut pair = Pair::trusted(true);
    let requests = pair.clients.map(|client| pair.world.read_request(client, OWN, "/"));
    // The writer of the first request's body. Its address goes to the second request's task.
    let call = pair.call(0, 101);
    pair.answer(requests[1], 101);
    pair.world.read_response(call, OWN);
    pair.answer(requests[0], 100);
    pair.world.pass(SECOND);
    pair.world.assert_root(call);
    assert_eq!(pair.task_conflicts(), 1);
    let unclaimed = pair.round();
    pair.world.pass(3 * SECOND);
    unclaimed.iter().for_each(|(_, call)| pair.world.assert_root(*call));
}

#[test]
fn a_task_that_answered_another_request_meanwhile_claims_nothing() {
    let mut pair = Pair::trusted(true);
    let requests = pair.clients.map(|client| pair.world.read_request(client, OWN, "/"));
    pair.answer(requests[0], 100);
    let call = pair.call(0, 100);
    pair.world.read_response(call, OWN);
    pair.answer(requests[1], 100);
    pair.world.pass(SECOND);
    pair.world.assert_root(call);
    assert!(pair.task_conflicts() > 0);
}

#[test]
fn a_pipelined_request_claims_nothing() {
    let mut pair = Pair::trusted(true);
    let first = pair.world.read_request(pair.clients[0], OWN, "/");
    let second = pair.world.read_request(pair.clients[0], OWN, "/");
    let call = pair.call(0, 100);
    pair.world.read_response(call, OWN);
    // Sent for the first request by a subtask. The second request's task has its address now.
    pair.answer(first, 102);
    pair.answer(second, 100);
    pair.world.pass(SECOND);
    pair.world.assert_root(call);
}

/// A poller's calls while requests are open end the trust for a while. Then the poller is known.
#[test]
fn a_poller_is_left_out() {
    let mut pair = Pair::trusted(true);
    let poller = pair.world.open(OWN);
    for _ in 0..400 {
        let request = pair.world.read_request(pair.clients[0], OWN, "/");
        pair.world.task = Some(Task::Context(7));
        let poll = pair.world.write_request(poller, OWN, "/poll");
        pair.world.read_response(poll, OWN);
        pair.answer(request, 100);
        pair.round();
        pair.world.pass(SECOND);
        pair.world.assert_root(poll);
    }
    let claimed = pair.round();
    pair.world.pass(SECOND);
    for (request, call) in claimed {
        pair.world.assert_child(call, request, Evidence::Task);
    }
    assert_eq!(pair.task_conflicts(), 3);
}

#[test]
fn loss_never_makes_a_task_parent() {
    let mut pair = Pair::trusted(true);
    let requests = pair.clients.map(|client| pair.world.read_request(client, OWN, "/"));
    let calls = [0, 1].map(|at| pair.call(at, 100 + at as u64));
    pair.world.lose(1);
    for (request, call) in requests.into_iter().zip(calls).rev() {
        pair.world.read_response(call, OWN);
        pair.answer(request, 100 + u64::from(request == requests[1]));
    }
    pair.world.pass(SECOND);
    calls.iter().for_each(|call| pair.world.assert_root(*call));
}
