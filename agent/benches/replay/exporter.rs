//! What the spans are written as: each exporter's encoder, without its thread and its destination.

use std::hint::black_box;

use wirespan::{
    event::Timestamp,
    export::{HostResource, LineWriter, console::Trees, otlp::Encoder},
    trace::span::SpanEvent,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Export {
    /// OTLP protobuf
    Otlp,
    /// OTLP JSON lines, as in the span file
    Json,
    /// Trees, as on the console
    Console,
}

#[derive(Debug)]
pub(super) enum Exporter {
    Otlp(Encoder),
    Json(LineWriter),
    Console(Trees),
}

impl Exporter {
    pub(super) fn new(export: Export) -> Self {
        // Not this host's names, whose lengths differ.
        let host = HostResource {
            name: Some("host.example.com".to_owned()),
            id: Some("0123456789abcdef0123456789abcdef".to_owned()),
            attributes: Vec::new(),
        };
        match export {
            Export::Otlp => Self::Otlp(Encoder::new(host)),
            Export::Json => Self::Json(LineWriter::new(host)),
            Export::Console => Self::Console(Trees::new(1_000)),
        }
    }

    /// Encodes a batch; how many spans and bytes came out. A function of its own, which valgrind tells from others.
    #[inline(never)]
    pub(super) fn export(&mut self, batch: &[SpanEvent], at: Timestamp) -> (u64, u64) {
        let (bytes, spans) = match self {
            Self::Otlp(encoder) => encoder.request(batch.iter()),
            Self::Json(writer) => {
                let mut out = Vec::new();
                let spans = writer.line(batch, &mut out);
                (out, spans)
            }
            Self::Console(trees) => {
                trees.add(batch, at);
                let (text, spans) = trees.text(false, None);
                (text.into_bytes(), spans)
            }
        };
        (spans, black_box(&bytes).len() as u64)
    }
}
