//! Which protocol a connection speaks, and when it is given up. Never by its port: by what its bytes are. The parser at hand says
//! which bytes it does not know; they are looked at here.

use super::{Context, otlp, parser::Recognition};

/// What was seen of a connection that its parser does not know.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Detector {
    /// Where a message should have begun, since the last one that parsed.
    unknown_starts: u32,
    /// Transfers without any message.
    unknown_transfers: u32,
    /// The client has begun as one of HTTP/2.
    http2: bool,
}

impl Detector {
    /// A message has begun that parses: the connection is worth reading.
    pub(super) const fn recognised(&mut self) {
        self.unknown_starts = 0;
        self.unknown_transfers = 0;
    }

    /// What a client sends, on a connection of which no message was seen yet.
    pub(super) fn look_at(&mut self, pid: u32, bytes: &[u8], cx: &mut Context<'_>) {
        self.http2 |= bytes.starts_with(otlp::PREFACE);
        if otlp::exports_traces(bytes) {
            cx.out.report.exports_traces(pid);
        }
    }

    /// A transfer ended in bytes that are no part of any message; `begins`: where one should have begun. Says whether the
    /// connection is to be given up.
    pub(super) fn unknown(&mut self, begins: bool, known: Recognition, cx: &mut Context<'_>) -> bool {
        self.unknown_transfers += 1;
        if begins {
            self.unknown_starts += 1;
            match known.seen {
                false => cx.out.counters.unknown_starts += 1,
                true => cx.out.counters.parse_failures += 1,
            }
        }
        let limits = cx.limits;
        let (starts, transfers) = match known {
            Recognition { seen: true, .. } => (limits.unknown_starts_late, u32::MAX),
            // Its requests come after its settings; of what they are only one is of interest.
            _ if self.http2 => (limits.unknown_starts_late, limits.unknown_transfers),
            Recognition { mid_stream: true, .. } => {
                (limits.unknown_starts_late, limits.unknown_transfers_late)
            }
            _ => (limits.unknown_starts, limits.unknown_transfers),
        };
        self.unknown_starts >= starts || self.unknown_transfers >= transfers
    }
}
