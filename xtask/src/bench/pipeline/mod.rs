//! `cargo xtask bench pipeline`: what a span costs in user space. The default counts instructions,
//! which are the same every day and under any load, so that the repository can hold a table and CI
//! can compare with it. The other measures are time and memory.

mod callgrind;
mod counted;
mod dhat;
mod rows;
mod table;
mod timed;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, ensure};

use crate::{build, sh};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Fail if a row costs more than the table in agent/benches/instructions.tsv says
    #[arg(long, conflicts_with_all = ["write", "time"])]
    check: bool,
    /// Write the table anew
    #[arg(long, conflicts_with = "time")]
    write: bool,
    /// Only rows whose name contains this; `ci`: those that `cargo xtask ci` checks
    #[arg(long, default_value = "", conflicts_with_all = ["write", "time"])]
    only: String,
    /// Nanoseconds and memory instead of instructions
    #[arg(long)]
    time: bool,
    #[command(flatten)]
    timed: timed::Options,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.time {
        return timed::run(&program()?, &arguments.timed);
    }
    let rows: Vec<_> = rows::all().into_iter().filter(|row| row.is_meant_by(&arguments.only)).collect();
    ensure!(!rows.is_empty(), "no row is called so");
    let counted = counted::count(&program()?, &rows)?;
    if arguments.write {
        table::write(&counted)?;
    }
    if arguments.check { table::check(&counted) } else { table::show(&counted) }
}

/// What `cargo xtask ci` does: the rows that stand for all others, against the table.
pub(crate) fn check() -> Result<ExitCode> {
    let rows: Vec<_> = rows::all().into_iter().filter(|row| row.is_meant_by(rows::CI)).collect();
    table::check(&counted::count(&program()?, &rows)?)
}

/// The benchmark's program, freshly built.
fn program() -> Result<PathBuf> {
    let mut command = sh::cargo();
    command.args(["bench", "--no-run", "--package", "wirespan", "--bench", "pipeline"]);
    build::one(build::executables(&mut command)?, "pipeline")
}
