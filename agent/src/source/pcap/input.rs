//! Takes records of given lengths from a stream, a file or a pipe, in whatever pieces it delivers
//! them.

use std::io::{self, Read};

use super::PcapError;

/// Memory grows with the bytes that arrive, in steps of this size: a claimed length costs nothing.
const STEP: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Input<R> {
    reader: R,
    /// The last record in front, then what is left of longer ones before it.
    buffer: Vec<u8>,
    length: usize,
    offset: u64,
}

impl<R: Read> Input<R> {
    pub(super) const fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), length: 0, offset: 0 }
    }

    /// Bytes taken so far.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes of the last [`Input::take`].
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// Takes `count` bytes; `false` at the end of the stream when not one is left.
    pub(super) fn take(&mut self, count: usize) -> Result<bool, PcapError> {
        self.length = 0;
        self.append(count)
    }

    /// As [`Input::take`], behind the bytes taken last.
    pub(super) fn append(&mut self, count: usize) -> Result<bool, PcapError> {
        let start = self.length;
        let end = start + count;
        while self.length < end {
            let stop = end.min(self.length + STEP);
            if self.buffer.len() < stop {
                self.buffer.resize(stop, 0);
            }
            match self.reader.read(&mut self.buffer[self.length..stop]) {
                Ok(0) if self.length == 0 => return Ok(false),
                Ok(0) => return Err(PcapError::Cut { offset: self.offset }),
                Ok(read) => {
                    self.length += read;
                    self.offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Reads past `count` bytes.
    pub(super) fn skip(&mut self, count: u64) -> Result<(), PcapError> {
        let skipped = io::copy(&mut self.reader.by_ref().take(count), &mut io::sink())?;
        self.offset += skipped;
        if skipped < count { Err(PcapError::Cut { offset: self.offset }) } else { Ok(()) }
    }
}

/// Byte order of a file or section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// Two bytes at `at`; 0 beyond the end.
    pub(super) fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let Some(field) = bytes.get(at..).and_then(|rest| rest.first_chunk()) else { return 0 };
        match self {
            Self::Little => u16::from_le_bytes(*field),
            Self::Big => u16::from_be_bytes(*field),
        }
    }

    /// Four bytes at `at`; 0 beyond the end.
    pub(super) fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let Some(field) = bytes.get(at..).and_then(|rest| rest.first_chunk()) else { return 0 };
        match self {
            Self::Little => u32::from_le_bytes(*field),
            Self::Big => u32::from_be_bytes(*field),
        }
    }

    /// Eight bytes at `at`; 0 beyond the end.
    pub(super) fn u64(self, bytes: &[u8], at: usize) -> u64 {
        let Some(field) = bytes.get(at..).and_then(|rest| rest.first_chunk()) else { return 0 };
        match self {
            Self::Little => u64::from_le_bytes(*field),
            Self::Big => u64::from_be_bytes(*field),
        }
    }
}
