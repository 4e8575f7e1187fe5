//! HTTP/1 in all its forms, byte by byte: both ends follow a script, both are traced.

use anyhow::Result;
use serde_json::Value;
use wirespan_tests::{
    agent::Agent,
    clients::Exchange,
    span::{Kind, SpanRow},
    stage::Stage,
};

use crate::{
    check::{assert_exactly, brief, the},
    peers::{
        Place, beside, consumed, eof, fill, flood, joined, narrow, read, reset, send, touch, until, wait,
        whole,
    },
};

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub(crate) const END: &str = "\r\n\r\n";

/// Traces one connection between two scripts. `None` when the machine cannot.
pub(crate) fn traced(name: &str, server: Vec<Value>, client: Vec<Value>) -> Result<Option<Vec<SpanRow>>> {
    let Some(stage) = Stage::shared(name, &["/usr/bin/python3"]) else { return Ok(None) };
    let agent = Agent::start(&stage)?;
    Place::local(&stage).play(server, client)?;
    agent.stop().map(Some)
}

pub(crate) fn exchange(method: &str, path: &str, status: u16, sent: u64, received: u64) -> Exchange {
    Exchange { method: method.into(), path: path.into(), status, sent, received }
}

#[track_caller]
pub(crate) fn both(rows: &[SpanRow], expected: &[Exchange]) {
    assert_exactly(rows, Kind::Server, expected);
    assert_exactly(rows, Kind::Client, expected);
}

#[test]
fn pipelined_requests_are_paired_by_order() -> Result<()> {
    let requests = "GET /one HTTP/1.1\r\nHost: a\r\n\r\nPOST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
                    GET /three HTTP/1.1\r\nHost: a\r\n\r\n";
    let responses = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n22\
                     HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n333";
    let server = vec![until("/three HTTP/1.1\r\nHost: a\r\n\r\n"), send(responses), eof()];
    let client = vec![send(requests), until("333")];
    let Some(rows) = traced("pipeline", server, client)? else { return Ok(()) };
    let expected = [
        exchange("GET", "/one", 200, 0, 1),
        exchange("POST", "/two", 201, 3, 2),
        exchange("GET", "/three", 404, 0, 3),
    ];
    both(&rows, &expected);
    Ok(())
}

#[test]
fn a_tunnel_is_opaque() -> Result<()> {
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let server = vec![until(END), send("HTTP/1.1 200 Connected\r\n\r\n"), until(END), send(OK), eof()];
    let connect = "CONNECT example:443 HTTP/1.1\r\nHost: example:443\r\n\r\n";
    let client = vec![send(connect), until(END), send(hidden), until(OK)];
    let Some(rows) = traced("connect", server, client)? else { return Ok(()) };
    for kind in [Kind::Server, Kind::Client] {
        let found: Vec<_> = rows.iter().filter(|row| row.kind == kind).collect();
        assert_eq!(found.len(), 1, "{}", brief(&rows));
        assert_eq!((found[0].method(), found[0].status_code()), ("CONNECT", 200));
    }
    Ok(())
}

#[test]
fn heads_larger_than_any_capture() -> Result<()> {
    let long = "h".repeat(80_000);
    let response = format!("HTTP/1.1 200 OK\r\nX-Long: {long}\r\nContent-Length: 2\r\n\r\nok");
    let server = vec![until(END), send(&response), until(END), send(OK), eof()];
    let client = vec![
        send(&format!("GET /long HTTP/1.1\r\nX-Long: {long}\r\nHost: a\r\n\r\n")),
        until("\r\n\r\nok"),
        send("GET /after HTTP/1.1\r\nHost: a\r\n\r\n"),
        until(OK),
    ];
    let Some(rows) = traced("long-heads", server, client)? else { return Ok(()) };
    for kind in [Kind::Server, Kind::Client] {
        let row = the(&rows, kind, "/long");
        assert_eq!((row.method(), row.status_code()), ("GET", 200), "{}", brief(&rows));
        assert!(row.attribute("wirespan.incomplete").contains("truncated"), "{}", brief(&rows));
        assert_eq!(the(&rows, kind, "/after").status_code(), 200);
    }
    assert_eq!(rows.len(), 4, "{}", brief(&rows));
    Ok(())
}

#[test]
fn large_bodies_in_both_directions() -> Result<()> {
    const SIZE: usize = 30_000_000;
    let server = vec![
        until(END),
        read(SIZE),
        send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n")),
        fill(SIZE),
        until(END),
        send(OK),
        eof(),
    ];
    let client = vec![
        send(&format!("POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n")),
        fill(SIZE),
        until(END),
        read(SIZE),
        send("GET /after HTTP/1.1\r\nHost: a\r\n\r\n"),
        until(OK),
    ];
    let Some(rows) = traced("large", server, client)? else { return Ok(()) };
    let size = SIZE as u64;
    both(&rows, &[exchange("POST", "/large", 200, size, size), exchange("GET", "/after", 200, 0, 2)]);
    Ok(())
}

#[test]
fn a_client_that_gives_up_is_an_error_on_its_side() -> Result<()> {
    let server = vec![until(END), eof()];
    let client = vec![send("GET /abandoned HTTP/1.1\r\nHost: a\r\n\r\n")];
    let Some(rows) = traced("abort", server, client)? else { return Ok(()) };
    for kind in [Kind::Server, Kind::Client] {
        let row = the(&rows, kind, "/abandoned");
        assert_eq!(row.status_code(), 0, "{}", brief(&rows));
        assert!(!row.attribute("error.type").is_empty(), "{}", brief(&rows));
    }
    assert_eq!(the(&rows, Kind::Client, "/abandoned").status, 2, "a client without an answer has failed");
    Ok(())
}

#[test]
fn a_server_that_resets_is_an_error() -> Result<()> {
    let server =
        vec![until(END), send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"), read(1), reset()];
    let client = vec![send("GET /reset HTTP/1.1\r\nHost: a\r\n\r\n"), until("half"), send("x"), eof()];
    let Some(rows) = traced("reset", server, client)? else { return Ok(()) };
    let row = the(&rows, Kind::Client, "/reset");
    assert_eq!((row.status_code(), row.status), (200, 2), "{}", brief(&rows));
    assert!(!row.attribute("error.type").is_empty(), "{}", brief(&rows));
    the(&rows, Kind::Server, "/reset");
    Ok(())
}

/// The connection ends inside the server's system call, before that has reported what it sent.
#[test]
fn a_download_that_is_reset_inside_the_servers_send_keeps_its_status() -> Result<()> {
    const SIZE: usize = 30_000_000;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
    let server = vec![until(END), flood(&head, SIZE)];
    let client = vec![send("GET /download HTTP/1.1\r\nHost: a\r\n\r\n"), read(100_000), reset()];
    let Some(rows) = traced("download", server, client)? else { return Ok(()) };
    let errors =
        [Kind::Server, Kind::Client].map(|kind| the(&rows, kind, "/download").attribute("error.type"));
    assert_eq!(errors, ["client_aborted"; 2], "{}", brief(&rows));
    for kind in [Kind::Server, Kind::Client] {
        let row = the(&rows, kind, "/download");
        assert_eq!(row.status_code(), 200, "{}", brief(&rows));
        assert_eq!(row.attribute("wirespan.incomplete"), "", "{}", brief(&rows));
    }
    Ok(())
}

/// The same inside the system call that receives the request.
#[test]
fn a_request_that_is_reset_inside_the_servers_receive_is_a_span() -> Result<()> {
    let server = vec![until(END), send(OK), whole(1_000)];
    let client = vec![
        send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n"),
        until(OK),
        send("GET /hasty HTTP/1.1\r\nHost: a\r\n\r\n"),
        consumed(),
        reset(),
    ];
    let Some(rows) = traced("hasty", server, client)? else { return Ok(()) };
    for kind in [Kind::Server, Kind::Client] {
        let row = the(&rows, kind, "/hasty");
        assert_eq!((row.status_code(), row.attribute("wirespan.incomplete")), (0, ""), "{}", brief(&rows));
    }
    let (server, client) = (the(&rows, Kind::Server, "/hasty"), the(&rows, Kind::Client, "/hasty"));
    assert_eq!(server.parent.as_deref(), Some(client.id.as_str()), "{}", brief(&rows));
    Ok(())
}

/// The first transfer that is reported of the connection is its first response: the system call
/// that sends the request ends later.
#[test]
fn an_answer_that_is_read_before_the_request_is_sent_has_its_request() -> Result<()> {
    const SIZE: usize = 2_000_000;
    let Some(stage) = Stage::shared("early", &["/usr/bin/python3"]) else { return Ok(()) };
    let answered = stage.dir().join("answered");
    let head = format!("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n");
    let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let server = vec![until(END), send(OK), wait(&answered), read(SIZE), until(END), send(OK)];
    let upload = beside(&flood(&head, SIZE));
    let client = vec![narrow(), upload, until("ok"), touch(&answered), joined(), send(next), until("ok")];
    let agent = Agent::start(&stage)?;
    Place::local(&stage).play(server, client)?;
    let rows = agent.stop()?;
    let expected = [exchange("POST", "/early", 200, SIZE as u64, 2), exchange("GET", "/next", 200, 0, 2)];
    both(&rows, &expected);
    for row in &rows {
        assert_eq!(row.attribute("wirespan.incomplete"), "", "{}", brief(&rows));
    }
    // The parent of the first is known only if its system call ended soon enough, which may not be
    // so in a guest.
    let (server, client) = (the(&rows, Kind::Server, "/next"), the(&rows, Kind::Client, "/next"));
    assert_eq!(server.parent.as_deref(), Some(client.id.as_str()), "{}", brief(&rows));
    Ok(())
}
