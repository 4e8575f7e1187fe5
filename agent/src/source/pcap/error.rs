//! Why a capture cannot be read, or not to its end.

use std::io;

/// What is wrong with a capture. After the first header an error keeps everything that stands
/// before it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PcapError {
    #[error("this is no packet capture: give a pcap or pcapng file, plain or compressed by gzip")]
    NotACapture,
    #[error("the capture cannot be read: {0}; check the file or the pipe it comes from")]
    Read(#[from] io::Error),
    #[error("the capture ends within a record at byte {offset}: it was cut or is still being written")]
    Cut { offset: u64 },
    #[error(
        "the packet at byte {offset} claims {length} bytes, more than any has: the file is damaged from there on"
    )]
    TooLong { offset: u64, length: u32 },
    #[error("the block at byte {offset} is malformed ({what}): the file is damaged from there on")]
    Block { offset: u64, what: &'static str },
}
