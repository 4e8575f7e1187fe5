//! What the pipeline asks of its source in return: how each direction of a stream is captured from
//! now on. The source's answer is an event, so that a replay knows what had been asked.

use super::{ConnectionId, StreamId, Timestamp};

/// How one direction of a stream is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Capture {
    pub mode: CaptureMode,
    /// No event is needed for bytes before this position. The system call that holds byte
    /// `skip_until - 1` or later makes one again.
    pub skip_until: u64,
}

/// What is captured of a system call that makes an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum CaptureMode {
    /// Its first and last bytes.
    #[default]
    Ends,
    /// Framing lies between the data (chunked): all of it, as far as the source can.
    Whole,
    /// Nothing here parses: none makes an event. The source stays transparent for causality (an
    /// *opaque* connection).
    Nothing,
}

impl CaptureMode {
    pub const ALL: [Self; 3] = [Self::Ends, Self::Whole, Self::Nothing];
}

/// A request of the pipeline to its source. A source that cannot (log, pcap) ignores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback {
    /// Capture the stream like this, by [`Direction::index`](super::Direction::index). It takes the
    /// place of what was asked before.
    Capture { stream: StreamId, directions: [Capture; 2] },
    /// It was evicted: nothing is kept of it here, and the source need not either. If bytes still
    /// move on it, it is opened anew, as a connection that is older than the agent.
    Forget { connection: ConnectionId },
}

impl Feedback {
    /// The connection that it is about.
    #[must_use]
    pub const fn connection(&self) -> ConnectionId {
        match self {
            Self::Capture { stream, .. } => stream.connection,
            Self::Forget { connection } => *connection,
        }
    }

    /// The event of a source that has taken this.
    #[must_use]
    pub const fn taken(&self, at: Timestamp) -> Option<Asked> {
        match *self {
            Self::Capture { stream, directions } => Some(Asked { at, stream, directions }),
            Self::Forget { .. } => None,
        }
    }
}

/// The source captures a stream like this from now on, because the pipeline has asked for it.
/// Transfers that were captured before may still come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub at: Timestamp,
    pub stream: StreamId,
    pub directions: [Capture; 2],
}
