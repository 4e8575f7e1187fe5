//! Packet captures: any bytes, through the engine, from every point of view.

use std::{io::Read, time::Duration};

use wirespan::{
    pipeline::{Engine, Settings},
    protocol,
    source::pcap::{Limits, Options, View, is_capture, read},
    trace::span::Span,
};

use crate::spans;

/// What all connections may buffer, in the engine.
const BUFFERED: usize = 64 * 1024;
/// Connections, in both.
const CONNECTIONS: usize = 8;

/// RFC 1952, section 2.3.1.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Gives one byte, then two …, as a slow pipe would.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.1 = self.1 % 97 + 1;
        let count = self.1.min(into.len());
        self.0.read(&mut into[..count])
    }
}

/// The spans, the counts of the report, and what was wrong with the file.
type Outcome = (Vec<Span>, Vec<(&'static str, u64)>, Option<String>);

pub(crate) fn run(data: &[u8]) {
    let mut whole = None;
    for view in [View::Client, View::Server, View::Both] {
        whole = read_all(data, view);
    }
    assert!(whole.is_none() || is_capture(data), "it was read, and is said to be no capture");
    let pieces = read_all(Pieces(data, 0), View::Both);
    let broken = |outcome: &Option<Outcome>| outcome.as_ref().is_none_or(|(_, _, damage)| damage.is_some());
    // The decoder of compressed data gives what it has up to a broken byte, or not, as its input
    // comes.
    if !(data.starts_with(&GZIP) && broken(&whole) && broken(&pieces)) {
        assert_eq!(whole, pieces, "it matters in what pieces the file is read");
    }
}

fn read_all(input: impl Read, view: View) -> Option<Outcome> {
    let limits = Limits {
        connections: CONNECTIONS,
        waiting_bytes: 16 * 1024,
        waiting_bytes_each: 8 * 1024,
        waiting_segments_each: 16,
    };
    let options = Options { view, limits, ..Options::new(protocol::opening) };
    let settings = Settings {
        buffered_bytes: BUFFERED,
        connections: 2 * CONNECTIONS,
        idle: Duration::MAX,
        ..Settings::default()
    };
    let mut engine = Engine::new(settings);
    let mut found = Vec::new();
    let result = read(input, &options, &mut |event| {
        engine.feed(event);
        assert!(engine.buffered() <= BUFFERED, "{} bytes are buffered", engine.buffered());
        assert!(engine.connections() <= 2 * CONNECTIONS, "{} connections", engine.connections());
        assert!(engine.drain_feedback().count() <= 64);
        found.extend(spans::drain(&mut engine));
    });
    let ledger = engine.tally().ledger;
    assert_eq!(ledger.violations, 0, "the ledger does not balance: {ledger:?}");
    assert_eq!((engine.connections(), engine.buffered()), (0, 0), "something is left at the end");
    spans::check(&found);
    let report = result.ok()?;
    Some((found, report.list().to_vec(), report.damage.map(|damage| damage.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The properties are of something: what the seeds say is understood.
    #[test]
    fn a_seed_has_spans() {
        let (spans, _, damage) =
            read_all(&include_bytes!("../corpus/pcap/mixed.pcap")[..], View::Both).unwrap();
        assert!(spans.len() >= 2 && damage.is_none(), "{spans:?}");
    }
}
