//! Clippy and rustdoc for the BPF programs. agent-ebpf has a target and a compiler of its own, so that no cargo command
//! for the rest of the workspace can include it.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{setup, sh};

/// What agent/build.rs builds, for the same target and in the same profile.
const PROGRAMS: [&str; 8] = [
    "--package",
    "agent-ebpf",
    "--bins",
    "--release",
    "--target",
    "bpfel-unknown-none",
    "-Z",
    "build-std=core",
];

/// Lints the programs; a warning is an error.
pub(crate) fn clippy() -> Result<()> {
    run("clippy", &["--", "-D", "warnings"])
}

/// Builds the programs' documentation; a warning is an error.
pub(crate) fn doc() -> Result<()> {
    run("doc", &["--no-deps", "--document-private-items"])
}

fn run(chore: &str, options: &[&str]) -> Result<()> {
    println!("ci: {chore} of the BPF programs");
    let mut command = setup::ebpf_cargo()?;
    // Not the directory of the other builds: cargo would hold its lock, and build for both in turn.
    command.arg(chore).args(PROGRAMS).arg("--target-dir").arg(sh::target().join("ebpf")).args(options);
    without_the_workspace_compiler(&mut command);
    command.env("RUSTDOCFLAGS", "-D warnings");
    sh::run(&mut command).with_context(|| format!("the {chore} step of the BPF programs"))
}

/// The cargo that runs this chore names its own compiler, which is not that of the BPF programs.
fn without_the_workspace_compiler(command: &mut Command) {
    for name in ["CARGO", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC"] {
        command.env_remove(name);
    }
}
