//! Gathers records into blocks that are ready to be appended to a file. It writes nothing itself,
//! so that a source never waits here.

use super::{
    encode,
    format::{BLOCK_HEADER, BlockHeader, FULL_PAYLOAD, MAX_RECORD, file_header},
};
use crate::event::Event;

/// A record is larger than the format allows; nothing of it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of {0} bytes is larger than the event log allows")]
pub struct TooLarge(usize);

/// The block that is being filled.
#[derive(Debug)]
pub struct Blocks {
    /// Room for the header, then the payload.
    block: Vec<u8>,
    records: u32,
    sequence: u64,
}

impl Blocks {
    /// Begins a log: gives its first bytes, the file's header and block 0 with `header`.
    ///
    /// # Errors
    /// When the header is too large for a record.
    pub fn begin(header: &str) -> Result<(Self, Vec<u8>), TooLarge> {
        let mut blocks = Self { block: vec![0; BLOCK_HEADER], records: 0, sequence: 0 };
        let mut first = file_header().to_vec();
        blocks.append(|out| encode::header(header, out))?;
        first.extend(blocks.seal().unwrap_or_default());
        Ok((blocks, first))
    }

    /// Adds an event; the block, when that completed it.
    ///
    /// # Errors
    /// When the event is too large for a record.
    pub fn add(&mut self, event: &Event<'_>) -> Result<Option<Vec<u8>>, TooLarge> {
        self.append(|out| encode::event(event, out))?;
        Ok(if self.pending() >= FULL_PAYLOAD { self.seal() } else { None })
    }

    /// Bytes of payload that wait for their block to be complete.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.block.len() - BLOCK_HEADER
    }

    /// The block as it stands, unless it is empty.
    pub fn seal(&mut self) -> Option<Vec<u8>> {
        if self.records == 0 {
            return None;
        }
        let room = FULL_PAYLOAD + BLOCK_HEADER;
        let mut block = std::mem::replace(&mut self.block, Vec::with_capacity(room));
        self.block.resize(BLOCK_HEADER, 0);
        let length = u32::try_from(block.len() - BLOCK_HEADER).expect("records are added below 1 MiB only");
        let header = BlockHeader { length, records: self.records, sequence: self.sequence };
        let header = header.write(&block[BLOCK_HEADER..]);
        block[..BLOCK_HEADER].copy_from_slice(&header);
        self.records = 0;
        self.sequence += 1;
        Some(block)
    }

    fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), TooLarge> {
        let start = self.block.len();
        encode(&mut self.block);
        let size = self.block.len() - start;
        if size > MAX_RECORD {
            self.block.truncate(start);
            return Err(TooLarge(size));
        }
        self.records += 1;
        Ok(())
    }
}
