//! Builds what chores need by cargo, the agent and the test programs, and finds where cargo put
//! them.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::sh;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// The agent's binary: that of `WIRESPAN_BIN`, or a fresh build.
pub(crate) fn agent(profile: Profile) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("WIRESPAN_BIN") {
        return Ok(path.into());
    }
    let mut command = sh::cargo();
    command.args(["build", "--package", "wirespan", "--bin", "wirespan"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    one(executables(&mut command)?, "wirespan")
}

/// The program that moves bytes by every system call. It is linked statically, so it runs on any
/// machine of this architecture.
pub(crate) fn syscalls() -> Result<PathBuf> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let mut command = sh::cargo();
    command.args([
        "build",
        "--release",
        "--package",
        "wirespan-tests",
        "--bin",
        "syscalls",
        "--target",
        TARGET,
    ]);
    command.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    one(executables(&mut command)?, "syscalls")
}

/// The end-to-end tests' binary.
pub(crate) fn end_to_end() -> Result<PathBuf> {
    let mut command = sh::cargo();
    command.args(["test", "--no-run", "--package", "wirespan-tests", "--test", "e2e"]);
    one(executables(&mut command)?, "e2e")
}

/// What `cargo build` or `cargo test --no-run` made: names of targets and paths.
pub(crate) fn executables(command: &mut Command) -> Result<Vec<(String, PathBuf)>> {
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo could not build it");
    }
    let mut found = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        if let (Some(path), Some(name)) = (message["executable"].as_str(), message["target"]["name"].as_str())
        {
            found.push((name.to_owned(), PathBuf::from(path)));
        }
    }
    Ok(found)
}

/// The executable of this name.
pub(crate) fn one(executables: Vec<(String, PathBuf)>, name: &str) -> Result<PathBuf> {
    let found = executables.into_iter().find(|(target, _)| target == name);
    found.map(|(_, path)| path).ok_or_else(|| anyhow!("cargo built no executable {name}"))
}
