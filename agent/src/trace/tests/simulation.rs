//! Randomised programs with a known truth: every parent that is given is the right one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::world::{Exchange, SECOND, World, thread};
use crate::event::{ConnectionId, Thread};

/// A small deterministic generator (xorshift64*), so one seed identifies one run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % sides
    }
}

/// One request on its way through the simulated program.
#[derive(Debug, Clone, Copy)]
struct Job {
    client: ConnectionId,
    request: Exchange,
    calls_left: usize,
    call: Option<(ConnectionId, Exchange)>,
}

/// The simulated program, and for each call the request that really caused it.
struct Program {
    world: World,
    dice: Dice,
    truth: BTreeMap<Exchange, Exchange>,
    idle_clients: Vec<ConnectionId>,
    idle_backends: Vec<ConnectionId>,
}

impl Program {
    fn new(seed: u64, clients: usize) -> Self {
        let mut world = World::new();
        let own = thread(1, 0);
        let idle_clients = (0..clients).map(|_| world.open(own)).collect();
        Self { world, dice: Dice(seed | 1), truth: BTreeMap::new(), idle_clients, idle_backends: Vec::new() }
    }

    fn accept(&mut self, thread: Thread) -> Option<Job> {
        let client = self.idle_clients.pop()?;
        let request = self.world.read_request(client, thread, "/");
        Some(Job { client, request, calls_left: 1 + self.dice.roll(3), call: None })
    }

    fn call(&mut self, job: &mut Job, thread: Thread) {
        let index = self.dice.roll(self.idle_backends.len().max(1));
        let backend = if index < self.idle_backends.len() {
            self.idle_backends.swap_remove(index)
        } else if self.dice.roll(2) == 0 {
            self.world.connect(thread)
        } else {
            self.world.open(thread)
        };
        let call = self.world.write_request(backend, thread, "/");
        self.truth.insert(call, job.request);
        job.calls_left -= 1;
        job.call = Some((backend, call));
    }

    fn read_response(&mut self, job: &mut Job, thread: Thread) {
        let (backend, call) = job.call.take().expect("a job that waits has a call");
        self.world.read_response(call, thread);
        self.idle_backends.push(backend);
    }

    fn answer(&mut self, job: Job, thread: Thread) {
        self.world.answer(job.request, thread);
        self.idle_clients.push(job.client);
    }

    /// Ends the run and asserts that every parent is right. Returns how many calls have a parent,
    /// and how many there are.
    fn check(mut self) -> (usize, usize) {
        self.world.shutdown();
        let mut right = 0;
        for (call, request) in &self.truth {
            let Some(span) = self.world.find(*call) else { continue };
            if let Some(parent) = span.parent {
                assert_eq!(parent.span, self.world.id(*request), "a wrong parent");
                right += 1;
            }
            assert!(span.links.is_empty());
        }
        (right, self.truth.len())
    }
}

/// Blocking threads: each reads a request, makes its calls one after the other, and answers.
fn thread_pool(seed: u64, threads: usize, steps: usize) -> (usize, usize) {
    let mut program = Program::new(seed, threads * 2);
    let mut jobs: Vec<Option<Job>> = vec![None; threads];
    for _ in 0..steps {
        let number = program.dice.roll(threads);
        let own = thread(1, u32::try_from(number).unwrap());
        jobs[number] = match jobs[number].take() {
            None => program.accept(own),
            Some(mut job) if job.call.is_some() => {
                program.read_response(&mut job, own);
                if job.calls_left > 0 {
                    program.call(&mut job, own);
                }
                Some(job)
            }
            Some(mut job) if job.calls_left > 0 && program.dice.roll(8) > 0 => {
                program.call(&mut job, own);
                Some(job)
            }
            Some(job) => {
                program.answer(job, own);
                None
            }
        };
    }
    program.check()
}

/// When an event loop goes on with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delay {
    /// In the same turn.
    Never,
    /// After a timer before the call. Other sockets are read in between.
    BeforeCall,
    /// After a timer before the response.
    BeforeAnswer,
    /// After a timer before either.
    Both,
    /// After a timer before some of them.
    Some,
}

impl Delay {
    fn before_call(self, dice: &mut Dice) -> bool {
        match self {
            Self::Never | Self::BeforeAnswer => false,
            Self::BeforeCall | Self::Both => true,
            Self::Some => dice.roll(2) == 0,
        }
    }

    fn before_answer(self, dice: &mut Dice) -> bool {
        match self {
            Self::Never | Self::BeforeCall => false,
            Self::BeforeAnswer | Self::Both => true,
            Self::Some => dice.roll(2) == 0,
        }
    }
}

/// One thread that serves many requests at once.
fn event_loop(seed: u64, clients: usize, steps: usize, delay: Delay) -> (usize, usize) {
    let own = thread(1, 0);
    let mut program = Program::new(seed, clients);
    let mut waiting: Vec<Job> = Vec::new();
    let mut timers: Vec<Job> = Vec::new();
    for _ in 0..steps {
        match program.dice.roll(3) {
            0 => {
                let Some(mut job) = program.accept(own) else { continue };
                if delay.before_call(&mut program.dice) {
                    timers.push(job);
                } else {
                    program.call(&mut job, own);
                    waiting.push(job);
                }
            }
            1 if !waiting.is_empty() => {
                let index = program.dice.roll(waiting.len());
                let mut job = waiting.swap_remove(index);
                program.read_response(&mut job, own);
                let delayed = match job.calls_left {
                    0 => delay.before_answer(&mut program.dice),
                    _ => delay.before_call(&mut program.dice),
                };
                if delayed {
                    timers.push(job);
                } else if job.calls_left == 0 {
                    program.answer(job, own);
                } else {
                    program.call(&mut job, own);
                    waiting.push(job);
                }
            }
            _ if !timers.is_empty() => {
                let index = program.dice.roll(timers.len());
                let mut job = timers.swap_remove(index);
                if job.calls_left > 0 {
                    program.call(&mut job, own);
                    waiting.push(job);
                } else {
                    program.answer(job, own);
                }
            }
            _ => {}
        }
    }
    program.check()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_thread_pool_gets_right_parents(seed in any::<u64>(), threads in 1_usize..32) {
        let (right, calls) = thread_pool(seed, threads, 3_000);
        // The first calls have no parent, nor have those that are open at the end.
        prop_assert!(right * 100 >= calls * 70, "{right} of {calls}");
    }

    #[test]
    fn an_event_loop_gets_right_parents(seed in any::<u64>(), clients in 1_usize..64) {
        let (right, calls) = event_loop(seed, clients, 3_000, Delay::Never);
        prop_assert!(right * 100 >= calls * 70, "{right} of {calls}");
    }

    #[test]
    fn an_event_loop_with_timers_gets_no_wrong_parent(seed in any::<u64>(), clients in 1_usize..64) {
        for delay in [Delay::BeforeCall, Delay::BeforeAnswer, Delay::Both, Delay::Some] {
            event_loop(seed, clients, 1_000, delay);
        }
    }
}

/// The same events give the same spans, byte for byte.
#[test]
fn a_repeated_run_gives_the_same_spans() {
    let run = || {
        let mut program = Program::new(7, 8);
        let own = thread(1, 0);
        for _ in 0..100 {
            let Some(mut job) = program.accept(own) else { break };
            program.call(&mut job, own);
            program.read_response(&mut job, own);
            program.answer(job, own);
        }
        program.world.pass(SECOND);
        program.world.shutdown();
        program.world.spans
    };
    assert_eq!(run(), run());
}
