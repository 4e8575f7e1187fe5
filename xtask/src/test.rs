//! `cargo xtask test`: runs every test. Its last line is the sum.

use std::{
    fmt, fs,
    io::{BufRead as _, BufReader},
    ops::AddAssign,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{build, setup, sh, vm};

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Arguments {
    /// Leave out the runs under other kernels
    #[arg(long)]
    no_vm: bool,
}

/// How many tests passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// An emulated guest needs five to sixteen minutes for the tests. One that needs more than this
/// hangs.
const GUEST_LIMIT: Duration = Duration::from_secs(1500);

/// The modules of end-to-end tests that are not run under each kernel. Their own documentation says
/// why.
const NOT_IN_GUESTS: [&str; 2] = ["userspace::", vm::NOT_IN_ANY_GUEST];

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::run()?;
    let skipped = sh::target().join("skipped-tests");
    let _ = fs::remove_file(&skipped);
    let agent = build::agent(build::Profile::Release)?;
    let mut command = sh::cargo();
    command.args(["test", "--workspace", "--exclude", "agent-ebpf", "--no-fail-fast"]);
    command.env("WIRESPAN_BIN", &agent).env("WIRESPAN_SYSCALLS", build::syscalls()?);
    command.env("WIRESPAN_SKIPPED", &skipped);
    let mut sum = cargo_test(&mut command)?;
    if !arguments.no_vm {
        let programs = vm::Programs::build(build::Profile::Release)?;
        let filter: Vec<_> =
            NOT_IN_GUESTS.iter().flat_map(|name| ["--skip".into(), (*name).into()]).collect();
        // The attach mode that the kernel takes by itself: each mode occurs, each kernel once.
        let boots = vm::VERSIONS.map(|version| (version, version.attach_modes[0]));
        sum += programs.run(&boots, GUEST_LIMIT, &filter)?;
    }
    let skipped = fs::read_to_string(&skipped).unwrap_or_default();
    if !skipped.is_empty() {
        println!("{} tests were skipped:\n{skipped}", skipped.lines().count());
    }
    println!("{sum}");
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs `cargo test`, showing what it says, and adds up the results of its binaries.
fn cargo_test(command: &mut Command) -> Result<Sum> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo test")?;
    let stdout = child.stdout.take().expect("standard output is a pipe");
    let mut sum = Sum::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cargo test wrote no UTF-8")?;
        println!("{line}");
        sum += result_of(&line);
    }
    let status = child.wait().context("cargo test is gone")?;
    if !status.success() && sum.failed == 0 {
        bail!("cargo test failed: {status}");
    }
    Ok(sum)
}

/// The numbers in a test binary's last line, `test result: ok. 3 passed; 0 failed; …`; nothing in
/// any other line.
pub(crate) fn result_of(line: &str) -> Sum {
    let Some(result) = line.strip_prefix("test result: ") else { return Sum::default() };
    let number = |what: &str| {
        let count =
            result.split([';', '.']).find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok());
        count.unwrap_or(0)
    };
    Sum { passed: number("passed"), failed: number("failed") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_from_the_last_line_of_a_binary() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.20s";
        assert_eq!(result_of(line), Sum { passed: 12, failed: 3 });
        assert_eq!(result_of("test matrix::nginx ... ok"), Sum::default());
    }
}
