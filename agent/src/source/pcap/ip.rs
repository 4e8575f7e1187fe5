//! From IP packets to TCP payloads: addresses, extension headers, and the payload's length before
//! the capture cut it.

use std::net::IpAddr;

use etherparse::{IpFragOffset, IpNumber, Ipv6FragmentHeaderSlice, LaxIpSlice, LenSource, ip_number};

use super::{
    link::{Network, Skip},
    tunnel::inside,
};

/// Most tunnels inside one another.
const MAX_TUNNELS: usize = 8;

/// What an IP packet carries.
#[derive(Debug)]
pub(super) enum Carried<'a> {
    Tcp(Datagram<'a>),
    /// A part of a datagram, TCP or not.
    Fragment(Fragment<'a>),
    Other,
    /// Content of a tunnel that is not read.
    Tunnel,
    /// The headers are cut or malformed.
    Undecodable,
}

/// A TCP header and what follows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Datagram<'a> {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    /// Captured bytes.
    pub(super) bytes: &'a [u8],
    /// Bytes on the wire.
    pub(super) length: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Fragment<'a> {
    /// `length` is that of this part.
    pub(super) part: Datagram<'a>,
    pub(super) identification: u32,
    pub(super) protocol: IpNumber,
    pub(super) offset: IpFragOffset,
    pub(super) more: bool,
}

/// Reads the IP headers. Checksums are not verified: for packets of the capturing host the network
/// card computes them later.
pub(super) fn carried(network: Network<'_>) -> Carried<'_> {
    carried_in(network, MAX_TUNNELS)
}

/// What a datagram carries that was put together from its parts.
pub(super) fn carried_whole(protocol: IpNumber, whole: Datagram<'_>) -> Carried<'_> {
    payload(protocol, whole, MAX_TUNNELS)
}

fn payload(protocol: IpNumber, part: Datagram<'_>, tunnels: usize) -> Carried<'_> {
    if protocol == ip_number::TCP {
        return Carried::Tcp(part);
    }
    match inside(protocol, Network { bytes: part.bytes, original: part.length }) {
        None => Carried::Other,
        Some(Ok(network)) if tunnels > 0 => carried_in(network, tunnels - 1),
        Some(Ok(_) | Err(Skip::Tunnel)) => Carried::Tunnel,
        Some(Err(Skip::Cut)) => Carried::Undecodable,
        Some(Err(Skip::NotIp | Skip::Unsupported)) => Carried::Other,
    }
}

fn carried_in(network: Network<'_>, tunnels: usize) -> Carried<'_> {
    let Ok((ip, stopped)) = LaxIpSlice::from_slice(network.bytes) else { return Carried::Undecodable };
    let (stated, headers) = lengths(&ip);
    let captured = match &ip {
        LaxIpSlice::Ipv4(v4) => v4.payload().payload,
        LaxIpSlice::Ipv6(v6) => v6.payload().payload,
    };
    let length = match ip.payload().len_source {
        // A length of 0: segmentation is left to the network card, or this is a jumbogram. The
        // frame has the length.
        LenSource::Slice if !ip.payload().incomplete => network.original.saturating_sub(headers),
        _ => stated,
    };
    let part = Datagram {
        from: ip.source_addr(),
        to: ip.destination_addr(),
        bytes: captured.get(..length).unwrap_or(captured),
        length,
    };
    if ip.is_fragmenting_payload() {
        return fragment(&ip, part).map_or(Carried::Undecodable, Carried::Fragment);
    }
    if stopped.is_some() { Carried::Undecodable } else { payload(ip.payload_ip_number(), part, tunnels) }
}

/// Payload and headers by the IP header, in bytes.
fn lengths(ip: &LaxIpSlice<'_>) -> (usize, usize) {
    match ip {
        LaxIpSlice::Ipv4(v4) => {
            let authentication = v4.extensions().auth.map_or(0, |auth| auth.slice().len());
            let headers = v4.header().slice().len() + authentication;
            (usize::from(v4.header().total_len()).saturating_sub(headers), headers)
        }
        LaxIpSlice::Ipv6(v6) => {
            let extensions = v6.extensions().slice().len();
            let stated = usize::from(v6.header().payload_length()).saturating_sub(extensions);
            (stated, v6.header().slice().len() + extensions)
        }
    }
}

fn fragment<'a>(ip: &LaxIpSlice<'_>, part: Datagram<'a>) -> Option<Fragment<'a>> {
    match ip {
        LaxIpSlice::Ipv4(v4) => Some(Fragment {
            part,
            identification: v4.header().identification().into(),
            protocol: v4.payload_ip_number(),
            offset: v4.header().fragments_offset(),
            more: v4.header().more_fragments(),
        }),
        LaxIpSlice::Ipv6(v6) => {
            let header = fragment_header(v6.header().next_header(), v6.extensions().slice())?;
            Some(Fragment {
                part,
                identification: header.identification(),
                protocol: v6.payload().ip_number,
                offset: header.fragment_offset(),
                more: header.more_fragments(),
            })
        }
    }
}

/// The fragment header among extension headers (RFC 8200, section 4), which have been checked
/// before.
fn fragment_header(mut kind: IpNumber, mut rest: &[u8]) -> Option<Ipv6FragmentHeaderSlice<'_>> {
    loop {
        if kind == ip_number::IPV6_FRAG {
            return Ipv6FragmentHeaderSlice::from_slice(rest).ok();
        }
        let (next, length) = (*rest.first()?, usize::from(*rest.get(1)?));
        // RFC 4302, section 2.2: the authentication header alone counts in words of 32 bits, less
        // two.
        let length = if kind == ip_number::AUTH { (length + 2) * 4 } else { (length + 1) * 8 };
        kind = IpNumber(next);
        rest = rest.get(length..)?;
    }
}
