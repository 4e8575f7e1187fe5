//! The command `wirespan`.
fn main() {}
