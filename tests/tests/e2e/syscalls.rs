//! Every way in which user code moves bytes through a TCP socket, in a static program, IPv4 and
//! IPv6.

use std::path::PathBuf;

use anyhow::Result;
use wirespan_tests::{
    agent::{Agent, Metrics},
    clients::{Exchange, Request},
    process::Launch,
    span::{Kind, SpanRow},
    stage::{self, Stage},
    wait,
};

use crate::check::{assert_exactly, brief, exchanges};

/// The program, statically linked when `cargo xtask test` has built it so.
fn program() -> PathBuf {
    std::env::var_os("WIRESPAN_SYSCALLS").map_or_else(|| env!("CARGO_BIN_EXE_syscalls").into(), PathBuf::from)
}

fn requests(mode: &str) -> Vec<Request> {
    // A byte per system call is slow; the other modes get bodies that fill socket buffers.
    let large: u64 = if mode == "bytes" { 2_000 } else { 300_000 };
    let request = |method, path: String, size| Request { method, path, size };
    let mut list = Vec::new();
    for round in 0..3 {
        list.push(request("GET", format!("/hello/{mode}-{round}"), 0));
        list.push(request("POST", format!("/echo/small/{mode}-{round}"), 10));
        list.push(request("GET", format!("/bytes/{large}/{mode}-{round}"), 0));
        list.push(request("POST", format!("/echo/large/{mode}-{round}"), large));
        list.push(request("GET", format!("/missing/{mode}-{round}"), 0));
    }
    list
}

/// Runs the requests between two processes of this mode. `None` when the machine cannot.
fn run(
    mode: &str,
    host: &str,
    check: fn(&Agent) -> Result<()>,
) -> Result<Option<(Vec<SpanRow>, Vec<Exchange>)>> {
    let Some(stage) = Stage::shared(mode, &[]) else { return Ok(None) };
    let address = format!("{host}:{}", stage::port());
    let server = Launch::new(program()).args(["server", mode, &address]).inside(&stage.cgroup);
    let mut server = server.start(stage.dir())?;
    server.says("listening")?;
    let agent = Agent::start(&stage)?;
    let list: String = requests(mode)
        .iter()
        .map(|request| format!("{} {} {}\n", request.method, request.path, request.size))
        .collect();
    let client = Launch::new(program()).args(["client", mode, &address]).stdin(list).inside(&stage.cgroup);
    let reports = client.start(stage.dir())?.finish()?;
    let expected = reports.lines().map(report).collect();
    drop(server);
    check(&agent)?;
    Ok(Some((agent.stop()?, expected)))
}

/// Every byte of a connection that has ended is accounted for: parsed, skipped, truncated, dropped
/// or unseen.
fn ledger(metrics: &Metrics) -> (f64, f64) {
    let entry = |name: &str| metrics.sum("wirespan_ledger_bytes_total", &[&format!("entry=\"{name}\"")]);
    let told = ["parsed", "skipped", "truncated", "dropped", "unseen"].map(entry).iter().sum();
    (entry("observed"), told)
}

fn balanced(agent: &Agent) -> Result<()> {
    let metrics = wait::until("the ledger of a closed connection", || {
        agent.metrics().ok().filter(|metrics| ledger(metrics).0 > 0.0)
    })?;
    let (observed, told) = ledger(&metrics);
    assert!((observed - told).abs() < 0.5, "{observed} bytes observed, {told} told of:\n{}", metrics.text());
    Ok(())
}

fn report(line: &str) -> Exchange {
    let words: Vec<_> = line.split(' ').collect();
    let number = |index: usize| words[index].parse().expect("the program reports numbers");
    Exchange {
        method: words[0].to_owned(),
        path: words[1].to_owned(),
        status: words[2].parse().expect("a status is a number"),
        sent: number(3),
        received: number(4),
    }
}

fn exact(mode: &str) -> Result<()> {
    let Some((rows, expected)) = run(mode, "127.0.0.1", balanced)? else { return Ok(()) };
    assert_exactly(&rows, Kind::Server, &expected);
    assert_exactly(&rows, Kind::Client, &expected);
    Ok(())
}

/// Bytes that are not captured give no span, or one without invented attributes.
fn unreadable(mode: &str, check: fn(&Agent) -> Result<()>) -> Result<()> {
    let Some((rows, expected)) = run(mode, "127.0.0.1", check)? else { return Ok(()) };
    for kind in [Kind::Server, Kind::Client] {
        for found in exchanges(&rows, kind) {
            assert!(expected.contains(&found), "{kind:?} {found:?} was never made: {}", brief(&rows));
        }
    }
    Ok(())
}

macro_rules! exact {
    ($($test:ident $mode:literal)*) => { $(
        #[test]
        fn $test() -> Result<()> {
            exact($mode)
        }
    )* };
}

exact! {
    read_and_write "read-write"
    readv_and_writev "readv-writev"
    more_iovecs_than_are_looked_at "many-iovecs"
    send_and_recv "send-recv"
    sendto_and_recvfrom "sendto-recvfrom"
    sendmsg_and_recvmsg "sendmsg-recvmsg"
    bodies_by_sendfile "sendfile"
    bodies_by_splice "splice"
    peeked_bytes_are_counted_once "peek"
    bodies_thrown_away "trunc"
    partial_writes_and_eagain "partial"
    one_byte_per_call "bytes"
    an_io_uring_that_moves_nothing_of_sockets_does_no_harm "idle-io-uring"
}

/// Waits until system calls were counted as not captured for this reason.
fn counted(agent: &Agent, reason: &str) -> Result<()> {
    let label = format!("reason=\"{reason}\"");
    wait::until(&format!("calls counted as {reason}"), || {
        let metrics = agent.metrics().ok()?;
        (metrics.sum("wirespan_uncaptured_syscalls_total", &[&label]) > 0.0).then_some(())
    })
}

/// One system call that sends or receives many messages: an event does not say which of them it is
/// about.
#[test]
fn sendmmsg_and_recvmmsg_are_not_misread() -> Result<()> {
    unreadable("sendmmsg-recvmmsg", |agent| counted(agent, "syscall"))
}

#[test]
fn a_32_bit_call_is_not_misread() -> Result<()> {
    unreadable("int80", |agent| counted(agent, "task_32bit"))
}

#[test]
fn what_goes_through_io_uring_is_not_misread() -> Result<()> {
    unreadable("io-uring", |agent| {
        counted(agent, "io_uring")?;
        balanced(agent)?;
        // The thread reads zeros meanwhile, so whatever is captured is zeros. The kernel's own
        // counter includes processes of other tests, until the agent has decided that no rule
        // selects them.
        let captured = agent.metrics()?.sum("wirespan_captured_bytes_total", &[]);
        assert!(captured < 0.5, "{captured} bytes were captured");
        Ok(())
    })
}

#[test]
fn ipv6() -> Result<()> {
    let Some((rows, expected)) = run("sendmsg-recvmsg", "[::1]", balanced)? else { return Ok(()) };
    assert_exactly(&rows, Kind::Server, &expected);
    assert_exactly(&rows, Kind::Client, &expected);
    for row in &rows {
        assert_eq!(row.attribute("network.peer.address"), "::1", "{}", brief(&rows));
    }
    Ok(())
}
