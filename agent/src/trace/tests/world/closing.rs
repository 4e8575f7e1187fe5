//! How connections end on the fake host: closed, shut down, reset or refused, by a thread.

use super::{Exchange, World, ended};
use crate::{
    event::{Actor, Direction, Event, Layer, LocalClosed, SocketId, Thread},
    protocol::Outcome,
};

impl World {
    /// The thread with its last receive.
    pub(in crate::trace::tests) fn actor(&self, thread: Thread) -> Actor {
        Actor { thread, task: self.task, last_receive: self.last_receive.get(&thread.tid).copied() }
    }

    /// The peer closes a call's connection, and this thread reads the FIN.
    pub(in crate::trace::tests) fn hang_up(&mut self, call: Exchange, thread: Thread) {
        let at = self.step();
        let position = self.pipes[&call.connection].position[Direction::In.index()];
        let actor = Some(self.actor(thread));
        let (connection, direction) = (call.connection, Direction::In);
        self.event(&Event::HalfClosed { at, connection, layer: Layer::Wire, direction, position, actor });
        self.end(call, ended(Outcome::ConnectionClosed(None)));
    }

    /// This thread closes a connection on which an exchange is open.
    pub(in crate::trace::tests) fn close_exchange(&mut self, exchange: Exchange, thread: Thread) {
        let at = self.step();
        let connection = exchange.connection;
        let (actor, position) = (self.actor(thread), self.pipes[&connection].position);
        self.event(&Event::LocalClosed(LocalClosed {
            at,
            connection,
            actor,
            position,
            peer_finished: false,
        }));
        self.end(exchange, ended(Outcome::ClientAborted(None)));
    }

    /// This thread shuts down its sending direction.
    pub(in crate::trace::tests) fn shut_down(&mut self, exchange: Exchange, thread: Thread) {
        let at = self.step();
        let connection = exchange.connection;
        let position = self.pipes[&connection].position[Direction::Out.index()];
        let actor = Some(self.actor(thread));
        self.event(&Event::HalfClosed {
            at,
            connection,
            layer: Layer::Wire,
            direction: Direction::Out,
            position,
            actor,
        });
    }

    /// The peer resets a call. This thread closes the connection a moment later.
    pub(in crate::trace::tests) fn reset(&mut self, call: Exchange, thread: Thread) {
        self.end(call, ended(Outcome::ConnectionClosed(Some(104))));
        let at = self.step();
        let (connection, actor) = (Some(call.connection), self.actor(thread));
        self.event(&Event::Released { at, connection, socket: SocketId(1), actor });
    }

    /// A thread's connect is refused, and it closes the socket.
    pub(in crate::trace::tests) fn refused(&mut self, thread: Thread) {
        let socket = self.connecting(thread);
        let at = self.step();
        self.event(&Event::ConnectFailed { at, socket, errno: 111 });
        let at = self.step();
        let actor = self.actor(thread);
        self.event(&Event::Released { at, connection: None, socket, actor });
    }
}
