//! Both ends of a connection on one host: which of them belong together, whatever lies between and
//! however often ports are used.

use std::collections::BTreeSet;

use anyhow::Result;
use wirespan_tests::{
    agent::Agent,
    process::Launch,
    span::{Kind, SpanRow},
    stage::Stage,
};

use crate::check::{brief, the};

/// Requests with the numbers 0 to 99, each on a connection of its own, all from one port, which is
/// reset after each: so an address has its next connection within a millisecond. Before each comes
/// one that the server never reads, so that the same bytes from the same port still wait for their
/// other end. The reset waits until the server's system call that sent the response is over, and
/// the server waits for the reset without holding the socket. Otherwise the kernel puts off the
/// reset until the system call ends, and the next SYN behind it. That SYN then finds a closed
/// socket and is only sent again a second later (`tcp_add_backlog`,
/// <https://github.com/torvalds/linux/blob/v5.10/net/ipv4/tcp_ipv4.c>).
const REUSE: &str = r#"
import os, select, socket, struct, sys
host, own = sys.argv[1], 0
family = socket.AF_INET6 if ":" in host else socket.AF_INET
listener = socket.create_server((host, 0), family=family)
answered, answers = os.pipe()

def read(one, end):
    data = b""
    while not data.endswith(end):
        more = one.recv(1000)
        assert more, "the other end closed"
        data += more

def serve(reads):
    one, _ = listener.accept()
    if reads:
        read(one, b"\r\n\r\n")
        one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        os.write(answers, b"x")
    reset = select.poll()
    reset.register(one, select.POLLHUP)
    reset.poll()
    one.close()

def ask(path):
    global own
    one = socket.socket(family)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.bind((host, own))
    own = one.getsockname()[1]
    one.connect(listener.getsockname())
    one.sendall(b"GET /hello/%s HTTP/1.1\r\nHost: h\r\n\r\n" % path)
    return one

server = os.fork()
if server == 0:
    while True:
        serve(False)
        serve(True)
for number in range(100):
    ask(b"reuse-lost-%d" % number).close()
    one = ask(b"reuse-%d" % number)
    read(one, b"hello")
    os.read(answered, 1)
    one.close()
os.kill(server, 9)
os.waitpid(server, 0)
"#;

#[test]
fn ports_that_are_used_again_at_once_join_their_own_ends() -> Result<()> {
    for host in ["127.0.0.1", "::1"] {
        let Some(stage) = Stage::shared("reuse", &["/usr/bin/python3"]) else { return Ok(()) };
        let agent = Agent::start(&stage)?;
        let python = Launch::new("/usr/bin/python3").args(["-c", REUSE, host]).inside(&stage.cgroup);
        python.start(stage.dir())?.finish()?;
        let rows = agent.stop()?;
        let servers = rows.iter().filter(|row| row.kind == Kind::Server);
        let ports: BTreeSet<_> = servers.map(|row| row.attribute("client.port")).collect();
        assert_eq!(ports.len(), 1, "{ports:?}");
        for number in 0..100 {
            joined(&rows, &format!("/hello/reuse-{number}"));
        }
    }
    Ok(())
}

/// The request has the call with the same path as its parent.
#[track_caller]
pub(crate) fn joined(rows: &[SpanRow], path: &str) {
    let (server, client) = (the(rows, Kind::Server, path), the(rows, Kind::Client, path));
    assert_eq!(server.parent.as_deref(), Some(client.id.as_str()), "{}", brief(rows));
    assert_eq!((&server.trace, server.attribute("wirespan.parent.evidence")), (&client.trace, "connection"));
}
