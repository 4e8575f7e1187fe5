//! The sources of events: the kernel, live; or a file, which is an event log of wirespan or a
//! packet capture of another program.

pub mod kernel;
mod kind;
pub mod log;
pub mod pcap;

pub use kind::{FIRST_BYTES, Kind};
