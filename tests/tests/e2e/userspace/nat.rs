//! A connection whose ends see different addresses: the pipeline joins them by what they sent.

use std::process::Command;

use anyhow::{Context as _, Result};
use wirespan_tests::{
    agent::Agent,
    machine,
    span::Kind,
    stage::{Namespace, Stage},
};

use crate::{
    check::the,
    flows::joined,
    messages::{END, OK},
    peers::{Place, eof, send, until},
};

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
    // The client's address on the wire, so that responses reach it.
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
