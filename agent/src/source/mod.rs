//! Where events come from: the kernel, live; or a file, be it a recorded event log or packets that others captured.

pub mod kernel;
mod kind;
pub mod log;
pub mod pcap;

pub use kind::{FIRST_BYTES, Kind};
