//! Forms of HTTP/1 that only the parser sees: the kernel moves their bytes as it moves all others.

use anyhow::Result;
use wirespan_tests::span::Kind;

use crate::{
    check::{brief, the},
    messages::{END, OK, both, exchange, traced},
    peers::{eof, fill, read, send, until},
};

#[test]
fn interim_responses_do_not_end_a_request() -> Result<()> {
    let server = vec![
        until(END),
        send("HTTP/1.1 100 Continue\r\n\r\n"),
        read(5_000),
        send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"),
        send(OK),
        until(END),
        send(OK),
        eof(),
    ];
    let client = vec![
        send("PUT /continue HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n"),
        until(END),
        fill(5_000),
        until(OK),
        send("GET /after HTTP/1.1\r\nHost: a\r\n\r\n"),
        until(OK),
    ];
    let Some(rows) = traced("interim", server, client)? else { return Ok(()) };
    both(&rows, &[exchange("PUT", "/continue", 200, 5_000, 2), exchange("GET", "/after", 200, 0, 2)]);
    Ok(())
}

#[test]
fn an_upgraded_connection_is_opaque() -> Result<()> {
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let server = vec![
        until(END),
        send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n"),
        until(END),
        send(OK),
        eof(),
    ];
    let upgrade = "GET /socket HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n";
    let client = vec![send(upgrade), until(END), send(hidden), until(OK)];
    let Some(rows) = traced("upgrade", server, client)? else { return Ok(()) };
    both(&rows, &[exchange("GET", "/socket", 101, 0, 0)]);
    Ok(())
}

#[test]
fn bodies_that_are_not_there_are_not_waited_for() -> Result<()> {
    let server = vec![
        until(END),
        send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        until(END),
        send("HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"),
        until(END),
        send("HTTP/1.1 204 No Content\r\n\r\n"),
        until(END),
        send(OK),
        eof(),
    ];
    let request = |line: &str| send(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let client = vec![
        request("HEAD /head"),
        until(END),
        request("GET /fresh"),
        until(END),
        request("DELETE /none"),
        until(END),
        request("GET /after"),
        until(OK),
    ];
    let Some(rows) = traced("bodiless", server, client)? else { return Ok(()) };
    let expected = [
        exchange("HEAD", "/head", 200, 0, 0),
        exchange("GET", "/fresh", 304, 0, 0),
        exchange("DELETE", "/none", 204, 0, 0),
        exchange("GET", "/after", 200, 0, 2),
    ];
    both(&rows, &expected);
    Ok(())
}

#[test]
fn chunks_with_extensions_and_trailers() -> Result<()> {
    let chunked = "5;name=value\r\nabcde\r\nA\r\n0123456789\r\n0\r\nDigest: x\r\n\r\n";
    let server = vec![
        until("Digest: x\r\n\r\n"),
        send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Digest\r\n\r\n"),
        send(chunked),
        until(END),
        send(OK),
        eof(),
    ];
    let client = vec![
        send("POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
        send(chunked),
        until("Digest: x\r\n\r\n"),
        send("GET /after HTTP/1.1\r\nHost: a\r\n\r\n"),
        until(OK),
    ];
    let Some(rows) = traced("trailers", server, client)? else { return Ok(()) };
    both(&rows, &[exchange("POST", "/chunks", 200, 15, 15), exchange("GET", "/after", 200, 0, 2)]);
    Ok(())
}

#[test]
fn targets_and_methods_of_every_form() -> Result<()> {
    let server = vec![until(END), send(OK), until(END), send(OK), until(END), send(OK), eof()];
    let client = vec![
        send("GET http://example/absolute?x=1 HTTP/1.1\r\nHost: example\r\n\r\n"),
        until(OK),
        send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
        until(OK),
        send("BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n"),
        until(OK),
    ];
    let Some(rows) = traced("targets", server, client)? else { return Ok(()) };
    for kind in [Kind::Server, Kind::Client] {
        let absolute = the(&rows, kind, "/absolute");
        assert_eq!((absolute.method(), absolute.attribute("url.query")), ("GET", "x=1"));
        let pot = the(&rows, kind, "/pot");
        assert_eq!((pot.method(), pot.attribute("http.request.method_original")), ("_OTHER", "BREW"));
        let options: Vec<_> =
            rows.iter().filter(|row| row.kind == kind && row.method() == "OPTIONS").collect();
        assert_eq!(options.len(), 1, "{}", brief(&rows));
    }
    Ok(())
}

#[test]
fn an_early_response_does_not_confuse_what_follows() -> Result<()> {
    let server = vec![
        until(END),
        send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"),
        read(400_000),
        until(END),
        send(OK),
        eof(),
    ];
    let client = vec![
        send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n"),
        until("no"),
        fill(400_000),
        send("GET /after HTTP/1.1\r\nHost: a\r\n\r\n"),
        until(OK),
    ];
    let Some(rows) = traced("early", server, client)? else { return Ok(()) };
    both(&rows, &[exchange("POST", "/early", 413, 400_000, 2), exchange("GET", "/after", 200, 0, 2)]);
    Ok(())
}

#[test]
fn what_is_not_http_makes_no_spans() -> Result<()> {
    let binary = "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}";
    let server = vec![until("\u{fc}\u{3}\u{3}"), send(binary), until("QUIT\r\n"), send("+OK bye\r\n"), eof()];
    let client =
        vec![send(binary), until("\u{fc}\u{3}\u{3}"), send("*1\r\n$4\r\nQUIT\r\n"), until("bye\r\n")];
    let Some(rows) = traced("not-http", server, client)? else { return Ok(()) };
    assert!(rows.is_empty(), "{}", brief(&rows));
    Ok(())
}

#[test]
fn secrets_do_not_leave() -> Result<()> {
    let request =
        "GET http://user:hunter2@a/q?sig=hunter2&X-Goog-Signature=hunter2&x=1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let Some(rows) = traced("secrets", vec![until(END), send(OK), eof()], vec![send(request), until(OK)])?
    else {
        return Ok(());
    };
    assert_eq!(rows.len(), 2, "{}", brief(&rows));
    for row in &rows {
        assert!(row.attributes.values().all(|value| !value.contains("hunter2")), "{row:#?}");
        assert!(row.attribute("url.query").contains("x=1"), "{row:#?}");
    }
    Ok(())
}
