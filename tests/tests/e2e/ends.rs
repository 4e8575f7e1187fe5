//! Calls that get no response end when the program gives them up, and are exported then, whatever
//! TCP still does.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use wirespan_tests::{
    agent::Agent,
    machine,
    process::{Launch, Process},
    span::{self, Kind, SpanRow},
    stage::{Namespace, Stage},
    wait as await_until,
};

use crate::{
    check::{brief, the},
    peers::{Place, eof, fill, left, read, reset, send, touch, until, wait},
};

const END: &str = "\r\n\r\n";
const PART: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";

/// Requests with the numbers 0 to 2,999, each on a connection of its own, which the client resets
/// as soon as it has sent it: the reset meets the server's receive, on another CPU. Prints how many
/// the server has read.
const RESETS: &str = r#"
import os, socket, struct
listener = socket.create_server(("127.0.0.1", 0))
client = os.fork()
if client == 0:
    for number in range(3000):
        one = socket.create_connection(listener.getsockname())
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.sendall(b"GET /reset/%d HTTP/1.1\r\nHost: h\r\n\r\n" % number)
        one.close()
    os._exit(0)
read = 0
for _ in range(3000):
    one, _ = listener.accept()
    try:
        read += one.recv(1000).endswith(b"\r\n\r\n")
    except ConnectionResetError:
        pass
    one.close()
os.waitpid(client, 0)
print("read", read, flush=True)
"#;

/// How far a span's end may lie from what its program did.
const NEAR: u64 = 50_000_000;

/// The wall clock in nanoseconds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A client of `place`, traced, that gives up.
fn client(place: &Place<'_>, words: &[&str]) -> Result<Process> {
    let path = place.stage.file("giving_up.py", include_str!("../../programs/giving_up.py"))?;
    let launch = Launch::new(machine::python()).arg(path).arg(place.address).arg(place.port.to_string());
    let mut client =
        launch.args(words).namespace(place.namespace).inside(&place.stage.cgroup).start(place.stage.dir())?;
    client.says("connected")?;
    Ok(client)
}

/// The times between which the program acted, by its own clock.
fn act(client: &mut Process) -> Result<(u64, u64)> {
    client.says("act ")?;
    let text = client.stdout();
    let words = text.lines().find_map(|line| line.strip_prefix("act ")).context("no act")?;
    let (before, behind) = words.split_once(' ').context("an act has two times")?;
    Ok((before.parse()?, behind.parse()?))
}

/// The first span that is exported while everything still stands.
fn exported(agent: &Agent, kind: Kind) -> Result<SpanRow> {
    await_until::until("a span", || {
        let rows = span::read(agent.spans_file()).ok()?;
        rows.into_iter().find(|row| row.kind == kind)
    })
}

/// The span's end is the act of its program.
#[track_caller]
fn ends_at(row: &SpanRow, (before, behind): (u64, u64), error: &str) {
    let late = row.end.saturating_sub(behind);
    let early = before.saturating_sub(row.end);
    let what = brief(std::slice::from_ref(row));
    assert!(late < NEAR && early < NEAR, "ends {early} ns early, {late} ns late: {what}");
    assert_eq!(row.attribute("error.type"), error, "{what}");
    assert_eq!((row.status, row.attribute("wirespan.incomplete")), (2, ""), "{what}");
}

/// No further span of the call is exported when the agent ends.
fn nothing_else(agent: Agent, spans: usize) -> Result<()> {
    let rows = agent.stop()?;
    ensure!(rows.len() == spans, "{}", brief(&rows));
    Ok(())
}

/// A server that is not traced.
fn aside<'a>(stage: &'a Stage) -> Place<'a> {
    Place { cgroup: None, ..Place::local(stage) }
}

/// How a call is given up: nobody reads its request, or nobody answers it.
#[test]
fn a_call_that_is_given_up_ends_then() -> Result<()> {
    let Some(stage) = Stage::shared("ends-given-up", &["/usr/bin/python3"]) else { return Ok(()) };
    let never = stage.dir().join("never");
    for (request, acting) in [
        ("upload", "close"),
        ("upload", "shutdown"),
        ("upload", "exit"),
        ("/slow", "close"),
        ("/slow", "half"),
        ("/slow", "shutdown"),
        ("/slow", "exit"),
    ] {
        let place = aside(&stage);
        let reads = if request == "upload" { vec![] } else { vec![until(END)] };
        let _server = place.listen(&[[reads, vec![wait(&never)]].concat()])?;
        let agent = Agent::start(&stage)?;
        let mut client = client(&place, &[request, acting])?;
        let (before, behind) = act(&mut client)?;
        let row = exported(&agent, Kind::Client)?;
        let behind = if behind == 0 { before } else { behind };
        ends_at(&row, (before, behind), "client_aborted");
        nothing_else(agent, 1)?;
    }
    Ok(())
}

#[test]
fn a_call_whose_program_is_killed_ends_then() -> Result<()> {
    let Some(stage) = Stage::shared("ends-killed", &["/usr/bin/python3"]) else { return Ok(()) };
    let never = stage.dir().join("never");
    for request in ["upload", "/slow"] {
        let place = aside(&stage);
        let reads = if request == "upload" { vec![] } else { vec![until(END)] };
        let _server = place.listen(&[[reads, vec![wait(&never)]].concat()])?;
        let agent = Agent::start(&stage)?;
        let mut client = client(&place, &[request, "stay"])?;
        if request == "upload" {
            // The client is in the middle of its system call, which has not been reported yet.
            await_until::until("a full send buffer", || blocked(&client).then_some(()))?;
        } else {
            client.says("sent")?;
            await_until::until("the request", || (open(&agent)? == 1.0).then_some(()))?;
        }
        let before = now();
        client.signal(Signal::SIGKILL)?;
        client.wait()?;
        ends_at(&exported(&agent, Kind::Client)?, (before, now()), "client_aborted");
        await_until::until("nothing open", || (open(&agent)? == 0.0).then_some(()))?;
        nothing_else(agent, 1)?;
    }
    Ok(())
}

/// Whether the process waits for room to send.
fn blocked(process: &Process) -> bool {
    let place = std::fs::read_to_string(format!("/proc/{}/wchan", process.pid())).unwrap_or_default();
    let state = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap_or_default();
    place.contains("wait") || state.contains(") S ")
}

/// How many calls are open.
fn open(agent: &Agent) -> Option<f64> {
    Some(agent.metrics().ok()?.sum("wirespan_trace_open_exchanges", &["client"]))
}

#[test]
fn a_call_to_a_stopped_process_ends_when_it_is_given_up() -> Result<()> {
    let Some(stage) = Stage::shared("ends-stopped", &["/usr/bin/python3"]) else { return Ok(()) };
    let place = aside(&stage);
    let server = place.listen(&[vec![until(END), eof()]])?;
    server.signal(Signal::SIGSTOP)?;
    let agent = Agent::start(&stage)?;
    let mut client = client(&place, &["/stopped", "close"])?;
    let act = act(&mut client)?;
    ends_at(&exported(&agent, Kind::Client)?, act, "client_aborted");
    // What the peer does later changes nothing.
    server.signal(Signal::SIGCONT)?;
    nothing_else(agent, 1)
}

#[test]
fn a_call_over_a_cut_link_ends_when_it_is_given_up() -> Result<()> {
    let Some(stage) = Stage::shared("ends-cut", &["/usr/bin/python3", "ip"]) else { return Ok(()) };
    let (left, right) = (Namespace::create()?, Namespace::create()?);
    let (_, address) = left.connect(&right)?;
    let (never, cut) = (stage.dir().join("never"), stage.dir().join("cut"));
    let server = Place { namespace: Some(right.name()), address: &address, ..aside(&stage) };
    let _server = server.listen(&[vec![until(END), wait(&never)]])?;
    let agent = Agent::start(&stage)?;
    let place = Place { namespace: Some(left.name()), ..server };
    let mut client = client(&place, &["/cut", "close", &cut.to_string_lossy()])?;
    client.says("sent")?;
    right.cut()?;
    stage.file("cut", "")?;
    let act = act(&mut client)?;
    ends_at(&exported(&agent, Kind::Client)?, act, "client_aborted");
    nothing_else(agent, 1)
}

/// Who ended it, as a server sees it.
#[test]
fn a_server_says_who_ended_a_call() -> Result<()> {
    let Some(stage) = Stage::shared("ends-who", &["/usr/bin/python3"]) else { return Ok(()) };
    let get = send("GET /who HTTP/1.1\r\nHost: h\r\n\r\n");
    let post = send("POST /who HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
    let stays = vec![get.clone(), eof()];
    for (what, server, client, error) in [
        // The client's FIN is there, and the server never reads it (nginx's 499).
        ("left", vec![until(END), left()], vec![get.clone()], "client_aborted"),
        ("left in its request", vec![until(END), left()], vec![post, fill(9_000)], "client_aborted"),
        (
            "left in the answer",
            vec![until(END), send(PART), left()],
            vec![get.clone(), read(41)],
            "client_aborted",
        ),
        ("reset", vec![until(END), left()], vec![get, reset()], "client_aborted"),
        ("444", vec![until(END)], stays.clone(), "connection_closed"),
        ("hangs up", vec![until(END), send(PART)], stays.clone(), "connection_closed"),
        ("linger 0", vec![until(END), reset()], stays, "connection_closed"),
    ] {
        let place = Place::local(&stage);
        let listener = place.listen(&[server])?;
        let agent = Agent::start(&stage)?;
        // Only the server is traced.
        let connector = Place { cgroup: None, ..Place { port: place.port, ..aside(&stage) } };
        connector.connect(&[client])?.finish()?;
        listener.finish()?;
        let rows = agent.stop()?;
        let row = the(&rows, Kind::Server, "/who");
        assert_eq!(row.attribute("error.type"), error, "{what}: {}", brief(&rows));
    }
    Ok(())
}

#[test]
fn a_request_that_is_reset_while_it_is_read_is_a_span() -> Result<()> {
    let Some(stage) = Stage::shared("ends-resets", &["/usr/bin/python3"]) else { return Ok(()) };
    let agent = Agent::start(&stage)?;
    let python = Launch::new("/usr/bin/python3").args(["-c", RESETS]).inside(&stage.cgroup);
    let mut python = python.start(stage.dir())?;
    python.says("read ")?;
    let read: usize = python.stdout().trim().trim_start_matches("read ").parse()?;
    python.finish()?;
    let rows = agent.stop()?;
    let count = |kind| rows.iter().filter(|row| row.kind == kind).count();
    ensure!(read > 0, "the server read none");
    assert_eq!((count(Kind::Server), count(Kind::Client)), (read, 3_000));
    Ok(())
}

/// Who ended it, as a client sees it.
#[test]
fn a_client_says_who_ended_a_call() -> Result<()> {
    let Some(stage) = Stage::shared("ends-client", &["/usr/bin/python3"]) else { return Ok(()) };
    let get = send("GET /who HTTP/1.1\r\nHost: h\r\n\r\n");
    let told = stage.dir().join("told");
    for (what, server, client, error) in [
        ("hung up", vec![until(END)], vec![get.clone(), eof()], "connection_closed"),
        ("hung up, unread", vec![until(END)], vec![get.clone(), left()], "connection_closed"),
        ("cut short", vec![until(END), send(PART)], vec![get.clone(), eof()], "connection_closed"),
        ("reset", vec![until(END), reset()], vec![get.clone(), eof()], "connection_reset"),
        ("gives up", vec![until(END), eof()], vec![get.clone()], "client_aborted"),
        (
            "gives up in the answer",
            vec![until(END), send(PART), eof()],
            vec![get.clone(), read(41)],
            "client_aborted",
        ),
        (
            "reads none of it",
            vec![until(END), send(PART), touch(&told), eof()],
            vec![get, wait(&told)],
            "client_aborted",
        ),
    ] {
        let place = Place { cgroup: None, ..Place::local(&stage) };
        let listener = place.listen(&[server])?;
        let agent = Agent::start(&stage)?;
        let connector = Place { port: place.port, ..Place::local(&stage) };
        connector.connect(&[client])?.finish()?;
        listener.finish()?;
        let rows = agent.stop()?;
        let row = the_call(&rows)?;
        assert_eq!(row.attribute("error.type"), error, "{what}: {}", brief(&rows));
    }
    Ok(())
}

/// The only span.
fn the_call(rows: &[SpanRow]) -> Result<&SpanRow> {
    ensure!(rows.len() == 1, "{}", brief(rows));
    Ok(&rows[0])
}
