//! Connects, notices, limits, and events that no correct source would produce.

use super::world::{MILLISECOND, SECOND, UNIX_OFFSET, World, address, complete, ended, ok, thread};
use crate::{
    event::{ConnectionId, Direction, Earlier, Event, Opened, Timestamp},
    protocol::{Begin, Message, Origin, Outcome, Role, Shape},
    trace::{
        Settings,
        span::{SpanKind, Status},
    },
};

#[test]
fn a_failed_connect_is_a_client_span() {
    for (errno, error) in [
        (111, "connection_refused"),
        (110, "timeout"),
        (104, "connection_reset"),
        (113, "host_unreachable"),
        (101, "network_unreachable"),
        (0, "connect_cancelled"),
        (13, "EACCES"),
    ] {
        let mut world = World::new();
        let socket = world.connecting(thread(1, 0));
        let start = world.now;
        let at = world.step();
        world.event(&Event::ConnectFailed { at, socket, errno });
        let [span] = world.spans.as_slice() else { panic!("one span") };
        assert_eq!(
            (span.name.as_ref(), span.kind, span.status),
            ("connect", SpanKind::Client, Status::Error)
        );
        assert_eq!(span.error.as_deref(), Some(error));
        assert_eq!((&span.http, &span.peer, &span.local), (&None, &address(9_000).into(), &None));
        assert_eq!((span.start, span.end), (UNIX_OFFSET + start, UNIX_OFFSET + at.0));
        assert_eq!((span.parent, span.parent_unknown), (None, false));
        assert_ne!(span.trace.0, [0; 16]);
        assert_eq!(&*span.process.service_name, "service-1");
    }
}

/// Found by fuzzing event logs: times that go back.
#[test]
fn a_connect_does_not_end_before_it_begins() {
    let mut world = World::new();
    let socket = world.connecting(thread(1, 0));
    world.event(&Event::ConnectFailed { at: Timestamp(1), socket, errno: 111 });
    let [span] = world.spans.as_slice() else { panic!("one span") };
    assert!(span.start > UNIX_OFFSET + 1 && span.start == span.end, "{span:?}");
}

#[test]
fn a_successful_connect_makes_no_span() {
    let mut world = World::new();
    let connection = world.connect(thread(1, 0));
    world.close(connection);
    world.pass(5 * SECOND);
    assert!(world.spans.is_empty());
    assert_eq!(world.tracer.counters().connections, 0);
}

/// A connection was evicted and is observed again: another beginning of the same stream, with
/// positions from 0 on.
#[test]
fn a_reused_connection_number_gets_new_spans() {
    for silence in [0, 5 * SECOND] {
        let mut world = World::new();
        let own = thread(1, 0);
        let connection = world.open_with(own, [1_000, 2_000]);
        let before = world.write_request(connection, own, "/before");
        world.read_response(before, own);
        world.tracer.forget(connection);
        world.pass(silence);
        world.meet(connection, own, [1_500, 2_500]);
        world.pass(5 * SECOND);
        let after = world.write_request(connection, own, "/after");
        world.read_response(after, own);
        world.shutdown();
        let (before, after) = (world.span(before), world.span(after));
        assert!(before.id != after.id && before.trace != after.trace, "{before:?} {after:?}");
    }
}

#[test]
fn a_notice_is_emitted_once_after_a_second() {
    let mut world = World::with(Settings::default());
    let own = thread(1, 0);
    let backend = world.open(own);
    let quick = world.write_request(backend, own, "/quick");
    world.read_response(quick, own);
    let slow = world.write_request(backend, own, "/slow");
    world.connecting(own);
    world.pass(900 * MILLISECOND);
    assert!(world.notices.is_empty());
    world.pass(5 * SECOND);
    let names: Vec<_> = world.notices.iter().map(|notice| notice.name.as_ref()).collect();
    assert_eq!(names, ["GET", "connect"]);
    let notice = &world.notices[0];
    assert_eq!(notice.id, world.id(slow));
    assert_eq!(notice.http.as_ref().unwrap().path(), Some("/slow"));
    assert!(notice.end - notice.start >= SECOND);
    world.read_response(slow, own);
    assert_eq!(world.span(slow).trace, world.notices[0].trace);
    assert_eq!(world.tracer.counters().open_notices, 2);
}

#[test]
fn open_exchanges_are_counted() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (front, back) = (world.open(own), world.open(own));
    let figures = |world: &World| {
        let counters = world.tracer.counters();
        (counters.open_server, counters.open_client, counters.oldest_open_seconds)
    };
    assert_eq!(figures(&world), (0, 0, 0));
    let request = world.read_request(front, own, "/");
    world.pass(3 * SECOND);
    let call = world.write_request(back, own, "/slow");
    world.pass(4 * SECOND);
    assert_eq!(figures(&world), (1, 1, 7));
    world.end(request, ended(Outcome::ConnectionClosed(None)));
    assert_eq!(figures(&world), (0, 1, 4));
    world.end(call, ended(Outcome::ClientAborted(None)));
    world.end(call, ended(Outcome::ClientAborted(None)));
    assert_eq!(figures(&world), (0, 0, 0));
}

#[test]
fn outcomes_set_the_error_type() {
    for (direction, status, outcome, error) in [
        (Direction::In, Some(200), Outcome::Complete, None),
        (Direction::In, Some(404), Outcome::Complete, None),
        (Direction::Out, Some(404), Outcome::Complete, Some("404")),
        (Direction::In, Some(503), Outcome::Complete, Some("503")),
        (Direction::Out, Some(503), Outcome::Complete, Some("503")),
        (Direction::Out, Some(101), Outcome::Upgraded, None),
        (Direction::Out, None, Outcome::ConnectionClosed(None), Some("connection_closed")),
        (Direction::Out, None, Outcome::ConnectionClosed(Some(104)), Some("connection_reset")),
        (Direction::Out, Some(200), Outcome::ConnectionClosed(Some(110)), Some("timeout")),
        (Direction::Out, Some(500), Outcome::ConnectionClosed(None), Some("500")),
        (Direction::In, None, Outcome::ClientAborted(Some(104)), Some("client_aborted")),
        (Direction::Out, Some(200), Outcome::ClientAborted(None), Some("client_aborted")),
        (Direction::In, None, Outcome::Lost, None),
        (Direction::In, None, Outcome::Unfinished, None),
    ] {
        let mut world = World::new();
        let own = thread(1, 0);
        let connection = world.open(own);
        let exchange = match direction {
            Direction::In => world.read_request(connection, own, "/"),
            Direction::Out => world.write_request(connection, own, "/"),
        };
        if let Some(code) = status {
            world.respond(exchange, own, super::world::status(code));
        }
        world.end(exchange, ended(outcome));
        world.pass(SECOND);
        let span = world.span(exchange);
        assert_eq!(span.error.as_deref(), error, "{direction:?} {status:?} {outcome:?}");
        assert_eq!(span.status == Status::Error, error.is_some());
        assert_eq!(span.http.as_ref().unwrap().status, status);
        assert_eq!(span.http.as_ref().unwrap().response_body_size, Some(2));
    }
}

#[test]
fn messages_of_unknown_connections_and_out_of_order_do_no_harm() {
    let mut world = World::new();
    let own = thread(1, 0);
    let origin =
        Origin { at: Timestamp(world.now), thread: own, position: 0, last_receive: None, task: None };
    let request = |ordinal| Message::Begin {
        ordinal,
        begin: Begin {
            role: Role::Server,
            origin,
            shape: Shape::RequestReply,
            multiplexed: false,
            other_position: 0,
        },
    };
    let end = |ordinal| Message::End { ordinal, at: Timestamp(0), end: complete() };
    world.message(ConnectionId(99), request(0));
    world.message(ConnectionId(99), end(0));
    assert_eq!(world.tracer.counters().refused_messages, 1);
    let connection = world.open(own);
    world.message(connection, end(3));
    world.message(connection, request(3));
    world.message(connection, request(3));
    world.message(connection, request(2));
    assert_eq!(world.tracer.counters().refused_messages, 3);
    world.message(connection, request(7));
    world.message(connection, end(7));
    world.message(connection, end(7));
    world.message(connection, end(3));
    world.pass(SECOND);
    assert_eq!(world.spans.len(), 2);
    for span in &world.spans {
        assert!(span.end >= span.start);
        assert_eq!((span.name.as_ref(), span.http.as_ref().unwrap().method), ("HTTP", "_OTHER"));
    }
}

#[test]
fn limits_hold_and_are_counted() {
    let mut world = World::with(Settings {
        connections: 4,
        exchanges: 20,
        exchanges_per_connection: 3,
        connects: 2,
        processes: 6,
        open_notice: None,
        ..Settings::default()
    });
    let own = thread(1, 0);
    let first = world.open(own);
    for _ in 0..5 {
        world.read_request(first, own, "/");
    }
    assert_eq!(world.tracer.counters().evicted_exchanges, 2);
    assert_eq!(world.spans.len(), 2);
    assert_eq!(world.tracer.counters().exchanges, 3);
    for _ in 0..10 {
        let connection = world.open(own);
        world.read_request(connection, own, "/");
    }
    assert_eq!(world.tracer.counters().connections, 4);
    assert_eq!(world.tracer.counters().evicted_connections, 7);
    for _ in 0..3 {
        world.connecting(thread(1, 0));
        world.open(own);
    }
    assert_eq!(world.tracer.counters().refused_connects, 1);
    for pid in 10..20 {
        let connection = world.open(thread(pid, 0));
        let exchange = world.read_request(connection, thread(pid, 0), "/");
        world.answer(exchange, thread(pid, 0));
    }
    assert!(world.tracer.counters().refused_processes > 0);
}

#[test]
fn exchanges_beyond_the_limit_get_no_span() {
    let mut world = World::with(Settings { exchanges: 2, ..Settings::default() });
    let own = thread(1, 0);
    let exchanges: Vec<_> = (0..3)
        .map(|_| {
            let connection = world.open(own);
            world.write_request(connection, own, "/")
        })
        .collect();
    for exchange in &exchanges {
        world.respond(*exchange, own, ok());
        world.end(*exchange, complete());
    }
    assert_eq!(world.spans.len(), 2);
    assert_eq!(world.tracer.counters().refused_exchanges, 1);
}

#[test]
fn an_exchange_without_an_end_ends_with_its_connection() {
    let mut world = World::new();
    let own = thread(1, 0);
    let connection = world.open(own);
    let exchange = world.read_request(connection, own, "/");
    world.close(connection);
    world.pass(10 * SECOND);
    assert_eq!(world.span(exchange).incomplete, ["unfinished"]);
    assert_eq!(world.tracer.counters().connections, 0);
}

#[test]
fn an_evicted_connection_that_is_observed_again_gets_ids_of_its_own() {
    let mut world = World::new();
    let own = thread(1, 0);
    let connection = world.open(own);
    let first = world.read_request(connection, own, "/first");
    world.answer(first, own);
    world.tracer.forget(connection);
    world.pass(SECOND);
    let at = world.step();
    world.event(&Event::Opened(Opened {
        at,
        connection,
        thread: own,
        local: address(8_080).into(),
        peer: address(50_000).into(),
        network_namespace: 1,
        first_sequence: [100, 200],
        first_position: 0,
        earlier: [Earlier::Unknown; 2],
    }));
    // Positions and ordinals start anew.
    let thread = own;
    let origin = Origin { at, thread, position: 0, last_receive: None, task: None };
    world.message(
        connection,
        Message::Begin {
            ordinal: 0,
            begin: Begin {
                role: Role::Server,
                origin,
                shape: Shape::RequestReply,
                multiplexed: false,
                other_position: 0,
            },
        },
    );
    // Only the connection's first life has ended.
    world.pass(2 * SECOND);
    let head = super::world::get("/second");
    world.message(connection, Message::Described { ordinal: 0, head });
    let at = world.step();
    world.message(connection, Message::End { ordinal: 0, at, end: complete() });
    world.pass(SECOND);
    let [one, other] = world.spans.as_slice() else { panic!("two spans: {:?}", world.spans) };
    assert_eq!(other.http.as_ref().and_then(|http| http.path()), Some("/second"));
    assert!(other.incomplete.is_empty());
    assert!(one.id != other.id && one.trace != other.trace);
}
