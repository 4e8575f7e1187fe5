//! Parents by `traceparent`, by the two ends of a connection, and by the two sides of a proxy.

use anyhow::Result;
use wirespan_tests::{
    agent::Agent,
    clients::{Client, Request},
    nginx::Nginx,
    process::Launch,
    programs::Service,
    span::{Kind, SpanRow},
    stage::Stage,
};

use crate::check::{brief, the};

#[test]
fn an_incoming_traceparent_is_honoured() -> Result<()> {
    let Some(stage) = Stage::shared("traceparent", &["nginx", "curl"]) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let agent = Agent::start(&stage)?;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let header = format!("traceparent: 00-{trace}-b7ad6b7169203331-01");
    let url = format!("http://127.0.0.1:{}/hello/given", nginx.port);
    // The client is not selected: it stands for a service on another host.
    let curl = Launch::new("curl").args(["-q", "-sS", "-H", &header, "-H", "tracestate: vendor=value", &url]);
    curl.start(stage.dir())?.finish()?;
    let rows = agent.stop()?;
    let row = the(&rows, Kind::Server, "/hello/given");
    assert_eq!(
        (row.trace.as_str(), row.parent.as_deref()),
        (trace, Some("b7ad6b7169203331")),
        "{}",
        brief(&rows)
    );
    assert_eq!(row.attribute("wirespan.parent.evidence"), "traceparent");
    assert_eq!((row.trace_state.as_str(), row.flags & 1), ("vendor=value", 1));
    Ok(())
}

#[test]
fn both_ends_on_one_host_are_one_trace() -> Result<()> {
    let Some(stage) = Stage::shared("flow", &["nginx", "curl"]) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let agent = Agent::start(&stage)?;
    let list: Vec<_> =
        (0..10).map(|n| Request { method: "GET", path: format!("/hello/flow-{n}"), size: 0 }).collect();
    Client::Curl.run(&stage, nginx.port, &list)?;
    let rows = agent.stop()?;
    for request in &list {
        let (server, client) =
            (the(&rows, Kind::Server, &request.path), the(&rows, Kind::Client, &request.path));
        assert_eq!(server.parent.as_deref(), Some(client.id.as_str()), "{}", brief(&rows));
        assert_eq!(
            (&server.trace, server.attribute("wirespan.parent.evidence")),
            (&client.trace, "connection")
        );
        // Their times allow no more: a system call is timed when it returns, and a client whose
        // send was preempted returns after the server has answered.
        assert!(server.start <= client.end, "{}", brief(&rows));
        assert_eq!(client.parent, None, "{}", brief(&rows));
    }
    Ok(())
}

/// The parent of a span, by its id.
fn parent<'a>(rows: &'a [SpanRow], row: &SpanRow) -> Option<&'a SpanRow> {
    rows.iter().find(|other| Some(&other.id) == row.parent.as_ref())
}

/// curl → nginx → Python → Node, one request after the other: one trace each, every parent right.
#[test]
fn a_chain_of_three_services_is_one_trace() -> Result<()> {
    let Some(stage) = Stage::shared("chain", &["nginx", "curl", "/usr/bin/python3", "node"]) else {
        return Ok(());
    };
    let (node, python) = (Service::Node.start(&stage)?, Service::Python.start(&stage)?);
    let proxy = format!("        location /py/ {{ proxy_pass http://127.0.0.1:{}/; }}\n", python.port);
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), &proxy)?;
    let agent = Agent::start(&stage)?;
    let outside = |n: usize| format!("/py/call/{}/hello/{n}", node.port);
    let list: Vec<_> = (0..10).map(|n| Request { method: "GET", path: outside(n), size: 0 }).collect();
    Client::Curl.run(&stage, nginx.port, &list)?;
    let rows = agent.stop()?;
    for n in 0..10 {
        let middle = format!("/call/{}/hello/{n}", node.port);
        let inside = format!("/hello/{n}");
        // From the innermost span outwards.
        let expected = [
            (Kind::Server, inside.as_str(), "connection"),
            (Kind::Client, &inside, "both_sides"),
            (Kind::Server, &middle, "connection"),
            (Kind::Client, &middle, "both_sides"),
            (Kind::Server, &outside(n), "connection"),
            (Kind::Client, &outside(n), ""),
        ];
        let mut row = the(&rows, Kind::Server, &inside);
        for (kind, path, evidence) in expected {
            assert_eq!((row.kind, row.path()), (kind, path), "{}", brief(&rows));
            assert_eq!(row.attribute("wirespan.parent.evidence"), evidence, "{}", brief(&rows));
            match parent(&rows, row) {
                Some(next) => {
                    assert_eq!(row.trace, next.trace);
                    row = next;
                }
                None => assert_eq!((evidence, &row.parent), ("", &None), "{}", brief(&rows)),
            }
        }
    }
    assert_eq!(rows.len(), 60, "{}", brief(&rows));
    Ok(())
}

/// The same with many at once: a call may be unlinked, but no parent may be wrong.
#[test]
fn no_parent_is_wrong_under_concurrency() -> Result<()> {
    let Some(stage) = Stage::shared("concurrent", &["nginx", "curl", "/usr/bin/python3"]) else {
        return Ok(());
    };
    let (inner, outer) = (Service::Python.start(&stage)?, Service::Python.start(&stage)?);
    let proxy = format!("        location /py/ {{ proxy_pass http://127.0.0.1:{}/; }}\n", outer.port);
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), &proxy)?;
    let agent = Agent::start(&stage)?;
    let url = format!("http://127.0.0.1:{}/py/call/{}/hello/[1-60]", nginx.port, inner.port);
    let curl = Launch::new("curl").args(["-q", "-sS", "-Z", "--parallel-max", "8", "-o", "/dev/null", &url]);
    curl.inside(&stage.cgroup).start(stage.dir())?.finish()?;
    let rows = agent.stop()?;
    let number = |row: &SpanRow| row.path().rsplit('/').next().map(str::to_owned);
    let mut linked = 0;
    for row in &rows {
        if let Some(parent) = parent(&rows, row) {
            assert_eq!(number(row), number(parent), "a wrong parent: {row:#?} {parent:#?}");
            linked += 1;
        }
    }
    assert_eq!(rows.len(), 360, "{}", brief(&rows));
    assert!(linked >= 180, "both ends of a connection are always joined, {linked} links: {}", brief(&rows));
    Ok(())
}
