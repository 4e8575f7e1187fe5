//! `cargo xtask ci`: the gate. It checks format, dependencies, lints and documentation first,
//! because they fail quickly; then what a span costs, and every test.

use std::{process::ExitCode, time::Instant};

use anyhow::{Context as _, Result};

use crate::{bench::pipeline, docs, ebpf, setup, sh, test};

/// The crates of this host; agent-ebpf is another target's (`ebpf`).
const HOST: [&str; 3] = ["--workspace", "--exclude", "agent-ebpf"];

pub(crate) fn run() -> Result<ExitCode> {
    let started = Instant::now();
    setup::run()?;
    step("format", &["fmt", "--all", "--", "--check"])?;
    setup::deny::ensure()?;
    step("dependencies", &["deny", "--offline", "check", "licenses", "bans", "sources"])?;
    step("clippy", &[&["clippy"], &HOST[..], &["--all-targets", "--", "-D", "warnings"]].concat())?;
    ebpf::clippy()?;
    step("documentation", &[&["doc"], &HOST[..], &["--no-deps", "--document-private-items"]].concat())?;
    ebpf::doc()?;
    println!("ci: generated pages");
    docs::run(&docs::Arguments { check: true })?;
    println!("ci: instructions per span");
    let cost = pipeline::check()?;
    let tests = test::run(&test::Arguments::default())?;
    println!("ci: {} s", started.elapsed().as_secs());
    // A span that costs more does not hide the other failures.
    Ok(if tests == ExitCode::SUCCESS { cost } else { tests })
}

fn step(name: &str, arguments: &[&str]) -> Result<()> {
    println!("ci: {name}");
    let mut command = sh::cargo();
    command.args(arguments).env("RUSTDOCFLAGS", "-D warnings");
    sh::run(&mut command).with_context(|| format!("the {name} step"))
}
