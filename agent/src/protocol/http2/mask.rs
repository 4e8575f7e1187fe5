//! `--redact`: of HTTP/2 only the preface is kept, so that a replay recognises it. A redacted log has no spans of it.

use super::PREFACE;
use crate::{
    event::{Direction, Transfer},
    protocol::{mask, otlp},
};

/// Keeps the preface, and the path by which a program is recognised that exports traces.
#[derive(Debug)]
pub(in crate::protocol) struct Mask {
    pub(super) client: Direction,
    /// Position after the preface.
    pub(super) preface_end: u64,
}

impl Mask {
    /// Masks what was captured of a transfer: its first bytes and its last.
    pub(in crate::protocol) fn transfer(&self, transfer: &Transfer<'_>, head: &mut [u8], tail: &mut [u8]) {
        mask::hide(head);
        mask::hide(tail);
        if transfer.direction != self.client {
            return;
        }
        let preface = self.preface_end.saturating_sub(transfer.position);
        let preface = usize::try_from(preface).map_or(0, |length| length.min(head.len()));
        if PREFACE.ends_with(&transfer.head[..preface]) {
            head[..preface].copy_from_slice(&transfer.head[..preface]);
        }
        if self.client == Direction::Out {
            otlp::show(transfer.head, head);
        }
    }
}
