//! Where events come from: the kernel, live; or a recorded event log. (A packet capture comes in by the same door later.)

pub mod kernel;
mod kind;
pub mod log;

pub use kind::{FIRST_BYTES, Kind};
