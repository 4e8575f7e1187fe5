//! Link layers: where the IP packet begins in a captured frame
//! (<https://www.tcpdump.org/linktypes.html>).

/// The IP packet of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network<'a> {
    pub(super) bytes: &'a [u8],
    /// Bytes from the packet's start to the frame's end on the wire; the IP header says where the
    /// packet ends.
    pub(super) original: usize,
}

/// Why no IP packet of a frame is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skip {
    /// The link type is none of those below.
    Unsupported,
    /// ARP and its like.
    NotIp,
    /// The content of a tunnel is not read.
    Tunnel,
    /// The frame is cut before the IP packet.
    Cut,
}

const NULL: u16 = 0;
const ETHERNET: u16 = 1;
/// `DLT_RAW` of most systems and of OpenBSD, which old versions of libpcap wrote into files.
const RAW_MOST: u16 = 12;
const RAW_OPENBSD: u16 = 14;
const RAW: u16 = 101;
const PPP: u16 = 9;
const PPP_HDLC: u16 = 50;
const PPPOE: u16 = 51;
const CISCO_HDLC: u16 = 104;
const LOOP: u16 = 108;
const LINUX_SLL: u16 = 113;
const IPV4: u16 = 228;
const IPV6: u16 = 229;
const LINUX_SLL2: u16 = 276;

/// Finds the IP packet of a frame of `original` bytes, of which `bytes` were captured.
pub(super) fn network(link: u16, bytes: &[u8], original: u32) -> Result<Network<'_>, Skip> {
    let frame = Network { bytes, original: original as usize };
    match link {
        RAW | RAW_MOST | RAW_OPENBSD | IPV4 | IPV6 => Ok(frame),
        // An address family in the byte order of an unknown host; the IP packet says its version
        // itself.
        NULL | LOOP => ip_version(after(frame, 4)?),
        ETHERNET => ethernet(frame),
        PPP | PPP_HDLC => ppp(frame),
        PPPOE => pppoe(frame),
        CISCO_HDLC => payload(after(frame, 2)?),
        LINUX_SLL => payload(after(frame, 14)?),
        LINUX_SLL2 => by_type(be16(frame.bytes)?, after(frame, 20)?),
        _ => Err(Skip::Unsupported),
    }
}

/// `frame` begins with an EtherType.
fn payload(frame: Network<'_>) -> Result<Network<'_>, Skip> {
    by_type(be16(frame.bytes)?, after(frame, 2)?)
}

pub(super) fn ethernet(frame: Network<'_>) -> Result<Network<'_>, Skip> {
    payload(after(frame, 12)?)
}

/// Behind an EtherType: VLAN tags (IEEE 802.1Q, section 9), MPLS labels (RFC 3032), PPPoE (RFC
/// 2516), in any number.
pub(super) fn by_type(mut ethertype: u16, mut frame: Network<'_>) -> Result<Network<'_>, Skip> {
    /// The bit of the last label (RFC 3032, section 2.1).
    const BOTTOM: u8 = 1;
    loop {
        match ethertype {
            0x0800 | 0x86dd => return Ok(frame),
            // 802.1Q, 802.1ad and what was in use before it.
            0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => {
                ethertype = be16(after(frame, 2)?.bytes)?;
                frame = after(frame, 4)?;
            }
            0x8864 => return pppoe(frame),
            0x8847 | 0x8848 => loop {
                let last = after(frame, 2)?.bytes.first().ok_or(Skip::Cut)? & BOTTOM != 0;
                frame = after(frame, 4)?;
                if last {
                    // Only the label says what follows, and it means nothing here. The IP packet
                    // says its version itself.
                    return ip_version(frame).map_err(unread);
                }
            },
            // Ethernet bridged (RFC 7637, RFC 7348).
            0x6558 => {
                ethertype = be16(after(frame, 12)?.bytes)?;
                frame = after(frame, 14)?;
            }
            // A length (IEEE 802.3), and then IP only with SNAP (RFC 1042).
            0..=1500 if frame.bytes.starts_with(&[0xaa, 0xaa, 3, 0, 0, 0]) => {
                ethertype = be16(after(frame, 6)?.bytes)?;
                frame = after(frame, 8)?;
            }
            // TRILL (RFC 6325), MACsec (IEEE 802.1AE), provider backbone bridges (IEEE 802.1ah),
            // NSH (RFC 8300).
            0x22f3 | 0x88e5 | 0x88e7 | 0x894f => return Err(Skip::Tunnel),
            _ => return Err(Skip::NotIp),
        }
    }
}

/// So that it is not taken for a packet outside of any tunnel.
pub(super) fn unread(skip: Skip) -> Skip {
    if skip == Skip::NotIp { Skip::Tunnel } else { skip }
}

fn pppoe(frame: Network<'_>) -> Result<Network<'_>, Skip> {
    ppp(after(frame, 6)?)
}

/// PPP (RFC 1661), with or without the address of HDLC (RFC 1662), its protocol perhaps in one
/// byte.
pub(super) fn ppp(frame: Network<'_>) -> Result<Network<'_>, Skip> {
    let frame = if frame.bytes.starts_with(&[0xff, 3]) { after(frame, 2)? } else { frame };
    let (protocol, size) = match *frame.bytes {
        [short, ..] if short & 1 != 0 => (u16::from(short), 1),
        _ => (be16(frame.bytes)?, 2),
    };
    match protocol {
        0x0021 | 0x0057 => after(frame, size),
        _ => Err(Skip::NotIp),
    }
}

pub(super) fn ip_version(frame: Network<'_>) -> Result<Network<'_>, Skip> {
    match frame.bytes.first().map(|first| first >> 4) {
        Some(4 | 6) => Ok(frame),
        Some(_) => Err(Skip::NotIp),
        None => Err(Skip::Cut),
    }
}

pub(super) fn after(frame: Network<'_>, count: usize) -> Result<Network<'_>, Skip> {
    let bytes = frame.bytes.get(count..).ok_or(Skip::Cut)?;
    Ok(Network { bytes, original: frame.original.saturating_sub(count) })
}

pub(super) fn be16(bytes: &[u8]) -> Result<u16, Skip> {
    bytes.first_chunk().map(|field| u16::from_be_bytes(*field)).ok_or(Skip::Cut)
}
