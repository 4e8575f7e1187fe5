//! Scenarios that many tests begin with: one thread that serves requests, and a trusted process.

use super::world::{Exchange, SECOND, World, thread};
use crate::{
    event::{ConnectionId, Thread},
    trace::{Counters, Settings, span::Evidence},
};

/// One thread of process 1 that reads requests, makes calls and answers. Every request and every
/// call has a connection of its own unless a test says which one.
pub(super) struct Server {
    pub(super) world: World,
    pub(super) thread: Thread,
}

impl Server {
    pub(super) fn new() -> Self {
        Self { world: World::new(), thread: thread(1, 0) }
    }

    pub(super) fn with(settings: Settings) -> Self {
        Self { world: World::with(settings), thread: thread(1, 0) }
    }

    /// A server whose process is trusted where both sides of a call agree.
    pub(super) fn trusted() -> Self {
        let mut server = Self::new();
        earn_confidence(&mut server.world);
        server
    }

    pub(super) fn open(&mut self) -> ConnectionId {
        self.world.open(self.thread)
    }

    /// A request is read.
    pub(super) fn request(&mut self, target: &str) -> Exchange {
        let client = self.open();
        self.request_on(client, target)
    }

    pub(super) fn request_on(&mut self, client: ConnectionId, target: &str) -> Exchange {
        self.world.read_request(client, self.thread, target)
    }

    /// A call is sent.
    pub(super) fn call(&mut self, target: &str) -> Exchange {
        let backend = self.open();
        self.call_on(backend, target)
    }

    pub(super) fn call_on(&mut self, backend: ConnectionId, target: &str) -> Exchange {
        self.world.write_request(backend, self.thread, target)
    }

    /// The response to a call is read.
    pub(super) fn read(&mut self, call: Exchange) {
        self.world.read_response(call, self.thread);
    }

    /// The response to a request is written.
    pub(super) fn answer(&mut self, request: Exchange) {
        self.world.answer(request, self.thread);
    }

    /// Time passes until all spans are exported whose parents can be known.
    pub(super) fn wait(&mut self) {
        self.world.pass(SECOND);
    }

    pub(super) fn counters(&self) -> Counters {
        self.world.tracer.counters()
    }

    #[track_caller]
    pub(super) fn assert_child(&self, call: Exchange, request: Exchange) {
        self.world.assert_child(call, request, Evidence::BothSides);
    }

    #[track_caller]
    pub(super) fn assert_root(&self, exchange: Exchange) {
        self.world.assert_root(exchange);
    }
}

/// Makes process 1 trusted: its sides agree often enough while its requests overlap.
pub(super) fn earn_confidence(world: &mut World) {
    agree(world, 30);
}

/// Process 1 makes two calls a round whose sides agree while both are open.
pub(super) fn agree(world: &mut World, rounds: usize) {
    let own = thread(1, 0);
    let clients = [world.open(own), world.open(own)];
    let backends = [world.open(own), world.open(own)];
    for _ in 0..rounds {
        let pairs = [0, 1].map(|at| {
            (world.read_request(clients[at], own, "/"), world.write_request(backends[at], own, "/"))
        });
        for (request, call) in pairs {
            world.read_response(call, own);
            world.answer(request, own);
        }
        world.pass(SECOND);
    }
}

/// Thread 0 of process 1 serves one request with one call.
pub(super) fn one_call(world: &mut World) -> (Exchange, Exchange) {
    call_of(world, thread(1, 0))
}

/// This thread serves one request with one call.
pub(super) fn call_of(world: &mut World, own: Thread) -> (Exchange, Exchange) {
    let (client, backend) = (world.open(own), world.open(own));
    let request = world.read_request(client, own, "/");
    let call = world.write_request(backend, own, "/");
    world.read_response(call, own);
    world.answer(request, own);
    world.pass(SECOND);
    (request, call)
}

/// The two sides of a call of this process conflict. The first request causes the call, but it is
/// sent after the second was read. So its request side is wrong and its response side is right.
pub(super) fn conflict_in(world: &mut World, pid: u32) -> Exchange {
    let own = thread(pid, 0);
    let (one, two, backend) = (world.open(own), world.open(own), world.open(own));
    let first = world.read_request(one, own, "/1");
    let second = world.read_request(two, own, "/2");
    let call = world.write_request(backend, own, "/1");
    world.read_response(call, own);
    world.answer(first, own);
    world.answer(second, own);
    call
}
