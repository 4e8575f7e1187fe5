//! Installs cargo-deny, which checks the licences and sources of dependencies against deny.toml.
//! Only `cargo xtask ci` needs it, so `cargo xtask setup` does not install it.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::sh;

const VERSION: &str = "0.20.2";

/// Installs it if there is none.
pub(crate) fn ensure() -> Result<()> {
    if sh::succeeds(Command::new("cargo-deny").arg("--version")) {
        return Ok(());
    }
    println!("setup: building cargo-deny {VERSION} (about three minutes)");
    let mut command = sh::cargo();
    command.args(["install", "cargo-deny", "--version", VERSION, "--locked", "--quiet"]);
    // cargo's own variable would put the build into this workspace's target directory.
    command.env_remove("CARGO_TARGET_DIR");
    sh::run(&mut command).context("cannot install cargo-deny")
}
