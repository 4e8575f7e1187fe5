//! What was in a capture, and what of it could not be used: every bound and every loss has its
//! count here.

use std::fmt;

use super::PcapError;

macro_rules! report {
    ($($(#[$doc:meta])* $name:ident: $label:literal,)*) => {
        /// Counts of one reading.
        #[derive(Debug, Default)]
        pub struct Report {
            $($(#[$doc])* pub $name: u64,)*
            /// Why the reading ended before the end of the file.
            pub damage: Option<PcapError>,
        }

        impl Report {
            /// Label and value of every count, in a fixed order.
            #[must_use]
            pub const fn list(&self) -> [(&'static str, u64); [$(stringify!($name)),*].len()] {
                [$(($label, self.$name)),*]
            }
        }
    };
}

report! {
    /// Packets of the file, of any kind.
    packets: "packets",
    /// ARP, UDP, ICMP …
    not_tcp: "not TCP",
    /// Packets of unknown link types, or of an interface that is not described.
    unsupported_link: "of an unsupported link type",
    /// ESP, L2TP, GTP, Geneve …, or content of a tunnel that is not IP.
    tunnels: "in tunnels that are not read",
    /// Headers of link, IP or TCP layer that are cut or malformed.
    undecodable: "undecodable",
    /// pcapng blocks that hold no packet.
    other_blocks: "blocks without a packet",
    /// IP packets that are a part of a datagram.
    fragments: "IP fragments",
    /// Datagrams that could not be put together: the bound of 64 at once, a cut or missing
    /// fragment. Treated as lost packets.
    fragments_lost: "fragmented datagrams lost",
    /// Connections that reached the pipeline: their first data was captured and the client is
    /// known.
    connections: "connections with data",
    /// Of those, connections whose handshake is not in the capture.
    without_handshake: "of them without a handshake",
    /// Bytes of payload on connections without handshake, before a first line of a known protocol
    /// was seen.
    unattributed_bytes: "bytes before a known message on those",
    /// Bytes of payload that the capture had already.
    retransmitted_bytes: "bytes retransmitted",
    /// Bytes of payload captured after a RST that held.
    after_reset_bytes: "bytes after a reset",
    /// Bytes sent out of band, which the receiver does not find among the others.
    urgent_bytes: "urgent bytes",
    /// RSTs that their receiver ignored.
    resets_ignored: "resets that were ignored",
    /// Probes that carry one old byte.
    keep_alives: "keep-alive probes",
    /// Segments with other bytes for positions that were captured before; the first ones hold.
    disputed: "segments with other bytes than before",
    /// Holes that were given up.
    gaps: "gaps",
    gap_bytes: "bytes in gaps",
    /// Bytes of payload that the capture cut off.
    truncated_bytes: "bytes cut off by the capture",
    /// Segments outside of every window, or beyond a FIN.
    out_of_window: "segments out of window",
    /// Holes given up at once, or bytes dropped, because too much waited already.
    overflows: "times that too much waited",
    /// Connections that were evicted to make room for others.
    evicted_connections: "connections evicted",
}

impl Report {
    /// What may have cost spans, one line each, and is counted nowhere else. Lost bytes of a
    /// connection are in its ledger.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        let costs = [
            (self.unsupported_link, "packets of an unsupported link type"),
            (self.tunnels, "packets in tunnels that are not read"),
            (self.undecodable, "packets with headers that cannot be read"),
            (self.fragments_lost, "fragmented datagrams that are not whole"),
            (self.unattributed_bytes, "bytes before a known message, on connections without a handshake"),
            (self.overflows, "times that too much waited for lost segments"),
            (self.evicted_connections, "connections forgotten, since too many were open at once"),
        ];
        costs
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect()
    }
}

impl fmt::Display for Report {
    /// All counts but those that are 0, in one line; the number of packets in any case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets", self.packets)?;
        for (label, count) in self.list().into_iter().skip(1).filter(|(_, count)| *count > 0) {
            write!(f, ", {count} {label}")?;
        }
        Ok(())
    }
}
