//! HTTP/2 in plaintext: nginx, asked by nghttp with many streams open on one connection.

use anyhow::Result;
use wirespan_tests::{
    agent::Agent,
    clients::Exchange,
    nginx::Nginx,
    process::Launch,
    span::{Kind, SpanRow},
    stage::{self, Stage},
};

use crate::{
    check::{assert_complete, assert_exactly, brief},
    messages::exchange,
};

/// What the client asks for: many small responses, long ones between them, and errors.
fn requests() -> Vec<Exchange> {
    let small = (0..30).map(|number| exchange("GET", &format!("/hello/{number}"), 200, 0, 6));
    let long = (0..4).map(|number| exchange("GET", &format!("/bytes/100000/{number}"), 200, 0, 100_000));
    let missing = (0..4).map(|number| exchange("GET", &format!("/missing/{number}"), 404, 0, 10));
    small.chain(long).chain(missing).collect()
}

/// The spans of client and server.
fn spans(stage: &Stage, options: &[&str]) -> Result<Vec<SpanRow>> {
    let port = stage::port();
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), &format!("listen 127.0.0.1:{port} http2;\n"))?;
    let agent = Agent::start(stage)?;
    let urls = requests().into_iter().map(|request| format!("http://127.0.0.1:{port}{}", request.path));
    Launch::new("nghttp")
        .args(["-n"])
        .args(options)
        .args(urls)
        .inside(&stage.cgroup)
        .start(stage.dir())?
        .finish()?;
    let spans = agent.stop()?;
    drop(nginx);
    Ok(spans)
}

#[test]
fn each_stream_is_a_span_at_both_ends() -> Result<()> {
    let Some(stage) = Stage::shared("http2", &["nginx", "nghttp"]) else { return Ok(()) };
    let rows = spans(&stage, &[])?;
    assert_complete(&rows);
    for kind in [Kind::Client, Kind::Server] {
        assert_exactly(&rows, kind, &requests());
    }
    for server in rows.iter().filter(|row| row.kind == Kind::Server) {
        let client = rows.iter().find(|row| Some(&row.id) == server.parent.as_ref());
        assert_eq!(client.map(SpanRow::path), Some(server.path()), "{}", brief(&rows));
        assert_eq!(server.attribute("network.protocol.version"), "2");
        assert_eq!(server.attribute("wirespan.parent.evidence"), "connection");
    }
    Ok(())
}
