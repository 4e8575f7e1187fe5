//! Hand-written logs of what no source has yet. Unix sockets: what a path, an abstract name and a
//! socket without a name become in spans, and that two ends without sequence numbers are never
//! joined. Plaintexts: that they change nothing. What was asked of a source.

use std::collections::BTreeMap;

use super::{
    simulated::{BACK, FRONT, Run, endpoint},
    tests::{live, replayed},
};
use crate::{
    event::{
        Asked, Capture, CaptureMode, Closed, Connecting, ConnectionId, Direction, Earlier, Event, Layer,
        PlaintextOpened, SocketId, StreamId, Timestamp,
    },
    source::log::samples::Owned,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Attributes of a span as text, by name; also its kind and its parent.
pub(super) type Attributes = BTreeMap<String, String>;

/// The spans of a replay, whose bytes must be those of the live run. The calls come last.
pub(super) fn spans(events: &[Owned]) -> Vec<Attributes> {
    let directory = tempfile::tempdir().unwrap();
    let (bytes, log) = live(directory.path(), events, false);
    assert_eq!(replayed(directory.path(), &log, "replay.jsonl").0, bytes);
    let mut found = vec![];
    for line in std::str::from_utf8(&bytes).unwrap().lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        for resource in value["resourceSpans"].as_array().unwrap() {
            for span in resource["scopeSpans"][0]["spans"].as_array().unwrap() {
                let mut attributes = Attributes::new();
                for attribute in span["attributes"].as_array().unwrap() {
                    let value = attribute["value"].as_object().unwrap().values().next().unwrap();
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    attributes.insert(attribute["key"].as_str().unwrap().to_owned(), text);
                }
                attributes.insert("kind".to_owned(), span["kind"].to_string());
                attributes.insert("parent".to_owned(), span["parentSpanId"].to_string());
                found.push(attributes);
            }
        }
    }
    found.sort_by(|one, other| one["kind"].cmp(&other["kind"]));
    found
}

/// The attributes about the ends of the connection.
fn ends(span: &Attributes) -> Vec<(&str, &str)> {
    let about = |name: &str| {
        [
            "server.",
            "client.",
            "network.peer",
            "network.local",
            "network.transport",
            "network.type",
            "url.full",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix))
    };
    span.iter().filter(|(name, _)| about(name)).map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn request(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: backend:8080\r\n{more}\r\n")
}

/// A request to `server` from `client`, as the server's process sees it.
fn inbound(server: &str, client: &str, head: &str) -> Vec<Owned> {
    let mut run = Run::with_processes();
    run.open(1, BACK, (server, client), [0; 2]);
    run.transfer(1, Direction::In, BACK, None, head);
    run.transfer(1, Direction::Out, BACK, Some(1), OK);
    run.end()
}

/// The same as the client's process sees it.
fn outbound(server: &str, client: &str, head: &str) -> Vec<Owned> {
    let mut run = Run::with_processes();
    run.open(1, FRONT, (client, server), [0; 2]);
    run.transfer(1, Direction::Out, FRONT, None, head);
    run.transfer(1, Direction::In, FRONT, None, OK);
    run.end()
}

#[test]
fn a_path_is_the_servers_address_and_has_no_port() {
    let server = spans(&inbound("/run/app.sock", "", &request("/a", "")));
    let expected = [
        ("network.local.address", "/run/app.sock"),
        ("network.transport", "unix"),
        ("server.address", "/run/app.sock"),
    ];
    assert_eq!(ends(&server[0]), expected);
    let client = spans(&outbound("/run/app.sock", "", &request("/a", "")));
    let expected = [
        ("network.peer.address", "/run/app.sock"),
        ("network.transport", "unix"),
        ("server.address", "/run/app.sock"),
        ("url.full", "http://backend:8080/a"),
    ];
    assert_eq!(ends(&client[0]), expected);
}

#[test]
fn an_abstract_name_is_shown_as_proc_shows_it() {
    let client = spans(&outbound("@bus\0x", "/tmp/client", "GET /a HTTP/1.0\r\n\r\n"));
    let expected = [
        ("network.local.address", "/tmp/client"),
        ("network.peer.address", "@bus@x"),
        ("network.transport", "unix"),
        ("server.address", "@bus@x"),
        ("url.full", "http://localhost/a"),
    ];
    assert_eq!(ends(&client[0]), expected);
    let server = spans(&inbound("@bus\0x", "/tmp/client", "GET /a HTTP/1.0\r\n\r\n"));
    assert_eq!(server[0]["client.address"], "/tmp/client");
}

#[test]
fn sockets_without_a_name_leave_the_host_of_the_request() {
    let client = spans(&outbound("", "", &request("/a", "")));
    let expected =
        [("network.transport", "unix"), ("server.address", "backend"), ("url.full", "http://backend:8080/a")];
    assert_eq!(ends(&client[0]), expected);
    let nothing = spans(&inbound("", "", "GET /a HTTP/1.0\r\n\r\n"));
    assert_eq!(ends(&nothing[0]), [("network.transport", "unix")]);
}

/// Only a process of this host reaches a unix socket, so a proxy there is trusted like one on
/// loopback.
#[test]
fn a_proxy_on_a_unix_socket_is_believed() {
    let head = request("/a", "X-Forwarded-For: 203.0.113.9\r\n");
    let server = spans(&inbound("/run/app.sock", "", &head));
    assert_eq!(server[0]["client.address"], "203.0.113.9");
    assert!(!server[0].contains_key("client.port"), "{:?}", server[0]);
}

/// Sequence numbers join two ends, and here all are 0: a join would make parents of strangers.
#[test]
fn ends_without_sequence_numbers_are_not_joined() {
    let mut run = Run::with_processes();
    run.open(1, FRONT, ("", "/run/app.sock"), [0; 2]);
    run.open(2, BACK, ("/run/app.sock", ""), [0; 2]);
    let head = request("/a", "");
    run.transfer(1, Direction::Out, FRONT, None, &head);
    run.transfer(2, Direction::In, BACK, None, &head);
    run.transfer(2, Direction::Out, BACK, Some(2), OK);
    run.transfer(1, Direction::In, FRONT, None, OK);
    let found = spans(&run.end());
    assert_eq!(found.len(), 2);
    for span in &found {
        assert_eq!(span["parent"], "null", "{span:?}");
        assert!(!span.contains_key("wirespan.parent.evidence"), "{span:?}");
    }
}

#[test]
fn a_refused_connect_names_the_path() {
    let mut run = Run::with_processes();
    run.push(Event::Connecting(Connecting {
        at: Timestamp(6_000_000_000),
        socket: SocketId(9),
        thread: FRONT,
        peer: endpoint("/run/gone.sock"),
        last_receive: None,
        task: None,
    }));
    run.push(Event::ConnectFailed { at: Timestamp(6_000_000_100), socket: SocketId(9), errno: 111 });
    let found = spans(&run.end());
    let expected = [
        ("network.peer.address", "/run/gone.sock"),
        ("network.transport", "unix"),
        ("server.address", "/run/gone.sock"),
    ];
    assert_eq!(ends(&found[0]), expected);
}

/// The wire is read as if nothing were said of its plaintext, also where both are closed.
#[test]
fn a_plaintext_changes_nothing_yet() {
    let wire = |plaintext: bool| {
        let mut run = Run::with_processes();
        let connection = ConnectionId(1);
        run.open(1, BACK, ("10.0.0.1:80", "10.0.0.2:5000"), [7; 2]);
        run.transfer(1, Direction::In, BACK, None, &request("/a", ""));
        if plaintext {
            let at = Timestamp(run.at);
            let stream = StreamId { connection, layer: Layer::Plaintext };
            let earlier = [Earlier::Nothing; 2];
            run.push(Event::PlaintextOpened(PlaintextOpened { at, connection, thread: BACK, earlier }));
            run.events.push(Run::plaintext(at, connection, &request("/never", "")));
            let nothing = Capture { mode: CaptureMode::Nothing, skip_until: u64::MAX };
            run.push(Event::Asked(Asked { at, stream, directions: [nothing; 2] }));
            run.push(Event::HalfClosed {
                at,
                connection,
                layer: Layer::Plaintext,
                direction: Direction::In,
                position: 9,
                actor: None,
            });
            run.push(Event::Closed(Closed {
                at,
                connection,
                layer: Layer::Plaintext,
                errno: 0,
                observed: [9; 2],
                dropped: [0; 2],
                skipped: [0; 2],
            }));
        }
        run.transfer(1, Direction::Out, BACK, Some(1), OK);
        run.end()
    };
    let without = spans(&wire(false));
    assert_eq!(without.len(), 1);
    assert_eq!(spans(&wire(true)), without);
}
