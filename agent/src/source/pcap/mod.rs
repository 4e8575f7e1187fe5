//! A packet capture as a source: packets that another program recorded become the events that the
//! pipeline reads.
//!
//! `file` (with `classic`, `ng`, `input`) takes packets from a stream. `link`, `ip`, `tunnel`,
//! `fragments` and `tcp` find the segment, `table` its connection. `connection`, `half` and `piece`
//! put its bytes into order, and `endpoint` turns them into the events of one end.
//! docs/packet-captures.md says which packets become which events, and what is refused.

mod classic;
mod connection;
mod endpoint;
mod error;
mod file;
mod fragments;
mod half;
mod input;
mod ip;
mod link;
mod ng;
mod piece;
mod recent;
mod report;
mod reset;
mod table;
mod tcp;
#[cfg(test)]
pub(crate) mod tests;
mod tunnel;

use std::{fmt, io::Read, str::FromStr, sync::Arc};

pub use error::PcapError;
pub use report::Report;

use self::{
    file::{Meta, Packets},
    fragments::Fragments,
    ip::{Carried, Datagram, carried, carried_whole},
    link::{Skip, network},
    table::Table,
    tcp::Segment,
};
use crate::event::{DEFAULT_CONNECTIONS, Event, Opening, Timestamp, UNKNOWN_SERVICE};

/// Every reading of the same capture gives the same span and trace ids.
const RUN_KEY: [u8; 16] = *b"wirespan capture";

/// The end, or ends, of a captured request that get spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum View {
    /// The client's: one span for each request.
    #[default]
    Client,
    /// The server's: one span for each request.
    Server,
    /// Both, the server's span a child of the client's.
    Both,
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Both => "both",
        })
    }
}

/// A word that is no [`View`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown view: write client, server or both")]
pub struct UnknownView;

impl FromStr for View {
    type Err = UnknownView;

    fn from_str(text: &str) -> Result<Self, UnknownView> {
        match text {
            "client" => Ok(Self::Client),
            "server" => Ok(Self::Server),
            "both" => Ok(Self::Both),
            _ => Err(UnknownView),
        }
    }
}

/// Bounds of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections followed at once (default [`DEFAULT_CONNECTIONS`]); beyond it the longest silent are forgotten.
    pub connections: usize,
    /// Bytes that wait behind holes, of all connections (default 64 MiB), bookkeeping included.
    pub waiting_bytes: usize,
    /// The same for one direction of one connection (default 4 MiB).
    pub waiting_bytes_each: usize,
    /// Segments of one direction that wait (default 4,096).
    pub waiting_segments_each: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: DEFAULT_CONNECTIONS as usize,
            waiting_bytes: 64 * 1024 * 1024,
            waiting_bytes_each: 4 * 1024 * 1024,
            waiting_segments_each: 4_096,
        }
    }
}

/// How a capture is read.
#[derive(Debug, Clone)]
pub struct Options {
    pub view: View,
    /// Finds out which message bytes begin with. Where the handshake is missing this decides who is
    /// the client: the port never does. `protocol::opening` is the function to give.
    pub opening: fn(&[u8]) -> Option<Opening>,
    /// `service.name` of every span (default `unknown_service`): packets do not say it.
    pub service_name: Arc<str>,
    pub limits: Limits,
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new(opening: fn(&[u8]) -> Option<Opening>) -> Self {
        Self {
            view: View::default(),
            opening,
            service_name: UNKNOWN_SERVICE.into(),
            limits: Limits::default(),
        }
    }
}

/// Whether a file that begins with these bytes is a packet capture: 4 bytes are enough, 512 if it
/// is compressed by gzip.
#[must_use]
pub fn is_capture(start: &[u8]) -> bool {
    file::is_capture(start)
}

/// Reads a capture to its end and gives its events to `sink`: `Clock` and `RunKey` first,
/// `Shutdown` last.
///
/// [`Limits`] bounds the memory, whatever the size of the capture. A timestamp is Unix time in
/// nanoseconds.
///
/// # Errors
/// When the input has no header of a capture. Later damage ends the reading: what stands before it is used, and
/// [`Report::damage`] says what was found.
pub fn read(
    input: impl Read,
    options: &Options,
    sink: &mut dyn FnMut(&Event<'_>),
) -> Result<Report, PcapError> {
    let mut packets = Packets::open(input)?;
    let mut report = Report::default();
    let mut table = Table::new(options);
    let mut fragments = Fragments::default();
    let mut begun = false;
    loop {
        let meta = match packets.next() {
            Ok(Some(meta)) => meta,
            Ok(None) => break,
            Err(error) => {
                report.damage = Some(error);
                break;
            }
        };
        let at = Timestamp(meta.at);
        if !begun {
            begun = true;
            begin(at, options, sink);
        }
        report.packets += 1;
        table.advance(at, &mut report, sink);
        packet(&packets, &meta, &mut fragments, &mut report, &mut |segment, report| {
            table.segment(segment, report, sink);
        });
    }
    if !begun {
        begin(Timestamp::default(), options, sink);
    }
    fragments.finish();
    table.finish(&mut report, sink);
    sink(&Event::Shutdown { at: table.now() });
    report.fragments_lost = fragments.lost;
    report.other_blocks = packets.other_blocks();
    Ok(report)
}

fn begin(at: Timestamp, options: &Options, sink: &mut dyn FnMut(&Event<'_>)) {
    sink(&Event::Clock { at, unix_offset: 0 });
    sink(&Event::RunKey(RUN_KEY));
    for process in endpoint::processes(at, &options.service_name) {
        sink(&process);
    }
}

/// Finds the TCP segment of a packet, or counts why there is none.
fn packet(
    packets: &Packets<'_>,
    meta: &Meta,
    fragments: &mut Fragments,
    report: &mut Report,
    take: &mut dyn FnMut(&Segment<'_>, &mut Report),
) {
    let bytes = packets.bytes(meta);
    let network = match meta.link.map_or(Err(Skip::Unsupported), |link| network(link, bytes, meta.original)) {
        Ok(network) => network,
        Err(Skip::NotIp) => return report.not_tcp += 1,
        Err(Skip::Tunnel) => return report.tunnels += 1,
        Err(Skip::Unsupported) => return report.unsupported_link += 1,
        Err(Skip::Cut) => return report.undecodable += 1,
    };
    hand_on(Timestamp(meta.at), carried(network), fragments, report, take);
}

fn hand_on(
    at: Timestamp,
    carried: Carried<'_>,
    fragments: &mut Fragments,
    report: &mut Report,
    take: &mut dyn FnMut(&Segment<'_>, &mut Report),
) {
    match carried {
        Carried::Tcp(datagram) => segment(at, &datagram, report, take),
        Carried::Fragment(fragment) => {
            report.fragments += 1;
            let Some(whole) = fragments.add(&fragment) else { return };
            // The whole may be a tunnel's, with a fragment inside. That fragment completes a
            // datagram that was waiting, so this recursion ends.
            let datagram = Datagram { bytes: &whole, length: whole.len(), ..fragment.part };
            hand_on(at, carried_whole(fragment.protocol, datagram), fragments, report, take);
        }
        Carried::Other => report.not_tcp += 1,
        Carried::Tunnel => report.tunnels += 1,
        Carried::Undecodable => report.undecodable += 1,
    }
}

fn segment(
    at: Timestamp,
    datagram: &Datagram<'_>,
    report: &mut Report,
    take: &mut dyn FnMut(&Segment<'_>, &mut Report),
) {
    match Segment::parse(at, datagram) {
        Some(segment) => take(&segment, report),
        None => report.undecodable += 1,
    }
}
