//! Both ends of a connection on one host: which of them belong together, whatever lies between and however often ports are used.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context as _, Result};
use wirespan_tests::{
    agent::Agent,
    machine,
    nginx::Nginx,
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
/// has the next connection within a millisecond.
const REUSE: &str = r#"
import socket, struct, sys
host, port, own = sys.argv[1], int(sys.argv[2]), 0
for number in range(100):
    one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.bind((host, own))
    own = one.getsockname()[1]
    one.connect((host, port))
    one.sendall(b"GET /hello/reuse-%d HTTP/1.1\r\nHost: h\r\n\r\n" % number)
    answer = b""
    while not answer.endswith(b"hello\n"):
        answer += one.recv(1000)
    one.close()
"#;

#[test]
fn ports_that_are_used_again_at_once_join_their_own_ends() -> Result<()> {
    for host in ["127.0.0.1", "::1"] {
        let Some(stage) = Stage::shared("reuse", &["nginx", "/usr/bin/python3"]) else { return Ok(()) };
        let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
        let agent = Agent::start(&stage)?;
        let words = ["-c", REUSE, host, &nginx.port.to_string()];
        let python = Launch::new("/usr/bin/python3").args(words).inside(&stage.cgroup);
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
    assert_eq!((&server.trace, server.attribute("wirespan.parent.evidence")), (&client.trace, "flow"));
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
