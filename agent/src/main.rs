//! The command `wirespan`; everything is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A span takes some three allocations, of a few sizes, made in one thread and often freed in another.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    wirespan::command::main()
}
