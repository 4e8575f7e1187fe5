//! `cargo xtask docs`: the pages of docs/ that are made of the code. The agent's example `docs` makes them, since it can ask the
//! agent's library and this crate must build without it.

use std::process::ExitCode;

use anyhow::Result;

use crate::sh;

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail where a page is not what the code says
    #[arg(long)]
    pub(crate) check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut command = sh::cargo();
    command.args(["run", "--quiet", "--package", "wirespan", "--example", "docs"]);
    if arguments.check {
        command.args(["--", "--check"]);
    }
    sh::run(&mut command)?;
    Ok(ExitCode::SUCCESS)
}
