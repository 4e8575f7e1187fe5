//! Writes text for people to stdout and stderr. `println!` and `eprintln!` would panic when nobody
//! reads it any more, as behind `| head` or after a terminal has hung up.

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

/// Writes a line to stderr under the agent's name. A failure to write has nowhere to be reported.
pub(super) fn report(text: fmt::Arguments<'_>) {
    drop(writeln!(io::stderr().lock(), "wirespan: {text}"));
}
