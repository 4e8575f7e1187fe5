//! Text for people goes to stdout and stderr here: `println!` and `eprintln!` would panic when nobody reads it any more, as
//! behind `| head` or after a terminal has hung up.

use std::{
    fmt,
    io::{self, Write as _},
};

use anyhow::{Context as _, Result};

/// Writes the text. A reader that has seen enough (`| head`) is no failure.
pub(super) fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")
        }
        _ => Ok(()),
    }
}

/// A line on stderr under the agent's name. Nobody is told when it cannot be written: there is nowhere to report it.
pub(super) fn report(text: fmt::Arguments<'_>) {
    drop(writeln!(io::stderr().lock(), "wirespan: {text}"));
}
