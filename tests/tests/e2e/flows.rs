//! Both ends of a connection on one host: which of them belong together, whatever lies between and however often ports are used.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context as _, Result};
use wirespan_tests::{
    agent::Agent,
    machine,
    process::Launch,
    span::{Kind, SpanRow},
    stage::{Namespace, Stage},
};

use crate::{
    check::{brief, the},
    peers::{Place, eof, send, until},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const END: &str = "\r\n\r\n";

/// Requests with the numbers 0 to 99, each on a connection of its own, all from one port, which is reset after each: an address
/// has the next connection within a millisecond. Before each comes one that the server never reads, so that the same bytes from
/// the same port still wait for their other end. The reset waits until the server's call that sent the answer is over, and the
/// server waits for it without holding the socket: a reset that meets a call is put off until the call ends, the next SYN is put
/// off behind it and finds a closed socket, and is sent again a second later only (`tcp_add_backlog`,
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
fn joined(rows: &[SpanRow], path: &str) {
    let (server, client) = (the(rows, Kind::Server, path), the(rows, Kind::Client, path));
    assert_eq!(server.parent.as_deref(), Some(client.id.as_str()), "{}", brief(rows));
    assert_eq!((&server.trace, server.attribute("wirespan.parent.evidence")), (&client.trace, "connection"));
}

/// The client asks for an address that nobody has, and the server sees another than the client's.
#[test]
fn a_connection_through_nat_is_joined_by_its_flow() -> Result<()> {
    let Some(stage) = Stage::shared("nat", &["/usr/bin/python3", "ip", "nft"]) else { return Ok(()) };
    let (left, right) = (Namespace::create()?, Namespace::create()?);
    let (own, address) = left.connect(&right)?;
    let (network, _) = address.rsplit_once('.').context("an IPv4 address has dots")?;
    let (asked, seen) = (format!("{network}.77"), format!("{network}.78"));
    let rules = format!(
        "table ip nat {{\n chain output {{ type nat hook output priority -100; ip daddr {asked} dnat to {address}; }}\n \
         chain postrouting {{ type nat hook postrouting priority 100; ip saddr {own} snat to {seen}; }}\n}}\n"
    );
    let rules = stage.file("nat.nft", &rules)?;
    let nft = Command::new("ip").args(["netns", "exec", left.name(), "nft", "-f"]).arg(rules).output()?;
    if !nft.status.success() {
        machine::skip(&format!("no address translation: {}", String::from_utf8_lossy(&nft.stderr).trim()));
        return Ok(());
    }
    // Its address on the wire, so that answers find their way.
    left.add_address(&seen)?;
    let agent = Agent::start(&stage)?;
    let server = Place { namespace: Some(right.name()), address: &address, ..Place::local(&stage) };
    let client =
        Place { namespace: Some(left.name()), address: &asked, port: server.port, ..Place::local(&stage) };
    let listener = server.listen(&[vec![until(END), send(OK), eof()]])?;
    let request = "GET /translated HTTP/1.1\r\nHost: a\r\n\r\n";
    client.connect(&[vec![send(request), until(OK)]])?.finish()?;
    listener.finish()?;
    let rows = agent.stop()?;
    joined(&rows, "/translated");
    let (server, client) = (the(&rows, Kind::Server, "/translated"), the(&rows, Kind::Client, "/translated"));
    assert_eq!(client.attribute("network.peer.address"), asked);
    assert_eq!(server.attribute("network.peer.address"), seen);
    Ok(())
}
