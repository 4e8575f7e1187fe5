//! The event log: everything that entered the pipeline of one run, in a file that any later agent
//! can feed to a pipeline again.
//!
//! Constraints. Append-only: nothing that was written is touched again. A crash of the agent or of
//! the machine costs the last block at most. A damaged byte is found. The events in a file are
//! those of the run from its first on, without a hole: when the recorder cannot keep up it stops
//! instead of leaving something out, since a hole could make a replay see what never was. Nothing
//! in the file is trusted: every length is checked before it is used.
//!
//! The layout, all integers little-endian (versions: [`mod@format`]):
//!
//! ```text
//! file    = magic (8) major u16 minor u16 crc32 u32 (of the 12 bytes before) block*
//! block   = length u32 records u32 sequence u64 crc32 u32 (of the 16 bytes before and the payload) payload (length)
//! payload = record*                          at most 1 MiB; ordinarily 64 KiB or what 100 ms brought
//! record  = kind u8 length u32 body (length)
//! ```
//!
//! Block 0 holds one record, the header: a JSON text (kind 1) that the commands write and read. The
//! other records are events; their bodies are in `encode.rs`.

mod cursor;
mod decode;
mod encode;
pub mod format;
mod reader;
mod recorder;
#[cfg(test)]
pub(crate) mod samples;
mod writer;

pub use format::MAGIC;
pub use reader::{End, LogReader, OpenError};
pub use recorder::{CreateError, Output, Recorder, RecorderSettings, Stop, Summary};
pub use writer::{Blocks, TooLarge};
