//! The command `wirespan`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    wirespan::command::main()
}
