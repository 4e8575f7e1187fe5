//! Reads an event log, block by block, to its end or to the first byte that cannot be trusted.
//! Blocks behind a damaged one are not read: with events missing before them a replay could see
//! what never happened.

use std::{
    fmt,
    io::{self, ErrorKind, Read},
};

use super::{
    cursor::{Cursor, Malformed},
    decode,
    format::{
        BLOCK_HEADER, BlockHeader, FILE_HEADER, MAGIC, MAJOR, MAX_PAYLOAD, OLD_MAJOR, Version, is_intact,
        kind,
    },
};
use crate::event::Event;

const MORE_THAN_ITS_RECORDS: Malformed = Malformed("it holds more than its records");

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("is no event log of wirespan")]
    NotALog,
    #[error("ends before its first block: the recorder was stopped before it could write")]
    TooShort,
    #[error(
        "is an event log of format {found}, this agent reads formats {OLD_MAJOR} and {MAJOR}; use the agent that recorded it, or a newer one"
    )]
    OtherVersion { found: u16 },
    #[error("is damaged at its start ({0}); nothing of it can be read")]
    Damaged(&'static str),
}

/// How a log ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With the end of the recorded run.
    Whole,
    /// Between two blocks, but before the run's end: the recorder was killed, or stopped at its
    /// limit.
    Early,
    /// Inside a block, at this byte: the recorder was killed, the disk was full, or the file was
    /// cut.
    Torn { at: u64 },
    /// At a block that begins at this byte; nothing behind it was read.
    Damaged { at: u64, what: &'static str },
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => write!(f, "the log is whole"),
            Self::Early => {
                write!(f, "the log ends before the run did: the recorder was killed or stopped at its limit")
            }
            Self::Torn { at } => write!(
                f,
                "the log ends in the middle of a block, at byte {at}: the recorder was killed, the disk was full, or the file was cut; everything before that block was read"
            ),
            Self::Damaged { at, what } => write!(
                f,
                "the log is damaged in the block at byte {at} ({what}); everything before it was read, nothing behind it"
            ),
        }
    }
}

/// A log that is being read.
#[derive(Debug)]
pub struct LogReader<R> {
    input: R,
    version: Version,
    header: String,
    /// Payload of the block being read.
    block: Vec<u8>,
    /// Where its next record begins.
    next: usize,
    /// Records that it should still have.
    records: u32,
    /// The sequence number of the next block.
    sequence: u64,
    /// Where the block being read, and the next one, begin in the file.
    block_at: u64,
    next_at: u64,
    unknown: u64,
    finished: bool,
    end: Option<End>,
}

impl<R: Read> LogReader<R> {
    /// Reads the file's header and its first block.
    ///
    /// # Errors
    /// When there is no log of a version that can be read. A log that ends early is no error.
    pub fn open(mut input: R) -> Result<Self, OpenError> {
        let version = file_header(&mut input)?;
        let mut reader = Self {
            input,
            version,
            header: String::new(),
            block: Vec::new(),
            next: 0,
            records: 0,
            sequence: 0,
            block_at: 0,
            next_at: FILE_HEADER as u64,
            unknown: 0,
            finished: false,
            end: None,
        };
        match reader.read_block()? {
            None => {}
            Some(End::Damaged { what, .. }) => return Err(OpenError::Damaged(what)),
            Some(_) => return Err(OpenError::TooShort),
        }
        match reader.next_record() {
            Ok((kind::HEADER, start, end)) => {
                let text = std::str::from_utf8(&reader.block[start..end]);
                reader.header = text.map_err(|_| OpenError::Damaged("its header is not UTF-8"))?.to_owned();
            }
            _ => return Err(OpenError::Damaged("it does not begin with its header")),
        }
        Ok(reader)
    }

    /// The text that was recorded before the first event.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Major and minor version of the file, when it is newer than this reader.
    #[must_use]
    pub fn newer_version(&self) -> Option<(u16, u16)> {
        self.version.is_newer().then_some((self.version.major, self.version.minor))
    }

    /// Records of a kind that this reader does not know, so far.
    #[must_use]
    pub const fn unknown_records(&self) -> u64 {
        self.unknown
    }

    /// How the log ended, once there is no next event.
    #[must_use]
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// The next event; `None` at the end, whatever its kind ([`Self::end`]).
    ///
    /// # Errors
    /// When the file cannot be read; what came before is good.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, io::Error> {
        let (kind, start, end) = loop {
            if self.end.is_some() {
                return Ok(None);
            }
            if self.records == 0 {
                self.end = self.read_block()?;
                continue;
            }
            match self.next_record() {
                Ok((kind, ..)) if !self.version.has(kind) => self.unknown += 1,
                Ok(record) => break record,
                Err(malformed) => self.end = Some(End::Damaged { at: self.block_at, what: malformed.0 }),
            }
        };
        match decode::event(kind, &self.block[start..end], self.version) {
            Ok(event) => {
                self.finished = matches!(event, Event::Shutdown { .. });
                Ok(Some(event))
            }
            Err(malformed) => {
                self.end = Some(End::Damaged { at: self.block_at, what: malformed.0 });
                Ok(None)
            }
        }
    }

    /// Reads the next block whole; how the log ends, if there is none.
    fn read_block(&mut self) -> Result<Option<End>, io::Error> {
        let at = self.next_at;
        if self.next < self.block.len() {
            return Ok(Some(End::Damaged { at: self.block_at, what: MORE_THAN_ITS_RECORDS.0 }));
        }
        let mut header = [0; BLOCK_HEADER];
        match fill(&mut self.input, &mut header)? {
            0 => return Ok(Some(if self.finished { End::Whole } else { End::Early })),
            BLOCK_HEADER => {}
            read => return Ok(Some(End::Torn { at: at + read as u64 })),
        }
        let BlockHeader { length, records, sequence } = BlockHeader::read(&header);
        let length = length as usize;
        if length > MAX_PAYLOAD {
            return Ok(Some(End::Damaged { at, what: "its length is more than a block may have" }));
        }
        self.block.clear();
        self.block.resize(length, 0);
        let read = fill(&mut self.input, &mut self.block)?;
        if read < length {
            return Ok(Some(End::Torn { at: at + (BLOCK_HEADER + read) as u64 }));
        }
        if !is_intact(&header, &self.block) {
            return Ok(Some(End::Damaged { at, what: "its checksum is wrong" }));
        }
        if sequence != self.sequence {
            return Ok(Some(End::Damaged { at, what: "it is not the one that follows" }));
        }
        self.next = 0;
        self.records = records;
        self.sequence += 1;
        self.block_at = at;
        self.next_at = at + (BLOCK_HEADER + length) as u64;
        Ok(None)
    }

    /// Kind of the next record of the block, and where its body begins and ends.
    fn next_record(&mut self) -> Result<(u8, usize, usize), Malformed> {
        let mut cursor = Cursor::new(&self.block[self.next..]);
        let kind = cursor.u8()?;
        let body = cursor.bytes()?;
        let start = self.next + super::format::RECORD_HEADER;
        self.next = start + body.len();
        self.records = self.records.checked_sub(1).ok_or(MORE_THAN_ITS_RECORDS)?;
        Ok((kind, start, self.next))
    }
}

/// The version.
fn file_header(input: &mut impl Read) -> Result<Version, OpenError> {
    let mut header = [0; FILE_HEADER];
    let read = fill(input, &mut header)?;
    if !header.starts_with(&MAGIC) || read < MAGIC.len() {
        return Err(OpenError::NotALog);
    }
    if read < FILE_HEADER {
        return Err(OpenError::TooShort);
    }
    let [.., a, b, c, d, _, _, _, _] = header;
    if header[12..] != crc32fast::hash(&header[..12]).to_le_bytes() {
        return Err(OpenError::Damaged("the checksum of its first 16 bytes is wrong"));
    }
    match u16::from_le_bytes([a, b]) {
        major @ (OLD_MAJOR | MAJOR) => Ok(Version { major, minor: u16::from_le_bytes([c, d]) }),
        found => Err(OpenError::OtherVersion { found }),
    }
}

/// Reads until `buffer` is full or the input ends; how much was read.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, io::Error> {
    let mut read = 0;
    while read < buffer.len() {
        match input.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
