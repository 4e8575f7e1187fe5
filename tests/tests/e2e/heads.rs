//! Heads that are longer than what is copied of a system call: cookies, Kerberos tickets and tokens
//! of many kilobytes, with what matters at their end.

use anyhow::Result;
use wirespan_tests::{
    agent::Agent,
    process::Launch,
    span::{Kind, SpanRow},
    stage::{self, Stage},
};

use crate::check::{brief, the};

/// Bytes of heads that are captured whole.
const SIZES: [usize; 4] = [5 << 10, 12 << 10, 33 << 10, 63 << 10];
/// How they are sent: in one system call, in one with shorter messages before and after, in pieces
/// of this many bytes, or with one piece first.
const WAYS: [&str; 8] = ["one", "behind", "1024", "3000", "4096", "16384", "600+", "1448+"];
/// How they are read.
const BUFFERS: [&str; 3] = ["nginx", "5000", "65536"];

fn run(name: &str, cases: &[String]) -> Result<Option<(Vec<SpanRow>, String)>> {
    let Some(stage) = Stage::shared(name, &["/usr/bin/python3"]) else { return Ok(None) };
    let port = stage::port().to_string();
    let script = stage.file("heads.py", include_str!("../../programs/heads.py"))?;
    let python = || Launch::new("/usr/bin/python3").arg(&script).inside(&stage.cgroup);
    let mut server = python().args(["serve", &port]).start(stage.dir())?;
    server.says("listening")?;
    let agent = Agent::start(&stage)?;
    let client = python().args(["ask", &port]).args(cases).start(stage.dir())?;
    assert_eq!(client.finish()?.lines().count(), cases.len());
    drop(server);
    let metrics = wirespan_tests::wait::until("the end of every connection", || {
        let metrics = agent.metrics().ok()?;
        let closed = metrics.sum("wirespan_events_total", &["type=\"closed\""]);
        (closed >= 2.0 * cases.len() as f64).then_some(metrics)
    })?;
    let truncated = metrics.sum("wirespan_ledger_bytes_total", &["entry=\"truncated\""]);
    Ok(Some((agent.stop()?, truncated.to_string())))
}

/// The `count` exchanges of a case, on both sides.
fn check(rows: &[SpanRow], case: &str, number: usize, count: u16) {
    for place in 0..count {
        let path = format!("/{}/{number}/{place}", case.replace(':', "/"));
        for kind in [Kind::Server, Kind::Client] {
            let row = the(rows, kind, &path);
            let told = (row.method(), row.status_code(), row.sizes(), row.trace.as_str());
            let trace = format!("{number:032x}");
            assert_eq!(told, ("GET", 200 + place, (0, 5), &*trace), "{case} {kind:?} {place}: {row:#?}");
            assert_eq!(row.attribute("wirespan.incomplete"), "", "{case} {kind:?} {place}");
        }
    }
}

fn long_heads_are_whole(side: &str) -> Result<()> {
    let mut cases = Vec::new();
    for size in SIZES {
        for way in WAYS {
            cases.extend(BUFFERS.map(|buffer| format!("{side}:{size}:{way}:{buffer}")));
        }
    }
    let Some((rows, truncated)) = run(&format!("heads-{side}"), &cases)? else { return Ok(()) };
    let mut expected = 0;
    for (index, case) in cases.iter().enumerate() {
        let count = if case.contains("behind") { 3 } else { 1 };
        check(&rows, case, index + 1, count);
        expected += 2 * usize::from(count);
    }
    assert_eq!(rows.len(), expected, "{}", brief(&rows));
    assert_eq!(truncated, "0", "bytes that were not captured");
    Ok(())
}

#[test]
fn long_heads_of_requests_are_whole() -> Result<()> {
    long_heads_are_whole("request")
}

#[test]
fn long_heads_of_responses_are_whole() -> Result<()> {
    long_heads_are_whole("response")
}

#[test]
fn heads_beyond_the_limit_are_marked() -> Result<()> {
    let cases = ["request:80000:one:65536".to_owned(), "response:80000:one:65536".to_owned()];
    let Some((rows, truncated)) = run("heads-beyond", &cases)? else { return Ok(()) };
    for (index, case) in cases.iter().enumerate() {
        let path = format!("/{}/{}/0", case.replace(':', "/"), index + 1);
        for kind in [Kind::Server, Kind::Client] {
            let row = the(&rows, kind, &path);
            assert_eq!((row.method(), row.status_code()), ("GET", 200), "{row:#?}");
            assert!(row.attribute("wirespan.incomplete").contains("truncated"), "{row:#?}");
        }
    }
    assert_ne!(truncated, "0");
    Ok(())
}
