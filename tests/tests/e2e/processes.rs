//! Processes that end before the agent can look at them, that become another user, or that no rule
//! selects: spans have the facts of their own process.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use wirespan_tests::{
    agent::Agent,
    process::{Launch, Process},
    span::SpanRow,
    stage::{self, Stage},
};

use crate::check::brief;

/// `nobody`
const USER: &str = "65534";

/// Executes a program per connection, as inetd does; every second one has another argument.
const INETD: &str = r#"
import os, signal, socket, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])), backlog=99)
os.setgid(65534); os.setuid(65534)
print('ready', flush=True)
count = 0
while True:
    connection, _ = listener.accept()
    count += 1
    if os.fork() == 0:
        os.dup2(connection.fileno(), 0); os.dup2(connection.fileno(), 1)
        os.execv(sys.argv[2], sys.argv[2:] + ['-e', '#even' if count % 2 == 0 else '#odd'])
    connection.close()
"#;

/// A worker that drops its privileges after the fork, before its first connection.
const WORKER: &str = r#"
import os, socket, sys
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
if os.fork() == 0:
    os.setgid(65534); os.setuid(65534)
    print('ready', flush=True)
    while True:
        connection, _ = listener.accept()
        connection.recv(4096); connection.sendall(b'HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n'); connection.close()
os.wait()
"#;

/// For sed: the first line of a request becomes a response.
const ANSWER: &str = r"1{s/.*/HTTP\/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok/;q}";

struct Inetd {
    stage: Stage,
    program: PathBuf,
    port: u16,
}

impl Inetd {
    fn new(name: &str) -> Result<Option<Self>> {
        let Some(stage) = Stage::shared(name, &["/usr/bin/python3", "/usr/bin/sed"]) else { return Ok(None) };
        // A file of the test's own, so that nothing else is traced.
        let program = stage.dir().join("inetd");
        std::fs::copy("/usr/bin/sed", &program).context("cannot copy a program")?;
        Ok(Some(Self { stage, program, port: stage::port() }))
    }

    /// The port is open before the agent: what is traced is only the program.
    fn listen(&self) -> Result<Process> {
        let program = self.program.display().to_string();
        let words = ["-c", INETD, &self.port.to_string(), &program, "-e", ANSWER];
        let mut listener = Launch::new("/usr/bin/python3").args(words).start(self.stage.dir())?;
        listener.says("ready")?;
        Ok(listener)
    }
}

/// How many of the requests were answered; their paths are `/1` and on.
fn ask(port: u16, count: usize) -> Result<usize> {
    let mut answered = 0;
    for number in 1..=count {
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.set_read_timeout(Some(Duration::from_secs(10)))?;
        // In one system call, so that a server that reads once gets all of it.
        connection.write_all(format!("GET /{number} HTTP/1.0\r\nHost: a\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        // The program ends with a reset after its response.
        let _reset = connection.read_to_string(&mut answer);
        answered += usize::from(answer.contains("ok"));
    }
    Ok(answered)
}

fn facts(row: &SpanRow) -> [&str; 3] {
    ["service.name", "process.executable.name", "process.user.id"]
        .map(|name| row.resource.get(name).map_or("", String::as_str))
}

/// WIRESPAN_PROCESSES sets their number.
#[test]
fn processes_of_a_millisecond_have_their_own_facts() -> Result<()> {
    let Some(inetd) = Inetd::new("inetd")? else { return Ok(()) };
    let count = std::env::var("WIRESPAN_PROCESSES").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    // A rule of another kind excludes nothing, nor does an exclude of another file.
    let rules = format!(
        "select: [ {{ exe: \"{}\" }}, {{ cmdline: \"*no-such-argument*\" }} ]\nexclude: [ {{ exe: sshd }} ]\n",
        inetd.program.display()
    );
    let _listener = inetd.listen()?;
    let agent = Agent::with_select(&inetd.stage, &rules)?;
    let answered = ask(inetd.port, count)?;
    let metrics = agent.metrics()?;
    let late = metrics.sum("wirespan_undecided_connections_total", &[]);
    let rows = agent.stop()?;
    ensure!(answered == count, "{answered} of {count} were answered");
    let wrong: Vec<_> = rows.iter().filter(|row| facts(row) != ["inetd", "inetd", USER]).collect();
    ensure!(
        wrong.is_empty(),
        "{} of {} spans, as {:?}",
        wrong.len(),
        rows.len(),
        wrong.first().map(|row| &row.resource)
    );
    ensure!(rows.len() == count && late == 0.0, "{} of {count} spans, {late} unjudged", rows.len());
    println!("{count} processes: {} spans, all with executable and user", rows.len());
    Ok(())
}

/// The kernel reports the arguments, so that a rule on them also holds for processes that are gone.
/// Processes that it does not select leave no span.
#[test]
fn a_rule_on_arguments_holds_for_processes_that_are_gone() -> Result<()> {
    let Some(inetd) = Inetd::new("arguments")? else { return Ok(()) };
    let rules =
        format!("select: [ {{ exe: \"*/{}\", cmdline: \"*#even*\" }} ]\n", directory_and_name(&inetd));
    let _listener = inetd.listen()?;
    let agent = Agent::with_select(&inetd.stage, &rules)?;
    let answered = ask(inetd.port, 60)?;
    let rows = agent.stop()?;
    ensure!(answered == 60, "{answered} were answered");
    let numbers: Vec<u32> = rows.iter().filter_map(|row| row.path().get(1..)?.parse().ok()).collect();
    ensure!(numbers.len() == 30 && numbers.iter().all(|number| number % 2 == 0), "{}", brief(&rows));
    ensure!(
        rows.iter().all(|row| row.resource["process.command_args"].contains("#even")),
        "{}",
        brief(&rows)
    );
    Ok(())
}

fn directory_and_name(inetd: &Inetd) -> String {
    let names: Vec<_> = inetd.program.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
    format!("{}/{}", names[1], names[0])
}

#[test]
fn a_worker_that_drops_its_privileges_is_told_as_its_user() -> Result<()> {
    let Some(stage) = Stage::shared("privileges", &["/usr/bin/python3"]) else { return Ok(()) };
    let port = stage::port();
    let agent = Agent::start(&stage)?;
    let words = ["-c", WORKER, &port.to_string()];
    let mut worker = Launch::new("/usr/bin/python3").args(words).inside(&stage.cgroup).start(stage.dir())?;
    worker.says("ready")?;
    ask(port, 3)?;
    let rows = agent.stop()?;
    ensure!(rows.len() == 3 && rows.iter().all(|row| facts(row)[2] == USER), "{}", brief(&rows));
    Ok(())
}
