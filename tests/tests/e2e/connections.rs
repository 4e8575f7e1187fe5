//! Which connections and processes are traced: older than the agent, of other namespaces, refused,
//! not selected.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use anyhow::{Context as _, Result, ensure};
use wirespan_tests::{
    agent::Agent,
    cgroup::Cgroup,
    machine,
    nginx::Nginx,
    process::{Launch, Process},
    programs::Service,
    span::{Kind, SpanRow},
    stage::{self, Namespace, Stage},
    wait as await_until,
};

use crate::{
    check::{brief, the},
    peers::{Place, eof, send, touch, until, wait},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const END: &str = "\r\n\r\n";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn a_connection_older_than_the_agent_is_traced() -> Result<()> {
    let Some(stage) = Stage::shared("older", &["/usr/bin/python3"]) else { return Ok(()) };
    let (used, ready) = (stage.dir().join("used"), stage.dir().join("ready"));
    let place = Place::local(&stage);
    let server =
        place.listen(&[vec![until(END), send(OK), until(END), send(OK), until(END), send(OK), eof()]])?;
    let client = place.connect(&[vec![
        send(&get("/before")),
        until(OK),
        touch(&used),
        wait(&ready),
        send(&get("/first")),
        until(OK),
        send(&get("/second")),
        until(OK),
    ]])?;
    wirespan_tests::wait::until("the first exchange", || used.exists().then_some(()))?;
    let agent = Agent::start(&stage)?;
    stage.file("ready", "")?;
    client.finish()?;
    server.finish()?;
    // A receive that was waiting when fexit was attached returns past it: the server's first request is unseen there.
    let missed = agent.log().contains("attach mode fexit");
    let rows = agent.stop()?;
    for kind in [Kind::Server, Kind::Client] {
        for path in ["/first", "/second"] {
            if missed && kind == Kind::Server && path == "/first" {
                continue;
            }
            let row = the(&rows, kind, path);
            assert_eq!((row.status_code(), row.sizes()), (200, (0, 2)), "{}", brief(&rows));
            assert_eq!(row.attribute("network.peer.address"), "127.0.0.1");
        }
    }
    assert_eq!(rows.len(), if missed { 3 } else { 4 }, "{}", brief(&rows));
    Ok(())
}

#[test]
fn another_agent_may_come_and_go() -> Result<()> {
    let Some(stage) = Stage::shared("other-agent", &["/usr/bin/python3"]) else { return Ok(()) };
    let (used, ready) = (stage.dir().join("used"), stage.dir().join("ready"));
    let place = Place::local(&stage);
    let server =
        place.listen(&[(0..4).flat_map(|_| [until(END), send(OK)]).chain([eof()]).collect::<Vec<_>>()])?;
    let agent = Agent::start(&stage)?;
    let client = place.connect(&[vec![
        send(&get("/before")),
        until(OK),
        touch(&used),
        wait(&ready),
        send(&get("/between")),
        until(OK),
        send(&get("/after")),
        until(OK),
        send(&get("/later")),
        until(OK),
    ]])?;
    wirespan_tests::wait::until("the first exchange", || used.exists().then_some(()))?;
    Agent::start(&stage)?.stop()?;
    stage.file("ready", "")?;
    client.finish()?;
    server.finish()?;
    // In attach mode fexit the server's receive, which waited meanwhile, returns past the programs. What comes after bytes that
    // were missed may be the rest of a body; the next answer tells.
    let missed = agent.log().contains("attach mode fexit");
    let rows = agent.stop()?;
    for kind in [Kind::Server, Kind::Client] {
        for path in ["/before", "/between", "/after", "/later"] {
            if missed && kind == Kind::Server && ["/between", "/after"].contains(&path) {
                continue;
            }
            let row = the(&rows, kind, path);
            assert_eq!((row.status_code(), row.sizes()), (200, (0, 2)), "{}", brief(&rows));
        }
    }
    assert!(rows.iter().all(|row| matches!(row.status_code(), 0 | 200)), "{}", brief(&rows));
    Ok(())
}

#[test]
fn a_connection_between_namespaces_is_joined_by_its_flow() -> Result<()> {
    let Some(stage) = Stage::shared("namespaces", &["/usr/bin/python3", "ip"]) else { return Ok(()) };
    let (left, right) = (Namespace::create()?, Namespace::create()?);
    let (_, address) = left.connect(&right)?;
    let agent = Agent::start(&stage)?;
    let server = Place { namespace: Some(right.name()), address: &address, ..Place::local(&stage) };
    let client =
        Place { namespace: Some(left.name()), ..Place { port: server.port, ..Place::local(&stage) } };
    let client = Place { address: &address, ..client };
    let listener = server.listen(&[vec![until(END), send(OK), eof()]])?;
    client.connect(&[vec![send(&get("/across")), until(OK)]])?.finish()?;
    listener.finish()?;
    let rows = agent.stop()?;
    let (server, client) = (the(&rows, Kind::Server, "/across"), the(&rows, Kind::Client, "/across"));
    assert_eq!(server.parent.as_deref(), Some(client.id.as_str()), "{}", brief(&rows));
    assert_eq!((&server.trace, server.attribute("wirespan.parent.evidence")), (&client.trace, "connection"));
    assert_eq!(client.attribute("network.peer.address"), address);
    Ok(())
}

/// The connects that failed, to this port.
#[track_caller]
fn failed_connect(rows: &[SpanRow], port: u16) {
    let port = port.to_string();
    let failed: Vec<_> = rows.iter().filter(|row| row.attribute("network.peer.port") == port).collect();
    assert_eq!(failed.len(), 1, "{}", brief(rows));
    assert_eq!((failed[0].kind, failed[0].status), (Kind::Client, 2), "{}", brief(rows));
    assert!(!failed[0].attribute("error.type").is_empty(), "{}", brief(rows));
}

#[test]
fn a_refused_connect_is_a_client_span() -> Result<()> {
    let Some(stage) = Stage::shared("refused", &["curl"]) else { return Ok(()) };
    let agent = Agent::start(&stage)?;
    let port = stage::port();
    let mut curl = curl(&stage, true, port)?;
    assert!(!curl.wait()?.success());
    let rows = agent.stop()?;
    failed_connect(&rows, port);
    assert_eq!(rows.len(), 1, "{}", brief(&rows));
    Ok(())
}

#[test]
fn a_connect_that_is_given_up_is_a_client_span() -> Result<()> {
    let Some(stage) = Stage::shared("timeout", &["curl", "ip"]) else { return Ok(()) };
    let (left, right) = (Namespace::create()?, Namespace::create()?);
    let (address, _) = left.connect(&right)?;
    // Nobody has this address, so the handshake gets no answer.
    let (network, _) = address.rsplit_once('.').expect("an IPv4 address has dots");
    let nobody = format!("{network}.99");
    let agent = Agent::start(&stage)?;
    let port = stage::port();
    let curl =
        Launch::new("curl").args(["-s", "--connect-timeout", "1", &format!("http://{nobody}:{port}/")]);
    let mut curl = curl.namespace(Some(left.name())).inside(&stage.cgroup).start(stage.dir())?;
    assert!(!curl.wait()?.success());
    failed_connect(&agent.stop()?, port);
    Ok(())
}

/// One request, from inside the selected cgroup or not.
fn curl(stage: &Stage, selected: bool, port: u16) -> Result<Process> {
    let launch = Launch::new("curl").args(["-q", "-sS", &format!("http://127.0.0.1:{port}/hello/curl")]);
    let launch = if selected { launch.inside(&stage.cgroup) } else { launch };
    launch.start(stage.dir())
}

#[test]
fn only_selected_processes_are_traced() -> Result<()> {
    let Some(stage) = Stage::shared("selected", &["nginx", "curl"]) else { return Ok(()) };
    let selected = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let other = Cgroup::create("other")?;
    let unselected = Nginx::start(&other, stage.dir(), "")?;
    let agent = Agent::start(&stage)?;
    curl(&stage, false, selected.port)?.finish()?;
    curl(&stage, true, unselected.port)?.finish()?;
    curl(&stage, false, unselected.port)?.finish()?;
    let rows = agent.stop()?;
    assert_eq!(rows.len(), 2, "{}", brief(&rows));
    let server = the(&rows, Kind::Server, "/hello/curl");
    assert!(selected.workers().contains(&server.pid()), "{}", brief(&rows));
    let client = the(&rows, Kind::Client, "/hello/curl");
    assert_eq!(client.attribute("server.port"), unselected.port.to_string(), "{}", brief(&rows));
    Ok(())
}

/// Each rule of the configuration that names a server by something else than its cgroup.
#[test]
fn a_server_is_selected_by_each_sort_of_rule() -> Result<()> {
    let Some(stage) = Stage::shared("rules", &["/usr/bin/python3", "curl"]) else { return Ok(()) };
    let server = Service::Python.start(&stage)?;
    let exe = std::fs::read_link(format!("/proc/{}/exe", server.process.pid()))?;
    let rules = [
        format!("port: {}", server.port),
        format!("pid: {}", server.process.pid()),
        format!("cmdline: \"*server.py {}*\"", server.port),
        format!("exe: \"{}\", cgroup: \"{}\"", exe.display(), stage.cgroup.path()),
    ];
    for rule in rules {
        let agent = Agent::with_select(&stage, &format!("select: [ {{ {rule}, service: chosen }} ]\n"))?;
        curl(&stage, false, server.port)?.finish()?;
        let rows = agent.stop()?;
        let row = the(&rows, Kind::Server, "/hello/curl");
        assert_eq!((row.service(), row.pid()), ("chosen", server.process.pid()), "{rule}: {}", brief(&rows));
    }
    Ok(())
}

#[test]
fn a_server_that_starts_after_the_agent_is_found_by_its_port() -> Result<()> {
    let Some(stage) = Stage::shared("later", &["/usr/bin/python3", "curl"]) else { return Ok(()) };
    let port = stage::port();
    let agent = Agent::with_select(&stage, &format!("select: [ {{ port: {port} }} ]\n"))?;
    let script = stage.file("later.py", include_str!("../../programs/server.py"))?;
    let mut server = Launch::new(machine::python()).arg(script).arg(port.to_string()).start(stage.dir())?;
    server.says("listening")?;
    // A rule on ports is evaluated in user space, when the listen is seen there. A request right
    // after the listen may come first.
    wirespan_tests::wait::until("the server to be selected", || {
        let metrics = agent.metrics().ok()?;
        (metrics.sum("wirespan_process_decisions_total", &["result=\"selected\""]) > 0.0).then_some(())
    })?;
    for _ in 0..3 {
        curl(&stage, false, port)?.finish()?;
    }
    let rows = agent.stop()?;
    assert_eq!(rows.iter().filter(|row| row.kind == Kind::Server).count(), 3, "{}", brief(&rows));
    Ok(())
}

/// An evicted connection is opened again at position 0. A thread that received from it before must
/// not count as having received what came after.
#[test]
fn what_was_read_before_an_eviction_causes_nothing_after_it() -> Result<()> {
    let Some(stage) = Stage::alone("evicted", &["nginx", "/usr/bin/python3"]) else { return Ok(()) };
    let aside = Cgroup::create("evicted-backend")?;
    let nginx = Nginx::start(&aside, stage.dir(), "")?;
    let script = stage.file("evicted.py", include_str!("../../programs/evicted.py"))?;
    let port = stage::port();
    let words = [port.to_string(), nginx.port.to_string()];
    let program = Launch::new("/usr/bin/python3").arg(script).args(words).inside(&stage.cgroup);
    let mut program = program.start(stage.dir())?;
    program.says("up")?;
    let agent = Agent::with_select(&stage, &format!("{}limits: {{ connections: 16 }}\n", stage.select()))?;
    let mut one = TcpStream::connect(("127.0.0.1", port))?;
    // Longer than the second request and its response, in positions.
    write!(one, "GET /first HTTP/1.1\r\nHost: h\r\nX-Long: {}\r\n\r\n", "x".repeat(500))?;
    program.says("read")?;
    let crowd: Result<Vec<_>> = (0..64).map(|number| answered(port, &format!("/crowd/{number}"))).collect();
    let crowd = crowd?;
    await_until::until("the eviction", || {
        let metrics = agent.metrics().ok()?;
        let evicted = metrics.sum("wirespan_evicted_connections_total", &["reason=\"connection_limit\""]);
        (evicted > 0.0).then_some(())
    })?;
    write!(one, "GET /other HTTP/1.1\r\nHost: h\r\n\r\n")?;
    let second = answered(port, "/second")?;
    let mut answer = [0; 256];
    ensure!(one.read(&mut answer)? > 0, "no answer");
    drop((crowd, second));
    let rows = agent.stop()?;
    let call = rows.iter().find(|row| row.path() == "/hello/call").context("no span of the call")?;
    assert_eq!(call.parent, None, "{}", brief(&rows));
    Ok(())
}

/// A process that is not traced reads the request and passes on the descriptor. There is no span,
/// and the closing line reports that.
#[test]
fn a_request_that_another_process_read_is_counted() -> Result<()> {
    let Some(stage) = Stage::shared("passed", &["/usr/bin/python3"]) else { return Ok(()) };
    let script = stage.file("passed.py", include_str!("../../programs/passed.py"))?;
    let (path, port) = (stage.dir().join("passed"), stage::port());
    let launch = || Launch::new(machine::python()).arg(&script);
    let mut worker = launch().arg("worker").arg(&path).inside(&stage.cgroup).start(stage.dir())?;
    worker.says("listening")?;
    let mut dispatcher = launch().arg("dispatcher").arg(&path).arg(port.to_string()).start(stage.dir())?;
    dispatcher.says("listening")?;
    let agent = Agent::start(&stage)?;
    let log = agent.stderr_file();
    drop(answered(port, "/passed")?);
    worker.finish()?;
    let rows = agent.stop()?;
    assert!(rows.is_empty(), "{}", brief(&rows));
    let said = std::fs::read_to_string(log)?;
    assert!(said.contains("joined_mid_stream 1") && !said.contains("nothing was missed"), "{said}");
    Ok(())
}

/// Opens a connection on which a request is answered.
fn answered(port: u16, path: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    // In one piece: the server that answers the first piece may be gone before the last.
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes())?;
    let mut answer = [0; 256];
    ensure!(stream.read(&mut answer)? > 0, "no answer to {path}");
    Ok(stream)
}
