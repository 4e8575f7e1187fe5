//! Where events come from.

pub mod kernel;
