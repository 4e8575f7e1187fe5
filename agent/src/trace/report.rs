//! The tracer as the receiver of the parsers' reports. Each report finds its exchange once.
//!
//! These functions are never inlined, so that `bench pipeline` can find them in a profile.

use super::{Tracer, exchange::Key};
use crate::{
    event::{ConnectionId, Direction, StreamId, Timestamp},
    protocol::{
        Begin, ExchangeEnd, ExchangeId, Operation, Origin, Part, Progress, Reply, Report, Shape, Status,
    },
};

impl Tracer {
    fn key(&mut self, exchange: ExchangeId) -> Option<Key> {
        self.exchanges.key(exchange.connection, exchange.ordinal)
    }
}

impl Tracer {
    /// The ends of a multiplexed connection are joined by its sequence numbers alone.
    fn multiplexed(&mut self, connection: ConnectionId) {
        if self.exchanges.multiplex(connection) {
            self.joins.multiplexed(&mut self.exchanges, &mut self.counters, connection, self.now);
            self.decide_settled();
        }
    }

    /// It is not answered by its first reply.
    #[cold]
    fn shape(&mut self, exchange: ExchangeId, shape: Shape) {
        let Some(key) = self.key(exchange) else { return };
        if let Some(exchange) = self.exchanges.get_mut(key) {
            exchange.links.set_shape(shape);
        }
    }
}

impl Report for Tracer {
    #[inline(never)]
    fn begin(&mut self, exchange: ExchangeId, begin: &Begin) {
        let Begin { role, shape, origin, multiplexed, other_position } = begin;
        if *multiplexed {
            self.multiplexed(exchange.connection);
        }
        self.request(
            (exchange.connection, exchange.ordinal),
            role.request_direction(),
            origin,
            *other_position,
        );
        if *shape != Shape::RequestReply {
            self.shape(exchange, *shape);
        }
    }

    fn part(&mut self, stream: StreamId, part: &Part) {
        self.multiplexed(stream.connection);
        if part.direction == Direction::In {
            self.exchanges.add_part(stream.connection, part.range.clone(), part.exchange);
        }
    }

    #[inline(never)]
    fn described(&mut self, exchange: ExchangeId, operation: Operation<'_>) {
        let Some(key) = self.key(exchange) else { return };
        match operation {
            Operation::Http(head) => self.request_head(key, head),
            Operation::Rpc(_) | Operation::Database(_) | Operation::Messaging(_) => {
                self.operation(key, operation);
            }
        }
    }

    #[inline(never)]
    fn reply(&mut self, exchange: ExchangeId, origin: &Origin, progress: Progress, reply: Reply<'_>) {
        let Some(key) = self.key(exchange) else { return };
        let interim = progress == Progress::Interim;
        let status = match reply {
            Reply::Http(head) => head.status,
            Reply::Status(status) => {
                if !interim {
                    self.reply_status(key, status);
                }
                0
            }
        };
        self.response(key, origin, interim, status);
    }

    fn status(&mut self, exchange: ExchangeId, status: Status<'_>) {
        let Some(key) = self.key(exchange) else { return };
        self.reply_status(key, status);
    }

    #[inline(never)]
    fn end(&mut self, exchange: ExchangeId, at: Timestamp, end: &ExchangeEnd) {
        let Some(key) = self.key(exchange) else { return };
        Self::end(self, key, at, end);
    }

    fn exports_traces(&mut self, pid: u32) {
        self.exports_by_grpc(pid);
    }
}
