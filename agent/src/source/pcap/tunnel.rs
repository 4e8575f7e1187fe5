//! Tunnels: an IP packet inside of another one.

use etherparse::{IpNumber, ip_number};

use super::link::{Network, Skip, after, be16, by_type, ethernet, ip_version, ppp, unread};

/// L2TP version 3 (RFC 3931, section 4.1.1).
const L2TP: IpNumber = IpNumber(115);
/// Ports of known tunnels. Those of VXLAN: RFC 7348, and the default of Linux.
const VXLAN: [u16; 2] = [4789, 8472];
/// L2TP, GTP-U, AMT, Teredo, LISP, ESP in UDP, VXLAN GPE, GUE, Geneve, MPLS in UDP, TZSP,
/// WireGuard.
const OTHERS: [u16; 12] = [1701, 2152, 2268, 3544, 4341, 4500, 4790, 6080, 6081, 6635, 37008, 51820];

/// The IP packet that the payload of another one carries; `None` when the protocol is no tunnel's.
pub(super) fn inside(protocol: IpNumber, payload: Network<'_>) -> Option<Result<Network<'_>, Skip>> {
    match protocol {
        ip_number::IPV4 | ip_number::IPV6 => Some(ip_version(payload)),
        ip_number::GRE => Some(gre(payload).map_err(unread)),
        ip_number::UDP => udp(payload),
        ip_number::ENCAP_SEC | L2TP | ip_number::MPLS_IN_IP | ip_number::ETHER_IP | ip_number::IP_COMP => {
            Some(Err(Skip::Tunnel))
        }
        _ => None,
    }
}

/// RFC 2784 and RFC 2890; version 1: RFC 2637 (PPTP).
fn gre(packet: Network<'_>) -> Result<Network<'_>, Skip> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const ACKNOWLEDGMENT: u16 = 0x0080;
    let flags = be16(packet.bytes)?;
    let protocol = be16(after(packet, 2)?.bytes)?;
    let size = |fields: &[u16]| 4 + 4 * fields.iter().filter(|field| flags & **field != 0).count();
    match (flags & 7, protocol) {
        (0, _) if flags & ROUTING != 0 => Err(Skip::Tunnel),
        // ERSPAN; with a sequence number that of type II, which has a header of 8 bytes.
        (0, 0x88be) => {
            let frame = after(packet, size(&[CHECKSUM, KEY, SEQUENCE]))?;
            ethernet(if flags & SEQUENCE != 0 { after(frame, 8)? } else { frame })
        }
        (0, protocol) => by_type(protocol, after(packet, size(&[CHECKSUM, KEY, SEQUENCE]))?),
        (1, 0x880b) => {
            let frame = after(packet, size(&[KEY, SEQUENCE, ACKNOWLEDGMENT]))?;
            // Without payload it is an acknowledgment.
            if frame.bytes.is_empty() && frame.original == 0 { Err(Skip::NotIp) } else { ppp(frame) }
        }
        _ => Err(Skip::Tunnel),
    }
}

/// `None` when the port is no tunnel's.
fn udp(packet: Network<'_>) -> Option<Result<Network<'_>, Skip>> {
    const HEADER: usize = 8;
    let port = be16(packet.bytes.get(2..)?).ok()?;
    if OTHERS.contains(&port) {
        return Some(Err(Skip::Tunnel));
    }
    if !VXLAN.contains(&port) {
        return None;
    }
    // The flag that a network is named; all other flags are ignored (RFC 7348, section 5). Without
    // it, it is something else.
    let flags = packet.bytes.get(HEADER)?;
    if flags & 8 == 0 {
        return Some(Err(Skip::Tunnel));
    }
    Some(after(packet, 2 * HEADER).and_then(ethernet).map_err(unread))
}
