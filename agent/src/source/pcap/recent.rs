//! The last bytes that were read of a direction, to compare with bytes that claim their positions
//! again.

use super::piece::Piece;
use crate::event::Timestamp;

/// Bytes kept.
const RECENT: usize = 512;

/// The captured bytes before the next one to read, without a hole.
#[derive(Debug, Default)]
pub(super) struct Recent(Vec<u8>);

impl Recent {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn last(&self) -> Option<&u8> {
        self.0.last()
    }

    /// Remembers bytes that were read.
    pub(super) fn remember(&mut self, piece: &Piece<'_>) {
        if piece.bytes.len() < piece.length as usize {
            self.0.clear();
            return;
        }
        let kept = &piece.bytes[piece.bytes.len().saturating_sub(RECENT)..];
        let surplus = (self.0.len() + kept.len()).saturating_sub(RECENT);
        self.0.drain(..surplus);
        self.0.extend_from_slice(kept);
    }

    /// Whether `bytes`, which begin `passed` bytes before position `next`, are not those that were
    /// read there.
    pub(super) fn differs(&self, next: u64, passed: u64, bytes: &[u8]) -> bool {
        let known = Piece {
            position: next - (self.0.len() as u64).min(next),
            length: u32::try_from(self.0.len()).unwrap_or(0),
            bytes: &self.0,
            at: Timestamp::default(),
            after: 0,
            urgent: false,
        };
        // The byte of a keep-alive may be any byte.
        if bytes.len() == 1 && passed == 1 {
            return false;
        }
        let before = next.saturating_sub(passed);
        // Nothing before position 0 was ever read.
        let bytes = bytes.get(usize::try_from(passed.saturating_sub(next)).unwrap_or(usize::MAX)..);
        let bytes = bytes.unwrap_or_default();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        known.contradicts(&Piece { position: before, length, bytes, ..known })
    }
}
