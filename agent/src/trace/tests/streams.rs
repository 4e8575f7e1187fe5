//! Streams: both ends send messages until the last reply, by which a stream is answered.

use super::{
    scenario::Server,
    world::{Exchange, MILLISECOND, complete, ok, status},
};
use crate::protocol::Shape;

impl Server {
    /// A message of the end that replies.
    fn message(&mut self, of: Exchange) {
        self.world.respond(of, self.thread, status(103));
    }

    /// The last reply.
    fn last(&mut self, of: Exchange) {
        self.world.respond(of, self.thread, ok());
        self.world.end(of, complete());
    }
}

#[test]
fn a_stream_causes_calls_until_its_last_reply() {
    let mut server = Server::trusted();
    server.world.shape = Shape::Stream;
    let request = server.request("/");
    server.world.shape = Shape::RequestReply;
    let mut calls = vec![];
    for _ in 0..3 {
        let call = server.call("/");
        server.read(call);
        server.message(request);
        server.world.read_more(request.connection, server.thread);
        calls.push(call);
    }
    server.world.pass(500 * MILLISECOND);
    let call = server.call("/");
    server.read(call);
    server.last(request);
    server.wait();
    server.assert_child(call, request);
    for call in calls {
        // A message of a stream shows for none of them that it was waited for.
        let parent = server.world.span(call).parent;
        assert!(parent.is_none_or(|parent| parent.span == server.world.span(request).id), "{parent:?}");
    }
    let span = server.world.span(request);
    assert!(span.end - span.start > 500 * MILLISECOND);
    assert!(span.first_response_byte.is_some_and(|first| first < span.end));
}

/// Whoever is told of a message may be somebody else than who has begun the stream.
#[test]
fn a_message_of_an_open_stream_is_no_response_side() {
    let mut server = Server::trusted();
    let other = server.request("/other");
    let request = server.request("/");
    server.world.shape = Shape::Stream;
    let stream = server.call("/stream");
    server.message(stream);
    server.answer(other);
    server.last(stream);
    server.answer(request);
    server.wait();
    server.assert_child(stream, request);
}
